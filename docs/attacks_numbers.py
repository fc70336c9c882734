"""The numbers of docs/attacks.md: runs packed into few bytes, what they come to, and which figures were reached.

A run is packed as what came of each image, in the order of the attack, and what was charged for. Where attacks share
something from image to image the unit is the run, else the image; see `evofool.reports.differences`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evofool import rundir
from evofool.errors import DamagedRunError, UserError
from evofool.files import write_bytes
from evofool.reports import differences, survival
from evofool.reports.attack_tables import FIRST, cut
from evofool.reports.statistics import Interval, holm, wilson
from evofool.reports.survival import Survival
from evofool.studies.attack.results import Results, load

LEAST = -0.02  # a difference of shares above which the first is not lower


class Run(NamedTuple):
    """One run.

    Attributes:
        facts: all that was packed but the images.
        numbers: of the attacked images in the list, in the order of the attack.
        fooled: whether each was.
        costs: queries, a failure counted as the budget.
    """

    facts: dict[str, Any]
    numbers: np.ndarray
    fooled: np.ndarray
    costs: np.ndarray

    @property
    def mean(self) -> float:
        """Queries of an image."""
        return float(self.costs.mean())

    @property
    def median(self) -> float:
        """Queries of an image."""
        return float(np.median(self.costs))

    @property
    def share(self) -> float:
        """Of images that were fooled."""
        return float(self.fooled.mean())


class Estimate(NamedTuple):
    """A number, and the interval around it where there is one."""

    value: float
    interval: Interval | None = None


class Entry(NamedTuple):
    """An attack with its arguments, and its runs with different seeds, in the same group."""

    name: str
    runs: tuple[Run, ...]

    @property
    def shares(self) -> bool:
        """Whether it carries something from image to image."""
        return bool(self.runs[0].facts["recipe"]["shares"])

    @property
    def peer(self) -> bool:
        """Whether it is somebody else's code."""
        return bool(self.runs[0].facts["peer"])

    @property
    def success(self) -> Estimate:
        """Mean share over runs, with Wilson's interval.

        Where images share, it is no narrower than that over runs, and there is none where the runs are too few.
        """
        found = [run.share for run in self.runs]
        share, images = sum(found) / len(found), len(self.runs[0].fooled)
        interval = wilson(round(share * images), images)
        if self.shares and len(found) < differences.RUNS:
            return Estimate(share)
        over = differences.mean_over_runs(found) if self.shares else None
        if interval and over:
            interval = interval._replace(low=min(interval.low, over.low), high=max(interval.high, over.high))
        return Estimate(share, interval)

    @property
    def mean(self) -> Estimate:
        """Queries, a failure counted as the budget; the interval is over runs where images share, else over images."""
        means = [run.mean for run in self.runs]
        over = differences.mean_over_runs(means) if self.shares else differences.mean_of(by_image(self, "costs"))
        return Estimate(sum(means) / len(means), over)

    @property
    def median(self) -> float:
        """Mean over runs of the median."""
        return float(np.mean([run.median for run in self.runs]))

    def first(self, count: int) -> float | None:
        """Mean queries over so many images at the head of the list, over runs; None where there are not so many."""
        if any(len(run.costs) < count for run in self.runs):
            return None
        return float(np.mean([run.costs[:count].mean() for run in self.runs]))

    @property
    def curve(self) -> Survival:
        """Who holds out, over all runs."""
        costs = np.concatenate([run.costs for run in self.runs])
        return survival.kaplan_meier(costs.tolist(), np.concatenate([run.fooled for run in self.runs]).tolist())

    @property
    def learning(self) -> list[tuple[int, int, Estimate]]:
        """First and last place, and mean queries of the images there."""
        points = []
        for start, end in cut(min(len(run.costs) for run in self.runs)):
            means = [float(run.costs[start:end].mean()) for run in self.runs]
            points.append((start + 1, end, Estimate(sum(means) / len(means), differences.mean_over_runs(means))))
        return points

    @property
    def draws(self) -> bool:
        """Whether any two runs differ: an attack that draws nothing does the same each time."""
        return any((by_number(run) != by_number(self.runs[0])).any() for run in self.runs[1:])

    def told(self, name: str) -> float | None:
        """A number that runs tell of all their images, over those that tell it."""
        found = [run.facts[name] for run in self.runs if run.facts.get(name) is not None]
        return float(np.mean(found)) if found else None


