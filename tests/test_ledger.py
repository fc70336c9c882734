"""The ledger: every row is charged before it is sent, no budget is ever exceeded, and what went wrong is told."""

from __future__ import annotations

import dataclasses
import hashlib
import signal
import sqlite3
import sys
import threading
import time
from contextlib import closing

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evofool import accounts, schema
from evofool import ledger as module
from evofool import store as store_module
from evofool.classifiers.fake import Constant, Counting, Failing, Silent
from evofool.contracts import Status
from evofool.errors import ClassifierError, DamagedRunError, OutOfMemoryError, TargetError
from evofool.ledger import Ledger, hashes
from evofool.store import Store
from fakes import linear, same, stream

ANSWERED, FAILED, UNSENT = (int(status) for status in (Status.ANSWERED, Status.FAILED, Status.UNSENT))


def images(count: int) -> torch.Tensor:
    return stream()["images"].uniform(count, 1, 4, 4)[0]


def payers(*search: int) -> torch.Tensor:
    return torch.tensor(search, dtype=torch.int64)


class Recording:
    """Passes everything on, and keeps the images it was given."""

    def __init__(self, classifier):
        self.classifier, self.info, self.seen = classifier, classifier.info, []

    def __call__(self, batch):
        self.seen.append(batch.clone())
        return self.classifier(batch)


class Planned:
    """Answers with what was planned, whatever it is asked."""

    def __init__(self, answer: torch.Tensor, kind: str = "logits"):
        self.info = dataclasses.replace(linear().info, kind=kind, micro_batch=len(answer))
        self.answer = answer

    def __call__(self, batch):
        return self.answer


def metered(classifier):
    classifier.info = dataclasses.replace(classifier.info, metered=True)
    return classifier


# Answers


@pytest.mark.parametrize("count", [1, 6, 7, 8, 14, 20])
def test_rows_come_back_in_the_order_they_were_asked(count):
    classifier = linear(micro_batch=7)
    answers = Ledger(classifier, searches=1).ask(images(count), payers(*[0] * count))
    for row, image in enumerate(images(count)):
        assert torch.equal(answers.scores[row], classifier(image[None])[0])
    assert answers.status.tolist() == [ANSWERED] * count


def test_a_classifier_may_answer_in_the_same_buffer_each_time():
    buffer = torch.empty(4, 3)

    class Reusing(Recording):
        def __call__(self, batch):
            return buffer.copy_(self.classifier(batch))

    ledger = Ledger(Reusing(linear(micro_batch=4)), searches=1)
    answers = ledger.ask(images(11), payers(*[0] * 11))
    assert torch.equal(answers.scores, linear()(images(11)))
    buffer.zero_()
    assert torch.equal(answers.scores, linear()(images(11)))


def test_answers_in_double_precision_are_brought_to_single():
    class Double(Recording):
        def __call__(self, batch):
            return self.classifier(batch).double()

    scores = Ledger(Double(linear()), searches=1).ask(images(11), payers(*[0] * 11)).scores
    assert scores.dtype == torch.float32 and torch.equal(scores, linear()(images(11)))


def test_an_empty_batch_is_not_sent():
    classifier = Counting(linear())
    answers = Ledger(classifier, searches=1).ask(images(0), payers())
    assert answers.scores.shape == (0, 3) and answers.status.shape == (0,) and classifier.calls == 0


def test_each_search_pays_for_its_own_rows():
    ledger = Ledger(linear(), searches=3)
    ledger.ask(images(6)[:5], payers(2, 0, 2, 2, 0))
    ledger.ask(images(6)[5:], payers(2))
    counts = ledger.counts
    assert counts.issued.tolist() == counts.answered.tolist() == [2, 0, 4]
    assert counts.failed.tolist() == [0, 0, 0]


def test_counts_that_were_given_away_do_not_change_later():
    ledger = Ledger(linear(), searches=1)
    before = ledger.counts
    ledger.ask(images(2), payers(0, 0))
    assert before.issued.tolist() == [0] and before.padded == 0


# Padding


@pytest.mark.parametrize(("count", "padded"), [(1, 6), (6, 1), (7, 0), (8, 6), (14, 0)])
def test_a_local_classifier_always_gets_full_calls_and_padding_has_its_own_column(count, padded):
    classifier = Counting(linear(micro_batch=7))
    ledger = Ledger(classifier, searches=2)
    answers = ledger.ask(images(count), payers(*[1] * count))
    assert set(classifier.sizes) == {7} and classifier.rows == count + padded
    assert ledger.counts.padded == padded
    assert ledger.counts.issued.tolist() == [0, count] and len(answers.scores) == count


def test_padding_repeats_a_row_of_the_call():
    recorded = Recording(linear(micro_batch=4))
    Ledger(recorded, searches=1).ask(images(6), payers(*[0] * 6))
    assert torch.equal(recorded.seen[1], images(6)[[4, 5, 5, 5]])


def test_a_metered_classifier_is_never_padded():
    classifier = Counting(metered(linear(micro_batch=7)))
    ledger = Ledger(classifier, searches=1)
    ledger.ask(images(17), payers(*[0] * 17))
    assert classifier.sizes == [7, 7, 3] and ledger.counts.padded == 0


def test_a_padded_row_without_an_answer_fails_nobody():
    silent = Silent(linear(micro_batch=4), lambda batch: torch.arange(len(batch)) >= 2)  # by place, to mark the padding
    ledger = Ledger(silent, searches=1)
    assert ledger.ask(images(2), payers(0, 0)).status.tolist() == [ANSWERED] * 2
    assert ledger.counts.failed.tolist() == [0]


# Budgets


@pytest.mark.parametrize("budget", [1, 2, 7])
def test_a_budget_is_never_exceeded_and_fully_used(budget):
    recorded = Recording(metered(linear(micro_batch=3)))
    ledger = Ledger(recorded, searches=2, budget=budget)
    statuses = []
    for first in range(0, 20, 4):
        batch = images(24)[first : first + 4]
        answers = ledger.ask(batch, payers(0, 1, 0, 1))
        statuses += answers.status.tolist()
        sent = answers.status != UNSENT
        assert bool(answers.scores[~sent].isnan().all()) and not bool(answers.scores[sent].isnan().any())
        assert torch.equal(answers.scores[sent], linear()(batch[sent]))
    assert ledger.counts.issued.tolist() == [budget, budget]
    assert sum(map(len, recorded.seen)) == 2 * budget
    assert statuses == [ANSWERED] * (2 * budget) + [UNSENT] * (20 - 2 * budget)


@pytest.mark.parametrize("total", [1, 2, 7])
def test_a_total_is_never_exceeded_by_all_searches_together(total):
    classifier = Counting(metered(linear()))
    ledger = Ledger(classifier, searches=3, total=total)
    statuses = []
    for batch in images(9).split(3):
        statuses += ledger.ask(batch, payers(2, 0, 1)).status.tolist()
    assert statuses == [ANSWERED] * total + [UNSENT] * (9 - total)
    assert int(ledger.counts.issued.sum()) == classifier.rows == total


def test_a_batch_is_split_at_the_edge_in_its_own_order():
    ledger = Ledger(linear(), searches=3, budget=2)
    status = ledger.ask(images(8), payers(2, 0, 0, 2, 0, 2, 1, 0)).status
    assert status.tolist() == [ANSWERED, ANSWERED, ANSWERED, ANSWERED, UNSENT, UNSENT, ANSWERED, UNSENT]
    assert ledger.counts.issued.tolist() == [2, 1, 2]


def test_what_one_search_may_not_send_is_left_to_the_total():
    ledger = Ledger(linear(), searches=2, budget=2, total=3)
    status = ledger.ask(images(6), payers(0, 0, 0, 0, 1, 1)).status
    assert status.tolist() == [ANSWERED, ANSWERED, UNSENT, UNSENT, ANSWERED, UNSENT]


def test_a_spent_budget_sends_nothing():
    classifier = Counting(linear())
    ledger = Ledger(classifier, searches=1, budget=3)
    ledger.ask(images(5)[:3], payers(0, 0, 0))
    calls = classifier.calls
    answers = ledger.ask(images(5)[3:], payers(0, 0))
    assert answers.status.tolist() == [UNSENT, UNSENT] and answers.scores.shape == (2, 3)
    assert classifier.calls == calls == 1


