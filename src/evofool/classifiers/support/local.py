"""A model on this machine behind the classifier contract, whatever library runs it."""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from ...contracts import ClassifierInfo, Dataset, ScoreKind
from ...errors import ClassifierError, ClassifierWarning, OutOfMemoryError, TargetError
from ...shapes import Float, Tensor
from .prepare import Prepare
from .settings import Settings

Run = Callable[[Tensor], Any]
_SUMS_TO_ONE = 1e-4


class Native(NamedTuple):
    """What a model says of itself; None = it does not say.

    Attributes:
        name: short, for tables.
        fingerprint: SHA-256 over all that decides its scores, hex.
        input_shape: (C, H, W), with None for a length that is free.
        kind: what its scores are.
        class_names: in the order of its scores.
        prepare: as the model's library prepares images for it.
        micro_batch: the only number of rows that it takes.
        layout: of its input.
        memory_format: the faster one, for a PyTorch module.
    """

    name: str
    fingerprint: str
    input_shape: tuple[int | None, int | None, int | None] = (None, None, None)
    kind: ScoreKind | None = None
    class_names: tuple[str, ...] | None = None
    prepare: Prepare = Prepare()
    micro_batch: int | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"


class LocalClassifier:
    """A model on this machine: prepares images, asks once, reads the answer.

    Attributes:
        info: see `ClassifierInfo`.
        card: what else is known of it, JSON values only.
        prepare: what happens to images inside.
        order: which of the model's outputs each class of `info` is; None = the same order.
    """

    def __init__(
        self,
        info: ClassifierInfo,
        run: Run,
        *,
        prepare: Prepare | None = None,
        order: Sequence[int] | None = None,
        card: Mapping[str, Any] | None = None,
        steady: bool = True,
    ):
        """Put a model behind the contract.

        Args:
            info: what the model is.
            run: the model: takes prepared images, gives scores: a tensor or an array [N K], [N 1] or [N] for a single
                output, or for kind "label" whole numbers [N].
            prepare: what it wants done to images.
            order: which of its outputs each class of `info` is; None = the same order.
            card: what else is known of it, JSON values only.
            steady: it may be asked besides; see `contracts.Classifier`.
        """
        self.info = info
        self.steady = steady
        self.card = dict(card or {})
        self.prepare = (prepare or Prepare()).check(info.image_shape, info.name)
        self._run = run
        self.order = None if order is None or list(order) == list(range(len(order))) else list(order)

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Scores [N K], float32, for images [N C H W] in [0, 1].

        Raises:
            ClassifierError: the images, or the scores of the model, have not the shape that `info` names.
            OutOfMemoryError: there was not memory enough for so many rows.
            TargetError: the model failed.
        """
        info = self.info
        if images.ndim != 4 or tuple(images.shape[1:]) != info.image_shape or not images.is_floating_point():
            raise ClassifierError(
                f"{info.name} was given {str(images.dtype).removeprefix('torch.')} of shape {list(images.shape)}, "
                f"expected floats in [0, 1] of shape [N, {', '.join(map(str, info.image_shape))}]"
            )
        raw = guarded(info.name, lambda: self._run(self.prepare(images.float())))
        scores = read(raw, len(images), len(info.class_names), info.kind, info.name)
        return scores if self.order is None else scores[:, self.order]


def guarded(name: str, work: Callable[[], Any]) -> Any:
    """Whatever a model raises becomes one of our errors.

    Raises:
        OutOfMemoryError, TargetError: as above.
    """
    try:
        return work()
    except (ClassifierError, TargetError):
        raise
    except Exception as error:
        words = f"{name} failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if _is_memory(error):
            raise OutOfMemoryError(words) from error
        raise TargetError(words) from error


def _is_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = " ".join(str(error).split()).lower()
    return any(words in text for words in ("out of memory", "can't allocate memory", "failed to allocate memory"))


def read(raw: Any, rows: int, classes: int, kind: ScoreKind, name: str) -> Float[Tensor, "N K"]:
    """The answer of a model as scores [N K], float32, an ordinary tensor that nobody else holds.

    A single output a row becomes two classes: of a probability p, 1 - p and p; of a logit z, 0 and z.

    Raises:
        ClassifierError: its shape does not fit.
    """
    answer = raw if isinstance(raw, Tensor) else _tensor(raw, name)
    answer = answer.detach()
    if kind == "label" and answer.numel() == rows:
        return _one_hot(answer.reshape(rows), classes, name)
    answer = answer.to("cpu", torch.float32, copy=True)
    if classes == 2 and answer.shape in ((rows,), (rows, 1)):
        one = answer.reshape(rows)
        other = 1 - one if kind == "probabilities" else torch.zeros_like(one)
        answer = torch.stack([other + 0 * one, one], dim=1)
    if tuple(answer.shape) != (rows, classes):
        raise ClassifierError(
            f"{name} answered with scores of shape {list(answer.shape)}, expected {[rows, classes]}: one row an image, "
            f"one column for each class"
        )
    return answer


def _tensor(raw: Any, name: str) -> Tensor:
    import numpy as np

    if isinstance(raw, (tuple, list)) and any(isinstance(part, Tensor) or part is None for part in raw):
        raise ClassifierError(
            f"{name} answered with {type(raw).__name__} of {len(raw)}, expected the scores alone: let it return the "
            "first part, or wrap it in a function that does"
        )
    array = np.asarray(raw)
    if array.dtype.kind not in "fiub":
        found = f"{type(raw).__name__} of {array.dtype}"
        raise ClassifierError(f"{name} answered with {found}, expected an array or a tensor of numbers")
    return torch.from_numpy(np.ascontiguousarray(array))


def _one_hot(answer: Tensor, classes: int, name: str) -> Float[Tensor, "N K"]:
    labels = answer.to("cpu", torch.int64)
    if bool((labels < 0).any()) or bool((labels >= classes).any()) or not torch.equal(labels.to(answer), answer.cpu()):
        raise ClassifierError(f"{name} answered with labels {answer[:5].tolist()}, expected 0 to {classes - 1}")
    return torch.nn.functional.one_hot(labels, classes).float()


# From what a model says of itself, its user, and the data, to what is asked ------------------------------------------


def describe(
    native: Native, run: Run, settings: Settings, data: Dataset | None
) -> tuple[ClassifierInfo, Prepare, list[int]]:
    """Everything that `LocalClassifier` needs to know; what nobody says is seen from the answer to one gray image.

    What the user says wins over what the model says, and that over what the data suggest: their shape and their class
    names. That one gray image is shown to the model while it is loaded, outside every account.

    Args:
        native: what the model says.
        run: the model.
        settings: what the user says.
        data: images that it will be asked about.

    Returns:
        info, prepare, and which output each class is: classes come in the order of their sorted names, as in a folder
        of images, if the names are known.

    Raises:
        ClassifierError: something is missing, or contradicts something else.
    """
    name = settings.name or native.name
    image_shape, prepare = _fit(native, settings, data, name)
    micro_batch = native.micro_batch or settings.micro_batch or _micro_batch(prepare, image_shape)
    if native.micro_batch and settings.micro_batch not in (None, native.micro_batch):
        raise ClassifierError(f"{name} takes {native.micro_batch} rows at a time; leave micro_batch out")
    gray = torch.full((native.micro_batch or 1, *image_shape), 0.5)
    try:
        raw = guarded(name, lambda: run(prepare(gray)))
    except TargetError as error:
        shape = " x ".join(map(str, image_shape))
        raise ClassifierError(
            f"{error}; this came of one gray image of {shape}: give the shape that it takes with --with "
            f"input_shape=CxHxW (images are brought to it inside), or mend it"
        ) from error
    kind, classes = _seen(raw, len(gray), native, settings, data, name)
    read(raw, len(gray), classes, kind, name)
    names, order = _names(classes, native, settings, data, name)
    info = ClassifierInfo(
        name=name,
        kind=kind,
        class_names=names,
        image_shape=image_shape,
        fingerprint=digest(native.fingerprint, repr(prepare), kind, list(order), settings.dtype),
        micro_batch=micro_batch,
        memory_format=settings.memory_format or native.memory_format,
        concurrency=1,
        metered=bool(settings.metered),
        background=settings.background if settings.background is not None else data.background if data else 0.0,
        device=settings.device,
        dtype=settings.dtype,
        preparation=prepare.about(image_shape),
        cost=settings.cost,
    )
    return info, prepare, order


def _fit(native: Native, settings: Settings, data: Dataset | None, name: str) -> tuple[tuple[int, int, int], Prepare]:
    """The shape of the images that are asked about, and how they become what the model takes."""
    wanted = settings.input_shape or native.input_shape
    known = tuple(wanted) if None not in wanted else None
    given = tuple(data.images.shape[1:]) if data is not None else None
    image_shape = settings.image_shape or given or known
    if image_shape is None:
        raise ClassifierError(
            f"{name} does not say what images it takes: give their shape, such as --with image_shape=3x224x224"
        )
    channels, height, width = wanted
    size = None if height is None or width is None else (height, width)
    prepare = replace(native.prepare, channels=channels, size=size)
    said: dict[str, Any] = {
        "white": settings.white,
        "mean": settings.mean,
        "std": settings.std,
        "interpolation": settings.interpolation,
        "layout": settings.layout or native.layout,
    }
    prepare = replace(prepare, **{key: value for key, value in said.items() if value is not None})
    c, h, w = (int(length or 0) for length in image_shape)
    return (c, h, w), prepare.check((c, h, w), name)


def _micro_batch(prepare: Prepare, image_shape: tuple[int, int, int]) -> int:
    """100 rows of small images; of larger ones as many as hold about as many numbers."""
    channels = prepare.channels or image_shape[0]
    height, width = prepare.size or image_shape[1:]
    return max(4, min(100, 100 * 3 * 64 * 64 // (channels * height * width)))


def _seen(
    raw: Any, rows: int, native: Native, settings: Settings, data: Dataset | None, name: str
) -> tuple[ScoreKind, int]:
    """What the answer to a gray image shows: what the scores are, and of how many classes."""
    answer = raw.detach() if isinstance(raw, Tensor) else _tensor(raw, name)
    kind = settings.kind or native.kind
    declared = settings.class_names or native.class_names
    if (answer.ndim == 1 and len(answer) == rows and not answer.is_floating_point()) or kind == "label":
        if answer.ndim == 2 and answer.shape[1] > 1:
            raise ClassifierError(f"{name} gives {answer.shape[1]} scores an image, not labels; leave kind=label out")
        names = declared or (data.class_names if data is not None else None)
        if names is None:
            raise ClassifierError(f"{name} answers with labels: say what the classes are: --with class_names=A,B,...")
        return "label", len(names)
    if answer.shape in ((rows,), (rows, 1)):
        if kind is None:
            raise ClassifierError(
                f"{name} has one output, which becomes two classes: say whether it is a probability (the last layer is "
                f"a sigmoid) with --with kind=probabilities, or a logit with --with kind=logits"
            )
        return kind, 2
    if answer.ndim != 2 or len(answer) != rows or answer.shape[1] < 2:
        raise ClassifierError(
            f"{name} answered a batch of {rows} with shape {list(answer.shape)}, expected [{rows}, K]: a row of scores "
            f"for each image"
        )
    softmaxed = looks_like_probabilities(answer)
    if kind is None:
        kind = "probabilities" if softmaxed else "logits"
    elif kind == "logits" and softmaxed:
        warnings.warn(
            f"{name} is said to give logits, but its scores are at least 0 and sum to 1: they look softmaxed already; "
            f"if so, say --with kind=probabilities",
            ClassifierWarning,
            stacklevel=2,
        )
    elif kind == "probabilities" and not softmaxed and bool(((answer < 0) | (answer > 1)).any()):
        low, high = answer.double().aminmax()
        raise ClassifierError(
            f"{name} is said to give probabilities, but answers {float(low):.4g} to {float(high):.4g}; expected "
            f"[0, 1]: say --with kind=logits, or put a softmax behind it"
        )
    return kind, answer.shape[1]


def looks_like_probabilities(scores: Float[Tensor, "N K"]) -> bool:
    """Whether each row could be probabilities: nothing below 0, a sum of 1."""
    scores = scores.double()
    sums = scores.sum(-1)
    return bool((scores >= 0).all()) and bool(((sums - 1).abs() < _SUMS_TO_ONE).all())


def _names(
    classes: int, native: Native, settings: Settings, data: Dataset | None, name: str
) -> tuple[tuple[str, ...], list[int]]:
    """Class names, and which output each is."""
    declared = settings.class_names or native.class_names
    if declared is None:
        if data is not None and len(data.class_names) == classes:
            return data.class_names, list(range(classes))
        return tuple(map(str, range(classes))), list(range(classes))
    if len(declared) != classes:
        raise ClassifierError(
            f"{name} gives {classes} scores, but {len(declared)} classes are named: expected one name for each score, "
            f"in their order"
        )
    if settings.classes:
        names = settings.classes
    elif data is not None and set(declared) == set(data.class_names):
        names = data.class_names
    elif data is None and len(set(declared)) == len(declared):
        names = tuple(sorted(declared))
    else:  # other names than those of the data, or two that are the same, such as ImageNet's cranes
        return declared, list(range(classes))
    return names, [declared.index(each) for each in names]


def digest(*parts: Any) -> str:
    """SHA-256 over texts and numbers, hex."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex.

    Raises:
        ClassifierError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise ClassifierError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ClassifierError(f"{path} cannot be read: {error.strerror or error}") from None


def source_digest(thing: Any) -> str:
    """SHA-256 of the file that a Python object was written in, or of nothing."""
    try:
        return file_digest(Path(inspect.getsourcefile(thing) or ""))
    except (TypeError, OSError, ClassifierError):
        return digest(type(thing).__qualname__)


def library(module: str, extra: str, what: str) -> Any:
    """A library that only some need.

    Raises:
        ClassifierError: it is not installed, or cannot be loaded.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).split(".")[0]
        raise ClassifierError(f"{what} needs {missing}: pip install 'evofool[{extra}]'") from None
    except Exception as error:  # torchvision beside another build of torch, say
        said = " ".join(str(error).split())[:120]
        raise ClassifierError(
            f"{what} needs {module}, which is installed but cannot be loaded ({type(error).__name__}: {said}); "
            f"install it together with the torch it was built for"
        ) from None
