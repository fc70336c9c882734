"""A classifier with a stopwatch, as the ledger sees it during an examination."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..contracts import Classifier
from ..errors import TargetError
from ..shapes import Float, Tensor
from .diagnosis import Speed


class Probe:
    """The classifier as the ledger sees it here: odd probabilities are not refused, and each call is timed.

    Attributes:
        info: as declared, but as logits; and in calls of another size, if one is given.
        change: what is done to images first.
        calls: (rows, seconds) of each call that was answered.
        error: what the last one said that failed.
    """

    def __init__(
        self,
        classifier: Classifier,
        rows: int | None = None,
        change: Callable[[Tensor], Tensor] = lambda images: images,
    ):
        self.info = replace(classifier.info, kind="logits", micro_batch=rows or classifier.info.micro_batch)
        self.calls: list[tuple[int, float]] = []
        self.error = ""
        self.change = change
        self._classifier = classifier

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """What the classifier answers about the changed images."""
        start = time.perf_counter()
        try:
            scores = self._classifier(self.change(images))
        except TargetError as error:
            self.error = " ".join(str(error).split())
            raise
        self.calls.append((len(images), time.perf_counter() - start))
        return scores


def speed_of(calls: Sequence[tuple[int, float]]) -> Speed:
    """How long calls of the same size took."""
    seconds = [spent for _, spent in calls]
    return Speed(calls[0][0], statistics.median(seconds), max(seconds), len(calls))
