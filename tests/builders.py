"""Synthetic results of an operator study, with planted numbers, for the tests of the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from evofool.studies.operators import scenarios as study
from evofool.studies.operators.results import Arm, Distance, Gallery, Judged, Results, Run, Target

SCENARIOS = tuple(f"{s}_{c}_{m}" for s in ("FPS", "TS", "RS") for c in ("SPC", "AC") for m in ("SM", "IM"))
TEXTBOOK = {
    "FPS_SPC_SM": 0.12, "FPS_SPC_IM": 0.16, "FPS_AC_SM": 0.09, "FPS_AC_IM": 0.13,
    "TS_SPC_SM": 0.12, "TS_SPC_IM": 0.05, "TS_AC_SM": 0.21, "TS_AC_IM": 0.03,
    "RS_SPC_SM": 0.17, "RS_SPC_IM": 0.11, "RS_AC_SM": 0.19, "RS_AC_IM": 0.09,
    "FPS_AC_SM_elitism": 0.08, "RND_SPC_SM": 0.66, "RND_SPC_IM": 0.27, "RND_AC_SM": 0.58,
    "RND_AC_IM": 0.25, "RND_SELF_SM": 0.86, "RND_SELF_IM": 0.36, "MUT_SM": 0.87, "MUT_IM": 0.34,
}  # fmt: skip
DIGITS = tuple("0123456789")


def wobble(classifier: int, seed: int, seeds: int, size: float = 0.01) -> float:
    """A fixed deviation for each seed, 0 on average, larger for later classifiers by a shift of a tenth of it."""
    return size * (seed - (seeds - 1) / 2) / max(1, seeds - 1) + size * classifier / 10


def confusion(accuracy: float, population: int, classes: int, skew: float = 0.5) -> list[list[int]]:
    """Counts with that share on the diagonal, and class supports that fall from the first to the last class."""
    weights = np.array([(1 - skew) ** (index / classes * 4) for index in range(classes)])
    supports = np.floor(population * weights / weights.sum()).astype(int)
    supports[0] += population - supports.sum()
    table = np.zeros((classes, classes + 1), dtype=int)
    for index, support in enumerate(supports):
        right = round(accuracy * support)
        table[index, index] = right
        table[index, (index + 1) % classes] += (support - right) - (support - right) // 3
        table[index, (index + 3) % classes] += (support - right) // 3
    return table.tolist()


def run(
    arm: str, classifier: str, seed: int, accuracy: float, *, generations: int = 10, population: int = 1000,
    classes: int = 10, judge: bool = True, reads: float = 0.6, fitness: float | None = None, start: float = 0.95,
    skew: float = 0.5,
) -> Run:  # fmt: skip
    """One run whose accuracy falls from 0.95 to the one given."""
    accuracy = min(1.0, max(0.0, accuracy))
    fall = [1 - math.exp(-3.5 * g / max(1, generations)) for g in range(generations + 1)]
    fall = [f / fall[-1] for f in fall] if generations else [0.0]
    curve = [start + (accuracy - start) * f for f in fall]
    total = fitness if fitness is not None else population * (0.75 - 0.7 * accuracy)
    return Run(
        arm=arm, classifier=classifier, seed=seed, accuracy=curve,
        precision=[0.95 * a for a in curve], recall=[0.98 * a for a in curve], f1=[0.9 * a for a in curve],
        total_fitness=[0.035 * population + (total - 0.035 * population) * f for f in fall],
        failed=[0] * (generations + 1), confusion=confusion(accuracy, population, classes, skew),
        ancestors=round(40 + 900 * accuracy),
        judged=Judged(1 - accuracy, reads, (1 - accuracy) * reads) if judge else None,
        distance=Distance(0.3 - 0.2 * accuracy, 6.0 - 5.0 * accuracy, 0.2 + 0.7 * accuracy),
    )  # fmt: skip


def target(name: str, accuracy: float = 0.95, *, classes: int = 10, images: int = 10_000) -> Target:
    """A classifier with a test report of its own."""
    card = {"architecture": "small", "seed": 1}
    return Target(name, (name.encode().hex() * 16)[:64], accuracy, confusion(accuracy, images, classes, 0.05), card)


def arms(
    scenarios: Iterable[str] = SCENARIOS,
    *,
    parts: Sequence[str] = ("elitism", "controls"),
    generations: int = 10,
    population: int = 1000,
) -> list[Arm]:
    """The study's own arms, resolved; "elitism" is a part of its own here."""
    chosen = tuple(scenarios)
    base = study.configured(study.base(), {"generations": str(generations), "population": str(population)})
    found = [s for s in study.scenarios(base) if s.arm.name in chosen] if "sweep" not in parts else []
    if "elitism" in parts:
        found.append(study.elitism(base))
    if "controls" in parts:
        wanted = {s.arm.partner for s in study.scenarios(base) if s.arm.name in chosen}
        everything = chosen == SCENARIOS
        found += [s for s in study.controls(base) if everything or s.arm.name in wanted]
    if "hypotheses" in parts:
        found += [s for s in study.hypotheses(base) if s.arm.partner in chosen]
    if "generations" in parts:
        found += study.generations(base)
    if "rates" in parts:
        found += study.rates(base)
    if "all-images" in parts:
        found += study.all_images(base)
    if "sweep" in parts:
        plain = [s for s in study.scenarios(base) if s.arm.name in chosen]
        points = {"p_crossover": ("0.2", "0.6"), "p_mutation": ("0.1", "0.5")}
        found += study.sweep(plain, points, partner=lambda arm, point: f"{arm.partner}@{point}")
    return [s.described() for s in found]


