"""sklearn:FILE.skops: a fitted scikit-learn classifier, saved without pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Classifier, Dataset, ScoreKind
from ..errors import ClassifierError
from ..shapes import Tensor
from .support.local import LocalClassifier, Native, describe, file_digest, library
from .support.settings import Settings
from .support.signature import flattened


def load(spec: str, settings: Settings, data: Dataset | None = None) -> Classifier:
    """Load an estimator that skops saved; one in Python is `pkg.mod:attr`, without a prefix.

    Raises:
        ClassifierError: it is not such a file, is no classifier, or holds types that skops does not know to be
            harmless (trees are among them) and `trust_code` is not given.
    """
    path = Path(spec).expanduser()
    fingerprint = file_digest(path)
    io = library("skops.io", "sklearn", "a .skops file")
    try:
        unknown = io.get_untrusted_types(file=path)
        refused = bool(unknown) and not settings.trust_code
        estimator = None if refused else io.load(path, trusted=unknown)
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        raise ClassifierError(f"{path} cannot be loaded by skops: {type(error).__name__}: {words}") from None
    if refused:
        raise ClassifierError(
            f"{path} holds types that are not known to be harmless: {', '.join(unknown)[:200]}; if you trust where it "
            f"comes from, give --trust-code"
        )
    return adopt(estimator, path.stem, settings, data, fingerprint)


def adopt(
    estimator: Any, name: str, settings: Settings, data: Dataset | None, fingerprint: str | None = None
) -> Classifier:
    """A fitted estimator behind the contract: images become rows of float64, [N, C * H * W].

    What it computes in parallel, it computes in one thread from now on, so that sums are always formed in one order.

    Args:
        estimator: with `predict_proba` or `decision_function`, and `classes_`; pipelines and searches are estimators.
        name: short, for tables.
        settings: what the user says.
        data: images that it will be asked about.
        fingerprint: SHA-256 over all that decides its scores, hex; None = it is formed from what the estimator learnt.

    Raises:
        ClassifierError: it is not fitted, not a classifier of images, or was fitted to images of another size.
    """
    kind, ask = _scores(estimator, name)
    classes = getattr(estimator, "classes_", None)
    if classes is None or isinstance(classes, list) or np.ndim(classes) != 1:
        raise ClassifierError(f"{name} has no list of classes; expected a classifier with one answer, fitted")
    length = getattr(estimator, "n_features_in_", None)
    parameters = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    if parallel := [key for key in parameters if key == "n_jobs" or key.endswith("__n_jobs")]:
        estimator.set_params(**dict.fromkeys(parallel, 1))
    fingerprint = fingerprint or _digest(estimator)

    def run(images: Tensor) -> Any:
        return ask(flattened(images, length, name).double().numpy())

    native = Native(name[:60], fingerprint, kind=kind, class_names=_names(classes, data))
    info, prepare, order = describe(native, run, settings, data)
    return LocalClassifier(info, run, prepare=prepare, order=order)


def _scores(estimator: Any, name: str) -> tuple[ScoreKind, Callable[[Any], Any]]:
    if hasattr(estimator, "predict_proba"):
        return "probabilities", estimator.predict_proba
    if not hasattr(estimator, "decision_function"):
        found = type(estimator).__name__
        raise ClassifierError(f"{name} is a {found}; expected an estimator with predict_proba or decision_function")
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    if getattr(last, "decision_function_shape", None) == "ovo":
        raise ClassifierError(f"{name} gives a score for each pair of classes; set decision_function_shape='ovr'")
    return "logits", estimator.decision_function


def _names(classes: Any, data: Dataset | None) -> tuple[str, ...] | None:
    """The classes it was fitted to; None for the numbers 0 to K - 1 where the data has names for them."""
    names = tuple(str(each) for each in np.asarray(classes).tolist())
    numbered = names == tuple(map(str, range(len(names))))
    if numbered and data is not None and len(data.class_names) == len(names) and set(data.class_names) != set(names):
        return None
    return names


def _digest(estimator: Any) -> str:
    """SHA-256 over all that an estimator is made of, hex."""
    digest = hashlib.sha256()
    seen: dict[int, Any] = {}  # held, so that no other takes the number of one that is gone

    def add(value: Any) -> None:
        if isinstance(value, np.ndarray) and value.dtype != object:
            digest.update(f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
        elif value is None or isinstance(value, bool | int | float | str | bytes | np.generic):
            digest.update(f"{type(value).__name__} {value!r};".encode())
        elif callable(value) and hasattr(value, "__qualname__"):
            digest.update(f"{value.__module__}.{value.__qualname__};".encode())
        elif id(value) not in seen:
            seen[id(value)] = value
            digest.update(f"{type(value).__qualname__}(".encode())
            for part in _parts(value):
                add(part)
            digest.update(b")")

    add(estimator)
    return digest.hexdigest()


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [part for key in sorted(value, key=repr) for part in (key, value[key])]
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, list | tuple | np.ndarray):
        return list(value)
    state = value.__getstate__()
    return [state] if isinstance(state, Mapping) else list(state or ())
