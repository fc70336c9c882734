"""A disk that is full or fails, permissions, too many open files, a clock that jumps back, a target that fails.

Each fault is seen to happen first. Then there has to be one line that says what is wrong, the right exit code, a run
whose books are in order, and, when the fault is gone, the same end as without it.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import kills
import searcher
from bars import Outcome
from cuts import killed
from evofool import rundir
from evofool.errors import EvofoolError, TargetError
from kills import APART, fork, wait
from searcher import Config

NOBODY = 65534
CONFIG = Config(arms=("ga tournament single_point swap", "ga copies"), generations=6, micro_batch=100, side=4)
# Many answers, or large populations: what fills a megabyte first.
ANSWERS = dataclasses.replace(CONFIG, population=60, generations=40, cache=False, every=1e9)
STATES = dataclasses.replace(CONFIG, population=30, generations=3, side=48)


@dataclasses.dataclass
class Report:
    """What came of one fault.

    Attributes:
        name: of the fault.
        fired: it was seen to happen.
        code: of the process that met it.
        wanted: the right one.
        words: what it said.
        wrong: what else was not right.
    """

    name: str
    fired: bool
    code: int | None
    wanted: int
    words: list[str]
    wrong: list[str] = dataclasses.field(default_factory=list)

    def told(self) -> list[str]:
        """All that is not right about it, apart from its not happening."""
        found = list(self.wrong)
        if self.code != self.wanted:
            found.append(f"exit code {self.code}, expected {self.wanted}: {' | '.join(self.words)[:300]}")
        elif self.wanted and (len(self.words) != 1 or not self.words[0].startswith("evofool: ")):
            found.append(f"expected one line, found {len(self.words)}: {' | '.join(self.words)[:300]}")
        return [f"{self.name}: {line}" for line in found]


class Bench:
    """Where faults are tried: twins that know the right end, and runs that were killed half-way."""

    def __init__(self, where: Path):
        self.where = where
        self._twins: dict[Config, dict[str, Any]] = {}
        self._number = 0

    def twin(self, config: Config) -> dict[str, Any]:
        """What a run without any fault comes to."""
        if config not in self._twins:
            path = self.where / f"twin-{len(self._twins)}"
            searcher.go(path, config)
            said = searcher.reading(path)
            self._twins[config] = {part: value for part, value in said.items() if part not in APART}
        return self._twins[config]

    def half(self) -> Path:
        """A run of CONFIG that was killed in its second arm."""
        origin = self.where / "half"
        if not origin.exists():
            killed(origin, "saved", CONFIG)
        self._number += 1
        path = self.where / f"half-{self._number}"
        shutil.copytree(origin, path)
        return path

    def meet(
        self,
        name: str,
        path: Path,
        wanted: int,
        *,
        config: Config | None = None,
        before: Callable[[], Callable[[], bool]] = lambda: lambda: True,
        **options: Any,
    ) -> Report:
        """Run in a process of its own, with a fault.

        Args:
            name: of the fault.
            path: the run directory.
            wanted: the right exit code.
            config: of a new run.
            before: brings the fault about in that process, and gives what tells whether it happened.
            options: for `searcher.go`.
        """
        log, mark = self.where / "words", self.where / "fired"
        for file in (log, mark):
            file.unlink(missing_ok=True)
        log.touch(mode=0o666)
        handle = os.open(mark, os.O_WRONLY | os.O_CREAT)

        def work() -> None:
            fired = before()
            try:
                searcher.go(path, config, **options)
            finally:
                if fired():
                    os.write(handle, b"!")

        code = wait(fork(work, log), 120.0)
        os.close(handle)
        return Report(name, bool(mark.read_bytes()), code, wanted, log.read_text().splitlines())

    def goes_on(self, report: Report, path: Path, config: Config = CONFIG) -> Report:
        """The fault is gone: the books are in order, and the run comes to the right end."""
        try:
            if (path / "run.json").is_file():
                if (path / "ledger.sqlite").is_file():
                    report.wrong += [f"left behind: {line}" for line in rundir.damage(path)]
                searcher.go(path)
            else:
                searcher.go(path, config)
            said = searcher.reading(path)
            parts = [part for part, value in self.twin(config).items() if said[part] != value]
            report.wrong += [f"afterwards, {', '.join(parts)} differ"] if parts else []
            report.wrong += [f"afterwards: {line}" for line in rundir.damage(path)]
        except EvofoolError as error:
            report.wrong.append(f"does not go on: {error}")
        return report


# A full disk ----------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(where: Path) -> Iterator[Path | None]:
    """A file system of 1 MB; None where this user may not mount one."""
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(where)], capture_output=True, check=False
    )
    try:
        yield None if mounted.returncode else where
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", "--lazy", str(where)], check=True)


def remount(where: Path, options: str) -> None:
    """Change a file system in place."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(where)], check=True)


