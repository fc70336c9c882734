"""One pixel: differential evolution over where a few pixels stand and what colours they have.

Author: Su, Vargas, Sakurai, One pixel attack for fooling deep neural networks, IEEE Transactions on Evolutionary
Computation 23 (2019), https://arxiv.org/abs/1710.08864.

Numbers: 400 members, F = 0.5, 100 rounds, 1, 3 or 5 pixels.

Where we differ: the population is 400 only with a budget of 4,000 or more. With less it is a tenth of the budget, but
at least 4, so that there are rounds to evolve in; `population` sets it. `base="best"` builds children on the best
member, as much public code does, which asks less on digits. Also see `algorithms/differential_evolution.py`.
"""

from __future__ import annotations

from typing import Literal

from ..algorithms.differential_evolution import DifferentialEvolution
from . import Setting

PAPER = "Su, Vargas, Sakurai 2019, https://arxiv.org/abs/1710.08864"
NORMS = ("l0",)
NEEDS = "scores"
TARGETED = UNTARGETED = True


def recipe(
    setting: Setting, *, population: int | None = None, scale: float = 0.5, base: Literal["any", "best"] = "any"
) -> DifferentialEvolution:
    """Differential evolution, its population cut to a tenth of the budget unless `population` says otherwise."""
    usual = max(4, min(400, setting.budget // 10))
    return DifferentialEvolution(
        setting.threat.encoding, population=usual if population is None else population, scale=scale, base=base
    )
