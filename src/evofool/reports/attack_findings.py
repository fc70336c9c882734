"""What an attack found, in plain sentences written from its numbers."""

from __future__ import annotations

from collections.abc import Iterable

from ..studies.attack.results import Attacked, Results
from .attack_tables import Group, Numbers, class_name, compared
from .attack_words import at_most, between, classifier_of, failing, name_of, percent, queries, size
from .drawing_findings import count
from .findings import Finding
from .plots import label


def findings(results: Results, numbers: Numbers) -> list[Finding]:
    """The findings, the most important first, each with the part of the page that shows it."""
    texts = [
        *((text, "queries") for text in _verdict(results, numbers)),
        *((text, "queries") for text in _queries(results, numbers)),
        *((text, "queries") for text in _confirmed(results)),
        *((text, "learning") for text in _learning(numbers)),
        *((text, "images") for text in _given(results)),
        *((text, "images") for text in _left_out(results, numbers)),
        *((text, "classes") for text in _classes(results, numbers)),
        *((text, "images") for text in _shrunk(results, numbers)),
        *((text, "asked") for text in _asked(results, numbers)),
        *((text, "asked") for text in _interrupted(results)),
    ]
    return [Finding(text, anchor, results.command) for text, anchor in texts]


def aim(results: Results) -> str:
    """What counted as success, after "fooled": "away from its class"."""
    if results.k == 1 or f"top {results.k}" in results.goal:
        return results.goal
    among = "among" if results.targeted else "not among"
    return f"{results.goal}; the class {among} the first {results.k}"


def _verdict(results: Results, numbers: Numbers) -> Iterable[str]:
    success = numbers.success
    if not results.images:
        yield "There was no image to attack."
        return
    if success is None:
        yield f"No image was attacked, of {len(results.images):,}."
        return
    fooled, total = len(numbers.fooled), success.n
    interval = f"; 95% interval {between(success.interval, share=True)}" if success.interval else ""
    yield (
        f"{name_of(str(results.recipe.get('name', 'the attack')))} fooled {classifier_of(results.classifier)} on "
        f"{fooled:,} of {total:,} attacked images ({percent(success.estimate)}{interval}) within "
        f"{results.limit} (goal: {aim(results)}) with {at_most(results)}."
    )


def _queries(results: Results, numbers: Numbers) -> Iterable[str]:
    if numbers.mean is None:
        return
    interval = f" (95% interval {between(numbers.interval)})" if numbers.interval else ""
    failures = f", {failing(results)}" if numbers.failed else ""
    yield (
        f"It took a mean of {queries(numbers.mean)}{interval} and a median of {queries(numbers.median)} queries over "
        f"{count(len(numbers.attacked), 'image')}{failures}. The query for each image as it is, "
        "which the budget includes, is not counted here."
    )


def _confirmed(results: Results) -> Iterable[str]:
    times = int(results.config.get("confirm") or 0)
    if not times:
        return
    once = sum(image.outcome == "failed" and _seems_fooled(image, results) for image in results.images)
    again = "once more" if times == 1 else f"{times:,} times more"
    failed = (
        f" The best attempts at {count(once, 'image')} that {'counts' if once == 1 else 'count'} as failed fooled "
        "once, and that was not confirmed."
    )
    yield (
        f"A success counts only where the same image, asked about {again}, fooled each time; else the search went on."
        f"{failed if once else ''}"
    )


def _seems_fooled(image: Attacked, results: Results) -> bool:
    if image.target is not None:
        return image.prediction == image.target
    return results.k == 1 and image.prediction not in (-1, image.label)


def _learning(numbers: Numbers) -> Iterable[str]:
    found = numbers.learning
    if found is None or not found.firsts or len(numbers.attacked) == found.firsts[0][0]:
        return
    firsts = ", ".join(f"{queries(mean)} over the first {k}" for k, mean in found.firsts if k < len(numbers.attacked))
    yield (
        f"It carries what worked from image to image: a mean of {firsts} and {queries(numbers.mean)} over all "
        f"{len(numbers.attacked):,}. Images are not independent, so evofool compare takes its intervals over runs."
    )


