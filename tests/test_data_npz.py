"""NumPy archives are read under every documented name and layout, and everything else is refused in one line."""

from __future__ import annotations

import io
import tempfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_files import refused, some_images
from evofool.data import load_data
from evofool.errors import DataError

IMAGES = some_images(4, 6, 5)
IMAGES[0, 0, :2] = (0, 255)
COLOUR = some_images(4, 6, 5, 3, seed=1)
LABELS = np.array([2, 0, 2, 1])


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "set.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("images", "labels"), [("images", "labels"), ("x", "y"), ("images", "y"), ("x_test", "y_test"),
                           ("test_images", "test_labels"), ("images_test", "labels_test"), ("test_x", "y_test")],
)  # fmt: skip
def test_every_documented_name_is_read(tmp_path: Path, images: str, labels: str):
    dataset = load_data(str(save(tmp_path, **{images: IMAGES, labels: LABELS})))
    assert np.array_equal(dataset.images[:, 0].numpy(), IMAGES)
    assert dataset.labels.tolist() == LABELS.tolist()
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.name == ("set test" if "test" in images else "set all")


def test_a_split_is_told_from_the_other_and_classes_are_those_of_both(tmp_path: Path):
    path = save(tmp_path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[::-1], y_test=LABELS * 0, val_images=IMAGES)
    train, test = (load_data(str(path), split=split) for split in ("train", "test"))
    assert np.array_equal(train.images[:, 0].numpy(), IMAGES)
    assert np.array_equal(test.images[:, 0].numpy(), IMAGES[::-1])
    assert train.class_names == test.class_names == ("0", "1", "2")


@pytest.mark.parametrize("compressed", [False, True])
def test_class_names_are_taken_in_the_order_of_the_labels(tmp_path: Path, compressed: bool):
    path = tmp_path / "set.npz"
    names = np.array(["zebra", "ant", "owl", "unseen"])
    (np.savez_compressed if compressed else np.savez)(path, images=IMAGES, labels=LABELS, class_names=names)
    assert load_data(str(path)).class_names == ("zebra", "ant", "owl", "unseen")


@pytest.mark.parametrize(
    "array",
    [COLOUR, COLOUR.transpose(0, 3, 1, 2), np.asfortranarray(COLOUR), COLOUR.astype(">i4"), COLOUR / 255,
     (COLOUR / 255).astype(np.float32)],
    ids=["N H W C", "N C H W", "Fortran", "big-endian", "float64", "float32"],
)  # fmt: skip
def test_every_layout_gives_the_same_images(tmp_path: Path, array: np.ndarray):
    images = load_data(str(save(tmp_path, images=array, labels=LABELS))).images
    assert images.is_contiguous()
    assert np.array_equal(images.numpy(), COLOUR.transpose(0, 3, 1, 2))


def test_more_images_than_are_converted_at_a_time_are_all_converted(tmp_path: Path):
    images = some_images(9000, 2, 2)
    path = save(tmp_path, images=images.astype(np.int16), labels=np.arange(9000) % 256)
    assert np.array_equal(load_data(str(path)).images[:, 0].numpy(), images)


def test_floats_between_levels_go_to_the_nearest(tmp_path: Path):
    levels = np.array([0.0, 0.3, 0.499, 0.501, 254.6, 255.0])[None, None] / 255
    path = save(tmp_path, images=np.concatenate([levels, levels]), labels=np.array([0, 1]))
    assert load_data(str(path)).images[0].flatten().tolist() == [0, 0, 0, 1, 255, 255]


def test_labels_in_a_column_are_read(tmp_path: Path):
    assert load_data(str(save(tmp_path, images=IMAGES, labels=LABELS[:, None]))).labels.tolist() == LABELS.tolist()


def changed(**arrays: Any) -> dict[str, Any]:
    return {"images": IMAGES, "labels": LABELS} | arrays


