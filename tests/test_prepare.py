"""What happens to images between the contract and a model: each step worked out by hand."""

from __future__ import annotations

import pytest
import torch

from evofool.classifiers.support.prepare import Prepare
from evofool.errors import ClassifierError


def image(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([[list(rows)]])


def test_without_a_word_images_stay_as_they_are() -> None:
    images = torch.rand(3, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Prepare()(images), images)


def test_gray_is_repeated_and_colour_becomes_luminance() -> None:
    gray = image([0.25, 0.5])
    assert torch.equal(Prepare(channels=3)(gray), gray.expand(1, 3, 1, 2))
    colour = torch.tensor([1.0, 0.0, 0.0, 1.0]).view(4, 1, 1, 1) * torch.eye(3)[[0, 1, 2, 1]].view(4, 3, 1, 1)
    assert Prepare(channels=1)(colour).flatten().tolist() == pytest.approx([0.299, 0, 0, 0.587])


def test_white_then_mean_then_std() -> None:
    prepare = Prepare(channels=3, white=255.0, mean=(100.0, 0.0, 50.0), std=(2.0, 1.0, 5.0))
    assert prepare(image([0.4]))[0, :, 0, 0].tolist() == pytest.approx([1.0, 102.0, 10.4])
    assert Prepare(mean=(0.5,), std=(0.25,))(image([1.0, 0.5])).flatten().tolist() == [2.0, 0.0]


def test_nearest_repeats_pixels_and_bilinear_keeps_the_mean() -> None:
    small = image([0.0, 1.0], [1.0, 0.0])
    assert Prepare(size=(4, 4), interpolation="nearest")(small)[0, 0].tolist() == [
        [0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0],
    ]  # fmt: skip
    halved = Prepare(size=(2, 2))(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1)))
    assert halved.shape == (1, 1, 2, 2) and 0.2 < float(halved.mean()) < 0.8
    assert Prepare(size=(1, 1))(small).item() == pytest.approx(0.5)


def test_one_dark_pixel_of_many_is_not_lost_when_images_shrink() -> None:
    """Without a look at the pixels between, every second row and column would be thrown away."""
    dark = torch.ones(1, 1, 8, 8)
    dark[0, 0, 3, 3] = 0
    shrunk = Prepare(size=(4, 4))(dark)
    assert float(shrunk.min()) < 0.95


def test_bicubic_stays_in_range() -> None:
    edge = torch.cat([torch.zeros(1, 1, 8, 4), torch.ones(1, 1, 8, 4)], dim=3)
    raised = Prepare(size=(20, 20), interpolation="bicubic")(edge)
    assert float(raised.min()) == 0.0 and float(raised.max()) == 1.0


def test_with_a_crop_the_middle_is_taken_and_proportions_kept() -> None:
    """8 x 16, of which the middle 4 x 4 is wanted at half size: resized to 8 x 16 already, then cut."""
    wide = torch.arange(128.0).view(1, 1, 8, 16) / 128
    cut = Prepare(size=(4, 4), crop=0.5)(wide)
    assert torch.equal(cut, wide[:, :, 2:6, 6:10])


def test_an_image_alone_equals_itself_in_a_batch() -> None:
    images = torch.rand(7, 1, 9, 11, generator=torch.Generator().manual_seed(2))
    prepare = Prepare(channels=3, size=(6, 5), mean=(0.1, 0.2, 0.3), std=(0.5,), crop=0.8, layout="NHWC")
    together = prepare(images)
    assert together.shape == (7, 6, 5, 3)
    for row in range(7):
        assert torch.equal(prepare(images[row : row + 1])[0], together[row])


def test_it_says_what_happens() -> None:
    prepare = Prepare(channels=3, size=(224, 224), mean=(0.5,), crop=0.875, white=255.0)
    assert prepare.about((1, 28, 28)) == (
        "resized to 224 x 224 (bilinear, middle 87.5%), gray repeated in 3 channels, white is 255, normalised"
    )
    assert Prepare(channels=1, size=(8, 8)).about((1, 8, 8)) == ""
    assert Prepare(channels=1).about((3, 8, 8)) == "colour to gray"


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (Prepare(channels=4), "takes 4 channels; expected 1 .gray. or 3"),
        (Prepare(mean=(1.0, 2.0)), "2 values of mean for 1 channels"),
        (Prepare(channels=3, std=(1.0, 2.0)), "2 values of std for 3 channels"),
    ],
)
def test_what_cannot_be_is_refused(prepare: Prepare, words: str) -> None:
    with pytest.raises(ClassifierError, match=words):
        prepare.check((1, 8, 8), "net")
