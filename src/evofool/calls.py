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

from .contracts import Classifier, ClassifierInfo
from .rng import Stream, untouched
from .shapes import Float, Tensor

SMALLEST = 4  # rows of a call; 1 and 2 are multiplied with other routines, which round otherwise
CALL = 2  # what a call takes beside its rows, in rows
TELLING = 0.5  # share of scores that have to differ from all others: what is 0 or 1 hides how it was rounded


class Calls:
    """The calls of one classifier.

    What rows are filled with is counted. When this comes to as many rows as trying takes, calls of 4, 8, 16, ... rows
    are tried: so that it never takes more than twice what it could have spared.

    Attributes:
        sizes: of calls that are answered like full ones, the smallest first; without the full one.

    Args:
        info: of the classifier.
        steady: its answers depend on nothing but the images, and it may be asked besides; see `contracts.Classifier`.
    """

    def __init__(self, info: ClassifierInfo, *, steady: bool):
        self._full = info.micro_batch
        self._shape = info.image_shape
        # On other devices a few rows take as long as many. Labels do not show how scores were rounded.
        able = steady and info.device == "cpu" and not info.remote and info.kind in ("logits", "probabilities")
        self._able = able and self._full > SMALLEST
        self._forget()

    def _forget(self) -> None:
        self.sizes: tuple[int, ...] = ()
        self._wasted = 0
        self._tried = not self._able
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

    def try_smaller(self, rows: int, full: int, ask: Callable[[Tensor], np.ndarray]) -> int:
        """Try smaller calls, if filling calls has taken so much by now.

        Args:
            rows: that are asked about next.
            full: see `cut`.
            ask: one call.

        Returns:
            Rows that were asked about besides.
        """
        if not self._able:
            return 0
        if torch.get_num_threads() != self._threads:  # who work together cut the work up in another way
            self._forget()
        if self._tried:
            return 0
        self._wasted += -rows % full
        sizes = [size for power in range(20) if (size := SMALLEST << power) < self._full]
        if full != self._full or self._wasted < self._full * (1 + len(sizes)):
            return 0
        self._tried = True
        asked = 0

        def counted(images: Tensor) -> np.ndarray:
            nonlocal asked
            asked += len(images)
            return ask(images)

        with untouched():
            self.sizes = tuple(_alike(self._full, sizes, self._shape, counted))
        return asked

    def _plan(self, rows: int, full: int) -> list[int]:
        calls, left = divmod(rows, full)
        return [full] * calls + list(_cheapest(left, (*(size for size in self.sizes if size < full), full)))


_known: weakref.WeakKeyDictionary[Classifier, Calls] = weakref.WeakKeyDictionary()


def calls_of(classifier: Classifier) -> Calls:
    """Those of a classifier; what was tried once is known to whoever asks it later, in this process."""
    steady = bool(getattr(classifier, "steady", False))
    try:
        return _known.setdefault(classifier, Calls(classifier.info, steady=steady))
    except TypeError:  # one that cannot stand in a dictionary
        return Calls(classifier.info, steady=steady)


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
) -> list[int]:
    """Which of these sizes, and all above them, are answered like full calls."""
    images = _random_images(full, shape)
    found: list[int] = []
    try:
        answers = ask(images)
        if not np.isfinite(answers).all() or len(np.unique(answers)) < TELLING * answers.size:
            return found
        for size in reversed(sizes):
            # Each place in a small call, and each in the full one; the last small one is filled like any other.
            for first in range(0, full, size):
                part = images[first : first + size]
                rows = len(part)
                part = filled(part, size)
                if ask(part)[:rows].tobytes() != answers[first : first + rows].tobytes():
                    return found
            found.insert(0, size)
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
