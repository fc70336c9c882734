"""Makes perturbations smaller while images stay fooled: by bisection, for limits that are a distance.

For limits that are a number of pixels, see `shrink`: it takes pixels away, and shows that no single one can go.
"""

from __future__ import annotations

from typing import Literal

import torch

from .contracts import Criterion, Evaluated, Status
from .encodings.perturbation import distance
from .encodings.pixels import to_lattice
from .ledger import Ledger
from .shapes import Bool, Float, Int, Tensor

HALVINGS = 8  # of an L2 perturbation: its length is then known to a 256th


def bisect(
    x: Float[Tensor, "B C H W"],
    images: Float[Tensor, "B C H W"],
    scores: Float[Tensor, "B K"],
    *,
    norm: Literal["linf", "l2"],
    labels: Int[Tensor, " B"],
    wanted: Bool[Tensor, " B"],
    criterion: Criterion,
    accounts: Int[Tensor, " B"],
    ledger: Ledger,
    key: tuple[object, ...] = ("shrink",),
) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B K"], Bool[Tensor, " B"]]:
    """The smallest of the images that are met on the way.

    Fooling need not end where a perturbation gets smaller: this finds a small one, and none that is known to be the
    smallest.

    Args:
        x: images as they are.
        images: those that fool, on the 1/255 lattice.
        scores: the answers for them.
        norm: what is to become smaller.
        labels: see `Victims`.
        wanted: which of them.
        criterion: what counts as fooled.
        accounts: of the ledger, that pay.
        ledger: asks; its rounds get the keys (*key, round).

    Returns:
        Images, the answers for them, and whether the budget let it come to its end.
    """
    images, scores = images.clone(), scores.clone()
    delta = images - x
    whole = (distance(images, x, "linf") * 255).round() if norm == "linf" else torch.ones(len(x), dtype=torch.float64)
    low, high = torch.zeros_like(whole), whole.clone()
    go = wanted.clone()
    done = wanted.clone()
    for number in range(HALVINGS):
        rows = (go & (high - low > 1)) if norm == "linf" else go
        some = rows.nonzero().squeeze(1)
        if not len(some):
            break
        middle = (low + high) / 2
        middle = middle.floor() if norm == "linf" else middle
        part, size = delta[some], middle[some].float()[:, None, None, None]
        tried = part.clamp(-size / 255, size / 255) if norm == "linf" else part * size
        asked = to_lattice(x[some, None] + tried[:, None], x[some])
        answers = ledger.ask(asked[:, 0], accounts[some], (*key, number))
        evaluated = Evaluated(
            tried[:, None], asked, x[some], answers.scores[:, None], labels[some, None], answers.status[:, None]
        )
        fools = criterion(evaluated, ledger.classifier.info)[:, 0] & (answers.status == Status.ANSWERED)
        images[some[fools]], scores[some[fools]] = asked[fools, 0], answers.scores[fools]
        high[some[fools]] = middle[some[fools]]
        low[some[~fools]] = middle[some[~fools]]
        unsent = answers.status == Status.UNSENT
        go[some[unsent]] = False
        done[some[unsent]] = False
    return images, scores, done
