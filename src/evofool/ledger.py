"""The ledger: the only door to a classifier. It charges, caches, cuts into requests, retries, pads, and counts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .contracts import Answers, Classifier, Criterion, Status
from .delivery import Delivered, Delivery, StoppedError
from .errors import ClassifierError, DamagedRunError, TargetError
from .interrupts import undisturbed
from .schema import Batch
from .shapes import Bool, Float, Int, Tensor
from .store import Store

if TYPE_CHECKING:
    from .metered import MeteredModule

REMEMBERED = 100_000  # answers of one search that stay in the cache
LOCAL_CALLS = 20  # of a local classifier in one request: what a kill can lose
_SLICE = 0.1  # seconds between two looks at whether somebody pressed Ctrl-C

_ANSWERED, _FAILED, _UNSENT = (int(status) for status in (Status.ANSWERED, Status.FAILED, Status.UNSENT))


@dataclass(frozen=True)
class Counts:
    """Rows, by search [B], except `padded`.

    Attributes:
        issued: charged: an upper bound on what the classifier saw.
        answered: came back with scores.
        failed: issued, but without a usable answer.
        lost: issued by a process that died before it could store the answers.
        repeated: asked again by the same search and answered from the cache; not issued.
        padded: repeated rows that filled calls of a local classifier, over all searches of the run.
    """

    issued: Int[Tensor, " B"]
    answered: Int[Tensor, " B"]
    failed: Int[Tensor, " B"]
    lost: Int[Tensor, " B"]
    repeated: Int[Tensor, " B"]
    padded: int


def hashes(images: Float[Tensor, "N C H W"]) -> list[bytes]:
    """16 bytes for each image: of its gray levels if it lies on the 1/255 lattice, else of its floats."""
    return _hashed(images)[0]


def _hashed(images: Float[Tensor, "N C H W"]) -> tuple[list[bytes], bool]:
    """The hashes of images, and whether all lie on the lattice, and so in [0, 1]."""
    floats = np.ascontiguousarray(images.detach().flatten(1).numpy())
    back = np.multiply(floats, 255, dtype=np.float32)
    np.rint(back, out=back)
    with np.errstate(invalid="ignore"):  # what no byte can hold is found out below
        levels = back.astype(np.uint8)
    np.copyto(back, levels)
    back /= 255
    begun = hashlib.blake2b(digest_size=16, person=b"levels")
    names = []
    for row in levels:
        digest = begun.copy()  # which takes less than to begin anew
        digest.update(row)
        names.append(digest.digest())
    off = back != floats
    exact = not off.any()
    for i in [] if exact else np.flatnonzero(off.any(1)).tolist():
        names[i] = hashlib.blake2b(floats[i].data, digest_size=16, person=b"floats").digest()
    return names, exact


class Ledger:
    """A classifier behind a count, a cache and a budget.

    A request is charged in one transaction before it is sent, and its answers are stored in another. So what is charged
    is never less than what the classifier saw, whenever the process dies. A batch that does not fit is split at the
    budget's edge: the rows that come first in it are sent, the rest comes back `unsent`. An image that the same search
    has asked about before is answered from the cache, which holds the last 100,000 answers of each search.

    A local classifier gets requests of 20 calls of `info.micro_batch` rows, padded as `calls` has it. A remote one gets
    requests of that size, unpadded, `info.concurrency` of them at a time. What becomes of a request that fails stands
    in `Delivery`; whatever is sent again is charged again, as far as the budget reaches.

    Args:
        classifier: what is asked.
        searches: how many share it, or their names; each has an account of its own.
        budget: the most rows that one search may ask; None = no limit.
        total: the most rows that the run may ask; None = no limit.
        cache: answer a repeated image from the cache; without it, it is sent again.
        store: where the books are kept; None = in memory.
        chain: the name under which batches are stored one after another.
        tries: how often a request to a metered classifier is sent; None = 5.
        sleep: waits between two tries; None = a wait that Ctrl-C ends.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        searches: int | Sequence[str],
        budget: int | None = None,
        total: int | None = None,
        cache: bool = True,
        store: Store | None = None,
        chain: str = "",
        tries: int | None = None,
        sleep: Callable[[float], None] | None = None,
    ):
        for name, limit in (("budget", budget), ("total", total)):
            if limit is not None and limit < 1:
                raise ClassifierError(f"{name} = {limit}: expected at least one query, or no limit")
        self.classifier = classifier
        self.searches = [str(i) for i in range(searches)] if isinstance(searches, int) else list(searches)
        self.budget = budget
        self.total = total
        self.chain = chain
        self.batches = 0  # of the chain that this ledger has been through, by sending or by taking them
        self._counted: tuple[bytes, Counter[str]] = b"", Counter()
        self._needed = np.zeros(len(self.searches), dtype=np.int64)
        self.store = store or Store()
        self.store.open_accounts(self.searches)
        self._durable = store is not None
        self._cache: list[dict[bytes, bytes]] | None = [{} for _ in self.searches] if cache else None
        self._delivery = Delivery(classifier, tries=tries, sleep=sleep, on_smaller=self._note_smaller)

    @property
    def counts(self) -> Counts:
        """How many rows were asked so far."""
        accounts = self.store.counts()
        issued, answered, failed, lost, repeated = (
            torch.tensor([accounts[search][name] for search in self.searches], dtype=torch.int64)
            for name in ("issued", "answered", "failed", "lost", "repeated")
        )
        return Counts(issued, answered, failed, lost, repeated, self.store.padded())

    @property
    def needed(self) -> Int[Tensor, " B"]:
        """Rows that each search has had sent so far, as its course needs them.

        The same for a run that was killed and resumed as for one that was not; what that cost besides is in `counts`.
        """
        return torch.from_numpy(self._needed.copy())

    def ask(
        self,
        images: Float[Tensor, "N C H W"],
        search: Int[Tensor, " N"],
        key: tuple[object, ...] = (),
        *,
        fresh: bool = False,
    ) -> Answers:
        """Ask the classifier about a batch.

        Args:
            images: in [0, 1]; those that are to be saved as they were sent lie on the 1/255 lattice.
            search: the search that pays for each row, 0 to searches - 1.
            key: what the batch is, unique within the chain, such as (generation,). In a run directory its answers are
                stored under it; asked again after a restart they are taken from there, neither issued nor repeated.
            fresh: send everything, whatever is cached; the cache then has these answers.

        Raises:
            TargetError: a request failed as a whole; its rows stay charged.
            ClassifierError: the shapes do not fit, or declared probabilities are none.
            DamagedRunError: other images were asked under this key before.
        """
        info = self.classifier.info
        if tuple(images.shape[1:]) != info.image_shape:
            raise ClassifierError(
                f"images of shape {tuple(images.shape[1:])} for {info.name}, which expects {info.image_shape} (C, H, W)"
            )
        if not len(images):
            return Answers(torch.empty(0, len(info.class_names)), torch.empty(0, dtype=torch.int8))
        keep = self._durable and bool(key)
        names, exact = _hashed(images) if keep or self._cache is not None else ([], False)
        if not exact:
            low, high = (float(level) for level in images.detach().aminmax())
            if not (low >= 0 and high <= 1):  # nor NaN
                raise ClassifierError(
                    f"images from {low:.4g} to {high:.4g} for {info.name}; expected [0, 1]: are they normalised "
                    f"already? Give them as they are: what the classifier wants is done inside"
                )
        self._delivery.begin()
        batch = _Asked(images, search, names, len(info.class_names))
        assert batch.payer.min() >= 0, "rows of a search that is not there"
        wanted, copies = batch.split(None if fresh else self._cache)
        hits = batch.payer[batch.status == _ANSWERED]
        size = info.micro_batch * (1 if info.remote else LOCAL_CALLS)
        requests = [
            _Request(key, part, wanted[first : first + size]) for part, first in enumerate(_starts(wanted, size))
        ]

        waiting = [r for r in requests if not (keep and self._taken(batch, r))]
        requests[0].hits = hits  # where its answers are taken from the store, these were counted then
        for together in self._together(waiting):
            with undisturbed(self._durable) as held:
                self._reserve(batch, together)
                self._send_all(batch, together, copies, held, keep=keep)
        self.batches += len(requests) if keep else 0
        self._note_needed(batch.payer[wanted], batch.status[wanted])
        for i, first in copies:
            batch.scores[i], batch.status[i] = batch.scores[first], batch.status[first]
        if self._cache is not None:
            # Only what was sent, as in `recall`: there, a hit that this batch evicts would not come in again.
            names = batch.names(wanted)
            self._remember(names, batch.payer[wanted].tolist(), batch.scores[wanted], batch.status[wanted])
        return Answers(torch.from_numpy(batch.scores), torch.from_numpy(batch.status))

    @contextmanager
    def keeping(self, each: int, of: int) -> Iterator[None]:
        """Ask so that something is left for later.

        Args:
            each: rows of the budget of each search that are kept back; the ledger has to have more.
            of: searches for which as many are kept back of the budget for all.
        """
        budget, total = self.budget, self.total
        self.budget = None if budget is None else budget - each
        self.total = None if total is None else total - each * of
        try:
            yield
        finally:
            self.budget, self.total = budget, total

    def repeats(self, images: Float[Tensor, "N C H W"], search: Int[Tensor, " N"]) -> Bool[Tensor, " N"]:
        """Which rows `ask` would not send, because the same search has asked about the same image before."""
        repeated = torch.ones(len(images), dtype=torch.bool)
        wanted, _ = _Asked(images, search, hashes(images), len(self.classifier.info.class_names)).split(self._cache)
        repeated[wanted] = False
        return repeated

    def answered_before(self, key: tuple[object, ...]) -> bool:
        """Whether the store has answers to a batch of the chain, so that asking it goes by what happened then."""
        return self._durable and self.store.get(self.chain, _name(key, 0)) is not None

    def recall(self, batches: int) -> None:
        """Fill the cache from the first stored batches of the chain, for a search that goes on after them.

        Raises:
            DamagedRunError: they have changed, or belong to other searches or another classifier.
        """
        self.batches = batches
        self._needed[:] = 0  # those that this ledger has been through are among them
        for batch in self.store.batches(self.chain, batches):
            self._check(batch)
            self._note_needed(batch.search, batch.status)
            if self._cache is None:
                continue
            names = [row.tobytes() for row in batch.hashes]
            self._remember(names, batch.search.tolist(), batch.scores, batch.status)

    def as_torch_module(
        self,
        originals: Float[Tensor, "B C H W"],
        labels: Int[Tensor, " B"],
        criterion: Criterion,
    ) -> MeteredModule:
        """A `torch.nn.Module` for other people's attacks, which then asks through this ledger; see `metered`."""
        from .metered import MeteredModule

        return MeteredModule(self, originals, labels, criterion)

    @property
    def _at_a_time(self) -> int:
        """Requests that are made at a time; a classifier may take more than it lets be in flight."""
        return self.classifier.info.concurrency + int(getattr(self.classifier, "ahead", 0))

    # One batch, step by step --------------------------------------------------------------------------------------

    def _together(self, requests: list[_Request]) -> list[list[_Request]]:
        """Those that are sent side by side: all, where several are on their way at a time; else one after another."""
        return [requests] if self._at_a_time > 1 and requests else [[request] for request in requests]

    def _reserve(self, batch: _Asked, requests: list[_Request]) -> None:
        """Decide which rows the budgets reach, in the order of the batch; charge a single request at once."""
        with self.store.transaction():
            sent = self._affordable(batch.payer[np.concatenate([request.rows for request in requests])])
            for request in requests:
                reached, sent = sent[: len(request.rows)], sent[len(request.rows) :]
                request.keep(reached)
            if len(requests) == 1:
                self._charge(batch, requests[0], requests[0].going)

    def _charge(self, batch: _Asked, request: _Request, rows: np.ndarray) -> None:
        """Charge a request for rows that are to be sent; inside a transaction."""
        request.charged, request.bill = rows, self._rows(batch.payer[rows])
        request.attempt = self._open(request)

    def _open(self, request: _Request) -> int:
        return self.store.open_attempt(self.chain, request.name, request.bill)

    def _affordable(self, payer: np.ndarray) -> np.ndarray:
        """Which rows the budgets still reach, taken in the order of the batch."""
        sent = np.ones(len(payer), dtype=bool)
        if self.budget is not None and len(payer):
            rows = self._rows(payer)
            issued = self.store.issued(list(rows))
            if max(issued) + max(rows.values()) > self.budget:  # else there is nothing to look at one by one
                left = {search: self.budget - count for search, count in zip(rows, issued, strict=True)}
                for i, search in enumerate(self._payers(payer)):
                    sent[i] = left[search] > 0
                    left[search] -= 1
        if self.total is not None:
            sent &= self.store.total() + sent.cumsum() <= self.total
        return sent

    def _payers(self, payer: np.ndarray) -> list[str]:
        """The search that pays for each row."""
        return [self.searches[s] for s in payer.tolist()]

    def _rows(self, payer: np.ndarray) -> Counter[str]:
        """Rows by the search that pays for them; what this takes depends on these rows, not on who else is there.

        Not to be changed: who pays for one batch mostly pays for the next one too, and is counted once.
        """
        names, found = self._counted
        if (asked := payer.tobytes()) != names:
            found = Counter(self._payers(payer))
            self._counted = asked, found
        return found

    def _send_all(
        self,
        batch: _Asked,
        requests: list[_Request],
        copies: list[tuple[int, int]],
        held: list[int],
        *,
        keep: bool,
    ) -> None:
        """Send requests that are charged, as many at a time as the classifier allows."""

        def send(request: _Request) -> None:
            if not request.attempt:
                # What waits for its turn is charged when it has come: a kill loses no more than was on its way.
                if held or self._delivery.stopped:
                    raise StoppedError(f"{self.classifier.info.name}: not sent, because the run is stopped", fatal=True)
                with self.store.transaction():
                    request.keep(self._affordable(batch.payer[request.going]))  # others may have been sent again
                    self._charge(batch, request, request.going)
            done = self._send(batch, request, held)
            rows, status = request.rows, batch.status[request.rows]
            repeated = Counter(self._rows(request.hits)) if len(request.hits) else Counter()
            if copies:
                sent = set(rows[status != _UNSENT].tolist())
                repeated.update(self._payers(batch.payer[[i for i, first in copies if first in sent]]))
            outcome = {**self._outcome(batch, request), "repeated": repeated}
            with self.store.transaction():
                self.store.close_attempt(request.attempt, outcome, padded=done.padded, failed=False)
                if keep:
                    names = np.frombuffer(b"".join(batch.names(rows)), np.uint8)
                    kept = Batch(names.reshape(-1, 16), batch.payer[rows], batch.scores[rows], status)
                    self.store.put(self.chain, request.name, kept)

        concurrency = min(self._at_a_time, len(requests))
        if concurrency <= 1:
            for request in requests:
                send(request)
            return
        threads = ThreadPoolExecutor(concurrency)
        futures = [threads.submit(send, request) for request in requests]
        try:
            left = set(futures)
            while left and not any(future.exception() for future in futures if future.done()):
                _, left = wait(left, timeout=_SLICE, return_when=FIRST_EXCEPTION)  # signals are heard in between
        finally:
            # After an error, or a second Ctrl-C: what waits for its turn is never sent, and nothing is sent again.
            if not all(future.done() for future in futures):
                self._delivery.stop()
            threads.shutdown(wait=True, cancel_futures=True)
        errors = [error for future in futures if not future.cancelled() and (error := future.exception())]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, StoppedError))  # the one that ended the others

    def _send(self, batch: _Asked, request: _Request, held: list[int]) -> Delivered:
        """Get one request answered, with the books kept."""
        info = self.classifier.info
        rows = request.going
        images = batch.images if len(rows) == len(batch.images) else batch.images[torch.from_numpy(rows)]
        try:
            done = self._delivery.deliver(images, _Charged(self, batch, request), held)
        except ClassifierError:  # it answers, but not as it declares
            with self.store.transaction():
                self.store.close_attempt(request.attempt, {"failed": request.bill}, padded=0, failed=True)
            raise
        except TargetError as error:
            where = f" (batch {', '.join(map(str, request.key))})" if request.key else ""
            message = f"{info.name} failed to answer{where}: {error}"
            kind = StoppedError if isinstance(error, StoppedError) else TargetError
            raise kind(message, retry_after=error.retry_after, fatal=error.fatal) from error
        _write_down(batch, request.going, done)
        return done

    def _outcome(self, batch: _Asked, request: _Request) -> dict[str, Counter[str]]:
        """What came of the rows that a request is charged for."""
        payer, status = batch.payer[request.charged], batch.status[request.charged]
        if (status == _ANSWERED).all():
            return {"answered": request.bill}
        return {"answered": self._rows(payer[status == _ANSWERED]), "failed": self._rows(payer[status == _FAILED])}

    def _note_needed(self, payer: np.ndarray, status: np.ndarray) -> None:
        np.add.at(self._needed, payer[status != _UNSENT], 1)

    def _note_smaller(self, size: int) -> None:
        self.store.note(f"{self.classifier.info.name}: out of memory, so {size} rows in a call")

    def _taken(self, batch: _Asked, request: _Request) -> bool:
        """Take the answers of a request that was answered before this process was born, if it was."""
        stored = self.store.get(self.chain, request.name)
        if stored is None:
            return False
        if stored.hashes.tobytes() != b"".join(batch.names(request.rows)):
            raise DamagedRunError(
                f"{self.chain}: batch {request.name} asked about other images when it was first sent; the code, "
                "the data or a setting has changed since: resume with what wrote it"
            )
        self._check(stored)
        batch.scores[request.rows], batch.status[request.rows] = stored.scores, stored.status
        return True

    def _check(self, stored: Batch) -> None:
        """What was stored fits the classifier and the searches."""
        classes = len(self.classifier.info.class_names)
        fits = stored.scores.shape[1] == classes and bool(np.isin(stored.status, [_ANSWERED, _FAILED, _UNSENT]).all())
        if not fits or bool(((stored.search < 0) | (stored.search >= len(self.searches))).any()):
            raise DamagedRunError(
                f"{self.chain}: stored answers are not those of {len(self.searches)} searches over {classes} classes; "
                "restore the run from a copy"
            )

    def _remember(self, names: Sequence[bytes], payer: Sequence[int], scores: np.ndarray, status: np.ndarray) -> None:
        assert self._cache is not None
        answers, width = scores.tobytes(), scores.shape[1] * scores.itemsize
        for i in np.flatnonzero(status == _ANSWERED).tolist():
            memory = self._cache[payer[i]]
            memory[names[i]] = answers[i * width : (i + 1) * width]
            if len(memory) > REMEMBERED:
                del memory[next(iter(memory))]


