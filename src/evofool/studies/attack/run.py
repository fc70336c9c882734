"""Attacks what a plan says, keeps it in a run directory, and takes it up again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ... import pool as pools
from ... import recipes, runs
from ...contracts import Classifier
from ...executors.durable import books_of, carry_out
from ...executors.local import Tick
from ...pool import Pool
from ...rundir import Finding, RunDirectory
from ...runs import classifier_of
from ...store import Store
from .given import GIVEN, Config
from .planning import Plan, plan
from .results import Attacked, Results
from .shards import Done, run_shard

KIND = "attack"
SHOWN_GENES = 200


def head(plan: Plan, command: str) -> dict[str, Any]:
    """What run.json holds; see `runs.head`."""
    config = plan.config
    info = classifier_of(config.classifier, config.sources).info
    data = {"name": plan.chosen.dataset.name, "fingerprint": plan.chosen.fingerprint}
    return runs.head(KIND, command, runs.written(config), data, {config.classifier: info})


def reopen(path: Path, **how: Any) -> tuple[Plan, RunDirectory]:
    """Take up a run where it was left; see `runs.reopen`, which takes the same keywords."""
    return runs.reopen(path, Config, lambda config: [config.classifier], plan, head, **how)


@dataclass(frozen=True)
class Outcome:
    """Everything that an attack leaves behind.

    Attributes:
        results: the numbers, the same for any number of workers.
        pictures: by file name, bytes [C H W]: what fooled, the best attempts at the others, and the originals.
        findings: what fooled.
        seconds: of one core.
        pool: genes, of recipes that share.
    """

    results: Results
    pictures: dict[str, torch.Tensor]
    findings: list[Finding]
    seconds: float
    pool: Pool | None = None


def execute(
    plan: Plan,
    *,
    workers: int | None = None,
    command: str = "",
    on_tick: Tick | None = None,
    directory: RunDirectory | None = None,
) -> Outcome:
    """Attack.

    Args:
        plan: from `plan`.
        workers: processes; None = one for each processor. Of recipes that share one does it all.
        command: recorded as what repeats it.
        on_tick: called with the number of images that are over since the last call.
        directory: where the run is kept, so that it can be resumed; shards that it has finished are not run again.
    """
    store = directory.store if directory else None
    own = store or Store()
    done = carry_out(plan.shards, run_shard, Done.from_json, workers=workers, on_tick=on_tick, directory=directory)
    pool = _pool(done, directory)
    books = books_of(own, done, durable=store is not None)
    if done and all(result.distinct >= 0 for result in done):
        books["distinct"] = sum(result.distinct for result in done)
    classifier = classifier_of(plan.config.classifier, plan.config.sources)
    results, pictures, findings = told_of(plan, done, command, pool, books, classifier)
    return Outcome(results, pictures, findings, sum(result.seconds for result in done), pool)


def _pool(done: list[Done], directory: RunDirectory | None) -> Pool | None:
    if directory and (directory.path / pools.FILE).is_file():
        return pools.load(directory.path)
    return next((pools.from_bytes(result.pool) for result in done if result.pool), None)


def told_of(
    plan: Plan, done: list[Done], command: str, pool: Pool | None, books: dict[str, Any], classifier: Classifier
) -> tuple[Results, dict[str, torch.Tensor], list[Finding]]:
    """Numbers, pictures and findings of shards."""
    config, info = plan.config, plan.setting.info
    findings, pictures = runs.numbered(shown for result in done for shown in result.findings)
    images: list[Attacked] = []
    numbers = iter(findings)
    attempts = {shown.about.number: shown.image for result in done for shown in result.tries}
    for image in (image for result in done for image in result.images):
        original, file = f"originals/{image.number:05d}.png", ""
        pictures[original] = plan.chosen.dataset.images[image.number]
        if image.outcome == "fooled":
            file = next(numbers).file
        elif image.number in attempts:
            file = f"attempts/{image.number:05d}.png"
            pictures[file] = attempts[image.number]
        images.append(dataclasses.replace(image, original=original, adversarial=file))
    recipe = recipes.recipes()[config.recipe]
    left_out = {"options", "sources", "given"}
    genes = _genes(pool, plan, pictures) if pool is not None else None
    results = Results(
        command=command,
        config={name: value for name, value in dataclasses.asdict(config).items() if name not in left_out},
        versions=runs.versions(),
        classifier={
            "name": config.classifier,
            "given": config.given,
            "fingerprint": classifier.info.fingerprint,
            "image_shape": list(info.image_shape),
            "kind": info.kind,
            "preparation": info.preparation,
            "accuracy": info.accuracy,
        },
        class_names=list(info.class_names),
        recipe={
            "name": config.recipe,
            "about": recipe.about,
            "paper": recipe.paper,
            "arguments": dict(config.arguments),
            "shares": pool is not None,
        },
        norm=plan.setting.threat.norm,
        size=plan.setting.threat.size,
        limit=plan.setting.threat.described(),
        goal=_goal(config),
        targeted=config.target is not None,
        k=config.k,
        budget=config.budget,
        seed=config.seed,
        data={
            "name": plan.chosen.dataset.name,
            "fingerprint": plan.chosen.fingerprint,
            "labelled": plan.chosen.labelled,
            "brought": plan.chosen.brought,
            "first": config.first,
            "count": len(plan.chosen.dataset),
        },
        images=sorted(images, key=lambda image: image.number),
        pool=genes,
        ledger=books,
    )
    return results, pictures, findings


def _goal(config: Config) -> str:
    top = f", top {config.k}" if config.k > 1 else ""
    if config.target is None:
        return f"away from its class{top}"
    words = {
        "least-likely": "to the least likely class",
        "random": "to a random other class",
        GIVEN: "to a class given for each",
    }
    return words.get(config.target, f"to {config.target}") + top


def _genes(pool: Pool, plan: Plan, pictures: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What is told of a pool; the pictures of its genes are added to the others."""
    wins, tries = pool.wins.sum(1), pool.tries.sum(1)
    order = sorted(range(len(pool)), key=lambda gene: (-int(wins[gene]), int(tries[gene]), gene))
    shown = set(order[:SHOWN_GENES])
    rows = []
    for gene in range(len(pool)):
        file = ""
        if gene in shown:
            file = f"genes/{gene:05d}.png"
            pictures[file] = pools.picture(pool.genes[gene])
        rows.append(
            {
                "number": gene,
                "label": int(pool.labels[gene]),
                "prediction": int(pool.predictions[gene]),
                "queries": int(pool.queries[gene]),
                "wins": int(wins[gene]),
                "tries": int(tries[gene]),
                "file": file,
            }
        )
    return {"file": pools.FILE, "images": pool.images, "sha256": pools.fingerprint(pool), "genes": rows}


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
