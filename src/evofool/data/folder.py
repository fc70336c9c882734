"""Image folders, one class per folder (ImageFolder), as directories and as zip files of the same layout.

Class folders stand directly inside, or inside train/ and test/; one folder around all of that is looked through. The
classes are the sorted names of the class folders of both splits together, so that a class has the same number in
either. Hidden files, __MACOSX and files whose ending is of no image format known here are left out.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from PIL import Image

from ..errors import DataError, SizesError
from .dataset import (
    MAX_BYTES,
    MAX_PIXELS,
    RESAMPLING,
    ZIP_TROUBLE,
    Progress,
    Reading,
    Size,
    Split,
    check_bytes,
    one_line,
    unreadable,
)

# Only these decoders are ever tried: Pillow has others that start programs (EPS) or that nobody needs here.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".pbm", ".ppm", ".tif", ".tiff", ".webp")
MAX_RATIO = 100

_SPLITS: tuple[Split, ...] = ("train", "test")
_GRAY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N")
_TELL_EVERY = 500

Parts = tuple[str, ...]


class Source(Protocol):
    """Where files come from: a directory or a zip file."""

    @property
    def path(self) -> Path:
        """The directory or the zip file itself."""
        ...

    def listing(self, parts: Parts) -> tuple[list[str], list[str]]:
        """Names of the folders and of the image files directly inside a folder, sorted, without hidden ones."""
        ...

    def open(self, parts: Parts) -> BinaryIO:
        """The bytes of a file."""
        ...

    def where(self, parts: Parts) -> str:
        """A file or folder as a message names it."""
        ...


@dataclass(frozen=True)
class Directory:
    """Files on disk."""

    path: Path

    def listing(self, parts: Parts) -> tuple[list[str], list[str]]:
        """See Source."""
        folder = self.path.joinpath(*parts)
        folders, files = [], []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if _hidden(entry.name):
                        continue
                    if entry.is_dir():
                        folders.append(entry.name)
                    elif _is_image(entry.name):
                        files.append(entry.name)
        except OSError as error:
            raise unreadable(Path(error.filename or folder), error, "a folder of images") from error
        return sorted(folders), sorted(files)

    def open(self, parts: Parts) -> BinaryIO:
        """See Source."""
        return self.path.joinpath(*parts).open("rb")

    def where(self, parts: Parts) -> str:
        """See Source."""
        return str(self.path.joinpath(*parts))


@dataclass(frozen=True)
class Archive:
    """Files inside a zip file, read in place: nothing is ever unpacked to disk."""

    path: Path
    file: zipfile.ZipFile
    tree: dict[Parts, tuple[set[str], dict[str, zipfile.ZipInfo]]]

    @classmethod
    def of(cls, path: Path, file: zipfile.ZipFile) -> Archive:
        """Look through the names and sizes that a zip file claims, and refuse what cannot be trusted.

        Raises:
            DataError: an entry has an absolute path or `..`, is a link, is encrypted, comes twice, grows more than
                MAX_RATIO times, or all together are larger than MAX_BYTES.
        """
        tree: dict[Parts, tuple[set[str], dict[str, zipfile.ZipInfo]]] = {(): (set(), {})}
        total = 0
        for entry in file.infolist():
            name = entry.filename.replace("\\", "/")
            parts = tuple(part for part in name.split("/") if part not in ("", "."))
            ratio = entry.file_size / max(entry.compress_size, 1)
            trouble = None
            if name.startswith("/") or name[1:2] == ":" or ".." in parts:
                trouble = "leads out of the archive; expected a path inside it"
            elif stat.S_ISLNK(entry.external_attr >> 16):
                trouble = "is a link; expected files and folders only"
            elif entry.flag_bits & 1:
                trouble = "is encrypted; expected files that need no password"
            elif ratio > MAX_RATIO:
                trouble = f"grows {ratio:,.0f} times when unpacked; expected at most {MAX_RATIO}"
            if trouble:
                raise DataError(f"{path}: entry {entry.filename!r} {trouble}; pack the images again, or give a folder")
            total += entry.file_size
            if any(map(_hidden, parts)) or not parts:
                continue
            folders = parts if entry.is_dir() or name.endswith("/") else parts[:-1]
            for depth, folder in enumerate(folders):
                tree[folders[:depth]][0].add(folder)
                tree.setdefault(folders[: depth + 1], (set(), {}))
            if len(folders) < len(parts) and _is_image(parts[-1]):
                if parts[-1] in tree[folders][1]:
                    raise DataError(
                        f"{path}: entry {entry.filename!r} comes twice; expected names that differ; pack the images "
                        f"again"
                    )
                tree[folders][1][parts[-1]] = entry
        if total > MAX_BYTES:
            raise DataError(
                f"{path}: its files take {total / 1e9:.1f} GB when unpacked; expected at most "
                f"{MAX_BYTES / 1e9:.0f} GB; pack fewer images, or give a folder"
            )
        return cls(path, file, tree)

    def listing(self, parts: Parts) -> tuple[list[str], list[str]]:
        """See Source."""
        folders, files = self.tree[parts]
        return sorted(folders), sorted(files)

    def open(self, parts: Parts) -> BinaryIO:
        """See Source."""
        return io.BytesIO(self.file.read(self.tree[parts[:-1]][1][parts[-1]]))

    def where(self, parts: Parts) -> str:
        """See Source."""
        # Names inside an archive may hold anything, also line breaks and terminal codes.
        return f"{self.path}: {'/'.join(parts)!r}" if parts else str(self.path)


def read_directory(
    path: Path,
    split: Split,
    *,
    size: Size | None = None,
    channels: int | None = None,
    unlabelled: bool = False,
    progress: Progress | None = None,
) -> Reading:
    """Read the images of a split from a directory.

    Args:
        path: holds class folders, or train/ and test/ with class folders.
        split: without train/ and test/ all images serve as either split.
        size: height and width to resize to (antialiased, the aspect is not kept); None expects one size in all images.
        channels: 1 gray, 3 colour; None is gray if every image is, else colour.
        unlabelled: a folder of images without class folders will do as well: its labels are -1, and it has no classes.
        progress: called with a text, the images read and their number.

    Raises:
        DataError: the layout is another, or an image cannot be read, is enormous, or of another size than the rest.
    """
    return _read(Directory(path), split, size, channels, progress, unlabelled)


def read_zip(
    path: Path,
    split: Split,
    *,
    size: Size | None = None,
    channels: int | None = None,
    unlabelled: bool = False,
    progress: Progress | None = None,
) -> Reading:
    """Read the images of a split from a zip file; see read_directory and Archive.of.

    Raises:
        DataError: as read_directory; or the zip file is damaged or not to be trusted.
    """
    try:
        with zipfile.ZipFile(path) as file:
            return _read(Archive.of(path, file), split, size, channels, progress, unlabelled)
    except ZIP_TROUBLE as error:
        raise DataError(
            f"{path}: is damaged or no zip file ({one_line(error)}); expected a zip of image folders; get it again"
        ) from error
    except OSError as error:
        raise unreadable(path, error, "a zip of image folders") from error


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_image(name: str) -> bool:
    return name.lower().endswith(ENDINGS)


def _read(
    source: Source,
    split: Split,
    size: Size | None,
    channels: int | None,
    progress: Progress | None,
    unlabelled: bool,
) -> Reading:
    path = source.path.resolve()
    stem = path.stem if path.is_file() else path.name
    if unlabelled and (flat := _flat(source)):
        images, found = _decode(source, flat, size, channels, progress)
        named = tuple("/".join(parts) for parts in flat)
        return Reading(images, np.full(len(flat), -1, np.int64), (), stem, named, found)
    class_names, folders, is_split = _layout(source, split)
    members: list[Parts] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        if name in folders:
            files = _images_of(source, folders[name])
            members += [(*folders[name], file) for file in files]
            labels += [label] * len(files)
    images, found = _decode(source, members, size, channels, progress)
    named = tuple("/".join(parts) for parts in members)
    name = f"{stem} {split if is_split else 'all'}"
    return Reading(images, np.array(labels, np.int64), class_names, name, named, found)


def _flat(source: Source) -> list[Parts]:
    """The images of a folder that has no folders, or of the one folder in it; [] where there are folders."""
    top: Parts = ()
    folders, files = source.listing(top)
    if len(folders) == 1 and not files and not source.listing((folders[0],))[0]:
        top = (folders[0],)
        folders, files = source.listing(top)
    return [] if folders else [(*top, file) for file in files]


def _layout(source: Source, split: Split) -> tuple[tuple[str, ...], dict[str, Parts], bool]:
    """Class names, the folder of each class in this split, and whether there are splits at all."""
    top: Parts = ()
    folders, files = source.listing(top)
    if len(folders) == 1 and not files and folders[0] not in _SPLITS and source.listing((folders[0],))[0]:
        top = (folders[0],)
        folders, files = source.listing(top)
    where = source.where(top)
    wanted = "expected one folder per class, directly inside or inside train/ and test/"
    if not folders:
        found = f"holds {len(files)} images but no folder" if files else "holds no folder and no image"
        raise DataError(f"{where}: {found}; {wanted}; sort the images into folders, or give another folder")
    splits = [name for name in _SPLITS if name in folders and source.listing((*top, name))[0]]
    if splits and split not in splits:
        raise DataError(
            f"{where}: has {', '.join(repr(name) for name in folders)} but no {split}/ with class folders; expected "
            f"train/ and test/; add {split}/, or give {splits[0]}/ itself"
        )
    base = (*top, split) if splits else top
    inside = source.listing(base)[0] if splits else folders
    class_names = tuple(sorted({name for each in splits for name in source.listing((*top, each))[0]} or set(folders)))
    if len(class_names) < 2:
        raise DataError(
            f"{where}: has one class folder, {class_names[0]!r}; expected two or more; add a folder with images of "
            f"another class"
        )
    return class_names, {name: (*base, name) for name in inside}, bool(splits)


def _images_of(source: Source, folder: Parts) -> list[str]:
    """The image files of a class folder."""
    deeper, files = source.listing(folder)
    if deeper:
        raise DataError(
            f"{source.where(folder)}: is taken for a class but holds a folder, {deeper[0]!r}; expected images directly "
            f"inside class folders, which stand in the folder given or in its train/ and test/; move or rename them"
        )
    if not files:
        raise DataError(
            f"{source.where(folder)}: has no image ({', '.join(ENDINGS)}); expected one or more; add images, or remove "
            f"the folder"
        )
    return files


def _decode(
    source: Source, members: list[Parts], size: Size | None, channels: int | None, progress: Progress | None
) -> tuple[np.ndarray, tuple[tuple[int, int, int], ...]]:
    """Decode all members into one array of bytes [N C H W]; and the shape (C, H, W) in which each was found."""
    images: np.ndarray | None = None
    found: list[tuple[int, int, int]] = []
    with warnings.catch_warnings():
        # Pillow warns from 89 million pixels on; ours is the stricter limit, and an error.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for index, parts in enumerate(members):
            where = source.where(parts)
            with _opened(source, parts, where) as picture:
                if size is None and images is not None and (picture.height, picture.width) != images.shape[2:]:
                    raise SizesError(
                        f"{where}: is {picture.height} x {picture.width} pixels high and wide, but "
                        f"{source.where(members[0])} is {images.shape[2]} x {images.shape[3]}; expected one size in "
                        f"all images; resize them, or name a shape: --with image_shape=CxHxW, and --image-size N to "
                        f"`evofool train`"
                    )
                found.append((1 if picture.mode in _GRAY_MODES else 3, picture.height, picture.width))
                pixels = _pixels(picture, where, size, channels)
            if images is None:
                shape = (len(members), len(pixels), *pixels.shape[1:])
                check_bytes(source.path, shape)
                images = np.empty(shape, np.uint8)
            elif images.shape[1] < len(pixels):
                # The first image in colour among gray ones: from here on all are in colour.
                check_bytes(source.path, (len(members), 3, *images.shape[2:]))
                images = np.repeat(images, 3, axis=1)
            images[index] = pixels
            if progress is not None and ((index + 1) % _TELL_EVERY == 0 or index + 1 == len(members)):
                progress(f"reading {source.path.name}", index + 1, len(members))
    assert images is not None
    return images, tuple(found)


@contextmanager
def _opened(source: Source, parts: Parts, where: str) -> Iterator[Image.Image]:
    """An image whose header was found acceptable; every trouble with it, also in the block, becomes a DataError."""
    try:
        with source.open(parts) as stream, Image.open(stream, formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{picture.width:,} x {picture.height:,} pixels")
            yield picture
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{where}: is enormous ({one_line(error)}); expected at most {MAX_PIXELS:,} pixels; make it smaller, or "
            f"remove it"
        ) from error
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{where}: is damaged inside the zip file ({one_line(error)}); expected an image; pack it again"
        ) from error
    except Exception as error:
        # A decoder that meets foreign bytes may raise anything.
        reason = "it is none of these formats" if isinstance(error, Image.UnidentifiedImageError) else one_line(error)
        raise DataError(
            f"{where}: cannot be read as an image ({reason}); expected one of {', '.join(FORMATS)}; replace it, or "
            f"remove it"
        ) from error


def _pixels(picture: Image.Image, where: str, size: Size | None, channels: int | None) -> np.ndarray:
    """Bytes [1 H W] or [3 H W] of an open image.

    What is transparent is laid on white, as viewers show it. A turn that a camera only noted (EXIF) is not made.
    """
    is_gray = picture.mode in _GRAY_MODES
    mode = "L" if channels == 1 or (channels is None and is_gray) else "RGB"
    if picture.mode in ("I", "F"):
        raise DataError(
            f"{where}: has 32-bit gray levels, of which none is known to be white; expected 8 or 16 bits; save it "
            f"again with 8"
        )
    if picture.mode.startswith("I;16"):
        levels = np.asarray(picture).astype(np.uint32)
        picture = Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    if picture.mode != mode:
        picture = picture.convert(mode)
    if size is not None and (picture.height, picture.width) != size:
        picture = picture.resize((size[1], size[0]), RESAMPLING)
    pixels = np.asarray(picture)
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)
