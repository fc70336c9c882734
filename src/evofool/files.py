"""Files that are either whole or not there."""

from __future__ import annotations

import io
import os
from pathlib import Path

from .errors import UserError
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
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place or make room") from None


def write_png(path: Path, image: UInt8[Tensor, "C H W"]) -> None:
    """Write bytes as a PNG, gray or RGB; decoded, it is the same bytes."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())
