"""The page of an operator study: sections of text, tables and figures in reading order, neither drawn nor rendered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..studies.operators import paper
from ..studies.operators.results import Gallery, Results
from . import plots, sheets, tables
from .analysis import Analysis
from .claims import BEST, with_part
from .findings import Finding, findings, interrupted
from .plots import Drawn, Member
from .sheets import Sheet
from .tables import Curve


class Text(NamedTuple):
    """A paragraph."""

    text: str


class Code(NamedTuple):
    """Lines to be read or pasted as they are."""

    text: str


class Picture(NamedTuple):
    """A figure: `name` is its file's, `alt` says what it shows to those who cannot see it."""

    name: str
    caption: str
    alt: str
    draw: Callable[[], Drawn]


class Strip(NamedTuple):
    """Originals and what became of them as a figure for the files, and as pixels with text for the page."""

    picture: Picture
    members: tuple[Member, ...]


class Tile(NamedTuple):
    """A small image with words below.

    Attributes:
        image: [H W] or [H W 3], gray levels or colours in [0, 255].
        title: the first line below it.
        lines: further lines.
        quiet: it is shown as what came short of its goal.
    """

    image: np.ndarray
    title: str
    lines: tuple[str, ...] = ()
    quiet: bool = False


class Group(NamedTuple):
    """Tiles side by side under a title."""

    title: str
    tiles: tuple[Tile, ...]


class Tiles(NamedTuple):
    """Groups of small images as a figure for the files, and as pixels with text for the page, `width` px wide each."""

    picture: Picture
    groups: tuple[Group, ...]
    width: int


class More(NamedTuple):
    """Blocks that a reader unfolds."""

    title: str
    blocks: tuple[Block, ...]


class Section(NamedTuple):
    """A part of the page; `anchor` is its link."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


class Page(NamedTuple):
    """All of it."""

    title: str
    subtitle: str
    command: str
    findings: list[Finding]
    sections: list[Section]


Block = Text | Code | Picture | Strip | Tiles | More | Sheet


def page(results: Results, analysis: Analysis, directory: Path) -> Page:
    """Lay out the report.

    Args:
        results: of the study.
        analysis: computed from them.
        directory: where the galleries of the results are.
    """
    sections = [
        Section("classifiers", "The classifiers", tuple(_classifiers(results, analysis))),
        Section("scenarios", "The scenarios at a glance", tuple(_scenarios(analysis))),
        Section("fitness", "Total fitness over the generations", tuple(_fitness(analysis))),
        Section("comparison", "Comparison with the paper", tuple(_comparison(analysis))),
        Section("ranking", "Which scenario misleads most", tuple(_ranking(analysis))),
        Section("contrasts", "What elitism and selection add", tuple(_contrasts(analysis))),
        Section("judge", "Are the images still digits?", tuple(_judge(results, analysis, directory))),
        Section("claims", "The paper's claims", (sheets.claims(analysis.claims),)),
        Section("hypotheses", "Explanations for the differences", tuple(_hypotheses(results, analysis))),
        Section("further", "Longer runs and other settings", tuple(_further(analysis))),
        Section("reports", "Classification reports", tuple(_reports(analysis))),
        Section("run", "What was run", tuple(_run(results))),
    ]
    return Page(
        "Genetic operators against an image classifier", _subtitle(results, analysis), results.command,
        findings(results, analysis), sections,
    )  # fmt: skip


def members(gallery: Gallery, class_names: Sequence[str], directory: Path) -> list[Member]:
    """Cut the picture of a gallery into its columns; empty if the picture is missing or is not of that shape."""
    from PIL import Image, UnidentifiedImageError

    root = directory.resolve()
    path = (root / gallery.file).resolve()
    count = len(gallery.labels)
    if not count or not path.is_relative_to(root):
        return []
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L" if picture.mode in ("1", "L", "I;16") else "RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return []
    height, width = pixels.shape[0] // 2, pixels.shape[1] // count
    if not height or pixels.shape[0] % 2 or pixels.shape[1] % count:
        return []

    def name(index: int) -> str:
        return class_names[index] if 0 <= index < len(class_names) else ""

    rows = zip(gallery.ancestor_labels, gallery.labels, gallery.predictions, gallery.confidences, strict=True)
    return [
        Member(
            pixels[:height, column * width : (column + 1) * width],
            pixels[height:, column * width : (column + 1) * width],
            name(ancestor), name(carried), name(predicted), confidence,
        )
        for column, (ancestor, carried, predicted, confidence) in enumerate(rows)
    ]  # fmt: skip


def slug(text: str) -> str:
    """A name as part of a file name or link: letters, digits, dots, hyphens and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "x"


