"""The mapping of endpoints and commands: images as they travel, answers as they are read, worked out by hand."""

from __future__ import annotations

import base64
import io
import json
import math
from typing import Any

import pytest
import torch
from PIL import Image

from evofool.classifiers.support.settings import Settings
from evofool.classifiers.support.settings import settings as checked
from evofool.classifiers.support.wire import Secrets, Wire, telling, wire
from evofool.contracts import Dataset
from evofool.errors import ClassifierError, TargetError

NAMES = ("ant", "bee", "cat")


def mapped(*, data: Dataset | None = None, **said: Any) -> Wire:
    more = {} if data else {"class_names": NAMES, "image_shape": (1, 2, 2)}
    return wire("net", ["there"], Settings(spec="https://there", **{**more, **said}), data, concurrency=4)


def read(answer: Any, images: int = 1, **said: Any) -> list[list[float]]:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return mapped(**said).read(text.encode(), images).tolist()


def dataset(names: tuple[str, ...], shape: tuple[int, int, int] = (1, 2, 2)) -> Dataset:
    return Dataset(torch.zeros(2, *shape, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), names, "data", "00")


def near(*rows: Any) -> Any:
    return [pytest.approx(row, abs=1e-7) for row in rows]


# Answers


TF = {"scores": "$.predictions[*].probabilities"}
BESIDE = {"scores": "$.s[*]", "labels": "$.l[*]"}
OBJECTS = [{"label": "cat", "score": 0.7}, {"label": "ant", "score": 0.1}, {"label": "bee", "score": 0.2}]


@pytest.mark.parametrize(
    ("answer", "images", "said", "expected"),
    [
        ({"scores": [[0.1, 0.2, 0.7]]}, 1, {}, [[0.1, 0.2, 0.7]]),
        ({"scores": [[0.1, 0.2, 0.7], [0.5, 0.5, 0]]}, 2, {}, [[0.1, 0.2, 0.7], [0.5, 0.5, 0]]),
        ({"scores": [0.1, 0.2, 0.7]}, 1, {}, [[0.1, 0.2, 0.7]]),  # one image, and its scores are not in a list of lists
        ({"scores": [0.1, 0.2, 0.7]}, 1, {"scores": "$.scores"}, [[0.1, 0.2, 0.7]]),
        ({"scores": [[0.1, 0.2, 0.7]]}, 1, {"scores": "$.scores"}, [[0.1, 0.2, 0.7]]),
        ({"scores": [[1, 0, 0], [0, 1, 0]]}, 2, {"scores": "$.scores"}, [[1, 0, 0], [0, 1, 0]]),
        ([[0.1, 0.2, 0.7]], 1, {"scores": "$"}, [[0.1, 0.2, 0.7]]),
        ({"predictions": [{"probabilities": [1, 0, 0]}]}, 1, TF, [[1, 0, 0]]),
        ({"predictions": [{"probabilities": [p, 1 - p, 0]} for p in (0, 1)]}, 2, TF, [[0, 1, 0], [1, 0, 0]]),
        ({"scores": [{"cat": 0.7, "ant": 0.1, "bee": 0.2}]}, 1, {}, [[0.1, 0.2, 0.7]]),
        ({"bee": 0.2, "cat": 0.7, "ant": 0.1}, 1, {"scores": "$"}, [[0.1, 0.2, 0.7]]),
        ([OBJECTS], 1, {"scores": "$[*]"}, [[0.1, 0.2, 0.7]]),
        (OBJECTS, 1, {"scores": "$[*]"}, [[0.1, 0.2, 0.7]]),
        (OBJECTS, 1, {"scores": "$"}, [[0.1, 0.2, 0.7]]),
        ([OBJECTS, OBJECTS[::-1]], 2, {"scores": "$[*]"}, [[0.1, 0.2, 0.7]] * 2),
        ([OBJECTS, OBJECTS[::-1]], 2, {"scores": "$"}, [[0.1, 0.2, 0.7]] * 2),
        ([[{"class": "bee", "p": 1}]], 1, {"scores": "$[*]", "label_key": "class", "score_key": "p"}, [[0, 1, 0]]),
        # the best alone, or the best two: what is left out has no probability, and no logit
        ([OBJECTS[:2]], 1, {"scores": "$[*]", "kind": "top-k"}, [[0.1, 0, 0.7]]),
        ([OBJECTS[:2]], 1, {"scores": "$[*]"}, [[0.1, 0, 0.7]]),
        ([OBJECTS[:2]], 1, {"scores": "$[*]", "kind": "logits"}, [[0.1, -math.inf, 0.7]]),
        ([OBJECTS[0], OBJECTS[1]], 2, {"scores": "$[*]", "kind": "top-k"}, [[0, 0, 0.7], [0.1, 0, 0]]),
        ({"scores": [{"cat": -3}]}, 1, {"kind": "logits"}, [[-math.inf, -math.inf, -3]]),
        ({"scores": [[3, -2, 900.5]]}, 1, {"kind": "logits"}, [[3, -2, 900.5]]),
        # names beside the numbers, for each image or for all of them
        ({"s": [[0.7, 0.3]], "l": [["cat", "bee"]]}, 1, BESIDE, [[0, 0.3, 0.7]]),
        ({"s": [[0.7, 0.3], [1, 0]], "l": [["cat", "bee"], ["bee", "ant"]]}, 2, BESIDE, [[0, 0.3, 0.7], [0, 1, 0]]),
        ({"s": [[0.7, 0.3], [0.6, 0.4]], "l": ["cat", "bee"]}, 2, BESIDE, [[0, 0.3, 0.7], [0, 0.4, 0.6]]),
        ({"s": [0.7, 0.3], "l": ["cat", "bee"]}, 1, BESIDE, [[0, 0.3, 0.7]]),
        # labels alone
        ({"labels": ["cat", "ant"]}, 2, {"kind": "label"}, [[0, 0, 1], [1, 0, 0]]),
        ({"labels": ["cat", "ant"]}, 2, {"labels": "$.labels"}, [[0, 0, 1], [1, 0, 0]]),
        ({"label": "bee"}, 1, {"labels": "$.label"}, [[0, 1, 0]]),
    ],
)  # fmt: skip
def test_answers_are_read(answer, images, said, expected):
    assert read(answer, images, **said) == near(*expected)


