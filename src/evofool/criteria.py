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
    """The label that the member carries is among the k classes with the highest scores; of equals the first ones.

    A class that a top-k answer leaves out is among no first ones.
    """
    scores = evaluated.scores
    if k == 1 and info.kind != "top-k":  # the same in a third of the time
        return ~scores.isnan().any(-1) & (scores.argmax(-1) == evaluated.labels)
    own = scores.gather(-1, evaluated.labels[..., None])
    number = torch.arange(scores.shape[-1], device=scores.device)
    before = (scores > own) | ((scores == own) & (number < evaluated.labels[..., None]))
    told = _told(own, scores, info)
    return ~scores.isnan().any(-1) & told & (before.sum(-1) < k)


def not_among_first(evaluated: Evaluated, info: ClassifierInfo, *, k: int = 1) -> Bool[Tensor, "B n"]:
    """The label that the member carries is not among the k classes with the highest scores.

    Of a class that a top-k answer leaves out that is known only if the answer has k others.
    """
    scores = evaluated.scores
    if k == 1 and info.kind != "top-k":
        return misclassified(evaluated, info)
    own = scores.gather(-1, evaluated.labels[..., None])
    others = (scores > own).sum(-1) >= k
    first = among_first(evaluated, info, k=k)
    return ~scores.isnan().any(-1) & torch.where(_told(own, scores, info), ~first, others)


def _told(own: Tensor, scores: Tensor, info: ClassifierInfo) -> Bool[Tensor, "B n"]:
    """Whether an answer says anything of the label: those that a top-k answer leaves out share the lowest score."""
    if info.kind != "top-k":
        return torch.ones_like(own.squeeze(-1), dtype=torch.bool)
    lowest = scores.amin(-1, keepdim=True)
    return ((own > lowest) | ((scores == lowest).sum(-1, keepdim=True) == 1)).squeeze(-1)


def confident(evaluated: Evaluated, info: ClassifierInfo, *, probability: float = 0.96) -> Bool[Tensor, "B n"]:
    """The label that the member carries has at least this probability, and no other class has more."""
    own = objectives.true_class_probability(evaluated, info)
    return (own >= probability) & (objectives.margins(evaluated.scores, evaluated.labels, info) >= 0)


def near_boundary(evaluated: Evaluated, info: ClassifierInfo, *, within: float = 0.01) -> Bool[Tensor, "B n"]:
    """The label that the member carries ties with the best other class.

    See `objectives.boundary`; of two classes that is |p - 0.5| <= within.
    """
    return objectives.boundary(evaluated, info) <= within
