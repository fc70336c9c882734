"""Keras files: what the model says of itself is read from it, and one that holds code is refused."""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch

import models
from evofool.classifiers import load_classifier
from evofool.errors import ClassifierError
from evofool.rng import untouched

IMAGES = torch.rand(4, 1, 6, 5, generator=torch.Generator().manual_seed(0))


def saved(
    path: Path, *layers: Callable[[Any], Any], shape: tuple[int | None, ...] = (6, 5, 1), dtype: str = "float32"
) -> Path:
    """A Keras model of these layers in a file; each is made by a function of Keras."""
    k = models.keras()
    with untouched(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = k.Sequential([k.Input(shape, dtype=dtype), *(layer(k) for layer in layers)])
        model.save(path)
    return path


def refused(path: Path, said: str, **settings: Any) -> None:
    with pytest.raises(ClassifierError, match=said) as error:
        load_classifier(f"keras:{path}", settings)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def flatten(k: Any) -> Any:
    return k.layers.Flatten()


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (lambda k: k.layers.Dense(3, activation="softmax"), "probabilities"),
        (lambda k: k.layers.Dense(3, activation="sigmoid"), "probabilities"),
        (lambda k: k.layers.Dense(3), "logits"),
        (lambda k: k.Sequential([k.layers.Dense(3), k.layers.Softmax()]), "probabilities"),
        (lambda k: k.Sequential([k.layers.Dense(3), k.layers.Activation("softmax")]), "probabilities"),
        (lambda k: k.Sequential([k.layers.Dense(3), k.layers.Activation("log_softmax")]), "logits"),
        (lambda k: k.layers.Dense(3, kernel_initializer="zeros", bias_initializer="ones"), "logits"),
    ],
)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_the_last_layer_says_what_scores_are(
    tmp_path: Path, last: Callable[[Any], Any], kind: str, suffix: str
) -> None:
    path = saved(tmp_path / f"net.{suffix}", flatten, last)
    classifier = load_classifier(path)
    assert classifier.info.kind == kind
    assert classifier(IMAGES).shape == (4, 3)


@pytest.mark.parametrize("final", [lambda k: k.layers.Reshape((2,)), lambda k: k.layers.Dense(2, activation="relu")])
def test_where_the_last_layer_says_nothing_the_answers_do(tmp_path: Path, final: Callable[[Any], Any]) -> None:
    zeros = {"kernel_initializer": "zeros", "bias_initializer": "ones"}
    path = saved(tmp_path / "net.keras", flatten, lambda k: k.layers.Dense(2, **zeros), final)
    assert load_classifier(path).info.kind == "logits"


