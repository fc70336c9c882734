"""Networks of timm, torchvision and transformers behind the contract: the same scores as from the library itself."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
import transformers
from PIL import Image

from evofool import load_classifier
from evofool.classifiers.support.prepare import Prepare
from evofool.errors import ClassifierError

# Libraries round to bytes after resizing along each axis; we do not. In units of full white.
ROUNDING = 1.2 / 255


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Bytes [H W C]: edges, slopes and a little noise."""
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(seed)
    planes = [
        127 + 90 * np.sin(rows / (5 + i)) * np.cos(columns / 7) + 60 * (columns > width / 3) for i in range(channels)
    ]
    return (np.stack(planes, axis=-1) + noise.normal(0, 8, (height, width, channels))).clip(0, 255).astype(np.uint8)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def difference(ours: torch.Tensor, theirs: torch.Tensor, prepare: Prepare) -> float:
    """The largest one, in units of full white before normalisation."""
    assert ours.shape == theirs.shape
    return float(((ours - theirs).abs() * torch.tensor(prepare.std or (1.0,)).view(1, -1, 1, 1)).max())


# ---- the same preparation

SIZES = [(40, 40), (300, 300), (200, 341), (431, 260)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["resnet18", "inception_resnet_v2", "vit_tiny_patch16_224", "convnext_atto"])
def test_images_are_prepared_as_by_timm(name: str, size: tuple[int, int]) -> None:
    classifier = load_classifier(f"timm:{name}", pretrained=False)
    model = classifier.module
    config = timm.data.resolve_data_config({}, model=model)
    image = picture(*size)
    theirs = timm.data.create_transform(**config)(Image.fromarray(image))[None]
    ours = classifier.prepare(tensor(image))
    assert difference(ours, theirs, classifier.prepare) < ROUNDING
    assert difference(ours, theirs, classifier.prepare) > 0  # they did compute something
    assert abs(float((ours - theirs).mean())) < 0.01


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["vgg16", "resnet50", "inception_v3", "vit_b_16"])
def test_images_are_prepared_as_by_torchvision(name: str, size: tuple[int, int]) -> None:
    from evofool.classifiers.torchvision import _prepare

    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    prepare = _prepare(transforms)
    image = picture(*size)
    theirs = transforms(Image.fromarray(image))[None]
    assert difference(prepare(tensor(image)), theirs, prepare) < ROUNDING


PROCESSORS = {
    "vit": transformers.ViTImageProcessor(size={"height": 30, "width": 30}),
    "crop": transformers.CLIPImageProcessor(size={"shortest_edge": 34}, crop_size={"height": 30, "width": 30}),
    "convnext": transformers.ConvNextImageProcessor(size={"shortest_edge": 30}),
    "efficientnet": transformers.EfficientNetImageProcessor(size={"height": 30, "width": 30}, do_center_crop=False),
    "offset": transformers.EfficientNetImageProcessor(
        size={"height": 30, "width": 30}, do_center_crop=False, rescale_offset=True, rescale_factor=1 / 127.5
    ),
    "bytes": transformers.ViTImageProcessor(size={"height": 30, "width": 30}, do_rescale=False, do_normalize=False),
}


def saved(folder: Path, processor: Any, *, pad: str = "") -> Path:
    """A tiny vision transformer with its image processor, as it would lie in a folder."""
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=30,
        patch_size=10,
        id2label={0: "zebra", 1: "ant", 2: "cat"},
        label2id={"zebra": 0, "ant": 1, "cat": 2},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = transformers.ViTForImageClassification(config)
        torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("size", [(30, 30), (50, 50), (44, 91), (90, 45)])
