"""Kills at random moments: whatever was reached, the run goes on to the same end.

Two kinds of runs are killed: those of `searcher`, in processes forked from this one, and operator studies on the
command line, in processes of their own. Each has a twin that was never killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import searcher
from bars import Outcome
from evofool import rundir
from evofool.errors import EvofoolError
from searcher import Config

APART = ("counts", "sessions")  # of a reading: the ledger's own section
EARLY = "before run.json"  # a kill there is none in mid-run
RESUMES = 60  # of one run; more means that it never ends


def configurations(short: bool) -> list[Config]:
    """Every algorithm alone, all of them in one run, side by side, metered, in several processes, without a cache."""
    arms = tuple(searcher.arms())
    small = Config(generations=8 if short else 14, pause=0.002)
    alone = [dataclasses.replace(small, arms=(arm,), seed=number, every=0.02) for number, arm in enumerate(arms)]
    together = dataclasses.replace(small, arms=arms, generations=5)
    others = [
        together,
        dataclasses.replace(together, workers=2, seed=3),
        dataclasses.replace(small, arms=arms[:2], metered=True, micro_batch=3, concurrency=3, seed=5),
        dataclasses.replace(small, arms=arms[1:3], cache=False, searches=5, seed=7),
    ]
    return [*others, *alone]


def budgets(config: Config, issued: dict[str, int]) -> list[Config]:
    """The same run with budgets that end it early: of each search, of the whole run, and both."""
    each, total = max(2, int(0.6 * max(issued.values()))), max(2, int(0.5 * sum(issued.values())))
    return [
        dataclasses.replace(config, budget=each),
        dataclasses.replace(config, total=total),
        dataclasses.replace(config, budget=each, total=total),
    ]


def fork(work: Callable[[], None], log: Path) -> int:
    """A process for a piece of work; it says on `log` what went wrong, and its exit code is that of the error."""
    pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):  # whoever of the two comes first
            os.setpgid(pid, pid)
        return pid
    try:
        os.setpgid(0, 0)  # with all its workers it can be killed as a group
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 2)
        work()
        os._exit(0)
    except EvofoolError as error:
        os.write(2, f"evofool: {error}\n".encode())
        os._exit(error.exit_code)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)


def kill(pid: int, *, group: bool) -> None:
    """Kill -9 a process that `fork` made, alone or with its workers at the same moment."""
    (os.killpg if group else os.kill)(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def wait(pid: int, seconds: float) -> int | None:
    """The exit code of a process if it ends within some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.0005)


@dataclasses.dataclass
class Killed:
    """What the kills of one run came to.

    Attributes:
        landed: kills of a process that was in the middle of it.
        places: what was found lying about after them.
        errors: a start that did not go on, with its words.
    """

    landed: int = 0
    places: Counter[str] = dataclasses.field(default_factory=Counter)
    errors: list[str] = dataclasses.field(default_factory=list)


def kill_often(path: Path, config: Config, kills: int, span: float, draw: random.Random) -> Killed:
    """Run to the end, with so many kills on the way, each within `span` seconds of a start."""
    killed = Killed()
    log = path.with_name(f"{path.name}.log")
    for _ in range(RESUMES + kills):
        pid = fork(lambda: searcher.go(path, config) and None, log)
        code = None
        if killed.landed < kills:
            code = wait(pid, draw.uniform(0, span))
            if code is None:
                kill(pid, group=draw.random() < 0.5)
                where = place(path)
                killed.places[where] += 1
                killed.landed += where != EARLY
                continue
        code = wait(pid, 60.0) if code is None else code
        if code == 0:
            return killed
        if code is None:
            kill(pid, group=True)
        words = log.read_text().strip().splitlines() or ["no word"]
        killed.errors.append(f"{path.name}: ended with {code}: {words[-1]}")
        return killed
    killed.errors.append(f"{path.name}: did not end after {RESUMES} starts")
    return killed


def place(path: Path) -> str:
    """Where a kill landed, by what lies about."""
    if not (path / "run.json").is_file():
        return EARLY
    names = [file.name for file in path.rglob("*")]
    if any(".tmp-" in name for name in names):
        return "while a file was written"
    if not any(name == "ledger.sqlite" for name in names):
        return "before the ledger"
    if "findings.jsonl" in names:
        return "at the close"
    cards = {name.removesuffix(".json") for name in names if name.endswith(".json")}
    states = [
        name.removesuffix(".safetensors") for name in names if name.endswith((".0.safetensors", ".1.safetensors"))
    ]
    if any(state not in cards for state in states):
        return "between the two files of a checkpoint"
    return "in a search"


