"""IDX files, the format of MNIST: a header that tells type and lengths, then the bytes; plain or gzipped."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import DataError
from .dataset import MAX_BYTES, Reading, Split, number_names, one_line, unreadable

Kind = Literal["images", "labels"]

_NAME = re.compile(r"(?P<prefix>.*)(?P<kind>images|labels)[-.]idx[13]-ubyte(\.gz)?")
_AXES = {"images": 3, "labels": 1}
_TYPES = {8: "unsigned bytes", 9: "signed bytes", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}
# No deflate stream grows more than this when unpacked, so a header that claims more cannot be right.
_DEFLATE_AT_MOST = 1032
_CHUNK = 1 << 20
_SPLIT_WORDS: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("t10k", "test")}


def names(prefix: str, kind: Kind) -> list[str]:
    """The file names looked for, the best first: plain before gzipped, a hyphen before a dot."""
    return [f"{prefix}{kind}{mark}idx{_AXES[kind]}-ubyte{end}" for end in ("", ".gz") for mark in "-."]


def find(folder: Path, prefix: str, kind: Kind) -> Path | None:
    """The file of that prefix and kind in a folder, or None."""
    return next((folder / name for name in names(prefix, kind) if (folder / name).is_file()), None)


def is_idx(path: Path) -> bool:
    """Whether a file is to be read as IDX: by its name, or because it begins like one."""
    if _NAME.fullmatch(path.name):
        return True
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        return False
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in _TYPES


def holds_idx(folder: Path) -> bool:
    """Whether a folder has IDX files directly inside, by their names."""
    return any(_NAME.fullmatch(path.name) and path.is_file() for path in folder.iterdir())


def read_array(path: Path, kind: Kind, *, sha256: str | None = None) -> np.ndarray:
    """Read one IDX file of unsigned bytes.

    Args:
        path: plain or gzipped; the content tells which, not the name.
        kind: "images" for [N H W], "labels" for [N].
        sha256: what the SHA-256 of the decompressed file has to be, hex; None for any.

    Returns:
        The array, uint8.

    Raises:
        DataError: it is no such file, is cut short, goes on after its end, or has another SHA-256.
    """
    try:
        with path.open("rb") as raw:
            size = os.fstat(raw.fileno()).st_size
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if gzipped:
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    head, array = _parse(path, kind, unpacked, size * _DEFLATE_AT_MOST)
            elif path.suffix == ".gz":
                raise DataError(f"{path}: is named .gz but is no gzip file; expected gzipped IDX {kind}; get it again")
            else:
                head, array = _parse(path, kind, raw, size)
    except EOFError as error:
        raise DataError(f"{path}: the gzip file is cut short; expected gzipped IDX {kind}; get it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: the gzip file is damaged ({one_line(error)}); expected gzipped IDX {kind}; get it again"
        ) from error
    except OSError as error:
        raise unreadable(path, error, f"IDX {kind}") from error
    if sha256 is not None:
        digest = hashlib.sha256(head)
        digest.update(array.data)
        if digest.hexdigest() != sha256:
            raise DataError(
                f"{path}: the SHA-256 of its decompressed bytes begins with {digest.hexdigest()[:12]}; expected "
                f"{sha256[:12]} of the original; replace it by the original file, or give its folder as a path"
            )
    return array


def _parse(path: Path, kind: Kind, stream: io.BufferedIOBase, at_most: int) -> tuple[bytes, np.ndarray]:
    """Header and array of an open IDX file from which no more than `at_most` bytes can come."""
    axes = _AXES[kind]
    wanted = f"expected IDX {kind}, which begin with 00 00 08 {axes:02x}"
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        found = f"begins with {magic.hex(' ')}, so it is no IDX file" if magic else "is empty"
        raise DataError(f"{path}: {found}; {wanted}; give another file")
    if magic[2] != 8:
        raise DataError(f"{path}: holds {_TYPES[magic[2]]}; {wanted} (unsigned bytes); convert it")
    if magic[3] != axes:
        other = {1: "labels", 3: "images"}.get(magic[3], f"an array of {magic[3]} axes")
        raise DataError(
            f"{path}: holds {other} (it begins with {magic.hex(' ')}); {wanted}; give the file named "
            f"...{names('', kind)[0]}"
        )
    lengths = stream.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise DataError(f"{path}: is cut short inside its header; expected {4 + 4 * axes} bytes of it; get it again")
    shape = struct.unpack(f">{axes}I", lengths)
    bytes_claimed = math.prod(shape)
    claim = f"its header claims {' x '.join(f'{length:,}' for length in shape)} bytes"
    if bytes_claimed == 0:
        raise DataError(f"{path}: {claim}, which is nothing; expected at least one of its {kind}; give another file")
    if bytes_claimed > MAX_BYTES:
        raise DataError(
            f"{path}: {claim}; expected at most {MAX_BYTES:,} in all; get it again if it is damaged, or cut it into "
            f"smaller files"
        )
    short = "expected all of them: the file is cut short; get it again"
    if bytes_claimed > at_most:
        raise DataError(f"{path}: {claim}, and it cannot hold more than {at_most:,}; {short}")
    array = np.empty(bytes_claimed, np.uint8)
    view, filled = array.data, 0
    while filled < bytes_claimed:
        count = stream.readinto(view[filled : filled + _CHUNK])
        if not count:
            raise DataError(f"{path}: {claim}, and only {filled:,} follow; {short}")
        filled += count
    if stream.read(1):
        raise DataError(f"{path}: {claim}, and more follow; expected the file to end there; get it again")
    return magic + lengths, array.reshape(shape)


def read_file(path: Path) -> Reading:
    """Read an images file together with the labels file beside it, which is found by name.

    Args:
        path: a file named ...images-idx3-ubyte, plain or .gz.

    Raises:
        DataError: one of the two is missing or wrong, or they differ in length.
    """
    images = read_array(path, "images")
    match = _NAME.fullmatch(path.name)
    if match is None or match["kind"] != "images":
        raise DataError(
            f"{path}: its name does not tell which file has the labels; expected ...{names('', 'images')[0]} beside "
            f"...{names('', 'labels')[0]}; rename both"
        )
    labels = read_array(_labels_beside(path, match["prefix"]), "labels")
    return pair(path, images, labels, number_names([labels]), path.name)


def read_folder(folder: Path, split: Split) -> Reading:
    """Read the pair of IDX files that holds a split.

    Images named with `train` are the training images, those with `t10k` or `test` the test images; where there is
    only one pair and its name has none of these words, it serves as either. There are as many classes as the largest
    label of both splits says.

    Raises:
        DataError: no pair or more than one answers to the split, or a file of it is wrong.
    """
    prefixes = sorted(
        {
            match["prefix"]
            for path in folder.iterdir()
            if (match := _NAME.fullmatch(path.name)) and match["kind"] == "images" and path.is_file()
        }
    )
    by_split = {
        which: [prefix for prefix in prefixes if any(word in prefix.lower() for word in words)]
        for which, words in _SPLIT_WORDS.items()
    }
    unsplit = not any(by_split.values()) and len(prefixes) == 1
    chosen = prefixes if unsplit else by_split[split]
    if len(chosen) != 1:
        found = ", ".join(f"{prefix}images" for prefix in prefixes) or "no images file"
        example = {"train": "train", "test": "t10k"}[split]
        raise DataError(
            f"{folder}: has {found}; expected one pair for the {split} split, such as {example}-images-idx3-ubyte and "
            f"{example}-labels-idx1-ubyte; add it, or give the images file itself"
        )
    path = find(folder, chosen[0], "images")
    assert path is not None
    images, labels = read_array(path, "images"), read_array(_labels_beside(path, chosen[0]), "labels")
    everywhere = [labels]
    for which, others in by_split.items():
        if which != split and len(others) == 1 and (other := find(folder, others[0], "labels")):
            everywhere.append(read_array(other, "labels"))
    name = f"{folder.resolve().name} {'all' if unsplit else split}"
    return pair(path, images, labels, number_names(everywhere), name)


def pair(path: Path, images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], name: str) -> Reading:
    """Put images [N H W] and labels [N] together.

    Raises:
        DataError: they differ in number.
    """
    if len(images) != len(labels):
        raise DataError(
            f"{path}: has {len(images):,} images but its labels file has {len(labels):,} labels; expected as many of "
            f"both; get both files from one place"
        )
    return Reading(images[:, None], labels, class_names, name)


def _labels_beside(path: Path, prefix: str) -> Path:
    found = find(path.parent, prefix, "labels")
    if found is None:
        raise DataError(
            f"{path}: has no labels file beside it; expected {names(prefix, 'labels')[0]} (or .gz) in {path.parent}; "
            f"put it there"
        )
    return found
