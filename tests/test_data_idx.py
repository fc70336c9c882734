"""IDX files come back as they were written, and everything that is none is refused in one line."""

from __future__ import annotations

import gzip
import struct
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data_files import idx_bytes, refused, some_images, write_idx, write_idx_pair
from evofool.data import idx as idx_format
from evofool.data import load_data
from evofool.errors import DataError

IMAGES = some_images(6, 3, 2)
LABELS = np.array([0, 3, 1, 0, 7, 7])


@given(
    arrays.arrays(np.uint8, arrays.array_shapes(min_dims=3, max_dims=3, max_side=6)),
    st.booleans(),
    st.data(),
)
def test_what_was_written_is_read_and_what_was_cut_is_refused(images: np.ndarray, gzipped: bool, data: st.DataObject):
    with tempfile.TemporaryDirectory() as folder:
        path = write_idx(Path(folder) / f"images-idx3-ubyte{'.gz' if gzipped else ''}", images)
        assert np.array_equal(idx_format.read_array(path, "images"), images)
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1), label="cut at")])
        refused(str(path), call=lambda: idx_format.read_array(path, "images"))


@given(st.binary(max_size=40), st.booleans())
def test_no_bytes_do_more_than_be_refused(content: bytes, magic: bool):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x-images-idx3-ubyte"
        path.write_bytes((b"\0\0\x08\x03" if magic else b"") + content)
        try:
            array = idx_format.read_array(path, "images")
        except DataError as error:
            assert str(path) in str(error)
        else:
            assert idx_bytes(array) == path.read_bytes()


@pytest.mark.parametrize("end", ["", ".gz"])
def test_a_file_is_read_with_the_labels_beside_it(tmp_path: Path, end: str):
    path = write_idx_pair(tmp_path, IMAGES, LABELS, end=end)
    dataset = load_data(str(path))
    assert dataset.images.shape == (6, 1, 3, 2)
    assert np.array_equal(dataset.images[:, 0].numpy(), IMAGES)
    assert dataset.labels.tolist() == LABELS.tolist()
    # Labels keep their numbers even where some are never used.
    assert dataset.class_names == ("0", "1", "2", "3", "4", "5", "6", "7")
    assert dataset.name == path.name


def test_images_and_labels_need_not_be_packed_alike(tmp_path: Path):
    path = write_idx(tmp_path / "t10k-images-idx3-ubyte", IMAGES)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", LABELS)
    assert load_data(str(path)).labels.tolist() == LABELS.tolist()


def test_names_with_a_dot_are_found(tmp_path: Path):
    write_idx(tmp_path / "train-images.idx3-ubyte", IMAGES)
    write_idx(tmp_path / "train-labels.idx1-ubyte", LABELS)
    assert load_data(str(tmp_path), split="train").labels.tolist() == LABELS.tolist()


def test_a_folder_gives_the_split_asked_for_with_the_classes_of_both(tmp_path: Path):
    write_idx_pair(tmp_path, IMAGES, LABELS, "train-")
    write_idx_pair(tmp_path, IMAGES[:2], np.array([2, 1]), "t10k-", ".gz")
    train, test = (load_data(str(tmp_path), split=split) for split in ("train", "test"))
    assert train.labels.tolist() == LABELS.tolist()
    assert test.labels.tolist() == [2, 1]
    assert train.class_names == test.class_names == tuple("01234567")
    assert (train.name, test.name) == (f"{tmp_path.name} train", f"{tmp_path.name} test")


def test_one_pair_without_a_split_in_its_name_serves_as_either(tmp_path: Path):
    write_idx_pair(tmp_path, IMAGES, LABELS, "digits-")
    train, test = (load_data(str(tmp_path), split=split) for split in ("train", "test"))
    assert train.fingerprint == test.fingerprint
    assert test.name == f"{tmp_path.name} all"


def test_a_folder_without_the_split_or_with_two_of_it_is_refused(tmp_path: Path):
    write_idx_pair(tmp_path, IMAGES, LABELS, "train-")
    refused(str(tmp_path), "train-images", "t10k-images-idx3-ubyte", "add it", call=lambda: load_data(str(tmp_path)))
    write_idx_pair(tmp_path, IMAGES, LABELS, "my-train-")
    refused(
        str(tmp_path), "my-train-images, train-images", "images file itself",
        call=lambda: load_data(str(tmp_path), split="train"),
    )  # fmt: skip


def test_a_folder_with_labels_only_is_refused(tmp_path: Path):
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", LABELS)
    refused(str(tmp_path), "no images file", "add it", call=lambda: load_data(str(tmp_path)))


