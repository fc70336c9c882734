"""Genomes: members taken, crossed, edited and put back, whatever the genome is made of."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evofool import genome
from evofool.genome import Labelled
from fakes import pictures

gray = st.floats(0, 1, width=32)


def labelled(genes, label, ancestor=None) -> Labelled:
    label = torch.tensor(label)
    return Labelled(
        torch.tensor(genes), label, torch.arange(label.shape[1]).expand(label.shape) if ancestor is None else ancestor
    )


THREE = labelled([[[0.0, 0.1], [0.2, 0.3], [0.4, 0.5]]], [[7, 8, 9]])


def test_members_are_taken_by_place_with_all_that_they_carry():
    two = Labelled(*(torch.cat([t, t + 10]) for t in (THREE.genes, THREE.label, THREE.ancestor)))
    taken = genome.take(two, torch.tensor([[2, 2], [0, 1]]))
    assert torch.equal(taken.genes, torch.tensor([[[0.4, 0.5], [0.4, 0.5]], [[10.0, 10.1], [10.2, 10.3]]]))
    assert taken.label.tolist() == [[9, 9], [17, 18]]
    assert taken.ancestor.tolist() == [[2, 2], [10, 11]]
    assert torch.equal(genome.take(two.genes, torch.tensor([[2], [0]])), torch.tensor([[[0.4, 0.5]], [[10.0, 10.1]]]))


def test_rows_and_put_move_whole_searches_of_any_nest():
    @dataclasses.dataclass(frozen=True)
    class State:
        genomes: Labelled
        told: torch.Tensor

    state = State(labelled([[[1.0]], [[2.0]], [[3.0]]], [[1], [2], [3]]), torch.tensor([5, 6, 7]))
    some = genome.rows(state, torch.tensor([2, 0]))
    assert some.told.tolist() == [7, 5] and some.genomes.label.tolist() == [[3], [1]]
    changed = dataclasses.replace(some, told=some.told + 100)
    back = genome.put(state, torch.tensor([2, 0]), changed)
    assert back.told.tolist() == [105, 6, 107]
    assert torch.equal(back.genomes.genes, state.genomes.genes)
    assert state.told.tolist() == [5, 6, 7]
    nobody = torch.tensor([], dtype=torch.int64)
    assert genome.put(state, nobody, genome.rows(state, nobody)).told.tolist() == [5, 6, 7]


def test_genes_come_first_and_can_be_exchanged():
    assert genome.genes(THREE) is THREE.genes and genome.genes(THREE.genes) is THREE.genes
    other = genome.with_genes(THREE, THREE.genes + 1)
    assert torch.equal(other.genes, THREE.genes + 1) and other.label is THREE.label
    assert genome.with_genes(THREE.genes, other.genes) is other.genes


def test_labels_are_carried_or_those_of_the_search():
    assert genome.labels(THREE, torch.tensor([1])).tolist() == [[7, 8, 9]]
    assert genome.labels(THREE.genes, torch.tensor([1])).tolist() == [[1, 1, 1]]
    with pytest.raises(ValueError, match="carries no label"):
        genome.labels(THREE.genes, None)


# cross


def test_a_mask_takes_each_gene_from_one_parent():
    a, b = torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[4.0, 5.0, 6.0]]])
    child = genome.cross(a, b, torch.tensor([[[True, False, True]]]))
    assert child.tolist() == [[[1.0, 5.0, 3.0]]]


def test_one_weight_for_a_member_mixes_all_its_genes():
    a, b = torch.ones(1, 2, 1, 2, 2), torch.zeros(1, 2, 1, 2, 2)
    child = genome.cross(a, b, torch.tensor([[[0.25], [1.0]]]))
    assert child.shape == a.shape
    assert child[0, 0].unique().tolist() == [0.25] and child[0, 1].unique().tolist() == [1.0]


def test_weights_for_each_gene_mix_gene_by_gene():
    a, b = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[0.0, 0.5]]])
    assert genome.cross(a, b, torch.tensor([[[0.5, 0.5]]])).tolist() == [[[0.5, 0.75]]]


@given(genes=st.lists(st.tuples(gray, gray), min_size=1, max_size=20), weight=st.floats(0, 1, width=32))
def test_a_mixture_lies_between_its_parents_exactly(genes, weight):
    a, b = (torch.tensor(side).view(1, 1, -1) for side in zip(*genes, strict=True))
    child = genome.cross(a, b, torch.tensor([[[weight]]]))
    assert bool((child >= torch.minimum(a, b)).all()) and bool((child <= torch.maximum(a, b)).all())


@given(genes=st.lists(gray, min_size=1, max_size=20), weight=st.floats(0, 1, width=32))
def test_crossed_with_itself_a_parent_is_copied_exactly(genes, weight):
    a = torch.tensor(genes).view(1, 1, -1)
    assert torch.equal(genome.cross(a, a.clone(), torch.tensor([[[weight]]])), a)


@given(st.lists(st.tuples(gray, gray), min_size=1, max_size=20))
def test_the_weights_zero_and_one_copy_a_parent_exactly(genes):
    a, b = (torch.tensor(side).view(1, 1, -1) for side in zip(*genes, strict=True))
    for one in (torch.ones(1, 1, 1), torch.ones_like(a), torch.ones_like(a, dtype=torch.bool)):
        assert torch.equal(genome.cross(a, b, one), a)
        assert torch.equal(genome.cross(a, b, torch.zeros_like(one)), b)


@given(genes=st.lists(st.tuples(gray, gray, st.booleans()), min_size=1, max_size=20), double=st.booleans())
def test_a_mask_takes_genes_as_they_are_of_any_type(genes, double):
    a, b, mask = (torch.tensor(side).view(1, 1, -1) for side in zip(*genes, strict=True))
    if double:
        a, b = a.double() / 3, b.double() / 3
    assert torch.equal(genome.cross(a, b, mask), torch.where(mask, a, b))
    whole = (a * 1000).long(), (b * 1000).long()
    assert torch.equal(genome.cross(*whole, mask), torch.where(mask, *whole))


A = labelled([[[0.0] * 4] * 3], [[1, 1, 1]], torch.tensor([[10, 11, 12]]))
B = labelled([[[1.0] * 4] * 3], [[2, 2, 2]], torch.tensor([[20, 21, 22]]))


@pytest.mark.parametrize(
    "weight",
    [
        torch.tensor([[[True, False, False, False], [True, True, False, False], [True, True, True, False]]]),
        torch.tensor([[[0.25], [0.5], [0.75]]]),
        torch.tensor([[[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]]]),
    ],
    ids=["mask", "one weight", "weight for each gene"],
)
def test_the_label_comes_from_who_gave_most_and_the_first_where_both_gave_half(weight):
    dominant = genome.cross(A, B, weight, carry="dominant")
    assert dominant.label.tolist() == [[2, 1, 1]]
    assert dominant.ancestor.tolist() == [[20, 11, 12]]
    first = genome.cross(A, B, weight, carry="first")
    assert first.label.tolist() == [[1, 1, 1]] and first.ancestor.tolist() == [[10, 11, 12]]
    assert torch.equal(first.genes, dominant.genes)
    assert torch.equal(first.genes, genome.cross(A.genes, B.genes, weight))


def test_half_is_found_exactly_in_a_large_genome_too():
    length = 150_528  # 3 x 224 x 224
    a, b = (labelled([[[0.0] * length]], [[k]]) for k in (1, 2))
    for cut, label in ((length // 2 - 1, 2), (length // 2, 1), (length // 2 + 1, 1)):
        mask = (torch.arange(length) < cut).view(1, 1, -1)
        assert genome.cross(a, b, mask).label.item() == label


@pytest.mark.parametrize("rule", ["dominant", "first"])
@pytest.mark.parametrize("whole", [False, True])
def test_children_that_take_the_place_of_their_second_parents_are_the_same(rule, whole):
    a, b = (labelled(pictures(2, 3).tolist(), [[k, k, k]] * 2) for k in (1, 2))
    a = genome.with_genes(a, a.genes.flip(1))
    if whole:
        a, b = (genome.with_genes(parent, (parent.genes * 255).long()) for parent in (a, b))
    mask = pictures(2, 3) < 0.5
    for weight in (mask,) if whole else (mask, pictures(2, 3), pictures(2, 3)[:, :, 0, 0, :1]):
        first, second = (genome.with_genes(parent, parent.genes.clone()) for parent in (a, b))
        fresh = genome.cross(a, b, weight, rule)
        children = genome.cross(first, second, weight, rule, overwrite=True)
        for field in ("genes", "label", "ancestor"):
            assert torch.equal(getattr(children, field), getattr(fresh, field))
            assert torch.equal(getattr(first, field), getattr(a, field))


# pick


def test_survivors_are_picked_from_both_generations():
    new = labelled([[[5.0, 5.1], [6.0, 6.1]]], [[3, 4]], torch.tensor([[2, 0]]))
    picked = genome.pick(THREE, new, torch.tensor([[1, 3, 4]]))
    assert torch.equal(picked.genes, torch.tensor([[[0.2, 0.3], [5.0, 5.1], [6.0, 6.1]]]))
    assert picked.label.tolist() == [[8, 3, 4]] and picked.ancestor.tolist() == [[1, 2, 0]]


def test_the_whole_new_generation_is_passed_on_without_a_copy_but_only_in_order():
    new = genome.with_genes(THREE, THREE.genes + 1)
    assert genome.pick(THREE, new, torch.tensor([[3, 4, 5]])) is new
    assert genome.pick(THREE, new, torch.tensor([[3, 5, 4]])).label.tolist() == [[7, 9, 8]]
    assert genome.pick(THREE, new, torch.tensor([[0, 1, 2]])).genes.tolist() == THREE.genes.tolist()


@given(parents=st.integers(1, 4), children=st.integers(1, 4), data=st.data())
def test_picked_members_are_those_of_both_generations_in_a_row(parents, children, data):
    """Also where all children follow some parents in order, which is done without going through all members."""
    old, new = (labelled(pictures(2, n).tolist(), [[10 * n + k for k in range(n)]] * 2) for n in (parents, children))
    new = genome.with_genes(new, new.genes + 1)
    places = st.lists(st.integers(0, parents + children - 1), min_size=children, max_size=children + 2)
    elites = st.lists(st.integers(0, parents + children - 1), max_size=2).map(
        lambda some: some + list(range(parents, parents + children))
    )
    one = data.draw(places | elites)
    other = data.draw((places | elites).filter(lambda row: len(row) == len(one)))
    index = torch.tensor([one, other])
    picked = genome.pick(old, new, index)
    for field in ("genes", "label", "ancestor"):
        members = torch.cat([getattr(old, field), getattr(new, field)], 1)
        assert torch.equal(getattr(picked, field), torch.stack([members[row, index[row]] for row in range(2)]))


# edit


def test_only_the_chosen_members_are_changed():
    two = torch.arange(24.0).view(2, 4, 3)
    before = two.clone()
    seen = []

    def negate(part: torch.Tensor) -> torch.Tensor:
        seen.append(part.shape)
        return -part

    chosen = torch.tensor([[False, True, False, True], [False, False, True, False]])
    edited = genome.edit(two, chosen, negate)
    assert torch.equal(edited, torch.where(chosen[..., None], -before, before))
    assert torch.equal(two, before)
    assert seen == [(2, 2, 3)]


def test_what_a_member_carries_is_left_alone():
    edited = genome.edit(THREE, torch.tensor([[True, True, False]]), lambda genes: genes + 1)
    assert edited.label is THREE.label and edited.ancestor is THREE.ancestor
    assert torch.equal(edited.genes[0, 2], THREE.genes[0, 2])
    assert torch.equal(edited.genes[0, :2], THREE.genes[0, :2] + 1)


def test_where_nobody_is_chosen_nothing_happens():
    assert genome.edit(THREE, torch.zeros(1, 3, dtype=torch.bool), lambda genes: genes / 0) is THREE


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4))
def test_a_neighbour_with_more_chosen_members_changes_nothing(rows):
    """A change that keeps the prefix law: the number it adds depends on the place among the chosen."""
    chosen = torch.tensor(rows)
    members = pictures(len(rows), 5)

    def number(part: torch.Tensor) -> torch.Tensor:
        return part + torch.arange(1.0, part.shape[1] + 1).view(1, -1, 1, 1, 1)

    together = genome.edit(members, chosen, number)
    for row in range(len(rows)):
        alone = genome.edit(members[row : row + 1], chosen[row : row + 1], number)
        assert torch.equal(together[row : row + 1], alone)
        place = torch.where(chosen[row], chosen[row].cumsum(0), 0).view(-1, 1, 1, 1)
        assert torch.equal(alone[0], members[row] + place)


def test_members_may_be_changed_where_they_are():
    members, chosen = pictures(2, 4), torch.tensor([[False, True, False, True], [False, False, True, False]])
    kept = members.clone()
    fresh = genome.edit(members, chosen, lambda part: part + 1)
    assert torch.equal(members, kept)
    assert torch.equal(genome.edit(members, chosen, lambda part: part + 1, overwrite=True), fresh)
