"""Writes the random words of searches to stdout without end, for programs that test generators.

python benchmarks/random_bytes.py | dieharder -a -g 200

What comes is 64 words for each of 1,024 searches with neighbouring ids, generation after generation: so a test that
sees a pattern may have found one within a draw, between neighbouring searches, or between neighbouring generations.
"""

from __future__ import annotations

import itertools
import sys

from evofool.rng import Stream


def main() -> None:
    """Write until nobody reads any more."""
    stream = Stream([0] * 1024, range(1024))["test"]
    try:
        for generation in itertools.count():
            sys.stdout.buffer.write(stream.at(generation).words(64).tobytes())
    except BrokenPipeError:
        sys.stderr.close()


if __name__ == "__main__":
    main()
