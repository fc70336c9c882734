"""Operators on ink: masks by hand, what each may change and what not, how it is spread, and which are neutral."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evofool import genome
from evofool.operators import crossover, lists, mutation
from evofool.regions import steps_to_border
from evofool.spec import op, operator_names
from fakes import Planted, many, stream

NEUTRAL = ["rectangle", "columns", "rows", "list_exchange", "uniform", "single_point"]
ON_MASKS = [*NEUTRAL, "union", "intersection"]
CHANGES = ["add_ink", "add_pixel", "remove_pixel", "move_pixel", "redraw", "swap", "inversion"]
SHAPES = [(7,), (1, 9), (9, 1), (4, 5), (3, 2, 4), (9, 15)]


class Coins(Planted):
    """Planted draws with fair coins among them, for one search."""

    def __getitem__(self, name: str) -> Coins:
        return Coins(self.draws, f"{self.name}/{name}" if self.name else name)

    def __len__(self) -> int:
        return 1

    def bits(self, *shape: int) -> torch.Tensor:
        return self.integers(2, *shape).bool()


def ink(*pictures: str) -> torch.Tensor:
    """Masks of one search, a member for each picture: # is ink, a slash ends a row."""
    return torch.tensor([[[[mark == "#" for mark in row] for row in picture.split("/")] for picture in pictures]])


def seen(masks: torch.Tensor) -> list[str]:
    """The pictures of the first search."""
    return ["/".join("".join("#" if gene else "." for gene in row) for row in picture) for picture in masks[0].tolist()]


def line(length: int, *members: set[int]) -> torch.Tensor:
    """Masks of one search and one axis with ink at these places."""
    return torch.tensor([[[place in member for place in range(length)] for member in members]])


def places(masks: torch.Tensor) -> list[set[int]]:
    return [set(np.flatnonzero(member)) for member in masks[0].flatten(1).numpy()]


def scattered(rng, n: int, shape: tuple[int, ...], share: float = 0.3) -> torch.Tensor:
    """Random masks, among the first of which are an empty and a full one, one of one pixel and one with one blank."""
    masks = rng["scattered"].uniform(n, *shape) < share
    flat = masks.view(len(rng), n, -1)
    flat[:, 0], flat[:, 1], flat[:, 2], flat[:, 3] = False, True, False, True
    flat[:, 2, -1], flat[:, 3, 0] = True, False
    return masks


A, B = "##../##../..##/..##", "####/..../####/...."
FULL, EMPTY = "####/####/####/####", "..../..../..../...."


# Crossover, by hand


def test_rectangle_by_hand():
    # Rows 1 to 2 and columns 0 to 2; the same ends drawn the other way round; one row and one column; everything.
    rng = Planted({"rows": [[[1, 2], [2, 1], [3, 3], [0, 3]]], "columns": [[[0, 2], [2, 0], [1, 1], [3, 0]]]})
    a, b = ink(*[FULL] * 4), ink(*[EMPTY] * 4)
    hole, pixel = "####/...#/...#/####", "####/####/####/#.##"
    assert seen(genome.cross(a, b, crossover.rectangle(a, b, rng=rng))) == [hole, hole, pixel, EMPTY]
    a, b = ink(*[A] * 4), ink(*[B] * 4)
    assert seen(genome.cross(a, b, crossover.rectangle(a, b, rng=rng)))[0] == "##../..../####/..##"


def test_columns_and_rows_by_hand():
    a, b = ink(A), ink(B)
    assert seen(genome.cross(a, b, crossover.columns(a, b, rng=Planted({})))) == ["##.#/#.../.###/..#."]
    assert seen(genome.cross(a, b, crossover.rows(a, b, rng=Planted({})))) == ["##../..../..##/...."]
    assert seen(genome.cross(b, a, crossover.columns(b, a, rng=Planted({})))) == ["###./.#../#.##/...#"]
    assert seen(genome.cross(b, a, crossover.rows(b, a, rng=Planted({})))) == ["####/##../####/..##"]


