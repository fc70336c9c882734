"""Objectives and criteria of drawings: formulas by hand, large logits, probabilities of 0, and the price of ink."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from evofool import criteria, objectives
from evofool.contracts import Evaluated
from evofool.genome import Labelled
from evofool.spec import op
from fakes import evaluated, info

NAN, INF = float("nan"), float("inf")
TINY = torch.finfo(torch.float64).tiny
PRICED = ["cross_entropy", "margin", "boundary"]
logit = st.floats(-80, 80, width=32)


def drawn(scores, labels, counts) -> Evaluated:
    """Answers for members with so many inked pixels each, of an image of 4 x 4."""
    counts = torch.as_tensor(counts)
    masks = (torch.arange(16) < counts[..., None]).view(*counts.shape, 4, 4)
    return replace(evaluated(scores, labels), genomes=masks)


def fitness(name: str, members: Evaluated, kind="logits", **settings) -> torch.Tensor:
    result = op(f"objectives.{name}", **settings)(members, info(kind, members.scores.shape[-1]))
    assert result.dtype == torch.float64
    return result


# How much ink there is


def test_ink_is_what_is_not_zero_in_all_channels():
    masks = torch.tensor([[[[True, False], [True, True]], [[False, False], [False, False]]]])
    assert objectives.ink(masks).tolist() == [[3.0, 0.0]] and objectives.ink(masks).dtype == torch.float64
    levels = torch.tensor([[[[[0.0, 0.5]], [[-1.0, 1.0]]]]])
    assert objectives.ink(levels).tolist() == [[3.0]]
    carried = Labelled(masks, torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.int64))
    assert objectives.ink(carried).tolist() == [[3.0, 0.0]]


# Cross-entropy


@given(z=logit, label=st.integers(0, 1))
def test_of_two_classes_it_is_binary_cross_entropy(z, label):
    """A net with one output z behind a sigmoid is one with the logits (0, z); to class 0 it is -log(1 - p)."""
    members = drawn([[[0.0, z]]], [[label]], [[3]])
    target = torch.tensor(float(label), dtype=torch.float64)
    expected = functional.binary_cross_entropy_with_logits(torch.tensor(z, dtype=torch.float64), target)
    assert fitness("cross_entropy", members).item() == pytest.approx(expected.item(), rel=1e-12, abs=1e-14)
    p = torch.tensor(z, dtype=torch.float64).sigmoid()
    if 1e-6 < p < 1 - 1e-6:
        plain = functional.binary_cross_entropy(p, target)
        assert fitness("cross_entropy", members).item() == pytest.approx(plain.item(), rel=1e-9)
        told = drawn([[[1 - p, p]]], [[label]], [[3]])
        assert fitness("cross_entropy", told, "probabilities").item() == pytest.approx(plain.item(), rel=0.1)
        by_hand = -math.log(1 - p) if label == 0 else -math.log(p)
        assert plain.item() == pytest.approx(by_hand, rel=1e-9)


def test_logits_of_ten_thousand_are_finite_and_exact():
    members = drawn([[[1e4, -1e4], [1e4, -1e4], [-1e4, 1e4], [1e4, 1e4]]], [[0, 1, 0, 0]], [[0, 0, 0, 0]])
    assert fitness("cross_entropy", members)[0].tolist() == [0.0, 2e4, 2e4, math.log(2)]
    assert fitness("margin", members)[0].tolist() == [-2e4, 2e4, 2e4, 0.0]
    assert fitness("boundary", members)[0].tolist() == [0.5, 0.5, 0.5, 0.0]
    # Where logits are that large, a difference between them still tells who is better.
    close = drawn([[[1e4, 0.0], [1e4 + 1, 0.0]]], [[1, 1]], [[0, 0]])
    assert fitness("cross_entropy", close)[0].tolist() == [1e4, 1e4 + 1]


def test_a_probability_of_0_is_finite_and_worst():
    members = drawn([[[0.0, 1.0], [1.0, 0.0], [1e-30, 1.0]]], [[0, 0, 0]], [[0, 0, 0]])
    for kind in ("probabilities", "label", "top-k"):
        entropy = fitness("cross_entropy", members, kind)[0]
        assert entropy.tolist() == pytest.approx([-math.log(TINY), 0.0, 30 * math.log(10)], rel=1e-6)
        assert entropy[0].item() == pytest.approx(708.4, abs=0.05)
        assert fitness("margin", members, kind)[0, :2].tolist() == pytest.approx([708.4, -708.4], abs=0.05)
        assert fitness("boundary", members, kind)[0, :2].tolist() == [0.5, 0.5]


def test_several_classes_by_hand():
    members = drawn([[[0.5, 0.25, 0.25], [0.125, 0.5, 0.375]]], [[0, 2]], [[0, 0]])
    assert fitness("cross_entropy", members, "probabilities")[0].tolist() == pytest.approx(
        [math.log(2), -math.log(0.375)]
    )
    assert fitness("margin", members, "probabilities")[0].tolist() == pytest.approx([-math.log(2), math.log(4 / 3)])
    assert fitness("boundary", members, "probabilities")[0].tolist() == pytest.approx([1 / 6, 1 / 14])
    assert objectives.margins(members.scores, members.labels, info("probabilities"))[0].tolist() == [0.25, -0.125]
    logits = drawn([[[3.0, 1.0, -2.0], [3.0, 1.0, -2.0], [3.0, 1.0, -2.0]]], [[0, 1, 2]], [[0, 0, 0]])
    assert fitness("margin", logits)[0].tolist() == [-2.0, 2.0, 5.0]


@given(st.lists(st.tuples(logit, logit, logit), min_size=1, max_size=5), st.integers(0, 2))
def test_the_margin_is_below_0_where_the_label_wins(rows, label):
    members = drawn([rows], [[label] * len(rows)], [[0] * len(rows)])
    margin = fitness("margin", members)[0]
    for row, found in zip(rows, margin.tolist(), strict=True):
        own, best = row[label], max(value for place, value in enumerate(row) if place != label)
        assert (found < 0) == (own > best) and (found == 0) == (own == best)
        assert found == best - own


@given(p=st.floats(0, 1, width=32), label=st.integers(0, 1))
def test_of_two_classes_the_boundary_is_where_p_is_a_half(p, label):
    members = drawn([[[1 - p, p]]], [[label]], [[0]])
    assert fitness("boundary", members, "probabilities").item() == pytest.approx(abs(p - 0.5), abs=1e-7)
    z = math.log(p / (1 - p)) if 0 < p < 1 else 0.0
    p = 1 / (1 + math.exp(-z))
    assert fitness("boundary", drawn([[[0.0, z]]], [[label]], [[0]])).item() == pytest.approx(abs(p - 0.5), abs=1e-6)


# The price of ink


@pytest.mark.parametrize("name", PRICED)
def test_ink_costs_its_weight_for_each_pixel(name):
    members = drawn([[[0.5, 0.0, -1.0]] * 3], [[1, 1, 1]], [[0, 1, 16]])
    free = fitness(name, members)
    assert free[0, 0] == free[0, 1] == free[0, 2] != 0
    assert torch.equal(fitness(name, members, weight=0.0), free)
    priced = fitness(name, members, weight=0.25)
    assert (priced - free)[0].tolist() == pytest.approx([0.0, 0.25, 4.0], abs=1e-15)


@pytest.mark.parametrize("name", PRICED)
@pytest.mark.parametrize("weight", [1e6, 1e30, 1e300])
def test_where_ink_is_very_dear_less_ink_is_better_whatever_the_answer(name, weight):
    members = drawn([[[-50.0, 50.0], [50.0, -50.0], [50.0, 50.0]]], [[0, 0, 0]], [[1, 2, 0]])
    priced = fitness(name, members, weight=weight)
    assert bool(priced.isfinite().all()) and priced[0].argsort().tolist() == [2, 0, 1]


def test_where_ink_is_free_it_does_not_matter():
    few = drawn([[[1.0, 0.0]]], [[0]], [[1]])
    much = drawn([[[1.0, 0.0]]], [[0]], [[16]])
    for name in PRICED:
        assert torch.equal(fitness(name, few), fitness(name, much))


def test_ink_and_cross_entropy_are_two_objectives():
    members = drawn([[[0.0, 0.0], [3.0, 0.0]], [[NAN, NAN], [0.0, 5.0]]], [[0, 1], [0, 1]], [[3, 0], [5, 16]])
    both = fitness("ink_and_cross_entropy", members)
    assert both.shape == (2, 2, 2)
    assert both[0, :, 0].tolist() == [3.0, 0.0] and both[1, 1, 0] == 16
    entropy = fitness("cross_entropy", members)
    assert torch.equal(both[..., 1].nan_to_num(nan=-9.0), entropy.nan_to_num(nan=-9.0))
    assert bool(both[1, 0].isnan().all()) and int(both.isnan().sum()) == 2  # without an answer its ink is none either


# Missing answers


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
@pytest.mark.parametrize("name", [*PRICED, "ink_and_cross_entropy"])
@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_nothing_is_made_of_a_missing_answer(name, kind, weight):
    settings = {"weight": weight} if name in PRICED else {}
    members = drawn([[[NAN] * 3, [0.2, 0.3, 0.5]]], [[1, 1]], [[0, 4]])
    missing = fitness(name, members, kind, **settings).isnan()
    assert bool(missing[0, 0].all()) and not bool(missing[0, 1].any())


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize("hole", [0, 1, 2])
@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_an_answer_with_a_hole_has_no_margin(label, hole, kind):
    row = [0.2, 0.3, 0.5]
    row[hole] = NAN
    members = drawn([[row]], [[label]], [[1]])
    for name in ("margin", "boundary"):
        assert fitness(name, members, kind).isnan().item()
    for criterion in (criteria.confident, criteria.near_boundary):
        assert not criterion(members, info(kind)).item()


# Criteria


def test_confident_at_its_exact_limits():
    rows = [[0.75, 0.25], [0.75 - 2**-24, 0.25 + 2**-24], [0.25, 0.75], [1.0, 0.0]]
    members = drawn([rows], [[0, 0, 0, 0]], [[0] * 4])
    found = op("criteria.confident", probability=0.75)(members, info("probabilities", 2))
    assert found.tolist() == [[True, False, False, True]]
    assert op("criteria.confident", probability=0.25)(members, info("probabilities", 2)).tolist() == [
        [True, True, False, True]  # at least a quarter, but another class has more
    ]


def test_confident_of_logits_and_of_a_tie():
    z = math.log(0.96 / 0.04)
    members = drawn([[[z + 1e-4, 0.0], [z - 1e-4, 0.0], [0.0, 0.0]]], [[0, 0, 0]], [[0] * 3])
    assert criteria.confident(members, info(classes=2)).tolist() == [[True, False, False]]
    assert op("criteria.confident", probability=0.5)(members, info(classes=2)).tolist() == [[True, True, True]]


def test_near_the_boundary_at_its_exact_limits():
    within = 2**-7
    shares = [0.5, 0.5 + within, 0.5 - within, 0.5 + within + 2**-20, 0.5 - within - 2**-20, 1.0]
    members = drawn([[[1 - p, p] for p in shares]], [[1] * 6], [[0] * 6])
    found = op("criteria.near_boundary", within=within)(members, info("probabilities", 2))
    assert found.tolist() == [[True, True, True, False, False, False]]
    exact = op("criteria.near_boundary", within=0.0)(members, info("probabilities", 2))
    assert exact.tolist() == [[True] + [False] * 5]


def test_near_the_boundary_of_several_classes_is_a_tie_with_the_best_other():
    members = drawn([[[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.4, 0.2, 0.4]]], [[0, 0, 0]], [[0] * 3])
    found = op("criteria.near_boundary", within=0.05)(members, info("probabilities"))
    assert found.tolist() == [[True, False, True]]


def test_ink_does_not_make_a_success_of_a_member_or_of_a_success_a_failure():
    for count in (0, 16):
        members = drawn([[[0.5, 0.5], [1.0, 0.0]]], [[0, 0]], [[count, count]])
        assert criteria.near_boundary(members, info("probabilities", 2)).tolist() == [[True, False]]
        assert criteria.confident(members, info("probabilities", 2)).tolist() == [[False, True]]


def test_a_class_that_a_top_k_answer_leaves_out_is_the_worst_and_no_failure():
    left_out = drawn([[[-INF, 2.0, 1.0], [0.5, 2.0, -INF]]], [[0, 0]], [[1, 1]])
    for name in ("cross_entropy", "margin"):
        found = fitness(name, left_out)
        assert found[0, 0] == INF and found[0, 1].isfinite()
    assert fitness("boundary", left_out)[0].isfinite().all()


def test_a_thousand_classes_that_are_all_unlikely_are_no_tie() -> None:
    scores = torch.full((1, 3, 1000), 0.997 / 999)
    scores[0, :, 7] = 0.003  # the best; the others have 0.000998 each
    scores[0, 2, 8] = 0.003
    members = drawn(scores.tolist(), [[7, 9, 8]], [[0, 0, 0]])
    many = info("probabilities", 1000)
    assert fitness("boundary", members, "probabilities")[0].tolist() == pytest.approx([0.25, 0.25, 0.0], abs=2e-3)
    assert criteria.near_boundary(members, many).tolist() == [[False, False, True]]


def test_a_tie_for_the_third_place_is_no_boundary() -> None:
    members = drawn([[[0.6, 0.2, 0.2], [0.45, 0.45, 0.1]]], [[1, 1]], [[0, 0]])
    assert criteria.near_boundary(members, info("probabilities")).tolist() == [[False, True]]
