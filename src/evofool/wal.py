"""Reads SQLite's write-ahead log as it lies on the disk, to see damage that SQLite takes for its end.

SQLite ends a log at the first frame whose checksum is wrong, and forgets all transactions behind it without a word.
That is right for the transaction that was being written when a machine went down, and for no other: forgotten charges
would let a classifier see more than its budget. The format: https://www.sqlite.org/fileformat2.html, section 4.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .files import read_whole

_MAGIC = 0x377F0682  # the lowest bit says that words of checksums are big-endian
_HEADER, _FRAME = 32, 24  # bytes
_LONGEST = 1 << 30  # bytes; SQLite begins a log anew after some 4 MB
_RESETS = 1 << 20  # a log is begun anew less often than that


class Forgotten(NamedTuple):
    """What SQLite would not read although it was written.

    Attributes:
        frames: pages of this log at or behind the first one that is broken.
        transactions: ends of transactions among them. A second one was begun when the first was safe on the disk: then
            it is certain that something else than a stop has broken the log.
    """

    frames: int
    transactions: int


def forgotten(log: Path) -> Forgotten:
    """What is lost behind a broken frame of a log; nothing where there is no log.

    Frames that an earlier log left in the same file, and one that is cut off by the end of the file, are no damage.
    """
    content = read_whole(log, limit=_LONGEST) if log.is_file() else b""
    if not any(content):
        return Forgotten(0, 0)
    head = np.frombuffer(content[:_HEADER].ljust(_HEADER, b"\0"), ">u4")
    page = int(head[2])
    order = ">u4" if head[0] & 1 else "<u4"
    sums = _sums(np.zeros(2, np.uint32), np.frombuffer(content[:24].ljust(24, b"\0"), order)[None])[0]
    if head[0] & ~np.uint32(1) != _MAGIC or not 512 <= page <= 65536 or page & (page - 1) or (sums != head[6:]).any():
        # Without its head nothing of a log is read.
        return Forgotten(*(2 * [max(2, len(content) // 4096)])) if len(content) > _HEADER else Forgotten(0, 0)
    count = (len(content) - _HEADER) // (_FRAME + page)
    if not count:
        return Forgotten(0, 0)
    frames = np.frombuffer(content, "u1", count * (_FRAME + page), _HEADER).reshape(count, -1)
    heads = np.ascontiguousarray(frames[:, :_FRAME]).view(">u4").astype(np.uint32)
    words = np.ascontiguousarray(np.concatenate([frames[:, :8], frames[:, _FRAME:]], axis=1)).view(order)
    salt = head[4:6].astype(np.uint32)
    right = (heads[:, 2:4] == salt).all(1) & (_sums(head[6:].astype(np.uint32), words) == heads[:, 4:6]).all(1)
    broken = int(right.argmin()) if not right.all() else count
    behind = heads[broken:]
    age = salt[0] - behind[:, 2]  # an earlier log had a smaller first number and another second one
    old = (age > 0) & (age < _RESETS) & (behind[:, 3] != salt[1])
    return Forgotten(int((~old).sum()), int((~old & (behind[:, 1] > 0)).sum()))


def _sums(start: np.ndarray, words: np.ndarray) -> np.ndarray:
    """The checksum after each row of words, [N 2]; each goes on from the one before, which may be a broken one.

    For each pair of words x, y: s += x + t; t += y + s, modulo 2^32. That is linear, so a row is one product.
    """
    n = words.shape[1] // 2
    powers, weights = _powers(n)
    added = (words.astype(np.uint32)[:, :, None] * weights).sum(1, dtype=np.uint32)
    sums = np.empty((len(words), 2), np.uint32)
    for row, more in enumerate(added):
        start = sums[row] = (powers * start).sum(1, dtype=np.uint32) + more
    return sums


@functools.lru_cache(maxsize=4)
def _powers(n: int) -> tuple[np.ndarray, np.ndarray]:
    """What n pairs of words do to a checksum, [2 2], and what each word adds to it, [2n 2]."""
    step = np.array([[1, 1], [1, 2]], np.uint32)
    power = np.eye(2, dtype=np.uint32)
    weights = np.empty((2 * n, 2), np.uint32)
    for pair in reversed(range(n)):
        # A first word enters both sums, a second one only the second.
        weights[2 * pair] = power @ np.array([1, 1], np.uint32)
        weights[2 * pair + 1] = power[:, 1]
        power = power @ step
    return power, weights
