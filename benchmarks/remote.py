"""How much of what an endpoint can answer reaches a search: evofool beside a load generator, on one machine.

    python benchmarks/remote.py [--delay 20] [--rounds 7]

An endpoint in another process takes some milliseconds for each request, however many are on their way. A load generator
that sends the same bytes again and again over N connections says what it gives; then the ledger asks it about as many
different images with `concurrency=N`, with its books in memory and in a run directory. They take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from evofool import load_classifier
from evofool.ledger import Ledger
from evofool.rng import Stream
from evofool.store import Store
from timing import alternate, ratio

CLASSES = tuple("0123456789")
REQUESTS = 400


def main() -> None:
    options = _options()
    if options.serve:
        asyncio.run(serve(options.delay / 1000))
        return
    torch.set_num_threads(1)
    with subprocess.Popen(
        [sys.executable, __file__, "--serve", "--delay", str(options.delay)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            print(f"{REQUESTS} requests of one 28 x 28 image, {options.delay:g} ms each; requests a second")
            print(f"{'in flight':>10} {'generator':>10} {'in memory':>20} {'run directory':>20}")
            for concurrency in options.concurrency:
                row(port, concurrency, options.rounds)
        finally:
            server.kill()


def row(port: int, concurrency: int, rounds: int) -> None:
    """One line of the table: the generator's rate, and what share of it the ledger reaches."""
    classifier = load_classifier(
        f"http://127.0.0.1:{port}/", class_names=CLASSES, image_shape="1x28x28", concurrency=concurrency
    )
    images = Stream([0], [0])["images"].uniform(REQUESTS, 1, 28, 28)[0].mul(255).round().div(255)
    payer = torch.zeros(REQUESTS, dtype=torch.int64)
    with tempfile.TemporaryDirectory() as folder, closing(Store(Path(folder) / "ledger.sqlite", owner=True)) as store:
        ledgers = {"memory": Ledger(classifier, searches=1), "disk": Ledger(classifier, searches=1, store=store)}
        turns = iter(range(10_000))
        times = alternate(
            {
                "generator": lambda: asyncio.run(generate(port, concurrency)),
                "memory": lambda: ledgers["memory"].ask(images, payer, fresh=True),
                "disk": lambda: ledgers["disk"].ask(images, payer, (next(turns),), fresh=True),
            },
            rounds,
            warm_up=1,
        )
        answered = [int(ledger.counts.answered.sum()) for ledger in ledgers.values()]
        assert answered == [REQUESTS * (rounds + 1)] * 2, f"not everything was answered: {answered}"
    base = times["generator"]
    shares = [ratio(base, times[name]) for name in ("memory", "disk")]
    rate = REQUESTS / (base.milliseconds() / 1000)
    print(f"{concurrency:>10} {rate:>10.0f} {shares[0]!s:>20} {shares[1]!s:>20}")


# The endpoint and the generator: as little as HTTP/1.1 needs --------------------------------------------------------

BODY = json.dumps({"scores": [[0.1] * 10]}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


async def serve(delay: float) -> None:
    """Answer everything the same, after a while."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await _message(reader)
                await asyncio.sleep(delay)
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def generate(port: int, connections: int) -> None:
    """Send requests over so many connections, each after the answer to the last."""
    body = json.dumps({"images": ["A" * 700]}).encode()
    request = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    left = iter(range(REQUESTS))

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            writer.write(request)
            await _message(reader)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(connections)))


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return await reader.readexactly(int(length.partition(b":")[2]))


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=20.0, help="milliseconds the endpoint takes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
