"""Runs the arms of the study over seeds and classifiers, and collects their numbers."""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ... import __version__, criteria, genome, objectives
from ...classifiers import load_classifier
from ...contracts import Classifier, ClassifierInfo, Dataset, Evaluated
from ...data import load_data
from ...encodings.pixels import Pixels, to_lattice
from ...errors import ClassifierError, DataError, SpecError, nearest
from ...executors.local import map_shards, one_thread
from ...genome import Labelled
from ...ledger import Ledger
from ...rng import Stream, search_id
from ...search import Problem, Progress, run
from . import measure, scenarios
from .results import Gallery, Results, Run, Target
from .scenarios import Scenario

SHOWN = 20  # members of a gallery


@dataclass(frozen=True)
class Config:
    """What to run.

    Args:
        data: the images that evolve; see `load_data`.
        data_dir: where named data lie; None = the usual places.
        classifiers: targets; the first one also gets the parts that need only one.
        judge: an independent classifier; "" = none.
        seeds: how many; seed k fixes one draw of images that all arms share.
        parts: see `scenarios.PARTS`.
        names: only these of the twelve scenarios and elitism, and the controls they are compared with; () = all.
        settings: values by setting; several values make a sweep of the chosen scenarios.
        side_by_side: seeds that one process runs together; changes nothing but the speed.
    """

    data: str = "mnist"
    data_dir: str | None = None
    classifiers: tuple[str, ...] = ("mnist95",)
    judge: str = "mnist99"
    seeds: int = 10
    parts: tuple[str, ...] = ("scenarios", "controls", "judge", "hypotheses")
    names: tuple[str, ...] = ()
    settings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    side_by_side: int = 2


@dataclass(frozen=True)
class Shard:
    """One arm on one classifier for some seeds: what one worker does at a time."""

    scenario: Scenario
    classifier: str
    seeds: tuple[int, ...]
    data: str
    data_dir: str | None
    judge: str
    gallery: bool

    @property
    def evaluations(self) -> int:
        """Images that the target will be asked about, elites left aside."""
        return (self.scenario.arm.generations + 1) * self.scenario.population * len(self.seeds)


@dataclass(frozen=True)
class Plan:
    """What a configuration comes down to."""

    config: Config
    scenarios: list[Scenario]
    shards: list[Shard]
    dataset: Dataset

    @property
    def evaluations(self) -> int:
        """Images that the targets will be asked about."""
        return sum(shard.evaluations for shard in self.shards)


@functools.lru_cache(maxsize=8)
def _classifier(spec: str) -> Classifier:
    return load_classifier(spec)


@functools.lru_cache(maxsize=2)
def _dataset(spec: str, data_dir: str | None) -> Dataset:
    return load_data(spec, split="test", data_dir=Path(data_dir) if data_dir else None)


def check_fit(info: ClassifierInfo, dataset: Dataset) -> None:
    """Refuse a classifier that was made for other images or classes.

    Raises:
        ClassifierError: names both sides.
    """
    shape = tuple(dataset.images.shape[1:])
    if info.image_shape != shape:
        raise ClassifierError(
            f"{info.name} expects images of shape {info.image_shape} (C, H, W), but {dataset.name} has {shape}: "
            f"choose a classifier trained on such images"
        )
    if len(info.class_names) != len(dataset.class_names):
        raise ClassifierError(
            f"{info.name} tells {len(info.class_names)} classes apart, but {dataset.name} has "
            f"{len(dataset.class_names)}: choose a classifier trained on the same classes"
        )


