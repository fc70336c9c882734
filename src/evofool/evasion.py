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
from typing import Any, NamedTuple, Protocol

import torch

from . import genome
from .contracts import ClassifierInfo, Criterion, Encoding, Evaluated, Objective, Status, Victims
from .errors import SpecError
from .ledger import Ledger
from .pool import Pool, empty
from .rng import Stream, search_id
from .search import Progress, evaluate
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


class Keeps(Protocol):
    """Who keeps where an attack stands, so that it can go on from there; see `checkpoint.Checkpoints`."""

    def load(self, like: Progress) -> Progress | None:
        """The last one that was kept, of the layout of `like`, with the ledger brought to where it was."""
        ...

    def __call__(self, where: Callable[[], Progress]) -> None:
        """Keep it, if it is time; `where` says where it stands, which may take a while."""
        ...


@dataclass(frozen=True)
class Air:
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

    def stream(self, rounds: Int[Tensor, " b"]) -> Stream:
        """The random numbers of a round, which is another one for images that did not join together."""
        told = rounds.tolist()
        first: int = told[0]
        return self.rng.at(first if told.count(first) == len(told) else told)


@dataclass
class Record:
    """The best of each image so far; see `Evaded`. It is written where it lies: there may be many images.

    Attributes:
        best: the margin of each.
    """

    fooled: Bool[Tensor, " N"]
    queries: Int[Tensor, " N"]
    images: Float[Tensor, "N C H W"]
    scores: Float[Tensor, "N K"]
    order: Int[Tensor, " N"]
    best: Float[Tensor, " N"]

    @staticmethod
    def begun(victims: Victims) -> Record:
        """Before the first round."""
        none = torch.zeros(len(victims), dtype=torch.int64)
        best = victims.fitness.clone().nan_to_num(nan=torch.inf)
        return Record(none.bool(), none, victims.x.clone(), victims.scores.clone(), none - 1, best)

    def note(
        self,
        rows: Int[Tensor, " b"],
        evaluated: Evaluated,
        fitness: Float[Tensor, "b n"],
        success: Bool[Tensor, "b n"],
        spent: Int[Tensor, " b"],
    ) -> None:
        """Take note of a round."""
        self.queries[rows] = spent
        wins = success.any(1)
        rated = fitness.nan_to_num(nan=torch.inf)
        if rated.shape[1] > 1:
            rated = torch.where(success | ~wins[:, None], rated, torch.inf)
        best, member = rated.min(1)
        better = wins | (best < self.best[rows])
        some = better.nonzero().squeeze(1)
        if not len(some):
            return
        into, chosen = rows[some], member[some]
        self.best[into] = best[some]
        self.fooled[into] = wins[some]
        # Rows are copied faster than what is found by two indices.
        place = some * evaluated.images.shape[1] + chosen
        self.images.index_copy_(0, into, evaluated.images.flatten(0, 1).index_select(0, place))
        self.scores.index_copy_(0, into, evaluated.scores.flatten(0, 1).index_select(0, place))

    def join(self, rows: Int[Tensor, " b"]) -> None:
        """Images that join now."""
        first = int(self.order.max()) + 1 if len(self.order) else 0
        self.order[rows] = torch.arange(first, first + len(rows))


@dataclass(frozen=True)
class Standing:
    """Where an attack stands between two rounds; with what `Progress` says, all that it takes to go on.

    Attributes:
        air, parked: images that are under way, and that wait for a larger budget.
        record: the best of each image.
        spent: charged for each, [N].
        line: who joins when, of `sharing`.
        limit: the most queries of an image just now, [1].
    """

    air: Air
    parked: Air
    record: Record
    spent: Int[Tensor, " N"]
    line: Any
    limit: Int[Tensor, " 1"]


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


