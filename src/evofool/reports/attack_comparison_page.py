"""The page that compares attacks: sections of text, tables and figures in reading order, neither drawn nor rendered."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import attack_comparison_records, attack_plots, html
from .attack_comparison import Comparison, Entry, Estimate, Pair
from .attack_findings import aim
from .attack_plots import Line
from .attack_words import classifier_of, factor, inline, name_of, noted, p_value, percent, points, queries
from .drawing_findings import count
from .findings import Finding
from .page import Block, Code, Page, Picture, Section, Text
from .plots import label
from .sheets import Column, Note, Sheet

NAME = "compare.html"


def write(found: Comparison, directory: Path) -> Path:
    """Write compare.html, figures/*.svg and *.png, tables/*.csv and *.json; the same runs give the same bytes.

    Returns:
        The path of the page.
    """
    return html.publish(page(found), attack_comparison_records.records(found), Path(directory), name=NAME)


def page(found: Comparison) -> Page:
    """Lay out the comparison."""
    sections = [
        Section("table", "The table", tuple(_table(found))),
        Section("survival", "Who holds out", tuple(_survival(found))),
        Section("learning", "By place in the order", tuple(_learning(found))),
        Section("pairs", "Two by two", tuple(_pairs(found))),
        Section("runs", "The runs", tuple(_runs(found))),
    ]
    sections = [section for section in sections if section.blocks]
    anchors = {section.anchor for section in sections}
    results = found.results
    parts = [classifier_of(results.classifier), name_of(str(results.data.get("name", ""))), results.limit, aim(results)]
    parts += [f"budget {results.budget:,}", count(found.images, "image")]
    return Page(
        f"{count(len(found.entries), 'attack')} compared",
        " · ".join(parts),
        _command(found),
        [Finding(text, anchor if anchor in anchors else "table", _command(found)) for text, anchor in told(found)],
        sections,
    )


def _command(found: Comparison) -> str:
    return shlex.join(["evofool", "compare", *(run.path for entry in found.entries for run in entry.runs), "-o", "DIR"])


# Sentences --------------------------------------------------------------------------------------------------------


def sentences(found: Comparison) -> list[str]:
    """What the comparison says, the most important first."""
    return [text for text, _ in told(found)]


def told(found: Comparison) -> Iterable[tuple[str, str]]:
    """Sentences, each with the part of the page that shows it."""
    budget = found.results.budget
    ordered = sorted(found.entries, key=lambda entry: entry.mean.value)
    best = ordered[0]
    yield (
        f"Over {count(found.images, 'image')} {name_of(best.name)} took the fewest queries: "
        f"a mean of {inline(best.mean, queries)} and a median of {queries(best.median)}, a failure counted as the "
        f"budget of {budget:,}; it fooled {inline(best.success, percent)}.",
        "table",
    )
    for other in ordered[1:]:
        pair, turned = _pair(found, best.name, other.name)
        ratio = _turned(pair.ratio) if turned else pair.ratio
        gain = f"{name_of(best.name)} took {inline(ratio, factor)} times as many queries as {name_of(other.name)}"
        theirs = f"mean {inline(other.mean, queries)}; {inline(other.success, percent)} fooled"
        yield f"{gain} ({theirs}){_tested(pair, best, other)}.", "pairs"
    for entry in found.entries:
        firsts = [(k, value) for k, value in entry.firsts if k < found.images]
        if entry.shares and firsts:
            parts = ", ".join(f"{queries(value)} over the first {k}" for k, value in firsts)
            yield (
                f"{name_of(entry.name)} carries what worked from image to image: a mean of {parts} and "
                f"{queries(entry.mean.value)} over all {found.images:,} ({count(len(entry.runs), 'run')}).",
                "learning",
            )
    for entry in found.entries:
        if entry.alike:
            yield (
                f"Runs of {name_of(entry.name)} took the images in the same order, and it carries what worked from "
                "image to image: they are no repetitions, and there is no interval over them. Give `evofool attack` "
                "--shuffle, so that each seed has an order of its own.",
                "runs",
            )
    yield from _cached(found)
    if found.left_out:
        yield (
            f"{count(found.left_out, 'image')} that not all runs attacked are left out: the classifier did not answer "
            "alike for them as they are.",
            "table",
        )


def _cached(found: Comparison) -> Iterable[tuple[str, str]]:
    """That not all runs are charged for the same, if so."""
    caches = [bool(run.results.config.get("cache", True)) for entry in found.entries for run in entry.runs]
    without = caches.count(False)
    if 0 < without < len(caches):
        yield (
            f"{without:,} of {len(caches):,} runs had no cache (as with --no-cache): they were charged for an image "
            "each time that they asked about it, the others only once.",
            "runs",
        )


def _pair(found: Comparison, first: str, second: str) -> tuple[Pair, bool]:
    """The pair of two entries, and whether it stands the other way round."""
    for pair in found.pairs:
        if {pair.first, pair.second} == {first, second}:
            return pair, pair.first != first
    raise AssertionError("each two entries are a pair")


def _turned(ratio: Estimate) -> Estimate:
    low, high = (1 / end if end else None for end in (ratio.high, ratio.low))
    return Estimate(1 / ratio.value if ratio.value else float("inf"), low, high)


def _tested(pair: Pair, *entries: Entry) -> str:
    if pair.unit == "runs":
        if any(entry.alike for entry in entries):
            return ""
        return "" if pair.ratio.low is not None else "; with fewer than five runs of each there is no interval"
    sign = "" if (pair.queries_p or 0.0) < 0.001 else "= "
    return f"; p {sign}{p_value(pair.queries_p)} by Wilcoxon's test over the same images"


# Sections ---------------------------------------------------------------------------------------------------------


def _table(found: Comparison) -> Iterable[Block]:
    results = found.results
    yield Text(
        f"All runs attacked the same {count(found.images, 'image')} of {classifier_of(results.classifier)} within "
        f"{results.limit} (goal: {aim(results)}), with at most {results.budget:,} queries each. The query for each "
        "image as it is is part of that, but of no figure, and a failure counts as the budget, so that no failure "
        "makes a mean better. Runs of one recipe with other seeds are shown as their mean."
    )
    yield sheet(found)
    yield Text(
        "Intervals are at 95%. For attacks that treat each image by itself the unit is the image: success has "
        "Wilson's interval, and means are resampled over images. For those that carry something from image to image "
        "the unit is the run: with fewer than five runs there is no interval, since it would hold far less often than "
        "it says, nor where runs took the images in the same order (without --shuffle), since all that comes of the "
        "order is the same in them. Resampling takes expanded percentiles (Hesterberg 2015). Distinct are the images "
        "that were asked about, beside the issued (charged) ones; repeated ones were answered from a cache, and not "
        "charged."
    )


def sheet(found: Comparison) -> Sheet:
    """The table of the entries."""
    columns = [Column("recipe", kind="name"), Column("seeds"), Column("images", 0)]
    columns += [Column("success"), Column("mean queries"), Column("median")]
    ks = [k for k, _ in found.entries[0].firsts]
    columns += [Column(f"first {k}") for k in ks]
    columns += [Column(f"× {label(found.entries[0].name, 30)}")]
    columns += [Column("issued"), Column("distinct"), Column("repeated")]
    lossy = any(entry.lost is not None for entry in found.entries)
    columns += [Column("lost on disk")] if lossy else []
    rows = []
    for entry in found.entries:
        seeds = ", ".join(map(str, entry.seeds))
        cells: list[Any] = [Note(entry.name, "shares") if entry.shares else entry.name, label(seeds, 40), found.images]
        cells += [noted(entry.success, percent), noted(entry.mean, queries), queries(entry.median)]
        cells += [queries(value) for _, value in entry.firsts]
        cells += [noted(entry.against, factor) if entry.against else None]
        cells += [queries(entry.issued), None if entry.distinct is None else queries(entry.distinct)]
        cells += [queries(entry.repeated)]
        cells += [None if entry.lost is None else queries(entry.lost)] if lossy else []
        rows.append(tuple(cells))
    caption = (
        f"Queries with a failure counted as the budget of {found.results.budget:,}; “first 10” is the mean over the "
        "first 10 images in the order of attack."
    )
    return Sheet(caption, tuple(columns), tuple(rows))


def lines(found: Comparison) -> list[Line]:
    """What the figures show of each entry."""
    return [
        Line(
            entry.name,
            entry.curve,
            runs=entry.curves if len(entry.runs) > 1 else (),
            band=len(entry.runs) == 1 and not entry.shares,
            learning=tuple(
                ((point.first + point.last) / 2, point.mean.value, point.mean.low, point.mean.high)
                for point in entry.learning
            ),
        )
        for entry in found.entries
    ]


def _survival(found: Comparison) -> Iterable[Block]:
    several = any(len(entry.runs) > 1 for entry in found.entries)
    thin = " Thin lines are single runs." if several else ""
    yield Picture(
        "survival",
        "Share of images that so many queries did not fool (Kaplan and Meier), failures censored at the budget. The "
        f"band is shown for a single run whose images are independent.{thin}",
        "Falling curves: the share of images that are not fooled against queries, one for each attack.",
        functools.partial(attack_plots.survival, lines(found), found.results.budget),
    )


def _learning(found: Comparison) -> Iterable[Block]:
    if not any(entry.shares and len(entry.learning) > 1 for entry in found.entries):
        return  # nobody carries anything on, or there are too few images for a curve
    yield Picture(
        "learning",
        "Mean queries of images that were attacked one after another, mean over runs, a failure counted as the "
        "budget; bands over runs where there are five. An attack that treats each image by itself has no reason "
        "to fall; where all runs take the images in the same order, harder and easier stretches show in all of them.",
        "Lines of mean queries by place in the order of attack, one for each attack.",
        functools.partial(attack_plots.learning_curves, lines(found)),
    )


def _pairs(found: Comparison) -> Iterable[Block]:
    if not found.pairs:
        return
    yield Text(
        "Ratio is the mean queries of the first over those of the second; success the share of the first minus that "
        "of the second, in points. Over images: Wilcoxon's signed-rank test on the queries of the same images, and "
        "McNemar's exact test on success with Tango's interval (of several runs Wilcoxon's on means over as many runs "
        "of each, and resampled images). Over runs, where an attack shares: intervals only, for these images, and none "
        "where fewer than five runs were made, where they took the images in the same order, or where all came to the "
        "same. All p values are adjusted by Holm's procedure over the pairs of this table."
    )
    columns = (
        Column("first", kind="name"), Column("second", kind="text"), Column("unit", kind="text"),
        Column("ratio of queries"), Column("p, queries"), Column("success, points"),
        Column("p, success"),
    )  # fmt: skip
    rows = tuple(
        (
            pair.first,
            label(pair.second, 40),
            pair.unit,
            noted(pair.ratio, factor),
            p_value(pair.queries_p) or None,
            noted(pair.success, points),
            p_value(pair.success_p) or None,
        )
        for pair in found.pairs
    )
    yield Sheet("Each two of them.", columns, rows)


def _runs(found: Comparison) -> Iterable[Block]:
    columns = (
        Column("run", kind="name"), Column("recipe", kind="text"), Column("seed"), Column("fooled", 0),
        Column("mean queries"), Column("median"), Column("issued", 0), Column("failed", 0), Column("lost", 0),
        Column("repeated", 0),
    )  # fmt: skip
    rows = tuple(
        (
            run.path, label(entry.name, 40), str(run.results.seed), int(run.fooled.sum()),
            queries(run.mean), queries(run.median),
            *(run.results.queries(of=of) for of in ("issued", "failed", "lost", "repeated")),
        )
        for entry in found.entries
        for run in entry.runs
    )  # fmt: skip
    yield Sheet("Each run, as it was given.", columns, rows)
    yield Code("\n".join(run.results.command for entry in found.entries for run in entry.runs))
