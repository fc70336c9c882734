"""The same trained network with another border: its padding swapped in place, without retraining.

    swapped(module, "reflect", (3, 32, 32))    every layer that pads does so in that mode
    outside(module, 1.0, (3, 32, 32))          the first layer that pads sees white beyond the border

Which layers pad, and on maps of what size, is seen in one trial with one image. Convolutions pad by `padding`, pooling
by `padding` and by windows that reach over the border (`ceil_mode`), and there are layers that only pad. Padding that a
network does elsewhere, in a `forward` of its own, is seen in the trial as well: it stays and is listed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from .errors import ClassifierError
from .networks import Padding
from .shapes import Float, Tensor

Pads = tuple[int, int, int, int]  # left, right, top, bottom, as functional.pad takes them
_MODES: dict[type[nn.Module], Padding] = {
    nn.ReflectionPad2d: "reflect",
    nn.ReplicationPad2d: "replicate",
    nn.CircularPad2d: "circular",
}
_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_OWN_FORWARD = "pads in a forward of its own"


class Layer(NamedTuple):
    """A layer that pads.

    Attributes:
        name: dotted, as in `named_modules`; of a module that is a single layer, its class.
        about: "Conv2d 3 x 3, padding 1".
        why: it was skipped.
    """

    name: str
    about: str
    why: str = ""


class Swapped(NamedTuple):
    """A network with another border.

    Attributes:
        module: a copy; the original is untouched.
        changed: layers whose border is another one now, in the order in which an image meets them.
        skipped: layers that pad and stayed as they were, and why.
        kept: layers that had this border already, and under "zeros" pooling, which sees no number beyond the border.
    """

    module: nn.Module
    changed: tuple[Layer, ...]
    skipped: tuple[Layer, ...]
    kept: tuple[Layer, ...] = ()


def swapped(module: nn.Module, mode: Padding, image_shape: tuple[int, ...]) -> Swapped:
    """The network with every layer that pads padding in one mode.

    Reflecting needs a map larger than its padding, and going round one that is not smaller: layers with smaller maps
    are skipped. A pool with padding becomes the same pool over a map that was padded before.

    Args:
        module: a classifier of images, in eval mode.
        mode: of the padding.
        image_shape: of one image as the module takes it, such as (C, H, W).

    Raises:
        ClassifierError: it is a TorchScript program, cannot be copied, or does not take such an image.
    """
    network, steps = _tried(module, torch.zeros(1, *image_shape))
    places: dict[int, nn.Module] = {}
    changed: list[Layer] = []
    skipped: list[Layer] = []
    kept: list[Layer] = []
    for group in _by_layer(steps):
        name, layer, about = group[0].name, group[0].layer, group[0].about
        if _kept(layer, mode):
            kept.append(Layer(name, about))
        elif why := _obstacle(group, mode):
            skipped.append(Layer(name, about, why))
        else:
            changed.append(Layer(name, about))
            places[id(layer)] = _with_mode(layer, mode)
    for name, layer in _unreached(network, steps):
        if not _kept(layer, mode):
            skipped.append(Layer(name, _about(layer), "no image reaches it"))
    network = _put(network, places)
    _forward(network, torch.zeros(1, *image_shape))  # so that what it cannot do is told here
    return Swapped(network, tuple(changed), tuple(skipped), tuple(kept))


def outside(module: nn.Module, level: float | Tensor, image_shape: tuple[int, ...]) -> Swapped:
    """The network whose first layer that pads sees one gray level beyond the border; nothing else changes.

    It sees there what it would see if the image went on in that level. A network whose images are normalised pads with
    0 afterwards, which is the mean of its training images and not black: normalisation decides what lies outside. Where
    several layers read the same map first, all of them are changed. Max pooling is passed over: it sees no number
    beyond the border.

    Args:
        module: a classifier of images, in eval mode.
        level: gray level, as the module takes it; or an image full of it, [1 *image_shape], where it is another number
            in each channel.
        image_shape: of one image as the module takes it, such as (C, H, W).

    Raises:
        ClassifierError: as `swapped`.
    """
    canvas = level if isinstance(level, Tensor) else torch.full((1, *image_shape), float(level))
    network, steps = _tried(module, canvas)
    steps = [step for step in steps if not step.known or _sees_numbers(step.layer)]
    places: dict[int, nn.Module] = {}
    changed: list[Layer] = []
    skipped: list[Layer] = []
    for group in _by_layer([step for step in steps if step.x is steps[0].x]):
        name, layer, about = group[0].name, group[0].layer, group[0].about
        values = _even(group[0].x)
        if not group[0].known:
            skipped.append(Layer(name, about, _OWN_FORWARD))
        elif values is None:
            skipped.append(Layer(name, about, "does not see a gray canvas as an even one"))
        elif isinstance(layer, nn.AvgPool2d) and layer.ceil_mode:
            skipped.append(Layer(name, about, "its windows may reach farther than its padding"))
        else:
            changed.append(Layer(name, about))
            places[id(layer)] = Bordered(_inner(layer), values=values)
    return Swapped(_put(network, places), tuple(changed), tuple(skipped))


class Bordered(nn.Module):
    """A layer that pads, over a map that was padded before it in another way.

    Attributes:
        layer: as it was; its own padding says how much, and is not done.
        mode: of the padding, or "" where the numbers beyond the border are given.
        values: these, [1 C 1 1].
    """

    def __init__(self, layer: nn.Module, mode: Padding | None = None, values: Float[Tensor, "1 C 1 1"] | None = None):
        super().__init__()
        self.layer = layer
        self.mode = mode
        self.register_buffer("values", None if values is None else values.clone())

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D I J"]:
        """The layer's output."""
        pads = _pads(self.layer, (x.shape[-2], x.shape[-1]))
        if self.mode is None:
            beyond = functional.pad(torch.zeros_like(x[:1, :1]), pads, value=1.0)
            x = functional.pad(x, pads) + beyond * cast(Tensor, self.values)
        else:
            x = functional.pad(x, pads, mode="constant" if self.mode == "zeros" else self.mode)
        layer = cast(Any, self.layer)
        if isinstance(layer, nn.Conv2d):
            return functional.conv2d(x, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)
        if isinstance(layer, nn.MaxPool2d):
            return functional.max_pool2d(x, layer.kernel_size, layer.stride, 0, layer.dilation)
        if isinstance(layer, nn.AvgPool2d):
            divisor = layer.divisor_override
            return functional.avg_pool2d(x, layer.kernel_size, layer.stride, 0, divisor_override=divisor)
        return x


