"""`evofool train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UserError
from .common import Data, DataDir, Json, Out, Quiet, download_meter, new_directory, say


def train(
    out: Out,
    data: Data = "mnist",
    data_dir: DataDir = None,
    architecture: Annotated[
        str, typer.Option(metavar="NAME", help="A small CNN; see `evofool list architectures`.")
    ] = "small_cnn",
    target_accuracy: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Stop as soon as held-out training images reach it, such as 0.95; without it, the best effort.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="At most this many passes over the images.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Decides the first weights and the order of the images.")] = 0,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="For tables; the directory's name if left out.", show_default=False),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a small CNN and save it with its card.

    The images that a study evolves are never trained on: stopping is decided on held-out training images.
    """
    new_directory(out)
    from .. import training
    from ..data import load_data
    from ..executors.local import one_thread
    from ..progress import progress

    folder = Path(data_dir) if data_dir else None
    with progress("reading", None, quiet=quiet) as meter:
        images = load_data(data, split="train", data_dir=folder, progress=download_meter(meter))
        test = load_data(data, split="test", data_dir=folder, progress=download_meter(meter))
    if images.fingerprint == test.fingerprint:
        raise UserError(
            f"{data} has no test images apart from those to train on; expected folders train/ and test/ (or such "
            f"arrays): set some images aside, or the accuracy and every study on them would say nothing"
        )
    settings: dict[str, Any] = {"epochs": epochs} if epochs is not None else {}
    with one_thread(), progress("training", 1.0, quiet=quiet) as meter:
        seen = 0.0

        def on_progress(at: training.Progress) -> None:
            nonlocal seen
            meter.advance(at.step / at.steps - seen)
            seen = at.step / at.steps
            meter.note(f"{at.held_out_accuracy:.1%} of held-out images right")

        trained = training.train(
            images,
            architecture=architecture,
            target_accuracy=target_accuracy,
            seed=seed,
            progress=on_progress,
            **settings,
        )
    words = ["evofool", "train", "--data", data, "--architecture", architecture, "--seed", str(seed)]
    words += ["--target-accuracy", str(target_accuracy)] if target_accuracy is not None else []
    words += ["--epochs", str(epochs)] if epochs is not None else []
    name = name or out.resolve().name
    with one_thread(), progress("measuring the fastest layout", None, quiet=quiet):
        card = training.save(trained, images, out, name, test, command=shlex.join([*words, "-o", name]))
    if not trained.reached:
        say(
            f"evofool: the target of {target_accuracy:.1%} was not reached: {trained.held_out_accuracy:.1%} of "
            f"held-out images right after {trained.epochs} epochs; give more --epochs or another --architecture",
        )
    say(f"{out}: {card.accuracy:.2%} of {len(test):,} test images right", quiet=quiet)
    if as_json:
        typer.echo(card.model_dump_json())
