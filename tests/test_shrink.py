"""The shrinker: what is left holds, nothing of it can go where it says so, and no budget is exceeded."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from evofool import criteria, objectives
from evofool import shrink as module
from evofool.classifiers.fake import Counting, Failing, Linear, Silent
from evofool.contracts import Evaluated
from evofool.encodings.ink import Ink
from evofool.errors import SpecError, TargetError
from evofool.ledger import Ledger
from evofool.shrink import Ended, Shrunk, shrink
from evofool.store import Store
from fakes import CARD, stream


def decode(masks: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Black ink on a white canvas."""
    assert len(masks) == len(rows)
    return (~masks).float().unsqueeze(1)


def drawn(images: torch.Tensor) -> torch.Tensor:
    """The inverse of `decode`."""
    return images[:, 0] < 0.5


class Planned:
    """Scores (value of the mask, 0): the value is any function of masks [N H W]."""

    def __init__(self, value, height: int, width: int, micro_batch: int = 10):
        names = ("value", "nothing")
        self.info = dataclasses.replace(
            CARD, image_shape=(1, height, width), class_names=names, micro_batch=micro_batch
        )
        self.value = value

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        value = self.value(drawn(images)).float()
        return torch.stack([value, torch.zeros_like(value)], 1)


def table(seed: int, height: int = 3, width: int = 3) -> Planned:
    """Any function at all: a random value in [0, 1) for each mask."""
    values = stream(seed=seed)["table"].uniform(2 ** (height * width))[0]
    places = 2 ** torch.arange(height * width)
    return Planned(lambda masks: values[(masks.flatten(1) * places).sum(1)], height, width)


def interacting(seed: int, height: int = 4, width: int = 4) -> Planned:
    """A value for each pixel, and for each two of them."""
    rng, pixels = stream(seed=seed), height * width
    single = rng["single"].uniform(pixels)[0] - 0.3
    double = (rng["double"].uniform(pixels, pixels)[0] - 0.5).triu(1)

    def value(masks: torch.Tensor) -> torch.Tensor:
        x = masks.flatten(1).float()
        products = (x[:, :, None] * x[:, None, :] * double).flatten(1)
        return torch.cat([x * single, products], 1).double().sum(1)

    return Planned(value, height, width)


def needs(*places: tuple[int, int], height: int, width: int) -> Planned:
    """1 where all these pixels have ink, else 0."""
    return Planned(
        lambda masks: torch.stack([masks[:, row, column] for row, column in places]).all(0).float(), height, width
    )


def alike() -> Planned:
    """1 where the first two pixels of three are alike, and the third one has ink, else 0."""
    return Planned(lambda masks: (masks[:, 0, 0] == masks[:, 0, 1]) & masks[:, 0, 2], 1, 3)


def at_least(limits: torch.Tensor):
    """The goal that the value of search i is at least limits[i], and by how much it is."""
    return {
        "holds": lambda scores, rows: scores[:, 0] >= limits[rows],
        "slack": lambda scores, rows: scores[:, 0] - limits[rows],
    }


def values(classifier: Planned, masks: torch.Tensor) -> torch.Tensor:
    return classifier(decode(masks, torch.arange(len(masks))))[:, 0]


def go(classifier, masks: torch.Tensor, limits: torch.Tensor, *, ledger: Ledger | None = None, **settings) -> Shrunk:
    scores = classifier(decode(masks, torch.arange(len(masks))))
    settings = {**at_least(limits), **settings}
    return shrink(masks, scores, decode=decode, ledger=ledger or Ledger(classifier, searches=len(masks)), **settings)