# --- sections -------------------------------------------------------------------------------------------------------


def _subtitle(results: Results, analysis: Analysis) -> str:
    parts = [str(results.data.get("name", "images"))]
    if analysis.population:
        parts.append(f"{analysis.population:,} images evolved at a time")
    if analysis.generations is not None:
        parts.append(_count(analysis.generations, "generation"))
    parts.append(_count(len(analysis.seeds), "seed"))
    parts.append(_count(len(analysis.classifiers), "classifier"))
    return " · ".join(parts)


def _classifiers(results: Results, analysis: Analysis) -> Iterable[Block]:
    yield sheets.targets(analysis)
    for target in [*results.targets, *([results.judge] if results.judge else [])]:
        for flag, seen in target.flags.items():
            yield Text(f"To mind of {target.name}: {flag}. {seen}")
    source = {} if analysis.comparable else paper.load().classifier
    for number, target in enumerate(results.targets):
        rows = tables.target_report(target, results.class_names, source)
        beside = ", beside the paper's (its figure 1)" if source else ""
        table = sheets.report(f"Classification report of {target.name} on its test images{beside}.", rows)
        yield table if number == 0 else More(f"The same for {target.name}", (table,))


def _scenarios(analysis: Analysis) -> Iterable[Block]:
    if not analysis.classifiers:
        yield Text("Nothing was run.")
        return
    yield Text(
        "FPS, TS and RS are fitness proportionate, tournament and linear ranking selection; SPC and AC are single "
        "point and arithmetic crossover; SM and IM are swap and inversion mutation. Accuracy is the share of the last "
        "generation that the classifier still takes for the label it carries, so lower misleads more. “Judged "
        "adversarial” is the share that fools the classifier while an independent judge still reads the carried label. "
        "L0 (share of pixels), L2 and SSIM are distances to the ancestor image; “ancestors left” counts the first "
        "images that still have a descendant."
    )
    if not any(analysis.summaries.values()):
        yield Text("No scenario was run with one set of settings; the runs of the sweep stand further below.")
    for number, (name, rows) in enumerate(_filled(analysis.summaries)):
        table = sheets.summary(f"The last generation on {name}: mean, and smallest to largest over the seeds.", rows)
        yield table if number == 0 else More(f"The same on {name}", (table,))
    together = [curve for curves in analysis.curves.values() for curve in curves]
    if not together:
        return
    published = {} if analysis.comparable else paper.load().curves
    points = " Diamonds are values read off the paper's plots, good to about 0.02." if published else ""
    yield Picture(
        "accuracy_by_generation",
        "Accuracy by generation: mean over the seeds, band from the smallest to the largest; generation 0 is the "
        f"untouched images.{points}",
        "Small panels, one for each run, with accuracy falling from about 0.95 over the generations.",
        lambda: plots.accuracy_curves(together, published),
    )
    for number, (name, curves) in enumerate(_filled(analysis.curves)):
        figure = Picture(
            f"scores_by_generation_{_file(number, name)}",
            f"Accuracy and macro precision, recall and F1 by generation on {name} (micro averages all equal the "
            "accuracy); bands over the seeds.",
            "Small panels, one for each run, with four lines for accuracy and macro precision, recall and F1.",
            _later(plots.curves, curves),
        )
        yield figure if number == 0 else More(f"The same on {name}", (figure,))


