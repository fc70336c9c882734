"""The laws that every part keeps, one check for each kind of part; a broken law is an AssertionError that names it.

    from evofool.spec import op
    from evofool.testing import contracts

    def test_my_mutation():
        contracts.check_mutation(op("mypackage.mymodule:blur", radius=2))

The checks draw from fixed streams, so that they pass always or never.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from .. import criteria, genome, objectives
from ..classifiers.fake import Linear
from ..contracts import Algorithm, ClassifierInfo, Criterion, Encoding, Evaluated, Objective, ScoreKind, Status, Victims
from ..encodings.pixels import Pixels
from ..evasion import Evaded, evade, victims_of
from ..ledger import Ledger
from ..pool import empty
from ..rng import Stream
from ..search import Problem, Progress, run
from ..shapes import Tensor
from ..threat import Goal

Operator = Callable[..., Tensor]

SEARCHES = 3
SHAPES: tuple[tuple[int, ...], ...] = ((1, 4, 5), (12,))
KINDS: tuple[ScoreKind, ...] = ("logits", "probabilities")


def _stream(searches: int = SEARCHES) -> Stream:
    return Stream([11] * searches, list(range(searches)))


def _equal(a: Tensor, b: Tensor) -> bool:
    return (
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(nan=12345.0), b.nan_to_num(nan=12345.0))
    )


def _check_draws(name: str, call: Callable[[Stream], Tensor], alone: Callable[[Stream, int], Tensor]) -> Tensor:
    """What an operator draws for a batch, after a look at whether it draws the same again, and for a search alone."""
    result = call(_stream())
    assert _equal(result, call(_stream())), f"{name}: the same stream gave another result; draw from `rng` only"
    for row in range(SEARCHES):
        single = alone(_stream().rows([row]), row)
        assert _equal(single, result[row : row + 1]), f"{name}: search {row} alone differs from search {row} in a batch"
    return result


def _kept(name: str, inputs: dict[str, Tensor], call: Callable[[], Any]) -> None:
    before = {key: tensor.clone() for key, tensor in inputs.items()}
    call()
    for key, tensor in inputs.items():
        assert _equal(tensor, before[key]), f"{name}: changed its input `{key}` in place"


def check_selection(select: Operator) -> None:
    """Laws of a selection: repeatable, no search looks at another, NaN never wins, and the worse is not preferred."""
    name = f"{select!r}"
    population, n = 12, 8
    fitness = -_stream()["fitness"].uniform(population, dtype=torch.float64)
    _kept(name, {"fitness": fitness}, lambda: select(fitness, n, rng=_stream()))
    chosen = _check_draws(
        name,
        lambda rng: select(fitness, n, rng=rng),
        lambda rng, row: select(fitness[row : row + 1], n, rng=rng),
    )
    assert chosen.shape == (SEARCHES, n), f"{name}: gave shape {tuple(chosen.shape)}, expected [B n] = {(SEARCHES, n)}"
    assert chosen.dtype == torch.int64, f"{name}: gave {chosen.dtype}, expected indices of int64"
    for losses in (fitness, torch.full_like(fitness, torch.nan), torch.zeros_like(fitness)):
        chosen = select(losses, n, rng=_stream())
        inside = (chosen >= 0) & (chosen < population)
        assert bool(inside.all()), f"{name}: gave indices outside the population"

    many = 400
    losses = -Stream(range(many), [0] * many)["fitness"].uniform(population, dtype=torch.float64)
    chosen = select(losses, n, rng=_stream(many))
    rank = losses.argsort(1).argsort(1).gather(1, chosen).double().mean()
    assert rank < (population - 1) / 2 + 0.3, f"{name}: prefers the worse; lower fitness is better"
    if not torch.equal(chosen, select(losses.flip(1), n, rng=_stream(many))):  # it looks at fitness
        failed = _stream(many)["failed"].uniform(population) < 0.4
        failed[:, 0] = False
        chosen = select(losses.masked_fill(failed, torch.nan), n, rng=_stream(many))
        assert not bool(failed.gather(1, chosen).any()), f"{name}: selected a member whose fitness is NaN"


def check_crossover(mix: Operator) -> None:
    """Laws of a crossover: weights in [0, 1], repeatable, no search looks at another, and both parents matter."""
    for shape in SHAPES:
        _check_crossover(f"{mix!r}", mix, _genes("a", shape), _genes("b", shape))


def _genes(purpose: str, shape: tuple[int, ...]) -> Tensor:
    """Genomes of which about half the genes are zero, as those of drawings are: some operators ask where."""
    genes = _stream()[purpose].uniform(40, *shape)
    return torch.where(_stream()[f"{purpose} is zero"].bits(40, *shape), 0.0, genes)


def _check_crossover(name: str, mix: Operator, a: Tensor, b: Tensor) -> None:
    _kept(name, {"a": a, "b": b}, lambda: mix(a, b, rng=_stream()))
    weight = _check_draws(
        name,
        lambda rng: mix(a, b, rng=rng),
        lambda rng, row: mix(a[row : row + 1], b[row : row + 1], rng=rng),
    )
    shapes = (a.shape, (*a.shape[:2], 1))
    assert weight.shape in shapes, f"{name}: gave shape {tuple(weight.shape)}, expected [B n *G] or [B n 1]"
    kinds = (torch.bool, torch.float32)
    assert weight.dtype in kinds, f"{name}: gave {weight.dtype}, expected a mask of bools or weights of float32"
    inside = (weight.float() >= 0) & (weight.float() <= 1)
    assert bool(inside.all()), f"{name}: gave weights outside [0, 1]"
    child = genome.cross(a, b, weight)
    for parent, which in ((a, "first"), (b, "second")):
        assert not torch.equal(child, parent), f"{name}: every child is a copy of its {which} parent"
    assert torch.equal(genome.cross(a, a, mix(a, a, rng=_stream())), a), f"{name}: equal parents gave another child"


def check_mutation(mutate: Operator) -> None:
    """Laws of a mutation: shape and type kept, something changed, repeatable, no search looks at another.

    A member's change depends on its place but not on how many members follow: the algorithm brings those to be mutated
    together, and their number differs between searches that run side by side.
    """
    for shape in SHAPES:
        _check_mutation(f"{mutate!r}", mutate, _genes("x", shape))


def _check_mutation(name: str, mutate: Operator, x: Tensor) -> None:
    _kept(name, {"x": x}, lambda: mutate(x, rng=_stream()))
    changed = _check_draws(
        name,
        lambda rng: mutate(x, rng=rng),
        lambda rng, row: mutate(x[row : row + 1], rng=rng),
    )
    assert changed.shape == x.shape, f"{name}: gave shape {tuple(changed.shape)}, expected {tuple(x.shape)}"
    assert changed.dtype == x.dtype, f"{name}: gave {changed.dtype}, expected {x.dtype}"
    assert bool(changed.isfinite().all()), f"{name}: gave genes that are not finite"
    assert not torch.equal(changed, x), f"{name}: changed nothing"
    for first in (1, 7):
        some = mutate(x[:, :first], rng=_stream())
        assert _equal(some, changed[:, :first]), f"{name}: the first {first} members change otherwise without the rest"


def check_survival(survive: Operator) -> None:
    """Laws of a survival: nobody twice, no search looks at another, the best of all lives on where there is room."""
    name = f"{survive!r}"
    parents, children = 8, 5
    fitness = _stream()["fitness"].uniform(parents + children, dtype=torch.float64)
    fitness[:, 2] = torch.nan
    for n in (parents, children):
        _check_survival(name, survive, fitness, n, parents)
    kept = survive(fitness, parents, parents=parents)
    best = fitness.nan_to_num(nan=torch.inf).argmin(1, keepdim=True)
    assert bool((kept == best).any(1).all()), f"{name}: lost the best member though there was room"
    assert not bool((kept == 2).any()), f"{name}: kept a parent whose evaluation failed before one with an answer"


def _check_survival(name: str, survive: Operator, fitness: Tensor, n: int, parents: int) -> None:
    _kept(name, {"fitness": fitness}, lambda: survive(fitness, n, parents=parents))
    kept = survive(fitness, n, parents=parents)
    assert kept.shape == (SEARCHES, n), f"{name}: gave shape {tuple(kept.shape)}, expected [B n] = {(SEARCHES, n)}"
    assert kept.dtype == torch.int64, f"{name}: gave {kept.dtype}, expected indices of int64"
    inside = (kept >= 0) & (kept < fitness.shape[1])
    assert bool(inside.all()), f"{name}: gave indices outside the members"
    assert all(len(set(row)) == n for row in kept.tolist()), f"{name}: a member survived twice"
    for row in range(SEARCHES):
        alone = survive(fitness[row : row + 1], n, parents=parents)
        assert _equal(alone, kept[row : row + 1]), f"{name}: search {row} alone differs from search {row} in a batch"


def _answers(kind: ScoreKind) -> tuple[Evaluated, ClassifierInfo]:
    """Answers of a classifier of that kind, some of them missing: as the ledger gives them, NaN in the whole row."""
    n, classes = 10, 4
    info = ClassifierInfo("planted", kind, tuple("abcd"), (1, 2, 2), "00" * 32)
    logits = 6 * _stream()["scores"].uniform(n, classes) - 3
    scores = logits if kind == "logits" else logits.softmax(-1)
    scores[:, 1] = torch.nan
    scores[0, 3] = torch.nan
    images = _stream()["images"].uniform(n, 1, 2, 2)
    status = scores.isnan().any(-1).to(torch.int8) * int(Status.FAILED)
    return Evaluated(images, images, images[:, 0], scores, _stream()["labels"].integers(classes, n), status), info


def _check_judgement(
    name: str, judge: Callable[..., Tensor], kind: ScoreKind, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """What objectives and criteria share: shape, type, and that no member looks at another."""
    evaluated, info = _answers(kind)
    _kept(name, {"scores": evaluated.scores, "labels": evaluated.labels}, lambda: judge(evaluated, info))
    result = judge(evaluated, info)
    shape = evaluated.labels.shape
    expected = f"expected [B n] = {tuple(shape)}"
    assert result.shape[:2] == shape, f"{name}: gave shape {tuple(result.shape)}, {expected}"
    several = dtype == torch.float64 and result.ndim == 3  # objectives
    assert result.ndim == 2 or several, f"{name}: gave shape {tuple(result.shape)}, {expected}"
    assert result.dtype == dtype, f"{name}: gave {result.dtype}, expected {dtype}"
    for row, member in ((0, 0), (2, 5), (0, 3)):
        one = {
            field.name: getattr(evaluated, field.name)[row : row + 1, member : member + 1]
            for field in dataclasses.fields(evaluated)
            if field.name != "x"
        }
        single = judge(replace(evaluated, **one, x=evaluated.images[row : row + 1, 0]), info)
        assert _equal(single, result[row : row + 1, member : member + 1]), f"{name}: a member alone is judged otherwise"
    return result, evaluated.status == Status.FAILED


def check_objective(objective: Objective) -> None:
    """Laws of an objective: float64 for each member by itself, NaN where there is no answer and nowhere else."""
    name = f"{objective!r}"
    for kind in KINDS:
        fitness, failed = _check_judgement(name, objective, kind, torch.float64)
        assert bool(fitness[failed].isnan().all()), f"{name}: made a number of an answer that is missing"
        assert not bool(fitness[~failed].isnan().any()), f"{name}: gave NaN for an answer that is there"
        assert len(fitness[~failed].unique()) > 1, f"{name}: gave every member the same fitness"


def check_criterion(criterion: Criterion) -> None:
    """Laws of a criterion: a bool for each member by itself, False where there is no answer."""
    name = f"{criterion!r}"
    for kind in KINDS:
        success, failed = _check_judgement(name, criterion, kind, torch.bool)
        assert not bool(success[failed].any()), f"{name}: called a missing answer a success"


def check_encoding(encoding: Encoding) -> None:
    """Laws of an encoding: repair twice is repair once, images lie on the 1/255 lattice, no search looks at another."""
    name = f"{encoding!r}"
    x = (_stream()["x"].uniform(1, 5, 6) * 255).round() / 255
    genomes = encoding.sample(x, 8, _stream())
    genes = genome.genes(genomes)
    wild = genome.with_genes(genomes, ~genes if genes.dtype == torch.bool else 3 * genes - 1)
    once = encoding.repair(wild, x)
    twice = encoding.repair(once, x)
    assert torch.equal(genome.genes(once), genome.genes(twice)), f"{name}: repair twice differs from repair once"
    for members in (genomes, once):
        images = encoding.decode(members, x)
        assert images.shape == (SEARCHES, 8, 1, 5, 6), f"{name}: gave images of shape {tuple(images.shape)}"
        lattice = (images * 255).round().clamp(0, 255) / 255
        assert torch.equal(images, lattice), f"{name}: gave images that do not lie on the 1/255 lattice in [0, 1]"
        for row in range(SEARCHES):
            one = torch.tensor([row])
            alone = encoding.decode(genome.rows(members, one), x[one])
            assert torch.equal(alone, images[one]), f"{name}: search {row} alone differs from search {row} in a batch"
    alone = encoding.sample(x[:1], 8, _stream().rows([0]))
    same = torch.equal(genome.genes(alone), genome.genes(genomes)[:1])
    assert same, f"{name}: search 0 alone is sampled otherwise than in a batch"


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    return [tensor for field in fields for tensor in _tensors(getattr(value, field.name))]


def _frozen(value: Any) -> bool:
    return bool(getattr(getattr(value, "__dataclass_params__", None), "frozen", False))


def check_algorithm(
    algorithm: Algorithm, *, encoding: Encoding | None = None, population: int = 16, generations: int = 12
) -> None:
    """Laws of an algorithm, tried out on a linear classifier.

    Config and state are frozen; the first `ask` gives the initial genomes; a search alone goes the same way as in a
    batch; a run that goes on from its progress equals one that never stopped; and it gets somewhere: an algorithm that
    gives back what it was given fails here.

    Args:
        algorithm: what is tried.
        encoding: of its genomes; whole images where it is left out.
        population: members of the initial population.
        generations: rounds in which it has to lower the best fitness of each search.
    """
    name = f"{algorithm!r}"
    coded: Encoding = encoding or Pixels()
    assert _frozen(algorithm), f"{name}: its configuration is not a frozen dataclass"
    assert algorithm == replace(algorithm), f"{name}: a copy is not equal by value"  # type: ignore[type-var]
    classifier = Linear(4 * Stream([7] * 3, range(3))["weight"].uniform(1, 6, 6) - 2, micro_batch=9)
    x = torch.full((SEARCHES, 1, 6, 6), 0.4)
    initial = coded.sample(x, population, _stream())

    def go(rows: list[int], until: int, progress: Progress | None = None) -> tuple[Progress, list[Tensor]]:
        best: list[Tensor] = []
        problem = Problem(
            genome.rows(initial, torch.tensor(rows)),
            _stream().rows(rows),
            x=x[rows],
            labels=torch.tensor([row % 3 for row in rows]),
        )
        ledger = Ledger(classifier, searches=len(rows))

        def note(progress: Progress, evaluated: Evaluated) -> None:
            best.append(objectives.true_class_probability(evaluated, classifier.info).amin(1))

        end = run(
            problem,
            algorithm=algorithm,
            encoding=coded,
            objective=objectives.true_class_probability,
            criterion=criteria.misclassified,
            ledger=ledger,
            generations=until,
            on_generation=note,
            progress=progress,
        )
        return end, best

    state = algorithm.init(initial)
    asked = algorithm.ask(state, _stream().at(0))
    equal = [torch.equal(a, b) for a, b in zip(_tensors(asked), _tensors(initial), strict=True)]
    assert all(equal), f"{name}: the first ask does not return the initial genomes"

    everyone = list(range(SEARCHES))
    end, best = go(everyone, generations)
    for value in (state, end.state):
        assert _frozen(value), f"{name}: its state is not a frozen dataclass"
        leading = {len(tensor) for tensor in _tensors(value)}
        assert leading == {SEARCHES}, f"{name}: a tensor of its state does not lead with B"
    reached = torch.stack(best[1:]).amin(0)
    assert bool((reached < best[0]).all()), f"{name}: made no progress in {generations} generations"

    for row in everyone:
        alone, _ = go([row], generations)
        pairs = zip(_tensors(alone.state), _tensors(genome.rows(end.state, torch.tensor([row]))), strict=True)
        assert all(_equal(a, b) for a, b in pairs), f"{name}: search {row} alone differs from search {row} in a batch"
    half, _ = go(everyone, generations // 2)
    resumed, _ = go(everyone, generations, half)
    pairs = zip(_tensors(resumed.state), _tensors(end.state), strict=True)
    assert all(_equal(a, b) for a, b in pairs), f"{name}: a run that goes on differs from one that never stopped"


def check_attack(attack: Any, *, budget: int = 150) -> None:
    """Laws of an attack on given images, tried out on a linear classifier.

    Config and state are frozen, and every tensor of a state leads with B; one image alone goes the same way as in a
    batch that it joins late (unless images share); nothing that comes out is beyond the limit; the budget holds; and it
    gets somewhere: an attack that gives back the image fails here.

    Args:
        attack: what is tried, with its limit as `encoding`.
        budget: queries of an image; enough to lower the margin of one of three images.
    """
    name = f"{attack!r}"
    assert _frozen(attack), f"{name}: its configuration is not a frozen dataclass"
    assert attack == replace(attack), f"{name}: a copy is not equal by value"
    weight = Stream([7] * 3, range(3))["weight"].uniform(1, 10, 10)
    # No class is favoured by white or by black: those who begin there must find a way.
    classifier = Linear(4 * (weight - weight.mean((2, 3), keepdim=True)), micro_batch=9)
    x = (Stream([5] * SEARCHES, range(SEARCHES))["x"].uniform(1, 10, 10) * 255).round() / 255
    goal = Goal()

    def go(rows: list[int], at_once: int) -> tuple[Evaded, Victims, Ledger]:
        ledger = Ledger(classifier, searches=len(rows), budget=budget)
        clean = ledger.ask(x[rows], torch.arange(len(rows))).scores
        victims = victims_of(x[rows], clean.argmax(1), clean, goal.objective, classifier.info)
        state = attack.init(victims, empty(classifier.info.image_shape, 3)) if shares else attack.init(victims)
        assert _frozen(state), f"{name}: its state is not a frozen dataclass"
        odd = [tensor.shape for tensor in _tensors(state) if tensor.shape[:1] != (len(rows),)]
        assert not odd, f"{name}: a tensor of its state has shape {odd[0]}, and does not lead with B = {len(rows)}"
        if not shares:
            asked, said = genome.genes(attack.ask(state, _stream().rows(rows))).shape[1], getattr(attack, "together", 1)
            assert asked == said, f"{name}: asks about {asked} perturbations together, and says {said}"
        evaded = evade(
            victims,
            accounts=torch.arange(len(rows)),
            seeds=[3] * len(rows),
            algorithm=attack,
            encoding=attack.encoding,
            objective=goal.objective,
            criterion=goal.criterion,
            ledger=ledger,
            at_once=at_once,
        )
        return evaded, victims, ledger

    shares = getattr(attack, "sharing", None) is not None
    found, victims, ledger = go(list(range(SEARCHES)), 1 if shares else 2)
    assert int(ledger.counts.issued.max()) <= budget, f"{name}: asked more than the budget of {budget}"
    within = attack.encoding.holds(found.images[:, None], x)
    assert bool(within.all()), f"{name}: gave an image beyond its limit"
    reached = victims_of(x, victims.labels, found.scores, goal.objective, classifier.info).fitness
    assert bool((reached < victims.fitness).any()), f"{name}: lowered no margin in {budget} queries"
    if not shares:
        for row in range(SEARCHES):
            alone, _, _ = go([row], 1)
            same = torch.equal(alone.images[0], found.images[row]) and int(alone.queries[0]) == int(found.queries[row])
            assert same, f"{name}: image {row} alone went another way than in a batch"
