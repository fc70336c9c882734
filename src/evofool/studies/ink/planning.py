"""From a configuration of the ink study to its tasks: everything is checked here, and nothing is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...classifiers.support.settings import Settings
from ...classifiers.support.sources import sourced
from ...contracts import ClassifierInfo, Dataset
from ...errors import ClassifierError, SpecError, nearest
from ...runs import classifier_of
from ...variants import Variant
from ..draw import drawing
from ..draw.planning import groups, target_of
from ..draw.shards import Shard
from . import arms, given, tasks
from .arms import Lengths, Network, Planned, Question
from .results import Arm, Part
from .tasks import MapTask


@dataclass(frozen=True)
class Config:
    """What to find out.

    Args:
        classifier: the network that is explained; in a plan, its name.
        target: the class that is drawn.
        others: more networks: those of the same architecture that were trained with another padding tell what padding
            does in general; all are shown the drawings. In a plan these are names.
        data: the training images; None = parts that need them are left out.
        data_dir: where named data lie.
        options, sources: as of `draw`.
        said: what the user called each network, by name; a plan fills it in.
        parts: see `arms.PARTS`; () = all.
        quick: short runs, to see that everything works.
        runs, fewer, generations, confined, free: see `arms.Lengths`; None = as they are there.
        confidence: that a drawing is to reach.
        population: members of a run.
        canvas, ink: gray levels; None = the background of the classifier's data, and its opposite.
        pixels: that are tried for a map; None = all of a canvas of up to 128 x 128.
        budget: the most queries of one run.
        side_by_side: runs that one process works on together; changes only the speed.
    """

    classifier: str
    target: str
    others: tuple[str, ...] = ()
    data: str | None = None
    data_dir: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Settings] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    quick: bool = False
    runs: int | None = None
    fewer: int | None = None
    generations: int | None = None
    confined: int | None = None
    free: int | None = None
    confidence: float = 0.96
    population: int = 100
    canvas: tuple[float, ...] | None = None
    ink: tuple[float, ...] | None = None
    pixels: int | None = None
    budget: int | None = None
    side_by_side: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a configuration comes down to.

    Attributes:
        config: with everything in it that was found out.
        question: what all arms share.
        target: number of the wanted class.
        planned: the arms.
        shards: what is drawn.
        maps: what is mapped.
        training: training images with the classes of the network, where there are any.
        test: likewise.
        transferred: networks that drawings are shown to: their label, and their number of the wanted class.
        networks: all, the one that is explained first.
        skipped: part, and why it is left out.
    """

    config: Config
    question: Question
    target: int
    planned: list[Planned]
    drawn: list[Shard]
    maps: list[MapTask]
    training: Dataset | None
    test: given.Images | None
    transferred: dict[str, tuple[str, int]]
    networks: list[Network]
    skipped: list[tuple[str, str]]

    @property
    def shards(self) -> list[Any]:
        """All tasks, the longest first, so that nobody waits for one at the end."""
        return sorted([*self.drawn, *self.maps], key=lambda task: -task.evaluations)

    @property
    def evaluations(self) -> int:
        """Images that will be made."""
        return sum(task.evaluations for task in self.shards)

    @property
    def queries(self) -> int:
        """The most that will be asked, besides what shrinking takes; constant fitness asks nobody."""
        return sum(task.queries for task in self.shards if not task.variant.flat)

    @property
    def tested(self) -> list[tuple[str, Variant]]:
        """Networks and changes whose accuracy is wanted."""
        arms = (arm for arm in self.planned if not arm.variant.flat and arm.variant.size is None)
        return list(dict.fromkeys((arm.classifier, arm.variant) for arm in arms))

    @property
    def besides(self) -> int:
        """The most that is asked on test images, and about drawings that are shown otherwise."""
        tests = len(self.tested) * len(self.test.images) if self.test else 0
        shown = len(self.transferred) + tasks.OTHERWISE if "transfer" in parts_of(self.config) else 0
        return tests + shown * self.question.lengths.runs

    def reported(self) -> list[Arm]:
        """The arms as they are reported."""
        sizes = {shard.arm: shard.load_size() for shard in self.drawn}
        return [
            Arm(
                name=arm.name,
                part=arm.part,
                about=arm.about,
                partner=arm.partner,
                null=arm.null,
                classifier=arm.classifier,
                variant=arm.variant.name,
                tags=arm.tags,
                settings=arm.drawing.described(),
                size=sizes[arm.name],
                canvas=arm.drawing.canvas,
                ink=arm.drawing.ink,
            )
            for arm in self.planned
        ]


