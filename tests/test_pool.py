"""The gene pool: what it learns, by hand; what it believes; its file; and who reads it when."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from evofool import evasion, recipes
from evofool import pool as pools
from evofool.algorithms.genepool import ALIKE, GenePool, State
from evofool.algorithms.walks import Answer, BallWalk, Pace, PixelWalk, walk_for
from evofool.classifiers.fake import Linear
from evofool.contracts import Evaluated, Victims
from evofool.encodings.perturbation import FewPixels, Frame, LpBall
from evofool.errors import DamagedRunError, SpecError
from evofool.evasion import Evaded, evade, victims_of
from evofool.ledger import Ledger
from evofool.pool import Lessons, Pool, empty
from evofool.recipes import Setting
from evofool.rng import Stream
from evofool.sharing import Shared, Sharing
from evofool.threat import Goal, threat
from evofool.waves import waves
from fakes import stream

SHAPE = (1, 2, 2)
BANDS = len(waves(SHAPE).sizes)
CLASSES = 3


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evasion, "IDLE", 15)


def gene(value: float) -> torch.Tensor:
    return torch.full(SHAPE, value)


def lessons(*images: dict[str, Any], most: int = 3) -> Lessons:
    """What images teach; of each only what is not usual: a gene `new`, (gene, left) pairs `tried`, `won`, `model`."""

    def tensor(name: str, otherwise: Any) -> torch.Tensor:
        return torch.tensor([image.get(name, otherwise) for image in images])

    tried = torch.full((len(images), most), -1)
    left = torch.zeros(len(images), most, dtype=torch.float64)
    for row, image in enumerate(images):
        for place, (number, value) in enumerate(image.get("tried", [])):
            tried[row, place], left[row, place] = number, value
    return Lessons(
        labels=tensor("label", 0),
        predictions=tensor("seen", -1),
        genes=torch.stack([gene(image.get("new", 0.0)) for image in images]),
        new=torch.tensor(["new" in image for image in images]),
        tried=tried,
        left=left,
        won=tensor("won", -1),
        model=torch.stack([gene(image.get("model", 0.0)) for image in images]),
        felt=torch.stack([torch.full((BANDS, BANDS + 1), image.get("felt", 0.0)) for image in images]),
        walked=torch.tensor(["model" in image for image in images]),
        queries=tensor("queries", 1),
    )


def two() -> Pool:
    """A gene of class 0, seen as 1, after 5 queries; and one of class 2, seen as 0, after 7."""
    return empty(SHAPE, CLASSES).learn(
        lessons(
            {"label": 0, "seen": 1, "new": 0.5, "queries": 5},
            {"label": 1},
            {"label": 2, "seen": 0, "new": -0.25, "queries": 7},
        ),
        capacity=10,
    )


# ---- learning


def test_an_empty_pool_knows_nothing() -> None:
    pool = empty(SHAPE, CLASSES, norm="linf")
    assert len(pool) == 0 and pool.images == 0 and pool.about == {"norm": "linf"}
    assert pool.wins.shape == pool.left.shape == (0, CLASSES) and pool.models.shape == (CLASSES, *SHAPE)
    assert not bool(pool.model(torch.tensor([0, 2])).any())


def test_what_fooled_becomes_a_gene_in_the_order_of_the_images() -> None:
    pool = two()
    assert len(pool) == 2 and pool.images == 3
    assert [float(g[0, 0, 0]) for g in pool.genes] == [0.5, -0.25]
    assert pool.labels.tolist() == [0, 2] and pool.predictions.tolist() == [1, 0] and pool.queries.tolist() == [5, 7]
    for table in (pool.wins, pool.tries, pool.left, pool.squares):
        assert table.shape == (2, CLASSES) and not bool(table.any())


def test_tries_are_counted_by_gene_and_by_class() -> None:
    """A, of class 0, tried genes 0 and 1, the second of which fooled; B, of class 0, gene 1; C, of class 1, both."""
    before = two()
    pool = before.learn(
        lessons(
            {"label": 0, "tried": [(0, 0.5), (1, -0.2)], "won": 1, "seen": 2},
            {"label": 0, "tried": [(1, 0.75)]},
            {"label": 1, "tried": [(1, 1.0), (0, -3.0)], "won": 0, "seen": 0},
        ),
        capacity=10,
    )
    assert len(pool) == 2, "a gene that fooled as it is does not come again"
    assert pool.tries.tolist() == [[1, 1, 0], [2, 1, 0]]
    assert pool.wins.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert pool.left[0].tolist() == [0.5, -1.0, 0.0], "what is left is -1 at the least"
    assert pool.left[1].tolist() == pytest.approx([0.55, 1.0, 0.0])
    assert pool.squares[1].tolist() == pytest.approx([0.04 + 0.5625, 1.0, 0.0])
    assert pool.squares[0].tolist() == [0.25, 1.0, 0.0]
    assert pool.images == 6
    assert not bool(before.tries.any()) and before.images == 3, "a pool is a value: the old one is as it was"


def test_a_full_pool_takes_no_more_but_goes_on_counting() -> None:
    pool = empty(SHAPE, CLASSES).learn(
        lessons(*({"seen": 1, "new": value, "model": 1.0} for value in (0.1, 0.2, 0.3))), capacity=2
    )
    assert [float(g[0, 0, 0]) for g in pool.genes] == pytest.approx([0.1, 0.2])
    later = pool.learn(lessons({"seen": 1, "new": 0.4, "tried": [(1, 0.5)]}), capacity=2)
    assert len(later) == 2 and later.tries[1, 0] == 1 and later.images == 4
    bred = pool.learn(lessons({"seen": 1, "new": 0.4}), capacity=2, blend=lambda genes: genes.sum(0))
    assert len(bred) == 2, "what is bred needs room, too"


def test_families_breed_at_two_and_four_and_eight() -> None:
    """Of genes of the class of the image and the class seen; those that were bred are no parents."""
    blended: list[list[float]] = []

    def blend(genes: torch.Tensor) -> torch.Tensor:
        blended.append([round(float(g[0, 0, 0]), 4) for g in genes])
        return genes.sum(0)

    pool = empty(SHAPE, CLASSES)
    values = iter(range(1, 100))
    for _ in range(4):  # cohorts of two of the family, and one of another one
        one, other, two_ = (next(values) / 64 for _ in range(3))
        pool = pool.learn(
            lessons({"seen": 1, "new": one}, {"label": 2, "seen": 1, "new": other}, {"seen": 1, "new": two_}),
            capacity=100,
            blend=blend,
        )
    family, others = [n / 64 for n in (1, 3, 4, 6, 7, 9, 10, 12)], [n / 64 for n in (2, 5, 8, 11)]
    rounded = [[round(v, 4) for v in some] for some in (family[:2], others[:2], family[:4], family, others)]
    assert sorted(blended) == sorted(rounded)
    born = pool.queries == 0
    assert int(born.sum()) == 5 and len(pool) == 17
    for child in born.nonzero().flatten().tolist():
        same = (pool.labels == pool.labels[child]) & (pool.predictions == pool.predictions[child]) & ~born
        assert any(
            torch.allclose(pool.genes[child], pool.genes[same.nonzero().flatten()[:count]].sum(0))
            for count in (2, 4, 8)
        )


def test_a_family_that_grows_past_two_within_a_cohort_breeds_of_its_first_two() -> None:
    seen: list[int] = []

    def blend(genes: torch.Tensor) -> torch.Tensor:
        seen.append(len(genes))
        return genes.mean(0)

    some = lessons(*({"seen": 1, "new": value} for value in (0.1, 0.2, 0.3)))
    pool = empty(SHAPE, CLASSES).learn(some, capacity=100, blend=blend)
    assert seen == [2] and float(pool.genes[3, 0, 0, 0]) == pytest.approx(0.15)
    assert pool.queries.tolist() == [1, 1, 1, 0]


def test_what_changes_do_is_the_mean_with_one_image_that_knows_nothing() -> None:
    pool = empty(SHAPE, CLASSES).learn(
        lessons({"model": 3.0}, {"model": 6.0}, {"label": 1, "model": 4.0}, {"label": 2}), capacity=10
    )
    assert pool.taught.tolist() == [2, 1, 0]
    assert [float(m[0, 0, 0]) for m in pool.model(torch.tensor([2, 1, 0, 0]))] == [0.0, 2.0, 3.0, 3.0]


# ---- what is expected


def test_expectations_before_the_first_try() -> None:
    """Only what is believed at first: 0.1 of the own class, 0.3 of others; spread 0.2, and an average of one try."""
    mean, variance, noise = two().expected()
    assert noise == pytest.approx(0.04)
    assert mean.tolist() == [pytest.approx(row) for row in ([0.1, 0.3], [0.3, 0.3], [0.3, 0.1])]
    assert variance.flatten().tolist() == pytest.approx([0.08] * 6)


def test_expectations_after_some_tries_by_hand() -> None:
    pool = two().learn(
        lessons(
            {"label": 0, "tried": [(0, 0.5), (1, -0.2)], "won": 1, "seen": 2},
            {"label": 0, "tried": [(0, 0.7)]},
            {"label": 0, "tried": [(0, -0.3)]},
        ),
        capacity=10,
    )
    mean, variance, noise = pool.expected()
    own = (0.5 + 0.7 - 0.3 + 3 * 0.1) / (3 + 3)  # gene 0 on its own class
    others = (-0.2 + 3 * 0.3) / (1 + 3)
    within = (0.25 + 0.49 + 0.09) - 0.9**2 / 3  # three tries of gene 0; the single one of gene 1 deviates by nothing
    assert noise == pytest.approx((within + 5 * 0.04) / (2 + 5))
    assert mean[0].tolist() == pytest.approx([(0.9 + own) / 4, (-0.2 + others) / 2])
    assert mean[1].tolist() == pytest.approx([others, others])
    assert mean[2].tolist() == pytest.approx([others, own])
    assert variance[0].tolist() == pytest.approx([noise * (1 + 1 / 4), noise * (1 + 1 / 2)])


# ---- its file


def test_a_pool_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    pool = replace(two(), about={"norm": "linf", "classes": ["a", "b", "c"], "size": 0.3})
    content = pools.to_bytes(pool)
    assert content == pools.to_bytes(pool)
    pools.write(content, tmp_path / "pool.safetensors")
    for again in (pools.from_bytes(content), pools.load(tmp_path / "pool.safetensors")):
        for part in dataclasses.fields(Pool):
            one, two_ = getattr(pool, part.name), getattr(again, part.name)
            equal = torch.equal(one, two_) and one.dtype == two_.dtype if isinstance(one, torch.Tensor) else one == two_
            assert equal, part.name
        assert pools.fingerprint(again) == pools.fingerprint(pool)
    assert pools.load(tmp_path / "pool.safetensors").learn(lessons({}), capacity=3).images == 4


def test_anything_that_is_known_moves_the_fingerprint() -> None:
    pool = two()
    prints = {pools.fingerprint(pool)}
    for part in dataclasses.fields(Pool):
        value = getattr(pool, part.name)
        other = value + 1 if isinstance(value, torch.Tensor | int) else {"norm": "l2"}
        prints.add(pools.fingerprint(replace(pool, **{part.name: other})))
    assert len(prints) == 1 + len(dataclasses.fields(Pool))


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    from safetensors.torch import load as tensors_of
    from safetensors.torch import save

    content = pools.to_bytes(two())
    tensors = tensors_of(content)
    length = int.from_bytes(content[:8], "little")
    card = json.loads(content[8 : 8 + length])["__metadata__"]["card"]
    other = json.dumps({**json.loads(card), "format": "evofool-pool/0"})
    cases = {
        "nothing": b"",
        "no such file of ours": b"hello, world" * 10,
        "cut off": content[:-5],
        "no card": save(tensors),
        "odd card": save(tensors, metadata={"card": "[]"}),
        "another version": save(tensors, metadata={"card": other}),
        "a tensor is missing": save({n: t for n, t in tensors.items() if n != "wins"}, metadata={"card": card}),
        "fewer labels": save({**tensors, "labels": tensors["labels"][:1]}, metadata={"card": card}),
        "fewer classes": save({**tensors, "wins": tensors["wins"][:, :2].contiguous()}, metadata={"card": card}),
        "other images": save({**tensors, "genes": torch.zeros(2, 1, 2, 3)}, metadata={"card": card}),
    }
    for name, bad in cases.items():
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(DamagedRunError) as caught:
            pools.load(tmp_path / name)
        assert "\n" not in str(caught.value) and str(tmp_path / name) in str(caught.value), name
    with pytest.raises(SpecError, match="there is no such file"):
        pools.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "change",
    [
        {"labels": torch.tensor([0, 3])},
        {"labels": torch.tensor([0, -1])},
        {"models": torch.zeros(2, *SHAPE)},
        {"taught": torch.zeros(2, dtype=torch.int64)},
        {"genes": torch.full((2, *SHAPE), torch.nan)},
        {"labels": torch.tensor([0.0, 1.0])},
    ],
)
def test_a_file_whose_numbers_cannot_be_is_refused(change: dict[str, torch.Tensor]) -> None:
    """It may come from anywhere: what is read of it must not be able to end an attack in its middle."""
    with pytest.raises(DamagedRunError):
        pools.from_bytes(pools.to_bytes(replace(two(), **change)))


def test_a_picture_of_a_gene_is_gray_where_nothing_changes() -> None:
    picture = pools.picture(torch.tensor([[[0.0, 0.1], [-0.1, 0.05]]]))
    assert picture.tolist() == [[[128, 255], [0, 191]]]
    assert pools.picture(torch.zeros(SHAPE)).unique().tolist() == [128]


# ---- cohorts


@pytest.mark.parametrize(("images", "largest", "growth"), [(1, 4, 4), (7, 4, 4), (100, 16, 16), (60, 3, 5)])
def test_cohorts_begin_with_one_image_and_grow(images: int, largest: int, growth: int) -> None:
    cohorts = Sharing(largest=largest, growth=growth).cohorts(images)
    assert [place for cohort in cohorts for place in cohort] == list(range(images))
    assert len(cohorts[0]) == 1
    for cohort in cohorts[:-1]:
        assert len(cohort) == min(1 + cohort.start // growth, largest)


def test_cohorts_by_hand() -> None:
    assert [len(c) for c in Sharing(growth=4, largest=3).cohorts(15)] == [1, 1, 1, 1, 2, 2, 3, 3, 1]
    assert Sharing().cohorts(0) == []


@pytest.mark.parametrize("wrong", [{"lag": 0}, {"largest": 0}, {"growth": 0}, {"horizon": 0}, {"capacity": 0}])
def test_rules_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SpecError):
        Sharing(**wrong)


# ---- who reads what


@dataclass(frozen=True)
class Seen:
    """Which image it is, and how often it was told."""

    number: torch.Tensor
    told: torch.Tensor
    seen: torch.Tensor


class Reads:
    """An attack that notes the pool that each image begins with; the image says how many rounds it takes.

    Attributes:
        begun: by image, the images that the pool had learned from when it joined.
        taught: by image, the rounds after which its lessons were taken.
    """

    def __init__(self, sharing: Sharing, needs: Sequence[int]):
        self.sharing, self.needs = sharing, torch.tensor(needs)
        self.begun: dict[int, int] = {}
        self.asked: dict[int, set[int]] = {}
        self.joined: list[list[int]] = []

    def init(self, victims: Victims, pool: Pool) -> Seen:
        number = (victims.x[:, 0, 0, 0] * 255).round().long()
        self.joined.append(number.tolist())
        self.begun.update(dict.fromkeys(number.tolist(), pool.images))
        return Seen(number, torch.zeros_like(number), torch.full_like(number, -1))

    def ask(self, state: Seen, rng: Stream, pool: Pool) -> torch.Tensor:
        ready = state.told + 1 >= self.needs[state.number]
        change = torch.zeros(len(ready), 1, *SHAPE)
        change[:, 0, 0, 1, 1] = torch.where(ready, 1.0, 0.0)
        change[:, 0, 0, 0, 1] = (state.told + 1) / 255  # so that nothing is asked twice
        return change

    def tell(self, state: Seen, evaluated: Evaluated, fitness: torch.Tensor, success: torch.Tensor) -> Seen:
        return Seen(state.number, state.told + 1, torch.where(success[:, 0], 1, -1))

    def lessons(self, state: Seen) -> Lessons:
        count = len(state.number)
        none = torch.full((count, 1), -1)
        return Lessons(
            labels=torch.zeros_like(state.number),
            predictions=state.seen,
            genes=state.number[:, None, None, None].float().expand(count, *SHAPE).contiguous(),
            new=state.seen >= 0,
            tried=none,
            left=none.double(),
            won=none[:, 0],
            model=torch.zeros(count, *SHAPE),
            felt=torch.zeros(count, BANDS, BANDS + 1),
            walked=state.told < 0,
            queries=state.told,
        )

    def blend(self, genes: torch.Tensor) -> torch.Tensor:
        return genes.sum(0)


def read(sharing: Sharing, needs: Sequence[int], budget: int = 50, pool: Pool | None = None) -> tuple[Reads, Evaded]:
    """Attack images, of which each is fooled after so many queries."""
    weight = torch.zeros(2, *SHAPE)
    weight[1, 0, 1, 1] = 1.0
    classifier = Linear(weight, torch.tensor([0.5, 0.0]), micro_batch=16)
    x = torch.zeros(len(needs), *SHAPE)
    x[:, 0, 0, 0] = torch.arange(len(needs)) / 255
    goal, algorithm = Goal(), Reads(sharing, needs)
    labels = torch.zeros(len(needs), dtype=torch.int64)
    victims = victims_of(x, labels, classifier(x), goal.objective, classifier.info)
    found = evade(
        victims,
        accounts=torch.arange(len(needs)),
        seeds=[0] * len(needs),
        algorithm=algorithm,
        encoding=FewPixels(4),
        objective=goal.objective,
        criterion=goal.criterion,
        ledger=Ledger(classifier, searches=len(needs), budget=budget),
        pool=pool,
    )
    return algorithm, found


@pytest.mark.parametrize("lag", [1, 2, 3, 8])
@pytest.mark.parametrize("seed", range(4))
def test_a_cohort_reads_the_pool_after_the_one_lag_before_it(lag: int, seed: int) -> None:
    """Exactly that one, in whatever order images end, and however quick the others are."""
    sharing = Sharing(lag=lag, largest=3, growth=4, horizon=40, breed=False)
    needs = (1 + stream(seed=seed)["needs"].integers(20, 23)[0]).tolist()
    algorithm, found = read(sharing, needs)
    cohorts = sharing.cohorts(23)
    assert len(cohorts) > 9 and bool(found.fooled.all())
    assert found.queries.tolist() == needs
    for c, cohort in enumerate(cohorts):
        known = cohorts[c - lag].stop if c >= lag else 0
        assert [algorithm.begun[image] for image in cohort] == [known] * len(cohort), f"cohort {c}"
    assert algorithm.joined == [list(cohort) for cohort in cohorts], "in the order of the list, cohort by cohort"
    assert found.order.tolist() == list(range(23))
    assert found.pool is not None and found.pool.images == 23
    assert found.pool.genes[:, 0, 0, 0].tolist() == list(range(23)), "genes come in the order of the images"
    assert found.pool.queries.tolist() == needs


@pytest.mark.parametrize("genes", [0, 2])
def test_a_pool_that_is_given_is_where_all_begin(genes: int) -> None:
    """Also one of images of which none was fooled: what they have learned of the classes is worth something."""
    known = replace(two() if genes else empty(SHAPE, 2), images=100)
    if genes:
        known = replace(known, **{name: getattr(known, name)[:, :2] for name in ("wins", "tries", "left", "squares")})
        known = replace(known, models=known.models[:2], taught=known.taught[:2], labels=torch.tensor([0, 1]))
    sharing = Sharing(lag=2, largest=1, horizon=40, breed=False)
    algorithm, found = read(sharing, [3, 1, 1, 2, 1], pool=known)
    assert algorithm.begun == {0: 100, 1: 100, 2: 101, 3: 102, 4: 103}
    assert found.pool is not None and found.pool.images == 105 and len(found.pool) == genes + 5


def test_so_many_cohorts_are_under_way_together() -> None:
    """With a lag of 3: the first image, which takes longest, holds up the fourth cohort, not the second."""
    sharing = Sharing(lag=3, largest=1, horizon=40, breed=False)
    algorithm, found = read(sharing, [30, 1, 1, 1, 1])
    assert found.queries.tolist() == [30, 1, 1, 1, 1]
    assert algorithm.begun == {0: 0, 1: 0, 2: 0, 3: 1, 4: 2}


def test_who_is_not_fooled_by_the_horizon_teaches_what_it_knows_and_holds_up_nobody_longer() -> None:
    sharing = Sharing(lag=1, largest=1, horizon=5, breed=False)
    algorithm, found = read(sharing, [4, 5, 9, 2])
    assert found.fooled.tolist() == [True] * 4 and found.queries.tolist() == [4, 5, 9, 2]
    assert found.pool is not None and found.pool.images == 4
    # The query for the image as it is counts: four are left within a horizon of five.
    assert found.pool.genes[:, 0, 0, 0].tolist() == [0.0, 3.0], "what fooled after the horizon is no gene"
    assert found.pool.queries.tolist() == [4, 2]
    assert algorithm.begun == {0: 0, 1: 1, 2: 2, 3: 3}


def test_what_is_bred_is_bred_only_if_it_is_wanted() -> None:
    for breed, count in ((False, 4), (True, 6)):
        _, found = read(Sharing(lag=1, largest=2, breed=breed), [1, 1, 1, 1])
        assert found.pool is not None and len(found.pool) == count


def test_nobody_joins_before_its_cohort_may() -> None:
    line = Shared(5, Sharing(lag=2, largest=1), Reads(Sharing(), [1]), empty(SHAPE, 2))
    assert list(line.coming(0)) == [[0], [1]]
    assert list(line.coming(2)) == []
    assert len(line.finish()) == 0


# ---- the genepool


def conditioned_by_hand(mean: list[float], cov: list[list[float]], tried: int, left: float) -> list[float]:
    """What two genes leave, after one was tried: the textbook's conditional mean of the other."""
    other = 1 - tried
    return [
        mean[other] + cov[other][tried] / cov[tried][tried] * (left - mean[tried]),
        cov[other][other] - cov[other][tried] ** 2 / cov[tried][tried],
    ]


