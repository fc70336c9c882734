"""Images of an attack as pixels: original, adversarial, and what is between them, magnified."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ..errors import EvofoolError
from ..files import read_png

SIDE = 84  # CSS pixels of a shown image, about
LARGEST = 128  # pixels a side: of larger images every k x k become one
MIDDLE = 128  # the gray level of "unchanged"


class Trio(NamedTuple):
    """One image before and after, and the difference; [H W] or [H W 3], gray levels in [0, 255]."""

    original: np.ndarray
    adversarial: np.ndarray
    difference: np.ndarray  # signed


def read(directory: Path, name: str) -> np.ndarray | None:
    """A PNG of a run, [H W] or [H W 3]; None where it is missing, cannot be read, or lies elsewhere."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        return None
    try:
        found = read_png(directory / path).numpy()
    except (EvofoolError, OSError):
        return None
    if found.shape[0] == 3:
        return np.ascontiguousarray(found.transpose(1, 2, 0))
    return found[0] if found.shape[0] == 1 else found.astype(float).mean(0).round().astype(np.uint8)


def trio(directory: Path, original: str, adversarial: str) -> Trio | None:
    """Both files of an image; None where one of them is not there, or they differ in shape."""
    before, after = read(directory, original), read(directory, adversarial)
    if before is None or after is None or before.shape != after.shape:
        return None
    return Trio(before, after, after.astype(int) - before.astype(int))


def factor(largest: int) -> float:
    """How many times differences are magnified, so that the largest just fits: a whole number, or one half.

    Args:
        largest: absolute difference, in gray levels.
    """
    return max(1.0, float((255 - MIDDLE) // largest)) if 0 < largest <= 127 else 1.0 if not largest else 0.5


def magnified(difference: np.ndarray, times: float) -> np.ndarray:
    """Differences around a middle gray: lighter = more light, darker = less."""
    return np.clip(MIDDLE + np.trunc(difference * times), 0, 255).astype(np.uint8)


def reduction(size: tuple[int, ...]) -> int:
    """How many pixels a side become one where an image is shown."""
    return math.ceil(max(size[:2]) / LARGEST)


def reduced(image: np.ndarray) -> np.ndarray:
    """An image of at most 128 pixels a side: the mean of each square; a rest at the edges is left out."""
    squares = _squares(image, reduction(image.shape))
    return squares.mean((1, 3)).round().astype(np.uint8) if squares is not None else image


def reduced_difference(difference: np.ndarray) -> np.ndarray:
    """The same of differences: what differs most in each square, so that single pixels stay in sight."""
    squares = _squares(difference, reduction(difference.shape))
    if squares is None:
        return difference
    high, low = squares.max((1, 3)), squares.min((1, 3))
    return np.where(high >= -low, high, low)


def width(size: tuple[int, ...]) -> int:
    """CSS pixels that a shown image is wide: a whole number for each of its own."""
    longest = max(size[:2])
    return size[1] * max(1, round(SIDE / longest))


def _squares(image: np.ndarray, side: int) -> np.ndarray | None:
    """[rows, side, columns, side, ...]; None where nothing is to be reduced."""
    if side == 1:
        return None
    rows, columns = max(1, image.shape[0] // side), max(1, image.shape[1] // side)
    if image.shape[0] < side or image.shape[1] < side:  # a strip: repeat its edge
        pad = [(0, max(0, side - image.shape[0])), (0, max(0, side - image.shape[1]))]
        image = np.pad(image, pad + [(0, 0)] * (image.ndim - 2), mode="edge")
    kept = image[: rows * side, : columns * side]
    return kept.reshape(rows, side, columns, side, *image.shape[2:])
