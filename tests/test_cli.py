"""The program as a user meets it: whole commands in a process of their own, their words and exit codes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from evofool import rundir
from evofool.classifiers import SHIPPED
from evofool.cli import app
from evofool.data import load_data
from evofool.rundir import RunDirectory

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


class Here(NamedTuple):
    """What a command did that was run in this process, which costs a hundredth of one of its own."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def here(capsys) -> Callable[..., Here]:
    def run(*arguments: str) -> Here:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(list(arguments))
        return Here(int(ended.value.code or 0), *capsys.readouterr())

    return run


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
        "run.json",
        "ledger.sqlite",
        "findings.jsonl",
        "manifest.json",
        "lock",
        "workers",
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
    assert done.stdout.count("\n") == 1 and summary["queries"] + summary["repeated"] == 480 and summary["findings"]


def test_a_dry_run_writes_nothing(tmp_path, here) -> None:
    done = here("study", "operators", *SMALL, "--dry-run", "-o", str(tmp_path / "dry"))
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
def test_everything_that_can_be_listed_has_a_line_about_it(kind: str, here) -> None:
    lines = here("list", kind).stdout.splitlines()
    assert len(lines) >= 2
    for line in lines:
        assert len(line.split(maxsplit=1)) == 2, line


def test_version_and_help(here) -> None:
    assert evofool("--version").stdout.startswith("evofool ")
    for verb in (
        [],
        ["train"],
        ["study"],
        ["study", "operators"],
        ["report"],
        ["list"],
        ["resume"],
        ["verify"],
        ["replay"],
        ["export"],
    ):
        done = here(*verb, "--help")
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
        "budget": ([*digits, "--budget", "0"], "a budget of 0 queries"),
        "total budget": ([*digits, "--total-budget", "7"], "a budget of 0 queries"),
        "all to confirm": ([*digits, "--budget", "3", "--confirm", "3"], "3 of them set aside to confirm"),
        "confirm": ([*digits, "--confirm", "-1"], "confirm = -1"),
        "no run to resume": (["resume", str(full)], "no run there"),
        "no run to verify": (["verify", str(tmp_path / "nowhere")], "no run there"),
        "no finding": (["replay", str(full)], "expected RUN#N"),
        "no run to replay": (["replay", f"{full}#1"], "no run there"),
        "unknown form": (["export", str(full), "--to", "csv"], "no run there"),
        "no folder of runs": (["list", "runs", str(tmp_path / "nowhere")], "no such folder"),
        "unknown kind": (["list", "oprators"], "did you mean 'operators'"),
    }  # fmt: skip


def test_each_mistake_gets_one_line_exit_code_2_and_leaves_nothing(tmp_path, here) -> None:
    for name, (arguments, words) in wrong(tmp_path).items():
        out = tmp_path / "out"
        if "-o" not in arguments and arguments[0] in ("study", "train"):
            arguments = [*arguments, "-o", str(out)]
        done = here(*arguments, *(["--quiet"] if arguments[0] not in ("list", "replay") else []))
        lines = done.stderr.strip().splitlines()
        assert done.returncode == 2, f"{name}: exit code {done.returncode}, {done.stderr}"
        assert len(lines) == 1 and lines[0].startswith("evofool: "), f"{name}: {done.stderr}"
        assert words in lines[0], f"{name}: {lines[0]}"
        assert not out.exists(), f"{name}: something was written"


