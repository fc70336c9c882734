"""A small durable search program, as other people would write one: started again, it goes on where it was.

    python torture/searcher.py RUN [--config JSON]

Every algorithm found in `evofool.algorithms` runs, the genetic one with several sets of operators: one arm each, one
chain of answers each. What a run leaves that has to be the same after any number of kills is what `reading` gives.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import hashlib
import importlib
import json
import os
import pkgutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evofool.executors.local import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch is loaded

import safetensors.torch
import torch

import evofool.algorithms
from evofool import checkpoint, criteria, genome, objectives, rundir, search
from evofool.algorithms.ga import GeneticAlgorithm
from evofool.classifiers.fake import Linear
from evofool.contracts import Classifier, Evaluated, Status
from evofool.encodings.pixels import Pixels
from evofool.errors import DamagedRunError, EvofoolError
from evofool.files import write_bytes, write_png
from evofool.genome import Labelled
from evofool.ledger import Ledger
from evofool.rng import Stream, search_id
from evofool.rundir import Finding, RunDirectory
from evofool.spec import op
from evofool.store import Store


@dataclass(frozen=True)
class Config:
    """What a run does.

    Attributes:
        arms: names from `arms()`.
        searches: side by side in each arm.
        population, generations: of each search.
        side: edge of the images, in pixels.
        seed: of the first search; the others follow.
        budget: most rows of a search.
        total: most rows of the run.
        every: seconds between two checkpoints; 0 = each generation.
        pause: seconds that the classifier takes for a call.
        metered: the classifier gets requests of `micro_batch` rows, unpadded, `concurrency` at a time.
        micro_batch: rows in a call.
        concurrency: requests at a time, where it is metered.
        cache: answer repeats from the cache.
        workers: processes that share the arms; 0 = this one does everything.
        planted: charge after sending, which is the mistake that the torture has to catch.
    """

    arms: tuple[str, ...] = ("ga tournament single_point swap",)
    searches: int = 2
    population: int = 8
    generations: int = 12
    side: int = 6
    seed: int = 0
    budget: int | None = None
    total: int | None = None
    every: float = 0.0
    pause: float = 0.0
    metered: bool = False
    micro_batch: int = 7
    concurrency: int = 1
    cache: bool = True
    workers: int = 0
    planted: bool = False

    def as_json(self) -> dict[str, Any]:
        """For run.json."""
        return dataclasses.asdict(self)

    @staticmethod
    def of(values: dict[str, Any]) -> Config:
        """From run.json."""
        return Config(**{**values, "arms": tuple(values["arms"])})


MakeClassifier = Callable[[Config, str], Classifier]


@functools.cache
def arms() -> dict[str, Any]:
    """Every algorithm of the package by name, the genetic one once for each of several sets of operators."""
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(evofool.algorithms.__path__):
        example = getattr(importlib.import_module(f"evofool.algorithms.{module.name}"), "example", None)
        if example is not None and not hasattr(example(), "encoding"):  # attacks begin from images of their own
            found[module.name] = example()
    sets = [
        ("tournament single_point swap", {"selection": op("selection.tournament", size=3)}),
        (
            "roulette arithmetic inversion",
            {
                "selection": op("selection.fitness_proportionate", baseline="worst"),
                "crossover": op("crossover.arithmetic"),
                "mutation": op("mutation.inversion"),
            },
        ),
        ("ranking elitist", {"selection": op("selection.linear_ranking"), "elites": 2}),
        ("random truncation", {"selection": op("selection.random"), "survival": op("survival.truncation")}),
        ("shuffled by label", {"selection": op("selection.shuffled"), "mating": "label", "label_rule": "first"}),
        ("mutation only", {"mating": "self", "p_mutation": 1.0}),
        # Copies are asked again: this one lives on the cache.
        ("copies", {"p_crossover": 0.1, "p_mutation": 0.3}),
    ]
    return found | {f"ga {name}": GeneticAlgorithm(**settings) for name, settings in sets}


def local(config: Config, _: str) -> Classifier:
    """A linear classifier on this machine; it takes its time where the configuration says so."""
    weight = Stream([99] * 5, list(range(5)))["weight"].uniform(1, config.side, config.side) - 0.5
    classifier = Linear(4 * weight, micro_batch=config.micro_batch)
    info = dataclasses.replace(classifier.info, metered=config.metered, concurrency=config.concurrency)
    return Slow(classifier, info, config.pause)


class Slow:
    """Passes everything on after a pause, and counts rows.

    Attributes:
        calls, rows: what it was asked, padding included.
    """

    def __init__(self, classifier: Classifier, info: Any, pause: float):
        self.info, self._classifier, self._pause = info, classifier, pause
        self.calls = self.rows = 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.rows += len(images)
        if self._pause:
            time.sleep(self._pause)
        return self._classifier(images)


def problem(config: Config, arm: str) -> search.Problem:
    """What the searches of an arm start from: the same for all arms."""
    seeds = [config.seed + row for row in range(config.searches)]
    first = Stream(seeds, [search_id("first")] * len(seeds))
    images = (first["images"].uniform(config.population, 1, config.side, config.side) * 255).round() / 255
    label = first["labels"].integers(5, config.population)
    ancestor = torch.arange(config.population).expand(len(seeds), -1).clone()
    return search.Problem(Labelled(images, label, ancestor), Stream(seeds, [search_id(arm)] * len(seeds)))


def fingerprint(state: Any, row: int) -> str:
    """SHA-256 of where one search stands: every tensor of its state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(checkpoint.flat(state, "state").items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor[row].shape)}\n".encode())
        digest.update(tensor[row].contiguous().numpy().tobytes())
    return digest.hexdigest()