def test_union_and_intersection_by_hand():
    a, b = ink(A, FULL, EMPTY, EMPTY), ink(B, EMPTY, B, EMPTY)
    assert seen(genome.cross(a, b, crossover.union(a, b, rng=Planted({})))) == ["####/##../####/..##", FULL, B, EMPTY]
    both = seen(genome.cross(a, b, crossover.intersection(a, b, rng=Planted({}))))
    assert both == ["##../..../..##/....", EMPTY, EMPTY, EMPTY]


def test_uniform_by_hand():
    tossed = [[[1, 1, 0, 0] + [0] * 8 + [1, 0, 0, 1]]]
    a, b = ink(A), ink(B)
    child = genome.cross(a, b, crossover.uniform(a, b, rng=Coins({"from a": tossed})))
    assert seen(child) == ["####/..../####/...#"]


def test_single_point_by_hand():
    a, b = ink(A, A), ink(B, B)
    child = genome.cross(a, b, crossover.single_point(a, b, rng=Planted({"cut": [[5, 11]]})))  # after 6 genes and 12
    assert seen(child) == ["##../##../####/....", "##../##../..##/...."]


def test_list_exchange_by_hand():
    a = line(6, *[{0, 2, 4}] * 4)
    b = line(6, *[{1, 5}] * 4)
    rng = Planted(
        {"length": [[0, 0.5, 0.99, 0.49]], "start in a": [[0.4, 0.7, 0, 0.99]], "start in b": [[0.5, 0, 0.5, 0]]}
    )
    # 2 for 5; 4 and, behind the last, 0 for 1 and 5; 0 and 2 for 5 and 1; 4 for 1.
    assert places(genome.cross(a, b, crossover.list_exchange(a, b, rng=rng))) == [
        {0, 4, 5},
        {1, 2, 5},
        {1, 4, 5},
        {0, 1, 2},
    ]


def test_ink_of_both_parents_stays_in_a_list_exchange():
    a, b = line(6, {1, 2, 3}, {1, 2, 3}, {1, 2}), line(6, {2, 5}, {2, 5}, {1, 2})
    rng = Planted({"length": [[0, 0, 0]], "start in a": [[0.4, 0, 0]], "start in b": [[0.5, 0, 0.5]]})
    weight = crossover.list_exchange(a, b, rng=rng)
    # 2, which b has as well, for 5: more ink. 1 for 2, which a has already: less. Equal parents: no change.
    assert places(genome.cross(a, b, weight)) == [{1, 2, 3, 5}, {2, 3}, {1, 2}]
    assert places(genome.cross(a, b, ~weight)) == [{2}, {1, 2, 5}, {1, 2}]


@pytest.mark.parametrize("empty", [(0,), (1,), (0, 1)])
def test_without_ink_there_is_nothing_to_exchange(empty):
    parents = [line(5, {1, 2}, {0, 4}), line(5, {2, 3}, {1})]
    for parent in empty:
        parents[parent] = torch.zeros_like(parents[parent])
    assert torch.equal(genome.cross(*parents, crossover.list_exchange(*parents, rng=stream())), parents[0])


@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 10_000))
def test_list_exchange_on_masks_is_what_it_is_on_lists(shape, seed):
    rng, n = stream(2, seed), 6
    a, b = scattered(rng["a"], n, shape), scattered(rng["b"], n, shape).flip(1)
    child = genome.cross(a, b, crossover.list_exchange(a, b, rng=rng)).flatten(2)
    drawn = {name: rng[name].uniform(n, dtype=torch.float64) for name in ("length", "start in a", "start in b")}
    for search in range(2):
        for member in range(n):
            one, other = (np.flatnonzero(parent[search, member].flatten()).tolist() for parent in (a, b))
            fewer = min(len(one), len(other))
            length, start, begin = (float(numbers[search, member]) for numbers in drawn.values())
            count = 1 + int(length * fewer) if fewer else 0
            gone = [one[(int(start * len(one)) + k) % len(one)] for k in range(count)]
            come = [other[(int(begin * len(other)) + k) % len(other)] for k in range(count)]
            kept = (set(one) - set(gone)) | (set(one) & set(other))
            assert set(np.flatnonzero(child[search, member])) == kept | set(come)


