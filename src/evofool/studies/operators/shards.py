"""Runs one shard of the study: an arm on a classifier for some seeds, from where it was left."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ... import criteria, genome, objectives, rundir, runs
from ...checkpoint import Checkpoints
from ...contracts import ClassifierInfo, Dataset, Evaluated
from ...encodings.pixels import Pixels, to_lattice
from ...errors import DamagedRunError
from ...executors.local import Tick
from ...genome import Labelled
from ...ledger import Ledger
from ...rng import Stream, search_id
from ...rundir import Finding
from ...runs import Shown
from ...search import Problem, Progress, run, start
from ...store import Store
from . import measure, scenarios
from .planning import Shard, dataset_of
from .results import Gallery, Run, run_from

SHOWN = 20  # members of a gallery


def population(dataset: Dataset, seeds: Sequence[int], size: int) -> Labelled:
    """The images that seed k starts from, for each seed: the same whatever else is run."""
    stream = Stream(seeds, [search_id("population")] * len(seeds))
    drawn = stream["images"].permutation(len(dataset))[:, :size]
    images = dataset.images[drawn].float() / 255
    return Labelled(images, dataset.labels[drawn].long(), torch.arange(size).expand(len(seeds), size).clone())


@dataclass
class Curves:
    """The numbers of each generation, collected while searches run side by side.

    Attributes:
        info: of the classifier.
        plain: the objective is the paper's, so that its total can be read from the fitness.
        tables: confusion by generation, [B K K+1].
        totals: the paper's total by generation, [B].
    """

    info: ClassifierInfo
    plain: bool
    tables: list[torch.Tensor] = field(default_factory=list)
    totals: list[torch.Tensor] = field(default_factory=list)

    def __call__(self, progress: Progress, evaluated: Evaluated) -> None:
        """Measure a generation."""
        state = progress.state
        labels = state.genomes.label
        self.tables.append(measure.confusion(labels, measure.predictions(state.scores), len(self.info.class_names)))
        # Every arm is measured by the paper's total, whatever it is told to lower.
        each = -state.fitness if self.plain else objectives.timbe_total(state.scores, labels, self.info)
        self.totals.append(each.nansum(1))

    def event(self) -> dict[str, Any]:
        """The last generation, as JSON can hold it."""
        return {"confusion": self.tables[-1].tolist(), "total_fitness": self.totals[-1].tolist()}

    def recall(self, events: Sequence[dict[str, Any]]) -> None:
        """Take over the generations before a checkpoint.

        Raises:
            DamagedRunError: they are not what `event` gave.
        """
        try:
            self.tables = [torch.tensor(event["confusion"]) for event in events]
            self.totals = [torch.tensor(event["total_fitness"], dtype=torch.float64) for event in events]
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedRunError(
                f"an event of the run cannot be read ({error}); restore the run from a copy"
            ) from None

    def of(self, row: int, generations: int) -> dict[str, list[Any]]:
        """The curves of one seed, rounded to what can be told apart; where it ended early, its last values stay."""
        missing = generations + 1 - len(self.tables)
        tables = torch.stack(self.tables + self.tables[-1:] * missing)[:, row]
        curves = dict(zip(("accuracy", "precision", "recall", "f1"), measure.macro(tables), strict=True))
        curves["total_fitness"] = torch.stack(self.totals + self.totals[-1:] * missing)[:, row]
        rounded = {name: [round(value, 6) for value in values.tolist()] for name, values in curves.items()}
        return {**rounded, "failed": tables[:, :, -1].sum(1).tolist()}


@dataclass(frozen=True)
class Done:
    """What a shard comes to.

    Attributes:
        runs: by seed.
        gallery: of the first seed, if it is wanted.
        findings: the most confident misclassified image of each seed that has one; numbers are given at the end.
        seconds: how long it took.
        accounts: rows by search and kind, where there are no books on disk.
        padded: likewise.
    """

    runs: list[Run]
    gallery: Shown | None
    findings: list[Shown]
    seconds: float
    accounts: dict[str, dict[str, int]] = field(default_factory=dict)
    padded: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it; pictures go with it, so that a result is there as a whole or not at all."""
        return {
            "runs": [dataclasses.asdict(run) for run in self.runs],
            "gallery": self.gallery.to_json() if self.gallery else None,
            "findings": [shown.to_json() for shown in self.findings],
            "seconds": round(self.seconds, 3),
        }

    @staticmethod
    def from_json(raw: Any) -> Done:
        """The inverse of `to_json`.

        Raises:
            DamagedRunError: it is not what a shard wrote.
        """
        try:
            done = Done(
                runs=[run_from(row) for row in raw["runs"]],
                gallery=Shown.from_json(Gallery, raw["gallery"]) if raw["gallery"] else None,
                findings=[Shown.from_json(Finding, shown) for shown in raw["findings"]],
                seconds=float(raw["seconds"]),
            )
            if done.gallery:
                rundir.refuse_elsewhere(done.gallery.about.file, "a result of the run")
            return done
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedRunError(
                f"a result of the run cannot be read ({error}); was it written by another version?"
            ) from None


