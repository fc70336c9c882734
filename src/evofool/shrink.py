"""The shrinker: takes genes out of a mask while the goal still holds, until no single one, and no pair, can go.

It follows the ddmin of Zeller & Hildebrandt, Simplifying and Isolating Failure-Inducing Input, IEEE Transactions on
Software Engineering 28(2), 2002. We differ from it in this:

1. All removals of a round are asked about at once, since a batch costs a classifier less than its rows one by one.
2. Several removable pieces go together: the best r, r/2, r/4, ... of them are tried, and the largest that holds is
   taken. "Best" is by slack, where it is given.
3. Pieces that cannot go are not asked about again before the removable ones are used up; all single genes are, on the
   mask that is left. So the certificate is theirs, though the goal need not be monotone.
4. It begins with halves only where there are many genes. It never tries to keep a piece alone.
5. After single genes it goes on to pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import torch

from .contracts import Status
from .errors import SpecError
from .ledger import Ledger
from .operators.lists import mask_of
from .shapes import Bool, Float, Int, Tensor

MANY = 64  # genes of a mask that is first cut into halves, quarters, ...
PAIRS = 256  # that one search asks about before it looks whether one can go
PIXELS = 1 << 24  # numbers in the images that are asked about at once: 64 MB

Decode = Callable[[Bool[Tensor, "N *G"], Int[Tensor, " N"]], Float[Tensor, "N C H W"]]
Holds = Callable[[Float[Tensor, "N K"], Int[Tensor, " N"]], Bool[Tensor, " N"]]
Slack = Callable[[Float[Tensor, "N K"], Int[Tensor, " N"]], Float[Tensor, " N"]]


class Ended(IntEnum):
    """Why the shrinking of a mask ended."""

    RUNNING = 0  # it has not; seen by `on_round` only
    SHOWN = 1  # nothing is left to ask
    BUDGET = 2  # it did not reach further
    FAILED = 3  # nothing that was answered can go, but the classifier left something unanswered
    LEFT = 4  # nothing was asked: the goal did not hold at the start, or nobody wanted it


@dataclass(frozen=True)
class Shrunk:
    """What is left of B masks.

    Attributes:
        masks: the goal holds for them, but for those that were left as they were.
        scores: the answers for these masks.
        minimal: 0 = not shown; 1 = no single gene can go; 2 = no single one and no pair. A 1-minimal mask of fewer than
            two genes is 2-minimal.
        queries: rows that were sent for each search. What was sent again after a failure, or was lost with a process
            that died, counts once: so a run that goes on after a stop says the same. The ledger has all of it.
        ended: see Ended.
    """

    masks: Bool[Tensor, "B *G"]
    scores: Float[Tensor, "B K"]
    minimal: Int[Tensor, " B"]
    queries: Int[Tensor, " B"]
    ended: Int[Tensor, " B"]

    def words(self, row: int) -> str:
        """The certificate of one mask: "1-minimal, 6 pixels, 412 queries"."""
        minimal, pixels, queries = int(self.minimal[row]), int(self.masks[row].sum()), int(self.queries[row])
        shown = {
            Ended.RUNNING: "shrinking",
            Ended.SHOWN: "not shown to be minimal",
            Ended.BUDGET: "not shown to be minimal: the budget ended",
            Ended.FAILED: "not shown to be minimal: the classifier left images unanswered",
            Ended.LEFT: "not shrunk",
        }[Ended(int(self.ended[row]))]
        if minimal:
            shown = f"{minimal}-minimal"
        return f"{shown}, {_count(pixels, 'pixel', 'pixels')}, {_count(queries, 'query', 'queries')}"


def shrink(
    masks: Bool[Tensor, "B *G"],
    scores: Float[Tensor, "B K"],
    *,
    decode: Decode,
    holds: Holds,
    ledger: Ledger,
    slack: Slack | None = None,
    wanted: Bool[Tensor, " B"] | None = None,
    pairs: bool = True,
    key: tuple[object, ...] = ("shrink",),
    on_round: Callable[[Shrunk], None] | None = None,
) -> Shrunk:
    """Take genes out of masks while the goal holds, all searches side by side.

    A search whose question the budget does not reach ends there, with what it has reached. An image without an answer
    never holds, and nothing is shown by it. A search alone gives the same as in a batch, in as many queries.

    Args:
        masks: of B searches; row i is paid for by search i of the ledger.
        scores: the answers for them, NaN where there are none.
        decode: images of masks [N *G], each of the search that `rows` [N] names.
        holds: for which scores [N K] the goal holds; rows as above.
        ledger: asks; its batches get the keys (*key, round, part).
        slack: by how much the goal holds, larger = better; None = what stands first in a mask goes first.
        wanted: which masks to shrink; None = all. Those for which the goal does not hold are left as they are.
        pairs: go on to pairs when no single gene can go.
        key: names the shrinking in the ledger's chain.
        on_round: called after each batch with what has been reached.

    Raises:
        SpecError: masks, scores, wanted and accounts are not of one number, or masks are not bool.
    """
    sizes = {"masks": len(masks), "scores": len(scores), "accounts": len(ledger.searches)}
    sizes |= {} if wanted is None else {"wanted": len(wanted)}
    if len(set(sizes.values())) > 1:
        words = ", ".join(f"{count} {name}" for name, count in sizes.items())
        raise SpecError(f"masks to shrink: {words}; expected one number of all")
    if masks.dtype != torch.bool:
        raise SpecError(f"masks to shrink: are {masks.dtype}; expected bool, True where there is a gene")
    answered = ~scores.isnan().any(1)
    rows = torch.arange(len(masks))
    go = answered & holds(scores, rows) if len(masks) else answered
    if wanted is not None:
        go = go & wanted
    searches = [_Search(mask, row, pairs) for mask, row in zip(masks.flatten(1), scores, strict=True)]
    asker = _Asker(decode, holds, slack, ledger, masks.shape[1:])

    plans = {i: searches[i].plan() for i in go.nonzero().flatten().tolist()}
    questions: dict[int, _Question] = {}
    for i, search in enumerate(searches):
        search.ended = Ended.RUNNING if i in plans else Ended.LEFT
        if i in plans and (question := _next(plans[i], search)):
            questions[i] = question
    batch = 0
    while questions:
        replies = asker.ask(questions, (*key, batch))
        asked, questions = questions, {}
        for i in asked:
            search = searches[i]
            search.queries += replies[i].sent
            question = _next(plans[i], search, replies[i])
            if bool((replies[i].status == Status.UNSENT).any()):
                search.ended = Ended.BUDGET
            elif question:
                questions[i] = question
        batch += 1
        if on_round:
            on_round(_shrunk(masks, searches))
    return _shrunk(masks, searches)


class _Question(NamedTuple):
    """Does the goal hold without these genes? Each row of places is asked about; L is no place, and fills rows up."""

    mask: Bool[Tensor, " L"]
    places: Int[Tensor, "n k"]


class _Replies(NamedTuple):
    """The answers to a question, row by row, and how many rows were sent for them."""

    holds: Bool[Tensor, " n"]
    slack: Float[Tensor, " n"]
    scores: Float[Tensor, "n K"]
    status: Int[Tensor, " n"]
    sent: int

    def ranked(self) -> Int[Tensor, " r"]:
        """The rows for which the goal holds, the best first."""
        rows = self.holds.nonzero().flatten()
        return rows[self.slack[rows].argsort(descending=True, stable=True)]


Plan = Generator[_Question, _Replies, None]


class _Search:
    """One search: the smallest mask so far, and the plan of what to ask next.

    Whatever is seen to hold is taken before the next question, so that a search may end at any of them.
    """

    def __init__(self, mask: Tensor, scores: Tensor, pairs: bool):
        self.mask, self.scores = mask, scores
        self.minimal = self.queries = 0
        self.ended = Ended.RUNNING
        self._pairs = pairs
        self._doubt = False  # a question about this mask has no answer
        self._slack = torch.zeros(len(mask), dtype=torch.float64)  # of the mask without the gene

    def plan(self) -> Plan:
        count = int(self.mask.sum())
        size = -(-count // 2) if count > MANY else 1
        while size > 1:
            yield from self._pieces(size)
            size = -(-size // 2)
        while True:
            yield from self._pieces(1)
            if self._doubt:
                self.ended = Ended.FAILED
                return
            count = int(self.mask.sum())
            self.minimal = 1 if count > 1 else 2
            if count < 2 or not self._pairs or not (yield from self._pair()):
                self.ended = Ended.SHOWN if not self._doubt else Ended.FAILED
                return

    def _pieces(self, size: int) -> Plan:
        """Take out pieces of so many genes; of single genes until it is known of each that it cannot go."""
        self._doubt = False
        refuted = torch.zeros_like(self.mask)
        trial = self.mask.nonzero().flatten()
        while len(trial):
            before, pieces = self.mask, _cut(trial, size, len(self.mask))
            replies = yield _Question(before, pieces)
            self._doubt |= bool((replies.status != Status.ANSWERED).any())
            if size == 1:
                self._slack[trial] = replies.slack
            order = replies.ranked()
            if len(order):
                taken = 1
                self._take(before, pieces[order[0]], replies.scores[order[0]])
                if len(order) > 1:
                    counts = len(order) >> torch.arange(len(order).bit_length() - 1)  # r, r/2, ..., 2 or 3
                    together = _firsts(pieces[order], counts, len(before))
                    more = yield _Question(before, together)
                    for i in more.holds.nonzero().flatten().tolist()[:1]:
                        taken = int(counts[i])
                        self._take(before, together[i], more.scores[i])
                refuted = torch.zeros_like(before)
                trial = pieces[order[taken:]].flatten()
                trial = trial[trial < len(before)]
            else:
                refuted[trial] = True
                trial = trial[:0]
            if size == 1 and not len(trial):
                trial = (self.mask & ~refuted).nonzero().flatten()

    def _pair(self) -> Generator[_Question, _Replies, bool]:
        """Take out a pair, if one can go."""
        genes = self.mask.nonzero().flatten()
        genes = genes[self._slack[genes].argsort(descending=True, stable=True)]  # likely ones make the first pairs
        pairs = math.comb(len(genes), 2)
        for first in range(0, pairs, PAIRS):
            places = genes[_numbered(torch.arange(first, min(first + PAIRS, pairs)))]
            replies = yield _Question(self.mask, places)
            self._doubt |= bool((replies.status != Status.ANSWERED).any())
            order = replies.ranked()
            if len(order):
                self._take(self.mask, places[order[0]], replies.scores[order[0]])
                return True
        if not self._doubt:
            self.minimal = 2
        return False

    def _take(self, before: Tensor, places: Tensor, scores: Tensor) -> None:
        """Without the genes at these places the goal holds."""
        self.mask = before & ~mask_of(places[None], len(before))[0]
        self.scores = scores
        self.minimal, self._doubt = 0, False


class _Asker:
    """Brings the questions of all searches to the ledger, in batches of bounded memory."""

    def __init__(
        self, decode: Decode, holds: Holds, slack: Slack | None, ledger: Ledger, shape: torch.Size | tuple[int, ...]
    ):
        self._decode, self._holds, self._slack, self._ledger, self._shape = decode, holds, slack, ledger, shape
        info = ledger.classifier.info
        # Whole calls of a local classifier, which pads the last one.
        self._at_once = info.micro_batch * max(1, PIXELS // math.prod(info.image_shape) // info.micro_batch)

    def ask(self, questions: dict[int, _Question], key: tuple[object, ...]) -> dict[int, _Replies]:
        """One batch of the chain, or a few."""
        counts = [len(question.places) for question in questions.values()]
        payer = torch.tensor(list(questions)).repeat_interleave(torch.tensor(counts))
        parts: list[tuple[Tensor, ...]] = []
        for first in range(0, len(payer), self._at_once):
            rows = payer[first : first + self._at_once]
            images = self._decode(self._masks(questions, first).unflatten(1, self._shape), rows)
            new = ~self._ledger.repeats(images, rows)
            scores, status = self._ledger.ask(images, rows, (*key, len(parts)))
            answered = status == Status.ANSWERED
            slack = torch.zeros(len(rows)) if self._slack is None else self._slack(scores, rows)
            slack = slack.double().nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
            sent = new & (status != Status.UNSENT)
            parts.append((self._holds(scores, rows) & answered, slack, scores, status, sent))
        whole = [torch.cat(column).split(counts) for column in zip(*parts, strict=True)]
        return {
            i: _Replies(holds, slack, scores, status, int(sent.sum()))
            for i, (holds, slack, scores, status, sent) in zip(questions, zip(*whole, strict=True), strict=True)
        }

    def _masks(self, questions: dict[int, _Question], first: int) -> Bool[Tensor, "N L"]:
        """The masks that are asked about, from the first one on as many as are asked about at once."""
        found = []
        last = first + self._at_once
        for mask, places in questions.values():
            some = places[max(first, 0) : max(last, 0)]
            if len(some):
                found.append(mask & ~mask_of(some, len(mask)))
            first, last = first - len(places), last - len(places)
        return torch.cat(found)


def _next(plan: Plan, search: _Search, replies: _Replies | None = None) -> _Question | None:
    """What a search asks next; None = nothing more."""
    try:
        return plan.send(replies)  # type: ignore[arg-type]  # a plan begins with None
    except StopIteration:
        return None


def _cut(genes: Int[Tensor, " n"], size: int, length: int) -> Int[Tensor, "c size"]:
    """Genes in pieces of so many; the last one is filled up with what is no place."""
    pieces = -(-len(genes) // size)
    places = torch.full((pieces * size,), length)
    places[: len(genes)] = genes
    return places.view(pieces, size)


def _firsts(pieces: Int[Tensor, "r size"], counts: Int[Tensor, " m"], length: int) -> Int[Tensor, "m k"]:
    """The first counts[0], counts[1], ... pieces as one each."""
    number = torch.arange(len(pieces)).repeat_interleave(pieces.shape[1])
    return torch.where(number < counts[:, None], pieces.flatten(), length)


def _numbered(number: Int[Tensor, " n"]) -> Int[Tensor, "n 2"]:
    """Pairs (i, j) with i < j by their number, in the order (0, 1), (0, 2), (1, 2), (0, 3), ..."""
    j = ((1 + (1 + 8 * number.double()).sqrt()) / 2).long()
    j -= (j * (j - 1) // 2 > number).long()  # a square root may be rounded up
    return torch.stack([number - j * (j - 1) // 2, j], 1)


def _shrunk(masks: Tensor, searches: list[_Search]) -> Shrunk:
    if not searches:
        none = torch.zeros(0, dtype=torch.int64)
        return Shrunk(masks, torch.zeros(0, 0), none, none, none)
    return Shrunk(
        masks=torch.stack([search.mask for search in searches]).view(masks.shape),
        scores=torch.stack([search.scores for search in searches]),
        minimal=torch.tensor([search.minimal for search in searches]),
        queries=torch.tensor([search.queries for search in searches]),
        ended=torch.tensor([int(search.ended) for search in searches]),
    )


def _count(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