@pytest.mark.parametrize("name", ON_MASKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_full_and_empty_masks_cross_and_types_do_not_matter(name, shape):
    mix, rng = op(f"crossover.{name}"), stream(2)
    a, b = scattered(rng["a"], 8, shape), scattered(rng["b"], 8, shape)
    weight = mix(a, b, rng=rng)
    assert weight.shape == a.shape and weight.dtype == torch.bool
    numbers = genome.cross(a.float(), b.float(), mix(a.float(), b.float(), rng=rng))
    assert torch.equal(numbers, genome.cross(a, b, weight).float())
    ones, zeros = torch.ones_like(a), torch.zeros_like(a)
    assert bool(genome.cross(ones, ones, mix(ones, ones, rng=rng)).all())
    assert not bool(genome.cross(zeros, zeros, mix(zeros, zeros, rng=rng)).any())


def test_one_row_and_one_column():
    a, b = ink("#####"), ink(".....")
    assert seen(genome.cross(a, b, crossover.columns(a, b, rng=Planted({})))) == ["#.#.#"]
    assert seen(genome.cross(a, b, crossover.rows(a, b, rng=Planted({})))) == ["#####"]  # the first row is a's
    a, b = ink("#/#/#"), ink("././.")
    assert seen(genome.cross(a, b, crossover.columns(a, b, rng=Planted({})))) == ["#/#/#"]
    assert seen(genome.cross(a, b, crossover.rows(a, b, rng=Planted({})))) == ["#/./#"]
    # A genome of one axis is a row for rectangles and columns, and a column for rows.
    a, b = line(5, {0, 1, 2, 3, 4}), line(5, set())
    for mix in (crossover.columns, crossover.rows):
        assert places(genome.cross(a, b, mix(a, b, rng=Planted({})))) == [{0, 2, 4}]
    rng = Planted({"rows": [[[0, 0]]], "columns": [[[3, 1]]]})
    assert places(genome.cross(a, b, crossover.rectangle(a, b, rng=rng))) == [{0, 4}]


@pytest.mark.parametrize("name", ["rectangle", "columns", "rows"])
def test_all_channels_change_together(name):
    a = torch.zeros(3, 20, 2, 6, 5)
    weight = op(f"crossover.{name}")(a, a, rng=stream(3))
    alone = op(f"crossover.{name}")(a[:, :, 0], a[:, :, 0], rng=stream(3))
    assert torch.equal(weight[:, :, 0], weight[:, :, 1]) and torch.equal(weight[:, :, 0], alone)
    assert 0 < weight.float().mean() < 1


# Which crossovers are neutral


def test_every_crossover_is_known_to_be_neutral_or_not():
    assert {*ON_MASKS, "arithmetic"} == set(operator_names("crossover"))


@pytest.mark.parametrize("name", NEUTRAL)
@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 1000))
def test_child_and_sibling_have_the_ink_of_both_parents_place_by_place(name, shape, seed):
    rng = stream(2, seed)
    a, b = scattered(rng["a"], 6, shape), scattered(rng["b"], 6, shape).flip(1)
    weight = op(f"crossover.{name}")(a, b, rng=rng)
    assert torch.equal(genome.cross(a, b, weight).int() + genome.cross(a, b, ~weight).int(), a.int() + b.int())


