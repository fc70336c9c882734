"""Ink: which settings are refused, what is drawn, what a region takes away, and the two forms of a genome."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evofool import regions
from evofool.encodings.ink import Ink
from evofool.errors import SpecError
from evofool.genome import Labelled
from evofool.testing import contracts
from fakes import many, stream

SIZES = st.tuples(st.integers(1, 6), st.integers(1, 6))


def random_masks(searches: int, n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Masks of all densities; the first of each search is empty and the second full."""
    rng = stream(searches, seed)
    masks = rng["ink"].uniform(n, height, width) < rng["share"].uniform(n, 1, 1)
    masks[:, 0], masks[:, 1] = False, True
    return masks


# Settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"canvas": (0.0,)}, "ink and canvas are both (0.0,): expected two that can be told apart"),
        ({"canvas": (0.5,), "ink": (0.501,)}, "ink and canvas are both (0.5,)"),  # 128 of 255, both of them
        ({"canvas": (1.0, 0.2, 0.2), "ink": (0.999, 0.2, 0.201)}, "can be told apart"),
        ({"canvas": (1.5,)}, "canvas = (1.5,): expected gray levels from 0 (black) to 1 (white)"),
        ({"ink": (-0.1,)}, "ink = (-0.1,): expected gray levels"),
        ({"ink": (float("nan"),)}, "expected gray levels"),
        ({"ink": (float("inf"),)}, "expected gray levels"),
        ({"canvas": ()}, "canvas = (): expected gray levels"),
        ({"ink": ()}, "ink = (): expected gray levels"),
        ({"canvas": (1.0, 1.0, 1.0)}, "canvas has 3 channels and ink 1: expected as many of each"),
        ({"ink": (0.0, 0.0)}, "canvas has 1 channels and ink 2"),
    ],
)
def test_settings_that_are_refused(settings, words):
    with pytest.raises(SpecError) as caught:
        Ink(**settings)
    assert words in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize("levels", [((0.5,), (0.504,)), ((1.0, 0.2, 0.2), (1.0, 0.2, 0.204)), ((1,), (0,))])
def test_one_step_of_one_channel_is_enough(levels):
    canvas, ink = levels
    images = Ink(canvas=canvas, ink=ink).decode(torch.tensor([[[[True, False]]]]))
    assert images.shape == (1, 1, len(ink), 1, 2)
    assert not torch.equal(images[..., 0], images[..., 1])


def test_an_unknown_region_is_refused_where_it_is_asked_for():
    for ask in (lambda ink: ink.sample(None, 2, stream()), lambda ink: ink.repair(torch.ones(1, 1, 3, 3) > 0, None)):
        with pytest.raises(SpecError, match="did you mean 'center'"):
            ask(Ink((3, 3), region="centre:0.5"))


def test_nothing_tells_the_size():
    with pytest.raises(ValueError, match="ink needs its size"):
        Ink().sample(None, 2, stream())
    with pytest.raises(ValueError, match="ink needs its size"):
        Ink().decode(torch.tensor([[[0, 3]]]))
    assert Ink().decode(torch.zeros(1, 1, 2, 3, dtype=torch.bool)).shape == (1, 1, 1, 2, 3)  # a mask tells its own


# Images


def test_decode_by_hand():
    mask = torch.tensor([[[[True, False], [False, False]], [[False, True], [True, True]]]])
    assert Ink().decode(mask)[0, :, 0].tolist() == [[[0, 1], [1, 1]], [[1, 0], [0, 0]]]
    assert Ink(canvas=(0.0,), ink=(1.0,)).decode(mask)[0, :, 0].tolist() == [[[1, 0], [0, 0]], [[0, 1], [1, 1]]]
    assert mask[0, 0].tolist() == [[True, False], [False, False]]  # not changed


def test_colours_by_hand():
    images = Ink(canvas=(1.0, 0.5, 0.0), ink=(0.0, 0.5, 0.2)).decode(torch.tensor([[[[True, False, False]]]]))
    half = np.float32(128) / np.float32(255)
    expected = [[[0.0, 1.0, 1.0]], [[half] * 3], [[np.float32(0.2), 0.0, 0.0]]]
    assert images.dtype == torch.float32
    assert torch.equal(images[0, 0], torch.tensor(np.array(expected, dtype=np.float32)))


@given(canvas=st.floats(0, 1), ink=st.floats(0, 1), channels=st.integers(1, 3))
def test_images_lie_on_the_lattice_and_have_two_colours(canvas, ink, channels):
    if round(canvas * 255) == round(ink * 255):
        return
    masks = random_masks(2, 4, 3, 4)
    images = Ink(canvas=(canvas,) * channels, ink=(ink,) * channels).decode(masks)
    assert images.shape == (2, 4, channels, 3, 4)
    assert torch.equal(images, (images * 255).round() / 255)
    for levels, mask in ((ink, masks), (canvas, ~masks)):
        shown = images.movedim(2, -1)[mask]
        assert bool((shown == shown[0]).all()) and shown[0, 0].item() == pytest.approx(levels, abs=0.50001 / 255)


# The two forms


