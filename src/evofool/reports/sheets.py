"""The computed tables as rows and columns: once for the page, and once with every number in full for CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from .analysis import CONTRASTED, Analysis
from .claims import Claim
from .comparison import ComparedRow
from .hypotheses import Hypotheses
from .numbers import number
from .ranking import Contrast
from .runs import UNTOLD
from .statistics import Paired, Spread
from .tables import ArmRow, JudgeRow, MeanRow

MEASURES = {"accuracy": "accuracy", "adversarial": "judged adversarial rate", "total_fitness": "total fitness"}
DIGITS = {"accuracy": 3, "adversarial": 3, "total_fitness": 1}


class Column(NamedTuple):
    """How one column looks.

    Attributes:
        title: its head.
        digits: decimals of its numbers; None for text.
        kind: of the head's alignment and the cell's style.
    """

    title: str
    digits: int | None = None
    kind: Literal["text", "number", "verdict", "name"] = "number"


class Note(NamedTuple):
    """Text with a smaller line below."""

    text: str
    below: str


class Sheet(NamedTuple):
    """A table of the page: cells are text, numbers, Note, Spread, Paired or None (not measured); links of its rows."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    anchors: tuple[str, ...] = ()

    @property
    def titled(self) -> bool:
        """Whether there is a line of titles to show."""
        return any(column.title for column in self.columns)