def start(classifier: Planned, searches: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random masks, and for each search a limit that its mask reaches: now just so, now by far."""
    rng = stream(searches, seed=seed)
    masks = rng["masks"].uniform(*classifier.info.image_shape[1:]) < 0.3 + 0.7 * rng["density"].uniform(1, 1)
    value = values(classifier, masks)
    return masks, value - rng["limit"].uniform(1)[:, 0] * value.abs() * 0.9


def without(mask: torch.Tensor, count: int) -> torch.Tensor:
    """All masks that have so many genes fewer."""
    found = []
    for places in itertools.combinations(mask.nonzero().tolist(), count):
        found.append(mask.clone())
        for place in places:
            found[-1][tuple(place)] = False
    return torch.stack(found) if found else torch.zeros(0, *mask.shape, dtype=torch.bool)


def check(classifier: Planned, before: torch.Tensor, limits: torch.Tensor, after: Shrunk) -> None:
    """Everything that is claimed, by brute force."""
    assert not bool((after.masks & ~before).any()), "ink came in"
    assert torch.equal(values(classifier, after.masks), after.scores[:, 0]), "these are not the answers for the masks"
    assert bool((after.scores[:, 0] >= limits).all()), "the goal does not hold"
    for row, minimal in enumerate(after.minimal.tolist()):
        for count in range(1, minimal + 1):
            fewer = values(classifier, without(after.masks[row], count))
            assert not bool((fewer >= limits[row]).any()), f"search {row}: {count} more could go"


def same(a: Shrunk, b: Shrunk) -> bool:
    return all(torch.equal(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(Shrunk))


# By hand


def additive(*worth: float, limit: float) -> Linear:
    """Ink on pixel i of a row adds worth[i] to the first score; the second one is the limit. Without ink it is 0."""
    weight = torch.zeros(2, 1, 1, len(worth))
    weight[0, 0, 0] = -torch.tensor(worth)
    return Linear(weight, torch.tensor([sum(worth), limit]))


def additive_goal():
    return {
        "holds": lambda scores, rows: scores[:, 0] >= scores[:, 1],
        "slack": lambda scores, rows: scores[:, 0] - scores[:, 1],
    }


def test_six_pixels_by_hand():
    # a b c d e f are worth 5 3 2 1 0 -1, and 7 is needed. All but a can go. Without five of them it is 5, too few;
    # without the best two, f and e, it is 11. Of a b c d, then d c b can go: not together, so d alone. Then c or b:
    # not together, so c. Then neither b nor a, nor both. Asked: 6 + 2, 3 + 1, 2 + 1, 1, 1 and 1 pair; "a alone" is
    # asked four times and sent once.
    classifier = Counting(additive(5, 3, 2, 1, 0, -1, limit=7))
    full = torch.ones(1, 1, 6, dtype=torch.bool)
    ledger = Ledger(classifier, searches=1)
    after = shrink(full, torch.tensor([[10.0, 7.0]]), decode=decode, ledger=ledger, **additive_goal())
    assert after.masks.int().tolist() == [[[1, 1, 0, 0, 0, 0]]]
    assert after.scores.tolist() == [[8, 7]]
    assert ledger.counts.repeated.tolist() == [3] and ledger.counts.issued.tolist() == [15]
    assert after.words(0) == "2-minimal, 2 pixels, 15 queries"
    assert full.all()


def test_without_a_slack_what_stands_first_goes_first():
    # Any two of five are needed.
    classifier = Planned(lambda masks: masks.flatten(1).sum(1), 1, 5)
    after = go(classifier, torch.ones(1, 1, 5, dtype=torch.bool), torch.tensor([2.0]), slack=None)
    assert after.masks.int().tolist() == [[[0, 0, 0, 1, 1]]]


def test_with_a_slack_what_leaves_most_goes_first():
    classifier = additive(1, 0, 2, 0.5, 3, limit=3)
    after = shrink(
        torch.ones(1, 1, 5, dtype=torch.bool),
        torch.tensor([[6.5, 3.0]]),
        decode=decode,
        ledger=Ledger(classifier, searches=1),
        **additive_goal(),
    )
    assert after.masks.int().tolist() == [[[0, 0, 0, 0, 1]]]


def test_what_has_no_slack_goes_last():
    # One of five can go. Without the first one the value is 4.25, for which the slack is unknown.
    classifier = Planned(lambda masks: masks.flatten(1).sum(1) + 0.25 * ~masks[:, 0, 0], 1, 5)

    def slack(scores, rows):
        return torch.where(scores[:, 0] == 4.25, torch.nan, scores[:, 0] - 4)

    after = go(classifier, torch.ones(1, 1, 5, dtype=torch.bool), torch.tensor([4.0]), slack=slack)
    assert after.masks.int().tolist() == [[[1, 0, 1, 1, 1]]]


def test_a_pair_goes_when_neither_can_go_alone():
    classifier = alike()
    full, limits = torch.ones(1, 1, 3, dtype=torch.bool), torch.ones(1)
    single = go(classifier, full, limits, pairs=False)
    assert single.masks.sum() == 3 and single.words(0) == "1-minimal, 3 pixels, 3 queries"
    both = go(classifier, full, limits)
    # 3 singles and 3 pairs, then the last pixel.
    assert both.masks.int().tolist() == [[[0, 0, 1]]] and both.words(0) == "2-minimal, 1 pixel, 7 queries"


def test_the_pairs_are_numbered():
    for count in (2, 3, 10, 61):
        pairs = module._numbered(torch.arange(count * (count - 1) // 2)).tolist()
        assert sorted(map(tuple, pairs)) == list(itertools.combinations(range(count), 2))
        assert pairs == sorted(pairs, key=lambda pair: pair[::-1])
    big = torch.tensor([2**31 + 3, 10**9, 94_906_265, 2**27])
    edge = big * (big - 1) // 2  # the first number with this j; the one before it is the last pair of j - 1
    assert torch.equal(module._numbered(edge), torch.stack([torch.zeros_like(big), big], 1))
    assert torch.equal(module._numbered(edge - 1), torch.stack([big - 2, big - 1], 1))


# The certificate, by brute force


def test_what_is_claimed_of_any_function_of_nine_pixels_is_true():
    pairs_went = steps = 0
    for seed in range(25):
        classifier = table(seed)
        masks, limits = start(classifier, 12, seed)
        after = go(classifier, masks, limits)
        check(classifier, masks, limits, after)
        assert after.minimal.tolist() == [2] * 12 and after.ended.tolist() == [Ended.SHOWN] * 12
        single = go(classifier, masks, limits, pairs=False)
        check(classifier, masks, limits, single)
        ink = single.masks.flatten(1).sum(1)
        assert bool((single.minimal == torch.where(ink < 2, 2, 1)).all())
        pairs_went += int((after.masks.flatten(1).sum(1) < ink).sum())
        steps += int((masks.flatten(1).sum(1) - ink > 1).sum())
    assert pairs_went > 20 and steps > 20


@pytest.mark.parametrize("many", [4, 64])
def test_what_is_claimed_of_interacting_pixels_is_true(monkeypatch, many):
    monkeypatch.setattr(module, "MANY", many)  # 4: in chunks at first
    lost = 0
    for seed in range(12):
        classifier = interacting(seed)
        masks, limits = start(classifier, 8, seed)
        for settings in ({}, {"slack": None}):
            after = go(classifier, masks, limits, **settings)
            check(classifier, masks, limits, after)
            assert after.minimal.tolist() == [2] * 8
            lost += int(masks.sum() - after.masks.sum())
    assert lost > 200


def test_a_shrinker_that_does_nothing_or_lies_is_found():
    classifier = table(1)
    masks, limits = start(classifier, 12, 1)
    scores = classifier(decode(masks, torch.arange(12)))
    minimal, queries = torch.ones(12, dtype=torch.int64), torch.zeros(12, dtype=torch.int64)
    with pytest.raises(AssertionError, match="1 more could go"):
        check(classifier, masks, limits, Shrunk(masks, scores, minimal, queries, queries))
    blank = torch.zeros_like(masks)
    below = Shrunk(blank, classifier(decode(blank, torch.arange(12))), minimal, queries, queries)
    with pytest.raises(AssertionError, match="the goal does not hold"):
        check(classifier, masks, limits, below)
    full, one = torch.ones(1, 1, 3, dtype=torch.bool), torch.ones(1)
    single = go(alike(), full, one, pairs=False)
    check(alike(), full, one, single)
    with pytest.raises(AssertionError, match="2 more could go"):
        check(alike(), full, one, dataclasses.replace(single, minimal=single.minimal + 1))


# Budgets


@pytest.mark.parametrize("many", [4, 64])
def test_any_budget_is_kept_and_what_is_claimed_stays_true(monkeypatch, many):
    monkeypatch.setattr(module, "MANY", many)
    classifier = table(3)
    masks, limits = start(classifier, 6, 5)
    free = go(classifier, masks, limits)
    seen = set()
    for budget in range(1, int(free.queries.max()) + 1):
        counting = Counting(classifier)
        ledger = Ledger(counting, searches=6, budget=budget)
        after = go(counting, masks, limits, ledger=ledger)
        check(classifier, masks, limits, after)
        assert torch.equal(ledger.counts.issued, after.queries) and int(after.queries.max()) <= budget
        enough = free.queries <= budget
        assert torch.equal(after.masks[enough], free.masks[enough])
        assert bool((after.minimal[enough] == 2).all()) and bool((after.ended[enough] == Ended.SHOWN).all())
        assert bool((after.queries[~enough] == budget).all())
        assert bool((after.ended[~enough] == Ended.BUDGET).all())
        seen |= {(int(m), bool(e)) for m, e in zip(after.minimal, enough, strict=True)}
    assert {(0, False), (1, False), (2, True)} <= seen


def test_a_removal_that_was_answered_at_the_edge_of_the_budget_is_taken():
    # Only the second of four can go.
    classifier = Planned(lambda masks: masks[:, 0, [0, 2, 3]].all(1), 1, 4)
    full = torch.ones(1, 1, 4, dtype=torch.bool)
    for budget, left in ((1, 4), (2, 3), (3, 3)):
        after = go(classifier, full, torch.ones(1), ledger=Ledger(classifier, searches=1, budget=budget))
        assert int(after.masks.sum()) == left
        said = "query" if budget == 1 else "queries"
        words = f"not shown to be minimal: the budget ended, {left} pixels, {budget} {said}"
        assert after.words(0) == words


def test_a_budget_that_ends_among_the_pairs_leaves_what_was_shown():
    classifier = needs((0, 0), (0, 1), (0, 2), (0, 3), height=1, width=4)
    full = torch.ones(1, 1, 4, dtype=torch.bool)
    for budget, minimal in ((3, 0), (4, 1), (9, 1), (10, 2)):
        after = go(classifier, full, torch.ones(1), ledger=Ledger(classifier, searches=1, budget=budget))
        assert after.minimal.tolist() == [minimal] and after.queries.tolist() == [budget]
    assert after.words(0) == "2-minimal, 4 pixels, 10 queries"


def test_what_was_shown_before_a_pair_went_is_not_said_of_what_is_left():
    ledger = Ledger(alike(), searches=1, budget=6)  # three singles and three pairs
    after = go(alike(), torch.ones(1, 1, 3, dtype=torch.bool), torch.ones(1), ledger=ledger)
    assert after.words(0) == "not shown to be minimal: the budget ended, 1 pixel, 6 queries"


def test_a_total_ends_all_of_them():
    classifier = table(3)
    masks, limits = start(classifier, 6, 5)
    ledger = Ledger(classifier, searches=6, total=40)
    after = go(classifier, masks, limits, ledger=ledger)
    check(classifier, masks, limits, after)
    assert int(after.queries.sum()) == int(ledger.counts.issued.sum()) == 40
    assert bool((after.ended == Ended.BUDGET).any())


# Cost


def test_a_few_pixels_of_thousands_are_found_in_a_few_queries():
    places = ((3, 5), (31, 62), (50, 9))
    classifier = needs(*places, height=64, width=64)
    after = go(classifier, torch.ones(1, 64, 64, dtype=torch.bool), torch.ones(1), slack=None)
    assert sorted(map(tuple, after.masks[0].nonzero().tolist())) == sorted(places)
    assert after.minimal.tolist() == [2]
    assert int(after.queries) < 150


def test_when_many_are_needed_each_is_asked_about_a_few_times_only():
    worth = stream()["worth"].uniform(400, dtype=torch.float64)[0] - 0.2
    classifier = Planned(lambda masks: masks.flatten(1).double() @ worth, 20, 20)
    full = torch.ones(1, 20, 20, dtype=torch.bool)
    limits = torch.tensor([0.5 * float(worth.sum())])
    after = go(classifier, full, limits, pairs=False)
    # By value it is known: the fewest pixels are the most valuable ones.
    best = worth.sort(descending=True).values.cumsum(0)
    fewest = 1 + int((best < limits).sum())
    assert after.minimal.tolist() == [1]
    assert int(after.masks.sum()) <= 1.5 * fewest
    assert int(after.queries) < 4 * 400


def test_what_is_minimal_already_costs_one_round_of_singles_and_one_of_pairs():
    places = ((0, 0), (1, 3), (2, 2))
    classifier = needs(*places, height=4, width=4)
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    for place in places:
        masks[0][place] = True
    after = go(classifier, masks, torch.ones(1))
    assert torch.equal(after.masks, masks) and after.words(0) == "2-minimal, 3 pixels, 6 queries"


def test_questions_are_cut_into_batches_of_bounded_memory(monkeypatch):
    classifier = table(3)
    masks, limits = start(classifier, 6, 5)
    whole = go(classifier, masks, limits)
    monkeypatch.setattr(module, "PIXELS", 9 * 25)  # 25 images, which is two calls of ten
    ledger = Ledger(classifier, searches=6)
    asked, keys, ask = [], [], ledger.ask

    def noting(images, search, key):
        asked.append(len(images))
        keys.append(key)
        return ask(images, search, key)

    ledger.ask = noting
    cut = go(classifier, masks, limits, ledger=ledger, key=("shrink", 7))
    assert same(whole, cut)
    assert max(asked) == 20 and len(keys) == len(set(keys)) and {key[:2] for key in keys} == {("shrink", 7)}
    assert keys[:2] == [("shrink", 7, 0, 0), ("shrink", 7, 0, 1)]


def test_pairs_are_asked_about_in_blocks_until_one_can_go(monkeypatch):
    monkeypatch.setattr(module, "PAIRS", 4)
    # No single pixel can go; of the 15 pairs only (1, 3), the fifth by number.
    allowed = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 1]]).bool()
    classifier = Planned(lambda masks: (masks.flatten(1)[:, None] == allowed).all(2).any(1), 1, 6)
    after = go(classifier, torch.ones(1, 1, 6, dtype=torch.bool), torch.ones(1))
    assert torch.equal(after.masks[0, 0], allowed[1])
    # 6 singles, two blocks of 4; then 4 singles and 6 pairs, none of them asked before.
    assert after.words(0) == "2-minimal, 4 pixels, 24 queries"


def test_pairs_of_genes_that_nearly_went_are_asked_about_first(monkeypatch):
    monkeypatch.setattr(module, "PAIRS", 4)

    # No single pixel can go, but without either of the last two little is missing; without both nothing is.
    def value(masks):
        ink, last = masks.flatten(1).sum(1), masks[:, 0, 4:].sum(1)
        return (ink == 6) + 0.5 * (ink == 5) + 0.4 * ((ink == 5) & (last == 1)) + ((ink == 4) & (last == 0))

    after = go(Planned(value, 1, 6), torch.ones(1, 1, 6, dtype=torch.bool), torch.ones(1))
    # 6 singles and one block of 4; then 4 singles and 6 pairs. By index the pair is the last of 15.
    assert after.words(0) == "2-minimal, 4 pixels, 20 queries"


# Degenerate masks


def test_an_empty_mask_that_holds_is_minimal_without_a_question():
    after = go(table(0), torch.zeros(1, 3, 3, dtype=torch.bool), torch.zeros(1))
    assert after.words(0) == "2-minimal, 0 pixels, 0 queries" and after.ended.tolist() == [Ended.SHOWN]


def test_a_single_pixel_goes_where_the_blank_holds_and_else_is_minimal():
    mask = torch.zeros(2, 3, 3, dtype=torch.bool)
    mask[:, 1, 1] = True
    classifier = Planned(lambda masks: masks.flatten(1).sum(1), 3, 3)
    after = go(classifier, mask, torch.tensor([0.0, 1.0]))
    assert after.masks.flatten(1).sum(1).tolist() == [0, 1]
    assert after.words(0) == "2-minimal, 0 pixels, 1 query" and after.words(1) == "2-minimal, 1 pixel, 1 query"


def test_where_anything_holds_all_ink_goes():
    classifier = table(0)
    after = go(classifier, torch.ones(1, 3, 3, dtype=torch.bool), torch.zeros(1))
    # Nine singles, then all nine together; 4 and 2 of them are asked about beside.
    assert after.words(0) == "2-minimal, 0 pixels, 12 queries"


def test_no_masks_at_all():
    classifier = table(0)
    none = shrink(
        torch.zeros(0, 3, 3, dtype=torch.bool),
        torch.zeros(0, 2),
        decode=decode,
        ledger=Ledger(classifier, searches=0),
        **at_least(torch.zeros(0)),
    )
    assert none.masks.shape == (0, 3, 3) and len(none.minimal) == len(none.queries) == 0


def test_what_does_not_hold_or_is_not_wanted_is_left():
    classifier = table(4)
    masks, limits = start(classifier, 4, 4)
    free = go(classifier, masks, limits)
    limits[0] = 2.0
    scores = classifier(decode(masks, torch.arange(4)))
    scores[1] = torch.nan
    wanted = torch.tensor([True, True, False, True])
    ledger = Ledger(classifier, searches=4)
    after = shrink(masks, scores, decode=decode, ledger=ledger, wanted=wanted, **at_least(limits))
    assert torch.equal(after.masks[:3], masks[:3]) and torch.equal(after.scores[[0, 2]], scores[[0, 2]])
    assert after.minimal.tolist() == [0, 0, 0, 2] and after.ended[:3].tolist() == [Ended.LEFT] * 3
    assert ledger.counts.issued[:3].tolist() == [0, 0, 0]
    assert torch.equal(after.masks[3], free.masks[3]) and not torch.equal(free.masks[3], masks[3])
    assert after.words(0) == f"not shrunk, {int(masks[0].sum())} pixels, 0 queries"


# Answers that fail


def test_where_a_single_removal_has_no_answer_nothing_is_shown():
    # All three are needed; without the first one there is no answer.
    classifier = needs((0, 0), (0, 1), (0, 2), height=1, width=3)
    silent = Silent(classifier, lambda images: images[:, 0, 0, 0] > 0.5)
    after = go(silent, torch.ones(1, 1, 3, dtype=torch.bool), torch.ones(1))
    assert int(after.masks.sum()) == 3
    assert after.words(0) == "not shown to be minimal: the classifier left images unanswered, 3 pixels, 3 queries"


def test_where_a_pair_has_no_answer_single_genes_are_shown():
    classifier = needs((0, 0), (0, 1), (0, 2), height=1, width=3)
    silent = Silent(classifier, lambda images: drawn(images).flatten(1).sum(1) == 1)
    after = go(silent, torch.ones(1, 1, 3, dtype=torch.bool), torch.ones(1))
    assert after.words(0) == "1-minimal, 3 pixels, 6 queries" and after.ended.tolist() == [Ended.FAILED]


def test_what_has_no_answer_never_goes_even_where_the_goal_would_take_it():
    classifier = needs((0, 0), (0, 1), (0, 2), height=1, width=3)
    silent = Silent(classifier, lambda images: images[:, 0, 0, 0] > 0.5)
    full = torch.ones(1, 1, 3, dtype=torch.bool)
    after = go(silent, full, torch.ones(1), holds=lambda scores, rows: ~(scores[:, 0] < 1))
    assert torch.equal(after.masks, full) and after.minimal.tolist() == [0]


def test_a_mask_without_an_answer_is_left_even_where_the_goal_would_take_it():
    ledger = Ledger(table(0), searches=1)
    full, unknown = torch.ones(1, 3, 3, dtype=torch.bool), torch.full((1, 2), torch.nan)
    after = shrink(full, unknown, decode=decode, ledger=ledger, holds=lambda scores, rows: ~(scores[:, 0] < 0.5))
    assert torch.equal(after.masks, full) and after.words(0) == "not shrunk, 9 pixels, 0 queries"


def test_an_answer_missing_on_the_way_spoils_no_certificate():
    # The first two are needed. Without the second one there is no answer, as long as the others are there.
    classifier = needs((0, 0), (0, 1), height=1, width=4)
    silent = Silent(classifier, lambda images: (drawn(images)[:, 0] == torch.tensor([True, False, True, True])).all(1))
    ledger = Ledger(silent, searches=1)
    after = go(silent, torch.ones(1, 1, 4, dtype=torch.bool), torch.ones(1), ledger=ledger)
    assert ledger.counts.failed.tolist() == [1]
    assert after.masks.int().tolist() == [[[1, 1, 0, 0]]] and after.minimal.tolist() == [2]


def test_an_answer_missing_for_a_larger_mask_spoils_no_certificate(monkeypatch):
    monkeypatch.setattr(module, "MANY", 2)
    # Chunks first: {0 1}, {2 3}. Without the first two, and without any of the others, there is no answer; alone the
    # pixels are all answered, and all needed.
    classifier = needs((0, 0), (0, 1), (0, 2), (0, 3), height=1, width=4)
    asked = []

    def chosen(images):
        asked.extend(drawn(images).flatten(1).int().tolist())
        return drawn(images).flatten(1).sum(1) == 2

    after = go(Silent(classifier, chosen), torch.ones(1, 1, 4, dtype=torch.bool), torch.ones(1))
    assert [0, 0, 1, 1] in asked and [1, 1, 0, 0] in asked
    assert after.minimal.tolist() == [1]


# Side by side, and again


@pytest.mark.parametrize("many", [4, 64])
def test_a_search_alone_is_the_search_in_a_batch(monkeypatch, many):
    monkeypatch.setattr(module, "MANY", many)
    for classifier in (table(6), interacting(6)):
        masks, limits = start(classifier, 7, 6)
        for budget in (None, 9):
            together = go(classifier, masks, limits, ledger=Ledger(classifier, searches=7, budget=budget))
            assert len(set(together.queries.tolist())) > (2 if budget is None else 0)
            for row in range(7):
                ledger = Ledger(classifier, searches=1, budget=budget)
                alone = go(classifier, masks[[row]], limits[[row]], ledger=ledger)
                for field in dataclasses.fields(Shrunk):
                    in_batch = getattr(together, field.name)[[row]]
                    assert torch.equal(getattr(alone, field.name), in_batch), field.name


def test_without_a_cache_the_result_is_the_same():
    classifier = table(8)
    masks, limits = start(classifier, 6, 8)
    cached = go(classifier, masks, limits)
    ledger = Ledger(classifier, searches=6, cache=False)
    after = go(classifier, masks, limits, ledger=ledger)
    assert torch.equal(after.masks, cached.masks) and torch.equal(after.minimal, cached.minimal)
    assert torch.equal(ledger.counts.issued, after.queries)
    assert int(after.queries.sum()) > int(cached.queries.sum())


def test_what_the_search_asked_before_is_not_charged_again():
    classifier = needs((0, 0), (0, 1), (0, 2), height=1, width=3)
    ledger = Ledger(classifier, searches=1)
    full = torch.ones(1, 1, 3, dtype=torch.bool)
    ledger.ask(decode(without(full[0], 1), torch.zeros(3)), torch.zeros(3, dtype=torch.int64))
    after = go(classifier, full, torch.ones(1), ledger=ledger)
    assert after.words(0) == "2-minimal, 3 pixels, 3 queries"
    assert ledger.counts.issued.tolist() == [6]


def test_a_shrinking_that_was_stopped_goes_on_to_the_same_end(tmp_path):
    classifier = table(9)
    classifier.info = dataclasses.replace(classifier.info, micro_batch=200)  # a request is one call
    masks, limits = start(classifier, 5, 9)
    free = go(classifier, masks, limits)
    names = [f"search {i}" for i in range(5)]
    stops = 0
    for call in range(1, 60):
        file = tmp_path / f"{call}.sqlite"
        failing = Failing(classifier, {call + 1}, fatal=True)  # the first call makes the scores at the start
        store = Store(file, owner=True)
        try:
            go(failing, masks, limits, ledger=Ledger(failing, searches=names, store=store, chain="a"))
            store.close()
            break
        except TargetError:
            stops += 1
        store.close()
        ledger = Ledger(classifier, searches=names, store=Store(file, owner=True), chain="a")
        after = go(classifier, masks, limits, ledger=ledger)
        assert same(after, free), f"stopped at call {call}"
        assert torch.equal(ledger.counts.answered, free.queries)
        ledger.store.close()
    assert stops > 5


def test_each_round_is_told_with_less_ink_and_more_queries():
    classifier = table(6)
    masks, limits = start(classifier, 7, 6)
    told = []
    after = go(classifier, masks, limits, on_round=told.append)
    assert len(told) > 3 and same(told[-1], after)
    assert told[0].words(0).startswith("shrinking, ")
    for a, b in itertools.pairwise(told):
        assert not bool((b.masks & ~a.masks).any()) and bool((b.queries >= a.queries).all())
        assert torch.equal(values(classifier, b.masks), b.scores[:, 0])


def test_it_serves_drawings_with_their_criterion():
    info = additive(5, 3, 2, 1, 0, -1, limit=7).info
    classifier = additive(5, 3, 2, 1, 0, -1, limit=3)
    ink, full = Ink(size=(1, 6)), torch.ones(2, 1, 6, dtype=torch.bool)
    labels = torch.tensor([0, 0])

    def evaluated(scores, rows):
        label = labels[rows][None]
        status = torch.zeros(label.shape, dtype=torch.int8)
        return Evaluated(None, torch.zeros(1), None, scores[None], label, status)

    def holds(scores, rows):
        return criteria.confident(evaluated(scores, rows), info, probability=0.9)[0]

    def slack(scores, rows):
        return objectives.true_class_probability(evaluated(scores, rows), info)[0]

    after = shrink(
        full,
        classifier(ink.decode(full[None])[0]),
        decode=lambda masks, rows: ink.decode(masks[None])[0],
        holds=holds,
        slack=slack,
        ledger=Ledger(classifier, searches=2),
    )
    # p = 0.9 is a margin of log 9 = 2.2, so 5.2 is needed: 5 and 1 are the least that slack leads to.
    assert bool(holds(after.scores, torch.arange(2)).all()) and after.minimal.tolist() == [2, 2]
    assert after.masks.flatten(1).sum(1).tolist() == [2, 2]


# Wrong input


def test_parts_for_different_numbers_of_searches_are_refused():
    classifier = table(0)
    masks, limits = start(classifier, 3, 0)
    ledger = Ledger(classifier, searches=3)
    for settings in ({"ledger": Ledger(classifier, searches=2)}, {"wanted": torch.ones(2, dtype=torch.bool)}):
        with pytest.raises(SpecError, match=r"masks to shrink: .*expected one number of all"):
            go(classifier, masks, limits, **{"ledger": ledger, **settings})
    with pytest.raises(SpecError, match="float32; expected bool"):
        shrink(masks.float(), torch.zeros(3, 2), decode=decode, ledger=ledger, **at_least(limits))
    assert ledger.counts.issued.sum() == 0
