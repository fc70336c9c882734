"""`evofool attack` as a user meets it, and what its runs need of the other verbs."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import attack_nets
import models
from evofool import evasion, recipes, rundir
from evofool import pool as pools
from evofool.checkpoint import Checkpoints
from evofool.cli import app
from evofool.data import load_data
from evofool.errors import SpecError
from evofool.store import Store
from evofool.studies.attack import given, planning
from evofool.threat import Goal, threat
from test_cli import evofool, here

__all__ = ["here"]  # a fixture

WITH = ["--trust-code", "--workers", "1"]


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small are the images that some searches soon have asked all that they can."""
    monkeypatch.setattr(evasion, "IDLE", 15)


@pytest.fixture
def short_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of one line, where a test is of something else: drawing the figures takes seconds."""

    def write(results: Any, directory: Path) -> Path:
        (directory / "report.html").write_text(f"{len(results.images)} images")
        return directory / "report.html"

    monkeypatch.setattr("evofool.reports.attack.write", write)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures: "flat", and "sorted" by class."""
    path = tmp_path_factory.mktemp("pictures")
    attack_nets.flat(path / "flat")
    attack_nets.sorted_by_class(path / "sorted")
    return path


def words(folders: Path, net: str = "animals", data: str = "sorted", *more: str) -> list[str]:
    """Attack the pictures."""
    limit = [] if any(word in ("--eps", "--pixels", "--patch", "--frame") for word in more) else ["--eps", "0.06"]
    budget = [] if "--budget" in more else ["--budget", "40"]
    return [
        "attack", "--classifier", f"attack_nets:{net}", "--data", str(folders / data), *WITH, *limit, *budget, *more,
    ]  # fmt: skip


def study(path: Path) -> dict[str, Any]:
    return json.loads((path / "study.json").read_text())


def outcomes(path: Path) -> list[str]:
    return [image["outcome"] for image in study(path)["images"]]


def levels(path: Path, file: str) -> np.ndarray:
    return np.asarray(Image.open(path / file)).astype(int)


def bare(path: Path) -> dict[str, Any]:
    """What a run found out, whatever was lost on the way."""
    whole = study(path)
    whole.pop("ledger")
    return whole


