"""A run directory: what was run, what was asked, what came out, and a manifest that says whether it still is that.

    run.json         what is run: kind, configuration, versions, fingerprints; written first
    ledger.sqlite    accounts, attempts, answers, events, results; see `store`
    state/           where unfinished searches stand; see `checkpoint`
    images/          PNG
    findings.jsonl   what fooled, one line each
    manifest.json    SHA-256 of all files; written last, when the run is closed in order

Nothing is trusted on the way back: names are checked, links are refused, no file is read as code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from . import checkpoint, locks, wal
from .errors import DamagedRunError, EvofoolError, UserError
from .files import read_json, read_png, read_whole, refuse_link, refuse_network, sha256, sync_folder, write_bytes
from .shapes import Tensor, UInt8
from .store import Store

FORMAT = "evofool-run/1"
NO_LABEL = -1  # of an image that was made from nothing, and so carries no class
# Not in the manifest, and neither is what SQLite keeps beside its files.
_APART = {"manifest.json", "manifest.previous.json", "lock", "workers", "checks.sqlite", "checks.lock"}


@dataclass(frozen=True)
class Finding:
    """An image that fooled the classifier.

    Attributes:
        number: counts from 1.
        file: PNG, in the run directory.
        sha256: of its gray levels [C H W].
        classifier: as it was named.
        seed: of the search.
        arm: what the search was part of.
        generation: it was asked in.
        label: the class it carries, or NO_LABEL.
        prediction: the class that the classifier saw.
        confidence: probability of that class, in [0, 1].
        scores: as they came back.
        confirmed: how often it was asked again, and misclassified again.
    """

    number: int
    file: str
    sha256: str
    classifier: str
    seed: int
    arm: str
    generation: int
    label: int
    prediction: int
    confidence: float
    scores: list[float]
    confirmed: int = 0


class RunDirectory:
    """A run directory that this process owns, until `close` or its death.

    Attributes:
        path: of the directory.
        run: the content of run.json.
        store: the ledger's books.
    """

    def __init__(self, path: Path, run: dict[str, Any], lock: int):
        self.path, self.run, self._lock = path, run, lock
        self.store = Store(path / "ledger.sqlite", owner=True)

    @classmethod
    def create(cls, path: Path, run: dict[str, Any]) -> RunDirectory:
        """Begin a run.

        Args:
            path: a new or an empty directory.
            run: what JSON can hold: "kind", "config", and whatever else has to be the same when it is resumed.

        Raises:
            UserError: the directory holds something, or cannot be written.
        """
        path = Path(path)
        run = json.loads(json.dumps({"format": FORMAT, **run}))
        head = (json.dumps({**run, "digest": _digest(run)}, indent=1) + "\n").encode()
        refuse_network(path)
        _refuse_full(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be made ({error.strerror}); choose another place for -o") from None
        lock = locks.own(path)
        try:
            _refuse_full(path)  # another process may have been here first
            write_bytes(path / "run.json", head)
            return cls._owned(path, run, lock)
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Go on with a run. The manifest of an earlier close is taken away, since it will not be true any more.

        Raises:
            UserError: another process works on it, or it is not a run directory.
            DamagedRunError: what is there is not what was written.
        """
        path = Path(path)
        run = read_run(path)
        lock = locks.own(path)
        try:
            present, ledger = set(files_of(path)), path / "ledger.sqlite"
            # Killed at its very beginning, a run has no ledger yet; later, an empty one would forget all charges.
            begun = closed(path) or (path / "manifest.previous.json").exists() or present - {"run.json", ledger.name}
            if begun and not (ledger.is_file() and ledger.stat().st_size):
                raise DamagedRunError(f"{ledger}: is missing; restore the run from a copy")
            if wal.forgotten(path / "ledger.sqlite-wal").transactions > 1:
                raise DamagedRunError(
                    f"{ledger}-wal: is broken in the middle and would forget charges; restore the run from a copy"
                )
            recorded = (read_manifest(path) or {}).get(ledger.name, {}).get("sha256")
            if recorded and sha256(ledger) != recorded:
                raise DamagedRunError(f"{ledger}: has changed since the run was closed; restore the run from a copy")
            return cls._owned(path, run, lock)
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def _owned(cls, path: Path, run: dict[str, Any], lock: int) -> RunDirectory:
        manifest, previous = path / "manifest.json", path / "manifest.previous.json"
        was_closed = read_manifest(path) is not None
        try:
            if manifest.exists():  # it will not be true any more, from the first change of the ledger on
                os.replace(manifest, previous)
                sync_folder(path)
            for leftover in path.rglob(".*.tmp-*"):  # a file that was being written when its process died
                if leftover.is_file():
                    leftover.unlink()
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}); mend the permissions of the run") from None
        try:
            return cls(path, run, lock)
        except BaseException:
            before = read_json(previous)["files"].get("ledger.sqlite", {}) if was_closed else {}
            if before and before.get("sha256") == sha256(path / "ledger.sqlite"):  # nothing has happened
                os.replace(previous, manifest)
            raise

    def close(self) -> None:
        """End in order: the books are closed, and the manifest is written last.

        A program that reads the ledger just then can keep it from being whole in its file; then there is no manifest,
        as after a kill, and the run can be resumed all the same.
        """
        try:
            if self.store.close():
                write_manifest(self.path)
        finally:
            self.abandon()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Close in order whatever ended the block; where even that fails, the first error counts."""
        with contextlib.suppress(*((EvofoolError, OSError) if error else ())):
            self.close()

    def abandon(self) -> None:
        """Let go of the directory as it is; what is in it can be resumed."""
        self.store.abandon()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _refuse_full(path: Path) -> None:
    if (path / "run.json").is_file():
        raise UserError(f"{path}: holds a run already; `evofool resume {path}` goes on with it, or choose another -o")
    # A process that was killed at the very beginning may have left its locks and half of a run.json.
    ours = {"lock", "workers"}
    if path.exists() and (
        not path.is_dir() or any(e.name not in ours and not e.name.startswith(".run.json.tmp-") for e in path.iterdir())
    ):
        raise UserError(f"{path}: is not empty; expected a new or an empty directory: choose another name for -o")


def join(path: Path) -> Store:
    """The books of a run, for a process that its owner started; the owner's successor waits until it has ended."""
    locks.follow(path)
    return Store(path / "ledger.sqlite")


