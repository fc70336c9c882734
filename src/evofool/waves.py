"""Changes of images as sums of waves: the coordinates in which a search learns what a classifier feels.

The waves are those of the discrete cosine transform, over rows, over columns and over channels, the slow ones first. Of
an image of red, green and blue the first channel wave is what they share, the others how they differ. They are as
orthonormal as pixels are; of large images only the slower waves are kept.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from .shapes import Float, Int, Tensor

MOST = 1024  # waves
RINGS = 4  # bands of each channel wave, out to the fastest wave along a side; the corners beyond are further ones


@dataclass(frozen=True)
class Waves:
    """The waves of images of one shape.

    Attributes:
        across: [c C], channel waves by channels.
        down: [h H], waves along a column by rows.
        along: [w W], waves along a row by columns.
        bands: [K], the band of each of the K = c h w waves: those of one channel wave that are about as fast.
        sizes: [n], how many waves a band has.
        apart: [n n], such that v apart v is the sum of squared differences of v between neighbouring bands, those of
            one channel wave that come next in speed.
    """

    across: Float[Tensor, "c C"]
    down: Float[Tensor, "h H"]
    along: Float[Tensor, "w W"]
    bands: Int[Tensor, " K"]
    sizes: Int[Tensor, " n"]
    apart: Float[Tensor, "n n"]

    def of(self, changes: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """How much of each wave is in a change."""
        slow = _product(self.down, changes, self.along.T)
        return slow.flatten(1) if len(self.across) == 1 else (self.across @ slow.flatten(2)).flatten(1)

    def change(self, amounts: Float[Tensor, "B K"]) -> Float[Tensor, "B C H W"]:
        """The sum of so much of each wave."""
        channels, down, along = len(self.across), len(self.down), len(self.along)
        mixed = amounts.view(-1, channels, down * along)
        if channels > 1:
            mixed = self.across.T @ mixed
        return _product(self.down.T, mixed.unflatten(2, (down, along)), self.along)

    def by_band(self, values: Float[Tensor, "B K"]) -> Float[Tensor, "B n"]:
        """Sums over the waves of each band."""
        return torch.zeros(len(values), len(self.sizes)).index_add_(1, self.bands, values)


@functools.lru_cache(maxsize=8)
def waves(image_shape: tuple[int, int, int]) -> Waves:
    """Those of images of a shape (C, H, W): `MOST` at most, as many along each side as there are pixels, or fewer."""
    channels, height, width = min(image_shape[0], MOST), *image_shape[1:]
    side = max(1, math.isqrt(MOST // channels))
    down, along = min(height, side), min(width, side)
    speed = torch.hypot(torch.arange(down)[:, None].double(), torch.arange(along).double())
    ring = (speed * RINGS / max(down, along)).long().flatten()
    number = int(ring.max()) + 1
    bands = (torch.arange(channels)[:, None] * number + ring).flatten()
    present, bands = bands.unique(return_inverse=True)
    sizes = bands.bincount(minlength=len(present))
    steps = torch.eye(len(present))[1:] - torch.eye(len(present))[:-1]
    steps = steps[(present[1:] // number) == (present[:-1] // number)]
    return Waves(
        _cosines(image_shape[0])[:channels],
        _cosines(height)[:down],
        _cosines(width)[:along],
        bands,
        sizes,
        steps.T @ steps,
    )


def _product(
    left: Float[Tensor, "a h"], images: Float[Tensor, "B C h w"], right: Float[Tensor, "w b"]
) -> Float[Tensor, "B C a b"]:
    """left @ images @ right, the same bits for an image whatever stands beside it."""
    if all(side > 3 and (side % 2 == 0 or side > 16) for side in images.shape[2:]):
        return left @ (images @ right)
    # Sums over few places, or an odd number of them, would depend on where in memory they lie.
    wide = [functional.pad(part, _to_16(part)) for part in (left, images, right)]
    return (wide[0] @ (wide[1] @ wide[2]))[..., : len(left), : right.shape[1]].contiguous()


def _to_16(matrix: Tensor) -> tuple[int, int, int, int]:
    """What lacks the last two sides to be multiples of 16."""
    return 0, -matrix.shape[-1] % 16, 0, -matrix.shape[-2] % 16


def _cosines(length: int) -> Float[Tensor, "n n"]:
    """The orthonormal cosine transform: waves by places."""
    places, speeds = torch.arange(length, dtype=torch.float64), torch.arange(length, dtype=torch.float64)
    rows = torch.cos(math.pi * (2 * places + 1) * speeds[:, None] / (2 * length)) * math.sqrt(2 / length)
    rows[0] /= math.sqrt(2)
    return rows.float()