def run_arm(
    store: Store | None,
    path: Path | None,
    config: Config,
    arm: str,
    *,
    make: MakeClassifier = local,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    watch: Callable[[search.Progress], None] | None = None,
) -> dict[str, Any]:
    """Run one arm to its end, from wherever it is.

    Args:
        store, path: of the run directory; None = in memory, without checkpoints.
        config, arm: what to run.
        make: makes the classifier.
        sleep: waits between two tries.
        clock: of the checkpoints.
        watch: called after each generation.

    Returns:
        What is stored as the result of the arm.
    """
    classifier = make(config, arm)
    names = [f"{arm}/{config.seed + row}" for row in range(config.searches)]
    kind = Late if config.planted else Ledger
    ledger = kind(
        classifier,
        searches=names,
        budget=config.budget,
        total=config.total,
        cache=config.cache,
        store=store,
        chain=arm,
        sleep=sleep,
    )
    begin, algorithm = problem(config, arm), arms()[arm]
    progress = search.start(begin, algorithm)
    checkpoints = None
    if path is not None:
        checkpoints = checkpoint.Checkpoints(path / "state", arm, ledger, every=config.every, clock=clock)
        progress = _loaded(checkpoints, progress, begin, algorithm)
    before = progress.running

    def on_generation(now: search.Progress, evaluated: Evaluated) -> None:
        nonlocal before
        told = (evaluated.status != Status.UNSENT).all(1)
        active = before.nonzero().flatten()
        if store is not None:
            store.record(arm, now.generation, _event(now, active[told].tolist()))
        before = now.running
        if checkpoints is not None:
            checkpoints(lambda: now)
        if watch is not None:
            watch(now)

    last = search.run(
        begin,
        algorithm=algorithm,
        encoding=Pixels(),
        objective=objectives.true_class_probability,
        criterion=criteria.misclassified,
        ledger=ledger,
        generations=config.generations,
        on_generation=on_generation,
        progress=progress,
    )
    result = _result(last, config, arm, ledger.classifier.info.name)
    if store is not None and checkpoints is not None:
        store.finish(arm, result, let_go=None if config.budget or config.total else arm)
        checkpoints.remove()
    return result


