"""Each possible cause of where the ink lies, judged by what was run to find out."""

from __future__ import annotations

import math
from dataclasses import replace

from . import landscape as maps
from . import measures
from .arms import PADDINGS
from .evidence import (
    ACCUSES,
    AGREES,
    CHANCE,
    DATA,
    EXPLAINS,
    FEWEST,
    GENERAL,
    HALF,
    ITSELF,
    LANDSCAPE,
    NOTICED,
    OPERATORS,
    PIPELINE,
    POINTS,
    POSITION,
    WEIGHTS,
    Case,
    Cause,
    accuracy_lost,
    accuracy_of,
    capital,
    changes_of,
    cost,
    drift_of,
    effect_of,
    is_sharp,
    is_swap,
    is_told,
    listed,
    named,
    nearer,
    nothing,
    nothing_words,
    partnered,
    place,
    range_of,
    skipped_by,
    together,
    trained_networks,
    ways,
    where,
    would_show,
)
from .measures import Change, EdgeIndex
from .results import Results

BLUNT = "No difference is seen, but so few runs would miss one that is half of the preference: run more."


def operators(case: Case) -> Cause:
    """Accused by what they do under a constant fitness, from generation 0 on."""
    results = case.results
    nulls = [arm for arm in results.arms if arm.tags.get("kind") == "null"]
    level = together(ACCUSES, len(nulls))
    effects = [drift_of(results, arm, level) for arm in nulls]
    known = [effect for effect in effects if is_told(effect)]
    sentences = [
        f"Under a constant fitness, {effect.what} move ink {where(effect)} by themselves: its mean distance to the "
        f"border becomes {effect.words} of what it was."
        for effect in effects
        if effect.counts
    ]
    blunt = [effect for effect in known if not is_sharp(effect)]
    accused: bool | None = bool(sentences) or (False if known and not blunt else None)
    if accused is None and blunt:
        sentences.append(
            f"No bias of the operators is seen, but so few runs would miss one of twice the distance or half of it "
            f"({blunt[0].what}: {blunt[0].words} of what it was): run more."
        )
    elif accused is None:
        sentences.append("The operators were not run under a constant fitness, or in too few runs.")
    elif not accused:
        ends = [abs(end - 1) for effect in known for end in (effect.low, effect.high) if end is not None]
        sentences.append(
            f"Under a constant fitness the operators leave ink where it is: its mean distance to the border becomes "
            f"{range_of(known)} of what it was ({ways(len(known))}); {max(ends):.0%} more or less would have "
            f"been seen."
        )
    additive = [arm for arm in results.arms if arm.tags.get("kind") == "additive"]
    level = together(ACCUSES, len(additive))
    for arm in additive:
        index = measures.edge_index(results, arm.name, level=level)
        effects.append(effect_of(named(arm), arm.name, "index", index, counts=False))
        if index.direction and abs((index.estimate or 1) - 1) > NOTICED:
            sentences.append(
                f"Where every pixel is worth the same, {effects[-1].what} still gather ink {nearer(index.direction)}: "
                f"edge index {effects[-1].words}. So a part of any edge index may be theirs."
            )
    even = [effect for effect in effects if effect.measured == "index" and is_told(effect)]
    if even and not any("worth the same" in sentence for sentence in sentences):
        sentences.append(
            f"Where every pixel is worth the same, the edge index is {range_of(even)} ({ways(len(even))}): which "
            f"pixels travel together does not decide where they end."
        )
    control = [drift_of(results, arm, ACCUSES) for arm in results.arms if arm.tags.get("kind") == "control"]
    for effect in control:
        if effect.counts:
            sentences.append(
                f"This test can find a bias: {effect.what}, known to be biased, give {effect.words} of what it was."
            )
        else:
            sentences.append(
                f"This test is not sharp enough: {effect.what}, known to be biased, were not found biased "
                f"({effect.words} of what it was). Run more, or longer."
            )
    if accused is False and any(not effect.counts for effect in control):
        accused = None
    return Cause(OPERATORS, accused, [*effects, *control], sentences)