def victims_by_hand(margins: Sequence[float], labels: Sequence[int]) -> Victims:
    count = len(margins)
    scores = torch.zeros(count, CLASSES)
    return Victims(torch.full((count, *SHAPE), 0.5), torch.tensor(labels), scores, torch.tensor(margins).double())


def told(state: State, algorithm: GenePool, pool: Pool, values: Sequence[float], seen: int = 1) -> tuple[State, Any]:
    """One round: what was asked, and the state after these margins."""
    asked = algorithm.ask(state, stream(len(values)), pool)
    fitness = torch.tensor(values).double()[:, None]
    scores = torch.nn.functional.one_hot(torch.full((len(values), 1), seen), CLASSES).float()
    status = torch.zeros(len(values), 1, dtype=torch.int64)
    evaluated = Evaluated(asked, (state.x[:, None] + asked).clamp(0, 1), state.x, scores, state.labels[:, None], status)
    return algorithm.tell(state, evaluated, fitness, fitness < 0), asked


def correlated() -> Pool:
    """Two genes of class 0 that are half alike, tried three times and once on its images."""
    pool = empty(SHAPE, CLASSES).learn(
        lessons({"seen": 1, "new": 0.1, "queries": 3}, {"seen": 2, "new": 0.1, "queries": 4}), capacity=9
    )
    genes = pool.genes.clone()
    genes[1] = torch.tensor([[[0.1, 0.1], [0.1, -0.1]]])  # cosine 0.5
    pool = replace(pool, genes=genes)
    return pool.learn(
        lessons({"tried": [(0, 0.3)]}, {"tried": [(0, 0.1), (1, 0.4)]}, {"tried": [(0, 0.2)]}), capacity=9
    )