@pytest.mark.parametrize("kind", PROCESSORS)
def test_images_are_prepared_as_by_transformers(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    processor = PROCESSORS[kind]
    classifier = load_classifier(f"hf:{saved(tmp_path / 'net', processor)}")
    image = picture(*size)
    theirs = processor(Image.fromarray(image), return_tensors="pt")["pixel_values"].float()
    ours = classifier.prepare(tensor(image))
    unit = classifier.prepare.white
    if size == (30, 30) and kind in ("crop", "convnext"):
        assert ours.shape == theirs.shape  # ours leaves an image of that very size alone, theirs enlarges and crops it
    else:
        assert difference(ours, theirs, classifier.prepare) / unit < ROUNDING


# ---- the same scores


def test_a_tiny_timm_network_scores_as_timm_does() -> None:
    classifier = load_classifier("timm:test_vit", pretrained=False, image_shape=(3, 200, 200))
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=classifier.module))
    image = picture(200, 200)
    with torch.inference_mode():
        theirs = classifier.module(transform(Image.fromarray(image))[None])
        same_input = classifier.module(classifier.prepare(tensor(image)))
    scores = classifier(tensor(image))

    def sorted_by_name(raw: torch.Tensor) -> torch.Tensor:
        named = dict(zip(names_of_timm(), raw[0].tolist(), strict=True))
        return torch.tensor([[named[name] for name in classifier.info.class_names]])

    assert torch.allclose(scores, sorted_by_name(same_input), atol=1e-4)
    assert torch.allclose(scores, sorted_by_name(theirs), atol=0.02)  # they round to bytes after resizing
    assert scores.std() > 0.1


def names_of_timm() -> list[str]:
    from evofool.classifiers.support.pretrained import distinct

    descriptions = timm.data.ImageNetInfo("imagenet-1k").label_descriptions()
    return list(distinct([text.partition(",")[0] for text in descriptions]))


def test_vgg16_scores_as_in_torchvision() -> None:
    classifier = load_classifier("torchvision:vgg16", pretrained=False)
    weights = torchvision.models.VGG16_Weights.DEFAULT
    image = picture(224, 224)
    normalised = torchvision.transforms.functional.normalize(
        tensor(image), weights.transforms().mean, weights.transforms().std
    )
    with torch.inference_mode():
        theirs = classifier.module(normalised)
    categories = weights.meta["categories"]
    scores = classifier(tensor(image))
    for name in ("tabby", "zebra", "banana"):
        ours = scores[0, classifier.info.class_names.index(name)]
        assert ours == pytest.approx(float(theirs[0, categories.index(name)]), abs=1e-4)
    assert classifier.info.class_names == tuple(sorted(classifier.info.class_names))
    assert len(set(classifier.info.class_names)) == 1000


def test_a_model_of_transformers_scores_as_there(tmp_path: Path) -> None:
    folder = saved(tmp_path / "net", PROCESSORS["vit"])
    classifier = load_classifier(f"hf:{folder}")
    assert classifier.info.class_names == ("ant", "cat", "zebra")
    assert classifier.info.kind == "logits"
    model = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    images = [picture(30, 30, seed=seed) for seed in range(4)]
    prepared = PROCESSORS["vit"]([Image.fromarray(image) for image in images], return_tensors="pt")
    with torch.inference_mode():
        theirs = model(**prepared).logits
    scores = classifier(torch.cat([tensor(image) for image in images]))
    assert torch.allclose(scores, theirs[:, [1, 2, 0]], atol=1e-4)
    assert scores.std() > 0.1


# ---- gray, small, deterministic


@pytest.mark.parametrize(
    ("spec", "shape", "resized"),
    [
        ("timm:inception_resnet_v2", (1, 299, 299), False),
        ("timm:inception_resnet_v2", (1, 32, 48), True),
        ("torchvision:vgg16", (1, 224, 224), False),
        ("torchvision:vgg16", (3, 28, 28), True),
        ("timm:resnet18", (1, 28, 28), True),
    ],
)
def test_gray_and_small_images(spec: str, shape: tuple[int, int, int], resized: bool) -> None:
    classifier = load_classifier(spec, pretrained=False, image_shape=shape)
    assert classifier.info.image_shape == shape
    assert ("resized" in classifier.info.preparation) == resized
    assert ("gray repeated" in classifier.info.preparation) == (shape[0] == 1)
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))
    scores = classifier(images)
    assert scores.shape == (2, 1000)
    assert scores.isfinite().all()
    assert not torch.equal(scores[0], scores[1])


