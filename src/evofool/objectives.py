"""Objectives: what a search lowers. Each gives float64 fitness [B n]; NaN scores stay NaN."""

from __future__ import annotations

from typing import Any, Literal

import torch

from . import genome
from .contracts import ClassifierInfo, Evaluated
from .operators.lists import count
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


def log_probability(scores: Float[Tensor, "*N K"], labels: Int[Tensor, "*N"], info: ClassifierInfo) -> Tensor:
    """Natural logarithm of the probability of each label, float64 [*N]; exact for logits of any size.

    A probability of 0 counts as the smallest positive float64, so that the result is finite (-708.4).
    """
    scores = scores.double()
    tiny = torch.finfo(torch.float64).tiny
    logs = scores.log_softmax(-1) if info.kind == "logits" else scores.clamp(min=tiny).log()
    return logs.gather(-1, labels[..., None]).squeeze(-1)


def margins(scores: Float[Tensor, "*N K"], labels: Int[Tensor, "*N"], info: ClassifierInfo) -> Tensor:
    """By how much the probability of each label exceeds that of the best other class, in [-1, 1], float64 [*N]."""
    each = probabilities(scores, info)
    own = each.gather(-1, labels[..., None])
    others = each.scatter(-1, labels[..., None], -torch.inf).amax(-1)
    return torch.where(each.isnan().any(-1), torch.nan, own.squeeze(-1) - others)


def ink(genomes: Any) -> Float[Tensor, "B n"]:
    """How many genes of each member are not zero, float64."""
    return count(genome.genes(genomes).flatten(2)).double()


def cross_entropy(evaluated: Evaluated, info: ClassifierInfo, *, weight: float = 0.0) -> Float[Tensor, "B n"]:
    """Minus the logarithm of the probability of the carried label, plus `weight` for each gene that is not zero.

    For two classes this is binary cross-entropy to the carried one: with a sigmoid, p = P(class 1), it is -log(1 - p)
    for class 0.
    """
    return weight * ink(evaluated.genomes) - log_probability(evaluated.scores, evaluated.labels, info)


def margin(evaluated: Evaluated, info: ClassifierInfo, *, weight: float = 0.0) -> Float[Tensor, "B n"]:
    """By how much the best other class beats the carried label, plus `weight` for each gene that is not zero.

    In units of logits, or of log-probabilities where the classifier gives no logits; below 0 the label wins.
    """
    scores = evaluated.scores.double()
    if info.kind != "logits":
        scores = scores.clamp(min=torch.finfo(torch.float64).tiny).log()
    own = scores.gather(-1, evaluated.labels[..., None]).squeeze(-1)
    others = scores.scatter(-1, evaluated.labels[..., None], -torch.inf).amax(-1)
    return weight * ink(evaluated.genomes) + torch.where(scores.isnan().any(-1), torch.nan, others - own)


def targeted_margin(evaluated: Evaluated, info: ClassifierInfo, *, k: int = 1) -> Float[Tensor, "B n"]:
    """By how much the k-th best other class beats the carried label; below 0 the label is among the first k.

    Units as in `margin`, which is that of k = 1.
    """
    scores = evaluated.scores.double()
    if info.kind != "logits":
        scores = scores.clamp(min=torch.finfo(torch.float64).tiny).log()
    own = scores.gather(-1, evaluated.labels[..., None]).squeeze(-1)
    others = scores.scatter(-1, evaluated.labels[..., None], -torch.inf)
    other = others.amax(-1) if k == 1 else others.topk(k, dim=-1).values[..., -1]
    return torch.where(scores.isnan().any(-1), torch.nan, other - own)


def untargeted_margin(evaluated: Evaluated, info: ClassifierInfo, *, k: int = 1) -> Float[Tensor, "B n"]:
    """By how much the carried label beats the k-th best other class; below 0 it is not among the first k."""
    return -targeted_margin(evaluated, info, k=k)


def boundary(evaluated: Evaluated, info: ClassifierInfo, *, weight: float = 0.0) -> Float[Tensor, "B n"]:
    """How far the carried label is from a tie with the best other class, plus `weight` for each gene not zero.

    |q - 0.5|, where q = p / (p + p of the best other class): of two classes that is |p - 0.5|, and of many it does not
    call it a tie that all of them are unlikely. It is that of the difference of two logits.
    """
    own = log_probability(evaluated.scores, evaluated.labels, info)
    each = probabilities(evaluated.scores, info).scatter(-1, evaluated.labels[..., None], -torch.inf)
    other = log_probability(evaluated.scores, each.nan_to_num(nan=0.0).argmax(-1), info)
    distance = ((own - other).sigmoid() - 0.5).abs()
    return torch.where(evaluated.scores.isnan().any(-1), torch.nan, distance) + weight * ink(evaluated.genomes)


def ink_and_cross_entropy(evaluated: Evaluated, info: ClassifierInfo) -> Float[Tensor, "B n 2"]:
    """Two objectives: how many genes are not zero, and minus the logarithm of the probability of the carried label."""
    entropy = cross_entropy(evaluated, info)
    return torch.stack([torch.where(entropy.isnan(), torch.nan, ink(evaluated.genomes)), entropy], -1)