def _names(config: Config) -> list[str]:
    return [config.classifier, *config.others]


def parts_of(config: Config) -> tuple[Part, ...]:
    """The parts that are asked for, in their order.

    Raises:
        SpecError: an unknown one.
    """
    for part in config.parts:
        if part not in arms.PARTS:
            raise SpecError(f"unknown part '{part}'{nearest(part, arms.PARTS)}")
    return tuple(part for part in arms.PARTS if not config.parts or part in config.parts)


def lengths(config: Config) -> Lengths:
    """How much is run.

    Raises:
        SpecError: too little.
    """
    usual = arms.QUICK if config.quick else Lengths()
    if config.runs is not None:
        usual = usual._replace(runs=config.runs, fewer=min(usual.fewer, config.runs))
    said = {name: getattr(config, name) for name in ("fewer", "generations", "confined", "free")}
    found = usual._replace(**{name: value for name, value in said.items() if value is not None})
    for name, value in found._asdict().items():
        if value < 1:
            raise SpecError(f"{name} = {value}: expected at least 1")
    return found


def plan(config: Config, *, progress: Callable[[str, int, int], None] | None = None) -> Plan:
    """Resolve and check a configuration; nothing is run and nothing is written.

    Args:
        config: what to find out.
        progress: told of downloads, as by `load_data`.

    Raises:
        UserError: whatever is wrong with it, in one line.
    """
    parts, much = parts_of(config), lengths(config)
    for name in ("budget", "pixels"):
        if (value := getattr(config, name)) is not None and value < 1:
            raise SpecError(f"{name} = {value}: expected at least 1")
    config = _sourced(config)
    first = classifier_of(config.classifier, config.sources)
    info, target = first.info, target_of(config.target, first.info)
    canvas = config.canvas if config.canvas is not None else (info.background,)
    ink = config.ink if config.ink is not None else tuple(0.0 if level >= 0.5 else 1.0 for level in canvas)
    like = drawing.fitted(
        drawing.settings(preset="question", confidence=config.confidence, canvas=canvas, ink=ink), info.image_shape[0]
    )
    skipped: list[tuple[str, str]] = []
    loaded = [classifier_of(name, config.sources) for name in _names(config)]
    networks: list[Network] = []
    for each in zip(_names(config), loaded, strict=True):
        reasons: list[tuple[str, str]] = []
        # The pipeline is that of the first.
        wanted = {"padding"} if networks else {"padding", "pipeline"}
        networks.append(given.network(*each, reasons))
        skipped += [(part, why) for part, why in reasons if part in parts and part in wanted]
    labels = [network.label for network in networks]
    if len(set(labels)) < len(labels):  # cards of one name
        networks = [network._replace(label=network.name) for network in networks]
    pairs = list(zip(networks, loaded, strict=True))
    same = [pair[0] for pair in pairs[1:] if given.same_architecture(pairs[0], pair)]
    if "padding" in parts and not networks[0].swaps:
        parts = tuple(part for part in parts if part != "padding")
    elif "padding" in parts and not same:
        skipped.append(("padding", "no network of the same architecture trained with another padding was given"))
    question = Question(networks[0], tuple(same), config.confidence, config.population, like.canvas, like.ink, much)
    training, test = None, None
    if config.data is not None:
        training, test = given.images(config.data, config.data_dir, info, target, progress=progress)
    elif "data" in parts:
        skipped.append(("data", "no training images were given (--data)"))
    planned = arms.planned(question, parts)
    sources = {"sources": config.sources, "fingerprints": _fingerprints(config)}
    targets = _transferred(networks, [each.info for each in loaded], target, skipped) if "transfer" in parts else {}
    return Plan(
        config,
        question,
        target,
        planned,
        [shard for arm in planned for shard in _shards(arm, config, target, question, sources)],
        _maps(parts, question, planned, config, target, sources),
        training if "data" in parts else None,
        test if "padding" in parts or "pipeline" in parts else None,
        targets,
        networks,
        skipped,
    )