@given(
    batches=st.lists(st.lists(st.integers(0, 2), max_size=9), max_size=5),
    budget=st.none() | st.integers(1, 9),
    total=st.none() | st.integers(1, 15),
)
def test_budgets_hold_row_by_row(batches, budget, total):
    """Against a count that looks at one row at a time."""
    ledger = Ledger(linear(), searches=3, budget=budget, total=total)
    spent = [0, 0, 0]
    for batch, pictures in zip(batches, images(45).split(9), strict=False):
        status = ledger.ask(pictures[: len(batch)], payers(*batch)).status.tolist()
        expected = []
        for search in batch:
            sent = (budget is None or spent[search] < budget) and (total is None or sum(spent) < total)
            spent[search] += sent
            expected.append(ANSWERED if sent else UNSENT)
        assert status == expected
    assert ledger.counts.issued.tolist() == spent


def test_searches_of_one_name_share_one_account_and_its_budget():
    ledger = Ledger(linear(), searches=["a", "a", "b"], budget=3)
    status = ledger.ask(images(6), payers(0, 1, 2, 0, 1, 2)).status
    assert status.tolist() == [ANSWERED, ANSWERED, ANSWERED, ANSWERED, UNSENT, ANSWERED]
    assert ledger.counts.issued.tolist() == [3, 3, 2] and ledger.store.total() == 5
    assert ledger.store.damage() == []


@pytest.mark.parametrize("beside", ["in memory", "in one file", "through another store"])
def test_what_another_ledger_charges_to_the_same_account_is_seen(tmp_path, beside):
    """Budgets are read from the books each time: 5 of a, of which another ledger spends 2, and then 1 more of b."""
    store = Store() if beside == "in memory" else Store(tmp_path / "ledger.sqlite", owner=True)
    another = Store(tmp_path / "ledger.sqlite") if beside == "through another store" else store
    one = Ledger(linear(), searches=["a", "b"], budget=5, total=7, store=store, chain="one")
    other = Ledger(linear(), searches=["b", "a"], budget=5, total=7, store=another, chain="other")
    assert one.ask(images(9)[:2], payers(0, 0), (0,)).status.tolist() == [ANSWERED] * 2
    assert other.ask(images(9)[:2], payers(1, 1), (0,)).status.tolist() == [ANSWERED] * 2
    assert one.ask(images(9)[2:4], payers(0, 0), (1,)).status.tolist() == [ANSWERED, UNSENT]
    assert other.ask(images(9)[4:7], payers(1, 0, 0), (1,)).status.tolist() == [UNSENT, ANSWERED, ANSWERED]
    assert one.ask(images(9)[7:], payers(1, 1), (2,)).status.tolist() == [UNSENT] * 2  # the total is spent
    assert one.counts.issued.tolist() == other.counts.issued.tolist()[::-1] == [5, 2]
    assert one.needed.tolist() == [3, 0] and other.needed.tolist() == [2, 2]
    assert store.damage() == [] and store.total() == 7


def test_what_it_costs_to_ask_does_not_grow_with_the_searches_that_share_the_ledger(tmp_path):
    """In steps of SQLite's machine, which are the same each time: no account is read but those of the batch."""
    steps = {}
    for searches in (10, 2000):
        (tmp_path / str(searches)).mkdir()
        store = Store(tmp_path / str(searches) / "ledger.sqlite", owner=True)
        ledger = Ledger(linear(), searches=searches, budget=99, total=999, store=store)
        ledger.ask(images(30)[:20], payers(*range(10), *range(10)), (0,))
        taken = [0]
        store._database.set_progress_handler(lambda taken=taken: taken.__setitem__(0, taken[0] + 1), 1)
        ledger.ask(images(30)[20:], payers(*range(10)), (1,))
        store._database.set_progress_handler(None, 0)
        assert tally(ledger)["answered"] == [3] * 10 + [0] * (searches - 10)
        steps[searches] = taken[0]
    assert 100 < steps[2000] <= steps[10] + 10


@pytest.mark.parametrize("cache", [True, False])
def test_only_the_accounts_of_a_batch_are_looked_at(monkeypatch, cache):
    class Known(list):
        """Names that are looked up one by one, never gone through."""

        def __iter__(self):
            pytest.fail("it went through all searches")

    asked = []
    ledger = Ledger(linear(), searches=1000, budget=3, cache=cache)
    ledger.searches = Known(ledger.searches)
    issued = ledger.store.issued
    monkeypatch.setattr(ledger.store, "issued", lambda names: asked.append(sorted(names)) or issued(names))
    ledger.ask(images(5), payers(7, 900, 7, 7, 7))
    assert asked == [["7", "900"]]
    assert {name: n["issued"] for name, n in ledger.store.counts().items() if n["issued"]} == {"7": 3, "900": 1}


def test_rows_of_a_search_that_is_not_there_are_nobody_elses():
    ledger = Ledger(linear(), searches=2)
    for wrong in (-1, 2):
        with pytest.raises((AssertionError, IndexError)):
            ledger.ask(images(2), payers(0, wrong))
    assert ledger.counts.issued.tolist() == [0, 0]


@pytest.mark.parametrize("limit", [{"budget": 0}, {"total": -1}])
def test_a_budget_of_nothing_is_refused(limit):
    with pytest.raises(ClassifierError, match="expected at least one query, or no limit"):
        Ledger(linear(), searches=1, **limit)


# Failures


def test_a_row_without_an_answer_is_charged_and_counted_as_failed():
    bright = lambda batch: batch[:, 0, 0, 0] > 0.5  # noqa: E731
    batch = images(12)
    expected = bright(batch)
    assert 0 < int(expected.sum()) < 12
    ledger = Ledger(Silent(linear(), bright), searches=2)
    search = torch.arange(12) % 2
    answers = ledger.ask(batch, search)
    assert torch.equal(answers.status == FAILED, expected)
    assert torch.equal(answers.scores.isnan().all(1), expected)
    counts = ledger.counts
    assert counts.issued.tolist() == [6, 6]
    assert counts.failed.tolist() == [int(expected[search == s].sum()) for s in (0, 1)]
    assert torch.equal(counts.answered + counts.failed, counts.issued)


@pytest.mark.parametrize(
    ("row", "usable"),
    [
        ([1.0, 2.0, 3.0], True),
        ([1.0, -torch.inf, 3.0], True),  # a top-k answer leaves classes out
        ([1.0, torch.nan, 3.0], False),
        ([torch.nan] * 3, False),
        ([1.0, torch.inf, 3.0], False),  # overflow: no probability can be made of it
        ([-torch.inf] * 3, False),
    ],
)
def test_only_an_answer_with_a_finite_first_choice_is_usable(row, usable):
    ledger = Ledger(Planned(torch.tensor([row, [0.0, 0.0, 1.0]])), searches=1)
    answers = ledger.ask(images(2), payers(0, 0))
    assert answers.status.tolist() == [ANSWERED if usable else FAILED, ANSWERED]
    assert answers.scores[0].tolist() == row if usable else bool(answers.scores[0].isnan().all())
    assert ledger.counts.failed.item() == (not usable)


def test_rows_are_charged_before_they_are_sent():
    failing = Failing(linear(micro_batch=4), calls=[2], retry_after=3.0, fatal=True)
    ledger = Ledger(failing, searches=2)
    with pytest.raises(TargetError) as caught:
        ledger.ask(images(10), payers(*[0] * 6, *[1] * 4), key=(3, 1))
    # Of three calls the first was answered, the second failed, the third was never sent and is not charged.
    assert ledger.counts.issued.tolist() == [6, 2]
    assert ledger.counts.answered.tolist() == [4, 0] and ledger.counts.failed.tolist() == [2, 2]
    assert failing.calls == 2 and ledger.store.damage() == []
    assert str(caught.value) == "failing linear failed to answer (batch 3, 1): call 2 fails on purpose"
    assert (caught.value.retry_after, caught.value.fatal, caught.value.exit_code) == (3.0, True, 3)


def test_a_failed_call_spends_budget():
    ledger = Ledger(Failing(linear(), calls=[1], fatal=True), searches=1, budget=3)
    with pytest.raises(TargetError, match=r"^failing linear failed to answer: call 1"):
        ledger.ask(images(2), payers(0, 0))
    assert ledger.ask(images(2), payers(0, 0)).status.tolist() == [ANSWERED, UNSENT]


# What does not fit


