"""Criteria: when a member is a success, apart from its fitness. A member without an answer never is."""

from __future__ import annotations

from .contracts import ClassifierInfo, Evaluated
from .shapes import Bool, Tensor


def misclassified(evaluated: Evaluated, info: ClassifierInfo) -> Bool[Tensor, "B n"]:
    """The classifier's first choice is not the label the member carries."""
    answered = ~evaluated.scores.isnan().any(-1)
    return answered & (evaluated.scores.argmax(-1) != evaluated.labels)
