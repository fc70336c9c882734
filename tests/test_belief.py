"""What is believed of a slope: one answer by hand, many in closed form, and what images teach of bands of waves."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch

from evofool import belief
from evofool.algorithms.walks import Answer, BallWalk
from evofool.belief import ALIGNED, ALIKE, DOUBT, LAST, NOISE, RANGE, Belief
from evofool.encodings.perturbation import LpBall
from evofool.waves import Waves, waves
from fakes import stream

PAIR = (1, 1, 2)  # two waves, each a band, and these are neighbours
CHANNELS = (2, 1, 1)  # two waves, each a band, which are none
SMALL = (1, 3, 4)
TINY = 1e-9  # variance that is always added
FLAT = LpBall("l2", 0.5)


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor([values])


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    """Numbers of mean 0 and variance 1, nearly normal: sums of twelve."""
    return stream(1, seed)["normal"].uniform(*shape, 12, dtype=torch.float64).sum(-1)[0].float() - 6


def told(
    model: Belief, basis: Waves, change: torch.Tensor, drop: torch.Tensor, *, beside: float = 0.0, which: object = True
) -> Belief:
    """After one answer of each image, to a change of which `beside` is the square of what no wave holds."""
    asked = torch.as_tensor(which).expand(len(drop))
    return belief.learn(spare(model), change, change.square().sum(1) + beside, drop, asked, basis)


def spare(model: Belief) -> Belief:
    """One that may be used up."""
    return dataclasses.replace(model, gone=model.gone.clone())


def learned(
    walk: BallWalk, x: torch.Tensor, model: Belief, best: torch.Tensor, asked: torch.Tensor, drop: torch.Tensor
) -> Belief:
    """What a walk believes after it asked about a perturbation, and held on to another one."""
    images = walk.ball.decode(torch.stack([asked, best], dim=1).clamp(-x[:, None], 1 - x[:, None]), x)
    answer = Answer(best, asked, images[:, 0] - images[:, 1], drop, torch.ones(len(x), dtype=torch.bool))
    return walk.learn(spare(model), answer)


def covariance(model: Belief, row: int = 0) -> np.ndarray:
    """As a matrix, float64, from its definition."""
    gone = model.gone[row, :, : model.mean.shape[1]].double().numpy()
    return np.diag(model.variance[row].double().numpy()) - gone.T @ gone


def new(shape: tuple[int, int, int], count: int = 1, spectrum: torch.Tensor | None = None) -> tuple[Belief, Waves]:
    """A belief in nothing yet."""
    basis = waves(shape)
    flat = torch.ones(len(basis.sizes)) if spectrum is None else spectrum
    return belief.begin(torch.zeros(count, len(basis.bands)), flat, basis), basis


def same(one: Belief, two: Belief, row: int = 0, other: int | None = None) -> bool:
    """Whether an image is the same in both, to the last bit."""
    at = row if other is None else other
    names = [part.name for part in dataclasses.fields(Belief)]
    return all(torch.equal(getattr(one, name)[row], getattr(two, name)[at]) for name in names)


# ---- one answer


@functools.cache
def one_answer() -> tuple[Belief, Belief]:
    """Before and after: 0.3 less margin, where 0.5 * 0.4 - 1 * 0.2 = 0 was thought."""
    basis = waves(PAIR)
    before = belief.begin(tensor(0.5, -1.0), torch.tensor([2.0, 0.5]), basis)
    return before, told(before, basis, tensor(0.4, 0.2), torch.tensor([0.3]), beside=0.05)


def test_one_answer_by_hand() -> None:
    """The length squared is 0.16 + 0.04 + 0.05, the variance of the answer 2 * 0.16 + 0.5 * 0.04 + 0.3 * 0.25."""
    before, after = one_answer()
    assert NOISE == 0.3
    variance = 0.34 + 0.075
    assert after.mean[0].tolist() == pytest.approx([0.5 + 0.8 * 0.3 / variance, -1.0 + 0.1 * 0.3 / variance])
    expected = [[2 - 0.64 / variance, -0.08 / variance], [-0.08 / variance, 0.5 - 0.01 / variance]]
    assert covariance(after) == pytest.approx(np.array(expected), rel=1e-5)
    assert after.told.tolist() == [1] and before.told.tolist() == [0]
    assert belief.spread(before, tensor(0.4, 0.2))[0].tolist() == pytest.approx([0.8, 0.1])
    assert belief.spread(after, tensor(1.0, 0.0))[0].tolist() == pytest.approx(expected[0], rel=1e-5)


def test_what_one_answer_tells_of_bands_by_hand() -> None:
    """What a wave's variance of 1 would have added to its own: the squares 0.16 and 0.04, weighted by certainty."""
    _, after = one_answer()
    variance = 0.415
    due = np.array([0.16, 0.04])
    expected = np.outer(due, [0.16, 0.04, 0.075, 0.09]) / variance**2
    assert after.felt[0].numpy() == pytest.approx(expected, rel=1e-5)