def gained(name: str, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """By ring, how much denser the ink of 20,000 children is than that of their parents, and that in standard errors.

    Parents have more ink near the border and in the upper rows, and their rows hang together.
    """
    searches, n = 40, 500
    steps = steps_to_border(size, size)
    share = 0.45 - 0.1 * steps + 0.05 * (torch.arange(size)[:, None] < 3)
    parents = []
    for which in ("a", "b"):
        drawn = many(searches)[which]
        together = drawn["row"].uniform(n, size, 1) < 0.5
        parents.append(
            torch.where(together, drawn["same"].uniform(n, size, 1), drawn["own"].uniform(n, size, size)) < share
        )
    a, b = parents
    assert 0.1 < a.float().mean() < 0.5
    child = genome.cross(a, b, op(f"crossover.{name}")(a, b, rng=many(searches)["mating"]))
    surplus = (child.double() - (a.double() + b.double()) / 2).flatten(0, 1)
    rings = torch.stack([surplus[:, steps == ring].mean(1) for ring in range(size // 2)])
    return rings.mean(1), rings.mean(1) / (rings.std(1) / (searches * n) ** 0.5)


@pytest.mark.parametrize("name", NEUTRAL)
def test_a_neutral_crossover_leaves_the_density_of_every_ring(name):
    density, errors = gained(name)
    assert density.abs().max() < 0.01 and errors.abs().max() < 4


@pytest.mark.parametrize(("name", "sign"), [("union", 1), ("intersection", -1)])
def test_union_and_intersection_change_the_density_of_every_ring(name, sign):
    density, errors = gained(name)
    assert bool((sign * density > 0.02).all()) and bool((sign * errors > 20).all())


def test_a_rectangle_covers_the_middle_more_often_and_is_neutral_all_the_same():
    a = torch.zeros(40, 500, 8, 8, dtype=torch.bool)
    from_b = 1 - crossover.rectangle(a, a, rng=many(40)).float().mean((0, 1))
    rings = [from_b[steps_to_border(8, 8) == ring].mean().item() for ring in range(4)]
    assert rings == sorted(rings) and rings[3] > 2 * rings[0]
    # Of 8 rows, row k lies between two draws with probability 1 - ((7 - k)^2 + k^2) / 64.
    covered = 1 - ((7 - torch.arange(8)) ** 2 + torch.arange(8) ** 2) / 64
    assert torch.allclose(from_b, covered[:, None] * covered, atol=0.015)


# Mutation, by hand

TURN = {"what": [[0.0]], "which": [[0.0]], "where": [[0.0]], "way": [[0]]}


def planted(n: int, **draws) -> Planted:
    """What one mutation of n members draws; everything else is 0."""
    return Planted({name: [draws.get(name, zero[0] * n)] for name, zero in TURN.items()})


def test_add_pixel_by_hand():
    x = ink(*["#../.#."] * 4)  # blanks 1, 2, 3 and 5
    added = mutation.add_pixel(x, rng=planted(4, where=[0, 0.25, 0.5, 0.999]))
    assert seen(added) == ["##./.#.", "#.#/.#.", "#../##.", "#../.##"]


def test_remove_pixel_by_hand():
    x = ink(*["#../.##"] * 3)
    assert seen(mutation.remove_pixel(x, rng=planted(3, which=[0, 0.34, 0.9]))) == [".../.##", "#../..#", "#../.#."]


def test_move_pixel_by_hand():
    # The eight ways, row by row, without the one that stays.
    x = ink(*[".../.#./..."] * 8)
    moved = seen(mutation.move_pixel(x, rng=planted(8, way=list(range(8)))))
    marks = ["." * place + "#" + "." * (8 - place) for place in (0, 1, 2, 3, 5, 6, 7, 8)]
    assert moved == [f"{mark[:3]}/{mark[3:6]}/{mark[6:]}" for mark in marks]


def test_a_way_out_of_the_image_is_not_taken_or_ends_at_the_border():
    x = ink(*["..#/..."] * 8)
    ways = planted(8, way=list(range(8)))
    inside = ["..#/..."] * 3 + [".#./...", "..#/...", ".../.#.", ".../..#", "..#/..."]
    assert seen(mutation.move_pixel(x, rng=ways)) == inside
    clamped = [".#./...", "..#/...", "..#/...", ".#./...", "..#/...", ".../.#.", ".../..#", ".../..#"]
    assert seen(mutation.move_pixel(x, rng=ways, border="clamp")) == clamped


def test_a_move_onto_ink_is_none():
    x = ink("##./...", "##./...")
    assert seen(mutation.move_pixel(x, rng=planted(2, which=[0, 0.5], way=[4, 3]))) == seen(x)


def test_ink_on_one_axis_moves_to_and_fro():
    x = line(5, *[{2}] * 4)
    assert places(mutation.move_pixel(x, rng=planted(4, way=[0, 1, 2, 3]), reach=2)) == [{0}, {1}, {3}, {4}]
    row = ink(*["..#.."] * 4)
    assert seen(mutation.move_pixel(row, rng=planted(4, way=[0, 1, 2, 3]), reach=2)) == [
        "#....",
        ".#...",
        "...#.",
        "....#",
    ]


def test_ink_that_moves_stays_in_its_channel_and_keeps_its_amount():
    x = torch.zeros(1, 1, 2, 2, 2)
    x[0, 0, 1, 0, 0] = 0.25
    moved = mutation.move_pixel(x, rng=planted(1, way=[7]))
    assert moved[0, 0].tolist() == [[[0, 0], [0, 0]], [[0, 0], [0, 0.25]]]
    assert mutation.move_pixel(x, rng=planted(1, way=[0]))[0, 0].tolist() == x[0, 0].tolist()


def test_redraw_does_each_in_its_share():
    x = ink(*[".../.#./..."] * 6)
    what = [0, 0.24, 0.25, 0.74, 0.75, 0.99]
    done = seen(mutation.redraw(x, rng=planted(6, what=what), add=0.5, move=1.0, remove=0.5))
    assert done == ["#../.#./..."] * 2 + ["#../.../..."] * 2 + [".../.../..."] * 2


def test_redraw_gives_ink_to_a_member_without():
    x = ink(*["../.."] * 3)
    assert seen(mutation.redraw(x, rng=planted(3, what=[0, 0.5, 0.9]))) == ["#./.."] * 3
    # Where nothing is to be added, there is nothing to do.
    assert seen(mutation.redraw(x, rng=planted(3, what=[0, 0.5, 0.9]), add=0)) == seen(x)


def test_add_ink_by_hand():
    """A gap of g has the numbers from 1 - (1 - rate)^(g - 1) on; 19 are drawn for four genes at a rate of a half."""
    x = ink("..../....", "#.../....")[:, :, :1]
    numbers = [[[0.5, 0.75, 0.99] + [0.0] * 16, [0.0, 0.5, 0.99] + [0.0] * 16]]  # gaps 2, 3 and 7; 1, 2 and 7
    assert seen(mutation.add_ink(x, rng=Coins({"gaps 0": numbers}), rate=0.5)) == [".#..", "#.#."]


def test_add_ink_draws_on_where_the_first_gaps_do_not_reach_the_end():
    """37 gaps are drawn for 100 genes at a rate of a tenth; if all are 1, the next begin behind the 37th gene."""
    numbers = {"gaps 0": [[[0.0] * 37]], "gaps 1": [[[0.15, 0.9999999] + [0.0] * 35]]}  # gaps 2 and 153
    assert places(mutation.add_ink(line(100, set()), rng=Coins(numbers), rate=0.1)) == [{*range(37), 38}]


def test_add_ink_at_the_rates_0_and_1():
    x = scattered(stream(2), 6, (3, 4))
    assert torch.equal(mutation.add_ink(x, rng=stream(2), rate=0), x)
    assert bool(mutation.add_ink(x, rng=stream(2), rate=1).all())
    levels = torch.tensor([[[0.0, 0.5, -1.0]]])
    assert mutation.add_ink(levels, rng=stream(), rate=1.0).tolist() == [[[1.0, 0.5, -1.0]]]  # ink stays what it is


@pytest.mark.parametrize("rate", [-0.01, 1.01, float("nan")])
def test_a_rate_that_is_no_probability(rate):
    with pytest.raises(ValueError, match="expected a probability, from 0 to 1"):
        mutation.add_ink(ink(A), rng=stream(), rate=rate)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"add": -1.0}, "add = -1.0, move = 1.0, remove = 1.0: expected shares of 0 or more"),
        ({"add": 0, "move": 0, "remove": 0}, "one above 0"),
        ({"reach": 0}, "reach = 0: expected at least 1"),
    ],
)
def test_redraw_refuses_what_makes_no_sense(settings, words):
    with pytest.raises(ValueError, match=words):
        mutation.redraw(ink(A), rng=stream(), **settings)


