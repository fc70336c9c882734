"""Steps of a search from one perturbation to the next, for each limit: what `genepool` makes between genes.

A walk has `learn(...)`: what it holds to be true of an image after an `Answer`, begun by `open(...)` from what the
images before have taught;
`begin(...)`, a first perturbation; `step(...)`, another one, given how far the walk is (`Pace`; once so many answers in
a row have brought nothing as its `patience` says, that is for good); `lesson(...)`, what is to be told to later images;
`kept(x, repaired)`: what of a perturbation to go on from; `intent(x, repaired)`: what a perturbation was meant to do
before the image cut it off, for use on another image; and `blend(genes)`, one of several.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch

from ..encodings.perturbation import FewPixels, LpBall
from ..errors import SpecError
from ..pool import Pool
from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor
from ..waves import waves
from .ball_walk import Answer, BallWalk, Pace
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


AGAIN = 0.01  # weight of a pixel that was in vain, beside one that was not tried


@dataclass(frozen=True)
class Hints:
    """What is thought of changes, for few pixels, in shares of the margin of the image as it is.

    Attributes:
        prior: [B C H W], at first, by how much a change of each gray level by 1 lowers the margin; steps follow it.
        model: [B C H W], the same corrected after each step, for later images. A model of one image's own few steps
            would lead it to the same pixels again and again.
        effect: [B H*W], by how much each pixel of the perturbation is thought to lower the margin.
        doubt: [B H*W], variance of that.
        vain: [B H*W], how often each was painted in vain, or given up for good.
    """

    prior: Float[Tensor, "B C H W"]
    model: Float[Tensor, "B C H W"]
    effect: Float[Tensor, "B HW"]
    doubt: Float[Tensor, "B HW"]
    vain: Float[Tensor, "B HW"]


@dataclass(frozen=True)
class PixelWalk:
    """Few pixels: some of them are given up and as many others painted, each channel black (-1) or white (+1).

    Which are given up: those that do least, as far as is known. What each does is thought to be normal, and corrected
    after every step by Kalman's update, as if what the newcomers do were next to nothing, as it mostly is; each step
    draws one value of each, so that what is not known is tried as well (Thompson 1933). What pixels are painted: rather
    not those that were in vain (after BruSLeAttack, Vo, Abbasnejad, Ranasinghe, ICLR 2024), and a share of them, and of
    their colours, by what earlier images have taught.

    Attributes:
        pixels: that may change.
        prior: follow what earlier images have taught.
        guided: share of the new pixels that follow it.
        first, after: share of the pixels that the first step exchanges, from nothing and from a gene.
        decay, later: steps after which that share is halved (then a third, a fourth, ...), from nothing and from a
            gene.
        usual, spread: mean and standard deviation of what a pixel is thought to do at first, as multiples of the margin
            over the number of pixels; so are the others.
        newcomer: standard deviation of what a pixel that is newly painted does; the mean is 0.
        noise: that of what a step does besides.
        drift: that of how much it changes from step to step what a pixel does, since others are exchanged.
        patience: never lost.
    """

    pixels: int
    prior: bool = True
    guided: float = 0.5
    first: float = 0.3
    after: float = 0.07
    decay: float = 5.0
    later: float = 10.0
    usual: float = 0.5
    spread: float = 1.0
    newcomer: float = 0.3
    noise: float = 0.3
    drift: float = 0.03
    patience: int = 1 << 40

    def numbers(self, image_shape: tuple[int, int, int]) -> int:
        """How many numbers the model of an image holds."""
        return 2 * math.prod(image_shape) + 3 * math.prod(image_shape[1:])

    def open(self, x: Float[Tensor, "B C H W"], labels: Int[Tensor, " B"], pool: Pool) -> Hints:
        """What is thought at first."""
        known = pool.model(labels) if self.prior else torch.zeros_like(x)
        flat = torch.zeros_like(x[:, 0]).flatten(1)
        unit = 1 / min(self.pixels, flat.shape[1])
        return Hints(known, known, flat + self.usual * unit, flat + (self.spread * unit) ** 2, flat)

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
        """The model, so corrected that it would have predicted what the last step did; and what its pixels do."""
        change, told = answer.change, answer.stepped & answer.drop.isfinite()
        drop = torch.where(told, answer.drop.clamp(-1, 1), 0.0)
        error = drop - (model.model * change).flatten(1).sum(1)
        size = change.flatten(1).square().sum(1).clamp(min=1e-9)
        weight = torch.where(told, error / size, 0.0)
        corrected = torch.addcmul(model.model, change, weight[:, None, None, None])
        return self._weighed(dataclasses.replace(model, model=corrected), answer, drop, told[:, None])

    def _weighed(self, model: Hints, answer: Answer, drop: Float[Tensor, " B"], told: Bool[Tensor, "B 1"]) -> Hints:
        """What pixels do, after some were exchanged for others."""
        before, after = ((perturbation != 0).any(1).flatten(1) for perturbation in (answer.before, answer.after))
        gone, come, better = before & ~after, after & ~before, (drop > 0)[:, None]
        unit = 1 / min(self.pixels, before.shape[1])
        unknown = torch.where(gone, model.doubt, torch.where(come, (self.newcomer * unit) ** 2, 0.0))
        # Sums in float64: what is rounded from them does not depend on where in memory a row lies.
        total = unknown.double().sum(1, keepdim=True).float() + (self.noise * unit) ** 2
        gain = unknown / total
        surprise = drop + torch.where(gone, model.effect, 0.0).double().sum(1).float()  # giving up raises the margin
        found = gain * surprise[:, None]
        effect = torch.where(gone, model.effect - found, model.effect)
        doubt = torch.where(gone, unknown - gain * unknown, model.doubt)
        # What was painted with success stays, and what was given up for it is as unknown as any.
        effect = torch.where(come & better, found, torch.where(gone & better, self.usual * unit, effect))
        doubt = torch.where(come & better, unknown - gain * unknown, doubt)
        doubt = torch.where(gone & better, (self.spread * unit) ** 2, doubt + (self.drift * unit) ** 2)
        doubt = doubt.clamp(max=(self.spread * unit) ** 2)
        return dataclasses.replace(
            model,
            effect=torch.where(told, effect, model.effect),
            doubt=torch.where(told, doubt, model.doubt),
            vain=model.vain + (told & torch.where(better, gone, come)),
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
        prior = model.prior
        held = (best != 0).any(1).flatten(1)
        number = (share * pixels).round().long().clamp(min=1)
        drawn = model.effect + model.doubt.sqrt() * rng["go"].normal(total).float()
        stay = smallest((-drawn).masked_fill(~held, torch.inf), (held.sum(1) - number).clamp(min=0)) & held
        come = torch.minimum(pixels - stay.sum(1), (~held).sum(1))
        weight = prior.abs().sum(1).flatten(1)
        mean = weight.mean(1, keepdim=True)
        weight = torch.where(mean > 0, self.guided * weight / mean + (1 - self.guided), 1.0) / (1 + model.vain / AGAIN)
        # The shortest of waiting times -log(u) / weight are a draw without replacement by weight.
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
