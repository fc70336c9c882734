"""The paper's claims in words, each tested on the numbers of a study.

A claim is tested on every classifier apart. It is supported if it holds on all of them, not supported if it fails on
one and holds on none, and otherwise it cannot be told. Intervals are 95% t intervals of differences paired by seed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..studies.operators import paper
from ..studies.operators.results import Arm, Results
from . import statistics
from .numbers import number
from .runs import (
    CROSSOVERS,
    MUTATIONS,
    SELECTIONS,
    UNTOLD,
    classifiers,
    difference,
    measure,
    measured,
    paired,
    ran,
    setting,
)
from .statistics import Paired

SUPPORTED, NOT_SUPPORTED, NOT_RUN = "supported", "not supported", "not run"

BEST = "FPS_AC_SM"
NEEDY = ("TS_SPC_SM", "RS_AC_SM")
PARTS = {"elitism": "generations", "rates": "rates", "all-images": "all-images"}  # what runs the arms of a claim
LITTLE = 0.05  # a gain in total fitness below this share of it is called little


class Claim(NamedTuple):
    """A claim and what became of it.

    Attributes:
        key: short name, for links and tables.
        text: the claim, as one sentence.
        verdict: supported, not supported, cannot be told, or not run.
        evidence: the numbers, or the option that runs what is missing.
        anchor: the part of the report with the details.
    """

    key: str
    text: str
    verdict: str
    evidence: str
    anchor: str


class _Answer(NamedTuple):
    """One classifier's: True holds, False fails, None cannot be told."""

    holds: bool | None
    evidence: str


def claims(results: Results) -> list[Claim]:
    """All six, in the order of the paper's discussion."""
    return [
        _over_classifiers(
            results, "fps", "Fitness proportionate selection misleads the classifier most.", "scenarios", _fps_most
        ),
        _over_classifiers(results, "best", f"{BEST} is the best of the twelve scenarios.", "ranking", _best),
        _over_classifiers(
            results, "fitness", "Higher total fitness goes with more errors.", "fitness", _fitness_and_errors
        ),
        _with_parts(
            results, "elitism", "Elitism adds little, and more with more generations.", "contrasts", _elitism,
        ),
        _with_parts(
            results, "rates", f"{NEEDY[0]} and {NEEDY[1]} need more generations or higher rates.", "further", _needy,
        ),
        _with_parts(
            results, "all-images",
            "All 10,000 test images evolved for 100 generations, which the authors could not afford, "
            "mislead the classifier more.", "further", _all_images,
        ),
    ]  # fmt: skip


def with_part(results: Results, *parts: str) -> str:
    """The command of the study with these parts added to those that it ran."""
    configured = results.config.get("parts")
    known = [str(part) for part in configured] if isinstance(configured, list) else []
    option = f"--parts {','.join(dict.fromkeys([*known, *parts]))}"
    if re.search(r"--parts\s+\S+", results.command):
        return re.sub(r"--parts\s+\S+", lambda _: option, results.command, count=1)
    head, separator, tail = results.command.rpartition(" -o ")
    return f"{head} {option}{separator}{tail}" if separator else f"{results.command} {option}"


# --- one classifier at a time ---------------------------------------------------------------------------------------


def _fps_most(results: Results, classifier: str) -> _Answer:
    """FPS against TS and RS, each averaged over the crossovers and mutations that it shares with FPS."""
    parts: list[str] = []
    holds: list[bool | None] = []
    for other in ("TS", "RS"):
        shared = [
            (f"FPS_{c}_{m}", f"{other}_{c}_{m}")
            for c in CROSSOVERS
            for m in MUTATIONS
            if results.of(f"FPS_{c}_{m}", classifier) and results.of(f"{other}_{c}_{m}", classifier)
        ]
        if not shared:
            return _Answer(None, "it needs FPS, TS and RS with the same crossover and mutation")
        first = _by_seed(results, [a for a, _ in shared], classifier, "accuracy")
        second = _by_seed(results, [b for _, b in shared], classifier, "accuracy")
        seeds = sorted(first.keys() & second.keys())
        pair = statistics.paired_difference([first[s] for s in seeds], [second[s] for s in seeds])
        if pair.mean is None:
            return _Answer(None, "no seed has run them all")
        below = _below(pair)
        holds.append(None if below and len(shared) < 4 else below)
        part = "" if len(shared) == 4 else f" over {len(shared)} of 4 crossover and mutation pairs"
        parts.append(f"of FPS minus {other} {_signed(pair)}{part}")
    rates = _selection_rates(results, classifier)
    text = "accuracy " + " and ".join(parts)
    return _Answer(_all(holds), f"{text}; judged adversarial: {rates}" if rates else text)