def run_shard(shard: Shard, tick: Tick) -> Done | None:
    """Run one shard, from where it was left if it has a run directory.

    Returns:
        What it comes to; None where that went into the run directory.
    """
    started = time.perf_counter()
    store = runs.books(shard.directory) if shard.directory else None
    scenario, classifier = shard.scenario, shard.load(shard.classifier)
    first = population(dataset_of(shard.data, shard.data_dir, shard.image_shape), shard.seeds, scenario.population)
    ledger = Ledger(
        classifier,
        searches=shard.searches(),
        budget=shard.budget - shard.confirm if shard.budget is not None else None,
        cache=shard.cache,
        store=store,
        chain=shard.name if store else "",
    )
    problem = Problem(first, Stream(shard.seeds, [search_id(scenario.arm.name)] * len(shard.seeds)))
    curves = Curves(classifier.info, scenario.objective == scenarios.PAPER_OBJECTIVE)
    checkpoints = Checkpoints(Path(shard.directory) / "state", shard.name, ledger) if store else None
    progress = _resumed(shard, checkpoints, curves, ledger, start(problem, scenario.algorithm))
    each = scenario.population * len(shard.seeds)
    tick(each * (progress.generation + 1) if progress else 0)

    def on_generation(progress: Progress, evaluated: Evaluated) -> None:
        curves(progress, evaluated)
        if store and checkpoints:
            store.record(shard.name, progress.generation, curves.event())
            checkpoints(lambda: progress)
        tick(each)

    last = run(
        problem,
        algorithm=scenario.algorithm,
        encoding=Pixels(),
        objective=scenario.objective,
        criterion=criteria.misclassified,
        ledger=ledger,
        generations=scenario.arm.generations,
        on_generation=on_generation,
        progress=progress,
    )
    tick(each * (scenario.arm.generations - last.generation))  # what the budget did not reach
    done = _measured(shard, first, last, curves, ledger, started)
    if store is None:
        return done
    assert checkpoints is not None
    store.finish(shard.name, done.to_json(), let_go=shard.name)
    checkpoints.remove()
    return None


def _resumed(
    shard: Shard, checkpoints: Checkpoints | None, curves: Curves, ledger: Ledger, beginning: Progress
) -> Progress | None:
    """Where the shard was left, with its curves; None = at the beginning."""
    if checkpoints is None or (progress := checkpoints.load(beginning)) is None:
        return None
    events = ledger.store.events(shard.name)
    if len(events) <= progress.generation:
        raise DamagedRunError(f"{shard.directory}: events of {shard.name} are missing; restore the run from a copy")
    curves.recall(events[: progress.generation + 1])
    return progress


