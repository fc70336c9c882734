"""Files that end too early: the write-ahead log, checkpoints and the manifest, cut at every byte of their last 4 kB.

Whatever is cut, the run opens and goes on to the same end, and at most one batch is asked again.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import searcher
from bars import Outcome
from evofool import rundir
from evofool.errors import EvofoolError
from kills import APART, fork, wait
from searcher import Config

TAIL = 4096
# One call of the classifier is one batch here.
CONFIG = Config(arms=("ga tournament single_point swap", "ga copies"), generations=6, micro_batch=100, side=4)


class Stopping:
    """Passes everything on, until one call kills the process it is in."""

    def __init__(self, classifier: Any, last: int, *, before: bool):
        self.info, self._classifier, self._left, self._before = classifier.info, classifier, last, before

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self._left -= 1
        if self._before and not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._classifier(images)


def killed(path: Path, where: str, config: Config = CONFIG) -> None:
    """Leave a run that was killed in its second arm, 4 generations on.

    Args:
        path: the run directory.
        where: "asked" = charged, not answered; "answered" = the answers are stored, no checkpoint is newer than the
            first; "saved" = with a checkpoint just written.
        config: of the run.
    """
    second = config.arms[1]

    def make(config: Config, arm: str) -> Any:
        classifier = searcher.local(config, arm)
        return Stopping(classifier, 5, before=where == "asked") if arm == second else classifier

    def watch(progress: Any) -> None:
        seen.append(progress.generation)
        if where != "asked" and progress.generation == 4 and seen.count(4) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    seen: list[int] = []
    ticks = iter(range(1 << 30))

    def clock() -> float:
        # All moments are far apart, so that each generation is saved; or none is after the second.
        tick = next(ticks)
        return 1e3 * tick if where != "answered" or seen.count(1) < 2 else 0.0

    pid = fork(
        lambda: searcher.go(path, config, make=make, watch=watch, clock=clock) and None,
        path.with_name(f"{path.name}.log"),
    )
    code = wait(pid, 60.0)
    if code != -signal.SIGKILL:
        raise RuntimeError(f"the run that was to be killed ended with {code}")


def counter(calls: list[int]) -> Callable[[Config, str], Any]:
    """Classifiers whose calls are written to a list."""

    def make(config: Config, arm: str) -> Any:
        inside = searcher.local(config, arm)

        class Counting:
            info = inside.info

            def __call__(self, images: torch.Tensor) -> torch.Tensor:
                calls.append(len(images))
                return inside(images)

        return Counting()

    return make


def resumed(path: Path) -> tuple[dict[str, Any], int]:
    """Go on to the end; what the run says then, and how many batches were asked for that."""
    calls: list[int] = []
    searcher.go(path, make=counter(calls))
    said = searcher.reading(path)
    return {part: value for part, value in said.items() if part not in APART}, len(calls)


def places(size: int, step: int) -> list[int]:
    """Lengths to cut a file of this size to: each of its last 4,096 bytes missing, with all behind it."""
    return sorted({*range(max(0, size - TAIL), size, step), max(0, size - 1), max(0, size - TAIL)} - {size})


def run(*, short: bool) -> Outcome:
    """Cut, resume, compare; copies of one run for all cuts."""
    torch.set_num_threads(1)
    outcome = Outcome()
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    stuck: list[str] = []
    different: list[str] = []
    most = 0
    cuts: dict[str, int] = {}
    lost_something = 0
    with tempfile.TemporaryDirectory(prefix="torture-cuts-", dir=place) as folder:
        where = Path(folder)
        searcher.go(where / "twin", CONFIG)
        twin = {part: value for part, value in searcher.reading(where / "twin").items() if part not in APART}
        for name in ("asked", "answered", "saved", "closed"):
            origin = where / name
            if name == "closed":
                shutil.copytree(where / "twin", origin)
            else:
                killed(origin, name)
            plain = where / "plain"
            shutil.copytree(origin, plain)
            said, needed = resumed(plain)
            if said != twin:
                different.append(f"{name}: differs without any cut")
            shutil.rmtree(plain)
            for file in _files(origin, name):
                size = file.stat().st_size
                # The write-ahead log is cut at every byte after each kind of kill.
                step = max(1, min(size, TAIL) // 6) if short else 1
                for length in places(size, step):
                    path = where / "cut"
                    shutil.copytree(origin, path)
                    os.truncate(path / file.relative_to(origin), length)
                    what = f"{name}: {file.name} cut to {length} of {size}"
                    try:
                        said, calls = resumed(path)
                        most = max(most, calls - needed)
                        lost_something += calls > needed
                        if said != twin:
                            parts = [part for part in twin if said[part] != twin[part]]
                            different.append(f"{what}: {', '.join(parts)} differ")
                        elif damage := rundir.damage(path):
                            different.append(f"{what}: {damage[0]}")
                    except EvofoolError as error:
                        stuck.append(f"{what}: {error}")
                    shutil.rmtree(path)
                    kind = _kind(file)
                    cuts[kind] = cuts.get(kind, 0) + 1
    total = sum(cuts.values())
    outcome.figures = {"cuts": cuts, "cuts after which a batch was asked again": lost_something}
    outcome.none("cuts after which the run does not go on", stuck, total)
    outcome.none("cuts after which it ends otherwise", different, total)
    outcome.at_most("batches asked again", most, 1)
    for kind in ("write-ahead log", "checkpoint", "card of a checkpoint", "manifest"):
        outcome.at_least(f"cuts of the {kind}", cuts.get(kind, 0), 5 if short else 100)
    outcome.at_least("cuts of the write-ahead log that cost a batch", lost_something, 1)
    return outcome


def _files(origin: Path, name: str) -> list[Path]:
    if name == "closed":
        return [origin / "manifest.json"]
    states = sorted((origin / "state").iterdir())
    log = origin / "ledger.sqlite-wal"
    return [log, *states] if name == "saved" else [log]


def _kind(file: Path) -> str:
    if file.name == "manifest.json":
        return "manifest"
    if file.name.endswith("-wal"):
        return "write-ahead log"
    return "checkpoint" if file.suffix == ".safetensors" else "card of a checkpoint"