def test_names_may_be_digits():
    assert read({"labels": [7]}, class_names=("3", "7"), kind="label") == [[0, 1]]
    assert read({"scores": [{"7": 0.75, "3": 0.25}]}, class_names=("3", "7")) == [[0.25, 0.75]]


@pytest.mark.parametrize("answer", [{"scores": [0.25]}, {"scores": [[0.25]]}, {"scores": 0.25}])
def test_one_number_becomes_two_classes(answer):
    path = "$.scores" if answer["scores"] == 0.25 else "$.scores[*]"
    said: dict[str, Any] = {"class_names": ("no", "yes"), "scores": path}
    assert read(answer, **said) == [[0.75, 0.25]]
    assert read(answer, **said, kind="logits") == [[0.0, 0.25]]


def test_one_number_is_that_of_the_second_name_that_was_given():
    """Whatever the order of the classes afterwards."""
    said: dict[str, Any] = {"class_names": ("yes", "no"), "image_shape": (1, 2, 2)}
    sorted_names = mapped(**said)
    assert sorted_names.info.class_names == ("no", "yes")
    assert sorted_names.read(b'{"scores": [0.25, 0.75]}', 2).tolist() == [[0.25, 0.75], [0.75, 0.25]]
    with_data = mapped(data=dataset(("yes", "no")), class_names=("no", "yes"))
    assert with_data.info.class_names == ("yes", "no")
    assert with_data.read(b'{"scores": [0.25]}', 1).tolist() == [[0.25, 0.75]]


def test_scores_come_in_the_order_of_the_data():
    found = mapped(data=dataset(("cat", "ant", "bee")), class_names=NAMES)
    assert found.info.class_names == ("cat", "ant", "bee")
    assert found.read(b'{"scores": [[0.1, 0.2, 0.7]]}', 1).tolist() == near([0.7, 0.1, 0.2])
    assert found.read(b'{"scores": [{"cat": 0.7, "bee": 0.2, "ant": 0.1}]}', 1).tolist() == near([0.7, 0.1, 0.2])
    assert found.info.image_shape == (1, 2, 2)
    assert mapped(data=dataset(("cat", "ant"))).info.class_names == ("cat", "ant")
    told = mapped(data=dataset(("cat", "ant", "bee")), class_names=NAMES, classes=("bee", "cat", "ant"))
    assert told.info.class_names == ("bee", "cat", "ant")
    assert told.read(b'{"scores": [[0.1, 0.2, 0.7]]}', 1).tolist() == near([0.2, 0.7, 0.1])


