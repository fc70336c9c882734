"""`evofool list`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UserError, nearest
from .common import printable

_KINDS = (
    "operators",
    "scenarios",
    "parts",
    "classifiers",
    "classifier-settings",
    "architectures",
    "data",
    "settings",
    "presets",
    "crossovers",
    "ink-parts",
    "recipes",
    "runs",
)


def list_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(_KINDS)}.", show_default=False)],
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where to look for runs.", show_default=False)
    ] = Path("runs"),
) -> None:
    """List what there is, with a line about each."""
    if kind not in _KINDS:
        raise UserError(f"unknown kind '{kind}'{nearest(kind, _KINDS)}")
    if kind == "runs" and not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the one that holds your runs")
    rows = _runs(folder) if kind == "runs" else _listed(kind)
    width = max(34, max((len(name) for name, _ in rows), default=0))
    for name, about in rows:
        typer.echo(f"{name:<{width}} {about}".rstrip())


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
        return _classifiers()
    if kind == "classifier-settings":
        from ..classifiers.support.settings import described

        return list(described().items())
    if kind == "architectures":
        from .. import networks

        own = [(name, _first_line(function)) for name, function in networks.architectures().items()]
        return [
            *own,
            ("timm:NAME", "any classifier of the timm library, to train further: its weights, a new last layer"),
            ("torchvision:NAME", "any of torchvision's with a dense last layer, likewise"),
        ]
    if kind == "operators":
        import importlib

        from .. import spec

        rows = []
        for family in ("selection", "crossover", "mutation", "survival"):
            module = importlib.import_module(f"evofool.operators.{family}")
            rows += [(f"{family}.{name}", _first_line(getattr(module, name))) for name in spec.operator_names(family)]
        return rows
    if kind == "recipes":
        return _recipes()
    if kind in ("presets", "crossovers", "ink-parts"):
        from ..studies.draw import drawing
        from ..studies.ink.arms import PARTS

        if kind == "crossovers":
            from ..operators import crossover

            named = {
                name: getattr(crossover, crossing.path.partition(".")[2])
                for name, crossing in drawing.CROSSOVERS.items()
            }
            return [(name, _first_line(function)) for name, function in named.items()]
        return list(drawing.PRESETS.items()) if kind == "presets" else [(part, about) for part, about in PARTS.items()]
    from ..studies.operators import scenarios as arms

    if kind == "parts":
        return list(arms.PARTS.items())
    if kind == "settings":
        return list(arms.SETTINGS.items())
    base = arms.base()
    plain = [*arms.scenarios(base), arms.elitism(base), *arms.controls(base)]
    return [(s.arm.name, s.arm.about or arms.summary(s)) for s in plain]


def _classifiers() -> list[tuple[str, str]]:
    """Those of this package, and what can stand in front of the name of another."""
    from ..classifiers import SHIPPED, adapters, shipped

    cards = {name: json.loads((SHIPPED / name / "card.json").read_text()) for name in shipped()}
    ours = [
        (name, f"{card['architecture']}, trained on {card['data']}: {card['accuracy']:.1%} of the test images right")
        for name, card in cards.items()
    ]
    files = [
        ("DIR/", "one of your own, as `evofool train -o DIR` writes it"),
        ("FILE.toml", 'any of these with its settings: spec = "https://host/path" and more'),
    ]
    kinds = [(form, about) for form, _, about in (line.partition(": ") for line in adapters().values())]
    return [*ours, *files, *kinds]


def _recipes() -> list[tuple[str, str]]:
    """Attacks, with what each works within, needs and aims at."""
    from ..recipes import recipes
    from .show import aims

    return [
        (name, f"{each.about} [{', '.join(each.norms)}; {each.needs}; {aims(each)}]")
        for name, each in recipes().items()
    ]


def _runs(folder: Path) -> list[tuple[str, str]]:
    """The runs in a folder, and what has become of each."""
    heads = [folder / "run.json", *sorted(folder.glob("*/run.json"))]
    return [(printable(str(head.parent)), printable(_state(head.parent))) for head in heads if head.is_file()]


def _state(path: Path) -> str:
    from .. import locks, rundir
    from ..errors import EvofoolError
    from ..store import Store

    running = locks.is_owned(path)
    try:
        kind = rundir.read_run(path)["kind"]
        if not (path / "ledger.sqlite").is_file() and not rundir.closed(path):
            return f"{kind}, {'running' if running else 'unfinished: evofool resume'}; nothing asked yet"
        store = Store(path / "ledger.sqlite", read_only=True)
        try:
            issued = sum(count["issued"] for count in store.counts().values())
        finally:
            store.abandon()
        found = len(rundir.findings(path))
    except EvofoolError as error:
        return f"damaged: {error}"
    state = "running" if running else "finished" if rundir.finished(path) else "unfinished: evofool resume"
    return (
        f"{kind}, {state}; {issued:,} quer{'y' if issued == 1 else 'ies'} in all, {found} finding{'s' * (found != 1)}"
    )
