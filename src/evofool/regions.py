"""Regions of an image by name, and when each holds.

    everywhere             every pixel
    center:0.5             the middle box with half of the height and half of the width
    border:4               pixels fewer than 4 steps from the border
    ring:2-5               pixels from 2 to 5 steps from the border; border pixels are 0 steps from it
    box:TOP,LEFT,H,W       a box, in pixels
    mask:FILE              the pixels of an image file that are lighter than middle gray

    not:REGION             all others
    REGION@0-3000          in generations 0 to 3,000; without it, in all

Generations count from 0, and steps are the fewest to any side of the image.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from .errors import SpecError, nearest
from .shapes import Bool, Int, Tensor

EVERYWHERE = "everywhere"
_FORMS = ("everywhere", "center", "border", "ring", "box", "mask", "not")


@dataclass(frozen=True)
class Phase:
    """Generations in which ink may lie in one region.

    Attributes:
        region: its name.
        last: the last generation of the phase; None = the last of all.
    """

    region: str
    last: int | None = None


def steps_to_border(height: int, width: int) -> Int[Tensor, "H W"]:
    """How many steps each pixel is from the border: 0 on it."""
    row, column = torch.arange(height), torch.arange(width)
    down = torch.minimum(row, height - 1 - row)
    right = torch.minimum(column, width - 1 - column)
    return torch.minimum(down[:, None], right[None, :])


@functools.lru_cache(maxsize=64)
def mask(region: str, height: int, width: int) -> Bool[Tensor, "H W"]:
    """The pixels of a region. Do not change the tensor: it is handed to all who ask for the same.

    Raises:
        SpecError: an unknown form, a region without a pixel, or a mask of another size.
    """
    found = _mask(region.strip(), height, width)
    if not bool(found.any()):
        raise SpecError(f"region {region}: has no pixel of an image of {height} x {width}; expected at least one")
    return found


def _mask(region: str, height: int, width: int) -> Bool[Tensor, "H W"]:
    form, _, rest = region.partition(":")
    if form == "everywhere" and not rest:
        return torch.ones(height, width, dtype=torch.bool)
    if form == "not":
        return ~_mask(rest, height, width)
    if form == "mask":
        return _from_file(Path(rest), height, width)
    steps = steps_to_border(height, width)
    if form == "center" and (share := _numbers(rest, r"(\d*\.?\d+)")) and 0 < share[0] <= 1:
        tall, wide = (max(1, round(share[0] * length)) for length in (height, width))
        return _box((height - tall) // 2, (width - wide) // 2, tall, wide, height, width)
    if form == "border" and (limit := _numbers(rest, r"(\d+)")):
        return steps < limit[0]
    if form == "ring" and (ends := _numbers(rest, r"(\d+)-(\d+)")):
        return (steps >= ends[0]) & (steps <= ends[1])
    if form == "box" and (box := _numbers(rest, r"(\d+),(\d+),(\d+),(\d+)")):
        top, left, tall, wide = (int(number) for number in box)
        if top + tall > height or left + wide > width:
            raise SpecError(
                f"region {region}: reaches row {top + tall} and column {left + wide} of an image of {height} x {width}"
            )
        return _box(top, left, tall, wide, height, width)
    forms = "everywhere, center:0.5, border:4, ring:2-5, box:TOP,LEFT,HEIGHT,WIDTH, mask:FILE or not:REGION"
    raise SpecError(f"region '{region}': expected {forms}{'' if form in _FORMS else nearest(form, _FORMS)}")


def _numbers(text: str, form: str) -> list[float]:
    found = re.fullmatch(form, text)
    return [float(number) for number in found.groups()] if found else []


def _box(top: int, left: int, tall: int, wide: int, height: int, width: int) -> Bool[Tensor, "H W"]:
    found = torch.zeros(height, width, dtype=torch.bool)
    found[top : top + tall, left : left + wide] = True
    return found


def _from_file(path: Path, height: int, width: int) -> Bool[Tensor, "H W"]:
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            levels = np.asarray(image if image.mode.startswith("I;16") else image.convert("L"))
    except Exception as error:  # a decoder that meets foreign bytes may raise anything
        raise SpecError(f"region mask:{path}: {getattr(error, 'strerror', None) or 'is not an image'}") from None
    if levels.shape != (height, width):
        found = " x ".join(map(str, levels.shape))
        raise SpecError(f"region mask:{path}: has {found} pixels (height x width), expected {height} x {width}")
    return torch.from_numpy(levels > np.iinfo(levels.dtype).max // 2)


def absolute(text: str) -> str:
    """The same region with the whole path of its mask, so that it means the same wherever it is read."""
    form, mark, rest = text.partition("mask:")
    if not mark or form not in ("", "not:"):
        return text
    return f"{form}{mark}{Path(rest).absolute()}"


def phases(texts: list[str] | tuple[str, ...], generations: int) -> tuple[Phase, ...]:
    """What holds from generation 0 to the last one, in order.

    Args:
        texts: "REGION@FIRST-LAST", "REGION@FIRST-" or "REGION" for all that is left; what is left at the end is
            everywhere. What begins after the last generation of all is read, and left out.
        generations: the last generation of all.

    Raises:
        SpecError: phases that do not follow one another.
    """
    found: list[Phase] = []
    begins: int | None = 0
    for text in texts:
        if begins is None:
            raise SpecError(f"region {text}: the one before it has no end; expected that one as REGION@FIRST-LAST")
        region, at, when = text.rpartition("@")
        if not at or ("mask:" in region and not re.fullmatch(r"\d+-\d*", when)):  # a file may have an @ in its name
            region, when = text, f"{begins}-"
        ends = re.fullmatch(r"(\d+)-(\d+)?", when)
        if not ends:
            raise SpecError(f"region {text}: expected REGION@FIRST-LAST in generations, such as center:0.5@0-3000")
        first, last = int(ends[1]), int(ends[2]) if ends[2] else None
        if first != begins:
            raise SpecError(f"region {text}: begins in generation {first}; expected {begins}: one follows another")
        if last is not None and last < first:
            raise SpecError(f"region {text}: ends in generation {last}; expected {first} or later")
        if first <= generations:
            found.append(Phase(region, generations if last is None else min(last, generations)))
        begins = None if last is None else last + 1
    if begins is not None and begins <= generations:
        found.append(Phase(EVERYWHERE, generations))
    return tuple(found)
