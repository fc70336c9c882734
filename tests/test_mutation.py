"""Mutation: places by hand, what stays as it was, and how the places are spread."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evofool.operators import mutation
from fakes import Planted, many, stream

SHAPES = [(2,), (3,), (10,), (1, 2, 2), (3, 2, 4)]


def numbered(searches: int, n: int, *shape: int) -> torch.Tensor:
    """Members whose genes are 0, 1, 2, ... in order."""
    return torch.arange(float(np.prod(shape))).view(1, 1, *shape).expand(searches, n, *shape).contiguous()


# The second place is drawn among the others: 2 stands for 3 where the first place is 2 or less.
PLACES = Planted({"first place": [[0, 2, 3]], "second place": [[0, 2, 0]]})


def test_swap_by_hand():
    # The places (0, 1), (2, 3) and (3, 0).
    swapped = mutation.swap(numbered(1, 3, 2, 2), rng=PLACES)
    assert swapped.shape == (1, 3, 2, 2)
    assert swapped.flatten(2).tolist() == [[[1, 0, 2, 3], [0, 1, 3, 2], [3, 1, 2, 0]]]


def test_inversion_by_hand():
    # The segments 0 to 1, 2 to 3 and 0 to 3, both ends included, whichever end was drawn first.
    inverted = mutation.inversion(numbered(1, 3, 2, 2), rng=PLACES)
    assert inverted.flatten(2).tolist() == [[[1, 0, 2, 3], [0, 1, 3, 2], [3, 2, 1, 0]]]
    middle = Planted({"first place": [[4]], "second place": [[1]]})
    assert mutation.inversion(numbered(1, 1, 6), rng=middle).tolist() == [[[0, 4, 3, 2, 1, 5]]]


@pytest.mark.parametrize("length", [2, 3, 5, 8])
def test_all_pairs_of_places_one_by_one(length):
    pairs = [(i, j) for i in range(length) for j in range(length) if i != j]
    rng = Planted({"first place": [[i for i, _ in pairs]], "second place": [[j - (j > i) for i, j in pairs]]})
    x = numbered(1, len(pairs), length)
    swapped, inverted = mutation.swap(x, rng=rng)[0].tolist(), mutation.inversion(x, rng=rng)[0].tolist()
    for member, (i, j) in enumerate(pairs):
        genes = list(range(length))
        low, high = min(i, j), max(i, j) + 1
        assert inverted[member] == genes[:low] + genes[low:high][::-1] + genes[high:]
        genes[i], genes[j] = genes[j], genes[i]
        assert swapped[member] == genes


@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 1000))
def test_swap_changes_exactly_two_places_and_keeps_all_genes(shape, seed):
    x = numbered(2, 4, *shape)
    swapped = mutation.swap(x, rng=stream(2, seed))
    assert bool(((swapped != x).flatten(2).sum(2) == 2).all())
    assert torch.equal(swapped.flatten(2).sort(2).values, x.flatten(2))


@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 1000))
def test_inversion_reverses_one_segment_and_keeps_all_genes(shape, seed):
    x = numbered(2, 4, *shape)
    inverted = mutation.inversion(x, rng=stream(2, seed)).flatten(2)
    assert torch.equal(inverted.sort(2).values, x.flatten(2))
    for before, after in zip(x.flatten(2).flatten(0, 1).tolist(), inverted.flatten(0, 1).tolist(), strict=True):
        changed = [place for place, gene in enumerate(after) if gene != before[place]]
        start, stop = min(changed), max(changed) + 1
        assert stop - start >= 2
        assert after == before[:start] + before[start:stop][::-1] + before[stop:]


@pytest.mark.parametrize("operator", [mutation.swap, mutation.inversion])
@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 1000))
def test_the_same_places_twice_change_nothing(operator, shape, seed):
    rng = stream(3, seed)
    x = rng["genes"].uniform(4, *shape)
    once = operator(x, rng=rng)
    assert not torch.equal(once, x)
    assert torch.equal(operator(once, rng=rng), x)


@pytest.mark.parametrize("operator", [mutation.swap, mutation.inversion])
def test_the_places_are_uniform_over_all_pairs(operator):
    length = 5
    x = numbered(300, 40, length)
    moved = operator(x, rng=many(300)) != x
    ends = np.stack([moved.int().argmax(2).flatten(), length - 1 - moved.flip(2).int().argmax(2).flatten()])
    pairs = np.bincount(ends[0] * length + ends[1], minlength=length * length).reshape(length, length)
    upper = np.triu_indices(length, 1)
    assert pairs[upper].sum() == 300 * 40
    # Inversion leaves the middle of an odd segment in place, but never its ends: what moved tells the pair.
    assert stats.chisquare(pairs[upper]).pvalue > 1e-4


@pytest.mark.parametrize("operator", [mutation.swap, mutation.inversion])
def test_two_genes_change_places_and_one_gene_cannot(operator):
    assert operator(torch.tensor([[[0.25, 0.5]]]), rng=stream()).tolist() == [[[0.5, 0.25]]]
    with pytest.raises(ValueError, match="at least two genes, found 1"):
        operator(torch.zeros(2, 3, 1), rng=stream(2))


@pytest.mark.parametrize("operator", [mutation.swap, mutation.inversion])
def test_equal_genes_stay_equal_and_other_types_are_kept(operator):
    assert torch.equal(operator(torch.full((2, 3, 9), 0.3), rng=stream(2)), torch.full((2, 3, 9), 0.3))
    assert operator(torch.arange(8, dtype=torch.int64).view(1, 1, 8), rng=stream()).dtype == torch.int64
