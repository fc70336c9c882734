"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

from .errors import DamagedRunError, EvofoolError, UserError
from .shapes import Tensor, UInt8


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file through a temporary one beside it, flushed to the disk before it takes its name.

    Raises:
        UserError: the system refused; names the file and the reason.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place or make room") from None


def sync_folder(path: Path) -> None:
    """Flush the names in a folder to the disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_png(path: Path, image: UInt8[Tensor, "C H W"]) -> None:
    """Write bytes as a PNG, gray or RGB; decoded, it is the same bytes."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def read_json(path: Path, *, limit: int = 50_000_000) -> Any:
    """Read a file of a run directory as JSON.

    Raises:
        DamagedRunError: it is missing, a link, larger than `limit` bytes, or not JSON.
        UserError: the system refused to read it.
    """
    try:
        return json.loads(read_whole(path, limit=limit))
    except (ValueError, RecursionError) as error:
        raise DamagedRunError(f"{path}: is not JSON ({error})") from None


def read_whole(path: Path, *, limit: int) -> bytes:
    """Read a file of a run directory.

    Raises:
        DamagedRunError: it is missing, a link, or larger than `limit` bytes.
        UserError: the system refused to read it.
    """
    refuse_link(path)
    try:
        if path.stat().st_size > limit:
            raise DamagedRunError(f"{path}: has {path.stat().st_size:,} bytes; expected at most {limit:,}")
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def sha256(path: Path) -> str:
    """Of the bytes of a file, hex.

    Raises:
        DamagedRunError: it is missing.
        UserError: the system refused to read it.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> EvofoolError:
    """A file that is not there is damage; one that the system keeps from us is for the user to put right."""
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return DamagedRunError(f"{path}: cannot be read ({error.strerror})")
    return UserError(f"{path}: cannot be read ({error.strerror}); put that right, then try again")


def refuse_link(path: Path, *, folder: bool = False) -> None:
    """A run directory holds plain files of its own.

    Args:
        folder: a folder is expected there.

    Raises:
        DamagedRunError: the path is a link, or something that is no file.
    """
    if path.is_symlink() or (path.exists() and not (path.is_dir() if folder else path.is_file())):
        raise DamagedRunError(f"{path}: is a link or no file at all; a run directory holds plain files only")


_NETWORKED: tuple[str, ...] = (
    *("nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "lustre", "davfs", "beegfs", "gpfs"),
    *(f"fuse.{name}" for name in ("sshfs", "gluster", "rclone", "s3fs", "juicefs", "goofys")),
)


def refuse_network(path: Path) -> None:
    """SQLite's write-ahead log needs shared memory, which a network file system has not.

    Raises:
        UserError: names the file system.
    """
    kind = filesystem(path)
    if kind.startswith(_NETWORKED):
        raise UserError(
            f"{path}: lies on a network file system ({kind}), where SQLite cannot keep its promises; choose a local "
            "directory for the run"
        )


def filesystem(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that a path lies on; "" where the system does not tell.

    Args:
        mounts: the table of mounts, as in /proc/self/mounts, which is read if it is left out.
    """
    try:
        table = Path("/proc/self/mounts").read_text() if mounts is None else mounts
    except OSError:
        return ""
    longest, kind = "", ""
    where = os.path.realpath(path)
    for line in table.splitlines():
        _, mount, this, *_ = line.split()
        mount = mount.replace("\\040", " ")
        inside = where == mount or where.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(longest):
            longest, kind = mount, this
    return kind


_PIXELS = 50_000_000


def read_png(path: Path) -> UInt8[Tensor, "C H W"]:
    """Read a PNG, gray or RGB, as bytes.

    Raises:
        DamagedRunError: it is missing, a link, or not such a PNG.
    """
    import numpy as np
    import torch
    from PIL import Image

    refuse_link(path)
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in ("L", "RGB"):
                raise DamagedRunError(f"{path}: is a PNG of mode {image.mode}; expected gray or RGB")
            if image.width * image.height > _PIXELS:  # before any of them is decoded
                raise DamagedRunError(
                    f"{path}: has {image.width} x {image.height} pixels; expected at most {_PIXELS:,}"
                )
            pixels = torch.from_numpy(np.array(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DamagedRunError(f"{path}: cannot be read as a PNG ({error})") from None
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