def _arms(config: Config, images: int) -> list[Scenario]:
    """The arms that a configuration asks for, checked."""
    for part in config.parts:
        if part not in scenarios.PARTS:
            raise SpecError(f"unknown part '{part}'{nearest(part, scenarios.PARTS)}")
    if config.seeds < 1:
        raise SpecError(f"seeds = {config.seeds}: expected at least 1")
    if len(set(config.classifiers)) != len(config.classifiers):
        raise SpecError(f"classifiers {', '.join(config.classifiers)}: the same one stands there twice")

    fixed = {name: values[0] for name, values in config.settings.items() if len(values) == 1}
    # Fixed settings hold for every arm; elites only where there is elitism, the size where there is a tournament.
    base = scenarios.configured(scenarios.base(), {k: v for k, v in fixed.items() if k != "elites"})
    plain = [*scenarios.scenarios(base), scenarios.elitism(base)]
    if "elites" in fixed:
        plain = [scenarios.configured(s, {"elites": fixed["elites"]}) if s.algorithm.elites else s for s in plain]
    controls = scenarios.controls(base)
    if config.names:
        plain = scenarios.select(config.names, plain)
        wanted = {s.arm.partner for s in plain}
        controls = [s for s in controls if s.arm.name in wanted]
    varied = {name: values for name, values in config.settings.items() if len(values) > 1}
    arms: list[Scenario] = []
    if varied:
        # A sweep: the controls are swept with the scenarios, so that each point has its own.
        chosen = plain if "scenarios" in config.parts else []
        beside = controls if "controls" in config.parts else []
        arms += scenarios.sweep(
            [*chosen, *beside], varied, partner=lambda arm, point: f"{arm.partner}@{point}" if arm.partner else ""
        )
    else:
        arms += plain if "scenarios" in config.parts else []
        arms += controls if "controls" in config.parts else []
        if "hypotheses" in config.parts:
            arms += [s for s in scenarios.hypotheses(base) if not config.names or s.arm.partner in config.names]
        arms += scenarios.generations(base) if "generations" in config.parts else []
        arms += scenarios.rates(base) if "rates" in config.parts else []
        arms += scenarios.all_images(base) if "all-images" in config.parts else []
    if not arms:
        raise SpecError("there is nothing to run: expected at least one of the parts scenarios, controls, hypotheses")
    size = {name: value for name, value in fixed.items() if name == "tournament_size"}
    arms = [replace(scenarios.configured(s, size), population=s.population or images) for s in arms]
    for s in arms:
        if s.population > images:
            raise DataError(
                f"{images} test images for a population of {s.population}: "
                f"give more images, or --set population={images}"
            )
        entrants = scenarios.largest_tournament(s)
        if entrants > s.population:
            raise SpecError(
                f"a tournament of {entrants} in a population of {s.population}: "
                f"expected at most the population; --set tournament_size={s.population} or smaller"
            )
        if s.algorithm.elites >= s.population:
            raise SpecError(
                f"{s.algorithm.elites} elites in a population of {s.population}: expected fewer elites than members; "
                f"--set elites={max(0, s.population - 1)} or smaller"
            )
    return arms


def plan(config: Config, *, progress: Callable[[str, int, int], None] | None = None) -> Plan:
    """Resolve and check a configuration, and cut it into shards; nothing is run and nothing is written.

    Args:
        config: what to run.
        progress: told of downloads, as by `load_data`.

    Raises:
        UserError: whatever is wrong with it, in one line.
    """
    folder = Path(config.data_dir) if config.data_dir else None
    dataset = load_data(config.data, split="test", data_dir=folder, progress=progress)
    judge = config.judge if "judge" in config.parts else ""
    for name in [*config.classifiers, *([judge] if judge else [])]:
        check_fit(_classifier(name).info, dataset)
    arms = _arms(config, len(dataset))
    shards = []
    for number, classifier in enumerate(config.classifiers):
        for arm in arms:
            if number and not arm.everywhere:
                continue
            seeds = range(min(config.seeds, arm.seeds or config.seeds))
            for first in range(0, len(seeds), config.side_by_side):
                shown = not number and not first and arm.arm.group in ("scenario", "elitism", "control")
                part = tuple(seeds[first : first + config.side_by_side])
                shards.append(Shard(arm, classifier, part, config.data, config.data_dir, judge, gallery=shown))
    return Plan(config, arms, shards, dataset)


def forecast(plan: Plan, workers: int) -> float:
    """Seconds that a plan will take, from a trial of one micro-batch on each target.

    The operators, the bookkeeping and the judge are taken as a third of the targets' own time.
    """
    total = 0.0
    with one_thread():
        for name in plan.config.classifiers:
            classifier = _classifier(name)
            rows = plan.dataset.images[: classifier.info.micro_batch].float() / 255
            classifier(rows)
            started = time.perf_counter()
            classifier(rows)
            each = (time.perf_counter() - started) / len(rows)
            total += each * sum(shard.evaluations for shard in plan.shards if shard.classifier == name)
    start_up = 4.0 if workers > 1 else 0.0
    return start_up + 1.33 * total / max(1, min(workers, len(plan.shards)))


