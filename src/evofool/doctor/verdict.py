"""From what was measured to what is to be minded: flags, each with what was seen and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..contracts import ClassifierInfo
from .diagnosis import Diagnosis, Finding, Flag, Forecast, Scores, Share, Speed

LEVELS = {"small": 8, "strong": 128}  # of noise, in 1/255
_ROUNDING = 1e-4  # of the range of the scores: less than that is arithmetic, not chance or company
_SUM = 5e-3  # what half precision may be off
_STEPPED = 10  # times that a score occurs, on average
_STEPPED_VALUES = 100
_NAMED = 6
_SHORT = 200


def forecast(queries: int, info: ClassifierInfo, speed: Speed | None) -> Forecast:
    """What a number of queries takes, in calls like those that were measured, `info.concurrency` of them at a time."""
    seconds = None
    if speed is not None:
        seconds = math.ceil(queries / speed.rows) * speed.seconds / info.concurrency
    return Forecast(queries, seconds, None if info.cost is None else queries * info.cost)


def near_chance(accuracy: Share, chance: float) -> bool:
    """Whether the interval reaches down to a tenth of the way from chance to always right."""
    return accuracy.low <= chance + 0.1 * (1 - chance)


def is_random(d: Diagnosis) -> bool:
    """Whether repetitions differ by more than arithmetic does."""
    return d.scores is not None and d.repeat is not None and d.repeat.largest > _ROUNDING * _range(d.scores)


def findings(diagnosis: Diagnosis) -> tuple[Finding, ...]:
    """What is to be minded, the most important first."""
    return tuple(_findings(diagnosis))


def _findings(d: Diagnosis) -> Iterator[Finding]:
    if d.failed or not d.scores:
        yield _no_answers(d)
    if d.matched == "none":
        yield Finding(
            Flag.CLASSES_DIFFER,
            f"It tells {len(d.class_names)} classes apart ({_list(d.class_names)}), the data {len(d.data_classes)} "
            f"({_list(d.data_classes)}), and these names are not among those. So nothing is said of accuracy.",
            "Give data of the same classes, or say what its scores stand for: --with class_names=A,B,...",
        )
    if d.renamed:
        yield _order(d)
    if d.accuracy and near_chance(d.accuracy, d.chance):
        yield _accuracy(d.accuracy, d)
    if d.scores:
        yield from _about_scores(d, d.scores)


def _about_scores(d: Diagnosis, scores: Scores) -> Iterator[Finding]:
    if contradiction := _contradiction(d, scores):
        yield Finding(Flag.KIND_CONTRADICTED, *contradiction)
    if scores.one_hot:
        yield Finding(
            Flag.LABEL_ONLY,
            "Each answer is a label: 1 for one class and 0 for all others. A search that climbs scores finds "
            "nothing to climb.",
            "If you can, have the classifier answer with its scores; else expect searches to need far more queries.",
        )
    constant = scores.different == 1 and scores.rows > 1
    if (constant or not scores.one_hot) and _unmoved(d) and not is_random(d):
        also = f", and all {scores.rows} different images get the same scores" if constant else ""
        images = d.strong.images if d.strong else 0
        yield Finding(
            Flag.CONSTANT_UNDER_NOISE,
            f"Noise of up to {LEVELS['strong']}/255 on each pixel leaves the scores of all {images} images as they "
            f"were{also}.",
            "Look whether the images arrive: a preparation that flattens them, an answer from a cache, a model without "
            "its weights. As it is, no search can learn from its scores.",
        )
    if (rounding := _rounding(scores)) and not constant and not scores.one_hot:
        yield Finding(
            Flag.ROUNDED_SCORES,
            rounding,
            "Have it answer with all digits if you can. Else small steps often change nothing: a search needs larger "
            "steps, or one that accepts equal scores.",
        )
    if is_random(d) and d.repeat:
        other = f"; {d.repeat.relabelled} of them even get another first choice" if d.repeat.relabelled else ""
        yield Finding(
            Flag.RANDOM_SCORES,
            f"The same images in the same call, asked about twice, get scores that differ by up to "
            f"{d.repeat.largest:.2g}: {d.repeat.images - d.repeat.equal} of {d.repeat.images} images{other}.",
            "Look for dropout or sampling that is still switched on. If it is meant to be so, ask again about each "
            "image that seems to fool (--confirm 2), and read every number as one of several possible.",
        )
    elif d.company and d.company.largest > _ROUNDING * _range(scores):
        yield Finding(
            Flag.BATCH_DEPENDENT,
            f"Among other images, in a call of the same size, scores change by up to {d.company.largest:.2g}: "
            f"{d.company.images - d.company.equal} of {d.company.images} images.",
            "Look for batch normalisation in training mode, or for normalisation over a whole call. Else ask about one "
            "image at a time: --with micro_batch=1.",
        )


def _range(scores: Scores) -> float:
    return scores.high - scores.low


def _unmoved(d: Diagnosis) -> bool:
    noised = [each for each in (d.small, d.strong) if each]
    return len(noised) == 2 and not any(each.changed for each in noised)


def _no_answers(d: Diagnosis) -> Finding:
    said = f" It said last: {d.error}." if d.error else ""
    if not d.scores:
        words = f"None of {d.asked} queries got a usable answer (NaN, no finite score, or a failure)."
        return Finding(
            Flag.NO_ANSWERS,
            words + said,
            "Ask it about one image by other means first; then see that it gets the same.",
        )
    return Finding(
        Flag.NO_ANSWERS,
        f"{d.failed} of {d.failed + d.answered} queries got no usable answer (NaN, no finite score, or a "
        f"failure).{said}",
        "They count against a budget like all others, and a search treats their images as missing. Look for what "
        "these images have in common, or for a limit on requests.",
    )


def _order(d: Diagnosis) -> Finding:
    pairs = [pair for each in d.renamed for pair in each.pairs]
    right, then, images = (sum(getattr(each, name) for each in d.renamed) for name in ("right", "renamed", "images"))
    if len(pairs) == 2:
        which = f"{pairs[0][0]} and {pairs[1][0]} seem to be swapped"
    else:
        which = f"{len(pairs)} classes seem to have changed places: " + ", ".join(
            f"{mine} is answered as {theirs}" for mine, theirs in pairs[:_NAMED]
        )
    names = ",".join(d.reordered)
    short = names and names.count(",") == len(d.reordered) - 1 and len(names) <= _SHORT
    return Finding(
        Flag.ORDER_SUSPECT,
        f"Are the class names in another order? {which}{', ...' if len(pairs) > _NAMED else ''}. Of {images} images of "
        f"these classes {right} are right as named, and {then} would be right then.",
        f"Say what its scores stand for, in their order: --with class_names={names if short else 'A,B,...'} (names "
        f"that were sorted as text go 0, 1, 10, 2).",
    )


def _accuracy(accuracy: Share, d: Diagnosis) -> Finding:
    seen = (
        f"{accuracy.k} of {accuracy.n} images are right ({accuracy.low:.0%} to {accuracy.high:.0%}); by chance it "
        f'would be {d.chance:.1%}. An image that "fools" it then says little.'
    )
    if d.hint:
        options = f": {d.hint.options}" if d.hint.options else ""
        return Finding(
            Flag.ACCURACY_NEAR_CHANCE,
            f"{seen} With {d.hint.words}, {d.hint.right.k} of {d.hint.right.n} are right.",
            f"It seems to expect {d.hint.words}{options}.",
        )
    if d.renamed:
        return Finding(Flag.ACCURACY_NEAR_CHANCE, seen, "Put the class names in order first, and look again.")
    return Finding(
        Flag.ACCURACY_NEAR_CHANCE,
        seen,
        "Look whether it gets what it was trained on: size, gray or colour, range and normalisation (--with white=, "
        "mean=, std=), the order of the class names (--with class_names=), the data themselves.",
    )


def _contradiction(d: Diagnosis, scores: Scores) -> tuple[str, str] | None:
    slack = _SUM
    if scores.decimals is not None:
        slack = max(slack, 0.5 * 10.0**-scores.decimals * len(d.class_names))
    one = abs(scores.sum_low - 1) <= slack and abs(scores.sum_high - 1) <= slack
    inside = scores.low >= 0 and scores.high <= 1 + _SUM
    if d.kind == "logits" and one and inside and not scores.one_hot:
        return (
            "Its scores are declared as logits, but none is negative and each row sums to 1: a softmax has been "
            "applied already. Taking the softmax again would make every answer look unsure.",
            "Say so: --with kind=probabilities.",
        )
    if d.kind == "label" and not scores.one_hot:
        return (
            f"Its answers are declared as labels, but they are not a single 1 among zeros: they go from "
            f"{scores.low:.4g} to {scores.high:.4g}.",
            "Say what they are: --with kind=probabilities or --with kind=logits.",
        )
    if d.kind == "probabilities" and (scores.low < -_SUM or scores.high > 1 + _SUM):
        return (
            f"Its scores are declared as probabilities, but go from {scores.low:.4g} to {scores.high:.4g}.",
            "If these are logits, say so: --with kind=logits.",
        )
    if d.kind == "probabilities" and not one:
        return (
            f"Its scores are declared as probabilities, but those of one image sum to {scores.sum_low:.4g} to "
            f"{scores.sum_high:.4g} instead of 1.",
            "Are they answers of their own for each class (sigmoids)? Then several classes may be likely at once, and "
            "only their order tells which one is chosen.",
        )
    return None


def _rounding(scores: Scores) -> str:
    if scores.decimals is not None:
        many = f"{scores.decimals} decimal{'s' * (scores.decimals != 1)}" if scores.decimals else "whole numbers"
        return (
            f"All scores are rounded to {many}: {scores.distinct:,} different ones among {scores.values:,} (apart from "
            f"0 and 1)."
        )
    if scores.values >= _STEPPED_VALUES and scores.distinct * _STEPPED <= scores.values:
        return (
            f"Scores come in steps: only {scores.distinct:,} different ones among {scores.values:,} (apart from 0 and "
            f"1), at least {scores.step:.2g} apart."
        )
    return ""


def _list(names: tuple[str, ...], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
