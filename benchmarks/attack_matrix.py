"""All runs of the comparison of attacks, one after another; what is finished is left alone, the rest is taken up.

    python benchmarks/attack_matrix.py --nets nets --runs runs/attacks --dry-run
    python benchmarks/attack_matrix.py --nets nets --runs runs/attacks --cifar cifar10.zip --jobs 2

The folder of --nets holds the networks; made by

{commands}

and from the zip of --cifar, which has test/CLASS/*.jpg, the images to attack are packed there. Each run is a directory
of `evofool attack`, or of `attack_peers.py`, which needs `.venv-bench` (`make bench-attacks` makes it). --only takes a
part of the name of a run, such as mnist-cnn-linf-0.3-1000/ or /genepool, or a part of the comparison: bars, matrix,
ablation, transfer.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from attack_rows import NETS, Job, Limit, Net, jobs
from evofool import load_classifier, rundir
from evofool.errors import UserError

HERE = Path(__file__).resolve().parent
BENCH = HERE.parent / ".venv-bench" / "bin" / "python"
LABELS_ONLY = HERE / "labels_only.py"
PARTS = ("bars", "matrix", "ablation", "transfer")
OURS = 10  # microseconds of a query that are not the network's, to reckon with
SLOW = {"torchattacks one-pixel": 4, "art pixel": 13, "art square": 6, "foolbox genattack": 12, "torchattacks pixle": 4,
        "torchattacks square": 2}  # times the forward passes, to reckon with  # fmt: skip
SHUFFLED = 1  # the seed of the list of CIFAR-10 images


def main() -> int:
    """Run what is left to run."""
    options = _options()
    chosen = [job for job in jobs() if _wanted(job, options.only)]
    if options.seeds:
        chosen = [job for job in chosen if job.seed < options.seeds]
    chosen = [_cut(job, options) for job in chosen]
    chosen = list({job.folder: job for job in chosen}.values())
    left = [job for job in chosen if not _finished(options.runs / job.folder)]
    print(f"{len(chosen)} runs, {len(chosen) - len(left)} finished, {len(left)} to do")
    if options.dry_run:
        _reckon(left, options)
        return 0
    for data in sorted({_data(job) for job in left} - {"mnist"}):
        if not (options.nets / data).exists():
            if not options.cifar:
                raise UserError(f"{options.nets / data}: is not there; name the zip of all images with --cifar")
            _pack(options.cifar, options.nets / data, int(data.removesuffix(".zip").rpartition("-")[2]))
    failed, lock = [], threading.Lock()

    def carry_out(number: int, job: Job) -> None:
        began = time.perf_counter()
        words = _run(job, options)
        with lock:
            print(
                f"[{number}/{len(left)}] {job.folder}: {words or 'done'}, {time.perf_counter() - began:.0f} s",
                flush=True,
            )
            if words:
                failed.append(job.folder)

    with ThreadPoolExecutor(options.jobs) as workers:
        for done in [workers.submit(carry_out, number, job) for number, job in enumerate(left, 1)]:
            done.result()
    if failed:
        print("not done:", *failed, sep="\n  ")
    return 1 if failed else 0


def _wanted(job: Job, patterns: Sequence[str]) -> bool:
    return not patterns or any(
        pattern == job.why or (pattern not in PARTS and pattern in job.folder) for pattern in patterns
    )


def _cut(job: Job, options: argparse.Namespace) -> Job:
    """The same with fewer images and queries, if so many are said."""

    def cut(limit: Limit) -> Limit:
        images, budget = options.images or limit.images, options.budget or limit.budget
        return limit._replace(images=min(limit.images, images), budget=min(limit.budget, budget))

    return job._replace(limit=cut(job.limit), pool=job.pool and cut(job.pool))


def _finished(path: Path) -> bool:
    return path.exists() and rundir.finished(path)


def _data(job: Job) -> str:
    """Of CIFAR-10 a zip of as many images as are asked for."""
    data = NETS[job.limit.net].data
    return data if data == "mnist" else f"{data}-{job.limit.images}.zip"


def _run(job: Job, options: argparse.Namespace) -> str:
    """Carry out a run; "" or what went wrong."""
    net, out = NETS[job.limit.net], (options.runs / job.folder).absolute()
    program = [sys.executable, "-c", "from evofool.cli import main; main()"]
    trust = ["--trust-code"] if net.labels else []
    if out.exists() and not job.peer:
        words = [*program, "resume", str(out), "--workers", "1", "--quiet", *trust]
    elif job.peer:
        if out.exists():
            return f"{out} holds a part of a run, and a peer cannot go on: remove it"
        words = [str(BENCH), str(HERE / "attack_peers.py"), "--peers", job.attack, "-o", str(out.parent)]
        words += ["--count", str(job.limit.images), "--size", str(job.limit.size), *_asked(job, options)]
    else:
        words = [*program, "attack", "--no-cache", "--shuffle", "--workers", "1", "--quiet", "-o", str(out), *trust]
        name = "--pixels" if job.limit.norm == "l0" else "--eps"
        words += ["--images", str(job.limit.images), name, str(job.limit.size), "--recipe", job.attack]
        words += _asked(job, options)
        words += [word for key, value in job.arguments.items() for word in ("--set", f"{key}={_json(value)}")]
        if job.pool:
            source = Job(job.pool, "genepool").folder
            pool = (options.runs / source).absolute() / "pool.safetensors"
            if not pool.exists():
                return f"needs the run {source}"
            words += ["--pool", str(pool)]
    settings = {**os.environ, "EVOFOOL_NET": net.folder}
    done = subprocess.run(words, cwd=options.nets, env=settings, capture_output=True, text=True)
    said = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.returncode == 0 else f"exit code {done.returncode}: {said[-1] if said else 'nothing said'}"


def _asked(job: Job, options: argparse.Namespace) -> list[str]:
    """What is said to recipes and peers alike."""
    limit, net = job.limit, NETS[job.limit.net]
    words = ["--classifier", f"{LABELS_ONLY}:network" if net.labels else net.folder, "--data", _data(job)]
    words += ["--norm", limit.norm, "--budget", str(limit.budget), "--seed", str(job.seed), "--first", str(job.first)]
    words += ["--target", limit.target] if limit.target else []
    return words + (
        ["--data-dir", str(options.data_dir.absolute())] if options.data_dir and net.data == "mnist" else []
    )


def _json(value: object) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _pack(source: Path, target: Path, count: int) -> None:
    """The first images of a shuffled list of all test images, always the same ones."""
    with zipfile.ZipFile(source) as whole:
        names = sorted(name for name in whole.namelist() if "test/" in name and not name.endswith("/"))
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(SHUFFLED))[:count]
        with zipfile.ZipFile(target, "w") as part:
            for name in sorted(names[number] for number in order.tolist()):
                part.writestr(zipfile.ZipInfo(name[name.index("test/") :]), whole.read(name))
    print(f"{target}: {count} of {len(names):,} test images")


# What it will cost ------------------------------------------------------------------------------------------------


def _reckon(left: Sequence[Job], options: argparse.Namespace) -> None:
    """Say for each run what it will about take, and for all."""
    torch.set_num_threads(1)
    speed: dict[str, float] = {}
    total = 0.0
    for job in left:
        net = NETS[job.limit.net]
        if net.folder not in speed:
            speed[net.folder] = _microseconds(net, options.nets)
        forward = speed[net.folder]
        queries = job.limit.images * min(job.limit.mean, job.limit.budget)
        each = forward * SLOW[job.attack] if job.peer else forward + OURS
        seconds = queries * each / 1e6 + 5
        total += seconds
        most = job.limit.images * job.limit.budget
        print(f"{job.why:8}  {job.folder:60}  {job.limit.images:4} images  {queries:9,} queries (at most {most:9,})  "
              f"{each:6.0f} us  {seconds:7.0f} s")  # fmt: skip
    print(f"about {total / 60:.0f} minutes of one core, {total / 60 / options.jobs:.0f} with {options.jobs} at a time")


def _microseconds(net: Net, nets: Path) -> float:
    """Of an image in the batch that the network likes best."""
    classifier = load_classifier(nets / net.folder if net.command else net.folder)
    images = torch.rand(classifier.info.micro_batch, *classifier.info.image_shape)
    seconds = []
    for _ in range(4):
        began = time.process_time()
        classifier(images)
        seconds.append(time.process_time() - began)
    return min(seconds) / len(images) * 1e6


def _options() -> argparse.Namespace:
    made = "\n".join(f"    {command}" for command in dict.fromkeys(net.command for net in NETS.values()) if command)
    words = (__doc__ or "").replace("{commands}", made)
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", metavar="DIR", type=Path, required=True, help="the networks")
    parser.add_argument("--runs", metavar="DIR", type=Path, default=Path("runs/attacks"), help="(%(default)s)")
    parser.add_argument("--cifar", metavar="ZIP", type=Path, help="all images of CIFAR-10")
    parser.add_argument("--data-dir", metavar="DIR", type=Path, help="where the files of MNIST lie")
    parser.add_argument("--only", metavar="PATTERN", action="append", default=[], help="some runs; repeatable")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="at a time (%(default)s)")
    parser.add_argument("--images", metavar="N", type=int, help="no more than so many in a run")
    parser.add_argument("--seeds", metavar="N", type=int, help="no more than so many of them")
    parser.add_argument("--budget", metavar="N", type=int, help="no more queries of an image than so many")
    parser.add_argument("--dry-run", action="store_true", help="say what there is to do and what it costs")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
