"""What an attack takes beside the forward passes that it needs: on one core, in the network's best layout and batch.

    python benchmarks/attack_speed.py --nets nets -o speed.json
    python docs/make_attacks.py --speed speed.json

Processor time, so that other programs do not count; the least of some repetitions. All between the images and the
result counts: what is drawn, decoded, counted in the ledger and sorted out. The networks are those of
`attack_matrix.py`, and so are the images, as many as there are, and the budgets, but for those above 1,000.

What is "own" falls into two: what calls take more than forward passes in the best batch, since few images in the air
make small calls, and these are padded or tried; and all that is no call. The second is much the same for each round,
however many images it asks about: so the fewer are in the air, the more of it falls to each query.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from evofool.executors.local import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch is loaded

import torch

from attack_rows import NETS
from attacks.trial import seconds_of_a_row
from evofool import load_classifier
from evofool.contracts import Classifier
from evofool.data import load_test_images
from evofool.errors import UserError
from evofool.ledger import Ledger
from evofool.studies.attack.assault import assault
from evofool.studies.attack.given import Config
from evofool.threat import threat
from report import table
from setting import hardware, load_average

ROWS: dict[str, tuple[tuple[str, float, str], ...]] = {
    "mnist99": (("linf", 0.3, "genepool"), ("linf", 0.3, "square"), ("linf", 0.3, "random"), ("l0", 10, "genepool")),
    "mnist-cnn": (
        ("linf", 0.15, "genepool"),
        ("linf", 0.15, "square"),
        ("l2", 2.0, "genepool"),
        ("l0", 10, "genepool"),
        ("l0", 10, "sparse-rs"),
        ("l0", 10, "brusle"),
    ),
    "cifar-cnn": (("linf", 8 / 255, "genepool"), ("linf", 8 / 255, "square"), ("l2", 1.0, "genepool")),
}
HEADS = (
    "", "queries", "forward us", "over forward", "own us", "of it calls", "the rest", "rows a round", "rows a call",
    "padded",
)  # fmt: skip


def main() -> int:
    """Measure, print, and write what a page is made from."""
    options = _options()
    torch.set_num_threads(1)
    rows = []
    for name, each in ROWS.items():
        net = NETS[name]
        classifier = load_classifier(options.nets / name if net.command else name)
        data = net.data if net.data == "mnist" else str(options.cifar or options.nets / "cifar10-200.zip")
        images = load_test_images(data, data_dir=options.data_dir, image_shape=classifier.info.image_shape)
        x, labels = images.images[: options.images].float() / 255, images.labels[: options.images]
        for norm, size, recipe in each:
            config = Config(name, data, norm, size, recipe=recipe, budget=options.budget, cache=False)
            rows.append(_measured(classifier, x, labels, config, options.repeat))
    print(*(f"{name}: {value}" for name, value in hardware().items()), f"load: {load_average():.1f}", sep="\n")
    table(HEADS, [
        (f"{row['net']} {row['limit']} {row['recipe']}", f"{row['queries']:,}", f"{row['forward microseconds']:.0f}",
         f"{row['over the forward passes']:.2f}", f"{row['own microseconds']:.1f}",
         f"{row['of it in calls']:.1f}", f"{row['of it outside']:.1f}", f"{row['rows in a round']:.0f}",
         f"{row['rows in a call']:.0f}", f"{row['padded']:.1%}")
        for row in rows
    ])  # fmt: skip
    if options.out:
        more = f"--images {options.images} --budget {options.budget} --repeat {options.repeat}"
        command = f"python benchmarks/attack_speed.py {more}"
        options.out.write_text(json.dumps({"command": command, "hardware": hardware(), "rows": rows}, indent=1) + "\n")
    return 0


class Timed:
    """A classifier, with what its calls take; it is asked as it would be without.

    Attributes:
        seconds: of the processor.
        calls: how many.
    """

    def __init__(self, classifier: Classifier):
        self.info = classifier.info
        self.steady = getattr(classifier, "steady", False)
        self.seconds, self.calls = 0.0, 0
        self._classifier = classifier

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """What the classifier answers."""
        began = time.process_time()
        scores = self._classifier(images)
        self.seconds += time.process_time() - began
        self.calls += 1
        return scores


class Once(NamedTuple):
    """One attack.

    Attributes:
        seconds, inside: of the processor, in all and in calls.
        queries, padded, calls, rounds: how many.
    """

    seconds: float
    inside: float
    queries: int
    padded: int
    calls: int
    rounds: int


def _once(classifier: Classifier, x: torch.Tensor, labels: torch.Tensor, config: Config) -> Once:
    timed, rounds = Timed(classifier), 0

    def counted(over: int, fooled: int) -> None:
        nonlocal rounds
        rounds += 1

    names = [f"image {row}" for row in range(len(x))]
    ledger = Ledger(timed, searches=names, budget=config.budget, cache=False)
    began = time.process_time()
    assault(x, labels, config=config, ledger=ledger, on_round=counted)
    seconds = time.process_time() - began
    queries = sum(count["issued"] for count in ledger.store.counts().values())
    return Once(seconds, timed.seconds, queries, ledger.store.padded(), timed.calls, max(1, rounds - 1))


def _measured(
    classifier: Classifier, x: torch.Tensor, labels: torch.Tensor, config: Config, repeat: int
) -> dict[str, Any]:
    """One row: the least time of an attack, and the least of the forward passes, measured by turns."""
    found, forward = [], []
    for _ in range(repeat):
        found.append(_once(classifier, x, labels, config))
        forward.append(seconds_of_a_row(classifier, x)[1])
    best, each = min(found, key=lambda once: once.seconds), min(forward)
    inside = best.inside / best.queries - each
    return {
        "net": config.classifier,
        "limit": threat(config.norm, config.size, classifier.info.image_shape).described(),
        "recipe": config.recipe,
        "queries": best.queries,
        "forward microseconds": round(each * 1e6, 2),
        "over the forward passes": round(best.seconds / (each * best.queries), 3),
        "own microseconds": round((best.seconds / best.queries - each) * 1e6, 2),
        "of it in calls": round(inside * 1e6, 2),
        "of it outside": round((best.seconds - best.inside) / best.queries * 1e6, 2),
        "rows in a round": round((best.queries - len(x)) / best.rounds, 1),
        "rows in a call": round((best.queries + best.padded) / best.calls, 1),
        "padded": round(best.padded / best.queries, 4),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", metavar="DIR", type=Path, required=True, help="the networks")
    parser.add_argument("--cifar", metavar="ZIP", type=Path, help="images of CIFAR-10 (NETS/cifar10-200.zip)")
    parser.add_argument("--data-dir", metavar="DIR", help="where the files of MNIST lie")
    parser.add_argument("--images", metavar="N", type=int, default=500, help="(%(default)s)")
    parser.add_argument("--budget", metavar="N", type=int, default=1000, help="queries of an image (%(default)s)")
    parser.add_argument("--repeat", metavar="N", type=int, default=2, help="(%(default)s)")
    parser.add_argument("-o", dest="out", metavar="FILE", type=Path, help="what a page is made from")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
