"""Steps of a search from one perturbation to the next, for each limit: what `genepool` makes between genes.

A walk has `learn(...)`: what it holds to be true of an image after an answer, begun by `open(...)` from what the images
before have taught; `begin(...)`, a first perturbation; `step(...)`, another one; `lesson(...)`, what is to be told to
later images; `intent(x, repaired)`: what a perturbation was meant to do before the image cut it off, for use on another
image; and `blend(genes)`, one of several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .. import belief
from ..belief import Belief
from ..encodings.perturbation import FewPixels, LpBall
from ..errors import SpecError
from ..pool import Pool
from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor
from ..waves import Waves, waves
from .sparse_rs import smallest
from .square import begin_with_bumps


def walk_for(encoding: Any, prior: bool = True) -> Any:
    """The walk within a limit.

    Args:
        encoding: the limit.
        prior: begin from what earlier images have taught of changes.

    Raises:
        SpecError: there is none.
    """
    if isinstance(encoding, FewPixels):
        return PixelWalk(encoding.pixels, prior)
    if isinstance(encoding, LpBall):
        return BallWalk(encoding, prior)
    raise SpecError("genepool attacks L-inf, L2 and a number of pixels; sparse-rs attacks a patch or a frame")


def differs(x: Tensor, first: Tensor, second: Tensor) -> Bool[Tensor, " B"]:
    """Whether two perturbations give different images."""
    return ((x + first).clamp(0, 1) != (x + second).clamp(0, 1)).flatten(1).any(1)


def enlarged(tiles: Tensor, side: int, height: int, width: int) -> Tensor:
    """Tiles [B C h w] as pixels."""
    return tiles.repeat_interleave(side, 2)[:, :, :height].repeat_interleave(side, 3)[:, :, :, :width]


@dataclass(frozen=True)
class BallWalk:
    """L-inf and L2: as far as the ball allows along what is believed of the margin's slope, and a little astray.

    Each question is asked at full size, so it may fool, and its answer corrects the belief (see `belief`). What leads
    astray is drawn by the covariance of the belief, so it goes where much may be had and little is known; of a share of
    the steps within one band of waves, so that bands can be told apart.

    Attributes:
        ball: the limit.
        prior: begin from what earlier images have taught.
        astray: how far at first, as a multiple of the way along the belief.
        fade: steps after which that is halved (then a third, a fourth, ...).
        narrow: share of the steps that go astray within one band.
        tile: side of the tiles of the first perturbation, in pixels.
    """

    ball: LpBall
    prior: bool = True
    astray: float = 0.6
    fade: float = 200.0
    narrow: float = 0.3
    tile: int = 2

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
        steps: Int[Tensor, " B"],
        fresh: Bool[Tensor, " B"],
        rng: Stream,
    ) -> Float[Tensor, "B C H W"]:
        """One more."""
        basis = _waves(x)
        way = self._away(model, basis, rng)
        far = self.astray / (1 + model.told / self.fade)
        straight = _unit(model.mean)
        new = self._within(x, basis.change(straight + far[:, None] * way))
        for other in (straight + way, way, -way):
            same = ~differs(x, new, best)
            if not bool(same.any()):
                break  # else nothing would be learned from asking again
            new = torch.where(same[:, None, None, None], self._within(x, basis.change(other)), new)
        return new

    def _away(self, model: Belief, basis: Waves, rng: Stream) -> Float[Tensor, "B K"]:
        """Where to go astray, of length 1."""
        signs = torch.where(rng["signs"].bits(len(basis.bands)), 1.0, -1.0)
        way = _unit(belief.spread(model, signs))
        # Half by how many waves a band has, half by how much they are thought to do.
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
            return torch.where(way >= 0, eps, -eps)
        low, high = -x, 1 - x
        for _ in range(3):  # what the image cuts off here may be spent elsewhere
            way = (way * (eps / _length(way).clamp(min=1e-12))).clamp(low, high)
        return way

    def learn(
        self,
        x: Float[Tensor, "B C H W"],
        model: Belief,
        best: Tensor,
        repaired: Tensor,
        drop: Float[Tensor, " B"],
        stepped: Bool[Tensor, " B"],
    ) -> Belief:
        """After an answer to whatever was asked; NaN teaches nothing."""
        change = (x + repaired).clamp(0, 1) - (x + best).clamp(0, 1)
        length = change.flatten(1).square().sum(1)
        basis = _waves(x)
        return belief.learn(model, basis.of(change), length, drop, drop.isfinite() & (length > 0), basis)

    def lesson(self, x: Tensor, model: Belief) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B n m"]]:
        """What changes of each gray level do, and what was learned of bands."""
        return _waves(x).change(model.mean), belief.lesson(model, _waves(x))

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


@dataclass(frozen=True)
class Hints:
    """What is thought of changes, for few pixels: by how much a change of each gray level by 1 lowers the margin.

    Attributes:
        prior: [B C H W], at first; steps follow it.
        model: [B C H W], corrected after each step, for later images. A model of one image's own few steps would lead
            it to the same pixels again and again.
    """

    prior: Float[Tensor, "B C H W"]
    model: Float[Tensor, "B C H W"]


@dataclass(frozen=True)
class PixelWalk:
    """Few pixels: some of them are given up and as many others painted, each channel black (-1) or white (+1).

    Where, and in which colour: of a share of the new pixels as the model has it, else anywhere.

    Attributes:
        pixels: that may change.
        prior: follow what earlier images have taught.
        guided: share of the new pixels that follow it.
        first, after: share of the pixels that the first step exchanges, if it begins from nothing, and from a gene.
        decay, later: steps after which that share is halved (then a third, a fourth, ...), from nothing and from a
            gene.
    """

    pixels: int
    prior: bool = True
    guided: float = 0.5
    first: float = 0.3
    after: float = 0.07
    decay: float = 5.0
    later: float = 10.0

    def open(self, x: Float[Tensor, "B C H W"], labels: Int[Tensor, " B"], pool: Pool) -> Hints:
        """What is thought at first."""
        known = pool.model(labels) if self.prior else torch.zeros_like(x)
        return Hints(known, known)

    def begin(self, x: Float[Tensor, "B C H W"], model: Hints, rng: Stream) -> Float[Tensor, "B C H W"]:
        """As many pixels as may change."""
        everything = torch.ones(len(x), dtype=torch.float64)
        return self._exchanged(x, torch.zeros_like(x), everything, model.prior, rng["begin"])

    def step(
        self,
        x: Float[Tensor, "B C H W"],
        best: Tensor,
        model: Hints,
        steps: Int[Tensor, " B"],
        fresh: Bool[Tensor, " B"],
        rng: Stream,
    ) -> Float[Tensor, "B C H W"]:
        """Some pixels exchanged."""
        start, decay = torch.where(fresh, self.first, self.after), torch.where(fresh, self.decay, self.later)
        share = start / (1 + torch.where(fresh, steps - 1, steps).clamp(min=0) / decay)
        return self._exchanged(x, best, share, model.prior, rng)

    def learn(
        self,
        x: Float[Tensor, "B C H W"],
        model: Hints,
        best: Tensor,
        repaired: Tensor,
        drop: Float[Tensor, " B"],
        stepped: Bool[Tensor, " B"],
    ) -> Hints:
        """The model, so corrected that it would have predicted what the last step did."""
        change = (x + repaired).clamp(0, 1) - (x + best).clamp(0, 1)
        error = drop.clamp(-1, 1) - (model.model * change).flatten(1).sum(1)
        size = change.flatten(1).square().sum(1).clamp(min=1e-9)
        weight = torch.where(stepped & drop.isfinite(), error / size, 0.0)
        return Hints(model.prior, model.model + change * weight[:, None, None, None])

    def lesson(self, x: Tensor, model: Hints) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B n m"]]:
        """What changes of each gray level do; of bands nothing."""
        bands = len(_waves(x).sizes)
        return model.model, torch.zeros(len(x), bands, bands + 1)

    def _exchanged(
        self, x: Float[Tensor, "B C H W"], best: Tensor, share: Float[Tensor, " B"], model: Tensor, rng: Stream
    ) -> Float[Tensor, "B C H W"]:
        count, channels, height, width = x.shape
        total, pixels = height * width, min(self.pixels, height * width)
        held = (best != 0).any(1).flatten(1)
        number = (share * pixels).round().long().clamp(min=1)
        go = smallest(rng["go"].uniform(total).masked_fill(~held, 2.0), torch.minimum(number, held.sum(1))) & held
        come = torch.minimum(pixels - held.sum(1) + go.sum(1), (~held).sum(1))
        # The smallest -log(u) / weight are a draw without replacement by weight.
        weight = model.abs().sum(1).flatten(1)
        mean = weight.mean(1, keepdim=True)
        weight = torch.where(mean > 0, self.guided * weight / mean + (1 - self.guided), 1.0)
        keys = -rng["come"].uniform(total).clamp(min=1e-12).log() / weight
        new = smallest(keys.masked_fill(held, torch.inf), come).view(count, 1, height, width)
        colours = torch.where(rng["colours"].bits(channels, height, width), 1.0, -1.0)
        follow = (rng["follow"].uniform(1, height, width) < self.guided) & (model != 0)
        colours = torch.where(follow, model.sign(), colours)
        # A colour that the pixel has already changes nothing.
        same = ((x + colours).clamp(0, 1) == x).all(1, keepdim=True)
        colours = torch.where(same, -colours, colours)
        kept = torch.where(go.view(count, 1, height, width), 0.0, best)
        return torch.where(new, colours, kept)

    def intent(self, x: Float[Tensor, "B C H W"], repaired: Tensor) -> Float[Tensor, "B C H W"]:
        """Black or white in each channel of the pixels that changed."""
        changed = (repaired != 0).any(1, keepdim=True)
        cut = torch.where(x < 0.5, -1.0, 1.0)
        full = torch.where(repaired > 0, 1.0, torch.where(repaired < 0, -1.0, cut))
        return torch.where(changed, full, 0.0)

    def blend(self, genes: Float[Tensor, "n C H W"]) -> Float[Tensor, "C H W"]:
        """The pixels that most of them change, of equals the first ones, in the colour that most give them."""
        total = genes.sum(0)
        often = total.abs().sum(0).flatten()
        chosen = often.argsort(descending=True, stable=True)[: self.pixels]
        mask = torch.zeros_like(often, dtype=torch.bool).index_fill(0, chosen, True) & (often > 0)
        return torch.where(mask.view(1, *total.shape[1:]), torch.where(total >= 0, 1.0, -1.0), 0.0)
