"""Real models in files, for the tests of the adapters: the weights of `digits` in many forms, and others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from evofool import networks
from evofool.classifiers import SHIPPED
from evofool.classifiers.support.card import read
from evofool.contracts import Dataset
from evofool.data import load_data
from evofool.rng import untouched

Spec = tuple[str, dict[str, Any]]  # of a classifier: where it is, and what else is said of it


@cache
def test_set() -> Dataset:
    """1,000 images that the weights of `digits` were not trained on."""
    return load_data("digits", split="test")


test_set.__test__ = False  # type: ignore[attr-defined]  # no test, whatever its name


def digits() -> nn.Module:
    """The shipped network, as PyTorch runs it."""
    return read(SHIPPED / "digits")[1].eval().requires_grad_(False)


def small_cnn() -> nn.Module:
    """Its architecture with other weights: what a factory of a user gives."""
    return networks.initialise(
        networks.build("small_cnn", {"in_channels": 1, "classes": 10, "size": (28, 28)}), torch.Generator()
    )


# ---- ONNX


def export_onnx(path: Path, *, external_data: bool = False) -> Path:
    """The digits network through PyTorch's exporter, with a free batch; its weights beside the file or inside."""
    with untouched(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            digits(),
            (torch.zeros(2, 1, 28, 28),),
            path,
            dynamo=True,
            external_data=external_data,
            dynamic_shapes=({0: torch.export.Dim("n", max=4096)},),
            input_names=["images"],
            output_names=["scores"],
            verbose=False,
        )
    return path


def wrapped(source: Path, path: Path, *, layout: str = "NCHW", numbers: int = 1, batch: int | None = None) -> Path:
    """An ONNX file of digits with another input before it: NHWC, bytes, or a fixed batch."""
    model = onnx.load(source)
    shape: list[Any] = [batch or "n", 1, 28, 28] if layout == "NCHW" else [batch or "n", 28, 28, 1]
    name, before = "given", []
    if layout == "NHWC":
        before.append(helper.make_node("Transpose", [name], ["turned"], perm=[0, 3, 1, 2]))
        name = "turned"
    if numbers != TensorProto.FLOAT:
        before.append(helper.make_node("Cast", [name], ["floats"], to=TensorProto.FLOAT))
        name = "floats"
    white = 255.0 if numbers == TensorProto.UINT8 else 1.0
    model.graph.initializer.append(numpy_helper.from_array(np.float32(white), "white"))
    before.append(helper.make_node("Div", [name, "white"], [model.graph.input[0].name]))
    nodes = [*before, *model.graph.node]
    del model.graph.input[:], model.graph.node[:]
    model.graph.input.append(helper.make_tensor_value_info("given", numbers, shape))
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def graph(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: Sequence[Any] = (),
) -> Path:
    """A small ONNX file by hand; inputs and outputs are (name, type, shape) or made already."""
    given, gives = (
        [value if not isinstance(value, tuple) else helper.make_tensor_value_info(*value) for value in values]
        for values in (inputs, outputs)
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(helper.make_graph(list(nodes), "g", given, gives, list(weights)), opset_imports=opsets)
    model.ir_version = 8
    onnx.save(model, path)
    return path


def pixels(path: Path, shape: Sequence[Any], numbers: int = 1, *, classes: int | str = "k") -> Path:
    """An ONNX file whose scores are the values that it was given."""
    nodes = [helper.make_node("Cast", ["x"], ["c"], to=1), helper.make_node("Flatten", ["c"], ["y"])]
    return graph(path, nodes, [("x", numbers, list(shape))], [("y", 1, [shape[0], classes])])


def linear_onnx(path: Path, weight: torch.Tensor, bias: torch.Tensor, *, sigmoid: bool = False) -> Path:
    """Flatten, multiply by a weight [D K], add a bias [K], and perhaps a sigmoid."""
    last = helper.make_node("Sigmoid" if sigmoid else "Identity", ["z"], ["y"])
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["z"]),
        last,
    ]
    weights = [numpy_helper.from_array(weight.float().numpy(), "w"), numpy_helper.from_array(bias.float().numpy(), "b")]
    return graph(path, nodes, [("x", 1, ["n", 1, 28, 28])], [("y", 1, ["n", weight.shape[1]])], weights)


