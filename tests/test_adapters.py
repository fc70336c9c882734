"""Adapters: whatever file the same weights lie in, the same answers; every refusal is one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

import models
from evofool.classifiers import load_classifier
from evofool.contracts import Classifier
from evofool.errors import ClassifierError

Load = Callable[[str], Classifier]
DIGITS = list(models.DIGITS)


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Any of models.DIGITS, each loaded once."""
    folder, loaded = tmp_path_factory.mktemp("digits"), {}

    def get(way: str) -> Classifier:
        if way not in loaded:
            spec, settings = models.DIGITS[way](folder)
            loaded[way] = load_classifier(spec, settings)
        return loaded[way]

    return get


def answers(classifier: Classifier, images: torch.Tensor) -> torch.Tensor:
    """Scores of any number of images, asked as the ledger asks: full micro-batches, the last one padded."""
    size = classifier.info.micro_batch
    padded = torch.cat([images, images[-1:].expand(-len(images) % size, -1, -1, -1)])
    return torch.cat([classifier(part) for part in padded.split(size)])[: len(images)]


def pictures() -> torch.Tensor:
    return models.test_set().images / 255


@pytest.mark.parametrize("way", DIGITS)
def test_the_same_weights_give_the_same_answers(load: Load, way: str) -> None:
    expected = models.digits()(pictures())
    assert len(expected) == 1000
    classifier = load(way)
    scores = answers(classifier, pictures())
    assert torch.equal(scores.argmax(1), expected.argmax(1))
    assert (scores - expected).abs().max() < 1e-4
    right = (scores.argmax(1) == models.test_set().labels).double().mean()
    assert right == pytest.approx(0.952)  # as its card says
    info = classifier.info
    assert (info.kind, info.image_shape, info.class_names) == ("logits", (1, 28, 28), tuple("0123456789"))
    assert (info.device, info.metered, info.concurrency) == ("cpu", False, 1)


@pytest.mark.parametrize("way", DIGITS)
def test_an_answer_is_an_ordinary_tensor_of_the_right_shape(load: Load, way: str) -> None:
    classifier = load(way)
    assert isinstance(classifier, Classifier)
    images = pictures()[: classifier.info.micro_batch]
    before = images.clone()
    scores = classifier(images)
    assert torch.equal(images, before)
    assert (scores.shape, scores.dtype, scores.device.type) == ((len(images), 10), torch.float32, "cpu")
    assert not scores.requires_grad
    assert not scores.is_inference()
    first = scores.clone()
    classifier(1 - images)  # an answer that is held is not written over by the next
    assert torch.equal(scores, first)
    with pytest.raises(ClassifierError, match=r"was given float32 of shape \[2, 3, 28, 28\], expected floats") as error:
        classifier(torch.zeros(2, 3, 28, 28))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("way", DIGITS)
