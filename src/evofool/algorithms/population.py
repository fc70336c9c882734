"""The genetic algorithm on perturbations of one image: a population for each, operators put together as one likes.

It is `ga.GeneticAlgorithm`, begun with the image itself: as many copies of it as there are elites, whose answer is
known, and members that are drawn from all that are allowed. Every operator of `evofool list operators` works on
perturbations as it does on images; `repaint` and `reseed` are mutations that know the limit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from annotated_types import Ge

from ..contracts import Evaluated, Victims
from ..encodings.perturbation import LpBall
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor
from ..spec import check, op
from . import ga


def repaint(
    x: Float[Tensor, "B n C H W"], *, rng: Stream, value: float, largest: float = 0.3, add: bool = False
) -> Float[Tensor, "B n C H W"]:
    """Give one square of each member one value in each channel, up or down.

    The share of the pixels that it covers is uniform on a logarithmic scale, from one pixel on; it lies anywhere within
    the image, as in the Square Attack.

    Args:
        x: perturbations.
        value: how far up or down.
        largest: share of the pixels that it covers at most.
        add: to what is there, instead of in its place.
    """
    n, channels, height, width = x.shape[1:]
    pixels = height * width
    drawn = rng["square"].uniform(n, 3)
    side = (max(1.0, largest * pixels) ** drawn[..., 0]).sqrt().round().clamp(1, min(height, width))
    top = (drawn[..., 1] * (height - side + 1)).floor()[..., None]
    left = (drawn[..., 2] * (width - side + 1)).floor()[..., None]
    rows, columns, side = torch.arange(height), torch.arange(width), side[..., None]
    in_rows, in_columns = (rows >= top) & (rows < top + side), (columns >= left) & (columns < left + side)
    inside = (in_rows[..., :, None] & in_columns[..., None, :])[:, :, None]
    painted = torch.where(rng["up"].bits(n, channels), value, -value)[..., None, None]
    return torch.where(inside, x + painted if add else painted, x)


def reseed(x: Float[Tensor, "B n *G"], *, rng: Stream, pixels: int, share: float = 0.3) -> Float[Tensor, "B n *G"]:
    """Take back some changed pixels of each member, and make others black or white in each channel.

    At least one is taken back, and the number is uniform up to `share` of the changed ones. So many others change that
    there are as many as allowed; one that is painted as it is already does not count, and is made up for later.

    Args:
        x: perturbations; changed is what is not zero.
        pixels: that may change.
        share: of the changed pixels, at most.
    """
    n, channels, places = x.shape[1], x.shape[2], x[0, 0, 0].numel()
    changed = (x != 0).any(2).flatten(2)
    many = changed.sum(2)
    back = torch.minimum(1 + (rng["count"].uniform(n) * (share * many).floor()).long(), many)
    order = rng["pixels"].uniform(n, places)
    gone = _first(torch.where(changed, order, 2.0), back)
    new = _first(torch.where(changed, 2.0, order), (pixels - many + back).clamp(min=0)) & ~changed
    values = torch.where(rng["values"].bits(n, channels, places), 1.0, -1.0)
    kept = torch.where(gone[:, :, None], 0.0, x.flatten(3))
    return torch.where(new[:, :, None], values, kept).view_as(x)


def _first(order: Float[Tensor, "B n L"], count: Int[Tensor, "B n"]) -> Bool[Tensor, "B n L"]:
    """The places of the `count` smallest numbers."""
    return order.argsort(dim=-1, stable=True).argsort(dim=-1) < count[..., None]


@dataclass(frozen=True)
class State:
    """Populations of perturbations.

    Attributes:
        x: [B C H W], the images.
        population: see `ga.State`.
    """

    x: Float[Tensor, "B C H W"]
    population: ga.State


@dataclass(frozen=True)
class Population:
    """Its configuration, and the algorithm.

    Args:
        encoding: what is allowed, and what the first members are drawn from.
        genetic: the operators, and how often they are used.
        members: of a population, elites included.
        corners: the first members of an L-inf ball are corners of it: each gray level as far up or down as it may be.
    """

    encoding: Any
    genetic: ga.GeneticAlgorithm = ga.GeneticAlgorithm()  # noqa: RUF009 (a frozen value)
    members: Annotated[int, Ge(2)] = 20
    corners: bool = True

    def __post_init__(self) -> None:
        check(self)
        if self.genetic.elites >= self.members:
            raise SpecError(
                f"elites = {self.genetic.elites} with members = {self.members}: expected fewer elites than members"
            )

    @property
    def together(self) -> int:
        """Perturbations of an image in one round."""
        return self.members - self.genetic.elites

    def init(self, victims: Victims) -> State:
        """Nothing but the image itself."""
        genomes = torch.zeros(len(victims), self.members, *victims.x.shape[1:])
        fitness = victims.fitness[:, None].repeat(1, self.members)
        scores = victims.scores[:, None].repeat(1, self.members, 1)
        return State(victims.x, ga.State(genomes, fitness, scores, torch.zeros_like(victims.labels)))

    def ask(self, state: State, rng: Stream) -> Float[Tensor, "B n C H W"]:
        """Members from all that are allowed at first, then children; n = members - elites."""
        first = state.population.told == 0
        children: Tensor = self.genetic.ask(state.population, rng)
        if bool(first.any()):
            begun = self.encoding.sample(state.x, children.shape[1], rng["first"])
            if self.corners and isinstance(self.encoding, LpBall) and self.encoding.norm == "linf":
                eps = self.encoding.eps
                begun = torch.where(rng["corner"].bits(*begun.shape[1:]), eps, -eps)
            children = torch.where(first[:, None, None, None, None], begun, children)
        return children

    def tell(self, state: State, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> State:
        """The population after the answers."""
        return replace(state, population=self.genetic.tell(state.population, evaluated, fitness, success))


def example() -> Population:
    """A small configuration for trying things out."""
    genetic = ga.GeneticAlgorithm(
        crossover=op("crossover.rectangle"),
        mutation=op("evofool.algorithms.population:repaint", value=76 / 255),
        p_mutation=1.0,
        elites=1,
    )
    return Population(LpBall("linf", 76 / 255), genetic, members=6)