def asked_again(
    images: Float[Tensor, "b C H W"],
    payer: Int[Tensor, " b"],
    labels: Int[Tensor, " b"],
    times: int,
    *,
    ledger: Ledger,
    key: tuple[object, ...],
) -> Evaluated:
    """Answers [b times K] for images that fooled, each asked about anew so many times, whatever is cached."""
    answers = ledger.ask(images.repeat_interleave(times, 0), payer.repeat_interleave(times), key, fresh=True)
    scores, status = answers.scores.unflatten(0, (-1, times)), answers.status.unflatten(0, (-1, times))
    copies = images[:, None].expand(-1, times, -1, -1, -1)
    return Evaluated(copies, copies, None, scores, labels[:, None].expand(-1, times), status)


def each_time(again: Evaluated, criterion: Criterion, info: ClassifierInfo) -> Bool[Tensor, " b"]:
    """Which of these images fooled each time that they were asked about."""
    return (criterion(again, info) & (again.status == Status.ANSWERED)).all(1)


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
    confirm: int = 0,
    keeps: Keeps | None = None,
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
        confirm: how often what fooled is asked about again. It is a success only if it fools each time; else the search
            goes on. For one success these queries are kept back from every budget; the queries of a search do not hold
            those of its success, but those of what did not hold.
        keeps: keeps where the attack stands, and knows where an earlier one stood.
        on_round: told after each round of all images in the air how many images are finished with it, and how many of
            them fooled.

    Raises:
        SpecError: there is no budget: a search that never fools would never end.
    """
    limit = budget or ledger.budget
    if limit is None or (ledger.budget is None and ledger.total is None):
        raise SpecError("an attack needs a budget: the most queries of one image")
    info = ledger.classifier.info
    sharing: Sharing | None = getattr(algorithm, "sharing", None)
    line: Independent | Shared = Independent(
        len(victims), at_once or _at_once(info, algorithm, alone=ledger.total is None)
    )
    if sharing is not None:
        line = Shared(
            len(victims), sharing, algorithm, empty(info.image_shape, len(info.class_names)) if pool is None else pool
        )
    rng = Stream(list(seeds), image_ids(victims.x, victims.labels))
    parts = _Parts(algorithm, getattr(algorithm, "asks", None) or encoding, encoding, objective, criterion)
    flight = _Flight(victims, accounts, rng, parts, ledger, line, limit, confirm)
    tell = on_round or (lambda over, fooled: None)
    if keeps and (progress := keeps.load(flight.progress())):
        flight.go_on(progress)
        tell(int((~progress.running).sum()), int(progress.success.sum()))
    while flight.board():
        tell(*flight.round())
        if keeps:
            keeps(flight.progress)
    if flight.waiting:
        tell(flight.waiting, 0)
    return flight.land()


class _Parts(NamedTuple):
    """What an attack is made of; `asks`: where it looks."""

    algorithm: Any
    asks: Any
    encoding: Limit
    objective: Objective
    criterion: Criterion


class _Flight:
    """An attack under way; see `evade`."""

    def __init__(
        self,
        victims: Victims,
        accounts: Int[Tensor, " N"],
        rng: Stream,
        parts: _Parts,
        ledger: Ledger,
        line: Independent | Shared,
        limit: int,
        confirm: int,
    ):
        self._victims, self._accounts, self._rng, self._parts = victims, accounts, rng, parts
        self._ledger, self._line, self._limit, self._step = ledger, line, limit, limit
        self._confirm = confirm
        self._extends = ledger.budget is None
        if self._extends:  # each image keeps to its own budget until all have had it
            ledger.budget = limit
        self._record = Record.begun(victims)
        self._before = ledger.needed[accounts]
        self._spent = self._before.clone()
        self._air: Air | None = None
        self._parked: Air | None = None
        self._crew: _Crew | None = None
        self._tick = 0

    @property
    def waiting(self) -> int:
        """Images that were not fooled, and have had all that there was."""
        return len(self._parked.rows) if self._parked else 0

    def board(self) -> bool:
        """Let images join as far as there is room; whether any are in the air."""
        for coming in self._line.coming(len(self._air.rows) if self._air else 0):
            rows = torch.tensor(coming)
            self._air = _joined(self._air, self._born(rows))
            self._record.join(rows)
        if self._air is None and self._parked and self._goes_on():
            self._air, self._parked, self._limit = self._parked, None, self._limit + self._step
            self._ledger.budget = self._limit
        return self._air is not None

    def round(self) -> tuple[int, int]:
        """Ask about all images in the air once; how many are finished with it, and how many of them fooled."""
        parts, air, info = self._parts, self._air, self._ledger.classifier.info
        assert air is not None, "nobody is in the air"
        if self._crew is None or self._crew.rows is not air.rows:
            self._crew = self._crew_of(air.rows)
        crew = self._crew
        asked = self._of_pool(parts.algorithm.ask)(air.state, crew.stream(air.rounds))
        with self._ledger.keeping(self._confirm, self._open):
            evaluated = evaluate(
                parts.asks.repair(asked, crew.x),
                encoding=parts.asks,
                ledger=self._ledger,
                x=crew.x,
                labels=crew.labels,
                searches=crew.payer,
                key=(self._tick,),
            )
        answered = evaluated.status == Status.ANSWERED
        all_told = bool(answered.all())
        fitness, success = parts.objective(evaluated, info), parts.criterion(evaluated, info)
        if not all_told:
            fitness, success = torch.where(answered, fitness, torch.nan), success & answered
        allowed = fitness
        if parts.asks is not parts.encoding:
            within = parts.encoding.holds(evaluated.images, crew.x)
            success, allowed = success & within, torch.where(within, fitness, torch.nan)
        elif len(claimed := success.any(1).nonzero().squeeze(1)):
            # Whoever decoded it: what is claimed keeps the limit.
            within = parts.encoding.holds(evaluated.images[claimed], crew.x[claimed])
            success = success.index_copy(0, claimed, success[claimed] & within)
        before, spent = self._spent[air.rows], self._ledger.needed[crew.payer]
        until = spent  # of those that fool now
        if self._confirm and bool(success.any()):
            fitness, success = self._confirmed(evaluated, fitness, success)
            allowed = torch.where(allowed.isnan(), allowed, fitness)
            spent = self._ledger.needed[crew.payer]
        wins = success.any(1)
        told = answered.all(1) if all_told else (evaluated.status != Status.UNSENT).all(1)
        self._spent[air.rows] = spent
        idle = torch.where(spent > before, 0, air.idle + 1)
        self._record.note(air.rows, evaluated, allowed, success, torch.where(wins, until, spent) - crew.before)
        pauses = ~wins & ((spent >= self._limit - self._confirm) | (idle >= IDLE) | ~told)
        ends = ~told | wins | pauses
        state = parts.algorithm.tell(air.state, evaluated, fitness, success)
        if not all_told and not bool(told.all()):  # what was not asked teaches nothing
            state = genome.choose(told, state, air.state)
        flown = Air(air.rows, air.rounds + 1, idle, state)
        self._line.note(air.rows, flown.rounds, state, ends)
        waits = (pauses & (idle < IDLE)).nonzero().squeeze(1)
        if not self._extends:
            waits = waits[:0]
        if len(waits):
            self._parked = _joined(self._parked, genome.rows(flown, waits))
        stay = (~ends).nonzero().squeeze(1)
        self._air = flown if len(stay) == len(ends) else genome.rows(flown, stay) if len(stay) else None
        self._tick += 1
        return len(ends) - len(stay) - len(waits), int(wins.sum())

    def _confirmed(
        self, evaluated: Evaluated, fitness: Float[Tensor, "b n"], success: Bool[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b n"], Bool[Tensor, "b n"]]:
        """Of each image, the best that fooled, if it fools each time that it is asked about again.

        If not, its margin is the highest that was seen.
        """
        assert self._crew is not None
        crew, parts, info = self._crew, self._parts, self._ledger.classifier.info
        rows = success.any(1).nonzero().squeeze(1)
        member = torch.where(success, fitness, torch.inf)[rows].argmin(1)
        again = asked_again(
            evaluated.images[rows, member],
            crew.payer[rows],
            crew.labels[rows],
            self._confirm,
            ledger=self._ledger,
            key=(self._tick, "again"),
        )
        holds = each_time(again, parts.criterion, info)
        margins = torch.where(again.status == Status.ANSWERED, parts.objective(again, info), -torch.inf).amax(1)
        worst = torch.maximum(margins, fitness[rows, member])
        fitness, confirmed = fitness.clone(), torch.zeros_like(success)
        fitness[rows, member] = torch.where(holds, fitness[rows, member], worst)
        confirmed[rows, member] = holds
        return fitness, confirmed

    def land(self) -> Evaded:
        """What became of all."""
        if self._extends:
            self._ledger.budget = None
        record, line = self._record, self._line
        tried = gene = torch.full_like(record.order, -1)
        pool = None
        if isinstance(line, Shared):
            pool, tried, gene = line.finish(), line.tried, line.gene
        return Evaded(record.fooled, record.queries, record.images, record.scores, record.order, tried, gene, pool)

    def progress(self) -> Progress:
        """Where it stands."""
        record, nobody = self._record, self._born(torch.zeros(0, dtype=torch.int64))
        air, parked = self._air or nobody, self._parked or nobody
        running = (record.order < 0).index_fill(0, torch.cat([air.rows, parked.rows]), value=True)
        line = self._line.standing(nobody.state)
        standing = Standing(air, parked, record, self._spent, line, torch.tensor([self._limit]))
        return Progress(self._tick, standing, running, record.fooled)

    def go_on(self, progress: Progress) -> None:
        """Stand where an earlier one stood."""
        standing: Standing = progress.state
        self._tick, self._limit = progress.generation, int(standing.limit)
        self._air = standing.air if len(standing.air.rows) else None
        self._parked = standing.parked if len(standing.parked.rows) else None
        self._record, self._spent = standing.record, standing.spent
        self._line.go_on(standing.line)
        if self._extends:
            self._ledger.budget = self._limit

    @property
    def _open(self) -> int:
        """Images that may still be fooled."""
        return int((~self._record.fooled).sum()) if self._confirm else 0

    def _goes_on(self) -> bool:
        """Whether anything is left of the budget of all together; of rounds made again, whether it was then."""
        ledger = self._ledger
        spent = ledger.total is not None and ledger.store.total() >= ledger.total - self._confirm * self._open
        return not spent or ledger.answered_before((self._tick,))

    def _born(self, rows: Int[Tensor, " b"]) -> Air:
        zeros = torch.zeros_like(rows)
        return Air(rows, zeros, zeros, self._of_pool(self._parts.algorithm.init)(rows_of(self._victims, rows)))

    def _of_pool(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method of the algorithm, with the pool where it shares one."""
        pool = self._line.pool
        return method if pool is None else lambda *given: method(*given, pool)

    def _crew_of(self, rows: Int[Tensor, " b"]) -> _Crew:
        victims = rows_of(self._victims, rows)
        return _Crew(
            rows, victims.x, victims.labels, self._accounts[rows], self._rng.rows(rows.tolist()), self._before[rows]
        )


def _at_once(info: ClassifierInfo, algorithm: Any, *, alone: bool) -> int:
    """Images in the air. Where they share a budget, who is in the air decides who is asked about before it is spent."""
    calls = 2 * info.micro_batch
    rows = calls
    if alone and not info.remote:
        held = algorithm.numbers(info.image_shape) if hasattr(algorithm, "numbers") else 0
        rows = max(calls, IN_AIR // max(math.prod(info.image_shape), held // 8))
    return max(1, rows // getattr(algorithm, "together", 1))


def _joined(first: Air | None, second: Air) -> Air:
    return second if first is None else genome.join(first, second)
