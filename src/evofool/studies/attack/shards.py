"""Attacks some images side by side."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ... import objectives, recipes, rundir, runs
from ... import pool as pools
from ...bisection import bisect
from ...classifiers.support.settings import Settings
from ...contracts import Classifier, ClassifierInfo, Evaluated, Status
from ...encodings.perturbation import changed, distance
from ...errors import ClassifierError, DamagedRunError
from ...evasion import Evaded, evade, image_ids, rows_of, victims_of
from ...executors.local import Tick
from ...ledger import Ledger
from ...pool import Pool
from ...recipes import Setting
from ...rundir import NO_LABEL, Finding
from ...runs import Shown
from ...shapes import Bool, Float, Int, Tensor
from ...shrink import Shrunk, shrink
from ...store import Store
from ...threat import threat
from .given import Config, chosen, goal_of, wanted
from .results import Attacked, Outcome, Shrinking, attacked_from


@dataclass(frozen=True)
class Shard:
    """Some images: what one worker does at a time.

    Attributes:
        config: of the whole attack.
        numbers: of the images, in the order of the attack.
        place: of the first of them in that order.
        sources, fingerprints: how classifiers are loaded, and what they have to be.
        directory: of the run, "" without one.
    """

    config: Config
    numbers: tuple[int, ...]
    place: int
    sources: Mapping[str, Settings] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    directory: str = ""

    @property
    def name(self) -> str:
        """What it is in the ledger and in messages."""
        return f"images {self.place} to {self.place + len(self.numbers) - 1}"

    @property
    def evaluations(self) -> int:
        """Images."""
        return len(self.numbers)


@dataclass(frozen=True)
class Try:
    """The best attempt at an image that was not fooled.

    Attributes:
        number: of the image.
    """

    number: int


@dataclass(frozen=True)
class Done:
    """What a shard comes to.

    Attributes:
        images: in the order of the attack.
        findings: what fooled; numbers are given at the end.
        tries: the best attempts at the others.
        seconds: how long it took.
        accounts, padded: rows by image and kind, where there are no books on disk.
        pool: after all of them, as a file; "" without.
        distinct: images that were asked about, each counted once for each search that asked; -1 = not counted: the
            cache sees to that, or there are no books on disk.
    """

    images: list[Attacked]
    findings: list[Shown]
    tries: list[Shown]
    seconds: float
    accounts: dict[str, dict[str, int]] = field(default_factory=dict)
    padded: int = 0
    pool: bytes = b""
    distinct: int = -1

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it; a pool lies in a file of its own."""
        return {
            "images": [dataclasses.asdict(image) for image in self.images],
            "findings": [shown.to_json() for shown in self.findings],
            "tries": [shown.to_json() for shown in self.tries],
            "seconds": round(self.seconds, 3),
            "distinct": self.distinct,
        }

    @staticmethod
    def from_json(raw: Any) -> Done:
        """The inverse of `to_json`.

        Raises:
            DamagedRunError: it is not what a shard wrote.
        """
        try:
            return Done(
                images=[attacked_from(row) for row in raw["images"]],
                findings=[Shown.from_json(Finding, shown) for shown in raw["findings"]],
                tries=[Shown.from_json(Try, shown) for shown in raw["tries"]],
                seconds=float(raw["seconds"]),
                distinct=int(raw["distinct"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedRunError(
                f"a result of the run cannot be read ({error}); was it written by another version?"
            ) from None


class Assaulted(NamedTuple):
    """What became of images.

    Attributes:
        attacked: which were attacked, [N]; the others were misclassified as they are, or had no answer.
        labels: [N], the class that each carries; the classifier's own answer where none was given.
        targets: [N], see `Victims`.
        clean: [N K], the answers for the images as they are.
        evaded: of those that were attacked, in their order.
        images, scores: of all, [N C H W] and [N K]: what fooled or came nearest, after shrinking; else as they are.
        fooled: [N].
        queries: [N], of the searches.
        shrunk: [N], None where nothing was shrunk.
    """

    attacked: Bool[Tensor, " N"]
    labels: Int[Tensor, " N"]
    targets: Int[Tensor, " N"]
    clean: Float[Tensor, "N K"]
    evaded: Evaded
    images: Float[Tensor, "N C H W"]
    scores: Float[Tensor, "N K"]
    fooled: Bool[Tensor, " N"]
    queries: Int[Tensor, " N"]
    shrunk: list[Shrinking | None]


def assault(
    x: Float[Tensor, "N C H W"],
    labels: Int[Tensor, " N"],
    *,
    config: Config,
    ledger: Ledger,
    pool: Pool | None = None,
    targets: Int[Tensor, " N"] | None = None,
    on_round: Callable[[int, int], None] | None = None,
) -> Assaulted:
    """Ask about images as they are, attack those that are recognised, and make what fooled smaller.

    Args:
        x: images on the 1/255 lattice, in the order of the attack.
        labels: classes, or NO_LABEL.
        config: of the attack.
        ledger: with an account for each image, in their order.
        pool: genes to begin with.
        targets: the class wanted of each, in place of what the configuration says.
        on_round: as for `evade`.
    """
    info = ledger.classifier.info
    limit = threat(config.norm, config.size, info.image_shape)
    goal, target = goal_of(config, info)
    algorithm = recipes.algorithm(config.recipe, Setting(limit, goal, config.budget, info), config.arguments)
    count = len(x)
    answers = ledger.ask(x, torch.arange(count), ("as they are",))
    answered = answers.status == Status.ANSWERED
    if count and not bool(answered.any()):
        raise ClassifierError(
            f"{info.name} gave no usable answer to any of {count:,} images as they are; `evofool doctor` says why"
        )
    own = torch.where(answered, answers.scores.nan_to_num(nan=-torch.inf).argmax(1), NO_LABEL)
    labels = torch.where(labels == NO_LABEL, own, labels)
    if targets is None:
        targets = wanted(config, target, labels, answers.scores, image_ids(x, labels))
    known = targets.clamp(min=0)  # of an image without a label and without an answer nothing is known, nor asked
    victims = victims_of(x, known, answers.scores, goal.objective, info)
    asked = Evaluated(x[:, None], x[:, None], x, answers.scores[:, None], known[:, None], answers.status[:, None])
    there = goal.criterion(asked, info)[:, 0]
    attacked = answered & ~there & ((own == labels) | (~torch.tensor(goal.targeted) & (torch.tensor(goal.k) > 1)))
    rows = attacked.nonzero().squeeze(1)
    evaded = evade(
        rows_of(victims, rows),
        accounts=rows,
        seeds=[config.seed] * len(rows),
        algorithm=algorithm,
        encoding=limit.encoding,
        objective=goal.objective,
        criterion=goal.criterion,
        ledger=ledger,
        pool=None if pool is None else pools.fitted(pool, limit.norm, limit.size),
        budget=config.budget if config.budget_total is not None else None,
        on_round=on_round,
    )
    if evaded.pool is not None:
        about: dict[str, Any] = {"norm": limit.norm, "size": limit.size, "targeted": goal.targeted}
        about |= {"classifier": info.name, "classes": list(info.class_names)}
        evaded = dataclasses.replace(evaded, pool=dataclasses.replace(evaded.pool, about=about))
    if on_round:
        on_round(count - len(rows), 0)
    images, scores = x.clone(), answers.scores.clone()
    images[rows], scores[rows] = evaded.images, evaded.scores
    fooled = torch.zeros(count, dtype=torch.bool).index_put((rows,), evaded.fooled)
    queries = torch.zeros(count, dtype=torch.int64).index_put((rows,), evaded.queries)
    found = Assaulted(
        attacked, labels, targets, answers.scores, evaded, images, scores, fooled, queries, [None] * count
    )
    if config.shrink and bool(fooled.any()):
        found = _smaller(x, found, config=config, ledger=ledger)
    return found


def _smaller(x: Float[Tensor, "N C H W"], found: Assaulted, *, config: Config, ledger: Ledger) -> Assaulted:
    """The same with smaller perturbations."""
    info = ledger.classifier.info
    limit = threat(config.norm, config.size, info.image_shape)
    goal, _ = goal_of(config, info)
    before = distance(found.images, x, limit.measure)
    known = found.targets.clamp(min=0)  # of an image without a label and without an answer there is none
    began = ledger.needed
    shrunk: Shrunk | None = None
    if limit.norm in ("linf", "l2"):
        images, scores, done = bisect(
            x,
            found.images,
            found.scores,
            norm=limit.norm,
            labels=known,
            wanted=found.fooled,
            criterion=goal.criterion,
            accounts=torch.arange(len(x)),
            ledger=ledger,
        )
    else:

        def decode(masks: Bool[Tensor, "n H W"], rows: Int[Tensor, " n"]) -> Float[Tensor, "n C H W"]:
            return torch.where(masks[:, None], found.images[rows], x[rows])

        def holds(scores: Float[Tensor, "n K"], rows: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
            status = torch.zeros(1, len(rows), dtype=torch.int64)
            blank = torch.empty(1, len(rows), 0)
            return goal.criterion(Evaluated(blank, blank, None, scores[None], known[rows][None], status), info)[0]

        shrunk = shrink(
            changed(found.images, x),
            found.scores,
            decode=decode,
            holds=holds,
            ledger=ledger,
            wanted=found.fooled,
            pairs=False,
        )
        images = torch.where(shrunk.masks[:, None], found.images, x)
        scores = torch.where(found.fooled[:, None], shrunk.scores, found.scores)
        done = shrunk.minimal > 0
    queries = (ledger.needed - began).tolist()
    after = distance(images, x, limit.measure)
    told: list[Shrinking | None] = []
    for row, fooled in enumerate(found.fooled.tolist()):
        if not fooled:
            told.append(None)
            continue
        minimal = int(shrunk.minimal[row]) if shrunk else 0
        words = shrunk.words(row) if shrunk else _words(limit.norm, float(after[row]), queries[row], bool(done[row]))
        told.append(Shrinking(round(float(before[row]), 6), queries[row], minimal, words))
    return found._replace(images=images, scores=scores, shrunk=told)


def _words(norm: str, size: float, queries: int, done: bool) -> str:
    length = f"{round(size * 255)}/255" if norm == "linf" else f"{size:.3g}"
    end = "" if done else ", the budget ended"
    return f"{length} by bisection, {queries:,} quer{'y' if queries == 1 else 'ies'}{end}"


def account(number: int) -> str:
    """What an image is in the ledger."""
    return f"image {number}"


def run_shard(shard: Shard, tick: Tick) -> Done | None:
    """Attack the images of a shard; with a directory the result is left there, and None is given."""
    started = time.perf_counter()
    config = shard.config
    classifier = runs.loaded(config.classifier, shard.sources, shard.fingerprints)
    info = classifier.info
    data = chosen(config, info)
    numbers = torch.tensor(shard.numbers)
    x = data.dataset.images[numbers].float() / 255
    store = runs.books(shard.directory) if shard.directory else None
    aside = config.confirm or 0
    ledger = Ledger(
        classifier,
        searches=[account(number) for number in shard.numbers],
        budget=None if config.budget_total is not None else config.budget - aside,
        total=None if config.budget_total is None else config.budget_total - aside * len(x),
        cache=config.cache,
        store=store,
        chain=shard.name if store else "",
    )
    known = pools.load(Path(config.pool)) if config.pool else None
    seen = _Seen(tick)
    found = assault(x, data.dataset.labels[numbers], config=config, ledger=ledger, pool=known, on_round=seen.round)
    confirmed = _confirmed(found, ledger, config) if aside else found.fooled
    done = done_of(shard, data.names, x, found, confirmed, info, time.perf_counter() - started)
    if found.evaded.pool is not None:
        done = dataclasses.replace(done, pool=pools.to_bytes(found.evaded.pool))
    if store is None:
        return dataclasses.replace(done, accounts=ledger.store.counts(), padded=ledger.store.padded())
    if done.pool:
        pools.write(done.pool, Path(shard.directory) / pools.FILE)
    if not config.cache:
        done = dataclasses.replace(done, distinct=_distinct(store, ledger))
    store.finish(shard.name, done.to_json(), let_go=shard.name)
    return None


def _distinct(store: Store, ledger: Ledger) -> int:
    """Images that were sent, each once for each search."""
    seen: set[tuple[int, bytes]] = set()
    for batch in store.batches(ledger.chain, ledger.batches):
        sent = batch.status != int(Status.UNSENT)
        seen.update(zip(batch.search[sent].tolist(), map(bytes, batch.hashes[sent]), strict=True))
    return len(seen)


class _Seen:
    """Tells how it goes: "72% of 410 fooled"."""

    def __init__(self, tick: Tick):
        self._tick, self._over, self._fooled = tick, 0, 0

    def round(self, over: int, fooled: int) -> None:
        """After each round."""
        self._over, self._fooled = self._over + over, self._fooled + fooled
        note = f"{self._fooled / self._over:.0%} of {self._over:,} fooled" if self._over else ""
        self._tick(over, note)


def _confirmed(found: Assaulted, ledger: Ledger, config: Config) -> Bool[Tensor, " N"]:
    """Which of those that fooled do so each time that they are asked about again."""
    rows = found.fooled.nonzero().squeeze(1)
    confirmed = found.fooled.clone()
    if not len(rows):
        return confirmed
    goal, _ = goal_of(config, ledger.classifier.info)
    again = Ledger(
        ledger.classifier,
        searches=ledger.searches,
        budget=None if config.budget_total is not None else config.budget,
        total=config.budget_total,
        store=ledger.store,
        chain=ledger.chain,
    )
    times = config.confirm or 0
    asked = found.images[rows].repeat_interleave(times, 0)
    key = ("confirm",) if ledger.chain else ()
    answers = again.ask(asked, rows.repeat_interleave(times), key, fresh=True)
    labels = found.targets[rows].repeat_interleave(times)[:, None]
    evaluated = Evaluated(
        asked[:, None], asked[:, None], None, answers.scores[:, None], labels, answers.status[:, None]
    )
    good = goal.criterion(evaluated, ledger.classifier.info)[:, 0] & (answers.status == Status.ANSWERED)
    confirmed[rows] = good.view(len(rows), times).all(1)
    return confirmed


def done_of(
    shard: Shard,
    names: tuple[str, ...],
    x: Float[Tensor, "N C H W"],
    found: Assaulted,
    confirmed: Bool[Tensor, " N"],
    info: ClassifierInfo,
    seconds: float,
) -> Done:
    """Everything that is told of the images."""
    config = shard.config
    images = [
        dataclasses.replace(each, name=names[number])
        for number, each in zip(shard.numbers, attacked(found, confirmed, x, config, info, shard), strict=True)
    ]
    pixels = (found.images * 255).round().byte()
    findings, tries = [], []
    for row, image in enumerate(images):
        if image.outcome == "fooled":
            about = Finding(
                number=0,
                file="",
                sha256=rundir.image_hash(pixels[row]),
                classifier=config.classifier,
                seed=config.seed,
                arm=config.recipe,
                generation=image.queries,
                label=image.label,
                prediction=image.prediction,
                confidence=image.confidence,
                scores=[float(score) for score in found.scores[row]],
                confirmed=config.confirm or 0,
            )
            findings.append(Shown(about, pixels[row]))
        elif image.outcome == "failed":
            tries.append(Shown(Try(image.number), pixels[row]))
    return Done(images, findings, tries, seconds)


def attacked(
    found: Assaulted,
    confirmed: Bool[Tensor, " N"],
    x: Float[Tensor, "N C H W"],
    config: Config,
    info: ClassifierInfo,
    shard: Shard | None = None,
) -> list[Attacked]:
    """What became of each image, without the names of files."""
    sizes = {norm: distance(found.images, x, norm).tolist() for norm in ("linf", "l2", "l0")}
    before, after = _seen(found.clean, info), _seen(found.scores, info)
    pixels = (x * 255).round().byte()
    place = torch.full((len(x),), -1, dtype=torch.int64)
    rows = found.attacked.nonzero().squeeze(1)
    tried, gene = place.clone(), place.clone()
    place[rows] = found.evaded.order + (shard.place if shard else 0)
    tried[rows], gene[rows] = found.evaded.tried, found.evaded.gene
    told = []
    for row in range(len(x)):
        label, answered = int(found.labels[row]), before[row][0] >= 0
        outcome: Outcome = "unanswered" if not answered else "skipped"
        if bool(found.attacked[row]):
            outcome = "fooled" if bool(confirmed[row]) else "failed"
        target = int(found.targets[row]) if config.target is not None else None
        told.append(
            Attacked(
                number=shard.numbers[row] if shard else row,
                name="",
                sha256=rundir.image_hash(pixels[row]),
                label=label,
                target=target,
                outcome=outcome,
                queries=int(found.queries[row]),
                clean_prediction=before[row][0],
                clean_confidence=before[row][1],
                prediction=after[row][0],
                confidence=after[row][1],
                linf=round(sizes["linf"][row], 6),
                l2=round(sizes["l2"][row], 6),
                l0=int(sizes["l0"][row]),
                asked=int(place[row]),
                tried=int(tried[row]),
                gene=int(gene[row]),
                shrunk=found.shrunk[row],
            )
        )
    return told


def _seen(scores: Float[Tensor, "N K"], info: ClassifierInfo) -> list[tuple[int, float]]:
    """The class that is seen in each image, and its probability; -1 and 0 without an answer."""
    each = objectives.probabilities(scores, info)
    return [
        (-1, 0.0) if bool(row.isnan().any()) else (int(row.argmax()), round(float(chances[int(row.argmax())]), 6))
        for row, chances in zip(scores, each, strict=True)
    ]


def check_images(classifier: Classifier, images: Float[Tensor, "N C H W"]) -> None:
    """Refuse images that are not what a classifier takes.

    Raises:
        ClassifierError: names the image and what it spans.
    """
    expected = classifier.info.image_shape
    if tuple(images.shape[1:]) != expected:
        raise ClassifierError(
            f"images of shape {tuple(images.shape[1:])} for {classifier.info.name}, which expects {expected} (C, H, W)"
        )
    low, high = images.flatten(1).amin(1), images.flatten(1).amax(1)
    odd = (~((low >= 0) & (high <= 1))).nonzero().flatten()
    if len(odd):
        row = int(odd[0])
        raise ClassifierError(
            f"image {row} spans {float(low[row]):.4g} to {float(high[row]):.4g}; expected [0, 1]: give images as they "
            "are, and let the model normalise them inside"
        )
