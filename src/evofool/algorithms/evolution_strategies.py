"""The (1+1)-ES on tiles: a child takes the place of its parent if it is not worse.

Author: Meunier, Atif, Teytaud, Yet another but more efficient black-box adversarial attack: tiling and evolution
strategies, 2019, https://arxiv.org/abs/1910.02244.

A gene is what is added to one tile in one channel, as a share of eps. Where we differ:
1. A corner of the ball is the sign of each gene; the paper tosses a coin whose odds are the gene. Within the ball genes
   are clamped to [-1, 1]; the paper takes their tanh.
2. The parent has the genes that were sent: of a corner signs, so that the step alone says how many of them flip. A
   child flips at least one, where the paper may ask about its parent again.
3. L2: genes are the direction, scaled so that what is left within [0, 1] has the radius. The paper has L-inf only.
4. The loss is the margin; the paper has the cross-entropy, and the margin of probabilities in its appendix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch.nn import functional

from ..contracts import Evaluated, Victims
from ..encodings.perturbation import LpBall
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Float, Tensor
from ..spec import check

SUCCEEDED, FAILED = 2.0, 0.84  # what a step of the (1+1)-ES is multiplied by: the one-fifth rule of Nevergrad
STEPS = (1e-3, 1e3)  # the smallest and the largest


def normal(rng: Stream, count: int) -> Float[Tensor, "B count"]:
    """Independent standard normal numbers, by Box and Muller."""
    half = (count + 1) // 2
    radius = (-2 * (1 - rng["radius"].uniform(half)).log()).sqrt()
    angle = rng["angle"].uniform(half) * (2 * math.pi)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :count]


def cauchy(rng: Stream, count: int) -> Float[Tensor, "B count"]:
    """Independent standard Cauchy numbers."""
    return (math.pi * (rng.uniform(count) - 0.5)).tan()


def tiles(shape: tuple[int, ...] | torch.Size, tile: int) -> tuple[int, int, int]:
    """Channels, rows and columns of the genes of images [..., C, H, W]; the last tiles may be cut off."""
    return shape[-3], -(-shape[-2] // tile), -(-shape[-1] // tile)


def spread(genes: Float[Tensor, "B d"], shape: torch.Size, tile: int) -> Float[Tensor, "B C H W"]:
    """Images [B C H W] of constant tiles."""
    small = genes.view(len(genes), *tiles(shape, tile))
    return small.repeat_interleave(tile, 2).repeat_interleave(tile, 3)[:, :, : shape[2], : shape[3]]


def strongest(sent: Float[Tensor, "B C H W"], tile: int) -> Float[Tensor, "B d"]:
    """In each tile the value furthest from 0; of two opposite ones the positive one."""
    if tile == 1:
        return sent.flatten(1)
    high = functional.max_pool2d(sent, tile, ceil_mode=True).flatten(1)
    low = -functional.max_pool2d(-sent, tile, ceil_mode=True).flatten(1)
    return torch.where(high >= -low, high, low)


def signs(sent: Float[Tensor, "B C H W"], x: Float[Tensor, "B C H W"], tile: int) -> Float[Tensor, "B d"]:
    """The sign that was asked for in each tile; where nothing of it was left, x is black and could only be raised."""
    # All that is left in a tile has that sign, so that its sum has.
    total = functional.avg_pool2d(sent, tile, ceil_mode=True, divisor_override=1) if tile > 1 else sent
    black = x[:, :, ::tile, ::tile] == 0  # then the whole tile is: it is all black or all white
    return torch.where(total == 0, torch.where(black, -1.0, 1.0), total.sign()).flatten(1)


def to_radius(direction: Float[Tensor, "B C H W"], x: Float[Tensor, "B C H W"], eps: float) -> Float[Tensor, "B C H W"]:
    """Stretch perturbations until what is left of them within [0, 1] has the length eps, or nearly so."""
    scaled = direction
    for _ in range(4):
        left = scaled.clamp(-x, 1 - x).flatten(1).norm(dim=1).clamp(min=1e-12)
        scaled = scaled * (eps / left)[:, None, None, None]
    return scaled


@dataclass(frozen=True)
class OnTiles:
    """What strategies on tiles have in common.

    Args:
        encoding: an L-inf or L2 ball.
        tile: side of a tile, in pixels.
        corners: only corners of an L-inf ball are asked about.
    """

    encoding: LpBall
    tile: Annotated[int, Ge(1)] = 2
    corners: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, LpBall):
            raise SpecError("evolution strategies attack L-inf and L2 only")
        check(self)

    @property
    def as_signs(self) -> bool:
        """Whether genes are signs."""
        return self.corners and self.encoding.norm == "linf"

    def sent(self, genes: Float[Tensor, "B d"], x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 C H W"]:
        """The perturbation that genes are."""
        eps = self.encoding.eps
        if self.as_signs:
            return spread(torch.where(genes >= 0, eps, -eps), x.shape, self.tile)[:, None]
        if self.encoding.norm == "linf":
            return spread(genes.clamp(-1, 1), x.shape, self.tile)[:, None] * eps
        return to_radius(spread(genes, x.shape, self.tile), x, eps)[:, None]

    def genes_of(self, evaluated: Evaluated) -> Float[Tensor, "B d"]:
        """The genes as they were sent; of L2 they have the length of so many standard normal numbers."""
        assert evaluated.x is not None
        sent = evaluated.genomes[:, 0]
        if self.as_signs:
            return signs(sent, evaluated.x, self.tile)
        genes = strongest(sent, self.tile)
        if self.encoding.norm == "linf":
            return genes / self.encoding.eps
        return genes * (math.sqrt(genes.shape[1]) / genes.norm(dim=1).clamp(min=1e-12))[:, None]


@dataclass(frozen=True)
class Parent:
    """The one that lives.

    Attributes:
        x: [B C H W], the images.
        genes: [B d], of the parent; zeros at first, which is the image itself.
        fitness: [B], of it.
        step: [B], the scale of mutation.
    """

    x: Float[Tensor, "B C H W"]
    genes: Float[Tensor, "B d"]
    fitness: Float[Tensor, " B"]
    step: Float[Tensor, " B"]


@dataclass(frozen=True)
class OnePlusOne(OnTiles):
    """The (1+1)-ES: a child that is not worse than its parent takes its place.

    Args:
        encoding: an L-inf or L2 ball.
        tile: side of a tile, in pixels.
        corners: only corners of an L-inf ball are asked about.
        mutation: how genes are mutated; large steps of few genes are far more frequent with "cauchy".
        step: the first scale of mutation.
    """

    mutation: Literal["cauchy", "normal"] = "cauchy"
    step: Annotated[float, Gt(0)] = 1.0

    def init(self, victims: Victims) -> Parent:
        """The image itself is the first parent."""
        count, x = len(victims), victims.x
        genes = torch.zeros(count, math.prod(tiles(x.shape, self.tile)))
        return Parent(x, genes, victims.fitness, torch.full((count,), self.step))

    def ask(self, state: Parent, rng: Stream) -> Float[Tensor, "B 1 C H W"]:
        """A child."""
        count = state.genes.shape[1]
        noise = cauchy(rng["mutation"], count) if self.mutation == "cauchy" else normal(rng["mutation"], count)
        genes = state.genes + state.step[:, None] * noise
        if self.as_signs:
            agrees = genes * state.genes
            nearest = agrees.argmin(1, keepdim=True)
            flipped = genes.scatter(1, nearest, -state.genes.gather(1, nearest))
            genes = torch.where((agrees.amin(1) > 0)[:, None], flipped, genes)
        return self.sent(genes, state.x)

    def tell(self, state: Parent, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> Parent:
        """The better of parent and child, and a longer or a shorter step."""
        value = fitness[:, 0].nan_to_num(nan=torch.inf)
        better = value <= state.fitness.nan_to_num(nan=torch.inf)
        genes = torch.where(better[:, None], self.genes_of(evaluated), state.genes)
        step = (state.step * torch.where(better, SUCCEEDED, FAILED)).clamp(*STEPS)
        return Parent(state.x, genes, torch.where(better, fitness[:, 0], state.fitness), step)


def example() -> OnePlusOne:
    """A small configuration for trying things out."""
    return OnePlusOne(LpBall("linf", 76 / 255), tile=2)
