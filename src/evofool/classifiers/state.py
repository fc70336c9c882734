"""state:FILE.safetensors@pkg.mod:factory: weights from a file, in a PyTorch module that your code builds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..contracts import Classifier, Dataset
from ..errors import ClassifierError
from .python import FORM, made, origin, resolve
from .support.local import Native, digest
from .support.settings import Settings

_FORM = re.compile(r"^(?P<file>.+?\.safetensors)@(?P<name>.+)$", re.S)


def load(spec: str, settings: Settings, data: Dataset | None = None) -> Classifier:
    """Build the module and fill it; every tensor of the file has its place in the module, and the other way round.

    Raises:
        ClassifierError: there is no such file or name, or they do not belong together.
    """
    from torch import nn

    from .torch import state_digest, take_over

    parts = _FORM.match(spec)
    if not parts or not FORM.match(parts["name"]):
        raise ClassifierError(f"state:{spec}: expected state:FILE.safetensors@package.module:name{_convert(spec)}")
    path, name = Path(parts["file"]).expanduser(), parts["name"]
    tensors = _read(path)
    thing = resolve(name)
    module = thing if isinstance(thing, nn.Module) else made(thing, name)
    if not isinstance(module, nn.Module):
        raise ClassifierError(f"{name} gives a {type(module).__name__}; expected a PyTorch module, to be filled")
    _fill(module, tensors, path, name)
    fingerprint = digest(origin(thing), state_digest(module))
    return take_over(module, Native(path.stem[:60], fingerprint), settings, data)


def _convert(spec: str) -> str:
    """How weights of another format become what is read here, where a file of them was named."""
    file = spec.partition("@")[0]
    if not file.endswith((".pt", ".pth", ".bin", ".ckpt")):
        return ""
    weights = f"torch.load({file!r}, weights_only=True)"
    return f"; once, in Python: safetensors.torch.save_file({weights}, 'net.safetensors')"


def _read(path: Path) -> dict[str, Any]:
    import safetensors.torch

    if not path.is_file():
        raise ClassifierError(f"{path}: there is no such file; expected weights as safetensors")
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        words = " ".join(str(error).split())[:120]
        raise ClassifierError(f"{path}: is not a whole safetensors file ({words}); save or copy it again") from None


def _fill(module: Any, tensors: dict[str, Any], path: Path, name: str) -> None:
    own = {key: value for key, value in module.state_dict(keep_vars=True).items() if hasattr(value, "data_ptr")}
    # Of tensors that are one, such as tied weights, a file holds one. Those without values yet are all at 0.
    held = {own[key].data_ptr() for key in tensors if key in own} - {0}
    missing = [key for key in own if key not in tensors and own[key].data_ptr() not in held]
    unexpected = [key for key in tensors if key not in own]
    shapes = [
        f"{key} is {list(tensors[key].shape)}, expected {list(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    for what, keys in (("lacks", missing), ("has in excess", unexpected), ("has another shape:", shapes)):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ClassifierError(f"{path} does not fit {name}: it {what} {keys[0]}{more}")
    module.load_state_dict(tensors, strict=False, assign=any(value.is_meta for value in own.values()))
