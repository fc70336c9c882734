"""NES: steps against a gradient that is estimated from answers around a point, as natural evolution strategies do.

Author: Ilyas, Engstrom, Athalye, Lin, Black-box adversarial attacks with limited queries and information, ICML 2018,
https://arxiv.org/abs/1804.08598; Wierstra, Schaul, Glasmachers, Sun, Peters, Schmidhuber, Natural evolution strategies,
JMLR 15 (2014).

Where we differ:
1. One image is asked about at a time: the samples, of which the second of each pair mirrors the first, then the point
   that the step leads to. The published code asks about the samples together, and about the point without counting it.
2. What was added to a sample is read from the perturbation within [0, 1] and the ball, before it is rounded to gray
   levels, and its answer counts by how much it differs from that of the point: what is cut off does not tilt the
   estimate.
3. Images lie on the 1/255 lattice, so that the published spread of 0.001 would change nothing; spread and step are
   shares of eps.
4. The loss is the margin; theirs is the cross-entropy. Their annealing of the step on plateaus is left out.
5. L2: a step goes along the estimate, not its sign, and has its length within [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt

from ..contracts import Evaluated, Victims
from ..encodings.perturbation import LpBall
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Float, Int, Tensor
from ..spec import check
from .evolution_strategies import normal, to_radius


@dataclass(frozen=True)
class State:
    """Where searches are.

    Attributes:
        x: [B C H W], the images.
        point: [B C H W], the perturbation that is stepped from; zeros at first.
        fitness: [B], of it.
        slope: [B C H W], the estimate so far: the sum over samples of what was added times how much worse it was.
        momentum: [B C H W], of the steps before.
        told: [B], how often answers came.
    """

    x: Float[Tensor, "B C H W"]
    point: Float[Tensor, "B C H W"]
    fitness: Float[Tensor, " B"]
    slope: Float[Tensor, "B C H W"]
    momentum: Float[Tensor, "B C H W"]
    told: Int[Tensor, " B"]


@dataclass(frozen=True)
class NES:
    """Its configuration, and the algorithm.

    Args:
        encoding: an L-inf or L2 ball.
        samples: asked about before each step, an even number.
        spread: standard deviation of what is added to a gray level. Of L-inf as a share of eps; of L2 as a share of
            what each gray level would have if all shared eps alike.
        step: how far each gray level (L2: the whole image) moves in a step, as a share of eps.
        momentum: share of the estimates before.
    """

    encoding: LpBall
    samples: Annotated[int, Ge(2)] = 50
    spread: Annotated[float, Gt(0)] = 0.3
    step: Annotated[float, Gt(0)] = 0.33
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, LpBall):
            raise SpecError("NES attacks L-inf and L2 only")
        check(self)
        if self.samples % 2:
            raise SpecError(f"samples = {self.samples}: expected an even number, for they are asked in pairs")

    def init(self, victims: Victims) -> State:
        """The images as they are."""
        zeros = torch.zeros_like(victims.x)
        return State(victims.x, zeros, victims.fitness, zeros, zeros, torch.zeros_like(victims.labels))

    def ask(self, state: State, rng: Stream) -> Float[Tensor, "B 1 C H W"]:
        """A sample, or the point that the samples lead to."""
        phase = state.told % (self.samples + 1)
        # The second of a pair has the numbers of the round before.
        now = rng.generation
        rounds = torch.tensor([now] * len(phase) if isinstance(now, int) else list(now))
        second = phase % 2 == 1
        drawn = rng.at((rounds - second.long()).tolist())
        scale = self.spread * self.encoding.eps
        if self.encoding.norm == "l2":
            scale /= state.x[0].numel() ** 0.5
        added = scale * normal(drawn["sample"], state.x[0].numel()).view_as(state.x)
        asked = state.point + torch.where(_wide(second), -added, added)
        last = phase == self.samples
        if bool(last.any()):
            asked = torch.where(_wide(last), self._stepped(state), asked)
        return asked[:, None]

    def _estimate(self, state: State) -> Float[Tensor, "B C H W"]:
        """The slope, with momentum."""
        return self.momentum * state.momentum + (1 - self.momentum) * state.slope

    def _stepped(self, state: State) -> Float[Tensor, "B C H W"]:
        slope = self._estimate(state)
        if self.encoding.norm == "linf":
            return state.point - self.step * self.encoding.eps * slope.sign()
        return state.point + to_radius(-slope, state.x + state.point, self.step * self.encoding.eps)

    def tell(self, state: State, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> State:
        """Add a sample to the estimate, or move to the point."""
        sent, value = evaluated.genomes[:, 0], fitness[:, 0]
        phase = state.told % (self.samples + 1)
        last = phase == self.samples
        worse = (value - state.fitness).nan_to_num(nan=0.0).float()  # of a sample without an answer nothing is known
        slope = state.slope + _wide(worse) * (sent - state.point)
        if not bool(last.any()):
            return State(state.x, state.point, state.fitness, slope, state.momentum, state.told + 1)
        here = _wide(last)
        return State(
            state.x,
            torch.where(here, sent, state.point),
            torch.where(last & ~value.isnan(), value, state.fitness),
            torch.where(here, 0.0, slope),
            torch.where(here, self._estimate(state), state.momentum),
            state.told + 1,
        )


def _wide(row: Tensor) -> Tensor:
    """[B] against [B C H W]."""
    return row[:, None, None, None]


def example() -> NES:
    """A small configuration for trying things out."""
    return NES(LpBall("linf", 76 / 255), samples=6)
