"""Ink as a list: which genes are not zero, as sorted places in the flattened genome.

The places of a member are as good as its mask and far fewer. Lists of several members are filled up with the length of
the genome, which is no place, so that they stay sorted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ..shapes import Bool, Int, Tensor


class Entries(NamedTuple):
    """The genes of rows [R L] that are not zero, one entry each, sorted by row and place.

    Attributes:
        row, place: where it stands, [E].
        nth: how many stand before it in its row, [E].
        counts: how many there are in each row, [R].
    """

    row: Int[Tensor, " E"]
    place: Int[Tensor, " E"]
    nth: Int[Tensor, " E"]
    counts: Int[Tensor, " R"]


def count(x: Tensor) -> Int[Tensor, "*N"]:
    """How many genes are not zero, along the last axis."""
    if x.device.type == "cpu":  # NumPy counts bytes ten times faster
        return torch.from_numpy(np.asarray(np.count_nonzero(x.numpy(), axis=-1), dtype=np.int64))
    return torch.count_nonzero(x, -1)


def entries(x: Tensor) -> Entries:
    """Where the rows [R L] are not zero."""
    counts = count(x)
    row, place = x.nonzero(as_tuple=True)
    first = counts.cumsum(0) - counts
    return Entries(row, place, torch.arange(len(row), device=x.device) - first[row], counts)


def listed(x: Tensor) -> tuple[Int[Tensor, "R K"], Int[Tensor, " R"]]:
    """Where the rows [R L] are not zero: their places, and how many there are."""
    found = entries(x)
    longest = int(found.counts.max()) if len(x) else 0
    places = torch.full((len(x), longest), x.shape[1], dtype=torch.int64, device=x.device)
    places[found.row, found.nth] = found.place
    return places, found.counts


def mask_of(places: Int[Tensor, "*N K"], length: int) -> Bool[Tensor, "*N L"]:
    """The inverse of `listed`; places that are no places of a genome of this length are left out."""
    rows = places.flatten(0, -2)
    inside = (rows >= 0) & (rows < length)
    mask = torch.zeros(len(rows), length + 1, dtype=torch.bool, device=places.device)
    mask.scatter_(1, torch.where(inside, rows, length), True)
    return mask[:, :length].unflatten(0, places.shape[:-1])


def blank_place(places: Int[Tensor, "R K"], number: Int[Tensor, " R"], length: int) -> Int[Tensor, " R"]:
    """The place of the zero gene of each row [length] before which there are `number` others."""
    # Before the k-th place that is not zero there are places[k] - k that are.
    before = places - torch.arange(places.shape[1], device=places.device)
    return number + ((before <= number[:, None]) & (places < length)).sum(1)