@pytest.mark.parametrize("shape", [(2, 1, 4, 5), (2, 3, 4, 4), (2, 4, 4), (2, 16)])
def test_images_of_another_shape_are_refused_before_they_are_charged(shape):
    ledger = Ledger(linear(), searches=1)
    with pytest.raises(ClassifierError, match=r"for linear, which expects \(1, 4, 4\)"):
        ledger.ask(torch.zeros(shape), payers(0, 0))
    assert ledger.counts.issued.tolist() == [0]


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("wrong", [256 / 255, -1 / 255, 1 + 1e-6, -1e-6, 255.0, torch.inf, torch.nan])
def test_images_outside_their_range_are_refused_before_they_are_charged(wrong, cache):
    """Also where a byte would hold them after turning over, as 256 gray levels."""
    ledger = Ledger(linear(), searches=1, cache=cache)
    batch = (images(3) * 255).round() / 255
    batch[1, 0, 2, 3] = wrong
    with pytest.raises(ClassifierError, match=r"expected \[0, 1\]"):
        ledger.ask(batch, payers(0, 0, 0))
    assert ledger.counts.issued.tolist() == [0]
    batch[1, 0, 2, 3] = 0.3  # between two levels
    assert ledger.ask(batch, payers(0, 0, 0)).status.tolist() == [ANSWERED] * 3


@pytest.mark.parametrize("shape", [(2, 4), (3, 3), (2,), (2, 3, 1)])
def test_scores_of_another_shape_are_refused(shape):
    planned = Planned(torch.zeros(2, 3))
    planned.answer = torch.zeros(shape)
    with pytest.raises(ClassifierError, match=r"expected \(2, 3\): one row an image"):
        Ledger(planned, searches=1).ask(images(2), payers(0, 0))


@pytest.mark.parametrize("wrong", [-0.01, 1.01, 7.0, torch.inf])
def test_probabilities_outside_their_range_are_refused(wrong):
    with pytest.raises(ClassifierError, match=r"expected \[0, 1\]: does it give logits\?"):
        Ledger(Planned(torch.tensor([[0.5, 0.5, 0.0], [0.2, wrong, 0.3]]), "probabilities"), searches=1).ask(
            images(2), payers(0, 0)
        )


def test_probabilities_at_the_ends_and_missing_ones_are_no_error():
    answer = torch.tensor([[0.0, 1.0, 0.0], [torch.nan] * 3, [1 + 1e-7, -1e-7, 0.0]])
    status = Ledger(Planned(answer, "probabilities"), searches=1).ask(images(3), payers(0, 0, 0)).status
    assert status.tolist() == [ANSWERED, FAILED, ANSWERED]


def test_logits_may_be_any_number():
    answers = Ledger(Constant([-50.0, 900.0], (1, 4, 4)), searches=1).ask(images(1), payers(0))
    assert answers.scores.tolist() == [[-50.0, 900.0]]


def test_who_shares_the_batch_changes_no_bit():
    batch = images(20)
    whole = Ledger(linear(), searches=1).ask(batch, payers(*[0] * 20))
    parts = [Ledger(linear(), searches=1).ask(part, payers(*[0] * len(part))) for part in batch.split(3)]
    assert same(whole, type(whole)(*(torch.cat(side) for side in zip(*parts, strict=True))))


# Repeats


class Moody:
    """Answers differently each time it is asked."""

    def __init__(self, micro_batch: int = 7):
        self.info = dataclasses.replace(linear().info, micro_batch=micro_batch)
        self.calls = 0

    def __call__(self, batch):
        self.calls += 1
        return torch.full((len(batch), 3), float(self.calls))


def tally(ledger: Ledger) -> dict[str, list[int]]:
    counts = ledger.counts
    names = ("issued", "answered", "failed", "lost", "repeated")
    return {name: getattr(counts, name).tolist() for name in names}


def test_an_image_that_the_same_search_asked_before_is_answered_from_the_cache():
    classifier = Moody()
    ledger = Ledger(classifier, searches=2)
    first = ledger.ask(images(3), payers(0, 0, 0))
    again = ledger.ask(images(3)[[2, 0]], payers(0, 0))
    assert same(again, type(first)(first.scores[[2, 0]], first.status[[2, 0]])) and classifier.calls == 1
    assert tally(ledger) == {
        "issued": [3, 0],
        "answered": [3, 0],
        "failed": [0, 0],
        "lost": [0, 0],
        "repeated": [2, 0],
    }


def test_what_another_search_asked_is_sent():
    recorded = Recording(metered(linear()))
    ledger = Ledger(recorded, searches=2)
    ledger.ask(images(2), payers(0, 0))
    ledger.ask(images(2), payers(1, 0))
    assert len(recorded.seen) == 2 and torch.equal(recorded.seen[1], images(2)[:1])
    assert tally(ledger)["issued"] == [2, 1] and tally(ledger)["repeated"] == [1, 0]


def test_a_repeat_within_one_batch_is_sent_once_for_each_search():
    recorded = Recording(metered(linear()))
    ledger = Ledger(recorded, searches=2)
    order = [0, 1, 0, 0, 2, 1]
    answers = ledger.ask(images(3)[order], payers(0, 0, 0, 1, 0, 1))
    assert torch.equal(recorded.seen[0], images(3)[[0, 1, 0, 2, 1]])  # the third row repeats the first
    assert torch.equal(answers.scores, linear()(images(3)[order])) and answers.status.tolist() == [ANSWERED] * 6
    assert tally(ledger)["issued"] == [3, 2] and tally(ledger)["repeated"] == [1, 0]


def test_what_was_not_answered_is_asked_again():
    dark = {"now": True}
    ledger = Ledger(Silent(linear(), lambda batch: (batch[:, 0, 0, 0] > -1) & dark["now"]), searches=1)
    assert ledger.ask(images(2), payers(0, 0)).status.tolist() == [FAILED, FAILED]
    dark["now"] = False
    assert ledger.ask(images(2), payers(0, 0)).status.tolist() == [ANSWERED, ANSWERED]
    assert tally(ledger)["issued"] == [4] and tally(ledger)["failed"] == [2] and tally(ledger)["repeated"] == [0]


def test_a_repeat_of_a_row_that_is_not_reached_or_not_answered_shares_its_fate():
    pair = images(2)[[0, 1, 1, 0]]
    ledger = Ledger(linear(), searches=1, budget=1)
    assert ledger.ask(pair, payers(*[0] * 4)).status.tolist() == [ANSWERED, UNSENT, UNSENT, ANSWERED]
    assert tally(ledger)["issued"] == [1] and tally(ledger)["repeated"] == [1]
    silent = Ledger(Silent(linear(), lambda batch: (batch == images(2)[1]).flatten(1).all(1)), searches=1)
    assert silent.ask(pair, payers(*[0] * 4)).status.tolist() == [ANSWERED, FAILED, FAILED, ANSWERED]
    assert tally(silent)["issued"] == [2] and tally(silent)["failed"] == [1]


def test_repeats_cost_no_budget():
    ledger = Ledger(linear(), searches=1, budget=3)
    ledger.ask(images(2), payers(0, 0))
    status = ledger.ask(images(4)[[0, 2, 1, 3, 0]], payers(*[0] * 5)).status
    assert status.tolist() == [ANSWERED, ANSWERED, ANSWERED, UNSENT, ANSWERED]
    assert tally(ledger)["issued"] == [3] and tally(ledger)["repeated"] == [3]


@pytest.mark.parametrize("where", ["in one batch", "in two"])
def test_without_a_cache_everything_is_sent(where):
    classifier = Counting(metered(linear()))
    ledger = Ledger(classifier, searches=1, cache=False)
    for batch in [images(1)[[0, 0]]] if where == "in one batch" else [images(1), images(1)]:
        ledger.ask(batch, payers(*[0] * len(batch)))
    assert classifier.rows == 2 and tally(ledger)["issued"] == [2] and tally(ledger)["repeated"] == [0]


def test_what_is_asked_freshly_passes_the_cache_by_and_is_what_it_holds_then():
    classifier = Moody()
    ledger = Ledger(classifier, searches=1)
    assert ledger.ask(images(2), payers(0, 0)).scores.unique().tolist() == [1]
    assert ledger.ask(images(1)[[0, 0]], payers(0, 0), fresh=True).scores.unique().tolist() == [2]
    assert ledger.ask(images(3)[2:], payers(0), fresh=True).scores.unique().tolist() == [3]
    assert tally(ledger)["issued"] == [5] and tally(ledger)["repeated"] == [0]
    assert ledger.ask(images(2), payers(0, 0)).scores[:, 0].tolist() == [2, 1]  # the first was asked again
    assert ledger.ask(images(3)[2:], payers(0)).scores.unique().tolist() == [3]


