"""A ledger as a PyTorch module, so that other people's attacks run under the same budget and the same judge.

    with ledger.as_torch_module(images, labels, criteria.misclassified) as model:
        attack(model, images, labels)            # Foolbox, ART, torchattacks: whatever asks a module
    model.successes                              # judged here, query by query

What the attack claims about itself counts for nothing: each answer is judged when it passes, and the first success of
each search is kept with the number of queries that the search had been charged by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from .contracts import Criterion, Evaluated, Status
from .encodings.pixels import to_lattice
from .errors import EvofoolError, UserError
from .shapes import Float, Int, Tensor


class BudgetSpent(EvofoolError):  # noqa: N818 - a result, not an error: the block it leaves ends normally
    """Every search has spent its budget; the attack that still asks is ended by it."""


class Success(NamedTuple):
    """The first success of one search.

    Attributes:
        search: which.
        image: as it was sent.
        scores: as they came back.
        queries: rows that the search had been charged when the answer came; rows of one call count in their order.
    """

    search: int
    image: Float[Tensor, "C H W"]
    scores: Float[Tensor, " K"]
    queries: int


class MeteredModule(nn.Module):
    """Scores without gradients, every row charged to the search that it belongs to.

    A row belongs to the search whose original is nearest (Euclidean), or, inside `with model.only(i):`, to that one.
    Images are brought to the 1/255 lattice toward their original before they are sent, so that a success can be saved
    as it was. A row that the budget does not reach gets the last answer of its search back while other searches live;
    when none does, `BudgetSpent` ends the attack and the `with` block.

    Args:
        ledger: the `Ledger` to ask through, with one account for each original.
        originals: [B C H W], in [0, 1].
        labels: [B].
        criterion: what a success is.

    Attributes:
        successes: the first one of each search that has one, in the order of the searches.
    """

    def __init__(self, ledger: Any, originals: Tensor, labels: Tensor, criterion: Criterion):
        super().__init__()
        if not len(originals) == len(labels) == len(ledger.searches):
            raise UserError(
                f"{len(originals)} originals, {len(labels)} labels and {len(ledger.searches)} searches: expected "
                "as many of each"
            )
        self.ledger = ledger
        self._originals = originals.detach().to("cpu", torch.float32)
        self._labels = labels.detach().to("cpu", torch.int64)
        self._criterion = criterion
        self._only: int | None = None
        self._found: dict[int, Success] = {}
        self._last: dict[int, Tensor] = {}

    @property
    def successes(self) -> list[Success]:
        return [self._found[search] for search in sorted(self._found)]

    def __enter__(self) -> MeteredModule:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, BudgetSpent)

    @contextmanager
    def only(self, search: int) -> Iterator[None]:
        """Charge everything that is asked in this block to one search."""
        before, self._only = self._only, search
        try:
            yield
        finally:
            self._only = before

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Scores [N K] for images [N C H W]."""
        given = images.detach().to("cpu", torch.float32)
        owner = self._owners(given)
        sent = to_lattice(given.clamp(0, 1)[:, None], self._originals[owner])[:, 0]
        repeats = self.ledger.repeats(sent, owner)
        answers = self.ledger.ask(sent, owner)
        status = answers.status
        self._judge(sent, owner, answers.scores, status, ~repeats & (status != Status.UNSENT))
        if bool((status == Status.UNSENT).any()) and self._all_spent():
            raise BudgetSpent(f"all {len(self._originals)} searches have spent their budget")
        scores = answers.scores.clone()
        for row in range(len(sent)):
            search = int(owner[row])
            if status[row] == Status.ANSWERED:
                self._last[search] = answers.scores[row]
            else:
                scores[row] = self._last.get(search, torch.zeros(scores.shape[1]))
        return scores.to(images.device)

    def _owners(self, images: Tensor) -> Int[Tensor, " N"]:
        if self._only is not None:
            return torch.full((len(images),), self._only, dtype=torch.int64)
        return torch.cdist(images.flatten(1), self._originals.flatten(1)).argmin(1)

    def _all_spent(self) -> bool:
        budget, total = self.ledger.budget, self.ledger.total
        if total is not None and self.ledger.store.total() >= total:
            return True
        return budget is not None and min(self._issued(range(len(self._originals)))) >= budget

    def _judge(self, sent: Tensor, owner: Tensor, scores: Tensor, status: Tensor, charged: Tensor) -> None:
        """Keep first successes, with the queries spent by then."""
        evaluated = Evaluated(
            genomes=sent[:, None],
            images=sent[:, None],
            x=self._originals[owner],
            scores=scores[:, None],
            labels=self._labels[owner][:, None],
            status=status[:, None],
        )
        success = self._criterion(evaluated, self.ledger.classifier.info)[:, 0] & (status == Status.ANSWERED)
        first: dict[int, int] = {}
        for row in success.nonzero().flatten().tolist():
            if (search := int(owner[row])) not in self._found:
                first.setdefault(search, row)
        if not first:
            return
        for (search, row), now in zip(first.items(), self._issued(list(first)), strict=True):
            later = int((charged & (owner == search))[row + 1 :].sum())
            self._found[search] = Success(search, sent[row].clone(), scores[row].clone(), now - later)

    def _issued(self, searches: Sequence[int]) -> list[int]:
        """What some searches have been charged; of the others nothing is read."""
        issued: list[int] = self.ledger.store.issued([self.ledger.searches[search] for search in searches])
        return issued