def test_after_a_try_the_other_gene_is_thought_of_anew() -> None:
    pool, algorithm = correlated(), GenePool(LpBall("linf", 0.2), candidates=2, chance=1e-9)
    means, variances, noise = pool.expected()
    state = algorithm.init(victims_by_hand([2.0, 4.0], [0, 0]), pool)
    order = state.genes[0].tolist()
    assert sorted(order) == [0, 1]
    mean = [float(means[0, number]) for number in order]
    shared = noise * (ALIKE[0] + ALIKE[1] * 0.5)
    covariance = [[float(variances[0, order[0]]), shared], [shared, float(variances[0, order[1]])]]
    assert state.mean[0].tolist() == pytest.approx(mean)
    assert [row.tolist() for row in state.covariance[0]] == [pytest.approx(row) for row in covariance]
    chances = [0.5 * math.erfc(m / math.sqrt(2 * covariance[i][i])) for i, m in enumerate(mean)]
    assert chances[0] > chances[1], "candidates stand in the order of their chances"
    assert state.next.tolist() == [0, 0]
    after, asked = told(state, algorithm, pool, [1.2, -0.4])
    assert torch.equal(asked[0, 0], pool.genes[order[0]])
    assert after.tried.tolist() == [[order[0], -1]] * 2
    assert after.left[:, 0].tolist() == pytest.approx([0.6, -0.1]), "1.2 of 2, and -0.4 of 4"
    for row, left in enumerate((0.6, -0.1)):
        expected, spread = conditioned_by_hand(mean, covariance, 0, left)
        assert float(after.mean[row, 1]) == pytest.approx(expected)
        assert float(after.covariance[row, 1, 1]) == pytest.approx(spread)
        assert float(after.mean[row, 0]) == math.inf, "none is tried twice"
    assert after.won.tolist() == [-1, order[0]] and after.seen.tolist() == [-1, 1]
    assert after.told.tolist() == [1, 1] and after.steps.tolist() == [0, 0]


