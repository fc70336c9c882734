"""Checkpoints: where searches stand, as safetensors with a SHA-256 beside them; the previous good one is kept.

A checkpoint only saves time: what is missing is made again from the stored answers, with the same result. So one that
cannot be read is passed over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import DamagedRunError, UserError
from .files import read_json, read_whole, write_bytes
from .ledger import Ledger
from .search import Progress
from .shapes import Tensor

EVERY = 5.0  # seconds between two checkpoints of one search
SHARE = 0.05  # of the time that may go into them
_TENSORS = 8 << 30  # bytes: more is no checkpoint
_CARD = 100_000  # bytes: more is no card


class Checkpoints:
    """The checkpoints of searches that run side by side.

    Args:
        folder: where they lie.
        name: of these searches; letters that a file name cannot have are replaced.
        ledger: whose answers they rest on.
        every: seconds between two of them, or more where they take long; 0 saves after each generation.
        clock: tells seconds.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        ledger: Ledger,
        *,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ):
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        self._stem = f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:80]}-{digest}"
        self._folder, self._name, self._ledger = folder, name, ledger
        self._every, self._clock = every, clock
        self._saved = clock()
        self._took = 0.0
        self._slot = 0

    def __call__(self, where: Callable[[], Progress]) -> None:
        """Save where the searches stand, if the last time is long enough ago; what `where` takes counts, too."""
        if self.due:
            began = self._clock()
            self.save(where())
            self._took = self._saved - began

    @property
    def due(self) -> bool:
        """Whether the last time is long enough ago."""
        return self._clock() - self._saved >= (max(self._every, self._took / SHARE) if self._every else 0)

    def save(self, progress: Progress) -> None:
        """Write a checkpoint; the one before it stays as the previous one."""
        from safetensors.torch import save as to_bytes

        self._ledger.store.flush()  # the events up to here
        content = to_bytes(_apart(_tensors(progress)))
        card = {
            "name": self._name,
            "generation": progress.generation,
            "batches": self._ledger.batches,  # the chain may be longer, after a kill
            "events": self._ledger.store.recorded(self._ledger.chain),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        card["digest"] = _digest(card)
        # Two slots, written in turn: whichever write is cut off, the other one is whole.
        path = self._path(self._slot)
        file = path.with_suffix(".safetensors")
        _unlink(path)
        _unlink(file)  # so that there are never three
        write_bytes(file, content)
        write_bytes(path, (json.dumps(card) + "\n").encode())
        self._slot = 1 - self._slot
        self._saved = self._clock()

    def load(self, like: Progress) -> Progress | None:
        """The newest checkpoint that is whole, with the ledger brought to where it was; None where there is none.

        Args:
            like: a progress of the same searches, for its layout.
        """
        found: list[tuple[Progress, int, int]] = []
        for slot in (0, 1):
            with contextlib.suppress(DamagedRunError):
                found.append((*self._read(slot, like), slot))
        if not found:
            return None
        progress, batches, slot = max(found, key=lambda entry: entry[0].generation)
        self._slot = 1 - slot
        self._ledger.recall(batches)
        return progress

    def remove(self) -> None:
        """Nothing of these searches is needed any more."""
        for slot in (0, 1):
            _unlink(self._path(slot))
            _unlink(self._path(slot).with_suffix(".safetensors"))

    def _path(self, slot: int) -> Path:
        return self._folder / f"{self._stem}.{slot}.json"

    def _read(self, slot: int, like: Progress) -> tuple[Progress, int]:
        card = card_of(self._path(slot))
        store, chain = self._ledger.store, self._ledger.chain
        behind = card["batches"] > store.length(chain) or card["events"] > store.recorded(chain)
        if card["name"] != self._name or behind:
            raise DamagedRunError(f"{self._path(slot)}: belongs to other searches")
        tensors = tensors_of(self._path(slot), card)
        try:
            state = nested(like.state, "state", tensors)
            running, success = tensors["running"], tensors["success"]
        except KeyError as error:
            raise DamagedRunError(f"{self._path(slot)}: has no {error}; it is of another algorithm") from None
        progress = Progress(card["generation"], state, running, success)
        for name, expected in _tensors(like).items():
            if not _fits(_tensors(progress)[name], expected):
                raise DamagedRunError(f"{self._path(slot)}: its {name} is not that of these searches")
        return progress, card["batches"]


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be replaced ({error.strerror}); mend the permissions of the run") from None


def card_of(path: Path) -> dict[str, Any]:
    """The card of a checkpoint.

    Raises:
        DamagedRunError: it is missing, or no such card.
    """
    card = read_json(path, limit=_CARD)
    kinds = {"name": str, "generation": int, "batches": int, "events": int, "sha256": str}
    if not isinstance(card, dict) or any(type(card.get(key)) is not kind for key, kind in kinds.items()):
        raise DamagedRunError(f"{path}: is not the card of a checkpoint")
    if card.pop("digest", None) != _digest(card):
        raise DamagedRunError(f"{path}: has changed since it was written")
    return card


def _digest(card: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def tensors_of(path: Path, card: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint.

    Args:
        path, card: of its card.

    Raises:
        DamagedRunError: they are missing, or not those that the card names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    file = path.with_suffix(".safetensors")
    content = read_whole(file, limit=_TENSORS)
    if hashlib.sha256(content).hexdigest() != card["sha256"]:
        raise DamagedRunError(f"{file}: its bytes are not those that were written")
    try:
        return load(content)
    except (SafetensorError, ValueError) as error:
        raise DamagedRunError(f"{file}: is not a file of tensors ({error})") from None


def _tensors(progress: Progress) -> dict[str, Tensor]:
    return {**flat(progress.state, "state"), "running": progress.running, "success": progress.success}


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each with memory of its own, which the format wants."""
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.contiguous()
        place = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return tensors


def _fits(tensor: Tensor, like: Tensor) -> bool:
    """The same type and shape; a dimension that is empty before the first answers may have any length."""
    sizes = zip(tensor.shape, like.shape, strict=False)
    return tensor.dtype == like.dtype and tensor.ndim == like.ndim and all(b in (0, a) for a, b in sizes)


def flat(value: Any, name: str) -> dict[str, Tensor]:
    """The tensors of a nest of dataclasses, by dotted name."""
    if isinstance(value, Tensor):
        return {name: value}
    parts: dict[str, Tensor] = {}
    for f in dataclasses.fields(value):
        parts |= flat(getattr(value, f.name), f"{name}.{f.name}")
    return parts


def nested(like: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The same nest with other tensors."""
    if isinstance(like, Tensor):
        return tensors[name]
    parts = {f.name: nested(getattr(like, f.name), f"{name}.{f.name}", tensors) for f in dataclasses.fields(like)}
    return dataclasses.replace(like, **parts)
