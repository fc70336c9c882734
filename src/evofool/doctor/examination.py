"""Asking: which images, in which company, how often; the ledger is the only door."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ..contracts import Classifier, ClassifierInfo, Dataset
from ..errors import ClassifierError, TargetError
from ..ledger import Ledger
from ..shapes import Float, Int, Tensor, UInt8
from ..store import Store
from . import choice, measures
from .diagnosis import Diagnosis, Hint, Renamed, Share, Speed
from .probe import Probe, speed_of
from .verdict import LEVELS, findings, forecast, near_chance

LIMIT_METERED = 32
LIMIT_LOCAL = 1_000
_FEWEST = 10
_FEW_TOGETHER = 4  # rows of a request whose company is looked at, where each costs something
_GIVE_UP = 4  # this share of the limit without a single answer
_SMALL_CALLS = ((1, 3), (10, 2))  # rows, and how many calls, when the speed is measured
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def examine(
    classifier: Classifier,
    dataset: Dataset,
    *,
    queries: int | None = None,
    budget: int | None = None,
    store: Store | None = None,
    account: str = "doctor",
    throughput: bool = True,
    on_tick: Callable[[int], None] | None = None,
) -> Diagnosis:
    """Ask a classifier a few questions, and say what is to be minded about it.

    A metered target is asked 32 queries at most:

        16   different images, for accuracy, range and resolution; 4 of them again in the next three lines
         4   the same call again: does it repeat itself?
         4   at another place among other images, in a call of the same size (not where a request is one image)
         8   under small and under strong noise, 4 each

    A local one is asked 1,000 at most: 600 different images, 100 of them again, 100 in other company, 50 and 50 under
    noise, and up to 100 to measure small calls and, where it is hardly ever right, to try 25 images each inverted, with
    white = 255 and with ImageNet's normalisation. Other limits are divided alike.
    Images come evenly from all classes and all parts of the data; nothing is drawn from a global generator.

    Where the classes are not those of the data, the examination goes on without accuracy. What is not answered is
    counted, not raised; when a quarter of the queries brought no answer at all, nothing more is asked.

    Args:
        classifier: what is examined.
        dataset: images that it is to know.
        queries: another limit, at least 10. The ledger holds it: also failed attempts count.
        budget: queries to forecast time and cost for.
        store: the books of a run; its answers are kept there, too. None = in memory.
        account: which account of the store pays.
        throughput: measure small calls of a local classifier.
        on_tick: told how many queries were spent, as they are.

    Raises:
        ClassifierError: the images of the data have not the shape that the classifier takes, or it answers with another
            number of scores than it declares.
        TargetError: it said that nothing more is to be asked, or failed five times in a row.
    """
    info = classifier.info
    limit = queries if queries is not None else LIMIT_METERED if info.metered else LIMIT_LOCAL
    if limit < _FEWEST:
        raise ClassifierError(f"queries = {limit}: expected at least {_FEWEST}, to see anything")
    if tuple(dataset.images.shape[1:]) != info.image_shape:
        raise ClassifierError(
            f"{info.name} expects images of shape {info.image_shape} (C, H, W), but {dataset.name} has "
            f"{tuple(dataset.images.shape[1:])}: give the data it was made for, or bring them to that shape"
        )
    return _Examination(classifier, dataset, limit, store, account, on_tick).run(budget, throughput)


class _Examination:
    """One examination, step by step; each step may find that there was no answer, or no budget."""

    def __init__(
        self,
        classifier: Classifier,
        dataset: Dataset,
        limit: int,
        store: Store | None,
        account: str,
        on_tick: Callable[[int], None] | None,
    ):
        self.info: ClassifierInfo = classifier.info
        self.classifier = classifier
        self.dataset = dataset
        self.limit = limit
        self.account = account
        self.probe = Probe(classifier)
        self.ledger = Ledger(self.probe, searches=[account], budget=limit, cache=False, store=store, chain=account)
        self.on_tick = on_tick
        self.issued = 0

    def run(self, budget: int | None, throughput: bool) -> Diagnosis:
        """All steps in their order."""
        info, dataset = self.info, self.dataset
        share = self.limit // (8 if info.metered else 10)
        together = min(info.micro_batch, share, *([_FEW_TOGETHER] if info.metered else []))
        wanted = self.limit - 4 * share if info.metered else 6 * share
        index = choice.spread(dataset.labels, wanted)
        images = dataset.images[index]
        compared = min(share, len(images)) // together * together or len(images)

        base = images[:compared]
        plain = self.ask("first", base, together)
        again = self.ask("again", base, together)
        repeat = measures.agreement(plain, again)
        jitter = repeat.largest if repeat else 0.0
        seen, company = [plain], None
        place = compared
        if 1 < together <= compared:
            asked, old, place = choice.company(compared, len(images), together)
            scores = self.ask("company", images[asked], together)
            company = measures.agreement(plain[asked[old]], scores[old])
            seen.append(scores[~old])
        noised = base[: max(1, share if info.metered else share // 2)]
        reactions = [
            measures.reaction(
                plain[: len(noised)],
                self.ask(name, choice.noisy(noised, level, name), together),
                level,
                jitter,
            )
            for name, level in LEVELS.items()
        ]
        chunk = info.micro_batch * (info.concurrency if info.metered else 1)
        seen.append(self.ask("rest", images[place:], chunk))
        scores = torch.cat(seen)

        known = self.knowledge(dataset.labels[index], images, scores)
        counts = self.ledger.counts
        speeds = self.speeds(images if throughput and not info.metered else images[:0])
        fullest = max(speeds, key=lambda speed: speed.rows) if speeds else None
        diagnosis = Diagnosis(
            name=info.name,
            kind=info.kind,
            class_names=info.class_names,
            image_shape=info.image_shape,
            fingerprint=info.fingerprint,
            preparation=info.preparation,
            device=info.device,
            dtype=info.dtype,
            micro_batch=info.micro_batch,
            concurrency=info.concurrency,
            metered=info.metered,
            cost=info.cost,
            declared_accuracy=info.accuracy,
            data=dataset.name,
            data_fingerprint=dataset.fingerprint,
            data_classes=dataset.class_names,
            limit=self.limit,
            asked=int(self.ledger.counts.issued),
            answered=int(counts.answered),
            failed=int(counts.failed),
            error=self.probe.error,
            scores=measures.describe(scores),
            repeat=repeat,
            company=company,
            small=reactions[0],
            strong=reactions[1],
            speeds=speeds,
            forecast=forecast(budget, info, fullest) if budget is not None else None,
            **known,
        )
        return replace(diagnosis, findings=findings(diagnosis))

    def beside(self, probe: Probe) -> Ledger:
        """Another ledger on the same account."""
        return Ledger(
            probe,
            searches=[self.account],
            budget=self.limit,
            cache=False,
            store=self.ledger.store,
            chain=self.account,
        )

    def ask(
        self, name: str, images: UInt8[Tensor, "N C H W"], rows: int, ledger: Ledger | None = None
    ) -> Float[Tensor, "N K"]:
        """Scores of images, asked about `rows` at a time; NaN where there is no answer."""
        scores = torch.full((len(images), len(self.info.class_names)), torch.nan)
        for first in range(0, len(images), rows):
            counts = self.ledger.counts
            if not int(counts.answered) and int(counts.issued) >= self.limit // _GIVE_UP:
                break
            part = images[first : first + rows].float() / 255
            payer = torch.zeros(len(part), dtype=torch.int64)
            answers = (ledger or self.ledger).ask(part, payer, (name, first))
            scores[first : first + rows] = answers.scores
            self.tick()
        return scores

    def tick(self) -> None:
        """Tell what was spent since the last time."""
        issued = int(self.ledger.counts.issued)
        if self.on_tick:
            self.on_tick(issued - self.issued)
        self.issued = issued

    def knowledge(
        self, labels: Int[Tensor, " N"], images: UInt8[Tensor, "N C H W"], scores: Float[Tensor, "N K"]
    ) -> dict[str, Any]:
        """What it knows of the data's classes, from the first answers about images: fields of the diagnosis."""
        info, dataset = self.info, self.dataset
        matched, targets = choice.match(info, dataset)
        found: dict[str, Any] = {"matched": matched, "accuracy": None, "chance": 1 / len(info.class_names)}
        answered = ~scores.isnan().any(1)
        if matched == "none" or not bool(answered.any()):
            return found
        labels = targets[labels]
        true, predicted = labels[answered], scores[answered].argmax(1)
        accuracy = found["accuracy"] = measures.wilson(int((true == predicted).sum()), len(true))
        called = list(info.class_names)
        for mine, place in enumerate(targets.tolist()):
            called[place] = dataset.class_names[mine]
        renamed = found["renamed"] = measures.renamed(true, predicted, called, info.class_names)
        found["reordered"] = self.reordered(renamed, called)
        if not info.metered and not renamed and near_chance(accuracy, found["chance"]):
            found["hint"] = self.hint(images, labels, accuracy)
        return found

    def hint(self, images: UInt8[Tensor, "N C H W"], labels: Int[Tensor, " N"], plain: Share) -> Hint | None:
        """The best of a few other preparations, if it is clearly better than images as they are."""
        rows = self.limit // 40
        if rows < _FEWEST:
            return None
        bare = not any(word in self.info.preparation for word in ("normalised", "white is"))
        tried: list[tuple[str, str, Callable[[Tensor], Tensor]]] = [
            ("white as 255 instead of 1", "--with white=255", lambda part: part * 255),
            ("dark and bright exchanged", "--with mean=1 --with std=-1", lambda part: 1 - part),
        ]
        if images.shape[1] == 3:
            mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in _IMAGENET)
            options = f"--with mean={_listed(_IMAGENET[0])} --with std={_listed(_IMAGENET[1])}"
            tried.append(("images normalised as for ImageNet", options, lambda part: (part - mean) / std))
        hints = []
        for number, (words, options, change) in enumerate(tried):
            ledger = self.beside(Probe(self.classifier, change=change))
            try:
                scores = self.ask(f"hint{number}", images[:rows], rows, ledger)
            except (ClassifierError, TargetError):  # it refuses such images
                continue
            answered = ~scores.isnan().any(1)
            if bool(answered.any()):
                right = int((scores.argmax(1) == labels[:rows])[answered].sum())
                hints.append(Hint(words, options if bare else "", measures.wilson(right, int(answered.sum()))))
        best = max(hints, key=lambda each: each.right.low, default=None)
        return best if best and best.right.low > plain.high else None

    def reordered(self, renamed: tuple[Renamed, ...], called: list[str]) -> tuple[str, ...]:
        """The class names in the order in which the model itself gives its scores, as it seems to be."""
        if not renamed or not hasattr(self.classifier, "order"):
            return ()
        order = self.classifier.order or list(range(len(called)))
        truly = dict(zip(self.info.class_names, called, strict=True))
        truly.update({answer: mine for each in renamed for mine, answer in each.pairs})
        return tuple(truly[self.info.class_names[order.index(output)]] for output in range(len(order)))

    def speeds(self, images: UInt8[Tensor, "N C H W"]) -> tuple[Speed, ...]:
        """How long the calls took that were made so far, and small ones of their own for some images."""
        seen = sorted({rows for rows, _ in self.probe.calls})
        found = [speed_of([call for call in self.probe.calls if call[0] == rows]) for rows in seen]
        most = max(seen, default=0)
        for rows, calls in _SMALL_CALLS:
            if rows in seen or rows > most or len(images) < rows * calls:
                continue
            probe = Probe(self.classifier, rows)
            with contextlib.suppress(ClassifierError, TargetError):  # it may take calls of one size only
                self.ask(f"speed{rows}", images[: rows * calls], rows, self.beside(probe))
            if len(probe.calls) == calls and not probe.error:
                found.append(speed_of(probe.calls))
        return tuple(sorted(found, key=lambda speed: speed.rows))


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(map(str, values))
