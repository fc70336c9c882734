"""What is drawn, on which network, changed how: each arm is one side of a comparison, with a null of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ...algorithms.ga import GeneticAlgorithm
from ...networks import Padding
from ...regions import Phase
from ...spec import op
from ...variants import Variant
from ..draw import drawing
from ..draw.drawing import Drawing
from .results import Part

CROSSOVERS = ("rectangle", "columns", "list")
MUTATIONS = ("per-gene", "per-image")
LAMBDAS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)
LAMBDA = 1e-3  # of the arms that everything is compared with
PADDINGS: tuple[Padding, ...] = ("zeros", "reflect", "replicate", "circular")
OUTSIDE = (0.0, 0.5, 1.0)
LEVELS = (1.0, 0.75, 0.5, 0.25, 0.0)
CENTER = "center:0.5"

PARTS: dict[Part, str] = {
    "where": "where the ink is: three crossovers, two readings of the mutation rate, lambda 0 and four powers of ten",
    "operators": "the same operators under a constant fitness, and where every pixel is worth the same",
    "landscape": "what each single pixel does to the blank canvas, and pairs of them",
    "padding": "the same weights with other padding, and the same architecture trained with it",
    "position": "windows of the canvas, other gray levels of the blank, ink and canvas exchanged",
    "pipeline": "drawn in other sizes and resized or cropped; what stands beyond the border",
    "data": "dark pixels by ring in the training images",
    "transfer": "the drawings shown to other networks, shifted, blurred, jittered",
    "schedule": "confined to the middle for most of the run, then set free, as in the question",
}


class Lengths(NamedTuple):
    """How much is run.

    Attributes:
        runs: of the arms that all else is compared with, and of their nulls.
        fewer: of every intervention.
        generations: of a run.
        confined, free: of the schedule: before and after the limit is lifted.
    """

    runs: int = 30
    fewer: int = 10
    generations: int = 400
    confined: int = 3000
    free: int = 400


QUICK = Lengths(3, 3, 60, 120, 40)


@dataclass(frozen=True)
class Planned:
    """An arm that can be run; `results.Arm` is how it is reported.

    Attributes:
        name, part, about, partner, null, tags: see there.
        drawing: the way to draw.
        classifier: name of the network.
        variant: what is changed about it.
        runs: how many seeds.
        shrink: take away ink after success, so that drawings can be shown.
    """

    name: str
    part: Part
    about: str
    drawing: Drawing
    classifier: str
    runs: int
    partner: str = ""
    null: str = ""
    tags: dict[str, Any] = field(default_factory=dict)
    variant: Variant = Variant()  # noqa: RUF009 (frozen)
    shrink: bool = False


class Network(NamedTuple):
    """A network of the study.

    Attributes:
        name: by which it is loaded.
        label: by which it is spoken of.
        size: (height, width) of its images.
        padding: that it was trained with; "" where nobody can tell.
        swaps: paddings that can be put in.
        outside: another gray level can be put beyond its border.
    """

    name: str
    label: str
    size: tuple[int, int]
    padding: str
    swaps: tuple[Padding, ...]
    outside: bool


class Question(NamedTuple):
    """What all arms share.

    Attributes:
        first: the network that is explained.
        others: the same architecture, trained with another padding.
        confidence: the goal.
        population: members of a run.
        canvas, ink: gray levels, one for each channel.
        lengths: how much is run.
    """

    first: Network
    others: tuple[Network, ...]
    confidence: float
    population: int
    canvas: tuple[float, ...]
    ink: tuple[float, ...]
    lengths: Lengths

    def way(self, crossover: str = "rectangle", mutation: str = "per-image", weight: float = LAMBDA) -> Drawing:
        """The question's way to draw."""
        return drawing.settings(
            preset="question",
            crossover=crossover,
            mutation=mutation,
            weight=f"{weight:g}",
            confidence=self.confidence,
            population=self.population,
            generations=self.lengths.generations,
            canvas=self.canvas,
            ink=self.ink,
        )


def name_of(crossover: str, mutation: str, weight: float) -> str:
    """An arm of the first part."""
    return f"where/{crossover}/{mutation}/lambda={weight:g}"


BASE = name_of("rectangle", "per-image", LAMBDA)


def where(question: Question) -> list[Planned]:
    """Part 1: three crossovers, two readings, five lambdas."""
    arms = []
    for crossover in CROSSOVERS:
        for mutation in MUTATIONS:
            for weight in LAMBDAS:
                central = weight == LAMBDA
                name = name_of(crossover, mutation, weight)
                arms.append(
                    Planned(
                        name,
                        "where",
                        f"{crossover} crossover, mutation {mutation}, lambda {weight:g}",
                        question.way(crossover, mutation, weight),
                        question.first.name,
                        question.lengths.runs if central else question.lengths.fewer,
                        partner="" if name == BASE else BASE,
                        null=f"null/{crossover}/{mutation}",
                        tags={"crossover": crossover, "mutation": mutation, "lambda": weight},
                        shrink=central,
                    )
                )
    return arms