# Mutation, what it may change


@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 1000), border=st.sampled_from(["stay", "clamp"]))
def test_adding_never_removes_removing_never_adds_moving_keeps_the_count(shape, seed, border):
    rng = stream(2, seed)
    x = scattered(rng, 9, shape)
    length, had = x[0, 0].numel(), x.flatten(2).sum(2)
    for rate in (0.015, 0.5):
        assert bool((mutation.add_ink(x, rng=rng, rate=rate) >= x).all())
    added = mutation.add_pixel(x, rng=rng)
    assert bool((added >= x).all()) and torch.equal(added.flatten(2).sum(2), (had + 1).clamp(max=length))
    removed = mutation.remove_pixel(x, rng=rng)
    assert bool((removed <= x).all()) and torch.equal(removed.flatten(2).sum(2), (had - 1).clamp(min=0))
    for reach in (1, 3):
        moved = mutation.move_pixel(x, rng=rng, reach=reach, border=border)
        assert torch.equal(moved.flatten(2).sum(2), had)
        assert bool(((moved != x).flatten(2).sum(2) <= 2).all())
    redrawn = mutation.redraw(x, rng=rng, border=border)
    lost, won = ((x & ~redrawn).flatten(2).sum(2), (redrawn & ~x).flatten(2).sum(2))
    assert bool((lost <= 1).all()) and bool((won <= 1).all())
    assert bool((won[:, 0] == 1).all())  # the empty one got ink


