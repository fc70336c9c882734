"""The report of drawing: true to the numbers, self-contained, harmless, repeatable, and there for every odd run."""

from __future__ import annotations

import base64
import csv
import dataclasses
import html as escaping
import io
import json
import re
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from evofool import rundir
from evofool.reports import (
    drawing,
    drawing_findings,
    drawing_gallery,
    drawing_page,
    drawing_pixels,
    drawing_tables,
    html,
)
from evofool.studies.draw import drawing as ways
from evofool.studies.draw import planning
from evofool.studies.draw import results as stored
from evofool.studies.draw.results import Arm, Drawn, Picture, Results, Shrinking
from pages import Reader, files

HOSTILE = "<script>alert(1)</script>"


# Results by hand ----------------------------------------------------------------------------------------------------


def run(
    seed: int, final: list[int], confidence: float = 0.97, *, before: list[int] | None = None, reached: int | None = 3,
    ended: int | None = 3, minimal: int = 2, queries: int = 400, prediction: int = 0,
    confidences: list[float] | None = None, **changes: Any,
) -> Drawn:  # fmt: skip
    """A run that drew `before` and shrank it to `final`; without `before` it was not shrunk. The rest is curves."""
    best = Picture(before if before is not None else final, confidence, prediction)
    words = f"{minimal}-minimal, 12 queries" if minimal else "not shown to be minimal: the budget ended, 12 queries"
    left = Picture(final, confidence, prediction)
    shrunk = Shrinking(left, minimal, 12, words) if before is not None else None
    last = 3 if ended is None else ended
    numbers = list(range(last + 1))
    parts = {
        "generations": numbers,
        "confidence": confidences or [round(confidence * (g + 1) / (last + 1), 6) for g in numbers],
        "ink": [1 + g for g in numbers],
        "fitness": [1.0 - 0.1 * g for g in numbers],
        "steps": [2.0 - 0.1 * g for g in numbers],
        "strip": [(0, Picture([5], 0.2, 1)), (1, Picture([5, 6], 0.4, 1)), (last, best)],
    }
    at_goal = {"at_goal": reached is not None}
    return Drawn(
        "draw", "net", seed, best, reached, queries, ended, shrunk=shrunk, **{**parts, **at_goal, **changes}
    )  # fmt: skip


def made(
    runs: list[Drawn] | None = None, *, size: tuple[int, int] = (8, 8), canvas: tuple[float, ...] = (1.0,),
    ink: tuple[float, ...] = (0.0,), class_names: tuple[str, ...] = ("cat", "not_cat"),
    blank: Picture | None = None, ledger: dict[str, Any] | None = None, region: tuple[str, ...] = (),
    name: str = "net", **config: Any,
) -> Results:  # fmt: skip
    """Results of the economical way to draw, with these runs."""
    runs = three() if runs is None else runs
    asked = planning.Config("net", "cat", runs=len(runs), generations=3, region=region, **config)
    way = ways.settings(
        preset=asked.preset, goal=asked.goal, confidence=asked.confidence, generations=3, region=region, stop=asked.stop
    )
    counts = {"issued": 412, "answered": 412, "failed": 0, "lost": 0, "repeated": 9}
    searches = {"blank canvas/net": {**counts, "issued": 1}} | {f"draw/net/{run.seed}": dict(counts) for run in runs}
    return Results(
        command="evofool draw --classifier net --target cat -o DIR",
        config=json.loads(json.dumps(dataclasses.asdict(asked))),
        versions={"python": "3.11.7", "evofool": "0.1.0"},
        classifier={"name": name, "fingerprint": "ab" * 32, "accuracy": 0.8, "variant": ""},
        class_names=list(class_names),
        target=0,
        blank=blank or Picture([], 0.031, 1),
        arms=[Arm("draw", "a way", way.described(), size, canvas, ink)],
        runs=runs,
        ledger={"searches": searches, "padded": 0, "kills": 0, "drift": []} | (ledger or {}),
    )


def three() -> list[Drawn]:
    """Two that reach the goal, and one that does not."""
    return [
        run(0, [0, 9], before=[0, 9, 20, 33]),
        run(1, [9], 0.981, before=[9, 44], queries=600, minimal=2),
        run(2, [30, 31, 32], 0.714, reached=None, ended=None, prediction=0, queries=800),
    ]


