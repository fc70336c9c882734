"""`evofool attack`, and what its runs need of the verbs over runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from . import common
from .common import (
    Concurrency,
    DataDir,
    Device,
    DryRun,
    Json,
    Out,
    Quiet,
    TrustCode,
    With,
    Workers,
    be_quiet,
    classifier_settings,
    new_directory,
)

if TYPE_CHECKING:
    from ..rundir import RunDirectory
    from ..studies.attack.given import Config
    from ..studies.attack.planning import Plan
    from ..studies.attack.results import Results

_SIZES = {"linf": "eps", "l2": "eps", "l0": "pixels", "patch": "patch", "frame": "frame"}


def attack(
    out: Out,
    classifier: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="What is to be fooled: a shipped name, a directory with a card, onnx:FILE, https://HOST/PATH and "
            "more, see `evofool list classifiers`.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="Images: mnist, digits, a folder (of class folders, or of images only: then the classifier's own "
            "answers are their labels), a zip, an .npz.",
            show_default=False,
        ),
    ],
    norm: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What is limited: linf, l2, l0, patch or frame (linf with --eps).", show_default=False
        ),
    ] = None,
    eps: Annotated[
        str | None,
        typer.Option(
            metavar="E",
            help="Radius, such as 0.03 or 8/255: of linf the largest change of a gray level, 1 = full white; of l2 the "
            "Euclidean one.",
            show_default=False,
        ),
    ] = None,
    pixels: Annotated[
        int | None, typer.Option(metavar="N", help="Pixels that may change (l0).", show_default=False)
    ] = None,
    patch: Annotated[
        int | None, typer.Option(metavar="N", help="A square of N x N pixels may change.", show_default=False)
    ] = None,
    frame: Annotated[
        int | None, typer.Option(metavar="N", help="The outer N pixels may change.", show_default=False)
    ] = None,
    budget: Annotated[
        int, typer.Option(metavar="N", help="Most queries of one image, the one for the image as it is included.")
    ] = 1000,
    recipe: Annotated[
        str, typer.Option(metavar="NAME", help="The attack; see `evofool list recipes` and `evofool show recipe`.")
    ] = "genepool",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An argument of the recipe. Repeatable.", show_default=False),
    ] = None,
    independent: Annotated[
        bool, typer.Option("--independent", help="With genepool: each image by itself, nothing is shared.")
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="The class to be seen, by name or number; least-likely or random: of each image (any but its own).",
            show_default=False,
        ),
    ] = None,
    top_k: Annotated[
        int,
        typer.Option("--top-k", metavar="K", help="Success: the class is not among the K first (targeted: is)."),
    ] = 1,
    images: Annotated[int | None, typer.Option(metavar="N", help="How many images (all).", show_default=False)] = None,
    first: Annotated[int, typer.Option(metavar="I", help="Beginning with which, from 0.")] = 0,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Attack them in an order by --seed.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of all draws.")] = 0,
    shrink: Annotated[
        bool,
        typer.Option(
            "--shrink", help="Spend what is left of an image's budget on making what fooled it smaller, if it can be."
        ),
    ] = False,
    pool: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Begin with the genes of another run, or of its pool.safetensors alone.",
            show_default=False,
        ),
    ] = None,
    budget_total: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Most queries of all; what the quickly fooled leave goes to the hard ones, beyond --budget.",
            show_default=False,
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Send an image again that the same search has asked about before.")
    ] = False,
    confirm: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            help="Ask about what fools K times more; unless it does each time, go on (0; 1 if queries are metered).",
            show_default=False,
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
    """Fool a classifier with your images: change each a little, within a limit, in as few queries as can be.

    Writes DIR/report.html with originals, adversarial images, their differences and what each took; each image that
    fooled as the PNG that fooled; and the genes that were found. A run that is stopped or killed goes on with `evofool
    resume DIR`; `evofool compare` sets several side by side.
    """
    from ..studies.attack import given, planning, run

    be_quiet(quiet)
    new_directory(out)
    which, size = _limit(norm, {"eps": _radius(eps), "pixels": pixels, "patch": patch, "frame": frame})
    arguments = _arguments(set_ or [])
    if independent:
        if recipe != "genepool":
            raise UserError(f"--independent is said of genepool; {recipe} attacks each image by itself already")
        arguments["independent"] = True
    config = given.Config(
        classifier=classifier,
        data=data,
        norm=which,
        size=size,
        recipe=recipe,
        arguments=arguments,
        budget=budget,
        budget_total=budget_total,
        first=first,
        images=images,
        shuffle=shuffle,
        target=target,
        k=top_k,
        seed=seed,
        shrink=shrink,
        pool=None if pool is None else str(pool.absolute()),
        confirm=confirm,
        cache=not no_cache,
        data_dir=data_dir,
        options=classifier_settings(with_, device, trust_code, concurrency),
    )
    common.begin(
        config, planning.plan, run.head, conduct, out, announcement=_announcement, command=_command, workers=workers,
        dry_run=dry_run, quiet=quiet, as_json=as_json,
    )  # fmt: skip


def conduct(plan: Plan, directory: RunDirectory, out: Path, **given: Any) -> None:
    """Run what is left, write everything, say what came out; see `common.conduct`."""
    from ..reports import attack as report
    from ..studies.attack import run

    common.conduct("attacking", run, report.write, report.sentences, plan, directory, out, more=_more, **given)


def rewrite(path: Path) -> Path:
    """Write the report of a finished run anew; its path."""
    from ..reports import attack as report
    from ..studies.attack.results import load

    return report.write(load(path / "study.json"), path)


def _limit(norm: str | None, sizes: dict[str, float | int | None]) -> tuple[str, float | None]:
    """The norm and its size, of which one option says as much as is needed."""
    said = {name: value for name, value in sizes.items() if value is not None}
    if len(said) > 1:
        raise UserError(f"{' and '.join(f'--{name}' for name in said)}: each is a limit of its own; give one of them")
    if not said:
        wanted = f"--{_SIZES[norm]}" if norm in _SIZES else "--eps 0.03, or --pixels 10"
        raise UserError(f"how much may change? give {wanted}")
    ((name, value),) = said.items()
    if norm is None:
        norm = {"eps": "linf", "pixels": "l0"}.get(name, name)
    if norm in _SIZES and _SIZES[norm] != name:
        raise UserError(f"--norm {norm} is limited by --{_SIZES[norm]}, not by --{name}; give one of the two alone")
    return norm, value


def _radius(text: str | None) -> float | None:
    """What --eps says: a number, or one number over another."""
    if text is None:
        return None
    over, slash, under = text.partition("/")
    try:
        return float(over) / (float(under) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise UserError(f"--eps {text}: expected a number, such as 0.03 or 8/255") from None


def _arguments(items: list[str]) -> dict[str, Any]:
    """What --set says of a recipe: JSON values, or words."""
    found: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not value:
            raise UserError(f"--set {item}: expected NAME=VALUE, such as lag=4; see `evofool show recipe`")
        if name in found:
            raise UserError(f"--set {name} is given twice; give it once")
        try:
            found[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            found[name.replace("-", "_")] = value
    return found


def _announcement(plan: Plan) -> str:
    config, setting, info = plan.config, plan.setting, plan.setting.info
    count = plan.evaluations
    words = (
        f"{count:,} image{'s' * (count != 1)} on {info.name} within {setting.threat.described()}, by {config.recipe}: "
        f"at most {plan.queries:,} queries{common.price(config, plan.queries)}"
    )
    if config.size is not None and setting.threat.norm == "linf":
        words += f" (eps is read as {setting.threat.described().removeprefix('L-inf ')} = {setting.threat.size:.4f})"
    if plan.chosen.brought:
        words += f"\n{plan.chosen.brought}"
    if not plan.chosen.labelled:
        words += "\nthe images have no labels: what the classifier sees in them as they are counts as their class"
    return words


def _command(config: Config) -> str:
    """What repeats it; where it is written to and with how many processes makes no difference."""
    words = ["evofool", "attack", "--classifier", config.given or config.classifier, "--data", config.data]
    words += ["--norm", config.norm, f"--{_SIZES[config.norm]}"]
    assert config.size is not None
    words += [repr(config.size) if config.norm in ("linf", "l2") else str(int(config.size))]
    words += ["--budget", str(config.budget), "--recipe", config.recipe, "--seed", str(config.seed)]
    metered = any(source.metered for source in config.sources.values())
    values = {
        "--target": config.target,
        "--top-k": config.k if config.k > 1 else None,
        "--images": config.images,
        "--first": config.first or None,
        "--budget-total": config.budget_total,
        "--pool": config.pool,
        "--confirm": config.confirm if config.confirm or metered else None,
        "--data-dir": config.data_dir,
    }
    words += [word for name, value in values.items() if value is not None for word in (name, str(value))]
    words += ["--shuffle"] * config.shuffle + ["--shrink"] * config.shrink + ["--no-cache"] * (not config.cache)
    for name, value in config.arguments.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return common.repeated(words, config.options)


def _more(results: Results) -> dict[str, Any]:
    """What there is to say in JSON besides."""
    outcomes = [image.outcome for image in results.images]
    return {
        **{outcome: outcomes.count(outcome) for outcome in ("fooled", "failed", "skipped", "unanswered")},
        "budget": results.budget,
        "images": [
            {"name": image.name, "outcome": image.outcome, "queries": image.queries, "file": image.adversarial}
            for image in results.images
        ],
    }