def test_a_row_is_answered_alike_in_any_company(load: Load, way: str) -> None:
    classifier = load(way)
    size = classifier.info.micro_batch
    images = pictures()[:size]
    together = classifier(images)
    assert torch.equal(classifier(images), together)
    for row in {0, size // 2, size - 1}:
        company = pictures()[size : 2 * size].clone()
        company[row] = images[row]
        assert torch.equal(classifier(company)[row], together[row])
    moved = torch.arange(size).roll(1)
    assert torch.equal(classifier(images[moved]), together[moved])


def test_a_fixed_batch_is_read_from_the_graph(load: Load) -> None:
    sizes = {way: load(way).info.micro_batch for way in DIGITS}
    assert sizes == dict.fromkeys(DIGITS, 100) | {"onnx, batch of one": 1, "export, fixed batch": 20}


def test_what_the_graph_computes_in_is_recorded(load: Load) -> None:
    assert load("onnx").info.dtype == load("export").info.dtype == "float32"
    assert load("onnx, bytes").info.dtype == "uint8"
    assert load("onnx, bytes").info.preparation == "white is 255"
    assert load("onnx, float64").info.dtype == "float64"


def test_a_fingerprint_is_of_what_was_loaded(load: Load, tmp_path: Path) -> None:
    assert len({load(way).info.fingerprint for way in DIGITS}) == len(DIGITS)
    for way in ("onnx", "keras", "state"):
        spec, settings = models.DIGITS[way](tmp_path)
        again = load_classifier(spec, settings).info.fingerprint
        if way != "keras":  # its archive holds the time at which it was written
            assert again == load(way).info.fingerprint
        assert load_classifier(spec, {**settings, "white": 2.0}).info.fingerprint != again


# ---- one sigmoid output becomes two classes


def binary(positive: int, negative: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [784 1] and bias [1] of a logistic regression, by gradient descent: p is that of `positive`."""
    from evofool.data import load_data

    data = load_data("digits", split="train")
    chosen = (data.labels == positive) | (data.labels == negative)
    x = data.images[chosen].flatten(1).double() / 255
    y = (data.labels[chosen] == positive).double()
    weight, bias = torch.zeros(784, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for _ in range(60):
        slope = (torch.sigmoid(x @ weight + bias).flatten() - y)[:, None] / len(y)
        weight, bias = weight - 0.1 * x.T @ slope, bias - 0.1 * slope.sum()
    return weight, bias


def as_onnx(folder: Path, weight: torch.Tensor, bias: torch.Tensor, sigmoid: bool) -> str:
    return f"onnx:{models.linear_onnx(folder / 'net.onnx', weight, bias, sigmoid=sigmoid)}"


def as_keras(folder: Path, weight: torch.Tensor, bias: torch.Tensor, sigmoid: bool) -> str:
    k = models.keras()
    with models.untouched():
        dense = k.layers.Dense(1, activation="sigmoid" if sigmoid else None)
        model = k.Sequential([k.Input((28, 28, 1)), k.layers.Flatten(), dense])
        model.set_weights([weight.numpy(), bias.numpy()])
        model.save(folder / "net.keras")
    return f"keras:{folder / 'net.keras'}"


@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize("write", [as_onnx, as_keras])
def test_one_output_is_the_second_class_in_whatever_order_they_are_named(tmp_path: Path, write, sigmoid: bool) -> None:
    data = models.test_set()
    chosen = (data.labels == 3) | (data.labels == 8)
    images, eights = data.images[chosen] / 255, data.labels[chosen] == 8
    kind = "probabilities" if sigmoid else "logits"
    said = {"kind": kind} if write is as_onnx else {}  # Keras names its last activation
    decisions, scores = [], []
    for positive, negative, names in ((8, 3, ("three", "eight")), (3, 8, ("eight", "three"))):
        weight, bias = binary(positive, negative)
        classifier = load_classifier(write(tmp_path, weight, bias, sigmoid), said, class_names=names)
        assert classifier.info.class_names == ("eight", "three")  # sorted, as folders are
        assert classifier.info.kind == kind
        scores.append(answers(classifier, images))
        decisions.append(scores[-1].argmax(1))
        z = images.double().flatten(1) @ weight + bias
        p = torch.stack([torch.sigmoid(z), 1 - torch.sigmoid(z)] if sigmoid else [z, 0 * z], 1).squeeze(-1)
        expected = p if positive == 8 else p.flip(1)
        assert torch.allclose(scores[-1].double(), expected, atol=1e-5)
    assert torch.equal(decisions[0], decisions[1])
    assert (decisions[0] == (~eights).long()).double().mean() > 0.95
    assert 0 < int(decisions[0].sum()) < len(images)
    if sigmoid:
        assert torch.allclose(scores[0], scores[1], atol=1e-5)
        assert torch.allclose(scores[0].sum(1), torch.ones(len(images)))


def test_one_output_that_does_not_say_what_it_is_is_asked_about(tmp_path: Path) -> None:
    spec = as_onnx(tmp_path, *binary(8, 3), True)
    with pytest.raises(ClassifierError, match=r"has one output, .*--with kind=probabilities, .*kind=logits") as error:
        load_classifier(spec)
    assert "\n" not in str(error.value)


# ---- libraries and devices


@pytest.mark.parametrize(("way", "library", "extra"), [("onnx", "onnxruntime", "onnx"), ("keras", "keras", "keras")])
def test_a_missing_library_is_named_with_its_extra(load: Load, monkeypatch, tmp_path, way, library, extra) -> None:
    spec, settings = models.DIGITS[way](tmp_path)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ClassifierError, match=rf"needs {library}: pip install 'evofool\[{extra}\]'"):
        load_classifier(spec, settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is there")
@pytest.mark.parametrize("way", ["onnx", "keras", "state", "export", "torchscript"])
def test_a_device_that_is_not_there_is_refused(load: Load, tmp_path: Path, way: str) -> None:
    spec, settings = models.DIGITS[way](tmp_path)
    with pytest.raises(ClassifierError, match="cuda:0") as error:
        load_classifier(spec, settings, device="cuda:0")
    assert "\n" not in str(error.value)
    if not torch.backends.mps.is_available():
        assert load_classifier(spec, settings, device="auto").info.device == "cpu"


LIGHT = """
import json, random, sys
import evofool.classifiers as classifiers
for name in ("export", "keras", "onnx", "sklearn", "state", "torchscript"):
    __import__(f"evofool.classifiers.{name}")
heavy = sorted({"keras", "onnx", "onnxruntime", "sklearn", "skops", "h5py"} & set(sys.modules))
state = random.getstate()
name = classifiers.load_classifier(sys.argv[1]).info.name
print(json.dumps([heavy, name, sys.modules["keras"].config.backend(), random.getstate() == state]))
"""


def test_libraries_are_loaded_when_they_are_needed_and_keras_runs_on_torch(tmp_path: Path) -> None:
    spec, _ = models.DIGITS["keras"](tmp_path)
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    finished = subprocess.run(
        [sys.executable, "-c", LIGHT, spec], env=environment, capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == [[], "digits", "torch", True]


@pytest.mark.parametrize("kind", ["onnx", "keras", "sklearn", "state", "export", "torchscript"])
@pytest.mark.parametrize("what", ["nothing", "folder", "empty", "garbage", "text"])
def test_what_is_not_such_a_file_is_refused_in_one_line(tmp_path: Path, kind: str, what: str) -> None:
    suffix = {"onnx": "onnx", "keras": "keras", "sklearn": "skops", "state": "safetensors", "export": "pt2"}
    path = tmp_path / f"net.{suffix.get(kind, 'pt')}"
    write = {
        "nothing": lambda: None,
        "folder": path.mkdir,
        "empty": path.touch,
        "garbage": partial(path.write_bytes, bytes(range(256)) * 9),
        "text": partial(path.write_text, "<html>not found</html>"),
    }
    write[what]()
    spec = f"{kind}:{path}" + (f"@{models.user_code(tmp_path)}:small_cnn" if kind == "state" else "")
    with pytest.raises(ClassifierError, match=path.name) as error:
        load_classifier(spec, trust_code=True)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
