"""Mutation: how a child changes. Each changes every member that it is given."""

from __future__ import annotations

import torch

from ..rng import Stream
from ..shapes import Float, Int, Tensor
from .segments import before, mirrored


def _two_places(x: Tensor, rng: Stream) -> tuple[Int[Tensor, "B n"], Int[Tensor, "B n"]]:
    """Two different places in each flattened genome, uniformly without replacement."""
    length = x[0, 0].numel()
    if length < 2:
        raise ValueError(f"this mutation needs at least two genes, found {length}")
    first = rng["first place"].integers(length, x.shape[1])
    second = rng["second place"].integers(length - 1, x.shape[1])
    return first, second + (second >= first)


def swap(x: Float[Tensor, "B n *G"], *, rng: Stream) -> Float[Tensor, "B n *G"]:
    """Exchange two genes of each member, chosen uniformly without replacement.

    Args:
        x: genomes, in the encoding's units (for images 1.0 = full white).

    Raises:
        ValueError: a member has fewer than two genes.

    Source: Eiben & Smith, Introduction to Evolutionary Computing, 2nd ed., chapter 4 (mutation for permutations).
    """
    places = torch.stack(_two_places(x, rng), 2)
    flat = x.flatten(2)
    return flat.scatter(2, places, flat.gather(2, places.flip(2))).view_as(x)


def inversion(x: Float[Tensor, "B n *G"], *, rng: Stream) -> Float[Tensor, "B n *G"]:
    """Reverse the genes between two places of each flattened member, both included, chosen without replacement.

    Args:
        x: genomes, in the encoding's units (for images 1.0 = full white).

    Raises:
        ValueError: a member has fewer than two genes.

    Source: Holland, Adaptation in Natural and Artificial Systems (1975); Eiben & Smith, 2nd ed., chapter 4.
    """
    one, other = _two_places(x, rng)
    flat = x.flatten(2)
    length = flat.shape[2]
    inside = before(torch.maximum(one, other) + 1, length) ^ before(torch.minimum(one, other), length)
    return torch.where(inside, mirrored(flat, one + other), flat).view_as(x)
