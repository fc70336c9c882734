"""What a user may say of a classifier besides where it is: on the command line, in Python, or in a TOML file."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ...contracts import ScoreKind
from ...errors import ClassifierError, nearest

_LARGEST_FILE = 1_000_000
_SECRET = re.compile(r"auth|key|token|secret|cookie|password|session", re.I)  # names of what is never written down


def _listed(value: Any) -> Any:
    """Lists come from TOML and JSON, words with commas from the command line, numbers from those in a hurry."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value) if isinstance(value, list) else value


def _shape(value: Any) -> Any:
    """3x224x224 is a shape, and so is [3, 224, 224]."""
    if isinstance(value, str):
        value = [int(part) for part in re.split(r"[x×,]", value.replace(" ", "")) if part.isdecimal()]
    if isinstance(value, list | tuple) and len(value) != 3:
        raise ValueError("expected channels x height x width, such as 3x224x224")
    return _listed(value)


def _numbers(value: Any) -> Any:
    """0.5 is the same for each channel; "0.485,0.456,0.406" one for each."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (float(value),)
    try:
        return tuple(float(part) for part in _listed(value))
    except (TypeError, ValueError):
        return value


def _pairs(value: Any) -> Any:
    """A table as pairs, which can be compared and hashed."""
    return tuple(sorted((str(k), str(v)) for k, v in value.items())) if isinstance(value, Mapping) else _tuples(value)


def _json(value: Any) -> Any:
    """A table as JSON, for those who write it so in TOML."""
    if not isinstance(value, Mapping | list):
        return value
    try:
        return json.dumps(value, allow_nan=False)
    except TypeError:
        raise ValueError("expected what JSON can hold: text, numbers, true, false, lists and tables") from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value


Length = Annotated[int, Field(gt=0, le=100_000)]
Shape = Annotated[tuple[Length, Length, Length], BeforeValidator(_shape)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_numbers), Field(min_length=1, max_length=3)]
Pairs = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_pairs)]


class Settings(BaseModel):
    """A classifier as its user describes it. Only `spec` is needed; the rest is found out where it can be.

    Attributes:
        spec: where it is, such as `onnx:net.onnx` or `https://host/path`; see `load_classifier`.
        name: short name for tables.
        kind: what its scores are. Found out for a model on this machine; an endpoint or a command is taken to give
            probabilities.
        class_names: in the order of the scores.
        classes: the same names in the order in which classes are told; by default that of the data, or sorted.
        image_shape: (C, H, W) of the images that are asked about; they are brought to what the model takes inside.
        input_shape: (C, H, W) that the model takes, where it does not say so itself.
        mean, std: subtracted and divided by, for each channel or all, where the model does not say so itself.
        white: what the model is given for full white: 1.0, or 255.0 for one that takes bytes as numbers.
        interpolation: how images are resized.
        layout: "NHWC" for a model that takes the channels last, where it does not say so itself.
        arrays: what a Python callable takes, "torch" or "numpy".
        device: "auto", "cpu", "cuda", "cuda:0", "mps".
        dtype: in which a PyTorch module computes.
        memory_format: of a PyTorch module; by default channels_last where there are convolutions.
        micro_batch: rows in one call, or images in one request.
        concurrency: requests in flight at a time.
        metered: it costs something outside this machine: never padded, asked again after failures.
        background: gray level of an empty canvas in its training data, in [0, 1].
        cost: of one query, in any currency; for forecasts.
        timeout: seconds that one request may take, from looking up the host to the last byte.
        body: the request, as JSON or a table, with "{images}" (a list) or "{image}" (one) in the place of the images.
        files: name of the form field, to send images as multipart instead.
        image: how an image travels: "png" (base64 in JSON), "jpeg", "pixels" (nested lists [C][H][W] in [0, 1]).
        headers: of a request, as pairs; "env:NAME" is taken from the environment, also within a value.
        params: in the address, as pairs, likewise.
        scores: JSONPath to what each image is answered with: numbers, a table from names to numbers, or objects.
        labels: JSONPath to class names, one for each image or one for each score.
        label_key, score_key: in the objects of an answer.
        pretrained: for a library's network: its trained weights; false = random ones, the same each time.
        trust_code: load files that are programs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    spec: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    kind: ScoreKind | None = None
    class_names: Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=2)] | None = None
    classes: Annotated[tuple[str, ...], BeforeValidator(_listed)] | None = None
    image_shape: Shape | None = None
    input_shape: Shape | None = None
    mean: Numbers | None = None
    std: Numbers | None = None
    white: Annotated[float, Field(gt=0)] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    arrays: Literal["torch", "numpy"] | None = None
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "cpu"
    dtype: Literal["float32", "float64", "float16", "bfloat16"] = "float32"
    memory_format: Literal["contiguous", "channels_last"] | None = None
    micro_batch: Annotated[int, Field(gt=0, le=100_000)] | None = None
    concurrency: Annotated[int, Field(gt=0, le=1000)] | None = None
    metered: bool | None = None
    background: Annotated[float, Field(ge=0, le=1)] | None = None
    cost: Annotated[float, Field(ge=0)] | None = None
    timeout: Annotated[float, Field(gt=0, le=3600)] | None = None
    body: Annotated[str, BeforeValidator(_json)] | None = None
    files: str | None = None
    image: Literal["png", "jpeg", "pixels"] | None = None
    headers: Pairs = ()
    params: Pairs = ()
    scores: str | None = None
    labels: str | None = None
    label_key: str | None = None
    score_key: str | None = None
    pretrained: bool = True
    trust_code: bool = False

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        if self.class_names and len(set(self.class_names)) < len(self.class_names):
            raise ValueError("class_names: expected names that differ")
        if self.classes and set(self.classes) != set(self.class_names or ()):
            raise ValueError("classes: expected the names of class_names in another order")
        if self.name and (not self.name.isprintable() or set(self.name) & set("/,")):
            raise ValueError("name: expected printable characters without / and ,")
        for name, value in (*self.headers, *self.params):
            if _SECRET.search(name) and "env:" not in value:
                raise ValueError(f'{name}: expected "env:NAME", the name of an environment variable that holds it')
        if self.std and not all(self.std):
            raise ValueError("std: expected no 0")
        if self.image_shape and self.image_shape[0] not in (1, 3):
            raise ValueError(f"image_shape: {self.image_shape[0]} channels; expected 1 (gray) or 3 (colour)")
        return self

    def said(self) -> dict[str, Any]:
        """All that differs from the defaults, as JSON values."""
        return self.model_dump(mode="json", exclude_defaults=True)