# ---- from the first word to the report


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Twenty digits, by a program of its own."""
    out = tmp_path_factory.mktemp("attack") / "run"
    found = evofool(
        "attack", "--classifier", "digits", "--data", "digits", "--eps", "0.25", "--budget", "60", "--images", "20",
        "--set", "lag=2", "--set", "cohort=4", "--workers", "1", "-o", str(out),
    )  # fmt: skip
    return out, found


@pytest.fixture
def copy(digits: tuple[Path, Any], tmp_path: Path) -> Path:
    shutil.copytree(digits[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_an_attack_ends_with_its_findings_and_its_report(digits: tuple[Path, Any]) -> None:
    out, done = digits
    assert done.returncode == 0, done.stderr
    assert (
        "20 images on digits within L-inf 63/255, by genepool: at most 1,200 queries (eps is read as 63/255 = 0.2471)"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("• ") and done.stdout.strip().endswith(f"report: {out / 'report.html'}")
    there = {path.name for path in out.iterdir()}
    assert {"originals", "images", "genes", "pool.safetensors", "report.html", "study.json", "findings.jsonl"} <= there
    assert not list(out.rglob(".*")), "temporary files are left behind"


def test_what_is_told_of_each_image_is_what_lies_there(digits: tuple[Path, Any]) -> None:
    """Distances, files and findings; what fooled lies within the limit to the last gray level."""
    out, _ = digits
    whole, found = study(out), rundir.findings(out)
    told = [image for image in whole["images"] if image["outcome"] == "fooled"]
    assert len(told) > 5 and len(found) == len(told)
    assert {image["outcome"] for image in whole["images"]} >= {"fooled", "skipped"}
    by_file = {finding.file: finding for finding in found}
    for image in whole["images"]:
        before = levels(out, image["original"])
        if image["outcome"] == "skipped":
            assert image["clean_prediction"] != image["label"] and image["queries"] == 0 and not image["adversarial"]
            continue
        after = levels(out, image["adversarial"])
        assert np.abs(after - before).max() <= 63
        assert image["linf"] == pytest.approx(np.abs(after - before).max() / 255, abs=1e-6)
        assert image["l2"] == pytest.approx(float(np.linalg.norm((after - before) / 255)), abs=1e-4)
        assert image["l0"] == int((after != before).sum())
        assert 1 <= image["queries"] <= 59
        if image["outcome"] == "fooled":
            finding = by_file[image["adversarial"]]
            assert finding.prediction == image["prediction"] != image["label"] == finding.label
    counts = whole["ledger"]["searches"]
    for image in whole["images"]:
        assert counts[f"image {image['number']}"]["issued"] == image["queries"] + 1 <= 60
    assert whole["pool"]["images"] == sum(image["outcome"] != "skipped" for image in whole["images"])
    assert len(list((out / "genes").iterdir())) == len(whole["pool"]["genes"])


@pytest.mark.usefixtures("short_report")
def test_the_recorded_command_repeats_the_attack(digits: tuple[Path, Any], tmp_path: Path, here: Any) -> None:
    out = digits[0]
    command = study(out)["command"].split()
    assert command[:2] == ["evofool", "attack"] and command[-2:] == ["-o", "DIR"]
    again = here(*command[1:-1], str(tmp_path / "again"), "--quiet", "--workers", "2")
    assert again == (0, "", "")
    for name in ("study.json", "findings.jsonl", "pool.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes(), name


def test_verify_and_replay_ask_again(copy: Path, here: Any) -> None:
    done = here("verify", str(copy))
    assert done.returncode == 0, done.stderr
    replayed = here("replay", f"{copy}#1", "--json")
    assert replayed.returncode == 0, replayed.stderr
    first = rundir.findings(copy)[0]
    pixels = np.array(Image.open(copy / first.file))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(copy / first.file)
    assert here("verify", str(copy)).returncode != 0
    assert here("replay", f"{copy}#1").returncode != 0


def test_findings_can_be_taken_elsewhere(digits: tuple[Path, Any], tmp_path: Path, here: Any) -> None:
    out, found = digits[0], rundir.findings(digits[0])
    assert here("export", str(out), "--to", "npz", "-o", str(tmp_path / "all.npz")).returncode == 0
    images = load_data(str(tmp_path / "all.npz"), split="test")
    assert len(images) == len(found)
    assert torch.equal(images.images[2], rundir.image_of(out, found[2]))
    for to in ("csv", "jsonl", "imagefolder"):
        assert here("export", str(out), "--to", to, "-o", str(tmp_path / to)).returncode == 0, to


def test_the_report_written_anew_is_the_same_bytes(copy: Path, here: Any) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert len(before) > 40
    (copy / "report.html").unlink()
    done = here("report", str(copy))
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_finished_attack_has_nothing_left_to_do_and_is_listed(copy: Path, here: Any) -> None:
    done = here("resume", str(copy))
    assert done.returncode == 0 and "nothing is left to do" in done.stderr
    listed = here("list", "runs", str(copy.parent)).stdout
    assert "attack, finished" in listed and f"{len(rundir.findings(copy))} findings" in listed


def test_json_says_what_became_of_each_image(folders: Path, tmp_path: Path, here: Any, short_report: None) -> None:
    done = here(*words(folders), "--json", "-o", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1 and summary["findings"] and summary["budget"] == 40
    told = study(tmp_path / "run")["images"]
    assert [image["outcome"] for image in summary["images"]] == [image["outcome"] for image in told]
    assert sum(summary[name] for name in ("fooled", "failed", "skipped", "unanswered")) == len(told) == 12
    assert summary["fooled"] == outcomes(tmp_path / "run").count("fooled") > 0
    for image in summary["images"]:
        assert not image["file"] or (tmp_path / "run" / image["file"]).is_file()
    assert summary["queries"] == sum(image["queries"] + 1 for image in told)


def test_a_dry_run_writes_nothing(folders: Path, tmp_path: Path, here: Any) -> None:
    done = here(*words(folders), "--dry-run", "-o", str(tmp_path / "run"))
    assert done.returncode == 0 and done.stdout == ""
    assert "12 images on animals within L-inf 15/255, by genepool: at most 480 queries" in done.stderr
    assert not (tmp_path / "run").exists()


def test_help_says_every_option(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.main import get_command

    monkeypatch.setenv("COLUMNS", "200")
    command = get_command(app).commands["attack"]  # type: ignore[attr-defined]
    told = here("attack", "--help").stdout
    options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
    assert len(options) > 25
    missing = [option for option in options if option not in told]
    assert not missing
    assert all(getattr(parameter, "help", None) for parameter in command.params if parameter.name != "help")


# ---- recipes, limits, aims


@pytest.mark.usefixtures("short_report")
@pytest.mark.parametrize("name", sorted(recipes.recipes()))
def test_every_recipe_goes_through_with_each_limit_and_is_found_in_the_lists(
    name: str, folders: Path, tmp_path: Path, here: Any
) -> None:
    recipe = recipes.recipes()[name]
    limits = {
        "linf": ["--eps", "0.06"], "l2": ["--norm", "l2", "--eps", "1.0"], "l0": ["--pixels", "4"],
        "patch": ["--patch", "3"], "frame": ["--frame", "1"],
    }  # fmt: skip
    for norm in recipe.norms:
        done = here(
            *words(folders, "animals", "sorted", *limits[norm]), "--recipe", name, "--images", "3", "-q",
            "-o", str(tmp_path / norm),
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr
        whole = study(tmp_path / norm)
        assert whole["norm"] == norm and whole["recipe"]["name"] == name
        assert (whole["pool"] is not None) == (name == "genepool")
    assert f"\n{name} " in "\n" + here("list", "recipes").stdout
    shown = here("show", "recipe", name).stdout
    assert recipe.about.split(":")[0].lower() in shown.lower() and all(
        argument in shown for argument in recipe.arguments
    )


@pytest.mark.usefixtures("short_report")
def test_an_aim_by_name_by_number_and_for_each_image(folders: Path, tmp_path: Path, here: Any) -> None:
    aims = {"bee": "bee", "1": "bee", "least-likely": None, "random": None}
    for aim, name in aims.items():
        out = tmp_path / aim
        done = here(*words(folders), "--target", aim, "--recipe", "square", "--eps", "0.2", "-q", "-o", str(out))
        assert done.returncode == 0, done.stderr
        whole = study(out)
        assert whole["targeted"]
        for image in whole["images"]:
            assert image["target"] is not None
            if name:
                assert whole["class_names"][image["target"]] == name
            else:
                assert image["target"] != image["label"]
            if image["outcome"] == "fooled":
                assert image["prediction"] == image["target"] != image["label"]
            if image["label"] == image["target"]:
                assert image["outcome"] == "skipped"
        assert "fooled" in outcomes(out)
    assert [i["target"] for i in study(tmp_path / "bee")["images"]] == [
        i["target"] for i in study(tmp_path / "1")["images"]
    ]


@pytest.mark.usefixtures("short_report")
def test_top_k(folders: Path, tmp_path: Path, here: Any) -> None:
    for k in ("1", "2"):
        done = here(*words(folders), "--top-k", k, "--recipe", "random", "-q", "-o", str(tmp_path / k))
        assert done.returncode == 0, done.stderr
    found = rundir.findings(tmp_path / "2")
    assert found
    for finding in found:
        assert sorted(finding.scores, reverse=True).index(finding.scores[finding.label]) >= 2
    assert outcomes(tmp_path / "2").count("fooled") < outcomes(tmp_path / "1").count("fooled")


@pytest.mark.usefixtures("short_report")
def test_shrinking_makes_smaller_what_still_fools(folders: Path, tmp_path: Path, here: Any) -> None:
    for limit in (["--eps", "0.06"], ["--norm", "l2", "--eps", "1.5"], ["--pixels", "6"]):
        plain, small = tmp_path / f"plain{limit[-2]}{limit[-1]}", tmp_path / f"small{limit[-2]}{limit[-1]}"
        for out, more in ((plain, []), (small, ["--shrink"])):
            arguments = words(folders, "animals", "sorted", *limit, "--budget", "80", "--recipe", "random", *more)
            done = here(*arguments, "-q", "-o", str(out))
            assert done.returncode == 0, done.stderr
        one, two = study(plain), study(small)
        norm = one["norm"]
        assert [i["queries"] for i in one["images"]] == [i["queries"] for i in two["images"]]
        fooled = [(a, b) for a, b in zip(one["images"], two["images"], strict=True) if a["outcome"] == "fooled"]
        assert fooled and all(b["outcome"] == "fooled" and b[norm] <= a[norm] for a, b in fooled)
        assert any(b[norm] < a[norm] for a, b in fooled)
        assert all(b["shrunk"]["before"] == pytest.approx(a[norm], abs=1e-5) for a, b in fooled)
        assert all(count["issued"] <= 80 for count in two["ledger"]["searches"].values())
        if norm == "l0":
            assert any(b["shrunk"]["minimal"] == 1 for _, b in fooled)
        assert here("verify", str(small), "--trust-code").returncode == 0


@pytest.mark.usefixtures("short_report")
def test_a_shuffled_list_is_attacked_in_another_order_and_told_in_its_own(
    folders: Path, tmp_path: Path, here: Any
) -> None:
    for name, more in (("plain", []), ("shuffled", ["--shuffle"]), ("other", ["--shuffle", "--seed", "1"])):
        assert here(*words(folders), *more, "-q", "-o", str(tmp_path / name)).returncode == 0
    plain, shuffled, other = (study(tmp_path / name)["images"] for name in ("plain", "shuffled", "other"))
    for images in (plain, shuffled, other):
        assert [image["number"] for image in images] == list(range(12))
    assert [i["name"] for i in plain] == [i["name"] for i in shuffled]
    asked = [[i["asked"] for i in images] for images in (plain, shuffled, other)]
    assert all(sorted(order) == list(range(12)) for order in asked)
    assert asked[0] == list(range(12)) and asked[0] != asked[1] != asked[2]


@pytest.mark.usefixtures("short_report")
def test_some_of_the_images(folders: Path, tmp_path: Path, here: Any) -> None:
    for name, more in (("all", []), ("some", ["--first", "3", "--images", "4"])):
        done = here(*words(folders), "--recipe", "square", *more, "-q", "-o", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
    whole, some = study(tmp_path / "all")["images"], study(tmp_path / "some")["images"]
    assert [i["name"] for i in some] == [i["name"] for i in whole[3:7]]
    for key in ("sha256", "outcome", "queries", "linf"):
        assert [i[key] for i in some] == [i[key] for i in whole[3:7]], "an image depends on its neighbours"


# ---- labels


@pytest.mark.usefixtures("short_report")
def test_a_folder_of_images_without_labels(folders: Path, tmp_path: Path, here: Any) -> None:
    """What the classifier sees counts as their class, and that is said."""
    done = here(*words(folders, "animals", "flat"), "-o", str(tmp_path / "flat"))
    assert done.returncode == 0, done.stderr
    assert (
        "the images have no labels: what the classifier sees in them as they are counts as their class" in done.stderr
    )
    whole = study(tmp_path / "flat")
    assert not whole["data"]["labelled"]
    assert [image["label"] for image in whole["images"]] == attack_nets.pictures()[1]
    assert [image["name"] for image in whole["images"]] == [f"{number:02}.png" for number in range(12)]
    labelled = here(*words(folders), "-o", str(tmp_path / "sorted"))
    assert "• The images have no labels: what the classifier sees" in done.stdout
    assert "no labels" not in labelled.stderr + labelled.stdout and study(tmp_path / "sorted")["data"]["labelled"]
    if "fooled" in outcomes(tmp_path / "flat"):
        assert here("verify", str(tmp_path / "flat"), "--trust-code").returncode == 0


@pytest.mark.usefixtures("short_report")
def test_the_size_of_images_is_seen_from_them_with_labels_and_without(tmp_path: Path, here: Any) -> None:
    """A model that says nothing of sizes takes them as they are."""
    attack_nets.flat(tmp_path / "flat")
    attack_nets.sorted_by_class(tmp_path / "sorted")
    names = ",".join(attack_nets.NAMES)
    for data in ("flat", "sorted"):
        more = ["--with", f"class_names={names}", "--dry-run", "-o", str(tmp_path / "run")]
        done = here(*words(tmp_path, "scores", data), *more)
        assert done.returncode == 0 and done.stderr.startswith("12 images on scores"), done.stderr


@pytest.mark.usefixtures("short_report")
def test_folders_of_some_of_the_classes(tmp_path: Path, here: Any) -> None:
    """Labels go by name, not by number: here "bee" is the first folder and the second class."""
    attack_nets.sorted_by_class(tmp_path / "pictures")
    for name in ("ant", "cat"):
        shutil.rmtree(tmp_path / "pictures" / name, ignore_errors=True)
    left = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert left == ["bee", "dog"]
    done = here(*words(tmp_path, "animals", "pictures"), "-q", "-o", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    whole = study(tmp_path / "run")
    for image in whole["images"]:
        assert image["name"].split("/")[0] == attack_nets.NAMES[image["label"]]
        assert image["clean_prediction"] == image["label"]


@pytest.mark.usefixtures("short_report")
def test_classes_without_names_go_by_number(folders: Path, tmp_path: Path, here: Any) -> None:
    assert here(*words(folders, "numbers"), "-q", "-o", str(tmp_path / "run")).returncode == 0
    assert "skipped" not in outcomes(tmp_path / "run")
    told = "the classes of animals are numbers, so folders are taken as them in the order of their names: ant = 0, bee"
    assert study(tmp_path / "run")["data"]["brought"].startswith(told)
    done = here(*words(folders, "numbers"), "--dry-run", "-o", str(tmp_path / "dry"))
    assert told in " ".join(done.stderr.split())


@pytest.mark.parametrize(("trouble", "told"), [("nowhere", "nowhere"), ("empty", "empty"), ("torn.zip", "torn.zip")])
def test_what_is_wrong_with_images_is_said_of_a_classifier_of_any_shape(
    folders: Path, tmp_path: Path, here: Any, trouble: str, told: str
) -> None:
    """And not that the classifier does not say what it takes."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.zip").write_bytes(b"PK")
    line = words(folders, "scores")
    line[line.index("--data") + 1] = str(tmp_path / trouble)
    done = here(*line, "-o", str(tmp_path / "run"))
    assert done.returncode == 2 and told in done.stderr and "image_shape" not in done.stderr, done.stderr


