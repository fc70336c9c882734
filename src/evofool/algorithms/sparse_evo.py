"""SparseEvo: evolve which pixels come from an image that fools, and which from x. Labels only.

Author: Vo, Abbasnejad, Ranasinghe, Query efficient decision based sparse attacks against black-box machine learning
models, ICLR 2022, https://arxiv.org/abs/2202.00091.

A member is a mask of pixels. A child takes from the best member what a mixture of two others has too, less one pixel in
a hundred; it replaces the worst member if it still fools and is nearer to x.

Where we differ:
1. The image to begin from is black and white noise, in cells of 1, 2, 4, 8, 16 pixels and then anew, until one fools,
   as in the published code; all these questions count.
2. Of the first members, those that fool with no pixel dropped only are the image to begin from, at once and with its
   own distance; the published code goes on to drop its pixels in order, and counts such a member as infinitely far.
3. A child of one pixel loses none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Le

from ..contracts import Evaluated, Victims
from ..encodings.perturbation import FewPixels, Unbounded
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor
from ..spec import check
from .starts import cells


@dataclass(frozen=True)
class State:
    """Images under attack.

    Attributes:
        x: [B C H W], as they are.
        start: [B C H W], the perturbation that fools and that members are parts of; zeros until one is found.
        found: [B], whether one is.
        told: [B], how often answers came.
        masks: [B P S], pixels of the members.
        distance: [B P], Euclidean, of the members.
        filled: [B], how many members there are.
        drop: [B], pixels that the next of the first members leaves out.
    """

    x: Float[Tensor, "B C H W"]
    start: Float[Tensor, "B C H W"]
    found: Bool[Tensor, " B"]
    told: Int[Tensor, " B"]
    masks: Bool[Tensor, "B P S"]
    distance: Float[Tensor, "B P"]
    filled: Int[Tensor, " B"]
    drop: Int[Tensor, " B"]


@dataclass(frozen=True)
class SparseEvo:
    """Its configuration, and the algorithm.

    Args:
        encoding: a number of pixels: an image with no more changed that fools is what is wanted.
        population: members.
        p_crossover: share of the pixels in which a mixture follows the first of two members.
        p_mutation: share of its pixels that a child leaves out, at least one.
        first: share of the image's pixels that the first members leave out, at least one.
    """

    encoding: FewPixels
    population: Annotated[int, Ge(3)] = 10
    p_crossover: Annotated[float, Ge(0), Le(1)] = 0.9
    p_mutation: Annotated[float, Ge(0), Le(1)] = 0.01
    first: Annotated[float, Gt(0), Le(1)] = 0.004

    asks: ClassVar[Unbounded] = Unbounded()

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, FewPixels):
            raise SpecError(
                "sparse-evo attacks pixels only; of labels-only attacks, rays attacks L-inf, evolutionary L2"
            )
        check(self)

    def init(self, victims: Victims) -> State:
        """Nothing that fools is known."""
        x, none = victims.x, torch.zeros_like(victims.labels)
        masks = torch.zeros(len(x), self.population, x.shape[2] * x.shape[3], dtype=torch.bool)
        far = torch.full((len(x), self.population), torch.inf)
        return State(x, torch.zeros_like(x), none.bool(), none, masks, far, none, none)

    def ask(self, state: State, rng: Stream) -> Float[Tensor, "B 1 C H W"]:
        """A child, one of the first members, or an image to begin from."""
        filling = state.filled < self.population
        whole = differs(state.start)
        if not bool(filling.any()):
            mask = self._recombined(state, rng)
        else:
            mask = torch.where(filling[:, None], whole, self._recombined(state, rng))
        count = mask.sum(1)
        fewer = torch.where(filling, state.drop, (count * self.p_mutation).long().clamp(min=1))
        mask = without(mask, torch.minimum(fewer, (count - 1).clamp(min=0)), rng)
        asked = torch.where(mask.view(len(mask), 1, *state.x.shape[2:]), state.start, 0.0)
        if not bool(state.found.all()):
            noise = rng["start"].bits(*state.x.shape[2:]).float()[:, None].expand_as(state.x)
            asked = torch.where(state.found[:, None, None, None], asked, cells(noise, state.told) - state.x)
        return asked[:, None]

    def tell(self, state: State, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> State:
        """Begin from an image that fools; then fill the population; then replace its worst by what is better."""
        asked, fools = evaluated.genomes[:, 0], fitness[:, 0] < 0
        begins = fools & ~state.found
        filling = state.found & (state.filled < self.population)
        evolving = state.found & ~filling
        as_it_was = filling & ~fools & (state.drop <= 1)  # nothing can be left out
        member = torch.where(as_it_was[:, None, None, None], state.start, asked)
        distance = member.flatten(1).norm(dim=1)
        worst, last = state.distance.max(1)
        place = torch.where(evolving, last, state.filled)
        enters = (filling & fools) | as_it_was | (evolving & fools & (distance < worst))
        masks, distances, row = state.masks.clone(), state.distance.clone(), enters.nonzero().squeeze(1)
        masks[row, place[row]], distances[row, place[row]] = differs(member[row]), distance[row]
        start = torch.where(begins[:, None, None, None], asked, state.start)
        filled = state.filled + (enters & filling).long()
        first = max(1, round(self.first * state.masks.shape[2]))
        fewer = torch.where(begins | (filling & enters), first, (state.drop - 1).clamp(min=1))
        return State(
            state.x,
            start,
            state.found | begins,
            state.told + 1,
            masks,
            distances,
            filled,
            fewer,
        )

    def _recombined(self, state: State, rng: Stream) -> Bool[Tensor, "B S"]:
        """What the best member has, and a mixture of two others has too."""
        row = torch.arange(len(state.masks))
        best = state.distance.argmin(1)
        order = rng["parents"].permutation(self.population)[:, :3]
        others = order.gather(1, (order == best[:, None]).byte().argsort(dim=1, stable=True))[:, :2]
        one = rng["crossover"].uniform(state.masks.shape[2]) < self.p_crossover
        mixed = torch.where(one, state.masks[row, others[:, 0]], state.masks[row, others[:, 1]])
        return state.masks[row, best] & mixed


def differs(perturbation: Float[Tensor, "B C H W"]) -> Bool[Tensor, "B S"]:
    """Which pixels are changed."""
    return (perturbation != 0).any(1).flatten(1)


def without(mask: Bool[Tensor, "B S"], fewer: Int[Tensor, " B"], rng: Stream) -> Bool[Tensor, "B S"]:
    """A mask with so many of its pixels left out."""
    most = int(fewer.max())
    if most < 1:
        return mask
    key = torch.where(mask, rng["mutation"].uniform(mask.shape[1]), -1.0)
    place = key.topk(most, dim=1).indices
    out = torch.zeros_like(mask).scatter_(1, place, torch.arange(most) < fewer[:, None])
    return mask & ~out


def example() -> SparseEvo:
    """A small configuration for trying things out."""
    return SparseEvo(FewPixels(25))
