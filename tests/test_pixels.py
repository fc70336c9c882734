"""Pixels: what is sent lies on the lattice of bytes, and rounding never leads away from where a search started."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evofool.encodings.pixels import Pixels, to_lattice
from evofool.genome import Labelled
from fakes import pictures, stream

BYTES = torch.arange(256, dtype=torch.uint8)
LATTICE = BYTES.float() / 255
gray = st.floats(0, 1, width=32)
byte = st.integers(0, 255)


def column(values: object) -> torch.Tensor:
    """One search with one member, a column of pixels."""
    return torch.as_tensor(values, dtype=torch.float32).view(1, 1, 1, -1, 1)


def started(values: object) -> torch.Tensor:
    return column(values)[:, 0]


def test_all_bytes_are_met_exactly():
    assert torch.equal(to_lattice(column(LATTICE), None), column(LATTICE))
    assert torch.equal((to_lattice(column(LATTICE), None) * 255).round().to(torch.uint8).flatten(), BYTES)
    for origin in (0, 100, 255):
        x = started([origin / 255] * 256)
        assert torch.equal(to_lattice(column(LATTICE), x), column(LATTICE))


@given(st.lists(gray, min_size=1, max_size=30))
def test_what_is_sent_is_a_byte_over_255_in_single_precision(genes):
    for x in (None, started(LATTICE[torch.arange(len(genes)) * 7 % 256])):
        sent = to_lattice(column(genes), x).flatten()
        assert torch.equal(
            sent, torch.from_numpy((sent * 255).round().byte().numpy().astype(np.float32) / np.float32(255))
        )
        assert bool((sent * 255 - torch.tensor(genes) * 255).abs().max() <= (0.5001 if x is None else 1.0))


def test_without_an_origin_halves_go_to_the_even_byte():
    genes = (torch.arange(0, 255) + 0.5) / 255
    halves = genes * 255 == torch.arange(0, 255) + 0.5  # those that single precision holds
    assert int(halves.sum()) > 100
    sent = (to_lattice(column(genes), None) * 255).round().flatten()[halves]
    assert bool((sent % 2 == 0).all())
    assert bool(((sent - genes[halves] * 255).abs() == 0.5).all())


def test_no_images_are_none():
    for x in (None, torch.zeros(0, 1, 3, 3)):
        assert to_lattice(torch.zeros(0, 2, 1, 3, 3), x).shape == (0, 2, 1, 3, 3)


def chosen_by_masks(genes, x):
    """The same in the words of the docstring: what is whole stays, the rest goes down above x and up below it."""
    levels = genes * 255
    levels = torch.where((levels - levels.round()).abs() < 1e-4, levels.round(), levels)
    return torch.where(levels > (x[:, None] * 255).round(), levels.floor(), levels.ceil()) / 255


def test_rounding_by_arithmetic_is_rounding_by_choice_to_the_bit():
    rng = stream(40)
    x = LATTICE[rng["x"].integers(256, 3, 8, 8)]
    whole = rng["whole"].integers(256, 2, 3, 8, 8)
    edges = torch.tensor([0.0, 1e-4, -1e-4, 0.99e-4, -0.99e-4, 1.01e-4, -1.01e-4, 0.5, -0.5, 0.3, -0.3])
    near = (whole + edges[rng["edge"].integers(len(edges), 2, 3, 8, 8)]) / 255
    moved = x[:, None] + (rng["step"].uniform(2, 3, 8, 8) - 0.5) * rng["size"].uniform(2, 1, 1, 1) ** 8
    for genes in (rng["genes"].uniform(2, 3, 8, 8), near.clamp(0, 1), moved.clamp(0, 1), whole / 255):
        sent, expected = to_lattice(genes.clone(), x), chosen_by_masks(genes, x)
        assert sent.numpy().tobytes() == expected.numpy().tobytes()
    assert bool((to_lattice(moved.clamp(0, 1), x) != moved.clamp(0, 1)).any())


@pytest.mark.parametrize(
    ("level", "origin", "expected"), [(10.7, 3, 10), (10.3, 20, 11), (10.7, 10, 10), (10.3, 11, 11)]
)
def test_rounding_toward_the_origin_by_hand(level, origin, expected):
    sent = to_lattice(column([level / 255]), started([origin / 255]))
    assert sent.item() == LATTICE[expected].item()


@given(st.lists(st.tuples(gray, byte), min_size=1, max_size=30))
def test_rounding_toward_the_origin_increases_no_distance(pairs):
    genes, origins = (torch.tensor(side) for side in zip(*pairs, strict=True))
    x = started(LATTICE[origins])
    sent = to_lattice(column(genes), x)
    wanted, got = ((image.double() - x.double()[:, None]).abs() for image in (column(genes), sent))
    # A level within 1/10,000 of a whole one counts as whole: that much and no more.
    assert bool((got <= wanted + 1e-4 / 255 + 1e-7).all())
    fraction = (column(genes).double() * 255 - (column(genes).double() * 255).round()).abs()
    assert bool((got <= wanted)[fraction > 2e-4].all())
    assert bool((got >= wanted - 1 / 255 - 1e-7).all())  # and no further than the next byte


@given(origin=byte, radius=st.integers(0, 40), share=gray, up=st.booleans())
def test_a_ball_of_whole_bytes_is_kept(origin, radius, share, up):
    x = LATTICE[origin]
    step = torch.tensor(radius / 255) * share
    gene = (x + step if up else x - step).clamp(0, 1)
    sent = to_lattice(column([gene.item()]), started([x.item()]))
    assert abs(round(sent.item() * 255) - origin) <= radius


def test_the_edge_of_a_ball_is_reached():
    """A gene at x +- eps, off by float rounding, is not rounded down to the byte below."""
    origins, radius = (
        grid.flatten() for grid in torch.meshgrid(torch.arange(60, 196), torch.arange(1, 60), indexing="ij")
    )
    off = 0
    for sign in (1, -1):
        genes = LATTICE[origins] + sign * (radius / 255)
        sent = to_lattice(column(genes), started(LATTICE[origins]))
        assert torch.equal((sent * 255).round().flatten(), (origins + sign * radius).float())
        off += int((genes * 255 != (genes * 255).round()).sum())
    assert off > 100


def test_each_search_has_its_own_origin():
    genes = torch.full((2, 3, 1, 1, 1), 10.5 / 255)
    sent = to_lattice(genes, torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)) * 255
    assert sent.round().flatten(1).tolist() == [[10.0] * 3, [11.0] * 3]


def test_genes_are_never_rounded_or_changed():
    genes = pictures(2, 3)
    before = genes.clone()
    for x in (None, genes[:, 0]):
        Pixels().decode(genes, x)
        Pixels().repair(genes, x)
    assert torch.equal(genes, before)


@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=20))
def test_repair_clamps_and_twice_is_once(genes):
    once = Pixels().repair(column(genes), None)
    assert once.flatten().tolist() == [min(1.0, max(0.0, gene)) for gene in torch.tensor(genes).tolist()]
    assert torch.equal(Pixels().repair(once, None), once)


def test_repair_keeps_what_a_member_carries():
    members = Labelled(column([2.0, -1.0]), torch.tensor([[3]]), torch.tensor([[0]]))
    repaired = Pixels().repair(members, None)
    assert repaired.genes.flatten().tolist() == [1.0, 0.0] and repaired.label is members.label
    assert Pixels().repair(repaired, None) is repaired


def test_sampled_images_are_uniform_and_of_the_shape_of_the_origin():
    x = torch.zeros(2, 3, 5, 6)
    sampled = Pixels().sample(x, 40, stream(2))
    assert sampled.shape == (2, 40, 3, 5, 6) and sampled.dtype == torch.float32
    assert 0 <= float(sampled.min()) < 0.01 and 0.99 < float(sampled.max()) < 1
    assert abs(float(sampled.mean()) - 0.5) < 0.02
    assert torch.equal(sampled[1:], Pixels().sample(x[1:], 40, stream(2).rows([1])))


def test_nothing_can_be_sampled_without_a_size():
    with pytest.raises(ValueError, match="without an image x"):
        Pixels().sample(None, 3, stream())


def test_members_that_carry_a_label_are_decoded_like_others():
    genes = pictures(2, 3)
    members = Labelled(genes, torch.zeros(2, 3), torch.zeros(2, 3))
    assert torch.equal(Pixels().decode(members, None), Pixels().decode(genes, None))
