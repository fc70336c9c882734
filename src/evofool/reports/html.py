"""Writes reports: one self-contained page, and the same figures and tables as files beside it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape
from PIL import Image

from ..files import write_bytes
from ..studies.operators.results import Results
from . import sheets
from .analysis import Analysis, analyse
from .numbers import number
from .page import Block, Code, More, Page, Picture, Section, Strip, Text, Tiles, page
from .plots import Drawn, Member
from .sheets import Column, Note, Records, Sheet
from .statistics import Paired, Spread

LIMIT = 4_800_000  # bytes of a page; figures that would make it larger stay beside it and are named


def write(results: Results, directory: Path, *, analysis: Analysis | None = None) -> Path:
    """Write report.html, figures/*.svg and *.png, tables/*.csv and *.json; the same results give the same bytes.

    Each file appears whole or not at all.

    Args:
        results: of the study.
        directory: the run directory, where the galleries are and the report goes.
        analysis: of the same results, if it is at hand.

    Returns:
        The path of the page.
    """
    directory = Path(directory)
    analysis = analysis or analyse(results)
    return publish(page(results, analysis, directory), sheets.records(analysis), directory)


def publish(layout: Page, tables: Iterable[Records], directory: Path, *, name: str = "report.html") -> Path:
    """Draw the figures of a page and write them, its tables and itself under a name; see `write`."""
    images: dict[str, list[str]] = {}
    for block in _figures(layout.sections):
        picture = block if isinstance(block, Picture) else block.picture
        drawn = picture.draw()
        write_bytes(directory / "figures" / f"{picture.name}.svg", drawn.svg)
        write_bytes(directory / "figures" / f"{picture.name}.png", drawn.png)
        images[picture.name] = _images(block, drawn)
    for table in tables:
        write_bytes(directory / "tables" / f"{table.name}.csv", table.to_csv().encode())
        write_bytes(directory / "tables" / f"{table.name}.json", table.to_json().encode())
    path = directory / name
    write_bytes(path, render(layout, images).encode())
    return path


def render(layout: Page, images: dict[str, list[str]]) -> str:
    """The page with as many of its images, in reading order, as keep it below the limit; the others it names."""
    embedded: dict[str, list[str]] = {}
    left = LIMIT - len(_render(layout, {}).encode())
    for name, uris in images.items():
        size = sum(map(len, uris))
        if size <= left:
            embedded[name] = uris
            left -= size
    return _render(layout, embedded)


def cell(value: Any, column: Column) -> Markup | str:
    """One cell as HTML; all text in it is escaped."""
    if value is None:
        return Markup("<span class='none'>–</span>")
    if isinstance(value, Note):
        return Markup("{}<small>{}</small>").format(_name(value.text, column), value.below)
    if isinstance(value, Spread):
        mean = number(value.mean, column.digits)
        low, high = number(value.low, column.digits), number(value.high, column.digits)
        return mean if low == high else Markup("{}<small>{} to {}</small>").format(mean, low, high)
    if isinstance(value, Paired):
        if value.mean is None:
            return Markup("<span class='none'>–</span>")
        mean = number(value.mean, column.digits, sign=True)
        if value.low is None or value.high is None:
            return mean
        low, high = (number(bound, column.digits, sign=True) for bound in (value.low, value.high))
        return Markup("{}<small>{} to {}</small>").format(mean, low, high)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, column.digits)
    return _name(str(value), column)


def _name(text: str, column: Column) -> Markup | str:
    """The name of a run, which may break after its marks."""
    return Markup(re.sub(r"([@,])", r"\1<wbr>", str(escape(text)))) if column.kind == "name" else text


def sprite(members: Sequence[Member]) -> str:
    """Originals above, evolved images below, at one pixel a pixel with a clear border, as a data URI."""
    pairs = [
        np.vstack([np.pad(_opaque(image), ((1, 1), (1, 1), (0, 0))) for image in (member.original, member.evolved)])
        for member in members
    ]
    return _png(np.hstack(pairs))


def _opaque(image: np.ndarray) -> np.ndarray:
    colours = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image
    return np.concatenate([colours, np.full((*image.shape[:2], 1), 255)], axis=2).astype(np.uint8)


def _rows(strip: Strip) -> list[tuple[Member, ...]]:
    """Ten members in a row."""
    return [strip.members[first : first + 10] for first in range(0, len(strip.members), 10)]


def _images(block: Picture | Strip | Tiles, drawn: Drawn) -> list[str]:
    """What the page shows of a figure, as data URIs in reading order."""
    if isinstance(block, Strip):
        return [sprite(row) for row in _rows(block)]
    if isinstance(block, Tiles):
        return [_png(tile.image) for group in block.groups for tile in group.tiles]
    return [_svg(drawn)]


def _png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _svg(drawn: Drawn) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.svg).decode()}"


def _figures(sections: Iterable[Section]) -> list[Picture | Strip | Tiles]:
    """All figures in reading order."""
    found: list[Picture | Strip | Tiles] = []

    def walk(blocks: Iterable[Block]) -> None:
        for block in blocks:
            if isinstance(block, Picture | Strip | Tiles):
                found.append(block)
            elif isinstance(block, More):
                walk(block.blocks)

    for section in sections:
        walk(section.blocks)
    return found


def _render(layout: Page, images: dict[str, list[str]]) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(cell=cell, bands=_rows)
    environment.tests.update(
        text=lambda block: isinstance(block, Text),
        code=lambda block: isinstance(block, Code),
        picture=lambda block: isinstance(block, Picture),
        strip=lambda block: isinstance(block, Strip),
        tiles=lambda block: isinstance(block, Tiles),
        more=lambda block: isinstance(block, More),
        sheet=lambda block: isinstance(block, Sheet),
    )
    source = (resources.files(__package__) / "templates" / "page.html.j2").read_text(encoding="utf-8")
    titles = {section.anchor: section.title for section in layout.sections}
    # A link into a table of claims.
    titles |= {finding.evidence: titles["claims"] for finding in layout.findings if finding.evidence not in titles}
    tiled = any(isinstance(block, Tiles) for block in _figures(layout.sections))
    return environment.from_string(source).render(page=layout, images=images, titles=titles, tiled=tiled)
