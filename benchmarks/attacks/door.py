"""What a peer asks instead of the classifier: every row is charged to its image, and looked at.

It differs from `evofool.metered` in three things, all in favour of the peer. The first question about an image as it
is costs nothing, since it was asked already. Rows belong to the only image that they can belong to (see `apart`). And
images may be sent as they come: brought to the 1/255 lattice on their way, as there, a peer hears of what fools on
disk; sent as they come, it stops at what fools as floats, and may lose that on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from evofool.contracts import Classifier, Evaluated, Status
from evofool.encodings.pixels import to_lattice
from evofool.ledger import Ledger, hashes
from evofool.metered import BudgetSpent
from evofool.shapes import Bool, Float, Int, Tensor
from evofool.threat import Goal, Threat

Judge = Callable[[Float[Tensor, "N C H W"], Int[Tensor, " N"]], tuple[Bool[Tensor, " N"], Float[Tensor, "N K"]]]


class Win(NamedTuple):
    """The first image within the limit that fooled, and fools as it is on disk.

    Attributes:
        image: [C H W], on the lattice.
        scores: [K], for that.
        queries: charged for its search by then, without the one for the image as it is.
    """

    image: Tensor
    scores: Tensor
    queries: int


class Timed:
    """A classifier, with the seconds that it takes; calls are never padded.

    Attributes:
        wall, processor: seconds of all calls, by the clock on the wall and by that of the processor.
    """

    def __init__(self, classifier: Classifier):
        self.info = replace(classifier.info, metered=True, concurrency=1)
        self.wall = self.processor = 0.0
        self._classifier = classifier

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """What the classifier answers."""
        wall, processor = time.perf_counter(), time.process_time()
        try:
            return self._classifier(images)
        finally:
            self.wall += time.perf_counter() - wall
            self.processor += time.process_time() - processor


class Door(nn.Module):
    """Scores without gradients, of some images that are attacked together.

    When no image has budget left, `BudgetSpent` ends the attack. Until then an image whose budget is spent gets the
    last answer of its search back. An image of NaN is charged, and answered with NaN. Scores are logits: of a
    classifier that gives probabilities, their logarithms.

    Args:
        ledger: with one account for each image; the query for the image as it is is charged already.
        originals: [B C H W], on the lattice.
        labels: [B], the class to get away from, or to get to.
        clean: [B K], the answers for the images as they are.
        threat, goal: what counts as success.
        judge: tells of images on the lattice, with the image that each belongs to, whether they fool, and their scores;
            asks outside the budget.
        floats: send images as they come.

    Attributes:
        asked: [B], queries that were charged.
        wins: the first success of each image; None = none yet.
        lost: [B], something fooled as it was asked, but not as it is on disk.
        outside: [B], something fooled, but beyond the limit.
        wall, processor: seconds spent in here, by the clock on the wall and by that of the processor.
    """

    def __init__(
        self,
        ledger: Ledger,
        originals: Float[Tensor, "B C H W"],
        labels: Int[Tensor, " B"],
        clean: Float[Tensor, "B K"],
        threat: Threat,
        goal: Goal,
        judge: Judge,
        *,
        floats: bool = False,
    ):
        super().__init__()
        # Libraries read the device off the parameters.
        self.nothing = nn.Parameter(torch.empty(0), requires_grad=False)
        self._ledger, self._x, self._labels, self._judge, self._floats = ledger, originals, labels, judge, floats
        self._encoding, self._criterion, self._norm = threat.encoding, goal.criterion, threat.norm
        self._clean, self._last = clean, clean.clone()
        self._greeted = torch.zeros(len(originals), dtype=torch.bool)
        self._seen: list[set[bytes]] = [set() for _ in originals]
        self.asked = torch.zeros(len(originals), dtype=torch.int64)
        self.wins: list[Win | None] = [None] * len(originals)
        self.lost = torch.zeros(len(originals), dtype=torch.bool)
        self.outside = torch.zeros(len(originals), dtype=torch.bool)
        self.wall = self.processor = 0.0

    @property
    def distinct(self) -> list[int]:
        """How many different images were asked about in each search."""
        return [len(names) for names in self._seen]

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Scores [N K] for images [N C H W]."""
        wall, processor = time.perf_counter(), time.process_time()
        try:
            return self._answered(images)
        finally:
            self.wall += time.perf_counter() - wall
            self.processor += time.process_time() - processor

    def _answered(self, images: Tensor) -> Tensor:
        given = images.detach().to("cpu", torch.float32).clamp(0, 1)
        none = given.isnan().flatten(1).any(1)  # a peer may divide by zero
        if len(self._x) > 1 and bool(none.any()):
            raise ValueError("an image of NaN, and nobody can say to which original it belongs")
        owner = self._owners(given)
        given = torch.where(none[:, None, None, None], self._x[owner], given)
        given = given if self._floats else to_lattice(given[:, None], self._x[owner])[:, 0]
        free = self._free(given, owner) & ~none
        scores = self._last[owner]
        paid = (~free).nonzero().squeeze(1)
        if len(paid):
            payer = owner[paid]
            answers = self._ledger.ask(given[paid], payer)
            sent = answers.status != Status.UNSENT
            number = self.asked[payer] + _counted(payer, len(self._x))
            seen = sent & ~none[paid]
            self._note(given[paid][seen], payer[seen], answers.scores[seen], number[seen])
            self.asked += payer[sent].bincount(minlength=len(self._x))
            usable = seen & (answers.status == Status.ANSWERED)
            self._last[payer[usable]] = answers.scores[usable]  # the last row of each image stays
            if not bool(sent.all()) and self._all_spent():
                raise BudgetSpent(f"all {len(self._x)} images have spent their budget")
            scores = self._last[owner]
            scores[paid[usable]] = answers.scores[usable]
        scores[free] = self._clean[owner[free]]
        scores[none] = torch.nan  # as the network itself would answer
        return self._logits(scores).to(images.device)

    def _owners(self, images: Tensor) -> Int[Tensor, " N"]:
        if len(self._x) == 1:
            return torch.zeros(len(images), dtype=torch.int64)
        power = torch.inf if self._norm == "linf" else 2.0
        return torch.cdist(images.flatten(1), self._x.flatten(1), p=power).argmin(1)

    def _free(self, images: Tensor, owner: Tensor) -> Bool[Tensor, " N"]:
        """Which rows ask for the first time about an image as it is."""
        itself = (images == self._x[owner]).flatten(1).all(1) & ~self._greeted[owner]
        for row in itself.nonzero().flatten().tolist():
            itself[row] = not self._greeted[owner[row]]
            self._greeted[owner[row]] = True
        return itself

    def _all_spent(self) -> bool:
        budget = self._ledger.budget
        return budget is not None and bool((self.asked + 1 >= budget).all())

    def _note(self, sent: Tensor, owner: Tensor, scores: Tensor, number: Tensor) -> None:
        """Look at rows that were answered."""
        for name, search in zip(hashes(sent), owner.tolist(), strict=True):
            self._seen[search].add(name)
        asked = Evaluated(sent[:, None], sent[:, None], self._x[owner], scores[:, None], self._labels[owner][:, None],
                          torch.zeros(len(sent), 1, dtype=torch.int8))  # fmt: skip
        fooled = self._criterion(asked, self._ledger.classifier.info)[:, 0]
        for row in fooled.nonzero().flatten().tolist():
            search = int(owner[row])
            if self.wins[search] is None:
                self.consider(search, sent[row], int(number[row]))

    def consider(self, search: int, image: Float[Tensor, "C H W"], queries: int) -> None:
        """Judge an image that fooled as it is, after so many queries."""
        x = self._x[search]
        saved = to_lattice(image[None, None], x[None])
        if not bool(self._encoding.holds(saved, x[None])):
            self.outside[search] = True
            return
        fools, scores = self._judge(saved[0], torch.tensor([search]))
        if bool(fools):
            self.wins[search] = Win(saved[0, 0], scores[0], queries)
        else:
            self.lost[search] = True

    def told(self, saved: Float[Tensor, "1 C H W"], search: int) -> Float[Tensor, " K"]:
        """The scores of an image on the lattice, outside the budget."""
        return self._judge(saved, torch.tensor([search]))[1][0]

    def _logits(self, scores: Tensor) -> Tensor:
        if self._ledger.classifier.info.kind == "logits":
            return scores
        return scores.clamp_min(torch.finfo(scores.dtype).tiny).log()


