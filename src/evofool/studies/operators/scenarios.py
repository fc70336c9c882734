"""The arms of the study: twelve scenarios, elitism, controls, and what is run to test a claim or a hypothesis."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ... import spec
from ...algorithms.ga import GeneticAlgorithm
from ...errors import SpecError, nearest
from ...operators import selection
from ...rng import Stream
from ...shapes import Float, Int, Tensor
from ...spec import Op, op
from .results import Arm, Group

SELECTIONS = {
    "FPS": op("selection.fitness_proportionate"),
    "TS": op("selection.tournament", size=20),
    "RS": op("selection.linear_ranking"),
}
CROSSOVERS = {"SPC": op("crossover.single_point"), "AC": op("crossover.arithmetic")}
MUTATIONS = {"SM": op("mutation.swap"), "IM": op("mutation.inversion")}
PAPER_OBJECTIVE = op("objectives.timbe_2021")
ELITES = 10

PARTS: dict[str, str] = {
    "scenarios": "the twelve scenarios, and FPS_AC_SM with elitism",
    "controls": "the same without selection: random parents, one parent, mutation alone",
    "judge": "an independent classifier reads every image of the last generation",
    "hypotheses": "what else the authors' program may have done, each over the rows that it would change",
    "generations": "elitism against none after 100 generations",
    "rates": "FPS_AC_SM, TS_SPC_SM and RS_AC_SM at two rates of crossover and of mutation, 100 generations, 3 seeds",
    "all-images": "FPS_AC_SM on every test image for 100 generations, one seed",
}


@dataclass(frozen=True)
class Scenario:
    """An arm that can be run.

    Attributes:
        arm: how it is reported; its settings are filled in by `described`.
        algorithm: the genetic algorithm.
        objective: the fitness.
        population: members; 0 = every image.
        seeds: at most this many of the study's seeds; 0 = all.
        everywhere: run on every classifier of the study, not on the first alone.
    """

    arm: Arm
    algorithm: GeneticAlgorithm
    objective: Op = PAPER_OBJECTIVE
    population: int = 1000
    seeds: int = 0
    everywhere: bool = True

    def described(self) -> Arm:
        """The arm with its resolved configuration."""
        settings = {
            **spec.to_json(self.algorithm),
            "objective": spec.to_json(self.objective),
            "population": self.population,
            "generations": self.arm.generations,
        }
        return replace(self.arm, settings=settings)


def _arm(name: str, group: Group, base: Scenario, **described: Any) -> Arm:
    return Arm(name, group, generations=base.arm.generations, **described)


def scenarios(base: Scenario) -> list[Scenario]:
    """The twelve: every selection with every crossover and every mutation."""
    return [
        replace(
            base,
            arm=_arm(f"{s}_{c}_{m}", "scenario", base, partner=f"RND_{c}_{m}"),
            algorithm=replace(base.algorithm, selection=SELECTIONS[s], crossover=CROSSOVERS[c], mutation=MUTATIONS[m]),
        )
        for s, c, m in itertools.product(SELECTIONS, CROSSOVERS, MUTATIONS)
    ]


def elitism(base: Scenario) -> Scenario:
    """FPS_AC_SM, the ten best parents surviving unchanged."""
    plain = next(s for s in scenarios(base) if s.arm.name == "FPS_AC_SM")
    arm = _arm("FPS_AC_SM_elitism", "elitism", base, partner="FPS_AC_SM", about="the 10 best parents survive unchanged")
    return replace(plain, arm=arm, algorithm=replace(plain.algorithm, elites=ELITES))


def controls(base: Scenario) -> list[Scenario]:
    """A ladder from mutation alone to the scenarios: each rung adds one thing to the one before."""
    arms = []
    blind = op("selection.random")
    for m in MUTATIONS:
        alone = replace(base.algorithm, selection=op("selection.every"), mutation=MUTATIONS[m], mating="self")
        about = "mutation alone: every image stays in its place"
        arms.append((_arm(f"MUT_{m}", "control", base, about=about), alone))
        about = "parents at random, both the same image: mutation and drift"
        drift = replace(base.algorithm, selection=blind, mutation=MUTATIONS[m], mating="self")
        arms.append((_arm(f"RND_SELF_{m}", "control", base, partner=f"MUT_{m}", about=about), drift))
        for c in CROSSOVERS:
            about = "parents at random: crossover, mutation and drift without selection"
            mixed = replace(base.algorithm, selection=blind, crossover=CROSSOVERS[c], mutation=MUTATIONS[m])
            arms.append((_arm(f"RND_{c}_{m}", "control", base, partner=f"RND_SELF_{m}", about=about), mixed))
    return [replace(base, arm=arm, algorithm=algorithm) for arm, algorithm in arms]


def tournament_keeping_worst(fitness: Float[Tensor, "B P"], n: int, *, rng: Stream, size: int) -> Int[Tensor, "B n"]:
    """A tournament won by the worst: what a reversed comparison would do."""
    return selection.tournament(-fitness, n, rng=rng, size=size)


def ranking_upside_down(fitness: Float[Tensor, "B P"], n: int, *, rng: Stream) -> Int[Tensor, "B n"]:
    """Linear ranking with the worst on top: what a list sorted the other way would do."""
    return selection.linear_ranking(-fitness, n, rng=rng)


def hypotheses(base: Scenario) -> list[Scenario]:
    """What else the authors' program may have done. A family holds the scenarios that its assumption would change."""
    keep_worst = op(f"{__name__}:tournament_keeping_worst", size=20)
    upside_down = op(f"{__name__}:ranking_upside_down")
    arms: list[Scenario] = []
    for plain in scenarios(base):
        ga, name = plain.algorithm, plain.arm.name
        families: list[tuple[str, str, GeneticAlgorithm, Op]] = [
            (
                "first-label",
                "a child carries the label of its first parent",
                replace(ga, label_rule="first"),
                PAPER_OBJECTIVE,
            ),
            ("within-label", "both parents carry the same label", replace(ga, mating="label"), PAPER_OBJECTIVE),
            (
                "integer-labels",
                "the norm is taken of class numbers, not of one-hot labels",
                ga,
                op("objectives.timbe_2021", label_distance="integer"),
            ),
            (
                "true-class",
                "the fitness is minus the probability of the carried label",
                # Weights must not be negative: proportionate selection then turns on 1 - that probability.
                replace(ga, selection=op("selection.fitness_proportionate", baseline=1.0)) if name[:3] == "FPS" else ga,
                op("objectives.true_class_probability"),
            ),
        ]
        if name.startswith("TS"):
            about = "the tournament keeps the worst"
            families.append(("keep-worst", about, replace(ga, selection=keep_worst), PAPER_OBJECTIVE))
        if name.startswith("RS"):
            about = "the ranking is upside down"
            families.append(("upside-down", about, replace(ga, selection=upside_down), PAPER_OBJECTIVE))
        if not name.startswith("FPS"):
            about = "tournament and ranking deal parents from a shuffled list, without pressure"
            families.append(("shuffled", about, replace(ga, selection=op("selection.shuffled")), PAPER_OBJECTIVE))
        for family, about, algorithm, objective in families:
            arm = _arm(f"{name}/{family}", "hypothesis", base, partner=name, about=about, family=family)
            arms.append(replace(plain, arm=arm, algorithm=algorithm, objective=objective, everywhere=False))
    return arms


