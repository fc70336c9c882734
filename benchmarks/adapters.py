"""What the classifier contract costs: each adapter beside the bare call of its library, on the same prepared images.

    python benchmarks/adapters.py [--rounds N]

Both take turns in one process with one thread, micro-batches of 100 images of 28 x 28; ratios are formed within each
turn, of processor time. Neither caches, charges or retries: that is the ledger's, and not measured here.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from evofool.executors.local import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch is loaded

import torch

from evofool.classifiers import SHIPPED, load_classifier
from evofool.classifiers.support.card import read
from evofool.classifiers.torch import lay_out
from evofool.contracts import Classifier
from evofool.data import load_data
from evofool.rng import untouched
from report import Bar, table
from setting import hardware, load_average
from timing import Estimate, alternate, ratio

SIZE = 100
HELD_TO = {"torch": 1.05, "onnx": 1.05}
MODULE = """
from pathlib import Path
from evofool.classifiers import SHIPPED
from evofool.classifiers.support.card import read
net = read(SHIPPED / "digits")[1]
"""
Call = Callable[[Any], Any]


class Pair(NamedTuple):
    """An adapter, and its library as it is called without one."""

    name: str
    adapter: Classifier
    bare: Call
    prepared: list[Any]


def pairs(folder: Path, images: torch.Tensor) -> Iterator[Pair]:
    """Every adapter whose library is here, the weights of `digits` behind it where that is easy."""
    parts = list(images.split(SIZE))
    (folder / "mine.py").write_text(MODULE)
    yield _torch("torch", load_classifier("digits"), parts)
    yield _torch("python", load_classifier(f"{folder}/mine.py:net", image_shape=(1, 28, 28)), parts)
    yield _onnx(folder, parts)
    yield _keras(folder, parts)
    yield _sklearn(folder, parts)


def _torch(name: str, adapter: Any, parts: list[torch.Tensor]) -> Pair:
    def forward(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return adapter.module(batch)

    return Pair(name, adapter, forward, [lay_out(part, adapter.info.memory_format) for part in parts])


def _onnx(folder: Path, parts: list[torch.Tensor]) -> Pair:
    import onnxruntime

    free = ({0: torch.export.Dim("n", max=4096)},)
    module = read(SHIPPED / "digits")[1].eval()
    with untouched(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (parts[0],), folder / "net.onnx", dynamo=True, dynamic_shapes=free, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "net.onnx"), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    adapter = load_classifier(f"onnx:{folder}/net.onnx")
    return Pair("onnx", adapter, lambda batch: session.run(None, {name: batch})[0], [part.numpy() for part in parts])


def _keras(folder: Path, parts: list[torch.Tensor]) -> Pair:
    os.environ["KERAS_BACKEND"] = "torch"
    with untouched():
        import keras

        convolution, pool = keras.layers.Conv2D, keras.layers.MaxPooling2D
        model = keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                *(convolution(16, 3, padding="same", activation="relu"), pool()),
                *(convolution(32, 3, padding="same", activation="relu"), pool()),
                *(keras.layers.Flatten(), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(10)),
            ]
        )
        model.save(folder / "net.keras")

    def forward(batch: torch.Tensor) -> Any:
        with torch.inference_mode():
            return model(batch, training=False)

    adapter = load_classifier(f"keras:{folder}/net.keras")
    return Pair("keras", adapter, forward, [part.permute(0, 2, 3, 1).contiguous() for part in parts])


def _sklearn(folder: Path, parts: list[torch.Tensor]) -> Pair:
    import skops.io
    from sklearn.linear_model import LogisticRegression

    data = load_data("digits", split="train")
    estimator = LogisticRegression(max_iter=500).fit((data.images.flatten(1) / 255).double().numpy(), data.labels)
    skops.io.dump(estimator, folder / "net.skops")
    adapter = load_classifier(f"sklearn:{folder}/net.skops", image_shape=(1, 28, 28))
    return Pair("sklearn", adapter, estimator.predict_proba, [part.flatten(1).double().numpy() for part in parts])


def main() -> int:
    """Print how many times longer each adapter takes than its library alone, and what was promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=201, help="turns of each, 1,000 images in a turn (%(default)s)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    print(*(f"{name}: {value}" for name, value in hardware().items()), sep="\n")
    print(f"load: {load_average():.1f} before the start", flush=True)
    images = load_data("digits", split="test").images / 255
    parts, rows, bars = list(images.split(SIZE)), [], []
    with tempfile.TemporaryDirectory() as folder:
        for pair in pairs(Path(folder), images):
            times = alternate(
                {
                    "bare": lambda pair=pair: [pair.bare(batch) for batch in pair.prepared],
                    "adapter": lambda pair=pair: [pair.adapter(part) for part in parts],
                },
                rounds,
                warm_up=5,
            )
            beside = ratio(times["adapter"], times["bare"], "processor")
            wall = ratio(times["adapter"], times["bare"])
            spent = [f"{times[name].milliseconds('processor'):.2f}" for name in ("bare", "adapter")]
            rows.append([pair.name, *spent, _more(beside), _more(wall)])
            if pair.name in HELD_TO:
                limit = HELD_TO[pair.name]
                what = f"at most {limit - 1:+.0%} at the upper end"
                bars.append(Bar(f"{pair.name} adapter", _more(beside), what, beside.high <= limit))
    table(["", "library alone, ms", "adapter, ms", "more, processor time", "more, wall"], rows)
    print("", *bars, sep="\n")
    return 0


def _more(times: Estimate) -> str:
    """In per cent: the median, and the interval in which the true one lies with 95% confidence."""
    median, low, high = (100 * (value - 1) for value in (times.median, times.low, times.high))
    return f"{median:+.1f}% ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    sys.exit(main())