def test_a_row_without_numbers_is_missing_and_the_others_are_there():
    for nothing in ("null", "NaN", "Infinity", "-Infinity", "1e400", "-1e39"):
        text = '{"scores": [[0.5, 0.5, 0], [%s, 0.5, 0.5]]}' % nothing  # noqa: UP031
        first, second = read(text, 2)
        assert first == [0.5, 0.5, 0] and any(map(math.isnan, second)), nothing
        with pytest.raises(TargetError, match="null, NaN or Infinity") as caught:
            read('{"scores": [[%s, 0, 0]]}' % nothing)  # noqa: UP031
        assert not caught.value.again and not caught.value.fatal
    assert all(map(math.isnan, read('{"scores": [NaN, 0.5]}', 2, class_names=("no", "yes"))[0]))


@pytest.mark.parametrize(
    ("answer", "images", "said", "message"),
    [
        ({"scores": [[1, 0, 0]]}, 2, {}, "1 answers came, expected 2"),
        ({"scores": [[1, 0, 0]] * 3}, 2, {}, "3 answers came, expected 2"),
        ({"scores": [[0.3, 0.7]]}, 2, {"class_names": ("no", "yes")}, "1 answers came, expected 2"),  # not one each
        ({"scores": [OBJECTS[:2]]}, 2, {}, "1 answers came, expected 2"),
        ({"labels": ["ant", "bee"]}, 1, {"kind": "label"}, "2 answers came, expected 1"),
        ({"labels": ["ant"]}, 2, {"kind": "label"}, "1 answers came, expected 2"),
        ({"labels": [["ant", "bee"], ["ant", "bee"]]}, 1, {"kind": "label"}, "2 answers came"),
        ({"labels": [None]}, 1, {"kind": "label"}, "is nothing, expected a text"),
        ({"scores": [[]]}, 1, {}, "an empty list"),
        ({"scores": [{}]}, 1, {}, "a table"),
        ({"scores": [[[[1, 0, 0]]]]}, 1, {}, "a list of lists"),
        ({"scores": ["1"]}, 1, {}, "text"),
        ({"scores": [{"ant": "1"}]}, 1, {}, "the score of a class is text"),
        ({"scores": [[{"label": "ant", "score": True}]]}, 1, {}, "true or false"),
        ({"scores": [[{"label": ["ant"], "score": 1}]]}, 1, {}, "the name of a class is a list of text"),
        ({"scores": [[{"label": "ant", "score": 0.5}, {"label": "ant", "score": 0.5}]]}, 1, {}, "one class twice"),
        ({"s": [[0.5, 0.5]], "l": [["ant"]]}, 1, BESIDE, "not as many names"),
        ({"other": 1}, 1, {}, r"scores = '\$.scores\[\*\]' finds nothing"),
        ("[" * 5000, 1, {}, "nested too deeply"),
        ('{"scores": [[1, 0, 0]]} {}', 1, {}, "Extra data"),
        ('{"scores": [[1, 0, 0]], "scores": [[0, 1, 0]]}', 1, {}, "a key stands twice"),
        ('{"scores": [[100000000000000000000000, 0, 0]]}', 1, {}, "an integer of 24"),
        ("", 1, {}, "is empty"),
        ("{'scores': []}", 1, {}, "is not the JSON that was expected"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_may_be_asked_again(answer, images, said, message):
    with pytest.raises(TargetError, match=message) as caught:
        read(answer, images, **said)
    assert caught.value.again and not caught.value.fatal


@pytest.mark.parametrize(
    ("answer", "said", "message"),
    [
        ({"scores": [[0.5, 0.5]]}, {}, "2 scores came for an image, expected 3: one for each of ant, bee, cat"),
        ({"scores": [[0.25] * 4]}, {}, "4 scores came"),
        ({"scores": [[0.5]]}, {}, "1 scores came"),
        (
            {"scores": [{"ant": 0.5, "dog": 0.5}]},
            {},
            "expected one of the classes ant, bee, cat, found another .*: dog",
        ),
        ({"labels": ["dog"]}, {"kind": "label"}, "expected one of the classes ant, bee, cat"),
        ({"scores": [[{"label": "dog", "score": 1}]]}, {}, "renamed"),
        ({"scores": [[{"class": "ant", "p": 1}]]}, {}, "or are label_key and score_key to be given"),
        ({"scores": [[-0.1, 0.1, 1]]}, {}, "from -0.1 to 1, .* does it give logits"),
        ({"scores": [[1.1, 0, -0.1]]}, {"kind": "top-k"}, "does it give logits"),
        ({"scores": [{"ant": 1.5}]}, {}, "does it give logits"),
        ({"scores": [[0.9, 0.9, 0.9]]}, {}, "the sum 2.7, expected probabilities: does it give logits"),
        ({"scores": [[0.1, 0.1, 0.1]]}, {}, "does it give logits"),
        ({"scores": [1.5]}, {"class_names": ("no", "yes")}, "does it give logits"),
    ],
)
def test_what_can_never_fit_stops_the_run(answer, said, message):
    with pytest.raises(TargetError, match=message) as caught:
        read(answer, **said)
    assert caught.value.fatal


@pytest.mark.parametrize(
    "row",
    [
        [0.333, 0.333, 0.333],
        [0.33, 0.33, 0.33],
        [0.3, 0.3, 0.3],  # a third, to one place
        [0.9, 0.0, 0.2],
        [1.0000005, 0.0, -0.0000005],
        [0.5004883, 0.2502441, 0.2502441],  # halves and quarters a little off, as in half precision
    ],
)
def test_probabilities_may_be_rounded(row):
    assert read({"scores": [row]}) == near(row)


def test_probabilities_of_many_classes_may_be_rounded_to_two_places():
    names = tuple(f"class {i:03}" for i in range(300))
    row = [0.52, *[0.0] * 299]
    assert read({"scores": [row]}, class_names=names) == near(row)
    with pytest.raises(TargetError, match="does it give logits"):
        read({"scores": [[0.52001234, *[0.0] * 299]]}, class_names=names)


# Images


def every_level(channels: int) -> torch.Tensor:
    """One image with all 256 gray levels, in another order for each channel."""
    levels = torch.arange(256).view(1, 16, 16)
    return torch.cat([(levels * factor + factor) % 256 for factor in (1, 3, 5)][:channels])[None] / 255


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_is_the_image_that_was_sent(channels):
    images = torch.cat([every_level(channels), every_level(channels).flip(-1)])
    request = mapped(image_shape=(channels, 16, 16)).request(images)
    assert request.keys() == {"images"} and len(request["images"]) == 2
    for text, image in zip(json.loads(json.dumps(request))["images"], images, strict=True):
        picture = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
        assert picture.format == "PNG" and picture.mode == ("L" if channels == 1 else "RGB")
        levels = torch.tensor(list(picture.tobytes())).view(16, 16, channels).permute(2, 0, 1)
        assert torch.equal(levels / 255, image)


def test_a_jpeg_is_nearly_the_image_that_was_sent():
    ramp = (torch.arange(32) * 8).expand(1, 1, 32, 32) / 255
    found = mapped(image_shape=(1, 32, 32), image="jpeg")
    (file,) = found.files(ramp)
    picture = Image.open(io.BytesIO(file))
    assert picture.format == "JPEG"
    levels = torch.tensor(list(picture.tobytes())).view(32, 32) / 255
    assert float((levels - ramp[0, 0]).abs().max()) < 0.02
    assert found.info.preparation == "sent as JPEG"


def test_pixels_are_the_same_numbers():
    images = every_level(3)
    text = json.dumps(mapped(image_shape=(3, 16, 16), image="pixels").request(images))
    assert torch.equal(torch.tensor(json.loads(text)["images"]), images)
    said: dict[str, Any] = {"image": "pixels", "layout": "NHWC", "mean": (0.5,), "std": (0.25,)}
    request = mapped(image_shape=(3, 16, 16), **said).request(images)
    assert torch.equal(torch.tensor(request["images"]), (images.permute(0, 2, 3, 1) - 0.5) / 0.25)


def test_images_are_resized_inside():
    found = mapped(input_shape=(3, 4, 4), interpolation="nearest")
    assert found.info.image_shape == (1, 2, 2)
    assert found.info.preparation == "resized to 4 x 4 (nearest), gray repeated in 3 channels, sent as PNG"
    image = torch.tensor([[[[0, 1], [1, 0.2]]]])
    (file,) = found.files(image)
    picture = Image.open(io.BytesIO(file))
    assert picture.size == (4, 4) and picture.mode == "RGB"
    assert picture.tobytes()[::3] == bytes([0, 0, 255, 255] * 2 + [255, 255, 51, 51] * 2)


def test_other_images_are_refused():
    for images in (torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.uint8)):
        with pytest.raises(ClassifierError, match=r"expected floats in \[0, 1\] of shape \[N, 1, 2, 2\]"):
            mapped().request(images)


BLACK = torch.zeros(1, 1, 2, 2)


def test_the_template_is_filled_by_structure():
    body = '{"instances": "{images}", "note": "{\\"images\\": 1}", "k": [1, null, true, {"{images}": 2.5}]}'
    found = mapped(body=body, micro_batch=2, image="pixels").request(torch.cat([BLACK, 1 - BLACK]))
    black, white = [[[0.0, 0.0], [0.0, 0.0]]], [[[1.0, 1.0], [1.0, 1.0]]]
    assert found == {"instances": [black, white], "note": '{"images": 1}', "k": [1, None, True, {"{images}": 2.5}]}
    one = mapped(body='{"url": ["data:image/png;base64,{image}"], "n": 1}').request(BLACK)
    prefix, _, text = one["url"][0].partition(",")
    assert prefix == "data:image/png;base64" and base64.b64decode(text).startswith(b"\x89PNG") and one["n"] == 1
    assert mapped(body='"{image}"', image="pixels").request(BLACK) == black
    with pytest.raises(ClassifierError, match="2 were to be sent at once"):
        mapped(body='"{image}"').request(torch.cat([BLACK, BLACK]))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"body": '{"images": 1}'}, "found 0 places for images"),
        ({"body": '["{images}", "{images}"]'}, "found 2 places"),
        ({"body": '["{images}", "{image}"]'}, "found 2 places"),
        ({"body": '"{image} {image}"'}, "expected one text"),
        ({"body": '"see {images}"'}, "found 0 places"),
        ({"body": "{images}"}, "body: is not JSON"),
        ({"body": "[" * 9000}, "body: is not JSON"),
        ({"body": '"{image}"', "micro_batch": 2}, "holds one image, but micro_batch is 2"),
        ({"body": '"data:{image}"', "image": "pixels"}, "numbers do not fit"),
        ({"mean": 0.5}, 'mean is for numbers, but images travel as png; add image = "pixels"'),
        ({"layout": "NHWC", "image": "jpeg"}, "layout is for numbers"),
        ({"scores": "scores"}, "scores = 'scores' is no JSONPath"),
        ({"labels": "$[", "scores": "$"}, "labels = .* is no JSONPath"),
        ({"kind": "label", "scores": "$.x"}, "leave one of them out"),
        ({"class_names": None}, "does not say what its classes are"),
        ({"image_shape": None}, "does not say what images it takes"),
    ],
)
def test_a_wrong_mapping_is_told_before_anything_is_sent(said, message):
    with pytest.raises(ClassifierError, match=message) as caught:
        mapped(**said)
    assert len(str(caught.value).splitlines()) == 1


