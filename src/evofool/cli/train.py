"""`evofool train`."""

from __future__ import annotations

import re
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
        str,
        typer.Option(
            "--architecture",
            "--arch",
            metavar="NAME",
            help="A small CNN (see `evofool list architectures`), or a library's network to train further: timm:NAME, "
            "torchvision:NAME.",
        ),
    ] = "small_cnn",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="An argument of a small CNN, such as width=32 or padding=reflect; see `evofool list architectures`. "
            "Repeatable.",
            show_default=False,
        ),
    ] = None,
    gray: Annotated[bool, typer.Option("--gray", help="Turn colour images into gray ones.")] = False,
    binary: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Tell this class from all others, such as cat from not_cat, by a single sigmoid output: the "
            "probability of the class that comes second in the alphabet.",
            show_default=False,
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Resize the images to N x N pixels (or HxW), and let a library's network see them so. Without it they "
            "stay as they are, and such a network sees them resized to what it was made for.",
            show_default=False,
        ),
    ] = None,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Train only the new last layer of a library's network.")
    ] = False,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Begin with random weights even where trained ones can be had.")
    ] = False,
    balance: Annotated[
        bool | None,
        typer.Option(
            "--balance/--no-balance",
            help="Let each class count the same, however many images it has (with --binary it does).",
            show_default=False,
        ),
    ] = None,
    adversarial: Annotated[
        str | None,
        typer.Option(
            metavar="linf:EPS",
            help="Train on images under attack by projected gradient descent (Madry et al. 2018), such as linf:0.3.",
            show_default=False,
        ),
    ] = None,
    adversarial_steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps of that attack (7).", show_default=False)
    ] = None,
    adversarial_step_size: Annotated[
        float | None, typer.Option(metavar="SIZE", help="Length of each step (2.5 EPS / N).", show_default=False)
    ] = None,
    target_accuracy: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Stop as soon as held-out training images reach it, such as 0.95; without it, the best effort.",
            show_default=False,
        ),
    ] = None,
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror",
            help="A best effort learns from mirrored and shifted images, not from turned ones: for photographs.",
        ),
    ] = False,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="At most this many passes over the images.", show_default=False)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Images in one step (64).", show_default=False)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(metavar="RATE", help="The largest one.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Decides the first weights and the order of the images.")] = 0,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="For tables; the directory's name if left out.", show_default=False),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a classifier and save it with its card: a small CNN, or a library's network.

    The images that a study evolves are never trained on: stopping is decided on held-out training images.
    """
    new_directory(out)
    size = _size(image_size)
    arguments = _arguments(set_ or [])
    if adversarial is None and (adversarial_steps is not None or adversarial_step_size is not None):
        raise UserError("steps of an attack, but none to train against; give --adversarial linf:0.3 too")
    from .. import adversarial as attacks
    from .. import finetune, training
    from ..data import load_data
    from ..executors.local import one_thread
    from ..progress import progress

    attack = attacks.parse(adversarial, adversarial_steps, adversarial_step_size) if adversarial else None
    reading: dict[str, Any] = {"data_dir": Path(data_dir) if data_dir else None, "size": size}
    reading |= {"channels": 1} if gray else {}
    with progress("reading", None, quiet=quiet) as meter:
        images = load_data(data, split="train", progress=download_meter(meter), **reading)
        test = load_data(data, split="test", progress=download_meter(meter), **reading)
    if images.fingerprint == test.fingerprint:
        raise UserError(
            f"{data} has no test images apart from those to train on; expected folders train/ and test/ (or such "
            f"arrays): set some images aside, or the accuracy and every study on them would say nothing"
        )
    if binary is not None:
        images, test = (finetune.one_against_rest(each, binary) for each in (images, test))
    balanced = binary is not None if balance is None else balance
    settings: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
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
            arguments=arguments,
            target_accuracy=target_accuracy,
            seed=seed,
            single=binary is not None,
            balanced=balanced,
            trained=not from_scratch,
            freeze=freeze,
            input_size=size,
            adversarial=attack,
            mirror=mirror,
            progress=on_progress,
            warn=lambda text: say(f"evofool: {text}"),
            **{key: value for key, value in settings.items() if value is not None},
        )
    options: dict[str, Any] = {
        "data": data,
        "architecture": architecture,
        "gray": gray,
        "binary": binary,
        "image-size": image_size,
        "freeze": freeze,
        "from-scratch": from_scratch,
        "balance" if balance else "no-balance": balance is not None,
        "adversarial": adversarial,
        "adversarial-steps": adversarial_steps,
        "adversarial-step-size": adversarial_step_size,
        "mirror": mirror,
        "seed": seed,
        "target-accuracy": target_accuracy,
        "epochs": epochs,
        "batch-size": batch_size,
        "learning-rate": learning_rate,
    }
    name = name or out.resolve().name
    own = [word for key, value in arguments.items() for word in ("--set", f"{key}={value}")]
    words = ["evofool", "train", *_said(options), *own, "-o", name]
    with one_thread(), progress("measuring the fastest layout", None, quiet=quiet):
        card = training.save(trained, images, out, name, test, command=shlex.join(words))
    if not trained.reached:
        say(
            f"evofool: the target of {target_accuracy:.1%} was not reached: {trained.held_out_accuracy:.1%} of "
            f"held-out images right after {trained.epochs} epochs; give more --epochs or another --architecture",
        )
    more = "" if card.balanced_accuracy is None else f", {card.balanced_accuracy:.2%} in the mean of the classes"
    if card.adversarial is not None and card.adversarial.accuracy is not None:
        more += f", {card.adversarial.accuracy:.2%} in spite of the attack"
    say(f"{out}: {card.accuracy:.2%} of {len(test):,} test images right{more}", quiet=quiet)
    if as_json:
        typer.echo(card.model_dump_json())


def _size(text: str | None) -> tuple[int, int] | None:
    """Height and width of "96" or "96x128"."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not found:
        raise UserError(f"--image-size {text}: expected a number of pixels such as 96, or height x width: 96x128")
    return int(found[1]), int(found[2] or found[1])


def _arguments(items: list[str]) -> dict[str, int | str]:
    """What --set says of an architecture."""
    found: dict[str, int | str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not value:
            raise UserError(f"--set {item}: expected NAME=VALUE, such as width=32 or padding=reflect")
        if name in found:
            raise UserError(f"--set {name} is given twice; give it once")
        found[name] = int(value) if value.isascii() and value.isdigit() else value
    return found


def _said(options: dict[str, Any]) -> list[str]:
    """Options as words of a command line, without those that are not given."""
    words: list[str] = []
    for name, value in options.items():
        if value is not None and value is not False:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words
