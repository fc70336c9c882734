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


def moved(
    images: Tensor, background: float, generator: torch.Generator, *, mirror: bool = False
) -> Float[Tensor, "N C H W"]:
    """Turn each image by up to 10 degrees, scale it by up to 10% and shift it by up to 8% of its size.

    With `mirror`, every other one is also mirrored, left to right.
    """

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(len(images), generator=generator) - 1) * limit

    angle, scale = uniform(math.pi / 18), 1 + uniform(0.1)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    right, down = uniform(0.16), uniform(0.16)
    side = uniform(1.0).sign() if mirror else torch.ones(len(images))
    rows = [torch.stack(row, dim=1) for row in ((side * cosine, -sine, right), (side * sine, cosine, down))]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    # What moves in from outside is background; sampling pads with 0.
    sampled = functional.grid_sample(images - background, grid, align_corners=False) + background
    return lay_out(sampled, "channels_last")
