"""Figures of drawing, drawn from its tables and never computing; the same table gives the same bytes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from ..studies.draw.results import Picture
from .drawing_tables import Curve, Places, Row
from .page import Group, Tile
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

PIXEL = WIDTH / 1080  # inches of a CSS pixel: the page shows figures about so wide
HEAD, LINE, GAP, APART = 0.27, 0.165, 0.1, 0.3  # inches of a title, of a line of words, between tiles, and groups
TITLES = {
    "confidence": "confidence of the best drawing",
    "ink": "ink of the best drawing, pixels",
    "reached": "share of runs that reached the goal",
    "steps": "steps from the ink to the border",
    "weight": "λ, what a pixel of ink costs",
    "hypervolume": "hypervolume of the front",
}
COLOURS = {
    "confidence": BLUE,
    "ink": VERMILION,
    "reached": BLACK,
    "steps": GREEN,
    "weight": PURPLE,
    "hypervolume": ORANGE,
}
SHARES = ("confidence", "reached", "hypervolume")
# From nothing (the paper's white) to much; lightness falls all the way, so it also reads in gray.
INK = LinearSegmentedColormap.from_list("ink", ["#FFFFFF", "#C6DBEF", "#6BAED6", "#2171B5", "#08306B", "#05183A"])


def tiles(groups: Sequence[Group], width: int) -> Drawn:
    """Small images with words below, group by group, wrapped where a row is full.

    Args:
        groups: of images, all of one size.
        width: of each image, in CSS pixels.
    """
    side, placed = _side(groups, width), []
    if groups:
        placed = list(_places_of(groups, side))
    height = _dots(max((bottom for *_, bottom in placed), default=0.5) + 0.05)
    with matplotlib.rc_context({**STYLE, "figure.constrained_layout.use": False, "image.composite_image": False}):
        figure = Figure(figsize=(WIDTH, height))
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_axis_off()
        axis.set_autoscale_on(False)
        axis.set_xlim(0, WIDTH)
        axis.set_ylim(height, 0)
        for what, left, top, _ in placed:
            if isinstance(what, str):
                axis.text(left, top, label(what, 110), va="top", fontweight="bold", color="#222222")
                continue
            tall = side * what.image.shape[0] / what.image.shape[1]
            axis.imshow(what.image, cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto",
                        extent=(left, left + side, top + tall, top))  # fmt: skip
            quiet: dict[str, Any] = {"edgecolor": VERMILION, "linewidth": 1.4, "linestyle": (0, (3, 2))}
            edge = quiet if what.quiet else {"edgecolor": "#BBBBBB", "linewidth": 0.7}
            axis.add_patch(Rectangle((left, top), side, tall, fill=False, **edge))
            for number, (line, bold) in enumerate(_words(what, side)):
                colour = VERMILION if what.quiet and bold else "#222222"
                axis.text(left, top + tall + 0.05 + LINE * number, line, va="top", fontsize=8.2, color=colour,
                          fontweight="bold" if bold else "normal")  # fmt: skip
        return _drawn(figure)


def _side(groups: Sequence[Group], width: int) -> float:
    """Inches that an image is wide: whole dots for each of its pixels, if there are as many."""
    wide = next((tile.image.shape[1] for group in groups for tile in group.tiles), width)
    inches = min(width * PIXEL, WIDTH - 0.1)
    times = int(inches * STYLE["figure.dpi"] / wide)
    return times * wide / STYLE["figure.dpi"] if times else inches


def _dots(inches: float) -> float:
    return math.ceil(inches * STYLE["figure.dpi"]) / STYLE["figure.dpi"]


def _words(tile: Tile, side: float) -> list[tuple[str, bool]]:
    """Lines that fit below an image, and which of them are bold."""
    room = max(8, int(side * 14))
    return [
        (part, number == 0)
        for number, line in enumerate((tile.title, *tile.lines))
        for part in textwrap.wrap(label(line, 3 * room), room)
    ]


def _places_of(groups: Sequence[Group], side: float) -> Iterator[tuple[Any, float, float, float]]:
    """Titles and tiles with their left and top, and where they end, in inches from the upper left corner."""
    left = top = bottom = _dots(0.05)
    for number, group in enumerate(groups):
        wide = max(len(group.tiles) * (side + GAP) - GAP, 0.075 * len(group.title))
        if number and left + wide > WIDTH:
            left, top = _dots(0.05), _dots(bottom + APART)
        if group.title:
            yield group.title, left, top, top + HEAD
        x, row, words = left, _dots(top + (HEAD if group.title else 0.0)), 0.0
        for tile in group.tiles:
            if x > _dots(0.05) and x + side > WIDTH:
                x, row, words = _dots(0.05), _dots(row + words + 0.12), 0.0
            tall = side * tile.image.shape[0] / tile.image.shape[1]
            words = max(words, tall + 0.08 + LINE * len(_words(tile, side)))
            yield tile, x, row, row + words
            bottom = max(bottom, row + words)
            x = _dots(x + side + GAP)
        left = _dots(left + wide + APART)


def curves(series: Sequence[Curve], *, goal: float | None = None, canvas: float | None = None) -> Drawn:
    """Median and quartiles over runs, one panel for each number.

    Args:
        series: one for each panel.
        goal: confidence to be reached, drawn as a line.
        canvas: mean distance of all pixels to the border, drawn as a line.
    """
    columns = min(3, max(1, len(series)))
    rows = max(1, math.ceil(len(series) / columns))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.35 * rows + 0.3))
        axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
        for axis, curve in zip(axes, series, strict=False):
            colour = COLOURS[curve.measure]
            if curve.low != curve.high:
                axis.fill_between(curve.generations, curve.low, curve.high, color=colour, alpha=0.2, linewidth=0)
            shape = {"drawstyle": "steps-post"} if curve.measure == "reached" else {}
            alone = {"marker": "o", "markersize": 4} if len(curve.generations) == 1 else {}
            axis.plot(curve.generations, curve.median, color=colour, linewidth=1.7, **alone, **shape)
            axis.set_title(TITLES[curve.measure], loc="left")
            axis.set_xlabel("generation")
            if curve.measure in SHARES:
                axis.set_ylim(-0.02, 1.02)
            elif curve.measure == "weight" and max(curve.high) > 20 * min(curve.low) > 0:
                axis.set_yscale("log")
                axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axis.yaxis.set_minor_formatter(NullFormatter())
            else:
                axis.set_ylim(bottom=0)
            line = {"confidence": goal, "steps": canvas}.get(curve.measure)
            if line is not None:
                axis.axhline(line, color=GREY, linewidth=1, linestyle="--")
            axis.locator_params(axis="x", integer=True, nbins=6)
        for axis in axes[len(series) :]:
            axis.set_visible(False)
        handles: list[Any] = [
            Line2D([], [], color=BLACK, linewidth=1.7, label="median over runs"),
            Patch(facecolor=BLACK, alpha=0.2, linewidth=0, label="first to third quartile"),
        ]
        lines = [text for value, text in ((goal, "the goal"), (canvas, "mean of all pixels")) if value is not None]
        if lines:
            handles.append(Line2D([], [], color=GREY, linewidth=1, linestyle="--", label=" / ".join(lines)))
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
        return _drawn(figure)


def places(found: Places) -> Drawn:
    """The map of all drawings, and beside it the share of ink by distance to the border against that of the area."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.1))
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1, 1.25]})
        _map(figure, left, found)
        _rings(right, found)
        return _drawn(figure)