def is_full(where: Path, size: int) -> bool:
    """Whether so many bytes more cannot be written."""
    file = where / "more"
    try:
        with open(file, "wb") as more:
            more.write(bytes(size))
        return False
    except OSError as error:
        return error.errno == errno.ENOSPC
    finally:
        file.unlink(missing_ok=True)


def full_disk(bench: Bench) -> Iterator[Report]:
    """ENOSPC, met by the ledger and by a checkpoint; and a disk that turns read-only."""
    state = 4 * STATES.searches * STATES.population * STATES.side**2
    for name, config, size in (("ENOSPC in the ledger", ANSWERS, 1 << 16), ("ENOSPC in a checkpoint", STATES, state)):
        with small_disk(bench.where / f"disk {name}") as disk:
            if disk is None:
                return
            path = disk / "run"
            report = bench.meet(name, path, 2, config=config)
            report.fired = is_full(disk, size)
            remount(disk, "size=64m")
            yield bench.goes_on(report, path, config)
    with small_disk(bench.where / "disk read-only") as disk:
        assert disk is not None
        path = disk / "run"
        shutil.copytree(bench.half(), path)
        remount(disk, "ro")
        report = bench.meet("EROFS, a disk that is read-only", path, 2)
        try:
            (disk / "more").touch()
            report.fired = False
        except OSError as error:
            report.fired = error.errno == errno.EROFS
        remount(disk, "rw")
        yield bench.goes_on(report, path)


# A failing disk -------------------------------------------------------------------------------------------------


class _Vfs(ctypes.Structure):
    """The head of SQLite's sqlite3_vfs, as far as its table of system calls."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("size", ctypes.c_int),
        ("longest", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("methods", ctypes.c_void_p * 13),  # xOpen to xCurrentTimeInt64
        ("set_system_call", ctypes.c_void_p),
    )


_SIGNATURES = {
    "pwrite": (ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64),
    "pwrite64": (ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64),
    "pread": (ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64),
    "pread64": (ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64),
}
_kept: list[Any] = []  # what SQLite calls has to stay


def sqlite_fails(calls: tuple[str, ...], after: int) -> Callable[[], bool]:
    """From one call on, some system calls of SQLite end with EIO, in this process."""
    import _sqlite3

    library = ctypes.CDLL(_sqlite3.__file__)
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    vfs = library.sqlite3_vfs_find(None)
    replace = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
        vfs.contents.set_system_call
    )
    system = ctypes.CDLL(None, use_errno=True)
    count = [0]
    for call in calls:
        kind = ctypes.CFUNCTYPE(*_SIGNATURES[call], use_errno=True)
        real = getattr(system, call)
        real.restype, real.argtypes = _SIGNATURES[call][0], _SIGNATURES[call][1:]

        def failing(*arguments: Any, real: Any = real) -> int:
            count[0] += 1
            if count[0] > after:
                ctypes.set_errno(errno.EIO)
                return -1
            return int(real(*arguments))

        function = kind(failing)
        _kept.append(function)
        code = replace(ctypes.addressof(vfs.contents), call.encode(), ctypes.cast(function, ctypes.c_void_p))
        if code and not call.endswith("64"):
            raise RuntimeError(f"SQLite does not let its {call} be replaced: {code}")
    return lambda: count[0] > after


def files_fail(name: str, after: int) -> Callable[[], bool]:
    """From one call on, a function of `os` ends with EIO, in this process."""
    real, count = getattr(os, name), [0]

    def failing(*arguments: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] > after:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments, **options)

    setattr(os, name, failing)
    return lambda: count[0] > after


def failing_disk(bench: Bench, *, short: bool) -> Iterator[Report]:
    """EIO, met by the ledger and by other files, sooner or later."""
    for after in (0, 25) if short else (0, 1, 3, 8, 20, 40, 80):
        path = bench.half()
        report = bench.meet(
            f"EIO in the ledger's writes, after {after}",
            path,
            2,
            before=lambda after=after: sqlite_fails(("pwrite", "pwrite64"), after),
        )
        yield bench.goes_on(report, path)
    for after in (3,) if short else (3, 10):
        path = bench.half()
        report = bench.meet(
            f"EIO in the ledger's reads, after {after}",
            path,
            4,  # what a disk does not give back is damage, says SQLite too
            before=lambda after=after: sqlite_fails(("pread", "pread64"), after),
        )
        yield bench.goes_on(report, path)
    for name in ("fsync", "replace"):
        for after in (1,) if short else (0, 1, 2, 5, 9):
            path = bench.half()
            report = bench.meet(
                f"EIO in {name} of a file, after {after}",
                path,
                2,
                before=lambda name=name, after=after: files_fail(name, after),
            )
            yield bench.goes_on(report, path)
    path = bench.half()
    report = bench.meet(
        "EIO at the first file of a run", bench.where / "new", 2, config=CONFIG, before=lambda: files_fail("fsync", 0)
    )
    yield bench.goes_on(report, bench.where / "new")


# Permissions ----------------------------------------------------------------------------------------------------


def unprivileged() -> Callable[[], bool]:
    """Become somebody whom modes of files can stop."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    return lambda: os.geteuid() != 0