def test_one_answer_tells_how_steep_a_margin_is_and_nothing_else() -> None:
    """The variances that were thought to be solve the equations of the lesson."""
    _, after = one_answer()
    taught = belief.lesson(after, waves(PAIR))[0].double()
    assert taught.shape == (2, 3) and bool((taught != 0).all())
    assert (taught[:, :2] @ torch.tensor([2.0, 0.5]).double()).tolist() == pytest.approx(taught[:, 2].tolist())
    due = np.array([0.16, 0.04])
    assert taught[:, 2].numpy() == pytest.approx(due * 0.34 / 0.415**2, rel=1e-5)


def test_a_belief_is_a_value_but_for_its_memory_which_is_handed_on() -> None:
    before, basis = new(SMALL, 2)
    kept = dataclasses.replace(before, gone=before.gone.clone(), mean=before.mean.clone(), felt=before.felt.clone())
    change, which = normal(2, 12), torch.tensor([True, False])
    after = belief.learn(before, change, change.square().sum(1), torch.ones(2), which, basis)
    assert after.gone is before.gone, "it is most of what a search holds, and not copied"
    assert same(before, kept, 1) and same(after, kept, 1), "of what was not answered nothing changes"
    assert not same(after, kept, 0) and same(dataclasses.replace(before, gone=kept.gone), kept, 0)


@pytest.mark.parametrize("shape", [SMALL, (1, 28, 28), (3, 32, 32), (1, 5, 5)])
def test_memory_is_as_wide_as_lines_of_the_cache_and_empty_beyond_the_waves(shape: tuple[int, int, int]) -> None:
    model, basis = new(shape)
    number = len(basis.bands)
    assert model.gone.shape[2] % ALIGNED == 0 and 0 <= model.gone.shape[2] - number < ALIGNED
    for seed in range(3):
        model = told(model, basis, normal(1, number, seed=seed), torch.ones(1))
    assert not bool(model.gone[:, :, number:].any()) and bool(model.gone[:, :3, :number].all())


@pytest.mark.parametrize("shape", [SMALL, (1, 28, 28), (3, 32, 32), (1, 5, 5), (1, 1, 1)])
def test_an_image_alone_believes_what_it_does_in_a_batch(shape: tuple[int, int, int]) -> None:
    """To the last bit, whatever stands before and behind it."""
    model, basis = new(shape, 7)
    number = len(basis.bands)
    changes, drops = normal(5, 7, number, seed=1), normal(5, 7, seed=2)
    whole = model
    for change, drop in zip(changes, drops, strict=True):
        whole = told(whole, basis, change, drop)
    for rows in ([3], [6], [5, 0], [2, 6, 1, 4]):
        some, _ = new(shape, len(rows))
        for change, drop in zip(changes, drops, strict=True):
            some = told(some, basis, change[rows], drop[rows])
        assert all(same(some, whole, place, row) for place, row in enumerate(rows)), rows
        there = belief.spread(some, changes[0][rows])
        assert torch.equal(there, belief.spread(whole, changes[0])[rows]), rows


def test_a_spectrum_is_the_variance_of_the_waves_of_each_band() -> None:
    model, basis = new((1, 4, 4), 2, torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]))
    rows = [[5, 4, 3, 2], [4, 4, 3, 2], [3, 3, 3, 2], [2, 2, 2, 1]]
    assert model.variance.view(2, 4, 4).tolist() == [rows, rows]
    assert torch.equal(belief.spread(model, torch.ones(2, len(basis.bands))), model.variance)


