"""Steps within a ball: that they keep it, where they go, and that they fool a linear classifier in few queries."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import replace
from typing import Any

import pytest
import torch

from evofool import belief
from evofool import pool as pools
from evofool.algorithms.ball_walk import Answer, BallWalk, Pace, differs
from evofool.algorithms.genepool import GenePool
from evofool.algorithms.random_search import RandomSearch
from evofool.algorithms.walks import PixelWalk, walk_for
from evofool.belief import LAST, Belief
from evofool.classifiers.fake import Linear
from evofool.contracts import Evaluated, Victims
from evofool.encodings.perturbation import FewPixels, LpBall, distance, lattice_eps
from evofool.encodings.pixels import to_lattice
from evofool.errors import DamagedRunError
from evofool.evasion import Evaded, evade, victims_of
from evofool.ledger import Ledger
from evofool.pool import Pool, empty
from evofool.rng import Stream
from evofool.sharing import Sharing
from evofool.threat import Goal
from evofool.waves import waves
from fakes import many, stream

SHAPE = (3, 6, 7)
CUBE, ROUND = LpBall("linf", 51 / 255), LpBall("l2", 0.5)
BALLS = [CUBE, ROUND]
LEVEL = torch.tensor(51 / 255)


def noise(count: int, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    """Images on the lattice, of which a third of the gray levels are black and a third white."""
    levels = stream(count, seed=6)["levels"].integers(768, *shape) - 256
    return levels.clamp(0, 255).float() / 255


def gray(count: int, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    return torch.full((count, *shape), 128 / 255)


def nothing(x: torch.Tensor, spectrum: torch.Tensor | None = None, mean: torch.Tensor | None = None) -> Belief:
    """A belief before the first answer."""
    basis = waves((x.shape[1], x.shape[2], x.shape[3]))
    flat = torch.ones(len(basis.sizes)) if spectrum is None else spectrum
    return belief.begin(torch.zeros(len(x), len(basis.bands)) if mean is None else mean, flat, basis)


def step(walk: BallWalk, x: torch.Tensor, best: torch.Tensor, model: Belief, rng: Stream) -> torch.Tensor:
    zeros = torch.zeros(len(x), dtype=torch.int64)
    return walk.step(x, best, model, Pace(zeros > 0, zeros, zeros), rng)


def learned(
    walk: BallWalk, x: torch.Tensor, model: Belief, best: torch.Tensor, asked: torch.Tensor, drop: torch.Tensor
) -> Belief:
    """What a walk believes after it asked about a perturbation, and held on to another one."""
    images = walk.ball.decode(torch.stack([asked, best], dim=1).clamp(-x[:, None], 1 - x[:, None]), x)
    answer = Answer(best, asked, images[:, 0] - images[:, 1], drop, torch.ones(len(x), dtype=torch.bool))
    return walk.learn(model, answer)


def length(images: torch.Tensor) -> list[float]:
    return [float(n) for n in images.flatten(1).double().norm(dim=1)]


def unit(rows: torch.Tensor) -> torch.Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


# ---- squares, where answers have long been in vain


def in_vain(ball: LpBall, vain: int, count: int = 400, **settings: float) -> torch.Tensor:
    """Where steps differ from the best perturbation after so many answers in a row that brought nothing."""
    walk, x = BallWalk(ball, **settings), gray(count, (1, 20, 20))
    best = walk.begin(x, nothing(x), many(count))
    zeros = torch.zeros(count, dtype=torch.int64)
    new = walk.step(x, best, nothing(x), Pace(zeros > 0, zeros + vain, zeros + vain), many(count).at(1))
    return (new != best)[:, 0]


def test_where_the_belief_has_long_brought_nothing_squares_take_turns_with_it() -> None:
    """Half of the steps; of sides up to that of a tenth of the pixels, small ones no less often than large ones."""
    where = in_vain(CUBE, BallWalk(CUBE).patience)
    rows, columns = where.any(2), where.any(1)
    high, wide = rows.sum(1), columns.sum(1)
    squares = (where.flatten(1).sum(1) <= 36) & (high <= 6) & (wide <= 6)
    assert 150 < int(squares.sum()) < 250, "half of them"
    sides = torch.maximum(high, wide)[squares]
    assert int(sides.max()) == 6 and int((sides <= 2).sum()) > int((sides >= 5).sum()) > 10
    assert bool(where.flatten(1).any(1).all())


@pytest.mark.parametrize(
    ("ball", "vain", "settings"),
    [(CUBE, BallWalk(CUBE).patience - 1, {}), (ROUND, 10**6, {}), (CUBE, 10**6, {"late": 0.0})],
    ids=["not yet", "l2", "never"],
)
def test_otherwise_it_goes_on_as_it_did(ball: LpBall, vain: int, settings: dict[str, float]) -> None:
    found = in_vain(ball, vain, **settings)
    assert torch.equal(found, in_vain(ball, 0)) and float(found.float().mean()) > 0.2


@pytest.mark.parametrize("squares", [True, False])
def test_whoever_wants_no_squares_gets_none(squares: bool) -> None:
    walk = GenePool(CUBE, squares=squares).walk
    assert (walk.late > 0) == squares and replace(walk, late=BallWalk(CUBE).late) == BallWalk(CUBE)
    assert GenePool(FewPixels(3), squares=squares).walk == PixelWalk(3)


def test_answers_in_vain_are_counted_until_they_are_many_and_then_for_good() -> None:
    algorithm, x = GenePool(CUBE, sharing=None), gray(2, (1, 8, 8))
    labels, clean = torch.zeros(2, dtype=torch.int64), torch.full((2,), 4.0).double()
    state = algorithm.init(Victims(x, labels, torch.zeros(2, 2), clean))
    patience = algorithm.walk.patience
    seen = []
    # The second image is better off after each tenth answer, the first one only after the first, and once much later.
    for number in range(patience + 30):
        lower = torch.tensor([number in (0, patience + 10), number % 10 == 0])
        asked = algorithm.encoding.repair(algorithm.ask(state, stream(2).at(number)), x)
        fitness = torch.where(lower, state.fitness - 0.01, state.fitness + 0.01)[:, None]
        images, status = algorithm.encoding.decode(asked, x), torch.zeros(2, 1, dtype=torch.int8)
        told = Evaluated(asked, images, x, torch.zeros(2, 1, 2), labels[:, None], status)
        state = algorithm.tell(state, told, fitness, torch.zeros(2, 1, dtype=torch.bool))
        seen.append(state.vain.tolist())
    first, second = zip(*seen, strict=True)
    assert first == tuple(range(patience + 30)), "what comes too late is no reason to begin anew"
    assert second == tuple(number % 10 for number in range(patience + 30))


# ---- within the limit


@pytest.mark.parametrize("ball", BALLS, ids=["linf", "l2"])
@pytest.mark.parametrize("shape", [SHAPE, (1, 1, 1), (1, 9, 1), (5, 4, 4)])
def test_all_that_is_asked_keeps_the_ball(ball: LpBall, shape: tuple[int, int, int]) -> None:
    walk, x = BallWalk(ball), noise(5, shape)
    model = nothing(x)
    best = walk.begin(x, model, stream(5))
    for number in range(8):
        kept = ball.repair(best[:, None], x)
        images = ball.decode(kept, x)
        levels = images * 255
        assert torch.equal(levels.round() / 255, images), "not on the 1/255 lattice"
        assert float(images.min()) >= 0 and float(images.max()) <= 1
        assert bool(ball.holds(images, x).all())
        new = step(walk, x, walk.intent(x, kept[:, 0]), model, stream(5).at(number))
        asked = ball.repair(new[:, None], x)[:, 0]
        model = learned(walk, x, model, best, asked, stream(5).at(number)["drop"].uniform(1)[:, 0] - 0.3)
        best = new
    assert bool(model.mean.isfinite().all()) and bool(model.gone.isfinite().all())


def test_each_gray_level_moves_by_the_whole_radius() -> None:
    """L-inf: also where the image cuts it off; that is for the encoding to do."""
    walk, x = BallWalk(CUBE), noise(4)
    model = nothing(x)
    best = walk.begin(x, model, stream(4))
    for number in range(5):
        assert torch.equal(best.abs(), LEVEL.expand_as(best))
        assert bool((best > 0).any()) and bool((best < 0).any())
        new = step(walk, x, best, model, stream(4).at(number))
        assert not torch.equal(new, best)
        best = new


@pytest.mark.parametrize("eps", [0.01, 0.5, 1.0])
def test_a_step_is_as_long_as_the_ball_allows(eps: float) -> None:
    """L2: also where half of the image is black or white already, and cannot go on in that direction."""
    walk = BallWalk(LpBall("l2", eps))
    for x in (gray(6), noise(6), torch.zeros(6, *SHAPE), torch.ones(6, *SHAPE)):
        model = nothing(x)
        best = walk.begin(x, model, stream(6))
        assert length(best) == pytest.approx([eps] * 6, rel=1e-4)
        for number in range(3):
            best = step(walk, x, best, model, stream(6).at(number))
            assert length(best) == pytest.approx([eps] * 6, rel=0.02), "what is cut off is spent elsewhere"
            assert max(length(best)) <= eps * (1 + 1e-5)
            inside = x + best
            assert float(inside.min()) >= -1e-6 and float(inside.max()) <= 1 + 1e-6


def test_a_ball_larger_than_the_cube_of_images_takes_all_of_it() -> None:
    x = noise(4)
    way = step(BallWalk(LpBall("l2", 500.0)), x, torch.zeros_like(x), nothing(x), stream(4))
    there = x + way
    assert float(((there.round() - there).abs() < 1e-6).float().mean()) > 0.95 and float(way.abs().max()) == 1.0


def test_it_begins_with_tiles() -> None:
    """L-inf: of two by two pixels, at the edges less; each channel by itself."""
    x = gray(40, (2, 5, 4))
    begun = BallWalk(CUBE).begin(x, nothing(x), stream(40))
    corners = begun[:, :, ::2, ::2]
    assert torch.equal(begun, corners.repeat_interleave(2, 2)[:, :, :5].repeat_interleave(2, 3))
    assert torch.equal(begun.abs(), LEVEL.expand_as(begun))
    share = (corners > 0).float().mean((0, 2, 3))
    assert bool(((share > 0.38) & (share < 0.62)).all()), "fair coins"
    assert bool((corners[:, 0] != corners[:, 1]).any()) and len(corners.flatten(1).unique(dim=0)) > 35


# ---- where a step goes


def test_a_step_by_hand() -> None:
    """Along the unit of what is believed, and astray by 0.6 of a unit; half of that after 200 answers, a third by 400.

    What leads astray does not depend on the mean: it is what a step is where the mean is 0.
    """
    walk, x = BallWalk(ROUND), gray(5)
    basis = waves(SHAPE)
    mean = stream(5)["mean"].uniform(len(basis.bands)) - 0.5
    lost, best = nothing(x), torch.zeros_like(x)
    astray = unit(basis.of(step(walk, x, best, lost, stream(5))))
    for told, far in ((0, 0.6), (200, 0.3), (400, 0.2)):
        model = replace(nothing(x, mean=7 * mean), told=torch.full((5,), told))
        found = unit(basis.of(step(walk, x, best, model, stream(5))))
        assert torch.allclose(found, unit(unit(mean) + far * astray), atol=1e-5), told
    cube = BallWalk(CUBE)
    flat = basis.change(unit(mean) + 0.6 * astray)
    signs = step(cube, x, best, nothing(x, mean=7 * mean), stream(5)).sign()
    assert torch.equal(signs[flat.abs() > 1e-5], flat.sign()[flat.abs() > 1e-5])


def test_what_leads_astray_goes_where_much_may_be_had() -> None:
    """Each wave by its variance, of either sign."""
    x = gray(6, (1, 8, 8))
    spectrum = torch.tensor([5.0, 2.0, 1.0, 0.5, 0.1])
    model, basis = nothing(x, spectrum), waves((1, 8, 8))
    found = basis.of(step(BallWalk(ROUND, narrow=0.0), x, torch.zeros_like(x), model, stream(6)))
    assert torch.allclose(unit(found.abs()), unit(model.variance), atol=1e-5)
    assert len((found > 0).unique(dim=0)) == 6 and 0.3 < float((found > 0).float().mean()) < 0.7


def test_what_leads_astray_goes_where_little_is_known() -> None:
    """After many answers about the first wave it is all but left out."""
    x = gray(4, (1, 8, 8))
    model, basis, walk = nothing(x), waves((1, 8, 8)), BallWalk(ROUND, narrow=0.0)
    first = torch.zeros(4, 64)
    first[:, 5] = 1.0
    before = unit(basis.of(step(walk, x, torch.zeros_like(x), model, stream(4))))
    for _ in range(LAST // 2):
        model = belief.learn(model, first, torch.ones(4), torch.zeros(4), torch.ones(4, dtype=torch.bool), basis)
    after = unit(basis.of(step(walk, x, torch.zeros_like(x), model, stream(4))))
    assert before[:, 5].abs().tolist() == pytest.approx([1 / 8] * 4)
    assert bool((after[:, 5].abs() < 0.05 / 8).all())
    assert bool((after[:, 6].abs() > 0.99 / 8).all()), "of the others no less is drawn"


def bands_of(ball: LpBall, narrow: float, count: int, spectrum: torch.Tensor) -> torch.Tensor:
    """Which bands steps without any belief have something of: [count n]."""
    x, basis = gray(count, (1, 4, 4)), waves((1, 4, 4))
    way = step(BallWalk(ball, narrow=narrow), x, torch.zeros_like(x), nothing(x, spectrum), many(count))
    return basis.by_band(basis.of(way).square()) > 1e-8


SPECTRUM = torch.tensor([5.0, 0.5, 1.0, 0.25, 4.0])


def test_a_narrow_step_goes_astray_within_one_band() -> None:
    """Bands are drawn half by how many waves they have, half by how much these are thought to do."""
    found = bands_of(ROUND, 1.0, 2000, SPECTRUM)
    assert bool((found.sum(1) == 1).all())
    sizes = torch.tensor([1.0, 3.0, 5.0, 6.0, 1.0])
    expected = (sizes / 16 + sizes * SPECTRUM / (sizes * SPECTRUM).sum()) / 2
    spread = (expected * (1 - expected) / 2000).sqrt()
    assert bool(((found.float().mean(0) - expected).abs() < 4 * spread).all())


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_some_steps_are_narrow(share: float) -> None:
    found = bands_of(ROUND, share, 1000, SPECTRUM).sum(1)
    assert set(found.tolist()) <= {1, 5}, "one band, or all"
    assert float((found == 1).float().mean()) == pytest.approx(share, abs=4 * (share * (1 - share) / 1000) ** 0.5)
    assert BallWalk(ROUND).narrow == 0.3


@pytest.mark.parametrize("ball", BALLS, ids=["linf", "l2"])
def test_the_same_perturbation_is_not_asked_about_again(ball: LpBall) -> None:
    """However sure the belief is, and has long been, and although the best is just where it leads."""
    x = noise(30)
    basis, walk = waves(SHAPE), BallWalk(ball)
    mean = stream(30)["mean"].uniform(len(basis.bands)) - 0.5
    model = replace(nothing(x, mean=mean), told=torch.full((30,), 10**12))
    sure = BallWalk(ball, astray=0.0)
    there = step(sure, x, torch.zeros_like(x), model, stream(30))
    elsewhere = step(sure, x, -there, model, stream(30).at(7))
    assert torch.equal(elsewhere, there), "it does not go where its belief leads: this would show nothing"
    for generation in range(5):
        for careful in (walk, sure):
            assert bool(differs(step(careful, x, there, model, stream(30).at(generation)), there).all())
            kept = walk.kept(x, ball.repair(there[:, None], x)[:, 0])  # which is what a search holds on to
            assert bool(differs(step(careful, x, kept, model, stream(30).at(generation)), kept).all())


def test_perturbations_differ_where_one_gray_level_does() -> None:
    first = torch.tensor([[-0.1, 0.1], [-0.1, 0.1], [0.1, 0.1]]).view(3, 1, 1, 2)
    second = torch.tensor([[-0.1, 0.1], [-0.1, 0.2], [0.2, 0.2]]).view(3, 1, 1, 2)
    assert differs(first, second).tolist() == [False, True, True]


@pytest.mark.parametrize("ball", BALLS, ids=["linf", "l2"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 7, 9), (1, 1, 9)])
def test_an_image_alone_is_that_image_in_a_batch(ball: LpBall, shape: tuple[int, int, int]) -> None:
    walk, x = BallWalk(ball), noise(5, shape)
    pool = replace(empty(shape, 2), models=stream(2)["models"].uniform(*shape) - 0.5)
    labels = torch.tensor([0, 1, 0, 1, 1])

    def walked(rows: list[int]) -> list[torch.Tensor]:
        streams, some = Stream([0] * len(rows), rows), x[rows]
        model = walk.open(some, labels[rows], pool)
        best = walk.begin(some, model, streams)
        asked = [best]
        for number in range(1, 6):
            rng = streams.at(number)
            asked.append(step(walk, some, best, model, rng))
            model = learned(walk, some, model, best, asked[-1], rng["drop"].uniform(1)[:, 0] - 0.4)
            best = asked[-1]
        taught = walk.lesson(some, model)
        return [*asked, model.mean, model.gone, *taught]

    whole = walked([0, 1, 2, 3, 4])
    for rows in ([2], [4, 1], [3, 0, 2]):
        for one, all_of in zip(walked(rows), whole, strict=True):
            assert torch.equal(one, all_of[rows]), rows


# ---- what is meant, and what genes make together


def test_what_was_meant_by_hand() -> None:
    """L-inf: where an edge left nothing of a change, it had gone over the one that is near. L2: drawn out again."""
    x = torch.tensor([[[[0.1, 0.9, 1.0, 0.0, 0.5]]]])
    left = torch.tensor([[[[0.05, -0.2, 0.0, 0.0, -0.01]]]])
    up = 51 / 255
    assert BallWalk(CUBE).intent(x, left).flatten().tolist() == pytest.approx([up, -up, up, -up, -up])
    drawn = BallWalk(LpBall("l2", 2.0)).intent(x[..., :2], torch.tensor([[[[0.3, -0.4]]]]))
    assert drawn.flatten().tolist() == pytest.approx([1.2, -1.6])
    none = torch.zeros(1, 1, 1, 2)
    assert torch.equal(BallWalk(ROUND).intent(x[..., :2], none), none)


def test_what_was_meant_gives_the_image_that_was_asked_about() -> None:
    """L-inf: and of what was asked, all is found again where an image hides nothing."""
    x = noise(6)
    walk = BallWalk(CUBE)
    asked = step(walk, x, torch.zeros_like(x), nothing(x), stream(6))
    kept = CUBE.repair(asked[:, None], x)
    meant = walk.intent(x, kept[:, 0])
    assert torch.equal(CUBE.repair(meant[:, None], x), kept) and torch.equal(meant, asked)
    hidden = (kept[:, 0] == 0).flatten(1).any(1)
    assert bool(hidden.all()), "nothing was cut off: this would show nothing"


def test_one_gene_of_several_by_hand() -> None:
    """L-inf: the majority, of ties the first one; L2: the mean, drawn out to the radius."""
    up = 51 / 255
    genes = torch.tensor([[up, -up, up], [up, up, -up], [-up, up, -up], [-up, -up, -up]])[:, None, None]
    assert BallWalk(CUBE).blend(genes[:3]).flatten().tolist() == pytest.approx([up, up, -up])
    assert BallWalk(CUBE).blend(genes).flatten().tolist() == pytest.approx([up, -up, -up])
    assert BallWalk(CUBE).blend(genes[1:3]).flatten().tolist() == pytest.approx([up, up, -up])
    parts = torch.tensor([[0.3, 0.0, 0.4], [0.3, 0.0, -0.4], [0.0, 0.8, 0.0]])[:, None, None]
    assert BallWalk(LpBall("l2", 2.0)).blend(parts).flatten().tolist() == pytest.approx(
        [2 * 0.6, 2 * 0.8, 0.0], abs=1e-6
    )
    opposite = torch.stack([parts[2], -parts[2]])
    assert not bool(BallWalk(ROUND).blend(opposite).any())


# ---- what earlier images taught


def taught_pool() -> Pool:
    bands = len(waves(SHAPE).sizes)
    return replace(
        empty(SHAPE, 2),
        models=stream(2)["models"].uniform(*SHAPE) - 0.5,
        taught=torch.tensor([1, 3]),
        spectrum=0.5 + stream(1)["spectrum"].uniform(bands)[0],
    )


def test_it_begins_from_what_the_pool_knows_of_the_class() -> None:
    x, pool, basis = noise(3), taught_pool(), waves(SHAPE)
    model = walk_for(CUBE).open(x, torch.tensor([1, 0, 1]), pool)
    first, second = basis.of(pool.models[:1] / 2), basis.of(pool.models[1:] / 4)
    assert torch.allclose(model.mean, torch.cat([second, first, second]), atol=1e-6)
    assert torch.equal(model.variance, pool.spectrum[basis.bands].expand(3, -1))
    assert not bool(model.gone.any()) and not bool(model.felt.any()) and not bool(model.told.any())


@pytest.mark.parametrize("ball", BALLS, ids=["linf", "l2"])
def test_without_a_prior_a_pool_is_ignored(ball: LpBall) -> None:
    x, labels = noise(3), torch.tensor([1, 0, 1])
    walk = walk_for(ball, prior=False)
    assert isinstance(walk, BallWalk) and not walk.prior and GenePool(ball, prior=False).walk == walk
    full, none = walk.open(x, labels, taught_pool()), walk.open(x, labels, empty(SHAPE, 2))
    for part in dataclasses.fields(Belief):
        assert torch.equal(getattr(full, part.name), getattr(none, part.name)), part.name
    assert not bool(full.mean.any()) and bool((full.variance == 1).all())


def test_a_lesson_is_what_is_believed_of_each_gray_level() -> None:
    """Of an image whose answers are linear it foretells what a change will do."""
    x, walk = gray(2, (1, 4, 4)), BallWalk(ROUND)
    slope = stream(1)["slope"].uniform(1, 4, 4)[0] - 0.5
    model, best = nothing(x), torch.zeros_like(x)
    for number in range(60):
        asked = step(walk, x, best, model, stream(2).at(number))
        model = learned(walk, x, model, best, asked, ((asked - best) * slope).flatten(1).sum(1))
        best = asked
    found, felt = walk.lesson(x, model)
    assert found.shape == x.shape and felt.shape == (2, 5, 6) and bool(felt.any())
    cosine = torch.nn.functional.cosine_similarity(found.flatten(1), slope.flatten()[None])
    assert bool((cosine > 0.95).all())
    share = found.flatten(1).norm(dim=1) / slope.norm()
    assert bool(((share > 0.7) & (share < 1.05)).all()), "somewhat less, for what is not known is thought to be 0"


def test_of_few_pixels_nothing_is_told_of_bands() -> None:
    x = noise(2)
    walk = PixelWalk(3)
    bands = len(waves(SHAPE).sizes)
    known, felt = walk.lesson(x, walk.open(x, torch.tensor([0, 1]), taught_pool()))
    assert felt.shape == (2, bands, bands + 1) and not bool(felt.any()) and bool(known.any())
    assert isinstance(walk_for(FewPixels(3)), PixelWalk)


def pixels(*values: float, count: int = 1) -> torch.Tensor:
    return torch.tensor(values).expand(count, 1, 1, len(values)).contiguous()


def test_what_pixels_do_by_hand() -> None:
    """Of four pixels that may change, so that a unit is a fourth of the margin."""
    walk, x = PixelWalk(4, usual=0.4, spread=0.8, newcomer=0.4, noise=0.4, drift=0.0), gray(4, (1, 1, 6))
    before, after = pixels(1, 1, 1, 1, 0, 0, count=4), pixels(1, 1, 1, 0, -1, 0, count=4)
    # Of the first image it brought nothing, of the second something; the third one has no answer, and of the last one
    # the walk did not ask.
    drop, stepped = torch.tensor([-0.2, 0.1, torch.nan, -0.2]), torch.tensor([True, True, True, False])
    model = walk.open(x, torch.zeros(4, dtype=torch.int64), empty((1, 1, 6), 2))
    assert model.effect.flatten().tolist() == pytest.approx([0.1] * 24)
    assert model.doubt.flatten().tolist() == pytest.approx([0.04] * 24)
    found = walk.learn(model, Answer(before, after, after - before, drop, stepped))
    # Variances 0.04 of what was given up, 0.01 of the newcomer, 0.01 of noise. It was to cost 0.1, and cost 0.2.
    assert found.effect[0].tolist() == pytest.approx([0.1, 0.1, 0.1, 0.1 + 0.1 * 4 / 6, 0.1, 0.1])
    assert found.doubt[0].tolist() == pytest.approx([0.04, 0.04, 0.04, 0.04 * 2 / 6, 0.04, 0.04])
    assert found.vain[0].tolist() == [0, 0, 0, 0, 1, 0]
    # It was to cost 0.1, and brought 0.1: a sixth of that is the newcomer's doing. What is given up for good is as
    # unknown as any.
    assert found.effect[1].tolist() == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.2 / 6, 0.1])
    assert found.doubt[1].tolist() == pytest.approx([0.04, 0.04, 0.04, 0.04, 0.01 * 5 / 6, 0.04])
    assert found.vain[1].tolist() == [0, 0, 0, 1, 0, 0]
    for part in ("effect", "doubt", "vain"):
        assert torch.equal(getattr(found, part)[2:], getattr(model, part)[2:])


def test_what_a_pixel_does_is_doubted_again_as_others_are_exchanged() -> None:
    walk, x = PixelWalk(2, spread=0.8, drift=0.2), gray(1, (1, 1, 6))
    model = walk.open(x, torch.zeros(1, dtype=torch.int64), empty((1, 1, 6), 2))
    model = replace(model, doubt=torch.tensor([[0.01, 0.01, 0.155, 0.16, 0.16, 0.16]]))
    before, after = pixels(1, 1, 0, 0, 0, 0), pixels(1, 0, 1, 0, 0, 0)
    step = Answer(before, after, after - before, torch.tensor([-0.2]), torch.tensor([True]))
    assert walk.learn(model, step).doubt[0].tolist()[0] == pytest.approx(0.01 + 0.1**2)
    assert walk.learn(model, step).doubt[0].tolist()[2:] == pytest.approx([0.16] * 4), "never more than at first"


def exchanged(walk: PixelWalk, model: Any, held: int, others: int, count: int) -> list[float]:
    """How often each pixel is there after one step, if the first ones were."""
    x, best = gray(count, (1, 1, held + others)), pixels(*[1.0] * held, *[0.0] * others, count=count)
    pace = Pace(torch.ones(count, dtype=torch.bool), torch.full((count,), 5), torch.zeros(count, dtype=torch.int64))
    new = walk.step(x, best, model, pace, many(count).at(1))
    assert bool(((new != 0).sum((1, 2, 3)) == held).all())
    return [float(part) for part in (new != 0).float().mean(0).flatten()]


def test_what_does_least_is_given_up_and_what_was_in_vain_is_left_alone() -> None:
    count = 2000
    walk = PixelWalk(3, first=0.3)
    model = walk.open(gray(count, (1, 1, 7)), torch.zeros(count, dtype=torch.int64), empty((1, 1, 7), 2))
    alike = exchanged(walk, model, 3, 4, count)
    assert alike == pytest.approx([2 / 3] * 3 + [1 / 4] * 4, abs=0.05)
    effect, doubt = torch.tensor([0.3, 0.1, 0.3, 0, 0, 0, 0]), torch.full((7,), 0.02**2)
    vain = torch.tensor([0.0, 0, 0, 0, 1, 0, 2])
    known = replace(model, effect=effect.expand(count, 7), doubt=doubt.expand(count, 7), vain=vain.expand(count, 7))
    first, second, third, *others = exchanged(walk, known, 3, 4, count)
    assert first > 0.99 and second < 0.01 and third > 0.99
    assert others == pytest.approx([0.5, 0, 0.5, 0], abs=0.05)
    # Half as much, and ten times as doubtful: sometimes it is tried whether the third does anything.
    doubt = torch.tensor([0.02, 0.02, 0.2, 0, 0, 0, 0]).square()
    first, second, third, *_ = exchanged(walk, replace(known, doubt=doubt.expand(count, 7)), 3, 4, count)
    assert first > 0.99 and third == pytest.approx(1 - 0.16, abs=0.03) and second == pytest.approx(0.16, abs=0.03)


# ---- a linear classifier


SIDE = (1, 8, 8)
COUNT = 5
AWAY = {"linf": 10.5 / 255, "l2": 0.4}  # the smallest perturbations that fool


@functools.cache
def weights() -> torch.Tensor:
    return stream(1, seed=41)["weights"].uniform(2, *SIDE)[0] - 0.5


@functools.cache
def pictures(norm: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images far from black and white, and how far each is from the other class, in closed form.

    The margin is linear in the image. So the distance is the margin over the norm of its slope: in L-inf that of
    absolute values, in L2 the Euclidean one.
    """
    slope = (weights()[0] - weights()[1]).double()
    dual = slope.abs().sum() if norm == "linf" else slope.norm()
    x = 0.5 + 0.2 * (stream(COUNT, seed=42)["noise"].uniform(*SIDE).double() - 0.5)
    margin = (x * slope).flatten(1).sum(1)
    x = x + (AWAY[norm] * dual - margin)[:, None, None, None] * slope / slope.square().sum()
    x = ((x * 255).round() / 255).float()
    assert float(x.min()) > 0.2 and float(x.max()) < 0.8
    return x, (x.double() * slope).flatten(1).sum(1) / dual


