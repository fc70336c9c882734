"""Training: repeatable, stopped by held-out images alone, saved whole or not at all."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from evofool import augmentation, networks, saving, training
from evofool.classifiers import load_classifier
from evofool.classifiers.support import card as cards
from evofool.classifiers.torch import MICRO_BATCHES
from evofool.contracts import Dataset
from evofool.data import fingerprint, load_data, split_off
from evofool.errors import ClassifierError, DataError, UserError

SHIPPED = Path(networks.__file__).parent / "classifiers" / "shipped"


def halves(n: int, seed: int, *, channels: int = 1, noise: int = 120, random_labels: bool = False) -> Dataset:
    """Gray noise of 8 x 8 pixels; of class "left" or "right" by the half that is brighter."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    images = torch.randint(0, noise + 1, (n, channels, 8, 8), generator=generator)
    for side in (0, 1):
        images[labels == side, :, :, 4 * side : 4 * side + 4] += 255 - noise
    if random_labels:
        labels = torch.randint(0, 2, (n,), generator=generator)
    return dataset(images.to(torch.uint8), labels)


def dataset(images: torch.Tensor, labels: torch.Tensor, background: float = 0.2) -> Dataset:
    names = ("left", "right")
    return Dataset(images, labels, names, "halves train", fingerprint(images, labels, names), background)


def weights(trained: training.Trained) -> bytes:
    return cards.serialise(trained.module)


@pytest.fixture(scope="module")
def trained() -> training.Trained:
    return training.train(halves(400, 0), target_accuracy=0.9, seed=1, epochs=5)


# ---- learning


@pytest.mark.parametrize("architecture", sorted(networks.architectures()))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_architecture_learns_what_can_be_learned(architecture: str, channels: int) -> None:
    found = training.train(halves(300, 0, channels=channels), architecture=architecture, seed=1, epochs=6)
    assert found.held_out == 60
    assert found.held_out_accuracy == training.accuracy(
        found.module, split_off(halves(300, 0, channels=channels), 60, 1)[1]
    )
    assert training.accuracy(found.module, halves(200, 1, channels=channels)) > 0.95
    assert found.reached
    assert not found.module.training
    assert not any(parameter.requires_grad for parameter in found.module.parameters())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(trained: training.Trained) -> None:
    before = torch.get_rng_state()
    same = training.train(halves(400, 0), target_accuracy=0.9, seed=1, epochs=5)
    other = training.train(halves(400, 0), target_accuracy=0.9, seed=2, epochs=5)
    assert weights(same) == weights(trained)
    assert weights(other) != weights(trained)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_global_generator_decides_nothing() -> None:
    with torch.random.fork_rng(devices=[]):
        results = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            results.append(weights(training.train(halves(60, 0), architecture="judge_cnn", seed=3, epochs=2)))
            assert torch.equal(torch.get_rng_state(), before)
    assert results[0] == results[1]


def digest() -> str:
    found = training.train(halves(60, 0), architecture="judge_cnn", seed=4, epochs=2)
    return hashlib.sha256(weights(found)).hexdigest()