# ---- many answers


def test_as_many_answers_as_are_kept_are_bayesian_regression() -> None:
    """In closed form: the precision is that at first plus the squares of changes over what noise adds."""
    spectrum = torch.tensor([2.0, 1.0, 0.5, 0.1])
    model, basis = new(SMALL, 1, spectrum)
    assert len(basis.sizes) == 4
    model = dataclasses.replace(model, mean=0.1 * normal(1, 12, seed=1))
    slope, changes = normal(12, seed=2), 0.4 * normal(LAST, 12, seed=3)
    beside = 0.05
    drops = changes @ slope + 0.2 * normal(LAST, seed=4)
    first = model.mean[0].double().numpy()
    for count in range(1, LAST + 1):
        model = told(model, basis, changes[count - 1 : count], drops[count - 1 : count], beside=beside)
        if count not in (1, 7, LAST):
            continue
        A, y = changes[:count].double().numpy(), drops[:count].double().numpy()
        weight = 1 / (NOISE * ((A**2).sum(1) + beside) + TINY)
        expected = np.linalg.inv(np.diag(1 / spectrum[basis.bands].double().numpy()) + (A.T * weight) @ A)
        assert covariance(model) == pytest.approx(expected, abs=2e-5)
        mean = first + expected @ (A.T * weight) @ (y - A @ first)
        assert model.mean[0].numpy() == pytest.approx(mean, abs=1e-4)
        probe = normal(1, 12, seed=5)
        assert belief.spread(model, probe)[0].numpy() == pytest.approx(expected @ probe[0].numpy(), abs=2e-4)
    error = float((model.mean[0] - slope).norm() / slope.norm())
    assert error < 0.5, "as many answers tell most of the slope"


def test_a_covariance_stays_one_when_the_oldest_answers_are_given_back() -> None:
    """Before and behind the place where the first one falls out, and long after that."""
    model, basis = new(SMALL)
    changes, slope = normal(3 * LAST, 12, seed=6), normal(12, seed=7)
    for count in range(3 * LAST):
        before, oldest = covariance(model), model.gone[0, count % LAST, :12].double().numpy()
        change = changes[count : count + 1]
        model = told(model, basis, change, change @ slope)
        row = before @ change[0].double().numpy()
        variance = row @ change[0].double().numpy() + NOISE * float(change.square().sum()) + TINY
        expected = before - np.outer(row, row) / variance + np.outer(oldest, oldest)
        assert bool(oldest.any()) == (count >= LAST)
        assert covariance(model) == pytest.approx(expected, abs=2e-5), count
        assert np.linalg.eigvalsh(covariance(model)).min() > -1e-5, count
        assert bool((covariance(model).diagonal() <= 1 + 1e-5).all()), "no more than was not known at first"
    assert model.told.tolist() == [3 * LAST]


def test_what_is_not_asked_again_for_long_is_in_doubt_again() -> None:
    """One answer about the first wave, all others about the second: it is forgotten with the last one kept."""
    model, basis = new(PAIR)
    first, second = tensor(1.0, 0.0), tensor(0.0, 1.0)
    model = told(model, basis, first, torch.ones(1))
    known = 1 - 1 / (1 + NOISE)
    for _ in range(LAST - 1):
        model = told(model, basis, second, torch.zeros(1))
        assert float(covariance(model)[0, 0]) == pytest.approx(known)
    model = told(model, basis, second, torch.zeros(1))
    assert float(covariance(model)[0, 0]) == 1.0
    assert float(model.mean[0, 0]) == pytest.approx(1 / (1 + NOISE)), "what was learned is still the best guess"
    assert float(covariance(model)[1, 1]) < NOISE / (LAST - 1)


# ---- what teaches nothing


def test_what_was_not_answered_teaches_nothing() -> None:
    model, basis = new(SMALL, 2)
    for number in range(3):
        model = told(model, basis, normal(2, 12, seed=number), torch.tensor([0.5, -0.25]))
    drop = torch.tensor([torch.nan, 1.0])
    after = told(model, basis, normal(2, 12, seed=9), drop, which=torch.tensor([False, True]))
    assert same(after, model, 0) and not same(after, model, 1)
    assert after.told.tolist() == [3, 4]


