"""What the verbs share: the program, its errors as one line, options, the words for progress."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from ..errors import ClassifierWarning, DamagedRunError, EvofoolError, UserError


class Terminated(BaseException):
    """A signal that ends the program came; `args` are what there is to say."""

    def __init__(self, number: signal.Signals, *words: str):
        super().__init__(*words)
        self.number = number


def printable(text: str) -> str:
    """Text that may come from other people's files, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


class Program(TyperGroup):
    """Turns every expected error into one line and its exit code, before the parser gets hold of it."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was named."""
        try:
            return super().invoke(ctx)
        except EvofoolError as error:
            if os.environ.get("EVOFOOL_DEBUG"):
                raise
            typer.echo(f"evofool: {printable(' '.join(str(error).split()))}", err=True)
            raise SystemExit(error.exit_code) from None
        except (KeyboardInterrupt, Terminated) as stop:
            number = stop.number if isinstance(stop, Terminated) else signal.SIGINT
            words = "; ".join(["stopped by " + ("Ctrl-C" if number == signal.SIGINT else number.name), *stop.args])
            typer.echo(f"evofool: {words}", err=True)
            raise SystemExit(128 + number) from None
        except BrokenPipeError:  # whoever read our output went away
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None


def _stop(number: int, _: Any) -> NoReturn:
    raise Terminated(signal.Signals(number))


