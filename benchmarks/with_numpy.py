"""The same genetic algorithm as a plain vectorised NumPy loop: what one would write without any library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

NOTE = "labels and ancestors are carried; images are not put on the 1/255 lattice, and nothing is counted"

Selection = Literal["FPS", "TS", "RS"]
Crossover = Literal["SPC", "AC"]
Fitness = Callable[[np.ndarray], np.ndarray]  # [n L] -> [n]: positive, higher is better

TOURNAMENT, P_CROSSOVER, P_MUTATION = 20, 0.6, 0.5


class Operators:
    """Operators on whole populations of flattened images; lent to the libraries that lack one."""

    def __init__(self, selection: Selection, crossover: Crossover, random: np.random.Generator):
        """Take the operators of a scenario; the mutation is always swap."""
        self.selection, self.crossover, self.random = selection, crossover, random

    def select(self, fitness: np.ndarray, n: int) -> np.ndarray:
        """Indices of n parents."""
        if self.selection == "TS":
            entrants = self.random.integers(len(fitness), size=(n, TOURNAMENT))
            return entrants[np.arange(n), fitness[entrants].argmax(1)]
        weight = fitness if self.selection == "FPS" else np.argsort(np.argsort(fitness))
        wheel = np.cumsum(weight, dtype=np.float64)
        return np.searchsorted(wheel, self.random.random(n) * wheel[-1], side="right").clip(max=len(wheel) - 1)

    def cross(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One child of each pair of rows, and the share of it that comes from a."""
        n, length = a.shape
        if self.crossover == "AC":
            share = self.random.random((n, 1), dtype=np.float32)
            return b + share * (a - b), share[:, 0]
        cut = self.random.integers(1, length, size=(n, 1))
        return np.where(np.arange(length) < cut, a, b), cut[:, 0] / length

    def crossed(self, n: int) -> np.ndarray:
        """Which of n matings cross their parents."""
        return self.random.random(n) < P_CROSSOVER

    def swap(self, genes: np.ndarray, rows: np.ndarray) -> None:
        """Exchange two genes in each of these rows, in place."""
        first, second = self.random.integers(genes.shape[1], size=(2, len(rows)))
        genes[rows, first], genes[rows, second] = genes[rows, second], genes[rows, first]

    def mutate(self, genes: np.ndarray) -> np.ndarray:
        """Swap in those rows that mutate, in place."""
        self.swap(genes, np.flatnonzero(self.random.random(len(genes)) < P_MUTATION))
        return genes


class NumpyLoop:
    """Generational replacement; a child carries the label and the ancestor of the parent that gave it most."""

    def __init__(self, fitness: Fitness, genes: np.ndarray, label: np.ndarray, operators: Operators):
        """Evaluate the initial population."""
        self.evaluate, self.operators = fitness, operators
        self.genes, self.label, self.ancestor = genes, label, np.arange(len(genes))
        self.fitness = fitness(genes)
        self.totals = [self.fitness.sum()]

    def step(self) -> None:
        """One generation."""
        operators, n = self.operators, len(self.genes)
        first, second = operators.select(self.fitness, n), operators.select(self.fitness, n)
        second = np.where(operators.crossed(n), second, first)
        children, share = operators.cross(self.genes[first], self.genes[second])
        most = np.where(share >= 0.5, first, second)
        self.genes = operators.mutate(children)
        self.label, self.ancestor = self.label[most], self.ancestor[most]
        self.fitness = self.evaluate(self.genes)
        self.totals.append(self.fitness.sum())
