"""What a study found, in plain sentences written from its numbers, each with the place where its evidence stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..studies.operators.results import Results
from . import claims, runs
from .analysis import Analysis, analyse
from .comparison import AGREES, DEPENDS, DIFFERS, Cell
from .hypotheses import DISTANCES, TEXTBOOK
from .runs import UNTOLD
from .tables import ArmRow

SELECTION_NAMES = {"FPS": "fitness proportionate", "TS": "tournament", "RS": "ranking"}
WIDE = 0.4  # a prediction interval of accuracy that is wider agrees with nearly anything
LEGIBLE = 0.9  # a judge that reads a smaller share of unselected images makes its rates a lower bound


class Finding(NamedTuple):
    """One sentence or two.

    Attributes:
        text: for a reader who knows nothing else of the study.
        evidence: anchor of the part of the report that shows it.
        command: repeats the runs it rests on, or runs what is missing.
    """

    text: str
    evidence: str
    command: str


def findings(results: Results, analysis: Analysis | None = None) -> list[Finding]:
    """The findings, the most important first; nothing is said of what was not run.

    Args:
        results: of the study.
        analysis: of the same results, if it is at hand.
    """
    analysis = analysis or analyse(results)
    texts = [
        *((text, "comparison") for text in _agreement(results, analysis)),
        *((text, "ranking") for text in _ranking(analysis)),
        *((text, "further") for text in _sweep(analysis)),
        *((text, "contrasts") for text in _selection(results, analysis)),
        *((text, "judge") for text in _judge(results, analysis)),
        *((text, "scenarios") for text in _ancestors(analysis)),
        *((_claim(claim), f"claim-{claim.key}") for claim in analysis.claims if claim.verdict != claims.NOT_RUN),
        *((text, "hypotheses") for text in _hypotheses(analysis)),
        *((text, "scenarios") for text in _failed(analysis)),
        *((text, "run") for text in interrupted(results)),
    ]
    texts = [*((text, "classifiers") for text in _to_mind(results)), *texts]
    found = [Finding(text, anchor, results.command) for text, anchor in texts]
    missing = [claim for claim in analysis.claims if claim.verdict == claims.NOT_RUN]
    if missing:
        what = f"{_number(len(missing))} of the paper's claims {'was' if len(missing) == 1 else 'were'} not tested"
        parts = [claims.PARTS[claim.key] for claim in missing if claim.key in claims.PARTS]
        text = f"{what[0].upper()}{what[1:]}: {' '.join(f'“{claim.text}”' for claim in missing)}"
        found.append(Finding(text, "claims", claims.with_part(results, *parts) if parts else results.command))
    return found


def _to_mind(results: Results) -> Iterable[str]:
    """What everything else rests on, so it comes first."""
    for target in [*results.targets, *([results.judge] if results.judge else [])]:
        if target.flags:
            names = ", ".join(target.flags)
            yield f"To mind of {target.name} in all that follows: {names}. {' '.join(target.flags.values())}"


def interrupted(results: Results) -> Iterable[str]:
    """What kept the study from running as it was planned: budgets, kills, changes."""
    early = [run.ended for run in results.runs if run.ended is not None]
    if early:
        reached = f"{min(early)}" if min(early) == max(early) else f"{min(early)} to {max(early)}"
        yield (
            f"The budget of {results.config['budget']:,} queries ended {len(early):,} of {len(results.runs):,} runs "
            f"after generation {reached}; their last values stand for what they did not reach."
        )
    kills, lost = results.ledger.get("kills", 0), results.queries(of="lost")
    if kills or lost:
        cost = f"{lost:,} queries lost: they were charged, and their answers are unknown" if lost else "no query lost"
        yield f"The run was resumed after {kills} kill{'s' * (kills != 1)}, {cost}."
    for change in results.ledger.get("drift", []):
        yield f"Not everything stayed as it was when the run began: {change}."


# --- sentences ------------------------------------------------------------------------------------------------------


def _agreement(results: Results, analysis: Analysis) -> Iterable[str]:
    found = analysis.comparison
    if found.reason:
        yield f"Nothing is held against the paper's figures. {found.reason}"
        return
    total = len(found.accuracy)
    if found.count(UNTOLD) == total:
        yield (
            "With one seed it cannot be told whether the published accuracies agree: one run says nothing of the "
            "spread. Use --seeds 2 or more."
        )
    else:
        several = len(found.classifiers) > 1
        everywhere = f" on all {_number(len(found.classifiers))} classifiers" if several else " on this classifier"
        agree = "agrees" if found.count(AGREES) == 1 else "agree"
        parts = [f"{found.count(AGREES)} of {total} published accuracies {agree} with what one run gives{everywhere}"]
        parts.append(f"{_verb(found.count(DIFFERS), 'differ')}{' on all of them' if several else ''}")
        if found.count(DEPENDS):
            parts.append(f"{_verb(found.count(DEPENDS), 'depend')} on the CNN")
        same = [row.arm for row in found.accuracy if row.verdict == AGREES]
        depends = [row.arm for row in found.accuracy if row.verdict == DEPENDS]
        text = ", ".join(parts) + "."
        text += f" Agreeing: {_list(same)}." if 0 < len(same) < total else ""
        text += f" Depending: {_list(depends)}." if 0 < len(depends) < total else ""
        yield text
        wide = [row.arm for row in found.accuracy if any(_says_little(cell) for cell in row.cells)]
        if wide:
            yield (
                f"That {_list(wide)} {'agree' if len(wide) > 1 else 'agrees'} on a classifier says little: the seeds "
                f"differ so much that the prediction interval spans more than {WIDE} in accuracy."
            )
    ranges = []
    for selection, name in SELECTION_NAMES.items():
        rows = [row for row in found.accuracy if row.arm.startswith(f"{selection}_")]
        if rows:
            here = [cell.mean for row in rows for cell in row.cells]
            ranges.append(f"{name} ends at {_range(here)} here and {_range([r.published for r in rows], 2)} there")
    if ranges:
        yield f"Accuracy beside the paper's: {'; '.join(ranges)}."
    if found.fitness:
        parts = []
        for row in found.fitness:
            here = [cell.mean for cell in row.cells]
            parts.append(
                f"{row.arm.replace('_elitism', ' with elitism')} {_range(here, 1)} here and {row.published} there "
                f"({row.verdict})"
            )
        yield f"Total fitness after the last generation: {'; '.join(parts)}."


def _ranking(analysis: Analysis) -> Iterable[str]:
    measures = {
        "accuracy": ("By accuracy", "misleads the classifier most"),
        "adversarial": ("By the judge's count of true adversarial images", "comes first"),
    }
    for measure, (opening, wins) in measures.items():
        ranked = [analysis.rankings[key] for key in analysis.rankings if key[1] == measure]
        if not ranked:
            continue
        if ranked[0].friedman.p is None:
            yield f"{opening}, {ranked[0].rows[0].arm} comes first; there are too few scenarios or seeds for a test."
            continue
        if all((found.friedman.p or 0) > 0.05 for found in ranked):
            yield f"{opening}, the scenarios cannot be told apart (Friedman {_p(ranked[0].friedman.p)})."
            continue
        leaders: dict[str, list[str]] = {}
        for found in ranked:
            leaders.setdefault(found.rows[0].arm, []).append(found.classifier)
        if len(leaders) == 1:
            first = ranked[0]
            where = f" on all {_number(len(ranked))} classifiers" if len(ranked) > 1 else ""
            shared = set.intersection(*(set(found.tied_with_best) for found in ranked))
            tied = [row.arm for row in first.rows if row.arm in shared]
            text = f"{opening}, {first.rows[0].arm} {wins}{where} (mean rank {first.rows[0].rank:.1f}"
            text += f" of {len(first.rows)}; Friedman {_p(first.friedman.p)})"
            yield f"{text}; {_list(tied)} cannot be told from it." if tied else f"{text}."
        else:
            each = "; ".join(f"{arm} on {_list(names)}" for arm, names in leaders.items())
            yield f"{opening}, the first place depends on the CNN: {each}."


def _selection(results: Results, analysis: Analysis) -> Iterable[str]:
    """Accuracy with and without selection, under the same crossover and mutation."""
    for classifier in analysis.classifiers[:1]:
        rows = {row.arm: row for row in analysis.summaries[classifier]}
        pairs = [
            (rows[name], rows[control.name])
            for name, row in rows.items()
            if row.group == "scenario"
            and (control := runs.unselected(results, name)) is not None
            and control.name in rows
        ]
        random = {control.arm: control for _, control in pairs}
        if not random:
            return
        means = [row.accuracy.mean for row in random.values() if row.accuracy]
        parts = [
            f"{name} takes it to {_range([row.accuracy.mean for row in chosen if row.accuracy])}"
            for selection, name in SELECTION_NAMES.items()
            if (chosen := [row for row, _ in pairs if row.arm.startswith(f"{selection}_")])
        ]
        where = f" on {classifier}" if len(analysis.classifiers) > 1 else ""
        yield (
            f"What selection adds{where}: with parents drawn at random the same crossovers and mutations alone bring "
            f"accuracy to {_range(means)}; {'; '.join(parts)}."
        )


def _sweep(analysis: Analysis) -> Iterable[str]:
    """The ends of a sweep without the scenarios at their usual settings; with them, a claim speaks of it."""
    for classifier, rows in analysis.further.items():
        swept = [
            row for row in rows if row.group == "rates" and row.arm.startswith(tuple(SELECTION_NAMES)) and row.accuracy
        ]
        if analysis.summaries[classifier] or len(swept) < 2:
            return
        order = sorted(swept, key=lambda row: row.accuracy.mean if row.accuracy else 1.0)
        ends = [f"{row.arm} ({row.accuracy.mean:.3f})" for row in (order[0], order[-1]) if row.accuracy]
        yield f"Of {len(swept)} settings of the sweep, accuracy ends lowest in {ends[0]} and highest in {ends[1]}."
        return


def _judge(results: Results, analysis: Analysis) -> Iterable[str]:
    for classifier, rows in analysis.judges.items():
        scenarios = [row for row in rows if row.group == "scenario"]
        if not scenarios:
            continue
        best = max(scenarios, key=lambda row: row.adversarial.mean)
        worst = max(scenarios, key=lambda row: row.fools.mean)
        where = f" on {classifier}" if len(analysis.judges) > 1 else ""
        yield (
            f"The highest mean of true adversarial rates{where} is {best.adversarial.mean:.0%} ({best.arm}, "
            f"{best.adversarial.low:.0%} to {best.adversarial.high:.0%} over the seeds: "
            f"{best.fools.mean:.0%} fool the classifier, and the judge reads {best.reads.mean:.0%} as the carried "
            f"label)."
        )
        if worst.arm != best.arm:
            yield (
                f"The scenario that fools most{where}, {worst.arm} with {worst.fools.mean:.0%}, leaves "
                f"{worst.adversarial.mean:.0%} that both fool the classifier and are still read."
            )
        by_mutation: dict[str, list[float]] = {}
        for row in scenarios:
            baseline = row.mutated or row.unselected
            if baseline is not None:
                by_mutation.setdefault(runs.operators_of(row.arm)[1], []).append(baseline.mean)
        if by_mutation:
            names = {"SM": "swap", "IM": "inversion"}
            each = [
                f"{_range(values, 2)} under {names.get(letters, 'mutation')}" for letters, values in by_mutation.items()
            ]
            text = f"Of images that were mutated but not selected, the judge reads{where} a share of {_list(each)}."
            if min(min(values) for values in by_mutation.values()) < LEGIBLE:
                text += " Where it reads few of those, its adversarial rates are no more than a lower bound."
            yield text
        return


def _ancestors(analysis: Analysis) -> Iterable[str]:
    for classifier in analysis.classifiers[:1]:
        parts = []
        for selection, name in SELECTION_NAMES.items():
            means = _means(analysis.summaries[classifier], f"{selection}_")
            if means:
                parts.append(f"{name} {_range(means, 0)}")
        if parts and analysis.population:
            where = f" on {classifier}" if len(analysis.classifiers) > 1 else ""
            yield (
                f"Of {analysis.population:,} ancestor images{where}, so many still have a descendant in the last "
                f"generation: {', '.join(parts)}."
            )
        rows = [row for row in analysis.summaries[classifier] if row.group == "scenario" and row.accuracy]
        apart = max(rows, key=lambda row: row.accuracy.high - row.accuracy.low if row.accuracy else 0.0, default=None)
        if apart and apart.accuracy and apart.ancestors and apart.accuracy.high - apart.accuracy.low > WIDE:
            few = f", whose members descend from {apart.ancestors.mean:,.0f} image{'s' * (apart.ancestors.mean >= 1.5)}"
            yield (
                f"Seeds differ most in {apart.arm}{few}: its accuracy ends anywhere from {apart.accuracy.low:.3f} to "
                f"{apart.accuracy.high:.3f}."
            )


def _claim(claim: claims.Claim) -> str:
    verdict = {claims.SUPPORTED: "is supported", claims.NOT_SUPPORTED: "is not supported"}.get(claim.verdict)
    return f"The claim “{claim.text.rstrip('.')}” {verdict or 'can be neither supported nor refuted'} here."


def _hypotheses(analysis: Analysis) -> Iterable[str]:
    names = {"accuracy": "accuracy", "curve": "accuracy by generation", "fitness": "largest total fitness",
             "support": "class supports"}  # fmt: skip
    for found in analysis.hypotheses.values():
        rows = {row.family: row for row in found.rows}
        best: dict[str, list[str]] = {}
        for key in DISTANCES:
            mine, textbook = getattr(rows[found.closest[key]], key), getattr(rows[TEXTBOOK], key)
            digits = 0 if key == "fitness" else 3
            beside = "" if found.closest[key] == TEXTBOOK else f", textbook {textbook:.{digits}f}"
            best.setdefault(found.closest[key], []).append(f"{names[key]} ({mine:.{digits}f}{beside})")
        each = "; ".join(f"{_quoted(family, rows[family].about)} in {_list(parts)}" for family, parts in best.items())
        where = f" on {found.classifier}" if len(analysis.hypotheses) > 1 else ""
        yield f"Of {len(rows) - 1} explanations for the differences{where}, these come closest to the paper: {each}."
        if all(row.agreeing is None for row in found.rows):
            return
        if found.unexplained:
            yield (
                f"Unexplained{where}: the published accuracy of {_list(found.unexplained)} is out of reach of one run "
                f"under every explanation."
            )
        else:
            yield (
                f"Each published accuracy{where} is within reach of at least one explanation, but a small distance is "
                f"no proof that the authors' program did the same."
            )


def _failed(analysis: Analysis) -> Iterable[str]:
    failed = sum(
        row.failed for part in (analysis.summaries, analysis.further) for rows in part.values() for row in rows
    )
    if failed:
        yield f"{failed:,} evaluations came back without an answer; they count as failed and never as a win."


# --- words ----------------------------------------------------------------------------------------------------------


def _means(rows: Sequence[ArmRow], prefix: str) -> list[float]:
    return [
        row.ancestors.mean for row in rows if row.group == "scenario" and row.arm.startswith(prefix) and row.ancestors
    ]


def _range(values: Sequence[float], digits: int = 3) -> str:
    low, high = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
    return low if low == high else f"{low} to {high}"


def _list(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "none"


def _quoted(family: str, about: str) -> str:
    return "the textbook operators" if family == TEXTBOOK else f"“{about.rstrip('.')}” ({family})"


def _says_little(cell: Cell) -> bool:
    return bool(cell.agrees and cell.interval and cell.interval.high - cell.interval.low > WIDE)


def _verb(count: int, verb: str) -> str:
    return f"{count} {verb}{'s' if count == 1 else ''}"


def _number(count: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    return words[count] if count < len(words) else str(count)


def _p(value: float | None) -> str:
    return "p unknown" if value is None else "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
