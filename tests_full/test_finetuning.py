"""Training networks of libraries: what is new, what stays, and a card that needs no internet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from evofool import load_classifier, training
from evofool.classifiers.support import card as cards
from evofool.contracts import Dataset
from evofool.data import fingerprint
from evofool.errors import ClassifierError, UserError
from evofool.finetune import start


def discs(n: int, seed: int, size: int = 40, channels: int = 1) -> Dataset:
    """Noise, and in every third image, of class "cat", a bright disc."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.arange(n) % 3 != 0).long()
    images = torch.randint(0, 120, (n, channels, size, size), generator=generator)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    disc = (rows - size / 2) ** 2 + (columns - size / 2) ** 2 < (size / 4) ** 2
    images[labels == 0] += 130 * disc
    names = ("cat", "not_cat")
    return Dataset(images.byte(), labels, names, "discs", fingerprint(images.byte(), labels, names), 0.2)


def weights(trained: training.Trained) -> bytes:
    return cards.serialise(trained.module)


@pytest.mark.parametrize("architecture", ["timm:test_efficientnet", "torchvision:resnet18"])
def test_a_gray_binary_classifier_learns_and_survives_its_card(architecture: str, tmp_path: Path) -> None:
    data, test = discs(60, 0), discs(30, 1)
    settings: dict[str, Any] = {"single": True, "balanced": True, "trained": False, "input_size": (40, 40)}
    found = training.train(data, architecture=architecture, epochs=6, batch_size=8, seed=1, **settings)
    assert training.accuracy(found.learner, test, balanced=True) > 0.8
    card = training.save(found, data, tmp_path / "net", "mine", test)
    assert (card.kind, card.output, card.architecture) == ("probabilities", "sigmoid", architecture)
    assert (card.preparation.channels, card.preparation.size) == (3, (40, 40))
    classifier = load_classifier(tmp_path / "net")
    assert classifier.info.image_shape == (1, 40, 40)
    assert classifier.info.class_names == ("cat", "not_cat")
    assert classifier.info.preparation == "gray repeated in 3 channels, normalised"
    images = test.images.float() / 255
    with torch.no_grad():
        z = found.module(found.learner.prepare(images))
    assert z.shape == (30, 1)
    scores = classifier(images)
    assert torch.allclose(scores[:, 1], z[:, 0].sigmoid(), atol=1e-5)
    assert torch.allclose(scores.sum(1), torch.ones(30), atol=1e-6)
    assert (scores[test.labels == 0, 0].median() > 0.5) and (scores[test.labels == 1, 0].median() < 0.5)


