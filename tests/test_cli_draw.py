"""`evofool draw` as a user meets it, and what its runs need of resume, verify, replay, export, report and list."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ink_nets
from evofool import rundir
from evofool.data import load_data
from faults_program import NAMES
from remote import faults_server, tally
from test_cli import PROGRAM, Here, evofool, here, sign, wait_for
from test_cli_endpoint import CANARY, Endpoint, endpoint

__all__ = ["endpoint", "here"]  # fixtures


def on(net: str) -> list[str]:
    """Draw cats on one of the small networks."""
    return ["draw", "--classifier", f"ink_nets:{net}", "--trust-code", "--workers", "1", "--target", "cat"]


EDGES = on("edges")
SHORT = ["--runs", "2", "--population", "10", "--generations", "20"]
FROM_FILE = ["draw", "--classifier", f"{ink_nets.FILE}:deadly", "--trust-code", "--target", "cat", "--workers", "1"]


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Two sevens, by a program of its own."""
    out = tmp_path_factory.mktemp("draw") / "run"
    words = ["--classifier", "digits", "--target", "7", "--confidence", "0.9", "--workers", "1", *SHORT[:2]]
    return out, evofool("draw", *words, "--population", "20", "--generations", "60", "-o", str(out))


@pytest.fixture
def short_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of one line, where a test is of something else: drawing the figures takes seconds."""

    def write(results: Any, directory: Path) -> Path:
        (directory / "report.html").write_text(f"{len(results.runs)} runs")
        return directory / "report.html"

    monkeypatch.setattr("evofool.reports.drawing.write", write)


@pytest.fixture
def copy(drawing: tuple[Path, Any], tmp_path: Path) -> Path:
    shutil.copytree(drawing[0], tmp_path / "copy")
    return tmp_path / "copy"


def study(path: Path) -> dict[str, Any]:
    return json.loads((path / "study.json").read_text())


def test_drawing_ends_with_its_findings_and_its_report(drawing: tuple[Path, Any]) -> None:
    out, done = drawing
    assert done.returncode == 0, done.stderr
    assert (
        "2 runs on digits, 28 x 28 pixels, to 7 at 90%: at most 2,441 queries, one of the blank canvas" in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("• Both runs made digits say 7 at 90% or more")
    assert done.stdout.strip().endswith(f"report: {out / 'report.html'}")
    assert {p.name for p in out.iterdir()} == {
        "figures", "images", "tables", "report.html", "study.json", "timings.json", "run.json", "ledger.sqlite",
        "findings.jsonl", "manifest.json", "lock", "workers",
    }  # fmt: skip
    assert not list(out.rglob(".*")), "temporary files are left behind"


@pytest.mark.usefixtures("short_report")
def test_the_recorded_command_repeats_the_drawing(drawing: tuple[Path, Any], tmp_path: Path, here: Any) -> None:
    out = drawing[0]
    command = study(out)["command"].split()
    assert command[:2] == ["evofool", "draw"] and command[-2:] == ["-o", "DIR"]
    again = here(*command[1:-1], str(tmp_path / "again"), "--quiet", "--workers", "1")
    assert again == (0, "", "")
    for name in ("study.json", "findings.jsonl", "images/finding_00001.png"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes(), name


@pytest.mark.usefixtures("short_report")
def test_every_option_stands_in_the_recorded_command(tmp_path: Path, here: Any) -> None:
    """So that it repeats what was drawn: told once more by its own words, it says the same."""
    options = [
        "--preset", "question", "--crossover", "columns", "--mutation", "per-image", "--lambda", "0.002", "--measure",
        "margin", "--region", "center:0.5@0-3", "--region", "border:4@4-", "--size", "12x14", "--canvas", "0.25",
        "--ink", "0.75", "--p-crossover", "0.7", "--p-mutation", "0.5", "--stop", "--no-shrink", "--budget", "90",
        "--total-budget", "170", "--no-cache", "--confirm", "1", "--confidence", "0.5",
    ]  # fmt: skip
    done = here(*EDGES, *SHORT, *options, "-q", "-o", str(tmp_path / "one"))
    assert done.returncode == 0, done.stderr
    one = study(tmp_path / "one")
    words = one["command"].split()
    for option in options[::2]:
        assert not option.startswith("--") or option in words, option
    again = here(*words[1:-1], str(tmp_path / "two"), "-q", "--workers", "1")
    assert again.returncode == 0, again.stderr
    two = study(tmp_path / "two")
    assert two == one
    assert two["config"]["size"] == [12, 14] and two["config"]["budget"] == 90 and not two["config"]["cache"]
    for goal, option in (("boundary", "--at-boundary"), ("front", "--front")):
        assert here(*EDGES, *SHORT, option, "-q", "-o", str(tmp_path / goal)).returncode == 0
        assert option in study(tmp_path / goal)["command"].split()
        assert study(tmp_path / goal)["config"]["goal"] == goal


@pytest.mark.usefixtures("short_report")
def test_json_gives_one_line_on_stdout(tmp_path: Path, here: Any) -> None:
    done = here(*EDGES, *SHORT, "--json", "-o", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1 and summary["runs"] == summary["reached"] == 2 and summary["findings"]
    whole = study(tmp_path / "run")
    counts = whole["ledger"]["searches"]
    asked = sum(counts[name]["issued"] for name in counts if name.startswith("draw/"))
    assert len(counts) == 3 and summary["queries"] == asked, "the blank canvas is no query of a run"
    for row, run in zip(summary["drawings"], whole["runs"], strict=True):
        assert row["places"] == run["shrunk"]["picture"]["places"] and row["ink"] == len(row["places"])


def test_a_dry_run_writes_nothing(tmp_path: Path, here: Any) -> None:
    done = here(*EDGES, *SHORT, "--dry-run", "-o", str(tmp_path / "run"))
    assert done.returncode == 0 and "at most 421 queries" in done.stderr and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("net", "options", "words"),
    [
        ("already", [], "Nothing had to be drawn: the canvas without ink is at the goal already"),
        ("hopeless", [], "None of 2 runs"),
        ("hopeless", ["--front"], "None of 2 runs"),
    ],
)
def test_nothing_to_do_and_nothing_to_be_done_are_said(
    net: str, options: list[str], words: str, tmp_path: Path, here: Any
) -> None:
    done = here(*on(net), *SHORT, *options, "-o", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert words in done.stdout, done.stdout
    assert here("report", str(tmp_path / "run")).returncode == 0
    verified = here("verify", str(tmp_path / "run"), "--trust-code")
    assert verified.returncode == 0 and ("2 images" if net == "already" else "0 images") in verified.stdout


# ---- verbs over runs


def test_the_report_written_anew_is_the_same_bytes(copy: Path, here: Any) -> None:
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file() and p.suffix in (".html", ".svg", ".csv")}
    assert len(before) > 3
    (copy / "report.html").unlink()
    assert here("report", str(copy)).returncode == 0
    assert {p: p.read_bytes() for p in before} == before
    assert here("verify", str(copy), "--offline").returncode == 0


def test_verify_and_replay_ask_again(copy: Path, here: Any) -> None:
    done = here("verify", str(copy))
    assert done.returncode == 0, done.stderr
    assert "2 of 2 findings fool again, 2 of them with the same scores bit for bit" in done.stdout
    replayed = here("replay", f"{copy}#1", "--json")
    assert replayed.returncode == 0, replayed.stderr
    check = json.loads(replayed.stdout)
    assert check["same_scores"] is True and (check["prediction"], check["now"], check["label"]) == (
        "7",
        "7",
        "no class",
    )
    assert here("replay", f"{copy}#3").returncode == 2


@pytest.mark.usefixtures("short_report")
def test_a_drawing_of_another_size_can_be_asked_about_again(tmp_path: Path, here: Any) -> None:
    out = tmp_path / "run"
    words = ["draw", "--classifier", "digits", "--target", "3", "--runs", "1", "--population", "20", "--generations",
             "60", "--confidence", "0.6", "--size", "20x24", "--workers", "1", "-q"]  # fmt: skip
    assert here(*words, "-o", str(out)).returncode == 0
    assert Image.open(out / "images" / "finding_00001.png").size == (24, 20)
    done = here("verify", str(out))
    assert done.returncode == 0 and "1 of 1 findings fool again, 1 of them with the same scores" in done.stdout
    head = json.loads((out / "run.json").read_text())
    for variant in ({"size": [20, 24], "resize": "nearestt"}, {"shell": "rm"}):
        known = {**head["classifiers"]["digits"], "variant": variant}
        sign(out, classifiers={"digits": known})
        refused = here("replay", f"{out}#1")
        assert refused.returncode == 4 and "the variant of digits" in refused.stderr


def test_an_altered_picture_is_damage(copy: Path, here: Any) -> None:
    path = copy / "images" / "finding_00001.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] = 255 - pixels[0, 0]
    Image.fromarray(pixels).save(path)
    done = here("verify", str(copy))
    assert done.returncode == 4 and "images/finding_00001.png: its bytes have changed" in done.stdout
    assert here("replay", f"{copy}#1").returncode == 4


def test_another_classifier_is_refused(copy: Path, here: Any) -> None:
    before = json.loads((copy / "run.json").read_text())["classifiers"]["digits"]
    (copy / "manifest.json").unlink()
    sign(copy, classifiers={"digits": {**before, "fingerprint": "00"}})
    for verb in (["verify", str(copy)], ["replay", f"{copy}#1"]):
        done = here(*verb)
        assert done.returncode == 2 and "another fingerprint than the classifier that was fooled" in done.stderr


@pytest.mark.usefixtures("short_report")
def test_a_classifier_in_python_is_loaded_again_only_if_it_is_trusted(tmp_path: Path, here: Any) -> None:
    out = tmp_path / "run"
    assert here(*EDGES, *SHORT, "-q", "-o", str(out)).returncode == 0
    for verb in (["verify", str(out)], ["replay", f"{out}#1"]):
        refused = here(*verb)
        assert refused.returncode == 2 and "--trust-code" in refused.stderr
        assert here(*verb, "--trust-code").returncode == 0


def test_drawings_can_be_taken_elsewhere(drawing: tuple[Path, Any], tmp_path: Path, here: Any) -> None:
    out = drawing[0]
    for to, table in (("csv", "generations"), ("jsonl", "findings"), ("csv", "accounts"), ("parquet", "generations")):
        done = here("export", str(out), "--to", to, "--table", table, "-o", str(tmp_path / f"{table}.{to}"))
        assert done.returncode == 0, done.stderr
    whole, found = study(out), rundir.findings(out)
    with open(tmp_path / "generations.csv") as file:
        rows = list(csv.DictReader(file))
    told = [
        (run["seed"], g, ink) for run in whole["runs"] for g, ink in zip(run["generations"], run["ink"], strict=True)
    ]
    assert [(int(row["seed"]), int(row["generation"]), int(row["ink"])) for row in rows] == told
    assert len(found) == 2 and len((tmp_path / "findings.jsonl").read_text().splitlines()) == 2
    assert here("export", str(out), "--to", "imagefolder", "-o", str(tmp_path / "folder")).returncode == 0
    # What is drawn carries no class: it lies in the folder of the class that is seen.
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["7"]
    assert here("export", str(out), "--to", "npz", "-o", str(tmp_path / "all.npz")).returncode == 0
    images = load_data(str(tmp_path / "all.npz"), split="test")
    assert images.labels.tolist() == [7, 7] and torch.equal(images.images[1], rundir.image_of(out, found[1]))
    for file in (tmp_path / "folder" / "7").iterdir():
        assert file.read_bytes() == (out / "images" / file.name).read_bytes()


@pytest.mark.usefixtures("short_report")
def test_a_run_without_drawings_has_none_to_export(tmp_path: Path, here: Any) -> None:
    out = tmp_path / "run"
    assert here(*on("hopeless"), *SHORT, "-q", "-o", str(out)).returncode == 0
    for to in ("npz", "imagefolder", "csv"):
        done = here("export", str(out), "--to", to, "-o", str(tmp_path / to))
        assert done.returncode == 2 and "has no findings yet" in done.stderr and not (tmp_path / to).exists()
    assert here("export", str(out), "--to", "csv", "--table", "generations", "-o", str(tmp_path / "g")).returncode == 0


def test_export_of_a_kind_that_is_unknown(copy: Path, tmp_path: Path, here: Any) -> None:
    sign(copy, kind="../../os")
    for words in (["csv", "--table", "generations"], ["npz"]):
        done = here("export", str(copy), "--to", *words, "-o", str(tmp_path / "x"))
        assert done.returncode == 4 and "unknown kind of run" in done.stderr and not (tmp_path / "x").exists()


def test_runs_are_listed(drawing: tuple[Path, Any], here: Any) -> None:
    listed = here("list", "runs", str(drawing[0].parent)).stdout
    assert "draw, finished" in listed and "2 findings" in listed


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("presets", {"economical", "question"}),
        ("crossovers", {"rectangle", "columns", "list", "rows", "uniform", "union", "intersection", "single-point"}),
        ("ink-parts", {"where", "operators", "landscape", "padding", "position", "pipeline", "data", "transfer",
                       "schedule"}),
    ],
)  # fmt: skip
def test_what_can_be_said_to_draw_is_listed(kind: str, names: set[str], here: Any) -> None:
    lines = [line.split(maxsplit=1) for line in here("list", kind).stdout.splitlines()]
    assert {line[0] for line in lines} == names and all(len(line) == 2 for line in lines)


def test_a_finished_drawing_has_nothing_left_to_do(copy: Path, here: Any) -> None:
    done = here("resume", str(copy))
    assert done.returncode == 0 and "nothing is left to do" in done.stderr


# ---- stopped and killed


@pytest.mark.usefixtures("short_report")
def test_a_program_that_is_killed_is_resumed_to_the_same_end(
    tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*FROM_FILE, *SHORT, "--no-stop"]
    whole = here(*arguments, "-q", "-o", str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    monkeypatch.setenv(ink_nets.KILLER, "12")
    killed = evofool(*arguments, "-o", str(tmp_path / "run"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "unfinished: evofool resume" in here("list", "runs", str(tmp_path)).stdout
    assert here("report", str(tmp_path / "run")).returncode == 2
    refused = here("resume", str(tmp_path / "run"))
    assert refused.returncode == 2 and "--trust-code" in refused.stderr
    resumed = here("resume", str(tmp_path / "run"), "--workers", "1", "--trust-code")
    assert resumed.returncode == 0, resumed.stderr
    assert "0 of 1 shards are finished" in resumed.stderr and "1 kill, " in resumed.stderr
    one, two = (study(tmp_path / name) for name in ("whole", "run"))
    assert (one.pop("ledger")["kills"], two.pop("ledger")["kills"]) == (0, 1)
    assert json.dumps(one) == json.dumps(two)
    assert here("verify", str(tmp_path / "run"), "--trust-code").returncode == 0


def test_a_signal_saves_the_run_and_says_how_to_go_on(tmp_path: Path, here: Any) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [*PROGRAM, "draw", "--classifier", "digits", "--target", "7", "--runs", "10", "--generations", "5000",
         "--no-stop", "--workers", "1", "-o", str(out)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip
    wait_for(lambda: process.poll() is not None or charged(out) > 1000)
    assert process.poll() is None, "it was over before it could be stopped"
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 143, rest
    assert rest.strip().splitlines()[-1] == f"evofool: stopped by SIGTERM; go on with: evofool resume {out}"
    assert (out / "manifest.json").is_file() and not (out / "study.json").exists() and rundir.damage(out) == []


def charged(out: Path) -> int:
    address = f"{(out / 'ledger.sqlite').as_uri()}?mode=ro"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(address, uri=True)) as ledger:
        return int(ledger.execute("SELECT total(issued) FROM accounts WHERE search LIKE 'draw/%'").fetchone()[0])
    return 0


# ---- wrong input


def test_each_mistake_gets_one_line_exit_code_2_and_leaves_nothing(tmp_path: Path, here: Any) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    Image.new("L", (9, 10), 255).save(tmp_path / "other.png")
    Image.new("L", (10, 10), 0).save(tmp_path / "black.png")
    (tmp_path / "text.png").write_text("no image")
    nameless, colour = on("nameless"), on("colour")
    mistakes: dict[str, tuple[list[str], str]] = {
        "unknown target": ([*EDGES[:-2], "--target", "cta"], "did you mean 'cat'"),
        "class number": ([*EDGES[:-2], "--target", "2"], "no such class"),
        "negative class": ([*EDGES[:-2], "--target", "-1"], "no such class"),
        "no class names": (nameless, "gives its 2 classes no names"),
        "unknown classifier": (["draw", "--classifier", "digist", "--target", "7"], "did you mean 'digits'"),
        "unknown region": ([*EDGES, "--region", "centre:0.5"], "did you mean 'center'"),
        "region without numbers": ([*EDGES, "--region", "border"], "expected everywhere"),
        "empty region": ([*EDGES, "--region", "ring:7-9"], "has no pixel"),
        "empty mask": ([*EDGES, "--region", f"mask:{tmp_path / 'black.png'}"], "has no pixel"),
        "mask of another size": ([*EDGES, "--region", f"mask:{tmp_path / 'other.png'}"], "expected 10 x 10"),
        "mask that is none": ([*EDGES, "--region", f"mask:{tmp_path / 'text.png'}"], "is not an image"),
        "no mask": ([*EDGES, "--region", f"mask:{tmp_path / 'nowhere.png'}"], "No such file"),
        "empty later region": ([*EDGES, "--region", "border:2@0-5", "--region", "ring:8-9@6-"], "has no pixel"),
        "gap": ([*EDGES, "--region", "border:2@0-5", "--region", "ring:2-3@7-"], "begins in generation 7; expected 6"),
        "lambda negative": ([*EDGES, "--lambda", "-0.1"], "a negative one would reward ink"),
        "lambda words": ([*EDGES, "--lambda", "little"], "expected a number, 'adapt', or a schedule"),
        "lambda empty schedule": ([*EDGES, "--lambda", ","], "expected a number, 'adapt', or a schedule"),
        "ink equal to canvas": ([*EDGES, "--canvas", "0.5", "--ink", "0.5"], "expected two that can be told apart"),
        "ink in words": ([*EDGES, "--ink", "black"], "expected a gray level"),
        "ink too light": ([*EDGES, "--ink", "255"], "from 0 (black) to 1 (white)"),
        "two levels for one channel": ([*EDGES, "--canvas", "0,1"], "2 gray levels for images of 1 channels"),
        "two levels for three channels": ([*colour, "--canvas", "0,1"], "2 gray levels for images of 3 channels"),
        "confidence 0": ([*EDGES, "--confidence", "0"], "confidence = 0"),
        "confidence 1": ([*EDGES, "--confidence", "1"], "confidence = 1"),
        "confidence 1.5": ([*EDGES, "--confidence", "1.5"], "confidence = 1.5"),
        "confidence nan": ([*EDGES, "--confidence", "nan"], "confidence = nan"),
        "runs": ([*EDGES, "--runs", "0"], "runs = 0"),
        "generations": ([*EDGES, "--generations", "-1"], "generations = -1"),
        "population": ([*EDGES, "--population", "1"], "population = 1"),
        "two goals": ([*EDGES, "--at-boundary", "--front"], "give one of them"),
        "size 0": ([*EDGES, "--size", "0"], "--size 0"),
        "size of three": ([*EDGES, "--size", "3x4x5"], "--size 3x4x5"),
        "size 1": ([*EDGES, "--size", "1"], "size = 1 x 1"),
        "preset": ([*EDGES, "--preset", "frugal"], "unknown preset 'frugal'"),
        "crossover": ([*EDGES, "--crossover", "rectangel"], "did you mean 'rectangle'"),
        "mutation": ([*EDGES, "--mutation", "per-pixel"], "unknown mutation 'per-pixel'"),
        "measure": ([*EDGES, "--measure", "margn"], "did you mean 'margin'"),
        "budget": ([*EDGES, "--budget", "0"], "a budget of 0 queries"),
        "total budget": ([*EDGES, "--runs", "30", "--total-budget", "29"], "a budget of 0 queries"),
        "all to confirm": ([*EDGES, "--budget", "3", "--confirm", "3"], "3 of them set aside to confirm"),
        "confirm": ([*EDGES, "--confirm", "-1"], "confirm = -1"),
        "workers": ([*EDGES, "--workers", "0"], "workers 0"),
        "with": ([*EDGES, "--with", "kind"], "expected KEY=VALUE"),
        "full directory": ([*EDGES, "-o", str(tmp_path / "full")], "not empty"),
        "a file": ([*EDGES, "-o", str(tmp_path / "full" / "notes.txt")], "a file of this name"),
    }  # fmt: skip
    for name, (arguments, words) in mistakes.items():
        out = tmp_path / "out"
        done = here(*arguments, *([] if "-o" in arguments else ["-o", str(out)]), "--quiet")
        lines = done.stderr.strip().splitlines()
        assert done.returncode == 2, f"{name}: exit code {done.returncode}, {done.stderr}"
        assert len(lines) == 1 and lines[0].startswith("evofool: "), f"{name}: {done.stderr}"
        assert words in lines[0], f"{name}: {lines[0]}"
        assert not out.exists(), f"{name}: something was written"


# ---- endpoints

API = [
    "draw", "--classifier", "api.toml", "--data", "digits", "--target", "7", "--runs", "2", "--population", "10",
    "--confidence", "0.5", "--workers", "1",
]  # fmt: skip


@pytest.mark.usefixtures("short_report")
def test_a_metered_endpoint_gets_its_budget_and_no_row_more(
    endpoint: Endpoint, here: Callable[..., Here], tmp_path: Path
) -> None:
    done = here(*API, "--generations", "40", "--budget", "150", "-o", "run")
    assert done.returncode == 0, done.stderr
    assert "at most 301 queries" in done.stderr
    whole = study(Path("run"))
    counts = whole["ledger"]["searches"]
    assert endpoint.images == sum(count["issued"] for count in counts.values()), "the endpoint saw other images"
    assert whole["ledger"]["padded"] == 0
    runs = [count for name, count in counts.items() if name.startswith("draw/")]
    assert len(runs) == 2 and all(count["issued"] <= 150 for count in runs)
    found = rundir.findings(Path("run"))
    assert found and {finding.confirmed for finding in found} == {1}, "where queries are metered a drawing is confirmed"
    before = endpoint.images
    assert here("replay", "run#1", "--trust-code").returncode == 0 and endpoint.images == before + 1
    for path in Path("run").rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


@pytest.mark.usefixtures("short_report")
def test_an_endpoint_that_stops_in_mid_run_costs_nothing_but_its_queries(
    endpoint: Endpoint, here: Callable[..., Here]
) -> None:
    # One request at a time: among several, the last tries of one may fail between answers to others, and an image that
    # was refused five times is left without an answer.
    words = [*API, "--generations", "12", "--no-stop", "--concurrency", "1", "-q"]
    assert here(*words, "-o", "whole").returncode == 0
    endpoint.left = 8
    stopped = here(*words, "-o", "run")
    assert stopped.returncode == 3 and "go on with: evofool resume run --trust-code" in stopped.stderr
    assert endpoint.refused >= 5 and not Path("run", "study.json").exists()
    endpoint.left = 10**9
    resumed = here("resume", "run", "--trust-code", "--workers", "1", "-q")
    assert resumed.returncode == 0, resumed.stderr
    one, two = (study(Path(name)) for name in ("whole", "run"))
    assert one.pop("ledger") != two.pop("ledger")
    for a, b in zip(one["runs"], two["runs"], strict=True):
        assert {k: (a[k], b[k]) for k in a if a[k] != b[k]} == {}
    assert one == two


@pytest.mark.usefixtures("short_report")
def test_an_endpoint_that_fails_now_and_then_stays_within_the_budget(tmp_path: Path, here: Callable[..., Here]) -> None:
    with faults_server() as ports:
        port = ports["http"] if "http" in ports else next(iter(ports.values()))
        (tmp_path / "api.toml").write_text(
            f'spec = "http://127.0.0.1:{port}/ink/service_unavailable/3/5"\nname = "api"\nclass_names = '
            f'{json.dumps(NAMES)}\nimage_shape = [1, 4, 4]\nkind = "probabilities"\nconcurrency = 1\n'
        )
        done = here("draw", "--classifier", str(tmp_path / "api.toml"), "--target", "cat", "--runs", "2",
                    "--population", "5", "--generations", "6", "--budget", "30", "--workers", "1", "-q",
                    "-o", str(tmp_path / "run"))  # fmt: skip
        assert done.returncode == 0, done.stderr
        counted = tally(port, "ink")
    ledger = study(tmp_path / "run")["ledger"]
    assert counted["fired"] == 3, "nothing went wrong"
    assert counted["images"] == sum(count["issued"] for count in ledger["searches"].values())
    assert all(count["issued"] <= 30 for name, count in ledger["searches"].items() if name.startswith("draw/"))
