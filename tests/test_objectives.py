"""Objectives and criteria: the paper's formula by hand, and nothing is made of a missing answer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evofool import criteria, objectives
from evofool.spec import op
from fakes import evaluated, info

NAN = float("nan")
WEIGHT = 0.0000005

# Three members of one search, labels 0, 0 and 2; probabilities are exact in single precision.
PROBABILITIES = [[[0.75, 0.25, 0.0], [0.25, 0.5, 0.25], [NAN, NAN, NAN]]]
MEMBERS = evaluated(PROBABILITIES, [[0, 0, 2]])


def test_the_papers_fitness_by_hand():
    total = objectives.timbe_total(MEMBERS.scores, MEMBERS.labels, info("probabilities"))
    assert total.dtype == torch.float64
    right, wrong, failed = total[0].tolist()
    assert right == 0.25
    assert wrong == pytest.approx(0.5 + WEIGHT * math.sqrt(2), abs=1e-15)
    assert math.isnan(failed)


def test_the_papers_fitness_as_it_is_written():
    """abs(-(w * norm(onehot(predicted) - onehot(label)) + (1 - max probability))) with one-hot vectors built."""
    logits = torch.linspace(-3, 3, 60).sin().view(1, 20, 3) * 4
    members = evaluated(logits, torch.arange(20)[None] % 3)
    one_hot = torch.eye(3, dtype=torch.float64)
    written = []
    for scores, label in zip(members.scores[0].double(), members.labels[0], strict=True):
        probability = scores.exp() / scores.exp().sum()
        distance = (one_hot[probability.argmax()] - one_hot[label]).norm()
        written.append(abs(-(WEIGHT * distance + (1 - probability.max()))))
    total = objectives.timbe_total(members.scores, members.labels, info())
    assert torch.allclose(total[0], torch.stack(written), rtol=0, atol=1e-15)
    assert 0 < int((members.scores.argmax(-1) == members.labels).sum()) < 20


def test_labels_may_count_as_integers():
    members = evaluated([[[0.0, 0.25, 0.75], [0.75, 0.25, 0.0], [0.0, 1.0, 0.0]]], [[0, 2, 1]])
    total = objectives.timbe_total(members.scores, members.labels, info("probabilities"), label_distance="integer")
    assert total[0].tolist() == pytest.approx([0.25 + 2 * WEIGHT, 0.25 + 2 * WEIGHT, 0.0], abs=1e-15)


def test_the_weight_of_the_distance_can_be_changed():
    heavy = op("objectives.timbe_2021", distance_weight=1.0)(MEMBERS, info("probabilities"))
    assert heavy[0, :2].tolist() == pytest.approx([-0.25, -0.5 - math.sqrt(2)])


def test_the_loss_is_the_papers_total_with_its_sign_changed():
    for kind in ("probabilities", "logits"):
        total = objectives.timbe_total(MEMBERS.scores, MEMBERS.labels, info(kind))
        loss = objectives.timbe_2021(MEMBERS, info(kind))
        assert torch.equal(loss.nan_to_num(nan=9.0), (-total).nan_to_num(nan=9.0)) and bool((loss[0, :2] < 0).all())


def test_minus_the_loss_of_sure_answers_is_zero_and_not_negative():
    sure = evaluated([[[1000.0, 0.0, 0.0]]], [[0]])
    assert objectives.timbe_2021(sure, info()).item() == 0.0


def test_the_probability_of_the_carried_label_by_hand():
    fitness = objectives.true_class_probability(MEMBERS, info("probabilities"))
    assert fitness[0, :2].tolist() == [0.75, 0.25] and fitness[0, 2].isnan()
    logits = evaluated([[[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0]]], [[1, 0]])
    assert objectives.true_class_probability(logits, info())[0].tolist() == pytest.approx([1 / 3, 0.5])
    assert objectives.true_class_probability(logits, info()).dtype == torch.float64


def test_scores_become_probabilities_in_double_precision():
    logits = torch.tensor([[0.0, 20.0, -1e4]])
    probability = objectives.probabilities(logits, info())
    assert probability.dtype == torch.float64
    assert 1 - probability[0, 1].item() == pytest.approx(math.exp(-20), rel=1e-6)  # single precision would say 0
    left_out = objectives.probabilities(torch.tensor([[0.0, 0.0, -torch.inf]]), info())
    assert left_out.tolist() == [[0.5, 0.5, 0.0]]
    for kind in ("probabilities", "label"):
        assert objectives.probabilities(torch.tensor([[0.25, 0.75]]), info(kind)).tolist() == [[0.25, 0.75]]


@given(st.lists(st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3), min_size=1, max_size=6))
def test_fitness_lies_in_its_range(rows):
    members = evaluated([rows], [[k % 3 for k in range(len(rows))]])
    loss = objectives.timbe_2021(members, info())
    assert bool(((loss <= 0) & (loss >= -(2 / 3 + WEIGHT * math.sqrt(2) + 1e-12))).all())
    share = objectives.true_class_probability(members, info())
    assert bool(((share >= 0) & (share <= 1)).all())


def test_misclassified_by_hand():
    assert criteria.misclassified(MEMBERS, info("probabilities")).tolist() == [[False, True, False]]
    tie = evaluated([[[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]], [[0, 1]])
    assert criteria.misclassified(tie, info("probabilities")).tolist() == [[False, True]]  # the first choice counts


@pytest.mark.parametrize("row", [[NAN, 5.0, 0.0], [0.0, NAN, 9.0], [NAN, NAN, NAN]])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_an_answer_with_a_hole_in_it_never_is_a_success(row, label):
    assert criteria.misclassified(evaluated([[row]], [[label]]), info()).item() is False


def test_among_the_first_k_by_hand():
    scores = [[[3.0, 1.0, 2.0, 2.0], [3.0, 1.0, 2.0, 2.0], [3.0, 1.0, 2.0, 2.0], [NAN] * 4]]
    members = evaluated(scores, [[0, 2, 3, 0]])
    told = {k: criteria.among_first(members, info("logits", 4), k=k)[0].tolist() for k in (1, 2, 3)}
    assert told == {1: [True, False, False, False], 2: [True, True, False, False], 3: [True, True, True, False]}
    for k, among in told.items():
        not_among = criteria.not_among_first(members, info("logits", 4), k=k)[0].tolist()
        assert not_among == [*(not each for each in among[:3]), False], "no answer is no success either way"


@pytest.mark.parametrize("rest", [0.0, -math.inf])
def test_what_a_top_k_answer_leaves_out_is_no_success_by_its_number(rest):
    """Two of five classes are told; of the other three nobody knows the order."""
    members = evaluated([[[0.6, 0.3, rest, rest, rest]] * 3], [[1, 2, 4]])
    about = info("top-k", 5)
    assert criteria.among_first(members, about, k=3)[0].tolist() == [True, False, False]
    assert criteria.not_among_first(members, about, k=2)[0].tolist() == [False, True, True]
    assert criteria.not_among_first(members, about, k=3)[0].tolist() == [False, False, False]


def test_margins_of_the_first_k_by_hand():
    members = evaluated([[[3.0, 1.0, 2.0, 2.5]]], [[0]])
    assert objectives.untargeted_margin(members, info("logits", 4), k=1).tolist() == [[0.5]]
    assert objectives.untargeted_margin(members, info("logits", 4), k=2).tolist() == [[1.0]]
    assert objectives.targeted_margin(evaluated([[[3.0, 1.0, 2.0, 2.5]]], [[1]]), info("logits", 4), k=3).tolist() == [
        [1.0]
    ]
