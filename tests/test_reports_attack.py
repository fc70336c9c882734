"""The report of an attack: true to the numbers, self-contained, harmless, repeatable, and there for every odd run."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attack_results import NAMES, draw, five, gene, image, made, shrinking
from evofool import rundir
from evofool.reports import attack, attack_comparison, attack_gallery, attack_pixels, attack_tables, attack_words, html
from evofool.rundir import Finding
from evofool.studies.attack import results as stored
from evofool.studies.attack.results import Attacked, Results
from pages import Reader, files

HOSTILE = "<script>alert(1)</script>"
SHARING = {"name": "genepool", "about": "Genepool: shares.", "paper": "", "arguments": {}, "shares": True}


def whole(results: Results, directory: Path) -> str:
    """The page; a warning of what draws the figures is a fault."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        return attack.write(results, directory).read_text()


def table(directory: Path, name: str) -> list[dict[str, Any]]:
    rows = json.loads((directory / "tables" / f"{name}.json").read_text())
    assert len(list(csv.DictReader(io.StringIO((directory / "tables" / f"{name}.csv").read_text())))) == len(rows)
    return rows


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path, Reader]:
    directory = tmp_path_factory.mktemp("page")
    results = made()
    draw(results, directory)
    return results, directory, Reader(whole(results, directory))


# What is computed ---------------------------------------------------------------------------------------------------


def test_figures_by_hand_a_failure_counts_as_the_budget():
    # Queries 4, 1, 40 and a failure that asked 99 of 100: as 100. One more is skipped and counts nowhere.
    found = attack_tables.analyse(made())
    assert found.mean == (4 + 1 + 40 + 100) / 4
    assert found.median == (4 + 40) / 2
    assert found.success is not None
    assert (found.success.estimate, found.success.n) == (0.75, 4)
    assert (found.skipped, found.unanswered) == (1, 0)
    assert [row.image.number for row in found.fooled] == [2, 0, 4]
    assert [row.image.number for row in found.failed] == [1]
    assert [row.cost for row in found.rows] == [4, 100, 1, None, 40]
    assert found.by == [(0.25, 1), (0.5, 4), (0.75, 40), (0.9, None), (0.95, None), (1.0, None)]
    assert found.curve.last == 100


def test_a_failure_never_counts_as_less_than_it_took():
    assert attack_tables.cost(image(0, 30, "failed"), 100) == 100  # ended early: it did not hold out for less
    assert attack_tables.cost(image(0, 180, "failed"), 100) == 180  # was given what others left
    assert attack_tables.cost(image(0, 180), 100) == 180
    assert attack_tables.cost(image(0, 0, "skipped"), 100) is None
    assert attack_tables.cost(image(0, 0, "unanswered"), 100) is None


def test_classes_by_hand():
    zero, one = attack_tables.analyse(made()).classes
    assert (zero.number, zero.attacked, zero.fooled, zero.skipped, zero.mean, zero.median) == (0, 2, 2, 1, 22, 22)
    assert (one.number, one.attacked, one.fooled, one.skipped, one.mean) == (1, 2, 1, 0, 50.5)
    seen = attack_tables.analyse(made()).seen
    assert dict(seen) == {(0, 1): 2, (1, 2): 1}  # the failure is seen as what it is, and is not among them


def test_classes_are_told_apart_only_where_a_test_says_so():
    alike = [image(n, 10 + n % 7, label=n % 2) for n in range(28)]
    apart = [image(n, 10 + n % 7 + 40 * (n % 2), label=n % 2) for n in range(28)]
    few = [image(n, 10 + n % 7 + 40 * (n % 2), label=n % 2) for n in range(8)]
    assert not any("Classes differ" in text for text in attack.sentences(made(alike)))
    assert not any("Classes differ" in text for text in attack.sentences(made(few)))
    assert not any("Classes differ" in text for text in attack.sentences(made(apart, recipe=SHARING)))
    assert any(
        "p < 0.001): zero (median 13, 14 of 14 fooled) took the fewest queries and one (median 53" in text
        for text in attack.sentences(made(apart))
    )


