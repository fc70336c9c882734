"""Shards over processes: order, errors across the border, and that nothing survives that should not."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pytest

from evofool.errors import DataError, EvofoolError, SpecError, TargetError, UserError
from evofool.executors import local
from evofool.executors.local import available_processors, map_shards

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


# What workers run stands at the top of this module: they import it. (It loads torch late, so that they start fast.)


@dataclass(frozen=True)
class Report:
    """What one shard saw."""

    square: int
    process: int
    threads: int
    environment: str | None
    products: Any
    heavy: bytes


def observe(task: tuple[int, Path | None], tick) -> Report:
    """With a folder, shard 0 ends after shard 1, so that finishing order is not shard order."""
    import torch

    shard, folder = task
    tick(1)
    if folder and shard == 2:
        (folder / "1 is done").touch()
    if folder and shard == 0:
        await_that((folder / "1 is done").exists)
    tick(shard)
    images = torch.rand(40, 30, generator=torch.Generator().manual_seed(shard))
    return Report(
        square=shard * shard,
        process=os.getpid(),
        threads=torch.get_num_threads(),
        environment=os.environ.get("OMP_NUM_THREADS"),
        products=images @ images.T,
        heavy=bytes([shard]) + bytes(1_000_000),
    )


def await_that(happened: Callable[[], bool]) -> None:
    for _ in range(6000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within a minute")


def where(_: int, tick) -> int:
    return os.getpid()


def echo(shard: bytes, tick) -> bytes:
    return shard[::-1]


class UnportableError(RuntimeError):
    def __init__(self, first: int, second: int):
        super().__init__(f"{first} and {second}")


class UnportableDataError(DataError):
    def __init__(self, first: int, second: int):
        super().__init__(f"{first} and {second}")


FAILURES = {
    "user": lambda: UserError("found 3, expected 4: give one more"),
    "spec": lambda: SpecError("unknown key"),
    "target": lambda: TargetError("busy", retry_after=7.5, fatal=True),
    "value": lambda: ValueError("not mine"),
    "unportable": lambda: UnportableError(1, 2),
    "unportable data": lambda: UnportableDataError(1, 2),
}


def fail_second(shard: tuple[int, str], tick) -> None:
    index, how = shard
    if index == 1:
        raise FAILURES[how]()
    time.sleep(600)


def die_second(shard: tuple[int, str], tick) -> None:
    index, how = shard
    if index == 1 and how == "exit":
        os._exit(7)
    if index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def interrupt_oneself(shard: int, tick) -> bool:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def masked_at_birth(shard: int, tick) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def unsendable(shard: int, tick):
    return threading.Lock()


def long_work(shard: int, tick) -> None:
    tick(1)
    time.sleep(600)


@pytest.fixture(autouse=True)
def no_orphans() -> Iterator[None]:
    """Whatever a test did, none of its workers is left."""
    yield
    assert multiprocessing.active_children() == []


@dataclass(frozen=True)
class Outcome:
    reports: list[Report]
    done: list[int]
    ticks: list[int]


def run_six(workers: int, folder: Path | None) -> Outcome:
    done: list[int] = []
    ticks: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "7")
        patch.delenv("MKL_NUM_THREADS", raising=False)
        shards = [(n, folder) for n in range(6)]
        reports = map_shards(observe, shards, workers=workers, on_done=done.append, on_tick=ticks.append)
        assert os.environ["OMP_NUM_THREADS"] == "7"
        assert "MKL_NUM_THREADS" not in os.environ
    return Outcome(reports, done, ticks)


@pytest.fixture(scope="module")
def alone() -> Outcome:
    return run_six(workers=1, folder=None)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Outcome:
    return run_six(workers=2, folder=tmp_path_factory.mktemp("pair"))


def test_results_stand_in_the_order_of_the_shards(alone, pair):
    assert [report.square for report in alone.reports] == [0, 1, 4, 9, 16, 25]
    assert [report.square for report in pair.reports] == [0, 1, 4, 9, 16, 25]
    assert alone.done == [0, 1, 2, 3, 4, 5]
    assert sorted(pair.done) == [0, 1, 2, 3, 4, 5]
    assert pair.done.index(1) < pair.done.index(0)  # else the order of the results shows nothing


def test_every_tick_arrives(alone, pair):
    assert alone.ticks == [1, 0, 1, 1, 1, 2, 1, 3, 1, 4, 1, 5]
    assert sorted(pair.ticks) == sorted(alone.ticks)


def test_results_do_not_depend_on_the_number_of_workers(alone, pair):
    import torch

    for one, other in zip(alone.reports, pair.reports, strict=True):
        assert torch.equal(one.products, other.products)


def test_one_worker_is_this_process_and_two_are_two_others(alone, pair):
    assert {report.process for report in alone.reports} == {os.getpid()}
    others = {report.process for report in pair.reports}
    assert len(others) == 2
    assert os.getpid() not in others


def test_each_has_one_torch_thread_and_is_born_with_it(alone, pair):
    assert {report.threads for report in alone.reports + pair.reports} == {1}
    assert {report.environment for report in pair.reports} == {"1"}


def test_results_come_as_copies_not_as_shared_memory(pair):
    assert not any(report.products.is_shared() for report in pair.reports)
    assert [report.heavy[0] for report in pair.reports] == [0, 1, 2, 3, 4, 5]


def test_shards_larger_than_a_pipe_and_more_workers_than_shards():
    shards = [bytes([n]) + bytes(3_000_000) for n in range(2)]
    assert map_shards(echo, shards, workers=50) == [shard[::-1] for shard in shards]


@posix_only
def test_a_tick_arrives_while_its_shard_is_still_at_work(monkeypatch):
    class SeenError(Exception):
        pass

    def stop(n: int) -> None:
        raise SeenError

    ends: list[int | None] = []
    kill = SpawnProcess.kill
    monkeypatch.setattr(SpawnProcess, "kill", lambda process: (ends.append(process.exitcode), kill(process)))
    with pytest.raises(SeenError):  # the shards themselves would take ten minutes
        map_shards(long_work, range(2), workers=2, on_tick=stop)
    assert ends == [-signal.SIGTERM] * 2  # told to end at once, not waited for and killed


def test_no_shards_no_results():
    assert map_shards(where, []) == []
    assert map_shards(where, [], workers=3) == []


def test_one_shard_stays_in_this_process():
    assert map_shards(where, [0], workers=4) == [os.getpid()]


@pytest.mark.parametrize("workers", [0, -2])
def test_fewer_than_one_worker_is_refused(workers):
    with pytest.raises(UserError, match=f"workers = {workers}: expected at least 1"):
        map_shards(where, range(3), workers=workers)


def test_one_worker_gives_its_threads_back():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert map_shards(observe, [(1, None)], workers=1)[0].threads == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(UserError):
            map_shards(fail_second, [(1, "user")], workers=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def failure(how: str) -> Exception:
    """What a failing second shard of three raises here, out of two workers."""
    with pytest.raises(Exception) as caught:
        map_shards(fail_second, [(0, how), (1, how), (2, how)], workers=2)
    return caught.value


def test_an_error_of_ours_arrives_as_it_was():
    error = failure("target")
    assert type(error) is TargetError
    assert (str(error), error.retry_after, error.fatal, error.exit_code) == ("busy", 7.5, True, 3)
    assert not hasattr(error, "__notes__")  # one line for the user


def test_another_error_arrives_with_its_type_and_a_traceback():
    error = failure("value")
    assert type(error) is ValueError
    assert str(error) == "not mine"
    assert any("in fail_second" in note for note in error.__notes__)


@pytest.mark.parametrize("how", ["user", "spec", "target", "value"])
def test_errors_survive_the_way(how):
    error = local._Message.loads(local._Message.dumps(local._portable(FAILURES[how]())))
    assert type(error) is type(FAILURES[how]())
    assert str(error) == str(FAILURES[how]())


def test_an_error_that_cannot_travel_sends_its_words():
    for how in ("unportable", "unportable data"):
        with pytest.raises(TypeError):  # the precondition: it really cannot
            local._Message.loads(local._Message.dumps(FAILURES[how]()))
    error = failure("unportable")
    assert type(error) is RuntimeError
    assert "UnportableError: 1 and 2" in str(error)
    assert any("in fail_second" in note for note in error.__notes__)
    assert str(local._portable(FAILURES["unportable"]())) == str(error)
    error = local._portable(FAILURES["unportable data"]())
    assert type(error) is EvofoolError
    assert (str(error), error.exit_code) == ("1 and 2", 2)


def test_a_result_that_cannot_travel_is_an_error():
    with pytest.raises(TypeError, match="pickle"):
        map_shards(unsendable, range(2), workers=2)


def test_a_function_that_workers_cannot_import_is_an_error():
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        map_shards(lambda shard, tick: shard, range(2), workers=2)


@posix_only
@pytest.mark.parametrize(("how", "found"), [("exit", "exit code 7"), ("kill", "signal 9")])
def test_a_dead_worker_is_told_with_its_likely_cause(how, found):
    with pytest.raises(EvofoolError, match=found) as caught:
        map_shards(die_second, [(0, how), (1, how), (2, how)], workers=2)
    assert "shard 2 of 3" in str(caught.value)
    assert "out of memory" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_processors_follow_the_affinity_mask_and_the_quota(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5, 7}, raising=False)
    quota = "max 100000"
    monkeypatch.setattr(Path, "read_text", lambda path: quota)
    assert available_processors() == 4
    quota = "250000 100000"
    assert available_processors() == 3
    quota = "50000 100000"
    assert available_processors() == 1
    quota = "900000 100000"
    assert available_processors() == 4
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_processors() == 1


def test_workers_default_to_the_processors(monkeypatch):
    monkeypatch.setattr(local, "available_processors", lambda: 1)
    assert map_shards(where, range(2)) == [os.getpid()] * 2


# A program of its own, whose death and interruption can be watched: its standard output ends only when the last process
# that inherited it has ended.

PROGRAM = """
import os, sys, time
from evofool.executors.local import map_shards