def attack(algorithm: Any, x: torch.Tensor, budget: int, net: Linear | None = None) -> Evaded:
    net, goal = net or Linear(weights()), Goal()
    scores = net(x)
    victims = victims_of(x, scores.argmax(1), scores, goal.objective, net.info)
    return evade(
        victims,
        accounts=torch.arange(len(x)),
        seeds=[0] * len(x),
        algorithm=algorithm,
        encoding=algorithm.encoding,
        objective=goal.objective,
        criterion=goal.criterion,
        ledger=Ledger(net, searches=len(x), budget=budget),
    )


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_just_beyond_the_smallest_radius_a_linear_classifier_is_soon_fooled(norm: str) -> None:
    """Where nearly all must be right; random search finds nothing there in as many queries."""
    x, least = pictures(norm)
    ball = LpBall("linf", 12 / 255) if norm == "linf" else LpBall("l2", 0.48)
    assert bool((least < ball.eps).all()) and bool((least > 0.8 * ball.eps).all())
    found = attack(GenePool(ball, sharing=None), x, 150)
    assert bool(found.fooled.all()) and int(found.queries.max()) <= 120
    far = distance(found.images, x, ball.norm)
    assert bool((far >= least).all()) and bool((far <= ball.eps * (1 + 1e-6)).all())
    assert not bool(attack(RandomSearch(ball), x, 150).fooled.any())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_below_the_smallest_radius_nobody_is_ever_fooled(norm: str) -> None:
    x, least = pictures(norm)
    ball = LpBall("linf", 10 / 255) if norm == "linf" else LpBall("l2", 0.39)
    assert bool((least > ball.eps).all()) and bool((least < 1.1 * ball.eps).all())
    found = attack(GenePool(ball, sharing=None), x, 100)
    assert not bool(found.fooled.any()) and found.queries.tolist() == [100] * COUNT
    slope = (weights()[0] - weights()[1]).double()
    gone = ((x.double() - found.images) * slope).flatten(1).sum(1) / (x.double() * slope).flatten(1).sum(1)
    assert bool((gone > 0.75).all()) and bool((gone < 1).all()), "but it came near"


