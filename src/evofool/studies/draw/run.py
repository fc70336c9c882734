"""Draws a plan, keeps it in a run directory, and takes it up again."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ... import regions, runs
from ...executors.durable import books_of, carry_out
from ...executors.local import Tick, one_thread
from ...rundir import Finding, RunDirectory
from ...runs import classifier_of
from ...store import Store
from .planning import Config, Plan, plan
from .results import Results
from .shards import Done, blank, run_shard

KIND = "draw"


def head(plan: Plan, command: str) -> dict[str, Any]:
    """What run.json holds; see `runs.head`."""
    config = plan.config
    info = classifier_of(config.classifier, config.sources).info
    return runs.head(KIND, command, runs.written(config), _masks(plan), {config.classifier: info}, plan.variant)


def _masks(plan: Plan) -> dict[str, str]:
    """What stands in the files that regions name, so that a resumed run keeps to them."""
    named = [phase.region for phase in plan.drawing.phases if "mask:" in phase.region]
    digest = hashlib.sha256()
    for region in named:
        digest.update(regions.mask(region, *plan.arm.size).numpy().tobytes())
    return {"name": " and ".join(named), "fingerprint": digest.hexdigest()} if named else {}


def reopen(path: Path, **how: Any) -> tuple[Plan, RunDirectory]:
    """Take up a run where it was left; see `runs.reopen`, which takes the same keywords."""
    return runs.reopen(path, Config, lambda config: [config.classifier], plan, head, **how)


@dataclass(frozen=True)
class Outcome:
    """Everything that drawing leaves behind.

    Attributes:
        results: the numbers, the same for any number of workers.
        pictures: of the findings by file name, bytes [C H W].
        findings: the drawings that reached their goal.
        seconds: of one core.
    """

    results: Results
    pictures: dict[str, torch.Tensor]
    findings: list[Finding]
    seconds: float


def execute(
    plan: Plan,
    *,
    workers: int | None = None,
    command: str = "",
    on_tick: Tick | None = None,
    directory: RunDirectory | None = None,
) -> Outcome:
    """Draw.

    Args:
        plan: from `plan`.
        workers: processes; None = one for each processor.
        command: recorded as what repeats it.
        on_tick: called with the number of drawings made since the last call.
        directory: where the run is kept, so that it can be resumed; shards that it has finished are not run again.
    """
    config = plan.config
    store = directory.store if directory else None
    own = store or Store()
    with one_thread():
        classifier = classifier_of(config.classifier, config.sources)
        shown = plan.variant.apply(classifier)
        account = f"blank canvas/{config.classifier}"
        empty = blank(shown, plan.drawing, plan.target, account=account, store=own)
    done = carry_out(plan.shards, run_shard, Done.from_json, workers=workers, on_tick=on_tick, directory=directory)
    findings, pictures = runs.numbered(shown for result in done for shown in result.findings)
    drawn = [run for result in done for run in result.runs]
    card = dict(getattr(classifier, "card", None) or {})
    info = plan.info
    about = {
        "name": config.classifier,
        "given": config.given,
        "fingerprint": classifier.info.fingerprint,
        "image_shape": list(info.image_shape),
        "preparation": info.preparation,
        "accuracy": info.accuracy,
        "balanced accuracy": card.get("balanced_accuracy"),
        "variant": plan.variant.name,
    }
    left_out = {"options", "sources", "given", "side_by_side"}
    results = Results(
        command=command,
        config={name: value for name, value in dataclasses.asdict(config).items() if name not in left_out},
        versions=runs.versions(),
        classifier=about,
        class_names=list(info.class_names),
        target=plan.target,
        blank=empty,
        arms=[plan.arm],
        runs=drawn,
        ledger=books_of(own, done, durable=store is not None),
    )
    return Outcome(results, pictures, findings, sum(result.seconds for result in done))


def keep(outcome: Outcome, directory: RunDirectory) -> None:
    """Write the numbers and pictures of a finished run into its directory; the pictures are what was sent.

    Raises:
        UserError: the disk refuses.
    """
    runs.save(
        directory,
        pictures=outcome.pictures,
        findings=outcome.findings,
        timings={"seconds of one core": round(outcome.seconds, 3)},
        numbers=outcome.results.to_json(),
    )
