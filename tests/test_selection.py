"""Selection: by hand on three members, by formula in a chi-square test, and never a member whose evaluation failed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evofool.operators import selection
from evofool.spec import op
from evofool.testing import contracts
from fakes import Planted, many, stream

NAN = float("nan")
PRESSURE = [
    op("selection.fitness_proportionate"),
    op("selection.fitness_proportionate", baseline="worst"),
    op("selection.tournament", size=3),
    op("selection.linear_ranking"),
    op("selection.linear_ranking", pressure=1.5),
]
BY_CHANCE = [
    *PRESSURE,
    op("selection.tournament", size=1),
    op("selection.linear_ranking", pressure=1.0),
    op("selection.random"),
]


def table(fitness: list[float], searches: int = 1) -> torch.Tensor:
    """The same fitness in each search."""
    return torch.tensor([fitness], dtype=torch.float64).expand(searches, -1)


def drawn(select, fitness: list[float], *, searches: int = 300, n: int = 100) -> np.ndarray:
    """How often each member is drawn, over many searches."""
    chosen = select(table(fitness, searches), n, rng=many(searches))
    return np.bincount(chosen.flatten().numpy(), minlength=len(fitness))


def follows(counts: np.ndarray, expected: np.ndarray) -> bool:
    """Whether counts follow expected shares; what is expected never must never occur."""
    share = np.asarray(expected, dtype=float)
    assert np.isclose(share.sum(), 1) and (counts[share == 0] == 0).all()
    held = share > 0
    if held.sum() == 1:
        return True
    return stats.chisquare(counts[held], share[held] * counts.sum()).pvalue > 1e-4


# fitness proportionate


def test_the_wheel_by_hand():
    # Weights 1, 2, 1 of 4: the spins 0 to 1/4 hit the first, to 3/4 the second, the rest the third.
    spins = Planted({"": [[0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2.0**-53]]})
    chosen = selection.fitness_proportionate(table([-1.0, -2.0, -1.0]), 6, rng=spins)
    assert chosen.tolist() == [[0, 0, 1, 1, 2, 2]]


def test_windowing_by_hand():
    # The worst, 5, has weight 0; the others 4 and 1.
    spins = Planted({"": [[0.0, 0.79, 0.81, 1 - 2.0**-53]]})
    chosen = selection.fitness_proportionate(table([1.0, 5.0, 4.0]), 4, rng=spins, baseline="worst")
    assert chosen.tolist() == [[0, 0, 2, 2]]


def test_a_number_as_baseline_by_hand():
    # 10 - fitness = 2, 0, 8.
    spins = Planted({"": [[0.0, 0.19, 0.21, 0.99]]})
    chosen = selection.fitness_proportionate(table([8.0, 10.0, 2.0]), 4, rng=spins, baseline=10)
    assert chosen.tolist() == [[0, 0, 2, 2]]


@pytest.mark.parametrize("spin", [0.0, 1 - 2.0**-53])
@pytest.mark.parametrize("weights", [[0, 0, 1, 0, 0], [0, 3.3, 0], [0, 0, 0.1, 1e-300, 0], [1e-320, 0], [0, 7e300]])
def test_a_weight_of_nothing_is_never_drawn_at_either_end_of_the_wheel(spin, weights):
    chosen = selection.fitness_proportionate(-table(weights), 1, rng=Planted({"": [[spin]]})).item()
    assert weights[chosen] > 0


def test_parents_are_drawn_in_proportion_to_baseline_minus_fitness():
    weights = np.array([0.5, 0.0, 1.0, 3.0, 0.25, 5.25])
    assert follows(drawn(selection.fitness_proportionate, (-weights).tolist()), weights / 10)
    worst = op("selection.fitness_proportionate", baseline="worst")
    assert follows(drawn(worst, [-2.0, 7.0, 3.0, 0.0]), np.array([9, 0, 4, 7]) / 20)
    ten = op("selection.fitness_proportionate", baseline=10)
    assert follows(drawn(ten, [9.0, 10.0, 2.0, 9.0]), np.array([1, 0, 8, 1]) / 10)


def test_the_smallest_differences_are_kept_in_double_precision():
    # In single precision both weights would be 1.
    assert follows(drawn(op("selection.fitness_proportionate", baseline=-1e9), [-1e9 - 1, -1e9 - 3]), [0.25, 0.75])


@pytest.mark.parametrize("fitness", [[0.5, -1.0, -2.0], [-1.0, 1e-12, NAN]])
def test_a_negative_weight_is_an_error_that_names_the_option(fitness):
    with pytest.raises(ValueError, match="baseline='worst'") as caught:
        selection.fitness_proportionate(table(fitness), 2, rng=stream())
    assert "is negative" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="is negative"):  # one search of several is enough
        selection.fitness_proportionate(torch.cat([table([-1.0] * 3), table(fitness)]), 2, rng=stream(2))


def test_where_all_weights_are_nothing_the_draw_is_uniform_over_those_with_an_answer():
    assert follows(drawn(selection.fitness_proportionate, [0.0] * 5), [0.2] * 5)
    assert follows(drawn(selection.fitness_proportionate, [0.0, NAN, -0.0, 0.0, NAN]), np.array([1, 0, 1, 1, 0]) / 3)
    worst = op("selection.fitness_proportionate", baseline="worst")
    assert follows(drawn(worst, [3.0, 3.0, NAN, 3.0]), np.array([1, 1, 0, 1]) / 3)


# tournament


def test_tournaments_by_hand():
    # Three tournaments of two: the lower loss wins; of equals the first drawn.
    fitness = table([3.0, 1.0, 1.0])
    for candidates, winners in (
        ([[0, 1], [0, 0], [0, 2]], [1, 0, 2]),
        ([[1, 2], [2, 1], [2, 2]], [1, 2, 2]),
    ):
        chosen = selection.tournament(fitness, 3, rng=Planted({"candidates": [candidates]}), size=2)
        assert chosen.tolist() == [winners]


def test_a_failed_member_does_not_enter_a_tournament():
    # Only the members 0 and 2 have an answer: candidates 0 and 1 are these.
    rng = Planted({"candidates": [[[0, 1], [1, 1], [0, 0]]]})
    assert selection.tournament(table([3.0, NAN, 1.0]), 3, rng=rng, size=2).tolist() == [[2, 2, 0]]


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_winners_follow_the_formula_for_tournaments_with_replacement(size):
    population = 8
    rank = np.arange(1, population + 1)
    expected = (1 - (rank - 1) / population) ** size - (1 - rank / population) ** size
    order = np.array([3, 0, 7, 5, 1, 6, 2, 4])  # the member of each rank
    fitness = np.empty(population)
    fitness[order] = rank
    counts = drawn(op("selection.tournament", size=size), fitness.tolist())
    assert follows(counts[order], expected)


@pytest.mark.parametrize("size", [0, -1, 4])
def test_a_tournament_larger_than_the_population_is_refused(size):
    with pytest.raises(ValueError, match=f"tournament size {size} with a population of 3: expected 1 to 3"):
        selection.tournament(table([1.0, 2.0, 3.0]), 2, rng=stream(), size=size)


# linear ranking


def shares(ranks: list[float], pressure: float) -> np.ndarray:
    """Eiben & Smith's formula: ranks 0 (worst) to mu - 1 (best)."""
    mu, rank = len(ranks), np.array(ranks)
    return (2 - pressure) / mu + 2 * rank * (pressure - 1) / (mu * (mu - 1))


