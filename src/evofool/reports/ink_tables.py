"""What an ink study comes to, computed once from its results; figures and sentences only show it."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import regions
from ..errors import UserError
from ..studies.draw.results import Drawn
from ..studies.ink import evidence, landscape, measures
from ..studies.ink.arms import PADDINGS, PARTS
from ..studies.ink.evidence import CAUSES, ITSELF, LANDSCAPE, OPERATORS, Cause, Effect
from ..studies.ink.measures import Change, EdgeIndex
from ..studies.ink.results import Accuracy, Arm, Map, Part, Results
from ..studies.ink.verdict import Verdict, verdict
from .drawing_tables import held, median
from .ink_words import between

PATH_ONLY = "PATH ONLY: one run shows that the path works, nothing else."
POINTS = 300  # a curve has no more
EXTREME = 0.995  # of a map's pixels lie within its colour scale
BOX = re.compile(r"box:\d{1,6}(,\d{1,6}){3}", re.ASCII)


class Row(NamedTuple):
    """One arm, measured.

    Attributes:
        arm: what was drawn.
        what: it is, in short words.
        runs: how many; `reached` of them came to the goal.
        reached: see there.
        ink: mean of the pixels in the best drawings, before any was taken away.
        edge: its edge index, with 95% intervals.
        change: against its partner; None where it has none.
    """

    arm: Arm
    what: str
    runs: int
    reached: int
    ink: float | None
    edge: EdgeIndex
    change: Change | None


class Numbers(NamedTuple):
    """All of it.

    Attributes:
        verdict: on each cause.
        rows: of each arm, by name.
        findings: number of the finding of a run, by (arm, seed).
    """

    verdict: Verdict
    rows: dict[str, Row]
    findings: dict[tuple[str, int], int]


class Dot(NamedTuple):
    """One row of a figure with dots and intervals.

    Attributes:
        group: the heading that it stands under.
        what: was done.
        estimate, low, high: where the dot and its interval lie; None = not known.
        words: beside it.
        counts: it speaks for a cause.
    """

    group: str
    what: str
    estimate: float | None
    low: float | None
    high: float | None
    words: str = ""
    counts: bool = False


class Line(NamedTuple):
    """A number of some runs by generation: median and quartiles over runs."""

    name: str
    generations: list[int]
    low: list[float]
    median: list[float]
    high: list[float]
    runs: int


class Cell(NamedTuple):
    """One network under one padding.

    Attributes:
        network: what it is called.
        mode: the padding; "" = nobody knows.
        own: it was trained with it.
        row: what was drawn; None where nothing was.
        before, after: of the network as it was trained, and with this padding; None where it is not known.
        layers: that were changed and skipped; known without test images, too.
        map: what single pixels do.
    """

    network: str
    mode: str
    own: bool
    row: Row | None
    before: Accuracy | None
    after: Accuracy | None
    layers: Accuracy | None
    map: Map | None


def analyse(results: Results, findings: dict[tuple[str, int], int] | None = None) -> Numbers:
    """Compute it.

    Args:
        results: of the study.
        findings: number of the finding of each (arm, seed).
    """
    return Numbers(verdict(results), {arm.name: _row(results, arm) for arm in results.arms}, findings or {})


def _row(results: Results, arm: Arm) -> Row:
    runs = results.of(arm.name)
    partner = arm.partner if any(other.name == arm.partner for other in results.arms) else ""
    return Row(
        arm=arm,
        what=what_of(arm),
        runs=len(runs),
        reached=sum(run.reached is not None for run in runs),
        ink=float(np.mean([run.best.ink for run in runs])) if runs else None,
        edge=measures.edge_index(results, arm.name),
        change=measures.change(results, arm.name, partner) if partner else None,
    )


def what_of(arm: Arm) -> str:
    """An arm in short words."""
    tags = arm.tags
    if "window" in tags:
        return f"window {tags['window']}"
    if "size" in tags and "resize" not in tags:
        return f"drawn at {tags['size']}"
    if "schedule" in tags:
        return str(tags["schedule"])
    if "lambda" in tags:
        return f"{tags.get('crossover', '')} crossover, {tags.get('mutation', '')} mutation, λ = {tags['lambda']:g}"
    return evidence.named(arm)


# Labels -------------------------------------------------------------------------------------------------------------


def top(results: Results, numbers: Numbers) -> list[str]:
    """The sentences on top: the verdict's, and that too little was run to say anything."""
    lines = list(numbers.verdict.headline)
    if path_only(results):
        lines.insert(1 if results.quick else 0, PATH_ONLY)
    return lines


