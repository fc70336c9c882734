"""What a ledger writes down, in one SQLite file: accounts, attempts, answers, events, results.

    accounts   by search: rows issued, answered, failed, lost, repeated
    attempts   a request that is on its way, or that came to nothing: who pays for how many rows
    batches    answers under (chain, key): hashes of the images and scores, one blob each, linked by SHA-256
    events     what a search went through, by generation
    results    what finished shards came to
    sessions   each time somebody owned the file, and whether it was closed in order

Every row that is read back has a digest or stands in sums that have to agree.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import operator
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from .errors import DamagedRunError, EvofoolError, UserError
from .files import refuse_link, refuse_network

VERSION = 1
APPLICATION = 0x65766F66  # "evof", in the header of the file
COLUMNS = ("issued", "answered", "failed", "lost", "repeated")

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
_DIGESTED = {
    "accounts": ("search", *COLUMNS),
    "totals": ("issued", "padded"),
    "attempts": ("id", "chain", "key", "rows", "state"),
    "events": ("chain", "number", "value"),
    "results": ("name", "value"),
    "sessions": ("number", "state", "notes"),
}
_COUNTING = ("accounts", "totals", "attempts")


def _adding(changed: str) -> str:
    """The query that adds ?1 to one column of the account ?2, and puts its digest right in the same step."""
    later = ", ".join(f"{name} + ?1" if name == changed else name for name in COLUMNS)
    return f"UPDATE accounts SET {changed} = {changed} + ?1, digest = digest(search, {later}) WHERE search = ?2"


_ADD = {name: _adding(name) for name in COLUMNS}


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


def _address(file: Path | None, read_only: bool) -> str:
    """Where SQLite finds a file, as it wants to be told."""
    if file is None:
        return ":memory:"
    if not read_only:
        return file.absolute().as_uri()
    # Without a log beside it nobody is writing, and SQLite needs no files of its own there.
    quiet = not file.with_name(f"{file.name}-wal").exists()
    return f"{file.absolute().as_uri()}?mode=ro{'&immutable=1' if quiet else ''}"


def _digest(*values: Any) -> str:
    """Over the values as a list in JSON; in parts, which takes half as long as all at once."""
    text = ", ".join([str(value) if type(value) is int else json.dumps(value) for value in values])
    return hashlib.sha256(f"[{text}]".encode()).hexdigest()


def _schema(database: sqlite3.Connection) -> set[tuple[str, str]]:
    rows = database.execute("SELECT name, ifnull(sql, '') FROM sqlite_schema")
    return {(name, " ".join(sql.split())) for name, sql in rows}


@functools.cache
def _expected() -> set[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.create_function("digest", -1, _digest, deterministic=True)
        database.executescript(_SCHEMA)
        return _schema(database)


def chained(before: str, key: str, content: str) -> str:
    """The link of a batch: over the link before it (the name of the chain), its key and the SHA-256 of its content."""
    return hashlib.sha256(f"{before}\n{key}\n{content}".encode()).hexdigest()


class _Counts(Protocol):
    """Accounts, total and attempts; what changes them is called inside a transaction of the store."""

    def begin(self) -> None:
        """A transaction begins."""

    def roll_back(self) -> None:
        """Everything is as it was when it began."""

    def open(self, searches: Sequence[str]) -> None:
        """Make the accounts that are not there yet."""

    def accounts(self) -> dict[str, dict[str, int]]:
        """All of them."""

    def issued(self, searches: Sequence[str]) -> list[int]:
        """What some of them have been charged; each is named once."""

    def total(self, name: str) -> int:
        """Over all: "issued" or "padded"."""

    def add(self, column: str, rows: Mapping[str, int]) -> None:
        """Add to one column of some accounts."""

    def add_total(self, issued: int, padded: int) -> None:
        """Add to the totals."""

    def open_attempt(self, chain: str, key: str, rows: Mapping[str, int]) -> int:
        """Begin one, and number it."""

    def close_attempt(self, number: int, state: str | None) -> None:
        """Keep it in this state, or let it go."""

    def attempts(self) -> list[tuple[int, str, str]]:
        """Numbers, states, and who pays for how many rows, as JSON."""


class _Tables:
    """Rows of SQLite, each with its digest."""

    def __init__(self, database: sqlite3.Connection):
        self._database = database

    def begin(self) -> None:
        pass

    def roll_back(self) -> None:
        pass  # SQLite does

    def open(self, searches: Sequence[str]) -> None:
        query = "INSERT OR IGNORE INTO accounts VALUES (?1, 0, 0, 0, 0, 0, digest(?1, 0, 0, 0, 0, 0))"
        self._database.executemany(query, [(search,) for search in searches])

    def accounts(self) -> dict[str, dict[str, int]]:
        rows = self._database.execute(f"SELECT search, {', '.join(COLUMNS)} FROM accounts ORDER BY search")
        return {row[0]: dict(zip(COLUMNS, row[1:], strict=True)) for row in rows.fetchall()}

    def issued(self, searches: Sequence[str]) -> list[int]:
        # All names as one value, and the tables in this order: these accounts are looked up, and no others read.
        query = "SELECT issued FROM json_each(?) AS asked CROSS JOIN accounts ON search = value ORDER BY asked.key"
        return [issued for (issued,) in self._database.execute(query, (json.dumps(searches),)).fetchall()]

    def total(self, name: str) -> int:
        return int(self._database.execute(f"SELECT {name} FROM totals").fetchone()[0])

    def add(self, column: str, rows: Mapping[str, int]) -> None:
        self._database.executemany(_ADD[column], [(count, search) for search, count in rows.items()])

    def add_total(self, issued: int, padded: int) -> None:
        self._database.execute(
            "UPDATE totals SET issued = issued + ?1, padded = padded + ?2, digest = digest(issued + ?1, padded + ?2)",
            (issued, padded),
        )

    def open_attempt(self, chain: str, key: str, rows: Mapping[str, int]) -> int:
        number: int = self._database.execute("SELECT ifnull(max(id), 0) + 1 FROM attempts").fetchone()[0]
        self._database.execute(
            "INSERT INTO attempts VALUES (?1, ?2, ?3, ?4, 'open', digest(?1, ?2, ?3, ?4, 'open'))",
            (number, chain, key, json.dumps(rows)),
        )
        return number

    def close_attempt(self, number: int, state: str | None) -> None:
        if state is None:
            self._database.execute("DELETE FROM attempts WHERE id = ?", (number,))
        else:
            query = "UPDATE attempts SET state = ?1, digest = digest(id, chain, key, rows, ?1) WHERE id = ?2"
            self._database.execute(query, (state, number))

    def attempts(self) -> list[tuple[int, str, str]]:
        return self._database.execute("SELECT id, state, rows FROM attempts").fetchall()


class _Memory:
    """Dictionaries, where nobody else can look or write: rows with digests would be most of what a query costs.

    What came to nothing is not kept.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, dict[Any, Any]] = {column: {} for column in COLUMNS}
        self._totals: dict[Any, Any] = {"issued": 0, "padded": 0}
        self._open: dict[Any, Any] = {}  # attempts on their way, by number; None = closed
        self._before: list[tuple[dict[Any, Any], dict[Any, Any]]] = []  # that this transaction has changed

    def begin(self) -> None:
        self._before = []

    def roll_back(self) -> None:
        for into, values in reversed(self._before):
            into.update(values)

    def _write(self, into: dict[Any, Any], values: dict[Any, Any]) -> None:
        self._before.append((into, {key: into.get(key) for key in values}))  # first: Ctrl-C may come in between
        into.update(values)

    def open(self, searches: Sequence[str]) -> None:
        for column in self._accounts.values():
            column.update({search: 0 for search in searches if search not in column})

    def accounts(self) -> dict[str, dict[str, int]]:
        searches = sorted(self._accounts[COLUMNS[-1]])
        return {search: {name: column[search] for name, column in self._accounts.items()} for search in searches}

    def issued(self, searches: Sequence[str]) -> list[int]:
        return list(map(self._accounts["issued"].__getitem__, searches))

    def total(self, name: str) -> int:
        return int(self._totals[name])

    def add(self, column: str, rows: Mapping[str, int]) -> None:
        into = self._accounts[column]
        before = dict(zip(rows, map(into.__getitem__, rows), strict=True))
        self._before.append((into, before))
        into.update(zip(rows, map(operator.add, before.values(), rows.values()), strict=True))

    def add_total(self, issued: int, padded: int) -> None:
        totals = self._totals
        self._write(totals, {"issued": totals["issued"] + issued, "padded": totals["padded"] + padded})

    def open_attempt(self, chain: str, key: str, rows: Mapping[str, int]) -> int:
        number = next(number for number in itertools.count(1) if self._open.get(number) is None)
        self._write(self._open, {number: rows})
        return number

    def close_attempt(self, number: int, state: str | None) -> None:
        self._write(self._open, {number: None})

    def attempts(self) -> list[tuple[int, str, str]]:
        return [(number, "open", json.dumps(rows)) for number, rows in self._open.items() if rows is not None]


