"""What every kind of run needs: who it was made by, whether that has changed, and the books of its processes."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import platform
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from . import __version__, rundir, spec
from .classifiers import load_classifier
from .classifiers.support.settings import Settings
from .classifiers.support.sources import recorded, require_trust
from .contracts import Classifier, ClassifierInfo
from .errors import ClassifierError, ClassifierWarning, DamagedRunError, UserError
from .files import write_bytes, write_png
from .rundir import Finding, RunDirectory
from .store import Store
from .variants import Variant

C = TypeVar("C")
P = TypeVar("P")


# What a run directory has to agree with ---------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Of everything that computes."""
    libraries = ("torch", "numpy", "scipy", "scikit-learn", "torchmetrics")
    return {
        "python": platform.python_version(),
        "evofool": __version__,
        **{name: metadata.version(name) for name in libraries},
    }


@functools.cache
def code() -> str:
    """SHA-256 over the sources of evofool, hex."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parent
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def head(
    kind: str,
    command: str,
    config: Mapping[str, Any],
    data: Mapping[str, str],
    infos: Mapping[str, ClassifierInfo],
    variant: Variant | None = None,
) -> dict[str, Any]:
    """What run.json holds: all that has to be the same when the run is resumed.

    Args:
        kind: the name of a package in `studies`.
        command: what repeats the run.
        config: JSON values; what classifiers are loaded from stands in it under "sources".
        data: name and fingerprint of the images; {} without.
        infos: of the classifiers that are asked, by name.
        variant: through which change all findings are seen by their classifier; None = as it is.
    """
    seen = {} if variant in (None, Variant()) else {"variant": spec.to_json(variant)}
    return {
        "kind": kind,
        "command": command,
        "config": dict(config),
        "versions": versions(),
        "code": code(),
        "data": dict(data),
        "classifiers": {
            name: {
                "fingerprint": info.fingerprint,
                "micro_batch": info.micro_batch,
                "memory_format": info.memory_format,
                "dtype": info.dtype,
                **seen,
            }
            for name, info in infos.items()
        },
        "threads": 1,
    }


def config_of(run: dict[str, Any], kind: type[C]) -> C:
    """The configuration that run.json names.

    Raises:
        DamagedRunError: it is not one of this version.
    """
    from pydantic import TypeAdapter, ValidationError

    raw = run["config"]
    unknown = set(raw) - {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise DamagedRunError(f"run.json: unknown setting '{min(unknown)}'; use the version of evofool that wrote it")
    try:
        return TypeAdapter(kind).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedRunError(f"run.json: config.{where}: {first['msg']}") from None


def drift(run: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is not as it was when the run began: "torch 2.12.0, now 2.13.0"."""
    changed = []
    before, after = run.get("versions", {}), now["versions"]
    changed += [
        f"{k} {before.get(k)}, now {after[k]}" for k in after if k in ("torch", "numpy") and before.get(k) != after[k]
    ]
    if run.get("code") != now["code"]:
        changed.append("the code of evofool")
    if run.get("data", {}).get("fingerprint") != now["data"].get("fingerprint"):
        changed.append(f"the images of {now['data'].get('name', 'the data')}")
    for name, info in now["classifiers"].items():
        was = run.get("classifiers", {}).get(name, {})
        changed += [f"{key.replace('_', '-')} of {name}" for key in info if was.get(key) != info[key]]
    return changed


def written(config: Any) -> dict[str, Any]:
    """A configuration for run.json, whose fields `options` and `sources` say how its classifiers are loaded."""
    options = {name: value for name, value in config.options.items() if name != "trust_code"}
    sources = {name: recorded(source) for name, source in config.sources.items()}
    return {**dataclasses.asdict(dataclasses.replace(config, sources={}, options=options)), "sources": sources}


