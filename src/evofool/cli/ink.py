"""`evofool study ink`, and what its runs need of the verbs over runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import common
from .common import (
    Budget,
    Canvas,
    Concurrency,
    DataDir,
    Device,
    DryRun,
    InkLevel,
    Json,
    Out,
    Quiet,
    TrustCode,
    With,
    Workers,
    be_quiet,
    classifier_settings,
    levels,
    names,
    new_directory,
)

if TYPE_CHECKING:
    from ..rundir import RunDirectory
    from ..studies.ink.planning import Config, Plan
    from ..studies.ink.results import Results


def ink(
    out: Out,
    classifier: Annotated[
        str,
        typer.Option(
            metavar="SPEC", help="The network to explain, see `evofool list classifiers`.", show_default=False
        ),
    ],
    target: Annotated[
        str, typer.Option(metavar="CLASS", help="The class that is drawn, by name or number.", show_default=False)
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="The images that it was trained on (with test images, to see what a change costs): mnist, digits, "
            "class folders, a zip of them, an .npz.",
            show_default=False,
        ),
    ] = None,
    others: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC,...",
            help="More networks: of the same architecture, trained with another padding, to see what padding does in "
            "general; any, to see whether the drawings convince them, too.",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[
        int | None, typer.Option(metavar="N", help="Of the arms that all is compared with (30).", show_default=False)
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(metavar="PART,...", help="Only these; see `evofool list ink-parts`.", show_default=False),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Short runs, to see that everything works; the verdict says QUICK.")
    ] = False,
    confidence: Annotated[float, typer.Option(metavar="P", help="Probability that a drawing is to reach.")] = 0.96,
    generations: Annotated[int | None, typer.Option(metavar="N", help="Of a run (400).", show_default=False)] = None,
    population: Annotated[int, typer.Option(metavar="N", help="Members of a run.")] = 100,
    confined: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Generations confined to the middle in the schedule (3000).", show_default=False
        ),
    ] = None,
    free: Annotated[
        int | None, typer.Option(metavar="N", help="Generations after that (400).", show_default=False)
    ] = None,
    fewer: Annotated[
        int | None, typer.Option(metavar="N", help="Runs of every intervention (10).", show_default=False)
    ] = None,
    canvas: Canvas = None,
    ink: InkLevel = None,
    pixels: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Pixels to try for the map, a sample stratified by ring (all, of a canvas of up to 128 x 128).",
            show_default=False,
        ),
    ] = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    with_: With = None,
    device: Device = None,
    concurrency: Concurrency = None,
    trust_code: TrustCode = False,
    workers: Workers = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find out why evolved ink gathers where it does: the operators, the network, its padding, the data?

    Draws under one change at a time, always beside a null measured with the same operators, and gives a verdict with
    intervals over runs. Writes DIR/report.html. A run that is stopped or killed goes on with `evofool resume DIR`.
    """
    from ..studies.ink import planning, run

    be_quiet(quiet)
    new_directory(out)
    config = planning.Config(
        classifier=classifier,
        target=target,
        others=names(others),
        data=data,
        data_dir=data_dir,
        options=classifier_settings(with_, device, trust_code, concurrency),
        parts=names(parts),  # type: ignore[arg-type]
        quick=quick,
        runs=runs,
        fewer=fewer,
        generations=generations,
        confined=confined,
        free=free,
        confidence=confidence,
        population=population,
        canvas=levels("--canvas", canvas),
        ink=levels("--ink", ink),
        pixels=pixels,
        budget=budget,
    )
    common.begin(
        config, planning.plan, run.head, conduct, out, announcement=_announcement, command=_command, workers=workers,
        dry_run=dry_run, quiet=quiet, as_json=as_json,
    )  # fmt: skip


def conduct(plan: Plan, directory: RunDirectory, out: Path, **given: Any) -> None:
    """Run what is left, write everything, say what came out; see `common.conduct`."""
    from ..reports import ink
    from ..studies.ink import run

    common.conduct("drawing", run, ink.write, ink.sentences, plan, directory, out, more=_more, **given)


def rewrite(path: Path) -> Path:
    """Write the report of a finished run anew; its path."""
    from ..reports import ink
    from ..studies.ink.results import load

    return ink.write(load(path / "study.json"), path)


def _announcement(plan: Plan) -> str:
    height, width = plan.question.first.size
    words = (
        f"{len(plan.planned)} arms on {', '.join(network.label for network in plan.networks)}, {height} x {width} "
        f"pixels: at most {plan.queries:,} queries, many of them repeats that are not sent, and {plan.besides:,} of "
        f"test images and of drawings shown otherwise"
    )
    left_out = "".join(f"; without {part}: {why}" for part, why in plan.skipped)
    return f"{words}{left_out}"


def _command(config: Config) -> str:
    """What repeats a study; where it is written to and with how many processes makes no difference."""
    said = config.said
    words = ["evofool", "study", "ink", "--classifier", said.get(config.classifier, config.classifier)]
    words += ["--target", config.target]
    values = {
        "--others": ",".join(said.get(name, name) for name in config.others) or None,
        "--data": config.data,
        "--data-dir": config.data_dir,
        "--runs": config.runs,
        "--fewer": config.fewer,
        "--parts": ",".join(config.parts) or None,
        "--confidence": repr(config.confidence) if config.confidence != 0.96 else None,
        "--generations": config.generations,
        "--population": config.population if config.population != 100 else None,
        "--confined": config.confined,
        "--free": config.free,
        "--canvas": ",".join(map(repr, config.canvas)) if config.canvas else None,
        "--ink": ",".join(map(repr, config.ink)) if config.ink else None,
        "--pixels": config.pixels,
        "--budget": config.budget,
    }
    words += [word for name, value in values.items() if value is not None for word in (name, str(value))]
    words += ["--quick"] if config.quick else []
    return common.repeated(words, config.options)


def _more(results: Results) -> dict[str, Any]:
    """What there is to say in JSON besides."""
    return {"quick": results.quick}
