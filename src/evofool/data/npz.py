"""NumPy archives (.npz) of images and labels, never with pickled objects."""

from __future__ import annotations

import difflib
import math
import zipfile
from pathlib import Path
from typing import get_args

import numpy as np

from ..errors import DataError, nearest
from .dataset import MAX_BYTES, ZIP_TROUBLE, Reading, Split, number_names, one_line, unreadable

IMAGES = ("images", "x")
LABELS = ("labels", "y")
CLASS_NAMES = "class_names"

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_ROWS = 4096  # converted at a time, so that a copy in float64 of everything never exists


def keys(bases: tuple[str, ...], split: Split) -> tuple[str, ...]:
    """Names under which the arrays of a split are looked for: x_test, test_x; images_test, test_images; ..."""
    return tuple(name for base in bases for name in (f"{base}_{split}", f"{split}_{base}"))


def read(path: Path, split: Split) -> Reading:
    """Read images and labels of a split from an archive.

    Images are named `images_test`, `test_images`, `x_test` or `test_x` (likewise for train), labels `labels_test`,
    `test_labels`, `y_test` or `test_y`; without a split they are `images` or `x` with `labels` or `y`, and serve as
    either split. `class_names`, an array of strings in the order of the labels, is optional: without it classes are
    "0", "1", ... up to the largest label of the archive.

    Images are [N H W], [N H W C] or [N C H W] with C 1 or 3: integers in 0..255, or floats in [0, 1], which are
    rounded to the nearest 1/255. Labels are integers in 0..255, [N] or [N 1].

    Raises:
        DataError: anything else, naming the array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive, split)
    except ZIP_TROUBLE as error:
        raise DataError(
            f"{path}: is damaged or no .npz file ({one_line(error)}); expected what numpy.savez writes; save it again"
        ) from error
    except OSError as error:
        raise unreadable(path, error, "an .npz file") from error


def _read(path: Path, archive: zipfile.ZipFile, split: Split) -> Reading:
    held = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    other: Split = "train" if split == "test" else "test"
    is_split = any(key in held for which in (split, other) for key in keys(IMAGES, which))
    image_key = _choose(path, held, keys(IMAGES, split) if is_split else IMAGES, f"{split} images")
    label_key = _choose(path, held, keys(LABELS, split) if is_split else LABELS, f"{split} labels")
    images = _images(f"{path} ({image_key})", _array(path, archive, image_key))
    labels = _labels(f"{path} ({label_key})", _array(path, archive, label_key))
    if len(images) != len(labels):
        raise DataError(
            f"{path}: {image_key} has {len(images):,} images but {label_key} has {len(labels):,} labels; expected as "
            f"many of both; save them together"
        )
    everywhere = [labels]
    if is_split:
        everywhere += [
            _labels(f"{path} ({key})", _array(path, archive, key)) for key in keys(LABELS, other) if key in held
        ]
    class_names = number_names(everywhere)
    if CLASS_NAMES in held:
        class_names = _class_names(path, _array(path, archive, CLASS_NAMES), len(class_names))
    return Reading(images, labels, class_names, f"{path.stem} {split if is_split else 'all'}")


def _choose(path: Path, held: list[str], expected: tuple[str, ...], what: str) -> str:
    found = [key for key in expected if key in held]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{path}: has {' and '.join(found)}; expected one array of {what}; remove the others")
    known = {*IMAGES, *LABELS, CLASS_NAMES, *(key for which in get_args(Split) for key in keys(IMAGES + LABELS, which))}
    close = [key for key in held if key not in known and difflib.get_close_matches(key, expected, n=1, cutoff=0.5)]
    if close:
        raise DataError(
            f"{path}: has no {what} under a name expected, but {close[0]!r}{nearest(close[0], expected)}; rename it"
        )
    found_names = ", ".join(map(repr, sorted(held))) or "no array"
    raise DataError(f"{path}: has {found_names} and no {what}; expected {' or '.join(expected)}; add it, or rename one")


def _array(path: Path, archive: zipfile.ZipFile, key: str) -> np.ndarray:
    """One array, after its header was found to promise neither objects nor more bytes than there are."""
    where = f"{path} ({key})"
    member = archive.getinfo(f"{key}.npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(
            f"{where}: is compressed by method {member.compress_type}; expected what numpy.savez or savez_compressed "
            f"writes; save it again"
        )
    try:
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            if version not in _HEADERS:
                raise ValueError(f"format version {version[0]}.{version[1]}")
            shape, _, dtype = _HEADERS[version](stream)
            if dtype.hasobject:
                raise DataError(
                    f"{where}: holds pickled objects, which are never loaded; expected an array of numbers; convert it "
                    f"with numpy.asarray(..., dtype='uint8') and save it again"
                )
            claimed, follow = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
            if claimed > MAX_BYTES:
                raise DataError(
                    f"{where}: its header claims shape {shape} of {dtype}, {claimed:,} bytes; expected at most "
                    f"{MAX_BYTES:,}; save it as uint8, or fewer images"
                )
            if claimed != follow:
                raise DataError(
                    f"{where}: its header claims shape {shape} of {dtype}, {claimed:,} bytes, but {follow:,} follow; "
                    f"expected as many; save it again"
                )
        with archive.open(member) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except ValueError as error:
        raise DataError(
            f"{where}: is no NumPy array that can be read ({one_line(error)}); expected what numpy.savez writes; save "
            f"it again"
        ) from error


def _images(where: str, array: np.ndarray) -> np.ndarray:
    """Bytes [N C H W] of whatever array of images it is."""
    shape = array.shape
    expected = "expected [N H W], [N H W C] or [N C H W] with C 1 or 3"
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim != 4:
        raise DataError(f"{where}: has shape {shape}; {expected}; reshape it")
    elif shape[1] in (1, 3) and shape[3] in (1, 3):
        raise DataError(
            f"{where}: shape {shape} does not tell which axis is C; {expected}; save the images as PNG files"
        )
    elif shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    elif shape[1] not in (1, 3):
        raise DataError(f"{where}: has shape {shape}; {expected}; reshape it")
    if array.size == 0:
        raise DataError(f"{where}: has shape {shape}, which is nothing; expected one image or more; give another file")
    if array.dtype.kind not in "uif":
        raise DataError(f"{where}: is of {array.dtype}; expected integers in 0..255 or floats in [0, 1]; convert it")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    images = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), _ROWS):
        part = array[start : start + _ROWS]
        if array.dtype.kind == "f":
            if np.isnan(part).any():
                raise DataError(f"{where}: holds NaN; expected floats in [0, 1]; replace them")
            _check_range(where, part, 1, f"{array.dtype} in [0, 1]", "divide by the largest level, or save it as uint8")
            images[start : start + _ROWS] = np.rint(part.astype(np.float64) * 255)
        else:
            _check_range(where, part, 255, f"{array.dtype} in 0..255", "scale it and save it as uint8")
            images[start : start + _ROWS] = part
    return images


def _labels(where: str, array: np.ndarray) -> np.ndarray:
    """int64 [N] of an array of labels."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.size == 0:
        raise DataError(
            f"{where}: has shape {array.shape}; expected labels [N]; take argmax(axis=1) if they are one-hot"
        )
    if array.dtype.kind not in "ui":
        raise DataError(f"{where}: is of {array.dtype}; expected integer labels; convert it with astype('int64')")
    _check_range(where, array, 255, "labels in 0..255", "number the classes from 0")
    return array.astype(np.int64)


def _class_names(path: Path, array: np.ndarray, at_least: int) -> tuple[str, ...]:
    where = f"{path} ({CLASS_NAMES})"
    if array.ndim != 1 or array.dtype.kind != "U":
        raise DataError(
            f"{where}: is of {array.dtype} with shape {array.shape}; expected a list of strings; save "
            f"numpy.array([...], dtype=str)"
        )
    names = tuple(map(str, array))
    if len(names) < at_least:
        raise DataError(
            f"{where}: has {len(names)} names but the largest label is {at_least - 1}; expected a name for each label "
            f"from 0; add the missing ones"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{where}: has {twice!r} twice; expected names that differ; rename one")
    return names


def _check_range(where: str, array: np.ndarray, top: int, expected: str, remedy: str) -> None:
    low, high = array.min(), array.max()
    if low < 0 or high > top:
        raise DataError(f"{where}: holds {low if low < 0 else high}; expected {expected}; {remedy}")