@functools.cache
def slow() -> Pool:
    """The pool after images of a classifier that feels slow waves alone, all farther from the border than the ball."""
    basis = waves(SIDE)
    amounts = torch.where(basis.bands == 0, stream(2, seed=7)["amounts"].uniform(64) - 0.5, 0.0)
    weight = 20 * basis.change(amounts)
    slope = weight[0] - weight[1]
    x = 0.3 + 0.4 * stream(24, seed=8)["images"].uniform(*SIDE)
    margin = (x * slope).flatten(1).sum(1)
    bias = torch.stack([0.8 * slope.norm() - margin.min(), torch.tensor(0.0)])
    algorithm = GenePool(LpBall("l2", 0.5), sharing=Sharing(lag=1, horizon=25))
    found = attack(algorithm, (x * 255).round() / 255, 25, Linear(weight, bias)).pool
    assert found is not None and found.taught.tolist() == [24, 0]
    return found


def test_a_pool_learns_which_waves_a_classifier_feels() -> None:
    spectrum, sizes = slow().spectrum, waves(SIDE).sizes
    assert float(spectrum[0]) > 3 and float(spectrum[0]) > 4 * float(spectrum[2:].max())
    assert float((spectrum * sizes).sum() / sizes.sum()) == pytest.approx(1, abs=0.05)
    assert bool((spectrum > 0).all())