def test_a_gene_that_fools_as_it_is_counts_as_a_win_and_does_not_come_again() -> None:
    pool, algorithm = correlated(), GenePool(LpBall("linf", 0.2), candidates=2, chance=1e-9)
    state = algorithm.init(victims_by_hand([2.0, 2.0, 2.0], [0, 0, 0]), pool)
    after, _ = told(state, algorithm, pool, [-1.0, 1.0, 1.0])
    taught = algorithm.lessons(after)
    assert taught.won.tolist() == [int(state.genes[0, 0]), -1, -1] and not bool(taught.new.any())
    learned = pool.learn(taught, capacity=9)
    number = int(state.genes[0, 0])
    assert int(learned.wins[number, 0]) == 1 and int(learned.wins.sum()) == 1 and len(learned) == len(pool)
    assert int(learned.tries[number, 0]) == int(pool.tries[number, 0]) + 3
    later, _ = told(after, algorithm, pool, [-1.0, -0.5, 1.0], seen=2)
    later, _ = told(later, algorithm, pool, [-1.0, -0.5, 0.9], seen=2)
    assert later.won[1] == state.genes[1, 1]


def test_what_a_step_finds_is_a_new_gene() -> None:
    """Where no gene is worth a query it walks; what fooled then is told in full, as it was meant."""
    algorithm = GenePool(LpBall("linf", 0.2), candidates=2)
    state = algorithm.init(victims_by_hand([2.0], [0]), empty(SHAPE, CLASSES))
    assert state.next.tolist() == [-1]
    after, asked = told(state, algorithm, empty(SHAPE, CLASSES), [1.0])
    assert bool((asked.abs() == torch.tensor(0.2)).all())
    assert algorithm.lessons(after).walked.tolist() == [False], "the first one is no step"
    final, asked = told(after, algorithm, empty(SHAPE, CLASSES), [-1.0])
    taught = algorithm.lessons(final)
    assert taught.new.tolist() == [True] and taught.won.tolist() == [-1] and taught.tried.tolist() == [[-1, -1]]
    assert (
        torch.equal(taught.genes[0], asked[0, 0])
        and taught.queries.tolist() == [2]
        and taught.walked.tolist() == [True]
    )


