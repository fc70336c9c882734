"""Gene pool: what fooled earlier images is tried first on later ones, and the search goes on from the best of it.

Ours. An image is attacked in two parts:
1. It tries genes of the pool. What each leaves of the margin (1 = nothing happened, below 0 = fooled) is predicted by a
   Gaussian process over genes: the mean of a gene is what it left on earlier images of the class (see
   `pool.Pool.expected`), and two genes correlate the more, the more alike they are. After each try the others are
   predicted anew. The gene that most likely fools comes next, as long as its chance, or what it is expected to take off
   the margin, is worth a query.
2. Then it walks (see `walks`) from the best perturbation so far. Within L-inf and L2 it follows a belief of what
   changes do to the margin, corrected after each answer (see `belief`), in steps of full size; once answers have long
   brought nothing, it repaints squares as well. With few pixels it exchanges ever fewer of them: it gives up what
   does least, as far as its steps have told, and paints what was not in vain before, by what earlier images have
   taught of changes. There is no schedule over a budget: so a run that is cut earlier is the beginning of a longer
   one. Both begin from what the images before have learned. Where a classifier says labels only there is no margin to
   walk down: some beginnings of a walk are tried, and then another attack (`then`) goes on.
What fooled becomes a gene of the pool, unless it was one; and genes are bred of genes, see `pool.Pool.learn`.

Without a pool (`sharing` None) only the second part is left: each image by itself.

That a slope can be estimated from answers, and better with a prior, is from Ilyas, Engstrom, Madry, Prior
Convictions, ICLR 2019; here it is one Gaussian, whose mean and covariance are both used to choose the next question.
The squares are those of Square (Andriushchenko et al. 2020), the steps of few pixels those of Sparse-RS (Croce et al.
2022), on a schedule of our own; that pixels which were in vain are passed over is from BruSLeAttack (Vo et al. 2024),
and that what is doubted is tried, by drawing from what is believed, from Thompson (1933). That one perturbation fools
many images is known from Moosavi-Dezfooli et al., Universal adversarial perturbations, CVPR 2017; correcting a linear
model by its last error is the method of Kaczmarz (1937), or of normalised least mean squares.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le

from .. import genome
from ..contracts import Evaluated, Victims
from ..encodings.perturbation import LpBall
from ..pool import Lessons, Pool, empty
from ..rng import Stream
from ..shapes import Bool, Float, Int, Tensor
from ..sharing import Sharing
from ..spec import check
from .walks import Answer, Pace, walk_for

ALIKE = (0.35, 0.65)  # correlation of two genes over the images of a class: of any two, and more of like ones


@dataclass(frozen=True)
class State:
    """Images under attack.

    Attributes:
        x, labels: see `Victims`.
        clean: the margin of the image as it is.
        best: the perturbation that is held on to.
        shown: the image that was asked about with it; that as it is at first.
        fitness: its margin.
        vain: answers since it was lowered; once these are as many as the patience of the walk, all answers since then.
        told: questions answered.
        steps: questions that were not about genes.
        genes: [B M], numbers of the candidates; -1 = none.
        mean: [B M], what each is thought to leave; infinite where it was tried, or there is none.
        covariance: [B M M], of that.
        next: the place among the candidates of the gene to try now; -1 = walk.
        tried: [B M], the genes tried, in order; -1 = none.
        left: [B M], what each of them left.
        won: the gene that fooled as it is; -1 = none.
        seen: the class seen in what fooled; -1 = not fooled.
        model: of the walk: what it holds to be true of the image.
        other: the state of `then`, or a state of nothing.
    """

    x: Float[Tensor, "B C H W"]
    labels: Int[Tensor, " B"]
    clean: Float[Tensor, " B"]
    best: Float[Tensor, "B C H W"]
    shown: Float[Tensor, "B C H W"]
    fitness: Float[Tensor, " B"]
    vain: Int[Tensor, " B"]
    told: Int[Tensor, " B"]
    steps: Int[Tensor, " B"]
    genes: Int[Tensor, "B M"]
    mean: Float[Tensor, "B M"]
    covariance: Float[Tensor, "B M M"]
    next: Int[Tensor, " B"]
    tried: Int[Tensor, "B M"]
    left: Float[Tensor, "B M"]
    won: Int[Tensor, " B"]
    seen: Int[Tensor, " B"]
    model: Any
    other: Any


@dataclass(frozen=True)
class Nothing:
    """No state."""


@dataclass(frozen=True)
class GenePool:
    """Its configuration, and the algorithm.

    Args:
        encoding: an L-inf or L2 ball, or few pixels.
        sharing: how the pool is shared; None = each image by itself.
        candidates: genes that one image chooses among: those with the best chances on its class.
        chance: a gene that fools with this probability is worth a query.
        gain: so is one that is expected to take this share off the margin, from the best so far.
        prior: begin from what earlier images have taught of changes, and not only from their genes.
        squares: repaint squares where answers have long been in vain, see `BallWalk`.
        then: another attack that goes on in place of the walk; needed where a classifier says labels only, and margins
            tell no more than whether an image is fooled.
        starts: beginnings of a walk that are tried before that.
    """

    encoding: Any
    sharing: Sharing | None = field(default_factory=Sharing)
    candidates: Annotated[int, Ge(1)] = 32
    chance: Annotated[float, Gt(0), Le(1)] = 0.12
    gain: Annotated[float, Ge(0)] = 0.03
    prior: bool = True
    squares: bool = True
    then: Any = None
    starts: Annotated[int, Ge(0)] = 16

    def __post_init__(self) -> None:
        check(self)
        walk_for(self.encoding)

    @property
    def walk(self) -> Any:
        """Within the limit, see `walks`."""
        return walk_for(self.encoding, self.prior, self.squares)

    def numbers(self, image_shape: tuple[int, int, int]) -> int:
        """How many numbers the search of one image holds, about."""
        return int(self.walk.numbers(image_shape)) + self.candidates**2

    @property
    def asks(self) -> Any:
        """Where `then` looks, if that is outside the limit."""
        return getattr(self.then, "asks", None)

    def init(self, victims: Victims, pool: Pool | None = None) -> State:
        """Candidates for each image, by its class."""
        if pool is None:
            pool = empty((victims.x.shape[1], victims.x.shape[2], victims.x.shape[3]), victims.scores.shape[1])
        count, most = len(victims), self.candidates
        genes = torch.full((count, most), -1, dtype=torch.int64)
        mean = torch.full((count, most), torch.inf, dtype=torch.float64)
        covariance = torch.eye(most, dtype=torch.float64).repeat(count, 1, 1)
        if len(pool):
            means, variances, noise = pool.expected()
            chances = torch.special.ndtr(-means / variances.sqrt())
            best = chances.argsort(dim=1, descending=True, stable=True)[:, :most]
            wide = best.shape[1]
            unit = torch.nn.functional.normalize(pool.genes.flatten(1), dim=1)
            for label in victims.labels.unique().tolist():
                rows, numbers = victims.labels == label, best[label]
                alike = (unit[numbers] @ unit[numbers].T).clamp(min=0).double()
                together = noise * (ALIKE[0] + ALIKE[1] * alike)
                together.diagonal().copy_(variances[label, numbers])
                genes[rows, :wide] = numbers
                mean[rows, :wide] = means[label, numbers]
                covariance[rows, :wide, :wide] = together
        zeros, none = torch.zeros_like(victims.labels), torch.full_like(victims.labels, -1)
        blank = torch.zeros_like(victims.x)
        state = State(
            x=victims.x,
            labels=victims.labels,
            clean=victims.fitness,
            best=blank,
            shown=victims.x,
            fitness=victims.fitness,
            vain=zeros,
            told=zeros,
            steps=zeros,
            genes=genes,
            mean=mean,
            covariance=covariance,
            next=none,
            tried=torch.full_like(genes, -1),
            left=torch.zeros_like(mean),
            won=none,
            seen=none,
            model=self.walk.open(victims.x, victims.labels, pool),
            other=self.then.init(victims) if self.then else Nothing(),
        )
        return self._chosen(state)

    def ask(self, state: State, rng: Stream, pool: Pool | None = None) -> Float[Tensor, "B 1 C H W"]:
        """A gene, or a step."""
        new = self._gone_on(state, rng) if self.then else self._stepped(state, rng)
        trying = state.next >= 0
        if bool(trying.any()):
            assert pool is not None
            rows = trying.nonzero().squeeze(1)
            new = new.index_copy(0, rows, pool.genes[state.genes[rows, state.next[rows]]])
        return new[:, None]

    def _gone_on(self, state: State, rng: Stream) -> Float[Tensor, "B C H W"]:
        """Some beginnings of a walk, and then what the other attack asks."""
        new: Tensor = self.then.ask(state.other, rng)[:, 0]
        starts = state.steps < self.starts
        if bool(starts.any()):
            begun = self.walk.begin(state.x, state.model, rng["start"])
            new = torch.where(starts[:, None, None, None], begun, new)
        return new

    def _stepped(self, state: State, rng: Stream) -> Float[Tensor, "B C H W"]:
        """One step of the walk; its beginning, where there is nothing yet."""
        pace = Pace((state.tried < 0).all(1), state.steps, state.vain)
        new: Tensor = self.walk.step(state.x, state.best, state.model, pace, rng)
        first = state.told == 0
        if bool(first.any()):
            new = torch.where(first[:, None, None, None], self.walk.begin(state.x, state.model, rng), new)
        return new

    def tell(self, state: State, evaluated: Evaluated, fitness: Tensor, success: Tensor) -> State:
        """Hold on to what is better, and think anew of the other genes."""
        walk, images = self.walk, evaluated.images[:, 0]
        value = fitness[:, 0].nan_to_num(nan=torch.inf)
        trying, win = state.next >= 0, success[:, 0]
        first = state.told == 0
        better = (value < state.fitness) | first | win  # `then` may have seen lower ones outside the limit
        changed = better.nonzero().squeeze(1)
        held = walk.kept(state.x.index_select(0, changed), evaluated.genomes[:, 0].index_select(0, changed))
        # A margin that was next to nothing is soon a thousand times as large: it may not teach more than others.
        drop = ((state.fitness - fitness[:, 0]) / state.clean.clamp(min=1e-6)).clamp(-1, 1).float()
        answer = Answer(state.best, evaluated.genomes[:, 0], images - state.shown, drop, ~trying & ~first)
        other = state.other
        if self.then:
            after = self.then.tell(state.other, evaluated, fitness, success)
            other = genome.choose(trying | (state.steps < self.starts), state.other, after)
        new = dataclasses.replace(
            state,
            best=state.best.index_copy(0, changed, held),
            shown=state.shown.index_copy(0, changed, images.index_select(0, changed)),
            fitness=torch.where(better, value, state.fitness),
            vain=torch.where(better & (state.vain < walk.patience), 0, state.vain + 1),
            told=state.told + 1,
            steps=state.steps + ~trying,
            seen=torch.where(win, evaluated.scores[:, 0].argmax(1), state.seen),
            model=walk.learn(state.model, answer),
            other=other,
        )
        if bool(trying.any()):
            new = self._tried(new, trying, win, fitness[:, 0])
        return self._chosen(new)

    def _tried(
        self, state: State, trying: Bool[Tensor, " B"], win: Bool[Tensor, " B"], fitness: Float[Tensor, " B"]
    ) -> State:
        """After genes were tried."""
        left = (fitness / state.clean.clamp(min=1e-6)).clamp(-1, 1)  # NaN without an answer
        mean, covariance = _conditioned(state, left, trying)
        nth = (state.tried >= 0).sum(1)
        here = (torch.arange(state.tried.shape[1]) == nth[:, None]) & trying[:, None]
        gene = state.genes.gather(1, state.next.clamp(min=0)[:, None])
        return dataclasses.replace(
            state,
            mean=mean,
            covariance=covariance,
            tried=torch.where(here, gene, state.tried),
            left=torch.where(here, left[:, None], state.left),
            won=torch.where(win & trying, gene[:, 0], state.won),
        )

    def lessons(self, state: State) -> Lessons:
        """What these images teach."""
        fooled = state.seen >= 0
        model, felt = self.walk.lesson(state.x, state.model)
        return Lessons(
            labels=state.labels,
            predictions=state.seen,
            genes=self.walk.intent(state.x, state.best),
            new=fooled & (state.won < 0),
            tried=state.tried,
            left=state.left,
            won=state.won,
            model=model,
            felt=felt,
            walked=state.steps > (state.tried[:, 0] < 0).long(),
            queries=state.told,
        )

    def blend(self, genes: Float[Tensor, "n C H W"]) -> Float[Tensor, "C H W"]:
        """One gene of several."""
        blended: Tensor = self.walk.blend(genes)
        return blended

    def _chosen(self, state: State) -> State:
        """With the gene that is to be tried next, if any is."""
        if bool((state.steps > 0).all()):
            return dataclasses.replace(state, next=torch.full_like(state.next, -1))
        spread = state.covariance.diagonal(dim1=1, dim2=2).clamp(min=1e-9).sqrt()
        chance = torch.special.ndtr(-state.mean / spread)
        if (
            self.then
        ):  # each try leaves all of the margin or none: what it leaves on the average is the share of failures
            chance = torch.where(state.mean.isfinite(), ((1 - state.mean) / 2).clamp(0, 1), 0.0)
        best = (state.fitness / state.clean.clamp(min=1e-6)).clamp(max=1.0)[:, None]
        ahead = (best - state.mean) / spread
        density = torch.exp(-ahead.square() / 2) / math.sqrt(2 * math.pi)
        gain = torch.where(state.mean.isfinite(), spread * (ahead * torch.special.ndtr(ahead) + density), 0.0)
        likely, first = chance.max(1)
        most, second = gain.max(1)
        place = torch.where(
            likely >= self.chance, first, torch.where((most >= self.gain) & (self.then is None), second, -1)
        )
        return dataclasses.replace(state, next=torch.where(state.steps > 0, -1, place))


def _conditioned(
    state: State, left: Float[Tensor, " B"], trying: Bool[Tensor, " B"]
) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M M"]]:
    """Mean and covariance of what the candidates leave, after what those that were tried left; NaN teaches nothing.

    What was tried is not tried again.
    """
    each, place, told = torch.arange(len(left)), state.next.clamp(min=0), trying & ~left.isnan()
    row = state.covariance[each, place]
    factor = torch.where(told, 1 / row[each, place].clamp(min=1e-9), 0.0)
    surprise = torch.where(told, left - state.mean[each, place], 0.0) * factor
    mean = state.mean + row * surprise[:, None]
    mean[each[trying], place[trying]] = torch.inf
    return mean, state.covariance - factor[:, None, None] * row[:, :, None] * row[:, None, :]


def example() -> GenePool:
    """A small configuration for trying things out."""
    return GenePool(LpBall("linf", 76 / 255))
