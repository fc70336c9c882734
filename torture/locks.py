"""Who works on a run: the lock of a dead process is taken over, that of a live one is respected."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import searcher
from bars import Outcome
from evofool import files, locks, rundir
from evofool.errors import EvofoolError, UserError
from kills import fork, kill, wait
from searcher import Config

CONFIG = Config(generations=3, side=4, arms=("ga copies", "ga mutation only"))
LINGER = 0.5  # seconds that a worker of a dead owner still lives


def hold(path: Path) -> int:
    """A process that owns a run until it is killed; it has asked something."""
    ready = path.with_name(f"{path.name}.ready")
    ready.unlink(missing_ok=True)

    def work() -> None:
        def watch(progress: Any) -> None:
            ready.touch()
            signal.pause()

        searcher.go(path, CONFIG, watch=watch)

    pid = fork(work, path.with_name(f"{path.name}.log"))
    deadline = time.monotonic() + 30
    while not ready.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the owner did not start: {path.with_name(f'{path.name}.log').read_text()}")
        time.sleep(0.002)
    return pid


def worker(path: Path, seconds: float) -> int:
    """A process that a dead owner has started, and that ends some time later."""
    ready = path.with_name(f"{path.name}.joined")
    ready.unlink(missing_ok=True)

    def work() -> None:
        store = rundir.join(path)
        ready.touch()
        time.sleep(seconds)
        store.abandon()

    pid = fork(work, path.with_name(f"{path.name}.log"))
    while not ready.exists():
        time.sleep(0.002)
    return pid


def run(*, short: bool, seed: int = 0) -> Outcome:
    """Own, be killed, take over; own, and be asked by another."""
    torch.set_num_threads(1)
    outcome = Outcome()
    draw = random.Random(seed)
    dead, slow, live, others = [], [], [], []
    wrong: list[str] = []
    rounds = 3 if short else 20
    with tempfile.TemporaryDirectory(prefix="torture-locks-") as folder:
        where = Path(folder)
        for number in range(rounds):
            path = where / f"run-{number}"
            owner = hold(path)
            # A live owner: another process, this one, is sent away; at once, by name, and without a trace.
            before = (path / "ledger.sqlite-wal").read_bytes()
            for attempt in (rundir.RunDirectory.open, lambda p: rundir.RunDirectory.create(p, {})):
                started = time.monotonic()
                try:
                    attempt(path).abandon()
                    wrong.append(f"{path.name}: somebody else's run was taken")
                except UserError as error:
                    live.append(time.monotonic() - started)
                    if attempt == rundir.RunDirectory.open and str(owner) not in str(error):
                        wrong.append(f"{path.name}: does not say who works on it: {error}")
            if not locks.is_owned(path):
                wrong.append(f"{path.name}: is not seen to be locked")
            if (path / "ledger.sqlite-wal").read_bytes() != before or os.waitpid(owner, os.WNOHANG)[0]:
                wrong.append(f"{path.name}: the owner was disturbed")
            # A dead one, now and then with a worker that lives a little longer.
            lingering = worker(path, LINGER) if number % 3 == 2 else 0
            time.sleep(draw.uniform(0, 0.02))
            kill(owner, group=False)
            started = time.monotonic()
            try:
                rundir.RunDirectory.open(path).abandon()
                took = time.monotonic() - started
                (slow if lingering else dead).append(took)
                if lingering and wait(lingering, 0.0) is None and took < LINGER / 2:
                    wrong.append(f"{path.name}: a worker of the dead owner was still writing")
            except EvofoolError as error:
                wrong.append(f"{path.name}: was not taken over: {error}")
            if lingering:
                others.append(lingering)
            searcher.go(path)
            wrong += [f"{path.name}: {line}" for line in rundir.damage(path)]
        # Two at the same moment: one of them gets it.
        for number in range(rounds):
            path = where / f"race-{number}"
            kill(hold(path), group=False)
            logs = [where / f"race-{number}-{side}.log" for side in (0, 1)]
            pids = [fork(lambda p=path: searcher.go(p) and None, log) for log in logs]
            codes = [wait(pid, 60.0) for pid in pids]
            if 0 not in codes or any(code not in (0, 2) for code in codes):
                wrong.append(f"{path.name}: ended with {codes}: {[log.read_text()[-200:] for log in logs]}")
        # SQLite's log needs shared memory.
        real = files.filesystem
        refused = 0
        try:
            for kind in ("nfs4", "cifs", "9p", "fuse.sshfs"):
                files.filesystem = lambda *_, kind=kind, **__: kind  # type: ignore[assignment]
                try:
                    rundir.RunDirectory.create(where / "network", {"kind": "torture", "config": {}}).abandon()
                    wrong.append(f"a run was begun on {kind}")
                except UserError as error:
                    refused += kind in str(error)
        finally:
            files.filesystem = real
    outcome.figures = {
        "dead owners": len(dead),
        "slowest take-over, seconds": round(max(dead), 4),
        "dead owners with a worker that lived on": len(slow),
        "slowest of those, seconds": round(max(slow), 4) if slow else None,
        "live owners asked": len(live),
        "slowest refusal, seconds": round(max(live), 4),
        "races": rounds,
        "network file systems refused": refused,
    }
    outcome.at_most("slowest take-over of a dead owner's lock", max(dead), 2, " s")
    if slow:
        outcome.at_most(f"the same with a worker that lives {LINGER} s longer", max(slow), 2, " s")
    outcome.at_least("refusals by a live owner", len(live), 2 * rounds)
    outcome.at_least("kinds of network file systems refused", refused, 4)
    outcome.none("locks that did not hold, or held too long", wrong, 2 * rounds)
    return outcome
