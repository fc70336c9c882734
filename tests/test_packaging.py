"""What a fresh clone depends on: the project file, the pinned set, the Makefile, and the files of the SOURCES."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import evofool
from test_rooms import SOURCES, imports

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


PINS, PINS_FULL = pins("constraints.txt"), pins("constraints-full.txt")
PINNED = {canonicalize_name(pin.name): next(iter(pin.specifier)) for pin in PINS}
PINNED_FULL = {canonicalize_name(pin.name): next(iter(pin.specifier)) for pin in PINS_FULL}
EXTRAS = PROJECT["project"]["optional-dependencies"]
OURS = {"test", "bench"}  # extras of those who work on it; the others are for users
FULL = ("hf", "timm")  # extras that need the full torch, and so an environment of their own
FOR_USERS = [
    *PROJECT["project"]["dependencies"],
    *(line for key, lines in EXTRAS.items() if key not in OURS for line in lines),
]
NEEDED = [
    requirement
    for requirement in map(Requirement, [*FOR_USERS, *EXTRAS["test"], *EXTRAS["bench"]])
    if requirement.name != "evofool"  # one of its own extras
    and str(requirement) not in {line for extra in FULL for line in EXTRAS[extra]}
]
NEEDED_FULL = [
    Requirement(line)
    for line in [*PROJECT["project"]["dependencies"], *(line for extra in FULL for line in sorted(EXTRAS[extra]))]
]


def test_the_version_stands_in_two_places_and_is_one():
    assert PROJECT["project"]["version"] == evofool.__version__ == metadata.version("evofool")


def test_the_pinned_set_is_exact_and_each_once():
    for pinned, listed in ((PINNED, PINS), (PINNED_FULL, PINS_FULL)):
        assert len(pinned) == len(listed) > 50
        assert {specifier.operator for specifier in pinned.values()} == {"=="}
        assert all(Version(specifier.version).local is None for specifier in pinned.values())  # any build of it
    assert PINNED["torch"].version == "2.13.0"


@pytest.mark.parametrize("requirement", NEEDED, ids=str)
def test_each_requirement_has_a_range_that_holds_its_pin(requirement):
    assert canonicalize_name(requirement.name) in PINNED, "is not in constraints.txt"
    assert {specifier.operator for specifier in requirement.specifier} == {">="}
    assert requirement.specifier.contains(PINNED[canonicalize_name(requirement.name)].version, prereleases=True)


@pytest.mark.parametrize("requirement", NEEDED_FULL, ids=str)
def test_each_requirement_has_a_range_that_holds_its_pin_beside_the_full_torch(requirement):
    assert canonicalize_name(requirement.name) in PINNED_FULL, "is not in constraints-full.txt"
    assert {specifier.operator for specifier in requirement.specifier} == {">="}
    assert requirement.specifier.contains(PINNED_FULL[canonicalize_name(requirement.name)].version, prereleases=True)


def test_torchvision_is_only_where_the_full_torch_is():
    assert "torchvision" in PINNED_FULL
    assert "torchvision" not in PINNED


def test_what_is_needed_by_what_is_needed_is_pinned_too():
    """Follows the installed requirements, so that a fresh machine gets the tested set and nothing newer."""
    waiting = [requirement for requirement in NEEDED if requirement.name not in EXTRAS["bench"]]
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            installed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # the extra for benchmarks need not be here
        seen.add(name)
        waiting += [Requirement(line) for line in installed]
    assert len(seen) > len(PROJECT["project"]["dependencies"])
    # A full build of torch brings libraries of the graphics card, which it pins itself.
    ours = {name for name in seen if not re.match(r"nvidia-|triton|cuda-", name)}
    assert ours <= PINNED.keys()


def test_what_the_sources_import_is_what_the_project_needs():
    outside = set()
    for path in SOURCES.rglob("*.py"):
        outside |= {name.partition(".")[0] for _, name in imports(ast.parse(path.read_text()), path, SOURCES)}
    outside -= {*sys.stdlib_module_names, "evofool", ""}
    named = {
        "sklearn": "scikit-learn",
        "PIL": "pillow",
        "annotated_types": "pydantic",
        "markupsafe": "jinja2",
        "jsonpath_rfc9535": "jsonpath-rfc9535",
    }
    declared = {Requirement(line).name for line in FOR_USERS}
    assert {named.get(name, name) for name in outside} == declared


def test_every_file_of_the_package_is_shipped():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["evofool"]
    shipped = {path for pattern in patterns for path in SOURCES.glob(pattern)}
    files = {path for path in SOURCES.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert SOURCES / "py.typed" in files
    assert files <= shipped
    for pattern in patterns:
        assert any(SOURCES.glob(pattern)), f"nothing is called {pattern}"


def test_every_folder_with_code_is_a_package():
    folders = {path.parent for path in SOURCES.rglob("*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders)


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("make"):
        pytest.skip("no make on this machine")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=folder, env=clean, capture_output=True, text=True, timeout=60)


def test_make_help_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    assert targets >= {"demo", "test", "lint", "bench", "docs", "clean", "help"}
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert set(phony.split()) == targets
    listed = [line.split()[0] for line in make(ROOT, "help").stdout.splitlines()[1:]]
    assert sorted(listed) == sorted(targets)


def test_the_scripts_that_make_runs_exist():
    scripts = re.findall(r"\b(?:benchmarks|docs)/\w+\.py", (ROOT / "Makefile").read_text())
    assert len(scripts) >= 3
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


@pytest.fixture
def fresh(tmp_path) -> Path:
    """A folder with what make reads, and no environment."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "constraints-full.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def fake_python(folder: Path, too_old: bool) -> str:
    """A stand-in that says its version and otherwise writes down what it is asked."""
    path = folder / "fake-python"
    answers = f"*version_info*) exit {int(too_old)};; *python_version*) echo 3.8.1; exit;;"
    path.write_text(f'#!/bin/sh\ncase "$*" in {answers} esac\necho "$@" >>asked\n')
    path.chmod(0o755)
    return f"PYTHON={path}"


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
def test_an_old_python_is_refused_in_one_line(fresh):
    finished = make(fresh, "demo", fake_python(fresh, too_old=True))
    assert finished.returncode == 2
    first, *rest = finished.stderr.strip().splitlines()
    assert "Python 3.11 or newer is needed" in first
    assert "fake-python is 3.8.1: name another" in first
    assert all(line.startswith("make") for line in rest)
    assert not (fresh / ".venv").exists()