class _Asked:
    """A batch on its way: what is asked, and what is known of the answers so far."""

    def __init__(self, images: Tensor, search: Tensor, names: list[bytes], classes: int):
        self.images = images
        self.payer = search.numpy()
        self.hashes = names
        self.scores = np.full((len(images), classes), np.nan, dtype=np.float32)
        self.status = np.full(len(images), _UNSENT, dtype=np.int8)

    def split(self, cache: list[dict[bytes, bytes]] | None) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Answer from the cache what can be; tell which rows are to be sent, and which repeat one of those."""
        if cache is None:
            return np.arange(len(self.images)), []
        payer = self.payer.tolist()
        known = [cache[search].get(name) for search, name in zip(payer, self.hashes, strict=True)]
        if not any(known) and len(set(self.hashes)) == len(self.hashes):  # as most batches are
            return np.arange(len(self.images)), []
        wanted, copies = [], []
        first: dict[tuple[int, bytes], int] = {}
        for i, answer in enumerate(known):
            if answer is not None:
                self.scores[i], self.status[i] = np.frombuffer(answer, np.float32), _ANSWERED
            elif (earlier := first.setdefault((payer[i], self.hashes[i]), i)) != i:
                copies.append((i, earlier))
            else:
                wanted.append(i)
        return np.array(wanted, dtype=np.int64), copies

    def names(self, rows: np.ndarray) -> list[bytes]:
        """The hashes of some rows."""
        return self.hashes if len(rows) == len(self.hashes) else [self.hashes[i] for i in rows.tolist()]


class _Charged:
    """The books of one request while it is on its way: see `delivery.Books`."""

    def __init__(self, ledger: Ledger, batch: _Asked, request: _Request):
        self._ledger, self._batch, self._request = ledger, batch, request

    def failed(self, done: Delivered, rows: Sequence[int], never_sent: Sequence[int]) -> None:
        ledger, batch, request = self._ledger, self._batch, self._request
        lost, back = (request.going[np.array(some, dtype=np.int64)] for some in (rows, never_sent))
        _write_down(batch, request.going, done)
        request.charged = np.setdiff1d(request.charged, np.concatenate([lost, back]))
        request.bill = ledger._rows(batch.payer[request.charged])
        outcome = ledger._outcome(batch, request)
        outcome["failed"] = outcome.get("failed", Counter()) + ledger._rows(batch.payer[lost])
        taken_back = ledger._rows(batch.payer[back])
        with ledger.store.transaction():
            ledger.store.close_attempt(request.attempt, outcome, padded=0, failed=True, never_sent=taken_back)
        request.settle()

    def again(self, done: Delivered, rows: Sequence[int]) -> list[int]:
        ledger, batch, request = self._ledger, self._batch, self._request
        _write_down(batch, request.going, done)
        with ledger.store.transaction():
            if request.attempt:
                ledger.store.close_attempt(request.attempt, ledger._outcome(batch, request), padded=0, failed=False)
            again = np.array(rows, dtype=np.int64)
            again = again[ledger._affordable(batch.payer[request.going[again]])]
            if len(again):
                ledger._charge(batch, request, request.going[again])
            else:
                request.settle()
        return again.tolist()


def _write_down(batch: _Asked, rows: np.ndarray, done: Delivered) -> None:
    batch.scores[rows], batch.status[rows] = done.scores, done.status


class _Request:
    """Rows of a batch that are sent, charged and stored together.

    Attributes:
        rows: of the batch.
        going: those of them that are sent.
        attempt: what it is charged under; 0 = nothing is open.
        charged: the rows that this attempt pays for.
        bill: these, counted by search.
        hits: who pays for the rows that the cache answers and this request counts.
    """

    def __init__(self, key: tuple[object, ...], part: int, rows: np.ndarray):
        self.key = key
        self.name = _name(key, part)
        self.rows = rows
        self.going = rows
        self.hits = rows[:0]
        self.settle()

    def settle(self) -> None:
        """Nothing is open any more."""
        self.attempt = 0
        self.charged = self.rows[:0]
        self.bill: Counter[str] = Counter()

    def keep(self, reached: np.ndarray) -> None:
        """Send only those that are still to be sent and that the budget reaches."""
        if not reached.all():
            self.going = self.going[reached]


def _name(key: tuple[object, ...], part: int) -> str:
    """Under which a request is stored: the part of a batch."""
    return ".".join(map(str, (*key, part)))


def _starts(wanted: np.ndarray, size: int) -> range:
    """Where requests begin; there is always one, which carries the count of repeats."""
    return range(0, max(1, len(wanted)), size)
