"""A genetic algorithm on loss + weight * size, whose weight is scheduled, or adapts until success is hard to keep.

After Bean & Hadj-Alouane, A dual genetic algorithm for bounded integer programs (1992), where the weight of a broken
constraint grows while the best members break it and shrinks while they keep it. Where we differ:
1. turned round: the constraint is success, and what has the weight is the objective, the size. So the weight grows
   while there is success, and shrinks while there is none;
2. each generation decides, not the last few together;
3. one success in the population is enough, where theirs looks at the best member only;
4. one factor for both ways, where theirs are two so that weights do not come back; they do here, unless `low` or `high`
   stops them;
5. the weight has bounds;
6. instead of all that it may follow a schedule.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt

from .. import genome
from ..contracts import Evaluated
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor
from ..spec import check, from_json, op
from . import ga

Weight = Annotated[float, Ge(0), Lt(math.inf)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]


@dataclass(frozen=True)
class State:
    """A population with its answers, and the weight under which it lives.

    Attributes:
        genomes: [B P *G], or a dataclass of such tensors.
        fitness: [B P], loss + weight * size under the present weight; NaN before the first answers and where an
            evaluation failed.
        scores: [B P K]; K = 0 before the first answers.
        told: [B], how many generations were answered.
        size, loss: [B P], what fitness is made of; NaN where fitness is.
        success: [B P].
        weight: [B], that of the generation that comes next.
    """

    genomes: Any
    fitness: Float[Tensor, "B P"]
    scores: Float[Tensor, "B P K"]
    told: Int[Tensor, " B"]
    size: Float[Tensor, "B P"]
    loss: Float[Tensor, "B P"]
    success: Bool[Tensor, "B P"]
    weight: Float[Tensor, " B"]


@dataclass(frozen=True)
class AdaptivePenalty:
    """Its configuration, and the algorithm.

    Fitness is [B n 2]: the size, and the loss, as `objectives.ink_and_cross_entropy` gives them. [B n] counts as loss
    with size 0.

    Each search has a weight of its own. In a generation, parents are selected and survivors chosen by the fitness under
    the same weight. After it the weight is multiplied by `factor` if a member of the population is a success, and
    divided by it if none is.

    Args:
        algorithm: what selects, crosses, mutates and lets survive.
        schedule: (generation, weight) in order; the weight is linear between them, and constant before the first and
            behind the last. With a schedule the weight does not adapt: ((0, 0.01),) is 0.01 in all generations.
        start: the weight of the initial population, from low to high.
        factor: above 1.
        low, high: bounds of the weight that adapts, above 0.

    Raises:
        SpecError: a value has the wrong type or is out of range, or generations are not in order.
    """

    algorithm: ga.GeneticAlgorithm = ga.GeneticAlgorithm(  # noqa: RUF009 (frozen)
        crossover=op("crossover.rectangle"), mutation=op("mutation.redraw"), p_crossover=0.8, p_mutation=1.0, elites=1
    )
    schedule: tuple[tuple[Annotated[int, Ge(0)], Weight], ...] = ()
    start: Positive = 0.01
    factor: Annotated[float, Gt(1), Lt(math.inf)] = 1.1
    low: Positive = 1e-6
    high: Positive = 1e3

    def __post_init__(self) -> None:
        if isinstance(self.algorithm, Mapping):  # from JSON
            object.__setattr__(self, "algorithm", from_json(ga.GeneticAlgorithm, self.algorithm))
        check(self)
        if not self.low <= self.start <= self.high:
            raise SpecError(f"start = {self.start}: expected a weight from low = {self.low} to high = {self.high}")
        for (one, _), (other, _) in itertools.pairwise(self.schedule):
            if other <= one:
                raise SpecError(f"schedule: generation {other} follows {one}; expected generations in order, each once")

    def init(self, genomes: Any) -> State:
        """Start from a population that has not been asked yet.

        Raises:
            SpecError: there are as many elites as members, or more.
        """
        state = self.algorithm.init(genomes)
        return State(
            **vars(state),
            size=state.fitness.clone(),
            loss=state.fitness.clone(),
            success=torch.zeros_like(state.fitness, dtype=torch.bool),
            weight=self._scheduled(state.told) if self.schedule else torch.full_like(state.fitness[:, 0], self.start),
        )

    def ask(self, state: State, rng: Stream) -> Any:
        """The initial population at first, then the children of the present one."""
        return self.algorithm.ask(_population(state), rng)

    def tell(self, state: State, evaluated: Evaluated, fitness: Tensor, success: Bool[Tensor, "B n"]) -> State:
        """The population after the answers to what was asked, and the next weight.

        Raises:
            SpecError: fitness has another number of objectives.
        """
        size, loss = _parts(fitness)
        fitness = loss + state.weight[:, None] * size
        if not state.scores.shape[2]:
            after, scores = self.algorithm.tell(_population(state), evaluated, fitness, success), evaluated.scores
        else:
            # Members carry their number in place of scores, so that those who survive tell who they were.
            numbers = torch.arange(state.fitness.shape[1] + fitness.shape[1], device=fitness.device)
            old, new = numbers.expand(len(fitness), -1)[..., None].tensor_split([state.fitness.shape[1]], 1)
            numbered = replace(_population(state), scores=old)
            after = self.algorithm.tell(numbered, replace(evaluated, scores=new), fitness, success)
            index = after.scores.squeeze(2)
            size = genome.pick(state.size, size, index)
            loss = genome.pick(state.loss, loss, index)
            success = genome.pick(state.success, success, index)
            scores = genome.pick(state.scores, evaluated.scores, index)
        weight = self._scheduled(after.told) if self.schedule else self._adapted(state.weight, success)
        return State(after.genomes, loss + weight[:, None] * size, scores, after.told, size, loss, success, weight)

    def _adapted(self, weight: Float[Tensor, " B"], success: Bool[Tensor, "B P"]) -> Float[Tensor, " B"]:
        return torch.where(success.any(1), weight * self.factor, weight / self.factor).clamp(self.low, self.high)

    def _scheduled(self, generation: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        generations, weights = zip(*self.schedule, strict=True)
        found = np.interp(generation.cpu().numpy(), generations, weights)
        return torch.from_numpy(found).to(generation.device)


def best(state: State) -> Int[Tensor, " B"]:
    """The member of each search to report: of those that succeed the smallest, else that of the least loss.

    Of equals in this, that of the least loss, or else the smallest; then the first.
    """
    succeeded = state.success.any(1, keepdim=True)
    size, loss = state.size.nan_to_num(nan=torch.inf), state.loss.nan_to_num(nan=torch.inf)
    first = torch.where(succeeded, torch.where(state.success, size, torch.inf), loss)
    second = torch.where(succeeded, loss, size)
    order = second.sort(dim=1, stable=True).indices
    return order.gather(1, first.gather(1, order).sort(dim=1, stable=True).indices[:, :1]).squeeze(1)


def _population(state: State) -> ga.State:
    return ga.State(state.genomes, state.fitness, state.scores, state.told)


def _parts(fitness: Tensor) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n"]]:
    """Size and loss of each member; both are NaN where one is."""
    if fitness.ndim == 3 and fitness.shape[2] != 2:
        raise SpecError(
            f"fitness of {fitness.shape[2]} objectives: an adaptive penalty takes two, (size, loss), such as "
            f"objectives.ink_and_cross_entropy"
        )
    if fitness.ndim == 2:
        fitness = torch.stack([torch.zeros_like(fitness), fitness], -1)
    fitness = fitness.double()
    size, loss = fitness.masked_fill(fitness.isnan().any(-1, keepdim=True), torch.nan).unbind(-1)
    return size, loss


def example() -> AdaptivePenalty:
    """A small configuration for trying things out."""
    return AdaptivePenalty(ga.example())