def test_the_order_is_that_of_attack_and_not_that_of_the_list():
    images = [image(0, 30, asked=2), image(1, 20, asked=0), image(2, 0, "skipped"), image(3, 10, "failed", asked=1)]
    assert attack_tables.in_order(made(images)) == [20, 100, 30]


def test_what_the_first_images_took():
    found = attack_tables.learning([float(100 - n) for n in range(60)])
    assert found.firsts == ((10, 95.5), (50, 75.5))
    assert found.running[0] == (1, 100)
    assert found.running[-1] == (60, 70.5)
    assert [(block.first, block.last, block.mean) for block in found.blocks][:2] == [(1, 10, 95.5), (11, 20, 85.5)]
    assert len(found.blocks) == 6
    assert attack_tables.learning([3.0, 5.0]).firsts == ()


@pytest.mark.parametrize("count", [1, 9, 10, 11, 19, 20, 23, 250, 251, 500, 1000, 9999])
def test_blocks_cover_all_places_once(count: int):
    blocks = attack_tables.cut(count)
    assert [place for first, last in blocks for place in range(first, last)] == list(range(count))
    assert len(blocks) <= attack_tables.BLOCKS
    assert min(last - first for first, last in blocks) >= min(count, attack_tables.FEWEST)


def test_a_mean_has_an_interval_only_where_images_are_independent():
    images = [image(n, 1 + n) for n in range(20)]
    alone, shared = attack_tables.analyse(made(images)), attack_tables.analyse(made(images, recipe=SHARING))
    assert alone.interval is not None
    assert alone.interval.estimate == alone.mean == 10.5
    assert alone.learning is None
    assert shared.interval is None
    assert shared.learning is not None


def test_a_block_alone_is_no_bar(tmp_path: Path):
    """It would be the mean of all; how that comes about is shown for few images, too."""
    for count, there in ((11, False), (40, True)):
        results = made([image(n, 1 + n, asked=n) for n in range(count)], recipe=SHARING)
        draw(results, tmp_path / str(count))
        text = whole(results, tmp_path / str(count))
        assert ("one after another (bars)" in text) is there
        assert "all images so far (dashed)" in text


def test_a_share_has_an_interval_only_where_images_are_independent(tmp_path: Path):
    images = [image(n, 1 + n, target=1 + n % 2) for n in range(20)]
    for recipe, there in (({}, True), ({"recipe": SHARING}, False)):
        results = made(images, **recipe)
        found = attack_tables.analyse(results)
        groups = [found, *found.classes, *found.targets]
        assert len(groups) == 4
        for each in groups:
            assert each.success is not None
            assert (each.success.estimate, each.success.interval is not None) == (1, there)
        verdict = attack.sentences(results)[0]
        assert ("on 20 of 20 attacked images (100.0%; 95% interval 83.9% to 100.0%)" in verdict) == there
        assert ("on 20 of 20 attacked images (100.0%) within L-inf 76/255 (goal:" in verdict) != there
        path = tmp_path / str(there)
        text = Reader(whole(results, path)).text
        assert text.count("Wilson interval") == (3 if there else 0)  # of all, by class, by target
        assert ("83.9%" in text) == there
        rows = [*table(path, "classes"), *table(path, "targets")]
        assert len(rows) == 3
        assert {(row["low"] is not None, row["high"] is not None) for row in rows} == {(there, there)}
        assert ("evofool compare takes its intervals over runs" in " ".join(attack.sentences(results))) != there


