"""What the tables of a report are made from: numbers of single runs, and which arms belong together."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from ..studies.operators.results import Arm, Group, Results, Run
from . import statistics
from .statistics import Paired

SELECTIONS, CROSSOVERS, MUTATIONS = ("FPS", "TS", "RS"), ("SPC", "AC"), ("SM", "IM")
MAIN_GROUPS: tuple[Group, ...] = ("scenario", "elitism", "control")
UNTOLD = "cannot be told"


def measure(run: Run, name: str) -> float | None:
    """One number of a run's last generation; None where it was not measured.

    Args:
        name: accuracy, precision, recall, f1, total_fitness, failed, ancestors, issued, fools, reads, adversarial, l0,
            l2 or ssim.
    """
    if name in ("fools", "reads", "adversarial"):
        return _finite(getattr(run.judged, name)) if run.judged else None
    if name in ("l0", "l2", "ssim"):
        return _finite(getattr(run.distance, name)) if run.distance else None
    value = getattr(run, name)
    return _finite(value[-1] if isinstance(value, list) else value)


def measured(results: Results, arm: str, classifier: str, name: str) -> list[float]:
    """That number for each seed which has it, by seed."""
    values = [measure(run, name) for run in results.of(arm, classifier)]
    return [value for value in values if value is not None]


def paired(
    results: Results, first: str, second: str, classifier: str, of: Callable[[Run], float | None]
) -> tuple[list[float], list[float]]:
    """A number of two arms for the seeds that both have, in the same order."""
    one = {run.seed: of(run) for run in results.of(first, classifier)}
    two = {run.seed: of(run) for run in results.of(second, classifier)}
    pairs = [(one[seed], two[seed]) for seed in sorted(one.keys() & two.keys())]
    kept = [(a, b) for a, b in pairs if a is not None and b is not None]
    return [a for a, _ in kept], [b for _, b in kept]


def difference(
    results: Results, first: str, second: str, classifier: str, name: str, *, confidence: float = 0.95
) -> Paired:
    """First minus second in one number of the last generation, paired by seed."""
    pairs = paired(results, first, second, classifier, lambda run: measure(run, name))
    return statistics.paired_difference(*pairs, confidence=confidence)


def classifiers(results: Results, arms: Iterable[Arm] | None = None) -> list[str]:
    """Names of the attacked classifiers that have runs (of these arms), in the order of the study."""
    names = None if arms is None else {arm.name for arm in arms}
    found = {run.classifier for run in results.runs if names is None or run.arm in names}
    return [target.name for target in results.targets if target.name in found]


def ran(results: Results, classifier: str, *groups: Group) -> list[Arm]:
    """The arms of these groups that have runs on this classifier, in the order they were defined."""
    names = {run.arm for run in results.runs if run.classifier == classifier}
    return [arm for arm in results.group(*groups) if arm.name in names]


def population(results: Results) -> int | None:
    """How many images each scenario (or, without scenarios, each run) evolves; None where that differs."""
    names = {arm.name for arm in results.group("scenario") or results.arms}
    sizes = {sum(map(sum, run.confusion)) for run in results.runs if run.arm in names}
    return sizes.pop() if len(sizes) == 1 else None


def operators_of(name: str) -> tuple[str, str]:
    """The crossover and mutation that an arm's name states, in the paper's letters; "" where it states none."""
    parts = re.split(r"[^A-Za-z0-9]+", name)
    crossover = next((part for part in parts if part in CROSSOVERS), "")
    return crossover, next((part for part in parts if part in MUTATIONS), "")


def control_kinds(results: Results) -> dict[str, list[Arm]]:
    """The control arms by what they leave out: by family, or by their name without crossover and mutation."""
    kinds: dict[str, list[Arm]] = {}
    for arm in results.group("control"):
        parts = [part for part in re.split(r"[^A-Za-z0-9]+", arm.name) if part not in (*CROSSOVERS, *MUTATIONS)]
        kinds.setdefault(arm.family or "_".join(parts), []).append(arm)
    return kinds


def unselected(results: Results, name: str) -> Arm | None:
    """The control with the same crossover and mutation but random selection: of the kind that has the most pairs."""
    crossover, mutation = operators_of(name)
    pairs = [[arm for arm in arms if all(operators_of(arm.name))] for arms in control_kinds(results).values()]
    most = max(pairs, key=len, default=[])
    return next((arm for arm in most if operators_of(arm.name) == (crossover, mutation)), None)


def mutated_only(results: Results, name: str) -> Arm | None:
    """The control with the same mutation and nothing else: of those without crossover the one without a partner."""
    wanted = ("", operators_of(name)[1])
    fitting = [arm for arm in results.group("control") if wanted[1] and operators_of(arm.name) == wanted]
    return min(fitting, key=lambda arm: bool(arm.partner), default=None)


def setting(settings: Any, key: str) -> Any:
    """The value of a key anywhere in nested settings; None if it is not there."""
    if isinstance(settings, dict):
        if key in settings:
            return settings[key]
        return next((found for value in settings.values() if (found := setting(value, key)) is not None), None)
    return None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
