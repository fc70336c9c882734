"""The page on classifiers: each line of its table works; and one network gives one study, however it is asked."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import skops.io
import torch
from sklearn.linear_model import LogisticRegression

import models
from evofool.classifiers import SHIPPED, load_classifier
from evofool.data import load_data
from evofool.ledger import Ledger
from test_cli import Here, here

__all__ = ["here"]  # a fixture

DOCS = Path(__file__).parent.parent / "docs"
LIBRARIES = ("timm:", "torchvision:", "hf:")  # their lines are tried where these are installed

MINE = """
import torch
from evofool import networks
from evofool.classifiers import load_classifier
def build():
    arguments = {"in_channels": 1, "classes": 10, "size": (28, 28)}
    return networks.initialise(networks.build("small_cnn", arguments), torch.Generator())
module = load_classifier("digits").module
def predict(images):
    return module(images)
"""


def lines() -> list[str]:
    found = re.findall(r"^\| .*? \| `(evofool doctor [^`]*)`", (DOCS / "classifiers.md").read_text(), re.M)
    return [line for line in found if not any(library in line for library in LIBRARIES)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All the files that the page speaks of, made of the weights of `digits`, and the endpoint running."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "mynet.py").write_text(MINE)
    shutil.copytree(SHIPPED / "digits", folder / "mine")
    for make in (models.state_file, models.export_file, models.torchscript_file):
        make(folder)
    models.export_onnx(folder / "net.onnx")
    models.keras_digits(folder / "net.keras")
    train = load_data("digits", split="train")
    estimator = LogisticRegression(C=0.01, max_iter=200).fit(
        train.images.flatten(1).numpy() / 255, train.labels.numpy()
    )
    skops.io.dump(estimator, folder / "net.skops")
    shutil.copy(next(folder.glob("*.safetensors")), folder / "net.safetensors")
    shutil.copy(next(folder.glob("*.pt2")), folder / "net.pt2")
    shutil.copy(folder / "digits.pt", folder / "net.pt")
    shutil.copy(DOCS / "examples" / "predict.py", folder / "predict.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIGITS_KEY", "open-sesame")
        command = [sys.executable, str(DOCS / "examples" / "serve.py"), "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            address = server.stdout.readline().strip()
            text = (DOCS / "examples" / "endpoint.toml").read_text()
            assert text.count("http://127.0.0.1:8123/classify") == 1
            (folder / "endpoint.toml").write_text(text.replace("http://127.0.0.1:8123/classify", address))
            yield folder
            server.kill()


def test_the_table_has_a_line_for_each_kind() -> None:
    assert len(lines()) == 11


@pytest.mark.parametrize("line", lines())
def test_each_line_of_the_table_works(
    line: str, folder: Path, here: Callable[..., Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words = shlex.split(line.replace("command:python", f"command:{sys.executable}"))
    done = here(*words[1:], "--json", *([] if "endpoint" in line or "command" in line else ["--queries", "150"]))
    assert done.returncode == 0, done.stderr
    diagnosis = json.loads(done.stdout)
    accuracy = diagnosis["accuracy"]
    assert accuracy["k"] > 0.75 * accuracy["n"], diagnosis["findings"]
    assert diagnosis["findings"] == []


@pytest.mark.parametrize(
    "spec", ["onnx:net.onnx", "keras:net.keras", "endpoint.toml", "state:net.safetensors@mynet.py:build"]
)
def test_one_network_gives_the_same_labels_and_scores_for_all_images(
    spec: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    digits = load_data("digits")
    images, payer = digits.images.float() / 255, torch.zeros(len(digits), dtype=torch.int64)
    assert len(images) == 1000
    expected = load_classifier("digits")(images)
    classifier = load_classifier(spec, data=digits)
    answers = Ledger(classifier, searches=1).ask(images, payer)
    assert torch.equal(answers.scores.argmax(1), expected.argmax(1))
    assert float((answers.scores - expected).abs().max()) < 1e-4


def test_one_network_gives_one_study_as_torch_onnx_keras_and_behind_http(
    folder: Path, here: Callable[..., Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores differ in the seventh digit; no accuracy differs by more than half a point."""
    monkeypatch.chdir(folder)
    specs = ["digits", "onnx:net.onnx", "keras:net.keras", "endpoint.toml"]
    done = here(
        "study", "operators", "--data", "digits", "--classifier", ",".join(specs), "--parts", "scenarios",
        "--scenarios", "FPS_AC_SM,TS_SPC_IM,RS_SPC_SM", "--seeds", "1", "--set", "population=200",
        "--set", "generations=6", "--judge", "none", "--confirm", "0", "--workers", "1", "-o", "run", "-q",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    study = json.loads(Path("run/study.json").read_text())
    accuracy = {(run["classifier"], run["arm"]): run["accuracy"] for run in study["runs"]}
    names = [target["name"] for target in study["targets"]]
    assert len(names) == 4 and len(accuracy) == 12
    fell = 0
    for arm in ("FPS_AC_SM", "TS_SPC_IM", "RS_SPC_SM"):
        own = accuracy["digits", arm]
        fell += own[-1] < own[0] - 0.05
        for name in names[1:]:
            differences = [abs(a - b) for a, b in zip(own, accuracy[name, arm], strict=True)]
            assert len(differences) == 7 and max(differences) <= 0.005, f"{arm} on {name}: {accuracy[name, arm]}, {own}"
    assert fell, "no scenario misled the network"
    assert (Path("run/report.html")).is_file()
