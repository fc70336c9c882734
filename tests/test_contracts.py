"""Every part that is found in the folders keeps the laws of its kind, and a part that breaks one is caught."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import itertools
import pkgutil
from types import ModuleType

import pytest
import torch

import evofool.algorithms
import evofool.encodings
from evofool.algorithms.base import begin
from evofool.algorithms.ga import GeneticAlgorithm
from evofool.encodings.perturbation import LpBall
from evofool.encodings.pixels import Pixels
from evofool.operators import mutation, selection, survival
from evofool.spec import op, operator_names
from evofool.testing import contracts

CHECKS = {
    "selection": contracts.check_selection,
    "crossover": contracts.check_crossover,
    "mutation": contracts.check_mutation,
    "survival": contracts.check_survival,
    "objectives": contracts.check_objective,
    "criteria": contracts.check_criterion,
}
OPERATORS = [f"{family}.{name}" for family in CHECKS for name in operator_names(family)]


def modules(package: ModuleType) -> list[ModuleType]:
    found = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    assert found, f"nothing was found in {package.__name__}"
    return found


def encodings() -> list[object]:
    """One of each kind; of a module whose kinds cannot do without arguments, its examples."""
    found = []
    for module in modules(evofool.encodings):
        kinds = [
            kind
            for _, kind in inspect.getmembers(module, dataclasses.is_dataclass)
            if kind.__module__ == module.__name__ and hasattr(kind, "decode")
        ]
        examples = module.examples() if hasattr(module, "examples") else [kind() for kind in kinds]
        assert {type(example) for example in examples} == set(kinds), f"{module.__name__} has kinds without an example"
        found += examples
    return found


ALGORITHMS = [module for module in modules(evofool.algorithms) if hasattr(module, "example")]
ATTACKS = [module for module in ALGORITHMS if hasattr(module.example(), "encoding")]
SHARED_CODE = {"ball_walk", "base", "starts", "walks"}  # of several algorithms, and none itself


# Every part


@pytest.mark.parametrize("path", OPERATORS)
def test_every_operator_keeps_the_laws_of_its_kind(path):
    """A parameter of an operator needs a default for this, and for `op(path)` from a command line."""
    CHECKS[path.partition(".")[0]](op(path))


@pytest.mark.parametrize("path", OPERATORS)
def test_every_operator_says_what_it_does(path):
    family, _, name = path.partition(".")
    package = "evofool" if family in ("objectives", "criteria") else "evofool.operators"
    function = getattr(importlib.import_module(f"{package}.{family}"), name)
    assert function.__doc__ and function.__doc__.strip().splitlines()[0].rstrip().endswith((".", ":"))


def test_the_families_are_all_there():
    for family in CHECKS:
        assert any(path.startswith(f"{family}.") for path in OPERATORS), family


def name_of(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def test_every_algorithm_has_an_example():
    without = {name_of(module) for module in modules(evofool.algorithms)} - {name_of(module) for module in ALGORITHMS}
    assert without == SHARED_CODE
    assert len(ATTACKS) > 10


@pytest.mark.parametrize("module", [module for module in ALGORITHMS if module not in ATTACKS], ids=name_of)
def test_every_algorithm_keeps_the_laws_and_gets_somewhere(module):
    contracts.check_algorithm(module.example())


@pytest.mark.parametrize("module", ATTACKS, ids=name_of)
def test_every_attack_keeps_the_laws_and_gets_somewhere(module):
    contracts.check_attack(module.example())


@dataclasses.dataclass(frozen=True)
class GivesTheImageBack:
    encoding: object = dataclasses.field(default_factory=lambda: LpBall("linf", 0.2))

    def init(self, victims):
        return begin(victims)

    def ask(self, state, rng):
        return torch.zeros_like(state.x)[:, None]

    def tell(self, state, evaluated, fitness, success):
        return state


def test_an_attack_that_gives_back_the_image_is_caught():
    with pytest.raises(AssertionError, match="lowered no margin"):
        contracts.check_attack(GivesTheImageBack())


@pytest.mark.parametrize("encoding", encodings(), ids=lambda encoding: type(encoding).__name__)
def test_every_encoding_keeps_the_laws(encoding):
    contracts.check_encoding(encoding)


@pytest.mark.parametrize(
    "settings",
    [
        {"mating": "self"},
        {"mating": "label"},
        {"survival": "survival.truncation"},
        {"selection": "selection.shuffled", "elites": 2},
        {"selection": "selection.linear_ranking", "mutation": "mutation.inversion"},
    ],
    ids=lambda settings: ",".join(map(str, settings.values())),
)
def test_the_genetic_algorithm_keeps_the_laws_however_it_is_configured(settings):
    if settings.get("mating") == "label":
        with pytest.raises(ValueError, match="carries no label"):
            contracts.check_algorithm(GeneticAlgorithm(**settings))
        return
    contracts.check_algorithm(GeneticAlgorithm(**settings))


# A part that breaks a law

counter = itertools.count()


def forgets_the_stream(fitness, n, *, rng):
    return torch.full((len(fitness), n), next(counter) % fitness.shape[1])


def looks_at_neighbours(fitness, n, *, rng):
    best = (fitness.nan_to_num(nan=torch.inf).sum() * 1e6).long().abs() % fitness.shape[1]
    return best.expand(len(fitness), n)


def sorts_in_place(fitness, n, *, rng):
    fitness.copy_(fitness.sort(1).values)
    return torch.zeros(len(fitness), n, dtype=torch.int64)


def depends_on_how_many(x, *, rng):
    return (x.flatten(2) + rng.permutation(x.shape[1])[..., None]).view_as(x)


BROKEN = [
    ("selection", forgets_the_stream, "the same stream gave another result"),
    ("selection", looks_at_neighbours, "alone differs"),
    ("selection", sorts_in_place, "changed its input `fitness`"),
    ("selection", lambda f, n, *, rng: selection.tournament(-f, n, rng=rng, size=3), "prefers the worse"),
    ("selection", lambda f, n, *, rng: f.nan_to_num(nan=-9.0).argsort(1)[:, :n], "whose fitness is NaN"),
    ("selection", lambda f, n, *, rng: rng.integers(f.shape[1] + 1, n), "outside the population"),
    ("selection", lambda f, n, *, rng: rng.integers(f.shape[1], n).int(), "expected indices of int64"),
    ("selection", lambda f, n, *, rng: rng.integers(f.shape[1], n + 1), "expected [B n]"),
    ("crossover", lambda a, b, *, rng: 1.5 * rng.uniform(a.shape[1], 1), "outside [0, 1]"),
    ("crossover", lambda a, b, *, rng: rng.uniform(a.shape[1]), "expected [B n *G] or [B n 1]"),
    ("crossover", lambda a, b, *, rng: rng.integers(2, *a.shape[1:]), "expected a mask of bools"),
    ("crossover", lambda a, b, *, rng: torch.ones_like(a), "a copy of its first parent"),
    ("crossover", lambda a, b, *, rng: torch.zeros_like(a), "a copy of its second parent"),
    ("crossover", lambda a, b, *, rng: a.mul_(0.5).clamp(0, 1), "changed its input `a`"),
    ("crossover", lambda a, b, *, rng: (a > a.mean()), "alone differs"),
    ("mutation", lambda x, *, rng: x.clone(), "changed nothing"),
    ("mutation", lambda x, *, rng: x.neg_(), "changed its input `x`"),
    ("mutation", lambda x, *, rng: x / 0, "not finite"),
    ("mutation", lambda x, *, rng: x.double() + 1, "expected torch.float32"),
    ("mutation", lambda x, *, rng: x.flatten(2)[..., :-1], "gave shape"),
    ("mutation", depends_on_how_many, "without the rest"),
    ("mutation", lambda x, *, rng: x - x.mean(), "alone differs"),
    ("survival", lambda f, n, *, parents: torch.zeros(len(f), n, dtype=torch.int64), "survived twice"),
    ("survival", lambda f, n, *, parents: f.nan_to_num(nan=-1.0).argsort(1)[:, :n], "evaluation failed"),
    ("survival", lambda f, n, *, parents: (-f).argsort(1)[:, :n], "lost the best member"),
    ("survival", lambda f, n, *, parents: survival.truncation(f, n, parents=parents) - 1, "outside the members"),
    ("objectives", lambda e, info: e.scores.amax(-1), "expected torch.float64"),
    ("objectives", lambda e, info: e.scores.double().amax(-1).nan_to_num(), "made a number of"),
    ("objectives", lambda e, info: e.scores.double().sum((0, 1))[:1].expand(e.labels.shape), "judged otherwise"),
    ("objectives", lambda e, info: e.scores.double().sum(-1) * 0, "the same fitness"),
    ("criteria", lambda e, info: e.scores.argmax(-1) != e.labels, "a missing answer a success"),
    ("criteria", lambda e, info: e.labels, "expected torch.bool"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "broken", "law"), BROKEN, ids=[f"{family}: {law}" for family, _, law in BROKEN])
def test_a_broken_law_is_caught_and_named(family, broken, law):
    with pytest.raises(AssertionError) as caught:
        CHECKS[family](broken)
    assert law in str(caught.value)


@dataclasses.dataclass(frozen=True)
class Held:
    """The state of the algorithms below."""

    genomes: torch.Tensor


@dataclasses.dataclass(frozen=True)
class GivesBack:
    """An algorithm that returns its input."""

    def init(self, genomes):
        return Held(genomes)

    def ask(self, state, rng):
        return state.genomes

    def tell(self, state, evaluated, fitness, success):
        return Held(evaluated.genomes)


class Hasty(GivesBack):
    """Changes the initial genomes before they are asked."""

    def ask(self, state, rng):
        return mutation.swap(state.genomes, rng=rng["swap"])


class Gregarious(GivesBack):
    """Looks at the other searches."""

    def ask(self, state, rng):
        return state.genomes if rng.generation == 0 else (state.genomes + state.genomes.mean()) / 2


class Forgetful(GivesBack):
    """Knows its generation only by counting its own calls."""

    def ask(self, state, rng):
        calls = next(counter)
        return state.genomes if rng.generation == 0 else (state.genomes + calls % 7 / 100).clamp(0, 1)


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (GivesBack(), "made no progress"),
        (Hasty(), "does not return the initial genomes"),
        (Gregarious(), "alone differs|made no progress"),
        (Forgetful(), "differs|made no progress"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_algorithm_that_breaks_a_law_is_caught(broken, law):
    with pytest.raises(AssertionError, match=law):
        contracts.check_algorithm(broken)


@dataclasses.dataclass(frozen=True)
class Coarse(Pixels):
    """Rounds to tenths."""

    def decode(self, genomes, x):
        return (genomes * 10).round() / 10


@dataclasses.dataclass(frozen=True)
class Drifting(Pixels):
    """Repairs again what was repaired."""

    def repair(self, genomes, x):
        return genomes * 0.9


@pytest.mark.parametrize(("broken", "law"), [(Coarse(), "lattice"), (Drifting(), "repair twice")])
def test_an_encoding_that_breaks_a_law_is_caught(broken, law):
    with pytest.raises(AssertionError, match=law):
        contracts.check_encoding(broken)
