"""Random: perturbations from all that are allowed, one after another: the control that every claim must beat.

Author: Brooks, A Discussion of Random Methods for Seeking Maxima, Operations Research 6 (1958).

Numbers: one in each query; of an L-inf ball its corners, of pixels black and white ones.
"""

from __future__ import annotations

from typing import Literal

from ..algorithms.random_search import RandomSearch
from . import Setting

PAPER = "Brooks 1958, https://doi.org/10.1287/opre.6.2.244"
NORMS = ("linf", "l2", "l0", "patch", "frame")
NEEDS = "labels"
TARGETED = UNTARGETED = True


def recipe(setting: Setting, *, draw: Literal["corners", "inside"] = "corners") -> RandomSearch:
    """Random search within the limit."""
    return RandomSearch(setting.threat.encoding, draw=draw)
