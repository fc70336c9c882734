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
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .accounts import Counts, Memory, Tables, damaged_sums
from .errors import DamagedRunError, EvofoolError, UserError
from .files import refuse_link, refuse_network
from .schema import (
    COUNTING,
    DIGESTED,
    Batch,
    address,
    chained,
    damaged_chains,
    damaged_rows,
    digest_of,
    prepare,
)


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
                address(file, read_only), uri=True, isolation_level=None, timeout=60.0, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise UserError(f"{file}: cannot be opened ({error}); mend the permissions or make room") from None
        self._counts: Counts = Memory() if file is None else Tables(self._database)
        try:
            self._database.create_function("digest", -1, digest_of, deterministic=True)
            with self._errors():
                self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        may_begin = self._owner or self.file is None
        new = prepare(self._database, self.file, may_begin=may_begin, may_write=not self._read_only)
        if self._owner and not new:
            self._refuse_wrong_counts()
        if self._owner:
            self._give_up_open_attempts()

    def _refuse_wrong_counts(self) -> None:
        """A budget cannot be kept with accounts that were changed, and the next change would hide it."""
        try:
            wrong = [*damaged_rows(self._database, *COUNTING), *damaged_sums(self._counts, self._loaded)]
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
            if digest != digest_of(chain, number, value):
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
        if digest != digest_of(name, value):
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
                return [
                    *whole,
                    *damaged_rows(self._database, *DIGESTED),
                    *damaged_chains(self._database),
                    *damaged_sums(self._counts, self._loaded),
                ]
        except (ValueError, TypeError, AttributeError, RecursionError, EvofoolError) as error:
            return [f"ledger: {error}"]

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
