"""Streams: what a draw depends on, what it does not depend on, and how random it looks."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evofool.rng import Stream, search_id
from fakes import many, stream

WORD = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15

# Pinned: a change here changes every result that was ever published with a seed.
GOLDEN_WORDS = [[1991162963666771057, 265310643423451620], [11803916110587541478, 557143283980324932]]
GOLDEN_UNIFORM = [[7554460, 1810952, 14705305], [11146423, 10735599, 6988880]]
GOLDEN_INTEGERS = [[107, 14, 741, 374], [639, 30, 401, 470]]
GOLDEN_PERMUTATION = [[1, 0, 5, 3, 2, 4], [5, 1, 2, 3, 4, 0]]
GOLDEN_SEARCH = 6240115227674416238


def splitmix(z: int) -> int:
    """The finaliser of splitmix64, on whole numbers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def by_hand(seed: int, search: int, generation: int, name: str, count: int) -> list[int]:
    """The words of one search, one at a time."""
    named = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    key = seed & WORD
    for part in (0, search & WORD, generation, named):
        key = splitmix(((key ^ part) + GOLDEN) & WORD)
    return [splitmix((key + step * GOLDEN) & WORD) for step in range(1, count + 1)]


def plausible(statistic: float, freedom: int) -> bool:
    """A chi-square value that is neither far too large nor far too small."""
    return 1e-4 < stats.chi2.sf(statistic, freedom) < 1 - 1e-4


def uniform_counts(counts: np.ndarray) -> bool:
    return plausible(stats.chisquare(counts).statistic, len(counts) - 1)


# What the numbers are


