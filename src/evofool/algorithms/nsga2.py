"""NSGA-II: a genetic algorithm for several objectives at once, which ends with a front instead of one best member.

Deb, Pratap, Agarwal, Meyarivan, A fast and elitist multiobjective genetic algorithm: NSGA-II, IEEE Transactions on
Evolutionary Computation 6(2), 2002, https://doi.org/10.1109/4235.996017. Where we differ:
1. members with equal objectives count as one: the k-th copy stands k fronts behind the first (`ranking.places`), and
   copies do not crowd it. On a small canvas most children of a drawing that is almost blank are drawings that are
   there already, and would fill the population;
2. of equal ones, children come before parents, so that a plateau can be crossed;
3. parents are ranked anew among themselves before each mating, not as they stood among the children who did not
   survive;
4. the two who compete to be a parent are drawn with replacement, where the authors' program deals shuffled lists;
5. a mating makes one child, not two;
6. a member whose evaluation failed stands behind all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .. import genome
from ..contracts import Evaluated
from ..operators import ranking, survival
from ..rng import Stream
from ..shapes import Float, Int, Tensor
from ..spec import Op, check, op
from . import ga


@dataclass(frozen=True)
class State:
    """A population with its answers, the best places first.

    Attributes:
        genomes: [B P *G], or a dataclass of such tensors.
        fitness: [B P M] of M objectives; M = 0 before the first answers, NaN where an evaluation failed.
        scores: [B P K]; K = 0 before the first answers.
        told: [B], how many generations were answered.
    """

    genomes: Any
    fitness: Float[Tensor, "B P M"]
    scores: Float[Tensor, "B P K"]
    told: Int[Tensor, " B"]


@dataclass(frozen=True)
class NSGA2:
    """Its configuration, and the algorithm.

    Fitness is [B n M]; [B n] counts as M = 1, where this is a genetic algorithm that keeps the best of parents and
    children. `operators.ranking` tells the front of a state's fitness, and its hypervolume.

    Args:
        crossover, mutation: operators, see `evofool list operators`.
        p_crossover: probability of a mating to cross its parents; otherwise the child copies the first.
        p_mutation: probability of a child to be mutated.
        label_rule: whose label and ancestor a child carries: of the parent that gave it most ("dominant", ties to the
            first), or of the first parent ("first").

    Raises:
        SpecError: a value has the wrong type or is out of range.
    """

    crossover: Op = op("crossover.rectangle")
    mutation: Op = op("mutation.redraw")
    p_crossover: ga.Probability = 0.8
    p_mutation: ga.Probability = 1.0
    label_rule: genome.LabelRule = "dominant"

    def __post_init__(self) -> None:
        check(self)

    def init(self, genomes: Any) -> State:
        """Start from a population that has not been asked yet."""
        searches, population = genome.genes(genomes).shape[:2]
        device = genome.genes(genomes).device
        return State(
            genomes,
            fitness=torch.empty(searches, population, 0, dtype=torch.float64, device=device),
            scores=torch.empty(searches, population, 0, device=device),
            told=torch.zeros(searches, dtype=torch.int64, device=device),
        )

    def ask(self, state: State, rng: Stream) -> Any:
        """The initial population at first, then as many children of the present one."""
        if not state.scores.shape[2]:
            return state.genomes
        mating = ga.GeneticAlgorithm(
            selection=op("selection.tournament", size=min(2, state.fitness.shape[1])),
            crossover=self.crossover,
            mutation=self.mutation,
            p_crossover=self.p_crossover,
            p_mutation=self.p_mutation,
            label_rule=self.label_rule,
        )
        return mating.ask(ga.State(state.genomes, ranking.places(state.fitness), state.scores, state.told), rng)

    def tell(self, state: State, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> State:
        """The best of the parents and of the children that were asked."""
        if fitness.ndim == 2:
            fitness = fitness[..., None]
        if not state.scores.shape[2]:
            return State(evaluated.genomes, fitness, evaluated.scores, state.told + 1)
        population = state.fitness.shape[1]
        # Of equals the first is no copy: the children go first.
        place = ranking.places(torch.cat([fitness, state.fitness], 1)).roll(population, 1)
        index = survival.truncation(place, population, parents=population)
        return State(
            genomes=genome.pick(state.genomes, evaluated.genomes, index),
            fitness=genome.pick(state.fitness, fitness, index),
            scores=genome.pick(state.scores, evaluated.scores, index),
            told=state.told + 1,
        )


def example() -> NSGA2:
    """A small configuration for trying things out."""
    return NSGA2(crossover=op("crossover.single_point"), mutation=op("mutation.swap"))
