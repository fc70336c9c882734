"""Other libraries attack the same images under the same budget, every query counted outside of them.

    python benchmarks/attack_peers.py --like runs/a -o runs/peers       the images, limit and budget of a run of ours
    python benchmarks/attack_peers.py --norm l2 --size 2 -o runs/peers  images of a data set

Each peer leaves a run directory in the folder that -o names, for `evofool verify` and `evofool compare`. A success
counts only as it is on disk, within the limit; see benchmarks/attacks/. It needs `.venv-bench`, which
`make bench-attacks` makes.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import warnings
from pathlib import Path

from evofool.executors.local import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch is loaded

import torch

from attacks.keeping import Question, asked, keep, like
from attacks.peers import PEERS, Peer
from attacks.trial import Trial, attempt
from evofool.errors import UserError
from evofool.reports.attack_tables import analyse
from evofool.studies.attack.given import Config
from evofool.studies.attack.results import Results
from report import table
from setting import hardware, load_average

HEADS = ("", "images", "success", "95% interval", "mean", "median", "issued", "distinct", "lost on disk",
         "beyond limit", "wall / forward", "processor")  # fmt: skip


def main() -> int:
    """Let the chosen peers attack, and print what came out."""
    options = _options()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # peers divide by zero
    question = _question(options)
    print(*(f"{name}: {value}" for name, value in hardware().items()), f"load: {load_average():.1f}", sep="\n")
    chosen = [peer for peer in PEERS if peer.can(question.threat, targeted=question.goal.targeted)]
    if options.peers:
        chosen = [peer for peer in chosen if peer.name in options.peers.split(",")]
    if not chosen:
        raise UserError(f"no peer knows {question.threat.described()}, {question.words}")
    rows = []
    for peer in chosen:
        trial = attempt(peer, question.classifier, question.aim, seed=question.seed)
        results = keep(options.out / _folder(peer, question), peer, question, trial, _command(question, peer, options))
        rows.append(_row(results, trial))
        for error, images in trial.crashes:
            print(f"{peer.name} broke down before {images} image{'s' * (images != 1)}: {error}")
    print(f"\n{question.threat.described()}, {question.words}, budget {question.budget:,}, {question.name}\n")
    table(HEADS, rows)
    return 0


def _question(options: argparse.Namespace) -> Question:
    if options.like:
        return like(options.like, floats=options.floats, trust_code=options.trust_code)
    config = Config(
        options.classifier, options.data, options.norm, options.size, budget=options.budget, first=options.first,
        images=options.count, target=options.target, seed=options.seed, data_dir=options.data_dir,
    )  # fmt: skip
    return asked(config, floats=options.floats)


def _folder(peer: Peer, question: Question) -> str:
    return peer.name.replace(" ", "-") + ("-floats" if question.floats else "") + f"-{question.seed}"


def _command(question: Question, peer: Peer, options: argparse.Namespace) -> str:
    words = ["python", "benchmarks/attack_peers.py", "--peers", peer.name]
    if options.like:
        words += ["--like", str(options.like)]
    else:
        names = ("classifier", "data", "data_dir", "first", "count", "norm", "size", "target", "budget", "seed")
        for name in names:
            value = getattr(options, name)
            words += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
    return shlex.join([*words, *(["--floats"] if question.floats else []), "-o", "DIR"])


def _row(results: Results, trial: Trial) -> list[str]:
    numbers = analyse(results)
    success = numbers.success
    assert success is None or success.interval is not None, "no peer carries anything from image to image"
    told = [results.recipe["name"], str(len(numbers.attacked))]
    if success is None or numbers.mean is None or numbers.median is None:
        return [*told, *["-"] * (len(HEADS) - 2)]
    return [
        *told,
        f"{success.estimate:.1%}",
        f"{success.interval.low:.1%} to {success.interval.high:.1%}",
        f"{numbers.mean:.1f}",
        f"{numbers.median:.0f}",
        f"{results.queries():,}",
        f"{results.ledger['distinct']:,}",
        str(results.ledger["lost on disk"]),
        str(results.ledger["beyond the limit"]),
        f"{trial.wall.ratio:.2f}",
        f"{trial.processor.ratio:.2f}",
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--like", metavar="RUN", type=Path, help="a finished run of evofool attack")
    parser.add_argument("--trust-code", action="store_true", help="load the classifier of --like though it runs code")
    parser.add_argument("--classifier", default="mnist99", help="(%(default)s)")
    parser.add_argument("--data", default="mnist", help="(%(default)s)")
    parser.add_argument("--data-dir", metavar="FOLDER", help="where named data lie")
    parser.add_argument("--first", metavar="N", type=int, default=0, help="the first image (%(default)s)")
    parser.add_argument("--count", metavar="N", type=int, default=100, help="images (%(default)s)")
    parser.add_argument("--norm", choices=("linf", "l2", "l0"), default="linf", help="(%(default)s)")
    parser.add_argument("--size", metavar="X", type=float, default=0.3, help="eps, or pixels (%(default)s)")
    parser.add_argument("--target", metavar="CLASS", help="random, least-likely, or a class (any but its own)")
    parser.add_argument("--budget", metavar="N", type=int, default=1000, help="queries of an image (%(default)s)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--peers", metavar="A,B", default="", help=f"some of: {', '.join(_names())} (all that can)")
    parser.add_argument("--floats", action="store_true", help="send images as they come, not as files hold them")
    parser.add_argument("-o", dest="out", metavar="DIR", type=Path, default=Path("runs/peers"), help="(%(default)s)")
    options = parser.parse_args()
    for name in options.peers.split(",") if options.peers else []:
        if name not in _names():
            parser.error(f"unknown peer '{name}'; expected some of {', '.join(_names())}")
    return options


def _names() -> list[str]:
    return list(dict.fromkeys(peer.name for peer in PEERS))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