@pytest.mark.parametrize("spec", ["timm:test_vit", "timm:test_efficientnet", "torchvision:squeezenet1_1"])
def test_random_weights_are_the_same_each_time(spec: str) -> None:
    one, other = (load_classifier(spec, pretrained=False) for _ in range(2))
    assert one.info.fingerprint == other.info.fingerprint
    assert torch.equal(*(torch.cat([p.flatten() for p in each.module.parameters()]) for each in (one, other)))


def test_random_weights_of_transformers_are_the_same_each_time(tmp_path: Path) -> None:
    folder = saved(tmp_path / "net", PROCESSORS["vit"])
    prints = [load_classifier(f"hf:{folder}", pretrained=flag).info.fingerprint for flag in (False, False, True)]
    assert prints[0] == prints[1] != prints[2]


def test_a_trained_network_of_timm_is_read_from_a_folder(tmp_path: Path) -> None:
    made = load_classifier("timm:test_vit", pretrained=False, memory_format="contiguous").module
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.25  # no longer what a network begins with
    timm.models.save_for_hf(made, tmp_path / "net", safe_serialization=True)
    loaded = load_classifier(f"timm:local-dir:{tmp_path / 'net'}").module
    assert all(torch.equal(a, b) for a, b in itertools.zip_longest(made.parameters(), loaded.parameters()))


# ---- what cannot be had


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("timm:resnet18", "its weights could not be fetched.*internet.*pretrained=false"),
        ("torchvision:resnet18", "its weights could not be fetched.*no internet in tests.*pretrained=false"),
        ("hf:someone/something", "could not be fetched.*save_pretrained"),
        ("hf:./nothing-here", "there is no such folder"),
        ("timm:resnet81", "no such network; did you mean resnet18"),
        ("torchvision:vgg61", "no such classifier; did you mean vgg1"),
        ("torchvision:vgg16@IMAGENET", "has no weights 'IMAGENET', expected one of IMAGENET1K_V1"),
    ],
)
def test_what_cannot_be_had_is_told_in_one_line(
    spec: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ClassifierError, match=message) as caught:
        load_classifier(spec)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "net", PROCESSORS["vit"])
    transformers.ViTModel.from_pretrained(folder, add_pooling_layer=False).save_pretrained(folder)
    with pytest.raises(ClassifierError, match=r"its weights lack 'classifier\.bias'"):
        load_classifier(f"hf:{folder}")


@pytest.mark.parametrize(
    "processor",
    [
        transformers.MobileViTImageProcessor(
            size={"shortest_edge": 30}, crop_size={"height": 30, "width": 30}, do_flip_channel_order=True
        ),
        transformers.LevitImageProcessor(size={"shortest_edge": 30}, crop_size={"height": 30, "width": 30}),
    ],
    ids=lambda processor: type(processor).__name__,
)
def test_an_image_processor_that_does_something_else_is_refused(processor: Any, tmp_path: Path) -> None:
    folder = saved(tmp_path / "net", processor)
    with pytest.raises(ClassifierError, match=f"{type(processor).__name__}.*does something else"):
        load_classifier(f"hf:{folder}")
    said = load_classifier(f"hf:{folder}", input_shape=(3, 30, 30), mean=0.5, std=0.5)
    assert said.prepare.mean == (0.5,)


def test_a_folder_without_an_image_processor_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "net", PROCESSORS["vit"])
    for file in folder.glob("*processor*"):
        file.unlink()
    with pytest.raises(ClassifierError, match="image processor cannot be read"):
        load_classifier(f"hf:{folder}")
