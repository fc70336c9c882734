"""The page of an attack: sections of text, tables and figures in reading order, neither drawn nor rendered."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..studies.attack.results import Results
from . import attack_gallery, attack_plots
from .attack_findings import aim, findings
from .attack_plots import Line
from .attack_tables import Group, Numbers, Row, Share, class_name
from .attack_words import at_most, between, classifier_of, distance, ending, name_of, percent, queries, size
from .drawing_findings import count
from .page import Block, Code, More, Page, Picture, Section, Text
from .plots import label
from .sheets import Column, Note, Sheet

ROWS = 2_000  # images in the table of the page; the files have all
IN_VIEW = 40  # rows: a longer table is unfolded
CLASSES = 20  # a table of who is seen as whom has no more columns
PAIRS = 30  # beyond that, the most frequent ones


def page(results: Results, numbers: Numbers, directory: Path) -> Page:
    """Lay out the report.

    Args:
        results: of an attack.
        numbers: computed from them.
        directory: where the images of the results are.
    """
    pictures = tuple(attack_gallery.gallery(results, numbers, directory))
    sections = [
        Section("queries", "How many queries it takes", tuple(_queries(results, numbers))),
        Section("learning", "What carries over from image to image", tuple(_learning(numbers))),
        Section("gallery", "Before, after, and the difference", pictures),
        Section("pool", "The pool", tuple(attack_gallery.pool(results, directory))),
        Section("classes", "By class", tuple(_classes(results, numbers))),
        Section("images", "All images", tuple(_images(results, numbers))),
        Section("asked", "What was asked", tuple(_asked(results, numbers))),
        Section("again", "Repeat it, replay an image, verify", tuple(_again(results, numbers))),
    ]
    sections = [section for section in sections if section.blocks]
    anchors = {section.anchor for section in sections}
    told = [
        found if found.evidence in anchors else found._replace(evidence="queries")
        for found in findings(results, numbers)
    ]
    recipe = name_of(str(results.recipe.get("name", "")))
    return Page(
        f"{recipe} against {classifier_of(results.classifier)}",
        _subtitle(results, numbers),
        results.command,
        told,
        sections,
    )


# Sections ---------------------------------------------------------------------------------------------------------


def _subtitle(results: Results, numbers: Numbers) -> str:
    data = str(results.data.get("name", ""))
    parts = [name_of(data)] if data else []
    parts += [count(len(results.images), "image"), f"{len(numbers.attacked):,} attacked", results.limit, aim(results)]
    return " · ".join([*parts, f"budget {results.budget:,}", f"seed {results.seed}"])


def _queries(results: Results, numbers: Numbers) -> Iterable[Block]:
    paper = str(results.recipe.get("paper") or "")
    about = str(results.recipe.get("about") or "").strip()
    yield Text(f"{about}{' (' + paper + ')' if paper else ''}" or "The recipe says nothing of itself.")
    yield Text(
        f"Each image may be changed within {results.limit} so that it gets {aim(results)}. The classifier is first "
        "asked about the image as it is; counting begins after that. An image that is fooled is left alone from then "
        f"on, and one that is not counts as {results.budget:,} queries in means and medians, so that no failure makes "
        "them better."
    )
    if not numbers.attacked:
        yield Text("Nothing was attacked.")
        return
    yield _summary(results, numbers)
    shares = bool(results.recipe.get("shares"))
    band = (
        "There is no band: images share what worked, so that they are not independent."
        if shares
        else "The band is pointwise, by Greenwood's formula for the logarithm of the logarithm."
    )
    censored = f" Failures are censored at the budget of {results.budget:,}." if numbers.failed else ""
    yield Picture(
        "survival",
        f"Share of attacked images that so many queries did not fool (Kaplan and Meier).{censored} {band}",
        "A falling curve: the share of images that are not fooled against queries.",
        functools.partial(
            attack_plots.survival,
            [Line(str(results.recipe.get("name", "")), numbers.curve, band=not shares)],
            results.budget,
        ),
    )


def _summary(results: Results, numbers: Numbers) -> Sheet:
    success = numbers.success
    assert success is not None
    interval = f"95% interval {between(numbers.interval)}" if numbers.interval else ""
    mean = queries(numbers.mean)
    fooled = f"{len(numbers.fooled):,}: {percent(success.estimate)}"
    wilson = f"95% Wilson interval {between(success.interval, share=True)}" if success.interval else ""
    rows: list[tuple[Any, ...]] = [
        ("images attacked", f"{success.n:,}"),
        ("fooled", Note(fooled, wilson) if wilson else fooled),
        ("mean queries, a failure counted as the budget", Note(mean, interval) if interval else mean),
        ("median queries, likewise", queries(numbers.median)),
    ]
    for share, needed in numbers.by:
        what = "all images are fooled by query" if share == 1 else f"{share:.0%} of images are fooled by query"
        rows.append((what, None if needed is None else queries(needed)))
    if numbers.shrunk:
        found = numbers.shrunk
        rows.append(("median size before shrinking", size(results, found.before)))
        rows.append(("median size after it", size(results, found.after)))
        rows.append(("queries of shrinking, not in the mean", f"{found.queries:,}"))
    columns = (Column("", kind="name"), Column("", kind="text"))
    never = "; a dash: so many were never fooled" if any(value is None for _, value in rows) else ""
    return Sheet(f"Over {count(success.n, 'attacked image')}{never}.", columns, tuple(rows))


def _learning(numbers: Numbers) -> Iterable[Block]:
    found = numbers.learning
    if found is None:
        return
    yield Text(
        "This recipe tries on an image what worked on earlier ones, so the place of an image in the order matters, and "
        "a mean says little without the number of images that it is over."
    )
    rows = [(f"the first {k}", mean) for k, mean in found.firsts if k < len(numbers.attacked)]
    rows.append((f"all {len(numbers.attacked):,}", numbers.mean or 0.0))
    yield Sheet(
        "Mean queries, a failure counted as the budget.",
        (Column("images", kind="name"), Column("mean queries", 1)),
        tuple(rows),
    )
    bars = len(found.blocks) > 1
    yield Picture(
        "learning",
        ("Mean queries of images that were attacked one after another (bars), and of " if bars else "Mean queries of ")
        + "all images so far (dashed); a failure counts as the budget.",
        ("Bars of mean queries over the place in the order of attack, and a" if bars else "A")
        + " dashed line of the mean so far.",
        functools.partial(attack_plots.learning, found),
    )


def _classes(results: Results, numbers: Numbers) -> Iterable[Block]:
    if not numbers.classes:
        return
    yield _groups(results, numbers.classes, "class", "By the class that the images carry.")
    if numbers.targets:
        yield _groups(results, numbers.targets, "wanted", "By the class that was wanted.")
    if not numbers.seen or results.targeted:
        return
    labels, seen = ({pair[at] for pair in numbers.seen} for at in (0, 1))
    if len(seen) <= CLASSES and len(labels) <= 2 * CLASSES:
        columns = sorted(seen)
        rows = [
            (class_name(results, row) or "?", *(numbers.seen.get((row, column)) for column in columns))
            for row in sorted(labels)
        ]
        heads = [Column("class", kind="name"), *(Column(name_of(class_name(results, each)), 0) for each in columns)]
        yield Sheet("Images that were fooled, by their class and by what is seen in them.", tuple(heads), tuple(rows))
        return
    pairs = sorted(numbers.seen.items(), key=lambda pair: (-pair[1], pair[0]))
    yield Sheet(
        f"What fooled images are taken for: the {min(PAIRS, len(pairs))} most frequent of {len(pairs):,} pairs.",
        (Column("class", kind="name"), Column("seen as", kind="text"), Column("images", 0)),
        tuple(
            (name_of(class_name(results, one)), name_of(class_name(results, other)), times)
            for (one, other), times in pairs[:PAIRS]
        ),
    )


def _groups(results: Results, groups: Sequence[Group], what: str, caption: str) -> Sheet:
    columns = (
        Column(what, kind="name"), Column("attacked", 0), Column("fooled", 0), Column("success", kind="text"),
        Column("mean queries", 1), Column("median", 1), Column("skipped", 0),
    )  # fmt: skip
    rows = tuple(
        (
            name_of(class_name(results, group.number)),
            group.attacked,
            group.fooled,
            _share(group.success),
            group.mean,
            group.median,
            group.skipped,
        )
        for group in groups
    )
    wilson = " Wilson intervals;" if any(group.success and group.success.interval for group in groups) else ""
    return Sheet(f"{caption}{wilson or ' In means'} a failure counts as the budget.", columns, rows)


def _share(success: Share | None) -> Note | str | None:
    """A share for a cell, above its interval if it has one."""
    if success is None or success.interval is None:
        return percent(success.estimate) if success else None
    return Note(percent(success.estimate), between(success.interval, share=True))


def _images(results: Results, numbers: Numbers) -> Iterable[Block]:
    if not numbers.rows:
        return
    table = _table(results, numbers)
    yield table if len(table.rows) <= IN_VIEW else More(f"The table of {len(table.rows):,} images", (table,))


def _table(results: Results, numbers: Numbers) -> Sheet:
    shown = numbers.rows[:ROWS]
    targeted = any(row.image.target is not None for row in shown)
    ordered, pooled = numbers.learning is not None, any(row.image.tried >= 0 for row in shown)
    shrunk, known = any(row.image.shrunk for row in shown), any(row.finding is not None for row in shown)
    columns = [Column("image", kind="name"), Column("class", kind="text")]
    columns += [Column("wanted", kind="text")] if targeted else []
    columns += [Column("outcome", kind="verdict"), Column("queries", 0)]
    columns += [Column("attacked as number", 0)] if ordered else []
    columns += [Column("genes tried", 0), Column("gene", 0)] if pooled else []
    columns += [Column("seen before", kind="text"), Column("seen after", kind="text"), Column("changed by")]
    columns += [Column("before shrinking"), Column("queries of shrinking", 0)] if shrunk else []
    columns += [Column("finding", 0)] if known else []
    columns += [Column("file", kind="text")]
    rows = tuple(
        _row(results, row, targeted=targeted, ordered=ordered, pooled=pooled, shrunk=shrunk, known=known)
        for row in shown
    )
    caption = "Each image. Queries are those of the search, without the one for the image as it is."
    if len(shown) < len(numbers.rows):
        caption += f" The first {len(shown):,} of {len(numbers.rows):,}; tables/images.csv has them all."
    return Sheet(caption, tuple(columns), rows)


def _row(results: Results, row: Row, *, targeted: bool, ordered: bool, pooled: bool, shrunk: bool, known: bool
         ) -> tuple[Any, ...]:  # fmt: skip
    image = row.image
    there = image.attacked
    cells: list[Any] = [ending(image.name, 60), label(class_name(results, image.label), 40)]
    cells += [label(class_name(results, image.target), 40) or None] if targeted else []
    cells += [image.outcome, image.queries if there else None]
    cells += [image.asked + 1 if image.asked >= 0 else None] if ordered else []
    cells += [image.tried if image.tried >= 0 else None, image.gene if image.gene >= 0 else None] if pooled else []
    cells += [_seen(results, image.clean_prediction, image.clean_confidence)]
    cells += [_seen(results, image.prediction, image.confidence) if there else None]
    cells += [distance(results, image) if there else None]
    if shrunk:
        cells += [size(results, image.shrunk.before), image.shrunk.queries] if image.shrunk else [None, None]
    cells += [row.finding] if known else []
    return (*cells, ending(image.adversarial or image.original, 60) or None)


def _seen(results: Results, prediction: int, confidence: float) -> str:
    name = class_name(results, prediction)
    return f"{label(name, 40)} ({percent(confidence)})" if name else "no answer"


def _asked(results: Results, numbers: Numbers) -> Iterable[Block]:
    searches = results.ledger.get("searches", {})
    if not searches:
        return
    kinds = ("issued", "answered", "failed", "lost", "repeated")
    total = {kind: sum(int(each.get(kind, 0)) for each in searches.values()) for kind in kinds}
    search, shrinking = sum(image.queries for image in results.images), numbers.shrunk.queries if numbers.shrunk else 0
    yield Text(
        "Issued is what was charged, an upper bound on what the classifier saw: issued = answered + failed + lost "
        "(sent when the run was killed). Repeated are images that the same search asked about again and that were "
        "answered from its cache: they cost nothing."
    )
    rows = [("search", search)]
    rows += [("shrinking", shrinking)] if shrinking else []
    rows += [("images as they are, and whatever else", total["issued"] - search - shrinking)]
    rows += [(f"all: {name}", total[name]) for name in kinds]
    yield Sheet("Queries.", (Column("", kind="name"), Column("queries", 0)), tuple(rows))
    if 1 < len(searches) <= ROWS:
        columns = (Column("account", kind="name"), *(Column(kind, 0) for kind in kinds))
        accounts = tuple(
            (ending(name, 60), *(int(each.get(kind, 0)) for kind in kinds)) for name, each in searches.items()
        )
        yield More("Queries by account", (Sheet("Every query that was charged.", columns, accounts),))
    yield Text(
        f"Limits: {results.limit}; {at_most(results)}, the one for an image as it is included; success: "
        f"{aim(results)}. Images lie on the lattice of 256 gray levels, so that the file is the image that was sent."
    )


def _again(results: Results, numbers: Numbers) -> Iterable[Block]:
    yield Text("This command attacks all of it again; the same seed gives the same images:")
    yield Code(results.command)
    first = next((row.finding for row in numbers.fooled if row.finding is not None), 1 if numbers.fooled else None)
    yield Text(
        "DIR is the directory that this page lies in. Each image that was fooled is a finding with a number and lies "
        "there in images/ as the PNG that was sent. To ask the classifier about one of them again, and to see that "
        "all files are as they were written and all of them still fool:"
        if first is not None
        else "DIR is the directory that this page lies in. To see that all files in it are as they were written:"
    )
    trust = " --trust-code" if "--trust-code" in results.command.split() else ""
    words = [*([f"evofool replay DIR#{first}"] if first is not None else []), "evofool verify DIR"]
    yield Code("\n".join(word + trust for word in words))
    yield Text("Versions: " + ", ".join(f"{name} {version}" for name, version in results.versions.items()) + ".")
    yield More("Resolved configuration", (Code(_json(results.config)),))
    yield More("The classifier", (Code(_json(results.classifier)),))
    yield More("The recipe", (Code(_json(results.recipe)),))


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)