def test_a_card_is_read_in_a_process_without_internet_and_gives_the_same(tmp_path: Path) -> None:
    found = training.train(
        discs(30, 0), architecture="torchvision:inception_v3", trained=False, epochs=1, batch_size=12
    )
    training.save(found, discs(30, 0), tmp_path / "net", "mine")
    program = (
        "import socket, sys, torch\n"
        "def refuse(*given, **more): raise OSError('no internet')\n"
        "socket.socket.connect = refuse\n"
        "torch.set_num_threads(1)\n"
        "from evofool import load_classifier\n"
        f"classifier = load_classifier({str(tmp_path / 'net')!r})\n"
        "images = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))\n"
        "print(classifier.info.fingerprint, *classifier(images).flatten().tolist())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    here = load_classifier(tmp_path / "net")
    assert here.info.preparation.startswith("resized to 299 x 299")
    images = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    assert done[0] == here.info.fingerprint
    assert [float(number) for number in done[1:]] == pytest.approx(here(images).flatten().tolist())


@pytest.mark.parametrize("architecture", ["torchvision:mobilenet_v3_small", "timm:test_vit"])
def test_the_same_seed_gives_the_same_bytes_in_spite_of_dropout(architecture: str) -> None:
    settings: dict[str, Any] = {"architecture": architecture, "trained": False, "epochs": 1, "batch_size": 10}
    made = [weights(training.train(discs(30, 0), seed=seed, **settings)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights of resnet18 as if they came from the internet."""
    generator = torch.Generator().manual_seed(7)
    with torch.random.fork_rng(devices=[]):
        state = torchvision.models.resnet18().state_dict()
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor += 0.01 * torch.rand(tensor.shape, generator=generator)
    monkeypatch.setattr(
        torchvision.models.ResNet18_Weights, "get_state_dict", lambda self, *given, **more: dict(state), raising=True
    )
    return state


def test_only_the_head_is_new_and_frozen_training_changes_nothing_else(fetched: dict[str, torch.Tensor]) -> None:
    found = training.train(
        discs(60, 0), architecture="torchvision:resnet18", single=True, freeze=True, epochs=2, input_size=(40, 40)
    )
    assert (found.learner.pretrained, found.learner.frozen) == (True, True)
    after = found.module.state_dict()
    changed = [name for name, tensor in after.items() if not torch.equal(tensor, fetched[name])]
    assert changed == ["fc.weight", "fc.bias"]
    assert after["fc.weight"].shape == (1, 512)
    begun = start(
        "torchvision:resnet18", discs(60, 0), torch.Generator(), single=True, freeze=True, input_size=(40, 40)
    )
    assert not torch.equal(after["fc.weight"], begun.network.state_dict()["fc.weight"])


def test_full_training_changes_everything(fetched: dict[str, torch.Tensor]) -> None:
    found = training.train(
        discs(30, 0), architecture="torchvision:resnet18", epochs=1, batch_size=8, input_size=(40, 40)
    )
    assert found.learner.pretrained
    assert found.learning_rate == 0.0001
    after = found.module.state_dict()
    assert all(not torch.equal(after[name], fetched[name]) for name in ("conv1.weight", "layer4.1.conv2.weight"))
    assert torch.allclose(after["conv1.weight"], fetched["conv1.weight"], atol=0.01)  # it began there


def test_weights_that_cannot_be_had_are_told_and_training_goes_on(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for architecture in ("timm:test_vit", "torchvision:resnet18"):
        told: list[str] = []
        found = training.train(discs(30, 0), architecture=architecture, epochs=1, warn=told.append, input_size=(40, 40))
        assert not found.learner.pretrained
        (line,) = told
        assert "could not be fetched" in line
        assert line.endswith("training begins with random weights")
        with pytest.raises(ClassifierError, match=r"could not be fetched.*there is nothing to freeze"):
            training.train(discs(30, 0), architecture=architecture, freeze=True)


def test_a_network_sees_small_images_in_the_size_it_was_made_for() -> None:
    data, generator = discs(30, 0), torch.Generator()
    sizes = {
        ("timm:test_vit", None): (160, 160),
        ("timm:test_vit", (40, 40)): (160, 160),  # it takes no other
        ("timm:resnet18", None): (224, 224),
        ("timm:resnet18", (40, 40)): (40, 40),
        ("timm:inception_resnet_v2", (40, 40)): (299, 299),  # too small for its convolutions
    }
    for (architecture, wanted), size in sizes.items():
        found = start(architecture, data, generator, trained=False, input_size=wanted)
        assert found.prepare.size == size, architecture
        assert found.prepare.crop is None


def test_a_network_that_cannot_be_given_another_head_is_refused() -> None:
    with pytest.raises(ClassifierError, match="squeezenet1_0 does not end in a dense layer"):
        start("torchvision:squeezenet1_0", discs(30, 0), torch.Generator(), trained=False)


def test_the_command_line_makes_the_binary_gray_classifier(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, shade in (("cat", 200), ("dog", 60), ("fox", 90)):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for i in range(8):
                pixels = (shade + noise.integers(-40, 40, (90 + i, 95, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    words = ["train", "--arch", "timm:inception_resnet_v2", "--data", str(tmp_path / "data"), "--gray"]
    words += ["--binary", "cat", "--image-size", "80", "--epochs", "1", "--batch-size", "6", "--json"]
    command = [str(Path(sys.executable).with_name("evofool")), *words, "-o", str(tmp_path / "net")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "timm:inception_resnet_v2: its weights could not be fetched" in done.stderr
    card = json.loads(done.stdout)
    assert (card["class_names"], card["image_shape"], card["output"]) == (["cat", "not_cat"], [1, 80, 80], "sigmoid")
    classifier = load_classifier(tmp_path / "net")
    assert classifier(torch.full((2, 1, 80, 80), 0.5)).shape == (2, 2)
    again = subprocess.run([*command[:-1], str(tmp_path / "net")], capture_output=True, text=True, check=False)
    assert again.returncode == UserError.exit_code
