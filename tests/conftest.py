"""What every test shares: one torch thread, repeatable examples, untouched global generators, the real data."""

from __future__ import annotations

import hashlib
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

from evofool.executors.local import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch is loaded, and for the processes that tests start

import numpy as np
import pytest
import rich.style  # noqa: F401 (draws from `random` when it is loaded, which is no fault of a test)
import torch
from hypothesis import settings

torch.set_num_threads(1)
# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("local", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

ROOT = Path(__file__).resolve().parent.parent


def _global_generators() -> dict[str, str]:
    states = {
        "random": repr(random.getstate()).encode(),
        "numpy.random": repr(np.random.get_state(legacy=False)["state"]["pos"]).encode()
        + np.random.get_state(legacy=False)["state"]["key"].tobytes(),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }
    return {name: hashlib.sha256(state).hexdigest() for name, state in states.items()}


@pytest.fixture(autouse=True)
def untouched_generators() -> Iterator[None]:
    """Every draw comes from a named stream: a test in which a global generator moved has failed."""
    before = _global_generators()
    yield
    moved = [name for name, state in _global_generators().items() if state != before[name]]
    assert not moved, f"the global generator of {' and '.join(moved)} moved: something drew from it, or seeded it"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real data; tests that ask for it are skipped where there is none."""
    named = os.environ.get("EVOFOOL_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    assert not named, f"EVOFOOL_DATA is {named}: expected a folder"
    pytest.skip(f"no real data here: EVOFOOL_DATA is not set and {folder} is not a folder")
