"""Attack a model in one line."""

from __future__ import annotations

import dataclasses
import inspect
import operator
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import pool as pools
from . import recipes
from .classifiers import load_classifier
from .contracts import Classifier, Dataset
from .data import fingerprint
from .encodings.pixels import to_lattice
from .errors import ClassifierError, SpecError, nearest
from .executors.local import one_thread
from .ledger import Ledger
from .pool import Pool
from .recipes import Setting
from .rundir import NO_LABEL
from .shapes import Bool, Float, Int, Tensor
from .studies.attack import run, shards
from .studies.attack.assault import assault
from .studies.attack.given import GIVEN, Chosen, Config, check_images, goal_of, order_of
from .studies.attack.planning import Plan, check_budgets, check_pool
from .studies.attack.results import Results
from .studies.attack.shards import Shard
from .threat import threat

NEAR = 0.01  # gray levels by which an image may miss whole ones without a word


@dataclass(frozen=True)
class Attacked:
    """What became of images.

    Attributes:
        images: [N C H W], on the 1/255 lattice: what fooled, the best attempts at the others, and images that were not
            attacked as they are.
        fooled: [N].
        skipped: [N], misclassified as they are, or without an answer, and so not attacked.
        queries: [N], of each search; the one for the image as it is comes on top.
        predictions: [N], the class seen in `images`; -1 without an answer.
        pool: genes, of recipes that share: give it to the next attack.
        results: all numbers, as a run directory has them.
    """

    images: Float[Tensor, "N C H W"]
    fooled: Bool[Tensor, " N"]
    skipped: Bool[Tensor, " N"]
    queries: Int[Tensor, " N"]
    predictions: Int[Tensor, " N"]
    pool: Pool | None
    results: Results
    _pictures: Mapping[str, Tensor]

    def report(self, directory: str | Path = "attack-report") -> Path:
        """Write report.html with its figures, tables and images, and the numbers as study.json.

        Args:
            directory: new or empty.

        Returns:
            The path of the page.

        Raises:
            UserError: something lies there, or the disk refuses.
        """
        from .files import write_bytes, write_png
        from .reports import attack as page

        path = Path(directory)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise SpecError(f"{path}: is there already, and not empty; name another directory")
        for name, picture in self._pictures.items():
            write_png(path / name, picture)
        write_bytes(path / "study.json", self.results.to_json().encode())
        return page.write(self.results, path)

    def __str__(self) -> str:
        from .reports import attack as page

        return "\n".join(page.sentences(self.results))


