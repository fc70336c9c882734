"""The only code that knows how a genome is laid out: a tensor, or a frozen dataclass of tensors, the genes first.

Every tensor of a genome leads with [B P]. The fields after the genes (label, ancestor) are carried: operators never see
them, and a child takes them from one of its parents. The functions on rows work on any nest of dataclasses and tensors
that lead with B, so an algorithm's state too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch

from .shapes import Bool, Float, Int, Tensor

G = TypeVar("G")
LabelRule = Literal["dominant", "first"]


@dataclass(frozen=True)
class Labelled:
    """Images that carry the class they count as and the initial member they descend from.

    Attributes:
        genes: [B P C H W], gray levels in [0, 1].
        label: [B P], class index.
        ancestor: [B P], index into the initial population.
    """

    genes: Float[Tensor, "B P C H W"]
    label: Int[Tensor, "B P"]
    ancestor: Int[Tensor, "B P"]


def _map(function: Callable[..., Tensor], *values: Any) -> Any:
    """Apply a function to the tensors that stand at the same place in values of one layout."""
    first = values[0]
    if isinstance(first, Tensor):
        return function(*values)
    parts = {f.name: _map(function, *(getattr(v, f.name) for v in values)) for f in dataclasses.fields(first)}
    return dataclasses.replace(first, **parts)


def genes(genome: Any) -> Tensor:
    """What operators work on: [B P *G]."""
    return genome if isinstance(genome, Tensor) else getattr(genome, dataclasses.fields(genome)[0].name)


def with_genes(genome: G, new: Tensor) -> G:
    """The same genome with other genes."""
    if isinstance(genome, Tensor):
        return new  # type: ignore[return-value]
    return dataclasses.replace(genome, **{dataclasses.fields(genome)[0].name: new})  # type: ignore[type-var,arg-type]


def labels(genome: Any, otherwise: Int[Tensor, " B"] | None) -> Int[Tensor, "B P"]:
    """The class each member carries; where the genome carries none, that of its search."""
    carried = getattr(genome, "label", None)
    if carried is not None:
        return carried
    if otherwise is None:
        raise ValueError("the genome carries no label, and the search has none: give the problem its labels")
    return otherwise[:, None].expand(genes(genome).shape[:2])


def take(genome: G, index: Int[Tensor, "B n"]) -> G:
    """The members at these places of each search."""
    searches, population = genes(genome).shape[:2]
    offset = torch.arange(searches, device=index.device)[:, None] * population
    flat = (index + offset).flatten()
    return _map(lambda t: t.flatten(0, 1).index_select(0, flat).unflatten(0, index.shape), genome)


def rows(value: G, index: Int[Tensor, " b"]) -> G:
    """Some of the searches."""
    return _map(lambda t: t.index_select(0, index), value)


def join(*values: G) -> G:
    """The searches of several values, one after the other."""
    return _map(lambda *tensors: torch.cat(tensors), *values)


def choose(which: Bool[Tensor, " B"], first: G, second: G) -> G:
    """The searches of `first` where `which` says so, else those of `second`."""
    return _map(lambda a, b: torch.where(_spread(which, a), a, b), first, second)


def put(value: G, index: Int[Tensor, " b"], new: G) -> G:
    """The searches of `value`, those at `index` replaced by the rows of `new`."""
    return _map(lambda t, n: t.index_copy(0, index, n), value, new)


def _spread(weight: Tensor, like: Tensor) -> Tensor:
    """Append axes of size 1 until a weight [B n 1] broadcasts against genes [B n *G]."""
    return weight.reshape(weight.shape + (1,) * (like.ndim - weight.ndim))


def cross(a: G, b: G, weight: Tensor, carry: LabelRule = "dominant", *, overwrite: bool = False) -> G:
    """The children of parents a and b.

    Args:
        a, b: first and second parents, [B n *G] each.
        weight: share of a in each gene, in [0, 1]: a mask of bools [B n *G], or numbers [B n *G] or [B n 1].
        carry: whose label and ancestor a child carries: "dominant" = of the parent with the larger mean weight (ties
            to the first), "first" = of a.
        overwrite: the children's genes may take the place of b's, which spares time and memory.
    """
    genes_a, genes_b = genes(a), genes(b)
    weight = _spread(weight, genes_a)
    if weight.dtype == torch.bool and genes_a.is_floating_point():
        # 0 and 1 mix exactly, and on a CPU mixing is twice as fast as choosing; bytes are the fastest way to numbers.
        weight = weight.view(torch.uint8).to(genes_a.dtype)
    if weight.dtype == torch.bool:
        crossed = torch.where(weight, genes_a, genes_b)
    else:
        crossed = torch.lerp(genes_b, genes_a, weight, out=genes_b if overwrite else None)
    if isinstance(a, Tensor):
        return crossed  # type: ignore[return-value]
    if carry == "first":
        return with_genes(a, crossed)
    of_a = weight.flatten(2).mean(2, dtype=torch.float32) >= 0.5
    carried = _map(lambda p, q: q if p is genes_a else torch.where(_spread(of_a, p), p, q), a, b)
    return with_genes(carried, crossed)


def pick(old: G, new: G, index: Int[Tensor, "B n"]) -> G:
    """Members out of two generations: places below P mean the old one, the others the new one."""
    parents, members = genes(old).shape[1], genes(new).shape[1]
    everyone = torch.arange(parents, parents + members, device=index.device)
    kept = index.shape[1] - members
    # Most often it is the whole new generation, in order, behind a few of the old one: that spares two copies.
    if kept >= 0 and bool((index[:, kept:] == everyone).all()) and bool((index[:, :kept] < parents).all()):
        return _map(lambda p, q: torch.cat([p, q], 1), take(old, index[:, :kept]), new) if kept else new
    return take(_map(lambda p, q: torch.cat([p, q], 1), old, new), index)


def edit(genome: G, chosen: Bool[Tensor, "B n"], change: Callable[[Tensor], Tensor], *, overwrite: bool = False) -> G:
    """The same members, the genes of the chosen ones changed.

    Args:
        genome: not changed itself, unless `overwrite`.
        chosen: which members. They are brought together first, so that `change` sees as many rows in each search as the
            search with most of them has, and works on no others.
        change: takes and gives genes [B m *G].
        overwrite: the genes may be changed where they are, which spares time and memory.
    """
    most = int(chosen.sum(1).max()) if chosen.numel() else 0
    if not most:
        return genome
    place = (~chosen).sort(dim=1, stable=True).indices[:, :most]
    old = genes(genome)
    changed = change(take(old, place)).flatten(0, 1)
    row = (place + torch.arange(len(old), device=old.device)[:, None] * old.shape[1]).flatten()
    wanted = chosen.flatten().index_select(0, row)
    if not bool(wanted.all()):
        kept = wanted.nonzero().squeeze(1)
        row, changed = row.index_select(0, kept), changed.index_select(0, kept)
    members = old.flatten(0, 1)
    members = members.index_copy_(0, row, changed) if overwrite else members.index_copy(0, row, changed)
    return with_genes(genome, members.view_as(old))