def outside(path: Path, location: str, *, inside_of: str = "graph") -> Path:
    """An ONNX file that takes its weight, 40,000 floats, from somewhere else."""
    weight = TensorProto(name="w", data_type=1, dims=[400, 100], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", str(160_000))):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    weights = [weight]
    if inside_of == "node":
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
        weights = []
    return graph(path, nodes, [("x", 1, ["n", 1, 20, 20])], [("y", 1, ["n", 100])], weights)


def weights_400_by_100() -> np.ndarray:
    """What such a file may take."""
    return np.random.Generator(np.random.Philox(key=5)).standard_normal((400, 100), dtype=np.float32)


# ---- Keras


def keras() -> Any:
    """Keras on PyTorch; importing it moves no generator."""
    from evofool.classifiers.keras import _keras

    with untouched():
        return _keras()


def keras_digits(path: Path) -> Path:
    """The digits network in Keras, its weights copied."""
    k, net = keras(), digits()
    with untouched():
        model = k.Sequential(
            [
                k.Input((28, 28, 1)),
                k.layers.Conv2D(16, 3, padding="same", activation="relu"),
                k.layers.MaxPooling2D(),
                k.layers.Dropout(0.5),
                k.layers.Conv2D(32, 3, padding="same", activation="relu"),
                k.layers.MaxPooling2D(),
                k.layers.Flatten(),
                k.layers.Dense(32, activation="relu"),
                k.layers.Dense(10),
            ]
        )
        first, second, hidden, last = net[0], net[3], net[7], net[9]
        # Keras flattens height, width, channels; PyTorch channels, height, width.
        flat = hidden.weight.view(32, 32, 7, 7).permute(2, 3, 1, 0).reshape(-1, 32)
        kernels = [first.weight.permute(2, 3, 1, 0), second.weight.permute(2, 3, 1, 0), flat, last.weight.T]
        biases = [first.bias, second.bias, hidden.bias, last.bias]
        model.set_weights([w.numpy() for pair in zip(kernels, biases, strict=True) for w in pair])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(path)
    return path


# ---- PyTorch, and the same weights in every form


FACTORY = """
from models import small_cnn, digits
def trained():
    return digits()
def broken(): raise RuntimeError("no such\\nluck")
number = 3
"""


def user_code(folder: Path) -> Path:
    """A file of a user that builds networks."""
    path = folder / "mine.py"
    path.write_text(FACTORY)
    return path


def onnx_file(folder: Path, **wrap: Any) -> Spec:
    """See `wrapped`."""
    path = folder / "digits.onnx"
    if not path.exists():
        export_onnx(path)
    if wrap:
        path = wrapped(path, folder / f"wrapped-{len(list(folder.glob('wrapped*')))}.onnx", **wrap)
    return f"onnx:{path}", {}


def state_file(folder: Path) -> Spec:
    safetensors.torch.save_file(digits().state_dict(), folder / "digits.safetensors")
    return f"state:{folder}/digits.safetensors@{user_code(folder)}:small_cnn", {"image_shape": (1, 28, 28)}


def export_file(folder: Path, batch: int | None = None) -> Spec:
    """A program of torch.export, with a free batch or a fixed one."""
    path = folder / f"digits-{batch}.pt2"
    free = ({0: torch.export.Dim("n", max=4096)},) if batch is None else None
    torch.export.save(torch.export.export(digits(), (torch.zeros(batch or 2, 1, 28, 28),), dynamic_shapes=free), path)
    return f"export:{path}", {"trust_code": True}


def torchscript_file(folder: Path) -> Spec:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(digits(), torch.zeros(2, 1, 28, 28)).save(folder / "digits.pt")
    return f"torchscript:{folder}/digits.pt", {"trust_code": True, "image_shape": (1, 28, 28)}


DIGITS: dict[str, Callable[[Path], Spec]] = {
    "card": lambda folder: ("digits", {}),
    "python": lambda folder: (f"{user_code(folder)}:trained", {"image_shape": (1, 28, 28)}),
    "state": state_file,
    "export": export_file,
    "export, fixed batch": lambda folder: export_file(folder, 20),
    "torchscript": torchscript_file,
    "onnx": onnx_file,
    "onnx, channels last": lambda folder: onnx_file(folder, layout="NHWC"),
    "onnx, bytes": lambda folder: onnx_file(folder, numbers=TensorProto.UINT8),
    "onnx, batch of one": lambda folder: onnx_file(folder, batch=1),
    "onnx, float64": lambda folder: onnx_file(folder, numbers=TensorProto.DOUBLE),
    "keras": lambda folder: (f"keras:{keras_digits(folder / 'digits.keras')}", {}),
    "keras, hdf5": lambda folder: (f"keras:{keras_digits(folder / 'digits.h5')}", {}),
}
