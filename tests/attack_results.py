"""Attacks made up for tests: what is said of an image is its queries and whether it was fooled."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evofool.studies.attack.results import Attacked, Results, Shrinking

NAMES = ("zero", "one", "two")


def image(
    number: int, queries: int = 10, outcome: str = "fooled", *, label: int = 0, prediction: int = 1, **changes: Any
) -> Attacked:
    """One image of 0.3 in L-inf."""
    there = outcome in ("fooled", "failed")
    parts: dict[str, Any] = {
        "number": number,
        "name": f"digits {number:04}",
        "sha256": hashlib.sha256(str(number).encode()).hexdigest(),
        "label": label,
        "target": None,
        "outcome": outcome,
        "queries": queries if there else 0,
        "clean_prediction": {"skipped": 2, "unanswered": -1}.get(outcome, label),
        "clean_confidence": 0.0 if outcome == "unanswered" else 0.97,
        "prediction": (prediction if outcome == "fooled" else label) if there else -1,
        "confidence": 0.61 if there else 0.0,
        "linf": 76 / 255 if there else 0.0,
        "l2": 3.25 if there else 0.0,
        "l0": 40 if there else 0,
        "asked": number if there else -1,
        "original": f"images/{number:05}-original.png",
        "adversarial": f"images/{number:05}-adversarial.png" if there else "",
    }
    return Attacked(**{**parts, **changes})


def five() -> list[Attacked]:
    """Three fooled with 1, 4 and 40 queries, one that held out, and one that is misclassified as it is."""
    return [
        image(0, 4, label=0, prediction=1),
        image(1, 99, "failed", label=1),
        image(2, 1, label=1, prediction=2),
        image(3, 0, "skipped", label=0),
        image(4, 40, label=0, prediction=1),
    ]


def made(images: Sequence[Attacked] | None = None, **changes: Any) -> Results:
    """Results of Square with a budget of 100."""
    found = list(five() if images is None else images)
    issued = sum(each.queries for each in found) + len(found)
    counts = {"issued": issued, "answered": issued, "failed": 0, "lost": 0, "repeated": 2}
    targeted = any(each.target is not None for each in found)
    parts: dict[str, Any] = {
        "command": "evofool attack --recipe square --classifier net --data digits -o DIR",
        "config": {"recipe": "square", "budget": 100, "cache": True},
        "versions": {"python": "3.11.7", "evofool": "0.1.0"},
        "classifier": {"name": "net", "fingerprint": "ab" * 32, "image_shape": [1, 8, 8], "accuracy": 0.99},
        "class_names": list(NAMES),
        "recipe": {
            "name": "square",
            "about": "Square: random search over squares.",
            "paper": "Andriushchenko and others 2020",
            "arguments": {},
            "shares": False,
        },
        "norm": "linf",
        "size": 76 / 255,
        "limit": "L-inf 76/255",
        "goal": "to a random other class" if targeted else "away from its class",
        "targeted": targeted,
        "k": 1,
        "budget": 100,
        "seed": 0,
        "data": {"name": "digits", "fingerprint": "cd" * 32, "labelled": True, "first": 0, "count": len(found)},
        "images": found,
        "ledger": {"searches": {"attack/net/0": counts}, "padded": 0, "kills": 0, "drift": []},
    }
    return Results(**{**parts, **changes})


def draw(results: Results, directory: Path, *, channels: int = 1, size: tuple[int, int] = (8, 8)) -> None:
    """Write the PNG files that results name: noise, and the same with one dark and one light half within the limit."""
    (directory / "images").mkdir(parents=True, exist_ok=True)
    step = max(1, round(min(1.0, results.size) * 255)) if results.norm == "linf" else 200
    for each in results.images:
        generator = np.random.default_rng(each.number)
        before = generator.integers(0, 256, (*size, channels)).astype(np.uint8)
        sign = np.where(np.arange(size[1]) < size[1] // 2, 1, -1)[None, :, None]
        after = np.clip(before.astype(int) + step * sign, 0, 255).astype(np.uint8)
        _save(before, directory / each.original)
        if each.adversarial:
            _save(after, directory / each.adversarial)
    for gene in (results.pool or {}).get("genes", []):
        _save(np.full((*size, channels), 128 + gene["number"], np.uint8), directory / gene["file"])


def _save(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(path)


def gene(number: int, wins: int, **changes: Any) -> dict[str, Any]:
    """One of a pool, that was tried ten times."""
    return {
        "number": number, "label": 0, "prediction": 1, "wins": wins, "tries": 10, "queries": 5 + number,
        "file": f"images/gene-{number:04}.png", **changes,
    }  # fmt: skip


def shrinking(before: float, queries: int = 7, minimal: int = 1) -> Shrinking:
    """What a perturbation of that size became."""
    return Shrinking(before, queries, minimal, f"{minimal}-minimal, {queries} queries")
