"""Which files an ONNX graph takes its weights from: read from its bytes, without the library that writes them."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from ...errors import ClassifierError

# By the numbers of the fields in onnx.proto: where a message that may name such a file can stand.
_PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
Bytes = mmap.mmap | bytes


def external_files(path: Path) -> list[Path]:
    """The files beside an ONNX file that hold some of its weights, sorted.

    Raises:
        ClassifierError: it cannot be read, is no ONNX file or not a whole one; or names a file that is not there, or
            that lies outside its folder, where a model has nothing to look for.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            names = set(_locations(content, 0, len(content), "model"))
    except OSError as error:
        raise ClassifierError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise ClassifierError(f"{path}: is not an ONNX file, or not a whole one; export or copy it again") from None
    return [_beside(path, name) for name in sorted(names)]


def _beside(path: Path, name: str) -> Path:
    homes = {path.absolute().parent.resolve(), path.resolve().parent}  # a cache keeps a folder of links to its files
    found = path.parent / name
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor
    if absolute or ".." in parts or not any(found.resolve().is_relative_to(home) for home in homes):
        raise ClassifierError(
            f"{path}: takes weights from '{name[:200]}', outside its own folder, which is refused; expected a file "
            f"beside it"
        )
    if not found.is_file():
        raise ClassifierError(f"{path}: its weights are in '{name[:200]}', which is missing; copy it beside the model")
    return found


def _locations(content: Bytes, start: int, end: int, kind: str) -> Iterator[str]:
    for number, first, last in _fields(content, start, end):
        part = _PARTS[kind].get(number)
        if part == "entry":
            entry = {name: bytes(content[a:b]) for name, a, b in _fields(content, first, last)}
            if entry.get(_KEY) == b"location":
                yield entry.get(_VALUE, b"").decode()
        elif part:
            yield from _locations(content, first, last, part)


def _fields(content: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field of a message that has a length."""
    while start < end:
        tag, start = _varint(content, start, end)
        wire = tag & 7
        if wire == _LENGTH:
            length, start = _varint(content, start, end)
            if length > end - start:
                raise ValueError("cut short")
            yield tag >> 3, start, start + length
            start += length
        elif wire == _VARINT:
            _, start = _varint(content, start, end)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            start += 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError("no such kind of field")
    if start > end:
        raise ValueError("cut short")


def _varint(content: Bytes, start: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while start < end and shift < 70:
        byte = content[start]
        value |= (byte & 127) << shift
        start, shift = start + 1, shift + 7
        if byte < 128:
            return value, start
    raise ValueError("cut short")