class Records(NamedTuple):
    """A table of the files: plain records, all with the same keys."""

    name: str
    rows: list[dict[str, Any]]

    def to_json(self) -> str:
        """An array with one record a line."""
        lines = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in self.rows)
        return f"[\n{lines}\n]\n"

    def to_csv(self) -> str:
        """With a head line; text that a spreadsheet would run as a formula gets an apostrophe."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        if self.rows:
            writer.writerow(self.rows[0])
        for row in self.rows:
            writer.writerow(["" if value is None else _harmless(value) for value in row.values()])
        return buffer.getvalue()


# --- for the page ---------------------------------------------------------------------------------------------------


def targets(analysis: Analysis) -> Sheet:
    """The classifiers of the study."""
    carded = any(row.architecture or row.seed for row in analysis.targets)
    columns = [Column("classifier", kind="name"), Column("role", kind="text")]
    columns += [Column("architecture", kind="text"), Column("seed")] if carded else []
    columns += [Column("accuracy", 4), Column("95% interval"), Column("test images", 0)]
    columns += [Column("fingerprint", kind="text")]
    rows = []
    for row in analysis.targets:
        card = (row.architecture, row.seed) if carded else ()
        interval = f"{row.interval.low:.4f} to {row.interval.high:.4f}" if row.interval else None
        rows.append((row.name, row.role, *card, row.accuracy, interval, row.images, row.fingerprint[:12]))
    caption = "The attacked classifiers, and the judge, on their test images (Wilson intervals)."
    return Sheet(caption, tuple(columns), tuple(rows))


def report(caption: str, rows: Sequence[MeanRow], *, most: int = 40) -> Sheet:
    """A classification report, with the published one beside it where there is one.

    Args:
        caption: says whose it is.
        rows: of `tables.mean_report`.
        most: classes that are shown; beyond that only the averages are, and the files have the rest.
    """
    published = any(row.published for row in rows)
    columns = [
        Column("", kind="name"),
        Column("precision", 2),
        Column("recall", 2),
        Column("F1", 2),
        Column("support", 0),
    ]
    if published:
        columns += [Column(f"paper: {name}", digits) for name, digits in
                    (("precision", 2), ("recall", 2), ("F1", 2), ("support", 0))]  # fmt: skip
    shown = rows if len(rows) <= most + 4 else rows[-4:]
    cells = [
        (row.name, row.precision, row.recall, row.f1, row.support)
        + (tuple(row.published or (None,) * 4) if published else ())
        for row in shown
    ]
    hidden = "" if len(shown) == len(rows) else f" The {len(rows) - 4} classes are in the files beside this page."
    return Sheet(caption + hidden, tuple(columns), tuple(cells))


def summary(caption: str, rows: Sequence[ArmRow]) -> Sheet:
    """One row for each arm."""
    judged, distance = any(row.adversarial for row in rows), any(row.ssim for row in rows)
    long = len({row.generations for row in rows}) > 1
    columns = [Column("run", kind="name"), Column("seeds", 0)]
    columns += [Column("generations", 0)] if long else []
    columns += [Column("accuracy", 3), Column("macro F1", 3), Column("total fitness", 1)]
    columns += [Column("judged adversarial", 3)] if judged else []
    columns += [Column("L0", 3), Column("L2", 2), Column("SSIM", 3)] if distance else []
    columns += [Column("ancestors left", 0)]
    cells = []
    for row in rows:
        values: list[Any] = [Note(row.arm, row.about) if row.about else row.arm, row.seeds]
        values += [row.generations] if long else []
        values += [row.accuracy, row.f1, row.total_fitness]
        values += [row.adversarial] if judged else []
        values += [row.l0, row.l2, row.ssim] if distance else []
        cells.append((*values, row.ancestors))
    return Sheet(caption, tuple(columns), tuple(cells))


def comparison(caption: str, rows: Sequence[ComparedRow], *, measures: bool = False) -> Sheet:
    """Published values beside the prediction interval of every classifier."""
    names = list(dict.fromkeys(cell.classifier for row in rows for cell in row.cells))
    digits = 1 if rows and rows[0].measure == "total fitness" else 3
    columns = [Column("scenario", kind="name")]
    columns += [Column("measure", kind="text")] if measures else []
    columns += [Column("published", 2), *(Column(name, digits) for name in names), Column("verdict", kind="verdict")]
    cells = []
    for row in rows:
        found = {cell.classifier: cell for cell in row.cells}
        values: list[Note | None] = []
        for name in names:
            cell = found.get(name)
            if cell is None:
                values.append(None)
            elif cell.interval is None:
                values.append(Note(number(cell.mean, digits), "one seed"))
            else:
                low, high = number(cell.interval.low, digits), number(cell.interval.high, digits)
                values.append(Note(f"{'✓ ' if cell.agrees else ''}{number(cell.mean, digits)}", f"{low} to {high}"))
        first = (row.arm, row.measure) if measures else (row.arm,)
        cells.append((*first, row.published, *values, row.verdict))
    return Sheet(caption, tuple(columns), tuple(cells))


def rankings(analysis: Analysis, measure: str) -> Sheet | None:
    """Mean ranks and means of the scenarios on every classifier, ordered by the first one; None without a ranking."""
    found = [ranking for (_, name), ranking in analysis.rankings.items() if name == measure]
    if not found:
        return None
    columns = [Column("scenario", kind="name")]
    for ranking in found:
        columns += [
            Column(f"{ranking.classifier}: mean rank", 1),
            Column(f"{ranking.classifier}: {MEASURES[measure]}", 3),
        ]
    by_arm = [{row.arm: row for row in ranking.rows} for ranking in found]
    cells = []
    for first in found[0].rows:
        values: list[Any] = [first.arm]
        for rows in by_arm:
            row = rows.get(first.arm)
            values += [row.rank, row.mean] if row else [None, None]
        cells.append(tuple(values))
    tests = "; ".join(
        f"{r.classifier}: chi-square {r.friedman.statistic:.1f}, p {_p(r.friedman.p)}, critical difference "
        f"{r.critical_difference:.2f}, {r.friedman.blocks} seeds"
        for r in found
        if r.friedman.statistic is not None and r.critical_difference is not None
    )
    caption = f"Mean rank over the seeds by {MEASURES[measure]}, 1 = misleads most."
    caption += f" Friedman's test on {tests}." if tests else " Too few scenarios or seeds for a test."
    return Sheet(caption, tuple(columns), tuple(cells))


def contrasts(caption: str, rows: Sequence[Contrast]) -> Sheet:
    """Elitism and controls minus their partners, one group of columns a measure."""
    measures = [name for name in CONTRASTED if any(row.measure == name for row in rows)]
    columns = [Column("run", kind="name"), Column("minus", kind="text")]
    for name in measures:
        columns += [Column(f"{MEASURES[name]}: difference", DIGITS[name]), Column("p, Holm", kind="verdict")]
    cells = []
    for arm in dict.fromkeys(row.arm for row in rows):
        mine = {row.measure: row for row in rows if row.arm == arm}
        first = next(iter(mine.values()))
        values: list[Any] = [Note(arm, first.about) if first.about else arm, first.partner]
        for name in measures:
            row = mine.get(name)
            values += [row.paired, Note(_p(row.adjusted), row.outcome)] if row else [None, None]
        cells.append(tuple(values))
    return Sheet(caption, tuple(columns), tuple(cells))


def judge(caption: str, rows: Sequence[JudgeRow]) -> Sheet:
    """The judge's rates, with what it reads of unselected images."""
    columns = (
        Column("run", kind="name"), Column("fools the classifier", 3), Column("judge reads", 3), Column("both", 3),
        Column("judge reads: same operators, unselected", 3), Column("judge reads: mutated only", 3),
    )  # fmt: skip
    cells = [(row.arm, row.fools, row.reads, row.adversarial, row.unselected, row.mutated) for row in rows]
    return Sheet(caption, columns, tuple(cells))


def claims(rows: Sequence[Claim]) -> Sheet:
    """The paper's claims with their verdicts."""
    columns = (Column("claim", kind="name"), Column("verdict", kind="verdict"), Column("evidence", kind="text"))
    return Sheet(
        "The paper's claims and what the numbers say.",
        columns,
        tuple((c.text, c.verdict, c.evidence) for c in rows),
        tuple(f"claim-{c.key}" for c in rows),
    )