def attack(
    model: Any,
    images: Tensor | np.ndarray,
    labels: Tensor | np.ndarray | Sequence[int] | None = None,
    *,
    norm: str = "linf",
    eps: float | None = None,
    pixels: int | None = None,
    budget: int = 1000,
    budget_total: int | None = None,
    recipe: str = recipes.DEFAULT,
    target: int | str | Tensor | np.ndarray | Sequence[int] | None = None,
    k: int = 1,
    seed: int = 0,
    shrink: bool = False,
    confirm: int | None = None,
    pool: Pool | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Attacked:
    """Fool a classifier with images, each changed a little, within a limit, in as few queries as can be.

    Args:
        model: a PyTorch module, a function of images, an estimator, or whatever `load_classifier` takes. It gets images
            in [0, 1]: normalising is its own affair.
        images: [N C H W] floats in [0, 1], a tensor or an array; rounded to 1/255, as a file holds them, before
            anything is asked.
        labels: [N], the class of each; None = what the model says of the image as it is.
        norm: "linf", "l2", "l0", "patch" or "frame".
        eps: how much may change: the radius of "linf" (1 = full white; read as a whole number of 1/255) and "l2", the
            side of a patch, the thickness of a frame.
        pixels: how many may change; then the norm is "l0".
        budget: the most queries of one image, the one for the image as it is included.
        budget_total: the most queries of all. What is left when each image has had `budget` goes to those that are not
            fooled.
        recipe: see `evofool list recipes`.
        target: a class by number or name, "least-likely", "random", or a class for each image; None = away from its
            own.
        k: top-k success.
        seed: of all draws.
        shrink: spend what is left of a budget on making the perturbation smaller.
        confirm: how often what fooled is asked about again, out of the same budgets, for a model that does not always
            answer alike: a success counts only if it fools each time, else the search goes on. None = once where
            queries are metered, as of an endpoint, else not.
        pool: genes of another attack, or the file that it left, RUN/pool.safetensors (or RUN alone).
        settings: what there is to say of the model, see `load_classifier`.
        **arguments: of the recipe, see `evofool show recipe`.

    Raises:
        UserError: whatever is wrong with all this, in one line.
        DamagedRunError: the file of genes is not what was written.
    """
    _check_names(recipe, norm, arguments)
    budget, k, seed = _whole("budget", budget), _whole("k", k), _whole("seed", seed)
    eps = None if eps is None else _number("eps", eps)
    pixels = None if pixels is None else _whole("pixels", pixels)
    confirm = None if confirm is None else _whole("confirm", confirm)
    budget_total = None if budget_total is None else _whole("budget_total", budget_total)
    pool = _pool(pool)
    with one_thread():
        images = _images(images)
        classifier = _classifier(model, images, settings)
        info = classifier.info
        check_images(classifier, images)
        given = images.detach().float().cpu()
        x = to_lattice(given[:, None].clone(), None)[:, 0]
        classes = _labels(labels, len(x), len(info.class_names), "labels")
        each, wanted = _targets(target, classes, len(info.class_names))
        if pixels is not None:
            if eps is not None or norm not in ("linf", "l0"):
                raise SpecError(f"pixels = {pixels}: a limit of its own; give it without eps and without another norm")
            norm, eps = "l0", pixels
        config = Config(
            classifier=info.name,
            data="images in memory",
            norm=norm,
            size=eps,
            recipe=recipe,
            arguments=arguments,
            budget=budget,
            budget_total=budget_total,
            target=wanted,
            k=k,
            seed=seed,
            shrink=shrink,
            given=info.name,
            confirm=int(info.metered) if confirm is None else confirm,
        )
        check_budgets(config, config.confirm or 0, len(x))
        limit = threat(norm, eps, info.image_shape)
        config = dataclasses.replace(config, size=limit.size)
        goal, _ = goal_of(config, info)
        setting = Setting(limit, goal, budget, info)
        algorithm = recipes.algorithm(recipe, setting, arguments)
        if pool is not None:
            shares = getattr(algorithm, "sharing", None) is not None
            check_pool(pool if shares else None, "pool", recipe, info, limit, wanted is not None)
        pixels_ = (x * 255).round().byte()
        dataset = Dataset(pixels_, classes, info.class_names, "images in memory", fingerprint(pixels_, classes, ()))
        names = tuple(f"image {number}" for number in range(len(x)))
        images_ = Chosen(dataset, names, labels is not None, dataset.fingerprint, _rounded(given, x))
        shard = Shard(config, tuple(order_of(config, len(x))), 0)
        ledger = Ledger(
            classifier,
            searches=[shards.account(number) for number in shard.numbers],
            budget=budget if budget_total is None else None,
            total=budget_total,
        )
        found = assault(x, classes, config=config, ledger=ledger, pool=pool, targets=each)
        done = shards.done_of(shard, names, x, found, info, 0.0)
        plan = Plan(config, setting, images_, [shard])
        books = {"searches": ledger.store.counts(), "padded": ledger.store.padded(), "kills": 0, "drift": []}
        results, pictures, _ = run.told_of(plan, [done], "", found.evaded.pool, books, classifier)
        seen = torch.tensor([image.prediction for image in results.images], dtype=torch.int64)
    return Attacked(
        found.images, found.fooled, ~found.attacked, found.queries, seen, found.evaded.pool, results, pictures
    )


def _check_names(recipe: Any, norm: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse an argument that neither this function nor the recipe has, before anything that it was meant for."""
    for name, value in (("recipe", recipe), ("norm", norm)):
        if not isinstance(value, str):
            raise SpecError(f"{name}: found {_shown(value)}; expected a name")
    known = recipes.recipes()
    if recipe not in known:
        raise SpecError(f"recipe '{recipe}': unknown{nearest(recipe, known)}")
    own = [name for name, each in inspect.signature(attack).parameters.items() if each.kind is each.KEYWORD_ONLY]
    for argument in arguments:
        if argument not in known[recipe].arguments:
            hint = nearest(argument, [*own, *known[recipe].arguments])
            raise SpecError(f"{recipe} has no argument '{argument}'{hint}")


def _whole(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise SpecError(f"{name}: found {_shown(value)}; expected a whole number") from None


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        return value if isinstance(value, int) else float(value)
    except (TypeError, ValueError, RuntimeError):
        raise SpecError(f"{name}: found {_shown(value)}; expected a number, such as 0.03 or 8 / 255") from None


def _shown(value: Any) -> str:
    """Whatever it is, short and in one line."""
    return " ".join(reprlib.repr(value).split())


def _pool(given: Any) -> Pool | None:
    if isinstance(given, str | Path):
        return pools.load(Path(given))
    if given is not None and not isinstance(given, Pool):
        raise SpecError(f"pool: found {_shown(given)}; expected the pool of an attack, or the file that it left")
    return given


def _images(given: Any) -> Tensor:
    """A tensor, whatever they came in."""
    found = given
    if isinstance(given, np.ndarray) and given.dtype.kind == "f":
        # In the processor's order of bytes, without negative strides, and writable: else PyTorch does not take it.
        found = torch.from_numpy(np.require(given, given.dtype.newbyteorder("="), ["A", "C", "W"]))
    if not isinstance(found, Tensor) or found.ndim != 4 or not len(found) or not found.is_floating_point():
        there = isinstance(given, Tensor | np.ndarray)
        what = f"{given.dtype} {list(given.shape)}" if there else type(given).__name__
        raise ClassifierError(f"images: found {what}; expected floats [N C H W] in [0, 1], at least one image")
    return found


def _rounded(given: Float[Tensor, "N C H W"], x: Float[Tensor, "N C H W"]) -> str:
    """In words, how images were rounded to whole gray levels; "" where they hold such."""
    off = (given - x).abs().flatten(1).amax(1) * 255
    odd = int((off > NEAR).sum())
    if not odd:
        return ""
    return (
        f"{odd:,} of {len(x):,} images do not hold whole gray levels, as files of bytes do, and are rounded to the "
        f"nearest, by up to {float(off.max()):.2f} of one"
    )


def _classifier(model: Any, images: Tensor, settings: Mapping[str, Any] | None) -> Classifier:
    """The model as a classifier; its classes are counted in its own answer."""
    if settings is not None and not isinstance(settings, Mapping):
        raise SpecError(f"settings: found {_shown(settings)}; expected names with values, see `load_classifier`")
    said = dict(settings or {})
    if isinstance(model, str | Path | Classifier):
        return load_classifier(model, said)
    said.setdefault("image_shape", tuple(images.shape[1:]))
    return load_classifier(model, said)


def _labels(given: Any, count: int, classes: int, name: str) -> Int[Tensor, " N"]:
    if given is None:
        return torch.full((count,), NO_LABEL, dtype=torch.int64)
    try:
        array = isinstance(given, np.ndarray)
        found = torch.as_tensor(np.ascontiguousarray(given) if array else given).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise SpecError(f"{name}: found {_shown(given)}; expected {count} whole numbers") from None
    if found.shape != (count,) or found.is_floating_point() or found.is_complex():
        raise SpecError(f"{name}: found {list(found.shape)} of {found.dtype}; expected {count} whole numbers")
    odd = ((found < 0) | (found >= classes)).nonzero().flatten()
    if len(odd):
        row = int(odd[0])
        raise SpecError(f"{name}: that of image {row} is {int(found[row])}; expected 0 to {classes - 1}")
    return found.long()


def _targets(target: Any, labels: Int[Tensor, " N"], classes: int) -> tuple[Int[Tensor, " N"] | None, str | None]:
    """The class wanted of each image, if it is said of each; and what the configuration says."""
    if isinstance(target, str) and target == GIVEN:
        raise SpecError(f"target '{GIVEN}': unknown; give a class, by name or number, or one for each image")
    if target is None or isinstance(target, str):
        return None, target
    if isinstance(target, (np.integer, np.ndarray, Tensor)) and target.ndim == 0:
        target = int(target)
    if isinstance(target, int):
        each = _labels([target] * len(labels), len(labels), classes, "target")
    else:
        each = _labels(target, len(labels), classes, "target")
    same = (each == labels).nonzero().flatten()
    if len(same):
        row = int(same[0])
        raise SpecError(f"target: that of image {row} is {int(each[row])}, its own label; expected another class")
    return each, str(target) if isinstance(target, int) else GIVEN