def run_searcher(where: Path, wanted: int, least_runs: int, draw: random.Random, *, short: bool) -> Outcome:
    """Kill runs of `searcher` until enough kills have landed in enough runs."""
    outcome = Outcome()
    twins: dict[Config, tuple[dict[str, Any], float]] = {}
    plain = configurations(short)
    landed = runs = binding = 0
    places: Counter[str] = Counter()
    unreadable: list[str] = []
    different: list[str] = []
    beyond: list[str] = []
    no_prefix: list[str] = []
    miscounted: list[str] = []
    lost = queries = 0
    each = 3 if short else 8
    while landed < wanted or runs < least_runs:
        config = plain[runs % len(plain)]
        if config not in twins:
            twin = where / f"twin-{len(twins)}"
            started = time.monotonic()
            code = wait(fork(lambda t=twin, c=config: searcher.go(t, c) and None, where / "twin.log"), 120.0)
            if code != 0:
                raise RuntimeError(f"the twin of {config} ended with {code}: {(where / 'twin.log').read_text()}")
            twins[config] = (searcher.reading(twin), time.monotonic() - started)
        said, took = twins[config]
        tight = runs % 3 == 2  # every third run is one with budgets that bind
        actual = config
        if tight:
            issued = {search: count["issued"] for search, count in said["counts"]["accounts"].items()}
            actual = draw.choice(budgets(config, issued))
        path = where / f"run-{runs}"
        killed = kill_often(path, actual, each, took * 1.2 / each * 2, draw)
        runs += 1
        landed += killed.landed
        places += killed.places
        unreadable += killed.errors
        if killed.errors:
            continue
        try:
            unreadable += [f"{path.name}: {line}" for line in rundir.damage(path)]
            now = searcher.reading(path)
        except EvofoolError as error:
            unreadable.append(f"{path.name}: {error}")
            continue
        accounts = now["counts"]["accounts"]
        lost += sum(count["lost"] for count in accounts.values())
        queries += sum(count["issued"] for count in accounts.values())
        if tight:
            binding += 1
            beyond += over_budget(path.name, actual, accounts)
            no_prefix += [f"{path.name}: {line}" for line in not_prefix(now["events"], said["events"])]
        else:
            parts = [part for part in said if part not in APART and now[part] != said[part]]
            different += [f"{path.name} ({actual}): {', '.join(parts)} differ"] if parts else []
            miscounted += [f"{path.name}: {line}" for line in other_counts(accounts, said["counts"]["accounts"])]
        shutil.rmtree(path)
    outcome.figures = {
        "kills": landed,
        "runs": runs,
        "runs with binding budgets": binding,
        "queries": queries,
        "queries lost": lost,
        "where": dict(places),
        "algorithms": sorted(searcher.arms()),
    }
    outcome.at_least("kills that landed in mid-run", landed, wanted)
    outcome.at_least("runs", runs, least_runs)
    outcome.none("states that could not be read", unreadable, landed)
    outcome.none("slack budgets: runs that ended otherwise", different, runs - binding)
    outcome.none("slack budgets: counts that differ by more than what was lost", miscounted, runs - binding)
    outcome.none("binding budgets: searches that are no prefix of what is reached without", no_prefix, binding)
    outcome.none("binding budgets: exceeded", beyond, binding)
    return outcome


def over_budget(name: str, config: Config, accounts: dict[str, dict[str, int]]) -> list[str]:
    """Where more was charged than allowed."""
    wrong = []
    for account, count in accounts.items():
        if config.budget is not None and count["issued"] > config.budget:
            wrong.append(f"{name}: {account} was charged {count['issued']} of {config.budget}")
    total = sum(count["issued"] for count in accounts.values())
    if config.total is not None and total > config.total:
        wrong.append(f"{name}: the run was charged {total} of {config.total}")
    return wrong


def other_counts(accounts: dict[str, dict[str, int]], twin: dict[str, dict[str, int]]) -> list[str]:
    """Where a killed run counted otherwise than its twin: only what was lost may come on top."""
    wrong = []
    for account, count in accounts.items():
        other = twin[account]
        if count["issued"] - count["lost"] != other["issued"] or any(
            count[column] != other[column] for column in ("answered", "failed", "repeated")
        ):
            wrong.append(f"{account} counted {count}, its twin {other}")
    return wrong


def not_prefix(events: dict[str, list[Any]], twin: dict[str, list[Any]]) -> list[str]:
    """Which searches did something that the run without a budget did not do at that moment; or nothing at all."""
    wrong = []
    for arm, happened in events.items():
        steps: dict[str, list[Any]] = {}
        for event in happened:
            for row, step in event["searches"].items():
                steps.setdefault(row, []).append(step)
        whole: dict[str, list[Any]] = {}
        for event in twin[arm]:
            for row, step in event["searches"].items():
                whole.setdefault(row, []).append(step)
        wrong += [f"{arm}, search {row}" for row in steps if steps[row] != whole[row][: len(steps[row])]]
    return wrong


