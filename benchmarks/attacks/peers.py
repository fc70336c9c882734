"""One small function for each peer: its public code, its own defaults, and only what the task asks for set.

A budget is no argument of most of them. Then they are told to go on for as long, and the door ends them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from torch import nn

from evofool.shapes import Float, Int, Tensor
from evofool.threat import Threat


@dataclass(frozen=True)
class Task:
    """What a peer is to do.

    Attributes:
        model: to be asked.
        images: [B C H W], in [0, 1].
        labels: [B], their classes.
        targets: [B], the classes to get to; None = to any other class.
        threat: the limit.
        budget: the most queries of one image, the one for the image as it is included.
        seed: for a library that seeds generators itself; the global ones are seeded with it already.
    """

    model: nn.Module
    images: Float[Tensor, "B C H W"]
    labels: Int[Tensor, " B"]
    targets: Int[Tensor, " B"] | None
    threat: Threat
    budget: int
    seed: int


@dataclass(frozen=True)
class Peer:
    """Somebody else's attack.

    Attributes:
        name: of the library and the attack.
        library: as it is installed.
        paper: of the method.
        norms: limits that it knows.
        goals: "untargeted", "targeted".
        together: images that it is given at a time, as it is best.
        arguments: what it is given besides images and labels, JSON values; the rest are its defaults.
        attack: runs it; gives back the images [B C H W] that it comes to.
        modules: that it imports.
    """

    name: str
    library: str
    paper: str
    norms: tuple[str, ...]
    goals: tuple[str, ...]
    together: int
    arguments: Callable[[Threat, int], Mapping[str, Any]]
    attack: Callable[[Task, Mapping[str, Any]], Tensor]
    modules: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """Library and version."""
        return f"{self.library} {metadata.version(self.library)}"

    def can(self, threat: Threat, *, targeted: bool) -> bool:
        """Whether it has an answer to this limit and goal."""
        return threat.norm in self.norms and ("targeted" if targeted else "untargeted") in self.goals


# torchattacks -----------------------------------------------------------------------------------------------------


def _square_arguments(threat: Threat, budget: int) -> dict[str, Any]:
    return {"norm": {"linf": "Linf", "l2": "L2"}[threat.norm], "eps": threat.size, "n_queries": budget}


def torchattacks_square(task: Task, arguments: Mapping[str, Any]) -> Tensor:
    """One square for all images of a batch; seeds the global generator itself."""
    from torchattacks.attacks.square import Square

    return _torchattacks(Square(task.model, seed=task.seed, **arguments), task)


def _one_pixel_arguments(threat: Threat, budget: int) -> dict[str, Any]:
    return {"pixels": int(threat.size), "steps": budget}


def torchattacks_one_pixel(task: Task, arguments: Mapping[str, Any]) -> Tensor:
    """Differential evolution, a generation in one batch; asks about the best member again after each."""
    from torchattacks.attacks.onepixel import OnePixel

    return _torchattacks(OnePixel(task.model, **arguments), task)


def _pixle_arguments(threat: Threat, budget: int) -> dict[str, Any]:
    # Each restart adds a patch to those before: patches of about six pixels were better than one of all.
    restarts = max(1, round(threat.size / 6))
    pixels = int(threat.size) // restarts
    side = math.isqrt(pixels)
    return {
        "x_dimensions": (min(2, side), side),
        "y_dimensions": (min(2, pixels // side), pixels // side),
        "restarts": restarts,
        "max_iterations": max(1, budget // (2 * restarts)),
    }


def torchattacks_pixle(task: Task, arguments: Mapping[str, Any]) -> Tensor:
    """Copies a patch of pixels to random places; asks about each candidate twice.

    It has no limit of its own: the patches of all restarts together have no more pixels than the limit allows.
    """
    from torchattacks.attacks.pixle import Pixle

    return _torchattacks(Pixle(task.model, **arguments), task)


def _torchattacks(attack: Any, task: Task) -> Tensor:
    labels = task.labels
    if task.targets is not None:
        attack.set_mode_targeted_by_label(quiet=True)
        labels = task.targets
    return attack(task.images, labels)


# Adversarial Robustness Toolbox -----------------------------------------------------------------------------------


def _art_square_arguments(threat: Threat, budget: int) -> dict[str, Any]:
    # It asks three times in each iteration: so all of its schedule fits in.
    return {"norm": {"linf": "inf", "l2": 2}[threat.norm], "eps": threat.size, "max_iter": max(1, budget // 3)}


def art_square(task: Task, arguments: Mapping[str, Any]) -> Tensor:
    """One square and one sign for all images of a batch; asks about fooled ones, too, until the last is fooled."""
    from art.attacks.evasion import SquareAttack

    attack = SquareAttack(_estimator(task), verbose=False, **arguments)
    return torch.from_numpy(attack.generate(task.images.numpy(), task.labels.numpy()))


def _art_pixel_arguments(threat: Threat, budget: int) -> dict[str, Any]:
    return {"th": int(threat.size), "max_iter": budget}


def art_pixel(task: Task, arguments: Mapping[str, Any]) -> Tensor:
    """Differential evolution with a population of 400."""
    from art.attacks.evasion import PixelAttack

    attack = PixelAttack(_estimator(task), targeted=task.targets is not None, **arguments)
    wanted = task.labels if task.targets is None else task.targets
    return torch.from_numpy(attack.generate(task.images.numpy(), wanted.numpy()))


def _estimator(task: Task) -> Any:
    from art.estimators.classification import PyTorchClassifier

    with torch.no_grad():
        classes = task.model(task.images[:1]).shape[1]
    return PyTorchClassifier(
        task.model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(task.images.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


# Foolbox ----------------------------------------------------------------------------------------------------------


def _genattack_arguments(threat: Threat, budget: int) -> dict[str, Any]:
    return {"steps": max(1, budget // 10 + 1)}  # with its population of 10


def foolbox_genattack(task: Task, arguments: Mapping[str, Any]) -> Tensor:
    """Knows targets only; asks about its best member again in each generation, and about fooled images, too."""
    import foolbox

    assert task.targets is not None
    model = foolbox.PyTorchModel(task.model.eval(), bounds=(0, 1), device="cpu")
    wanted = foolbox.criteria.TargetedMisclassification(task.targets)
    _, images, _ = foolbox.attacks.GenAttack(**arguments)(model, task.images, wanted, epsilons=task.threat.size)
    return images


SQUARE = "Andriushchenko et al. 2020"
ONE_PIXEL = "Su, Vargas, Sakurai 2019"
BOTH = ("untargeted", "targeted")

ART = ("art.attacks.evasion", "art.estimators.classification")

PEERS = [
    Peer("torchattacks square", "torchattacks", SQUARE, ("linf", "l2"), BOTH, 100,
         _square_arguments, torchattacks_square, ("torchattacks.attacks.square",)),
    Peer("torchattacks one-pixel", "torchattacks", ONE_PIXEL, ("l0",), BOTH, 1,
         _one_pixel_arguments, torchattacks_one_pixel, ("torchattacks.attacks.onepixel",)),
    Peer("torchattacks pixle", "torchattacks", "Pomponi, Scardapane, Uncini 2022", ("l0",), BOTH, 1,
         _pixle_arguments, torchattacks_pixle, ("torchattacks.attacks.pixle",)),
    Peer("art square", "adversarial-robustness-toolbox", SQUARE, ("linf",), ("untargeted",), 100,
         _art_square_arguments, art_square, ART),
    # Of L2 it asks about images of NaN, too, which in a batch belong to nobody.
    Peer("art square", "adversarial-robustness-toolbox", SQUARE, ("l2",), ("untargeted",), 1,
         _art_square_arguments, art_square, ART),
    Peer("art pixel", "adversarial-robustness-toolbox", ONE_PIXEL, ("l0",), BOTH, 1,
         _art_pixel_arguments, art_pixel, ART),
    Peer("foolbox genattack", "foolbox", "Alzantot et al. 2019", ("linf",), ("targeted",), 100,
         _genattack_arguments, foolbox_genattack, ("foolbox",)),
]  # fmt: skip
