"""The page of an ink study: the verdict and the drawings, then each question; neither drawn nor rendered."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from ..studies.draw.results import Arm as Canvas
from ..studies.draw.results import Drawn
from ..studies.ink import evidence
from ..studies.ink.arms import PARTS
from ..studies.ink.evidence import (
    DATA,
    GENERAL,
    ITSELF,
    LANDSCAPE,
    OPERATORS,
    PIPELINE,
    POSITION,
    WEIGHTS,
    Cause,
    Effect,
)
from ..studies.ink.results import Arm, Results
from . import drawing_plots, ink_causes, ink_plots, ink_sections, ink_tables
from .drawing_findings import count, name_of, percent
from .drawing_pixels import SIDE, pixels, width
from .findings import Finding
from .ink_tables import Numbers
from .ink_words import between, level_of
from .numbers import number
from .page import Block, Code, Group, More, Page, Section, Text, Tile, Tiles
from .page import Picture as Figure
from .sheets import Column, Note, Sheet

SHOWN = 40  # drawings of one way to draw in view
QUESTIONS = {
    OPERATORS: "Do crossover and mutation carry ink there by themselves?",
    LANDSCAPE: "Does the network reward ink more there than elsewhere?",
    WEIGHTS: "Does the preference go when this network's padding is swapped, without training it again?",
    GENERAL: "Do networks that were trained with other padding prefer it less?",
    POSITION: "Is it the place on the canvas, or what the canvas looks like?",
    PIPELINE: "Does resizing on the way to the network take part?",
    DATA: "Could the training images have taught it?",
    ITSELF: "Do the drawings convince this network only?",
}


def page(results: Results, numbers: Numbers) -> Page:
    """Lay out the report.

    Args:
        results: of the study.
        numbers: computed from them.
    """
    sections = [
        Section("verdict", "The verdict, cause by cause", tuple(_verdict(results, numbers))),
        Section("drawings", "The drawings", tuple(_drawings(results, numbers))),
        Section("where", "Where is the ink?", tuple(ink_sections.where(results, numbers))),
        Section("operators", "Is it the operators?", tuple(ink_sections.operators(results, numbers))),
        Section("landscape", "Is it the landscape?", tuple(ink_sections.landscape(results, numbers))),
        Section("padding", "Is it padding?", tuple(ink_causes.padding(results, numbers))),
        Section("position", "Is it the position or the content?", tuple(ink_causes.position(results, numbers))),
        Section("pipeline", "Is it the pipeline?", tuple(ink_causes.pipeline(results, numbers))),
        Section("data", "Is it the data?", tuple(ink_causes.data(results, numbers))),
        Section("transfer", "Do the drawings convince anyone else?", tuple(ink_causes.transfer(results, numbers))),
        Section("schedule", "Confined to the middle first", tuple(ink_causes.schedule(results, numbers))),
        Section("run", "How it was run; replay, verify", tuple(_run(results, numbers))),
    ]
    target, network = name_of(_target(results)), name_of(_network(results))
    return Page(
        f"Where evolved ink gathers, and why: {target} for {network}",
        _subtitle(results),
        results.command,
        _findings(results, numbers),
        sections,
    )


def _target(results: Results) -> str:
    return (
        results.class_names[results.target] if 0 <= results.target < len(results.class_names) else str(results.target)
    )


def _network(results: Results) -> str:
    name = str(results.classifiers[0].get("name", "")) if results.classifiers else ""
    return ink_tables.label_of(results, name) if name else "the network"


def _subtitle(results: Results) -> str:
    parts = ["QUICK"] if results.quick else []
    parts += ["PATH ONLY"] if ink_tables.path_only(results) else []
    base = next((arm for arm in results.arms if arm.name == results.base), None)
    parts += [f"{base.size[0]} × {base.size[1]} pixels"] if base else []
    parts += [f"goal: {name_of(_target(results))} at {100 * float(results.config.get('confidence') or 0):g}% or more"]
    asked = sum(any(name == part for name in _parts(results)) for part in PARTS)
    parts += [count(len(results.arms), "arm"), count(len(results.runs), "run")]
    parts += [f"{asked} of {len(PARTS)} parts"] if asked < len(PARTS) else []
    return " · ".join(parts)


def _parts(results: Results) -> Sequence[str]:
    return list(results.config.get("parts") or PARTS)


def _findings(results: Results, numbers: Numbers) -> list[Finding]:
    schedule = numbers.verdict.schedule
    last = schedule.sentences[-1] if schedule else None
    return [
        Finding(text, "schedule" if text == last else "verdict", results.command)
        for text in ink_tables.top(results, numbers)
    ]


# The verdict ----------------------------------------------------------------------------------------------------------


def _verdict(results: Results, numbers: Numbers) -> Iterable[Block]:
    found = numbers.verdict
    yield Text(
        "The measure is the edge index: the mean distance of the ink to the border, divided by that of the null. The "
        "null is the same way to draw where nothing is to be gained, measured in runs of its own. 1 means no bias; "
        "0.5 means that ink lies at half of the distance; above 1 it leans to the middle. Intervals are over runs, "
        "which are resampled, never over pixels, which depend on each other."
    )
    rows = tuple(
        (Note(cause.name, QUESTIONS[cause.name]), ink_tables.status(cause), _because(cause)) for cause in found.causes
    )
    columns = (Column("cause", kind="name"), Column("verdict", kind="verdict"), Column("because", kind="text"))
    yield Sheet(
        "Each possible cause. A cause is accused only where its experiment moves the ink; “cannot be told” means that "
        "too little was run, that a control failed, or that what was run does not decide.",
        columns,
        rows,
    )
    dots = ink_tables.dots(results, numbers)
    if any(dot.estimate is not None for dot in dots):
        yield Figure(
            "effects",
            "Every intervention on one axis. Dots: edge index of what was drawn under it (of bare operators: mean "
            "distance at the end over that in generation 0). Bars: 95% intervals over runs, wider where a cause has "
            "several comparisons and is judged by the index itself. On the right: the change of the edge index "
            "against its partner, paired by seed, with intervals that hold for all comparisons of its cause together. "
            "Arrows: the interval goes on. Training images and other networks are measured in other units: see there.",
            "Rows of dots with horizontal intervals around a line at one, grouped by cause.",
            functools.partial(
                ink_plots.effects, dots, base=_base_index(results, numbers),
                axis_title="edge index (below 1 = nearer to the edge)", beside="with interval",
            ),
        )  # fmt: skip
    for cause in found.causes:
        blocks: list[Block] = [Text(sentence) for sentence in cause.sentences]
        if cause.effects:
            blocks.append(_effects(cause, numbers))
        yield More(f"{evidence.capital(cause.name)}: {ink_tables.status(cause)}", tuple(blocks))
    if found.schedule:
        yield Text(f"The schedule of the question: {found.schedule.sentences[-1]}")
    if found.not_tested:
        lines = tuple((what, why) for what, _, why in (line.partition(": ") for line in found.not_tested))
        head = (Column("part", kind="name"), Column("why", kind="text"))
        yield Sheet("What was not tested, or cannot be told.", head, lines)
    if found.advice:
        yield Text("What a user can change:")
        yield from (Text(f"• {line}") for line in found.advice)


def _base_index(results: Results, numbers: Numbers) -> Any:
    return numbers.rows[results.base].edge if results.base in numbers.rows else None


def _because(cause: Cause) -> str:
    """The sentence that decides."""
    if not cause.sentences:
        return ""
    first = cause.accused is not None and cause.name in (OPERATORS, LANDSCAPE)
    return cause.sentences[0 if first else -1]


def _effects(cause: Cause, numbers: Numbers) -> Sheet:
    units = {
        "drift": "distance at the end / in generation 0",
        "index": "edge index",
        "change": "change of the edge index",
        "difference": "steps, wanted class less others",
        "confidence": "confidence",
    }
    lost = any(effect.lost is not None for effect in cause.effects)
    columns = [Column("what was done", kind="name"), Column("what is measured", kind="text"), Column("estimate", 2),
               Column("interval"), Column("level"), Column("n", 0)]  # fmt: skip
    columns += [Column("accuracy lost, points", 1)] if lost else []
    columns += [Column("speaks for it", kind="text")]
    rows = []
    for effect in cause.effects:
        cells: list[Any] = [_what(effect, numbers), units[effect.measured], effect.estimate, _interval(effect),
                            f"{100 * effect.level:.4g}%", effect.n]  # fmt: skip
        cells += [None if effect.lost is None else 100 * effect.lost] if lost else []
        control = ink_tables.control(effect, numbers).removeprefix(", ")
        rows.append((*cells, f"bias {control}" if control else "yes" if effect.counts else "no"))
    return Sheet(f"The numbers behind “{cause.name}”.", tuple(columns), tuple(rows))


def _interval(effect: Effect) -> str | None:
    """Low and high in words."""
    if effect.low is None or effect.high is None:
        return None
    return f"{number(effect.low, 2)} to {number(effect.high, 2)}"


def _what(effect: Effect, numbers: Numbers) -> str:
    """What was done; ways to draw with their lambda."""
    row = numbers.rows.get(effect.arm)
    if row is None or effect.what.startswith(("trained with", "shown", "shift", "blur", "jitter")):
        return effect.what
    return row.what if "lambda" in row.arm.tags else ink_tables.short_of(row.arm, effect)


# The drawings ---------------------------------------------------------------------------------------------------------


def _drawings(results: Results, numbers: Numbers) -> Iterable[Block]:
    arms = [arm for arm in ink_tables.central(results) if results.of(arm.name)]
    if not arms:
        yield Text("Nothing was drawn.")
        return
    base = arms[0]
    yield Text(
        f"A blank canvas of {base.size[0]} × {base.size[1]} pixels ({level_of(base.canvas)}) gets single "
        f"pixels of ink ({level_of(base.ink)}); evolution keeps what makes {_network(results)} more certain "
        f"of {name_of(_target(results))}, and sees nothing but its answers. Each drawing is one run with random "
        "numbers of its own, its seed. Shown is what was left when all ink that the goal did not need was taken away; "
        "where the ink lies is measured before that, on the best drawing of the last generation."
    )
    if any(run.reached is None for arm in arms for run in results.of(arm.name)):
        yield Text("Framed with dashes: runs that did not reach the goal, with their best attempt.")
    yield _group(results, numbers, base, "drawings", "the way to draw that all else is compared with")
    others = arms[1:]
    if others:
        blocks = tuple(
            _group(results, numbers, arm, f"drawings_{number}", "another way to draw")
            for number, arm in enumerate(others, 2)
        )
        yield More(f"The same drawn in {len(others)} other ways (crossover, reading of the mutation rate)", blocks)
    picked = ink_tables.chosen(results)
    if picked:
        groups = tuple(
            Group(
                f"seed {run.seed}: {why}",
                tuple(
                    Tile(
                        pixels(picture.places, _canvas(base)),
                        f"{'generation ' if at == 0 else ''}{generation:,}",
                        (count(picture.ink, "pixel"), percent(picture.confidence)),
                    )
                    for at, (generation, picture) in enumerate(run.strip)
                ),
            )
            for run, why in picked
        )
        yield tiles(
            "evolution",
            groups,
            base,
            "How some of them came about: the best drawing in generation 0, 1, 2, 5, 10, ... and the last one, before "
            "any ink was taken away.",
            "Rows of drawings that gain pixels over the generations.",
            side=88,
        )


def _group(results: Results, numbers: Numbers, arm: Arm, name: str, what: str) -> Block:
    runs = sorted(results.of(arm.name), key=lambda run: (run.reached is None, run.final.ink, run.seed))
    row = numbers.rows[arm.name]
    middle = ink_tables.middle_ink(runs)
    hidden = f" Shown are {SHOWN} of {len(runs)}." if len(runs) > SHOWN else ""
    caption = (
        f"{evidence.capital(row.what)}: {what}; the least ink first. {row.reached} of {count(row.runs, 'run')} reached "
        f"the goal, median {count(middle or 0, 'pixel')}; edge index {between(row.edge)}.{hidden}"
    )
    found = tuple(_tile(run, arm, numbers) for run in runs[:SHOWN])
    return tiles(name, (Group("", found),), arm, caption, f"{len(found)} drawings of a few pixels on a blank canvas.")


def _tile(run: Drawn, arm: Arm, numbers: Numbers) -> Tile:
    finding = numbers.findings.get((run.arm, run.seed))
    lines = [percent(run.final.confidence), f"seed {run.seed}{'' if finding is None else f', finding {finding}'}"]
    if run.shrunk and run.best.ink != run.final.ink:
        lines.insert(1, f"of {run.best.ink} drawn")
    lines += [] if run.reached is not None else ["goal not reached"]
    ink = count(run.final.ink, "pixel")
    return Tile(pixels(run.final.places, _canvas(arm)), ink, tuple(lines), quiet=run.reached is None)


def _canvas(arm: Arm) -> Canvas:
    return Canvas(arm.name, arm.about, arm.settings, arm.size, arm.canvas, arm.ink)


def tiles(name: str, groups: tuple[Group, ...], arm: Arm, caption: str, alt: str, *, side: int = SIDE) -> Tiles:
    """Small images of one arm's size."""
    wide = width(arm.size, side)
    return Tiles(Figure(name, caption, alt, functools.partial(drawing_plots.tiles, groups, wide)), groups, wide)