def _given(results: Results) -> Iterable[str]:
    if brought := str(results.data.get("brought") or ""):
        yield f"{brought[0].upper()}{label(brought[1:], 400)}."
    if results.images and not results.data.get("labelled", True):
        yield "The images have no labels: what the classifier sees in them as they are counts as their class."


def _left_out(results: Results, numbers: Numbers) -> Iterable[str]:
    total = count(len(results.images), "image")
    if numbers.skipped:
        were, them, they = ("was", "it", "it is") if numbers.skipped == 1 else ("were", "them", "they are")
        why = f"has the wanted answer for {them}" if results.targeted else f"misclassifies {them}"
        yield (
            f"{numbers.skipped:,} of {total} {were} skipped: the classifier {why} as {they}. No figure counts {them}."
        )
        if 2 * numbers.skipped > len(results.images) and not results.targeted:
            yield (
                "Most images were skipped. If you expected otherwise, evofool doctor tells how the classifier takes "
                "images and classes."
            )
    if numbers.unanswered:
        yield f"{numbers.unanswered:,} of {total} could not be attacked: the classifier gave no answer."


def _classes(results: Results, numbers: Numbers) -> Iterable[str]:
    if numbers.differ is None or numbers.differ >= 0.05:
        return
    ordered = sorted(compared(numbers.classes), key=lambda group: (group.median or 0.0, group.number))
    p = "p < 0.001" if numbers.differ < 0.001 else f"p = {numbers.differ:.3f}"
    yield (
        f"Classes differ (Kruskal and Wallis, {p}): {_group(results, ordered[0])} took the fewest queries and "
        f"{_group(results, ordered[-1])} the most."
    )


def _group(results: Results, group: Group) -> str:
    name = name_of(class_name(results, group.number))
    return f"{name} (median {queries(group.median)}, {group.fooled} of {group.attacked} fooled)"


def _shrunk(results: Results, numbers: Numbers) -> Iterable[str]:
    found = numbers.shrunk
    if found is None:
        return
    minimal = sum(times for level, times in found.minimal.items() if level)
    shown = f"; of {minimal:,} it is shown that no single pixel can go" if minimal else ""
    yield (
        f"After success {count(found.queries, 'query')} made the perturbations of {count(found.images, 'image')} "
        f"smaller: median {size(results, found.before)} before and {size(results, found.after)} after{shown}."
    )


def _asked(results: Results, numbers: Numbers) -> Iterable[str]:
    issued = results.queries()
    if not issued:
        return
    search = sum(image.queries for image in results.images)
    parts = [f"{search:,} for the search"]
    parts += [f"{numbers.shrunk.queries:,} for shrinking"] if numbers.shrunk else []
    rest = issued - search - (numbers.shrunk.queries if numbers.shrunk else 0)
    if rest == len(results.images):
        parts.append(f"{rest:,} for the images as they are")
    elif rest > 0:
        parts.append(f"{rest:,} for the images as they are and whatever else is charged")
    yield f"{count(issued, 'query')} {'was' if issued == 1 else 'were'} charged in all: {', '.join(parts)}."


def _interrupted(results: Results) -> Iterable[str]:
    failed, kills, lost = results.queries(of="failed"), results.ledger.get("kills", 0), results.queries(of="lost")
    if failed:
        yield f"The classifier left {count(failed, 'query')} unanswered; they were charged."
    if kills or lost:
        cost = f"{count(lost, 'query')} lost: charged, and their answers unknown" if lost else "no query lost"
        yield f"The run was resumed after {count(kills, 'kill')}, {cost}."
    for change in results.ledger.get("drift", []):
        yield f"Not everything stayed as it was when the run began: {label(change, 400)}."