def test_shrinking_is_apart_from_the_search():
    sizes = [(40, shrinking(76 / 255)), (60, shrinking(76 / 255, 5, 0)), (76, None)]
    images = [image(n, 10, linf=size / 255, shrunk=each) for n, (size, each) in enumerate(sizes)]
    found = attack_tables.analyse(made(images))
    assert found.mean == 10
    assert found.shrunk is not None
    assert (found.shrunk.images, found.shrunk.queries, found.shrunk.minimal) == (2, 12, {0: 1, 1: 1})
    assert (found.shrunk.before, found.shrunk.after) == (pytest.approx(76 / 255), pytest.approx(50 / 255))
    assert (
        "After success 12 queries made the perturbations of 2 images smaller: median L-inf 76/255 before and L-inf "
        "50/255 after; of 1 it is shown that no single pixel can go."
    ) in attack.sentences(made(images))


# Sentences ----------------------------------------------------------------------------------------------------------


def test_the_sentences_say_what_was_found():
    assert attack.sentences(made()) == [
        "square fooled net on 3 of 4 attacked images (75.0%; 95% interval 30.1% to 95.4%) within L-inf 76/255 (goal: "
        "away from its class) with at most 100 queries each.",
        "It took a mean of 36.2 (95% interval 1.0 to 99.5) and a median of 22 queries over 4 images, a failure counted "
        "as the budget of 100. The query for each image as it is, which the budget includes, is not counted here.",
        "1 of 5 images was skipped: the classifier misclassifies it as it is. No figure counts it.",
        "149 queries were charged in all: 144 for the search, 5 for the images as they are.",
    ]


def test_what_did_not_fool_again_is_told():
    failed = [image(1, 99, "failed"), image(2, 99, "failed")]
    images = [image(0, 5), dataclasses.replace(failed[0], prediction=failed[0].label + 1), failed[1]]
    found = attack.sentences(made(images, config={"confirm": 2}))
    assert (
        "A success counts only where the same image, asked about 2 times more, fooled each time; else the search went "
        "on. The best attempts at 1 image that counts as failed fooled once, and that was not confirmed." in found
    )
    assert not any("fooled each time" in text for text in attack.sentences(made(images)))


def test_a_budget_for_all_is_told_as_one():
    found = attack.sentences(made(config={"budget_total": 900}))
    assert "with at most 900 queries in all, 100 each in a first turn." in found[0]
    assert "counted as the budget of 100, or as what it was given where that is more." in found[1]


@pytest.mark.parametrize(("total", "left"), [(None, (0.75, 0.5)), (900, (0.75, 0.375))])
def test_who_is_not_asked_any_more_is_not_said_to_hold_out(total: int | None, left: tuple[float, ...]):
    """Of four images one had no more than 20 queries of a budget for all, when the third was fooled at 40."""
    results = made(
        [image(0, 5), image(1, 20, "failed"), image(2, 40), image(3, 130, "failed")],
        config={"budget": 100, "budget_total": total},
    )
    entry = attack_comparison.compare([("a", results), ("b", dataclasses.replace(results, seed=1))]).entries[0]
    for curve in (attack_tables.survival_of(results), entry.curve, entry.curves[0]):
        assert [step.left for step in curve.steps] == pytest.approx(left)
    assert [attack_tables.seen_until(each, results) for each in results.images] == [
        5, 20 if total else 100, 40, 130,
    ]  # fmt: skip


def test_many_misclassified_images_are_a_reason_to_doubt():
    some, none = image(0, 5), image(1, 0, "skipped")
    assert any("evofool doctor" in text for text in attack.sentences(made([some, none, none])))
    assert not any("evofool doctor" in text for text in attack.sentences(made([some, some, none])))


def test_one_query_and_one_image_are_one():
    one = made([image(0, 0, "skipped")])
    assert "1 query was charged in all: 0 for the search, 1 for the images as they are." in attack.sentences(one)
    two = attack.sentences(made([image(0), image(1, 0, "skipped"), image(2, 0, "skipped")]))
    assert "2 of 3 images were skipped: the classifier misclassifies them as they are. No figure counts them." in two