def landscape(results: Results, index: EdgeIndex) -> Cause:
    """Accused where evolved ink lies otherwise than that of the null, and where there is a slope to climb."""
    known = any(arm.name == results.base for arm in results.arms)
    base = results.arm(results.base) if known else None
    found_map = results.map_of(base.classifier, base.variant) if base else None
    flat = maps.is_flat(found_map) if found_map else None
    effects, sentences = [], []
    if base:
        effects.append(effect_of(named(base), base.name, "index", index, counts=bool(index.direction)))
    if base and index.low is not None and index.n >= FEWEST:
        sentences.append(f"The edge index of evolved ink is {effects[0].words}; 1 is what the operators do alone.")
    elif not flat:
        why = "has no null to compare it with, or too few runs" if index.n else "has no ink, or was not drawn"
        return Cause(LANDSCAPE, None, effects, [f"The arm that is to be explained {why}."])
    side = index.direction if index.n >= FEWEST else 0
    if flat and index.n and (side or index.n < FEWEST or not is_sharp(index)):
        why = f"lies {nearer(side)}" if side else "may lie anywhere, as far as so few runs tell"
        sentences.append(
            f"The ink {why}, and ink is worth the same wherever it lies, alone and in pairs: single pixels and pairs "
            f"cannot show what more of them are worth."
        )
        return Cause(LANDSCAPE, None, effects, sentences)
    if flat:
        sentences.append("Ink is worth the same wherever it lies: there is no slope that could move it.")
        return Cause(LANDSCAPE, False, effects, sentences)
    if not index.direction and not is_sharp(index):
        blunt = "No preference is seen, but so few runs would miss one of twice the distance or half of it: run more."
        return Cause(LANDSCAPE, None, effects, [*sentences, blunt])
    if not index.direction:
        return Cause(LANDSCAPE, False, effects, [*sentences, "No preference for the edges or the middle is seen."])
    assert base is not None
    sentences.append(f"Fitness puts it {nearer(index.direction)}.")
    others = [arm for arm in results.part("where") if arm.name != base.name]
    level = together(ACCUSES, len(others))
    for arm in others:
        found = measures.edge_index(results, arm.name, level=level)
        effects.append(effect_of(named(arm), arm.name, "index", found, counts=found.direction == index.direction))
    told = [effect for effect in effects[1:] if is_told(effect)]
    if told:
        alike = sum(effect.counts for effect in told)
        sentences.append(
            f"{alike} of {len(told)} other ways to draw (crossover, mutation, lambda) give the same preference; their "
            f"edge indices go over {range_of(told)}."
        )
    if found_map is None:
        sentences.append("What single pixels do was not mapped.")
        return Cause(LANDSCAPE, True, effects, sentences)
    if (foretold := maps.prediction(found_map, results.of(base.name))) is not None:
        right = foretold.p < CHANCE and foretold.percentile > 0.5
        ends = "" if foretold.low is None else f", 95% interval {foretold.low:.0%} to {foretold.high:.0%}"
        sentences.append(
            f"The effect of single pixels on the blank canvas {'foretells' if right else 'does not foretell'} where "
            f"ink lies: an inked pixel does more than {foretold.percentile:.0%} of all pixels (50% by chance{ends}); "
            f"p = {foretold.p:.2g} by {foretold.shifts:,} shifts of the map."
        )
        if not right:
            sentences.append("So what decides is what pixels do together, or after others.")
    if (slope := maps.landscape_index(found_map)) is not None:
        sentences.append(
            f"The best {maps.SHARE:.0%} of single pixels lie at {slope:.2f} of the mean distance to the border."
        )
    return Cause(LANDSCAPE, True, effects, sentences)


