"""The command line: verbs over the same dataclasses that the library offers. No default of a method lives here."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from . import __version__
from .errors import EvofoolError, UserError, nearest

if TYPE_CHECKING:
    from .studies.operators.run import Config, Outcome, Plan


class _Program(TyperGroup):
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
        except KeyboardInterrupt:
            typer.echo("evofool: stopped by Ctrl-C", err=True)
            raise SystemExit(130) from None
        except BrokenPipeError:  # whoever read our output went away
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None


def _stop(_: int, __: Any) -> NoReturn:
    typer.echo("evofool: stopped by SIGTERM", err=True)
    raise SystemExit(128 + signal.SIGTERM)


app = typer.Typer(
    cls=_Program,
    help="Evolve images that fool image classifiers, seeing only what the classifier answers.",
    epilog="Start with: evofool study operators --data digits --seeds 3 -o runs/first/",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
study = typer.Typer(help="Run a whole experiment and write its report.", no_args_is_help=True)
app.add_typer(study, name="study")

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
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary; errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line on stdout.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"evofool {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


def _say(text: str, *, quiet: bool = False) -> None:
    if not quiet:
        typer.echo(text, err=True)


def _new_directory(path: Path) -> Path:
    """Refuse to write among other files."""
    if path.is_dir() and any(path.iterdir()):
        raise UserError(
            f"{path}: the directory is not empty; expected a new or an empty one: choose another name for -o"
        )
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: there is a file of this name; expected a new or an empty directory")
    return path


@app.command()
def train(
    out: Out,
    data: Data = "mnist",
    data_dir: DataDir = None,
    architecture: Annotated[
        str, typer.Option(metavar="NAME", help="A small CNN; see `evofool list architectures`.")
    ] = "small_cnn",
    target_accuracy: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Stop as soon as held-out training images reach it, such as 0.95; without it, the best effort.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="At most this many passes over the images.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Decides the first weights and the order of the images.")] = 0,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="For tables; the directory's name if left out.", show_default=False),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a small CNN and save it with its card.

    The images that a study evolves are never trained on: stopping is decided on held-out training images.
    """
    _new_directory(out)
    from . import training
    from .data import load_data
    from .executors.local import one_thread
    from .progress import progress

    folder = Path(data_dir) if data_dir else None
    with progress("reading", None, quiet=quiet) as meter:
        images = load_data(data, split="train", data_dir=folder, progress=_download_meter(meter))
        test = load_data(data, split="test", data_dir=folder, progress=_download_meter(meter))
    if images.fingerprint == test.fingerprint:
        raise UserError(
            f"{data} has no test images apart from those to train on; expected folders train/ and test/ (or such "
            f"arrays): set some images aside, or the accuracy and every study on them would say nothing"
        )
    settings: dict[str, Any] = {"epochs": epochs} if epochs is not None else {}
    with one_thread(), progress("training", 1.0, quiet=quiet) as meter:
        seen = 0.0

        def on_progress(at: training.Progress) -> None:
            nonlocal seen
            meter.advance(at.step / at.steps - seen)
            seen = at.step / at.steps
            meter.note(f"{at.held_out_accuracy:.1%} of held-out images right")

        trained = training.train(
            images,
            architecture=architecture,
            target_accuracy=target_accuracy,
            seed=seed,
            progress=on_progress,
            **settings,
        )
    words = ["evofool", "train", "--data", data, "--architecture", architecture, "--seed", str(seed)]
    words += ["--target-accuracy", str(target_accuracy)] if target_accuracy is not None else []
    words += ["--epochs", str(epochs)] if epochs is not None else []
    name = name or out.resolve().name
    with one_thread(), progress("measuring the fastest layout", None, quiet=quiet):
        card = training.save(trained, images, out, name, test, command=shlex.join([*words, "-o", name]))
    if not trained.reached:
        _say(
            f"evofool: the target of {target_accuracy:.1%} was not reached: {trained.held_out_accuracy:.1%} of "
            f"held-out images right after {trained.epochs} epochs; give more --epochs or another --architecture",
        )
    _say(f"{out}: {card.accuracy:.2%} of {len(test):,} test images right", quiet=quiet)
    if as_json:
        typer.echo(card.model_dump_json())


