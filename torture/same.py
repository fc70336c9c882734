"""The same seed, however it is run: the size of calls, searches side by side, the number of processes."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import searcher
from bars import Outcome
from evofool import criteria, objectives, search
from evofool.classifiers import load_classifier
from evofool.data import load_data
from evofool.encodings.pixels import Pixels
from evofool.executors.local import map_shards
from evofool.genome import Labelled
from evofool.ledger import Ledger
from evofool.rng import Stream, search_id
from searcher import Config

SEEDS = 6


@dataclass(frozen=True)
class Shard:
    """Searches that run side by side in one process, on a real classifier."""

    arm: str
    seeds: tuple[int, ...]
    population: int
    generations: int


def evolve(shard: Shard, tick: Callable[[int], None]) -> dict[str, list[str]]:
    """By seed, the fingerprints of a search after each generation, and of all answers that it got in it."""
    classifier = load_classifier("digits")
    data = load_data("digits", split="test")
    begin = Stream(shard.seeds, [search_id("same")] * len(shard.seeds))
    drawn = begin["images"].permutation(len(data))[:, : shard.population]
    ancestors = torch.arange(shard.population).expand(len(shard.seeds), -1).clone()
    first = Labelled(data.images[drawn].float() / 255, data.labels[drawn].long(), ancestors)
    problem = search.Problem(first, Stream(shard.seeds, [search_id(shard.arm)] * len(shard.seeds)))
    steps: dict[str, list[str]] = {str(seed): [] for seed in shard.seeds}

    def on_generation(progress: search.Progress, evaluated: Any) -> None:
        for row, seed in enumerate(shard.seeds):
            answers = hashlib.sha256(evaluated.scores[row].contiguous().numpy().tobytes()).hexdigest()
            steps[str(seed)].append(f"{searcher.fingerprint(progress.state, row)} {answers}")
        tick(1)

    search.run(
        problem,
        algorithm=searcher.arms()[shard.arm],
        encoding=Pixels(),
        objective=objectives.true_class_probability,
        criterion=criteria.misclassified,
        ledger=Ledger(classifier, searches=len(shard.seeds)),
        generations=shard.generations,
        on_generation=on_generation,
    )
    return steps


def side_by_side(arm: str, together: int, workers: int, *, short: bool) -> dict[str, list[str]]:
    """All seeds, so many in a shard, on so many processes."""
    seeds = list(range(SEEDS))
    shards = [
        Shard(arm, tuple(seeds[first : first + together]), 24 if short else 60, 3 if short else 8)
        for first in range(0, SEEDS, together)
    ]
    found: dict[str, list[str]] = {}
    for part in map_shards(evolve, shards, workers=workers):
        found |= part
    return dict(sorted(found.items()))


def run(*, short: bool) -> Outcome:
    """A linear classifier in calls of 1, 7 and 64; a real one in its fixed calls."""
    torch.set_num_threads(1)
    outcome = Outcome()
    different: list[str] = []
    compared = 0
    arms = tuple(searcher.arms())
    config = Config(arms=arms, searches=3, population=12, generations=4 if short else 10)
    with tempfile.TemporaryDirectory(prefix="torture-same-") as folder:
        expected: dict[str, Any] | None = None
        for size in (1, 7, 64):
            for workers in (0, 4):
                path = Path(folder) / f"{size}-{workers}"
                searcher.go(path, dataclasses.replace(config, micro_batch=size, workers=workers))
                said = searcher.reading(path)
                said = {part: said[part] for part in ("findings", "images", "final", "results", "events")}
                expected = expected or said
                compared += 1
                parts = [part for part in said if said[part] != expected[part]]
                different += [f"linear, calls of {size}, {workers} workers: {', '.join(parts)}"] if parts else []
                shutil.rmtree(path)
    linear = compared
    real_arms = arms[1:2] if short else arms[1:4]
    searches = 0
    for arm in real_arms:
        alone = side_by_side(arm, 1, 1, short=short)
        searches += len(alone)
        if len({tuple(steps) for steps in alone.values()}) != SEEDS:
            different.append(f"digits, {arm}: two seeds gave the same search, so nothing is shown")
        for together, workers in ((2, 1), (3, 1)) if short else ((2, 1), (3, 1), (1, 4), (2, 4), (3, 4)):
            compared += 1
            if side_by_side(arm, together, workers, short=short) != alone:
                different.append(f"digits, {arm}: {together} side by side, {workers} workers")
    outcome.figures = {"linear": linear, "digits": compared - linear, "algorithms": list(arms), "seeds": SEEDS}
    outcome.none("ways to run that gave another result", different, compared)
    return outcome