_KNOWN: tuple[type[nn.Module], ...] = (Bordered, nn.Conv2d, *_POOLS, nn.ConstantPad2d, *_MODES)


# What a layer does ----------------------------------------------------------------------------------------------------


def _known(layer: nn.Module) -> bool:
    """Whether it is one of those layers, and computes as they do."""
    kind: Any = next((kind for kind in _KNOWN if isinstance(layer, kind)), None)
    if kind is None or "forward" in vars(layer) or type(layer).forward is not kind.forward:
        return False
    return kind is not nn.Conv2d or type(cast(nn.Conv2d, layer))._conv_forward is nn.Conv2d._conv_forward


def _inner(layer: nn.Module) -> nn.Module:
    return layer.layer if isinstance(layer, Bordered) else layer


def _pads(layer: nn.Module, size: tuple[int, int]) -> Pads:
    """How much a known layer pads a map of a size (height, width)."""
    layer = cast(Any, _inner(layer))
    if isinstance(layer, nn.Conv2d):
        return _conv_pads(layer)
    if isinstance(layer, _POOLS):
        return _pool_pads(size, layer.kernel_size, layer.stride, layer.padding, _dilation(layer), layer.ceil_mode)
    return cast(Pads, tuple(cast(Any, layer).padding))


def _conv_pads(layer: nn.Conv2d) -> Pads:
    if layer.padding == "valid":
        return 0, 0, 0, 0
    if layer.padding == "same":  # one that is odd has its larger half behind, as in PyTorch
        high, wide = (step * (length - 1) for step, length in zip(layer.dilation, layer.kernel_size, strict=True))
        return wide // 2, wide - wide // 2, high // 2, high - high // 2
    high, wide = _pair(layer.padding)
    return wide, wide, high, high


