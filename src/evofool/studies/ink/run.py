"""Runs an ink study, keeps it in a run directory, and takes it up again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ... import runs
from ...errors import ClassifierError
from ...executors.durable import books_of, carry_out
from ...executors.local import Tick, one_thread
from ...regions import EVERYWHERE
from ...rundir import Finding, RunDirectory
from ...runs import classifier_of
from ...store import Store
from ...variants import Variant, padding_of
from ..draw.shards import Done, Shard, run_shard
from . import arms, tasks
from .arms import Network
from .planning import Config, Plan, plan
from .results import Accuracy, DarkRing, Results
from .tasks import MapDone, MapTask

KIND = "ink"


def head(plan: Plan, command: str) -> dict[str, Any]:
    """What run.json holds; see `runs.head`."""
    config = plan.config
    infos = {name: classifier_of(name, config.sources).info for name in (config.classifier, *config.others)}
    data = {"name": plan.training.name, "fingerprint": plan.training.fingerprint} if plan.training else {}
    return runs.head(KIND, command, runs.written(config), data, infos)


def reopen(path: Path, **how: Any) -> tuple[Plan, RunDirectory]:
    """Take up a run where it was left; see `runs.reopen`, which takes the same keywords."""
    return runs.reopen(path, Config, lambda config: [config.classifier, *config.others], plan, head, **how)


@dataclass(frozen=True)
class Outcome:
    """Everything that a study leaves behind.

    Attributes:
        results: the numbers, the same for any number of workers.
        pictures: of the findings by file name, bytes [C H W].
        findings: the drawings that reached their goal on the network that is explained, as it is.
        seconds: of one core, by part.
    """

    results: Results
    pictures: dict[str, torch.Tensor]
    findings: list[Finding]
    seconds: dict[str, float]


def perform(task: Shard | MapTask, tick: Tick) -> Any:
    """One task, in a worker."""
    return task.run(tick) if isinstance(task, MapTask) else run_shard(task, tick)


def came_of(raw: Any) -> Done | MapDone:
    """What a task wrote."""
    return MapDone.from_json(raw) if isinstance(raw, dict) and "map" in raw else Done.from_json(raw)


def execute(
    plan: Plan,
    *,
    workers: int | None = None,
    command: str = "",
    on_tick: Tick | None = None,
    directory: RunDirectory | None = None,
) -> Outcome:
    """Run a study.

    Args:
        plan: from `plan`.
        workers: processes; None = one for each processor.
        command: recorded as what repeats it.
        on_tick: called with the number of images made since the last call.
        directory: where the run is kept, so that it can be resumed; tasks that it has finished are not run again.
    """
    store = directory.store if directory else None
    own = store or Store()
    shards = plan.shards
    all_done = carry_out(shards, perform, came_of, workers=workers, on_tick=on_tick, directory=directory)
    found = list(zip(shards, all_done, strict=True))
    drawn = [done for done in all_done if isinstance(done, Done)]
    maps = {task.name: done.map for task, done in found if isinstance(done, MapDone)}
    with one_thread():
        accuracies = _accuracies(plan, own)
        shown = _transfer(plan, drawn, own)
        size = plan.question.first.size
        linkage = tasks.linkage(size) if "operators" in {arm.part for arm in plan.planned} else []
    dark: list[DarkRing] = []
    lean = None
    if plan.training is not None:
        dark, lean = tasks.dark_rings(plan.training, plan.target, plan.question.canvas, plan.question.ink)
    plain = [done for task, done in found if isinstance(done, Done) and task.variant == Variant()]
    findings, pictures = runs.numbered(each for done in plain for each in done.findings)
    parts = {arm.name: arm.part for arm in plan.planned}
    seconds: dict[str, float] = {}
    for task, done in found:
        part = parts[task.arm] if isinstance(task, Shard) else "landscape"
        seconds[part] = seconds.get(part, 0.0) + done.seconds
    config = plan.config
    left_out = {"options", "sources", "said", "side_by_side"}
    written = {name: value for name, value in dataclasses.asdict(config).items() if name not in left_out}
    order = {name: number for number, name in enumerate(parts)}
    every = sorted((run for done in drawn for run in done.runs), key=lambda run: (order[run.arm], run.seed))
    results = Results(
        command=command,
        quick=config.quick,
        config={**written, "lengths": plan.question.lengths._asdict(), "tested": plan.test.about if plan.test else ""},
        versions=runs.versions(),
        data=_data(plan),
        classifiers=[_about(network, plan) for network in plan.networks],
        class_names=list(classifier_of(config.classifier, config.sources).info.class_names),
        target=plan.target,
        base=arms.BASE,
        arms=plan.reported(),
        runs=every,
        maps=[maps[task.name] for task in plan.maps],
        accuracies=accuracies,
        dark=dark,
        lean=lean,
        transfer=shown,
        linkage=linkage,
        skipped=plan.skipped,
        ledger=books_of(own, all_done, durable=store is not None),
    )
    return Outcome(results, pictures, findings, seconds)


def _data(plan: Plan) -> dict[str, Any]:
    if plan.training is None:
        return {}
    return {"name": plan.training.name, "fingerprint": plan.training.fingerprint, "count": len(plan.training)}


def _about(network: Network, plan: Plan) -> dict[str, Any]:
    classifier = classifier_of(network.name, plan.config.sources)
    card = dict(getattr(classifier, "card", None) or {})
    return {
        "name": network.name,
        "label": network.label,
        "given": plan.config.said.get(network.name, network.name),
        "fingerprint": classifier.info.fingerprint,
        "architecture": card.get("architecture", ""),
        "arguments": card.get("arguments", {}),
        "epochs": card.get("epochs"),
        "padding": network.padding,
        "preparation": classifier.info.preparation,
        "accuracy": classifier.info.accuracy,
        "balanced": card.get("balanced_accuracy"),
    }


def _accuracies(plan: Plan, store: Store) -> list[Accuracy]:
    """Of each network, as it stands in an arm, on the test images; without any, which layers were changed."""
    found = []
    for name, variant in plan.tested:
        classifier = classifier_of(name, plan.config.sources)
        changed, skipped = _layers(classifier, variant)
        if plan.test is None:
            found += [Accuracy(name, variant.name, 0.0, 0.0, 0, changed, skipped)] if variant.padding else []
            continue
        account = f"test images of {' '.join(filter(None, (name, variant.name)))}"
        shares = tasks.accuracy(
            variant.apply(classifier),
            plan.test.images,
            plan.test.labels,
            plan.target,
            account=account,
            store=store,
        )
        found.append(Accuracy(name, variant.name, *shares, len(plan.test.images), changed, skipped))
    return found


def _layers(classifier: Any, variant: Variant) -> tuple[list[str], list[str]]:
    """Which layers a swap has changed, and which not, and why."""
    if not variant.padding:
        return [], []
    try:
        swapped = padding_of(classifier, variant.padding)
    except ClassifierError as error:
        return [], [str(error)]
    changed = [f"{layer.name} ({layer.about})" for layer in swapped.changed]
    return changed, [f"{layer.name} ({layer.about}): {layer.why}" for layer in swapped.skipped]


def _transfer(plan: Plan, drawn: list[Done], store: Store) -> list[Any]:
    """The drawings of the arm that all is compared with, shown otherwise; also those that fell short of their goal."""
    if "transfer" not in set(plan.config.parts or arms.PARTS):
        return []
    sources = plan.config.sources
    ran = [run for done in drawn for run in done.runs if run.arm == arms.BASE and run.final.places]
    encoding = plan.question.way().encoding(arms.Phase(EVERYWHERE), plan.question.first.size)
    return tasks.transfer(
        sorted(ran, key=lambda run: run.seed),
        classifier_of(plan.config.classifier, sources),
        {label: (classifier_of(name, sources), number) for name, (label, number) in plan.transferred.items()},
        plan.target,
        encoding,
        store=store,
    )


def keep(outcome: Outcome, directory: RunDirectory) -> None:
    """Write the numbers and pictures of a finished study into its directory.

    Raises:
        UserError: the disk refuses.
    """
    runs.save(
        directory,
        pictures=outcome.pictures,
        findings=outcome.findings,
        timings={"seconds of one core by part": {part: round(spent, 3) for part, spent in outcome.seconds.items()}},
        numbers=outcome.results.to_json(),
    )
