"""The doctor: what it measures, worked out by hand; each flag on a classifier that deserves it; what it may spend."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evofool.classifiers import load_classifier
from evofool.classifiers.fake import Constant, Counting, Failing, Linear, Silent
from evofool.contracts import ClassifierInfo, Dataset
from evofool.data import load_data
from evofool.doctor import (
    ABOUT,
    Agreement,
    Diagnosis,
    Flag,
    Forecast,
    Reaction,
    Share,
    Speed,
    choice,
    examine,
    findings,
    forecast,
    from_json,
    measures,
    to_json,
)
from evofool.doctor.verdict import near_chance
from evofool.errors import ClassifierError, SpecError, TargetError
from evofool.store import Store
from test_cli import Here, here

__all__ = ["here"]  # a fixture

GOOD = load_classifier("digits")
DIGITS = load_data("digits")


class Planted:
    """The good classifier with something done to its answers or its images; what else is said of it is as given."""

    def __init__(self, answer: Callable[[torch.Tensor], torch.Tensor], **declared):
        self.info: ClassifierInfo = replace(GOOD.info, name="planted", **declared)
        self._answer = answer

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return self._answer(images)


def metered(classifier, **declared):
    """The same classifier behind an endpoint that takes eight images a request."""
    return Planted(classifier, **{"metered": True, "micro_batch": 8, "kind": classifier.info.kind, **declared})


def softmax(images: torch.Tensor) -> torch.Tensor:
    return GOOD(images).softmax(1)


def whole_call(images: torch.Tensor) -> torch.Tensor:
    return GOOD(images) * (1 + images.mean())


def random_scores() -> Callable[[torch.Tensor], torch.Tensor]:
    asked = itertools.count()
    return lambda images: (
        GOOD(images) + torch.randn(len(images), 10, generator=torch.Generator().manual_seed(next(asked)))
    )


def one_hot(images: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(GOOD(images).argmax(1), 10).float()


SWAPPED = [0, 1, 2, 7, 4, 5, 6, 3, 8, 9]
PLANTED: dict[str, tuple[Callable[[], object], set[Flag]]] = {
    "random scores": (lambda: Planted(random_scores()), {Flag.RANDOM_SCORES}),
    "rounded to 2 decimals": (
        lambda: Planted(lambda images: torch.round(softmax(images), decimals=2), kind="probabilities"),
        {Flag.ROUNDED_SCORES},
    ),
    "steps of a third": (
        lambda: Planted(lambda images: torch.round(softmax(images) * 16) / 3),
        {Flag.ROUNDED_SCORES},
    ),
    "constant": (
        lambda: Constant(range(10)),
        {Flag.CONSTANT_UNDER_NOISE, Flag.ACCURACY_NEAR_CHANCE},
    ),
    "the rest of the call matters": (lambda: Planted(whole_call), {Flag.BATCH_DEPENDENT}),
    "softmaxed logits": (lambda: Planted(softmax, kind="logits"), {Flag.KIND_CONTRADICTED}),
    "logits as probabilities": (lambda: Planted(GOOD, kind="probabilities"), {Flag.KIND_CONTRADICTED}),
    "sigmoids as probabilities": (
        lambda: Planted(lambda images: GOOD(images).sigmoid(), kind="probabilities"),
        {Flag.KIND_CONTRADICTED},
    ),
    "scores as labels": (lambda: Planted(GOOD, kind="label"), {Flag.KIND_CONTRADICTED}),
    "all classes in another order": (
        lambda: Planted(lambda images: GOOD(images).roll(3, 1)),
        {Flag.ORDER_SUSPECT, Flag.ACCURACY_NEAR_CHANCE},
    ),
    "two classes swapped": (lambda: Planted(lambda images: GOOD(images)[:, SWAPPED]), {Flag.ORDER_SUSPECT}),
    "inverted input": (lambda: Planted(lambda images: GOOD(1 - images)), {Flag.ACCURACY_NEAR_CHANCE}),
    "labels": (lambda: Planted(one_hot, kind="label"), {Flag.LABEL_ONLY}),
    "labels said to be probabilities": (lambda: Planted(one_hot, kind="probabilities"), {Flag.LABEL_ONLY}),
    "NaN for a third": (
        lambda: Silent(GOOD, lambda images: images[:, 0, 13, 13] < 0.25),
        {Flag.NO_ANSWERS},
    ),
    "no answer at all": (
        lambda: Silent(GOOD, lambda images: torch.ones(len(images), dtype=torch.bool)),
        {Flag.NO_ANSWERS},
    ),
    "fails now and then": (lambda: Failing(GOOD, {2, 9}), {Flag.NO_ANSWERS}),
    "other classes": (
        lambda: Planted(lambda images: GOOD(images)[:, :3], class_names=("cat", "dog", "owl")),
        {Flag.CLASSES_DIFFER},
    ),
    "none": (lambda: GOOD, set()),
}


@pytest.mark.parametrize("name", PLANTED)
def test_each_fault_shows_its_flags_and_no_others(name) -> None:
    made, flags = PLANTED[name]
    assert set(examine(made(), DIGITS).flags) == flags


def test_every_flag_is_planted_and_explained() -> None:
    assert set().union(*(flags for _, flags in PLANTED.values())) == set(Flag) == set(ABOUT)
    assert all(ABOUT[flag] and "\n" not in ABOUT[flag] for flag in Flag)


# With 32 queries, too -----------------------------------------------------------------------------------------------

METERED = {
    "random scores": Flag.RANDOM_SCORES,
    "rounded to 2 decimals": Flag.ROUNDED_SCORES,
    "constant": Flag.CONSTANT_UNDER_NOISE,
    "the rest of the call matters": Flag.BATCH_DEPENDENT,
    "softmaxed logits": Flag.KIND_CONTRADICTED,
    "logits as probabilities": Flag.KIND_CONTRADICTED,
    "all classes in another order": Flag.ORDER_SUSPECT,
    "inverted input": Flag.ACCURACY_NEAR_CHANCE,
    "labels": Flag.LABEL_ONLY,
    "NaN for a third": Flag.NO_ANSWERS,
    "no answer at all": Flag.NO_ANSWERS,
    "other classes": Flag.CLASSES_DIFFER,
}


@pytest.mark.parametrize("name", METERED)
def test_a_metered_target_shows_it_in_32_queries(name) -> None:
    made = PLANTED[name][0]()
    counting = Counting(metered(made, class_names=made.info.class_names))
    assert METERED[name] in examine(counting, DIGITS).flags
    assert 0 < counting.rows <= 32


def test_a_good_metered_target_shows_none_and_is_asked_as_the_docstring_says() -> None:
    counting = Counting(metered(GOOD))
    diagnosis = examine(counting, DIGITS)
    assert diagnosis.flags == ()
    assert counting.sizes == [4, 4, 4, 4, 4, 4, 8]
    assert diagnosis.asked == diagnosis.answered == counting.rows == 32
    assert (diagnosis.scores.rows, diagnosis.accuracy.n) == (16, 16)
    assert diagnosis.repeat == diagnosis.company == Agreement(4, 4, 0, 0.0)
    assert (diagnosis.small.images, diagnosis.strong.images) == (4, 4)


def test_where_a_request_is_one_image_nobody_asks_about_its_company() -> None:
    counting = Counting(metered(GOOD, micro_batch=1))
    diagnosis = examine(counting, DIGITS)
    assert diagnosis.company is None and diagnosis.accuracy.n == 16
    assert counting.sizes == [1] * 28


def test_retries_of_a_metered_target_are_within_the_32() -> None:
    counting = Counting(metered(GOOD))
    failing = Failing(counting, {1, 3, 4, 8}, retry_after=0)
    diagnosis = examine(failing, DIGITS)
    assert failing.calls > 4 and counting.rows < 32
    assert diagnosis.asked == 32 and diagnosis.failed >= 16
    assert Flag.NO_ANSWERS in diagnosis.flags
    assert "call 8 fails on purpose" in diagnosis.error
    assert "It said last:" in diagnosis.findings[0].seen


# What it may spend --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("queries", [None, 64])
def test_a_local_classifier_is_never_asked_more_than_its_limit(name, queries) -> None:
    made = PLANTED[name][0]()
    counting = Counting(Planted(made, kind=made.info.kind, class_names=made.info.class_names, micro_batch=25))
    store = Store()
    diagnosis = examine(counting, DIGITS, queries=queries, store=store)
    limit = queries or 1000
    issued = store.counts()["doctor"]["issued"]
    assert 0 < diagnosis.asked == issued <= limit == diagnosis.limit
    if name != "fails now and then":  # where the padding of calls that failed is not written down
        assert counting.rows == issued + store.padded()


def test_a_local_classifier_is_asked_as_the_docstring_says() -> None:
    diagnosis = examine(GOOD, DIGITS, throughput=False)
    assert (diagnosis.asked, diagnosis.accuracy.n, diagnosis.scores.rows) == (900, 600, 600)
    assert diagnosis.repeat == diagnosis.company == Agreement(100, 100, 0, 0.0)
    assert (diagnosis.small.images, diagnosis.strong.images) == (50, 50)
    assert [speed.rows for speed in diagnosis.speeds] == [100]
    assert [(s.rows, s.calls) for s in examine(GOOD, DIGITS).speeds] == [(1, 3), (10, 2), (100, 10)]


def test_it_stops_asking_a_target_that_says_nothing() -> None:
    silent = PLANTED["no answer at all"][0]()
    counting = Counting(silent)
    diagnosis = examine(counting, DIGITS)
    assert 250 <= diagnosis.asked <= 300 and diagnosis.answered == 0
    assert diagnosis.scores is diagnosis.accuracy is diagnosis.repeat is diagnosis.company is diagnosis.small is None
    assert "None of" in diagnosis.findings[0].seen


def test_a_fatal_error_passes_through() -> None:
    with pytest.raises(TargetError, match="fails on purpose") as caught:
        examine(Failing(GOOD, {3}, fatal=True), DIGITS)
    assert caught.value.fatal


def test_the_same_twice_apart_from_the_time() -> None:
    first, second = (replace(examine(GOOD, DIGITS), speeds=()) for _ in range(2))
    assert first == second


def test_what_a_store_holds_is_not_asked_again(tmp_path) -> None:
    counting = Counting(GOOD)
    store = Store(tmp_path / "ledger.sqlite", owner=True)
    try:
        first = examine(counting, DIGITS, store=store, account="mine", throughput=False)
        assert counting.rows == 900 + store.padded()
        seen = counting.rows
        second = examine(counting, DIGITS, store=store, account="mine", throughput=False)
        assert counting.rows == seen and store.counts()["mine"]["issued"] == 900
    finally:
        store.close()
    assert replace(second, speeds=()) == replace(first, speeds=())


def test_ticks_add_up_to_what_was_asked() -> None:
    ticks: list[int] = []
    diagnosis = examine(PLANTED["inverted input"][0](), DIGITS, on_tick=ticks.append)
    assert sum(ticks) == diagnosis.asked and len(ticks) > 5


def test_small_calls_that_are_refused_are_left_out() -> None:
    def fixed(images: torch.Tensor) -> torch.Tensor:
        if len(images) != 100:
            raise ClassifierError("it takes 100 rows")
        return GOOD(images)

    diagnosis = examine(Planted(fixed), DIGITS)
    assert [speed.rows for speed in diagnosis.speeds] == [100] and diagnosis.flags == ()


# What the flags say -------------------------------------------------------------------------------------------------


def test_classes_that_changed_places_are_named() -> None:
    (finding,) = examine(PLANTED["two classes swapped"][0](), DIGITS).findings
    assert "3 and 7 seem to be swapped" in finding.seen
    everything = examine(PLANTED["all classes in another order"][0](), DIGITS)
    assert dict(everything.renamed[0].pairs) == {str(i): str((i + 3) % 10) for i in range(10)}
    assert everything.renamed[0].renamed / everything.renamed[0].images > 0.9


def test_the_names_that_it_suggests_put_the_classes_in_order(tmp_path) -> None:
    (tmp_path / "net.py").write_text(
        "from evofool.classifiers import load_classifier\n"
        "good = load_classifier('digits')\n"
        "def shuffled(images):\n    return good(images)[:, [4, 1, 8, 3, 0, 5, 6, 9, 7, 2]]\n"
    )
    spec = f"{tmp_path}/net.py:shuffled"
    before = examine(load_classifier(spec, data=DIGITS), DIGITS)
    assert len(before.renamed) == 2 and before.reordered == tuple("4183056972")
    assert f"--with class_names={','.join(before.reordered)}" in before.findings[0].remedy
    after = examine(load_classifier(spec, {"class_names": ",".join(before.reordered)}, data=DIGITS), DIGITS)
    assert after.flags == () and after.accuracy == examine(GOOD, DIGITS).accuracy
    assert before.accuracy.k < after.accuracy.k


def test_names_in_another_order_are_found_by_name() -> None:
    names = tuple("9876543210")
    diagnosis = examine(Planted(lambda images: GOOD(images).flip(1), class_names=names), DIGITS)
    assert diagnosis.matched == "name" and diagnosis.flags == () and diagnosis.accuracy.k > 550


def test_names_that_nobody_shares_are_taken_by_their_place() -> None:
    diagnosis = examine(Planted(GOOD, class_names=tuple("abcdefghij")), DIGITS)
    assert diagnosis.matched == "place" and diagnosis.flags == () and diagnosis.accuracy.k > 550


@pytest.mark.parametrize(
    ("inside", "options"),
    [
        (lambda images: GOOD(1 - images), "--with mean=1 --with std=-1"),
        (lambda images: GOOD(images / 255), "--with white=255"),
    ],
)
def test_the_preparation_that_it_suggests_works(tmp_path, inside, options) -> None:
    diagnosis = examine(Planted(inside), DIGITS)
    finding = next(f for f in diagnosis.findings if f.flag == Flag.ACCURACY_NEAR_CHANCE)
    assert diagnosis.hint.options == options and options in finding.remedy
    assert diagnosis.hint.right.n == 25 and diagnosis.hint.right.k > 20
    already = examine(Planted(inside, preparation="normalised"), DIGITS)
    assert already.hint.options == "" and already.hint.words == diagnosis.hint.words


def test_a_normalised_model_of_colours_is_told_the_normalisation() -> None:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    colours = Dataset(DIGITS.images.expand(-1, 3, -1, -1), DIGITS.labels, DIGITS.class_names, "colours", "00" * 32)

    def inside(images: torch.Tensor) -> torch.Tensor:
        plain = images * std.view(1, 3, 1, 1) + mean.view(1, 3, 1, 1)
        return GOOD(plain[:, :1]) if float(plain.min()) < 0.1 else torch.zeros(len(images), 10)

    diagnosis = examine(Planted(inside, image_shape=(3, 28, 28)), colours)
    assert diagnosis.hint.options == "--with mean=0.485,0.456,0.406 --with std=0.229,0.224,0.225"


def test_rounding_of_the_arithmetic_is_neither_random_nor_company() -> None:
    asked = itertools.count()
    almost = Planted(lambda images: GOOD(images) + 1e-6 * (next(asked) % 3))
    diagnosis = examine(almost, DIGITS)
    assert 0 < diagnosis.repeat.largest < 1e-5 and diagnosis.flags == ()


def test_other_shapes_are_refused_in_one_line() -> None:
    with pytest.raises(ClassifierError, match=r"expects images of shape \(1, 28, 28\).*has \(1, 14, 14\)") as caught:
        examine(GOOD, replace(DIGITS, images=DIGITS.images[:, :, ::2, ::2]))
    assert "\n" not in str(caught.value)
    with pytest.raises(ClassifierError, match="queries = 9: expected at least 10"):
        examine(GOOD, DIGITS, queries=9)


@pytest.mark.parametrize("count", [1, 3, 30, 101])
def test_few_images_are_enough_to_say_something(count) -> None:
    few = replace(DIGITS, images=DIGITS.images[:count], labels=DIGITS.labels[:count])
    for classifier in (GOOD, metered(GOOD)):
        diagnosis = examine(classifier, few)
        assert diagnosis.accuracy.n == min(count, 16 if classifier.info.metered else 600)
        assert not {Flag.RANDOM_SCORES, Flag.BATCH_DEPENDENT, Flag.NO_ANSWERS} & set(diagnosis.flags)


def test_two_classes_and_one_output_a_class() -> None:
    halves = replace(DIGITS, labels=(DIGITS.labels >= 5).long(), class_names=("high", "low")[::-1])

    def binary(images: torch.Tensor) -> torch.Tensor:
        scores = GOOD(images).softmax(1)
        return torch.stack([scores[:, :5].sum(1), scores[:, 5:].sum(1)], 1)

    named = {"kind": "probabilities", "class_names": halves.class_names}
    assert examine(Planted(binary, **named), halves).flags == ()
    exchanged = examine(Planted(lambda images: binary(images).flip(1), **named), halves)
    assert Flag.ORDER_SUSPECT in exchanged.flags and dict(exchanged.renamed[0].pairs) == {"low": "high", "high": "low"}


# By hand ------------------------------------------------------------------------------------------------------------


def test_wilson_by_hand() -> None:
    # z = 1.96: centre (8 + 1.92) / (10 + 3.84) = 0.7168, half = 1.96 / 13.84 * sqrt(8 * 2 / 10 + 0.96) = 0.2266
    eight = measures.wilson(8, 10)
    assert (eight.k, eight.n) == (8, 10)
    assert eight.low == pytest.approx(0.4902, abs=1e-4) and eight.high == pytest.approx(0.9433, abs=1e-4)
    # 0 of 10: up to z^2 / (n + z^2) = 3.8415 / 13.8415
    assert measures.wilson(0, 10) == Share(0, 10, 0.0, pytest.approx(3.841459 / 13.841459))
    assert measures.wilson(10, 10).low == pytest.approx(10 / 13.841459) and measures.wilson(10, 10).high == 1.0
    for bad in ((1, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="expected 0 to n"):
            measures.wilson(*bad)


def test_forecast_by_hand() -> None:
    local = replace(GOOD.info, cost=None)
    # 1,001 queries in calls of 100 are 11 calls of half a second
    assert forecast(1001, local, Speed(100, 0.5, 0.6, 4)) == Forecast(1001, 5.5, None)
    endpoint = replace(GOOD.info, metered=True, concurrency=4, cost=0.002)
    # 1,000 requests of 0.3 s, 4 at a time
    told = forecast(1000, endpoint, Speed(1, 0.3, 0.9, 16))
    assert told == Forecast(1000, pytest.approx(75.0), pytest.approx(2.0))
    assert forecast(10, endpoint, None) == Forecast(10, None, pytest.approx(0.02))
    diagnosis = examine(GOOD, DIGITS, budget=5000)
    assert diagnosis.forecast == Forecast(5000, pytest.approx(50 * diagnosis.speeds[-1].seconds), None)
    assert examine(GOOD, DIGITS).forecast is None


def test_images_come_evenly_from_classes_and_places() -> None:
    labels = torch.tensor([0] * 8 + [1] * 2 + [2] * 4)
    assert choice.spread(labels, 3).tolist() == [0, 8, 10]
    # two of each class: of 8 the first and the middle one, both of 2, of 4 the first and the middle one; in turns
    assert choice.spread(labels, 6).tolist() == [0, 8, 10, 4, 9, 12]
    assert choice.spread(labels, 2).tolist() == [0, 8]
    assert sorted(choice.spread(labels, 99).tolist()) == list(range(14))
    counts = torch.bincount(DIGITS.labels[choice.spread(DIGITS.labels, 600)])
    assert counts.tolist() == [60] * 10


def test_company_by_hand() -> None:
    # two of four known images a call, each as far from the end as it was from the start, new ones on the other places
    asked, known, new = choice.company(4, 12, 4)
    assert asked.tolist() == [4, 5, 1, 0, 3, 2, 6, 7]
    assert known.tolist() == [False, False, True, True, True, True, False, False]
    assert new == 8
    assert choice.company(4, 7, 4)[0].tolist() == [4, 5, 1, 0]
    assert len(choice.company(4, 5, 4)[0]) == 0


def test_noise_keeps_to_its_level_and_repeats() -> None:
    gray = torch.full((3, 1, 8, 8), 100, dtype=torch.uint8)
    noisy = choice.noisy(gray, 8, "small")
    assert noisy.dtype == torch.uint8 and 90 < int(noisy.min()) <= 94 and 106 <= int(noisy.max()) <= 108
    assert torch.equal(noisy, choice.noisy(gray, 8, "small")) and not torch.equal(noisy[0], noisy[1])
    assert int(choice.noisy(gray, 128, "strong").min()) == 0 or int(choice.noisy(gray, 128, "strong").max()) > 200


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.12, 0.5, 0.33, 0.07], 2),
        ([0.1, 0.2, 0.7], 1),
        ([3.0, 17.0, 5.0, 41.0, 2.0], 0),
        ([0.001234, 0.000321, 0.021111, 0.000045, 0.0111], 6),
        ([0.123457, 0.654321, 0.111111, 0.987654, 0.246802], None),  # float32 holds hardly more
        ([0.12, 0.5], None),  # too few
        ([0.12, 0.5, 0.3333333, 0.07], None),
        (torch.rand(50, generator=torch.Generator().manual_seed(1)).tolist(), None),
        ((torch.rand(50, generator=torch.Generator().manual_seed(1)) * 100).tolist(), None),
        (torch.round(torch.rand(50, generator=torch.Generator().manual_seed(1)), decimals=3).tolist(), 3),
        ([-1.5, 2.25, 8.75, 0.5], 2),
    ],
)
def test_decimals(values, expected) -> None:
    assert measures.decimals(np.unique(np.array(values, dtype=np.float32))) == expected


def test_agreement_and_reaction_by_hand() -> None:
    first = torch.tensor([[1.0, 2.0], [3.0, 1.0], [0.0, 5.0], [torch.nan, torch.nan]])
    second = torch.tensor([[1.0, 2.0], [3.0, 3.5], [0.0, 4.0], [1.0, 2.0]])
    assert measures.agreement(first, second) == Agreement(images=3, equal=1, relabelled=1, largest=2.5)
    assert measures.reaction(first, second, 8, 0.0) == Reaction(8, images=3, changed=2, relabelled=1)
    assert measures.reaction(first, second, 8, 1.0) == Reaction(8, images=3, changed=1, relabelled=1)
    assert measures.agreement(first[3:], second[3:]) is None
    left_out = torch.tensor([[-torch.inf, 2.0]])
    assert measures.agreement(left_out, torch.tensor([[1.0, 2.0]])).largest == 0.0


def test_one_answer_for_nearly_everything_is_no_other_name() -> None:
    labels = torch.arange(10).repeat(40)
    for answer in (torch.full((400,), 3), torch.where(labels < 5, 3, 4), (labels * 7 + torch.arange(400) // 10) % 10):
        assert measures.renamed(labels, answer, "0123456789", "0123456789") == ()
    # what is learnt from two images of a class has to hold for others
    labels_twice = torch.arange(40).repeat(2)
    unlike = (labels_twice + torch.tensor([1, 7]).repeat_interleave(40)) % 40
    names = [str(i) for i in range(40)]
    assert measures.renamed(labels_twice, unlike, names, names) == ()
    alike = measures.renamed(labels_twice, (labels_twice + 1) % 40, names, names)
    assert [(each.right, each.renamed, each.images) for each in alike] == [(0, 80, 80)]
    noisy = torch.where(torch.arange(400) % 4 == 0, (labels + 3) % 10, labels)
    assert measures.renamed(labels, noisy, "0123456789", "0123456789") == ()


def test_near_chance_by_hand() -> None:
    # the interval of 90 of 600 begins at 12%, that of 150 at 22%; a tenth of the way from 10% to 100% is 19%
    assert near_chance(measures.wilson(90, 600), 0.1) and not near_chance(measures.wilson(150, 600), 0.1)
    # that of 12 of 16 begins at 51%, that of 14 at 64%; a tenth of the way from 50% to 100% is 55%
    assert near_chance(measures.wilson(12, 16), 0.5) and not near_chance(measures.wilson(14, 16), 0.5)


def test_labels_that_noise_leaves_alone_are_not_constant() -> None:
    labels = examine(Planted(one_hot, kind="label"), DIGITS)
    still = replace(labels, small=Reaction(8, 4, 0, 0), strong=Reaction(128, 4, 0, 0), findings=())
    assert [f.flag for f in findings(still)] == [Flag.LABEL_ONLY]
    same = replace(still, scores=replace(still.scores, different=1))
    assert [f.flag for f in findings(same)] == [Flag.LABEL_ONLY, Flag.CONSTANT_UNDER_NOISE]


def test_of_random_scores_nothing_is_said_that_repetition_explains() -> None:
    plain = examine(GOOD, DIGITS)
    drawn = replace(
        plain,
        repeat=Agreement(100, 0, 3, 5.0),
        company=Agreement(100, 0, 3, 5.0),
        small=Reaction(8, 50, 0, 3),
        strong=Reaction(128, 50, 0, 3),
    )
    assert [f.flag for f in findings(drawn)] == [Flag.RANDOM_SCORES]
    steady = replace(drawn, repeat=Agreement(100, 100, 0, 0.0))
    assert [f.flag for f in findings(steady)] == [Flag.CONSTANT_UNDER_NOISE, Flag.BATCH_DEPENDENT]


def test_scores_by_hand() -> None:
    scores = torch.tensor([[0.0, 1.0], [0.25, 0.75], [0.25, 0.75], [torch.nan, 0.5], [-torch.inf, 2.0]])
    seen = measures.describe(scores)
    assert (seen.rows, seen.different, seen.low, seen.high) == (4, 3, 0.0, 2.0)
    assert (seen.sum_low, seen.sum_high, seen.one_hot) == (1.0, 2.0, False)
    assert (seen.values, seen.distinct, seen.step) == (5, 3, 0.25)
    assert measures.describe(scores[3:4]) is None
    assert measures.describe(torch.eye(3)).one_hot and not measures.describe(torch.ones(2, 3)).one_hot


# JSON ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLANTED)
def test_a_diagnosis_comes_back_from_json(name) -> None:
    diagnosis = examine(PLANTED[name][0](), DIGITS, budget=1000)
    text = json.dumps(to_json(diagnosis), allow_nan=False)
    back = from_json(json.loads(text))
    assert back == diagnosis and isinstance(back, Diagnosis)
    assert findings(replace(back, findings=())) == diagnosis.findings


def test_what_is_no_diagnosis_is_refused() -> None:
    values = to_json(examine(GOOD, DIGITS))
    for bad in (
        {},
        [],
        {**values, "colour": 1},
        {**values, "asked": "many"},
        {**values, "findings": [{"flag": "odd"}]},
    ):
        with pytest.raises(SpecError, match="this is no diagnosis") as caught:
            from_json(bad)
        assert "\n" not in str(caught.value)


# The page -----------------------------------------------------------------------------------------------------------

BROKEN = """
import torch
from evofool.classifiers import load_classifier
good = load_classifier("digits")
def broken(images):
    return torch.round(good(1 - images).softmax(1), decimals=2)
