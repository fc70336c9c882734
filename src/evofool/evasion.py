"""The loop of attacks: many images, each with a search of its own, that come and go.

It is the loop of `search` for searches that need not begin together: as many images are in the air as fill the calls of
the classifier, or more; one that is fooled, or whose budget is spent, makes room for the next. A search depends on
nothing but its image (its random numbers are keyed by its content) and, of algorithms that share, on the pool as it
stood at a stated moment: never on who is in the air beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from . import genome
from .contracts import ClassifierInfo, Criterion, Encoding, Evaluated, Objective, Status, Victims
from .errors import SpecError
from .ledger import Ledger
from .pool import Pool, empty
from .rng import Stream, search_id
from .search import evaluate
from .shapes import Bool, Float, Int, Tensor
from .sharing import Independent, Shared, Sharing

IN_AIR = 1 << 21  # gray levels of the images in the air: a round costs much beside what it costs for each image
IDLE = 1000  # rounds in which nothing new is asked, after which a search is over


class Limit(Encoding, Protocol):
    """Perturbations that are allowed."""

    def holds(self, images: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"]) -> Bool[Tensor, "B n"]:
        """Which images on the 1/255 lattice keep the limit."""
        ...


@dataclass(frozen=True)
class Evaded:
    """What became of N images.

    Attributes:
        fooled: whether the goal was reached.
        queries: charged for the search by the end of the round that reached it, or of all; without what was asked
            before the search.
        images: [N C H W], of a fooled image the one that fooled, with the lowest margin of its round; else the best
            attempt: the one with the lowest margin, the image itself where none was answered.
        scores: [N K], the answers for them.
        order: [N], the place in the order in which images joined, from 0.
        tried: [N], genes of a pool that were tried, of algorithms that share; else -1.
        gene: [N], the gene that fooled as it is; -1 = none.
        pool: what is known after all of them, of algorithms that share.
    """

    fooled: Bool[Tensor, " N"]
    queries: Int[Tensor, " N"]
    images: Float[Tensor, "N C H W"]
    scores: Float[Tensor, "N K"]
    order: Int[Tensor, " N"]
    tried: Int[Tensor, " N"]
    gene: Int[Tensor, " N"]
    pool: Pool | None = None


@dataclass
class _Air:
    """The images whose searches are under way.

    Attributes:
        rows: which of the victims, [b].
        rounds: how often each was told, [b].
        idle: rounds since something of it was charged, and not answered from the cache, [b].
        state: of the algorithm, every tensor leading with b.
    """

    rows: Int[Tensor, " b"]
    rounds: Int[Tensor, " b"]
    idle: Int[Tensor, " b"]
    state: Any

    def rows_of(self, some: Int[Tensor, " b"]) -> _Air:
        """Some of them."""
        return _Air(self.rows[some], self.rounds[some], self.idle[some], genome.rows(self.state, some))


@dataclass(frozen=True)
class _Crew:
    """What is known of the images in the air for as long as they are the same.

    Attributes:
        rows, x, labels, payer, rng: of each; see `evade`.
        before: charged before the search.
    """

    rows: Int[Tensor, " b"]
    x: Float[Tensor, "b C H W"]
    labels: Int[Tensor, " b"]
    payer: Int[Tensor, " b"]
    rng: Stream
    before: Int[Tensor, " b"]

    @staticmethod
    def of(
        rows: Int[Tensor, " b"], victims: Victims, accounts: Int[Tensor, " N"], rng: Stream, before: Int[Tensor, " N"]
    ) -> _Crew:
        """That of some rows."""
        return _Crew(rows, victims.x[rows], victims.labels[rows], accounts[rows], rng.rows(rows.tolist()), before[rows])

    def stream(self, rounds: Int[Tensor, " b"]) -> Stream:
        """The random numbers of a round, which is another one for images that did not join together."""
        told = rounds.tolist()
        first: int = told[0]
        return self.rng.at(first if told.count(first) == len(told) else told)


def image_ids(x: Float[Tensor, "N C H W"], labels: Int[Tensor, " N"]) -> list[int]:
    """Ids of searches for random streams: an image has the same numbers wherever it stands in whatever list."""
    pixels = (x * 255).round().byte().flatten(1).numpy()
    return [search_id(f"{label} {row.tobytes().hex()}") for row, label in zip(pixels, labels.tolist(), strict=True)]


def victims_of(
    x: Float[Tensor, "N C H W"],
    labels: Int[Tensor, " N"],
    scores: Float[Tensor, "N K"],
    objective: Objective,
    info: Any,
) -> Victims:
    """Images with the answers for them as they are."""
    status = torch.zeros(len(x), 1, dtype=torch.int64)
    asked = Evaluated(torch.zeros(len(x), 1), x[:, None], x, scores[:, None], labels[:, None], status)
    return Victims(x, labels, scores, objective(asked, info)[:, 0])


def rows_of(victims: Victims, rows: Int[Tensor, " b"]) -> Victims:
    """Some of the images."""
    return Victims(victims.x[rows], victims.labels[rows], victims.scores[rows], victims.fitness[rows])


def evade(
    victims: Victims,
    *,
    accounts: Int[Tensor, " N"],
    seeds: Sequence[int],
    algorithm: Any,
    encoding: Limit,
    objective: Objective,
    criterion: Criterion,
    ledger: Ledger,
    at_once: int | None = None,
    pool: Pool | None = None,
    budget: int | None = None,
    on_round: Callable[[int, int], None] | None = None,
) -> Evaded:
    """Search for each image until it is fooled, or its budget is spent.

    Args:
        victims: the images.
        accounts: the search of the ledger that pays for each.
        seeds: of each.
        algorithm: an `Attack`; one that has `sharing` learns across images, see `sharing`. One that asks about several
            perturbations of an image at a time says how many as `together`.
            One that has `asks`, an encoding, looks there instead, and so outside the limit: what it finds there is no
            success, nor a best attempt.
        encoding, objective, criterion, ledger: the parts; see `contracts`.
        at_once: images in the air; None = as many as have `IN_AIR` gray levels, and fill two calls of the classifier at
            least; with a budget for all together, and of an endpoint, just as many as do that. Of algorithms that
            share, their rules say who joins when.
        pool: genes that are known already, for algorithms that share.
        budget: the most queries of one image at first, with those before the search; None = the ledger's. Where the
            ledger has a budget for all together only, what is left of it when all images have come so far goes to those
            that are not fooled, in turns of as many queries again.
        on_round: told after each round of all images in the air how many images are finished with it, and how many of
            them fooled.

    Raises:
        SpecError: there is no budget: a search that never fools would never end.
    """
    limit = budget or ledger.budget
    if limit is None or (ledger.budget is None and ledger.total is None):
        raise SpecError("an attack needs a budget: the most queries of one image")
    step, parked = limit, None
    extends = ledger.budget is None
    if extends:  # each image keeps to its own budget until all have had it
        ledger.budget = limit
    info = ledger.classifier.info
    rng = Stream(list(seeds), image_ids(victims.x, victims.labels))
    record = _Record(victims, len(info.class_names))
    before = ledger.needed[accounts]
    spent_by = before.clone()
    asks = getattr(algorithm, "asks", None) or encoding
    sharing: Sharing | None = getattr(algorithm, "sharing", None)
    line: Independent | Shared = Independent(
        len(victims), at_once or _at_once(info, algorithm, alone=ledger.total is None)
    )
    if sharing is not None:
        line = Shared(
            len(victims), sharing, algorithm, empty(info.image_shape, len(info.class_names)) if pool is None else pool
        )
    air: _Air | None = None
    crew: _Crew | None = None
    tick = 0
    while True:
        for coming in line.coming(len(air.rows) if air else 0):
            rows = torch.tensor(coming)
            new = rows_of(victims, rows)
            state = algorithm.init(new) if line.pool is None else algorithm.init(new, line.pool)
            born = _Air(rows, torch.zeros_like(rows), torch.zeros_like(rows), state)
            record.join(rows)
            air = born if air is None else _joined(air, born)
        if air is None and parked is not None and not spent_all(ledger):
            air, parked, limit = parked, None, limit + step
            ledger.budget = limit
        if air is None:
            break
        if crew is None or crew.rows is not air.rows:
            crew = _Crew.of(air.rows, victims, accounts, rng, before)
        x, labels, payer = crew.x, crew.labels, crew.payer
        stream = crew.stream(air.rounds)
        genomes = asks.repair(
            algorithm.ask(air.state, stream) if line.pool is None else algorithm.ask(air.state, stream, line.pool), x
        )
        evaluated = evaluate(genomes, encoding=asks, ledger=ledger, x=x, labels=labels, searches=payer, key=(tick,))
        answered = evaluated.status == Status.ANSWERED
        all_told = bool(answered.all())
        fitness, success = objective(evaluated, info), criterion(evaluated, info)
        if not all_told:
            fitness, success = torch.where(answered, fitness, torch.nan), success & answered
        allowed = fitness
        if asks is not encoding:
            within = encoding.holds(evaluated.images, x)
            success, allowed = success & within, torch.where(within, fitness, torch.nan)
        elif len(claimed := success.any(1).nonzero().squeeze(1)):
            # Whoever decoded it: what is claimed keeps the limit.
            within = encoding.holds(evaluated.images[claimed], x[claimed])
            success = success.index_copy(0, claimed, success[claimed] & within)
        told = answered.all(1) if all_told else (evaluated.status != Status.UNSENT).all(1)
        before_round, spent = spent_by[air.rows], ledger.needed[payer]
        spent_by[air.rows] = spent
        idle = torch.where(spent > before_round, 0, air.idle + 1)
        record.note(air.rows, evaluated, allowed, success, spent - crew.before)
        rounds = air.rounds + 1
        wins = success.any(1)
        pauses = ~wins & ((spent >= limit) | (idle >= IDLE) | ~told)
        ends = ~told | wins | pauses
        state = algorithm.tell(air.state, evaluated, fitness, success)
        if not all_told and not bool(told.all()):  # what was not asked teaches nothing
            state = genome.choose(told, state, air.state)
        line.note(air.rows, rounds, state, ends)
        flown = _Air(air.rows, rounds, idle, state)
        waiting = 0
        if extends and not spent_all(ledger):
            waits = (pauses & (idle < IDLE)).nonzero().squeeze(1)
            waiting = len(waits)
            if waiting:
                parked = flown.rows_of(waits) if parked is None else _joined(parked, flown.rows_of(waits))
        stay = (~ends).nonzero().squeeze(1)
        air = flown if len(stay) == len(ends) else flown.rows_of(stay) if len(stay) else None
        tick += 1
        if on_round:
            on_round(len(ends) - len(stay) - waiting, int(wins.sum()))
    if extends:
        ledger.budget = None
        if on_round and parked is not None:
            on_round(len(parked.rows), 0)
    return record.evaded(line)


def spent_all(ledger: Ledger) -> bool:
    """Whether the budget for all together is spent."""
    return ledger.total is not None and ledger.store.total() >= ledger.total


def _at_once(info: ClassifierInfo, algorithm: Any, *, alone: bool) -> int:
    """Images in the air. Where they share a budget, who is in the air decides who is asked about before it is spent."""
    calls = 2 * info.micro_batch
    rows = calls
    if alone and not info.remote:
        held = algorithm.numbers(info.image_shape) if hasattr(algorithm, "numbers") else 0
        rows = max(calls, IN_AIR // max(math.prod(info.image_shape), held // 8))
    return max(1, rows // getattr(algorithm, "together", 1))


def _joined(air: _Air, born: _Air) -> _Air:
    pairs = ((air.rows, born.rows), (air.rounds, born.rounds), (air.idle, born.idle))
    rows, rounds, idle = (torch.cat(pair) for pair in pairs)
    return _Air(rows, rounds, idle, genome.join(air.state, born.state))


class _Record:
    """The best of each image so far."""

    def __init__(self, victims: Victims, classes: int):
        count = len(victims)
        self._fooled = torch.zeros(count, dtype=torch.bool)
        self._queries = torch.zeros(count, dtype=torch.int64)
        self._images = victims.x.clone()
        self._scores = victims.scores.clone()
        self._order = torch.full((count,), -1, dtype=torch.int64)
        self._joined = 0
        self._best = victims.fitness.clone().nan_to_num(nan=torch.inf)

    def note(
        self,
        rows: Int[Tensor, " b"],
        evaluated: Evaluated,
        fitness: Float[Tensor, "b n"],
        success: Bool[Tensor, "b n"],
        spent: Int[Tensor, " b"],
    ) -> None:
        """Take note of a round."""
        self._queries[rows] = spent
        wins = success.any(1)
        rated = fitness.nan_to_num(nan=torch.inf)
        if rated.shape[1] > 1:
            rated = torch.where(success | ~wins[:, None], rated, torch.inf)
        best, member = rated.min(1)
        better = wins | (best < self._best[rows])
        some = better.nonzero().squeeze(1)
        if not len(some):
            return
        into, chosen = rows[some], member[some]
        self._best[into] = best[some]
        self._fooled[into] = wins[some]
        # Rows are copied faster than what is found by two indices.
        place = some * evaluated.images.shape[1] + chosen
        self._images.index_copy_(0, into, evaluated.images.flatten(0, 1).index_select(0, place))
        self._scores.index_copy_(0, into, evaluated.scores.flatten(0, 1).index_select(0, place))

    def join(self, rows: Int[Tensor, " b"]) -> None:
        """Images that join now."""
        self._order[rows] = torch.arange(self._joined, self._joined + len(rows))
        self._joined += len(rows)

    def evaded(self, line: Independent | Shared) -> Evaded:
        """What became of all."""
        tried, gene = torch.full_like(self._order, -1), torch.full_like(self._order, -1)
        pool = None
        if isinstance(line, Shared):
            pool = line.finish()
            for row, (count, won) in line.genes.items():
                tried[row], gene[row] = count, won
        return Evaded(self._fooled, self._queries, self._images, self._scores, self._order, tried, gene, pool)
