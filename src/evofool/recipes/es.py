"""ES: evolution strategies, as they are (1+1), as CMA-ES with a diagonal covariance, or as an estimate of the gradient.

Author: Meunier, Atif, Teytaud, Yet another but more efficient black-box adversarial attack: tiling and evolution
strategies, 2019, https://arxiv.org/abs/1910.02244 ("one-plus-one", "cma"); Ilyas, Engstrom, Athalye, Lin, Black-box
adversarial attacks with limited queries and information, ICML 2018, https://arxiv.org/abs/1804.08598 ("nes").

Numbers: of "one-plus-one" and "cma" 30 or 50 tiles a side on ImageNet and 10, 20 or 32 on CIFAR-10, Cauchy mutation,
the first step 1. Of "nes" 50 samples, a spread of 0.001, steps of 0.01 with eps 0.05, momentum 0.9 on ImageNet.

Where we differ: see `algorithms/evolution_strategies.py`, `separable_cma.py` and `nes.py`. Defaults: tiles of 1/14 of
the shorter side in L-inf; in L2, which the paper has not, single pixels for "one-plus-one" and 1/7 for "cma". Steps of
"nes" are a third of eps in L-inf, and eps in L2, since budgets here are of a thousand queries.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from ..algorithms.evolution_strategies import OnePlusOne
from ..algorithms.nes import NES
from ..algorithms.separable_cma import SeparableCMA
from ..errors import SpecError, nearest
from . import Setting

PAPER = (
    "Meunier, Atif, Teytaud 2019, https://arxiv.org/abs/1910.02244; "
    "Ilyas, Engstrom, Athalye, Lin 2018, https://arxiv.org/abs/1804.08598"
)
NORMS = ("linf", "l2")
NEEDS = "scores"
TARGETED = UNTARGETED = True

Strategy = Literal["one-plus-one", "cma", "nes"]
OF_NES = ("samples", "spread", "momentum")
OF_TILES = ("tile", "corners")


def recipe(
    setting: Setting,
    *,
    strategy: Strategy = "one-plus-one",
    tile: int | None = None,
    corners: bool | None = None,
    mutation: Literal["cauchy", "normal"] | None = None,
    members: int | None = None,
    step: float | None = None,
    samples: int | None = None,
    spread: float | None = None,
    momentum: float | None = None,
) -> OnePlusOne | SeparableCMA | NES:
    """An evolution strategy; None = its default.

    Args:
        setting: what the attack is made for.
        strategy: which.
        tile, corners: of "one-plus-one" and "cma": side of a tile in pixels; corners of an L-inf ball only.
        mutation: of "one-plus-one".
        members: of "cma".
        step: the first step of "one-plus-one" and "cma", in shares of eps; every step of "nes".
        samples, spread, momentum: of "nes".

    Raises:
        SpecError: there is no such strategy, or it has no such argument.
    """
    given: dict[str, Any] = {
        "tile": tile,
        "corners": corners,
        "mutation": mutation,
        "members": members,
        "step": step,
        "samples": samples,
        "spread": spread,
        "momentum": momentum,
    }
    given = {name: value for name, value in given.items() if value is not None}
    known = {
        "one-plus-one": (*OF_TILES, "mutation", "step"),
        "cma": (*OF_TILES, "members", "step"),
        "nes": (*OF_NES, "step"),
    }
    if strategy not in known:
        raise SpecError(f"strategy '{strategy}': unknown{nearest(strategy, get_args(Strategy))}")
    for name in given:
        if name not in known[strategy]:
            raise SpecError(f"strategy {strategy} has no argument '{name}'{nearest(name, known[strategy])}")
    encoding = setting.threat.encoding
    if strategy == "nes":
        return NES(encoding, **({"step": 1.0} if setting.threat.norm == "l2" else {}) | given)
    given.setdefault("tile", _tile(setting, strategy))
    return OnePlusOne(encoding, **given) if strategy == "one-plus-one" else SeparableCMA(encoding, **given)


def _tile(setting: Setting, strategy: str) -> int:
    shortest = min(setting.info.image_shape[1:])
    if setting.threat.norm == "linf":
        return max(1, round(shortest / 14))
    return 1 if strategy == "one-plus-one" else max(1, round(shortest / 7))