def weights(case: Case) -> Cause:
    """Accused only if a swap moves the ink while the network stays about as good as it was.

    It is cleared only by a swap that moves nothing, costs nothing, and left no layer that pads as it was.
    """
    results, base = case.results, case.base
    swaps = [arm for arm in partnered(case) if "outside" in arm.tags or is_swap(arm)]
    if base is None or not swaps:
        return Cause(WEIGHTS, None, [], ["The padding of this network was not swapped."])
    before = accuracy_of(results, base.classifier, base.variant)
    effects = changes_of(
        case, swaps, lambda arm: accuracy_lost(before, accuracy_of(results, arm.classifier, arm.variant))
    )
    told = [effect for effect in effects if is_told(effect)]
    intact = [effect for effect in told if effect.lost is not None and effect.lost <= POINTS]
    moved = [effect for effect in effects if effect.counts]
    proof = [effect for effect in moved if effect in intact]
    # A level beyond the border may be the one that is there already: that it moves nothing says nothing.
    modes = {arm.name for arm in swaps if "padding" in arm.tags}
    left = {arm.name: skipped_by(results, arm) for arm in swaps}
    sentences = [
        f"With {effect.what} in the same weights the edge index {effect.changes}{cost(effect)}"
        f"{_skipped(left[effect.arm])}."
        for effect in effects
    ]
    if not case.side:
        return Cause(WEIGHTS, nothing(case), effects, [*sentences, nothing_words(case)])
    broken = [effect for effect in moved if effect.lost is not None and effect.lost > POINTS]
    unknown = [effect for effect in moved if effect.lost is None]
    if broken:
        sentences.append(f"Of {listed(broken)} it cannot be told: the network is broken by it.")
    if unknown:
        sentences.append(f"Of {listed(unknown)} it cannot be told: nobody knows whether the network still works.")
    if proof:
        sentences.append(
            f"This takes the preference away, or a part of it, and leaves the network as good as it was: "
            f"{listed(proof)}. So padding is a cause of what these weights do."
        )
        return Cause(WEIGHTS, True, effects, sentences)
    swapped = [effect for effect in intact if effect.arm in modes]
    whole = [effect for effect in swapped if not left[effect.arm]]
    if not intact:
        sentences.append("No swap that was run leaves a network that is known to be as good as it was.")
    elif broken or unknown or not swapped:
        pass
    elif not whole:
        least = min(left[effect.arm] for effect in swapped)
        sentences.append(
            f"No swap that leaves the network as good as it was takes the preference away; but each left layers that "
            f"pad as they were ({least} at least), and those may be the cause."
        )
    elif not any(would_show(case, effect) for effect in whole):
        sentences.append(BLUNT)
    else:
        sentences.append("No swap that leaves the network as good as it was takes the preference away.")
        return Cause(WEIGHTS, False, effects, sentences)
    return Cause(WEIGHTS, None, effects, sentences)


def _skipped(count: int) -> str:
    """Layers that a swap left as they were, in words."""
    return f"; {count} {'layer that pads stays' if count == 1 else 'layers that pad stay'} as before" if count else ""


def general(case: Case) -> Cause:
    """Accused only if networks trained with all other paddings were drawn on, and none prefers what that of zeros does.

    One that prefers the same as much clears it. One that prefers the same, but less, does neither: training again
    with other random numbers might do as much.
    """
    results = case.results
    trained = trained_networks(case)
    reference = next((arm for padding, arm in trained if padding == "zeros"), None)
    others = [(padding, arm) for padding, arm in trained if padding not in ("zeros", "")]
    if reference is None or not others:
        what = "with zeros" if reference is None else "with another padding than zeros"
        return Cause(GENERAL, None, [], [f"No network of this architecture trained {what} was drawn on."])
    index = measures.edge_index(results, reference.name, level=ACCUSES)
    zeros = effect_of("trained with zeros", reference.name, "index", index, counts=bool(index.direction))
    before, level = accuracy_of(results, reference.classifier, reference.variant), together(EXPLAINS, len(others))
    effects, kinds, sentences = [zeros], [], []
    for padding, arm in others:
        own = measures.edge_index(results, arm.name, level=level)
        less = measures.change(results, arm.name, reference.name, level=level)
        lost = accuracy_lost(before, accuracy_of(results, arm.classifier, arm.variant))
        kind = _kind(index, own, less, lost)
        kinds.append(kind)
        effects.append(effect_of(f"trained with {padding}", arm.name, "index", own, lost=lost))
        counts = kind in ("gone", "smaller")
        effects.append(effect_of(f"trained with {padding}, less zeros", arm.name, "change", less, counts=counts))
        sentences.append(
            f"A network trained with {padding} has the edge index {effects[-2].words}, {effects[-1].words} from that "
            f"of the one trained with zeros{cost(effects[-2])}: {KINDS[kind]}."
        )
    if not is_told(zeros):
        return Cause(GENERAL, None, effects, [*sentences, "The network trained with zeros was run too little."])
    if not index.direction:
        if not is_sharp(index):
            return Cause(GENERAL, None, effects, [*sentences, "The network trained with zeros was run too little."])
        return Cause(GENERAL, False, effects, [*sentences, "The network trained with zeros has no preference."])
    there = {padding for padding, _ in trained}
    one = "One network each" if len(there) == len(trained) else "A few networks each"
    caveat = f"{one}: how much training itself varies is not in the interval."
    accused, words = _in_general(kinds, [mode for mode in PADDINGS if mode not in there], place(index.direction))
    return Cause(GENERAL, accused, effects, [*sentences, f"{words} {caveat}"])


KINDS = {
    "gone": "the preference is smaller, and no longer seen",
    "smaller": "the preference is smaller, not gone",
    "same": "it prefers the same",
    "": "it cannot be told whether it prefers the same",
}