def work(shard, tick):
    os.write(1, b"at work\\n")  # at once, also where Python does not buffer: another one writes beside it
    tick(1)
    time.sleep(600)

if __name__ == "__main__":
    try:
        map_shards(work, range(4), workers=2)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
"""


@contextlib.contextmanager
def program(folder: Path, text: str = PROGRAM) -> Iterator[subprocess.Popen[str]]:
    """The program with both of its workers at work, in a process group of its own."""
    script = folder / "program.py"
    script.write_text(text)
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            for _ in range(2):
                assert process.stdout is not None
                assert process.stdout.readline() == "at work\n"
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@posix_only
def test_workers_end_when_their_parent_is_killed(tmp_path):
    with program(tmp_path) as process:
        process.kill()
        process.communicate(timeout=60)  # returns when no process holds the other end any more
        assert process.returncode == -signal.SIGKILL


@posix_only
def test_an_interrupt_ends_workers_and_reaches_the_caller(tmp_path):
    with program(tmp_path) as process:
        os.killpg(process.pid, signal.SIGINT)  # to all of them, as a terminal does
        output, errors = process.communicate(timeout=60)
        assert output == "interrupted\n"
        assert process.returncode == 130
        assert "Traceback" not in errors


@posix_only
def test_workers_leave_an_interrupt_to_their_parent():
    assert map_shards(masked_at_birth, range(2), workers=2) == [True, True]  # else one hits them while they start
    assert map_shards(interrupt_oneself, range(2), workers=2) == [True, True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@posix_only
def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text("from evofool.executors.local import map_shards\nmap_shards(print, range(4), workers=2)\n")
    finished = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 1
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "evofool.errors.EvofoolError: a worker process ended with exit code 1 before its first shard"
    )
    assert '__name__ == "__main__"' in last