def path_only(results: Results) -> bool:
    """Whether so little was run that nothing is to be concluded."""
    return len(results.of(results.base)) < evidence.FEWEST


def label_of(results: Results, name: str) -> str:
    """What a network is called: its label, or of a path the last part."""
    labels = {str(each.get("name")): str(each.get("label") or "") for each in results.classifiers}
    text = labels.get(name) or name
    return text.rstrip("/").rpartition("/")[2] or text if text.startswith(("/", "./", "../", "~")) else text


def status(cause: Cause) -> str:
    """What is said of a cause: accused, not accused, cannot be told, not tested."""
    if cause.accused is not None:
        return "accused" if cause.accused else "not accused"
    asked = [effect for effect in cause.effects if cause.name != ITSELF or effect.what.startswith("shown to ")]
    return "cannot be told" if any(effect.estimate is not None for effect in asked) else "not tested"


def absent(results: Results, *parts: Part) -> str:
    """Why something is not there, in one line."""
    reasons = [why for part, why in results.skipped if part in parts]
    if reasons:
        return f"Not run: {'; '.join(dict.fromkeys(reasons))}."
    asked = results.config.get("parts") or ()
    return "Not run: it was not asked for (--parts)." if asked and not set(parts) & set(asked) else "Not run."


def finite(value: float | None) -> float | None:
    """The value, or None where it is no number."""
    return value if value is not None and math.isfinite(value) else None


# Arms ---------------------------------------------------------------------------------------------------------------


def central(results: Results) -> list[Arm]:
    """The arms with as many runs as the base: each crossover and mutation, at the base's lambda; the base first."""
    arms = [arm for arm in results.part("where") if arm.name == results.base]
    weight = arms[0].tags.get("lambda") if arms else None
    others = [arm for arm in results.part("where") if arm.tags.get("lambda") == weight and arm.name != results.base]
    return [*arms, *others] if arms else []


def known(results: Results, name: str) -> bool:
    """Whether there is an arm of that name."""
    return any(arm.name == name for arm in results.arms)


def ran(results: Results, part: Part) -> bool:
    """Whether a part was asked for."""
    return part in (results.config.get("parts") or PARTS)


def kind(results: Results, *kinds: str) -> list[Arm]:
    """Arms of the part on operators, by what they are for."""
    return [arm for arm in results.arms if arm.tags.get("kind") in kinds]


def tagged(results: Results, part: Part, tag: str) -> list[Arm]:
    """Arms of a part that have a tag."""
    return [arm for arm in results.part(part) if tag in arm.tags]


def distinct(arms: Iterable[Arm], tag: str) -> list[Any]:
    """The values of a tag, in their order."""
    return list(dict.fromkeys(arm.tags[tag] for arm in arms if tag in arm.tags))


def cells(results: Results, numbers: Numbers) -> dict[str, list[Cell]]:
    """Each network of the part on padding (by name) under each padding, its own first where it is not known."""
    arms = tagged(results, "padding", "padding")
    base = next((arm for arm in results.arms if arm.name == results.base), None)
    if not arms or base is None:
        return {}
    owns = {arm.classifier: str(arm.tags.get("own") or "") for arm in arms}
    names = list(dict.fromkeys([base.classifier, *owns]))
    modes = [mode for mode in PADDINGS if mode in {*owns.values(), *(str(arm.tags["padding"]) for arm in arms)}]
    if "" in owns.values():
        modes = ["", *modes]  # type: ignore[list-item]
    found = {}
    for name in names:
        row, own = [], owns.get(name, "")
        before = evidence.accuracy_of(results, name, "")
        for mode in modes:
            mine = [arm for arm in arms if arm.classifier == name and str(arm.tags["padding"] or "") == mode]
            arm = base if name == base.classifier and mode == own else mine[0] if mine else None
            variant = "" if mode == own else arm.variant if arm else f"padding {mode}"
            known = mode == own or arm is not None
            row.append(
                Cell(
                    label_of(results, name),
                    mode,
                    mode == own,
                    numbers.rows[arm.name] if arm else None,
                    before,
                    evidence.accuracy_of(results, name, variant) if known else None,
                    evidence.layers_of(results, name, variant) if known and mode != own else None,
                    map_on(results, name, variant, base) if known else None,
                )
            )
        found[name] = row
    return found


