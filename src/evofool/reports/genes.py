"""A pool of genes as a picture and a table: what fooled images before, and how often."""

from __future__ import annotations

from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ..pool import Pool, picture
from .plots import STYLE, WIDTH, Drawn, _drawn, label

COLUMNS = 10


class Gene(NamedTuple):
    """One gene.

    Attributes:
        number: in the pool.
        label, seen: names of the class it came from, and of the class that was seen in what fooled.
        queries: after how many it was found; 0 = bred from others.
        wins, tries: on later images, of all classes.
    """

    number: int
    label: str
    seen: str
    queries: int
    wins: int
    tries: int


def genes(pool: Pool) -> list[Gene]:
    """All genes, those that have won most often first; of equals those tried less, then the older ones."""
    names = [str(name) for name in pool.about.get("classes", range(pool.wins.shape[1]))]
    rows = [
        Gene(
            number,
            names[int(pool.labels[number])],
            names[int(pool.predictions[number])],
            int(pool.queries[number]),
            int(pool.wins[number].sum()),
            int(pool.tries[number].sum()),
        )
        for number in range(len(pool))
    ]
    return sorted(rows, key=lambda gene: (-gene.wins, gene.tries, gene.number))


def drawn(pool: Pool, most: int = 60) -> Drawn:
    """The genes that have won most often, ten in a row: gray = unchanged, brighter = up, darker = down."""
    shown = genes(pool)[:most]
    rows = max(1, -(-len(shown) // COLUMNS))
    side, caption = WIDTH / COLUMNS, 0.42
    height = rows * (side + caption)
    with matplotlib.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        figure = Figure(figsize=(WIDTH, height))
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_axis_off()
        for place, gene in enumerate(shown):
            left = (place % COLUMNS) * side
            top = height - (place // COLUMNS) * (side + caption) - 0.02
            image = picture(pool.genes[gene.number]).permute(1, 2, 0).numpy()
            image = image[..., 0] if image.shape[2] == 1 else image
            axis.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto",
                        extent=(left + 0.04, left + side - 0.04, top - side + 0.08, top))  # fmt: skip
            words = f"{label(gene.label, 6)} → {label(gene.seen, 6)}\n{gene.wins} of {gene.tries}"
            axis.text(left + side / 2, top - side + 0.03, words, ha="center", va="top", linespacing=1.2)
        axis.set_xlim(0, WIDTH)
        axis.set_ylim(0, height)
        return _drawn(figure)
