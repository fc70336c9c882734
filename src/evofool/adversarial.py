"""Projected gradient descent: the white-box attack that adversarial training learns to withstand.

Author: Madry, Makelov, Schmidt, Tsipras, Vladu, Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR
2018, https://arxiv.org/abs/1706.06083.

Where we differ:
1. By default 7 steps of 2.5 eps / 7 (for their CIFAR-10 nets they train with 7 steps of 2/255 at eps = 8/255; for
   MNIST with 40 steps of 0.01 at eps = 0.3). Say --adversarial-steps 40 --adversarial-step-size 0.01 for the latter.
2. The network is attacked in eval mode: batch statistics of attacked images do not enter its running means.
3. In training the radius rises from 0 to eps over the first third of the steps: small networks that meet eps = 0.3 at
   once give every image the same answer and never leave that.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from .contracts import Dataset
from .errors import ClassifierError
from .shapes import Float, Int, Tensor

_ROWS = 250
_FORM = re.compile(r"^linf:(?P<number>\d*\.?\d+)(/(?P<divisor>\d+))?$")


@dataclass(frozen=True)
class Pgd:
    """Steps of the same length along the sign of the gradient, from a random point of the ball.

    Attributes:
        eps: radius of the ball around each image in the largest difference of a pixel; 1.0 = full white.
        steps: how many.
        step_size: of each; None = 2.5 eps / steps, with which the border can be reached from anywhere in the ball.
        norm: of the ball.
    """

    eps: float
    steps: int = 7
    step_size: float | None = None
    norm: Literal["linf"] = "linf"

    def __post_init__(self) -> None:
        if not 0 < self.eps <= 1:
            raise ClassifierError(f"eps of an attack is {self.eps}, expected above 0 and at most 1 (full white)")
        if not 1 <= self.steps <= 1000:
            raise ClassifierError(f"an attack of {self.steps} steps, expected 1 to 1000")
        if self.step_size is not None and not 0 < self.step_size <= 1:
            raise ClassifierError(f"step size of an attack is {self.step_size}, expected above 0 and at most 1")

    @property
    def length(self) -> float:
        """Of a step."""
        return 2.5 * self.eps / self.steps if self.step_size is None else self.step_size

    def at(self, done: float) -> Pgd:
        """The attack when a share `done` of the training is over: weaker at its beginning."""
        share = min(1.0, max(3 * done, 0.01))
        return replace(self, eps=self.eps * share, step_size=self.length * share)

    def __call__(
        self,
        module: nn.Module,
        images: Float[Tensor, "N C H W"],
        labels: Int[Tensor, " N"],
        generator: torch.Generator,
    ) -> Float[Tensor, "N C H W"]:
        """Images within eps of the given ones, and within [0, 1], that a module reads less well.

        Args:
            module: gives logits [N K]; asked in eval mode and left in the mode it was in.
            images: in [0, 1].
            labels: their classes.
            generator: of the random start.
        """
        training = module.training
        module.eval()
        low, high = (images - self.eps).clamp(min=0), (images + self.eps).clamp(max=1)
        start = (2 * torch.rand(images.shape, generator=generator) - 1) * self.eps
        found = torch.minimum(torch.maximum(images + start, low), high)
        for _ in range(self.steps):
            found.requires_grad_(True)
            loss = functional.cross_entropy(module(found), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, found)
            found = found.detach() + self.length * gradient.sign()
            found = torch.minimum(torch.maximum(found, low), high)
        module.train(training)
        return found.detach()


def parse(text: str, steps: int | None = None, step_size: float | None = None) -> Pgd:
    """An attack from "linf:0.3" or "linf:8/255".

    Raises:
        ClassifierError: another form, or a number out of its range.
    """
    found = _FORM.match(text)
    if not found or int(found["divisor"] or 1) == 0:
        raise ClassifierError(
            f"adversarial training against '{text}', expected linf:EPS, such as linf:0.3 or linf:8/255"
        )
    eps = float(found["number"]) / int(found["divisor"] or 1)
    return Pgd(eps, step_size=step_size) if steps is None else Pgd(eps, steps, step_size)


def robust_accuracy(module: nn.Module, dataset: Dataset, attack: Pgd, *, seed: int = 0, images: int = 1000) -> float:
    """Share of the images that are right in spite of an attack on each, in [0, 1].

    Args:
        module: gives logits [N K] for images in [0, 1].
        dataset: images with labels.
        attack: on each.
        seed: of its random starts.
        images: how many to attack, taken at even distances.
    """
    generator = torch.Generator().manual_seed(seed)
    count = min(images, len(dataset))
    chosen = torch.arange(count) * len(dataset) // count
    training = module.training
    module.eval()
    right = 0
    for rows in chosen.split(_ROWS):
        labels = dataset.labels[rows]
        found = attack(module, dataset.images[rows].float() / 255, labels, generator)
        with torch.inference_mode():
            right += int((module(found).argmax(dim=1) == labels).sum())
    module.train(training)
    assert math.isfinite(right)
    return right / count