def test_once_it_walks_it_tries_no_more_genes_and_each_step_is_learned_from() -> None:
    """What is believed afterwards foretells the step better than what was believed before, and in its direction."""
    pool, algorithm = correlated(), GenePool(LpBall("linf", 0.2), candidates=2, chance=1.0, gain=9.0)
    state = algorithm.init(victims_by_hand([2.0], [0]), pool)
    assert state.next.tolist() == [-1], "no gene is that good"
    state, _ = told(state, algorithm, pool, [1.5])
    after, asked = told(state, algorithm, pool, [1.1])
    assert after.next.tolist() == [-1] and algorithm.lessons(after).walked.tolist() == [True]
    change = waves(SHAPE).of((state.x + asked[:, 0]).clamp(0, 1) - (state.x + state.best).clamp(0, 1))
    assert bool(change.any())
    drop = (1.5 - 1.1) / 2.0
    before, then = (float((belief.mean * change).sum()) for belief in (state.model, after.model))
    assert abs(drop - then) < 0.7 * abs(drop - before)
    assert after.model.told.tolist() == [2], "the first one, too"


def test_no_answer_teaches_nothing() -> None:
    """A classifier that is down says nothing of a gene: neither to this image nor to those that come."""
    pool, algorithm = correlated(), GenePool(LpBall("linf", 0.2), candidates=2, chance=1e-9)
    state = algorithm.init(victims_by_hand([2.0], [0]), pool)
    place = int(state.next[0])
    after, _ = told(state, algorithm, pool, [math.nan])
    assert bool(after.left[0, 0].isnan()) and after.won.tolist() == [-1] and after.seen.tolist() == [-1]
    assert float(after.mean[0, place]) == math.inf, "it would be tried again"
    assert float(after.mean[0, 1 - place]) == float(state.mean[0, 1 - place])
    assert torch.equal(after.covariance, state.covariance)
    assert torch.equal(after.model.mean, state.model.mean) and after.model.told.tolist() == [0]
    learned = pool.learn(algorithm.lessons(after), capacity=10)
    assert torch.equal(learned.tries, pool.tries) and torch.equal(learned.left, pool.left)
    answered, _ = told(state, algorithm, pool, [1.0])
    assert int(pool.learn(algorithm.lessons(answered), capacity=10).tries.sum()) == int(pool.tries.sum()) + 1