def _fitness(analysis: Analysis) -> Iterable[Block]:
    marks = "" if analysis.comparable else " Diamonds are the maxima read off the paper's figure 14."
    if not any(analysis.boxes.values()):
        yield Text("No scenario was run with one set of settings.")
    for number, (name, rows) in enumerate(_filled(analysis.boxes)):
        figure = Picture(
            f"total_fitness_{_file(number, name)}",
            f"Total fitness of the population on {name} over all generations and seeds: median, quartiles, and "
            f"whiskers to the extremes.{marks}",
            "Horizontal box plots of total fitness, one for each scenario, elitism and control.",
            _later(plots.boxes, rows),
        )
        yield figure if number == 0 else More(f"The same on {name}", (figure,))


def _comparison(analysis: Analysis) -> Iterable[Block]:
    found = analysis.comparison
    if found.reason:
        yield Text(f"{found.reason} The study is therefore not held against the paper's figures.")
        return
    yield Text(
        f"{paper.load().source}. A published value agrees if it lies in the 95% prediction interval of one further run "
        "(mean ± t·s·√(1 + 1/n), widened by 0.005 for rounding). It must do so on every classifier; if it does on some "
        "only, it depends on the CNN. Where the seeds differ much the interval is wide, and an agreement says little. "
        "Elitism is compared in total fitness only: no report of it was published."
    )
    if found.left_out:
        yield Text(f"Left out, because the accuracy is too far from the paper's 95%: {', '.join(found.left_out)}.")
    if len(found.classifiers) == 1:
        yield Text("With one classifier it cannot be seen whether a row depends on the CNN.")
    yield Picture(
        "comparison",
        "Published values (diamonds) beside the mean and 95% prediction interval of one run on each classifier; the "
        "verdict is on the right.",
        "For each scenario the published accuracy and, for each classifier, an interval; below, total fitness.",
        lambda: plots.comparison(found),
    )
    yield sheets.comparison("Accuracy of the last generation: published, and mean with prediction interval here.",
                            found.accuracy)  # fmt: skip
    if found.fitness:
        yield sheets.comparison("Total fitness of the last generation, where it was printed.", found.fitness)
    if found.secondary:
        table = sheets.comparison(
            "Macro and weighted averages of the published reports.", found.secondary, measures=True
        )
        yield More("Precision, recall and F1 of the published reports", (table,))


def _ranking(analysis: Analysis) -> Iterable[Block]:
    if not analysis.rankings:
        yield Text("It takes two scenarios with the same seeds to rank them.")
        return
    yield Text(
        "Scenarios are ranked within each seed and the ranks averaged (Friedman's test, the seeds as blocks; controls "
        "and elitism take no part). Scenarios whose mean ranks are closer than the critical difference (Nemenyi, 5%) "
        "are joined by a bar: they cannot be told apart."
    )
    for measure, what in (("accuracy", "accuracy (lowest first)"), ("adversarial", "judged adversarial rate")):
        found = [ranking for (_, name), ranking in analysis.rankings.items() if name == measure]
        if found:
            yield Picture(
                f"critical_difference_{measure}",
                f"Mean ranks by {what}, 1 = misleads most; bars join scenarios that cannot be told apart.",
                f"Critical difference diagrams of the scenarios by {what}.",
                _later(plots.critical_difference, found),
            )
            table = sheets.rankings(analysis, measure)
            if table:
                yield table


def _contrasts(analysis: Analysis) -> Iterable[Block]:
    found = dict(_filled(analysis.contrasts))
    if not found:
        yield Text("Nothing was run beside what it is compared with: scenarios need controls, elitism its scenario.")
        return
    yield Text(
        "Each run minus the one it is compared with, paired by seed: a scenario minus random parents under the same "
        "crossover and mutation, elitism minus its scenario, a control minus the one with one thing less. Mean "
        "difference with its 95% interval, and the p value of Wilcoxon's signed-rank test after Holm's adjustment over "
        "the rows of the table. With few seeds no difference can reach 5%, and the table says so."
    )
    for number, (name, rows) in enumerate(found.items()):
        table = sheets.contrasts(
            f"Scenarios, elitism and controls against what they are compared with, on {name}.", rows
        )
        yield table if number == 0 else More(f"The same on {name}", (table,))