def _pool_pads(size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Pads:
    """As far as its windows reach over the border. With ceil_mode they reach farther than `padding` says."""
    found: list[int] = []
    for axis in (1, 0):
        length, window, before = size[axis], _pair(kernel)[axis], _pair(padding)[axis]
        step = _pair(stride or kernel)[axis]
        reach = _pair(dilation)[axis] * (window - 1) + 1
        room = (length + 2 * before - reach) / step
        last = math.ceil(room) if ceil_mode else math.floor(room)
        if ceil_mode and last * step >= length + before:  # no window begins beyond the border
            last -= 1
        found += [before, max(0, last * step + reach - length - before)]
    return cast(Pads, tuple(found))


def _dilation(layer: nn.Module) -> Any:
    return layer.dilation if isinstance(layer, nn.MaxPool2d) else 1


def _pair(value: Any) -> tuple[int, int]:
    value = (value,) if isinstance(value, int) else tuple(value)
    return (value[0], value[-1])


def _kept(layer: nn.Module, mode: Padding) -> bool:
    """Whether a layer has a border of this mode already."""
    if isinstance(layer, Bordered):
        return layer.mode == mode
    if not _known(layer):
        return False
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == mode
    if isinstance(layer, nn.ConstantPad2d):  # -inf stands before a max pool, and is the padding of one
        return mode == "zeros" and layer.value in (0, -math.inf)
    if isinstance(layer, nn.AvgPool2d):
        return mode == "zeros"
    return mode == _MODES.get(next((kind for kind in _MODES if isinstance(layer, kind)), nn.Module), "zeros")


def _sees_numbers(layer: nn.Module) -> bool:
    """Whether there are numbers beyond the border of a known layer. Max pooling takes what is there for nothing."""
    if isinstance(layer, nn.AvgPool2d):
        return layer.count_include_pad and any(_pair(layer.padding))
    return not isinstance(layer, nn.MaxPool2d) and getattr(layer, "value", 0) != -math.inf


def _with_mode(layer: nn.Module, mode: Padding) -> nn.Module:
    """The layer, or what comes into its place."""
    layer = _inner(layer)
    if isinstance(layer, nn.Conv2d):
        layer.padding_mode = mode
        # As PyTorch keeps it from when the layer was made; `padding` may have been set since.
        layer._reversed_padding_repeated_twice = list(_conv_pads(layer))
        return layer
    return layer if _kept(layer, mode) else Bordered(layer, mode)


def _about(layer: nn.Module) -> str:
    layer = cast(Any, _inner(layer))
    words = [type(layer).__name__]
    kernel = getattr(layer, "kernel_size", None)
    if isinstance(kernel, int | tuple) and kernel:
        words[0] += " {} x {}".format(*_pair(kernel))
    padding = getattr(layer, "padding", None)
    if isinstance(padding, int | tuple) and not isinstance(padding, bool):
        numbers = (padding,) if isinstance(padding, int) else padding
        words.append("padding " + (str(numbers[0]) if len(set(numbers)) == 1 else " x ".join(map(str, numbers))))
    elif isinstance(padding, str):
        words.append(f"padding {padding}")
    words += ["ceil_mode"] if getattr(layer, "ceil_mode", False) is True else []
    return ", ".join(words)


# What a trial shows ---------------------------------------------------------------------------------------------------


class _Step(NamedTuple):
    """One time that a map was padded: by which layer, whether that is one of ours to change, and the map."""

    name: str
    layer: nn.Module
    known: bool
    pads: Pads
    x: Tensor

    @property
    def about(self) -> str:
        return _about(self.layer)


class _Trial(TorchDispatchMode):
    """Within it, every padding of a network is written down: by its layers, and by operations elsewhere."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.steps: list[_Step] = []
        self._inside: list[tuple[str, nn.Module]] = []
        self._handles = [
            handle
            for name, layer in network.named_modules()
            if not isinstance(layer, torch.jit.ScriptModule)  # its operations are seen, its layers are not
            for handle in (
                layer.register_forward_pre_hook(
                    self._enter(name or type(layer).__name__), prepend=True, with_kwargs=True
                ),
                layer.register_forward_hook(self._leave, always_call=True),
            )
        ]

    def _enter(self, name: str) -> Any:
        def enter(layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            if _known(layer):
                x = next(iter((*inputs, *named.values())))
                pads = _pads(layer, x.shape[-2:])
                if max(pads) > 0:
                    self.steps.append(_Step(name, layer, True, pads, x))
            self._inside.append((name, layer))

        return enter

    def _leave(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        self._inside.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation, as it is."""
        named = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | (kwargs or {})
        if self._inside and not _known(self._inside[-1][1]) and _pads_by_itself(func._schema.name, named):
            name, layer = self._inside[-1]
            self.steps.append(_Step(name, layer, False, (0, 0, 0, 0), next(iter(named.values()))))
        return func(*args, **(kwargs or {}))

    def end(self) -> None:
        for handle in self._handles:
            handle.remove()


def _pads_by_itself(operation: str, named: Mapping[str, Any]) -> bool:
    """Whether an operation on images pads them."""
    x = next(iter(named.values()), None)
    if not isinstance(x, Tensor) or x.ndim < 4 or "transpose" in operation or named.get("transposed"):
        return False
    padding = named.get("padding", 0)
    if "pad" in named:  # the last axis comes first; rows and channels of a batch are no place
        padding = named["pad"][: 2 * (x.ndim - 2)]
    if isinstance(padding, str):
        return padding == "same" and max(named["weight"].shape[2:]) > 1
    if named.get("ceil_mode") and "kernel_size" in named:
        more = (named.get("stride"), named.get("padding", 0), named.get("dilation", 1), True)
        return any(_pool_pads(x.shape[-2:], named["kernel_size"], *more))
    return any(side > 0 for side in ((padding,) if isinstance(padding, int) else padding))


def _tried(module: nn.Module, image: Tensor) -> tuple[nn.Module, list[_Step]]:
    """A copy of the network, and every padding that an image met in it."""
    if isinstance(module, torch.jit.ScriptModule):
        raise ClassifierError("the padding of a TorchScript program cannot be changed; give the module it was made of")
    try:
        network = copy.deepcopy(module).eval()
    except Exception as error:
        raise ClassifierError(f"the network cannot be copied: {type(error).__name__}: {_line(error)}") from error
    trial = _Trial(network)
    try:
        with trial:
            _forward(network, image)
    finally:
        trial.end()
    return network, trial.steps


def _forward(network: nn.Module, image: Tensor) -> None:
    like = next((tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()), image)
    try:
        with torch.inference_mode():
            network(image.to(like.device, like.dtype))
    except Exception as error:
        shape = " x ".join(map(str, image.shape[1:]))
        raise ClassifierError(
            f"the network takes no image of {shape}: {type(error).__name__}: {_line(error)}"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _by_layer(steps: list[_Step]) -> list[list[_Step]]:
    """Steps of one layer together, in the order of their first."""
    groups: dict[int, list[_Step]] = {}
    for step in steps:
        groups.setdefault(id(step.layer), []).append(step)
    return list(groups.values())


def _obstacle(group: list[_Step], mode: Padding) -> str:
    """Why a layer cannot pad in a mode; "" if it can."""
    if not group[0].known:
        return _OWN_FORWARD
    if getattr(_inner(group[0].layer), "return_indices", False):
        return "gives indices into a map that was not padded before"
    for step in group:
        height, width = step.x.shape[-2:]
        for side, length in zip(step.pads, (width, width, height, height), strict=True):
            if mode == "reflect" and side >= length:
                return f"its map of {height} x {width} is not larger than its padding of {side}"
            if mode == "circular" and side > length:
                return f"its map of {height} x {width} is smaller than its padding of {side}"
    return ""


def _even(x: Tensor) -> Float[Tensor, "1 C 1 1"] | None:
    """The number of each channel, if it is the same all over the map."""
    if x.ndim != 4:
        return None
    values = x[:1, :, x.shape[2] // 2, x.shape[3] // 2, None, None]
    return values if torch.allclose(x, values.expand_as(x), rtol=1e-4, atol=1e-5) else None


def _unreached(network: nn.Module, steps: list[_Step]) -> Iterator[tuple[str, nn.Module]]:
    """Layers that pad by what they are, and that the trial did not meet."""
    met = {id(step.layer) for step in steps} | {id(_inner(step.layer)) for step in steps}
    for name, layer in network.named_modules():
        if id(layer) in met or not _known(layer):
            continue
        if max(_pads(layer, (1 << 20, 1 << 20))) > 0:
            yield name, layer


def _put(network: nn.Module, changed: Mapping[int, nn.Module]) -> nn.Module:
    """The network with layers in the places of others, wherever these stand."""
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):  # named_children gives one that stands twice only once
            if id(child) in changed:
                parent.add_module(name, changed[id(child)])
    return changed.get(id(network), network)
