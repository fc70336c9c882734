"""What training hands over: a network, how well it does, and the card and weights that it is saved as."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from torch import nn

from .adversarial import Pgd, robust_accuracy
from .classifiers.support import card as cards
from .classifiers.support import pretrained
from .classifiers.support.prepare import Prepare
from .classifiers.torch import MemoryFormat, fastest_layout, lay_out
from .contracts import Dataset
from .errors import ClassifierError
from .finetune import Learner
from .shapes import Float, Tensor

_ROWS = 250  # in one call while an accuracy is measured
_SMALL = 3 * 64 * 64  # numbers in a small image


@dataclass(frozen=True)
class Trained:
    """A trained module and how it came about.

    Attributes:
        learner: in eval mode: images in, logits out, and how it began.
        architecture: a function of `networks`, or a library's network.
        arguments: the architecture's own.
        held_out_accuracy: of the weights that were kept, on the held-out images.
        held_out: how many these were.
        seed: as given.
        target_accuracy: as given.
        epochs: passes over the images that were begun.
        steps: batches learned from up to the weights that were kept.
        batch_size: as given.
        learning_rate: the largest one.
        balanced: as given; then the held-out accuracy is the mean of those of the classes.
        adversarial: the attack that it was trained against.
    """

    learner: Learner
    architecture: str
    arguments: Mapping[str, int | str]
    held_out_accuracy: float
    held_out: int
    seed: int
    target_accuracy: float | None
    epochs: int
    steps: int
    batch_size: int
    learning_rate: float
    balanced: bool = False
    adversarial: Pgd | None = None

    @property
    def module(self) -> nn.Module:
        """The network alone, as its weights are saved: it takes prepared images, and has one output if `single`."""
        return self.learner.network

    @property
    def reached(self) -> bool:
        """Whether the held-out accuracy came up to the target; a best effort always has."""
        return self.target_accuracy is None or self.held_out_accuracy >= self.target_accuracy


def accuracy(module: nn.Module, dataset: Dataset, *, balanced: bool = False) -> float:
    """Share of the images that a module gives its highest score to the right class, in [0, 1].

    The module is asked in eval mode and left in the mode it was in.

    Args:
        module: gives scores [N K] for images in [0, 1].
        dataset: images with labels.
        balanced: the mean of the shares of the classes that have images.
    """
    training = module.training
    module.eval()
    right = []
    with torch.inference_mode():
        for images, labels in zip(dataset.images.split(_ROWS), dataset.labels.split(_ROWS), strict=True):
            right.append(module(floats(images)).argmax(dim=1) == labels)
    module.train(training)
    hits = torch.cat(right)
    if not balanced:
        return int(hits.sum()) / len(dataset)
    of_each = [hits[dataset.labels == label] for label in dataset.labels.unique()]
    return sum(int(of_class.sum()) / len(of_class) for of_class in of_each) / len(of_each)


def save(
    trained: Trained,
    dataset: Dataset,
    directory: str | Path,
    name: str,
    test_dataset: Dataset | None = None,
    *,
    command: str | None = None,
) -> cards.Card:
    """Write a trained classifier as card and weights, all of it or nothing.

    The fastest layout and micro-batch on this machine are measured here and recorded, so that loading never measures.

    Args:
        trained: what `train` returned.
        dataset: the training set that `train` was given.
        directory: new or empty; its parents are made.
        name: short name for tables.
        test_dataset: images that had no part in training, for the accuracy in the card.
        command: what remakes it, for the card.

    Returns:
        The card as written.

    Raises:
        UserError: the directory is not empty or cannot be written.
        ClassifierError: the test set has other classes or another image shape.
    """
    cards.require_empty(Path(directory))
    image_shape = shape_of(dataset)
    if test_dataset is not None:
        _check_same(dataset, test_dataset)
    learner, attack = trained.learner, trained.adversarial
    weights = cards.serialise(trained.module)
    memory_format, micro_batch = _layout(trained, image_shape)
    card = cards.Card(
        format="evofool-classifier/1",
        name=name,
        architecture=trained.architecture,
        arguments=dict(trained.arguments),
        kind="probabilities" if learner.single else "logits",
        class_names=dataset.class_names,
        image_shape=image_shape,
        range=(0.0, 1.0),
        background=dataset.background,
        accuracy=None if test_dataset is None else accuracy(learner, test_dataset),
        held_out_accuracy=trained.held_out_accuracy,
        held_out=trained.held_out,
        data=dataset.name,
        data_fingerprint=dataset.fingerprint,
        seed=trained.seed,
        target_accuracy=trained.target_accuracy,
        epochs=trained.epochs,
        steps=trained.steps,
        batch_size=trained.batch_size,
        learning_rate=trained.learning_rate,
        torch=torch.__version__,
        command=command,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        memory_format=memory_format,
        micro_batch=micro_batch,
        output="sigmoid" if learner.single else "scores",
        preparation=_preparation(learner.prepare),
        pretrained=learner.pretrained,
        frozen=learner.frozen,
        balanced=trained.balanced,
        balanced_accuracy=accuracy(learner, test_dataset, balanced=True) if test_dataset and trained.balanced else None,
        adversarial=None
        if attack is None
        else cards.Adversarial(
            norm=attack.norm,
            eps=attack.eps,
            steps=attack.steps,
            step_size=attack.length,
            accuracy=None if test_dataset is None else robust_accuracy(learner, test_dataset, attack),
        ),
    )
    cards.write(Path(directory), card, weights)
    return card


def _layout(trained: Trained, image_shape: tuple[int, int, int]) -> tuple[MemoryFormat, int]:
    """Measured for a small network on small images; with others a measurement would take minutes."""
    height, width = trained.learner.prepare.size or image_shape[1:]
    numbers = 3 * height * width
    if pretrained.is_library(trained.architecture) or numbers > _SMALL:
        return "channels_last", max(4, min(100, 100 * _SMALL // numbers))
    return fastest_layout(copy.deepcopy(trained.learner), image_shape)


def _preparation(prepare: Prepare) -> cards.Preparation | None:
    if prepare == Prepare():
        return None
    return cards.Preparation(
        channels=cast(Literal[1, 3] | None, prepare.channels),
        size=prepare.size,
        interpolation=prepare.interpolation,
        mean=prepare.mean,
        std=prepare.std,
    )


def _check_same(dataset: Dataset, test: Dataset) -> None:
    for what, one, other in (
        ("classes", dataset.class_names, test.class_names),
        ("images of shape", tuple(dataset.images.shape[1:]), tuple(test.images.shape[1:])),
    ):
        if one != other:
            raise ClassifierError(
                f"{test.name} has {what} {list(other)}, expected those of {dataset.name}: {list(one)}; give a test set "
                f"of the same kind"
            )


def floats(images: Tensor) -> Float[Tensor, "N C H W"]:
    """Bytes as numbers in [0, 1], as training and measuring lay them out."""
    return lay_out(images.float() / 255, "channels_last")


def shape_of(dataset: Dataset) -> tuple[int, int, int]:
    """(C, H, W)."""
    channels, height, width = dataset.images.shape[1:]
    return channels, height, width
