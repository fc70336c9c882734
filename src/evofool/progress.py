"""Tells on stderr how far the work is: a bar where a person watches, a line now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import rich.progress


class Meter(Protocol):
    """What the work reports to."""

    def advance(self, n: float = 1) -> None:
        """Count n more units as finished."""

    def note(self, text: str) -> None:
        """Show a few words behind the bar or at the end of the next lines, in place of the last ones."""


@contextmanager
def progress(description: str, total: float | None, *, quiet: bool = False, every: float = 15.0) -> Iterator[Meter]:
    """Watch over a piece of work of `total` units.

    On a terminal it draws a bar with the time left. Elsewhere it writes a plain line at most once in `every` seconds,
    and a last one when the block ends (none for what took less than a second). Nothing goes to stdout.

    Args:
        total: units of work, the same that `advance` counts; None where nobody knows.
        quiet: write nothing at all.
        every: seconds between plain lines.
    """
    if quiet:
        yield _Silent()
    elif _watched():
        with _bars() as bars:
            task = bars.add_task(description, total=total, note="")
            yield _Bar(bars, task)
            if total is None:
                bars.update(task, total=bars.tasks[0].completed)
    else:
        lines = _Lines(description, total, every)
        try:
            yield lines
        except BaseException:
            lines.end("stopped")
            raise
        lines.end("done")


def _watched() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _bars() -> rich.progress.Progress:
    from rich import progress as parts
    from rich.console import Console

    return parts.Progress(
        parts.TextColumn("{task.description}", markup=False),
        parts.BarColumn(),
        parts.TaskProgressColumn(),
        parts.TimeRemainingColumn(elapsed_when_finished=True),
        parts.TextColumn("{task.fields[note]}", markup=False, style="dim"),
        console=Console(stderr=True),
        redirect_stdout=False,  # results may be on their way into a file
        speed_estimate_period=120.0,
    )


class _Silent:
    def advance(self, n: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class _Bar:
    def __init__(self, bars: rich.progress.Progress, task: rich.progress.TaskID):
        self._bars, self._task = bars, task

    def advance(self, n: float = 1) -> None:
        self._bars.advance(self._task, n)

    def note(self, text: str) -> None:
        self._bars.update(self._task, note=text)


class _Lines:
    """Lines for a log file, rare enough that it stays readable."""

    def __init__(self, description: str, total: float | None, every: float):
        self._description, self._total, self._every = description, total, every
        self._done, self._note = 0.0, ""
        self._began = self._written = time.monotonic()
        self._first: tuple[float, float] | None = None

    def advance(self, n: float = 1) -> None:
        self._done += n
        # The time left is reckoned from here: what came before was also getting ready.
        self._first = self._first or (time.monotonic(), self._done)
        self._tell()

    def note(self, text: str) -> None:
        self._note = text
        self._tell()

    def end(self, how: str) -> None:
        seconds = time.monotonic() - self._began
        if seconds < 1.0:
            return  # a log needs no word of it
        if how == "stopped" and self._total is not None:
            how = f"stopped at {self._share()}"
        self._write(f"{how} after {duration(seconds)}")

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._written < self._every:
            return
        self._written = now
        if self._total is None:
            seconds = duration(now - self._began)
            self._write(f"{self._done:,.10g} after {seconds}" if self._done else f"since {seconds}")
            return
        left = ""
        if self._first and self._done > max(self._first[1], 0.01 * self._total):
            pace = (now - self._first[0]) / (self._done - self._first[1])
            left = f", {duration(pace * max(self._total - self._done, 0.0))} left"
        self._write(f"{self._share()}{left}")

    def _share(self) -> str:
        assert self._total is not None
        return f"{100 * self._done / self._total:.0f}%" if self._total else "100%"

    def _write(self, words: str) -> None:
        note = f" · {self._note}" if self._note else ""
        print(f"{self._description}: {words}{note}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A length of time as a person says it: "0.4 s", "42 s", "3 min 05 s", "2 h 10 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
