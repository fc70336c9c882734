"""SQLite's log: what it would forget without a word is counted, and nothing is called damage that is none."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from evofool.wal import Forgotten, forgotten

WHOLE = Forgotten(0, 0)


def written(path: Path, transactions: int, *, checkpoint: int = 0) -> bytes:
    """The log of a database after some transactions; the first ones may have gone into the database already."""
    file = path / "a.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("CREATE TABLE numbers (number INTEGER, text TEXT)")
        for number in range(transactions):
            if number == checkpoint and checkpoint:
                database.execute("PRAGMA wal_checkpoint(RESTART)")
            database.execute("INSERT INTO numbers VALUES (?, ?)", (number, "x" * 500))
        return (path / "a.sqlite-wal").read_bytes()


def read(path: Path, log: bytes) -> Forgotten:
    (path / "copy-wal").write_bytes(log)
    return forgotten(path / "copy-wal")


def frames(log: bytes) -> list[int]:
    """Where frames begin."""
    return list(range(32, len(log), 24 + 4096))


def test_a_whole_log_forgets_nothing(tmp_path):
    log = written(tmp_path, 6)
    assert len(frames(log)) >= 6
    assert read(tmp_path, log) == WHOLE


def test_no_log_and_an_empty_one_forget_nothing(tmp_path):
    assert forgotten(tmp_path / "nowhere") == WHOLE
    assert read(tmp_path, b"") == WHOLE
    assert read(tmp_path, bytes(5000)) == WHOLE  # room that was set aside and not written


@pytest.mark.parametrize("cut", [1, 23, 24, 25, 4096, 4119])
def test_a_frame_that_is_cut_off_at_the_end_is_no_damage(tmp_path, cut):
    log = written(tmp_path, 6)
    assert read(tmp_path, log[:-cut]) == WHOLE


@pytest.mark.parametrize("behind", [1, 2, 4])
@pytest.mark.parametrize("byte", [4, 9, 17, 24, 3000])
def test_what_stands_behind_a_broken_frame_is_counted(tmp_path, behind, byte):
    log = bytearray(written(tmp_path, 6))
    log[frames(log)[-behind] + byte] ^= 1
    found = read(tmp_path, bytes(log))
    assert found.frames == behind
    # A frame whose mark of an end is gone no longer counts as one.
    assert found.transactions in (behind, behind - 1)


def test_a_log_without_its_head_is_damage(tmp_path):
    log = bytearray(written(tmp_path, 6))
    log[9] ^= 1
    assert read(tmp_path, bytes(log)).transactions > 1


def test_frames_of_an_earlier_log_in_the_same_file_are_no_damage(tmp_path):
    log = written(tmp_path, 9, checkpoint=7)
    assert len(frames(log)) > 4
    assert read(tmp_path, log) == WHOLE


def test_sqlite_itself_forgets_what_is_counted(tmp_path):
    """The precondition of all this: rows behind the broken frame are gone, and SQLite says nothing."""
    file = tmp_path / "a.sqlite"
    keep = sqlite3.connect(file, isolation_level=None)
    keep.execute("PRAGMA journal_mode = WAL")
    keep.execute("PRAGMA wal_autocheckpoint = 0")
    keep.execute("CREATE TABLE numbers (number INTEGER)")
    keep.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(5):
        keep.execute("INSERT INTO numbers VALUES (?)", (number,))
    log = bytearray((tmp_path / "a.sqlite-wal").read_bytes())
    database = file.read_bytes()
    keep.close()
    log[frames(log)[2] + 100] ^= 1
    (tmp_path / "b.sqlite").write_bytes(database)
    (tmp_path / "b.sqlite-wal").write_bytes(log)
    assert forgotten(tmp_path / "b.sqlite-wal") == Forgotten(3, 3)
    with closing(sqlite3.connect(tmp_path / "b.sqlite")) as other:
        assert other.execute("SELECT count(*) FROM numbers").fetchone() == (2,)
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
