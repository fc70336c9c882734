"""What a user says of a classifier is taken strictly, from wherever it is said, and can be loaded again from a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import skip_init

from evofool import load_classifier
from evofool.classifiers import adapters, kind_of, shipped
from evofool.classifiers.support.settings import Settings, described, settings
from evofool.classifiers.support.sources import reaches, recorded, require_trust, sourced
from evofool.contracts import Dataset
from evofool.data import load_data
from evofool.errors import ClassifierError, ClassifierWarning, UserError
from evofool.ledger import Ledger
from fakes import stream


def data(classes: tuple[str, ...] = ("a", "b", "c"), shape: tuple[int, int, int] = (1, 4, 4)) -> Dataset:
    images = (stream()["images"].uniform(6, *shape)[0] * 255).byte()
    return Dataset(images, torch.arange(6) % len(classes), classes, "made up", "00" * 32)


def linear() -> nn.Module:
    module = nn.Sequential(nn.Flatten(), skip_init(nn.Linear, 16, 3))
    weight = stream()["weight"].uniform(3, 16)[0] - 0.5
    module.load_state_dict({"1.weight": weight, "1.bias": torch.tensor([0.1, 0.2, 0.3])})
    return module


# What is said -------------------------------------------------------------------------------------------------------


def test_words_numbers_and_lists_say_the_same() -> None:
    said = {
        "image_shape": "3x32x48", "class_names": "cat, dog", "mean": "0.5,0.4,0.3", "std": 0.5, "micro_batch": "8",
        "metered": "true", "kind": "probabilities",
    }  # fmt: skip
    same = {
        "image_shape": [3, 32, 48], "class_names": ["cat", "dog"], "mean": [0.5, 0.4, 0.3], "std": [0.5],
        "micro_batch": 8, "metered": True, "kind": "probabilities",
    }  # fmt: skip
    assert settings("onnx:a.onnx", said) == settings("onnx:a.onnx", same)
    assert settings("x", said).image_shape == (3, 32, 48)


def test_what_was_said_can_be_said_again() -> None:
    said = settings("https://a/b", {"headers": {"X-Api-Key": "Bearer env:KEY"}, "mean": 0.5, "class_names": "a,b"})
    assert settings(said.spec, json.loads(json.dumps(said.said()))) == said
    assert hash(said) == hash(settings("https://a/b", said.said()))


def test_a_toml_file_holds_everything_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "api.toml"
    file.write_text('spec = "https://a/b"\nclass_names = ["x", "y"]\nconcurrency = 3\n[headers]\nA = "env:B"\n')
    said = settings(str(file), {"concurrency": "7"})
    assert (said.spec, said.class_names, said.concurrency) == ("https://a/b", ("x", "y"), 7)
    assert said.headers == (("A", "env:B"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spec = ", "is not TOML"),
        ("name = 'x'", 'has no spec; expected a line such as spec = "https'),
        ("spec = 3", "has no spec"),
        ("spec = 'other.toml'", "its spec is another TOML file"),
        ("spec = 'a'\nclas_names = ['a', 'b']", "unknown setting 'clas_names'; did you mean 'class_names'"),
        ("spec = 'a'\nmicro_batch = 0", "micro_batch = '0': Input should be greater than 0"),
        ("spec = 'a'\n[headers]\nAuthorization = 'Bearer 123'", 'Authorization: expected "env:NAME"'),
        ("spec = 'a'\n[params]\napi_key = '123'", 'api_key: expected "env:NAME"'),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "api.toml"
    file.write_text(text)
    with pytest.raises(ClassifierError) as caught:
        settings(str(file))
    assert words in str(caught.value) and "\n" not in str(caught.value) and "api.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"class_names": "a,a"}, "expected names that differ"),
        ({"class_names": "a"}, "at least 2"),
        ({"image_shape": "28x28"}, "expected channels x height x width, such as 3x224x224"),
        ({"image_shape": "2x28x28"}, "2 channels; expected 1"),
        ({"kind": "softmax"}, "'logits', 'probabilities', 'top-k' or 'label'"),
        ({"device": "gpu"}, "device = 'gpu'"),
        ({"std": "0"}, "std: expected no 0"),
        ({"mean": "nan"}, "finite number"),
        ({"name": "a/b"}, "without /"),
        ({"classes": "b,c", "class_names": "a,b"}, "the names of class_names in another order"),
    ],
)
def test_a_wrong_value_is_one_line(said: dict[str, str], words: str) -> None:
    with pytest.raises(ClassifierError) as caught:
        settings("x", said)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_no_such_file() -> None:
    with pytest.raises(ClassifierError, match="there is no such file; expected a TOML file"):
        settings("nowhere.toml")


def test_every_setting_is_described() -> None:
    named = {name for names in described() for name in names.split(", ")}
    assert named == set(Settings.model_fields) and all(described().values())


# What a spec is for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("mnist95", "torch"), ("onnx:a", "onnx"), ("a/b.onnx", "onnx"), ("net.keras", "keras"), ("x.skops", "sklearn"),
        ("http://a:80/b", "http"), ("HTTPS://a", "http"), ("command:./predict --fast", "command"),
        ("pkg.mod:attr", "python"), ("dir/file.py:attr", "python"), ("timm:vgg16.tv_in1k", "timm"),
        ("torchvision:vgg16@IMAGENET1K_V1", "torchvision"), ("hf:org/name", "hf"), ("torchscript:a.pt", "torchscript"),
        ("state:a.safetensors@m:f", "state"), ("export:a.pt2", "export"),
    ],
)  # fmt: skip
def test_the_kind_of_a_spec(spec: str, kind: str) -> None:
    assert kind_of(spec) == kind


def test_every_kind_says_its_form_and_what_it_is() -> None:
    expected = {"http", "onnx", "keras", "sklearn", "state", "export", "torchscript", "python", "command", "timm", "hf"}
    assert expected <= set(adapters())
    for kind, line in adapters().items():
        assert ": " in line, f"{kind}: {line}"


@pytest.mark.parametrize("spec", ["torchscript:a.pt", "export:a.pt2"])
def test_programs_need_trust(spec: str) -> None:
    with pytest.raises(ClassifierError, match="give --trust-code"):
        load_classifier(spec)


def test_a_card_says_everything_already() -> None:
    with pytest.raises(ClassifierError, match="its card says everything already; leave kind out"):
        load_classifier("digits", kind="logits")
    assert load_classifier("digits", device="auto").info.device == "cpu"


# Python -------------------------------------------------------------------------------------------------------------


def test_the_data_decide_what_nobody_says() -> None:
    classifier = load_classifier(linear(), data=data())
    assert classifier.info.image_shape == (1, 4, 4) and classifier.info.class_names == ("a", "b", "c")
    assert torch.allclose(classifier(data().images / 255), linear()(data().images / 255))


def test_class_names_travel_with_their_scores() -> None:
    """Said in the order of the scores, told in the order of the data, or sorted."""
    images = data().images / 255
    plain = linear()(images)
    said = {"class_names": "c,a,b", "image_shape": "1x4x4"}
    assert load_classifier(linear(), said).info.class_names == ("a", "b", "c")
    assert torch.allclose(load_classifier(linear(), said)(images), plain[:, [1, 2, 0]])
    with_data = load_classifier(linear(), said, data=data(("b", "c", "a")))
    assert with_data.info.class_names == ("b", "c", "a") and torch.allclose(with_data(images), plain[:, [2, 0, 1]])


def test_softmaxed_scores_are_taken_for_probabilities() -> None:
    module = nn.Sequential(linear(), nn.Softmax(1))
    assert load_classifier(module, image_shape="1x4x4").info.kind == "probabilities"
    assert load_classifier(linear(), image_shape="1x4x4").info.kind == "logits"


def test_what_is_said_and_contradicted_by_the_answers_is_told() -> None:
    softmaxed = nn.Sequential(linear(), nn.Softmax(1))
    with pytest.warns(ClassifierWarning, match="they look softmaxed already; if so, say --with kind=probabilities"):
        load_classifier(softmaxed, image_shape="1x4x4", kind="logits")
    with pytest.raises(ClassifierError, match=r"said to give probabilities, but answers .*say --with kind=logits"):
        load_classifier(linear(), image_shape="1x4x4", kind="probabilities")


@pytest.mark.parametrize("shifted", [lambda x: (x - 0.5) / 0.25, lambda x: x * 255, lambda x: x + torch.nan])
def test_images_that_are_normalised_already_are_refused(shifted) -> None:
    ledger = Ledger(load_classifier(linear(), data=data()), searches=1)
    with pytest.raises(ClassifierError, match=r"expected \[0, 1\]: are they normalised already"):
        ledger.ask(shifted(data().images / 255), torch.zeros(6, dtype=torch.int64))
    assert ledger.counts.issued.item() == 0


def test_one_output_becomes_two_classes() -> None:
    def sigmoid(images: torch.Tensor) -> torch.Tensor:
        return linear()(images)[:, :1].sigmoid()

    def logit(images: torch.Tensor) -> torch.Tensor:
        return linear()(images)[:, 0]

    images = data().images / 255
    p = sigmoid(images)[:, 0]
    scores = load_classifier(sigmoid, image_shape="1x4x4", kind="probabilities")(images)
    assert torch.equal(scores, torch.stack([1 - p, p], 1))
    logits = load_classifier(logit, image_shape="1x4x4", kind="logits")(images)
    assert torch.allclose(logits.softmax(1)[:, 1], p) and torch.equal(logits.argmax(1), scores.argmax(1))
    with pytest.raises(ClassifierError, match="say whether it is a probability"):
        load_classifier(sigmoid, image_shape="1x4x4")


def test_labels_become_one_hot() -> None:
    def label(images: torch.Tensor) -> torch.Tensor:
        return linear()(images).argmax(1)

    classifier = load_classifier(label, data=data())
    assert classifier.info.kind == "label"
    assert torch.equal(classifier(data().images / 255).argmax(1), label(data().images / 255))
    with pytest.raises(ClassifierError, match="say what the classes are"):
        load_classifier(label, image_shape="1x4x4")


def test_a_module_stays_in_eval_mode_and_keeps_no_gradients() -> None:
    module = nn.Sequential(nn.Dropout(0.9), linear())
    classifier = load_classifier(module, image_shape="1x4x4")
    images = data().images / 255
    first = classifier(images)
    module.train()
    assert torch.equal(classifier(images), first) and not first.requires_grad


def test_a_module_of_the_user_stays_as_it_is() -> None:
    module = nn.Sequential(linear(), nn.Dropout(0.5)).train()
    classifier = load_classifier(module, image_shape="1x4x4", dtype="float64")
    assert classifier.info.dtype == "float64"
    assert module.training and all(p.requires_grad and p.dtype == torch.float32 for p in module.parameters())
    before = classifier(data().images / 255)
    with torch.no_grad():
        module[0][1].weight.zero_()
    assert torch.equal(classifier(data().images / 255), before)


def test_images_are_brought_to_what_the_model_takes() -> None:
    seen = []

    def watching(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return images.flatten(1)[:, :3]

    classifier = load_classifier(watching, data=data(), input_shape="3x8x8", mean=0.5, std=0.5, interpolation="nearest")
    classifier(data().images / 255)
    gray = (data().images / 255).repeat_interleave(2, 2).repeat_interleave(2, 3).expand(-1, 3, -1, -1)
    assert torch.allclose(seen[-1], (gray - 0.5) / 0.5)
    assert classifier.info.preparation == "resized to 8 x 8 (nearest), gray repeated in 3 channels, normalised"


FILE = """
import numpy as np, torch
from torch import nn
from torch.nn.utils import skip_init
def module():
    net = nn.Sequential(nn.Flatten(), skip_init(nn.Linear, 16, 3))
    net.load_state_dict({"1.weight": torch.arange(48.0).view(3, 16) / 48, "1.bias": torch.zeros(3)})
    return net
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), skip_init(nn.Linear, 16, 3))
        self[1].weight.data = torch.arange(48.0).view(3, 16) / 48
        self[1].bias.data.zero_()
