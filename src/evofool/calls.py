"""How rows become calls of a local classifier: full ones, and smaller ones that are known to answer bit for bit alike.

An image must have the same scores whoever is asked about beside it, and libraries may round otherwise in a call of
another size. So a call is filled to `info.micro_batch` rows by repeating one, unless it has been tried that the
classifier gives random images the very same bits in smaller calls.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from .contracts import Classifier
from .rng import Stream, untouched
from .shapes import Float, Tensor

SMALLEST = 4  # rows of a call; 1 and 2 are multiplied with other routines, which round otherwise
CALL = 2  # what a call takes beside its rows, in rows
TELLING = 0.5  # share of scores that have to differ from all others: what is 0 or 1 hides how it was rounded


class Calls:
    """The calls of one classifier, for one who asks it.

    What rows are filled with is counted. When this comes to as many rows as trying takes, calls of 4, 8, 16, ... rows
    are tried, and when it does so again, those of sizes in between: so that trying never takes more than was spent on
    filling. What was tried once in this process is known to all who ask; but each takes smaller calls only when it
    would have tried them itself, so that how many rows are padded depends on nobody else. What is tried is outside
    every account.

    Attributes:
        sizes: of calls that are answered like full ones, the smallest first; without the full one.

    Args:
        classifier: it is tried if it is `steady`, see `contracts.Classifier`; computes on the CPU, since elsewhere a
            few rows take as long as many; and gives logits or probabilities: labels hide how scores were rounded.
    """

    def __init__(self, classifier: Classifier):
        info = classifier.info
        self._classifier = classifier
        self._full = info.micro_batch
        steady = bool(getattr(classifier, "steady", False)) and not info.remote and info.device == "cpu"
        self._able = steady and info.kind in ("logits", "probabilities") and self._full > SMALLEST
        self._forget()

    def _forget(self) -> None:
        self.sizes: tuple[int, ...] = ()
        self._wasted = 0
        self._turns = _turns(self._full)
        self._threads = torch.get_num_threads()

    def cut(self, rows: Sequence[int], full: int) -> Iterator[Sequence[int]]:
        """The rows of each call, ranges of a range.

        Args:
            rows: what is asked about.
            full: rows of a call, fewer than `info.micro_batch` where memory ran out.
        """
        first = 0
        for size in self._plan(len(rows), full):
            yield rows[first : first + size]
            first += size

    def size(self, rows: int, full: int) -> int:
        """To how many rows a call is filled."""
        return min((size for size in self.sizes if rows <= size < full), default=full)

    def try_smaller(self, rows: int, full: int, ask: Callable[[Tensor], np.ndarray]) -> None:
        """Try smaller calls, if filling calls has taken so much by now.

        Args:
            rows: that are asked about next.
            full: see `cut`.
            ask: one call.
        """
        if not self._able:
            return
        if torch.get_num_threads() != self._threads:  # who work together cut the work up in another way
            self._forget()
        if not self._turns or full < self._full:
            return
        self._wasted += sum(self._plan(rows, full)) - rows
        sizes = [size for size in self._turns[0] if size > min(self.sizes, default=0)]  # below, one answers otherwise
        if not sizes or self._wasted < _takes(self._full, sizes):
            return
        self._wasted, self._turns = 0, self._turns[1:]
        try:
            known = _tried.setdefault(self._classifier, {})
        except TypeError:  # it cannot stand in a dictionary
            known = {}
        what = (self._threads, *sizes)
        if what not in known:
            with untouched():
                known[what] = _alike(self._full, sizes, self._classifier.info.image_shape, ask)
        self.sizes = tuple(sorted((*self.sizes, *known[what])))
        if not self.sizes:
            self._turns = []

    def _plan(self, rows: int, full: int) -> list[int]:
        calls, left = divmod(rows, full)
        return [full] * calls + list(_cheapest(left, (*(size for size in self.sizes if size < full), full)))


# What came of it, by classifier; by number of threads, and the sizes that were tried.
_tried: weakref.WeakKeyDictionary[Classifier, dict[tuple[int, ...], tuple[int, ...]]] = weakref.WeakKeyDictionary()


def _takes(full: int, sizes: Sequence[int]) -> int:
    """Rows that trying these sizes takes: a full call, and the same images in calls of each."""
    return full + sum(-(-full // size) * size for size in sizes)


def _turns(full: int) -> list[list[int]]:
    """Sizes that are tried together: 4, 8, 16, ...; then multiples of 4 in between, at most three each time."""
    powers = [size for power in range(20) if (size := SMALLEST << power) < full]
    between = {size * quarters // 4 for size in powers for quarters in (5, 6, 7)}
    turns = [powers, sorted(size for size in between if size < full and size % SMALLEST == 0)]
    return [sizes for sizes in turns if sizes]


@functools.lru_cache(maxsize=4096)
def _cheapest(rows: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Calls for so many rows: the smallest that holds them, or the largest that they fill and what that leaves.

    What takes less is chosen; a call takes its size and `CALL` rows.
    """
    if not rows:
        return ()
    one = (next(size for size in sizes if size >= rows),)
    largest = max((size for size in sizes if size <= rows), default=0)
    several = (largest, *_cheapest(rows - largest, sizes)) if largest else one
    return min(one, several, key=lambda calls: sum(calls) + CALL * len(calls))


def _alike(
    full: int, sizes: Sequence[int], shape: tuple[int, int, int], ask: Callable[[Tensor], np.ndarray]
) -> tuple[int, ...]:
    """Which of these sizes, and all above them, are answered like full calls."""
    images = _random_images(full, shape)
    found: tuple[int, ...] = ()
    try:
        answers = ask(images)
        if not np.isfinite(answers).all() or len(np.unique(answers)) < TELLING * answers.size:
            return found
        for size in reversed(sizes):
            # Each place in a small call, and each in the full one; the last small one is filled like any other.
            for first in range(0, full, size):
                part = images[first : first + size]
                rows = len(part)
                if ask(filled(part, size))[:rows].tobytes() != answers[first : first + rows].tobytes():
                    return found
            found = (size, *found)
    except Exception:
        pass  # a model that does not take calls of other sizes gets none
    return found


def filled(images: Float[Tensor, "n C H W"], size: int) -> Float[Tensor, "size C H W"]:
    """With the last one repeated until there are so many."""
    return torch.cat([images, images[-1:].expand(size - len(images), -1, -1, -1)]) if len(images) < size else images


def _random_images(count: int, shape: tuple[int, int, int]) -> Float[Tensor, "N C H W"]:
    """Gray levels of bytes, each image between a darkest and a lightest one of its own."""
    rng = Stream([0] * count, range(count), name="calls")
    low, high = rng["range"].uniform(2, 1, 1, 1).sort(1).values.unbind(1)
    levels = ((low + (high - low) * rng["levels"].uniform(*shape)) * 255).round()
    return levels / 255
