"""What is measured without drawing: maps of single pixels, accuracies, dark rings, transfer, linkage."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ... import objectives, regions, runs
from ...classifiers.support.settings import Settings
from ...contracts import Classifier, ClassifierInfo, Dataset
from ...encodings.ink import Ink
from ...errors import DamagedRunError, TargetError
from ...executors.local import Tick
from ...ledger import Ledger
from ...operators import lists, mutation
from ...rng import Stream, search_id
from ...shapes import Float, Tensor
from ...store import Store
from ...variants import Variant
from ..draw import drawing
from ..draw.results import Drawn
from .arms import CROSSOVERS
from .results import DarkRing, Lean, Linkage, Map, Transfer, map_from

EXACT = 128 * 128  # canvases up to so many pixels are mapped whole
BEST = 20  # pixels of which all pairs are tried
RANDOM_PAIRS = 200
SOME = 200  # images that are worked on at a time
SHIFTS = (1, 2, 3, 4, 6, 8)
JITTERS = 5
OTHERWISE = 4 * len(SHIFTS) + 1 + JITTERS  # images of a drawing that is shown otherwise
_BLUR = torch.tensor([1.0, 2.0, 1.0])


def log_odds(scores: Float[Tensor, "N K"], target: int, info: ClassifierInfo) -> Float[Tensor, " N"]:
    """log p - log(1 - p) of a class, float64; NaN without an answer. Of a single sigmoid this is its logit."""
    if info.kind == "logits":
        scores = scores.double()
        others = torch.cat([scores[:, :target], scores[:, target + 1 :]], 1).logsumexp(1)
        return torch.where(scores.isnan().any(1), torch.nan, scores[:, target] - others)
    each = objectives.probabilities(scores, info)
    tiny = torch.finfo(torch.float64).tiny
    others = each.sum(1) - each[:, target]
    rest = torch.cat([each[:, :target], each[:, target + 1 :]], 1).sum(1) if each.shape[1] > 1 else others
    return each[:, target].clamp(min=tiny).log() - rest.clamp(min=tiny).log()


@dataclass(frozen=True)
class MapTask:
    """What each single pixel does to the blank canvas, for one network.

    Attributes:
        classifier, variant, target: what is asked.
        canvas, ink: gray levels, one for each channel.
        pixels: that are tried; canvases of at most EXACT pixels are tried whole where it is None.
        pairs: try pairs of pixels, too.
        sources, fingerprints, directory: as of a `Shard`.
    """

    classifier: str
    variant: Variant
    target: int
    canvas: tuple[float, ...]
    ink: tuple[float, ...]
    size: tuple[int, int]
    pixels: int | None = None
    pairs: bool = True
    sources: Mapping[str, Settings] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    directory: str = ""

    @property
    def name(self) -> str:
        """What it is in the ledger and in messages."""
        blank = ",".join(f"{level:g}" for level in self.canvas)
        return f"map of {' '.join(filter(None, (self.classifier, self.variant.name)))} on gray {blank}"

    @property
    def evaluations(self) -> int:
        """Images that are asked about."""
        return 1 + self._tried + (BEST * (BEST - 1) // 2 + RANDOM_PAIRS if self.pairs else 0)

    @property
    def queries(self) -> int:
        """The same: none is asked twice."""
        return self.evaluations

    @property
    def _tried(self) -> int:
        whole = self.size[0] * self.size[1]
        return min(whole, self.pixels or (whole if whole <= EXACT else 4096))

    def places(self) -> Tensor:
        """The pixels that are tried, sorted: all, or a sample in which each ring has its share of the canvas."""
        whole = self.size[0] * self.size[1]
        if self._tried == whole:
            return torch.arange(whole)
        ring = regions.steps_to_border(*self.size).flatten()
        order = Stream([0], [search_id("stratified sample")])["pixels"].permutation(whole)[0]
        order = order[ring[order].sort(stable=True).indices]  # by ring, in each ring at random
        # Every so-many-th of that row: each ring has its share, up to rounding.
        chosen = order[(torch.arange(self._tried) * whole / self._tried).long()]
        return chosen.sort().values

    def run(self, tick: Tick) -> MapDone | None:
        """Measure; None where it went into the run directory."""
        started = time.perf_counter()
        store = runs.books(self.directory) if self.directory else None
        classifier = self.variant.apply(runs.loaded(self.classifier, self.sources, self.fingerprints))
        ledger = Ledger(classifier, searches=[self.name], store=store, chain=self.name if store else "", cache=False)
        encoding = Ink(self.size, self.canvas, self.ink)
        length = self.size[0] * self.size[1]

        def ask(places: Tensor, key: str) -> Tensor:
            """Log-odds of canvases with ink at these places [N k], streamed."""
            found = []
            for part, some in enumerate(places.split(10 * classifier.info.micro_batch)):
                images = encoding.decode(lists.mask_of(some, length).view(1, len(some), *self.size))[0]
                answers = ledger.ask(images, torch.zeros(len(some), dtype=torch.int64), (key, part))
                found.append(log_odds(answers.scores, self.target, classifier.info))
                tick(len(some))
            return torch.cat(found)

        blank = ask(torch.full((1, 1), length), "blank")[0]
        if bool(blank.isnan()):
            raise TargetError(f"{self.name}: no answer to the blank canvas, which all pixels are compared with")
        places = self.places()
        effects = ask(places[:, None], "single") - blank
        pairs: list[tuple[int, int, float | None]] = []
        if self.pairs and len(places) > 1:
            chosen = places[self._pairs(effects)]
            both = ask(chosen, "pairs") - blank
            pairs = [(int(a), int(b), e) for (a, b), e in zip(chosen.tolist(), _rounded(both), strict=True)]
        found = Map(
            self.classifier,
            self.variant.name,
            self.size,
            self.canvas,
            self.ink,
            round(float(blank), 6),
            places.tolist(),
            _rounded(effects),
            pairs,
        )
        done = MapDone(found, time.perf_counter() - started)
        if store is None:
            return dataclasses.replace(done, accounts=ledger.store.counts(), padded=ledger.store.padded())
        store.finish(self.name, done.to_json(), let_go=self.name)
        return None

    def _pairs(self, effects: Tensor) -> Tensor:
        """Indices [N 2]: all pairs of the best pixels, then random ones."""
        best = effects.nan_to_num(nan=-torch.inf).argsort(descending=True, stable=True)[:BEST].sort().values
        every = torch.combinations(best, 2)
        stream = Stream([0], [search_id("random pairs")])
        first = stream["first"].integers(len(effects), RANDOM_PAIRS)[0]
        second = stream["second"].integers(len(effects) - 1, RANDOM_PAIRS)[0]
        return torch.cat([every, torch.stack([first, second + (second >= first)], 1)])


@dataclass(frozen=True)
class MapDone:
    """What a map task comes to."""

    map: Map
    seconds: float
    accounts: dict[str, dict[str, int]] = field(default_factory=dict)
    padded: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"map": dataclasses.asdict(self.map), "seconds": round(self.seconds, 3)}

    @staticmethod
    def from_json(raw: Any) -> MapDone:
        """The inverse of `to_json`.

        Raises:
            DamagedRunError: it is not what a task wrote.
        """
        try:
            return MapDone(map_from(raw["map"]), float(raw["seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedRunError(
                f"a result of the run cannot be read ({error}); was it written by another version?"
            ) from None


def _rounded(values: Tensor) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 6) for value in values.tolist()]


# Networks on test images -------------------------------------------------------------------------------------------


def accuracy(
    classifier: Classifier, images: Tensor, labels: Tensor, target: int, *, account: str, store: Store | None
) -> tuple[float, float]:
    """Share of right answers, and the mean of the shares of the wanted class and of all others.

    Args:
        images: bytes [N C H W].
        labels: [N], of the classifier's classes.
    """
    chain = account if store else ""
    ledger = Ledger(classifier, searches=[account], store=store, chain=chain)
    answers = []
    for part, some in enumerate(images.split(SOME)):  # floats of all at once would be several gigabytes
        payer = torch.zeros(len(some), dtype=torch.int64)
        answers.append(ledger.ask(some.float() / 255, payer, (part,) if store else ()).scores)
    scores = torch.cat(answers)
    right = (scores.argmax(1) == labels) & ~scores.isnan().any(1)
    wanted = labels == target
    sides = [right[side].double().mean() for side in (wanted, ~wanted) if bool(side.any())]
    return round(float(right.double().mean()), 6), round(float(torch.stack(sides).mean()), 6)


# Training images ---------------------------------------------------------------------------------------------------


def dark_rings(
    dataset: Dataset, target: int, canvas: Sequence[float], ink: Sequence[float]
) -> tuple[list[DarkRing], Lean | None]:
    """How much of each ring looks like ink, in images of the wanted class and of all others; and where it leans.

    A pixel looks like ink where its gray level is nearer to the ink than to the canvas, in the mean of its channels.
    """
    middle, darker = _between(canvas, ink)
    height, width = dataset.images.shape[2:]
    steps = regions.steps_to_border(height, width).flatten()
    rings = torch.zeros(int(steps.max()) + 1, height * width)
    rings[steps, torch.arange(len(steps))] = 1.0
    area = rings.sum(1)
    found, means = [], []
    for wanted in (True, False):
        images = dataset.images[(dataset.labels == target) == wanted]
        shares, leans = [], []
        for some in images.split(SOME):
            gray = some.float().mean(1).flatten(1) / 255
            inked = ((gray < middle) == darker).float()
            shares.append((inked @ rings.T) / area)
            leans.append((inked @ steps.float()) / inked.sum(1))
        share, lean = torch.cat(shares).double().numpy(), torch.cat(leans).double().numpy()
        if not len(share):
            return [], None
        error = share.std(0, ddof=1) / math.sqrt(len(share)) if len(share) > 1 else np.zeros(len(area))
        found += [
            DarkRing(
                wanted,
                ring,
                round(float(share[:, ring].mean()), 6),
                round(float(share[:, ring].mean() - 1.96 * error[ring]), 6),
                round(float(share[:, ring].mean() + 1.96 * error[ring]), 6),
                len(share),
            )
            for ring in range(len(area))
        ]
        means.append(lean[~np.isnan(lean)])
    return found, _lean(*means)


def _between(canvas: Sequence[float], ink: Sequence[float]) -> tuple[float, bool]:
    """The gray level half-way between canvas and ink, and whether ink is the darker one."""
    blank, drawn = float(np.mean(canvas)), float(np.mean(ink))
    return (blank + drawn) / 2, drawn < blank


def _lean(wanted: np.ndarray, others: np.ndarray) -> Lean | None:
    if len(wanted) < 2 or len(others) < 2:
        return None
    difference = wanted.mean() - others.mean()
    # Thousands of images: the normal interval is as good as resampling.
    error = math.sqrt(wanted.var(ddof=1) / len(wanted) + others.var(ddof=1) / len(others))
    numbers = (wanted.mean(), others.mean(), difference, difference - 1.96 * error, difference + 1.96 * error)
    return Lean(*(round(float(number), 6) for number in numbers))


# Drawings shown otherwise ------------------------------------------------------------------------------------------


def transfer(
    drawn: Sequence[Drawn],
    own: Classifier,
    others: Mapping[str, tuple[Classifier, int]],
    target: int,
    encoding: Ink,
    *,
    store: Store | None,
) -> list[Transfer]:
    """What other networks say of drawings, and the network itself of drawings shifted, blurred, jittered.

    Args:
        drawn: runs of one arm.
        own: the network that they were drawn on.
        others: networks and their number of the wanted class, by name.
        target: the wanted class of `own`.
        encoding: of the drawings.
        store: the books of a run.
    """
    assert encoding.size is not None
    length = encoding.size[0] * encoding.size[1]
    found = []
    for run in drawn:
        places = torch.tensor([run.final.places], dtype=torch.int64).view(1, -1)
        mask = lists.mask_of(places, length).view(1, 1, *encoding.size)
        image = encoding.decode(mask)[0]
        told = {
            f"to {name}": _asked(other, image, number, f"transfer/{name}", store, (run.arm, run.seed))
            for name, (other, number) in others.items()
        }
        for shown, images in _otherwise(mask, image, encoding, run.seed).items():
            told[shown] = _asked(own, images, target, "transfer", store, (run.arm, run.seed, shown))
        # What was not answered is not told.
        found += [Transfer(run.arm, run.seed, shown, round(c, 6)) for shown, c in told.items() if not math.isnan(c)]
    return found


def _asked(
    classifier: Classifier, images: Tensor, target: int, account: str, store: Store | None, key: tuple[object, ...]
) -> float:
    ledger = Ledger(classifier, searches=[account], store=store, chain=account if store else "")
    scores = ledger.ask(images, torch.zeros(len(images), dtype=torch.int64), key if store else ()).scores
    return float(objectives.probabilities(scores, classifier.info)[:, target].nanmean())


def _otherwise(mask: Tensor, image: Tensor, encoding: Ink, seed: int) -> dict[str, Float[Tensor, "N C H W"]]:
    """A drawing shifted, blurred and with its ink jittered, by name."""
    blank = encoding.decode(torch.zeros_like(mask))[0]
    height, width = image.shape[2:]
    found = {}
    for shift in SHIFTS:
        if shift >= min(height, width):
            continue
        moved = []
        for down, right in ((shift, 0), (-shift, 0), (0, shift), (0, -shift)):
            there = blank.clone()
            rows, columns = _overlap(down, height), _overlap(right, width)
            there[:, :, rows[0], columns[0]] = image[:, :, rows[1], columns[1]]
            moved.append(there)
        found[f"shift {shift}"] = torch.cat(moved)
    kernel = torch.outer(_BLUR, _BLUR) / 16
    padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    blurred = functional.conv2d(padded, kernel.expand(image.shape[1], 1, 3, 3), groups=image.shape[1])
    found["blur"] = (blurred.clamp(0, 1) * 255).round() / 255
    stream = Stream([seed], [search_id("jitter")])
    jittered = mask.expand(1, JITTERS, *mask.shape[2:]).clone()
    for step in range(int(mask.sum())):
        jittered = mutation.move_pixel(jittered, rng=stream[f"step {step}"])
    found["jitter"] = encoding.decode(jittered)[0]
    return found


def _overlap(shift: int, length: int) -> tuple[slice, slice]:
    """Where the pixels that stay inside go to, and where they come from."""
    return slice(max(0, shift), length + min(0, shift)), slice(max(0, -shift), length - max(0, shift))


# Crossovers on random parents --------------------------------------------------------------------------------------


def linkage(size: tuple[int, int], *, matings: int = 2000, ink: int = 12) -> list[Linkage]:
    """How often two inked pixels of one parent stay together, by how far they are apart: what a crossover keeps.

    Measured on random parents of `ink` pixels each; of no network.
    """
    height, width = size
    stream = Stream([0], [search_id("linkage")])
    places = [stream[name].integers(height * width, matings, ink) for name in ("a", "b")]
    a, b = (lists.mask_of(each, height * width).view(1, matings, height, width) for each in places)
    first, second = torch.combinations(torch.arange(ink), 2).T
    one, other = places[0][0][:, first], places[0][0][:, second]
    apart = {
        "rows": (one // width - other // width).abs(),
        "columns": (one % width - other % width).abs(),
    }
    found = []
    for name in CROSSOVERS:
        from_a = drawing.CROSSOVERS[name](a, b, rng=stream[name])[0].flatten(1)
        together = (from_a.gather(1, one) == from_a.gather(1, other)) & (one != other)
        for distance in range(min(height, width) // 2 + 1):
            shares = {}
            for axis, steps in apart.items():
                counted = (steps == distance) & (one != other)
                shares[axis] = round(float(together[counted].double().mean()), 6) if bool(counted.any()) else 0.0
            found.append(Linkage(name, distance, **shares))
    return found
