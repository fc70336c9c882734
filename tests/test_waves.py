"""Images as sums of waves: by hand on two by two pixels, and what holds for images of any size."""

from __future__ import annotations

import math

import pytest
import torch

from evofool.waves import MOST, RINGS, Waves, waves
from fakes import stream

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 16, 16), (3, 10, 12)]
ODD = [(1, 1, 1), (1, 1, 9), (1, 9, 1), (5, 4, 4), (4, 1, 1)]
LARGE = (3, 224, 224)
UNEVEN = [(1, 5, 5), (3, 7, 9), (1, 11, 11), (1, 6, 7), (1, 2, 40), (3, 1, 40)]
CUT = [(2, 1, 40), (1, 300, 2), (3, 32, 32), (2000, 1, 1), LARGE]  # some of whose waves are not kept


def noise(shape: tuple[int, int, int], count: int = 3) -> torch.Tensor:
    return stream(count, seed=8)["noise"].uniform(*shape) - 0.5


def norms(rows: torch.Tensor) -> list[float]:
    return [float(n) for n in rows.flatten(1).double().norm(dim=1)]


# ---- by hand


def test_waves_of_two_by_two_pixels() -> None:
    """Half of: the sum, left less right, above less below, and one diagonal less the other."""
    image = torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]]])
    assert waves((1, 2, 2)).of(image)[0].tolist() == pytest.approx([11 / 2, -3 / 2, -5 / 2, 1 / 2])


def test_the_first_channel_wave_is_what_channels_share() -> None:
    """Of two channels the waves are their sum and their difference, each over the root of 2."""
    basis = waves((2, 2, 2))
    first, second = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    shared, apart = basis.of(torch.stack([first, second])[None]).view(2, 4)
    root = math.sqrt(2)
    assert shared.tolist() == pytest.approx([6 / root, -1 / root, -2 / root, 1 / root])
    assert apart.tolist() == pytest.approx([5 / root, -2 / root, -3 / root, 0.0], abs=1e-6)
    gray = basis.of(torch.stack([first, first])[None]).view(2, 4)
    assert gray[0].tolist() == pytest.approx([11 / root, -3 / root, -5 / root, 1 / root])
    assert gray[1].tolist() == pytest.approx([0.0] * 4, abs=1e-6)


def test_a_constant_image_is_the_slowest_wave_alone() -> None:
    for shape in (*SHAPES, *ODD, *CUT):
        amounts = waves(shape).of(torch.full((1, *shape), 0.5))[0].double()
        assert float(amounts[0]) == pytest.approx(0.5 * math.sqrt(math.prod(shape)), rel=1e-5), shape
        assert float(amounts[1:].norm()) < 1e-5 * float(amounts[0]), shape


def test_slow_waves_come_first_along_each_axis() -> None:
    """One wave more along a row changes sign once more, and so down a column and across channels."""
    basis = waves((4, 8, 16))
    for matrix, length in ((basis.across, 4), (basis.down, 8), (basis.along, 16)):
        turns = (matrix[:, 1:] * matrix[:, :-1] < 0).sum(1)
        assert turns.tolist() == list(range(length))


def test_bands_of_four_by_four_pixels_by_hand() -> None:
    """Speeds along a row and down a column, put together; a band for each of four, and one for the corner."""
    basis = waves((1, 4, 4))
    assert basis.bands.view(4, 4).tolist() == [[0, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 4]]
    assert basis.sizes.tolist() == [1, 3, 5, 6, 1]


def test_what_bands_hold_by_hand() -> None:
    basis = waves((2, 2, 2))
    assert basis.bands.tolist() == [0, 1, 1, 1, 2, 3, 3, 3]
    values = torch.tensor([[1.0, 2, 3, 4, 5, 6, 7, 8], [0, 0, 0, 1, 0, 0, 1, 0]])
    assert basis.by_band(values).tolist() == [[1, 9, 5, 21], [0, 1, 0, 1]]


def test_neighbours_differ_by_hand() -> None:
    """Two channel waves with two bands each: what lies between the second and the third is no neighbourhood."""
    apart = waves((2, 2, 2)).apart
    value = torch.tensor([3.0, 5.0, 100.0, 93.0])
    assert float(value @ apart @ value) == (5 - 3) ** 2 + (93 - 100) ** 2
    assert apart.tolist() == [[1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, -1], [0, 0, -1, 1]]


# ---- laws


@pytest.mark.parametrize("shape", [*SHAPES, *ODD, *CUT])
def test_waves_are_another_way_to_write_a_change(shape: tuple[int, int, int]) -> None:
    """Where all waves are kept, what is taken apart comes together again; lengths stay what they are."""
    basis, changes = waves(shape), noise(shape)
    amounts = basis.of(changes)
    assert amounts.shape == (3, len(basis.bands)) and amounts.dtype == torch.float32
    assert torch.allclose(basis.of(basis.change(amounts)), amounts, atol=2e-5)
    assert (len(basis.bands) == math.prod(shape)) == (shape not in CUT)
    if shape not in CUT:
        assert torch.allclose(basis.change(amounts), changes, atol=2e-5)
        assert norms(amounts) == pytest.approx(norms(changes), rel=1e-5)


def test_each_wave_comes_back_as_itself() -> None:
    """All of them at once: what each holds of the others is 0."""
    basis = waves((3, 6, 8))
    one = torch.eye(len(basis.bands))
    images = basis.change(one)
    assert torch.allclose(images.flatten(1) @ images.flatten(1).T, one, atol=1e-5)
    assert torch.allclose(basis.of(images), one, atol=1e-5)