def test_an_image_on_the_brink_teaches_no_more_than_others() -> None:
    """Its margin grows a billionfold; that of another one is doubled: both say no more than that the step was bad."""
    algorithm = GenePool(LpBall("linf", 0.2), candidates=2)
    beliefs = []
    for clean, answer in ((1e-9, 5.0), (1.0, 2.0)):
        state = algorithm.init(victims_by_hand([clean], [0]), empty(SHAPE, CLASSES))
        after, _ = told(state, algorithm, empty(SHAPE, CLASSES), [answer])
        beliefs.append(after.model.mean)
    assert bool(beliefs[0].any()) and torch.equal(*beliefs)


def test_the_gene_is_what_fooled_whatever_was_seen_outside_of_the_limit() -> None:
    """Where labels are all there is, another attack goes on, which may look outside."""
    algorithm = GenePool(LpBall("linf", 0.2), candidates=2)
    state = algorithm.init(victims_by_hand([2.0], [0]), empty(SHAPE, CLASSES))
    state, _ = told(state, algorithm, empty(SHAPE, CLASSES), [-708.0])
    before = state.best
    after, asked = told(state, algorithm, empty(SHAPE, CLASSES), [-1.0])
    assert not torch.equal(asked[:, 0], before), "nothing new was asked"
    assert torch.equal(algorithm.lessons(after).genes, asked[:, 0])


def test_lessons_are_taken_once() -> None:
    """An image that pauses at its budget has taught; when it goes on to the horizon, nobody waits for it any more."""
    algorithm = Reads(Sharing(lag=1, largest=1, horizon=9, breed=False), [20, 20])
    line = Shared(2, algorithm.sharing, algorithm, empty(SHAPE, CLASSES))
    zero = torch.tensor([0])
    assert list(line.coming(0)) == [[0]]
    state = algorithm.init(victims_by_hand([2.0], [0]), line.pool)
    line.note(zero, zero + 5, state, zero == 0)  # it pauses
    assert list(line.coming(0)) == [[1]] and line.pool.images == 1
    line.note(zero, zero + 8, state, zero != 0)  # and comes to the horizon later
    assert not line._lessons


def test_genes_of_another_radius_are_drawn_out_to_this_one() -> None:
    pool = replace(two(), about={"norm": "linf", "size": 0.1})
    assert torch.allclose(pools.fitted(pool, "linf", 0.3).genes, 3 * pool.genes)
    assert pools.fitted(pool, "l0", 3).genes is pool.genes and pools.fitted(two(), "linf", 0.3).genes is not None
    assert torch.equal(pools.fitted(two(), "linf", 0.3).genes, two().genes), "of which nothing is known"


