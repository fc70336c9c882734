"""Everything that may happen to a run, done to it: `python torture/run.py [--only NAME,...] [--short] [--json FILE]`.

Each section does the harm itself, sees that it was done, and then looks whether what is promised still holds. The exit
code is 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import sqlite3
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evofool.executors.local import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch is loaded, and for the processes that sections start

SECTIONS = {
    "kills": "kill -9 at random moments: the same end, and no budget exceeded",
    "counting": "a classifier that counts for itself, with kills, timeouts and retries",
    "cuts": "the write-ahead log, checkpoints and the manifest, cut at every byte of their last 4 kB",
    "flips": "flipped bits and zeroed pages: seen, or without effect",
    "faults": "a full disk, a failing one, permissions, open files, a clock that jumps back, a target that fails",
    "locks": "a dead owner's lock is taken over, a live one's respected",
    "long": "100,000 generations: memory and file handles",
    "same": "batch 1, 7, 64, searches side by side, 1 or 4 workers: the same results",
    "cost": "what it costs to write everything down",
}


def main() -> int:
    """Run the chosen sections and print them as they end."""
    options = _options()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has its children ignore it
    results: dict[str, Any] = {}
    missed = 0
    for name in options.only:
        print(f"=== {name}: {SECTIONS[name]}\n", flush=True)
        started = time.monotonic()
        outcome = _section(name, short=options.short)
        seconds = time.monotonic() - started
        print(*outcome.bars, *(f"        {note}" for note in outcome.notes), sep="\n")
        print(f"        {json.dumps(outcome.figures)}\n        {seconds:.0f} s\n", flush=True)
        missed += sum(not bar.met for bar in outcome.bars) or int(not outcome.bars)
        results[name] = {**asdict(outcome), "met": outcome.met, "seconds": round(seconds, 1)}
        if options.json:
            _write(options.json, results, short=options.short)
    print(f"{missed} bars missed" if missed else "no bar missed")
    return int(bool(missed))


def _section(name: str, *, short: bool) -> Any:
    """What a section came to; one that breaks has missed its bar."""
    from bars import Bar, Outcome

    try:
        return importlib.import_module(name).run(short=short)
    except Exception as error:
        traceback.print_exc()
        return Outcome([Bar("the section itself", f"{type(error).__name__}: {error}", "no exception", False)])


def _write(file: Path, results: dict[str, Any], *, short: bool) -> None:
    """Write what is known; sections of an earlier run of the same kind stay."""
    import torch

    before: dict[str, Any] = {}
    if file.is_file():
        content = json.loads(file.read_text())
        before = content["sections"] if content["short"] == short else {}
    content = {
        "date": time.strftime("%Y-%m-%d"),
        "short": short,
        "machine": {
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "sqlite": sqlite3.sqlite_version,
        },
        "sections": {**before, **results},
    }
    file.write_text(json.dumps(content, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = "sections:\n" + "\n".join(f"  {name:9} {about}" for name, about in SECTIONS.items())
    parser.add_argument("--only", metavar="NAME,...", help="sections to run (all)", default=",".join(SECTIONS))
    parser.add_argument("--short", action="store_true", help="few repetitions: to see that it works")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write everything here")
    options = parser.parse_args()
    options.only = options.only.split(",")
    for name in options.only:
        if name not in SECTIONS:
            parser.error(f"unknown section '{name}'; expected some of {', '.join(SECTIONS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