def started(out: Path, *arguments: str) -> subprocess.Popen[str]:
    """A study that has begun to evolve."""
    process = subprocess.Popen(
        [*PROGRAM, "study", "operators", "--data", "digits", "--seeds", "10", *arguments, "-o", str(out)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
        env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip
    assert process.stderr is not None
    head = process.stderr.readline()
    while "queries, about" not in head:
        assert head, "the study ended before it began"
        head = process.stderr.readline()
    return process


def charged(out: Path) -> int:
    """Queries of searches so far."""
    with contextlib.closing(sqlite3.connect(f"{(out / 'ledger.sqlite').as_uri()}?mode=ro", uri=True)) as ledger:
        return ledger.execute("SELECT total(issued) FROM accounts WHERE search LIKE '%/%/%'").fetchone()[0]


def wait_for(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.05)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("number", "code", "words"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_signal_saves_the_run_and_says_how_to_go_on(tmp_path, workers, number, code, words, here) -> None:
    out = tmp_path / "out"
    process = started(out, "--workers", workers, "--scenarios", "FPS_AC_SM", "--set", "generations=200")
    wait_for(lambda: charged(out) > 0)
    assert process.poll() is None, "the study was over before it could be stopped"
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == code, rest
    assert "Traceback" not in rest
    assert rest.strip().splitlines()[-1] == f"evofool: stopped by {words}; go on with: evofool resume {out}"
    assert (out / "manifest.json").is_file() and not (out / "study.json").exists()
    assert rundir.damage(out) == []
    listed = here("list", "runs", str(tmp_path)).stdout
    assert "unfinished: evofool resume" in listed
    assert here("report", str(out)).returncode == 2


def test_a_run_that_was_killed_twice_ends_as_one_that_was_not(tmp_path, study, here) -> None:
    whole, _ = study
    out = tmp_path / "out"
    arguments = [*PROGRAM, "study", "operators", *SMALL, "--workers", "2", "-o", str(out)]
    killed = 0
    for seconds in (0.0, 0.3):
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_until_asked(process, out, charged(out) if killed else 0)
        time.sleep(seconds)
        killed += process.poll() is None
        process.kill()
        process.wait()
        arguments = [*PROGRAM, "resume", str(out), "--workers", "2"]
    assert killed, "the study was over before it could be killed"
    done = evofool("resume", str(out), "--workers", "1")
    assert done.returncode == 0, done.stderr
    one, other = (json.loads((run / "study.json").read_text()) for run in (whole, out))
    assert one.pop("ledger")["kills"] == 0 and other.pop("ledger")["kills"] >= 1
    assert json.dumps(one) == json.dumps(other)
    for name in ("findings.jsonl", *(path.relative_to(whole).as_posix() for path in (whole / "images").iterdir())):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert here("verify", str(out)).returncode == 0
    again = here("resume", str(out))
    assert again.returncode == 0 and "nothing is left to do" in again.stderr


def _wait_until_asked(process: subprocess.Popen[bytes], out: Path, before: int) -> None:
    def asked() -> bool:
        with contextlib.suppress(sqlite3.Error):
            return charged(out) > before
        return False

    wait_for(lambda: asked() or process.poll() is not None)


def test_verify_and_replay_ask_again_on_an_account_of_their_own(study, tmp_path, here) -> None:
    out = tmp_path / "copy"
    shutil.copytree(study[0], out)
    before = (out / "ledger.sqlite").read_bytes()
    found = rundir.findings(out)
    assert found, "nothing was fooled"
    done = here("verify", str(out))
    assert done.returncode == 0, done.stderr
    assert f"{len(found)} of {len(found)} findings fool again, {len(found)} of them with the same scores" in done.stdout
    assert f"{len(found)} queries, counted apart" in done.stdout
    replayed = here("replay", f"{out}#1", "--json")
    assert replayed.returncode == 0 and json.loads(replayed.stdout)["same_scores"] is True
    assert f"{len(found) + 1 + len(found)} queries" in here("verify", str(out)).stdout
    assert (out / "ledger.sqlite").read_bytes() == before


def test_a_finding_that_does_not_fool_any_more_is_told(study, tmp_path, here) -> None:
    out = tmp_path / "copy"
    shutil.copytree(study[0], out)
    lines = [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]
    lines[0]["prediction"] = (lines[0]["prediction"] + 1) % 10
    (out / "findings.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert here("replay", f"{out}#1").returncode == 1
    done = here("verify", str(out))  # and that the file is another one is seen without asking
    assert done.returncode == 4 and "findings.jsonl: its bytes have changed" in done.stdout


def test_images_are_written_nowhere_else(study, tmp_path, here) -> None:
    """A result that somebody prepared, with a right digest, names a file outside of the run."""
    out, victim = tmp_path / "copy", tmp_path / "victim.png"
    shutil.copytree(study[0], out)
    victim.write_bytes(b"precious")
    (out / "manifest.json").unlink()
    (out / "report.html").unlink()
    with contextlib.closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        changed = 0
        for name, value in ledger.execute("SELECT name, value FROM results").fetchall():
            result = json.loads(value)
            if result.get("gallery"):
                result["gallery"]["about"]["file"] = "../victim.png"
                text = json.dumps(result)
                digest = hashlib.sha256(json.dumps([name, text]).encode()).hexdigest()
                changed += ledger.execute(
                    "UPDATE results SET value = ?, digest = ? WHERE name = ?", (text, digest, name)
                ).rowcount
        ledger.commit()
    assert changed, "there is no gallery to change"
    done = here("resume", str(out), "--workers", "1", "--quiet")
    assert done.returncode == 4 and "expected images/NAME.png" in done.stderr
    assert victim.read_bytes() == b"precious"


def test_a_report_is_not_written_through_a_link(study, tmp_path, here) -> None:
    out, victim = tmp_path / "copy", tmp_path / "victim"
    shutil.copytree(study[0], out)
    victim.mkdir()
    shutil.rmtree(out / "figures")
    (out / "figures").symlink_to(victim)
    done = here("report", str(out))
    assert done.returncode == 4 and "is a link" in done.stderr
    assert not list(victim.iterdir())


def test_a_run_that_somebody_works_on_is_left_alone(study, tmp_path, here) -> None:
    out = tmp_path / "copy"
    shutil.copytree(study[0], out)
    with RunDirectory.open(out):
        for verb in ("verify", "report", "resume"):
            done = here(verb, str(out))
            assert done.returncode == 2 and "works on this run" in done.stderr, verb
        assert "running" in here("list", "runs", str(tmp_path)).stdout


def test_books_of_checks_that_are_damaged_do_not_stand_in_the_way(study, tmp_path, here) -> None:
    out = tmp_path / "copy"
    shutil.copytree(study[0], out)
    (out / "checks.sqlite").write_bytes(b"no database" * 100)
    assert here("replay", f"{out}#1").returncode == 0
    assert (out / "checks.sqlite-damaged").read_bytes() == b"no database" * 100
    assert here("verify", str(out)).returncode == 0


def test_what_other_people_wrote_does_not_reach_the_terminal(study, tmp_path, here) -> None:
    out = tmp_path / "copy"
    shutil.copytree(study[0], out)
    (out / "images" / "\x1b[2Jhello.png").write_bytes(b"")
    done = here("verify", str(out))
    assert done.returncode == 4 and "hello.png: is not in the manifest" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_findings_are_not_asked_of_another_classifier_or_beyond_its_classes(study, tmp_path, here) -> None:
    out = tmp_path / "copy"
    shutil.copytree(study[0], out)
    (out / "manifest.json").unlink()
    lines = [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]
    (out / "findings.jsonl").write_text(json.dumps({**lines[0], "label": 10}) + "\n")
    done = here("verify", str(out))
    assert done.returncode == 4 and "names a class that digits does not have" in done.stderr
    (out / "findings.jsonl").write_text(json.dumps(lines[0]) + "\n")
    before = json.loads((out / "run.json").read_text())["classifiers"]
    sign(out, classifiers={"digits": {**before["digits"], "fingerprint": "00"}})
    for verb in (["verify", str(out)], ["replay", f"{out}#1"]):
        done = here(*verb)
        assert done.returncode == 2 and "another fingerprint than the classifier that was fooled" in done.stderr
    sign(out, classifiers=before)
    assert here("replay", f"{out}#1").returncode == 0
    unknown = here("replay", f"{out}#7")
    assert unknown.returncode == 2 and "has 1 to 1" in unknown.stderr


def test_a_class_that_cannot_be_a_folder_is_not_made_one(study, tmp_path, here) -> None:
    out = tmp_path / "copy"
    shutil.copytree(study[0], out)
    text = (out / "study.json").read_text()
    names = json.loads(text)["class_names"]
    (out / "study.json").write_text(text.replace(json.dumps(names), json.dumps([f"../../{name}" for name in names])))
    done = here("export", str(out), "--to", "imagefolder", "-o", str(tmp_path / "a" / "b" / "c"))
    assert done.returncode == 2 and "cannot be the name of a folder" in done.stderr
    assert not (tmp_path / "a").exists()


def test_what_a_run_holds_can_be_taken_elsewhere(study, tmp_path, here) -> None:
    out, _ = study
    found = rundir.findings(out)
    assert found, "nothing was fooled"
    for to, table in (("csv", "findings"), ("jsonl", "generations"), ("parquet", "accounts"), ("csv", "accounts")):
        assert (
            here("export", str(out), "--to", to, "--table", table, "-o", str(tmp_path / f"{table}.{to}")).returncode
            == 0
        )
    rows = (tmp_path / "findings.csv").read_text().splitlines()
    assert len(rows) == 1 + len(found) and rows[0].startswith("number,file,sha256")
    generations = [json.loads(line) for line in (tmp_path / "generations.jsonl").read_text().splitlines()]
    assert len(generations) == 2 * 2 * 3 and generations[0]["generation"] == 0
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "accounts.parquet").to_pylist()
    assert {row["account"] for row in table} >= {"FPS_AC_SM/digits/0", "RND_AC_SM/digits/1"}
    for to, name in (("npz", "found.npz"), ("imagefolder", "found")):
        assert here("export", str(out), "--to", to, "-o", str(tmp_path / name)).returncode == 0
        images = load_data(str(tmp_path / name), split="test")
        assert len(images) == len(found)
        first = next(f for f in found if to == "npz" or f.label == min(g.label for g in found))
        assert torch.equal(images.images[0], rundir.image_of(out, first))
    taken = here("export", str(out), "--to", "npz", "-o", str(tmp_path / "found.npz"))
    assert taken.returncode == 2 and "is there already" in taken.stderr


def test_a_budget_ends_searches_and_the_report_says_so(tmp_path, here) -> None:
    out = tmp_path / "run"
    done = here("study", "operators", *SMALL, "--judge", "none", "--workers", "1", "--budget", "60", "-o", str(out))
    assert done.returncode == 0, done.stderr
    study = json.loads((out / "study.json").read_text())
    searches = {name: count for name, count in study["ledger"]["searches"].items() if name.count("/") == 2}
    assert len(searches) == 4 and all(count["issued"] == 60 for count in searches.values())
    assert [run["ended"] for run in study["runs"]] == [0] * 4
    assert "The budget of 60 queries ended 4 of 4 runs after generation 0" in (out / "report.html").read_text()
    assert "--budget 60" in study["command"]


def test_confirmed_findings_are_paid_from_the_budget(tmp_path, here) -> None:
    out = tmp_path / "run"
    arguments = ["--judge", "none", "--workers", "1", "--budget", "83", "--confirm", "3"]
    assert here("study", "operators", *SMALL, *arguments, "-o", str(out)).returncode == 0
    found = rundir.findings(out)
    assert found and {finding.confirmed for finding in found} == {3}, "nothing was fooled"
    study = json.loads((out / "study.json").read_text())
    for finding in found:
        assert study["ledger"]["searches"][f"{finding.arm}/{finding.classifier}/{finding.seed}"]["issued"] <= 83
    for name, count in study["ledger"]["searches"].items():
        fooled = any(name == f"{f.arm}/{f.classifier}/{f.seed}" for f in found)
        assert name.count("/") != 2 or count["issued"] == 80 + 3 * fooled


def test_a_run_is_not_resumed_with_something_else_unless_drift_is_allowed(tmp_path, here) -> None:
    out = tmp_path / "run"
    process = started(out, "--workers", "1", *SMALL[4:], "--judge", "none", "--set", "elites=1")
    process.kill()
    process.wait()
    head = json.loads((out / "run.json").read_text())
    for key, value, words in (
        ("code", "00", "the code of evofool"),
        ("versions", {**head["versions"], "torch": "1.0"}, "torch 1.0, now"),
        ("data", {"name": "digits", "fingerprint": "00"}, "the images of digits"),
        ("classifiers", {"digits": {**head["classifiers"]["digits"], "micro_batch": 7}}, "micro-batch of digits"),
    ):
        sign(out, **{**head, key: value})
        refused = here("resume", str(out))
        assert refused.returncode == 2 and words in refused.stderr and "--allow-drift" in refused.stderr
    allowed = here("resume", str(out), "--allow-drift", "--workers", "1")
    assert allowed.returncode == 0, allowed.stderr
    assert json.loads((out / "study.json").read_text())["ledger"]["drift"] == ["micro-batch of digits"]
    assert (
        "Not everything stayed as it was when the run began: micro-batch of digits" in (out / "report.html").read_text()
    )


def sign(path: Path, **changes) -> None:
    """Change run.json so that nobody can see it."""
    head = {**json.loads((path / "run.json").read_text()), **changes}
    del head["digest"]
    head["digest"] = hashlib.sha256(json.dumps(head, sort_keys=True).encode()).hexdigest()
    (path / "run.json").write_text(json.dumps(head))


def hostile(tmp_path: Path, run: Path) -> dict[str, tuple[Path, int, str]]:
    """Run directories that somebody else prepared: what `resume` and `verify` have to say."""
    made: dict[str, tuple[Path, int, str]] = {}

    def copy(name: str, code: int, words: str) -> Path:
        path = tmp_path / name
        shutil.copytree(run, path)
        (path / "manifest.json").unlink()
        (path / "report.html").unlink()
        made[name] = (path, code, words)
        return path

    sign(copy("older", 4, "evofool-run/0"), format="evofool-run/0")
    sign(copy("newer", 4, "evofool-run/9"), format="evofool-run/9")
    sign(copy("foreign kind", 4, "unknown kind of run '../../os'"), kind="../../os")
    sign(copy("unknown setting", 4, "unknown setting 'shell'"), config={"shell": "rm"})
    sign(copy("wrong type", 4, "config.seeds"), config={"seeds": "many"})
    config = json.loads((run / "run.json").read_text())["config"]
    sign(copy("other classifier", 2, "nowhere"), config={**config, "classifiers": ["nowhere"]})
    (copy("pickle", 4, "not JSON") / "run.json").write_bytes(
        b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94."
    )
    (copy("deep", 4, "not JSON") / "run.json").write_text("[" * 200_000)
    with open(copy("huge", 4, "expected at most") / "run.json", "r+b") as file:
        file.truncate(60_000_000)
    (copy("foreign ledger", 4, "not the ledger") / "ledger.sqlite").unlink()
    with contextlib.closing(sqlite3.connect(tmp_path / "foreign ledger" / "ledger.sqlite")) as other:
        other.execute("CREATE TABLE mine (a)")
    (copy("no database", 4, "damaged") / "ledger.sqlite").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    linked = copy("link", 4, "is a link")
    (linked / "ledger.sqlite").rename(tmp_path / "elsewhere.sqlite")
    (linked / "ledger.sqlite").symlink_to(tmp_path / "elsewhere.sqlite")
    (copy("changed head", 4, "has changed") / "run.json").write_text(
        (run / "run.json").read_text().replace("FPS", "TS")
    )
    (copy("empty head", 4, "not JSON") / "run.json").write_bytes(b"")
    return made


def test_hostile_run_directories_get_one_line_and_nothing_is_overwritten(study, tmp_path, here) -> None:
    for name, (path, code, words) in hostile(tmp_path, study[0]).items():
        before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name not in ("lock", "workers")}
        for verb in (
            ("resume", "verify")
            if code == 4 and name not in ("foreign kind", "unknown setting", "wrong type")
            else ("resume",)
        ):
            done = here(verb, str(path), "--quiet")
            lines = done.stderr.strip().splitlines()
            assert done.returncode == code, f"{name}, {verb}: exit code {done.returncode}, {done.stderr}"
            assert len(lines) == 1 and lines[0].startswith("evofool: "), f"{name}, {verb}: {done.stderr}"
            assert words in lines[0] + done.stdout, f"{name}, {verb}: {lines[0]}"
        after = {p: p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name not in ("lock", "workers")}
        assert before == after, f"{name}: something was written"


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
    assert f"evofool resume {tmp_path / 'run'}" in done.stderr
    assert evofool("report", str(tmp_path / "run")).returncode == 0
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
