"""Two classes by one sigmoid, balanced, gray or frozen, from a library's network; and the cards that say so."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from typer.testing import CliRunner

from evofool import cli, finetune, networks, saving, training
from evofool.classifiers import SHIPPED, load_classifier
from evofool.classifiers.support import card as cards
from evofool.classifiers.support import pretrained
from evofool.classifiers.support.prepare import Prepare
from evofool.contracts import Dataset
from evofool.data import fingerprint, split_off
from evofool.errors import ClassifierError, DataError
from test_training import halves


def named(images: torch.Tensor, labels: list[int], names: tuple[str, ...]) -> Dataset:
    classes = torch.tensor(labels)
    return Dataset(images, classes, names, "zoo", fingerprint(images, classes, names), 0.0)


def zoo(*labels: int, names: tuple[str, ...] = ("bird", "cat", "zebra")) -> Dataset:
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    return named(images, list(labels), names)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "fastest_layout", lambda module, image_shape: ("channels_last", 50))


# ---- two classes, one output


def test_one_class_against_the_rest_is_sorted_as_in_a_folder() -> None:
    data = zoo(0, 1, 2, 1)
    cat = finetune.one_against_rest(data, "cat")
    assert cat.class_names == ("cat", "not_cat")
    assert cat.labels.tolist() == [1, 0, 1, 0]
    zebra = finetune.one_against_rest(data, "zebra")
    assert zebra.class_names == ("not_zebra", "zebra")
    assert zebra.labels.tolist() == [0, 0, 1, 0]
    assert torch.equal(cat.images, data.images)
    assert (cat.name, cat.fingerprint) == ("zoo, cat or not", fingerprint(cat.images, cat.labels, cat.class_names))


def test_a_folder_of_two_such_classes_stays_as_it_is() -> None:
    data = zoo(0, 1, 1, 0, names=("cat", "not_cat"))
    found = finetune.one_against_rest(data, "cat")
    assert (found.class_names, found.labels.tolist()) == (data.class_names, data.labels.tolist())
    assert found.fingerprint == data.fingerprint


def test_a_class_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"zoo has no class 'cta'; did you mean 'cat'\? \(known: bird, cat, zebra\)"):
        finetune.one_against_rest(zoo(0, 1, 2), "cta")


def test_the_loss_is_the_binary_cross_entropy_of_the_sigmoid() -> None:
    z, labels = torch.tensor([[-3.0], [0.5], [2.0], [40.0]]), torch.tensor([0, 1, 0, 1])
    two = networks.two_logits(z)
    assert two.tolist() == [[0, -3], [0, 0.5], [0, 2], [0, 40]]
    expected = functional.binary_cross_entropy_with_logits(z[:, 0], labels.float(), reduction="none")
    assert torch.allclose(functional.cross_entropy(two, labels, reduction="none"), expected)


def test_a_single_sigmoid_gives_both_probabilities_and_rounds_neither_to_nothing() -> None:
    module = networks.SingleSigmoid(nn.Identity())
    z = torch.tensor([[-30.0], [0.0], [30.0]])
    found = module(z)
    assert torch.allclose(found[:, 1], z[:, 0].sigmoid())
    assert torch.allclose(found.log(), torch.stack([-functional.softplus(z[:, 0]), -functional.softplus(-z[:, 0])], 1))
    assert found.min() > 0


@pytest.mark.parametrize("names", [("left", "not_left"), ("not_right", "right")])
def test_the_sigmoid_is_the_probability_of_the_second_class(
    names: tuple[str, str], tmp_path: Path, unmeasured: None
) -> None:
    data, test = (finetune.one_against_rest(halves(n, s), next(n for n in names if "_" not in n)) for n, s in SPLITS)
    assert data.class_names == names
    found = training.train(data, single=True, balanced=True, epochs=4, seed=1)
    card = training.save(found, data, tmp_path / "net", "mine", test)
    assert (card.kind, card.output, card.balanced) == ("probabilities", "sigmoid", True)
    assert (tmp_path / "net" / "card.json").read_text() == card.model_dump_json(indent=2) + "\n"
    classifier = load_classifier(tmp_path / "net")
    images = test.images.float() / 255
    with torch.no_grad():
        z = found.module(images)
    scores = classifier(images)
    assert z.shape == (len(test), 1)
    assert torch.allclose(scores[:, 1], z[:, 0].sigmoid(), atol=1e-5)
    assert (scores.argmax(1) == test.labels).float().mean() == pytest.approx(card.accuracy)
    assert min(card.accuracy, card.balanced_accuracy) > 0.9
    assert (classifier.info.kind, classifier.info.class_names) == ("probabilities", names)


SPLITS = ((200, 0), (100, 1))


def test_a_single_output_needs_two_classes() -> None:
    with pytest.raises(ClassifierError, match="has 3 classes; a single output tells 2 apart"):
        training.train(zoo(*[0, 1, 2] * 10), single=True)


# ---- balance


def test_balancing_by_hand() -> None:
    data = zoo(*[0] * 5 + [1] * 15 + [2] * 20)
    assert finetune.inverse_frequency(data).tolist() == pytest.approx([40 / 15, 40 / 45, 40 / 60])
    with pytest.raises(DataError, match="zoo has 4 images of 'cat', expected at least 5 of each class"):
        finetune.inverse_frequency(zoo(*[0] * 5 + [1] * 4 + [2] * 20))
    with pytest.raises(DataError, match="0 images of 'zebra'"):
        training.train(zoo(*[0, 1] * 10), balanced=True)


def test_a_class_with_a_third_of_the_images_pulls_as_much_as_the_other() -> None:
    """One image of a class, three of the other, all black: at p = 1/2 the pulls on the bias are equal."""
    biases = {}
    for weights in (None, torch.tensor([2.0, 2 / 3])):
        with networks.drawn_from(generator()):
            body = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
        nn.init.zeros_(body[1].bias)
        learner = finetune.Learner(body, single=True)
        learner.class_weights = weights
        optimiser = torch.optim.SGD(learner.parameters(), lr=1.0)
        training._learn(learner, optimiser, torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 1, 1]))
        biases[weights is None] = body[1].bias.item()
    assert biases == pytest.approx({False: 0.0, True: 0.25}, abs=1e-6)


def test_balanced_training_weighs_and_stops_by_the_mean_of_the_classes() -> None:
    noise = torch.randint(0, 256, (200, 1, 8, 8), generator=generator()).byte()
    data = named(noise, [0 if i % 5 == 0 else 1 for i in range(200)], ("cat", "not_cat"))
    asked = split_off(data, 40, 0)[1]
    for balanced in (False, True):
        found = training.train(data, single=True, balanced=balanced, epochs=2, seed=0)
        shares = {way: training.accuracy(found.learner, asked, balanced=way) for way in (False, True)}
        assert shares[False] != shares[True]
        assert found.held_out_accuracy == shares[balanced]
        weights = found.learner.class_weights
        assert weights is None if not balanced else weights.tolist() == pytest.approx([2.5, 0.625])


def test_balanced_accuracy_by_hand() -> None:
    class AllFirst(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)

    data = zoo(0, 1, 1, 1, names=("cat", "not_cat"))
    assert training.accuracy(AllFirst(), data) == 0.25
    assert training.accuracy(AllFirst(), data, balanced=True) == 0.5
    assert training.accuracy(AllFirst(), zoo(0, 0, names=("cat", "not_cat")), balanced=True) == 1.0


# ---- frozen


def test_freezing_leaves_all_but_the_head_as_it_was() -> None:
    body = networks.initialise(
        networks.build("judge_cnn", {"in_channels": 1, "classes": 1, "size": (8, 8)}), generator()
    )
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    learner = finetune.Learner(body, single=True, head=(body[-1],), frozen=True)
    optimiser = torch.optim.Adam([each for each in learner.parameters() if each.requires_grad], lr=0.1)
    data = halves(20, 0)
    for _ in range(3):
        training._learn(learner, optimiser, data.images.float() / 255, data.labels)
    changed = [name for name, tensor in body.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["14.weight", "14.bias"]  # not even the running means of the others
    assert body[14].training
    assert not body[1].training
    learner = finetune.Learner(body, single=True, head=(body[-1],))
    learner.requires_grad_(True)
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.1)
    training._learn(learner, optimiser, data.images.float() / 255, data.labels)
    assert not torch.equal(body[1].running_mean, before["1.running_mean"])
    assert not torch.equal(body[0].weight, before["0.weight"])


def test_a_last_batch_of_one_image_joins_the_one_before() -> None:
    sizes = {n: [len(part) for part in training._cut(torch.arange(n), 4)] for n in (1, 4, 5, 6, 9)}
    assert sizes == {1: [1], 4: [4], 5: [5], 6: [4, 2], 9: [4, 5]}
    assert [len(part) for part in training._cut(torch.arange(3), 1)] == [1, 1, 1]


# ---- cards

BEFORE = {
    "digits": "158b9eddaf5924defeee353a5e95f09dbffbf844e9465aa28c34d324a903e2a1",
    "digits-judge": "acbb74a41b0611002d6901ee3d8e7fa0ef439c6d45006b2845dffd0aab0d451d",
    "mnist95": "d051ad061ab7689c52db307f89f4361d6be26cc49d3c56e6420625f07f5d58c3",
    "mnist95b": "c80cce53105a462fedf42751eaa48e081d2e13f4855cfc0922ea269926e0782c",
    "mnist95c": "8ecfa0de6121cc8372b59550eb9ea3819663f4c173b7818b650fb42dee6089cf",
    "mnist99": "56110e29a45ff3badeff0f73b09266bad29513350d338f0df1752dd7f71794b8",
}


@pytest.mark.parametrize("name", sorted(BEFORE))
def test_cards_from_before_are_read_as_before(name: str) -> None:
    classifier = load_classifier(name)
    assert classifier.info.fingerprint == BEFORE[name]
    assert classifier.info.preparation == ""
    file = SHIPPED / name / "card.json"
    assert file.read_text() == cards.Card.model_validate_json(file.read_text()).model_dump_json(indent=2) + "\n"


def prepared(tmp_path: Path, prepare: Prepare, **more: Any) -> Path:
    """A saved classifier with a preparation, as one that began with a library's network has."""
    data = halves(40, 0)
    found = training.train(data, epochs=1, single=True, architecture="judge_cnn")
    found.learner.prepare = prepare
    training.save(found, data, tmp_path, "mine", **more)
    return tmp_path


