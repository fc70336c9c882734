"""A classifier as an endpoint, with nothing but Python's own server; endpoint.toml says how it is asked.

export DIGITS_KEY=anything
python docs/examples/serve.py &
evofool doctor --classifier docs/examples/endpoint.toml --data digits
"""

import argparse
import base64
import io
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import torch
from PIL import Image

from evofool import load_classifier

torch.set_num_threads(1)
model = load_classifier("digits")  # here stands your own


class Handler(BaseHTTPRequestHandler):
    """Answers {"instances": [...]} with {"predictions": [{"logits": [...]}, ...]}."""

    protocol_version = "HTTP/1.1"  # so that a connection serves many requests
    disable_nagle_algorithm = True  # or each answer waits for the one before it to be acknowledged

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {os.environ['DIGITS_KEY']}":
            self.answer(401, {"error": "wrong key"})
            return
        files = [base64.b64decode(image) for image in json.loads(text)["instances"]]
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
        scores = model(torch.from_numpy(pixels[:, None] / np.float32(255)))
        self.answer(200, {"predictions": [{"logits": row} for row in scores.tolist()]})

    def answer(self, status, document):
        """Send JSON."""
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        """Say nothing of each request."""


options = argparse.ArgumentParser()
options.add_argument("--port", type=int, default=8123, help="0 = one that is free")
server = ThreadingHTTPServer(("127.0.0.1", options.parse_args().port), Handler)
print(f"http://127.0.0.1:{server.server_port}/classify", flush=True)
server.serve_forever()
