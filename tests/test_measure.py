"""What is measured: tables by hand and against scikit-learn, distances, and what a judge says."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from evofool.classifiers.fake import Counting, Silent
from evofool.studies.operators import measure
from fakes import linear, stream

NAN = float("nan")


def test_predictions_by_hand():
    scores = torch.tensor([[0.1, 0.9, 0.0], [NAN, NAN, NAN], [5.0, NAN, 1.0], [-torch.inf, -1.0, -torch.inf]])
    assert measure.predictions(scores).tolist() == [1, 3, 3, 1]
    assert measure.predictions(scores.view(2, 2, 3)).tolist() == [[1, 3], [3, 1]]


def test_confusion_by_hand():
    labels = torch.tensor([[0, 0, 1, 2], [2, 2, 2, 0]])
    predicted = torch.tensor([[0, 1, 3, 2], [2, 2, 0, 3]])
    assert measure.confusion(labels, predicted, 3).tolist() == [
        [[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],
        [[0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 2, 0]],
    ]


def test_macro_averages_by_hand():
    """Class 0: claimed 2, of which 1 right, support 2. Class 1: never claimed, support 1. Class 2: neither."""
    table = torch.tensor([[[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]])
    accuracy, precision, recall, f1 = (value.item() for value in measure.macro(table))
    assert accuracy == pytest.approx(1 / 3)
    assert precision == pytest.approx((1 / 2) / 3)
    assert recall == pytest.approx((1 / 2) / 3)
    assert f1 == pytest.approx((2 / 4) / 3)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=40))
def test_macro_averages_are_those_of_scikit_learn(members):
    """On one-hot labels, as the paper has them; a member without an answer is a row of zeros."""
    labels, predicted = (np.array(side) for side in zip(*members, strict=True))
    table = measure.confusion(torch.tensor(labels)[None], torch.tensor(predicted)[None], 5)
    found = [value.item() for value in measure.macro(table)]
    truth, guess = np.eye(5, dtype=int)[labels], np.eye(6, 5, dtype=int)[predicted]
    expected = precision_recall_fscore_support(truth, guess, average="macro", zero_division=0)[:3]
    assert found == pytest.approx([accuracy_score(truth, guess), *expected], abs=1e-12)


def test_searches_are_counted_apart():
    labels = stream(3)["l"].integers(4, 50)
    predicted = stream(3)["p"].integers(5, 50)
    together = measure.confusion(labels, predicted, 4)
    for row in range(3):
        alone = measure.confusion(labels[row : row + 1], predicted[row : row + 1], 4)
        assert torch.equal(alone[0], together[row]) and int(alone.sum()) == 50
        for one, all_of_them in zip(measure.macro(alone), measure.macro(together), strict=True):
            assert one[0] == all_of_them[row]


# Distances


def pictures(count: int, channels: int = 1) -> torch.Tensor:
    return (stream()["pictures"].uniform(count, channels, 16, 16)[0] * 255).round() / 255


def test_distances_by_hand():
    origin = torch.zeros(2, 1, 16, 16)
    changed = origin.clone()
    changed[0, 0, 0, :4] = 0.5
    found = measure.distance(changed, origin)
    assert found.l0 == pytest.approx(4 / 256 / 2)
    assert found.l2 == pytest.approx(math.sqrt(4 * 0.25) / 2)


@pytest.mark.parametrize("count", [1, 2, 250, 251, 500])
def test_equal_images_are_at_no_distance(count):
    found = measure.distance(pictures(count), pictures(count))
    assert (found.l0, found.l2) == (0.0, 0.0) and found.ssim == pytest.approx(1.0, abs=1e-6)


def test_a_pixel_counts_once_however_many_of_its_channels_differ():
    origin = torch.zeros(1, 3, 16, 16)
    changed = origin.clone()
    changed[0, :, 3, 3] = 0.1
    changed[0, 1, 4, 4] = 1 / 255
    assert measure.distance(changed, origin).l0 == pytest.approx(2 / 256)


def test_similarity_is_that_of_wang_et_al_by_hand():
    """For two flat images only the means count: (2ab + c) / (a^2 + b^2 + c) with c = 0.01^2."""
    a, b = torch.full((3, 1, 16, 16), 0.6), torch.full((3, 1, 16, 16), 0.2)
    expected = (2 * 0.6 * 0.2 + 1e-4) / (0.36 + 0.04 + 1e-4)
    assert measure.distance(a, b).ssim == pytest.approx(expected, abs=1e-4)
    noisy = (pictures(3) + 0.5 * stream()["noise"].uniform(3, 1, 16, 16)[0]).clamp(0, 1)
    assert 0 < measure.distance(noisy, pictures(3)).ssim < 0.95


def test_the_mean_is_over_members_and_not_over_chunks():
    a, b = pictures(251), pictures(251).flip(0)
    each = [measure.distance(x[None], y[None]) for x, y in zip(a[245:], b[245:], strict=True)]
    last = measure.distance(a[245:], b[245:])
    for name in ("l0", "l2", "ssim"):
        assert getattr(last, name) == pytest.approx(np.mean([getattr(one, name) for one in each]), abs=1e-5)
    whole, first = measure.distance(a, b), measure.distance(a[:245], b[:245])
    assert whole.ssim == pytest.approx((245 * first.ssim + 6 * last.ssim) / 251, abs=1e-5)


# The judge


def test_a_judge_by_hand():
    judge = linear(shape=(1, 4, 4))
    images = stream()["images"].uniform(8, 1, 4, 4)[0]
    read = judge(images).argmax(1)
    labels = torch.where(torch.arange(8) < 5, read, (read + 1) % 3)  # it reads five of eight
    predicted = torch.where(torch.arange(8) % 2 == 0, labels, (labels + 1) % 3)  # the odd ones fool the target
    assert measure.judged(judge, images, labels, predicted) == measure.Judged(fools=0.5, reads=5 / 8, adversarial=2 / 8)


def test_an_image_without_an_answer_fools_nobody_and_is_not_read():
    images = stream()["images"].uniform(4, 1, 4, 4)[0]
    labels = linear()(images).argmax(1)
    everything = Silent(linear(), lambda batch: torch.ones(len(batch), dtype=torch.bool))
    assert measure.judged(linear(), images, labels, torch.full((4,), 3)) == measure.Judged(0.0, 1.0, 0.0)
    assert measure.judged(everything, images, labels, (labels + 1) % 3) == measure.Judged(1.0, 0.0, 0.0)


def test_questions_outside_a_search_pass_the_ledger():
    classifier = Counting(linear(micro_batch=7))
    images = stream()["images"].uniform(10, 1, 4, 4)[0]
    assert torch.equal(measure.ask(classifier, images), linear()(images))
    assert classifier.sizes == [7, 7]  # padded like any other
    metered = linear()
    metered.info = dataclasses.replace(metered.info, metered=True)
    counting = Counting(metered)
    measure.ask(counting, images)
    assert counting.sizes == [7, 3]
