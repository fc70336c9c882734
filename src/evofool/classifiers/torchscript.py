"""torchscript:FILE.pt: a program that torch.jit wrote; needs --trust-code."""

from __future__ import annotations

from pathlib import Path

from ..contracts import Classifier, Dataset
from ..errors import ClassifierError
from .support.local import Native, file_digest
from .support.settings import Settings


def load(spec: str, settings: Settings, data: Dataset | None = None) -> Classifier:
    """Load a scripted or traced module. It says nothing of its input: the user or the data does.

    Raises:
        ClassifierError: it is not such a file.
    """
    import torch

    from .torch import take_over

    path = Path(spec).expanduser()
    fingerprint = file_digest(path)
    try:
        module = torch.jit.load(path, map_location="cpu")
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        raise ClassifierError(f"{path}: is not a TorchScript file ({type(error).__name__}: {words})") from None
    # One that was traced with a fixed batch takes no other; who knows it says micro_batch.
    return take_over(module, Native(path.stem[:60], fingerprint, micro_batch=settings.micro_batch), settings, data)