def base(question: Question) -> list[Planned]:
    """The arm that interventions are compared with, where part 1 is not run, and its null."""
    wanted = {BASE, f"null/{CROSSOVERS[0]}/per-image"}
    return [arm for arm in [*where(question), *operators(question)] if arm.name in wanted]


def constant(way: Drawing) -> Drawing:
    """The same operators where no member is fitter than another: the null.

    Parents are dealt in turn, and none survives: chance then favours nobody, which changes no expectation, but lets
    each run tell of a hundred lineages instead of the one that drift would leave.
    """
    assert isinstance(way.algorithm, GeneticAlgorithm)
    unselected = replace(way.algorithm, selection=op("selection.shuffled"), elites=0)
    return replace(way, algorithm=unselected, objective=op("objectives.cross_entropy", weight=0.0), stop=False)


def operators(question: Question) -> list[Planned]:
    """Part 2: constant fitness; every pixel worth the same; and an operator that is known to be biased."""
    flat, lengths = Variant(flat=True), question.lengths
    arms = []
    for crossover in CROSSOVERS:
        for mutation in MUTATIONS:
            arms.append(
                Planned(
                    f"null/{crossover}/{mutation}",
                    "operators",
                    f"{crossover} crossover, mutation {mutation}, under a constant fitness",
                    constant(question.way(crossover, mutation)),
                    question.first.name,
                    lengths.runs,
                    tags={"kind": "null", "crossover": crossover, "mutation": mutation},
                    variant=flat,
                )
            )
    for crossover in CROSSOVERS:
        # A constant, less a hundredth for each pixel of ink: more is better, wherever it is.
        worth = replace(question.way(crossover), objective=op("objectives.cross_entropy", weight=-0.01))
        arms.append(
            Planned(
                f"additive/{crossover}",
                "operators",
                f"{crossover} crossover, every inked pixel worth the same",
                worth,
                question.first.name,
                lengths.runs,
                null=f"null/{crossover}/per-image",
                tags={"kind": "additive", "crossover": crossover},
                variant=flat,
            )
        )
    clamped = drawing.settings(
        preset="question",
        mutation="clamped",
        weight="0",
        population=question.population,
        generations=lengths.generations,
        canvas=question.canvas,
        ink=question.ink,
    )
    arms.append(
        Planned(
            "null/clamped",
            "operators",
            "a move that is clamped at the border, under a constant fitness: known to be biased",
            constant(clamped),
            question.first.name,
            lengths.fewer,
            tags={"kind": "control"},
            variant=flat,
        )
    )
    return arms


def padding(question: Question) -> list[Planned]:
    """Part 4: the same weights with each padding; the same architecture trained with each, and its weights swapped."""
    arms = []
    for network in (question.first, *question.others):
        own = BASE if network is question.first else f"padding/{network.label}/{network.padding or 'own'}"
        if network is not question.first:
            tags = {"padding": network.padding, "own": network.padding}
            arms.append(_intervention(question, "padding", own, f"{network.label} as it was trained", network, tags))
        for mode in network.swaps:
            if mode == network.padding:
                continue
            arms.append(
                _intervention(
                    question,
                    "padding",
                    f"padding/{network.label}/{mode}",
                    f"{network.label}, its weights trained with {network.padding or 'its own'} and padded with {mode}",
                    network,
                    {"padding": mode, "own": network.padding},
                    variant=Variant(padding=mode),
                    partner=own,
                )
            )
    return arms


def _intervention(
    question: Question,
    part: Part,
    name: str,
    about: str,
    network: Network,
    tags: dict[str, Any],
    *,
    variant: Variant | None = None,
    partner: str = BASE,
    way: Drawing | None = None,
    null: str = "null/rectangle/per-image",
    shrink: bool = False,
) -> Planned:
    return Planned(
        name,
        part,
        about,
        way or question.way(),
        network.name,
        question.lengths.fewer,
        partner=partner,
        null=null,
        tags={"classifier": network.label, **tags},
        variant=variant or Variant(),
        shrink=shrink,
    )