def test_a_template_may_be_a_table(tmp_path):
    file = tmp_path / "endpoint.toml"
    file.write_text('spec = "https://there"\n[body]\nk = 5\ninstances = "{images}"\n[body.more]\nflag = true\n')
    said = checked(str(file))
    assert json.loads(said.body or "") == {"k": 5, "instances": "{images}", "more": {"flag": True}}
    assert checked("https://there", {"body": ["{images}"]}).body == '["{images}"]'
    assert checked("https://there", {"body": '["{images}"]'}).body == '["{images}"]'
    for wrong in ("when = 2026-01-01", "x = nan"):
        file.write_text(f'spec = "https://there"\n[body]\n{wrong}\n')
        with pytest.raises(ClassifierError, match="body"):
            checked(str(file))


def test_what_is_known_of_it():
    info = mapped(kind="logits", micro_batch=8, cost=0.001, background=0.5, name="mine").info
    assert (info.name, info.kind, info.class_names, info.image_shape) == ("mine", "logits", NAMES, (1, 2, 2))
    assert (info.micro_batch, info.concurrency, info.metered, info.cost) == (8, 4, True, 0.001)
    assert (info.background, info.device, info.preparation) == (0.5, "remote", "sent as PNG")
    plain = mapped().info
    assert (plain.name, plain.kind, plain.micro_batch, plain.background) == ("net", "probabilities", 1, 0.0)
    assert mapped(labels="$.x").info.kind == "label"
    assert mapped(concurrency=2, metered=False).info.concurrency == 2
    assert not mapped(metered=False).info.metered


