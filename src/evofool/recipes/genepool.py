"""Genepool: what fooled earlier images is tried first on later ones, and the search goes on from the best of it.

Author: ours; see `algorithms/genepool.py` for how it works and what it is built on.

Numbers: cohorts of at most 16 images, of which 8 are under way together (`lag`); an image teaches what happened in
its first 200 queries (`horizon`); a gene is tried where it fools with a chance of 12% (of 30% in L2) or takes 3% off
the margin (not in L2). Within L-inf and L2 a step goes along what is believed of the margin's slope, and 0.6 times as
far astray (half of that after 200 answers), of three steps in ten within one band of waves; within L-inf, half of the
steps repaint squares once 64 answers in a row have brought nothing. With few pixels a step exchanges three in ten of
them at first (7% from a gene), ever fewer later. These were chosen on other images than those of the
published comparison. Where a classifier says labels only, RayS goes on after the genes.

Where we differ: from every other recipe: images share what they find, so that the order of the list matters. With
`independent` each is attacked by itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from annotated_types import Ge

from ..algorithms.genepool import GenePool
from ..errors import SpecError
from ..sharing import Sharing
from . import Setting, rays

PAPER = "ours"
NORMS = ("linf", "l2", "l0")
NEEDS = "labels"
# Euclidean perturbations carry over less well: genes are tried where they likely fool.
WITHIN_L2: dict[str, Any] = {"chance": 0.3, "gain": 1.0}
TARGETED = UNTARGETED = True


def recipe(
    setting: Setting,
    *,
    independent: bool = False,
    lag: Annotated[int, Ge(1)] = 8,
    cohort: Annotated[int, Ge(1)] = 16,
    horizon: Annotated[int, Ge(1)] = 200,
    capacity: Annotated[int, Ge(1)] = 1000,
    breed: bool = True,
    prior: bool = True,
    squares: bool = True,
) -> GenePool:
    """A shared pool of genes.

    Args:
        setting: what the attack is made for.
        independent: each image by itself, without a pool.
        lag: cohorts under way together.
        cohort: images of one at most.
        horizon: queries of an image that others learn from.
        capacity: genes at most.
        breed: make genes of genes.
        prior: begin from what earlier images have taught of changes, and not only from their genes.
        squares: within L-inf, let squares take turns with the belief once answers have long been in vain.
    """
    sharing = Sharing(lag=lag, largest=cohort, horizon=horizon, capacity=capacity, breed=breed)
    then = None
    if setting.info.kind == "label":
        if setting.threat.norm != "linf" or setting.goal.targeted:
            raise SpecError(
                f"{setting.info.name} answers with labels only: there genepool works within linf and away from a "
                "class; `evofool list recipes` tells which others do with labels"
            )
        then = rays.recipe(setting)
    shared = None if independent else sharing
    found = GenePool(setting.threat.encoding, sharing=shared, prior=prior, squares=squares, then=then)
    return replace(found, **WITHIN_L2) if setting.threat.norm == "l2" else found