def permissions(bench: Bench) -> Iterator[Report]:
    """EACCES for each part of a run, and folders that are read-only."""
    for name in ("ledger.sqlite", "run.json", "lock", "state", "."):
        path = bench.half()
        everything = [path, *path.rglob("*")]
        if os.geteuid() == 0:
            for file in everything:
                os.chown(file, NOBODY, NOBODY)
        target = path / name
        mode = target.stat().st_mode
        target.chmod(0o555 if target.is_dir() else 0)

        def before(target: Path = target) -> Callable[[], bool]:
            unprivileged()
            try:
                if target.is_dir():
                    (target / "probe").touch()
                else:
                    target.read_bytes()
            except PermissionError:
                return lambda: True
            return lambda: False

        what = "a read-only folder" if target.is_dir() else "EACCES"
        report = bench.meet(f"{what}: {name}", path, 2, before=before)
        target.chmod(mode & 0o7777)
        yield bench.goes_on(report, path)
    parent = bench.where / "read-only parent"
    parent.mkdir(mode=0o555)

    def before_new() -> Callable[[], bool]:
        unprivileged()
        try:
            (parent / "probe").touch()
        except PermissionError:
            return lambda: True
        return lambda: False

    report = bench.meet("a read-only folder for a new run", parent / "run", 2, config=CONFIG, before=before_new)
    parent.chmod(0o755)
    yield bench.goes_on(report, parent / "run")


# Open files, sizes, clocks, targets -------------------------------------------------------------------------------


def open_files(bench: Bench, *, short: bool) -> Iterator[Report]:
    """EMFILE, at whatever is opened first."""
    for spare in (1, 3) if short else range(1, 10):
        path = bench.half()

        def before(spare: int = spare) -> Callable[[], bool]:
            first = os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free
            os.close(first)
            resource.setrlimit(resource.RLIMIT_NOFILE, (first + spare, first + spare))
            held: list[int] = []
            try:
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError as error:
                number = error.errno
            finally:
                for handle in held:
                    os.close(handle)
            return lambda: number == errno.EMFILE and len(held) <= spare

        report = bench.meet(f"EMFILE, with {spare} files to spare", path, 2, before=before)
        if report.code != 0:  # else so many are enough
            yield bench.goes_on(report, path)


def sizes(bench: Bench) -> Iterator[Report]:
    """EFBIG: a limit on the size of files."""
    path = bench.where / "limited"

    def before() -> Callable[[], bool]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        probe = bench.where / "probe"
        try:
            probe.write_bytes(bytes(200_001))
        except OSError as error:
            number = error.errno
            return lambda: number == errno.EFBIG
        return lambda: False

    report = bench.meet("EFBIG, a limit on the size of files", path, 2, config=ANSWERS, before=before)
    yield bench.goes_on(report, path, ANSWERS)


def clocks(bench: Bench) -> Iterator[Report]:
    """A clock that jumps back by an hour at each look, and files from the future."""
    path = bench.half()
    for file in path.rglob("*"):
        os.utime(file, (time.time() + 86_400,) * 2)
    looks = bench.where / "looks"

    def before() -> Callable[[], bool]:
        told = [time.time()]

        def back() -> float:
            told.append(told[-1] - 3600.0)
            return told[-1]

        time.time = back
        time.time_ns = lambda: int(back() * 1e9)
        first, second = time.time(), time.time()
        looks.write_text(f"{first} {second}")
        return lambda: second < first

    def monotonic() -> float:
        # Even the clock that is never to go back does.
        return float(time.time())

    report = bench.meet("a clock that jumps back", path, 0, before=before, clock=monotonic)
    yield bench.goes_on(report, path)


