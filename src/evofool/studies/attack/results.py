"""The numbers that an attack leaves behind, and all that its report is made from.

Nothing here holds a clock value, a process id or a path; how long things took stands in timings.json.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ... import studyfile

FORMAT = "evofool-attack/1"
Outcome = Literal["fooled", "failed", "skipped", "unanswered"]


@dataclass(frozen=True)
class Shrinking:
    """What became of a perturbation that was made smaller while the image stayed fooled.

    Attributes:
        before: its size when it first fooled, in the measure of the limit.
        queries: that shrinking took.
        minimal: of pixels, 1 = no single one can go, 2 = no pair either; 0 = not shown, and of other measures.
        words: all this in words, and why nothing more was shown.
    """

    before: float
    queries: int
    minimal: int
    words: str


@dataclass(frozen=True)
class Attacked:
    """One image.

    Attributes:
        number: place in the list, from 0.
        name: of its file, or of the data set and the place in it.
        sha256: of its gray levels [C H W], bytes.
        label: the class it carries.
        target: the class that was wanted; None = any other.
        outcome: "fooled"; "failed": the budget was spent; "skipped": misclassified as it is (targeted: seen as the
            target), or top-k success as it is, and so not attacked; "unanswered": there was no answer for the image.
        queries: charged for the search, without the one for the image as it is, and without shrinking.
        clean_prediction, clean_confidence: of the image as it is, and the probability of that class; -1 and 0 where
            there was no answer.
        prediction, confidence: the class that is seen in the adversarial image (or best attempt), and its probability.
        linf, l2, l0: distance of that image; gray levels in [0, 1], and pixels that differ.
        asked: the place in the order in which images were attacked, from 0; -1 = not attacked.
        tried: genes of the pool that were tried on it; -1 = there is no pool.
        gene: the gene of the pool that fooled it as it was; -1 = none.
        original, adversarial: PNG files in the run directory; the latter "" where the image was not attacked.
        shrunk: None where nothing was shrunk.
    """

    number: int
    name: str
    sha256: str
    label: int
    target: int | None
    outcome: Outcome
    queries: int
    clean_prediction: int
    clean_confidence: float
    prediction: int
    confidence: float
    linf: float
    l2: float
    l0: int
    asked: int = -1
    tried: int = -1
    gene: int = -1
    original: str = ""
    adversarial: str = ""
    shrunk: Shrinking | None = None

    @property
    def attacked(self) -> bool:
        """Whether a search was made for it."""
        return self.outcome in ("fooled", "failed")


@dataclass(frozen=True)
class Results:
    """Everything that an attack leaves behind.

    Attributes:
        command: repeats it.
        config: the resolved configuration, JSON values only.
        versions: of python, evofool and the libraries that compute.
        classifier: name, fingerprint, image_shape, preparation, accuracy if known; JSON values only.
        class_names: of the classifier.
        recipe: {"name", "about", "paper", "arguments", "shares"}; of a peer its library and version in "about".
        norm, size, limit: what may change, see `threat.Threat`; `limit` says it in words ("L-inf 76/255").
        goal: in words: "away from its class", "to 3", "to the least likely class", "to a random other class".
        targeted: whether a class is wanted.
        k: top-k success.
        budget: the most queries of one image, the one for the image as it is included. In means and medians a failure
            counts as so many.
        seed: of the searches (and of the order, where images are shuffled).
        data: {"name", "fingerprint", "labelled": labels were given, "brought": in words, how images were
            brought to the shape that the classifier takes, "first", "count"}.
        images: in the order of the list.
        pool: of recipes that share: {"genes": list of {...}, "file"}; None without.
        ledger: {"searches": rows by account and kind, "padded", "kills", "drift"}.
    """

    command: str
    config: dict[str, Any]
    versions: dict[str, str]
    classifier: dict[str, Any]
    class_names: list[str]
    recipe: dict[str, Any]
    norm: str
    size: float
    limit: str
    goal: str
    targeted: bool
    k: int
    budget: int
    seed: int
    data: dict[str, Any]
    images: list[Attacked]
    pool: dict[str, Any] | None = None
    ledger: dict[str, Any] = field(default_factory=dict)
    format: str = FORMAT

    @property
    def attacked(self) -> list[Attacked]:
        """Images for which a search was made, in the order of the list."""
        return [image for image in self.images if image.attacked]

    def queries(self, *, of: str = "issued") -> int:
        """Rows of all images: issued, answered, failed, lost or repeated; the one for the image as it is included."""
        return sum(int(count[of]) for count in self.ledger.get("searches", {}).values())

    def to_json(self) -> str:
        """One line an image, so that a difference can be read."""
        return studyfile.lines(dataclasses.asdict(self))


def attacked_from(row: dict[str, Any]) -> Attacked:
    """An image from its JSON.

    Raises:
        KeyError, TypeError, ValueError: a field is missing or unknown.
    """
    shrunk = row.get("shrunk")
    return Attacked(**{**row, "shrunk": Shrinking(**shrunk) if shrunk else None})


def load(path: Path) -> Results:
    """Read what `to_json` wrote.

    Raises:
        DamagedRunError: the file is missing, is not JSON, or is not of this format.
    """

    def made(raw: dict[str, Any]) -> Results:
        raw["images"] = [attacked_from(row) for row in raw["images"]]
        return Results(**raw)

    return studyfile.load(path, FORMAT, made)