def test_what_was_done_to_the_images_is_told():
    brought = "the images are brought to what net takes: 2 of 5, of 9 x 9, resized; what fools is a file of that shape"
    data = {**made().data, "labelled": False, "brought": brought}
    found = attack.sentences(made(data=data))
    assert f"T{brought[1:]}." in found
    assert "The images have no labels: what the classifier sees in them as they are counts as their class." in found
    assert not any("labels" in text or "brought" in text for text in attack.sentences(made())), "old runs say nothing"


def test_a_table_has_a_head_and_a_dash_explained_only_where_there_are_such(tmp_path: Path):
    some, all_ = made(), made([each for each in five() if each.outcome == "fooled"])
    for results, dash in ((some, True), (all_, False)):
        directory = tmp_path / str(dash)
        draw(results, directory)
        text = whole(results, directory)
        assert ("a dash: so many were never fooled" in text) is dash
        tables = text.split("<table")[1:]
        untitled = [table for table in tables if "<thead>" not in table]
        assert len(untitled) == 1 and "images attacked" in untitled[0], "a line of titles without a title"
        assert len(tables) > 3


def test_what_carries_over_is_told_with_the_number_of_images():
    images = [image(n, 100 - n, asked=n) for n in range(60)]
    text = " ".join(attack.sentences(made(images, recipe=SHARING)))
    assert "a mean of 95.5 over the first 10, 75.5 over the first 50 and 70.5 over all 60." in text
    assert "first 10" not in " ".join(attack.sentences(made(images)))
    assert "first" not in " ".join(attack.sentences(made(images[:10], recipe=SHARING)))


def test_what_went_wrong_is_told():
    results = made([*five(), image(5, 0, "unanswered")])
    counts = {"issued": 160, "answered": 150, "failed": 6, "lost": 4, "repeated": 0}
    results.ledger.update(searches={"attack": counts}, kills=2, drift=["torch was 2.6, is 2.7"])
    found = attack.sentences(results)
    assert "1 of 6 images could not be attacked: the classifier gave no answer." in found
    assert "The classifier left 6 queries unanswered; they were charged." in found
    assert "The run was resumed after 2 kills, 4 queries lost: charged, and their answers unknown." in found
    assert "Not everything stayed as it was when the run began: torch was 2.6, is 2.7." in found
    assert any("16 for the images as they are and whatever else is charged" in text for text in found)


def test_a_target_and_top_k_are_said():
    images = [image(0, 4, target=1), image(1, 0, "skipped", target=2), image(2, 9, label=2, target=0, prediction=0)]
    text = " ".join(attack.sentences(made(images, k=3)))
    assert "(goal: to a random other class; the class among the first 3)" in text
    assert "1 of 3 images was skipped: the classifier has the wanted answer for it as it is." in text
    said = " ".join(attack.sentences(made(images, k=3, goal="to two, top 3")))
    assert "(goal: to two, top 3)" in said  # once
    found = attack_tables.analyse(made(images))
    assert [(group.number, group.attacked) for group in found.targets] == [(0, 1), (1, 1), (2, 0)]


@pytest.mark.parametrize(
    ("share", "words"),
    [(1.0, "100.0%"), (0.9999, "> 99.9%"), (0.9994, "99.9%"), (0.0, "0.0%"), (0.0004, "< 0.1%"), (0.123, "12.3%")],
)
def test_no_share_is_rounded_to_all_or_none(share: float, words: str):
    assert attack_words.percent(share) == words


def test_distances_are_told_in_the_measure_of_the_limit():
    one = image(0, linf=8 / 255, l2=1.234, l0=1)
    assert attack_words.distance(made(), one) == "L-inf 8/255"
    assert attack_words.distance(made(norm="l2"), one) == "L2 1.23"
    assert attack_words.distance(made(norm="l0"), one) == "1 pixel"
    assert attack_words.distance(made(norm="patch"), dataclasses.replace(one, l0=25)) == "25 pixels"
    assert attack_words.size(made(norm="l0"), 2.5) == "2.5 pixels"
    assert attack_words.ending("a/long/way/to/picture.png", 12) == "…picture.png"


