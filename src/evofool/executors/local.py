"""Runs one function over many shards in processes of this machine, with one torch thread each."""

from __future__ import annotations

import contextlib
import copyreg
import math
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..errors import EvofoolError, UserError

Shard = TypeVar("Shard")
Result = TypeVar("Result")


class Tick(Protocol):
    """What work reports to."""

    def __call__(self, n: int, note: str = "") -> None:
        """n more units are finished; `note` says in a few words where the work stands, if there is something to say."""


# Read by the libraries when they are loaded, so a worker has to be born with them.
ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
}
GRACE = 10.0  # seconds that a worker is given to end by itself before it is killed


def map_shards(
    function: Callable[[Shard, Tick], Result],
    shards: Sequence[Shard],
    *,
    workers: int | None = None,
    on_done: Callable[[int], None] | None = None,
    on_tick: Tick | None = None,
) -> list[Result]:
    """Give each shard to `function` and collect what it returns, in the order of the shards.

    One worker (or one shard) runs in this process, so that a debugger and a profiler see it. More are spawned, never
    forked: the module that `function` stands in is imported afresh by each, and so is the main script, which must start
    its work under `if __name__ == "__main__":`. No worker outlives this call, whether it ends by a result, an error,
    Ctrl-C or the death of this process.

    Args:
        function: stands at the top of a module; called as `function(shard, tick)`, where `tick(n, note)` reports n more
            units of work as finished.
        shards: values that can be sent to another process; handed out one at a time, in order, to whoever is free.
        workers: processes, at least 1; None = `available_processors()`. Never more than there are shards.
        on_done: called in this process with the index of each shard that is finished, in the order of finishing.
        on_tick: called in this process with what the workers report.

    Raises:
        UserError: fewer than one worker.
        EvofoolError: a worker died without an answer.
        Exception: whatever `function` raised first, with its type; the other shards are given up. Unless it is an
            EvofoolError, which speaks for itself, a note holds the traceback from inside the worker.
    """
    if workers is None:
        workers = available_processors()
    if workers < 1:
        raise UserError(f"workers = {workers}: expected at least 1 process; leave it out to use all processors")
    workers = min(workers, len(shards))
    finished: Callable[[int], None] = on_done or _ignore
    told: Tick = on_tick or _ignore
    if workers <= 1:
        return _map_here(function, shards, finished, told)
    return _map_spawned(function, shards, workers, finished, told)


def available_processors() -> int:
    """Processors that this process may use: its affinity mask, cut to the quota of its container."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # not a Linux with control groups, or "max": no quota
        return count


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread here for a while, as it does in a worker: the same seed, the same numbers."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _ignore(n: int, note: str = "") -> None:
    pass


def _map_here(
    function: Callable[[Shard, Tick], Result], shards: Sequence[Shard], on_done: Callable[[int], None], on_tick: Tick
) -> list[Result]:
    results = []
    with one_thread():
        for index, shard in enumerate(shards):
            results.append(function(shard, on_tick))
            on_done(index)
    return results


def _map_spawned(
    function: Callable[[Shard, Tick], Result],
    shards: Sequence[Shard],
    workers: int,
    on_done: Callable[[int], None],
    on_tick: Tick,
) -> list[Result]:
    results: dict[int, Result] = {}
    waiting = deque(range(len(shards)))
    with _staff(workers) as staff:
        at_work: dict[Connection, int | None] = dict.fromkeys(staff)  # the shard each is on; None while it starts
        while len(results) < len(shards):
            for ready in wait(list(at_work)):
                line: Any = ready
                try:
                    message = line.recv_bytes()
                except (EOFError, OSError):
                    raise _death(staff[line], at_work[line], len(shards)) from None
                kind, content = _Message.loads(message)
                if kind == "tick":
                    on_tick(*content)
                    continue
                if kind == "failed":
                    raise content
                if kind == "done":
                    finished = at_work[line]
                    assert finished is not None
                    results[finished] = content
                    on_done(finished)
                task = None
                if waiting:
                    index = at_work[line] = waiting.popleft()
                    task = (function, shards[index])
                else:
                    del at_work[line]  # it goes home, and its hanging up is no death
                message = _Message.dumps(task)
                with contextlib.suppress(OSError):  # it just died: the next round finds its line closed
                    line.send_bytes(message)
    return [results[index] for index in range(len(shards))]


def _death(process: SpawnProcess, shard: int | None, shards: int) -> EvofoolError:
    process.join(GRACE)
    code = process.exitcode or 0
    how = f"by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"with exit code {code}"
    if shard is None:
        return EvofoolError(
            f"a worker process ended {how} before its first shard: expected it to start; is the memory short, or does "
            'the script that called lack `if __name__ == "__main__":`?'
        )
    return EvofoolError(
        f"a worker process ended {how} in shard {shard + 1} of {shards} without a result: most likely the machine ran "
        "out of memory; try fewer workers or a smaller population"
    )


class _Message(ForkingPickler):
    """What passes between this process and the workers it started, copied whole.

    torch teaches multiprocessing to pass a tensor as a handle to shared memory instead, which is gone when the worker
    is and takes a file descriptor for each.
    """

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.dispatch_table = copyreg.dispatch_table


@contextlib.contextmanager
def _staff(count: int) -> Iterator[dict[Connection, SpawnProcess]]:
    """Workers by their line to us; all of them have ended when the block is left."""
    context = multiprocessing.get_context("spawn")
    staff: dict[Connection, SpawnProcess] = {}
    try:
        # One line for each, rather than a queue for all: a worker killed while it writes then breaks nothing but its
        # own line, which tells us that it died.
        with _birth_conditions():
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs,), daemon=True)
                process.start()
                theirs.close()
                staff[ours] = process
        yield staff
    except BaseException:
        for process in staff.values():
            process.terminate()
        raise
    finally:
        try:
            for process in staff.values():
                process.join(GRACE)
        finally:  # also where a second Ctrl-C cuts the waiting short
            for line, process in staff.items():
                process.kill()
                process.join()
                process.close()
                line.close()


@contextlib.contextmanager
def _birth_conditions() -> Iterator[None]:
    """What workers inherit: the thread counts, and that Ctrl-C, which a terminal sends to all, is for the parent."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    masked = None
    if hasattr(signal, "pthread_sigmask"):
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # on its first start it would lift the mask
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if masked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)


def _work(line: Connection) -> None:
    """The life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def send(kind: str, content: Any = None) -> None:
        message = _Message.dumps((kind, content))
        try:
            line.send_bytes(message)
        except OSError:  # nobody listens any more
            os._exit(1)

    send("ready")
    while True:
        try:
            task = _Message.loads(line.recv_bytes())
            if task is None:
                return
            function, shard = task
            if torch := sys.modules.get("torch"):  # where the function loads it later, the environment says the same
                torch.set_num_threads(1)
            send("done", function(shard, lambda n, note="": send("tick", (n, note) if note else (n,))))
        except Exception as error:
            send("failed", _portable(error))
            return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error itself where it survives the way to another process, else its words."""
    if not isinstance(error, EvofoolError):
        error.add_note(f"In a worker process:\n{''.join(traceback.format_exception(error))}")
    with contextlib.suppress(Exception):
        copy = _Message.loads(_Message.dumps(error))
        if type(copy) is type(error) and str(copy) == str(error):
            return error
    if isinstance(error, EvofoolError):
        words = EvofoolError(str(error))
        words.exit_code = error.exit_code
        return words
    substitute = RuntimeError(f"{type(error).__qualname__}: {error}")
    substitute.__notes__ = error.__notes__
    return substitute