def nothing(images):
    return torch.full((len(images), 10), torch.nan)
def three(images):
    return good(images)[:, :3]
def fine(images):
    return good(images)
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("models") / "broken.py"
    file.write_text(BROKEN)
    return str(file)


@pytest.fixture
def doctor(here: Callable[..., Here], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Here]:
    def run(*arguments: str, columns: int = 80) -> Here:
        monkeypatch.setenv("COLUMNS", str(columns))
        return here("doctor", "--data", "digits", *arguments)

    return run


def test_the_page_of_a_good_classifier(doctor) -> None:
    done = doctor("--classifier", "digits", "--budget", "5000")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80 and "\x1b" not in done.stdout
    for line in (
        "digits on digits test",
        "  images            1 x 28 x 28",
        "  classes           10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "  queries           923 of at most 1,000",
        "  asked again       the same bits for 100 of 100 images",
        "  other neighbours  the same bits for 100 of 100 images",
        "  Nothing: it answers as a search needs it.",
    ):
        assert line in done.stdout.splitlines()
    assert "  accuracy          570 of 600: 95.0% (93.0% to 96.5%); 10.0% by chance;" in done.stdout
    assert "  5,000 queries: " in done.stdout and "sum of a row" not in done.stdout


def test_the_page_of_a_broken_classifier(broken, doctor) -> None:
    done = doctor("--classifier", f"{broken}:broken", "--with", "kind=logits", "--with", "cost=0.5")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    found = [line.split(":")[0].strip() for line in done.stdout.splitlines() if line.startswith("  ") and ": " in line]
    flags = [name for name in found if name in set(Flag)]
    assert flags == ["accuracy-near-chance", "kind-contradicted", "rounded-scores"]
    page = " ".join(done.stdout.split())
    assert "> It seems to expect dark and bright exchanged: --with mean=1 --with std=-1." in page
    assert "> Say so: --with kind=probabilities." in page
    assert "10,000 queries: " in page and "they cost 5,000.00" in page


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_the_page_keeps_to_the_width(columns, doctor) -> None:
    done = doctor("--classifier", "digits", columns=columns)
    assert done.returncode == 0 and max(map(len, done.stdout.splitlines())) <= max(40, min(80, columns))


