"""The same scenarios in other libraries, with the same network through the same batched forward pass."""

from __future__ import annotations

from importlib import metadata
from typing import Any, Protocol

import numpy as np
import torch

import report
import with_deap
import with_numpy
import with_pygad
import with_pymoo
from evofool.genome import Labelled
from setting import Evolution, Setting, arms, forward
from timing import Times, alternate, estimate, ratio
from with_numpy import Crossover, Operators, Selection

SCENARIOS: dict[str, tuple[Selection, Crossover]] = {
    "FPS_AC_SM": ("FPS", "AC"),
    "TS_SPC_SM": ("TS", "SPC"),
    "RS_AC_SM": ("RS", "AC"),
}
NOTES = {
    "evofool": "as the study runs it: labels and ancestors, the 1/255 lattice, counted queries, curves",
    "numpy": with_numpy.NOTE,
    "deap": with_deap.NOTE,
    "pygad": with_pygad.NOTE,
    "pymoo": with_pymoo.NOTE,
}


class Rival(Protocol):
    """Something that makes generations."""

    def step(self) -> None:
        """One generation."""


class Network:
    """Fitness of a batch of flattened images: 1 - the highest probability, the paper's but for its 5e-7.

    Attributes:
        asked: images so far.
    """

    def __init__(self, setting: Setting):
        """Ask the classifier as the ledger does, but for the last call, which is not padded."""
        self._classifier = setting.classifier
        self.asked = 0

    def __call__(self, genes: np.ndarray) -> np.ndarray:
        """Positive numbers, one for each row; higher is better."""
        info = self._classifier.info
        images = torch.from_numpy(np.ascontiguousarray(genes, dtype=np.float32)).view(-1, *info.image_shape)
        self.asked += len(images)
        scores = torch.cat([self._classifier(part) for part in images.split(info.micro_batch)])
        return 1.0 - scores.double().softmax(1).amax(1).numpy()


def measure(setting: Setting, *, population: int, rounds: int) -> dict[str, dict[str, Any]]:
    """By scenario one row for each library, all taking turns in this process."""
    first = setting.population([0], population)
    plain = Setting.load(setting.name).classifier.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    images = first.genes[0]
    results = {}
    for scenario, (selection, crossover) in SCENARIOS.items():
        networks, rivals = _rivals(setting, first, selection, crossover)
        asked = {name: network.asked for name, network in networks.items()}
        floors = {
            "plain": lambda: forward(plain, images, "contiguous", len(images)),
            "floor": lambda: setting.floor(images),
        }
        ours = Evolution(setting, arms()[scenario], first)
        libraries = {"evofool": ours.step, **{name: rival.step for name, rival in rivals.items()}}
        times = alternate({**floors, **libraries}, rounds, warm_up=1)
        each = {name: (networks[name].asked - before) / (rounds + 1) for name, before in asked.items()}
        for rival in rivals.values():
            if isinstance(rival, with_pygad.Pygad):
                rival.close()
        results[scenario] = {
            **{name: times[name].milliseconds("processor") for name in floors},
            "rows": [_row(name, times, each.get(name, population), population) for name in libraries],
        }
    return results


def _rivals(
    setting: Setting, first: Labelled, selection: Selection, crossover: Crossover
) -> tuple[dict[str, Network], dict[str, Rival]]:
    genes, label = first.genes[0].flatten(1).numpy(), first.label[0].numpy()
    networks: dict[str, Network] = {}

    def start(name: str) -> tuple[Network, np.ndarray]:
        networks[name] = Network(setting)
        return networks[name], genes.copy()

    operators = Operators(selection, crossover, np.random.default_rng(0))
    rivals: dict[str, Rival] = {"NumPy loop": with_numpy.NumpyLoop(*start("NumPy loop"), label, operators)}
    if selection != "RS":
        for name, kind in (("DEAP, arrays", np.ndarray), ("DEAP, lists", list)):
            rivals[name] = with_deap.Deap(*start(name), kind, selection, crossover)
    for name, own in (("PyGAD, as it comes", False), ("PyGAD, own operators", True)):
        rivals[name] = with_pygad.Pygad(*start(name), operators, own=own)
    for name, tuned in (("pymoo, as it comes", False), ("pymoo, tuned", True)):
        rivals[name] = with_pymoo.Pymoo(*start(name), operators, tuned=tuned)
    return networks, rivals


def _row(name: str, times: dict[str, Times], asked: float, population: int) -> dict[str, Any]:
    share = asked / population
    floors, plains = times["floor"].processor, times["plain"].processor
    own = [spent - share * floor for spent, floor in zip(times[name].processor, floors, strict=True)]
    return {
        "library": name,
        "asked": asked,
        "generation": times[name].milliseconds("processor"),
        "own": 1e3 * estimate(own).median,
        "to floor": ratio(times[name], times["floor"], "processor", share=share),
        "to plain": ratio(times[name], times["plain"], "processor", share=share),
        "with plain": estimate([1 + extra / (share * plain) for extra, plain in zip(own, plains, strict=True)]),
    }


def show(results: dict[str, dict[str, Any]]) -> None:
    """Print a table for each scenario, and what each library lacks."""
    print(
        "One generation in processor milliseconds. asked: images it asks about; own: without their forward pass; then"
    )
    print("its ratio (95% interval) to the forward pass of as many images, as the loader does it (floor) and as one")
    print("writes it down (plain: contiguous, all at once), and to the plain one if the library itself had used that.")
    for scenario, result in results.items():
        print(f"\n{scenario}: floor {result['floor']:.1f} ms, plain {result['plain']:.1f} ms")
        report.table(
            ["library", "asked", "generation", "own", "to floor", "to plain", "if it used plain"],
            [
                [
                    row["library"],
                    f"{row['asked']:.0f}",
                    f"{row['generation']:.1f}",
                    f"{row['own']:.1f}",
                    str(row["to floor"]),
                    str(row["to plain"]),
                    str(row["with plain"]),
                ]
                for row in result["rows"]
            ],
        )
    print()
    for library, note in NOTES.items():
        print(f"{library} {metadata.version(library)}: {note}")
