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
from typing import Annotated, Any, Literal
from uuid import uuid4

import safetensors.torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError
from torch import nn

from .. import networks
from ..errors import ClassifierError, UserError, nearest
from ..shapes import Tensor

CARD = "card.json"
WEIGHTS = "weights.safetensors"
FORMAT = "evofool-classifier/1"
_LARGEST_CARD = 1_000_000
_LARGEST_WEIGHTS = 1_000_000_000
_FROM_SHAPE = {"in_channels", "classes", "size"}

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Card(BaseModel):
    """What is known of a trained classifier.

    Attributes:
        format: of this card.
        name: short name for tables.
        architecture: a function of `networks`.
        arguments: what it is given besides channels, classes and size, which follow from the next but one.
        kind: what the scores are.
        class_names: one for each of the K classes, in the order of the scores.
        image_shape: (C, H, W).
        range: of a pixel.
        background: gray level of an empty canvas in the training data.
        accuracy: on the test images, which had no part in training; None if there were none.
        held_out_accuracy: on the held-out training images that decided when to stop.
        held_out: how many these were.
        data: the training images, by name.
        data_fingerprint: SHA-256 of the training images before the held-out ones were taken, see `Dataset`.
        seed: of initialisation, order, augmentation and of the choice of held-out images.
        target_accuracy: where training was to stop; None for a best effort.
        epochs: passes over the training images that were begun.
        steps: batches learned from up to the weights that were kept.
        batch_size: images in a batch.
        learning_rate: the largest one.
        torch: version that trained it; another one may round differently.
        command: what remakes it.
        weights_sha256: of the weights file.
        memory_format: the faster layout on the machine that trained it.
        micro_batch: the fastest number of rows in one call there. Both stay as recorded: rounding depends on them.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    format: Literal["evofool-classifier/1"]
    name: Annotated[str, Field(min_length=1, max_length=100)]
    architecture: str
    arguments: dict[str, int]
    kind: Literal["logits"]
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    image_shape: tuple[Count, Count, Count]
    range: tuple[float, float]
    background: Share
    accuracy: Share | None
    held_out_accuracy: Share
    held_out: Count
    data: str
    data_fingerprint: Digest
    seed: int
    target_accuracy: Share | None
    epochs: Count
    steps: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
    torch: str
    command: str | None
    weights_sha256: Digest
    memory_format: Literal["contiguous", "channels_last"]
    micro_batch: Annotated[int, Field(gt=0, le=100_000)]

    @field_validator("range")
    @classmethod
    def _unit(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value != (0.0, 1.0):
            raise ValueError("expected [0.0, 1.0]")
        return value

    @field_validator("name", "data", "class_names")
    @classmethod
    def _printable(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not all(text.isprintable() for text in ([value] if isinstance(value, str) else value)):
            raise ValueError("expected printable characters")
        return value

    @field_validator("class_names")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("expected names that differ")
        return value

    @field_validator("arguments")
    @classmethod
    def _own(cls, value: dict[str, int]) -> dict[str, int]:
        if _FROM_SHAPE & value.keys():
            raise ValueError("channels, classes and size follow from image_shape and class_names; leave them out")
        return value

    def build_arguments(self) -> dict[str, Any]:
        """Everything that `networks.build` needs."""
        return build_arguments(self.image_shape, len(self.class_names), self.arguments)


def build_arguments(image_shape: tuple[int, int, int], classes: int, arguments: Mapping[str, int]) -> dict[str, Any]:
    """What `networks.build` needs for images [C H W] of so many classes, besides the architecture's own arguments."""
    return {"in_channels": image_shape[0], "classes": classes, "size": tuple(image_shape[1:]), **arguments}


def fingerprint(architecture: str, arguments: Mapping[str, Any], weights: bytes) -> str:
    """SHA-256 over architecture, arguments (shape and classes among them) and the weights file, hex."""
    head = json.dumps([architecture, dict(arguments)], sort_keys=True)
    return hashlib.sha256(head.encode() + b"\n" + weights).hexdigest()


def serialise(module: nn.Module) -> bytes:
    """The weights file of a module: the same bytes for the same weights."""
    return safetensors.torch.save({name: tensor.contiguous() for name, tensor in module.state_dict().items()})


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
    try:
        module = networks.build(card.architecture, card.build_arguments())
    except ClassifierError as error:
        raise ClassifierError(f"{directory / CARD}: {error}") from None
    module.load_state_dict(_read_tensors(directory / WEIGHTS, weights, card, module.state_dict()), assign=True)
    return card, module.eval(), fingerprint(card.architecture, card.build_arguments(), weights)


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