@pytest.mark.parametrize(("of", "expected"), [(0, [3, 3]), (1, [3, 2]), (2, [3, 1])])
def test_something_is_kept_back_of_every_budget(of, expected):
    ledger = Ledger(linear(), searches=2, budget=4, total=7 if of == 0 else 6)
    with ledger.keeping(1, of):
        ledger.ask(images(5), payers(*[0] * 5))
        ledger.ask(images(5), payers(*[1] * 5))
    assert tally(ledger)["issued"] == expected
    assert (ledger.budget, ledger.total) == (4, 7 if of == 0 else 6)
    ledger.ask(images(8)[5:], payers(0, 1, 0))
    assert sum(tally(ledger)["issued"]) == min(ledger.total, sum(expected) + 2)
    with ledger.keeping(0, 0):
        assert (ledger.budget, ledger.total) == (4, 7 if of == 0 else 6)
    with Ledger(linear(), searches=2).keeping(1, 2):
        pass


def test_the_oldest_answers_of_a_search_are_forgotten_first(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 3)
    ledger = Ledger(linear(), searches=2)
    ledger.ask(images(4), payers(*[0] * 4))
    ledger.ask(images(1), payers(1))
    ledger.ask(images(4)[1:], payers(0, 0, 0))
    assert tally(ledger)["issued"] == [4, 1] and tally(ledger)["repeated"] == [3, 0]
    ledger.ask(images(1), payers(0))
    assert tally(ledger)["issued"] == [5, 1]
    ledger.ask(images(4)[[3, 1]], payers(0, 0))  # 0 has put 1 out
    assert tally(ledger)["issued"] == [6, 1] and tally(ledger)["repeated"] == [4, 0]
    ledger.ask(images(1), payers(1))
    assert tally(ledger)["repeated"] == [4, 1]


@given(
    batches=st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), max_size=6), max_size=4),
    cache=st.booleans(),
)
def test_it_tells_beforehand_what_will_be_a_repeat(batches, cache):
    ledger = Ledger(linear(), searches=2, cache=cache)
    seen: set[tuple[int, int]] = set()
    for batch in batches:
        order, search = [image for image, _ in batch], payers(*(search for _, search in batch))
        expected = []
        for pair in batch:
            expected.append(cache and pair in seen)
            seen.add(pair)
        before = ledger.counts
        assert ledger.repeats(images(5)[order], search).tolist() == expected
        assert torch.equal(ledger.counts.issued, before.issued)
        ledger.ask(images(5)[order], search)
        assert int((ledger.counts.repeated - before.repeated).sum()) == sum(expected)
        assert int((ledger.counts.issued - before.issued).sum()) == len(batch) - sum(expected)


# Names of images


def test_images_have_one_name_whoever_shares_the_batch():
    on = (images(6) * 255).round() / 255
    off = on + 1e-4
    assert bool((off != on).flatten(1).any(1).all())
    together = hashes(torch.cat([on, off]))
    assert len(set(together)) == 12
    assert together == hashes(on) + hashes(off) == [hashes(image[None])[0] for image in torch.cat([on, off])]


def test_levels_that_a_byte_cannot_hold_are_not_taken_for_others():
    values = [0.0, 1.0, 256 / 255, -1 / 255, 2.0, torch.inf, torch.nan, 0.5]
    batch = torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    assert len(set(hashes(batch))) == len(values)


def test_the_same_levels_at_other_places_are_another_image():
    batch = torch.zeros(3, 1, 4, 4)
    batch[0, 0, 0, 1] = batch[1, 0, 1, 0] = 1.0
    assert len(set(hashes(batch))) == 3


@pytest.mark.parametrize("value", [0.25, 100 / 255])
def test_the_layout_in_memory_is_not_part_of_a_name(value):
    batch = torch.full((3, 3, 4, 5), value)
    batch[:, 1, 2, 3] = torch.tensor([0.0, 1.0, 17 / 255])
    spread = torch.zeros(3, 3, 4, 10)[..., ::2].copy_(batch)
    expected = hashes(batch)
    assert len(set(expected)) == 3
    for other in (batch.contiguous(memory_format=torch.channels_last), spread, batch.clone().requires_grad_()):
        assert hashes(other) == expected


def test_names_are_those_of_runs_that_were_stored_before():
    """Resumed runs compare them with what is in the file."""
    on, off = torch.arange(16).view(1, 1, 4, 4) / 255, torch.full((1, 1, 4, 4), 0.3)
    levels = hashlib.blake2b(bytes(range(16)), digest_size=16, person=b"levels").digest()
    floats = hashlib.blake2b(off.numpy().tobytes(), digest_size=16, person=b"floats").digest()
    assert hashes(torch.cat([on, off])) == [levels, floats]


# Requests


def test_a_metered_classifier_is_asked_in_requests_of_its_size():
    class Watching(Recording):
        def __call__(self, batch):
            issued.append(int(ledger.counts.issued.sum()))
            return self.classifier(batch)

    issued: list[int] = []
    watching = Watching(metered(linear(micro_batch=3)))
    ledger = Ledger(watching, searches=2)
    answers = ledger.ask(images(8), payers(0, 1, 0, 1, 0, 1, 0, 1))
    assert issued == [3, 6, 8]  # each is charged before it is sent
    assert torch.equal(answers.scores, linear()(images(8))) and ledger.counts.padded == 0
    assert tally(ledger)["answered"] == [4, 4]


class Backward:
    """Holds requests until all have arrived, and answers the last one first."""

    def __init__(self, classifier, batch, requests: int):
        self.info = dataclasses.replace(classifier.info, metered=True, concurrency=requests)
        self.classifier, self.order, self.most, self.inside = classifier, [], 0, 0
        self.firsts = batch[:: classifier.info.micro_batch]
        self.arrived = threading.Barrier(requests, timeout=60)
        self.done = [threading.Event() for _ in range(requests)] + [threading.Event()]
        self.done[-1].set()

    def __call__(self, batch):
        number = int((self.firsts == batch[:1]).flatten(1).all(1).nonzero())
        self.arrived.wait()
        assert self.done[number + 1].wait(60)
        self.order.append(number)
        scores = self.classifier(batch)
        self.done[number].set()
        return scores


def test_requests_in_flight_together_come_back_row_by_row(tmp_path):
    batch = images(11)
    classifier = Backward(linear(micro_batch=3), batch, 4)
    store = Store(tmp_path / "ledger.sqlite", owner=True)
    ledger = Ledger(classifier, searches=2, store=store)
    search = torch.arange(11) % 2
    answers = ledger.ask(batch, search, (0,))
    assert classifier.order == [3, 2, 1, 0]
    assert torch.equal(answers.scores, linear()(batch)) and answers.status.tolist() == [ANSWERED] * 11
    assert tally(ledger)["issued"] == tally(ledger)["answered"] == [6, 5] and store.damage() == []
    counting = Counting(classifier)
    assert same(Ledger(counting, searches=2, store=store).ask(batch, search, (0,)), answers) and not counting.calls


def test_one_of_several_requests_in_flight_may_fail(tmp_path):
    class Hating(Backward):
        def __call__(self, batch):
            scores = super().__call__(batch)
            if torch.equal(batch[0], self.firsts[1]):
                raise TargetError("no", fatal=True)
            return scores

    batch = images(9)
    store = Store(tmp_path / "ledger.sqlite", owner=True)
    ledger = Ledger(Hating(linear(micro_batch=3), batch, 3), searches=1, store=store)
    with pytest.raises(TargetError, match="no"):
        ledger.ask(batch, payers(*[0] * 9), (0,))
    assert (tally(ledger)["issued"], tally(ledger)["answered"], tally(ledger)["failed"]) == ([9], [6], [3])
    counting = Counting(metered(linear(micro_batch=3)))
    again = Ledger(counting, searches=1, store=store)
    assert torch.equal(again.ask(batch, payers(*[0] * 9), (0,)).scores, linear()(batch))
    assert counting.sizes == [3] and store.damage() == []


# Tries


def retrying(calls, *, micro_batch: int = 5, budget=None, tries=None, **error):
    """A ledger over a metered classifier that fails at some calls, and the waits between its tries."""
    waits: list[float] = []
    counting = Counting(metered(linear(micro_batch=micro_batch)))
    failing = Failing(counting, calls, **error)
    ledger = Ledger(failing, searches=1, budget=budget, tries=tries, sleep=waits.append)
    return ledger, failing, counting, waits