def test_one_sigmoid_is_two_classes_without_a_word(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.keras", flatten, lambda k: k.layers.Dense(1, activation="sigmoid"))
    classifier = load_classifier(path)
    assert (classifier.info.kind, classifier.info.class_names) == ("probabilities", ("0", "1"))
    scores = classifier(IMAGES)
    with untouched():
        weight, bias = models.keras().saving.load_model(path).get_weights()
    p = torch.sigmoid(IMAGES.flatten(1) @ torch.tensor(weight) + torch.tensor(bias))
    assert torch.allclose(scores, torch.cat([1 - p, p], 1), atol=1e-6)


def test_the_layout_is_that_of_the_model(tmp_path: Path) -> None:
    """A model that gives back its input, flattened, shows in which order it got it."""
    colour = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    for shape, fits, given in (
        ((4, 5, 3), colour, colour.permute(0, 2, 3, 1)),
        ((3, 4, 5), colour, colour),
        ((6, 5), IMAGES, IMAGES),
        ((30,), IMAGES, IMAGES),
    ):
        path = saved(tmp_path / "net.keras", flatten, shape=shape)
        said = {"image_shape": fits.shape[1:]} if len(shape) == 1 else {}
        classifier = load_classifier(path, said)
        assert classifier.info.image_shape == tuple(fits.shape[1:])
        assert torch.equal(classifier(fits), given.flatten(1))
    path = saved(tmp_path / "any.keras", lambda k: k.layers.GlobalAveragePooling2D(), shape=(None, None, None))
    classifier = load_classifier(path, image_shape="3x4x5")
    assert torch.allclose(
        classifier(colour), colour.mean((2, 3))
    )  # the channels stand last unless something else is said


@pytest.mark.parametrize(
    ("scale", "offset", "white"), [(1 / 255, 0.0, 255), (1 / 127.5, -1.0, 255), (2.0, -1.0, 1), (0.5, 0.0, 1)]
)
def test_a_model_that_divides_bytes_is_given_bytes(tmp_path: Path, scale: float, offset: float, white: int) -> None:
    path = saved(tmp_path / "net.keras", lambda k: k.layers.Rescaling(scale, offset), flatten)
    classifier = load_classifier(path)
    assert classifier.info.preparation == ("white is 255" if white == 255 else "")
    assert torch.allclose(classifier(IMAGES), IMAGES.flatten(1) * white * scale + offset, atol=1e-6)
    told = load_classifier(path, white=10)
    assert torch.allclose(told(IMAGES), IMAGES.flatten(1) * 10 * scale + offset, atol=1e-5)


def test_what_is_for_training_does_not_happen(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "net.keras",
        lambda k: k.layers.BatchNormalization(),
        lambda k: k.layers.Dropout(0.5),
        lambda k: k.layers.GaussianNoise(1.0),
        flatten,
    )
    classifier = load_classifier(path)
    first = classifier(IMAGES)
    assert torch.allclose(first, IMAGES.flatten(1) / 1.001**0.5, atol=1e-6)  # moving mean 0, variance 1, epsilon 0.001
    assert torch.equal(classifier(IMAGES), first)


def test_a_model_of_a_python_name_is_a_keras_model(tmp_path: Path) -> None:
    saved(tmp_path / "net.keras", flatten, lambda k: k.layers.Dense(3, activation="softmax"))
    code = f"import keras\ndef net():\n    return keras.saving.load_model({str(tmp_path / 'net.keras')!r})\n"
    (tmp_path / "mine.py").write_text(code)
    file, name = load_classifier(tmp_path / "net.keras"), load_classifier(f"{tmp_path / 'mine.py'}:net")
    assert (name.info.kind, name.info.image_shape) == ("probabilities", (1, 6, 5))
    assert torch.equal(file(IMAGES), name(IMAGES))


# ---- what is refused


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_file_with_code_is_refused_and_none_of_it_runs(tmp_path: Path, suffix: str) -> None:
    mark = tmp_path / "ran"
    path = saved(
        tmp_path / f"net.{suffix}",
        flatten,
        lambda k: k.layers.Lambda(lambda x, where=str(mark): open(where, "w").close() or x),
    )
    assert mark.exists()  # it can run: Keras called it when the model was built
    mark.unlink()
    refused(path, r"holds Python code, such as a Lambda layer, and is not loaded")
    assert not mark.exists()


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The same Keras file with another config."""
    other = path.with_name(f"edited-{path.name}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            if item.filename == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            new.writestr(item, content)
    return other


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("builtins", "exec"), ("subprocess", "run"), ("keras.utils", "get_file")]
)
def test_a_config_that_names_any_function_is_refused(tmp_path: Path, module: str, name: str) -> None:
    mark = tmp_path / "ran"

    def change(config: dict[str, Any]) -> None:
        dense = config["config"]["layers"][-1]["config"]
        dense["activation"] = {"module": module, "class_name": "function", "config": name, "registered_name": name}
        dense["name"] = f"touch {mark}"

    path = edited(saved(tmp_path / "net.keras", flatten, lambda k: k.layers.Dense(3)), change)
    refused(path, "edited-net.keras")
    assert not mark.exists()


def test_an_unknown_class_is_named(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][-1] |= {
            "module": "mine.layers",
            "class_name": "Sparkle",
            "registered_name": "Sparkle",
        }

    path = edited(saved(tmp_path / "net.keras", flatten, lambda k: k.layers.Dense(3)), change)
    refused(path, r"cannot be loaded by Keras .*Sparkle")


def test_several_inputs_or_outputs_are_refused(tmp_path: Path) -> None:
    k = models.keras()
    with untouched():
        images, mask = k.Input((6, 5, 1)), k.Input((6, 5, 1))
        k.Model([images, mask], k.layers.Flatten()(k.layers.Add()([images, mask]))).save(tmp_path / "two.keras")
        flat = k.layers.Flatten()(images)
        k.Model(images, [flat, k.layers.Dense(2)(flat)]).save(tmp_path / "outputs.keras")
    refused(tmp_path / "two.keras", "has 2 inputs and 1 outputs; expected one of each")
    refused(tmp_path / "outputs.keras", "has 1 inputs and 2 outputs; expected one of each")


def test_a_truncated_file_and_another_suffix_are_refused(tmp_path: Path) -> None:
    for suffix in ("keras", "h5"):
        path = saved(tmp_path / f"net.{suffix}", flatten, lambda k: k.layers.Dense(3))
        whole = path.read_bytes()
        for share in (0.1, 0.5, 0.9, 0.999):
            path.write_bytes(whole[: int(share * len(whole))])
            refused(path, f"net.{suffix} cannot be loaded by Keras")
    shutil.copy(saved(tmp_path / "net.keras", flatten), tmp_path / "net.pb")
    refused(tmp_path / "net.pb", r"Keras goes by the name of a file; expected one that ends in .keras or .h5")


def test_weights_of_another_file_are_not_taken(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.h5", flatten, lambda k: k.layers.Dense(3))
    with h5py.File(tmp_path / "other.h5", "w") as other, h5py.File(path, "r+") as file:
        found: list[str] = []
        file.visititems(lambda name, item: found.append(name) if name.endswith("bias") else None)
        other["secret"] = torch.ones(3).numpy()
        del file[found[0]]
        file[found[0]] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
    refused(path, "net.h5 cannot be loaded by Keras .*ExternalLink")


def test_keras_on_another_backend_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = saved(tmp_path / "net.keras", flatten)
    monkeypatch.setattr(models.keras().config, "backend", lambda: "jax")
    refused(path, "Keras was imported with jax in this process, expected torch: set KERAS_BACKEND=torch")
