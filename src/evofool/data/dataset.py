"""What every reader shares: limits, channels and size, and the step from arrays to a Dataset and its parts."""

from __future__ import annotations

import hashlib
import itertools
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image

from ..contracts import Dataset
from ..errors import DataError
from ..shapes import Int, Tensor, UInt8

Split = Literal["train", "test"]
Channels = Literal[1, 3]
Size = tuple[int, int]
Progress = Callable[[str, int, int], None]

# Files come from anywhere: nothing larger is ever allocated on the word of a header.
MAX_BYTES = 4_000_000_000
MAX_PIXELS = 64_000_000
# What zipfile is known to raise on damaged files, beside OSError.
ZIP_TROUBLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)
# Antialiased when it shrinks, and without the overshoot of the sharper filters.
RESAMPLING = Image.Resampling.BILINEAR


class Reading(NamedTuple):
    """What a reader found, before it becomes a Dataset.

    Attributes:
        images: [N C H W], bytes.
        labels: [N], indices into class_names.
        class_names: one for each class, also those that have no image in this split.
        name: for tables.
        files: the name of the file of each image, where each has one.
        found: (C, H, W) of each image as it was found, where they were brought to one shape; () = as they are here.
    """

    images: UInt8[np.ndarray, "N C H W"]
    labels: Int[np.ndarray, " N"]
    class_names: tuple[str, ...]
    name: str
    files: tuple[str, ...] = ()
    found: tuple[tuple[int, int, int], ...] = ()


def one_line(error: BaseException) -> str:
    """The message of a foreign exception, fit to stand inside one of ours."""
    return " ".join(str(error).split()) or type(error).__name__


def unreadable(path: Path, error: OSError, expected: str) -> DataError:
    """The error to raise where the system does not let us read a file or a folder."""
    reason = error.strerror or one_line(error)
    return DataError(f"{path}: cannot be read ({reason}); expected {expected}; check the path and its permissions")


def check_bytes(where: str | Path, shape: Sequence[int]) -> None:
    """Refuse an array of bytes that is too large to hold, before it is made.

    Args:
        where: the file or folder, for the message.
        shape: its length along each axis.

    Raises:
        DataError: it would take more than MAX_BYTES.
    """
    needed = int(np.prod([int(length) for length in shape], dtype=object))
    if needed > MAX_BYTES:
        raise DataError(
            f"{where}: its {shape[0]} images take {needed / 1e9:.1f} GB in memory; expected at most "
            f"{MAX_BYTES / 1e9:.0f} GB; give a smaller size, or fewer images"
        )


def check_request(size: Size | None, channels: int | None) -> None:
    """Refuse a size or a number of channels that no image can have.

    Raises:
        DataError: naming the value.
    """
    if size is not None and (len(size) != 2 or any(side < 1 for side in size) or size[0] * size[1] > MAX_PIXELS):
        raise DataError(
            f"size {tuple(size)}: expected height and width of at least 1 pixel and {MAX_PIXELS:,} pixels together "
            f"at most; give for example 28,28"
        )
    if channels not in (None, 1, 3):
        raise DataError(f"channels {channels}: expected 1 (gray) or 3 (colour); give one of these")


def number_names(labels: Sequence[Int[np.ndarray, " N"]]) -> tuple[str, ...]:
    """Names "0", "1", ... up to the largest of all labels, for data that names no classes."""
    return tuple(str(label) for label in range(1 + max(int(part.max()) for part in labels)))


def gray(images: UInt8[np.ndarray, "N 3 H W"]) -> UInt8[np.ndarray, "N 1 H W"]:
    """Luma of ITU-R 601-2 in the fixed-point arithmetic of Pillow, so that arrays and files give the same bytes."""
    red, green, blue = (images[:, channel].astype(np.uint32) for channel in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)[:, None]


def fit(
    where: str | Path, images: UInt8[np.ndarray, "N C H W"], size: Size | None, channels: int | None
) -> UInt8[np.ndarray, "N c h w"]:
    """Bring images to the channels and the size that were asked for; None leaves them as they are.

    Args:
        where: the file or folder, for messages.
        images: [N C H W], bytes.
        size: height and width, reached by Pillow's bilinear filter (antialiased); the aspect is not kept.
        channels: 1 takes the luma, 3 repeats the gray level.

    Raises:
        DataError: the result would be too large to hold.
    """
    height, width = size or images.shape[2:]
    check_bytes(where, (len(images), channels or images.shape[1], height, width))
    if channels == 1 and images.shape[1] == 3:
        images = gray(images)
    elif channels == 3 and images.shape[1] == 1:
        images = np.repeat(images, 3, axis=1)
    if images.shape[2:] == (height, width):
        return images
    resized = np.empty((*images.shape[:2], height, width), np.uint8)
    for index, image in enumerate(images):
        for channel, plane in enumerate(image):
            resized[index, channel] = np.asarray(Image.fromarray(plane).resize((width, height), RESAMPLING))
    return resized