def _shards(arm: Planned, config: Config, target: int, question: Question, sources: dict[str, Any]) -> list[Shard]:
    size = arm.variant.size or question.first.size
    return [
        Shard(
            arm=arm.name,
            drawing=arm.drawing,
            classifier=arm.classifier,
            variant=arm.variant,
            target=target,
            seeds=seeds,
            budget=None if arm.variant.flat else config.budget,
            shrink=arm.shrink,
            **sources,
        )
        for seeds in groups(arm.runs, arm.drawing, size, config.side_by_side)
    ]


def _maps(
    parts: tuple[Part, ...],
    question: Question,
    planned: list[Planned],
    config: Config,
    target: int,
    sources: dict[str, Any],
) -> list[MapTask]:
    """One for each network as it stands in an arm; of the first also on each gray level of the blank."""
    if "landscape" not in parts:
        return []
    size = question.first.size
    wanted = [(question.first.name, Variant(), question.canvas, question.ink)]
    for arm in planned:
        if not arm.variant.flat and arm.variant.size is None:
            wanted.append((arm.classifier, arm.variant, arm.drawing.canvas, arm.drawing.ink))
    return [
        MapTask(name, variant, target, canvas, ink, size, config.pixels, pairs=not number, **sources)
        for number, (name, variant, canvas, ink) in enumerate(dict.fromkeys(wanted))
    ]


def _fingerprints(config: Config) -> dict[str, str]:
    return {name: classifier_of(name, config.sources).info.fingerprint for name in _names(config)}


def _sourced(config: Config) -> Config:
    """The same, with names for all networks and with what it takes to load them again."""
    sources, said = dict(config.sources), dict(config.said)
    names: list[str] = []
    specs = _names(config)
    if len(set(specs)) < len(specs):
        raise SpecError(f"classifiers {', '.join(specs)}: the same one stands there twice")
    for spec in specs:
        name = spec
        if spec not in config.sources:
            name, source = sourced(spec, config.options, None, {*names, *specs} - {spec})
            sources |= {name: source} if source else {}
        said.setdefault(name, spec)
        names.append(name)
    if config.options.keys() - {"device", "trust_code"} and not sources:
        raise ClassifierError(
            f"{', '.join(sorted(config.options))} is said of {', '.join(names)}: a card says everything already; "
            f"leave it out"
        )
    return replace(config, classifier=names[0], others=tuple(names[1:]), sources=sources, said=said)


def _transferred(
    networks: list[Network],
    infos: list[ClassifierInfo],
    target: int,
    skipped: list[tuple[str, str]],
) -> dict[str, tuple[str, int]]:
    """Networks that can be shown the drawings: their label, and their number of the wanted class."""
    own, found = infos[0], {}
    wanted = own.class_names[target]
    for network, info in zip(networks[1:], infos[1:], strict=True):
        if info.image_shape != own.image_shape:
            skipped.append(("transfer", f"{network.label} takes images of {info.image_shape}, not {own.image_shape}"))
        elif wanted not in info.class_names:
            skipped.append(("transfer", f"{network.label} has no class '{wanted}'"))
        else:
            found[network.name] = (network.label, info.class_names.index(wanted))
    if not found:
        skipped.append(("transfer", "no other network that could be shown the drawings was given"))
    return found
