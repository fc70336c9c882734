"""command:PROGRAM: a program that reads a line of JSON for each request and writes a line of JSON for each answer."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import threading
import time
import weakref
from pathlib import Path
from typing import IO

from ..contracts import Dataset
from ..errors import ClassifierError, TargetError
from ..shapes import Float, Tensor
from .support.answers import LARGEST, strict
from .support.settings import Settings
from .support.wire import Secrets, Wire, telling, wire

TIMEOUT = 30.0  # seconds, with the start of the program if the request is its first
_TAIL = 200  # characters of what a dead program wrote to stderr
_KEPT = 10_000  # bytes of it that are looked at
_PATIENCE = 2.0  # seconds that a program has to end by itself


def load(line: str, settings: Settings, data: Dataset | None = None) -> CommandClassifier:
    """A program, as its user and the data describe it; it is started when it is first asked.

    Raises:
        ClassifierError: there is no such program, or the mapping is missing or wrong.
    """
    if os.name != "posix":
        raise ClassifierError("command: needs Linux or macOS; serve the classifier by HTTP instead")
    try:
        arguments = shlex.split(line)
    except ValueError as error:
        raise ClassifierError(f"command: {error} in {line[:80]!r}") from None
    if not arguments:
        raise ClassifierError("command: names no program")
    arguments[0] = os.path.expanduser(arguments[0])
    if shutil.which(arguments[0]) is None:
        raise ClassifierError(f"command: there is no program '{arguments[0]}' that can be run")
    odd = [name for name in ("headers", "params", "files") if getattr(settings, name)]
    if odd:
        raise ClassifierError(f"{odd[0]}: is for endpoints; a command gets its requests as lines of JSON")
    mapped = wire(Path(arguments[0]).name, arguments, settings, data, concurrency=1)
    if not isinstance(mapped.body, dict):
        raise ClassifierError("body: expected a table, to which the id of the request is added")
    return CommandClassifier(arguments, mapped, settings.timeout or TIMEOUT)


class CommandClassifier:
    """A program behind the classifier contract: one call is one line. It may be asked by several threads at once.

    A request is `{"id": 7, "images": [...]}`, and its answer is one line with the same id: so a line that was printed
    too often can never be taken for the answer to another request. A program that fails is ended, and started again
    for the next request.

    Attributes:
        info: see `ClassifierInfo`; as many programs run as requests are in flight.
        order: where each class stands in a plain list of scores.
    """

    def __init__(self, arguments: list[str], wire: Wire, timeout: float):
        self.info = wire.info
        self.order = list(wire.read.order)
        self._arguments = arguments
        self._wire = wire
        self._timeout = timeout
        self._secrets = Secrets(value for name, value in os.environ.items() if telling(name))
        self._idle = _Idle()
        self._end = weakref.finalize(self, self._idle.end)  # at the latest when this process ends

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Scores [N K], float32, for images [N C H W] in [0, 1].

        Raises:
            ClassifierError: the images have another shape.
            TargetError: there is no answer.
        """
        request = self._wire.request(images)
        try:
            return self._ask(request, len(images))
        except Exception as error:
            clean = self._secrets.cleaned(error)
        raise clean

    def close(self) -> None:
        """End the programs."""
        self._idle.end()

    def _ask(self, request: dict[str, object], images: int) -> Tensor:
        deadline = time.monotonic() + self._timeout
        program = self._idle.take() or _Program(self._arguments, self._secrets)
        try:
            scores = self._read(*program.ask(request, deadline, self._timeout), images)
        except BaseException:
            program.kill()
            raise
        self._idle.put(program)
        return scores

    def _read(self, number: int, line: bytes, images: int) -> Tensor:
        try:
            answer = strict(line)
        except TargetError:
            answer = None
        if not isinstance(answer, dict) or answer.get("id") != number or isinstance(answer["id"], bool):
            raise TargetError(
                f"expected one line of JSON with the id {number} of the request on stdout (all else goes to stderr), "
                f"found: {line.decode(errors='replace')}"
            )
        return self._wire.read(line, images)


