"""`evofool doctor`."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError
from .common import (
    Concurrency,
    Data,
    DataDir,
    Device,
    Json,
    Quiet,
    TrustCode,
    With,
    classifier_settings,
    download_meter,
    printable,
)

if TYPE_CHECKING:
    from ..doctor import Agreement, Diagnosis, Reaction

_NARROWEST, _WIDEST = 40, 80  # columns
_LABEL = 18  # columns of the left side
_NAMES = 12  # classes that are named
_USUAL_BUDGET = 10_000


def doctor(
    classifier: Annotated[
        str,
        typer.Option(
            "--classifier",
            metavar="SPEC",
            help="What is examined: a shipped name, a directory with a card, onnx:FILE, https://HOST/PATH and more; "
            "see `evofool list classifiers`.",
            show_default=False,
        ),
    ],
    data: Data = "mnist",
    data_dir: DataDir = None,
    with_: With = None,
    device: Device = None,
    concurrency: Concurrency = None,
    trust_code: TrustCode = False,
    budget: Annotated[
        int | None,
        typer.Option(metavar="N", help="Forecast time and cost for so many queries (10,000).", show_default=False),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Ask at most so many (32 of a metered target, 1,000 of a local model).",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Ask a classifier a few questions, and tell what to mind before it is attacked.

    Shapes; range, kind and resolution of the scores; whether it repeats itself, and whether the other images of a call
    matter to it; accuracy with its interval; speed, and a forecast. What it finds is no error: the exit code is 0.
    """
    from ..classifiers import load_classifier
    from ..classifiers.support.settings import settings
    from ..data import load_test_images
    from ..doctor import LIMIT_LOCAL, LIMIT_METERED, examine, to_json
    from ..executors.local import one_thread
    from ..progress import progress

    if budget is not None and budget < 1:
        raise UserError(f"--budget {budget}: expected at least 1")
    said = settings(classifier, classifier_settings(with_, device, trust_code, concurrency))
    with progress("reading", None, quiet=quiet) as meter:
        images = load_test_images(data, data_dir=data_dir, image_shape=said.image_shape, progress=download_meter(meter))
    with one_thread():
        loaded = load_classifier(said, data=images)
        limit = queries or (LIMIT_METERED if loaded.info.metered else LIMIT_LOCAL)
        with progress("asking", limit, quiet=quiet) as meter:
            forecast_for = _USUAL_BUDGET if budget is None else budget
            diagnosis = examine(loaded, images, queries=queries, budget=forecast_for, on_tick=meter.advance)
            meter.advance(max(0, limit - diagnosis.asked))
    if as_json:
        typer.echo(json.dumps(to_json(diagnosis)))
    elif not quiet:
        _show(diagnosis)


def _show(diagnosis: Diagnosis) -> None:
    """The page, with bold heads on a terminal."""
    for text, head in page(diagnosis, max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size().columns))):
        typer.secho(printable(text), bold=head or None)


def page(d: Diagnosis, width: int) -> Iterator[tuple[str, bool]]:
    """The lines of the page, each with whether it is a head.

    Args:
        d: what was found.
        width: columns; no line is longer, except for a word that is.
    """
    yield f"{d.name} on {d.data}", True
    for label, text in _facts(d):
        yield from _wrapped(f"  {label:<{_LABEL}}", text, " " * (_LABEL + 2), width)
    yield "", False
    yield "What to mind", True
    if not d.findings:
        yield from _wrapped("  ", "Nothing: it answers as a search needs it.", "  ", width)
    for number, finding in enumerate(d.findings):
        if number:
            yield "", False
        yield from _wrapped("  ", f"{finding.flag}: {finding.seen}", "  ", width)
        yield from _wrapped("    > ", finding.remedy, "      ", width)
    if d.forecast:
        yield "", False
        yield "Forecast", True
        yield from _wrapped("  ", _forecast(d), "  ", width)


