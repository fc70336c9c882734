"""Classification reports in the paper's layout, rebuilt from a confusion matrix."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..studies.operators.paper import AVERAGES


class ReportRow(NamedTuple):
    """One row of a classification report: a class or an average; scores in [0, 1], support in members."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


def classification_report(confusion: Sequence[Sequence[int]], class_names: Sequence[str]) -> list[ReportRow]:
    """Precision, recall and F1 by class, then micro, macro, weighted and samples averages.

    They are scikit-learn's, on one-hot labels: a member without an answer is a row of zeros, so it counts as missed but
    not as taken for another class. Where nothing was predicted or carried, a score is 0.

    Args:
        confusion: K rows (carried label) by K + 1 columns (prediction, "no answer").
        class_names: K names; the rows of the report carry them in this order.
    """
    return [
        ReportRow(name, *scores)
        for name, scores in zip((*class_names, *AVERAGES), _report(tuple(map(tuple, confusion))), strict=True)
    ]


@functools.lru_cache(maxsize=4096)
def _report(confusion: tuple[tuple[int, ...], ...]) -> tuple[tuple[float, float, float, int], ...]:
    """Rows of a report without their names: K classes, then the averages."""
    from sklearn.metrics import classification_report as report

    counts = np.array(confusion, dtype=int)
    classes, columns = counts.shape
    if not counts.any():
        return ((0.0, 0.0, 0.0, 0),) * (classes + len(AVERAGES))
    one_hot = np.eye(columns, dtype=int)[:, :classes]  # the last one, "no answer", is all zero
    carried, predicted = np.divmod(np.arange(counts.size), columns)
    names = [str(index) for index in range(classes)]
    # One weighted row for each cell stands for as many equal members: np.repeat would give the same, only larger.
    found = report(
        one_hot[carried],
        one_hot[predicted],
        sample_weight=counts.ravel(),
        target_names=names,
        output_dict=True,
        zero_division=0,
    )
    return tuple(
        (float(row["precision"]), float(row["recall"]), float(row["f1-score"]), round(row["support"]))
        for row in (found[name] for name in (*names, *AVERAGES))
    )
