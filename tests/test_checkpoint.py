"""Checkpoints: a search that goes on from one is the search that never stopped, and a broken one is passed over."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch

from evofool import checkpoint, criteria, ledger, search
from evofool.algorithms.ga import GeneticAlgorithm
from evofool.checkpoint import Checkpoints, card_of, flat, nested, tensors_of
from evofool.classifiers.fake import Counting
from evofool.encodings.pixels import Pixels
from evofool.errors import DamagedRunError, UserError
from evofool.genome import Labelled
from evofool.ledger import Ledger
from evofool.search import Problem, Progress
from evofool.shapes import Tensor
from evofool.spec import op
from evofool.store import Store
from fakes import linear, pictures, stream

POPULATION = 8
# Children that are copies of their parents are common: the cache has something to remember.
GA = GeneticAlgorithm(selection=op("selection.tournament", size=3), p_crossover=0.3, p_mutation=0.3)
LABELS = torch.tensor([0, 1, 2])


class Killed(BaseException):
    pass


def problem(searches: int = 3, population: int = POPULATION) -> Problem:
    member = torch.arange(population).expand(searches, -1).clone()
    return Problem(
        Labelled(pictures(searches, population), LABELS[member % 3], member), stream(searches), labels=LABELS[:searches]
    )


class Run:
    """A search with a ledger on disk, and checkpoints."""

    def __init__(self, folder: Path, classifier=None, *, every: float = 0.0, clock=lambda: 0.0, **settings):
        self.store = Store(folder / "ledger.sqlite", owner=True)
        self.ledger = Ledger(
            classifier or linear(), searches=["a", "b", "c"], store=self.store, chain="shard", **settings
        )
        self.checkpoints = Checkpoints(folder / "state", "shard", self.ledger, every=every, clock=clock)
        self.start = search.start(problem(), GA)

    def go(self, generations: int, *, kill: int = -1, save=lambda generation: True) -> Progress:
        def on_generation(progress, evaluated):
            self.store.record("shard", progress.generation, progress.state.fitness.tolist())
            if progress.generation == kill:
                raise Killed
            if save(progress.generation):
                self.checkpoints(lambda: progress)

        return search.run(
            problem(),
            algorithm=GA,
            encoding=Pixels(),
            objective=op("objectives.true_class_probability"),
            criterion=criteria.misclassified,
            ledger=self.ledger,
            generations=generations,
            on_generation=on_generation,
            progress=self.checkpoints.load(self.start),
        )

    def end(self) -> dict:
        """The books as they stand in the end."""
        self.store.flush()
        assert self.store.damage() == []
        found = {"events": self.store.events("shard"), "counts": self.store.counts(), "total": self.store.total()}
        batches = list(self.store.batches("shard", 99))
        found["batches"] = [[part.tolist() for part in batch] for batch in batches]
        self.store.abandon()
        return found


def parts(progress: Progress) -> dict[str, Tensor]:
    return {**flat(progress.state, "state"), "running": progress.running, "success": progress.success}


def assert_same(a: Progress, b: Progress) -> None:
    assert a.generation == b.generation and parts(a).keys() == parts(b).keys()
    for name, tensor in parts(a).items():
        other = parts(b)[name]
        assert tensor.dtype == other.dtype and tensor.shape == other.shape, name
        assert tensor.numpy().tobytes() == other.numpy().tobytes(), name


@pytest.fixture(scope="module", autouse=True)
def one_request_for_a_generation():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "LOCAL_CALLS", 1_000)  # of one row here
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> tuple[Progress, dict, int]:
    """The run that nobody stopped: its end, its books, and how many rows the classifier saw."""
    counting = Counting(linear(micro_batch=1))
    run = Run(tmp_path_factory.mktemp("straight"), counting, every=1e9)
    progress, books = run.go(6), run.end()
    assert sum(count["repeated"] for count in books["counts"].values()) > 10  # else the cache is not looked at
    return progress, books, counting.rows


# Going on


def test_what_was_saved_comes_back_bit_by_bit(tmp_path):
    run = Run(tmp_path)
    saved = run.go(3)
    assert saved.state.scores.shape == (3, POPULATION, 3) and isinstance(saved.state.genomes, Labelled)
    assert_same(run.checkpoints.load(run.start), saved)
    again = Run(tmp_path)
    assert_same(again.checkpoints.load(again.start), saved)


@pytest.mark.parametrize("kill", range(7))
@pytest.mark.parametrize("last", [-1, 0, 1, 3])
def test_a_search_that_was_killed_goes_on_as_if_it_never_stopped(tmp_path, straight, kill, last):
    """Whether the last checkpoint is old, new, or there is none."""
    expected, books, rows = straight
    counting = Counting(linear(micro_batch=1))
    run = Run(tmp_path, counting)
    with pytest.raises(Killed):
        run.go(6, kill=kill, save=lambda generation: generation <= last)
    run.store.abandon()
    again = Run(tmp_path, counting)
    loaded = again.checkpoints.load(again.start)
    there = min(last, kill - 1)
    assert (loaded is None) if there < 0 else (loaded.generation == there)
    assert_same(again.go(6), expected)
    assert again.end() == books and counting.rows == rows


def test_what_was_on_its_way_is_lost_and_asked_again(tmp_path, straight):
    expected, books, rows = straight

    class Dying(Counting):
        def __call__(self, images):
            if self.calls == 60:
                raise Killed
            return super().__call__(images)

    dying = Dying(linear(micro_batch=1))
    run = Run(tmp_path, dying)
    with pytest.raises(Killed):
        run.go(6)
    run.store.abandon()
    counting = Counting(linear(micro_batch=1))
    again = Run(tmp_path, counting)
    assert_same(again.go(6), expected)
    end = again.end()
    assert end["events"] == books["events"] and end["batches"] == books["batches"]
    lost = {name: count["lost"] for name, count in end["counts"].items()}
    assert sum(lost.values()) > 0 and end["total"] == books["total"] + sum(lost.values())
    for name, count in books["counts"].items():
        assert end["counts"][name] == {**count, "lost": lost[name], "issued": count["issued"] + lost[name]}
    assert rows <= dying.calls + counting.rows <= end["total"]


def test_where_lost_queries_make_a_budget_bind_it_is_a_prefix(tmp_path, straight):
    _, books, _ = straight
    budget = max(count["issued"] for count in books["counts"].values())

    class Dying(Counting):
        def __call__(self, images):
            if self.calls == 60:
                raise Killed
            return super().__call__(images)

    seen = Dying(linear(micro_batch=1))
    run = Run(tmp_path, seen, budget=budget)
    with pytest.raises(Killed):
        run.go(6)
    run.store.abandon()
    counting = Counting(linear(micro_batch=1))
    again = Run(tmp_path, counting, budget=budget)
    end = again.go(6)
    assert not bool(end.running.all())
    books_then = again.end()
    assert max(count["issued"] for count in books_then["counts"].values()) == budget
    assert seen.rows + counting.rows <= books_then["total"] <= 3 * budget
    shared = next(i for i, batch in enumerate(books_then["batches"]) if 2 in batch[3])  # the first with unsent rows
    assert shared >= 3 and books_then["batches"][:shared] == books["batches"][:shared]
    assert books_then["events"][:shared] == books["events"][:shared]


# When, and where


def test_it_saves_once_in_so_many_seconds(tmp_path):
    now = [100.0]
    run = Run(tmp_path, every=5.0, clock=lambda: now[0])
    folder, seen = tmp_path / "state", []
    for now[0] in (100.0, 104.9, 105.0, 109.0, 110.0):
        run.checkpoints(lambda: run.start)
        seen.append(len(list(folder.glob("*.json"))))
    assert seen == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("slow", ["where", "save"])
def test_what_takes_long_is_done_less_often(tmp_path, monkeypatch, slow):
    """One that took 1 second comes again after 20 at the earliest: whether it was to be made, or to be written."""
    now = [100.0]

    def passes(real):
        def later(*given):
            now[0] += 1.0
            return real(*given)

        return later

    run = Run(tmp_path, every=5.0, clock=lambda: now[0])
    where = lambda: run.start  # noqa: E731
    if slow == "where":
        where = passes(where)
    else:
        monkeypatch.setattr(run.store, "flush", passes(run.store.flush))
    seen = []
    for moment in (105.0, 111.5, 125.9, 126.0, 131.0, 147.0):
        now[0] = moment
        before = len(list((tmp_path / "state").glob("*.json"))), now[0]
        run.checkpoints(where)
        seen.append(now[0] > before[1])
    assert seen == [True, False, False, True, False, True]


def test_a_checkpoint_brings_the_events_before_it_to_the_disk(tmp_path):
    run = Run(tmp_path)
    run.store.record("shard", 0, "before")
    run.checkpoints.save(run.start)
    assert Store(tmp_path / "ledger.sqlite").events("shard") == ["before"]


def test_the_previous_one_stays_also_after_going_on(tmp_path):
    run = Run(tmp_path)
    run.go(4)
    generations = lambda: sorted(card_of(path)["generation"] for path in (tmp_path / "state").glob("*.json"))  # noqa: E731
    assert generations() == [3, 4]
    again = Run(tmp_path)
    again.go(5)
    assert generations() == [4, 5]
    again = Run(tmp_path)
    again.go(6)
    assert generations() == [5, 6] and len(list((tmp_path / "state").iterdir())) == 4


def test_nothing_stays_when_it_is_removed(tmp_path):
    run = Run(tmp_path)
    run.go(2)
    run.checkpoints.remove()
    run.checkpoints.remove()
    assert list((tmp_path / "state").iterdir()) == [] and run.checkpoints.load(run.start) is None


@pytest.mark.parametrize("names", [("../../etc/x", "..-..-etc-x"), ("a/b", "a b"), ("A" * 300, "A" * 301), ("", ".")])
def test_names_never_leave_the_folder_nor_share_a_file(tmp_path, names):
    run = Run(tmp_path)
    for name in names:
        Checkpoints(tmp_path / "state", name, run.ledger).save(run.start)
    assert len(list((tmp_path / "state").iterdir())) == 4
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"state"}
    for name in names:
        assert Checkpoints(tmp_path / "state", name, run.ledger).load(run.start) is not None


# Broken ones


@pytest.fixture
def saved(tmp_path) -> tuple[Run, dict[int, dict[str, Path]]]:
    """A run with two checkpoints, and their files by generation."""
    run = Run(tmp_path)
    run.go(4)
    found = {}
    for card in (tmp_path / "state").glob("*.json"):
        found[card_of(card)["generation"]] = {"card": card, "tensors": card.with_suffix(".safetensors")}
    assert sorted(found) == [3, 4]
    return run, found


def loaded(run: Run) -> int | None:
    progress = Checkpoints(run.checkpoints._folder, "shard", run.ledger).load(run.start)
    return None if progress is None else progress.generation


@pytest.mark.parametrize("part", ["card", "tensors"])
def test_a_file_that_was_cut_leaves_the_other_checkpoint(saved, part):
    run, found = saved
    whole = {generation: files[part].read_bytes() for generation, files in found.items()}
    size = len(whole[4])
    lengths = [0, 1, 8, 9, size // 3, size // 2, size - 100, size - 2, size - 1]
    for length in lengths:
        # A card without its last line feed is whole.
        intact = part == "card" and length == size - 1
        found[4][part].write_bytes(whole[4][:length])
        assert loaded(run) == (4 if intact else 3), length
        found[3][part].write_bytes(whole[3][:length])
        assert loaded(run) == (4 if intact else None), length
        found[4][part].write_bytes(whole[4])
        assert loaded(run) == 4, length
        found[3][part].write_bytes(whole[3])


@pytest.mark.parametrize("part", ["card", "tensors"])
def test_a_file_that_is_missing_or_a_link_leaves_the_other_checkpoint(saved, tmp_path, part):
    run, found = saved
    elsewhere = found[4][part].rename(tmp_path / "elsewhere")
    assert loaded(run) == 3
    found[4][part].symlink_to(elsewhere)
    assert loaded(run) == 3


def test_a_flipped_bit_in_the_tensors_is_found(saved):
    run, found = saved
    content = bytearray(found[4]["tensors"].read_bytes())
    for place in range(0, len(content), len(content) // 20):
        content[place] ^= 1
        found[4]["tensors"].write_bytes(content)
        assert loaded(run) == 3, place
        content[place] ^= 1


def test_a_flipped_bit_in_a_card_is_found(saved):
    run, found = saved
    whole, card = found[4]["card"].read_bytes(), card_of(found[4]["card"])
    told = 0
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 7
        found[4]["card"].write_bytes(content)
        try:
            assert card_of(found[4]["card"]) == card  # a space, perhaps
        except DamagedRunError:
            told += 1
    assert told > len(whole) - 20
    assert loaded(run) in (3, 4)


@pytest.mark.parametrize(
    "card",
    [
        {},
        [],
        None,
        {"name": "shard", "generation": True, "batches": 1, "sha256": ""},
        {"name": "shard", "generation": 9, "batches": 1.0, "sha256": ""},
        {"name": "shard", "generation": 9, "batches": 1},
        {"name": "shard", "generation": 9, "batches": 1, "sha256": "", "more": "x" * 200_000},
    ],
)
def test_what_is_no_card_is_passed_over(saved, card):
    run, found = saved
    found[4]["card"].write_text(json.dumps(card))
    with pytest.raises(DamagedRunError):
        card_of(found[4]["card"])
    assert loaded(run) == 3


def test_a_pickle_is_not_read_even_if_its_hash_is_right(saved, tmp_path):
    class Mean:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    run, found = saved
    content = pickle.dumps(Mean())
    found[4]["tensors"].write_bytes(content)
    card = {**card_of(found[4]["card"]), "sha256": hashlib.sha256(content).hexdigest()}
    found[4]["card"].write_text(json.dumps({**card, "digest": checkpoint._digest(card)}))
    assert card_of(found[4]["card"]) == card
    with pytest.raises(DamagedRunError, match="is not a file of tensors"):
        tensors_of(found[4]["card"], card)
    assert loaded(run) == 3 and not (tmp_path / "executed").exists()
    pickle.loads(content)
    assert (tmp_path / "executed").exists()  # it would have been


def test_a_checkpoint_of_other_searches_is_passed_over(saved):
    run, _ = saved
    folder = run.checkpoints._folder
    other = Checkpoints(folder, "other", run.ledger)
    for slot in (0, 1):
        for suffix in (".json", ".safetensors"):
            other._path(slot).with_suffix(suffix).write_bytes(
                run.checkpoints._path(slot).with_suffix(suffix).read_bytes()
            )
    assert other.load(run.start) is None
    assert run.checkpoints.load(search.start(problem(2), GA)) is None
    assert run.checkpoints.load(search.start(problem(3, POPULATION + 1), GA)) is None
    plain = dataclasses.replace(problem(), genomes=problem().genomes.genes)
    assert run.checkpoints.load(search.start(plain, GA)) is None
    assert run.checkpoints.load(search.start(problem(), GA)) is not None


def test_a_checkpoint_whose_answers_are_not_there_is_passed_over(saved, tmp_path):
    run, _ = saved
    store = Store(tmp_path / "another.sqlite", owner=True)
    ledger = Ledger(linear(), searches=["a", "b", "c"], store=store, chain="shard")
    assert Checkpoints(run.checkpoints._folder, "shard", ledger).load(run.start) is None


def test_a_checkpoint_of_another_algorithm_is_passed_over(saved):
    @dataclasses.dataclass(frozen=True)
    class Walk:
        at: Tensor

    run, _ = saved
    state = Walk(torch.zeros(3, 2))
    assert run.checkpoints.load(Progress(-1, state, run.start.running, run.start.success)) is None
    assert nested(state, "state", {"state.at": torch.ones(3, 2)}).at.sum() == 6


def test_a_checkpoint_that_cannot_be_replaced_is_an_error_of_one_line(tmp_path):
    run = Run(tmp_path)
    run.checkpoints._path(0).mkdir(parents=True)
    with pytest.raises(UserError, match="cannot be replaced"):
        run.checkpoints.save(run.start)
