"""Drawing on a large canvas: what a generation costs besides the network, and what a run holds in memory.

    python benchmarks/ink.py [--network small_cnn | timm:inception_resnet_v2] [--rounds N]

30 runs side by side, 100 members, 299 x 299 pixels, as the question has it: parents are selected, crossed, mutated,
decoded, hashed, charged, judged and told, with a classifier that answers at once. Beside it, turn by turn, the bare
forward passes of a network with random weights over the same 3,000 images; of a slow network over 100 of them, times
30. Ratios are of processor time, a whole generation over its forward passes. The timm network needs the full torch.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

from evofool.executors.local import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch is loaded

import torch
from torch import nn

from evofool import networks, search
from evofool.classifiers.fake import Constant
from evofool.classifiers.torch import lay_out, tune_allocator
from evofool.ledger import Ledger
from evofool.rng import Stream, search_id
from evofool.search import Problem
from evofool.studies.draw import drawing
from report import Bar, table
from setting import hardware, load_average
from timing import Estimate, Times, alternate, estimate

SIZE, RUNS, POPULATION = 299, 30, 100
WAYS = {
    "rectangle, per gene": {"crossover": "rectangle", "mutation": "per-gene"},
    "columns, per image": {"crossover": "columns", "mutation": "per-image"},
    "list, per image": {"crossover": "list", "mutation": "per-image"},
    "economical": {"preset": "economical"},
}
LIMITS = {"small_cnn": 1.25, "timm:inception_resnet_v2": 1.15}


class Evolution:
    """One way to draw, one generation at a time; the state goes on from one to the next."""

    def __init__(self, **settings: Any):
        self.way = drawing.settings(**{"preset": "question", **settings}, stop=False)
        self.encoding = self.way.encoding(self.way.phases[0], (SIZE, SIZE))
        stream = Stream(range(RUNS), [search_id("bench")] * RUNS)
        first = self.encoding.sample(None, POPULATION, stream["initial"])
        self.problem = Problem(first, stream, labels=torch.zeros(RUNS, dtype=torch.int64))
        self.ledger = Ledger(Constant([0.0, 1.0], (1, SIZE, SIZE)), searches=RUNS)
        self.progress = search.start(self.problem, self.way.algorithm)
        self.step()  # the first one only asks

    def step(self) -> None:
        """One generation."""
        self.progress = search.run(
            self.problem,
            algorithm=self.way.algorithm,
            encoding=self.encoding,
            objective=self.way.objective,
            criterion=self.way.criterion,
            ledger=self.ledger,
            generations=self.progress.generation + 1,
            progress=self.progress,
        )


def network(name: str) -> tuple[nn.Module, int, int]:
    """A network with random weights, how many images it is timed on, and how often that stands for one generation."""
    generator = torch.Generator().manual_seed(0)
    if name == "small_cnn":
        built = networks.build("small_cnn", {"in_channels": 1, "classes": 2, "size": (SIZE, SIZE)})
        return networks.initialise(built, generator).eval(), RUNS * POPULATION, 1
    import timm

    module = timm.create_model(name.removeprefix("timm:"), pretrained=False, num_classes=2, in_chans=1)
    return module.eval(), POPULATION, RUNS


def floor(module: nn.Module, count: int) -> Callable[[], None]:
    """The forward passes alone."""
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.ones(count, 1, SIZE, SIZE)

    def run() -> None:
        with torch.inference_mode():
            for part in images.split(100 if count > POPULATION else 10):
                module(lay_out(part, "channels_last"))

    return run


def ratio(generation: Times, forward: Times, times: int) -> Estimate:
    """A whole generation, its forward passes included, over the forward passes."""
    pairs = zip(generation.processor, forward.processor, strict=True)
    return estimate([1 + spent / (times * other) for spent, other in pairs])


def main() -> int:
    """Measure, and say whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="small_cnn", choices=list(LIMITS))
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    tune_allocator()
    for name, value in hardware().items():
        print(f"{name}: {value}")
    print(f"load: {load_average():.2f}; {RUNS} runs of {POPULATION} members, {SIZE} x {SIZE} pixels\n")
    module, count, times = network(given.network)
    works: dict[str, Callable[[], None]] = {name: Evolution(**settings).step for name, settings in WAYS.items()}
    spent = alternate({**works, "forward": floor(module, count)}, given.rounds, warm_up=1)
    limit, rows, bars = LIMITS[given.network], [], []
    passes = times * spent["forward"].milliseconds("processor") / 1e3
    for name in WAYS:
        found = ratio(spent[name], spent["forward"], times)
        own = spent[name].milliseconds("processor") / 1e3
        rows.append([name, f"{passes:.1f}", f"{own:.2f}", str(found)])
        bars.append(Bar(f"{name} on {given.network}", f"{found.median:.2f}", f"at most {limit}", found.median <= limit))
    table(["way to draw", "forward passes s", "all else s", "ratio"], rows)
    print(f"\nlargest memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB\n")
    for bar in bars:
        print(bar)
    return 0 if all(bar.met for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
