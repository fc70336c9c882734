"""A study of an endpoint on the command line: it stops answering in mid-run, comes back, and keeps its secret."""

from __future__ import annotations

import base64
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from evofool.classifiers import load_classifier
from test_cli import Here, here

__all__ = ["here"]  # a fixture

CANARY = "canary-4f1d9c77"
STUDY = [
    "study", "operators", "--data", "digits", "--parts", "scenarios", "--scenarios", "FPS_AC_SM", "--seeds", "1",
    "--set", "population=100", "--set", "generations=4", "--judge", "none", "--workers", "1",
]  # fmt: skip


class Endpoint(http.server.ThreadingHTTPServer):
    """The digits network; after so many requests it answers 503 until it is mended.

    Attributes:
        left: requests that are still answered.
        images: that came, answered or not.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.left, self.images, self.refused = 10**9, 0, 0
        self.lock = threading.Lock()
        self.classifier = load_classifier("digits")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        files = [base64.b64decode(image) for image in request["images"]]
        with self.server.lock:
            self.server.images += len(files)
            self.server.left -= 1
            well = self.server.left >= 0 and self.headers["Authorization"] == f"Bearer {CANARY}"
            self.server.refused += not well
            pixels = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
            images = torch.from_numpy(pixels[:, None] / np.float32(255))
            # One at a time: else its scores would depend on what came in the same request, in the last bit.
            scores = torch.cat([self.server.classifier(image[None]) for image in images])
        body = json.dumps(
            {"scores": scores.tolist()} if well else {"error": f"busy; you sent Bearer {CANARY}"}
        ).encode()
        self.send_response(200 if well else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("DIGITS_TOKEN", CANARY)
    monkeypatch.chdir(tmp_path)
    with Endpoint() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        Path("api.toml").write_text(
            f'spec = "http://127.0.0.1:{server.server_port}/"\nname = "api"\nkind = "logits"\nconcurrency = 8\n'
            'micro_batch = 5\nheaders = { Authorization = "Bearer env:DIGITS_TOKEN" }\n'
        )
        yield server
        server.shutdown()


def test_an_endpoint_that_stops_in_mid_run_costs_nothing_but_its_queries(
    endpoint: Endpoint, here: Callable[..., Here]
) -> None:
    whole = here(*STUDY, "--classifier", "api.toml", "-o", "whole")
    assert whole.returncode == 0, whole.stderr
    endpoint.images, endpoint.left = 0, 60  # some thirty are for its report, the others for evolving
    stopped = here(*STUDY, "--classifier", "api.toml", "-o", "run")
    assert endpoint.refused >= 5, "the endpoint did not stop"
    assert stopped.returncode == 3, stopped.stderr
    assert "5 failures in a row, the last one: HTTP 503" in stopped.stderr
    assert "the run is saved as far as it came; go on with: evofool resume run --trust-code" in stopped.stderr
    endpoint.left = 10**9
    resumed = here("resume", "run", "--trust-code")
    assert resumed.returncode == 0, resumed.stderr
    studies = [json.loads(Path(run, "study.json").read_text()) for run in ("whole", "run")]
    ledgers = [study.pop("ledger") for study in studies]
    assert studies[0] == studies[1] and studies[0]["runs"][0]["accuracy"][-1] < studies[0]["runs"][0]["accuracy"][0]
    issued = sum(account["issued"] for account in ledgers[1]["searches"].values())
    answered = sum(account["answered"] for account in ledgers[1]["searches"].values())
    assert endpoint.images == issued > answered, "the endpoint saw other images than were charged"
    assert answered == sum(account["answered"] for account in ledgers[0]["searches"].values())
    assert [ledger["searches"]["test images/api"]["answered"] for ledger in ledgers] == [100, 100]  # of 1,000
    assert here("verify", "run", "--trust-code").returncode == 0
    for text in (whole, stopped, resumed):
        assert CANARY not in text.stdout + text.stderr
    files = [path for run in ("whole", "run") for path in Path(run).rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert CANARY.encode() not in path.read_bytes(), path


def test_wrong_credentials_stop_at_once(
    endpoint: Endpoint, here: Callable[..., Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DIGITS_TOKEN")
    done = here(*STUDY, "--classifier", "api.toml", "-o", "run")
    assert done.returncode == 2 and "DIGITS_TOKEN is not set" in done.stderr and not Path("run").exists()
