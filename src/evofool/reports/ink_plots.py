"""Figures of an ink study, drawn from its tables and never computing; the same table gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from ..studies.ink.measures import EdgeIndex, RingRow
from ..studies.ink.results import DarkRing, Linkage
from ..studies.ink.schedules import Ends
from .ink_tables import Dot, Line
from .plots import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    MARKS,
    ORANGE,
    PALE,
    PURPLE,
    SERIES,
    SKY,
    STYLE,
    VERMILION,
    WIDTH,
    Drawn,
    _drawn,
    label,
)

ROW, HEAD = 0.205, 0.3  # inches of a dot's row, and of what stands above a group
FARTHEST = 2.4  # an axis of the edge index goes no farther, but for dots
SCHEDULES = {"center first": VERMILION, "everywhere": BLUE, "center only": GREEN}


def effects(rows: Sequence[Dot], *, base: EdgeIndex | None = None, axis_title: str, beside: str) -> Drawn:
    """Dots with intervals on one axis, group by group; the line at 1 is no bias.

    Args:
        rows: from top to bottom.
        base: drawn as a line, with its interval as a band.
        axis_title: below the axis.
        beside: heading of the words on the right.
    """
    places, titles, y = [], [], 0.0
    for at, row in enumerate(rows):
        if not at or row.group != rows[at - 1].group:
            y += HEAD if row.group else 0.1
            if row.group:
                titles.append((row.group, y - 0.07))
        places.append(y + ROW / 2)
        y += ROW
    legend, below = 0.5, 0.55
    height = legend + y + below
    left, right = 2.75, 2.75
    with matplotlib.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        figure = Figure(figsize=(WIDTH, height))
        axis = figure.add_axes((left / WIDTH, below / height, 1 - (left + right) / WIDTH, y / height))
        far = _far(rows)
        if base is not None and base.estimate is not None:
            if base.low is not None and base.high is not None:
                axis.axvspan(max(0, base.low), min(far, base.high), color=PALE, alpha=0.55, linewidth=0, zorder=0)
            axis.axvline(base.estimate, color=GREY, linewidth=1, linestyle="--", zorder=1)
        axis.axvline(1, color=BLACK, linewidth=1.2, zorder=1)
        for row, place in zip(rows, places, strict=True):
            _dot(axis, row, place, far)
            transform = axis.get_yaxis_transform()
            colour = VERMILION if row.counts else "#222222"
            axis.text(-0.025, place, label(row.what, 46), transform=transform, ha="right", va="center", fontsize=8.6)
            axis.text(1.03, place, label(row.words, 48), transform=transform, va="center", fontsize=8.4, color=colour)
        for text, place in titles:
            axis.text(-left / (WIDTH - left - right) + 0.01, place, label(text, 60),
                      transform=axis.get_yaxis_transform(), fontweight="bold", va="center", fontsize=9.2)  # fmt: skip
        axis.text(1.03, -0.07, beside, transform=axis.get_yaxis_transform(), va="center", fontsize=8.4, color=GREY)
        axis.set_xlim(0, far)
        axis.set_ylim(y, 0)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.set_xlabel(axis_title)
        handles: list[Any] = [Line2D([], [], color=BLACK, linewidth=1.2, label="1 = no bias")]
        if base is not None and base.estimate is not None:
            handles.append(Line2D([], [], color=GREY, linewidth=1, linestyle="--", label="the base"))
            if base.low is not None:
                handles.append(Patch(facecolor=PALE, alpha=0.55, label="its interval"))
        if any(row.low is not None for row in rows):
            handles.append(_mark(BLUE, "o", "with its interval"))
        if any(row.estimate is not None and row.low is None for row in rows):
            handles.append(_mark(BLUE, "o", "no interval", hollow=True))
        if any(row.counts for row in rows):
            handles.append(_mark(VERMILION, "o", "speaks for its cause"))
        figure.legend(handles=handles, loc="upper center", ncols=len(handles), borderaxespad=0.2)
        return _drawn(figure)


def _far(rows: Sequence[Dot]) -> float:
    estimates = [row.estimate for row in rows if row.estimate is not None]
    highs = [row.high for row in rows if row.high is not None]
    return max(1.25, min(1.05 * max([*estimates, *highs, 0.0]), FARTHEST), 1.08 * max([*estimates, 0.0]))


def _dot(axis: Axes, row: Dot, place: float, far: float) -> None:
    colour = VERMILION if row.counts else BLUE
    if row.estimate is None:
        axis.text(0.02 * far, place, "not known", va="center", fontsize=8.2, color=GREY)
        return
    known = row.low is not None and row.high is not None
    if row.low is not None and row.high is not None:
        low, high = max(0.0, row.low), min(far, row.high)
        axis.plot([low, high], [place] * 2, color=colour, linewidth=1.6, solid_capstyle="butt", zorder=3)
        if row.high > far:
            axis.plot(far, place, marker=">", color=colour, markersize=4.5, clip_on=False, zorder=4)
        if row.low < 0:
            axis.plot(0, place, marker="<", color=colour, markersize=4.5, clip_on=False, zorder=4)
    axis.plot(row.estimate, place, marker="o", markersize=5.2, color=colour, zorder=5,
              markerfacecolor=colour if known else "white")  # fmt: skip


def _mark(colour: str, mark: str, text: str, *, hollow: bool = False) -> Line2D:
    return Line2D([], [], color=colour, marker=mark, markersize=5.2, linestyle="none" if hollow else "-", linewidth=1.6,
                  markerfacecolor="white" if hollow else colour, label=text)  # fmt: skip


# Panels with lines --------------------------------------------------------------------------------------------------


@contextmanager
def _panels(count: int, columns: int, *, height: float, share: bool = True) -> Iterator[tuple[Figure, list[Axes]]]:
    """So many equal panels; those left over are hidden."""
    columns = max(1, min(columns, count))
    rows = max(1, math.ceil(count / columns))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height * rows + 0.35))
        axes = list(figure.subplots(rows, columns, squeeze=False, sharey=share, sharex=share).ravel())
        for axis in axes[count:]:
            axis.set_visible(False)
        for at, axis in enumerate(axes[:count]):  # the panel above a hidden one has its own numbers
            axis.tick_params(labelbottom=not share or at + columns >= count)
        yield figure, axes[:count]


def profiles(panels: Sequence[tuple[str, Sequence[RingRow], Sequence[RingRow]]]) -> Drawn:
    """Share of ink by ring with its interval, beside that of the null and the area.

    Args:
        panels: title, profile of the arm, profile of its null ([] where there is none).
    """
    with _panels(len(panels), 3, height=2.35) as (figure, axes):
        for at, (axis, (title, rows, null)) in enumerate(zip(axes, panels, strict=True)):
            _profile(axis, null, GREY, "--")
            _profile(axis, rows, BLUE, "-")
            axis.plot([row.ring for row in rows], [row.area for row in rows], color=BLACK, linewidth=1.2, linestyle=":")
            axis.set_title(label(title, 40), loc="left")
            axis.locator_params(axis="x", integer=True, nbins=8)
            if at % 3 == 0:
                axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            if at + 3 >= len(panels):
                axis.set_xlabel("steps to the border (0 = on it)")
        axes[0].set_ylim(0, _most(panels))
        handles: list[Any] = [
            Line2D([], [], color=BLUE, linewidth=1.7, marker="o", markersize=3, label="evolved ink"),
            Line2D(
                [], [], color=GREY, linewidth=1.4, linestyle="--", label="the null: same operators, nothing to gain"
            ),
            Line2D([], [], color=BLACK, linewidth=1.2, linestyle=":", label="area of the canvas"),
            Patch(facecolor=BLUE, alpha=0.18, linewidth=0, label="95% interval over runs"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=4)
        return _drawn(figure)


def _most(panels: Sequence[tuple[str, Sequence[RingRow], Sequence[RingRow]]]) -> float:
    """The end of the axis: all means, and intervals as far as they do not dwarf them."""
    means = [row.mean or 0.0 for _, rows, _ in panels for row in rows]
    highs = [row.high or 0.0 for _, rows, _ in panels for row in rows]
    areas = [row.area for _, rows, _ in panels for row in rows]
    return 1.06 * max([1e-3, *areas, *means, min(max(highs, default=0.0), 1.4 * max([*means, 0.0]))])


def _profile(axis: Axes, rows: Sequence[RingRow], colour: str, style: str) -> None:
    known = [row for row in rows if row.mean is not None]
    if not known:
        return
    ends = [row for row in known if row.low is not None and row.high is not None]
    if ends and style == "-":
        axis.fill_between([row.ring for row in ends], [row.low or 0.0 for row in ends],
                          [row.high or 0.0 for row in ends], color=colour, alpha=0.18, linewidth=0)  # fmt: skip
    mark = {"marker": "o", "markersize": 3} if style == "-" else {}
    axis.plot([row.ring for row in known], [row.mean or 0.0 for row in known], color=colour, linestyle=style,
              linewidth=1.7 if style == "-" else 1.4, **mark)  # type: ignore[arg-type]  # fmt: skip


def lambdas(panels: Mapping[str, Mapping[str, Sequence[tuple[str, EdgeIndex]]]]) -> Drawn:
    """Edge index by lambda: a panel for each crossover, a colour for each reading of the mutation rate."""
    readings = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    rows = [
        Dot("", "", i.estimate, i.low, i.high) for lines in panels.values() for row in lines.values() for _, i in row
    ]
    with _panels(len(panels), 3, height=2.7) as (figure, axes):
        for at, (axis, (title, lines)) in enumerate(zip(axes, panels.items(), strict=True)):
            names = list(dict.fromkeys(name for row in lines.values() for name, _ in row))
            axis.axhline(1, color=BLACK, linewidth=1.2, zorder=1)
            for number, reading in enumerate(readings):
                place = (number - (len(readings) - 1) / 2) * 0.18
                for name, index in lines.get(reading, ()):
                    _upright(axis, names.index(name) + place, index, SERIES[number % 6], MARKS[number % 6], _far(rows))
            axis.set_xticks(range(len(names)), names)
            axis.set_xlim(-0.5, len(names) - 0.5)
            axis.grid(axis="x", visible=False)
            axis.set_title(f"{label(title)} crossover", loc="left")
            axis.set_xlabel("λ, what a pixel of ink costs")
            if at % 3 == 0:
                axis.set_ylabel("edge index")
        axes[0].set_ylim(0, _far(rows))
        handles: list[Any] = [
            _mark(SERIES[k % 6], MARKS[k % 6], f"{label(name)} mutation") for k, name in enumerate(readings)
        ]
        handles.append(Line2D([], [], color=BLACK, linewidth=1.2, label="1 = no bias"))
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
        return _drawn(figure)


def _upright(axis: Axes, x: float, index: EdgeIndex, colour: str, mark: str, far: float) -> None:
    if index.estimate is None:
        return
    known = index.low is not None and index.high is not None
    if index.low is not None and index.high is not None:
        axis.plot([x, x], [max(0, index.low), min(far, index.high)], color=colour, linewidth=1.5, zorder=3)
    axis.plot(x, index.estimate, marker=mark, markersize=5, color=colour, zorder=4,
              markerfacecolor=colour if known else "white")  # fmt: skip


def over_generations(lines: Sequence[Line], *, title: str, even: float | None = None) -> Drawn:
    """Median and quartiles over runs by generation; `even` is a line for reference."""
    with _panels(1, 1, height=3.1) as (figure, axes):
        for number, each in enumerate(lines):
            _series(axes[0], each, SERIES[number % 6], ("-", "--", "-.", ":")[number % 4])
        if even is not None:
            axes[0].axhline(even, color=GREY, linewidth=1, linestyle=":", label="mean of all pixels of the canvas")
        axes[0].set_xlabel("generation")
        axes[0].set_ylabel(title)
        axes[0].set_ylim(bottom=0)
        axes[0].locator_params(axis="x", integer=True)
        figure.legend(loc="outside upper center", ncols=3)
        return _drawn(figure)


def _series(axis: Axes, each: Line, colour: str, style: str = "-") -> None:
    alone = {"marker": "o", "markersize": 4} if len(each.generations) == 1 else {}
    axis.fill_between(each.generations, each.low, each.high, color=colour, alpha=0.15, linewidth=0)
    axis.plot(each.generations, each.median, color=colour, linewidth=1.7, linestyle=style, label=label(each.name, 60),
              **alone)  # type: ignore[arg-type]  # fmt: skip


def linkage(rows: Sequence[Linkage]) -> Drawn:
    """How often two pixels stay together, by their distance: a panel for each crossover."""
    names = list(dict.fromkeys(row.crossover for row in rows))
    with _panels(len(names), 3, height=2.3) as (figure, axes):
        for at, (axis, name) in enumerate(zip(axes, names, strict=True)):
            mine = sorted((row for row in rows if row.crossover == name), key=lambda row: row.distance)
            x = [row.distance for row in mine]
            axis.plot(x, [row.rows for row in mine], color=BLUE, linewidth=1.7, label="so many rows apart")
            axis.plot(x, [row.columns for row in mine], color=VERMILION, linewidth=1.7, linestyle="--",
                      label="so many columns apart")  # fmt: skip
            axis.set_ylim(0, 1.02)
            axis.set_title(f"{label(name)} crossover", loc="left")
            axis.set_xlabel("pixels between the two")
            axis.locator_params(axis="x", integer=True, nbins=8)
            if at % 3 == 0:
                axis.set_ylabel("share that stays together")
                axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        return _drawn(figure)


def effect_by_ring(rows: Sequence[RingRow], ink: Sequence[RingRow]) -> Drawn:
    """Mean effect of single pixels by ring with the spread of its pixels, and below how dense evolved ink is there."""
    known = [row for row in rows if row.mean is not None and row.low is not None and row.high is not None]
    density = [(row.ring, row.mean / row.area) for row in ink if row.mean is not None and row.area]
    with _panels(2 if density else 1, 2, height=2.9, share=False) as (figure, axes):
        x = [row.ring for row in known]
        axes[0].fill_between(x, [row.low or 0.0 for row in known], [row.high or 0.0 for row in known], color=SKY,
                             alpha=0.35, linewidth=0, label="90% of its pixels")  # fmt: skip
        axes[0].plot(x, [row.mean or 0.0 for row in known], color=BLUE, marker="o", markersize=3.5, linewidth=1.7,
                     label="mean of the ring")  # fmt: skip
        axes[0].axhline(0, color=BLACK, linewidth=1)
        axes[0].set_title("effect of one pixel on the blank canvas, log-odds", loc="left")
        axes[0].legend(loc="best")
        if density:
            axes[1].bar([ring for ring, _ in density], [value for _, value in density], color=ORANGE, width=0.8)
            axes[1].axhline(1, color=BLACK, linewidth=1.2)
            axes[1].set_title("evolved ink: density of the ring over that of the canvas", loc="left")
        for axis in axes:
            axis.set_xlabel("steps to the border (0 = on it)")
            axis.locator_params(axis="x", integer=True)
        return _drawn(figure)


# Data, transfer, schedule -------------------------------------------------------------------------------------------


def dark(rows: Sequence[DarkRing], wanted: str) -> Drawn:
    """How much of each ring looks like ink in the training images of both classes, and the difference."""
    with _panels(1, 1, height=3.0) as (figure, axes):
        for flag, colour, style, mark in ((True, VERMILION, "-", "o"), (False, BLUE, "--", "s")):
            mine = sorted((row for row in rows if row.wanted == flag), key=lambda row: row.ring)
            if not mine:
                continue
            x = [row.ring for row in mine]
            axes[0].fill_between(x, [row.low for row in mine], [row.high for row in mine], color=colour, alpha=0.2,
                                 linewidth=0)  # fmt: skip
            name = label(wanted) if flag else "all others"
            axes[0].plot(x, [row.share for row in mine], color=colour, linestyle=style, marker=mark, markersize=3.5,
                         linewidth=1.6, label=f"{name} ({mine[0].images:,} images)")  # fmt: skip
        axes[0].set_xlabel("steps to the border (0 = on it)")
        axes[0].set_ylabel("share of the ring that looks like ink")
        axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes[0].locator_params(axis="x", integer=True)
        figure.legend(loc="outside upper center", ncols=2)
        return _drawn(figure)


def transfer(shown: Mapping[str, Sequence[float]], *, goal: float | None) -> Drawn:
    """Confidence in each drawing by the way of showing it: a dot for each, a line for the mean."""
    names = list(shown)
    with _panels(1, 1, height=0.6 + 0.3 * len(names)) as (figure, axes):
        axis = axes[0]
        for y, name in enumerate(names):
            values = np.array(shown[name])
            spread = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(1)
            colour = VERMILION if name.startswith("to ") else BLACK if name == "as drawn" else BLUE
            axis.plot(values, y + spread, linestyle="none", marker="o", markersize=4, color=colour, alpha=0.55)
            axis.plot([values.mean()] * 2, [y - 0.38, y + 0.38], color=colour, linewidth=2.2)
        axis.axvline(0.5, color=GREY, linewidth=1, linestyle="--")
        if goal is not None:
            axis.axvline(goal, color=GREY, linewidth=1, linestyle=":")
        axis.set_xlim(-0.01, 1.01)
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.set_yticks(range(len(names)), [label(name, 40) for name in names])
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("confidence in the wanted class")
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        handles = [_mark(colour, "o", text) for colour, text, there in (
            (BLACK, "as drawn", "as drawn" in shown),
            (VERMILION, "another network", any(name.startswith("to ") for name in names)),
            (BLUE, "the network itself, drawing changed", any(name.split()[0] not in ("to", "as") for name in names)),
        ) if there]  # fmt: skip
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
        return _drawn(figure)


def schedule(lines: Sequence[tuple[str, Line]], runs: Sequence[Ends], lifted: int) -> Drawn:
    """Fitness by generation of the three ways, and beside it each run when the limit was lifted and at the end."""
    with _panels(2, 2, height=3.3, share=False) as (figure, axes):
        left, right = axes
        for name, each in lines:
            _series(left, each, SCHEDULES.get(name, PURPLE), {"everywhere": "--", "center only": "-."}.get(name, "-"))
        left.axvline(lifted, color=BLACK, linewidth=1, linestyle=":")
        left.set_title("best fitness by generation (lower is better)", loc="left")
        left.set_xlabel(f"generation; dotted: the limit is lifted after {lifted:,}")
        left.locator_params(axis="x", nbins=6, integer=True)
        names = [name for name, _ in lines]
        for number, name in enumerate(names):
            for end in runs:
                if end.schedule == name and end.lifted is not None and end.last is not None:
                    right.plot([3 * number, 3 * number + 1], [end.lifted, end.last], color=SCHEDULES.get(name, PURPLE),
                               marker="o", markersize=4, linewidth=1.2, alpha=0.75)  # fmt: skip
        right.set_xticks([x for n in range(len(names)) for x in (3 * n, 3 * n + 1)], ["then", "end"] * len(names))
        right.set_xlim(-0.6, 3 * len(names) - 1.4)
        right.grid(axis="x", visible=False)
        right.set_title("each run: before the limit is lifted, and at the end", loc="left")
        _from_zero(left, right)
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
        return _drawn(figure)


def _from_zero(*axes: Axes) -> None:
    """Fitness from 0, or logarithmic where it goes over orders of magnitude."""
    values = [abs(y) for axis in axes for line in axis.get_lines() for y in np.asarray(line.get_ydata(), float)]
    above = [value for value in values if value > 0]
    for axis in axes:
        low, _ = axis.get_ylim()
        if above and max(above) > 30 * min(above) and low >= -0.1 * max(above):
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_minor_formatter(NullFormatter())
        else:
            axis.set_ylim(bottom=min(0.0, low))
