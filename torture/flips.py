"""Bits that flip and pages that turn to zeros: `rundir.damage` sees it, or nothing that is read has changed.

Three runs are harmed: one that was closed in order, one that was killed while its books lie in the write-ahead log, and
one that was killed with half of them there and half of them in the database.
"""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch

import searcher
from bars import Outcome
from cuts import CONFIG, killed
from evofool import rundir
from evofool.errors import EvofoolError

PAGE = 4096
# A total that does not bind: answers of finished arms stay.
SLACK = dataclasses.replace(CONFIG, total=100_000)


def artifacts(where: Path) -> dict[str, Path]:
    """Runs to be harmed, by what happened to them."""
    searcher.go(where / "closed", SLACK)
    killed(where / "killed", "saved", SLACK)
    killed(where / "killed twice", "answered", SLACK)
    # Opened and let go: what was in the log is in the database now, and the next session writes a log of its own.
    run = rundir.RunDirectory.open(where / "killed twice")
    run.abandon()
    held = rundir.RunDirectory.open(where / "killed twice")
    held.store.note("a session that was killed")
    shutil.copytree(where / "killed twice", where / "killed later")  # as it is while somebody works on it
    held.abandon()
    shutil.rmtree(where / "killed twice")
    return {name: where / name for name in ("closed", "killed", "killed later")}


def outcome_of(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """All that is read from a run as it lies there, and from its end when it goes on."""
    said = searcher.reading(path)
    searcher.go(path)
    end = searcher.reading(path)
    end.pop("sessions")
    return said, end


def harm(path: Path, kind: str, draw: random.Random) -> str | None:
    """Flip one bit, or zero one page; says where. None where that page was zeros already."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.stat().st_size)
    # Half of the harm goes by size, most of it to the ledger then; half goes to each file alike.
    sizes = [file.stat().st_size for file in files]
    file = draw.choices(files, sizes)[0] if draw.random() < 0.5 else draw.choice(files)
    content = bytearray(file.read_bytes())
    if kind == "flip":
        at, bit = draw.randrange(len(content)), draw.randrange(8)
        content[at] ^= 1 << bit
        where = f"bit {bit} of byte {at}"
    else:
        at = draw.randrange((len(content) + PAGE - 1) // PAGE) * PAGE
        end = min(at + PAGE, len(content))
        if not any(content[at:end]):
            return None
        content[at:end] = bytes(end - at)
        where = f"zeros from {at}"
    file.write_bytes(content)
    return f"{file.relative_to(path).as_posix()} ({len(content)}): {where}"


def run(*, short: bool, seed: int = 0) -> Outcome:
    """Harm copies, one at a time."""
    torch.set_num_threads(1)
    outcome = Outcome()
    draw = random.Random(seed)
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    wanted = 25 if short else 1000
    silent: list[str] = []
    untidy: list[str] = []
    seen: Counter[str] = Counter()
    harmless: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="torture-flips-", dir=place) as folder:
        where = Path(folder)
        origins = artifacts(where)
        expected = {}
        for name, origin in origins.items():
            copy = where / "copy"
            shutil.copytree(origin, copy)
            assert not rundir.damage(copy), f"{name} is damaged before any harm: {rundir.damage(copy)}"
            shutil.rmtree(copy)
            shutil.copytree(origin, copy)
            expected[name] = outcome_of(copy)
            shutil.rmtree(copy)
        for kind in ("flip", "page"):
            done = 0
            while done < wanted:
                name = draw.choice(list(origins))
                copy, second = where / "copy", where / "second"
                shutil.copytree(origins[name], copy)
                what = harm(copy, kind, draw)
                if what is None:
                    shutil.rmtree(copy)
                    continue
                done += 1
                what = f"{name}: {what}"
                shutil.copytree(copy, second)
                try:
                    found = rundir.damage(second)
                except EvofoolError as error:
                    found = [str(error)]
                except Exception as error:
                    found = []
                    untidy.append(f"{what}: {type(error).__name__}: {error}")
                if found:
                    seen[kind] += 1
                else:
                    try:
                        said = outcome_of(copy)
                        parts = [
                            part
                            for ours, theirs in zip(said, expected[name], strict=True)
                            for part in theirs
                            if ours[part] != theirs[part]
                        ]
                        if parts:
                            silent.append(f"{what}: {', '.join(parts)} changed, and nothing was found")
                        else:
                            harmless[kind] += 1
                    except EvofoolError as error:
                        silent.append(f"{what}: nothing was found, but resume said: {error}")
                    except Exception as error:
                        untidy.append(f"{what}: {type(error).__name__}: {error}")
                shutil.rmtree(copy)
                shutil.rmtree(second)
    outcome.figures = {
        "flipped bits": wanted,
        "flipped bits detected": seen["flip"],
        "flipped bits without effect": harmless["flip"],
        "zeroed pages": wanted,
        "zeroed pages detected": seen["page"],
        "zeroed pages without effect": harmless["page"],
        "changes that nobody saw": len(silent),
    }
    outcome.none("changes that nobody saw", silent, 2 * wanted)
    outcome.none("errors that were not meant for a user", untidy, 2 * wanted)
    outcome.at_least("flipped bits detected", seen["flip"], wanted // 2)
    outcome.at_least("zeroed pages detected", seen["page"], wanted // 2)
    return outcome
