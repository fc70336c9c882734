"""The protocols between the parts of evofool, and the values that pass between them.

Search and everything above it know only what stands here. Fitness is a loss: LOWER IS BETTER, always. A fitness of
NaN is a failed evaluation: it is never selected and never counts as 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from .shapes import Bool, Float, Int, Tensor, UInt8

ScoreKind = Literal["logits", "probabilities", "top-k", "label"]


class Status(IntEnum):
    """What became of one row that was to be asked."""

    ANSWERED = 0
    FAILED = 1  # charged, but the classifier gave no usable answer: its scores are NaN
    UNSENT = 2  # the budget did not reach: not sent, or not again after a try that failed and stays charged


@dataclass(frozen=True)
class ClassifierInfo:
    """What is known of a classifier before it is asked.

    Attributes:
        name: short name for tables.
        kind: what its scores are.
        class_names: one for each of the K classes, in the order of the scores.
        image_shape: (C, H, W) that it accepts.
        fingerprint: SHA-256 over architecture and weights, hex.
        micro_batch: rows in one call. A local classifier gets exactly that many (the last call is padded), or fewer
            where that is known to give the same bits, so that rounding does not depend on who shares the batch.
        memory_format: layout its input is brought to, "contiguous" or "channels_last".
        concurrency: requests in flight at a time.
        metered: it costs something outside this machine.
        background: gray level of an empty canvas in its training data, in [0, 1].
        accuracy: share of its own test images that it got right, if known.
        device, dtype: where and in which numbers it computes; "remote" = where its requests go.
        preparation: in words, what happens to images inside ("resized to 224 x 224 (bilinear), normalised").
        cost: of one query, in any currency, if known.
    """

    name: str
    kind: ScoreKind
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    fingerprint: str
    micro_batch: int = 100
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    concurrency: int = 1
    metered: bool = False
    background: float = 0.0
    accuracy: float | None = None
    device: str = "cpu"
    dtype: str = "float32"
    preparation: str = ""
    cost: float | None = None

    @property
    def remote(self) -> bool:
        """Whether it answers requests: these are never padded, and sent again after failures."""
        return self.metered or self.device == "remote"


@runtime_checkable
class Classifier(Protocol):
    """One attempt to classify a batch: no retry, no cache, no count of its own.

    Laws: a row's scores do not depend on the other rows of a batch of the same size; a row without an answer is NaN; a
    call that fails as a whole raises TargetError. A label answer is one-hot; the classes that a top-k answer leaves out
    are -inf (logits) or 0 (probabilities).

    As many threads call it at a time as `info.concurrency` says. One that has an attribute `ahead` is called by so many
    more, and itself lets no more than `info.concurrency` be in flight: requests are made ready while others are waited
    for.

    One that has a true attribute `steady` answers by the images alone, however often it is asked, and may be asked
    about random ones besides, outside every account, to find out which smaller calls it answers alike; see `calls`.
    """

    info: ClassifierInfo

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]: ...


class Answers(NamedTuple):
    """What the ledger gives back for a batch, in the order it was asked."""

    scores: Float[Tensor, "N K"]
    status: Int[Tensor, " N"]


@dataclass(frozen=True)
class Dataset:
    """Images with labels, in memory.

    Attributes:
        images: [N C H W], bytes.
        labels: [N], indices into class_names; -1 = not known.
        class_names: sorted as in a folder; () where no label is known.
        name: where it came from, for tables ("mnist test").
        fingerprint: SHA-256 over shape, images, labels and class names, hex.
        background: the most frequent gray level at the border, in [0, 1].
        files: the name of the file of each image, where each has one.
        found: (C, H, W) of each image before they were brought to one shape; () where all had it.
    """

    images: UInt8[Tensor, "N C H W"]
    labels: Int[Tensor, " N"]
    class_names: tuple[str, ...]
    name: str
    fingerprint: str
    background: float = 0.0
    files: tuple[str, ...] = ()
    found: tuple[tuple[int, int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Evaluated:
    """Members of B searches together with the answers they got.

    Attributes:
        genomes: what was asked, [B n *G] or a dataclass of such tensors.
        images: what was sent, on the 1/255 lattice.
        x: the image each search started from, where there is one.
        scores: the answers; NaN where there is none.
        labels: the class each member carries.
        status: see Status.
    """

    genomes: Any
    images: Float[Tensor, "B n C H W"]
    x: Float[Tensor, "B C H W"] | None
    scores: Float[Tensor, "B n K"]
    labels: Int[Tensor, "B n"]
    status: Int[Tensor, "B n"]


@dataclass(frozen=True)
class Victims:
    """Images that are to be fooled, and what the classifier says of them as they are.

    Attributes:
        x: the images, on the 1/255 lattice.
        labels: the class to get away from, or, of targeted attacks, to get to.
        scores: the answers for them.
        fitness: of them, by the objective of the attack.
    """

    x: Float[Tensor, "B C H W"]
    labels: Int[Tensor, " B"]
    scores: Float[Tensor, "B K"]
    fitness: Float[Tensor, " B"]

    def __len__(self) -> int:
        return len(self.x)


class Objective(Protocol):
    """Fitness of each member, float64, lower is better; NaN where there is no answer.

    [B n], or [B n M] for several objectives.
    """

    def __call__(self, evaluated: Evaluated, info: ClassifierInfo) -> Float[Tensor, "B n"] | Float[Tensor, "B n M"]: ...


class Criterion(Protocol):
    """Whether each member is a success, apart from its fitness; False where there is no answer."""

    def __call__(self, evaluated: Evaluated, info: ClassifierInfo) -> Bool[Tensor, "B n"]: ...


class Encoding(Protocol):
    """From genomes to images. Laws: repair twice is repair once; decoded images lie on the 1/255 lattice."""

    def sample(self, x: Tensor | None, n: int, rng: Any) -> Any: ...

    def repair(self, genomes: Any, x: Tensor | None) -> Any: ...

    def decode(self, genomes: Any, x: Tensor | None) -> Float[Tensor, "B n C H W"]: ...


class Algorithm(Protocol):
    """Ask and tell. Config and State are frozen dataclasses, and every tensor of a State leads with B.

    The first `ask` returns the initial genomes, so that they are evaluated and counted like all others.
    """

    def init(self, genomes: Any) -> Any: ...

    def ask(self, state: Any, rng: Any) -> Any: ...

    def tell(self, state: Any, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> Any: ...


class Attack(Protocol):
    """An algorithm that fools given images. Genomes are perturbations [B n C H W]: what is added to the image.

    The first `ask` returns the first perturbations that are tried: the images as they are were asked about before. An
    image is told no more once it is fooled. `tell` gets the genomes as they were repaired; `fitness` is a margin: the
    image is fooled below 0.
    """

    def init(self, victims: Victims) -> Any: ...

    def ask(self, state: Any, rng: Any) -> Float[Tensor, "B n C H W"]: ...

    def tell(self, state: Any, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> Any: ...
