"""pymoo's genetic algorithm."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem
from pymoo.core.selection import Selection
from pymoo.core.survival import Survival
from pymoo.operators.crossover.pntx import SinglePointCrossover
from pymoo.operators.selection.tournament import TournamentSelection
from pymoo.termination import get_termination

from with_numpy import P_CROSSOVER, P_MUTATION, TOURNAMENT, Fitness, Operators

NOTE = (
    "a vectorised Problem; as it comes: duplicates are eliminated; tuned: eliminate_duplicates=False, no test for "
    "convergence; its own tournament (with a vectorised comparison) and single point crossover; own classes for the "
    "other selections, arithmetic crossover, swap and generational replacement; no labels"
)


class Pymoo:
    """A run of pymoo's."""

    def __init__(self, fitness: Fitness, genes: np.ndarray, operators: Operators, *, tuned: bool):
        """Evaluate the initial population.

        Args:
            fitness: of a batch.
            genes: the initial population.
            operators: what the scenario wants, and the functions for what pymoo lacks.
            tuned: spare what takes time and changes nothing here.
        """
        tournament, arithmetic = operators.selection == "TS", operators.crossover == "AC"
        self._algorithm = GA(
            pop_size=len(genes),
            sampling=genes,
            selection=TournamentSelection(_best, pressure=TOURNAMENT) if tournament else _Proportionate(operators),
            crossover=_Arithmetic(operators) if arithmetic else SinglePointCrossover(prob=P_CROSSOVER),
            mutation=_Swap(operators),
            survival=_Generational(filter_infeasible=False),
            eliminate_duplicates=not tuned,
            seed=0,
        )
        if tuned:
            self._algorithm.termination = get_termination("n_gen", 1_000_000)
        self._algorithm.setup(_Images(fitness, genes.shape[1]))
        self.step()

    def step(self) -> None:
        """One generation; the first one is the initial population."""
        self._algorithm.next()


class _Images(Problem):
    def __init__(self, fitness: Fitness, length: int):
        super().__init__(n_var=length, n_obj=1, xl=0.0, xu=1.0)
        self._fitness = fitness

    def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        out["F"] = -self._fitness(x)[:, None]  # pymoo lowers


def _best(population: Any, entrants: np.ndarray, **kwargs: Any) -> np.ndarray:
    values = population.get("F")[:, 0]
    return np.take_along_axis(entrants, values[entrants].argmin(1)[:, None], 1)


class _Proportionate(Selection):
    def __init__(self, operators: Operators):
        super().__init__()
        self._operators = operators

    def _do(self, problem: Any, pop: Any, n_select: int, n_parents: int, *args: Any, **kwargs: Any) -> np.ndarray:
        chosen = self._operators.select(-pop.get("F")[:, 0], n_select * n_parents)
        return chosen.reshape(n_select, n_parents)


class _Arithmetic(Crossover):
    def __init__(self, operators: Operators):
        super().__init__(n_parents=2, n_offsprings=1, prob=P_CROSSOVER)
        self._operators = operators

    def _do(self, problem: Any, x: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        return self._operators.cross(x[0], x[1])[0][None]


class _Swap(Mutation):
    def __init__(self, operators: Operators):
        super().__init__(prob=P_MUTATION)
        self._operators = operators

    def _do(self, problem: Any, x: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        swapped = x.copy()
        self._operators.swap(swapped, np.arange(len(x)))
        return swapped


class _Generational(Survival):
    def _do(self, problem: Any, pop: Any, *args: Any, n_survive: int, **kwargs: Any) -> Any:
        return pop[-n_survive:]  # the children stand behind their parents
