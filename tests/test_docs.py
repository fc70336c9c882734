"""What the documentation tells people to type does work, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import models
from evofool.classifiers import SHIPPED
from test_cli import here

__all__ = ["here"]  # a fixture

ROOT = Path(__file__).parent.parent
SPLITS = ("train", "test")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    lines = "\n".join(blocks(page, "")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("evofool ")]


def test_there_are_examples_to_try() -> None:
    assert sum(len(commands(page)) for page in PAGES) >= 8
    assert sum(len(blocks(page, "python")) for page in PAGES) >= 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_examples_run(page: Path) -> None:
    for program in blocks(page, "python"):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "fooled" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_are_understood(
    page: Path, tmp_path: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch, here: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVOFOOL_DATA", str(real_data))
    monkeypatch.setenv("DIGITS_KEY", "open-sesame")
    shutil.copytree(SHIPPED / "mnist95", tmp_path / "mine")
    (tmp_path / "runs").mkdir()
    shutil.copy(ROOT / "docs" / "examples" / "endpoint.toml", tmp_path)  # which a dry run does not ask
    if page.name in ("classifiers.md", "README.md"):
        models.export_onnx(tmp_path / "net.onnx")
        _photos(tmp_path / "photos")
    if page.name in ("drawing.md", "why-edges.md", "README.md"):
        _cats(tmp_path)
    for words in commands(page):
        if words[1:3] in (["study", "operators"], ["study", "ink"]) or words[1] in ("draw", "attack"):
            arguments = [*words[1:], "--dry-run"]
        elif words[1] == "list":
            arguments = words[1:]
        else:
            continue  # to train takes minutes (test_cli does it small), and a report needs a run
        done = here(*arguments)
        assert done.returncode == 0, f"{shlex.join(words)}: {done.stderr}"


def _photos(folder: Path) -> None:
    """Images without labels, as the network of the example takes them."""
    from PIL import Image

    folder.mkdir()
    for level in (0, 128, 255):
        Image.new("L", (28, 28), level).save(folder / f"{level}.png")


def _cats(folder: Path) -> None:
    """Images in class folders, zipped, and the networks that the pages train on them, after one pass each."""
    import zipfile

    import torch
    from PIL import Image

    from evofool import finetune, training
    from evofool.data import load_data

    generator = torch.Generator().manual_seed(0)
    with zipfile.ZipFile(folder / "cifar10.zip", "w") as archive:
        for number in range(48):
            name = f"{'train' if number < 36 else 'test'}/{('cat', 'dog', 'ship')[number % 3]}/{number}.png"
            picture = folder / "one.png"
            levels = torch.randint(0, 256, (32, 32), generator=generator, dtype=torch.uint8)
            Image.fromarray(levels.numpy()).save(picture)
            archive.write(picture, name)
    sets = [finetune.one_against_rest(load_data(str(folder / "cifar10.zip"), split=split), "cat") for split in SPLITS]
    for name, padding in {
        "cat": "zeros",
        **{f"cat-{mode}": mode for mode in ("reflect", "replicate", "circular")},
    }.items():
        trained = training.train(
            sets[0], architecture="judge_cnn", arguments={"padding": padding, "width": 3}, single=True, epochs=1
        )
        training.save(trained, sets[0], folder / name, name, sets[1], command="")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    anchors = set(re.findall(r'<a id="([^"]+)">', text))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, f"{page.name}: {target}"
        elif "://" not in target:
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name}: {target}"


def test_every_verb_of_the_readme_is_one_of_the_program() -> None:
    from typer.main import get_command

    from evofool.cli import app

    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    for page in PAGES:
        for words in commands(page):
            assert words[1] in known, words
