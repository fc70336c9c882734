"""How training varies its images and its learning rate from step to step."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from .classifiers.torch import lay_out
from .shapes import Float, Tensor


def schedule(done: float) -> float:
    """Factor of the largest learning rate when a share `done` of all steps is over: a rise, then half a cosine."""
    rise = 0.1
    return (done + 0.01) / (rise + 0.01) if done < rise else (1 + math.cos(math.pi * (done - rise) / (1 - rise))) / 2


def moved(images: Tensor, background: float, generator: torch.Generator) -> Float[Tensor, "N C H W"]:
    """Turn each image by up to 10 degrees, scale it by up to 10% and shift it by up to 8% of its size."""

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(len(images), generator=generator) - 1) * limit

    angle, scale = uniform(math.pi / 18), 1 + uniform(0.1)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack(row, dim=1) for row in ((cosine, -sine, uniform(0.16)), (sine, cosine, uniform(0.16)))]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    # What moves in from outside is background; sampling pads with 0.
    sampled = functional.grid_sample(images - background, grid, align_corners=False) + background
    return lay_out(sampled, "channels_last")


def mirrored(images: Tensor, background: float, generator: torch.Generator) -> Float[Tensor, "N C H W"]:
    """Mirror every other image left to right, and shift each by up to an eighth of its size in whole pixels.

    For photographs: nothing is resampled, so nothing is blurred.
    """
    height, width = images.shape[-2:]
    reach = torch.tensor([height // 8, width // 8])
    shifts = (torch.rand(len(images), 2, generator=generator) * (2 * reach + 1)).long()
    flips = torch.rand(len(images), generator=generator) < 0.5
    padded = functional.pad(images, (int(reach[1]),) * 2 + (int(reach[0]),) * 2, value=background)
    rows = shifts[:, :1] + torch.arange(height)
    columns = shifts[:, 1:] + torch.arange(width)
    columns = torch.where(flips[:, None], columns.flip(1), columns)
    each = torch.arange(len(images))[:, None, None]
    moved_images = padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return lay_out(moved_images, "channels_last")
