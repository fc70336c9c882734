"""Survival: who lives on. Each takes the fitness [B M] of parents and children together, the parents first."""

from __future__ import annotations

import torch

from ..shapes import Float, Int, Tensor


def elitist(fitness: Float[Tensor, "B M"], n: int, *, parents: int) -> Int[Tensor, "B n"]:
    """Keep every child, and fill the places that are left with the best parents.

    With as many children as places this is generational replacement; with 10 fewer it is elitism with 10 elites. The
    elites come first, the best in front, ties to the earlier member.

    Raises:
        ValueError: there are more children than places, or fewer parents than places left.

    Source: De Jong, An analysis of the behavior of a class of genetic adaptive systems (1975).
    """
    children = fitness.shape[1] - parents
    elites = n - children
    if not 0 <= elites <= parents:
        raise ValueError(
            f"{children} children and {parents} parents for {n} places: expected {n - parents} to {n} children"
        )
    best = fitness[:, :parents].nan_to_num(nan=torch.inf).sort(dim=1, stable=True).indices[:, :elites]
    return torch.cat([best, torch.arange(parents, parents + children, device=fitness.device).expand(len(best), -1)], 1)


def truncation(fitness: Float[Tensor, "B M"], n: int, *, parents: int) -> Int[Tensor, "B n"]:
    """Keep the n best of parents and children together, (mu + lambda): far stronger than elitism.

    Failed members (NaN) come last; ties go to the children, so that a plateau can be crossed.

    Source: Rechenberg; Schwefel; as in Eiben & Smith, 2nd ed., chapter 5.
    """
    members = fitness.shape[1]
    if not 1 <= n <= members:
        raise ValueError(f"{n} survivors out of {members} members: expected 1 to {members}")
    children_first = torch.arange(members, device=fitness.device).roll(-parents)
    order = fitness[:, children_first].nan_to_num(nan=torch.inf).sort(dim=1, stable=True).indices[:, :n]
    return children_first[order]
