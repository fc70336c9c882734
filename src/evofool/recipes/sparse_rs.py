"""Sparse-RS: random search over a few pixels, over a patch that also moves, or over the frame of an image.

Author: Croce, Andriushchenko, Singh, Flammarion, Hein, Sparse-RS: a versatile framework for query-efficient sparse
black-box adversarial attacks, AAAI 2022, https://arxiv.org/abs/2006.12834.

Numbers: alpha = 0.3 for pixels (0.1 when targeted), 0.4 for a patch (0.1 when targeted), 0.5 for a frame; that of
pixels is divided by up to 20 on a schedule that is stretched over the budget; 10,000 queries on ImageNet.

Where we differ: see `algorithms/sparse_rs.py`.
"""

from __future__ import annotations

from ..algorithms.sparse_rs import SparseRS
from . import Setting

PAPER = "Croce, Andriushchenko, Singh, Flammarion, Hein 2022, https://arxiv.org/abs/2006.12834"
NORMS = ("l0", "patch", "frame")
NEEDS = "scores"
TARGETED = UNTARGETED = True


def recipe(setting: Setting, *, alpha: float | None = None, horizon: int | None = None) -> SparseRS:
    """Sparse-RS, its schedule stretched over the budget unless `horizon` says otherwise."""
    untargeted = {"l0": 0.3, "patch": 0.4, "frame": 0.5}
    usual = 0.1 if setting.goal.targeted and setting.threat.norm != "frame" else untargeted[setting.threat.norm]
    return SparseRS(
        setting.threat.encoding,
        alpha=usual if alpha is None else alpha,
        horizon=setting.budget if horizon is None else horizon,
    )
