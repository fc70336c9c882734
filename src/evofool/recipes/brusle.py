"""BruSLe: which pixels of one random colour image should stand in the picture, learned by Bayes' rule.

Author: Vo, Abbasnejad, Ranasinghe, BruSLeAttack: a query-efficient score-based black-box sparse adversarial attack,
ICLR 2024, https://arxiv.org/abs/2404.05311.

Numbers: lambda_0 = 0.3 (0.05 when targeted), m1 = 0.24, m2 = 0.997, 10 masks to begin with.

Where we differ: see `algorithms/brusle.py`.
"""

from __future__ import annotations

from ..algorithms.brusle import BruSLe
from . import Setting

PAPER = "Vo, Abbasnejad, Ranasinghe 2024, https://arxiv.org/abs/2404.05311"
NORMS = ("l0",)
NEEDS = "scores"
TARGETED = UNTARGETED = True


def recipe(
    setting: Setting,
    *,
    rate: float | None = None,
    power: float = 0.24,
    step: float = 0.997,
    population: int = 10,
) -> BruSLe:
    """BruSLe, with the rate of the paper for the goal unless `rate` says otherwise."""
    usual = 0.05 if setting.goal.targeted else 0.3
    return BruSLe(
        setting.threat.encoding, rate=usual if rate is None else rate, power=power, step=step, population=population
    )
