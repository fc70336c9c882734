"""The attack of adversarial training stays in its ball and does harm; who was trained under it withstands it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from evofool import networks, saving, training
from evofool.adversarial import Pgd, parse, robust_accuracy
from evofool.classifiers import load_classifier
from evofool.classifiers.support import card as cards
from evofool.contracts import Dataset
from evofool.data import fingerprint, load_data
from evofool.errors import ClassifierError
from test_training import halves


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "fastest_layout", lambda module, image_shape: ("channels_last", 50))


class Linear(nn.Module):
    """Logits 0 and w x + b of an image of two pixels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return networks.two_logits((images.flatten(1) * torch.tensor([2.0, -1.0])).sum(1, keepdim=True))


def test_an_attack_on_a_line_by_hand() -> None:
    images = torch.tensor([[0.5, 0.5], [0.05, 0.95]]).view(2, 1, 1, 2)
    found = Pgd(0.1)(Linear(), images, torch.tensor([1, 1]), generator())
    assert torch.allclose(found.flatten(1), torch.tensor([[0.4, 0.6], [0.0, 1.0]]))  # down the slope, kept in [0, 1]
    found = Pgd(0.1)(Linear(), images, torch.tensor([0, 1]), generator())
    assert torch.allclose(found.flatten(1)[0], torch.tensor([0.6, 0.4]))
    one = Pgd(0.1, steps=1, step_size=1e-9)(Linear(), images, torch.tensor([1, 1]), generator())
    assert not torch.allclose(one, images, atol=0.01)  # the start is random
    same, other = (Pgd(0.1, 1, 1e-9)(Linear(), images, torch.tensor([1, 1]), generator(seed)) for seed in (0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("eps", [0.02, 0.3, 1.0])
def test_attacked_images_stay_in_the_ball_and_in_range_and_are_read_worse(eps: float) -> None:
    data = load_data("digits", split="test")
    images, labels = data.images[:100].float() / 255, data.labels[:100]
    module = load_classifier("digits").module
    module.train()
    module(images)
    found = Pgd(eps, steps=3)(module, images, labels, generator())
    assert module.training
    module.eval()
    assert not found.requires_grad
    assert (found - images).abs().max() <= eps + 1e-6
    assert (found - images).abs().max() > 0.9 * eps
    assert found.min() >= 0
    assert found.max() <= 1
    loss = [float(functional.cross_entropy(module(each), labels)) for each in (images, found)]
    assert loss[1] > 1.2 * loss[0]


def test_training_learns_from_attacked_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data, learned = halves(50, 0), []
    attacked: list[torch.Tensor] = []
    attack = Pgd(0.2, steps=2)
    plain = Pgd.__call__

    def watch(self: Pgd, module: nn.Module, images: torch.Tensor, *given: Any) -> torch.Tensor:
        found = plain(self, module, images, *given)
        assert (found - images).abs().max() <= self.eps + 1e-6
        attacked.append(found)
        return found

    monkeypatch.setattr(Pgd, "__call__", watch)
    monkeypatch.setattr(training, "_learn", lambda module, optimiser, images, labels: learned.append(images.clone()))
    training.train(data, adversarial=attack, epochs=4, batch_size=10, seed=0)
    assert len(learned) == len(attacked) == 16
    assert all(torch.equal(one, other) for one, other in zip(learned, attacked, strict=True))


def test_an_attack_leaves_running_means_alone() -> None:
    module = networks.build("judge_cnn", {"in_channels": 1, "classes": 2, "size": (8, 8)})
    module = networks.initialise(module, generator()).train()
    data = halves(20, 0)
    Pgd(0.1)(module, data.images.float() / 255, data.labels, generator())
    assert module.training
    assert torch.equal(module[1].running_mean, torch.zeros(24))


def test_the_last_weights_are_kept_even_where_earlier_ones_read_more_images() -> None:
    seen: list[training.Progress] = []
    data = halves(100, 0, random_labels=True)
    found = training.train(data, adversarial=Pgd(0.1, 1), epochs=6, batch_size=20, seed=1, progress=seen.append)
    shares = [at.held_out_accuracy for at in seen]
    assert max(shares[3:]) > shares[-1], "the precondition did not occur"
    assert (found.steps, found.held_out_accuracy) == (len(seen), shares[-1])


def test_the_radius_rises_to_its_full_size_in_the_first_third() -> None:
    attack = Pgd(0.3, steps=5)
    assert [attack.at(done).eps for done in (0.0, 1 / 6, 1 / 3, 0.9)] == pytest.approx([0.003, 0.15, 0.3, 0.3])
    assert attack.at(1 / 6).length == pytest.approx(attack.length / 2)
    assert attack.length == pytest.approx(0.15)


def test_adversarial_training_makes_robust_and_is_repeatable(tmp_path: Path, unmeasured: None) -> None:
    data, test = load_data("digits", split="train"), load_data("digits", split="test")
    attack = Pgd(0.1, steps=4)
    plain = training.train(data, epochs=5, seed=1)
    robust = training.train(data, epochs=8, seed=1, adversarial=attack)
    judge = Pgd(0.1, steps=20)
    shares = [robust_accuracy(each.learner, test, judge, images=200) for each in (plain, robust)]
    assert shares[1] > shares[0] + 0.2
    assert training.accuracy(robust.learner, test) > 0.8
    card = training.save(robust, data, tmp_path / "net", "mine", test)
    said = json.loads((tmp_path / "net" / "card.json").read_text())["adversarial"]
    assert said == {"norm": "linf", "eps": 0.1, "steps": 4, "step_size": 0.0625, "accuracy": card.adversarial.accuracy}
    assert card.adversarial.accuracy == robust_accuracy(robust.learner, test, attack)
    assert load_classifier(tmp_path / "net").info.kind == "logits"
    small = [training.train(halves(50, 0), epochs=1, seed=3, adversarial=attack) for _ in range(2)]
    assert cards.serialise(small[0].module) == cards.serialise(small[1].module)


def test_an_attack_is_read_from_words() -> None:
    assert parse("linf:0.3") == Pgd(0.3)
    assert parse("linf:8/255").eps == pytest.approx(8 / 255)
    assert parse("linf:.1", 40, 0.01) == Pgd(0.1, 40, 0.01)
    assert (Pgd(0.3).steps, Pgd(0.3).length) == (7, pytest.approx(0.75 / 7))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("l2:0.3",), "against 'l2:0.3', expected linf:EPS"),
        (("linf:8/0",), "expected linf:EPS"),
        (("linf:-1",), "expected linf:EPS"),
        (("linf:0",), "above 0 and at most 1"),
        (("linf:8",), "eps of an attack is 8.0, expected above 0 and at most 1"),
        (("linf:0.3", 0), "an attack of 0 steps"),
        (("linf:0.3", 7, 2.0), "step size of an attack is 2.0"),
        (("linf:0.3", 7, math.nan), "step size of an attack is nan"),
    ],
)
def test_attacks_out_of_range_are_refused(words: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ClassifierError, match=message):
        parse(*words)


def test_robust_accuracy_takes_images_from_everywhere() -> None:
    class Shade(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return networks.two_logits((images.mean((1, 2, 3)) - 0.5)[:, None])

    images = torch.tensor([0, 120, 140, 255] * 5, dtype=torch.uint8).sort().values.view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    classes, names = torch.tensor([0] * 10 + [1] * 10), ("dark", "light")
    data = Dataset(images, classes, names, "shades", fingerprint(images, classes, names))
    assert robust_accuracy(Shade(), data, Pgd(0.01)) == 1.0
    assert robust_accuracy(Shade(), data, Pgd(0.1)) == 0.5
    assert robust_accuracy(Shade(), data, Pgd(0.1), images=4) == 0.5  # one of each shade
    assert robust_accuracy(Shade(), data, Pgd(0.6)) == 0.0