@pytest.mark.usefixtures("short_report")
def test_a_single_folder_within_a_folder_is_no_word_about_classes(tmp_path: Path, here: Any) -> None:
    """It may be the folder that was zipped. What the classifier sees counts, and that is said."""
    attack_nets.sorted_by_class(tmp_path / "pictures")
    for name in ("ant", "cat", "dog"):
        shutil.rmtree(tmp_path / "pictures" / name, ignore_errors=True)
    done = here(*words(tmp_path, "animals", "pictures"), "-o", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    whole = study(tmp_path / "run")
    assert "the images have no labels" in done.stderr and not whole["data"]["labelled"]
    assert {image["label"] for image in whole["images"]} == {1}


# ---- images of another shape


@pytest.mark.usefixtures("short_report")
def test_images_of_other_sizes_are_resized_and_that_is_said(folders: Path, tmp_path: Path, here: Any) -> None:
    """Before the attack, and in what came of it; what lies there is of the classifier's size."""
    shutil.copytree(folders / "sorted", tmp_path / "pictures")
    files = sorted((tmp_path / "pictures").rglob("*.png"))
    for file, size in zip(files, [(12, 8), (12, 8), (30, 20)], strict=False):  # width, height
        with Image.open(file) as picture:
            picture.resize(size, Image.Resampling.NEAREST).save(file)
    with Image.open(files[2]) as picture:
        picture.convert("RGB").save(files[2])
    done = here(*words(tmp_path, "animals", "pictures"), "-o", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    said = (
        "the images are brought to what animals takes, 8 x 8 pixels (height x width) in gray: 3 of 12, of 2 sizes from "
        "8 x 12 to 20 x 30, resized (bilinear, antialiased, proportions not kept); 1 of 12 made gray; what fools is a "
        "file of that shape"
    )
    assert said in done.stderr.splitlines()
    assert f"• T{said[1:]}." in done.stdout
    whole = study(tmp_path / "run")
    assert whole["data"]["brought"] == said
    assert {levels(tmp_path / "run", image["original"]).shape for image in whole["images"]} == {(8, 8)}
    some = here(*words(tmp_path, "animals", "pictures"), "--first", "3", "--dry-run", "-o", str(tmp_path / "some"))
    assert some.returncode == 0 and "brought" not in some.stderr, "of images that are left out nothing is said"


@pytest.mark.usefixtures("short_report")
def test_of_images_that_fit_nothing_is_said(folders: Path, tmp_path: Path, here: Any) -> None:
    done = here(*words(folders), "-o", str(tmp_path / "run"))
    assert done.returncode == 0 and "brought" not in done.stderr + done.stdout
    assert study(tmp_path / "run")["data"]["brought"] == ""


@pytest.mark.parametrize(
    ("found", "shape", "said"),
    [
        ([(1, 4, 4)] * 2, (1, 8, 8), "2 of 2, of 4 x 4, resized (bilinear, antialiased); "),
        ([(1, 8, 8), (3, 8, 8)], (3, 8, 8), "in colour: 1 of 2 given 3 equal channels, being gray; "),
        ([(3, 9, 8)], (3, 8, 8), "1 of 1, of 9 x 8, resized (bilinear, antialiased, proportions not kept); "),
    ],
)
def test_how_images_are_brought_to_a_shape(
    found: list[tuple[int, int, int]], shape: tuple[int, int, int], said: str
) -> None:
    assert said in given.brought(found, dataclasses.replace(attack_nets.animals().info, image_shape=shape))


# ---- sharing


@pytest.mark.usefixtures("short_report")
def test_a_pool_goes_from_run_to_run(folders: Path, tmp_path: Path, here: Any) -> None:
    arguments = words(folders)
    assert here(*arguments, "-q", "-o", str(tmp_path / "one")).returncode == 0
    file = tmp_path / "one" / "pool.safetensors"
    known = pools.load(file)
    assert len(known) and known.about["classes"] == list(attack_nets.NAMES) and known.about["norm"] == "linf"
    assert here(*arguments, "--pool", str(file), "-q", "-o", str(tmp_path / "two")).returncode == 0
    one, two = study(tmp_path / "one"), study(tmp_path / "two")
    assert two["images"][0]["tried"] > 0 == one["images"][0]["tried"]
    assert two["pool"]["images"] == 24 and one["pool"]["images"] == 12
    assert here(*arguments, "--pool", str(tmp_path / "one"), "-q", "-o", str(tmp_path / "of a run")).returncode == 0
    assert bare(tmp_path / "of a run") == bare(tmp_path / "two"), "the directory is as good as the file in it"
    assert here(*two["command"].split()[1:-1], str(tmp_path / "again"), *WITH[1:], "-q").returncode == 0
    assert bare(tmp_path / "again") == bare(tmp_path / "two")


def test_a_pool_is_shown(digits: tuple[Path, Any], tmp_path: Path, here: Any) -> None:
    file, whole = digits[0] / "pool.safetensors", study(digits[0])
    shown = here("show", "pool", str(file), "-o", str(tmp_path / "genes.png"))
    assert shown.returncode == 0, shown.stderr
    count, images = len(whole["pool"]["genes"]), whole["pool"]["images"]
    assert shown.stdout.startswith(f"{count:,} genes from {images} images of digits, linf 0.247059")
    assert Image.open(tmp_path / "genes.png").width > 28
    assert here("show", "pool", str(tmp_path / "nowhere")).returncode == 2
    assert here("show", "pool", str(digits[0])).stdout == here("show", "pool", str(file)).stdout
    empty = here("show", "pool", str(tmp_path))
    assert empty.returncode == 2 and f"{tmp_path}: has no pool.safetensors; expected" in " ".join(empty.stderr.split())


def test_genes_are_shown_with_the_names_of_their_classes(tmp_path: Path, here: Any) -> None:
    none = torch.zeros(2, 4, dtype=torch.int64)
    known = dataclasses.replace(
        pools.empty(attack_nets.SHAPE, 4), about={"classes": list(attack_nets.NAMES)},
        genes=torch.ones(2, *attack_nets.SHAPE), labels=torch.tensor([3, 0]), predictions=torch.tensor([2, 1]),
        queries=torch.tensor([7, 0]), wins=none, tries=none.clone(), left=none.double(), squares=none.double(),
    )  # fmt: skip
    pools.write(pools.to_bytes(known), tmp_path / "pool")
    shown = here("show", "pool", str(tmp_path / "pool"))
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"0  dog -> cat +0 +0  7 queries\n", shown.stdout)
    assert re.search(r"1  ant -> bee +0 +0  bred\n", shown.stdout)


@pytest.mark.parametrize(
    "about",
    [
        {"classifier": "x"},
        {"classifier": "x", "norm": "linf", "size": "large"},
        {"classes": ["one"]},
        {"classes": 3},
        {"norm": ["l2"]},
    ],
)
def test_whatever_a_pool_says_of_itself_ends_in_words(
    about: dict[str, Any], folders: Path, tmp_path: Path, here: Any
) -> None:
    """Its file may come from anywhere: it is shown, or refused in one line."""
    three, none = torch.tensor([3]), torch.zeros(1, 4, dtype=torch.int64)
    known = dataclasses.replace(
        pools.empty(attack_nets.SHAPE, 4), about=about, genes=torch.ones(1, *attack_nets.SHAPE), labels=three,
        predictions=three - 1, queries=three + 1, wins=none, tries=none.clone(), left=none.double(),
        squares=none.double(),
    )  # fmt: skip
    pools.write(pools.to_bytes(known), tmp_path / "pool")
    shown = here("show", "pool", str(tmp_path / "pool"))
    assert shown.returncode == 0 or shown.stderr.count("\n") == 1
    used = here(*words(folders), "--pool", str(tmp_path / "pool"), "--dry-run", "-o", str(tmp_path / "run"))
    assert used.returncode == 0 or used.stderr.count("\n") == 1


@pytest.mark.usefixtures("short_report")
def test_a_pool_that_has_changed_is_noticed_when_a_run_goes_on(
    folders: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert here(*words(folders), "-q", "-o", str(tmp_path / "one")).returncode == 0
    file = tmp_path / "pool.safetensors"
    shutil.copy(tmp_path / "one" / "pool.safetensors", file)

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("evofool.studies.attack.run.carry_out", dies)
        assert here(*words(folders), "--pool", str(file), "-o", str(tmp_path / "two")).returncode == 130
    content = file.read_bytes()
    file.write_bytes(pools.to_bytes(pools.empty(attack_nets.SHAPE, 4)))
    done = here("resume", str(tmp_path / "two"), "--trust-code")
    assert done.returncode == 2 and "is not the pool that the run began with" in done.stderr
    file.write_bytes(content)
    assert here("resume", str(tmp_path / "two"), "--trust-code", "-q").returncode == 0
    assert study(tmp_path / "two")["pool"]["images"] == 24


@pytest.mark.usefixtures("short_report")
def test_each_image_by_itself(folders: Path, tmp_path: Path, here: Any) -> None:
    assert here(*words(folders), "--independent", "-q", "-o", str(tmp_path / "run")).returncode == 0
    whole = study(tmp_path / "run")
    assert whole["pool"] is None and not (tmp_path / "run" / "pool.safetensors").exists()
    assert not whole["recipe"]["shares"] and {image["tried"] for image in whole["images"]} == {-1}
    assert whole["recipe"]["arguments"] == {"independent": True}


@pytest.mark.usefixtures("short_report")
@pytest.mark.parametrize("recipe", ["square", "genepool"])
def test_workers_and_shards_make_no_difference(
    recipe: str, folders: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = words(folders)
    arguments[arguments.index("--workers") + 1] = "2"
    assert here(*words(folders), "--recipe", recipe, "-q", "-o", str(tmp_path / "one")).returncode == 0
    monkeypatch.setattr(planning, "TOGETHER", 5)
    # A program of its own does not find a classifier by the name that it has here.
    arguments[arguments.index("attack_nets:animals")] = f"{attack_nets.FILE}:animals"
    done = here(*arguments, "--recipe", recipe, "-q", "-o", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    one, two = bare(tmp_path / "one"), bare(tmp_path / "two")
    assert one["images"] == two["images"] and one["pool"] == two["pool"]
    issued = [study(tmp_path / name)["ledger"]["searches"] for name in ("one", "two")]
    assert issued[0] == issued[1]


# ---- budgets, confirmation, labels only


@pytest.mark.usefixtures("short_report")
def test_a_budget_for_all_goes_to_the_hard_ones(folders: Path, tmp_path: Path, here: Any) -> None:
    common = words(folders, "animals", "sorted", "--budget", "20", "--recipe", "square", "-q", "--eps", "0.03")
    assert here(*common, "-o", str(tmp_path / "each")).returncode == 0
    assert here(*common, "--budget-total", "240", "-o", str(tmp_path / "all")).returncode == 0
    each, whole = study(tmp_path / "each"), study(tmp_path / "all")
    issued = [count["issued"] for count in whole["ledger"]["searches"].values()]
    assert sum(issued) <= 240 and max(issued) > 20
    assert max(count["issued"] for count in each["ledger"]["searches"].values()) <= 20
    for one, two in zip(each["images"], whole["images"], strict=True):
        if one["outcome"] == "fooled":
            assert two["outcome"] == "fooled" and two["queries"] == one["queries"]
    assert "failed" in outcomes(tmp_path / "each")
    assert outcomes(tmp_path / "all").count("fooled") >= outcomes(tmp_path / "each").count("fooled")
    assert here(*common, "--budget-total", "15", "-o", str(tmp_path / "short")).returncode == 0
    assert sum(count["issued"] for count in study(tmp_path / "short")["ledger"]["searches"].values()) == 15


@pytest.mark.usefixtures("short_report")
def test_what_fooled_is_asked_about_again(folders: Path, tmp_path: Path, here: Any) -> None:
    """Out of the same budget; a classifier that changes its mind is not fooled."""
    for name, more in (("plain", []), ("twice", ["--confirm", "2"])):
        common = words(folders, "animals", "sorted", "--recipe", "random", *more)
        assert here(*common, "-q", "-o", str(tmp_path / name)).returncode == 0
    plain, twice = study(tmp_path / "plain"), study(tmp_path / "twice")
    for one, two in zip(plain["images"], twice["images"], strict=True):
        if two["outcome"] == "fooled":
            assert two["queries"] == one["queries"]
            issued = twice["ledger"]["searches"][f"image {two['number']}"]["issued"]
            assert issued == 1 + two["queries"] + 2
    assert all(finding.confirmed == 2 for finding in rundir.findings(tmp_path / "twice"))
    assert max(count["issued"] for count in twice["ledger"]["searches"].values()) <= 40


@pytest.mark.usefixtures("short_report")
def test_what_fooled_can_be_confirmed_out_of_a_budget_for_all(folders: Path, tmp_path: Path, here: Any) -> None:
    """Though the hard ones take all they get: what is needed to confirm is set aside."""
    common = words(
        folders, "animals", "sorted", "--budget", "20", "--recipe", "square", "--eps", "0.03", "-q",
        "--budget-total", "200",
    )  # fmt: skip
    assert here(*common, "-o", str(tmp_path / "plain")).returncode == 0
    assert here(*common, "--confirm", "1", "-o", str(tmp_path / "confirmed")).returncode == 0
    assert "failed" in outcomes(tmp_path / "plain"), "nothing was hard"
    easy = [i["number"] for i in study(tmp_path / "plain")["images"] if i["outcome"] == "fooled" and i["queries"] < 10]
    assert easy
    for number in easy:
        assert outcomes(tmp_path / "confirmed")[number] == "fooled"
    issued = [count["issued"] for count in study(tmp_path / "confirmed")["ledger"]["searches"].values()]
    assert sum(issued) <= 200


@pytest.mark.usefixtures("short_report")
def test_labels_alone_are_enough_for_some(folders: Path, tmp_path: Path, here: Any) -> None:
    for name, recipe in recipes.recipes().items():
        norm = "l0" if "linf" not in recipe.norms and "l0" in recipe.norms else recipe.norms[0]
        limit = {"linf": ["--eps", "0.1"], "l2": ["--norm", "l2", "--eps", "1.5"], "l0": ["--pixels", "5"]}[norm]
        done = here(
            *words(folders, "labels", "sorted", *limit), "--recipe", name, "--images", "4", "-q",
            "-o", str(tmp_path / name),
        )  # fmt: skip
        if recipe.needs == "labels":
            assert done.returncode == 0, done.stderr
        else:
            assert done.returncode == 2 and "answers with labels only; " in done.stderr
            assert done.stderr.count("\n") == 1 and not (tmp_path / name).exists()
            assert "random" in done.stderr


@pytest.mark.usefixtures("short_report")
def test_what_is_not_answered_is_told_apart(folders: Path, tmp_path: Path, here: Any) -> None:
    done = here(*words(folders, "half", "flat"), "-q", "-o", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    light = [picture[0, 0] / 255 > 0.9 for picture in attack_nets.pictures()[0]]
    assert any(light) and not all(light)
    assert [outcome == "unanswered" for outcome in outcomes(tmp_path / "run")] == light
    for image in study(tmp_path / "run")["images"]:
        if image["outcome"] == "unanswered":
            assert image["queries"] == 0 and image["adversarial"] == "" and image["clean_prediction"] == -1


# ---- killed


@pytest.mark.parametrize(("more", "calls"), [(["--shrink", "--set", "lag=1"], 12), (["--recipe", "square"], 3)])
def test_a_program_that_is_killed_is_resumed_to_the_same_end(
    more: list[str], calls: int, folders: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch,
    short_report: None,
) -> None:  # fmt: skip
    """Where the budget is enough: what is lost in a kill stays charged, so that no classifier sees more than it."""
    arguments = words(folders, "animals", "sorted", "--eps", "0.2", "--budget", "150", "--confirm", "1", *more)
    arguments[arguments.index("attack_nets:animals")] = f"{attack_nets.FILE}:deadly"
    assert here(*arguments, "-q", "-o", str(tmp_path / "whole")).returncode == 0
    assert outcomes(tmp_path / "whole") == ["fooled"] * 12
    monkeypatch.setenv(attack_nets.KILLER, str(calls))
    killed = evofool(*arguments, "-o", str(tmp_path / "run"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "unfinished: evofool resume" in here("list", "runs", str(tmp_path)).stdout
    assert here("report", str(tmp_path / "run")).returncode == 2
    refused = here("resume", str(tmp_path / "run"))
    assert refused.returncode == 2 and "--trust-code" in refused.stderr
    resumed = here("resume", str(tmp_path / "run"), "--workers", "1", "--trust-code")
    assert resumed.returncode == 0, resumed.stderr
    one, two = study(tmp_path / "whole")["ledger"], study(tmp_path / "run")["ledger"]
    assert (one["kills"], two["kills"]) == (0, 1)
    lost = sum(count["lost"] for count in two["searches"].values())
    assert lost > 0
    issued = [sum(count["issued"] for count in ledger["searches"].values()) for ledger in (one, two)]
    assert issued[1] == issued[0] + lost
    assert bare(tmp_path / "run") == bare(tmp_path / "whole")
    for name in ("findings.jsonl", "pool.safetensors"):
        if (tmp_path / "whole" / name).exists():
            assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert here("verify", str(tmp_path / "run"), "--trust-code").returncode == 0


@pytest.mark.parametrize("calls", [20])
def test_a_budget_holds_even_for_a_run_that_is_killed(
    calls: int, folders: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch, short_report: None
) -> None:
    arguments = words(folders, "animals", "sorted", "--eps", "0.02", "--budget", "10", "--set", "lag=1")
    arguments[arguments.index("attack_nets:animals")] = f"{attack_nets.FILE}:deadly"
    monkeypatch.setenv(attack_nets.KILLER, str(calls))
    assert evofool(*arguments, "-o", str(tmp_path / "run")).returncode == -signal.SIGKILL
    resumed = here("resume", str(tmp_path / "run"), "--workers", "1", "--trust-code")
    assert resumed.returncode == 0, resumed.stderr
    counts = study(tmp_path / "run")["ledger"]["searches"].values()
    assert max(count["issued"] for count in counts) <= 10 and sum(count["lost"] for count in counts) > 0


@pytest.mark.parametrize(
    ("net", "more"),
    [
        ("animals", "--recipe square"),
        ("animals", "--recipe genepool"),
        ("labels", "--recipe genepool --eps 0.1"),
        ("animals", "--recipe genepool --target random --no-cache --shrink --confirm 1"),
    ],
)
def test_a_run_that_is_stopped_goes_on_from_its_checkpoint(
    net: str, more: str, folders: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch, short_report: None
) -> None:
    arguments = words(folders, net, "sorted", *more.split(), "-q")
    assert here(*arguments, "-o", str(tmp_path / "whole")).returncode == 0
    monkeypatch.setitem(Checkpoints.__init__.__kwdefaults__, "every", 0.0)
    saved: list[int] = []
    real = Checkpoints.save

    def stops(checkpoints: Checkpoints, progress: Any) -> None:
        real(checkpoints, progress)
        saved.append(progress.generation)
        if progress.generation == 12:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", stops)
        assert here(*arguments, "-o", str(tmp_path / "run")).returncode == 130
    assert saved == list(range(1, 13)) and len(list((tmp_path / "run" / "state").glob("*.json"))) == 2
    assert here("verify", str(tmp_path / "run"), "--offline").returncode == 0
    monkeypatch.setattr(Checkpoints, "save", lambda _, progress: saved.append(progress.generation))
    assert here("resume", str(tmp_path / "run"), "--trust-code", "-q").returncode == 0
    assert saved[12] == 13, "rounds before the checkpoint were made again"
    assert not (tmp_path / "run" / "state").exists(), "nothing of it is needed any more"
    assert bare(tmp_path / "run") == bare(tmp_path / "whole")
    counts = [study(tmp_path / name)["ledger"]["searches"] for name in ("run", "whole")]
    assert counts[0] == counts[1], "something was asked twice"
    if "genepool" in more:
        pool = [(tmp_path / name / "pool.safetensors").read_bytes() for name in ("run", "whole")]
        assert pool[0] == pool[1]


def test_a_run_that_is_stopped_when_all_is_spent_comes_to_the_same_end(
    folders: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch, short_report: None
) -> None:
    """Its rounds are made again from the stored answers, though nothing is left of the budget of all together."""
    arguments = words(folders, "animals", "sorted", "--budget", "8", "--budget-total", "120", "--shrink", "-q")
    assert here(*arguments, "-o", str(tmp_path / "whole")).returncode == 0
    issued = [count["issued"] for count in study(tmp_path / "whole")["ledger"]["searches"].values()]
    assert max(issued) > 8 and sum(issued) == 120, "nobody waited for what others left, or something is left of it"
    real = Store.finish

    def stops(store: Store, name: str, *given: Any, **more: Any) -> None:
        if name.startswith("images"):
            raise KeyboardInterrupt
        real(store, name, *given, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "finish", stops)
        assert here(*arguments, "-o", str(tmp_path / "run")).returncode == 130
    assert not list((tmp_path / "run").glob("state/*.json")), "it would not begin anew"
    resumed = here("resume", str(tmp_path / "run"), "--trust-code", "-q")
    assert resumed.returncode == 0, resumed.stderr
    assert bare(tmp_path / "run") == bare(tmp_path / "whole")


# ---- wrong input


WRONG = {
    "eps 0": (["--eps", "0"], "eps = 0: expected above 0"),
    "eps below 0": (["--eps", "-0.1"], "expected above 0"),
    "eps above 1": (["--eps", "8"], "8 of 255 is 0.0314"),
    "eps less than a gray level": (["--eps", "0.001"], "less than one gray level"),
    "an L2 radius that no gray level fits in": (["--norm", "l2", "--eps", "0.003"], "less than one gray level"),
    "eps that is no number": (["--eps", "nan"], "expected above 0"),
    "eps in words": (["--eps", "small"], "--eps small: expected a number, such as 0.03 or 8/255"),
    "eps over nothing": (["--eps", "8/"], "--eps 8/: expected a number"),
    "eps over 0": (["--eps", "8/0"], "--eps 8/0: expected a number"),
    "eps over two": (["--eps", "8/255/2"], "--eps 8/255/2: expected a number"),
    "no eps at all": (["--eps", ""], "--eps : expected a number"),
    "a ratio below 0": (["--eps", "-8/255"], "eps = -0.0313725: expected above 0"),
    "an L2 radius beyond all images": (["--norm", "l2", "--eps", "8.1"], "expected at most 8 "),
    "no pixels": (["--pixels", "0"], "pixels = 0: expected above 0"),
    "more pixels than there are": (["--pixels", "65"], "expected at most 64 "),
    "a patch larger than the image": (["--patch", "9"], "expected at most 8 "),
    "a frame that leaves nothing": (["--frame", "5"], "expected at most 4 "),
    "two limits": (["--eps", "0.1", "--pixels", "3"], "--eps and --pixels: each is a limit of its own"),
    "a limit of another norm": (["--norm", "l0", "--eps", "0.1"], "--norm l0 is limited by --pixels"),
    "an unknown norm": (["--norm", "l1", "--eps", "0.1"], "norm 'l1': unknown"),
    "a budget of 1": (["--budget", "1"], "a budget of 1 "),
    "a budget of 0": (["--budget", "0"], "a budget of 0 "),
    "a budget below 0": (["--budget", "-3"], "a budget of -3 "),
    "a total that leaves none to confirm": (
        ["--budget-total", "23", "--confirm", "1"], "expected at least 2 for each, 1 of them to confirm"
    ),
    "a total below one each": (["--budget-total", "11"], "11 queries in all for 12 images"),
    "a budget that is all to confirm": (["--budget", "3", "--confirm", "2"], "expected at least 4"),
    "confirm below 0": (["--confirm", "-1"], "confirm = -1"),
    "an unknown recipe": (["--recipe", "squares"], "recipe 'squares': unknown"),
    "a recipe for another limit": (["--recipe", "sparse-rs"], "sparse-rs works within l0, patch, frame, not linf; "),
    "an unknown argument": (["--set", "lags=3"], "genepool has no argument 'lags'"),
    "an argument of a wrong kind": (["--set", "lag=many"], "lag"),
    "an argument out of range": (["--set", "lag=0"], "lag"),
    "an argument without a value": (["--set", "lag"], "expected NAME=VALUE"),
    "an argument said twice": (["--set", "lag=1", "--set", "lag=2"], "--set lag is given twice"),
    "independent of what": (["--recipe", "square", "--independent"], "--independent is said of genepool"),
    "no place at all": (["--top-k", "0"], "top-k: k = 0"),
    "all places": (["--top-k", "4"], "top-k: k = 4"),
    "a class that is not there": (["--target", "cow"], "cow"),
    "a number that is no class": (["--target", "4"], "4"),
    "a target for each": (["--target", "given"], "can be given in Python only"),
    "no images": (["--images", "0"], "images = 0: expected at least 1"),
    "too many images": (["--images", "13"], "it has 12 of them"),
    "images from beyond the end": (["--first", "12"], "first = 12"),
    "images from before the beginning": (["--first", "-1"], "first = -1"),
    "a pool that is not there": (["--pool", "nowhere/pool.safetensors"], "there is no such file"),
    "a directory without a pool": (["--pool", str(Path(__file__).parent)], "tests: has no pool.safetensors; expected"),
    "a pool for a recipe without one": (["--recipe", "square", "--pool", "x"], "square uses no pool"),
    "no workers": (["--workers", "0"], "--workers 0: expected at least 1"),
    "a recipe that cannot aim": (["--recipe", "rays", "--target", "bee"], "rays cannot aim at a class; "),
}  # fmt: skip


def refused(done: Any, said: str, out: Path) -> None:
    """One line that says what is wrong, exit code 2, and nothing written."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("evofool: ") and done.stderr.count("\n") == 1, done.stderr
    assert said in done.stderr
    assert done.stdout == "" and not out.exists()


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_in_one_line(case: str, folders: Path, tmp_path: Path, here: Any) -> None:
    more, said = WRONG[case]
    done = here(*words(folders, "animals", "sorted", *more), "-o", str(tmp_path / "run"))
    refused(done, said, tmp_path / "run")


@pytest.mark.usefixtures("short_report")
def test_eps_may_be_a_ratio(folders: Path, tmp_path: Path, here: Any) -> None:
    for name, text in (("ratio", "16/255"), ("number", repr(16 / 255))):
        done = here(*words(folders, "animals", "sorted", "--eps", text), "-q", "-o", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
    assert bare(tmp_path / "ratio") == bare(tmp_path / "number")
    found = study(tmp_path / "ratio")
    assert found["limit"] == "L-inf 16/255" and f"--eps {16 / 255!r} " in found["command"]
    more = ["--norm", "l2", "--eps", " 3 / 2 ", "--recipe", "square", "--images", "2"]
    assert here(*words(folders, "animals", "sorted", *more), "-q", "-o", str(tmp_path / "l2")).returncode == 0
    assert study(tmp_path / "l2")["size"] == 1.5


def test_without_a_limit_nothing_begins(folders: Path, tmp_path: Path, here: Any) -> None:
    arguments = [word for word in words(folders) if word not in ("--eps", "0.06")]
    refused(here(*arguments, "-o", str(tmp_path / "run")), "how much may change?", tmp_path / "run")
    refused(here(*arguments, "--norm", "l2", "-o", str(tmp_path / "run")), "give --eps", tmp_path / "run")


def test_every_argument_of_every_recipe_is_checked() -> None:
    """A word where a number belongs, a number far below 0, and a list: one line that names the argument."""
    sizes = {"linf": 0.06, "l2": 1.0, "l0": 4}
    faults = []
    for name, recipe in recipes.recipes().items():
        norm = recipe.norms[0]
        info = attack_nets.animals().info
        setting = recipes.Setting(threat(norm, sizes[norm], info.image_shape), Goal(), 40, info)
        assert recipes.algorithm(name, setting)
        for argument in recipe.arguments:
            for value in ("wrong", -5, [1]):
                try:
                    recipes.algorithm(name, setting, {argument: value})
                except SpecError as error:
                    if argument not in str(error) or "\n" in str(error):
                        faults.append((name, argument, value, str(error)))
                except Exception as error:
                    faults.append((name, argument, value, repr(error)))
                else:
                    faults.append((name, argument, value, "is taken"))
    assert not faults, "\n".join(map(str, faults))


def test_images_that_do_not_fit_are_refused(folders: Path, tmp_path: Path, here: Any) -> None:
    out = tmp_path / "run"
    attack_nets.sorted_by_class(tmp_path / "unknown", names=("ant", "bee", "cat", "wolf"))
    done = here(*words(tmp_path, "animals", "unknown"), "-o", str(out))
    refused(done, "unknown all has images of 'wolf', and animals knows no such class (but ant, bee, cat, dog)", out)
    pictures, labels = attack_nets.pictures()
    np.savez(tmp_path / "many.npz", images=pictures, labels=np.array([*labels[:-1], 9]))
    done = here(*words(tmp_path, "numbers", "many.npz"), "-o", str(out))
    refused(done, "knows no such class", out)
    assert here(*words(tmp_path, "animals", "nowhere"), "-o", str(out)).returncode == 2
    (tmp_path / "empty").mkdir()
    done = here(*words(tmp_path, "animals", "empty"), "-o", str(out))
    refused(done, "holds no folder and no image", out)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.png").write_text("no image")
    refused(here(*words(tmp_path, "animals", "text"), "-o", str(out)), "cannot be read as an image", out)


def test_a_target_that_all_images_have_is_refused(tmp_path: Path, here: Any) -> None:
    pictures, labels = attack_nets.pictures()
    some = [row for row, label in enumerate(labels) if label == 1]
    assert some
    np.savez(tmp_path / "bees.npz", images=pictures[some], labels=np.ones(len(some), int),
             class_names=np.array(attack_nets.NAMES))  # fmt: skip
    done = here(*words(tmp_path, "animals", "bees.npz"), "--target", "bee", "-o", str(tmp_path / "run"))
    refused(done, "all images are of this class", tmp_path / "run")


def test_pools_for_other_images_or_classes_are_refused(folders: Path, tmp_path: Path, here: Any) -> None:
    for name, pool, said in (
        ("shape", pools.empty((1, 9, 9), 4), "its genes are of shape (1, 9, 9)"),
        ("classes", pools.empty(attack_nets.SHAPE, 10), "knows 10 classes"),
        ("norm", pools.empty(attack_nets.SHAPE, 4, norm="l0"), "its genes are of l0, and this attack is of linf"),
    ):
        pools.write(pools.to_bytes(pool), tmp_path / name)
        done = here(*words(folders), "--pool", str(tmp_path / name), "-o", str(tmp_path / "run"))
        refused(done, said, tmp_path / "run")
    (tmp_path / "damaged").write_bytes(b"genes")
    done = here(*words(folders), "--pool", str(tmp_path / "damaged"), "-o", str(tmp_path / "run"))
    assert done.returncode in (2, 4) and done.stderr.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_directory_with_something_in_it_is_refused(folders: Path, tmp_path: Path, here: Any) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    done = here(*words(folders), "-o", str(tmp_path / "run"))
    assert done.returncode == 2 and "the directory is not empty" in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_a_classifier_that_answers_nothing_is_said_to(
    folders: Path, tmp_path: Path, here: Any, short_report: None
) -> None:
    """Scores that are no numbers are no success; where all are, there is nothing to report but that."""
    done = here(*words(folders, "mute", "flat"), "-o", str(tmp_path / "run"))
    if done.returncode:
        assert done.returncode == 2 and done.stderr.strip().splitlines()[-1].startswith("evofool: ")
    else:
        assert outcomes(tmp_path / "run") == ["unanswered"] * 12
        assert "answer" in done.stdout


# ---- other people's models


def test_an_onnx_file_and_a_folder_of_pictures_come_to_a_report(tmp_path: Path, here: Any) -> None:
    weight = (torch.rand(784, 3, generator=torch.Generator().manual_seed(1)) - 0.5) * 0.1
    models.linear_onnx(tmp_path / "net.onnx", weight, -0.5 * weight.sum(0))
    (tmp_path / "mine").mkdir()
    noise = np.random.default_rng(2).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    for number, picture in enumerate(noise):
        Image.fromarray(picture).save(tmp_path / "mine" / f"photo {number}.png")
    done = here(
        "attack", "--classifier", f"onnx:{tmp_path / 'net.onnx'}", "--data", str(tmp_path / "mine"), "--eps", "0.1",
        "--with", "image_shape=1x28x28", "--with", "class_names=cat,dog,owl", "--budget", "50", "--workers", "1",
        "-o", str(tmp_path / "run"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "run" / "report.html").read_text()
    for word in ("photo 0.png", "photo 3.png", "owl"):
        assert word in page, word
    assert re.search(r"<img|<svg", page)
    assert "fooled" in outcomes(tmp_path / "run")
    assert here("verify", str(tmp_path / "run")).returncode == 0
