"""Who works on a run directory: locks that the system drops when a process dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError
from .files import refuse_link

PATIENCE = 10.0  # seconds that the processes of a dead owner are given to follow it


def own(path: Path) -> int:
    """Own a directory until the handle is closed, or this process ends.

    Raises:
        UserError: a live process owns it, or one that an earlier owner started still lives.
    """
    handle = _opened(path / "lock")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise UserError(f"{path}: process {owner} works on this run; wait for it, or stop it") from None
    try:
        _wait_for_workers(path)
    except BaseException:
        os.close(handle)
        raise
    with contextlib.suppress(OSError):  # a full disk: who owns it is only told
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


def _wait_for_workers(path: Path) -> None:
    handle = _opened(path / "workers")
    deadline = time.monotonic() + PATIENCE
    try:
        while True:
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if time.monotonic() > deadline:
                raise UserError(f"{path}: a worker process of an earlier run still lives; stop it, then try again")
            time.sleep(0.02)
    finally:
        os.close(handle)


def follow(path: Path) -> None:
    """Say, until this process ends, that it works for the owner of a directory."""
    fcntl.flock(_opened(path / "workers"), fcntl.LOCK_SH)


def is_owned(path: Path) -> bool:
    """Whether a live process works on a run."""
    try:
        handle = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(handle)


def refuse_owned(path: Path) -> None:
    """Leave a run alone that somebody works on.

    Raises:
        UserError: a live process owns it.
    """
    if is_owned(path):
        raise UserError(f"{path}: a process works on this run; try again when it has ended, or stop it")


@contextlib.contextmanager
def taking_turns(file: Path) -> Iterator[None]:
    """One process at a time in this block; the others wait."""
    handle = _opened(file)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    refuse_link(path)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); mend the permissions of the run") from None