# The operator study, on the command line --------------------------------------------------------------------------

EVOFOOL = [str(Path(sys.executable).with_name("evofool"))]


def study_verbs() -> bool:
    """Whether this evofool can resume a study."""
    return subprocess.run([*EVOFOOL, "resume", "--help"], capture_output=True, check=False).returncode == 0


def study_command(path: Path, number: int, *, generations: int, budget: int | None = None) -> list[str]:
    """A small study; some with one process, some with two."""
    arms = ("1,5", "8,11", "2,12")[number % 3]
    words = [*EVOFOOL, "study", "operators", "--data", "digits", "--seeds", "2", "-o", str(path), "--quiet"]
    words += ["--set", "population=300", "--set", f"generations={generations}", "--workers", str(1 + number % 2)]
    words += ["--scenarios", scenario_names(arms)]
    return words if budget is None else [*words, "--budget", str(budget)]


def scenario_names(numbers: str) -> str:
    """Names of some of the twelve scenarios."""
    from evofool.studies.operators import scenarios

    names = [scenario.arm.name for scenario in scenarios.scenarios(scenarios.base())]
    return ",".join(names[int(number) - 1] for number in numbers.split(","))


def compared(path: Path) -> dict[str, Any]:
    """What a study leaves, its ledger's section apart: bytes by name."""
    study = json.loads((path / "study.json").read_text())
    study.pop("ledger", None)
    files = {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and (file.name == "findings.jsonl" or file.parent.name == "images")
    }
    return {"study.json": json.dumps(study, sort_keys=False), **files}


def events_of(path: Path) -> dict[str, list[Any]]:
    """The events of a study by chain."""
    from evofool.store import Store

    store = Store(path / "ledger.sqlite")
    try:
        chains = [row[0] for row in store._read("SELECT DISTINCT chain FROM events ORDER BY chain")]
        return {chain: store.events(chain) for chain in chains}
    finally:
        store.abandon()


def accounts_of(path: Path, *, read_only: bool = False) -> dict[str, dict[str, int]]:
    """The accounts of the searches of a study; what is measured around them is asked anew after a kill."""
    from evofool.store import Store

    store = Store(path / "ledger.sqlite", read_only=read_only)
    try:
        return {name: count for name, count in store.counts().items() if name.count("/") == 2}
    finally:
        store.abandon()


def charged(path: Path) -> int:
    """How many queries the searches of a study have been charged so far."""
    try:
        return sum(count["issued"] for count in accounts_of(path, read_only=True).values())
    except (OSError, EvofoolError):
        return 0  # no ledger yet


def await_moment(process: subprocess.Popen[str], path: Path, queries: int, took: float, draw: random.Random) -> bool:
    """Wait for the moment of a kill; whether the process is still there then.

    One kill in five comes at a random time, the others after a random number of the queries that are still to come.
    """
    if draw.random() < 0.2:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.2, 0.75) * took)
        return process.poll() is None
    now = charged(path)
    target = now + draw.uniform(0.05, 0.5) * (queries - now)
    while process.poll() is None and charged(path) < target:
        time.sleep(0.005)
    time.sleep(draw.uniform(0, 0.05))
    return process.poll() is None