def _loaded(
    checkpoints: checkpoint.Checkpoints, progress: search.Progress, begin: search.Problem, algorithm: Any
) -> search.Progress:
    """Where a search stands; the layout of a state that was told may differ from one that was not."""
    return checkpoints.load(progress) or progress


def _event(now: search.Progress, told: list[int]) -> dict[str, Any]:
    """What happened to the searches that went on."""
    return {
        "generation": now.generation,
        "searches": {str(row): [fingerprint(now.state, row), bool(now.success[row])] for row in told},
    }


def _result(last: search.Progress, config: Config, arm: str, classifier: str) -> dict[str, Any]:
    """Final populations, and one finding of each search that has one, with its image: all that files are made from."""
    found, pictures = [], {}
    genomes, scores = last.state.genomes, last.state.scores
    images = Pixels().decode(genomes, None)
    for row in range(config.searches):
        labels = genome.labels(genomes, None)[row]
        answered = ~scores[row].isnan().any(1) if scores.shape[2] else torch.zeros(len(labels), dtype=torch.bool)
        fooled = (answered & (scores[row].argmax(1) != labels)).nonzero().flatten().tolist() if len(scores) else []
        if not fooled:
            continue
        best = min(fooled, key=lambda member: float(last.state.fitness[row, member].nan_to_num(9.0)))
        image = (images[row, best] * 255).round().byte()
        name = f"images/{hashlib.sha256(arm.encode()).hexdigest()[:8]}-{config.seed + row}.png"
        answer = scores[row, best]
        found.append(
            {
                "file": name,
                "sha256": rundir.image_hash(image),
                "classifier": classifier,
                "seed": config.seed + row,
                "arm": arm,
                "generation": last.generation,
                "label": int(labels[best]),
                "prediction": int(answer.argmax()),
                "confidence": round(float(answer.double().softmax(0).max()), 6),
                "scores": answer.tolist(),
            }
        )
        pictures[name] = image.tolist()
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.flat(last.state, "state").items()}
    return {
        "searches": [fingerprint(last.state, row) for row in range(config.searches)],
        "state": safetensors.torch.save(tensors).hex(),
        "findings": found,
        "pictures": pictures,
    }


def write_files(path: Path, results: dict[str, dict[str, Any]]) -> None:
    """Everything that a finished run holds beside its ledger, from what the ledger holds."""
    found = [entry for result in results.values() for entry in result["findings"]]
    for arm, result in results.items():
        write_bytes(path / "final" / f"{arm}.safetensors", bytes.fromhex(result["state"]))
        for name, levels in result["pictures"].items():
            write_png(path / name, torch.tensor(levels, dtype=torch.uint8))
    rundir.write_findings(path, [Finding(number, **entry) for number, entry in enumerate(found, 1)])


class Late(Ledger):
    """A planted mistake: the charge is written with the answers, in one transaction, after sending."""

    def _open(self, request: Any) -> int:
        return 0

    def _send(self, batch: Any, request: Any, held: list[int]) -> Any:
        done = super()._send(batch, request, held)
        with self.store.transaction():
            request.attempt = super()._open(request)
        return done


# The program ----------------------------------------------------------------------------------------------------


def go(
    path: Path,
    config: Config | None = None,
    *,
    make: MakeClassifier = local,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    watch: Callable[[search.Progress], None] | None = None,
) -> RunDirectory:
    """Begin a run, or go on with it, until it is closed.

    Args:
        path: the run directory.
        config: of a new run; one that is there keeps its own.
        make, sleep, clock, watch: see `run_arm`.
    """
    torch.set_num_threads(1)
    begun = (path / "run.json").is_file()
    if begun:
        config = Config.of(rundir.read_run(path)["config"])
    config = config or Config()
    # Workers are born before the books are open: SQLite does not survive a fork.
    crew = [Worker(path, config, number, make, sleep) for number in range(config.workers)]
    try:
        head = {"kind": "torture", "config": config.as_json()}
        run = RunDirectory.open(path) if begun else RunDirectory.create(path, head)
        try:
            for worker in crew:
                worker.begin()
            for worker in crew:
                worker.end()
            for arm in config.arms if not crew else ():
                if arm not in run.store.finished():
                    run_arm(run.store, path, config, arm, make=make, sleep=sleep, clock=clock, watch=watch)
            write_files(path, {arm: run.store.result(arm) for arm in config.arms})
            run.close()
        except BaseException:
            for worker in crew:
                worker.kill()
            run.abandon()
            raise
        return run
    finally:
        for worker in crew:
            worker.kill()


