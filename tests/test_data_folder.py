"""Image folders and zips of them give the same data set, and every wrong one is refused in one line."""

from __future__ import annotations

import os
import stat
import struct
import tempfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_files import image_bytes, refused, some_images, write_folder, write_zip
from evofool.data import dataset as dataset_module
from evofool.data import folder as folder_module
from evofool.data import load_data, split_off
from evofool.errors import DataError

GRAY = some_images(6, 5, 4)
COLOUR = some_images(6, 5, 4, 3, seed=1)
Write = Callable[..., Path]


@pytest.fixture(params=["directory", "zip", "deflated zip", "zip with a root", "directory with a root"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Writes files in one of the forms that must all read alike."""

    def make(files: dict[str, np.ndarray | bytes]) -> Path:
        if "root" in request.param:
            files = {f"pictures/{name}": content for name, content in files.items()}
        if "zip" in request.param:
            kind = zipfile.ZIP_DEFLATED if "deflated" in request.param else zipfile.ZIP_STORED
            return write_zip(tmp_path / "set.zip", files, kind)
        return write_folder(tmp_path / "set", files)

    return make


def test_class_folders_are_read_in_the_order_of_their_names(write: Write):
    path = write({"dog/b.png": GRAY[0], "cat/2.png": GRAY[1], "dog/a.png": GRAY[2], "cat/10.png": GRAY[3]})
    dataset = load_data(str(path))
    assert dataset.class_names == ("cat", "dog")
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    assert dataset.labels.dtype == torch.int64
    assert dataset.images.dtype == torch.uint8
    assert np.array_equal(dataset.images[:, 0].numpy(), GRAY[[3, 1, 2, 0]])
    assert dataset.name == "set all"
    assert load_data(str(path), split="train").fingerprint == dataset.fingerprint


def test_a_class_has_one_number_in_both_splits(write: Write):
    path = write(
        {"train/a/1.png": GRAY[0], "train/b/1.png": GRAY[1], "train/c/1.png": GRAY[2], "test/c/1.png": GRAY[3]}
    )
    train, test = (load_data(str(path), split=split) for split in ("train", "test"))
    assert train.class_names == test.class_names == ("a", "b", "c")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 2], [2])
    assert np.array_equal(test.images[0, 0].numpy(), GRAY[3])
    assert (train.name, test.name) == ("set train", "set test")


def test_hidden_files_and_files_that_are_no_images_are_left_out(write: Write):
    path = write(
        {
            "cat/1.png": GRAY[0], "cat/.DS_Store": b"x", "cat/._1.png": b"x", "cat/notes.txt": b"x",
            "dog/1.png": GRAY[1], ".hidden/1.png": b"x", "__MACOSX/cat/1.png": b"x", "README.md": b"x",
        }
    )  # fmt: skip
    dataset = load_data(str(path))
    assert dataset.class_names == ("cat", "dog")
    assert len(dataset) == 2


def test_colour_is_kept_and_one_image_in_colour_makes_all_so(write: Write):
    path = write({"a/1.png": GRAY[0], "b/1.png": COLOUR[0], "b/2.png": GRAY[1]})
    images = load_data(str(path)).images.numpy()
    assert images.shape == (3, 3, 5, 4)
    assert np.array_equal(images[0], np.stack([GRAY[0]] * 3))
    assert np.array_equal(images[1], COLOUR[0].transpose(2, 0, 1))
    assert np.array_equal(images[2], np.stack([GRAY[1]] * 3))


def test_channels_are_made_as_asked(write: Write):
    path = write({"a/1.png": GRAY[0], "b/1.png": COLOUR[0]})
    luma = np.asarray(Image.fromarray(COLOUR[0]).convert("L"))
    assert np.array_equal(load_data(str(path), channels=1).images[:, 0].numpy(), np.stack([GRAY[0], luma]))
    path = write({"a/1.png": GRAY[0], "b/1.png": GRAY[1]})
    assert np.array_equal(load_data(str(path), channels=3).images[0].numpy(), np.stack([GRAY[0]] * 3))


def test_images_of_any_size_are_resized_as_asked(write: Write):
    large = np.kron(GRAY[0], np.ones((2, 2), np.uint8))
    path = write({"a/1.png": large, "b/1.png": GRAY[1]})
    images = load_data(str(path), size=(5, 4)).images.numpy()
    assert images.shape == (2, 1, 5, 4)
    assert np.array_equal(images[0, 0], np.asarray(Image.fromarray(large).resize((4, 5), Image.Resampling.BILINEAR)))
    assert np.array_equal(images[1, 0], GRAY[1])


def test_what_images_were_before_they_were_brought_to_one_shape_is_kept(write: Write):
    path = write({"a/1.png": np.kron(GRAY[0], np.ones((2, 3), np.uint8)), "b/1.png": COLOUR[1], "b/2.png": GRAY[2]})
    dataset = load_data(str(path), size=(5, 4), channels=1)
    assert dataset.found == ((1, 10, 12), (3, 5, 4), (1, 5, 4))
    _, held = split_off(dataset, 1, seed=0)
    (place,) = (row for row in range(3) if torch.equal(dataset.images[row], held.images[0]))
    assert held.found == (dataset.found[place],) and held.files == (dataset.files[place],)


def test_nothing_is_said_of_images_that_are_as_they_were(write: Write):
    path = write({"a/1.png": GRAY[0], "b/1.png": GRAY[1]})
    assert load_data(str(path)).found == load_data(str(path), size=(5, 4), channels=1).found == ()
    assert load_data(str(path), size=(6, 4)).found == ((1, 5, 4), (1, 5, 4))


def test_shrinking_is_antialiased(tmp_path: Path):
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    path = write_folder(tmp_path, {"a/1.png": board, "b/1.png": board})
    # Without antialiasing single pixels would come through, 0 or 255.
    assert np.abs(load_data(str(path), size=(8, 8)).images.numpy().astype(int) - 127.5).max() < 20


def test_formats_and_modes_are_brought_to_bytes(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    Image.fromarray(GRAY[0] > 127).save(tmp_path / "a" / "1bit.png")
    Image.fromarray(np.array([[0, 257, 65535, 32768]] * 5, np.uint16)).save(tmp_path / "a" / "2bytes.png")
    clear = np.zeros((5, 4, 4), np.uint8)
    clear[0, 0] = (0, 0, 0, 255)
    Image.fromarray(clear).save(tmp_path / "b" / "alpha.png")
    Image.fromarray(clear[..., 2:]).save(tmp_path / "b" / "alpha_gray.png")
    Image.fromarray(GRAY[1]).save(tmp_path / "b" / "bitmap.BMP")
    Image.fromarray(GRAY[2]).save(tmp_path / "b" / "graymap.pgm")
    images = load_data(str(tmp_path), channels=1).images[:, 0].numpy()
    assert np.array_equal(images[0], (GRAY[0] > 127) * np.uint8(255))
    assert images[1, 0].tolist() == [0, 1, 255, 128]
    on_white = np.full((5, 4), 255)
    on_white[0, 0] = 0
    assert np.array_equal(images[2], on_white)
    assert np.array_equal(images[3], on_white)
    assert np.array_equal(images[4], GRAY[1])
    assert np.array_equal(images[5], GRAY[2])


def test_progress_is_told_to_the_end(write: Write):
    told: list[tuple[str, int, int]] = []
    path = write({"a/1.png": GRAY[0], "b/1.png": GRAY[1]})
    load_data(str(path), progress=lambda *step: told.append(step))
    assert told == [(f"reading {path.name}", 2, 2)]


def test_a_link_to_a_class_folder_on_disk_is_followed(tmp_path: Path):
    write_folder(tmp_path / "elsewhere", {"1.png": GRAY[0]})
    path = write_folder(tmp_path / "set", {"a/1.png": GRAY[1]})
    (path / "b").symlink_to(tmp_path / "elsewhere")
    assert load_data(str(path)).class_names == ("a", "b")


IMAGE = GRAY[0]
LAYOUTS: dict[str, tuple[dict[str, np.ndarray | bytes], tuple[str, ...]]] = {
    "no class folder": (
        {"1.png": IMAGE, "2.png": IMAGE},
        ("holds 2 images but no folder", "one folder per class", "sort the images into folders"),
    ),
    "nothing but other files": ({"notes.txt": b"x"}, ("holds no folder and no image", "sort the images")),
    "one class": ({"cat/1.png": IMAGE}, ("one class folder, 'cat'", "two or more", "add a folder")),
    "one class in both splits": (
        {"train/cat/1.png": IMAGE, "test/cat/1.png": IMAGE},
        ("one class folder, 'cat'", "two or more"),
    ),
    "a class without images": (
        {"cat/1.png": IMAGE, "dog/notes.txt": b"x"},
        ("dog", "has no image", "remove the folder"),
    ),
    "no test": ({"train/a/1.png": IMAGE, "train/b/1.png": IMAGE}, ("'train'", "no test/", "add test/")),
    "val for test": (
        {"train/a/1.png": IMAGE, "val/a/1.png": IMAGE},
        ("has 'train', 'val' but no test/", "add test/, or give train/ itself"),
    ),
    "other names for splits": (
        {"Train/a/1.png": IMAGE, "Val/a/1.png": IMAGE},
        ("Train", "holds a folder, 'a'", "move or rename"),
    ),
    "folders in a class": (
        {"a/1.png": IMAGE, "b/1.png": IMAGE, "b/deep/1.png": IMAGE},
        ("holds a folder, 'deep'", "directly", "move"),
    ),
    "mixed sizes": (
        {"a/1.png": IMAGE, "b/1.png": IMAGE[:4]},
        ("b/1.png", "is 4 x 4", "a/1.png", "is 5 x 4", "one size", "resize"),
    ),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_a_layout_that_is_none_is_refused(request: pytest.FixtureRequest, write: Write, case: str):
    files, words = LAYOUTS[case]
    if "root" in request.node.callspec.params["write"] and case in ("no class folder", "nothing but other files"):
        # The folder around them is then the one class folder there is.
        words = ("one class folder, 'pictures'", "two or more")
    path = write(files)
    refused(str(path), *words, call=lambda: load_data(str(path)))


def test_an_empty_folder_is_refused(tmp_path: Path):
    refused(str(tmp_path), "holds no folder and no image", "sort", call=lambda: load_data(str(tmp_path)))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "none of these formats"),
        (b"no image at all", "none of these formats"),
        (image_bytes(GRAY[0])[:50], "cannot be read as an image"),
        (image_bytes(COLOUR[0], "JPEG")[:-60], "cannot be read as an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 5\n%%EOF", "none of these formats"),
        (image_bytes(GRAY[0].astype(np.float32), "TIFF"), "32-bit gray levels"),
    ],
    ids=["empty", "text", "cut PNG", "cut JPEG", "EPS", "floats"],
)
def test_an_image_that_cannot_be_read_is_named(write: Write, content: bytes, found: str):
    path = write({"cat/good.png": GRAY[0], "dog/bad.png": content})
    refused(str(path), "dog/bad.png", found, call=lambda: load_data(str(path)))


def enormous(width: int, height: int) -> bytes:
    """A PNG of one pixel whose header says otherwise."""
    png = image_bytes(np.zeros((1, 1), np.uint8))
    header = struct.pack(">2I", width, height) + png[24:29]
    return png[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + png[33:]


@pytest.mark.parametrize("side", [8_001, 9_500, 20_000, 2**31 - 1])
def test_an_enormous_image_is_refused_before_it_is_decoded(write: Write, side: int):
    path = write({"cat/good.png": GRAY[0], "dog/bad.png": enormous(side, side)})
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            refused(
                str(path), "dog/bad.png", "is enormous", "64,000,000", "make it smaller",
                call=lambda: load_data(str(path)),
            )  # fmt: skip
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_more_images_than_memory_holds_are_refused(write: Write, monkeypatch: pytest.MonkeyPatch):
    path = write({"a/1.png": GRAY[0], "b/1.png": COLOUR[0]})
    monkeypatch.setattr(dataset_module, "MAX_BYTES", 100)
    refused(str(path), "2 images", "GB", "smaller size", call=lambda: load_data(str(path)))
    monkeypatch.setattr(dataset_module, "MAX_BYTES", 120)
    assert load_data(str(path)).images.numel() == 120


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path):
    path = write_folder(tmp_path, {"a/1.png": GRAY[0], "b/1.png": GRAY[0]})
    (path / "b" / "2.png").symlink_to("2.png")
    refused(str(path / "b" / "2.png"), "cannot be read", call=lambda: load_data(str(path)))
    (path / "b" / "2.png").unlink()
    (path / "b" / "2.png").symlink_to("gone.png")
    refused(str(path / "b" / "2.png"), "cannot be read", call=lambda: load_data(str(path)))


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_folder(tmp_path, {"a/1.png": GRAY[0], "b/1.png": GRAY[0]})
    scandir = os.scandir

    def forbid(folder: Path) -> object:
        # Permissions do not bind root, under whom tests often run.
        if Path(folder).name == "b":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(folder_module.os, "scandir", forbid)
    refused(str(path / "b"), "Permission denied", "check the path", call=lambda: load_data(str(path)))


# ---- zip files that are not to be trusted


def entry(name: str, **attributes: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    "name", ["/etc/1.png", "../1.png", "a/../../1.png", "..\\1.png", "C:\\1.png", "\\\\host\\1.png"]
)
def test_a_path_that_leads_out_of_the_zip_is_refused(tmp_path: Path, name: str):
    path = write_zip(tmp_path / "set.zip", {"a/1.png": GRAY[0], "b/1.png": GRAY[1], name: GRAY[2]})
    refused(str(path), repr(name), "leads out", "pack the images again", call=lambda: load_data(str(path)))


def test_a_link_in_a_zip_is_refused(tmp_path: Path):
    path = write_zip(tmp_path / "set.zip", {"a/1.png": GRAY[0], "b/1.png": GRAY[1]})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry("b/2.png", create_system=3, external_attr=(stat.S_IFLNK | 0o777) << 16), "/etc/passwd")
    refused(str(path), "'b/2.png'", "is a link", "pack the images again", call=lambda: load_data(str(path)))


def test_a_zip_that_grows_too_much_is_refused(tmp_path: Path):
    files = {"a/1.png": GRAY[0], "b/1.bmp": bytes(1_000_000)}
    path = write_zip(tmp_path / "set.zip", files, zipfile.ZIP_DEFLATED)
    refused(str(path), "'b/1.bmp'", "times when unpacked", "at most 100", call=lambda: load_data(str(path)))


def test_a_zip_that_is_too_large_in_all_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_zip(tmp_path / "set.zip", {"a/1.png": GRAY[0], "b/1.png": GRAY[1], "b/big": bytes(5000)})
    assert len(load_data(str(path))) == 2
    monkeypatch.setattr(folder_module, "MAX_BYTES", 5000)
    refused(str(path), "GB when unpacked", "pack fewer images", call=lambda: load_data(str(path)))


def test_an_encrypted_entry_is_refused(tmp_path: Path):
    path = write_zip(tmp_path / "set.zip", {"a/1.png": GRAY[0], "b/1.png": GRAY[1]})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refused(str(path), "'a/1.png'", "is encrypted", "password", call=lambda: load_data(str(path)))


def test_a_name_that_comes_twice_is_refused(tmp_path: Path):
    path = write_zip(tmp_path / "set.zip", {"a/1.png": GRAY[0], "b/1.png": GRAY[1], "b\\1.png": GRAY[2]})
    refused(str(path), "comes twice", "pack the images again", call=lambda: load_data(str(path)))


def test_a_damaged_entry_is_named(tmp_path: Path):
    path = write_zip(tmp_path / "set.zip", {"a/1.png": GRAY[0], "b/1.png": GRAY[1]})
    content = bytearray(path.read_bytes())
    content[content.index(image_bytes(GRAY[1])) + 45] ^= 1
    path.write_bytes(content)
    refused(str(path), "'b/1.png'", "damaged inside the zip", "pack it again", call=lambda: load_data(str(path)))


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path):
    path = tmp_path / "set.zip"
    path.write_bytes(b"nothing of the kind")
    refused(str(path), "no zip file", "get it again", call=lambda: load_data(str(path)))


def test_names_cannot_break_the_line(tmp_path: Path):
    path = write_zip(tmp_path / "set.zip", {"a/1.png": GRAY[0], "b/\x1b[2J\n.png": b"no image"})
    assert "\x1b" not in refused(str(path), "cannot be read as an image", call=lambda: load_data(str(path)))


@given(st.data())
def test_no_damage_to_a_zip_does_more_than_be_refused(data: st.DataObject):
    with tempfile.TemporaryDirectory() as folder:
        files = {"a/1.png": GRAY[0], "b/1.png": GRAY[1]}
        path = write_zip(Path(folder) / "set.zip", files, zipfile.ZIP_DEFLATED)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            load_data(str(path))
        except DataError as error:
            assert "\n" not in str(error)


def test_the_cats_are_read(real_data: Path):
    if not (real_data / "cats").is_dir():
        pytest.skip(f"no cats/ in {real_data}")
    dataset = load_data(str(real_data / "cats"), size=(32, 32))
    assert dataset.class_names == ("cat", "not_cat")
    assert torch.bincount(dataset.labels).tolist() == [117, 280]
    assert dataset.images.shape[1:] == (3, 32, 32)


def test_cifar_is_read_from_its_zip(real_data: Path):
    path = real_data / "cifar10-images.zip"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {real_data}")
    dataset = load_data(str(path))
    assert dataset.images.shape == (10_000, 3, 32, 32)
    assert torch.bincount(dataset.labels).tolist() == [1000] * 10
    assert dataset.class_names[3] == "cat"
    assert dataset.name == "cifar10-images test"