def test_a_missing_python_is_told_so(fresh):
    finished = make(fresh, "test", "PYTHON=no-such-python")
    assert finished.returncode == 2
    assert (
        "no-such-python is missing: name another, such as: make PYTHON=python3.12 test"
        in finished.stderr.splitlines()[0]
    )


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
def test_a_new_python_makes_the_environment(fresh):
    make(fresh, "install", fake_python(fresh, too_old=False))
    assert (fresh / "asked").read_text() == "-m venv .venv\n"


def test_a_demo_never_writes_over_another(fresh):
    programs = fresh / ".venv" / "bin"
    programs.mkdir(parents=True)
    (fresh / ".venv" / ".installed").touch()
    program = programs / "evofool"
    program.write_text('#!/bin/sh\nfor last; do :; done\nmkdir -p "$last"\n')
    program.chmod(0o755)
    for number, name in enumerate(["demo", "demo-2", "demo-3"], 1):
        finished = make(fresh, "demo")
        assert finished.returncode == 0, finished.stderr
        assert len(list((fresh / "runs").iterdir())) == number
        assert finished.stdout.splitlines()[-1].endswith(f"/runs/{name}/report.html")


@pytest.mark.parametrize("name", [".ci/run"])
def test_scripts_can_be_run(name):
    path = ROOT / name
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
