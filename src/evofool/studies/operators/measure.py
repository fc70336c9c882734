"""What is measured of a population: errors by class, distance to where it came from, and what a judge reads in it."""

from __future__ import annotations

import torch

from ...contracts import Classifier
from ...ledger import Ledger
from ...shapes import Float, Int, Tensor
from ...store import Store
from .results import Distance, Judged


def predictions(scores: Float[Tensor, "*N K"]) -> Int[Tensor, "*N"]:
    """The first choice for each row; K where there is no answer."""
    best, predicted = scores.max(-1)  # NaN where one of them is
    return torch.where(best.isnan(), scores.shape[-1], predicted)


def confusion(labels: Int[Tensor, "B P"], predicted: Int[Tensor, "B P"], classes: int) -> Int[Tensor, "B K J"]:
    """Members by carried label (K rows) and prediction (J = K + 1 columns, the last for no answer), for each search."""
    search = torch.arange(len(labels))[:, None]
    cell = (search * classes + labels) * (classes + 1) + predicted
    counts = torch.bincount(cell.flatten(), minlength=len(labels) * classes * (classes + 1))
    return counts.view(len(labels), classes, classes + 1)


def macro(table: Int[Tensor, "B K J"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Accuracy and macro precision, recall and F1 of each search; what is undefined counts as 0, as the paper does."""
    table = table.double()
    right = table.diagonal(dim1=1, dim2=2)
    claimed, support = table[:, :, :-1].sum(1), table.sum(2)
    precision = right / claimed.clamp(min=1)
    recall = right / support.clamp(min=1)
    f1 = 2 * right / (claimed + support).clamp(min=1)
    return right.sum(1) / table.sum((1, 2)), precision.mean(1), recall.mean(1), f1.mean(1)


def distance(images: Float[Tensor, "P C H W"], ancestors: Float[Tensor, "P C H W"]) -> Distance:
    """How far images are from those they descend from, mean over the members.

    Structural similarity is torchmetrics' (Wang et al. 2004: Gaussian window, sigma 1.5, data range 1).
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    difference = (images - ancestors).flatten(1)
    similarity = [
        structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
        for a, b in zip(images.split(250), ancestors.split(250), strict=True)
    ]
    # A pixel differs where any of its channels does.
    changed = ((images - ancestors).abs().amax(1) > 0.5 / 255).flatten(1)
    return Distance(
        l0=float(changed.double().mean()),
        l2=float(difference.double().norm(dim=1).mean()),
        ssim=float(torch.cat([torch.atleast_1d(s) for s in similarity]).double().mean()),
    )


def ask(
    classifier: Classifier,
    images: Float[Tensor, "N C H W"],
    *,
    account: str = "measured",
    store: Store | None = None,
    chain: str = "",
    key: tuple[object, ...] = (),
) -> Float[Tensor, "N K"]:
    """A classifier's scores for images outside a search, on an account of their own.

    Args:
        classifier, images: what is asked about what.
        account: who pays.
        store, chain, key: where the answers are kept, and taken from after a kill.
    """
    ledger = Ledger(classifier, searches=[account], store=store, chain=chain)
    return ledger.ask(images, torch.zeros(len(images), dtype=torch.int64), key).scores


def judged(
    judge: Classifier,
    images: Float[Tensor, "P C H W"],
    labels: Tensor,
    predicted: Tensor,
    *,
    account: str = "judged",
    store: Store | None = None,
    chain: str = "",
    key: tuple[object, ...] = (),
) -> Judged:
    """What an independent classifier says of images that carry labels, beside the target's `predictions`.

    An image without an answer fools nobody. The last four are those of `ask`.
    """
    fools = (predicted != labels) & (predicted < len(judge.info.class_names))
    reads = predictions(ask(judge, images, account=account, store=store, chain=chain, key=key)) == labels
    return Judged(*(float(share.double().mean()) for share in (fools, reads, fools & reads)))
