"""What the verbs share: the program, its errors as one line, options, the words for progress."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from ..errors import EvofoolError, UserError


class Terminated(BaseException):
    """SIGTERM came."""


STOPPED = {KeyboardInterrupt: ("stopped by Ctrl-C", 130), Terminated: ("stopped by SIGTERM", 143)}


class Program(TyperGroup):
    """Turns every expected error into one line and its exit code, before the parser gets hold of it."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was named."""
        try:
            return super().invoke(ctx)
        except EvofoolError as error:
            if os.environ.get("EVOFOOL_DEBUG"):
                raise
            typer.echo(f"evofool: {' '.join(str(error).split())}", err=True)
            raise SystemExit(error.exit_code) from None
        except (KeyboardInterrupt, Terminated) as stop:
            words, code = STOPPED[type(stop)]
            typer.echo(f"evofool: {words}{'; ' if stop.args else ''}{' '.join(map(str, stop.args))}", err=True)
            raise SystemExit(code) from None
        except BrokenPipeError:  # whoever read our output went away
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None


def _stop(_: int, __: Any) -> NoReturn:
    raise Terminated


def heed_signals() -> None:
    """Let SIGTERM end the program as Ctrl-C does: in order."""
    signal.signal(signal.SIGTERM, _stop)


Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="mnist, digits (embedded, needs no download), or a file or folder: class folders of images, a zip of "
        "them, an .npz, IDX files.",
    ),
]
DataDir = Annotated[
    str | None, typer.Option("--data-dir", metavar="DIR", help="Where the files of mnist lie.", show_default=False)
]
Out = Annotated[
    Path, typer.Option("-o", "--out", metavar="DIR", help="Directory to write; new or empty.", show_default=False)
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", help="Processes (one for each processor).", show_default=False)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary; errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line on stdout.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.", show_default=False)]


def say(text: str, *, quiet: bool = False) -> None:
    """A line for whoever watches."""
    if not quiet:
        typer.echo(text, err=True)


def new_directory(path: Path) -> Path:
    """Refuse to write among other files."""
    if (path / "run.json").is_file():
        raise UserError(f"{path}: holds a run; `evofool resume {path}` goes on with it, or choose another name for -o")
    # What a run that was killed at its very beginning leaves is no reason to refuse.
    ours = ("lock", "workers", ".run.json.tmp-")
    if path.is_dir() and any(not entry.name.startswith(ours) for entry in path.iterdir()):
        raise UserError(
            f"{path}: the directory is not empty; expected a new or an empty one: choose another name for -o"
        )
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: there is a file of this name; expected a new or an empty directory")
    return path


def count_of_workers(workers: int | None) -> int:
    """How many processes were asked for."""
    from ..executors.local import available_processors

    count = workers if workers is not None else available_processors()
    if count < 1:
        raise UserError(f"--workers {count}: expected at least 1")
    return count


@contextmanager
def resumable(path: Path) -> Iterator[None]:
    """Whatever ends this block early, say how to go on."""
    hint = f"go on with: evofool resume {path}"
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        raise type(stop)(hint) from None
    except EvofoolError as error:
        say(f"evofool: the run is saved as far as it came; {hint}")
        raise error
    except Exception:
        say(f"evofool: {hint}")
        raise


def download_meter(meter: Any) -> Any:
    """Progress of a download, in the words behind a bar."""

    def shown(text: str, done: int, total: int) -> None:
        meter.note(f"{text}: {done:,} of {total:,}" if total else text)

    return shown
