"""Crossover: how two parents are mixed. Each gives the weight of the first parent; `genome.cross` makes the child."""

from __future__ import annotations

from ..rng import Stream
from ..shapes import Bool, Float, Tensor
from .segments import before


def single_point(a: Float[Tensor, "B n *G"], b: Float[Tensor, "B n *G"], *, rng: Stream) -> Bool[Tensor, "B n *G"]:
    """Cut the flattened genomes at one place: the genes before it come from a, the others from b.

    The cut lies between two genes, uniformly over the L - 1 places of a genome of L genes, so that each parent gives at
    least one.

    Raises:
        ValueError: a genome has fewer than two genes.

    Source: Holland, Adaptation in Natural and Artificial Systems (1975).
    """
    length = a[0, 0].numel()
    if length < 2:
        raise ValueError(f"single point crossover needs at least two genes, found {length}")
    cut = 1 + rng["cut"].integers(length - 1, a.shape[1])
    return before(cut, length).view(a.shape)


def arithmetic(a: Float[Tensor, "B n *G"], b: Float[Tensor, "B n *G"], *, rng: Stream) -> Float[Tensor, "B n 1"]:
    """Mix whole genomes with one weight for each mating, uniform on [0, 1): child = w a + (1 - w) b.

    Source: Michalewicz, Genetic Algorithms + Data Structures = Evolution Programs (1992), whole arithmetical crossover;
    there the weight may be fixed, here it is always drawn.
    """
    return rng["weight"].uniform(a.shape[1], 1)