def _judge(results: Results, analysis: Analysis, directory: Path) -> Iterable[Block]:
    found = dict(_filled(analysis.judges))
    if found:
        judge = results.judge.name if results.judge else "the judge"
        yield Text(
            f"{judge} is another classifier that took no part in the evolution. An image is truly adversarial if it "
            "fools the attacked classifier and the judge still reads the label it carries. A judge that cannot read "
            "mutated but unselected images judges nothing, so what it reads of those stands beside."
        )
    else:
        yield Text("No independent judge looked at the images: nothing here says whether they are still digits.")
    for number, (name, rows) in enumerate(found.items()):
        blocks = (
            Picture(
                f"judge_{_file(number, name)}",
                f"The last generation on {name}: the share that fools the classifier, that the judge reads as the "
                "carried label, and both. Whiskers span the seeds; upright lines show what the judge reads where "
                "nothing was selected.",
                "Three bars for each run, with lines for what the judge reads of unselected images.",
                _later(plots.judge, rows),
            ),
            sheets.judge(f"The judge's rates on {name}.", rows),
        )
        if number == 0:
            yield from blocks
        else:
            yield More(f"The same on {name}", blocks)
    yield from _galleries(results, analysis, directory)


def _galleries(results: Results, analysis: Analysis, directory: Path) -> Iterable[Block]:
    """The paper's best scenario and the one with most true adversarial images in view, the others to unfold."""
    rows = next(iter(analysis.judges.values()), [])
    best = max((row for row in rows if row.group == "scenario"), key=lambda row: row.adversarial.mean, default=None)
    names = [gallery.arm for gallery in results.galleries]
    shown = {BEST, best.arm if best else BEST} & set(names) or set(names[:1])
    for number, gallery in sorted(enumerate(results.galleries), key=lambda item: item[1].arm not in shown):
        columns = members(gallery, results.class_names, directory)
        if not columns:
            yield Text(f"The gallery of {gallery.arm} cannot be shown: {gallery.file} is missing or damaged.")
            continue
        strip = Strip(
            Picture(
                f"gallery_{_file(number, gallery.arm)}",
                f"{gallery.arm}: ancestor images with their labels above, what became of them below, with carried "
                "label → prediction and the classifier's confidence. Coloured: the prediction is not the carried "
                "label. The first members of the first seed, not chosen.",
                f"Images above and their evolved descendants below, for {gallery.arm}.",
                _later(plots.gallery, columns),
            ),
            tuple(columns),
        )
        yield strip if gallery.arm in shown else More(f"Gallery: {gallery.arm}", (strip,))


def _hypotheses(results: Results, analysis: Analysis) -> Iterable[Block]:
    if analysis.comparable:
        yield Text(f"{analysis.comparable} There is nothing to explain.")
        return
    if not analysis.hypotheses:
        yield Text("No explanation was run. This runs them:")
        yield Code(with_part(results, "hypotheses"))
        return
    yield Text(
        "Each explanation is a set of runs that replaces some scenarios; the others stay as the textbook has them. "
        "Control arms stand in for tournament and ranking. Nothing was tuned to come closer. A small distance is no "
        "proof that the authors' program did the same."
    )
    for number, (name, found) in enumerate(analysis.hypotheses.items()):
        blocks = (
            Picture(
                f"hypotheses_{_file(number, name)}",
                f"Distance of every explanation to the published figures on {name}, beside the textbook operators "
                "(dashed).",
                "Points for each explanation in four panels: accuracy, its curve, total fitness and class supports.",
                _later(plots.hypotheses, found),
            ),
            sheets.hypotheses(found),
        )
        if number == 0:
            yield from blocks
        else:
            yield More(f"The same on {name}", blocks)


