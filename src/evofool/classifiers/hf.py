"""hf:ORG/NAME or hf:./DIR: an image classifier of the transformers library, from the Hugging Face hub or a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..contracts import Classifier, Dataset
from ..errors import ClassifierError
from ..shapes import Float, Tensor
from .support.local import Native, digest, library
from .support.prepare import Prepare
from .support.pretrained import distinct, fetched, random_weights
from .support.settings import Settings
from .torch import state_digest, take_over

_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


class _Logits(nn.Module):
    """A model of transformers, asked for its logits alone."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        logits: Tensor = self.model(pixel_values=images).logits
        return logits


def load(name: str, settings: Settings, data: Dataset | None = None) -> Classifier:
    """Load a model with its class names, and images prepared as its image processor is configured.

    Only weights in safetensors files are read, and no code that comes with a model is run.

    Args:
        name: on the hub, or a folder that begins with "./", "/" or "~".
        settings: what the user says; `pretrained` = false takes random weights, the same each time.
        data: images that it will be asked about.

    Raises:
        ClassifierError: transformers is not installed, or the model cannot be had, is no image classifier, or has no
            image processor.
    """
    spec = f"hf:{name}"
    hub = library("transformers", "hf", spec)
    where = str(Path(name).expanduser()) if name.startswith(("./", "../", "/", "~")) else name
    if where != name or name.startswith((".", "/")):
        if not Path(where).is_dir():
            raise ClassifierError(f"{spec}: there is no such folder; expected one that `save_pretrained` wrote")
        where = str(Path(where).absolute())
    instead = "; a folder that `save_pretrained` wrote can be given as hf:./DIR"
    config = fetched(spec, lambda: hub.AutoConfig.from_pretrained(where, trust_remote_code=False), instead)
    processor = _processor(hub, where, spec)
    kind = hub.AutoModelForImageClassification
    with random_weights():
        if settings.pretrained:
            options = {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
            model, told = fetched(spec, lambda: kind.from_pretrained(where, **options), instead)
            if told["missing_keys"]:
                lacking = sorted(told["missing_keys"])[0]
                raise ClassifierError(f"{spec}: its weights lack '{lacking}': expected a trained image classifier")
        else:
            model = kind.from_config(config, trust_remote_code=False)
    module = _Logits(model)
    prepare = _prepare(spec, processor.to_dict(), settings.interpolation)
    if not (settings.input_shape or settings.mean or settings.std or settings.white or settings.interpolation):
        _compare(spec, prepare, processor)
    said = {
        key: value for key, value in config.to_dict().items() if key not in ("_name_or_path", "transformers_version")
    }
    native = Native(
        name=Path(where).name,
        fingerprint=digest("hf", json.dumps(said, sort_keys=True, default=str), state_digest(module)),
        input_shape=(prepare.channels, *(prepare.size or (None, None))),
        kind="logits",
        class_names=_class_names(config),
        prepare=prepare,
    )
    return take_over(module, native, settings, data)


def _processor(hub: Any, where: str, spec: str) -> Any:
    try:
        return hub.AutoImageProcessor.from_pretrained(where, trust_remote_code=False)
    except Exception as error:
        said = " ".join(str(error).split())[:160]
        raise ClassifierError(
            f"{spec}: its image processor cannot be read ({type(error).__name__}: {said}); expected "
            f"preprocessor_config.json beside config.json"
        ) from error


def _prepare(spec: str, said: dict[str, Any], interpolation: str | None) -> Prepare:
    """What an image processor does, as far as it does one of the usual things.

    Where an odd number of rows is cut off, the one too many is cut as torchvision does it, which may be at the other
    end.
    """
    white = 255 * said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) else 255.0
    mean = tuple(said["image_mean"]) if said.get("do_normalize") else ()
    std = tuple(said["image_std"]) if said.get("do_normalize") else ()
    if said.get("rescale_offset"):  # EfficientNet's: 1 is subtracted first
        mean = tuple(each + 1 for each in mean or (0.0,))
    if said.get("include_top"):  # EfficientNet's: divided once more
        std = tuple(each * each for each in std) or tuple(said["image_std"])
    resample = int(said.get("resample", 2))
    found: Any = interpolation or _RESAMPLING.get(resample)
    size, crop = None, None
    if said.get("do_resize", True):
        if found is None:
            raise ClassifierError(f"{spec}: Pillow's resampling {resample} is none of ours; say interpolation=bicubic")
        size, crop = _size(spec, said)
    return Prepare(
        channels=len(mean) if len(mean) > 1 else 3,
        size=size,
        crop=crop,
        interpolation=found or "bilinear",
        white=1.0 if abs(white - 1) < 1e-9 else white,
        mean=mean,
        std=std,
    )


def _compare(spec: str, prepare: Prepare, processor: Any) -> None:
    """Prepare slopes of colours both ways: an image processor may do what its configuration does not tell.

    Raises:
        ClassifierError: ours is not what it does.
    """
    side = 2 * max(prepare.size or (64, 64))
    slope = torch.linspace(0, 255, side).round()
    rows, columns = torch.meshgrid(slope, slope, indexing="ij")
    image = torch.stack([rows, columns, 255 - (rows + columns) / 2]).round().byte()
    theirs = torch.as_tensor(processor(image.permute(1, 2, 0).numpy(), return_tensors="pt")["pixel_values"])[0].float()
    ours = prepare(image[None].float() / 255)[0]
    fits = theirs.shape == ours.shape
    scale = torch.tensor(prepare.std or (1.0,)).view(-1, 1, 1) / prepare.white
    difference = float(((ours - theirs).abs() * scale).max()) if fits else 1.0
    if difference > 6 / 255 + 1 / min(ours.shape[1:]):
        raise ClassifierError(
            f"{spec}: its image processor ({type(processor).__name__}) does something else than resize, crop and "
            f"normalise; say how images are prepared (input_shape, mean, std), or wrap it as file.py:name"
        )


def _size(spec: str, said: dict[str, Any]) -> tuple[tuple[int, int], float | None]:
    """(height, width) of the result, and the share of the resized image that it is, if proportions are kept."""
    size = said["size"]
    cut = said.get("crop_size") if said.get("do_center_crop") else None
    if size.get("height") and size.get("width"):
        whole = (int(size["height"]), int(size["width"]))
        if not cut:
            return whole, None
        result = (int(cut["height"]), int(cut["width"]))
        return result, _share(result[0], whole[0])
    if not size.get("shortest_edge"):
        raise ClassifierError(f"{spec}: its image processor resizes to {dict(size)}; say --with input_shape=3x224x224")
    edge = int(size["shortest_edge"])
    if said.get("crop_pct") is not None:  # ConvNeXt's
        return (edge, edge), (None if edge >= 384 else _share(edge, int(edge / said["crop_pct"])))
    result = (int(cut["height"]), int(cut["width"])) if cut else (edge, edge)
    return result, _share(min(result), edge)


def _share(part: int, whole: int) -> float:
    return part / (whole + 0.001)  # whose inverse, rounded down, is `whole`


def _class_names(config: Any) -> tuple[str, ...] | None:
    """By the numbers of the outputs; None where the library itself made them up."""
    names = [str(config.id2label[index]) for index in sorted(config.id2label)]
    made_up = all(name == f"LABEL_{index}" for index, name in enumerate(names))
    return None if made_up else distinct(names)
