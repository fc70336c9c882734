"""An attack that goes on from a checkpoint is the attack that nobody stopped, and asks about nothing again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import torch

from evofool import evasion, recipes
from evofool import pool as pools
from evofool.checkpoint import Checkpoints
from evofool.evasion import Evaded, evade, victims_of
from evofool.ledger import Ledger
from evofool.pool import Pool
from evofool.search import Progress
from evofool.store import Store
from evofool.threat import Goal, threat
from test_evasion import ALONE, GRID, IMAGES, LONGER, PAIRS, SEEDS, SIZES, images, net

SHARE = [("linf", {"lag": 1}), ("l2", {"lag": 2}), ("l0", {"lag": 1}), ("linf", {"lag": 2, "horizon": 6})]


class Stopped(BaseException):
    """The power fails."""


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small are the images that some searches soon have asked all that they can; and no disk fails here."""
    monkeypatch.setattr(evasion, "IDLE", 15)
    monkeypatch.setattr(os, "fsync", lambda file: None)


class Stops(Checkpoints):
    """Checkpoints that end the run right after one of them, or between two.

    Attributes:
        saved: how often it saved.
    """

    def __init__(self, *args: Any, after: int | None, between: int = 0):
        super().__init__(*args, every=0.0)
        self.saved, self._after, self._over, self.loaded = 0, after, between, -1

    def load(self, like: Progress) -> Progress | None:
        found = super().load(like)
        self.loaded = found.generation if found else 0
        return found

    @property
    def due(self) -> bool:
        if self._after is not None and self.saved == self._after:
            self._over -= 1
            if self._over < 0:
                raise Stopped
            return False
        return True

    def save(self, progress: Progress) -> None:
        super().save(progress)
        self.saved += 1


@dataclass
class Way:
    """An attack from one folder.

    Attributes:
        folder: of its books.
        run: what becomes of it, and its checkpoints; given after how many of them it ends, and how many rounds later.
        counts: charged for each image, by the books.
    """

    folder: Path
    run: Callable[..., tuple[Evaded, Stops]]

    def forget(self, slots: tuple[int, ...] = (0, 1)) -> None:
        """Without checkpoints."""
        for slot in slots:
            for file in (self.folder / "state").glob(f"*.{slot}.*"):
                file.unlink()

    @property
    def counts(self) -> list[int]:
        store = Store(self.folder / "ledger.sqlite", owner=True)
        assert store.damage() == []
        issued = store.issued([str(row) for row in range(IMAGES)])
        store.abandon()
        return issued


def way(
    folder: Path,
    name: str,
    norm: str,
    arguments: dict[str, Any],
    *,
    total: int | None = None,
    pool: Pool | None = None,
    at_once: int | None = 3,
) -> Way:
    """An attack that can be stopped; each call of `run` is another process, as far as anybody can tell."""
    folder.mkdir(exist_ok=True)

    def run(after: int | None = None, between: int = 0) -> tuple[Evaded, Stops]:
        asked, x = net(), images()
        budget = LONGER.get(name, 24)
        limit, goal = threat(norm, SIZES[norm], asked.info.image_shape), Goal()
        algorithm = recipes.algorithm(name, recipes.Setting(limit, goal, budget, asked.info), arguments)
        store = Store(folder / "ledger.sqlite", owner=True)
        own = None if total is not None else budget
        ledger = Ledger(asked, searches=IMAGES, budget=own, total=total, store=store, chain="some images")
        keeps = Stops(folder / "state", "some images", ledger, after=after, between=between)
        try:
            answers = ledger.ask(x, torch.arange(IMAGES), ("as they are",))
            labels = answers.scores.argmax(1)
            found = evade(
                victims_of(x, labels, answers.scores, goal.objective, asked.info),
                accounts=torch.arange(IMAGES),
                seeds=SEEDS,
                algorithm=algorithm,
                encoding=limit.encoding,
                objective=goal.objective,
                criterion=goal.criterion,
                ledger=ledger,
                at_once=at_once,
                budget=None if total is None else budget,
                pool=pool,
                keeps=keeps,
            )
            assert int(ledger.needed.sum()) == int(found.queries.sum()) + IMAGES
            return found, keeps
        finally:
            store.flush()
            store.abandon()

    return Way(folder, run)


def assert_same(one: Evaded, two: Evaded) -> None:
    for part in fields(Evaded):
        first, second = getattr(one, part.name), getattr(two, part.name)
        if isinstance(first, Pool):
            assert pools.fingerprint(first) == pools.fingerprint(second)
        else:
            assert first is second is None or torch.equal(first, second), part.name


