"""Square: random search over squares that shrink on a schedule.

Author: Andriushchenko, Croce, Flammarion, Hein, Square Attack: a query-efficient black-box adversarial attack via
random search, ECCV 2020, https://arxiv.org/abs/1912.00049.

Numbers: first squares of p = 0.05 (L-inf) and 0.1 (L2) of the pixels on ImageNet, 10,000 queries. AutoAttack takes
p = 0.8; torchattacks takes p = 0.8 and stretches the schedule over its budget, as we do (AutoAttack does not: that is
`horizon=10000`).

Where we differ: see `algorithms/square.py`.
"""

from __future__ import annotations

from ..algorithms.square import Square
from . import Setting

PAPER = "Andriushchenko, Croce, Flammarion, Hein 2020, https://arxiv.org/abs/1912.00049"
NORMS = ("linf", "l2")
NEEDS = "scores"
TARGETED = UNTARGETED = True


def recipe(setting: Setting, *, p: float = 0.8, horizon: int | None = None) -> Square:
    """Square, its schedule stretched over the budget unless `horizon` says otherwise."""
    return Square(setting.threat.encoding, p=p, horizon=setting.budget if horizon is None else horizon)