WRONG: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "misspelt images": (
        {"imges": IMAGES, "labels": LABELS},
        ("'imges'", "did you mean 'images'?", "known: images, x", "rename it"),
    ),
    "misspelt labels": ({"x_test": IMAGES, "ytest": LABELS}, ("'ytest'", "did you mean 'y_test'?", "rename it")),
    "no images": ({"a": IMAGES, "labels": LABELS}, ("'a', 'labels' and no test images", "images or x", "add it")),
    "nothing": ({}, ("no array", "images or x")),
    "no labels": ({"x": IMAGES}, ("'x' and no test labels", "labels or y")),
    "the other split": ({"x_train": IMAGES, "y_train": LABELS}, ("no test images", "images_test", "x_test")),
    "two of one": (changed(x=IMAGES), ("images and x", "one array", "remove")),
    "pickled images": (changed(images=np.array([IMAGES, None], object)), ("(images)", "pickled", "never loaded")),
    "pickled labels": (changed(labels=LABELS.astype(object)), ("(labels)", "pickled", "never loaded")),
    "flat images": (changed(images=IMAGES.reshape(4, 30)), ("(images)", "(4, 30)", "[N H W]", "reshape")),
    "five axes": (changed(images=IMAGES[None, None]), ("(1, 1, 4, 6, 5)", "[N H W]", "reshape")),
    "four channels": (changed(images=some_images(4, 6, 5, 4)), ("(4, 6, 5, 4)", "C 1 or 3", "reshape")),
    "either axis": (changed(images=some_images(4, 3, 5, 3)), ("(4, 3, 5, 3)", "which axis is C", "PNG")),
    "no image": (changed(images=IMAGES[:0], labels=LABELS[:0]), ("(0, 6, 5)", "nothing")),
    "text": (changed(images=IMAGES.astype(str)), ("(images)", "<U3", "integers in 0..255")),
    "booleans": (changed(images=IMAGES > 5), ("bool", "integers in 0..255")),
    "complex": (changed(images=IMAGES * 1j), ("complex128", "floats in [0, 1]")),
    "NaN": (changed(images=np.where(IMAGES[2, 1, 1] == IMAGES, np.nan, 0)), ("NaN", "[0, 1]", "replace")),
    "float levels": (changed(images=IMAGES.astype(float)), ("255.0", "[0, 1]", "divide")),
    "negative floats": (changed(images=-(IMAGES / 255)), ("holds -1.0", "[0, 1]")),
    "infinity": (changed(images=np.full((4, 6, 5), np.inf)), ("holds inf", "[0, 1]")),
    "large integers": (changed(images=IMAGES.astype(int) + 1), ("holds 256", "0..255", "scale it")),
    "negative integers": (changed(images=IMAGES.astype(int) - 1), ("holds -1", "0..255")),
    "fewer labels": (changed(labels=LABELS[:3]), ("4 images", "3 labels", "as many of both", "save them together")),
    "one-hot labels": (changed(labels=np.eye(4, dtype=int)), ("(labels)", "(4, 4)", "argmax")),
    "float labels": (changed(labels=LABELS / 2), ("float64", "integer labels", "astype")),
    "label 256": (changed(labels=LABELS + 254), ("holds 256", "0..255", "from 0")),
    "label -1": (changed(labels=LABELS - 1), ("holds -1", "0..255", "from 0")),
    "one class": (changed(labels=LABELS * 0), ("one class, '0'", "two classes")),
    "few names": (changed(class_names=np.array(["a", "b"])), ("2 names", "largest label is 2", "missing")),
    "names twice": (changed(class_names=np.array(["a", "b", "a"])), ("'a' twice", "differ")),
    "numbers as names": (changed(class_names=np.arange(3)), ("(class_names)", "strings", "dtype=str")),
    "pickled names": (changed(class_names=np.array(["a", "b", "c"], object)), ("(class_names)", "pickled")),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_refused(tmp_path: Path, case: str):
    arrays, words = WRONG[case]
    path = save(tmp_path, **arrays)
    refused(str(path), *words, call=lambda: load_data(str(path)))


def test_what_is_no_archive_is_refused(tmp_path: Path):
    path = tmp_path / "set.npz"
    path.write_bytes(b"nothing of the kind")
    refused(str(path), "no .npz file", "save it again", call=lambda: load_data(str(path)))
    np.save(tmp_path / "images.npy", IMAGES)
    refused("images.npy", "of no kind known here", ".npz", call=lambda: load_data(str(tmp_path / "images.npy")))


def write_member(path: Path, content: bytes, method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("images.npy", content)
        buffer = io.BytesIO()
        np.save(buffer, LABELS)
        archive.writestr("labels.npy", buffer.getvalue())


def npy(shape: tuple[int, ...], content: bytes) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + content


def test_a_header_is_not_believed_before_memory_is_taken(tmp_path: Path):
    path = tmp_path / "set.npz"
    tracemalloc.start()
    try:
        write_member(path, npy((1_000_000, 60, 60), b"x"))
        refused(str(path), "(1000000, 60, 60)", "but 1 follow", "save it again", call=lambda: load_data(str(path)))
        write_member(path, npy((10**9, 60, 60), b"x"))
        refused(str(path), "4,000,000,000", "fewer images", call=lambda: load_data(str(path)))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_member_that_is_no_array_or_goes_on_is_refused(tmp_path: Path):
    path = tmp_path / "set.npz"
    write_member(path, b"no array")
    refused(str(path), "(images)", "no NumPy array", "save it again", call=lambda: load_data(str(path)))
    write_member(path, npy((4, 6, 5), IMAGES.tobytes() + b"x"))
    refused(str(path), "(images)", "but 121 follow", call=lambda: load_data(str(path)))
    write_member(path, b"\x93NUMPY\x03\x00" + npy((4, 6, 5), IMAGES.tobytes())[8:])
    refused(str(path), "(images)", "version 3.0", call=lambda: load_data(str(path)))
    write_member(path, npy((4, 6, 5), IMAGES.tobytes()), zipfile.ZIP_BZIP2)
    refused(str(path), "(images)", "method 12", call=lambda: load_data(str(path)))


@given(st.data())
def test_no_damage_does_more_than_be_refused(data: st.DataObject):
    with tempfile.TemporaryDirectory() as folder:
        path = save(Path(folder), images=IMAGES, labels=LABELS, class_names=np.array(["a", "b", "c"]))
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            load_data(str(path))
        except DataError as error:
            assert "\n" not in str(error)
