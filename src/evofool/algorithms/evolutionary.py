"""Evolutionary attack: a (1+1) evolution strategy with a diagonal covariance, from an image that fools towards x.

Author: Dong, Su, Wu, Li, Liu, Zhang, Zhu, Efficient decision-based black-box adversarial attacks on face recognition,
CVPR 2019, https://arxiv.org/abs/1904.04433. Labels only.

Each step is a move towards x plus normal noise in a few coordinates of a coarse grid, chosen in proportion to their
variance; a step that still fools is taken. An evolution path learns the variances, and the length of the move towards
x follows the share of steps that were taken.

Where we differ:
1. The image to begin from is looked for: mixtures of x with more and more noise (10 %, 20 %, ... 100 % of a new noise
   image), and then the same with noise in coarser cells; all these questions count. The paper says no more than that
   it begins from an image that fools.
2. A step is scaled so that it ends where its move towards x alone would: its noise makes it no longer. So no question
   is wasted on a step that is no nearer to x, which the paper would refuse. The code published with ARES does so too.
3. The success rate is that of the last 30 steps, as in ARES (the paper: "several"), and the move towards x is at most
   half of the way.
4. Paths and variances learn from noise as it was drawn, in units of the step size, before images are clamped.
5. The paper has one size of image (faces of 112 x 112, a grid of 45 x 45). Ours is 0.4 of whatever rows and columns
   there are, and noise is scaled so that steps are as long for their distance to x as the paper's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Gt, Le
from torch.nn import functional

from ..contracts import Evaluated, Victims
from ..encodings.perturbation import LpBall, Unbounded
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor
from ..spec import check
from .starts import SCALES, cells

STRENGTHS = 10  # of noise, before it becomes coarser
WINDOW = 30  # steps after which the move towards x is adapted
RATE = 0.2  # share of steps that should be taken
TOWARDS = 0.01  # of the way to x in a step, at first
FARTHEST = 0.5
COORDINATES = 45 * 45 * 3 // 20  # that a step of the paper changes


@dataclass(frozen=True)
class Step:
    """What is asked about.

    Attributes:
        perturbation: [B 1 C H W].
        drawn: [B 1 C h w], its noise on the grid, in units of the step size; zeros of images to begin from.
    """

    perturbation: Float[Tensor, "B 1 C H W"]
    drawn: Float[Tensor, "B 1 C h w"]


@dataclass(frozen=True)
class State:
    """Images under attack.

    Attributes:
        x: [B C H W], as they are.
        best: [B C H W], the perturbation that fools and is nearest; zeros until one is found.
        found: [B], whether one is.
        told: [B], how often answers came.
        path: [B C h w], of evolution.
        variance: [B C h w], of noise in each coordinate, in units of the step size.
        towards: [B], the share of the way to x in a step.
        steps, taken: [B], since `towards` was adapted.
    """

    x: Float[Tensor, "B C H W"]
    best: Float[Tensor, "B C H W"]
    found: Bool[Tensor, " B"]
    told: Int[Tensor, " B"]
    path: Float[Tensor, "B C h w"]
    variance: Float[Tensor, "B C h w"]
    towards: Float[Tensor, " B"]
    steps: Int[Tensor, " B"]
    taken: Int[Tensor, " B"]


@dataclass(frozen=True)
class Evolutionary:
    """Its configuration, and the algorithm.

    Args:
        encoding: an L2 ball: an image within it that fools is what is wanted.
        grid: rows and columns of the grid that noise is drawn on, as a share of the image's; it is spread over the
            image bilinearly. The paper has 45 of 112.
        coordinates: share of them that a step changes.
        sigma: standard deviation of noise, as a share of the distance to x, in the paper's 303 coordinates a step; in
            fewer it is larger, such that steps are as long.
        learn_path: weight of the last step in the evolution path.
        learn_variance: weight of the path in the variances.
    """

    encoding: LpBall
    grid: Annotated[float, Gt(0), Le(1)] = 0.4
    coordinates: Annotated[float, Gt(0), Le(1)] = 1 / 20
    sigma: Annotated[float, Gt(0)] = 0.01
    learn_path: Annotated[float, Gt(0), Le(1)] = 0.01
    learn_variance: Annotated[float, Gt(0), Le(1)] = 0.001

    asks: ClassVar[Unbounded] = Unbounded()

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, LpBall) or self.encoding.norm != "l2":
            raise SpecError(
                "evolutionary attacks L2 only; of labels-only attacks, rays attacks L-inf, sparse-evo pixels"
            )
        check(self)

    def init(self, victims: Victims) -> State:
        """Nothing that fools is known."""
        x, none = victims.x, torch.zeros_like(victims.labels)
        height, width = (max(1, round(side * self.grid)) for side in x.shape[2:])
        ones = torch.ones(len(x), x.shape[1], height, width)
        towards = torch.full((len(x),), TOWARDS)
        return State(x, torch.zeros_like(x), none.bool(), none, 0 * ones, ones, towards, none, none)

    def ask(self, state: State, rng: Stream) -> Step:
        """A step from the nearest image that fools, or an image to begin from where none is known."""
        step = self._step(state, rng)
        if bool(state.found.all()):
            return step
        found = state.found[:, None, None, None, None]
        return Step(
            torch.where(found, step.perturbation, self._start(state, rng)[:, None]),
            torch.where(found, step.drawn, 0.0),
        )

    def tell(self, state: State, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> State:
        """Take what fools; learn from steps."""
        asked: Step = evaluated.genomes
        fools = fitness[:, 0] < 0
        learns = (fools & state.found)[:, None, None, None]
        keep, learn = 1 - self.learn_path, self.learn_variance
        path = keep * state.path + math.sqrt(1 - keep**2) * asked.drawn[:, 0]
        variance = (1 - learn) * state.variance + learn * path.square()
        steps, taken = state.steps + state.found.long(), state.taken + (fools & state.found).long()
        adapts = steps == WINDOW
        towards = (state.towards * (taken / WINDOW - RATE).exp()).clamp(max=FARTHEST)
        return State(
            state.x,
            torch.where(fools[:, None, None, None], asked.perturbation[:, 0], state.best),
            state.found | fools,
            state.told + 1,
            torch.where(learns, path, state.path),
            torch.where(learns, variance, state.variance),
            torch.where(adapts, towards, state.towards),
            torch.where(adapts, 0, steps),
            torch.where(adapts, 0, taken),
        )

    def _start(self, state: State, rng: Stream) -> Float[Tensor, "B C H W"]:
        """x mixed with noise: stronger each time, and in coarser cells each time that it is noise alone."""
        noise = cells(rng["start"].uniform(*state.x.shape[1:]), state.told // STRENGTHS, SCALES)
        strength = (state.told % STRENGTHS + 1).float() / STRENGTHS
        return strength[:, None, None, None] * (noise - state.x)

    def _step(self, state: State, rng: Stream) -> Step:
        drawn = self._noise(state, rng)
        spread = drawn
        if drawn.shape != state.x.shape:
            spread = functional.interpolate(drawn, state.x.shape[2:], mode="bilinear", align_corners=False)
        nearer = (1 - state.towards)[:, None, None, None] * state.best
        sigma = self.sigma * math.sqrt(COORDINATES / self._count(state))
        moved = nearer + sigma * length(state.best) * spread
        moved = moved * (length(nearer) / length(moved).clamp(min=1e-12))
        return Step(moved[:, None], drawn[:, None])

    def _noise(self, state: State, rng: Stream) -> Float[Tensor, "B C h w"]:
        """Normal in a few coordinates, 0 in the others.

        They are drawn without replacement, in proportion to their variance (Efraimidis, Spirakis 2006).
        """
        variance = state.variance.flatten(1)
        count = self._count(state)
        key = rng["coordinates"].uniform(variance.shape[1]).log() / variance
        place = torch.from_numpy(np.argpartition(key.numpy(), -count, axis=1)[:, -count:]).sort(dim=1).values
        pair = rng["normal"].uniform(2, count)  # Box, Muller 1958
        normal = (-2 * (1 - pair[:, 0]).log()).sqrt() * (2 * math.pi * pair[:, 1]).cos()
        noise = torch.zeros_like(variance).scatter_(1, place, normal * variance.gather(1, place).sqrt())
        return noise.view_as(state.variance)

    def _count(self, state: State) -> int:
        """Coordinates that a step changes."""
        return max(1, int(self.coordinates * state.variance[0].numel()))


def length(perturbation: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 1 1"]:
    """Euclidean."""
    return perturbation.flatten(1).norm(dim=1)[:, None, None, None]


def example() -> Evolutionary:
    """A small configuration for trying things out."""
    return Evolutionary(LpBall("l2", 2.0))
