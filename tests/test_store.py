"""The books: all of a transaction or nothing, whoever dies; every changed value is found; foreign files are refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from evofool import files, schema
from evofool.errors import DamagedRunError, UserError
from evofool.schema import APPLICATION, VERSION, Batch
from evofool.store import Store

NOTHING = {"issued": 0, "answered": 0, "failed": 0, "lost": 0, "repeated": 0}


def file(folder: Path) -> Path:
    return folder / "ledger.sqlite"


def owned(folder: Path) -> Store:
    return Store(file(folder), owner=True)


def batch(n: int = 3, k: int = 2, seed: int = 0) -> Batch:
    levels = np.arange(n * 16, dtype=np.uint8).reshape(n, 16) + seed
    scores = np.arange(n * k, dtype=np.float32).reshape(n, k) / 7 + seed
    return Batch(levels, np.arange(n, dtype=np.int32) % 2, scores, np.zeros(n, dtype=np.int8))


def ask(store: Store, chain: str, key: str, rows: dict[str, int], answers: Batch | None = None) -> None:
    """One request from its charge to its answers."""
    with store.transaction():
        number = store.open_attempt(chain, key, rows)
    with store.transaction():
        store.close_attempt(number, {"answered": rows}, padded=1, failed=False)
        if answers is not None:
            store.put(chain, key, answers)


def raw(folder: Path) -> closing[sqlite3.Connection]:
    database = sqlite3.connect(file(folder), isolation_level=None)
    database.create_function("digest", -1, schema.digest_of, deterministic=True)
    return closing(database)


def same(a: Batch, b: Batch) -> bool:
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def fill(folder: Path) -> None:
    """A run with something in every table, closed in order."""
    store = owned(folder)
    store.open_accounts(["a", "b", "c"])
    with store.transaction():
        store.open_attempt("one", "0.0", {"a": 4, "b": 1})
    store.abandon()  # these are lost
    store = owned(folder)
    store.note("it was killed")
    for number in range(3):
        ask(store, "one", f"{number}.0", {"a": 2, "b": 1}, batch(seed=number))
    ask(store, "two", "0.0", {"c": 3}, batch())
    with store.transaction():
        failed = store.open_attempt("two", "1.0", {"c": 2})
    with store.transaction():
        store.close_attempt(failed, {"failed": {"c": 2}}, padded=0, failed=True)
        store.open_attempt("two", "2.0", {"b": 1})  # and this one is on its way
    for number in range(3):
        store.record("one", number, {"best": 0.5 / (number + 1)})
    store.finish("shard", {"accuracy": 0.25})
    store.close()


# Batches


@pytest.mark.parametrize(("n", "k"), [(0, 3), (1, 1), (5, 10)])
def test_a_batch_comes_back_from_its_bytes(n, k):
    given = batch(n, k)
    given.scores[:1] = np.nan
    given.status[:1] = 2
    assert all(
        np.array_equal(a, b, equal_nan=a.dtype == np.float32)
        for a, b in zip(Batch.unpack(given.pack()), given, strict=True)
    )
    assert Batch.unpack(given.pack()).scores.shape == (n, k)


def test_bytes_of_another_length_are_no_batch():
    whole = batch().pack()
    for length in range(len(whole)):
        with pytest.raises(DamagedRunError, match="a stored batch of"):
            Batch.unpack(whole[:length] if length else b"\1")
    with pytest.raises(DamagedRunError, match=f"4294967295 x 4294967295 has {len(whole)} bytes"):
        Batch.unpack(b"\xff" * 8 + whole[8:])


# Transactions


@pytest.mark.parametrize("durable", [True, False])
def test_a_transaction_is_whole_or_not_there(tmp_path, durable):
    store = owned(tmp_path) if durable else Store()
    store.open_accounts(["a"])

    with pytest.raises(ZeroDivisionError), store.transaction():
        store.open_attempt("one", "0.0", {"a": 4})
        store.put("one", "0.0", batch())
        _ = 1 / 0
    assert store.counts() == {"a": NOTHING} and store.length("one") == 0 and store.total() == 0
    with store.transaction():
        store.open_attempt("one", "0.0", {"a": 4})
    assert store.counts()["a"]["issued"] == store.total() == 4


@pytest.mark.parametrize("durable", [True, False])
def test_everything_in_the_books_is_rolled_back(tmp_path, durable):
    store = owned(tmp_path) if durable else Store()
    store.open_accounts(["a", "b"])
    with store.transaction():
        number = store.open_attempt("one", "0.0", {"a": 4, "b": 1})
    before = store.counts()
    with pytest.raises(ZeroDivisionError), store.transaction():
        assert store.open_attempt("one", "1.0", {"a": 1}) != number
        store.close_attempt(
            number, {"answered": {"a": 1}, "repeated": {"b": 7}, "failed": {"a": 1, "b": 1}}, padded=3, failed=False,
            never_sent={"a": 2},
        )  # fmt: skip
        assert store.total() == 4 and store.issued(["b", "a"]) == [1, 3] and store.damage() == []
        _ = 1 / 0
    assert store.counts() == before and store.total() == 5 and store.padded() == 0
    assert store.damage() == []  # the attempt is open again
    with store.transaction():
        store.close_attempt(number, {"answered": {"a": 4}, "failed": {"b": 1}}, padded=0, failed=True)
    assert store.damage() == [] and store.counts()["a"] == {**NOTHING, "issued": 4, "answered": 4}


def test_others_see_a_transaction_only_when_it_is_done(tmp_path):
    store = owned(tmp_path)
    store.open_accounts(["a"])
    beside = Store(file(tmp_path))
    with store.transaction():
        store.open_attempt("one", "0.0", {"a": 4})
        assert beside.total() == 0
    assert beside.total() == 4


def test_a_transaction_that_is_interrupted_at_its_beginning_leaves_no_trace(tmp_path):
    """Ctrl-C may come between any two steps; the books must go on."""
    store = owned(tmp_path)
    store.record("one", 0, "kept")

    class Interrupting:
        def __init__(self, database):
            self.database, self.times = database, 0

        def execute(self, *query):
            cursor = self.database.execute(*query)
            if query[0].startswith("BEGIN") and not self.times:
                self.times += 1
                raise KeyboardInterrupt
            return cursor

        def __getattr__(self, name):
            return getattr(self.database, name)

    store._database = Interrupting(store._database)
    with pytest.raises(KeyboardInterrupt):
        store.flush()
    assert store._database.times == 1 and store.events("one") == []
    store.flush()
    assert store.events("one") == ["kept"]


def test_threads_share_one_store(tmp_path):
    store = owned(tmp_path)
    names = [f"s{number}" for number in range(4)]
    store.open_accounts(names)
    errors = []

    def work(name):
        try:
            for number in range(10):
                ask(store, name, f"{number}.0", {name: 2}, batch(2))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.counts() == {name: {**NOTHING, "issued": 20, "answered": 20} for name in names}
    assert store.damage() == [] and store.padded() == 40


def test_a_process_beside_the_owner_writes_in_the_same_books(tmp_path):
    store = owned(tmp_path)
    store.open_accounts(["a", "b"])
    beside = Store(file(tmp_path))
    ask(store, "one", "0.0", {"a": 3}, batch())
    ask(beside, "two", "0.0", {"b": 2}, batch(2))
    assert store.counts() == beside.counts() and store.total() == 5
    beside.record("two", 0, "written when it is closed")
    beside.close()
    assert store.events("two") == ["written when it is closed"] and store.sessions() == [("open", "")]
    assert same(store.get("two", "0.0"), batch(2))


NAMES = ["a", "", "ä", "\U0001f600", 'say "a"', "back\\slash", "line\nfeed", "\\u0061", "it's", "[1]", "1", " a"]


@pytest.mark.parametrize("durable", [True, False])
def test_accounts_are_found_under_any_name_and_told_in_the_order_they_are_asked_for(tmp_path, durable):
    store = owned(tmp_path) if durable else Store()
    store.open_accounts(NAMES)
    for number, name in enumerate(NAMES):
        ask(store, "one", str(number), {name: number + 1})
    assert store.issued(NAMES[::-1]) == list(range(len(NAMES), 0, -1)) and store.issued(NAMES[3:5]) == [4, 5]
    assert store.issued([]) == [] and list(store.counts()) == sorted(NAMES)
    assert [store.counts()[name]["answered"] for name in NAMES] == list(range(1, len(NAMES) + 1))
    assert store.damage() == []


def test_accounts_that_are_there_are_not_opened_again(tmp_path):
    for store in (owned(tmp_path), Store()):
        store.open_accounts(["a"])
        ask(store, "one", "0", {"a": 3})
        store.open_accounts(["b", "a"])
        assert store.issued(["a", "b"]) == [3, 0] and store.damage() == []


def test_an_attempt_that_is_open_in_memory_is_part_of_the_sums():
    store = Store()
    store.open_accounts(["a", "b"])
    with store.transaction():
        first, second = store.open_attempt("c", "1", {"a": 3}), store.open_attempt("c", "2", {"a": 1, "b": 1})
    assert first != second and store.damage() == []
    with store.transaction():
        store.close_attempt(first, {"answered": {"a": 2}}, padded=0, failed=False)
    assert store.damage() == [f"ledger: the account of a does not add up: {store.counts()['a']}"]


def test_books_in_memory_are_the_same_books():
    store = Store()
    store.open_accounts(["a"])
    ask(store, "", "0.0", {"a": 3}, batch())
    assert store.counts()["a"] == {**NOTHING, "issued": 3, "answered": 3}
    assert store.damage() == [] and same(store.get("", "0.0"), batch()) and store.sessions() == []
    store.close()


# Who owned it


def test_what_an_owner_left_open_is_lost_when_the_next_one_comes(tmp_path):
    store = owned(tmp_path)
    store.open_accounts(["a", "b"])
    ask(store, "one", "0.0", {"a": 3}, batch())
    with store.transaction():
        store.open_attempt("one", "1.0", {"a": 2, "b": 5})
        store.open_attempt("one", "1.1", {"b": 1})
    assert store.damage() == []
    store.abandon()

    beside = Store(file(tmp_path))  # not the owner: nothing changes
    assert [counts["lost"] for counts in beside.counts().values()] == [0, 0] and beside.damage() == []
    beside.close()

    for _ in range(2):  # lost once, not each time
        store = owned(tmp_path)
        assert store.counts() == {
            "a": {**NOTHING, "issued": 5, "answered": 3, "lost": 2},
            "b": {**NOTHING, "issued": 6, "lost": 6},
        }
        assert store.damage() == [] and store.total() == 11
        store.abandon()


def test_sessions_tell_who_closed_and_who_was_killed(tmp_path):
    for end in ("close", "abandon", "abandon"):
        getattr(owned(tmp_path), end)()
    store = owned(tmp_path)
    store.note("the code has changed")
    assert store.sessions() == [("closed", ""), ("killed", ""), ("killed", ""), ("open", "the code has changed")]
    store.close()
    assert owned(tmp_path).sessions()[3:] == [("closed", "the code has changed"), ("open", "")]


def test_closing_leaves_one_file(tmp_path):
    fill(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]


def test_reading_only_changes_nothing(tmp_path):
    fill(tmp_path)
    before = file(tmp_path).read_bytes()
    store = Store(file(tmp_path), read_only=True)
    assert store.damage() == [] and store.counts()["c"]["answered"] == 3
    with pytest.raises(UserError, match="readonly"), store.transaction():
        store.open_attempt("one", "9.0", {"a": 1})
    store.abandon()
    assert file(tmp_path).read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]


def test_what_a_killed_owner_wrote_can_be_read_beside_its_log(tmp_path):
    (tmp_path / "live").mkdir()
    live = owned(tmp_path / "live")
    live.open_accounts(["a"])
    ask(live, "one", "0.0", {"a": 3}, batch())
    killed = shutil.copytree(tmp_path / "live", tmp_path / "killed")
    log = killed / "ledger.sqlite-wal"
    assert log.stat().st_size > 0
    (killed / "ledger.sqlite-shm").unlink()
    before = log.read_bytes(), file(killed).read_bytes()
    store = Store(file(killed), read_only=True)
    assert store.counts()["a"]["answered"] == 3 and store.damage() == []
    store.abandon()
    assert (log.read_bytes(), file(killed).read_bytes()) == before
    assert owned(killed).sessions() == [("killed", ""), ("open", "")]


# Answers


def test_answers_come_back_under_their_key_and_in_their_order(tmp_path):
    store = owned(tmp_path)
    with store.transaction():
        for number in (2, 0, 1):
            store.put("one", f"{number}.0", batch(seed=number))
        store.put("two", "0.0", batch(1))
    assert same(store.get("one", "1.0"), batch(seed=1)) and same(store.get("two", "0.0"), batch(1))
    assert store.get("one", "3.0") is None and store.get("three", "0.0") is None
    assert [b.scores[0, 0] for b in store.batches("one", 2)] == [2.0, 0.0]
    assert (store.length("one"), store.length("two"), store.length("three")) == (3, 1, 0)


def test_a_key_cannot_be_used_twice(tmp_path):
    store = owned(tmp_path)
    with store.transaction():
        store.put("one", "0.0", batch())
    with pytest.raises(DamagedRunError, match="UNIQUE"), store.transaction():
        store.put("one", "0.0", batch(1))
    assert same(store.get("one", "0.0"), batch()) and store.damage() == []


def test_links_are_hashes_over_all_that_came_before():
    before = "one"
    for key, content in (("0.0", "ab"), ("1.0", "cd")):
        before = hashlib.sha256(f"{before}\n{key}\n{content}".encode()).hexdigest()
    assert schema.chained(schema.chained("one", "0.0", "ab"), "1.0", "cd") == before


def test_answers_that_are_let_go_are_missing_and_no_damage(tmp_path):
    fill(tmp_path)
    store = owned(tmp_path)
    store.finish("other", 1, let_go="one")
    with pytest.raises(DamagedRunError, match=r"the answers of one, batch 1\.0 were let go when it was finished"):
        store.get("one", "1.0")
    assert store.length("one") == 3 and same(store.get("two", "0.0"), batch())
    assert store.damage() == []
    store.close()
    assert Store(file(tmp_path)).damage() == []


# Events and results


def test_events_wait_for_the_next_transaction(tmp_path):
    store, beside = owned(tmp_path), Store(file(tmp_path))
    store.record("one", 0, {"best": 0.5})
    assert store.events("one") == beside.events("one") == []
    with store.transaction():
        pass
    assert beside.events("one") == [{"best": 0.5}]
    store.record("one", 1, [1, None, "x"])
    store.flush()
    assert beside.events("one") == [{"best": 0.5}, [1, None, "x"]]
    store.record("one", 2, "at the end")
    store.close()
    assert beside.events("one")[2:] == ["at the end"]


def test_events_of_a_transaction_that_failed_are_written_with_the_next_one(tmp_path):
    store = owned(tmp_path)
    store.record("one", 0, "first")
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.record("one", 1, "second")
        _ = 1 / 0
    assert store.events("one") == []
    store.flush()
    assert store.events("one") == ["first", "second"]


def test_an_event_that_is_recorded_again_stays_what_it_was(tmp_path):
    store = owned(tmp_path)
    for value in ("was", "is"):
        store.record("one", 0, value)
        store.flush()
    assert store.events("one") == ["was"] and store.damage() == []


def test_events_end_at_the_first_gap(tmp_path):
    store = owned(tmp_path)
    for number in (3, 0, 1):
        store.record("one", number, number)
    store.record("two", 1, "no beginning")
    store.flush()
    assert store.events("one") == [0, 1] and store.events("two") == []


def test_a_result_is_stored_once(tmp_path):
    store = owned(tmp_path)
    store.finish("shard 1", {"accuracy": 0.1 + 0.2, "names": ["ä", None]})
    store.finish("shard 1", {"accuracy": 1})
    assert store.finished() == {"shard 1"} and store.result("shard 1") == {"accuracy": 0.1 + 0.2, "names": ["ä", None]}
    with pytest.raises(DamagedRunError, match="the result of shard 2 is missing; resume the run"):
        store.result("shard 2")


# Damage


CHANGES = {"INTEGER": "{0} + 1", "TEXT": "{0} || 'x'", "BLOB": "cast(substr({0}, 1, 30) || x'07' AS BLOB)"}


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    fill(folder)
    assert Store(file(folder), read_only=True).damage() == []
    return folder


@pytest.mark.parametrize(
    ("table", "width"),
    [
        ("accounts", 7),
        ("totals", 4),
        ("attempts", 6),
        ("batches", 6),
        ("events", 4),
        ("results", 3),
        ("sessions", 4),
    ],
)
def test_a_changed_value_is_found_in_every_column_of_every_row(full, tmp_path, table, width):
    shutil.copy(file(full), file(tmp_path))
    store = Store(file(tmp_path))
    database = store._database
    columns = [
        (name, kind)
        for _, name, kind, *_ in database.execute(f"PRAGMA table_info({table})")
        if name != "one"  # a constant, guarded by the schema
    ]
    rows = [row for (row,) in database.execute(f"SELECT rowid FROM {table}")]
    assert len(columns) == width - (table == "totals") and rows
    for row in rows:
        for column, kind in columns:
            change = CHANGES[kind].format(column)
            database.execute("BEGIN")
            update = database.execute(f"UPDATE OR REPLACE {table} SET {column} = {change} WHERE rowid = ?", (row,))
            assert update.rowcount == 1 and store.damage(), f"{column} of row {row}"
            database.execute("ROLLBACK")
            assert store.damage() == []


def changed(full: Path, folder: Path, *queries: str) -> Store:
    """A copy in which somebody changed something, and put the digests right."""
    shutil.copy(file(full), file(folder))
    with raw(folder) as database:
        for query in queries:
            assert database.execute(query).rowcount > 0
    return Store(file(folder))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("DELETE FROM batches WHERE chain = 'one' AND number = 1", "batch 1 of one is missing"),
        ("DELETE FROM batches WHERE chain = 'one' AND number = 0", "batch 0 of one is missing"),
        (
            "UPDATE batches SET answers = (SELECT answers FROM batches WHERE number = 2),"
            " content = (SELECT content FROM batches WHERE number = 2) WHERE chain = 'one' AND number = 1",
            "the chain of one breaks at batch 1.0",
        ),
        ("DELETE FROM accounts WHERE search = 'b'", "the accounts do not add up to the total"),
        ("DELETE FROM attempts WHERE state = 'lost'", "the account of a does not add up"),
        ("DELETE FROM attempts WHERE state = 'open'", "the account of b does not add up"),
        (
            "UPDATE accounts SET issued = issued - 1, answered = answered - 1,"
            " digest = digest(search, issued - 1, answered - 1, failed, lost, repeated) WHERE search = 'a'",
            "the accounts do not add up to the total",
        ),
        ("UPDATE totals SET issued = 1, digest = digest(1, padded)", "the accounts do not add up to the total"),
        ("UPDATE attempts SET rows = '[]', digest = digest(id, chain, key, '[]', state)", "ledger: "),
        ("UPDATE attempts SET rows = '{', digest = digest(id, chain, key, '{', state)", "ledger: "),
        ("UPDATE accounts SET search = cast(x'ff' AS TEXT) WHERE search = 'a'", "ledger: "),
    ],
)
def test_sums_and_chains_have_to_agree(full, tmp_path, query, found):
    assert any(found in line for line in changed(full, tmp_path, query).damage())


def test_what_is_read_is_checked_when_it_is_read(full, tmp_path):
    flip = CHANGES["BLOB"].format("answers")
    store = changed(full, tmp_path, f"UPDATE batches SET answers = {flip} WHERE key = '1.0'")
    with pytest.raises(DamagedRunError, match=r"the answers of one, batch 1\.0 have changed"):
        store.get("one", "1.0")
    with pytest.raises(DamagedRunError):
        list(store.batches("one", 3))
    assert len(list(store.batches("one", 1))) == 1
    store.abandon()
    store = changed(full, tmp_path, "UPDATE events SET value = '1' WHERE number = 1")
    with pytest.raises(DamagedRunError, match="event 1 of one has changed"):
        store.events("one")
    store.abandon()
    store = changed(full, tmp_path, "UPDATE results SET value = '1'")
    with pytest.raises(DamagedRunError, match="the result of shard has changed"):
        store.result("shard")


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_what_is_no_json_is_damage_even_if_its_digest_is_right(full, tmp_path, text):
    store = changed(
        full,
        tmp_path,
        f"UPDATE events SET value = '{text}', digest = digest(chain, number, '{text}') WHERE number = 0",
        f"UPDATE results SET value = '{text}', digest = digest(name, '{text}')",
        f"UPDATE attempts SET rows = '{text}', digest = digest(id, chain, key, '{text}', state)",
    )
    with pytest.raises(DamagedRunError, match="event 0 of one is not JSON"):
        store.events("one")
    with pytest.raises(DamagedRunError, match="the result of shard is not JSON"):
        store.result("shard")
    assert store.damage()
    store.abandon()
    with pytest.raises(DamagedRunError, match="an attempt is not JSON"):
        owned(tmp_path)


def test_text_that_is_none_is_damage_not_a_full_disk(full, tmp_path):
    store = changed(full, tmp_path, "UPDATE accounts SET search = cast(x'ff' AS TEXT) WHERE search = 'a'")
    with pytest.raises(DamagedRunError, match="the ledger is damaged"):
        store.counts()


# Files that are not ours


def test_a_file_that_is_no_database_is_refused_and_stays(tmp_path):
    file(tmp_path).write_bytes(b"some notes of mine\n" * 1000)
    with pytest.raises(DamagedRunError):
        owned(tmp_path)
    assert file(tmp_path).read_bytes() == b"some notes of mine\n" * 1000


@pytest.mark.parametrize("owner", [True, False])
def test_a_database_of_somebody_else_is_refused_and_stays(tmp_path, owner):
    with raw(tmp_path) as database:
        database.execute("CREATE TABLE addresses (name TEXT)")
    before = file(tmp_path).read_bytes()
    with pytest.raises(DamagedRunError, match="is not the ledger of a run of evofool"):
        Store(file(tmp_path), owner=owner)
    assert file(tmp_path).read_bytes() == before


def test_an_empty_file_is_a_new_ledger_only_to_an_owner(tmp_path):
    file(tmp_path).touch()
    with pytest.raises(DamagedRunError, match="is not the ledger of a run"):
        Store(file(tmp_path))
    assert owned(tmp_path).damage() == []


def test_a_missing_file_is_made_only_by_an_owner(tmp_path):
    for read_only in (False, True):
        with pytest.raises(DamagedRunError, match="is missing"):
            Store(file(tmp_path), read_only=read_only)
    assert not file(tmp_path).exists()


@pytest.mark.parametrize("version", [VERSION + 1, VERSION - 1])
def test_another_version_is_refused_and_stays(full, tmp_path, version):
    shutil.copy(file(full), file(tmp_path))
    with raw(tmp_path) as database:
        database.execute(f"PRAGMA user_version = {version}")
    before = file(tmp_path).read_bytes()
    with pytest.raises(DamagedRunError, match=f"has the format {version}, expected {VERSION}; use the version of"):
        owned(tmp_path)
    assert file(tmp_path).read_bytes() == before


@pytest.mark.parametrize(
    "query",
    [
        "CREATE TRIGGER t AFTER INSERT ON sessions BEGIN DELETE FROM accounts; END",
        "CREATE VIEW v AS SELECT * FROM accounts",
        "DROP TABLE results",
        "ALTER TABLE totals ADD COLUMN more TEXT",
    ],
)
def test_other_tables_than_ours_are_refused(full, tmp_path, query):
    shutil.copy(file(full), file(tmp_path))
    with raw(tmp_path) as database:
        database.execute(query)
        assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
    with pytest.raises(DamagedRunError, match="has other tables than the ledger of a run"):
        owned(tmp_path)


def test_a_file_that_was_cut_is_never_taken_for_a_whole_one(full, tmp_path):
    whole = file(full).read_bytes()
    for length in (1, 50, 99, 100, 4095, 4096, 5000, len(whole) // 2, len(whole) - 4096, len(whole) - 1):
        file(tmp_path).write_bytes(whole[:length])
        try:
            store = Store(file(tmp_path), read_only=True)
        except DamagedRunError:
            continue
        assert store.damage(), length
        store.abandon()


def test_links_and_folders_are_refused(full, tmp_path):
    file(tmp_path).symlink_to(file(full))
    with pytest.raises(DamagedRunError, match="is a link or no file at all"):
        owned(tmp_path)
    file(tmp_path).unlink()
    file(tmp_path).mkdir()
    with pytest.raises(DamagedRunError, match="is a link or no file at all"):
        owned(tmp_path)


def test_names_that_sqlite_could_misread_are_only_names(tmp_path):
    folder = tmp_path / "a run?mode=memory&x=#1 %41 ä"
    folder.mkdir()
    fill(folder)
    assert file(folder).is_file() and Store(file(folder), read_only=True).damage() == []
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


# A system that refuses


def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path):
    store = owned(tmp_path)
    store.open_accounts(["a"])
    store.record("one", 0, "kept")
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(UserError, match="is full") as caught, store.transaction():
        store.open_attempt("one", "0.0", {"a": 4})
        store.put("one", "0.0", batch(1000, 10))
    assert caught.value.exit_code == 2 and "make room" in str(caught.value)
    assert store.total() == 0 and store.length("one") == 0 and store.damage() == []
    store._database.execute("PRAGMA max_page_count = 100000")
    ask(store, "one", "0.0", {"a": 4}, batch(1000, 10))
    assert store.events("one") == ["kept"] and store.damage() == []


MOUNTS = """/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/sda2 /home/local ext4 rw 0 0
//server/share /mnt/my\\040share cifs rw 0 0
me@server: /mnt/ssh fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/runs/a", "nfs4"),
        ("/home", "nfs4"),
        ("/homes/me", "ext4"),
        ("/home/local/runs/a/ledger.sqlite", "ext4"),
        ("/mnt/my share/run", "cifs"),
        ("/mnt/ssh/run", "fuse.sshfs"),
        ("/nowhere", "ext4"),
    ],
)
def test_the_file_system_of_a_path_is_the_one_mounted_deepest(path, kind):
    assert files.filesystem(Path(path), MOUNTS) == kind