def whole(results: Results, directory: Path) -> str:
    """The page; a warning of what draws the figures is a fault."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        return drawing.write(results, directory).read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path, Reader]:
    directory = tmp_path_factory.mktemp("page")
    results = made()
    return results, directory, Reader(whole(results, directory))


# What is computed ---------------------------------------------------------------------------------------------------


def test_map_and_profile_of_a_4_by_4_by_hand():
    # Ring 0 of 4 x 4 has 12 of 16 pixels, ring 1 has the 4 in the middle.
    found = drawing_tables.places([run(0, [0, 5]), run(1, [5])], (4, 4))
    expected = np.zeros((4, 4))
    expected[0, 0] = 0.5
    expected[1, 1] = 1.0
    assert np.array_equal(found.map, expected)
    assert [(ring.first, ring.last, ring.pixels, ring.area) for ring in found.rings] == [
        (0, 0, 12, 0.75), (1, 1, 4, 0.25),
    ]  # fmt: skip
    # Shares of ring 0: 1/2 and 0; of ring 1: 1/2 and 1. Each run counts the same.
    assert [ring.ink for ring in found.rings] == [0.25, 0.75]
    assert found.steps is not None
    assert found.steps.estimate == 0.75  # mean distances 1/2 and 1
    assert found.canvas == 0.25
    assert (found.runs, found.inked, found.square) == (2, 2, 1)


def test_what_lies_where_is_that_of_the_shrunk_drawing():
    found = drawing_tables.places([run(0, [5], before=[0, 1, 2, 3, 5])], (4, 4))
    assert found.map.sum() == 1
    assert found.rings[1].ink == 1.0


def test_rows_and_columns_are_not_exchanged():
    found = drawing_tables.places([run(0, [11])], (3, 6))  # row 1, column 5
    assert found.map.shape == (3, 6)
    assert found.map[1, 5] == 1
    assert found.rings[0].ink == 1.0
    found = drawing_tables.places([run(0, [8])], (3, 6))  # row 1, column 2: the middle
    assert found.rings[1].ink == 1.0


def test_a_large_canvas_is_told_in_squares_and_bands():
    found = drawing_tables.places([run(0, [0, 1, 299 * 298 + 298])], (299, 299))
    assert found.square == 5
    assert found.map.shape == (60, 60)
    assert (found.map[0, 0], found.map[59, 59], found.map.sum()) == (2, 1, 3)
    assert len(found.rings) <= drawing_tables.BANDS
    assert found.rings[0].first == 0
    assert found.rings[-1].last == 149
    assert all(one.last + 1 == other.first for one, other in zip(found.rings, found.rings[1:], strict=False))
    assert sum(ring.pixels for ring in found.rings) == 299 * 299
    assert sum(ring.area for ring in found.rings) == pytest.approx(1)


def test_intervals_are_over_runs_and_not_over_pixels():
    # Three runs, with all, half and none of their ink in ring 0; by t with 2 degrees, +- 4.303 x 0.5 / sqrt(3).
    three = [run(0, [0, 1, 2, 3]), run(1, [4, 5]), run(2, [5])]
    found = drawing_tables.places(three, (4, 4))
    assert (found.rings[0].ink, found.rings[0].low, found.rings[0].high) == (0.5, 0.0, 1.0)  # no share is beyond
    assert found.steps is not None
    half = 4.303 * 0.5 / 3**0.5
    assert found.steps.estimate == pytest.approx(0.5)
    assert found.steps.low == pytest.approx(0.5 - half, rel=0.1)
    assert found.steps.high == pytest.approx(0.5 + half, rel=0.1)
    # As many runs with more pixels each: as wide.
    more = drawing_tables.places([run(0, [0, 1, 2, 3, 12, 13]), *three[1:]], (4, 4))
    assert more.steps == found.steps


@pytest.mark.parametrize("runs", [1, 2])
def test_fewer_than_three_runs_have_no_interval(runs: int):
    shown = [run(0, [0, 5]), run(1, [0])][:runs]
    found = drawing_tables.places(shown, (4, 4))
    assert {(ring.low, ring.high) for ring in found.rings} == {(None, None)}
    assert found.steps is not None
    assert (found.steps.low, found.steps.high) == (None, None)
    assert not any("interval" in text for text in drawing.sentences(made(shown)))
    assert any("(95% interval over 3 runs: " in text for text in drawing.sentences(made([*shown[:1] * 2, run(2, [9])])))


@pytest.mark.parametrize("runs", [3, 5, 400])
def test_intervals_are_those_of_student(runs: int):
    values = np.random.default_rng(7).normal(3.0, 1.0, (runs, 2)) * [1, 10]
    for column, found in enumerate(drawing_tables.over_runs(values)):
        mean, error = values[:, column].mean(), values[:, column].std(ddof=1) / runs**0.5
        half = stats.t.ppf(0.975, runs - 1) * error
        assert found.estimate == pytest.approx(mean)
        assert found.low == pytest.approx(mean - half, abs=0.1 * half)
        assert found.high == pytest.approx(mean + half, abs=0.1 * half)


def test_curves_hold_the_last_value_of_a_run_that_has_ended():
    assert drawing_tables.held([0, 2], [1, 5], [0, 1, 2, 3]) == [1, 1, 5, 5]
    assert drawing_tables.held([1], [4], [0, 1, 2]) == [None, 4, 4]
    short = run(0, [1], reached=1, ended=1, generations=[0, 1], ink=[1, 3], confidences=[0.1, 0.97], steps=[1.0, 1.0])
    long = run(1, [1], reached=None, ended=None, generations=[0, 1, 2], ink=[1, 5, 9], confidences=[0.1, 0.2, 0.3],
               steps=[1.0, None, None])  # fmt: skip
    found = {curve.measure: curve for curve in drawing_tables.curves([short, long])}
    assert found["ink"].generations == (0, 1, 2)
    assert found["ink"].median == (1, 4, 6)  # of 1 1, of 3 5, of 3 9
    assert found["ink"].low == (1, 3.5, 4.5)
    assert found["ink"].high == (1, 4.5, 7.5)
    assert found["reached"].median == (0, 0.5, 0.5)
    assert found["steps"].median == (1, 1, 1)  # a run without ink has no distance
    assert "weight" not in found
    assert "hypervolume" not in found


def test_long_curves_are_thinned_and_keep_their_ends():
    last = 5000
    numbers = list(range(last + 1))
    long = run(0, [1], ended=last, reached=last, generations=numbers, ink=numbers, confidences=[0.5] * (last + 1),
               steps=[1.0] * (last + 1))  # fmt: skip
    ink = next(curve for curve in drawing_tables.curves([long]) if curve.measure == "ink")
    assert len(ink.generations) <= drawing_tables.POINTS
    assert (ink.generations[0], ink.generations[-1]) == (0, last)
    assert ink.median == ink.generations


def test_the_best_front_of_all_runs_by_hand():
    one = run(0, [1], front=[Picture([], 0.1, 1), Picture([1], 0.5, 1), Picture([1, 2, 3], 0.8, 0)])
    two = run(1, [1], front=[Picture([2], 0.6, 0), Picture([2, 3], 0.7, 0), Picture([2, 3, 4, 5], 0.8, 0)])
    found = drawing_tables.front([one, two])
    assert [(seed, picture.ink, picture.confidence) for seed, picture in found] == [
        (0, 0, 0.1), (1, 1, 0.6), (1, 2, 0.7), (0, 3, 0.8),
    ]  # fmt: skip


HOLDS = {
    "at the goal": (True, run(0, [1], before=[1, 2]), {}),
    "never": (False, run(0, [1], reached=None), {}),
    "lost again": (False, run(0, [1], 0.5, at_goal=False), {}),
    "not confirmed": (False, run(0, [1], before=[1, 2]), {"confirm": 2}),
    "confirmed": (True, run(0, [1], before=[1, 2], confirmed=2), {"confirm": 2}),
}


@pytest.mark.parametrize("name", HOLDS)
def test_what_is_at_the_goal(name: str):
    expected, one, config = HOLDS[name]
    assert drawing_tables.holds(made([one], **config), one) is expected


def test_why_a_run_ended():
    reached, spent = run(0, [1], before=[1, 2]), run(1, [1], reached=None, ended=2)
    rows = drawing_tables.analyse(made([reached, spent, run(2, [1], reached=None, ended=None)])).rows
    assert [row.ended for row in rows] == ["goal", "budget", ""]
    rows = drawing_tables.analyse(made([reached], stop=False)).rows  # only a budget ends those that do not stop
    assert [row.ended for row in rows] == ["budget"]


# Pixels -------------------------------------------------------------------------------------------------------------


def arm(size: tuple[int, int], canvas: tuple[float, ...] = (1.0,), ink: tuple[float, ...] = (0.0,)) -> Arm:
    return Arm("draw", "", {}, size, canvas, ink)


def test_pixels_are_those_that_were_sent():
    found = drawing_pixels.pixels([1, 5], arm((2, 3), (0.2,), (1.0,)))
    assert found.tolist() == [[51, 255, 51], [51, 51, 255]]
    colours = drawing_pixels.pixels([1], arm((1, 2), (1.0, 0.0, 0.2), (0.0, 0.0, 1.0)))
    assert colours.tolist() == [[[255, 0, 51], [0, 0, 255]]]
    assert drawing_pixels.pixels([0], arm((1, 1), (1.0, 1.0), (0.0, 0.2))).tolist() == [
        [26]
    ]  # of two channels the mean


def test_ink_that_went_has_a_colour_of_its_own():
    found = drawing_pixels.pixels([0, 1], arm((1, 3)), marked={1})
    assert found.tolist() == [[[0, 0, 0], [0xD5, 0x5E, 0x00], [255, 255, 255]]]


def test_on_a_fine_canvas_ink_can_be_seen():
    assert drawing_pixels.thickness((160, 160)) == 1
    found = drawing_pixels.pixels([0, 299 * 150 + 150], arm((299, 299)))
    assert drawing_pixels.thickness((299, 299)) == 3
    assert np.argwhere(found == 0).tolist() == [
        [0, 0], [0, 1], [1, 0], [1, 1], *([row, column] for row in (149, 150, 151) for column in (149, 150, 151))
    ]  # fmt: skip


@pytest.mark.parametrize("size", [(4, 4), (28, 28), (32, 32), (64, 64), (96, 128), (224, 224), (299, 299)])
def test_a_shown_pixel_is_a_whole_number_of_pixels(size: tuple[int, int]):
    shown = drawing_pixels.width(size)
    assert shown % size[1] == 0
    assert 100 <= shown <= 320


# Sentences ----------------------------------------------------------------------------------------------------------


def test_the_findings_of_three_runs():
    assert drawing.sentences(made()) == [
        "2 of 3 runs made net say cat at 96% or more; the other one came to 71.4%.",
        "The canvas without ink is read as not_cat (cat: 3.1%).",
        "Least ink: 1 pixel (seed 1, 98.1%, 2-minimal: no pixel and no pair can go); over 2 drawings the median is "
        "1.5 pixels, the most 2 pixels.",
        "Median 500 queries to the goal, 12 more to shrink from 3 to 1.5 pixels.",
        # Steps of places 0 and 9 of 8 x 8: 0 and 1; of place 9: 1. All rings: (0 x 28 + 20 + 2 x 12 + 3 x 4) / 64.
        "The ink lies 0.8 pixels from the border on average, the pixels of the canvas 0.9.",
    ]


def test_drawings_that_are_all_as_small():
    found = drawing.sentences(made([run(seed, [seed], before=[seed]) for seed in range(3)]))
    assert (
        "Least ink: 1 pixel (seed 0, 97.0%, 2-minimal: no pixel and no pair can go); the other 2 have as much." in found
    )
    assert "Median 400 queries to the goal, 12 more to find nothing that could go." in found


def test_nothing_had_to_be_drawn():
    found = drawing.sentences(made([run(0, [], 0.98, before=[3])], blank=Picture([], 0.98, 0)))
    assert "Nothing had to be drawn: the canvas without ink is at the goal already (cat: 98.0%)." in found
    assert any(text.startswith("Least ink: 0 pixels") for text in found)
    already = drawing.sentences(made(blank=Picture([], 0.71, 0)))
    assert any("is read as cat already, at 71.0%" in text for text in already)
    assert not any("Nothing had to be drawn" in text for text in already)
    unknown = drawing.sentences(made(blank=Picture([], 0.0, -1)))
    assert any("was not answered" in text for text in unknown)


def test_no_run_reached_the_goal():
    runs = [run(seed, [1, 2], 0.3 + seed / 10, reached=None, ended=None) for seed in range(3)]
    found = drawing.sentences(made(runs))
    assert found[0] == (
        "None of 3 runs made net say cat at 96% or more: the best came to 50.0% with 2 pixels (seed 2)."
    )
    assert not any("Least ink" in text or "queries to the goal" in text for text in found)
    assert any("The ink of the best attempts lies" in text for text in found)


def test_no_goal_is_claimed_that_was_not_reached():
    assert drawing_findings.percent(0.95999) == "95.9%"
    assert drawing_findings.percent(0.96) == "96.0%"
    assert drawing_findings.percent(0.29) == "29.0%"
    assert drawing_findings.percent(0.99999) == "99.9%"
    assert drawing_findings.percent(1.0) == "100.0%"
    assert drawing_findings.percent(0.0) == "0.0%"
    assert drawing_findings.percent(0.0004) == "< 0.1%"


def test_what_kept_runs_from_going_on_is_told():
    runs = [
        run(0, [1], before=[1, 2]),
        run(1, [1], 0.5, reached=None, ended=1),
        run(2, [1], 0.5, reached=None, ended=2),
    ]
    results = made(runs, budget=500, total_budget=1200, ledger={"kills": 2, "drift": ["torch 1, now 2"]})
    results.ledger["searches"]["draw/net/1"] |= {"lost": 40, "failed": 3}
    found = drawing.sentences(results)
    assert "The budget of 400 queries ended 2 of 3 runs after generation 1 to 2." in found
    assert "The classifier left 3 queries unanswered; they were charged." in found
    assert "The run was resumed after 2 kills, 40 queries lost: charged, and their answers unknown." in found
    assert "Not everything stayed as it was when the run began: torch 1, now 2." in found
    quiet = drawing.sentences(made())
    assert not any("budget" in text or "resumed" in text or "unanswered" in text for text in quiet)


def test_a_drawing_that_did_not_hold_again_is_told():
    runs = [run(0, [1], before=[1, 2], confirmed=2), run(1, [1], before=[1, 2])]
    found = drawing.sentences(made(runs, confirm=2))
    assert "1 of 2 runs made net say cat at 96% or more" in found[0]
    assert "1 of 2 drawings missed the goal when the classifier was asked again." in found


def test_words_of_the_boundary():
    runs = [run(0, [1], 0.492, before=[1, 2], prediction=1), run(1, [1], 0.506, before=[1, 2], prediction=0)]
    found = drawing.sentences(made(runs, goal="boundary"))
    assert found[0] == (
        "Both runs came to the boundary of cat (a tie with the best other class, within 1%): net gives cat 49.2% to "
        "50.6%, and reads 1 drawing as cat and 1 drawing as not_cat."
    )
    none = drawing.sentences(made([run(0, [1], 0.8, reached=None, ended=None)], goal="boundary"))
    assert none[0].startswith("The run did not come to the boundary of cat")


def test_words_of_the_front():
    front = [Picture(list(range(ink)), confidence, 0) for ink, confidence in ((0, 0.1), (1, 0.5), (2, 0.97))]
    found = drawing.sentences(made([run(0, [0, 1], before=[0, 1], front=front)], goal="front"))
    assert (
        "More ink, more cat: the fewest pixels on any front that reach the goal are 2 (97.0%); the best of all runs "
        "is 0 pixels 10.0%, 1 pixel 50.0%, 2 pixels 97.0%."
    ) in found


def fronted(*steps: tuple[int, float, int]) -> str:
    front = [Picture(list(range(ink)), confidence, prediction) for ink, confidence, prediction in steps]
    found = drawing.sentences(made([run(0, [0, 1], before=[0, 1], front=front)], goal="front"))
    return next(text for text in found if text.startswith("More ink"))


def test_a_long_front_names_the_fewest_pixels_at_the_goal_and_says_what_it_leaves_out():
    curve = [0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.97, 0.98, 0.99, 0.999]
    text = fronted(*((ink, confidence, 0) for ink, confidence in enumerate(curve)))
    assert text == (
        "More ink, more cat: the fewest pixels on any front that reach the goal are 7 (97.0%); the best of all runs "
        "is 0 pixels 10.0%, 1 pixel 20.0%, 2 pixels 30.0%, ..., 6 pixels 80.0%, 7 pixels 97.0%, ..., 10 pixels "
        "99.9%."
    )
    assert "..." not in fronted(*((ink, confidence, 0) for ink, confidence in enumerate(curve[:6])))


def test_a_front_that_does_not_reach_the_goal_claims_nothing():
    below = [(ink, 0.05 * ink, 1) for ink in range(9)]
    assert "reach" not in fronted(*below)
    assert "2 pixels 10.0%, ..., 8 pixels 40.0%." in fronted(*below)
    assert "reach" not in fronted((0, 0.1, 1), (1, 0.97, 1)), "the classifier sees another class"
    assert "reach the goal are 1 (96.0%)" in fronted((0, 0.1, 1), (1, 0.96, 0))
    assert "reach" not in fronted((0, 0.1, 1), (1, 0.95999, 0))


def test_ink_that_was_kept_somewhere_is_not_held_against_the_whole_canvas():
    found = drawing.sentences(made(region=("center:0.5@0-2",)))
    assert found[-1].endswith("but ink was not allowed everywhere all the time.")


def test_strips_are_of_the_least_the_middle_the_most_and_the_best_that_fell_short():
    def chosen(*ink: int) -> list[tuple[int, str]]:
        runs = [run(seed, list(range(each)), before=list(range(each + 1))) for seed, each in enumerate(ink)]
        missed = [run(8, [1], 0.2, reached=None), run(9, [1], 0.3, reached=None)]
        found = drawing_gallery.chosen(drawing_tables.analyse(made(runs + missed)))
        return [(row.run.seed, why) for row, why in found]

    short = (9, "the best that fell short of the goal")
    assert chosen(3, 1, 2) == [(1, "the least ink"), (2, "in the middle by ink"), (0, "the most ink"), short]
    assert chosen(3, 1) == [(1, "the least ink"), (0, "the most ink"), short]
    assert chosen(2, 2) == [(0, "the least ink"), (1, "as little ink"), short]
    assert chosen(2) == [(0, "the least ink"), short]
    assert chosen() == [short]


def test_a_path_of_a_classifier_is_told_by_its_last_part():
    assert "made cat-zeros say" in drawing.sentences(made(name="/somewhere/nets/cat-zeros"))[0]
    assert "made onnx:a/b.onnx say" in drawing.sentences(made(name="onnx:a/b.onnx"))[0]


# The page -----------------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_but_itself(page: tuple[Results, Path, Reader]):
    reader = page[2]
    assert {tag for tag, _ in reader.tags} & {"script", "link", "iframe", "object", "embed", "form", "base"} == set()
    sources = reader.values("src")
    assert len(sources) > 15
    assert all(source.startswith(("data:image/svg+xml;base64,", "data:image/png;base64,")) for source in sources)
    assert all(target.startswith("#") for target in reader.values("href"))
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in reader.values("href")} <= set(ids)
    assert all(len(attributes.get("alt") or "") > 5 for tag, attributes in reader.tags if tag == "img")


def test_the_findings_stand_on_top(page: tuple[Results, Path, Reader]):
    results, directory, _ = page
    text = (directory / "report.html").read_text()
    assert text.index('id="findings"') < text.index('id="drawings"')
    items = re.findall(r"<li>(.*?)</li>", text[text.index('<ol class="findings">') :], re.S)
    told = [escaping.unescape(item.partition(" <a")[0]) for item in items]
    assert told == drawing.sentences(results)


def test_every_part_is_there(page: tuple[Results, Path, Reader]):
    results, _, reader = page
    for anchor in ("drawings", "shrinking", "evolution", "places", "runs", "again"):
        assert anchor in reader.values("id")
    assert not {"front", "boundary"} & set(reader.values("id"))
    for words in (
        "no single pixel can be taken away", "2-minimal", "goal not reached", "generation 0", results.command,
        "evofool replay DIR#1", "evofool verify DIR", "draw/net/1", "evofool 0.1.0", "the best that fell short",
    ):  # fmt: skip
        assert words in reader.text, words


def decoded(text: str, anchor: str) -> list[np.ndarray]:
    """The small pictures of a part of the page."""
    part = text[text.index(f'id="{anchor}"') :]
    part = part[: part.index("</section>")]
    uris = re.findall(r'src="data:image/png;base64,([^"]+)"', part)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))) for uri in uris]


def test_the_drawings_are_shown_pixel_by_pixel_the_least_ink_first(page: tuple[Results, Path, Reader]):
    shown = decoded((page[1] / "report.html").read_text(), "drawings")
    assert [np.argwhere(image.ravel() == 0).ravel().tolist() for image in shown] == [[], [9], [0, 9], [30, 31, 32]]
    assert all(image.shape == (8, 8) for image in shown)


def test_what_fell_short_is_framed(page: tuple[Results, Path, Reader]):
    text = (page[1] / "report.html").read_text()
    tiles = re.findall(r'<div class="tile( quiet)?".*?<b>(.*?)</b>', text[text.index('id="drawings"') :])
    assert tiles[:4] == [("", "no ink"), ("", "1 pixel"), ("", "2 pixels"), (" quiet", "3 pixels")]


def test_before_and_after_tell_what_went(page: tuple[Results, Path, Reader]):
    before, after, *_ = decoded((page[1] / "report.html").read_text(), "shrinking")[2:]
    gray = before.reshape(64, 3)
    assert gray[[20, 33]].tolist() == [[0xD5, 0x5E, 0]] * 2
    assert gray[[0, 9]].tolist() == [[0, 0, 0]] * 2
    assert np.argwhere(after.ravel() == 0).ravel().tolist() == [0, 9]


def test_the_table_of_runs_holds_the_numbers(page: tuple[Results, Path, Reader]):
    text = (page[1] / "report.html").read_text()
    table = next(part for part in re.findall(r"<table>.*?</table>", text, re.S) if "queries to there" in part)
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in re.findall(r"<tr>(.*?)</tr>", table, re.S)]
    none = "<span class='none'>–</span>"
    assert rows[1:] == [
        ["0", "reached", "3", "400", "4", "2", "97.0%", "cat", "2-minimal", "12"],
        ["1", "reached", "3", "600", "2", "1", "98.1%", "cat", "2-minimal", "12"],
        ["2", "not reached", none, "800", "3", "3", "71.4%", "cat", none, none],
    ]


def test_findings_of_the_directory_are_named_by_number(tmp_path: Path):
    finding = rundir.Finding(1, "images/finding_00001.png", "0" * 64, "net", 1, "draw", 3, -1, 0, 0.98, [0.98, 0.02])
    rundir.write_findings(tmp_path, [dataclasses.replace(finding, number=7)])
    reader = Reader(whole(made(), tmp_path))
    assert "seed 1, finding 7" in reader.text
    assert "seed 0, finding" not in reader.text
    assert "evofool replay DIR#7" in reader.text


def test_figures_and_tables_lie_beside_the_page(page: tuple[Results, Path, Reader]):
    directory = page[1]
    names = {path.stem for path in (directory / "figures").glob("*.svg")}
    assert names == {"drawings", "shrinking", "evolution", "over_generations", "places"}
    assert names == {path.stem for path in (directory / "figures").glob("*.png")}
    for path in (directory / "figures").glob("*.svg"):
        ElementTree.parse(path)
    for path in (directory / "tables").glob("*.json"):
        records = json.loads(path.read_text())
        with path.with_suffix(".csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(records) > 0
        assert list(rows[0]) == list(records[0])
    runs = json.loads((directory / "tables" / "runs.json").read_text())
    assert [(row["seed"], row["ink"], row["places"], row["at_the_goal"]) for row in runs] == [
        (0, 2, "0,0 1,1", True), (1, 1, "1,1", True), (2, 3, "3,6 3,7 4,0", False),
    ]  # fmt: skip
    occupancy = json.loads((directory / "tables" / "occupancy.json").read_text())
    assert [(row["row"], row["column"], row["ink"]) for row in occupancy] == [(0, 0, 0.5), (1, 1, 1.0)]
    assert len(json.loads((directory / "tables" / "generations.json").read_text())) == 12


def test_the_same_results_give_the_same_bytes_and_others_do_not(tmp_path: Path):
    results = made()
    (tmp_path / "study.json").write_text(results.to_json())
    one, two, three_ = (tmp_path / name for name in ("one", "deeper/two", "three"))
    whole(results, one)
    whole(stored.load(tmp_path / "study.json"), two)
    assert files(one) == files(two)
    assert len(files(one)) > 20
    runs = [*three()[:2], run(2, [30, 31, 33], 0.714, reached=None, ended=None)]
    whole(made(runs), three_)
    changed = {name for name, content in files(three_).items() if files(one)[name] != content}
    assert {"report.html", "figures/drawings.png", "figures/drawings.svg", "tables/runs.csv"} <= changed


def test_hostile_names_stay_text(tmp_path: Path):
    results = made(class_names=(HOSTILE, "=1+1\n\x1b[2J"), name="<b>net</b>", blank=Picture([], 0.1, 1))
    results = dataclasses.replace(results, command="<u>evofool</u> draw {{ 7 * 7 }}")
    for name in ("<i>draw/net/0", "+x"):
        results.ledger["searches"][name] = dict.fromkeys(("issued", "answered", "failed", "lost", "repeated"), 0)
    reader = Reader(whole(results, tmp_path))
    assert {tag for tag, _ in reader.tags} & {"script", "b/", "i", "u"} == set()
    assert HOSTILE in reader.text
    assert "{{ 7 * 7 }}" in reader.text
    assert not any("\x1b" in text or "\n" in text for text in drawing.sentences(results))
    assert "'+x" in (tmp_path / "tables" / "queries.csv").read_text()
    for path in (tmp_path / "figures").glob("*.svg"):
        ElementTree.parse(path)


def test_a_page_that_would_be_too_large_names_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(html, "LIMIT", 60_000)
    text = whole(made(), tmp_path)
    assert len(text.encode()) <= 60_000
    left_out = re.findall(r"This figure is in (figures/\S+\.png)", text)
    assert left_out
    assert all((tmp_path / name).is_file() for name in left_out)


# Odd runs -----------------------------------------------------------------------------------------------------------


def none_reached() -> Results:
    return made([run(seed, [seed], 0.3, reached=None, ended=None) for seed in range(2)])


def without_curves() -> Results:
    bare = run(0, [1], 0.3, reached=None, ended=0)
    none: dict[str, list[Any]] = {
        name: [] for name in ("generations", "confidence", "ink", "fitness", "steps", "strip")
    }
    return made([dataclasses.replace(bare, **none)])


def with_fronts() -> Results:
    front = [Picture(list(range(ink)), 0.2 + 0.1 * ink, 0) for ink in range(8)]
    runs = [
        run(seed, [1, 2], before=[1, 2], front=front[seed:], hypervolume=[0.1, 0.2, 0.3, 0.4], ended=None)
        for seed in range(3)
    ]
    return made(runs, goal="front")


def on_the_boundary(classes: tuple[str, ...]) -> Results:
    runs = [run(seed, [1], 0.49 + seed / 200, before=[1, 2], prediction=seed % 2) for seed in range(4)]
    return made(runs, goal="boundary", class_names=classes)


def many() -> Results:
    runs = [run(seed, [seed % 64, (7 * seed) % 64], before=[seed % 64, (7 * seed) % 64, 3]) for seed in range(70)]
    return made(runs)


def large() -> Results:
    generator = np.random.default_rng(0)
    runs = []
    for seed in range(30):
        ink = sorted(set(generator.integers(0, 299 * 299, 300).tolist()))
        runs.append(run(seed, ink[::20], before=ink))
    return made(runs, size=(299, 299), canvas=(1.0, 1.0, 1.0), ink=(0.0, 0.0, 0.0))


ODD = {
    "no run reached the goal": (none_reached, ("No run came to cat at 96%", "goal not reached")),
    "one run": (lambda: made([run(0, [9], before=[9, 10])]), ("The run made net say", "1 run")),
    "no ink": (lambda: made([run(0, [], 0.98, before=[3])], blank=Picture([], 0.98, 0)), ("No drawing has ink",)),
    "nothing was shrunk": (lambda: made([run(0, [9])], shrink=False), ("Least ink: 1 pixel (seed 0, 97.0%).",)),
    "a front": (with_fronts, ("More ink, more cat", "Hypervolume is")),
    "the boundary": (lambda: on_the_boundary(("cat", "not_cat")), ("confidence of one half", "shaded")),
    "of ten classes": (lambda: on_the_boundary(tuple("abcdefghij")), ("a tie can lie below one half",)),
    "three channels": (lambda: made(canvas=(1.0, 0.5, 0.2), ink=(0.0, 0.0, 1.0)), ("colour 1, 0.5, 0.2",)),
    "two channels": (lambda: made(canvas=(1.0, 0.5), ink=(0.0, 0.0)), ("Least ink",)),
    "white ink": (lambda: made(canvas=(0.0,), ink=(1.0,)), ("black, gray level 0", "white, gray level 1")),
    "not square": (lambda: made(size=(6, 20)), ("6 × 20 pixels",)),
    "one generation": (lambda: made([run(0, [9], before=[9, 10], reached=0, ended=0)]), ("in generation",)),
    "missing curves": (without_curves, ("The budget ended 1 of 1 runs after generation 0",)),
    "no answers": (
        lambda: made([run(0, [1], 0.0, reached=None, ended=None, prediction=-1, fitness=[None] * 4)]),
        ("not answered", "no answer"),
    ),
    "no distances": (lambda: made([run(0, [1], before=[1, 2], steps=[None] * 4)]), ("Over the generations",)),
    "a lambda that varies": (
        lambda: made([run(0, [1], before=[1, 2], weight=[0.01, 1.0, 10.0, 100.0])]),
        ("Over the generations",),
    ),
    "a region": (lambda: made(region=("center:0.5@0-2",)), ("ink was not allowed everywhere",)),
    "no runs": (lambda: made([]), ("Nothing was run.",)),
    "not shown to be minimal": (
        lambda: made([run(0, [9], before=[9, 10], minimal=0), run(1, [9], before=[9, 10])]),
        (
            "1 of 2 could not be shown to be minimal",
            "not shown to be minimal: the budget ended",
            "1 is 2-minimal, 1 is",
        ),
    ),
    "seventy runs": (many, ("The other 10 drawings", "The other 58 pairs")),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_run_has_a_report(name: str, tmp_path: Path):
    build, words = ODD[name]
    text = Reader(whole(build(), tmp_path)).text
    for each in words:
        assert each in text, each
    assert "nan" not in text.lower().split()
    assert "None" not in text.replace("None of", "")


def test_thirty_runs_at_299_stay_small(tmp_path: Path):
    text = whole(large(), tmp_path)
    assert len(text.encode()) < 4_800_000
    assert "which would be too large" not in text
    assert "each pixel of ink is shown 3 × 3" in text


def test_other_pages_do_not_carry_the_style_of_drawings():
    assert "{% if tiled %}" in (Path(html.__file__).parent / "templates" / "page.html.j2").read_text()
    layout = drawing_page.page(made([]), drawing_tables.analyse(made([])))
    assert ".tile " not in html.render(layout, {})
