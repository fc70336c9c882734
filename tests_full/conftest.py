"""As in tests/: one torch thread, untouched global generators; and nothing is looked for on the internet."""

from __future__ import annotations

import os
import random
import urllib.request
from collections.abc import Iterator
from urllib.error import URLError

from evofool.executors.local import ONE_THREAD

os.environ.update(ONE_THREAD, HF_HUB_OFFLINE="1")  # before torch and the hub are loaded

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def untouched_generators() -> Iterator[None]:
    """A test in which a global generator moved has failed: libraries draw from it unless they are kept from it."""

    def states() -> tuple[str, bytes, bytes]:
        return repr(random.getstate()), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()

    before = states()
    yield
    assert states() == before, "a global generator moved"


@pytest.fixture(autouse=True)
def no_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **more: object) -> None:
        raise URLError("no internet in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
