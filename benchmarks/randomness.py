"""Random numbers: many searches with few each, and as many as a population has genes."""

from __future__ import annotations

from typing import Any

import torch

import report
from evofool.rng import Stream
from timing import alternate, ratio

FEW, MANY = (1000, 8), (1000, 784)
LIMIT_FEW, LIMIT_MANY = 2.0, 3.0  # milliseconds; times torch.rand


def measure(*, rounds: int) -> dict[str, Any]:
    """Milliseconds of `Stream.uniform`, beside torch's one stream for all."""
    searches = FEW[0]
    stream = Stream([0] * searches, list(range(searches)))["benchmark"]
    generator = torch.Generator().manual_seed(0)
    times = alternate(
        {
            "few": lambda: stream.uniform(FEW[1]),
            "many": lambda: stream.uniform(MANY[1]),
            "torch.rand": lambda: torch.rand(*MANY, generator=generator),
        },
        rounds,
    )
    return {
        "few": times["few"].milliseconds(),
        "many": times["many"].milliseconds(),
        "torch.rand": times["torch.rand"].milliseconds(),
        "ratio": ratio(times["many"], times["torch.rand"]),
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures."""
    print("Uniform numbers in milliseconds: each search has a stream of its own")
    report.table(
        ["numbers", "Stream.uniform", "torch.rand", "ratio"],
        [
            [_size(FEW), f"{result['few']:.2f}", "", ""],
            [_size(MANY), f"{result['many']:.2f}", f"{result['torch.rand']:.2f}", str(result["ratio"])],
        ],
    )


def bars(result: dict[str, Any]) -> list[report.Bar]:
    """Both sizes."""
    few, many = result["few"], result["ratio"].median
    return [
        report.Bar(f"{_size(FEW)} numbers", f"{few:.2f} ms", f"under {LIMIT_FEW:g} ms", few < LIMIT_FEW),
        report.Bar(
            f"{_size(MANY)} numbers",
            f"{many:.2f} times",
            f"at most {LIMIT_MANY:g} times torch.rand",
            many <= LIMIT_MANY,
        ),
    ]


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]:,} x {shape[1]}"
