"""What an attack is to do, as it is said, and the images that it is done to."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ... import recipes
from ...classifiers.support.settings import Settings
from ...contracts import Classifier, ClassifierInfo, Dataset
from ...data import load_test_images
from ...errors import ClassifierError, DataError, SpecError
from ...rng import Stream, search_id
from ...rundir import NO_LABEL
from ...shapes import Float, Int, Tensor
from ...threat import Goal
from ..draw.planning import target_of

GIVEN = "given"  # for each image, in Python only
SPECIAL = ("least-likely", "random", GIVEN)


@dataclass(frozen=True)
class Config:
    """What to attack.

    Args:
        classifier: as for `load_classifier`; in a plan, its name.
        data: images, as for `load_data`; a folder of images without class folders will do.
        norm, size: how much may change, see `threat.threat`.
        recipe: its name, see `recipes.recipes`.
        arguments: of the recipe.
        budget: the most queries of one image, the one for the image as it is included.
        budget_total: the most queries of all. What is left when each image has had `budget` goes to those that are not
            fooled, in turns of `budget` again.
        first, images: from which image on, and how many; None = all.
        shuffle: attack them in an order by seed.
        target: a class by name or number, "least-likely" (of each image) or "random" (another one, by seed); None =
            away from the class of the image.
        k: top-k success: the class is among the k first, or not among them.
        seed: of all draws.
        shrink: then spend what is left of the budget of an image on making its perturbation smaller.
        pool: genes to begin with, for recipes that share: a run that found some, or its file of them.
        confirm: how often what fooled is asked again; None = once where queries are metered.
        cache: answer an image that a search has asked about before from its cache.
        data_dir, options, sources, given: as of drawing.
        fingerprint: of the pool that it began with; a plan fills it in.
    """

    classifier: str
    data: str
    norm: str = "linf"
    size: float | None = None
    recipe: str = recipes.DEFAULT
    arguments: Mapping[str, Any] = field(default_factory=dict)
    budget: int = 1000
    budget_total: int | None = None
    first: int = 0
    images: int | None = None
    shuffle: bool = False
    target: str | None = None
    k: int = 1
    seed: int = 0
    shrink: bool = False
    pool: str | None = None
    confirm: int | None = None
    cache: bool = True
    data_dir: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Settings] = field(default_factory=dict)
    given: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Chosen:
    """The images of an attack.

    Attributes:
        dataset: they alone; its labels are classes of the classifier, or NO_LABEL.
        names: of each image.
        labelled: whether labels came with the images.
        fingerprint: of all the data that they were chosen from.
        brought: in words, how they were brought to the shape that the classifier takes, and to its classes where their
            names do not say which; "" where nothing was to be done.
    """

    dataset: Dataset
    names: tuple[str, ...]
    labelled: bool
    fingerprint: str
    brought: str = ""


@functools.lru_cache(maxsize=2)
def _data(spec: str, data_dir: str | None, image_shape: tuple[int, int, int] | None) -> Dataset:
    return load_test_images(spec, data_dir=data_dir, image_shape=image_shape, unlabelled=True)


def chosen(config: Config, info: ClassifierInfo) -> Chosen:
    """Read the images.

    Raises:
        DataError, ClassifierError: they do not fit the classifier, or there are not so many.
    """
    whole = _data(config.data, config.data_dir, info.image_shape)
    if not 0 <= config.first < len(whole):
        raise DataError(f"first = {config.first}: {whole.name} has {len(whole):,} images, numbered from 0")
    if config.images is not None and config.images < 1:
        raise DataError(f"images = {config.images}: expected at least 1")
    last = len(whole) if config.images is None else config.first + config.images
    if last > len(whole):
        raise DataError(f"images {config.first} to {last - 1} of {whole.name}: it has {len(whole):,} of them")
    rows = slice(config.first, last)
    labels = _as_classes(whole, info)[rows]
    names = whole.files[rows] or tuple(f"{whole.name} {number}" for number in range(config.first, last))
    found = whole.found[rows]
    part = replace(whole, images=whole.images[rows], labels=labels, files=(), found=(), class_names=info.class_names)
    fitted = "; ".join(words for words in (brought(found, info), _matched(whole, info)) if words)
    return Chosen(part, names, bool(whole.class_names), whole.fingerprint, fitted)


def brought(found: Sequence[tuple[int, int, int]], info: ClassifierInfo) -> str:
    """In words, what was done to images of these shapes (C, H, W) so that a classifier takes them; "" = nothing."""
    channels, height, width = info.image_shape
    sizes = [shape[1:] for shape in found if shape[1:] != (height, width)]
    done = []
    if sizes:
        known = sorted(set(sizes), key=lambda size: (size[0] * size[1], size))
        which = f"{known[0][0]} x {known[0][1]}"
        if len(known) > 1:
            which = f"{len(known)} sizes from {which} to {known[-1][0]} x {known[-1][1]}"
        bent = any(high * width != wide * height for high, wide in sizes)
        how = f"bilinear, antialiased{', proportions not kept' if bent else ''}"
        done.append(f"{len(sizes):,} of {len(found):,}, of {which}, resized ({how})")
    if colours := sum(shape[0] > channels for shape in found):
        done.append(f"{colours:,} of {len(found):,} made gray")
    if grays := sum(shape[0] < channels for shape in found):
        done.append(f"{grays:,} of {len(found):,} given {channels} equal channels, being gray")
    if not done:
        return ""
    wanted = f"{height} x {width} pixels (height x width) in {'gray' if channels == 1 else 'colour'}"
    return (
        f"the images are brought to what {info.name} takes, {wanted}: {'; '.join(done)}; what fools is a file of that "
        "shape"
    )


def check_images(classifier: Classifier, images: Float[Tensor, "N C H W"]) -> None:
    """Refuse images that are not what a classifier takes.

    Raises:
        ClassifierError: names the image and what it spans.
    """
    expected = classifier.info.image_shape
    if tuple(images.shape[1:]) != expected:
        raise ClassifierError(
            f"images of shape {tuple(images.shape[1:])} for {classifier.info.name}, which expects {expected} (C, H, W)"
        )
    low, high = images.flatten(1).amin(1), images.flatten(1).amax(1)
    odd = (~((low >= 0) & (high <= 1))).nonzero().flatten()
    if len(odd):
        row = int(odd[0])
        raise ClassifierError(
            f"image {row} spans {float(low[row]):.4g} to {float(high[row]):.4g}; expected [0, 1]: give images as they "
            "are, and let the model normalise them inside"
        )


def _as_classes(dataset: Dataset, info: ClassifierInfo) -> Int[Tensor, " N"]:
    """Labels as classes of the classifier: by name, else, where it names none of them, by number."""
    if not dataset.class_names:
        return torch.full((len(dataset),), NO_LABEL, dtype=torch.int64)
    known = {name: number for number, name in enumerate(info.class_names)}
    unknown = [name for name in dataset.class_names if name not in known]
    if not unknown:
        return torch.tensor([known[name] for name in dataset.class_names])[dataset.labels]
    unnamed = all(name == str(number) for number, name in enumerate(info.class_names))
    if unnamed and len(dataset.class_names) == len(known):
        return dataset.labels
    raise ClassifierError(
        f"{dataset.name} has images of '{unknown[0]}', and {info.name} knows no such class (but "
        f"{', '.join(info.class_names[:8])}{' ...' if len(known) > 8 else ''}); rename the folders, name its classes "
        "with --with class_names=FIRST,SECOND,..., or give the images without class folders"
    )


def _matched(dataset: Dataset, info: ClassifierInfo) -> str:
    """In words, how classes of the images and of the classifier belong together, where their names do not say it."""
    pairs = [f"{theirs} = {ours}" for theirs, ours in zip(dataset.class_names, info.class_names, strict=False)]
    if not pairs or set(dataset.class_names) <= set(info.class_names):
        return ""
    shown = ", ".join(pairs if len(pairs) < 4 else [*pairs[:2], "...", pairs[-1]])
    return (
        f"the classes of {info.name} are numbers, so folders are taken as them in the order of their names: {shown}; "
        "if it is another order, name the folders by number"
    )


def goal_of(config: Config, info: ClassifierInfo) -> tuple[Goal, int | None]:
    """What counts as success, and the class that is wanted, where it is one for all images.

    Raises:
        SpecError: there is no such class, or k is no number of classes that can be had.
    """
    classes = len(info.class_names)
    if not 1 <= config.k < classes:
        raise SpecError(f"top-k: k = {config.k}; expected from 1 to {classes - 1} of {classes} classes")
    if info.kind == "label" and config.k > 1:
        raise SpecError(
            f"top-k: {info.name} answers with one class only, so k = {config.k} cannot be seen; leave it out"
        )
    if config.target is None or config.target in SPECIAL:
        return Goal(config.target is not None, config.k), None
    return Goal(True, config.k), target_of(config.target, info)


def wanted(
    config: Config, target: int | None, labels: Int[Tensor, " N"], scores: Tensor, ids: list[int]
) -> Int[Tensor, " N"]:
    """The class that each image is to be seen as; its own where it is only to be seen as another."""
    if config.target is None:
        return labels
    if target is not None:
        return torch.full_like(labels, target)
    if config.target == "least-likely":
        return scores.nan_to_num(nan=torch.inf).argmin(1)
    drawn = Stream([config.seed] * len(ids), ids)["target"].integers(scores.shape[1] - 1, 1)[:, 0]
    return drawn + (drawn >= labels).long()


def order_of(config: Config, count: int) -> list[int]:
    """The order of the attack."""
    if not config.shuffle:
        return list(range(count))
    order: list[int] = Stream([config.seed], [search_id("order")]).permutation(count)[0].tolist()
    return order