def described() -> dict[str, str]:
    """Each setting with what it means."""
    words: dict[str, str] = {}
    name = ""
    for line in (inspect.getdoc(Settings) or "").partition("Attributes:\n")[2].splitlines():
        found = re.match(r"^    (\w+(?:, \w+)*): (.*)$", line)
        name = found[1] if found else name
        words[name] = f"{words.get(name, '')} {found[2] if found else line.strip()}".strip()
    return words


def settings(spec: str, given: Mapping[str, Any] | None = None) -> Settings:
    """Settings from a spec and what is said besides.

    Args:
        spec: as for `load_classifier`; a TOML file holds a `spec` of its own, and everything else that is to be said.
        given: values by name, which win over those of a file.

    Raises:
        ClassifierError: an unknown name, or a value out of its range.
    """
    where, values = "", {"spec": spec}
    if spec.endswith(".toml"):
        where, values = f"{spec}: ", _read(Path(spec).expanduser())
    values = {**values, **(given or {})}
    unknown = sorted(values.keys() - Settings.model_fields.keys())
    if unknown:
        raise ClassifierError(f"{where}unknown setting '{unknown[0]}'{nearest(unknown[0], Settings.model_fields)}")
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = first["loc"][0] if first["loc"] else ""
        said = f" = {str(values[name])[:80]!r}" if name in values and name not in ("headers", "params") else ""
        message = first["msg"].removeprefix("Value error, ")
    # Here, and not above: the context would hold all that was given, and what is secret in it.
    raise ClassifierError(f"{where}{name}{said}: {message}" if name else f"{where}{message}")


def _read(path: Path) -> dict[str, Any]:
    """A TOML file; files that it names are looked for from the working directory, as on the command line."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ClassifierError(f"{path} has {path.stat().st_size:,} bytes, expected a small TOML file")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ClassifierError(f"{path}: there is no such file; expected a TOML file with a `spec`") from None
    except OSError as error:
        raise ClassifierError(f"{path} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ClassifierError(f"{path} is not TOML: {' '.join(str(error).split())[:120]}") from None
    spec = values.get("spec")
    if not isinstance(spec, str):
        raise ClassifierError(f'{path}: has no spec; expected a line such as spec = "https://host/path"')
    if spec.endswith(".toml"):
        raise ClassifierError(f"{path}: its spec is another TOML file; expected the classifier itself")
    return values
