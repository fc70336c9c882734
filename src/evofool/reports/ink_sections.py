"""One section of an ink study's page for each question: text, figures and tables, neither drawn nor rendered."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..studies.ink import landscape as maps
from ..studies.ink import measures
from ..studies.ink.evidence import OPERATORS
from ..studies.ink.results import Arm, Map, Results
from . import ink_maps, ink_plots, ink_tables
from .drawing_findings import count
from .ink_maps import Band, Panel
from .ink_tables import Dot, Numbers
from .ink_words import TICKS, UNIT, between, noted, signed_number
from .page import Block, Text
from .page import Picture as Figure
from .sheets import Column, Sheet

# 1 --------------------------------------------------------------------------------------------------------------------


def where(results: Results, numbers: Numbers) -> Iterable[Block]:
    """Maps beside each other, profiles by ring, the edge index of every way to draw."""
    arms = [arm for arm in ink_tables.central(results) if results.of(arm.name)]
    ran = ink_tables.ran(results, "where")
    if not arms:
        yield Text(ink_tables.absent(results, "where"))
        return
    base = arms[0]
    panels = _side_by_side(results, base, arms)
    if panels:
        yield Text(
            "All maps below go from blue to red, each a share of its own largest value, so that they can be held side "
            "by side: red is more ink than if the same ink were spread evenly (or a pixel of ink that speaks for the "
            "wanted class), blue is less (or against it), white is neither. If the network's answers to single pixels "
            "decide where ink goes, red lies in the same places."
        )
        yield Figure(
            "maps",
            "Where the evolved ink lies, and what single pixels do to the blank canvas, on one colour scale.",
            "Maps of the canvas in red and blue side by side.",
            functools.partial(ink_maps.maps, [Band("", panels, 1.0, "share of the largest", TICKS)]),
        )
    profiles = [
        (_way(arm), measures.ring_profile(results, arm.name), _null_profile(results, arm))
        for arm in arms
        if any(run.best.places for run in results.of(arm.name))
    ]
    if profiles:
        yield Text(
            "A ring holds all pixels with the same number of steps to the border; outer rings have more pixels. Ink "
            "without a preference follows the area (dotted). The null (dashed) is what the same operators do where "
            "nothing is to be gained: one member of each run, so that it is jagged where these have little ink."
        )
        yield Figure(
            "profiles",
            "Share of the ink by ring, mean over runs with intervals, of each way to draw.",
            "Panels with lines from the border to the middle: evolved ink, null, area.",
            functools.partial(ink_plots.profiles, profiles),
        )
    if not ran:
        yield Text(f"Other crossovers, mutation rates and λ: {ink_tables.absent(results, 'where')}")
        return
    grid = _grid(results, numbers)
    if grid:
        yield Figure(
            "lambdas",
            "Edge index by λ, the price of a pixel of ink, with 95% intervals over runs. Hollow: no interval.",
            "Panels with dots and intervals by lambda, a panel for each crossover.",
            functools.partial(ink_plots.lambdas, grid),
        )
        names = list(dict.fromkeys(name for lines in grid.values() for row in lines.values() for name, _ in row))
        rows = tuple(
            (f"{crossover}, {mutation}", *(noted(dict(row).get(name)) for name in names))
            for crossover, lines in grid.items()
            for mutation, row in lines.items()
        )
        columns = (Column("crossover, mutation", kind="name"), *(Column(f"λ = {name}") for name in names))
        yield Sheet("Edge index of every way to draw (1 = no bias), with 95% intervals over runs.", columns, rows)


def _side_by_side(results: Results, base: Arm, arms: Sequence[Arm]) -> tuple[Panel, ...]:
    panels = []
    runs = len(results.of(base.name))
    own = ink_tables.scaled(ink_tables.excess(results, [base.name]))
    if own is not None:
        panels.append(Panel("where the ink is", (f"{_way(base)}, {count(runs, 'run')}",), own))
    same = [arm for arm in arms if arm.size == base.size]
    if len(same) > 1 and (pooled := ink_tables.excess(results, [arm.name for arm in same])) is not None:
        panels.append(Panel("where the ink is", (f"mean of {len(same)} ways to draw",), ink_tables.scaled(pooled)))
    found = ink_tables.map_on(results, base.classifier, base.variant, base)
    if (effects := ink_tables.filled(found)) is not None:
        panels.append(
            Panel(
                "what one pixel does alone",
                (f"blank canvas, {_tried(found)}",),
                ink_tables.scaled(effects, extreme=ink_tables.EXTREME),
            )
        )
    return tuple(panels)


def _tried(found: Map | None) -> str:
    if found is None:
        return ""
    whole = found.size[0] * found.size[1]
    tried = len(found.places)
    return "every pixel" if tried == whole else f"{tried:,} of {whole:,} pixels"


def _nearest(found: Map) -> str:
    return "" if len(found.places) == found.size[0] * found.size[1] else ", the others shown as the nearest of these"


def _way(arm: Arm) -> str:
    tags = arm.tags
    return f"{tags.get('crossover', arm.name)}, {tags['mutation']}" if "mutation" in tags else arm.name


def _null_profile(results: Results, arm: Arm) -> list[measures.RingRow]:
    return measures.ring_profile(results, arm.null) if ink_tables.known(results, arm.null) else []


def _grid(results: Results, numbers: Numbers) -> dict[str, dict[str, list[tuple[str, measures.EdgeIndex]]]]:
    arms = ink_tables.tagged(results, "where", "lambda")
    found: dict[str, dict[str, list[tuple[str, measures.EdgeIndex]]]] = {}
    for arm in sorted(arms, key=lambda arm: float(arm.tags["lambda"])):
        name = f"{float(arm.tags['lambda']):g}"
        lines = found.setdefault(str(arm.tags.get("crossover", "")), {})
        lines.setdefault(str(arm.tags.get("mutation", "")), []).append((name, numbers.rows[arm.name].edge))
    order = ink_tables.distinct(arms, "crossover")
    return {str(name): found[str(name)] for name in order if str(name) in found}


# 2 --------------------------------------------------------------------------------------------------------------------


def operators(results: Results, numbers: Numbers) -> Iterable[Block]:
    """What operators do by themselves, and which pixels they keep together."""
    ran = ink_tables.ran(results, "operators")
    nulls = [arm for arm in ink_tables.kind(results, "null", "additive", "control") if results.of(arm.name)]
    if not nulls and not results.linkage:
        yield Text(ink_tables.absent(results, "operators"))
        return
    cause = numbers.verdict.cause(OPERATORS)
    drifts, indices = ([each for each in cause.effects if each.measured == name] for name in ("drift", "index"))
    yield Text(
        "Crossover that exchanges ink at the same places cannot change how much ink a place may expect, however large "
        "the rectangle; a move that is clamped at the border can. So the operators are measured where nothing is to be "
        "gained (constant fitness, no ink better than any other), and beside them one that is known to be biased: if "
        "it were not found biased, this test would say nothing."
    )
    dots = []
    for title, effects in (
        ("constant fitness: distance at the end over that at the start", drifts),
        ("every inked pixel worth the same: edge index", indices),
    ):
        for each in effects:
            group = "known to be biased: clamped moves, constant fitness" if each.arm in _controls(results) else title
            what = ink_tables.short_of(results.arm(each.arm), each)
            dots.append(
                Dot(
                    group,
                    what,
                    each.estimate,
                    each.low,
                    each.high,
                    f"{between(each)}{ink_tables.control(each, numbers)}",
                    each.counts and group == title,
                )
            )
    dots.sort(key=lambda dot: dot.group.startswith("known"))
    if any(dot.estimate is not None for dot in dots):
        yield Figure(
            "operators",
            "What the operators do by themselves, with intervals that hold for all of a group together.",
            "Dots with intervals around a line at one.",
            functools.partial(ink_plots.effects, dots, axis_title="ratio (1 = no bias)", beside="ratio, with interval"),
        )
    lines = _distances(results)
    if lines:
        base = results.arm(results.base) if ink_tables.known(results, results.base) else None
        even = float(measures.ring_of(base.size).mean()) if base else None
        yield Figure(
            "distances",
            "Mean distance of the ink to the border over the generations, of all members of the population; median and "
            "quartiles over runs.",
            "Lines over the generations: the evolved ink leaves the line of the null.",
            functools.partial(ink_plots.over_generations, lines, title="steps to the border", even=even),
        )
    if results.linkage:
        yield Text(
            "What crossovers change is which pixels travel together. Two inked pixels of one parent, so far apart: how "
            "often does a child get both or neither of them? Half is chance. This is measured on random parents, "
            "without any network."
        )
        yield Figure(
            "linkage",
            "How often two pixels stay together, by the crossover and by how far they are apart.",
            "Panels with two lines falling with the distance, one for rows and one for columns.",
            functools.partial(ink_plots.linkage, results.linkage),
        )
    if not ran:
        yield Text(
            "The nulls above are those that other parts rest on; the part on operators itself was not asked for."
        )


def _controls(results: Results) -> set[str]:
    return {arm.name for arm in ink_tables.kind(results, "control")}


def _distances(results: Results) -> list[ink_tables.Line]:
    """Of the base, of its null, and of the operator that is known to be biased."""
    wanted = [(results.base, "evolved ink: the base")] if ink_tables.known(results, results.base) else []
    if wanted and ink_tables.known(results, null := results.arm(results.base).null):
        wanted.append((null, "its null: constant fitness"))
    wanted += [(name, "clamped moves, constant fitness") for name in sorted(_controls(results))]
    lines = [ink_tables.line(title, results.of(name), lambda run: run.steps) for name, title in wanted]
    return [line for line in lines if line]


# 3 --------------------------------------------------------------------------------------------------------------------


def landscape(results: Results, numbers: Numbers) -> Iterable[Block]:
    """The map of single pixels, by ring, how well it foretells the ink, and what pairs do."""
    base = results.arm(results.base) if ink_tables.known(results, results.base) else None
    found = ink_tables.map_on(results, base.classifier, base.variant, base) if base else None
    effects = ink_tables.filled(found)
    if base is None or found is None or effects is None:
        yield Text(ink_tables.absent(results, "landscape"))
        return
    yield Text(
        "The blank canvas is shown with one pixel of ink, for each place by turn, and the answer is compared with that "
        "for the blank canvas itself. The effect is in log-odds of the wanted class: +1 multiplies the odds by 2.7. "
        f"The blank canvas has {signed_number(found.blank)} (0 is one half)."
    )
    yield Figure(
        "single_pixels",
        f"What each single pixel of ink does to the blank canvas ({_tried(found)}{_nearest(found)}); the ink of the "
        "run with the least ink is framed.",
        "A map of the canvas in red and blue.",
        functools.partial(
            ink_maps.maps,
            [Band("", (Panel("effect of one pixel", (), effects, places=_least(results, base)),
                       *_beside(results, base)), ink_tables.limit([effects]), UNIT)],
            side=4.2,
        ),
    )  # fmt: skip
    ink = measures.ring_profile(results, base.name)
    yield Figure(
        "single_pixels_by_ring",
        "Left: the same by ring. Right: how dense the evolved ink is in each ring; 1 = as dense as if spread evenly.",
        "A line by ring, and bars by ring.",
        functools.partial(ink_plots.effect_by_ring, maps.map_profile(found), ink),
    )
    yield Sheet(
        "What the map says, and how well it foretells where evolved ink lies.",
        (Column("question", kind="name"), Column("answer", kind="text"), Column("how", kind="text")),
        tuple(_answers(results, base, found)),
    )


def _least(results: Results, base: Arm) -> tuple[tuple[int, int], ...]:
    runs = sorted((run for run in results.of(base.name) if run.final.places), key=lambda run: (
        run.reached is None, run.final.ink, run.seed))  # fmt: skip
    return tuple((place // base.size[1], place % base.size[1]) for place in runs[0].final.places) if runs else ()


def _beside(results: Results, base: Arm) -> tuple[Panel, ...]:
    """The ink of all runs, to hold beside the map, in no other unit than places."""
    places = sorted({place for run in results.of(base.name) for place in run.best.places})
    if not places:
        return ()
    blank = np.zeros(base.size)
    marks = tuple((place // base.size[1], place % base.size[1]) for place in places)
    return (Panel(f"ink of {count(len(results.of(base.name)), 'run')}", (), blank, places=marks, plain=True),)


def _answers(results: Results, base: Arm, found: Map) -> Iterable[tuple[Any, ...]]:
    told = maps.prediction(found, results.of(base.name))
    if told is not None:
        ends = "" if told.low is None or told.high is None else f" ({told.low:.0%} to {told.high:.0%})"
        yield (
            "Does ink lie where single pixels do most?",
            f"an inked pixel does more than {told.percentile:.0%}{ends} of all pixels; p = {told.p:.2g}",
            f"50% is chance; p: share of {told.shifts:,} circular shifts of the map that foretell as well; "
            f"{count(told.n, 'run')}",
        )
    agreement = maps.ring_agreement(results, base.name, found)
    if agreement.estimate is not None:
        yield (
            "Are rings with more effect denser with ink?",
            f"rank correlation {between(agreement)}",
            "Spearman's, over rings; interval over runs",
        )
    index = maps.landscape_index(found)
    if index is not None:
        yield (
            "Where are the best single pixels?",
            f"{index:.2f} of the mean distance to the border",
            f"the best {maps.SHARE:.0%} of all pixels; 1 = no bias",
        )
    flat = maps.is_flat(found)
    if flat is not None:
        yield ("Is there a slope at all?", "no" if flat else "yes", "whether ink is worth the same wherever it lies")
    if found.pairs:
        both = maps.interaction(found)
        for name, mean in (("Do the best pixels help each other?", both.best), ("Do random pixels?", both.random)):
            if mean.estimate is not None:
                yield (
                    name,
                    f"{between(mean, signed=True)} log-odds",
                    f"effect of both less the sum of both effects, {mean.n:,} pairs; 0 = they add up",
                )
