"""RayS: search for the direction of plus and minus signs in which the decision boundary is nearest. Labels only.

Author: Chen, Gu, RayS: a ray searching method for hard-label adversarial attack, KDD 2020,
https://arxiv.org/abs/2006.12792.

The signs of one block of pixels after another are flipped: the whole image, then halves, quarters, and so on. A new
direction is first asked about where the best one so far reached the boundary (one question); only if it fools there,
a binary search finds how near its own boundary is.

Where we differ:
1. Images are bytes. A radius between two gray levels is the larger one for some of the pixels, scattered evenly, and
   the smaller one for the others; what counts as within the limit are the bytes. The smallest step of a radius is a
   64th of a gray level. The published code stops at 0.001 in the L2 norm of the perturbation, which is a 110th of a
   level for 28 x 28 pixels, and less for larger images.
2. A new direction is first asked about one step nearer than the best boundary, where the published code asks at the
   boundary itself and then, of a direction that is no better, searches in vain.
3. As long as no direction fools, each is asked about at radius 1, where all pixels are black or white; the published
   code asks about the same image ten times (radius 1 to 10).
4. An image within the limit that fools ends the search; the published code ends its binary search first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt

from ..contracts import Evaluated, Victims
from ..encodings.perturbation import LpBall, Unbounded
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor
from ..spec import check

WHITE = 255  # gray levels from black to white
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples are spread evenly over [0, 1)


@dataclass(frozen=True)
class State:
    """Images under attack.

    Attributes:
        signs: [B C H W], the best direction, +1 and -1; all +1 at first.
        radius: [B], steps at which it reaches the boundary; one more than those to radius 1 = no direction has fooled.
        level: [B], an image is now cut into 2^level blocks.
        block: [B], which of them is flipped in the direction that is tried.
        bisecting: [B], whether the tried direction is known to fool, and its boundary is being found.
        low, high: [B], steps that do not fool and that do, while bisecting.
    """

    signs: Float[Tensor, "B C H W"]
    radius: Int[Tensor, " B"]
    level: Int[Tensor, " B"]
    block: Int[Tensor, " B"]
    bisecting: Bool[Tensor, " B"]
    low: Int[Tensor, " B"]
    high: Int[Tensor, " B"]


@dataclass(frozen=True)
class RayS:
    """Its configuration, and the algorithm.

    Args:
        encoding: an L-inf ball: an image within it that fools is what is wanted.
        fineness: steps of a radius in a gray level.
    """

    encoding: LpBall
    fineness: Annotated[int, Gt(0)] = 64

    asks: ClassVar[Unbounded] = Unbounded()

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, LpBall) or self.encoding.norm != "linf":
            raise SpecError(
                "rays attacks L-inf only; of labels-only attacks, evolutionary attacks L2, sparse-evo pixels"
            )
        check(self)

    def init(self, victims: Victims) -> State:
        """No direction has been tried."""
        none = torch.zeros_like(victims.labels)
        return State(torch.ones_like(victims.x), none + WHITE * self.fineness + 1, none, none, none.bool(), none, none)

    def ask(self, state: State, rng: Stream) -> Float[Tensor, "B 1 C H W"]:
        """The tried direction, just within the best boundary so far, or in the middle of what is bisected."""
        direction = tried(state)
        place = torch.arange(direction[0].numel(), dtype=torch.float64)
        order = ((place * GOLDEN).frac() * self.fineness).long()  # who gets the larger gray level first
        whole, part = asked(state) // self.fineness, asked(state) % self.fineness
        levels = whole[:, None] + (order < part[:, None])
        return (direction * (levels.view_as(direction).float() / WHITE))[:, None]

    def tell(self, state: State, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> State:
        """Bisect a direction that fools nearer than the best one; go on to the next block after that, or if not."""
        fools = fitness[:, 0] < 0
        bisecting = state.bisecting | fools
        high = torch.where(fools, asked(state), state.high)
        low = torch.where(state.bisecting, torch.where(fools, state.low, asked(state)), 0)
        found = bisecting & (high - low <= 1)
        level, block = self._next(state)
        on = found | ~bisecting
        signs = state.signs
        if bool(found.any()):
            signs = torch.where(found[:, None, None, None], tried(state), signs)
        return State(
            signs,
            torch.where(found, high, state.radius),
            torch.where(on, level, state.level),
            torch.where(on, block, state.block),
            bisecting & ~found,
            low,
            high,
        )

    def _next(self, state: State) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
        """Level and number of the block after this one; from single gray levels one starts over with the first."""
        count = state.signs[0].numel()
        block = state.block + 1
        last = block * size(state) >= count
        level = torch.where(last, state.level + 1, state.level).clamp(max=(count - 1).bit_length())
        return level, torch.where(last, 0, block)


def asked(state: State) -> Int[Tensor, " B"]:
    """The radius of the next question, in steps."""
    return torch.where(state.bisecting, (state.low + state.high) // 2, state.radius - 1)


def size(state: State) -> Int[Tensor, " B"]:
    """Gray levels in a block."""
    count = state.signs[0].numel()
    return -(-count // 2**state.level)


def tried(state: State) -> Float[Tensor, "B C H W"]:
    """The best direction with its block flipped."""
    place = torch.arange(state.signs[0].numel())
    first = (state.block * size(state))[:, None]
    inside = (place >= first) & (place < first + size(state)[:, None])
    return torch.where(inside.view_as(state.signs), -state.signs, state.signs)


def example() -> RayS:
    """A small configuration for trying things out."""
    return RayS(LpBall("linf", 153 / 255))
