"""MNIST: found on this machine or downloaded, and never anything but the original bytes.

Source: Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database of handwritten digits, 1998. The SHA-256 below are
those of the decompressed IDX files, which do not depend on who gzipped them.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ..errors import DataError
from . import idx
from .dataset import Progress, Reading, Split, one_line

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
TIMEOUT = 120.0
MAX_DOWNLOAD = 16_000_000

_PREFIXES: dict[Split, str] = {"train": "train-", "test": "t10k-"}
_SILENCE = 15.0
_CHUNK = 1 << 16


def read(
    split: Split,
    *,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    mirrors: Sequence[str] | None = None,
    timeout: float = TIMEOUT,
) -> Reading:
    """Read a split of MNIST.

    Each of its two files (plain or .gz) is looked for in data_dir, data_dir/mnist, $EVOFOOL_DATA/mnist and the user
    cache, in this order, and downloaded into the cache where none has it.

    Args:
        split: "train" (60,000 images) or "test" (10,000).
        data_dir: a folder with the files, or with a folder mnist/ that has them.
        progress: called with a text, the bytes downloaded and their number (0 if unknown).
        mirrors: addresses of folders with the files, tried in this order; None is MIRRORS.
        timeout: seconds for one file from one mirror, all together.

    Raises:
        DataError: a file found is not the original, or one is missing and no mirror gave it.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise DataError(f"{data_dir}: is no folder; expected the folder with MNIST's files; correct --data-dir")
    arrays = {}
    path = Path()
    for kind in ("labels", "images"):
        name = idx.names(_PREFIXES[split], kind)[0]
        found = (idx.find(place, _PREFIXES[split], kind) for place in _places(data_dir))
        path = next(filter(None, found), None) or _download(
            f"{name}.gz", kind, MIRRORS if mirrors is None else mirrors, timeout, progress
        )
        arrays[kind] = idx.read_array(path, kind, sha256=SHA256[name])
    return idx.pair(path, arrays["images"], arrays["labels"], tuple("0123456789"), f"mnist {split}")


def cache_dir() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/evofool/mnist, by default ~/.cache/evofool/mnist."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has relative paths ignored.
    return (base if base.is_absolute() else Path.home() / ".cache") / "evofool" / "mnist"


def _places(data_dir: Path | None) -> Iterator[Path]:
    if data_dir is not None:
        yield data_dir
        yield data_dir / "mnist"
    if os.environ.get("EVOFOOL_DATA"):
        yield Path(os.environ["EVOFOOL_DATA"]) / "mnist"
    yield cache_dir()


def _download(name: str, kind: idx.Kind, mirrors: Sequence[str], timeout: float, progress: Progress | None) -> Path:
    """Bring one file into the cache: whole, checked and on disk before it gets its name."""
    from http.client import HTTPException

    folder = cache_dir()
    reasons = []
    for mirror in mirrors:
        part: Path | None = None
        try:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                handle, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=folder)
            except OSError as error:
                raise DataError(
                    f"{folder}: cannot be written ({error.strerror}); expected a cache for MNIST; set XDG_CACHE_HOME, "
                    f"or get the files yourself and give --data-dir"
                ) from error
            part = Path(temporary)
            with os.fdopen(handle, "wb") as file:
                _fetch(mirror + name, file, timeout, progress)
                file.flush()
                os.fsync(file.fileno())
            try:
                idx.read_array(part, kind, sha256=SHA256[name.removesuffix(".gz")])
            except DataError as error:
                raise OSError(str(error).removeprefix(f"{part}: ").split(";")[0]) from error
            part.replace(folder / name)
            return folder / name
        except (OSError, HTTPException, ValueError) as error:
            reasons.append(f"{mirror}: {one_line(error)}")
        finally:
            if part is not None:
                part.unlink(missing_ok=True)
    four = ", ".join(f"{stem}.gz" for stem in SHA256)
    raise DataError(
        f"mnist: {name} is not on this machine and could not be downloaded ({'; '.join(reasons)}); expected the four "
        f"files {four}; get them elsewhere and give their folder with --data-dir, or put them into the folder mnist/ "
        f"of EVOFOOL_DATA"
    )


def _fetch(url: str, file: BinaryIO, timeout: float, progress: Progress | None) -> None:
    """Copy a URL into an open file; OSError where it is too slow, too large or cut short."""
    from urllib.request import urlopen

    deadline = time.monotonic() + timeout
    with urlopen(url, timeout=min(_SILENCE, timeout)) as response:
        total = int(response.headers.get("Content-Length") or 0)
        done = 0
        # read1 returns with what came, so that a mirror that drips cannot hold us past the deadline.
        while chunk := response.read1(_CHUNK):
            done += len(chunk)
            if max(done, total) > MAX_DOWNLOAD:
                raise OSError(f"larger than {MAX_DOWNLOAD:,} bytes")
            if time.monotonic() > deadline:
                raise OSError(f"not done after {timeout:g} seconds")
            file.write(chunk)
            if progress is not None:
                progress(f"downloading {url.rsplit('/', 1)[-1]}", done, total)
    if done < total:
        raise OSError(f"cut short after {done:,} of {total:,} bytes")
