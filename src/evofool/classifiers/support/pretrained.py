"""What the libraries of trained networks have in common, for `timm.py`, `torchvision.py` and `hf.py`."""

from __future__ import annotations

import difflib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from ... import networks
from ...errors import ClassifierError
from .prepare import Prepare

LIBRARIES = ("timm", "torchvision")  # whose networks can be trained further
_LOGGERS = ("huggingface_hub", "timm", "transformers")


class MissingWeightsError(ClassifierError):
    """The trained weights of a network cannot be had."""


class Network(NamedTuple):
    """A network of a library.

    Attributes:
        module: takes prepared images, gives logits [N K].
        head: its last layers, which are new where another number of outputs than the library's was asked for.
        prepare: as the library prepares images for it, `channels` and `size` included.
        class_names: of its outputs, if the library knows them.
    """

    module: nn.Module
    head: tuple[nn.Module, ...]
    prepare: Prepare
    class_names: tuple[str, ...] | None


def is_library(architecture: str) -> bool:
    """Whether the name of an architecture is that of a library's network, such as timm:resnet18."""
    return architecture.partition(":")[0] in LIBRARIES and ":" in architecture


def network(architecture: str, outputs: int, *, trained: bool = False) -> Network:
    """A network of a library with a new head, by `timm:NAME` or `torchvision:NAME`.

    Args:
        architecture: its name.
        outputs: of the new head.
        trained: start from the library's weights; otherwise, and in the new head, weights are random, and the same
            each time.

    Raises:
        MissingWeightsError: `trained`, and the weights cannot be had.
        ClassifierError: there is no such network, or no such library.
    """
    from .. import timm, torchvision

    library, _, name = architecture.partition(":")
    build = {"timm": timm.build, "torchvision": torchvision.build}[library]
    return build(name, outputs=outputs, trained=trained)


@contextmanager
def random_weights() -> Iterator[None]:
    """Within it, the first weights of networks are the same each time, and no global generator moves."""
    with networks.drawn_from(torch.Generator().manual_seed(0)):
        yield


def fetched(spec: str, get: Callable[[], Any], instead: str = "") -> Any:
    """What `get` gets from the internet, or from where the library keeps what it got before.

    Args:
        spec: what it is, for the message.
        get: fetches it.
        instead: what else the user can do.

    Raises:
        MissingWeightsError: it could not.
    """
    before = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:  # they tell of each attempt; the last one is told below
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return get()
    except Exception as error:
        said = " ".join(str(error).split())
        said = said if len(said) <= 100 else said[:99] + "…"
        raise MissingWeightsError(
            f"{spec}: its weights could not be fetched ({type(error).__name__}: {said}); see that this machine reaches "
            f"the internet or has them already{instead}"
        ) from error
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def close(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not among very many."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names that differ: those that occur twice get their number, such as ImageNet's two cranes."""
    count = Counter(names)
    return tuple(f"{name} ({index})" if count[name] > 1 else name for index, name in enumerate(names))
