"""The pictures of a page of drawing: what was drawn, what of it was not needed, and how it came about."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from ..studies.draw.results import Picture as Drawing
from ..studies.draw.results import Results, Shrinking
from . import drawing_plots
from .drawing_findings import MINIMAL, all_of, classifier_of, count, name_of, percent, read_as, wanted
from .drawing_pixels import FINE, SIDE, pixels, thickness, width
from .drawing_tables import Numbers, Row, class_name, everywhere, goal
from .page import Block, Group, More, Picture, Text, Tile, Tiles

SHOWN = 60  # drawings in view
PAIRS = 12  # before and after in view


def drawings(results: Results, numbers: Numbers) -> Iterable[Block]:
    """What each run handed over, the least ink first."""
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
    yield tiles(
        "drawings",
        (Group("", (blank, *first)),),
        numbers,
        f"The canvas without ink, and the drawings{_order(numbers)}.{_enlarged(numbers)}",
        f"{len(first)} drawings of a few pixels on a blank canvas.",
    )
    if len(ordered) > SHOWN:
        rest = tuple(_tile(results, numbers, row) for row in ordered[SHOWN:])
        more = tiles("drawings_more", (Group("", rest),), numbers, "The other drawings.", "More such drawings.")
        yield More(f"The other {len(rest)} drawings", (more,))


def _order(numbers: Numbers) -> str:
    parts = ["the least ink first"] if len(numbers.held) > 1 else []
    parts += ["of those that fell short the most confident first"] if len(numbers.missed) > 1 else []
    return f": {', '.join(parts)}" if parts else ""


def _tile(results: Results, numbers: Numbers, row: Row) -> Tile:
    final = row.run.final
    lines = [f"{percent(final.confidence)}, {read_as(row.prediction)}", f"seed {row.run.seed}{_number(row)}"]
    if row.run.shrunk and row.holds and final.ink:
        lines.insert(1, certificate(row.run.shrunk))
    if not row.holds:
        lines.append("goal not reached")
    return Tile(pixels(final.places, numbers.arm), count(final.ink, "pixel"), tuple(lines), quiet=not row.holds)


def _number(row: Row) -> str:
    return "" if row.finding is None else f", finding {row.finding}"


def certificate(shrunk: Shrinking) -> str:
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


def shrinking(results: Results, numbers: Numbers) -> Iterable[Block]:
    """Before and after ink was taken away."""
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
        block = tiles(
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
    after = certificate(shrunk) if final.ink else "no ink left"
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


def evolution(results: Results, numbers: Numbers) -> Iterable[Block]:
    """Strips of some runs, and the curves of all."""
    picked = chosen(numbers)
    if picked:
        yield Text(
            "Every member of a population begins with one pixel of ink at random; from then on members are selected, "
            "crossed and mutated as the settings below say."
        )
        groups = tuple(
            Group(
                f"seed {row.run.seed}: {why}",
                tuple(_step(results, numbers, row, at) for at in range(len(row.run.strip))),
            )
            for row, why in picked
            if row.run.strip
        )
        yield tiles(
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


def chosen(numbers: Numbers) -> list[tuple[Row, str]]:
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


def tiles(name: str, groups: tuple[Group, ...], numbers: Numbers, caption: str, alt: str, *, side: int = SIDE) -> Tiles:
    """Drawings side by side, each about `side` CSS pixels wide."""
    wide = width(numbers.arm.size, side)
    picture = Picture(name, caption, alt, functools.partial(drawing_plots.tiles, groups, wide))
    return Tiles(picture, groups, wide)
