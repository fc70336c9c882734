"""`evofool compare`, `list recipes` and `show recipe`: what may be compared, and what is said of it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from attack_results import image, made
from evofool import rundir
from evofool.cli import app
from evofool.errors import UserError
from evofool.recipes import recipes
from evofool.reports import attack_comparison, attack_comparison_page, differences
from evofool.reports.statistics import holm, wilcoxon, wilson
from evofool.rundir import RunDirectory
from evofool.studies.attack.results import Results


class Here(NamedTuple):
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Callable[..., Here]:
    def run(*arguments: str) -> Here:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(list(arguments))
        return Here(int(ended.value.code or 0), *capsys.readouterr())

    return run


def ran(
    queries: Sequence[int], name: str = "square", *, seed: int = 0, shares: bool = False,
    order: Sequence[int] | None = None, arguments: dict[str, Any] | None = None, **changes: Any,
) -> Results:  # fmt: skip
    """A run with a budget of 100: so many queries for each image; 100 = it held out; shuffled if it shares."""
    places = list(order or range(len(queries)))
    images = [
        image(n, min(99, took), "failed" if took >= 100 else "fooled", asked=places[n])
        for n, took in enumerate(queries)
    ]
    results = made(images, seed=seed, **changes)
    about = {**results.recipe, "name": name, "shares": shares, "arguments": arguments or {}}
    return dataclasses.replace(results, recipe=about, config={"shuffle": shares, **results.config})


def compared(*runs: Results) -> attack_comparison.Comparison:
    return attack_comparison.compare([(f"runs/{at}", results) for at, results in enumerate(runs)])


def saved(path: Path, results: Results) -> str:
    path.mkdir(parents=True)
    (path / "study.json").write_text(results.to_json())
    return str(path)


# What is computed ---------------------------------------------------------------------------------------------------


def test_two_attacks_by_hand():
    slow, fast = [10, 20, 30, 100, 50, 70], [1, 2, 3, 10, 5, 100]
    found = compared(ran(slow), ran(fast, "random"))
    first, second = found.entries
    assert (first.name, second.name, found.images, found.left_out) == ("square", "random", 6, 0)
    assert first.mean.value == pytest.approx(280 / 6)
    assert second.mean.value == pytest.approx(121 / 6)
    assert (first.median, second.median) == (40, 4)
    assert first.against is None
    assert second.against is not None
    assert second.against.value == pytest.approx(121 / 280)
    success = wilson(5, 6)
    assert success is not None
    assert first.success == pytest.approx(tuple(success[:3]))
    (pair,) = found.pairs
    assert pair.unit == "images"
    assert pair.ratio.value == pytest.approx(280 / 121)
    assert pair.queries_p == pytest.approx(wilcoxon([a - b for a, b in zip(slow, fast, strict=True)]))
    assert pair.success.value == 0
    assert pair.success_p == 1  # each fooled one that the other did not


def test_images_are_paired_by_what_they_are_and_not_by_their_place():
    queries = [10, 20, 30, 40, 50, 60, 70, 80]
    run, turned = ran(queries), ran(queries, "random")
    turned = dataclasses.replace(turned, images=[*reversed(turned.images)])
    renumbered = [dataclasses.replace(each, number=at) for at, each in enumerate(turned.images)]
    found = compared(run, dataclasses.replace(turned, images=renumbered))
    assert found.pairs[0].queries_p == 1  # no image differs
    assert found.pairs[0].ratio == (1, None, None)


def test_equal_images_are_paired_as_they_come():
    twice = [dataclasses.replace(image(n, took), sha256="ab") for n, took in enumerate([5, 9])]
    other = [dataclasses.replace(image(n, took), sha256="ab") for n, took in enumerate([4, 7])]
    found = compared(made(twice), dataclasses.replace(made(other), recipe={"name": "x"}))
    assert found.images == 2
    assert [entry.mean.value for entry in found.entries] == [7, 5.5]


def test_other_seeds_are_repetitions():
    found = compared(ran([10, 30], seed=0), ran([20, 40], seed=1), ran([1, 1], "random"))
    first, second = found.entries
    assert (first.name, first.seeds, len(second.runs)) == ("square", (0, 1), 1)
    assert first.mean.value == 25
    assert first.median == 25  # of 20 and 30
    assert first.curve.images == 4
    assert [len(each.steps) for each in first.curves] == [2, 2]
    assert found.pairs[0].success_p == 1


def test_other_arguments_are_another_way_to_attack():
    found = compared(ran([10, 30], arguments={"p": 0.8}), ran([20, 40], arguments={"p": 0.1}), ran([1, 1], "random"))
    assert [entry.name for entry in found.entries] == ["square p=0.8", "square p=0.1", "random"]
    apart = compared(ran([9, 9], "genepool", shares=True), ran([9, 9], "genepool"))
    assert [entry.name for entry in apart.entries] == ["genepool shared", "genepool independent"]


def test_a_pool_from_elsewhere_is_another_way_to_attack():
    begun = ran([1, 2], "genepool", shares=True, config={"pool": "old.safetensors"})
    found = compared(ran([9, 9], "genepool", shares=True), begun)
    assert [entry.name for entry in found.entries] == ["genepool", "genepool pool=old.safetensors"]


def test_what_a_peer_lost_on_disk_has_a_column(tmp_path: Path):
    peer = ran([5, 100], "torchattacks square")
    peer.ledger["lost on disk"] = 1
    found = compared(ran([9, 9]), peer)
    assert [entry.lost for entry in found.entries] == [None, 1]
    assert [column.title for column in attack_comparison_page.sheet(found).columns][-1] == "lost on disk"
    plain = attack_comparison_page.sheet(compared(ran([9, 9]), ran([9, 9], "random")))
    assert plain.columns[-1].title == "repeated"
    assert {len(plain.columns)} == {len(row) for row in plain.rows}
    assert "lost on disk" in attack_comparison_page.write(found, tmp_path).read_text()


def test_for_attacks_that_share_the_unit_is_the_run():
    generator = np.random.default_rng(0)
    runs = [ran(generator.integers(1, 99, 30).tolist(), "genepool", seed=seed, shares=True) for seed in range(5)]
    alone = [ran(generator.integers(1, 99, 30).tolist(), seed=seed) for seed in range(5)]
    found = compared(*alone, *runs)
    square, pool = found.entries
    means = [np.mean([each.queries for each in run.images]) for run in runs]
    expected = differences.mean_of(means)
    assert expected is not None
    assert pool.mean == pytest.approx((np.mean(means), expected.low, expected.high))
    ordered = sorted(range(30), key=lambda n: alone[0].images[n].sha256)  # the order of the list makes no difference
    by_image = np.mean([[run.images[n].queries for n in ordered] for run in alone], axis=0)
    over_images = differences.mean_of(by_image)
    assert over_images is not None
    assert square.mean == pytest.approx((by_image.mean(), over_images.low, over_images.high))
    (pair,) = found.pairs
    assert (pair.unit, pair.queries_p, pair.success_p) == ("runs", None, None)
    assert pair.ratio.low is not None
    for few in (compared(alone[0], runs[0]), compared(*alone, *runs[:4])):
        assert few.entries[0].mean.low is not None
        assert few.entries[1].mean == (pytest.approx(few.entries[1].mean.value), None, None)
        assert few.entries[1].success == (1, None, None)
        assert few.pairs[0].ratio.low is None


def test_the_share_of_an_attack_that_shares_is_no_surer_than_its_images():
    # All five runs fool all four images: over runs nothing varies, and yet 100% is not certain.
    runs = [ran([n + 1, 2, 3, 4], "genepool", seed=n, shares=True) for n in range(5)]
    found = compared(ran([9, 9, 9, 9]), *runs)
    success = wilson(4, 4)
    assert success is not None
    assert found.entries[1].success == pytest.approx(tuple(success[:3]))
    assert found.pairs[0].success == (0, None, None)
    # Nor where they vary less than so few images would: 20, 21 and 19 of 40.
    many = (20, 21, 19, 20, 20)
    runs = [ran([100] * (40 - k) + [5] * k, "genepool", seed=seed, shares=True) for seed, k in enumerate(many)]
    success = wilson(20, 40)
    assert success is not None
    assert compared(ran([9] * 40), *runs).entries[1].success == pytest.approx(tuple(success[:3]))


def test_nor_is_it_surer_than_its_runs():
    # 40 images; the runs fool from none to all of them, which says more than Wilson's interval of half of 40.
    runs = [ran([100] * (40 - many) + [5] * many, "genepool", seed=many, shares=True) for many in (0, 10, 20, 30, 40)]
    found = compared(ran([9] * 40), *runs).entries[1].success
    over, success = differences.mean_of([0, 0.25, 0.5, 0.75, 1]), wilson(20, 40)
    assert over is not None and success is not None
    assert found == pytest.approx((0.5, over.low, over.high))
    assert over.low < success.low < success.high < over.high


def test_runs_in_the_same_order_are_no_repetitions_of_what_is_carried_over():
    generator = np.random.default_rng(3)
    costs = [generator.integers(1, 99, 30).tolist() for _ in range(6)]
    plain = {"config": {"shuffle": False}}
    other = [ran(costs[5 - seed], "random", seed=seed) for seed in range(5)]
    told = "Runs of genepool took the images in the same order"
    same = [ran(costs[seed], "genepool", seed=seed, shares=True, **plain) for seed in range(5)]
    drawn = [ran(costs[seed], "genepool", seed=seed, shares=True) for seed in range(5)]
    turned = ran(costs[1], "genepool", seed=1, shares=True, order=[*reversed(range(30))], **plain)
    for runs, alike in (
        (same, True),
        (drawn, False),  # by chance the same
        ([*drawn, dataclasses.replace(same[0], seed=9)], False),
        ([same[0], turned, *drawn[2:]], False),  # a list in another order
        ([same[0], turned, *same[2:]], True),
        ([*same[:2], *drawn[2:]], True),
    ):
        found = compared(*other, *runs)
        entry = found.entries[1]
        assert entry.alike == alike
        assert not found.entries[0].alike
        for estimate in (
            entry.mean, entry.success, entry.against, found.pairs[0].ratio, *(point.mean for point in entry.learning)
        ):  # fmt: skip
            assert estimate is not None
            assert (estimate.low is None) == alike == (estimate.high is None)
        assert entry.mean.value == pytest.approx(np.mean([run.mean for run in entry.runs]))
        text = " ".join(attack_comparison_page.sentences(found))
        assert text.count(told) == alike
        assert ("Give `evofool attack` --shuffle" in text) == alike
        assert "fewer than five" not in text
    # Runs that share nothing are repetitions in any order.
    found = compared(ran(costs[0]), ran(costs[1], seed=1), *other)
    assert not found.entries[0].alike
    assert found.entries[0].mean.low is not None
    assert told not in " ".join(attack_comparison_page.sentences(found))


@pytest.mark.parametrize("count", [1, 4])
def test_few_runs_that_share_have_no_interval_at_all(count: int):
    runs = [ran([5] * 20 + [100] * 20, "genepool", seed=seed, shares=True) for seed in range(count)]
    found = compared(ran([9] * 40), *runs)
    assert found.entries[1].success == (0.5, None, None)
    assert found.entries[0].success.low is not None
    assert "fewer than five runs" in " ".join(attack_comparison_page.sentences(found))


def test_one_run_is_tested_against_one_of_several():
    """Both are one attack, whose queries are skewed: a mean over five runs mostly lies above a single one."""
    generator = np.random.default_rng(5)

    def runs(name: str, count: int) -> list[Results]:
        return [ran(generator.geometric(0.1, 500).clip(1, 99).tolist(), name, seed=seed) for seed in range(count)]

    one, five = runs("square", 1), runs("random", 5)
    found = compared(*one, *five)
    single = compared(*one, five[0])
    assert found.entries[1].mean.value != single.entries[1].mean.value
    assert found.pairs[0].queries_p == single.pairs[0].queries_p > 0.05
    assert found.pairs[0].success_p == single.pairs[0].success_p == 1
    by_image = np.mean([[each.queries for each in run.images] for run in five], axis=0)
    wrong = wilcoxon((np.array([each.queries for each in one[0].images]) - by_image).tolist())
    assert wrong < 0.01


def test_equal_differences_are_ties():
    """Of five runs, shares of 1/5 differ in their last bit by how they came about."""
    fooled = [[1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0], [1, 1, 1, 1, 1, 0], [1, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1]]
    other = [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1], [0, 0, 1, 0, 0, 1]]
    gaps = (np.array(fooled).sum(0) - np.array(other).sum(0)).tolist()
    shares = np.mean(fooled, axis=0, dtype=float) - np.mean(other, axis=0, dtype=float)
    assert len({abs(gap) for gap in shares if gap}) > len({abs(gap) for gap in gaps if gap})
    assert differences.success_p(fooled, other) == wilcoxon(gaps)


def test_runs_with_and_without_a_cache_are_told_apart():
    without = {"config": {"cache": False}}

    def told(*runs: Results) -> list[str]:
        return [text for text in attack_comparison_page.sentences(compared(*runs)) if "no cache" in text]

    assert told(ran([9, 9]), ran([8, 8], seed=1), ran([7, 7], "random", **without)) == [
        "1 of 3 runs had no cache (as with --no-cache): they were charged for an image each time that they asked about "
        "it, the others only once."
    ]
    assert told(ran([9, 9]), ran([8, 8], seed=1, **without))
    assert not told(ran([9, 9]), ran([8, 8], "random"))
    assert not told(ran([9, 9], **without), ran([8, 8], "random", **without))


def test_holm_is_over_all_pairs_for_success_too():
    # b fools 8 images more than a, c as many as b: McNemar 2 / 256 twice and 1 once, so three times the smallest.
    fooled, failed = [5] * 12, [100] * 8 + [5] * 4
    found = compared(ran(failed, "a"), ran(fooled, "b"), ran(fooled, "c"))
    assert [pair.success_p for pair in found.pairs] == pytest.approx([6 / 256, 6 / 256, 1])
    assert found.pairs[0].success.value == pytest.approx(-8 / 12)


def test_holm_is_over_all_pairs():
    generator = np.random.default_rng(2)
    columns = [generator.integers(1, 99, 12).tolist() for _ in range(3)]
    found = compared(*(ran(column, name) for column, name in zip(columns, "abc", strict=True)))
    raw = [
        wilcoxon([a - b for a, b in zip(columns[one], columns[two], strict=True)])
        for one, two in ((0, 1), (0, 2), (1, 2))
    ]
    assert [pair.queries_p for pair in found.pairs] == pytest.approx(holm(raw))
    assert [(pair.first, pair.second) for pair in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_the_first_images_are_those_that_were_attacked_first():
    queries = [*range(1, 21)]
    found = compared(ran(queries), ran(queries, "genepool", shares=True, order=[*reversed(range(20))]))
    assert [entry.firsts for entry in found.entries] == [((10, 5.5),), ((10, 15.5),)]
    assert [[point.mean.value for point in entry.learning] for entry in found.entries] == [[5.5, 15.5], [15.5, 5.5]]


def test_issued_distinct_and_repeated():
    first, second = ran([10, 20]), ran([10, 20], "random", config={"cache": False})
    first.ledger["searches"]["x"] = {"issued": 9, "answered": 4, "failed": 3, "lost": 2, "repeated": 7}
    found = compared(first, second)
    assert (found.entries[0].issued, found.entries[0].distinct, found.entries[0].repeated) == (41, 36, 9)
    assert found.entries[1].distinct is None
    second.ledger["distinct"] = 31
    assert compared(first, second).entries[1].distinct == 31


def test_images_that_not_all_attacked_are_left_out_and_told():
    first, second = ran([10, 20, 30]), ran([1, 2, 3], "random")
    images = [image(0, 0, "unanswered"), *second.images[1:]]
    found = compared(first, dataclasses.replace(second, images=images))
    assert (found.images, found.left_out) == (2, 1)
    assert found.entries[0].mean.value == 25
    assert any("1 image that not all runs attacked" in text for text in attack_comparison_page.sentences(found))
    nobody = [image(n, 0, "skipped") for n in range(3)]
    with pytest.raises(UserError, match="no image was attacked in all"):
        compared(first, dataclasses.replace(second, images=nobody))


# What cannot be compared --------------------------------------------------------------------------------------------

OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "limit": ({"norm": "l2", "size": 2.0, "limit": "L2 2"}, "the limit is L2 2, of {0} it is L-inf 76/255"),
    "size": ({"size": 8 / 255, "limit": "L-inf 8/255"}, "the limit is L-inf 8/255, of {0}"),
    "budget": ({"budget": 1000}, "the budget is 1,000, of {0} it is 100;"),
    "budget of all": ({"config": {"budget_total": 4000}}, "the budget of all is 4,000, of {0} it is none;"),
    "goal": ({"k": 5}, "the goal is away from its class (top 5), of {0}"),
    "classifier": (
        {"classifier": {"name": "cnn", "fingerprint": "cd" * 32}},
        "the classifier is cnn (cdcdcdcdcdcd), of {0} it is net (abababababab)",
    ),
    "images": (
        {"images": [image(0, 1), image(7, 2)]},
        "has other images: 1 of its 2 are not among the 2 of {0} with the same label, such as digits 0007",
    ),
    "labels": ({"images": [image(0, 1), image(1, 2, label=2)]}, "has other images: 1 of its 2"),
    "fewer": ({"images": [image(0, 1)]}, "has 1 of the 2 images of {0}"),
    "the same": ({}, "is the same recipe with the same seed 0 as {0}"),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_cannot_be_compared_is_refused_in_one_line(name: str, here: Callable[..., Here], tmp_path: Path):
    changes, words = OTHER[name]
    one, two = (
        saved(tmp_path / "one", ran([4, 5])),
        saved(tmp_path / "two", dataclasses.replace(ran([4, 5]), **changes)),
    )
    done = here("compare", one, two)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert words.format(one) in done.stderr
    assert two in done.stderr
    assert not done.stdout


def test_other_targets_cannot_be_compared():
    first, second = (
        made([image(0, 3, target=target), image(1, 4, target=1)], seed=target) for target in (1, 2)
    )  # fmt: skip
    with pytest.raises(UserError, match=r"aims at other classes than runs/0 for 1 of 2 images"):
        compared(first, second)


def test_one_run_is_no_comparison(here: Callable[..., Here], tmp_path: Path):
    done = here("compare", saved(tmp_path / "one", ran([4, 5])))
    assert (done.returncode, "give two or more" in done.stderr) == (2, True)


def test_only_finished_attacks_are_read(here: Callable[..., Here], tmp_path: Path):
    good = saved(tmp_path / "good", ran([4, 5]))
    done = here("compare", good, str(tmp_path / "nowhere"))
    assert (done.returncode, "no study.json there" in done.stderr) == (2, True)
    for kind, words in (
        ("draw", "is a run of the kind 'draw'"),
        ("attack", "has not come to its end; `evofool resume"),
    ):
        path = tmp_path / kind
        RunDirectory.create(path, {"kind": kind, "config": {}}).close()
        done = here("compare", good, str(path))
        assert (done.returncode, words in done.stderr) == (2, True)
    (tmp_path / "attack" / "study.json").write_text(ran([6, 7], "random").to_json())
    rundir.write_manifest(tmp_path / "attack")
    assert here("compare", good, str(tmp_path / "attack"), "-q").returncode == 0
    (tmp_path / "attack" / "study.json").write_text(ran([1, 1], "random").to_json())
    done = here("compare", good, str(tmp_path / "attack"))
    assert (done.returncode, "has changed since the run was closed" in done.stderr) == (4, True)
    (tmp_path / "attack" / "study.json").unlink()
    saved_ = tmp_path / "broken"
    saved_.mkdir()
    (saved_ / "study.json").write_text('{"format": "evofool-drawing/1"}')
    assert here("compare", good, str(saved_)).returncode == 4


# What is said -------------------------------------------------------------------------------------------------------


def five(tmp_path: Path) -> list[str]:
    """A run of Square, one of random search, and three with a pool."""
    generator = np.random.default_rng(4)
    hard = generator.integers(20, 90, 60)
    runs = [ran(hard.tolist()), ran([*np.minimum(hard + 9, 98)[:-1].tolist(), 100], "random")]
    runs += [ran((hard // (4 + seed)).tolist(), "genepool", seed=seed, shares=True) for seed in range(3)]
    return [saved(tmp_path / f"run{at}", results) for at, results in enumerate(runs)]


def test_the_table_on_the_terminal(here: Callable[..., Here], tmp_path: Path):
    done = here("compare", *five(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "60 images of digits against net, L-inf 76/255, away from its class; a failure counts as the " \
        "budget of 100 queries"  # fmt: skip
    assert re.split(r"\s{2,}", lines[2]) == [
        "recipe", "runs", "success", "mean", "median", "first 10", "first 50", "x first recipe", "issued", "distinct",
        "repeated",
    ]  # fmt: skip
    starts = [line.split()[0] for line in lines[3:9:2]]
    assert starts == ["square", "random", "genepool"]
    assert re.search(r"genepool +3 +100\.0%", done.stdout)
    assert re.search(r"random +1 +98\.3%", done.stdout)
    assert lines[4].split() == lines[4].replace("  ", " ").split()
    assert "94.0% to 100.0%" in lines[4]
    assert "• Over 60 images genepool took the fewest queries" in done.stdout
    assert max(map(len, lines[2:9])) < 140


def test_the_page_and_its_tables(here: Callable[..., Here], tmp_path: Path):
    runs, out = five(tmp_path), tmp_path / "out"
    done = here("compare", *runs, "-o", str(out), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["page"] == str(out / "compare.html")
    assert [each["recipe"] for each in told["recipes"]] == ["square", "random", "genepool"]
    assert told["recipes"][0]["ratio_to_first"] == 1
    assert told["recipes"][2]["seeds"] == "0 1 2"
    text = (out / "compare.html").read_text()
    for sentence in told["findings"]:
        assert sentence in text.replace("&#39;", "'").replace("&lt;", "<")
    assert not re.search(r"<script|<link|https?://", text)
    assert set(re.findall(r'href="#([\w-]+)"', text)) <= set(re.findall(r' id="([\w-]+)"', text))
    assert {path.name for path in (out / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("survival", "learning") for kind in ("svg", "png")
    }
    rows = json.loads((out / "tables" / "comparison.json").read_text())
    assert rows == told["recipes"]
    assert len(json.loads((out / "tables" / "pairs.json").read_text())) == 3
    assert len(json.loads((out / "tables" / "runs.json").read_text())) == 5
    again = tmp_path / "again"
    assert here("compare", *runs, "-o", str(again), "-q") == (0, "", "")
    for path in out.rglob("*.*"):
        assert path.read_bytes() == (again / path.relative_to(out)).read_bytes()
    done = here("compare", *runs, "-o", str(out))
    assert (done.returncode, "not empty" in done.stderr) == (2, True)


def test_attacks_that_do_not_share_have_no_learning_curve(tmp_path: Path):
    found = compared(ran([10, 20, 30]), ran([1, 2, 3], "random"))
    text = attack_comparison_page.write(found, tmp_path).read_text()
    assert "By place in the order" not in text
    assert "McNemar" in text
    assert not re.search(r"(?<!L-)\b(nan|inf|None)\b", re.sub(r"data:[^\"]+", "", text))


def test_a_curve_of_one_point_is_none(tmp_path: Path):
    """A few images are one block: its mean stands in the table, and no link leads to a curve."""
    few, many = ([5 + n % 7 for n in range(count)] for count in (11, 40))
    for queries, there in ((few, False), (many, True)):
        found = compared(ran(queries), ran([n + 1 for n in queries], "genepool", shares=True))
        text = attack_comparison_page.write(found, tmp_path / str(there)).read_text()
        assert "genepool carries what worked from image to image" in text
        assert ('id="learning"' in text, 'href="#learning"' in text) == (there, there)


def test_the_better_one_is_named_whatever_the_order():
    fast, slow = ran([1, 2, 3, 4, 5, 6, 7, 8]), ran([10, 22, 31, 44, 50, 63, 71, 85], "random")
    for runs in ((fast, slow), (slow, fast)):
        text = " ".join(attack_comparison_page.sentences(compared(*runs)))
        assert "square took the fewest queries: a mean of 4.5" in text
        ratio = re.search(r"square took (\S+) \((\S+) to (\S+)\) times as many queries as random", text)
        assert ratio is not None
        low, high = float(ratio[2]), float(ratio[3])
        assert low <= float(ratio[1]) <= high < 0.2
        assert float(ratio[1]) == pytest.approx(36 / 376, abs=5e-3)
        assert "p = 0.008 by Wilcoxon's test over the same images" in text


# Recipes ------------------------------------------------------------------------------------------------------------


def test_recipes_are_listed_with_what_they_are_for(here: Callable[..., Here]):
    done = here("list", "recipes")
    assert done.returncode == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert set(lines) == set(recipes())
    assert "random search over squares" in lines["square"]
    assert "[linf, l2; scores; untargeted, targeted]" in lines["square"]


@pytest.mark.parametrize("name", sorted(recipes()))
def test_a_recipe_is_shown_in_full(name: str, here: Callable[..., Here]):
    done = here("show", "recipe", name)
    assert done.returncode == 0
    recipe = recipes()[name]
    for line in recipe.text.splitlines():
        assert line in done.stdout
    for argument in recipe.arguments:
        assert re.search(rf"^  {argument} +\S", done.stdout, re.MULTILINE)
    for norm in recipe.norms:
        assert f"evofool attack --recipe {name} --classifier mnist99 --data mnist" in done.stdout, norm
    assert done.stdout.count("evofool attack --recipe") == len(recipe.norms)
    assert recipe.paper in done.stdout


def test_an_unknown_recipe_has_neighbours(here: Callable[..., Here]):
    done = here("show", "recipe", "sqare")
    assert done.returncode == 2
    assert "unknown; did you mean 'square'?" in done.stderr
    assert done.stderr.count("\n") == 1
