"""The examples of the documentation answer as the classifier that stands behind them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from evofool.classifiers import load_classifier
from evofool.contracts import Status
from evofool.data import load_data
from evofool.errors import TargetError
from evofool.ledger import Ledger

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
KEY = "open-sesame"


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    return load_data("digits").images[:50].float() / 255


@pytest.fixture(scope="module")
def expected(digits) -> torch.Tensor:
    return load_classifier("digits")(digits)


def same(classifier, digits: torch.Tensor, expected: torch.Tensor) -> None:
    answers = Ledger(classifier, searches=1).ask(digits, torch.zeros(len(digits), dtype=torch.int64))
    assert (answers.status == int(Status.ANSWERED)).all()
    assert torch.equal(answers.scores.argmax(1), expected.argmax(1))
    assert len(answers.scores.argmax(1).unique()) > 5
    assert torch.allclose(answers.scores, expected, rtol=0, atol=1e-4)


def test_the_command(digits, expected):
    line = f"command:{shlex.join([sys.executable, str(EXAMPLES / 'predict.py')])}"
    classifier = load_classifier(line, kind="logits", data=load_data("digits"), micro_batch=10, timeout=120)
    try:
        same(classifier, digits, expected)
        assert classifier.info.class_names == tuple("0123456789")
    finally:
        classifier.close()


@pytest.fixture
def address(monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("DIGITS_KEY", KEY)
    command = [sys.executable, str(EXAMPLES / "serve.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield server.stdout.readline().strip()
        server.kill()


def test_the_endpoint(address, digits, expected, monkeypatch):
    file = EXAMPLES / "endpoint.toml"
    assert load_classifier(file).info.micro_batch == 20  # the address that it names is not asked
    classifier = load_classifier(file, {"spec": address, "timeout": 60})
    same(classifier, digits, expected)
    assert classifier.info.kind == "logits" and classifier.info.name == "digits by HTTP"
    monkeypatch.setenv("DIGITS_KEY", "wrong-key")
    with pytest.raises(TargetError, match="not allowed; check the headers and params: HTTP 401 Unauthorized") as caught:
        classifier(digits[:1])
    assert caught.value.fatal