def _wrapped(first: str, text: str, later: str, width: int) -> Iterator[tuple[str, bool]]:
    lines = textwrap.wrap(
        printable(text),
        width,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in lines or [first.rstrip()]:
        yield line, False


def _facts(d: Diagnosis) -> Iterator[tuple[str, str]]:
    from ..doctor import Flag

    channels, height, width = d.image_shape
    inside = f"; {d.preparation} inside" if d.preparation else ""
    yield "images", f"{channels} x {height} x {width}{inside}"
    names = ", ".join(d.class_names[:_NAMES]) + (", ..." if len(d.class_names) > _NAMES else "")
    yield "classes", f"{len(d.class_names)}: {names}"
    if d.matched == "place" and d.data_classes != d.class_names:
        theirs = ", ".join(d.data_classes[:_NAMES]) + (", ..." if len(d.data_classes) > _NAMES else "")
        yield "", f"the data call them {theirs}; taken in this order"
    if d.metered:
        yield "computes", f"elsewhere; {d.concurrency} request{'s' * (d.concurrency != 1)} at a time"
    else:
        yield "computes", f"{d.device}, {d.dtype}, {d.micro_batch} images in a call"
    yield "queries", f"{d.asked:,} of at most {d.limit:,}" + (f", {d.failed:,} without an answer" * bool(d.failed))
    if d.accuracy:
        of = d.accuracy
        declared = f"; its card says {d.declared_accuracy:.1%}" if d.declared_accuracy is not None else ""
        interval = f"({of.low:.1%} to {of.high:.1%})"
        yield "accuracy", f"{of.k:,} of {of.n:,}: {of.k / of.n:.1%} {interval}; {d.chance:.1%} by chance{declared}"
    if d.scores:
        yield "scores", f"{d.kind}, {d.scores.low:.4g} to {d.scores.high:.4g}"
        if d.kind != "logits" or Flag.KIND_CONTRADICTED in d.flags:
            yield "sum of a row", _span(d.scores.sum_low, d.scores.sum_high)
        yield "resolution", _resolution(d)
        yield "asked again", _agreement(d.repeat, "not told: no image was answered twice")
        alone = "makes no difference: one image in a call" if d.micro_batch == 1 else "not told: too few images"
        yield "other neighbours", _agreement(d.company, alone)
        for label, reaction in (("small noise", d.small), ("strong noise", d.strong)):
            if reaction:
                beyond = ", beyond what a repetition changes" if d.repeat and d.repeat.largest else ""
                yield label, _reaction(reaction) + beyond
    for number, speed in enumerate(d.speeds):
        each = f" = {_seconds(speed.seconds / speed.rows)} an image" if speed.rows > 1 else ""
        slowest = f" (slowest of {speed.calls}: {_seconds(speed.slowest)})" if d.metered else ""
        images = f"{speed.rows} image{'s' * (speed.rows != 1)}"
        yield "" if number else "time of a call", f"{images}: {_seconds(speed.seconds)}{each}{slowest}"


def _span(low: float, high: float) -> str:
    return f"{low:.4g}" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.4g} to {high:.4g}"


def _resolution(d: Diagnosis) -> str:
    scores = d.scores
    assert scores is not None
    if scores.one_hot:
        return "labels only"
    if not scores.values:
        return "0 and 1 only"
    rounded = f"{scores.decimals} decimals; " if scores.decimals is not None else ""
    step = f", {scores.step:.2g} apart or more" if scores.step is not None else ""
    return f"{rounded}{scores.distinct:,} of {scores.values:,} scores differ (0 and 1 left out){step}"


def _agreement(found: Agreement | None, none: str) -> str:
    if found is None:
        return none
    if found.equal == found.images:
        return f"the same bits for {found.images} of {found.images} images"
    relabelled = f", another first choice for {found.relabelled}" * bool(found.relabelled)
    return f"the same bits for {found.equal} of {found.images} images; off by up to {found.largest:.2g}{relabelled}"


def _reaction(reaction: Reaction) -> str:
    return (
        f"up to {reaction.level}/255: other scores for {reaction.changed} of {reaction.images} images, another first "
        f"choice for {reaction.relabelled}"
    )


def _seconds(seconds: float) -> str:
    """A short time as a person says it."""
    from ..progress import duration

    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return (
        f"{seconds * 1e3:.2g} ms" if seconds < 0.0995 else f"{seconds:.2f} s" if seconds < 9.95 else duration(seconds)
    )


def _forecast(d: Diagnosis) -> str:
    from ..progress import duration

    assert d.forecast is not None
    seconds, cost = d.forecast.seconds, d.forecast.cost
    about = "less than 0.1 s" if seconds is not None and seconds < 0.1 else f"about {duration(seconds or 0)}"
    time = "how long they take was not measured" if seconds is None else f"{about} for the answers"
    price = f"; they cost {cost:,.2f}" if cost is not None else ""
    unknown = "; what they cost is not known (say so: --with cost=PRICE)" if cost is None and d.metered else ""
    return f"{d.forecast.queries:,} queries: {time}{price}{unknown}. What the search itself computes comes on top."
