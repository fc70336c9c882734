"""Weights in a module that the user's code builds, and files that are programs."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

import models
from evofool.classifiers import load_classifier
from evofool.errors import ClassifierError

SHAPE = {"image_shape": (1, 28, 28)}


def refused(spec: str, said: str, **settings: Any) -> None:
    with pytest.raises(ClassifierError, match=said) as error:
        load_classifier(spec, {**SHAPE, **settings})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


# ---- state:


def state(folder: Path, name: str = "small_cnn", **changes: torch.Tensor | None) -> str:
    """A spec of the digits weights with some tensors changed, or left out where None is given."""
    tensors = {**models.digits().state_dict(), **{key.replace("_", "."): value for key, value in changes.items()}}
    safetensors.torch.save_file({k: v for k, v in tensors.items() if v is not None}, folder / "net.safetensors")
    return f"state:{folder}/net.safetensors@{models.user_code(folder)}:{name}"


def test_weights_fill_the_module_that_the_factory_builds(tmp_path: Path) -> None:
    images = models.test_set().images[:100] / 255
    classifier = load_classifier(state(tmp_path), SHAPE)
    assert torch.allclose(classifier(images), models.digits()(images), atol=1e-5)
    assert not torch.allclose(classifier(images), models.small_cnn().eval()(images), atol=1)
    assert classifier.info.name == "net"
    assert (
        classifier.info.fingerprint
        != load_classifier(state(tmp_path, **{"9_bias": torch.ones(10)}), SHAPE).info.fingerprint
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"9_bias": None}, r"net.safetensors does not fit .*mine.py:small_cnn: it lacks 9\.bias$"),
        ({"9_bias": None, "7_bias": None, "0_bias": None}, r"it lacks 0\.bias and 2 more$"),
        ({"extra_bias": torch.zeros(1)}, r"it has in excess extra\.bias$"),
        ({"9_bias": torch.zeros(9)}, r"it has another shape: 9\.bias is \[9\], expected \[10\]$"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    refused(state(tmp_path, **changes), said)


def test_a_module_without_values_yet_is_filled_as_well(tmp_path: Path) -> None:
    def meta(**changes: torch.Tensor | None) -> str:
        spec = state(tmp_path, "without_values", **changes)
        with open(tmp_path / "mine.py", "a") as file:
            file.write("from evofool.networks import build\ndef without_values():\n")
            file.write("    return build('small_cnn', {'in_channels': 1, 'classes': 10, 'size': (28, 28)})\n")
        return spec

    images = models.test_set().images[:100] / 255
    assert torch.allclose(load_classifier(meta(), SHAPE)(images), models.digits()(images), atol=1e-5)
    refused(meta(**{"9_bias": None}), r"it lacks 9\.bias$")


class Tied(nn.Module):
    """Two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(784, 784, bias=False), nn.Linear(784, 784, bias=False)
        self.two.weight = self.one.weight
        self.last = nn.Linear(784, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.two(self.one(images.flatten(1))))


def test_tied_weights_are_held_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from test_programs import Tied\n")
    with models.untouched():
        module = Tied()
    safetensors.torch.save_model(module, str(tmp_path / "net.safetensors"))
    classifier = load_classifier(f"state:{tmp_path}/net.safetensors@{tmp_path}/mine.py:Tied", SHAPE)
    images = models.test_set().images[:100] / 255
    assert torch.allclose(classifier(images), module(images), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smal_cnn", r"has no 'smal_cnn'; did you mean 'small_cnn'"),
        ("number", r"mine.py:number cannot be made: TypeError"),
        ("broken", r"mine.py:broken cannot be made: RuntimeError: no such luck"),
        ("user_code", "cannot be made: TypeError"),
        ("test_set", r"test_set gives a Dataset; expected a PyTorch module, to be filled"),
    ],
)
def test_what_builds_no_module_is_refused(tmp_path: Path, name: str, said: str) -> None:
    spec = state(tmp_path)
    with open(tmp_path / "mine.py", "a") as file:
        file.write("from models import test_set, user_code\n")
    refused(spec.replace(":small_cnn", f":{name}"), said)


@pytest.mark.parametrize("spec", ["state:net.safetensors", "state:@mine:net", "state:net.safetensors@mine"])
def test_a_spec_without_its_parts_is_told_its_form(spec: str) -> None:
    refused(spec, r"expected state:FILE\.safetensors@package\.module:name")


