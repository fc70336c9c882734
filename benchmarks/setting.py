"""What is measured: a classifier with its images, the arms of the study on them, and the forward pass, their floor."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from evofool import criteria, search
from evofool.classifiers import SHIPPED, load_classifier
from evofool.classifiers.torch import MemoryFormat, TorchClassifier, lay_out
from evofool.contracts import Dataset, Evaluated
from evofool.data import load_data
from evofool.encodings.pixels import Pixels
from evofool.genome import Labelled, take
from evofool.ledger import Ledger
from evofool.rng import Stream, search_id
from evofool.shapes import Float, Tensor
from evofool.studies.operators import scenarios
from evofool.studies.operators.scenarios import Scenario
from evofool.studies.operators.shards import Curves, population

DATA = {"mnist95": "mnist", "mnist99": "mnist", "digits": "digits"}


def hardware() -> dict[str, str]:
    """What the figures hold for."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    return {
        "processor": f"{model}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        "software": f"Python {platform.python_version()}, torch {torch.__version__}, 1 thread",
    }


def load_average() -> float:
    """Programs that wanted a processor in the last minute; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def forward(module: torch.nn.Module, images: Float[Tensor, "N C H W"], layout: MemoryFormat, size: int) -> None:
    """Nothing but the network: the images in a layout, so many at a time."""
    with torch.inference_mode():
        for part in images.split(size):
            module(lay_out(part, layout))


@dataclass(frozen=True)
class Setting:
    """A shipped classifier and the images that evolve against it."""

    name: str
    classifier: TorchClassifier
    dataset: Dataset

    @classmethod
    def load(cls, name: str) -> Setting:
        """Load a shipped classifier and its test images."""
        classifier = load_classifier(SHIPPED / name)
        assert isinstance(classifier, TorchClassifier)
        return cls(name, classifier, load_data(DATA[name], split="test"))

    def floor(self, images: Float[Tensor, "N C H W"]) -> None:
        """The forward pass as the loader set it up: same layout, threads and micro-batch as in a search."""
        info = self.classifier.info
        forward(self.classifier.module, images, info.memory_format, info.micro_batch)

    def population(self, seeds: Sequence[int], size: int) -> Labelled:
        """The images that each seed starts from; where there are too few, the same ones again."""
        count = min(size, len(self.dataset))
        again = (torch.arange(size) % count).expand(len(seeds), size)
        return take(population(self.dataset, seeds, count), again)


def arms() -> dict[str, Scenario]:
    """The twelve scenarios and elitism, by name."""
    base = scenarios.base()
    return {scenario.arm.name: scenario for scenario in [*scenarios.scenarios(base), scenarios.elitism(base)]}


@dataclass
class Evolution:
    """One arm of the study, run as the study runs it, one generation at a time; the initial one is done.

    Attributes:
        cache: answer repeated images from the ledger's cache, as the study does; else each one is sent.
        images: what the last generation asked about, [N C H W].
    """

    setting: Setting
    scenario: Scenario
    first: Labelled
    cache: bool = False
    images: Tensor = field(init=False)

    def __post_init__(self) -> None:
        searches = len(self.first.genes)
        rng = Stream(range(searches), [search_id(self.scenario.arm.name)] * searches)
        self._problem = search.Problem(self.first, rng)
        self._ledger = Ledger(self.setting.classifier, searches=searches, cache=self.cache)
        self._curves = Curves(self.setting.classifier.info, self.scenario.objective == scenarios.PAPER_OBJECTIVE)
        self._progress: search.Progress | None = None
        self.step()

    def step(self) -> None:
        """One whole generation: selection, crossover, mutation, decoding, ledger, network, fitness, bookkeeping."""
        self._progress = search.run(
            self._problem,
            algorithm=self.scenario.algorithm,
            encoding=Pixels(),
            objective=self.scenario.objective,
            criterion=criteria.misclassified,
            ledger=self._ledger,
            generations=self._progress.generation + 1 if self._progress else 0,
            on_generation=self._note,
            progress=self._progress,
        )

    def _note(self, progress: search.Progress, evaluated: Evaluated) -> None:
        self._curves(progress, evaluated)
        self.images = evaluated.images.flatten(0, 1)

    def floor(self) -> None:
        """The forward pass of the images that the last generation asked about."""
        self.setting.floor(self.images)
