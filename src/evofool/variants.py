"""A classifier seen through one change, as a value: another padding, another size of drawing, or no eyes at all.

    Variant(padding="reflect").apply(classifier)
    Variant(size=(64, 64), resize="bilinear").apply(classifier)

What comes of it is a classifier like any other: it keeps the laws of the contract, and has a name and a fingerprint of
its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch.nn import functional

from . import padding as padded
from . import spec
from .classifiers.support.local import digest
from .classifiers.torch import TorchClassifier
from .contracts import Classifier, ClassifierInfo
from .errors import ClassifierError, SpecError
from .networks import Padding
from .shapes import Float, Tensor

Level = Annotated[float, Field(ge=0, le=1)]
Length = Annotated[int, Field(gt=0, le=100_000)]
Resize = Literal["", "nearest", "bilinear", "antialias", "crop", "margin"]


@dataclass(frozen=True)
class Variant:
    """What is changed. JSON by `spec.to_json`, back by `spec.from_json`.

    Attributes:
        padding: of every layer that pads; "" = as it is. The classifier's weights stay, and so does what it does to
            images before (resizing, normalising).
        outside: gray level that the first layer that pads sees beyond the border, as a gray level of an image; None =
            as it is: 0 in the numbers that the layer takes, which is black only where nothing is normalised.
        size: (height, width) of the images that are drawn; None = the classifier's own.
        resize: how images of that size become those that the classifier takes. "nearest"; "bilinear" without
            antialiasing; "antialias" = bilinear with it; "crop" = the middle is cut out; "margin" = the image stands in
            the middle of an empty canvas; "" = the classifier itself resizes, as it does with others.
        around: gray level of that canvas; None = the classifier's background.
        flat: the classifier is not asked, and its answer is always the same: a landscape without any slope. All classes
            score alike; where answers are labels, the label is the first class.

    Raises:
        SpecError: a value out of its range, or two that do not go together.
    """

    padding: Literal["", "zeros", "reflect", "replicate", "circular"] = ""
    outside: Level | None = None
    size: tuple[Length, Length] | None = None
    resize: Resize = ""
    around: Level | None = None
    flat: bool = False

    def __post_init__(self) -> None:
        spec.check(self)
        if self.resize and self.size is None:
            raise SpecError(f"resize = '{self.resize}': of what size? give size=(height, width) of the images drawn")
        if self.around is not None and self.resize != "margin":
            raise SpecError(f"around = {self.around:g}: only a margin is filled; give resize='margin', or leave it out")

    @property
    def name(self) -> str:
        """In short words, such as "padding reflect"; "" for no change."""
        words = [f"padding {self.padding}"] if self.padding else []
        words += [f"gray {self.outside:g} outside"] if self.outside is not None else []
        if self.size is not None:
            how = f" ({self.resize}{'' if self.around is None else f' {self.around:g}'})" if self.resize else ""
            words.append(f"drawn at {self.size[0]} x {self.size[1]}{how}")
        words += ["flat"] if self.flat else []
        return " + ".join(words)

    def apply(self, classifier: Classifier) -> Classifier:
        """The classifier with this change; the one given stays as it is. Without a change it is the one given.

        Raises:
            ClassifierError: the change cannot be made to this classifier; says why.
        """
        if self == Variant():
            return classifier
        original = classifier.info
        filled = replace(self, around=original.background) if self.resize == "margin" and self.around is None else self
        changed = classifier
        if self.padding:
            changed = _rebuilt(changed, _some(padding_of(changed, self.padding), changed, "in that mode"))
        if self.outside is not None:
            changed = _rebuilt(changed, _some(outside_of(changed, self.outside), changed, "with a gray level"))
        if filled.size is not None:
            changed = _drawn(changed, filled.size, filled.resize, filled.around)
        if self.flat:
            changed = _Flat(changed.info)
        changed.info = replace(
            changed.info,
            name=f"{original.name} · {self.name}",
            fingerprint=digest(original.fingerprint, json.dumps(spec.to_json(filled), sort_keys=True)),
            accuracy=None,
        )
        return changed


def padding_of(classifier: Classifier, mode: Padding) -> padded.Swapped:
    """The classifier's network with its padding swapped, and which of its layers were changed and skipped.

    Raises:
        ClassifierError: it is no PyTorch module on this machine, or one that cannot be copied.
    """
    local = _module_of(classifier, "padding")
    image = local.prepare(torch.zeros(1, *local.info.image_shape))
    with _named(local.info.name):
        return padded.swapped(local.module, mode, tuple(image.shape[1:]))


def outside_of(classifier: Classifier, level: float) -> padded.Swapped:
    """The classifier's network with a gray level of its images beyond their border, and which layer was changed.

    Raises:
        ClassifierError: as `padding_of`.
    """
    local = _module_of(classifier, "border")
    image = local.prepare(torch.full((1, *local.info.image_shape), level))
    with _named(local.info.name):
        return padded.outside(local.module, image, tuple(image.shape[1:]))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Puts the classifier's name before an error about its network."""
    try:
        yield
    except ClassifierError as error:
        raise ClassifierError(f"{name}: {error}") from error


