"""Other people's classifiers on the command line: in studies, in workers, and when a run is taken up again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from evofool import rundir
from evofool.classifiers.support.settings import settings
from evofool.runs import shared_out
from test_cli import SMALL, Here, here

__all__ = ["here"]  # a fixture

MINE = """
import torch
from evofool import load_classifier
module = load_classifier("digits").module
def probabilities(images):
    return module(images).softmax(1)
def cramped(images):
    if len(images) > 60:
        raise MemoryError("no room")
    return module(images)
def random():
    weight = torch.rand(10, 784, generator=torch.Generator().manual_seed(torch.seed()))
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.utils.skip_init(torch.nn.Linear, 784, 10, bias=False))
    net[1].weight.data = weight - 0.5
    return net
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_of_a_function_is_that_of_the_network_inside_it(mine: Path, here: Callable[..., Here]) -> None:
    plain = ["study", "operators", *SMALL, "--parts", "scenarios"]
    done = here(*plain, "--classifier", "mine.py:module,digits", "--workers", "2", "-o", "both")
    assert done.returncode == 0, done.stderr
    study = json.loads((mine / "both" / "study.json").read_text())
    runs = {(run["classifier"], run["seed"]): run for run in study["runs"]}
    assert {name for name, _ in runs} == {"module", "digits"}
    for (name, seed), run in runs.items():
        assert {**run, "classifier": "digits"} == runs["digits", seed], name


