"""What a saved graph says of its input: how many images, with which axes in which order, in which numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ...errors import ClassifierError
from ...shapes import Float, Tensor
from .local import Native
from .prepare import Prepare
from .settings import Settings

_NUMBERS = ("float32", "float64", "float16", "bfloat16", "uint8")
Length = int | None


@dataclass(frozen=True)
class Signature:
    """The one input of a graph: call it with prepared images, and they are as the graph takes them.

    Attributes:
        lengths: of its axes, the batch first; None = free. Four axes are images with channels, three are gray images
            without an axis for them, two are images of which each is flattened into a row.
        numbers: "float32", "float64", "float16", "bfloat16", or "uint8" for bytes, in which white is 255.
        layout: where the channels stand.
        name: of the model, for messages.
    """

    lengths: tuple[Length, ...]
    numbers: str
    layout: Literal["NCHW", "NHWC"]
    name: str

    @classmethod
    def of(
        cls,
        lengths: Sequence[Any],
        numbers: str,
        settings: Settings,
        name: str,
        *,
        usual: Literal["NCHW", "NHWC"] = "NCHW",
    ) -> Signature:
        """What the lengths say; the channels are the axis of 1 or 3 unless the user says where they stand.

        Args:
            lengths: whole numbers; anything else is a free one.
            numbers: the name of their type.
            settings: what the user says.
            name: of the model, for messages.
            usual: the layout where neither the lengths nor the user tell.

        Raises:
            ClassifierError: such an input cannot be given images.
        """
        known = tuple(length if isinstance(length, int) and length > 0 else None for length in lengths)
        if len(known) not in (2, 3, 4):
            raise ClassifierError(
                f"{name} takes an input of shape {_words(known)}; expected a batch of images, such as [N, C, H, W]"
            )
        if numbers not in _NUMBERS:
            raise ClassifierError(f"{name} takes an input of {numbers}; expected one of {', '.join(_NUMBERS)}")
        layout = settings.layout or usual
        if len(known) == 4 and settings.layout is None and (known[1] in (1, 3)) != (known[3] in (1, 3)):
            layout = "NCHW" if known[1] in (1, 3) else "NHWC"
        channels = known[1 if layout == "NCHW" else 3] if len(known) == 4 else None
        if channels not in (None, 1, 3):
            raise ClassifierError(
                f"{name} takes {channels} channels, with an input of shape {_words(known)} read as {layout}; expected "
                f"1 (gray) or 3 (colour)"
            )
        return cls(known, numbers, layout, name)

    def native(self, name: str, fingerprint: str, **more: Any) -> Native:
        """What a model with this input says of itself.

        Args:
            name: short, for tables.
            fingerprint: SHA-256 over all that decides its scores, hex.
            more: other fields of `Native`.
        """
        shape: tuple[Length, Length, Length] = (None, None, None)
        if len(self.lengths) == 4:
            _, a, b, c = self.lengths
            shape = (a, b, c) if self.layout == "NCHW" else (c, a, b)
        elif len(self.lengths) == 3:
            shape = (1, *self.lengths[1:])
        said: dict[str, Any] = {
            "input_shape": shape,
            "micro_batch": self.lengths[0],
            "layout": self.layout,
            "prepare": Prepare(white=255.0 if self.numbers == "uint8" else 1.0),
        }
        return Native(name[:60], fingerprint, **{**said, **more})

    def __call__(self, images: Float[Tensor, "N ..."]) -> Tensor:
        """Prepared images as the graph takes them, contiguous; bytes are rounded.

        Raises:
            ClassifierError: flattened, an image has another number of values than the graph takes.
        """
        if len(self.lengths) == 2:
            images = flattened(images, self.lengths[1], self.name)
        elif len(self.lengths) == 3:
            images = images.squeeze(1 if self.layout == "NCHW" else 3)
        if self.numbers == "uint8":
            images = images.round().clamp(0, 255)
        return images.to(getattr(torch, self.numbers)).contiguous()


def flattened(images: Float[Tensor, "N ..."], length: Length, name: str) -> Float[Tensor, "N L"]:
    """Each image as a row.

    Args:
        images: prepared.
        length: values of a row that the model takes; None = any.
        name: of the model, for messages.

    Raises:
        ClassifierError: there are more or fewer.
    """
    rows = images.flatten(1)
    if length is not None and rows.shape[1] != length:
        shape = "x".join(map(str, images.shape[1:]))
        fits = [f"{c}x{side}x{side}" for c in (1, 3) if c * (side := math.isqrt(length // c)) ** 2 == length]
        raise ClassifierError(
            f"{name} takes {length} values an image, and images of {shape} have {rows.shape[1]}: say which images it "
            f"was trained on, and others are resized: --with input_shape={fits[0] if fits else 'CxHxW'}"
        )
    return rows


def _words(lengths: Sequence[Length]) -> str:
    return f"[{', '.join('?' if length is None else str(length) for length in lengths)}]"
