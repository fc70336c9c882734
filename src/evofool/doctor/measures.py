"""Arithmetic on answers: nothing is asked here."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..shapes import Bool, Float, Int, Tensor
from .diagnosis import Agreement, Reaction, Renamed, Scores, Share

_Z = 1.959963984540054  # of 95%, two-sided
_MOST_DECIMALS = 6
_FEWEST_VALUES = 3
_SURE = -12  # logarithm of a probability


def wilson(k: int, n: int) -> Share:
    """k of n with Wilson's 95% interval.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927.

    Raises:
        ValueError: n is 0, or k is not in 0 to n.
    """
    if not 0 <= k <= n or not n:
        raise ValueError(f"{k} of {n}: expected 0 to n of at least 1")
    square = _Z * _Z
    middle = (k + square / 2) / (n + square)
    half = _Z / (n + square) * math.sqrt(k * (n - k) / n + square / 4)
    return Share(k, n, 0.0 if k == 0 else middle - half, 1.0 if k == n else middle + half)


def differences(first: Float[Tensor, "N K"], second: Float[Tensor, "N K"]) -> Float[Tensor, " N"]:
    """The largest difference in each row; where a score is not finite in either, it counts for nothing."""
    both = first.isfinite() & second.isfinite()
    return torch.where(both, (first.double() - second.double()).abs(), 0.0).amax(1)


def agreement(first: Float[Tensor, "N K"], second: Float[Tensor, "N K"]) -> Agreement | None:
    """Compare answers about the same images; rows with NaN are left out. None = there is no other row."""
    both = ~(first.isnan().any(1) | second.isnan().any(1))
    first, second = first[both], second[both]
    if not len(first):
        return None
    equal = int((first == second).all(1).sum())
    relabelled = int((first.argmax(1) != second.argmax(1)).sum())
    return Agreement(len(first), equal, relabelled, float(differences(first, second).max()))


def reaction(plain: Float[Tensor, "N K"], noised: Float[Tensor, "N K"], level: int, jitter: float) -> Reaction | None:
    """Compare answers with those under noise; `jitter` is how much a mere repetition changes them."""
    both = ~(plain.isnan().any(1) | noised.isnan().any(1))
    plain, noised = plain[both], noised[both]
    if not len(plain):
        return None
    relabelled = plain.argmax(1) != noised.argmax(1)
    changed = (plain != noised).any(1) if jitter == 0 else differences(plain, noised) > jitter
    return Reaction(level, len(plain), int(changed.sum()), int(relabelled.sum()))


def describe(scores: Float[Tensor, "N K"]) -> Scores | None:
    """What answers about different images look like; None = no row has an answer."""
    scores = scores[~scores.isnan().any(1)]
    if not len(scores):
        return None
    finite = scores[scores.isfinite()]
    sums = torch.where(scores.isfinite(), scores.double(), 0.0).sum(1)
    rows = torch.unique(scores, dim=0)
    values = np.unique(finite.numpy())
    telling = finite[(finite != 0) & (finite != 1)].numpy()
    distinct = np.unique(telling)
    steps = np.diff(values.astype(np.float64))
    return Scores(
        rows=len(scores),
        different=len(rows),
        low=float(values[0]),
        high=float(values[-1]),
        sum_low=float(sums.min()),
        sum_high=float(sums.max()),
        one_hot=bool(((scores == 1).sum(1) == 1).all()) and bool(((scores == 0) | (scores == 1)).all()),
        values=len(telling),
        distinct=len(distinct),
        step=float(steps.min()) if len(steps) else None,
        decimals=decimals(distinct),
    )


def decimals(values: Float[np.ndarray, " N"]) -> int | None:
    """With how many decimals at most some different float32 values can be written; None = more than 6, or not sure.

    It is sure where values that are not rounded would look like that in one case of a million millions. A value of
    which float32 itself holds hardly more decimals tells nothing, and is not counted.
    """
    exact = values.astype(np.float64)
    slack = np.maximum(2 * np.finfo(np.float32).eps * np.abs(exact), 1e-12)
    for count in range(_MOST_DECIMALS + 1):
        step = 10.0**-count
        telling = slack < step / 100
        off = np.abs(exact - np.round(exact / step) * step)
        if telling.any() and bool((off <= slack)[telling].all()):
            chance = np.log10(2 * slack[telling] / step).sum()
            return count if telling.sum() >= _FEWEST_VALUES and chance < _SURE else None
    return None


def renamed(
    labels: Int[Tensor, " N"], predicted: Int[Tensor, " N"], data_classes: Sequence[str], class_names: Sequence[str]
) -> tuple[Renamed, ...]:
    """Classes whose names seem to have changed places.

    The best one-to-one assignment of names to classes is learnt from one half of the images and judged on the other
    half, both ways. Classes that it moves around among themselves are told of, if they are then clearly more often
    right (the 95% intervals do not touch), and mostly; and if it is mostly they that get these answers, so that one
    answer for nearly everything is not taken for another name.

    Args:
        labels: places in `class_names` where the images' own classes are looked for.
        predicted: the first choice of the classifier.
        data_classes: for each place, what the data call the class.
        class_names: what the classifier calls it.
    """
    from scipy.optimize import linear_sum_assignment

    count = len(class_names)
    true, answer = labels.numpy(), predicted.numpy()

    def best(chosen: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " K"]:
        table = np.eye(count) / 2  # of two that are equally good, the names as they are
        np.add.at(table, (true[chosen], answer[chosen]), 1.0)
        assigned: Int[np.ndarray, " K"] = linear_sum_assignment(table, maximize=True)[1]
        return assigned

    rank = np.array([int((true[:i] == label).sum()) for i, label in enumerate(true)])
    second_half = rank % 2 == 1
    halves = [best(~second_half), best(second_half)]
    known = [np.isin(true, true[~second_half]), np.isin(true, true[second_half])]
    learnt = np.where(second_half, halves[0][true], halves[1][true])
    judged = np.where(second_half, known[0], known[1])
    found = []
    for cycle in _cycles(best(np.ones(len(true), dtype=bool))):
        mine = judged & np.isin(true, cycle)
        n = int(mine.sum())
        if not n:
            continue
        right, then = int((answer == true)[mine].sum()), int((answer == learnt)[mine].sum())
        answered = int((judged & np.isin(answer, cycle)).sum())
        if 2 * then >= max(n, answered) and wilson(then, n).low > wilson(right, n).high:
            pairs = tuple((data_classes[a], class_names[b]) for a, b in zip(cycle, [*cycle[1:], cycle[0]], strict=True))
            found.append(Renamed(pairs, right, then, n))
    return tuple(found)


def _cycles(permutation: Int[np.ndarray, " K"]) -> list[list[int]]:
    """The cycles of a permutation that move anything."""
    seen: set[int] = set()
    cycles = []
    for start in range(len(permutation)):
        cycle, at = [], start
        while at not in seen:
            seen.add(at)
            cycle.append(at)
            at = int(permutation[at])
        if len(cycle) > 1:
            cycles.append(cycle)
    return cycles
