"""What happens to images between the contract and a model: size, channels, range, normalisation, layout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch.nn import functional

from ...errors import ClassifierError
from ...shapes import Float, Tensor

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's mode "L"


@dataclass(frozen=True)
class Prepare:
    """From images [N C H W] in [0, 1] to what a model takes. Each image is brought there by itself.

    Attributes:
        channels: 1 = gray, 3 = colour; gray is repeated, colour becomes its luminance. None = as they come.
        size: (H, W), of which images are left as they are; None = as they come.
        crop: with it, the image is first resized so that this share of it fills `size`, and then its middle is cut
            out, its proportions kept; without it, it is stretched to `size`.
        interpolation: of the resizing, without aliasing.
        white: what full white becomes before normalisation.
        mean, std: for each channel, or one for all; in units of `white`.
        layout: of the result.
    """

    channels: int | None = None
    size: tuple[int, int] | None = None
    crop: float | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    white: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N ..."]:
        """Images as the model takes them, float32."""
        if self.channels == 3 and images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        elif self.channels == 1 and images.shape[1] == 3:
            images = (images * images.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
        if self.size and tuple(images.shape[2:]) != self.size:
            images = self._resized(images, self.size)
        if self.white != 1.0:
            images = images * self.white
        if self.mean:
            images = images - images.new_tensor(self.mean).view(1, -1, 1, 1)
        if self.std:
            images = images / images.new_tensor(self.std).view(1, -1, 1, 1)
        return images.permute(0, 2, 3, 1).contiguous() if self.layout == "NHWC" else images

    def _resized(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        target = size
        if self.crop:
            height, width = images.shape[2:]
            high, wide = math.floor(size[0] / self.crop), math.floor(size[1] / self.crop)
            by_height = high * width >= wide * height  # what is left over is cut off at the sides
            target = (high, high * width // height) if by_height else (wide * height // width, wide)
        if self.interpolation == "bicubic":  # overshoots; like Pillow, it is kept within white after each axis
            images = self._interpolated(images, (images.shape[2], target[1])).clamp(0, 1)
            images = self._interpolated(images, target).clamp(0, 1)
        else:
            images = self._interpolated(images, target)
        top, left = round((target[0] - size[0]) / 2), round((target[1] - size[1]) / 2)  # as torchvision
        return images[:, :, top : top + size[0], left : left + size[1]]

    def _interpolated(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(images.shape[2:]) == size:
            return images
        more = {} if self.interpolation == "nearest" else {"antialias": True, "align_corners": False}
        return functional.interpolate(images, size, mode=self.interpolation, **more)

    def about(self, image_shape: tuple[int, int, int]) -> str:
        """In words, for images of a shape: "resized to 224 x 224 (bilinear), gray repeated, normalised"."""
        words = []
        if self.size and tuple(image_shape[1:]) != self.size:
            how = f", middle {self.crop:.1%}" if self.crop else ""
            words.append(f"resized to {self.size[0]} x {self.size[1]} ({self.interpolation}{how})")
        if self.channels and self.channels != image_shape[0]:
            words.append("gray repeated in 3 channels" if self.channels == 3 else "colour to gray")
        words += [f"white is {self.white:g}"] if self.white != 1.0 else []
        words += ["normalised"] if self.mean or self.std else []
        return ", ".join(words)

    def check(self, image_shape: tuple[int, int, int], name: str) -> Prepare:
        """This, if it fits images of a shape.

        Raises:
            ClassifierError: it does not.
        """
        channels = self.channels or image_shape[0]
        for what, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) not in (1, channels):
                raise ClassifierError(f"{name}: {len(values)} values of {what} for {channels} channels")
        if self.channels not in (None, image_shape[0], 1, 3):
            raise ClassifierError(f"{name} takes {self.channels} channels; expected 1 (gray) or 3 (colour)")
        return self