def test_a_request_that_fails_is_charged_and_sent_again():
    ledger, failing, counting, waits = retrying([1, 2])
    answers = ledger.ask(images(5), payers(*[0] * 5))
    assert torch.equal(answers.scores, linear()(images(5)))
    assert failing.calls == 3 and counting.sizes == [5] and waits == [0.5, 1.0]
    counts = tally(ledger)
    assert (counts["issued"], counts["failed"], counts["answered"]) == ([15], [10], [5])
    assert ledger.store.damage() == []


@pytest.mark.parametrize(
    ("wanted", "waited"), [(7.0, [7.0, 7.0]), (1000.0, [1000.0, 1000.0]), (0.7, [0.7, 1.0]), (0.0, [0.5, 1.0])]
)
def test_it_waits_as_long_as_the_target_asks_and_never_less_than_it_would(wanted, waited):
    ledger, _, _, waits = retrying([1, 2], retry_after=wanted)
    ledger.ask(images(1), payers(0))
    assert waits == waited


@pytest.mark.parametrize("tries", [None, 1, 2])
def test_after_five_failures_in_a_row_the_target_is_given_up(tries):
    ledger, failing, _, waits = retrying(range(1, 99), tries=tries, micro_batch=1)
    with pytest.raises(TargetError, match="5 failures in a row, the last one: call 5 fails on purpose") as caught:
        ledger.ask(images(9), payers(*[0] * 9))
    assert caught.value.fatal and failing.calls == 5
    assert len(waits) == {None: 4, 1: 0, 2: 2}[tries]
    assert tally(ledger)["issued"] == tally(ledger)["failed"] == [5]
    assert ledger.store.damage() == []


class Crowded:
    """A remote classifier that is busy for its first calls, several of which are in flight together."""

    def __init__(self, concurrency, busy, pause=0.05):
        inner = metered(linear(micro_batch=1))
        self.inner, self.info = inner, dataclasses.replace(inner.info, concurrency=concurrency)
        self.busy, self.pause, self.calls, self.lock = busy, pause, 0, threading.Lock()

    def __call__(self, batch):
        with self.lock:
            self.calls += 1
            busy = self.calls <= self.busy
        time.sleep(self.pause)
        if busy:
            raise TargetError("busy", retry_after=0.1)
        return self.inner(batch)


def test_failures_of_requests_that_are_in_flight_together_count_as_one():
    crowded = Crowded(8, busy=8)
    ledger = Ledger(crowded, searches=1, sleep=lambda seconds: time.sleep(0.05))
    assert ledger.ask(images(40), payers(*[0] * 40)).status.tolist() == [ANSWERED] * 40
    assert tally(ledger)["failed"] == [8] and crowded.calls == 48


def test_a_crowd_that_is_never_answered_is_given_up_after_five_rounds():
    crowded = Crowded(8, busy=10**9, pause=0.02)
    ledger = Ledger(crowded, searches=1, sleep=lambda seconds: time.sleep(0.02))
    with pytest.raises(TargetError, match="5 failures in a row"):
        ledger.ask(images(64), payers(*[0] * 64))
    assert 5 <= crowded.calls <= 8 * 6
    assert tally(ledger)["issued"] == tally(ledger)["failed"] == [crowded.calls]


class Unlucky:
    """Refuses the first image so many times, or for good, and answers another one between any two refusals."""

    def __init__(self, refusals, *, for_good=False, **error):
        inner = metered(linear(micro_batch=1))
        self.inner, self.info = inner, dataclasses.replace(inner.info, concurrency=2)
        self.refusals, self.for_good, self.error = refusals, for_good, error
        self.refused, self.answered, self.turn = 0, 0, threading.Condition()

    def __call__(self, batch):
        with self.turn:
            if torch.equal(batch[0], images(1)[0]):
                assert self.turn.wait_for(lambda: self.answered >= self.refused, 60)
                if self.for_good or self.refused < self.refusals:
                    self.refused += 1
                    self.turn.notify_all()
                    raise TargetError("refused", **self.error)
            else:
                assert self.turn.wait_for(lambda: self.refused >= min(self.answered, self.refusals), 60)
                self.answered += 1
                self.turn.notify_all()
        return self.inner(batch)


def test_a_request_that_a_busy_target_refuses_is_sent_until_it_is_answered():
    """Seven refusals are more than tries; others are answered all the while, so that the target is not given up."""
    unlucky = Unlucky(7, busy=True)
    waits: list[float] = []
    ledger = Ledger(unlucky, searches=1, sleep=waits.append)
    answers = ledger.ask(images(30), payers(*[0] * 30))
    assert unlucky.refused == 7 and waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert answers.status.tolist() == [ANSWERED] * 30 and torch.equal(answers.scores, linear()(images(30)))
    assert (tally(ledger)["issued"], tally(ledger)["failed"], tally(ledger)["answered"]) == ([37], [7], [30])


@pytest.mark.parametrize(("error", "times"), [({"busy": True}, 20), ({}, 5)])
def test_a_request_that_is_refused_again_and_again_is_left_without_an_answer(error, times):
    """A target may say that it is busy when one image breaks it; what fails for another reason is tried less often."""
    unlucky = Unlucky(times, for_good=True, **error)
    waits: list[float] = []
    ledger = Ledger(unlucky, searches=1, sleep=waits.append)
    status = ledger.ask(images(30), payers(*[0] * 30)).status.tolist()
    assert status == [FAILED] + [ANSWERED] * 29 and unlucky.refused == times
    assert len(waits) == times - 1 and max(waits) <= 60.0
    assert tally(ledger)["failed"] == [times] and tally(ledger)["answered"] == [29]


def test_refusals_end_with_the_budget():
    """Whatever is sent again is charged again, also to a target that is only busy."""
    unlucky = Unlucky(8, for_good=True, busy=True)
    ledger = Ledger(unlucky, searches=2, budget=8, sleep=lambda seconds: None)
    status = ledger.ask(images(30), payers(0, *[1] * 29)).status.tolist()
    assert status[0] == UNSENT and unlucky.refused == 8
    assert tally(ledger)["issued"] == [8, 8] and tally(ledger)["failed"] == [8, 0]


def test_a_busy_target_that_answers_nobody_is_given_up():
    ledger, failing, _, waits = retrying(range(1, 99), micro_batch=1, busy=True)
    with pytest.raises(TargetError, match="5 failures in a row"):
        ledger.ask(images(3), payers(0, 0, 0))
    assert failing.calls == 5 and len(waits) == 4


@pytest.mark.parametrize("limit", [{"budget": 6}, {"total": 6}])
def test_what_waits_for_its_turn_is_left_out_when_others_had_to_be_sent_again(limit):
    """Six requests are in reach when they set out; two of them fail and are charged twice."""
    crowded = Crowded(2, busy=2, pause=0.01)
    ledger = Ledger(crowded, searches=1, sleep=lambda seconds: None, **limit)
    status = ledger.ask(images(6), payers(*[0] * 6)).status.tolist()
    assert sorted(status) == sorted([ANSWERED] * 4 + [UNSENT] * 2) and crowded.calls == 6
    assert tally(ledger)["issued"] == [6] and tally(ledger)["failed"] == [2] and ledger.store.damage() == []


def test_what_waits_for_its_turn_is_not_charged_yet(tmp_path):
    """Nothing more can be lost to a kill than was on its way."""
    seen = []

    class Watching(Crowded):
        def __call__(self, batch):
            seen.append(tally(ledger)["issued"][0] - tally(ledger)["answered"][0])
            return super().__call__(batch)

    ledger = stored(tmp_path, Watching(3, busy=0, pause=0.01))
    ledger.ask(images(30), payers(*[0] * 30), (0,))
    assert len(seen) == 30 and 1 <= max(seen) <= 3
    assert tally(ledger)["issued"] == tally(ledger)["answered"] == [30, 0]


def test_a_signal_ends_a_batch_after_what_is_in_flight(tmp_path):
    """Of 60 requests, two at a time, a few are answered and kept; the others are neither sent nor charged."""
    crowded = Crowded(2, busy=0, pause=0.05)
    ledger = stored(tmp_path, crowded)
    threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        ledger.ask(images(60), payers(*[0] * 60), (0,))
    assert 2 <= crowded.calls < 40
    assert tally(ledger)["issued"] == tally(ledger)["answered"] == [crowded.calls, 0] and ledger.store.damage() == []
    counting = Counting(metered(linear(micro_batch=1)))
    ledger.store.close()
    again = stored(tmp_path, counting)
    assert torch.equal(again.ask(images(60), payers(*[0] * 60), (0,)).scores, linear()(images(60)))
    assert counting.calls == 60 - crowded.calls


