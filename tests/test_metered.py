"""Other people's attacks through the ledger: one strict budget, rows charged to their search, success judged here."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from evofool import criteria
from evofool.classifiers.fake import Counting, Failing, Linear
from evofool.errors import ClassifierError, UserError
from evofool.ledger import Ledger
from evofool.metered import BudgetSpent, MeteredModule
from fakes import linear

# Class 1 wins when the first pixel is brighter than 127.5 / 255; the rest of the image counts for nothing.
FIRST = torch.zeros(2, 1, 2, 2)
FIRST[1, 0, 0, 0] = 255.0
DARK = torch.zeros(1, 2, 2)  # class 0
BRIGHT = torch.ones(1, 2, 2)  # class 1


def first_pixel(*, micro_batch: int = 100) -> Linear:
    return Linear(FIRST, torch.tensor([127.5, 0.0]), micro_batch=micro_batch)


def metered(classifier):
    classifier.info = dataclasses.replace(classifier.info, metered=True)
    return classifier


def near(original: torch.Tensor, *levels: int) -> torch.Tensor:
    """The original with other gray levels at its first pixel, one image for each."""
    images = original.repeat(len(levels), 1, 1, 1)
    images[:, 0, 0, 0] = torch.tensor(levels) / 255
    return images


def modelled(classifier=None, *, searches: int = 2, **settings) -> MeteredModule:
    ledger = Ledger(classifier or first_pixel(), searches=searches, **settings)
    originals = torch.stack([DARK, BRIGHT])[:searches]
    return ledger.as_torch_module(originals, torch.arange(searches), criteria.misclassified)


def issued(model: MeteredModule) -> list[int]:
    return model.ledger.counts.issued.tolist()


# Scores, and who pays


def test_it_answers_like_the_classifier_without_gradients():
    model = modelled()
    images = torch.cat([near(DARK, 3, 200), near(BRIGHT, 90)]).requires_grad_()
    scores = model(images)
    assert isinstance(model, torch.nn.Module) and list(model.parameters()) == []
    assert torch.equal(scores, first_pixel()(images.detach())) and not scores.requires_grad
    assert model(images[:0]).shape == (0, 2)


def test_rows_are_charged_to_the_nearest_original():
    model = modelled()
    model(torch.cat([near(BRIGHT, 1, 2), near(DARK, 254), torch.full((1, 1, 2, 2), 0.6)]))
    assert issued(model) == [1, 3]


def test_rows_in_a_block_are_charged_to_one_search():
    model = modelled()
    with model.only(0):
        model(near(BRIGHT, 1, 2))
        with model.only(1):
            model(near(DARK, 1))
        model(near(BRIGHT, 3))
    model(near(BRIGHT, 4))
    assert issued(model) == [3, 2]
    with pytest.raises(ZeroDivisionError), model.only(0):
        _ = 1 / 0
    model(near(BRIGHT, 5))
    assert issued(model) == [3, 3]


def test_what_is_sent_lies_on_the_lattice_and_nearer_to_its_own_original():
    class Recording(Counting):
        def __call__(self, images):
            seen.append(images.clone())
            return super().__call__(images)

    seen: list[torch.Tensor] = []
    model = modelled(Recording(metered(first_pixel())))
    between = torch.stack([DARK + 10.6 / 255, BRIGHT - 10.6 / 255, DARK - 0.5, BRIGHT + 3.0, DARK + 7 / 255])
    model(between)
    assert seen[0].shape == between.shape
    assert torch.equal(seen[0], torch.tensor([10, 245, 0, 255, 7]).view(-1, 1, 1, 1).expand(-1, 1, 2, 2) / 255)


def test_images_are_taken_in_double_precision_too():
    scores = modelled()(near(DARK, 200).double())
    assert torch.equal(scores.float(), first_pixel()(near(DARK, 200)))


@pytest.mark.parametrize(("originals", "labels", "searches"), [(1, 2, 2), (2, 1, 2), (2, 2, 1)])
def test_there_is_one_search_for_each_original(originals, labels, searches):
    ledger = Ledger(first_pixel(), searches=searches)
    with pytest.raises(UserError, match=f"{originals} originals, {labels} labels and {searches} searches"):
        ledger.as_torch_module(torch.zeros(originals, 1, 2, 2), torch.zeros(labels), criteria.misclassified)


def test_originals_of_another_shape_are_refused():
    ledger = Ledger(linear(), searches=1)
    model = ledger.as_torch_module(torch.zeros(1, 1, 2, 2), torch.zeros(1), criteria.misclassified)
    with pytest.raises(ClassifierError, match="for linear, which expects"):
        model(torch.zeros(3, 1, 2, 2))


# First success


def test_only_the_account_of_a_success_is_read(monkeypatch):
    """An attack of many images makes many calls: each would read the accounts of all."""
    model = modelled()
    asked: list[list[str]] = []
    read = model.ledger.store.issued

    def noted(searches):
        asked.append(list(searches))
        return read(searches)

    monkeypatch.setattr(model.ledger.store, "issued", noted)
    monkeypatch.setattr(model.ledger.store, "counts", lambda: pytest.fail("all accounts were read"))
    model(torch.cat([near(DARK, 3), near(BRIGHT, 200)]))
    assert asked == [] and model.successes == []
    model(torch.cat([near(DARK, 4), near(BRIGHT, 190, 3, 4)]))
    assert asked == [["1"]] and [(each.search, each.queries) for each in model.successes] == [(1, 3)]
    model(near(BRIGHT, 5))
    assert asked == [["1"]], "of a search that has a success there is nothing to know any more"


def test_the_first_success_of_a_search_is_kept_with_its_query():
    model = modelled()
    model(torch.cat([near(DARK, 10, 20), near(BRIGHT, 250)]))  # queries 1, 2 of search 0; 1 of search 1
    assert model.successes == []
    # Query 3 and 4 of search 0; 2, 3 and 4 of search 1.
    images = torch.stack([near(DARK, 30)[0], near(BRIGHT, 240)[0], near(BRIGHT, 100)[0], near(DARK, 200)[0],
                          near(BRIGHT, 90)[0]])  # fmt: skip
    scores = model(images)
    model(torch.cat([near(DARK, 150), near(BRIGHT, 50)]))
    assert issued(model) == [5, 5]
    assert [(found.search, found.queries) for found in model.successes] == [(0, 4), (1, 3)]
    for found, row in zip(model.successes, (3, 2), strict=True):
        assert torch.equal(found.image, images[row]) and torch.equal(found.scores, scores[row])


def test_what_is_kept_does_not_change_with_the_attack():
    model = modelled()
    images = near(DARK, 200)
    scores = model(images)
    images.zero_()
    scores.zero_()
    assert model.successes[0].image[0, 0, 0] == torch.tensor(200 / 255) and model.successes[0].scores[1] > 0


def test_repeats_are_no_queries():
    """Asked 1, 2 | repeated, repeated, 3 (success), 4, 5: the third query fools, whatever is repeated around it."""
    model = modelled(searches=1)
    model(near(DARK, 1, 2))
    model(near(DARK, 2, 1, 200, 3, 200, 4))
    assert issued(model) == [5]
    assert [found.queries for found in model.successes] == [3]


def test_tries_that_failed_are_queries():
    """Two rows fail together, and are charged again: the first of them fools with the fourth less one query."""
    failing = Failing(metered(first_pixel()), [1])
    model = modelled(failing, searches=1, sleep=lambda seconds: None)
    model(near(DARK, 200, 3))
    assert issued(model) == [4] and [found.queries for found in model.successes] == [3]


def test_an_attack_that_claims_success_falsely_has_none():
    def liar(model, images, labels):
        model(images)
        return 1 - images, torch.ones(len(images), dtype=torch.bool)

    model = modelled()
    images = torch.stack([DARK, BRIGHT])
    with model:
        _, claimed = liar(model, images, torch.arange(2))
    assert bool(claimed.all()) and model.successes == []


def test_a_success_that_the_attack_overlooks_is_found():
    model = modelled(searches=1)
    model(near(DARK, 10, 200, 20))
    model(near(DARK, 30))
    assert [(found.search, found.queries) for found in model.successes] == [(0, 2)]


def test_the_image_of_a_success_fools_when_it_is_asked_again():
    """An attack that overshoots the lattice by a hair: what counts is what was sent."""
    model = modelled(searches=1)
    hair = near(DARK, 127)
    hair[0, 0, 0, 0] = 127.6 / 255  # the classifier itself would be fooled, but no file can hold it
    assert int(first_pixel()(hair).argmax()) == 1
    model(hair)
    assert model.successes == []
    model(near(DARK, 128))
    assert int(first_pixel()(model.successes[0].image[None]).argmax()) == 1


def test_an_answer_that_failed_is_no_success():
    class Blind(Counting):
        def __call__(self, images):
            return torch.where(images[:, :1, 0, 0] > 0.5, torch.nan, super().__call__(images))

    model = modelled(Blind(first_pixel()), searches=1)
    scores = model(near(DARK, 200, 10))
    assert model.successes == [] and issued(model) == [2]
    assert torch.equal(scores[0], torch.zeros(2))  # nothing was known yet
    model(near(DARK, 20))
    assert torch.equal(model(near(DARK, 210))[0], first_pixel()(near(DARK, 20))[0])


# Budgets


class Endless:
    """Asks for ever, and never the same."""

    def __init__(self, limit: int = 200):
        self.limit, self.asked = limit, 0

    def __call__(self, model, images):
        for step in range(self.limit):
            self.asked += 1
            model(torch.stack([near(image, 100 if image[0, 1, 1] else 50)[0] for image in images]) + self.noise(step))
        pytest.fail("nobody ended it")

    @staticmethod
    def noise(step: int) -> torch.Tensor:
        pattern = torch.zeros(1, 2, 2)
        pattern[0, 0, 1] = (step % 100) / 255
        return pattern


@pytest.mark.parametrize("budget", [1, 5, 17])
@pytest.mark.parametrize("micro_batch", [1, 3])
def test_a_budget_is_strict_for_each_search(budget, micro_batch):
    counting = Counting(metered(first_pixel(micro_batch=micro_batch)))
    model = modelled(counting, budget=budget)
    left = False
    with model:
        Endless()(model, torch.stack([DARK, DARK, DARK, BRIGHT * 0.8]))
        left = True  # pragma: no cover
    assert not left and issued(model) == [budget, budget] and counting.rows == 2 * budget


def test_a_spent_search_gets_its_last_answer_while_others_live():
    model = modelled(budget=2)
    with model.only(0):
        model(near(DARK, 10, 20))
    scores = model(torch.cat([near(DARK, 30), near(BRIGHT, 200), near(DARK, 40)]))
    last = first_pixel()(near(DARK, 20))[0]
    assert torch.equal(scores, torch.stack([last, first_pixel()(near(BRIGHT, 200))[0], last]))
    assert issued(model) == [2, 1]
    with model.only(0):  # another search lives: this one only hears what it knows
        assert torch.equal(model(near(DARK, 50)), last[None])
    assert model.successes == []
    with pytest.raises(BudgetSpent, match="all 2 searches have spent their budget"), model.only(1):
        assert model(near(BRIGHT, 201)).shape == (1, 2)  # the last one that is paid for
        model(near(BRIGHT, 202))


def test_a_success_with_the_last_query_counts():
    model = modelled(searches=1, budget=3)
    with model:
        model(near(DARK, 1, 2, 200, 3))
        pytest.fail("it went on")
    assert issued(model) == [3] and [found.queries for found in model.successes] == [3]


def test_a_row_that_is_not_sent_is_no_success():
    model = modelled(searches=1, budget=2)
    with model:
        model(near(DARK, 1, 2, 200))
    assert issued(model) == [2] and model.successes == []


def test_what_is_answered_from_the_cache_keeps_nobody_alive():
    model = modelled(searches=1, budget=2)
    model(near(DARK, 1, 2))
    assert model(near(DARK, 2, 1)).shape == (2, 2) and issued(model) == [2]
    with pytest.raises(BudgetSpent):
        model(near(DARK, 1, 3))


def test_a_total_ends_all_searches():
    counting = Counting(metered(first_pixel()))
    model = modelled(counting, total=5)
    with model:
        Endless()(model, torch.stack([DARK, BRIGHT]))
    assert sum(issued(model)) == counting.rows == 5


def test_other_errors_leave_the_block():
    with pytest.raises(ZeroDivisionError), modelled() as model:
        _ = 1 / 0
    assert model.successes == []