def test_a_card_holds_what_happens_to_images(tmp_path: Path, unmeasured: None) -> None:
    plain = prepared(tmp_path / "a", Prepare())
    prepare = Prepare(channels=1, size=(12, 16), interpolation="bicubic", mean=(0.5,), std=(0.25,))
    other = prepared(tmp_path / "b", prepare)
    one, two = load_classifier(plain), load_classifier(other)
    assert one.info.fingerprint != two.info.fingerprint
    assert one.info.preparation == ""
    assert two.info.preparation == "resized to 12 x 16 (bicubic), normalised"
    assert two.prepare == prepare
    images = torch.rand(3, 1, 8, 8, generator=generator())
    with torch.no_grad():
        expected = two.module(prepare(images))
    assert torch.allclose(two(images), expected, atol=1e-6)
    assert not torch.allclose(two(images), one(images))
    assert "preparation" not in json.loads((plain / "card.json").read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "logits"}, "kind is logits and output sigmoid"),
        ({"output": "scores"}, "kind is probabilities and output scores"),
        ({"class_names": ["a", "b", "c"]}, "tells 2 classes apart, not 3"),
        ({"preparation": {"std": [0.0]}}, "'preparation.std.0' is 0.0"),
        ({"preparation": {"crop": 0.9}}, "unknown key 'preparation.crop'"),
        ({"preparation": {"channels": 2}}, "'preparation.channels'"),
        ({"adversarial": {"norm": "l2", "eps": 0.1, "steps": 1, "step_size": 0.1}}, "'adversarial.norm' is 'l2'"),
        ({"architecture": "timm:resnet18"}, "needs timm: pip install|lacks the tensor|has a tensor"),
        ({"architecture": "torchvision:resnet18", "arguments": {"width": 3}}, "takes no arguments"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path, unmeasured: None
) -> None:
    folder = prepared(tmp_path / "net", Prepare())
    said = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**said, **change}))
    with pytest.raises(ClassifierError, match=message) as caught:
        load_classifier(folder)
    assert "\n" not in str(caught.value)


