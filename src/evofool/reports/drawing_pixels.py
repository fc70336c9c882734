"""Drawings as pixels: what was sent, enlarged only where it is shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from ..studies.draw.results import Arm
from .plots import VERMILION

SIDE = 112  # CSS pixels of a shown drawing, about
LARGE = 64  # canvases of more pixels a side are shown larger
FINE = 160  # of canvases with more pixels a side the ink is drawn thicker, or it could not be seen


def pixels(places: Sequence[int], arm: Arm, *, marked: Collection[int] = ()) -> np.ndarray:
    """Ink on a canvas, [H W] gray levels or [H W 3] colours in [0, 255].

    Args:
        places: of the ink, row * width + column.
        arm: says size and colours; of other than three channels the mean is shown.
        marked: some of the places, shown in a colour of their own.
    """
    canvas, ink = (_bytes(levels) for levels in (arm.canvas, arm.ink))
    height, width = arm.size
    found = np.empty((height, width, len(canvas)), np.uint8)
    found[:] = canvas
    there = np.zeros(height * width, bool)
    there[list(places)] = True
    found[_thick(there.reshape(height, width))] = ink
    if marked:
        found = np.repeat(found, 3, axis=2) if found.shape[2] == 1 else found
        there[:] = False
        there[list(marked)] = True
        found[_thick(there.reshape(height, width))] = [int(VERMILION[at : at + 2], 16) for at in (1, 3, 5)]
    return found[:, :, 0] if found.shape[2] == 1 else found


def thickness(size: tuple[int, int]) -> int:
    """How many pixels wide one of ink is drawn: 1, or an odd number on a fine canvas."""
    return 1 if max(size) <= FINE else 2 * round(max(size) / 200) + 1


def width(size: tuple[int, int], side: int = SIDE) -> int:
    """CSS pixels that a drawing is shown wide: a whole number for each of its own."""
    longest = max(size)
    times = max(1, round(2 * side / longest)) if longest > LARGE else -(-side // longest)
    return size[1] * times


def _bytes(levels: Sequence[float]) -> np.ndarray:
    values = np.round(np.array(levels) * 255)
    return (values if len(values) == 3 else values.mean(keepdims=True).round()).astype(np.uint8)


def _thick(mask: np.ndarray) -> np.ndarray:
    """The mask with each pixel widened to a square, as far as the canvas goes."""
    reach = thickness((mask.shape[0], mask.shape[1])) // 2
    if not reach:
        return mask
    found = np.zeros_like(mask)
    for row, column in np.argwhere(mask):
        top, left = max(0, row - reach), max(0, column - reach)
        found[top : row + reach + 1, left : column + reach + 1] = True
    return found
