"""What the ledger costs for each row: many searches that ask together, about one image each.

    python benchmarks/ledger.py [--searches 100 500 5000] [--rounds 9]

The classifier answers at once with zeros, so that nothing but the ledger is measured: hashes, cache, budget and books.
A batch holds 100 different images of 28 x 28, each paid for by another search; the next batch is that of the next 100
searches. The books are kept in memory or in a run directory, where each batch waits twice for the disk: for its charge,
and for its answers; it lies in the folder for temporary files (set TMPDIR where that is no disk). All take turns of
ten batches; microseconds of processor time and by the clock on the wall, of a median turn.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import tempfile
from pathlib import Path
from typing import Any

from evofool.executors.local import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch is loaded

import torch

from evofool.contracts import ClassifierInfo
from evofool.ledger import Ledger
from evofool.rng import Stream
from evofool.store import Store
from report import table
from setting import hardware, load_average
from timing import Times, alternate

ROWS = 100
BATCHES = 10  # in a turn: what was asked after a wait for the disk finds nothing of its own in the processor's caches
BUDGET = 1_000_000  # of each search: looked at, never reached


class Free:
    """Answers at once, and always the same."""

    info = ClassifierInfo("free", "logits", tuple("0123456789"), (1, 28, 28), "", micro_batch=ROWS)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Zeros."""
        return torch.zeros(len(images), 10)


class Asking:
    """A ledger that is asked about other images each time."""

    def __init__(self, searches: int, *, cache: bool, store: Store | None):
        self.ledger = Ledger(Free(), searches=searches, budget=BUDGET, cache=cache, store=store)
        self.searches = searches
        self.turn = 0

    def __call__(self, images: torch.Tensor) -> None:
        """One turn."""
        for batch in images.split(ROWS):
            first = self.turn * ROWS
            self.ledger.ask(batch, torch.arange(first, first + ROWS) % self.searches, (self.turn,))
            self.turn += 1


def measure(searches: int, rounds: int) -> dict[tuple[bool, bool], Times]:
    """The times of batches by (run directory, cache)."""
    warm_up = 1
    rows = (warm_up + rounds) * BATCHES * ROWS
    images = Stream([0], [0])["images"].uniform(rows, 1, 28, 28)[0].mul_(255).round_().div_(255)
    ways = list(itertools.product((False, True), (True, False)))
    with contextlib.ExitStack() as stack:
        asking = {}
        for durable, cache in ways:
            store = None
            if durable:
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                store = stack.enter_context(contextlib.closing(Store(Path(folder) / "ledger.sqlite", owner=True)))
            asking[durable, cache] = Asking(searches, cache=cache, store=store)
        turn = {way: iter(images.split(BATCHES * ROWS)) for way in ways}
        named = {f"{way}": lambda way=way: asking[way](next(turn[way])) for way in ways}
        times = alternate(named, rounds, warm_up=warm_up)
        for one in asking.values():
            counts = one.ledger.counts
            assert int(counts.answered.sum()) == rows and int(counts.repeated.sum()) == 0
            assert one.ledger.store.damage() == []
    return {way: times[f"{way}"] for way in ways}


def main() -> None:
    """Print what a row costs."""
    options = _options()
    torch.set_num_threads(1)
    print(*(f"{name}: {value}" for name, value in hardware().items()), sep="\n")
    print(f"load: {load_average():.1f} before the start\n", flush=True)
    rows = []
    for searches in options.searches:
        for (durable, cache), times in measure(searches, options.rounds).items():
            spent = [f"{1e3 * times.milliseconds(clock) / (BATCHES * ROWS):.2f}" for clock in ("processor", "wall")]
            names = "run directory" if durable else "memory", "on" if cache else "off"
            rows.append([f"{searches:,}", *names, *spent])
    print("microseconds for each row")
    table(["searches", "books", "cache", "processor", "wall"], rows)


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, nargs="+", default=[100, 500, 5000], help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="turns that count (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
