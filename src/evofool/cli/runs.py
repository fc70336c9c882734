"""Verbs over run directories: resume, verify, replay, export, report."""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DamagedRunError, UserError
from .common import (
    Json,
    Quiet,
    Run,
    TrustCode,
    Workers,
    be_quiet,
    count_of_workers,
    download_meter,
    printable,
    resumable,
    resume_options,
    say,
)

if TYPE_CHECKING:
    from ..checks import Check


def _study(kind: str) -> tuple[Any, Any]:
    """What runs the studies of a kind, and the verb that begins them."""
    from .. import studies

    kinds = [module.name for module in pkgutil.iter_modules(studies.__path__)]
    if kind not in kinds:
        raise DamagedRunError(f"run.json: unknown kind of run '{kind}'; use the version of evofool that wrote it")
    return importlib.import_module(f"evofool.studies.{kind}.run"), importlib.import_module(f"evofool.cli.{kind}")


def _kind_of(numbers: Path) -> str:
    """The kind of study whose numbers were copied out of their run."""
    from .. import studies
    from ..files import read_json

    written = read_json(numbers, limit=1_000_000_000)
    form = str(written.get("format")) if isinstance(written, dict) else ""
    for module in pkgutil.iter_modules(studies.__path__):
        known = importlib.import_module(f"evofool.studies.{module.name}.results").FORMAT
        if form.partition("/")[0] == known.partition("/")[0]:
            return module.name
    raise DamagedRunError(f"{numbers}: is not a file of numbers that evofool wrote; restore it from a copy")