def results(
    *,
    classifiers: Mapping[str, float] | Sequence[str] = ("cnn-a", "cnn-b", "cnn-c"),
    seeds: int = 4,
    scenarios: Iterable[str] = SCENARIOS,
    parts: Sequence[str] = ("elitism", "controls"),
    accuracy: Mapping[str, float | Mapping[str, float]] | None = None,
    fitness: Mapping[str, float] | None = None,
    spread: float = 0.01,
    judge: bool = True,
    reads: Mapping[str, float] | None = None,
    data: str = "mnist test",
    population: int = 1000,
    generations: int = 10,
    class_names: Sequence[str] = DIGITS,
    galleries: Sequence[Gallery] = (),
) -> Results:
    """A study with planted final accuracies (for an arm, or for an arm by classifier) and total fitness."""
    accurate = dict(classifiers) if isinstance(classifiers, Mapping) else dict.fromkeys(classifiers, 0.95)
    planted = {**TEXTBOOK, **(accuracy or {})}
    configured = arms(scenarios, parts=parts, generations=generations, population=population)
    runs = []
    for number, name in enumerate(accurate):
        for arm in configured:
            if arm.group in ("hypothesis", "generations", "all-images") and number:
                continue
            if number and arm.group == "rates" and "sweep" not in parts:
                continue
            value = planted.get(arm.name, planted.get(arm.family, planted.get(arm.name.split("@")[0])))
            value = planted.get(arm.partner, 0.2) if value is None else value
            end = value[name] if isinstance(value, Mapping) else value
            if arm.group == "all-images":
                runs.append(run(arm.name, name, 0, end, generations=arm.generations, population=10 * population,
                                classes=len(class_names), judge=judge))  # fmt: skip
                continue
            for seed in range(min(seeds, 3) if arm.group == "rates" and "sweep" not in parts else seeds):
                off = wobble(number, seed, seeds, spread)
                total = (fitness or {}).get(arm.name)
                runs.append(
                    run(
                        arm.name, name, seed, end + off, generations=arm.generations, population=population,
                        classes=len(class_names), judge=judge, reads=(reads or {}).get(arm.name, 0.6 + off),
                        fitness=None if total is None else total - 700 * off,
                    )
                )  # fmt: skip
    return Results(
        command=f"evofool study operators --data mnist --seeds {seeds} --parts scenarios,controls -o DIR",
        config={"data": "mnist", "seeds": list(range(seeds)), "parts": ["scenarios", "controls"], "threads": 1},
        versions={"python": "3.11.7", "evofool": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        data={"name": data, "fingerprint": "ab" * 32, "count": 10_000},
        class_names=list(class_names),
        targets=[target(name, value, classes=len(class_names)) for name, value in accurate.items()],
        judge=target("mnist99", 0.992, classes=len(class_names)) if judge else None,
        arms=configured,
        runs=runs,
        galleries=list(galleries),
    )


def gallery(directory: Path, arm: str, members: int = 10, *, size: int = 28, classes: int = 10) -> Gallery:
    """Write a gallery of drawn rings with noise below them, and return its entry."""
    rng = np.random.default_rng(len(arm))
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    columns = []
    for member in range(members):
        ring = np.exp(-((np.hypot(x * (1 + member / 10), y) - size / 4) ** 2) / 4)
        noisy = np.clip(ring * 0.6 + 0.7 * (rng.random((size, size)) < 0.12), 0, 1)
        columns.append(np.vstack([ring, noisy]))
    file = f"images/{arm}.png"
    (directory / "images").mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.hstack(columns) * 255).astype(np.uint8)).save(directory / file)
    labels = [member % classes for member in range(members)]
    predictions = [(label + 3) % classes if member % 4 else label for member, label in enumerate(labels)]
    if members > 3:
        predictions[3] = -1
    confidences = [min(1.0, 0.31 + 0.07 * member) for member in range(members)]
    return Gallery(arm, file, labels, list(labels), predictions, confidences)
