"""Regions: each form by hand on small images, what is refused and in which words, and when each holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evofool import regions
from evofool.errors import SpecError
from evofool.regions import Phase, phases


def seen(region: str, height: int, width: int) -> str:
    """The mask of a region: # is in it, a slash ends a row."""
    mask = regions.mask(region, height, width)
    assert mask.dtype == torch.bool and mask.shape == (height, width)
    return "/".join("".join("#" if pixel else "." for pixel in row) for row in mask.tolist())


def refused(region: str, height: int = 4, width: int = 5) -> str:
    with pytest.raises(SpecError) as caught:
        regions.mask(region, height, width)
    message = str(caught.value)
    assert "\n" not in message and caught.value.exit_code == 2
    return message


def test_steps_to_the_border_by_hand():
    assert regions.steps_to_border(4, 5).tolist() == [[0] * 5, [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0] * 5]
    assert regions.steps_to_border(5, 5)[2].tolist() == [0, 1, 2, 1, 0]
    for size in ((1, 6), (6, 1), (2, 3)):
        assert not bool(regions.steps_to_border(*size).any())


@given(st.integers(1, 12), st.integers(1, 12))
def test_steps_to_the_border_as_counted(height, width):
    steps = regions.steps_to_border(height, width)
    for row in range(height):
        for column in range(width):
            assert steps[row, column] == min(row, column, height - 1 - row, width - 1 - column)


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("everywhere", "#####/#####/#####/#####"),
        ("center:0.5", "...../.##../.##../....."),
        ("center:.2", "...../..#../...../....."),
        ("center:0.001", "...../..#../...../....."),  # one pixel at least
        ("center:1", "#####/#####/#####/#####"),
        ("center:1.0", "#####/#####/#####/#####"),
        ("border:1", "#####/#...#/#...#/#####"),
        ("border:2", "#####/#####/#####/#####"),
        ("ring:0-0", "#####/#...#/#...#/#####"),
        ("ring:1-1", "...../.###./.###./....."),
        ("ring:1-9", "...../.###./.###./....."),
        ("ring:0-1", "#####/#####/#####/#####"),
        ("box:1,2,2,3", "...../..###/..###/....."),
        ("box:0,0,4,5", "#####/#####/#####/#####"),
        ("box:3,4,1,1", "...../...../...../....#"),
        ("not:border:1", "...../.###./.###./....."),
        ("not:not:box:0,0,1,2", "##.../...../...../....."),
        (" everywhere ", "#####/#####/#####/#####"),
    ],
)
def test_each_form_by_hand(region, expected):
    assert seen(region, 4, 5) == expected


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("size", [8, 9, 32])
def test_the_center_is_in_the_middle(share, size):
    mask = regions.mask(f"center:{share}", size, size)
    rows = mask.any(1).nonzero().flatten().tolist()
    assert len(rows) == max(1, round(share * size)) and int(mask.sum()) == len(rows) ** 2
    before, behind = rows[0], size - 1 - rows[-1]
    assert behind - before in (0, 1)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5), st.integers(0, 5))
def test_rings_border_and_its_opposite_agree_with_the_steps(height, width, first, last):
    steps = regions.steps_to_border(height, width)
    wanted = {
        f"border:{last}": steps < last,
        f"ring:{first}-{last}": (steps >= first) & (steps <= last),
        f"not:border:{last}": steps >= last,
    }
    for region, expected in wanted.items():
        if bool(expected.any()):
            assert torch.equal(regions.mask(region, height, width), expected)
        else:
            assert f"has no pixel of an image of {height} x {width}" in refused(region, height, width)


@pytest.mark.parametrize(
    "region", ["border:0", "ring:2-9", "ring:1-0", "box:1,1,0,3", "not:everywhere", "not:border:2"]
)
def test_a_region_without_a_pixel(region):
    assert refused(region) == f"region {region}: has no pixel of an image of 4 x 5; expected at least one"


@pytest.mark.parametrize(
    ("region", "near"),
    [("centre:0.5", "center"), ("boarder:4", "border"), ("rings:1-2", "ring"), ("everwhere", "everywhere")],
)
def test_an_unknown_form_names_the_nearest(region, near):
    message = refused(region)
    assert message.startswith(f"region '{region}': expected everywhere, center:0.5,")
    assert f"did you mean '{near}'?" in message


