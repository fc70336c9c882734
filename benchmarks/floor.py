"""The forward pass in every layout and micro-batch, with the allocator as it comes and tuned: which is the fastest?"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import cache
from typing import Any, NamedTuple, get_args

import torch

import report
from evofool.classifiers import SHIPPED
from evofool.classifiers.support.card import read
from evofool.classifiers.torch import MemoryFormat, tune_allocator
from setting import Setting, forward
from timing import Times, ratio

LAYOUTS: tuple[MemoryFormat, ...] = get_args(MemoryFormat)
SIZES = (50, 100, 125, 200, 250, 500, 1000)
ALLOCATORS = ("default", "tuned")
SLACK = 1.05
_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class Way(NamedTuple):
    """A way to answer the same images."""

    layout: MemoryFormat
    size: int
    allocator: str


def measure(setting: Setting, *, images: int, rounds: int) -> dict[str, Any]:
    """Processor milliseconds by way, the fastest one, and how the loader's compares.

    The allocator is set for a whole process, so each of the two has a process of its own; they take turns.
    """
    batch = setting.population([0], images).genes[0]
    ways = [Way(*way) for way in itertools.product(LAYOUTS, SIZES, ALLOCATORS)]
    times = {way: Times() for way in ways}
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        workers = {
            allocator: stack.enter_context(
                ProcessPoolExecutor(
                    1, mp_context=context, initializer=_start, initargs=(setting.name, batch.numpy(), allocator)
                )
            )
            for allocator in ALLOCATORS
        }
        for turn, way in itertools.product(range(rounds + 1), ways):
            spent = workers[way.allocator].submit(_answer, way.layout, way.size).result()
            if turn:  # the first one warms up
                times[way].add(*spent)
    fastest = min(ways, key=lambda way: times[way].milliseconds("processor"))
    info = setting.classifier.info
    loader = Way(info.memory_format, info.micro_batch, "tuned" if tune_allocator() else "default")
    known = loader in times
    return {
        "classifier": setting.name,
        "milliseconds": {way: times[way].milliseconds("processor") for way in ways},
        "fastest": fastest,
        "loader": loader,
        "loader beside the fastest": ratio(times[loader], times[fastest], "processor") if known else None,
    }


def show(result: dict[str, Any]) -> None:
    """Print the ways as a table."""
    print(f"{result['classifier']}: the forward pass of the same images in processor milliseconds, one thread (median)")
    columns = list(itertools.product(LAYOUTS, ALLOCATORS))
    marks = {result["fastest"]: " fastest", result["loader"]: " loader"}
    if result["fastest"] == result["loader"]:
        marks = {result["fastest"]: " fastest, loader"}
    report.table(
        ["micro-batch", *(f"{layout}, {allocator}" for layout, allocator in columns)],
        [
            [
                str(size),
                *(
                    f"{result['milliseconds'][way]:.1f}{marks.get(way, '')}"
                    for way in (Way(layout, size, allocator) for layout, allocator in columns)
                ),
            ]
            for size in SIZES
        ],
    )


def bars(result: dict[str, Any]) -> list[report.Bar]:
    """Whether the loader's way is the fastest; ways that cannot be told apart are equally fast."""
    beside = result["loader beside the fastest"]
    loader, fastest = result["loader"], result["fastest"]
    found = f"{loader.layout} x {loader.size}, {loader.allocator}"
    if loader != fastest:
        against = f"{beside} of" if beside else "not among the measured ways;"
        found += f": {against} the fastest, {fastest.layout} x {fastest.size}, {fastest.allocator}"
    met = loader == fastest or (beside is not None and (beside.median <= SLACK or beside.low <= 1.0))
    limit = f"the fastest of all ways, within {SLACK - 1:.0%} or what can be told apart"
    return [report.Bar(f"the loader's way for {result['classifier']}", found, limit, met)]


_name, _batch = "", torch.empty(0)  # of a worker


@cache
def _modules(name: str) -> dict[str, torch.nn.Module]:
    # Not the loader itself, which tunes the allocator.
    return {
        layout: read(SHIPPED / name)[1].to(memory_format=_FORMATS[layout])  # type: ignore[call-overload]
        for layout in LAYOUTS
    }


def _start(name: str, batch: Any, allocator: str) -> None:
    """The first thing that a worker does."""
    global _name, _batch
    torch.set_num_threads(1)
    if allocator == "tuned":
        tune_allocator()
    _name, _batch = name, torch.from_numpy(batch)


def _answer(layout: MemoryFormat, size: int) -> tuple[float, float]:
    """Wall and processor seconds of one pass."""
    module = _modules(_name)[layout]
    wall, processor = time.perf_counter(), time.process_time()
    forward(module, _batch, layout, size)
    return time.perf_counter() - wall, time.process_time() - processor
