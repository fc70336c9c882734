"""The adaptive penalty: its weight by hand, who lives under it, and drawings with much and with little ink."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from evofool import objectives, spec
from evofool.algorithms import ga
from evofool.algorithms.adaptive_penalty import AdaptivePenalty, State, best
from evofool.algorithms.ga import GeneticAlgorithm
from evofool.classifiers.fake import Linear, Silent
from evofool.contracts import Algorithm, Evaluated, Objective
from evofool.encodings.ink import Ink
from evofool.errors import SpecError
from evofool.ledger import Ledger
from evofool.search import Problem, Progress, run
from evofool.spec import op
from fakes import pictures, stream

NAN = float("nan")
INNER = GeneticAlgorithm(selection="selection.random", crossover="crossover.uniform", p_crossover=0.0, p_mutation=0.0)


def answer(algorithm: AdaptivePenalty, state: State, genomes, size, loss, success=None) -> State:
    """Tell size and loss [B n]; each member's only score is its loss, to see whether scores stay with their member."""
    size, loss = (torch.as_tensor(part, dtype=torch.float64) for part in (size, loss))
    status = torch.zeros(loss.shape, dtype=torch.int8)
    success = status.bool() if success is None else torch.as_tensor(success)
    evaluated = Evaluated(genomes, genomes, None, loss[..., None].float(), torch.zeros_like(status), status)
    return algorithm.tell(state, evaluated, torch.stack([size, loss], -1), success)


def told(algorithm: AdaptivePenalty, size, loss, success=None) -> State:
    genomes = torch.arange(len(loss[0])).float().expand(len(loss), -1)[..., None].contiguous()  # the member's number
    return answer(algorithm, algorithm.init(genomes), genomes, size, loss, success)


# The weight


def test_the_weight_grows_with_success_and_shrinks_without_it_in_each_search_by_itself():
    algorithm = AdaptivePenalty(INNER, start=1.0, factor=2.0, low=0.25, high=4.0)
    size, loss = [[1.0, 2.0]] * 2, [[3.0, 4.0]] * 2
    state = told(algorithm, size, loss, [[False, True], [False, False]])
    assert state.weight.tolist() == [2.0, 0.5]
    assert state.fitness.tolist() == [[3 + 2 * 1, 4 + 2 * 2], [3 + 0.5 * 1, 4 + 0.5 * 2]]
    weights = []
    for success in ([True, False], [True, False], [False, False], [True, True], [False, True]):
        both = torch.tensor(success)[:, None].expand(-1, 2)
        state = answer(algorithm, state, state.genomes, size, loss, both)
        weights.append(state.weight.tolist())
    assert weights == [[4.0, 0.25], [4.0, 0.25], [2.0, 0.25], [4.0, 0.5], [2.0, 1.0]]


def test_one_elite_that_succeeds_is_enough_and_one_who_is_gone_is_not():
    algorithm = AdaptivePenalty(replace(INNER, elites=1), start=1.0, factor=2.0)
    state = told(algorithm, [[0.0, 5.0]], [[1.0, 2.0]], [[True, False]])
    assert state.weight.tolist() == [2.0]
    child = torch.tensor([[[7.0]]])
    state = answer(algorithm, state, child, [[5.0]], [[9.0]])
    assert state.success.tolist() == [[True, False]] and state.weight.tolist() == [4.0]
    state = answer(algorithm, state, child, [[0.0]], [[0.0]])
    assert state.weight.tolist() == [8.0]  # the elite is still there
    state = answer(algorithm, state, child, [[0.0]], [[3.0]])
    assert state.genomes.tolist() == [[[7.0], [7.0]]]
    assert not bool(state.success.any()) and state.weight.tolist() == [4.0]


def test_the_weight_follows_its_schedule():
    algorithm = AdaptivePenalty(INNER, schedule=((2, 0.0), (4, 1.0), (5, 0.5)))
    state = algorithm.init(torch.zeros(2, 3, 1))
    weights = [state.weight.tolist()]
    for generation in range(7):
        success = torch.full((2, 3), generation % 2 == 0)
        state = answer(algorithm, state, torch.zeros(2, 3, 1), torch.ones(2, 3), torch.ones(2, 3), success)
        weights.append(state.weight.tolist())
        assert torch.equal(state.fitness, 1 + state.weight[:, None].expand(2, 3))
    assert weights == [[w, w] for w in (0.0, 0.0, 0.0, 0.5, 1.0, 0.5, 0.5, 0.5)]  # of generations 0 to 7
    constant = AdaptivePenalty(INNER, schedule=((0, 0.3),))
    assert told(constant, [[1.0]], [[1.0]], [[True]]).weight.tolist() == [0.3]


