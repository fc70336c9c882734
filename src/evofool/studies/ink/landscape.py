"""What maps of single pixels come to: profile by ring, how well they foretell where ink lies, what pairs do.

Intervals as in `measures`; where too little was measured for an answer, the answer is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, stats

from ..draw.results import Drawn
from .measures import (
    CONFIDENCE,
    RESAMPLES,
    Mean,
    RingRow,
    interval,
    masks_of,
    mean_of,
    resamples,
    ring_area,
    ring_of,
)
from .results import Map, Results

SHARE = 0.05  # of the pixels: those that count as the best of a map
BEST = 20  # pixels that a map tries all pairs of
SLOPE = 1e-3  # effects that differ by a smaller share of the largest are the same
_ROUNDING = 1e-4  # in log-odds: less is arithmetic


@dataclass(frozen=True)
class Prediction:
    """How well effects of single pixels foretell where ink lies.

    Attributes:
        percentile: of an inked pixel among the effects of all pixels, in (0, 1): mean over the ink of a run, then over
            runs. 0.5 = chance.
        low, high: interval over runs.
        p: share of circular shifts of the map, the map itself included, that foretell at least as well.
        shifts: how many there are.
        n: runs with ink.
    """

    percentile: float
    low: float | None
    high: float | None
    p: float
    shifts: int
    n: int


@dataclass(frozen=True)
class Interaction:
    """Effect of two pixels together less the sum of their effects, in log-odds; 0 = they add up.

    Attributes:
        best: of pairs of the pixels that matter most; `Mean.n` counts pairs, pixels are resampled.
        random: of all other pairs that were tried.
    """

    best: Mean
    random: Mean


def map_profile(found: Map, *, spread: float = 0.9) -> list[RingRow]:
    """Mean effect by ring; `low` and `high` are percentiles between which `spread` of its pixels lie, no interval."""
    places, effects = _measured(found)
    rings, area = ring_of(found.size)[places], ring_area(found.size)
    rows = []
    for ring in range(len(area)):
        there = effects[rings == ring]
        numbers: list[float | None] = [None] * 3
        if len(there):
            ends = np.quantile(there, [(1 - spread) / 2, (1 + spread) / 2])
            numbers = [float(there.mean()), float(ends[0]), float(ends[1])]
        rows.append(RingRow(ring, float(area[ring] / area.sum()), *numbers))
    return rows


def is_flat(found: Map) -> bool | None:
    """Whether ink is worth the same wherever it lies, alone and in pairs; None without an answer."""
    _, effects = _measured(found)
    if not len(effects):
        return None
    same = max(SLOPE * float(np.abs(effects).max()), _ROUNDING)
    joint = _joint(found)[2]
    return bool(np.ptp(effects) <= same and (not len(joint) or np.ptp(joint) <= 2 * same))


def effects_on_canvas(found: Map) -> np.ndarray | None:
    """The effect of each pixel, [H W]: of those that were not tried that of the nearest one; None without any."""
    places, effects = _measured(found)
    if not len(effects):
        return None
    canvas = np.full(found.size, np.nan)
    canvas.flat[places] = effects
    nearest = ndimage.distance_transform_edt(np.isnan(canvas), return_distances=False, return_indices=True)
    filled: np.ndarray = canvas[tuple(nearest)]
    return filled


def prediction(found: Map, runs: Sequence[Drawn], *, level: float = CONFIDENCE) -> Prediction | None:
    """How well a map foretells the ink of runs; None without effects or without ink.

    Every circular shift of the map is tried, which keeps its shape and puts it in another place.
    """
    effects = effects_on_canvas(found)
    masks = masks_of(runs, found.size)
    masks = masks[masks.any(1)]
    if effects is None or not len(masks):
        return None
    percentiles = (stats.rankdata(effects).reshape(found.size) - 0.5) / effects.size
    weights = masks / masks.sum(1, keepdims=True)
    each = weights @ percentiles.ravel()
    mean = mean_of(each, "prediction", level=level)
    # Correlation with all shifts at once, by the Fourier transform.
    ink = weights.mean(0).reshape(found.size)
    shifted = np.fft.irfft2(np.fft.rfft2(percentiles) * np.fft.rfft2(ink).conj(), s=found.size).ravel()
    # `shifted[0]` is the map in its own place.
    larger = int((shifted[1:] >= shifted[0] - 1e-9).sum())
    return Prediction(float(each.mean()), mean.low, mean.high, (1 + larger) / len(shifted), len(shifted), len(masks))


def landscape_index(found: Map, *, share: float = SHARE) -> float | None:
    """Mean steps to the border of the best pixels over those of all: below 1, ink is worth most near the edge.

    Args:
        found: the map.
        share: of the pixels that count as the best; of equal ones at the end of these each counts in part.
    """
    effects = effects_on_canvas(found)
    rings = ring_of(found.size)
    if effects is None or not rings.any():
        return None
    flat = effects.ravel()
    count = max(1, round(share * flat.size))
    least = np.sort(flat)[-count]
    above, equal = flat > least, flat == least
    weight = above + equal * (count - above.sum()) / equal.sum()
    return float((weight @ rings) / count / rings.mean())


def interaction(found: Map, *, level: float = CONFIDENCE) -> Interaction:
    """What pairs of pixels do beyond the sum of both; pixels are resampled, since pairs share them."""
    first, second, joint = _joint(found)
    places, effects = _measured(found)
    best = set(places[np.argsort(-effects, kind="stable")[:BEST]].tolist())
    chosen = np.array([a in best and b in best for a, b in zip(first, second, strict=True)], dtype=bool)
    sides = [_of_pairs(first[side], second[side], joint[side], level) for side in (chosen, ~chosen)]
    return Interaction(*sides)


def ring_agreement(results: Results, arm: str, found: Map, *, level: float = CONFIDENCE) -> Mean:
    """Spearman's correlation over rings of how dense ink is with what it does there; runs are resampled.

    None with fewer than three rings, or without ink.
    """
    size = results.arm(arm).size
    area = ring_area(size)
    effect = [row.mean for row in map_profile(found)]
    masks = masks_of(results.of(arm), size)
    masks = masks[masks.any(1)]
    known = [ring for ring, value in enumerate(effect) if value is not None]
    if size != found.size or len(known) < 3 or not len(masks):
        return Mean(None, None, None, len(masks), level)
    rings = ring_of(size)
    counts = np.stack([masks[:, rings == ring].sum(1) for ring in known], 1) / masks.sum(1, keepdims=True)
    density = counts / area[known]
    ranked = _ranked(np.array([effect[ring] for ring in known])[None])
    estimate = float((_ranked(density.mean(0)[None]) @ ranked.T)[0, 0])
    if len(masks) < 2:
        return Mean(estimate, None, None, len(masks), level)
    drawn = density[resamples(len(masks), f"agreement of {arm}")].mean(1)
    low, high = interval(estimate, (_ranked(drawn) @ ranked.T)[:, 0], len(masks), level)
    ends = [None if end is None else min(max(end, -1.0), 1.0) for end in (low, high)]
    return Mean(estimate, ends[0], ends[1], len(masks), level)


def _measured(found: Map) -> tuple[np.ndarray, np.ndarray]:
    """Places with an answer, and their effects."""
    kept = [(place, effect) for place, effect in zip(found.places, found.effects, strict=True) if effect is not None]
    return np.array([place for place, _ in kept], dtype=np.int64), np.array([effect for _, effect in kept], dtype=float)


def _joint(found: Map) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of places, and the effect of both less the sum of their effects."""
    single = dict(zip(*(array.tolist() for array in _measured(found)), strict=True))
    kept = [(a, b, both - single[a] - single[b]) for a, b, both in found.pairs
            if both is not None and a in single and b in single]  # fmt: skip
    first, second, joint = zip(*kept, strict=True) if kept else ((), (), ())
    return np.array(first, dtype=np.int64), np.array(second, dtype=np.int64), np.array(joint, dtype=float)


def _of_pairs(first: np.ndarray, second: np.ndarray, joint: np.ndarray, level: float) -> Mean:
    if not len(joint):
        return Mean(None, None, None, 0, level)
    pixels, index = np.unique(np.concatenate([first, second]), return_inverse=True)
    one, other = index[: len(first)], index[len(first) :]
    estimate = float(joint.mean())
    if len(pixels) < 3:
        return Mean(estimate, None, None, len(joint), level)
    drawn = resamples(len(pixels), "pixels of pairs")
    times = np.zeros((RESAMPLES, len(pixels)))
    np.add.at(times, (np.arange(RESAMPLES)[:, None], drawn), 1.0)
    weight = times[:, one] * times[:, other]
    total = weight.sum(1)
    there = total > 0
    low, high = interval(estimate, (weight @ joint)[there] / total[there], len(pixels), level)
    return Mean(estimate, low, high, len(joint), level)


def _ranked(rows: np.ndarray) -> np.ndarray:
    """Ranks of each row, centred and of length 1, so that products are Spearman's rho; 0 where a row is constant."""
    ranks = stats.rankdata(rows, axis=1)
    ranks -= ranks.mean(1, keepdims=True)
    length = np.sqrt((ranks**2).sum(1, keepdims=True))
    return np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)
