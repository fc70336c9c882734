"""The report of the ink study: true to the measures, self-contained, harmless, repeatable, there for any odd study."""

from __future__ import annotations

import csv
import dataclasses
import html as escaping
import io
import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evofool import regions, rundir
from evofool.reports import html, ink, ink_causes, ink_maps, ink_page, ink_records, ink_sections, ink_tables, ink_words
from evofool.reports.page import Code, More, Page, Picture, Text, Tiles
from evofool.reports.sheets import Sheet
from evofool.studies.draw.results import Picture as Drawing
from evofool.studies.draw.results import Shrinking
from evofool.studies.ink import landscape, measures, schedules
from evofool.studies.ink.arms import PARTS
from evofool.studies.ink.evidence import CAUSES
from evofool.studies.ink.measures import Change, EdgeIndex
from evofool.studies.ink.results import Accuracy, Arm, DarkRing, Lean, Linkage, Results, Transfer
from evofool.studies.ink.verdict import QUICK
from ink_results import BASE, NET, NULL, SIZE, Study, drawn, neutral, noisy
from ink_results import landscape as made_map
from pages import Reader, files

HOSTILE = "<script>alert(1)</script>"
ANCHORS = ("verdict", "drawings", "where", "operators", "landscape", "padding", "position", "pipeline", "data",
           "transfer", "schedule", "run")  # fmt: skip
FIGURES = {
    "where": {"maps", "profiles", "lambdas"},
    "operators": {"operators", "distances", "linkage"},
    "landscape": {"single_pixels", "single_pixels_by_ring"},
    "padding": {"padding"},
    "position": {"windows", "levels"},
    "pipeline": {"sizes", "outside"},
    "data": {"dark"},
    "transfer": {"transfer"},
    "schedule": {"schedule", "schedule_maps"},
}


# Results by hand ------------------------------------------------------------------------------------------------------


