"""The genetic algorithm: parents selected, crossed and mutated, generation after generation.

After Holland, Adaptation in Natural and Artificial Systems (1975), as taught in Eiben & Smith, Introduction to
Evolutionary Computing. Where we differ:
1. a mating makes one child, not two;
2. members may carry a label and an ancestor, which pass to the child from one parent (`label_rule`);
3. both parents may be kept the same individual, or of the same label (`mating`), to tell what mixing does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le

from .. import genome
from ..contracts import Evaluated
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Float, Int, Tensor
from ..spec import Op, check, op

Probability = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class State:
    """A population with its answers.

    Attributes:
        genomes: [B P *G], or a dataclass of such tensors.
        fitness: [B P], NaN before the first answers and where an evaluation failed.
        scores: [B P K]; K = 0 before the first answers.
        told: [B], how many generations were answered.
    """

    genomes: Any
    fitness: Float[Tensor, "B P"]
    scores: Float[Tensor, "B P K"]
    told: Int[Tensor, " B"]


@dataclass(frozen=True)
class GeneticAlgorithm:
    """Its configuration, and the algorithm.

    Args:
        selection, crossover, mutation, survival: operators, see `evofool list operators`.
        p_crossover: probability of a mating to cross its parents; otherwise the child copies the first.
        p_mutation: probability of a child to be mutated.
        elites: how many of the best parents survive unchanged; they are not asked again, and as many fewer children
            are made.
        label_rule: whose label and ancestor a child carries: of the parent that gave it most ("dominant", ties to the
            first), or of the first parent ("first").
        mating: "free": both parents are selected; "self": the second is the first; "label": the second is selected
            among those that carry the first one's label, and is the first where that finds nobody.

    Raises:
        SpecError: a value has the wrong type or is out of range.
    """

    selection: Op = op("selection.tournament", size=2)
    crossover: Op = op("crossover.single_point")
    mutation: Op = op("mutation.swap")
    survival: Op = op("survival.elitist")
    p_crossover: Probability = 0.6
    p_mutation: Probability = 0.5
    elites: Annotated[int, Ge(0)] = 0
    label_rule: genome.LabelRule = "dominant"
    mating: Literal["free", "self", "label"] = "free"

    def __post_init__(self) -> None:
        check(self)

    def init(self, genomes: Any) -> State:
        """Start from a population that has not been asked yet.

        Raises:
            SpecError: there are as many elites as members, or more.
        """
        searches, population = genome.genes(genomes).shape[:2]
        if self.elites >= population:
            raise SpecError(
                f"elites = {self.elites} with a population of {population}: expected fewer elites than members"
            )
        device = genome.genes(genomes).device
        return State(
            genomes,
            fitness=torch.full((searches, population), torch.nan, dtype=torch.float64, device=device),
            scores=torch.empty(searches, population, 0, device=device),
            told=torch.zeros(searches, dtype=torch.int64, device=device),
        )

    def ask(self, state: State, rng: Stream) -> Any:
        """The initial population at first, then the children of the present one."""
        if not state.scores.shape[2]:
            return state.genomes
        n = state.fitness.shape[1] - self.elites
        first = self.selection(state.fitness, n, rng=rng["first parent"])
        second = self._partners(first, state, rng["second parent"])
        crossed = rng["is crossed"].uniform(n) < self.p_crossover
        second = torch.where(crossed, second, first)  # crossed with itself, a parent is copied
        a, b = genome.take(state.genomes, first), genome.take(state.genomes, second)
        weight = self.crossover(genome.genes(a), genome.genes(b), rng=rng["crossover"])
        children = genome.cross(a, b, weight, carry=self.label_rule, overwrite=True)
        del a, b  # a population of 100,000 is a third of a gigabyte each
        mutated = rng["is mutated"].uniform(n) < self.p_mutation
        return genome.edit(children, mutated, lambda genes: self.mutation(genes, rng=rng["mutation"]), overwrite=True)

    def _partners(self, first: Int[Tensor, "B n"], state: State, rng: Stream) -> Int[Tensor, "B n"]:
        if self.mating == "self":
            return first
        n = first.shape[1]
        if self.mating == "free":
            return self.selection(state.fitness, n, rng=rng)
        labels = genome.labels(state.genomes, None)
        wanted = labels.gather(1, first)
        partners = first
        for label in labels.unique().tolist():
            # NaN is never selected: who carries another label cannot be a partner.
            fitness = torch.where(labels == label, state.fitness, torch.nan)
            partners = torch.where(wanted == label, self.selection(fitness, n, rng=rng[f"label {label}"]), partners)
        # A selection that does not look at fitness strays; so does any where nobody of a label has an answer.
        return torch.where(labels.gather(1, partners) == wanted, partners, first)

    def tell(self, state: State, evaluated: Evaluated, fitness: Float[Tensor, "B n"], success: Tensor) -> State:
        """The population after the answers to what was asked."""
        if not state.scores.shape[2]:
            return State(evaluated.genomes, fitness, evaluated.scores, state.told + 1)
        population = state.fitness.shape[1]
        index = self.survival(torch.cat([state.fitness, fitness], 1), population, parents=population)
        return State(
            genomes=genome.pick(state.genomes, evaluated.genomes, index),
            fitness=genome.pick(state.fitness, fitness, index),
            scores=genome.pick(state.scores, evaluated.scores, index),
            told=state.told + 1,
        )


def example() -> GeneticAlgorithm:
    """A small configuration for trying things out."""
    return GeneticAlgorithm(selection=op("selection.tournament", size=3), elites=1)
