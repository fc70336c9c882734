"""The gene pool: perturbations that fooled earlier images, with what is known of each, for the images to come.

A pool is a value. Algorithms read it when an image joins; only the loop of attacks makes the next one, from the lessons
of a cohort of images, in their order. Genes are numbered in the order in which they came, and never change.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from . import belief
from .errors import DamagedRunError, SpecError
from .files import read_whole, write_bytes
from .shapes import Bool, Float, Int, Tensor, UInt8
from .waves import waves

FORMAT = "evofool-pool/2"
FILE = "pool.safetensors"  # in the directory of a run
_MOST = 4 << 30  # bytes of a file
NUMBERS = 1 << 26  # in what is known of changes, class by class: 256 MB
SPREAD, TRIES = 0.2, 5.0  # standard deviation that tries of one gene are thought to have, and what that counts as
FIRST = (0.1, 0.3)  # what a gene leaves of its own class and of others, before the first tries
WEIGHT = 3.0  # tries that this counts as
BETWEEN = 1.0  # variance of tries of one gene over that between genes


Blend = Callable[[Float[Tensor, "n C H W"]], Float[Tensor, "C H W"]]


@dataclass(frozen=True)
class Lessons:
    """What images teach, in their order.

    Attributes:
        labels: [b], the class of the attack, see `Victims`.
        predictions: [b], what was seen in the end; -1 = not fooled.
        genes: [b C H W], the perturbation that fooled; only of those that were fooled by a new one.
        new: [b], fooled by a perturbation that the pool does not hold.
        tried: [b T], genes that were tried, in order; -1 = none.
        left: [b T], what each of them left of the margin of the image as it is: 1 = nothing happened, below 0 = fooled,
            NaN = no answer.
        won: [b], the gene that fooled as it is; -1 = none.
        model: [b C H W], by how much a change of each gray level by 1 lowers the margin, in shares of it.
        felt: [b n n+1], what was learned of bands of waves, see `belief`.
        walked: [b], whether that was learned from any step.
        queries: [b], of the search so far.
    """

    labels: Int[Tensor, " b"]
    predictions: Int[Tensor, " b"]
    genes: Float[Tensor, "b C H W"]
    new: Bool[Tensor, " b"]
    tried: Int[Tensor, "b T"]
    left: Float[Tensor, "b T"]
    won: Int[Tensor, " b"]
    model: Float[Tensor, "b C H W"]
    felt: Float[Tensor, "b n m"]
    walked: Bool[Tensor, " b"]
    queries: Int[Tensor, " b"]


@dataclass(frozen=True)
class Pool:
    """What is known after some images.

    Attributes:
        genes: [G C H W], perturbations.
        labels: [G], the class of the image that each came from, in the sense of `Victims`.
        predictions: [G], what it was seen as.
        queries: [G], after how many queries it fooled that image; 0 = it was bred from others.
        wins, tries: [G K], on later images, by class.
        left, squares: [G K], sums over these tries of what was left of the margin, each in [-1, 1], and of its square.
        models: [K C H W], the sum of what images of a class have learned of what changes do to their margin; [1 C H W],
            of all classes together, where one for each would take too much memory.
        taught: [K] or [1], how many images that is.
        spectrum: [n], variance of what a change of a wave does, by band, as a multiple of the mean over waves.
        felt: [n n+1], what images have told of that, see `belief`.
        images: how many have been learned from.
        about: what it was learned on, JSON values: threat, classifier, class names.
    """

    genes: Float[Tensor, "G C H W"]
    labels: Int[Tensor, " G"]
    predictions: Int[Tensor, " G"]
    queries: Int[Tensor, " G"]
    wins: Int[Tensor, "G K"]
    tries: Int[Tensor, "G K"]
    left: Float[Tensor, "G K"]
    squares: Float[Tensor, "G K"]
    models: Float[Tensor, "K C H W"]
    taught: Int[Tensor, " K"]
    spectrum: Float[Tensor, " n"]
    felt: Float[Tensor, "n m"]
    images: int = 0
    about: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.genes)

    def learn(self, lessons: Lessons, *, capacity: int, blend: Blend | None = None) -> Pool:
        """The pool after these images.

        Args:
            lessons: of them.
            capacity: genes at most; once there are so many, none is added.
            blend: makes one gene of several. Whenever a pair of classes (of an image, and seen in what fooled) has 2,
                4, 8, ... genes from images, one gene is bred of them all.
        """
        wins, tries = self.wins.clone(), self.tries.clone()
        labels = lessons.labels
        tried = (lessons.tried >= 0) & ~lessons.left.isnan()  # a try without an answer teaches nothing
        rows, places = tried.nonzero(as_tuple=True)
        tries.index_put_((lessons.tried[rows, places], labels[rows]), torch.ones_like(rows), accumulate=True)
        left = self.left.clone()
        values = lessons.left[rows, places].clamp(-1, 1)
        left.index_put_((lessons.tried[rows, places], labels[rows]), values, accumulate=True)
        squares = self.squares.clone()
        squares.index_put_((lessons.tried[rows, places], labels[rows]), values**2, accumulate=True)
        won = (lessons.won >= 0).nonzero().flatten()
        wins.index_put_((lessons.won[won], labels[won]), torch.ones_like(won), accumulate=True)
        new = lessons.new.nonzero().flatten()[: max(0, capacity - len(self))]
        more = torch.zeros(len(new), wins.shape[1], dtype=torch.int64)
        # Added in the order of the images, so that sums are the same to the last bit.
        models = self.models.clone()
        taught = self.taught.clone()
        for row, place in enumerate((labels % len(models)).tolist()):
            if bool(lessons.walked[row]):
                models[place] += lessons.model[row]
                taught[place] += 1
        basis = waves((self.genes.shape[1], self.genes.shape[2], self.genes.shape[3]))
        spectrum, felt = belief.taught(self.felt, lessons.felt, basis)
        learned = dataclasses.replace(
            self,
            genes=torch.cat([self.genes, lessons.genes[new]]),
            labels=torch.cat([self.labels, labels[new]]),
            predictions=torch.cat([self.predictions, lessons.predictions[new]]),
            queries=torch.cat([self.queries, lessons.queries[new]]),
            wins=torch.cat([wins, more]),
            tries=torch.cat([tries, more]),
            left=torch.cat([left, more.double()]),
            squares=torch.cat([squares, more.double()]),
            models=models,
            taught=taught,
            spectrum=spectrum,
            felt=felt,
            images=self.images + len(labels),
        )
        return learned if blend is None else learned._bred(len(new), blend, capacity)

    def model(self, labels: Int[Tensor, " b"]) -> Float[Tensor, "b C H W"]:
        """What is thought at first that a change of each gray level does; 0 where nobody has taught anything."""
        place = labels % len(self.models)
        return self.models[place] / (self.taught[place] + 1)[:, None, None, None]

    def _bred(self, new: int, blend: Blend, capacity: int) -> Pool:
        """With what is bred after the last `new` genes came."""
        families = list(zip(self.labels.tolist(), self.predictions.tolist(), strict=True))
        born = [queries > 0 for queries in self.queries.tolist()]
        children: list[Tensor] = []
        parents: list[int] = []
        for last in range(len(self) - new, len(self)):
            family = [i for i in range(last + 1) if born[i] and families[i] == families[last]]
            if len(family) > 1 and len(family) & (len(family) - 1) == 0 and len(self) + len(children) < capacity:
                children.append(blend(self.genes[family]))
                parents.append(last)
        if not children:
            return self
        more = torch.zeros(len(children), self.wins.shape[1], dtype=torch.int64)
        return dataclasses.replace(
            self,
            genes=torch.cat([self.genes, torch.stack(children)]),
            labels=torch.cat([self.labels, self.labels[parents]]),
            predictions=torch.cat([self.predictions, self.predictions[parents]]),
            queries=torch.cat([self.queries, torch.zeros(len(children), dtype=torch.int64)]),
            wins=torch.cat([self.wins, more]),
            tries=torch.cat([self.tries, more]),
            left=torch.cat([self.left, more.double()]),
            squares=torch.cat([self.squares, more.double()]),
        )

    def expected(self) -> tuple[Float[Tensor, "K G"], Float[Tensor, "K G"], float]:
        """What each gene is thought to leave of the margin of an image of each class: mean, variance, and noise.

        Tries of one gene on one class are thought to be normal around what it leaves on the average, with one spread
        for all; these averages around those of genes of the same class, or of others. What is believed before the first
        tries counts as a few of them.
        """
        tries = self.tries.double()
        own = torch.nn.functional.one_hot(self.labels, tries.shape[1]).bool()
        usual = [
            (float(self.left[which].sum()) + WEIGHT * first) / (float(tries[which].sum()) + WEIGHT)
            for which, first in ((own, FIRST[0]), (~own, FIRST[1]))
        ]
        within = (self.squares - self.left**2 / tries.clamp(min=1)).clamp(min=0).sum()
        freedom = (tries - 1).clamp(min=0).sum()
        noise = float((within + TRIES * SPREAD**2) / (freedom + TRIES))
        before = torch.where(own, usual[0], usual[1])
        mean = (self.left + BETWEEN * before) / (tries + BETWEEN)
        return mean.T, (noise * (1 + 1 / (tries + BETWEEN))).T, noise


def empty(image_shape: tuple[int, int, int], classes: int, **about: Any) -> Pool:
    """A pool before the first image."""
    none = torch.zeros(0, dtype=torch.int64)
    counts = torch.zeros(0, classes, dtype=torch.int64)
    bands = len(waves(image_shape).sizes)
    models = classes if classes * math.prod(image_shape) <= NUMBERS else 1
    return Pool(
        genes=torch.zeros(0, *image_shape),
        labels=none,
        predictions=none,
        queries=none,
        wins=counts,
        tries=counts,
        left=counts.double(),
        squares=counts.double(),
        models=torch.zeros(models, *image_shape),
        taught=torch.zeros(models, dtype=torch.int64),
        spectrum=torch.ones(bands),
        felt=torch.zeros(bands, bands + 1),
        about=about,
    )


_TENSORS = (
    "genes",
    "labels",
    "predictions",
    "queries",
    "wins",
    "tries",
    "left",
    "squares",
    "models",
    "taught",
    "spectrum",
    "felt",
)


def to_bytes(pool: Pool) -> bytes:
    """A pool as safetensors."""
    from safetensors.torch import save as tensors_to_bytes

    tensors = {name: getattr(pool, name).contiguous().clone() for name in _TENSORS}
    card = {"format": FORMAT, "images": pool.images, "about": pool.about}
    return tensors_to_bytes(tensors, metadata={"card": json.dumps(card, sort_keys=True)})


def write(content: bytes, path: Path) -> None:
    """Write what `to_bytes` gave, whole or not at all.

    Raises:
        UserError: the disk refuses.
    """
    write_bytes(Path(path), content)


def file_of(path: Path) -> Path:
    """The file of a pool, where that is given, or the directory of the attack that left it.

    Raises:
        SpecError: there is none.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / FILE).is_file():
            raise SpecError(f"{path}: has no {FILE}; expected a finished attack by genepool, or another pool")
        return path / FILE
    if not path.is_file():
        raise SpecError(f"{path}: there is no such file; expected a pool that an attack saved, RUN/{FILE} or RUN alone")
    return path


