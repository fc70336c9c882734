"""The schedule of the question: confined to the middle first, then set free; is it "afterwards always better"?"""

from __future__ import annotations

from dataclasses import dataclass

from . import measures
from .evidence import FEWEST
from .measures import Mean
from .results import Results


@dataclass(frozen=True)
class Schedule:
    """What became of runs that were confined to the middle first.

    Attributes:
        confined: generations of the limit.
        better: runs whose best fitness was better at the end than when the limit was lifted.
        runs: how many there were.
        gain: by how much the fitness fell in these generations.
        only: likewise in as many generations of runs that stayed confined.
        only_better: how many of those became better in these generations, and `only_runs` of how many.
        beyond: final fitness less that of runs that stayed confined; below 0 = better for the freedom.
        everywhere: final fitness less that of runs that were never confined; below 0 = better for the beginning.
        always: every run became better, by more than the runs that stayed confined did; None = cannot be told.
        sentences: for a reader.
    """

    confined: int
    better: int
    runs: int
    gain: Mean
    only: Mean
    only_better: int
    only_runs: int
    beyond: Mean
    everywhere: Mean
    always: bool | None
    sentences: list[str]


def schedule_outcome(results: Results) -> Schedule | None:
    """Whether runs that were confined to the middle first "always" became better when the limit was lifted.

    Fitness never becomes worse where the best member survives, so that "better" alone says little: runs that stay
    confined for as long tell what the same generations give without freedom. None where it was not run.
    """
    arms = {str(arm.tags["schedule"]): arm for arm in results.part("schedule") if "schedule" in arm.tags}
    first = arms.get("center first")
    phases = first.settings.get("phases") if first else None
    if first is None or not phases or not results.of(first.name):
        return None
    confined = int(phases[0]["last"])
    ends = {name: _ends(results, arm.name, confined) for name, arm in arms.items()}
    gains = {name: {seed: then - last for seed, (then, last) in runs.items() if then is not None and last is not None}
             for name, runs in ends.items()}  # fmt: skip
    own, only = gains["center first"], gains.get("center only", {})
    better, only_better = (sum(gain > 1e-9 for gain in side.values()) for side in (own, only))
    finals = {name: {seed: last for seed, (_, last) in runs.items() if last is not None} for name, runs in ends.items()}
    beyond, everywhere = (_between(finals, other) for other in ("center only", "everywhere"))
    gain, stayed = (measures.mean_of(list(side.values()), "schedule") for side in (own, only))
    always = None
    if len(own) >= FEWEST and beyond.high is not None:
        always = better == len(own) and beyond.high < 0
    sentences = [
        f"After {confined:,} generations in the middle, {better} of {len(own)} runs became better when ink could lie "
        f"everywhere: their fitness fell by {_mean(gain)}."
    ]
    if only:
        sentences.append(
            f"Of runs that stayed in the middle, {only_better} of {len(only)} became better in the same generations: "
            f"by {_mean(stayed)}. At the end, freedom is worth {_mean(beyond)} (below 0 = better)."
        )
    if everywhere.estimate is not None:
        sentences.append(f"Against runs that were free all the time the difference is {_mean(everywhere)}.")
    says = {
        True: '"Afterwards always better" is reproduced, and it is the freedom that does it.',
        False: '"Afterwards always better" is not reproduced: not all became better, or not for the freedom.',
        None: 'Whether "afterwards always better" is reproduced cannot be told: a control is missing, or runs.',
    }
    sentences.append(says[always])
    return Schedule(
        confined, better, len(own), gain, stayed, only_better, len(only), beyond, everywhere, always, sentences
    )


def _ends(results: Results, arm: str, switch: int) -> dict[int, tuple[float | None, float | None]]:
    """Best fitness of each run when the limit is lifted (the last generation measured until then), and at the end."""
    found = {}
    for run in results.of(arm):
        then = [fitness for at, fitness in zip(run.generations, run.fitness, strict=True) if at <= switch]
        found[run.seed] = (then[-1] if then else None, run.fitness[-1] if run.fitness else None)
    return found


def _between(finals: dict[str, dict[int, float]], other: str) -> Mean:
    own, control = finals["center first"], finals.get(other, {})
    return measures.mean_of([own[seed] - control[seed] for seed in sorted(own.keys() & control.keys())], "schedule")


def _mean(mean: Mean) -> str:
    if mean.estimate is None:
        return "not known"
    ends = "" if mean.low is None else f" ({100 * mean.level:.4g}% interval {mean.low:.3g} to {mean.high:.3g})"
    return f"{mean.estimate:.3g}{ends}"
