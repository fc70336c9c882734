"""Ranking by several objectives: fronts, crowding distance, and the volume that a front dominates.

Fitness is [B P M], M objectives, each a loss. A member with NaN among them has failed: all others come before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from ..shapes import Bool, Float, Int, Tensor


def dominance(fitness: Float[Tensor, "B P M"]) -> Bool[Tensor, "B P P"]:
    """Whether member i dominates member j, at [b, i, j]: it is worse in no objective, and better in one.

    Who has failed dominates nobody, and is dominated by all who have not.
    """
    failed = fitness.isnan().any(-1)
    searches, members = failed.shape
    not_worse = torch.ones(searches, members, members, dtype=torch.bool, device=fitness.device)
    better = torch.zeros_like(not_worse)
    for loss in fitness.unbind(-1):
        not_worse &= loss[:, :, None] <= loss[:, None, :]
        better |= loss[:, :, None] < loss[:, None, :]
    # No comparison with NaN holds.
    return (not_worse & better) | (~failed[:, :, None] & failed[:, None, :])


def fronts(fitness: Float[Tensor, "B P M"]) -> Int[Tensor, "B P"]:
    """The number of each member's front: 0 for those that nobody dominates, 1 for those that only these do, and so on.

    All that have failed make up the last front.

    Source: Deb, Pratap, Agarwal, Meyarivan, A fast and elitist multiobjective genetic algorithm: NSGA-II (2002).
    """
    dominates = dominance(fitness).float()
    dominators = dominates.sum(1)  # float32 counts exactly up to 16 million
    front = torch.full_like(dominators, -1, dtype=torch.int64)
    for number in itertools.count():
        current = (front < 0) & (dominators == 0)
        if not bool(current.any()):
            break
        front = torch.where(current, number, front)
        dominators -= torch.bmm(current.float()[:, None], dominates).squeeze(1)
    return front


def front(fitness: Float[Tensor, "B P M"]) -> Bool[Tensor, "B P"]:
    """The members that nobody dominates, equal ones included; who has failed is never among them."""
    return ~dominance(fitness).any(1) & ~fitness.isnan().any(-1)


def copies(fitness: Float[Tensor, "B P M"]) -> Int[Tensor, "B P"]:
    """How many earlier members are equal to each in all objectives; NaN equals nothing."""
    equal = torch.ones(*fitness.shape[:2], fitness.shape[1], dtype=torch.bool, device=fitness.device)
    for loss in fitness.unbind(-1):
        equal &= loss[:, :, None] == loss[:, None, :]
    return equal.tril(-1).sum(2)


def crowding(fitness: Float[Tensor, "B P M"], front: Int[Tensor, "B P"]) -> Float[Tensor, "B P"]:
    """How far the neighbours of each member in its front are apart, float64; infinite at the ends.

    In each objective the members of a front stand in a row. A member's distance is the sum over the objectives of the
    difference between the next and the last one, as a share of the difference between the ends of the row; the ends
    themselves are infinite. Where all are equal an objective adds nothing. A front of one or two is infinite.

    Args:
        fitness: of the members.
        front: the number of each member's front, below P.

    Source: Deb, Pratap, Agarwal, Meyarivan (2002), crowding distance; but there the ends of a row of equals are
    infinite as well.
    """
    loss = fitness.double()
    size = torch.zeros_like(front).scatter_add_(1, front, torch.ones_like(front)).gather(1, front)
    distance = torch.where(size <= 2, torch.inf, 0.0).double()
    for values in loss.unbind(-1):
        lowest = torch.zeros_like(values).scatter_reduce_(1, front, values, "amin", include_self=False)
        highest = torch.zeros_like(values).scatter_reduce_(1, front, values, "amax", include_self=False)
        width = (highest - lowest).gather(1, front)
        order = _order(values, front)
        row, number = values.gather(1, order), front.gather(1, order)
        end = number != number.roll(1, 1)
        end[:, :1] = True
        end |= end.roll(-1, 1)  # before the first of a front stands the last of another
        apart = torch.where(end, torch.inf, row.roll(-1, 1) - row.roll(1, 1))
        apart = torch.zeros_like(values).scatter_(1, order, apart)
        distance += torch.where(width > 0, (apart / width).nan_to_num(nan=0.0, posinf=torch.inf), 0.0)
    return distance


def places(fitness: Float[Tensor, "B P M"]) -> Float[Tensor, "B P"]:
    """Where each member stands, float64, lower is better: by front, then the more distant first; NaN if it failed.

    Equals count as one member of their front: the first of them. The k-th copy stands k fronts further back, so that a
    front is not made of one member many times over. Who is in the same front at the same distance has the same place.
    """
    failed = fitness.isnan().any(-1)
    number = torch.where(failed, fitness.shape[1] - 1, fronts(fitness) + copies(fitness))
    closeness = -crowding(fitness, number)
    order = _order(closeness, number)
    closeness, number = closeness.gather(1, order), number.gather(1, order)
    next_one = (closeness != closeness.roll(1, 1)) | (number != number.roll(1, 1))
    next_one[:, 0] = False
    place = torch.zeros_like(closeness).scatter_(1, order, next_one.cumsum(1).double())
    return place.masked_fill(failed, torch.nan)


def hypervolume(
    fitness: Float[Tensor, "B P 2"], reference: Sequence[float] | Float[Tensor, "*B 2"]
) -> Float[Tensor, " B"]:
    """The area of what the members dominate and the reference does not reach, float64; higher is better.

    Args:
        fitness: of two objectives. Members that are not better than the reference in both add nothing, nor do those
            that have failed.
        reference: a bad value of each objective, [2] for all searches or [B 2].

    Raises:
        ValueError: there are not two objectives.

    Source: Zitzler & Thiele, Multiobjective optimization using evolutionary algorithms: a comparative case study
    (1998), size of the space covered.
    """
    if fitness.ndim != 3 or fitness.shape[2] != 2:
        raise ValueError(f"hypervolume of fitness {list(fitness.shape)}: expected two objectives, [B P 2]")
    limit = torch.as_tensor(reference, dtype=torch.float64, device=fitness.device).expand(len(fitness), 2)[:, None]
    loss = fitness.double()
    loss = torch.where(loss.isnan(), limit, torch.minimum(loss, limit))
    order = loss[..., 0].sort(1).indices
    first, second = (loss[..., k].gather(1, order) for k in (0, 1))
    width = torch.cat([first, limit[..., 0]], 1).diff(dim=1)
    return (width * (limit[..., 1] - second.cummin(1).values)).sum(1)


def _order(value: Tensor, front: Int[Tensor, "B P"]) -> Int[Tensor, "B P"]:
    """The members by front, in it by value, equals as they come."""
    order = value.sort(dim=1, stable=True).indices
    return order.gather(1, front.gather(1, order).sort(dim=1, stable=True).indices)
