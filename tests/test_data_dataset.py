"""The front door, the embedded digits, and what is worked out from images: fingerprint, background, a split."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from data_files import image_bytes, refused, some_images, write_folder, write_idx_pair, write_zip
from evofool.contracts import Dataset
from evofool.data import background, fingerprint, load_data, split_off
from evofool.data import dataset as dataset_module


def made(labels: list[int] | np.ndarray, k: int, seed: int = 0) -> Dataset:
    """A data set with these labels; each image tells its place."""
    labels = torch.as_tensor(np.asarray(labels))
    images = torch.arange(len(labels)).to(torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    names = tuple(str(label) for label in range(k))
    return Dataset(images, labels, names, "made", fingerprint(images, labels, names), 0.25)


# ---- the front door


def test_the_same_images_are_the_same_data_in_every_form(tmp_path: Path):
    images, labels = some_images(6, 5, 4), np.array([0, 0, 1, 1, 1, 2])
    files = {f"{label}/{index}.png": image for index, (image, label) in enumerate(zip(images, labels, strict=True))}
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    specs = [
        write_idx_pair(tmp_path / "idx", images, labels),
        tmp_path / "idx",
        write_folder(tmp_path / "folder", files),
        write_zip(tmp_path / "set.zip", files),
        tmp_path / "set.npz",
    ]
    for options in ({}, {"channels": 3}, {"size": (3, 7)}, {"size": (5, 8)}, {"size": (10, 8), "channels": 3}):
        prints = {str(spec): load_data(str(spec), **options).fingerprint for spec in specs}  # type: ignore[arg-type]
        assert len(set(prints.values())) == 1, (options, prints)


def test_colour_is_made_gray_alike_in_arrays_and_files(tmp_path: Path):
    images = some_images(40, 5, 4, 3)
    files = {f"{index % 2}/{index:02}.png": image for index, image in enumerate(images)}
    order = [*range(0, 40, 2), *range(1, 40, 2)]
    np.savez(tmp_path / "set.npz", images=images[order], labels=np.arange(40) // 20)
    folder = load_data(str(write_folder(tmp_path / "folder", files)), channels=1, size=(4, 3))
    assert load_data(str(tmp_path / "set.npz"), channels=1, size=(4, 3)).fingerprint == folder.fingerprint


def test_unknown_data_is_refused_with_the_nearest_name(tmp_path: Path):
    refused("'minst'", "did you mean 'mnist'?", "digits", call=lambda: load_data("minst"))
    refused(str(tmp_path / "gone"), "no known name", "path", call=lambda: load_data(str(tmp_path / "gone")))
    refused("'nul\\x00l'", call=lambda: load_data("nul\0l"))
    refused("a" * 300, "File name too long", call=lambda: load_data("a" * 300))


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    path = tmp_path / "cat.png"
    path.write_bytes(image_bytes(some_images(1, 3, 3)[0]))
    refused(str(path), "no kind known here", "give its folder", call=lambda: load_data(str(path)))
    path = tmp_path / "set.tar.gz"
    path.write_bytes(b"x")
    refused(str(path), "no gzip file", call=lambda: load_data(str(path)))


def test_settings_that_no_image_can_have_are_refused():
    refused("split 'tst'", "'test'", call=lambda: load_data("digits", split="tst"))  # type: ignore[arg-type]
    refused("channels 4", "1 (gray)", call=lambda: load_data("digits", channels=4))  # type: ignore[arg-type]
    refused("(0, 28)", "at least 1 pixel", call=lambda: load_data("digits", size=(0, 28)))
    refused("(9000, 9000)", "64,000,000", call=lambda: load_data("digits", size=(9000, 9000)))


def test_more_than_memory_holds_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dataset_module, "MAX_BYTES", 1000 * 28 * 28)
    assert len(load_data("digits")) == 1000
    refused("digits", "1000 images", "GB", "smaller size", call=lambda: load_data("digits", size=(28, 29)))


def test_a_name_wins_over_a_folder_and_a_path_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_folder(tmp_path / "digits", {"a/1.png": some_images(1, 3, 3)[0], "b/1.png": some_images(1, 3, 3)[0]})
    monkeypatch.chdir(tmp_path)
    assert load_data("digits").name == "digits test"
    assert load_data("./digits").name == "digits all"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_data("~/digits").name == "digits all"


# ---- the embedded digits


def test_digits_are_split_by_their_place_and_nothing_else():
    every = load_digits()
    test_places = [i for i in range(1797) if (i + 1) * 1000 // 1797 > i * 1000 // 1797]
    train_places = [i for i in range(1797) if i not in set(test_places)]
    train, test = load_data("digits", split="train"), load_data("digits")
    assert train.images.shape == (797, 1, 28, 28)
    assert test.images.shape == (1000, 1, 28, 28)
    assert train.labels.tolist() == every.target[train_places].tolist()
    assert test.labels.tolist() == every.target[test_places].tolist()
    assert test.class_names == tuple("0123456789")
    assert min(torch.bincount(test.labels)) >= 95
    assert min(torch.bincount(train.labels)) >= 70
    # The images are scikit-learn's, enlarged: torch's bilinear interpolation in float differs by no more than the
    # three roundings here (to bytes, across, down).
    levels = torch.from_numpy(every.images[test_places])[:, None] * (255 / 16)
    enlarged = torch.nn.functional.interpolate(levels, size=(28, 28), mode="bilinear", align_corners=False)
    assert (enlarged - test.images).abs().max() <= 1.5


def test_gray_levels_of_digits_span_all_bytes():
    raw = load_data("digits", size=(8, 8)).images[0, 0].numpy()
    first = next(i for i in range(1797) if (i + 1) * 1000 // 1797 > 0)
    assert raw.tolist() == np.rint(load_digits().images[first] * 255 / 16).astype(int).tolist()
    assert load_data("digits", split="train", size=(8, 8)).images.max() == 255


def test_digits_are_the_same_in_a_fresh_interpreter():
    code = "from evofool.data import load_data; print(load_data('digits').fingerprint)"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    fresh = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout
    # Written down, because shipped classifiers name the data that they were trained on by it.
    assert fresh.strip() == load_data("digits").fingerprint == DIGITS_TEST


DIGITS_TEST = "a1dd76a9cec48807ae2c04fe97fdecd3b5a6bdd57f19e3cd907b524f94208579"


# ---- fingerprint and background


def test_a_fingerprint_is_a_sha256_that_tells_every_part():
    images = torch.from_numpy(some_images(3, 1, 2, 4))
    labels = torch.tensor([0, 1, 0])
    names = ("a", "b")
    same = fingerprint(images.clone(), labels.to(torch.int32), list(names))
    assert len(same) == 64
    changed = images.clone()
    changed[2, 0, 1, 3] ^= 1
    others = [
        fingerprint(changed, labels, names),
        fingerprint(images.reshape(3, 1, 4, 2), labels, names),
        fingerprint(images, 1 - labels, names),
        fingerprint(images, labels, ("a", "c")),
        fingerprint(images, labels, ("a", "b", "c")),
        fingerprint(images[:2], labels[:2], names),
    ]
    assert len({same, *others}) == 7
    assert fingerprint(images, labels, names) == same
    # A view that is not contiguous counts as what it shows.
    assert fingerprint(images.transpose(2, 3), labels, names) == fingerprint(
        images.transpose(2, 3).contiguous(), labels, names
    )


def test_a_fingerprint_can_be_worked_out_by_hand():
    images, labels = torch.tensor([[[[7]]], [[[9]]]], dtype=torch.uint8), torch.tensor([1, 0])
    content = b'{"class_names": ["a", "b"], "shape": [2, 1, 1, 1]}\n' + bytes([7, 9])
    content += bytes([1, 0, 0, 0, 0, 0, 0, 0]) + bytes(8)
    assert fingerprint(images, labels, ("a", "b")) == hashlib.sha256(content).hexdigest()


def test_the_background_is_the_most_frequent_level_on_the_border():
    images = torch.full((2, 1, 5, 5), 200, dtype=torch.uint8)
    images[:, :, 1:-1, 1:-1] = 9  # never on the border
    assert background(images) == 200 / 255
    # 16 border pixels each: 17 of the 32 are turned.
    images[0, 0, 0], images[0, 0, -1], images[0, 0, :, 0], images[0, 0, :, -1] = 50, 50, 50, 50
    assert background(images) == 50 / 255  # 16 against 16: the darker
    images[1, 0, 0, 0] = 0
    assert background(images) == 50 / 255
    images[0, 0, 4, 4] = images[0, 0, 4, 0] = 200
    assert background(images) == 200 / 255


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (2, 2)])
def test_an_image_that_is_all_border_has_a_background_and_counts_once(shape: tuple[int, int]):
    images = torch.zeros(1, 1, *shape, dtype=torch.uint8)
    images[0, 0, -1, -1] = 255
    assert background(images) == (1.0 if shape == (1, 1) else 0.0)
    images[:] = 255
    images[0, 0, 0, 0] = 0
    assert background(images) == (0.0 if shape == (1, 1) else 1.0)


def test_corners_count_once():
    images = torch.full((1, 1, 3, 3), 50, dtype=torch.uint8)
    images[0, 0, ::2, ::2] = 200  # four corners against four sides: the darker
    assert background(images) == 50 / 255
    images[0, 0, 0, 1] = 200
    assert background(images) == 200 / 255


def test_colours_count_by_their_luma():
    images = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    images[:, 0] = 255
    assert background(images) == 76 / 255  # 0.299 of 255


@given(st.integers(0, 2**24 - 1))
def test_luma_is_pillows(colour: int):
    rgb = np.array([colour >> 16, colour >> 8 & 255, colour & 255], np.uint8)
    expected = Image.fromarray(rgb[None, None]).convert("L").getpixel((0, 0))
    assert dataset_module.gray(rgb[None, :, None, None]).item() == expected


# ---- splitting off


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.integers(0, 2**32), st.data())
def test_splitting_off_shares_out_every_image_in_proportion(labels: list[int], seed: int, data: st.DataObject):
    whole = made(labels, 5)
    n = data.draw(st.integers(1, len(labels) - 1))
    rest, held = split_off(whole, n, seed)
    assert len(held) == n
    assert sorted(rest.images[:, 0, 0, 0].tolist() + held.images[:, 0, 0, 0].tolist()) == list(range(len(labels)))
    for part in (rest, held):
        places = part.images[:, 0, 0, 0].long()
        assert places.tolist() == sorted(places.tolist())
        assert part.labels.tolist() == whole.labels[places].tolist()
        assert part.class_names == whole.class_names
        assert part.background == whole.background
        assert part.fingerprint == fingerprint(part.images, part.labels, part.class_names)
    exact = torch.bincount(whole.labels, minlength=5) * n / len(labels)
    assert ((torch.bincount(held.labels, minlength=5) - exact).abs() < 1).all()


def test_splitting_off_rounds_by_largest_remainder():
    # 5 of (4, 4, 2) is (2, 2, 1); 4 is (1.6, 1.6, 0.8): the last comes first, then the first.
    whole = made([0] * 4 + [1] * 4 + [2] * 2, 3)
    assert torch.bincount(split_off(whole, 5, 0)[1].labels).tolist() == [2, 2, 1]
    assert torch.bincount(split_off(whole, 4, 0)[1].labels, minlength=3).tolist() == [2, 1, 1]


def test_splitting_off_depends_on_the_seed_alone():
    whole = made(np.arange(200) % 2, 2)
    first = split_off(whole, 50, 1)[1]
    assert split_off(whole, 50, 1)[1].fingerprint == first.fingerprint
    others = {split_off(whole, 50, seed)[1].fingerprint for seed in range(2, 12)}
    assert len(others | {first.fingerprint}) == 11
    # Every image is as likely as any other: 25 of 100 in each class, over 400 seeds within 5 sigma.
    counts = sum(
        torch.bincount(split_off(whole, 50, s)[1].images[:, 0, 0, 0].long(), minlength=200) for s in range(400)
    )
    assert (counts - 100).abs().max() < 5 * (400 * 0.25 * 0.75) ** 0.5


@pytest.mark.parametrize("n", [-1, 0, 4, 5000])
def test_more_than_there_is_cannot_be_split_off(n: int):
    whole = replace(made([0, 1, 0, 1], 2), name="small")
    refused("small", f"{n:,} of its 4 images", "1 to 3", "hold out fewer", call=lambda: split_off(whole, n, 0))


def test_the_real_split_for_training_is_in_proportion(real_data: Path):
    if not (real_data / "mnist").is_dir():
        pytest.skip(f"no mnist/ in {real_data}")
    train = load_data("mnist", split="train", data_dir=real_data)
    rest, held = split_off(train, 5000, 0)
    assert (len(rest), len(held)) == (55_000, 5_000)
    assert ((torch.bincount(held.labels) - torch.bincount(train.labels) / 12).abs() < 1).all()
