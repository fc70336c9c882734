"""Small convolutional networks: one function for each architecture, found by reading this module.

An architecture takes `(in_channels, classes, size, **arguments)` and returns a module that maps float images
[N C H W] in [0, 1] to logits [N K]. Its arguments are positive whole numbers, so that a card can hold them.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from .errors import ClassifierError, nearest
from .shapes import Float, Tensor

_SHAPE = ("in_channels", "classes", "size")
Padding = Literal["zeros", "reflect", "replicate", "circular"]
_LARGEST = 1_000_000  # of a number in a card: far above any sane one, far below what overflows a size


def small_cnn(
    in_channels: int,
    classes: int,
    size: tuple[int, int],
    *,
    width: int = 16,
    hidden: int = 32,
    padding: Padding = "zeros",
) -> nn.Module:
    """Two blocks of 3 x 3 convolution, ReLU and 2 x 2 max pooling, then one hidden dense layer.

    The network of a first course: 55,338 parameters on 28 x 28 gray images with 10 classes.

    Args:
        in_channels: channels of an image.
        classes: K.
        size: (height, width) of an image, each at least 4.
        width: channels of the first convolution; the second has twice as many.
        hidden: neurons of the dense layer.
        padding: what the convolutions see beyond the border.
    """
    _at_least(4, size)
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, padding_mode=padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1, padding_mode=padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * (size[0] // 4) * (size[1] // 4), hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )


def judge_cnn(
    in_channels: int, classes: int, size: tuple[int, int], *, width: int = 24, padding: Padding = "zeros"
) -> nn.Module:
    """Four strided or plain convolutions with batch normalisation, then the mean over all positions.

    No pooling between layers, no hidden dense layer: built unlike `small_cnn`, so that the two do not share their
    blind spots by construction. 76,530 parameters on 28 x 28 gray images with 10 classes.

    Args:
        in_channels: channels of an image.
        classes: K.
        size: (height, width) of an image, each at least 8.
        width: channels of the first convolution; the second has twice, the last two have `8 * width // 3`.
        padding: what the convolutions see beyond the border.
    """
    _at_least(8, size)
    wide = 8 * width // 3

    def block(before: int, after: int, kernel: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(
            before, after, kernel, stride=stride, padding=kernel // 2, padding_mode=padding, bias=False
        )
        return [convolution, nn.BatchNorm2d(after), nn.ReLU()]

    return nn.Sequential(
        *block(in_channels, width, 5, 2),
        *block(width, 2 * width, 3, 1),
        *block(2 * width, wide, 3, 2),
        *block(wide, wide, 3, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(wide, classes),
    )


def deep_cnn(
    in_channels: int, classes: int, size: tuple[int, int], *, width: int = 32, padding: Padding = "zeros"
) -> nn.Module:
    """Five 3 x 3 convolutions with batch normalisation, two of them strided, then the mean over all positions.

    For colour photographs: 279,466 parameters on 32 x 32 colour images with 10 classes.

    Args:
        in_channels: channels of an image.
        classes: K.
        size: (height, width) of an image, each at least 8.
        width: channels of the first convolution; two have twice as many, two four times.
        padding: what the convolutions see beyond the border.
    """
    _at_least(8, size)

    def block(before: int, after: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, padding_mode=padding, bias=False)
        return [convolution, nn.BatchNorm2d(after), nn.ReLU()]

    return nn.Sequential(
        *block(in_channels, width, 1),
        *block(width, 2 * width, 2),
        *block(2 * width, 2 * width, 1),
        *block(2 * width, 4 * width, 2),
        *block(4 * width, 4 * width, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )


def architectures() -> dict[str, Callable[..., nn.Module]]:
    """Every architecture of this module, by name."""
    return {
        name: function
        for name, function in inspect.getmembers(sys.modules[__name__], inspect.isfunction)
        if not name.startswith("_") and tuple(inspect.signature(function).parameters)[:3] == _SHAPE
    }


def build(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The module of an architecture, still without values.

    Its tensors lie on the meta device: nothing is allocated and no generator is drawn from. Fill it with
    `load_state_dict(..., assign=True)` or `initialise`.

    Args:
        architecture: name of a function of this module.
        arguments: `in_channels`, `classes`, `size` and the architecture's own.

    Raises:
        ClassifierError: unknown architecture or argument, or a value that is not one of those it can be.
    """
    known = architectures()
    if architecture not in known:
        raise ClassifierError(f"unknown architecture '{architecture}'{nearest(architecture, known)}")
    parameters, hints = inspect.signature(known[architecture]).parameters, get_type_hints(known[architecture])
    for name, value in arguments.items():
        if name not in parameters:
            raise ClassifierError(f"{architecture} takes no argument '{name}'{nearest(name, parameters)}")
        if get_origin(hints[name]) is Literal:
            if value not in (words := get_args(hints[name])):
                raise ClassifierError(f"{architecture}: {name} is {value!r}, expected one of {', '.join(words)}")
            continue
        numbers = tuple(value) if name == "size" and isinstance(value, tuple | list) else (value,)
        if len(numbers) != (2 if name == "size" else 1) or not all(
            type(number) is int and 0 < number <= _LARGEST for number in numbers
        ):
            expected = "two positive whole numbers" if name == "size" else "a positive whole number"
            raise ClassifierError(f"{architecture}: {name} is {value!r}, expected {expected}")
    missing = [name for name in _SHAPE if name not in arguments]
    if missing:
        raise ClassifierError(f"{architecture} needs {', '.join(missing)}")
    try:
        with torch.device("meta"):
            return known[architecture](**arguments)
    except (RuntimeError, OverflowError) as error:
        raise ClassifierError(f"{architecture} cannot be built from {dict(arguments)}: {_line(error)}") from None


