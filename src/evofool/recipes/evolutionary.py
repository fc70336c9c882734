"""Evolutionary: a (1+1) evolution strategy that walks from an image that fools towards the original; labels only.

Author: Dong, Su, Wu, Li, Liu, Zhang, Zhu, Efficient decision-based black-box adversarial attacks on face recognition,
CVPR 2019, https://arxiv.org/abs/1904.04433.

Numbers: a grid of 45 x 45 for faces of 112 x 112, a twentieth of its coordinates in each step, c_c = 0.01,
c_cov = 0.001, sigma = 0.01 of the distance, success rate 1/5. The code published with ARES begins with steps of 0.01 of
the way, as we do.

Where we differ: see `algorithms/evolutionary.py`.
"""

from __future__ import annotations

from ..algorithms.evolutionary import Evolutionary
from . import Setting

PAPER = "Dong et al. 2019, https://arxiv.org/abs/1904.04433"
NORMS = ("l2",)
NEEDS = "labels"
TARGETED, UNTARGETED = False, True


def recipe(setting: Setting, *, grid: float = 0.4, coordinates: float = 1 / 20, sigma: float = 0.01) -> Evolutionary:
    """The evolutionary attack, until an image within the limit fools."""
    return Evolutionary(setting.threat.encoding, grid=grid, coordinates=coordinates, sigma=sigma)
