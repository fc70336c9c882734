"""Random search: perturbations from all that are allowed, one after another, each without regard to the last.

The control that every claim about a search must beat. Of an L-inf ball and of a few pixels it draws corners, where
attacks succeed most: each gray level at the end of its range, half up, half down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from ..contracts import Evaluated, Victims
from ..encodings.perturbation import LpBall
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Float, Tensor
from .base import Begun, begin


@dataclass(frozen=True)
class RandomSearch:
    """Its configuration, and the algorithm.

    Args:
        encoding: what is drawn from.
        draw: "corners" or "inside" of an L-inf ball (uniform); other limits have one way to be drawn from.
        members: tried in each round.
    """

    encoding: Any
    draw: Literal["corners", "inside"] = "corners"
    members: int = 1

    def __post_init__(self) -> None:
        if self.members < 1:
            raise SpecError(f"members = {self.members}: expected at least 1")

    @property
    def together(self) -> int:
        """Perturbations of an image in one round."""
        return self.members

    def init(self, victims: Victims) -> Begun:
        """Nothing but the images."""
        return begin(victims)

    def ask(self, state: Begun, rng: Stream) -> Float[Tensor, "B n C H W"]:
        """New ones."""
        drawn: Tensor = self.encoding.sample(state.x, self.members, rng)
        if self.draw == "corners" and isinstance(self.encoding, LpBall) and self.encoding.norm == "linf":
            drawn = torch.where(rng["side"].bits(*drawn.shape[1:]), self.encoding.eps, -self.encoding.eps)
        return drawn

    def tell(self, state: Begun, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> Begun:
        """Nothing is learned."""
        return state


def example() -> RandomSearch:
    """A small configuration for trying things out."""
    return RandomSearch(LpBall("linf", 76 / 255))
