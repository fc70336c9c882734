"""Selection: who becomes a parent. Each takes fitness [B P] (lower is better) and gives n indices for each search."""

from __future__ import annotations

from typing import Literal

import torch

from ..rng import Stream
from ..shapes import Float, Int, Tensor


def _roulette(weight: Float[Tensor, "B P"], n: int, rng: Stream) -> Int[Tensor, "B n"]:
    """Draw by inverse transform, with replacement; where all weights are 0, uniformly."""
    weight = torch.where((weight.sum(1) > 0)[:, None], weight, torch.ones_like(weight))
    wheel = weight.cumsum(1)
    total = wheel[:, -1:].contiguous()
    spin = rng.uniform(n, dtype=torch.float64) * total
    drawn = torch.searchsorted(wheel, spin, right=True)
    # A spin may round up to the total: then it is the last member that has a weight.
    return torch.minimum(drawn, torch.searchsorted(wheel, total))


def fitness_proportionate(
    fitness: Float[Tensor, "B P"], n: int, *, rng: Stream, baseline: float | Literal["worst"] = 0.0
) -> Int[Tensor, "B n"]:
    """Draw each parent with probability proportional to `baseline - fitness`, with replacement.

    Args:
        fitness: a loss; NaN has weight 0.
        baseline: the loss that has weight 0. With 0 and a loss that is a negated score the weight is the score itself.
            "worst" (windowing) takes the worst loss of the population, and fits fitness of either sign.

    Raises:
        ValueError: a weight would be negative.

    Where all weights are 0 the draw is uniform, over the members that have a fitness.

    Source: Eiben & Smith, Introduction to Evolutionary Computing, 2nd ed., chapter 5 (fitness proportional selection,
    windowing); the wheel is turned once for each parent.
    """
    loss = fitness.double()
    if baseline == "worst":
        top = loss.nan_to_num(nan=-torch.inf).amax(1, keepdim=True)
    else:
        top = torch.full_like(loss[:, :1], float(baseline))
    weight = (top - loss).nan_to_num(nan=0.0)
    if bool((weight < 0).any()):
        raise ValueError(
            f"fitness proportionate selection: weight baseline - fitness is negative ({float(weight.min()):.4g}) with "
            f"baseline={baseline!r}; expected fitness <= baseline: set baseline='worst' or a larger number"
        )
    able = (~fitness.isnan()).double()
    return _roulette(torch.where((weight.sum(1) > 0)[:, None], weight, able), n, rng)


def tournament(fitness: Float[Tensor, "B P"], n: int, *, rng: Stream, size: int = 2) -> Int[Tensor, "B n"]:
    """Let `size` members, drawn uniformly with replacement, compete for each place; of equals the first wins.

    Members with fitness NaN do not enter (they lose where a whole population is NaN: then the draw is uniform).

    Raises:
        ValueError: size is below 1 or above the population.

    Source: Goldberg & Deb, A comparative analysis of selection schemes used in genetic algorithms (1991).
    """
    population = fitness.shape[1]
    if not 1 <= size <= population:
        raise ValueError(f"tournament size {size} with a population of {population}: expected 1 to {population}")
    failed = fitness.isnan()
    able = (~failed).sum(1)
    able = torch.where(able > 0, able, population)
    candidates = rng["candidates"].integers(able[:, None, None], n, size)
    if bool(failed.any()):
        entrants = failed.long().sort(dim=1, stable=True).indices  # those with an answer first, in order
        candidates = entrants.gather(1, candidates.flatten(1)).view_as(candidates)
    compared = fitness.gather(1, candidates.flatten(1)).view_as(candidates)
    winner = compared.nan_to_num(nan=torch.inf).min(2, keepdim=True).indices
    return candidates.gather(2, winner).squeeze(2)


def linear_ranking(fitness: Float[Tensor, "B P"], n: int, *, rng: Stream, pressure: float = 2.0) -> Int[Tensor, "B n"]:
    """Draw each parent with a probability that grows linearly with its rank, with replacement.

    The best is drawn `pressure` times as often as the average member, the worst 2 - `pressure` times. Equal members
    share their ranks' mean. A member with fitness NaN has probability 0.

    Raises:
        ValueError: pressure lies outside [1, 2].

    Source: Baker, Adaptive selection methods for genetic algorithms (1985); the formula as in Eiben & Smith, 2nd ed.,
    chapter 5 (ranking selection), which gives no rule for ties.
    """
    if not 1.0 <= pressure <= 2.0:
        raise ValueError(f"ranking pressure {pressure}: expected 1 (no pressure) to 2")
    failed = fitness.isnan()
    loss = fitness.double().nan_to_num(nan=torch.inf)
    ordered = loss.sort(1).values
    able = (~failed).sum(1, keepdim=True)
    better = torch.searchsorted(ordered, loss)
    not_worse = torch.searchsorted(ordered, loss, right=True)
    worse = able - 0.5 * (better + not_worse + 1)  # members behind this one, half of its equals counted
    slope = 2.0 * (pressure - 1.0) / (able - 1).clamp(min=1)
    weight = (2.0 - pressure) + slope * worse
    weight = torch.where(able > 1, weight, torch.ones_like(weight))
    return _roulette(torch.where(failed, 0.0, weight), n, rng)


def random(fitness: Float[Tensor, "B P"], n: int, *, rng: Stream) -> Int[Tensor, "B n"]:
    """Draw parents uniformly with replacement, whatever their fitness (NaN excepted): the control without pressure."""
    return _roulette((~fitness.isnan()).double(), n, rng)


def shuffled(fitness: Float[Tensor, "B P"], n: int, *, rng: Stream) -> Int[Tensor, "B n"]:
    """Deal parents from a shuffled list of all members: nobody twice before everybody once. Fitness is not looked at.

    A failed member (NaN) is dealt like any other, since each has its turn.
    """
    population = fitness.shape[1]
    rounds = [rng[f"round {k}"].permutation(population) for k in range(-(-n // population))]
    return torch.cat(rounds, 1)[:, :n]


def every(fitness: Float[Tensor, "B P"], n: int, *, rng: Stream) -> Int[Tensor, "B n"]:
    """Each member in its place, n = P at most: no selection and no drift. Nothing is drawn."""
    if n > fitness.shape[1]:
        raise ValueError(f"{n} parents from {fitness.shape[1]} members, each once: expected at most {fitness.shape[1]}")
    return torch.arange(n, device=fitness.device).expand(fitness.shape[0], n)
