"""A classifier that is a PyTorch module on this machine, asked in the layout that suits it."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ..contracts import ClassifierInfo, Dataset
from ..errors import ClassifierError
from ..shapes import Float, Tensor
from .support.local import LocalClassifier, Native, describe
from .support.prepare import Prepare
from .support.settings import Settings

MemoryFormat = Literal["contiguous", "channels_last"]
MICRO_BATCHES = (50, 100, 125)  # divisors of 1,000: a population of that size needs no padding
_FORMATS: dict[MemoryFormat, torch.memory_format] = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}


def load(directory: str | Path, *, device: str = "cpu") -> TorchClassifier:
    """Load a classifier from the directory that training wrote.

    Args:
        directory: with card and weights.
        device: where it is to compute; "auto" = the first GPU if there is one.

    Raises:
        ClassifierError: a missing or malformed card, weights that are missing, changed, or not those of the card, an
            unknown architecture; one line.
    """
    from .support.card import read

    card, module, fingerprint = read(Path(directory))
    prepare = card.preparation.prepare() if card.preparation else Prepare()
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
        device=device_of(device),
        preparation=prepare.about(card.image_shape),
    )
    return TorchClassifier(module, info, card.model_dump(mode="json"), prepare=prepare)


class TorchClassifier(LocalClassifier):
    """A module behind the classifier contract: one attempt, no padding, no threads of its own.

    How many torch threads there are is left to the process; results are the same only for the same number.
    """

    def __init__(
        self,
        module: nn.Module,
        info: ClassifierInfo,
        card: Mapping[str, Any] | None = None,
        *,
        prepare: Prepare | None = None,
        order: Sequence[int] | None = None,
    ):
        """Take over a module: it is put into eval mode, on the device and into the layout and type that `info` names.

        Args:
            module: maps [N C H W] to scores [N K]; float32 in [0, 1] unless `prepare` makes something else of it.
            info: what the module is.
            card: what else is known of it, JSON values only.
            prepare: what is done to images before the module sees them.
            order: which of its outputs each class of `info` is; None = the same order.
        """
        tune_allocator()
        self.module = placed(module, info.device, info.dtype, info.memory_format)
        run = runner(self.module, info.device, info.dtype, info.memory_format)
        super().__init__(info, run, prepare=prepare, order=order, card=card)


def take_over(module: nn.Module, native: Native, settings: Settings, data: Dataset | None = None) -> TorchClassifier:
    """A module from somewhere, as far as it, its user and the data describe it; see `local.describe`.

    Raises:
        ClassifierError: it does not say enough, or the device is not there.
    """
    device = device_of(settings.device)
    layout = settings.memory_format or (
        "channels_last" if any(isinstance(part, nn.Conv2d) for part in module.modules()) else "contiguous"
    )
    module = placed(module, device, settings.dtype, layout)
    run = runner(module, device, settings.dtype, layout)
    native = native._replace(memory_format=layout)
    info, prepare, order = describe(native, run, settings, data)
    return TorchClassifier(module, replace(info, device=device), prepare=prepare, order=order)


def placed(module: nn.Module, device: str, dtype: str, memory_format: MemoryFormat) -> nn.Module:
    """The module in eval mode, without gradients, where and as it is to compute."""
    module = module.eval()
    for parameter in module.parameters():  # a scripted module has no requires_grad_ for all of them
        parameter.requires_grad_(False)
    # nn.Module.to has no overload for memory_format alone in its annotations.
    return module.to(device=device, dtype=_dtype(dtype)).to(memory_format=_FORMATS[memory_format])  # type: ignore[call-overload]


def runner(module: nn.Module, device: str, dtype: str, memory_format: MemoryFormat) -> Callable[[Tensor], Tensor]:
    """A function that asks a module about prepared images; it stays in eval mode, and no gradient is kept."""

    def run(images: Tensor) -> Tensor:
        if module.training:
            module.eval()
        with torch.inference_mode():
            scores: Tensor = module(lay_out(images.to(device, _dtype(dtype)), memory_format))
        return scores

    return run


def _dtype(name: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, name)
    return found


def device_of(wanted: str) -> str:
    """A device that is there; "auto" = the first GPU if there is one.

    Raises:
        ClassifierError: it is not there.
    """
    mps = torch.backends.mps.is_available()
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    kind, _, number = wanted.partition(":")
    there = {"cpu": True, "mps": mps, "cuda": torch.cuda.is_available()}[kind]
    if not there or int(number or 0) >= max(1, torch.cuda.device_count()):
        found = f"{torch.cuda.device_count()} CUDA devices" if torch.cuda.is_available() else "no CUDA device"
        raise ClassifierError(f"device {wanted} is not there ({found}, {'' if mps else 'no '}MPS); give cpu or auto")
    return wanted


def state_digest(module: nn.Module) -> str:
    """SHA-256 over the parts and weights of a module, hex."""
    digest = hashlib.sha256(str(module).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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
