"""Who joins an attack when: at once as far as there is room, or, where images share a pool of genes, in cohorts.

Cohort c reads the pool as it stood after cohort c - lag, whoever is in the air by then. So the result depends on the
list of images and its order alone, and `lag` cohorts can be under way together. A cohort teaches what its images knew
after `horizon` queries: so that it teaches the same whatever the budget is, and one hard image holds up nobody for
longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge

from . import genome
from . import pool as pools
from .pool import Lessons, Pool
from .shapes import Bool, Int, Tensor, UInt8
from .spec import check


@dataclass(frozen=True)
class Sharing:
    """How a pool is shared.

    Args:
        lag: cohorts that are under way together; 1 = each waits for the one before it.
        largest: images of a cohort at most.
        growth: a cohort has one image more for so many images before it: while little is known, little is asked in
            ignorance.
        horizon: queries of an image that others learn from, the one for the image as it is included: so a budget of as
            many is enough to learn the same as from any larger one.
        capacity: genes of a pool at most.
        breed: make genes of genes, see `pool.Pool.learn`.
    """

    lag: Annotated[int, Ge(1)] = 8
    largest: Annotated[int, Ge(1)] = 16
    growth: Annotated[int, Ge(1)] = 16
    horizon: Annotated[int, Ge(1)] = 200
    capacity: Annotated[int, Ge(1)] = 1000
    breed: bool = True

    def __post_init__(self) -> None:
        check(self)

    def cohorts(self, images: int) -> list[range]:
        """The places of the images of each cohort."""
        found, first = [], 0
        while first < images:
            size = min(1 + first // self.growth, self.largest, images - first)
            found.append(range(first, first + size))
            first += size
        return found


@dataclass(frozen=True)
class Waiting:
    """Where `Independent` stands.

    Attributes:
        joined: images that have joined, [1].
    """

    joined: Int[Tensor, " 1"]


class Independent:
    """Each image by itself, as many at once as there is room for."""

    pool: Pool | None = None

    def __init__(self, images: int, at_once: int):
        self._images, self._waiting = images, list(range(images))
        self._at_once = at_once

    def coming(self, in_air: int) -> Iterator[list[int]]:
        """Images that join now."""
        room = self._at_once - in_air
        if room > 0 and self._waiting:
            some, self._waiting = self._waiting[:room], self._waiting[room:]
            yield some

    def note(self, rows: Int[Tensor, " b"], rounds: Int[Tensor, " b"], state: Any, ends: Bool[Tensor, " b"]) -> None:
        """Nobody learns from anybody."""

    def standing(self, nobody: Any) -> Waiting:
        """Where it stands."""
        return Waiting(torch.tensor([self._images - len(self._waiting)]))

    def go_on(self, standing: Waiting) -> None:
        """Stand where an earlier one stood."""
        self._waiting = list(range(int(standing.joined), self._images))


@dataclass(frozen=True)
class Taught:
    """Where `Shared` stands.

    Attributes:
        pool: as a file has it, bytes; none as long as it is that which was given.
        cohorts: that have joined, and that the pool has learned from, [2].
        tried, gene: see `Shared`.
        rows: images whose lessons wait for the others of their cohort.
        lessons: of these.
    """

    pool: UInt8[Tensor, " n"]
    cohorts: Int[Tensor, " 2"]
    tried: Int[Tensor, " N"]
    gene: Int[Tensor, " N"]
    rows: Int[Tensor, " k"]
    lessons: Lessons


class Shared:
    """In cohorts, which learn from those before them.

    Attributes:
        pool: as it is by now.
        tried: how many genes were tried on each image that has ended; of the others -1, [N].
        gene: which one fooled it as it is; -1 = none, [N].

    Args:
        images: how many.
        sharing: the rules.
        algorithm: whose `lessons(state)` are taken.
        pool: at the beginning.
    """

    def __init__(self, images: int, sharing: Sharing, algorithm: Any, pool: Pool):
        self.pool = pool
        self._sharing, self._algorithm = sharing, algorithm
        self._cohorts = sharing.cohorts(images)
        self._joined = 0  # cohorts that have joined
        self._learned = 0  # cohorts that the pool has learned from
        self._last = max(1, sharing.horizon - 1)  # rounds
        self.tried, self.gene = torch.full((2, images), -1).unbind()
        self._lessons: dict[int, Lessons] = {}  # by image, of cohorts not learned from yet

    def coming(self, in_air: int) -> Iterator[list[int]]:
        """Images that join now, and with the pool as it is while they are handed out."""
        while self._joined < len(self._cohorts):
            if self._joined < self._learned + self._sharing.lag:
                self._joined += 1
                yield list(self._cohorts[self._joined - 1])
            elif not self._learn():
                return

    def note(self, rows: Int[Tensor, " b"], rounds: Int[Tensor, " b"], state: Any, ends: Bool[Tensor, " b"]) -> None:
        """Take the lessons of images that end, or have come to the horizon."""
        over = ends.nonzero().flatten()
        if len(over):
            last = self._algorithm.lessons(genome.rows(state, over))
            self.tried[rows[over]] = (last.tried >= 0).sum(1)
            self.gene[rows[over]] = last.won
        due = ((ends & (rounds <= self._last)) | (rounds == self._last)).nonzero().flatten()
        if not len(due):
            return
        lessons = self._algorithm.lessons(genome.rows(state, due))
        learned = self._cohorts[self._learned - 1].stop if self._learned else 0
        for place, row in enumerate(rows[due].tolist()):
            if row < learned:  # it paused for a larger budget, and taught then
                continue
            self._lessons[row] = genome.rows(lessons, torch.tensor([place]))

    def finish(self) -> Pool:
        """The pool after all images."""
        while self._learn():
            pass
        return self.pool

    def standing(self, nobody: Any) -> Taught:
        """Where it stands; `nobody` is the state of no image."""
        lessons = genome.join(self._algorithm.lessons(nobody), *self._lessons.values())
        known = pools.to_bytes(self.pool) if self._learned else b""
        return Taught(
            pool=torch.frombuffer(bytearray(known), dtype=torch.uint8) if known else torch.zeros(0, dtype=torch.uint8),
            cohorts=torch.tensor([self._joined, self._learned]),
            tried=self.tried,
            gene=self.gene,
            rows=torch.tensor(list(self._lessons), dtype=torch.int64),
            lessons=lessons,
        )

    def go_on(self, standing: Taught) -> None:
        """Stand where an earlier one stood."""
        self._joined, self._learned = standing.cohorts.tolist()
        if self._learned:
            self.pool = pools.from_bytes(standing.pool.numpy().tobytes())
        self.tried, self.gene = standing.tried, standing.gene
        each = (genome.rows(standing.lessons, torch.tensor([place])) for place in range(len(standing.rows)))
        self._lessons = dict(zip(standing.rows.tolist(), each, strict=True))

    def _learn(self) -> bool:
        """Learn from the next cohort, if all of its images have come so far."""
        if self._learned == self._joined:
            return False
        cohort = self._cohorts[self._learned]
        if any(image not in self._lessons for image in cohort):
            return False
        lessons = genome.join(*(self._lessons.pop(image) for image in cohort))
        blend = self._algorithm.blend if self._sharing.breed else None
        self.pool = self.pool.learn(lessons, capacity=self._sharing.capacity, blend=blend)
        self._learned += 1
        return True
