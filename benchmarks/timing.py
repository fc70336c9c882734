"""Times functions fairly: they take turns in one process, and ratios are formed within each turn."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

Clock = Literal["wall", "processor"]


@dataclass
class Times:
    """Seconds of each turn, by the clock on the wall and by that of the processor.

    The second leaves out the time in which other programs had the processor; on a quiet machine both agree.
    """

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def add(self, wall: float, processor: float) -> None:
        """One more turn."""
        self.wall.append(wall)
        self.processor.append(processor)

    def milliseconds(self, clock: Clock = "wall") -> float:
        """The median turn."""
        return 1e3 * median(getattr(self, clock))


@dataclass(frozen=True)
class Estimate:
    """A median, and the order statistics between which the true one lies with 95% confidence."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def alternate(candidates: Mapping[str, Callable[[], Any]], rounds: int, *, warm_up: int = 2) -> dict[str, Times]:
    """Let candidates take turns, A B A B ..., so that a busy moment falls on all of them.

    Args:
        candidates: what is timed, by name.
        rounds: turns that count.
        warm_up: turns before them that do not.
    """
    times = {name: Times() for name in candidates}
    for turn in range(warm_up + rounds):
        for name, candidate in candidates.items():
            wall, processor = time.perf_counter(), time.process_time()
            candidate()
            spent = time.perf_counter() - wall, time.process_time() - processor
            if turn >= warm_up:
                times[name].add(*spent)
    return times


def estimate(values: Sequence[float]) -> Estimate:
    """The median of values with its 95% confidence interval from order statistics, free of any distribution.

    As many of the smallest and of the largest values are left out as keep the probability that the true median lies
    among them at 2.5% for either side, P(Binomial(n, 1/2) <= left out). Fewer than six values cannot promise that: then
    the interval is all that was seen.
    """
    ordered, n = sorted(values), len(values)
    left_out, outside = 0, 0.5**n
    while (outside := outside + math.comb(n, left_out + 1) / 2**n) <= 0.025:
        left_out += 1
    return Estimate(median(ordered), ordered[left_out], ordered[n - 1 - left_out])


def ratio(times: Times, base: Times, clock: Clock = "wall", *, share: float = 1.0) -> Estimate:
    """How many times longer than a share of the base, turn by turn."""
    pairs = zip(getattr(times, clock), getattr(base, clock), strict=True)
    return estimate([spent / (share * other) for spent, other in pairs])


@dataclass
class Stopwatch:
    """Adds up the processor seconds of named parts; a part that runs inside another is taken out of that one's."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _inside: list[float] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what stands in the block."""
        self._inside.append(0.0)
        start = time.thread_time()
        try:
            yield
        finally:
            spent = time.thread_time() - start
            self.seconds[name] += spent - self._inside.pop()
            if self._inside:
                self._inside[-1] += spent

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, each call timed as a part."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return call
