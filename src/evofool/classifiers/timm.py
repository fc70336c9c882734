"""timm:NAME or timm:NAME.TAG: an image classifier of the timm library, with its weights."""

from __future__ import annotations

from typing import Any

from ..contracts import Classifier, Dataset
from ..errors import ClassifierError
from .support.local import Native, digest, library
from .support.prepare import Prepare
from .support.pretrained import Network, close, distinct, fetched, random_weights
from .support.settings import Settings
from .torch import state_digest, take_over


def load(name: str, settings: Settings, data: Dataset | None = None) -> Classifier:
    """Load a network as timm has it: its weights, its class names, and images prepared as timm does for evaluation.

    Raises:
        ClassifierError: timm is not installed or has no such network, its weights could not be fetched, or it is no
            classifier.
    """
    found = build(name, trained=settings.pretrained, interpolation=settings.interpolation)
    size = found.prepare.size or (None, None)
    native = Native(
        name=name,
        fingerprint=digest("timm", name, state_digest(found.module)),
        input_shape=(found.prepare.channels, *size),
        kind="logits",
        class_names=found.class_names,
        prepare=found.prepare,
    )
    return take_over(found.module, native, settings, data)


def build(name: str, *, outputs: int | None = None, trained: bool = True, interpolation: str | None = None) -> Network:
    """A network of timm.

    Args:
        name: in timm, with or without the tag of its weights.
        outputs: of a new head; None = its own head.
        trained: with its weights; otherwise, and in a new head, they are random and the same each time.
        interpolation: to use where timm's is none of ours.

    Raises:
        ClassifierError: as above.
    """
    spec = f"timm:{name}"
    timm = library("timm", "timm", spec)
    if ":" not in name and not timm.is_model(name):
        raise ClassifierError(f"{spec}: timm has no such network{close(name, timm.list_models())}")
    more: dict[str, Any] = {} if outputs is None else {"num_classes": outputs}

    def make() -> Any:
        with random_weights():
            return timm.create_model(name, pretrained=trained, **more)

    if trained:
        module = fetched(spec, make, ", or give --with pretrained=false for random ones")
    else:
        try:
            module = make()
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise ClassifierError(f"{spec} cannot be built: {type(error).__name__}: {said}") from error
    if not module.num_classes:
        raise ClassifierError(f"{spec} describes images by features and has no classes; expected a classifier")
    head = module.get_classifier()
    return Network(
        module=module,
        head=tuple(head) if isinstance(head, tuple | list) else (head,),
        prepare=_prepare(spec, timm.data.resolve_data_config({}, model=module), interpolation),
        class_names=_class_names(timm, module) if outputs is None else None,
    )


def _prepare(spec: str, config: dict[str, Any], interpolation: str | None) -> Prepare:
    """timm's evaluation transform; an image that is not square and that timm would pad or squash first is stretched."""
    channels, height, width = config["input_size"]
    found: Any = interpolation or config["interpolation"]
    if found not in ("nearest", "bilinear", "bicubic"):
        raise ClassifierError(f"{spec}: timm resizes images by '{found}' for it; say --with interpolation=bicubic")
    whole = config["crop_mode"] != "center" and config["crop_pct"] == 1
    return Prepare(
        channels=channels,
        size=(height, width),
        crop=None if whole else config["crop_pct"],
        interpolation=found,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _class_names(timm: Any, module: Any) -> tuple[str, ...] | None:
    """In words, where timm knows what the outputs stand for."""
    named = module.pretrained_cfg.get("label_names")
    if named:
        return distinct([str(name) for name in named])
    subset = timm.data.infer_imagenet_subset(module)
    if subset is None:
        return None
    return distinct([text.partition(",")[0] for text in timm.data.ImageNetInfo(subset).label_descriptions()])
