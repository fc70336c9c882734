"""BruSLeAttack: which pixels of one random colour image should stand in the picture, learned by Bayes' rule.

Author: Vo, Abbasnejad, Ranasinghe, BruSLeAttack: a query-efficient score-based black-box sparse adversarial attack,
ICLR 2024, https://arxiv.org/abs/2404.05311.

A search draws one synthetic image, each channel of each pixel black or white, and looks for a mask u of k pixels, in
which the image shows the synthetic one. The first masks are random, and the best is held on to. Then each step keeps
some pixels of the mask and takes new ones from outside it, drawn in proportion to theta, of those outside times how
much the synthetic image differs there (the dissimilarity map); the share that is given up falls on a schedule. Theta is
the mean of a Dirichlet distribution over the pixels: its weight for a pixel is (a + z) / (n + z), where n counts the
steps in which the pixel was in the old or in the new mask, and a those that gave it up and were no better for it.

It is written from what the paper says; only the schedule is that of its public code. Where we differ:
1. The share that is given up is lambda_0 (t^-m1 + m2^t) / 2, where t counts all queries from 1, those of the first
   masks too. That is what the code has; with t^m1, as the paper has it, the share would grow.
2. Pixels are drawn without replacement, and of k of them at least one is given up, so that a mask always has k pixels
   and no step asks what is known.
3. Theta is the mean of the posterior, not a draw from it.
4. Both aims go by the margin of the scores; the code takes the margin of probabilities, and for a target the
   cross-entropy.
5. The dissimilarity map is the mean over the channels of the absolute difference.
6. The first masks are asked about one after the other, and a search ends with the first that fools.
7. All images are attacked side by side, each with a synthetic image of its own.
8. What is known of pixels begins with the first exchange; the code counts the first masks as tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le

from ..contracts import Evaluated, Victims
from ..encodings.perturbation import FewPixels
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Float, Int, Tensor
from ..spec import check
from .base import Begun, begin, winners
from .sparse_rs import smallest, with_pixels

RARE = 1e-9  # weight of a pixel that the synthetic image leaves as it is: taken when there is no other
LONG = 1e20  # makes a waiting time longer than any other
Z = 0.01  # keeps the weight of a pixel between 0 and 1, and at 1 before anything is known of it


@dataclass(frozen=True)
class Learned(Begun):
    """Images under attack, and what is known of their pixels.

    Attributes:
        missed: [B H*W], a: how often a pixel was given up in vain.
        tried: [B H*W], n: how often it was in the old or the new mask.
    """

    missed: Float[Tensor, "B HW"]
    tried: Float[Tensor, "B HW"]


@dataclass(frozen=True)
class BruSLe:
    """Its configuration, and the algorithm.

    Args:
        encoding: `FewPixels`.
        rate: lambda_0; the paper has 0.3, and 0.05 of targeted attacks.
        power, step: m1 and m2 of the schedule.
        population: first masks.
    """

    encoding: FewPixels
    rate: Annotated[float, Gt(0), Le(1)] = 0.3
    power: Annotated[float, Ge(0)] = 0.24
    step: Annotated[float, Gt(0), Le(1)] = 0.997
    population: Annotated[int, Gt(0)] = 10

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, FewPixels):
            raise SpecError("brusle attacks a number of pixels only; sparse-rs attacks patches and frames")
        check(self)

    def init(self, victims: Victims) -> Learned:
        """The images; nothing is known."""
        begun = begin(victims)
        nothing = torch.zeros_like(victims.x[:, 0]).flatten(1)
        return Learned(begun.x, begun.labels, begun.best, begun.fitness, begun.told, nothing, nothing)

    def share(self, told: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The share of the mask that the next step gives up."""
        t = (told + 1).double()
        return self.rate * (t**-self.power + self.step**t) / 2

    def ask(self, state: Learned, rng: Stream) -> Float[Tensor, "B 1 C H W"]:
        """A random mask, or after the first ones the best with a few pixels exchanged."""
        total = state.x[0, 0].numel()
        pixels = min(self.encoding.pixels, total)
        synthetic = rng.at(0)["colours"].bits(*state.x.shape[1:]).float()  # the same in each round
        early = state.told < self.population
        held = (state.best != 0).any(1).flatten(1) & ~early[:, None]
        theta = (state.missed + Z) / (state.tried + Z)
        unlike = (synthetic - state.x).abs().mean(1).flatten(1).clamp(min=RARE)
        weight = torch.where(held, theta, theta * unlike)
        if bool(early.any()):
            weight = torch.where(early[:, None], 1.0, weight)
        # The pixels with the shortest waiting times are a draw without replacement in proportion to weight.
        chance = rng["places"].uniform(total, dtype=torch.float64)
        waiting = chance.neg_().log1p_().neg_().float() / weight
        change = (self.share(state.told) * pixels).long().clamp(min=1)
        change = torch.where(early, pixels, change)
        stay = smallest(waiting.masked_fill(~held, torch.inf), pixels - change) & held
        order = waiting.masked_fill(held, torch.inf)
        if pixels + int(change.max()) > total:  # too few are outside: the ones just given up come after them
            order = torch.where(held & ~stay, waiting * LONG, order)
        come = smallest(order, change)
        return with_pixels(torch.zeros_like(state.x), stay | come, synthetic, state.x)[:, None]

    def tell(self, state: Learned, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> Learned:
        """Keep what is better, and learn from what was exchanged."""
        new, value, better = winners(state, evaluated, fitness)
        take = better | (state.told == 0)
        learns = (state.told >= self.population)[:, None]
        before, after = (state.best != 0).any(1).flatten(1), (new != 0).any(1).flatten(1)
        missed = learns & before & ~after & ~better[:, None]
        return Learned(
            state.x,
            state.labels,
            torch.where(take[:, None, None, None], new, state.best),
            torch.where(take, value, state.fitness),
            state.told + 1,
            state.missed + missed,
            state.tried + (learns & (before | after)),
        )


def example() -> BruSLe:
    """A small configuration for trying things out."""
    return BruSLe(FewPixels(5), population=3)


__all__ = ["BruSLe", "example"]
