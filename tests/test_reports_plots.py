"""Figures: the same bytes for the same table, readable names, nothing that overlaps."""

from __future__ import annotations

import io
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

import builders
from evofool.reports import comparison, hypotheses, plots, ranking, tables
from evofool.reports.plots import Drawn
from evofool.studies.operators import paper
from evofool.studies.operators.results import Results


@pytest.fixture(scope="module")
def results() -> Results:
    return builders.results(seeds=3, parts=("elitism", "controls", "hypotheses"))


def members(count: int, name: str = "7") -> list[plots.Member]:
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 256, (count, 2, 28, 28), dtype=np.uint8)
    return [plots.Member(a, b, name, name, "" if k == 1 else "3", 0.5) for k, (a, b) in enumerate(pairs)]


def draw(kind: str, results: Results) -> Drawn:
    three = [curve for name in ("cnn-a", "cnn-b", "cnn-c") for curve in tables.curves(results, name)]
    rankings = [ranking.ranking(results, name, "adversarial") for name in ("cnn-a", "cnn-b")]
    return {
        "curves": lambda: plots.curves(tables.curves(results, "cnn-a")),
        "accuracy": lambda: plots.accuracy_curves(three, paper.load().curves),
        "boxes": lambda: plots.boxes(tables.boxes(results, "cnn-a")),
        "comparison": lambda: plots.comparison(comparison.comparison(results)),
        "critical difference": lambda: plots.critical_difference([r for r in rankings if r]),
        "judge": lambda: plots.judge(tables.judge(results, "cnn-a")),
        "hypotheses": lambda: plots.hypotheses(hypotheses.hypotheses(results, "cnn-a")),
        "gallery": lambda: plots.gallery(members(12)),
        "gallery of names": lambda: plots.gallery(members(9, "hippopotamus amphibius")),
    }[kind]()


KINDS = (
    "curves", "accuracy", "boxes", "comparison", "critical difference", "judge", "hypotheses", "gallery",
    "gallery of names",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["comparison", "critical difference", "gallery"])
def test_the_same_table_gives_the_same_bytes(results: Results, kind: str) -> None:
    assert draw(kind, results) == draw(kind, results)


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_has_the_reports_width_and_readable_words_apart_from_each_other(
    results: Results, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    finish = plots._drawn
    monkeypatch.setattr(plots, "_drawn", lambda figure: (drawn.append(figure), finish(figure))[1])
    found = draw(kind, results)
    with Image.open(io.BytesIO(found.png)) as picture:
        assert picture.width == 1300
        assert np.asarray(picture.convert("L")).std() > 5
    ElementTree.fromstring(found.svg)

    (figure,) = drawn
    figure.set_dpi(130)
    renderer = FigureCanvasAgg(figure).get_renderer()
    words: list[Text] = []
    draw_text = Text.draw
    monkeypatch.setattr(Text, "draw", lambda text, *rest: (words.append(text), draw_text(text, *rest))[1])
    figure.draw(renderer)
    words = [text for text in dict.fromkeys(words) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in words]
    assert len(boxes) > 8
    assert min(text.get_fontsize() for text in words) >= 8
    clashes = [
        (a, b)
        for (a, first), (b, second) in combinations(boxes, 2)
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 2
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 2
    ]
    assert clashes == []
    width, height = figure.canvas.get_width_height()
    outside = [t for t, b in boxes if b.x0 < -1 or b.y0 < -1 or b.x1 > width + 1 or b.y1 > height + 1]
    assert outside == []


def test_settings_of_others_are_left_alone(results: Results) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw("boxes", results)
    assert dict(matplotlib.rcParams) == before


def test_markup_in_names_is_drawn_as_it_stands() -> None:
    found = plots.gallery(members(8, "$\\frac{1$ <b>&"))
    ElementTree.fromstring(found.svg)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("short", "short"), ("a" * 30, "a" * 23 + "…"), ("tab\tand\x00null", "tab?and?null"), ("ünï", "ünï")],
)
def test_labels_are_printable_and_short(text: str, expected: str) -> None:
    assert plots.label(text) == expected


def test_small_positions_keep_their_digits() -> None:
    def short(text: bytes) -> bytes:
        return plots._PRECISE.sub(lambda found: b"%.2f" % float(found.group()), text)

    assert short(b"M 90.565438 -144.123456") == b"M 90.57 -144.12"
    assert short(b"scale(0.015625)") == b"scale(0.015625)"  # the size of every glyph