@pytest.mark.parametrize("shape", [LARGE, (1, 64, 64), (3, 40, 20)])
def test_of_large_images_what_is_slow_is_kept(shape: tuple[int, int, int]) -> None:
    basis, changes = waves(shape), noise(shape, 2)
    assert len(basis.bands) < math.prod(shape), "all waves are kept: this would show nothing"
    kept = basis.change(basis.of(changes))
    assert kept.shape == changes.shape
    assert torch.allclose(basis.of(kept), basis.of(changes), atol=1e-4), "what is kept was kept whole"
    assert all(part < whole for part, whole in zip(norms(kept), norms(changes), strict=True))
    down, along = torch.arange(shape[1]) / shape[1], torch.arange(shape[2]) / shape[2]
    ramp = (down[:, None] + along).expand(1, *shape)
    assert norms(basis.change(basis.of(ramp)) - ramp)[0] < 0.03 * norms(ramp)[0], "a ramp is slow"
    checks = ((torch.arange(shape[1])[:, None] + torch.arange(shape[2])) % 2 * 2.0 - 1).expand(1, *shape)
    if shape[1] > len(basis.down) and shape[2] > len(basis.along):
        assert norms(basis.of(checks))[0] < 0.2 * norms(checks)[0], "a chess board is fast"


@pytest.mark.parametrize("shape", [*SHAPES, *ODD, *CUT, (2000, 2, 2), (1, 5000, 1)])
def test_there_are_no_more_waves_than_stated_and_each_is_in_one_band(shape: tuple[int, int, int]) -> None:
    basis = waves(shape)
    number = len(basis.across) * len(basis.down) * len(basis.along)
    assert 1 <= number <= min(MOST, math.prod(shape)) and basis.bands.shape == (number,)
    bands = len(basis.sizes)
    assert basis.apart.shape == (bands, bands) and int(basis.sizes.min()) > 0 and int(basis.sizes.sum()) == number
    assert basis.bands.bincount(minlength=bands).tolist() == basis.sizes.tolist()
    everything = torch.ones(2, number)
    assert basis.by_band(everything).tolist() == [basis.sizes.tolist()] * 2
    image = basis.change(everything)
    assert image.shape == (2, *shape) and bool(image.isfinite().all())
    assert basis.of(image).shape == (2, number)


def channel_of(basis: Waves) -> list[set[int]]:
    """By band, the channel waves whose waves it has."""
    channel = torch.arange(len(basis.across)).repeat_interleave(len(basis.down) * len(basis.along))
    return [set(channel[basis.bands == band].tolist()) for band in range(len(basis.sizes))]


@pytest.mark.parametrize("shape", [(3, 16, 16), (5, 4, 4), (3, 32, 32), (2, 1, 40), (4, 1, 1)])
def test_channel_waves_share_no_band(shape: tuple[int, int, int]) -> None:
    basis = waves(shape)
    found = channel_of(basis)
    assert all(len(channels) == 1 for channels in found)
    each = [min(channels) for channels in found]
    assert each == sorted(each) and set(each) == set(range(shape[0]))
    assert all(each.count(channel) == each.count(0) for channel in set(each)), "all channel waves are cut alike"


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 10, 12), (3, 32, 32), LARGE])
def test_a_band_holds_waves_that_are_about_as_fast(shape: tuple[int, int, int]) -> None:
    """Farther out means faster; the waves of a band differ by less than a fourth of the fastest along a side."""
    basis = waves(shape)
    down, along = len(basis.down), len(basis.along)
    speed = torch.hypot(torch.arange(down)[:, None].float(), torch.arange(along).float()).flatten()
    first = basis.bands[: down * along]
    slowest, fastest = zip(*((speed[first == band].aminmax()) for band in range(int(first.max()) + 1)), strict=True)
    assert all(float(high - low) < max(down, along) / RINGS for low, high in zip(slowest, fastest, strict=True))
    assert all(float(high) < float(low) for high, low in zip(fastest[:-1], slowest[1:], strict=True))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 16), (5, 4, 4), (1, 1, 1), (4, 1, 1), (1, 9, 1)])
def test_how_far_bands_are_apart_is_the_sum_of_squared_differences(shape: tuple[int, int, int]) -> None:
    basis = waves(shape)
    each = [min(channels) for channels in channel_of(basis)]
    value = (stream(1)["value"].uniform(len(each))[0] * 8).round()
    steps = sum(
        float(value[n + 1] - value[n]) ** 2 for n in range(len(each) - 1) if each[n] == each[n + 1]
    )  # bands stand in the order of channel waves, and of speed within each
    assert float(value @ basis.apart @ value) == pytest.approx(steps)
    level = torch.tensor(each).float() * 7 - 3
    assert float(level @ basis.apart @ level) == 0, "a constant in each channel wave has no differences"
    assert torch.equal(basis.apart, basis.apart.T)


@pytest.mark.parametrize("shape", [*SHAPES, *ODD, *UNEVEN, (3, 32, 32), LARGE, (1, 6, 6)])
def test_an_image_alone_is_that_image_in_a_batch(shape: tuple[int, int, int]) -> None:
    basis, count = waves(shape), 4 if shape == LARGE else 17
    changes = noise(shape, count)
    amounts = basis.of(changes)
    images, sums = basis.change(amounts), basis.by_band(amounts)
    for rows in ([0], [count - 1], [2, 0], list(range(count))[::-1], list(range(1, count))):
        assert torch.equal(basis.of(changes[rows]), amounts[rows]), rows
        assert torch.equal(basis.change(amounts[rows]), images[rows]), rows
        assert torch.equal(basis.by_band(amounts[rows]), sums[rows]), rows


def test_the_waves_of_a_shape_are_made_once() -> None:
    assert waves((1, 8, 8)) is waves((1, 8, 8)) and waves((1, 8, 8)) is not waves((1, 8, 9))
