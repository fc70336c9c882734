"""Images that labels-only attacks begin from: patterns that are asked about one after another until one fools."""

from __future__ import annotations

import torch

from ..shapes import Float, Int, Tensor

SCALES = (1, 2, 4, 8, 16)  # pixels in the side of a cell, as SparseEvo's published code has them


def cells(
    drawn: Float[Tensor, "B C H W"], turn: Int[Tensor, " B"], scales: tuple[int, ...] = SCALES
) -> Float[Tensor, "B C H W"]:
    """Patterns of square cells of one value each.

    Args:
        drawn: random values; a cell takes one of them.
        turn: which of the scales, taken in turn.
        scales: sides of cells.
    """
    channels, height, width = drawn.shape[1:]
    side = torch.tensor(scales)[turn % len(scales)][:, None]
    rows, columns = torch.arange(height) // side, torch.arange(width) // side
    place = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    return drawn.flatten(2).gather(2, place[:, None].expand(-1, channels, -1)).view(drawn.shape)