# How it was run -------------------------------------------------------------------------------------------------------


def _run(results: Results, numbers: Numbers) -> Iterable[Block]:
    lengths = results.config.get("lengths") or {}
    if results.command:
        yield Text("This command draws and measures all of it again; the same seeds give the same numbers:")
        yield Code(results.command)
    seeds = sorted({run.seed for run in results.runs})
    issued, repeated = results.queries(), results.queries(of="repeated")
    yield Text(
        f"{count(len(results.runs), 'run')} in {count(len(results.arms), 'arm')} with seeds "
        f"{f'{seeds[0]} to {seeds[-1]}' if seeds else 'none'}"
        + (f", {int(lengths['generations']):,} generations each" if "generations" in lengths else "")
        + f". They asked {count(issued, 'query')} and took {count(repeated, 'answer')} from their caches, for drawings "
        "that they had asked about before. Under a constant fitness no network is asked."
    )
    for text in _interrupted(results):
        yield Text(text)
    skipped = tuple((part, why) for part, why in results.skipped)
    if skipped:
        yield Sheet("Parts that were left out.", (Column("part", kind="name"), Column("why", kind="text")), skipped)
    yield _classifiers(results)
    if results.data:
        total = results.data.get("count")
        yield Text(
            f"Training images: {results.data.get('name', 'not named')}"
            + (f", {int(total):,} of them" if total is not None else "")
            + f". Accuracies are of {results.config.get('tested') or 'no images'}."
        )
    drawn = bool(numbers.findings) or any(run.reached is not None for run in results.runs)
    replay = [f"evofool replay DIR#{min(numbers.findings.values(), default=1)}"] if drawn else []
    yield Text(
        "DIR is the directory that this page lies in. Each drawing that reached the goal on the network that is "
        "explained, as it is, is a finding with a number and lies there in images/. To ask the network about one of "
        "them again, to see that all files are as they were written, and to write this page anew:"
    )
    yield Code("\n".join([*replay, "evofool verify DIR", "evofool report DIR"]))
    yield Text("Versions: " + ", ".join(f"{name} {version}" for name, version in results.versions.items()) + ".")
    kinds = ("issued", "answered", "failed", "lost", "repeated")
    accounts = ink_tables.issued(results)
    if accounts:
        rows = tuple((name, *(counts[kind] for kind in kinds)) for name, counts in accounts.items())
        total_row = ("all of them", *(sum(counts[kind] for counts in accounts.values()) for kind in kinds))
        caption = (
            "Queries by arm, and by what was asked besides: issued = answered + failed + lost (sent when the run was "
            "killed). Repeated are answers from a cache; they cost nothing."
        )
        columns = (Column("account", kind="name"), *(Column(kind, 0) for kind in kinds))
        yield More("Queries", (Sheet(caption, columns, (*rows, total_row)),))
    yield More("All arms", (_arms(results, numbers),))
    yield More("Resolved configuration", (Code(_json(results.config)),))
    base = next((arm for arm in results.arms if arm.name == results.base), None)
    if base:
        yield More("The way to draw that all else is compared with", (Code(_json(base.settings)),))