def _module_of(classifier: Classifier, what: str) -> TorchClassifier:
    if not isinstance(classifier, TorchClassifier):
        raise ClassifierError(
            f"{classifier.info.name}: its {what} cannot be changed, since it is no PyTorch module on this machine; "
            f"give one that is, such as a directory with a card, state: or timm:"
        )
    return classifier


def _some(found: padded.Swapped, classifier: Classifier, how: str) -> padded.Swapped:
    """What was found, if there is anything of it."""
    name = classifier.info.name
    if found.changed or found.kept:
        return found
    if found.skipped:
        first = found.skipped[0]
        raise ClassifierError(
            f"{name}: none of its {len(found.skipped)} layers that pad can pad {how}; the first, {first.name} "
            f"({first.about}): {first.why}"
        )
    raise ClassifierError(f"{name}: none of its layers pads; expected a convolution or a pool with padding")


def _rebuilt(classifier: Classifier, found: padded.Swapped) -> TorchClassifier:
    local = _module_of(classifier, "padding")
    return TorchClassifier(found.module, local.info, local.card, prepare=local.prepare, order=local.order)


def _drawn(classifier: Classifier, size: tuple[int, int], how: Resize, around: float | None) -> Classifier:
    info = classifier.info
    channels, *own = info.image_shape
    drawn, takes = f"{size[0]} x {size[1]}", f"{own[0]} x {own[1]}"
    if not how:
        if not isinstance(classifier, TorchClassifier) or classifier.prepare.size is None:
            raise ClassifierError(
                f"{info.name}: takes images of {takes} and resizes none itself; say how those of {drawn} become such: "
                f"resize='bilinear', say"
            )
        prepare = classifier.prepare
        asked = replace(info, image_shape=(channels, *size), preparation=prepare.about((channels, *size)))
        return TorchClassifier(classifier.module, asked, classifier.card, prepare=prepare, order=classifier.order)
    if how == "crop" and (size[0] < own[0] or size[1] < own[1]):
        raise ClassifierError(f"{info.name}: no middle of {takes} can be cut out of {drawn}; give a larger size")
    if how == "margin" and (size[0] > own[0] or size[1] > own[1]):
        raise ClassifierError(f"{info.name}: {drawn} does not fit into a canvas of {takes}; give a smaller size")
    return _Drawn(classifier, size, how, around or 0.0)


class _Drawn:
    """A classifier that is shown images of another size, brought to its own."""

    def __init__(self, classifier: Classifier, size: tuple[int, int], how: Resize, around: float):
        info = classifier.info
        words = {"crop": "middle cut out", "margin": f"in the middle of gray {around:g}"}.get(how, f"resized ({how})")
        own = f"{words} to {info.image_shape[1]} x {info.image_shape[2]}"
        self.info = replace(
            info,
            image_shape=(info.image_shape[0], *size),
            preparation=", ".join(filter(None, [own, info.preparation])),
        )
        self._classifier = classifier
        self._size = (info.image_shape[1], info.image_shape[2])
        self._how = how
        self._around = around
        if hasattr(classifier, "ahead"):
            self.ahead = classifier.ahead

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """What the classifier inside answers."""
        _check(images, self.info)
        return self._classifier(brought(images, self._size, self._how, self._around))


def brought(
    images: Float[Tensor, "N C H W"], size: tuple[int, int], how: Resize, around: float
) -> Float[Tensor, "N C I J"]:
    """Images in another size. Where what is left over is odd, the larger half is below and to the right.

    Args:
        images: in [0, 1].
        size: (height, width).
        how: as `Variant.resize`.
        around: gray level of a margin.
    """
    down, right = size[0] - images.shape[2], size[1] - images.shape[3]
    if how == "crop":
        return images[:, :, -down // 2 :, -right // 2 :][:, :, : size[0], : size[1]]
    if how == "margin":
        sides = (right // 2, right - right // 2, down // 2, down - down // 2)
        return functional.pad(images, sides, value=around)
    if how == "nearest":
        return functional.interpolate(images, size, mode="nearest")
    smooth = functional.interpolate(
        images.float(), size, mode="bilinear", antialias=how == "antialias", align_corners=False
    )
    return smooth.clamp(0, 1)


class _Flat:
    """The same scores whatever it is shown; nobody is asked, so that it costs nothing and fails never."""

    def __init__(self, info: ClassifierInfo):
        self.info = replace(info, metered=False, device="cpu", concurrency=1, cost=None)
        classes = len(info.class_names)
        self._scores = torch.zeros(classes) if info.kind == "logits" else torch.full((classes,), 1 / classes)
        if info.kind == "label":
            self._scores = torch.eye(classes)[0]

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """The scores, once for each image."""
        _check(images, self.info)
        return self._scores.repeat(len(images), 1)


def _check(images: Tensor, info: ClassifierInfo) -> None:
    if images.ndim != 4 or tuple(images.shape[1:]) != info.image_shape or not images.is_floating_point():
        raise ClassifierError(
            f"{info.name} was given {str(images.dtype).removeprefix('torch.')} of shape {list(images.shape)}, expected "
            f"floats in [0, 1] of shape [N, {', '.join(map(str, info.image_shape))}]"
        )