def test_the_page_where_nothing_is_answered_and_where_classes_differ(broken, doctor) -> None:
    done = doctor("--classifier", f"{broken}:nothing", "--with", "kind=logits")
    assert done.returncode == 0 and "no-answers: None of 300 queries" in done.stdout, done.stderr
    done = doctor("--classifier", f"{broken}:three", "--with", "class_names=a,b,c")
    assert done.returncode == 0 and "classes-differ: It tells 3 classes apart (a, b, c)" in done.stdout, done.stderr
    assert "accuracy " not in done.stdout


def test_json_is_one_line_that_comes_back(broken, doctor) -> None:
    done = doctor("--classifier", f"{broken}:fine", "--with", "metered=true", "--with", "cost=0.01", "--json")
    assert done.returncode == 0 and done.stdout.count("\n") == 1, done.stderr
    diagnosis = from_json(json.loads(done.stdout))
    assert diagnosis.metered and diagnosis.asked <= 32 and diagnosis.forecast.cost == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--classifier", "nowhere"], "no classifier 'nowhere'"),
        (["--classifier", "digits", "--with", "colour=red"], "unknown setting 'colour'"),
        (["--classifier", "digits", "--with", "colour"], "expected KEY=VALUE"),
        (["--classifier", "digits", "--queries", "3"], "queries = 3: expected at least 10"),
        (["--classifier", "digits", "--data", "nowhere"], "data 'nowhere' is no known name"),
        (["--classifier", "digits", "--budget", "0"], "--budget 0: expected at least 1"),
        ([], "Missing option '--classifier'"),
    ],
)
def test_bad_lines_end_with_one_that_says_so(arguments, words, doctor) -> None:
    done = doctor(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert words in " ".join(done.stderr.split()) and "Traceback" not in done.stderr


def test_what_others_wrote_cannot_move_the_cursor(tmp_path, doctor) -> None:
    for name in ("\x1b[2Jcat", "dog\n\rx"):
        folder = tmp_path / "images" / name.replace("/", "")
        folder.mkdir(parents=True)
        from PIL import Image

        for number in range(6):
            Image.fromarray(np.full((8, 8), 10 * number, np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "net.py").write_text("def net(images):\n    return images.flatten(1)[:, :2] * 3 - 1\n")
    done = doctor("--classifier", f"{tmp_path}/net.py:net", "--data", str(tmp_path / "images"))
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout and "\r" not in done.stdout and "[2Jcat" in done.stdout


def test_images_of_mixed_sizes_are_brought_to_the_shape_that_is_named(tmp_path, doctor) -> None:
    from PIL import Image

    for name, level in (("dark", 20), ("light", 220)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(6):
            shape = (8 + number, 9)
            Image.fromarray(np.full(shape, level + number, np.uint8)).save(tmp_path / "images" / name / f"{number}.png")
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def net(images):\n    light = images.mean((1, 2, 3)) * 10 - 5\n    return torch.stack([-light, light], 1)\n"
    )
    line = ["--classifier", f"{tmp_path}/net.py:net", "--data", str(tmp_path / "images")]
    done = doctor(*line)
    assert done.returncode == 2 and "expected one size in all images" in done.stderr
    done = doctor(*line, "--with", "image_shape=1x8x8")
    assert done.returncode == 0 and "1 x 8 x 8" in done.stdout and "12 of 12: 100.0%" in done.stdout, done.stderr


def test_a_linear_classifier_of_the_fakes_is_examined() -> None:
    weight = torch.linspace(-1, 1, 10 * 784).reshape(10, 1, 28, 28).sin()
    diagnosis = examine(Counting(Linear(weight, micro_batch=16)), DIGITS)
    assert set(diagnosis.flags) <= {Flag.ACCURACY_NEAR_CHANCE} and diagnosis.company.equal == diagnosis.company.images


def test_the_verb_starts_light() -> None:
    code = "import sys, evofool.cli.doctor; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "scipy", "numpy"} & set(done.stdout.split())


DOCS = Path(__file__).parent.parent / "docs" / "doctor.md"


def test_the_pages_in_the_documentation_are_what_it_prints(tmp_path, doctor, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```\n(.*?)^```", DOCS.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines, programs = ([block for block in blocks if block.startswith(first)] for first in ("evofool doctor", "import"))
    pages = [block for block in blocks if " on digits test\n" in block]
    assert len(lines) == len(pages) == 2 and len(programs) == 1
    (tmp_path / "broken.py").write_text(programs[0])

    def words(text: str) -> str:
        return re.sub(
            r"(about|less than) # m?s|# [µm]?s\b", "TIME", re.sub(r"\d[\d.,]*(e-\d+)?", "#", " ".join(text.split()))
        )

    for line, page in zip(lines, pages, strict=True):
        done = doctor(*line.split()[2:])
        assert done.returncode == 0 and words(done.stdout) == words(page), done.stderr


def test_the_documentation_explains_every_flag() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", DOCS.read_text(), flags=re.MULTILINE)
    assert sorted(rows) == sorted(Flag)
