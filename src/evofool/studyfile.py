"""study.json: how numbers are written, one line an entry, and how they are read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .errors import DamagedRunError
from .files import read_json

R = TypeVar("R")


def lines(whole: dict[str, Any]) -> str:
    """JSON with one line for each entry of its lists of objects, so that a difference can be read."""
    parts = []
    for key, value in whole.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n  ".join(json.dumps(row) for row in value)
            parts.append(f'"{key}": [\n  {rows}\n]')
        else:
            parts.append(f'"{key}": {json.dumps(value)}')
    return "{" + ",\n".join(parts) + "}\n"


def load(path: Path, form: str, made: Callable[[dict[str, Any]], R]) -> R:
    """Read what `lines` wrote.

    Args:
        path: of the file.
        form: that it has to name as its format.
        made: makes the results of it; raises KeyError, TypeError or ValueError where a field is missing or unknown.

    Raises:
        DamagedRunError: the file is missing, is not JSON, or is not of this format.
    """
    raw = read_json(Path(path), limit=1_000_000_000)
    if not isinstance(raw, dict) or raw.get("format") != form:
        raise DamagedRunError(f"{path}: not a file of the format {form}; was it written by another version?")
    try:
        return made(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedRunError(f"{path}: a field of {form} is missing or unknown ({error})") from None
