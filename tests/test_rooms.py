"""The rules that only the text of the sources can show: who imports whom, and what nobody does."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parent.parent / "src" / "evofool"

# A module imports only from its own room and from those above it.
ROOMS = """
    errors shapes contracts rng genome spec files studyfile interrupts locks wal operators regions encodings objectives
    criteria waves belief pool sharing algorithms threat networks padding classifiers variants data accounts schema
    store metered calls delivery ledger search shrink bisection evasion recipes checkpoint rundir runs checks
    adversarial augmentation finetune saving training doctor executors progress studies reports attacks testing cli
""".split()  # noqa: SIM905
ONLY_FOR = {"progress": {"cli"}}  # others take a callback: they must also work where nobody watches
TALKERS = {"progress", "cli"}
EVERYWHERE = {"__version__"}
FRONT = {  # what the package itself hands on
    "evofool.classifiers.load_classifier",
    "evofool.attacks.attack",
    "evofool.errors.UserError",
}

FORBIDDEN_MODULES = {
    "random": "draws come from rng.Stream",
    "pickle": "data only: safetensors and JSON",
    "cPickle": "data only: safetensors and JSON",
    "dill": "data only: safetensors and JSON",
    "cloudpickle": "data only: safetensors and JSON",
    "joblib": "data only: safetensors and JSON",
    "shelve": "data only: safetensors and JSON",
    "marshal": "data only: safetensors and JSON",
    "yaml": "settings are JSON or TOML",
    "pandas": "tables are NamedTuples",
    "torchvision": "readers and networks are ours",
}
FORBIDDEN_NAMES = {
    "torch.manual_seed": "nobody seeds a global generator",
    "torch.random.manual_seed": "nobody seeds a global generator",
    "torch.seed": "nobody seeds a global generator",
    "torch.random.seed": "nobody seeds a global generator",
    "torch.set_rng_state": "nobody sets a global generator",
    "torch.random.set_rng_state": "nobody sets a global generator",
    "torch.default_generator": "nobody uses a global generator",
    "torch.cuda.manual_seed": "nobody seeds a global generator",
    "torch.cuda.manual_seed_all": "nobody seeds a global generator",
}
KEEPERS = {
    "classifiers/torchvision.py": {"torchvision.models"},  # the adapter, for those who have it
    # The state of global generators, so that a library that draws from them leaves them as they were.
    "rng.py": {"random", "numpy.random.get_state", "numpy.random.set_state"},
}
GENERATOR_CLASSES = {
    "default_rng",
    "Generator",
    "BitGenerator",
    "SeedSequence",
    "PCG64",
    "PCG64DXSM",
    "Philox",
    "SFC64",
}
FORBIDDEN_CALLS = {"eval": "nothing is parsed as code", "exec": "nothing is parsed as code"}


def room_of(path: Path, root: Path) -> str:
    """The room a file stands in; "" for the package itself."""
    first = path.relative_to(root).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(tree: ast.AST, path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything a file imports, wherever in it, spelled absolutely."""
    package = ["evofool", *path.relative_to(root).parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for name in node.names:
                yield node.lineno, f"{stem}.{name.name}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            if called in {"import_module", "__import__", "library"}:
                yield node.lineno, _text(node.args[0])


def _text(node: ast.expr) -> str:
    """A string as far as it is written out: of an f-string, what stands before the first hole."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def wrong_rooms(tree: ast.AST, path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Imports from a room that is not above."""
    here = room_of(path, root)
    if here and here not in ROOMS:
        yield 1, f"the room '{here}' is not in the order of rooms"
        return
    for line, name in imports(tree, path, root):
        parts = name.split(".")
        if parts[0] != "evofool" or (len(parts) > 1 and parts[1] in EVERYWHERE):
            continue
        there = parts[1] if len(parts) > 1 else ""
        if there == here or (not here and name in FRONT):
            continue
        if there not in ROOMS:
            yield line, f"imports {name}: the room '{there}' is not in the order of rooms"
        elif not here or ROOMS.index(there) > ROOMS.index(here):
            yield line, f"imports {name}: '{there}' stands below '{here or 'the package itself'}'"
        elif here not in ONLY_FOR.get(there, {here}):
            yield line, f"imports {name}: only {', '.join(sorted(ONLY_FOR[there]))} may; take a callback instead"


def _dotted(node: ast.expr, known: dict[str, str]) -> str:
    """The full name of `a.b.c` by what the file imported as `a`; "" for anything else."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in known:
        return ""
    return ".".join([known[node.id], *reversed(names)])


def wrong_deeds(tree: ast.AST, path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Global generators, unsafe readers, code made of text, and talk."""
    known: dict[str, str] = {}
    kept = KEEPERS.get(str(path.relative_to(root)), set())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                known[name.asname or name.name.split(".")[0]] = name.name if name.asname else name.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            known.update({name.asname or name.name: f"{node.module}.{name.name}" for name in node.names})
    for line, name in imports(tree, path, root):
        for module, why in FORBIDDEN_MODULES.items():
            if (name == module or name.startswith(f"{module}.")) and name not in kept:
                yield line, f"imports {name}: {why}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = _dotted(node, known)
            if name in FORBIDDEN_NAMES:
                yield node.lineno, f"uses {name}: {FORBIDDEN_NAMES[name]}"
            if name.startswith("numpy.random.") and name not in kept and name.split(".")[2] not in GENERATOR_CLASSES:
                yield node.lineno, f"uses {name}: nobody draws from a global generator"
            if name in {"sys.stdout", "sys.stderr"} and room_of(path, root) not in TALKERS:
                yield node.lineno, f"uses {name}: only {' and '.join(sorted(TALKERS))} talk"
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if called in FORBIDDEN_CALLS:
            yield node.lineno, f"calls {called}: {FORBIDDEN_CALLS[called]}"
        if called == "print" and room_of(path, root) not in TALKERS:
            yield node.lineno, f"prints: only {' and '.join(sorted(TALKERS))} talk"
        keywords = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        if _dotted(node.func, known) == "torch.load" and keywords.get("weights_only") is not True:
            yield node.lineno, "calls torch.load without weights_only=True"
        if keywords.get("allow_pickle"):
            yield node.lineno, "reads with allow_pickle=True"


def violations(root: Path) -> list[str]:
    """Everything in a package that breaks a rule, one line each."""
    found = []
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for check in (wrong_rooms, wrong_deeds):
            found += [f"{path.relative_to(root)}:{line} {what}" for line, what in check(tree, path, root)]
    return found


def test_the_sources_keep_the_rules():
    assert len(list(SOURCES.rglob("*.py"))) > 10
    assert violations(SOURCES) == []


def test_every_room_is_there():
    there = {room_of(path, SOURCES) for path in SOURCES.rglob("*.py")} - {""}
    assert set(ROOMS) - {"testing"} <= there, "a room that nobody lives in should leave the order"


PLANTED = [
    ("rng.py", "from .search import run", "'search' stands below 'rng'"),
    ("rng.py", "from . import search", "'search' stands below 'rng'"),
    ("rng.py", "import evofool.search", "'search' stands below 'rng'"),
    ("rng.py", "def late():\n    from evofool import cli", "'cli' stands below 'rng'"),
    ("rng.py", "import importlib\nimportlib.import_module('evofool.cli')", "'cli' stands below 'rng'"),
    ("rng.py", "import importlib\nimportlib.import_module(f'evofool.operators.{1}')", "'operators' stands below 'rng'"),
    ("studies/operators/extra.py", "from ...reports import plots", "'reports' stands below 'studies'"),
    ("operators/extra.py", "from ..algorithms.ga import x", "'algorithms' stands below 'operators'"),
    ("__init__.py", "from .cli import main", "'cli' stands below 'the package itself'"),
    ("attic.py", "", "the room 'attic' is not in the order"),
    ("search.py", "from .attic import x", "the room 'attic' is not in the order"),
    ("studies/extra.py", "from ..progress import progress", "only cli may"),
    ("search.py", "print('here')", "prints"),
    ("search.py", "import sys\nsys.stderr.write('here')", "uses sys.stderr"),
    ("search.py", "import random", "imports random"),
    ("search.py", "from random import choice", "imports random.choice"),
    ("search.py", "import pickle", "imports pickle"),
    ("search.py", "import yaml", "imports yaml"),
    ("search.py", "import torchvision", "imports torchvision"),
    ("classifiers/timm.py", "from torchvision import models", "imports torchvision.models"),
    ("classifiers/torchvision.py", "import torchvision.transforms", "imports torchvision.transforms"),
    ("search.py", "import torch\ntorch.manual_seed(1)", "uses torch.manual_seed"),
    ("search.py", "import torch as t\nt.random.manual_seed(1)", "uses torch.random.manual_seed"),
    ("search.py", "from torch import manual_seed\nmanual_seed(1)", "uses torch.manual_seed"),
    ("search.py", "import numpy as np\nnp.random.seed(1)", "uses numpy.random.seed"),
    ("search.py", "from numpy import random\nrandom.rand(1)", "uses numpy.random.rand"),
    ("search.py", "eval('1')", "calls eval"),
    ("search.py", "exec('1')", "calls exec"),
    ("search.py", "import torch\ntorch.load('x')", "without weights_only"),
    ("search.py", "import numpy\nnumpy.load('x', allow_pickle=True)", "allow_pickle"),
]


@pytest.mark.parametrize(("file", "text", "found"), PLANTED)
def test_a_planted_fault_is_found(tmp_path, file, text, found):
    copy = tmp_path / "evofool" / file
    copy.parent.mkdir(parents=True)
    if (SOURCES / file).exists():
        shutil.copy(SOURCES / file, copy)
        assert violations(tmp_path / "evofool") == []
    with copy.open("a") as source:
        source.write(f"\n{text}\n")
    (violation,) = violations(tmp_path / "evofool")
    assert violation.startswith(f"{file}:")
    assert found in violation


INNOCENT = """
import numpy as np
import torch
from .shapes import Tensor
from . import __version__
def draws(module):
    module.eval()
    torch.Generator().manual_seed(0)
    return np.random.default_rng(0), np.random.Philox(key=1), "print(x)", torch.load("x", weights_only=True)
"""


def test_what_is_allowed_is_not_found(tmp_path):
    root = tmp_path / "evofool"
    root.mkdir()
    (root / "search.py").write_text(INNOCENT)
    (root / "cli.py").write_text("import sys\nfrom .progress import x\nprint('here', file=sys.stderr)\n")
    assert violations(root) == []


HEAVY = {"torch", "scipy", "sklearn", "matplotlib", "torchmetrics", "pandas", "jinja2", "PIL"}


def test_the_command_line_starts_light():
    code = "import sys, evofool.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(finished.stdout.split())
    assert "evofool" in loaded
    assert loaded & HEAVY == set()


def test_help_starts_light():
    code = "import sys, evofool.cli\ntry:\n    evofool.cli.app(['{}', '--help'])\nfinally:\n    print(*sys.modules)"
    for verb in ("study", "train", "doctor"):
        finished = subprocess.run([sys.executable, "-c", code.format(verb)], capture_output=True, text=True)
        loaded = {name.partition(".")[0] for name in finished.stdout.splitlines()[-1].split()}
        assert "typer" in loaded
        assert loaded & HEAVY == set()
