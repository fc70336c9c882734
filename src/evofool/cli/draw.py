"""`evofool draw`, and what its runs need of the verbs over runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
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
    new_directory,
)

if TYPE_CHECKING:
    from ..rundir import RunDirectory
    from ..studies.draw.planning import Config, Plan
    from ..studies.draw.results import Results


def draw(
    out: Out,
    classifier: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="What is to be convinced: a shipped name, a directory with a card, onnx:FILE, https://HOST/PATH and "
            "more, see `evofool list classifiers`.",
            show_default=False,
        ),
    ],
    target: Annotated[
        str, typer.Option(metavar="CLASS", help="The class it is to see, by name or number.", show_default=False)
    ],
    runs: Annotated[int, typer.Option(metavar="N", help="Drawings, each with a seed of its own.")] = 30,
    confidence: Annotated[float, typer.Option(metavar="P", help="Probability of the class to reach.")] = 0.96,
    at_boundary: Annotated[
        bool,
        typer.Option("--at-boundary", help="Draw images on the decision boundary instead: the class and another tie."),
    ] = False,
    front: Annotated[
        bool,
        typer.Option("--front", help="Draw as few pixels and as much confidence as go together, by NSGA-II."),
    ] = False,
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="economical: few queries, little ink; question: as asked in public.")
    ] = "economical",
    crossover: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="rectangle, columns, list, rows, uniform, union, intersection, single-point (the preset's).",
            show_default=False,
        ),
    ] = None,
    mutation: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="redraw: adds, moves or removes a pixel; per-gene, per-image: only add, the two readings of the "
            "question (the preset's).",
            show_default=False,
        ),
    ] = None,
    weight: Annotated[
        str | None,
        typer.Option(
            "--lambda",
            metavar="L",
            help="What a pixel of ink costs: a number, adapt, or by generation: 0@0,0.01@100 (adapt; 0.001 with the "
            "question, at the boundary and of a margin).",
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        str, typer.Option(metavar="NAME", help="What is lowered besides ink: cross-entropy or margin.")
    ] = "cross-entropy",
    region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REGION@FIRST-LAST",
            help="Where ink may lie, and in which generations: center:0.5@0-300, border:4, ring:2-5, "
            "box:TOP,LEFT,H,W, mask:FILE, not:REGION; afterwards everywhere. Repeatable, in order.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="Draw on N x N pixels (or HxW), brought to the classifier's.", show_default=False
        ),
    ] = None,
    canvas: Canvas = None,
    ink: InkLevel = None,
    generations: Annotated[
        int | None, typer.Option(metavar="N", help="After the initial one (400).", show_default=False)
    ] = None,
    population: Annotated[
        int | None, typer.Option(metavar="N", help="Members of each run (100).", show_default=False)
    ] = None,
    p_crossover: Annotated[
        float | None, typer.Option(metavar="P", help="Probability of a mating to cross.", show_default=False)
    ] = None,
    p_mutation: Annotated[
        float | None, typer.Option(metavar="P", help="Probability of a child to be mutated.", show_default=False)
    ] = None,
    stop: Annotated[
        bool | None,
        typer.Option("--stop/--no-stop", help="End a run when it has reached its goal.", show_default=False),
    ] = None,
    shrink: Annotated[
        bool | None,
        typer.Option(
            "--shrink/--no-shrink",
            help="Then take away what ink the goal does not need (the preset's: economical does).",
            show_default=False,
        ),
    ] = None,
    budget: Budget = None,
    total_budget: Annotated[
        int | None, typer.Option(metavar="N", help="Most queries of all runs, in equal shares.", show_default=False)
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Send an image again that the same run has asked about before.")
    ] = False,
    confirm: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            help="Ask about each drawing K times more, keep what succeeds each time (0; 1 if queries are metered).",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Images that tell its shape and classes, where it does not.", show_default=False
        ),
    ] = None,
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
    """Draw with few pixels on a blank canvas until a classifier sees what you want.

    Evolves ink from one pixel on, and then takes away all that is not needed. Writes DIR/report.html with the drawings,
    the numbers beside it, and each drawing as the PNG that convinced. A run that is stopped or killed goes on with
    `evofool resume DIR`.
    """
    from ..studies.draw import planning, run

    be_quiet(quiet)
    new_directory(out)
    if at_boundary and front:
        raise UserError("--at-boundary and --front are two goals; give one of them")
    config = planning.Config(
        classifier=classifier,
        target=target,
        options=classifier_settings(with_, device, trust_code, concurrency),
        data=data,
        data_dir=data_dir,
        runs=runs,
        preset=preset,
        crossover=crossover or "",
        mutation=mutation or "",
        goal="boundary" if at_boundary else "front" if front else "confidence",
        measure=_choice("--measure", measure, ("cross-entropy", "margin")),
        weight=weight or "",
        confidence=confidence,
        population=population,
        generations=generations,
        p_crossover=p_crossover,
        p_mutation=p_mutation,
        region=tuple(region or ()),
        stop=stop,
        size=_size(size),
        canvas=levels("--canvas", canvas),
        ink=levels("--ink", ink),
        shrink=shrink,
        budget=budget,
        total_budget=total_budget,
        cache=not no_cache,
        confirm=confirm,
    )
    common.begin(
        config, planning.plan, run.head, conduct, out, announcement=_announcement, command=_command, workers=workers,
        dry_run=dry_run, quiet=quiet, as_json=as_json,
    )  # fmt: skip


def conduct(plan: Plan, directory: RunDirectory, out: Path, **given: Any) -> None:
    """Run what is left, write everything, say what came out; see `common.conduct`."""
    from ..reports import drawing
    from ..studies.draw import run

    common.conduct("drawing", run, drawing.write, drawing.sentences, plan, directory, out, more=_more, **given)


def rewrite(path: Path) -> Path:
    """Write the report of a finished run anew; its path."""
    from ..reports import drawing
    from ..studies.draw.results import load

    return drawing.write(load(path / "study.json"), path)


def _announcement(plan: Plan) -> str:
    config, info = plan.config, plan.info
    height, width = plan.arm.size
    goal = {
        "confidence": f"{info.class_names[plan.target]} at {100 * config.confidence:.10g}%",
        "boundary": f"the boundary of {info.class_names[plan.target]}",
        "front": f"the front of ink and {info.class_names[plan.target]}",
    }[config.goal]
    return (
        f"{config.runs} run{'s' * (config.runs != 1)} on {config.classifier}, {height} x {width} pixels, to {goal}: at "
        f"most {plan.queries:,} queries{common.price(config, plan.queries)}, one of the blank canvas"
        f"{', and what shrinking takes' if plan.shards[0].shrink and not plan.shards[0].budget else ''}"
    )


def _command(config: Config) -> str:
    """What repeats it; where it is written to and with how many processes makes no difference."""
    words = ["evofool", "draw", "--classifier", config.given or config.classifier, "--target", config.target]
    words += ["--runs", str(config.runs), "--preset", config.preset]
    words += {"boundary": ["--at-boundary"], "front": ["--front"]}.get(
        config.goal, ["--confidence", repr(config.confidence)]
    )
    metered = any(source.metered for source in config.sources.values())
    values = {
        "--crossover": config.crossover or None,
        "--mutation": config.mutation or None,
        "--lambda": config.weight or None,
        "--measure": config.measure if config.measure != "cross-entropy" else None,
        "--size": "x".join(map(str, config.size)) if config.size else None,
        "--canvas": ",".join(map(repr, config.canvas)) if config.canvas else None,
        "--ink": ",".join(map(repr, config.ink)) if config.ink else None,
        "--generations": config.generations,
        "--population": config.population,
        "--p-crossover": config.p_crossover,
        "--p-mutation": config.p_mutation,
        "--budget": config.budget,
        "--total-budget": config.total_budget,
        "--confirm": config.confirm if config.confirm or metered else None,
        "--data": config.data,
        "--data-dir": config.data_dir,
    }
    words += [word for name, value in values.items() if value is not None for word in (name, str(value))]
    words += [word for region in config.region for word in ("--region", region)]
    words += [] if config.stop is None else ["--stop" if config.stop else "--no-stop"]
    words += [] if config.shrink is None else ["--shrink" if config.shrink else "--no-shrink"]
    words += [] if config.cache else ["--no-cache"]
    return common.repeated(words, config.options)


def _more(results: Results) -> dict[str, Any]:
    """What there is to say in JSON besides."""
    return {
        "runs": len(results.runs),
        "reached": sum(run.reached is not None for run in results.runs),
        "drawings": [
            {"seed": run.seed, "ink": run.final.ink, "confidence": run.final.confidence, "places": run.final.places}
            for run in results.runs
        ],
    }


def _choice(option: str, value: str, known: tuple[str, ...]) -> Any:
    from ..errors import nearest

    if value not in known:
        raise UserError(f"{option} {value}: unknown{nearest(value, known)}")
    return value


def _size(text: str | None) -> tuple[int, int] | None:
    import re

    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if not found:
        raise UserError(f"--size {text}: expected a number of pixels such as 128, or height x width: 96x128")
    return int(found[1]), int(found[2] or found[1])
