"""The one loop: ask the algorithm, decode, ask the classifier through the ledger, tell the algorithm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from . import genome
from .contracts import Algorithm, Criterion, Encoding, Evaluated, Objective, Status
from .errors import SpecError
from .ledger import Ledger
from .rng import Stream
from .shapes import Bool, Float, Int, Tensor


@dataclass(frozen=True)
class Problem:
    """What B searches side by side start from.

    Attributes:
        genomes: the initial population, [B P *G] or a dataclass of such tensors.
        rng: the randomness of the searches.
        x: the image each search starts from, where there is one.
        labels: the class of each search, where the genomes carry none of their own.
    """

    genomes: Any
    rng: Stream
    x: Float[Tensor, "B C H W"] | None = None
    labels: Int[Tensor, " B"] | None = None


@dataclass(frozen=True)
class Progress:
    """How far B searches are.

    Attributes:
        generation: of the last answers; the initial population is generation 0, and -1 means nothing was asked. Of an
            attack, rounds made so far.
        state: the algorithm's, every tensor leading with B; of an attack, its `evasion.Standing`.
        running: which searches go on; the others ran out of budget, or were told to stop at their first success.
        success: which searches have had a success.
    """

    generation: int
    state: Any
    running: Bool[Tensor, " B"]
    success: Bool[Tensor, " B"]


def start(problem: Problem, algorithm: Algorithm) -> Progress:
    """Before the first question."""
    searches = len(problem.rng)
    none = torch.zeros(searches, dtype=torch.bool)
    return Progress(-1, algorithm.init(problem.genomes), ~none, none)


def evaluate(
    genomes: Any,
    *,
    encoding: Encoding,
    ledger: Ledger,
    x: Tensor | None,
    labels: Tensor | None,
    searches: Int[Tensor, " b"],
    key: tuple[int, ...],
) -> Evaluated:
    """Decode genomes and ask about them; `searches` are the accounts that pay."""
    images = encoding.decode(genomes, x)
    b, n = images.shape[:2]
    answers = ledger.ask(images.flatten(0, 1), searches.repeat_interleave(n), key)
    return Evaluated(
        genomes=genomes,
        images=images,
        x=x,
        scores=answers.scores.unflatten(0, (b, n)),
        labels=genome.labels(genomes, labels),
        status=answers.status.unflatten(0, (b, n)),
    )


def run(
    problem: Problem,
    *,
    algorithm: Algorithm,
    encoding: Encoding,
    objective: Objective,
    criterion: Criterion,
    ledger: Ledger,
    generations: int,
    stop_on_success: bool = False,
    on_generation: Callable[[Progress, Evaluated], None] | None = None,
    progress: Progress | None = None,
) -> Progress:
    """Run searches side by side until the given generation, or until none of them is running.

    A search with a member that the budget did not reach ends there, and its algorithm is not told (but at generation 0,
    where a state takes its shape from the first answers: what is missing is NaN). A search that ended leaves the batch.

    Args:
        problem, algorithm, encoding, objective, criterion, ledger: the parts; see `contracts`.
        generations: the last generation; 0 only evaluates the initial population.
        stop_on_success: a search ends at its first success.
        on_generation: called after each generation with the progress and with what was asked in it (of the searches
            that were running).
        progress: where to go on from; None starts anew.

    Raises:
        SpecError: the parts are made for different numbers of searches.
    """
    progress = progress or start(problem, algorithm)
    sizes = {"streams": len(problem.rng), "progress": len(progress.running), "accounts": len(ledger.searches)}
    sizes |= {} if problem.x is None else {"images": len(problem.x)}
    sizes |= {} if problem.labels is None else {"labels": len(problem.labels)}
    if len(set(sizes.values())) > 1:
        words = ", ".join(f"{count} {name}" for name, count in sizes.items())
        raise SpecError(f"searches side by side: {words}; expected one number of all")
    info = ledger.classifier.info
    for generation in range(progress.generation + 1, generations + 1):
        active = progress.running.nonzero().squeeze(1)
        if not len(active):
            break
        all_run = len(active) == len(progress.running)
        rng = (problem.rng if all_run else problem.rng.rows(active.tolist())).at(generation)
        state = progress.state if all_run else genome.rows(progress.state, active)
        x = problem.x if all_run or problem.x is None else problem.x[active]
        labels = problem.labels if all_run or problem.labels is None else problem.labels[active]

        genomes = encoding.repair(algorithm.ask(state, rng), x)
        evaluated = evaluate(
            genomes, encoding=encoding, ledger=ledger, x=x, labels=labels, searches=active, key=(generation,)
        )
        fitness = objective(evaluated, info)
        answered = evaluated.status == Status.ANSWERED
        fitness = torch.where(answered if fitness.ndim == 2 else answered[..., None], fitness, torch.nan)
        success = criterion(evaluated, info) & answered
        told = (evaluated.status != Status.UNSENT).all(1)
        after = algorithm.tell(state, evaluated, fitness, success)
        if generation and not (all_run and bool(told.all())):
            kept = told.nonzero().squeeze(1)
            after = genome.put(progress.state, active[kept], genome.rows(after, kept))

        ends = ~told | (success.any(1) if stop_on_success else False)
        progress = Progress(
            generation,
            after,
            running=progress.running.index_copy(0, active, ~ends),
            success=progress.success.index_copy(0, active, progress.success[active] | success.any(1)),
        )
        if on_generation:
            on_generation(progress, evaluated)
    return progress
