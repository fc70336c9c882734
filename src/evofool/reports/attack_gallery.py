"""The pictures of a page of an attack: images before and after with what is between them, and the genes of a pool."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..studies.attack.results import Results
from . import drawing_plots
from .attack_pixels import Trio, factor, magnified, read, reduced, reduced_difference, reduction, trio, width
from .attack_tables import Numbers, Row, class_name
from .attack_words import distance, ending, name_of, percent
from .drawing_findings import count
from .numbers import number
from .page import Block, Group, More, Picture, Text, Tile, Tiles

ALL = 12  # fooled images: up to so many are all shown, by queries
EACH = 4  # of more: the quickest, those in the middle, the slowest, and the failed ones
OTHERS = 48  # more of them, unfolded by who wants them
GENES = 40
PIXELS = 1_500_000  # that a folded figure may have in all, so that the page stays small


class Shown(NamedTuple):
    """A row whose files are there."""

    row: Row
    images: Trio


def gallery(results: Results, numbers: Numbers, directory: Path) -> Iterable[Block]:
    """Images that were fooled, and best attempts at those that were not."""
    fooled, failed = numbers.fooled, numbers.failed
    parts = _parts(fooled, failed)
    shown = {name: _there(directory, rows) for name, _, rows in parts}
    taken = {row.image.number for _, _, rows in parts for row in rows}
    others = _there(directory, _spaced([row for row in (*fooled, *failed) if row.image.number not in taken], OTHERS))
    everything = [one for part in (*shown.values(), others) for one in part]
    if not everything:
        if numbers.attacked:
            yield Text("The files of the images are not beside this page.")
        return
    times = factor(max(int(np.abs(one.images.difference).max(initial=0)) for one in everything))
    after = " Where a perturbation was shrunk after success, what was left of it is shown." if numbers.shrunk else ""
    yield Text(_explained(times, everything) + after)
    for name, caption, _ in parts:
        if shown[name]:
            yield _tiles(f"images_{name}", [_group(results, one, times) for one in shown[name]], caption)
    if others:
        area = 3 * max(reduced(one.images.original).size for one in others)
        others = others[: max(1, PIXELS // max(1, area))]
        groups = [_group(results, one, times) for one in others]
        yield More(
            f"{len(others)} more of them",
            (_tiles("images_more", groups, "More of the attacked images, evenly spread from the quickest on."),),
        )


def _parts(fooled: list[Row], failed: list[Row]) -> list[tuple[str, str, list[Row]]]:
    """Name, caption and rows of each figure."""
    if len(fooled) <= ALL:
        parts = [("fooled", "All images that were fooled, the fewest queries first.", fooled)]
    else:
        middle = (len(fooled) - EACH) // 2
        parts = [
            ("quickest", "Fooled with the fewest queries.", fooled[:EACH]),
            ("middle", "In the middle by queries.", fooled[middle : middle + EACH]),
            ("slowest", "Fooled last.", fooled[-EACH:]),
        ]
    attempts = "Not fooled within the budget: the best attempts."
    return [*parts, ("failed", attempts, _spaced(failed, 2 * EACH if len(fooled) <= ALL else EACH))]


def _spaced(rows: Sequence[Row], most: int) -> list[Row]:
    """At most so many, evenly spread."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(at)] for at in np.linspace(0, len(rows) - 1, most)]


def _there(directory: Path, rows: Sequence[Row]) -> list[Shown]:
    found = ((row, trio(directory, row.image.original, row.image.adversarial)) for row in rows)
    return [Shown(row, images) for row, images in found if images is not None]


def _explained(times: float, shown: Sequence[Shown]) -> str:
    side = max(reduction(one.images.original.shape) for one in shown)
    how = "halved" if times < 1 else "as it is" if times == 1 else f"magnified {times:.0f} times"
    text = (
        "Three pictures for each image: the original, the image that was sent, and the difference between them, "
        f"{how}: middle gray is no change, lighter is more light, darker is less. The percentage is the probability "
        "of the class that the classifier sees."
    )
    if side > 1:
        text += (
            f" Here {side} × {side} pixels are shown as one (of differences the largest); images/ has them as they "
            "were sent."
        )
    return text


def _group(results: Results, shown: Shown, times: float) -> Group:
    image = shown.row.image
    size = reduced(shown.images.original)
    wanted = f", wanted {name_of(class_name(results, image.target))}" if image.target is not None else ""
    before = Tile(size, name_of(class_name(results, image.label)), (percent(image.clean_confidence),))
    quiet = image.outcome != "fooled"
    after = Tile(
        reduced(shown.images.adversarial),
        "not fooled" if quiet else name_of(class_name(results, image.prediction)),
        (
            f"{name_of(class_name(results, image.prediction))} {percent(image.confidence)}"
            if quiet
            else percent(image.confidence),
            count(image.queries, "query"),
        ),
        quiet=quiet,
    )
    between = Tile(
        magnified(reduced_difference(shown.images.difference), times),
        "change" if times == 1 else f"change × {number(times, 1).removesuffix('.0')}",
        (distance(results, image),),
    )
    return Group(f"{image.number}: {ending(image.name, 34)}{wanted}", (before, after, between))


def _tiles(name: str, groups: Sequence[Group], caption: str) -> Tiles:
    wide = width(groups[0].tiles[0].image.shape)
    alt = f"{len(groups)} images, each as it was, as it was sent, and what differs."
    shown = tuple(groups)
    return Tiles(Picture(name, caption, alt, functools.partial(drawing_plots.tiles, shown, wide)), shown, wide)


def pool(results: Results, directory: Path) -> Iterable[Block]:
    """The genes that the images shared."""
    if results.pool is None:
        return
    genes: list[dict[str, Any]] = list(results.pool.get("genes", []))
    if not genes:
        yield Text("The pool is empty: nothing that fooled one image was there to be tried on another.")
        return
    ordered = sorted(genes, key=lambda gene: (-int(gene.get("wins") or 0), int(gene.get("number") or 0)))
    wins = sum(int(gene.get("wins") or 0) for gene in genes)
    yield Text(
        f"The pool holds {count(len(genes), 'gene')}: perturbations that fooled an image, and are tried on later ones "
        f"before anything else. As they were, they fooled {count(wins, 'further image')}."
    )
    tiles = tuple(tile for gene in ordered[:GENES] if (tile := _gene(results, gene, directory)) is not None)
    if tiles:
        wide = width(tiles[0].image.shape)
        groups = (Group("", tiles),)
        caption = (
            "Genes of the pool, the most wins first. Middle gray is no change. Below each: the class of the image that "
            "it fooled first and what was seen in it, how many of its tries fooled another one, and the query that "
            "found it; “bred” ones were made of several others."
        )
        alt = f"{len(tiles)} perturbations with how often they fooled an image."
        picture = Picture("pool", caption, alt, functools.partial(drawing_plots.tiles, groups, wide))
        yield Tiles(picture, groups, wide)


def _gene(results: Results, gene: dict[str, Any], directory: Path) -> Tile | None:
    image = read(directory, str(gene.get("file") or ""))
    if image is None:
        return None
    label, seen = (name_of(class_name(results, gene.get(key))) for key in ("label", "prediction"))
    tries, found = (int(gene.get(key) or 0) for key in ("tries", "queries"))
    lines = (
        f"{label} → {seen}",
        f"won {int(gene.get('wins') or 0):,} of {tries:,}" if tries else "not tried",
        f"query {found:,}" if found else "bred",
    )
    return Tile(reduced(image), f"gene {gene.get('number')}", lines)
