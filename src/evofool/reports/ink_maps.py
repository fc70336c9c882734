"""Maps of an ink study as small multiples on a diverging colour scale; the same table gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .plots import BLACK, GREY, STYLE, WIDTH, Drawn, _drawn, label

LINE = 0.16  # inches of a line of words
# Blue takes away, red adds; white in the middle is nothing. Both ends differ in lightness from white alike.
DIVERGING = LinearSegmentedColormap.from_list(
    "diverging", ["#053061", "#2166AC", "#67A9CF", "#D1E5F0", "#FFFFFF", "#FDDBC7", "#EF8A62", "#B2182B", "#67001F"]
)
NOWHERE = "#D9D9D9"


class Panel(NamedTuple):
    """One map.

    Attributes:
        title: above it, bold.
        lines: further words above it.
        values: [H W]; NaN where ink was not allowed; None = nothing is known.
        marked: framed.
        places: that are framed: (row, column).
        plain: the places are black on white; `values` only say the size.
    """

    title: str
    lines: tuple[str, ...]
    values: np.ndarray | None
    marked: bool = False
    places: tuple[tuple[int, int], ...] = ()
    plain: bool = False


class Band(NamedTuple):
    """Maps in a row on one colour scale that ends at plus and minus `limit`; `ticks` name its ends and middle."""

    title: str
    panels: tuple[Panel | None, ...]
    limit: float
    unit: str
    ticks: tuple[str, ...] = ()


def maps(bands: Sequence[Band], *, side: float = 2.6) -> Drawn:
    """Rows of maps, each row with its scale at the right.

    Args:
        bands: the rows.
        side: most inches that a map is wide.
    """
    left = 0.32 if any(band.title for band in bands) else 0.06
    scale, gap = 0.95, 0.16
    columns = max((len(band.panels) for band in bands), default=1)
    side = min(side, (WIDTH - left - scale - gap * columns) / columns)
    heads = [_head(band) for band in bands]
    talls = [_tall(band, side) for band in bands]
    height = sum(heads) + sum(talls) + 0.14 * len(bands) + 0.06
    with matplotlib.rc_context({**STYLE, "figure.constrained_layout.use": False, "image.composite_image": False}):
        figure = Figure(figsize=(WIDTH, height))
        top = height
        for band, head, tall in zip(bands, heads, talls, strict=True):
            bottom = top - head - tall
            _band(figure, band, left, bottom, side, tall, gap, height)
            top = bottom - 0.14
        return _drawn(figure)


def _head(band: Band) -> float:
    lines = max((1 + len(panel.lines) for panel in band.panels if panel), default=1)
    return LINE * lines + 0.1


def _tall(band: Band, side: float) -> float:
    shapes = [panel.values.shape for panel in band.panels if panel and panel.values is not None]
    return max((side * rows / columns for rows, columns in shapes), default=0.5)


def _band(
    figure: Figure, band: Band, left: float, bottom: float, side: float, tall: float, gap: float, height: float
) -> None:
    image = None
    for number, panel in enumerate(band.panels):
        if panel is None:
            continue
        own = side * panel.values.shape[0] / panel.values.shape[1] if panel.values is not None else tall
        x = left + number * (side + gap)
        axis = figure.add_axes((x / WIDTH, (bottom + tall - own) / height, side / WIDTH, own / height))
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(True)
            spine.set_edgecolor(BLACK if panel.marked else "#AAAAAA")
            spine.set_linewidth(2.2 if panel.marked else 0.7)
        if panel.values is None:
            axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", va="center", color=GREY)
        else:
            axis.set_facecolor(NOWHERE)
            image = axis.imshow(np.ma.masked_invalid(panel.values), cmap=DIVERGING, vmin=-band.limit, vmax=band.limit,
                                interpolation="none", aspect="auto")  # fmt: skip
            for row, column in panel.places:
                axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=panel.plain, facecolor=BLACK,
                                         edgecolor=BLACK, linewidth=0.0 if panel.plain else 0.8))  # fmt: skip
        for line, words in enumerate((panel.title, *panel.lines)):
            y = bottom + tall + 0.06 + LINE * (len(panel.lines) - line)
            figure.text(x / WIDTH, y / height, label(words, max(10, int((14 if line == 0 else 16) * side))),
                        va="bottom", fontsize=8.8 if line == 0 else 8.1,
                        fontweight="bold" if line == 0 else "normal")  # fmt: skip
    if band.title:
        figure.text(0.02, (bottom + tall / 2) / height, label(band.title, 34), rotation=90, va="center", ha="center",
                    fontweight="bold", fontsize=9)  # fmt: skip
    if image is not None:
        x = left + len(band.panels) * (side + gap)
        bar = figure.add_axes((x / WIDTH, (bottom + 0.06 * tall) / height, 0.12 / WIDTH, 0.88 * tall / height))
        shown = figure.colorbar(image, cax=bar)
        shown.outline.set_visible(False)
        if band.ticks:
            places = np.linspace(-band.limit, band.limit, len(band.ticks))
            shown.set_ticks(list(places), labels=list(band.ticks))
        else:
            shown.ax.locator_params(axis="y", nbins=5)
        shown.ax.tick_params(labelsize=8, length=2)
        shown.set_label(band.unit, fontsize=8.2)