# Pixels -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("largest", "times"), [(0, 1), (1, 127), (8, 15), (63, 2), (76, 1), (127, 1), (128, 0.5), (255, 0.5)]
)
def test_differences_are_magnified_as_far_as_they_fit(largest: int, times: float):
    assert attack_pixels.factor(largest) == times
    found = attack_pixels.magnified(np.array([-largest, 0, largest]), times)
    assert found[1] == 128
    assert found[2] == 128 + int(largest * times)  # not clipped
    assert 128 - found[0] == int(largest * times)


def test_large_images_are_reduced_and_single_pixels_stay_in_sight():
    difference = np.zeros((299, 299, 3), int)
    difference[151, 152] = (-40, 0, 9)
    found = attack_pixels.reduced_difference(difference)
    assert found.shape == (99, 99, 3)
    assert found[50, 50].tolist() == [-40, 0, 9]
    assert np.count_nonzero(found) == 2
    image_ = np.zeros((256, 300), np.uint8)
    image_[:3, :3] = 90
    assert attack_pixels.reduced(image_)[0, :2].tolist() == [90, 0]
    small = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert attack_pixels.reduced(small) is small


def test_a_thin_strip_can_be_reduced():
    assert attack_pixels.reduced(np.full((2, 600), 7, np.uint8)).tolist() == [[7] * 120]
    assert attack_pixels.width((2, 120)) >= 120


def test_only_files_of_the_run_are_read(tmp_path: Path):
    run = tmp_path / "run"
    (run / "images").mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "outside.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(run / "images" / "a.png")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(run / "images" / "b.png")
    (run / "images" / "c.png").write_bytes(b"no picture")
    assert attack_pixels.read(run, "images/a.png") is not None
    for name in ("../outside.png", str(tmp_path / "outside.png"), "", "images/c.png", "images/d.png", "images/a\0.png"):
        assert attack_pixels.read(run, name) is None
    assert attack_pixels.trio(run, "images/a.png", "images/b.png") is None
    assert attack_pixels.trio(run, "images/a.png", "images/a.png") is not None


def test_the_pictures_are_those_that_were_sent(page: tuple[Results, Path, Reader]):
    results, directory, reader = page
    shown = [source for tag, attributes in reader.tags if tag == "img" and (source := attributes["src"] or "")]
    tiles = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
        for source in shown if source.startswith("data:image/png")
    ]  # fmt: skip
    assert len(tiles) == 3 * 4
    for place, number in enumerate([2, 0, 4, 1]):  # fooled ones by queries, then the failure
        before, after = (
            np.asarray(Image.open(directory / name)).astype(int)
            for name in (results.images[number].original, results.images[number].adversarial)
        )
        assert np.array_equal(tiles[3 * place], before)
        assert np.array_equal(tiles[3 * place + 1], after)
        assert np.array_equal(tiles[3 * place + 2].astype(int), 128 + after - before)  # 76 levels: magnified once


# The page -----------------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_but_itself(page: tuple[Results, Path, Reader]):
    reader = page[2]
    assert {tag for tag, _ in reader.tags} & {"script", "link", "iframe", "object", "embed", "form", "base"} == set()
    sources = reader.values("src")
    assert len(sources) == 13
    assert all(source.startswith(("data:image/svg+xml;base64,", "data:image/png;base64,")) for source in sources)
    assert all(target.startswith("#") for target in reader.values("href"))
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in reader.values("href")} <= set(ids)
    assert all(len(attributes.get("alt") or "") > 5 for tag, attributes in reader.tags if tag == "img")


