"""Genomes that are images: one gene for each gray level of each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .. import genome
from ..rng import Stream
from ..shapes import Float, Tensor


def to_lattice(images: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"] | None) -> Float[Tensor, "B n C H W"]:
    """Round gray levels in [0, 1] to multiples of 1/255, as a file of bytes holds them.

    Rounded toward x, the image a search started from (on the lattice itself), so that no distance to it grows by more
    than float32 rounding; half to even where there is no x. The result equals `bytes / 255` in float32 exactly.
    """
    levels = images * 255
    if x is None:
        return levels.round_().div_(255)
    # Levels that are whole up to float32 rounding stay what they are.
    whole = levels.round()
    levels = torch.where((levels - whole).abs() < 1e-4, whole, levels)
    return torch.where(levels > (x[:, None] * 255).round(), levels.floor(), levels.ceil()).div_(255)


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
