"""A very long run: memory and file handles stay what they were."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import searcher
from bars import Outcome
from searcher import Config

# 10 rows a generation fill the cache of 100,000 answers within the first tenth.
CONFIG = Config(arms=("ga mutation only",), searches=1, population=12, side=3, every=1.0, micro_batch=12)


def resident() -> int:
    """Memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def handles() -> int:
    """Open files of this process."""
    return len(os.listdir("/proc/self/fd"))


def run(*, short: bool) -> Outcome:
    """One run of 100,000 generations, in this process."""
    torch.set_num_threads(1)
    outcome = Outcome()
    import dataclasses

    generations = 1_500 if short else 100_000
    config = dataclasses.replace(CONFIG, generations=generations)
    seen: list[tuple[int, int, int]] = []
    started = time.monotonic()

    def watch(progress: Any) -> None:
        if progress.generation % max(1, generations // 200) == 0:
            seen.append((progress.generation, resident(), handles()))

    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="torture-long-", dir=place) as folder:
        path = Path(folder) / "run"
        searcher.go(path, config, watch=watch)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        said = searcher.reading(path, answers=False)
    took = time.monotonic() - started
    warm = [row for row in seen if row[0] >= generations // 10]
    first = statistics.median(memory for _, memory, _ in warm[:5])
    last = statistics.median(memory for _, memory, _ in warm[-5:])
    grown = 100 * (last / first - 1)
    issued = sum(count["issued"] for count in said["counts"]["accounts"].values())
    outcome.figures = {
        "generations": generations,
        "queries": issued,
        "milliseconds a generation": round(1e3 * took / generations, 3),
        "memory after a tenth, MB": round(first / 1e6, 1),
        "memory at the end, MB": round(last / 1e6, 1),
        "memory at the start, MB": round(seen[0][1] / 1e6, 1),
        "grown, %": round(grown, 2),
        "file handles": sorted({count for _, _, count in warm}),
        "bytes on disk": size,
    }
    outcome.at_least("generations", len(said["events"][config.arms[0]]) - 1, generations)
    outcome.at_most("memory, after the first tenth until the end, grows by", grown, 5, "%")
    outcome.at_most("different numbers of file handles", len({count for _, _, count in warm}), 1)
    return outcome