def windows(size: tuple[int, int]) -> dict[str, str]:
    """Windows of two thirds of the canvas: in the middle and in the corners."""
    tall, wide = (max(2, round(2 * length / 3)) for length in size)
    down, right = size[0] - tall, size[1] - wide
    corners = {
        "middle": (down // 2, right // 2),
        "top left": (0, 0),
        "top right": (0, right),
        "bottom left": (down, 0),
        "bottom right": (down, right),
    }
    return {name: f"box:{top},{left},{tall},{wide}" for name, (top, left) in corners.items()}


def position(question: Question) -> list[Planned]:
    """Part 5: windows, gray levels of the blank, ink and canvas exchanged."""
    arms = []
    for name, region in windows(question.first.size).items():
        limited = replace(question.way(), phases=(Phase(region, question.lengths.generations),))
        null = f"null/window/{name}"
        arms.append(
            _intervention(
                question,
                "position",
                f"window/{name}",
                f"ink only in a window: {name}",
                question.first,
                {"window": name, "region": region},
                way=limited,
                null=null,
            )
        )
        arms.append(_null(question, null, limited, {"kind": "window", "window": name}))
    own, gray = question.canvas, len(set(question.canvas)) == 1
    for level in LEVELS:
        if gray and level == own[0]:
            continue
        opposite = 0.0 if level >= 0.5 else 1.0
        channels = len(question.canvas)
        coloured = replace(question.way(), canvas=(level,) * channels, ink=(opposite,) * channels)
        arms.append(
            _intervention(
                question,
                "position",
                f"canvas/{level:g}",
                f"a blank of gray {level:g}, ink {opposite:g}",
                question.first,
                {"canvas": level, "ink": opposite},
                way=coloured,
            )
        )
    return arms


def pipeline(question: Question) -> list[Planned]:
    """Part 6: drawn in other sizes and brought to the network's; what stands beyond the border."""
    height, width = question.first.size
    sizes: list[tuple[tuple[int, int], str]] = [((2 * height, 2 * width), how) for how in _RESIZES]
    sizes.append(((height + 2 * max(1, height // 8), width + 2 * max(1, width // 8)), "crop"))
    arms, nulls = [], {}
    for size, how in sizes:
        named = f"{size[0]}x{size[1]}"
        null = f"null/{named}"
        arms.append(
            _intervention(
                question,
                "pipeline",
                f"drawn/{named}/{how}",
                f"drawn at {size[0]} x {size[1]}, {_HOW[how]}",
                question.first,
                {"size": named, "resize": how},
                variant=Variant(size=size, resize=how),  # type: ignore[arg-type]
                null=null,
            )
        )
        flat = Variant(size=size, resize=how, flat=True)  # type: ignore[arg-type]
        nulls[null] = _null(question, null, question.way(), {"kind": "size", "size": named}, variant=flat)
    for level in OUTSIDE if question.first.outside else ():
        arms.append(
            _intervention(
                question,
                "pipeline",
                f"outside/{level:g}",
                f"gray {level:g} beyond the border",
                question.first,
                {"outside": level},
                variant=Variant(outside=level),
            )
        )
    return [*arms, *nulls.values()]


_RESIZES = ("nearest", "bilinear", "antialias")
_HOW = {
    "nearest": "resized to the nearest pixel",
    "bilinear": "resized bilinearly",
    "antialias": "resized bilinearly with antialiasing",
    "crop": "the middle cut out",
}


def _null(
    question: Question, name: str, way: Drawing, tags: dict[str, Any], *, variant: Variant | None = None
) -> Planned:
    return Planned(
        name,
        "operators",
        "the same under a constant fitness",
        constant(way),
        question.first.name,
        question.lengths.runs,
        tags=tags,
        variant=variant or Variant(flat=True),
    )


def schedule(question: Question) -> list[Planned]:
    """Part 9: as the question asks, beside two controls that are as long."""
    confined, free = question.lengths.confined, question.lengths.free
    whole = confined + free
    plans = {
        "center first": (Phase(CENTER, confined), Phase("everywhere", whole)),
        # In two phases of the same region, so that all three are measured when the limit is lifted.
        "everywhere": (Phase("everywhere", confined), Phase("everywhere", whole)),
        "center only": (Phase(CENTER, confined), Phase(CENTER, whole)),
    }
    return [
        _intervention(
            question,
            "schedule",
            f"schedule/{name}",
            f"{whole:,} generations: {name}",
            question.first,
            {"schedule": name, "confined": confined},
            way=replace(question.way(), generations=whole, phases=phases),
            partner="" if name == "center first" else "schedule/center first",
            null="",
        )
        for name, phases in plans.items()
    ]


def planned(question: Question, parts: Sequence[Part]) -> list[Planned]:
    """The arms of some parts, each once."""
    makers = {
        "where": where,
        "operators": operators,
        "padding": padding,
        "position": position,
        "pipeline": pipeline,
        "schedule": schedule,
    }
    arms = [arm for part in parts if part in makers for arm in makers[part](question)]
    arms += base(question)
    found: dict[str, Planned] = {}
    for arm in arms:
        found.setdefault(arm.name, arm)
    # Nulls that arms rest on, though their part is not run.
    needed = {arm.null for arm in found.values() if arm.null} - set(found)
    for arm in operators(question):
        if arm.name in needed:
            found[arm.name] = arm
    return list(found.values())
