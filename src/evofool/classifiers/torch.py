"""A classifier that is a PyTorch module on this machine, asked in the layout that suits it."""

from __future__ import annotations

import ctypes
import functools
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ..contracts import ClassifierInfo
from ..errors import ClassifierError, TargetError
from ..shapes import Float, Tensor

MemoryFormat = Literal["contiguous", "channels_last"]
MICRO_BATCHES = (50, 100, 125)  # divisors of 1,000: a population of that size needs no padding
_FORMATS: dict[MemoryFormat, torch.memory_format] = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}


def load(directory: str | Path) -> TorchClassifier:
    """Load a classifier from the directory that training wrote.

    Raises:
        ClassifierError: a missing or malformed card, weights that are missing, changed, or not those of the card, an
            unknown architecture; one line.
    """
    from .card import read

    card, module, fingerprint = read(Path(directory))
    info = ClassifierInfo(
        name=card.name,
        kind=card.kind,
        class_names=card.class_names,
        image_shape=card.image_shape,
        fingerprint=fingerprint,
        micro_batch=card.micro_batch,
        memory_format=card.memory_format,
        background=card.background,
        accuracy=card.accuracy,
    )
    return TorchClassifier(module, info, card.model_dump(mode="json"))


class TorchClassifier:
    """A module behind the classifier contract: one attempt, no padding, no threads of its own.

    How many torch threads there are is left to the process; results are the same only for the same number.
    """

    def __init__(self, module: nn.Module, info: ClassifierInfo, card: Mapping[str, Any] | None = None):
        """Take over a module: it is put into eval mode and into the layout that `info` names.

        Args:
            module: maps [N C H W] float32 in [0, 1] to scores [N K].
            info: what the module is.
            card: what else is known of it, JSON values only.
        """
        tune_allocator()
        self.info = info
        self.card = dict(card or {})
        # nn.Module.to has no overload for memory_format alone in its annotations.
        self.module: nn.Module = module.eval().to(memory_format=_FORMATS[info.memory_format])  # type: ignore[call-overload]

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Scores [N K], float32, for images [N C H W] in [0, 1].

        Raises:
            ClassifierError: the images, or the scores of the module, have not the shape that `info` names.
            TargetError: the module failed; trying again cannot help.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.info.image_shape or not images.is_floating_point():
            raise ClassifierError(
                f"{self.info.name} was given {_type(images)} of shape {list(images.shape)}, expected floats in [0, 1] "
                f"of shape [N, {', '.join(str(length) for length in self.info.image_shape)}]"
            )
        try:
            with torch.inference_mode():
                scores = self.module(lay_out(images.float(), self.info.memory_format))
        except RuntimeError as error:
            raise TargetError(f"{self.info.name} failed: {' '.join(str(error).split())[:200]}", fatal=True) from error
        expected = (len(images), len(self.info.class_names))
        if tuple(scores.shape) != expected:
            found = list(scores.shape)
            raise ClassifierError(f"{self.info.name} answered with scores of shape {found}, expected {list(expected)}")
        # The copy is an ordinary tensor: one made in inference mode could not be written to by those who get it.
        return scores.to(torch.float32, copy=True)


def lay_out(images: Float[Tensor, "N C H W"], memory_format: MemoryFormat) -> Float[Tensor, "N C H W"]:
    """The same images with the strides of a memory format, copied only where that is needed.

    With one channel both layouts are the same bytes, and PyTorch then takes any tensor for channels last while its
    convolutions go by the strides; so the strides are set here by hand.
    """
    if memory_format == "contiguous":
        return images.contiguous()
    if images.shape[1] > 1:
        return images.contiguous(memory_format=torch.channels_last)
    _, channels, height, width = images.shape
    return images.contiguous().as_strided(images.shape, (channels * height * width, 1, channels * width, channels))


def fastest_layout(
    module: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    images: int = 1000,
    rounds: int = 7,
) -> tuple[MemoryFormat, int]:
    """Measure which layout and micro-batch answer fastest on this machine, with the threads that torch now has.

    The candidates take turns, so that a busy moment falls on all of them; the smallest median of their times wins.

    Args:
        module: in eval mode; its layout may change.
        image_shape: (C, H, W).
        images: rows to answer in each round.
        rounds: times that each candidate is measured, after one that is not counted.

    Returns:
        The memory format and one of MICRO_BATCHES.
    """
    tune_allocator()
    batch = torch.rand(images, *image_shape, generator=torch.Generator().manual_seed(0))
    seconds: dict[tuple[MemoryFormat, int], list[float]] = {
        (layout, size): [] for layout in _FORMATS for size in MICRO_BATCHES
    }
    for _ in range(rounds + 1):
        for (layout, size), spent in seconds.items():
            module.to(memory_format=_FORMATS[layout])  # type: ignore[call-overload]
            start = time.perf_counter()
            with torch.inference_mode():
                for part in batch.split(size):
                    module(lay_out(part, layout))
            spent.append(time.perf_counter() - start)
    return min(seconds, key=lambda candidate: statistics.median(seconds[candidate][1:]))


@functools.cache
def tune_allocator() -> bool:
    """Let glibc keep the buffers of a forward pass, once for this process; elsewhere do nothing.

    By default glibc gives every buffer above a threshold back to the system when it is freed, and the next forward pass
    pays for fresh pages again: measured at up to half of its time. Buffers above 32 MiB are still given back.

    Returns:
        Whether anything was set.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    return bool(library.mallopt(mmap_threshold, 32 << 20)) and bool(library.mallopt(trim_threshold, 256 << 20))


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
