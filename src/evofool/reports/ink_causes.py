"""One section of an ink study's page for each question: text, figures and tables, neither drawn nor rendered."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..studies.ink import evidence, schedules
from ..studies.ink.evidence import ITSELF
from ..studies.ink.results import Arm, Results
from . import ink_maps, ink_plots, ink_tables
from .drawing_findings import count, name_of, percent
from .ink_maps import Band, Panel
from .ink_tables import Cell, Numbers, label_of
from .ink_words import TICKS, UNIT, index_lines, noted, signed_number
from .page import Block, More, Text
from .page import Picture as Figure
from .sheets import Column, Note, Sheet

RESIZES = {
    "nearest": "to the nearest pixel",
    "bilinear": "bilinearly",
    "antialias": "with antialiasing",
    "crop": "cut out",
}


# 4 --------------------------------------------------------------------------------------------------------------------


def padding(results: Results, numbers: Numbers) -> Iterable[Block]:
    """Each network under each padding: map, edge index, accuracy before and after."""
    rows = ink_tables.cells(results, numbers)
    if not rows:
        yield Text(ink_tables.absent(results, "padding"))
        return
    yield Text(
        "A network that is padded with zeros sees a frame of zeros round every image: white paper beside it is a step "
        "all round the border, so that a blank canvas is not blank to it. Here the padding is swapped in place, with "
        "the same weights; and networks of the same architecture are trained with each. A swap tells something about "
        "these weights only where the network stays about as good as it was (within 5 points), and nothing about "
        "padding in general: for that, compare the framed maps, where each network has the padding that it was trained "
        "with."
    )
    for text in _left_out(results):
        yield Text(text)
    if any(cell.map for row in rows.values() for cell in row):
        bands = [_band(row) for row in rows.values()]
        yield Figure(
            "padding",
            "What single pixels do to the blank canvas, for each network (rows) under each padding (columns; framed: "
            "the one that it was trained with), with the edge index of what was evolved on it and the accuracy before "
            "and after. One colour scale for each row.",
            "A grid of maps in red and blue, networks by paddings.",
            functools.partial(ink_maps.maps, bands),
        )
    else:
        yield Text(f"What single pixels do was not mapped. {ink_tables.absent(results, 'landscape')}")
    yield _swaps(rows)
    layers = _layers(results, rows)
    if layers.rows:
        yield More("Layers whose padding was changed, and those where it could not be", (layers,))


def _left_out(results: Results) -> list[str]:
    return [f"Left out: {why}." for part, why in results.skipped if part == "padding"]


def _band(row: Sequence[Cell]) -> Band:
    values = [ink_tables.filled(cell.map) for cell in row]
    panels: list[Panel | None] = []
    for cell, found in zip(row, values, strict=True):
        if cell.row is None and found is None:
            panels.append(None)
            continue
        lines = (*(index_lines(cell.row.edge) if cell.row else ("not drawn", "")), _accuracies(cell))
        panels.append(Panel(f"{_mode(cell.mode)}{' (its own)' if cell.own else ''}", lines, found, cell.own))
    return Band(row[0].network, tuple(panels), ink_tables.limit(values), UNIT)


def _mode(mode: str) -> str:
    return mode or "as it is"


def _accuracies(cell: Cell) -> str:
    if cell.after is None:
        return "accuracy not known"
    after = percent(cell.after.accuracy)
    return (
        f"accuracy {after}"
        if cell.own or cell.before is None
        else f"accuracy {percent(cell.before.accuracy)} → {after}"
    )


def _swaps(rows: dict[str, list[Cell]]) -> Sheet:
    columns = (Column("network", kind="name"), Column("padding", kind="text"), Column("edge index"),
               Column("change against its own"), Column("runs", 0), Column("accuracy", 3), Column("balanced", 3),
               Column("change, points", 1), Column("layers changed", 0), Column("layers skipped", 0))  # fmt: skip
    found = []
    for row in rows.values():
        for cell in row:
            if cell.row is None and cell.after is None:
                continue
            lost = None
            if not cell.own and cell.before and cell.after:
                lost = 100 * (cell.after.accuracy - cell.before.accuracy)
            change = cell.row.change if cell.row and not cell.own else None
            found.append(
                (
                    cell.network,
                    Note(_mode(cell.mode), "its own") if cell.own else cell.mode,
                    noted(cell.row.edge) if cell.row else None,
                    noted(change, signed=True),
                    cell.row.runs if cell.row else None,
                    ink_tables.finite(cell.after.accuracy) if cell.after else None,
                    ink_tables.finite(cell.after.balanced) if cell.after else None,
                    ink_tables.finite(lost),
                    len(cell.layers.changed) if cell.layers else None,
                    len(cell.layers.skipped) if cell.layers else None,
                )
            )
    return Sheet(
        "The edge index under each padding beside what it costs; intervals of 95%, each by itself. Accuracy of the "
        "network as it was trained stands in the row of its own padding.",
        columns,
        tuple(found),
    )


def _layers(results: Results, rows: dict[str, list[Cell]]) -> Sheet:
    found = []
    for each in results.accuracies:
        if each.changed or each.skipped:
            words = ["; ".join(layers) if layers else None for layers in (each.changed, each.skipped)]
            found.append((f"{label_of(results, each.classifier)}, {each.variant}", *words))
    columns = (Column("network", kind="name"), Column("changed", kind="text"), Column("skipped, and why", kind="text"))
    return Sheet(
        "Layers. A feature map that is not larger than its padding cannot be reflected.", columns, tuple(found)
    )


# 5, 6 -----------------------------------------------------------------------------------------------------------------


def position(results: Results, numbers: Numbers) -> Iterable[Block]:
    """Windows of the canvas, gray levels of the blank, ink and canvas exchanged."""
    windows = [arm for arm in ink_tables.tagged(results, "position", "window") if results.of(arm.name)]
    levels = [arm for arm in ink_tables.tagged(results, "position", "canvas") if results.of(arm.name)]
    if not windows and not levels:
        yield Text(ink_tables.absent(results, "position"))
        return
    if windows:
        yield Text(
            "Ink may lie in a window of two thirds of the canvas only. If it goes to the edge of the canvas, not to "
            "the middle of the window or to the window's other edges, then the place on the canvas counts. The null "
            "has the same window."
        )
        panels = [
            Panel(what, (*index_lines(numbers.rows[arm.name].edge), count(len(results.of(arm.name)), "run")), values)
            for arm in windows
            for what in (str(arm.tags["window"]),)
            for values in (ink_tables.scaled(ink_tables.excess(results, [arm.name], str(arm.tags.get("region", "")))),)
            if values is not None
        ]
        if panels:
            yield Figure(
                "windows",
                "Where the ink lies in each window (gray: not allowed), with its edge index measured from the border "
                "of the canvas. Red is more ink than if the same ink were spread evenly in the window.",
                "Maps of the canvas with a window each.",
                functools.partial(ink_maps.maps, [Band("", tuple(panels), 1.0, "share of the largest", TICKS)]),
            )
    if levels:
        base = ink_tables.known(results, results.base)
        yield Text(
            "The blank may have another gray level, down to ink and canvas exchanged. If the preference goes, what the "
            "canvas looks like counts, not only the place."
        )
        shown = [*([results.arm(results.base)] if base else []), *levels]
        found = [ink_tables.map_on(results, arm.classifier, arm.variant, arm) for arm in shown]
        values = [ink_tables.filled(each) for each in found]
        if any(each is not None for each in values):
            panels = [
                Panel(
                    f"blank {arm.canvas[0]:.3g}, ink {arm.ink[0]:.3g}",
                    (
                        *index_lines(numbers.rows[arm.name].edge),
                        f"blank: {signed_number(each.blank)} log-odds" if each else "",
                    ),
                    value,
                    arm.name == results.base,
                )
                for arm, each, value in zip(shown, found, values, strict=True)
            ]
            yield Figure(
                "levels",
                "What single pixels do to blanks of several gray levels (framed: the base), with the edge index of "
                "what was evolved on them. One colour scale.",
                "Maps of the canvas in red and blue, one for each gray level.",
                functools.partial(ink_maps.maps, [Band("", tuple(panels), ink_tables.limit(values), UNIT)]),
            )
    yield _against_base(results, numbers, [*windows, *levels], "The same in numbers; 95% intervals, each by itself.")


def pipeline(results: Results, numbers: Numbers) -> Iterable[Block]:
    """Drawn in other sizes and resized; what stands beyond the border."""
    sizes = [arm for arm in ink_tables.tagged(results, "pipeline", "resize") if results.of(arm.name)]
    outside = [arm for arm in ink_tables.tagged(results, "pipeline", "outside") if results.of(arm.name)]
    if not sizes and not outside:
        yield Text(ink_tables.absent(results, "pipeline"))
        return
    for part, why in results.skipped:
        if part == "pipeline":
            yield Text(f"Left out: {why}.")
    yield Text(
        "Drawings may be larger than what the network takes, and be resized on the way, or the middle be cut out of "
        "them; then the border of the drawing is not the border that the network sees. And what stands beyond the "
        "border may have another gray level than the zeros that the network was trained with."
    )
    if sizes:
        panels = [
            Panel(
                f"{arm.tags.get('size', '')}, {RESIZES.get(str(arm.tags['resize']), str(arm.tags['resize']))}",
                (*index_lines(numbers.rows[arm.name].edge), count(len(results.of(arm.name)), "run")),
                values,
            )
            for arm in sizes
            for values in (ink_tables.scaled(ink_tables.excess(results, [arm.name])),)
            if values is not None
        ]
        if panels:
            yield Figure(
                "sizes",
                "Where the ink lies in drawings of other sizes. Red is more ink than if the same ink were spread "
                "evenly.",
                "Maps of larger canvases in red and blue.",
                functools.partial(ink_maps.maps, [Band("", tuple(panels), 1.0, "share of the largest", TICKS)]),
            )
    if outside:
        values = [ink_tables.filled(ink_tables.map_on(results, arm.classifier, arm.variant, arm)) for arm in outside]
        if any(each is not None for each in values):
            panels = [
                Panel(
                    f"gray {arm.tags['outside']:g} beyond the border",
                    index_lines(numbers.rows[arm.name].edge),
                    value,
                )
                for arm, value in zip(outside, values, strict=True)
            ]
            yield Figure(
                "outside",
                "What single pixels do to the blank canvas, with other gray levels beyond the border. One colour "
                "scale.",
                "Maps of the canvas in red and blue.",
                functools.partial(ink_maps.maps, [Band("", tuple(panels), ink_tables.limit(values), UNIT)]),
            )
    yield _against_base(results, numbers, [*sizes, *outside], "The same in numbers; 95% intervals, each by itself.")


def _against_base(results: Results, numbers: Numbers, arms: Sequence[Arm], caption: str) -> Sheet:
    tested = [_accuracy(results, arm) for arm in arms]
    known = any(each is not None for each in tested)
    columns = [Column("what", kind="name"), Column("edge index"), Column("change against the base"), Column("runs", 0),
               Column("at the goal", 0), Column("ink", 1)]  # fmt: skip
    columns += [Column("accuracy", 3)] if known else []
    rows = []
    for arm, accuracy in zip(arms, tested, strict=True):
        row = numbers.rows[arm.name]
        cells: list[Any] = [
            row.what,
            noted(row.edge),
            noted(row.change, signed=True),
            row.runs,
            row.reached,
            row.ink,
        ]
        rows.append((*cells, accuracy) if known else tuple(cells))
    return Sheet(caption, tuple(columns), tuple(rows))


def _accuracy(results: Results, arm: Arm) -> float | None:
    if not arm.variant:
        return None
    found = evidence.accuracy_of(results, arm.classifier, arm.variant)
    return ink_tables.finite(found.accuracy) if found else None


# 7, 8, 9 --------------------------------------------------------------------------------------------------------------


def data(results: Results, numbers: Numbers) -> Iterable[Block]:
    """Dark pixels by ring in the training images."""
    if not results.dark:
        yield Text(ink_tables.absent(results, "data"))
        return
    wanted = name_of(results.class_names[results.target])
    yield Text(
        f"A pixel looks like ink where its gray level is nearer to the ink than to the canvas. If {wanted} had more "
        "such pixels near the border than the others, the network could have learned it there. This is an association; "
        "only training again on other data would prove it."
    )
    yield Figure(
        "dark",
        f"How much of each ring looks like ink in the training images, {wanted} and all others; bands are 95% "
        "intervals over images.",
        "Two lines from the border to the middle.",
        functools.partial(ink_plots.dark, results.dark, wanted),
    )
    lean = results.lean
    if lean:
        yield Text(
            f"On average, what looks like ink lies {lean.wanted:.2f} steps from the border in {wanted} and "
            f"{lean.others:.2f} in the others: {signed_number(lean.difference)} steps, 95% interval "
            f"{signed_number(lean.low)} to {signed_number(lean.high)} (below 0: nearer to the edge in the wanted "
            "class)."
        )


def transfer(results: Results, numbers: Numbers) -> Iterable[Block]:
    """The drawings shown to other networks, shifted, blurred, jittered."""
    shown = ink_tables.shown(results)
    if not shown:
        asked = any(run.reached is not None for run in results.of(results.base))
        no_drawing = (
            "" if asked or not ink_tables.ran(results, "transfer") else " No drawing of the base reached its goal."
        )
        yield Text(f"{ink_tables.absent(results, 'transfer')}{no_drawing}")
        return
    yield Text(
        "Each drawing of the base that reached its goal is shown to the other networks, and to its own network after "
        "it was shifted (in four directions), blurred a little, or each of its pixels moved to a neighbour. What shows "
        "a class to anyone would still do so."
    )
    for part, why in results.skipped:
        if part == "transfer":
            yield Text(f"Left out: {why}.")
    goal = ink_tables.finite(results.config.get("confidence"))
    yield Figure(
        "transfer",
        "Confidence in each drawing, by the way of showing it: a dot for each drawing, a line for their mean. Dashed: "
        "one half. Dotted: the goal.",
        "Rows of dots between 0 and 100%.",
        functools.partial(ink_plots.transfer, shown, goal=goal),
    )
    effects = {each.what: each for each in numbers.verdict.cause(ITSELF).effects}
    rows = []
    for name, values in shown.items():
        effect = effects.get(f"shown {name}") or effects.get(name)
        rows.append(
            (name, float(np.mean(values)), _interval(effect), float(min(values)), float(max(values)), len(values))
        )
    columns = (Column("shown", kind="name"), Column("mean confidence", 3), Column("interval over runs"),
               Column("least", 3), Column("most", 3), Column("drawings", 0))  # fmt: skip
    yield Sheet("The same in numbers.", columns, tuple(rows))


def _interval(effect: Any) -> str | None:
    if effect is None or effect.low is None or effect.high is None:
        return None
    return f"{max(0.0, effect.low):.2f} to {min(1.0, effect.high):.2f}"


def schedule(results: Results, numbers: Numbers) -> Iterable[Block]:
    """The centre-only schedule of the question, beside two controls."""
    found, ends = numbers.verdict.schedule, schedules.ends(results)
    if found is None:
        yield Text(ink_tables.absent(results, "schedule"))
        return
    yield Text(
        "The question confined ink to the middle for most of a run and then lifted the limit: afterwards, it says, the "
        "images always scored better. But the best image is kept from generation to generation, so that a run can only "
        "become better: runs that stay confined for as long, and runs that were never confined, tell what freedom is "
        "worth."
    )
    for sentence in found.sentences:
        yield Text(sentence)
    arms = [arm for arm in ink_tables.tagged(results, "schedule", "schedule") if results.of(arm.name)]
    lines = []
    for arm in arms:
        name = str(arm.tags["schedule"])
        line = ink_tables.line(name, results.of(arm.name), lambda run: run.fitness)
        if line:
            lines.append((name, line))
    if lines:
        yield Figure(
            "schedule",
            "Best fitness of runs that are confined first and then free, always free, and always confined: median and "
            "quartiles by generation, and each run when the limit was lifted and at the end.",
            "Lines falling over the generations, and pairs of points joined by lines.",
            functools.partial(ink_plots.schedule, lines, ends, found.confined),
        )
    rows = []
    for arm in arms:
        row = numbers.rows[arm.name]
        every = [end for end in ends if end.arm == arm.name]
        then, last = (
            [value for end in every if (value := getattr(end, name)) is not None] for name in ("lifted", "last")
        )
        better = sum(end.better for end in every)
        rows.append((
            str(arm.tags["schedule"]), row.runs, schedules.measured_at(every), float(np.median(then)) if then else None,
            float(np.median(last)) if last else None, better, row.reached, row.ink,
        ))  # fmt: skip
    columns = (Column("schedule", kind="name"), Column("runs", 0), Column("measured in generation"),
               Column("fitness then", 4), Column("fitness at the end", 4), Column("runs that became better", 0),
               Column("at the goal", 0), Column("ink at the end", 1))  # fmt: skip
    yield Sheet(
        f"Medians over runs; lower fitness is better. The limit was lifted after generation {found.confined:,}; “then” "
        "is the last generation that was measured until that one.",
        columns,
        tuple(rows),
    )
    panels = [
        Panel(str(arm.tags["schedule"]), (count(len(results.of(arm.name)), "run"),), values)
        for arm in arms
        for values in (ink_tables.scaled(ink_tables.excess(results, [arm.name])),)
        if values is not None
    ]
    if panels:
        yield Figure(
            "schedule_maps",
            "Where the ink lies at the end of each schedule. Red is more ink than if the same ink were spread evenly.",
            "Maps of the canvas in red and blue.",
            functools.partial(ink_maps.maps, [Band("", tuple(panels), 1.0, "share of the largest", TICKS)]),
        )