def test_what_is_known_of_waves_comes_back_from_its_file() -> None:
    pool = slow()
    again = pools.from_bytes(pools.to_bytes(pool))
    assert torch.equal(again.spectrum, pool.spectrum) and torch.equal(again.felt, pool.felt)
    assert bool(pool.felt.any()) and pools.fingerprint(again) == pools.fingerprint(pool)
    for name in ("spectrum", "felt"):
        value = getattr(pool, name)
        assert pools.fingerprint(replace(pool, **{name: value + 1})) != pools.fingerprint(pool)
        for wrong in (value[:-1], value * torch.nan, value.double(), value * torch.inf):
            with pytest.raises(DamagedRunError):
                pools.from_bytes(pools.to_bytes(replace(pool, **{name: wrong})))
    for least in (0.0, -1.0):  # a variance: what is believed is divided by it
        with pytest.raises(DamagedRunError):
            pools.from_bytes(pools.to_bytes(replace(pool, spectrum=pool.spectrum.clone().fill_(least))))


@pytest.mark.parametrize("whole", [1, 2, 5])
@pytest.mark.parametrize("less", [1e-7, 1e-6, 1e-5, 2e-5, 5e-5, 9e-5, 2e-4])
def test_a_radius_just_below_whole_levels_is_kept(whole: int, less: float) -> None:
    """L2, one pixel: levels that are whole but for rounding would be a little longer than the radius."""
    ball, x = LpBall("l2", whole / 255 * (1 - less)), torch.arange(240).view(240, 1, 1, 1) / 255
    images = ball.decode(ball.repair(torch.ones(240, 1, 1, 1, 1), x), x)
    assert bool(ball.holds(images, x).all())
    assert (images * 255).round().flatten().tolist() == [level + whole - 1 for level in range(240)]


class Overstepping(LpBall):
    """Shows changes ten times as large as it allows."""

    def decode(self, genomes: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return to_lattice((x[:, None] + 10 * genomes).clamp(0, 1), x)


class Believed(Overstepping):
    """And says that they are allowed."""

    def holds(self, images: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.ones(images.shape[:2], dtype=torch.bool)


def test_what_fools_outside_of_the_limit_is_no_success_whoever_shows_it() -> None:
    x, least = pictures("linf")
    eps = lattice_eps(0.5 * float(least.min()))
    outside = attack(RandomSearch(Believed("linf", eps)), x, 100)
    assert bool(outside.fooled.any()), "nothing fooled, so nothing is shown here"
    assert not bool(attack(RandomSearch(Overstepping("linf", eps)), x, 100).fooled.any())
