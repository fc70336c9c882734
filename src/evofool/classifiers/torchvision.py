"""torchvision:NAME or torchvision:NAME@WEIGHTS: an image classifier of torchvision, with its weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..contracts import Classifier, Dataset
from ..errors import ClassifierError
from .support.local import Native, digest, library
from .support.prepare import Prepare
from .support.pretrained import Network, close, distinct, fetched, random_weights
from .support.settings import Settings
from .torch import state_digest, take_over

_WITH_SIDE_OUTPUTS = ("googlenet", "inception_v3")


def load(name: str, settings: Settings, data: Dataset | None = None) -> Classifier:
    """Load a network as torchvision has it: weights, class names, and images prepared by the weights' own transforms.

    Raises:
        ClassifierError: torchvision is not installed or has no such network, or its weights could not be fetched.
    """
    found = build(name, trained=settings.pretrained)
    native = Native(
        name=name,
        fingerprint=digest("torchvision", name, state_digest(found.module)),
        input_shape=(3, *(found.prepare.size or (None, None))),
        kind="logits",
        class_names=found.class_names,
        prepare=found.prepare,
    )
    return take_over(found.module, native, settings, data)


def build(name: str, *, outputs: int | None = None, trained: bool = True) -> Network:
    """A network of torchvision.

    Args:
        name: in torchvision, with or without @WEIGHTS, such as resnet50@IMAGENET1K_V1; without, its default ones.
        outputs: of a new head; None = its own head.
        trained: with its weights; otherwise, and in a new head, they are random and the same each time.

    Raises:
        ClassifierError: as above.
    """
    name, _, choice = name.partition("@")
    spec = f"torchvision:{name}"
    models = library("torchvision.models", "timm", spec)
    known = models.list_models(module=models)
    if name not in known:
        raise ClassifierError(f"{spec}: torchvision has no such classifier{close(name, known)}")
    kinds = models.get_model_weights(name)
    if choice and choice not in kinds.__members__:
        raise ClassifierError(f"{spec} has no weights '{choice}', expected one of {', '.join(kinds.__members__)}")
    weights = kinds[choice or "DEFAULT"]
    # The side outputs are for training only. Weights bring another normalisation with them, so that is on in any case.
    more = {"aux_logits": False, "transform_input": True, "init_weights": True} if name in _WITH_SIDE_OUTPUTS else {}
    with random_weights():
        module = models.get_model(name, weights=None, **more)
    if trained:
        instead = ", or give --with pretrained=false for random ones"
        state = fetched(spec, lambda: weights.get_state_dict(progress=False, check_hash=True), instead)
        wanted = module.state_dict()
        module.load_state_dict({key: value for key, value in state.items() if key in wanted})
    names = distinct(weights.meta["categories"])
    head = _head(module, len(names), outputs, spec)
    return Network(module, (head,), _prepare(weights.transforms()), names if outputs is None else None)


def _head(module: nn.Module, classes: int, outputs: int | None, spec: str) -> nn.Module:
    """The last layer with an output for each class, replaced if another number is asked for."""
    where, head = [
        (path, part)
        for path, part in module.named_modules()
        if classes in (getattr(part, "out_features", None), getattr(part, "out_channels", None))
    ][-1]
    if outputs is None:
        return head
    if not isinstance(head, nn.Linear):
        raise ClassifierError(f"{spec} does not end in a dense layer and cannot be given a new one; take another")
    parent, _, last = where.rpartition(".")
    with random_weights():
        new = nn.Linear(head.in_features, outputs)
    setattr(module.get_submodule(parent), last, new)
    return new


def _prepare(transforms: Any) -> Prepare:
    """The transforms of weights: a resize of the shorter side, the middle of that, normalisation."""
    size, resized = transforms.crop_size[0], transforms.resize_size[0]
    return Prepare(
        channels=3,
        size=(size, size),
        crop=size / (resized + 0.001),  # whose inverse, rounded down, is `resized`
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