def whole(runs: int = 4) -> Results:
    """A study of all parts: ink near the edge, a landscape that says so, networks of two paddings."""
    study = Study()
    study.paddings = {NET: "zeros", "mirror": "reflect"}
    for crossover in ("rectangle", "list"):
        for weight in (0.0, 1e-3):
            tags = {"crossover": crossover, "mutation": "per-image", "lambda": weight}
            name = f"where/{crossover}/per-image/lambda={weight:g}"
            partner = "" if name == BASE else BASE
            study.arm(name, null=f"null/{crossover}/per-image", partner=partner, tags=tags)
            study.rings(name, noisy(0.8, runs, seed=len(study.arms)), reached=1, confidence=0.97)
    for crossover in ("rectangle", "list"):
        tags = {"kind": "null", "crossover": crossover, "mutation": "per-image"}
        study.arm(f"null/{crossover}/per-image", "operators", null="", variant="flat", tags=tags)
        study.null(f"null/{crossover}/per-image", neutral(runs))
        study.arm(f"additive/{crossover}", "operators", null=f"null/{crossover}/per-image", variant="flat",
                  kind="additive", crossover=crossover)  # fmt: skip
        study.rings(f"additive/{crossover}", noisy(1.7, runs, seed=len(study.arms)))
    study.arm("null/clamped", "operators", null="", variant="flat", kind="control")
    study.null("null/clamped", neutral(runs, end=1.0))
    for name, classifier, mode, own, partner in (
        ("padding/net/reflect", NET, "reflect", "zeros", BASE),
        ("padding/mirror/reflect", "mirror", "reflect", "reflect", BASE),
        ("padding/mirror/zeros", "mirror", "zeros", "reflect", "padding/mirror/reflect"),
    ):
        variant = "" if mode == own else f"padding {mode}"
        study.arm(name, "padding", partner=partner, classifier=classifier, variant=variant, padding=mode, own=own)
        study.rings(name, noisy(1.5, runs, seed=len(study.arms)))
        study.maps.append(made_map(_slope(0.5), classifier=classifier, variant=variant))
        study.accuracies.append(Accuracy(classifier, variant, 0.75, 0.75, 100, ["conv 1"] if variant else [],
                                         ["conv 9: too small"] if variant else []))  # fmt: skip
    study.accuracies.append(Accuracy(NET, "", 0.7625, 0.76, 100))
    study.arm("window/top left", "position", partner=BASE, window="top left", region="box:0,0,8,8")
    study.rings("window/top left", noisy(0.7, runs, seed=50))
    study.arm("canvas/0.5", "position", partner=BASE, canvas=0.5, ink=0.0)
    study.arms[-1] = dataclasses.replace(study.arms[-1], canvas=(0.5,))
    study.rings("canvas/0.5", noisy(1.0, runs, seed=51))
    study.arm("drawn/24x24/nearest", "pipeline", null="null/24x24", partner=BASE, size=(24, 24),
              variant="drawn at 24 x 24 (nearest)", tags={"size": "24x24", "resize": "nearest"})  # fmt: skip
    study.rings("drawn/24x24/nearest", noisy(2.0, runs, seed=52))
    study.arm(
        "null/24x24", "operators", null="", size=(24, 24), variant="drawn at 24 x 24 (nearest) + flat", kind="size"
    )
    study.null("null/24x24", neutral(runs, end=3.0))
    study.arm("outside/1", "pipeline", partner=BASE, variant="gray 1 outside", outside=1.0)
    study.rings("outside/1", noisy(1.2, runs, seed=53))
    phases = {"phases": [{"region": "center:0.5", "last": 2}, {"region": "everywhere", "last": 4}]}
    for name, fitness in (("center first", (0.9, 0.8, 0.8, 0.4, 0.2)), ("everywhere", (0.9, 0.5, 0.3, 0.3, 0.2)),
                          ("center only", (0.9, 0.8, 0.8, 0.8, 0.8))):  # fmt: skip
        partner = "" if name == "center first" else "schedule/center first"
        settings = phases if name == "center first" else {"phases": [{"region": "everywhere", "last": 4}]}
        study.arm(f"schedule/{name}", "schedule", null="", partner=partner, settings=settings, schedule=name)
        study.rings(f"schedule/{name}", noisy(1.0, runs, seed=54), fitness=fitness, generations=range(5),
                    steps=[1.5] * 5)  # fmt: skip
    study.maps.insert(0, made_map(_slope(), pairs=[(0, 1, 1.5), (2, 3, 1.0), (60, 61, -1.0)]))
    study.maps.append(dataclasses.replace(made_map(_slope(0.3)), canvas=(0.5,)))
    study.maps.append(made_map(_slope(0.7), variant="gray 1 outside"))
    study.dark = [
        DarkRing(wanted, ring, 0.5 + 0.01 * ring, 0.49, 0.6, 100) for wanted in (True, False) for ring in range(6)
    ]
    study.lean = Lean(2.0, 2.5, -0.5, -0.6, -0.4)
    study.transfer = [Transfer(BASE, seed, shown, value) for seed in range(runs)
                      for shown, value in (("to mirror", 0.2), ("shift 1", 0.8), ("blur", 0.6))]  # fmt: skip
    found = study.results()
    counts = {"issued": 40, "answered": 39, "failed": 1, "lost": 0, "repeated": 5}
    searches = {f"{run.arm}/{run.classifier}/{run.seed}": dict(counts) for run in found.runs}
    runs_ = [_with_strip(run) if run.arm == BASE else run for run in found.runs]
    linked = [Linkage(name, d, 0.9 - 0.1 * d, 0.8) for name in ("rectangle", "list") for d in range(4)]
    return dataclasses.replace(
        found,
        runs=runs_,
        command="evofool study ink --classifier net --target cat -o DIR",
        config={"parts": [], "confidence": 0.96, "lengths": {"generations": 4}, "tested": "100 test images"},
        versions={"python": "3.11.7", "evofool": "0.1.0"},
        data={"name": "cats", "fingerprint": "00", "count": 200},
        linkage=linked,
        ledger={"searches": searches | {"map of net": dict(counts)}, "padded": 0, "kills": 0, "drift": []},
    )


def _slope(scale: float = 1.0) -> np.ndarray:
    """Worth most on the border, nothing half-way, against the class in the middle."""
    steps = measures.ring_of(SIZE).reshape(SIZE)
    found: np.ndarray = scale * (1.0 - 0.5 * steps)
    return found


def _with_strip(run: Any) -> Any:
    left = Drawing(run.best.places[:2], 0.965, 0)
    strip = [(0, Drawing([5], 0.2, 1)), (1, run.best)]
    return dataclasses.replace(run, strip=strip, shrunk=Shrinking(left, 1, 12, "1-minimal, 2 pixels, 12 queries"))


def small(runs: int = 3) -> Results:
    """The arm that all else is compared with, and its null."""
    study = Study().arm(BASE, tags={"crossover": "rectangle", "mutation": "per-image", "lambda": 1e-3})
    study.rings(BASE, noisy(0.8, runs), reached=1, confidence=0.97)
    return study.arm(NULL, "operators", null="", variant="flat", kind="null").null(NULL, neutral(runs)).results()


def tables_of(results: Results) -> dict[str, Any]:
    return {table.name: table for table in ink_records.records(results, ink_tables.analyse(results))}


