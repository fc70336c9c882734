"""Steps of a search from one perturbation to the next, for each limit: what `genepool` makes between genes.

A walk has `begin(x, model, rng)`, a first perturbation; `step(x, best, share, model, rng)`, another one near `best`,
of which about a `share` is changed; `intent(x, repaired)`: what a perturbation was meant to do before the image cut it
off, for use on another image; and `blend(genes)`, one of several. The model says by how much a change of each gray
level by 1 is thought to lower the margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..encodings.perturbation import FewPixels, LpBall
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor
from .sparse_rs import smallest
from .square import begin_with_bumps, move_mass, square_signs, window


def walk_for(encoding: Any, guided: float) -> Any:
    """The walk within a limit.

    Raises:
        SpecError: there is none.
    """
    if isinstance(encoding, FewPixels):
        return PixelWalk(encoding.pixels, guided)
    if isinstance(encoding, LpBall):
        return SquareWalk(encoding.eps, guided) if encoding.norm == "linf" else MassWalk(encoding.eps, guided)
    raise SpecError("genepool attacks L-inf, L2 and a number of pixels; sparse-rs attacks a patch or a frame")


def differs(x: Tensor, first: Tensor, second: Tensor) -> Bool[Tensor, " B"]:
    """Whether two perturbations give different images."""
    return ((x + first).clamp(0, 1) != (x + second).clamp(0, 1)).flatten(1).any(1)


def enlarged(tiles: Tensor, side: int, height: int, width: int) -> Tensor:
    """Tiles [B C h w] as pixels."""
    return tiles.repeat_interleave(side, 2)[:, :, :height].repeat_interleave(side, 3)[:, :, :, :width]


def _sides(share: Float[Tensor, " B"], height: int, width: int, least: int) -> Int[Tensor, " B"]:
    most = max(least, min(height, width) - 1)
    return (share * height * width).sqrt().round().long().clamp(least, most)


@dataclass(frozen=True)
class SquareWalk:
    """L-inf: each gray level up or down by eps. A step turns some tiles round, or repaints a square.

    Turning tiles changes much at little risk while little is known, so it is done less the smaller the steps get. Of a
    share of the squares the signs are those of the model.

    Attributes:
        eps: radius.
        guided: share of the squares that follow the model.
        turns: share of the steps that turn tiles, at most.
        fade: so many times the share of a step is the chance that it turns tiles, if that is less.
        tile: side of a tile, in pixels.
    """

    eps: float
    guided: float
    turns: float = 0.8
    fade: float = 11.0
    tile: int = 2

    def begin(self, x: Float[Tensor, "B C H W"], model: Tensor, rng: Stream) -> Float[Tensor, "B C H W"]:
        """Tiles, each channel of each +eps or -eps."""
        height, width = x.shape[2:]
        signs = rng["tiles"].bits(x.shape[1], -(-height // self.tile), -(-width // self.tile))
        return torch.where(enlarged(signs, self.tile, height, width), self.eps, -self.eps)

    def step(
        self, x: Float[Tensor, "B C H W"], best: Tensor, share: Float[Tensor, " B"], model: Tensor, rng: Stream
    ) -> Float[Tensor, "B C H W"]:
        """One more."""
        square = self._square(x, best, share, model, rng)
        turned = self._turned(best, share, rng)
        turns = rng["turns"].uniform() < (self.fade * share).clamp(max=self.turns)
        return torch.where((turns & differs(x, turned, best))[:, None, None, None], turned, square)

    def _square(
        self, x: Float[Tensor, "B C H W"], best: Tensor, share: Float[Tensor, " B"], model: Tensor, rng: Stream
    ) -> Float[Tensor, "B C H W"]:
        height, width = x.shape[2:]
        side = _sides(share, height, width, 1)
        places = rng["place"].uniform(2, dtype=torch.float64)
        top, left = (places[:, 0] * (height - side + 1)).long(), (places[:, 1] * (width - side + 1)).long()
        inside = window(top, left, side, height, width)[:, None]
        drawn = square_signs(x, best, inside[:, 0], self.eps, rng)
        if not self.guided:
            return drawn
        mass = (model * inside).flatten(2).sum(2)
        hint = torch.where(inside, torch.where(mass >= 0, self.eps, -self.eps)[..., None, None], best)
        follow = (rng["follow"].uniform() < self.guided) & (mass != 0).any(1) & differs(x, hint, best)
        return torch.where(follow[:, None, None, None], hint, drawn)

    def _turned(self, best: Float[Tensor, "B C H W"], share: Float[Tensor, " B"], rng: Stream) -> Tensor:
        """About a share of the tiles of each channel, and one at least, turned round."""
        _, channels, height, width = best.shape
        drawn = rng["turned"].uniform(channels, -(-height // self.tile), -(-width // self.tile))
        least = drawn.flatten(1).amin(1)[:, None, None, None]
        chosen = (drawn < share.float()[:, None, None, None]) | (drawn == least)
        return torch.where(enlarged(chosen, self.tile, height, width), -best, best)

    def intent(self, x: Float[Tensor, "B C H W"], repaired: Tensor) -> Float[Tensor, "B C H W"]:
        """All at +eps or -eps; where nothing is left of a change it went over the edge that is near."""
        cut = torch.where(x < 0.5, -self.eps, self.eps)
        return torch.where(repaired > 0, self.eps, torch.where(repaired < 0, -self.eps, cut))

    def blend(self, genes: Float[Tensor, "n C H W"]) -> Float[Tensor, "C H W"]:
        """What most of them do; of ties the first one's."""
        total = genes.sum(0)
        return torch.where(total == 0, genes[0], self.eps * total.sign())


