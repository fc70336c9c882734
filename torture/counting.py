"""A classifier in another process counts every row before it answers: no run is shown more than it was charged.

The count is the classifier's own: a line appended to a file before the answer leaves. Runs are short, have 8 worker
processes each, and meet answers that come too late, hang up, or are refused; they are killed and resumed. The same
harness has to catch a ledger that charges after sending.
"""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import socket
import socketserver
import struct
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

import searcher
from bars import Outcome
from evofool.accounts import COLUMNS
from evofool.contracts import ClassifierInfo
from evofool.errors import TargetError
from evofool.store import Store
from kills import fork, kill, wait
from searcher import Config

WORKERS = 8
SIDE = 4
CLASSES = 5
PATIENCE = 0.05  # seconds that an asker waits
HEAD = struct.Struct("<HI")  # length of the name, rows
FAULTS = ("late", "hangs up", "error", "refused")


class Target(socketserver.ThreadingUnixStreamServer):
    """Counts, then misbehaves as the name of the asker says, or answers.

    A name is RUN|SEARCH|RATE: each of the four faults happens at that rate.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: str, tally: Path, seed: int):
        super().__init__(address, _Request)
        self.tally = os.open(tally, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.draw = random.Random(seed)
        self.turn = threading.Lock()
        self.weight = np.random.default_rng(7).integers(-9, 10, size=(SIDE * SIDE, CLASSES))

    def note(self, name: str, what: str, rows: int) -> None:
        """Write a line, before anything else happens."""
        os.write(self.tally, f"{name}|{what}|{rows}\n".encode())

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An asker that was killed reads no answer; that is no fault of this side."""


