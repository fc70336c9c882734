"""Genomes that are images: one gene for each gray level of each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import softshrink

from .. import genome
from ..rng import Stream
from ..shapes import Float, Tensor

WHOLE = 1e-4  # gray levels by which float32 rounding may miss a whole one
_ALMOST = float(np.nextafter(np.float32(WHOLE), np.float32(0)))


def to_lattice(images: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"] | None) -> Float[Tensor, "B n C H W"]:
    """Round gray levels in [0, 1] to multiples of 1/255, as a file of bytes holds them.

    Rounded toward x, the image a search started from (on the lattice itself), so that no distance to it grows by more
    than float32 rounding; half to even where there is no x. The result equals `bytes / 255` in float32 exactly.
    """
    levels = images * 255
    if x is None:
        return levels.round_().div_(255)
    # Levels that are whole up to float32 rounding stay what they are. Choosing by a mask takes ten times as long as a
    # sum or a product, so the others are rounded by arithmetic, which is exact here.
    whole = levels.round()
    off = levels.sub_(whole)
    if not off.numel() or bool(off.abs().max() < WHOLE):
        return whole.div_(255)
    over = softshrink(off, _ALMOST).sign_()  # +1 or -1: x may lie beyond `whole`, as seen from the level
    towards = (x[:, None] * 255).round_() - whole
    return whole.add_(towards.mul_(over).clamp_(0, 1).mul_(over)).div_(255)


@dataclass(frozen=True)
class Pixels:
    """The whole image as genes, each in [0, 1]; the genes stay float32 and are never rounded, only what is sent is."""

    def sample(self, x: Float[Tensor, "B C H W"] | None, n: int, rng: Stream) -> Float[Tensor, "B n C H W"]:
        """n images of independent uniform gray levels for each search, of the size of its x.

        Raises:
            ValueError: there is no x to take the size from.
        """
        if x is None:
            raise ValueError("whole images cannot be sampled without an image x that tells their size")
        return rng["pixels"].uniform(n, *x.shape[1:])

    def repair(self, genomes: genome.G, x: Tensor | None) -> genome.G:
        """Clamp every gene to [0, 1]."""
        genes = genome.genes(genomes)
        low, high = torch.aminmax(genes)
        if low >= 0 and high <= 1:
            return genomes
        return genome.with_genes(genomes, genes.clamp(0, 1))

    def decode(self, genomes: genome.G, x: Float[Tensor, "B C H W"] | None) -> Float[Tensor, "B n C H W"]:
        """The images on the 1/255 lattice."""
        return to_lattice(genome.genes(genomes), x)
