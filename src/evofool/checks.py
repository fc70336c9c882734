"""Asks a classifier again about what fooled it, on an account apart from that of the run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from . import locks, objectives, rundir, spec
from .classifiers import load_classifier
from .classifiers.support.settings import Settings, settings
from .classifiers.support.sources import require_trust
from .contracts import Classifier
from .errors import DamagedRunError, SpecError, UserError
from .files import refuse_link
from .ledger import Ledger
from .rundir import Finding
from .shapes import Tensor, UInt8
from .store import Store
from .variants import Variant

ACCOUNT = "asked again"


class Check(NamedTuple):
    """What became of one finding.

    Attributes:
        file: the image, in the run directory.
        label: the class it carries, by name.
        prediction: what the classifier saw then, by name.
        confidence: of that, in [0, 1].
        now: what it sees now, by name; "" = no answer.
        confidence_now: of that, in [0, 1].
        same_class: it still fools, and as the same class.
        same_scores: every score has the same bits.
    """

    file: str
    label: str
    prediction: str
    confidence: float
    now: str
    confidence_now: float
    same_class: bool
    same_scores: bool


def again(
    path: Path,
    findings: Sequence[Finding],
    *,
    trust_code: bool = False,
    on_tick: Callable[[int], None] | None = None,
) -> tuple[list[Check], int]:
    """Ask about findings of a run once more, one query each.

    The queries are counted in checks.sqlite in the run directory; where that cannot be written, in memory only.

    Args:
        path: of the run.
        findings: of it.
        trust_code: load classifiers that run code or send images somewhere, as the directory says.
        on_tick: called with the number of images asked since the last call.

    Returns:
        What became of each; how many queries all such checks of this run have cost so far.

    Raises:
        UserError: a classifier is not the one that was fooled.
        DamagedRunError: an image, or run.json, is not what was written.
    """
    run = rundir.read_run(path)
    recorded = run.get("classifiers", {})
    names = {finding.classifier for finding in findings}
    sources = require_trust(names, _sources(run), path, trust_code=trust_code)
    with _books(path) as store:
        checks = {}
        for name in dict.fromkeys(finding.classifier for finding in findings):
            classifier = _the_same(name, sources.get(name, name), recorded)
            ledger = Ledger(classifier, searches=[ACCOUNT], store=store)
            mine = [finding for finding in findings if finding.classifier == name]
            size = classifier.info.micro_batch
            for first in range(0, len(mine), size):
                part = mine[first : first + size]
                images = torch.stack([_image(path, finding, classifier) for finding in part]).float() / 255
                scores = ledger.ask(images, torch.zeros(len(part), dtype=torch.int64), fresh=True).scores
                for finding, row in zip(part, scores, strict=True):
                    checks[finding.number] = _check(finding, row, classifier)
                if on_tick:
                    on_tick(len(part))
        queries = sum(count["issued"] for count in store.counts().values())
    return [checks[finding.number] for finding in findings], queries


@contextlib.contextmanager
def _books(path: Path) -> Iterator[Store]:
    """The books of such checks; one process at a time has them. Damaged ones are put aside: the run is not at fault."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.taking_turns(path / "checks.lock"))
            store = _opened(path / "checks.sqlite")
        except UserError:  # a directory that is only to be read
            store = Store()
        stack.callback(store.close)
        yield store


def _opened(file: Path) -> Store:
    try:
        return Store(file, owner=True)
    except DamagedRunError:
        refuse_link(file)
        file.replace(file.with_name(f"{file.name}-damaged"))
        return Store(file, owner=True)


def _image(path: Path, finding: Finding, classifier: Classifier) -> UInt8[Tensor, "C H W"]:
    image = rundir.image_of(path, finding)
    if tuple(image.shape) != classifier.info.image_shape:
        raise DamagedRunError(f"{path / finding.file}: its shape is not that of the classifier's images")
    return image


def _sources(run: Mapping[str, Any]) -> dict[str, Settings]:
    """How the classifiers are loaded that are not named by a card of ours."""
    config = run.get("config")
    written = config.get("sources", {}) if isinstance(config, dict) else {}
    if not isinstance(written, dict) or not all(isinstance(source, dict) for source in written.values()):
        raise DamagedRunError("run.json: config.sources is not what was written; restore the run from a copy")
    return {name: settings(str(source.get("spec", "")), source) for name, source in written.items()}


def _the_same(name: str, source: str | Settings, recorded: object) -> Classifier:
    classifier = load_classifier(source)
    known = recorded.get(name) if isinstance(recorded, dict) else None
    if not isinstance(known, dict) or known.get("fingerprint") != classifier.info.fingerprint:
        raise UserError(f"{name}: has another fingerprint than the classifier that was fooled; expected the same one")
    try:
        return spec.from_json(Variant, known.get("variant", {})).apply(classifier)
    except SpecError as error:
        raise DamagedRunError(f"run.json: the variant of {name} is not what was written ({error})") from None


def _check(finding: Finding, row: torch.Tensor, classifier: Classifier) -> Check:
    info = classifier.info
    names = info.class_names
    if not (rundir.NO_LABEL <= finding.label < len(names) and 0 <= finding.prediction < len(names)):
        raise DamagedRunError(f"findings.jsonl: finding {finding.number} names a class that {info.name} does not have")
    answered = bool(row.isfinite().any()) and not bool(row.isnan().any())
    probabilities = objectives.probabilities(row[None], info)[0]
    now = int(row.argmax()) if answered else -1
    recorded = torch.tensor(finding.scores, dtype=torch.float32)
    return Check(
        file=finding.file,
        label="no class" if finding.label == rundir.NO_LABEL else names[finding.label],
        prediction=names[finding.prediction],
        confidence=finding.confidence,
        now=names[now] if answered else "",
        confidence_now=round(float(probabilities[now]), 6) if answered else 0.0,
        same_class=answered and now == finding.prediction and now != finding.label,
        same_scores=torch.equal(recorded, row),
    )
