"""The tables of an ink study in full, as plain records for CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..studies.draw.results import Drawn
from ..studies.ink import landscape, measures, schedules
from ..studies.ink.evidence import Effect
from ..studies.ink.measures import Change, EdgeIndex, Mean
from ..studies.ink.results import Map, Results
from . import ink_tables
from .ink_tables import Numbers, finite
from .sheets import Records


def records(results: Results, numbers: Numbers) -> list[Records]:
    """Every table; those without a row are left out."""
    found = [
        Records("findings", [{"sentence": text} for text in ink_tables.top(results, numbers)]),
        Records("causes", [
            {"cause": cause.name, "verdict": ink_tables.status(cause), "sentences": " ".join(cause.sentences)}
            for cause in numbers.verdict.causes
        ]),
        Records("effects", [
            {"cause": cause.name, **_effect(effect)} for cause in numbers.verdict.causes for effect in cause.effects
        ]),
        Records("advice", [{"about": about, "text": text} for about, lines in
                           (("not tested", numbers.verdict.not_tested), ("what can be changed", numbers.verdict.advice))
                           for text in lines]),
        Records("arms", [_arm(results, numbers, name) for name in numbers.rows]),
        Records("runs", list(_runs(results, numbers))),
        Records("curves", list(_curves(results))),
        Records("rings", list(_rings(results))),
        Records("occupancy", list(_occupancy(results))),
        Records("maps", list(_maps(results))),
        Records("map_rings", list(_map_rings(results))),
        Records("map_answers", list(_answers(results))),
        Records("pairs", list(_pairs(results))),
        Records("accuracies", [
            {"network": ink_tables.label_of(results, each.classifier), "variant": each.variant,
             "accuracy": finite(each.accuracy) if each.images else None,
             "balanced": finite(each.balanced) if each.images else None, "images": each.images,
             "changed": "; ".join(each.changed), "skipped": "; ".join(each.skipped)}
            for each in results.accuracies
        ]),
        Records("dark", [
            {"wanted": each.wanted, "ring": each.ring, "share": finite(each.share), "low": finite(each.low),
             "high": finite(each.high), "images": each.images}
            for each in results.dark
        ]),
        Records("lean", [
            {"wanted": lean.wanted, "others": lean.others, "difference": lean.difference, "low": lean.low,
             "high": lean.high}
            for lean in (results.lean,) if lean
        ]),
        Records("transfer", [
            {"arm": each.arm, "seed": each.seed, "shown": each.shown, "confidence": finite(each.confidence)}
            for each in results.transfer
        ]),
        Records("linkage", [
            {"crossover": each.crossover, "distance": each.distance, "rows": each.rows, "columns": each.columns}
            for each in results.linkage
        ]),
        Records("schedule", [
            {"arm": end.arm, "schedule": end.schedule, "seed": end.seed, "measured_in": end.at,
             "fitness_when_lifted": end.lifted, "fitness_at_the_end": end.last}
            for end in schedules.ends(results)
        ]),
        Records("schedule_answers", list(_schedule(numbers))),
        Records("skipped", [{"part": part, "why": why} for part, why in results.skipped]),
        Records("queries", [{"account": name, **counts} for name, counts in ink_tables.issued(results).items()]),
    ]  # fmt: skip
    return [table for table in found if table.rows]


def _numbers(of: EdgeIndex | Change | Mean | Effect, name: str = "") -> dict[str, Any]:
    """Estimate, interval and what they rest on, with a name before them."""
    keys = ("estimate", "low", "high", "n", "level")
    return {f"{name}{key}": getattr(of, key) for key in keys}


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "what": effect.what,
        "arm": effect.arm,
        "measured": effect.measured,
        **_numbers(effect),
        "speaks_for_it": effect.counts,
        "accuracy_lost": effect.lost,
    }


def _arm(results: Results, numbers: Numbers, name: str) -> dict[str, Any]:
    row = numbers.rows[name]
    arm = row.arm
    change = row.change or Change(None, None, None, 0)
    return {
        "arm": name,
        "part": arm.part,
        "about": arm.about,
        "network": ink_tables.label_of(results, arm.classifier),
        "variant": arm.variant,
        "tags": json.dumps(arm.tags, ensure_ascii=False),
        "height": arm.size[0],
        "width": arm.size[1],
        "canvas": " ".join(f"{level:g}" for level in arm.canvas),
        "ink_level": " ".join(f"{level:g}" for level in arm.ink),
        "runs": row.runs,
        "at_the_goal": row.reached,
        "ink": row.ink,
        "null": arm.null,
        "null_steps": row.edge.null,
        **_numbers(row.edge, "index_"),
        "partner": arm.partner,
        **_numbers(change, "change_"),
        "paired": change.paired if row.change else None,
    }


def _runs(results: Results, numbers: Numbers) -> Iterable[dict[str, Any]]:
    for run in results.runs:
        arm = results.arm(run.arm)
        yield {
            "arm": run.arm,
            "seed": run.seed,
            "finding": numbers.findings.get((run.arm, run.seed)),
            "edge_index": numbers.rows[run.arm].edge.values.get(run.seed),
            "steps_to_border": measures.run_steps(run.best, arm.size),
            "generation_of_the_goal": run.reached,
            "queries": run.queries,
            "ended_after": run.ended,
            "ink_before_shrinking": run.best.ink,
            "ink": run.final.ink,
            "confidence": finite(run.final.confidence),
            "minimal": run.shrunk.minimal if run.shrunk else None,
            "places_before_shrinking": _places(run.best.places, arm.size),
            "places": _places(run.final.places, arm.size),
        }


def _places(places: Sequence[int], size: tuple[int, int]) -> str:
    """Row and column of each pixel: "3,31 7,0"."""
    return " ".join(f"{place // size[1]},{place % size[1]}" for place in places)


def _curves(results: Results) -> Iterable[dict[str, Any]]:
    """Median and quartiles over the runs of each arm by generation; what each run had stands in study.json."""
    measured: dict[str, Callable[[Drawn], Sequence[float | None]]] = {
        "confidence": lambda run: run.confidence,
        "ink": lambda run: run.ink,
        "fitness": lambda run: run.fitness,
        "steps_to_border": lambda run: run.steps,
    }
    for arm in results.arms:
        for measure, of in measured.items():
            line = ink_tables.line(measure, results.of(arm.name), of)
            if line is None:
                continue
            for at, generation in enumerate(line.generations):
                yield {"arm": arm.name, "measure": measure, "generation": generation, "first_quartile": line.low[at],
                       "median": line.median[at], "third_quartile": line.high[at], "runs": line.runs}  # fmt: skip


def _rings(results: Results) -> Iterable[dict[str, Any]]:
    for arm in results.arms:
        for row in measures.ring_profile(results, arm.name):
            yield {"arm": arm.name, "ring": row.ring, "area": row.area, "share": row.mean, "low": row.low,
                   "high": row.high}  # fmt: skip


def _occupancy(results: Results) -> Iterable[dict[str, Any]]:
    """Pixels with ink in any run."""
    for arm in results.arms:
        shares = measures.occupancy(results, arm.name)
        if shares is None:
            continue
        for place in shares.ravel().nonzero()[0].tolist():
            yield {"arm": arm.name, "row": place // arm.size[1], "column": place % arm.size[1],
                   "share": float(shares.ravel()[place])}  # fmt: skip


def _named(results: Results, found: Map) -> dict[str, Any]:
    return {
        "network": ink_tables.label_of(results, found.classifier),
        "variant": found.variant,
        "canvas": " ".join(f"{level:g}" for level in found.canvas),
        "ink": " ".join(f"{level:g}" for level in found.ink),
    }


def _maps(results: Results) -> Iterable[dict[str, Any]]:
    for found in results.maps:
        for place, effect in zip(found.places, found.effects, strict=True):
            yield {**_named(results, found), "row": place // found.size[1], "column": place % found.size[1],
                   "effect": finite(effect)}  # fmt: skip


def _map_rings(results: Results) -> Iterable[dict[str, Any]]:
    for found in results.maps:
        for row in landscape.map_profile(found):
            yield {**_named(results, found), "ring": row.ring, "mean": row.mean, "percentile_5": row.low,
                   "percentile_95": row.high}  # fmt: skip


def _answers(results: Results) -> Iterable[dict[str, Any]]:
    """What each map says, and of the network that is explained how well it foretells the base's ink."""
    base = next((arm for arm in results.arms if arm.name == results.base), None)
    for found in results.maps:
        own = base is not None and found is ink_tables.map_on(results, base.classifier, base.variant, base)
        told = landscape.prediction(found, results.of(results.base)) if own else None
        both = landscape.interaction(found) if found.pairs else None
        agreement = landscape.ring_agreement(results, results.base, found) if own else None
        yield {
            **_named(results, found),
            "blank": finite(found.blank),
            "flat": landscape.is_flat(found),
            "landscape_index": landscape.landscape_index(found),
            "percentile": told.percentile if told else None,
            "percentile_low": told.low if told else None,
            "percentile_high": told.high if told else None,
            "p": told.p if told else None,
            "shifts": told.shifts if told else None,
            "ring_agreement": agreement.estimate if agreement else None,
            "ring_agreement_low": agreement.low if agreement else None,
            "ring_agreement_high": agreement.high if agreement else None,
            "interaction_best": both.best.estimate if both else None,
            "interaction_random": both.random.estimate if both else None,
        }


def _pairs(results: Results) -> Iterable[dict[str, Any]]:
    for found in results.maps:
        for first, second, effect in found.pairs:
            yield {**_named(results, found), "row_1": first // found.size[1], "column_1": first % found.size[1],
                   "row_2": second // found.size[1], "column_2": second % found.size[1],
                   "effect_of_both": finite(effect)}  # fmt: skip


def _schedule(numbers: Numbers) -> Iterable[dict[str, Any]]:
    found = numbers.verdict.schedule
    if found is None:
        return
    yield {"what": "became better", "better": found.better, "runs": found.runs, **_numbers(found.gain)}
    yield {"what": "stayed confined", "better": found.only_better, "runs": found.only_runs, **_numbers(found.only)}
    for what, mean in (
        ("less those that stayed confined", found.beyond),
        ("less those never confined", found.everywhere),
    ):
        yield {"what": what, "better": None, "runs": None, **_numbers(mean)}