def _measured(shard: Shard, first: Labelled, last: Progress, curves: Curves, ledger: Ledger, started: float) -> Done:
    """Everything that is told of the last generation."""
    info = ledger.classifier.info
    genomes, scores = last.state.genomes, last.state.scores
    images = to_lattice(genome.genes(genomes), None)
    predicted = measure.predictions(scores)
    tables = measure.confusion(genomes.label, predicted, len(info.class_names))
    judge = shard.load(shard.judge) if shard.judge else None
    store = ledger.store if shard.directory else Store()
    runs, found = [], []
    for row, seed in enumerate(shard.seeds):
        origin = first.genes[row][genomes.ancestor[row]]
        judged = None
        if judge:
            judged = measure.judged(
                judge,
                images[row],
                genomes.label[row],
                predicted[row],
                account=f"judge/{shard.judge}",
                store=store,
                chain=ledger.chain,
                key=("judge", seed) if shard.directory else (),
            )
        runs.append(
            Run(
                arm=shard.scenario.arm.name,
                classifier=shard.classifier,
                seed=seed,
                **curves.of(row, shard.scenario.arm.generations),
                confusion=tables[row].tolist(),
                ancestors=len(genomes.ancestor[row].unique()),
                judged=judged,
                distance=measure.distance(images[row], origin),
                ended=None if bool(last.running[row]) else max(0, int(last.state.told[row]) - 1),
            )
        )
        evolved = (images[row] != origin).flatten(1).any(1)
        finding = _finding(shard, row, images[row], evolved, genomes.label[row], scores[row], runs[-1], ledger)
        found += [finding] if finding else []
    shown = _gallery(shard, first, genomes, images, scores, info) if shard.gallery else None
    accounts = {**ledger.store.counts(), **store.counts()}
    padded = ledger.store.padded() + (store.padded() if store is not ledger.store else 0)
    return Done(runs, shown, found, time.perf_counter() - started, accounts, padded)


def _finding(
    shard: Shard,
    row: int,
    images: torch.Tensor,
    evolved: torch.Tensor,
    labels: torch.Tensor,
    scores: torch.Tensor,
    run: Run,
    ledger: Ledger,
) -> Shown | None:
    """The misclassified member of the last generation of which the classifier is surest, if it is so again.

    An image that is still as it was in the data is none, whatever the classifier says of it.
    """
    info = ledger.classifier.info
    confidence = objectives.probabilities(scores, info)
    predicted = measure.predictions(scores)
    fools = (predicted != labels) & (predicted < len(info.class_names)) & evolved
    if not bool(fools.any()):
        return None
    best = int(confidence.amax(1).nan_to_num(0.0).masked_fill(~fools, -1.0).argmax())
    prediction = int(predicted[best])
    if shard.confirm:
        again = Ledger(
            ledger.classifier,
            searches=ledger.searches,
            budget=shard.budget,
            store=ledger.store,
            chain=ledger.chain,
        )
        payer = torch.full((shard.confirm,), row)
        copies = images[best : best + 1].expand(shard.confirm, -1, -1, -1)
        key = ("confirm", shard.seeds[row]) if shard.directory else ()
        answers = again.ask(copies, payer, key, fresh=True)
        if not bool((measure.predictions(answers.scores) == prediction).all()):
            return None
    pixels = (images[best] * 255).round().byte()
    generation = len(run.accuracy) - 1 if run.ended is None else run.ended
    return Shown(
        Finding(
            number=0,
            file="",
            sha256=rundir.image_hash(pixels),
            classifier=shard.classifier,
            seed=shard.seeds[row],
            arm=shard.scenario.arm.name,
            generation=generation,
            label=int(labels[best]),
            prediction=prediction,
            confidence=round(float(confidence[best, prediction]), 6),
            scores=[float(score) for score in scores[best]],
            confirmed=shard.confirm,
        ),
        pixels,
    )


def _gallery(
    shard: Shard, first: Labelled, genomes: Labelled, images: torch.Tensor, scores: torch.Tensor, info: ClassifierInfo
) -> Shown:
    """The first members of the first seed: an unchosen sample, fooled or not."""
    count = min(SHOWN, images.shape[1])
    ancestors = genomes.ancestor[0, :count]
    predicted = measure.predictions(scores[0, :count])
    pair = torch.stack([first.genes[0][ancestors], images[0, :count]])  # [2 n C H W]
    sheet = (pair * 255).round().byte().permute(2, 0, 3, 1, 4).flatten(1, 2).flatten(2, 3)  # [C 2H nW]
    confidence = objectives.probabilities(scores[0, :count], info).amax(-1)
    gallery = Gallery(
        arm=shard.scenario.arm.name,
        file=f"images/{shard.scenario.arm.name}.png",
        labels=genomes.label[0, :count].tolist(),
        ancestor_labels=first.label[0][ancestors].tolist(),
        predictions=[-1 if p == len(info.class_names) else p for p in predicted.tolist()],
        confidences=[round(c, 4) for c in confidence.nan_to_num(0.0).tolist()],
    )
    return Shown(gallery, sheet)