@pytest.mark.parametrize("pressure", [1.0, 1.3, 2.0])
def test_parents_are_drawn_by_rank(pressure):
    select = op("selection.linear_ranking", pressure=pressure)
    assert follows(drawn(select, [5.0, -1.0, 100.0, 2.0, 2.5]), shares([1, 4, 0, 3, 2], pressure))
    assert follows(drawn(select, [2.0, 1.0]), shares([0, 1], pressure))


@pytest.mark.parametrize("pressure", [1.0, 1.3, 2.0])
def test_equal_members_share_the_mean_of_their_ranks(pressure):
    select = op("selection.linear_ranking", pressure=pressure)
    assert follows(drawn(select, [1.0, 3.0, 1.0, 1.0, 9.0]), shares([3, 1, 3, 3, 0], pressure))
    assert follows(drawn(select, [4.0] * 6), [1 / 6] * 6)


def test_ranks_count_only_members_with_an_answer():
    counts = drawn(op("selection.linear_ranking", pressure=1.6), [NAN, 3.0, NAN, 2.0, 1.0])
    assert follows(counts[[1, 3, 4]], shares([0, 1, 2], 1.6)) and counts[[0, 2]].tolist() == [0, 0]
    infinite = drawn(op("selection.linear_ranking", pressure=1.6), [NAN, float("inf"), NAN, 2.0, 1.0])
    assert infinite.tolist() == counts.tolist()  # an infinite loss is the worst answer, not a failure


