"""Recipes: attacks as their papers describe them, and ours; one file each, found by reading this folder.

A file opens with the paper, its numbers, and where we differ. It has

    PAPER: who, when, what, where
    NORMS: limits that it works within, see `threat.NORMS`
    NEEDS: "scores", or "labels" where a classifier that says no more than a class is enough
    TARGETED, UNTARGETED: what it can aim at
    recipe(setting, **arguments): the algorithm; its keyword arguments are what `--set NAME=VALUE` can change
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..contracts import ClassifierInfo
from ..errors import SpecError, nearest
from ..spec import checked_value
from ..threat import Goal, Threat

__all__ = ["Recipe", "Setting", "algorithm", "recipes"]

DEFAULT = "genepool"


@dataclass(frozen=True)
class Setting:
    """What an attack is made for.

    Attributes:
        threat: what may change.
        goal: what counts as success.
        budget: the most queries of one image, the one for the image as it is included.
        info: of the classifier.
    """

    threat: Threat
    goal: Goal
    budget: int
    info: ClassifierInfo


@dataclass(frozen=True)
class Recipe:
    """One file of this folder.

    Attributes:
        name: as it is called.
        about: the first line of the file.
        text: all that stands above the code.
        paper, norms, needs, targeted, untargeted: see the folder's own words.
        arguments: what it can be told, with the default of each; None = the paper's for this setting.
        make: the algorithm for a setting.
    """

    name: str
    about: str
    text: str
    paper: str
    norms: tuple[str, ...]
    needs: Literal["scores", "labels"]
    targeted: bool
    untargeted: bool
    arguments: dict[str, Any]
    make: Callable[..., Any]


def recipes() -> dict[str, Recipe]:
    """Every recipe, by name."""
    found = {}
    for module_info in pkgutil.iter_modules(__path__):
        name = module_info.name.replace("_", "-")
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        text = inspect.getdoc(module) or ""
        parameters = list(inspect.signature(module.recipe).parameters.values())[1:]
        found[name] = Recipe(
            name,
            text.partition("\n")[0],
            text,
            module.PAPER,
            module.NORMS,
            module.NEEDS,
            module.TARGETED,
            module.UNTARGETED,
            {parameter.name: parameter.default for parameter in parameters},
            module.recipe,
        )
    return found


def algorithm(name: str, setting: Setting, arguments: Mapping[str, Any] | None = None) -> Any:
    """The algorithm of a recipe for a setting.

    Raises:
        SpecError: there is no such recipe or argument, or it cannot do what the setting asks for.
    """
    known = recipes()
    if name not in known:
        raise SpecError(f"recipe '{name}': unknown{nearest(name, known)}")
    recipe, threat, info = known[name], setting.threat, setting.info
    fitting = [other.name for other in known.values() if _fits(other, setting)]
    instead = f"; {', '.join(fitting)} can" if fitting else ""
    if threat.norm not in recipe.norms:
        raise SpecError(f"{name} works within {', '.join(recipe.norms)}, not {threat.norm}{instead}")
    if info.kind == "label" and recipe.needs == "scores":
        raise SpecError(f"{name} needs scores, and {info.name} answers with labels only{instead}")
    if not (recipe.targeted if setting.goal.targeted else recipe.untargeted):
        aims = "at a class" if setting.goal.targeted else "away from one"
        raise SpecError(f"{name} cannot aim {aims}{instead}")
    for argument in arguments or {}:
        if argument not in recipe.arguments:
            raise SpecError(f"{name} has no argument '{argument}'{nearest(argument, recipe.arguments)}")
    checked = {name: checked_value(recipe.make, name, value) for name, value in (arguments or {}).items()}
    return recipe.make(setting, **checked)


def _fits(recipe: Recipe, setting: Setting) -> bool:
    scores = setting.info.kind != "label" or recipe.needs == "labels"
    aims = recipe.targeted if setting.goal.targeted else recipe.untargeted
    if not (scores and aims and setting.threat.norm in recipe.norms):
        return False
    try:
        recipe.make(setting)
    except SpecError:
        return False
    return True