def initialise(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Give a module from `build` fresh values on the CPU, drawn from `generator` alone.

    Convolutions and dense layers: He initialisation (normal, fan in) and zero bias. Batch normalisation: the identity.

    Source: He, Zhang, Ren & Sun, Delving Deep into Rectifiers, ICCV 2015.
    """
    module = module.to_empty(device="cpu")
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
        else:
            assert not list(part.parameters(recurse=False)), f"initialise does not know {type(part).__name__}"
    return module


class drawn_from(TorchDispatchMode):  # noqa: N801 (read as a verb: `with drawn_from(generator):`)
    """Within it, what other people's code draws from the global generator comes from `generator`; CPU only.

    Networks of libraries draw their first weights and their dropout in their own code, which takes no generator.
    """

    def __init__(self, generator: torch.Generator):
        super().__init__()
        self._generator = generator

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation, with the generator if it takes one."""
        kwargs = dict(kwargs or {})
        overload = func._overloadname.replace("default", "")
        variants = (f"{overload}_generator".strip("_"), "generator")
        if any(argument.name == "generator" for argument in func._schema.arguments):
            kwargs["generator"] = kwargs.get("generator") or self._generator
        else:
            packet = func.overloadpacket
            for name in [name for name in variants if name in packet.overloads()][:1]:
                func, kwargs["generator"] = getattr(packet, name), self._generator
        return func(*args, **kwargs)


def two_logits(output: Float[Tensor, "N 1"]) -> Float[Tensor, "N 2"]:
    """The single output z of a network as the logits 0 and z: their softmax is 1 - sigmoid(z) and sigmoid(z)."""
    return torch.cat([torch.zeros_like(output), output], dim=1)


class SingleSigmoid(nn.Module):
    """A network with one output z, asked for the probabilities of two classes: sigmoid(-z) and sigmoid(z).

    Each is computed by itself: 1 - sigmoid(z) would be rounded to 0 from z = 17 on.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N 2"]:
        """Probabilities."""
        return two_logits(self.network(images)).softmax(dim=1)


def _at_least(smallest: int, size: tuple[int, int]) -> None:
    if min(size) < smallest:
        raise ClassifierError(
            f"images of {size[0]} x {size[1]} are too small for this architecture, expected at least "
            f"{smallest} x {smallest}"
        )


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
