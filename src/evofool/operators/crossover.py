"""Crossover: how two parents are mixed. Each gives the weight of the first parent; `genome.cross` makes the child."""

from __future__ import annotations

import torch

from ..rng import Stream
from ..shapes import Bool, Float, Tensor
from .lists import entries
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


def uniform(a: Float[Tensor, "B n *G"], b: Float[Tensor, "B n *G"], *, rng: Stream) -> Bool[Tensor, "B n *G"]:
    """Take each gene from a or from b, by the toss of a fair coin.

    Source: Syswerda, Uniform crossover in genetic algorithms (1989).
    """
    return rng["from a"].bits(a.shape[1], a[0, 0].numel()).view(a.shape)


def rectangle(a: Float[Tensor, "B n *G"], b: Float[Tensor, "B n *G"], *, rng: Stream) -> Bool[Tensor, "B n *G"]:
    """Take a random rectangle of the image from b, all else from a.

    Its first and last row are two draws from all rows, in their order, and so are its columns; all channels change
    together. A genome of one axis is one row.
    """
    height, width = _size(a)
    n = a.shape[1]
    rows = rng["rows"].integers(height, n, 2).sort(-1).values[..., None]
    columns = rng["columns"].integers(width, n, 2).sort(-1).values[..., None]
    row, column = torch.arange(height, device=a.device), torch.arange(width, device=a.device)
    within_rows = (row >= rows[:, :, 0]) & (row <= rows[:, :, 1])
    within_columns = (column >= columns[:, :, 0]) & (column <= columns[:, :, 1])
    return _on_channels(~(within_rows[..., :, None] & within_columns[..., None, :]), a)


def columns(a: Float[Tensor, "B n *G"], b: Float[Tensor, "B n *G"], *, rng: Stream) -> Bool[Tensor, "B n *G"]:
    """Alternate: the first column of the image from a, the second from b, and so on. Nothing is drawn."""
    height, width = _size(a)
    from_a = torch.arange(width, device=a.device) % 2 == 0
    return _on_channels(from_a.expand(*a.shape[:2], height, width), a)


def rows(a: Float[Tensor, "B n *G"], b: Float[Tensor, "B n *G"], *, rng: Stream) -> Bool[Tensor, "B n *G"]:
    """Alternate: the first row of the image from a, the second from b, and so on. Nothing is drawn.

    A genome of one axis counts as a column.
    """
    if a.ndim == 3:
        return columns(a, b, rng=rng)
    height, width = _size(a)
    from_a = torch.arange(height, device=a.device)[:, None] % 2 == 0
    return _on_channels(from_a.expand(*a.shape[:2], height, width), a)


def list_exchange(a: Float[Tensor, "B n *G"], b: Float[Tensor, "B n *G"], *, rng: Stream) -> Bool[Tensor, "B n *G"]:
    """Exchange stretches of equal length between the lists of the genes that are not zero.

    Each parent is read as the sorted list of its ink. From 1 to all entries of the shorter list, one after another
    from a random one on (behind the last comes the first), change places with as many of the other; the child is what
    becomes of a. An entry that the child has already is not there twice, and ink that both parents have stays where it
    is: the child may have less ink than a, or more, and what its sibling would have makes up for it.
    A parent without ink has nothing to exchange: the child is a.
    """
    length, n = a[0, 0].numel(), a.shape[1]
    both = [entries(parent.flatten(0, 1).flatten(1)) for parent in (a, b)]
    fewer = torch.minimum(both[0].counts, both[1].counts)
    # Draws do not depend on how long the lists of others are.
    count = 1 + (rng["length"].uniform(n, dtype=torch.float64).flatten() * fewer).long().clamp(max=fewer - 1)
    from_a = torch.ones(a.shape[0] * n * length, dtype=torch.bool, device=a.device)
    for ink, purpose in zip(both, ("start in a", "start in b"), strict=True):
        start = (rng[purpose].uniform(n, dtype=torch.float64).flatten() * ink.counts).long()
        behind = (ink.nth - start[ink.row]) % ink.counts[ink.row]
        exchanged = behind < count[ink.row]  # a count of 0 where the other has no ink
        from_a[(ink.row * length + ink.place)[exchanged]] = False
    return from_a.view(a.shape)


def union(a: Float[Tensor, "B n *G"], b: Float[Tensor, "B n *G"], *, rng: Stream) -> Bool[Tensor, "B n *G"]:
    """The ink of both parents: a gene comes from b where it is zero in a. Nothing is drawn."""
    return a != 0


def intersection(a: Float[Tensor, "B n *G"], b: Float[Tensor, "B n *G"], *, rng: Stream) -> Bool[Tensor, "B n *G"]:
    """The ink that both parents have: a gene comes from b where it is not zero in a. Nothing is drawn."""
    return a == 0


def _size(genes: Tensor) -> tuple[int, int]:
    """Height and width of the images that genomes are."""
    return (genes.shape[-2] if genes.ndim > 3 else 1), genes.shape[-1]


def _on_channels(mask: Bool[Tensor, "B n H W"], like: Tensor) -> Bool[Tensor, "B n *G"]:
    if like.ndim == 3:
        return mask[:, :, 0]
    return mask.view(*mask.shape[:2], *(1,) * (like.ndim - 4), *mask.shape[2:]).expand(like.shape)