def test_the_findings_stand_on_top(page: tuple[Results, Path, Reader]):
    results, directory, reader = page
    text = (directory / "report.html").read_text()
    found = re.findall(r"<li>(.*?) <a href=", text)
    assert [html_.replace("&#39;", "'") for html_ in found] == attack.sentences(results)
    assert text.index("Findings</h2>") < text.index("How many queries it takes</h2>")
    assert results.command in reader.text
    assert "evofool replay DIR#1" in reader.text


def test_the_factor_the_labels_and_the_order_are_said(page: tuple[Results, Path, Reader]):
    reader = page[2]
    assert "the difference between them, as it is: middle gray is no change" in reader.text
    titles = [line for line in re.findall(r"\d: digits 000\d", reader.text)]
    assert titles == ["2: digits 0002", "0: digits 0000", "4: digits 0004", "1: digits 0001"]
    assert "not fooled" in reader.text
    assert any("quiet" in (attributes.get("class") or "") for _, attributes in reader.tags)


def test_every_image_has_its_row(page: tuple[Results, Path, Reader]):
    results, directory, reader = page
    rows = table(directory, "images")
    assert [(row["number"], row["outcome"], row["queries"], row["queries_failure_as_budget"]) for row in rows] == [
        (0, "fooled", 4, 4.0), (1, "failed", 99, 100.0), (2, "fooled", 1, 1.0), (3, "skipped", 0, None),
        (4, "fooled", 40, 40.0),
    ]  # fmt: skip
    assert [row["attacked_as"] for row in rows] == [1, 2, 3, None, 5]
    for each in results.images:
        assert (each.adversarial or each.original) in reader.text