class Worker:
    """A process that runs some of the arms; it dies with the one that started it."""

    def __init__(self, path: Path, config: Config, number: int, make: MakeClassifier, sleep: Callable[[float], None]):
        heard, said = os.pipe()
        parent = os.getpid()
        self.pid: int | None = os.fork()
        if self.pid:
            os.close(heard)
            self._said = said
            return
        try:
            os.close(said)
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            if os.getppid() == parent and os.read(heard, 1):
                mine = config.arms[number :: config.workers]
                store = rundir.join(path)
                done = store.finished()
                for arm in mine:
                    if arm not in done:
                        run_arm(store, path, config, arm, make=make, sleep=sleep)
                store.close()
            os._exit(0)
        except EvofoolError as error:
            print(f"evofool: {error}", file=sys.stderr, flush=True)
            os._exit(error.exit_code)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    def begin(self) -> None:
        """The books are open."""
        os.write(self._said, b"!")

    def end(self) -> None:
        """Wait until it has done its part.

        Raises:
            EvofoolError: it failed, or died.
        """
        assert self.pid
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = None
        if code:
            error = EvofoolError(f"a worker ended with {code}")
            error.exit_code = code if code > 0 else 1
            raise error

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = None
        if self._said >= 0:
            os.close(self._said)
            self._said = -1


def reading(path: Path, *, answers: bool = True) -> dict[str, Any]:
    """Everything that a run says, its counts apart, as JSON could hold it; a closed run as well as a killed one.

    Args:
        path: the run directory; it is only read.
        answers: with what is stored of them.
    """
    run = rundir.read_run(path)
    config = Config.of(run["config"])
    found = rundir.findings(path)
    said: dict[str, Any] = {
        "run": run,
        "findings": [dataclasses.asdict(finding) for finding in found],
        "images": [rundir.image_of(path, finding).flatten().tolist() for finding in found],
        "final": {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted((path / "final").glob("*"))
        },
    }
    store = Store(path / "ledger.sqlite")
    try:
        said["results"] = {name: store.result(name) for name in sorted(store.finished())}
        said["events"] = {arm: store.events(arm) for arm in config.arms}
        said["counts"] = {"accounts": store.counts(), "padded": store.padded()}
        said["sessions"] = store.sessions()
        if answers:
            said["batches"] = {arm: _batches(store, arm) for arm in config.arms}
    finally:
        store.abandon()
    return said


def _batches(store: Store, arm: str) -> list[str]:
    """What is stored of the answers of an arm; what was let go is known by its hash."""
    said = []
    if arm in store.finished():
        return [str(store.length(arm))]
    for batch in store.batches(arm, store.length(arm)):
        said.append(hashlib.sha256(batch.pack()).hexdigest())
    return said


def main() -> int:
    """The program: exit codes and one line for each expected error, as the command line has them."""
    path, options = Path(sys.argv[1]), sys.argv[2:]
    config = Config.of(json.loads(options[1])) if options[:1] == ["--config"] else None
    if rundir.closed(path):
        return 0
    try:
        go(path, config)
    except EvofoolError as error:
        print(f"evofool: {error}", file=sys.stderr)
        return error.exit_code
    return 0


__all__ = ["Config", "DamagedRunError", "arms", "go", "local", "main", "reading", "run_arm"]

if __name__ == "__main__":
    sys.exit(main())