def without(results: Results, part: str) -> Results:
    """The same without one part: its arms, maps and measurements."""
    gone = {arm.name for arm in results.arms if arm.part == part and arm.name not in (BASE, NULL)}
    changes: dict[str, Any] = {
        "arms": [arm for arm in results.arms if arm.name not in gone],
        "runs": [run for run in results.runs if run.arm not in gone],
        "config": {**results.config, "parts": [name for name in PARTS if name != part]},
    }
    changes |= {
        "operators": {"linkage": []},
        "landscape": {"maps": []},
        "data": {"dark": [], "lean": None},
        "transfer": {"transfer": []},
    }.get(part, {})
    return dataclasses.replace(results, **changes)


def laid_out(results: Results) -> Page:
    return ink_page.page(results, ink_tables.analyse(results))


def blocks_of(layout: Page, anchor: str) -> list[Any]:
    """All blocks of a section, unfolded."""
    found: list[Any] = []

    def walk(blocks: Any) -> None:
        for block in blocks:
            found.append(block)
            if isinstance(block, More):
                walk(block.blocks)

    walk(next(section.blocks for section in layout.sections if section.anchor == anchor))
    return found


def words_of(layout: Page, anchor: str) -> str:
    return "\n".join(block.text for block in blocks_of(layout, anchor) if isinstance(block, Text | Code))


def figures_of(layout: Page, anchor: str) -> set[str]:
    named = (block.picture if isinstance(block, Tiles) else block for block in blocks_of(layout, anchor)
             if isinstance(block, Picture | Tiles))  # fmt: skip
    return {picture.name for picture in named}


def sheets_of(layout: Page, anchor: str) -> list[Sheet]:
    return [block for block in blocks_of(layout, anchor) if isinstance(block, Sheet)]