def test_the_reduced_form_by_hand():
    masks = torch.tensor([[[[False, True, False], [False, False, True]], [[False] * 3] * 2, [[True] * 3, [False] * 3]]])
    reduced = Ink().reduced(masks)
    assert reduced.tolist() == [[[1, 5, 6], [6, 6, 6], [0, 1, 2]]]
    assert torch.equal(Ink((2, 3)).masks(reduced), masks)
    assert Ink().masks(masks) is masks


@given(size=SIZES, seed=st.integers(0, 1000), colours=st.sampled_from([1, 3]))
def test_both_forms_give_the_same_masks_images_and_repairs(size, seed, colours):
    masks = random_masks(3, 5, *size, seed=seed)
    for region in ("everywhere", "border:1", "center:0.5"):
        coded = Ink(canvas=(1.0,) * colours, ink=(0.0,) * colours, region=region)
        x = torch.zeros(3, colours, *size)
        reduced = coded.reduced(masks)
        assert reduced.dtype == torch.int64 and reduced.shape == (3, 5, size[0] * size[1])
        assert torch.equal(coded.masks(reduced, x), masks)
        assert torch.equal(coded.reduced(coded.masks(reduced, x)), reduced)
        assert torch.equal(coded.decode(reduced, x), coded.decode(masks, x))
        repaired = coded.repair(masks, x)
        assert torch.equal(coded.repair(reduced, x), coded.reduced(repaired)) or region == "everywhere"
        assert torch.equal(coded.decode(coded.repair(reduced, x), x), coded.decode(repaired, x))


def test_places_in_any_order_twice_and_beyond_the_image():
    places = torch.tensor([[[5, 1, 1, 6], [6, -1, 7, 2]]])
    assert Ink((2, 3)).masks(places).tolist() == [
        [[[False, True, False], [False, False, True]], [[False, False, True], [False] * 3]]
    ]


def test_no_ink_at_all_has_both_forms():
    empty = torch.zeros(2, 3, 4, 5, dtype=torch.bool)
    reduced = Ink((4, 5)).reduced(empty)
    assert reduced.shape == (2, 3, 0)
    assert torch.equal(Ink((4, 5)).decode(reduced), torch.ones(2, 3, 1, 4, 5))


# Repair


def test_repair_by_hand():
    full = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    left = Ink(region="center:0.5").repair(full, None)
    assert left[0, 0].int().tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert bool(full.all())  # not changed
    assert Ink().repair(full, None) is full


@given(size=SIZES, seed=st.integers(0, 1000), region=st.sampled_from(["everywhere", "center:0.4", "border:1"]))
def test_repair_twice_is_repair_once_and_adds_nothing(size, seed, region):
    masks, coded = random_masks(2, 5, *size, seed=seed), Ink(size, region=region)
    once = coded.repair(masks, None)
    assert torch.equal(coded.repair(once, None), once)
    assert torch.equal(once, masks & regions.mask(region, *size))
    reduced = coded.repair(coded.reduced(masks), None)
    assert torch.equal(coded.repair(reduced, None), reduced)


def test_what_a_genome_carries_is_kept():
    masks = random_masks(2, 3, 4, 4)
    carried = Labelled(masks, torch.arange(6).view(2, 3), torch.zeros(2, 3, dtype=torch.int64))
    coded = Ink(region="border:1")
    repaired = coded.repair(carried, None)
    assert repaired.label is carried.label and torch.equal(repaired.genes, coded.repair(masks, None))
    assert torch.equal(coded.decode(carried), coded.decode(masks))


# Samples


@pytest.mark.parametrize(
    "region", ["everywhere", "center:0.5", "border:1", "ring:1-1", "not:box:0,0,3,5", "box:2,3,1,1"]
)
def test_a_sample_is_one_pixel_of_the_region_each_as_likely_as_any_other(region):
    masks = Ink((4, 5), region=region).sample(None, 50, many(200))
    assert masks.shape == (200, 50, 4, 5) and masks.dtype == torch.bool
    assert bool((masks.flatten(2).sum(2) == 1).all())
    allowed = regions.mask(region, 4, 5).flatten().numpy()
    found = masks.flatten(0, 1).flatten(1).sum(0).numpy()
    assert found.sum() == 10_000 and not found[~allowed].any() and found[allowed].all()
    if allowed.sum() > 1:
        assert stats.chisquare(found[allowed]).pvalue > 1e-4


def test_the_size_of_a_sample_is_that_of_x_unless_it_is_given():
    x = torch.zeros(3, 1, 4, 6)
    assert Ink().sample(x, 2, stream(3)).shape == (3, 2, 4, 6)
    assert Ink((5, 7)).sample(x, 2, stream(3)).shape == (3, 2, 5, 7)


def test_a_search_alone_and_the_first_members_are_sampled_as_among_the_others():
    coded = Ink((9, 8), region="border:2")
    masks = coded.sample(None, 20, stream(4))
    for row in range(4):
        assert torch.equal(coded.sample(None, 20, stream(4).rows([row])), masks[row : row + 1])
    assert torch.equal(coded.sample(None, 3, stream(4)), masks[:, :3])
    assert len(masks.flatten(0, 1).unique(dim=0)) > 20


@pytest.mark.parametrize(
    "coded", [Ink(), Ink(region="border:1"), Ink(region="center:0.5"), Ink((5, 6)), Ink(canvas=(0.0,), ink=(0.7,))]
)
def test_the_laws_of_encodings(coded):
    contracts.check_encoding(coded)