class Group(NamedTuple):
    """Attacks that were asked the same of the same images.

    Attributes:
        name: folder of the runs.
        entries: the leader first, then by mean queries.
    """

    name: str
    entries: tuple[Entry, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """What all runs have in common."""
        return self.entries[0].runs[0].facts

    @property
    def images(self) -> int:
        """That each attacked."""
        return len(self.entries[0].runs[0].costs)

    def entry(self, name: str) -> Entry | None:
        """By name; None where there is none."""
        return next((entry for entry in self.entries if entry.name == name), None)


# Packing ----------------------------------------------------------------------------------------------------------


def pack(path: Path) -> dict[str, Any]:
    """What is needed of a run directory.

    Raises:
        DamagedRunError: a hash or a count is not what was written, or the run is not finished.
    """
    if not rundir.finished(path):
        raise DamagedRunError(f"{path}: is not finished")
    damaged = rundir.damage(path)
    if damaged:
        raise DamagedRunError(f"{path}: {damaged[0]}")
    timings = json.loads((path / "timings.json").read_text())
    return packed(load(path / "study.json"), timings, hashlib.sha256((path / "study.json").read_bytes()).hexdigest())


def packed(results: Results, timings: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    """The same from the numbers of a run."""
    attacked = sorted(results.attacked, key=lambda image: (image.asked, image.number))
    ledger, config = results.ledger, results.config
    return {
        "net": _net(str(results.classifier["name"])),
        "fingerprint": results.classifier["fingerprint"],
        "accuracy": results.classifier.get("accuracy"),
        "data": {name: results.data[name] for name in ("name", "fingerprint", "first", "count")},
        **{
            name: getattr(results, name)
            for name in ("norm", "size", "limit", "goal", "targeted", "k", "budget", "seed")
        },
        "recipe": {name: results.recipe.get(name) for name in ("name", "about", "arguments", "shares")},
        "peer": "peer" in config,
        "pool": bool(config.get("pool")),
        "skipped": sum(image.outcome == "skipped" for image in results.images),
        "issued": results.queries(),
        "distinct": ledger.get("distinct"),
        "lost on disk": ledger.get("lost on disk"),
        "broke down": sum(each["images"] for each in ledger.get("broke down", [])),
        "targets": _targets(results),
        "timings": dict(timings),
        "versions": results.versions,
        "command": cleaned(results.command),
        "sha256": sha256,
        "images": [[image.number, int(image.outcome == "fooled"), image.queries] for image in attacked],
    }


def _targets(results: Results) -> str | None:
    """Tells apart what runs aim at."""
    if not results.targeted:
        return None
    aims = [image.target for image in sorted(results.images, key=lambda image: image.number)]
    return hashlib.sha256(json.dumps(aims).encode()).hexdigest()[:16]


def cleaned(command: str) -> str:
    """A command without the folders of the machine that it ran on."""
    words, said = [], shlex.split(command)
    for place, word in enumerate(said):
        if word == "--data-dir" or (place and said[place - 1] == "--data-dir"):
            continue
        if "labels_only.py:" in word:
            word = f"benchmarks/{Path(word).name}"
        elif word.startswith("/"):
            word = "/".join(Path(word).parts[-3:]) if word.endswith(".safetensors") else Path(word).name
        words.append(word)
    return shlex.join(words)


def _net(name: str) -> str:
    return Path(name).name


def keep(runs: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write packed runs, without a date."""
    text = "\n".join(json.dumps(run, separators=(",", ":")) for run in runs) + "\n"
    write_bytes(path, gzip.compress(text.encode(), 9, mtime=0))


def read(path: Path) -> list[Run]:
    """Runs as they were kept."""
    return [run_of(json.loads(line)) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def run_of(raw: Mapping[str, Any]) -> Run:
    """A packed run."""
    images = np.array(raw["images"], dtype=float).reshape(-1, 3)
    fooled = images[:, 1] > 0
    costs = np.where(fooled, images[:, 2], np.maximum(raw["budget"], images[:, 2]))
    return Run(
        {name: value for name, value in raw.items() if name != "images"}, images[:, 0].astype(int), fooled, costs
    )


# Groups -----------------------------------------------------------------------------------------------------------


def name_of(facts: Mapping[str, Any]) -> str:
    """What an attack is called: with what it was told, but for peers, who are always told the same."""
    recipe = facts["recipe"]
    if facts["peer"]:
        return str(recipe["name"])
    told = [
        {"independent": "alone"}.get(key, f"{key}={_word(value)}") if value is not None else ""
        for key, value in (recipe["arguments"] or {}).items()
    ]
    return " ".join([str(recipe["name"]), *told, *(["from a pool"] if facts["pool"] else [])])


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def group(name: str, runs: Sequence[Run]) -> Group:
    """Runs of one folder; images that some run did not attack are left out of all.

    Raises:
        UserError: they were not asked the same, or two are one run twice.
    """
    first = runs[0].facts
    aims: dict[int, str | None] = {}
    for run in runs:
        for what in ("net", "fingerprint", "norm", "size", "targeted", "k", "budget", "data"):
            if run.facts[what] != first[what]:
                raise UserError(f"{name}: {name_of(run.facts)} has {what} {run.facts[what]}, others {first[what]}")
        seed = run.facts["seed"]
        if run.facts["targets"] != aims.setdefault(seed, run.facts["targets"]):
            raise UserError(f"{name}: {name_of(run.facts)} aims at other classes than others with seed {seed}")
    common = set.intersection(*(set(run.numbers.tolist()) for run in runs))
    if not common:
        raise UserError(f"{name}: no image was attacked by all")
    found: dict[str, list[Run]] = {}
    for run in runs:
        kept = np.isin(run.numbers, sorted(common))
        found.setdefault(name_of(run.facts), []).append(
            Run(run.facts, run.numbers[kept], run.fooled[kept], run.costs[kept])
        )
    entries = []
    for entry, group in found.items():
        group.sort(key=lambda run: run.facts["seed"])
        seeds = [run.facts["seed"] for run in group]
        if len(set(seeds)) < len(seeds):
            raise UserError(f"{name}: {entry} is there twice with the same seed")
        entries.append(Entry(entry, tuple(group)))
    entries.sort(key=lambda entry: (entry.name != "genepool", entry.mean.value, entry.name))
    return Group(name, tuple(entries))


def by_number(run: Run, what: str = "costs") -> np.ndarray:
    """Of each image, in the order of the list."""
    return np.asarray(getattr(run, what)[np.argsort(run.numbers)])


def by_image(entry: Entry, what: str) -> np.ndarray:
    """Mean over runs of each image, in the order of the list."""
    return np.mean([by_number(run, what) for run in entry.runs], axis=0, dtype=float)


def alike(first: Entry, second: Entry) -> tuple[Entry, Entry]:
    """Both without the runs that aim elsewhere: where targets are drawn, they are by the seed."""
    if not first.runs[0].facts["targeted"]:
        return first, second
    seeds = [{run.facts["seed"] for run in entry.runs} for entry in (first, second)]
    common = set.intersection(*seeds)
    one, two = (
        entry._replace(runs=tuple(run for run in entry.runs if run.facts["seed"] in common))
        for entry in (first, second)
    )
    return (one, two) if common else (first, second)


class Held(NamedTuple):
    """An attack held against another one.

    Attributes:
        mean, median: of the first as multiples of the second's.
        success: share of the first minus that of the second.
        unit: "runs" or "images".
    """

    mean: Estimate
    median: float
    success: Estimate
    unit: str


def held(first: Entry, second: Entry) -> Held:
    """The first as a multiple of the second; intervals over runs where one of them shares, else over images."""
    first, second = alike(first, second)
    gap = first.success.value - second.success.value
    ratio = first.mean.value / second.mean.value
    median = first.median / second.median
    if first.shares or second.shares:
        shares = [[run.share for run in entry.runs] for entry in (first, second)]
        success = differences.over_runs(shares, lambda one, two: one - two)
        if success is None and all(len(share) >= differences.RUNS for share in shares):
            success = Interval(gap, gap, gap, min(map(len, shares)))  # all runs say the same
        means = differences.ratio_over_runs(*([run.mean for run in entry.runs] for entry in (first, second)))
        return Held(Estimate(ratio, means), median, Estimate(gap, success), "runs")
    if len(first.runs) == len(second.runs) == 1:
        success = differences.paired_shares(by_image(first, "fooled") > 0, by_image(second, "fooled") > 0)
    else:
        pairs = np.stack([by_image(first, "fooled"), by_image(second, "fooled")], axis=1)
        success = differences.bootstrap([pairs], lambda means: means[:, 0] - means[:, 1])
    means = differences.paired_ratio(by_image(first, "costs"), by_image(second, "costs"))
    return Held(Estimate(ratio, means), median, Estimate(gap, success), "images")


def tests(found: Group, reference: Entry) -> dict[str, float | None]:
    """Wilcoxon's p on the queries of the same images against the reference, after Holm; none where images share."""
    return _tested(found, reference, "costs", differences.queries_p)


def shares_tests(found: Group, reference: Entry) -> dict[str, float | None]:
    """McNemar's p on who was fooled, of several runs Wilcoxon's on shares; after Holm."""
    return _tested(found, reference, "fooled", differences.success_p)


def _tested(found: Group, reference: Entry, what: str, test: Callable[..., float]) -> dict[str, float | None]:
    others = [entry for entry in found.entries if entry is not reference and not entry.shares]
    values = [
        test(*([by_number(run, what) for run in entry.runs] for entry in alike(other, reference))) for other in others
    ]
    return dict(zip((entry.name for entry in others), holm(values), strict=True))


# Figures to reach -------------------------------------------------------------------------------------------------


class Promise(NamedTuple):
    """What was to be reached before anything was measured.

    Attributes:
        group: folder of the runs.
        words: the threat model.
        against: who is to be beaten; of several the one with the lowest mean.
        also: others of them, if they were run.
        mean, median: at most so many times the other's.
        gain: of the share of images, at least so much; "not lower": see `LEAST`.
        success: share of images, at least.
    """

    group: str
    words: str
    against: tuple[str, ...]
    mean: float | None = None
    median: float | None = None
    gain: float | str | None = None
    success: float | None = None
    also: tuple[str, ...] = ()


PROMISES = (
    Promise("mnist-cnn-linf-0.3-1000", "MNIST CNN, L-inf 0.3, budget 1,000", ("square",), 0.35, 0.1,
            also=("square p=0.3",)),
    Promise("mnist-cnn-linf-0.3-1000", "the same", ("torchattacks square",), 0.35, 0.1),
    Promise("mnist-cnn-linf-0.15-1000", "the same, L-inf 0.15", ("square",), 0.75, gain="not lower",
            also=("square p=0.3",)),
    Promise("mnist-robust-linf-0.3-5000", "adversarially trained, L-inf 0.3, budget 5,000", ("square",), 1.0,
            gain="not lower"),
    Promise("cifar-cnn-linf-8-255-5000", "CIFAR-10 CNN, L-inf 8/255, budget 5,000",
            ("square",), 0.5, also=("square p=0.3", "square p=0.05")),
    Promise("mnist-cnn-l2-2-1000", "MNIST CNN, L2 2.0, budget 1,000", ("square",), 0.7, gain=0.1),
    Promise("cifar-cnn-l2-1-1000", "CIFAR-10 CNN, L2 1.0, budget 1,000", ("square",), 0.7, gain=0.1,
            also=("square p=0.1",)),
    Promise("mnist-cnn-l0-10-1000", "MNIST CNN, 10 pixels, budget 1,000", ("sparse-rs", "brusle"), 0.6,
            gain="not lower"),
    Promise("mnist-cnn-l0-25-1000", "MNIST CNN, 25 pixels, budget 1,000", ("sparse-rs", "brusle"), 0.6,
            gain="not lower"),
    Promise("mnist-cnn-linf-0.3-targeted-5000", "targeted, MNIST CNN, L-inf 0.3, budget 5,000", ("foolbox genattack",),
            0.2, success=0.99),
    Promise("mnist-cnn-labels-linf-0.3-1000", "labels only, MNIST CNN, L-inf 0.3, budget 1,000", ("rays",), 0.5),
)  # fmt: skip


class Check(NamedTuple):
    """One figure.

    Attributes:
        wanted, reached: in words.
        met: None where it was not measured.
    """

    wanted: str
    reached: str
    met: bool | None


class Bar(NamedTuple):
    """A promise and what came of it."""

    promise: Promise
    against: str
    images: int
    runs: str
    checks: tuple[Check, ...]


def bar(promise: Promise, groups: Mapping[str, Group], *, ours: str = "genepool") -> Bar:
    """What came of a promise; without the runs nothing is met."""
    found = groups.get(promise.group)
    first = found.entry(ours) if found else None
    rivals = [entry for name in promise.against if found and (entry := found.entry(name))]
    also = [entry for name in promise.also if found and (entry := found.entry(name))]
    wanted = _wanted(promise)
    if found is None or first is None or len(rivals) < len(promise.against):
        return Bar(
            promise, " or ".join(promise.against), 0, "", tuple(Check(words, "not measured", None) for words in wanted)
        )
    rival = strongest([*rivals, *also])
    against = held(first, rival)
    reached: list[tuple[str, bool]] = []
    if promise.mean is not None:
        reached.append((f"{ratio(against.mean)}: {first.mean.value:,.1f} for {rival.mean.value:,.1f}",
                        against.mean.value <= promise.mean))  # fmt: skip
    if promise.median is not None:
        least = promise.median * rival.median < 1
        said = f"{against.median:.{3 if least else 2}f} x: {first.median:,.1f} for {rival.median:,.1f}"
        said += "; no attack can do with less than 1" if least else ""
        reached.append((said, against.median <= promise.median))
    if promise.gain is not None:
        gap = against.success
        low = gap.interval.low if gap.interval else None
        met = (
            low is not None and low > LEAST if promise.gain == "not lower" else gap.value >= float(promise.gain) - 1e-9
        )
        said = f"{points(gap)}: {first.success.value:.1%} for {rival.success.value:.1%}"
        if promise.gain != "not lower" and rival.success.value + float(promise.gain) > 1:
            said += f"; no attack can be more than {(1 - rival.success.value) * 100:.1f} points above that"
        reached.append((said, met))
    if promise.success is not None:
        reached.append((f"{first.success.value:.1%}", first.success.value >= promise.success))
    checks = tuple(Check(words, told, met) for words, (told, met) in zip(wanted, reached, strict=True))
    return Bar(promise, rival.name, found.images, f"{runs_of(first)} and {runs_of(rival)}", checks)


def strongest(rivals: Iterable[Entry]) -> Entry:
    """With the lowest mean."""
    return min(rivals, key=lambda entry: entry.mean.value)


def runs_of(entry: Entry) -> str:
    """How many, and that they are all the same, if so."""
    count = len(entry.runs)
    return f"{count}, all alike" if count > 1 and not entry.draws else str(count)


def _wanted(promise: Promise) -> list[str]:
    words = []
    if promise.mean is not None:
        words.append(f"mean at most {promise.mean:g} x")
    if promise.median is not None:
        words.append(f"median at most {promise.median:g} x")
    if promise.gain == "not lower":
        words.append("success not 2 points lower")
    elif promise.gain is not None:
        words.append(f"success at least {float(promise.gain) * 100:.0f} points higher")
    if promise.success is not None:
        words.append(f"success at least {promise.success:.0%}")
    return words


FAITHFUL = (("square", "torchattacks square"), ("square", "art square"), ("one-pixel", "torchattacks one-pixel"),
            ("one-pixel base=best population=30", "torchattacks one-pixel"),
            ("one-pixel", "art pixel"), ("genattack", "foolbox genattack"))  # fmt: skip


class Likeness(NamedTuple):
    """A recipe beside the installed implementation of its paper."""

    group: Group
    ours: Entry
    theirs: Entry
    held: Held

    @property
    def met(self) -> bool:
        """Within the interval, or better: neither more queries nor fewer successes than chance would tell."""
        mean, success = self.held.mean, self.held.success
        low = mean.interval.low if mean.interval else mean.value
        high = success.interval.high if success.interval else success.value
        return low <= 1 and high >= 0


def likenesses(groups: Iterable[Group]) -> list[Likeness]:
    """Each recipe with each implementation of the same paper, wherever both were run."""
    found = []
    for each in groups:
        for ours, theirs in FAITHFUL:
            one, two = each.entry(ours), each.entry(theirs)
            if one and two:
                found.append(Likeness(each, one, two, held(one, two)))
    return found


def ratio(estimate: Estimate) -> str:
    """0.34 x (0.31 to 0.38)."""
    if estimate.interval is None:
        return f"{estimate.value:.2f} x"
    return f"{estimate.value:.2f} x ({estimate.interval.low:.2f} to {estimate.interval.high:.2f})"


def points(estimate: Estimate) -> str:
    """+10.2 points (8.1 to 12.0)."""
    told = f"{estimate.value * 100:+.1f} points"
    if estimate.interval is not None:
        told += f" ({estimate.interval.low * 100:+.1f} to {estimate.interval.high * 100:+.1f})"
    return told.replace("-", "\N{MINUS SIGN}")


def firsts(entry: Entry) -> list[float | None]:
    """Mean queries over the first 10 and 50 images."""
    return [entry.first(count) for count in FIRST]
