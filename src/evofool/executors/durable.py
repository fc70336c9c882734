"""Carries out what is left of a run: its shards in processes, what came of them in its directory, its books."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from .. import runs
from ..rundir import RunDirectory
from ..store import Store
from .local import Tick, available_processors, map_shards


def carry_out(
    shards: Sequence[Any],
    function: Callable[..., Any],
    from_json: Callable[[Any], Any],
    *,
    workers: int | None,
    on_tick: Tick | None,
    directory: RunDirectory | None,
) -> list[Any]:
    """Run the shards that are not finished, and give what became of all, in their order.

    Args:
        shards: frozen dataclasses with `name`, `evaluations`, `sources` (of classifiers, the same in all) and
            `directory`.
        function: as for `map_shards`; where a shard has a directory it leaves its result there and gives None.
        from_json: reads such a result.
        workers: processes; None = one for each processor.
        on_tick: told of units of work that are finished, first of all those of shards that were finished before.
        directory: of the run; None = in memory.
    """
    store = directory.store if directory else None
    finished = store.finished() if store else set()
    left = [shard for shard in shards if shard.name not in finished]
    if on_tick:
        on_tick(sum(shard.evaluations for shard in shards if shard.name in finished))
    if directory:
        left = [dataclasses.replace(shard, directory=str(directory.path.absolute())) for shard in left]
    count = available_processors() if workers is None else workers
    if left:
        count, sources = runs.shared_out(left[0].sources, count)
        left = [dataclasses.replace(shard, sources=sources) for shard in left]
    try:
        ran = map_shards(function, left, workers=count, on_tick=on_tick)
    finally:
        runs.leave()
    if directory and store:
        shutil.rmtree(directory.path / "state", ignore_errors=True)  # of shards that are finished now
        return [from_json(store.result(shard.name)) for shard in shards]
    return [result for result in ran if result]


def books_of(store: Store, done: Sequence[Any], *, durable: bool) -> dict[str, Any]:
    """The books of a run, for its report.

    Args:
        store: of the run, or of this process for a run in memory.
        done: what became of its shards, with their own `accounts` and `padded` where they ran in memory.
        durable: the run has a directory, and so the store has it all.
    """
    searches = store.counts()
    for result in done if not durable else ():
        for name, counts in result.accounts.items():
            into = searches.setdefault(name, dict.fromkeys(counts, 0))
            for kind, count in counts.items():
                into[kind] += count
    padded = store.padded() + sum(result.padded for result in done)
    return {"searches": dict(sorted(searches.items())), "padded": padded, **runs.sessions(store)}
