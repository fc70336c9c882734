"""`evofool study operators`, and what its runs need of the verbs over runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from . import common
from .common import (
    Concurrency,
    Data,
    DataDir,
    Device,
    Json,
    Out,
    Quiet,
    TrustCode,
    With,
    Workers,
    be_quiet,
    classifier_settings,
    count_of_workers,
    download_meter,
    names,
    new_directory,
    resumable,
    resume_options,
    say,
)

if TYPE_CHECKING:
    from ..rundir import RunDirectory
    from ..studies.operators.planning import Config, Plan
    from ..studies.operators.results import Results


def _settings(items: list[str]) -> dict[str, tuple[str, ...]]:
    settings: dict[str, tuple[str, ...]] = {}
    for item in items:
        name, equals, values = item.partition("=")
        if not equals or not names(values):
            raise UserError(f"--set {item}: expected NAME=VALUE or NAME=VALUE,VALUE, such as p_mutation=0.1,0.5")
        if name in settings:
            raise UserError(f"--set {name} is given twice; give all values at once: {name}=VALUE,VALUE")
        settings[name] = names(values)
    return settings


_TARGETS = {"mnist": ("mnist95", "mnist99"), "digits": ("digits", "digits-judge")}


def operators(
    out: Out,
    data: Data = "mnist",
    data_dir: DataDir = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC,...",
            help="Targets: shipped names, directories with a card, onnx:FILE, https://HOST/PATH and more, see `evofool "
            "list classifiers`; several to see what depends on the CNN (mnist95 for mnist, digits for digits).",
            show_default=False,
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="An independent classifier that reads the evolved images; none = without "
            "(mnist99 for mnist, digits-judge for digits).",
            show_default=False,
        ),
    ] = None,
    with_: With = None,
    device: Device = None,
    concurrency: Concurrency = None,
    trust_code: TrustCode = False,
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
    budget: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Most queries of one search: an arm on a classifier for a seed.", show_default=False
        ),
    ] = None,
    total_budget: Annotated[
        int | None,
        typer.Option(metavar="N", help="Most queries of all searches, in equal shares.", show_default=False),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Send an image again that the same search has asked about before.")
    ] = False,
    confirm: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            help="Ask about each finding K times more, keep what fools each time (0; 1 if queries are metered).",
            show_default=False,
        ),
    ] = None,
    workers: Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the forecast, run nothing.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Evolve digits under twelve kinds of genetic algorithm, and compare with the published figures.

    Three selections x two crossovers x two mutations, elitism, and controls without selection; seeds, statistics, an
    independent judge. Writes DIR/report.html with figures, tables and all numbers beside it. A run that is stopped or
    killed goes on with `evofool resume DIR`.
    """
    from ..classifiers.support.settings import settings
    from ..progress import duration, progress
    from ..rundir import RunDirectory
    from ..studies.operators import planning, run
    from ..studies.operators import scenarios as arms

    be_quiet(quiet)
    new_directory(out)
    target, reader = _TARGETS.get(data, (None, "none"))
    if classifier is None and target is None:
        raise UserError(f"--data {data} has no shipped classifier: give --classifier, the directory of one you trained")
    standard = ("scenarios", "controls", "judge", *(("hypotheses",) if data == "mnist" and not set_ else ()))
    chosen = tuple(arms.PARTS) if parts == "all" else names(parts) or standard
    judge = judge or reader
    if judge == "none":
        chosen = tuple(part for part in chosen if part != "judge")
    options = classifier_settings(with_, device, trust_code, concurrency)
    config = planning.Config(
        data=data,
        data_dir=data_dir,
        image_shape=settings("images", options).image_shape,
        classifiers=names(classifier) or (str(target),),
        judge="" if judge == "none" else judge,
        options=options,
        seeds=seeds,
        parts=chosen,
        names=names(scenarios),
        settings=_settings(set_ or []),
        budget=budget,
        total_budget=total_budget,
        cache=not no_cache,
        confirm=confirm,
    )
    with progress("reading", None, quiet=quiet) as meter:
        load = download_meter(meter)
        plan = planning.plan(config, progress=load)
    count = count_of_workers(workers)
    if dry_run:
        say(_announcement(plan, planning.forecast(plan, count), count, duration), quiet=quiet)
        return
    command = _command(plan.config)
    directory = RunDirectory.create(out, run.head(plan, command))
    with resumable(out, resume_options(plan)), directory:
        seconds = planning.forecast(plan, count, directory.store)
        say(_announcement(plan, seconds, count, duration), quiet=quiet)
        conduct(plan, directory, out, workers=count, command=command, quiet=quiet, as_json=as_json)


def conduct(plan: Plan, directory: RunDirectory, out: Path, **given: Any) -> None:
    """Run what is left, write everything, say what came out; see `common.conduct`."""
    from ..reports.html import write
    from ..studies.operators import run

    common.conduct("evolving", run, write, _sentences, plan, directory, out, **given)


def rewrite(path: Path) -> Path:
    """Write the report of a finished run anew; its path."""
    from ..reports.html import write
    from ..studies.operators.results import load

    return write(load(path / "study.json"), path)


def _announcement(plan: Plan, seconds: float, workers: int, duration: Any) -> str:
    from ..studies.operators import run

    count = len(plan.scenarios)
    processes = "1 process" if workers == 1 else f"{workers} processes"
    words = (
        f"{count} arm{'s' * (count != 1)} on {', '.join(plan.config.classifiers)}, {plan.config.seeds} seeds: "
        f"{plan.queries:,} queries, about {duration(seconds)} with {processes}"
    )
    remote = [name for name, source in plan.config.sources.items() if source.metered]
    if not remote:
        return words
    cost = sum(
        (source.cost or 0) * sum(shard.queries for shard in plan.shards if shard.classifier == name)
        for name, source in plan.config.sources.items()
    )
    return (
        f"{words}, without the time that {', '.join(remote)} takes to answer"
        f"{f', for {cost:,.2f}' if cost else ''}; besides, up to {run.TESTED_REMOTE + run.EXAMINED} queries of each "
        f"for its report"
    )


def _command(config: Config) -> str:
    """What repeats a study; where it is written to and with how many processes makes no difference."""
    words = ["evofool", "study", "operators", "--data", config.data, "--seeds", str(config.seeds)]
    specs = [config.given.get(name, name) for name in config.classifiers]
    words += ["--data-dir", config.data_dir] if config.data_dir else []
    words += ["--classifier", ",".join(specs), "--parts", ",".join(config.parts)]
    if config.judge:
        words += ["--judge", config.given.get(config.judge, config.judge)]
    if config.names:
        words += ["--scenarios", ",".join(config.names)]
    for name, values in config.settings.items():
        words += ["--set", f"{name}={','.join(values)}"]
    words += ["--budget", str(config.budget)] if config.budget is not None else []
    words += ["--total-budget", str(config.total_budget)] if config.total_budget is not None else []
    metered = any(source.metered for source in config.sources.values())
    words += ["--confirm", str(config.confirm)] if config.confirm or metered else []
    words += [] if config.cache else ["--no-cache"]
    return common.repeated(words, config.options)


def _sentences(results: Results) -> list[str]:
    from ..reports.findings import findings

    return [finding.text for finding in findings(results)]