def _kind(zeros: EdgeIndex, own: EdgeIndex, less: Change, lost: float | None) -> str:
    """What a network does that never saw zeros: one of KINDS."""
    if less.n < FEWEST or (lost is not None and lost > POINTS) or not zeros.direction:
        return ""
    alike = own.direction == zeros.direction
    if less.direction == -zeros.direction:
        return "smaller" if alike else "gone"
    return "same" if alike else ""


def _in_general(kinds: list[str], missing: list[str], side: str) -> tuple[bool | None, str]:
    """Whether zeros are accused in general, and why."""
    rest = f" Not tested: networks trained with {', '.join(missing)}." if missing else ""
    if "same" in kinds:
        return False, (
            f"So padding with zeros is not the cause in general: networks that never saw them prefer the {side} as "
            f"well."
        )
    if "smaller" in kinds:
        return None, (
            f"Smaller, not gone: networks that never saw zeros prefer the {side} as well, so zeros are not all of the "
            f"cause; whether they are a part of it cannot be told.{rest}"
        )
    if "" in kinds or missing:
        return None, f"So it cannot be told whether padding is a cause in general.{rest}"
    return True, f"All {len(kinds)} agree: networks learn the preference by being padded with zeros."


def position(case: Case) -> Cause:
    """Accused if ink in windows goes to the border of the canvas, or if other gray levels take the preference away."""
    results = case.results
    position = [arm for arm in results.part("position") if arm.null]
    windows = [arm for arm in position if "window" in arm.tags]
    levels = [arm for arm in position if "canvas" in arm.tags and arm.partner == results.base]
    if not windows and not levels:
        return Cause(POSITION, None, [], ["No windows of the canvas and no other gray levels were drawn on."])
    level = together(EXPLAINS, len(windows) + len(levels))
    effects = []
    for arm in windows:
        index = measures.edge_index(results, arm.name, level=level)
        there = bool(case.side) and index.direction == case.side and index.n >= FEWEST
        effects.append(effect_of(f"window {arm.tags['window']}", arm.name, "index", index, counts=there))
    effects += changes_of(case, levels, level=level)
    inside, content = effects[: len(windows)], effects[len(windows) :]
    sentences = []
    if told := [effect for effect in inside if is_told(effect)]:
        sentences.append(
            f"Ink that has to lie in a window: measured from the border of the canvas, its edge index goes over "
            f"{range_of(told)} in {len(told)} windows."
        )
    sentences += [f"With {effect.what} the edge index {effect.changes}." for effect in content]
    if not case.side:
        return Cause(POSITION, nothing(case), effects, [*sentences, nothing_words(case)])
    where = [effect for effect in inside if effect.counts]
    what = [effect for effect in content if effect.counts]
    if where:
        sentences.append(
            f"In {len(where)} of {len(inside)} windows it goes to the side of the {place(case.side)} of the canvas: "
            f"the place on the canvas counts, not that of the window's own border."
        )
    if what:
        sentences.append(f"This takes the preference away, or a part of it: {listed(what)}. So content counts.")
    if where or what:
        return Cause(POSITION, True, effects, sentences)
    if not any(is_told(effect) for effect in effects):
        return Cause(POSITION, None, effects, [*sentences, "Too few runs to tell."])
    if not all(any(would_show(case, effect) for effect in side) for side in (inside, content) if side):
        return Cause(POSITION, None, effects, [*sentences, BLUNT])
    tested = " nor ".join(name for name, side in (("windows", inside), ("gray levels", content)) if side)
    words = f"{'Neither ' if inside and content else 'No '}{tested} show a cause."
    return Cause(POSITION, False, effects, [*sentences, words])


def pipeline(case: Case) -> Cause:
    """Accused if drawing in another size and resizing takes the preference away.

    What is cut away by a crop the network never sees, so that distances to the border of the drawing grow of
    themselves: crops are told, and accuse nobody.
    """
    arms = [arm for arm in partnered(case) if "resize" in arm.tags]
    if not arms:
        return Cause(PIPELINE, None, [], ["Nothing was drawn in another size and resized."])
    crops = {arm.name for arm in arms if arm.tags["resize"] == "crop"}
    effects = [replace(each, counts=each.counts and each.arm not in crops) for each in changes_of(case, arms)]
    sentences = [f"{capital(effect.what)}, the edge index {effect.changes}." for effect in effects]
    if crops:
        sentences.append(
            "Distances are to the border of the drawing; of one that is cropped the network does not see the border."
        )
    if not case.side:
        return Cause(PIPELINE, nothing(case), effects, [*sentences, nothing_words(case)])
    moved = [effect for effect in effects if effect.counts]
    if moved:
        sentences.append(f"So the way from drawing to network takes part: {listed(moved)}.")
    elif any(would_show(case, effect) and effect.arm not in crops for effect in effects):
        sentences.append("Resizing makes no difference that is seen.")
    elif any(is_told(effect) and effect.arm not in crops for effect in effects):
        return Cause(PIPELINE, None, effects, [*sentences, BLUNT])
    else:
        return Cause(PIPELINE, None, effects, [*sentences, "Too few runs to tell."])
    return Cause(PIPELINE, bool(moved), effects, sentences)


