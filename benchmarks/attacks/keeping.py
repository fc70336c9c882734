"""The images to attack, and a run directory with what came of them: of the kind that `evofool attack` writes.

So `evofool verify`, `replay` and `compare` read it. A peer cannot go on where it was stopped: a run is written when it
has come to its end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from evofool import objectives, rundir, runs
from evofool.classifiers.support.settings import Settings
from evofool.classifiers.support.sources import recorded, require_trust
from evofool.contracts import Classifier
from evofool.encodings.perturbation import distance
from evofool.errors import UserError
from evofool.evasion import image_ids
from evofool.files import read_png
from evofool.ledger import Ledger
from evofool.reports import attack as report
from evofool.rundir import NO_LABEL, Finding, RunDirectory, image_hash
from evofool.shapes import Int, Tensor, UInt8
from evofool.studies.attack.given import Config, goal_of, wanted
from evofool.studies.attack.planning import plan
from evofool.studies.attack.results import Attacked, Results, load
from evofool.studies.attack.run import KIND
from evofool.studies.attack.shards import account
from evofool.threat import Goal, Threat

from .peers import Peer
from .trial import Aim, Trial


@dataclass(frozen=True)
class Question:
    """What peers are asked to do.

    Attributes:
        classifier: to be fooled.
        name, source, given: of it: in the run, how it is loaded again (None = by its name), and as the user said it.
        images, labels, names: what is attacked, bytes [N C H W].
        targets: [N], the classes to get to; None = to any other.
        data: as in `Results`.
        threat, goal, words: the limit, what counts as success, and that in words.
        budget: the most queries of one image, the one for the image as it is included.
        seed: of what peers draw.
        floats: images are sent as they come; see `door`.
    """

    classifier: Classifier
    name: str
    source: Settings | None
    given: str
    images: UInt8[Tensor, "N C H W"]
    labels: Int[Tensor, " N"]
    names: list[str]
    targets: Int[Tensor, " N"] | None
    data: dict[str, Any]
    threat: Threat
    goal: Goal
    words: str
    budget: int
    seed: int = 0
    floats: bool = False

    @property
    def aim(self) -> Aim:
        """The same for a trial."""
        accounts = [account(number) for number in range(len(self.images))]
        return Aim(self.images.float() / 255, self.labels, self.targets, self.threat, self.goal, self.budget, accounts,
                   self.floats)  # fmt: skip


def asked(config: Config, *, floats: bool = False) -> Question:
    """The question that `evofool attack` would answer with this configuration; its recipe does not matter.

    Raises:
        UserError: whatever is wrong with it.
    """
    made = plan(replace(config, recipe="random", arguments={}))
    config, data = made.config, made.chosen.dataset
    classifier = runs.classifier_of(config.classifier, config.sources)
    goal, target = goal_of(config, classifier.info)
    x = data.images.float() / 255
    scores = Ledger(classifier, searches=1).ask(x, torch.zeros(len(x), dtype=torch.int64)).scores
    labels = torch.where(data.labels == NO_LABEL, scores.argmax(1), data.labels)
    aims = wanted(config, target, labels, scores, image_ids(x, labels))
    about = {"name": data.name, "fingerprint": made.chosen.fingerprint, "labelled": made.chosen.labelled,
             "brought": made.chosen.brought,
             "first": config.first, "count": len(data)}  # fmt: skip
    words = {None: "away from its class", "least-likely": "to the least likely class",
             "random": "to a random other class"}.get(config.target, f"to {config.target}")  # fmt: skip
    return Question(
        classifier=classifier,
        name=config.classifier,
        source=config.sources.get(config.classifier),
        given=config.given,
        images=data.images,
        labels=labels,
        names=list(made.chosen.names),
        targets=aims if goal.targeted else None,
        data=about,
        threat=made.setting.threat,
        goal=goal,
        words=words + (f", top {config.k}" if config.k > 1 else ""),
        budget=config.budget,
        seed=config.seed,
        floats=floats,
    )


def like(path: Path, *, floats: bool = False, trust_code: bool = False) -> Question:
    """The question that a run of `evofool attack` has answered: the same images, targets, limit, budget and seed.

    Raises:
        UserError: an image is not there, or has changed.
    """
    results, run = load(path / "study.json"), rundir.read_run(path)
    written = run["config"].get("sources", {})
    name = str(results.classifier["name"])
    known = {each: Settings.model_validate(source) for each, source in written.items()}
    sources = require_trust([name], known, path, trust_code=trust_code)
    classifier = runs.classifier_of(name, sources)
    if classifier.info.fingerprint != results.classifier["fingerprint"]:
        raise UserError(f"{path}: its classifier {name} has changed since")
    pictures = []
    for image in results.images:
        if not image.original:
            raise UserError(f"{path}: does not hold the original of image {image.number}")
        pictures.append(read_png(path / image.original))
        if image_hash(pictures[-1]) != image.sha256:
            raise UserError(f"{path / image.original}: is not the image that was attacked")
    targets = torch.tensor([-1 if i.target is None else i.target for i in results.images]) if results.targeted else None
    return Question(
        classifier, name, sources.get(name), str(results.classifier.get("given", name)), torch.stack(pictures),
        torch.tensor([image.label for image in results.images]), [image.name for image in results.images], targets,
        results.data, Threat(results.norm, results.size), Goal(results.targeted, results.k), results.goal,  # type: ignore[arg-type]
        results.budget, results.seed, floats,
    )  # fmt: skip


def results_of(peer: Peer, question: Question, trial: Trial, command: str) -> Results:
    """The numbers of a trial, in the form of an attack of ours."""
    info = question.classifier.info
    arguments = dict(peer.arguments(question.threat, question.budget))
    return Results(
        command=command,
        config=_config(peer, question),
        versions={**runs.versions(), peer.library: peer.about.rpartition(" ")[2]},
        classifier={
            "name": question.name,
            "given": question.given,
            "fingerprint": info.fingerprint,
            "image_shape": list(info.image_shape),
            "kind": info.kind,
            "preparation": info.preparation,
            "accuracy": info.accuracy,
        },
        class_names=list(info.class_names),
        recipe={
            "name": peer.name,
            "about": peer.about,
            "paper": peer.paper,
            "arguments": {**arguments, **({"floats": True} if question.floats else {})},
            "shares": False,
        },
        norm=question.threat.norm,
        size=question.threat.size,
        limit=question.threat.described(),
        goal=question.words,
        targeted=question.goal.targeted,
        k=question.goal.k,
        budget=question.budget,
        seed=question.seed,
        data=question.data,
        images=_images(question, trial),
        ledger={
            "searches": trial.counts,
            "padded": 0,
            "kills": 0,
            "drift": [],
            "distinct": int(trial.distinct.sum()) + len(question.images),
            "lost on disk": int(trial.lost.sum()),
            "beyond the limit": int(trial.outside.sum()),
            "broke down": [{"error": error, "images": images} for error, images in trial.crashes],
            "outside the budget": trial.checks,
        },
    )


def _config(peer: Peer, question: Question) -> dict[str, Any]:
    return {
        "peer": peer.name,
        "classifier": question.name,
        "norm": question.threat.norm,
        "size": question.threat.size,
        "budget": question.budget,
        "seed": question.seed,
        "floats": question.floats,
        "cache": False,
    }


def _images(question: Question, trial: Trial) -> list[Attacked]:
    info, x = question.classifier.info, question.images.float() / 255
    before = objectives.probabilities(trial.clean, info)
    after = objectives.probabilities(trial.scores, info)
    far = {norm: distance(trial.images, x, norm) for norm in ("linf", "l2", "l0")}
    place, number = trial.attacked.cumsum(0) - 1, trial.fooled.cumsum(0)
    files = [
        f"images/finding_{int(number[i]):05}.png" if trial.fooled[i] else f"attempts/{i:05}.png" if there else ""
        for i, there in enumerate(trial.attacked.tolist())
    ]  # as `evofool attack` names them
    found = []
    for i in range(len(x)):
        there = bool(trial.attacked[i])
        found.append(
            Attacked(
                number=i,
                name=question.names[i],
                sha256=image_hash(question.images[i]),
                label=int(question.labels[i]),
                target=None if question.targets is None else int(question.targets[i]),
                outcome="fooled" if trial.fooled[i] else "failed" if there else "skipped",
                queries=int(trial.queries[i]),
                clean_prediction=int(trial.clean[i].argmax()),
                clean_confidence=float(before[i].max()),
                prediction=int(trial.scores[i].argmax()) if there else -1,
                confidence=float(after[i].max()) if there else 0.0,
                linf=float(far["linf"][i]) if there else 0.0,
                l2=float(far["l2"][i]) if there else 0.0,
                l0=int(far["l0"][i]) if there else 0,
                asked=int(place[i]) if there else -1,
                original=f"originals/{i:05}.png",
                adversarial=files[i],
            )
        )
    return found


def keep(path: Path, peer: Peer, question: Question, trial: Trial, command: str) -> Results:
    """Write the run directory of a trial, with its report.

    Raises:
        UserError: the directory holds something, or the disk refuses.
    """
    results = results_of(peer, question, trial, command)
    sources = {question.name: recorded(question.source)} if question.source else {}
    head = runs.head(
        KIND, command, {**_config(peer, question), "sources": sources},
        {"name": question.data["name"], "fingerprint": question.data["fingerprint"]},
        {question.name: question.classifier.info},
    )  # fmt: skip
    saved = (trial.images * 255).round().to(torch.uint8)
    pictures = {image.original: question.images[image.number] for image in results.images}
    pictures |= {image.adversarial: saved[image.number] for image in results.images if image.adversarial}
    with RunDirectory.create(path, head) as directory:
        _charge(directory, peer, trial)
        runs.save(
            directory,
            pictures=pictures,
            findings=_findings(peer, question, results, trial),
            timings=timings(trial),
            numbers=results.to_json(),
        )
        report.write(results, path)
    return results


def _charge(directory: RunDirectory, peer: Peer, trial: Trial) -> None:
    """Copy the books, which were kept in memory."""
    store = directory.store
    store.open_accounts(list(trial.counts))
    with store.transaction():
        rows = {name: count["issued"] for name, count in trial.counts.items() if count["issued"]}
        number = store.open_attempt(KIND, peer.name, rows)
        came = {kind: {name: count[kind] for name, count in trial.counts.items()} for kind in ("answered", "failed")}
        store.close_attempt(number, came, padded=0, failed=False)


def _findings(peer: Peer, question: Question, results: Results, trial: Trial) -> list[Finding]:
    fooled = [image for image in results.images if image.outcome == "fooled"]
    return [
        Finding(
            number=number,
            file=image.adversarial,
            sha256=image_hash((trial.images[image.number] * 255).round().to(torch.uint8)),
            classifier=question.name,
            seed=question.seed,
            arm=peer.name,
            generation=image.queries,
            label=image.label,
            prediction=image.prediction,
            confidence=image.confidence,
            scores=trial.scores[image.number].tolist(),
            confirmed=1,
        )
        for number, image in enumerate(fooled, 1)
    ]


def timings(trial: Trial) -> dict[str, Any]:
    """How long it took: the peer and what it asked of the classifier, without what counts and judges."""
    clocks = {"wall": trial.wall, "processor": trial.processor}
    return {
        "seconds of one core": round(trial.processor.peer + trial.processor.classifier, 3),
        "rows": trial.asked,
        **{
            name: {
                "peer": round(seconds.peer, 3),
                "classifier": round(seconds.classifier, 3),
                "forward passes": round(seconds.forward, 3),
                "over the forward passes": round(seconds.ratio, 3),
            }
            for name, seconds in clocks.items()
        },
    }
