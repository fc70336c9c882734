"""The page of drawing: sections of text, tables and figures in reading order, neither drawn nor rendered."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from ..studies.draw.results import Picture as Drawing
from ..studies.draw.results import Results, Shrinking
from . import drawing_plots
from .drawing_findings import (
    MINIMAL,
    all_of,
    classifier_of,
    count,
    findings,
    interrupted,
    name_of,
    percent,
    read_as,
    wanted,
)
from .drawing_pixels import FINE, SIDE, pixels, thickness, width
from .drawing_tables import Numbers, Row, class_name, everywhere, goal
from .page import Block, Code, Group, More, Page, Picture, Section, Text, Tile, Tiles
from .sheets import Column, Note, Records, Sheet

SHOWN = 60  # drawings in view
PAIRS = 12  # before and after in view


def page(results: Results, numbers: Numbers) -> Page:
    """Lay out the report.

    Args:
        results: of drawing.
        numbers: computed from them.
    """
    sections = [
        Section("drawings", "The drawings", tuple(_drawings(results, numbers))),
        Section("shrinking", "What the goal did not need", tuple(_shrinking(results, numbers))),
        Section("evolution", "How they came about", tuple(_evolution(results, numbers))),
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


def records(results: Results, numbers: Numbers) -> list[Records]:
    """Every table in full, for the files; those without a row are left out."""
    places = numbers.places
    found = [
        Records("runs", [_record(numbers, row) for row in numbers.rows]),
        Records("generations", results.generations()),
        Records(
            "curves",
            [
                {"measure": curve.measure, "generation": generation, "first_quartile": low, "median": middle,
                 "third_quartile": high, "runs": curve.runs}
                for curve in numbers.curves
                for generation, low, middle, high in zip(
                    curve.generations, curve.low, curve.median, curve.high, strict=True
                )
            ],
        ),
        Records(
            "occupancy",
            [
                {"row": row * places.square, "column": column * places.square, "height": places.square,
                 "width": places.square, "ink": float(places.map[row, column]), "drawings": places.runs}
                for row in range(places.map.shape[0])
                for column in range(places.map.shape[1])
                if places.map[row, column]
            ] if places else [],
        ),
        Records("rings", [ring._asdict() for ring in places.rings] if places else []),
        Records(
            "fronts",
            [
                {"seed": row.run.seed, "ink": picture.ink, "confidence": picture.confidence,
                 "best_of_all": (row.run.seed, picture) in numbers.front, "places": _text(picture.places, numbers)}
                for row in numbers.rows
                for picture in row.run.front
            ],
        ),
        Records("queries", [{"account": name, **kinds} for name, kinds in results.ledger.get("searches", {}).items()]),
    ]  # fmt: skip
    return [table for table in found if table.rows]


def _record(numbers: Numbers, row: Row) -> dict[str, Any]:
    run = row.run
    return {
        "seed": run.seed,
        "finding": row.finding,
        "at_the_goal": row.holds,
        "generation_of_the_goal": run.reached,
        "queries": run.queries,
        "ended_after": run.ended,
        "ended_by": row.ended,
        "ink_before_shrinking": run.best.ink,
        "ink": run.final.ink,
        "confidence": run.final.confidence,
        "read_as": row.prediction,
        "minimal": run.shrunk.minimal if run.shrunk else None,
        "queries_of_shrinking": run.shrunk.queries if run.shrunk else None,
        "confirmed": run.confirmed,
        "places": _text(run.final.places, numbers),
    }


def _text(places: Sequence[int], numbers: Numbers) -> str:
    """Row and column of each pixel of ink: "3,31 7,0"."""
    return " ".join(f"{place // numbers.arm.size[1]},{place % numbers.arm.size[1]}" for place in places)


# Sections ---------------------------------------------------------------------------------------------------------


def _subtitle(results: Results, numbers: Numbers) -> str:
    height, wide = numbers.arm.size
    settings = numbers.arm.settings
    parts = [f"{height} × {wide} pixels", f"goal: {wanted(results)}", count(len(numbers.rows), "run")]
    parts += [count(int(settings[key]), what) for key, what in (("population", "member"),) if key in settings]
    parts += [f"up to {count(int(settings['generations']), 'generation')}"] if "generations" in settings else []
    return " · ".join(parts)


def _drawings(results: Results, numbers: Numbers) -> Iterable[Block]:
    height, wide = numbers.arm.size
    classifier, target = classifier_of(results), name_of(numbers.target)
    yield Text(
        f"{classifier} was shown a blank canvas of {height} × {wide} pixels ({_level(numbers.arm.canvas)}). Evolution "
        f"then put single pixels of ink ({_level(numbers.arm.ink)}) on it, and kept what brought the answer closer to "
        f"{wanted(results)}. It saw nothing but the classifier's answers. Each drawing is one run with random numbers "
        "of its own, its seed. The percentage is the probability that the classifier gives to "
        f"{target}. “1-minimal” means that no single pixel can be taken away without losing the goal, and “2-minimal” "
        "that no pair of pixels can, either."
    )
    variant = results.classifier.get("variant")
    if variant:
        yield Text(f"The classifier was asked with a change: {variant}.")
    ordered = [*numbers.held, *numbers.missed]
    if not ordered:
        return
    if not numbers.held:
        yield Text(
            f"No run came to {wanted(results)}. Shown are the best attempts, as they were in the last generation, the "
            "most confident first."
        )
    elif numbers.missed:
        yield Text(
            "Framed with dashes: runs that fell short of the goal, with their best attempt of the last generation."
        )
    blank = Tile(pixels([], numbers.arm), "no ink", (_said(results, results.blank),))
    first = tuple(_tile(results, numbers, row) for row in ordered[:SHOWN])
    yield _tiles(
        "drawings",
        (Group("", (blank, *first)),),
        numbers,
        f"The canvas without ink, and the drawings{_order(numbers)}.{_enlarged(numbers)}",
        f"{len(first)} drawings of a few pixels on a blank canvas.",
    )
    if len(ordered) > SHOWN:
        rest = tuple(_tile(results, numbers, row) for row in ordered[SHOWN:])
        more = _tiles("drawings_more", (Group("", rest),), numbers, "The other drawings.", "More such drawings.")
        yield More(f"The other {len(rest)} drawings", (more,))


def _order(numbers: Numbers) -> str:
    parts = ["the least ink first"] if len(numbers.held) > 1 else []
    parts += ["the most confident of those that fell short first"] if len(numbers.missed) > 1 else []
    return f"; {', '.join(parts)}" if parts else ""


def _tile(results: Results, numbers: Numbers, row: Row) -> Tile:
    final = row.run.final
    lines = [f"{percent(final.confidence)}, {read_as(row.prediction)}", f"seed {row.run.seed}{_number(row)}"]
    if row.run.shrunk and row.holds and final.ink:
        lines.insert(1, _certificate(row.run.shrunk))
    if not row.holds:
        lines.append("goal not reached")
    return Tile(pixels(final.places, numbers.arm), count(final.ink, "pixel"), tuple(lines), quiet=not row.holds)


def _number(row: Row) -> str:
    return "" if row.finding is None else f", finding {row.finding}"


def _certificate(shrunk: Shrinking) -> str:
    """How minimal a drawing is, or why that was not shown."""
    return f"{shrunk.minimal}-minimal" if shrunk.minimal else shrunk.words.partition(",")[0]


def _said(results: Results, picture: Drawing) -> str:
    return f"{percent(picture.confidence)}, {read_as(class_name(results, picture.prediction))}"


def _level(levels: Sequence[float]) -> str:
    if len(set(levels)) == 1:
        name = {0.0: "black", 1.0: "white"}.get(round(levels[0], 2), "gray")
        return f"{name}, gray level {levels[0]:.3g}"
    return f"colour {', '.join(f'{level:.3g}' for level in levels)}"


def _enlarged(numbers: Numbers) -> str:
    times = thickness(numbers.arm.size)
    if times == 1:
        return " Enlarged without smoothing; images/ has them as they were sent."
    return (
        f" On a canvas of more than {FINE} pixels each pixel of ink is shown {times} × {times}, so that it can be "
        "seen; images/ has them as they were sent."
    )


def _shrinking(results: Results, numbers: Numbers) -> Iterable[Block]:
    rows = [row for row in numbers.held if row.run.shrunk]
    if not rows:
        return
    levels = [row.run.shrunk.minimal for row in rows if row.run.shrunk]
    yield Text(
        "After its goal was reached, ink was taken away from each drawing as long as the goal still held: first in "
        "batches, then pixel by pixel, then pair by pair. "
        f"{_certificates(levels)} Minimal does not mean that no other drawing does with less: another run may find one."
    )
    for first, rest in ((True, rows[:PAIRS]), (False, rows[PAIRS:])):
        if not rest:
            continue
        groups = tuple(_pair(results, numbers, row) for row in rest)
        block = _tiles(
            "shrinking" if first else "shrinking_more",
            groups,
            numbers,
            "Before and after shrinking. Coloured: the ink that was not needed.",
            "Pairs of drawings: with ink that was taken away in colour, and what was left of them.",
        )
        yield block if first else More(f"The other {len(rest)} pairs", (block,))


def _certificates(levels: Sequence[int]) -> str:
    """How many of these drawings are shown to be how minimal, in words."""
    total = len(levels)
    parts = []
    for level, words in ((2, "2-minimal"), (1, "1-minimal, and not shown to be 2-minimal"), (0, MINIMAL[0])):
        mine = sum(found == level for found in levels)
        if mine == total:
            return f"{all_of(total, 'drawing')} {'is' if total == 1 else 'are'} {words}."
        if mine:
            parts.append(f"{mine} {'is' if mine == 1 else 'are'} {words}")
    return f"Of {total} drawings {', '.join(parts)}."


def _pair(results: Results, numbers: Numbers, row: Row) -> Group:
    best, final, shrunk = row.run.best, row.run.final, row.run.shrunk
    assert shrunk is not None
    gone = set(best.places) - set(final.places)
    after = _certificate(shrunk) if final.ink else "no ink left"
    return Group(
        f"seed {row.run.seed}",
        (
            Tile(pixels(best.places, numbers.arm, marked=gone), count(best.ink, "pixel"), (percent(best.confidence),)),
            Tile(
                pixels(final.places, numbers.arm),
                count(final.ink, "pixel"),
                (percent(final.confidence), after, count(shrunk.queries, "query")),
            ),
        ),
    )


def _evolution(results: Results, numbers: Numbers) -> Iterable[Block]:
    chosen = _chosen(numbers)
    if chosen:
        yield Text(
            "Every member of a population begins with one pixel of ink at random; from then on members are selected, "
            "crossed and mutated as the settings below say."
        )
        groups = tuple(
            Group(
                f"seed {row.run.seed}: {why}",
                tuple(_step(results, numbers, row, at) for at in range(len(row.run.strip))),
            )
            for row, why in chosen
            if row.run.strip
        )
        yield _tiles(
            "evolution",
            groups,
            numbers,
            "The best drawing of some runs in generation 0, 1, 2, 5, 10, 20, 50, ... and the last, before shrinking.",
            "Rows of drawings that gain and lose pixels over the generations.",
            side=96,
        )
    if numbers.curves:
        marks = []
        if goal(results) != "boundary":
            marks.append("the goal")
        if _compared(numbers):
            marks.append("the mean distance of all pixels of the canvas")
        lines = f" Dashed: {' and '.join(marks)}." if marks else ""
        ended = " A run that ended before the last generation keeps its last numbers." if _early(numbers) else ""
        yield Picture(
            "over_generations",
            f"Over the generations: median and quartiles over the runs.{ended} The distance to the border is that of "
            f"all members of the population.{lines}",
            "Small panels with lines over the generations: confidence, ink, share of runs at the goal, and others.",
            functools.partial(
                drawing_plots.curves,
                numbers.curves,
                goal=float(results.config.get("confidence", 0)) if goal(results) != "boundary" else None,
                canvas=numbers.places.canvas if numbers.places and _compared(numbers) else None,
            ),
        )


def _compared(numbers: Numbers) -> bool:
    """Whether the distance to the border can be held against that of the canvas."""
    return everywhere(numbers.arm) and any(curve.measure == "steps" for curve in numbers.curves)


def _early(numbers: Numbers) -> bool:
    return any(row.run.ended is not None for row in numbers.rows)


def _chosen(numbers: Numbers) -> list[tuple[Row, str]]:
    """A few runs by how much ink they took, and the best of those that fell short."""
    held = numbers.held
    picked = [(held[0], "the least ink")] if held else []
    more = [(len(held) // 2, "in the middle by ink")] if len(held) > 2 else []
    more += [(len(held) - 1, "the most ink")] if len(held) > 1 else []
    for at, why in more:
        same = held[at].run.final.ink == held[0].run.final.ink
        picked.append((held[at], "as little ink" if same else why))
    if numbers.missed:
        picked.append((numbers.missed[0], "the best that fell short of the goal"))
    return picked


def _step(results: Results, numbers: Numbers, row: Row, at: int) -> Tile:
    generation, picture = row.run.strip[at]
    return Tile(
        pixels(picture.places, numbers.arm),
        f"{'generation ' if at == 0 else ''}{generation:,}",
        (count(picture.ink, "pixel"), percent(picture.confidence)),
    )


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
    tiles = tuple(
        Tile(
            pixels(picture.places, numbers.arm),
            count(picture.ink, "pixel"),
            (percent(picture.confidence), read_as(class_name(results, picture.prediction)), f"seed {seed}"),
        )
        for seed, picture in shown
    )
    yield _tiles(
        "front_drawings",
        (Group("", tiles),),
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
        cells += [_certificate(run.shrunk), run.shrunk.queries] if run.shrunk else [None, None] if shrunk else []
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


def _tiles(
    name: str, groups: tuple[Group, ...], numbers: Numbers, caption: str, alt: str, *, side: int = SIDE
) -> Tiles:
    wide = width(numbers.arm.size, side)
    picture = Picture(name, caption, alt, functools.partial(drawing_plots.tiles, groups, wide))
    return Tiles(picture, groups, wide)


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)
