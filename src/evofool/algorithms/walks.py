"""Steps of a search from one perturbation to the next, for each limit: what `genepool` makes between genes.

A walk has `learn(...)`: what it holds to be true of an image after an `Answer`, begun by `open(...)` from what the
images before have taught;
`begin(...)`, a first perturbation; `step(...)`, another one, given how far the walk is (`Pace`; once so many answers in
a row have brought nothing as its `patience` says, that is for good); `lesson(...)`, what is to be told to later images;
`kept(x, repaired)`: what of a perturbation to go on from; `intent(x, repaired)`: what a perturbation was meant to do
before the image cut it off, for use on another image; and `blend(genes)`, one of several.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ..encodings.perturbation import FewPixels, LpBall
from ..errors import SpecError
from ..pool import Pool
from ..rng import Stream
from ..shapes import Float, Int, Tensor
from ..waves import waves
from .ball_walk import Answer, BallWalk, Pace
from .brusle import Worth, unknown
from .sparse_rs import smallest


def walk_for(encoding: Any, prior: bool = True, squares: bool = True) -> Any:
    """The walk within a limit.

    Args:
        encoding: the limit.
        prior: begin from what earlier images have taught of changes.
        squares: within a ball, repaint squares where answers have long been in vain.

    Raises:
        SpecError: there is none.
    """
    if isinstance(encoding, FewPixels):
        return PixelWalk(encoding.pixels, prior)
    if isinstance(encoding, LpBall):
        return BallWalk(encoding, prior) if squares else BallWalk(encoding, prior, late=0.0)
    raise SpecError("genepool attacks L-inf, L2 and a number of pixels; sparse-rs attacks a patch or a frame")


@dataclass(frozen=True)
class Hints:
    """What is thought of changes, for few pixels: by how much a change of each gray level by 1 lowers the margin.

    Attributes:
        prior: [B C H W], at first; steps follow it.
        model: [B C H W], corrected after each step, for later images. A model of one image's own few steps would lead
            it to the same pixels again and again.
        worth: of each pixel, after the steps of this image.
    """

    prior: Float[Tensor, "B C H W"]
    model: Float[Tensor, "B C H W"]
    worth: Worth


@dataclass(frozen=True)
class PixelWalk:
    """Few pixels: some of them are given up and as many others painted, each channel black (-1) or white (+1).

    Which, is drawn by the worth of pixels, after BruSLeAttack (Vo, Abbasnejad, Ranasinghe, ICLR 2024): what was given
    up in vain is rather kept, and what was tried and brought nothing is rather not tried again. Where to, and in which
    colour: of a share of the new pixels as earlier images have taught, too.

    Attributes:
        pixels: that may change.
        prior: follow what earlier images have taught.
        guided: share of the new pixels that follow it.
        first, after: share of the pixels that the first step exchanges, from nothing and from a gene.
        decay, later: steps after which that share is halved (then a third, a fourth, ...), from nothing and from a
            gene.
        patience: never lost.
    """

    pixels: int
    prior: bool = True
    guided: float = 0.5
    first: float = 0.3
    after: float = 0.07
    decay: float = 5.0
    later: float = 10.0
    patience: int = 1 << 40

    def numbers(self, image_shape: tuple[int, int, int]) -> int:
        """How many numbers the model of an image holds."""
        return 2 * math.prod(image_shape)

    def open(self, x: Float[Tensor, "B C H W"], labels: Int[Tensor, " B"], pool: Pool) -> Hints:
        """What is thought at first."""
        known = pool.model(labels) if self.prior else torch.zeros_like(x)
        return Hints(known, known, unknown(x))

    def begin(self, x: Float[Tensor, "B C H W"], model: Hints, rng: Stream) -> Float[Tensor, "B C H W"]:
        """As many pixels as may change."""
        everything = torch.ones(len(x), dtype=torch.float64)
        return self._exchanged(x, torch.zeros_like(x), everything, model, rng["begin"])

    def step(
        self,
        x: Float[Tensor, "B C H W"],
        best: Tensor,
        model: Hints,
        pace: Pace,
        rng: Stream,
    ) -> Float[Tensor, "B C H W"]:
        """Some pixels exchanged."""
        fresh, steps = pace.fresh, pace.steps
        start, decay = torch.where(fresh, self.first, self.after), torch.where(fresh, self.decay, self.later)
        share = start / (1 + torch.where(fresh, steps - 1, steps).clamp(min=0) / decay)
        return self._exchanged(x, best, share, model, rng)

    def learn(self, model: Hints, answer: Answer) -> Hints:
        """The model, so corrected that it would have predicted what the last step did; and what pixels are worth."""
        change, told = answer.change, answer.stepped & answer.drop.isfinite()
        error = answer.drop.clamp(-1, 1) - (model.model * change).flatten(1).sum(1)
        size = change.flatten(1).square().sum(1).clamp(min=1e-9)
        weight = torch.where(told, error / size, 0.0)
        old, new = ((perturbation != 0).any(1).flatten(1) for perturbation in (answer.before, answer.after))
        return Hints(
            model.prior,
            torch.addcmul(model.model, change, weight[:, None, None, None]),
            model.worth.learned(old, new, answer.drop > 0, told),
        )

    def lesson(self, x: Tensor, model: Hints) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B n m"]]:
        """What changes of each gray level do; of bands nothing."""
        bands = len(waves((x.shape[1], x.shape[2], x.shape[3])).sizes)
        return model.model, torch.zeros(len(x), bands, bands + 1)

    def _exchanged(
        self, x: Float[Tensor, "B C H W"], best: Tensor, share: Float[Tensor, " B"], model: Hints, rng: Stream
    ) -> Float[Tensor, "B C H W"]:
        count, channels, height, width = x.shape
        total, pixels = height * width, min(self.pixels, height * width)
        prior, theta = model.prior, model.worth.theta
        held = (best != 0).any(1).flatten(1)
        number = (share * pixels).round().long().clamp(min=1)
        # The shortest of waiting times -log(u) / weight are a draw without replacement by weight.
        waiting = -rng["go"].uniform(total).clamp(min=1e-12).log() / theta
        stay = smallest(waiting.masked_fill(~held, torch.inf), (held.sum(1) - number).clamp(min=0)) & held
        come = torch.minimum(pixels - stay.sum(1), (~held).sum(1))
        weight = prior.abs().sum(1).flatten(1)
        mean = weight.mean(1, keepdim=True)
        weight = theta * torch.where(mean > 0, self.guided * weight / mean + (1 - self.guided), 1.0)
        waiting = -rng["come"].uniform(total).clamp(min=1e-12).log() / weight
        new = smallest(waiting.masked_fill(held, torch.inf), come).view(count, 1, height, width)
        colours = torch.where(rng["colours"].bits(channels, height, width), 1.0, -1.0)
        follow = (rng["follow"].uniform(1, height, width) < self.guided) & (prior != 0)
        colours = torch.where(follow, prior.sign(), colours)
        # A colour that the pixel has already changes nothing.
        same = ((x + colours).clamp(0, 1) == x).all(1, keepdim=True)
        colours = torch.where(same, -colours, colours)
        kept = torch.where(stay.view(count, 1, height, width), best, 0.0)
        return torch.where(new, colours, kept)

    def kept(self, x: Float[Tensor, "B C H W"], repaired: Tensor) -> Float[Tensor, "B C H W"]:
        """What to hold on to of a perturbation, to go on from it."""
        return self.intent(x, repaired)

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
