"""Classifiers: what is loaded is what was saved or nothing, and a row's answer is its own."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from evofool import networks
from evofool.classifiers import fake, load_classifier, shipped
from evofool.classifiers import torch as adapter
from evofool.classifiers.support import card as cards
from evofool.classifiers.torch import TorchClassifier, fastest_layout, lay_out, tune_allocator
from evofool.contracts import Classifier, ClassifierInfo
from evofool.errors import ClassifierError, OutOfMemoryError, TargetError, UserError

SHIPPED = Path(networks.__file__).parent / "classifiers" / "shipped"
EXPECTED = ["digits", "digits-judge", "mnist95", "mnist95b", "mnist95c", "mnist99"]


def pixels(n: int, seed: int, shape: tuple[int, int, int] = (1, 28, 28)) -> torch.Tensor:
    return torch.randint(0, 256, (n, *shape), generator=torch.Generator().manual_seed(seed)) / 255


def info(classes: int = 10, shape: tuple[int, int, int] = (1, 28, 28), **changes: Any) -> ClassifierInfo:
    names = tuple(map(str, range(classes)))
    return ClassifierInfo("net", "logits", names, shape, "00", **changes)


def network(architecture: str = "small_cnn", channels: int = 1, seed: int = 0) -> nn.Module:
    arguments = {"in_channels": channels, "classes": 10, "size": (28, 28)}
    return networks.initialise(networks.build(architecture, arguments), torch.Generator().manual_seed(seed)).eval()


# ---- networks


@pytest.mark.parametrize("architecture", sorted(networks.architectures()))
@pytest.mark.parametrize(("channels", "classes", "size"), [(1, 10, (28, 28)), (3, 2, (17, 32)), (1, 3, (8, 8))])
def test_every_architecture_maps_images_to_one_logit_a_class(
    architecture: str, channels: int, classes: int, size: tuple[int, int]
) -> None:
    module = networks.build(architecture, {"in_channels": channels, "classes": classes, "size": size})
    assert all(tensor.is_meta for tensor in module.state_dict().values())
    module = networks.initialise(module, torch.Generator().manual_seed(0)).eval()
    scores = module(pixels(5, 1, (channels, *size)))
    assert scores.shape == (5, classes)
    assert scores.isfinite().all()
    assert len(scores.unique(dim=0)) == 5


def test_the_architectures_are_found_and_have_the_size_of_a_first_course() -> None:
    assert set(networks.architectures()) >= {"small_cnn", "judge_cnn"}
    count = {name: sum(p.numel() for p in network(name).parameters()) for name in ("small_cnn", "judge_cnn")}
    assert count == {"small_cnn": 55_338, "judge_cnn": 76_530}


def test_initialise_draws_from_its_generator_alone() -> None:
    one, same, other = network(seed=3), network(seed=3), network(seed=4)
    assert torch.equal(one[0].weight, same[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)
    weights = network("judge_cnn")[3].weight
    assert float(weights.detach().std()) == pytest.approx((2 / (24 * 9)) ** 0.5, rel=0.05)  # sqrt(2 / fan in)


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("smal_cnn", {}, "unknown architecture 'smal_cnn'; did you mean 'small_cnn'"),
        ("build", {}, "unknown architecture"),
        ("small_cnn", {"widht": 3}, "no argument 'widht'; did you mean 'width'"),
        ("small_cnn", {"width": 0}, "width is 0, expected a positive whole number"),
        ("small_cnn", {"width": True}, "width is True, expected"),
        ("small_cnn", {"width": 2.0}, "width is 2.0, expected"),
        ("small_cnn", {"width": 10**9}, "width is 1000000000, expected"),
        ("small_cnn", {"size": (28,)}, r"size is \(28,\), expected two"),
        ("small_cnn", {"size": 28}, "size is 28, expected two"),
        ("small_cnn", {"size": (3, 28)}, "images of 3 x 28 are too small"),
        ("judge_cnn", {"size": (28, 7)}, "expected at least 8 x 8"),
    ],
)
def test_a_network_that_cannot_be_is_refused(architecture: str, arguments: dict[str, Any], message: str) -> None:
    given_arguments = {"in_channels": 1, "classes": 10, "size": (28, 28), **arguments}
    with pytest.raises(ClassifierError, match=message):
        networks.build(architecture, given_arguments)


def test_the_largest_numbers_of_a_card_cost_no_memory() -> None:
    module = networks.build("small_cnn", {"in_channels": 10**6, "classes": 10**6, "size": (4, 4), "width": 10**6})
    assert sum(tensor.numel() for tensor in module.state_dict().values()) > 10**13
    with pytest.raises(ClassifierError, match="cannot be built"):
        networks.build("small_cnn", {"in_channels": 10**6, "classes": 2, "size": (10**6, 10**6), "width": 10**6})


def test_a_network_needs_its_shape() -> None:
    with pytest.raises(ClassifierError, match="needs classes, size"):
        networks.build("small_cnn", {"in_channels": 1})


# ---- what is shipped


def test_the_shipped_ones_are_all_there_and_small() -> None:
    assert shipped() == EXPECTED
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*")) < 2_000_000


@pytest.mark.parametrize("name", EXPECTED)
def test_a_shipped_card_says_what_it_must(name: str) -> None:
    card = json.loads((SHIPPED / name / "card.json").read_text())
    classifier = load_classifier(name)
    assert isinstance(classifier, Classifier)
    assert classifier.info.name == name
    assert classifier.info.class_names == tuple("0123456789")
    assert classifier.info.accuracy == card["accuracy"]
    assert f"--seed {card['seed']}" in card["command"]
    assert card["command"].startswith("evofool train --data ")
    assert classifier.info.micro_batch in adapter.MICRO_BATCHES
    judge = name in ("mnist99", "digits-judge")
    assert card["architecture"] == ("judge_cnn" if judge else "small_cnn")
    if name.startswith("mnist95"):
        assert 0.945 <= card["accuracy"] <= 0.955
        assert card["held_out_accuracy"] >= 0.95
    elif judge:
        assert card["accuracy"] >= 0.99
    else:
        assert 0.94 <= card["accuracy"] <= 0.96


def test_no_two_shipped_ones_share_weights_or_a_judge_its_seed() -> None:
    cards_read = {name: json.loads((SHIPPED / name / "card.json").read_text()) for name in EXPECTED}
    assert len({load_classifier(name).info.fingerprint for name in EXPECTED}) == len(EXPECTED)
    targets = {cards_read[name]["seed"] for name in ("mnist95", "mnist95b", "mnist95c")}
    assert len(targets) == 3
    assert cards_read["mnist99"]["seed"] not in targets
    assert cards_read["digits-judge"]["seed"] != cards_read["digits"]["seed"]


@pytest.mark.parametrize("name", ["mnist95", "mnist95b", "mnist95c", "mnist99"])
def test_a_shipped_classifier_is_as_good_on_mnist_as_its_card_says(name: str, real_data: Path) -> None:
    from evofool.data import load_data

    check_accuracy(name, load_data("mnist", split="test", data_dir=real_data / "mnist"))


@pytest.mark.parametrize("name", ["digits", "digits-judge"])
def test_a_shipped_classifier_is_as_good_on_digits_as_its_card_says(name: str) -> None:
    from evofool.data import load_data

    check_accuracy(name, load_data("digits", split="test"))
    card = json.loads((SHIPPED / name / "card.json").read_text())
    assert load_data("digits", split="train").fingerprint == card["data_fingerprint"]


def check_accuracy(name: str, dataset: Any) -> None:
    classifier = load_classifier(name)
    answers = [classifier(part.float() / 255).argmax(1) for part in dataset.images.split(500)]
    accuracy = (torch.cat(answers) == dataset.labels).double().mean()
    assert len(dataset) >= 1000
    # Another processor may round the one image in a thousand that lies on the edge to the other side.
    assert float(accuracy) == pytest.approx(load_classifier(name).info.accuracy, abs=0.001)
    assert classifier.info.background == dataset.background


@pytest.mark.parametrize("name", EXPECTED)
def test_a_row_has_the_same_bits_wherever_it_stands_in_a_full_batch(name: str) -> None:
    classifier = load_classifier(name)
    size = classifier.info.micro_batch
    images = pixels(size, 1)
    scores = classifier(images)
    assert len(scores.unique(dim=0)) == size
    generator = torch.Generator().manual_seed(2)
    for _ in range(5):
        order = torch.randperm(size, generator=generator)
        assert torch.equal(classifier(images[order]), scores[order])
    strangers = pixels(size, 3)
    strangers[7] = images[0]
    assert torch.equal(classifier(strangers)[7], scores[0])


def test_a_fresh_interpreter_gives_the_same_bits() -> None:
    program = (
        "import hashlib, torch\n"
        "torch.set_num_threads(1)\n"
        "from evofool.classifiers import load_classifier\n"
        "images = torch.randint(0, 256, (125, 1, 28, 28), generator=torch.Generator().manual_seed(5)) / 255\n"
        "print(hashlib.sha256(load_classifier('mnist95')(images).numpy().tobytes()).hexdigest())"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert found == hashlib.sha256(load_classifier("mnist95")(pixels(125, 5)).numpy().tobytes()).hexdigest()


def test_the_names_are_told_without_loading_torch() -> None:
    program = "import sys; from evofool.classifiers import shipped; print(shipped(), 'torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found.strip() == f"{EXPECTED} False"


# ---- which classifier is meant


def test_a_plain_word_is_the_shipped_one_and_a_path_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SHIPPED / "mnist95b", tmp_path / "mnist95")
    monkeypatch.chdir(tmp_path)
    assert load_classifier("mnist95").info.name == "mnist95"
    for spec in ("mnist95/", "./mnist95", Path("mnist95"), tmp_path / "mnist95"):
        assert load_classifier(spec).info.name == "mnist95b"


def test_a_plain_word_that_is_not_shipped_is_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(SHIPPED / "mnist95b", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert load_classifier("mine").info.name == "mnist95b"


def test_a_loaded_classifier_is_returned_as_it_is() -> None:
    classifier = fake.Constant([0.0, 1.0])
    assert load_classifier(classifier) is classifier


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mnst95", r"no classifier 'mnst95'.*did you mean 'mnist95'\?.*mnist99"),
        ("x" * 5000, "no classifier"),
        ("nul\0byte", "no classifier"),
        (Path("nowhere"), "no classifier 'nowhere'"),
        (nn.ReLU(), "ReLU does not say what images it takes"),
        ({}, "a dict is not a classifier"),
        (3, "a int is not a classifier"),
    ],
)
def test_what_is_no_classifier_is_refused_in_one_line(spec: Any, message: str) -> None:
    with pytest.raises(ClassifierError, match=message) as caught:
        load_classifier(spec)
    assert "\n" not in str(caught.value)


# ---- cards that cannot be trusted


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED / "digits", tmp_path / "net"))


def edit(**changes: Any) -> Callable[[Path], None]:
    """A card with other values; `...` takes a key out."""

    def change(directory: Path) -> None:
        card = json.loads((directory / "card.json").read_text()) | changes
        (directory / "card.json").write_text(json.dumps({k: v for k, v in card.items() if v is not ...}))

    return change


def card_bytes(content: bytes) -> Callable[[Path], None]:
    return lambda directory: (directory / "card.json").write_bytes(content) and None


def weights_bytes(content: bytes) -> Callable[[Path], None]:
    """Other weights, with the hash in the card put right: an attacker can do that too."""

    def change(directory: Path) -> None:
        (directory / "weights.safetensors").write_bytes(content)
        edit(weights_sha256=hashlib.sha256(content).hexdigest())(directory)

    return change


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        state = safetensors.torch.load_file(directory / "weights.safetensors")
        change(state)
        weights_bytes(safetensors.torch.save(state))(directory)

    return write


def flip(directory: Path) -> None:
    content = bytearray((directory / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (directory / "weights.safetensors").write_bytes(content)


def header(text: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + data


def weights_directory(directory: Path) -> None:
    (directory / "weights.safetensors").unlink()
    (directory / "weights.safetensors").mkdir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / "card.json").unlink(), r"card\.json is missing"),
        (lambda d: (d / "weights.safetensors").unlink(), r"weights\.safetensors is missing"),
        (weights_directory, "is not a file"),
        (lambda d: shutil.rmtree(d) or d.write_text("x"), "is not a directory"),
        (flip, "changed or damaged"),
        (edit(weights_sha256="0" * 64), r"changed or damaged.*the card says 000000000000"),
        (card_bytes(b"\xff\xfe{"), "is not JSON"),
        (card_bytes(b"{"), "is not JSON"),
        (card_bytes(b"[" * 100_000), "is not JSON"),
        (card_bytes(b"[]"), "no JSON object"),
        (card_bytes(b" " * 1_000_001), "expected at most 1,000,000"),
        (edit(format="evofool-classifier/2"), "'format' is 'evofool-classifier/2'"),
        (edit(format="evofool-classifier/2", name=..., shoe=3), "'format' is 'evofool-classifier/2'"),
        (edit(image_shape=...), "lacks 'image_shape'"),
        (edit(micro_bach=50), "unknown key 'micro_bach'; did you mean 'micro_batch'"),
        (edit(micro_batch=0), "'micro_batch' is 0"),
        (edit(micro_batch="50"), "'micro_batch' is '50'"),
        (edit(memory_format="nhwc"), "'memory_format' is 'nhwc'"),
        (edit(kind="label"), "'kind' is 'label'"),
        (edit(range=[0.0, 255.0]), "'range' is.*expected"),
        (edit(background=1.5), "'background' is 1.5"),
        (edit(accuracy=float("nan")), "'accuracy' is nan"),
        (edit(class_names=["0"]), "'class_names' is"),
        (edit(class_names=["0"] * 10), "names that differ"),
        (edit(class_names=[*"012345678", "9\x1b[2J"]), "printable"),
        (edit(class_names=list("012345678")), "'7.weight' is|'9.weight' is|9 classes"),
        (edit(image_shape=[1, 32, 32]), r"expected 32 x 2048 float32.*1 x 32 x 32"),
        (edit(image_shape=[3, 28, 28]), "3 x 28 x 28"),
        (edit(image_shape=[1, 2, 28]), "too small"),
        (edit(image_shape=[1, 28]), "image_shape"),
        (edit(image_shape=[1, 10**8, 10**8]), "expected two positive whole numbers"),
        (edit(architecture="smal_cnn"), "unknown architecture 'smal_cnn'; did you mean 'small_cnn'"),
        (edit(architecture="judge_cnn"), "the card is not that of these weights"),
        (edit(arguments={"width": 10**6}), "the card is not that of these weights"),
        (edit(arguments={"depth": 2}), "no argument 'depth'"),
        (edit(arguments={"classes": 10}), "leave them out"),
        (tensors(lambda s: s.pop("0.bias")), "lacks the tensor '0.bias'"),
        (tensors(lambda s: s.update(extra=torch.zeros(1))), "has a tensor 'extra'"),
        (tensors(lambda s: s.update({"0.bias": s["0.bias"].double()})), "'0.bias' is 16 float64, expected 16 float32"),
        (tensors(lambda s: s.update({"0.bias": s["0.bias"][:3].clone()})), "'0.bias' is 3 float32, expected 16"),
        (weights_bytes(b""), "not a safetensors file"),
        (weights_bytes(struct.pack("<Q", 2**63) + b"{}"), "not a safetensors file"),
        (weights_bytes(struct.pack("<Q", 99_000_000) + b"{}"), "not a safetensors file"),
        (weights_bytes(header(b"{" * 1000)), "not a safetensors file"),
        (
            weights_bytes(header(b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}')),
            "not a safetensors file",
        ),
        (
            weights_bytes(header(b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}', b"0000")),
            "not a safetensors",
        ),
    ],
)
def test_a_card_that_cannot_be_trusted_is_refused_in_one_line(
    directory: Path, change: Callable[[Path], None], message: str
) -> None:
    change(directory)
    with pytest.raises(ClassifierError, match=message) as caught:
        load_classifier(directory)
    assert "\n" not in str(caught.value)
    assert str(directory) in str(caught.value)
    assert len(str(caught.value)) < 600


def test_the_untouched_copy_loads(directory: Path) -> None:
    assert load_classifier(directory).info == load_classifier("digits").info


def test_weights_larger_than_any_sane_ones_are_not_even_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "_LARGEST_WEIGHTS", 1000)
    with pytest.raises(ClassifierError, match="expected at most 1,000"):
        load_classifier(directory)


def test_the_fingerprint_is_over_architecture_arguments_and_weights() -> None:
    prints = {
        cards.fingerprint("a", {"classes": 2}, b"w"),
        cards.fingerprint("b", {"classes": 2}, b"w"),
        cards.fingerprint("a", {"classes": 3}, b"w"),
        cards.fingerprint("a", {"classes": 2}, b"v"),
    }
    assert len(prints) == 4
    assert cards.fingerprint("a", {"x": 1, "y": 2}, b"w") == cards.fingerprint("a", {"y": 2, "x": 1}, b"w")


def test_the_name_and_the_accuracy_in_a_card_do_not_change_the_fingerprint(directory: Path) -> None:
    edit(name="other", accuracy=None)(directory)
    classifier = load_classifier(directory)
    assert (classifier.info.name, classifier.info.accuracy) == ("other", None)
    assert classifier.info.fingerprint == load_classifier("digits").info.fingerprint


# ---- a module on this machine


def test_an_answer_is_an_ordinary_tensor_and_the_module_is_left_alone() -> None:
    module = network("judge_cnn").train()
    classifier = TorchClassifier(module, info())
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    scores = classifier(pixels(4, 0).double())
    scores[0] = torch.nan  # an inference tensor would refuse
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
    assert not module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert classifier(pixels(0, 0)).shape == (0, 10)


@pytest.mark.parametrize("images", [pixels(2, 0)[0], pixels(2, 0, (3, 28, 28)), pixels(2, 0, (1, 28, 27)), None])
def test_images_of_another_shape_or_type_are_refused(images: torch.Tensor | None) -> None:
    classifier = TorchClassifier(network(), info())
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8) if images is None else images
    with pytest.raises(ClassifierError, match=r"expected floats in \[0, 1\] of shape \[N, 1, 28, 28\]"):
        classifier(images)


def test_scores_of_another_shape_are_refused() -> None:
    with pytest.raises(ClassifierError, match=r"shape \[2, 10\], expected \[2, 9\]"):
        TorchClassifier(network(), info(classes=9))(pixels(2, 0))


def test_a_module_that_fails_is_a_failed_target() -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("out of\nmemory")

    with pytest.raises(OutOfMemoryError, match="net failed: RuntimeError: out of memory") as caught:
        TorchClassifier(Broken(), info())(pixels(2, 0))
    assert not caught.value.fatal


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("architecture", ["small_cnn", "judge_cnn"])
def test_both_layouts_answer_alike(architecture: str, channels: int) -> None:
    images = pixels(50, 1, (channels, 28, 28))
    shape = (channels, 28, 28)
    plain = TorchClassifier(network(architecture, channels), info(shape=shape))(images)
    last = TorchClassifier(network(architecture, channels), info(shape=shape, memory_format="channels_last"))(images)
    assert torch.allclose(plain, last, atol=1e-4)
    assert plain.abs().max() > 0.1


@given(st.integers(0, 4), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.booleans(), st.integers(0, 99))
def test_a_layout_changes_the_strides_and_nothing_else(n: int, c: int, h: int, w: int, turned: bool, seed: int) -> None:
    images = pixels(n, seed, (c, h, w))
    images = images.transpose(2, 3) if turned else images
    n, c, h, w = images.shape
    for layout in ("contiguous", "channels_last"):
        laid = lay_out(images, layout)
        assert torch.equal(laid, images)
    if c == 1 or (n and h * w > 1):
        assert lay_out(images, "channels_last").stride()[1:] == (1, w * c, c)
    assert lay_out(images, "contiguous").is_contiguous()


def test_one_channel_is_laid_out_without_a_copy_and_the_convolution_sees_it() -> None:
    whole = pixels(10, 0)
    part = lay_out(whole[3:7], "channels_last")
    assert part.data_ptr() == whole[3:7].data_ptr()
    assert part.stride() == (784, 1, 28, 1)
    convolution = network()[0]
    with torch.no_grad():
        assert convolution(part).stride()[1] == 1
        assert convolution(lay_out(whole, "contiguous")).stride()[1] == 784


class Clockwork(nn.Module):
    """A module whose time is told by a clock of its own: a constant for each call and one for each row."""

    def __init__(self, call: float, row: float, last: float):
        super().__init__()
        self.call, self.row, self.last = call, row, last
        self.now = 0.0
        self.seen: list[tuple[bool, int]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        last = images.stride()[1] == 1
        self.seen.append((last, len(images)))
        first = len(self.seen) == 1  # a first call is slow, and must not count
        self.now += (self.call + self.row * len(images) ** 2) * (self.last if last else 1) + 1e6 * first
        return images.flatten(1)


@pytest.mark.parametrize(
    ("module", "best"),
    [
        (Clockwork(call=1.0, row=0.0, last=0.5), ("channels_last", 125)),
        (Clockwork(call=1.0, row=0.0, last=2.0), ("contiguous", 125)),
        (Clockwork(call=0.0, row=1.0, last=2.0), ("contiguous", 50)),
        (Clockwork(call=1.0, row=1e-4, last=0.5), ("channels_last", 100)),
    ],
)
def test_the_fastest_layout_is_the_one_with_the_smallest_time(
    module: Clockwork, best: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "time", SimpleNamespace(perf_counter=lambda: module.now))
    assert fastest_layout(module, (1, 28, 28), rounds=1) == best
    assert set(module.seen) == {(last, size) for last in (False, True) for size in (50, 100, 125)}


@pytest.fixture
def fresh_allocator() -> Iterator[None]:
    tune_allocator.cache_clear()
    yield
    tune_allocator.cache_clear()


@pytest.mark.usefixtures("fresh_allocator")
def test_the_allocator_is_tuned_on_glibc_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def mallopt(parameter: int, value: int) -> int:
        asked.append((parameter, value))
        return 1

    glibc = SimpleNamespace(gnu_get_libc_version=object(), mallopt=mallopt)
    monkeypatch.setattr(adapter.ctypes, "CDLL", lambda name: glibc)
    monkeypatch.setattr(adapter.sys, "platform", "darwin")
    assert not tune_allocator()
    tune_allocator.cache_clear()
    monkeypatch.setattr(adapter.sys, "platform", "linux")
    assert tune_allocator()
    assert tune_allocator()
    assert asked == [(-3, 32 << 20), (-1, 256 << 20)]  # once, not twice
    tune_allocator.cache_clear()
    monkeypatch.setattr(adapter.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not tune_allocator()


# ---- stand-ins for tests


def test_linear_by_hand() -> None:
    weight = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[0.0, 0.0], [0.0, -1.0]]]])
    linear = fake.Linear(weight, torch.tensor([0.5, 0.0]))
    images = torch.tensor([[[[1.0, 1.0], [1.0, 1.0]]], [[[0.0, 0.5], [0.0, 1.0]]]])
    assert linear(images).tolist() == [[10.5, -1.0], [5.5, -1.0]]
    assert linear.info.class_names == ("0", "1")
    assert linear.info.image_shape == (1, 2, 2)


@given(st.integers(1, 40), st.integers(0, 1000), st.integers(1, 9), st.integers(1, 9))
def test_a_row_of_linear_has_the_same_bits_alone_and_in_any_batch(n: int, seed: int, h: int, w: int) -> None:
    weight = torch.randn(3, 2, h, w, generator=torch.Generator().manual_seed(seed))
    linear = fake.Linear(weight)
    images = pixels(n, seed, (2, h, w))
    scores = linear(images)
    assert torch.equal(torch.cat([linear(image[None]) for image in images]), scores)
    assert torch.equal(linear(images.flip(0)), scores.flip(0))
    exact = torch.einsum("nchw,kchw->nk", images.double(), weight.double())
    assert torch.allclose(scores.double(), exact, atol=1e-5)


def test_linear_refuses_what_does_not_fit() -> None:
    with pytest.raises(ClassifierError, match="expected"):
        fake.Linear(torch.zeros(2, 4))
    with pytest.raises(ClassifierError, match="expected one K"):
        fake.Linear(torch.zeros(2, 1, 2, 2), torch.zeros(3))
    with pytest.raises(ClassifierError, match="expected one K"):
        fake.Linear(torch.zeros(2, 1, 2, 2), class_names=("a",))
    with pytest.raises(ClassifierError, match=r"expected \[N, 1, 2, 2\]"):
        fake.Linear(torch.zeros(2, 1, 2, 2))(torch.zeros(1, 1, 2, 3))


def test_other_weights_are_another_fingerprint() -> None:
    one = fake.Linear(torch.zeros(2, 1, 2, 2)).info.fingerprint
    assert one == fake.Linear(torch.zeros(2, 1, 2, 2)).info.fingerprint
    assert one != fake.Linear(torch.ones(2, 1, 2, 2)).info.fingerprint


def test_constant_answers_the_same() -> None:
    constant = fake.Constant([0.25, 0.75], (1, 2, 2), kind="probabilities")
    scores = constant(torch.zeros(3, 1, 2, 2))
    assert scores.tolist() == [[0.25, 0.75]] * 3
    scores[0] = 9.0
    assert constant(torch.zeros(1, 1, 2, 2)).tolist() == [[0.25, 0.75]]
    assert constant.info.kind == "probabilities"


def test_counting_remembers_each_call() -> None:
    counting = fake.Counting(fake.Constant([1.0, 2.0], (1, 2, 2)))
    assert counting(torch.zeros(3, 1, 2, 2)).tolist() == [[1.0, 2.0]] * 3
    counting(torch.zeros(2, 1, 2, 2))
    assert (counting.sizes, counting.calls, counting.rows) == ([3, 2], 2, 5)


def test_silent_answers_all_but_the_chosen() -> None:
    silent = fake.Silent(fake.Constant([1.0, 2.0], (1, 1, 1)), lambda images: images[:, 0, 0, 0] > 0.5)
    scores = silent(torch.tensor([0.0, 1.0, 0.2]).view(3, 1, 1, 1))
    assert scores.isnan().all(dim=1).tolist() == [False, True, False]
    assert scores[0].tolist() == [1.0, 2.0]


def test_failing_fails_at_the_chosen_calls_only() -> None:
    failing = fake.Failing(fake.Constant([1.0, 2.0], (1, 1, 1)), {2}, retry_after=0.5, fatal=True)
    image = torch.zeros(1, 1, 1, 1)
    assert failing(image).tolist() == [[1.0, 2.0]]
    with pytest.raises(TargetError, match="call 2 fails") as caught:
        failing(image)
    assert (caught.value.retry_after, caught.value.fatal) == (0.5, True)
    assert failing(image).tolist() == [[1.0, 2.0]]
    assert failing.calls == 3


@pytest.mark.parametrize("make", [fake.Counting, lambda c: fake.Silent(c, lambda i: i[:, 0, 0, 0] > 2), None])
def test_every_stand_in_keeps_the_contract(make: Callable[[Classifier], Classifier] | None) -> None:
    inner = fake.Constant([1.0, 2.0])
    classifier = fake.Failing(inner, ()) if make is None else make(inner)
    assert isinstance(classifier, Classifier)
    assert torch.equal(classifier(pixels(3, 0)), inner(pixels(3, 0)))


# ---- writing


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    card, _, _ = cards.read(SHIPPED / "digits")
    weights = (SHIPPED / "digits" / "weights.safetensors").read_bytes()
    for target in (tmp_path, tmp_path / "file"):
        with pytest.raises(UserError, match="expected a new or empty directory"):
            cards.write(target, card, weights)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "empty", tmp_path / "new" / "deep"):
        cards.write(target, card, weights)
        assert load_classifier(target).info == load_classifier("digits").info
        assert (target / "card.json").read_bytes() == (SHIPPED / "digits" / "card.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "new"]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card, _, _ = cards.read(SHIPPED / "digits")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cards.os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        cards.write(tmp_path / "net", card, b"weights")
    assert list(tmp_path.iterdir()) == []