def test_a_fresh_interpreter_gives_the_same_bytes() -> None:
    program = (
        f"import sys, torch; sys.path.insert(0, {str(Path(__file__).parent)!r}); torch.set_num_threads(1)\n"
        "import test_training; print(test_training.digest())"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found.strip() == digest()


# ---- when it stops


def test_it_stops_when_the_held_out_images_first_reach_the_target() -> None:
    seen: list[training.Progress] = []
    found = training.train(
        halves(2000, 0, noise=220), target_accuracy=0.9, seed=1, epochs=20, batch_size=16, progress=seen.append
    )
    assert [at.step for at in seen] == list(range(1, found.steps + 1))
    assert all(at.steps == 20 * 100 for at in seen)
    assert found.reached
    assert found.held_out_accuracy == seen[-1].held_out_accuracy >= 0.9
    assert len({at.held_out_accuracy for at in seen}) > 3  # it was on its way for a while
    assert all(at.held_out_accuracy < 0.9 for at in seen[:-1])
    assert found.epochs == math.ceil(found.steps / 100)
    assert found.held_out_accuracy < 0.97  # asked often enough not to run past the target


def test_a_target_out_of_reach_is_told_and_the_best_weights_are_kept() -> None:
    noise = halves(200, 0, random_labels=True)
    seen: list[training.Progress] = []
    found = training.train(noise, target_accuracy=1.0, seed=1, epochs=3, progress=seen.append)
    assert not found.reached
    assert (found.epochs, seen[-1].step) == (3, 9)
    accuracies = [at.held_out_accuracy for at in seen]
    assert found.held_out_accuracy == max(accuracies)
    assert accuracies[found.steps - 1] == max(accuracies)
    assert training.accuracy(found.module, split_off(noise, found.held_out, 1)[1]) == found.held_out_accuracy


def test_a_best_effort_makes_all_its_epochs() -> None:
    seen: list[training.Progress] = []
    found = training.train(halves(100, 0), seed=0, epochs=4, batch_size=40, progress=seen.append)
    assert seen[-1].step == seen[-1].steps == 8
    assert found.epochs == 4
    assert found.target_accuracy is None


@pytest.mark.parametrize("target", [0.9, None])
def test_held_out_images_are_never_learned_from(target: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    data = halves(100, 0)
    learned: set[bytes] = set()

    def watch(module: nn.Module, optimiser: Any, images: torch.Tensor, labels: torch.Tensor) -> None:
        learned.update(image.numpy().tobytes() for image in (images * 255).round().to(torch.uint8))

    monkeypatch.setattr(training, "_learn", watch)
    monkeypatch.setattr(training, "moved", lambda images, background, generator: images)
    training.train(data, target_accuracy=target, seed=5, epochs=1)
    kept, asked = split_off(data, 20, 5)
    assert learned == {image.numpy().tobytes() for image in kept.images}
    assert not learned & {image.numpy().tobytes() for image in asked.images}


@pytest.mark.parametrize(
    ("n", "held_out", "expected"), [(50, None, 10), (10, None, 2), (100, 7, 7), (30_000, None, 5000)]
)
def test_how_many_are_held_out(n: int, held_out: int | None, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_learn", lambda *given: None)
    assert training.train(halves(n, 0), target_accuracy=0.01, epochs=1, held_out=held_out).held_out == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_accuracy": 0.0}, "target accuracy is 0.0, expected above 0"),
        ({"target_accuracy": 95}, "target accuracy is 95, expected above 0 and at most 1, such as 0.95"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"seed": -1}, "seed is -1"),
        ({"learning_rate": 0.0}, "learning rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning rate is nan"),
        ({"learning_rate": 1e30, "epochs": 5}, "training diverged.*smaller learning rate"),
        ({"architecture": "big_cnn"}, "unknown architecture 'big_cnn'"),
        ({"arguments": {"widht": 3}}, "did you mean 'width'"),
        ({"architecture": "judge_cnn", "arguments": {"width": -1}}, "width is -1"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ClassifierError, match=message) as caught:
        training.train(halves(100, 0), **settings)
    assert "\n" not in str(caught.value)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="has 9 images, expected at least 10"):
        training.train(halves(9, 0))
    for held_out in (0, 10, -3):
        with pytest.raises(DataError, match="held out"):
            training.train(halves(10, 0), held_out=held_out)


# ---- its parts


def test_accuracy_by_hand() -> None:
    class First(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.stack([images[:, 0, 0, 0], images[:, 0, 0, 1]], dim=1)

    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    images[[0, 2], 0, 0, 0] = 255
    images[[1, 3], 0, 0, 1] = 255
    module = First().train()
    assert training.accuracy(module, dataset(images, torch.tensor([0, 1, 1, 1]))) == 0.75
    assert module.training


def test_accuracy_asks_in_eval_mode() -> None:
    module = networks.build("judge_cnn", {"in_channels": 1, "classes": 2, "size": (8, 8)})
    module = networks.initialise(module, torch.Generator().manual_seed(0)).train()
    before = module[1].running_mean.clone()
    training.accuracy(module, halves(20, 0))
    assert torch.equal(module[1].running_mean, before)


def test_augmentation_moves_each_image_a_little_and_in_its_own_way() -> None:
    image = torch.full((1, 28, 28), 0.8)
    image[0, 10:18, 12:16] = 0.1
    generator = torch.Generator().manual_seed(0)
    moved = augmentation.moved(image.repeat(200, 1, 1, 1), 0.8, generator)
    assert len(moved.flatten(1).unique(dim=0)) == 200
    assert moved.min() > 0.1 - 1e-6
    assert moved.max() < 0.8 + 1e-6
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    ink = (0.8 - moved[:, 0]).clamp(min=0)
    mass = ink.sum((1, 2))
    centre = torch.stack([(ink * axis).sum((1, 2)) / mass for axis in (rows, columns)], dim=1)
    shift = centre - torch.tensor([13.5, 13.5])
    assert shift.abs().max() < 0.08 * 28 * 1.1 + 0.5
    assert (shift.std(dim=0) > 0.6).all()
    assert shift.mean(dim=0).abs().max() < 0.4
    plain = (0.7 * 8 * 4) * torch.tensor([0.8, 1.25])  # scaled by up to a tenth in each direction
    assert (mass > plain[0]).all()
    assert (mass < plain[1]).all()


def test_an_empty_canvas_stays_empty() -> None:
    canvas = torch.full((5, 3, 8, 8), 0.6)
    assert torch.allclose(augmentation.moved(canvas, 0.6, torch.Generator().manual_seed(1)), canvas)


def test_the_learning_rate_rises_and_falls_to_nothing() -> None:
    factors = [augmentation.schedule(step / 1000) for step in range(1001)]
    assert 0 < factors[0] < 0.15
    assert max(factors) == pytest.approx(1.0) == factors[100]
    assert factors[550] == pytest.approx(0.5)
    assert factors[1000] == pytest.approx(0.0)
    assert all(a < b for a, b in itertools.pairwise(factors[:101]))
    assert all(a > b for a, b in itertools.pairwise(factors[100:]))


# ---- saving


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No measurement where its result is of no interest."""
    monkeypatch.setattr(saving, "fastest_layout", lambda module, image_shape: ("channels_last", 50))


def test_what_is_saved_is_what_is_loaded(trained: training.Trained, tmp_path: Path, measured: None) -> None:
    data, test = halves(400, 0), halves(300, 9, noise=200)
    card = training.save(trained, data, tmp_path / "net", "mine", test, command="evofool train ...")
    classifier = load_classifier(tmp_path / "net")
    assert json.loads((tmp_path / "net" / "card.json").read_text()) == json.loads(card.model_dump_json())
    assert (card.accuracy, card.command) == (training.accuracy(trained.module, test), "evofool train ...")
    assert 0.5 < card.accuracy < 1
    assert (card.data, card.data_fingerprint, card.background) == ("halves train", data.fingerprint, 0.2)
    assert (card.seed, card.target_accuracy, card.steps, card.epochs) == (1, 0.9, trained.steps, trained.epochs)
    assert (card.held_out, card.held_out_accuracy) == (80, trained.held_out_accuracy)
    assert classifier.info.class_names == ("left", "right")
    assert classifier.info.image_shape == (1, 8, 8)
    assert (classifier.info.background, classifier.info.accuracy) == (0.2, card.accuracy)
    images = test.images.float() / 255
    with torch.no_grad():
        expected = trained.module(images)
    assert torch.allclose(classifier(images), expected, atol=1e-5)
    loaded = dict(classifier.module.state_dict())
    assert all(torch.equal(loaded[name], tensor) for name, tensor in trained.module.state_dict().items())


def test_own_arguments_survive_the_card_and_the_layout_is_measured(tmp_path: Path) -> None:
    found = training.train(halves(40, 0), arguments={"width": 3, "hidden": 5}, epochs=1)
    training.save(found, halves(40, 0), tmp_path / "net", "narrow")
    assert load_classifier(tmp_path / "net").info.micro_batch in MICRO_BATCHES
    module = load_classifier(tmp_path / "net").module
    assert module[0].out_channels == 3
    assert module[7].out_features == 5


def test_without_test_images_and_command_the_card_says_so(
    trained: training.Trained, tmp_path: Path, measured: None
) -> None:
    card = training.save(trained, halves(400, 0), tmp_path, "mine")
    assert (card.accuracy, card.command) == (None, None)
    assert load_classifier(tmp_path).info.accuracy is None


def test_saving_twice_gives_the_same_bytes(trained: training.Trained, tmp_path: Path, measured: None) -> None:
    made = [training.save(trained, halves(400, 0), tmp_path / name, "mine") for name in ("a", "b")]
    assert made[0] == made[1]
    for file in ("card.json", "weights.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_directory_that_holds_something_is_refused_before_any_work(
    trained: training.Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "note.txt").write_text("mine")
    monkeypatch.setattr(saving, "fastest_layout", lambda *given: pytest.fail("measured before the refusal"))
    with pytest.raises(UserError, match="is not empty"):
        training.save(trained, halves(400, 0), tmp_path, "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("change", [{"class_names": ("up", "down")}, {"images": torch.zeros(5, 1, 8, 9)}])
def test_a_test_set_of_another_kind_is_refused(
    trained: training.Trained, tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(ClassifierError, match="expected those of halves train"):
        training.save(trained, halves(400, 0), tmp_path / "net", "mine", replace(halves(5, 1), **change))
    assert list(tmp_path.iterdir()) == []


# ---- the shipped ones can be made again


def test_the_shipped_digits_can_be_made_again() -> None:
    card = json.loads((SHIPPED / "digits" / "card.json").read_text())
    train = load_data("digits", split="train")
    assert train.fingerprint == card["data_fingerprint"]
    found = training.train(train, target_accuracy=card["target_accuracy"], seed=card["seed"], epochs=40)
    assert found.reached
    assert (found.held_out, found.learning_rate, found.batch_size) == (
        card["held_out"],
        card["learning_rate"],
        card["batch_size"],
    )
    # Another processor rounds otherwise and may stop a little earlier or later.
    assert abs(found.steps - card["steps"]) < card["steps"] / 2
    assert training.accuracy(found.module, load_data("digits", split="test")) == pytest.approx(
        card["accuracy"], abs=0.03
    )
