"""How images travel to endpoints and commands, what such a classifier is, and what must not be told of it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...contracts import ClassifierInfo, Dataset
from ...errors import ClassifierError, TargetError
from ...shapes import Float, Tensor
from .answers import Path, Reader
from .local import digest
from .prepare import Prepare
from .settings import Settings

_ALL, _ONE = "{images}", "{image}"
_JPEG_QUALITY = 95
_LONGEST_MESSAGE = 300
_SHORTEST_SECRET = 4  # "1" in an environment variable is no secret, and would be cut out of every message
_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_TELLING = re.compile(
    r"^(.*[-_])?((api|access|auth)[-_]?)?(key|token|secret|password|passwd|authorization|auth|cookie|credentials?|"
    r"signature|sig)$",
    re.I,
)


@dataclass(frozen=True)
class Wire:
    """Between images and scores on one side and bytes on the other.

    Attributes:
        info: see `ClassifierInfo`.
        prepare: what happens to images before they are encoded.
        image: how an image travels.
        body: the request, with a mark in the place of the images.
        read: from an answer to scores.
    """

    info: ClassifierInfo
    prepare: Prepare
    image: str
    body: Any
    read: Reader

    def encoded(self, images: Float[Tensor, "N C H W"]) -> list[Any]:
        """Each image as it stands in JSON.

        Raises:
            ClassifierError: the images have not the shape that `info` names.
        """
        if self.image == "pixels":
            pixels: list[Any] = self._prepared(images).tolist()
            return pixels
        return [base64.b64encode(file).decode() for file in self.files(images)]

    def files(self, images: Float[Tensor, "N C H W"]) -> list[bytes]:
        """Each image as a PNG or JPEG file."""
        import torch
        from PIL import Image

        levels = (self._prepared(images) * 255).round().clamp(0, 255).to(torch.uint8)
        files = []
        for image in levels.permute(0, 2, 3, 1).numpy():
            file = io.BytesIO()
            picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
            if self.image == "png":
                picture.save(file, "PNG", compress_level=1)
            else:
                picture.save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
            files.append(file.getvalue())
        return files

    def request(self, images: Float[Tensor, "N C H W"]) -> Any:
        """The request in JSON values."""
        return _filled(self.body, self.encoded(images))

    def _prepared(self, images: Tensor) -> Tensor:
        info = self.info
        if images.ndim != 4 or tuple(images.shape[1:]) != info.image_shape or not images.is_floating_point():
            raise ClassifierError(
                f"{info.name} was given {str(images.dtype).removeprefix('torch.')} of shape {list(images.shape)}, "
                f"expected floats in [0, 1] of shape [N, {', '.join(map(str, info.image_shape))}]"
            )
        return self.prepare(images.float())


def wire(name: str, origin: Sequence[str], settings: Settings, data: Dataset | None, concurrency: int) -> Wire:
    """What a classifier far away is, as its user and the data describe it: it is not asked.

    Args:
        name: where the user gives none.
        origin: all that decides its scores besides the mapping; without secrets.
        settings: what the user says.
        data: images that it will be asked about.
        concurrency: where the user names none.

    Raises:
        ClassifierError: something is missing, or contradicts something else.
    """
    name = settings.name or name
    names, order = _names(settings, data, name)
    image_shape = _image_shape(settings, data, name)
    image = settings.image or "png"
    prepare = _prepare(settings, image, name).check(image_shape, name)
    text = settings.body or json.dumps({"images": _ALL})
    kind = settings.kind or ("label" if settings.labels and not settings.scores else "probabilities")
    if kind == "label" and settings.scores:
        raise ClassifierError(f"{name}: scores are selected, but kind is label; leave one of them out")
    scores = None if kind == "label" else settings.scores or "$.scores[*]"
    labels = settings.labels or ("$.labels[*]" if kind == "label" else None)
    keys = (settings.label_key or "label", settings.score_key or "score")
    about = [prepare.about(image_shape), "sent as numbers" if image == "pixels" else f"sent as {image.upper()}"]
    mapping = (repr(prepare), image, text, settings.files, scores, labels, keys, kind, names, order, image_shape)
    info = ClassifierInfo(
        name=name,
        kind=kind,
        class_names=names,
        image_shape=image_shape,
        fingerprint=digest(*origin, *mapping),
        micro_batch=settings.micro_batch or 1,
        concurrency=settings.concurrency or concurrency,
        metered=True if settings.metered is None else settings.metered,
        background=settings.background if settings.background is not None else data.background if data else 0.0,
        device="remote",
        preparation=", ".join(part for part in about if part),
        cost=settings.cost,
    )
    reader = Reader(
        kind,
        names,
        tuple(order),
        Path(scores, "scores") if scores else None,
        Path(labels, "labels") if labels else None,
        *keys,
    )
    return Wire(info, prepare, image, _body(text, info, image), reader)


def _image_shape(settings: Settings, data: Dataset | None, name: str) -> tuple[int, int, int]:
    if settings.image_shape:
        return settings.image_shape
    if data is None:
        raise ClassifierError(
            f"{name} does not say what images it takes: give their shape, such as --with image_shape=3x224x224"
        )
    channels, height, width = data.images.shape[1:]
    return channels, height, width


def _names(settings: Settings, data: Dataset | None, name: str) -> tuple[tuple[str, ...], list[int]]:
    """Class names, as they are told or in the data or sorted, and where each stands in a plain list of scores."""
    said = settings.class_names or (data.class_names if data is not None else ())
    if len(said) < 2:
        raise ClassifierError(f"{name} does not say what its classes are: give --with class_names=A,B,... in its order")
    if settings.classes:
        names = settings.classes
    elif data is not None and set(said) == set(data.class_names):
        names = data.class_names
    else:
        names = tuple(sorted(said)) if data is None else said
    return names, [said.index(each) for each in names]


def _prepare(settings: Settings, image: str, name: str) -> Prepare:
    odd = [key for key in ("mean", "std", "white", "layout") if getattr(settings, key) is not None]
    if odd and image != "pixels":
        raise ClassifierError(f'{name}: {odd[0]} is for numbers, but images travel as {image}; add image = "pixels"')
    channels, *size = settings.input_shape or (None,)
    return Prepare(
        channels=channels,
        size=(size[0], size[1]) if size else None,
        interpolation=settings.interpolation or "bilinear",
        white=settings.white or 1.0,
        mean=settings.mean or (),
        std=settings.std or (),
        layout=settings.layout or "NCHW",
    )


def _body(text: str, info: ClassifierInfo, image: str) -> Any:
    """The template of a request, with one mark in it."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ClassifierError(f"body: is not JSON ({error})") from None
    marks = [part for part in _texts(body) if part == _ALL or _ONE in part]
    if len(marks) != 1 or marks[0].count(_ONE) > 1:
        raise ClassifierError(
            f'body: found {len(marks)} places for images, expected one text "{_ALL}" (a list) or one with "{_ONE}"'
        )
    if marks[0] != _ALL and info.micro_batch > 1:
        raise ClassifierError(f'body: "{_ONE}" holds one image, but micro_batch is {info.micro_batch}; write "{_ALL}"')
    if marks[0] not in (_ALL, _ONE) and image == "pixels":
        raise ClassifierError(f'body: numbers do not fit into "{marks[0][:40]}"; write "{_ONE}" alone')
    return body


