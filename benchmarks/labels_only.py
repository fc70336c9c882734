"""A network that answers with labels only, though it could say more: for attacks that need no scores.

    EVOFOOL_NET=nets/mnist-cnn evofool attack --classifier benchmarks/labels_only.py:network --trust-code ...

`EVOFOOL_NET` names the network, as `--classifier` does. It needs no environment of its own.
"""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from evofool import load_classifier
from evofool.classifiers.support.local import digest
from evofool.contracts import Classifier
from evofool.shapes import Float, Tensor


class Labels:
    """What another classifier sees, and nothing of how sure it is.

    Args:
        inner: the other one.
    """

    def __init__(self, inner: Classifier):
        info = inner.info
        mark = digest("labels only", info.fingerprint)
        self.info = replace(info, name=f"{info.name}-labels", kind="label", fingerprint=mark)
        self._inner = inner

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """One-hot rows."""
        scores = self._inner(images)
        return torch.nn.functional.one_hot(scores.argmax(1), scores.shape[1]).to(scores)


def network() -> Classifier:
    """The network that `EVOFOOL_NET` names."""
    return Labels(load_classifier(os.environ.get("EVOFOOL_NET", "mnist99")))