def test_figures_and_tables_lie_beside_the_page(page: tuple[Results, Path, Reader]):
    _, directory, _ = page
    assert {path.name for path in (directory / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("survival", "images_fooled", "images_failed") for kind in ("svg", "png")
    }
    assert [row["left"] for row in table(directory, "survival")] == [0.75, 0.5, 0.25]
    assert table(directory, "seen_as") == [
        {"label": "zero", "seen_as": "one", "images": 2}, {"label": "one", "seen_as": "two", "images": 1},
    ]  # fmt: skip
    assert table(directory, "queries")[0]["issued"] == 149
    assert len(table(directory, "classes")) == 2


def test_findings_of_the_directory_are_named_by_number(tmp_path: Path):
    results = made()
    draw(results, tmp_path)
    found = [
        Finding(
            number=7 + place, file=each.adversarial, sha256="0" * 64, classifier="net", seed=0, arm="attack",
            generation=0, label=0, prediction=1, confidence=0.5, scores=[0.1, 0.9, 0.0], confirmed=0,
        )
        for place, each in enumerate(each for each in results.images if each.outcome == "fooled")
    ]  # fmt: skip
    rundir.write_findings(tmp_path, found)
    whole(results, tmp_path)
    assert [row["finding"] for row in table(tmp_path, "images")] == [7, None, 8, None, 9]
    assert "evofool replay DIR#8" in (tmp_path / "report.html").read_text()  # that of the fewest queries
    assert "evofool verify DIR --trust-code" not in (tmp_path / "report.html").read_text()
    whole(dataclasses.replace(results, command="evofool attack --classifier net.py:net --trust-code -o DIR"), tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "evofool replay DIR#8 --trust-code\nevofool verify DIR --trust-code" in text


def test_the_same_results_give_the_same_bytes_and_others_do_not(tmp_path: Path):
    results = made([*five(), *(image(n, 3 * n, asked=n) for n in range(5, 17))], recipe=SHARING)
    results = dataclasses.replace(results, pool={"genes": [gene(0, 3), gene(1, 5)], "file": "pool.safetensors"})
    one, two, three = (tmp_path / name for name in ("one", "deeper/two", "three"))
    for directory in (one, two, three):
        draw(results, directory)
    (tmp_path / "study.json").write_text(results.to_json())
    whole(results, one)
    whole(stored.load(tmp_path / "study.json"), two)
    assert files(one) == files(two)
    assert len(files(one)) > 20
    whole(dataclasses.replace(results, images=[image(0, 5), *results.images[1:]]), three)
    changed = {name for name, content in files(three).items() if files(one)[name] != content}
    assert {"report.html", "figures/survival.svg", "figures/learning.png", "tables/images.csv"} <= changed


def test_the_pool_is_shown_by_wins(tmp_path: Path):
    genes = [gene(0, 1), gene(1, 6), gene(2, 0, file="images/nowhere.png"), gene(3, 0, tries=0, queries=0)]
    results = made(recipe=SHARING, pool={"genes": genes, "file": "pool.safetensors"})
    draw(results, tmp_path)
    (tmp_path / "images" / "nowhere.png").unlink()
    reader = Reader(whole(results, tmp_path))
    assert "The pool holds 4 genes" in reader.text
    assert "they fooled 7 further images" in reader.text
    assert re.findall(r"gene \d", reader.text) == ["gene 1", "gene 0", "gene 3"]
    assert "won 6 of 10" in reader.text
    assert reader.text.count("not tried") == 1
    assert re.findall(r"query \d+|bred(?!”)", reader.text) == ["query 6", "query 5", "bred"]
    assert [row["wins"] for row in table(tmp_path, "pool")] == [1, 6, 0, 0]
    empty = Reader(whole(made(recipe=SHARING, pool={"genes": [], "file": ""}), tmp_path / "empty"))
    assert "The pool is empty" in empty.text


def test_of_many_images_the_quickest_the_middle_the_slowest_and_failures_are_shown(tmp_path: Path):
    images = [image(n, 101 - n) for n in range(60)] + [image(n, 99, "failed") for n in range(60, 90)]
    results = made(images)
    draw(results, tmp_path)
    text = whole(results, tmp_path)
    names = ("images_quickest", "images_middle", "images_slowest", "images_failed", "images_more")
    parts = re.split(r'<figure class="tiles" id="figure-(\w+)">', text)
    shown = {
        name: [int(n) for n in re.findall(r"<h3>(\d+): ", part)]
        for name, part in zip(parts[1::2], parts[2::2], strict=True)
    }
    assert tuple(shown) == names
    assert shown["images_quickest"] == [59, 58, 57, 56]
    assert shown["images_middle"] == [31, 30, 29, 28]
    assert shown["images_slowest"] == [3, 2, 1, 0]
    assert len(shown["images_failed"]) == 4
    everything = [number for numbers in shown.values() for number in numbers]
    assert len(everything) == len(set(everything)) == 16 + attack_gallery.OTHERS
    assert "The table of 90 images" in text


def test_hostile_names_stay_text(tmp_path: Path):
    images = [image(0, 4, name=HOSTILE), image(1, 5, name="=1+1\n\x1b[2J"), image(2, 9, "failed", label=1)]
    results = made(images, class_names=[HOSTILE, "=2+2\n\x1b[2J", "<b>"], command="<u>evofool</u> attack {{ 7 * 7 }}")
    results.recipe.update(name="<i>square", about="<u>about", paper="<u>paper")
    results.ledger["searches"]["<i>x"] = dict.fromkeys(("issued", "answered", "failed", "lost", "repeated"), 0)
    draw(results, tmp_path)
    reader = Reader(whole(results, tmp_path))
    assert {tag for tag, _ in reader.tags} & {"script", "i", "u"} == set()
    assert HOSTILE in reader.text
    assert "{{ 7 * 7 }}" in reader.text
    assert "\x1b" not in reader.text.partition("Resolved configuration")[0]
    assert not any("\x1b" in text or "\n" in text for text in attack.sentences(results))
    assert "'=1+1" in (tmp_path / "tables" / "images.csv").read_text()


def test_a_page_that_would_be_too_large_names_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    results = made()
    draw(results, tmp_path)
    monkeypatch.setattr(html, "LIMIT", 40_000)
    text = whole(results, tmp_path)
    left_out = re.findall(r"This figure is in (figures/\S+\.png)", text)
    assert left_out
    assert all((tmp_path / name).is_file() for name in left_out)


def test_a_thousand_colour_images_of_224_stay_below_5_megabytes(tmp_path: Path):
    # Noise, which no PNG makes smaller, for the images that can be shown; the others have no files.
    images = [image(n, 1 + n % 400, original=f"images/{n % 40:05}-original.png",
                    adversarial=f"images/{n % 40:05}-adversarial.png") for n in range(1000)]  # fmt: skip
    results = made(images, budget=1000)
    draw(dataclasses.replace(results, images=images[:40]), tmp_path, channels=3, size=(224, 224))
    text = whole(results, tmp_path)
    assert len(text.encode()) < 5_000_000
    assert "This figure is in" not in text
    assert text.count("<tr>") > 1000
    assert "2 × 2 pixels are shown as one" in text


ODD: dict[str, Results] = {
    "no image": made([]),
    "all skipped": made([image(0, 0, "skipped"), image(1, 0, "skipped")]),
    "no answer": made([image(0, 0, "unanswered")]),
    "one image": made([image(0, 1)]),
    "nothing fooled": made([image(0, 99, "failed"), image(1, 99, "failed", label=1)]),
    "no ledger": made(ledger={}),
    "drift without accounts": made(ledger={"drift": ["x"], "kills": 1}),
    "budget of two": made([image(0, 1), image(1, 1, "failed")], budget=2),
    "one that shares": made([image(0, 1)], recipe=SHARING),
    "sharing, nothing attacked": made([image(0, 0, "skipped")], recipe=SHARING, pool={"genes": [], "file": ""}),
    "targets": made([image(0, 4, target=1), image(1, 9, "failed", target=2)]),
    "many classes": made(
        [image(n, 5, label=n, prediction=n + 1) for n in range(60)], class_names=[f"c{n}" for n in range(61)]
    ),
    "more than the budget": made([image(0, 250), image(1, 300, "failed")]),
    "other limits": made(norm="frame", limit="frame 2", size=2.0),
    "shrunk": made([image(0, 4, shrunk=shrinking(0.3)), image(1, 99, "failed")]),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_run_has_a_report(name: str, tmp_path: Path):
    results = ODD[name]
    if name != "one image":
        draw(results, tmp_path)
    reader = Reader(whole(results, tmp_path))
    found = attack.sentences(results)
    assert found
    assert all(text in reader.text for text in found)
    assert not re.search(r"(?<!L-)\b(nan|inf|None)\b", reader.text)
    ids = reader.values("id")
    assert {target[1:] for target in reader.values("href")} <= set(ids)


def test_without_its_pictures_a_report_says_so(tmp_path: Path):
    assert "The files of the images are not beside this page." in whole(made(), tmp_path)
    assert "are not beside this page" not in whole(ODD["all skipped"], tmp_path / "skipped")


def test_rows_beyond_the_page_are_in_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from evofool.reports import attack_page

    monkeypatch.setattr(attack_page, "ROWS", 3)
    text = whole(made(), tmp_path)
    assert "The first 3 of 5; tables/images.csv has them all." in text
    assert len(table(tmp_path, "images")) == 5


def test_names_of_classes_are_never_taken_from_the_end_of_the_list():
    assert attack_tables.class_name(made(), -1) == ""
    assert attack_tables.class_name(made(), len(NAMES)) == ""
    assert attack_tables.class_name(made(), None) == ""
    assert attack_tables.class_name(made(), 2) == "two"


def test_there_is_an_image_for_each_outcome():
    outcomes: set[str] = {each.outcome for results in ODD.values() for each in results.images}
    assert outcomes | {each.outcome for each in five()} == {"fooled", "failed", "skipped", "unanswered"}
    assert isinstance(five()[0], Attacked)