def run_study(where: Path, wanted: int, least_runs: int, draw: random.Random, *, generations: int) -> Outcome:
    """Kill operator studies and resume them, as a user would."""
    outcome = Outcome()
    if not study_verbs():
        outcome.none("the command line cannot resume", ["evofool resume --help fails"], 1)
        return outcome
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[1:])}
    twins: dict[int, tuple[dict[str, Any], dict[str, list[Any]], dict[str, dict[str, int]], float]] = {}
    landed = runs = binding = lost = queries = mid = 0
    unreadable: list[str] = []
    different: list[str] = []
    beyond: list[str] = []
    no_prefix: list[str] = []
    miscounted: list[str] = []
    missed = 0
    evolving = 0
    each = max(1, wanted // least_runs)
    while landed < wanted or runs < least_runs:
        kind = runs % 3
        if kind not in twins:
            twin = where / f"study-twin-{kind}"
            started = time.monotonic()
            subprocess.run(study_command(twin, kind, generations=generations), env=environment, check=True, timeout=600)
            twins[kind] = (compared(twin), events_of(twin), accounts_of(twin), time.monotonic() - started)
        said, happened, twin_accounts, took = twins[kind]
        tight = runs % 4 == 3
        budget = int(0.6 * max(count["issued"] for count in twin_accounts.values())) if tight else None
        path = where / f"study-{runs}"
        hit = 0
        for _ in range(RESUMES):
            fresh = not (path / "run.json").is_file()
            command = study_command(path, kind, generations=generations, budget=budget)
            command = command if fresh else [*EVOFOOL, "resume", str(path), "--quiet"]
            process = subprocess.Popen(
                command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
            )
            if hit < each:
                due = await_moment(process, path, sum(count["issued"] for count in twin_accounts.values()), took, draw)
                if due:
                    begun = (path / "run.json").is_file()
                    (os.kill if draw.random() < 0.5 else os.killpg)(process.pid, signal.SIGKILL)
                    process.communicate()
                    hit += 1
                    mid += begun
                    evolving += 0 < charged(path) < sum(count["issued"] for count in twin_accounts.values())
                    continue
                missed += 1
            _, words = process.communicate(timeout=600)
            if process.returncode == 0:
                break
            unreadable.append(f"{path.name}: ended with {process.returncode}: {words.strip()[-300:]}")
            break
        landed += hit
        runs += 1
        if unreadable and unreadable[-1].startswith(f"{path.name}:"):
            continue
        try:
            unreadable += [f"{path.name}: {line}" for line in rundir.damage(path)]
        except EvofoolError as error:
            unreadable.append(f"{path.name}: {error}")
            continue
        accounts = accounts_of(path)
        lost += sum(count["lost"] for count in accounts.values())
        queries += sum(count["issued"] for count in accounts.values())
        if budget is not None:
            binding += 1
            beyond += [
                f"{path.name}: {account} was charged {count['issued']} of {budget}"
                for account, count in accounts.items()
                if count["issued"] > budget
            ]
            no_prefix += [f"{path.name}: {line}" for line in not_study_prefix(events_of(path), happened)]
        else:
            now, events = compared(path), events_of(path)
            parts = [name for name in sorted(said.keys() | now.keys()) if said.get(name) != now.get(name)]
            parts += [] if events == happened else ["events"]
            different += [f"{path.name}: {', '.join(parts)} differ"] if parts else []
            miscounted += [f"{path.name}: {line}" for line in other_counts(accounts, twin_accounts)]
        shutil.rmtree(path)
    outcome.figures = {
        "kills": landed,
        "kills after run.json was there": mid,
        "kills while images evolved": evolving,
        "kills that came too late": missed,
        "runs": runs,
        "runs with binding budgets": binding,
        "queries": queries,
        "queries lost": lost,
    }
    outcome.at_least("study: kills that landed in mid-run", mid, max(1, int(0.6 * wanted)))
    outcome.at_least("study: kills while images evolved", evolving, max(1, int(0.5 * wanted)))
    outcome.at_least("study: queries lost to them", lost, 1)
    outcome.at_least("study: runs", runs, least_runs)
    outcome.none("study: states that could not be read", unreadable, landed)
    outcome.none("study, slack budgets: runs that ended otherwise", different, runs - binding)
    outcome.none("study, slack budgets: counts that differ by more than what was lost", miscounted, runs - binding)
    if binding:
        outcome.none("study, binding budgets: runs that are no prefix", no_prefix, binding)
        outcome.none("study, binding budgets: exceeded", beyond, binding)
    return outcome


def not_study_prefix(events: dict[str, list[Any]], twin: dict[str, list[Any]]) -> list[str]:
    """Which searches did something that they did not do at that moment in the study without a budget.

    A search that its budget has ended stays as it was, while others in its shard go on.
    """
    wrong, most = [], 0
    for chain, happened in events.items():
        for row in range(len(happened[0]["total_fitness"]) if happened else 0):
            steps, whole = ([_step(event, row) for event in run] for run in (happened, twin[chain]))
            same = next((g for g, step in enumerate(steps) if step != whole[g]), len(steps))
            most = max(most, same)
            if same == 0 or any(step != steps[same - 1] for step in steps[same:]):
                wrong.append(f"{chain}, seed {row}")
    return wrong if most > 1 else [*wrong, "the budget left nothing to compare"]


def _step(event: Any, row: int) -> tuple[Any, Any]:
    return event["confusion"][row], event["total_fitness"][row]


def run(*, short: bool, seed: int = 0, study: bool = True) -> Outcome:
    """Both kinds."""
    torch.set_num_threads(1)
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="torture-kills-") as folder:
        where = Path(folder)
        outcome = run_searcher(where, 12 if short else 200, 4 if short else 24, draw, short=short)
        if study:
            other = run_study(where, 3 if short else 60, 1 if short else 8, draw, generations=12)
            outcome.bars += other.bars
            outcome.figures["study"] = other.figures
            outcome.notes += other.notes
    return outcome
