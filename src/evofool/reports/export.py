"""Writes what a run holds in the forms that other programs read."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import io
import json
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np

from .. import rundir, studies
from ..errors import DamagedRunError, UserError, nearest
from ..files import write_bytes
from ..store import Store

FORMS = {"csv": ".csv", "jsonl": ".jsonl", "parquet": ".parquet", "npz": ".npz", "imagefolder": ""}


def export(path: Path, to: str, out: Path | None = None, *, table: str = "findings") -> Path:
    """Export a run.

    Args:
        path: of the run.
        to: csv, jsonl or parquet (a table), npz or imagefolder (the images of all findings).
        out: file or folder to write; None = beside the run, named after it.
        table: findings, generations or accounts.

    Returns:
        What was written.

    Raises:
        UserError: an unknown form or table, nothing to export, a missing library, a file in the way.
        DamagedRunError: the run is not what was written.
    """
    if to not in FORMS:
        raise UserError(f"unknown form '{to}'{nearest(to, FORMS)}")
    if table not in TABLES:
        raise UserError(f"unknown table '{table}'{nearest(table, TABLES)}")
    images = to in ("npz", "imagefolder")
    name = "images" if images else table
    out = out or path.absolute().with_name(f"{path.absolute().name}-{name}{FORMS[to]}")
    if out.exists():
        raise UserError(f"{out}: is there already; choose another name with -o")
    if images:
        _npz(path, out) if to == "npz" else _folder(path, out)
    else:
        rows = TABLES[table](path)
        if not rows:
            raise UserError(f"{path}: has no {table} yet; expected a run that has come to its end")
        write_bytes(out, _WRITERS[to](rows))
    return out


def _findings(path: Path) -> list[dict[str, Any]]:
    return [dataclasses.asdict(finding) for finding in rundir.findings(path)]


def _generations(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _results(path).generations() if (path / "study.json").is_file() else []
    return rows


def _results(path: Path) -> Any:
    """The numbers of a finished run, of whatever kind it is."""
    kind = rundir.read_run(path)["kind"]
    if kind not in [module.name for module in pkgutil.iter_modules(studies.__path__)]:
        raise DamagedRunError(f"run.json: unknown kind of run '{kind}'; use the version of evofool that wrote it")
    return importlib.import_module(f"evofool.studies.{kind}.results").load(path / "study.json")


def _accounts(path: Path) -> list[dict[str, Any]]:
    store = Store(path / "ledger.sqlite", read_only=True)
    try:
        return [{"account": name, **counts} for name, counts in store.counts().items()]
    finally:
        store.abandon()


TABLES = {"findings": _findings, "generations": _generations, "accounts": _accounts}


def _csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: json.dumps(value) if isinstance(value, list) else value for key, value in row.items()})
    return text.getvalue().encode()


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError("parquet needs pyarrow: pip install 'evofool[export]', or choose csv or jsonl") from None
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


_WRITERS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}


def _found(path: Path) -> tuple[list[rundir.Finding], np.ndarray, list[str]]:
    """Findings with their images [N C H W] and the names of the classes."""
    found = rundir.findings(path)
    if not found:
        raise UserError(f"{path}: has no findings yet; expected a run that has come to its end and fooled something")
    names = _results(path).class_names
    for finding in found:
        if not 0 <= _class(finding) < len(names):
            raise DamagedRunError(f"{path}: finding {finding.number} has the class {_class(finding)} of {len(names)}")
    images = [rundir.image_of(path, finding).numpy() for finding in found]
    if len({image.shape for image in images}) > 1:
        raise DamagedRunError(f"{path}: the images of its findings have several sizes; restore the run from a copy")
    return found, np.stack(images), names


def _class(finding: rundir.Finding) -> int:
    """The class that a finding carries; of what was made from nothing, that which the classifier sees."""
    return finding.prediction if finding.label == rundir.NO_LABEL else finding.label


def _npz(path: Path, out: Path) -> None:
    found, images, names = _found(path)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        images=images,
        labels=np.array([_class(finding) for finding in found]),
        predictions=np.array([finding.prediction for finding in found]),
        findings=np.array([finding.number for finding in found]),
        class_names=np.array(names),
    )
    write_bytes(out, buffer.getvalue())


def _folder(path: Path, out: Path) -> None:
    found, _, names = _found(path)
    used = {names[_class(finding)] for finding in found}
    for name in sorted(used):
        if Path(name).name != name or name in ("", "..") or "\0" in name:
            raise UserError(f"{path}: has a class '{name}', which cannot be the name of a folder; export npz instead")
    for finding in found:
        content = (path / finding.file).read_bytes()
        write_bytes(out / names[_class(finding)] / Path(finding.file).name, content)