def _counted(payer: Int[Tensor, " N"], searches: int) -> Int[Tensor, " N"]:
    """The how-manieth row of its search each row is, from 1."""
    order = payer.argsort(stable=True)
    counts = payer.bincount(minlength=searches)
    number = torch.empty_like(payer)
    number[order] = 1 + torch.arange(len(payer)) - (counts.cumsum(0) - counts)[payer[order]]
    return number


def apart(x: Float[Tensor, "N C H W"], threat: Threat, together: int) -> list[list[int]]:
    """Images in groups that can be attacked together.

    No two images of a group are so near to each other that something within the limit of one could be nearer to the
    other: so it is certain whose row is whose.

    Args:
        x: the images.
        threat: its limit; only of L-inf and L2 are images attacked together.
        together: the most images of a group.
    """
    if together == 1 or threat.norm not in ("linf", "l2"):
        return [[i] for i in range(len(x))]
    flat = x.flatten(1)
    near = torch.cdist(flat, flat, p=torch.inf if threat.norm == "linf" else 2.0) <= 2 * threat.size + 1e-3
    groups: list[list[int]] = []
    for i in range(len(x)):
        fitting: Sequence[list[int]] = [g for g in groups if len(g) < together and not bool(near[i, g].any())]
        if fitting:
            fitting[0].append(i)
        else:
            groups.append([i])
    return groups