@pytest.mark.parametrize("border", ["stay", "clamp"])
@pytest.mark.parametrize("reach", [1, 2, 9])
def test_a_move_reaches_no_further_and_stays_in_the_image(border, reach):
    height, width, n = 6, 7, 42
    x = torch.eye(n, dtype=torch.bool).view(1, n, height, width).expand(50, -1, -1, -1).clone()
    moved = mutation.move_pixel(x, rng=many(50), reach=reach, border=border)
    assert bool((moved.flatten(2).sum(2) == 1).all())
    now = moved.flatten(2).int().argmax(2)
    start = torch.arange(n)
    down, right = (now // width - start // width).abs(), (now % width - start % width).abs()
    assert int(down.max()) == min(reach, height - 1) and int(right.max()) == min(reach, width - 1)


@pytest.mark.parametrize("name", CHANGES)
def test_a_search_alone_and_the_first_members_change_as_among_the_others(name):
    mutate, rng = op(f"mutation.{name}"), stream(3)
    for shape in SHAPES:
        x = scattered(rng, 30, shape)
        kept = x.clone()
        changed = mutate(x, rng=rng)
        assert changed.dtype == torch.bool and changed.shape == x.shape and torch.equal(x, kept)
        assert not torch.equal(changed, x)
        for search in range(3):
            assert torch.equal(mutate(x[search : search + 1], rng=rng.rows([search])), changed[search : search + 1])
        for first in (1, 4, 17):
            assert torch.equal(mutate(x[:, :first], rng=rng), changed[:, :first])


@pytest.mark.parametrize("name", ON_MASKS)
def test_a_search_alone_and_the_first_matings_are_as_among_the_others(name):
    mix, rng = op(f"crossover.{name}"), stream(3)
    for shape in SHAPES:
        a, b = scattered(rng["a"], 30, shape), scattered(rng["b"], 30, shape)
        weight = mix(a, b, rng=rng)
        for search in range(3):
            row = slice(search, search + 1)
            assert torch.equal(mix(a[row], b[row], rng=rng.rows([search])), weight[row])
        for first in (1, 4, 17):
            assert torch.equal(mix(a[:, :first], b[:, :first], rng=rng), weight[:, :first])


def test_every_mutation_is_looked_at_here():
    assert set(CHANGES) == set(operator_names("mutation"))


# Mutation, how it is spread


def counted(before: torch.Tensor, after: torch.Tensor) -> np.ndarray:
    return (before != after).flatten(0, 1).flatten(1).sum(0).numpy()


def test_a_pixel_is_added_to_each_blank_and_taken_from_each_inked_place_equally_often():
    x = ink("#..#/.##./....").expand(200, 50, 3, 4).clone()
    inked = x[0, 0].flatten().numpy()
    added = counted(x, mutation.add_pixel(x, rng=many(200)))
    assert added.sum() == 10_000 and not added[inked].any()
    assert stats.chisquare(added[~inked]).pvalue > 1e-4
    removed = counted(x, mutation.remove_pixel(x, rng=many(200)))
    assert removed.sum() == 10_000 and not removed[~inked].any()
    assert stats.chisquare(removed[inked]).pvalue > 1e-4


def test_redraw_adds_moves_and_removes_equally_often():
    x = ink("...../...../..#../...../.....").expand(200, 50, 5, 5).clone()
    done = mutation.redraw(x, rng=many(200))
    added, removed = (done.flatten(2).sum(2) == 2).sum().item(), (done.flatten(2).sum(2) == 0).sum().item()
    moves = done[(done.flatten(2).sum(2) == 1)].flatten(1).sum(0).numpy()
    assert stats.chisquare([added, removed, moves.sum()]).pvalue > 1e-4
    around = [6, 7, 8, 11, 13, 16, 17, 18]
    assert moves[around].sum() == moves.sum() and stats.chisquare(moves[around]).pvalue > 1e-4


@pytest.mark.parametrize("rate", [0.015, 0.3, 0.9])
def test_add_ink_hits_each_gene_at_its_rate_and_independently(rate):
    searches, n, length = 100, 200, 24
    hits = mutation.add_ink(torch.zeros(searches, n, 4, 6, dtype=torch.bool), rng=many(searches), rate=rate)
    hits = hits.flatten(0, 1).flatten(1).double()
    members = len(hits)
    errors = (hits.mean(0) - rate) / (rate * (1 - rate) / members) ** 0.5
    assert errors.abs().max() < 4.5
    related = torch.corrcoef(hits.T) - torch.eye(length)
    assert related.abs().max() < 5 / members**0.5
    # How many a member gets is binomial; counts that are too rare are taken together.
    expected = stats.binom.pmf(np.arange(length + 1), length, rate) * members
    seen_counts = np.bincount(hits.sum(1).long().numpy(), minlength=length + 1)
    common = expected > 20
    assert common.sum() >= 3
    rest = [seen_counts[~common].sum()], [expected[~common].sum()]
    observed, model = np.concatenate([seen_counts[common], rest[0]]), np.concatenate([expected[common], rest[1]])
    assert stats.chisquare(observed, model).pvalue > 1e-4


def test_add_ink_hits_at_its_rate_in_a_large_image_as_well():
    hits = mutation.add_ink(torch.zeros(4, 25, 128, 128, dtype=torch.bool), rng=stream(4), rate=0.015).double()
    error = (0.015 * 0.985 / hits.numel()) ** 0.5
    assert abs(hits.mean() - 0.015) < 4 * error
    halves = hits.flatten(2).unflatten(2, (2, -1)).mean((0, 1, 3))
    assert abs(halves[0] - halves[1]) < 4 * 2 * error


def transitions(size: int, reach: int, border: str) -> torch.Tensor:
    """How probable it is that a lone pixel moves from one place (row) to another (column): all ways, one by one."""
    pixels, ways = size * size, (2 * reach + 1) ** 2 - 1
    x = torch.eye(pixels, dtype=torch.bool).repeat_interleave(ways, 0).view(1, -1, size, size)
    moved = mutation.move_pixel(
        x, rng=planted(pixels * ways, way=list(range(ways)) * pixels), reach=reach, border=border
    )
    return moved.view(pixels, ways, pixels).double().mean(1)


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_a_move_that_stays_prefers_no_place_exactly(reach):
    """It leads from one place to another as often as back, so that what is uniform stays uniform."""
    step = transitions(5, reach, "stay")
    assert torch.equal(step, step.T) and torch.allclose(step.sum(0), torch.ones(25, dtype=torch.float64))


def test_a_clamped_move_gathers_ink_at_the_border_exactly_where_it_reaches_two_steps_or_more():
    steps = steps_to_border(6, 6).flatten()
    # With a reach of 1 what is clamped slides along the border, as often to and fro: nothing gathers.
    assert torch.allclose(transitions(6, 1, "clamp").sum(0), torch.ones(36, dtype=torch.float64))
    for reach in (2, 4):  # how probable it is altogether to come to each place
        comes = transitions(6, reach, "clamp").sum(0)
        assert comes[steps == 0].mean() > 1.1 and bool((comes[steps > 0] < 1 + 1e-12).all())


def wandered(border: str, reach: int, start: str) -> np.ndarray:
    """Where three pixels of each of 4,000 flat canvases of 6 x 6 are after 120 moves, by place."""
    x = ink(start).expand(40, 100, 6, 6).clone()
    for generation in range(120):
        x = mutation.move_pixel(x, rng=many(40).at(generation), reach=reach, border=border)
    return x.flatten(0, 1).flatten(1).sum(0).numpy()


CORNER = "##..../#...../....../....../....../......"
MIDDLE = "....../....../..##../..#.../....../......"


@pytest.mark.parametrize("start", [CORNER, MIDDLE])
@pytest.mark.parametrize("reach", [1, 2])
def test_many_moves_that_stay_leave_the_canvas_flat(start, reach):
    where = wandered("stay", reach, start)
    assert where.sum() == 12_000
    assert stats.chisquare(where).pvalue > 1e-4
    steps = steps_to_border(6, 6).flatten().numpy()
    by_ring = [where[steps == ring].sum() for ring in range(3)]
    assert stats.chisquare(by_ring, 12_000 * np.array([20, 12, 4]) / 36).pvalue > 1e-4


def test_many_clamped_moves_are_found_at_the_border():
    where = wandered("clamp", 2, MIDDLE)
    steps = steps_to_border(6, 6).flatten().numpy()
    by_ring = np.array([where[steps == ring].sum() for ring in range(3)])
    assert stats.chisquare(by_ring, 12_000 * np.array([20, 12, 4]) / 36).pvalue < 1e-20
    assert by_ring[0] / 12_000 > 0.62  # 20 of 36 places: 0.556


# Lists


def test_listed_by_hand():
    rows = torch.tensor([[False, True, False, True], [False] * 4, [True] * 4, [False, False, False, True]])
    found, counts = lists.listed(rows)
    assert found.tolist() == [[1, 3, 4, 4], [4] * 4, [0, 1, 2, 3], [3, 4, 4, 4]]
    assert counts.tolist() == [2, 0, 4, 1]
    assert torch.equal(lists.listed(rows.float() * -0.5)[0], found)  # ink is what is not zero


def test_listed_without_ink_and_without_rows():
    found, counts = lists.listed(torch.zeros(3, 5))
    assert found.shape == (3, 0) and counts.tolist() == [0, 0, 0]
    assert lists.listed(torch.zeros(0, 5))[0].shape == (0, 0)
    assert not bool(lists.mask_of(found, 5).any()) and lists.mask_of(found, 5).shape == (3, 5)


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=6))
def test_lists_and_masks_are_each_others_inverse(rows):
    masks = torch.tensor(rows)
    found, counts = lists.listed(masks)
    assert torch.equal(lists.mask_of(found, 7), masks)
    for row, (listing, count) in enumerate(zip(found.tolist(), counts.tolist(), strict=True)):
        assert listing[:count] == np.flatnonzero(rows[row]).tolist() and set(listing[count:]) <= {7}
    assert torch.equal(lists.listed(lists.mask_of(found.flip(1), 7))[0], found)  # the order does not matter


def test_what_is_no_place_has_no_ink():
    assert lists.mask_of(torch.tensor([[[-1, 4, 1], [9, 1, 1]]]), 4).tolist() == [[[False, True, False, False]] * 2]


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=5))
def test_the_place_of_each_blank_as_counted(rows):
    found, _ = lists.listed(torch.tensor(rows))
    for row, genes in enumerate(rows):
        blanks = [place for place, gene in enumerate(genes) if not gene]
        numbers = torch.arange(max(1, len(blanks)))
        got = lists.blank_place(found[row].expand(len(numbers), -1), numbers, 6).tolist()
        assert got == (blanks or [6])  # a full row has no such place
