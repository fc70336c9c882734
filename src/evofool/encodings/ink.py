"""Genomes that are sets of inked pixels on a blank canvas."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .. import genome, regions
from ..errors import SpecError
from ..operators.lists import listed, mask_of
from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor


@dataclass(frozen=True)
class Ink:
    """Which pixels have ink: a mask of bools [B n H W], or the reduced form, sorted places [B n K] in the image.

    Both give the same images. In the reduced form row r, column c is place r * W + c, and what is no place fills a row
    up (see `reduced`). Operators work on masks.

    Args:
        size: (height, width); None = that of the x that searches start from, or of the mask.
        canvas: gray levels of the blank, one for each channel, in [0, 1].
        ink: those of the ink.
        region: where ink may lie, see `regions`; `repair` takes away what lies elsewhere.

    Raises:
        SpecError: canvas and ink are the same, of different length, or no gray levels.
    """

    size: tuple[int, int] | None = None
    canvas: tuple[float, ...] = (1.0,)
    ink: tuple[float, ...] = (0.0,)
    region: str = regions.EVERYWHERE

    def __post_init__(self) -> None:
        for name in ("canvas", "ink"):
            levels = getattr(self, name)
            if not levels or not all(0 <= level <= 1 for level in levels):
                raise SpecError(f"{name} = {levels}: expected gray levels from 0 (black) to 1 (white)")
        if len(self.canvas) != len(self.ink):
            raise SpecError(f"canvas has {len(self.canvas)} channels and ink {len(self.ink)}: expected as many of each")
        if torch.equal(self._colour(self.canvas), self._colour(self.ink)):
            raise SpecError(f"ink and canvas are both {self.canvas}: expected two that can be told apart")

    def sample(self, x: Float[Tensor, "B C H W"] | None, n: int, rng: Stream) -> Bool[Tensor, "B n H W"]:
        """n masks for each search with one random pixel of the region each.

        Raises:
            ValueError: nothing tells the size.
        """
        height, width = self._size(x)
        allowed = regions.mask(self.region, height, width).flatten().nonzero().squeeze(1)
        chosen = allowed[rng["pixel"].integers(len(allowed), n)]
        return mask_of(chosen[..., None], height * width).view(len(rng), n, height, width)

    def repair(self, genomes: genome.G, x: Tensor | None) -> genome.G:
        """Take away the ink outside the region."""
        if self.region == regions.EVERYWHERE:
            return genomes
        genes = genome.genes(genomes)
        if not _is_mask(genes):
            height, width = self._size(x)
            allowed = regions.mask(self.region, height, width).flatten()
            return genome.with_genes(genomes, self.reduced(self.masks(genes, x) & allowed.view(height, width)))
        return genome.with_genes(genomes, genes & regions.mask(self.region, *genes.shape[-2:]))

    def decode(self, genomes: genome.G, x: Tensor | None = None) -> Float[Tensor, "B n C H W"]:
        """The images, on the 1/255 lattice."""
        masks = self.masks(genome.genes(genomes), x)
        palette = torch.stack([self._colour(self.canvas), self._colour(self.ink)])  # [2 C]
        if len(self.canvas) == 1:
            blank, ink = palette[:, 0].tolist()
            images = torch.full(masks.shape, blank)
            return images.masked_fill_(masks, ink).unsqueeze(2)
        shape = (*masks.shape[:2], 1, *masks.shape[2:])
        return torch.where(masks.view(shape), palette[1][:, None, None], palette[0][:, None, None])

    def masks(self, genes: Tensor, x: Tensor | None = None) -> Bool[Tensor, "B n H W"]:
        """Genomes of either form as masks."""
        if _is_mask(genes):
            return genes
        height, width = self._size(x)
        return mask_of(genes, height * width).unflatten(-1, (height, width))

    def reduced(self, masks: Bool[Tensor, "B n H W"]) -> Int[Tensor, "B n K"]:
        """Masks as sorted places, rows filled up with H * W; K is the largest number of inked pixels."""
        places, _ = listed(masks.flatten(0, 1).flatten(1))
        return places.view(*masks.shape[:2], -1)

    def _size(self, x: Tensor | None) -> tuple[int, int]:
        if self.size is not None:
            return self.size
        if x is None:
            raise ValueError("ink needs its size (height, width), or an image x that tells it")
        return x.shape[-2], x.shape[-1]

    def _colour(self, levels: tuple[float, ...]) -> Float[Tensor, " C"]:
        return (torch.tensor(levels) * 255).round() / 255


def _is_mask(genes: Tensor) -> bool:
    return genes.dtype == torch.bool
