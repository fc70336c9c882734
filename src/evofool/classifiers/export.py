"""export:FILE.pt2: a program that torch.export wrote; needs --trust-code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..contracts import Classifier, Dataset
from ..errors import ClassifierError
from ..shapes import Tensor
from .support.local import LocalClassifier, describe, file_digest
from .support.settings import Settings
from .support.signature import Signature


def load(spec: str, settings: Settings, data: Dataset | None = None) -> Classifier:
    """Load an exported program; what was free and what was fixed in its input when it was exported is read from it.

    Whether it was exported in eval mode is its author's affair: the mode is part of the program.

    Raises:
        ClassifierError: it is not such a file, or takes something else than one batch of images.
    """
    import torch
    from torch.export.passes import move_to_device_pass

    from .torch import device_of, tune_allocator

    path = Path(spec).expanduser()
    fingerprint = file_digest(path)
    device = device_of(settings.device)
    program = _read(path)
    example = _input(program, path)
    if device != "cpu":
        program = move_to_device_pass(program, device)
    signature = Signature.of(example.shape, str(example.dtype).removeprefix("torch."), settings, str(path))
    module = program.module().requires_grad_(False)
    tune_allocator()

    def run(images: Tensor) -> Any:
        with torch.inference_mode():
            return module(signature(images).to(device))

    native = signature.native(path.stem, fingerprint)
    info, prepare, order = describe(native, run, settings, data)
    return LocalClassifier(replace(info, device=device, dtype=signature.numbers), run, prepare=prepare, order=order)


def _read(path: Path) -> Any:
    import torch

    try:
        return torch.export.load(path)
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        raise ClassifierError(f"{path}: is not a program of torch.export ({type(error).__name__}: {words})") from None


def _input(program: Any, path: Path) -> Any:
    """What stands in the program for the images: its shape has whole numbers where a length is fixed."""
    names = program.graph_signature.user_inputs
    if len(names) != 1 or len(program.graph_signature.user_outputs) != 1:
        outputs = len(program.graph_signature.user_outputs)
        raise ClassifierError(f"{path} has {len(names)} inputs and {outputs} outputs; expected one of each")
    return next(node.meta["val"] for node in program.graph.nodes if node.name == names[0])
