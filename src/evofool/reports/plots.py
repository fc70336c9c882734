"""Figures of an operator study, drawn from the tables and never computing; the same table gives the same bytes.

Colours are Okabe and Ito's, which people with any colour vision can tell apart. A figure has its title in the page.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .comparison import AGREES, DIFFERS, Comparison
from .hypotheses import TEXTBOOK, Hypotheses
from .ranking import Ranking
from .tables import Box, Curve, JudgeRow

BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
BLACK, GREY, PALE = "#000000", "#767676", "#D9D9D9"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKS = ("o", "s", "^", "v", "D", "P")
MEASURES: dict[str, tuple[str, str, Any]] = {
    "accuracy": ("accuracy", BLACK, "-"),
    "precision": ("macro precision", BLUE, "--"),
    "recall": ("macro recall", VERMILION, "-."),
    "f1": ("macro F1", GREEN, ":"),
}
SELECTION_COLOURS = {"FPS": BLUE, "TS": VERMILION, "RS": GREEN}
WIDTH = 10.0  # inches; shown about 1,000 px wide, where 9 pt is 12 px

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "evofool",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "figure.dpi": 130,
    "figure.constrained_layout.use": True,
}


# Positions to a hundredth of a point, in many bytes less; what is below 1 may be a scale.
_PRECISE = re.compile(rb"(?<![\d.])[1-9]\d*\.\d{4,}")


class Drawn(NamedTuple):
    """One figure, as bytes of both kinds."""

    svg: bytes
    png: bytes


class Member(NamedTuple):
    """One column of a gallery.

    Attributes:
        original, evolved: [H W] or [H W 3], gray levels or colours in [0, 255].
        carried, predicted: class names; predicted is "" without an answer.
        ancestor: class name of the original.
        confidence: largest probability of the evolved image.
    """

    original: np.ndarray
    evolved: np.ndarray
    ancestor: str
    carried: str
    predicted: str
    confidence: float


def curves(series: Sequence[Curve], *, columns: int = 4) -> Drawn:
    """Accuracy and macro precision, recall and F1 by generation: one panel an arm, bands over the seeds."""
    arms = list(dict.fromkeys(curve.arm for curve in series))
    with _grid(arms, columns) as (figure, axes):
        for axis, arm in zip(axes, arms, strict=False):
            for curve in series:
                if curve.arm == arm and curve.measure in MEASURES:
                    _, colour, line = MEASURES[curve.measure]
                    x = range(len(curve.mean))
                    axis.fill_between(x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
                    axis.plot(x, curve.mean, color=colour, linestyle=line, linewidth=1.6)
            _shares(axis, arm)
        handles = [Line2D([], [], color=c, linestyle=s, linewidth=1.6, label=n) for n, c, s in MEASURES.values()]
        _panels(figure, axes, len(arms), columns, handles)
        return _drawn(figure)


def accuracy_curves(series: Sequence[Curve], published: dict[str, dict[int, float]], *, columns: int = 4) -> Drawn:
    """Accuracy by generation on every classifier, with the values read off the paper's plots as points."""
    series = [curve for curve in series if curve.measure == "accuracy"]
    arms = list(dict.fromkeys(curve.arm for curve in series))
    names = list(dict.fromkeys(curve.classifier for curve in series))
    with _grid(arms, columns) as (figure, axes):
        for axis, arm in zip(axes, arms, strict=False):
            for curve in series:
                if curve.arm == arm:
                    colour, line = _series(names.index(curve.classifier))
                    x = range(len(curve.mean))
                    axis.fill_between(x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
                    axis.plot(x, curve.mean, color=colour, linestyle=line, linewidth=1.6)
            points = published.get(arm, {})
            if points:
                axis.plot(list(points), list(points.values()), linestyle="none", marker="D", markersize=4.5,
                          markerfacecolor="white", markeredgecolor=BLACK, clip_on=False)  # fmt: skip
            _shares(axis, arm)
        handles = [
            Line2D([], [], color=_series(k)[0], linestyle=_series(k)[1], linewidth=1.6, label=label(name))
            for k, name in enumerate(names)
        ]
        if published:
            handles.append(_diamond("the paper, read off its plots"))
        _panels(figure, axes, len(arms), columns, handles)
        return _drawn(figure)


def boxes(rows: Sequence[Box]) -> Drawn:
    """Total fitness over the generations, whiskers to the extremes, with the paper's maximum beside each."""
    with _figure(1, 1, height=0.9 + 0.27 * len(rows)) as (figure, axes):
        axis = axes[0]
        for y, row in enumerate(rows):
            stats = [{
                "whislo": row.low, "q1": row.first_quartile, "med": row.median, "q3": row.third_quartile,
                "whishi": row.high, "label": "",
            }]  # fmt: skip
            axis.bxp(
                stats, positions=[y], orientation="horizontal", widths=0.62, showfliers=False, patch_artist=True,
                boxprops={"facecolor": _arm_colour(row.arm, row.group), "alpha": 0.55, "edgecolor": "#333333"},
                medianprops={"color": BLACK, "linewidth": 1.4}, whiskerprops={"color": "#333333"},
                capprops={"color": "#333333"},
            )  # fmt: skip
            if row.published is not None:
                axis.plot(row.published, y, marker="D", markersize=5.5, markerfacecolor="white", zorder=5,
                          markeredgecolor=BLACK, linestyle="none")  # fmt: skip
        _arm_axis(axis, [row.arm for row in rows], [row.group for row in rows])
        axis.set_xlim(left=0)
        axis.set_xlabel("total fitness of the population")
        handles: list[Line2D | Patch] = _group_handles([(row.arm, row.group) for row in rows])
        if any(row.published is not None for row in rows):
            handles.append(_diamond("the paper's maximum"))
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
        return _drawn(figure)


def comparison(found: Comparison) -> Drawn:
    """Published accuracies on the prediction intervals of every classifier, and total fitness below."""
    names = list(found.classifiers)
    parts = [part for part in (found.accuracy, found.fitness) if part]
    heights = [0.45 + max(0.34, 0.124 * (1 + len(names))) * len(part) for part in parts]
    with _figure(len(parts), 1, height=sum(heights) + 0.5, ratios=heights) as (figure, axes):
        for axis, part in zip(axes, parts, strict=True):
            for y, row in enumerate(part):
                if y % 2:
                    axis.axhspan(y - 0.5, y + 0.5, color="#F5F5F5", zorder=0)
                for k, cell in enumerate(row.cells):
                    place = names.index(cell.classifier)
                    height = y + (place - (len(names) - 1) / 2) * 0.6 / max(1, len(names))
                    colour, mark = SERIES[place % len(SERIES)], MARKS[place % len(MARKS)]
                    if cell.interval is not None:
                        axis.plot([cell.interval.low, cell.interval.high], [height] * 2, color=colour, linewidth=2.2,
                                  solid_capstyle="butt", zorder=3 + k)  # fmt: skip
                    axis.plot(cell.mean, height, marker=mark, color=colour, markersize=4.5, zorder=4 + k)
                axis.plot([row.published] * 2, [y - 0.36, y + 0.42], color=BLACK, linewidth=1.2, zorder=2.5)
                axis.plot(row.published, y - 0.36, marker="D", markersize=5, markerfacecolor="white",
                          markeredgecolor=BLACK, zorder=20, clip_on=False)  # fmt: skip
            axis.set_yticks(range(len(part)), [row.arm.replace("_elitism", " + elitism") for row in part])
            axis.set_ylim(len(part) - 0.5, -0.5)
            if part[0].measure == "accuracy":
                axis.set_xlim(left=0)
            axis.tick_params(axis="y", length=0)
            axis.grid(axis="y", visible=False)
            axis.set_xlabel("accuracy on the last generation" if part[0].measure == "accuracy" else part[0].measure)
            right = axis.secondary_yaxis("right")
            right.set_yticks(range(len(part)), [row.verdict for row in part])
            right.tick_params(axis="y", length=0)
            right.spines["right"].set_visible(False)
            for text, row in zip(right.get_yticklabels(), part, strict=True):
                text.set_color(_verdict_colour(row.verdict))
                text.set_fontweight("bold" if row.verdict == AGREES else "normal")
        handles = [
            Line2D([], [], color=SERIES[k % len(SERIES)], marker=MARKS[k % len(MARKS)], markersize=4.5, linewidth=2.2,
                   label=label(name))
            for k, name in enumerate(names)
        ]  # fmt: skip
        figure.legend(handles=[*handles, _diamond("published")], loc="outside upper center", ncols=len(handles) + 1)
        return _drawn(figure)


def critical_difference(rankings: Sequence[Ranking]) -> Drawn:
    """Mean ranks of the scenarios, best on the left; bars join those that cannot be told apart."""
    heights = [1.15 + 0.24 * math.ceil(len(r.rows) / 2) + 0.13 * len(r.groups) for r in rankings]
    with _figure(len(rankings), 1, height=sum(heights), ratios=heights) as (figure, axes):
        for axis, ranking, height in zip(axes, rankings, heights, strict=True):
            _critical_difference(axis, ranking, height)
        handles = _group_handles([(row.arm, "scenario") for ranking in rankings for row in ranking.rows])
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
        return _drawn(figure)


def judge(rows: Sequence[JudgeRow]) -> Drawn:
    """Share that fools the classifier, that the judge still reads, and both; marks for what it reads unselected."""
    with _figure(1, 1, height=1.0 + 0.42 * len(rows)) as (figure, axes):
        axis = axes[0]
        bars = (("fools the classifier", "fools", SKY, ""), ("judge reads the carried label", "reads", PALE, "////"),
                ("both: adversarial", "adversarial", VERMILION, ""))  # fmt: skip
        for k, (_, name, colour, hatch) in enumerate(bars):
            spreads = [getattr(row, name) for row in rows]
            y = np.arange(len(rows)) + (k - 1) * 0.27
            means = np.array([s.mean for s in spreads])
            axis.barh(y, means, height=0.25, color=colour, hatch=hatch, edgecolor="#8A8A8A" if hatch else colour,
                      linewidth=0.5)  # fmt: skip
            errors = np.array([[s.mean - s.low for s in spreads], [s.high - s.mean for s in spreads]])
            axis.errorbar(means, y, xerr=np.maximum(errors, 0), fmt="none", ecolor="#333333", elinewidth=0.9)
        for place, row in enumerate(rows):
            if row.unselected is not None:
                axis.plot([row.unselected.mean] * 2, [place - 0.42, place + 0.42], color=BLACK, linewidth=1.6)
            if row.mutated is not None:
                axis.plot([row.mutated.mean] * 2, [place - 0.42, place + 0.42], color=BLACK, linewidth=1.6,
                          linestyle=":")  # fmt: skip
        _arm_axis(axis, [row.arm for row in rows], [row.group for row in rows])
        axis.set_xlim(0, 1)
        axis.set_xlabel("share of the last generation")
        handles: list[Line2D | Patch] = [
            Patch(facecolor=colour, hatch=hatch, edgecolor="#8A8A8A" if hatch else colour, label=text)
            for text, _, colour, hatch in bars
        ]
        if any(row.unselected for row in rows):
            handles.append(Line2D([], [], color=BLACK, linewidth=1.6, label="judge reads, same operators unselected"))
        if any(row.mutated for row in rows):
            handles.append(Line2D([], [], color=BLACK, linewidth=1.6, linestyle=":", label="judge reads, mutated only"))
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
        return _drawn(figure)


def hypotheses(found: Hypotheses) -> Drawn:
    """Distance of every explanation to the published figures; the line is the textbook's."""
    rows = found.rows
    measures = (("accuracy", "accuracy,\nlast generation"), ("curve", "accuracy\nby generation"),
                ("fitness", "largest\ntotal fitness"), ("support", "class supports\n(total variation)"))  # fmt: skip
    with _figure(1, len(measures), height=1.3 + 0.3 * len(rows), share_y=True) as (figure, axes):
        for axis, (name, title) in zip(axes, measures, strict=True):
            values = [getattr(row, name) for row in rows]
            best = found.closest[name]
            for y, row in enumerate(rows):
                value = values[y]
                colour = VERMILION if row.family == best else BLACK if row.family == TEXTBOOK else BLUE
                axis.plot([0, value], [y, y], color=colour, linewidth=1.2, alpha=0.5)
                axis.plot(value, y, marker="D" if row.family == best else "o", color=colour, markersize=6)
                axis.annotate(f"{value:.0f}" if name == "fitness" else f"{value:.3f}", (value, y), xytext=(6, 0),
                              textcoords="offset points", va="center", fontsize=8, color=colour,
                              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip
            textbook = next(value for value, row in zip(values, rows, strict=True) if row.family == TEXTBOOK)
            axis.axvline(textbook, color=GREY, linewidth=0.9, linestyle="--", zorder=1)
            axis.set_xlim(0, 1.3 * max(values) or 1.0)
            axis.set_title(title)
            axis.grid(axis="y", visible=False)
            axis.tick_params(axis="y", length=0)
            axis.locator_params(axis="x", nbins=4)
        axes[0].set_yticks(range(len(rows)), [label(row.family, 28) for row in rows])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        figure.supxlabel("distance to the published figures (0 = equal)", fontsize=9)
        handles = [
            Line2D([], [], color=VERMILION, marker="D", linestyle="none", label="closest"),
            Line2D([], [], color=GREY, linestyle="--", linewidth=0.9, label="textbook operators"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
        return _drawn(figure)


def gallery(members: Sequence[Member]) -> Drawn:
    """Originals above, what became of them below, with carried label, prediction and confidence; ten in a row."""
    columns = min(10, max(8, len(members)))
    bands = max(1, math.ceil(len(members) / columns))
    inches = WIDTH / columns
    longest = max((len(name) for m in members for name in (m.carried, m.predicted, m.ancestor)), default=1)
    stacked = longest > 3  # carried label and prediction need a line each
    caption = 0.62 if stacked else 0.45  # inches below the evolved image
    side, pitch = 0.9 * inches, inches
    band_height = 2 * side + 0.3 + caption + 0.12
    height = bands * band_height
    with matplotlib.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        figure = Figure(figsize=(WIDTH, height))
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_axis_off()
        axis.set_autoscale_on(False)
        for band in range(bands):
            row = members[band * columns : (band + 1) * columns]
            first = height - band * band_height - 0.04
            for top, images in ((first, [m.original for m in row]), (first - side - 0.3, [m.evolved for m in row])):
                strip = np.concatenate([_spaced(image) for image in images], axis=1)
                axis.imshow(strip, vmin=0, vmax=255, interpolation="nearest", aspect="auto",
                            extent=(0, len(row) * pitch, top - side, top))  # fmt: skip
            for column, member in enumerate(row):
                middle, wrong = (column + 0.5) * pitch, member.predicted != member.carried
                axis.text(middle, first - side - 0.05, label(member.ancestor, int(11 * inches)), ha="center", va="top",
                          color="#222222")  # fmt: skip
                axis.text(middle, first - 2 * side - 0.35, _answer(member, stacked, int(11 * inches)), ha="center",
                          va="top", color=VERMILION if wrong else "#222222", linespacing=1.25)  # fmt: skip
        axis.set_xlim(0, WIDTH)
        axis.set_ylim(0, height)
        return _drawn(figure)


def label(text: str, length: int = 24) -> str:
    """A name that can be drawn: printable, and no longer than that."""
    clean = "".join(character if character.isprintable() else "?" for character in str(text))
    return clean if len(clean) <= length else clean[: length - 1] + "…"


# --- inside ---------------------------------------------------------------------------------------------------------


@contextmanager
def _figure(
    rows: int, columns: int, *, height: float, ratios: Sequence[float] | None = None, share_y: bool = False
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of the report's width; `height` is that of a row of panels, or of all where ratios are given."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height if ratios else height * rows + 0.4))
        grid = figure.subplots(rows, columns, squeeze=False, height_ratios=ratios, sharey=share_y)
        yield figure, list(grid.ravel())


@contextmanager
def _grid(arms: Sequence[str], columns: int) -> Iterator[tuple[Figure, list[Axes]]]:
    """Equal small panels below a legend, with margins in inches (finding them by layout takes seconds)."""
    rows = max(1, math.ceil(len(arms) / columns))
    more = 0.13 if any("@" in arm for arm in arms) else 0.0  # a second line of the title
    top, bottom, left, right, panel, gap = 0.62 + more, 0.5, 0.36, 0.08, 1.38, 0.36 + more
    height = top + bottom + rows * panel + (rows - 1) * gap
    with matplotlib.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        figure = Figure(figsize=(WIDTH, height))
        grid = figure.subplots(
            rows, columns, squeeze=False,
            gridspec_kw={
                "left": left / WIDTH, "right": 1 - right / WIDTH, "top": 1 - top / height, "bottom": bottom / height,
                "hspace": gap / panel, "wspace": 0.1,
            },
        )  # fmt: skip
        yield figure, list(grid.ravel())


def _drawn(figure: Figure) -> Drawn:
    """Both kinds; the canvases are asked themselves, since `savefig` draws everything twice."""
    svg, png = io.BytesIO(), io.BytesIO()
    canvas = FigureCanvasAgg(figure)
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the places are found; both files keep them
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands for it
        canvas.print_png(png, metadata={"Software": None})
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})
    return Drawn(_PRECISE.sub(lambda found: b"%.2f" % float(found.group()), svg.getvalue()), png.getvalue())


def _shares(axis: Axes, arm: str) -> None:
    head, mark, rest = arm.partition("@")
    axis.set_title(label(head, 30), loc="left", pad=15 if mark else 6)
    if mark:
        words = {"100": "100 generations", "all": "all test images"}.get(rest, rest.replace(",", ", "))
        axis.text(0, 1.03, label(words, 42), transform=axis.transAxes, fontsize=8, color="#444444")
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axis.margins(x=0.02)
    axis.locator_params(axis="x", integer=True, nbins=6)


def _panels(figure: Figure, axes: Sequence[Axes], used: int, columns: int, handles: Sequence[Line2D]) -> None:
    for index, axis in enumerate(axes):
        axis.set_visible(index < used)
        if index + columns < used:
            axis.tick_params(labelbottom=False)
        else:
            axis.set_xlabel("generation", labelpad=2)
        if index % columns:
            axis.tick_params(labelleft=False)
    figure.legend(handles=list(handles), loc="upper center", ncols=len(handles), borderaxespad=0.3)


def _series(index: int) -> tuple[str, Any]:
    return SERIES[index % len(SERIES)], ("-", "--", "-.", ":")[index % 4]


def _diamond(text: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker="D", markersize=5.5, markerfacecolor="white", markeredgecolor=BLACK,
                  label=text)  # fmt: skip


def _arm_colour(arm: str, group: str) -> str:
    if group == "elitism":
        return ORANGE
    return SELECTION_COLOURS.get(arm.split("_")[0], GREY) if group == "scenario" else GREY


def _group_handles(rows: Sequence[tuple[str, str]]) -> list[Line2D | Patch]:
    names = {BLUE: "fitness proportionate", VERMILION: "tournament", GREEN: "ranking", ORANGE: "elitism",
             GREY: "control" if any(group == "control" for _, group in rows) else "other"}  # fmt: skip
    found = {_arm_colour(arm, group) for arm, group in rows}
    used = [colour for colour in names if colour in found]
    return [Patch(facecolor=colour, alpha=0.55, edgecolor="#333333", label=names[colour]) for colour in used]


def _arm_axis(axis: Axes, arms: Sequence[str], groups: Sequence[str]) -> None:
    """Arms from top to bottom, a line between groups."""
    axis.set_yticks(range(len(arms)), [label(arm, 28) for arm in arms])
    axis.set_ylim(len(arms) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)
    for y in range(1, len(arms)):
        key: Callable[[int], tuple[str, str]] = lambda k: (groups[k], arms[k].split("_")[0])  # noqa: E731
        if groups[y] != groups[y - 1] or (groups[y] == "scenario" and key(y) != key(y - 1)):
            axis.axhline(y - 0.5, color="#AAAAAA", linewidth=0.8)


def _verdict_colour(verdict: str) -> str:
    return {AGREES: GREEN, DIFFERS: VERMILION}.get(verdict, "#444444")


def _spaced(image: np.ndarray) -> np.ndarray:
    """An image in colour with a twentieth of white on either side."""
    colours = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image
    border = max(1, round(image.shape[1] / 18))
    return np.pad(colours, ((0, 0), (border, border), (0, 0)), constant_values=255)


def _answer(member: Member, stacked: bool, length: int) -> str:
    carried, predicted = label(member.carried, length), label(member.predicted, length - 2 if stacked else length)
    arrow = "\n→ " if stacked else " → "
    if not member.predicted:
        return f"{carried} →\nno answer"
    return f"{carried}{arrow}{predicted}\n{member.confidence:.2f}"


def _critical_difference(axis: Axes, ranking: Ranking, height: float) -> None:
    """Draw one diagram in inches down from the axis at y = 0; names alternate to the left and the right half."""
    k = len(ranking.rows)
    half = math.ceil(k / 2)
    axis.set_axis_off()
    margin = 0.42 * (k - 1)
    axis.set_xlim(1 - margin, k + margin)
    axis.set_ylim(-height + 0.87, 0.87)
    axis.plot([1, k], [0, 0], color=BLACK, linewidth=1.2)
    for tick in range(1, k + 1):
        axis.plot([tick] * 2, [0, 0.07], color=BLACK, linewidth=1)
        axis.text(tick, 0.1, str(tick), ha="center", va="bottom", fontsize=8.5)
    what = "accuracy" if ranking.measure == "accuracy" else "judged adversarial rate"
    axis.text(1 - margin, 0.81, f"{label(ranking.classifier)} · {what}", ha="left", va="top", fontsize=9.5,
              fontweight="bold")  # fmt: skip
    if ranking.critical_difference is not None:
        end = min(k + margin, 1 + ranking.critical_difference)
        axis.plot([1, end], [0.4, 0.4], color=BLACK, linewidth=1.6)
        for x in (1, end):
            axis.plot([x] * 2, [0.36, 0.44], color=BLACK, linewidth=1.6)
        axis.text((1 + end) / 2, 0.44, f"critical difference {ranking.critical_difference:.2f}", ha="center",
                  va="bottom", fontsize=8.5)  # fmt: skip
    for index, (first, last) in enumerate(ranking.groups):
        y = -0.1 - 0.13 * index
        axis.plot([ranking.rows[first].rank - 0.06, ranking.rows[last].rank + 0.06], [y, y], color=BLACK,
                  linewidth=3.2, solid_capstyle="round")  # fmt: skip
    top = -0.22 - 0.13 * len(ranking.groups)
    for index, row in enumerate(ranking.rows):
        left = index < half
        level = top - 0.24 * (index if left else k - 1 - index)
        edge = 1 - 0.02 * k if left else k + 0.02 * k
        axis.plot([row.rank, row.rank, edge], [0, level, level], color=_arm_colour(row.arm, "scenario"), linewidth=1.1)
        text = f"{label(row.arm)}  {row.rank:.1f}" if left else f"{row.rank:.1f}  {label(row.arm)}"
        axis.annotate(text, (edge, level), xytext=(-4 if left else 4, 0), textcoords="offset points", va="center",
                      ha="right" if left else "left", fontsize=8.8)  # fmt: skip
