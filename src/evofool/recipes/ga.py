"""GA: a genetic algorithm for each image, put together from any selection, crossover, mutation and survival.

Author: the operators are those of the operator study (Timbe, Carreiras, Munhangane, Breaking CNNs - MNIST Dataset, NOVA
IMS, 2021), whose population is a set of images; here it is a population of perturbations of one image.

Numbers: ours. A small population spends fewer queries before it learns. Crossover exchanges rectangles, since
neighbours act together. Mutation repaints a square, or lets other pixels change where their number is limited
(`repaint` and `reseed` of `algorithms/population.py`); those of the operator study, made for images, can be asked for.

Where we differ from the study: see `algorithms/population.py`.
"""

from __future__ import annotations

from ..algorithms.ga import GeneticAlgorithm
from ..algorithms.population import Population
from ..spec import Op, op
from . import Setting

PAPER = "Timbe, Carreiras, Munhangane 2021, NOVA IMS"
NORMS = ("linf", "l2", "l0")
NEEDS = "scores"
TARGETED = UNTARGETED = True
OURS = ("repaint", "reseed")


def recipe(
    setting: Setting,
    *,
    members: int = 6,
    selection: str | Op = "tournament",
    crossover: str | Op = "rectangle",
    mutation: str | Op | None = None,
    survival: str | Op = "elitist",
    p_crossover: float = 0.6,
    p_mutation: float = 1.0,
    elites: int | None = None,
    corners: bool = True,
) -> Population:
    """A genetic algorithm with these operators, by their names in `evofool list operators`.

    Args:
        setting: what the attack is made for.
        members: of a population.
        selection, crossover, survival: operators.
        mutation: an operator, "repaint" or "reseed"; None = "reseed" where pixels are counted, else "repaint".
        p_crossover, p_mutation, elites: see `ga.GeneticAlgorithm`; None = 1 elite where survival is "elitist", else 0.
        corners: see `Population`.
    """
    if elites is None:
        elites = int(survival == "elitist")
    genetic = GeneticAlgorithm(
        selection=_named("selection", selection),
        crossover=_named("crossover", crossover),
        mutation=_mutation(setting, mutation or ("reseed" if setting.threat.norm == "l0" else "repaint")),
        survival=_named("survival", survival),
        p_crossover=p_crossover,
        p_mutation=p_mutation,
        elites=elites,
    )
    return Population(setting.threat.encoding, genetic, members=members, corners=corners)


def _named(family: str, name: str | Op) -> Op:
    if isinstance(name, Op):
        return name
    return op(name if "." in name or ":" in name else f"{family}.{name}")


def _mutation(setting: Setting, name: str | Op) -> Op:
    """An operator; those that are made for perturbations get to know the limit."""
    if name not in OURS:
        return _named("mutation", name)
    path, threat = f"evofool.algorithms.population:{name}", setting.threat
    if name == "reseed":
        changed = int(threat.size) if threat.norm == "l0" else setting.info.image_shape[1] * setting.info.image_shape[2]
        return op(path, pixels=changed)
    if threat.norm == "l2":  # a square of one value, added to what is there; what is too long is shortened
        return op(path, value=min(1.0, threat.size / 4), add=True, largest=0.1)
    return op(path, value=threat.size if threat.norm == "linf" else 1.0)