def _longer(scenario: Scenario, group: Group, suffix: str, generations: int, partner: str, **changes: Any) -> Scenario:
    arm = replace(
        scenario.arm, name=f"{scenario.arm.name}{suffix}", group=group, partner=partner, generations=generations
    )
    return replace(scenario, arm=arm, everywhere=False, **changes)


def generations(base: Scenario) -> list[Scenario]:
    """FPS_AC_SM with and without elitism, 100 generations."""
    plain = next(s for s in scenarios(base) if s.arm.name == "FPS_AC_SM")
    return [
        _longer(plain, "generations", "@100", 100, ""),
        _longer(elitism(base), "generations", "@100", 100, "FPS_AC_SM@100"),
    ]


def all_images(base: Scenario) -> list[Scenario]:
    """FPS_AC_SM on every image at hand, 100 generations."""
    plain = next(s for s in scenarios(base) if s.arm.name == "FPS_AC_SM")
    return [_longer(plain, "all-images", "@all", 100, "", population=0, seeds=1)]


SETTINGS: dict[str, str] = {
    "p_crossover": "probability of a mating to cross its parents, 0 to 1 (0.6)",
    "p_mutation": "probability of a child to be mutated, 0 to 1 (0.5)",
    "generations": "how many are made after the initial one (10)",
    "population": "images that evolve together (1000)",
    "tournament_size": "members of a tournament (20)",
    "elites": "best parents that survive unchanged: one value where there is elitism (10), several in every arm",
    "label_rule": "whose label a child carries: of the parent that gave it most, or the first one's: dominant, first",
}


