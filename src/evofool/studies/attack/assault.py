"""Asks about images as they are, attacks those that are recognised, and makes what fooled smaller."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ... import pool as pools
from ... import recipes
from ...bisection import bisect
from ...contracts import Evaluated, Status
from ...encodings.perturbation import changed, distance
from ...errors import ClassifierError
from ...evasion import Evaded, Keeps, asked_again, each_time, evade, image_ids, rows_of, victims_of
from ...ledger import Ledger
from ...pool import Pool
from ...recipes import Setting
from ...rundir import NO_LABEL
from ...shapes import Bool, Float, Int, Tensor
from ...shrink import Shrunk, shrink
from ...threat import threat
from .given import Config, goal_of, wanted
from .results import Shrinking


class Assaulted(NamedTuple):
    """What became of images.

    Attributes:
        attacked: which were attacked, [N]; the others were misclassified as they are, or had no answer.
        labels: [N], the class that each carries; the classifier's own answer where none was given.
        targets: [N], see `Victims`.
        clean: [N K], the answers for the images as they are.
        evaded: of those that were attacked, in their order.
        images, scores: of all, [N C H W] and [N K]: what fooled or came nearest, after shrinking; else as they are.
        fooled: [N].
        queries: [N], of the searches.
        shrunk: [N], None where nothing was shrunk.
    """

    attacked: Bool[Tensor, " N"]
    labels: Int[Tensor, " N"]
    targets: Int[Tensor, " N"]
    clean: Float[Tensor, "N K"]
    evaded: Evaded
    images: Float[Tensor, "N C H W"]
    scores: Float[Tensor, "N K"]
    fooled: Bool[Tensor, " N"]
    queries: Int[Tensor, " N"]
    shrunk: list[Shrinking | None]


def assault(
    x: Float[Tensor, "N C H W"],
    labels: Int[Tensor, " N"],
    *,
    config: Config,
    ledger: Ledger,
    pool: Pool | None = None,
    targets: Int[Tensor, " N"] | None = None,
    keeps: Keeps | None = None,
    on_round: Callable[[int, int], None] | None = None,
) -> Assaulted:
    """Ask about images as they are, attack those that are recognised, and make what fooled smaller.

    Args:
        x: images on the 1/255 lattice, in the order of the attack.
        labels: classes, or NO_LABEL.
        config: of the attack.
        ledger: with an account for each image, in their order.
        pool: genes to begin with.
        targets: the class wanted of each, in place of what the configuration says.
        keeps, on_round: as for `evade`.
    """
    info = ledger.classifier.info
    limit = threat(config.norm, config.size, info.image_shape)
    goal, target = goal_of(config, info)
    algorithm = recipes.algorithm(config.recipe, Setting(limit, goal, config.budget, info), config.arguments)
    count = len(x)
    answers = ledger.ask(x, torch.arange(count), ("as they are",))
    answered = answers.status == Status.ANSWERED
    if count and not bool(answered.any()):
        raise ClassifierError(
            f"{info.name} gave no usable answer to any of {count:,} images as they are; `evofool doctor` says why"
        )
    own = torch.where(answered, answers.scores.nan_to_num(nan=-torch.inf).argmax(1), NO_LABEL)
    labels = torch.where(labels == NO_LABEL, own, labels)
    if targets is None:
        targets = wanted(config, target, labels, answers.scores, image_ids(x, labels))
    known = targets.clamp(min=0)  # of an image without a label and without an answer nothing is known, nor asked
    victims = victims_of(x, known, answers.scores, goal.objective, info)
    asked = Evaluated(x[:, None], x[:, None], x, answers.scores[:, None], known[:, None], answers.status[:, None])
    there = goal.criterion(asked, info)[:, 0]
    attacked = answered & ~there & ((own == labels) | (~torch.tensor(goal.targeted) & (torch.tensor(goal.k) > 1)))
    rows = attacked.nonzero().squeeze(1)
    evaded = evade(
        rows_of(victims, rows),
        accounts=rows,
        seeds=[config.seed] * len(rows),
        algorithm=algorithm,
        encoding=limit.encoding,
        objective=goal.objective,
        criterion=goal.criterion,
        ledger=ledger,
        pool=None if pool is None else pools.fitted(pool, limit.norm, limit.size),
        budget=config.budget if config.budget_total is not None else None,
        confirm=config.confirm or 0,
        keeps=keeps,
        on_round=on_round,
    )
    if evaded.pool is not None:
        about: dict[str, Any] = {"norm": limit.norm, "size": limit.size, "targeted": goal.targeted}
        about |= {"classifier": info.name, "classes": list(info.class_names)}
        evaded = dataclasses.replace(evaded, pool=dataclasses.replace(evaded.pool, about=about))
    if on_round:
        on_round(count - len(rows), 0)
    images, scores = x.clone(), answers.scores.clone()
    images[rows], scores[rows] = evaded.images, evaded.scores
    fooled = torch.zeros(count, dtype=torch.bool).index_put((rows,), evaded.fooled)
    queries = torch.zeros(count, dtype=torch.int64).index_put((rows,), evaded.queries)
    found = Assaulted(
        attacked, labels, targets, answers.scores, evaded, images, scores, fooled, queries, [None] * count
    )
    if config.shrink and bool(fooled.any()):
        with ledger.keeping(config.confirm or 0, int(fooled.sum())):
            smaller = _smaller(x, found, config=config, ledger=ledger)
        found = _holding(found, smaller, config=config, ledger=ledger) if config.confirm else smaller
    return found


def _holding(found: Assaulted, smaller: Assaulted, *, config: Config, ledger: Ledger) -> Assaulted:
    """What was made smaller where it fools each time that it is asked about again; else what it was before."""
    goal, _ = goal_of(config, ledger.classifier.info)
    rows = (found.fooled & (smaller.images != found.images).flatten(1).any(1)).nonzero().squeeze(1)
    if not len(rows):
        return smaller
    again = asked_again(
        smaller.images[rows],
        rows,
        found.targets[rows],
        config.confirm or 0,
        ledger=ledger,
        key=("shrink", "again"),
    )
    back = rows[~each_time(again, goal.criterion, ledger.classifier.info)]
    images, scores, shrunk = smaller.images.clone(), smaller.scores.clone(), list(smaller.shrunk)
    images[back], scores[back] = found.images[back], found.scores[back]
    for row in back.tolist():
        told = shrunk[row]
        assert told is not None
        words = "nothing smaller was found that fools each time that it is asked about"
        shrunk[row] = dataclasses.replace(told, minimal=0, words=words)
    return smaller._replace(images=images, scores=scores, shrunk=shrunk)


def _smaller(x: Float[Tensor, "N C H W"], found: Assaulted, *, config: Config, ledger: Ledger) -> Assaulted:
    """The same with smaller perturbations."""
    info = ledger.classifier.info
    limit = threat(config.norm, config.size, info.image_shape)
    goal, _ = goal_of(config, info)
    before = distance(found.images, x, limit.measure)
    known = found.targets.clamp(min=0)  # of an image without a label and without an answer there is none
    began = ledger.needed
    shrunk: Shrunk | None = None
    if limit.norm in ("linf", "l2"):
        images, scores, done = bisect(
            x,
            found.images,
            found.scores,
            norm=limit.norm,
            labels=known,
            wanted=found.fooled,
            criterion=goal.criterion,
            accounts=torch.arange(len(x)),
            ledger=ledger,
        )
    else:

        def decode(masks: Bool[Tensor, "n H W"], rows: Int[Tensor, " n"]) -> Float[Tensor, "n C H W"]:
            return torch.where(masks[:, None], found.images[rows], x[rows])

        def holds(scores: Float[Tensor, "n K"], rows: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
            status = torch.zeros(1, len(rows), dtype=torch.int64)
            blank = torch.empty(1, len(rows), 0)
            return goal.criterion(Evaluated(blank, blank, None, scores[None], known[rows][None], status), info)[0]

        shrunk = shrink(
            changed(found.images, x),
            found.scores,
            decode=decode,
            holds=holds,
            ledger=ledger,
            wanted=found.fooled,
            pairs=False,
        )
        images = torch.where(shrunk.masks[:, None], found.images, x)
        scores = torch.where(found.fooled[:, None], shrunk.scores, found.scores)
        done = shrunk.minimal > 0
    queries = (ledger.needed - began).tolist()
    after = distance(images, x, limit.measure)
    told: list[Shrinking | None] = []
    for row, fooled in enumerate(found.fooled.tolist()):
        if not fooled:
            told.append(None)
            continue
        minimal = int(shrunk.minimal[row]) if shrunk else 0
        words = shrunk.words(row) if shrunk else _words(limit.norm, float(after[row]), queries[row], bool(done[row]))
        told.append(Shrinking(round(float(before[row]), 6), queries[row], minimal, words))
    return found._replace(images=images, scores=scores, shrunk=told)


def _words(norm: str, size: float, queries: int, done: bool) -> str:
    length = f"{round(size * 255)}/255" if norm == "linf" else f"{size:.3g}"
    end = "" if done else ", the budget ended"
    return f"{length} by bisection, {queries:,} quer{'y' if queries == 1 else 'ies'}{end}"
