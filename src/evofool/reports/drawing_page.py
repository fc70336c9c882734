"""The page of drawing: sections of text, tables and figures in reading order, neither drawn nor rendered."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import Any

from ..studies.draw.results import Results
from . import drawing_gallery, drawing_plots
from .drawing_findings import classifier_of, count, findings, interrupted, name_of, percent, read_as, wanted
from .drawing_gallery import SHOWN, certificate, tiles
from .drawing_pixels import pixels
from .drawing_tables import Numbers, Row, class_name, everywhere, goal
from .page import Block, Code, Group, More, Page, Picture, Section, Text, Tile
from .sheets import Column, Note, Sheet


def page(results: Results, numbers: Numbers) -> Page:
    """Lay out the report.

    Args:
        results: of drawing.
        numbers: computed from them.
    """
    sections = [
        Section("drawings", "The drawings", tuple(drawing_gallery.drawings(results, numbers))),
        Section("shrinking", "What the goal did not need", tuple(drawing_gallery.shrinking(results, numbers))),
        Section("evolution", "How they came about", tuple(drawing_gallery.evolution(results, numbers))),
        Section("places", "Where the ink lies", tuple(_places(numbers))),
        Section("front", "How much ink for how much confidence", tuple(_front(results, numbers))),
        Section("boundary", "On the boundary", tuple(_boundary(results, numbers))),
        Section("runs", "The runs", tuple(_runs(results, numbers))),
        Section("again", "Repeat it, replay a drawing, verify", tuple(_again(results, numbers))),
    ]
    target, classifier = name_of(numbers.target), classifier_of(results)
    return Page(
        f"Drawing {target} for {classifier}",
        _subtitle(results, numbers),
        results.command,
        findings(results, numbers),
        [section for section in sections if section.blocks],
    )


# Sections ---------------------------------------------------------------------------------------------------------


def _subtitle(results: Results, numbers: Numbers) -> str:
    height, wide = numbers.arm.size
    settings = numbers.arm.settings
    parts = [f"{height} × {wide} pixels", f"goal: {wanted(results)}", count(len(numbers.rows), "run")]
    parts += [count(int(settings[key]), what) for key, what in (("population", "member"),) if key in settings]
    parts += [f"up to {count(int(settings['generations']), 'generation')}"] if "generations" in settings else []
    return " · ".join(parts)


def _places(numbers: Numbers) -> Iterable[Block]:
    found = numbers.places
    if found is None:
        return
    whose = "drawings" if found.holds else "best attempts (nothing reached the goal)"
    if found.steps is None:
        yield Text("No drawing has ink.")
        return
    squares = "" if found.square == 1 else f" in squares of {found.square} × {found.square} pixels"
    yield Text(
        "A ring holds all pixels with the same number of steps to the border; outer rings have more pixels. Ink that "
        "lay anywhere with equal chance would follow the line of the area. Bars above the line mean that ink was drawn "
        "there. This says where the ink is; it does not say why."
    )
    if not everywhere(numbers.arm):
        yield Text("In these runs ink was not allowed everywhere in all generations; see the settings below.")
    yield Picture(
        "places",
        f"Left: how many of the {found.runs} {whose} have ink at each place{squares}. Right: the share of their ink by "
        "distance to the border (mean over runs, each run counting the same) and the share of the canvas that lies "
        "there.",
        "A map of the canvas with the places of ink, and bars by ring from the border to the middle beside a line.",
        functools.partial(drawing_plots.places, found),
    )


def _front(results: Results, numbers: Numbers) -> Iterable[Block]:
    if not numbers.front:
        return
    yield Text(
        "Each run ended with a front: drawings of which none is beaten by another in ink and confidence at once. A "
        "line stands for what a run can give with so much ink at most. Hypervolume is the mean, over 0 to 63 pixels, "
        "of the best confidence for so many pixels: 1 would be full confidence without ink."
    )
    yield Picture(
        "fronts",
        "The fronts of all runs, and what is best among all of them.",
        "Rising steps of confidence against ink.",
        functools.partial(
            drawing_plots.fronts,
            [row for row in numbers.rows if row.run.front],
            numbers.front,
            target=numbers.target,
            goal=float(results.config["confidence"]) if "confidence" in results.config else None,
        ),
    )
    shown = numbers.front[:SHOWN]
    best = tuple(
        Tile(
            pixels(picture.places, numbers.arm),
            count(picture.ink, "pixel"),
            (percent(picture.confidence), read_as(class_name(results, picture.prediction)), f"seed {seed}"),
        )
        for seed, picture in shown
    )
    yield tiles(
        "front_drawings",
        (Group("", best),),
        numbers,
        "The best of all fronts, by ink. They were not shrunk, nor asked about again.",
        "Drawings with more and more ink, each more convincing than the one before.",
        side=96,
    )


def _boundary(results: Results, numbers: Numbers) -> Iterable[Block]:
    if goal(results) != "boundary" or not numbers.rows:
        return
    two = len(results.class_names) == 2
    tie = (
        "With two classes that is a confidence of one half."
        if two
        else "With more than two classes a tie can lie below one half, since others have a share, too."
    )
    yield Text(
        f"On the boundary the classifier gives {name_of(numbers.target)} and the best other class the same "
        f"probability: the smallest change may turn its answer. {tie}"
    )
    yield Picture(
        "boundary",
        "The confidence of each drawing"
        + (", and the width of the goal (shaded)" if two else "")
        + ". Colour and mark tell the class that the classifier sees.",
        "Points around a line at one half, one for each run.",
        functools.partial(
            drawing_plots.boundary,
            numbers.rows,
            target=numbers.target,
            within=float(results.config.get("within", 0.01)) if two else None,
        ),
    )


def _runs(results: Results, numbers: Numbers) -> Iterable[Block]:
    for text in interrupted(results, numbers):
        yield Text(text)
    if not numbers.rows:
        yield Text("Nothing was run.")
        return
    yield _table(results, numbers)
    searches = results.ledger.get("searches", {})
    if searches:
        kinds = ("issued", "answered", "failed", "lost", "repeated")
        columns = (Column("account", kind="name"), *(Column(kind, 0) for kind in kinds))
        rows = tuple((name, *(int(each.get(kind, 0)) for kind in kinds)) for name, each in searches.items())
        total = ("all of them", *(sum(int(each.get(kind, 0)) for each in searches.values()) for kind in kinds))
        issued = results.queries()
        yield Text(
            f"The runs asked {count(issued, 'query')}, shrinking included, and took "
            f"{count(results.queries(of='repeated'), 'answer')} from their caches, for drawings that they had asked "
            "about before."
        )
        yield More(
            "Queries by account",
            (
                Sheet(
                    "Every query that was charged: issued = answered + failed + lost (sent when the run was killed). "
                    "Repeated are answers from a cache; they cost nothing.",
                    columns,
                    (*rows, total),
                ),
            ),
        )


def _table(results: Results, numbers: Numbers) -> Sheet:
    known = any(row.finding is not None for row in numbers.rows)
    shrunk = any(row.run.shrunk for row in numbers.rows)
    asked = int(results.config.get("confirm") or 0)
    columns = [Column("seed", kind="name")]
    columns += [Column("finding", 0)] if known else []
    columns += [Column("goal", kind="verdict"), Column("in generation", 0), Column("queries to there", 0)]
    columns += [Column("ink before", 0)] if shrunk else []
    columns += [Column("ink", 0), Column("confidence"), Column("read as", kind="text")]
    columns += [Column("minimal", kind="text"), Column("queries of shrinking", 0)] if shrunk else []
    columns += [Column("confirmed", 0)] if asked else []
    rows = []
    for row in numbers.rows:
        run = row.run
        goal_: Any = "reached" if row.holds else "not reached"
        if row.ended == "budget":
            goal_ = Note(goal_, f"budget, after generation {run.ended:,}")
        elif not row.holds and run.reached is not None:
            goal_ = Note(goal_, "lost again" if run.shrunk is None else "not when asked again")
        cells: list[Any] = [str(run.seed)]
        cells += [row.finding] if known else []
        cells += [goal_, run.reached, run.queries]
        cells += [run.best.ink] if shrunk else []
        cells += [run.final.ink, percent(run.final.confidence), label_of(row)]
        cells += [certificate(run.shrunk), run.shrunk.queries] if run.shrunk else [None, None] if shrunk else []
        cells += [run.confirmed] if asked else []
        rows.append(tuple(cells))
    caption = (
        "One row for each run. “Queries to there” are those up to the end of the generation that reached the goal, or "
        "of all generations if none did."
    )
    return Sheet(caption, tuple(columns), tuple(rows))


def label_of(row: Row) -> str:
    """What the classifier sees, for a table."""
    return name_of(row.prediction) if row.prediction else "no answer"


def _again(results: Results, numbers: Numbers) -> Iterable[Block]:
    yield Text("This command draws all of it again; the same seeds give the same drawings:")
    yield Code(results.command)
    first = next((row.finding for row in numbers.held if row.finding is not None), 1 if numbers.held else None)
    yield Text(
        "DIR is the directory that this page lies in. Each drawing that reached the goal is a finding with a number "
        "and lies there in images/ as the PNG that was sent. To ask the classifier about one of them again, and to see "
        "that all files are as they were written and all drawings still convince:"
        if first is not None
        else "DIR is the directory that this page lies in. To see that all files in it are as they were written:"
    )
    yield Code("\n".join([*([f"evofool replay DIR#{first}"] if first is not None else []), "evofool verify DIR"]))
    yield Text("Versions: " + ", ".join(f"{name} {version}" for name, version in results.versions.items()) + ".")
    yield More("Resolved configuration", (Code(_json(results.config)),))
    yield More("The classifier", (Code(_json(results.classifier)),))
    yield More("The way to draw", (Code(_json(numbers.arm.settings)),))


# Inside -----------------------------------------------------------------------------------------------------------


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)
