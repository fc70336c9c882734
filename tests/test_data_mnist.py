"""MNIST is taken from the first place that has it, downloaded whole or not at all, and never anything else."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from data_files import idx_bytes, refused, some_images, write_idx
from evofool.data import load_data, mnist

ARRAYS = {
    "train-images-idx3-ubyte": some_images(6, 4, 4),
    "train-labels-idx1-ubyte": np.array([0, 1, 2, 3, 4, 5], np.uint8),
    "t10k-images-idx3-ubyte": some_images(3, 4, 4, seed=1),
    "t10k-labels-idx1-ubyte": np.array([9, 0, 9], np.uint8),
}
FILES = {f"{name}.gz": gzip.compress(idx_bytes(array), mtime=0) for name, array in ARRAYS.items()}


class Mirror(BaseHTTPRequestHandler):
    """Serves the files under /good/, and worse ones under other names."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        _, manner, name = self.path.split("/")
        self.server.asked.append((manner, name))  # type: ignore[attr-defined]
        content = FILES[name]
        if manner == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if manner in ("good", "truncated", "wrong", "slow"):
            self.send_header("Content-Length", str(len(content)))
        elif manner == "huge":
            self.send_header("Content-Length", str(10**12))
        elif manner == "nonsense":
            self.send_header("Content-Length", "many")
        self.end_headers()
        try:
            if manner == "good":
                self.wfile.write(content)
            elif manner in ("truncated", "unmarked"):
                self.wfile.write(content[:-20])
            elif manner == "wrong":
                self.wfile.write(content[:-1] + b"\1")
            elif manner == "other":
                self.wfile.write(gzip.compress(idx_bytes(ARRAYS[name.removesuffix(".gz")] // 2)))
            elif manner == "huge":
                self.wfile.write(b"x")
            elif manner == "endless":
                while True:
                    self.wfile.write(bytes(1 << 20))
            elif manner == "slow":
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    if self.server.stopped.wait(0.02):  # type: ignore[attr-defined]
                        return
        except (BrokenPipeError, ConnectionResetError):
            self.server.hung_up.set()  # type: ignore[attr-defined]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mirror)
        self.asked: list[tuple[str, str]] = []
        self.stopped, self.hung_up = threading.Event(), threading.Event()

    def mirror(self, manner: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{manner}/"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.stopped.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def small(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data of this machine, no mirror, an empty cache; and small files that count as the original."""
    for name in ("EVOFOOL_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "MIRRORS", ())
    if "real_data" not in request.fixturenames:
        digests = {name: hashlib.sha256(idx_bytes(array)).hexdigest() for name, array in ARRAYS.items()}
        monkeypatch.setattr(mnist, "SHA256", digests)


def cached(tmp_path: Path) -> list[str]:
    """All there is in the cache, hidden files too."""
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def put(folder: Path, *, names: tuple[str, ...] = tuple(ARRAYS), end: str = ".gz") -> Path:
    for name in names:
        write_idx(folder / f"{name}{end}", ARRAYS[name])
    return folder


TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def is_test_split(dataset: object) -> bool:
    return np.array_equal(dataset.images[:, 0].numpy(), ARRAYS[TEST[0]])  # type: ignore[attr-defined]


def test_a_download_goes_into_the_cache_and_is_not_repeated(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mnist, "MIRRORS", (server.mirror("good"),))
    told: list[tuple[str, int, int]] = []
    dataset = load_data("mnist", progress=lambda *step: told.append(step))
    assert is_test_split(dataset)
    assert dataset.labels.tolist() == [9, 0, 9]
    assert dataset.class_names == tuple("0123456789")
    assert dataset.name == "mnist test"
    assert cached(tmp_path) == [f"{name}.gz" for name in TEST]
    for name in TEST:
        length = len(FILES[f"{name}.gz"])
        assert (f"downloading {name}.gz", length, length) in told
    assert (tmp_path / "cache" / "evofool" / "mnist" / f"{TEST[0]}.gz").read_bytes() == FILES[f"{TEST[0]}.gz"]
    asked = list(server.asked)
    assert len(asked) == 2
    assert load_data("mnist").fingerprint == dataset.fingerprint
    assert server.asked == asked


BAD = {
    "missing": "404",
    "truncated": "cut short",
    "unmarked": "cut short",
    "wrong": "damaged",
    "other": "SHA-256",
    "huge": "larger than 16,000,000 bytes",
    "endless": "larger than 16,000,000 bytes",
    "slow": "not done after 0.2 seconds",
    "nonsense": "many",
}


@pytest.mark.parametrize("manner", BAD)
def test_a_bad_mirror_leaves_nothing_behind_and_the_next_one_is_tried(server: Server, tmp_path: Path, manner: str):
    message = refused(
        "t10k-labels-idx1-ubyte.gz is not on this machine", server.mirror(manner), BAD[manner], "--data-dir",
        "EVOFOOL_DATA", *FILES,
        call=lambda: mnist.read("test", mirrors=[server.mirror(manner)], timeout=0.2 if manner == "slow" else 20),
    )  # fmt: skip
    assert ".part" not in message
    assert cached(tmp_path) == []
    if manner == "endless":
        assert server.hung_up.wait(20)
    mirrors = [server.mirror(manner), server.mirror("good")]
    reading = mnist.read("test", mirrors=mirrors, timeout=0.2 if manner == "slow" else 20)
    assert np.array_equal(reading.images[:, 0], ARRAYS[TEST[0]])
    assert cached(tmp_path) == [f"{name}.gz" for name in TEST]
    assert {asked for asked, _ in server.asked} == {manner, "good"}


def test_offline_is_one_line_that_says_what_to_do(tmp_path: Path):
    with Server() as gone:
        address = gone.mirror("good")
    refused(
        "mnist", "could not be downloaded", address, "the four files", *FILES, "--data-dir", "EVOFOOL_DATA",
        call=lambda: mnist.read("train", mirrors=[address]),
    )  # fmt: skip
    assert cached(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_named(server: Server, tmp_path: Path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    refused(
        str(tmp_path / "cache"), "cannot be written", "XDG_CACHE_HOME", "--data-dir",
        call=lambda: mnist.read("test", mirrors=[server.mirror("good")]),
    )  # fmt: skip


@pytest.mark.parametrize("end", ["", ".gz"])
def test_places_are_searched_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str):
    """Of four places each has the files in turn; a worse one in a later place is never opened."""
    named, env = tmp_path / "named", tmp_path / "env"
    monkeypatch.setenv("EVOFOOL_DATA", str(env))
    places = [named, named / "mnist", env / "mnist", tmp_path / "cache" / "evofool" / "mnist"]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    for place in reversed(places):
        for name in TEST:
            (place / f"{name}.gz").unlink(missing_ok=True)
        put(place, names=TEST, end=end)
        assert is_test_split(load_data("mnist", data_dir=named)), place
        for name in TEST:
            (place / f"{name}{end}").unlink()
            (place / f"{name}.gz").write_bytes(b"worse")
        refused(str(place), "no gzip file", call=lambda: load_data("mnist", data_dir=named))


def test_the_environment_is_enough_and_only_the_split_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path / "data" / "mnist", names=TEST)
    monkeypatch.setenv("EVOFOOL_DATA", str(tmp_path / "data"))
    assert is_test_split(load_data("mnist"))
    refused("train-labels-idx1-ubyte.gz is not on this machine", call=lambda: load_data("mnist", split="train"))


def test_files_that_are_not_the_original_are_refused_wherever_they_lie(tmp_path: Path):
    put(tmp_path / "named")
    path = write_idx(tmp_path / "named" / f"{TEST[0]}.gz", ARRAYS[TEST[0]] // 2)
    refused(
        str(path), "SHA-256", mnist.SHA256[TEST[0]][:12], "replace it",
        call=lambda: load_data("mnist", data_dir=tmp_path / "named"),
    )  # fmt: skip


def test_a_data_dir_that_is_none_is_refused(tmp_path: Path):
    refused(
        str(tmp_path / "nothing"), "is no folder", "--data-dir",
        call=lambda: load_data("mnist", data_dir=tmp_path / "nothing"),
    )  # fmt: skip


def test_the_cache_follows_the_xdg_specification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert mnist.cache_dir() == tmp_path / "cache" / "evofool" / "mnist"
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert mnist.cache_dir() == tmp_path / ".cache" / "evofool" / "mnist"


COUNTS = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


@pytest.mark.parametrize("split", COUNTS)
def test_the_real_mnist_is_what_is_known_of_it(real_data: Path, split: str):
    if not (real_data / "mnist").is_dir():
        pytest.skip(f"no mnist/ in {real_data}")
    dataset = load_data("mnist", split=split, data_dir=real_data)  # type: ignore[arg-type]
    assert dataset.images.shape == (sum(COUNTS[split]), 1, 28, 28)
    assert dataset.images.dtype == torch.uint8
    assert torch.bincount(dataset.labels).tolist() == COUNTS[split]
    assert dataset.background == 0.0
    # The same files read as a folder are the same data.
    assert load_data(str(real_data / "mnist"), split=split).fingerprint == dataset.fingerprint  # type: ignore[arg-type]
