"""What an endpoint or a command answered, read strictly: a score that is not clearly there is no score.

What the target wrote stands whole and last in a message: whoever hands it on takes secrets out and then cuts it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import torch

from ...contracts import ScoreKind
from ...errors import ClassifierError, TargetError
from ...shapes import Float, Tensor
from .local import library

if TYPE_CHECKING:
    from jsonpath_rfc9535 import JSONPathQuery

LARGEST = 10_000_000  # bytes of an answer
_LONGEST_INTEGER = 20  # digits
_LARGEST_FLOAT = torch.finfo(torch.float32).max
_OUTSIDE = 1e-6  # by how much rounding may bring a probability out of [0, 1]
_SUM = 0.01  # by how much half precision may bring a sum of probabilities away from 1
_SHOWN = 12  # class names in a message


def strict(text: bytes) -> Any:
    """One JSON document; null, NaN, Infinity and numbers that no float can hold are None.

    Raises:
        TargetError: it is none, names a key twice, is nested too deeply, or holds an integer of too many digits.
    """
    try:
        return json.loads(
            text.decode(),
            object_pairs_hook=_table,
            parse_constant=lambda name: None,
            parse_float=_float,
            parse_int=_int,
        )
    except RecursionError:
        problem = "is nested too deeply"
    except ValueError as error:
        problem = f"is not the JSON that was expected ({error})"
    if not text.strip():
        raise TargetError("the answer is empty, expected JSON")
    raise TargetError(f"the answer {problem}: {text.decode(errors='replace')}")


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key stands twice in one table")
    return table


def _float(text: str) -> float | None:
    value = float(text)
    return value if abs(value) <= _LARGEST_FLOAT else None


def _int(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(f"an integer of {len(text)} characters")
    return int(text)


class Path:
    """A JSONPath by RFC 9535, such as "$.predictions[*].probabilities"."""

    def __init__(self, text: str, name: str):
        """Make it ready for use.

        Args:
            text: the path.
            name: of the setting that it is.

        Raises:
            ClassifierError: it is none, or the library is missing.
        """
        jsonpath = library("jsonpath_rfc9535", "http", "an endpoint or a command")
        self._text = f"{name} = {text[:80]!r}"
        try:
            self._query: JSONPathQuery = jsonpath.compile(text)
        except (jsonpath.JSONPathError, RecursionError) as error:
            raise ClassifierError(f"{self._text} is no JSONPath ({error}); expected one such as $.scores[*]") from None

    def __call__(self, document: Any) -> list[Any]:
        """What it selects, at least one value.

        Raises:
            TargetError: nothing.
        """
        values, problem = [], ""
        try:
            values = [node.value for node in self._query.finditer(document)]
        except Exception as error:  # such as too many steps down; whatever it is, there is no answer
            problem = f" ({type(error).__name__})"
        if not values:
            raise TargetError(f"{self._text} finds nothing{problem} in the answer: {json.dumps(document)}")
        return values


@dataclass(frozen=True)
class Reader:
    """From the bytes of an answer to scores.

    Attributes:
        kind: what the scores are.
        class_names: in the order of the scores that are given back.
        order: where each of them stands in a plain list of scores.
        scores: selects what each image is answered with: K numbers, or one number of two classes (that of class 1); a
            table from names to numbers; a list of objects with a name and a number, which may leave classes out.
        labels: selects a class name for each image; together with `scores`, names for the numbers of an image, or the
            same for all of them.
        label_key, score_key: in the objects.
    """

    kind: ScoreKind
    class_names: tuple[str, ...]
    order: tuple[int, ...]
    scores: Path | None
    labels: Path | None = None
    label_key: str = "label"
    score_key: str = "score"

    def __call__(self, text: bytes, images: int) -> Float[Tensor, "N K"]:
        """Scores [N K]; a row with a number that is not finite is NaN.

        Raises:
            TargetError: no answer can be read, there are more or fewer answers than images, or no number in any
                (not to be sent again); fatal where the answers can never fit: other classes, no probabilities.
        """
        document = strict(text)
        if self.scores is None:
            assert self.labels is not None
            names = _per_image(self.labels(document), images, inside=_is_name)
            return torch.tensor([self._one_hot(name) for name in names])
        values = _per_image(self.scores(document), images, inside=self._is_row, part=self._is_part)
        beside = self._names(document, images)
        scores = torch.tensor([self._row(value, names) for value, names in zip(values, beside, strict=True)])
        if bool(scores.isnan().any(1).all()):
            raise TargetError("the answer has null, NaN or Infinity in the place of scores", again=False)
        return scores

    def _is_object(self, value: Any) -> bool:
        return isinstance(value, dict) and self.label_key in value and self.score_key in value

    def _is_part(self, value: Any) -> bool:
        """What can be a part of the answer to one image."""
        return _is_number(value) or self._is_object(value)

    def _is_row(self, value: Any) -> bool:
        """What can only be the answer to one image."""
        return isinstance(value, list | dict) and not self._is_object(value)

    def _names(self, document: Any, images: int) -> Sequence[list[Any] | None]:
        """The names of the scores of each image, where they stand beside them."""
        if self.labels is None:
            return [None] * images
        names = self.labels(document)
        if all(map(_is_name, names)):
            return [names] * images
        if len(names) == 1 and isinstance(names[0], list) and all(map(_is_name, names[0])):
            return names * images
        return _per_image(names, images, inside=lambda value: isinstance(value, list))

    def _row(self, value: Any, names: list[Any] | None) -> list[float]:
        """The scores of one image, in the order of `class_names`."""
        if _is_number(value):
            value = [value]
        if isinstance(value, list) and value and all(map(_is_number, value)):
            if names is None:
                return self._plain([math.nan if number is None else float(number) for number in value])
            if not isinstance(names, list) or len(names) != len(value):
                raise TargetError(f"{len(value)} scores of an image have not as many names")
            return self._named(zip(names, value, strict=True))
        if self._is_object(value):
            value = [value]
        if isinstance(value, list) and value and all(map(self._is_object, value)):
            return self._named((each[self.label_key], each[self.score_key]) for each in value)
        if isinstance(value, dict) and value:
            return self._named(value.items())
        raise TargetError(
            f"an image is answered with {_what(value)}; expected numbers, a table from class names to numbers, or "
            f"objects with '{self.label_key}' and '{self.score_key}'"
        )

    def _plain(self, numbers: list[float]) -> list[float]:
        if len(numbers) == 1 and len(self.class_names) == 2:
            (one,) = numbers
            self._check(numbers, full=False)
            numbers = [0.0 if self.kind == "logits" else 1 - one, one]
            if math.isnan(one):
                numbers = [one, one]
        elif len(numbers) != len(self.class_names):
            raise TargetError(
                f"{len(numbers)} scores came for an image, expected {len(self.class_names)}: one for each of "
                f"{_listed(self.class_names)}",
                fatal=True,
            )
        else:
            self._check(numbers, full=True)
        return [numbers[place] for place in self.order]

    def _named(self, pairs: Iterable[tuple[Any, Any]]) -> list[float]:
        row = [-math.inf if self.kind == "logits" else 0.0] * len(self.class_names)
        seen: dict[int, float] = {}
        for name, number in pairs:
            place = self._place(name)
            if not _is_number(number):
                raise TargetError(f"the score of a class is {_what(number)}, expected a number")
            if place in seen:
                raise TargetError(f"an image is answered with one class twice: {_name(name)}")
            row[place] = seen[place] = math.nan if number is None else float(number)
        self._check(list(seen.values()), full=len(seen) == len(row))
        return row

    def _check(self, numbers: Sequence[float], *, full: bool) -> None:
        """Probabilities are probabilities."""
        if self.kind == "logits" or any(map(math.isnan, numbers)):
            return
        low, high = min(numbers), max(numbers)
        if low < -_OUTSIDE or high > 1 + _OUTSIDE:
            found = f"scores from {low:.4g} to {high:.4g}"
        elif full and self.kind != "top-k" and abs(sum(numbers) - 1) > _SUM + _rounding(numbers):
            found = f"scores with the sum {sum(numbers):.4g}"
        else:
            return
        raise TargetError(
            f'an image is answered with {found}, expected probabilities: does it give logits? (kind = "logits")',
            fatal=True,
        )

    def _one_hot(self, name: Any) -> list[float]:
        row = [0.0] * len(self.class_names)
        row[self._place(name)] = 1.0
        return row

    def _place(self, name: Any) -> int:
        text = _name(name)
        if text not in self.class_names:
            raise TargetError(
                f"expected one of the classes {_listed(self.class_names)}, found another (were they renamed, or are "
                f"label_key and score_key to be given?): {text}",
                fatal=True,
            )
        return self.class_names.index(text)


def _per_image(
    values: list[Any],
    images: int,
    *,
    inside: Callable[[Any], bool],
    part: Callable[[Any], bool] = lambda value: False,
) -> list[Any]:
    """One value for each image, also where the path selects all parts of a single answer, or the list of all answers.

    Args:
        values: as selected.
        images: how many were asked about.
        inside: whether a value in the only list that was selected must be an answer of its own.
        part: whether a value may be a part of the answer to a single image.
    """
    if len(values) == 1 and isinstance(values[0], list) and values[0] and all(map(inside, values[0])):
        values = values[0]
    elif images == 1 and len(values) > 1 and all(map(part, values)):
        values = [values]
    if len(values) != images:
        raise TargetError(f"{len(values)} answers came, expected {images}: one for each image")
    return values


def _is_number(value: Any) -> bool:
    return value is None or type(value) in (int, float)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) or type(value) is int


def _name(value: Any) -> str:
    """The name of a class; a number is taken for its digits."""
    if not _is_name(value):
        raise TargetError(f"the name of a class is {_what(value)}, expected a text")
    return str(value)


def _what(value: Any) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, list):
        kinds = sorted({_what(each) if not isinstance(each, list) else "lists" for each in value})
        return f"a list of {', '.join(kinds)}" if kinds else "an empty list"
    if isinstance(value, Mapping):
        return "a table"
    return {str: "text", bool: "true or false", type(None): "nothing"}.get(type(value), "a number")


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _rounding(numbers: Sequence[float]) -> float:
    """How far rounding to as many places as the numbers show can bring their sum."""
    exponents = [Decimal(repr(number)).as_tuple().exponent for number in numbers]
    places = max(-exponent for exponent in exponents if isinstance(exponent, int))
    return 0.5 * len(numbers) * 10.0 ** -max(1, places)