def load(path: Path) -> Pool:
    """Read what `write` wrote.

    Args:
        path: see `file_of`.

    Raises:
        SpecError: there is no such file.
        DamagedRunError: it is not one of ours.
    """
    path = file_of(path)
    try:
        return from_bytes(read_whole(path, limit=_MOST))
    except DamagedRunError as error:
        raise DamagedRunError(f"{path}: {error}") from None


def from_bytes(content: bytes) -> Pool:
    """The inverse of `to_bytes`.

    Raises:
        DamagedRunError: it is not one of ours.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as tensors_of

    try:
        tensors = tensors_of(content)
        length = int.from_bytes(content[:8], "little")
        card = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["card"])
        if card["format"] != FORMAT:
            raise DamagedRunError(f"not of the format {FORMAT}; was it written by another version?")
        pool = Pool(**{name: tensors[name] for name in _TENSORS}, images=int(card["images"]), about=dict(card["about"]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DamagedRunError(f"is not a pool of genes ({error}); restore it from a copy") from None
    if not _sound(pool):
        raise DamagedRunError("its tensors do not fit together; restore it from a copy")
    return pool


def fitted(pool: Pool, norm: str, size: float) -> Pool:
    """A pool as it is used within a limit: genes of another radius are drawn out, or in, to this one."""
    known = pool.about
    if norm not in ("linf", "l2") or known.get("norm") != norm or not known.get("size"):
        return pool
    return dataclasses.replace(pool, genes=pool.genes * (size / float(known["size"])))


def _sound(pool: Pool) -> bool:
    """Whether all tensors are of the shapes and numbers that an attack relies on."""
    if pool.genes.ndim != 4 or pool.models.ndim != 4:
        return False
    if pool.wins.ndim != 2 or len(pool.models) not in (1, pool.wins.shape[1]):
        return False
    genes, shape, classes, models = len(pool.genes), pool.genes.shape[1:], pool.wins.shape[1], len(pool.models)
    bands = len(waves((shape[0], shape[1], shape[2])).sizes)
    wanted: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "genes": ((genes, *shape), torch.float32),
        "models": ((models, *shape), torch.float32),
        "taught": ((models,), torch.int64),
        "spectrum": ((bands,), torch.float32),
        "felt": ((bands, bands + 1), torch.float32),
        **dict.fromkeys(("labels", "predictions", "queries"), ((genes,), torch.int64)),
        **dict.fromkeys(("wins", "tries"), ((genes, classes), torch.int64)),
        **dict.fromkeys(("left", "squares"), ((genes, classes), torch.float64)),
    }
    tensors = {name: getattr(pool, name) for name in wanted}
    if any((tuple(tensors[name].shape), tensors[name].dtype) != wanted[name] for name in wanted):
        return False
    classed = (pool.labels >= 0) & (pool.labels < classes) & (pool.predictions < classes)
    finite = all(
        bool(tensors[name].isfinite().all()) for name in ("genes", "models", "left", "squares", "spectrum", "felt")
    )
    finite = finite and bool((pool.spectrum > 0).all())
    counted = bool((pool.wins >= 0).all()) and bool((pool.tries >= pool.wins).all()) and bool((pool.taught >= 0).all())
    return finite and counted and bool(classed.all()) and _told(pool.about, classes)


def _told(about: dict[str, Any], classes: int) -> bool:
    """Whether what a pool says of itself is what attacks say of theirs, as far as it says anything."""
    names, size = about.get("classes", [""] * classes), about.get("size", 1.0)
    words = (about.get("norm", ""), about.get("classifier", ""))
    return (
        isinstance(names, list)
        and len(names) == classes
        and all(isinstance(word, str) for word in (*names, *words))
        and isinstance(size, int | float)
        and ("classifier" not in about or {"norm", "size"} <= set(about))
    )


def picture(gene: Float[Tensor, "C H W"]) -> UInt8[Tensor, "C H W"]:
    """A gene as an image: middle gray where nothing changes, brighter where a level rises, up to its largest change."""
    largest = gene.abs().max().clamp(min=1e-12)
    return (127.5 + 127.5 * gene / largest).round().byte()


def fingerprint(pool: Pool) -> str:
    """SHA-256 over everything that is known, hex."""
    digest = hashlib.sha256(json.dumps([pool.images, pool.about], sort_keys=True).encode())
    for name in _TENSORS:
        digest.update(getattr(pool, name).contiguous().numpy().tobytes())
    return digest.hexdigest()
