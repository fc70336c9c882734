"""GenAttack: a genetic algorithm on perturbations, its parents drawn by softmax, its mutation calmed on plateaus.

Author: Alzantot, Sharma, Chakraborty, Zhang, Hsieh, Srivastava, GenAttack: practical black-box attacks with
gradient-free optimization, GECCO 2019, https://arxiv.org/abs/1805.11090.

Where we differ:
1. It also aims away from a class: then the fitness is that of the class itself with the sign turned.
2. The image as it is, whose answer is known, is one of the first population; the others are drawn as in the paper.
3. With a search size the population is kept at the size of the image, as it was sent. What is drawn is small: masks of
   crossover are blown up to blocks, mutations are up-scaled bilinearly. The published code keeps small members instead.
4. A plateau is a number of generations without better fitness. The published code looks at the difference of two
   probabilities, waits three times as long where it is large, and mutates every gene in the first ten generations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch.nn import functional

from .. import genome
from ..contracts import Evaluated, ScoreKind, Victims
from ..encodings.perturbation import LpBall
from ..errors import SpecError
from ..operators import selection
from ..rng import Stream
from ..shapes import Float, Int, Tensor
from ..spec import check

DECAY = 0.9  # of both rates, with each plateau
FIRST_RATE, FIRST_RANGE = 0.5, 0.4  # of adaptive rates, before the first plateau
LEAST_RATE, LEAST_RANGE = 0.1, 0.15


@dataclass(frozen=True)
class State:
    """Populations of N members.

    Attributes:
        x, labels: see `Victims`.
        members: [B N C H W], perturbations; the first is the elite.
        rated: [B N], their fitness, higher is better; NaN = no answer.
        best: [B], the highest fitness so far.
        quiet: [B], generations since it rose, or since the last plateau.
        plateaus: [B], how many there were.
        told: [B], how many generations were answered.
    """

    x: Float[Tensor, "B C H W"]
    labels: Int[Tensor, " B"]
    members: Float[Tensor, "B N C H W"]
    rated: Float[Tensor, "B N"]
    best: Float[Tensor, " B"]
    quiet: Int[Tensor, " B"]
    plateaus: Int[Tensor, " B"]
    told: Int[Tensor, " B"]


def log_odds(scores: Float[Tensor, "*N K"], labels: Int[Tensor, "*N"], kind: ScoreKind) -> Float[Tensor, "*N"]:
    """Logarithm of the probability of each label, less that of the sum of all others; float64, for scores of any size.

    Of logits it is z_label - logsumexp(z_others), so that no probability is ever worked out. A probability of 0 counts
    as the smallest positive float64.
    """
    logs = scores.double()
    if kind != "logits":
        logs = logs.clamp(min=torch.finfo(torch.float64).tiny).log()
    logs = logs.clamp(min=-1e30)  # classes that a top-k answer leaves out are -inf
    own = logs.gather(-1, labels[..., None]).squeeze(-1)
    return own - logs.scatter(-1, labels[..., None], -torch.inf).logsumexp(-1)


def chances(rated: Float[Tensor, "B N"], temperature: float) -> Float[Tensor, "B N"]:
    """With what probability each member becomes a parent: softmax(fitness / temperature), 0 without an answer."""
    heights = (rated / temperature).nan_to_num(nan=-torch.inf, posinf=torch.finfo(torch.float64).max)
    return heights.softmax(1).nan_to_num(nan=1 / rated.shape[1])  # nobody has an answer


@dataclass(frozen=True)
class GenAttack:
    """Its configuration, and the algorithm.

    Args:
        encoding: an L-inf ball.
        kind: what the classifier's scores are.
        targeted: whether the label is to be reached, instead of left.
        members: of a population, with the elite, which is not asked again.
        mutation_rate: rho, the probability of a gene to be mutated; not used by adaptive rates.
        mutation_range: alpha, how far it moves at most, as a share of eps; not used by adaptive rates.
        adaptive: both rates begin at 0.5 and 0.4 and shrink by a tenth with each plateau, to 0.1 and 0.15.
        patience: generations without better fitness that make a plateau.
        temperature: of selection; the lower, the more the best is preferred.
        search_size: rows and columns in which crossover and mutation are drawn; None = those of the image.
    """

    encoding: LpBall
    kind: ScoreKind = "logits"
    targeted: bool = False
    members: Annotated[int, Ge(2)] = 6
    mutation_rate: Annotated[float, Gt(0), Le(1)] = 0.05
    mutation_range: Annotated[float, Gt(0), Le(2)] = 1.0
    adaptive: bool = False
    patience: Annotated[int, Ge(1)] = 100
    temperature: Annotated[float, Gt(0)] = 0.1
    search_size: Annotated[int, Ge(1)] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, LpBall) or self.encoding.norm != "linf":
            raise SpecError("genattack attacks L-inf only")
        check(self)

    @property
    def together(self) -> int:
        """Perturbations of an image in one round."""
        return self.members - 1

    def init(self, victims: Victims) -> State:
        """Populations of nothing but the image."""
        count = len(victims)
        rated = self.fitness(victims.scores, victims.labels)
        none = torch.zeros(count, dtype=torch.int64)
        members = torch.zeros(count, self.members, *victims.x.shape[1:])
        everyone = rated[:, None].expand(-1, self.members).contiguous()
        best = rated.nan_to_num(nan=-torch.inf)
        return State(victims.x, victims.labels, members, everyone, best, none, none, none)

    def fitness(self, scores: Float[Tensor, "*N K"], labels: Int[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """What is raised: log p_target - log of the sum of the others, or the opposite; NaN without an answer."""
        value = log_odds(scores, labels, self.kind)
        return value if self.targeted else -value

    def rates(self, plateaus: Int[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """The rate and the range of mutation after so many plateaus, rho and alpha."""
        if not self.adaptive:
            one = torch.ones(len(plateaus))
            return self.mutation_rate * one, self.mutation_range * one
        shrunk = DECAY ** plateaus.double()
        return (
            (FIRST_RATE * shrunk).clamp(min=LEAST_RATE).float(),
            (FIRST_RANGE * shrunk).clamp(min=LEAST_RANGE).float(),
        )

    def ask(self, state: State, rng: Stream) -> Float[Tensor, "B n C H W"]:
        """Perturbations from anywhere at first, then the children of the present population; n = members - 1."""
        children = self._children(state, rng)
        first = state.told == 0
        if bool(first.any()):
            anywhere = (2 * rng["first"].uniform(*self._drawn(state)) - 1) * self.encoding.eps
            begun = self._upscaled(anywhere, state)
            children = torch.where(first[:, None, None, None, None], begun, children)
        return children

    def _children(self, state: State, rng: Stream) -> Float[Tensor, "B n C H W"]:
        n = self.members - 1
        chance = chances(state.rated, self.temperature)
        row = torch.arange(len(chance))[:, None]
        one = selection.fitness_proportionate(-chance, n, rng=rng["first parent"])
        two = selection.fitness_proportionate(-chance, n, rng=rng["second parent"])
        share = (chance[row, one] / (chance[row, one] + chance[row, two])).float()
        share = share[..., None, None, None]
        # One draw says from which parent a gene comes, whether it is mutated, and how far: within each part of [0, 1)
        # that a yes or no leaves it is uniform still.
        drawn = rng["genes"].uniform(*self._drawn(state))
        from_one = drawn < share
        drawn = torch.lerp(
            (drawn - share) / (1 - share).clamp(min=1e-9), drawn / share.clamp(min=1e-9), from_one.float()
        )
        rate, reach = (value[:, None, None, None, None] for value in self.rates(state.plateaus))
        moved = (2 * drawn / rate - 1) * (reach * self.encoding.eps) * (drawn < rate)
        if self.search_size:
            height, width = state.x.shape[2:]
            blocks = functional.interpolate(from_one.flatten(0, 1).byte(), (height, width), mode="nearest")
            from_one = blocks.bool().unflatten(0, from_one.shape[:2])
        children = genome.cross(genome.take(state.members, one), genome.take(state.members, two), from_one)
        return (children + self._upscaled(moved, state)).clamp(-self.encoding.eps, self.encoding.eps)

    def _drawn(self, state: State) -> tuple[int, int, int, int]:
        """The shape of what is drawn for the children of an image."""
        channels, height, width = state.x.shape[1:]
        return self.members - 1, channels, self.search_size or height, self.search_size or width

    def _upscaled(self, small: Float[Tensor, "B n C d d"], state: State) -> Float[Tensor, "B n C H W"]:
        if not self.search_size:
            return small
        size = (state.x.shape[2], state.x.shape[3])
        large = functional.interpolate(small.flatten(0, 1), size, mode="bilinear", align_corners=False)
        return large.unflatten(0, small.shape[:2])

    def tell(self, state: State, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> State:
        """The children take over, behind the best of their parents."""
        rated = self.fitness(evaluated.scores, evaluated.labels)
        row = torch.arange(len(rated))
        elite = state.rated.nan_to_num(nan=-torch.inf).argmax(1)
        members = torch.cat([state.members[row, elite][:, None], evaluated.genomes], 1)
        top = rated.nan_to_num(nan=-torch.inf).amax(1)
        rises = top > state.best
        quiet = torch.where(rises, 0, state.quiet + 1)
        plateau = quiet >= self.patience
        return State(
            state.x,
            state.labels,
            members,
            torch.cat([state.rated[row, elite][:, None], rated], 1),
            torch.maximum(top, state.best),
            torch.where(plateau, 0, quiet),
            state.plateaus + plateau,
            state.told + 1,
        )


def example() -> GenAttack:
    """A small configuration for trying things out."""
    return GenAttack(LpBall("linf", 76 / 255), adaptive=True, patience=2)