def reopen(
    path: Path,
    kind: type[C],
    used: Callable[[C], Iterable[str]],
    plan: Callable[..., P],
    head: Callable[[P, str], dict[str, Any]],
    *,
    allow_drift: bool = False,
    trust_code: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[P, RunDirectory]:
    """Take up a run where it was left.

    Args:
        path: of the run directory.
        kind: what its configuration is.
        used: the names of the classifiers that a configuration will have loaded.
        plan: makes a plan of a configuration.
        head: what run.json would hold now.
        allow_drift: go on though the code, the data or a classifier has changed; the report will say so.
        trust_code: load classifiers that run code or send images somewhere, as the directory says.
        progress: told of downloads, as by `load_data`.

    Raises:
        UserError: something has changed, or another process works on it.
        DamagedRunError: what is there is not what was written.
    """
    run = rundir.read_run(path)
    config: Any = config_of(run, kind)
    sources = require_trust(used(config), config.sources, path, trust_code=trust_code)
    # The sources hold all that was said.
    again = plan(dataclasses.replace(config, sources=sources, options={}), progress=progress)
    changed = drift(run, head(again, ""))
    if changed and not allow_drift:
        raise UserError(
            f"{path}: changed since the run began: {'; '.join(changed)}; go on with what began it, or give "
            "--allow-drift, which the report will say"
        )
    directory = RunDirectory.open(path)
    if changed:
        directory.store.note("; ".join(changed))
    return again, directory


# Classifiers ------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8)
def _loaded(source: str | Settings) -> Classifier:
    return load_classifier(source)


def classifier_of(name: str, sources: Mapping[str, Settings]) -> Classifier:
    """The classifier of a name, loaded once for each process."""
    return _loaded(sources.get(name, name))


def loaded(name: str, sources: Mapping[str, Settings], fingerprints: Mapping[str, str]) -> Classifier:
    """The same, for a worker.

    Raises:
        ClassifierError: it is not the one that the plan was made for.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClassifierWarning)  # the plan has told it
        classifier = classifier_of(name, sources)
    if classifier.info.fingerprint != fingerprints.get(name, classifier.info.fingerprint):
        raise ClassifierError(
            f"{name} is another one each time it is loaded: expected the same weights; does it draw them at "
            f"random? Load them from a file, or fix their seed"
        )
    return classifier


# Processes --------------------------------------------------------------------------------------------------------


def shared_out(sources: Mapping[str, Settings], workers: int) -> tuple[int, dict[str, Settings]]:
    """How many processes there are, and what each may have in flight, so that together they keep to `concurrency`."""
    limits = [source.concurrency or 1 for source in sources.values() if source.metered]
    workers = min([workers, *limits])
    shares = {
        name: source.model_copy(update={"concurrency": max(1, (source.concurrency or 1) // max(1, workers))})
        if source.metered
        else source
        for name, source in sources.items()
    }
    return workers, shares


_open: dict[str, Store] = {}  # the books that this process writes in


def books(directory: str) -> Store:
    """The books of a run directory, opened once in each process that works on it; see `leave`."""
    if directory not in _open:
        worker = multiprocessing.parent_process() is not None
        path = Path(directory)
        _open[directory] = rundir.join(path) if worker else Store(path / "ledger.sqlite")
    return _open[directory]


def leave() -> None:
    """Close the books that this process has opened."""
    while _open:
        _open.popitem()[1].close()


def sessions(store: Store) -> dict[str, Any]:
    """How often a run was killed, and what had changed when it was taken up again: for its report."""
    found = store.sessions()
    return {
        "kills": sum(state == "killed" for state, _ in found),
        "drift": sorted({notes for _, notes in found if notes}),
    }


# Pictures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A picture of a run.

    Attributes:
        about: what it belongs to, a frozen dataclass of JSON values.
        image: bytes [C H W].
    """

    about: Any
    image: torch.Tensor

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it, the picture with it: a result is there as a whole or not at all."""
        text = base64.b64encode(self.image.contiguous().numpy().tobytes()).decode()
        return {"about": dataclasses.asdict(self.about), "shape": list(self.image.shape), "bytes": text}

    @staticmethod
    def from_json(kind: type, raw: dict[str, Any]) -> Shown:
        """The inverse of `to_json`; `kind` is the class of `about`."""
        pixels = np.frombuffer(base64.b64decode(raw["bytes"]), np.uint8).reshape(raw["shape"])
        return Shown(kind(**raw["about"]), torch.from_numpy(pixels.copy()))


def numbered(shown: Iterable[Shown]) -> tuple[list[Finding], dict[str, torch.Tensor]]:
    """Findings with their numbers, and their pictures by file name."""
    findings, pictures = [], {}
    for number, each in enumerate(shown, 1):
        file = f"images/finding_{number:05d}.png"
        findings.append(dataclasses.replace(each.about, number=number, file=file))
        pictures[file] = each.image
    return findings, pictures


def save(
    directory: RunDirectory,
    *,
    pictures: Mapping[str, torch.Tensor],
    findings: list[Finding],
    timings: Mapping[str, Any],
    numbers: str,
) -> None:
    """Write what a finished run leaves behind: images/, findings.jsonl, timings.json, study.json.

    Args:
        directory: of the run.
        pictures: by file name, bytes [C H W]; what was sent, pixel by pixel.
        findings: their images are among the pictures.
        timings: how long things took, apart from the numbers, which are always the same.
        numbers: study.json.

    Raises:
        UserError: the disk refuses.
    """
    for name, picture in pictures.items():
        write_png(directory.path / name, picture)
    for finding in findings:
        rundir.image_of(directory.path, finding)
    rundir.write_findings(directory.path, findings)
    write_bytes(directory.path / "timings.json", (json.dumps(timings, indent=1) + "\n").encode())
    write_bytes(directory.path / "study.json", numbers.encode())