def _map(figure: Figure, axis: Axes, found: Places) -> None:
    rows, columns = found.map.shape
    most = float(found.map.max()) or 1.0
    image = axis.imshow(
        found.map, cmap=INK, vmin=0, vmax=most, interpolation="none",
        extent=(-0.5, columns * found.square - 0.5, rows * found.square - 0.5, -0.5),
    )  # fmt: skip
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_edgecolor("#999999")
    axis.set_xlabel("column")
    axis.set_ylabel("row")
    axis.locator_params(integer=True, nbins=7)
    bar = figure.colorbar(image, ax=axis, shrink=0.82, pad=0.03)
    bar.outline.set_visible(False)
    one = found.square == 1
    bar.set_label("share of drawings with ink there" if one else f"ink in {found.square} × {found.square} pixels, mean")
    axis.set_title("where the drawings have ink", loc="left")


def _rings(axis: Axes, found: Places) -> None:
    at = np.arange(len(found.rings))
    share = [ring.ink for ring in found.rings]
    axis.bar(at, share, width=0.8, color=SKY, edgecolor=BLUE, linewidth=0.6, zorder=2)
    known = [(k, ring) for k, ring in enumerate(found.rings) if ring.low is not None and ring.high is not None]
    if known:
        below = [max(0.0, ring.ink - (ring.low or 0.0)) for _, ring in known]
        above = [max(0.0, (ring.high or 0.0) - ring.ink) for _, ring in known]
        axis.errorbar([k for k, _ in known], [ring.ink for _, ring in known], yerr=[below, above], fmt="none",
                      ecolor="#222222", elinewidth=1, zorder=3)  # fmt: skip
    edges = np.arange(len(found.rings) + 1) - 0.5
    axis.stairs([ring.area for ring in found.rings], edges, color=BLACK, linewidth=1.5, baseline=None, zorder=4)
    names = [f"{ring.first}" if ring.first == ring.last else f"{ring.first}–{ring.last}" for ring in found.rings]
    step = max(1, math.ceil(len(names) * max(map(len, names)) / 44))
    axis.set_xticks(at[::step], names[::step])
    axis.set_xlim(-0.6, len(at) - 0.4)
    axis.grid(axis="x", visible=False)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if max(*share, 0.0) > 0.04 else 1))
    axis.set_xlabel("steps to the border (0 = on it)")
    axis.set_title("share of the ink by distance to the border", loc="left")
    handles: list[Any] = [
        Patch(facecolor=SKY, edgecolor=BLUE, linewidth=0.6, label="ink, mean over runs"),
        Line2D([], [], color=BLACK, linewidth=1.5, label="area of the canvas"),
    ]
    if known:
        handles.insert(1, Line2D([], [], color="#222222", linewidth=1, label="95% interval over runs"))
    axis.legend(handles=handles, loc="upper right")