def hypotheses(found: Hypotheses) -> Sheet:
    """Distances of every explanation to the published figures."""
    columns = (
        Column("explanation", kind="name"), Column("changes", 0), Column("seeds", 0), Column("agreeing", 0),
        Column("accuracy", 3), Column("FPS", 3), Column("TS", 3), Column("RS", 3), Column("curve", 3),
        Column("fitness", 0), Column("supports", 3), Column("largest class", 0), Column("smallest class", 0),
    )  # fmt: skip
    cells: list[tuple[Any, ...]] = [
        (Note(row.family, row.about), row.replaced, row.seeds, row.agreeing, row.accuracy, row.accuracy_fps,
         row.accuracy_ts, row.accuracy_rs, row.curve, row.fitness, row.support, row.largest, row.smallest)
        for row in found.rows
    ]  # fmt: skip
    cells.append(("the paper itself", *(None,) * 10, found.published_largest, found.published_smallest))
    caption = (
        "Mean absolute distance to the published figures: accuracy of the last generation (all scenarios, then by "
        "selection), accuracy by generation and largest total fitness (both read off the paper's plots), and total "
        "variation distance of the class supports. “Agreeing” counts published accuracies inside the 95% prediction "
        "interval; “changes” counts the scenarios that the explanation replaces."
    )
    return Sheet(caption, columns, tuple(cells))


# --- for the files --------------------------------------------------------------------------------------------------


def records(analysis: Analysis) -> list[Records]:
    """Every table in full."""
    found = [
        Records("classifiers", [_flat(row._asdict()) for row in analysis.targets]),
        Records("scenarios", list(_by_classifier(analysis.summaries))),
        Records("further_runs", list(_by_classifier(analysis.further))),
        Records(
            "classification_reports",
            [
                {"classifier": classifier, "run": arm, **_report_row(row)}
                for classifier, reports in analysis.reports.items()
                for arm, rows in reports.items()
                for row in rows
            ],
        ),
        Records(
            "curves",
            [
                {"classifier": classifier, "run": curve.arm, "measure": curve.measure, "generation": generation,
                 "mean": mean, "low": low, "high": high}
                for classifier, curves in analysis.curves.items()
                for curve in curves
                for generation, (mean, low, high) in enumerate(zip(curve.mean, curve.low, curve.high, strict=True))
            ],
        ),
        Records("total_fitness", list(_by_classifier(analysis.boxes))),
        Records("comparison", list(_compared(analysis))),
        Records(
            "ranking",
            [
                {"classifier": ranking.classifier, "measure": ranking.measure, "run": row.arm, "mean_rank": row.rank,
                 "mean": row.mean, "friedman": ranking.friedman.statistic, "p": ranking.friedman.p,
                 "critical_difference": ranking.critical_difference, "seeds": ranking.friedman.blocks}
                for ranking in analysis.rankings.values()
                for row in ranking.rows
            ],
        ),
        Records("contrasts", [_flat(row._asdict()) for rows in analysis.contrasts.values() for row in rows]),
        Records("judge", [_flat(row._asdict()) for rows in analysis.judges.values() for row in rows]),
        Records("claims", [row._asdict() for row in analysis.claims]),
        Records("hypotheses", list(_by_classifier({name: h.rows for name, h in analysis.hypotheses.items()}))),
    ]  # fmt: skip
    return [table for table in found if table.rows]


def _report_row(row: MeanRow) -> dict[str, Any]:
    scores = row.published or (None,) * 4
    published = dict(zip(("precision", "recall", "f1", "support"), scores, strict=True))
    plain = {key: value for key, value in row._asdict().items() if key != "published"}
    return {**_flat(plain), **{f"published_{key}": value for key, value in published.items()}}


def _by_classifier(parts: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for classifier, rows in parts.items():
        for row in rows:
            yield {"classifier": classifier, **_flat(row._asdict())}


def _compared(analysis: Analysis) -> Iterable[dict[str, Any]]:
    found = analysis.comparison
    for row in (*found.accuracy, *found.fitness, *found.secondary):
        for cell in row.cells:
            yield {
                "run": row.arm, "measure": row.measure, "published": row.published, "classifier": cell.classifier,
                "mean": cell.mean, "low": cell.interval.low if cell.interval else None,
                "high": cell.interval.high if cell.interval else None, "agrees": cell.agrees, "verdict": row.verdict,
            }  # fmt: skip


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Spreads, intervals and pairs become columns of their own, also where they are missing."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Spread) or (value is None and key in _SPREADS):
            for part, name in enumerate(("", "_low", "_high")):
                flat[f"{key}{name}"] = value[part] if value else None
        elif isinstance(value, Paired):
            flat |= {"difference": value.mean, "low": value.low, "high": value.high, "p": value.p, "seeds": value.n}
        elif key == "interval":
            flat |= {"interval_low": value.low if value else None, "interval_high": value.high if value else None}
        else:
            flat[key] = value
    return flat


_SPREADS = ("accuracy", "f1", "total_fitness", "adversarial", "l0", "l2", "ssim", "ancestors", "unselected", "mutated")


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _p(value: float | None) -> str:
    return UNTOLD if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
