"""How time and memory grow with the population and with seeds side by side, each size in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

import report
from setting import Evolution, Setting, arms
from timing import alternate, ratio

SCENARIO = "FPS_AC_SM"
POPULATIONS = (1_000, 3_000, 10_000, 30_000, 100_000)
SEEDS = (1, 2, 5, 10)
GROWTH = 1.25  # of the time for one individual, beside the smallest size
MEMORY = 3000  # MB


def measure(name: str, *, largest: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """One row for each size up to the largest: populations with one seed, and 1,000 individuals with several."""
    populations = [_apart(name, size, 1, rounds) for size in POPULATIONS if size <= largest]
    seeds = [_apart(name, POPULATIONS[0], count, rounds) for count in SEEDS if count * POPULATIONS[0] <= largest]
    return {"population": populations, "seeds side by side": seeds}


def show(curves: dict[str, list[dict[str, Any]]]) -> None:
    """Print both curves."""
    print(f"{SCENARIO}: one generation at other sizes; microseconds of processor time for one individual; peak memory")
    for what, rows in curves.items():
        print()
        report.table(
            [what, "seconds", "us/individual", "growth", "ratio to forward", "peak MB"],
            [
                [
                    f"{row[what]:,}",
                    f"{row['seconds']:.3f}",
                    f"{row['microseconds']:.1f}",
                    f"{row['microseconds'] / rows[0]['microseconds']:.2f}",
                    str(row["ratio"]),
                    f"{row['peak']:,.0f}",
                ]
                for row in rows
            ],
        )


def bars(curves: dict[str, list[dict[str, Any]]]) -> list[report.Bar]:
    """Growth of the time for one individual at the largest sizes, and the memory of the largest."""
    found = []
    for what, rows in curves.items():
        growth = rows[-1]["microseconds"] / rows[0]["microseconds"]
        limit = f"linear: at most {GROWTH} times that at {rows[0][what]:,}"
        found.append(
            report.Bar(
                f"time for an individual at {what} {rows[-1][what]:,}", f"{growth:.2f} times", limit, growth <= GROWTH
            )
        )
    last = curves["population"][-1]
    limit = f"under {MEMORY:,} MB at {POPULATIONS[-1]:,}"
    what = f"peak memory at population {last['population']:,}"
    return [*found, report.Bar(what, f"{last['peak']:,.0f} MB", limit, last["peak"] < MEMORY)]


def _apart(name: str, population: int, seeds: int, rounds: int) -> dict[str, Any]:
    """One size in a fresh process, so that the peak is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as worker:
        return worker.submit(_one_size, name, population, seeds, rounds).result()


def _one_size(name: str, population: int, seeds: int, rounds: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    setting = Setting.load(name)
    evolution = Evolution(setting, arms()[SCENARIO], setting.population(range(seeds), population))
    individuals = population * seeds
    turns = max(2, min(rounds, rounds * 3_000 // individuals))
    times = alternate({"floor": evolution.floor, "generation": evolution.step}, turns, warm_up=1)
    return {
        "population": population,
        "seeds side by side": seeds,
        "seconds": times["generation"].milliseconds() / 1e3,
        "microseconds": 1e3 * times["generation"].milliseconds("processor") / individuals,
        "ratio": ratio(times["generation"], times["floor"]),
        "peak": _peak(),
    }


def _peak() -> float:
    """The most memory that this process held at a time, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would also count what the parent held when it started this process
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