@pytest.mark.parametrize("encoding", [LpBall("linf", 0.2), LpBall("l2", 0.5), FewPixels(3)])
def test_what_a_walk_asks_stays_within_its_limit(encoding: Any) -> None:
    made = walk_for(encoding)
    assert isinstance(made, BallWalk if isinstance(encoding, LpBall) else PixelWalk)
    x = stream(4)["x"].integers(256, 1, 6, 7).float() / 255
    model = made.open(x, torch.zeros(4, dtype=torch.int64), empty((1, 6, 7), CLASSES))
    best = made.begin(x, model, stream(4))
    stepped = torch.ones(4, dtype=torch.bool)
    for number in range(6):
        pace = Pace(torch.tensor([True, False, True, False]), torch.full((4,), number), torch.tensor([0, 0, 200, 200]))
        new = made.step(x, best, model, pace, stream(4).at(number))
        kept = encoding.repair(new[:, None], x)
        assert bool(encoding.holds(encoding.decode(kept, x), x).all())
        if isinstance(encoding, LpBall):
            assert float((new - kept[:, 0]).abs().max()) <= 0.2 + 1e-6
        intent = made.intent(x, kept[:, 0])
        if isinstance(encoding, LpBall) and encoding.norm == "linf":
            assert torch.equal(intent.abs(), torch.full_like(intent, 0.2))
            assert torch.equal(encoding.repair(intent[:, None], x), kept), "the same image as was asked"
        drop = stream(4).at(number)["drop"].uniform()
        model = made.learn(model, Answer(best, kept[:, 0], kept[:, 0] - best, drop, stepped))
        best = new


def test_there_is_no_walk_in_a_frame() -> None:
    with pytest.raises(SpecError, match="sparse-rs attacks a patch or a frame"):
        walk_for(Frame(1), 0.5)


def test_one_gene_of_several() -> None:
    genes = torch.tensor([[[[0.2, -0.2]]], [[[0.2, 0.2]]], [[[-0.2, 0.2]]]])
    assert torch.allclose(BallWalk(LpBall("linf", 51 / 255)).blend(genes), torch.tensor([[[0.2, 0.2]]]))
    assert torch.allclose(BallWalk(LpBall("linf", 51 / 255)).blend(genes[:2]), torch.tensor([[[0.2, -0.2]]])), (
        "of ties the first one's"
    )
    blended = BallWalk(LpBall("l2", 0.5)).blend(genes)
    assert float(blended.norm()) == pytest.approx(0.5) and torch.allclose(blended[0, 0, 0], blended[0, 0, 1])
    pixels = torch.tensor([[[[1.0, 0, 0, -1]]], [[[1.0, 0, 0, 0]]], [[[0, 0, -1.0, 0]]]])
    assert PixelWalk(2).blend(pixels).tolist() == [[[1, 0, -1, 0]]]


# ---- the laws of sharing


SIDE = 8
LARGE = (1, SIDE, SIDE)


def net(micro_batch: int = 20) -> Linear:
    """Ten classes, of images of 8 x 8."""
    weight = (stream(10, seed=31)["weight"].uniform(*LARGE) - 0.5) * 0.5
    return Linear(weight, -0.5 * weight.flatten(1).sum(1), micro_batch=micro_batch)


def pictures(count: int = 30) -> torch.Tensor:
    return stream(count, seed=32)["images"].integers(256, *LARGE).float() / 255


def share(
    order: Sequence[int] | None = None,
    *,
    norm: str = "linf",
    budget: int = 30,
    micro_batch: int = 20,
    at_once: int | None = None,
    pool: Pool | None = None,
    seed: int = 0,
    kind: str = "logits",
    **arguments: Any,
) -> Evaded:
    """Attack by the gene pool."""
    classifier = net(micro_batch)
    if kind == "label":
        classifier = _Labels(classifier)
    x = pictures()[list(order) if order is not None else slice(None)]
    limit, goal = threat(norm, {"linf": 14 / 255, "l2": 0.5, "l0": 1}[norm], LARGE), Goal()
    given = {"horizon": 25, "lag": 2, "cohort": 4, **arguments}
    algorithm = recipes.algorithm("genepool", Setting(limit, goal, budget, classifier.info), given)
    labels = net()(x).argmax(1)
    victims = victims_of(x, labels, classifier(x), goal.objective, classifier.info)
    ledger = Ledger(classifier, searches=len(x), budget=budget)
    ledger.ask(x, torch.arange(len(x)), ("as they are",))
    return evade(
        victims,
        accounts=torch.arange(len(x)),
        seeds=[seed] * len(x),
        algorithm=algorithm,
        encoding=limit.encoding,
        objective=goal.objective,
        criterion=goal.criterion,
        ledger=ledger,
        at_once=at_once,
        pool=pool,
    )


class _Labels:
    """The class alone."""

    def __init__(self, classifier: Linear):
        self.info, self._classifier = replace(classifier.info, kind="label"), classifier

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        scores = self._classifier(images)
        return torch.nn.functional.one_hot(scores.argmax(1), scores.shape[1]).float()


def same(one: Evaded, two_: Evaded) -> bool:
    parts = ("fooled", "queries", "images", "scores", "order", "tried", "gene")
    return all(torch.equal(getattr(one, part), getattr(two_, part)) for part in parts) and known(one) == known(two_)


def known(evaded: Evaded) -> str:
    return pools.fingerprint(evaded.pool) if evaded.pool is not None else ""


NORMS = ("linf", "l2", "l0")


