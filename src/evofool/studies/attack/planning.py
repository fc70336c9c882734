"""From a configuration of an attack to its shards: everything is checked here, and nothing is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ... import pool as pools
from ... import recipes
from ...classifiers.support.sources import sourced
from ...contracts import ClassifierInfo, Dataset
from ...data import load_test_images
from ...errors import ClassifierError, SizesError, SpecError
from ...pool import Pool
from ...recipes import Setting
from ...runs import classifier_of
from ...threat import Threat, threat
from .given import GIVEN, Chosen, Config, chosen, goal_of, order_of
from .shards import Shard

TOGETHER = 512  # images of one shard, where each is attacked by itself


@dataclass(frozen=True)
class Plan:
    """What a configuration comes down to.

    Attributes:
        config: resolved.
        setting: what the recipe is made for.
        chosen: the images, in the order of the data.
        shards: in the order of the attack.
    """

    config: Config
    setting: Setting
    chosen: Chosen
    shards: list[Shard]

    @property
    def evaluations(self) -> int:
        """Images."""
        return len(self.chosen.dataset)

    @property
    def queries(self) -> int:
        """The most that will be asked."""
        most = self.config.budget * self.evaluations
        return most if self.config.budget_total is None else self.config.budget_total


def plan(config: Config, *, progress: Callable[[str, int, int], None] | None = None) -> Plan:
    """Resolve and check a configuration, and cut it into shards; nothing is asked and nothing is written.

    Raises:
        UserError: whatever is wrong with it, in one line.
    """
    check_budgets(config, config.confirm or 0)
    if config.target == GIVEN:
        raise SpecError("target 'given': a class for each image can be given in Python only, see `evofool.attack`")
    config = _sourced(config, progress)
    info = classifier_of(config.classifier, config.sources).info
    confirm = int(info.metered) if config.confirm is None else config.confirm
    images = chosen(config, info)
    count = len(images.dataset)
    check_budgets(config, confirm, count)
    limit = threat(config.norm, config.size, info.image_shape)
    goal, target = goal_of(config, info)
    if target is not None and images.labelled and bool((images.dataset.labels == target).all()):
        raise SpecError(f"target {info.class_names[target]}: all images are of this class; give another one")
    setting = Setting(limit, goal, config.budget, info)
    algorithm = recipes.algorithm(config.recipe, setting, config.arguments)
    shares = getattr(algorithm, "sharing", None) is not None
    if config.pool is not None and shares:
        config = replace(config, pool=str(pools.file_of(Path(config.pool))))
    known = _pool(config, shares, info, limit)
    config = replace(
        config, confirm=confirm, size=limit.size, fingerprint=pools.fingerprint(known) if known is not None else ""
    )
    order = order_of(config, count)
    together = count if shares or config.budget_total is not None else TOGETHER
    shards = [
        Shard(
            config=replace(config, options={}),
            numbers=tuple(order[first : first + together]),
            place=first,
            sources=config.sources,
            fingerprints={config.classifier: info.fingerprint},
        )
        for first in range(0, count, together)
    ]
    return Plan(config, setting, images, shards)


def check_budgets(config: Config, confirm: int, count: int = 0) -> None:
    """Refuse budgets that leave nothing to search with.

    Args:
        config: says them.
        confirm: queries of each image that are set aside to confirm.
        count: images.

    Raises:
        SpecError: they do.
    """
    if config.budget < 2:
        raise SpecError(
            f"a budget of {config.budget} queries for each image: one is for the image as it is; expected at least 2"
        )
    if confirm < 0:
        raise SpecError(f"confirm = {confirm}: expected 0 or more")
    if confirm and config.budget - confirm < 2:
        raise SpecError(f"a budget of {config.budget}, {confirm} of them to confirm: expected at least {confirm + 2}")
    if config.budget_total is not None and config.budget_total < count * (1 + confirm):
        each = f"{1 + confirm} for each" + (f", {confirm} of them to confirm" if confirm else "")
        raise SpecError(f"{config.budget_total:,} queries in all for {count:,} images: expected at least {each}")


def _pool(config: Config, shares: bool, info: ClassifierInfo, limit: Threat) -> Pool | None:
    """The genes to begin with.

    Raises:
        SpecError: they are for other images or classes, or nobody would use them.
    """
    if config.pool is None:
        return None
    known = pools.load(Path(config.pool)) if shares else None
    check_pool(known, config.pool, config.recipe, info, limit, config.target is not None)
    assert known is not None
    if config.fingerprint and pools.fingerprint(known) != config.fingerprint:
        raise SpecError(f"{config.pool}: is not the pool that the run began with; restore it from a copy")
    return known


def check_pool(known: Pool | None, name: str, recipe: str, info: ClassifierInfo, limit: Threat, targeted: bool) -> None:
    """Refuse genes that an attack cannot begin with; None = nobody would use them.

    Raises:
        SpecError: they are for other images or classes, or nobody would use them.
    """
    if known is None:
        raise SpecError(f"{recipe} uses no pool of genes: leave the pool out, or attack with genepool")
    if tuple(known.genes.shape[1:]) != info.image_shape:
        raise SpecError(
            f"{name}: its genes are of shape {tuple(known.genes.shape[1:])}, the images of {info.image_shape}"
        )
    if known.wins.shape[1] != len(info.class_names):
        raise SpecError(
            f"{name}: knows {known.wins.shape[1]} classes, and {info.name} tells {len(info.class_names)} apart"
        )
    classes, plain = tuple(known.about.get("classes", info.class_names)), tuple(map(str, range(len(info.class_names))))
    if classes != info.class_names and plain not in (classes, info.class_names):  # what is known is kept by number
        number = next(n for n, pair in enumerate(zip(classes, info.class_names, strict=True)) if len(set(pair)) > 1)
        raise SpecError(
            f"{name}: was learned on other classes: its class {number} is {classes[number]}, that of {info.name} is "
            f"{info.class_names[number]}; begin without it"
        )
    norm = known.about.get("norm")
    if norm is not None and norm != limit.norm:
        raise SpecError(f"{name}: its genes are of {norm}, and this attack is of {limit.norm}")
    if known.about.get("targeted", targeted) is not targeted:
        other = "are to be seen as a class" if targeted else "are to get away from theirs"
        raise SpecError(f"{name}: was learned with another aim, and here images {other}; begin without it")


def _sourced(config: Config, progress: Callable[[str, int, int], None] | None) -> Config:
    """The same, with a name for the classifier and with what it takes to load it again."""
    if config.classifier in config.sources:  # of a run that goes on
        return config
    data: Dataset | None = None
    try:
        data = load_test_images(config.data, data_dir=config.data_dir, unlabelled=True, progress=progress)
    except SizesError:  # then the classifier has to say enough of itself
        data = None
    name, source = sourced(config.classifier, config.options, data)
    if config.options.keys() - {"device", "trust_code"} and not source:
        raise ClassifierError(
            f"{', '.join(sorted(config.options))} is said of {name}: a card says everything already; leave it out"
        )
    sources = {name: source} if source else {}
    return replace(config, classifier=name, given=config.given or config.classifier, sources=sources)
