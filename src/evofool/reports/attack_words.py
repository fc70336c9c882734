"""The numbers of an attack in short words, for sentences, cells and figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..studies.attack.results import Attacked, Results
from .attack_comparison import Estimate
from .drawing_findings import count
from .numbers import number
from .plots import label
from .sheets import Note
from .statistics import Interval


def percent(share: float) -> str:
    """A share in percent, to one decimal; 100% and 0% only where all or none are meant."""
    if 0 < share < 0.0005:
        return "< 0.1%"
    if 0.9995 <= share < 1:
        return "> 99.9%"
    return f"{100 * share:.1f}%"


def queries(value: float | None) -> str:
    """Queries, or a mean of them: a decimal below 100."""
    if value is None:
        return "none"
    return number(value, 0 if value >= 100 or value == int(value) else 1)


def at_most(results: Results) -> str:
    """How much might be asked."""
    total = results.config.get("budget_total")
    if total is None:
        return f"at most {count(results.budget, 'query')} each"
    return f"at most {count(int(total), 'query')} in all, {results.budget:,} each in a first turn"


def failing(results: Results) -> str:
    """What a failure counts as."""
    more = ", or as what it was given where that is more" if results.config.get("budget_total") is not None else ""
    return f"a failure counted as the budget of {results.budget:,}{more}"


def between(interval: Interval, *, share: bool = False) -> str:
    """The ends of an interval: "89.1% to 99.6%"."""
    low, high = (percent(end) if share else queries(end) for end in (interval.low, interval.high))
    return f"{low} to {high}"


def name_of(text: str) -> str:
    """A class, recipe or file in a sentence."""
    return label(text, 40) or "“”"


def ending(text: str, length: int) -> str:
    """A file's name, printable; of a long one its end."""
    clean = label(text, len(text) + 1)
    return clean if len(clean) <= length else f"…{clean[1 - length :]}"


def classifier_of(classifier: dict[str, Any]) -> str:
    """The classifier in a sentence: of a path its last part."""
    name = str(classifier.get("name", "")) or "the classifier"
    return name_of(name.rstrip("/").rpartition("/")[2] if name.startswith(("/", "./", "../", "~")) else name)


def distance(results: Results, image: Attacked) -> str:
    """How far an image was changed, in the measure of the limit: "L-inf 76/255"."""
    if results.norm == "linf":
        return f"L-inf {round(image.linf * 255)}/255"
    return f"L2 {image.l2:.2f}" if results.norm == "l2" else f"{image.l0:,} pixel{'s' * (image.l0 != 1)}"


def size(results: Results, value: float) -> str:
    """The same of a number in that measure."""
    if results.norm == "linf":
        return f"L-inf {number(value * 255, 1).removesuffix('.0')}/255"
    if results.norm == "l2":
        return f"L2 {value:.2f}"
    return f"{number(value, 1).removesuffix('.0')} pixel{'s' * (value != 1)}"


def factor(value: float) -> str:
    """A ratio of queries."""
    return number(value, 2 if value < 10 else 0)


def points(value: float) -> str:
    """A difference of shares, in points of percent."""
    return number(100 * value, 1, sign=True)


def p_value(value: float | None) -> str:
    """In words: "< 0.001" or "0.032"; "" where there is none."""
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def inline(estimate: Estimate, word: Callable[[float], str]) -> str:
    """A number with its interval behind it."""
    if estimate.low is None or estimate.high is None:
        return word(estimate.value)
    return f"{word(estimate.value)} ({word(estimate.low)} to {word(estimate.high)})"


def noted(estimate: Estimate, word: Callable[[float], str]) -> Note | str:
    """A number above its interval, for a cell."""
    if estimate.low is None or estimate.high is None:
        return word(estimate.value)
    return Note(word(estimate.value), f"{word(estimate.low)} to {word(estimate.high)}")
