"""The page and the files beside it: self-contained, small, harmless, repeatable, and true to the numbers."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import re
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import builders
from evofool.reports import analysis, html, page
from evofool.reports.findings import findings
from evofool.reports.sheets import Column, Note
from evofool.reports.statistics import Paired, Spread
from evofool.studies.operators import results as stored
from evofool.studies.operators.results import Results
from pages import Reader

HOSTILE = (
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(2)>", "=cmd|'/c calc'!A1", "$\\frac{1$", "{{ 7 * 7 }}",
    "line\nbreak\x00", "&amp;", "javascript:alert(3)", "micro avg", "日本語 🐈",
)  # fmt: skip


def small(directory: Path, **changes) -> Results:
    """One classifier, two scenarios, with controls and a gallery."""
    settings = {"classifiers": ["cnn-a"], "seeds": 2, "scenarios": ["FPS_AC_SM", "RS_AC_IM"], **changes}
    found = builders.results(**settings)
    return dataclasses.replace(found, galleries=[builders.gallery(directory, "FPS_AC_SM", 12)])


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "images" not in path.parts
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """Everything that a study can have, with two classifiers."""
    directory = tmp_path_factory.mktemp("whole")
    found = builders.results(
        classifiers=["cnn-a", "cnn-b"], seeds=2,
        parts=("elitism", "controls", "hypotheses", "generations", "rates", "all-images"),
    )  # fmt: skip
    shown = ("FPS_SPC_SM", "FPS_SPC_IM", "FPS_AC_SM", "RND_AC_SM")
    found = dataclasses.replace(found, galleries=[builders.gallery(directory, arm, 20) for arm in shown])
    html.write(found, directory)
    return found, directory


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_but_itself(whole: tuple[Results, Path]) -> None:
    reader = Reader((whole[1] / "report.html").read_text())
    assert {tag for tag, _ in reader.tags} & {"script", "link", "iframe", "object", "embed", "form", "base"} == set()
    sources = reader.values("src")
    assert len(sources) > 15
    assert all(source.startswith(("data:image/svg+xml;base64,", "data:image/png;base64,")) for source in sources)
    assert all(target.startswith("#") for target in reader.values("href"))
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    policy = next(a["content"] for tag, a in reader.tags if tag == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    style = re.search(r"<style>(.*?)</style>", (whole[1] / "report.html").read_text(), re.S)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_the_page_is_small_with_all_its_figures_inside(whole: tuple[Results, Path]) -> None:
    text = (whole[1] / "report.html").read_text()
    assert len(text.encode()) < 5_000_000
    assert "which would be too large" not in text
    assert len(re.findall(r"<figure class=\"(?:picture|strip)\"", text)) == len(list(whole[1].glob("figures/*.svg")))


def test_links_lead_somewhere_and_names_are_unique(whole: tuple[Results, Path]) -> None:
    reader = Reader((whole[1] / "report.html").read_text())
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    targets = [target.removeprefix("#") for target in reader.values("href")]
    assert {"comparison", "ranking", "claims", "claim-fps", "hypotheses", "judge"} <= set(targets)
    assert set(targets) <= set(ids)


def test_every_figure_is_described_for_those_who_cannot_see_it(whole: tuple[Results, Path]) -> None:
    reader = Reader((whole[1] / "report.html").read_text())
    images = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert images
    assert all(len(attributes.get("alt") or "") > 15 for attributes in images)


def test_findings_come_first_each_with_its_evidence(whole: tuple[Results, Path]) -> None:
    results, directory = whole
    text = (directory / "report.html").read_text()
    found = findings(results)
    assert len(found) > 10
    assert text.index('id="findings"') < text.index('id="classifiers"')
    items = re.findall(r"<li>.*?</li>", text[text.index('<ol class="findings">') :], re.S)
    assert len(items) == len(found)
    for finding, item in zip(found, items, strict=True):
        assert f'href="#{finding.evidence}"' in item
        assert Reader(item).text.startswith(finding.text)


def test_tables_hold_the_numbers(whole: tuple[Results, Path]) -> None:
    text = Reader((whole[1] / "report.html").read_text()).text
    assert "depends on the CNN" in text
    assert "0.120" in text
    assert "\N{MINUS SIGN}0.540" in text  # TS_SPC_SM minus random parents
    assert "653.74" in text
    assert whole[0].command in text


def test_the_same_study_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "elsewhere" / "two"
    results = small(one)
    small(two)
    (one / "study.json").write_text(results.to_json())
    html.write(results, one)
    html.write(stored.load(one / "study.json"), two)
    first, second = files(one), files(two)
    del first["study.json"]
    assert len(first) > 20
    assert first == second


def test_other_numbers_give_another_page(tmp_path: Path) -> None:
    html.write(small(tmp_path), tmp_path)
    before = files(tmp_path)
    html.write(small(tmp_path, accuracy={"FPS_AC_SM": 0.4}), tmp_path)
    after = files(tmp_path)
    changed = {name for name in before if before[name] != after[name]}
    assert {"report.html", "tables/scenarios.csv", "figures/comparison.svg", "figures/comparison.png"} <= changed
    assert not [name for name in after if ".tmp" in name]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    results = builders.results(
        classifiers=["<b>cnn</b>/../x"], seeds=2, scenarios=["FPS_AC_SM", "RS_AC_IM"], class_names=HOSTILE,
        data="<i>data</i>",
    )  # fmt: skip
    results = dataclasses.replace(
        results, galleries=[builders.gallery(tmp_path, "FPS_AC_SM", 10)], command="<u>evofool</u> study operators"
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        html.write(results, tmp_path)
    reader = Reader((tmp_path / "report.html").read_text())
    tags = {tag for tag, _ in reader.tags}
    assert tags & {"script", "b/..", "i", "u"} == set()
    assert {a.get("src", "")[:11] for tag, a in reader.tags if tag == "img"} == {"data:image/"}
    assert "<script>alert(1)</script>" in reader.text
    assert "{{ 7 * 7 }}" in reader.text
    for path in (tmp_path / "figures").glob("*.svg"):
        ElementTree.parse(path)
    inside = {path.parent for path in tmp_path.rglob("*.svg")}
    assert inside == {tmp_path / "figures"}


def test_a_spreadsheet_runs_nothing(tmp_path: Path) -> None:
    html.write(small(tmp_path, class_names=HOSTILE), tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "tables" / "classification_reports.csv").read_text())))
    assert "'=cmd|'/c calc'!A1" in {row["name"] for row in rows}
    numbers = [row["difference"] for row in csv.DictReader((tmp_path / "tables" / "contrasts.csv").open())]
    assert any(value.startswith("-") for value in numbers)  # a negative number stays one


# --- the files ------------------------------------------------------------------------------------------------------


def test_csv_and_json_tell_the_same(whole: tuple[Results, Path]) -> None:
    tables = sorted((whole[1] / "tables").glob("*.json"))
    assert {path.stem for path in tables} >= {
        "classifiers", "scenarios", "further_runs", "classification_reports", "curves", "total_fitness", "comparison",
        "ranking", "contrasts", "judge", "claims", "hypotheses",
    }  # fmt: skip
    for path in tables:
        records = json.loads(path.read_text())
        with path.with_suffix(".csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(records) > 0
        for row, record in zip(rows, records, strict=True):
            assert list(row) == list(record)
            for key, value in record.items():
                if isinstance(value, float):
                    assert float(row[key]) == value
        assert "NaN" not in path.read_text()


def test_a_number_on_file_is_the_runs(whole: tuple[Results, Path]) -> None:
    results, directory = whole
    records = json.loads((directory / "tables" / "scenarios.json").read_text())
    row = next(r for r in records if r["classifier"] == "cnn-b" and r["arm"] == "TS_AC_IM")
    ends = [run.accuracy[-1] for run in results.of("TS_AC_IM", "cnn-b")]
    assert (row["accuracy"], row["accuracy_low"], row["accuracy_high"]) == pytest.approx(
        (np.mean(ends), min(ends), max(ends))
    )


def test_figures_are_there_as_svg_and_png(whole: tuple[Results, Path]) -> None:
    names = {path.stem for path in (whole[1] / "figures").glob("*.svg")}
    assert names == {path.stem for path in (whole[1] / "figures").glob("*.png")}
    assert {
        "accuracy_by_generation", "comparison", "critical_difference_accuracy", "critical_difference_adversarial",
        "scores_by_generation_2_cnn-b", "total_fitness_1_cnn-a", "judge_1_cnn-a", "hypotheses_1_cnn-a",
        "further_1_cnn-a", "gallery_3_FPS_AC_SM",
    } <= names  # fmt: skip
    for path in (whole[1] / "figures").glob("*.svg"):
        ElementTree.parse(path)
        assert b"<dc:date>" not in path.read_bytes()
    with Image.open(whole[1] / "figures" / "comparison.png") as picture:
        assert picture.width == 1300


# --- galleries ------------------------------------------------------------------------------------------------------


def test_a_gallery_is_cut_into_its_members(tmp_path: Path) -> None:
    entry = builders.gallery(tmp_path, "FPS_AC_SM", 12)
    members = page.members(entry, builders.DIGITS, tmp_path)
    sheet = np.asarray(Image.open(tmp_path / entry.file))
    assert len(members) == 12
    assert np.array_equal(members[5].original, sheet[:28, 140:168])
    assert np.array_equal(members[5].evolved, sheet[28:, 140:168])
    assert (members[5].carried, members[5].predicted, members[3].predicted) == ("5", "8", "")


def test_the_page_shows_the_pixels_of_the_gallery_untouched(tmp_path: Path) -> None:
    entry = builders.gallery(tmp_path, "FPS_AC_SM", 12)
    members = page.members(entry, builders.DIGITS, tmp_path)
    uri = html.sprite(members[:10])
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    assert pixels.shape == (2 * 30, 10 * 30, 4)
    assert np.array_equal(pixels[1:29, 31:59, 0], members[1].original)
    assert np.array_equal(pixels[31:59, 31:59, 2], members[1].evolved)
    assert set(np.unique(pixels[[0, 29, 30, 59], :, 3])) == {0}  # the border is clear


def test_colour_galleries_keep_their_colours(tmp_path: Path) -> None:
    entry = builders.gallery(tmp_path, "FPS_AC_SM", 4)
    colours = np.random.default_rng(0).integers(0, 256, (56, 112, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / entry.file)
    members = page.members(entry, builders.DIGITS, tmp_path)
    assert np.array_equal(members[0].evolved, colours[28:, :28])
    assert html.sprite(members).startswith("data:image/png")


def test_a_lost_or_foreign_gallery_is_told_and_not_followed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    results = small(run)
    good = results.galleries[0]
    (tmp_path / "outside.png").write_bytes((run / good.file).read_bytes())
    (run / "images" / "text.png").write_text("no picture")
    broken = ["images/nothing.png", "../outside.png", str(tmp_path / "outside.png"), "images/text.png"]
    for file in broken:
        assert page.members(dataclasses.replace(good, file=file), builders.DIGITS, run) == []
    odd = dataclasses.replace(good, labels=good.labels[:11])  # 12 columns do not divide into 11 members
    assert page.members(odd, builders.DIGITS, run) == []
    html.write(dataclasses.replace(results, galleries=[dataclasses.replace(good, file=broken[0])]), run)
    assert "images/nothing.png is missing or damaged" in (run / "report.html").read_text()


def test_a_page_that_would_be_too_large_names_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = small(tmp_path)
    monkeypatch.setattr(html, "LIMIT", 200_000)
    html.write(results, tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert len(text.encode()) <= 200_000
    left_out = re.findall(r"This figure is in (figures/\S+\.png)", text)
    assert left_out
    assert all((tmp_path / name).is_file() for name in left_out)


# --- degenerate studies ---------------------------------------------------------------------------------------------

DEGENERATE = {
    "one seed": {"seeds": 1},
    "one scenario": {"scenarios": ["FPS_AC_SM"]},
    "two scenarios, no judge": {"judge": False, "parts": ()},
    "digits": {"data": "digits test", "classifiers": {"digits": 0.9}},
    "a sweep": {"parts": ("sweep",), "generations": 3, "scenarios": ["FPS_AC_SM", "TS_SPC_SM"]},
    "no generation": {"generations": 0},
    "two classes": {"class_names": ("cat", "not cat"), "population": 20},
    "sixty classes": {"class_names": [f"class {k}" for k in range(60)]},
    "nothing": {"scenarios": [], "parts": ()},
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_a_degenerate_study_has_a_report(tmp_path: Path, name: str) -> None:
    settings = {"classifiers": ["cnn-a"], "seeds": 2, "scenarios": ["FPS_AC_SM", "RS_AC_IM"], **DEGENERATE[name]}
    results = builders.results(**settings)
    text = Reader(html.write(results, tmp_path).read_text()).text
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b(?! of)|Spread\(", text)
    assert "Findings" in text
    if name == "digits":
        assert "The paper evolved MNIST digits and this study evolved other images (digits test)." in text
        assert "published" not in text
    if name == "one seed":
        assert "With one seed it cannot be told" in text
    if name == "sixty classes":
        assert "The 60 classes are in the files" in text
        assert (tmp_path / "tables" / "classification_reports.csv").read_text().count("class 59") == 3
    if name == "two scenarios, no judge":
        assert "No independent judge looked at the images" in text
        assert "No explanation was run" in text
    if name == "a sweep":
        assert "settings of the sweep" in text


def test_members_without_an_answer_are_told(tmp_path: Path) -> None:
    results = builders.results(classifiers=["cnn-a"], seeds=2, scenarios=["FPS_AC_SM", "RS_AC_IM"], parts=())
    runs = [dataclasses.replace(run, failed=[0] * 10 + [7]) for run in results.runs]
    found = findings(dataclasses.replace(results, runs=runs))
    assert any(finding.text.startswith("28 evaluations came back without an answer") for finding in found)


# --- findings -------------------------------------------------------------------------------------------------------


def test_findings_follow_the_numbers() -> None:
    agree = {name: analysis.comparison.paper.load().accuracy(name) for name in builders.SCENARIOS}
    texts = " ".join(f.text for f in findings(builders.results(accuracy=agree, seeds=3)))
    assert "12 of 12 published accuracies agree with what one run gives on all three classifiers" in texts
    texts = " ".join(f.text for f in findings(builders.results(accuracy={"FPS_AC_SM": 0.15}, seeds=10)))
    assert "1 of 12 published accuracies agrees with what one run gives on all three classifiers, 11 differ" in texts
    assert "Agreeing: FPS_AC_SM." in texts
    assert "By accuracy, TS_AC_IM misleads the classifier most on all three classifiers" in texts
    assert "random the same crossovers and mutations alone bring accuracy to 0.250 to 0.660" in texts
    assert "tournament takes it to 0.030 to 0.210" in texts


def test_a_first_place_that_depends_on_the_classifier_is_told() -> None:
    planted = {"FPS_AC_SM": {"cnn-a": 0.001, "cnn-b": 0.2, "cnn-c": 0.2}}
    texts = " ".join(f.text for f in findings(builders.results(accuracy=planted, seeds=10)))
    assert "the first place depends on the CNN: FPS_AC_SM on cnn-a; TS_AC_IM on cnn-b and cnn-c" in texts


def test_a_judge_that_cannot_read_makes_its_rates_a_lower_bound() -> None:
    def text(reads: float) -> str:
        results = builders.results(seeds=2, classifiers=["cnn-a"], reads={"MUT_SM": reads, "MUT_IM": reads})
        return " ".join(finding.text for finding in findings(results))

    assert "no more than a lower bound" in text(0.5)
    assert "no more than a lower bound" not in text(0.97)
    assert "a share of 0.97 under swap and 0.97 under inversion" in text(0.97)


def test_what_was_not_tested_names_the_command_that_tests_it() -> None:
    last = findings(builders.results(seeds=2, classifiers=["cnn-a"]))[-1]
    assert "Three of the paper's claims were not tested" in last.text
    assert last.command.endswith("--parts scenarios,controls,generations,rates,all-images -o DIR")


# --- cells ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (None, 3, "<span class='none'>–</span>"),
        (1234.5, 1, "1,234.5"),
        (-0.25, 2, "\N{MINUS SIGN}0.25"),
        (-0.0001, 2, "0.00"),
        (Spread(0.5, 0.4, 0.6, 3), 2, "0.50<small>0.40 to 0.60</small>"),
        (Spread(0.5, 0.5, 0.5, 1), 2, "0.50"),
        (Paired(-1.0, -2.0, 0.5, 0.1, 9), 1, "\N{MINUS SIGN}1.0<small>\N{MINUS SIGN}2.0 to +0.5</small>"),
        (Paired(-1.0, None, None, 1.0, 1), 1, "\N{MINUS SIGN}1.0"),
        (Note("<x>", "a & b"), None, "&lt;x&gt;<small>a &amp; b</small>"),
    ],
)
def test_a_cell(value: object, digits: int | None, expected: str) -> None:
    assert str(html.cell(value, Column("", digits))) == expected


def test_an_agreement_by_a_wide_interval_says_little() -> None:
    # The mean is far from the published 0.70, but the seeds are scattered over a third of all accuracies.
    wide = builders.results(accuracy={"TS_SPC_SM": 0.45}, spread=0.6, seeds=10, classifiers=["cnn-a"], parts=())
    texts = " ".join(finding.text for finding in findings(wide))
    assert "TS_SPC_SM" in texts
    assert "on a classifier says little: the seeds differ so much" in texts
    assert "Seeds differ most in" in texts
    narrow = builders.results(accuracy={"TS_SPC_SM": 0.70}, seeds=10, classifiers=["cnn-a"], parts=())
    texts = " ".join(finding.text for finding in findings(narrow))
    assert "says little" not in texts
    assert "Seeds differ most in" not in texts