def fingerprint(images: UInt8[Tensor, "N C H W"], labels: Int[Tensor, " N"], class_names: Sequence[str]) -> str:
    """SHA-256 over shape, images, labels and class names, hex: two data sets with the same one are the same."""
    head = json.dumps({"shape": list(images.shape), "class_names": list(class_names)}, sort_keys=True)
    digest = hashlib.sha256(head.encode() + b"\n")
    digest.update(np.ascontiguousarray(images.numpy()).data)
    digest.update(labels.numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def background(images: UInt8[Tensor, "N C H W"]) -> float:
    """The most frequent gray level on the border of all images, in [0, 1]; of equally frequent ones the darkest.

    The border is the outermost pixel on each side. Colours count by their luma.
    """
    pixels = images.numpy()
    counts = np.zeros(256, np.int64)
    rows, columns = pixels[:, :, 1:], pixels[:, :, 1:-1]
    for border in (pixels[:, :, :1], rows[:, :, -1:], columns[..., :1], columns[..., 1:][..., -1:]):
        levels = gray(border) if border.shape[1] == 3 else border
        counts += np.bincount(levels.ravel(), minlength=256)
    return int(counts.argmax()) / 255


def assemble(where: str | Path, reading: Reading, size: Size | None = None, channels: int | None = None) -> Dataset:
    """Make a Dataset of what a reader found.

    Args:
        where: the file or folder, for messages.
        reading: the arrays.
        size: height and width to bring the images to, if any.
        channels: 1 or 3, if the images are to be brought to it.

    Raises:
        DataError: there is one class, or the images are too large to hold.
    """
    if len(reading.class_names) == 1:
        raise DataError(
            f"{where}: all {len(reading.labels)} images are of one class, {reading.class_names[0]!r}; expected two "
            f"classes or more; add images of another class"
        )
    images = torch.from_numpy(np.ascontiguousarray(fit(where, reading.images, size, channels)))
    labels = torch.from_numpy(reading.labels.astype(np.int64))
    channels_, height, width = reading.images.shape[1:]
    found = reading.found or ((channels_, height, width),) * len(images)
    return Dataset(
        images=images,
        labels=labels,
        class_names=reading.class_names,
        name=reading.name,
        fingerprint=fingerprint(images, labels, reading.class_names),
        background=background(images),
        files=reading.files,
        found=found if set(found) != {tuple(images.shape[1:])} else (),
    )


def split_off(dataset: Dataset, n: int, seed: int) -> tuple[Dataset, Dataset]:
    """Split a data set in two, each class in proportion, at random but the same for the same seed.

    The places of a class are its exact share of n, rounded by largest remainder (ties to the first class), so that
    they add up to n. Within a class the images are taken by random keys straight from NumPy's PCG64, whose numbers,
    unlike those of NumPy's Generator, are promised not to change between versions. Both parts keep the order of the
    images, and the background of the whole.

    Args:
        dataset: the images to split.
        n: how many to hold out, from 1 to one less than there are.
        seed: of the keys.

    Returns:
        The rest, and the n images held out.

    Raises:
        DataError: n is not in that range.
    """
    total = len(dataset)
    if not 1 <= n < total:
        raise DataError(
            f"{dataset.name}: {n:,} of its {total:,} images cannot be held out; expected 1 to {total - 1:,}; hold out "
            f"fewer, or give more images"
        )
    labels = dataset.labels.numpy()
    counts = np.bincount(labels, minlength=len(dataset.class_names))
    places, remainders = np.divmod(counts * n, total)
    places[np.argsort(-remainders, kind="stable")[: n - places.sum()]] += 1
    keys = np.random.PCG64(seed).random_raw(total)
    held = np.zeros(total, bool)
    for label, count in enumerate(places):
        members = np.flatnonzero(labels == label)
        held[members[np.argsort(keys[members], kind="stable")[:count]]] = True
    return _part(dataset, ~held, "without held out"), _part(dataset, held, "held out")


def _part(dataset: Dataset, chosen: np.ndarray, name: str) -> Dataset:
    index = torch.from_numpy(np.flatnonzero(chosen))
    images, labels = dataset.images[index], dataset.labels[index]
    return replace(
        dataset,
        images=images,
        labels=labels,
        name=f"{dataset.name}, {name}",
        fingerprint=fingerprint(images, labels, dataset.class_names),
        files=tuple(itertools.compress(dataset.files, chosen)),
        found=tuple(itertools.compress(dataset.found, chosen)),
    )
