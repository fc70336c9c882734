"""Lets a peer attack a list of images, and judges what it did.

What the peer says of itself counts for nothing. An image is fooled when something that was asked within the limit, or
what the peer gives back, fools as it is on disk: rounded toward the original on the 1/255 lattice, and within the
limit there. That is asked on another ledger, outside the budget.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import torch

from evofool import rng
from evofool.contracts import Classifier, Evaluated
from evofool.encodings.pixels import to_lattice
from evofool.errors import EvofoolError
from evofool.ledger import Ledger
from evofool.metered import BudgetSpent
from evofool.shapes import Bool, Float, Int, Tensor
from evofool.store import Store
from evofool.threat import Goal, Threat

from .door import Door, Judge, Timed, apart
from .peers import Peer, Task


@dataclass(frozen=True)
class Aim:
    """What is attacked, and how.

    Attributes:
        x: [N C H W], images on the lattice.
        labels: [N], their classes.
        targets: [N], the classes to get to; None = to any other.
        threat, goal: the limit, and what counts as success.
        budget: the most queries of one image, the one for the image as it is included.
        names: of their accounts.
        floats: images are sent as they come, not on the lattice; see `door`.
    """

    x: Float[Tensor, "N C H W"]
    labels: Int[Tensor, " N"]
    targets: Int[Tensor, " N"] | None
    threat: Threat
    goal: Goal
    budget: int
    names: list[str]
    floats: bool = False

    @property
    def aims(self) -> Int[Tensor, " N"]:
        """The class to get away from, or to get to."""
        return self.labels if self.targets is None else self.targets

    def named(self, rows: Int[Tensor, " b"]) -> list[str]:
        """Accounts of some."""
        return [self.names[row] for row in rows.tolist()]

    def reached(
        self, classifier: Classifier, images: Float[Tensor, "b C H W"], scores: Float[Tensor, "b K"], rows: Tensor
    ) -> Bool[Tensor, " b"]:
        """Whether the goal is reached with these answers, for images that belong to some rows."""
        status = torch.zeros(len(images), 1, dtype=torch.int8)
        asked = Evaluated(
            images[:, None], images[:, None], self.x[rows], scores[:, None], self.aims[rows][:, None], status
        )
        return self.goal.criterion(asked, classifier.info)[:, 0]

    def attacked(self, classifier: Classifier, clean: Float[Tensor, "N K"]) -> Bool[Tensor, " N"]:
        """Which images are attacked: those that are recognised, and where the goal is not reached as they are."""
        there = self.reached(classifier, self.x, clean, torch.arange(len(self.x)))
        several = self.targets is None and self.goal.k > 1  # then the class need not be the first
        return ~there & ((clean.argmax(1) == self.labels) | torch.tensor(several))


@dataclass
class Seconds:
    """How long something took.

    Attributes:
        peer: of the peer itself, without the door, and without the classifier.
        classifier: of what it asked, in the batches in which it asked.
        forward: that the same rows take in the classifier's best batch.
    """

    peer: float = 0.0
    classifier: float = 0.0
    forward: float = 0.0

    @property
    def ratio(self) -> float:
        """All of it, over the forward passes."""
        return (self.peer + self.classifier) / self.forward if self.forward else 0.0


@dataclass
class Trial:
    """What became of N images.

    Attributes:
        clean: [N K], the answers for the images as they are.
        attacked: [N], see `Aim.attacked`.
        fooled: [N].
        queries: [N], charged by the success, or in all; without the one for the image as it is.
        images: [N C H W], on the lattice: what fooled, else what the peer gave back if it is within the limit, else the
            original.
        scores: [N K], for that.
        lost: [N], failed, though something fooled within the limit before it was rounded.
        outside: [N], failed, though something fooled beyond the limit.
        distinct: [N], different images that were asked about in the search.
        crashes: what the peer said when it broke down, with how many images it was attacking.
        counts: accounts by name.
        checks: queries outside the budget.
        asked: all that was asked, of all images, without the one for each image as it is.
        wall, processor: by the clock on the wall, and by that of the processor.
    """

    clean: Float[Tensor, "N K"]
    attacked: Bool[Tensor, " N"]
    fooled: Bool[Tensor, " N"]
    queries: Int[Tensor, " N"]
    images: Float[Tensor, "N C H W"]
    scores: Float[Tensor, "N K"]
    lost: Bool[Tensor, " N"]
    outside: Bool[Tensor, " N"]
    distinct: Int[Tensor, " N"]
    crashes: list[tuple[str, int]] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    checks: int = 0
    asked: int = 0
    wall: Seconds = field(default_factory=Seconds)
    processor: Seconds = field(default_factory=Seconds)

    @staticmethod
    def begun(aim: Aim, clean: Tensor, attacked: Tensor) -> Trial:
        """Before anything was tried."""
        none, zero = torch.zeros(len(clean), dtype=torch.bool), torch.zeros(len(clean), dtype=torch.int64)
        return Trial(clean, attacked, none.clone(), zero.clone(), aim.x.clone(), clean.clone(), none.clone(),
                     none.clone(), zero.clone())  # fmt: skip

    def note(self, rows: Int[Tensor, " b"], door: Door, aim: Aim, given: Tensor | None) -> None:
        """What became of the images that were attacked together."""
        self.asked += int(door.asked.sum())
        self.distinct[rows] = torch.tensor(door.distinct)
        for place, row in enumerate(rows.tolist()):
            win = door.wins[place]
            if win is not None:
                self.fooled[row], self.queries[row] = True, win.queries
                self.images[row], self.scores[row] = win.image, win.scores
                continue
            self.queries[row] = door.asked[place]
            self.lost[row], self.outside[row] = door.lost[place], door.outside[place]
            if given is not None:
                saved = to_lattice(given[place][None, None], aim.x[row][None])
                if bool(aim.threat.encoding.holds(saved, aim.x[row][None])):
                    self.images[row], self.scores[row] = saved[0, 0], door.told(saved[0], place)


def attempt(
    peer: Peer, classifier: Classifier, aim: Aim, *, seed: int = 0, on_tick: Callable[[int], None] | None = None
) -> Trial:
    """Let a peer attack.

    Args:
        peer: who attacks.
        classifier: what is attacked, on this machine.
        aim: the images, the limit, the goal and the budget.
        seed: of all that is drawn.
        on_tick: told of images that are finished.
    """
    store, outside = Store(), Store()
    checks = Ledger(classifier, searches=aim.names, cache=False, store=outside)
    ledger = Ledger(classifier, searches=aim.names, budget=aim.budget, cache=False, store=store)
    clean = ledger.ask(aim.x, torch.arange(len(aim.x))).scores
    trial = Trial.begun(aim, clean, aim.attacked(classifier, clean))
    for module in peer.modules:  # so that nobody's seconds hold the loading of a library
        importlib.import_module(module)
    timed = Timed(classifier)
    rows = trial.attacked.nonzero().flatten()
    for group in apart(aim.x[rows], aim.threat, peer.together):
        chosen = rows[group]
        ledger = Ledger(timed, searches=aim.named(chosen), budget=aim.budget, cache=False, store=store)

        def judge(images: Tensor, places: Tensor, chosen: Tensor = chosen) -> tuple[Tensor, Tensor]:
            scores = checks.ask(images, chosen[places]).scores
            return aim.reached(classifier, images, scores, chosen[places]), scores

        door = Door(
            ledger, aim.x[chosen], aim.aims[chosen], clean[chosen], aim.threat, aim.goal, judge, floats=aim.floats
        )
        own_seed = rng.search_id(f"{seed} {peer.name} {aim.names[int(chosen[0])]}") % 2**32
        given = _let(peer, door, aim, chosen, trial, own_seed)
        if given is not None:
            _look_at(given, door, judge)
        trial.note(chosen, door, aim, given)
        if on_tick:
            on_tick(len(chosen))
    trial.counts, trial.checks = store.counts(), sum(count["issued"] for count in outside.counts().values())
    trial.wall.classifier, trial.processor.classifier = timed.wall, timed.processor
    wall, processor = seconds_of_a_row(classifier, aim.x)
    trial.wall.forward, trial.processor.forward = wall * trial.asked, processor * trial.asked
    return trial


def _let(peer: Peer, door: Door, aim: Aim, chosen: Tensor, trial: Trial, seed: int) -> Tensor | None:
    """Run the peer; what it gives back, or nothing where it was ended or broke down."""
    targets = None if aim.targets is None else aim.targets[chosen]
    task = Task(door, aim.x[chosen].clone(), aim.labels[chosen], targets, aim.threat, aim.budget, seed)
    given: Tensor | None = None
    with rng.untouched(), contextlib.redirect_stdout(io.StringIO()):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        wall, processor = time.perf_counter(), time.process_time()
        try:
            given = peer.attack(task, peer.arguments(aim.threat, aim.budget))
        except BudgetSpent:
            pass
        except EvofoolError:
            raise
        except Exception as error:  # whatever a library may raise: told, and its images have failed
            trial.crashes.append((f"{type(error).__name__}: {error}", len(chosen)))
        trial.wall.peer += time.perf_counter() - wall - door.wall
        trial.processor.peer += time.process_time() - processor - door.processor
    return None if given is None else given.detach().to("cpu", torch.float32).clamp(0, 1)


def _look_at(given: Float[Tensor, "B C H W"], door: Door, judge: Judge) -> None:
    """What a peer gives back may fool, too, though it was never asked about."""
    fools, _ = judge(given, torch.arange(len(given)))
    for place in fools.nonzero().flatten().tolist():
        if door.wins[place] is None:
            door.consider(place, given[place], int(door.asked[place]))


def seconds_of_a_row(classifier: Classifier, x: Float[Tensor, "N C H W"], *, rounds: int = 7) -> tuple[float, float]:
    """What an image takes in the classifier's best batch, by the clock on the wall and by that of the processor."""
    best = (float("inf"), float("inf"))
    for size in sorted({classifier.info.micro_batch, 1, 10, 50, 100, 200}):
        images = x[torch.arange(size) % len(x)]
        wall, processor = [], []
        for _ in range(rounds):
            begun = time.perf_counter(), time.process_time()
            classifier(images)
            wall.append((time.perf_counter() - begun[0]) / size)
            processor.append((time.process_time() - begun[1]) / size)
        best = min(best[0], median(wall)), min(best[1], median(processor))
    return best
