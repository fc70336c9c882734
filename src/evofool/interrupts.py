"""Signals that would end the process, and work that is not to be cut in two by them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def undisturbed(wanted: bool = True) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM wait until the block is done, so that paid answers are stored; a second one does not wait.

    What is yielded fills up with the signals that wait, for work that can end early. Without `wanted` nothing waits.
    """
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield []
        return
    arrived: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def hand_on(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def hold(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        if len(arrived) > 1:
            hand_on(number, frame)

    for number, handler in before.items():
        if handler is not None:  # else it was not set by Python
            signal.signal(number, hold)
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
        if arrived:
            hand_on(arrived[0], None)