@dataclass(frozen=True)
class MassWalk:
    """L2: what one window holds moves into another one as a bump, as in Square."""

    eps: float
    guided: float = 0.5

    def begin(self, x: Float[Tensor, "B C H W"], model: Tensor, rng: Stream) -> Float[Tensor, "B C H W"]:
        """Bumps side by side."""
        return begin_with_bumps(x, self.eps, rng)

    def step(
        self, x: Float[Tensor, "B C H W"], best: Tensor, share: Float[Tensor, " B"], model: Tensor, rng: Stream
    ) -> Float[Tensor, "B C H W"]:
        """One more bump."""
        height, width = x.shape[2:]
        side = _sides(share, height, width, 3)
        side = (side + (side % 2 == 0)).clamp(max=min(height, width) - (min(height, width) % 2 == 0))
        places = rng["place"].uniform(4, dtype=torch.float64)
        tops = (places[:, :2] * (height - side + 1)[:, None]).long()
        lefts = (places[:, 2:] * (width - side + 1)[:, None]).long()
        signs = torch.where(rng["signs"].bits(x.shape[1]), 1.0, -1.0)
        turned = rng["turned"].bits(1)[:, 0]
        if self.guided:
            # A bump is two mounds of opposite sign: the model says which way round.
            first = window(tops[:, 0], lefts[:, 0], side, height, width)
            rows, columns = torch.arange(height), torch.arange(width)
            half = torch.where(
                turned[:, None, None],
                columns[None, None, :] < (lefts[:, :1] + side[:, None] // 2)[:, :, None],
                rows[None, :, None] < (tops[:, :1] + side[:, None] // 2)[:, :, None],
            )
            mass = (model * torch.where(half, 1.0, -1.0)[:, None] * first[:, None]).flatten(2).sum(2)
            follow = (rng["follow"].uniform(1) < self.guided) & (mass != 0)
            signs = torch.where(follow, mass.sign(), signs)
        return move_mass(best, tops, lefts, side, signs, turned, self.eps)

    def intent(self, x: Float[Tensor, "B C H W"], repaired: Tensor) -> Float[Tensor, "B C H W"]:
        """What is left of it, drawn out to the radius again."""
        length = repaired.flatten(1).norm(dim=1).clamp(min=1e-12)
        return repaired * (self.eps / length)[:, None, None, None]

    def blend(self, genes: Float[Tensor, "n C H W"]) -> Float[Tensor, "C H W"]:
        """Their mean, drawn out to the radius."""
        total = genes.sum(0)
        return total * (self.eps / total.norm().clamp(min=1e-12))


@dataclass(frozen=True)
class PixelWalk:
    """Few pixels: some of them are given up and as many others painted, each channel black (-1) or white (+1).

    Where, and in which colour: of a share of the new pixels as the model has it, else anywhere.
    """

    pixels: int
    guided: float

    def begin(self, x: Float[Tensor, "B C H W"], model: Tensor, rng: Stream) -> Float[Tensor, "B C H W"]:
        """As many pixels as may change."""
        everything = torch.ones(len(x), dtype=torch.float64)
        return self.step(x, torch.zeros_like(x), everything, model, rng["begin"])

    def step(
        self, x: Float[Tensor, "B C H W"], best: Tensor, share: Float[Tensor, " B"], model: Tensor, rng: Stream
    ) -> Float[Tensor, "B C H W"]:
        """Some pixels exchanged."""
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