def test_the_ranking_wheel_by_hand():
    # With pressure 2 three members have weights 2, 1, 0 from the best to the worst.
    rng = Planted({"": [[0.0, 0.332, 0.334, 1 - 2.0**-53]]})
    assert selection.linear_ranking(table([0.0, 9.0, -5.0]), 4, rng=rng).tolist() == [[0, 0, 2, 2]]


@pytest.mark.parametrize("pressure", [0.99, 2.01, -1.0, NAN])
def test_a_pressure_out_of_range_is_refused(pressure):
    with pytest.raises(ValueError, match=r"expected 1 \(no pressure\) to 2"):
        selection.linear_ranking(table([1.0, 2.0]), 2, rng=stream(), pressure=pressure)


# without pressure


def test_random_draws_everybody_alike_but_who_failed():
    assert follows(drawn(selection.random, [5.0, -1.0, 100.0, 2.0]), [0.25] * 4)
    assert follows(drawn(selection.random, [5.0, NAN, 100.0, 2.0]), np.array([1, 0, 1, 1]) / 3)


def test_random_does_not_look_at_fitness():
    one, other = table([1.0, 2.0, 3.0]), table([9.0, -4.0, 3.0])
    assert torch.equal(selection.random(one, 50, rng=stream()), selection.random(other, 50, rng=stream()))


@pytest.mark.parametrize("n", [1, 4, 5, 10, 12])
def test_shuffled_deals_nobody_twice_before_everybody_once(n):
    dealt = selection.shuffled(table([1.0, NAN, 3.0, 4.0, 5.0], 30), n, rng=many(30))
    assert dealt.shape == (30, n)
    for first in range(0, n, 5):
        hand = dealt[:, first : first + 5]
        assert all(len(set(row)) == hand.shape[1] for row in hand.tolist())
    counts = np.bincount(selection.shuffled(table([0.0] * 5, 3000), 2, rng=many(3000)).flatten(), minlength=5)
    assert follows(counts, [0.2] * 5)


def test_each_round_of_a_shuffled_list_has_an_order_of_its_own():
    dealt = selection.shuffled(table([0.0] * 20), 40, rng=stream())[0]
    assert dealt[:20].tolist() != dealt[20:].tolist()


def test_every_leaves_each_in_its_place():
    assert selection.every(table([3.0, NAN, 1.0], 2), 3, rng=None).tolist() == [[0, 1, 2]] * 2
    assert selection.every(table([3.0, NAN, 1.0]), 2, rng=None).tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="4 parents from 3 members"):
        selection.every(table([1.0, 2.0, 3.0]), 4, rng=None)


# laws of all of them


