"""Smaller calls: only where they answer bit for bit like full ones, never before it pays, and nothing shows of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from evofool import calls as module
from evofool.calls import Calls
from evofool.classifiers.fake import Linear
from evofool.classifiers.torch import TorchClassifier
from evofool.contracts import ClassifierInfo
from evofool.errors import OutOfMemoryError, TargetError
from evofool.ledger import Ledger
from evofool.networks import small_cnn
from evofool.rng import Stream, untouched
from evofool.studies.attack.given import Config
from evofool.studies.attack.shards import assault
from fakes import linear, stream

FULL = 32
SIZES = [4, 8, 16]
COST = FULL * (1 + len(SIZES))  # rows that are asked about when smaller calls are tried


class Watched:
    """Linear scores that never round otherwise, each call kept; steady unless it is said not to be.

    Args:
        otherwise: rows of calls that answer a little less.
        error: what calls of such sizes raise.
    """

    steady = True

    def __init__(self, micro_batch=FULL, otherwise=(), error=None, nan=False, constant=False, **changes):
        weight = Stream([3], [0])["weight"].uniform(3, 1, 4, 4)[0] - 0.5
        self.inner = Linear(torch.zeros_like(weight) if constant else weight, micro_batch=micro_batch)
        self.info = dataclasses.replace(self.inner.info, **changes)
        self.otherwise, self.error, self.nan, self.seen = otherwise, error, nan, []

    @property
    def sizes(self):
        return [len(images) for images in self.seen]

    def __call__(self, images):
        self.seen.append(images.clone())
        scores = self.inner(images)
        if len(images) in self.otherwise:
            if self.error:
                raise self.error
            scores[-1, 0] = scores[-1, 0].nextafter(torch.tensor(torch.inf))  # one row by one bit
        return scores * torch.nan if self.nan else scores


def images(count: int) -> torch.Tensor:
    return (stream()["images"].uniform(count, 1, 4, 4)[0] * 255).round() / 255


def sizes_of(ledger: Ledger) -> tuple[int, ...]:
    """Of the smaller calls that it takes."""
    return ledger._delivery._calls.sizes


def one_by_one(classifier, rounds: int, ledger: Ledger | None = None) -> Ledger:
    """One image at a time, as often as it is said."""
    ledger = ledger or Ledger(classifier, searches=1, cache=False)
    for _ in range(rounds):
        ledger.ask(images(1), torch.tensor([0]))
    return ledger


ENOUGH = -(-COST // (FULL - 1))  # calls with one row, after which filling has taken as much as trying


# When smaller calls are tried, and what comes of it


def test_smaller_calls_are_tried_when_filling_has_taken_as_much_and_are_taken_from_then_on():
    classifier = Watched()
    ledger = one_by_one(classifier, ENOUGH - 1)
    assert set(classifier.sizes) == {FULL}, "tried too early"
    before = len(classifier.sizes)
    ledger.ask(images(1), torch.tensor([0]))
    assert classifier.sizes[before:] == [FULL, 16, 16, *[8] * 4, *[4] * 8, 4]
    ledger.ask(images(1), torch.tensor([0]))
    assert classifier.sizes[-1] == 4


def test_what_is_tried_stands_in_no_account():
    classifier = Watched()
    ledger = one_by_one(classifier, 2 * ENOUGH)
    assert sizes_of(ledger) == (4, 8, 16)
    counts = ledger.counts
    assert counts.issued.tolist() == counts.answered.tolist() == [2 * ENOUGH]
    assert counts.padded == (ENOUGH - 1) * (FULL - 1) + (ENOUGH + 1) * 3
    assert sum(classifier.sizes) == 2 * ENOUGH + counts.padded + 4 * FULL


def test_what_is_tried_are_random_images_of_bytes_over_all_places():
    classifier = Watched()
    one_by_one(classifier, ENOUGH)
    full, *small = classifier.seen[ENOUGH - 1 : -1]
    assert torch.equal((full * 255).round() / 255, full) and float(full.min()) >= 0 and float(full.max()) <= 1
    assert len(full.unique(dim=0)) == FULL and not any(
        bool((full == image).all((1, 2, 3)).any()) for image in images(1)
    )
    for size in SIZES:
        assert torch.equal(torch.cat([part for part in small if len(part) == size]), full)


def test_full_calls_alone_try_nothing():
    classifier = Watched()
    ledger = Ledger(classifier, searches=1, cache=False)
    for _ in range(20):
        ledger.ask(images(2 * FULL), torch.zeros(2 * FULL, dtype=torch.int64))
    assert set(classifier.sizes) == {FULL} and ledger.counts.padded == 0


@pytest.mark.parametrize(("otherwise", "left"), [((4,), (8, 16)), ((8,), (16,)), ((16,), ()), ((4, 8, 16), ())])
def test_sizes_that_answer_otherwise_by_one_bit_and_all_below_them_are_not_taken(otherwise, left):
    classifier = Watched(otherwise=otherwise)
    ledger = one_by_one(classifier, ENOUGH + 1)
    assert sizes_of(ledger) == left
    assert classifier.sizes[-1] == (left[0] if left else FULL)


@pytest.mark.parametrize(
    ("otherwise", "left", "between"), [((), SIZES, [12, 20, 24, 28]), ((4, 8), [16], [20, 24, 28])]
)
def test_sizes_in_between_are_tried_in_a_turn_of_their_own(otherwise, left, between):
    """Again when filling has taken as much as trying; and none below the smallest that is taken."""
    classifier = Watched(otherwise=otherwise)
    ledger = one_by_one(classifier, ENOUGH)
    assert sizes_of(ledger) == tuple(left)
    takes = FULL + sum(-(-FULL // size) * size for size in between)
    enough = -(-takes // 3)  # 13 rows in a call of 16

    def ask(rows: int) -> None:
        ledger.ask(images(rows), torch.zeros(rows, dtype=torch.int64))

    for _ in range(enough - 1):
        ask(13)
    assert sizes_of(ledger) == tuple(left), "tried too early"
    before = len(classifier.sizes)
    ask(13)
    tried = classifier.sizes[before:]
    assert sum(tried[:-1]) == takes, "trying took more than was spent on filling"
    assert set(tried[:-1]) == {FULL, *between}
    assert sizes_of(ledger) == tuple(sorted((*left, *between)))
    ask(18)
    assert classifier.sizes[-1] == 20


@pytest.mark.parametrize(
    "error", [TargetError("no"), OutOfMemoryError("no"), TargetError("no", fatal=True), RuntimeError("no")]
)
def test_smaller_calls_that_fail_are_not_taken_and_harm_nobody(error):
    classifier = Watched(otherwise=SIZES, error=error)
    ledger = one_by_one(classifier, ENOUGH + 3)
    assert sizes_of(ledger) == () and classifier.sizes.count(16) == 1
    assert classifier.sizes[-3:] == [FULL] * 3
    assert ledger.counts.answered.tolist() == [ENOUGH + 3] and ledger.counts.failed.tolist() == [0]


@pytest.mark.parametrize("what", ["nan", "constant"])
def test_answers_that_hide_how_they_are_rounded_prove_nothing(what):
    classifier = Watched(**{what: True})
    one_by_one(classifier, ENOUGH + 1)
    assert set(classifier.sizes) == {FULL}


@pytest.mark.parametrize(
    "changes",
    [
        {"metered": True},
        {"device": "remote"},
        {"device": "cuda"},
        {"kind": "label"},
        {"kind": "top-k"},
        {"micro_batch": 4},
        {"micro_batch": 1},
    ],
)
def test_who_is_never_tried(changes):
    classifier = Watched(**changes)
    info = classifier.info
    one_by_one(classifier, 10 * ENOUGH)
    assert set(classifier.sizes) == {1 if info.remote else info.micro_batch}


def test_who_does_not_say_that_it_is_steady_is_never_tried():
    classifier = Watched()
    classifier.steady = False
    one_by_one(classifier, 10 * ENOUGH)
    assert set(classifier.sizes) == {FULL}
    assert not any(getattr(made, "steady", False) for made in (linear(), Linear))


def test_what_was_tried_once_is_not_tried_again_but_each_ledger_pads_as_if_it_was_alone():
    classifier = Watched()
    first = one_by_one(classifier, ENOUGH + 3)
    seen = len(classifier.sizes)
    other = one_by_one(classifier, ENOUGH + 3)
    assert classifier.sizes[seen:] == [*[FULL] * (ENOUGH - 1), *[4] * 4]
    assert first.counts.padded == other.counts.padded
    one_by_one(another := Watched(), ENOUGH)
    assert another.sizes.count(16) == 2, "another classifier is another matter"


def test_one_that_cannot_stand_in_a_dictionary_is_tried_too():
    class Unhashable(Watched):
        __hash__ = None

    assert sizes_of(one_by_one(Unhashable(), ENOUGH)) == (4, 8, 16)


def test_with_another_number_of_threads_it_is_tried_anew():
    classifier = Watched()
    ledger = one_by_one(classifier, ENOUGH)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        one_by_one(classifier, 1, ledger)
        assert classifier.sizes[-1] == FULL
        one_by_one(classifier, ENOUGH, ledger)
        assert classifier.sizes[-1] == 4 and classifier.sizes.count(16) == 2 * 2
    finally:
        torch.set_num_threads(threads)


def test_when_memory_runs_out_calls_get_smaller_as_before():
    classifier = Watched()
    ledger = one_by_one(classifier, ENOUGH)
    classifier.otherwise, classifier.error = (FULL, 16), OutOfMemoryError("no memory")
    before = len(classifier.sizes)
    answers = ledger.ask(images(FULL), torch.zeros(FULL, dtype=torch.int64))
    assert torch.equal(answers.scores, classifier.inner(images(FULL)))
    assert classifier.sizes[before:] == [FULL, 16, 8, 8, 8, 8] and ledger._delivery.size == 8
    ledger.ask(images(1), torch.tensor([0]))
    assert classifier.sizes[-1] == 4


# Which calls


def planned(rows: int, sizes: tuple[int, ...], full: int = FULL) -> list[int]:
    calls = Calls(Watched())
    calls.sizes = sizes
    parts = list(calls.cut(range(rows), full))
    assert [row for part in parts for row in part] == list(range(rows)) and all(parts)
    return [calls.size(len(part), full) for part in parts]


@pytest.mark.parametrize(
    ("rows", "sizes", "expected"),
    [
        (0, (4, 8, 16), []),
        (1, (4, 8, 16), [4]),
        (5, (4, 8, 16), [8]),  # 4 + 4 takes two calls
        (9, (4, 8, 16), [8, 4]),  # 16 rows take more than 12 in two calls
        (13, (4, 8, 16), [16]),
        (20, (4, 8, 16), [16, 4]),
        (24, (4, 8, 16), [16, 8]),
        (25, (4, 8, 16), [FULL]),  # 16 + 8 + 4 takes three calls
        (29, (4, 8, 16), [FULL]),
        (64, (4, 8, 16), [FULL, FULL]),
        (65, (4, 8, 16), [FULL, FULL, 4]),
        (17, (16,), [FULL]),  # 16 + 16 is no less
        (5, (), [FULL]),
    ],
)
def test_calls_worked_out_by_hand(rows, sizes, expected):
    assert planned(rows, sizes) == expected


def test_where_memory_ran_out_no_call_is_larger():
    assert planned(20, (4, 8, 16), full=8) == [8, 8, 4]
    assert planned(7, (16,), full=8) == [8]
    assert planned(5, (4, 8, 16), full=2) == [2, 2, 2]


# Networks


def network(seed: int = 0) -> TorchClassifier:
    """A small CNN with weights of its own draw, in calls of 50."""
    with untouched():
        made = small_cnn(1, 10, (28, 28))
    rng = Stream([seed], [0])
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.copy_((rng[name].uniform(*parameter.shape)[0] - 0.5) * 2 / max(1, parameter[0].numel()) ** 0.5)
    names = tuple(map(str, range(10)))
    return TorchClassifier(
        made, ClassifierInfo("cnn", "logits", names, (1, 28, 28), "00" * 32, 50, memory_format="channels_last")
    )


def digits(count: int) -> torch.Tensor:
    rng = Stream([1] * count, range(count))
    levels = (rng["levels"].uniform(1, 28, 28) * 255).round() / 255
    return torch.where(rng["blank"].uniform(1, 28, 28) < rng["share"].uniform(1, 1, 1), 0.0, levels)


def test_a_network_gives_the_same_bits_in_whatever_calls_were_found_alike():
    classifier = network()
    x = digits(200)
    full = torch.cat([classifier(part) for part in x.split(50)])
    calls = Calls(classifier)
    tried: list[int] = []

    def ask(part: torch.Tensor) -> np.ndarray:
        tried.append(len(part))
        return classifier(part).numpy()

    for _ in range(50):
        calls.try_smaller(1, 50, ask)
    assert tried[:2] == [50, 32], "never tried"
    assert calls.sizes, "nothing was found alike, so nothing is shown here"
    for rows in (1, 2, 3, 5, 11, 23, 49, 50, 73, 200):
        for first in (0, 17, 200 - rows):
            some = x[first : first + rows]
            parts = [some[part] for part in calls.cut(range(len(some)), 50)]
            asked = [classifier(module.filled(part, calls.size(len(part), 50)))[: len(part)].numpy() for part in parts]
            assert np.concatenate(asked).tobytes() == full[first : first + rows].numpy().tobytes()


@pytest.mark.parametrize("recipe", ["square", "genepool"])
def test_an_attack_gives_the_same_bytes_with_smaller_calls_and_without(recipe):
    found = []
    for steady in (True, False):
        classifier = network()
        classifier.steady = steady
        x = digits(12)
        ledger = Ledger(classifier, searches=[f"image {i}" for i in range(12)], budget=60, cache=False)
        labels = classifier(module.filled(x, 50))[:12].argmax(1)
        config = Config("cnn", "digits", "linf", 0.05, recipe=recipe, budget=60, cache=False)
        done = assault(x, labels, config=config, ledger=ledger)
        found.append((done, ledger.counts, bool(sizes_of(ledger))))
    (one, counts, smaller), (other, counts_other, none) = found
    assert not none
    assert bool(one.queries.sum() > 100), "the attack has to take some queries"
    for name in ("images", "scores", "fooled", "queries"):
        assert getattr(one, name).numpy().tobytes() == getattr(other, name).numpy().tobytes()
    assert counts.issued.tolist() == counts_other.issued.tolist()
    assert counts.padded < counts_other.padded if smaller else counts.padded >= counts_other.padded


class Drawing(nn.Module):
    """Scores with noise from the global generator."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :10] + torch.rand(len(x), 10)


def test_a_model_that_draws_draws_the_same_whether_it_was_tried_or_not():
    names = tuple(map(str, range(10)))
    scores = []
    with untouched():
        for steady in (True, False):
            torch.manual_seed(5)
            classifier = TorchClassifier(Drawing(), ClassifierInfo("noise", "logits", names, (1, 28, 28), "0" * 64, 32))
            classifier.steady = steady
            ledger = Ledger(classifier, searches=1, cache=False)
            found = [ledger.ask(digits(1), torch.tensor([0])).scores for _ in range(ENOUGH + 3)]
            scores.append(torch.cat(found))
            assert ledger.counts.padded == (ENOUGH + 3) * 31 and sizes_of(ledger) == ()
    assert torch.equal(*scores)
