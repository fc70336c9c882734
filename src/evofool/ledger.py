"""The ledger: the only door to a classifier. It charges, cuts a batch into calls, pads, and tells failures apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .contracts import Answers, Classifier, Status
from .errors import ClassifierError, TargetError
from .shapes import Float, Int, Tensor


@dataclass(frozen=True)
class Counts:
    """Rows, by search [B], except `padded`.

    Attributes:
        issued: charged: an upper bound on what the classifier saw.
        answered: came back with scores.
        failed: issued, but without a usable answer.
        padded: repeated rows that filled the last call of a local classifier, over all searches.
    """

    issued: Int[Tensor, " B"]
    answered: Int[Tensor, " B"]
    failed: Int[Tensor, " B"]
    padded: int


class Ledger:
    """A classifier behind a count and a budget.

    A batch is charged before it is sent. A batch that does not fit is split at the budget's edge: the rows that come
    first in it are sent, the rest comes back `unsent`.

    Args:
        classifier: what is asked.
        searches: how many searches share it; each has an account of its own.
        budget: the most rows that one search may ask; None = no limit.
        total: the most rows that all searches together may ask; None = no limit.
    """

    def __init__(self, classifier: Classifier, *, searches: int, budget: int | None = None, total: int | None = None):
        for name, limit in (("budget", budget), ("total", total)):
            if limit is not None and limit < 1:
                raise ClassifierError(f"{name} = {limit}: expected at least one query, or no limit")
        self.classifier = classifier
        self.budget = budget
        self.total = total
        self._issued = torch.zeros(searches, dtype=torch.int64)
        self._answered = torch.zeros(searches, dtype=torch.int64)
        self._failed = torch.zeros(searches, dtype=torch.int64)
        self._padded = 0

    @property
    def counts(self) -> Counts:
        """How many rows were asked so far."""
        return Counts(self._issued.clone(), self._answered.clone(), self._failed.clone(), self._padded)

    def ask(self, images: Float[Tensor, "N C H W"], search: Int[Tensor, " N"], key: tuple[int, ...] = ()) -> Answers:
        """Ask the classifier about a batch.

        Args:
            images: on the 1/255 lattice, in [0, 1].
            search: the search that pays for each row, 0 to searches - 1.
            key: what the batch is, for messages: (generation, chunk).

        Raises:
            TargetError: a call failed as a whole; its rows stay charged.
            ClassifierError: the shapes do not fit, or declared probabilities are none.
        """
        info = self.classifier.info
        if tuple(images.shape[1:]) != info.image_shape:
            raise ClassifierError(
                f"images of shape {tuple(images.shape[1:])} for {info.name}, which expects {info.image_shape} (C, H, W)"
            )
        sent = self._affordable(search)
        everything = bool(sent.all())
        rows, payers = (images, search) if everything else (images[sent], search[sent])
        answered = torch.bincount(payers, minlength=len(self._issued))
        self._issued += answered
        scores = self._call(rows, key)
        failed = ~scores.amax(1).isfinite()  # NaN somewhere, or no finite score to choose
        if bool(failed.any()):
            scores = torch.where(failed[:, None], torch.nan, scores)
            unanswered = torch.bincount(payers[failed], minlength=len(self._issued))
            self._failed += unanswered
            answered -= unanswered
        self._answered += answered
        status = failed.to(torch.int8)  # Status.FAILED is 1
        if everything:
            return Answers(scores, status)
        all_scores = scores.new_full((len(images), scores.shape[1]), torch.nan)
        all_scores[sent] = scores
        all_status = torch.full((len(images),), int(Status.UNSENT), dtype=torch.int8)
        all_status[sent] = status
        return Answers(all_scores, all_status)

    def _affordable(self, search: Int[Tensor, " N"]) -> Tensor:
        """Which rows the budgets still reach, taken in the order of the batch."""
        sent = torch.ones(len(search), dtype=torch.bool)
        if self.budget is not None:
            order = search.sort(stable=True).indices
            counts = torch.bincount(search, minlength=len(self._issued))
            before = torch.empty_like(search)  # rows of the same search that stand earlier in the batch
            before[order] = torch.arange(len(search)) - (counts.cumsum(0) - counts)[search[order]]
            sent = self._issued[search] + before < self.budget
        if self.total is not None:
            sent &= self._issued.sum() + sent.cumsum(0) <= self.total
        return sent

    def _call(self, rows: Float[Tensor, "N C H W"], key: tuple[int, ...]) -> Float[Tensor, "N K"]:
        """The scores of all rows, in calls of the classifier's size."""
        info = self.classifier.info
        size, classes = info.micro_batch, len(info.class_names)
        answers = [torch.empty(0, classes)]
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            missing = 0 if info.metered else size - len(part)
            if missing:
                part = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)])
                self._padded += missing
            try:
                answer = self.classifier(part)
            except TargetError as error:
                where = f" (batch {', '.join(map(str, key))})" if key else ""
                message = f"{info.name} failed to answer{where}: {error}"
                raise TargetError(message, retry_after=error.retry_after, fatal=error.fatal) from error
            if answer.shape != (len(part), classes):
                raise ClassifierError(
                    f"{info.name} answered with scores of shape {tuple(answer.shape)}; "
                    f"expected {(len(part), classes)}: one row an image, one column for each of its classes"
                )
            answers.append(answer.clone())  # a classifier may use its buffer again
        scores = torch.cat(answers)[: len(rows)].float()  # what was padded stands at the end
        if info.kind == "probabilities" and bool(((scores < -1e-6) | (scores > 1 + 1e-6)).any()):
            low, high = scores.nan_to_num(0.5).aminmax()
            raise ClassifierError(
                f"{info.name} declares probabilities, but answered {float(low):.4g} to {float(high):.4g}; "
                f"expected [0, 1]: does it give logits?"
            )
        return scores
