"""What an attack costs besides the forward passes: processor time over that of the passes it needed, on one core.

    python benchmarks/attack_cost.py                          the shipped mnist99
    python benchmarks/attack_cost.py --classifier net/ --images 256 --rounds 200

Images that are never fooled within the limit keep the calls of the classifier full, as a long attack does; so the limit
is one gray level. Passes are timed in the same process, in between, in calls of the same size.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

from evofool.executors.local import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch is loaded

import torch

from evofool import recipes
from evofool.classifiers import load_classifier
from evofool.contracts import Classifier
from evofool.evasion import evade, victims_of
from evofool.executors.local import one_thread
from evofool.ledger import Ledger
from evofool.recipes import Setting
from evofool.threat import Goal, threat
from report import table
from setting import hardware, load_average

LIMITS = {"linf": 1 / 255, "l2": 0.01, "l0": 1}
RECIPES = (("square", "linf"), ("square", "l2"), ("sparse-rs", "l0"), ("brusle", "l0"), ("genattack", "linf"),
           ("es", "linf"), ("rays", "linf"), ("random", "linf"), ("genepool", "linf"), ("genepool", "l2"),
           ("genepool", "l0"))  # fmt: skip


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", default="mnist99", metavar="SPEC")
    parser.add_argument("--images", type=int, metavar="N", help="(two calls of the classifier)")
    parser.add_argument("--rounds", type=int, default=60, metavar="N", help="queries of each image (60)")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="of which the median is told (3)")
    options = parser.parse_args()
    with one_thread():
        classifier = load_classifier(options.classifier)
        info = classifier.info
        images = options.images or 2 * info.micro_batch
        print(
            f"{hardware()}; load {load_average()}; {info.name}, images of {info.image_shape}, {info.micro_batch} a call"
        )
        rows = []
        for name, norm in RECIPES:
            ratios, own = [], []
            for _ in range(options.turns):
                spent, queries = _attack(classifier, name, norm, images, options.rounds)
                passes = _passes(classifier, queries)
                ratios.append(spent / passes)
                own.append((spent - passes) / queries * 1e6)
            rows.append((f"{name}, {norm}", f"{statistics.median(ratios):.2f}", f"{statistics.median(own):.1f}"))
        passes = _passes(classifier, images * options.rounds) / (images * options.rounds) * 1e6
        print(table(("attack", f"over the passes ({passes:.0f} us an image)", "us of our own a query"), rows))
    return 0


def _images(classifier: Classifier, count: int) -> torch.Tensor:
    """Images with something on them, that differ."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(count, *classifier.info.image_shape, generator=generator) * 255).round() / 255


def _attack(classifier: Classifier, name: str, norm: str, count: int, rounds: int) -> tuple[float, int]:
    """Processor seconds of an attack, and how many queries it made."""
    info = classifier.info
    x = _images(classifier, count)
    limit = threat(norm, LIMITS[norm], info.image_shape)
    goal = Goal(targeted=False)
    ledger = Ledger(classifier, searches=count, budget=rounds + 1, cache=False)
    clean = ledger.ask(x, torch.arange(count)).scores
    victims = victims_of(x, clean.argmax(1), clean, goal.objective, info)
    arguments = {"independent": True} if name == "genepool" else {}
    algorithm = recipes.algorithm(name, Setting(limit, goal, rounds + 1, info), arguments)
    before = int(ledger.counts.issued.sum())
    began = time.process_time()
    evade(
        victims,
        accounts=torch.arange(count),
        seeds=[0] * count,
        algorithm=algorithm,
        encoding=limit.encoding,
        objective=goal.objective,
        criterion=goal.criterion,
        ledger=ledger,
    )
    return time.process_time() - began, int(ledger.counts.issued.sum()) - before


def _passes(classifier: Classifier, count: int) -> float:
    """Processor seconds of so many forward passes, in full calls."""
    size = classifier.info.micro_batch
    x = _images(classifier, size)
    classifier(x)
    calls = max(1, count // size)
    began = time.process_time()
    for _ in range(calls):
        classifier(x)
    return (time.process_time() - began) * count / (calls * size)


if __name__ == "__main__":
    raise SystemExit(main())
