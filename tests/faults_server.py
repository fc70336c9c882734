"""A server on loopback that classifies images of 4 x 4 pixels, and fails on purpose: run in a process of its own.

    python tests/faults_server.py [certificate.pem key.pem]

prints one line of JSON with its ports. The address of a request says what is to happen:

    /CASE/FAULT/FIRST/LAST    requests FIRST to LAST of this case meet the fault, all others are answered
    /CASE/tally               what was counted for the case
    /elsewhere                where no request is ever to arrive

Whatever it writes repeats the address and the Authorization header of the request, as careless servers do.
"""

from __future__ import annotations

import base64
import email.utils
import gzip
import io
import json
import socket
import ssl
import struct
import sys
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import NamedTuple

from faults_program import scores

SOON = 0.02  # seconds between two drops
LONG = 8.0  # seconds that a fault lasts at most
FIRST_WAIT = 7  # seconds that it asks to wait
_BOMB = 100_000_000  # bytes, unpacked


class Request(NamedTuple):
    """A request and the right answer to it."""

    target: str
    headers: dict[str, str]
    body: bytes
    answer: list[list[float]]

    @property
    def echo(self) -> str:
        """What a careless server repeats."""
        return f"you sent {self.headers.get('authorization', '')} to {self.target}"


Fault = Callable[[socket.socket, Request], None]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    """A fault by the name of its function."""
    FAULTS[function.__name__] = function
    return function


def send(connection: socket.socket, status: str, body: bytes, *headers: str, length: int | None = None) -> None:
    """An answer, with the length that is said."""
    head = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body) if length is None else length}", "", ""]
    connection.sendall("\r\n".join(head).encode() + body)


def good(connection: socket.socket, request: Request) -> None:
    """The right answer."""
    send(connection, "200 OK", json.dumps({"scores": request.answer}).encode(), "Content-Type: application/json")


