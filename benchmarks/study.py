"""How long the arms of a finished study took: its timings.json, and the study.json beside it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import report
from evofool.errors import DamagedRunError
from evofool.studies.operators.results import load

SEEDS = 10
KINDS = {"scenario": "main", "elitism": "main", "control": "main", "hypothesis": "hypotheses"}
LIMITS = {"main": 5.0, "hypotheses": 10.0}  # minutes on two cores, judge included


def measure(timings: Path) -> dict[str, Any]:
    """Seconds of one core by arm, and by kind what 10 seeds on one classifier come to."""
    results = load(timings.parent / "study.json")
    try:
        (seconds,) = json.loads(timings.read_text()).values()
        spent = {arm.name: float(seconds[arm.name]) for arm in results.arms}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DamagedRunError(
            f"{timings} does not hold the times of its study ({error!r}); expected what `evofool study operators` wrote"
        ) from None
    runs = Counter(run.arm for run in results.runs)
    rows = []
    for kind in ("main", "hypotheses", "other"):
        arms = [arm.name for arm in results.arms if KINDS.get(arm.group, "other") == kind]
        scaled = sum(spent[arm] / runs[arm] * SEEDS for arm in arms)
        rows.append({"kind": kind, "arms": len(arms), "seconds": sum(spent[arm] for arm in arms), "scaled": scaled})
    return {
        "arms": {arm: {"seconds": spent[arm], "runs": runs[arm]} for arm in spent},
        "kinds": [row for row in rows if row["arms"]],
    }


def show(result: dict[str, Any]) -> None:
    """Print the arms, and the kinds of arms."""
    print("A finished study in seconds of one core; evolution, the judge's reading and the distances to the originals.")
    print("main = scenarios, elitism and controls; the last column: 10 seeds, one classifier, two cores")
    report.table(
        ["arm", "runs", "seconds", "a run"],
        [
            [arm, str(row["runs"]), f"{row['seconds']:.1f}", f"{row['seconds'] / row['runs']:.2f}"]
            for arm, row in sorted(result["arms"].items(), key=lambda item: -item[1]["seconds"])
        ],
    )
    print()
    report.table(
        ["kind", "arms", "seconds", "minutes"],
        [
            [row["kind"], str(row["arms"]), f"{row['seconds']:.0f}", f"{row['scaled'] / 120:.1f}"]
            for row in result["kinds"]
        ],
    )


def bars(result: dict[str, Any]) -> list[report.Bar]:
    """Minutes on two cores."""
    promise = "under {:g} minutes for {} seeds on one classifier and two cores"
    return [
        report.Bar(
            f"{row['kind']} arms",
            f"{row['scaled'] / 120:.1f} minutes",
            promise.format(LIMITS[row["kind"]], SEEDS),
            row["scaled"] / 120 < LIMITS[row["kind"]],
        )
        for row in result["kinds"]
        if row["kind"] in LIMITS
    ]
