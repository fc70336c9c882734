"""Which images are asked about, in which company, and as which of the classifier's classes they count."""

from __future__ import annotations

from typing import Literal

import torch

from ..contracts import ClassifierInfo, Dataset
from ..rng import Stream
from ..shapes import Bool, Int, Tensor, UInt8


def spread(labels: Int[Tensor, " N"], n: int) -> Int[Tensor, " n"]:
    """Which n of N images to ask about: as many of each class as can be, evenly over its images.

    They come in turns, one of each class, so that the first few are of different classes as well. Nothing is drawn.
    """
    classes, counts = torch.unique(labels, return_counts=True)
    n = min(n, len(labels))
    if n < len(classes):
        classes = classes[torch.arange(n) * len(classes) // n]
        counts = torch.ones(n, dtype=torch.int64)
    taken = torch.zeros_like(counts)
    while int(taken.sum()) < n:
        room = (taken < counts).nonzero().flatten()[: n - int(taken.sum())]
        taken[room] += 1
    turns = []
    for label, count in zip(classes.tolist(), taken.tolist(), strict=True):
        members = (labels == label).nonzero().flatten()
        turns += [(turn, int(members[turn * len(members) // count])) for turn in range(count)]
    return torch.tensor([index for _, index in sorted(turns, key=lambda each: each[0])], dtype=torch.int64)


def noisy(images: UInt8[Tensor, "N C H W"], level: int, name: str) -> UInt8[Tensor, "N C H W"]:
    """Images with uniform noise of at most `level` gray levels on each pixel; the same each time."""
    drawn = Stream([0], [0])[name].uniform(*images.shape)[0]
    return (images + (2 * drawn - 1) * level).round().clamp(0, 255).to(torch.uint8)


def company(compared: int, images: int, together: int) -> tuple[Int[Tensor, " N"], Bool[Tensor, " N"], int]:
    """Calls in which known images stand among new ones, each as far from the end as it was from the start.

    Half of each call is known images, the other half new ones in their order. There are as many calls as the new images
    suffice for.

    Args:
        compared: the first images, which were asked about in calls of `together`, and are known.
        images: how many there are in all.
        together: rows in a call.

    Returns:
        Which images are asked about, which of these are known, and the first image that is still new.
    """
    half = together // 2
    asked: list[int] = []
    known: list[bool] = []
    new = compared
    for first in range(0, compared - together + 1, together):
        for start in range(0, together, half):
            members = {together - 1 - place: first + place for place in range(start, min(start + half, together))}
            if new + together - len(members) > images:
                return torch.tensor(asked, dtype=torch.int64), torch.tensor(known, dtype=torch.bool), new
            for place in range(together):
                asked.append(members.get(place, new))
                known.append(place in members)
                new += place not in members
    return torch.tensor(asked, dtype=torch.int64), torch.tensor(known, dtype=torch.bool), new


def match(info: ClassifierInfo, dataset: Dataset) -> tuple[Literal["name", "place", "none"], Int[Tensor, " K"]]:
    """Which class of the classifier each class of the data is."""
    theirs, mine = info.class_names, dataset.class_names
    if len(set(theirs)) == len(theirs) and set(mine) <= set(theirs):
        return "name", torch.tensor([theirs.index(name) for name in mine])
    if len(theirs) == len(mine):
        return "place", torch.arange(len(mine))
    return "none", torch.full((len(mine),), -1)
