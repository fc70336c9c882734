"""Training small classifiers: to a wanted accuracy on held-out training images, or as good as they get."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch.nn import functional

from . import finetune, networks
from .adversarial import Pgd
from .augmentation import mirrored, moved, schedule
from .classifiers.support import pretrained
from .classifiers.torch import lay_out, tune_allocator
from .contracts import Dataset
from .data import split_off
from .errors import ClassifierError, DataError
from .saving import Trained, accuracy, floats, save
from .shapes import Int, Tensor

__all__ = ["HELD_OUT", "Progress", "Trained", "accuracy", "save", "train"]

HELD_OUT = 5000
_OFTEN = 5  # steps between two looks at the held-out images on the way to a target; later a fortieth of the way so far


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


def train(
    dataset: Dataset,
    *,
    architecture: str = "small_cnn",
    arguments: Mapping[str, int | str] | None = None,
    target_accuracy: float | None = None,
    seed: int = 0,
    epochs: int = 10,
    held_out: int | None = None,
    batch_size: int = 64,
    learning_rate: float | None = None,
    single: bool = False,
    balanced: bool = False,
    trained: bool = True,
    freeze: bool = False,
    input_size: tuple[int, int] | None = None,
    adversarial: Pgd | None = None,
    mirror: bool = False,
    progress: Callable[[Progress], None] | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Trained:
    """Train a network on the images of a training set, without ever seeing a test image.

    With a target accuracy: Adam at a constant learning rate on the images as they are; the held-out images are asked
    every few batches, and training stops when they first reach the target. Without one, a best effort: the
    images are shifted, turned and scaled a little, the learning rate rises over the first tenth and then follows half a
    cosine to zero, and the weights with the best held-out accuracy after an epoch are kept; of adversarial training,
    in which that accuracy says little, the last ones.

    The same seed gives the same weights for one thread count and build of torch. The global generator is left alone.

    Args:
        dataset: training images with labels.
        architecture: a function of `networks`; or a network of a library, "timm:NAME" or "torchvision:NAME".
        arguments: the architecture's own arguments.
        target_accuracy: in (0, 1], or None for a best effort.
        seed: of the held-out choice, initialisation, order and augmentation.
        epochs: passes over the images at most; a best effort always makes all of them.
        held_out: images to hold out; by default 5,000, or a fifth of a set smaller than 25,000.
        batch_size: images in one step.
        learning_rate: by default 0.0003 on the way to a target, 0.003 for a best effort; for a library's network 0.0001
            if all of it goes on from trained weights, 0.001 from random ones.
        single: one output for two classes, whose sigmoid is the probability of the second, by binary cross-entropy.
        balanced: weight each class by its inverse frequency.
        trained, freeze, input_size, warn: how a library's network begins; see `finetune.start`.
        adversarial: learn from images under this attack instead of those as they are (Madry et al. 2018; see there).
        mirror: a best effort mirrors images and shifts them by whole pixels, instead: for photographs.
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
    class_weights = finetune.inverse_frequency(dataset) if balanced else None
    kept, asked = split_off(dataset, min(HELD_OUT, len(dataset) // 5) if held_out is None else held_out, seed)
    generator = torch.Generator().manual_seed(seed)
    learner = finetune.start(
        architecture,
        dataset,
        generator,
        arguments=arguments,
        single=single,
        trained=trained,
        freeze=freeze,
        input_size=input_size,
        warn=warn,
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner.class_weights = class_weights

    best_effort = target_accuracy is None
    learning_rate = learning_rate or _learning_rate(learner, pretrained.is_library(architecture), best_effort)
    optimiser = torch.optim.Adam([each for each in learner.parameters() if each.requires_grad], lr=learning_rate)
    steps_per_epoch = len(_cut(torch.arange(len(kept)), batch_size))
    steps = epochs * steps_per_epoch
    best, best_step, best_state, newest, due = -1.0, 0, learner.state_dict(), math.nan, 1
    # Networks of libraries drop out by the global generator.
    with networks.drawn_from(generator) if pretrained.is_library(architecture) else nullcontext():
        for step, part in enumerate(_batches(len(kept), batch_size, epochs, generator), start=1):
            images, labels, done = floats(kept.images[part]), kept.labels[part], (step - 1) / steps
            if best_effort:
                images = (mirrored if mirror else moved)(images, dataset.background, generator)
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate * schedule(done)
            if adversarial is not None:
                images = lay_out(adversarial.at(done)(learner, images, labels, generator), "channels_last")
            _learn(learner, optimiser, images, labels)
            if step == due or step % steps_per_epoch == 0:
                newest = accuracy(learner, asked, balanced=balanced)
                due = steps if best_effort else step + max(_OFTEN, step // 40)
                # Of equals the later one, which a falling learning rate has settled more.
                if newest >= best or (best_effort and adversarial is not None):
                    best, best_step, best_state = newest, step, copy.deepcopy(learner.state_dict())
            if progress is not None:
                progress(Progress(step, steps, newest))
            if target_accuracy is not None and best >= target_accuracy:
                break
    learner.load_state_dict(best_state)
    return Trained(
        learner=learner.eval().requires_grad_(False),
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
        balanced=balanced,
        adversarial=adversarial,
    )


def _batches(images: int, batch_size: int, epochs: int, generator: torch.Generator) -> Iterator[Int[Tensor, " n"]]:
    """Indices of the images of each batch, in a fresh order for each epoch."""
    for _ in range(epochs):
        yield from _cut(torch.randperm(images, generator=generator), batch_size)


def _cut(order: Int[Tensor, " n"], batch_size: int) -> list[Int[Tensor, " n"]]:
    """Batches; a last one of a single image, of which no batch statistics can be made, joins the one before."""
    parts = list(order.split(batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1 < batch_size:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _learn(module: finetune.Learner, optimiser: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    module.train()
    loss = functional.cross_entropy(module(images), labels, weight=module.class_weights)
    if not math.isfinite(loss.item()):
        raise ClassifierError("training diverged: the loss is no longer finite; give a smaller learning rate")
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _learning_rate(learner: finetune.Learner, is_library: bool, best_effort: bool) -> float:
    if is_library and not learner.frozen:
        return 0.0001 if learner.pretrained else 0.001
    return 0.003 if best_effort else 0.0003


def _check_settings(target: float | None, seed: int, epochs: int, batch_size: int, rate: float | None) -> None:
    if target is not None and not 0 < target <= 1:
        raise ClassifierError(f"target accuracy is {target}, expected above 0 and at most 1, such as 0.95")
    if epochs < 1 or batch_size < 1:
        raise ClassifierError(f"epochs is {epochs} and batch size {batch_size}, expected both to be at least 1")
    if not 0 <= seed < 2**63:
        raise ClassifierError(f"seed is {seed}, expected a whole number from 0 to 2^63 - 1")
    if rate is not None and not 0 < rate < math.inf:
        raise ClassifierError(f"learning rate is {rate}, expected a positive number such as 0.001")
