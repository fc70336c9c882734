"""keras:FILE.keras or .h5: a Keras 3 model, run on PyTorch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contracts import Classifier, Dataset, ScoreKind
from ..errors import ClassifierError
from ..rng import untouched
from .support.local import LocalClassifier, describe, file_digest, library
from .support.prepare import Prepare
from .support.settings import Settings
from .support.signature import Signature

if TYPE_CHECKING:
    from ..shapes import Tensor

_KINDS: dict[str, ScoreKind] = {
    "softmax": "probabilities",
    "sigmoid": "probabilities",
    "linear": "logits",
    "log_softmax": "logits",
}


def load(spec: str, settings: Settings, data: Dataset | None = None) -> Classifier:
    """Load a Keras file in safe mode: one that holds code is refused.

    The last layer tells whether its scores are probabilities. A model that begins with a Rescaling from bytes is given
    bytes: white is 255.

    Raises:
        ClassifierError: it is not a Keras file, holds code or classes that Keras does not know, or Keras runs on
            something else than PyTorch in this process.
    """
    path = Path(spec).expanduser()
    fingerprint = file_digest(path)
    with untouched():  # Keras draws seeds from the global generators while it is imported and while it loads
        return adopt(_read(_keras(), path, _device(settings)), path.stem, fingerprint, settings, data)


def adopt(model: Any, name: str, fingerprint: str, settings: Settings, data: Dataset | None) -> Classifier:
    """A Keras model behind the contract.

    Raises:
        ClassifierError: it takes or gives something else than one batch.
    """
    import torch

    keras, device = _keras(), _device(settings)
    taken, given = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(taken) != 1 or len(given) != 1:
        raise ClassifierError(f"{name} has {len(taken)} inputs and {len(given)} outputs; expected one of each")
    signature = Signature.of(taken[0].shape, str(taken[0].dtype), settings, name, usual="NHWC")

    def run(images: Tensor) -> Any:
        with keras.device(device), torch.inference_mode():
            return model(signature(images), training=False)

    _lay_out(model)
    native = signature.native(name, fingerprint, kind=_kind(model))
    if _takes_bytes(model):
        native = native._replace(prepare=Prepare(white=255.0))
    info, prepare, order = describe(native, run, settings, data)
    return LocalClassifier(replace(info, device=device, dtype=signature.numbers), run, prepare=prepare, order=order)


def _keras() -> Any:
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    keras = library("keras", "keras", "a Keras file")
    if keras.config.backend() != "torch":
        raise ClassifierError(
            f"Keras was imported with {keras.config.backend()} in this process, expected torch: set "
            f"KERAS_BACKEND=torch before it is imported"
        )
    return keras


def _device(settings: Settings) -> str:
    from .torch import device_of

    return device_of(settings.device)


def _read(keras: Any, path: Path, device: str) -> Any:
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ClassifierError(f"{path}: Keras goes by the name of a file; expected one that ends in .keras or .h5")
    try:
        with keras.device(device):
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        words = " ".join(str(error).split()).rpartition("Exception encountered: ")[2]  # the innermost
        if "lambda" in words.lower() or "unsafe" in words.lower():
            raise ClassifierError(
                f"{path} holds Python code, such as a Lambda layer, and is not loaded; build the model in Python and "
                f"give it as package.module:name"
            ) from None
        raise ClassifierError(
            f"{path} cannot be loaded by Keras {keras.__version__}: {type(error).__name__}: {words[:200]}"
        ) from None


def _lay_out(model: Any) -> None:
    """Store matrices column by column: PyTorch then multiplies each row of a batch alike, wherever in it it stands.

    Row by row, as Keras stores them, the order of summation was seen to depend on the place of an image in its batch.
    """
    for variable in model.weights:
        if len(variable.shape) == 2:
            variable.value.data = variable.value.data.T.contiguous().T


def _layers(model: Any) -> Iterator[Any]:
    """The layers in their order, those of models inside included."""
    for layer in model.layers:
        yield from _layers(layer) if hasattr(layer, "layers") else (layer,)


def _kind(model: Any) -> ScoreKind | None:
    """What the last layer says that its outputs are."""
    *_, last = _layers(model)
    activation = "softmax" if type(last).__name__ == "Softmax" else last.get_config().get("activation")
    return _KINDS.get(activation) if isinstance(activation, str) else None


def _takes_bytes(model: Any) -> bool:
    """Whether the first thing that happens to images is a division by 255, or by half of it."""
    scales = [layer.scale for layer in _layers(model) if type(layer).__name__ == "Rescaling"]
    return bool(scales) and isinstance(scales[0], int | float) and 1 / 256 <= scales[0] <= 1 / 127
