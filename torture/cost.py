"""What it costs to write everything down: the same searches with their books on disk and in memory."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import searcher
from bars import Outcome
from evofool import criteria, objectives, search
from evofool.checkpoint import Checkpoints
from evofool.classifiers import load_classifier
from evofool.data import load_data
from evofool.encodings.pixels import Pixels
from evofool.genome import Labelled
from evofool.ledger import Ledger
from evofool.rng import Stream, search_id
from evofool.rundir import RunDirectory

SEARCHES = 2
SETTINGS = {
    # name: classifier, data, population, generations; the last one is the size of the published study
    "linear, 8 members": ("", "", 8, 60),
    "digits, 60 members": ("digits", "digits", 60, 40),
    "mnist95, 1,000 members": ("mnist95", "mnist", 1000, 6),
}


def setting(name: str) -> tuple[Any, search.Problem, int]:
    """A classifier, what its searches start from, and how many generations they have."""
    target, source, population, generations = SETTINGS[name]
    if not target:
        config = searcher.Config(searches=SEARCHES, population=population)
        return searcher.local(config, ""), searcher.problem(config, "cost"), generations
    data = load_data(source, split="test")
    seeds = list(range(SEARCHES))
    drawn = Stream(seeds, [search_id("cost")] * SEARCHES)["images"].permutation(len(data))[:, :population]
    ancestors = torch.arange(population).expand(SEARCHES, -1).clone()
    first = Labelled(data.images[drawn].float() / 255, data.labels[drawn].long(), ancestors)
    problem = search.Problem(first, Stream(seeds, [search_id("search")] * SEARCHES))
    return load_classifier(target), problem, generations


def seconds(work: Callable[[], Any]) -> float:
    """By the clock on the wall: waiting for a disk is the point."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(name: str, folder: Path, rounds: int) -> dict[str, float]:
    """Turn and turn about, in memory and on disk."""
    classifier, problem, generations = setting(name)
    algorithm = searcher.arms()["ga tournament single_point swap"]
    parts = {
        "algorithm": algorithm,
        "encoding": Pixels(),
        "objective": objectives.true_class_probability,
        "criterion": criteria.misclassified,
        "generations": generations,
    }
    queries: list[int] = []

    def in_memory() -> None:
        ledger = Ledger(classifier, searches=SEARCHES)
        search.run(problem, ledger=ledger, **parts)
        queries.append(int(ledger.counts.issued.sum()))

    def on_disk(path: Path) -> None:
        run = RunDirectory.create(path, {"kind": "torture", "config": {}})
        ledger = Ledger(classifier, searches=SEARCHES, store=run.store, chain="cost")
        checkpoints = Checkpoints(path / "state", "cost", ledger)

        def on_generation(progress: search.Progress, _: Any) -> None:
            run.store.record("cost", progress.generation, {"fitness": progress.state.fitness.nanmean(1).tolist()})
            checkpoints(lambda: progress)

        search.run(problem, ledger=ledger, on_generation=on_generation, **parts)
        run.store.finish("cost", {}, let_go="cost")
        run.close()

    pairs = []
    for number in range(rounds + 1):
        plain = seconds(in_memory)
        durable = seconds(lambda number=number: on_disk(folder / f"{name} {number}"))
        if number:  # the first turn warms up
            pairs.append((plain, durable))
    steps = generations + 1
    extra = statistics.median(durable - plain for plain, durable in pairs)
    return {
        "in memory, ms a generation": round(1e3 * statistics.median(plain for plain, _ in pairs) / steps, 3),
        "on disk, ms a generation": round(1e3 * statistics.median(durable for _, durable in pairs) / steps, 3),
        "costs, ms a generation": round(1e3 * extra / steps, 3),
        "costs, microseconds a query": round(1e6 * extra / queries[-1], 3),
        "times as long": round(statistics.median(durable / plain for plain, durable in pairs), 3),
    }


def run(*, short: bool) -> Outcome:
    """All settings; only the one of the published study has a bar."""
    torch.set_num_threads(1)
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="torture-cost-") as folder:
        for name in SETTINGS:
            if short and name.startswith("mnist"):
                continue
            try:
                outcome.figures[name] = measure(name, Path(folder), 3 if short else 11)
            except Exception as error:
                outcome.notes.append(f"{name} was left out: {error}")
    published = outcome.figures.get("mnist95, 1,000 members")
    if published:
        outcome.at_most("the published study's size: times as long on disk", published["times as long"], 1.05)
    outcome.at_least("settings measured", len(outcome.figures), 2)
    return outcome