def ball(count: int = 3) -> tuple[BallWalk, torch.Tensor, torch.Tensor, Belief]:
    """Images, what is held on to, and what was learned from one step: the first is white."""
    walk = BallWalk(FLAT)
    x = stream(count)["x"].uniform(1, 4, 4)
    x[0] = 1.0
    best = torch.zeros_like(x)
    model, _ = new((1, 4, 4), count)
    asked = 0.3 * normal(count, 1, 4, 4, seed=2) - 0.1
    return walk, x, asked, learned(walk, x, model, best, asked, torch.full((count,), 0.25))


@pytest.mark.parametrize("drop", [torch.nan, torch.inf, -torch.inf])
def test_a_walk_learns_nothing_from_no_answer(drop: float) -> None:
    walk, x, best, model = ball()
    after = learned(walk, x, model, best, -best, torch.tensor([0.1, drop, 0.1]))
    assert same(after, model, 1)
    assert not same(after, model, 0) and not same(after, model, 2)
    assert all(bool(getattr(after, part.name).isfinite().all()) for part in dataclasses.fields(Belief))


def test_a_walk_learns_nothing_from_a_change_that_no_image_shows() -> None:
    """White cannot become whiter: the two perturbations of the first image differ, the images do not."""
    walk, x, best, model = ball()
    best[0], asked = 0.1, best.clone()
    asked[0] = 0.2
    asked[1] = -best[1]
    after = learned(walk, x, model, best, asked, torch.full((3,), 0.5))
    assert same(after, model, 0) and same(after, model, 2), "nothing was changed"
    assert not same(after, model, 1)


def test_a_walk_learns_nothing_from_a_change_that_the_lattice_swallows() -> None:
    """A third of a gray level is rounded away: that nothing came of it says nothing of the slope."""
    walk = BallWalk(LpBall("l2", 0.5))
    x = torch.full((2, 1, 4, 4), 100 / 255)
    model, _ = new((1, 4, 4), 2)
    best, asked = torch.zeros_like(x), torch.stack([torch.full_like(x[0], 0.3 / 255), torch.full_like(x[0], 2.3 / 255)])
    after = learned(walk, x, model, best, asked, torch.tensor([0.0, 0.5]))
    assert same(after, model, 0) and not same(after, model, 1)
    expected = told(model, waves((1, 4, 4)), waves((1, 4, 4)).of(torch.full_like(x, 2 / 255)), torch.tensor([0.0, 0.5]))
    assert torch.allclose(after.mean[1], expected.mean[1], atol=1e-6)


def test_a_walk_learns_from_what_an_image_shows() -> None:
    """Of a change, what is cut off at black and white did nothing."""
    walk, basis = BallWalk(FLAT), waves((1, 4, 4))
    x = torch.full((1, 1, 4, 4), 0.9)
    model, _ = new((1, 4, 4))
    best, asked = torch.full_like(x, -0.1), torch.full_like(x, 0.4)
    after = learned(walk, x, model, best, asked, torch.tensor([0.5]))
    shown = torch.full_like(x, 0.2)
    expected = told(model, basis, basis.of(shown), torch.tensor([0.5]))
    assert torch.allclose(after.mean, expected.mean, atol=1e-6) and bool(after.mean.any())


# ---- what images teach


def lessons(
    shape: tuple[int, int, int],
    images: int,
    answers: int,
    planted: torch.Tensor,
    scale: torch.Tensor | float = 1.0,
    seed: int = 0,
) -> torch.Tensor:
    """Of images whose slopes have these variances by band; changes lie within one band each, of length 1."""
    model, basis = new(shape, images)
    count = len(basis.bands)
    slope = normal(images, count, seed=seed + 1) * planted[basis.bands].sqrt()
    changes = normal(answers, images, count, seed=seed + 2)
    for number, change in enumerate(changes):
        inside = torch.where(basis.bands == (number + torch.arange(images)[:, None]) % len(basis.sizes), change, 0.0)
        inside = inside / inside.norm(dim=1, keepdim=True)
        noise = NOISE**0.5 * normal(images, seed=seed + 100 + number)
        model = told(model, basis, inside, ((inside * slope).sum(1) + noise) * scale)
    return belief.lesson(model, basis)


