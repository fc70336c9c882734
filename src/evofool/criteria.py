"""Criteria: when a member is a success, apart from its fitness. A member without an answer never is."""

from __future__ import annotations

import torch

from . import objectives
from .contracts import ClassifierInfo, Evaluated
from .shapes import Bool, Tensor


def misclassified(evaluated: Evaluated, info: ClassifierInfo) -> Bool[Tensor, "B n"]:
    """The classifier's first choice is not the label the member carries."""
    answered = ~evaluated.scores.isnan().any(-1)
    return answered & (evaluated.scores.argmax(-1) != evaluated.labels)


def among_first(evaluated: Evaluated, info: ClassifierInfo, *, k: int = 1) -> Bool[Tensor, "B n"]:
    """The label that the member carries is among the k classes with the highest scores; of equals the first ones."""
    scores = evaluated.scores
    answered = ~scores.isnan().any(-1)
    own = scores.gather(-1, evaluated.labels[..., None])
    number = torch.arange(scores.shape[-1], device=scores.device)
    before = (scores > own) | ((scores == own) & (number < evaluated.labels[..., None]))
    return answered & (before.sum(-1) < k)


def not_among_first(evaluated: Evaluated, info: ClassifierInfo, *, k: int = 1) -> Bool[Tensor, "B n"]:
    """The label that the member carries is not among the k classes with the highest scores."""
    return ~evaluated.scores.isnan().any(-1) & ~among_first(evaluated, info, k=k)


def confident(evaluated: Evaluated, info: ClassifierInfo, *, probability: float = 0.96) -> Bool[Tensor, "B n"]:
    """The label that the member carries has at least this probability, and no other class has more."""
    own = objectives.true_class_probability(evaluated, info)
    return (own >= probability) & (objectives.margins(evaluated.scores, evaluated.labels, info) >= 0)


def near_boundary(evaluated: Evaluated, info: ClassifierInfo, *, within: float = 0.01) -> Bool[Tensor, "B n"]:
    """The label that the member carries ties with the best other class.

    See `objectives.boundary`; of two classes that is |p - 0.5| <= within.
    """
    return objectives.boundary(evaluated, info) <= within