def heed_signals() -> None:
    """Let SIGTERM, and a terminal that goes away, end the program as Ctrl-C does: in order."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, _stop)


def be_quiet(quiet: bool) -> None:
    """Errors only, if that is wanted."""
    if quiet:
        warnings.simplefilter("ignore", ClassifierWarning)


def show_warnings() -> None:
    """Print our own warnings as one line, as errors are."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, ClassifierWarning):
            typer.echo(f"evofool: {printable(' '.join(str(message).split()))}", err=True)
        else:
            usual(message, category, *where, **more)

    warnings.showwarning = show


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
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="KEY=VALUE",
        help="Say something of the classifier, such as kind=probabilities or class_names=cat,dog; see `evofool list "
        "classifier-settings`. Repeatable.",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE", help="Where a model computes: auto, cpu, cuda, cuda:1, mps (cpu).", show_default=False
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(metavar="N", help="Requests in flight at a time, for an endpoint or a command.", show_default=False),
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Load a classifier whose file is a program, or that a run directory names.")
]
Budget = Annotated[int | None, typer.Option(metavar="N", help="Most queries of one run.", show_default=False)]
Canvas = Annotated[
    str | None,
    typer.Option(
        metavar="LEVEL",
        help="Gray level of the blank, 0 black to 1 white, or R,G,B (the background of the training data).",
        show_default=False,
    ),
]
InkLevel = Annotated[
    str | None,
    typer.Option(
        "--ink", metavar="LEVEL", help="Gray level of the ink (the opposite of the blank).", show_default=False
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be asked, run nothing.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.", show_default=False)]


def say(text: str, *, quiet: bool = False) -> None:
    """A line for whoever watches."""
    if not quiet:
        typer.echo(text, err=True)


def classifier_settings(
    with_: list[str] | None, device: str | None, trust_code: bool, concurrency: int | None
) -> dict[str, str]:
    """What the options say of a classifier, by the names of its settings.

    Raises:
        UserError: something is said twice, or not as KEY=VALUE.
    """
    said: dict[str, str] = {}
    for item in with_ or []:
        name, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"--with {item}: expected KEY=VALUE, such as kind=probabilities")
        if name in said:
            raise UserError(f"--with {name} is given twice; give all of its value at once")
        said[name] = value
    for name, option in (("device", device), ("concurrency", concurrency), ("trust_code", trust_code or None)):
        if option is not None and said.setdefault(name, str(option)) != str(option):
            raise UserError(f"--with {name}={said[name]} and --{name.replace('_', '-')} {option}: give one of them")
    return said


def names(text: str | None) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def levels(option: str, text: str | None) -> tuple[float, ...] | None:
    """Gray levels between commas.

    Raises:
        UserError: something else stands there.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"{option} {text}: expected a gray level from 0 (black) to 1 (white), or R,G,B") from None


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


def begin(
    config: Any,
    make: Any,
    head: Any,
    conduct: Any,
    out: Path,
    *,
    announcement: Any,
    command: Any,
    workers: int | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make a plan of a configuration, say what it comes down to, and run it in a directory of its own.

    Args:
        config: what was said.
        make: makes a plan of it.
        head: what run.json holds, of a plan and a command.
        conduct: runs a plan in its directory; the verb's own.
        announcement, command: the words about a plan, and what repeats a configuration.
        out, workers, dry_run, quiet, as_json: as they were given.
    """
    from ..progress import progress
    from ..rundir import RunDirectory

    with progress("reading", None, quiet=quiet) as meter:
        plan = make(config, progress=download_meter(meter))
    count = count_of_workers(workers)
    say(announcement(plan), quiet=quiet)
    if dry_run:
        return
    again = command(plan.config)
    directory = RunDirectory.create(out, head(plan, again))
    with resumable(out, resume_options(plan)), directory:
        conduct(plan, directory, out, workers=count, command=again, quiet=quiet, as_json=as_json)


def repeated(words: list[str], options: Mapping[str, Any]) -> str:
    """What repeats a run, with what was said of its classifiers; where it is written to makes no difference."""
    for name, value in options.items():
        words = [*words, *(["--trust-code"] if name == "trust_code" else ["--with", f"{name}={value}"])]
    return shlex.join([*words, "-o", "DIR"])


def price(config: Any, queries: int) -> str:
    """What so many queries of its classifier cost, behind their number; "" where that is not known."""
    source = config.sources.get(config.classifier)
    return f", for {source.cost * queries:,.2f}" if source and source.metered and source.cost else ""


def conduct(
    doing: str,
    study: Any,
    write: Any,
    sentences: Any,
    plan: Any,
    directory: Any,
    out: Path,
    *,
    workers: int,
    command: str,
    quiet: bool,
    as_json: bool,
    more: Any = None,
) -> None:
    """Run what is left of a plan, write everything, say what came out.

    Args:
        doing: stands before the bar.
        study: the module that executes the plan and keeps what comes of it.
        write: writes a report from results into a directory, and gives its path.
        sentences: what the results say, in the order of their weight.
        plan, directory, out, workers, command, quiet, as_json: as they were given.
        more: what else there is to say in JSON, from the results.
    """
    from ..progress import progress

    with progress(doing, plan.evaluations, quiet=quiet) as meter:
        outcome = study.execute(plan, workers=workers, command=command, on_tick=ticks(meter), directory=directory)
    results = outcome.results
    with progress("writing the report", None, quiet=quiet):
        study.keep(outcome, directory)
        report = write(results, out)
    told = sentences(results)
    if as_json:
        summary = {
            "report": str(report),
            **{name: results.queries(of=of) for name, of in _COUNTED.items()},
            "kills": results.ledger["kills"],
            **(more(results) if more else {}),
            "findings": told,
        }
        typer.echo(json.dumps(summary))
    elif not quiet:
        for line in told:
            typer.echo(f"• {line}")
        typer.echo(f"\nreport: {report}")


_COUNTED = {"queries": "issued", "repeated": "repeated", "lost": "lost"}


def resume_options(plan: Any) -> str:
    """What `evofool resume` takes besides the directory of a run with this plan."""
    from ..classifiers.support.sources import reaches

    return " --trust-code" if reaches(plan.config.sources) else ""


@contextmanager
def resumable(path: Path, more: str = "") -> Iterator[None]:
    """Whatever ends this block early, say how to go on; `more` are options that this takes."""
    hint = f"go on with: evofool resume {shlex.quote(str(path))}{more}"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(hint) from None
    except Terminated as stop:
        raise Terminated(stop.number, hint) from None
    except DamagedRunError:
        raise
    except EvofoolError as error:
        say(f"evofool: the run is saved as far as it came; {hint}")
        raise error
    except Exception:
        say(f"evofool: {hint}")
        raise


def ticks(meter: Any) -> Any:
    """What a run reports to, shown by a meter: how much is finished, and where the work stands."""

    def shown(n: int, note: str = "") -> None:
        meter.advance(n)
        if note:
            meter.note(note)

    return shown


def download_meter(meter: Any) -> Any:
    """Progress of a download, in the words behind a bar."""

    def shown(text: str, done: int, total: int) -> None:
        meter.note(f"{text}: {done:,} of {total:,}" if total else text)

    return shown