def _best(results: Results, classifier: str) -> _Answer:
    """Lower accuracy than each of the others; it fails if another is lower after correction for looking at them all."""
    others = [arm.name for arm in ran(results, classifier, "scenario") if arm.name != BEST]
    pairs = {name: difference(results, BEST, name, classifier, "accuracy") for name in others}
    pairs = {name: pair for name, pair in pairs.items() if pair.mean is not None}
    if not pairs:
        return _Answer(None, f"it needs {BEST} and another scenario")
    accuracy = {name: _mean(results, name, classifier, "accuracy") or 0.0 for name in (BEST, *pairs)}
    order = sorted(accuracy, key=accuracy.__getitem__)
    strict = 1 - 0.05 / len(pairs)
    beaten_by = [
        name
        for name in pairs
        if _below(difference(results, name, BEST, classifier, "accuracy", confidence=strict)) is True
    ]
    holds: bool | None = None
    if beaten_by:
        holds = False
    elif all(_below(pair) for pair in pairs.values()) and len(order) == 12:
        holds = True
    place = order.index(BEST) + 1
    text = f"{BEST} is number {place} of {len(order)} by accuracy ({accuracy[BEST]:.3f}"
    text += (
        f"; the lowest is {order[0]}, {accuracy[order[0]]:.3f})"
        if place > 1
        else f"; next {order[1]}, {accuracy[order[1]]:.3f})"
    )
    if beaten_by:
        text += f"; {len(beaten_by)} {'is' if len(beaten_by) == 1 else 'are'} lower beyond chance"
    return _Answer(holds, text)


def _fitness_and_errors(results: Results, classifier: str) -> _Answer:
    """Spearman's rho of total fitness and error rate over scenarios and the seeds that all of them have."""
    arms = ran(results, classifier, "scenario")
    fitness = [_by_seed(results, [arm.name], classifier, "total_fitness") for arm in arms]
    accuracy = [_by_seed(results, [arm.name], classifier, "accuracy") for arm in arms]
    seeds = sorted(set.intersection(*(set(row) for row in (*fitness, *accuracy)))) if arms else []
    if len(arms) < 3 or not seeds:
        return _Answer(None, "it needs three scenarios")
    found = statistics.rank_correlation(
        [[row[s] for s in seeds] for row in fitness], [[1 - row[s] for s in seeds] for row in accuracy]
    )
    if found is None or found.low is None or found.high is None:
        return _Answer(None, "too few runs")
    holds = True if found.low > 0 else False if found.high < 0 else None
    rho, low, high = (number(value, 2) for value in (found.rho, found.low, found.high))
    return _Answer(holds, f"rank correlation {rho} [{low} to {high}] over {found.n} runs")


def _elitism(results: Results, classifier: str, arms: Sequence[Arm]) -> _Answer:
    """Little: gain at the first length below 5% of total fitness. More: the gain grows between the two lengths."""
    little, first = _elitism_little(results, classifier)
    pairs = [(arm, plain) for arm in arms if is_elitist(arm) and (plain := _plain(arm, arms)) is not None]
    lengths = [arm.generations for arm in results.group("elitism")] or [10]
    if not pairs:
        return _Answer(None, f"{first}; no long run with elitism has one without beside it")
    elite, plain = pairs[0]
    short, long = min(lengths), min(elite.generations, plain.generations)

    def gain(generation: int) -> tuple[list[float], list[float]]:
        return paired(results, elite.name, plain.name, classifier, lambda run: _at(run.total_fitness, generation))

    early, late = (statistics.paired_difference(*gain(g)) for g in (short, long))
    growth = statistics.paired_difference(np.subtract(*gain(long)).tolist(), np.subtract(*gain(short)).tolist())
    more = _below(growth)
    more = None if more is None else not more
    return _Answer(
        _all([little, more]),
        f"{first}; in runs of {long} generations the gain is {_signed(early, 1)} at {short} and {_signed(late, 1)} at "
        f"{long}",
    )


def _needy(results: Results, classifier: str, arms: Sequence[Arm]) -> _Answer:
    """Each lags behind the best at the paper's length and rates, and some longer run or other rate lowers it."""
    holds: list[bool | None] = []
    parts = []
    best_usual = _usual(results, BEST, classifier, arms)
    for scenario in NEEDY:
        mine = [arm for arm in arms if base_scenario(arm) == scenario and not is_elitist(arm)]
        ends = {arm.name: _by_seed(results, [arm.name], classifier, "accuracy") for arm in mine}
        usual = _usual(results, scenario, classifier, arms)
        lag = _compare(usual, best_usual)
        if lag.mean is None or not any(ends.values()):
            holds.append(None)
            parts.append(f"{scenario} lacks runs to compare")
            continue
        below = _below(lag)
        behind = None if below is None else not below
        strict = 1 - 0.05 / len(ends)
        lower = [_below(_compare(end, usual, confidence=strict)) for end in ends.values()]
        helped = True if True in lower else False if all(found is False for found in lower) else None
        holds.append(False if behind is False else _all([behind, helped]))
        means = {arm.name: sum(end.values()) / len(end) for arm in mine if (end := ends[arm.name])}
        best = min(mine, key=lambda arm: means.get(arm.name, 1.0))
        text = (
            f"at the paper's length and rates {scenario} ends at {sum(usual.values()) / len(usual):.3f}, "
            f"{_signed(lag)} beside {BEST}; the lowest of {len(means)} longer or other runs is "
            f"{means[best.name]:.3f} ({_rates(best)})"
        )
        parts.append(text + _rate_effect(results, mine, classifier))
    return _Answer(_all(holds), "; ".join(parts))