def test_without_a_table_of_mounts_there_is_no_answer():
    assert files.filesystem(Path("/home"), "") == ""


@pytest.mark.parametrize(("kind", "refused"), [("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("ext4", False)])
def test_a_network_file_system_is_refused_with_the_reason(tmp_path, monkeypatch, kind, refused):
    monkeypatch.setattr(files, "filesystem", lambda path: kind)
    if not refused:
        owned(tmp_path)
        return
    with pytest.raises(UserError, match=rf"lies on a network file system \({kind}\)"):
        owned(tmp_path)
    assert not file(tmp_path).exists()


@pytest.mark.parametrize(
    "values", [["a", 1], [], [-(2**63), 2**63 - 1, 0], NAMES, [1.5, None, True, "x" * 5000], ["a, 1", '"', "]"]]
)
def test_digests_are_over_json(values):
    assert schema.digest_of(*values) == hashlib.sha256(json.dumps(values).encode()).hexdigest()


def test_an_owner_does_not_go_on_with_accounts_that_were_changed(tmp_path):
    """Else the next change would give the changed row a right digest, and the budget would be exceeded."""
    store = Store(file(tmp_path), owner=True)
    store.open_accounts(["a"])
    with store.transaction():
        store.open_attempt("c", "0", {"a": 15})
    store.abandon()
    with closing(sqlite3.connect(file(tmp_path))) as database:
        assert database.execute("UPDATE accounts SET issued = 7").rowcount == 1
        database.commit()
    before = file(tmp_path).read_bytes()
    for _ in range(2):
        with pytest.raises(DamagedRunError, match="rows of accounts have changed; restore the run from a copy"):
            Store(file(tmp_path), owner=True)
    assert file(tmp_path).read_bytes() == before


def test_a_reader_keeps_the_file_from_being_whole_and_that_is_told(tmp_path):
    store = Store(file(tmp_path), owner=True)
    with closing(sqlite3.connect(file(tmp_path), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM accounts").fetchall()
        store.open_accounts(["a"])
        assert store.close() is False
    assert Store(file(tmp_path), owner=True).close() is True


def test_a_charge_for_what_was_never_sent_is_taken_back(tmp_path):
    store = Store(file(tmp_path), owner=True)
    store.open_accounts(["a", "b"])
    with store.transaction():
        first, second = store.open_attempt("c", "1", {"a": 3, "b": 2}), store.open_attempt("c", "2", {"a": 1})
    with store.transaction():
        store.close_attempt(first, {"failed": {"a": 1}}, padded=0, failed=True, never_sent={"a": 2, "b": 2})
    assert store.counts()["a"]["issued"] == 2 and store.counts()["b"]["issued"] == 0 and store.total() == 2
    assert store.damage() == []
    with store.transaction():
        store.close_attempt(second, {"answered": {"a": 1}}, padded=0, failed=False)
    assert store.damage() == []
