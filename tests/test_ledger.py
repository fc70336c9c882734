"""The ledger: every row is charged before it is sent, no budget is ever exceeded, and what went wrong is told."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evofool.classifiers.fake import Constant, Counting, Failing, Silent
from evofool.contracts import Status
from evofool.errors import ClassifierError, TargetError
from evofool.ledger import Ledger
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
    ledger.ask(images(5), payers(2, 0, 2, 2, 0))
    ledger.ask(images(1), payers(2))
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
    for _ in range(3):
        statuses += ledger.ask(images(3), payers(2, 0, 1)).status.tolist()
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
    ledger.ask(images(3), payers(0, 0, 0))
    calls = classifier.calls
    answers = ledger.ask(images(2), payers(0, 0))
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
    for batch in batches:
        status = ledger.ask(images(len(batch)), payers(*batch)).status.tolist()
        expected = []
        for search in batch:
            sent = (budget is None or spent[search] < budget) and (total is None or sum(spent) < total)
            spent[search] += sent
            expected.append(ANSWERED if sent else UNSENT)
        assert status == expected
    assert ledger.counts.issued.tolist() == spent


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
    assert ledger.counts.issued.tolist() == [6, 4]
    assert ledger.counts.answered.tolist() == [0, 0] and failing.calls == 2
    assert str(caught.value) == "failing linear failed to answer (batch 3, 1): call 2 fails on purpose"
    assert (caught.value.retry_after, caught.value.fatal, caught.value.exit_code) == (3.0, True, 3)


def test_a_failed_call_spends_budget():
    ledger = Ledger(Failing(linear(), calls=[1]), searches=1, budget=3)
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