def nothing(shape: tuple[int, int, int]) -> torch.Tensor:
    bands = len(waves(shape).sizes)
    return torch.zeros(bands, bands + 1)


PLANTED = torch.tensor([5.0, 2.0, 1.0, 0.5, 0.2])
SQUARE = (1, 8, 8)


@functools.cache
def many() -> torch.Tensor:
    return lessons(SQUARE, 250, 30, PLANTED)


def test_planted_variances_are_found() -> None:
    """As multiples of the mean over waves; whatever is believed at first."""
    basis = waves(SQUARE)
    share = PLANTED * basis.sizes.sum() / (PLANTED * basis.sizes).sum()
    spectrum, _ = belief.taught(nothing(SQUARE), many(), basis)
    assert spectrum.dtype == torch.float32
    assert spectrum.tolist() == pytest.approx(share.tolist(), rel=0.3)
    assert float((spectrum * basis.sizes).sum() / basis.sizes.sum()) == pytest.approx(1)
    turned = lessons(SQUARE, 250, 30, PLANTED.flip(0))
    backward, _ = belief.taught(nothing(SQUARE), turned, basis)
    assert backward.argsort().tolist() == [0, 1, 2, 3, 4] and spectrum.argsort().tolist() == [4, 3, 2, 1, 0]


def test_where_all_waves_are_alike_that_is_found() -> None:
    spectrum, _ = belief.taught(nothing(SQUARE), lessons(SQUARE, 100, 20, torch.ones(5)), waves(SQUARE))
    assert spectrum.tolist() == pytest.approx([1.0] * 5, abs=0.25)


@pytest.mark.parametrize("shape", [PAIR, CHANNELS, SQUARE, (3, 16, 16), (1, 1, 1)])
def test_nobody_has_taught_anything_yet(shape: tuple[int, int, int]) -> None:
    basis = waves(shape)
    none = nothing(shape)
    spectrum, felt = belief.taught(none, none[None][:0], basis)
    assert spectrum.tolist() == pytest.approx([1.0] * len(basis.sizes)) and torch.equal(felt, none)


@pytest.mark.parametrize("wrong", [torch.inf, torch.nan])
def test_what_overflows_teaches_nothing(wrong: float) -> None:
    """Margins of 1e19 and more: their squares are no numbers, and would spread to all that comes after."""
    basis, some = waves(SQUARE), many()[:6]
    bad = some[:1].clone()
    bad[0, 2, 1] = wrong
    with_it, without = (
        belief.taught(nothing(SQUARE), torch.cat([some, bad]), basis),
        belief.taught(nothing(SQUARE), some, basis),
    )
    assert bool(with_it[0].isfinite().all()) and all(map(torch.equal, with_it, without))


def test_how_images_come_in_cohorts_makes_no_difference() -> None:
    """To the last bit."""
    basis, all_of = waves(SQUARE), many()[:40]
    whole = belief.taught(nothing(SQUARE), all_of, basis)
    for sizes in ([1] * 40, [13, 27], [40, 0], [7, 0, 33]):
        felt, spectrum = nothing(SQUARE), torch.ones(5)
        for some in all_of.split(sizes):
            spectrum, felt = belief.taught(felt, some, basis)
        assert torch.equal(spectrum, whole[0]) and torch.equal(felt, whole[1]), sizes


def test_the_order_of_images_makes_no_difference_but_rounding() -> None:
    basis, all_of = waves(SQUARE), many()[:40]
    spectrum, felt = belief.taught(nothing(SQUARE), all_of, basis)
    turned, other = belief.taught(nothing(SQUARE), all_of.flip(0), basis)
    assert torch.allclose(spectrum, turned, rtol=1e-4) and torch.allclose(felt, other, rtol=1e-4, atol=1e-4)
    added = nothing(SQUARE)
    for one in all_of:
        added = added + one
    assert torch.equal(felt, added), "one after the other, as they stand"


def test_bands_that_are_no_neighbours_by_hand() -> None:
    """Each by itself, with one answer's worth of the thought that it is like the mean: 3/2 and 1/4."""
    assert DOUBT == 1.0
    felt = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    spectrum, again = belief.taught(felt, felt[None][:0], waves(CHANNELS))
    assert spectrum.tolist() == pytest.approx([2 * 1.5 / 1.75, 2 * 0.25 / 1.75]) and torch.equal(again, felt)
    twice, total = belief.taught(felt, felt[None], waves(CHANNELS))
    assert torch.equal(total, 2 * felt) and twice.tolist() == pytest.approx(
        [2 * (5 / 3) / (5 / 3 + 1 / 7), 2 * (1 / 7) / (5 / 3 + 1 / 7)]
    )


