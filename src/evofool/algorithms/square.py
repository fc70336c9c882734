"""Square Attack: random search over squares whose side shrinks on a schedule.

Author: Andriushchenko, Croce, Flammarion, Hein, Square Attack: a query-efficient black-box adversarial attack via
random search, ECCV 2020, https://arxiv.org/abs/1912.00049.

Where we differ:
1. Each image has squares of its own; within L2 the published code draws one for a whole batch, as its copies in other
   libraries do within L-inf, too.
2. Squares reach the last row and column, which the published code leaves out; images may be rectangular.
3. A square that changes nothing is drawn again up to seven times for each image; the published code goes on until it
   does.
4. The schedule is that of the paper, stretched over `horizon` queries, which is a parameter of its own, not the budget.
5. A target is approached by the margin of its score; the published code takes the cross-entropy.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt, Le

from ..contracts import Evaluated, Victims
from ..encodings.perturbation import LpBall
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor
from ..spec import check
from .base import Begun, begin, replaced, winners

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries
DRAWS = 8  # of the signs of one square
_HALVINGS = torch.tensor(HALVINGS)


def window(
    top: Int[Tensor, " B"], left: Int[Tensor, " B"], side: Int[Tensor, " B"], height: int, width: int
) -> Bool[Tensor, "B H W"]:
    """A square in each image."""
    in_rows, in_columns = _sides(top, left, side, height, width)
    inside = in_rows.view(torch.uint8)[:, :, None] * in_columns.view(torch.uint8)[:, None, :]  # faster than of bools
    return inside.view(torch.bool)


def _sides(
    top: Int[Tensor, " B"], left: Int[Tensor, " B"], side: Int[Tensor, " B"], height: int, width: int
) -> tuple[Bool[Tensor, "B H"], Bool[Tensor, "B W"]]:
    """Which rows and columns it has."""
    rows, columns = torch.arange(height), torch.arange(width)
    in_rows = (rows >= top[:, None]) & (rows < (top + side)[:, None])
    return in_rows, (columns >= left[:, None]) & (columns < (left + side)[:, None])


def stripes_of(x: Float[Tensor, "B C H W"], rng: Stream, eps: float) -> Float[Tensor, "B C H W"]:
    """Vertical stripes one pixel wide, each channel of each +eps or -eps."""
    _, channels, height, width = x.shape
    signs = rng["stripes"].bits(channels, 1, width)
    return torch.where(signs, eps, -eps).expand(-1, -1, height, -1)


def square_signs(
    x: Float[Tensor, "B C H W"],
    best: Float[Tensor, "B C H W"],
    inside: Bool[Tensor, "B H W"] | Float[Tensor, "B H W"],
    eps: float,
    rng: Stream,
) -> Float[Tensor, "B C H W"]:
    """`best` with the square at +eps or -eps in each channel, where possible so that the image changes.

    Args:
        x: the images.
        best: perturbations.
        inside: the squares; of floats 1 inside and 0 outside.
        eps: radius.
        rng: draws the signs.
    """
    ups = rng["signs"].bits(DRAWS, x.shape[1])  # [B R C]
    # Sums and products with 0 and 1 are exact, and take a fraction of what masks take.
    inside = inside.to(x.dtype)[:, None]
    now = x + best
    falls = (now - (x - eps).clamp_(min=0)).mul_(inside).amax((2, 3)) > 0  # what a sign would change, [B C]
    rises = (x + eps).clamp_(max=1).sub_(now).mul_(inside).amax((2, 3)) > 0
    works = torch.where(ups, rises[:, None], falls[:, None]).any(2)
    first = works.byte().argmax(1)
    up = ups[torch.arange(len(ups)), first]
    return torch.lerp(best, torch.where(up, eps, -eps)[:, :, None, None], inside)


@dataclass(frozen=True)
class Square:
    """Its configuration, and the algorithm.

    Args:
        encoding: an L-inf or L2 ball.
        p: share of the pixels in the first square. 0.8 as in AutoAttack; the paper has 0.05 for L-inf and 0.1 for L2 on
            ImageNet.
        horizon: queries over which the schedule is stretched; the published code takes the budget.
    """

    encoding: LpBall
    p: Annotated[float, Gt(0), Le(1)] = 0.8
    horizon: Annotated[int, Gt(0)] = 10_000

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, LpBall):
            raise SpecError("square attacks L-inf and L2 only; sparse-rs attacks a number of pixels")
        check(self)

    def init(self, victims: Victims) -> Begun:
        """The images."""
        return begin(victims)

    def share(self, told: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The share of the pixels that the next square has."""
        scaled = (told.double() / self.horizon * 10_000).long()
        halved = torch.bucketize(scaled, _HALVINGS)
        return self.p / 2.0**halved

    def ask(self, state: Begun, rng: Stream) -> Float[Tensor, "B 1 C H W"]:
        """Stripes (or a grid of bumps in L2) at first, then one more square."""
        new = self._square(state, rng) if self.encoding.norm == "linf" else self._bumps(state, rng)
        first = state.told == 0
        if bool(first.any()):
            begun = (
                stripes_of(state.x, rng, self.encoding.eps)
                if self.encoding.norm == "linf"
                else begin_with_bumps(state.x, self.encoding.eps, rng)
            )
            new = torch.where(first[:, None, None, None], begun, new)
        return new[:, None]

    def tell(self, state: Begun, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> Begun:
        """Keep what is better; the first perturbation is kept in any case."""
        new, value, better = winners(state, evaluated, fitness)
        take = better | (state.told == 0)
        return Begun(
            state.x,
            state.labels,
            replaced(state.best, take, new),
            torch.where(take, value, state.fitness),
            state.told + 1,
        )

    def _side(self, told: Int[Tensor, " B"], height: int, width: int) -> Int[Tensor, " B"]:
        """Of the next square within L-inf; worked out for all of the schedule once."""
        if (height, width) not in self._schedule:
            shares = self.share(torch.arange(self.horizon + 1))
            sides = (shares * height * width).sqrt().round().long().clamp(1, max(1, min(height, width) - 1))
            self._schedule[height, width] = sides
        return self._schedule[height, width].index_select(0, (told - 1).clamp_(0, self.horizon))

    @functools.cached_property
    def _schedule(self) -> dict[tuple[int, int], Tensor]:
        return {}

    def _square(self, state: Begun, rng: Stream) -> Float[Tensor, "B C H W"]:
        height, width = state.x.shape[2:]
        side = self._side(state.told, height, width)
        places = rng["place"].uniform(2, dtype=torch.float64)
        top = (places[:, 0] * (height - side + 1)).long()
        left = (places[:, 1] * (width - side + 1)).long()
        in_rows, in_columns = _sides(top, left, side, height, width)
        inside = in_rows.to(state.x.dtype)[:, :, None] * in_columns.to(state.x.dtype)[:, None, :]
        return square_signs(state.x, state.best, inside, self.encoding.eps, rng)

    # L2 -------------------------------------------------------------------------------------------------------------

    def _bumps(self, state: Begun, rng: Stream) -> Float[Tensor, "B C H W"]:
        """Move what one window holds into another one, as a bump on top of what is there."""
        height, width = state.x.shape[2:]
        shortest = min(height, width)
        side = (self.share(state.told - 1) * height * width).sqrt().round().long().clamp(3, max(3, shortest - 1))
        side = (side + (side % 2 == 0)).clamp(max=shortest if shortest % 2 else shortest - 1)
        places = rng["place"].uniform(4, dtype=torch.float64)
        tops = (places[:, :2] * (height - side + 1)[:, None]).long()
        lefts = (places[:, 2:] * (width - side + 1)[:, None]).long()
        signs = torch.where(rng["signs"].bits(state.x.shape[1]), 1.0, -1.0)
        turned = rng["turned"].bits(1)[:, 0]
        return move_mass(state.best, tops, lefts, side, signs, turned, self.encoding.eps)


def begin_with_bumps(x: Float[Tensor, "B C H W"], eps: float, rng: Stream) -> Float[Tensor, "B C H W"]:
    """Bumps side by side all over the image, each channel of each up or down."""
    _, channels, height, width = x.shape
    side = max(1, min(height, width) // 5)
    begin_row, begin_column = (height - height // side * side) // 2, (width - width // side * side) // 2
    rows, columns = height // side, width // side
    bump = bumps(side)[side][:side, :side]
    turned = rng["turned"].bits(1, rows, columns)[..., :, None, :, None]
    signs = torch.where(rng["bumps"].bits(channels, rows, columns), 1.0, -1.0)
    tiles = signs[..., :, None, :, None] * torch.where(turned, bump.T[:, None, :], bump[:, None, :])
    tiles = tiles.flatten(4).flatten(2, 3)
    grid = torch.zeros_like(x)
    grid[:, :, begin_row : begin_row + rows * side, begin_column : begin_column + columns * side] = tiles
    length = grid.flatten(1).norm(dim=1).clamp(min=1e-12)
    return grid * (eps / length)[:, None, None, None]


def bumps(largest: int) -> Float[Tensor, "S L L"]:
    """The shapes of bumps by their side, 0 to `largest`: two mounds of opposite sign and equal length; together 1."""
    found = torch.zeros(largest + 1, largest, largest)
    for side in range(1, largest + 1):
        half = side // 2
        shape = torch.cat([_mound(half, side), -_mound(side - half, side)])
        found[side, :side, :side] = shape / shape.norm()
    return found


def _mound(height: int, width: int) -> Float[Tensor, "h w"]:
    """Squares around the middle, one in the other: that which reaches k pixels further out adds 1 / (k + 1)^2."""
    rows, columns = (torch.arange(height) - height // 2).abs(), (torch.arange(width) - width // 2).abs()
    squares = 1 / torch.arange(1, max(height, width) // 2 + 2).double().square()
    shape = squares.flip(0).cumsum(0).flip(0)[torch.maximum(rows[:, None], columns)].float()
    return shape / shape.norm()


def move_mass(
    best: Float[Tensor, "B C H W"],
    tops: Int[Tensor, "B 2"],
    lefts: Int[Tensor, "B 2"],
    side: Int[Tensor, " B"],
    signs: Float[Tensor, "B C"],
    turned: Bool[Tensor, " B"],
    eps: float,
) -> Float[Tensor, "B C H W"]:
    """The mass of the second window, and what is left of the radius, goes into the first one as a bump.

    Args:
        best: perturbations.
        tops, lefts, side: of the two windows.
        signs: of the bump, by channel.
        turned: whether its two mounds lie side by side, not one above the other.
        eps: radius.
    """
    _, channels, height, width = best.shape
    table = _table(max(height, width))
    one = window(tops[:, 0], lefts[:, 0], side, height, width)[:, None]
    two = window(tops[:, 1], lefts[:, 1], side, height, width)[:, None]
    inside = torch.where(one, best, 0.0)
    length_one = inside.flatten(2).norm(dim=2)[..., None, None]
    both = torch.where(one | two, best, 0.0).flatten(2).square().sum(2)
    total = best.flatten(1).square().sum(1)
    # The shape, shifted to where the first window is.
    rows = (torch.arange(height) - tops[:, :1]).clamp(0, table.shape[1] - 1)
    columns = (torch.arange(width) - lefts[:, :1]).clamp(0, table.shape[2] - 1)
    down, across = rows[:, :, None], columns[:, None, :]
    turn = turned[:, None, None]
    shape = table[side[:, None, None], torch.where(turn, across, down), torch.where(turn, down, across)]
    bump = torch.where(one, shape[:, None] * signs[..., None, None] + inside / (1e-10 + length_one), 0.0)
    left_over = (eps**2 - total).clamp(min=0)[:, None] / channels
    scale = (left_over + both).sqrt() / bump.flatten(2).norm(dim=2).clamp(min=1e-12)
    moved = torch.where(one, bump * scale[..., None, None], torch.where(two, 0.0, best))
    length = moved.flatten(1).norm(dim=1).clamp(min=1e-12)
    return moved * (eps / length)[:, None, None, None]


_tables: dict[int, Tensor] = {}


def _table(largest: int) -> Float[Tensor, "S L L"]:
    if largest not in _tables:
        _tables[largest] = bumps(largest)
    return _tables[largest]


def example() -> Square:
    """A small configuration for trying things out."""
    return Square(LpBall("linf", 76 / 255), horizon=100)


__all__ = ["Square", "begin_with_bumps", "bumps", "example", "move_mass", "square_signs", "stripes_of", "window"]
