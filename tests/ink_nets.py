"""Small networks to draw on, each by a name that `load_classifier` takes: "ink_nets:edges".

Their canvas is black, and ink white, so that an inked pixel has the value 1 and a blank one 0.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from evofool import networks
from evofool.classifiers.fake import Constant, Linear
from evofool.contracts import Classifier
from evofool.regions import steps_to_border
from evofool.rng import Stream

SIDE = 10
SHAPE = (1, SIDE, SIDE)
NAMES = ("cat", "not_cat")
FILE = str(Path(__file__).absolute())  # for programs that do not find this module by its name
SEEN: list[torch.Tensor] = []  # the images of each call, fillers included; of networks that remember
KILLER = "EVOFOOL_TEST_CALLS"  # environment: after so many calls `deadly` kills its process
LEFT = [int(os.environ.get(KILLER, 10**9))]


def worth(seed: int = 0) -> torch.Tensor:
    """What a pixel of ink adds to the log-odds of cat, [H W]: most at the border, from 0.2 to 1.7."""
    noise = Stream([seed], [0])["worth"].uniform(SIDE, SIDE)[0]
    return 1.2 - 0.25 * steps_to_border(SIDE, SIDE) + 0.5 * noise


def linear(blank: float, weight: torch.Tensor, *, micro_batch: int = 10, names: tuple[str, ...] = NAMES) -> Linear:
    """Log-odds of cat: those of the blank canvas, and what each pixel adds."""
    weights = torch.stack([weight, torch.zeros_like(weight)])[:, None]
    return Linear(weights, torch.tensor([blank, 0.0]), class_names=names, micro_batch=micro_batch)


def edges() -> Linear:
    """Five pixels at the border are a cat."""
    return linear(-3.0, worth())


def alike() -> Linear:
    """Another of the kind, with other numbers."""
    return linear(-4.0, worth(1))


def already() -> Linear:
    """A blank canvas is a cat."""
    return linear(5.0, -0.1 * worth())


def hopeless() -> Linear:
    """Hardly anything is a cat."""
    return linear(-60.0, 0.01 * worth())


def dogs() -> Linear:
    """It knows no cats."""
    return linear(-3.0, worth(), names=("dog", "not_dog"))


def nameless() -> Linear:
    """Its classes have numbers only."""
    return linear(-3.0, worth(), names=("0", "1"))


def colour() -> Linear:
    """Three channels, of which the second counts."""
    weights = torch.zeros(2, 3, SIDE, SIDE)
    weights[0, 1] = 2 * worth()
    return Linear(weights, torch.tensor([-3.0, 0.0]), class_names=NAMES, micro_batch=10)


class Remembers:
    """Passes everything on, and keeps what it was shown in SEEN."""

    def __init__(self, classifier: Classifier):
        self.info, self._classifier = classifier.info, classifier

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        SEEN.append(images.clone())
        return self._classifier(images)


def seen() -> Remembers:
    """`edges`, and SEEN has what it is asked."""
    return Remembers(edges())


def seen_flat() -> Remembers:
    """The same answer for all, in large calls, and SEEN has what it is asked."""
    flat = Constant([0.0, 0.0], SHAPE, micro_batch=2000)
    flat.info = replace(flat.info, class_names=NAMES)
    return Remembers(flat)


class Dies:
    """`edges` until so many calls were made; then its process is killed."""

    def __init__(self) -> None:
        self.info, self._classifier = edges().info, edges()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        LEFT[0] -= 1
        if LEFT[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._classifier(images)


def deadly() -> Dies:
    """See KILLER."""
    return Dies()


class Small(nn.Module):
    """A convolution that pads, and the sum of what it finds: fixed weights, in which a border is another place."""

    def __init__(self, outputs: int = 2):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.head = nn.Linear(2 * SIDE * SIDE, outputs)
        with torch.no_grad():
            kernel = torch.tensor([[0.5, 0.2, 0.5], [0.2, -0.4, 0.2], [0.5, 0.2, 0.5]])
            self.conv.weight.copy_(torch.stack([kernel, -kernel])[:, None])
            self.head.weight.zero_()
            self.head.weight[0, : SIDE * SIDE] = 0.8
            self.head.bias.copy_(torch.tensor([-4.0, 0.0][:outputs]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores, logits."""
        return self.head(self.conv(images).relu().flatten(1))


def small() -> nn.Module:
    """Two logits."""
    return Small()


def sigmoid() -> nn.Module:
    """One sigmoid, p = P(not_cat): the network's output is turned round, so that ink lowers it."""
    network = Small(1)
    with torch.no_grad():
        network.head.weight.neg_()
        network.head.bias.neg_()
    return networks.SingleSigmoid(network)
