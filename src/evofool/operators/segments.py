"""Stretches of flattened genomes, of all members at once.

Comparing every place of every member with a cut is slow on a CPU, and so is gathering gene by gene. Here whole rows are
copied out of a strip that every member reads from a place of its own.
"""

from __future__ import annotations

import torch

from ..shapes import Bool, Float, Int, Tensor


def before(cut: Int[Tensor, "B n"], length: int) -> Bool[Tensor, "B n L"]:
    """Which of `length` places stand before a cut in [0, length]."""
    strip = torch.arange(2 * length, device=cut.device) < length
    return _windows(strip, length - cut, length)


def mirrored(x: Float[Tensor, "B n L"], ends: Int[Tensor, "B n"]) -> Float[Tensor, "B n L"]:
    """Members read backwards: at place k stands gene `ends - k`.

    Args:
        x: flattened members.
        ends: the first place of a segment plus its last, so that the segment comes to stand where it was.

    Returns:
        The members; where there is no such gene stands one of no meaning.
    """
    length = x.shape[2]
    margin = x.new_zeros(length)
    strip = torch.cat([margin, x.flip(2).flatten(), margin])
    member = 1 + torch.arange(ends.numel(), device=x.device).view_as(ends)
    return _windows(strip, member * length + (length - 1 - ends), length)


def _windows(strip: Tensor, start: Int[Tensor, "B n"], length: int) -> Tensor:
    """The stretches of a strip that begin at the given places, [B n length]."""
    return strip.unfold(0, length, 1).index_select(0, start.flatten()).unflatten(0, start.shape)
