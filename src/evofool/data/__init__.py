"""Images with labels, from whatever form they are kept in, as one Dataset of bytes in memory.

`load_data` is the front door, and what it takes for `spec` is what the command line takes for `--data`:

    mnist                          looked for on this machine, else downloaded; always the original bytes (mnist.py)
    digits                         scikit-learn's, embedded, 28 x 28, 797 train and 1,000 test (digits.py)
    a folder or a .zip             one folder per class, directly inside or inside train/ and test/ (folder.py)
    a folder of IDX files          train-images-idx3-ubyte and the like, plain or .gz (idx.py)
    ...images-idx3-ubyte[.gz]      one IDX file, with its labels file beside it (idx.py)
    a .npz                         arrays of images and labels under documented names (npz.py)

A name wins over a folder of the same name; write ./mnist for the folder. Data that knows no splits serves as either,
and then its name ends in "all" (or is the file's own).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

from ..contracts import Dataset
from ..errors import DataError, nearest
from . import digits, folder, idx, mnist, npz
from .dataset import (
    Channels,
    Progress,
    Reading,
    Split,
    assemble,
    background,
    check_request,
    fingerprint,
    split_off,
    unreadable,
)

__all__ = [
    "NAMES",
    "Channels",
    "Progress",
    "Split",
    "background",
    "fingerprint",
    "load_data",
    "load_test_images",
    "split_off",
]

NAMES = ("digits", "mnist")


def load_data(
    spec: str,
    *,
    split: Split = "test",
    data_dir: Path | None = None,
    size: tuple[int, int] | None = None,
    channels: Channels | None = None,
    unlabelled: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Read images with labels.

    Args:
        spec: `mnist`, `digits`, or a path; see the top of this file.
        split: which images; data that knows no splits gives all for either.
        data_dir: where the files of `mnist` are looked for first; of no meaning for the rest.
        size: height and width in pixels to resize to, antialiased, aspect not kept; None keeps the size, which then
            has to be the same in all images.
        channels: 1 takes the luma of colours, 3 repeats gray levels; None keeps what is there.
        unlabelled: take a folder or a .zip of images without class folders, too; their labels are -1.
        progress: called with a text, how much is done and of how much (0 if unknown), while that takes a while.

    Returns:
        The data set: uint8 images [N C H W], int64 labels [N].

    Raises:
        DataError: one line that names the file, what was found, what was expected and what to do.
    """
    if split not in get_args(Split):
        known = get_args(Split)
        raise DataError(f"split {split!r} is unknown{nearest(str(split), known)}; expected one of these; correct it")
    check_request(size, channels)
    path = Path(os.path.expanduser(spec))
    try:
        if spec == "mnist":
            reading = mnist.read(split, data_dir=data_dir, progress=progress)
        elif spec == "digits":
            reading = digits.read(split, size)
        else:
            reading = _read(path, split, size, channels, progress, unlabelled)
    except OSError as error:
        raise unreadable(Path(error.filename or path), error, "images with labels") from error
    return assemble(path, reading, size, channels)


def load_test_images(
    spec: str,
    *,
    data_dir: str | None = None,
    image_shape: tuple[int, int, int] | None = None,
    unlabelled: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """The images that a classifier is asked about, as the command line names them.

    Args:
        spec, data_dir, unlabelled, progress: as for `load_data`.
        image_shape: (C, H, W) that they are brought to; None = as they are, all of one shape.
    """
    channels, *size = image_shape or (None,)
    return load_data(
        spec,
        split="test",
        data_dir=Path(data_dir) if data_dir else None,
        size=(size[0], size[1]) if size else None,
        channels=channels,  # type: ignore[arg-type]
        unlabelled=unlabelled,
        progress=progress,
    )


def _read(
    path: Path,
    split: Split,
    size: tuple[int, int] | None,
    channels: Channels | None,
    progress: Progress | None,
    unlabelled: bool,
) -> Reading:
    if path.is_dir():
        if idx.holds_idx(path):
            return idx.read_folder(path, split)
        return folder.read_directory(
            path, split, size=size, channels=channels, unlabelled=unlabelled, progress=progress
        )
    if not path.is_file():
        raise DataError(
            f"data {str(path)!r} is no known name, file or folder{nearest(str(path), NAMES)}; expected one of these "
            f"or a path to a folder, .zip, .npz or IDX file; correct it"
        )
    if path.suffix.lower() == ".zip":
        return folder.read_zip(path, split, size=size, channels=channels, unlabelled=unlabelled, progress=progress)
    if path.suffix.lower() == ".npz":
        return npz.read(path, split)
    if idx.is_idx(path) or path.suffix == ".gz":
        return idx.read_file(path)
    raise DataError(
        f"{path}: is of no kind known here; expected a folder of images, .zip, .npz or ...images-idx3-ubyte; convert "
        f"it, or give its folder"
    )