class _Program:
    """A running program and the three pipes to it."""

    def __init__(self, arguments: list[str], secrets: Secrets):
        self._secrets = secrets
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is ours; and it ends together with its children
                bufsize=0,
            )
        except OSError as error:
            raise TargetError(f"cannot be started: {error.strerror or error}", fatal=True) from None
        for pipe in self._pipes():
            os.set_blocking(pipe.fileno(), False)
        self._requests = 0
        self._lines = b""
        self._stderr = b""

    def _pipes(self) -> list[IO[bytes]]:
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None and stdout is not None and stderr is not None
        return [stdin, stdout, stderr]

    def ask(self, request: dict[str, object], deadline: float, timeout: float) -> tuple[int, bytes]:
        """The number of the request, and the next line that the program writes.

        Raises:
            TargetError: none before the deadline, a line without end, or the program is dead.
        """
        self._requests += 1
        left = json.dumps({"id": self._requests, **request}, allow_nan=False).encode() + b"\n"
        stdin, stdout, stderr = self._pipes()
        with selectors.DefaultSelector() as selector:
            selector.register(stdin, selectors.EVENT_WRITE)
            selector.register(stdout, selectors.EVENT_READ)
            selector.register(stderr, selectors.EVENT_READ)
            while b"\n" not in self._lines:
                if len(self._lines) > LARGEST:
                    raise TargetError(f"the answer has more than {LARGEST:,} bytes")
                wait = deadline - time.monotonic()
                ready = {key.fileobj for key, _ in selector.select(wait)} if wait > 0 else set()
                if not ready:
                    raise TargetError(f"no answer within {timeout:g} s (timeout); {self._last_words()}")
                if stderr in ready and not self._listen():
                    selector.unregister(stderr)
                if stdout in ready:
                    part = os.read(stdout.fileno(), 1 << 16)
                    if not part:
                        raise TargetError(self._death(deadline))
                    self._lines += part
                if stdin in ready:
                    with contextlib.suppress(BrokenPipeError):  # its death is seen on stdout
                        left = left[os.write(stdin.fileno(), left[: 1 << 16]) :]
                        if left:
                            continue
                    selector.unregister(stdin)
        line, _, self._lines = self._lines.partition(b"\n")
        return self._requests, line

    def _listen(self) -> bool:
        """Take what is on stderr; whether more can come."""
        part = os.read(self._pipes()[2].fileno(), 1 << 16)
        self._stderr = (self._stderr + part)[-_KEPT:]
        return bool(part)

    def _last_words(self) -> str:
        with contextlib.suppress(BlockingIOError):
            while self._listen():
                pass
        words = self._secrets.scrubbed(self._stderr.decode(errors="replace"))[-_TAIL:]
        return f"the end of its stderr: {words}" if words else "nothing on stderr"

    def _death(self, deadline: float) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, min(0.5, deadline - time.monotonic())))
        code = self._process.returncode
        if code is None:
            how = "closed its stdout"
        else:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"the program {how} before it answered; {self._last_words()}"

    def dismiss(self) -> None:
        """Tell it that no more requests come."""
        with contextlib.suppress(OSError):
            self._pipes()[0].close()

    def kill(self, patience: float = 0.0) -> None:
        """End it, and what it started; with patience, it may first end by itself."""
        self.dismiss()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if patience:
                self._process.wait(patience)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in self._pipes()[1:]:
            pipe.close()


class _Idle:
    """Programs that wait for a request."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._programs: list[_Program] = []

    def take(self) -> _Program | None:
        """One of them, if there is one; those of a parent process are not ours."""
        if self._owner != os.getpid():
            self._forget()
        with self._lock:
            return self._programs.pop() if self._programs else None

    def put(self, program: _Program) -> None:
        with self._lock:
            self._programs.append(program)

    def end(self) -> None:
        """End all of them."""
        programs = []
        while program := self.take():
            program.dismiss()
            programs.append(program)
        for program in programs:
            program.kill(_PATIENCE)
