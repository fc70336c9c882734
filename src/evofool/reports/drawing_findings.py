"""What drawing found, in plain sentences written from its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..studies.draw.results import Picture, Results
from .drawing_tables import Numbers, Row, blank_holds, class_name, everywhere, goal, median
from .findings import Finding
from .numbers import number
from .plots import label

MINIMAL = {
    0: "not shown to be minimal",
    1: "1-minimal: no pixel can go",
    2: "2-minimal: no pixel and no pair can go",
}


def findings(results: Results, numbers: Numbers) -> list[Finding]:
    """The findings, the most important first, each with the part of the page that shows it."""
    texts = [
        *((text, "drawings") for text in _verdict(results, numbers)),
        *((text, "drawings") for text in _blank(results)),
        *((text, "drawings") for text in _least(results, numbers)),
        *((text, "front") for text in _front(results, numbers)),
        *((text, "runs") for text in _queries(numbers)),
        *((text, "places") for text in _places(numbers)),
        *((text, "runs") for text in interrupted(results, numbers)),
    ]
    return [Finding(text, anchor, results.command) for text, anchor in texts]


# Words ------------------------------------------------------------------------------------------------------------


def percent(share: float) -> str:
    """A share in percent, cut after one decimal and not rounded, so that no goal is claimed that was not reached."""
    if 0 < share < 0.001:
        return "< 0.1%"
    return f"{math.floor(share * 1000 + 1e-6) / 10:.1f}%"


def count(quantity: float, what: str) -> str:
    """A number of things: "1 pixel", "1,240 queries", "6.5 pixels"."""
    text = number(quantity, 0 if quantity == int(quantity) else 1)
    many = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{text} {what if quantity == 1 else many}"


def all_of(total: int, what: str) -> str:
    """As a subject: "The run", "Both runs", "All 30 runs"."""
    return f"The {what}" if total == 1 else f"Both {what}s" if total == 2 else f"All {total:,} {what}s"


def wanted(results: Results) -> str:
    """The goal in words, as in "cat at 96% or more"."""
    target = name_of(class_name(results, results.target))
    if goal(results) == "boundary":
        within = 100 * float(results.config.get("within", 0.01))
        return f"the boundary of {target} (a tie with the best other class, within {within:g}%)"
    return f"{target} at {100 * float(results.config.get('confidence', 0)):g}% or more"


def name_of(text: str) -> str:
    """A class or classifier in a sentence."""
    return label(text, 40) or "“”"


def classifier_of(results: Results) -> str:
    """The classifier in a sentence: of a path its last part."""
    name = str(results.classifier.get("name", "")) or "the classifier"
    return name_of(name.rstrip("/").rpartition("/")[2] if name.startswith(("/", "./", "../", "~")) else name)


def read_as(name: str) -> str:
    """What the classifier sees."""
    return f"read as {name_of(name)}" if name else "not answered"


# Sentences --------------------------------------------------------------------------------------------------------


def _verdict(results: Results, numbers: Numbers) -> Iterable[str]:
    total, held, missed = len(numbers.rows), numbers.held, numbers.missed
    classifier, target = classifier_of(results), name_of(numbers.target)
    if not total:
        yield "Nothing was run."
        return
    every = all_of(total, "run")
    some = every if not missed else f"{len(held)} of {total} runs"
    none = "The run did not make" if total == 1 else f"None of {total} runs made"
    if goal(results) == "boundary":
        if held:
            confidences = [row.run.final.confidence for row in held]
            yield (
                f"{some} came to {wanted(results)}: {classifier} gives {target} {_range(confidences)}, and reads "
                f"{_sides(held)}."
            )
        else:
            yield f"{'The run did not come' if total == 1 else f'None of {total} runs came'} to {wanted(results)}."
        if missed and held:
            yield f"{_others(missed)} did not get there: see the table of runs."
        return
    if not held:
        best = missed[0]
        yield (
            f"{none} {classifier} say {wanted(results)}: {'it' if total == 1 else 'the best'} came to "
            f"{percent(best.run.final.confidence)} with {count(best.run.final.ink, 'pixel')} (seed {best.run.seed})."
        )
        return
    text = f"{some} made {classifier} say {wanted(results)}"
    if missed:
        best_of = percent(missed[0].run.final.confidence)
        text += f"; {_others(missed).lower()} came to {best_of}{' at best' if len(missed) > 1 else ''}"
    yield f"{text}."


def _others(missed: list[Row]) -> str:
    return "The other one" if len(missed) == 1 else "The others"


def _sides(rows: list[Row]) -> str:
    names: dict[str, int] = {}
    for row in rows:
        names[row.prediction] = names.get(row.prediction, 0) + 1
    parts = [f"{count(times, 'drawing')} as {name_of(name)}" for name, times in names.items() if name]
    return " and ".join(parts) or "none of them"


def _range(confidences: list[float]) -> str:
    low, high = percent(min(confidences)), percent(max(confidences))
    return low if low == high else f"{low} to {high}"


def _blank(results: Results) -> Iterable[str]:
    blank = results.blank
    target = name_of(class_name(results, results.target))
    seen = class_name(results, blank.prediction)
    if not seen:
        yield "The canvas without ink was not answered, so it is not known what had to be drawn."
    elif blank_holds(results):
        yield (
            f"Nothing had to be drawn: the canvas without ink is at the goal already ({target}: "
            f"{percent(blank.confidence)})."
        )
    elif blank.prediction == results.target:
        yield (
            f"The canvas without ink is read as {target} already, at {percent(blank.confidence)}: ink had only to "
            "change how sure the classifier is."
        )
    else:
        yield f"The canvas without ink is read as {name_of(seen)} ({target}: {percent(blank.confidence)})."


def _least(results: Results, numbers: Numbers) -> Iterable[str]:
    held = numbers.held
    if not held:
        return
    row, total = held[0], len(held)
    final = row.run.final
    certificate = f", {MINIMAL[row.run.shrunk.minimal]}" if row.run.shrunk and final.ink else ""
    text = f"Least ink: {count(final.ink, 'pixel')} (seed {row.run.seed}, {percent(final.confidence)}{certificate})"
    if total > 1:
        middle, most = median(r.run.final.ink for r in held) or 0.0, max(r.run.final.ink for r in held)
        same = f"; {'the other has' if total == 2 else f'the other {total - 1} have'} as much"
        spread = f"; over {total} drawings the median is {count(middle, 'pixel')}, the most {count(most, 'pixel')}"
        text += same if most == final.ink else spread
    shrunk = [r.run.shrunk for r in held if r.run.shrunk]
    open_ = sum(each.minimal == 0 for each in shrunk)
    if open_:
        text += f"; {open_} of {len(shrunk)} could not be shown to be minimal"
    yield f"{text}."


def _front(results: Results, numbers: Numbers) -> Iterable[str]:
    pictures = [picture for _, picture in numbers.front]
    if not pictures:
        return
    least = next((at for at, picture in enumerate(pictures) if _convinces(results, picture)), None)
    text = f"More ink, more {name_of(numbers.target)}: "
    if least is not None:
        few = pictures[least]
        text += f"the fewest pixels on any front that reach the goal are {few.ink:,} ({percent(few.confidence)}); "
    # The ends, where the goal is reached, and what comes before; what is left out leaves dots.
    last = len(pictures) - 1
    kept = {0, 1, 2, last, *([max(0, least - 1), least] if least is not None else [])}
    if last < 6:
        kept = set(range(last + 1))
    steps = []
    for at, picture in enumerate(pictures):
        if at in kept:
            steps += ["..."] if at and at - 1 not in kept else []
            steps.append(f"{count(picture.ink, 'pixel')} {percent(picture.confidence)}")
    yield f"{text}the best of all runs is {', '.join(steps)}."


def _convinces(results: Results, picture: Picture) -> bool:
    """Whether a drawing of a front is at the goal: its class is the first, and as sure as was asked for."""
    needed = results.config.get("confidence")
    return needed is not None and picture.prediction == results.target and picture.confidence >= float(needed)


def _queries(numbers: Numbers) -> Iterable[str]:
    queries = numbers.median(lambda run: run.queries)
    if queries is None:
        return
    text = f"{'Median ' if len(numbers.held) > 1 else ''}{count(round(queries), 'query')} to the goal"
    shrunk = [row.run for row in numbers.held if row.run.shrunk]
    if shrunk:
        took = median(run.shrunk.queries for run in shrunk if run.shrunk) or 0.0
        before = median(run.best.ink for run in shrunk) or 0.0
        after = median(run.final.ink for run in shrunk) or 0.0
        if took:
            text += f", {number(took, 0)} more to "
            text += (
                f"shrink from {number(before, _half(before))} to {count(after, 'pixel')}"
                if before != after
                else "find nothing that could go"
            )
    yield f"{text}."


def _half(value: float) -> int:
    return 0 if value == int(value) else 1


def _places(numbers: Numbers) -> Iterable[str]:
    found = numbers.places
    if found is None or found.steps is None:
        return
    whose = "" if found.holds else " of the best attempts"
    text = f"The ink{whose} lies {number(found.steps.estimate or 0.0, 1)} pixels from the border on average"
    if found.steps.low is not None and found.steps.high is not None:
        low, high = number(found.steps.low, 1), number(found.steps.high, 1)
        text += f" (95% interval over {found.inked} runs: {low} to {high})"
    text += f", the pixels of the canvas {number(found.canvas, 1)}"
    yield f"{text}{'' if everywhere(numbers.arm) else '; but ink was not allowed everywhere all the time'}."


def interrupted(results: Results, numbers: Numbers) -> Iterable[str]:
    """What kept runs from going as they were planned: budgets, missing answers, kills, changes."""
    early = [row.run.ended or 0 for row in numbers.rows if row.ended == "budget"]
    if early:
        when = f"{min(early)}" if min(early) == max(early) else f"{min(early)} to {max(early)}"
        yield f"The budget{_budget(results)} ended {len(early)} of {len(numbers.rows)} runs after generation {when}."
    again = [row for row in numbers.rows if _unconfirmed(results, row)]
    if again:
        yield f"{len(again)} of {len(numbers.rows)} drawings missed the goal when the classifier was asked again."
    failed = results.queries(of="failed")
    if failed:
        yield f"The classifier left {count(failed, 'query')} unanswered; they were charged."
    kills, lost = results.ledger.get("kills", 0), results.queries(of="lost")
    if kills or lost:
        cost = f"{count(lost, 'query')} lost: charged, and their answers unknown" if lost else "no query lost"
        yield f"The run was resumed after {count(kills, 'kill')}, {cost}."
    for change in results.ledger.get("drift", []):
        yield f"Not everything stayed as it was when the run began: {label(change, 400)}."


def _budget(results: Results) -> str:
    limits = [int(results.config["budget"])] if results.config.get("budget") else []
    if results.config.get("total_budget"):
        limits.append(int(results.config["total_budget"]) // max(1, len(results.runs)))
    return f" of {min(limits):,} queries" if limits else ""


def _unconfirmed(results: Results, row: Row) -> bool:
    """At the goal once, but not when it was asked about again."""
    return row.run.shrunk is not None and row.run.confirmed < int(results.config.get("confirm") or 0)
