"""Mutation: how a child changes. Each changes every member that it is given."""

from __future__ import annotations

import math
from typing import Literal

import torch

from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor
from .lists import blank_place, listed
from .segments import before, mirrored

Border = Literal["stay", "clamp"]


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


# Ink: a gene that is not zero; a new one is 1 -------------------------------------------------------------------------


def add_ink(x: Float[Tensor, "B n *G"], *, rng: Stream, rate: float = 0.015) -> Float[Tensor, "B n *G"]:
    """Ink every gene with the same probability; what has ink keeps it.

    Args:
        x: genomes; ink is what is not zero.
        rate: probability of each gene, in [0, 1].

    Raises:
        ValueError: the rate is no probability.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate = {rate}: expected a probability, from 0 to 1")
    flat = x.flatten(2)
    hit = _hits(flat.shape[1], flat.shape[2], rate, rng)
    if flat.dtype == torch.bool:
        return (hit | flat).view(x.shape)
    return torch.where(hit & (flat == 0), torch.ones_like(flat), flat).view(x.shape)


def add_pixel(x: Float[Tensor, "B n *G"], *, rng: Stream) -> Float[Tensor, "B n *G"]:
    """Ink one gene that is zero, each as likely as any other; a genome that is full stays as it is."""
    return _redrawn(x, rng, add=1.0, move=0.0, remove=0.0, reach=1, border="stay")


def remove_pixel(x: Float[Tensor, "B n *G"], *, rng: Stream) -> Float[Tensor, "B n *G"]:
    """Make one gene zero that is not, each as likely as any other; a genome without ink stays as it is."""
    return _redrawn(x, rng, add=0.0, move=0.0, remove=1.0, reach=1, border="stay")


def move_pixel(
    x: Float[Tensor, "B n *G"], *, rng: Stream, reach: int = 1, border: Border = "stay"
) -> Float[Tensor, "B n *G"]:
    """Move one inked gene of each member to a place nearby that is zero.

    The way is uniform over the (2 reach + 1)^2 - 1 others of a square (2 reach of a line, for a genome of one axis).
    Where there is ink already, the gene stays.

    Args:
        x: genomes; their last two axes are rows and columns.
        reach: the furthest, in rows and in columns, at least 1.
        border: "stay": a way that leads out of the image is not taken, so that no place is preferred; "clamp": it ends
            at the border, where ink then gathers whatever its fitness, if the reach is 2 or more. (With a reach of 1 it
            slides along the border, to and fro alike, and no place is preferred.)
    """
    return _redrawn(x, rng, add=0.0, move=1.0, remove=0.0, reach=reach, border=border)


def redraw(
    x: Float[Tensor, "B n *G"],
    *,
    rng: Stream,
    add: float = 1.0,
    move: float = 1.0,
    remove: float = 1.0,
    reach: int = 1,
    border: Border = "stay",
) -> Float[Tensor, "B n *G"]:
    """Add, move or remove one inked gene of each member; see `add_pixel`, `move_pixel`, `remove_pixel`.

    A member without ink gets some.

    Args:
        x: genomes.
        add, move, remove: how often each is done, as shares of their sum.
        reach, border: of a move.
    """
    return _redrawn(x, rng, add=add, move=move, remove=remove, reach=reach, border=border)


def _redrawn(
    x: Tensor, rng: Stream, *, add: float, move: float, remove: float, reach: int, border: Border
) -> Float[Tensor, "B n *G"]:
    if min(add, move, remove) < 0 or add + move + remove <= 0:
        raise ValueError(f"add = {add}, move = {move}, remove = {remove}: expected shares of 0 or more, one above 0")
    if reach < 1:
        raise ValueError(f"reach = {reach}: expected at least 1")
    n, length = x.shape[1], x[0, 0].numel()
    changed = x.flatten(0, 1).flatten(1).clone()
    places, counts = listed(changed)
    what = rng["what"].uniform(n, dtype=torch.float64).flatten() * (add + move + remove)
    adds = what < add
    if add and (move or remove):
        adds |= counts == 0  # else it could never begin
    moves = ~adds & (what < add + move)

    nth = (rng["which"].uniform(n, dtype=torch.float64).flatten() * counts).long().clamp(max=(counts - 1).clamp(min=0))
    padded = torch.cat([places, places.new_full((len(places), 1), length)], 1)
    source = padded.gather(1, torch.where(counts > 0, nth, padded.shape[1] - 1)[:, None]).squeeze(1)
    blanks = length - counts
    number = (
        (rng["where"].uniform(n, dtype=torch.float64).flatten() * blanks).long().clamp(max=(blanks - 1).clamp(min=0))
    )
    goal = torch.where(adds, blank_place(places, number, length), source)
    if bool(moves.any()):
        goal = torch.where(moves, _nearby(source, x, rng, reach, border), goal)

    row = torch.arange(len(changed), device=x.device)
    usable = torch.where(adds, blanks > 0, counts > 0)
    # A move onto ink, or nowhere, is none.
    blocked = moves & (changed.gather(1, goal.clamp(max=length - 1)[:, None]).squeeze(1) != 0)
    usable &= ~blocked
    off, on = usable & ~adds, usable & (adds | moves)
    kept = changed[row[off], source[off]]
    changed[row[off], source[off]] = 0
    changed[row[on], goal[on]] = 1
    carried = moves[off]
    changed[row[off][carried], goal[off][carried]] = kept[carried]  # ink that moves stays the ink it is
    return changed.view(x.shape)


def _nearby(source: Int[Tensor, " R"], x: Tensor, rng: Stream, reach: int, border: Border) -> Int[Tensor, " R"]:
    """Where a move from `source` leads; a way out of the image leads back to it."""
    n, width = x.shape[1], x.shape[-1]
    height = x.shape[-2] if x.ndim > 3 else 1
    wide = 2 * reach + 1
    ways = wide * wide if height > 1 else wide
    way = rng["way"].integers(ways - 1, n).flatten()
    way = way + (way >= ways // 2)  # the one in the middle stays where it is
    down, right = (way // wide - reach, way % wide - reach) if height > 1 else (torch.zeros_like(way), way - reach)
    plane = source // (height * width)
    row, column = source % (height * width) // width + down, source % width + right
    if border == "clamp":
        row, column = row.clamp(0, height - 1), column.clamp(0, width - 1)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return torch.where(inside, plane * height * width + row * width + column, source)


def _hits(n: int, length: int, rate: float, rng: Stream) -> Bool[Tensor, "B n L"]:
    """Independent hits of the same probability, drawn as the gaps between them: there are far fewer of these."""
    searches = len(rng)
    if rate in (0.0, 1.0):
        return torch.full((searches, n, length), bool(rate))
    hits = torch.zeros(searches, n, length + 1, dtype=torch.bool)
    reached = torch.zeros(searches, n, 1, dtype=torch.int64)  # one behind the last hit so far
    mean = length * rate
    several, part = math.ceil(mean + 6 * math.sqrt(mean) + 8), 0
    while bool((reached < length).any()):
        drawn = rng[f"gaps {part}"].uniform(n, several, dtype=torch.float64)
        gaps = (torch.log1p(-drawn) / math.log1p(-rate)).clamp(max=length).long() + 1
        ends = reached + gaps.cumsum(-1)
        hits.scatter_(2, (ends - 1).clamp(max=length), True)
        reached = ends[..., -1:]
        part += 1
    return hits[..., :length]