class Store:
    """The file, open; or, without one, the same books in memory.

    One process owns a file and closes its books; the processes it starts write in it beside the owner. Threads share
    one store.

    Args:
        file: where it lies; None = in memory.
        read_only: nothing is written, not even what SQLite would tidy up.
        owner: make the file if it is not there, and charge what an earlier owner left open as lost. The caller holds
            the lock of the directory.

    Raises:
        UserError: the file lies on a network file system, is not there, or cannot be opened.
        DamagedRunError: it is not one of ours, or of another version.
    """

    def __init__(self, file: Path | None = None, *, owner: bool = False, read_only: bool = False):
        self.file = file
        self._owner = owner and file is not None
        self._read_only = read_only
        self._turn = threading.RLock()
        self._events: list[tuple[str, int, str]] = []
        self._session = 0
        if file is not None:
            if not read_only:
                refuse_network(file)
            refuse_link(file)
            if not owner and not file.is_file():
                raise DamagedRunError(f"{file}: is missing; expected the ledger of a run there")
        try:
            self._database = sqlite3.connect(
                _address(file, read_only), uri=True, isolation_level=None, timeout=60.0, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise UserError(f"{file}: cannot be opened ({error}); mend the permissions or make room") from None
        self._counts: _Counts = _Memory() if file is None else _Tables(self._database)
        try:
            self._database.create_function("digest", -1, _digest, deterministic=True)
            with self._errors():
                self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        database = self._database
        application, version = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        schema = _schema(database)
        new = not schema and (self._owner or self.file is None)
        if not new and (application != APPLICATION or not schema):
            raise DamagedRunError(f"{self.file}: is not the ledger of a run of evofool")
        if not new and version != VERSION:
            raise DamagedRunError(
                f"{self.file}: has the format {version}, expected {VERSION}; use the version of evofool that wrote it"
            )
        if self.file is not None and not self._read_only:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
        if new:
            database.executescript(_SCHEMA)
        elif schema != _expected():
            raise DamagedRunError(f"{self.file}: has other tables than the ledger of a run; restore it from a copy")
        if self._owner and not new:
            self._refuse_wrong_counts()
        if self._owner:
            self._give_up_open_attempts()

    def _refuse_wrong_counts(self) -> None:
        """A budget cannot be kept with accounts that were changed, and the next change would hide it."""
        try:
            wrong = [*self._damaged_rows(*_COUNTING), *self._damaged_sums()]
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            wrong = [str(error)]
        if wrong:
            raise DamagedRunError(f"{self.file}: {wrong[0]}; restore the run from a copy")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except (sqlite3.DatabaseError, OverflowError, UnicodeDecodeError) as error:
            # Damaged text and missing tables are operational errors too, without a code or with SQLITE_ERROR.
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
            if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
                raise UserError(
                    f"{self.file}: the ledger cannot be used ({error}); make room or mend the permissions, then resume"
                ) from None
            raise DamagedRunError(
                f"{self.file}: the ledger is damaged ({error}); restore the run from a copy"
            ) from None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything in the block reaches the disk, or nothing does; events recorded before go with it.

        Raises:
            UserError: the disk is full, or cannot be written.
            DamagedRunError: the database is damaged.
        """
        with self._turn, self._errors():
            database = self._database
            events: list[tuple[str, int, str]] = []
            try:
                self._counts.begin()
                database.execute("BEGIN IMMEDIATE")
                if self._events:
                    events, self._events = self._events, []
                    database.executemany("INSERT OR IGNORE INTO events VALUES (?1, ?2, ?3, digest(?1, ?2, ?3))", events)
                yield
                database.execute("COMMIT")
            except BaseException:
                self._events = events + self._events
                if database.in_transaction:
                    self._counts.roll_back()
                    with contextlib.suppress(sqlite3.Error):
                        database.execute("ROLLBACK")
                raise

    def _read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._turn, self._errors():
            return self._database.execute(query, values).fetchall()

    # Who owned the file -------------------------------------------------------------------------------------------

    def _give_up_open_attempts(self) -> None:
        """What was on its way when the last owner died is charged, and its answers are unknown."""
        with self.transaction():
            database = self._database
            for number, state, rows in self._counts.attempts():
                if state == "open":
                    self._counts.add("lost", self._loaded(rows, "an attempt"))
                    self._counts.close_attempt(number, "lost")
            database.execute(
                "UPDATE sessions SET state = 'killed', digest = digest(number, 'killed', notes) WHERE state = 'open'"
            )
            self._session = 1 + database.execute("SELECT count(*) FROM sessions").fetchone()[0]
            database.execute("INSERT INTO sessions VALUES (?1, 'open', '', digest(?1, 'open', ''))", (self._session,))

    def note(self, text: str) -> None:
        """Say something about this session, such as what had changed when it began; once, after what was said before.

        In the process of a worker it is the session of the process that owns the file.
        """
        with self.transaction():
            if self.file is None and not self._session:
                self._session = 1
                self._database.execute("INSERT INTO sessions VALUES (1, 'open', '', digest(1, 'open', ''))")
            number, notes = self._database.execute(
                "SELECT number, notes FROM sessions ORDER BY number DESC LIMIT 1"
            ).fetchone()
            said = notes.split("; ") if notes else []
            said += [part for part in text.split("; ") if part not in said]
            self._database.execute(
                "UPDATE sessions SET notes = ?1, digest = digest(number, state, ?1) WHERE number = ?2",
                ("; ".join(said), number),
            )

    def sessions(self) -> list[tuple[str, str]]:
        """How each session ended ("closed", "killed", "open"), and its notes."""
        return [(state, notes) for state, notes in self._read("SELECT state, notes FROM sessions ORDER BY number")]

    # Accounts and attempts: inside a transaction --------------------------------------------------------------------

    def open_accounts(self, searches: Sequence[str]) -> None:
        """Make the accounts that are not there yet."""
        with self.transaction():
            self._counts.open(searches)

    def issued(self, searches: Sequence[str]) -> list[int]:
        """What each search has been charged so far; each is named once."""
        return self._counts.issued(searches)

    def total(self) -> int:
        """What the run has been charged so far."""
        return self._counts.total("issued")

    def open_attempt(self, chain: str, key: str, rows: Mapping[str, int]) -> int:
        """Charge a request, before it is sent.

        Args:
            chain, key: what it asks.
            rows: how many each search pays for.

        Returns:
            The number to close it with.
        """
        self._counts.add("issued", rows)
        self._counts.add_total(sum(rows.values()), 0)
        return self._counts.open_attempt(chain, key, rows)

    def close_attempt(
        self,
        number: int,
        outcome: Mapping[str, Mapping[str, int]],
        *,
        padded: int,
        failed: bool,
        never_sent: Mapping[str, int] | None = None,
    ) -> None:
        """Say what came of a request.

        Args:
            number: from `open_attempt`; 0 = nothing is open.
            outcome: under "answered", "failed" and "repeated", by search, how many rows.
            padded: rows that filled its calls.
            failed: the request as a whole; its attempt is kept.
            never_sent: by search, rows that were certainly not sent; the charge for them is taken back.
        """
        for column, rows in outcome.items():
            if rows:
                self._counts.add(column, rows)
        if never_sent:
            self._counts.add("issued", {search: -count for search, count in never_sent.items()})
        back = sum(never_sent.values()) if never_sent else 0
        if back or padded:
            self._counts.add_total(-back, padded)
        self._counts.close_attempt(number, "failed" if failed else None)

    def counts(self) -> dict[str, dict[str, int]]:
        """All accounts, by search."""
        with self._turn, self._errors():
            return self._counts.accounts()

    def padded(self) -> int:
        """Rows that filled calls, over the whole run."""
        with self._turn, self._errors():
            return self._counts.total("padded")

    # Answers ------------------------------------------------------------------------------------------------------

    def put(self, chain: str, key: str, batch: Batch) -> None:
        """Store answers at the end of a chain, inside a transaction."""
        last = self._database.execute(
            "SELECT number, link FROM batches WHERE chain = ? ORDER BY number DESC LIMIT 1", (chain,)
        ).fetchone()
        number, before = (last[0] + 1, last[1]) if last else (0, chain)
        answers = batch.pack()
        content = hashlib.sha256(answers).hexdigest()
        self._database.execute(
            "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)",
            (chain, number, key, content, chained(before, key, content), answers),
        )

    def get(self, chain: str, key: str) -> Batch | None:
        """The answers that were stored under a key, if there are any.

        Raises:
            DamagedRunError: they have changed since.
        """
        rows = self._read("SELECT content, answers FROM batches WHERE chain = ? AND key = ?", chain, key)
        return self._batch(f"{chain}, batch {key}", *rows[0]) if rows else None

    def batches(self, chain: str, count: int) -> Iterator[Batch]:
        """The first answers of a chain, in the order they were stored."""
        keys = self._read("SELECT key FROM batches WHERE chain = ? AND number < ? ORDER BY number", chain, count)
        for (key,) in keys:
            batch = self.get(chain, key)
            assert batch is not None
            yield batch

    def length(self, chain: str) -> int:
        """How many batches a chain has."""
        return int(self._read("SELECT count(*) FROM batches WHERE chain = ?", chain)[0][0])

    def _batch(self, what: str, content: str, answers: bytes | None) -> Batch:
        if answers is None:
            raise DamagedRunError(f"{self.file}: the answers of {what} were let go when it was finished")
        if hashlib.sha256(answers).hexdigest() != content:
            raise DamagedRunError(f"{self.file}: the answers of {what} have changed; restore the run from a copy")
        return Batch.unpack(answers)

    # Events and results -------------------------------------------------------------------------------------------

    def record(self, chain: str, number: int, value: Any) -> None:
        """An event of a chain, written with the next transaction; recorded again, it stays what it was."""
        with self._turn:
            self._events.append((chain, number, json.dumps(value)))

    def recorded(self, chain: str) -> int:
        """How many events of a chain are in the file."""
        return int(self._read("SELECT count(*) FROM events WHERE chain = ?", chain)[0][0])

    def flush(self) -> None:
        """Write the events that wait."""
        if self._events:
            with self.transaction():
                pass

    def events(self, chain: str) -> list[Any]:
        """The events of a chain in order, as far as there is no gap.

        Raises:
            DamagedRunError: one of them has changed.
        """
        found: list[Any] = []
        rows = self._read("SELECT number, value, digest FROM events WHERE chain = ? ORDER BY number", chain)
        for number, value, digest in rows:
            if digest != _digest(chain, number, value):
                raise DamagedRunError(
                    f"{self.file}: event {number} of {chain} has changed; restore the run from a copy"
                )
            if number != len(found):
                break
            found.append(self._loaded(value, f"event {number} of {chain}"))
        return found

    def finish(self, name: str, value: Any, *, let_go: str | None = None) -> None:
        """Store a result for good.

        Args:
            name: of the shard.
            value: what JSON can hold.
            let_go: a chain whose answers are not needed any more; their hashes stay.
        """
        with self.transaction():
            self._database.execute(
                "INSERT OR IGNORE INTO results VALUES (?1, ?2, digest(?1, ?2))", (name, json.dumps(value))
            )
            if let_go is not None:
                self._database.execute("UPDATE batches SET answers = NULL WHERE chain = ?", (let_go,))

    def finished(self) -> set[str]:
        """Names of the results that are there."""
        return {name for (name,) in self._read("SELECT name FROM results")}

    def result(self, name: str) -> Any:
        """A result.

        Raises:
            DamagedRunError: it is missing, or has changed.
        """
        rows = self._read("SELECT value, digest FROM results WHERE name = ?", name)
        if not rows:
            raise DamagedRunError(f"{self.file}: the result of {name} is missing; resume the run")
        value, digest = rows[0]
        if digest != _digest(name, value):
            raise DamagedRunError(f"{self.file}: the result of {name} has changed; restore the run from a copy")
        return self._loaded(value, f"the result of {name}")

    def _loaded(self, text: str, what: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DamagedRunError(f"{self.file}: {what} is not JSON ({error}); restore the run from a copy") from None

    # Integrity ----------------------------------------------------------------------------------------------------

    def damage(self) -> list[str]:
        """What is wrong inside: SQLite's own check, every digest, every link, every sum; [] = nothing."""
        try:
            with self._turn, self._errors():
                whole = [f"ledger: {line}" for (line,) in self._read("PRAGMA integrity_check") if line != "ok"]
                return [*whole, *self._damaged_rows(*_DIGESTED), *self._damaged_chains(), *self._damaged_sums()]
        except (ValueError, TypeError, AttributeError, RecursionError, EvofoolError) as error:
            return [f"ledger: {error}"]

    def _damaged_rows(self, *tables: str) -> Iterator[str]:
        for table in tables:
            columns = ", ".join(_DIGESTED[table])
            wrong = self._read(f"SELECT count(*) FROM {table} WHERE digest != digest({columns})")[0][0]
            if wrong:
                yield f"ledger: {wrong} rows of {table} have changed"

    def _damaged_chains(self) -> Iterator[str]:
        ends: dict[str, tuple[int, str]] = {}
        query = "SELECT chain, number, key, content, link, answers FROM batches ORDER BY chain, number"
        for chain, number, key, content, link, answers in self._database.execute(query):
            expected, before = ends.get(chain, (0, chain))
            if number != expected:
                yield f"ledger: batch {expected} of {chain} is missing"
            if answers is not None and hashlib.sha256(answers).hexdigest() != content:
                yield f"ledger: the answers of {chain}, batch {key}, have changed"
            if chained(before, key, content) != link:
                yield f"ledger: the chain of {chain} breaks at batch {key}"
            ends[chain] = (number + 1, link)

    def _damaged_sums(self) -> Iterator[str]:
        accounts = self.counts()
        waiting: dict[str, int] = {}
        lost: dict[str, int] = {}
        for _, state, rows in self._counts.attempts():
            sums = waiting if state == "open" else lost
            for search, count in self._loaded(rows, "an attempt").items() if state != "failed" else ():
                sums[search] = sums.get(search, 0) + count
        for search, count in accounts.items():
            known = count["answered"] + count["failed"] + count["lost"] + waiting.get(search, 0)
            if count["issued"] != known or count["lost"] != lost.get(search, 0):
                yield f"ledger: the account of {search} does not add up: {count}"
        if sum(count["issued"] for count in accounts.values()) != self.total():
            yield "ledger: the accounts do not add up to the total"

    def close(self) -> bool:
        """Write everything through; the owner's session ends in order, unless answers of it will never come.

        Returns:
            Whether the file is whole by itself; a program that reads it just now can keep it from that.
        """
        busy = 0
        try:
            if self._owner:
                with self.transaction():
                    waiting = self._database.execute("SELECT count(*) FROM attempts WHERE state = 'open'").fetchone()[0]
                    self._database.execute(
                        "UPDATE sessions SET state = ?1, digest = digest(number, ?1, notes) WHERE number = ?2",
                        ("killed" if waiting else "closed", self._session),
                    )
                with self._errors():
                    self._database.execute("PRAGMA busy_timeout = 5000")
                    busy = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            else:
                self.flush()
        finally:
            self._database.close()
        return not busy

    def abandon(self) -> None:
        """Let go of the file as a killed process would."""
        self._database.close()