def data(case: Case) -> Cause:
    """Accused of what it could teach, which is an association, if it leans to the same side as the ink."""
    lean = case.results.lean
    if lean is None:
        return Cause(DATA, None, [], ["No training images were looked at."])
    images = sum(row.images for row in case.results.dark if row.ring == 0)
    difference = Change(lean.difference, lean.low, lean.high, images, EXPLAINS)
    noticed = abs(lean.difference) > NOTICED * lean.others
    counts = bool(case.side) and noticed and difference.direction == case.side
    effect = effect_of("training images", "", "difference", difference, counts=counts)
    sentences = [
        f"In the training images, what looks like ink lies {lean.wanted:.2f} steps from the border in the wanted class "
        f"and {lean.others:.2f} in the others (difference {lean.difference:+.2f}, 95% interval {lean.low:+.2f} to "
        f"{lean.high:+.2f})."
    ]
    if not case.side:
        return Cause(DATA, nothing(case), [effect], [*sentences, nothing_words(case)])
    if counts:
        sentences.append(
            "It leans the same way as the evolved ink, so the data could teach the preference. This is an association: "
            "nothing but training again on changed data would prove it."
        )
    elif (lean.low if case.side < 0 else -lean.high) < -HALF * lean.others:
        sentences.append("It may lean the same way as the evolved ink, and by far: too few images to tell.")
        return Cause(DATA, None, [effect], sentences)
    else:
        sentences.append("It does not lean the same way as the evolved ink: the data do not suggest the preference.")
    return Cause(DATA, counts, [effect], sentences)


def itself(case: Case) -> Cause:
    """Accused if drawings that convince this network convince no other one."""
    results = case.results
    reached = {run.seed: run.final.confidence for run in results.of(results.base) if run.reached is not None}
    shown: dict[str, list[float]] = {}
    for each in results.transfer:
        if each.arm == results.base and each.seed in reached and math.isfinite(each.confidence):
            shown.setdefault(each.shown, []).append(each.confidence)
    others = {name: values for name, values in shown.items() if name.startswith("to ")}
    level = together(EXPLAINS, len(others))
    effects, sentences = [], []
    for name, values in shown.items():
        mean = measures.mean_of(values, f"transfer {name}", level=level if name in others else EXPLAINS)
        counts = name in others and mean.high is not None and mean.high < AGREES
        effects.append(effect_of(f"shown {name}" if name in others else name, results.base, "confidence", mean, counts))
    asked = [effect for effect in effects if effect.what.startswith("shown to ")]
    told = [effect for effect in asked if is_told(effect)]
    if asked and reached:
        own = sum(reached.values()) / len(reached)
        words = "; ".join(f"{effect.what.removeprefix('shown to ')} {effect.words}" for effect in asked)
        sentences.append(f"Drawings that this network is {own:.0%} sure of convince other networks so far: {words}.")
    if rest := [effect for effect in effects if effect not in asked and effect.estimate is not None]:
        words = ", ".join(f"{effect.what} {effect.estimate:.2f}" for effect in rest)
        sentences.append(f"Its own confidence in them, changed a little: {words}.")
    if not asked or not reached:
        why = "No drawing reached its goal." if results.transfer and not reached else "No other network was shown them."
        return Cause(ITSELF, None, effects, [*sentences, why])
    if not case.side:
        return Cause(ITSELF, nothing(case), effects, [*sentences, nothing_words(case)])
    if told and all(effect.counts for effect in asked):
        sentences.append("They show the class to this network only: they are peculiar to its weights.")
        return Cause(ITSELF, True, effects, sentences)
    if told and all(effect.low is not None and effect.low >= AGREES for effect in asked):
        sentences.append("The other networks see the class as well: it is nothing peculiar to these weights.")
        return Cause(ITSELF, False, effects, sentences)
    return Cause(ITSELF, None, effects, [*sentences, "The other networks do not agree, or too few runs tell."])
