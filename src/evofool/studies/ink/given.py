"""What an ink study is given: networks with the padding they were trained with, and images with their classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, get_args

import torch

from ... import finetune
from ...contracts import Classifier, ClassifierInfo, Dataset
from ...data import Split, load_data
from ...errors import ClassifierError, DataError
from ...networks import Padding
from ...shapes import Int, Tensor, UInt8
from ...variants import Variant, padding_of
from .arms import Network

TESTED = 2000  # test images that a network is asked about, for each change that is made to it
TESTED_REMOTE = 100
_SPLITS: tuple[Split, Split] = ("train", "test")


class Images(NamedTuple):
    """Test images for a network.

    Attributes:
        images: bytes [N C H W].
        labels: [N], of its classes.
        about: which these are.
    """

    images: UInt8[Tensor, "N C H W"]
    labels: Int[Tensor, " N"]
    about: str


def network(name: str, classifier: Classifier, skipped: list[tuple[str, str]]) -> Network:
    """What padding a network was trained with, and what can be put in its place; why not, goes to `skipped`."""
    swaps: list[Padding] = []
    own: list[Padding] = []
    reasons: list[str] = []
    for mode in get_args(Padding):
        try:
            found = padding_of(classifier, mode)
            Variant(padding=mode).apply(classifier)
        except ClassifierError as error:
            reasons.append(str(error))
            continue
        swaps.append(mode)
        if found.kept and not found.changed and not found.skipped:
            own.append(mode)
    if reasons:
        skipped.append(("padding", reasons[0] if swaps else f"its padding cannot be swapped: {reasons[0]}"))
    outside = True
    try:
        Variant(outside=0.5).apply(classifier)
    except ClassifierError as error:
        outside = False
        skipped.append(("pipeline", f"no other gray level beyond its border: {error}"))
    height, width = classifier.info.image_shape[1:]
    return Network(name, classifier.info.name, (height, width), own[0] if len(own) == 1 else "", tuple(swaps), outside)


def same_architecture(first: tuple[Network, Classifier], other: tuple[Network, Classifier]) -> bool:
    """Whether two networks differ in their padding, and neither in their architecture nor in their classes."""
    bare = []
    for _, classifier in (first, other):
        card = getattr(classifier, "card", None) or {}
        arguments = {name: value for name, value in card.get("arguments", {}).items() if name != "padding"}
        bare.append((card.get("architecture"), arguments))
    known = bare[0][0] is not None and bare[0] == bare[1] and first[0].size == other[0].size
    same_classes = first[1].info.class_names == other[1].info.class_names
    return known and same_classes and first[0].padding != other[0].padding


def images(
    spec: str,
    data_dir: str | None,
    info: ClassifierInfo,
    target: int,
    *,
    progress: Callable[[str, int, int], None] | None,
) -> tuple[Dataset, Images]:
    """Training and test images, with the classes of a network.

    Args:
        spec, data_dir, progress: as for `load_data`.
        info: of the network.
        target: the wanted class; images of many classes become images of it and of the rest for a network of two.

    Raises:
        DataError: they have not the classes of the network, or cannot be read.
    """
    channels, height, width = info.image_shape
    sets = []
    for split in _SPLITS:
        found = load_data(
            spec,
            split=split,
            data_dir=Path(data_dir) if data_dir else None,
            size=(height, width),
            channels=channels,  # type: ignore[arg-type]
            progress=progress,
        )
        sets.append(_classes(found, info, target))
    training, test = sets
    limit = TESTED_REMOTE if info.remote else TESTED
    chosen = _spread(test, target, limit)
    about = "training" if training.fingerprint == test.fingerprint else "test"
    return training, Images(test.images[chosen], test.labels[chosen].long(), f"{len(chosen):,} {about} images")


def _classes(dataset: Dataset, info: ClassifierInfo, target: int) -> Dataset:
    """The same images with the classes of the network: its own, or the wanted one against the rest.

    Raises:
        DataError: they have neither.
    """
    if dataset.class_names == info.class_names:
        return dataset
    wanted = info.class_names[target]
    if set(dataset.class_names) == set(info.class_names):
        order = [info.class_names.index(name) for name in dataset.class_names]
        return replace(dataset, labels=torch.tensor(order)[dataset.labels.long()], class_names=info.class_names)
    if wanted in dataset.class_names and len(info.class_names) == 2:
        return _classes(finetune.one_against_rest(dataset, wanted), info, target)
    theirs, own = (_few(names) for names in (dataset.class_names, info.class_names))
    raise DataError(
        f"{dataset.name} has the classes {theirs}, and {info.name} {own}: expected the images that it was trained on, "
        f"or none"
    )


def _few(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:6])}{' ...' if len(names) > 6 else ''}"


def _spread(dataset: Dataset, target: int, limit: int) -> Int[Tensor, " n"]:
    """Up to `limit` images, half of them of the wanted class if there are so many."""
    chosen = []
    for side in (dataset.labels == target, dataset.labels != target):
        index = side.nonzero().squeeze(1)
        chosen.append(index[torch.linspace(0, max(0, len(index) - 1), min(len(index), limit // 2)).long()])
    return torch.cat(chosen)
