"""Accounts, totals and attempts: rows of SQLite where there is a file, dictionaries where there is none."""

from __future__ import annotations

import itertools
import json
import operator
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

COLUMNS = ("issued", "answered", "failed", "lost", "repeated")


def _adding(changed: str) -> str:
    """The query that adds ?1 to one column of the account ?2, and puts its digest right in the same step."""
    later = ", ".join(f"{name} + ?1" if name == changed else name for name in COLUMNS)
    return f"UPDATE accounts SET {changed} = {changed} + ?1, digest = digest(search, {later}) WHERE search = ?2"


_ADD = {name: _adding(name) for name in COLUMNS}


class Counts(Protocol):
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


class Tables:
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


class Memory:
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


def damaged_sums(counts: Counts, loaded: Callable[[str, str], Any]) -> Iterator[str]:
    """What does not add up; `loaded` reads the JSON of what its second argument names."""
    accounts = counts.accounts()
    waiting: dict[str, int] = {}
    lost: dict[str, int] = {}
    for _, state, rows in counts.attempts():
        sums = waiting if state == "open" else lost
        for search, count in loaded(rows, "an attempt").items() if state != "failed" else ():
            sums[search] = sums.get(search, 0) + count
    for search, count in accounts.items():
        known = count["answered"] + count["failed"] + count["lost"] + waiting.get(search, 0)
        if count["issued"] != known or count["lost"] != lost.get(search, 0):
            yield f"ledger: the account of {search} does not add up: {count}"
    if sum(count["issued"] for count in accounts.values()) != counts.total("issued"):
        yield "ledger: the accounts do not add up to the total"
