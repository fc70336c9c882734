"""RayS: flips the signs of ever smaller blocks and keeps the direction whose boundary is nearest; labels only.

Author: Chen, Gu, RayS: a ray searching method for hard-label adversarial attack, KDD 2020,
https://arxiv.org/abs/2006.12792.

Numbers: it has none to choose; binary searches end at 0.001 of the L2 norm, ours at a 64th of a gray level. Ending them
at a quarter of a level took a fifth fewer questions of an MNIST CNN (L-inf 0.3 and 0.15).

Where we differ: see `algorithms/rays.py`.
"""

from __future__ import annotations

from ..algorithms.rays import RayS
from . import Setting

PAPER = "Chen, Gu 2020, https://arxiv.org/abs/2006.12792"
NORMS = ("linf",)
NEEDS = "labels"
TARGETED, UNTARGETED = False, True


def recipe(setting: Setting, *, fineness: int = 64) -> RayS:
    """RayS, until an image within the limit fools."""
    return RayS(setting.threat.encoding, fineness=fineness)
