"""The classifiers of a run as they are written down, so that workers, resumed runs and checks load the same again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import ClassifierError, UserError
from .. import kind_of, load_classifier, shipped
from .settings import Settings, settings

if TYPE_CHECKING:
    from ...contracts import Classifier, Dataset

# What runs code or sends images somewhere when it is loaded or asked: nothing to follow a stranger's run.json into.
_REACHES = {"python", "state", "export", "torchscript", "command", "http"}


def sourced(
    spec: str, given: Mapping[str, Any], data: Dataset | None, taken: Collection[str] = ()
) -> tuple[str, Settings | None]:
    """What a classifier is called in a run, and how it is loaded again.

    Args:
        spec: as for `load_classifier`.
        given: what is said of it besides; of a card of ours only where it computes.
        data: images that it will be asked about, if there are any.
        taken: names of others.

    Returns:
        Its name, and everything there is to say of it; of a card that computes on the CPU nothing, and its name is its
        spec.

    Raises:
        ClassifierError: it cannot be loaded.
    """
    said = settings(spec)
    if kind_of(said.spec) == "torch":
        device = given.get("device", said.device)
        return spec, None if device == "cpu" else settings(said.spec, {"device": device})
    said = settings(spec, given)
    classifier = load_classifier(said, data=data)
    name = re.sub(r"[^\w.+-]+", "-", classifier.info.name)[:40].strip("-") or kind_of(said.spec)
    while name in taken or name in shipped():
        name += "+"
    return name, _resolved(said, classifier, name)


def _resolved(said: Settings, classifier: Classifier, name: str) -> Settings:
    """Settings that leave nothing to be found out."""
    info = classifier.info
    found: dict[str, Any] = {
        "name": name,
        "kind": info.kind,
        "image_shape": info.image_shape,
        "micro_batch": info.micro_batch,
        "concurrency": info.concurrency,
        "metered": info.metered,
        "background": info.background,
    }
    if info.device != "remote":
        found |= {"device": info.device, "memory_format": info.memory_format}
    if len(set(info.class_names)) == len(info.class_names):
        order = getattr(classifier, "order", None) or list(range(len(info.class_names)))
        found["classes"] = info.class_names
        found["class_names"] = tuple(info.class_names[order.index(output)] for output in range(len(order)))
    return settings(said.spec, {**said.said(), **found})


def recorded(source: Settings) -> dict[str, Any]:
    """What run.json holds of it; whether to trust code is said anew each time."""
    return {name: value for name, value in source.said().items() if name != "trust_code"}


def require_trust(
    names: Iterable[str], sources: Mapping[str, Settings], path: Any, *, trust_code: bool
) -> dict[str, Settings]:
    """The classifiers that a run directory names, if they may be loaded from there.

    Args:
        names: of all that will be loaded; one without a source has to be a card of ours.
        sources: as the directory gives them.
        path: of the directory.
        trust_code: the user says that it may.

    Raises:
        UserError: one of them runs code, or sends images to an address, that the directory names.
    """
    for name in {*names, *sources}:
        spec = sources[name].spec if name in sources else name
        if _reaches(spec, card_expected=name not in sources) and not trust_code:
            raise UserError(
                f"{path}: its classifier {name} is {spec}: that runs code or sends images to where the run directory "
                f"says; if the run is your own, add --trust-code"
            )
    return {name: source.model_copy(update={"trust_code": trust_code}) for name, source in sources.items()}


def reaches(sources: Mapping[str, Settings]) -> bool:
    """Whether a run with these is resumed only with --trust-code."""
    return any(_reaches(source.spec) or source.trust_code for source in sources.values())


def _reaches(spec: str, *, card_expected: bool = False) -> bool:
    """Whether loading a spec may run code or send something; a TOML file may name anything."""
    if spec.endswith(".toml"):
        return True
    try:
        kind = kind_of(spec)
    except ClassifierError:
        return False  # loading it will say what is wrong
    return kind in _REACHES or (card_expected and kind != "torch")
