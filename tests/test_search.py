"""The loop: what is asked is counted and told, a budget ends one search alone, and a stop costs nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evofool import criteria, objectives
from evofool.algorithms.ga import GeneticAlgorithm
from evofool.classifiers.fake import Constant, Counting, Failing, Silent
from evofool.contracts import Status
from evofool.encodings.pixels import Pixels
from evofool.errors import SpecError, TargetError
from evofool.genome import Labelled
from evofool.ledger import Ledger
from evofool.search import Problem, Progress, run, start
from evofool.spec import op
from fakes import linear, pictures, stream

POPULATION = 10
LABELS = torch.tensor([0, 1, 2, 0])
GA = GeneticAlgorithm(selection=op("selection.tournament", size=3), elites=1)
PLAIN = dataclasses.replace(GA, elites=0)


def problem(rows=(0, 1, 2), population: int = POPULATION) -> Problem:
    rows = list(rows)
    genomes = pictures(4, population)[rows]
    return Problem(genomes, stream(4).rows(rows), labels=LABELS[rows])


def go(given: Problem, generations: int, classifier=None, *, algorithm=GA, ledger=None, **settings) -> Progress:
    """Run with everything that the tests do not vary."""
    settings = {"objective": op("objectives.true_class_probability"), "criterion": criteria.misclassified, **settings}
    ledger = ledger or Ledger(classifier or linear(), searches=len(given.rng))
    return run(given, algorithm=algorithm, encoding=Pixels(), ledger=ledger, generations=generations, **settings)


def asked(ledger: Ledger) -> list[int]:
    """What each search asked, whether it was sent or, as a repeat, answered from the cache."""
    return (ledger.counts.issued + ledger.counts.repeated).tolist()


def digest(progress: Progress) -> str:
    """All that a run came to, in one number."""
    parts = (progress.state.genomes, progress.state.fitness, progress.state.scores, progress.success)
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()


def assert_same(a: Progress, b: Progress) -> None:
    assert (a.generation, a.running.tolist(), a.success.tolist()) == (
        b.generation,
        b.running.tolist(),
        b.success.tolist(),
    )
    assert digest(a) == digest(b)


# What is asked


@pytest.mark.parametrize("wrong", ["ledger", "labels", "x", "streams"])
def test_parts_for_different_numbers_of_searches_are_refused(wrong):
    given, ledger = problem(), Ledger(linear(), searches=2 if wrong == "ledger" else 3)
    changes = {"ledger": {}, "labels": {"labels": LABELS[[0, 1]]}, "x": {"x": pictures(4, 1)[:2, 0]}}
    changes["streams"] = {"rng": stream(4).rows([0, 1])}
    with pytest.raises(SpecError, match=r"searches side by side: .*expected one number of all"):
        go(dataclasses.replace(given, **changes[wrong]), 1, ledger=ledger)
    assert ledger.counts.issued.sum() == 0


def test_zero_generations_evaluate_the_initial_population_alone():
    given, ledger = problem(), Ledger(linear(), searches=3)
    end = go(given, 0, ledger=ledger)
    assert ledger.counts.issued.tolist() == [POPULATION] * 3
    assert end.generation == 0 and end.running.all() and torch.equal(end.state.genomes, given.genomes)
    images = (given.genomes * 255).round() / 255
    scores = torch.stack([linear()(image) for image in images])
    assert torch.equal(end.state.scores, scores)
    assert torch.equal(
        end.state.fitness, scores.double().softmax(-1).gather(2, given.labels[:, None, None].expand(3, 10, 1))[..., 0]
    )
    wrong = scores.argmax(-1) != given.labels[:, None]
    assert torch.equal(end.success, wrong.any(1))


@pytest.mark.parametrize("elites", [0, 1, 4])
def test_elites_are_not_asked_again(elites):
    classifier = Counting(linear(micro_batch=5))
    ledger = Ledger(classifier, searches=2)
    algorithm = dataclasses.replace(GA, elites=elites)
    go(problem((0, 1)), 3, ledger=ledger, algorithm=algorithm)
    assert asked(ledger) == [POPULATION + 3 * (POPULATION - elites)] * 2
    assert classifier.rows == int(ledger.counts.issued.sum()) + ledger.counts.padded


def test_what_is_sent_lies_on_the_lattice_and_genes_do_not():
    seen = []
    end = go(problem(), 4, on_generation=lambda progress, evaluated: seen.append(evaluated))
    assert len(seen) == 5
    for evaluated in seen:
        assert torch.equal(evaluated.images, (evaluated.images * 255).round() / 255)
    assert not torch.equal(end.state.genomes, (end.state.genomes * 255).round() / 255)
    assert torch.equal(torch.stack([linear()(images) for images in seen[-1].images]), seen[-1].scores)


def test_images_are_rounded_toward_the_origin_of_their_own_search():
    genomes = torch.full((2, POPULATION, 1, 4, 4), 100.5 / 255)
    origins = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    seen = []
    given = Problem(genomes, stream(2), x=origins, labels=LABELS[:2])
    go(given, 0, on_generation=lambda progress, evaluated: seen.append(evaluated.images * 255))
    assert [images.round().unique().tolist() for images in seen[0]] == [[100.0], [101.0]]


def test_genomes_are_repaired_before_they_are_asked():
    given = problem((0,))
    wild = dataclasses.replace(given, genomes=given.genomes * 3 - 1)
    end = go(wild, 0)
    assert torch.equal(end.state.genomes, wild.genomes.clamp(0, 1))


def test_carried_labels_count_before_those_of_the_search():
    member = torch.arange(POPULATION).expand(2, -1).clone()
    given = Problem(Labelled(pictures(2, POPULATION), member % 3, member), stream(2), labels=torch.tensor([9, 9]))
    seen = []
    end = go(given, 2, algorithm=PLAIN, on_generation=lambda progress, evaluated: seen.append(evaluated))
    assert torch.equal(seen[0].labels, member % 3)
    assert torch.equal(seen[-1].labels, end.state.genomes.label)
    share = objectives.true_class_probability(seen[-1], linear().info)
    assert torch.equal(end.state.fitness, share)


# Independence


@pytest.mark.parametrize("micro_batch", [1, 7, 100])
def test_a_search_alone_is_the_same_search_among_others(micro_batch):
    together = go(problem((0, 1, 2, 3)), 6, linear(micro_batch=micro_batch))
    for row in range(4):
        alone = go(problem((row,)), 6, linear(micro_batch=micro_batch))
        assert torch.equal(alone.state.genomes[0], together.state.genomes[row])
        assert torch.equal(alone.state.fitness[0], together.state.fitness[row])
        assert torch.equal(alone.state.scores[0], together.state.scores[row])
        assert alone.success[0] == together.success[row]


def test_other_seeds_go_other_ways():
    given = problem((0,))
    ways = {digest(go(dataclasses.replace(given, rng=stream(1, seed)), 2)) for seed in range(5)}
    assert len(ways) == 5


def test_a_fresh_interpreter_gives_the_same_numbers():
    program = "import torch; torch.set_num_threads(1)\nimport test_search as t; print(t.digest(t.go(t.problem(), 5)))"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parent)}
    fresh = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert fresh.stdout.strip() == digest(go(problem(), 5))


def test_every_generation_draws_anew():
    """Two genes exchanged twice would be back in their places."""
    algorithm = GeneticAlgorithm(selection=op("selection.every"), mating="self", p_mutation=1.0)
    seen = []
    go(problem(), 2, algorithm=algorithm, on_generation=lambda progress, evaluated: seen.append(evaluated.genomes))
    changed = [(one != other).flatten(2).sum(2) for one, other in itertools.combinations(seen, 2)]
    assert bool((changed[0] == 2).all()) and bool((changed[2] == 2).all())
    assert bool((changed[1] > 2).all(1).any()) or int((changed[1] == 4).sum()) > 20


# Progress


def test_it_starts_before_the_first_question():
    progress = start(problem(), GA)
    assert progress.generation == -1 and progress.running.all() and not progress.success.any()


@pytest.mark.parametrize("stop", [-1, 0, 2, 4])
def test_a_run_that_goes_on_equals_one_that_never_stopped(stop):
    straight = go(problem(), 5)
    ledger = Ledger(linear(), searches=3)
    half = go(problem(), stop, ledger=ledger)
    assert half.generation == stop
    assert_same(go(problem(), 5, ledger=ledger, progress=half), straight)
    assert asked(ledger) == [10 + 5 * 9] * 3
    never_stopped = Ledger(linear(), searches=3)
    go(problem(), 5, ledger=never_stopped)
    assert torch.equal(ledger.counts.issued, never_stopped.counts.issued)


def test_a_run_that_is_done_asks_nothing_more():
    ledger = Ledger(linear(), searches=3)
    end = go(problem(), 2, ledger=ledger)
    assert asked(ledger) == [28] * 3
    assert go(problem(), 2, ledger=ledger, progress=end) is end
    assert asked(ledger) == [28] * 3


def test_each_generation_is_told_of_once():
    seen = []
    go(
        problem(),
        3,
        on_generation=lambda progress, evaluated: seen.append((progress.generation, evaluated.labels.shape)),
    )
    assert seen == [(0, (3, 10)), (1, (3, 9)), (2, (3, 9)), (3, (3, 9))]


def test_selection_lowers_fitness_on_a_linear_classifier():
    best = []
    go(problem(), 12, on_generation=lambda progress, evaluated: best.append(progress.state.fitness.amin(1)))
    assert bool((best[-1] < best[0]).all())
    assert all(bool((later <= before).all()) for before, later in itertools.pairwise(best))  # one elite


class GivesBack(GeneticAlgorithm):
    """Asks about its initial population for ever."""

    def ask(self, state, rng):
        return state.genomes


def test_an_algorithm_that_returns_its_input_gets_nowhere():
    best = []
    idle = GivesBack()
    end = go(
        problem(), 6, algorithm=idle, on_generation=lambda progress, evaluated: best.append(progress.state.fitness)
    )
    assert all(torch.equal(fitness, best[0]) for fitness in best)
    assert torch.equal(end.state.genomes, problem().genomes)


# Success


def test_a_constant_classifier_that_is_right_is_never_fooled():
    given = dataclasses.replace(problem(), labels=torch.tensor([1, 1, 1]))
    end = go(given, 5, Constant([0.0, 1.0, 0.0], (1, 4, 4)), stop_on_success=True)
    assert not end.success.any() and end.running.all() and end.generation == 5
    assert len(end.state.fitness.unique()) == 1


def test_a_search_stops_at_its_first_success_and_the_others_go_on():
    """Label 0 takes a while; the others are misread from the start."""
    seen: dict[int, list[bool]] = {}
    ledger = Ledger(linear(), searches=3)
    end = go(
        problem(),
        40,
        ledger=ledger,
        stop_on_success=True,
        on_generation=lambda progress, evaluated: seen.update({progress.generation: progress.running.tolist()}),
    )
    assert seen[0] == [True, False, False]
    assert end.success.tolist() == [True, True, True] and not end.running.any()
    assert 0 < end.generation < 40  # nobody runs on when all are done
    assert asked(ledger) == [10 + 9 * end.generation, 10, 10]
    at_once = go(problem(), 0)
    assert torch.equal(end.state.genomes[1:], at_once.state.genomes[1:])
    alone = go(problem((0,)), end.generation)
    assert torch.equal(end.state.genomes[0], alone.state.genomes[0])


def test_without_the_wish_to_stop_success_is_noted_and_never_forgotten():
    """A criterion that finds a success in the first member of search 1, in generation 1 alone."""
    seen, round_ = [], itertools.count()

    def once(evaluated, info):
        success = torch.zeros_like(evaluated.labels, dtype=torch.bool)
        success[1, 0] = next(round_) == 1
        return success

    end = go(
        problem(), 4, criterion=once, on_generation=lambda progress, evaluated: seen.append(progress.success.tolist())
    )
    assert seen == [[False] * 3] + [[False, True, False]] * 4
    assert end.running.all() and end.generation == 4


# Budgets


def test_a_search_that_the_budget_does_not_reach_ends_untold_and_the_others_go_on():
    """The total pays for the first round, and in the second for search 0 whole, for search 1 in part."""
    told = []
    ledger = Ledger(linear(), searches=3, total=30 + 9 + 9 + 4, cache=False)
    end = go(
        problem(), 2, ledger=ledger, on_generation=lambda progress, evaluated: told.append(progress.state.told.tolist())
    )
    assert told[:2] == [[1, 1, 1], [2, 2, 1]]
    assert end.running.tolist() == [False, False, False] and end.generation == 2
    assert told == [[1, 1, 1], [2, 2, 1], [2, 2, 1]]
    assert int(ledger.counts.issued.sum()) == 52
    rich = go(problem(), 1)
    assert torch.equal(end.state.genomes[:2], rich.state.genomes[:2])
    assert torch.equal(end.state.genomes[2], problem().genomes[2])


def test_a_search_that_ended_leaves_the_batch_and_changes_nothing_for_the_rest():
    """Search 1 is charged for ten rows before it starts, so its budget ends first."""
    ledger = Ledger(linear(), searches=3, budget=10 + 9 * 3, cache=False)
    ledger.ask(pictures(1, 10)[0], torch.ones(10, dtype=torch.int64))
    sizes = []
    end = go(problem(), 3, ledger=ledger, on_generation=lambda progress, evaluated: sizes.append(len(evaluated.labels)))
    assert sizes == [3, 3, 3, 2]
    assert end.running.tolist() == [True, False, True] and end.state.told.tolist() == [4, 2, 4]
    for row, generations in ((0, 3), (1, 1), (2, 3)):
        alone = go(problem((row,)), generations)
        assert torch.equal(end.state.genomes[row], alone.state.genomes[0])
        assert torch.equal(end.state.fitness[row], alone.state.fitness[0])
    assert ledger.counts.issued.tolist() == [37, 37, 37]


@pytest.mark.parametrize("limit", [{"budget": 1}, {"budget": 9}, {"total": 10}, {"total": 13}, {"total": 25}])
def test_a_budget_below_the_first_population_ends_a_search_with_what_was_answered(limit):
    ledger = Ledger(linear(), searches=3, **limit)
    end = go(problem(), 4, ledger=ledger)
    whole = 0 if "budget" in limit else limit["total"] // 10
    issued = (
        [limit["budget"]] * 3 if "budget" in limit else [10] * whole + [limit["total"] - 10 * whole] + [0] * (2 - whole)
    )
    status = [row < count for count in issued for row in range(POPULATION)]
    if "budget" in limit:
        assert end.generation == 0
        assert (~end.state.fitness.isnan()).flatten().tolist() == status
    assert not end.running.any()
    assert ledger.counts.issued.tolist() == issued
    assert end.state.genomes.shape == (3, POPULATION, 1, 4, 4)


def test_an_answer_counts_as_a_success_even_in_a_round_that_was_not_paid_in_full():
    end = go(dataclasses.replace(problem(), labels=torch.tensor([2, 2, 2])), 4, Constant([1.0, 0.0, 0.0], (1, 4, 4)),
             ledger=Ledger(Constant([1.0, 0.0, 0.0], (1, 4, 4)), searches=3, budget=4))  # fmt: skip
    assert end.success.tolist() == [True] * 3 and not end.running.any()


# Failures


def bright(images: torch.Tensor) -> torch.Tensor:
    return images[:, 0, 0, 0] > 0.6


def test_a_row_without_an_answer_is_counted_and_never_becomes_a_parent():
    member = torch.arange(30).expand(2, -1).clone()
    genomes = Labelled(pictures(2, 30), member % 3, member)
    failed = bright(genomes.genes.flatten(0, 1)).view(2, 30)
    assert bool(failed.any(1).all()) and not bool(failed.all(1).any())
    seen = []
    ledger = Ledger(Silent(linear(), bright), searches=2, cache=False)
    algorithm = dataclasses.replace(PLAIN, p_crossover=0.0)
    end = go(
        Problem(genomes, stream(2)),
        1,
        ledger=ledger,
        algorithm=algorithm,
        on_generation=lambda progress, evaluated: seen.append(evaluated),
    )
    assert torch.equal(seen[0].status == Status.FAILED, failed)
    assert ledger.counts.failed.tolist() == sum((e.status == Status.FAILED).sum(1) for e in seen).tolist()
    assert not bool(failed.gather(1, end.state.genomes.ancestor).any())
    assert torch.equal(end.state.fitness.isnan(), seen[1].status == Status.FAILED)
    assert torch.equal(ledger.counts.issued, torch.tensor([60, 60]))


def test_where_nobody_answers_the_search_goes_on_and_nobody_wins():
    ledger = Ledger(Silent(linear(), lambda images: torch.ones(len(images), dtype=torch.bool)), searches=3)
    end = go(problem(), 3, ledger=ledger, stop_on_success=True)
    assert end.generation == 3 and not end.success.any() and end.running.all()
    assert bool(end.state.fitness.isnan().all())
    assert torch.equal(ledger.counts.failed, ledger.counts.issued)


def test_what_was_not_answered_is_no_success_and_has_no_fitness_whatever_the_parts_say():
    """A careless objective and a careless criterion, and a classifier that does not answer half of the images."""
    end = go(
        problem(),
        0,
        Silent(linear(), lambda images: torch.ones(len(images), dtype=torch.bool)),
        objective=lambda evaluated, info: torch.full(evaluated.labels.shape, -99.0, dtype=torch.float64),
        criterion=lambda evaluated, info: torch.ones_like(evaluated.labels, dtype=torch.bool),
    )
    assert not end.success.any() and bool(end.state.fitness.isnan().all())


def test_a_call_that_fails_is_an_error_of_the_target_and_stays_charged():
    ledger = Ledger(Failing(linear(), calls=[6], fatal=True), searches=3, cache=False)
    with pytest.raises(TargetError, match=r"failing linear failed to answer \(batch 1\): call 6"):
        go(problem(), 3, ledger=ledger)
    assert ledger.counts.issued.tolist() == [17, 10, 10]  # 7 rows of the first search were sent, then nothing more