class _Request(socketserver.BaseRequestHandler):
    server: Target

    def handle(self) -> None:
        head = self.read(HEAD.size)
        length, rows = HEAD.unpack(head)
        name = self.read(length).decode()
        pixels = np.frombuffer(self.read(rows * SIDE * SIDE), dtype=np.uint8).reshape(rows, -1)
        with self.server.turn:
            chance = self.server.draw.random() / max(1e-9, float(name.rpartition("|")[2]))
            pause = self.server.draw.random() * 0.004
        fault = FAULTS[int(chance)] if chance < len(FAULTS) else ""
        if fault == "refused":
            self.server.note(name, fault, 0)
            self.request.sendall(b"n")
            return
        self.server.note(name, fault or "answered", rows)
        if fault == "hangs up":
            return
        if fault == "error":
            self.request.sendall(b"n")
            return
        time.sleep(4 * PATIENCE if fault == "late" else pause)
        answer = (pixels.astype(np.int64) @ self.server.weight).astype("<f4") / 255
        self.request.sendall(b"y" + answer.tobytes())

    def read(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self.request.recv(count - len(parts))
            if not part:
                raise ConnectionError
            parts += part
        return parts


class Remote:
    """The side that asks: one attempt for each call."""

    def __init__(self, address: str, name: str, config: Config):
        self.info = ClassifierInfo(
            name="remote",
            kind="logits",
            class_names=tuple(map(str, range(CLASSES))),
            image_shape=(1, SIDE, SIDE),
            fingerprint="00" * 32,
            micro_batch=config.micro_batch,
            concurrency=config.concurrency,
            metered=True,
        )
        self._address, self._name = address, name.encode()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        pixels = (images * 255).round().to(torch.uint8).contiguous().numpy().tobytes()
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(PATIENCE)
                line.connect(self._address)
                line.sendall(HEAD.pack(len(self._name), len(images)) + self._name + pixels)
                expected = 1 + 4 * CLASSES * len(images)
                answer = b""
                while len(answer) < expected:
                    part = line.recv(expected - len(answer))
                    if not part:
                        raise ConnectionError("it hung up" if not answer else "it refused")
                    answer += part
        except OSError as error:  # a timeout too
            raise TargetError(f"no answer ({error})", retry_after=0.001) from None
        return torch.from_numpy(np.frombuffer(answer[1:], "<f4").reshape(-1, CLASSES).copy())


def nap(seconds: float) -> None:
    """Wait between two tries, but not as long as one would elsewhere."""
    time.sleep(min(seconds, 0.002))


def serve(folder: Path, seed: int) -> int:
    """Start the classifier in a process of its own; returns its id."""
    address, tally = str(folder / "target"), folder / "tally"

    def work() -> None:
        with Target(address, tally, seed) as server:
            server.serve_forever(poll_interval=0.5)

    pid = fork(work, folder / "target.log")
    deadline = time.monotonic() + 10
    while not os.path.exists(address):
        if time.monotonic() > deadline:
            raise RuntimeError("the counting classifier did not start")
        time.sleep(0.005)
    return pid


@dataclasses.dataclass
class Campaign:
    """Runs of one kind, and what came of them.

    Attributes:
        runs: how many ended.
        kills, faults: what they met.
        charged, seen: rows, by the ledger and by the classifier.
        over_budget, unaccounted, unequal, stuck: what must not happen.
    """

    runs: int = 0
    kills: int = 0
    clean: int = 0
    resumed: int = 0
    charged: int = 0
    seen: int = 0
    lost: int = 0
    faults: Counter[str] = dataclasses.field(default_factory=Counter)
    over_budget: list[str] = dataclasses.field(default_factory=list)
    unaccounted: list[str] = dataclasses.field(default_factory=list)
    unequal: list[str] = dataclasses.field(default_factory=list)
    stuck: list[str] = dataclasses.field(default_factory=list)


def configuration(number: int, draw: random.Random, *, planted: bool) -> tuple[Config, float, int]:
    """One short run: its configuration, the rate of each fault, and how often it is killed.

    Every fourth run meets no harm at all; most have budgets that bind.
    """
    arms = tuple(searcher.arms())
    config = Config(
        arms=arms,
        searches=1,
        population=draw.choice((4, 6, 9)),
        generations=draw.choice((2, 3)),
        side=SIDE,
        seed=number,
        budget=draw.choice((None, 10, 14)),
        total=draw.choice((None, 40, 70)),
        every=draw.choice((0.0, 0.02, 5.0)),
        metered=True,
        micro_batch=draw.choice((2, 3, 5)),
        concurrency=draw.choice((1, 2)),
        workers=WORKERS,
        planted=planted,
    )
    if planted:  # what is to be caught shows only where something goes wrong
        return config, draw.choice((0.06, 0.12)), draw.choice((2, 3, 4))
    harmless = number % 4 == 0
    return config, 0.0 if harmless else draw.choice((0.0, 0.02, 0.06)), 0 if harmless else draw.choice((0, 1, 2, 3))


def campaign(folder: Path, runs: int, draw: random.Random, *, least: int = 0, planted: bool = False) -> Campaign:
    """Run that many, one after the other, each with its workers side by side; more, until at least so many are killed.

    On a busy machine a kill may come too late; after three times as many runs it is left at that.
    """
    folder.mkdir()
    server = serve(folder, draw.randrange(1 << 30))
    result = Campaign()
    took = 0.5  # seconds of the last run that nobody killed
    address = str(folder / "target")
    plans: dict[str, tuple[Config, float, int]] = {}
    harmed: set[str] = set()
    books: dict[str, dict[str, dict[str, int]]] = {}
    try:
        for number in range(3 * runs):
            if number >= runs and result.kills >= least:
                break
            config, rate, kills = configuration(number, draw, planted=planted)
            name, path = str(number), folder / f"run-{number}"
            plans[name] = (config, rate, kills)

            def make(config: Config, arm: str, name: str = name, rate: float = rate) -> Remote:
                return Remote(address, f"{name}|{arm}|{rate}", config)

            def work(path: Path = path, config: Config = config, make: Any = make) -> None:
                searcher.go(path, config, make=make, sleep=nap)

            log = folder / f"run-{number}.log"
            for start in range(40):
                begun = time.monotonic()
                pid = fork(work, log)
                if kills and start < 12:
                    code = wait(pid, draw.uniform(0.05, 0.9) * took)
                    if code is None:
                        kill(pid, group=draw.random() < 0.5)
                        kills -= 1
                        result.kills += 1
                        harmed.add(name)
                        continue
                else:
                    code = wait(pid, 60.0)
                    took = time.monotonic() - begun if start == 0 else took
                if code is None:
                    kill(pid, group=True)
                if code == 3:  # the target failed: a user resumes
                    harmed.add(name)
                    result.resumed += 1
                    continue
                break
            if code != 0:
                harmed.add(name)
                result.stuck.append(f"run {name} ended with {code}: {' | '.join(log.read_text().splitlines())[-300:]}")
            if not (path / "ledger.sqlite").is_file():
                continue
            store = Store(path / "ledger.sqlite")
            books[name] = store.counts()
            store.abandon()
            result.runs += 1
            shutil.rmtree(path)
            log.unlink()
    finally:
        time.sleep(5 * PATIENCE)  # answers that come late are counted already, but let their threads end
        kill(server, group=False)
    compare(folder / "tally", plans, books, harmed, result)
    return result


def compare(
    tally: Path,
    plans: dict[str, tuple[Config, float, int]],
    books: dict[str, dict[str, dict[str, int]]],
    harmed: set[str],
    result: Campaign,
) -> None:
    """The classifier's own count beside the ledgers and the budgets."""
    seen: dict[tuple[str, str], int] = {}
    for line in tally.read_text().splitlines():
        name, arm, _, what, rows = line.split("|")
        seen[name, arm] = seen.get((name, arm), 0) + int(rows)
        if what != "answered":
            result.faults[what] += 1
            harmed.add(name)
    for name, accounts in books.items():
        config = plans[name][0]
        clean = name not in harmed
        result.clean += clean
        rows_seen = sum(count for (run, _), count in seen.items() if run == name)
        charged = sum(count["issued"] for count in accounts.values())
        result.charged += charged
        result.seen += rows_seen
        result.lost += sum(count["lost"] for count in accounts.values())
        if config.total is not None and rows_seen > config.total:
            result.over_budget.append(f"run {name}: the classifier saw {rows_seen} of at most {config.total}")
        if rows_seen > charged:
            result.unaccounted.append(f"run {name}: the classifier saw {rows_seen}, the ledger says {charged}")
        if clean and rows_seen != charged:
            result.unequal.append(f"run {name}: the classifier saw {rows_seen}, the ledger says {charged}")
        for account, count in accounts.items():
            arm = account.rpartition("/")[0]
            here = seen.get((name, arm), 0)
            if config.budget is not None and here > config.budget:
                result.over_budget.append(f"run {name}: {arm} asked {here} of at most {config.budget}")
            if here > count["issued"]:
                result.unaccounted.append(f"run {name}: {arm} asked {here}, the ledger says {count['issued']}")
            if clean and here != count["issued"]:
                result.unequal.append(f"run {name}: {arm} asked {here}, the ledger says {count['issued']}")
            assert set(count) == set(COLUMNS)


def run(*, short: bool, seed: int = 0) -> Outcome:
    """The runs, and then a ledger that charges after sending, which has to be caught."""
    torch.set_num_threads(1)
    outcome = Outcome()
    draw = random.Random(seed)
    # What is tested is what a killed process leaves, so memory is disk enough where there is such a place.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="torture-counting-", dir=place) as folder:
        found = campaign(Path(folder) / "ours", 12 if short else 500, draw, least=4 if short else 300)
        planted = campaign(Path(folder) / "planted", 10 if short else 60, draw, planted=True)
    outcome.figures = {
        "runs": found.runs,
        "workers": WORKERS,
        "kills": found.kills,
        "ended by the target and resumed": found.resumed,
        "runs without any harm": found.clean,
        "faults": dict(found.faults),
        "rows charged": found.charged,
        "rows lost": found.lost,
        "rows that the classifier saw": found.seen,
        "planted": {
            "runs": planted.runs,
            "kills": planted.kills,
            "runs that showed more than was charged": len(planted.unaccounted),
            "budgets exceeded": len(planted.over_budget),
        },
    }
    outcome.at_least("runs", found.runs, 12 if short else 500)
    outcome.at_least("kills", found.kills, 4 if short else 300)
    outcome.at_least("faults of the classifier", found.faults.total(), 3 if short else 300)
    outcome.at_least("runs without any harm", found.clean, 2 if short else 100)
    outcome.none("runs that did not end", found.stuck, found.runs)
    outcome.none("budgets exceeded, by the classifier's own count", found.over_budget, found.runs)
    outcome.none("more seen than charged", found.unaccounted, found.runs)
    outcome.none("other than charged, where nothing failed", found.unequal, found.clean)
    # Its own books may have noticed at a resume, which is as good; anything else means that it was not tried.
    broken = [line for line in planted.stuck if "does not add up" not in line]
    outcome.none("a ledger that charges after sending: runs that broke off otherwise", broken, planted.runs)
    outcome.at_least("a ledger that charges after sending is caught: uncharged", len(planted.unaccounted), 1)
    if not short:
        outcome.at_least("a ledger that charges after sending is caught: over budget", len(planted.over_budget), 1)
    return outcome