def test_an_endpoint_that_costs_nothing_is_treated_as_one_all_the_same():
    inner = linear(micro_batch=4)
    failing = Failing(Counting(inner), [1])
    failing.info = dataclasses.replace(failing.info, device="remote", metered=False)
    waits: list[float] = []
    ledger = Ledger(failing, searches=1, sleep=waits.append)
    assert ledger.ask(images(6), payers(*[0] * 6)).status.tolist() == [ANSWERED] * 6
    assert waits == [0.5] and ledger.counts.padded == 0


def test_an_answer_between_failures_is_a_new_start():
    """Eight failures of ten calls, but never five in a row."""
    ledger, failing, _, _ = retrying([1, 2, 3, 4, 6, 7, 8, 9], micro_batch=1)
    assert ledger.ask(images(2), payers(0, 0)).status.tolist() == [ANSWERED] * 2
    assert failing.calls == 10 and tally(ledger)["failed"] == [8] and tally(ledger)["answered"] == [2]


@pytest.mark.parametrize("error", [{"again": False}, {}])
def test_a_request_that_is_not_to_be_sent_again_leaves_its_images_without_an_answer(error):
    ledger, failing, _, waits = retrying([1] if error else [1, 2], micro_batch=2, tries=2, **error)
    answers = ledger.ask(images(4), payers(*[0] * 4))
    assert answers.status.tolist() == [FAILED, FAILED, ANSWERED, ANSWERED]
    assert bool(answers.scores[:2].isnan().all()) and torch.equal(answers.scores[2:], linear()(images(4)[2:]))
    assert failing.calls == (2 if error else 3) and len(waits) == (0 if error else 1)
    assert tally(ledger)["answered"] == [2] and tally(ledger)["failed"] == [2 if error else 4]


def test_nobody_waits_longer_than_an_hour():
    ledger, failing, _, waits = retrying([1], retry_after=3601.0)
    with pytest.raises(TargetError, match="asks to wait 3,601 s: try again then"):
        ledger.ask(images(1), payers(0))
    assert failing.calls == 1 and waits == []


def test_ctrl_c_ends_a_wait():
    """The target asks to wait for a minute; a signal comes after a moment."""
    failing = Failing(metered(linear()), [1], retry_after=60.0)
    ledger = Ledger(failing, searches=1)
    held: list[int] = []
    threading.Timer(0.2, lambda: held.append(2)).start()
    started = time.monotonic()
    with pytest.raises(TargetError, match="not sent again, because the run is stopped"):
        ledger._delivery._wait(0, TargetError("busy", retry_after=60.0), held)
    assert 0.1 < time.monotonic() - started < 5


def test_a_fatal_failure_is_not_tried_again():
    ledger, failing, _, waits = retrying([1], fatal=True)
    with pytest.raises(TargetError):
        ledger.ask(images(5), payers(*[0] * 5))
    assert failing.calls == 1 and waits == [] and tally(ledger)["failed"] == [5]


def test_the_failure_that_ends_a_run_is_told_and_ends_the_waits_of_the_others(tmp_path):
    """Of two in flight the first is asked to wait for a minute, the second is refused for good."""
    inner = metered(linear(micro_batch=1))

    class Refusing:
        info = dataclasses.replace(inner.info, concurrency=2)

        def __call__(self, batch):
            if torch.equal(batch[0], images(2)[0]):
                raise TargetError("busy", retry_after=60.0)
            time.sleep(0.2)
            raise TargetError("wrong key", fatal=True)

    ledger = stored(tmp_path, Refusing())
    started = time.monotonic()
    with pytest.raises(TargetError, match="wrong key"):
        ledger.ask(images(2), payers(0, 0), (0,))
    assert time.monotonic() - started < 10
    assert tally(ledger)["failed"] == tally(ledger)["issued"] == [2, 0] and ledger.store.damage() == []


def test_a_target_that_was_given_up_gets_another_chance():
    ledger, failing, _, waits = retrying([1, 2, 3, 4, 5, 6], micro_batch=1)
    with pytest.raises(TargetError, match="5 failures in a row"):
        ledger.ask(images(1), payers(0))
    assert ledger.ask(images(1), payers(0)).status.tolist() == [ANSWERED]
    assert failing.calls == 7 and waits == [0.5, 1.0, 2.0, 4.0, 0.5]


def test_a_local_classifier_is_not_waited_for():
    failing = Failing(linear(), [1])
    ledger = Ledger(failing, searches=1, sleep=lambda wait: pytest.fail("it waited"))
    assert ledger.ask(images(1), payers(0)).status.tolist() == [FAILED]
    assert failing.calls == 1 and tally(ledger)["issued"] == tally(ledger)["failed"] == [1]


class Hating:
    """A local classifier that raises when one of some images is among those of a call."""

    def __init__(self, hated, micro_batch=8, error=TargetError):
        self.inner, self.hated, self.error, self.sizes = linear(micro_batch=micro_batch), hated, error, []
        self.info = self.inner.info

    def __call__(self, batch):
        self.sizes.append(len(batch))
        if any(torch.equal(image, bad) for image in batch for bad in self.hated):
            raise self.error("no")
        return self.inner(batch)


@pytest.mark.parametrize("bad", [[0], [7], [8], [20], [3, 4], [0, 9, 20]])
@pytest.mark.parametrize("durable", [False, True])
def test_the_image_that_a_local_model_fails_at_is_found_and_the_others_are_answered(tmp_path, bad, durable):
    batch = images(21)
    hating = Hating([batch[i] for i in bad])
    ledger = stored(tmp_path, hating) if durable else Ledger(hating, searches=2)
    answers = ledger.ask(batch, payers(*[0] * 10, *[1] * 11), (0,))
    expected = [FAILED if i in bad else ANSWERED for i in range(21)]
    assert answers.status.tolist() == expected
    good = [i for i in range(21) if i not in bad]
    assert torch.equal(answers.scores[good], linear()(batch[good])) and bool(answers.scores[bad].isnan().all())
    assert set(hating.sizes) == {8}, "a call had another size, which may round otherwise"
    counts = tally(ledger)
    assert sum(counts["answered"]) == 21 - len(bad)
    issued, failed = sum(counts["issued"]), sum(counts["failed"])
    assert issued == sum(counts["answered"]) + failed and failed > len(bad), "the calls that failed were not charged"
    assert ledger.store.damage() == []
    if durable:
        ledger.store.close()
        counting = Counting(linear(micro_batch=8))
        again = stored(tmp_path, counting)
        assert same(again.ask(batch, payers(*[0] * 10, *[1] * 11), (0,)), answers) and counting.calls == 0


def test_answers_that_are_not_as_declared_are_an_error_and_no_loss(tmp_path):
    wrong = Constant([3.0, -1.0, 0.5], (1, 4, 4), kind="probabilities")
    ledger = stored(tmp_path, wrong)
    with pytest.raises(ClassifierError, match="does it give logits"):
        ledger.ask(images(3), payers(0, 0, 0), (0,))
    assert tally(ledger)["issued"] == tally(ledger)["failed"] == [3, 0] and ledger.store.damage() == []
    ledger.store.close()
    assert tally(stored(tmp_path, wrong))["lost"] == [0, 0]


def test_a_search_for_the_bad_image_ends_with_the_budget():
    """4 rows are charged and fail, 2 halves fail: 4 + 2 + 1 of a budget of 7; what is left is unsent, not failed."""
    batch = images(4)
    ledger = Ledger(Hating([batch[0]], micro_batch=4), searches=1, budget=7)
    assert ledger.ask(batch, payers(*[0] * 4)).status.tolist() == [FAILED, UNSENT, UNSENT, UNSENT]
    assert tally(ledger)["issued"] == tally(ledger)["failed"] == [7]


def test_what_was_answered_before_the_budget_ended_a_search_for_the_bad_image_counts_once():
    """4 rows are charged and fail, the first half is answered: 4 + 2 of a budget of 6; the other half is unsent."""
    batch = images(4)
    ledger = Ledger(Hating([batch[3]], micro_batch=4), searches=1, budget=6)
    assert ledger.ask(batch, payers(*[0] * 4)).status.tolist() == [ANSWERED, ANSWERED, UNSENT, UNSENT]
    assert (tally(ledger)["issued"], tally(ledger)["answered"], tally(ledger)["failed"]) == ([6], [2], [4])
    assert ledger.store.damage() == []