def _all_images(results: Results, classifier: str, arms: Sequence[Arm]) -> _Answer:
    """The long, large run against what one run of its scenario gives at the paper's size."""
    arm = arms[0]
    scenario = base_scenario(arm)
    end = _mean(results, arm.name, classifier, "accuracy")
    runs = results.of(arm.name, classifier)
    size = sum(map(sum, runs[0].confusion))
    text = f"{size:,} images and {arm.generations} generations of {scenario or arm.name} end at accuracy {end:.3f}"
    usual = statistics.prediction_interval(measured(results, scenario, classifier, "accuracy"))
    if end is None or usual is None:
        return _Answer(None, f"{text}; there is no interval of usual runs to hold it against")
    holds = True if end < usual.low else False if end > usual.high else None
    return _Answer(
        holds, f"{text}; one usual run would end between {max(0.0, usual.low):.3f} and {min(1.0, usual.high):.3f}"
    )


# --- arms -----------------------------------------------------------------------------------------------------------


def base_scenario(arm: Arm) -> str:
    """The scenario that an arm varies, by the letters that its name opens with; "" if there are none."""
    found = re.match(r"(FPS|TS|RS)_(SPC|AC)_(SM|IM)(?![A-Za-z0-9])", arm.name)
    return found.group(0) if found else ""


def is_elitist(arm: Arm) -> bool:
    """Whether some parents survive unchanged, by its settings or else its name."""
    elites = setting(arm.settings, "elites")
    return bool(elites) if elites is not None else "elit" in arm.name.lower()


def _plain(elite: Arm, arms: Iterable[Arm]) -> Arm | None:
    """The run of the same length without elitism."""
    others = [arm for arm in arms if not is_elitist(arm) and arm.generations == elite.generations]
    named = next((arm for arm in others if arm.name == elite.partner), None)
    scenario = base_scenario(elite)
    return named or next((arm for arm in others if scenario and base_scenario(arm) == scenario), None)


def _elitism_little(results: Results, classifier: str) -> tuple[bool | None, str]:
    arms = [arm for arm in ran(results, classifier, "elitism") if arm.partner]
    if not arms:
        return None, "elitism was not run at the usual length"
    arm = arms[0]
    pair = difference(results, arm.name, arm.partner, classifier, "total_fitness")
    whole = _mean(results, arm.partner, classifier, "total_fitness")
    if pair.mean is None or not whole:
        return None, "elitism has no partner to be compared with"
    text = f"at {arm.generations} generations elitism adds {_signed(pair, 1)} to a total fitness of {whole:.1f}"
    if pair.low is None or pair.high is None:
        return None, text
    limit = LITTLE * abs(whole)
    return (True if pair.high < limit else False if pair.low > limit else None), f"{text} ({pair.mean / whole:+.1%})"


def _usual(results: Results, scenario: str, classifier: str, arms: Sequence[Arm]) -> dict[int, float]:
    """Accuracy by seed at the paper's length and rates: of the scenario, or else of a longer run on its way there."""
    plain = _by_seed(results, [scenario], classifier, "accuracy")
    if plain:
        return plain
    constants = paper.load().constants
    rates = ("p_crossover", "p_mutation")
    for arm in arms:
        same = all(setting(arm.settings, rate) in (None, constants[rate]) for rate in rates)
        if base_scenario(arm) == scenario and same and not is_elitist(arm):
            runs = results.of(arm.name, classifier)
            found = {run.seed: _at(run.accuracy, int(constants["generations"])) for run in runs}
            return {seed: value for seed, value in found.items() if value is not None}
    return {}


def _compare(first: dict[int, float], second: dict[int, float], *, confidence: float = 0.95) -> Paired:
    seeds = sorted(first.keys() & second.keys())
    return statistics.paired_difference(
        [first[seed] for seed in seeds], [second[seed] for seed in seeds], confidence=confidence
    )


def _rates(arm: Arm) -> str:
    crossover, mutation = (setting(arm.settings, key) for key in ("p_crossover", "p_mutation"))
    rates = f", p_crossover={crossover}, p_mutation={mutation}" if None not in (crossover, mutation) else ""
    return f"{arm.generations} generations{rates}"


