"""Draws for some seeds side by side, from where it was left."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ... import genome, objectives, regions, rundir, runs
from ...algorithms.nsga2 import NSGA2
from ...checkpoint import Checkpoints
from ...classifiers.support.settings import Settings
from ...contracts import Classifier, Evaluated
from ...encodings.ink import Ink
from ...errors import DamagedRunError
from ...executors.local import Tick
from ...ledger import Ledger
from ...operators import ranking
from ...rng import Stream, search_id
from ...rundir import Finding
from ...runs import Shown
from ...search import Problem, Progress, run
from ...shapes import Bool, Float, Tensor
from ...shrink import shrink
from ...store import Store
from ...variants import Variant
from .drawing import Drawing
from .record import Judge, Record
from .results import Drawn, Picture, Shrinking, account, drawn_from


@dataclass(frozen=True)
class Shard:
    """One way to draw on one classifier for some seeds: what one worker does at a time.

    Attributes:
        arm: name of the way to draw.
        drawing: the way to draw.
        classifier: its name.
        variant: what is changed about it.
        target: the class that is wanted.
        seeds: one run each.
        budget: the most queries of one run, shrinking and confirming included; None = no limit.
        shrink: take away ink after success; pairs of pixels, too, with `pairs`.
        confirm: how often a drawing is asked about again.
        sources, fingerprints: how classifiers are loaded, and what they have to be.
        directory: of the run, "" without one.
    """

    arm: str
    drawing: Drawing
    classifier: str
    target: int
    seeds: tuple[int, ...]
    variant: Variant = field(default_factory=Variant)
    budget: int | None = None
    cache: bool = True
    shrink: bool = True
    pairs: bool = True
    confirm: int = 0
    sources: Mapping[str, Settings] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    directory: str = ""

    @property
    def name(self) -> str:
        """What it is in the ledger and in messages."""
        return f"{self.arm} on {self.classifier}, seeds {', '.join(map(str, self.seeds))}"

    @property
    def evaluations(self) -> int:
        """Drawings that will be made and asked about, shrinking left aside."""
        return (self.drawing.generations + 1) * self.drawing.population * len(self.seeds)

    @property
    def queries(self) -> int:
        """The most that its runs will ask on their way; shrinking may take some more where there is no budget."""
        return self.evaluations if self.budget is None else self.budget * len(self.seeds)

    def load_size(self) -> tuple[int, int]:
        """(height, width) of what is drawn."""
        height, width = self.load().info.image_shape[1:]
        return height, width

    def load(self) -> Classifier:
        """What is asked.

        Raises:
            ClassifierError: it is not the one that the plan was made for, or cannot be changed so.
        """
        return self.variant.apply(runs.loaded(self.classifier, self.sources, self.fingerprints))


@dataclass(frozen=True)
class Done:
    """What a shard comes to.

    Attributes:
        runs: by seed.
        findings: the drawing of each run that reached its goal; numbers are given at the end.
        seconds: how long it took.
        accounts, padded: rows by run and kind, where there are no books on disk.
    """

    runs: list[Drawn]
    findings: list[Shown]
    seconds: float
    accounts: dict[str, dict[str, int]] = field(default_factory=dict)
    padded: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "runs": [dataclasses.asdict(run) for run in self.runs],
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
            return Done(
                runs=[drawn_from(row) for row in raw["runs"]],
                findings=[Shown.from_json(Finding, shown) for shown in raw["findings"]],
                seconds=float(raw["seconds"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedRunError(
                f"a result of the run cannot be read ({error}); was it written by another version?"
            ) from None


@dataclass(frozen=True)
class Anew:
    """For one generation in place of an algorithm: its members are asked about again, since they have changed.

    What is repaired has lost the ink that a region does not allow, so that its fitness is another one.
    """

    algorithm: Any

    def ask(self, state: Any, rng: Stream) -> Any:
        """The members."""
        return state.genomes

    def tell(self, state: Any, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> Any:
        """The same with their new answers; generations are counted on, and a weight stays what it was."""
        kept = {name: getattr(state, name) for name in ("told", "weight") if hasattr(state, name)}
        fresh = dataclasses.replace(self.algorithm.init(evaluated.genomes), **kept)
        return self.algorithm.tell(fresh, evaluated, fitness, success)


def run_shard(shard: Shard, tick: Tick) -> Done | None:
    """Run one shard, from where it was left if it has a run directory.

    Returns:
        What it comes to; None where that went into the run directory.
    """
    started = time.perf_counter()
    store = runs.books(shard.directory) if shard.directory else None
    drawing, classifier = shard.drawing, shard.load()
    height, width = classifier.info.image_shape[1:]
    stream = Stream(shard.seeds, [search_id("draw")] * len(shard.seeds))
    first = drawing.encoding(drawing.phases[0], (height, width)).sample(None, drawing.population, stream["initial"])
    wanted = torch.full((len(shard.seeds),), shard.target)
    problem = Problem(first, stream, labels=wanted)
    names = [account(shard.arm, shard.classifier, seed) for seed in shard.seeds]
    ledger = Ledger(
        classifier,
        searches=names,
        budget=shard.budget - shard.confirm if shard.budget is not None else None,
        cache=shard.cache,
        store=store,
        chain=shard.name if store else "",
    )
    judge = Judge(drawing, shard.target, classifier.info, flat=shard.variant.flat)
    record = Record(judge, drawing.generations, running=len(shard.seeds))
    checkpoints = Checkpoints(Path(shard.directory) / "state", shard.name, ledger) if store else None
    none = torch.zeros(len(shard.seeds), dtype=torch.bool)
    progress = Progress(-1, drawing.algorithm.init(first), ~none, none)
    progress = _resumed(shard, checkpoints, record, ledger, progress)
    each = drawing.population * len(shard.seeds)
    tick(each * (progress.generation + 1))

    def on_generation(progress: Progress, evaluated: Evaluated) -> None:
        event = record.event(progress, ledger.needed)
        if store and checkpoints:
            store.record(shard.name, progress.generation, event)
            checkpoints(lambda: progress)
        tick(each, record.note())

    before: Ink | None = None
    for phase in drawing.phases:
        encoding = drawing.encoding(phase, (height, width))
        last = drawing.generations if phase.last is None else phase.last
        if progress.generation < last:
            steps: list[tuple[Any, int]] = [(drawing.algorithm, last)]
            if before and _narrower(encoding, before, progress, drawing):
                steps.insert(0, (Anew(drawing.algorithm), progress.generation + 1))
            for algorithm, until in steps:
                progress = run(
                    problem,
                    algorithm=algorithm,
                    encoding=encoding,
                    objective=drawing.objective,
                    criterion=drawing.criterion,
                    ledger=ledger,
                    generations=until,
                    stop_on_success=drawing.stop,
                    on_generation=on_generation,
                    progress=progress,
                )
        before = encoding
    tick(each * (drawing.generations - progress.generation))
    assert before is not None
    done = _finished(shard, problem, progress, record, ledger, before, started)
    if store is None:
        return done
    assert checkpoints is not None
    store.finish(shard.name, done.to_json(), let_go=shard.name)
    checkpoints.remove()
    return None


def _narrower(encoding: Ink, before: Ink, progress: Progress, drawing: Drawing) -> bool:
    """Whether a phase begins here, in which ink may no longer lie where it may have lain."""
    assert encoding.size is not None
    now, then = (regions.mask(each.region, *encoding.size) for each in (encoding, before))
    begins = [phase.last for phase in drawing.phases].count(progress.generation) > 0
    return begins and bool((then & ~now).any())


def _resumed(
    shard: Shard, checkpoints: Checkpoints | None, record: Record, ledger: Ledger, beginning: Progress
) -> Progress:
    """Where the shard was left, with its record; the beginning, if that is nowhere."""
    if checkpoints is None or (progress := checkpoints.load(beginning)) is None:
        return beginning
    events = ledger.store.events(shard.name)
    if len(events) <= progress.generation:
        raise DamagedRunError(f"{shard.directory}: events of {shard.name} are missing; restore the run from a copy")
    record.recall(events[: progress.generation + 1])
    return progress


def _finished(
    shard: Shard,
    problem: Problem,
    last: Progress,
    record: Record,
    ledger: Ledger,
    encoding: Ink,
    started: float,
) -> Done:
    """Everything that is told of the runs, after what ink can go has gone."""
    judge, state = record.judge, last.state
    best = judge.best(state)
    each = torch.arange(len(best))
    masks, scores = genome.genes(state.genomes)[each, best], state.scores[each, best]
    reaches = judge.reaches(scores[:, None], masks[:, None])[:, 0]
    queries = ledger.needed.tolist()

    def goal(scores: Float[Tensor, "N K"], rows: Tensor) -> Bool[Tensor, " N"]:
        # The goals of drawing ask for scores only.
        return judge.reaches(scores[None], torch.ones(1, len(scores), 1, dtype=torch.bool))[0]

    shrunk = None
    if shard.shrink and bool(reaches.any()):
        shrunk = shrink(
            masks,
            scores,
            wanted=reaches,
            decode=lambda masks, rows: encoding.decode(masks[None])[0],
            holds=goal,
            slack=judge.slack,
            ledger=ledger,
            pairs=shard.pairs,
        )
    results, found = [], []
    for row, seed in enumerate(shard.seeds):
        first = record.reached.get(row)
        ended = None if bool(last.running[row]) else max(0, int(state.told[row]) - 1)
        until = last.generation if ended is None else ended
        curve = record.curve(until)
        rows = [measured for _, measured in curve]
        shrinking = None
        if shrunk is not None and bool(reaches[row]):
            left = judge.picture(shrunk.masks[row], shrunk.scores[row])
            shrinking = Shrinking(left, int(shrunk.minimal[row]), int(shrunk.queries[row]), shrunk.words(row))
        strip = [(g, Picture(**measured["pictures"][row])) for g, measured in curve[:-1] if "pictures" in measured]
        picture = judge.picture(masks[row], scores[row])
        drawn = Drawn(
            arm=shard.arm,
            classifier=shard.classifier,
            seed=seed,
            best=picture,
            reached=first[0] if first else None,
            at_goal=bool(reaches[row]),
            queries=first[1] if first else queries[row],
            ended=ended,
            generations=[generation for generation, _ in curve],
            confidence=[each["confidence"][row] for each in rows],
            ink=[each["ink"][row] for each in rows],
            fitness=[each["fitness"][row] for each in rows],
            steps=[each["steps"][row] for each in rows],
            strip=[*strip, (until, picture)],
            shrunk=shrinking,
            front=_front(judge, state, row),
            hypervolume=[each["hypervolume"][row] for each in rows if "hypervolume" in each],
            weight=[each["weight"][row] for each in rows if "weight" in each],
        )
        if bool(reaches[row]):
            final_mask = shrunk.masks[row] if shrunk is not None else masks[row]
            final_scores = shrunk.scores[row] if shrunk is not None else scores[row]
            image = encoding.decode(final_mask[None, None])[0, 0]
            if _confirmed(shard, row, image, ledger, judge):
                drawn = dataclasses.replace(drawn, confirmed=shard.confirm)
                found.append(_finding(shard, drawn, until, image, final_scores, judge))
        results.append(drawn)
    if shard.directory:
        return Done(results, found, time.perf_counter() - started)
    return Done(results, found, time.perf_counter() - started, ledger.store.counts(), ledger.store.padded())


def _front(judge: Judge, state: Any, row: int) -> list[Picture]:
    """What cannot be bettered in ink and confidence at once, by ink; of equals one, also of those rounded to equals."""
    if not isinstance(judge.drawing.algorithm, NSGA2):
        return []
    members = ranking.front(state.fitness[row : row + 1])[0].nonzero().flatten().tolist()
    masks = genome.genes(state.genomes)
    pictures = [judge.picture(masks[row, member], state.scores[row, member]) for member in members]
    found: list[Picture] = []
    for picture in sorted(pictures, key=lambda picture: (picture.ink, -picture.confidence)):
        if not found or picture.confidence > found[-1].confidence:
            found.append(picture)
    return found


def _confirmed(shard: Shard, row: int, image: Float[Tensor, "C H W"], ledger: Ledger, judge: Judge) -> bool:
    """Whether a drawing reaches the goal each time that it is asked about again."""
    if not shard.confirm:
        return True
    again = Ledger(
        ledger.classifier, searches=ledger.searches, budget=shard.budget, store=ledger.store, chain=ledger.chain
    )
    payer = torch.full((shard.confirm,), row)
    key = ("confirm", shard.seeds[row]) if shard.directory else ()
    answers = again.ask(image.expand(shard.confirm, -1, -1, -1), payer, key, fresh=True)
    return bool(judge.reaches(answers.scores[None], torch.ones(1, shard.confirm, 1, dtype=torch.bool)).all())


def _finding(
    shard: Shard,
    drawn: Drawn,
    generation: int,
    image: Float[Tensor, "C H W"],
    scores: Float[Tensor, " K"],
    judge: Judge,
) -> Shown:
    pixels = (image * 255).round().byte()
    seen = drawn.final.prediction  # at a boundary it may be another class than the wanted one
    return Shown(
        Finding(
            number=0,
            file="",
            sha256=rundir.image_hash(pixels),
            classifier=shard.classifier,
            seed=drawn.seed,
            arm=shard.arm,
            generation=generation,
            label=rundir.NO_LABEL,
            prediction=seen,
            confidence=round(float(objectives.probabilities(scores, judge.info)[seen]), 6),
            scores=[float(score) for score in scores],
            confirmed=shard.confirm,
        ),
        pixels,
    )


def blank(classifier: Classifier, drawing: Drawing, target: int, *, account: str, store: Store | None) -> Picture:
    """What a classifier says of the canvas without ink: one query on an account of its own."""
    height, width = classifier.info.image_shape[1:]
    encoding = drawing.encoding(drawing.phases[0], (height, width))
    mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
    ledger = Ledger(classifier, searches=[account], store=store, chain=account if store else "")
    answers = ledger.ask(encoding.decode(mask)[0], torch.zeros(1, dtype=torch.int64), ("blank",) if store else ())
    return Judge(drawing, target, classifier.info).picture(mask[0, 0], answers.scores[0])
