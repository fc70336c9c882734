"""GenAttack: a genetic algorithm whose mutation calms down where it gets no further.

Author: Alzantot, Sharma, Chakraborty, Zhang, Hsieh, Srivastava, GenAttack: practical black-box attacks with
gradient-free optimization, GECCO 2019, https://arxiv.org/abs/1805.11090.

Numbers: targeted, on MNIST (eps 0.3) and CIFAR-10 (eps 0.05) a population of 6 and a mutation rate of 0.05; the
published code says 4, 0.30 and a range of 0.5 for MNIST, 4, 0.05 and 0.25 for CIFAR-10, and a temperature of 0.1. On
ImageNet (eps 0.05) 6, adaptive rates down to 0.10 and 0.15, and a search size of 96.

Where we differ: see `algorithms/genattack.py`.
"""

from __future__ import annotations

from ..algorithms.genattack import GenAttack
from . import Setting

PAPER = "Alzantot, Sharma, Chakraborty, Zhang, Hsieh, Srivastava 2019, https://arxiv.org/abs/1805.11090"
NORMS = ("linf",)
NEEDS = "scores"
TARGETED = UNTARGETED = True


def recipe(
    setting: Setting,
    *,
    members: int = 6,
    mutation_rate: float = 0.05,
    mutation_range: float = 1.0,
    adaptive: bool = False,
    patience: int = 100,
    temperature: float = 0.1,
    search_size: int | None = None,
) -> GenAttack:
    """GenAttack for the scores that the classifier gives."""
    return GenAttack(
        setting.threat.encoding,
        kind=setting.info.kind,
        targeted=setting.goal.targeted,
        members=members,
        mutation_rate=mutation_rate,
        mutation_range=mutation_range,
        adaptive=adaptive,
        patience=patience,
        temperature=temperature,
        search_size=search_size,
    )