@pytest.mark.parametrize("select", BY_CHANCE, ids=repr)
def test_a_failed_member_is_never_selected(select):
    for fitness in ([NAN, -1.0, -2.0, NAN, -3.0], [-1.0, -1.0, -1.0, NAN, -1.0], [0.0, 0.0, 0.0, 0.0, NAN]):
        counts = drawn(select, fitness)
        assert counts[np.isnan(fitness)].tolist() == [0] * int(np.isnan(fitness).sum())
    lone = drawn(select, [NAN, NAN, NAN, -1.0])
    assert lone[:3].tolist() == [0, 0, 0]


@pytest.mark.parametrize("select", BY_CHANCE, ids=repr)
@pytest.mark.parametrize("fitness", [[NAN] * 4, [-1.5] * 4, [0.0] * 4], ids=["all failed", "all equal", "all zero"])
def test_where_nothing_tells_members_apart_the_draw_is_uniform(select, fitness):
    assert follows(drawn(select, fitness), [0.25] * 4)


@pytest.mark.parametrize("select", BY_CHANCE, ids=repr)
def test_only_the_value_of_a_member_matters_and_not_its_place(select):
    fitness = np.array([-0.5, -3.0, -1.0, -1.0, -2.0, 0.0])
    order = np.array([4, 2, 5, 0, 3, 1])
    one = drawn(select, fitness.tolist())
    other = np.empty(6, dtype=int)
    other[order] = drawn(select, fitness[order].tolist())
    seen = one + other > 0
    assert stats.chi2_contingency(np.stack([one, other])[:, seen]).pvalue > 1e-4


@pytest.mark.parametrize("select", [*BY_CHANCE, op("selection.shuffled"), op("selection.every")], ids=repr)
def test_the_laws_hold_with_every_parameter(select):
    contracts.check_selection(select)


def test_each_search_is_selected_from_by_its_own_fitness():
    """Also where the worst, the ranks and the failures of its neighbour are others."""
    fitness = torch.tensor([[-1.0, -2.0, -3.0, -4.0], [-40.0, NAN, -70.0, -70.0], [NAN, NAN, -900.0, -800.0]])
    for select in BY_CHANCE:
        together = select(fitness, 200, rng=stream(3))
        for row in range(3):
            assert torch.equal(select(fitness[row : row + 1], 200, rng=stream(3).rows([row]))[0], together[row])


@pytest.mark.parametrize("select", PRESSURE, ids=repr)
def test_pressure_favours_the_better(select):
    counts = drawn(select, [-1.0, -2.0, -4.0, -8.0])
    assert counts[0] < counts[1] < counts[2] < counts[3]


@pytest.mark.parametrize("select", [*BY_CHANCE, op("selection.shuffled"), op("selection.every")], ids=repr)
def test_a_population_of_one_has_one_parent(select):
    if dict(select.keywords).get("size", 1) > 1:
        with pytest.raises(ValueError, match="population of 1"):
            select(table([-1.0]), 1, rng=stream())
        return
    for fitness in ([-1.0], [0.0], [NAN]):
        assert select(table(fitness), 1, rng=stream()).tolist() == [[0]]


@given(
    fitness=st.lists(st.floats(-1e6, 0), min_size=3, max_size=12),
    failed=st.sets(st.integers(0, 11)),
    n=st.integers(1, 20),
)
def test_whatever_the_fitness_parents_are_members_with_an_answer(fitness, failed, n):
    losses = torch.tensor([fitness, fitness[::-1]], dtype=torch.float64)
    losses[0, [k for k in failed if k < len(fitness)]] = torch.nan
    for select in BY_CHANCE:
        chosen = select(losses, n, rng=stream(2))
        assert chosen.shape == (2, n) and chosen.dtype == torch.int64
        assert int(chosen.min()) >= 0 and int(chosen.max()) < len(fitness)
        answered = ~losses.isnan()
        assert bool((answered.gather(1, chosen) | ~answered.any(1, keepdim=True)).all())
