"""The schedule of the question: confined to the middle first, then set free; is it "afterwards always better"?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from . import measures
from .evidence import FEWEST
from .measures import Mean
from .results import Results

FIRST, ONLY, FREE = "center first", "center only", "everywhere"


class Ends(NamedTuple):
    """Best fitness of a run when the limit was lifted, and at its end.

    Attributes:
        arm, schedule, seed: of which run, and what it was to do.
        at: the last generation that was measured before the limit was lifted; None where none was.
        lifted: best fitness in it; None without an answer.
        last: best fitness at the end.
    """

    arm: str
    schedule: str
    seed: int
    at: int | None
    lifted: float | None
    last: float | None

    @property
    def gain(self) -> float | None:
        """By how much the fitness fell."""
        return None if self.lifted is None or self.last is None else self.lifted - self.last

    @property
    def better(self) -> bool:
        """Whether it fell by more than arithmetic does."""
        return (self.gain or 0.0) > 1e-9


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
    confined, every = switch(results), ends(results)
    if confined is None or not any(each.schedule == FIRST for each in every):
        return None
    known = [each for each in every if each.gain is not None]
    own, only = ([each for each in known if each.schedule == name] for name in (FIRST, ONLY))
    better, only_better = (sum(each.better for each in side) for side in (own, only))
    beyond, everywhere = (_between(every, other) for other in (ONLY, FREE))
    gain, stayed = (measures.mean_of([each.gain or 0.0 for each in side], "schedule") for side in (own, only))
    always = None
    if len(own) >= FEWEST and beyond.high is not None:
        always = better == len(own) and beyond.high < 0
    sentences = [
        f"After {confined:,} generations in the middle, {better} of {len(own)} runs became better when ink could lie "
        f"everywhere: their fitness fell by {_mean(gain)}{_since(own, confined)}."
    ]
    if only:
        sentences.append(
            f"Of runs that stayed in the middle, {only_better} of {len(only)} became better in the same generations: "
            f"by {_mean(stayed)}{_since(only, confined)}. At the end, freedom is worth {_mean(beyond)} (below 0 = "
            f"better)."
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


def switch(results: Results) -> int | None:
    """The last generation before the limit is lifted; None where there is no limit."""
    first = next((arm for arm in results.part("schedule") if arm.tags.get("schedule") == FIRST), None)
    phases = first.settings.get("phases") if first else None
    return int(phases[0]["last"]) if phases and phases[0].get("last") is not None else None


def ends(results: Results) -> list[Ends]:
    """Of each run of the schedule and its controls."""
    lifted = switch(results)
    if lifted is None:
        return []
    found = []
    for arm in (arm for arm in results.part("schedule") if "schedule" in arm.tags):
        for run in results.of(arm.name):
            then = [pair for pair in zip(run.generations, run.fitness, strict=True) if pair[0] <= lifted]
            at, fitness = then[-1] if then else (None, None)
            last = run.fitness[-1] if run.fitness else None
            found.append(Ends(arm.name, str(arm.tags["schedule"]), run.seed, at, fitness, last))
    return found


def measured_at(every: Sequence[Ends]) -> str:
    """The generations that the fitness before the limit was lifted is of, in words."""
    found = sorted({each.at for each in every if each.at is not None})
    if not found:
        return "not measured"
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


def _since(every: Sequence[Ends], confined: int) -> str:
    """What is said where the fitness before is not that of the last generation before."""
    if all(each.at == confined for each in every):
        return ""
    return f" (since generation {measured_at(every)}, the last one measured until then)"


def _between(every: Sequence[Ends], other: str) -> Mean:
    finals = [{each.seed: each.last for each in every if each.schedule == name and each.last is not None}
              for name in (FIRST, other)]  # fmt: skip
    seeds = sorted(finals[0].keys() & finals[1].keys())
    return measures.mean_of([finals[0][seed] - finals[1][seed] for seed in seeds], "schedule")


def _mean(mean: Mean) -> str:
    if mean.estimate is None:
        return "not known"
    ends = "" if mean.low is None else f" ({100 * mean.level:.4g}% interval {mean.low:.3g} to {mean.high:.3g})"
    return f"{mean.estimate:.3g}{ends}"
