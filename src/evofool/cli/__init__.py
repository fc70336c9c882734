"""The command line: verbs over the same dataclasses that the library offers. No default of a method lives here."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from . import attack, compare, doctor, draw, listing, runs, show, study, train
from .common import Program, heed_signals, show_warnings

app = typer.Typer(
    cls=Program,
    help="Evolve images that fool image classifiers, seeing only what the classifier answers.",
    epilog="Start with: evofool study operators --data digits --seeds 3 -o runs/first/",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(study.app, name="study")
app.command()(attack.attack)
app.command()(draw.draw)
app.command()(train.train)
app.command()(doctor.doctor)
app.command()(runs.resume)
app.command()(runs.verify)
app.command()(runs.replay)
app.command()(runs.export)
app.command()(runs.report)
app.command()(compare.compare)
app.command("list")(listing.list_)
app.add_typer(show.app, name="show")


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


def main() -> None:
    """Run the program. EVOFOOL_DEBUG=1 shows the tracebacks of expected errors, too."""
    heed_signals()
    show_warnings()
    app()
