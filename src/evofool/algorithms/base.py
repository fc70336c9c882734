"""What attacks have in common: the state of an image that keeps its best perturbation."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..contracts import Evaluated, Victims
from ..shapes import Bool, Float, Int, Tensor


@dataclass(frozen=True)
class Begun:
    """Images under attack.

    Attributes:
        x: [B C H W], as they are.
        labels: [B], see `Victims`.
        best: [B C H W], the perturbation that is held on to; zeros at first.
        fitness: [B], of it; that of the image itself at first.
        told: [B], how often answers came.
    """

    x: Float[Tensor, "B C H W"]
    labels: Int[Tensor, " B"]
    best: Float[Tensor, "B C H W"]
    fitness: Float[Tensor, " B"]
    told: Int[Tensor, " B"]


def begin(victims: Victims) -> Begun:
    """The state before the first question."""
    return Begun(
        victims.x, victims.labels, torch.zeros_like(victims.x), victims.fitness, torch.zeros_like(victims.labels)
    )


def winners(
    state: Begun, evaluated: Evaluated, fitness: Float[Tensor, "B n"]
) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, " B"], Bool[Tensor, " B"]]:
    """The best perturbation of a round, its fitness, and whether it is better than what is held on to."""
    value, member = fitness.nan_to_num(nan=torch.inf).min(1)
    genomes = evaluated.genomes
    new = genomes[:, 0] if genomes.shape[1] == 1 else genomes[torch.arange(len(member)), member]
    return new, value, value < state.fitness.nan_to_num(nan=torch.inf)


def replaced(
    old: Float[Tensor, "B C H W"], which: Bool[Tensor, " B"], new: Float[Tensor, "B C H W"]
) -> Float[Tensor, "B C H W"]:
    """`old` with some images as in `new`; in less time than choosing each gray level by a mask."""
    rows = which.nonzero().squeeze(1)
    return old.index_copy(0, rows, new.index_select(0, rows))