def test_such_a_run_is_checked_and_taken_up_only_by_who_trusts_it(
    mine: Path, here: Callable[..., Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["study", "operators", *SMALL, "--parts", "scenarios", "--classifier", "mine.py:probabilities"]
    with monkeypatch.context() as patch:
        patch.setattr("evofool.studies.operators.run.keep", _stop)
        stopped = here(*arguments, "--workers", "1", "-o", "run")
    assert stopped.returncode == 130 and "evofool resume run --trust-code" in stopped.stderr
    (mine / "mine.py").write_text("open('ran', 'w')\n" + MINE)
    for verb in (["resume", "run"], ["resume", "run", "--allow-drift"]):
        refused = here(*verb)
        assert refused.returncode == 2 and "if the run is your own, add --trust-code" in refused.stderr
    assert not (mine / "ran").exists(), "the code that a run directory names was run"
    (mine / "mine.py").write_text(MINE)
    assert here("resume", "run", "--trust-code", "--workers", "1").returncode == 0
    assert rundir.findings(mine / "run"), "nothing was fooled"
    for verb in ("verify", "replay"):
        what = "run#1" if verb == "replay" else "run"
        assert here(verb, what).returncode == 2
        assert here(verb, what, "--trust-code").returncode == 0
    assert "trust_code" not in (mine / "run" / "run.json").read_text()


def test_a_run_directory_that_names_code_without_a_source_is_not_followed(
    mine: Path, here: Callable[..., Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As somebody would write it who wants his code to be run by whoever looks at the run."""
    with monkeypatch.context() as patch:
        patch.setattr("evofool.studies.operators.run.keep", _stop)
        assert here("study", "operators", *SMALL, "--workers", "1", "-o", "run").returncode == 130
    assert here("study", "operators", *SMALL, "--workers", "1", "-o", "done").returncode == 0
    (mine / "evil.py").write_text("open('ran', 'w')\ndef load(images): return images.flatten(1)[:, :10]\n")
    for run in ("run", "done"):
        head = json.loads((mine / run / "run.json").read_text())
        head["config"] |= {"classifiers": ["evil.py:load"], "options": {"trust_code": "true"}}
        del head["digest"]
        (mine / run / "run.json").write_text(json.dumps(head | {"digest": rundir._digest(head)}))
    findings = mine / "done" / "findings.jsonl"
    findings.write_text(findings.read_text().replace('"classifier": "digits"', '"classifier": "evil.py:load"'))
    assert "evil.py" in findings.read_text()
    for words in (["resume", "run"], ["resume", "run", "--allow-drift"], ["replay", "done#1"]):
        refused = here(*words)
        assert refused.returncode == 2 and "if the run is your own, add --trust-code" in refused.stderr, words
    assert here("verify", "done").returncode in (2, 4)
    assert not (mine / "ran").exists()


def test_a_target_that_bears_the_name_of_the_judge_is_not_taken_for_it(mine: Path, here: Callable[..., Here]) -> None:
    (mine / "named.toml").write_text('spec = "mine.py:module"\nname = "digits-judge"\n')
    done = here("study", "operators", *SMALL, "--classifier", "named.toml", "--workers", "1", "-o", "run")
    assert done.returncode == 0, done.stderr
    study = json.loads((mine / "run" / "study.json").read_text())
    assert study["targets"][0]["name"] == "digits-judge+" and study["judge"]["name"] == "digits-judge"
    assert study["targets"][0]["fingerprint"] != study["judge"]["fingerprint"]
    assert study["judge"]["accuracy"] > study["targets"][0]["accuracy"]
    assert "--classifier named.toml" in study["command"]


def test_images_of_several_sizes_are_brought_to_the_shape_that_is_named(mine: Path, here: Callable[..., Here]) -> None:
    """Colour images of two sizes, in the classes of digits, for a network that takes gray ones of 28 x 28."""
    for digit in range(10):
        (mine / "mixed" / str(digit)).mkdir(parents=True)
        for number, side in enumerate((20, 36)):
            levels = torch.full((side, side, 3), 25 * digit, dtype=torch.uint8).numpy()
            Image.fromarray(levels).save(mine / "mixed" / str(digit) / f"{number}.png")
    words = [
        "study",
        "operators",
        "--data",
        "mixed",
        "--classifier",
        "mine.py:module",
        "--seeds",
        "1",
        "--judge",
        "none",
    ]
    words += ["--scenarios", "FPS_AC_SM", "--set", "population=20", "--set", "generations=1", "--workers", "2"]
    refused = here(*words, "-o", "run")
    assert refused.returncode == 2 and not (mine / "run").exists()
    done = here(*words, "--with", "image_shape=1x28x28", "-o", "run")
    assert done.returncode == 0, done.stderr
    head = json.loads((mine / "run" / "run.json").read_text())
    assert head["config"]["image_shape"] == [1, 28, 28]
    with Image.open(next((mine / "run" / "images").glob("finding_*.png"))) as image:
        assert image.size == (28, 28) and image.mode == "L"


def test_a_run_that_had_not_memory_enough_says_so(mine: Path, here: Callable[..., Here]) -> None:
    words = ["study", "operators", *SMALL, "--parts", "scenarios", "--classifier", "mine.py:cramped"]
    done = here(*words, "--with", "micro_batch=100", "--workers", "2", "-o", "run")
    assert done.returncode == 0, done.stderr
    drift = json.loads((mine / "run" / "study.json").read_text())["ledger"]["drift"]
    assert drift == ["cramped: out of memory, so 50 rows in a call"]
    page = (mine / "run" / "report.html").read_text()
    assert "Not everything stayed as it was when the run began: cramped: out of memory, so 50 rows in a call." in page


def test_workers_share_what_may_be_in_flight() -> None:
    sources = {
        "api": settings("https://a/b", {"concurrency": 5, "metered": True}),
        "net": settings("onnx:a.onnx", {"concurrency": 1, "metered": False}),
    }
    workers, shares = shared_out(sources, 2)
    assert (workers, shares["api"].concurrency, shares["net"]) == (2, 2, sources["net"])
    workers, shares = shared_out(sources, 16)
    assert (workers, shares["api"].concurrency) == (5, 1)
    assert shared_out({"net": sources["net"]}, 16) == (16, {"net": sources["net"]})


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_weights_that_are_drawn_anew_each_time_are_refused(mine: Path, here: Callable[..., Here]) -> None:
    done = here("study", "operators", *SMALL, "--classifier", "mine.py:random", "--workers", "2", "-o", "run")
    assert done.returncode == 2 and "another one each time it is loaded" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--classifier", "mine.py:nothing"], "mine.py has no 'nothing'"),
        (["--classifier", "mine.py:probabilities", "--with", "kind"], "--with kind: expected KEY=VALUE"),
        (["--classifier", "mine.py:probabilities", "--with", "kin=logits"], "did you mean 'kind'"),
        (["--classifier", "mine.py:probabilities", "--with", "kind=a", "--with", "kind=b"], "kind is given twice"),
        (["--classifier", "digits", "--with", "kind=logits"], "a card says everything already"),
        (["--classifier", "mine.py:probabilities", "--with", "device=cpu", "--device", "mps"], "give one of them"),
        (["--classifier", "mine.py:probabilities", "--device", "cuda:7"], "device cuda:7 is not there"),
        (["--classifier", "torchscript:net.pt"], "give --trust-code"),
    ],
)
def test_what_is_said_wrongly_is_one_line_and_nothing_is_written(
    mine: Path, here: Callable[..., Here], options: list[str], words: str
) -> None:
    done = here("study", "operators", *SMALL, *options, "-o", "run")
    assert done.returncode == 2 and words in done.stderr and done.stderr.strip().count("\n") == 0
    assert not (mine / "run").exists()


def test_everything_that_can_be_given_is_listed(here: Callable[..., Here]) -> None:
    kinds = here("list", "classifiers").stdout
    assert all(form in kinds for form in ("mnist95", "DIR/", "onnx:FILE", "https://HOST/PATH", "pkg.mod:attr"))
    assert "class_names" in here("list", "classifier-settings").stdout
