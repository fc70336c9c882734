"""The card of a trained classifier: a directory with `card.json` and `weights.safetensors`, read as data only.

Nothing in a card is believed: its keys and values are checked against `Card`, the weights against the hash in the card,
every tensor against the architecture, before a number is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import nn

from ... import networks
from ...errors import ClassifierError, UserError, nearest
from ...shapes import Tensor
from . import pretrained
from .schema import FORMAT, Adversarial, Card, Preparation, build_arguments

__all__ = [
    "Adversarial",
    "Card",
    "Preparation",
    "build_arguments",
    "fingerprint",
    "read",
    "require_empty",
    "serialise",
    "write",
]

CARD = "card.json"
WEIGHTS = "weights.safetensors"
_LARGEST_CARD = 1_000_000
_LARGEST_WEIGHTS = 1_000_000_000


def fingerprint(
    architecture: str,
    arguments: Mapping[str, Any],
    weights: bytes,
    output: str = "scores",
    preparation: Preparation | None = None,
) -> str:
    """SHA-256 over all that decides the scores, hex.

    Architecture, arguments (shape and outputs among them) and the weights file; what is made of the output and of the
    images where that is not the usual.
    """
    parts: list[Any] = [architecture, dict(arguments)]
    if output != "scores" or preparation is not None:
        parts += [output, None if preparation is None else preparation.model_dump(mode="json")]
    head = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(head.encode() + b"\n" + weights).hexdigest()


def serialise(module: nn.Module) -> bytes:
    """The weights file of a module: the same bytes for the same weights."""
    tensors = module.state_dict().items()
    # Some networks hold a tensor under two names, which the format refuses to share.
    return safetensors.torch.save(
        {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors}
    )


def read(directory: Path) -> tuple[Card, nn.Module, str]:
    """Read a card and its weights.

    Returns:
        The card, the module in eval mode, and its fingerprint.

    Raises:
        ClassifierError: one line that names the file and what is wrong with it.
    """
    if not directory.is_dir():
        raise ClassifierError(
            f"{directory} is not a directory; expected one with {CARD} and {WEIGHTS}, as `evofool train -o DIR` writes"
        )
    card = _read_card(directory / CARD)
    weights = _read_bytes(directory / WEIGHTS, _LARGEST_WEIGHTS)
    found = hashlib.sha256(weights).hexdigest()
    if found != card.weights_sha256:
        raise ClassifierError(
            f"{directory / WEIGHTS} was changed or damaged: its SHA-256 is {found[:12]}…, the card says "
            f"{card.weights_sha256[:12]}…; train it again, or fetch it again"
        )
    arguments = card.build_arguments()
    try:
        if pretrained.is_library(card.architecture):
            if card.arguments:
                raise ClassifierError(f"{card.architecture} takes no arguments, expected {{}}")
            module = pretrained.network(card.architecture, arguments["classes"]).module
        else:
            module = networks.build(card.architecture, arguments)
    except ClassifierError as error:
        raise ClassifierError(f"{directory / CARD}: {error}") from None
    module.load_state_dict(_read_tensors(directory / WEIGHTS, weights, card, module.state_dict()), assign=True)
    if card.output == "sigmoid":
        module = networks.SingleSigmoid(module)
    return card, module.eval(), fingerprint(card.architecture, arguments, weights, card.output, card.preparation)


def require_empty(directory: Path) -> None:
    """Refuse to write into a directory that holds something, or onto a file.

    Raises:
        UserError: naming it.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        found = "is not empty" if directory.is_dir() else "is a file"
        raise UserError(f"{directory} {found}; expected a new or empty directory; give another one with -o")


def write(directory: Path, card: Card, weights: bytes) -> None:
    """Write card and weights: all of it or nothing, and never over something.

    Raises:
        UserError: the directory is not empty, or cannot be written.
    """
    require_empty(directory)
    directory = directory.absolute()
    scratch = directory.parent / f".{directory.name}.{uuid4().hex}"
    try:
        scratch.mkdir(parents=True)
        for name, content in ((WEIGHTS, weights), (CARD, (card.model_dump_json(indent=2) + "\n").encode())):
            with open(scratch / name, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if directory.exists():
            directory.rmdir()
        scratch.rename(directory)
    except OSError as error:
        raise UserError(f"{directory} cannot be written: {error.strerror or error}; give another one with -o") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _read_bytes(path: Path, largest: int) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ClassifierError(f"{path} is not a file; expected {CARD} and {WEIGHTS} side by side")
        if size > largest:
            raise ClassifierError(f"{path} has {size:,} bytes, expected at most {largest:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise ClassifierError(f"{path} is missing; expected {CARD} and {WEIGHTS} side by side") from None
    except OSError as error:
        raise ClassifierError(f"{path} cannot be read: {error.strerror or error}") from None


def _read_card(path: Path) -> Card:
    content = _read_bytes(path, _LARGEST_CARD)
    try:
        return Card.model_validate_json(content)
    except ValidationError as error:
        details = error.errors(include_url=False)
    if details[0]["type"] == "json_invalid":
        raise ClassifierError(f"{path} is not JSON: {_short(details[0]['msg'])}")
    # A wrong format explains every other difference, so it is told first.
    detail = min(details, key=lambda detail: detail["loc"][:1] != ("format",))
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        raise ClassifierError(f"{path} lacks '{where}'; expected a card of format {FORMAT}; train the classifier again")
    if detail["type"] == "extra_forbidden":
        raise ClassifierError(f"{path} has an unknown key '{_short(where)}'{nearest(where, Card.model_fields)}")
    if detail["type"] == "model_type":
        raise ClassifierError(f"{path} holds no JSON object; expected a card of format {FORMAT}")
    raise ClassifierError(f"{path}: '{_short(where)}' is {_short(repr(detail['input']))}: {_short(detail['msg'])}")


def _read_tensors(path: Path, weights: bytes, card: Card, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    try:
        tensors = safetensors.torch.load(weights)
    except (SafetensorError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise ClassifierError(f"{path} is not a safetensors file: {_short(str(error))}; train it again") from None
    asked = f"{card.architecture} with {len(card.class_names)} classes and images of {_shape(card.image_shape)}"
    for name in sorted(tensors.keys() ^ expected.keys()):
        raise ClassifierError(
            f"{path} {'has a tensor' if name in tensors else 'lacks the tensor'} '{_short(name)}' that {asked} "
            f"{'does not have' if name in tensors else 'needs'}; the card is not that of these weights"
        )
    for name, tensor in tensors.items():
        want = expected[name]
        if tensor.shape != want.shape or tensor.dtype != want.dtype:
            raise ClassifierError(
                f"{path}: tensor '{name}' is {_shape(tensor.shape)} {_type(tensor)}, expected {_shape(want.shape)} "
                f"{_type(want)} for {asked}; the card is not that of these weights"
            )
    return tensors


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape) or "a single number"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:117] + "..."