def _download_meter(meter: Any) -> Any:
    def shown(text: str, done: int, total: int) -> None:
        meter.note(f"{text}: {done:,} of {total:,}" if total else text)

    return shown


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def _settings(items: list[str]) -> dict[str, tuple[str, ...]]:
    settings: dict[str, tuple[str, ...]] = {}
    for item in items:
        name, equals, values = item.partition("=")
        if not equals or not _names(values):
            raise UserError(f"--set {item}: expected NAME=VALUE or NAME=VALUE,VALUE, such as p_mutation=0.1,0.5")
        if name in settings:
            raise UserError(f"--set {name} is given twice; give all values at once: {name}=VALUE,VALUE")
        settings[name] = _names(values)
    return settings


_TARGETS = {"mnist": ("mnist95", "mnist99"), "digits": ("digits", "digits-judge")}


@study.command()
def operators(
    out: Out,
    data: Data = "mnist",
    data_dir: DataDir = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Targets: shipped names or directories with a card; several to see what depends on the CNN "
            "(mnist95 for mnist, digits for digits).",
            show_default=False,
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="An independent classifier that reads the evolved images; none = without "
            "(mnist99 for mnist, digits-judge for digits).",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", help="Repetitions, each with images of its own.")] = 10,
    parts: Annotated[
        str | None,
        typer.Option(
            metavar="PART,...",
            help="What to run, or `all`; see `evofool list parts` (scenarios,controls,judge, and hypotheses on mnist).",
            show_default=False,
        ),
    ] = None,
    scenarios: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Only these scenarios and the controls beside them; see `evofool list scenarios`.",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE,...",
            help="Change a setting in every arm, such as generations=100; several values make a sweep. Repeatable.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes (one for each processor).", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the forecast, run nothing.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Evolve digits under twelve kinds of genetic algorithm, and compare with the published figures.

    Three selections x two crossovers x two mutations, elitism, and controls without selection; seeds, statistics, an
    independent judge. Writes DIR/report.html with figures, tables and all numbers beside it.
    """
    from .executors.local import available_processors
    from .progress import duration, progress
    from .studies.operators import run
    from .studies.operators import scenarios as arms

    _new_directory(out)
    target, reader = _TARGETS.get(data, (None, "none"))
    if classifier is None and target is None:
        raise UserError(f"--data {data} has no shipped classifier: give --classifier, the directory of one you trained")
    standard = ("scenarios", "controls", "judge", *(("hypotheses",) if data == "mnist" and not set_ else ()))
    chosen = tuple(arms.PARTS) if parts == "all" else _names(parts) or standard
    judge = judge or reader
    if judge == "none":
        chosen = tuple(part for part in chosen if part != "judge")
    config = run.Config(
        data=data,
        data_dir=data_dir,
        classifiers=_names(classifier) or (str(target),),
        judge="" if judge == "none" else judge,
        seeds=seeds,
        parts=chosen,
        names=_names(scenarios),
        settings=_settings(set_ or []),
    )
    with progress("reading", None, quiet=quiet) as meter:
        load = _download_meter(meter)
        plan = run.plan(config, progress=load)
    count = workers if workers is not None else available_processors()
    if count < 1:
        raise UserError(f"--workers {count}: expected at least 1")
    _say(_announcement(plan, run.forecast(plan, count), count, duration), quiet=quiet)
    if dry_run:
        return
    with progress("evolving", plan.evaluations, quiet=quiet) as meter:
        outcome = run.execute(plan, workers=count, command=_command(config), on_tick=meter.advance)
    with progress("writing the report", None, quiet=quiet):
        report = _write(outcome, out)
    summary = _summary(outcome, report)
    if as_json:
        typer.echo(json.dumps(summary))
    elif not quiet:
        for finding in summary["findings"]:
            typer.echo(f"• {finding}")
        typer.echo(f"\nreport: {report}")


def _announcement(plan: Plan, seconds: float, workers: int, duration: Any) -> str:
    count = len(plan.scenarios)
    processes = "1 process" if workers == 1 else f"{workers} processes"
    return (
        f"{count} arm{'s' * (count != 1)} on {', '.join(plan.config.classifiers)}, {plan.config.seeds} seeds: "
        f"{plan.evaluations:,} queries, about {duration(seconds)} with {processes}"
    )


def _command(config: Config) -> str:
    """What repeats a study; where it is written to and with how many processes makes no difference."""
    words = ["evofool", "study", "operators", "--data", config.data, "--seeds", str(config.seeds)]
    words += ["--classifier", ",".join(config.classifiers), "--parts", ",".join(config.parts)]
    if config.judge:
        words += ["--judge", config.judge]
    if config.names:
        words += ["--scenarios", ",".join(config.names)]
    for name, values in config.settings.items():
        words += ["--set", f"{name}={','.join(values)}"]
    return shlex.join([*words, "-o", "DIR"])


def _write(outcome: Outcome, out: Path) -> Path:
    """Write the numbers first, all of them or none; whatever befalls the report, they are safe then."""
    from .files import write_bytes, write_png
    from .reports.html import write

    final = out.absolute()
    made = final.with_name(f".{final.name}.tmp-{os.getpid()}")
    try:
        for name, sheet in outcome.sheets.items():
            write_png(made / name, sheet)
        write_bytes(made / "study.json", outcome.results.to_json().encode())
        timings = {arm: round(seconds, 3) for arm, seconds in outcome.seconds.items()}
        text = json.dumps({"seconds of one core by arm": timings}, indent=1) + "\n"
        write_bytes(made / "timings.json", text.encode())
        os.replace(made, final)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}); choose another place or make room") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    try:
        return write(outcome.results, out)
    except BaseException:
        _say(f"evofool: the numbers are in {out / 'study.json'}; `evofool report {out}` writes their report")
        raise


def _summary(outcome: Outcome, report: Path) -> dict[str, Any]:
    from .reports.findings import findings

    results = outcome.results
    return {
        "report": str(report),
        "queries": sum(run.issued for run in results.runs),
        "findings": [finding.text for finding in findings(results)],
    }


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a finished study.", show_default=False)],
    quiet: Quiet = False,
) -> None:
    """Write the report of a finished study anew from its study.json."""
    from .progress import progress
    from .reports.html import write
    from .studies.operators.results import load

    if not (run / "study.json").is_file():
        raise UserError(
            f"{run}: no study.json there; expected the directory that `evofool study operators -o DIR` wrote"
        )
    results = load(run / "study.json")
    with progress("writing the report", None, quiet=quiet):
        path = write(results, run)
    _say(f"report: {path}", quiet=quiet)


_KINDS = ("operators", "scenarios", "parts", "classifiers", "architectures", "data", "settings")


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(_KINDS)}.", show_default=False)],
) -> None:
    """List what there is, with a line about each."""
    if kind not in _KINDS:
        raise UserError(f"unknown kind '{kind}'{nearest(kind, _KINDS)}")
    for name, about in _listed(kind):
        typer.echo(f"{name:<34} {about}".rstrip())


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").strip().split("\n")[0]


def _listed(kind: str) -> list[tuple[str, str]]:
    if kind == "data":
        return [
            ("digits", "scikit-learn's 1,797 digits at 28 x 28, embedded: 797 to train, 1,000 to test"),
            ("mnist", "the 60,000 + 10,000 digits of MNIST, downloaded once"),
            ("PATH", "class folders of images (or train/ and test/ of them), a zip of such, an .npz, IDX files"),
        ]
    if kind == "classifiers":
        from .classifiers import SHIPPED, shipped

        cards = {name: json.loads((SHIPPED / name / "card.json").read_text()) for name in shipped()}
        return [
            (
                name,
                f"{card['architecture']}, trained on {card['data']}: {card['accuracy']:.1%} of the test images right",
            )
            for name, card in cards.items()
        ]
    if kind == "architectures":
        from . import networks

        return [(name, _first_line(function)) for name, function in networks.architectures().items()]
    if kind == "operators":
        import importlib

        from . import spec

        rows = []
        for family in ("selection", "crossover", "mutation", "survival"):
            module = importlib.import_module(f"evofool.operators.{family}")
            rows += [(f"{family}.{name}", _first_line(getattr(module, name))) for name in spec.operator_names(family)]
        return rows
    from .studies.operators import scenarios as arms

    if kind == "parts":
        return list(arms.PARTS.items())
    if kind == "settings":
        return list(arms.SETTINGS.items())
    base = arms.base()
    plain = [*arms.scenarios(base), arms.elitism(base), *arms.controls(base)]
    return [(s.arm.name, s.arm.about or arms.summary(s)) for s in plain]


def main() -> None:
    """Run the program. EVOFOOL_DEBUG=1 shows the tracebacks of expected errors, too."""
    signal.signal(signal.SIGTERM, _stop)
    app()