def _further(analysis: Analysis) -> Iterable[Block]:
    found = dict(_filled(analysis.further))
    if not found:
        yield Text("No longer run and no other setting was tried.")
    for number, (name, rows) in enumerate(found.items()):
        titles = {
            "generations": "More generations",
            "rates": "Other settings",
            "all-images": "All test images",
            "hypothesis": "Runs of the explanations",
        }
        for group, title in titles.items():
            mine = [row for row in rows if row.group == group]
            if mine:
                table = sheets.summary(f"{title}, on {name}: mean, and smallest to largest over the seeds.", mine)
                yield More(f"{title}, on {name}", (table,)) if group == "hypothesis" else table
        series = analysis.further_curves[name]
        if series:
            yield Picture(
                f"further_{_file(number, name)}",
                f"Accuracy by generation of these runs on {name}; bands from the smallest to the largest seed.",
                "Small panels, one for each longer run or other setting, with a falling line.",
                _later(_wide_curves, series),
            )
        pairs = analysis.further_contrasts[name]
        if pairs:
            table = sheets.contrasts(
                f"These runs minus those they are compared with, paired by seed, on {name}.", pairs
            )
            yield More(f"Differences to the runs they are compared with, on {name}", (table,))


def _wide_curves(series: Sequence[Curve]) -> Drawn:
    return plots.accuracy_curves(series, {}, columns=3)


def _reports(analysis: Analysis) -> Iterable[Block]:
    found = next(iter(analysis.reports.items()), None)
    if not found or not any(found[1].values()):
        yield Text("No scenario was run.")
        return
    name, reports = found
    others = " The reports on the other classifiers are in tables/classification_reports.csv beside this page."
    yield Text(
        f"Last generation on {name}, by carried label: mean over the seeds, with the smallest and largest"
        + ("" if analysis.comparable else ", beside the published report where there is one")
        + ". A member without an answer counts as missed."
        + (others if len(analysis.reports) > 1 else "")
    )
    for arm, rows in reports.items():
        yield More(arm, (sheets.report(f"Classification report of {arm} on {name}.", rows),))


def _run(results: Results) -> Iterable[Block]:
    yield Text("This command repeats the study:")
    yield Code(results.command)
    if results.ledger:
        yield Text(
            f"The searches asked {results.queries():,} queries and took {results.queries(of='repeated'):,} answers "
            "from their caches, for images that they had asked about before."
        )
        for text in interrupted(results):
            yield Text(text)
    yield Text("Versions: " + ", ".join(f"{name} {version}" for name, version in results.versions.items()) + ".")
    yield Text("Data: " + ", ".join(f"{key} {value}" for key, value in results.data.items()) + ".")
    yield More("Resolved configuration", (Code(_json(results.config)),))
    cards = {target.name: {"fingerprint": target.fingerprint, "card": target.card} for target in results.targets}
    if results.judge:
        cards[results.judge.name] = {"fingerprint": results.judge.fingerprint, "card": results.judge.card}
    yield More("Classifiers and their cards", (Code(_json(cards)),))
    arms = [
        {"name": arm.name, "group": arm.group, "partner": arm.partner, "generations": arm.generations, **arm.settings}
        for arm in results.arms
    ]
    yield More("Every run's settings", (Code("\n".join(json.dumps(arm, ensure_ascii=False) for arm in arms)),))


# --- inside ---------------------------------------------------------------------------------------------------------


def _later(draw: Callable[[Any], Drawn], table: Any) -> Callable[[], Drawn]:
    return lambda: draw(table)


def _file(number: int, name: str) -> str:
    """Unique and safe, also where two names differ in forbidden characters only."""
    return f"{number + 1}_{slug(name)}"


def _filled(parts: dict[str, list[Any]]) -> list[tuple[str, list[Any]]]:
    """Those classifiers that have rows."""
    return [(name, rows) for name, rows in parts.items() if rows]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)