def until_gone(connection: socket.socket, part: bytes, pause: float = SOON) -> None:
    """One part after another until nobody listens."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        connection.sendall(part)
        time.sleep(pause)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# What goes wrong on the way


@fault
def silence(connection: socket.socket, request: Request) -> None:
    connection.settimeout(LONG)
    connection.recv(1)


@fault
def dripping_header(connection: socket.socket, request: Request) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    until_gone(connection, b"a")


@fault
def dripping_body(connection: socket.socket, request: Request) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n[")
    until_gone(connection, b" ")


@fault
def dripping_error(connection: socket.socket, request: Request) -> None:
    connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 1000000\r\n\r\n")
    until_gone(connection, b" ")


@fault
def continue_without_end(connection: socket.socket, request: Request) -> None:
    until_gone(connection, b"HTTP/1.1 100 Continue\r\n\r\n", 0.002)


@fault
def closed_at_once(connection: socket.socket, request: Request) -> None:
    connection.close()


@fault
def reset_before_answer(connection: socket.socket, request: Request) -> None:
    reset(connection)


@fault
def reset_before_body(connection: socket.socket, request: Request) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    reset(connection)


@fault
def reset_after_body(connection: socket.socket, request: Request) -> None:
    good(connection, request)
    reset(connection)


@fault
def truncated(connection: socket.socket, request: Request) -> None:
    body = json.dumps({"scores": request.answer}).encode()
    send(connection, "200 OK", body[:-9], length=len(body))
    connection.close()


@fault
def truncated_chunks(connection: socket.socket, request: Request) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"sco\r\n')
    connection.close()


@fault
def garbage(connection: socket.socket, request: Request) -> None:
    connection.sendall(b"\x00\xff\x13 " + request.echo.encode() + b"\r\n\r\n")
    connection.close()


@fault
def header_flood(connection: socket.socket, request: Request) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X-Flood: aaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 20_000 + b"\r\n")


@fault
def gzip_bomb(connection: socket.socket, request: Request) -> None:
    send(connection, "200 OK", bomb(), "Content-Encoding: gzip")


@fault
def gzip_truncated(connection: socket.socket, request: Request) -> None:
    send(
        connection,
        "200 OK",
        gzip.compress(json.dumps({"scores": request.answer}).encode())[:-4],
        "Content-Encoding: gzip",
    )


@fault
def gzip_untrue(connection: socket.socket, request: Request) -> None:
    send(connection, "200 OK", json.dumps({"scores": request.answer}).encode(), "Content-Encoding: gzip")


@fault
def unknown_encoding(connection: socket.socket, request: Request) -> None:
    send(connection, "200 OK", b"\x0b\x02\x80", "Content-Encoding: br")


@fault
def oversize(connection: socket.socket, request: Request) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    until_gone(connection, b" " * 1_000_000, 0)


@fault
def oversize_without_length(connection: socket.socket, request: Request) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    until_gone(connection, b" " * 1_000_000, 0)


_bomb: list[bytes] = []


def bomb() -> bytes:
    """Zeros without end, packed once."""
    if not _bomb:
        pack = zlib.compressobj(1, wbits=31)
        parts = [pack.compress(bytes(10_000_000)) for _ in range(_BOMB // 10_000_000)]
        _bomb.append(b"".join([*parts, pack.flush()]))
    return _bomb[0]


# What a server says instead of an answer


def says(name: str, status: str, *headers: Callable[[], str] | str) -> None:
    """A fault that is a status."""

    def answer(connection: socket.socket, request: Request) -> None:
        lines = [line() if callable(line) else line for line in headers]
        send(connection, status, request.echo.encode(), *[line.replace("ECHO", request.target) for line in lines])

    FAULTS[name] = answer


def date() -> str:
    return f"Retry-After: {email.utils.formatdate(time.time() + FIRST_WAIT, usegmt=True)}"


for _code in (400, 401, 403, 404, 405, 408, 410, 413, 422, 425, 500, 502, 503, 504, 507):
    says(f"status_{_code}", f"{_code} No")
says("status_429_bare", "429 Too Many")
says("status_429_seconds", "429 Too Many", f"Retry-After: {FIRST_WAIT}")
says("status_429_date", "429 Too Many", date)
says("status_503_seconds", "503 Busy", f"Retry-After: {FIRST_WAIT}")
says("status_503_nonsense", "503 Busy", "Retry-After: tomorrow, perhaps")
says("redirect_to_another_host", "302 Found", lambda: f"Location: http://127.0.0.2:{PORTS['elsewhere']}/elsewhere?ECHO")
says("redirect_to_itself", "308 Moved", "Location: ECHO")
says("html", "200 OK", "Content-Type: text/html")


@fault
def status_204(connection: socket.socket, request: Request) -> None:
    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


# What a server says in the place of JSON, or of scores


def body(name: str, make: Callable[[Request], str | bytes]) -> None:
    """A fault that is an answer under 200."""

    def answer(connection: socket.socket, request: Request) -> None:
        text = make(request)
        send(connection, "200 OK", text.encode() if isinstance(text, str) else text, "Content-Type: application/json")

    FAULTS[name] = answer


def rows(text: str) -> Callable[[Request], str]:
    """The same row of scores for each image."""
    return lambda request: '{"scores": [' + ", ".join([text] * len(request.answer)) + "]}"


body("empty", lambda request: b"")
body("malformed_json", lambda request: '{"scores": [[0.2, 0.3, 0.5]')
body("two_documents", lambda request: json.dumps({"scores": request.answer}) * 2)
body("not_utf8", lambda request: b'{"scores": "\xff\xfe"}')
body("nan", rows("[NaN, 0.5, 0.5]"))
body("infinity", rows("[Infinity, 0.0, 0.0]"))
body("minus_infinity", rows("[-Infinity, 0.5, 0.5]"))
body("number_1e400", rows("[1e400, 0.0, 0.0]"))
body("null", rows("[null, 0.5, 0.5]"))
body("deep_nesting", lambda request: '{"scores": ' + "[" * 100_000 + "]" * 100_000 + "}")
body("huge_integer", rows("[" + "9" * 6000 + ", 0, 0]"))
body("duplicate_keys", lambda request: json.dumps({"scores": request.answer})[:-1] + ', "scores": [[1, 0, 0]]}')
body("duplicate_classes", rows('{"ant": 0.5, "bee": 0.5, "ant": 0.0}'))
body("strings_for_numbers", rows('["0.2", "0.3", "0.5"]'))
body("booleans_for_numbers", rows("[true, false, false]"))
body("tables_for_numbers", rows("[{}, {}, {}]"))
body("more_answers", lambda request: json.dumps({"scores": [*request.answer, request.answer[0]]}))
body("fewer_answers", lambda request: json.dumps({"scores": request.answer[:-1]}))
body("error_under_200", lambda request: json.dumps({"error": request.echo}))
body("labels_only", lambda request: json.dumps({"labels": ["ant"] * len(request.answer)}))
body("wrong_class_count", rows("[0.25, 0.25, 0.25, 0.25]"))
body("one_score", rows("[0.5]"))
body(
    "classes_renamed",
    lambda request: json.dumps({"scores": [{"ant": 0.2, "bee": 0.3, request.echo: 0.5}] * len(request.answer)}),
)
body("negative", rows("[-0.5, 0.5, 1.0]"))
body("above_one", rows("[3.0, 0.5, -2.5]"))
body("unnormalised", rows("[0.9, 0.8, 0.7]"))


# The server

PORTS: dict[str, int] = {}
_tally: defaultdict[str, Counter[str]] = defaultdict(Counter)
_lock = threading.Lock()


def serve(connection: socket.socket, tls: ssl.SSLContext | None) -> None:
    """Answer one connection until it is closed."""
    try:
        with connection:
            if tls:
                with _lock:
                    _tally["tls"]["connections"] += 1
                connection = tls.wrap_socket(connection, server_side=True)
            buffer = b""
            while True:
                while b"\r\n\r\n" not in buffer:
                    part = connection.recv(65536)
                    if not part:
                        return
                    buffer += part
                    if buffer[:1] == b"\x16":  # the begin of TLS, which is not spoken here
                        send(connection, "400 Bad Request", b"plain HTTP only")
                        return
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                first, *lines = head.decode().split("\r\n")
                headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
                length = int(headers.get("content-length", 0))
                while len(buffer) < length:
                    buffer += connection.recv(65536)
                text, buffer = buffer[:length], buffer[length:]
                respond(connection, first.split(" ")[1], headers, text)
    except OSError:
        pass


def respond(connection: socket.socket, target: str, headers: dict[str, str], text: bytes) -> None:
    """The answer to one request, or its fault."""
    _, case, name, *when = target.partition("?")[0].split("/")
    if name == "tally":
        with _lock:
            send(connection, "200 OK", json.dumps(_tally[case]).encode())
        return
    images = json.loads(text)["images"]
    with _lock:
        _tally[case].update(requests=1, images=len(images))
        number = _tally[case]["requests"]
    request = Request(target, headers, text, [scores(pixels(image)) for image in images])
    first, last = int(when[0]), int(when[1])
    if not first <= number <= last:
        good(connection, request)
        return
    with _lock:
        _tally[case]["fired"] += 1
    FAULTS[name](connection, request)


def pixels(image: str) -> list[float]:
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(image)))
    return [level / 255 for level in picture.tobytes()]


def elsewhere(listener: socket.socket) -> None:
    """Counts who comes where nobody should."""
    while True:
        connection, _ = listener.accept()
        with _lock:
            _tally["elsewhere"]["connections"] += 1
        connection.close()


def listen(listener: socket.socket, tls: ssl.SSLContext | None) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, tls), daemon=True).start()


def main() -> None:
    """Serve until standard input is closed."""
    listeners = {"http": socket.create_server(("127.0.0.1", 0)), "elsewhere": socket.create_server(("127.0.0.2", 0))}
    threading.Thread(target=elsewhere, args=(listeners["elsewhere"],), daemon=True).start()
    threading.Thread(target=listen, args=(listeners["http"], None), daemon=True).start()
    if len(sys.argv) > 2:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[1], sys.argv[2])
        listeners["https"] = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=listen, args=(listeners["https"], tls), daemon=True).start()
    PORTS.update({name: listener.getsockname()[1] for name, listener in listeners.items()})
    bomb()
    print(json.dumps(PORTS), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
