"""The program as a user meets it: whole commands in a process of their own, their words and exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evofool.classifiers import SHIPPED

PROGRAM = [sys.executable, "-c", "from evofool.cli import main; main()"]
SMALL = [
    "--data",
    "digits",
    "--seeds",
    "2",
    "--scenarios",
    "FPS_AC_SM",
    "--set",
    "population=40",
    "--set",
    "generations=2",
]


def evofool(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=300, env=environment, **options
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("cli") / "run"
    return out, evofool("study", "operators", *SMALL, "--workers", "1", "-o", str(out))


def test_a_study_ends_with_its_findings_and_its_report(study) -> None:
    out, done = study
    assert done.returncode == 0, done.stderr
    assert "2 arms on digits, 2 seeds: 480 queries, about" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.strip().endswith(f"report: {out / 'report.html'}")
    assert done.stdout.startswith("• ")
    assert {p.name for p in out.iterdir()} == {
        "figures",
        "images",
        "tables",
        "report.html",
        "study.json",
        "timings.json",
    }
    assert not list(out.rglob(".*")), "temporary files are left behind"


def test_the_report_written_anew_is_the_same_bytes(study) -> None:
    out, _ = study
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert len(before) > 10
    (out / "report.html").unlink()
    assert evofool("report", str(out)).returncode == 0
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_the_recorded_command_repeats_the_study(study, tmp_path) -> None:
    out, _ = study
    command = json.loads((out / "study.json").read_text())["command"].split()
    assert command[0] == "evofool" and command[-2:] == ["-o", "DIR"]
    done = evofool(*command[1:-1], str(tmp_path / "again"), "--quiet", "--workers", "2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "again" / "study.json").read_bytes() == (out / "study.json").read_bytes()


def test_json_gives_one_line_on_stdout(tmp_path) -> None:
    done = evofool(
        "study", "operators", *SMALL, "--judge", "none", "--workers", "1", "--json", "-o", str(tmp_path / "j")
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1 and summary["queries"] == 480 and summary["findings"]


def test_a_dry_run_writes_nothing(tmp_path) -> None:
    done = evofool("study", "operators", *SMALL, "--dry-run", "-o", str(tmp_path / "dry"))
    assert done.returncode == 0 and "480 queries" in done.stderr
    assert not (tmp_path / "dry").exists()


def test_train_then_study_with_the_trained_classifier(tmp_path) -> None:
    done = evofool("train", "--data", "digits", "--target-accuracy", "0.8", "--seed", "5", "-o", str(tmp_path / "mine"))
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "mine" / "card.json").read_text())
    assert card["held_out_accuracy"] >= 0.8 and card["accuracy"] > 0.6
    assert card["command"] == (
        "evofool train --data digits --architecture small_cnn --seed 5 --target-accuracy 0.8 -o mine"
    )
    done = evofool(
        "study",
        "operators",
        *SMALL,
        "--classifier",
        str(tmp_path / "mine"),
        "--workers",
        "1",
        "-o",
        str(tmp_path / "s"),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "kind", ["operators", "scenarios", "parts", "classifiers", "architectures", "data", "settings"]
)
def test_everything_that_can_be_listed_has_a_line_about_it(kind: str) -> None:
    lines = evofool("list", kind).stdout.splitlines()
    assert len(lines) >= 2
    for line in lines:
        assert len(line.split(maxsplit=1)) == 2, line


def test_version_and_help() -> None:
    assert evofool("--version").stdout.startswith("evofool ")
    for verb in ([], ["train"], ["study"], ["study", "operators"], ["report"], ["list"]):
        done = evofool(*verb, "--help")
        assert done.returncode == 0 and "Usage" in done.stdout


def wrong(tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    """Mistakes a user makes, and what the answer has to name."""
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    changed = tmp_path / "changed"
    shutil.copytree(SHIPPED / "digits", changed)
    weights = bytearray((changed / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (changed / "weights.safetensors").write_bytes(weights)
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(SHIPPED / "digits" / "card.json", bare)
    one_class = tmp_path / "one" / "cat"
    one_class.mkdir(parents=True)
    from PIL import Image

    Image.new("L", (28, 28)).save(one_class / "a.png")
    colour = tmp_path / "colour"
    for name in ("a", "b"):
        (colour / name).mkdir(parents=True)
        Image.new("RGB", (28, 28)).save(colour / name / "x.png")
    (tmp_path / "empty").mkdir()

    def other(name: str) -> list[str]:
        return ["study", "operators", "--data", str(tmp_path / name), "--classifier", "digits"]

    (tmp_path / "cut.idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0\0\x09")
    digits = ["study", "operators", "--data", "digits"]
    return {
        "full directory": ([*digits, "-o", str(full)], "not empty"),
        "file for a directory": ([*digits, "-o", str(full / "notes.txt")], "a file of this name"),
        "too few images": ([*digits, "--set", "population=5000"], "1000 test images for a population of 5000"),
        "tournament": ([*digits, "--set", "population=10"], "tournament of 20"),
        "elites": ([*digits, "--set", "elites=1000"], "1000 elites"),
        "unknown setting": ([*digits, "--set", "p_mutaton=0.1"], "did you mean 'p_mutation'"),
        "no value": ([*digits, "--set", "p_mutation"], "expected NAME=VALUE"),
        "twice": ([*digits, "--set", "p_mutation=0.1", "--set", "p_mutation=0.2"], "given twice"),
        "probability": ([*digits, "--set", "p_crossover=2"], "p_crossover"),
        "unknown scenario": ([*digits, "--scenarios", "FPS_AC_MS"], "did you mean 'FPS_AC_SM'"),
        "unknown part": ([*digits, "--parts", "controls,juge"], "did you mean 'judge'"),
        "unknown classifier": ([*digits, "--classifier", "digit"], "did you mean 'digits'"),
        "changed weights": ([*digits, "--classifier", str(changed)], "changed"),
        "card without weights": ([*digits, "--classifier", str(bare)], "weights.safetensors"),
        "unknown data": (other("nowhere"), "nowhere"),
        "empty folder": (other("empty"), "empty"),
        "one class": (other("one"), "one"),
        "other shape": (other("colour"), "(3, 28, 28)"),
        "cut file": (other("cut.idx3-ubyte"), "cut.idx3-ubyte"),
        "no classifier": (["study", "operators", "--data", str(colour)], "--classifier"),
        "no seeds": ([*digits, "--seeds", "0"], "seeds = 0"),
        "no workers": ([*digits, "--workers", "0"], "workers 0"),
        "architecture": (["train", "--data", "digits", "--architecture", "smal_cnn"], "did you mean 'small_cnn'"),
        "target": (["train", "--data", "digits", "--target-accuracy", "95"], "95"),
        "no test images": (["train", "--data", str(colour)], "no test images apart"),
        "nothing to report": (["report", str(full)], "no study.json"),
        "unknown kind": (["list", "oprators"], "did you mean 'operators'"),
    }  # fmt: skip


def test_each_mistake_gets_one_line_exit_code_2_and_leaves_nothing(tmp_path) -> None:
    for name, (arguments, words) in wrong(tmp_path).items():
        out = tmp_path / "out"
        if "-o" not in arguments and arguments[0] not in ("report", "list"):
            arguments = [*arguments, "-o", str(out)]
        done = evofool(*arguments, "--quiet") if arguments[0] not in ("list",) else evofool(*arguments)
        lines = done.stderr.strip().splitlines()
        assert done.returncode == 2, f"{name}: exit code {done.returncode}, {done.stderr}"
        assert len(lines) == 1 and lines[0].startswith("evofool: "), f"{name}: {done.stderr}"
        assert words in lines[0], f"{name}: {lines[0]}"
        assert not out.exists(), f"{name}: something was written"


def test_ctrl_c_is_one_line_and_130_and_leaves_nothing(tmp_path) -> None:
    arguments = [
        "study",
        "operators",
        "--data",
        "digits",
        "--seeds",
        "10",
        "--workers",
        "2",
        "-o",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(
        [*PROGRAM, *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
        env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip
    assert process.stderr is not None
    head = process.stderr.readline()
    while "queries, about" not in head:  # the study has begun
        head = process.stderr.readline()
        assert head, "the study ended before it began"
    time.sleep(1.0)
    assert process.poll() is None, "the study was over before it could be stopped"
    os.killpg(process.pid, signal.SIGINT)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert rest.strip().splitlines()[-1] == "evofool: stopped by Ctrl-C"
    assert not (tmp_path / "out").exists()


def test_numbers_outlive_a_report_that_cannot_be_written(tmp_path) -> None:
    """A fault while the report is drawn must not cost the study."""
    program = (
        "import evofool.reports.html as html\n"
        "def fail(*arguments, **named): raise RuntimeError('planted')\n"
        "html.write = fail\n"
        "from evofool.cli import main; main()"
    )
    arguments = ["study", "operators", *SMALL, "--judge", "none", "--workers", "1", "-o", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "planted" in done.stderr
    assert f"`evofool report {tmp_path / 'run'}`" in done.stderr
    assert evofool("report", str(tmp_path / "run")).returncode == 0
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