def fronts(runs: Sequence[Row], best: Sequence[tuple[int, Picture]], *, target: str, goal: float | None) -> Drawn:
    """The front of each run as steps: the confidence that so much ink can give at most; the best of all on top."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.6))
        axis = figure.subplots()
        most = max((picture.ink for row in runs for picture in row.run.front), default=1)
        for row in runs:
            _steps(axis, row.run.front, most, color=GREY, linewidth=0.9, alpha=0.6, zorder=2)
        pictures = [picture for _, picture in best]
        _steps(axis, pictures, most, color=BLUE, linewidth=2, zorder=3)
        axis.plot([p.ink for p in pictures], [p.confidence for p in pictures], linestyle="none", marker="o",
                  markersize=4.5, color=BLUE, zorder=4)  # fmt: skip
        if goal is not None:
            axis.axhline(goal, color=GREY, linewidth=1, linestyle="--")
        axis.set_ylim(-0.02, 1.04)
        axis.set_xlim(-0.5, most + 1)
        axis.locator_params(axis="x", integer=True)
        axis.set_xlabel("ink, pixels")
        axis.set_ylabel(f"confidence in {label(target)}")
        handles = [
            Line2D([], [], color=BLUE, linewidth=2, marker="o", markersize=4.5, label="the best of all runs"),
            Line2D([], [], color=GREY, linewidth=0.9, alpha=0.6, label="each run"),
        ]
        if goal is not None:
            handles.append(Line2D([], [], color=GREY, linewidth=1, linestyle="--", label="goal"))
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
        return _drawn(figure)


def _steps(axis: Axes, pictures: Sequence[Picture], most: int, **style: Any) -> None:
    if pictures:
        x = [*(picture.ink for picture in pictures), most + 1]
        y = [picture.confidence for picture in pictures]
        axis.plot(x, [*y, y[-1]], drawstyle="steps-post", **style)


def boundary(rows: Sequence[Row], *, target: str, within: float | None) -> Drawn:
    """The confidence of each drawing around one half; colours and marks tell what the classifier sees."""
    ordered = sorted(rows, key=lambda row: (row.run.final.confidence, row.run.seed))
    names = list(dict.fromkeys(row.prediction for row in ordered))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.5 + 0.14 * min(40, len(ordered))))
        axis = figure.subplots()
        if within is not None:
            axis.axvspan(0.5 - within, 0.5 + within, color=PALE, alpha=0.6, linewidth=0, zorder=0)
        axis.axvline(0.5, color=BLACK, linewidth=1, linestyle="--", zorder=1)
        for number, name in enumerate(names):
            mine = [(row.run.final.confidence, at) for at, row in enumerate(ordered) if row.prediction == name]
            axis.plot([x for x, _ in mine], [y for _, y in mine], linestyle="none", marker=MARKS[number % len(MARKS)],
                      markersize=6, color=SERIES[number % len(SERIES)], zorder=3,
                      label=f"read as {label(name)}" if name else "no answer")  # fmt: skip
        reach = max([abs(row.run.final.confidence - 0.5) for row in ordered] + [2 * (within or 0.01)])
        axis.set_xlim(0.5 - 1.15 * reach, 0.5 + 1.15 * reach)
        axis.set_ylim(-0.8, len(ordered) - 0.2)
        axis.set_yticks([])
        axis.set_xlabel(f"confidence in {label(target)}")
        axis.set_ylabel("runs")
        if names:
            figure.legend(loc="outside upper center", ncols=min(4, len(names)))
        return _drawn(figure)
