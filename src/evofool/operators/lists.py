"""Ink as a list: which genes are not zero, as sorted places in the flattened genome.

The places of a member are as good as its mask and far fewer. Lists of several members are filled up with the length of
the genome, which is no place, so that they stay sorted.
"""

from __future__ import annotations

import torch

from ..shapes import Bool, Int, Tensor


def listed(x: Tensor) -> tuple[Int[Tensor, "R K"], Int[Tensor, " R"]]:
    """Where the rows [R L] are not zero: their places, and how many there are."""
    rows, length = x.shape
    counts = torch.count_nonzero(x, 1)
    row, place = x.nonzero(as_tuple=True)
    longest = int(counts.max()) if rows else 0
    first = counts.cumsum(0) - counts
    places = torch.full((rows, longest), length, dtype=torch.int64, device=x.device)
    places[row, torch.arange(len(row), device=x.device) - first[row]] = place
    return places, counts


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
