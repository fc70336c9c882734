"""What can be asked: the classifiers of this package by name, and your own by the directory of their card."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ClassifierError, nearest

if TYPE_CHECKING:  # contracts bring torch, and `evofool --help` must not wait for it
    from ..contracts import Classifier

__all__ = ["load_classifier", "shipped"]

SHIPPED = Path(__file__).parent / "shipped"


def shipped() -> list[str]:
    """Names of the trained classifiers that come with this package, sorted."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/card.json"))


def load_classifier(spec: str | Path | Classifier) -> Classifier:
    """Load a classifier, ready to be asked.

    Args:
        spec: the name of a shipped classifier, or a directory that holds `card.json` and `weights.safetensors`. A plain
            word that is the name of a shipped classifier means that one; write `./mnist95` or `mnist95/` for a
            directory of the same name. A classifier that is already loaded is returned as it is.

    Raises:
        ClassifierError: there is no such classifier, or it cannot be trusted (see `classifiers.torch.load`).
    """
    if isinstance(spec, str | Path):
        names = shipped()
        if isinstance(spec, str) and spec in names:
            return _load(SHIPPED / spec)
        directory = os.path.expanduser(spec)
        if os.path.exists(directory):
            return _load(Path(directory))
        raise ClassifierError(
            f"no classifier '{spec}': neither a shipped one nor a directory{nearest(str(spec), names)}; give one of "
            f"these names, or the directory that `evofool train -o DIR` wrote"
        )
    from ..contracts import Classifier

    if isinstance(spec, Classifier):
        return spec
    raise ClassifierError(
        f"a {type(spec).__name__} is not a classifier: expected the name of a shipped one, a directory with a card, or "
        f"an object with `info` that can be called; wrap a module in classifiers.torch.TorchClassifier(module, info)"
    )


def _load(directory: Path) -> Classifier:
    from .torch import load

    return load(directory)