def test_weights_of_another_format_are_told_how_they_are_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is told is right."""
    monkeypatch.chdir(tmp_path)
    torch.save(models.digits().state_dict(), "net.pt")
    code = models.user_code(tmp_path)
    told = "; once, in Python: safetensors.torch.save_file(torch.load('net.pt', weights_only=True), 'net.safetensors')"
    refused(f"state:net.pt@{code}:small_cnn", re.escape(told))
    safetensors.torch.save_file(torch.load("net.pt", weights_only=True), "net.safetensors")
    assert load_classifier(f"state:net.safetensors@{code}:small_cnn", SHAPE).info.name == "net"


def test_a_folder_with_an_at_sign_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "me@home").mkdir()
    assert load_classifier(state(tmp_path / "me@home"), SHAPE).info.name == "net"


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    spec = state(tmp_path)
    whole = (tmp_path / "net.safetensors").read_bytes()
    for share in (0.001, 0.5, 0.999):
        (tmp_path / "net.safetensors").write_bytes(whole[: int(share * len(whole))])
        refused(spec, r"is not a whole safetensors file")


# ---- export: and torchscript:


@pytest.mark.parametrize("kind", ["export", "torchscript"])
def test_a_program_is_loaded_only_by_those_who_trust_it(tmp_path: Path, kind: str) -> None:
    spec, settings = {"export": models.export_file, "torchscript": models.torchscript_file}[kind](tmp_path)
    assert load_classifier(spec, settings)
    del settings["trust_code"]
    refused(spec, "such a file is a program that may do anything on this machine; .*give --trust-code", **settings)


def exported(path: Path, module: nn.Module, *examples: torch.Tensor) -> str:
    torch.export.save(torch.export.export(module.eval(), examples), path)
    return f"export:{path}"


class Gives(nn.Module):
    """Its input, flattened, or something else made of what it was given."""

    def __init__(self, what: str = "flat") -> None:
        super().__init__()
        self.what = what

    def forward(self, images: torch.Tensor, mask: torch.Tensor | None = None) -> Any:
        flat = images.flatten(1).float()
        return (flat, flat) if self.what == "two" else flat if mask is None else flat + mask


@pytest.mark.parametrize("numbers", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("shape", [(1, 4, 5), (4, 5, 3)])
def test_an_exported_program_says_what_it_takes(tmp_path: Path, shape: tuple[int, ...], numbers: str) -> None:
    spec = exported(tmp_path / "net.pt2", Gives(), torch.zeros(6, *shape, dtype=getattr(torch, numbers)))
    classifier = load_classifier(spec, trust_code=True)
    assert (classifier.info.micro_batch, classifier.info.dtype) == (6, numbers)
    assert classifier.info.image_shape == (shape if shape[0] == 1 else (3, 4, 5))
    images = torch.randint(0, 256, (6, *classifier.info.image_shape), generator=torch.Generator().manual_seed(0)) / 255
    given = images if shape[0] == 1 else images.permute(0, 2, 3, 1)
    expected = given.flatten(1) * (255 if numbers == "uint8" else 1)
    assert torch.allclose(classifier(images), expected)


def test_an_exported_program_with_other_inputs_or_outputs_is_refused(tmp_path: Path) -> None:
    image = torch.zeros(2, 1, 4, 5)
    spec = exported(tmp_path / "two.pt2", Gives(), image, torch.zeros(2, 20))
    refused(spec, "has 2 inputs and 1 outputs; expected one of each", trust_code=True)
    spec = exported(tmp_path / "outputs.pt2", Gives("two"), image)
    refused(spec, "has 1 inputs and 2 outputs; expected one of each", trust_code=True)
    spec = exported(tmp_path / "words.pt2", Gives(), torch.zeros(2, 3, dtype=torch.int64))
    refused(spec, "an input of int64; expected one of float32", trust_code=True)


def test_a_traced_module_with_a_fixed_batch_is_told_so(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.reshape(6, 784)[:, :10]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Fixed(), torch.zeros(6, 1, 28, 28)).save(tmp_path / "net.pt")
    spec = f"torchscript:{tmp_path / 'net.pt'}"
    classifier = load_classifier(spec, SHAPE, trust_code=True, micro_batch=6)
    assert classifier.info.micro_batch == 6
    assert classifier(torch.ones(6, 1, 28, 28)).tolist() == torch.ones(6, 10).tolist()


def test_a_frozen_module_is_a_module_as_well(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.freeze(torch.jit.script(models.digits())).save(tmp_path / "net.pt")
    classifier = load_classifier(f"torchscript:{tmp_path / 'net.pt'}", SHAPE, trust_code=True)
    images = models.test_set().images[:100] / 255
    assert torch.allclose(classifier(images), models.digits()(images), atol=1e-5)


def test_truncated_programs_are_refused(tmp_path: Path) -> None:
    for write, name in ((models.export_file, "digits-None.pt2"), (models.torchscript_file, "digits.pt")):
        spec, settings = write(tmp_path)
        whole = (tmp_path / name).read_bytes()
        for share in (0.1, 0.5, 0.99):
            (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
            refused(spec, f"{name}: is not a", **settings)