def configured(scenario: Scenario, settings: dict[str, str]) -> Scenario:
    """A scenario with some settings changed; values may be strings.

    Raises:
        SpecError: an unknown setting (names the nearest) or a bad value.
    """
    algorithm, arm, population = scenario.algorithm, scenario.arm, scenario.population
    for name, value in settings.items():
        if name not in SETTINGS:
            raise SpecError(f"--set {name}: unknown setting '{name}'{nearest(name, SETTINGS)}")
        if name in ("generations", "population", "tournament_size"):
            try:
                number = int(value)
            except ValueError:
                raise SpecError(f"--set {name}={value}: expected a whole number") from None
            if number < (0 if name == "generations" else 1):
                raise SpecError(f"--set {name}={value}: expected at least {0 if name == 'generations' else 1}")
            if name == "generations":
                arm = replace(arm, generations=number)
            elif name == "population":
                population = number
            elif largest_tournament(scenario):
                algorithm = replace(algorithm, selection=op(algorithm.selection.path, size=number))
        else:
            algorithm = spec.replace(algorithm, **{name: value})
    return replace(scenario, algorithm=algorithm, arm=arm, population=population)


def grid(settings: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Every combination of the given values, in order."""
    return [dict(zip(settings, values, strict=True)) for values in itertools.product(*settings.values())]


def sweep(
    plain: Iterable[Scenario], settings: Mapping[str, Sequence[str]], *, partner: Callable[[Arm, str], str]
) -> list[Scenario]:
    """Scenarios at every combination of settings, named for what varies; `partner(arm, point)` says what each meets."""
    varied = [name for name, values in settings.items() if len(values) > 1]
    arms = []
    for scenario in plain:
        for point in grid(settings):
            changed = configured(scenario, point)
            suffix = ",".join(f"{name}={point[name]}" for name in varied)
            arm = replace(
                changed.arm,
                name=f"{scenario.arm.name}@{suffix}",
                group="rates",
                partner=partner(scenario.arm, suffix),
                about=", ".join(f"{name} = {value}" for name, value in point.items()),
            )
            arms.append(replace(changed, arm=arm))
    return arms


def rates(base: Scenario) -> list[Scenario]:
    """The sweep that the paper leaves to future work."""
    plain = [s for s in scenarios(base) if s.arm.name in ("FPS_AC_SM", "TS_SPC_SM", "RS_AC_SM")]
    settings = {"p_crossover": ("0.2", "0.6"), "p_mutation": ("0.1", "0.5"), "generations": ("100",)}
    swept = sweep(plain, settings, partner=lambda arm, _: arm.name)
    return [replace(s, seeds=3, everywhere=False) for s in swept]


def base() -> Scenario:
    """The base that the others vary: the paper's constants."""
    return Scenario(Arm("base", "scenario"), GeneticAlgorithm(p_crossover=0.6, p_mutation=0.5))


def select(names: Sequence[str], among: Sequence[Scenario]) -> list[Scenario]:
    """The named ones, in their own order.

    Raises:
        SpecError: an unknown name; names the nearest.
    """
    known = {scenario.arm.name: scenario for scenario in among}
    for name in names:
        if name not in known:
            raise SpecError(f"unknown scenario '{name}'{nearest(name, known)}")
    return [known[name] for name in known if name in names]


def largest_tournament(scenario: Scenario) -> int:
    """The tournament's size, where there is one."""
    return int(dict(scenario.algorithm.selection.keywords).get("size", 0))


def summary(scenario: Scenario) -> str:
    """The operators of a scenario in one line."""
    algorithm = scenario.algorithm
    return ", ".join(
        repr(part)[3:-1].replace("'", "") for part in (algorithm.selection, algorithm.crossover, algorithm.mutation)
    )
