"""Operators as values and strict configuration: what is unknown or out of range is refused, with a way out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
import torch
from annotated_types import Ge

from evofool import spec
from evofool.algorithms.ga import GeneticAlgorithm
from evofool.errors import SpecError, UserError
from evofool.operators import selection
from evofool.spec import Op, op
from fakes import stream


def needs_size(fitness, n, *, rng, size, sharpness=1.0):
    """An operator of one's own, with a parameter that has no default."""
    return torch.full((len(fitness), n), size)


not_an_operator = 3


# op


def test_an_operator_is_called_with_its_own_parameters():
    fitness = -stream()["f"].uniform(9)
    chosen = op("selection.tournament", size=5)(fitness, 7, rng=stream())
    assert torch.equal(chosen, selection.tournament(fitness, 7, rng=stream(), size=5))


def test_operators_compare_and_hash_by_value_and_print_as_written():
    one, other = op("selection.tournament", size=20), op("selection.tournament", size=20)
    assert one == other and len({one, other}) == 1
    assert one != op("selection.tournament", size=2) and one != op("selection.random")
    assert repr(one) == "op('selection.tournament', size=20)"
    assert repr(op("mutation.swap")) == "op('mutation.swap')"
    two = op(f"{__name__}:needs_size", size=1, sharpness=2.0)
    assert two == op(f"{__name__}:needs_size", sharpness=2.0, size=1)


@pytest.mark.parametrize(
    ("path", "keywords", "message"),
    [
        ("selection.tournamnt", {}, "no such selection 'tournamnt'; did you mean 'tournament'"),
        ("selektion.tournament", {}, "unknown family 'selektion'; did you mean 'selection'"),
        ("tournament", {}, "unknown family 'tournament'"),
        ("selection._roulette", {}, "no such selection '_roulette'"),
        ("selection.torch", {}, "no such selection 'torch'"),
        ("objectives.probabilities", {}, "no such objectives 'probabilities'"),
        ("objectives.timbe_total", {}, "no such objectives 'timbe_total'; did you mean 'timbe_2021'"),
        ("selection.tournament", {"sise": 3}, "no parameter 'sise'; did you mean 'size'"),
        ("selection.tournament", {"rng": 3}, "no parameter 'rng'"),
        ("selection.tournament", {"fitness": 3}, "no parameter 'fitness'"),
        ("survival.elitist", {"parents": 3}, "no parameter 'parents'"),
        (f"{__name__}:needs_size", {}, "needs size, as in"),
        (f"{__name__}:not_there", {}, "expected importable.module:function"),
        (f"{__name__}:not_an_operator", {}, "found int; expected a function"),
        ("no.such.module:function", {}, "expected importable.module:function"),
        (":function", {}, "expected importable.module:function"),
        ("math:pi", {}, "found float; expected a function"),
    ],
)
def test_what_is_no_operator_is_refused_when_it_is_written_down(path, keywords, message):
    with pytest.raises(SpecError, match=message) as caught:
        op(path, **keywords)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    assert isinstance(caught.value, (UserError, ValueError))


def test_an_operator_of_ones_own_is_found_by_its_module():
    mine = op(f"{__name__}:needs_size", size=4)
    assert mine(torch.zeros(2, 3), 2, rng=None).tolist() == [[4, 4], [4, 4]]


def test_operators_are_found_by_reading_their_modules():
    assert {"arithmetic", "single_point"} <= set(spec.operator_names("crossover"))
    assert {"random", "tournament", "shuffled"} <= set(spec.operator_names("selection"))
    assert {"timbe_2021", "true_class_probability"} <= set(spec.operator_names("objectives"))
    for family, stranger in (("selection", "Stream"), ("selection", "_roulette"), ("objectives", "probabilities")):
        assert stranger not in spec.operator_names(family)


# configuration


@dataclass(frozen=True)
class Config:
    choose: Op = op("selection.random")
    rate: Annotated[float, Ge(0)] = 0.5
    count: int = 3
    rule: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        spec.check(self)


def test_strings_become_what_the_field_holds():
    changed = spec.replace(Config(), choose="selection.every", rate="0.25", count="7", rule="b")
    assert changed == Config(op("selection.every"), 0.25, 7, "b")
    assert isinstance(changed.rate, float) and isinstance(changed.count, int)
    assert Config(choose={"op": "selection.tournament", "size": 9}).choose == op("selection.tournament", size=9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rte": 1}, "unknown setting 'rte'; did you mean 'rate'"),
        ({"rate": -0.1}, "rate = -0.1: input should be greater than or equal to 0"),
        ({"rate": float("nan")}, "rate = nan"),
        ({"rate": "much"}, "rate = 'much': input should be a valid number"),
        ({"count": 2.5}, "count = 2.5"),
        ({"rule": "c"}, "rule = 'c': input should be 'a' or 'b'"),
        ({"choose": 3}, "expected an operator such as"),
        ({"choose": "selection.rndom"}, "did you mean 'random'"),
        ({"choose": {"op": "selection.random", "size": 3}}, "no parameter 'size'"),
        ({"choose": {"size": 3}}, "expected an operator such as"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    with pytest.raises(SpecError, match=message) as caught:
        spec.replace(Config(), **settings)
    assert "\n" not in str(caught.value)
    with pytest.raises(SpecError, match=message):
        spec.from_json(Config, settings)


def test_a_configuration_survives_json():
    config = GeneticAlgorithm(
        selection=op("selection.fitness_proportionate", baseline="worst"), p_crossover=0.2, elites=4, label_rule="first"
    )
    text = json.dumps(spec.to_json(config))
    assert spec.from_json(GeneticAlgorithm, json.loads(text)) == config
    assert json.loads(text)["selection"] == {"op": "selection.fitness_proportionate", "baseline": "worst"}
    assert spec.to_json((1, [op("mutation.swap")])) == [1, [{"op": "mutation.swap"}]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("p_crossover", -0.01),
        ("p_crossover", 1.01),
        ("p_mutation", 2),
        ("p_mutation", float("nan")),
        ("elites", -1),
        ("elites", 1.5),
        ("label_rule", "second"),
        ("mating", "labels"),
    ],
)
def test_the_genetic_algorithm_refuses_what_is_out_of_range(name, value):
    with pytest.raises(SpecError, match=name):
        GeneticAlgorithm(**{name: value})


def test_the_ends_of_the_ranges_are_allowed():
    config = GeneticAlgorithm(p_crossover=0, p_mutation=1, elites=0)
    assert (config.p_crossover, config.p_mutation) == (0.0, 1.0)


def test_a_configuration_in_json_that_lacks_a_field_is_refused():
    @dataclass(frozen=True)
    class Needing:
        size: int
        rate: float = 0.5

    with pytest.raises(SpecError, match="Needing needs size; expected a value for each"):
        spec.from_json(Needing, {"rate": 0.1})