def test_the_fingerprint_is_that_of_the_address_the_mapping_and_the_names():
    prints = [
        mapped(**said).info.fingerprint
        for said in [
            *[{}, {"kind": "logits"}, {"class_names": ("ant", "bee", "dog")}, {"class_names": ("bee", "ant", "cat")}],
            *[{"image": "jpeg"}, {"body": '["{images}"]'}, {"scores": "$.x"}, {"score_key": "p"}, {"labels": "$.x"}],
            *[{"input_shape": (1, 3, 3)}, {"image_shape": (1, 3, 3)}, {"files": "file"}],
        ]
    ]
    assert len(set(prints)) == len(prints)
    assert mapped(name="other", concurrency=9, timeout=3, cost=1, micro_batch=5).info.fingerprint == prints[0]
    other = wire("net", ["elsewhere"], Settings(spec="x", class_names=NAMES, image_shape=(1, 2, 2)), None, 4)
    assert other.info.fingerprint != prints[0]


# Secrets


def test_a_secret_is_cut_out_in_every_spelling():
    secret = 'a/b+c d"e\\f~é'
    secrets = Secrets([secret, "hush"])
    import urllib.parse

    for text in (
        secret,
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps({"k": secret}, ensure_ascii=False),
        repr(secret),
        base64.b64encode(secret.encode()).decode(),
    ):
        assert "b" not in secrets.clean(f"<{text}>").replace("k", ""), text
    assert secrets.clean("hush\nhushhush \x1b[31m") == "*** ****** ?[31m"
    assert Secrets(["1"]).clean("HTTP 401") == "HTTP 401"