def test_a_row_without_an_answer_counts_beside_a_call_that_fails():
    """Of two calls the first leaves a row without an answer, the second fails and is sent again in halves."""
    batch = images(8)
    silent = Silent(linear(micro_batch=4), lambda asked: (asked == batch[1]).flatten(1).all(1))
    ledger = Ledger(Failing(silent, [2]), searches=2)
    assert ledger.ask(batch, payers(0, 0, 0, 0, 1, 1, 1, 1)).status.tolist() == [ANSWERED, FAILED, *[ANSWERED] * 6]
    counts = tally(ledger)
    assert (counts["issued"], counts["answered"], counts["failed"]) == ([4, 8], [3, 4], [1, 4])
    assert ledger.store.damage() == []


def test_a_local_model_that_fails_at_every_image_is_given_up():
    hating = Hating(images(64), micro_batch=32)
    ledger = Ledger(hating, searches=1)
    with pytest.raises(TargetError, match="6 failures in a row, the last one: no") as caught:
        ledger.ask(images(64), payers(*[0] * 64))
    assert caught.value.exit_code == 3 and len(hating.sizes) < 25
    assert ledger.store.damage() == []


@pytest.mark.parametrize("first", [0, 3, 15])
def test_neighbouring_images_that_a_model_fails_at_do_not_end_a_run(first):
    """Six in a row, at the beginning or elsewhere: the others are answered all the same."""
    batch, bad = images(40), range(first, first + 6)
    ledger = Ledger(Hating(list(batch[first : first + 6])), searches=1)
    answers = ledger.ask(batch, payers(*[0] * 40))
    assert answers.status.tolist() == [FAILED if i in bad else ANSWERED for i in range(40)]


def test_a_model_that_answers_nothing_is_given_up_however_few_images_it_is_asked():
    ledger = Ledger(Hating(images(64)), searches=1)
    for i in range(4):
        assert ledger.ask(images(64)[2 * i : 2 * i + 2], payers(0, 0)).status.tolist() == [FAILED, FAILED]
    with pytest.raises(TargetError, match="no image of the last requests was answered"):
        ledger.ask(images(64)[20:22], payers(0, 0))