def population(dataset: Dataset, seeds: Sequence[int], size: int) -> Labelled:
    """The images that seed k starts from, for each seed: the same whatever else is run."""
    stream = Stream(seeds, [search_id("population")] * len(seeds))
    drawn = stream["images"].permutation(len(dataset))[:, :size]
    images = dataset.images[drawn].float() / 255
    return Labelled(images, dataset.labels[drawn].long(), torch.arange(size).expand(len(seeds), size).clone())


@dataclass
class _Curves:
    """The numbers of each generation, collected while a search runs; one list for each seed."""

    info: ClassifierInfo
    plain: bool
    tables: list[torch.Tensor] = field(default_factory=list)
    totals: list[torch.Tensor] = field(default_factory=list)

    def __call__(self, progress: Progress, evaluated: Evaluated) -> None:
        state = progress.state
        labels = state.genomes.label
        self.tables.append(measure.confusion(labels, measure.predictions(state.scores), len(self.info.class_names)))
        # Every arm is measured by the paper's total, whatever it is told to lower.
        each = -state.fitness if self.plain else objectives.timbe_total(state.scores, labels, self.info)
        self.totals.append(each.nansum(1))

    def of(self, row: int) -> dict[str, list[Any]]:
        """The curves of one seed, rounded to what can be told apart."""
        tables = torch.stack(self.tables)[:, row]
        curves = dict(zip(("accuracy", "precision", "recall", "f1"), measure.macro(tables), strict=True))
        curves["total_fitness"] = torch.stack(self.totals)[:, row]
        rounded = {name: [round(value, 6) for value in values.tolist()] for name, values in curves.items()}
        return {**rounded, "failed": tables[:, :, -1].sum(1).tolist()}


def run_shard(shard: Shard, tick: Callable[[int], None]) -> tuple[list[Run], dict[str, Any] | None, float]:
    """Run one shard.

    Returns:
        The runs by seed; what the gallery of the first seed shows, if it is wanted; the seconds it took.
    """
    started = time.perf_counter()
    scenario, classifier = shard.scenario, _classifier(shard.classifier)
    dataset = _dataset(shard.data, shard.data_dir)
    first = population(dataset, shard.seeds, scenario.population)
    ledger = Ledger(classifier, searches=len(shard.seeds))
    rng = Stream(shard.seeds, [search_id(scenario.arm.name)] * len(shard.seeds))
    curves = _Curves(classifier.info, scenario.objective == scenarios.PAPER_OBJECTIVE)

    def on_generation(progress: Progress, evaluated: Evaluated) -> None:
        curves(progress, evaluated)
        tick(scenario.population * len(shard.seeds))

    last = run(
        Problem(first, rng),
        algorithm=scenario.algorithm,
        encoding=Pixels(),
        objective=scenario.objective,
        criterion=criteria.misclassified,
        ledger=ledger,
        generations=scenario.arm.generations,
        on_generation=on_generation,
    )
    genomes, scores = last.state.genomes, last.state.scores
    images = to_lattice(genome.genes(genomes), None)
    predicted = measure.predictions(scores)
    tables = measure.confusion(genomes.label, predicted, len(classifier.info.class_names))
    counts = ledger.counts
    judge = _classifier(shard.judge) if shard.judge else None
    runs = []
    for row, seed in enumerate(shard.seeds):
        origin = first.genes[row][genomes.ancestor[row]]
        runs.append(
            Run(
                arm=scenario.arm.name,
                classifier=shard.classifier,
                seed=seed,
                **curves.of(row),
                confusion=tables[row].tolist(),
                ancestors=len(genomes.ancestor[row].unique()),
                issued=int(counts.issued[row]),
                judged=measure.judged(judge, images[row], genomes.label[row], predicted[row]) if judge else None,
                distance=measure.distance(images[row], origin),
            )
        )
    shown = _shown(shard, first, genomes, images, scores, classifier.info) if shard.gallery else None
    return runs, shown, time.perf_counter() - started