def assert_resumes(tmp_path: Path, *given: Any, **more: Any) -> None:
    """Stopped behind a middle and at the last checkpoint: the same end, and nothing asked again."""
    whole = way(tmp_path / "whole", *given, **more)
    expected, keeps = whole.run()
    assert keeps.saved >= 4, "it is over too soon to be stopped"
    for after, between in ((keeps.saved // 2, 1), (keeps.saved - 1, 0)):
        cut = way(tmp_path / f"cut-{after}-{between}", *given, **more)
        with pytest.raises(Stopped):
            cut.run(after, between)
        found, again = cut.run()
        assert_same(found, expected)
        assert again.loaded == after, "it did not go on from the last checkpoint"
        assert again.saved == keeps.saved - after, "rounds before the checkpoint were made again"
        assert cut.counts == whole.counts, "something was asked twice"


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_every_recipe_goes_on_from_a_checkpoint(name: str, norm: str, tmp_path: Path) -> None:
    assert_resumes(tmp_path, name, norm, {**ALONE.get(name, {}), **GRID.get(name, {})})


@pytest.mark.parametrize(("norm", "arguments"), SHARE)
def test_a_pool_is_held_in_the_checkpoint(norm: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    """With what was learned so far, and the lessons that wait for the others of their cohort."""
    assert_resumes(tmp_path, "genepool", norm, arguments)
    shared = way(tmp_path / "shared", "genepool", norm, arguments).run()[0]
    alone = way(tmp_path / "alone", "genepool", norm, {**arguments, "independent": True}).run()[0]
    assert shared.pool is not None and shared.pool.images == IMAGES
    assert not torch.equal(shared.images, alone.images), "nothing was shared, so nothing is shown"


def test_genes_of_an_earlier_run_are_still_there(tmp_path: Path) -> None:
    given = way(tmp_path / "before", "genepool", "linf", {}).run()[0].pool
    assert given is not None and len(given)
    assert_resumes(tmp_path, "genepool", "linf", {}, pool=given)


@pytest.mark.parametrize("name", ["square", "genepool"])
def test_images_that_wait_for_a_larger_budget_are_held_too(name: str, tmp_path: Path) -> None:
    """The budget of all together is shared out in turns: each begins where the last one ended."""
    assert_resumes(tmp_path, name, "linf", {}, total=150)
    found, _ = way(tmp_path / "again", name, "linf", {}, total=150).run()
    assert int(found.queries.max()) > 24, "nobody waited for a larger budget"


@pytest.mark.parametrize("name", ["square", "genepool"])
@pytest.mark.parametrize("total", [60, 120])
@pytest.mark.parametrize("after", [None, 5])
def test_rounds_that_are_made_again_know_nothing_of_what_was_spent_after_them(
    name: str, total: int, after: int | None, tmp_path: Path
) -> None:
    """The budget of all together is spent by the end, which rounds before the end may not go by."""
    cut = way(tmp_path, name, "linf", {}, total=total)
    expected, first = cut.run(after, 1 << 30)
    counts = cut.counts
    assert sum(counts) == total, "it was not spent, so this would show nothing"
    if after is None:
        cut.forget()
    found, again = cut.run(0, 1 << 30)
    assert again.loaded == (0 if after is None else after) and (after is None or first.saved == after)
    assert_same(found, expected)
    assert cut.counts == counts, "something was asked twice"


def damaged(folder: Path) -> None:
    """One byte of each."""
    for file in (folder / "state").glob("*.safetensors"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)


def of_another_attack(folder: Path) -> None:
    """Whole, and under the same name."""
    other = way(folder / "other", "ga", "linf", {})
    with pytest.raises(Stopped):
        other.run(5)
    for file in (folder / "other" / "state").iterdir():
        (folder / "state" / file.name).write_bytes(file.read_bytes())


@pytest.mark.parametrize("done", [damaged, of_another_attack])
def test_a_checkpoint_that_cannot_be_used_is_passed_over(done: Callable[[Path], None], tmp_path: Path) -> None:
    """It is made again from the stored answers, of which none has to be asked again."""
    cut = way(tmp_path, "square", "linf", {})
    with pytest.raises(Stopped):
        cut.run(5)
    done(tmp_path)
    assert list((tmp_path / "state").glob("*.safetensors"))
    found, again = cut.run()
    assert again.loaded == 0 and again.saved > 5
    expected, _ = (whole := way(tmp_path / "whole", "square", "linf", {})).run()
    assert_same(found, expected)
    assert cut.counts == whole.counts


def test_how_far_it_was_is_told_at_once(tmp_path: Path) -> None:
    """A bar goes on from where it stood, to the same end."""
    told: list[tuple[int, int]] = []
    real = evasion._Flight.round

    def counted(flight: Any) -> tuple[int, int]:
        told.append(real(flight))
        return told[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evasion._Flight, "round", counted)
        cut = way(tmp_path, "square", "linf", {})
        with pytest.raises(Stopped):
            cut.run(15)
    before = [sum(column) for column in zip(*told[:15], strict=True)]
    assert len(told) == 16, "a round more than the checkpoint knows of"
    assert before[0] > told[0][0] > 0, "nobody was finished since the first round: this would show nothing"
    heard: list[tuple[int, int]] = []
    asked, x = net(), images()
    limit, goal = threat("linf", SIZES["linf"], asked.info.image_shape), Goal()
    store = Store(tmp_path / "ledger.sqlite", owner=True)
    ledger = Ledger(asked, searches=IMAGES, budget=24, store=store, chain="some images")
    answers = ledger.ask(x, torch.arange(IMAGES), ("as they are",))
    evade(
        victims_of(x, answers.scores.argmax(1), answers.scores, goal.objective, asked.info),
        accounts=torch.arange(IMAGES),
        seeds=SEEDS,
        algorithm=recipes.algorithm("square", recipes.Setting(limit, goal, 24, asked.info), {}),
        encoding=limit.encoding,
        objective=goal.objective,
        criterion=goal.criterion,
        ledger=ledger,
        at_once=3,
        keeps=Checkpoints(tmp_path / "state", "some images", ledger),
        on_round=lambda over, fooled: heard.append((over, fooled)),
    )
    store.abandon()
    assert heard[0] == tuple(before)
    assert sum(over for over, _ in heard) == IMAGES
