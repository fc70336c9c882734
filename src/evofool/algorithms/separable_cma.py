"""CMA-ES on tiles, with one variance for each gene.

Author: Meunier, Atif, Teytaud, Yet another but more efficient black-box adversarial attack: tiling and evolution
strategies, 2019, https://arxiv.org/abs/1910.02244; Ros, Hansen, A simple modification in CMA-ES achieving linear time
and space complexity, PPSN 2008, whose constants are used.

Where we differ, besides what `evolution_strategies` says of genes:
1. What is learned is learned of the genes as they were sent. Of a corner these are signs: then the noise behind a sign
   counts with its mean and its mean square given the sign, and in paths as large as it was on average when drawn.
2. The mean square length of the path is compared with what it would be without selection by then: it begins at 0.
3. One member is asked at a time, so that nothing is asked after the one that fools.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from annotated_types import Ge, Gt

from .. import genome
from ..contracts import Evaluated, Victims
from ..encodings.perturbation import LpBall
from ..rng import Stream
from ..shapes import Float, Int, Tensor
from .evolution_strategies import STEPS, OnTiles, normal, tiles


@dataclass(frozen=True)
class Distribution:
    """From what members are drawn, and those of the present generation.

    Attributes:
        x: [B C H W], the images.
        mean, variance: [B d], of genes; variance without the step.
        step: [B], float64, sigma.
        path, long_path: [B d], evolution paths: of the step, and of the variance.
        asked: [B L d], genes of the generation as they were sent.
        fitness: [B L], of them.
        told: [B], how often answers came.
    """

    x: Float[Tensor, "B C H W"]
    mean: Float[Tensor, "B d"]
    variance: Float[Tensor, "B d"]
    step: Float[Tensor, " B"]
    path: Float[Tensor, "B d"]
    long_path: Float[Tensor, "B d"]
    asked: Float[Tensor, "B L d"]
    fitness: Float[Tensor, "B L"]
    told: Int[Tensor, " B"]


@dataclass(frozen=True)
class SeparableCMA(OnTiles):
    """CMA-ES with one variance for each gene.

    Args:
        encoding: an L-inf or L2 ball.
        tile: side of a tile, in pixels.
        corners: only corners of an L-inf ball are asked about.
        members: of a generation; None = 4 + floor(3 log d) for d genes.
        step: the first sigma.
    """

    members: Annotated[int, Ge(4)] | None = None
    step: Annotated[float, Gt(0)] = 1.0

    def generation(self, genes: int) -> int:
        """Members of a generation."""
        return self.members or 4 + int(3 * math.log(genes))

    def init(self, victims: Victims) -> Distribution:
        """Around the image itself."""
        count, x = len(victims), victims.x
        genes = math.prod(tiles(x.shape, self.tile))
        zeros = torch.zeros(count, genes)
        size = self.generation(genes)
        return Distribution(
            x,
            mean=zeros,
            variance=torch.ones(count, genes),
            step=torch.full((count,), self.step, dtype=torch.float64),
            path=zeros,
            long_path=zeros,
            asked=torch.zeros(count, size, genes),
            fitness=torch.full((count, size), torch.nan, dtype=torch.float64),
            told=torch.zeros(count, dtype=torch.int64),
        )

    def ask(self, state: Distribution, rng: Stream) -> Float[Tensor, "B 1 C H W"]:
        """One more member."""
        noise = normal(rng["member"], state.mean.shape[1])
        return self.sent(state.mean + state.step[:, None].float() * state.variance.sqrt() * noise, state.x)

    def tell(self, state: Distribution, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> Distribution:
        """Note the member; the last of a generation moves the distribution."""
        size = state.fitness.shape[1]
        place = state.told % size
        row = torch.arange(len(place))
        asked, values = state.asked.clone(), state.fitness.clone()
        asked[row, place], values[row, place] = self.genes_of(evaluated), fitness[:, 0]
        noted = replace(state, asked=asked, fitness=values, told=state.told + 1)
        full = place == size - 1
        if not bool(full.any()):
            return noted
        done, open_ = full.nonzero().squeeze(1), (~full).nonzero().squeeze(1)
        moved = self._moved(genome.rows(noted, done))
        return genome.rows(genome.join(moved, genome.rows(noted, open_)), torch.cat([done, open_]).argsort())

    def _moved(self, state: Distribution) -> Distribution:
        """After a whole generation."""
        asked, fitness = state.asked, state.fitness
        d, size = asked.shape[2], asked.shape[1]
        rank = torch.arange(1, size // 2 + 1)
        weight = math.log((size + 1) / 2) - rank.double().log()
        weight = weight / weight.sum()
        several = 1 / float(weight.square().sum())  # members that count: mu_eff
        c_step = (several + 2) / (d + several + 3)
        damping = 1 + c_step + 2 * max(0.0, math.sqrt((several - 1) / (d + 1)) - 1)
        c_path = 4 / (d + 4)
        c_few = min(1.0, (2 * several - 1) / ((d + 2) ** 2 + several))
        c_variance = (2 / several / (d + math.sqrt(2)) ** 2 + (1 - 1 / several) * c_few) * (d + 2) / 3

        order = fitness.nan_to_num(nan=torch.inf).sort(dim=1, stable=True).indices[:, : len(rank)]
        best = asked.gather(1, order[..., None].expand(-1, -1, d)).double()
        scale = state.variance.double().sqrt()
        ratio = state.mean.double() / (state.step[:, None] * scale)
        noise, square, left = self._noise(best, state.mean.double(), state.step[:, None] * scale, ratio)
        w = weight[None, :, None]
        mean_noise, mean_square = (w * noise).sum(1), (w * square).sum(1)
        as_drawn = mean_noise * (d / left.clamp(min=1e-3 * d)).sqrt()[:, None]

        push = math.sqrt(c_step * (2 - c_step) * several)
        path = (1 - c_step) * state.path.double() + push * as_drawn
        generations = state.told // size
        length = path.norm(dim=1) / (d * (1 - (1 - c_step) ** (2 * generations))).sqrt()
        grows = (length < 1.4 + 2 / (d + 1)).double()[:, None]
        long_push = math.sqrt(c_path * (2 - c_path) * several)
        long_path = (1 - c_path) * state.long_path.double() + grows * long_push * scale * as_drawn
        variance = (
            (1 - c_variance) * state.variance.double()
            + c_variance / several * long_path.square()
            + c_variance * (1 - 1 / several) * scale.square() * mean_square
        )
        mean = state.mean.double() + state.step[:, None] * scale * mean_noise
        step = (state.step * (c_step / damping * (length - 1)).exp()).clamp(*STEPS)
        return replace(
            state,
            mean=mean.float(),
            variance=variance.clamp(1e-12, 1e12).float(),
            step=step,
            path=path.float(),
            long_path=long_path.float(),
        )

    def _noise(self, sent: Tensor, mean: Tensor, scale: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The noise behind genes, its square, both [B m d], and their sum of squares without selection, [B]."""
        if not self.as_signs:
            noise = (sent - mean[:, None]) / scale[:, None]
            return noise, noise.square(), torch.full((len(sent),), float(sent.shape[2]), dtype=torch.float64)
        density = -0.5 * ratio.square() - 0.5 * math.log(2 * math.pi)
        up, down = torch.special.log_ndtr(ratio), torch.special.log_ndtr(-ratio)
        mean_up, mean_down = (density - up).exp(), -(density - down).exp()
        noise = torch.where(sent > 0, mean_up[:, None], mean_down[:, None])
        return noise, 1 - ratio[:, None] * noise, (2 * density - up - down).exp().sum(1)


def example() -> SeparableCMA:
    """A small configuration for trying things out."""
    return SeparableCMA(LpBall("linf", 76 / 255), tile=2, members=4)
