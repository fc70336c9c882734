"""Training small classifiers: to a wanted accuracy on held-out training images, or as good as they get."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from . import networks
from .classifiers import card as cards
from .classifiers.torch import fastest_layout, lay_out, tune_allocator
from .contracts import Dataset
from .data import split_off
from .errors import ClassifierError, DataError
from .shapes import Float, Int, Tensor

HELD_OUT = 5000
_OFTEN = 5  # steps between two looks at the held-out images on the way to a target; later a fortieth of the way so far
_ROWS = 250  # in one call while an accuracy is measured


class Progress(NamedTuple):
    """Where training stands.

    Attributes:
        step: batches learned from so far.
        steps: batches at most.
        held_out_accuracy: the newest one, in [0, 1].
    """

    step: int
    steps: int
    held_out_accuracy: float


@dataclass(frozen=True)
class Trained:
    """A trained module and how it came about.

    Attributes:
        module: in eval mode.
        architecture: a function of `networks`.
        arguments: the architecture's own.
        held_out_accuracy: of the weights that were kept, on the held-out images.
        held_out: how many these were.
        seed: as given.
        target_accuracy: as given.
        epochs: passes over the images that were begun.
        steps: batches learned from up to the weights that were kept.
        batch_size: as given.
        learning_rate: the largest one.
    """

    module: nn.Module
    architecture: str
    arguments: Mapping[str, int]
    held_out_accuracy: float
    held_out: int
    seed: int
    target_accuracy: float | None
    epochs: int
    steps: int
    batch_size: int
    learning_rate: float

    @property
    def reached(self) -> bool:
        """Whether the held-out accuracy came up to the target; a best effort always has."""
        return self.target_accuracy is None or self.held_out_accuracy >= self.target_accuracy


def train(
    dataset: Dataset,
    *,
    architecture: str = "small_cnn",
    arguments: Mapping[str, int] | None = None,
    target_accuracy: float | None = None,
    seed: int = 0,
    epochs: int = 10,
    held_out: int | None = None,
    batch_size: int = 64,
    learning_rate: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train a network on the images of a training set, without ever seeing a test image.

    With a target accuracy: Adam at a constant learning rate on the images as they are; the held-out images are asked
    every few batches, and training stops when they first reach the target. Without one, a best effort: the
    images are shifted, turned and scaled a little, the learning rate rises over the first tenth and then follows half a
    cosine to zero, and the weights with the best held-out accuracy after an epoch are kept.

    The same seed gives the same weights for one thread count and build of torch. The global generator is left alone.

    Args:
        dataset: training images with labels.
        architecture: a function of `networks`.
        arguments: the architecture's own arguments.
        target_accuracy: in (0, 1], or None for a best effort.
        seed: of the held-out choice, initialisation, order and augmentation.
        epochs: passes over the images at most; a best effort always makes all of them.
        held_out: images to hold out; by default 5,000, or a fifth of a set smaller than 25,000.
        batch_size: images in one step.
        learning_rate: by default 0.0003 on the way to a target, 0.003 for a best effort.
        progress: called after each step.

    Returns:
        The trained module; ask `reached` whether the target was met. If it was not, the best weights are returned.

    Raises:
        DataError: too few images.
        ClassifierError: an unknown architecture or argument, a setting out of its range, or weights that diverged.
    """
    _check_settings(target_accuracy, seed, epochs, batch_size, learning_rate)
    if len(dataset) < 10:
        raise DataError(f"{dataset.name} has {len(dataset)} images, expected at least 10 to train on; give more images")
    tune_allocator()
    arguments = dict(arguments or {})
    kept, asked = split_off(dataset, min(HELD_OUT, len(dataset) // 5) if held_out is None else held_out, seed)
    image_shape = _image_shape(dataset)
    generator = torch.Generator().manual_seed(seed)
    module = networks.build(architecture, cards.build_arguments(image_shape, len(dataset.class_names), arguments))
    module = networks.initialise(module, generator).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    best_effort = target_accuracy is None
    learning_rate = learning_rate or (0.003 if best_effort else 0.0003)
    optimiser = torch.optim.Adam(module.parameters(), lr=learning_rate)
    steps_per_epoch = math.ceil(len(kept) / batch_size)
    steps = epochs * steps_per_epoch
    best, best_step, best_state, newest, due = -1.0, 0, module.state_dict(), math.nan, 1
    for step, part in enumerate(_batches(len(kept), batch_size, epochs, generator), start=1):
        images = _floats(kept.images[part])
        if best_effort:
            images = _augment(images, dataset.background, generator)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * _schedule((step - 1) / steps)
        _learn(module, optimiser, images, kept.labels[part])
        if step == due or step % steps_per_epoch == 0:
            newest = accuracy(module, asked)
            due = steps if best_effort else step + max(_OFTEN, step // 40)
            if newest >= best:  # of equals the later one, which a falling learning rate has settled more
                best, best_step, best_state = newest, step, copy.deepcopy(module.state_dict())
        if progress is not None:
            progress(Progress(step, steps, newest))
        if target_accuracy is not None and best >= target_accuracy:
            break
    module.load_state_dict(best_state)
    return Trained(
        module=module.eval().requires_grad_(False),
        architecture=architecture,
        arguments=arguments,
        held_out_accuracy=best,
        held_out=len(asked),
        seed=seed,
        target_accuracy=target_accuracy,
        epochs=math.ceil(step / steps_per_epoch),
        steps=best_step,
        batch_size=batch_size,
        learning_rate=learning_rate,
    )


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
    image_shape = _image_shape(dataset)
    if test_dataset is not None:
        _check_same(dataset, test_dataset)
    weights = cards.serialise(trained.module)
    memory_format, micro_batch = fastest_layout(copy.deepcopy(trained.module), image_shape)
    card = cards.Card(
        format="evofool-classifier/1",
        name=name,
        architecture=trained.architecture,
        arguments=dict(trained.arguments),
        kind="logits",
        class_names=dataset.class_names,
        image_shape=image_shape,
        range=(0.0, 1.0),
        background=dataset.background,
        accuracy=None if test_dataset is None else accuracy(trained.module, test_dataset),
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
    )
    cards.write(Path(directory), card, weights)
    return card


def accuracy(module: nn.Module, dataset: Dataset) -> float:
    """Share of the images that a module gives its highest score to the right class, in [0, 1].

    The module is asked in eval mode and left in the mode it was in.
    """
    training = module.training
    module.eval()
    right = 0
    with torch.inference_mode():
        for images, labels in zip(dataset.images.split(_ROWS), dataset.labels.split(_ROWS), strict=True):
            right += int((module(_floats(images)).argmax(dim=1) == labels).sum())
    module.train(training)
    return right / len(dataset)


def _batches(images: int, batch_size: int, epochs: int, generator: torch.Generator) -> Iterator[Int[Tensor, " n"]]:
    """Indices of the images of each batch, in a fresh order for each epoch."""
    for _ in range(epochs):
        yield from torch.randperm(images, generator=generator).split(batch_size)


def _learn(module: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    module.train()
    loss = functional.cross_entropy(module(images), labels)
    if not math.isfinite(loss.item()):
        raise ClassifierError("training diverged: the loss is no longer finite; give a smaller learning rate")
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _floats(images: Tensor) -> Float[Tensor, "N C H W"]:
    return lay_out(images.float() / 255, "channels_last")


def _schedule(done: float) -> float:
    """Factor of the largest learning rate when a share `done` of all steps is over: a rise, then half a cosine."""
    rise = 0.1
    return (done + 0.01) / (rise + 0.01) if done < rise else (1 + math.cos(math.pi * (done - rise) / (1 - rise))) / 2


def _augment(images: Tensor, background: float, generator: torch.Generator) -> Float[Tensor, "N C H W"]:
    """Turn each image by up to 10 degrees, scale it by up to 10% and shift it by up to 8% of its size."""

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(len(images), generator=generator) - 1) * limit

    angle, scale = uniform(math.pi / 18), 1 + uniform(0.1)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack(row, dim=1) for row in ((cosine, -sine, uniform(0.16)), (sine, cosine, uniform(0.16)))]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    # What moves in from outside is background; sampling pads with 0.
    moved = functional.grid_sample(images - background, grid, align_corners=False) + background
    return lay_out(moved, "channels_last")


def _image_shape(dataset: Dataset) -> tuple[int, int, int]:
    channels, height, width = dataset.images.shape[1:]
    return channels, height, width


def _check_settings(target: float | None, seed: int, epochs: int, batch_size: int, rate: float | None) -> None:
    if target is not None and not 0 < target <= 1:
        raise ClassifierError(f"target accuracy is {target}, expected above 0 and at most 1, such as 0.95")
    if epochs < 1 or batch_size < 1:
        raise ClassifierError(f"epochs is {epochs} and batch size {batch_size}, expected both to be at least 1")
    if not 0 <= seed < 2**63:
        raise ClassifierError(f"seed is {seed}, expected a whole number from 0 to 2^63 - 1")
    if rate is not None and not 0 < rate < math.inf:
        raise ClassifierError(f"learning rate is {rate}, expected a positive number such as 0.001")


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
