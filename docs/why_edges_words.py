"""The answer of docs/why-edges.md in words: every number in it is computed from the runs."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from evofool.studies.ink import landscape, measures, verdict
from evofool.studies.ink.results import Results

ANSWER = """
<!-- Written by docs/make_why_edges.py from docs/why-edges/*.json.gz. Change those, not this page. -->

In 2019 somebody [asked](https://ai.stackexchange.com/questions/14076): black pixels are evolved on a white
canvas until a gray cat classifier says "cat". They do it with two networks and three crossovers, and the pixels
always gather at the edges; even after 3,000 generations confined to the middle, what is drawn once the limit is
lifted is better. "We are at a loss as to why the images never have pixels coloured in the middle." Here is the
experiment that answers it, on a small network of our own: {architecture}, trained on CIFAR-10's cats against
the rest in gray ({accuracy} of the test images right, the mean of both classes).

## The short answer

**The network puts the ink there; the operators do not.** In the question's setting the ink lies at {index} of
the distance to the border that the same operators give it when nothing is to be gained ({interval}; 1 would be
no preference). All three crossovers do it alike: {crossovers}.

**It flees the middle more than it seeks the edge.** One black pixel in the middle of the white canvas (rings
{inner}) changes the log-odds of "cat" by {middle}, and {middle_share} of the pixels there raise it. On the
{outer} outermost rings a pixel changes them by {edge}, and {edge_share} raise it. A pixel near the border is
looked at by fewer filters than one in the middle: where ink speaks against a cat, the border is where it speaks
most quietly. Knowing nothing but the effect of each single pixel, one can tell where evolution will put them:
an inked pixel does more than {percentile} of all pixels (50% would be chance).

**It depends on how the 0.015 is read.** All this is for one pixel more in 1.5% of the children. Read as a chance
of every pixel of every child, about {rain} pixels fall on each child at once, and the drawings have
{gene_ink} pixels in the median. Their edge indices are {gene}: so many pixels together say something else than each
alone.

**Padding takes part, and is not the whole of it.** {swap} Networks of the same architecture trained with other
padding draw at {trained} of the null's distance: the one trained with circular padding, for which there is no
edge, has none; the one trained with reflect padding never saw a zero beyond the border and prefers the edge all
the same.

**What is beside the ink matters as much as where it lies.** On a black canvas with white ink the same network
gives {exchanged}; drawings made at twice the size and resized bilinearly give {resized}.

**"Afterwards always better" is {always}.** After {confined} generations confined to the middle, {better} of
{runs} runs became better when the limit was lifted; confined for the same time without it, {better_confined}
did. In the middle there was nothing to gain: the best drawing there has {ink_confined}.

## What you can do

Draw on another canvas, or say where ink may lie (`--region`), and you learn what the network makes of the rest
of the picture. To change the network, train it on images shifted or cropped at random: nothing but that would
show that it was the data that taught it where cats are. And ask for few pixels: with a high price of ink
(lambda) one is left, wherever it helps most.

It is repeated by

```text
{training}
{command}
python docs/make_why_edges.py --from runs/why-edges --as cat
```

All that follows is the report of that run.
"""

_WHOLE: Any = {"break_long_words": False, "break_on_hyphens": False}
AROUND = """
## What this does not show

Our networks are small and were trained once for each padding; how much another training would change is not in
the intervals. The networks of the question, Inception-ResNet v2 and VGG-16 fine-tuned from ImageNet weights,
could not be had where this was run: below, both were trained from random weights for one pass, which proves
that the commands work and nothing else. The real thing is

```text
evofool train --data cats/ --gray --binary cat --architecture timm:inception_resnet_v2 -o inception/
evofool study ink --classifier inception/ --target cat --data cats/ --canvas 1 -o runs/inception/
```
"""


def introduction(results: Results) -> str:
    """The answer, with its lines filled."""
    parts = ANSWER.format(**_numbers(results)).strip().split("\n\n")
    plain = ("```", "##", "<!--")
    return "\n\n".join(part if part.startswith(plain) else textwrap.fill(part, 120, **_WHOLE) for part in parts)


def _numbers(results: Results) -> dict[str, str]:
    """The numbers of the answer, in words."""
    found = verdict.verdict(results)
    base = results.arm(results.base)
    index = measures.edge_index(results, results.base)
    own = results.map_of(base.classifier, base.variant)
    assert own is not None and index.estimate is not None
    rings, effects = measures.ring_of(own.size).ravel(), _effects(own.effects, own.places)
    outer, inner = rings < 3, rings >= rings.max() - 3
    foretold = landscape.prediction(own, results.of(results.base))
    schedule = found.schedule
    first = results.classifiers[0]
    trained = {
        str(arm.tags["padding"]): measures.edge_index(results, arm.name).estimate
        for arm in results.part("padding")
        if arm.tags["padding"] == arm.tags["own"]
    }
    at_once = [run for run in results.of("schedule/center only")]
    before = [run for run in results.of("schedule/center first")]
    assert schedule is not None and foretold is not None
    gene = [
        arm
        for arm in results.part("where")
        if arm.tags["mutation"] == "per-gene" and arm.tags["lambda"] == base.tags["lambda"]
    ]
    return {
        "architecture": f"`{first['architecture']}`, its convolutions padded with {first['padding']}, then a mean over "
        "the image",
        "accuracy": f"{float(first['balanced']):.1%}",
        "index": f"{index.estimate:.2f}",
        "interval": f"95% interval {index.low:.2f} to {index.high:.2f} over {index.n} runs",
        "crossovers": _list(
            f"{arm.tags['crossover']} {_index(results, arm.name)}"
            for arm in results.part("where")
            if arm.tags["mutation"] == base.tags["mutation"] and arm.tags["lambda"] == base.tags["lambda"]
        ),
        "rain": f"{0.015 * own.size[0] * own.size[1]:.0f}",
        "gene": _list(f"{arm.tags['crossover']} {_index(results, arm.name)}" for arm in gene),
        "gene_ink": _list(f"{np.median([run.best.ink for run in results.of(arm.name)]):.0f}" for arm in gene),
        "inner": f"{int(rings.max()) - 3} to {int(rings.max())}",
        "outer": "3",
        "middle": f"{effects[inner].mean():+.2f}",
        "middle_share": f"{(effects[inner] > 0).mean():.0%}",
        "edge": f"{effects[outer].mean():+.2f}",
        "edge_share": f"{(effects[outer] > 0).mean():.0%}",
        "percentile": f"{foretold.percentile:.0%}",
        "swap": _swap(results),
        "trained": _list(f"{value:.2f} ({mode})" for mode, value in trained.items() if value is not None),
        "exchanged": _index(results, "canvas/0"),
        "resized": _index(results, next(arm.name for arm in results.arms if arm.tags.get("resize") == "bilinear")),
        "always": "reproduced" if "is reproduced" in schedule.sentences[-1] else "not reproduced",
        "confined": f"{results.config['lengths']['confined']:,}",
        "runs": str(len(before)),
        "better": str(_better(before, results.config["lengths"]["confined"])),
        "better_confined": str(_better(at_once, results.config["lengths"]["confined"])),
        "ink_confined": _pixels([run.best.ink for run in at_once]),
        "training": _training(results),
        "command": results.command,
    }


def _effects(effects: Any, places: Any) -> np.ndarray:
    """Effects by place; the canvas was mapped whole."""
    found = np.full(len(places), np.nan)
    found[np.asarray(places)] = [np.nan if effect is None else effect for effect in effects]
    return found


def _index(results: Results, arm: str) -> str:
    found = measures.edge_index(results, arm)
    return "no ink at all" if found.estimate is None else f"{found.estimate:.2f}"


def _swap(results: Results) -> str:
    """What becomes of the ink when the same weights are padded otherwise."""
    words = []
    first = results.classifiers[0]
    for arm in results.part("padding"):
        if arm.classifier != first["name"] or arm.tags["padding"] == arm.tags["own"]:
            continue
        found = results.map_of(arm.classifier, arm.variant)
        without = sum(not run.best.ink for run in results.of(arm.name))
        raised = np.mean([effect is not None and effect > 0 for effect in found.effects]) if found else 0.0
        words.append(
            f"{arm.tags['padding']}: {without} of {len(results.of(arm.name))} runs end without ink, {raised:.0%}"
        )
    return (
        "Pad the same weights otherwise, without training them again, and most runs find nothing to draw any more "
        f"({'; '.join(words)}; the shares are of single pixels that raise the cat)."
        if words
        else "The padding of these weights was not swapped."
    )


def _better(runs: Any, confined: int) -> int:
    """Runs whose fitness is lower at the end than when the limit was lifted."""
    count = 0
    for run in runs:
        before = [fitness for at, fitness in zip(run.generations, run.fitness, strict=True) if at <= confined][-1]
        count += run.fitness[-1] < before - 1e-9
    return count


def _pixels(counts: list[int]) -> str:
    middle = float(np.median(counts))
    return f"{middle:g} pixel{'s' * (middle != 1)} in the median"


def _training(results: Results) -> str:
    """What trained the network that is explained, and those beside it."""
    lines = []
    for each in results.classifiers:
        own = " ".join(f"--set {name}={value}" for name, value in each["arguments"].items())
        lines.append(
            f"evofool train --data cifar10.zip --gray --binary cat --architecture {each['architecture']} {own} "
            f"--epochs {each['epochs']} -o {str(each['given']).rstrip('/')}"
        )
    return "\n".join(lines)


def _list(parts: Any) -> str:
    parts = list(parts)
    return ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else "".join(parts)
