"""`evofool show`: one thing in full."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError, nearest
from .common import printable

if TYPE_CHECKING:
    from ..recipes import Recipe

app = typer.Typer(help="Show one thing in full.", no_args_is_help=True)

# What an example allows, for each kind of limit.
_LIMITS = {
    "linf": "--norm linf --eps 0.3",
    "l2": "--norm l2 --eps 2.0",
    "l0": "--pixels 10",
    "patch": "--norm patch --patch 5",
    "frame": "--norm frame --frame 2",
}


@app.callback()
def _options() -> None:
    """A single verb below it stays a verb."""


@app.command()
def recipe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="See `evofool list recipes`.", show_default=False)],
) -> None:
    """Show a recipe: its paper, its numbers, where it differs, what it can be told."""
    from ..recipes import recipes

    known = recipes()
    if name not in known:
        raise UserError(f"recipe '{name}': unknown{nearest(name, known)}; see `evofool list recipes`")
    for line in told(known[name]):
        typer.echo(printable(line))


@app.command()
def pool(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Directory of an attack, or its pool.safetensors alone.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="PNG", help="Write a picture of its genes.", show_default=False),
    ] = None,
    most: Annotated[int, typer.Option(metavar="N", help="Genes to list, those first that fooled most often.")] = 15,
) -> None:
    """Show a pool of genes: what fooled earlier images, and how often it fooled later ones."""
    from .. import pool as pools
    from ..files import write_bytes
    from ..reports import genes

    if most < 1:
        raise UserError(f"--most {most}: expected at least 1")
    if out is not None and out.suffix.lower() != ".png":
        raise UserError(f"-o {out}: expected the name of a .png file")
    known = pools.load(file)
    about = known.about
    where = f" of {about['classifier']}, {about['norm']} {about['size']:g}" if "classifier" in about else ""
    typer.echo(printable(f"{len(known):,} genes from {known.images:,} images{where}"))
    rows = genes.genes(known)
    if rows:
        typer.echo("\n gene  from -> seen            fooled  of  found after")
    for gene in rows[:most]:
        found = f"{gene.queries} quer{'y' if gene.queries == 1 else 'ies'}" if gene.queries else "bred"
        pair = f"{gene.label} -> {gene.seen}"
        typer.echo(printable(f"{gene.number:5d}  {pair:<22} {gene.wins:6d} {gene.tries:4d}  {found}"))
    if out is not None:
        write_bytes(out, genes.drawn(known).png)
        typer.echo(f"\npicture: {out}")


def told(recipe: Recipe) -> Iterator[str]:
    """The lines about a recipe."""
    yield from recipe.text.splitlines()
    yield ""
    yield f"Limits: {', '.join(recipe.norms)}"
    yield f"Needs: {'labels are enough' if recipe.needs == 'labels' else 'scores'}"
    yield f"Aims: {aims(recipe)}"
    yield f"Paper: {recipe.paper}"
    yield ""
    yield "Arguments (--set NAME=VALUE):" if recipe.arguments else "It takes no arguments."
    width = max((len(argument) for argument in recipe.arguments), default=0)
    for argument, default in recipe.arguments.items():
        yield f"  {argument:<{width}}  {_value(default)}"
    yield ""
    yield "For example:"
    for norm in recipe.norms:
        yield f"  {example(recipe, norm)}"


def aims(recipe: Recipe) -> str:
    """What it can aim at, in words."""
    either = [words for can, words in ((recipe.untargeted, "untargeted"), (recipe.targeted, "targeted")) if can]
    return ", ".join(either) or "nothing"


def example(recipe: Recipe, norm: str) -> str:
    """A command that runs it within a limit of this kind."""
    target = "" if recipe.untargeted else " --target 3"
    words = f"evofool attack --recipe {shlex.quote(recipe.name)} --classifier mnist99 --data mnist"
    return f"{words} {_LIMITS[norm]}{target} -o runs/{recipe.name}/"


def _value(default: Any) -> str:
    return "as the recipe sets it for the limit and the budget" if default is None else str(default)
