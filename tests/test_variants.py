"""A classifier seen through one change: worked by hand, and the laws of the contract."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from torch import nn

from evofool import networks, spec
from evofool.classifiers import load_classifier
from evofool.classifiers.fake import Constant, Linear
from evofool.classifiers.support.prepare import Prepare
from evofool.classifiers.torch import TorchClassifier
from evofool.contracts import Classifier, ClassifierInfo
from evofool.errors import ClassifierError, SpecError, UserError
from evofool.rng import untouched
from evofool.variants import Variant, brought, outside_of, padding_of

MODES = ("zeros", "reflect", "replicate", "circular")
NINE = torch.arange(1.0, 10.0).view(1, 1, 3, 3) / 10
SHAPE = (1, 12, 12)


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def info_of(shape=SHAPE, **more):
    names = tuple("abcd")
    return ClassifierInfo("small", "logits", names, shape, "ab" * 32, micro_batch=6, background=0.25, **more)


def small(shape=SHAPE, *, padding="zeros", prepare=None, order=None, size=None, card=None, **more):
    """A classifier with fixed weights."""
    channels = prepare.channels if prepare and prepare.channels else shape[0]
    size = size or (prepare.size if prepare and prepare.size else shape[1:])
    arguments = {"in_channels": channels, "classes": 4, "size": size, "width": 4, "padding": padding}
    net = networks.initialise(networks.build("small_cnn", arguments), torch.Generator().manual_seed(3))
    return TorchClassifier(net, info_of(shape, **more), card, prepare=prepare, order=order)


def sums(size=3):
    """One logit adds up all pixels, each weighed by its place; the other is 0."""
    weight = torch.zeros(2, 1, size, size)
    weight[1] = 2.0 ** -torch.arange(size * size).view(1, size, size)
    return Linear(weight, micro_batch=5)


class Remote:
    """Answers requests, more of which are made ready than are in flight."""

    def __init__(self):
        self.info = ClassifierInfo(
            "remote",
            "probabilities",
            ("a", "b"),
            SHAPE,
            "cd" * 32,
            concurrency=3,
            metered=True,
            device="remote",
            cost=2.0,
        )
        self.ahead = 2
        self.asked = 0

    def __call__(self, images):
        self.asked += len(images)
        return torch.full((len(images), 2), 0.5)


CHANGES = [
    Variant(padding="zeros"),
    Variant(padding="reflect"),
    Variant(padding="replicate"),
    Variant(padding="circular"),
    Variant(outside=0.0),
    Variant(outside=1.0),
    Variant(size=(24, 24), resize="nearest"),
    Variant(size=(24, 24), resize="bilinear"),
    Variant(size=(24, 24), resize="antialias"),
    Variant(size=(24, 24), resize="crop"),
    Variant(size=(24, 20), resize="crop"),
    Variant(size=(8, 6), resize="bilinear"),
    Variant(size=(8, 6), resize="margin"),
    Variant(size=(8, 6), resize="margin", around=1.0),
    Variant(flat=True),
    Variant(size=(8, 6), resize="margin", flat=True),
    Variant(padding="circular", outside=1.0),
    Variant(padding="reflect", size=(24, 24), resize="crop"),
]


# The value ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", CHANGES)
def test_a_variant_goes_into_json_and_back(variant):
    there = json.loads(json.dumps(spec.to_json(variant)))
    assert spec.from_json(Variant, there) == variant
    assert hash(spec.from_json(Variant, there)) == hash(variant)


def test_names_are_short_words_and_all_differ():
    assert Variant().name == ""
    assert Variant(padding="reflect").name == "padding reflect"
    assert Variant(outside=0.5).name == "gray 0.5 outside"
    assert Variant(size=(64, 48), resize="bilinear").name == "drawn at 64 x 48 (bilinear)"
    assert Variant(size=(8, 8), resize="margin", around=1).name == "drawn at 8 x 8 (margin 1)"
    assert Variant(size=(64, 64), flat=True).name == "drawn at 64 x 64 + flat"
    names = [variant.name for variant in CHANGES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("settings", "words"), [
    ({"padding": "mirror"}, "padding = 'mirror'"), ({"outside": 1.5}, "outside = 1.5"), ({"around": -0.1}, "around"),
    ({"size": (0, 4), "resize": "crop"}, "size"), ({"size": (4,), "resize": "crop"}, "size"),
    ({"resize": "bilinear"}, "of what size"), ({"size": (4, 4), "resize": "cubic"}, "resize = 'cubic'"),
    ({"size": (4, 4), "resize": "crop", "around": 0.5}, "only a margin is filled"), ({"around": 0.5}, "only a margin"),
    ({"outside": float("nan")}, "outside"),
])  # fmt: skip
def test_wrong_values_are_told_in_one_line(settings, words):
    with pytest.raises(SpecError, match=words) as caught:
        Variant(**settings)
    assert "\n" not in str(caught.value)


# The contract ---------------------------------------------------------------------------------------------------------


def test_no_change_is_the_classifier_itself():
    classifier = small()
    assert Variant().apply(classifier) is classifier


@pytest.mark.parametrize("variant", CHANGES)
def test_what_comes_of_it_is_a_classifier(variant):
    original = small(accuracy=0.9)
    before = (original.info, original(drawn(4, *SHAPE)))
    changed = variant.apply(original)
    info = changed.info
    assert isinstance(changed, Classifier)
    assert info.name == f"small · {variant.name}"
    assert info.image_shape == (1, *(variant.size or (12, 12)))
    for field in (
        "kind",
        "class_names",
        "micro_batch",
        "memory_format",
        "background",
        "dtype",
        "device",
        "concurrency",
    ):
        assert getattr(info, field) == getattr(before[0], field)
    assert info.accuracy is None  # nobody has measured it
    assert (len(info.fingerprint), int(info.fingerprint, 16) > 0) == (64, True)

    x = drawn(6, *info.image_shape)
    scores = changed(x)
    assert (scores.shape, scores.dtype, bool(scores.isfinite().all())) == ((6, 4), torch.float32, True)
    others = drawn(6, *info.image_shape, seed=1)
    others[2] = x[2]
    assert torch.equal(changed(others)[2], scores[2])  # whoever shares the batch
    assert torch.equal(changed(x.flip(0)).flip(0), scores)
    assert torch.equal(variant.apply(small())(x), scores)
    with pytest.raises(ClassifierError, match=r"expected floats in \[0, 1\] of shape"):
        changed(drawn(2, 1, 5, 5))

    assert original.info == before[0]
    assert torch.equal(original(drawn(4, *SHAPE)), before[1])


def test_every_change_has_a_fingerprint_of_its_own():
    found = [variant.apply(small()).info.fingerprint for variant in (Variant(), *CHANGES)]
    assert len(set(found)) == len(found)
    assert found == [variant.apply(small()).info.fingerprint for variant in (Variant(), *CHANGES)]
    other = TorchClassifier(small().module, ClassifierInfo("small", "logits", tuple("abcd"), SHAPE, "ff" * 32))
    assert Variant(padding="reflect").apply(other).info.fingerprint not in found


def test_every_change_but_that_of_its_own_padding_is_seen_in_the_scores():
    x = {size: drawn(3, 1, *size) for size in [(12, 12), (24, 24), (24, 20), (8, 6)]}
    for variant in CHANGES:
        if variant.flat or variant == Variant(padding="zeros") or variant == Variant(outside=0.0):
            continue
        size = variant.size or (12, 12)
        plain = Variant(size=size, resize="nearest").apply(small()) if variant.resize != "nearest" else small()
        if variant.resize == "nearest":
            assert torch.equal(variant.apply(small())(x[size]), plain(x[size][:, :, ::2, ::2]))
        else:
            assert not torch.allclose(variant.apply(small())(x[size]), plain(x[size]), atol=1e-4), variant


def test_two_margins_that_are_the_same_have_one_fingerprint():
    said, meant = (Variant(size=(8, 8), resize="margin", around=around) for around in (0.25, None))
    assert said.apply(small()).info.fingerprint == meant.apply(small()).info.fingerprint


# Padding --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("built", "mode"), list(itertools.product(MODES, MODES)))
def test_padding_is_that_of_the_network_built_so(built, mode):
    x = drawn(6, *SHAPE)
    changed = Variant(padding=mode).apply(small(padding=built))
    assert torch.equal(changed(x), small(padding=mode)(x))
    assert torch.equal(changed(x), small(padding=built)(x)) == (built == mode)


def test_a_shipped_classifier_in_its_own_layout():
    classifier = load_classifier("digits")
    assert classifier.info.memory_format in ("contiguous", "channels_last")
    x = drawn(7, *classifier.info.image_shape)
    assert torch.equal(Variant(padding="zeros").apply(classifier)(x), classifier(x))
    assert not torch.allclose(Variant(padding="reflect").apply(classifier)(x), classifier(x), atol=1e-3)
    torch.testing.assert_close(Variant(outside=0.0).apply(classifier)(x), classifier(x), rtol=1e-4, atol=1e-4)


def test_what_happens_to_images_before_stays_in_front():
    prepare = Prepare(channels=3, size=(16, 16), white=255.0, mean=(100.0,), std=(50.0,))
    card, order = {"note": "kept"}, [2, 0, 1, 3]
    x = drawn(4, *SHAPE)
    found = [small(prepare=prepare, order=order, card=card, padding=mode) for mode in MODES]
    for mode, expected in zip(MODES, found, strict=True):
        changed = Variant(padding=mode).apply(found[0])
        assert (changed.prepare, changed.order, changed.card) == (prepare, order, card)
        assert torch.equal(changed(x), expected(x))
    assert padding_of(found[0], "reflect").changed[0].name == "0"
    # The whole image at once, by hand: gray, resized, normalised, and only then padded.
    by_hand = found[1].module(found[1].prepare(x))[:, order]
    torch.testing.assert_close(Variant(padding="reflect").apply(found[0])(x), by_hand)


def test_which_layers_were_changed_and_skipped():
    class Pools(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1))
            self.block = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)), nn.Flatten())

        def forward(self, x):
            return self.block(self.features(x))

    with untouched():
        classifier = TorchClassifier(Pools(), info_of())
    found = padding_of(classifier, "reflect")
    assert [layer.name for layer in found.changed] == ["features.0"]
    assert [(layer.name, layer.why) for layer in found.skipped] == [
        ("block.0.0", "its map of 1 x 1 is not larger than its padding of 1")
    ]
    x = drawn(3, *SHAPE)
    assert torch.equal(Variant(padding="reflect").apply(classifier)(x), found.module(x))
    assert not torch.allclose(classifier(x), found.module(x), atol=1e-4)


@pytest.mark.parametrize("mean", [0.0, 0.5])
def test_a_gray_level_outside_is_one_of_the_image_and_not_of_the_layer(mean):
    prepare = Prepare(mean=(mean,), std=(0.25,))
    classifier = small(prepare=prepare)
    x = drawn(4, *SHAPE)
    torch.testing.assert_close(Variant(outside=mean).apply(classifier)(x), classifier(x))
    # White, by hand: the canvas goes on in white for one pixel, and is normalised with the rest.
    first = classifier.module[0]
    wide = (nn.functional.pad(x, (1, 1, 1, 1), value=1.0) - mean) / 0.25
    features = nn.functional.conv2d(wide, first.weight, first.bias)
    expected = classifier.module[1:](features)
    torch.testing.assert_close(Variant(outside=1.0).apply(classifier)(x), expected)
    assert not torch.allclose(expected, classifier(x), atol=1e-3)
    assert [layer.name for layer in outside_of(classifier, 1.0).changed] == ["0"]


@pytest.mark.parametrize("variant", [Variant(padding="reflect"), Variant(outside=1.0)])
def test_a_change_that_cannot_be_made_is_told_in_one_line(variant):
    with untouched():
        valid = TorchClassifier(nn.Sequential(nn.Flatten(), nn.Linear(144, 4)), info_of())
        tiny = TorchClassifier(nn.Sequential(nn.AdaptiveAvgPool2d(1), Own(1, 4, 3, padding=1), nn.Flatten()), info_of())
    for classifier, words in [
        (sums(), "linear: its (padding|border) cannot be changed, since it is no PyTorch module on this machine"),
        (Variant(size=(8, 8), resize="margin").apply(small()), "no PyTorch module"),
        (valid, "small: none of its layers pads"),
        (tiny, r"small: none of its 1 layers that pad can pad .*; the first, 1 \(Own 3 x 3, padding 1\)"),
        (TorchClassifier(small().module, info_of((2, 12, 12))), "small: the network takes no image of 2 x 12 x 12"),
    ]:
        with pytest.raises(UserError, match=words) as caught:
            variant.apply(classifier)
        assert "\n" not in str(caught.value)


class Own(nn.Conv2d):
    def forward(self, x):
        return nn.functional.conv2d(x, self.weight, self.bias, padding=1)


# Size -----------------------------------------------------------------------------------------------------------------


def test_crop_by_hand():
    x = torch.arange(30.0).view(1, 1, 5, 6) / 30
    # 2 rows and 3 columns are left over: one above, one on the left.
    assert torch.equal(brought(x, (3, 3), "crop", 0), x[:, :, 1:4, 1:4])
    assert torch.equal(brought(x, (5, 6), "crop", 0), x)
    assert torch.equal(brought(x, (1, 1), "crop", 0), x[:, :, 2:3, 2:3])
    classifier = Variant(size=(5, 6), resize="crop").apply(sums())
    assert torch.equal(classifier(x), sums()(x[:, :, 1:4, 1:4]))


def test_margin_by_hand():
    x = torch.tensor([[[[0.25, 0.75]]]])
    expected = [[0.5, 0.5, 0.5], [0.25, 0.75, 0.5], [0.5, 0.5, 0.5]]
    assert brought(x, (3, 3), "margin", 0.5)[0, 0].tolist() == expected
    classifier = Variant(size=(1, 2), resize="margin", around=0.5).apply(sums())
    assert torch.equal(classifier(x), sums()(torch.tensor([[expected]])))
    assert torch.equal(brought(NINE, (3, 3), "margin", 1), NINE)
    small_margin = Variant(size=(10, 10), resize="margin").apply(small())
    canvas = torch.full((1, *SHAPE), 0.25)  # the classifier's background
    canvas[:, :, 1:11, 1:11] = 1.0
    assert torch.equal(small_margin(torch.ones(1, 1, 10, 10)), small()(canvas))


def test_a_crop_takes_back_what_a_margin_gave():
    for size in [(3, 3), (4, 4), (3, 4), (2, 5)]:
        x = drawn(2, 3, *size)
        for more in itertools.product(range(4), repeat=2):
            wide = brought(x, (size[0] + more[0], size[1] + more[1]), "margin", 1)
            assert torch.equal(brought(wide, size, "crop", 0), x)


def test_resizing_by_hand():
    row = torch.tensor([[[[0.0, 1.0, 0.0, 0.0]]]])
    assert brought(row, (1, 2), "nearest", 0).flatten().tolist() == [0, 0]
    assert brought(row, (1, 2), "bilinear", 0).flatten().tolist() == [0.5, 0]
    # With antialiasing a triangle of twice the width: weights 3 3 1 over 7 at the border, so that 3/7 and 1/7 are seen.
    torch.testing.assert_close(brought(row, (1, 2), "antialias", 0).flatten(), torch.tensor([3 / 7, 1 / 7]))
    assert brought(row[..., :2], (1, 4), "nearest", 0).flatten().tolist() == [0, 0, 1, 1]
    assert brought(row[..., :2], (1, 4), "bilinear", 0).flatten().tolist() == [0, 0.25, 0.75, 1]
    thin = torch.zeros(1, 1, 1, 8)
    thin[..., 0] = 1  # bilinear looks at the two pixels in the middle of each half
    assert brought(thin, (1, 2), "bilinear", 0).max() == 0
    assert brought(thin, (1, 2), "antialias", 0).max() > 0


@pytest.mark.parametrize("how", ["nearest", "bilinear", "antialias"])
def test_resizing_keeps_a_canvas_a_canvas(how):
    for level in (0.0, 0.3, 1.0):
        found = brought(torch.full((2, 3, 17, 11), level), (12, 30), how, 0)
        torch.testing.assert_close(found, torch.full((2, 3, 12, 30), level))
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
    x = drawn(2, 1, 9, 9)
    assert torch.equal(brought(x, (9, 9), how, 0), x)


def test_the_classifiers_own_resizing_takes_other_sizes_too():
    classifier = small(prepare=Prepare(size=(16, 16)), size=(16, 16))
    x = drawn(3, 1, 16, 16)
    off = Variant(size=(16, 16)).apply(classifier)
    assert off.info.image_shape == (1, 16, 16)
    assert (classifier.info.image_shape, classifier.prepare.about(SHAPE)) == (SHAPE, "resized to 16 x 16 (bilinear)")
    assert off.info.preparation == ""
    assert torch.equal(off(x), classifier.module(x))
    other = Variant(size=(20, 30)).apply(classifier)
    assert torch.equal(other(drawn(3, 1, 20, 30)), classifier.module(classifier.prepare(drawn(3, 1, 20, 30))))
    for without in (small(), sums()):
        with pytest.raises(ClassifierError, match="resizes none itself; say how"):
            Variant(size=(16, 16)).apply(without)


def test_what_was_done_to_images_is_told():
    classifier = small(prepare=Prepare(mean=(0.5,)), preparation="normalised")
    told = {
        Variant(size=(24, 24), resize="antialias"): "resized (antialias) to 12 x 12, normalised",
        Variant(size=(24, 24), resize="crop"): "middle cut out to 12 x 12, normalised",
        Variant(size=(8, 8), resize="margin", around=1.0): "in the middle of gray 1 to 12 x 12, normalised",
    }
    for variant, words in told.items():
        assert variant.apply(classifier).info.preparation == words


@pytest.mark.parametrize(("variant", "words"), [
    (Variant(size=(11, 30), resize="crop"), "no middle of 12 x 12 can be cut out of 11 x 30"),
    (Variant(size=(13, 2), resize="margin"), "13 x 2 does not fit into a canvas of 12 x 12"),
])  # fmt: skip
def test_sizes_that_do_not_fit_are_told(variant, words):
    with pytest.raises(ClassifierError, match=words):
        variant.apply(small())


def test_what_is_known_of_a_remote_classifier_is_handed_on():
    remote = Remote()
    changed = Variant(size=(24, 24), resize="nearest").apply(remote)
    assert changed.ahead == 2
    assert (changed.info.concurrency, changed.info.metered, changed.info.cost) == (3, True, 2.0)
    assert changed.info.remote
    assert not hasattr(Variant(size=(24, 24), resize="nearest").apply(small()), "ahead")
    changed(drawn(5, 1, 24, 24))
    assert remote.asked == 5


# Flat -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "row"), [
    ("logits", [0, 0, 0, 0]), ("probabilities", [0.25] * 4), ("top-k", [0.25] * 4), ("label", [1, 0, 0, 0]),
])  # fmt: skip
def test_flat_answers_the_same_whatever_it_is_shown(kind, row):
    flat = Variant(flat=True).apply(Constant([0.0, 1.0, 2.0, 3.0], SHAPE, kind=kind))
    assert flat.info.kind == kind
    assert flat(drawn(3, *SHAPE)).tolist() == [row] * 3


def test_flat_asks_nobody_and_costs_nothing():
    remote = Remote()
    flat = Variant(flat=True, size=(24, 24), resize="nearest").apply(remote)
    assert flat(drawn(3, 1, 24, 24)).tolist() == [[0.5, 0.5]] * 3
    assert (remote.asked, flat.info.remote, flat.info.cost, flat.info.concurrency) == (0, False, None, 1)
