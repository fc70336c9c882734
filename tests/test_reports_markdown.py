"""The page of a study as Markdown: the same content, nothing of it taken for markup, every figure there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import builders
from evofool.reports import analysis, markdown, page, sheets
from evofool.reports.sheets import Column, Note
from evofool.reports.statistics import Spread


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> page.Page:
    directory = tmp_path_factory.mktemp("run")
    results = builders.results(galleries=[builders.gallery(directory, "FPS_AC_SM")])
    return page.page(results, analysis.analyse(results), directory)


@pytest.fixture(scope="module")
def text(layout) -> str:
    return markdown.render(layout, introduction="Why.", figures="figures")


def test_every_section_and_finding_is_there_and_every_link_lands(layout, text: str) -> None:
    for section in layout.sections:
        assert f"## {section.title}" in text
    assert text.count("([evidence](#") == len(layout.findings) > 3
    anchors = set(re.findall(r'<a id="([^"]+)"', text))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_every_figure_that_is_named_is_written(layout, text: str, tmp_path: Path) -> None:
    named = set(re.findall(r"\]\(figures/([^)]+)\)", text))
    assert named == markdown.write_figures(layout, tmp_path) == {path.name for path in tmp_path.iterdir()}
    assert len(named) > 3


def test_tables_are_as_wide_as_their_heads(text: str) -> None:
    rows = 0
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
        rows += table.count("\n")
    assert rows > 30


def test_it_is_the_same_text_every_time(layout, text: str) -> None:
    assert markdown.render(layout, introduction="Why.", figures="figures") == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (Note("a_b", "c|d"), "a\\_b (c\\|d)"),
        (Spread(0.5, 0.25, 0.75, 3), "0.50 (0.25 to 0.75)"),
        (Spread(0.5, 0.5, 0.5, 1), "0.50"),
        (1234, "1,234.00"),
        ("<script>", "&lt;script&gt;"),
    ],
)
def test_cells_by_hand(value, expected: str) -> None:
    sheet = sheets.Sheet("caption", (Column("name", 2, "number"),), ((value,),))
    assert markdown._table(sheet).splitlines()[-1] == f"| {expected} |"