def test_searches_that_stand_at_different_generations_have_different_weights():
    algorithm = AdaptivePenalty(INNER, schedule=((0, 0.0), (100, 1.0)))
    state = told(algorithm, [[1.0]] * 2, [[1.0]] * 2)
    state = replace(state, told=torch.tensor([9, 59]))
    state = answer(algorithm, state, state.genomes, [[1.0]] * 2, [[1.0]] * 2)
    assert state.weight.tolist() == [0.1, 0.6]


# Who lives under it

SIZES, LOSSES = [[10.0, 0.0, 4.0]], [[0.0, 1.0, 0.8]]  # the best under weight 0 is 0, under 0.05 it is 1 and 0 last


def test_parents_are_chosen_under_the_weight_of_their_generation():
    inner = replace(INNER, selection=op("selection.tournament", size=3))
    algorithm = AdaptivePenalty(inner, schedule=((0, 0.0), (1, 1.0)))
    searches = 40
    state = told(algorithm, SIZES * searches, LOSSES * searches)
    children = algorithm.ask(state, stream(searches).at(1))
    by_hand = ga.State(state.genomes, torch.tensor([[10.0, 1.0, 4.8]] * searches), state.scores, state.told)
    assert torch.equal(children, inner.ask(by_hand, stream(searches).at(1)))
    before = replace(by_hand, fitness=torch.tensor(LOSSES * searches))
    assert not torch.equal(children, inner.ask(before, stream(searches).at(1)))


def test_survivors_are_chosen_under_the_weight_of_their_generation():
    schedule = ((0, 0.0), (1, 0.0), (2, 1.0), (3, 0.0))
    algorithm = AdaptivePenalty(replace(INNER, elites=1), schedule=schedule)
    bad = {"genomes": torch.tensor([[[8.0], [9.0]]]), "size": [[50.0, 50.0]], "loss": [[50.0, 50.0]]}
    first = answer(algorithm, told(algorithm, SIZES, LOSSES), **bad)
    assert first.genomes.flatten().tolist() == [0, 8, 9]
    assert first.weight.tolist() == [1.0]
    again = {**bad, "genomes": torch.tensor([[[6.0], [7.0]]]), "size": [[11.0, 0.0]], "loss": [[0.0, 9.0]]}
    second = answer(algorithm, first, **again)  # under 1.0: parents 10, 100, 100
    assert second.genomes.flatten().tolist() == [0, 6, 7] and second.weight.tolist() == [0.0]
    third = answer(algorithm, replace(second, weight=torch.tensor([1.0]), fitness=second.loss + second.size), **bad)
    assert third.genomes.flatten().tolist() == [7, 8, 9]  # under 1.0: 10, 11, 9


@pytest.mark.parametrize("survival", ["survival.elitist", "survival.truncation"])
def test_what_is_known_of_a_member_stays_with_it(survival):
    inner = replace(INNER, survival=survival, elites=2 if survival == "survival.elitist" else 0)
    algorithm = AdaptivePenalty(inner, start=0.5, factor=1.5)
    population = 9
    state = algorithm.init(pictures(2, population, (4,)))
    kept = 0
    for generation in range(6):
        rng = stream(2).at(generation)
        n = algorithm.ask(state, rng).shape[1]
        genomes = rng["genomes"].uniform(n, 4)
        size, loss = (genomes[..., 0] * 100).long().double(), genomes[..., 1].double()
        success = genomes[..., 2] > 0.5
        before = state.genomes
        state = answer(algorithm, state, genomes, size, loss, success)
        kept += int((state.genomes[:, :, None] == before[:, None]).all(-1).any(2).sum()) if generation else 0
        genes = state.genomes
        assert torch.equal(state.size, (genes[..., 0] * 100).long().double())
        assert torch.equal(state.loss, genes[..., 1].double())
        assert torch.equal(state.scores[..., 0], genes[..., 1])
        assert torch.equal(state.success, genes[..., 2] > 0.5)
        assert torch.equal(state.fitness, state.loss + state.weight[:, None] * state.size)
        assert state.told.tolist() == [generation + 1] * 2
    assert kept >= 5 * 2 * 2, "hardly anybody survived: nothing was seen"


def test_the_initial_population_is_asked_first_as_it_is():
    genomes = pictures(2, 5)
    algorithm = AdaptivePenalty()
    state = algorithm.init(genomes)
    assert algorithm.ask(state, stream(2)) is genomes
    assert state.weight.tolist() == [0.01, 0.01] and state.told.tolist() == [0, 0]
    assert bool(state.fitness.isnan().all())
    with pytest.raises(SpecError, match="expected fewer elites than members"):
        algorithm.init(genomes[:, :1])