net = Net()
def predict(images):
    return images.flatten(1) @ (torch.arange(48.0).view(3, 16) / 48).T
def array(images):
    assert isinstance(images, np.ndarray)
    return images.reshape(len(images), -1) @ (np.arange(48.0).reshape(3, 16) / 48).T
def fails():
    raise ValueError("no weights")
number = 3
"""


@pytest.mark.parametrize("name", ["module", "Net", "net", "predict", "array"])
def test_a_file_of_python_in_all_its_forms(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    classifier = load_classifier(f"{tmp_path}/mine.py:{name}", data=data(), arrays="numpy" if name == "array" else None)
    expected = (data().images / 255).flatten(1) @ (torch.arange(48.0).view(3, 16) / 48).T
    assert torch.allclose(classifier(data().images / 255), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mine.py:modul", "mine.py has no 'modul'; did you mean 'module'"),
        ("mine.py:number", "is a int; expected a module, a factory"),
        ("mine.py:fails", "cannot be made: ValueError: no weights"),
        ("other.py:x", "other.py: there is no such file"),
        ("broken.py:x", "broken.py cannot be imported: SyntaxError"),
        ("no_such_package.module:x", "no_such_package.module cannot be imported: ModuleNotFoundError"),
    ],
)
def test_python_that_is_no_classifier_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, words: str
) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "broken.py").write_text("def (")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClassifierError) as caught:
        load_classifier(spec, data=data())
    assert words in str(caught.value) and "\n" not in str(caught.value)


# In a run -----------------------------------------------------------------------------------------------------------


def test_what_a_run_writes_down_loads_the_same_without_the_data(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    images = load_data("digits").images[:5] / 255
    said = {"class_names": "c,a,b", "input_shape": "1x4x4", "trust_code": "true"}
    example = data(("b", "a", "c"), (1, 28, 28))
    name, source = sourced(f"{tmp_path}/mine.py:net", said, example)
    assert name == "net" and source is not None
    written = json.loads(json.dumps(recorded(source)))
    assert "trust_code" not in written
    again, first = load_classifier(settings(written["spec"], written)), load_classifier(source.spec, said, data=example)
    assert again.info == first.info and again.info.class_names == ("b", "a", "c")
    assert torch.equal(again(images), first(images))


def test_names_in_a_run_differ_and_cards_are_their_names(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    assert sourced("digits", {}, data()) == ("digits", None)
    assert sourced("digits", {"device": "auto"}, data())[1] == settings("digits", {"device": "auto"})
    assert sourced(f"{tmp_path}/mine.py:net", {}, data(), ["net"])[0] == "net+"
    assert sourced(f"{tmp_path}/mine.py:net", {"name": "digits-judge"}, data())[0] == "digits-judge+"


EVIL = ("evil.py:load", "command:rm", "https://evil/", "torchscript:a", "export:a", "state:a@evil:load", "a/evil.toml")


def test_a_strangers_run_directory_is_not_followed_into_code() -> None:
    safe, code = settings("onnx:a.onnx"), settings("evil.py:load")
    assert require_trust(["a", "digits"], {"a": safe}, "run", trust_code=False)["a"] == safe and not reaches(
        {"a": safe}
    )
    for spec in EVIL:
        with pytest.raises(UserError, match="if the run is your own, add --trust-code"):
            require_trust([spec], {}, "run", trust_code=False)  # a name that has no source
        if not spec.endswith(".toml"):
            with pytest.raises(UserError, match="if the run is your own, add --trust-code"):
                require_trust(["a"], {"a": safe, "b": settings(spec)}, "run", trust_code=False)
            assert reaches({"b": settings(spec)})
    with pytest.raises(UserError, match="if the run is your own"):
        require_trust(["onnx:a.onnx"], {}, "run", trust_code=False)  # no card, so no name of a run
    assert require_trust(["b"], {"b": code}, "run", trust_code=True)["b"].trust_code
    assert reaches({"s": settings("sklearn:a.skops", {"trust_code": True})})


def test_an_endpoint_keeps_the_order_of_its_scores_when_it_is_loaded_again() -> None:
    """Its plain lists are in the order that the user says, not in that of the data."""
    name, source = sourced("https://host/p", {"class_names": "c,a,b"}, data(("a", "b", "c")))
    assert source is not None and source.class_names == ("c", "a", "b") and source.classes == ("a", "b", "c")
    again = load_classifier(settings(source.spec, recorded(source)))
    assert again.info == load_classifier(source.spec, class_names="c,a,b", data=data(("a", "b", "c")), name=name).info
    assert list(again._wire.read(b'{"scores": [[0.7, 0.2, 0.1]]}', 1)[0]) == pytest.approx([0.2, 0.1, 0.7])


def test_other_names_than_those_of_the_data_keep_their_order() -> None:
    """They are matched by place, so sorting them would mix them up."""
    said = {"class_names": "zero,one,two"}
    classifier = load_classifier(linear(), said, data=data(("0", "1", "2")))
    assert classifier.info.class_names == ("zero", "one", "two")
    images = data().images / 255
    assert torch.allclose(classifier(images), linear()(images))


def test_shipped_names_are_still_there() -> None:
    assert all(kind_of(name) == "torch" for name in shipped())