def _rate_effect(results: Results, arms: Sequence[Arm], classifier: str) -> str:
    """What the highest rates of the sweep change beside the lowest, at the same length; "" where it has no such two."""
    known = []
    for arm in arms:
        rates = tuple(setting(arm.settings, key) for key in ("p_crossover", "p_mutation"))
        if all(isinstance(rate, int | float) for rate in rates):
            known.append((rates, arm.generations, arm.name))
    if not known:
        return ""
    longest = max(generations for _, generations, _ in known)
    same = sorted((rates, name) for rates, generations, name in known if generations == longest)
    (low, first), (high, last) = same[0], same[-1]
    if low == high:
        return ""
    pair = difference(results, last, first, classifier, "accuracy")
    return "" if pair.mean is None else f", and the highest rates differ from the lowest by {_signed(pair)}"


# --- numbers --------------------------------------------------------------------------------------------------------


def _over_classifiers(
    results: Results, key: str, text: str, anchor: str, test: Callable[[Results, str], _Answer]
) -> Claim:
    names = classifiers(results, results.group("scenario"))
    if not names:
        return Claim(key, text, NOT_RUN, "No scenario was run with one set of settings.", anchor)
    return _claim(key, text, anchor, {name: test(results, name) for name in names})


def _with_parts(
    results: Results, key: str, text: str, anchor: str, test: Callable[[Results, str, Sequence[Arm]], _Answer]
) -> Claim:
    """A claim that needs arms of its own, on the classifiers that have them."""
    part: Any = PARTS[key]
    arms = results.group(part)
    names = classifiers(results, arms)
    if names:
        answers = {name: test(results, name, ran(results, name, part)) for name in names}
        return _claim(key, text, anchor, answers)
    missing = f"Needs --parts {part}: {with_part(results, part)}"
    if key == "elitism":
        known = [_elitism_little(results, name) for name in classifiers(results, results.group("elitism"))]
        missing = f"{_sentence(known[0][1])} {missing}" if known else missing
    return Claim(key, text, NOT_RUN, missing, anchor)


def _claim(key: str, text: str, anchor: str, answers: dict[str, _Answer]) -> Claim:
    found = [answer.holds for answer in answers.values()]
    verdict = UNTOLD
    if all(found):
        verdict = SUPPORTED
    elif False in found and True not in found:
        verdict = NOT_SUPPORTED
    if len(answers) == 1:
        evidence = _sentence(next(iter(answers.values())).evidence)
    else:
        evidence = " ".join(f"On {name}: {answer.evidence}." for name, answer in answers.items())
    return Claim(key, text, verdict, evidence, anchor)


def _all(parts: Sequence[bool | None]) -> bool | None:
    """True if all hold, False if one fails, None if that cannot be told."""
    if False in parts:
        return False
    return None if None in parts or not parts else True


def _below(pair: Paired) -> bool | None:
    """True if the difference is below 0 beyond chance, False if above; None if its interval has 0 or is missing."""
    if pair.low is None or pair.high is None:
        return None
    return True if pair.high < 0 else False if pair.low > 0 else None


def _by_seed(results: Results, arms: Sequence[str], classifier: str, name: str) -> dict[int, float]:
    """Mean over the arms, for the seeds that all of them have."""
    found: dict[int, list[float]] = {}
    for arm in arms:
        for run in results.of(arm, classifier):
            value = measure(run, name)
            if value is not None:
                found.setdefault(run.seed, []).append(value)
    return {seed: sum(values) / len(values) for seed, values in sorted(found.items()) if len(values) == len(arms)}


def _mean(results: Results, arm: str, classifier: str, name: str) -> float | None:
    spread = statistics.spread(measured(results, arm, classifier, name))
    return spread.mean if spread else None


def _selection_rates(results: Results, classifier: str) -> str:
    """Mean judged adversarial rate of each selection; "" without a judge."""
    parts = []
    for selection in SELECTIONS:
        arms = [arm.name for arm in ran(results, classifier, "scenario") if arm.name.startswith(f"{selection}_")]
        means = [mean for arm in arms if (mean := _mean(results, arm, classifier, "adversarial")) is not None]
        if means:
            parts.append(f"{selection} {sum(means) / len(means):.0%}")
    return ", ".join(parts)


def _at(values: Sequence[float], generation: int) -> float | None:
    return float(values[generation]) if generation < len(values) else None


def _signed(pair: Paired, digits: int = 3) -> str:
    if pair.mean is None:
        return "unknown"
    mean = number(pair.mean, digits, sign=True)
    if pair.low is None or pair.high is None:
        return f"{mean} (one seed)"
    return f"{mean} [{number(pair.low, digits, sign=True)} to {number(pair.high, digits, sign=True)}]"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