def test_who_has_failed_is_no_elite_and_no_best():
    algorithm = AdaptivePenalty(replace(INNER, elites=2))
    state = told(algorithm, [[NAN, 0.0, 7.0, 1.0]], [[0.0, NAN, 3.0, 2.0]])
    assert state.fitness.isnan().tolist() == [[True, True, False, False]]
    assert best(state).tolist() == [3]
    after = answer(algorithm, state, torch.tensor([[[8.0], [9.0]]]), [[NAN, NAN]], [[NAN, NAN]])
    assert after.genomes.flatten().tolist() == [3, 2, 8, 9]


def test_the_best_by_hand():
    algorithm = AdaptivePenalty(INNER)
    sizes = [[5.0, 3.0, 3.0, 1.0]] * 3
    losses = [[0.1, 0.4, 0.3, 0.2], [0.1, 0.4, 0.3, 0.2], [0.1, 0.1, 0.1, 0.2]]
    success = [[True, True, True, False], [False] * 4, [False] * 4]
    # The smallest of those that succeed, of equals the one of less loss; else the least loss, of equals the smallest
    # and then the first.
    assert best(told(algorithm, sizes, losses, success)).tolist() == [2, 0, 1]


# Fitness of one objective, and of too many


def test_three_objectives_are_refused():
    algorithm = AdaptivePenalty()
    state = algorithm.init(torch.zeros(1, 2, 3))
    status = torch.zeros(1, 2, dtype=torch.int8)
    evaluated = Evaluated(state.genomes, state.genomes, None, torch.zeros(1, 2, 1), status, status)
    with pytest.raises(SpecError, match=r"fitness of 3 objectives: .* takes two, \(size, loss\)"):
        algorithm.tell(state, evaluated, torch.zeros(1, 2, 3), status.bool())


# Drawings

SIDE = 6
GAIN = 2 * stream(seed=4)["weight"].uniform(1, SIDE, SIDE) - 0.8  # of the first class, by ink in a pixel
CLASSIFIER = Linear(torch.cat([-GAIN, torch.zeros_like(GAIN)]), torch.tensor([float(GAIN.sum()) - 3, 0.0]))
SEARCH = GeneticAlgorithm(
    crossover="crossover.rectangle", mutation="mutation.redraw", p_crossover=0.8, p_mutation=1.0, elites=1
)
BOTH = op("objectives.ink_and_cross_entropy")


def drawn(
    algorithm: Algorithm,
    generations: int,
    *,
    objective: Objective = BOTH,
    rows: tuple[int, ...] = (0, 1, 2),
    classifier=CLASSIFIER,
    progress: Progress | None = None,
) -> Progress:
    rng = stream(max(rows) + 1).rows(list(rows))
    encoding = Ink(size=(SIDE, SIDE))
    return run(
        Problem(encoding.sample(None, 20, rng), rng, labels=torch.zeros(len(rows), dtype=torch.int64)),
        algorithm=algorithm,
        encoding=encoding,
        objective=objective,
        criterion=op("criteria.confident", probability=0.9),
        ledger=Ledger(classifier, searches=len(rows)),
        generations=generations,
        progress=progress,
    )


@pytest.mark.parametrize("weight", [0.0, 0.05])
def test_with_a_weight_that_stays_it_is_the_genetic_algorithm_on_loss_and_ink(weight):
    penalty = drawn(AdaptivePenalty(SEARCH, schedule=((0, weight),)), 15).state
    plain = drawn(SEARCH, 15, objective=op("objectives.cross_entropy", weight=weight)).state
    assert torch.equal(penalty.genomes, plain.genomes)
    assert torch.equal(penalty.fitness, plain.fitness) and torch.equal(penalty.scores, plain.scores)
    other = drawn(SEARCH, 15, objective=op("objectives.cross_entropy", weight=0.2)).state
    assert not torch.equal(penalty.genomes, other.genomes)


def test_one_objective_is_a_loss_without_size():
    entropy = op("objectives.cross_entropy")
    penalty = drawn(AdaptivePenalty(SEARCH, start=5.0), 15, objective=entropy).state
    plain = drawn(SEARCH, 15, objective=entropy).state
    assert torch.equal(penalty.genomes, plain.genomes) and torch.equal(penalty.fitness, plain.fitness)
    assert not bool(penalty.size.any())


def test_without_a_weight_there_is_much_ink_and_under_a_huge_one_hardly_any():
    free = drawn(AdaptivePenalty(SEARCH, schedule=((0, 0.0),)), 60).state
    huge = drawn(AdaptivePenalty(SEARCH, schedule=((0, 1e6),)), 60).state
    ink = {name: objectives.ink(state.genomes) for name, state in (("free", free), ("huge", huge))}
    assert torch.equal(ink["free"], free.size)
    assert bool((ink["free"].amin(1) >= 10).all())
    assert bool((ink["huge"].mean(1) < 2).all()) and bool((ink["huge"].amin(1) == 0).all())
    assert bool(free.success.any(1).all()) and not bool(huge.success.any())