def _shown(
    shard: Shard, first: Labelled, genomes: Labelled, images: torch.Tensor, scores: torch.Tensor, info: ClassifierInfo
) -> dict[str, Any]:
    """The first members of the first seed: an unchosen sample, fooled or not."""
    count = min(SHOWN, images.shape[1])
    ancestors = genomes.ancestor[0, :count]
    predicted = measure.predictions(scores[0, :count])
    pair = torch.stack([first.genes[0][ancestors], images[0, :count]])  # [2 n C H W]
    sheet = (pair * 255).round().byte().permute(2, 0, 3, 1, 4).flatten(1, 2).flatten(2, 3)  # [C 2H nW]
    confidence = objectives.probabilities(scores[0, :count], info).amax(-1)
    return {
        "sheet": sheet,
        "gallery": Gallery(
            arm=shard.scenario.arm.name,
            file=f"images/{shard.scenario.arm.name}.png",
            labels=genomes.label[0, :count].tolist(),
            ancestor_labels=first.label[0][ancestors].tolist(),
            predictions=[-1 if p == len(info.class_names) else p for p in predicted.tolist()],
            confidences=[round(c, 4) for c in confidence.nan_to_num(0.0).tolist()],
        ),
    }


def _target(spec: str, dataset: Dataset) -> Target:
    """A classifier's own report on the images that the populations are drawn from."""
    classifier = _classifier(spec)
    scores = measure.ask(classifier, dataset.images.float() / 255)
    table = measure.confusion(
        dataset.labels[None].long(), measure.predictions(scores)[None], len(classifier.info.class_names)
    )
    accuracy = float(measure.macro(table)[0][0])
    card = getattr(classifier, "card", None)
    return Target(spec, classifier.info.fingerprint, round(accuracy, 6), table[0].tolist(), dict(card or {}))


def versions() -> dict[str, str]:
    """Of everything that computes."""
    libraries = ("torch", "numpy", "scipy", "scikit-learn", "torchmetrics")
    return {
        "python": platform.python_version(),
        "evofool": __version__,
        **{name: metadata.version(name) for name in libraries},
    }


@dataclass(frozen=True)
class Outcome:
    """Everything a study leaves behind.

    Attributes:
        results: the numbers, the same for any number of workers.
        sheets: pictures by file name, bytes [C H W].
        seconds: how long each arm took, summed over seeds and classifiers.
    """

    results: Results
    sheets: dict[str, torch.Tensor]
    seconds: dict[str, float]


def execute(
    plan: Plan, *, workers: int | None = None, command: str = "", on_tick: Callable[[int], None] | None = None
) -> Outcome:
    """Run a plan.

    Args:
        plan: from `plan`.
        workers: processes; None = one for each processor.
        command: recorded as what repeats the study.
        on_tick: called with the number of images asked since the last call.
    """
    config = plan.config
    done = map_shards(run_shard, plan.shards, workers=workers, on_tick=on_tick)
    seconds: dict[str, float] = {}
    for shard, (_, _, took) in zip(plan.shards, done, strict=True):
        seconds[shard.scenario.arm.name] = seconds.get(shard.scenario.arm.name, 0.0) + took
    shown = [item for _, item, _ in done if item]
    with one_thread():  # as in the workers: the same sums in the same order
        targets = [_target(name, plan.dataset) for name in config.classifiers]
        judge = _target(config.judge, plan.dataset) if config.judge and "judge" in config.parts else None
    results = Results(
        command=command,
        config={
            "data": config.data,
            "classifiers": list(config.classifiers),
            "judge": config.judge if "judge" in config.parts else "",
            "seeds": list(range(config.seeds)),
            "parts": list(config.parts),
            "scenarios": list(config.names),
            "settings": {name: list(values) for name, values in config.settings.items()},
            "threads": 1,
            "micro_batch": {name: _classifier(name).info.micro_batch for name in config.classifiers},
            "memory_format": {name: _classifier(name).info.memory_format for name in config.classifiers},
        },
        versions=versions(),
        data={"name": plan.dataset.name, "fingerprint": plan.dataset.fingerprint, "count": len(plan.dataset)},
        class_names=list(plan.dataset.class_names),
        targets=targets,
        judge=judge,
        arms=[scenario.described() for scenario in plan.scenarios],
        runs=[run for runs, _, _ in done for run in runs],
        galleries=[item["gallery"] for item in shown],
    )
    return Outcome(results, {item["gallery"].file: item["sheet"] for item in shown}, seconds)
