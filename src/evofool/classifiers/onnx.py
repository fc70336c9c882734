"""onnx:FILE: a graph in ONNX, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..contracts import Classifier, Dataset
from ..errors import ClassifierError
from ..shapes import Tensor
from .support.local import LocalClassifier, describe, digest, file_digest, library
from .support.protobuf import external_files
from .support.settings import Settings
from .support.signature import Signature

_NUMBERS = {"float": "float32", "double": "float64"}  # as onnxruntime calls them, and everybody else
_SILENT = 4


def load(spec: str, settings: Settings, data: Dataset | None = None) -> Classifier:
    """Load an ONNX file.

    Input, layout, type and a fixed batch are read from the graph. Of several outputs that one is taken which has a row
    of numbers for each image. One thread, so that its answers are the same on any machine of a kind.

    Raises:
        ClassifierError: it is not an ONNX file, takes weights from outside its folder, or is no image classifier.
    """
    runtime = library("onnxruntime", "onnx", "an ONNX file")
    path = Path(spec).expanduser()
    weights = [file_digest(part) for part in (path, *external_files(path))]
    session = _session(runtime, path, settings.device)
    given = session.get_inputs()
    if len(given) != 1:
        names = ", ".join(each.name for each in given)
        raise ClassifierError(f"{path} takes {len(given)} inputs ({names}); expected one, the images")
    numbers = _type(given[0])
    signature = Signature.of(given[0].shape, _NUMBERS.get(numbers, numbers), settings, str(path))
    wanted = [_output(session.get_outputs(), settings, data, path)]

    def run(images: Tensor) -> Any:
        return session.run(wanted, {given[0].name: signature(images).numpy()})[0]

    native = signature.native(path.stem, digest(*weights))
    info, prepare, order = describe(native, run, settings, data)
    device = "cpu" if session.get_providers()[0].startswith("CPU") else settings.device.replace("auto", "cuda")
    return LocalClassifier(replace(info, device=device, dtype=signature.numbers), run, prepare=prepare, order=order)


def _session(runtime: Any, path: Path, device: str) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = _SILENT  # what goes wrong is raised as well
    options.add_session_config_entry("session.load_model_format", "ONNX")
    kind, _, number = device.partition(":")
    there = "CUDAExecutionProvider" in runtime.get_available_providers()
    provider: Any = "CPUExecutionProvider"
    if there and kind in ("cuda", "auto"):
        provider = ("CUDAExecutionProvider", {"device_id": int(number or 0)})
    try:
        session = runtime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:
        words = " ".join(str(error).split()).removeprefix("[ONNXRuntimeError] : ")[:200]
        raise ClassifierError(f"{path} cannot be loaded by onnxruntime {runtime.__version__}: {words}") from None
    if kind not in ("cpu", "auto") and not session.get_providers()[0].lower().startswith(kind):
        raise ClassifierError(f"{path}: this onnxruntime does not compute on {device}; give cpu, or onnxruntime-gpu")
    return session


def _type(value: Any) -> str:
    """The name of its numbers; "" for what is no tensor, such as a sequence of maps."""
    text: str = value.type
    return text.removeprefix("tensor(").removesuffix(")") if text.startswith("tensor(") else ""


def _output(outputs: Sequence[Any], settings: Settings, data: Dataset | None, path: Path) -> str:
    """The name of the output with the scores."""
    rows = [each for each in outputs if _type(each) in ("float", "double", "float16") and len(each.shape) in (0, 2)]
    names = settings.class_names or (data.class_names if data is not None else None)
    if len(rows) > 1 and names:
        rows = [each for each in rows if each.shape[-1:] == [len(names)]] or rows
    if not rows and len(outputs) == 1 and _type(outputs[0]):
        rows = list(outputs)
    if len(rows) == 1:
        name: str = rows[0].name
        return name
    found = ", ".join(f"{each.name}: {each.type} {each.shape}" for each in outputs)[:200]
    if rows:
        raise ClassifierError(f"{path} has several outputs that could be scores ({found}); export it with one of them")
    zipmap = any("map(" in each.type for each in outputs)
    raise ClassifierError(
        f"{path} has no output with a row of numbers for each image ({found}); "
        + ("export it without ZipMap (zipmap=False)" if zipmap else "expected scores [N, K]")
    )