def least_ink() -> int:
    """The fewest pixels that convince a linear classifier: those that gain most."""
    logits = GAIN.flatten().double().sort(descending=True).values.cumsum(0) - 3
    return int((logits.sigmoid() < 0.9).sum()) + 1


def test_a_weight_that_adapts_finds_success_with_the_least_ink():
    """It settles where success comes and goes, and the smallest drawing of all it has seen is the smallest there is."""
    algorithm = AdaptivePenalty(SEARCH, start=0.01, factor=1.2)
    free = drawn(AdaptivePenalty(SEARCH, schedule=((0, 0.0),)), 120).state
    fewest, weights = torch.full((3,), torch.inf).double(), []
    progress: Progress | None = None
    for generation in range(120):
        progress = drawn(algorithm, generation, progress=progress)
        state = progress.state
        seen = torch.where(state.success, state.size, torch.inf).amin(1)
        chosen = best(state)[:, None]
        assert torch.equal(state.size.gather(1, chosen)[:, 0][seen < torch.inf], seen[seen < torch.inf])
        fewest = torch.minimum(fewest, seen)
        weights.append(state.weight)
    assert 3 < least_ink() < int(free.size.gather(1, best(free)[:, None]).min())
    assert fewest.tolist() == [least_ink()] * 3
    late = torch.stack(weights[60:])
    steps = late[1:] > late[:-1]
    assert bool(steps.any(0).all()) and not bool(steps.all(0).any())


def test_a_search_alone_is_the_search_in_a_batch_and_one_that_goes_on_never_stopped():
    algorithm = AdaptivePenalty(SEARCH, start=0.1, factor=1.3)
    end = drawn(algorithm, 25).state
    assert len(end.weight.unique()) > 1, "all searches have one weight: nothing to tell apart"
    half = drawn(algorithm, 11)
    resumed = drawn(algorithm, 25, progress=half).state
    for name, tensor in vars(end).items():
        assert torch.equal(getattr(resumed, name), tensor), name
    for row in range(3):
        for name, tensor in vars(drawn(algorithm, 25, rows=(row,)).state).items():
            assert torch.equal(tensor[0], getattr(end, name)[row]), name


def test_drawings_without_an_answer_do_not_multiply():
    silent = Silent(CLASSIFIER, lambda images: images[:, 0, 0].amin(-1) < 0.5)  # ink in the first row
    begun = drawn(AdaptivePenalty(SEARCH), 0, classifier=silent).state
    assert bool(begun.fitness.isnan().any()) and torch.equal(begun.size.isnan(), begun.fitness.isnan())
    end = drawn(AdaptivePenalty(SEARCH), 30, classifier=silent).state
    assert not bool(end.fitness[:, 0].isnan().any())
    assert not bool(end.genomes[torch.arange(3), best(end), 0].any())
    assert not bool((end.success & end.fitness.isnan()).any())


# Its configuration


def test_its_configuration_goes_through_json():
    for algorithm in (AdaptivePenalty(), AdaptivePenalty(SEARCH, schedule=((0, 0.0), (100, 0.01)), low=0.001)):
        text = json.dumps(spec.to_json(algorithm))
        assert spec.from_json(AdaptivePenalty, json.loads(text)) == algorithm
    assert AdaptivePenalty() == AdaptivePenalty(AdaptivePenalty().algorithm)
    with pytest.raises(SpecError, match="did you mean 'p_crossover'"):
        spec.from_json(AdaptivePenalty, {"algorithm": {"p_crossove": 0.5}})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"factor": 1.0}, "factor = 1.0: input should be greater than 1"),
        ({"low": 0.0}, "low = 0.0: input should be greater than 0"),
        ({"start": NAN}, "start = nan: input should be less than inf"),
        ({"high": float("inf")}, "high = inf: input should be less than inf"),
        ({"start": 2.0, "high": 1.0}, "start = 2.0: expected a weight from low = 1e-06 to high = 1.0"),
        ({"low": 1.0, "high": 0.5}, "start = 0.01: expected a weight from low = 1.0 to high = 0.5"),
        ({"schedule": ((0, -0.5),)}, "schedule = .*greater than or equal to 0"),
        ({"schedule": ((-1, 0.5),)}, "schedule = .*greater than or equal to 0"),
        ({"schedule": ((0.5, 0.5),)}, "schedule = .*valid integer"),
        ({"schedule": ((5, 0.5), (5, 0.6))}, "schedule: generation 5 follows 5; expected generations in order"),
        ({"schedule": ((5, 0.5), (2, 0.6))}, "schedule: generation 2 follows 5; expected generations in order"),
        ({"algorithm": 3}, "algorithm = 3: "),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(SpecError, match=words):
        AdaptivePenalty(**settings)