def map_on(results: Results, classifier: str, variant: str, like: Arm) -> Map | None:
    """The map of a network with the canvas and the ink of an arm."""
    found = [each for each in results.maps if (each.classifier, each.variant) == (classifier, variant)
             and _same(each.canvas, like.canvas) and _same(each.ink, like.ink)]  # fmt: skip
    return found[0] if found else None


def _same(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and np.allclose(one, other)


# Maps ---------------------------------------------------------------------------------------------------------------


def excess(results: Results, names: Sequence[str], region: str = "") -> np.ndarray | None:
    """Share of runs with ink at each pixel less that of ink spread evenly, [H W], mean over arms.

    None without ink. Outside of a region, if a box is given, it is NaN; other regions could name files, and the name
    may be a stranger's.
    """
    shares = [share for name in names if (share := measures.occupancy(results, name)) is not None]
    if not shares or not any(share.any() for share in shares):
        return None
    mean: np.ndarray = np.mean(shares, axis=0)
    inside = np.ones(mean.shape, bool)
    if BOX.fullmatch(region):
        with contextlib.suppress(UserError):
            inside = regions.mask(region, mean.shape[0], mean.shape[1]).numpy()
    return np.where(inside, mean - mean[inside].mean(), np.nan)


def limit(values: Iterable[np.ndarray | None], *, extreme: float = EXTREME) -> float:
    """Where the colour scale of some maps ends: that share of their pixels lies within."""
    every = [np.abs(each[np.isfinite(each)]) for each in values if each is not None]
    joined = np.concatenate(every) if every else np.zeros(0)
    most = float(np.quantile(joined, extreme)) if len(joined) else 0.0
    return most or (float(joined.max()) if len(joined) else 0.0) or 1.0


def scaled(values: np.ndarray | None, *, extreme: float = 1.0) -> np.ndarray | None:
    """A map as a share of the end of its colour scale, -1 to 1."""
    return None if values is None else np.clip(values / limit([values], extreme=extreme), -1, 1)


def filled(found: Map | None) -> np.ndarray | None:
    """The effect of each pixel, [H W], of those that were not tried that of the nearest one."""
    return landscape.effects_on_canvas(found) if found else None


# Rows of figures ----------------------------------------------------------------------------------------------------


def dots(results: Results, numbers: Numbers) -> list[Dot]:
    """What every intervention does to the edge index, by cause; data and other networks are in other units."""
    found = []
    ways = {arm.name for arm in central(results)}
    for name in CAUSES:
        cause = numbers.verdict.cause(name)
        seen: set[str] = set()
        for effect in cause.effects:
            other_way = name == LANDSCAPE and ways and effect.arm not in ways
            if effect.measured not in ("drift", "index", "change") or effect.arm in seen or other_way:
                continue
            seen.add(effect.arm)
            found.append(_dot(name, effect, cause, numbers))
    return found


def _dot(group: str, effect: Effect, cause: Cause, numbers: Numbers) -> Dot:
    same = [each for each in cause.effects if each.arm == effect.arm]
    counts = any(each.counts for each in same)
    change = next((each for each in same if each.measured == "change"), None)
    what = short_of(numbers.rows[effect.arm].arm, effect) if group in (OPERATORS, LANDSCAPE) else effect.what
    shown: EdgeIndex | Effect = effect
    if effect.measured == "change":
        shown = numbers.rows[effect.arm].edge
    words = f"{'change ' if change else ''}{between(change or effect, signed=bool(change))}{control(effect, numbers)}"
    return Dot(group, what, shown.estimate, shown.low, shown.high, words, counts and not control(effect, numbers))


def control(effect: Effect, numbers: Numbers) -> str:
    """Whether a bias that is known to be there was found; "" of what is no control, since it speaks for no cause."""
    row = numbers.rows.get(effect.arm)
    if row is None or row.arm.tags.get("kind") != "control":
        return ""
    return ", found" if effect.counts else ", not found"


def short_of(arm: Arm, effect: Effect) -> str:
    """What was done, where it stands under the name of its cause."""
    tags = arm.tags
    if tags.get("kind") == "control":
        return f"{effect.what} (known to be biased)"
    if tags.get("kind") == "additive":
        return f"{tags.get('crossover', '')}, every pixel worth the same"
    return f"{tags.get('crossover', '')}, {tags['mutation']}" if "mutation" in tags else effect.what


def line(name: str, runs: Sequence[Drawn], of: Callable[[Drawn], Sequence[float | None]]) -> Line | None:
    """Median and quartiles over runs of what each had last at each generation; None without a value."""
    grid = sorted({generation for run in runs for generation in run.generations})
    if len(grid) > POINTS:
        grid = [grid[round(at)] for at in np.linspace(0, len(grid) - 1, POINTS)]
    rows = [held(run.generations, of(run), grid) for run in runs]
    kept, quartiles = [], []
    for at, generation in enumerate(grid):
        values = [row[at] for row in rows if row[at] is not None]
        if values:
            kept.append(generation)
            quartiles.append(np.quantile(np.array(values, float), [0.25, 0.5, 0.75]).tolist())
    if not kept:
        return None
    low, middle, high = (list(each) for each in zip(*quartiles, strict=True))
    return Line(name, kept, low, middle, high, len(runs))


# Other parts --------------------------------------------------------------------------------------------------------


def shown(results: Results) -> dict[str, list[float]]:
    """Confidences of the base's drawings, by the way of showing; as drawn first."""
    drawn = {run.seed: run.final.confidence for run in results.of(results.base) if run.reached is not None}
    found: dict[str, list[float]] = {}
    for each in results.transfer:
        if each.arm == results.base and math.isfinite(each.confidence):
            found.setdefault(each.shown, []).append(each.confidence)
    return {"as drawn": list(drawn.values()), **found} if found and drawn else found


def issued(results: Results) -> dict[str, dict[str, int]]:
    """What was asked, by arm, and by what was asked besides."""
    arms = {}
    for run in results.runs:
        arms[f"{run.arm}/{run.classifier}/{run.seed}"] = run.arm
    found: dict[str, dict[str, int]] = {}
    for account, counts in results.ledger.get("searches", {}).items():
        total = found.setdefault(arms.get(account, account), {})
        for name in ("issued", "answered", "failed", "lost", "repeated"):
            total[name] = total.get(name, 0) + int(counts.get(name, 0))
    return found


def chosen(results: Results) -> list[tuple[Drawn, str]]:
    """A few runs of the base by how much ink they took, and the best of those that fell short."""
    runs = [run for run in results.of(results.base) if run.strip]
    reached = sorted((run for run in runs if run.reached is not None), key=lambda run: (run.final.ink, run.seed))
    picked = [(reached[0], "the least ink")] if reached else []
    for at, why in ((len(reached) // 2, "in the middle by ink"), (len(reached) - 1, "the most ink")):
        if reached and reached[at] not in [run for run, _ in picked]:
            picked.append((reached[at], why))
    missed = sorted((run for run in runs if run.reached is None), key=lambda run: (-run.final.confidence, run.seed))
    return [*picked, *((run, "the best that fell short of the goal") for run in missed[:1])]


def middle_ink(runs: Sequence[Drawn]) -> float | None:
    """Median of the pixels of ink that runs hand over."""
    return median(run.final.ink for run in runs)