def test_labels_given_for_images_and_images_for_labels_are_told_apart(tmp_path: Path):
    path = write_idx_pair(tmp_path, IMAGES, LABELS)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    refused(
        str(labels), "holds labels", "00 00 08 01", "00 00 08 03", "give the file named ...images-idx3-ubyte",
        call=lambda: load_data(str(labels)),
    )  # fmt: skip
    write_idx(labels, IMAGES)
    refused(str(labels), "holds images", "labels-idx1-ubyte", call=lambda: load_data(str(path)))


FOREIGN = {
    "empty": (b"", "is empty", "give another file"),
    "text": (b"hello, world", "68 65 6c 6c", "give another file"),
    "two bytes": (b"\0\0", "00 00", "give another file"),
    "unknown type": (b"\0\0\x07\x03" + bytes(12), "00 00 07 03", "give another file"),
    "floats": (b"\0\0\x0d\x03" + struct.pack(">3I", 1, 1, 1) + bytes(4), "float32", "convert it"),
    "four axes": (b"\0\0\x08\x04" + bytes(16), "an array of 4 axes", "give the file"),
    "half a header": (b"\0\0\x08\x03\0\0", "inside its header", "get it again"),
    "no image": (b"\0\0\x08\x03" + struct.pack(">3I", 0, 28, 28), "0 x 28 x 28", "give another file"),
    "cut short": (idx_bytes(IMAGES)[:-1], "only 35 follow", "get it again"),
    "far too short": (b"\0\0\x08\x03" + struct.pack(">3I", 60000, 28, 28), "cannot hold more than 16", "get it again"),
    "goes on": (idx_bytes(IMAGES) + b"x", "more follow", "get it again"),
    "larger than all": (b"\0\0\x08\x03" + struct.pack(">3I", *[2**32 - 1] * 3), "4,000,000,000", "get it again"),
}


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_and_broken_files_are_refused(tmp_path: Path, case: str, gzipped: bool):
    content, found, remedy = FOREIGN[case]
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", LABELS)
    path = tmp_path / f"t10k-images-idx3-ubyte{'.gz' if gzipped else ''}"
    path.write_bytes(gzip.compress(content) if gzipped else content)
    if gzipped and case == "far too short":
        found = "it cannot hold more than"
    refused(str(path), found, remedy, call=lambda: load_data(str(path)))


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_header_is_not_believed_before_memory_is_taken(tmp_path: Path, gzipped: bool):
    path = tmp_path / "t10k-images-idx3-ubyte"
    content = b"\0\0\x08\x03" + struct.pack(">3I", 1_000_000, 60, 60)
    path.write_bytes(gzip.compress(content) if gzipped else content)
    tracemalloc.start()
    try:
        refused(str(path), "1,000,000 x 60 x 60", call=lambda: load_data(str(path)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


def test_a_gz_that_is_none_or_is_broken_is_refused(tmp_path: Path):
    path = write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", some_images(40, 8, 8))
    whole = path.read_bytes()
    path.write_bytes(idx_bytes(IMAGES))
    refused(str(path), "is no gzip file", "get it again", call=lambda: load_data(str(path)))
    path.write_bytes(whole[:-9])
    refused(str(path), "gzip file is cut short", "get it again", call=lambda: load_data(str(path)))
    damaged = bytearray(whole)
    damaged[-5] ^= 1  # in the checksum
    path.write_bytes(damaged)
    refused(str(path), "gzip file is damaged", "get it again", call=lambda: load_data(str(path)))
    path.write_bytes(whole + b"more")
    refused(str(path), "gzip file is damaged", "get it again", call=lambda: load_data(str(path)))


def test_different_numbers_of_images_and_labels_are_refused(tmp_path: Path):
    path = write_idx_pair(tmp_path, IMAGES, LABELS[:-1])
    refused(str(path), "6 images", "5 labels", "as many", "from one place", call=lambda: load_data(str(path)))


def test_images_whose_labels_cannot_be_found_are_refused(tmp_path: Path):
    path = write_idx(tmp_path / "t10k-images-idx3-ubyte", IMAGES)
    refused(str(path), "t10k-labels-idx1-ubyte", "put it there", call=lambda: load_data(str(path)))
    other = path.rename(tmp_path / "pictures")
    refused(str(other), "images-idx3-ubyte", "rename both", call=lambda: load_data(str(other)))


def test_a_single_class_is_refused(tmp_path: Path):
    path = write_idx_pair(tmp_path, IMAGES, LABELS * 0)
    refused(str(path), "one class, '0'", "add images", call=lambda: load_data(str(path)))


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path):
    refused("gone", "No such file", "check", call=lambda: idx_format.read_array(tmp_path / "gone", "images"))


def test_another_sha256_is_refused(tmp_path: Path):
    path = write_idx(tmp_path / "t10k-images-idx3-ubyte", IMAGES)
    refused(
        str(path), "SHA-256", "000000000000", "replace it",
        call=lambda: idx_format.read_array(path, "images", sha256="0" * 64),
    )  # fmt: skip