# ---- libraries, as far as they can be had without them


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("smal_cnn", "unknown architecture 'smal_cnn'; did you mean 'small_cnn'"),
        ("tim:resnet18", "unknown library 'tim'; did you mean 'timm'"),
        ("hf:some/thing", r"unknown library 'hf' \(known: timm, torchvision\)"),
    ],
)
def test_an_unknown_architecture_is_told_with_the_nearest(architecture: str, message: str) -> None:
    with pytest.raises(ClassifierError, match=message):
        training.train(halves(20, 0), architecture=architecture)


@pytest.mark.parametrize("spec", ["timm:resnet18", "torchvision:vgg16", "hf:some/thing"])
def test_a_missing_library_is_told_in_one_line(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("timm", "torchvision", "torchvision.models", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    extra = "hf" if spec.startswith("hf") else "timm"
    with pytest.raises(ClassifierError, match=rf"^{spec} needs \w+: pip install 'evofool\[{extra}\]'$"):
        load_classifier(spec)
    if extra == "timm":
        with pytest.raises(ClassifierError, match=f"{spec} needs"):
            training.train(halves(20, 0), architecture=spec)


@pytest.mark.parametrize(
    ("spec", "module"), [("timm:resnet18", "timm"), ("torchvision:vgg16", "torchvision"), ("hf:a/b", "transformers")]
)
def test_a_library_that_cannot_be_loaded_is_told_in_one_line(
    spec: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / module
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms\\ndoes not exist')\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ClassifierError, match=r"installed but cannot be loaded.*nms does not exist.*torch") as caught:
        load_classifier(spec)
    assert "\n" not in str(caught.value)


def test_a_fetch_that_fails_is_one_line_that_says_what_else_can_be_done() -> None:
    def get() -> None:
        raise OSError("no route\nto host " + 200 * "x")

    with pytest.raises(pretrained.MissingWeightsError) as caught:
        pretrained.fetched("timm:net", get, ", or give --with pretrained=false for random ones")
    text = str(caught.value)
    assert text.startswith("timm:net: its weights could not be fetched (OSError: no route to host xxx")
    assert text.endswith("has them already, or give --with pretrained=false for random ones")
    assert "\n" not in text
    assert len(text) < 320
    assert pretrained.fetched("timm:net", lambda: 5) == 5


def test_names_that_occur_twice_get_their_number() -> None:
    assert pretrained.distinct(["crane", "ant", "crane"]) == ("crane (0)", "ant", "crane (2)")


def library_of_one(trained: bool) -> Any:
    """A stand-in for a library: one tiny network that takes images of 6 pixels and more."""

    def network(architecture: str, outputs: int, *, trained: bool = False) -> pretrained.Network:
        if trained and not given:
            raise pretrained.MissingWeightsError(f"{architecture}: its weights could not be fetched (why); do this")
        with pretrained.random_weights():
            head = nn.Linear(4, outputs)
            body = nn.Sequential(nn.Conv2d(3, 4, 6), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
        return pretrained.Network(body, (head,), Prepare(3, (12, 12), 0.9, mean=(0.5,) * 3, std=(0.2,) * 3), None)

    given = trained
    return network


@pytest.mark.parametrize("given", [True, False])
def test_a_library_is_begun_from_its_weights_where_they_can_be_had(
    given: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pretrained, "network", library_of_one(given))
    told: list[str] = []
    data = halves(60, 0)
    settings: dict[str, Any] = {"architecture": "timm:one", "single": True, "epochs": 1, "seed": 2}
    found = training.train(data, warn=told.append, **settings)
    assert found.learner.pretrained == given
    assert found.learning_rate == (0.0001 if given else 0.001)
    missing = "timm:one: its weights could not be fetched (why); training begins with random weights"
    assert told == ([] if given else [missing])
    if given:
        frozen = training.train(data, freeze=True, **settings)
        assert (frozen.learner.frozen, frozen.learning_rate) == (True, 0.003)
        assert torch.equal(frozen.module[0].weight, library_of_one(True)("timm:one", 1).module[0].weight)
    else:
        with pytest.raises(ClassifierError, match=r"could not be fetched.*nothing to freeze"):
            training.train(data, freeze=True, **settings)
        with pytest.raises(ClassifierError, match="nothing to freeze"):
            training.train(data, freeze=True, trained=False, **settings)
    same = training.train(data, **settings)
    assert cards.serialise(same.module) == cards.serialise(found.module)  # dropout and all
    card = training.save(found, data, tmp_path / "net", "mine")
    assert (card.pretrained, card.frozen, card.preparation.size, card.preparation.channels) == (
        given,
        False,
        (12, 12),
        3,
    )
    classifier = load_classifier(tmp_path / "net")
    images = data.images.float() / 255
    assert torch.allclose(classifier(images), found.learner(images).softmax(1), atol=1e-6)


def test_a_library_sees_images_as_large_as_it_can_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "network", library_of_one(True))
    sizes = {}
    for wanted in (None, (8, 8), (4, 4)):
        sizes[wanted] = finetune.start("timm:one", halves(20, 0), generator(), input_size=wanted).prepare.size
    assert sizes == {None: (12, 12), (8, 8): (8, 8), (4, 4): (12, 12)}
    five = replace(halves(20, 0), images=torch.zeros(20, 5, 8, 8, dtype=torch.uint8))
    with pytest.raises(ClassifierError, match="timm:one cannot take images of 5 x 8 x 8"):
        finetune.start("timm:one", five, generator())
    with pytest.raises(ClassifierError, match="takes no argument 'width'"):
        finetune.start("timm:one", halves(20, 0), generator(), arguments={"width": 3})


def test_within_drawn_from_nothing_moves_the_global_generator() -> None:
    before = torch.get_rng_state()
    made = []
    for seed in (1, 1, 2):
        with networks.drawn_from(generator(seed)):
            layer = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout(0.5)).train()
            shuffled = (
                torch.randperm(20),
                torch.randint(3, 9, (20,)),
                torch.rand(3),
                torch.randn(4),
                torch.rand_like(torch.ones(2)),
            )
            made.append([layer(torch.ones(1, 1, 5, 5)).detach(), *shuffled, torch.bernoulli(torch.full((9,), 0.5))])
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one, other) for one, other in zip(made[0], made[1], strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(made[0][:5], made[2][:5], strict=True))


# ---- the command line


def photographs(folder: Path) -> Path:
    noise = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, shade in (("ant", 60), ("cat", 200), ("dog", 90)):
            where = folder / split / name
            where.mkdir(parents=True)
            for i in range(12):
                pixels = (shade + noise.integers(-40, 40, (20 + i, 25, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(where / f"{i}.png")
    return folder


def test_the_command_line_makes_a_binary_gray_classifier(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "zoo")
    words = [
        "train",
        "--arch",
        "judge_cnn",
        "--data",
        str(folder),
        "--gray",
        "--binary",
        "cat",
        "--image-size",
        "16x18",
    ]
    words += ["--epochs", "12", "--batch-size", "8", "--seed", "1", "--json", "-o", str(tmp_path / "net")]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.stderr
    card = json.loads(done.stdout)
    assert (card["image_shape"], card["class_names"], card["output"]) == ([1, 16, 18], ["cat", "not_cat"], "sigmoid")
    assert (card["architecture"], card["balanced"]) == ("judge_cnn", True)
    assert card["balanced_accuracy"] > 0.8
    assert f"{card['balanced_accuracy']:.2%} in the mean of the classes" in done.stderr
    assert card["command"] == (
        f"evofool train --data {folder} --architecture judge_cnn --gray --binary cat --image-size 16x18 --seed 1 "
        f"--epochs 12 --batch-size 8 -o net"
    )
    white = torch.full((1, 1, 16, 18), 200 / 255)
    assert load_classifier(tmp_path / "net")(white)[0, 0] > 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--binary", "cta"], "no class 'cta'; did you mean 'cat'"),
        (["--arch", "smal_cnn"], "did you mean 'small_cnn'"),
        (["--freeze"], "small_cnn begins with random weights: there is nothing to freeze"),
        (["--image-size", "big"], "--image-size big: expected a number of pixels"),
        (["--image-size", "0"], "at least 1 pixel"),
        (["--adversarial", "l1:3"], "expected linf:EPS"),
        (["--adversarial-steps", "3"], "give --adversarial linf:0.3 too"),
    ],
)
def test_the_command_line_refuses_in_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "zoo")
    size = [] if "--image-size" in words else ["--image-size", "16"]
    out = str(tmp_path / "net")
    done = CliRunner().invoke(cli.app, ["train", "--data", str(folder), *size, *words, "-o", out, "--quiet"])
    assert done.exit_code == 2
    (line,) = done.stderr.strip().splitlines()
    assert message in line
    assert not Path(out).exists()
