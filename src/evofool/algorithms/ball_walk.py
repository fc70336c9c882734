"""Steps within an L-inf or L2 ball, by what is believed of the margin's slope; see `walks`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from .. import belief
from ..belief import Belief
from ..encodings.perturbation import LpBall
from ..pool import Pool
from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor
from ..waves import Waves, waves
from .square import begin_with_bumps, square_signs, window


def differs(first: Float[Tensor, "B C H W"], second: Float[Tensor, "B C H W"]) -> Bool[Tensor, " B"]:
    """Whether two perturbations are not the same, somewhere."""
    return (first != second).flatten(1).any(1)


def enlarged(tiles: Tensor, side: int, height: int, width: int) -> Tensor:
    """Tiles [B C h w] as pixels."""
    return tiles.repeat_interleave(side, 2)[:, :, :height].repeat_interleave(side, 3)[:, :, :, :width]


class Pace(NamedTuple):
    """How far each of B walks is.

    Attributes:
        fresh: [B], whether it began from nothing; the others began from a gene.
        steps: [B], so many it has made.
        vain: [B], answers since one brought something, see `genepool.State`.
    """

    fresh: Bool[Tensor, " B"]
    steps: Int[Tensor, " B"]
    vain: Int[Tensor, " B"]


class Answer(NamedTuple):
    """What became of questions about B images, for a walk to learn from.

    Attributes:
        before: [B C H W], the best perturbation so far.
        after: [B C H W], the one that was asked about.
        change: [B C H W], by how much the image that was shown differs from the best one so far.
        drop: [B], by how much that lowered the margin, in shares of that of the image as it is; NaN = no answer.
        stepped: [B], whether the walk asked that, going on from something; not about genes, and not a beginning.
    """

    before: Float[Tensor, "B C H W"]
    after: Float[Tensor, "B C H W"]
    change: Float[Tensor, "B C H W"]
    drop: Float[Tensor, " B"]
    stepped: Bool[Tensor, " B"]


@dataclass(frozen=True)
class BallWalk:
    """L-inf and L2: as far as the ball allows along what is believed of the margin's slope, and a little astray.

    Each question is asked at full size, so it may fool, and its answer corrects the belief (see `belief`). What leads
    astray is drawn by the covariance of the belief, so it goes where much may be had and little is known; of a share of
    the steps within one band of waves, so that bands can be told apart.

    Once many answers in a row have brought nothing, L-inf lets squares of any size take turns with that, repainted in
    the best perturbation after Square (Andriushchenko et al. 2020), half of them as the belief has it: some networks
    answer to large changes alone, and a belief of their slope sits in a corner.

    Attributes:
        ball: the limit.
        prior: begin from what earlier images have taught.
        astray: how far at first, as a multiple of the way along the belief.
        fade: steps after which that is halved (then a third, a fourth, ...).
        narrow: share of the steps that go astray within one band.
        tile: side of the tiles that L-inf begins with, in pixels.
        patience: so many answers in a row that brought nothing are many.
        late: share of the steps from then on that repaint a square.
        widest: the largest of these squares, in shares of the pixels; the logarithm of the side is uniform.
    """

    ball: LpBall
    prior: bool = True
    astray: float = 0.6
    fade: float = 200.0
    narrow: float = 0.3
    tile: int = 2
    patience: int = 64
    late: float = 0.5
    widest: float = 0.1

    def numbers(self, image_shape: tuple[int, int, int]) -> int:
        """How many numbers a belief holds, about."""
        return belief.LAST * len(waves(image_shape).bands)

    def open(self, x: Float[Tensor, "B C H W"], labels: Int[Tensor, " B"], pool: Pool) -> Belief:
        """What is believed at first."""
        basis = _waves(x)
        if not self.prior:
            return belief.begin(torch.zeros(len(x), len(basis.bands)), torch.ones(len(basis.sizes)), basis)
        return belief.begin(basis.of(pool.model(labels)), pool.spectrum, basis)

    def begin(self, x: Float[Tensor, "B C H W"], model: Belief, rng: Stream) -> Float[Tensor, "B C H W"]:
        """L-inf: tiles, each channel of each +eps or -eps. L2: bumps side by side."""
        if self.ball.norm == "l2":
            return begin_with_bumps(x, self.ball.eps, rng)
        height, width = x.shape[2:]
        signs = rng["tiles"].bits(x.shape[1], -(-height // self.tile), -(-width // self.tile))
        return torch.where(enlarged(signs, self.tile, height, width), self.ball.eps, -self.ball.eps)

    def step(
        self,
        x: Float[Tensor, "B C H W"],
        best: Tensor,
        model: Belief,
        pace: Pace,
        rng: Stream,
    ) -> Float[Tensor, "B C H W"]:
        """One more."""
        long = pace.vain >= self.patience
        if self.ball.norm == "l2" or not bool(long.any()):
            return self._led(x, best, model, rng)
        late = (long & (rng["late"].uniform(1)[:, 0] < self.late)).nonzero().squeeze(1)
        if len(late) == len(x):
            return self._painted(x, best, model.mean, rng)
        new = self._led(x, best, model, rng)
        if len(late):
            squares = self._painted(x[late], best[late], model.mean[late], rng.rows(late.tolist()))
            new = new.index_copy(0, late, squares)
        return new

    def _led(self, x: Float[Tensor, "B C H W"], best: Tensor, model: Belief, rng: Stream) -> Float[Tensor, "B C H W"]:
        """Along the belief, and astray."""
        basis = _waves(x)
        way = self._away(model, basis, rng)
        straight = _unit(model.mean)
        far = self.astray / (1 + model.told / self.fade)
        new = self._within(x, basis.change(torch.addcmul(straight, far[:, None], way)))
        for other in (1.0, 0.0):
            same = ~differs(new, best)
            if not bool(same.any()):
                break  # else nothing would be learned from asking again
            new = torch.where(same[:, None, None, None], self._within(x, basis.change(other * straight + way)), new)
        return torch.where(differs(new, best)[:, None, None, None], new, -new)

    def _painted(
        self, x: Float[Tensor, "B C H W"], best: Tensor, mean: Float[Tensor, "B K"], rng: Stream
    ) -> Float[Tensor, "B C H W"]:
        """A square of any size in +eps or -eps, half of the time as the belief has it."""
        eps, (height, width) = self.ball.eps, x.shape[2:]
        widest = max(1.0, math.sqrt(self.widest * height * width))
        side = (widest ** rng["wide"].uniform(1, dtype=torch.float64)[:, 0]).round().long()
        side = side.clamp(max=max(1, min(height, width) - 1))
        places = rng["place"].uniform(2, dtype=torch.float64)
        top, left = (places[:, 0] * (height - side + 1)).long(), (places[:, 1] * (width - side + 1)).long()
        inside = window(top, left, side, height, width)
        drawn = square_signs(x, best, inside, eps, rng)
        mass = (_waves(x).change(mean) * inside[:, None]).flatten(2).sum(2)
        hint = torch.where(inside[:, None], torch.where(mass >= 0, eps, -eps)[..., None, None], best)
        follow = rng["follow"].bits(1)[:, 0] & (mass != 0).any(1) & differs(hint, best)
        return torch.where(follow[:, None, None, None], hint, drawn)

    def _away(self, model: Belief, basis: Waves, rng: Stream) -> Float[Tensor, "B K"]:
        """Where to go astray, of length 1."""
        signs = torch.where(rng["signs"].bits(len(basis.bands)), 1.0, -1.0)
        way = _unit(belief.spread(model, signs))
        # Half by how many waves a band has, half by how much these are thought to do.
        chances = basis.sizes / len(basis.bands) + basis.by_band(model.variance) / model.variance.sum(1, keepdim=True)
        drawn = rng["band"].uniform(1) * chances.sum(1, keepdim=True)
        band = (chances.cumsum(1) <= drawn).sum(1).clamp(max=len(basis.sizes) - 1)
        inside = _unit(torch.where(basis.bands == band[:, None], way, 0.0))
        narrow = (rng["narrow"].uniform(1) < self.narrow) & (inside != 0).any(1, keepdim=True)
        return torch.where(narrow, inside, way)

    def _within(self, x: Float[Tensor, "B C H W"], way: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """As far along a way as the ball and the image allow."""
        eps = self.ball.eps
        if self.ball.norm == "linf":
            return torch.copysign(torch.full((), eps), way)
        low, high = -x, 1 - x
        for _ in range(3):  # what the image cuts off here may be spent elsewhere
            way = (way * (eps / _length(way).clamp(min=1e-12))).clamp(low, high)
        return way

    def learn(self, model: Belief, answer: Answer) -> Belief:
        """After an answer to whatever was asked; NaN teaches nothing, nor does a change that the lattice swallows."""
        change, drop = answer.change, answer.drop
        length = change.flatten(1).square().sum(1)
        basis = _waves(change)
        return belief.learn(model, basis.of(change), length, drop, drop.isfinite() & (length > 0), basis)

    def lesson(self, x: Tensor, model: Belief) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B n m"]]:
        """What changes of each gray level do, and what was learned of bands."""
        return _waves(x).change(model.mean), belief.lesson(model, _waves(x))

    def kept(self, x: Float[Tensor, "B C H W"], repaired: Tensor) -> Float[Tensor, "B C H W"]:
        """What to hold on to of a perturbation, to go on from it: of L-inf what was meant, of L2 what was asked."""
        return self.intent(x, repaired) if self.ball.norm == "linf" else repaired

    def intent(self, x: Float[Tensor, "B C H W"], repaired: Tensor) -> Float[Tensor, "B C H W"]:
        """L-inf: all at +eps or -eps; where nothing is left of a change it went over the edge that is near.

        L2: what is left of it, drawn out to the radius again.
        """
        eps = self.ball.eps
        if self.ball.norm == "l2":
            return repaired * (eps / _length(repaired).clamp(min=1e-12))
        cut = torch.where(x < 0.5, -eps, eps)
        return torch.where(repaired > 0, eps, torch.where(repaired < 0, -eps, cut))

    def blend(self, genes: Float[Tensor, "n C H W"]) -> Float[Tensor, "C H W"]:
        """L-inf: what most of them do; of ties the first one's. L2: their mean, drawn out to the radius."""
        total = genes.sum(0)
        if self.ball.norm == "l2":
            return total * (self.ball.eps / total.norm().clamp(min=1e-12))
        return torch.where(total == 0, genes[0], self.ball.eps * total.sign())


def _waves(x: Tensor) -> Waves:
    return waves((x.shape[1], x.shape[2], x.shape[3]))


def _unit(rows: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    return rows / rows.square().sum(1, keepdim=True).sqrt().clamp(min=1e-12)


def _length(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 1 1"]:
    return images.square().flatten(1).sum(1).sqrt()[:, None, None, None]
