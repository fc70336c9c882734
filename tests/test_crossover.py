"""Crossover: cuts and weights by hand, what each parent gives, and how the cut is spread."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evofool import genome
from evofool.operators import crossover
from fakes import Planted, many, pictures, stream


def test_single_point_by_hand():
    # Three matings of four genes, cut after the first, the second and the third gene.
    a, b = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    weight = crossover.single_point(a, b, rng=Planted({"cut": [[0, 1, 2]]}))
    assert weight.dtype == torch.bool and weight.shape == a.shape
    child = genome.cross(a, b, weight).flatten(2)
    assert child.tolist() == [[[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]]


@pytest.mark.parametrize("length", [2, 3, 9])
def test_all_cuts_one_by_one(length):
    a, b = torch.zeros(1, length - 1, length), torch.ones(1, length - 1, length)
    child = genome.cross(a, b, crossover.single_point(a, b, rng=Planted({"cut": [list(range(length - 1))]})))
    assert child[0].tolist() == [[0.0] * cut + [1.0] * (length - cut) for cut in range(1, length)]


@given(shape=st.sampled_from([(2,), (3,), (7,), (1, 2, 2), (3, 2, 5)]), seed=st.integers(0, 1000))
def test_single_point_has_one_place_of_change_and_takes_from_both(shape, seed):
    a, b = torch.zeros(2, 5, *shape), torch.ones(2, 5, *shape)
    child = genome.cross(a, b, crossover.single_point(a, b, rng=stream(2, seed))).flatten(2)
    assert bool((child.diff(dim=2) >= 0).all())  # first zeros, then ones
    assert bool((child[..., 0] == 0).all()) and bool((child[..., -1] == 1).all())


def test_the_cut_is_uniform_over_the_places_between_genes():
    a = torch.zeros(200, 50, 6)
    cut = crossover.single_point(a, a, rng=many(200)).sum(2)
    counts = np.bincount(cut.flatten().numpy(), minlength=7)
    assert counts[0] == counts[6] == 0
    assert stats.chisquare(counts[1:6]).pvalue > 1e-4


def test_two_genes_can_only_be_cut_in_the_middle():
    a, b = torch.zeros(2, 3, 2), torch.ones(2, 3, 2)
    assert genome.cross(a, b, crossover.single_point(a, b, rng=stream(2))).tolist() == [[[0.0, 1.0]] * 3] * 2


def test_one_gene_cannot_be_cut():
    with pytest.raises(ValueError, match="at least two genes, found 1"):
        crossover.single_point(torch.zeros(1, 3, 1, 1), torch.zeros(1, 3, 1, 1), rng=stream())


def test_arithmetic_by_hand():
    a, b = torch.tensor([[[1.0, 0.0]] * 3]), torch.tensor([[[0.0, 0.5]] * 3])
    weight = crossover.arithmetic(a, b, rng=Planted({"weight": [[[0.0], [0.25], [0.75]]]}))
    assert genome.cross(a, b, weight).tolist() == [[[0.0, 0.5], [0.25, 0.375], [0.75, 0.125]]]


def test_arithmetic_draws_one_uniform_weight_for_each_mating():
    a = pictures(200, 50, (1, 2, 2))
    weight = crossover.arithmetic(a, a, rng=many(200))
    assert weight.shape == (200, 50, 1)
    assert len(weight.unique()) > 9990
    assert stats.kstest(weight.flatten().numpy(), "uniform").pvalue > 1e-4


@given(seed=st.integers(0, 10_000))
def test_an_arithmetic_child_lies_between_its_parents_exactly(seed):
    a, b = stream(2, seed)["a"].uniform(4, 9), stream(2, seed)["b"].uniform(4, 9)
    child = genome.cross(a, b, crossover.arithmetic(a, b, rng=stream(2, seed)))
    assert bool(((child >= torch.minimum(a, b)) & (child <= torch.maximum(a, b))).all())
    assert not torch.equal(child, a) and not torch.equal(child, b)
