"""The tables of an attack for other programs: every number in full."""

from __future__ import annotations

from typing import Any

from ..studies.attack.results import Results
from .attack_tables import Group, Numbers, Row, class_name, in_order
from .sheets import Records


def records(results: Results, numbers: Numbers) -> list[Records]:
    """Every table in full, for the files; those without a row are left out."""
    found = [
        Records("images", [_image(results, row) for row in numbers.rows]),
        Records("survival", [step._asdict() for step in numbers.curve.steps]),
        Records("classes", [_group(results, group) for group in numbers.classes]),
        Records("targets", [_group(results, group) for group in numbers.targets]),
        Records(
            "seen_as",
            [
                {"label": class_name(results, label), "seen_as": class_name(results, seen), "images": times}
                for (label, seen), times in sorted(numbers.seen.items())
            ],
        ),
        Records(
            "order",
            [{"place": place, "queries": cost} for place, cost in enumerate(in_order(results), 1)]
            if numbers.learning else [],
        ),
        Records("pool", [_gene(results, gene) for gene in (results.pool or {}).get("genes", [])]),
        Records("queries", [{"account": name, **kinds} for name, kinds in results.ledger.get("searches", {}).items()]),
    ]  # fmt: skip
    return [table for table in found if table.rows]


def _image(results: Results, row: Row) -> dict[str, Any]:
    image = row.image
    return {
        "number": image.number,
        "name": image.name,
        "sha256": image.sha256,
        "label": class_name(results, image.label),
        "target": class_name(results, image.target) if image.target is not None else None,
        "outcome": image.outcome,
        "queries": image.queries,
        "queries_failure_as_budget": row.cost,
        "seen_before": class_name(results, image.clean_prediction),
        "confidence_before": image.clean_confidence,
        "seen_after": class_name(results, image.prediction),
        "confidence_after": image.confidence,
        "linf": image.linf,
        "l2": image.l2,
        "l0": image.l0,
        "attacked_as": image.asked + 1 if image.asked >= 0 else None,
        "genes_tried": image.tried if image.tried >= 0 else None,
        "gene": image.gene if image.gene >= 0 else None,
        "size_before_shrinking": image.shrunk.before if image.shrunk else None,
        "queries_of_shrinking": image.shrunk.queries if image.shrunk else None,
        "minimal": image.shrunk.minimal if image.shrunk else None,
        "finding": row.finding,
        "original": image.original,
        "adversarial": image.adversarial,
    }


def _group(results: Results, group: Group) -> dict[str, Any]:
    interval = group.success.interval if group.success else None
    return {
        "class": class_name(results, group.number),
        "attacked": group.attacked,
        "fooled": group.fooled,
        "skipped": group.skipped,
        "success": group.success.estimate if group.success else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "mean_queries": group.mean,
        "median_queries": group.median,
    }


def _gene(results: Results, gene: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": gene.get("number"),
        "label": class_name(results, gene.get("label")),
        "seen_as": class_name(results, gene.get("prediction")),
        "wins": gene.get("wins"),
        "tries": gene.get("tries"),
        "queries": gene.get("queries"),
        "file": gene.get("file"),
    }
