"""DEAP's eaSimple, with individuals that are lists (its default) or NumPy arrays."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from with_numpy import P_CROSSOVER, P_MUTATION, TOURNAMENT, Crossover, Fitness, Selection

NOTE = (
    "eaSimple, a whole generation in one batch through toolbox.map; two children a mating; what neither crossed nor "
    "mutated is not asked again; own functions for arithmetic crossover and swap, and on arrays for single point "
    "crossover, since its own exchanges views; no ranking selection; no labels"
)


class Deap:
    """A population of DEAP's."""

    def __init__(self, fitness: Fitness, genes: np.ndarray, kind: type, selection: Selection, crossover: Crossover):
        """Make the individuals, of a kind that is list or numpy.ndarray, and evaluate them."""
        from deap import algorithms, base, creator, tools

        arrays = kind is np.ndarray
        name = f"Individual_{kind.__name__}"
        if not hasattr(creator, name):
            creator.create(f"Fitness_{kind.__name__}", base.Fitness, weights=(1.0,))
            creator.create(name, kind, fitness=getattr(creator, f"Fitness_{kind.__name__}"))

        def evaluate(individuals: list[Any]) -> list[tuple[float]]:
            return [(value,) for value in fitness(np.array(individuals, dtype=np.float32)).tolist()]

        single_point = _copying_single_point if arrays else tools.cxOnePoint
        arithmetic = _arithmetic_arrays if arrays else _arithmetic_lists
        self._toolbox = base.Toolbox()
        self._toolbox.register("mate", arithmetic if crossover == "AC" else single_point)
        self._toolbox.register("mutate", _swap)
        if selection == "FPS":
            self._toolbox.register("select", tools.selRoulette)
        else:
            self._toolbox.register("select", tools.selTournament, tournsize=TOURNAMENT)
        self._toolbox.register("evaluate", evaluate)
        self._toolbox.register("map", lambda function, individuals: function(individuals))
        individual = getattr(creator, name)
        self._population = [individual(row if arrays else row.tolist()) for row in genes]
        self._algorithm = algorithms.eaSimple
        self._run(0)

    def step(self) -> None:
        """One generation."""
        self._run(1)

    def _run(self, generations: int) -> None:
        # It replaces the population in place, and asks only about individuals that it does not know.
        self._algorithm(self._population, self._toolbox, P_CROSSOVER, P_MUTATION, generations, verbose=False)


def _copying_single_point(a: Any, b: Any) -> tuple[Any, Any]:
    cut = random.randint(1, len(a) - 1)
    a[cut:], b[cut:] = b[cut:].copy(), a[cut:].copy()
    return a, b


def _arithmetic_arrays(a: Any, b: Any) -> tuple[Any, Any]:
    share = random.random()
    a[:], b[:] = share * a + (1 - share) * b, share * b + (1 - share) * a
    return a, b


def _arithmetic_lists(a: Any, b: Any) -> tuple[Any, Any]:
    share = random.random()
    pairs = list(zip(a, b, strict=True))
    a[:] = [share * x + (1 - share) * y for x, y in pairs]
    b[:] = [share * y + (1 - share) * x for x, y in pairs]
    return a, b


def _swap(individual: Any) -> tuple[Any]:
    first, second = random.sample(range(len(individual)), 2)
    individual[first], individual[second] = individual[second], individual[first]
    return (individual,)
