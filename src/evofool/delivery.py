"""Gets the rows of one request answered: calls of one size, tries, waits, smaller calls, single images.

Whoever keeps the books is told before anything is sent, and after everything that failed.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, Protocol

import numpy as np

from .calls import Calls, filled
from .contracts import Classifier, Status
from .errors import ClassifierError, OutOfMemoryError, TargetError
from .shapes import Float, Tensor

TRIES = 5  # of a request to a metered classifier
REFUSALS = 20  # of a request by a target that is busy and answers others
IN_A_ROW = 5  # failures without an answer between them: the target is given up
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds between two tries, where the target does not say how long
LONGEST_ASKED = 3600.0  # seconds; a target that asks for more is asked again in another session
_SLICE = 0.1  # seconds between two looks at whether somebody wants to stop

_ANSWERED, _FAILED, _UNSENT = (int(status) for status in (Status.ANSWERED, Status.FAILED, Status.UNSENT))


class Books(Protocol):
    """Who charges a request. Rows are places in it; all of them are charged when it is handed over."""

    def failed(self, done: Delivered, rows: Sequence[int], never_sent: Sequence[int]) -> None:
        """What is on its way has failed for `rows`; the charge for those that were never sent is taken back."""

    def again(self, done: Delivered, rows: Sequence[int]) -> list[int]:
        """Charge rows once more; those that the budget reaches."""


class StoppedError(TargetError):
    """A request was not sent again, because another one ended the run, or somebody did."""


class Delivered:
    """What is known of the rows of a request.

    Attributes:
        scores: [n K], NaN where there is no answer.
        status: [n].
        padded: rows that filled calls.
    """

    def __init__(self, rows: int, classes: int):
        self.scores = np.full((rows, classes), np.nan, dtype=np.float32)
        self.status = np.full(rows, _UNSENT, dtype=np.int8)
        self.padded = 0

    def take(self, rows: Sequence[int], answer: np.ndarray) -> None:
        """Answers that came; NaN somewhere, or no finite score to choose, is none."""
        into = _places(rows)
        usable = np.isfinite(answer.max(1))
        if usable.all():
            self.scores[into], self.status[into] = answer, _ANSWERED
        else:
            self.scores[into] = np.where(usable[:, None], answer, np.nan)
            self.status[into] = np.where(usable, _ANSWERED, _FAILED)


class Delivery:
    """The way to one classifier.

    A local one gets calls of `info.micro_batch` rows, the last one padded, or smaller ones that are known to answer
    alike, see `calls`. A call that it fails at is cut in halves until the images are found that it fails at; these have
    no answer. When there is not memory enough, all calls become
    half as large from then on, which may change how scores are rounded: `on_smaller` is told.

    A remote one gets a request as a whole, and again after a failure, up to `tries` times; the wait doubles from try
    to try, or is what the target asks for. A request that may not be sent again, or has been tried often enough, leaves
    its images without an answer. To be refused by a target that is busy says nothing of the images, so it counts as no
    try as long as the target answers others; but after 20 of them it is taken for more than chance.

    Five failures in a row, of whatever requests, and the target is given up; failures of requests that were in flight
    together count as one. The waiting is ours and not a library's: it has to end when somebody presses Ctrl-C, and to
    draw nothing from a global generator.

    Args:
        classifier: what is asked.
        tries: how often a request to a metered classifier is sent.
        sleep: waits between two tries; None = a wait that ends early when the run is to be stopped.
        on_smaller: told of the new number of rows in a call.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        tries: int | None = None,
        sleep: Callable[[float], None] | None = None,
        on_smaller: Callable[[int], None] | None = None,
    ):
        self.classifier = classifier
        self.size = classifier.info.micro_batch
        self._calls = Calls(classifier)
        self._tries = tries or TRIES
        self._sleep = sleep
        self._on_smaller = on_smaller
        self._in_a_row = 0
        self._failures = 0  # that were counted, ever
        self._given_up = threading.Event()
        self._lock = threading.Lock()

    def deliver(self, images: Float[Tensor, "n C H W"], books: Books, held: Sequence[int] = ()) -> Delivered:
        """Get a request answered as far as that is possible.

        Args:
            images: its rows.
            books: who charges.
            held: fills up with signals that wait until the work is done; no wait is begun or continued then.

        Raises:
            TargetError: the target is given up; what was not answered can be asked again later.
            ClassifierError: it answers in another shape than it declares.
        """
        done = Delivered(len(images), len(self.classifier.info.class_names))
        if self.classifier.info.remote:
            self._with_tries(images, books, done, held)
        else:
            self._in_calls(images, books, done)
        return done

    def begin(self) -> None:
        """Somebody asks again: a target that was given up gets another chance."""
        if self._given_up.is_set():
            self._given_up.clear()
            self._in_a_row = 0

    def stop(self) -> None:
        """End all waits: nothing more is sent."""
        self._given_up.set()

    @property
    def stopped(self) -> bool:
        """Whether the target was given up, or the work on it stopped."""
        return self._given_up.is_set()

    # A local classifier -------------------------------------------------------------------------------------------

    def _in_calls(self, images: Tensor, books: Books, done: Delivered) -> None:
        self._calls.try_smaller(len(images), self.size, self._asked)
        waiting: deque[Sequence[int]] = deque(self._cut(range(len(images))))
        charged = True  # with the request; after the first failure each call by itself
        tried_elsewhere = False
        while waiting:
            part = waiting.popleft()
            if not charged:
                part = books.again(done, part)
                if not part:
                    continue
            try:
                answer = self._call(images if len(part) == len(images) else images[_places(part)], done)
            except TargetError as error:
                books.failed(done, part, [row for later in waiting for row in later] if charged else [])
                charged = False
                parts = [*self._smaller(part, error, done), *waiting]
                waiting = deque(piece for rows in parts for piece in self._cut(rows))
                if len(part) == 1 and self._suspect(done, error, tried_elsewhere):
                    waiting.rotate(1)  # is it these images, or everything? The farthest ones will tell
                    tried_elsewhere = True
            else:
                done.take(part, answer)
        if bool((done.status == _ANSWERED).any()):
            self._in_a_row = 0
        elif not charged and bool((done.status == _FAILED).any()):
            self._in_a_row += 1
            if self._in_a_row == IN_A_ROW:
                self._give_up(TargetError("no image of the last requests was answered"), IN_A_ROW)

    def _smaller(self, part: Sequence[int], error: TargetError, done: Delivered) -> Iterator[Sequence[int]]:
        """What a call that failed becomes."""
        if error.fatal:
            self._given_up.set()
            raise error
        if isinstance(error, OutOfMemoryError):
            if len(part) == 1 or self.size == 1:
                words = f"{error}; there is not memory enough for a single image: make room and resume"
                raise TargetError(words, fatal=True) from error
            self.size = (self._calls.size(len(part), self.size) + 1) // 2
            if self._on_smaller:
                self._on_smaller(self.size)
            return self._cut(part)
        if len(part) > 1:
            half = (len(part) + 1) // 2
            return iter((part[:half], part[half:]))
        done.status[part] = _FAILED
        return iter(())

    def _suspect(self, done: Delivered, error: TargetError, tried_elsewhere: bool) -> bool:
        """Whether, after an image that a model fails at, it looks as if it failed at all of them.

        Raises:
            TargetError: it does, and so do images far from the first ones.
        """
        alone = int((done.status == _FAILED).sum())
        if alone < IN_A_ROW or bool((done.status == _ANSWERED).any()):
            return False
        if tried_elsewhere and alone > IN_A_ROW:
            self._give_up(error, alone)
        return not tried_elsewhere

    def _cut(self, rows: Sequence[int]) -> Iterator[Sequence[int]]:
        return self._calls.cut(rows, self.size)

    def _call(self, images: Tensor, done: Delivered) -> np.ndarray:
        """The scores of so many rows in one call, padded to its size."""
        count = len(images)
        images = filled(images, self._calls.size(count, self.size))
        answer = self._asked(images)[:count]
        done.padded += len(images) - count
        return answer

    # A metered one ------------------------------------------------------------------------------------------------

    def _with_tries(self, images: Tensor, books: Books, done: Delivered, held: Sequence[int]) -> None:
        rows: Sequence[int] = range(len(images))
        failures = 0  # that may lie in the request itself
        for number in itertools.count():
            if not rows:
                return
            before = self._failures
            try:
                answer = np.concatenate([self._asked(images[_places(part)]) for part in self._cut(rows)])
            except TargetError as error:
                books.failed(done, rows, [])
                self._count(error, before)
                failures += not error.busy
                if not error.again or failures == self._tries or number + 1 == max(REFUSALS, self._tries):
                    done.status[rows] = _FAILED
                    return
                self._wait(number, error, held)
                rows = books.again(done, rows)
            else:
                done.take(rows, answer)
                self._in_a_row = 0
                return

    def _wait(self, number: int, error: TargetError, held: Sequence[int]) -> None:
        seconds = max(min(LONGEST_WAIT, FIRST_WAIT * 2**number), error.retry_after or 0.0)
        if seconds > LONGEST_ASKED:
            raise TargetError(f"{error}; it asks to wait {seconds:,.0f} s: try again then", fatal=True) from error
        if self._sleep:
            self._sleep(seconds)
            return
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if held or self._given_up.wait(min(left, _SLICE)):
                raise StoppedError(f"{error}; not sent again, because the run is stopped", fatal=True) from error

    # Either -------------------------------------------------------------------------------------------------------

    def _count(self, error: TargetError, before: int) -> None:
        """One more failure without an answer; `before` were counted when it was sent.

        Raises:
            TargetError: it is one too many, or nothing more is to be asked.
        """
        if error.fatal:
            self._given_up.set()
            raise error
        with self._lock:
            if self._failures > before:
                return  # another one that was in flight with it was counted
            self._failures += 1
            self._in_a_row += 1
            if self._in_a_row < IN_A_ROW:
                return
        self._give_up(error, IN_A_ROW)

    def _give_up(self, error: TargetError, failures: int) -> NoReturn:
        self._given_up.set()
        words = f"{failures} failures in a row, the last one: {error}; see that it runs, then try again"
        raise TargetError(words, retry_after=error.retry_after, fatal=True) from error

    def _asked(self, images: Tensor) -> np.ndarray:
        """One call.

        Raises:
            ClassifierError: its answer has another shape than it declares, or holds no probabilities where it says so.
        """
        info = self.classifier.info
        scores = self.classifier(images)
        if scores.shape != (len(images), len(info.class_names)):
            raise ClassifierError(
                f"{info.name} answered with scores of shape {tuple(scores.shape)}; expected "
                f"{(len(images), len(info.class_names))}: one row an image, one column for each of its classes"
            )
        if info.kind == "probabilities" and bool(((scores < -1e-6) | (scores > 1 + 1e-6)).any()):
            low, high = scores.nan_to_num(0.5).aminmax()
            raise ClassifierError(
                f"{info.name} declares probabilities, but answered {float(low):.4g} to {float(high):.4g}; "
                f"expected [0, 1]: does it give logits?"
            )
        return scores.numpy()


def _places(rows: Sequence[int]) -> slice | list[int]:
    """To index with: neighbours as a slice, which copies nothing."""
    return slice(rows.start, rows.stop) if isinstance(rows, range) else list(rows)