class Small:
    """A classifier with memory for so many rows."""

    def __init__(self, room, micro_batch=8):
        self.inner, self.room, self.sizes = linear(micro_batch=micro_batch), room, []
        self.info = self.inner.info

    def __call__(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.room:
            raise OutOfMemoryError("no memory")
        return self.inner(batch)


def test_out_of_memory_halves_the_calls_and_is_noted(tmp_path):
    small = Small(3)
    ledger = stored(tmp_path, small)
    answers = ledger.ask(images(20), payers(*[0] * 20), (0,))
    assert torch.equal(answers.scores, linear()(images(20)))
    assert small.sizes == [8, 4, *[2] * 10] and ledger.counts.padded == 0
    ledger.ask(images(25)[20:], payers(*[0] * 5), (1,))
    assert small.sizes[12:] == [2, 2, 2] and ledger.counts.padded == 1
    assert ledger.store.sessions()[-1][1] == (
        "linear: out of memory, so 4 rows in a call; linear: out of memory, so 2 rows in a call"
    )
    assert tally(ledger)["issued"] == [37, 0] and tally(ledger)["failed"] == [12, 0] and ledger.store.damage() == []


def test_no_memory_for_a_single_image_is_an_error():
    with pytest.raises(TargetError, match="not memory enough for a single image"):
        Ledger(Small(0), searches=1).ask(images(5), payers(*[0] * 5))


def test_a_budget_that_ends_between_two_tries_leaves_the_last_rows_unsent():
    ledger, failing, counting, _ = retrying([1], budget=7)
    answers = ledger.ask(images(5), payers(*[0] * 5))
    assert answers.status.tolist() == [ANSWERED, ANSWERED, UNSENT, UNSENT, UNSENT]
    assert torch.equal(answers.scores[:2], linear()(images(2))) and bool(answers.scores[2:].isnan().all())
    assert failing.calls == 2 and counting.sizes == [2]
    counts = tally(ledger)
    assert (counts["issued"], counts["failed"], counts["answered"]) == ([7], [5], [2])


def test_a_budget_that_is_spent_by_a_failure_is_a_result():
    ledger, failing, _, _ = retrying([1], budget=5)
    assert ledger.ask(images(5), payers(*[0] * 5)).status.tolist() == [UNSENT] * 5
    assert failing.calls == 1 and tally(ledger)["issued"] == tally(ledger)["failed"] == [5]
    assert ledger.store.damage() == []


def test_a_total_binds_tries_too():
    waits: list[float] = []
    failing = Failing(metered(linear(micro_batch=2)), [1])
    ledger = Ledger(failing, searches=2, total=5, sleep=waits.append)
    status = ledger.ask(images(4), payers(0, 1, 0, 1)).status  # 2 fail, 2 are sent again, 1 is left for the others
    assert status.tolist() == [ANSWERED, ANSWERED, ANSWERED, UNSENT] and len(waits) == 1
    assert tally(ledger)["issued"] == [3, 2] and tally(ledger)["failed"] == [1, 1]


# A store on disk


def stored(path, classifier, *, searches=("a", "b"), **settings) -> Ledger:
    return Ledger(classifier, searches=list(searches), store=Store(path / "ledger.sqlite", owner=True), **settings)


def test_answers_that_are_stored_under_a_key_are_taken_from_there(tmp_path):
    ledger = stored(tmp_path, linear(), budget=9)
    batch, search = images(5)[[0, 1, 2, 3, 4, 0]], payers(0, 1, 0, 1, 0, 0)
    answers = ledger.ask(batch, search, (0,))
    counts = tally(ledger)
    ledger.store.close()

    counting = Counting(linear())
    again = stored(tmp_path, counting, budget=9)
    assert same(again.ask(batch, search, (0,)), answers) and counting.calls == 0
    assert tally(again) == counts == {
        "issued": [3, 2], "answered": [3, 2], "failed": [0, 0], "lost": [0, 0], "repeated": [1, 0],
    }  # fmt: skip
    again.ask(images(6)[4:], payers(0, 0), (1,))
    assert counting.calls == 1
    assert tally(again)["issued"] == [4, 2] and tally(again)["repeated"] == [2, 0]  # what was taken is in the cache
    assert same(again.ask(batch, search, fresh=True), answers) and counting.calls == 2
    assert tally(again)["issued"] == [8, 4] and again.store.damage() == []


def test_a_batch_of_repeats_alone_is_counted_once(tmp_path):
    ledger = stored(tmp_path, linear())
    ledger.ask(images(2), payers(0, 0), (0,))
    ledger.ask(images(2), payers(0, 0), (1,))
    assert tally(ledger)["repeated"] == [2, 0]
    ledger.store.close()
    again = stored(tmp_path, linear())
    for generation in range(2):
        again.ask(images(2), payers(0, 0), (generation,))
    assert tally(again)["repeated"] == [2, 0] and tally(again)["issued"] == [2, 0]


def test_of_a_batch_that_was_cut_off_only_the_rest_is_sent(tmp_path):
    """The second of three requests fails for good: the first is stored, the third is neither charged nor sent."""
    batch, search = images(8), payers(*[0] * 8)
    ledger = stored(tmp_path, Failing(metered(linear(micro_batch=3)), [2], fatal=True))
    with pytest.raises(TargetError):
        ledger.ask(batch, search, (0,))
    assert tally(ledger) == {
        "issued": [6, 0], "answered": [3, 0], "failed": [3, 0], "lost": [0, 0], "repeated": [0, 0],
    }  # fmt: skip
    ledger.store.abandon()

    counting = Counting(metered(linear(micro_batch=3)))
    again = stored(tmp_path, counting)
    assert torch.equal(again.ask(batch, search, (0,)).scores, linear()(batch))
    assert counting.sizes == [3, 2]
    assert tally(again) == {
        "issued": [11, 0], "answered": [8, 0], "failed": [3, 0], "lost": [0, 0], "repeated": [0, 0],
    }  # fmt: skip
    assert again.store.damage() == []


def test_what_was_not_answered_or_not_sent_stays_so(tmp_path):
    silent = Silent(linear(), lambda batch: (batch == images(4)[1]).flatten(1).all(1))
    ledger = stored(tmp_path, silent, budget=3)
    answers = ledger.ask(images(4), payers(*[0] * 4), (0,))
    assert answers.status.tolist() == [ANSWERED, FAILED, ANSWERED, UNSENT]
    ledger.store.close()
    assert same(stored(tmp_path, linear(), budget=9).ask(images(4), payers(*[0] * 4), (0,)), answers)


@pytest.mark.parametrize("order", [[1, 0], [0], [0, 1, 2], [0, 2]])
def test_other_images_under_the_same_key_are_damage(tmp_path, order):
    ledger = stored(tmp_path, linear())
    ledger.ask(images(2), payers(0, 0), (0,))
    ledger.store.close()
    counting = Counting(linear())
    again = stored(tmp_path, counting)
    with pytest.raises(DamagedRunError, match=r"batch 0\.0 asked about other images when it was first sent"):
        again.ask(images(3)[order], payers(*[0] * len(order)), (0,))
    assert counting.calls == 0 and tally(again)["issued"] == [2, 0]


def test_answers_of_another_classifier_or_of_more_searches_are_damage(tmp_path):
    ledger = stored(tmp_path, linear())
    ledger.ask(images(2), payers(0, 1), (0,))
    ledger.store.close()
    for again in (stored(tmp_path, linear(classes=4)), stored(tmp_path, linear(), searches=["a"])):
        with pytest.raises(DamagedRunError, match="stored answers are not those of"):
            again.recall(1)
        with pytest.raises(DamagedRunError, match="stored answers are not those of"):
            again.ask(images(2), payers(0, 0), (0,))
        again.store.abandon()


def test_each_chain_has_keys_of_its_own(tmp_path):
    store = Store(tmp_path / "ledger.sqlite", owner=True)
    counting = Counting(linear())
    one, other = (Ledger(counting, searches=[name], store=store, chain=name) for name in ("one", "other"))
    one.ask(images(2), payers(0, 0), (0,))
    other.ask(images(4)[2:], payers(0, 0), (0,))
    assert counting.calls == 2 and (store.length("one"), store.length("other")) == (1, 1)
    assert tally(one)["issued"] == tally(other)["issued"] == [2]


def test_the_cache_after_recall_is_what_it_was(tmp_path, monkeypatch):
    """With room for two: a hit that its own batch puts out stays out, here as there."""
    monkeypatch.setattr(module, "REMEMBERED", 2)
    a, b, c, d = images(4).split(1)
    ledger = stored(tmp_path, linear())
    ledger.ask(torch.cat([a, b]), payers(0, 0), (0,))
    ledger.ask(torch.cat([c, d, a]), payers(0, 0, 0), (1,))
    assert tally(ledger)["repeated"] == [1, 0]
    again = Ledger(linear(), searches=["a", "b"], store=ledger.store)
    again.recall(2)
    everything, search = torch.cat([a, b, c, d]), payers(0, 0, 0, 0)
    assert again.repeats(everything, search).tolist() == ledger.repeats(everything, search).tolist()
    assert again.repeats(everything, search).tolist() == [False, False, True, True]
    first = Ledger(linear(), searches=["a", "b"], store=ledger.store)
    first.recall(1)
    assert first.repeats(everything, search).tolist() == [True, True, False, False]


def test_a_total_is_shared_by_all_ledgers_of_a_store(tmp_path):
    store = Store(tmp_path / "ledger.sqlite", owner=True)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as outside:
        one, other = (Ledger(linear(), searches=[name], store=store, chain=name, total=5) for name in ("one", "other"))
        assert one.ask(images(3), payers(0, 0, 0)).status.tolist() == [ANSWERED] * 3
        assert other.ask(images(4), payers(*[0] * 4)).status.tolist() == [ANSWERED, ANSWERED, UNSENT, UNSENT]
        assert one.ask(images(4)[3:], payers(0)).status.tolist() == [UNSENT]
        assert outside.execute("SELECT issued FROM totals").fetchall() == [(5,)]


def test_rows_are_on_disk_as_charged_when_the_classifier_sees_them(tmp_path):
    class Looking(Recording):
        def __call__(self, batch):
            with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as outside:
                accounts = "SELECT sum(issued), sum(answered) FROM accounts"
                seen.append(outside.execute(accounts).fetchone())
                assert outside.execute("SELECT count(*) FROM attempts WHERE state = 'open'").fetchone()[0] > 0
            return self.classifier(batch)

    seen: list[tuple[int, int]] = []
    ledger = stored(tmp_path, Looking(metered(linear(micro_batch=2))))
    ledger.ask(images(4), payers(0, 1, 0, 1), (0,))
    assert seen == [(2, 0), (4, 2)]


# Signals, and what was never sent


class Signalled(Recording):
    """Gets signals while it answers, as from a person at the keyboard."""

    def __init__(self, classifier, signals):
        super().__init__(classifier)
        self.signals = list(signals)

    def __call__(self, batch):
        answer = super().__call__(batch)
        while self.signals:
            signal.raise_signal(self.signals.pop(0))
        return answer


def test_ctrl_c_between_any_two_lines_leaves_books_in_memory_that_add_up():
    """One line of the store after another is interrupted: what the classifier saw is charged, and the books go on."""
    line, interrupted = 0, True
    files = {module.__file__ for module in (store_module, accounts, schema)}

    def at_line(frame, event, argument):
        nonlocal left, interrupted
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                interrupted = True
                raise KeyboardInterrupt
        return at_line

    while interrupted:
        line += 1
        left, interrupted = line, False
        counting = Counting(metered(linear(micro_batch=2)))
        ledger = Ledger(counting, searches=3, budget=9, total=20)
        before = sys.gettrace()
        sys.settrace(at_line)
        try:
            ledger.ask(images(9)[:5], payers(0, 1, 1, 2, 0))
        except KeyboardInterrupt:
            assert interrupted
        finally:
            sys.settrace(before)
        assert ledger.store.damage() == [] and int(ledger.counts.issued.sum()) >= counting.rows
        assert ledger.ask(images(9)[5:], payers(0, 1, 2, 2)).status.tolist() == [ANSWERED] * 4
        assert ledger.store.damage() == [] and int(ledger.counts.issued.sum()) >= counting.rows
    assert line > 100 and counting.rows == 9  # the last time nothing was left to interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_the_answers_are_stored(tmp_path, number):
    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(number, stop)
    try:
        ledger = stored(tmp_path, Signalled(linear(), [number]))
        with pytest.raises(KeyboardInterrupt):
            ledger.ask(images(5), payers(*[0] * 5), (0,))
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    assert tally(ledger)["answered"] == [5, 0] and ledger.store.get("", "0.0") is not None
    ledger.store.close()
    assert stored(tmp_path, linear()).store.sessions()[0][0] == "closed"


def test_a_second_signal_does_not_wait_and_what_it_cost_is_told(tmp_path):
    ledger = stored(tmp_path, Signalled(linear(), [signal.SIGINT, signal.SIGINT]))
    with pytest.raises(KeyboardInterrupt):
        ledger.ask(images(5), payers(*[0] * 5), (0,))
    assert tally(ledger)["issued"] == [5, 0] and tally(ledger)["answered"] == [0, 0]
    ledger.store.close()
    again = stored(tmp_path, linear())
    assert tally(again)["lost"] == [5, 0] and again.store.sessions()[0][0] == "killed"


def test_after_a_fatal_failure_what_waits_for_its_turn_is_neither_sent_nor_charged(tmp_path):
    """Two at a time of eight: the first one fails for good."""
    counting = Counting(metered(linear(micro_batch=1)))
    counting.info = dataclasses.replace(counting.info, concurrency=2)
    failing = Failing(counting, [1], fatal=True)
    ledger = stored(tmp_path, failing)
    with pytest.raises(TargetError):
        ledger.ask(images(64), payers(*[0] * 64), (0,))
    assert counting.calls < 60, "everything was sent all the same"
    counts = tally(ledger)
    assert counts["failed"] == [1, 0] and counts["issued"][0] == counts["answered"][0] + 1 == counting.calls + 1
    assert ledger.store.damage() == []


def test_a_large_batch_for_a_local_classifier_is_charged_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOCAL_CALLS", 2)
    seen = []

    class Watching(Recording):
        def __call__(self, batch):
            seen.append(tally(ledger)["issued"][0])
            return self.classifier(batch)

    ledger = stored(tmp_path, Watching(linear(micro_batch=3)))
    answers = ledger.ask(images(14), payers(*[0] * 14), (0,))
    assert seen == [6, 6, 12, 12, 14]
    assert torch.equal(answers.scores, linear()(images(14))) and ledger.counts.padded == 1
