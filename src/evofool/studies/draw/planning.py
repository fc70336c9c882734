"""From a configuration of drawing to its shards: everything is checked here, and nothing is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ... import regions
from ...classifiers.support.settings import Settings
from ...classifiers.support.sources import sourced
from ...contracts import Classifier, ClassifierInfo, Dataset
from ...data import load_test_images
from ...errors import ClassifierError, SpecError, nearest
from ...runs import classifier_of
from ...variants import Variant
from . import drawing
from .drawing import Drawing, Goal, Measure
from .results import Arm
from .shards import Shard

LARGEST = 4096 * 4096  # pixels of a canvas
HELD = 2_000_000_000  # pixels of the members of one run: each takes several bytes
MEMORY = 20_000_000  # pixels of all members that one process holds side by side


@dataclass(frozen=True)
class Config:
    """What to draw.

    Args:
        classifier: as for `load_classifier`; in a plan, its name.
        target: the class that is wanted: its name, or its number.
        options: what there is to say of a classifier that has no card of ours; see `Settings`.
        sources: how it is loaded again, by name; a plan fills it in.
        given: what the user called it; a plan fills it in.
        data: images that tell its shape and classes where nothing else does; None = none.
        data_dir: where named data lie.
        runs: how many; run k has seed k.
        preset, crossover, mutation, goal, measure, weight, confidence, within, population, generations, p_crossover,
        p_mutation, region, stop: see `drawing.settings`.
        size: (height, width) of the canvas; None = that of the classifier's images. Another one is brought to it as the
            classifier itself resizes, else by antialiased bilinear resizing.
        canvas, ink: gray levels, one or one for each channel; None = the background of the classifier's data, and what
            is furthest from it.
        shrink: take away ink after success; None = as the preset has it: the question only ever adds.
        pairs: pairs of pixels, too.
        budget: the most queries of one run.
        total_budget: the most queries of all runs, who get equal shares.
        cache: answer an image that a run has asked about before from its cache.
        confirm: how often a drawing is asked about again, within the budget; None = once where queries are metered.
        side_by_side: runs that one process works on together; None = what memory allows. Changes only the speed.
    """

    classifier: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Settings] = field(default_factory=dict)
    given: str = ""
    data: str | None = None
    data_dir: str | None = None
    runs: int = 30
    preset: str = "economical"
    crossover: str = ""
    mutation: str = ""
    goal: Goal = "confidence"
    measure: Measure = "cross-entropy"
    weight: str = ""
    confidence: float = 0.96
    within: float = 0.01
    population: int | None = None
    generations: int | None = None
    p_crossover: float | None = None
    p_mutation: float | None = None
    region: tuple[str, ...] = ()
    stop: bool | None = None
    size: tuple[int, int] | None = None
    canvas: tuple[float, ...] | None = None
    ink: tuple[float, ...] | None = None
    shrink: bool | None = None
    pairs: bool = True
    budget: int | None = None
    total_budget: int | None = None
    cache: bool = True
    confirm: int | None = None
    side_by_side: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a configuration comes down to."""

    config: Config
    arm: Arm
    drawing: Drawing
    variant: Variant
    info: ClassifierInfo
    target: int
    shards: list[Shard]

    @property
    def evaluations(self) -> int:
        """Drawings that will be made, if neither success nor a budget ends a run before."""
        return sum(shard.evaluations for shard in self.shards)

    @property
    def queries(self) -> int:
        """The most that the runs will ask on their way, and one query of the blank canvas."""
        return 1 + sum(shard.queries for shard in self.shards)


def target_of(target: str, info: ClassifierInfo) -> int:
    """The class of a name or a number.

    Raises:
        SpecError: there is none.
    """
    names = info.class_names
    if target in names:
        return names.index(target)
    if target.isascii() and target.isdigit() and int(target) < len(names):
        return int(target)
    unnamed = all(name == str(number) for number, name in enumerate(names))
    if unnamed:
        raise SpecError(
            f"target '{target}': {info.name} gives its {len(names)} classes no names; expected a number from 0 to "
            f"{len(names) - 1} (where it has no card, --with class_names=FIRST,SECOND,... names them)"
        )
    raise SpecError(
        f"target '{target}': {info.name} has no such class{nearest(target, names)}; it tells apart "
        f"{', '.join(names[:12])}{' ...' if len(names) > 12 else ''}"
    )


