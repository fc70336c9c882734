"""Runs a plan over seeds and classifiers, keeps it in a run directory, and takes it up again."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ... import runs
from ...classifiers.support.sources import recorded
from ...doctor import examine
from ...errors import ClassifierWarning
from ...executors.durable import books_of, carry_out
from ...executors.local import Tick, one_thread
from ...rundir import Finding, RunDirectory
from ...store import Store
from . import measure
from .planning import Config, Plan, classifier_of, plan
from .results import Results, Target
from .shards import Done, run_shard

KIND = "operators"
TESTED_REMOTE = 100  # test images that an endpoint or a command is asked about; a model here is asked about all
EXAMINED = 32  # queries that the doctor may ask of a classifier before a study; its test images are asked anyway


def target(name: str, plan: Plan, store: Store | None = None) -> Target:
    """A classifier's own report on the images that the populations are drawn from, and what to mind about it.

    Args:
        name: of the classifier.
        plan: it belongs to.
        store: the books of a run, where the report is kept and taken from when it is asked for again.
    """
    chain = f"test images of {name}"
    if store and chain in store.finished():
        return Target(**store.result(chain))
    classifier, dataset = classifier_of(name, plan.config.sources), plan.dataset
    asked = torch.arange(len(dataset))
    if classifier.info.remote:  # where each costs something, fewer have to do
        asked = torch.linspace(0, len(dataset) - 1, min(TESTED_REMOTE, len(dataset))).long()
    scores = measure.ask(
        classifier,
        dataset.images[asked].float() / 255,
        account=f"test images/{name}",
        store=store,
        chain=chain,
        key=("all",),
    )
    table = measure.confusion(
        dataset.labels[asked][None].long(), measure.predictions(scores)[None], len(classifier.info.class_names)
    )
    accuracy = float(measure.macro(table)[0][0])
    diagnosis = examine(classifier, dataset, queries=EXAMINED, store=store, account=f"doctor/{name}", throughput=False)
    flags = {finding.flag.value: finding.seen for finding in diagnosis.findings}
    for flag, seen in flags.items():
        warnings.warn(f"{name}: {flag}: {seen}", ClassifierWarning, stacklevel=2)
    source = plan.config.sources.get(name)
    card = dict(getattr(classifier, "card", None) or (recorded(source) if source else {}))
    found = Target(name, classifier.info.fingerprint, round(accuracy, 6), table[0].tolist(), card, flags)
    if store:
        store.finish(chain, dataclasses.asdict(found), let_go=chain)
    return found


# What a run directory has to agree with ---------------------------------------------------------------------------


def head(plan: Plan, command: str) -> dict[str, Any]:
    """What run.json holds; see `runs.head`."""
    config = plan.config
    infos = {name: classifier_of(name, config.sources).info for name in _used(config)}
    data = {"name": plan.dataset.name, "fingerprint": plan.dataset.fingerprint}
    return runs.head(KIND, command, runs.written(config), data, infos)


def _used(config: Config) -> list[str]:
    """The classifiers that it has loaded."""
    return [*config.classifiers, *([config.judge] if config.judge and "judge" in config.parts else [])]


def reopen(path: Path, **how: Any) -> tuple[Plan, RunDirectory]:
    """Take up a run where it was left; see `runs.reopen`, which takes the same keywords."""
    return runs.reopen(path, Config, _used, plan, head, **how)


@dataclass(frozen=True)
class Outcome:
    """Everything a study leaves behind.

    Attributes:
        results: the numbers, the same for any number of workers.
        sheets: pictures by file name, bytes [C H W].
        findings: what fooled; their images are among the pictures.
        seconds: how long each arm took, summed over seeds and classifiers.
    """

    results: Results
    sheets: dict[str, torch.Tensor]
    findings: list[Finding]
    seconds: dict[str, float]


def execute(
    plan: Plan,
    *,
    workers: int | None = None,
    command: str = "",
    on_tick: Tick | None = None,
    directory: RunDirectory | None = None,
) -> Outcome:
    """Run a plan.

    Args:
        plan: from `plan`.
        workers: processes; None = one for each processor.
        command: recorded as what repeats the study.
        on_tick: called with the number of images asked since the last call.
        directory: where the run is kept, so that it can be resumed; shards that it has finished are not run again.
    """
    config = plan.config
    store = directory.store if directory else None
    with one_thread():  # as in the workers: the same sums in the same order
        own = store or Store()
        targets = [target(name, plan, own) for name in config.classifiers]
        judge = target(config.judge, plan, own) if config.judge and "judge" in config.parts else None
    done: list[Done] = carry_out(
        plan.shards, run_shard, Done.from_json, workers=workers, on_tick=on_tick, directory=directory
    )
    seconds: dict[str, float] = {}
    for shard, result in zip(plan.shards, done, strict=True):
        seconds[shard.scenario.arm.name] = seconds.get(shard.scenario.arm.name, 0.0) + result.seconds
    galleries = [result.gallery for result in done if result.gallery]
    findings, pictures = runs.numbered(shown for result in done for shown in result.findings)
    sheets = {**{shown.about.file: shown.image for shown in galleries}, **pictures}
    infos = {name: classifier_of(name, config.sources).info for name in config.classifiers}
    results = Results(
        command=command,
        config={
            "data": config.data,
            "classifiers": list(config.classifiers),
            "judge": config.judge if "judge" in config.parts else "",
            "seeds": list(range(config.seeds)),
            "parts": list(config.parts),
            "scenarios": list(config.names),
            "settings": {name: list(values) for name, values in config.settings.items()},
            "budget": plan.shards[0].budget,
            "cache": config.cache,
            "confirm": config.confirm,
            "threads": 1,
            "micro_batch": {name: info.micro_batch for name, info in infos.items()},
            "memory_format": {name: info.memory_format for name, info in infos.items()},
        },
        versions=runs.versions(),
        data={"name": plan.dataset.name, "fingerprint": plan.dataset.fingerprint, "count": len(plan.dataset)},
        class_names=list(plan.dataset.class_names),
        targets=targets,
        judge=judge,
        arms=[scenario.described() for scenario in plan.scenarios],
        runs=[run for result in done for run in result.runs],
        galleries=[shown.about for shown in galleries],
        ledger=books_of(own, done, durable=store is not None),
    )
    return Outcome(results, sheets, findings, seconds)


def keep(outcome: Outcome, directory: RunDirectory) -> None:
    """Write the numbers and pictures of a finished study into its directory; the pictures are what was sent.

    Raises:
        UserError: the disk refuses.
    """
    runs.save(
        directory,
        pictures=outcome.sheets,
        findings=outcome.findings,
        timings={"seconds of one core by arm": {arm: round(spent, 3) for arm, spent in outcome.seconds.items()}},
        numbers=outcome.results.to_json(),
    )
