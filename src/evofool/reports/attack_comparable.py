"""Which runs of attacks can be compared: those with the same question, asked about the same images."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import UserError
from ..studies.attack.results import Results


def check(runs: Sequence[tuple[str, Results]]) -> None:
    """Refuse what cannot be compared.

    Raises:
        UserError: fewer than two runs, another limit, goal, budget, classifier or list of images, or a run twice.
    """
    if len(runs) < 2:
        raise UserError("one run cannot be compared; give two or more")
    (path, first), *others = runs
    seen = {_identity(first): path}
    for other, results in others:
        for what, of in _COMMON.items():
            if of(results) != of(first):
                raise UserError(
                    f"{other}: {what} is {_told(results, what)}, of {path} it is {_told(first, what)}; they cannot be "
                    "compared"
                )
        _same_images(path, first, other, results)
        if _identity(results) in seen:
            raise UserError(
                f"{other}: is the same recipe with the same seed {results.seed} as {seen[_identity(results)]}, and no "
                "repetition; leave one of them out"
            )
        seen[_identity(results)] = other


_COMMON: dict[str, Callable[[Results], Any]] = {
    "the limit": lambda results: (results.norm, results.size),
    "the goal": lambda results: (results.targeted, results.k),
    "the budget": lambda results: results.budget,
    "the budget of all": lambda results: results.config.get("budget_total"),
    "the classifier": lambda results: str(results.classifier.get("fingerprint")),
}


def _told(results: Results, what: str) -> str:
    name, mark = results.classifier.get("name"), str(results.classifier.get("fingerprint"))[:12]
    together = results.config.get("budget_total")
    return {
        "the budget of all": "none" if together is None else f"{together:,}",
        "the limit": results.limit,
        "the goal": f"{results.goal} (top {results.k})",
        "the budget": f"{results.budget:,}",
        "the classifier": f"{name} ({mark})",
    }[what]


def _same_images(path: str, first: Results, other: str, second: Results) -> None:
    ours, theirs = (Counter((i.sha256, i.label) for i in results.images) for results in (first, second))
    more = theirs - ours
    name = next((i.name for i in second.images if (i.sha256, i.label) in more), "")
    if more:
        raise UserError(
            f"{other}: has other images: {more.total():,} of its {theirs.total():,} are not among the "
            f"{ours.total():,} of {path} with the same label, such as {name}; they cannot be compared"
        )
    if ours != theirs:
        raise UserError(f"{other}: has {theirs.total():,} of the {ours.total():,} images of {path}; attack all of them")
    wanted, others = (Counter((i.sha256, i.label, i.target) for i in results.images) for results in (first, second))
    if wanted != others:
        changed = (others - wanted).total()
        raise UserError(
            f"{other}: aims at other classes than {path} for {changed:,} of {others.total():,} images; they cannot be "
            "compared"
        )


def _identity(results: Results) -> tuple[Any, ...]:
    return (*recipe_of(results), results.seed)


def recipe_of(results: Results) -> tuple[str, str, bool]:
    """What makes runs repetitions of each other: name, arguments (with the pool it began from), whether it shares."""
    recipe = results.recipe
    begun = {"pool": results.config["pool"]} if results.config.get("pool") else {}
    arguments = json.dumps({**(recipe.get("arguments") or {}), **begun}, sort_keys=True, default=str)
    return str(recipe.get("name", "")), arguments, bool(recipe.get("shares"))
