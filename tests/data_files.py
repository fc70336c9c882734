"""Writers of the formats that evofool reads, written from their definitions, and the check every refusal must pass."""

from __future__ import annotations

import gzip
import struct
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evofool.errors import DataError


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes: two zeros, type 8, number of axes, lengths (big endian), elements."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(path: Path, array: np.ndarray) -> Path:
    """Write an IDX file, gzipped if its name says so."""
    data = idx_bytes(array.astype(np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def write_idx_pair(folder: Path, images: np.ndarray, labels: np.ndarray, prefix: str = "t10k-", end: str = "") -> Path:
    """Write images and labels as MNIST names them; returns the path of the images."""
    write_idx(folder / f"{prefix}labels-idx1-ubyte{end}", labels)
    return write_idx(folder / f"{prefix}images-idx3-ubyte{end}", images)


def some_images(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Random bytes of that shape."""
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def image_bytes(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """An image file of bytes [H W] or [H W 3]."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write_folder(folder: Path, files: Mapping[str, np.ndarray | bytes]) -> Path:
    """Write images (or bytes) under a folder, by relative path."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else image_bytes(content))
    return folder


def write_zip(path: Path, files: Mapping[str, np.ndarray | bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """The same as a zip file."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else image_bytes(content))
    return path


def refused(*words: str, call: Callable[[], Any]) -> str:
    """The call must end in a DataError of one line that has all these words, names what it expected and what to do."""
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    missing = [word for word in (*words, "expected", ";") if word not in message]
    assert not missing, f"{missing} not in: {message}"
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message
