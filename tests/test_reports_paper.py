"""The published figures, and classification reports in their layout."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import classification_report as scikit

from evofool.reports.classification import classification_report
from evofool.studies.operators import paper


def test_twelve_scenarios_of_a_thousand_images() -> None:
    found = paper.load()
    assert len(found.scenarios) == 12
    assert found.accuracy("FPS_AC_SM") == 0.15
    assert found.accuracy("TS_SPC_SM") == 0.70
    assert all(sum(found.supports(name)) == 1000 for name in found.scenarios)
    assert max(found.supports("FPS_AC_SM")) == 347
    assert "2021" in found.source


def test_the_curves_end_at_the_published_accuracies() -> None:
    found = paper.load()
    for name in found.scenarios:
        assert sorted(found.curves[name]) == [0, 1, 2, 4, 6, 8, 10]
        assert found.curves[name][10] == found.accuracy(name)


def test_every_scenario_has_a_maximum_and_elitism_too() -> None:
    found = paper.load()
    assert set(found.largest_fitness) == {*found.scenarios, "FPS_AC_SM_elitism"}
    assert found.total_fitness == {"FPS_AC_SM": 653.74, "FPS_AC_SM_elitism": 656.31}
    assert set(found.first_fitness) == {name for name in found.scenarios if name.startswith("FPS")}


def test_the_published_classifier_has_ten_thousand_test_images() -> None:
    found = paper.load().classifier
    assert sum(scores.support for name, scores in found.items() if name not in paper.AVERAGES) == 10_000
    assert found["micro avg"].recall == 0.95


def test_an_unknown_scenario_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        paper.load().accuracy("trained_model")


def test_a_report_by_hand() -> None:
    # class a: 3 right of 5, 5 predicted; class b: 2 right of 4, 3 predicted; one member of a has no answer
    rows = {row.name: row for row in classification_report([[3, 1, 1], [2, 2, 0]], ["a", "b"])}
    assert list(rows) == ["a", "b", "micro avg", "macro avg", "weighted avg", "samples avg"]
    assert rows["a"][1:] == pytest.approx((0.6, 0.6, 0.6, 5))
    assert rows["b"][1:] == pytest.approx((2 / 3, 0.5, 4 / 7, 4))
    assert rows["micro avg"][1:] == pytest.approx((5 / 8, 5 / 9, 10 / 17, 9))
    assert rows["macro avg"][1:] == pytest.approx(((0.6 + 2 / 3) / 2, 0.55, (0.6 + 4 / 7) / 2, 9))
    assert rows["weighted avg"][1:3] == pytest.approx(((5 * 0.6 + 4 * 2 / 3) / 9, 5 / 9))
    assert rows["samples avg"][1:] == pytest.approx((5 / 9, 5 / 9, 5 / 9, 9))


@settings(max_examples=30)
@given(st.integers(2, 4), st.data())
def test_a_report_is_scikit_learns_on_one_hot_labels(classes: int, data: st.DataObject) -> None:
    counts = data.draw(arrays(np.int64, (classes, classes + 1), elements=st.integers(0, 5)))
    if not counts.any():
        counts[0, 0] = 1
    carried, predicted = (np.repeat(index, counts.ravel()) for index in np.divmod(np.arange(counts.size), classes + 1))
    hot = np.eye(classes + 1, dtype=int)[:, :classes]
    expected = scikit(hot[carried], hot[predicted], output_dict=True, zero_division=0)
    found = classification_report(counts.tolist(), [str(k) for k in range(classes)])
    for row in found:
        assert row[1:] == pytest.approx(tuple(expected[row.name].values())), row.name


def test_a_report_of_nobody_is_zero() -> None:
    assert {row[1:] for row in classification_report([[0, 0, 0], [0, 0, 0]], ["a", "b"])} == {(0, 0, 0, 0)}


def test_classes_may_be_called_like_averages() -> None:
    rows = classification_report([[1, 0, 0], [0, 1, 0]], ["micro avg", "micro avg"])
    assert [row.name for row in rows][:3] == ["micro avg"] * 3
    assert [row.support for row in rows][:3] == [1, 1, 2]
