"""How the books lie in their file: tables, digests of rows, batches of answers and the links between them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .accounts import COLUMNS
from .errors import DamagedRunError

VERSION = 1
APPLICATION = 0x65766F66  # "evof", in the header of the file

_SCHEMA = f"""
BEGIN;
CREATE TABLE accounts (search TEXT PRIMARY KEY, issued INTEGER NOT NULL, answered INTEGER NOT NULL,
    failed INTEGER NOT NULL, lost INTEGER NOT NULL, repeated INTEGER NOT NULL, digest TEXT NOT NULL) STRICT;
CREATE TABLE totals (one INTEGER PRIMARY KEY CHECK (one = 1), issued INTEGER NOT NULL, padded INTEGER NOT NULL,
    digest TEXT NOT NULL) STRICT;
CREATE TABLE attempts (id INTEGER PRIMARY KEY, chain TEXT NOT NULL, key TEXT NOT NULL, rows TEXT NOT NULL,
    state TEXT NOT NULL, digest TEXT NOT NULL) STRICT;
CREATE TABLE batches (chain TEXT NOT NULL, number INTEGER NOT NULL, key TEXT NOT NULL, content TEXT NOT NULL,
    link TEXT NOT NULL, answers BLOB, PRIMARY KEY (chain, number), UNIQUE (chain, key)) STRICT;
CREATE TABLE events (chain TEXT NOT NULL, number INTEGER NOT NULL, value TEXT NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (chain, number)) STRICT;
CREATE TABLE results (name TEXT PRIMARY KEY, value TEXT NOT NULL, digest TEXT NOT NULL) STRICT;
CREATE TABLE sessions (number INTEGER PRIMARY KEY, state TEXT NOT NULL, notes TEXT NOT NULL, digest TEXT NOT NULL)
    STRICT;
INSERT INTO totals VALUES (1, 0, 0, digest(0, 0));
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
COMMIT;
"""
# What the digest of a row is over.
DIGESTED = {
    "accounts": ("search", *COLUMNS),
    "totals": ("issued", "padded"),
    "attempts": ("id", "chain", "key", "rows", "state"),
    "events": ("chain", "number", "value"),
    "results": ("name", "value"),
    "sessions": ("number", "state", "notes"),
}
COUNTING = ("accounts", "totals", "attempts")


class Batch(NamedTuple):
    """Stored answers, in the order they were asked.

    Attributes:
        hashes: [N 16], of the images.
        search: [N], who paid, as an index into the searches of the ledger.
        scores: [N K], float32.
        status: [N], see `contracts.Status`.
    """

    hashes: np.ndarray
    search: np.ndarray
    scores: np.ndarray
    status: np.ndarray

    def pack(self) -> bytes:
        """As one blob: N and K, then the arrays."""
        n, k = self.scores.shape
        kinds = ("u1", "<i4", "<f4", "i1")
        arrays = (np.ascontiguousarray(part, dtype=kind).tobytes() for part, kind in zip(self, kinds, strict=True))
        return np.array([n, k], dtype="<u4").tobytes() + b"".join(arrays)

    @staticmethod
    def unpack(blob: bytes) -> Batch:
        """The inverse of `pack`.

        Raises:
            DamagedRunError: the blob has not the length that it names.
        """
        n, k = (int(v) for v in np.frombuffer(blob[:8].ljust(8, b"\0"), "<u4"))
        if len(blob) != 8 + n * (16 + 4 + 4 * k + 1):
            raise DamagedRunError(f"a stored batch of {n} x {k} has {len(blob)} bytes; restore the run from a copy")
        a, b, c = 8 + 16 * n, 8 + 20 * n, 8 + 20 * n + 4 * n * k
        return Batch(
            np.frombuffer(blob[8:a], "u1").reshape(n, 16),
            np.frombuffer(blob[a:b], "<i4"),
            np.frombuffer(blob[b:c], "<f4").reshape(n, k),
            np.frombuffer(blob[c:], "i1"),
        )


def address(file: Path | None, read_only: bool) -> str:
    """Where SQLite finds a file, as it wants to be told."""
    if file is None:
        return ":memory:"
    if not read_only:
        return file.absolute().as_uri()
    # Without a log beside it nobody is writing, and SQLite needs no files of its own there.
    quiet = not file.with_name(f"{file.name}-wal").exists()
    return f"{file.absolute().as_uri()}?mode=ro{'&immutable=1' if quiet else ''}"


def digest_of(*values: Any) -> str:
    """Over the values as a list in JSON; in parts, which takes half as long as all at once."""
    text = ", ".join([str(value) if type(value) is int else json.dumps(value) for value in values])
    return hashlib.sha256(f"[{text}]".encode()).hexdigest()


def prepare(database: sqlite3.Connection, file: Path | None, *, may_begin: bool, may_write: bool) -> bool:
    """Make the tables in a new file; refuse one that is not ours.

    Args:
        database: open.
        file: where it lies; None = in memory.
        may_begin: a file without tables is a new one.
        may_write: how SQLite writes may be set.

    Returns:
        Whether it was new.

    Raises:
        DamagedRunError: it is not one of ours, or of another version.
    """
    application, version = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    found = _tables(database)
    new = not found and may_begin
    if not new and (application != APPLICATION or not found):
        raise DamagedRunError(f"{file}: is not the ledger of a run of evofool")
    if not new and version != VERSION:
        raise DamagedRunError(
            f"{file}: has the format {version}, expected {VERSION}; use the version of evofool that wrote it"
        )
    if file is not None and may_write:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
    if new:
        database.executescript(_SCHEMA)
    elif found != _expected():
        raise DamagedRunError(f"{file}: has other tables than the ledger of a run; restore it from a copy")
    return new


def _tables(database: sqlite3.Connection) -> set[tuple[str, str]]:
    rows = database.execute("SELECT name, ifnull(sql, '') FROM sqlite_schema")
    return {(name, " ".join(sql.split())) for name, sql in rows}


@functools.cache
def _expected() -> set[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.create_function("digest", -1, digest_of, deterministic=True)
        database.executescript(_SCHEMA)
        return _tables(database)


def chained(before: str, key: str, content: str) -> str:
    """The link of a batch: over the link before it (the name of the chain), its key and the SHA-256 of its content."""
    return hashlib.sha256(f"{before}\n{key}\n{content}".encode()).hexdigest()


def damaged_rows(database: sqlite3.Connection, *tables: str) -> Iterator[str]:
    """What is wrong with the digests of some tables."""
    for table in tables:
        columns = ", ".join(DIGESTED[table])
        wrong = database.execute(f"SELECT count(*) FROM {table} WHERE digest != digest({columns})").fetchone()[0]
        if wrong:
            yield f"ledger: {wrong} rows of {table} have changed"


def damaged_chains(database: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with the answers and their links."""
    ends: dict[str, tuple[int, str]] = {}
    query = "SELECT chain, number, key, content, link, answers FROM batches ORDER BY chain, number"
    for chain, number, key, content, link, answers in database.execute(query):
        expected, before = ends.get(chain, (0, chain))
        if number != expected:
            yield f"ledger: batch {expected} of {chain} is missing"
        if answers is not None and hashlib.sha256(answers).hexdigest() != content:
            yield f"ledger: the answers of {chain}, batch {key}, have changed"
        if chained(before, key, content) != link:
            yield f"ledger: the chain of {chain} breaks at batch {key}"
        ends[chain] = (number + 1, link)