# What is in a directory -----------------------------------------------------------------------------------------


def read_run(path: Path) -> dict[str, Any]:
    """The content of run.json.

    Raises:
        UserError: there is no run here.
        DamagedRunError: it is not one that this version can read.
    """
    file = Path(path) / "run.json"
    if not file.exists() and not file.is_symlink():
        raise UserError(f"{path}: no run there; expected a directory with run.json that evofool wrote")
    run = read_json(file, limit=10_000_000)
    known = isinstance(run, dict) and isinstance(run.get("format"), str) and run["format"].startswith("evofool-run/")
    if not known or not isinstance(run.get("config"), dict) or not isinstance(run.get("kind"), str):
        raise DamagedRunError(f"{file}: is not the head of a run of evofool")
    if run["format"] != FORMAT:
        raise DamagedRunError(
            f"{file}: has the format {run['format']}, expected {FORMAT}; use the version of evofool that wrote it"
        )
    if run.pop("digest", None) != _digest(run):
        raise DamagedRunError(f"{file}: has changed since it was written; restore the run from a copy")
    return run


def _digest(run: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()


def files_of(path: Path) -> list[str]:
    """Names of all files of a run but its locks and its manifest, sorted.

    Raises:
        DamagedRunError: there is a link, or something that is no file.
    """
    names = []
    for folder, folders, files in os.walk(path):
        for name in [*folders, *files]:
            refuse_link(Path(folder) / name, folder=name in folders)
        inside = Path(folder).relative_to(path)
        names += [(inside / name).as_posix() for name in files]
    beside = tuple(f"{name}-" for name in ("ledger.sqlite", "checks.sqlite"))
    return sorted(name for name in names if name not in _APART and not name.startswith(beside) and ".tmp-" not in name)


def write_manifest(path: Path) -> None:
    """Write down the SHA-256 and size of every file."""
    files = {name: {"sha256": sha256(path / name), "bytes": (path / name).stat().st_size} for name in files_of(path)}
    _write_manifest(path, files)


def _write_manifest(path: Path, files: dict[str, dict[str, Any]]) -> None:
    text = json.dumps({"format": FORMAT, "files": files}, indent=1) + "\n"
    write_bytes(path / "manifest.json", text.encode())


def reseal(path: Path, rewritten: Sequence[str]) -> None:
    """Bring a manifest up to date after files were written anew; the hashes of all others stay as they were.

    Args:
        path: of the run.
        rewritten: names of files, or of folders with a slash at the end.
    """
    before = read_manifest(path)
    if before is None:
        return
    after = {name: entry for name, entry in before.items() if not name.startswith(tuple(rewritten))}
    for name in files_of(path):
        if name.startswith(tuple(rewritten)):
            after[name] = {"sha256": sha256(path / name), "bytes": (path / name).stat().st_size}
    _write_manifest(path, dict(sorted(after.items())))


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The files that the manifest names; None where there is none that can be read."""
    if not (path / "manifest.json").is_file():
        return None
    try:
        files = read_json(path / "manifest.json")["files"]
        return {str(name): {"sha256": str(entry["sha256"]), "bytes": entry["bytes"]} for name, entry in files.items()}
    except (DamagedRunError, KeyError, TypeError, AttributeError):
        return None


def closed(path: Path) -> bool:
    """Whether a run was closed in order: it has a manifest."""
    return (path / "manifest.json").is_file()


def finished(path: Path) -> bool:
    """Whether a run came to its end: it was closed in order, and has its report."""
    return closed(path) and (path / "report.html").is_file()


def damage(path: Path) -> list[str]:
    """What is wrong with a run: files, hashes, the ledger, checkpoints, images; [] = nothing.

    Raises:
        UserError: there is no run.
        DamagedRunError: so little of it is left that the rest cannot be looked at.
    """
    path = Path(path)
    read_run(path)
    found: list[str] = []
    try:
        present = files_of(path)
        found += _changed(path, present) if closed(path) else []
    except DamagedRunError as error:
        return [str(error)]
    if not (path / "ledger.sqlite").is_file():
        return [*found, "ledger.sqlite: is missing"]
    if (lost := wal.forgotten(path / "ledger.sqlite-wal")).frames:
        found.append(f"ledger.sqlite-wal: is broken; {lost.frames} pages at its end would be forgotten")
    try:
        store = Store(path / "ledger.sqlite", read_only=True)
        try:
            found += store.damage()
        finally:
            store.abandon()
    except (DamagedRunError, UserError) as error:
        found.append(str(error))
    for card in sorted((path / "state").glob("*.json")):
        try:
            checkpoint.tensors_of(card, checkpoint.card_of(card))
        except DamagedRunError as error:
            found.append(str(error))
    try:
        entries = findings(path)
    except DamagedRunError as error:
        return [*found, str(error)]
    for finding in entries:
        try:
            image_of(path, finding)
        except DamagedRunError as error:
            found.append(str(error))
    return found


def _changed(path: Path, present: list[str]) -> list[str]:
    manifest = read_manifest(path)
    if manifest is None:
        return ["manifest.json: cannot be read"]
    wrong = [f"{name}: is not in the manifest" for name in present if name not in manifest]
    log = path / "ledger.sqlite-wal"  # SQLite would take it for changes that belong into the ledger
    if log.exists() and log.stat().st_size:
        wrong.append(f"{log.name}: is not in the manifest")
    for name, entry in manifest.items():
        if name not in present:
            wrong.append(f"{name}: is missing")
        elif sha256(path / name) != entry["sha256"]:
            wrong.append(f"{name}: its bytes have changed")
    return wrong


# What fooled ----------------------------------------------------------------------------------------------------


def write_findings(path: Path, found: list[Finding]) -> None:
    """Write findings.jsonl; their images are there already."""
    lines = [json.dumps(dataclasses.asdict(finding)) for finding in found]
    write_bytes(path / "findings.jsonl", "".join(f"{line}\n" for line in lines).encode())


def findings(path: Path) -> list[Finding]:
    """What fooled, as far as the run has come to an end.

    Raises:
        DamagedRunError: a line is not a finding, or its file is not one of this directory.
    """
    file = path / "findings.jsonl"
    if not file.exists():
        return []
    found = []
    for number, line in enumerate(read_whole(file, limit=200_000_000).splitlines(), 1):
        try:
            finding = Finding(**json.loads(line))
            for name, kind in typing.get_type_hints(Finding).items():
                if type(getattr(finding, name)) is not (typing.get_origin(kind) or kind):
                    raise ValueError(f"{name} is not {kind}")
            if not all(type(score) in (float, int) for score in finding.scores):
                raise ValueError("a score is no number")
        except (ValueError, TypeError, RecursionError) as error:
            raise DamagedRunError(f"{file}: line {number} is not a finding ({error})") from None
        refuse_elsewhere(finding.file, f"{file}: line {number}")
        found.append(finding)
    return found


def refuse_elsewhere(name: str, where: str) -> None:
    """Images of a run lie in its folder of images.

    Args:
        name: of a file.
        where: it stands, for the message.

    Raises:
        DamagedRunError: the name leads elsewhere.
    """
    path = PurePosixPath(name)
    if len(path.parts) != 2 or path.parts[0] != "images" or path.suffix != ".png" or "\0" in name:
        raise DamagedRunError(f"{where} names the file '{name}', expected images/NAME.png")


def image_hash(image: UInt8[Tensor, "C H W"]) -> str:
    """SHA-256 of the gray levels of an image."""
    return hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()


def image_of(path: Path, finding: Finding) -> UInt8[Tensor, "C H W"]:
    """The image of a finding, byte for byte what was sent.

    Raises:
        DamagedRunError: it is missing, cannot be read, or is another one.
    """
    image = read_png(path / finding.file)
    if image_hash(image) != finding.sha256:
        raise DamagedRunError(f"{path / finding.file}: is not the image that was found; its gray levels have changed")
    return image
