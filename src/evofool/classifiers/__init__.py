"""What can be asked: any classifier, by one line that says where it is. One file of this folder for each kind."""

from __future__ import annotations

import copy
import importlib
import os
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ClassifierError, nearest

if TYPE_CHECKING:  # contracts bring torch, and `evofool --help` must not wait for it
    from ..contracts import Classifier, Dataset
    from .support.settings import Settings

__all__ = ["adapters", "load_classifier", "shipped"]

SHIPPED = Path(__file__).parent / "shipped"
_SUFFIXES = {".onnx": "onnx", ".keras": "keras", ".h5": "keras", ".skops": "sklearn"}
_NO_KINDS = {"fake", "torch"}  # stand-ins for tests, and what a card needs: neither has a prefix
_PREFIX = re.compile(r"^([a-z0-9]+):(?!\\)(.+)$", re.S)
PROGRAMS = {"export", "torchscript"}  # files that are programs, whatever they are called


def shipped() -> list[str]:
    """Names of the trained classifiers that come with this package, sorted."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/card.json"))


def adapters() -> dict[str, str]:
    """The kinds of classifiers that a prefix names, such as `onnx:`, and the first line about each."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    names = sorted(module.name for module in modules if not module.ispkg)
    found = {}
    for name in names:
        if name not in _NO_KINDS:
            words = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8").split('"""')[1]
            found[name] = words.strip().split("\n")[0]
    return found


def kind_of(spec: str) -> str:
    """Which adapter a spec is for: the name of a file of this folder; "torch" for a card of ours.

    Raises:
        ClassifierError: for none.
    """
    if spec in shipped():
        return "torch"
    if re.match(r"^https?://", spec, re.I):
        return "http"
    prefix = _PREFIX.match(spec)
    if prefix and prefix[1] in adapters():
        return prefix[1]
    from .python import FORM

    if FORM.match(spec):
        return "python"
    path = os.path.expanduser(spec)
    suffix = os.path.splitext(path)[1]
    if suffix in _SUFFIXES and not os.path.isdir(path):
        return _SUFFIXES[suffix]
    if os.path.exists(path):
        return "torch"
    known = [*shipped(), *(f"{name}:" for name in adapters())]
    raise ClassifierError(
        f"no classifier '{spec}': neither a shipped one, nor a directory or file, nor one of the kinds with a "
        f"prefix{nearest(spec, known)}; `evofool list classifiers` shows what can be given"
    )


def load_classifier(
    spec: Any,
    settings: Mapping[str, Any] | None = None,
    *,
    data: Dataset | None = None,
    **more: Any,
) -> Classifier:
    """Load a classifier, ready to be asked.

    Args:
        spec: the name of a shipped classifier; the directory that `evofool train` wrote; `onnx:FILE`, `keras:FILE`,
            `sklearn:FILE`, `state:FILE@pkg.mod:factory`, `export:FILE`, `torchscript:FILE`, `timm:NAME`,
            `torchvision:NAME`, `hf:ORG/NAME`; `pkg.mod:attr` or `file.py:attr`; `https://HOST/PATH`; `command:PROGRAM`;
            or a TOML file with a `spec` and more settings; or the thing itself: a PyTorch module, an estimator of
            scikit-learn, a function of images; a module is copied, and yours stays as it is. A plain word that is the
            name of a shipped classifier means that one; write `./mnist95` or `mnist95/` for a directory of the same
            name. A classifier that is already loaded is returned as it is.
        settings: what else there is to say of it, by the names of `classifiers.support.settings.Settings`.
        data: images that it will be asked about; where nothing else says so, they decide the shape of the images and
            the names of the classes.
        more: as `settings`, one by one: `load_classifier("onnx:net.onnx", kind="probabilities")`.

    Raises:
        ClassifierError: there is no such classifier, it cannot be loaded, or does not say enough of itself.
    """
    from ..contracts import Classifier
    from .support.settings import Settings
    from .support.settings import settings as checked

    given = {**(settings or {}), **more}
    if isinstance(spec, Settings):
        said = spec
    elif isinstance(spec, str | Path):
        # A path is never the name of a shipped one, however it is spelt.
        text = os.fspath(spec)
        said = checked(os.path.join(os.curdir, text) if isinstance(spec, Path) and text in shipped() else text, given)
    elif isinstance(spec, Classifier):
        return spec
    elif callable(spec) or hasattr(spec, "predict_proba"):
        from .python import adopt, origin

        name = getattr(spec, "__name__", type(spec).__name__)
        if hasattr(spec, "state_dict"):  # a module: its owner may train it on, and in another type or layout
            spec = copy.deepcopy(spec)
        return adopt(spec, name, origin(spec), checked(name, given), data)
    else:
        raise ClassifierError(
            f"a {type(spec).__name__} is not a classifier: expected a spec such as 'onnx:net.onnx', a directory with a "
            f"card, a PyTorch module, an estimator, or a function of images"
        )
    kind = kind_of(said.spec)
    if kind == "torch":
        return _card(said)
    if kind in PROGRAMS and not said.trust_code:
        raise ClassifierError(
            f"{said.spec}: such a file is a program that may do anything on this machine; if you trust where it comes "
            f"from, give --trust-code, or ask for the weights as safetensors (state:FILE@pkg.mod:factory)"
        )
    adapter = importlib.import_module(f"{__name__}.{kind}")
    prefix = _PREFIX.match(said.spec)
    rest = prefix[2] if prefix and prefix[1] == kind and kind != "http" else said.spec
    classifier: Classifier = adapter.load(rest, said, data)
    return classifier


def _card(said: Settings) -> Classifier:
    """One of ours, which says everything of itself."""
    from .torch import load

    odd = sorted(said.said().keys() - {"spec", "device", "trust_code"})
    if odd:
        raise ClassifierError(f"{said.spec}: its card says everything already; leave {', '.join(odd)} out")
    directory = SHIPPED / said.spec if said.spec in shipped() else Path(os.path.expanduser(said.spec))
    return load(directory, device=said.device)
