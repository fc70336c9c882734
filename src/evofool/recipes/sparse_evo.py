"""SparseEvo: evolves which pixels come from black and white noise that fools, until few are left; labels only.

Author: Vo, Abbasnejad, Ranasinghe, Query efficient decision based sparse attacks against black-box machine learning
models, ICLR 2022, https://arxiv.org/abs/2202.00091.

Numbers: population 10, crossover 0.9, mutation 0.01; the first members leave out 0.004 of the pixels.

Where we differ: see `algorithms/sparse_evo.py`.
"""

from __future__ import annotations

from ..algorithms.sparse_evo import SparseEvo
from . import Setting

PAPER = "Vo, Abbasnejad, Ranasinghe 2022, https://arxiv.org/abs/2202.00091"
NORMS = ("l0",)
NEEDS = "labels"
TARGETED, UNTARGETED = False, True


def recipe(setting: Setting, *, population: int = 10, p_crossover: float = 0.9, p_mutation: float = 0.01) -> SparseEvo:
    """SparseEvo, until an image with few enough pixels fools."""
    return SparseEvo(setting.threat.encoding, population=population, p_crossover=p_crossover, p_mutation=p_mutation)