def _interrupted(results: Results) -> Iterable[str]:
    early = [run for run in results.runs if run.ended is not None]
    if early:
        yield f"{len(early)} of {len(results.runs)} runs ended before their last generation."
    failed, lost = results.queries(of="failed"), results.queries(of="lost")
    if failed:
        yield f"{count(failed, 'query')} were left unanswered; they were charged."
    kills = results.ledger.get("kills", 0)
    if kills or lost:
        cost = f"{count(lost, 'query')} lost: charged, and their answers unknown" if lost else "no query lost"
        yield f"The study was resumed after {count(kills, 'kill')}, {cost}."
    for change in results.ledger.get("drift", []):
        yield f"Not everything stayed as it was when the study began: {name_of(str(change))}."


def _classifiers(results: Results) -> Sheet:
    columns = (Column("network", kind="name"), Column("architecture", kind="text"),
               Column("trained with padding", kind="text"), Column("accuracy", 4), Column("balanced", 4),
               Column("given as", kind="text"), Column("fingerprint", kind="text"))  # fmt: skip
    rows = tuple(
        (
            ink_tables.label_of(results, str(each.get("name", ""))),
            each.get("architecture") or None,
            each.get("padding") or None,
            ink_tables.finite(each.get("accuracy")),
            ink_tables.finite(each.get("balanced")),
            str(each.get("given") or each.get("name", "")),
            str(each.get("fingerprint", ""))[:12],
        )
        for each in results.classifiers
    )
    return Sheet("The networks; the first is the one that is explained. Accuracies as their cards say.", columns, rows)


def _arms(results: Results, numbers: Numbers) -> Sheet:
    columns = (Column("arm", kind="name"), Column("network", kind="text"), Column("runs", 0), Column("at the goal", 0),
               Column("ink", 1), Column("edge index"), Column("change"))  # fmt: skip
    rows = tuple(
        (
            Note(row.arm.name, row.arm.about),
            ink_tables.label_of(results, row.arm.classifier) + (f", {row.arm.variant}" if row.arm.variant else ""),
            row.runs,
            row.reached,
            row.ink,
            between(row.edge) if row.arm.null else None,
            between(row.change, signed=True) if row.change and row.arm.null else None,
        )
        for row in numbers.rows.values()
    )
    return Sheet("Everything that was drawn; intervals of 95%, each by itself.", columns, rows)


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)
