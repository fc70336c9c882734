"""Planted draws and small problems, for tests that are worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from evofool.classifiers.fake import Linear
from evofool.contracts import Answers, ClassifierInfo, Evaluated, ScoreKind, Status
from evofool.rng import Stream

CARD = ClassifierInfo("planted", "logits", ("0", "1", "2"), (1, 2, 2), "00" * 32)


class Planted:
    """A stream whose draws are given, by their names joined with "/"; a draw that was not planted is a KeyError."""

    def __init__(self, draws: Mapping[str, Any], name: str = ""):
        self.draws, self.name = draws, name

    def __getitem__(self, name: str) -> Planted:
        return Planted(self.draws, f"{self.name}/{name}" if self.name else name)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        drawn = torch.tensor(self.draws[self.name], dtype=dtype)
        assert drawn.shape[1:] == shape, f"{self.name}: {tuple(drawn.shape[1:])} was planted, {shape} was asked for"
        assert bool(((drawn >= 0) & (drawn < 1)).all()), "a planted draw lies outside [0, 1)"
        return drawn

    def integers(self, high: int | torch.Tensor, *shape: int) -> torch.Tensor:
        drawn = torch.tensor(self.draws[self.name])
        assert drawn.shape[1:] == shape, f"{self.name}: {tuple(drawn.shape[1:])} was planted, {shape} was asked for"
        assert bool(((drawn >= 0) & (drawn < high)).all()), f"a planted draw lies outside [0, {high})"
        return drawn


def stream(searches: int = 1, seed: int = 0) -> Stream:
    """Searches 0, 1, ... of one seed."""
    return Stream([seed] * searches, list(range(searches)))


def many(searches: int) -> Stream:
    """One search for each of many seeds: what is drawn in them is a sample."""
    return Stream(list(range(searches)), [0] * searches)


def info(kind: ScoreKind = "logits", classes: int = 3) -> ClassifierInfo:
    """What is known of a classifier that is not there."""
    return ClassifierInfo("planted", kind, tuple(map(str, range(classes))), (1, 2, 2), "00" * 32)


def evaluated(scores: Any, labels: Any) -> Evaluated:
    """Answers [B n K] without images behind them."""
    scores, labels = torch.as_tensor(scores, dtype=torch.float32), torch.as_tensor(labels)
    status = scores.isnan().any(-1).to(torch.int8) * int(Status.FAILED)
    images = torch.zeros(*labels.shape, 1, 2, 2)
    return Evaluated(images, images, None, scores, labels, status)


def linear(
    *, classes: int = 3, shape: tuple[int, int, int] = (1, 4, 4), micro_batch: int = 7, scale: float = 2.0
) -> Linear:
    """A linear classifier with weights of either sign."""
    weight = stream(classes, seed=99)["weight"].uniform(*shape) - 0.5
    return Linear(scale * weight, micro_batch=micro_batch)


def pictures(searches: int, population: int, shape: tuple[int, ...] = (1, 4, 4)) -> torch.Tensor:
    """Random genomes [B P *shape], the same for a search whoever stands beside it."""
    return stream(searches, seed=5)["pictures"].uniform(population, *shape)


def same(a: Answers, b: Answers) -> bool:
    """Whether two batches of answers are equal, bit by bit."""
    return torch.equal(a.scores.view(torch.int32), b.scores.view(torch.int32)) and torch.equal(a.status, b.status)