def test_bands_that_are_neighbours_are_thought_to_be_alike_by_hand() -> None:
    """(12 -10; -10 14) times the variances is (3, 1): they are 52 and 42, over 68."""
    assert ALIKE == 10.0
    felt = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    spectrum, _ = belief.taught(felt, felt[None][:0], waves(PAIR))
    assert spectrum.tolist() == pytest.approx([2 * 52 / 94, 2 * 42 / 94])


def test_a_variance_is_never_nothing_nor_everything() -> None:
    """A band of which nothing was ever felt might yet do something."""
    felt = torch.tensor([[1.0, 0.0, 1e9], [0.0, 1e9, -1e9]])
    spectrum, _ = belief.taught(felt, felt[None][:0], waves(CHANNELS))
    assert spectrum.tolist() == pytest.approx([2 * 20 / 20.05, RANGE[0]])
    basis = waves(SQUARE)
    felt = nothing(SQUARE)
    felt[0, 0], felt[0, -1] = 1e6, 1e12
    for band in range(1, 5):
        felt[band, band] = 1e12
    spectrum, _ = belief.taught(felt, felt[None][:0], basis)
    assert bool((spectrum >= RANGE[0]).all()) and bool((spectrum <= RANGE[1]).all()) and float(spectrum[0]) > 10


def test_a_lesson_does_not_depend_on_how_steep_a_margin_is() -> None:
    """A thousand times the drops, or a thousandth: each image says the same of bands."""
    one = lessons(SQUARE, 4, 12, PLANTED)
    scale = torch.tensor([1.0, 1000.0, 0.001, 30.0])
    other = lessons(SQUARE, 4, 12, PLANTED, scale)
    assert bool((one != 0).any(2).all())
    assert torch.allclose(other, one, rtol=1e-3, atol=1e-3 * float(one.abs().max()))


def test_where_nothing_happens_nothing_is_told_of_bands() -> None:
    constant = lessons(SQUARE, 3, 12, PLANTED, torch.tensor([0.0, 1.0, 0.0]))
    assert not bool(constant[0].any()) and not bool(constant[2].any()) and bool(constant[1].any())
    model, basis = new(SQUARE, 2)
    assert not bool(belief.lesson(model, basis).any()), "nothing was asked"


# ---- side by side


@pytest.mark.parametrize("shape", [SQUARE, (1, 28, 28), (3, 32, 32), (1, 6, 6)])
def test_an_image_alone_is_that_image_in_a_batch(shape: tuple[int, int, int]) -> None:
    """Some of which have asked more often than others."""
    count = 5
    model, basis = new(shape, count, 0.5 + stream(1)["spectrum"].uniform(len(waves(shape).sizes))[0])
    alone = [new(shape, 1, model.variance.new_ones(len(basis.sizes)))[0] for _ in range(count)]
    alone = [dataclasses.replace(one, variance=model.variance[row : row + 1]) for row, one in enumerate(alone)]
    for number in range(LAST + 3 if len(basis.bands) < 100 else 5):
        change = stream(count).at(number)["change"].uniform(len(basis.bands)) - 0.5
        drop = stream(count).at(number)["drop"].uniform(1)[:, 0] - 0.3
        which = stream(count).at(number)["which"].uniform(1)[:, 0] < 0.8
        model = told(model, basis, change, drop, which=which)
        for row in range(count):
            some = [row]
            alone[row] = told(alone[row], basis, change[some], drop[some], which=which[some])
    assert len(set(model.told.tolist())) > 1, "all were answered alike: this would show less"
    probe, taught = torch.ones(count, len(basis.bands)), belief.lesson(model, basis)
    spread = belief.spread(model, probe)
    for row in range(count):
        assert same(alone[row], model, 0, row)
        assert torch.equal(belief.spread(alone[row], probe[:1])[0], spread[row])
        assert torch.equal(belief.lesson(alone[row], basis)[0], taught[row])