def resume(
    run: Run,
    workers: Workers = None,
    allow_drift: Annotated[
        bool,
        typer.Option("--allow-drift", help="Go on though code, data or a classifier has changed; the report says so."),
    ] = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Go on with a run that was stopped or killed.

    What was answered before is taken from the run's ledger, not asked again; queries that were on their way when it was
    killed are counted as lost. The result is the same as without the interruption, as far as the budget reaches.
    """
    from .. import rundir
    from ..progress import progress

    be_quiet(quiet)
    count = count_of_workers(workers)
    study, verb = _study(rundir.read_run(run)["kind"])
    if rundir.finished(run):
        say(f"{run}: has come to its end; nothing is left to do. Its report: {run / 'report.html'}", quiet=quiet)
        return
    with progress("reading", None, quiet=quiet) as meter:
        plan, directory = study.reopen(
            run, allow_drift=allow_drift, trust_code=trust_code, progress=download_meter(meter)
        )
    with resumable(run, resume_options(plan)), directory:
        say(f"{run}: {_standing(plan, directory)}", quiet=quiet)
        command = str(directory.run.get("command", ""))
        verb.conduct(plan, directory, run, workers=count, command=command, quiet=quiet, as_json=as_json)


def _standing(plan: Any, directory: Any) -> str:
    finished = directory.store.finished()
    counts = directory.store.counts().values()
    lost, kills = sum(count["lost"] for count in counts), sum(s == "killed" for s, _ in directory.store.sessions())
    words = (
        f"{sum(shard.name in finished for shard in plan.shards)} of {len(plan.shards)} shards are finished, "
        f"{sum(count['issued'] for count in counts):,} queries were charged"
    )
    return f"{words}; {kills} kill{'s' * (kills != 1)}, {lost:,} queries lost" if kills or lost else words


def verify(
    run: Run,
    offline: Annotated[bool, typer.Option("--offline", help="Hashes and counts only; no query.")] = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """See that a run is what was written: every hash and count; and that each finding still fools its classifier.

    The queries of this check are counted on an account of its own, apart from the run's. Exit code 4 for damage, 1
    for a finding that does not fool again.
    """
    from .. import checks, locks, rundir
    from ..progress import progress

    rundir.read_run(run)
    locks.refuse_owned(run)
    with progress("checking", None, quiet=quiet):
        damaged = rundir.damage(run)
    for line in damaged:
        typer.echo(printable(f"damaged: {line}"))
    if damaged:
        count = len(damaged)
        raise DamagedRunError(f"{run}: {count} fault{'s' * (count != 1)}; restore the run from a copy")
    found = rundir.findings(run)
    if not quiet:
        seen = "all files, the ledger" if rundir.closed(run) else "not closed in order: the ledger, checkpoints"
        typer.echo(f"{seen} and {len(found)} images are as they were written")
        if not rundir.finished(run):
            typer.echo(f"unfinished; go on with: evofool resume {run}")
    if offline or not found:
        return
    with progress("asking again", len(found), quiet=quiet) as meter:
        results, account = checks.again(run, found, trust_code=trust_code, on_tick=meter.advance)
    if not quiet:
        for check in results:
            if not check.same_class:
                typer.echo(printable(_told(check)))
        exact = sum(check.same_scores for check in results)
        fooled = sum(check.same_class for check in results)
        typer.echo(f"{fooled} of {len(results)} findings fool again, {exact} of them with the same scores bit for bit")
        typer.echo(f"{account} queries, counted apart from the run's")
    if not all(check.same_class for check in results):
        raise SystemExit(1)


def replay(
    finding: Annotated[
        str, typer.Argument(metavar="RUN#N", help="A finding of a run, such as runs/first#17.", show_default=False)
    ],
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Ask about one finding again: one query. Exit code 1 if it does not fool any more."""
    from .. import checks, rundir

    path, mark, number = finding.rpartition("#")
    if not mark or not (number.isascii() and number.isdigit()):
        raise UserError(f"{finding}: expected RUN#N, the directory of a run and the number of a finding")
    found = {f.number: f for f in rundir.findings(_there(Path(path)))}
    if int(number) not in found:
        known = f"1 to {max(found)}" if found else "none yet"
        raise UserError(f"{finding}: there is no such finding; {path} has {known}")
    (check,), _ = checks.again(Path(path), [found[int(number)]], trust_code=trust_code)
    if as_json:
        typer.echo(json.dumps(check._asdict() | {"finding": int(number)}))
    else:
        typer.echo(printable(_told(check)))
    if not check.same_class:
        raise SystemExit(1)


def _there(path: Path) -> Path:
    from .. import rundir

    rundir.read_run(path)
    return path


def _told(check: Check) -> str:
    same = ", the same scores bit for bit" if check.same_scores else ""
    return (
        f"{check.file}: carries {check.label}, was read as {check.prediction} ({check.confidence:.2%}); "
        f"now as {check.now} ({check.confidence_now:.2%}){same}"
    )


def export(
    run: Run,
    to: Annotated[
        str, typer.Option("--to", metavar="FORM", help="csv, jsonl, parquet, npz or imagefolder.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="PATH", help="File or folder to write (beside RUN).", show_default=False),
    ] = None,
    table: Annotated[
        str, typer.Option(metavar="NAME", help="For csv, jsonl and parquet: findings, generations or accounts.")
    ] = "findings",
    quiet: Quiet = False,
) -> None:
    """Write findings, curves or query counts for other programs.

    csv, jsonl and parquet hold a table; npz the images with labels, predictions and numbers; imagefolder one PNG for
    each finding in a folder of the class that it carries (a drawing carries none: of the class that is seen). Both of
    the latter can be given to --data.
    """
    from ..reports.export import export as write

    written = write(_there(run), to, out, table=table)
    say(f"written: {written}", quiet=quiet)


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a finished study.", show_default=False)],
    quiet: Quiet = False,
) -> None:
    """Write the report of a finished study anew from its study.json."""
    from .. import locks, rundir
    from ..progress import progress

    rundir.files_of(run)  # no links among them
    locks.refuse_owned(run)
    if not (run / "study.json").is_file():
        unfinished = (run / "run.json").is_file()
        raise UserError(
            f"{run}: the study has not come to its end; `evofool resume {run}` goes on with it"
            if unfinished
            else f"{run}: no study.json there; expected the directory that `evofool study` or `evofool draw` wrote"
        )
    kind = rundir.read_run(run)["kind"] if (run / "run.json").is_file() else _kind_of(run / "study.json")
    _, verb = _study(kind)
    with progress("writing the report", None, quiet=quiet):
        path = verb.rewrite(run)
        rundir.reseal(run, ["report.html", "figures/", "tables/"])
    say(f"report: {path}", quiet=quiet)
