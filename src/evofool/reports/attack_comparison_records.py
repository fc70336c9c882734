"""The tables of a comparison of attacks for other programs: every number in full."""

from __future__ import annotations

from typing import Any

from .attack_comparison import Comparison, Entry, Estimate, Pair
from .sheets import Records


def records(found: Comparison) -> list[Records]:
    """Every table in full."""
    tables = [
        Records("comparison", [record(found, entry) for entry in found.entries]),
        Records("pairs", [pair_record(pair) for pair in found.pairs]),
        Records(
            "runs",
            [
                {"run": run.path, "recipe": entry.name, "seed": run.results.seed, "images": found.images,
                 "fooled": int(run.fooled.sum()), "mean_queries": run.mean, "median_queries": run.median,
                 **{of: run.results.queries(of=of) for of in ("issued", "answered", "failed", "lost", "repeated")}}
                for entry in found.entries
                for run in entry.runs
            ],
        ),
        Records(
            "survival",
            [
                {"recipe": entry.name, **step._asdict()}
                for entry in found.entries
                for step in entry.curve.steps
            ],
        ),
        Records(
            "learning",
            [
                {"recipe": entry.name, "first": point.first, "last": point.last, **_flat("mean_queries", point.mean)}
                for entry in found.entries
                for point in entry.learning
            ],
        ),
    ]  # fmt: skip
    return [table for table in tables if table.rows]


def record(found: Comparison, entry: Entry) -> dict[str, Any]:
    """An entry as plain values, for JSON and CSV."""
    firsts = dict(entry.firsts)
    return {
        "recipe": entry.name,
        "shares": entry.shares,
        "seeds": " ".join(map(str, entry.seeds)),
        "images": found.images,
        **_flat("success", entry.success),
        **_flat("mean_queries", entry.mean),
        "median_queries": entry.median,
        **{f"mean_queries_first_{k}": firsts.get(k) for k, _ in found.entries[0].firsts},
        **_flat("ratio_to_first", entry.against or Estimate(1.0, None, None)),
        "issued": entry.issued,
        "distinct": entry.distinct,
        "repeated": entry.repeated,
        "lost_on_disk": entry.lost,
    }


def pair_record(pair: Pair) -> dict[str, Any]:
    """A pair as plain values."""
    return {
        "first": pair.first,
        "second": pair.second,
        "unit": pair.unit,
        **_flat("ratio", pair.ratio),
        "queries_p": pair.queries_p,
        **_flat("success", pair.success),
        "success_p": pair.success_p,
    }


def _flat(name: str, estimate: Estimate) -> dict[str, float | None]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
