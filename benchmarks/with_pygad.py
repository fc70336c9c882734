"""PyGAD, whose loop runs in a thread of its own and is let go one generation at a time."""

from __future__ import annotations

import threading
from typing import Any, Literal

import numpy as np

from with_numpy import P_CROSSOVER, TOURNAMENT, Fitness, Operators

NOTE = (
    "fitness_batch_size = population, keep_elitism = keep_parents = 0; as it comes: its own selection, single point "
    "crossover (crossover_probability chooses who may be a parent, every child is crossed) and swap (every child is "
    "mutated), an own function for arithmetic crossover; own operators: all three as NumPy functions; no labels"
)
_SELECTIONS = {"FPS": "rws", "TS": "tournament", "RS": "rank"}


class Pygad:
    """A run of PyGAD's."""

    def __init__(self, fitness: Fitness, genes: np.ndarray, operators: Operators, *, own: bool):
        """Start the loop and make the first generation.

        Args:
            fitness: of a batch.
            genes: the initial population.
            operators: what the scenario wants, and the functions for what PyGAD lacks.
            own: use these functions for everything.
        """
        import pygad

        def select(values: np.ndarray, n: int, algorithm: Any) -> tuple[np.ndarray, np.ndarray]:
            chosen = operators.select(values, n)
            return algorithm.population[chosen], chosen

        def cross(parents: np.ndarray, size: tuple[int, int], algorithm: Any) -> np.ndarray:
            partners = np.where(operators.crossed(len(parents))[:, None], np.roll(parents, -1, 0), parents)
            return operators.cross(parents, partners)[0]

        def mutate(children: np.ndarray, algorithm: Any) -> np.ndarray:
            return operators.mutate(children)

        own_crossover = own or operators.crossover == "AC"
        self._go, self._made = threading.Semaphore(0), threading.Semaphore(0)
        self._closing = False
        self._algorithm = pygad.GA(
            num_generations=1_000_000,
            num_parents_mating=len(genes),
            fitness_func=lambda algorithm, solutions, indices: fitness(solutions),
            fitness_batch_size=len(genes),
            initial_population=genes,
            gene_type=np.float32,
            parent_selection_type=select if own else _SELECTIONS[operators.selection],
            K_tournament=TOURNAMENT,
            keep_parents=0,
            keep_elitism=0,
            crossover_type=cross if own_crossover else "single_point",
            crossover_probability=None if own_crossover else P_CROSSOVER,
            mutation_type=mutate if own else "swap",
            on_generation=self._pause,
            random_seed=0,
            suppress_warnings=True,
        )
        self._loop = threading.Thread(target=self._algorithm.run, daemon=True)
        self._loop.start()
        self._wait()

    def step(self) -> None:
        """Let the loop make one generation."""
        self._go.release()
        self._wait()

    def close(self) -> None:
        """End the loop."""
        self._closing = True
        self._go.release()
        self._loop.join()

    def _wait(self) -> None:
        while not self._made.acquire(timeout=1.0):
            if not self._loop.is_alive():
                raise RuntimeError("PyGAD's loop has ended before its time")

    def _pause(self, algorithm: Any) -> Literal["stop"] | None:
        """Called by the loop after each generation."""
        self._made.release()
        self._go.acquire()
        return "stop" if self._closing else None
