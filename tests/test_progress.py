"""What is told of the work, and where: a bar on a terminal, rare lines in a log, nothing when quiet."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from evofool import progress as module
from evofool.progress import duration, progress


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_log_gets_a_line_now_and_then(clock, capsys):
    with progress("evolving", 200, every=10) as meter:
        for _ in range(50):
            clock.now += 1
            meter.advance(2)
        meter.note("0.31 right")
        for _ in range(50):
            clock.now += 1
            meter.advance(2)
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "evolving: 10%, 1 min 30 s left",
        "evolving: 20%, 1 min 20 s left",
        "evolving: 30%, 1 min 10 s left",
        "evolving: 40%, 1 min 00 s left",
        "evolving: 50%, 50 s left",
        "evolving: 60%, 40 s left · 0.31 right",
        "evolving: 70%, 30 s left · 0.31 right",
        "evolving: 80%, 20 s left · 0.31 right",
        "evolving: 90%, 10 s left · 0.31 right",
        "evolving: 100%, 0.0 s left · 0.31 right",
        "evolving: done after 1 min 40 s · 0.31 right",
    ]
    assert told.out == ""


def test_nobody_knows_the_total(clock, capsys):
    with progress("reading", None, every=10) as meter:
        clock.now += 10
        meter.note("train images")
        clock.now += 10
        meter.advance(1234)
    assert capsys.readouterr().err.splitlines() == [
        "reading: since 10 s · train images",
        "reading: 1,234 after 20 s · train images",
        "reading: done after 20 s · train images",
    ]


def test_an_error_is_told_with_how_far_it_came(clock, capsys):
    with pytest.raises(KeyboardInterrupt), progress("evolving", 4) as meter:
        clock.now += 2
        meter.advance()
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "evolving: stopped at 25% after 2.0 s\n"


def test_quick_work_is_not_worth_a_line(clock, capsys):
    with progress("evolving", 3) as meter:
        meter.advance(3)
    with progress("nothing to do", 0):
        pass
    assert capsys.readouterr().err == ""


def test_the_time_left_does_not_count_getting_ready(clock, capsys):
    with progress("evolving", 1000, every=10) as meter:
        clock.now += 100
        meter.advance(20)
        for _ in range(2):
            clock.now += 10
            meter.advance(20)
    assert capsys.readouterr().err.splitlines()[:3] == [
        "evolving: 2%",  # no pace is known yet
        "evolving: 4%, 8 min 00 s left",
        "evolving: 6%, 7 min 50 s left",
    ]


def test_no_time_is_told_before_one_part_in_a_hundred(clock, capsys):
    with progress("evolving", 1000, every=10) as meter:
        for _ in range(11):
            clock.now += 10
            meter.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[:10] == ["evolving: 0%"] * 5 + ["evolving: 1%"] * 5
    assert lines[10] == "evolving: 1%, 2 h 44 min left"


def test_nothing_to_do_is_all_done(clock, capsys):
    with progress("evolving", 0, every=5) as meter:
        clock.now += 6
        meter.advance(0)
    assert capsys.readouterr().err.splitlines() == ["evolving: 100%", "evolving: done after 6.0 s"]


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_is_quiet(clock, capsys, terminal, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with progress("evolving", 10, quiet=True, every=0) as meter:
        clock.now += 100
        meter.advance(5)
        meter.note("words")
    assert capsys.readouterr().err == ""


def on_a_terminal(monkeypatch) -> None:
    """Called in the test itself: between a fixture and the test pytest exchanges the streams."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("total", [4, None])
def test_a_terminal_gets_a_bar(total, capsys, monkeypatch):
    on_a_terminal(monkeypatch)
    with progress("evolving [bold]", total) as meter:
        meter.advance(3)
        meter.note("[0.31] right")
        meter.advance()
        print("a result")
    told = capsys.readouterr()
    assert "evolving [bold]" in told.err  # brackets are no markup
    assert "[0.31] right" in told.err
    assert "100%" in told.err
    assert "\x1b[" in told.err
    assert told.out == "a result\n"  # on its way into a file, perhaps


def test_a_dumb_terminal_gets_lines(clock, monkeypatch, capsys):
    on_a_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    with progress("evolving", 4, every=1) as meter:
        clock.now += 2
        meter.advance()
    assert capsys.readouterr().err == "evolving: 25%\nevolving: done after 2.0 s\n"


def test_rich_is_loaded_only_for_a_bar():
    code = "import sys, evofool.progress as p\nwith p.progress('x', 1) as m: m.advance()\nprint('rich' in sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "TERM": "xterm"}
    )
    assert finished.stdout == "False\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185.0, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800.0, "2 h 10 min"),
        (360000.0, "100 h 00 min"),
    ],
)
def test_durations_are_said_as_people_do(seconds, words):
    assert duration(seconds) == words
