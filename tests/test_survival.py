"""Survival: who lives on, by hand; elitism is not truncation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evofool.operators import survival

NAN = float("nan")


def keep(operator, fitness: list[float], n: int, parents: int) -> list[int]:
    return operator(torch.tensor([fitness], dtype=torch.float64), n, parents=parents).tolist()[0]


def test_elitism_by_hand():
    # Parents 5, 1, 3; two children, however bad: one place is left, for the best parent.
    assert keep(survival.elitist, [5.0, 1.0, 3.0, 90.0, 80.0], 3, 3) == [1, 3, 4]
    # One child: the two best parents, the best in front.
    assert keep(survival.elitist, [5.0, 3.0, 1.0, 90.0], 3, 3) == [2, 1, 3]


def test_truncation_by_hand():
    assert keep(survival.truncation, [5.0, 1.0, 3.0, 90.0, 80.0], 3, 3) == [1, 2, 0]
    assert keep(survival.truncation, [5.0, 1.0, 3.0, 2.0, 0.0], 3, 3) == [4, 1, 3]


def test_elitism_is_not_truncation():
    fitness = [1.0, 2.0, 3.0, 40.0, 50.0]
    assert set(keep(survival.elitist, fitness, 3, 3)) == {0, 3, 4}
    assert set(keep(survival.truncation, fitness, 3, 3)) == {0, 1, 2}


def test_as_many_children_as_places_replace_the_whole_generation():
    assert keep(survival.elitist, [0.0, 0.0, 0.0, 9.0, 9.0, NAN], 3, 3) == [3, 4, 5]


def test_ties_go_to_the_earlier_parent_and_to_the_children():
    assert keep(survival.elitist, [2.0, 1.0, 1.0, 7.0], 3, 3) == [1, 2, 3]
    assert keep(survival.elitist, [2.0, 1.0, 1.0, 7.0, 7.0], 3, 3) == [1, 3, 4]
    assert keep(survival.truncation, [1.0, 1.0, 1.0, 1.0], 2, 2) == [2, 3]
    assert keep(survival.truncation, [1.0, 1.0, 1.0, 1.0, 1.0], 3, 2) == [2, 3, 4]


def test_who_failed_comes_last():
    assert keep(survival.elitist, [NAN, 4.0, NAN, 3.0, 0.0], 4, 4)[:3] == [3, 1, 0]
    assert keep(survival.elitist, [NAN, float("inf"), 0.0, 0.0], 3, 2) == [1, 2, 3]
    assert keep(survival.truncation, [NAN, 4.0, NAN, 3.0], 3, 2) == [3, 1, 2]
    assert keep(survival.truncation, [4.0, NAN, float("inf"), NAN], 2, 2) == [0, 2]


def test_everybody_or_one_survives():
    assert keep(survival.truncation, [3.0], 1, 1) == [0]
    assert keep(survival.elitist, [3.0, 4.0], 1, 1) == [1]
    assert keep(survival.elitist, [3.0, 2.0, 9.0], 3, 2) == [1, 0, 2]
    assert sorted(keep(survival.truncation, [3.0, 2.0, 1.0], 3, 2)) == [0, 1, 2]


@pytest.mark.parametrize(("children", "parents", "n"), [(3, 3, 2), (0, 3, 5), (1, 3, 5)])
def test_elitism_needs_a_place_for_every_child_and_a_parent_for_every_other_place(children, parents, n):
    with pytest.raises(ValueError, match=f"{children} children and {parents} parents for {n} places"):
        keep(survival.elitist, [1.0] * (children + parents), n, parents)


@pytest.mark.parametrize("n", [0, 5])
def test_truncation_needs_as_many_members_as_places(n):
    with pytest.raises(ValueError, match=f"{n} survivors out of 4 members: expected 1 to 4"):
        keep(survival.truncation, [1.0] * 4, n, 2)


@given(
    parents=st.lists(st.floats(-5, 5) | st.just(NAN), min_size=1, max_size=8),
    children=st.lists(st.floats(-5, 5) | st.just(NAN), max_size=8),
    data=st.data(),
)
def test_nobody_survives_twice_and_the_best_is_never_lost(parents, children, data):
    fitness, count = parents + children, len(parents)
    answered = [value for value in fitness if value == value]
    elites = data.draw(st.integers(0 if children else 1, count))
    kept = keep(survival.elitist, fitness, len(children) + elites, count)
    assert len(set(kept)) == len(children) + elites
    assert kept[elites:] == list(range(count, len(fitness))) and all(k < count for k in kept[:elites])
    if elites and answered:
        assert min(answered) in [fitness[k] for k in kept]
    best = [fitness[k] for k in kept[:elites]]
    left = [fitness[k] for k in range(count) if k not in kept]
    assert all(not b > value for b in best if b == b for value in left)
    assert all(value != value for value in left) or all(b == b for b in best)

    n = data.draw(st.integers(1, len(fitness)))
    kept = keep(survival.truncation, fitness, n, count)
    assert len(set(kept)) == n
    expected = sorted(fitness, key=lambda value: (value != value, value))[:n]
    assert [str(fitness[k] + 0) for k in kept] == [str(value + 0) for value in expected]
