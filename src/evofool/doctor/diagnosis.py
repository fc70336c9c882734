"""What is found out about a classifier, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ..contracts import ScoreKind
from ..errors import SpecError

_STRICT = ConfigDict(extra="forbid")


class Flag(StrEnum):
    """Something to mind about every number that comes from a classifier. The names stay; see ABOUT."""

    NO_ANSWERS = "no-answers"
    CLASSES_DIFFER = "classes-differ"
    ORDER_SUSPECT = "order-suspect"
    ACCURACY_NEAR_CHANCE = "accuracy-near-chance"
    KIND_CONTRADICTED = "kind-contradicted"
    LABEL_ONLY = "label-only"
    CONSTANT_UNDER_NOISE = "constant-under-noise"
    ROUNDED_SCORES = "rounded-scores"
    RANDOM_SCORES = "random-scores"
    BATCH_DEPENDENT = "batch-dependent"


ABOUT = {
    Flag.NO_ANSWERS: "some queries, or all, got no usable answer",
    Flag.CLASSES_DIFFER: "the classes of the classifier are not those of the data",
    Flag.ORDER_SUSPECT: "classes seem to be named in another order than the scores come in",
    Flag.ACCURACY_NEAR_CHANCE: "it is hardly more often right than by chance",
    Flag.KIND_CONTRADICTED: "the scores are not of the kind that is declared",
    Flag.LABEL_ONLY: "it says which class, and not how surely",
    Flag.CONSTANT_UNDER_NOISE: "noise, even strong noise, does not change the scores",
    Flag.ROUNDED_SCORES: "the scores are rounded, so that small changes of an image do not show",
    Flag.RANDOM_SCORES: "the same image gets other scores when it is asked about again",
    Flag.BATCH_DEPENDENT: "the scores of an image depend on the other images of the same call",
}


@dataclass(frozen=True)
class Share:
    """k of n, with Wilson's 95% interval."""

    __pydantic_config__ = _STRICT
    k: int
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """What the answers about different images look like.

    Attributes:
        rows: images that were answered.
        different: rows of scores among them that differ from each other.
        low, high: of all finite scores.
        sum_low, sum_high: of the finite scores of one image.
        one_hot: every row is a single 1 among zeros.
        values: scores that tell something of the resolution: finite, neither 0 nor 1.
        distinct: of these, how many differ.
        step: the smallest difference between two of them.
        decimals: they all have no more than so many decimals; None = they are not rounded so, or cannot be told.
    """

    __pydantic_config__ = _STRICT
    rows: int
    different: int
    low: float
    high: float
    sum_low: float
    sum_high: float
    one_hot: bool
    values: int
    distinct: int
    step: float | None
    decimals: int | None


@dataclass(frozen=True)
class Agreement:
    """Images that were asked about twice.

    Attributes:
        images: answered both times.
        equal: of these, with the same bits.
        relabelled: of these, with another first choice.
        largest: difference between two scores of the same class.
    """

    __pydantic_config__ = _STRICT
    images: int
    equal: int
    relabelled: int
    largest: float


@dataclass(frozen=True)
class Reaction:
    """Images that were asked about again under uniform noise.

    Attributes:
        level: the largest change of a pixel, in 1/255.
        images: answered both times.
        changed: of these, with other scores, by more than a repetition changes them.
        relabelled: of these, with another first choice.
    """

    __pydantic_config__ = _STRICT
    level: int
    images: int
    changed: int
    relabelled: int


@dataclass(frozen=True)
class Renamed:
    """Classes whose names seem to have changed places.

    Attributes:
        pairs: (class of the data, the name that the classifier answers with instead).
        right: images of these classes that are right as named.
        renamed: that would be right, where the other names are learnt from other images.
        images: how many there are.
    """

    __pydantic_config__ = _STRICT
    pairs: tuple[tuple[str, str], ...]
    right: int
    renamed: int
    images: int


@dataclass(frozen=True)
class Hint:
    """Another preparation of the images, with which more of them are right.

    Attributes:
        words: what the model seems to expect.
        options: of the command line, to say so; "" = there are none.
        right: share of images that are right with it.
    """

    __pydantic_config__ = _STRICT
    words: str
    options: str
    right: Share


@dataclass(frozen=True)
class Speed:
    """Calls of one size: rows, the median of their seconds, the longest, how many calls."""

    __pydantic_config__ = _STRICT
    rows: int
    seconds: float
    slowest: float
    calls: int


@dataclass(frozen=True)
class Forecast:
    """What a number of queries takes: seconds (None = not measured) and cost (None = not known)."""

    __pydantic_config__ = _STRICT
    queries: int
    seconds: float | None
    cost: float | None


@dataclass(frozen=True)
class Finding:
    """A flag with what was seen, and what to do about it."""

    __pydantic_config__ = _STRICT
    flag: Flag
    seen: str
    remedy: str


@dataclass(frozen=True)
class Diagnosis:
    """All that was found out about a classifier. None = it could not be told, or makes no sense for it.

    Attributes:
        name, kind, class_names, image_shape, fingerprint, preparation, device, dtype, micro_batch, concurrency,
            metered, cost, declared_accuracy: as in `ClassifierInfo`.
        data, data_fingerprint, data_classes: of the data set.
        matched: how its classes were found among the classifier's: by their names, by their place, or not at all.
        limit: the most queries that were allowed.
        asked: charged queries.
        answered, failed: of them, without those that only measured the speed.
        error: the last thing that the classifier said in place of an answer.
        scores: of different images.
        repeat: the same batch asked twice.
        company: the same images at another place, among other images, in a batch of the same size.
        small, strong: under noise.
        accuracy: of the data set's images, evenly over its classes.
        chance: the share that is right by chance.
        renamed: classes whose names seem to have changed places.
        reordered: the names in the order in which a local model gives its scores, with those in their right places.
        hint: another preparation that works better.
        speeds: of calls, by size.
        forecast: for the budget that was named.
        findings: what to mind, in the order of importance.
    """

    __pydantic_config__ = _STRICT
    name: str
    kind: ScoreKind
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    fingerprint: str
    preparation: str
    device: str
    dtype: str
    micro_batch: int
    concurrency: int
    metered: bool
    cost: float | None
    declared_accuracy: float | None
    data: str
    data_fingerprint: str
    data_classes: tuple[str, ...]
    matched: Literal["name", "place", "none"]
    limit: int
    asked: int
    answered: int
    failed: int
    error: str
    scores: Scores | None
    repeat: Agreement | None
    company: Agreement | None
    small: Reaction | None
    strong: Reaction | None
    accuracy: Share | None
    chance: float
    renamed: tuple[Renamed, ...] = ()
    reordered: tuple[str, ...] = ()
    hint: Hint | None = None
    speeds: tuple[Speed, ...] = ()
    forecast: Forecast | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def flags(self) -> tuple[Flag, ...]:
        """The flags of the findings."""
        return tuple(finding.flag for finding in self.findings)


def to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """A diagnosis as JSON values."""
    values: dict[str, Any] = TypeAdapter(Diagnosis).dump_python(diagnosis, mode="json")
    return values


def from_json(values: Any) -> Diagnosis:
    """The inverse of `to_json`.

    Raises:
        SpecError: it is not a diagnosis.
    """
    try:
        return TypeAdapter(Diagnosis).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise SpecError(
            f"this is no diagnosis: {where}: {first['msg']}; expected what `evofool doctor --json` prints"
        ) from None
