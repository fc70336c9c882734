"""Random numbers that depend on what they are for, and on nothing else.

A draw is keyed by (seed, search id, generation, name), never by what was drawn before. So a search gives the same
result alone, in any batch and on any worker, and a run that goes on after a stop needs no stored generator state.
"""

from __future__ import annotations

import functools
import hashlib
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .shapes import Bool, Float, Int, Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_BLOCK = 16_384  # words worked on at a time: they and their temporaries stay in the fastest caches
_MASK = (1 << 64) - 1


@contextmanager
def untouched() -> Iterator[None]:
    """Leave the global generators of Python, NumPy and PyTorch as they were, whatever a library draws in the block."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def search_id(name: str) -> int:
    """A 63-bit number for a named search, the same in every process."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


@functools.lru_cache(maxsize=4096)
def _name_key(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


def _mix(z: np.ndarray) -> np.ndarray:
    """The splitmix64 finaliser, in place (Steele, Lea, Flood 2014, with Stafford's variant 13 constants)."""
    shifted = z >> np.uint64(30)
    z ^= shifted
    z *= _MIX_1
    np.right_shift(z, np.uint64(27), out=shifted)
    z ^= shifted
    z *= _MIX_2
    np.right_shift(z, np.uint64(31), out=shifted)
    z ^= shifted
    return z


@functools.lru_cache(maxsize=4)
def _steps(count: int) -> np.ndarray:
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    steps.flags.writeable = False
    return steps


def _uint64(values: Sequence[int]) -> np.ndarray:
    try:
        return np.array(values, dtype=np.int64).view(np.uint64)
    except OverflowError:
        return np.array([int(value) & _MASK for value in values], dtype=np.uint64)


@dataclass(frozen=True, eq=False)
class Stream:
    """The source of every random number of B searches side by side.

    `stream["mask"].uniform(784)` draws 784 numbers for each search. Asking the same stream twice gives the same numbers
    twice: give each purpose its own name. The first numbers of a longer draw are those of a shorter one.

    Args:
        seeds: one for each search.
        searches: an id for each search, unique within a seed (see `search_id`).
        generation: counts the rounds of a search: one number for all, or one for each.
        name: the purposes so far, joined by "/".
        device: where the drawn tensors are put. The numbers are the same on all of them.
    """

    seeds: Sequence[int]
    searches: Sequence[int]
    generation: int | Sequence[int] = 0
    name: str = ""
    device: Any = "cpu"

    def __post_init__(self) -> None:
        if len(self.seeds) != len(self.searches):
            raise ValueError(f"{len(self.seeds)} seeds but {len(self.searches)} searches: one of each is needed")

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, name: str) -> Stream:
        """The stream for one purpose within this one."""
        part = Stream(self.seeds, self.searches, self.generation, f"{self.name}/{name}", self.device)
        part.__dict__["_key"] = self._key  # which all purposes have in common
        return part

    def at(self, generation: int | Sequence[int]) -> Stream:
        """The same stream in another generation; searches that did not begin together may be in one each."""
        moved = Stream(self.seeds, self.searches, generation, self.name, self.device)
        moved.__dict__["_origin"] = self._origin
        return moved

    def rows(self, index: Sequence[int]) -> Stream:
        """The streams of some of the searches."""
        told = self.generation if isinstance(self.generation, int) else [self.generation[i] for i in index]
        chosen = Stream([self.seeds[i] for i in index], [self.searches[i] for i in index], told, self.name, self.device)
        places = np.asarray(index, dtype=np.int64)
        chosen.__dict__["_origin"] = self._origin[places]
        chosen.__dict__["_key"] = self._key[places]
        return chosen

    @functools.cached_property
    def _origin(self) -> np.ndarray:
        """What the draws of a search have in common: [B], uint64."""
        key = _mix(_uint64(self.seeds) + _GOLDEN)
        return _mix((key ^ _uint64(self.searches)) + _GOLDEN)

    @functools.cached_property
    def _key(self) -> np.ndarray:
        """What the draws of a generation have in common, whatever their purpose: [B], uint64."""
        generation = _uint64([self.generation] if isinstance(self.generation, int) else self.generation)
        return _mix((self._origin ^ generation) + _GOLDEN)

    def words(self, count: int) -> np.ndarray:
        """64 random bits, `count` times for each search: [B count], uint64."""
        key = _mix((self._key ^ _name_key(self.name)) + _GOLDEN)
        drawn = np.empty((len(key), count), dtype=np.uint64)
        steps = _steps(count)
        height = max(1, _BLOCK // max(count, 1))
        for top in range(0, len(key), height):
            for left in range(0, count, _BLOCK):
                block = drawn[top : top + height, left : left + _BLOCK]
                np.add(steps[left : left + _BLOCK], key[top : top + height, None], out=block)
                _mix(block)
        return drawn

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "B *shape"]:
        """Uniform on [0, 1): multiples of 2^-24 as float32, of 2^-53 as float64."""
        count = math.prod(shape)
        if dtype == torch.float64:
            drawn = (self.words(count) >> np.uint64(11)).astype(np.float64)
            drawn *= 2.0**-53
        else:
            halves = self.words((count + 1) // 2).view(np.uint32)[:, :count]  # two numbers from each word
            drawn = (halves >> np.uint32(8)).astype(np.float32)
            drawn *= np.float32(2.0**-24)
        return torch.from_numpy(drawn.reshape(len(self), *shape)).to(self.device)

    def normal(self, *shape: int) -> Float[Tensor, "B *shape"]:
        """Standard normal, float64 (Box and Muller 1958)."""
        pair = self.uniform(2, *shape, dtype=torch.float64)
        return (-2 * (1 - pair[:, 0]).log()).sqrt() * (2 * math.pi * pair[:, 1]).cos()

    def integers(self, high: int | Tensor, *shape: int) -> Int[Tensor, "B *shape"]:
        """Uniform on {0, ..., high - 1}, int64. `high` is a number, or a tensor that broadcasts to [B *shape]."""
        limit = torch.as_tensor(high, device=self.device)
        if bool((limit < 1).any()):
            raise ValueError(f"integers(high): high must be at least 1, got {int(limit.min())}")
        drawn = (self.uniform(*shape, dtype=torch.float64) * limit).long()
        return torch.minimum(drawn, limit.long() - 1)  # a product may round up to `high`

    def bits(self, *shape: int) -> Bool[Tensor, "B *shape"]:
        """Fair coins. Each row of the last axis begins a new word, so that it depends on no row behind it."""
        count, rows = shape[-1], math.prod(shape[:-1])
        words = -(-count // 64)
        drawn = self.words(rows * words).reshape(len(self), rows, words).view(np.uint8)
        tossed = np.unpackbits(drawn, axis=-1, count=count, bitorder="little").view(np.bool_)
        return torch.from_numpy(tossed.reshape(len(self), *shape)).to(self.device)

    def permutation(self, count: int) -> Int[Tensor, "B count"]:
        """A random order of 0, ..., count - 1 for each search."""
        order = np.argsort(self.words(count), axis=1, kind="stable")
        return torch.from_numpy(order).to(self.device)
