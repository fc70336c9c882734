"""The lines of docs/classifiers.md for networks of libraries work, with random weights where none can be fetched."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from evofool.cli import app
from test_libraries import PROCESSORS, picture, saved

PAGE = Path(__file__).parent.parent / "docs" / "classifiers.md"
LINES = re.findall(r"^\| .*? \| `(evofool doctor --classifier (?:timm|torchvision|hf):[^`]*)`", PAGE.read_text(), re.M)


def test_each_library_has_its_line() -> None:
    assert [line.split()[3].partition(":")[0] for line in LINES] == ["timm", "torchvision", "hf"]


@pytest.mark.parametrize("line", LINES)
def test_each_line_of_the_table_works(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for label in ("cat", "zebra"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(picture(40, 40, seed=number)).save(tmp_path / "images" / label / f"{number}.png")
    words = shlex.split(line)[1:]
    if "hf:" in line:
        saved(tmp_path / "net", PROCESSORS["vit"])
        words[2] = "hf:./net"
    else:
        words += ["--with", "pretrained=false"]
    with pytest.raises(SystemExit) as ended:
        app([*words, "--queries", "12", "--with", "micro_batch=4", "--json"])
    told = capsys.readouterr()
    assert not ended.value.code, told.err
    diagnosis = json.loads(told.out)
    assert diagnosis["image_shape"] == [3, 40, 40] and "resized to" in diagnosis["preparation"]
    assert diagnosis["answered"] >= 8 and len(diagnosis["class_names"]) in (3, 1000)
