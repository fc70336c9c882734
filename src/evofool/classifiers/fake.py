"""Classifiers with known answers, for tests: yours as well as ours. No training, no files, no randomness.

    Linear     scores = weight · pixels + bias, the same bits whatever shares the batch
    Constant   the same scores for every image
    Counting   passes everything on, and remembers how it was asked
    Silent     passes everything on, but gives NaN for the images that you choose
    Failing    passes everything on, but raises TargetError at the calls that you choose

All keep the laws of the contract, so a search against them gives the same result every time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import torch

from ..contracts import Classifier, ClassifierInfo, ScoreKind
from ..errors import ClassifierError, TargetError
from ..shapes import Bool, Float, Tensor


class Linear:
    """Scores that anyone can work out: the sum over all pixels of weight times pixel, plus a bias.

    The arithmetic is in double precision and adds the two halves of a row to each other until one number is left, so
    that each row's result has the same bits alone, in any batch and at any place in it.
    """

    def __init__(
        self,
        weight: Float[Tensor, "K C H W"],
        bias: Float[Tensor, " K"] | None = None,
        *,
        class_names: Sequence[str] | None = None,
        micro_batch: int = 100,
        name: str = "linear",
    ):
        """Make it from its weights.

        Args:
            weight: one image of weights for each class; its shape says what images are accepted.
            bias: one number for each class, 0 by default.
            class_names: "0", "1", ... by default.
            micro_batch: rows in one call.
            name: for tables.

        Raises:
            ClassifierError: weight is not [K C H W], or bias and names are not K.
        """
        if weight.ndim != 4:
            raise ClassifierError(f"weight has shape {list(weight.shape)}, expected [K, C, H, W]")
        classes = len(weight)
        bias = torch.zeros(classes) if bias is None else bias
        names = tuple(class_names or map(str, range(classes)))
        if tuple(bias.shape) != (classes,) or len(names) != classes:
            raise ClassifierError(f"weight has {classes} classes, bias {len(bias)}, names {len(names)}: expected one K")
        self._weight = weight.double().flatten(1)
        self._bias = bias.double()
        channels, height, width = weight.shape[1:]
        self.info = _info(name, names, (channels, height, width), micro_batch, "logits", (self._weight, self._bias))

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Logits [N K], float32."""
        _check(images, self.info)
        products = images.double().flatten(1)[:, None] * self._weight
        while products.shape[-1] > 1:
            half = products.shape[-1] // 2
            left_over = products[..., 2 * half :]
            products = torch.cat([products[..., :half] + products[..., half : 2 * half], left_over], dim=-1)
        return (products[..., 0] + self._bias).float()


class Constant:
    """The same scores for every image."""

    def __init__(
        self,
        scores: Sequence[float],
        image_shape: tuple[int, int, int] = (1, 28, 28),
        *,
        kind: ScoreKind = "logits",
        micro_batch: int = 100,
        name: str = "constant",
    ):
        """Make it from its answer.

        Args:
            scores: one for each class.
            image_shape: (C, H, W) that it accepts.
            kind: what the scores are; not checked, so that a wrong answer can be given on purpose.
            micro_batch: rows in one call.
            name: for tables.
        """
        self._scores = torch.tensor(scores, dtype=torch.float32)
        names = tuple(map(str, range(len(scores))))
        self.info = _info(name, names, image_shape, micro_batch, kind, (self._scores,))

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """The scores, once for each image."""
        _check(images, self.info)
        return self._scores.repeat(len(images), 1)


class Counting:
    """Passes everything on, and remembers how it was asked.

    Attributes:
        sizes: rows of each call so far, padding included.
    """

    def __init__(self, classifier: Classifier):
        self.info = classifier.info
        self.sizes: list[int] = []
        self._classifier = classifier

    @property
    def calls(self) -> int:
        """How often it was asked."""
        return len(self.sizes)

    @property
    def rows(self) -> int:
        """How many images it was given, padding included."""
        return sum(self.sizes)

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """What the classifier inside answers."""
        self.sizes.append(len(images))
        return self._classifier(images)


class Silent:
    """Passes everything on, but gives no answer (NaN) for the images that you choose."""

    def __init__(self, classifier: Classifier, chosen: Callable[[Float[Tensor, "N C H W"]], Bool[Tensor, " N"]]):
        """Wrap a classifier.

        Args:
            classifier: what answers the other images.
            chosen: which of some images get no answer; it looks at each image by itself, such as
                `lambda images: images[:, 0, 0, 0] > 0.5`.
        """
        self.info = replace(classifier.info, name=f"silent {classifier.info.name}")
        self._classifier = classifier
        self._chosen = chosen

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """What the classifier inside answers, NaN in the chosen rows."""
        return self._classifier(images).masked_fill(self._chosen(images)[:, None], torch.nan)


class Failing:
    """Passes everything on, but raises TargetError at the calls that you choose."""

    def __init__(
        self,
        classifier: Classifier,
        calls: Collection[int],
        *,
        retry_after: float | None = None,
        fatal: bool = False,
        again: bool = True,
        busy: bool = False,
    ):
        """Wrap a classifier.

        Args:
            classifier: what answers the other calls.
            calls: which calls fail, the first being 1.
            retry_after: seconds that the error asks to wait.
            fatal: whether the error says that nothing more is to be asked.
            again: whether it says that the same request may be sent again.
            busy: whether it says that there was only too much to do.
        """
        self.info = replace(classifier.info, name=f"failing {classifier.info.name}")
        self.calls = 0
        self._classifier = classifier
        self._failing = frozenset(calls)
        self._error: dict[str, Any] = {"retry_after": retry_after, "fatal": fatal, "again": again, "busy": busy}

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """What the classifier inside answers.

        Raises:
            TargetError: at the chosen calls.
        """
        self.calls += 1
        if self.calls in self._failing:
            raise TargetError(f"call {self.calls} fails on purpose", **self._error)
        return self._classifier(images)


def _info(
    name: str,
    class_names: tuple[str, ...],
    image_shape: tuple[int, int, int],
    micro_batch: int,
    kind: ScoreKind,
    tensors: tuple[Tensor, ...],
) -> ClassifierInfo:
    digest = hashlib.sha256(f"{name} {kind} {image_shape}\n".encode())
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return ClassifierInfo(
        name=name,
        kind=kind,
        class_names=class_names,
        image_shape=image_shape,
        fingerprint=digest.hexdigest(),
        micro_batch=micro_batch,
    )


def _check(images: Tensor, info: ClassifierInfo) -> None:
    if images.ndim != 4 or tuple(images.shape[1:]) != info.image_shape:
        shape = ", ".join(str(length) for length in info.image_shape)
        raise ClassifierError(f"{info.name} was given images of shape {list(images.shape)}, expected [N, {shape}]")
