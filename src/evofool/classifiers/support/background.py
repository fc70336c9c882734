"""One event loop for this process, in a thread of its own: what runs there can be ended when its time is over."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Coroutine
from typing import Any

_GRACE = 5.0  # seconds after its deadline in which work must have ended by itself


def in_background(work: Coroutine[Any, Any, Any], timeout: float) -> Any:
    """Run a coroutine that keeps a deadline, and wait for it; what does not keep it is left behind.

    Raises:
        TimeoutError: it did not end.
    """
    future = asyncio.run_coroutine_threadsafe(work, _background.running())
    try:
        return future.result(timeout + _GRACE)
    finally:
        future.cancel()


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose look-ups nobody waits for: neither when their deadline is over, nor when the process ends."""

    async def getaddrinfo(self, *arguments: Any, **more: Any) -> Any:
        """As `socket.getaddrinfo`, in a thread of its own."""
        found: asyncio.Future[Any] = self.create_future()

        def deliver(result: Any, error: Exception | None) -> None:
            if not found.done():
                found.set_exception(error) if error else found.set_result(result)

        def look_up() -> None:
            result, error = None, None
            try:
                result = socket.getaddrinfo(*arguments, **more)
            except Exception as caught:
                error = caught
            self.call_soon_threadsafe(deliver, result, error)

        threading.Thread(target=look_up, daemon=True).start()
        return await found


class _Background:
    """The loop of this process, made when it is first needed."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: threads do not come along into a child of this process."""
        self._lock = threading.Lock()
        self._loop: _Loop | None = None

    def running(self) -> _Loop:
        with self._lock:
            if self._loop is None:
                self._loop = _Loop()
                threading.Thread(target=self._loop.run_forever, daemon=True, name="evofool requests").start()
            return self._loop


_background = _Background()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_background.forget)