def test_a_message_is_cut_after_the_secrets_are_out():
    secrets = Secrets(["x" * 50])
    for before in range(240, 301):
        assert "x" not in secrets.clean("a" * before + "x" * 50)
    assert len(secrets.clean("a" * 9999)) < 310


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *[
            (name, True)
            for name in ("Authorization", "X-Api-Key", "api_key", "apikey", "key", "ACCESS_TOKEN", "Cookie")
        ],
        *[(name, True) for name in ("accessToken", "DB_PASSWORD", "sig", "AWS_SECRET")],
        *[(name, False) for name in ("Accept", "monkey", "author", "X-Model", "keypoints", "tokens", "version")],
    ],
)
def test_what_is_a_secret_by_its_name(name, secret):
    assert telling(name) == secret


def test_the_environment_is_read_when_it_is_needed(monkeypatch):
    secrets = Secrets()
    pairs = [("a", "Bearer env:ONE"), ("b", "env:ONE/env:TWO_2"), ("c", "plain")]
    monkeypatch.setenv("ONE", " first\n")
    with pytest.raises(ClassifierError, match="the environment variable TWO_2 is not set") as caught:
        secrets.filled(pairs)
    assert "first" not in str(caught.value)
    monkeypatch.setenv("TWO_2", "second")
    assert secrets.filled(pairs) == [("a", "Bearer first"), ("b", "first/second"), ("c", "plain")]
    assert secrets.clean("first second") == "*** ***"
    monkeypatch.setenv("ONE", "third")
    assert secrets.filled(pairs[:1]) == [("a", "Bearer third")]
    for wrong in ("", "   ", "two\nlines", "schlüssel"):
        monkeypatch.setenv("ONE", wrong)
        with pytest.raises(ClassifierError, match="the environment variable ONE"):
            secrets.filled(pairs)
