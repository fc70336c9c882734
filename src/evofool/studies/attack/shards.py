"""Attacks some images side by side."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ... import objectives, rundir, runs
from ... import pool as pools
from ...checkpoint import Checkpoints
from ...classifiers.support.settings import Settings
from ...contracts import ClassifierInfo, Status
from ...encodings.perturbation import distance
from ...errors import DamagedRunError
from ...executors.local import Tick
from ...ledger import Ledger
from ...rundir import Finding
from ...runs import Shown
from ...shapes import Float, Tensor
from ...store import Store
from .assault import Assaulted, assault
from .given import Config, chosen
from .results import Attacked, Outcome, attacked_from


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
    ledger = Ledger(
        classifier,
        searches=[account(number) for number in shard.numbers],
        budget=config.budget if config.budget_total is None else None,
        total=config.budget_total,
        cache=config.cache,
        store=store,
        chain=shard.name if store else "",
    )
    known = pools.load(Path(config.pool)) if config.pool else None
    seen = _Seen(tick)
    checkpoints = Checkpoints(Path(shard.directory) / "state", shard.name, ledger) if store else None
    found = assault(
        x,
        data.dataset.labels[numbers],
        config=config,
        ledger=ledger,
        pool=known,
        keeps=checkpoints,
        on_round=seen.round,
    )
    done = done_of(shard, data.names, x, found, info, time.perf_counter() - started)
    if found.evaded.pool is not None:
        done = dataclasses.replace(done, pool=pools.to_bytes(found.evaded.pool))
    if store is None:
        return dataclasses.replace(done, accounts=ledger.store.counts(), padded=ledger.store.padded())
    if done.pool:
        pools.write(done.pool, Path(shard.directory) / pools.FILE)
    if not config.cache:
        done = dataclasses.replace(done, distinct=_distinct(store, ledger))
    store.finish(shard.name, done.to_json(), let_go=shard.name)
    assert checkpoints is not None
    checkpoints.remove()
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


def done_of(
    shard: Shard,
    names: tuple[str, ...],
    x: Float[Tensor, "N C H W"],
    found: Assaulted,
    info: ClassifierInfo,
    seconds: float,
) -> Done:
    """Everything that is told of the images."""
    config = shard.config
    images = [
        dataclasses.replace(each, name=names[number])
        for number, each in zip(shard.numbers, attacked(found, x, config, info, shard), strict=True)
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
            outcome = "fooled" if bool(found.fooled[row]) else "failed"
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