@pytest.mark.parametrize("norm", NORMS)
def test_the_same_list_in_the_same_order_is_the_same_to_the_last_bit(norm: str) -> None:
    one = share(norm=norm)
    if norm != "l2":  # where genes are tried only if they likely fool; there the model of the classes is shared
        assert bool((one.tried > 0).any()) and bool((one.gene >= 0).any()), "nobody tried a gene"
    assert bool((~one.fooled).any()) and bool(one.fooled.any())
    assert same(one, share(norm=norm))
    assert same(one, share(norm=norm, at_once=1)), "its rules say who joins when"
    assert same(one, share(norm=norm, micro_batch=3)), "how many go into a call makes no difference"


@pytest.mark.parametrize("norm", NORMS)
def test_another_order_may_be_another_result(norm: str) -> None:
    """Sharing is dependence; without it the order makes no difference."""
    order = list(reversed(range(30)))
    back = torch.tensor(order)
    one, two_ = share(norm=norm), share(order, norm=norm)
    assert not torch.equal(one.queries, two_.queries[back])
    alone, turned = share(norm=norm, independent=True), share(order, norm=norm, independent=True)
    assert torch.equal(alone.queries, turned.queries[back]) and torch.equal(alone.images, turned.images[back])
    assert alone.pool is None and alone.tried.tolist() == [-1] * 30 and alone.gene.tolist() == [-1] * 30


@pytest.mark.parametrize("norm", NORMS)
def test_the_first_cohorts_are_as_if_nothing_was_shared(norm: str) -> None:
    """Nobody has taught anything yet: the first image is attacked as by itself."""
    shared, alone = share(norm=norm), share(norm=norm, independent=True)
    first = [place for cohort in Sharing(lag=2, largest=4).cohorts(30)[:2] for place in cohort]
    assert torch.equal(shared.images[first], alone.images[first]) and not bool(shared.tried[first].any())
    assert not torch.equal(shared.queries, alone.queries), "sharing makes no difference"


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("cut", [20, 35])
def test_a_long_run_cut_short_is_the_short_run(norm: str, cut: int) -> None:
    """What was fooled by then: with as many queries, by the same image; and the pool that is learned."""
    long, short = share(norm=norm, budget=120, horizon=20), share(norm=norm, budget=cut, horizon=20)
    fooled = long.fooled & (long.queries <= cut - 1)
    assert torch.equal(short.fooled, fooled) and bool((long.fooled & ~fooled).any()) and bool(fooled.any())
    assert torch.equal(short.queries, torch.where(fooled, long.queries, cut - 1))
    assert torch.equal(short.images[fooled], long.images[fooled])
    assert torch.equal(short.scores[fooled], long.scores[fooled])
    for part in ("tried", "gene", "order"):
        assert torch.equal(getattr(short, part)[fooled], getattr(long, part)[fooled])
    assert known(short) == known(long)


def test_with_a_horizon_beyond_the_budget_a_cut_is_not_a_short_run() -> None:
    """So that the law above has teeth: what the long run learns late, the short one cannot know."""
    long, short = share(budget=120, horizon=120, lag=1), share(budget=20, horizon=120, lag=1)
    fooled = long.fooled & (long.queries <= 19)
    assert not torch.equal(short.fooled, fooled) or not torch.equal(short.images[fooled], long.images[fooled])
    assert known(short) != known(long)


def test_a_pool_that_is_given_is_used_from_the_first_image_on() -> None:
    first = share()
    assert first.pool is not None and len(first.pool)
    again = share(pool=first.pool)
    assert int(again.tried[0]) > 0 and again.pool is not None and again.pool.images == 60
    assert float(again.queries.double().mean()) < float(first.queries.double().mean())
    kept = pools.from_bytes(pools.to_bytes(first.pool))
    assert same(again, share(pool=kept))


def test_labels_alone_share_as_well() -> None:
    one = share(kind="label", budget=100)
    assert bool(one.fooled.any()) and bool((one.tried > 0).any())
    assert same(one, share(kind="label", budget=100))


def test_a_pool_is_never_changed_by_who_reads_it() -> None:
    pool = share().pool
    assert pool is not None
    before = pools.fingerprint(pool)
    share(pool=pool)
    assert pools.fingerprint(pool) == before


def test_statistics_of_a_pool_are_those_of_its_images() -> None:
    """Tries and wins, added up, are those that images report."""
    found = share()
    assert found.pool is not None
    assert int(found.pool.tries.sum()) == int(found.tried.sum())
    assert int(found.pool.wins.sum()) == int((found.gene >= 0).sum())
    assert found.pool.images == 30
    born = int((found.pool.queries > 0).sum())
    assert born == int((found.fooled & (found.gene < 0) & (found.queries <= 24)).sum())


def test_what_was_not_asked_teaches_nothing() -> None:
    """Where a budget for all together ends, some genes were to be tried that never were."""
    classifier, goal, limit = net(), Goal(), threat("linf", 14 / 255, LARGE)
    x, pool = pictures(), share().pool
    assert pool is not None
    cut = 0
    for total in range(20, 40):
        algorithm = recipes.algorithm("genepool", Setting(limit, goal, 60, classifier.info), {"lag": 8})
        victims = victims_of(x, classifier(x).argmax(1), classifier(x), goal.objective, classifier.info)
        ledger = Ledger(classifier, searches=len(x), total=total, cache=False)
        found = evade(
            victims, accounts=torch.arange(len(x)), seeds=[0] * len(x), algorithm=algorithm, encoding=limit.encoding,
            objective=goal.objective, criterion=goal.criterion, ledger=ledger, budget=60, pool=pool,
        )  # fmt: skip
        cut += int((found.queries == found.tried).sum())
        assert bool((found.tried <= found.queries).all()), "a gene counts as tried that nobody asked about"
        assert found.pool is not None
        assert int(found.pool.tries.sum() - pool.tries.sum()) == int(found.tried.sum()) <= total
    assert cut, "no image was cut off while it tried genes"