def targets(bench: Bench, *, short: bool) -> Iterator[Report]:
    """A classifier that fails for good."""
    for at in (2,) if short else (1, 2):
        path = bench.half()
        fired = bench.where / "asked"
        fired.unlink(missing_ok=True)

        def make(config: Config, arm: str, at: int = at, fired: Path = fired) -> Any:
            inside, calls = searcher.local(config, arm), [0]

            class Failing:
                info = inside.info

                def __call__(self, images: torch.Tensor) -> torch.Tensor:
                    calls[0] += 1
                    if calls[0] == at:
                        fired.touch()
                        raise TargetError("the service is gone", fatal=True)
                    return inside(images)

            return Failing()

        report = bench.meet(f"a target that fails at call {at}", path, 3, make=make)
        report.fired = fired.exists()
        yield bench.goes_on(report, path)


def damages(bench: Bench) -> Iterator[Report]:
    """A run of which a part is gone: the exit code says so, and a copy of the part puts it right."""
    for name, harm in (
        ("half of the ledger", lambda file: os.truncate(file, file.stat().st_size // 2)),
        ("an empty ledger", lambda file: os.truncate(file, 0)),
        ("no ledger", lambda file: file.unlink()),
    ):
        path = bench.where / f"damaged {name}"
        shutil.copytree(bench.half(), path)
        run = rundir.RunDirectory.open(path)
        run.abandon()  # what was in the log is in the database now
        kept = (path / "ledger.sqlite").read_bytes()
        harm(path / "ledger.sqlite")
        report = bench.meet(f"damage: {name}", path, 4)
        report.fired = True
        (path / "ledger.sqlite").write_bytes(kept)
        for beside in ("ledger.sqlite-wal", "ledger.sqlite-shm"):
            (path / beside).unlink(missing_ok=True)
        yield bench.goes_on(report, path)


def signals(bench: Bench) -> Iterator[Report]:
    """Ctrl-C and SIGTERM on the command line: the study is saved, the line to go on is printed, and it works."""
    twin = bench.where / "study-twin"
    subprocess.run(kills.study_command(twin, 0, generations=100), check=True, timeout=600)
    for name, which, code in (("Ctrl-C", signal.SIGINT, 130), ("SIGTERM", signal.SIGTERM, 143)):
        path = bench.where / f"study {name}"
        command = [word for word in kills.study_command(path, 0, generations=100) if word != "--quiet"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        deadline = time.monotonic() + 60
        while not _asked(path) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        running = process.poll() is None
        process.send_signal(which)
        _, words = process.communicate(timeout=60)
        said = [line for line in words.splitlines() if line.startswith("evofool: ")]
        report = Report(name, running, process.returncode, code, said)
        if not any("evofool resume" in line for line in said):
            report.wrong.append(f"does not say how to go on: {words[-300:]}")
        again = subprocess.run(
            [*kills.EVOFOOL, "resume", str(path), "--quiet"], capture_output=True, text=True, check=False
        )
        if again.returncode:
            report.wrong.append(f"does not go on: {again.stderr[-300:]}")
        elif kills.compared(path) != kills.compared(twin):
            report.wrong.append("ends otherwise")
        yield report


def _asked(path: Path) -> bool:
    """Whether a search of a study has been charged."""
    try:
        return any(count["issued"] for count in kills.accounts_of(path, read_only=True).values())
    except EvofoolError:
        return False


def run(*, short: bool) -> Outcome:
    """All faults, one after the other."""
    torch.set_num_threads(1)
    outcome = Outcome()
    reports: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="torture-faults-") as folder:
        where = Path(folder)
        where.chmod(0o755)
        bench = Bench(where)
        full = list(full_disk(bench))
        if not full:
            outcome.notes.append("a full disk was left out: this user may not mount a file system of 1 MB")
        reports += full
        reports += failing_disk(bench, short=short)
        reports += permissions(bench)
        reports += open_files(bench, short=short)
        reports += sizes(bench)
        reports += clocks(bench)
        reports += targets(bench, short=short)
        reports += damages(bench)
        if not short and kills.study_verbs():
            reports += signals(bench)
    quiet = [report.name for report in reports if not report.fired]
    wrong = [line for report in reports for line in report.told()]
    outcome.figures = {
        "faults": {
            report.name: {
                "happened": report.fired,
                "exit code": report.code,
                "words": report.words[0] if report.words else "",
                "as promised": not report.told(),
            }
            for report in reports
        }
    }
    outcome.none("faults that did not happen", quiet, len(reports))
    outcome.none("faults after which something was not as promised", wrong, len(reports))
    return outcome
