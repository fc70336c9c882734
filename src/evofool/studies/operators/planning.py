"""From a configuration of the study to its shards: everything is checked here, and nothing is run."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ... import runs
from ...classifiers.support.settings import Settings
from ...classifiers.support.sources import sourced
from ...contracts import Classifier, ClassifierInfo, Dataset
from ...data import load_test_images
from ...errors import ClassifierError, DataError, SpecError, nearest
from ...executors.local import one_thread
from ...runs import classifier_of
from ...store import Store
from . import measure, scenarios
from .scenarios import Scenario


@dataclass(frozen=True)
class Config:
    """What to run.

    Args:
        data: the images that evolve; see `load_data`.
        data_dir: where named data lie; None = the usual places.
        image_shape: (C, H, W) that the images are brought to when they are read; None = as they are, all of one shape.
        classifiers: targets, as for `load_classifier`; the first one also gets the parts that need only one. In a plan
            these are names.
        judge: an independent classifier; "" = none.
        options: what there is to say of targets and judge that have no card of ours; see `Settings`.
        sources: how those are loaded again, by name; a plan fills it in.
        given: what the user called each classifier, by name; a plan fills it in.
        seeds: how many; seed k fixes one draw of images that all arms share.
        parts: see `scenarios.PARTS`.
        names: only these of the twelve scenarios and elitism, and the controls they are compared with; () = all.
        settings: values by setting; several values make a sweep of the chosen scenarios.
        side_by_side: seeds that one process runs together; changes nothing but the speed.
        budget: the most queries of one search, which is one arm, classifier and seed; None = no limit.
        total_budget: the most queries of all searches, who get equal shares of it; None = no limit.
        cache: answer an image that a search has asked about before from its cache.
        confirm: how often an image that fooled is asked about again; these queries are set aside from the budget, and
            only what fools each time is a finding. None = once where a target is metered, else never.
    """

    data: str = "mnist"
    data_dir: str | None = None
    image_shape: tuple[int, int, int] | None = None
    classifiers: tuple[str, ...] = ("mnist95",)
    judge: str = "mnist99"
    options: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Settings] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    seeds: int = 10
    parts: tuple[str, ...] = ("scenarios", "controls", "judge", "hypotheses")
    names: tuple[str, ...] = ()
    settings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    side_by_side: int = 2
    budget: int | None = None
    total_budget: int | None = None
    cache: bool = True
    confirm: int | None = None


@dataclass(frozen=True)
class Shard:
    """One arm on one classifier for some seeds: what one worker does at a time."""

    scenario: Scenario
    classifier: str
    seeds: tuple[int, ...]
    data: str
    data_dir: str | None
    image_shape: tuple[int, int, int] | None
    judge: str
    gallery: bool
    sources: Mapping[str, Settings] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    budget: int | None = None
    cache: bool = True
    confirm: int = 0
    directory: str = ""

    @property
    def name(self) -> str:
        """What it is in the ledger and in messages."""
        return f"{self.scenario.arm.name} on {self.classifier}, seeds {', '.join(map(str, self.seeds))}"

    def load(self, name: str) -> Classifier:
        """Its target or judge.

        Raises:
            ClassifierError: it is not the one that the plan was made for.
        """
        return runs.loaded(name, self.sources, self.fingerprints)

    def searches(self) -> list[str]:
        """What its searches are in the ledger."""
        return [f"{self.scenario.arm.name}/{self.classifier}/{seed}" for seed in self.seeds]

    @property
    def evaluations(self) -> int:
        """Images that the target will be asked about, elites left aside."""
        return (self.scenario.arm.generations + 1) * self.scenario.population * len(self.seeds)

    @property
    def queries(self) -> int:
        """The most that its searches will ask."""
        return self.evaluations if self.budget is None else min(self.evaluations, self.budget * len(self.seeds))


@dataclass(frozen=True)
class Plan:
    """What a configuration comes down to."""

    config: Config
    scenarios: list[Scenario]
    shards: list[Shard]
    dataset: Dataset

    @property
    def evaluations(self) -> int:
        """Images that the targets will be asked about, if no budget ends a search before."""
        return sum(shard.evaluations for shard in self.shards)

    @property
    def queries(self) -> int:
        """The most that the searches will ask."""
        return sum(shard.queries for shard in self.shards)


@functools.lru_cache(maxsize=2)
def dataset_of(spec: str, data_dir: str | None, image_shape: tuple[int, int, int] | None) -> Dataset:
    """The images of a name, read once for each process."""
    return load_test_images(spec, data_dir=data_dir, image_shape=image_shape)


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
    if info.class_names != dataset.class_names and set(info.class_names) == set(dataset.class_names):
        raise ClassifierError(
            f"{info.name} tells its classes in another order ({', '.join(info.class_names[:5])} ...) than "
            f"{dataset.name} ({', '.join(dataset.class_names[:5])} ...): expected the same one"
        )
    if len(info.class_names) != len(dataset.class_names):
        raise ClassifierError(
            f"{info.name} tells {len(info.class_names)} classes apart, but {dataset.name} has "
            f"{len(dataset.class_names)}: this study evolves images of all classes, so choose a classifier of the same "
            f"ones (`evofool doctor` looks at any)"
        )


def _arms(config: Config, images: int) -> list[Scenario]:
    """The arms that a configuration asks for, checked."""
    for part in config.parts:
        if part not in scenarios.PARTS:
            raise SpecError(f"unknown part '{part}'{nearest(part, scenarios.PARTS)}")
    if config.seeds < 1:
        raise SpecError(f"seeds = {config.seeds}: expected at least 1")
    if config.confirm is not None and config.confirm < 0:
        raise SpecError(f"confirm = {config.confirm}: expected 0 or more")
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
    dataset = load_test_images(config.data, data_dir=config.data_dir, image_shape=config.image_shape, progress=progress)
    judged = bool(config.judge) and "judge" in config.parts
    config = _sourced(config, dataset, judged=judged)
    judge = config.judge if judged else ""
    fingerprints = {}
    for name in [*config.classifiers, *([judge] if judge else [])]:
        info = classifier_of(name, config.sources).info
        check_fit(info, dataset)
        fingerprints[name] = info.fingerprint
    arms = _arms(config, len(dataset))
    if config.confirm is None:
        metered = any(classifier_of(name, config.sources).info.metered for name in config.classifiers)
        config = replace(config, confirm=int(metered))
    confirm = config.confirm or 0
    shards = []
    for number, classifier in enumerate(config.classifiers):
        for arm in arms:
            if number and not arm.everywhere:
                continue
            seeds = range(min(config.seeds, arm.seeds or config.seeds))
            for first in range(0, len(seeds), config.side_by_side):
                shown = not number and not first and arm.arm.group in ("scenario", "elitism", "control")
                shards.append(
                    Shard(
                        scenario=arm,
                        classifier=classifier,
                        seeds=tuple(seeds[first : first + config.side_by_side]),
                        data=config.data,
                        data_dir=config.data_dir,
                        image_shape=config.image_shape,
                        judge=judge,
                        gallery=shown,
                        sources=config.sources,
                        fingerprints=fingerprints,
                        cache=config.cache,
                        confirm=confirm,
                    )
                )
    budget = _budget(config, sum(len(shard.seeds) for shard in shards))
    return Plan(config, arms, [replace(shard, budget=budget) for shard in shards], dataset)


def _sourced(config: Config, dataset: Dataset, *, judged: bool) -> Config:
    """The same, with names for all classifiers and with what it takes to load them again."""
    sources, given = dict(config.sources), dict(config.given)
    names: list[str] = []
    specs = [*config.classifiers, *([config.judge] if judged else [])]
    for spec in specs:
        name = spec
        if spec not in config.sources:  # else it is the name of one in a run that goes on
            name, source = sourced(spec, config.options, dataset, {*names, *specs} - {spec})
            sources |= {name: source} if source else {}
        given.setdefault(name, spec)
        names.append(name)
    if config.options.keys() - {"device", "trust_code"} and not sources:
        raise ClassifierError(
            f"{', '.join(sorted(config.options))} is said of {', '.join(names)}: a card says everything already; "
            f"leave it out"
        )
    targets, judges = names[: len(config.classifiers)], names[len(config.classifiers) :]
    judge = judges[0] if judges else config.judge
    return replace(config, classifiers=tuple(targets), judge=judge, sources=sources, given=given)


def _budget(config: Config, searches: int) -> int | None:
    """What one search may ask, what is set aside to confirm included."""
    limits = [config.budget] if config.budget is not None else []
    if config.total_budget is not None:
        limits.append(config.total_budget // searches)
    aside = config.confirm or 0
    if limits and min(limits) <= aside:
        words = f", {aside} of them set aside to confirm" if aside else ""
        raise SpecError(
            f"a budget of {min(limits):,} queries for each of {searches:,} searches{words}: expected at least one to "
            "search with; give a larger budget"
        )
    return min(limits, default=None)


def forecast(plan: Plan, workers: int, store: Store | None = None) -> float:
    """Seconds that a plan will take, from a trial of one micro-batch on each target.

    The operators, the bookkeeping and the judge are taken as a third of the targets' own time. A metered target is not
    tried, and its time left out.

    Args:
        plan: from `plan`.
        workers: processes.
        store: where the trial is counted.
    """
    total = 0.0
    with one_thread():
        for name in plan.config.classifiers:
            classifier = classifier_of(name, plan.config.sources)
            if classifier.info.metered:
                continue
            rows = plan.dataset.images[: classifier.info.micro_batch].float() / 255
            for _ in range(2):  # the first one warms up
                started = time.perf_counter()
                measure.ask(classifier, rows, account=f"forecast/{name}", store=store)
                each = (time.perf_counter() - started) / len(rows)
            total += each * sum(shard.evaluations for shard in plan.shards if shard.classifier == name)
    start_up = 4.0 if workers > 1 else 0.0
    return start_up + 1.33 * total / max(1, min(workers, len(plan.shards)))
