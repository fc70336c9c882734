"""Small classifiers to attack, each by a name that `load_classifier` takes ("attack_nets:animals"), and pictures."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data_files import image_bytes
from evofool.classifiers.fake import Linear, Silent
from evofool.rng import Stream

SIDE = 8
SHAPE = (1, SIDE, SIDE)
NAMES = ("ant", "bee", "cat", "dog")
FILE = str(Path(__file__).absolute())  # for programs that do not find this module by its name
KILLER = "EVOFOOL_TEST_CALLS"  # environment: after so many calls `deadly` kills its process
LEFT = [int(os.environ.get(KILLER, 10**9))]


def weights(classes: int) -> torch.Tensor:
    """Of either sign."""
    return 0.5 * (Stream(list(range(classes)), [77] * classes)["weight"].uniform(*SHAPE) - 0.5)


def net(names: tuple[str, ...] = NAMES) -> Linear:
    """A gray image is 0 of everything."""
    weight = weights(len(names))
    return Linear(weight, -0.5 * weight.flatten(1).sum(1), class_names=names, micro_batch=16, name="animals")


def animals() -> Linear:
    """Four classes with names."""
    return net()


def numbers() -> Linear:
    """The same ones without."""
    return net(tuple("0123"))


def scores(images: torch.Tensor) -> torch.Tensor:
    """A function, which says nothing of itself."""
    return animals()(images)


class Says:
    """The class alone, of another classifier."""

    def __init__(self) -> None:
        self.info, self._classifier = replace(animals().info, kind="label", name="says"), animals()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        scores = self._classifier(images)
        return torch.nn.functional.one_hot(scores.argmax(1), scores.shape[1]).float()


def labels() -> Says:
    """It says no more than the class."""
    return Says()


def half() -> Silent:
    """Silent about images whose first pixel is light."""
    return Silent(animals(), lambda images: images[:, 0, 0, 0] > 0.9)


def mute() -> Silent:
    """Silent about everything."""
    return Silent(animals(), lambda images: images[:, 0, 0, 0] >= 0)


class Dies:
    """`animals` until so many calls were made; then its process is killed."""

    def __init__(self) -> None:
        self.info, self._classifier = animals().info, animals()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        LEFT[0] -= 1
        if LEFT[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._classifier(images)


def deadly() -> Dies:
    """See KILLER."""
    return Dies()


def pictures(count: int = 12) -> tuple[np.ndarray, list[int]]:
    """Noise [N 8 8], and what `animals` sees in it; from near a boundary to far away."""
    noise = Stream(list(range(200)), [78] * 200)["pictures"].integers(256, SIDE, SIDE)
    scores = animals()(noise[:, None].float() / 255)
    best = scores.topk(2, dim=1).values
    margins = best[:, 0] - best[:, 1]
    chosen = [int((margins - 0.9 * place / count).abs().argmin()) for place in range(count)]
    assert len(set(chosen)) == count
    return noise[chosen].numpy().astype(np.uint8), scores[chosen].argmax(1).tolist()


def flat(folder: Path, count: int = 12) -> Path:
    """The pictures as files of one folder, without a word about their classes."""
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures(count)[0]):
        (folder / f"{number:02}.png").write_bytes(image_bytes(picture))
    return folder


def sorted_by_class(folder: Path, count: int = 12, names: tuple[str, ...] = NAMES) -> Path:
    """The pictures in a folder for each class that there is."""
    for number, (picture, label) in enumerate(zip(*pictures(count), strict=True)):
        path = folder / names[label] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(picture))
    return folder
