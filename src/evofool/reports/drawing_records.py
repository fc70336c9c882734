"""The tables of drawing for other programs: every number in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..studies.draw.results import Results
from .drawing_tables import Numbers, Row
from .sheets import Records


def records(results: Results, numbers: Numbers) -> list[Records]:
    """Every table in full, for the files; those without a row are left out."""
    places = numbers.places
    found = [
        Records("runs", [_record(numbers, row) for row in numbers.rows]),
        Records("generations", results.generations()),
        Records(
            "curves",
            [
                {"measure": curve.measure, "generation": generation, "first_quartile": low, "median": middle,
                 "third_quartile": high, "runs": curve.runs}
                for curve in numbers.curves
                for generation, low, middle, high in zip(
                    curve.generations, curve.low, curve.median, curve.high, strict=True
                )
            ],
        ),
        Records(
            "occupancy",
            [
                {"row": row * places.square, "column": column * places.square, "height": places.square,
                 "width": places.square, "ink": float(places.map[row, column]), "drawings": places.runs}
                for row in range(places.map.shape[0])
                for column in range(places.map.shape[1])
                if places.map[row, column]
            ] if places else [],
        ),
        Records("rings", [ring._asdict() for ring in places.rings] if places else []),
        Records(
            "fronts",
            [
                {"seed": row.run.seed, "ink": picture.ink, "confidence": picture.confidence,
                 "best_of_all": (row.run.seed, picture) in numbers.front, "places": _text(picture.places, numbers)}
                for row in numbers.rows
                for picture in row.run.front
            ],
        ),
        Records("queries", [{"account": name, **kinds} for name, kinds in results.ledger.get("searches", {}).items()]),
    ]  # fmt: skip
    return [table for table in found if table.rows]


def _record(numbers: Numbers, row: Row) -> dict[str, Any]:
    run = row.run
    return {
        "seed": run.seed,
        "finding": row.finding,
        "at_the_goal": row.holds,
        "generation_of_the_goal": run.reached,
        "queries": run.queries,
        "ended_after": run.ended,
        "ended_by": row.ended,
        "ink_before_shrinking": run.best.ink,
        "ink": run.final.ink,
        "confidence": run.final.confidence,
        "read_as": row.prediction,
        "minimal": run.shrunk.minimal if run.shrunk else None,
        "queries_of_shrinking": run.shrunk.queries if run.shrunk else None,
        "confirmed": run.confirmed,
        "places": _text(run.final.places, numbers),
    }


def _text(places: Sequence[int], numbers: Numbers) -> str:
    """Row and column of each pixel of ink: "3,31 7,0"."""
    return " ".join(f"{place // numbers.arm.size[1]},{place % numbers.arm.size[1]}" for place in places)
