"""Objectives: what a search lowers. Each gives float64 fitness [B n]; NaN scores stay NaN."""

from __future__ import annotations

from typing import Literal

from .contracts import ClassifierInfo, Evaluated
from .shapes import Float, Int, Tensor


def probabilities(scores: Float[Tensor, "*N K"], info: ClassifierInfo) -> Float[Tensor, "*N K"]:
    """Scores as float64 probabilities: the softmax of logits; other kinds of scores are probabilities already."""
    scores = scores.double()
    return scores.softmax(-1) if info.kind == "logits" else scores


def timbe_total(
    scores: Float[Tensor, "*N K"],
    labels: Int[Tensor, "*N"],
    info: ClassifierInfo,
    *,
    distance_weight: float = 5e-7,
    label_distance: Literal["one-hot", "integer"] = "one-hot",
) -> Float[Tensor, "*N"]:
    """The fitness of Timbe, Carreiras and Munhangane as they publish it: positive, and higher is better.

    |-(w * norm(onehot(predicted) - onehot(label)) + (1 - max probability))|: high where the classifier is unsure. With
    their w = 5e-7 a wrong prediction adds less than a millionth, so it hardly counts.

    Args:
        scores: the classifier's answers.
        labels: the class each member counts as.
        info: tells what the scores are.
        distance_weight: their w.
        label_distance: "one-hot": the Euclidean norm, sqrt(2) where the labels differ; "integer": |predicted - label|,
            as it would be with labels left as class numbers.

    Source: Timbe, Carreiras, Munhangane, Breaking CNNs - MNIST Dataset, NOVA IMS (2021).
    """
    confidence, predicted = probabilities(scores, info).max(-1)
    if label_distance == "one-hot":
        distance = (predicted != labels).double() * 2**0.5
    else:
        distance = (predicted - labels).abs().double()
    return (distance_weight * distance + (1 - confidence)).abs()


def timbe_2021(
    evaluated: Evaluated,
    info: ClassifierInfo,
    *,
    distance_weight: float = 5e-7,
    label_distance: Literal["one-hot", "integer"] = "one-hot",
) -> Float[Tensor, "B n"]:
    """The negative of `timbe_total`, which its authors maximise; same arguments, same source."""
    total = timbe_total(
        evaluated.scores, evaluated.labels, info, distance_weight=distance_weight, label_distance=label_distance
    )
    return -total


def true_class_probability(evaluated: Evaluated, info: ClassifierInfo) -> Float[Tensor, "B n"]:
    """The probability of the carried label, in [0, 1]."""
    return probabilities(evaluated.scores, info).gather(-1, evaluated.labels[..., None]).squeeze(-1)
