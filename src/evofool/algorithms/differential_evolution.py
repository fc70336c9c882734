"""One pixel attack: differential evolution over where a few pixels stand and what colours they have.

Author: Su, Vargas, Sakurai, One pixel attack for fooling deep neural networks, IEEE Transactions on Evolutionary
Computation 23 (2019), https://arxiv.org/abs/1710.08864.

A member is a list of pixels, each a row, a column and a colour. A child is one member plus F times the difference of
two others (DE/rand/1, without crossover), and takes the place of the member with its number unless it is worse. On
demand the one member is the best so far (DE/best/1), as public code has it.

Each round asks about the whole population: with 400 members the first child is asked about after 400 queries.

Where we differ:
1. Fitness is the margin of the scores; the paper takes the probability of the class to get away from, or to get to.
2. The paper stops after 100 rounds; here the budget ends a search, and so does the first member that fools.
3. What leaves the image is not spoken of in the paper: a row or column outside is drawn anew, as public code does, and
   a colour is cut at black and white.
4. The four members of a child are all different, its own number included.
5. Where two pixels of a member coincide, the later one is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le

from .. import genome
from ..contracts import Evaluated, Victims
from ..encodings.perturbation import FewPixels
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Float, Int, Tensor
from ..spec import check

MIDDLE, SPREAD = 128 / 255, 127 / 255  # mean and standard deviation of the first colours


@dataclass(frozen=True)
class Placed:
    """Perturbations, and the members that they come from.

    Attributes:
        genes: [B P C H W], the perturbations.
        members: [B P k 2+C], row and column as shares of the image, in [0, 1), and gray levels in [0, 1].
    """

    genes: Float[Tensor, "B P C H W"]
    members: Float[Tensor, "B P k D"]


@dataclass(frozen=True)
class Evolved:
    """Images under attack.

    Attributes:
        x: [B C H W], as they are.
        members: [B P k 2+C], see `Placed`.
        fitness: [B P], of them; inf where there was no answer.
        told: [B], how often answers came.
    """

    x: Float[Tensor, "B C H W"]
    members: Float[Tensor, "B P k D"]
    fitness: Float[Tensor, "B P"]
    told: Int[Tensor, " B"]


@dataclass(frozen=True)
class DifferentialEvolution:
    """Its configuration, and the algorithm.

    Args:
        encoding: `FewPixels`.
        population: members; the paper has 400.
        scale: F, by which differences are multiplied; the paper has 0.5.
        base: what children are built on: "any" member, or the "best".
    """

    encoding: FewPixels
    population: Annotated[int, Ge(4)] = 400
    scale: Annotated[float, Gt(0), Le(2)] = 0.5
    base: Literal["any", "best"] = "any"

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, FewPixels):
            raise SpecError("one-pixel attacks a number of pixels only; sparse-rs attacks patches and frames")
        check(self)

    @property
    def together(self) -> int:
        """Perturbations of an image in one round."""
        return self.population

    def init(self, victims: Victims) -> Evolved:
        """The images, without a population."""
        images, channels = victims.x.shape[:2]
        members = torch.zeros(images, self.population, self.encoding.pixels, 2 + channels)
        return Evolved(
            victims.x,
            members,
            torch.full((images, self.population), torch.inf, dtype=torch.float64),
            torch.zeros_like(victims.labels),
        )

    def ask(self, state: Evolved, rng: Stream) -> Placed:
        """The first members, then a child for each."""
        shape = state.members.shape[1:]
        first = (state.told == 0)[:, None, None, None]
        members = _inside(self._children(state, rng), rng["anew"].uniform(*shape[:2], 2))
        if bool(first.any()):
            places = rng["places"].uniform(*shape[:2], 2)
            colours = (MIDDLE + SPREAD * rng["colours"].normal(*shape[:2], shape[2] - 2)).clamp(0, 1)
            members = torch.where(first, torch.cat([places, colours.float()], 3), members)
        return Placed(painted(members, state.x), members)

    def tell(self, state: Evolved, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> Evolved:
        """A child takes the place of its father unless it is worse."""
        value = fitness.nan_to_num(nan=torch.inf)
        take = (value <= state.fitness) | (state.told == 0)[:, None]
        return Evolved(
            state.x,
            torch.where(take[:, :, None, None], evaluated.genomes.members, state.members),
            torch.where(take, value, state.fitness),
            state.told + 1,
        )

    def _children(self, state: Evolved, rng: Stream) -> Float[Tensor, "B P k D"]:
        """x_r1 + F (x_r2 - x_r3), the three and the member with the child's number all different; or x_best + ..."""
        size = self.population
        parents = genome.take(state.members, others(size, rng["parents"]).flatten(1))
        base, one, two = parents.unflatten(1, (size, 3)).unbind(2)
        if self.base == "best":  # of equals the first
            base = genome.take(state.members, state.fitness.argmin(1, keepdim=True))
        return base + self.scale * (one - two)


def others(size: int, rng: Stream) -> Int[Tensor, "B P 3"]:
    """Of each member three others, all different."""
    drawn = rng.uniform(3, size, dtype=torch.float64)
    a, b, c = ((drawn[:, i] * (size - 1 - i)).long() + 1 for i in range(3))
    b = b + (b >= a)
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    c = c + (c >= low)
    c = c + (c >= high)
    return (torch.arange(size)[:, None] + torch.stack([a, b, c], 2)) % size


def painted(members: Float[Tensor, "B P k D"], x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B P C H W"]:
    """The perturbations of members."""
    images, population, pixels = members.shape[:3]
    channels, height, width = x.shape[1:]
    row = (members[..., 0] * height).long().clamp(max=height - 1)
    column = (members[..., 1] * width).long().clamp(max=width - 1)
    place = row * width + column
    old = x.flatten(2)[:, None].expand(-1, population, -1, -1)
    new = torch.zeros(images, population, channels, height * width)
    for pixel in range(pixels):
        at = place[:, :, pixel, None, None].expand(-1, -1, channels, -1)
        new.scatter_(3, at, members[:, :, pixel, 2:, None] - old.gather(3, at))
    return new.unflatten(3, (height, width))


def _inside(members: Float[Tensor, "B P k D"], anew: Float[Tensor, "B P k 2"]) -> Float[Tensor, "B P k D"]:
    places, colours = members[..., :2], members[..., 2:]
    return torch.cat([torch.where((places < 0) | (places >= 1), anew, places), colours.clamp(0, 1)], 3)


def example() -> DifferentialEvolution:
    """A small configuration for trying things out."""
    return DifferentialEvolution(FewPixels(3), population=5)


__all__ = ["DifferentialEvolution", "Placed", "example", "others", "painted"]