def _texts(node: Any) -> Iterator[str]:
    """All texts of a JSON value, except keys."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for part in node.values() if isinstance(node, dict) else node:
            yield from _texts(part)


def _filled(node: Any, images: list[Any]) -> Any:
    """A template with the images in their place; an image in base64 may stand within a text, such as a data URL."""
    if isinstance(node, dict):
        return {key: _filled(part, images) for key, part in node.items()}
    if isinstance(node, list):
        return [_filled(part, images) for part in node]
    if node == _ALL:
        return images
    if isinstance(node, str) and _ONE in node:
        if len(images) != 1:
            raise ClassifierError(f'body: "{_ONE}" holds one image, but {len(images)} were to be sent at once')
        return images[0] if node == _ONE else node.replace(_ONE, images[0])
    return node


class Secrets:
    """Values that go out with a request, or that a program knows, and that are to appear nowhere else."""

    def __init__(self, values: Iterable[str] = ()):
        """Begin with values that are known already."""
        self._forms: set[str] = set()
        self.add(values)

    def add(self, values: Iterable[str]) -> None:
        """Remember values, in every spelling in which they may come back."""
        for value in values:
            if len(value) >= _SHORTEST_SECRET:
                quoted = {urllib.parse.quote(value, safe=""), urllib.parse.quote(value), urllib.parse.quote_plus(value)}
                escaped = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
                encoded = base64.b64encode(value.encode()).decode().rstrip("=")
                self._forms = {*self._forms, value, *quoted, *escaped, encoded}

    def filled(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Pairs with what the environment holds in the place of env:NAME; their values are remembered.

        Raises:
            ClassifierError: a variable is not set, or cannot stand in a header.
        """

        def value(found: re.Match[str]) -> str:
            held = os.environ.get(found[1], "").strip()
            if not held:
                raise ClassifierError(f"the environment variable {found[1]} is not set; a request needs it")
            if not (held.isascii() and held.isprintable()):
                raise ClassifierError(f"the environment variable {found[1]} holds more than plain characters")
            self.add([held])
            return held

        return [(key, _VARIABLE.sub(value, text)) for key, text in pairs]

    def scrubbed(self, text: str) -> str:
        """One printable line without them."""
        for form in sorted(self._forms, key=len, reverse=True):
            text = text.replace(form, "***")
        return " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text).split())

    def clean(self, text: str) -> str:
        """The same, not too long."""
        text = self.scrubbed(text)
        return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]} ..."

    def cleaned(self, error: Exception) -> TargetError:
        """An error of the same weight with a clean message; raise it where the first one is not its context."""
        if isinstance(error, TargetError):
            message = self.clean(str(error))
            return TargetError(
                message, retry_after=error.retry_after, fatal=error.fatal, again=error.again, busy=error.busy
            )
        return TargetError(self.clean(f"{type(error).__name__}: {error}"))


def telling(name: str) -> bool:
    """Whether what bears this name is likely a secret: Authorization, X-Api-Key, ACCESS_TOKEN."""
    return bool(_TELLING.search(name))