def colours(config: Config, info: ClassifierInfo) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Gray levels of the canvas and of the ink: what is said, else the background of the data and its opposite."""
    canvas = config.canvas if config.canvas is not None else (info.background,)
    opposite = tuple(0.0 if level >= 0.5 else 1.0 for level in canvas)
    return canvas, config.ink if config.ink is not None else opposite


def way_to_draw(config: Config, info: ClassifierInfo) -> Drawing:
    """The drawing that a configuration asks for, for images of this classifier."""
    canvas, ink = colours(config, info)
    made = drawing.settings(
        preset=config.preset,
        crossover=config.crossover,
        mutation=config.mutation,
        goal=config.goal,
        measure=config.measure,
        weight=config.weight,
        confidence=config.confidence,
        within=config.within,
        population=config.population,
        generations=config.generations,
        p_crossover=config.p_crossover,
        p_mutation=config.p_mutation,
        region=config.region,
        canvas=canvas,
        ink=ink,
        stop=config.stop,
    )
    return drawing.fitted(made, info.image_shape[0])


def groups(seeds: int, drawing: Drawing, size: tuple[int, int], side_by_side: int | None) -> list[tuple[int, ...]]:
    """Seeds that are worked on together."""
    several = side_by_side or max(1, min(10, MEMORY // (drawing.population * size[0] * size[1])))
    return [tuple(range(seeds)[first : first + several]) for first in range(0, seeds, several)]


def plan(config: Config, *, progress: Callable[[str, int, int], None] | None = None) -> Plan:
    """Resolve and check a configuration, and cut it into shards; nothing is run and nothing is written.

    Args:
        config: what to draw.
        progress: told of downloads, as by `load_data`.

    Raises:
        UserError: whatever is wrong with it, in one line.
    """
    if config.runs < 1:
        raise SpecError(f"runs = {config.runs}: expected at least 1")
    if config.confirm is not None and config.confirm < 0:
        raise SpecError(f"confirm = {config.confirm}: expected 0 or more")
    config = _sourced(replace(config, region=tuple(regions.absolute(text) for text in config.region)), progress)
    own = classifier_of(config.classifier, config.sources).info
    target = target_of(config.target, own)
    size = config.size or (own.image_shape[1], own.image_shape[2])
    if not 2 <= size[0] * size[1] <= LARGEST:
        raise SpecError(f"size = {size[0]} x {size[1]}: expected from 2 to {LARGEST:,} pixels to draw on")
    variant = _resized(classifier_of(config.classifier, config.sources), size)
    info = variant.apply(classifier_of(config.classifier, config.sources)).info
    made = way_to_draw(config, info)
    if made.population * size[0] * size[1] > HELD:
        raise SpecError(
            f"{made.population:,} members of {size[0]} x {size[1]} pixels do not fit into memory: expected at most "
            f"{HELD:,} pixels in all; give a smaller --population or --size"
        )
    if config.goal == "boundary" and info.kind == "label":
        raise SpecError(
            f"{info.name} answers with labels only: how near its boundary an image is cannot be seen from one answer"
        )
    for phase in regions.phases(config.region, drawing.MANY):  # those, too, that the run ends before
        regions.mask(phase.region, *size)
    confirm = int(own.metered) if config.confirm is None else config.confirm
    config = replace(config, confirm=confirm)
    budget = _budget(config)
    shards = [
        Shard(
            arm="draw",
            drawing=made,
            classifier=config.classifier,
            target=target,
            seeds=seeds,
            variant=variant,
            budget=budget,
            cache=config.cache,
            shrink=config.preset != "question" if config.shrink is None else config.shrink,
            pairs=config.pairs,
            confirm=confirm,
            sources=config.sources,
            fingerprints={config.classifier: own.fingerprint},
        )
        for seeds in groups(config.runs, made, size, config.side_by_side)
    ]
    about = drawing.PRESETS[config.preset]
    arm = Arm("draw", about, made.described(), size, made.canvas, made.ink)
    return Plan(config, arm, made, variant, info, target, shards)


def _resized(classifier: Classifier, size: tuple[int, int]) -> Variant:
    """How drawings of a size become images of a classifier: as it resizes itself, if it does."""
    if size == classifier.info.image_shape[1:]:
        return Variant()
    itself = Variant(size=size)
    try:
        itself.apply(classifier)
    except ClassifierError:
        return Variant(size=size, resize="antialias")
    return itself


def _sourced(config: Config, progress: Callable[[str, int, int], None] | None) -> Config:
    """The same, with a name for the classifier and with what it takes to load it again."""
    if config.classifier in config.sources:  # of a run that goes on
        return config
    data: Dataset | None = None
    if config.data is not None:
        data = load_test_images(config.data, data_dir=config.data_dir, image_shape=None, progress=progress)
    name, source = sourced(config.classifier, config.options, data)
    if config.options.keys() - {"device", "trust_code"} and not source:
        raise ClassifierError(
            f"{', '.join(sorted(config.options))} is said of {name}: a card says everything already; leave it out"
        )
    sources = {name: source} if source else {}
    return replace(config, classifier=name, given=config.given or config.classifier, sources=sources)


def _budget(config: Config) -> int | None:
    """What one run may ask, what is set aside to confirm included."""
    limits = [config.budget] if config.budget is not None else []
    if config.total_budget is not None:
        limits.append(config.total_budget // config.runs)
    aside = config.confirm or 0
    if limits and min(limits) <= aside:
        words = f", {aside} of them set aside to confirm" if aside else ""
        raise SpecError(
            f"a budget of {min(limits):,} queries for each of {config.runs:,} runs{words}: expected at least one to "
            "search with; give a larger budget"
        )
    return min(limits, default=None)