def written(results: Results, directory: Path) -> str:
    """The page; a warning of what draws the figures is a fault."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        return ink.write(results, directory).read_text()


@pytest.fixture(scope="module")
def study() -> Results:
    return whole()


@pytest.fixture(scope="module")
def report(study: Results, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    directory = tmp_path_factory.mktemp("report")
    return written(study, directory), directory


# The page -------------------------------------------------------------------------------------------------------------


def test_a_page_has_a_section_for_each_question_and_its_figures(study):
    layout = laid_out(study)
    assert tuple(section.anchor for section in layout.sections) == ANCHORS
    for anchor, expected in FIGURES.items():
        assert figures_of(layout, anchor) == expected, anchor
    assert figures_of(layout, "verdict") == {"effects"}
    assert figures_of(layout, "drawings") == {"drawings", "drawings_2", "evolution"}


def test_a_page_is_self_contained_and_small(report):
    text, directory = report
    reader = Reader(text)
    assert len(text.encode()) < 4_800_000 == html.LIMIT
    assert "default-src 'none'" in text
    sources = reader.values("src")
    assert len(sources) >= 17
    assert all(source.startswith("data:image/") for source in sources)
    assert all(link.startswith("#") for link in reader.values("href"))
    anchors = set(reader.values("id"))
    assert all(link[1:] in anchors for link in reader.values("href"))
    names = {path.stem for path in (directory / "figures").iterdir()}
    assert set().union(*FIGURES.values()) <= names
    for name in names:
        assert (directory / "figures" / f"{name}.svg").stat().st_size > 500
        assert (directory / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_results_give_the_same_bytes(study, report, tmp_path):
    written(study, tmp_path)
    mine, theirs = files(tmp_path), files(report[1])
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name] != theirs[name]] == []


def test_the_verdict_stands_first_with_every_cause(study):
    layout, numbers = laid_out(study), ink_tables.analyse(study)
    assert [finding.text for finding in layout.findings] == numbers.verdict.headline == ink.sentences(study)
    table = sheets_of(layout, "verdict")[0]
    assert [row[0].text for row in table.rows] == list(CAUSES)
    assert [row[1] for row in table.rows] == [ink_tables.status(cause) for cause in numbers.verdict.causes]
    assert {"accused", "not accused"} <= {row[1] for row in table.rows}
    titles = [block.title for block in blocks_of(layout, "verdict") if isinstance(block, More)]
    assert len(titles) == len(CAUSES)
    for cause in numbers.verdict.causes:
        assert all(sentence in words_of(layout, "verdict") for sentence in cause.sentences)
    for line in numbers.verdict.advice:
        assert line in words_of(layout, "verdict")


def test_what_is_said_of_the_schedule_leads_to_it(study):
    found = laid_out(study).findings
    assert found[-1].evidence == "schedule"
    assert {finding.evidence for finding in found[:-1]} == {"verdict"}


def test_quick_stands_on_top(study):
    quick = dataclasses.replace(study, quick=True)
    assert ink.sentences(quick)[0] == QUICK
    assert laid_out(quick).subtitle.startswith("QUICK · ")
    assert QUICK not in ink.sentences(study)
    assert "QUICK" not in laid_out(study).subtitle


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_one_or_two_runs_of_the_base_are_path_only(runs):
    results = whole(runs)
    few = runs < 3
    assert (ink_tables.PATH_ONLY in ink.sentences(results)) == few
    assert ("PATH ONLY" in laid_out(results).subtitle) == few
    both = ink.sentences(dataclasses.replace(results, quick=True))
    assert both[0] == QUICK
    assert (both[1] == ink_tables.PATH_ONLY) == few


def test_a_study_of_one_run_each_is_written(tmp_path):
    text = written(whole(1), tmp_path)
    assert "PATH ONLY: one run shows that the path works, nothing else." in text
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"data:[^\"']+", "", text))


# Missing parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_was_not_asked_for_is_one_line_and_no_figure(study, part):
    results = without(study, part)
    layout = laid_out(results)
    kept = {"where": {"maps", "profiles"}, "operators": {"operators", "distances"}}.get(part, set())
    assert figures_of(layout, part) == kept  # the base and its null are always there
    said = words_of(layout, part)
    assert "not asked for" in said
    if not kept:
        assert said == "Not run: it was not asked for (--parts)."
        assert sheets_of(layout, part) == []
    for other in FIGURES.keys() - {part, "landscape"}:
        assert figures_of(layout, other) or part == "landscape"
    assert f"{len(PARTS) - 1} of {len(PARTS)} parts" in layout.subtitle


@pytest.mark.parametrize("part", ["padding", "data", "transfer", "pipeline"])
def test_a_part_that_was_skipped_says_why(study, part):
    results = dataclasses.replace(
        without(study, part), skipped=[(part, "the network is not one of torch")], config=study.config
    )
    layout = laid_out(results)
    assert words_of(layout, part) == "Not run: the network is not one of torch."
    assert any(("the network is not one of torch" in str(row)) for row in sheets_of(layout, "run")[0].rows)


def test_without_maps_no_figure_is_empty(study):
    results = dataclasses.replace(study, maps=[])
    layout = laid_out(results)
    assert figures_of(layout, "landscape") == figures_of(layout, "padding") == set()
    assert "maps" in figures_of(layout, "where")
    assert "levels" not in figures_of(layout, "position")
    assert "outside" not in figures_of(layout, "pipeline")
    assert "not mapped" in words_of(layout, "padding")
    assert sheets_of(layout, "padding")


def test_a_study_in_which_nothing_was_run(tmp_path):
    nothing = dataclasses.replace(Study().results(), arms=[], runs=[])
    text = written(nothing, tmp_path)
    layout = laid_out(nothing)
    assert all(not figures_of(layout, anchor) for anchor in ANCHORS)
    assert "Nothing was drawn." in words_of(layout, "drawings")
    assert text.count("<img") == 0


def test_runs_without_ink_are_told_and_draw_no_empty_map(tmp_path):
    study = Study().arm(BASE, tags={"crossover": "rectangle", "mutation": "per-image", "lambda": 1e-3})
    study.rings(BASE, [None, None, None], steps=(None, None), fitness=(None, None))
    study.arm(NULL, "operators", null="", variant="flat", kind="null").null(NULL, neutral(3))
    results = study.results()
    layout = laid_out(results)
    assert not {"maps", "profiles"} & figures_of(layout, "where")
    assert "goal not reached" in written(results, tmp_path)
    row = json.loads((tmp_path / "tables" / "arms.json").read_text())[0]
    assert (row["arm"], row["index_estimate"], row["ink"]) == (BASE, None, 0.0)


def test_answers_that_are_no_numbers_are_left_out(study, tmp_path):
    gaps = made_map(_slope())
    gaps = dataclasses.replace(gaps, effects=[None if place % 3 else e for place, e in enumerate(gaps.effects)])
    results = dataclasses.replace(
        study,
        maps=[gaps],
        transfer=[Transfer(BASE, 0, "to mirror", math.nan), Transfer(BASE, 1, "to mirror", 0.3)],
        accuracies=[Accuracy(NET, "", 0.7, math.nan, 100)],
    )
    tables = tables_of(results)
    assert [row["confidence"] for row in tables["transfer"].rows] == [None, 0.3]
    assert tables["accuracies"].rows[0]["balanced"] is None
    assert ink_tables.shown(results)["to mirror"] == [0.3]
    effects = [row["effect"] for row in tables["maps"].rows]
    assert effects.count(None) == sum(place % 3 > 0 for place in range(144))
    for table in tables.values():
        table.to_json()  # refuses what is no number
    written(results, tmp_path)


# Odd names ------------------------------------------------------------------------------------------------------------


def test_odd_names_harm_nothing(study, tmp_path):
    hostile = dataclasses.replace(
        study,
        class_names=[HOSTILE, "other"],
        command=f"evofool study ink --target '{HOSTILE}'",
        classifiers=[{"name": NET, "label": HOSTILE, "padding": HOSTILE, "given": HOSTILE}],
        skipped=[("padding", HOSTILE)],
        versions={HOSTILE: HOSTILE},
        data={"name": HOSTILE},
        arms=[dataclasses.replace(arm, about=HOSTILE) for arm in study.arms],
        ledger={**study.ledger, "drift": [HOSTILE]},
    )
    text = written(hostile, tmp_path)
    assert "<script" not in text.lower()
    assert escaping.escape(HOSTILE, quote=False) in text.replace("<wbr>", "")
    assert not [tag for tag, _ in Reader(text).tags if tag == "script"]


def test_formulas_stay_text_in_a_spreadsheet():
    results = small()
    results = dataclasses.replace(results, arms=[dataclasses.replace(arm, about="=1+1") for arm in results.arms])
    table = tables_of(results)["arms"]
    assert {row["about"] for row in csv.DictReader(io.StringIO(table.to_csv()))} == {"'=1+1"}


# Numbers --------------------------------------------------------------------------------------------------------------


def test_tables_hold_what_was_measured(study, report):
    rows = {row["arm"]: row for row in json.loads((report[1] / "tables" / "arms.json").read_text())}
    assert rows.keys() == {arm.name for arm in study.arms}
    for arm in study.arms:
        index = measures.edge_index(study, arm.name)
        row = rows[arm.name]
        assert [row[f"index_{key}"] for key in ("estimate", "low", "high", "n")] == [
            index.estimate, index.low, index.high, index.n,
        ]  # fmt: skip
        if arm.partner:
            change = measures.change(study, arm.name, arm.partner)
            assert [row[f"change_{key}"] for key in ("estimate", "low", "high")] == [
                change.estimate, change.low, change.high,
            ]  # fmt: skip
    assert rows[BASE]["index_estimate"] is not None
    runs = json.loads((report[1] / "tables" / "runs.json").read_text())
    mine = {row["seed"]: row["edge_index"] for row in runs if row["arm"] == BASE}
    assert mine == measures.edge_index(study, BASE).values
    with (report[1] / "tables" / "rings.csv").open() as file:
        rings = [row for row in csv.DictReader(file) if row["arm"] == BASE]
    assert [float(row["share"]) for row in rings] == [row.mean for row in measures.ring_profile(study, BASE)]
    answers = json.loads((report[1] / "tables" / "map_answers.json").read_text())
    told = landscape.prediction(study.maps[0], study.of(BASE))
    assert told is not None
    assert (answers[0]["percentile"], answers[0]["p"]) == (told.percentile, told.p)
    assert all(row["percentile"] is None for row in answers[1:])


def test_every_effect_of_the_verdict_is_in_the_files(study, report):
    rows = json.loads((report[1] / "tables" / "effects.json").read_text())
    effects = [effect for cause in ink_tables.analyse(study).verdict.causes for effect in cause.effects]
    assert [(row["arm"], row["estimate"], row["low"]) for row in rows] == [
        (effect.arm, effect.estimate, effect.low) for effect in effects
    ]
    assert len(rows) > 10


def test_csv_and_json_have_the_same_rows(report):
    names = {path.stem for path in (report[1] / "tables").glob("*.json")}
    assert names >= {"arms", "runs", "causes", "effects", "rings", "maps", "accuracies", "dark", "transfer", "linkage",
                     "schedule", "queries", "pairs", "occupancy", "curves", "lean"}  # fmt: skip
    for name in names:
        with (report[1] / "tables" / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        raw = json.loads((report[1] / "tables" / f"{name}.json").read_text())
        assert len(rows) == len(raw) > 0
        assert list(rows[0]) == list(raw[0])


def test_the_table_by_lambda_shows_the_index_of_that_arm(study):
    table = sheets_of(laid_out(study), "where")[0]
    assert [column.title for column in table.columns] == ["crossover, mutation", "λ = 0", "λ = 0.001"]
    cells = {(row[0], column.title): cell for row in table.rows
             for column, cell in zip(table.columns, row, strict=True)}  # fmt: skip
    for crossover in ("rectangle", "list"):
        for weight in ("0", "0.001"):
            index = measures.edge_index(study, f"where/{crossover}/per-image/lambda={weight}")
            cell = cells[f"{crossover}, per-image", f"λ = {weight}"]
            assert cell.text == f"{index.estimate:.2f}"
            assert cell.below.startswith(f"{index.low:.2f} to ".replace("-", "\N{MINUS SIGN}"))


def test_a_dot_is_the_index_and_beside_it_stands_the_change(study):
    numbers = ink_tables.analyse(study)
    dots = {(dot.group, dot.what): dot for dot in ink_tables.dots(study, numbers)}
    dot = dots["padding of these weights", "padding reflect"]
    index = measures.edge_index(study, "padding/net/reflect")
    assert (dot.estimate, dot.low, dot.high) == (index.estimate, index.low, index.high)
    effect = numbers.verdict.cause("padding of these weights").effects[0]
    assert effect.arm == "padding/net/reflect"
    assert dot.words == f"change {ink_words.between(effect, signed=True)}"
    assert dot.words.startswith("change +0.")
    groups = [dot.group for dot in ink_tables.dots(study, numbers)]
    assert list(dict.fromkeys(groups)) == [name for name in CAUSES if name in groups]
    assert {"data", "the classifier itself"}.isdisjoint(groups)
    assert "every pixel worth the same" in dots["operators", "list, every pixel worth the same"].what


def test_networks_by_paddings_with_accuracies_before_and_after(study):
    rows = ink_tables.cells(study, ink_tables.analyse(study))
    assert list(rows) == [NET, "mirror"]
    assert [(cell.mode, cell.own) for cell in rows[NET]] == [("zeros", True), ("reflect", False)]
    assert [(cell.mode, cell.own) for cell in rows["mirror"]] == [("zeros", False), ("reflect", True)]
    names = [cell.row.arm.name for row in rows.values() for cell in row if cell.row]
    assert names == [BASE, "padding/net/reflect", "padding/mirror/zeros", "padding/mirror/reflect"]
    own, swapped = rows[NET]
    assert own.row is not None and own.row.arm.name == BASE
    assert own.map is study.maps[0]
    assert swapped.row is not None and swapped.row.arm.name == "padding/net/reflect"
    assert swapped.map is study.maps[1]
    assert swapped.before is not None and swapped.after is not None
    assert (swapped.before.accuracy, swapped.after.accuracy) == (0.7625, 0.75)
    table = sheets_of(laid_out(study), "padding")[0]
    points = {(row[0], str(row[1])): row[7] for row in table.rows}
    assert points["net", "reflect"] == pytest.approx(-1.25)


def test_a_map_is_that_of_the_same_blank(study):
    gray = study.arm("canvas/0.5")
    found = ink_tables.map_on(study, NET, "", gray)
    assert found is not None
    assert found.canvas == (0.5,)
    assert ink_tables.map_on(study, NET, "", study.arm(BASE)) is study.maps[0]
    assert ink_tables.map_on(study, "nobody", "", gray) is None


# Maps -----------------------------------------------------------------------------------------------------------------


def test_more_and_less_ink_than_if_it_were_spread_evenly_by_hand():
    study = Study().arm(BASE, size=(3, 4), crossover="x")
    study.runs = [drawn(BASE, 0, [0, 5]), drawn(BASE, 1, [5])]
    found = ink_tables.excess(study.results(), [BASE])
    assert found is not None
    expected = np.full((3, 4), -0.125)  # 3 pixels of 24
    expected[0, 0], expected[1, 1] = 0.5 - 0.125, 1 - 0.125
    assert np.allclose(found, expected)
    inside = ink_tables.excess(study.results(), [BASE], "box:0,0,2,2")
    assert inside is not None
    assert np.isnan(inside[2, 3])
    assert np.allclose(inside[:2, :2], np.array([[0.5, 0], [0, 1]]) - 0.375)
    assert ink_tables.excess(study.results(), [BASE], "box:no") is not None  # what is no region leaves all pixels


@pytest.mark.parametrize("region", ["mask:{}", "not:mask:{}", " mask:{}", "box:0,0,2,2\n", "box:9,9,9,9",
                                    f"box:0,0,2,{'9' * 5000}", "center:0.5", "mask:"])  # fmt: skip
def test_a_region_in_a_stranger_s_tags_opens_no_file(region, tmp_path, monkeypatch):
    study = Study().arm(BASE, size=(3, 4), crossover="x")
    study.runs = [drawn(BASE, 0, [0, 5])]
    file = tmp_path / "mask.png"
    Image.fromarray(np.array([[255, 0, 0, 0]] * 3, np.uint8)).save(file)
    assert int(regions.mask(f"mask:{file}", 3, 4).sum()) == 3, "else nothing is shown"
    monkeypatch.setattr(regions, "_from_file", lambda *_: pytest.fail("a file was opened"))
    regions.mask.cache_clear()
    found = ink_tables.excess(study.results(), [BASE], region.format(file))
    assert found is not None
    assert np.isfinite(found).all()


def test_scaling_keeps_nothing_at_nothing_and_the_largest_at_one():
    found = ink_tables.scaled(np.array([[0.0, -2.0], [np.nan, 4.0]]))
    assert found is not None
    assert np.array_equal(found, [[0.0, -0.5], [np.nan, 1.0]], equal_nan=True)
    assert ink_tables.scaled(None) is None
    assert ink_tables.limit([np.zeros((2, 2)), None]) == 1.0  # no scale of no width
    assert ink_tables.limit([]) == 1.0


def test_nothing_is_white_and_the_ends_are_as_dark_as_each_other():
    assert ink_maps.DIVERGING(0.5)[:3] == pytest.approx((1, 1, 1), abs=0.02)
    light = [sum(ink_maps.DIVERGING(at)[:3]) for at in (0.0, 1.0)]
    assert light[0] < 1 > light[1]
    red, blue = ink_maps.DIVERGING(0.8), ink_maps.DIVERGING(0.2)
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_three_maps_stand_side_by_side_on_one_scale(study):
    panels = ink_sections._side_by_side(study, study.arm(BASE), ink_tables.central(study))
    assert len(panels) == 3
    for panel in panels:
        assert panel.values is not None
        assert np.abs(panel.values).max() <= 1
    effects = panels[2].values
    assert effects is not None
    # +1 on the border and -1.5 in the middle; what does nothing stays at 0, and the larger of both ends is at 1.
    assert effects[0, 0] == pytest.approx(2 / 3)
    assert effects[6, 6] == -1
    assert effects[2, 2] == 0


# Odds and ends --------------------------------------------------------------------------------------------------------


def test_runs_when_the_limit_was_lifted_and_at_the_end_by_hand(study):
    assert schedules.switch(study) == 2
    found = {(end.schedule, end.seed): (end.lifted, end.last) for end in schedules.ends(study)}
    assert found["center first", 0] == (0.8, 0.2)
    assert found["everywhere", 1] == (0.3, 0.2)
    assert found["center only", 3] == (0.8, 0.8)
    table = sheets_of(laid_out(study), "schedule")[0]
    assert [(row[0], row[5]) for row in table.rows] == [("center first", 4), ("everywhere", 4), ("center only", 0)]
    assert [row[2] for row in table.rows] == ["2"] * 3


def test_the_generation_that_was_measured_before_the_limit_is_lifted_is_named(study):
    runs = [dataclasses.replace(run, generations=[0, 1, 3, 4, 5]) if run.arm.startswith("schedule/") else run
            for run in study.runs]  # fmt: skip
    old = dataclasses.replace(study, runs=runs)
    table = sheets_of(laid_out(old), "schedule")[0]
    assert [row[2] for row in table.rows] == ["1"] * 3
    assert "lifted after generation 2;" in table.caption
    assert "since generation 1, the last one measured until then" in words_of(laid_out(old), "schedule")
    assert {row["measured_in"] for row in tables_of(old)["schedule"].rows} == {1}


def test_layers_are_told_where_no_image_was_tested(study):
    """Rows of no image hold 0.0 for an accuracy that nobody knows."""
    untested = [dataclasses.replace(row, accuracy=0.0, balanced=0.0, images=0) for row in study.accuracies
                if row.variant]  # fmt: skip
    bare = dataclasses.replace(study, accuracies=untested)
    rows = next(sheet for sheet in sheets_of(laid_out(bare), "padding") if "what it costs" in sheet.caption).rows
    assert {row[5:8] for row in rows} == {(None, None, None)}
    assert [row[8:] for row in rows if row[8] is not None] == [(1, 1), (1, 1)]
    assert {row["accuracy"] for row in tables_of(bare)["accuracies"].rows} == {None}
    assert "accuracy not known" in str([panel.lines for panel in _panels(bare)])
    assert not any("0.0%" in line for panel in _panels(bare) for line in panel.lines)
    against = next(sheet for sheet in sheets_of(laid_out(bare), "pipeline")).columns
    assert "accuracy" not in [column.title for column in against]


def _panels(results: Results) -> list[Any]:
    rows = ink_tables.cells(results, ink_tables.analyse(results)).values()
    return [panel for row in rows for panel in ink_causes._band(row).panels if panel]


def test_verdicts_have_a_colour_each(report):
    text, _ = report
    style = text[text.index("<style>") : text.index("</style>")]
    shown = set(re.findall(r'<td class="verdict ([a-z-]+)"', text))
    assert {"accused", "not-accused"} <= shown
    for name in shown:
        assert f"td.{name}" in style, name
    colours = {name: re.search(rf"td\.{name}[^{{]*{{ color: (var\(--\w+\))", style)
               for name in ("accused", "not-accused", "cannot-be-told")}  # fmt: skip
    assert len({match.group(1) for match in colours.values() if match}) == 3


def test_queries_by_arm_add_up(study):
    found = ink_tables.issued(study)
    assert found[BASE]["issued"] == 4 * 40
    assert found["map of net"]["issued"] == 40
    flat = [arm for arm in study.arms if arm.variant.endswith("flat")]
    assert len(flat) == 6
    assert sum(counts["issued"] for counts in found.values()) == study.queries() + len(flat) * 4 * 40 + 40
    # The page says what networks were asked.
    assert f"They asked {study.queries():,} queries" in words_of(laid_out(study), "run")
    assert study.queries() == (len(study.arms) - len(flat)) * 4 * 40


def test_findings_are_named_by_number(tmp_path, monkeypatch):
    finding = rundir.Finding(7, "images/a.png", "", NET, 2, BASE, 1, -1, 0, 0.97, [], 0)
    monkeypatch.setattr(rundir, "findings", lambda path: [finding])
    text = written(small(), tmp_path)
    assert "seed 2, finding 7" in text
    assert "evofool replay DIR#7" in text
    assert text.count("finding 7") == 2  # the drawing, and its description for those who do not see it


def test_a_label_or_the_end_of_a_path_names_a_network(study):
    results = dataclasses.replace(
        study, classifiers=[{"name": "/a/b/cat", "label": ""}, {"name": "x", "label": "cats"}]
    )
    assert ink_tables.label_of(results, "/a/b/cat") == "cat"
    assert ink_tables.label_of(results, "x") == "cats"
    assert ink_tables.label_of(results, "timm:a/b") == "timm:a/b"


@pytest.mark.parametrize(
    ("of", "signed", "expected"),
    [
        (EdgeIndex({}, 1.0, 0.512, 0.4, 0.6, 5), False, "0.51 (0.40 to 0.60)"),
        (EdgeIndex({}, 1.0, 0.512, None, None, 1), False, "0.51 (no interval)"),
        (Change(None, None, None, 0), True, "not known"),
        (Change(-0.1, -0.25, 0.001, 5), True, "\N{MINUS SIGN}0.10 (\N{MINUS SIGN}0.25 to 0.00)"),
        (Change(0.1, 0.05, 170.4, 5), True, "+0.10 (+0.05 to +170)"),
    ],
)
def test_numbers_in_short_words(of, signed, expected):
    assert ink_words.between(of, signed=signed) == expected


def test_records_have_plain_values(study):
    for table in ink_records.records(study, ink_tables.analyse(study)):
        for row in table.rows:
            assert row.keys() == table.rows[0].keys()
            assert all(value is None or isinstance(value, str | int | float | bool) for value in row.values())


def test_curves_are_medians_over_runs_by_hand(study):
    rows = {(row["arm"], row["measure"], row["generation"]): row for row in tables_of(study)["curves"].rows}
    row = rows["schedule/center first", "fitness", 3]
    assert (row["first_quartile"], row["median"], row["third_quartile"], row["runs"]) == (0.4, 0.4, 0.4, 4)
    ends = sorted(run.steps[-1] for run in study.of(NULL))
    assert rows[NULL, "steps_to_border", 1]["median"] == pytest.approx((ends[1] + ends[2]) / 2)


def test_large_canvases_are_drawn(tmp_path):
    study = Study()
    study.arms = [Arm(BASE, "where", "", "", "", NET, "", {"crossover": "x", "mutation": "y", "lambda": 0.0}, {},
                      (299, 250), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))]  # fmt: skip
    study.runs = [dataclasses.replace(drawn(BASE, seed, [seed, 250 * 298 + 3]), reached=1) for seed in range(3)]
    places = list(range(0, 299 * 250, 75))
    study.maps = [dataclasses.replace(made_map(0.0), size=(299, 250), canvas=(1.0,) * 3, ink=(0.0,) * 3, places=places,
                                      effects=[float(place % 7) - 3 for place in places])]  # fmt: skip
    text = written(study.results(), tmp_path)
    assert "997 of 74,750 pixels" in text
    assert len(text) < html.LIMIT


def test_a_bias_that_is_known_speaks_for_no_cause(study):
    numbers = ink_tables.analyse(study)
    effect = next(each for each in numbers.verdict.cause("operators").effects if each.arm == "null/clamped")
    assert effect.counts  # it was found
    dot = next(dot for dot in ink_tables.dots(study, numbers) if dot.what.startswith("clamped"))
    assert not dot.counts
    assert dot.words.endswith(", found")
    missed = dataclasses.replace(effect, counts=False)
    assert ink_tables.control(missed, numbers) == ", not found"
    other = next(each for each in numbers.verdict.cause("operators").effects if each.arm != "null/clamped")
    assert ink_tables.control(other, numbers) == ""


def test_what_no_other_network_was_shown_is_not_tested(study):
    alone = dataclasses.replace(study, transfer=[each for each in study.transfer if not each.shown.startswith("to ")])
    cause = ink_tables.analyse(alone).verdict.cause("the classifier itself")
    assert cause.effects  # its own confidence in shifted drawings
    assert ink_tables.status(cause) == "not tested"
    assert ink_tables.status(ink_tables.analyse(study).verdict.cause("the classifier itself")) != "not tested"