@pytest.mark.parametrize(
    "region",
    [
        "center", "center:", "center:0", "center:0.0", "center:1.5", "center:-0.5", "center:half", "center:0.5:2",
        "border", "border:-1", "border:1.5", "ring:2", "ring:2-", "ring:a-b", "box:1,2,3", "box:1,2,3,4,5",
        "box:-1,0,2,2", "everywhere:1", "not", "not:", "", "nan",
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense(region):
    message = refused(region)
    assert (
        "expected everywhere, center:0.5, border:4, ring:2-5, box:TOP,LEFT,HEIGHT,WIDTH, mask:FILE or not:" in message
    )


@pytest.mark.parametrize(("region", "row", "column"), [("box:3,0,2,2", 5, 2), ("box:0,4,1,2", 1, 6)])
def test_a_box_beyond_the_image(region, row, column):
    assert refused(region) == f"region {region}: reaches row {row} and column {column} of an image of 4 x 5"


# Masks in files

LEVELS = np.array([[0, 127, 128, 255], [255, 0, 0, 200]], dtype=np.uint8)
LIGHT = "..##/#..#"


@pytest.mark.parametrize("name", ["mask.png", "mask.bmp", "with space.png", "me@home.png"])
def test_a_mask_file_by_hand(tmp_path, name):
    Image.fromarray(LEVELS).save(tmp_path / name)
    assert seen(f"mask:{tmp_path / name}", 2, 4) == LIGHT
    assert seen(f"not:mask:{tmp_path / name}", 2, 4) == "##../.##."


def test_masks_in_colour_of_one_bit_and_of_16_bits(tmp_path):
    Image.fromarray(LEVELS).convert("RGB").save(tmp_path / "colour.png")
    Image.fromarray(LEVELS > 127).save(tmp_path / "bit.png")
    Image.fromarray(LEVELS.astype(np.uint16) * 257).save(tmp_path / "16.png")
    with Image.open(tmp_path / "16.png") as picture:
        assert picture.mode.startswith("I;16")
    for name in ("colour", "bit", "16"):
        assert seen(f"mask:{tmp_path / name}.png", 2, 4) == LIGHT, name


def test_a_mask_of_another_size(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(LEVELS).save(path)
    message = refused(f"mask:{path}", 4, 2)  # its rows and columns exchanged
    assert message == f"region mask:{path}: has 2 x 4 pixels (height x width), expected 4 x 2"


def test_a_mask_without_a_light_pixel(tmp_path):
    path = tmp_path / "black.png"
    Image.fromarray(LEVELS // 3).save(path)
    assert "has no pixel of an image of 2 x 4" in refused(f"mask:{path}", 2, 4)


def test_files_that_are_no_masks(tmp_path):
    assert refused(f"mask:{tmp_path / 'none.png'}").endswith("none.png: No such file or directory")
    assert refused(f"mask:{tmp_path}").endswith("Is a directory")
    (tmp_path / "text.png").write_text("not an image")
    assert refused(f"mask:{tmp_path / 'text.png'}").endswith("text.png: is not an image")
    Image.fromarray(np.arange(9000, dtype=np.uint8).reshape(90, 100)).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    for cut in (20, 60, len(content) // 2):
        (tmp_path / "cut.png").write_bytes(content[:cut])
        assert refused(f"mask:{tmp_path / 'cut.png'}", 90, 100).endswith("cut.png: is not an image")


# Phases


def test_the_middle_first_then_everywhere():
    found = phases(["center:0.5@0-3000"], 3400)
    assert found == (Phase("center:0.5", 3000), Phase("everywhere", 3400))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], [("everywhere", 10)]),
        (["border:2"], [("border:2", 10)]),
        (["border:2@0-"], [("border:2", 10)]),
        (["border:2@0-10"], [("border:2", 10)]),
        (["border:2@0-9"], [("border:2", 9), ("everywhere", 10)]),
        (["border:2@0-0"], [("border:2", 0), ("everywhere", 10)]),
        (["border:2@0-3", "ring:1-2"], [("border:2", 3), ("ring:1-2", 10)]),
        (["border:2@0-3", "ring:1-2@4-"], [("border:2", 3), ("ring:1-2", 10)]),
        (["border:2@0-3", "everywhere@4-5", "box:0,0,1,1@6-8"],
         [("border:2", 3), ("everywhere", 5), ("box:0,0,1,1", 8), ("everywhere", 10)]),
        # A search that is shorter than what was planned.
        (["border:2@0-30"], [("border:2", 10)]),
        (["border:2@0-10", "ring:1-2@11-20"], [("border:2", 10)]),
        (["border:2@0-30", "ring:1-2"], [("border:2", 10)]),
        (["mask:a@b/c.png"], [("mask:a@b/c.png", 10)]),
        (["mask:a@b/c.png@0-4"], [("mask:a@b/c.png", 4), ("everywhere", 10)]),
    ],
)  # fmt: skip
def test_phases_by_hand(texts, expected):
    assert phases(texts, 10) == tuple(Phase(*phase) for phase in expected)
    assert phases(tuple(texts), 10) == phases(texts, 10)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["border:2@1-5"], "region border:2@1-5: begins in generation 1; expected 0"),
        (["border:2@0-3", "ring:1-2@5-8"], "begins in generation 5; expected 4"),  # a gap
        (["border:2@0-3", "ring:1-2@3-8"], "begins in generation 3; expected 4"),  # an overlap
        (["border:2@0-20", "ring:1-2@15-30"], "begins in generation 15; expected 21"),  # behind the end too
        (["border:2@0-3", "ring:1-2@4-2"], "ring:1-2@4-2: ends in generation 2; expected 4 or later"),
        (["border:2", "ring:1-2"], "region ring:1-2: the one before it has no end"),
        (["border:2@0-", "ring:1-2@4-5"], "region ring:1-2@4-5: the one before it has no end"),
        (["border:2@"], "expected REGION@FIRST-LAST in generations, such as center:0.5@0-3000"),
        (["border:2@5"], "expected REGION@FIRST-LAST"),
        (["border:2@-5"], "expected REGION@FIRST-LAST"),
        (["border:2@0-1.5"], "expected REGION@FIRST-LAST"),
        (["border:2@a-b"], "expected REGION@FIRST-LAST"),
    ],
)
def test_phases_that_do_not_follow_one_another(texts, words):
    with pytest.raises(SpecError) as caught:
        phases(texts, 10)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@given(st.lists(st.integers(1, 6), max_size=5), st.integers(0, 20))
def test_phases_cover_every_generation_once(lengths, generations):
    texts, begins = [], 0
    for number, length in enumerate(lengths):
        texts.append(f"border:{number + 1}@{begins}-{begins + length - 1}")
        begins += length
    found = phases(texts, generations)
    lasts = [phase.last for phase in found]
    assert lasts == sorted(set(lasts)) and lasts[-1] == generations
    for generation in range(generations + 1):
        holds = next(phase.region for phase in found if generation <= phase.last)
        steps = np.cumsum(lengths)
        planned = int((steps <= generation).sum())
        assert holds == (f"border:{planned + 1}" if planned < len(lengths) else "everywhere")
