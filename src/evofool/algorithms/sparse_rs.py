"""Sparse-RS: random search over a few pixels, over a patch that also moves, or over the frame of an image.

Author: Croce, Andriushchenko, Singh, Flammarion, Hein, Sparse-RS: a versatile framework for query-efficient sparse
black-box adversarial attacks, AAAI 2022, https://arxiv.org/abs/2006.12834.

All colours are corners of the colour cube: each channel of a pixel is black or white. What is better is kept.

- Pixels: a set of k pixels. A step lets go of some of them, and paints as many others. A single one never gets the
  colour that the image has there, which would ask again what is known; nor does a single pixel of a patch keep its own.
- Patch: first vertical stripes. A step paints a square within the patch in one channel or more; each fifth step moves
  the patch instead (each tenth after 1000 queries, and so on).
- Frame: first random colours. A step draws pixels of the frame, and paints from each a square as wide as the frame.

Where we differ:
1. Each image has draws of its own; the published code draws which pixels of a set are exchanged, and which square of a
   patch is painted, once for a whole batch.
2. The patch reaches the last row and column, which the first place in the published code leaves out; images may be
   rectangular.
3. A frame takes the step of the published code for one frame for all images, for each image by itself, with the alpha
   that the code has for single images; there it paints one square, and later single pixels. Where squares of a frame
   overlap, chance decides which is on top, not their order. A square is cut at the edge of the image; the published
   code squeezes what is beyond it into the last row or column.
4. A target is approached by the margin of its score; the published code takes the cross-entropy.
5. The schedule is stretched over `horizon` queries, which is a parameter of its own, not the budget.
6. A patch keeps to the schedule of the first release, in how it begins (stripes, not many squares), shrinks (down to a
   128th, not a 512th) and moves (each fifth step, more rarely with each 1000; not each fourth, of targets each tenth),
   and no step changes a single channel.
7. When fewer pixels are left outside a set than are to be exchanged, some of those that were let go are painted anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch.nn import functional

from ..contracts import Evaluated, Victims
from ..encodings.perturbation import FewPixels, Frame, Patch, repainted
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor
from ..spec import check
from .base import Begun, begin, winners
from .square import window

# After so many of 10,000 queries, alpha is divided by so much.
PIXEL_STEPS, PIXEL_PARTS = (0, 50, 200, 500, 1000, 2000, 4000, 6000, 8000), (1, 2, 4, 5, 6, 8, 10, 12, 15, 20)
PATCH_STEPS, PATCH_PARTS = (10, 50, 200, 500, 1000, 4000, 8000), (1, 2, 4, 8, 16, 32, 64, 128)
MOVES = 5  # each so many steps a patch moves
REACH = 0.75  # share of the image that it may move at first


def smallest(keys: Float[Tensor, "B N"], count: Int[Tensor, " B"]) -> Bool[Tensor, "B N"]:
    """The `count` places of each row with the smallest keys; all that share the last of these keys."""
    most = int(count.max())
    if most < 1:
        return torch.zeros_like(keys, dtype=torch.bool)
    limits = keys.topk(most, largest=False).values
    limit = limits.gather(1, (count - 1).clamp(min=0)[:, None])
    return (keys <= limit) & (count > 0)[:, None]


def with_pixels(
    perturbation: Float[Tensor, "B C H W"],
    chosen: Bool[Tensor, "B HW"],
    colours: Float[Tensor, "B C H W"],
    x: Float[Tensor, "B C H W"],
) -> Float[Tensor, "B C H W"]:
    """The perturbation with the chosen pixels painted in these colours; it is cheapest when they are few."""
    row, place = chosen.nonzero().unbind(1)
    old, new = (image.flatten(2)[row, :, place][..., None, None] for image in (x, colours))
    painted = perturbation.flatten(2).clone()
    painted[row, :, place] = repainted(new, torch.ones_like(old[:, :1], dtype=torch.bool), old)[..., 0, 0]
    return painted.view_as(x)


@dataclass(frozen=True)
class SparseRS:
    """Its configuration, and the algorithm.

    Args:
        encoding: `FewPixels`, `Patch` or `Frame`.
        alpha: share of the pixels that the first step changes. The paper has 0.3 for pixels, 0.4 for a patch and 0.5
            for a frame; 0.1 for pixels and patches of targeted attacks.
        horizon: queries over which the schedule is stretched; the published code takes the budget.
    """

    encoding: FewPixels | Patch | Frame
    alpha: Annotated[float, Gt(0), Le(1)] = 0.3
    horizon: Annotated[int, Gt(0)] = 10_000

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, (FewPixels, Patch, Frame)):
            raise SpecError("sparse-rs attacks a number of pixels, a patch or a frame; square attacks L-inf and L2")
        check(self)

    def init(self, victims: Victims) -> Begun:
        """The images."""
        return begin(victims)

    def share(self, told: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The share of the pixels that the next step changes."""
        pixels = isinstance(self.encoding, FewPixels)
        steps, parts = (PIXEL_STEPS, PIXEL_PARTS) if pixels else (PATCH_STEPS, PATCH_PARTS)
        scaled = (told.double() / self.horizon * 10_000).long()
        part = torch.bucketize(scaled, torch.tensor(steps))
        return self.alpha / torch.tensor(parts, dtype=torch.float64)[part]

    def ask(self, state: Begun, rng: Stream) -> Float[Tensor, "B 1 C H W"]:
        """Random ones at first, then what is held on to with a few pixels changed."""
        if isinstance(self.encoding, FewPixels):
            new = self._pixels(state, self.encoding.pixels, rng)
        elif isinstance(self.encoding, Patch):
            new = self._patch(state, self.encoding.side, rng)
        else:
            new = self._frame(state, self.encoding, rng)
        return new[:, None]

    def tell(self, state: Begun, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> Begun:
        """Keep what is better; the first perturbation is kept in any case."""
        new, value, better = winners(state, evaluated, fitness)
        take = better | (state.told == 0)
        return Begun(
            state.x,
            state.labels,
            torch.where(take[:, None, None, None], new, state.best),
            torch.where(take, value, state.fitness),
            state.told + 1,
        )

    def _pixels(self, state: Begun, pixels: int, rng: Stream) -> Float[Tensor, "B C H W"]:
        total = state.x[0, 0].numel()
        first = state.told == 0
        held = (state.best != 0).any(1).flatten(1)
        count = (self.share(state.told) * pixels).long().clamp(min=1)
        chance = rng["places"].uniform(total)
        go = smallest(chance.masked_fill(~held, 2.0), torch.where(first, 0, count)) & held
        order = chance.masked_fill(held, torch.inf)
        if pixels + int(count.max()) > total:  # too few are outside: the ones just let go come after them
            order = torch.where(go, chance + 2, order)
        come = smallest(order, torch.where(first, min(pixels, total), count))
        colours = rng["colours"].bits(*state.x.shape[1:])
        if not bool(first.all()):
            single = (~first & (count == 1))[:, None, None, None]
            colours = torch.where(single, another(colours, state.x, rng), colours)
        colours = colours.float()
        kept = state.best.flatten(2).masked_fill(go[:, None], 0.0).view_as(state.x)
        return with_pixels(kept, come, colours, state.x)

    def _patch(self, state: Begun, side: int, rng: Stream) -> Float[Tensor, "B C H W"]:
        _, channels, height, width = state.x.shape
        tall, wide = min(side, height), min(side, width)
        first = state.told == 0
        held = (state.best != 0).any(1)
        top, left = held.any(2).byte().argmax(1), held.any(1).byte().argmax(1)
        inside = patch_places(top, left, tall, wide, width)
        image = (state.x + state.best).flatten(2)
        pattern = image.gather(2, inside[:, None].expand(-1, channels, -1)).unflatten(2, (tall, wide)).round()
        # A square of the pattern gets one colour, in each channel black or white.
        drawn = rng["square"].uniform(2, dtype=torch.float64)
        size = (self.share(state.told).sqrt() * side).long().clamp(min=1).clamp(max=min(tall, wide))
        row, column = (drawn[:, 0] * (tall - size + 1)).long(), (drawn[:, 1] * (wide - size + 1)).long()
        colour = rng["colour"].bits(channels)[:, :, None, None]
        there = pattern.flatten(2).gather(2, (row * wide + column)[:, None, None].expand(-1, channels, -1))[..., None]
        colour = torch.where((size == 1)[:, None, None, None], another(colour, there, rng), colour).float()
        painted = torch.where(window(row, column, size, tall, wide)[:, None], colour, pattern)
        stripes = rng["stripes"].bits(channels, 1, wide).float().expand(-1, -1, tall, -1)
        # Or the patch moves.
        left_over = ((self.horizon - state.told).double() / self.horizon).clamp(min=0) * REACH
        move = rng["move"].uniform(2, dtype=torch.float64)
        moves = (state.told % (MOVES * (1 + state.told // 1000)) == 0) & (left_over * height >= 1) & ~first
        shifted_top = moved(top, left_over * height, move[:, 0], height - tall)
        shifted_left = moved(left, left_over * width, move[:, 1], width - wide)
        place = rng["place"].uniform(2, dtype=torch.float64)
        new_top = (place[:, 0] * (height - tall + 1)).long()
        new_left = (place[:, 1] * (width - wide + 1)).long()
        top = torch.where(first, new_top, torch.where(moves, shifted_top, top))
        left = torch.where(first, new_left, torch.where(moves, shifted_left, left))
        pattern = torch.where(moves[:, None, None, None], pattern, painted)
        pattern = torch.where(first[:, None, None, None], stripes, pattern)
        canvas = torch.zeros_like(image).scatter(
            2, patch_places(top, left, tall, wide, width)[:, None].expand(-1, channels, -1), pattern.flatten(2)
        )
        rows, columns = torch.arange(height), torch.arange(width)
        in_rows = (rows >= top[:, None]) & (rows < top[:, None] + tall)
        in_columns = (columns >= left[:, None]) & (columns < left[:, None] + wide)
        return repainted(canvas.view_as(state.x), (in_rows[:, :, None] & in_columns[:, None])[:, None], state.x)

    def _frame(self, state: Begun, frame: Frame, rng: Stream) -> Float[Tensor, "B C H W"]:
        _, channels, height, width = state.x.shape
        mask = frame.mask(height, width)
        colours = rng["colours"].bits(channels, height, width).float()
        chance = rng["places"].uniform(height * width)
        count = (self.share(state.told) * int(mask.sum())).long().clamp(min=1)
        drawn = smallest(torch.where(mask.flatten(), chance, 2.0), count)
        source, painted = squares(
            torch.where(drawn, 1 - chance, -1.0).unflatten(1, (height, width)), frame.thickness, rng
        )
        found = colours.flatten(2).gather(2, source.flatten(1)[:, None].expand(-1, channels, -1)).view_as(colours)
        first = (state.told == 0)[:, None, None]
        inside = ((painted | first) & mask)[:, None]
        new = repainted(torch.where(first[:, None], colours, found), inside, state.x)
        return torch.where(inside, new, state.best)


def another(colours: Bool[Tensor, "B C h w"], there: Float[Tensor, "B C h w"], rng: Stream) -> Bool[Tensor, "B C h w"]:
    """The colours, but where a pixel has its own already, one of the others, each as likely."""
    channels, height, width = colours.shape[1:]
    same = (colours == there).all(1, keepdim=True)
    which = (rng["another"].uniform(1, height, width, dtype=torch.float64) * (2**channels - 1)).long() + 1
    turned = (which >> torch.arange(channels)[:, None, None]) & 1 == 1
    return torch.where(same, colours ^ turned, colours)


def patch_places(
    top: Int[Tensor, " B"], left: Int[Tensor, " B"], tall: int, wide: int, width: int
) -> Int[Tensor, "B A"]:
    """Where the pixels of a patch are in a flattened image."""
    rows, columns = top[:, None] + torch.arange(tall), left[:, None] + torch.arange(wide)
    return (rows[:, :, None] * width + columns[:, None]).flatten(1)


def moved(
    at: Int[Tensor, " B"], reach: Float[Tensor, " B"], drawn: Float[Tensor, " B"], most: int
) -> Int[Tensor, " B"]:
    """A place up to `reach` away, cut at 0 and `most`."""
    steps = reach.long()
    return (at + (drawn * (2 * steps + 1)).long() - steps).clamp(0, most)


def squares(rank: Float[Tensor, "B H W"], side: int, rng: Stream) -> tuple[Int[Tensor, "B H W"], Bool[Tensor, "B H W"]]:
    """From each drawn pixel a square, in each image all toward one of its four corners; where some overlap, one wins.

    Args:
        rank: of drawn pixels, at least 0: the higher one is on top; of others -1.
        side: of the squares.
        rng: for the corner.

    Returns:
        The flattened place of the drawn pixel whose square covers each pixel, and whether there is one.
    """
    height, width = rank.shape[1:]
    number = torch.arange(height * width).view(height, width)
    # One number for rank and place: exact in float64.
    keys = torch.where(rank < 0, -1.0, (rank.double() * 2**24).floor() * (height * width) + number)
    edge = side - 1
    up, left = rng["corner"].bits(2)[:, :, None, None].unbind(1)
    # The highest key of a square is the highest of its rows' highest ones: along each axis by itself.
    tops = highest(functional.pad(keys, (0, 0, edge, edge), value=-1.0), side, 1)
    tops = torch.where(up, tops[:, edge:], tops[:, :height])
    tops = highest(functional.pad(tops, (edge, edge), value=-1.0), side, 2)
    tops = torch.where(left, tops[:, :, edge:], tops[:, :, :width])
    return (tops % (height * width)).long(), tops >= 0


def highest(values: Tensor, count: int, axis: int) -> Tensor:
    """The maximum of each `count` neighbours along an axis, which gets shorter by `count - 1`."""
    size = 1  # neighbours that each entry is the maximum of
    while size < count:
        step = min(size, count - size)
        rest = values.shape[axis] - step
        values = torch.maximum(values.narrow(axis, 0, rest), values.narrow(axis, step, rest))
        size += step
    return values


def example() -> SparseRS:
    """A small configuration for trying things out."""
    return SparseRS(FewPixels(5), horizon=100)


__all__ = ["SparseRS", "example", "smallest", "squares", "with_pixels"]
