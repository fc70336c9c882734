"""What a search believes of the margin's slope: a Gaussian over waves, made narrower by every answer.

A change c of an image lowers the margin by about the sum over waves of slope times c. The slope is thought to be normal
around `mean`, and after each answer both mean and covariance are what Bayes' rule makes of them: the update of Kalman
(1960) for a state that rests. Covariance is kept as the variances at first less what the last answers took away; what
older ones took away is given back, so that the cost of an answer stays the same and a belief can turn. That memory is
most of what a search holds, so it is written where it lies: a belief is used up by the answer that it learns from.

Which waves matter is learned across images: the square of what a change did beyond what was thought is, on the average,
the sum over bands of variance times what of each band is in it. Variances are fitted to these squares, each weighted by
how well it was to be known beforehand (Fisher scoring), and of each image in proportion to its own.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch.nn import functional

from .shapes import Bool, Float, Int, Tensor
from .waves import Waves

LAST = 64  # answers whose share in the covariance is kept
NOISE = 0.3  # variance of what a change of length 1 does beside the slope, where that of each wave is 1
DOUBT = 1.0  # answers about one band alone that weigh as much as the thought that it is like the mean
ALIKE = 10.0  # the same, that it is like the next faster or slower one
RANGE = (0.05, 20.0)  # of a band's variance
ALIGNED = 16  # numbers: rows that begin on a line of the processor's cache are summed alike wherever they lie


@dataclass(frozen=True)
class Belief:
    """Of B images.

    Attributes:
        mean: [B K], by how much a change of a wave by 1 is thought to lower the margin, in shares of it.
        variance: [B K], of that before the first answer, as a multiple of the mean over waves.
        gone: [B T K'], the covariance is the diagonal of `variance` less the sum of these times themselves; K' is K
            rounded up to a multiple of `ALIGNED`, and what is beyond K is 0.
        told: [B], answers.
        felt: [B n n+2], of the fit of variances: its matrix, what noise adds, and its right-hand side.
    """

    mean: Float[Tensor, "B K"]
    variance: Float[Tensor, "B K"]
    gone: Float[Tensor, "B T K"]
    told: Int[Tensor, " B"]
    felt: Float[Tensor, "B n m"]


def begin(mean: Float[Tensor, "B K"], spectrum: Float[Tensor, " n"], waves: Waves) -> Belief:
    """Before the first answer.

    Args:
        mean: what is thought at first.
        spectrum: variance of each band.
        waves: the waves.
    """
    count, number = mean.shape
    return Belief(
        mean=mean,
        variance=spectrum[waves.bands].expand(count, number).clone(),
        gone=torch.zeros(count, LAST, number + -number % ALIGNED),
        told=torch.zeros(count, dtype=torch.int64),
        felt=torch.zeros(count, len(spectrum), len(spectrum) + 2),
    )


def spread(belief: Belief, change: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """Covariance of the slope times a change."""
    count, number = change.shape
    wide = functional.pad(change, (0, belief.gone.shape[2] - number))
    if count == 1:  # alone, an image is multiplied by another routine, which may round otherwise
        wide, gone = wide.expand(2, -1), belief.gone.expand(2, -1, -1)
    else:
        gone = belief.gone
    shares = torch.bmm(wide[:, None], gone.transpose(1, 2))
    return torch.addcmul(-torch.bmm(shares, gone)[:count, 0, :number], belief.variance, change)


def learn(
    belief: Belief,
    change: Float[Tensor, "B K"],
    length: Float[Tensor, " B"],
    drop: Float[Tensor, " B"],
    which: Bool[Tensor, " B"],
    waves: Waves,
) -> Belief:
    """After answers.

    Args:
        belief: before them; its `gone` becomes that of the belief that is given back. Of images that were not
            answered nothing changes.
        change: what was changed, in waves.
        length: square of its Euclidean length, with what no wave of ours holds.
        drop: by how much it lowered the margin.
        which: those that were answered, and had changed something.
        waves: the waves.
    """
    row = spread(belief, change)
    known = change * row
    variance = known.sum(1).clamp_(min=0).add_(length, alpha=NOISE).add_(1e-9)
    surprise = torch.where(which, drop - (belief.mean * change).sum(1), 0.0)
    mean = torch.addcmul(belief.mean, row, (surprise / variance)[:, None])
    each = which.nonzero().squeeze(1)
    belief.gone[each, belief.told[each] % LAST, : row.shape[1]] = (row / variance.sqrt()[:, None]).index_select(0, each)
    due = waves.by_band(known.div_(belief.variance).clamp_(min=0))
    columns = torch.cat([due, torch.stack([NOISE * length, surprise.square()], dim=1)], dim=1)
    weight = which / variance**2
    felt = torch.addcmul(belief.felt, (due * weight[:, None])[:, :, None], columns[:, None, :])
    return dataclasses.replace(belief, mean=mean, told=belief.told + which, felt=felt)


def lesson(belief: Belief, waves: Waves) -> Float[Tensor, "B n m"]:
    """What images tell of bands, each in proportion to its answers, however steep its own margin is."""
    variance = waves.by_band(belief.variance) / waves.sizes
    matrix, noise, side = belief.felt[:, :, :-2], belief.felt[:, :, -2], belief.felt[:, :, -1]
    expected = (((matrix * variance[:, None]).sum(2) + noise) * variance).sum(1)
    steep = (side * variance).sum(1) / expected.clamp(min=1e-12)
    found = torch.cat([matrix, (side / steep.clamp(min=1e-30)[:, None] - noise)[..., None]], dim=2)
    return torch.where((steep > 1e-12)[:, None, None], found, 0.0)  # where nothing happened, nothing is told of bands


def taught(
    felt: Float[Tensor, "n m"], lessons: Float[Tensor, "b n m"], waves: Waves
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n m"]]:
    """The variance of each band after images, and what all images so far have told, added in their order."""
    sizes = waves.sizes
    for one in lessons:
        if bool(one.isfinite().all()):  # margins of 1e19 and more overflow
            felt = felt + one
    thought = DOUBT * torch.eye(len(sizes)) + ALIKE * waves.apart
    matrix, side = (felt[:, :-1] + thought).double(), (felt[:, -1] + DOUBT).double()
    spectrum = torch.linalg.solve(matrix, side).clamp(*RANGE)
    return (spectrum * sizes.sum() / (spectrum * sizes).sum()).clamp(*RANGE).float(), felt
