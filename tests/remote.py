"""Small searches against classifiers that are far away, with known answers, and what is to hold after each of them."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from evofool.contracts import Answers, Classifier, Status
from evofool.errors import TargetError
from evofool.ledger import Ledger
from evofool.store import Store
from fakes import stream
from faults_program import NAMES, scores

SERVER = Path(__file__).with_name("faults_server.py")
BATCHES, ROWS = 4, 2
CALLS = BATCHES * ROWS  # of a search in which nothing fails, one image each
SHAPE = (1, 4, 4)
CANARY = 'c4n4ry+s/ng\\s=at"dawn~'  # with what is spelt otherwise in addresses and in JSON
VARIABLE = "EVOFOOL_TEST_KEY"
SPELLINGS = ("c4n4ry", "dawn", "YzRuNHJ5")  # its begin, its end, and its begin in base64

ANSWERED, FAILED = int(Status.ANSWERED), int(Status.FAILED)


def pictures() -> torch.Tensor:
    """Images [BATCHES ROWS C H W] on the lattice."""
    return (stream(BATCHES, seed=3)["pictures"].uniform(ROWS, *SHAPE) * 255).round() / 255


def known(images: torch.Tensor) -> torch.Tensor:
    """What the servers of the tests answer, worked out here."""
    return torch.tensor([scores(image.double().flatten().tolist()) for image in images])


@dataclass
class Search:
    """What came of one.

    Attributes:
        answers: of its batches, as far as it came.
        error: that ended it, if one did.
        waits: seconds that were asked for between tries.
        issued, failed: rows, by the books.
    """

    answers: list[Answers] = field(default_factory=list)
    error: TargetError | None = None
    waits: list[float] = field(default_factory=list)
    issued: int = 0
    failed: int = 0

    @property
    def status(self) -> list[int]:
        """Of every row that came back."""
        return [int(status) for answers in self.answers for status in answers.status]


def search(classifier: Classifier, file: Path | None = None) -> Search:
    """Ask about all pictures through a ledger; every score that comes back is right, and the books are."""
    found = Search()
    store = Store(file, owner=True) if file else Store()
    ledger = Ledger(classifier, searches=2, store=store, sleep=found.waits.append)
    try:
        for generation, images in enumerate(pictures()):
            found.answers.append(ledger.ask(images, torch.arange(ROWS), (generation,)))
    except TargetError as error:
        found.error = error
    for images, answers in zip(pictures(), found.answers, strict=False):
        there = answers.status == ANSWERED
        assert torch.allclose(answers.scores[there], known(images)[there], rtol=0, atol=1e-6), "a wrong score"
        assert bool(answers.scores[~there].isnan().all()), "a score without an answer"
    counts = ledger.counts
    found.issued, found.failed = int(counts.issued.sum()), int(counts.failed.sum())
    answered = sum(status == ANSWERED for status in found.status)
    assert int(counts.lost.sum()) == 0
    assert found.issued == int(counts.answered.sum()) + found.failed
    assert int(counts.answered.sum()) >= answered, "an answer is not in the books"
    if found.error is None:
        assert int(counts.answered.sum()) == answered
    store.close()
    return found


class Switch:
    """Passes calls on to one classifier, but some of them to another, which cannot answer."""

    def __init__(self, good: Classifier, bad: Classifier, first: int, last: int):
        self.info, self._good, self._bad, self._when = good.info, good, bad, (first, last)
        self.calls = self.fired = 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if not self._when[0] <= self.calls <= self._when[1]:
            return self._good(images)
        self.fired += 1
        return self._bad(images)


def spoken(error: BaseException | None) -> str:
    """All that an exception says, with everything that hangs on it."""
    words = []
    while error is not None:
        words += [str(error), repr(error), repr(error.args), *traceback.format_exception(error)]
        words += [repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "\n".join(words)


def no_canary(*things: Any) -> None:
    """The secret stands in none of these texts, nor in a file of these folders."""
    for thing in things:
        if isinstance(thing, Path):
            files = [path for path in thing.rglob("*") if path.is_file()]
            assert files, "nothing was written that could be looked through"
            texts = [path.read_bytes().decode(errors="replace") for path in files]
        else:
            texts = [thing if isinstance(thing, str) else repr(thing)]
        for text in texts:
            assert not any(spelling in text for spelling in SPELLINGS), "a secret has been told"


@contextmanager
def faults_server(*arguments: str) -> Iterator[dict[str, int]]:
    """The server of faults in a process of its own; its ports by name."""
    with subprocess.Popen(
        [sys.executable, str(SERVER), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(10)


def tally(port: int, case: str) -> dict[str, int]:
    """What the server of faults has counted for a case."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{case}/tally", timeout=10) as answer:
        counts = json.load(answer)
    return {"requests": 0, "images": 0, "fired": 0, "connections": 0, **counts}


def settings(**more: Any) -> dict[str, Any]:
    """What there is to say of the servers and programs of the tests."""
    return {"class_names": NAMES, "image_shape": SHAPE, "concurrency": 1, **more}
