"""The runs of the comparison of attacks, as data: which network, limit, recipe or peer, seed and images.

The first rows are those that the figures to reach are read from; then come all recipes and peers once, then what
`genepool` is without one of its parts, and what its genes do to another network.

Images are the first of the test set; settings of recipes were chosen on others, from 5,000 on. Of CIFAR-10, whose files
lie class by class, they are the first of a shuffled list, which `attack_matrix.py` packs; since its network takes long,
all recipes and peers attack fewer of them, and the leaders do the same beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

SEEDS = range(5)
IMAGES = 500
FEW = 200
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Net(NamedTuple):
    """A network to attack.

    Attributes:
        name: its folder beside the others; a name of ours where `command` is "".
        data: whose test images.
        command: makes it.
        labels: it is asked for labels only.
    """

    name: str
    data: str
    command: str
    labels: bool = False

    @property
    def folder(self) -> str:
        """Of the network itself."""
        return self.name.removesuffix("-labels")


MNIST = "evofool train --data mnist --arch small_cnn --set width=32 --set hidden=128 --epochs 6 --seed 0 -o mnist-cnn/"
ROBUST = "evofool train --data mnist --arch judge_cnn --adversarial linf:0.3 --epochs 4 --seed 0 -o mnist-robust/"
CIFAR = (
    "evofool train --data cifar10.zip --arch deep_cnn --set width=48 --mirror --epochs 30 --batch-size 128 "
    "--learning-rate 0.004 --seed 0 -o cifar-cnn/"
)
NETS = {
    net.name: net
    for net in (
        Net("mnist-cnn", "mnist", MNIST),
        Net("mnist-cnn-labels", "mnist", MNIST, labels=True),
        Net("mnist-robust", "mnist", ROBUST),
        Net("cifar-cnn", "cifar10", CIFAR),
        Net("mnist99", "mnist", ""),
    )
}


class Limit(NamedTuple):
    """What is asked of an attack.

    Attributes:
        net: of `NETS`.
        norm, size: how much may change; 8/255 is what eps is rounded to.
        budget: queries of an image.
        mean: queries of an image to reckon with, to say beforehand what a run costs.
        target: as of `evofool attack`.
        images: of a run.
    """

    net: str
    norm: str
    size: float
    budget: int
    mean: int
    target: str | None = None
    images: int = IMAGES

    @property
    def name(self) -> str:
        """Folder of its runs."""
        size = f"{self.size:g}" if self.size > 0.05 else f"{round(self.size * 255)}-255"
        few = f"-{self.images}-images" if self.images < IMAGES else ""
        return f"{self.net}-{self.norm}-{size}{'-targeted' if self.target else ''}-{self.budget}{few}"


class Job(NamedTuple):
    """One run.

    Attributes:
        limit: what is asked.
        attack: a recipe; with `peer` the name of a peer.
        arguments: of the recipe.
        seed: of the draws and of the order.
        first: of its images.
        peer: somebody else attacks.
        pool: what the run was asked whose genes it begins with; None = it begins without.
        why: which part of the comparison it is for.
    """

    limit: Limit
    attack: str
    arguments: Mapping[str, Any] = NOTHING
    seed: int = 0
    first: int = 0
    peer: bool = False
    pool: Limit | None = None
    why: str = "bars"

    @property
    def folder(self) -> str:
        """Where the run lies."""
        said = [
            f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in self.arguments.items()
        ]
        told = [self.attack.replace(" ", "-"), *said, *(["pool"] if self.pool else []), str(self.seed)]
        return f"{self.limit.name}/{'-'.join(told)}"


MNIST_LINF = Limit("mnist-cnn", "linf", 0.3, 1000, 45)
MNIST_SMALL = Limit("mnist-cnn", "linf", 0.15, 1000, 480)
MNIST_L2 = Limit("mnist-cnn", "l2", 2.0, 1000, 550)
MNIST_10 = Limit("mnist-cnn", "l0", 10, 1000, 310)
MNIST_25 = Limit("mnist-cnn", "l0", 25, 1000, 110)
TARGETED = Limit("mnist-cnn", "linf", 0.3, 5000, 400, "random")
LABELS = Limit("mnist-cnn-labels", "linf", 0.3, 1000, 130)
ROBUST_LINF = Limit("mnist-robust", "linf", 0.3, 5000, 4600)
CIFAR_LINF = Limit("cifar-cnn", "linf", 8 / 255, 5000, 300)
CIFAR_L2 = Limit("cifar-cnn", "l2", 1.0, 1000, 450)
OTHER = Limit("mnist99", "linf", 0.3, 1000, 30)

# The limit, and who is to be beaten.
BARS: tuple[tuple[Limit, tuple[tuple[str, bool], ...]], ...] = (
    (MNIST_LINF, (("square", False), ("torchattacks square", True))),
    (MNIST_10, (("sparse-rs", False), ("brusle", False))),
    (MNIST_25, (("sparse-rs", False), ("brusle", False))),
    (LABELS, (("rays", False),)),
    (MNIST_SMALL, (("square", False),)),
    (MNIST_L2, (("square", False),)),
    (TARGETED, (("foolbox genattack", True),)),
    (CIFAR_L2, (("square", False),)),
    (CIFAR_LINF, (("square", False),)),
    (ROBUST_LINF, (("square", False),)),
)
# Square's first share of the pixels beside the 0.8 of AutoAttack: on photographs less is better (the paper has 0.05).
SHARES = {CIFAR_LINF: (0.05,), MNIST_SMALL: (0.3,), MNIST_LINF: (0.3,)}
HARD = 1000  # queries at which random search stops, and what hardly succeeds


def stopped(limit: Limit) -> Limit:
    """The same with no more queries than suit what hardly succeeds."""
    return limit if limit.budget <= HARD else limit._replace(budget=HARD, mean=min(limit.mean, HARD))


def bars() -> Iterator[Job]:
    """What the figures to reach are read from: all limits with the first seed, then with the next."""
    for seed in SEEDS:
        for limit, rivals in BARS:
            yield Job(limit, "genepool", seed=seed)
            for name, peer in rivals:
                yield Job(limit, name, seed=seed, peer=peer)
            for share in SHARES.get(limit, ()):
                yield Job(limit, "square", {"p": share}, seed=seed)
            yield Job(stopped(limit)._replace(mean=HARD), "random", seed=seed)


ES: tuple[tuple[str, Mapping[str, Any]], ...] = tuple(
    ("es", {"strategy": strategy}) for strategy in ("one-plus-one", "cma", "nes")
)
ALONE: tuple[str, Mapping[str, Any]] = ("genepool", {"independent": True})
ON_BEST: tuple[str, Mapping[str, Any]] = ("one-pixel", {"base": "best", "population": 30})  # as torchattacks, 10 pixels
PLAIN: dict[str, tuple[tuple[str, Mapping[str, Any]], ...]] = {
    "linf": (ALONE, ("square", {}), ("square", {"p": 0.3}), ("ga", {}), ("genattack", {}), *ES, ("rays", {})),
    "l2": (ALONE, ("square", {}), ("ga", {}), *ES, ("evolutionary", {})),
    "l0": (ALONE, ("sparse-rs", {}), ("brusle", {}), ("ga", {}), ("one-pixel", {}), ON_BEST, ("sparse-evo", {})),
}
PEERS = {
    "linf": ("torchattacks square", "art square"),
    "l2": ("torchattacks square", "art square"),
    "l0": ("torchattacks one-pixel", "torchattacks pixle", "art pixel"),
}
LABELS_ONLY = ("rays", "evolutionary", "sparse-evo", "random")


def _matrix(limit: Limit) -> Iterator[Job]:
    recipes = [each for each in PLAIN[limit.norm] if not (limit.target and each[0] in LABELS_ONLY)]
    for name, arguments in recipes:
        if not NETS[limit.net].labels or name == "rays" or name == "genepool":
            yield Job(limit, name, arguments, why="matrix")
    if not NETS[limit.net].labels:
        peers = ("foolbox genattack", "torchattacks square") if limit.target else PEERS[limit.norm]
        for name in peers:
            yield Job(limit, name, peer=True, why="matrix")


def matrix() -> Iterator[Job]:
    """Every recipe and every peer once.

    5,000 queries are for those that go on to succeed; all the others stop earlier. Where they do, and where they attack
    fewer images, the leaders and random search are asked to do the same beside them.
    """
    yield Job(CIFAR_LINF, "square", {"p": 0.3}, why="matrix")
    yield Job(CIFAR_L2, "square", {"p": 0.1}, why="matrix")
    for limit, _ in BARS:
        short = stopped(limit)
        if short != limit:
            yield Job(limit, *ALONE, why="matrix")
            yield from (Job(each, "square", why="matrix") for each in (limit, short))
            yield Job(short, "genepool", why="matrix")
            again = Job(limit, "genattack") if limit.target else Job(limit, "torchattacks square", peer=True)
            yield again._replace(why="matrix")
        if limit.net == CIFAR_LINF.net:
            short = short._replace(images=FEW)
        yield Job(short, "genepool", why="matrix")
        yield Job(short._replace(mean=HARD), "random", why="matrix")
        yield from _matrix(short)


ABLATION: tuple[Mapping[str, Any], ...] = (
    {"lag": 1},
    {"breed": False},
    {"prior": False},
    {"cohort": 4},
    {"independent": True},
)


def ablation() -> Iterator[Job]:
    """The gene pool without one of its parts."""
    for limit, seeds in ((MNIST_LINF, SEEDS), (MNIST_SMALL, range(2))):
        for arguments in ABLATION:
            for seed in seeds:
                yield Job(limit, "genepool", arguments, seed, why="ablation")
    yield Job(ROBUST_LINF, "genepool", {"squares": False}, why="ablation")


def transfer() -> Iterator[Job]:
    """Genes of one network used on another, on images that they were not found on."""
    for seed in SEEDS:
        yield Job(OTHER, "genepool", seed=seed, first=500, pool=MNIST_LINF, why="transfer")
        yield Job(OTHER, "genepool", seed=seed, first=500, why="transfer")
        yield Job(OTHER, "square", seed=seed, first=500, why="transfer")


def jobs() -> list[Job]:
    """All runs, the most important first, each once."""
    found: dict[str, Job] = {}
    for job in (*bars(), *matrix(), *ablation(), *transfer()):
        found.setdefault(job.folder, job)
    return list(found.values())
