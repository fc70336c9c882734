"""Figures of attacks, drawn from their tables and never computing; the same tables give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from .attack_tables import Learning
from .plots import BLUE, GREY, MARKS, STYLE, VERMILION, WIDTH, Drawn, _drawn, _series, label
from .survival import Survival

LINEAR = 30  # queries: an axis that ends sooner needs no logarithm


class Line(NamedTuple):
    """One way to attack in a figure of several.

    Attributes:
        name: as it is called.
        curve: who holds out, over all of its runs.
        runs: the same of each run, where there are several.
        band: show that of the curve; it holds only for independent images of one run.
        learning: (place, mean, low, high) by place in the order; low and high None where there is no interval.
    """

    name: str
    curve: Survival
    runs: tuple[Survival, ...] = ()
    band: bool = True
    learning: tuple[tuple[float, float, float | None, float | None], ...] = ()


def survival(lines: Sequence[Line], budget: int) -> Drawn:
    """Share of images that were not fooled, by queries."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.9))
        axis = figure.subplots()
        handles: list[Any] = []
        for number, line in enumerate(lines):
            colour, style = _series(number)
            for run in line.runs:
                axis.step(*_points(run, budget), where="post", color=colour, linewidth=0.8, alpha=0.45, zorder=2)
            x, y = _points(line.curve, budget)
            if line.band:
                low = [1.0, *(step.low for step in line.curve.steps)]
                high = [1.0, *(step.high for step in line.curve.steps)]
                axis.fill_between(
                    x, [*low, low[-1]], [*high, high[-1]], step="post", color=colour, alpha=0.16, linewidth=0
                )
            axis.step(x, y, where="post", color=colour, linestyle=style, linewidth=2, zorder=3)
            if line.curve.images and y[-1] > 0:
                axis.plot([budget], [y[-1]], linestyle="none", marker="|", markersize=9, color=colour, clip_on=False,
                          zorder=4)  # fmt: skip
            handles.append(Line2D([], [], color=colour, linestyle=style, linewidth=2, label=label(line.name, 40)))
        axis.set_ylim(0, 1.02)
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        _queries_axis(axis, budget)
        axis.set_xlabel("queries of an image")
        axis.set_ylabel("images not fooled")
        if any(line.band and line.curve.steps for line in lines):
            handles.append(Patch(facecolor=GREY, alpha=0.3, linewidth=0, label="95% band"))
        if len(handles) > 1:
            figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)))
        return _drawn(figure)


def _points(curve: Survival, budget: int) -> tuple[list[float], list[float]]:
    """Corners of the steps, from before the first query to the budget."""
    x = [0.5 if budget > LINEAR else 0.0, *(step.queries for step in curve.steps)]
    y = [1.0, *(step.left for step in curve.steps)]
    return [*x, float(max(budget, x[-1]))], [*y, y[-1]]


def _queries_axis(axis: Axes, budget: int) -> None:
    if budget > LINEAR:
        axis.set_xscale("log")
        axis.set_xlim(0.9, budget * 1.02)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_xlim(0, budget * 1.02)
        axis.locator_params(axis="x", integer=True)


def learning(found: Learning) -> Drawn:
    """Queries by place in the order: means of images one after another, and the mean so far."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.2))
        axis = figure.subplots()
        blocks = found.blocks if len(found.blocks) > 1 else ()  # one alone is the mean of all
        for block in blocks:
            axis.plot([block.first - 0.5, block.last + 0.5], [block.mean] * 2, color=BLUE, linewidth=2.2,
                      solid_capstyle="butt", zorder=3)  # fmt: skip
        places, means = zip(*found.running, strict=True)
        axis.plot(places, means, color=VERMILION, linestyle="--", linewidth=1.6, zorder=4)
        axis.set_ylim(bottom=0)
        axis.set_xlim(0.5, places[-1] + 0.5 if places[-1] > 1 else 1.5)
        axis.locator_params(axis="x", integer=True)
        axis.set_xlabel("place in the order of attack")
        axis.set_ylabel("mean queries")
        handles = [Line2D([], [], color=VERMILION, linestyle="--", linewidth=1.6, label="all images so far")]
        if blocks:
            size = blocks[0].last - blocks[0].first + 1
            handles.insert(0, Line2D([], [], color=BLUE, linewidth=2.2, label=f"{size} images one after another"))
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
        return _drawn(figure)


def learning_curves(lines: Sequence[Line]) -> Drawn:
    """Mean queries by place in the order, over the runs of each way to attack, with intervals over runs."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.6))
        axis = figure.subplots()
        handles = []
        for number, line in enumerate(lines):
            if not line.learning:
                continue
            colour, style = _series(number)
            x, y, low, high = zip(*line.learning, strict=True)
            if all(end is not None for end in (*low, *high)):
                axis.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
            look = {"color": colour, "linestyle": style, "linewidth": 1.8, "marker": MARKS[number % len(MARKS)],
                    "markersize": 4.5}  # fmt: skip
            axis.plot(x, y, zorder=3, **look)
            handles.append(Line2D([], [], label=label(line.name, 40), **look))
        axis.set_ylim(bottom=0)
        axis.set_xlim(left=0)
        axis.locator_params(axis="x", integer=True)
        axis.set_xlabel("place in the order of attack")
        axis.set_ylabel("mean queries")
        figure.legend(handles=handles, loc="outside upper center", ncols=min(4, max(1, len(handles))))
        return _drawn(figure)
