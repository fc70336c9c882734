"""`evofool study`: whole experiments."""

from __future__ import annotations

import typer

from . import ink, operators

app = typer.Typer(help="Run a whole experiment and write its report.", no_args_is_help=True)
app.command()(operators.operators)
app.command()(ink.ink)