def test_the_reference_gives_the_published_first_outputs_of_splitmix64():
    assert [splitmix(step * GOLDEN & WORD) for step in (1, 2, 3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


@given(
    seed=st.integers(-(2**63), 2**64 - 1),
    search=st.integers(0, 2**63 - 1),
    generation=st.integers(0, 2**40),
    name=st.text(max_size=12),
    count=st.integers(0, 9),
)
def test_words_are_those_of_the_reference(seed, search, generation, name, count):
    drawn = Stream([seed], [search]).at(generation)[name].words(count)
    assert drawn.dtype == np.uint64
    assert drawn.tolist() == [by_hand(seed, search, generation, f"/{name}", count)]


def test_draws_never_change_between_versions():
    rng = Stream([0, 1], [search_id("FPS_AC_SM"), 7]).at(3)["second parent"]["spin"]
    assert rng.words(2).tolist() == GOLDEN_WORDS
    assert (rng.uniform(3) * 2**24).int().tolist() == GOLDEN_UNIFORM
    assert rng.uniform(2, dtype=torch.float64).tolist() == [[(w >> 11) * 2.0**-53 for w in row] for row in GOLDEN_WORDS]
    assert rng.integers(1000, 4).tolist() == GOLDEN_INTEGERS
    assert rng.permutation(6).tolist() == GOLDEN_PERMUTATION


def test_a_named_search_has_the_same_number_everywhere():
    assert search_id("population") == GOLDEN_SEARCH
    assert search_id("population") != search_id("Population")
    assert all(0 <= search_id(str(k)) < 2**63 for k in range(100))


def test_a_word_gives_two_single_numbers_and_one_double():
    words = by_hand(4, 9, 0, "/x", 2)
    halves = [half >> 8 for word in words for half in (word & 0xFFFFFFFF, word >> 32)]
    rng = Stream([4], [9])["x"]
    assert rng.uniform(2, 2).flatten().tolist() == [half * 2.0**-24 for half in halves]
    assert rng.uniform(2, dtype=torch.float64).tolist() == [[(word >> 11) * 2.0**-53 for word in words]]


def test_a_fresh_interpreter_draws_the_same():
    program = (
        "from evofool.rng import Stream, search_id; r = Stream([3, 4], [search_id('a'), 1]).at(2)['b']; "
        "print(r.uniform(3).tolist(), r.integers(9, 3).tolist(), r.permutation(5).tolist())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    fresh = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    rng = Stream([3, 4], [search_id("a"), 1]).at(2)["b"]
    assert (
        fresh.stdout.strip() == f"{rng.uniform(3).tolist()} {rng.integers(9, 3).tolist()} {rng.permutation(5).tolist()}"
    )


# What they depend on


@given(seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=5), count=st.integers(0, 50), data=st.data())
def test_a_search_alone_draws_what_it_draws_in_a_batch(seeds, count, data):
    rng = Stream(seeds, list(range(len(seeds)))).at(5)["x"]
    row = data.draw(st.integers(0, len(seeds) - 1))
    alone = Stream([seeds[row]], [row]).at(5)["x"]
    assert rng.words(count)[row].tolist() == alone.words(count)[0].tolist() == rng.rows([row]).words(count)[0].tolist()
    for draw in (
        lambda r: r.uniform(count),
        lambda r: r.uniform(count, dtype=torch.float64),
        lambda r: r.integers(11, count),
        lambda r: r.permutation(count),
    ):
        assert torch.equal(draw(rng)[row], draw(alone)[0])


@given(short=st.integers(0, 40), more=st.integers(0, 40))
def test_a_longer_draw_begins_with_the_shorter_one(short, more):
    rng = stream(2)["x"]
    assert np.array_equal(rng.words(short + more)[:, :short], rng.words(short))
    assert torch.equal(rng.uniform(short + more)[:, :short], rng.uniform(short))
    assert torch.equal(rng.uniform(short + more, 3)[:, :short], rng.uniform(short, 3))
    assert torch.equal(rng.integers(10, short + more, 3)[:, :short], rng.integers(10, short, 3))


@pytest.mark.parametrize(("searches", "count"), [(1, 40_000), (3, 16_385), (700, 100), (5, 16_384), (2, 32_769)])
def test_large_draws_that_are_worked_on_in_blocks_hold_the_same_numbers(searches, count):
    drawn = stream(searches)["x"].words(count)
    for row, column in ((0, 0), (searches - 1, count - 1), (searches // 2, count // 2)):
        assert int(drawn[row, column]) == by_hand(0, row, 0, "/x", column + 1)[-1]
    assert np.array_equal(drawn[-1:], Stream([0], [searches - 1])["x"].words(count))
    assert len(np.unique(drawn)) == drawn.size


def test_seed_search_generation_and_name_each_change_the_draw():
    base = Stream([1], [2]).at(3)["a"]
    others = {
        "seed": Stream([2], [2]).at(3)["a"],
        "search": Stream([1], [3]).at(3)["a"],
        "generation": Stream([1], [2]).at(4)["a"],
        "name": Stream([1], [2]).at(3)["b"],
        "no name": Stream([1], [2]).at(3),
        "deeper name": Stream([1], [2]).at(3)["a"]["a"],
        "seed and search exchanged": Stream([2], [1]).at(3)["a"],
        "search and generation exchanged": Stream([1], [3]).at(2)["a"],
    }
    drawn = {name: tuple(rng.words(4)[0].tolist()) for name, rng in {"base": base, **others}.items()}
    assert len(set(drawn.values())) == len(drawn)
    assert not set.intersection(*(set(words) for words in drawn.values()))


def test_asking_twice_gives_the_same_and_leaves_no_trace():
    rng = stream(2)["x"]
    first = rng.uniform(5)
    rng["y"].uniform(9)
    first_again = rng.uniform(5)
    assert torch.equal(first, first_again)
    first_again.fill_(0)  # what was given away can be changed without harm
    assert torch.equal(first, rng.uniform(5))


def test_seeds_may_be_numbers_of_any_kind():
    plain = Stream([0, 5], [1, 2])["x"].words(3)
    assert np.array_equal(plain, Stream(np.array([0, 5]), np.array([1, 2]))["x"].words(3))
    assert np.array_equal(plain, Stream(torch.tensor([0, 5]), torch.tensor([1, 2]))["x"].words(3))


def test_a_name_within_a_name_is_joined_and_rows_and_generations_are_kept():
    rng = Stream([1, 2, 3], [4, 5, 6]).at(7)["a"].rows([2, 0])["b"]
    assert (rng.seeds, rng.searches, rng.generation, rng.name, len(rng)) == ([3, 1], [6, 4], 7, "/a/b", 2)


@pytest.mark.parametrize("generations", [7, [7, 8, 9]])
def test_rows_draw_what_they_draw_beside_the_others(generations):
    rng = Stream([1, 2, 3], [4, 5, 6]).at(generations)["a"]
    some = rng.rows([2, 0])
    assert some["b"].generation == (7 if generations == 7 else [9, 7])
    for drawn in (lambda stream: stream["b"].words(5), lambda stream: stream["b"].at(11).words(5)):
        assert np.array_equal(drawn(some), drawn(rng)[[2, 0]])
    assert not np.array_equal(some["b"].words(5)[1], rng["b"].words(5)[1])


def test_as_many_searches_as_seeds_are_needed():
    with pytest.raises(ValueError, match="2 seeds but 1 searches"):
        Stream([1, 2], [1])


# Shapes and ranges


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (2, 3), (2, 1, 5)])
def test_shapes_follow_the_searches(shape):
    rng = stream(4)
    assert rng.uniform(*shape).shape == (4, *shape)
    assert rng.uniform(*shape, dtype=torch.float64).shape == (4, *shape)
    assert rng.integers(5, *shape).shape == (4, *shape)
    assert rng.uniform(*shape).dtype == torch.float32
    assert rng.integers(5, *shape).dtype == torch.int64


def test_uniform_numbers_lie_on_their_grid_in_the_half_open_interval():
    single = stream()["x"].uniform(100_000)
    double = stream()["x"].uniform(100_000, dtype=torch.float64)
    for drawn, steps in ((single, 2**24), (double, 2**53)):
        assert float(drawn.min()) >= 0 and float(drawn.max()) < 1
        scaled = drawn.double() * steps
        assert torch.equal(scaled, scaled.round())
    assert bool(((double * 2**24) % 1 != 0).any())  # doubles are finer than singles


@given(high=st.integers(1, 2**62), count=st.integers(1, 20))
def test_integers_stay_below_their_limit(high, count):
    drawn = stream(2)["x"].integers(high, count)
    assert int(drawn.min()) >= 0 and int(drawn.max()) < high


def test_each_integer_has_its_own_limit_where_a_tensor_is_given():
    high = torch.tensor([[1], [2], [1000]])[:, :, None]  # broadcasts to [3 200 4]
    drawn = stream(3)["x"].integers(high, 200, 4)
    assert drawn.shape == (3, 200, 4)
    assert drawn[0].unique().tolist() == [0]
    assert drawn[1].unique().tolist() == [0, 1]
    assert 900 < int(drawn[2].max()) < 1000
    for row, limit in enumerate((1, 2, 1000)):
        assert torch.equal(drawn[row], stream(3)["x"].integers(limit, 200, 4)[row])


@pytest.mark.parametrize("high", [0, -3, torch.tensor([4, 0])])
def test_an_empty_range_is_refused(high):
    with pytest.raises(ValueError, match="at least 1, got"):
        stream(2).integers(high, 2)


@given(count=st.integers(0, 60))
def test_a_permutation_holds_everybody_once(count):
    drawn = stream(3)["x"].permutation(count)
    assert drawn.shape == (3, count) and drawn.dtype == torch.int64
    assert torch.equal(drawn.sort(1).values, torch.arange(count).expand(3, -1))


# How random they look (seeds are fixed: these either always pass or never)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_are_uniform_along_a_stream_and_across_neighbouring_keys(dtype):
    along = stream()["x"].uniform(64_000, dtype=dtype).flatten()
    across = {
        "seeds": many(20_000)["x"].uniform(2, dtype=dtype),
        "searches": stream(20_000)["x"].uniform(2, dtype=dtype),
        "generations": torch.cat([stream().at(g)["x"].uniform(2, dtype=dtype) for g in range(1500)]),
        "names": torch.cat([stream()[f"label {k}"].uniform(2, dtype=dtype) for k in range(1500)]),
    }
    assert uniform_counts(np.histogram(along.numpy(), bins=64, range=(0, 1))[0])
    for what, drawn in across.items():
        for column in drawn.T:
            assert uniform_counts(np.histogram(column.numpy(), bins=32, range=(0, 1))[0]), what


def test_all_bits_of_a_word_are_fair_and_independent_of_the_next_word():
    words = stream()["x"].words(40_000)[0]
    bits = (words[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    limit = 4.5 * 0.5 / np.sqrt(len(words))
    assert np.abs(bits.mean(0) - 0.5).max() < limit
    assert np.abs((bits[1:] ^ bits[:-1]).mean(0) - 0.5).max() < limit


def test_numbers_do_not_follow_from_those_before():
    drawn = stream()["x"].uniform(50_000, dtype=torch.float64)[0].numpy() - 0.5
    for lag in (1, 2, 3, 7, 64):
        correlation = (drawn[lag:] * drawn[:-lag]).mean() * 12
        assert abs(correlation) < 4.5 / np.sqrt(len(drawn)), lag


@pytest.mark.parametrize("neighbours", ["seeds", "searches", "generations", "names"])
def test_neighbouring_keys_give_unrelated_numbers(neighbours):
    streams = {
        "seeds": many(60)["x"].uniform(2000, dtype=torch.float64),
        "searches": stream(60)["x"].uniform(2000, dtype=torch.float64),
        "generations": torch.cat([stream().at(g)["x"].uniform(2000, dtype=torch.float64) for g in range(60)]),
        "names": torch.cat([stream()[f"round {k}"].uniform(2000, dtype=torch.float64) for k in range(60)]),
    }
    correlations = np.corrcoef(streams[neighbours].numpy())[np.triu_indices(60, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(2000)
    assert abs(correlations.std() * np.sqrt(2000) - 1) < 0.1


def test_one_bit_of_the_seed_changes_half_of_the_bits():
    base = Stream([12345], [0])["x"].words(500)
    others = Stream([12345 ^ (1 << bit) for bit in range(64)], [0] * 64)["x"].words(500)
    changed = np.unpackbits((base ^ others).view(np.uint8), axis=1).reshape(64, 500, 64).sum(2).mean(1)
    assert np.abs(changed - 32).max() < 4.5 * 4 / np.sqrt(500)
    assert abs(changed.mean() - 32) < 4.5 * 4 / np.sqrt(64 * 500)


def test_integers_are_equally_likely():
    for high in (2, 3, 7, 100):
        assert uniform_counts(np.bincount(stream()["x"].integers(high, 30_000)[0].numpy(), minlength=high)), high


def test_orders_are_equally_likely():
    orders = many(12_000)["x"].permutation(3)
    assert uniform_counts(
        np.bincount((orders * torch.tensor([9, 3, 1])).sum(1).numpy(), minlength=27)[[5, 7, 11, 15, 19, 21]]
    )
    places = stream()["x"].permutation(1000)[0]
    assert abs(np.corrcoef(places.numpy(), np.arange(1000))[0, 1]) < 4.5 / np.sqrt(1000)


def test_normal_numbers_are_standard_and_their_own_by_row():
    drawn = Stream(list(range(200)), [0] * 200)["normal"].normal(5, 100)
    assert drawn.shape == (200, 5, 100) and drawn.dtype == torch.float64
    assert float(drawn.mean()) == pytest.approx(0, abs=0.02) and float(drawn.std()) == pytest.approx(1, abs=0.02)
    assert float((drawn.abs() < 1).double().mean()) == pytest.approx(0.6827, abs=0.01)
    assert float((drawn**4).mean()) == pytest.approx(3, abs=0.15)
    assert torch.equal(drawn[7:8], Stream([7], [0])["normal"].normal(5, 100))
    pair = Stream([7], [0])["normal"].uniform(2, 5, 100, dtype=torch.float64)
    assert torch.allclose(drawn[7], (-2 * (1 - pair[0, 0]).log()).sqrt() * (2 * torch.pi * pair[0, 1]).cos())
