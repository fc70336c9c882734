"""Writes the page of a study as Markdown, for documentation: the same sections, tables and figures as in the report."""

from __future__ import annotations

import html as escaping
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..files import write_bytes
from .numbers import number
from .page import Block, Code, More, Page, Picture, Strip, Text, Tiles
from .sheets import Column, Note, Sheet
from .statistics import Paired, Spread


def render(layout: Page, *, introduction: str, figures: str) -> str:
    """The page as Markdown.

    Args:
        layout: of the study.
        introduction: Markdown that stands before the findings.
        figures: folder of the figures, as seen from the Markdown file.
    """
    parts = [f"# {layout.title}", introduction.strip(), f"*{_escaped(layout.subtitle)}*", "## Findings"]
    anchors = {section.anchor for section in layout.sections}
    for finding in layout.findings:
        anchor = finding.evidence if finding.evidence in anchors else "claims"
        parts.append(f"- {_escaped(finding.text)} ([evidence](#{anchor}))")
    for section in layout.sections:
        # An anchor of our own: what a title becomes as a link differs between renderers.
        parts.append(f'<a id="{section.anchor}"></a>\n\n## {section.title}')
        parts += _blocks(section.blocks, figures)
    text = "\n\n".join(parts)
    return text.replace("\n\n- ", "\n- ").replace("## Findings\n- ", "## Findings\n\n- ") + "\n"


def write_figures(layout: Page, directory: Path) -> set[str]:
    """Draw every figure that the Markdown names, as SVG, galleries as PNG; tells the names of the files."""
    names = set()
    for picture, suffix in _pictures(block for section in layout.sections for block in section.blocks):
        drawn = picture.draw()
        name = f"{picture.name}.{suffix}"
        write_bytes(directory / name, drawn.png if suffix == "png" else drawn.svg)
        names.add(name)
    return names


def _pictures(blocks: Iterable[Block]) -> Iterable[tuple[Picture, str]]:
    for block in blocks:
        if isinstance(block, Picture):
            yield block, "svg"
        elif isinstance(block, Strip | Tiles):
            yield block.picture, "png"
        elif isinstance(block, More):
            yield from _pictures(block.blocks)


def _blocks(blocks: Sequence[Block], figures: str) -> list[str]:
    parts: list[str] = []
    for block in blocks:
        if isinstance(block, Text):
            parts.append(_escaped(block.text))
        elif isinstance(block, Code):
            parts.append(f"```text\n{block.text}\n```")
        elif isinstance(block, Sheet):
            parts.append(f"**{_escaped(block.caption)}**\n\n{_table(block)}")
        elif isinstance(block, More):
            inside = "\n\n".join(_blocks(block.blocks, figures))
            parts.append(f"<details>\n<summary>{escaping.escape(block.title)}</summary>\n\n{inside}\n\n</details>")
        else:
            picture, suffix = next(iter(_pictures([block])))
            parts.append(
                f"![{_escaped(picture.alt)}]({figures}/{picture.name}.{suffix})\n\n*{_escaped(picture.caption)}*"
            )
    return parts


def _table(sheet: Sheet) -> str:
    numeric = {"number"}
    head = "| " + " | ".join(_escaped(column.title) for column in sheet.columns) + " |"
    rule = "| " + " | ".join("---:" if column.kind in numeric else "---" for column in sheet.columns) + " |"
    rows = [
        "| " + " | ".join(_cell(value, column) for value, column in zip(row, sheet.columns, strict=True)) + " |"
        for row in sheet.rows
    ]
    return "\n".join([head, rule, *rows])


def _cell(value: Any, column: Column) -> str:
    """One cell as text, with what stands small below in the report in brackets."""
    if value is None:
        return "–"
    if isinstance(value, Note):
        return f"{_escaped(value.text)} ({_escaped(value.below)})" if value.below else _escaped(value.text)
    if isinstance(value, Spread | Paired):
        if value.mean is None:
            return "–"
        sign = isinstance(value, Paired)
        mean = number(value.mean, column.digits, sign=sign)
        if value.low is None or value.high is None or value.low == value.high:
            return mean
        low, high = (number(bound, column.digits, sign=sign) for bound in (value.low, value.high))
        return f"{mean} ({low} to {high})"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, column.digits)
    return _escaped(str(value))


def _escaped(text: str) -> str:
    """Text in which nothing is taken for Markdown or HTML."""
    text = escaping.escape(" ".join(text.split()), quote=False)
    for mark in "\\`*_[]|":
        text = text.replace(mark, f"\\{mark}")
    return text
