"""Endpoints: whatever goes wrong far away, no score is wrong, nothing hangs, nothing is lost, all is charged."""

from __future__ import annotations

import datetime
import http.server
import io
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.parse
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.message import Message
from typing import Any

import pytest
import torch
from PIL import Image

from evofool.classifiers import load_classifier
from evofool.classifiers.http import retry_after
from evofool.contracts import Classifier
from evofool.errors import ClassifierError, TargetError
from evofool.ledger import Ledger
from faults_server import FAULTS, FIRST_WAIT
from remote import (
    ANSWERED,
    CALLS,
    CANARY,
    FAILED,
    ROWS,
    VARIABLE,
    Search,
    Switch,
    faults_server,
    no_canary,
    pictures,
    search,
    settings,
    spoken,
    tally,
)

TRIES = 5  # of a request, and failures in a row that end a run
FIRST_CALL, MIDDLE, LAST_CALL = 1, CALLS // 2, CALLS
ALWAYS = 1_000_000
SHORT = 0.4  # seconds
GENEROUS = 20.0  # seconds; nothing but a fault is to meet it

# What comes of each fault: the same request is sent again, or its images have no answer, or the run stops.
AGAIN = """
    silence dripping_header dripping_body dripping_error continue_without_end closed_at_once reset_before_answer
    reset_before_body reset_after_body truncated truncated_chunks garbage header_flood gzip_bomb gzip_truncated
    gzip_untrue unknown_encoding oversize oversize_without_length html status_204 empty malformed_json two_documents
    not_utf8 deep_nesting huge_integer duplicate_keys duplicate_classes strings_for_numbers booleans_for_numbers
    tables_for_numbers more_answers fewer_answers error_under_200 labels_only status_408 status_425 status_429_bare
    status_429_seconds status_429_date status_500 status_502 status_503 status_503_seconds status_503_nonsense
    status_504 status_507
"""
NO_ANSWER = """
    status_400 status_404 status_405 status_410 status_413 status_422 nan infinity minus_infinity number_1e400 null
"""
STOPS = """
    status_401 status_403 redirect_to_another_host redirect_to_itself wrong_class_count one_score classes_renamed
    negative above_one unnormalised
"""
AGAIN, NO_ANSWER, STOPS = (set(names.split()) for names in (AGAIN, NO_ANSWER, STOPS))
SLOW = {"silence", "dripping_header", "dripping_body", "dripping_error", "continue_without_end"}
WAITS = {"status_429_seconds": FIRST_WAIT, "status_503_seconds": FIRST_WAIT, "status_429_date": FIRST_WAIT}

# Faults in which no request arrives
UNREACHED_AGAIN = {"refused", "name_unknown", "name_never_found", "backlog_full", "no_tls_there", "tls_only"}
UNREACHED_STOPS = {"bad_certificate", "certificate_of_another"}
UNREACHED_SLOW = {"name_never_found", "backlog_full"}


def test_every_fault_of_the_server_is_expected_to_do_something():
    assert FAULTS.keys() == AGAIN | NO_ANSWER | STOPS
    assert len(FAULTS) + len(UNREACHED_AGAIN | UNREACHED_STOPS) >= 60


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> tuple[str, ...]:
    """Of 127.0.0.1 and of nobody else, signed by itself; and its key. Nothing where nobody can make one."""
    if not shutil.which("openssl"):
        return ()
    folder = tmp_path_factory.mktemp("certificate")
    files = str(folder / "certificate.pem"), str(folder / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=evofool"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return files


@pytest.fixture(scope="session")
def ports(certificate) -> Iterator[dict[str, int]]:
    with faults_server(*certificate) as found:
        yield found


def needs_tls(ports: dict[str, int]) -> None:
    if "https" not in ports:
        pytest.skip("no openssl on this machine to make a certificate with")


@pytest.fixture(autouse=True)
def secret(monkeypatch, caplog) -> Iterator[None]:
    """Every request carries a secret, and whatever is logged is looked through."""
    monkeypatch.setenv(VARIABLE, CANARY)
    caplog.set_level(logging.DEBUG)
    yield
    no_canary("\n".join(record.getMessage() for record in caplog.get_records("call")))


def endpoint(address: str, **more: Any) -> Classifier:
    sent = {"headers": {"Authorization": f"Bearer env:{VARIABLE}"}, "params": {"key": f"env:{VARIABLE}"}}
    return load_classifier(address, settings(**{"timeout": GENEROUS, **sent, **more}))


def failing(ports: dict[str, int], fault: str, first: int, last: int) -> tuple[Classifier, str]:
    """An endpoint with one fault, and the name under which its server counts."""
    case = f"{fault}-{first}-{last}-{os.getpid()}"
    more = {"timeout": SHORT} if fault in SLOW else {}
    return endpoint(f"http://127.0.0.1:{ports['http']}/{case}/{fault}/{first}/{last}", **more), case


def came_through(found: Search, place: int, *, fault: str, sure: bool) -> None:
    """A fault that passed has done as little harm as it could.

    Args:
        found: the search.
        place: the call that met it, from 1.
        fault: its name.
        sure: nothing else can have failed; a short deadline may also be met by a busy machine.
    """
    if fault in STOPS | UNREACHED_STOPS:
        stopped(found, issued=place)
        return
    assert found.error is None, str(found.error)
    status = [ANSWERED] * CALLS
    if fault in NO_ANSWER:
        status[place - 1] = FAILED
        assert (found.issued, found.failed, found.waits) == (CALLS, 1, [])
    assert found.status == status
    if fault in AGAIN | UNREACHED_AGAIN and fault != "reset_after_body":
        assert found.issued == CALLS + found.failed and found.failed >= 1
        if sure:
            assert found.failed == 1
            assert found.waits == [pytest.approx(WAITS.get(fault, 0.5), abs=2 if fault == "status_429_date" else 0)]


def stopped(found: Search, issued: int) -> None:
    """The run ended there, can be resumed, and nothing was asked in vain."""
    assert found.error is not None and found.error.fatal and found.error.exit_code == 3
    assert len(str(found.error).splitlines()) == 1 and len(str(found.error)) < 700
    assert found.issued == issued
    assert len(found.answers) == (issued - 1) // ROWS or found.waits


@pytest.mark.parametrize("place", [FIRST_CALL, MIDDLE, LAST_CALL])
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_that_passes(ports, fault, place):
    classifier, case = failing(ports, fault, place, place)
    begun = time.monotonic()
    found = search(classifier)
    assert time.monotonic() - begun < GENEROUS / 2, "it hung"
    came_through(found, place, fault=fault, sure=fault not in SLOW)
    counted = tally(ports["http"], case)
    assert counted["fired"] == 1, "the fault did not happen"
    assert counted["images"] <= found.issued
    if fault not in SLOW | {"reset_after_body"}:
        assert counted["images"] == counted["requests"] == found.issued, "something was sent that was not charged"
    no_canary(classifier, vars(classifier).get("info"), spoken(found.error))


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - SLOW - {"reset_after_body"} | {"silence", "dripping_error"}))
def test_a_fault_that_stays(ports, fault, tmp_path):
    classifier, case = failing(ports, fault, MIDDLE, ALWAYS)
    begun = time.monotonic()
    found = search(classifier, tmp_path / "ledger.sqlite")
    assert time.monotonic() - begun < GENEROUS / 2, "it hung"
    times = 1 if fault in STOPS else TRIES
    counted = tally(ports["http"], case)
    if fault not in SLOW:
        stopped(found, issued=MIDDLE - 1 + times)
        assert counted["fired"] == times
        assert counted["images"] == found.issued
    assert found.error is not None and found.error.fatal
    assert counted["fired"] >= 1 and counted["images"] <= found.issued
    assert tally(ports["http"], "elsewhere")["connections"] == 0, "a redirect was followed"
    no_canary(spoken(found.error), tmp_path)


@pytest.fixture
def unreached(ports, certificate, monkeypatch) -> Iterator[Callable[[str], Classifier]]:
    """Endpoints that no request reaches, by the name of what is wrong."""
    real = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **more: Any) -> Any:
        if host == "nowhere.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host == "slow.invalid":
            time.sleep(4 * SHORT)
        return real(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with socket.socket() as closed, socket.socket() as full, socket.socket() as first, socket.socket() as second:
        closed.bind(("127.0.0.1", 0))  # and never listens
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        addresses = {
            "refused": f"http://127.0.0.1:{closed.getsockname()[1]}/",
            "name_unknown": "http://nowhere.invalid/",
            "name_never_found": "http://slow.invalid/",
            "backlog_full": f"http://127.0.0.1:{full.getsockname()[1]}/",
            "no_tls_there": f"https://127.0.0.1:{ports['http']}/x/html/1/1",
            "tls_only": f"http://127.0.0.1:{ports.get('https')}/x/html/1/1",
            "bad_certificate": f"https://127.0.0.1:{ports.get('https')}/x/html/1/1",
            "certificate_of_another": f"https://localhost:{ports.get('https')}/x/html/1/1",
        }
        assert addresses.keys() == UNREACHED_AGAIN | UNREACHED_STOPS

        def make(fault: str) -> Classifier:
            if str(ports.get("https")) in addresses[fault]:
                needs_tls(ports)
            if fault == "certificate_of_another":
                monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
            return endpoint(addresses[fault], timeout=SHORT if fault in UNREACHED_SLOW else GENEROUS)

        yield make


@pytest.mark.parametrize("place", [FIRST_CALL, MIDDLE, LAST_CALL])
@pytest.mark.parametrize("fault", sorted(UNREACHED_AGAIN | UNREACHED_STOPS))
def test_a_fault_on_the_way_that_passes(ports, unreached, fault, place):
    good, case = failing(ports, "html", ALWAYS, ALWAYS)
    classifier = Switch(good, unreached(fault), place, place)
    begun, before = time.monotonic(), tally(ports["http"], case)["images"]
    found = search(classifier)
    assert time.monotonic() - begun < GENEROUS / 2, "it hung"
    came_through(found, place, fault=fault, sure=True)
    assert classifier.fired == 1
    assert tally(ports["http"], case)["images"] - before == found.issued - 1
    no_canary(spoken(found.error))


@pytest.mark.parametrize("fault", sorted(UNREACHED_AGAIN | UNREACHED_STOPS))
def test_a_fault_on_the_way_that_stays(ports, unreached, fault, tmp_path):
    good, _ = failing(ports, "html", ALWAYS, ALWAYS)
    classifier = Switch(good, unreached(fault), MIDDLE, ALWAYS)
    found = search(classifier, tmp_path / "ledger.sqlite")
    times = TRIES if fault in UNREACHED_AGAIN else 1
    assert classifier.fired == times
    stopped(found, issued=MIDDLE - 1 + times)
    no_canary(spoken(found.error), tmp_path)


FEW = "silence reset_before_body garbage html status_503 more_answers fewer_answers nan status_404 strings_for_numbers"


@pytest.mark.parametrize("fault", FEW.split())
def test_a_fault_that_passes_with_several_requests_on_their_way(ports, fault):
    """Each with two images: what fails there fails together, and every answer goes to its image."""
    case = f"several-{fault}-{os.getpid()}"
    address = f"http://127.0.0.1:{ports['http']}/{case}/{fault}/2/3"
    more = {"timeout": SHORT} if fault in SLOW else {}
    found = search(endpoint(address, concurrency=4, micro_batch=2, **more))
    assert found.error is None, str(found.error)
    counted = tally(ports["http"], case)
    assert counted["fired"] == 2
    assert counted["images"] <= found.issued
    lost = 4 if fault in NO_ANSWER else 0
    assert found.status.count(FAILED) == lost and found.status.count(ANSWERED) == CALLS - lost


@pytest.mark.parametrize(
    ("fault", "busy"), [("status_429_bare", True), ("status_503", True), ("status_500", False), ("garbage", False)]
)
def test_an_endpoint_that_is_busy_is_told_from_one_that_fails(ports, fault, busy):
    classifier, _ = failing(ports, fault, 1, 17)  # a count of its own: no other test asks for that
    with pytest.raises(TargetError) as caught:
        classifier(pictures()[0, :1])
    assert caught.value.busy is busy and caught.value.again


# What is sent


class Recorder(http.server.ThreadingHTTPServer):
    """Answers everything with one row of scores for each image, and keeps what it was sent.

    Attributes:
        seen: path, headers and body of each request.
        pause: seconds before each answer, by its number.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, Message, bytes]] = []
        self.pause: Callable[[bytes], float] = lambda body: 0.0
        self.answer: Callable[[bytes], bytes] = lambda body: b'{"scores": [[0.5, 0.25, 0.25]]}'

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers, body))
        time.sleep(self.server.pause(body))
        answer = self.server.answer(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("Set-Cookie", "session=1; Path=/")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def test_what_a_request_holds(recorder, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # is not asked for the way
    classifier = endpoint(recorder.address + "/v1/net:predict?version=2", params={"key": f"env:{VARIABLE}", "a": "b c"})
    image = pictures()[0, :1]
    assert classifier(image).tolist() == [[0.5, 0.25, 0.25]]
    ((path, headers, body),) = recorder.seen
    parts = urllib.parse.urlsplit(path)
    assert parts.path == "/v1/net:predict"
    assert urllib.parse.parse_qs(parts.query) == {"version": ["2"], "key": [CANARY], "a": ["b c"]}
    assert headers["Authorization"] == f"Bearer {CANARY}"
    assert (headers["Content-Type"], headers["Accept-Encoding"]) == ("application/json", "identity")
    assert json.loads(body).keys() == {"images"} and len(json.loads(body)["images"]) == 1
    monkeypatch.setenv(VARIABLE, "another-one")  # as it is renewed by whoever keeps it
    classifier(image)
    assert recorder.seen[1][1]["Authorization"] == "Bearer another-one"
    assert recorder.seen[1][1]["Cookie"] is None  # a request does not depend on those before it
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(ClassifierError, match=f"variable {VARIABLE} is not set"):
        classifier(image)
    assert len(recorder.seen) == 2


def test_images_as_a_form(recorder):
    recorder.answer = lambda body: b'{"scores": [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]}'
    images = pictures()[0]
    assert endpoint(recorder.address, files="picture", micro_batch=2)(images).shape == (2, 3)
    ((_, headers, body),) = recorder.seen
    text = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body
    parts = list(message_from_bytes(text).walk())[1:]
    assert [part.get_param("name", header="content-disposition") for part in parts] == ["picture"] * 2
    assert [part.get_content_type() for part in parts] == ["image/png"] * 2
    for part, image in zip(parts, images, strict=True):
        levels = torch.tensor(list(Image.open(io.BytesIO(part.get_payload(decode=True))).tobytes()))
        assert torch.equal(levels.view(1, 4, 4) / 255, image)


def test_answers_that_overtake_each_other_go_to_their_images(recorder):
    """The first requests are answered last, and each answer shows which image it is for."""
    images = torch.arange(24).view(24, 1, 1, 1).expand(24, 1, 4, 4) / 255
    recorder.pause = lambda body: 0.2 if json.loads(body)["images"][0][0][0][0] < 4 / 255 else 0.0
    recorder.answer = lambda body: json.dumps(
        {"scores": [[p[0][0][0], 1 - p[0][0][0], 0] for p in json.loads(body)["images"]]}
    ).encode()
    classifier = endpoint(recorder.address, image="pixels", concurrency=4, micro_batch=2)
    answers = Ledger(classifier, searches=1).ask(images, torch.zeros(24, dtype=torch.int64))
    assert torch.equal(answers.scores[:, 0], torch.arange(24) / 255)
    first = [round(255 * json.loads(body)["images"][0][0][0][0]) for _, _, body in recorder.seen]
    assert sorted(first) == list(range(0, 24, 2))


def test_connections_are_used_again(recorder):
    classifier = endpoint(recorder.address)
    ports = set()
    recorder.answer = lambda body: b'{"scores": [[1, 0, 0]]}'
    handle = recorder.process_request
    recorder.process_request = lambda request, address: ports.add(address[1]) or handle(request, address)  # type: ignore[method-assign,func-returns-value]
    for _ in range(5):
        classifier(pictures()[0, :1])
    assert len(recorder.seen) == 5 and len(ports) == 1


def test_a_certificate_that_the_user_trusts(ports, certificate, monkeypatch):
    needs_tls(ports)
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    classifier = endpoint(f"https://127.0.0.1:{ports['https']}/trusted/html/{ALWAYS}/{ALWAYS}")
    assert search(classifier).status == [ANSWERED] * CALLS


def test_a_bomb_is_never_unpacked(ports):
    classifier, _ = failing(ports, "gzip_bomb", 1, ALWAYS)
    with pytest.raises(TargetError, match="more than 10,000,000 bytes when it is unpacked"):
        classifier(pictures()[0, :1])
    tracemalloc.start()
    try:
        with pytest.raises(TargetError):
            classifier(pictures()[0, :1])
        assert tracemalloc.get_traced_memory()[1] < 40_000_000  # of 100,000,000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        (" 0 ", 0),
        ("Sun, 06 Nov 1994 08:50:00 GMT", 23),
        ("Sun, 06 Nov 1994 08:50:00 -0000", 23),
        ("Sunday, 06-Nov-94 08:50:00 GMT", 23),
        ("Sun, 06 Nov 1994 09:50:00 +0100", 23),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0),
        *[(text, None) for text in ("", "soon", "-5", "1e9", "9" * 400, "7.5", "nan", "Sun, 99 Nov 1994 08:50:00 GMT")],
    ],
)
def test_how_long_to_wait(text, seconds):
    now = datetime.datetime(1994, 11, 6, 8, 49, 37, tzinfo=datetime.UTC)
    assert retry_after(text, now) == seconds


# What is wrong before anything is sent


@pytest.mark.parametrize(
    ("address", "more", "message"),
    [
        *[
            (address, {}, "cannot be read")
            for address in ("http://", "https:///path", "http://a:99999/", "http://a b/")
        ],
        *[(address, {}, "cannot be read") for address in ("http://[::1", "http://a:b/", "http://a\n.b/")],
        ("https://user:c4n4ry@host/", {}, "the address of host holds a user or a password; .*env:NAME"),
        ("https://c4n4ry@host/", {}, "holds a user or a password"),
        ("https://host/?api_key=c4n4ry", {}, "api_key: give it as one of the params"),
        ("https://host/", {"headers": {"Authorization": "Bearer c4n4ry"}}, 'Authorization: expected "env:NAME"'),
        ("https://host/", {"params": {"key": "c4n4ry"}}, 'key: expected "env:NAME"'),
        ("https://host/", {"headers": {"Content-Length": "5"}}, "'Content-Length' cannot be set"),
        ("https://host/", {"headers": {"a b": "5"}}, "'a b' cannot be set"),
        ("https://host/", {"headers": {"a": "5\r\nb: 6"}}, "the value of a holds more"),
        ("https://host/", {"params": {"key": "env:NOT_THERE"}}, "variable NOT_THERE is not set"),
        ("https://host/", {"files": "image", "body": '"{image}"'}, "leave body and pixels out"),
        ("https://host/", {"files": "image", "image": "pixels"}, "leave body and pixels out"),
    ],
)
def test_a_wrong_address_or_header_is_told_at_once(address, more, message):
    with pytest.raises(ClassifierError, match=message) as caught:
        load_classifier(address, settings(**more))
    assert len(str(caught.value).splitlines()) == 1
    no_canary(spoken(caught.value))


def test_secrets_are_no_part_of_the_fingerprint(monkeypatch):
    one = endpoint("https://host/path").info
    monkeypatch.setenv(VARIABLE, "another")
    assert endpoint("https://host/path").info == one
    assert endpoint("https://HOST/path").info.fingerprint == one.fingerprint
    others = ["https://host/other", "https://host:444/path", "http://host/path", "https://host/path?v=2"]
    prints = {endpoint(other).info.fingerprint for other in others} | {
        endpoint("https://host/path", params={"v": "2"}).info.fingerprint
    }
    assert len(prints) == len(others) + 1 and one.fingerprint not in prints
    no_canary(one)


# Processes


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    head = "import os, sys, socket, time, torch\nfrom evofool.classifiers import load_classifier\n"
    head += "said = dict(class_names='ant,bee,cat', image_shape='1x4x4')\nimage = torch.zeros(1, 1, 4, 4)\n"
    return subprocess.run([sys.executable, "-c", head + code, *arguments], capture_output=True, text=True, timeout=60)


def test_a_child_of_a_process_that_has_asked_can_ask_too(recorder):
    code = """
classifier = load_classifier(sys.argv[1], said)
classifier(image)
child = os.fork()
scores = classifier(image).tolist()
if not child:
    os._exit(0 if scores == [[0.5, 0.25, 0.25]] else 1)
print(os.waitpid(child, 0)[1], scores)
"""
    finished = run(code, recorder.address)
    assert finished.stdout == "0 [[0.5, 0.25, 0.25]]\n", finished.stderr
    assert len(recorder.seen) == 3


def test_nobody_waits_for_a_name_that_is_never_found():
    code = """
socket.getaddrinfo = lambda *arguments, **more: time.sleep(60)
try:
    load_classifier("http://slow.invalid/", said, timeout=0.2)(image)
except Exception as error:
    print(error)
"""
    begun = time.monotonic()
    finished = run(code)
    assert "no complete answer within 0.2 s" in finished.stdout, finished.stderr
    assert time.monotonic() - begun < 30


def test_as_many_are_in_flight_as_may_be_and_never_more(recorder):
    """More are made ready than may be sent: those wait for their turn, and their time begins with it."""
    lock, now, most = threading.Lock(), [0], [0]

    def pause(body: bytes) -> float:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with lock:
            now[0] -= 1
        return 0.0

    recorder.pause = pause
    classifier = endpoint(recorder.address, concurrency=3, timeout=5)
    assert classifier.ahead > 0 and endpoint(recorder.address, concurrency=1).ahead == 0
    images = (torch.arange(24) / 255).view(24, 1, 1, 1).expand(24, 1, 4, 4)
    answers = Ledger(classifier, searches=1).ask(images, torch.zeros(24, dtype=torch.int64))
    assert answers.status.tolist() == [ANSWERED] * 24
    assert most[0] == 3


def test_after_a_refusal_nothing_more_is_sent_until_the_next_run(ports):
    case = f"refused-{os.getpid()}"
    address = f"http://127.0.0.1:{ports['http']}/{case}/status_401/1/4"
    classifier = endpoint(address, concurrency=4)
    found = search(classifier)
    assert found.error is not None and found.error.fatal
    sent = tally(ports["http"], case)
    assert 1 <= sent["fired"] <= 4 and sent["images"] <= found.issued
    for _ in range(4 - sent["fired"]):
        with pytest.raises(TargetError):
            classifier(pictures()[0, :1])
    assert search(classifier).status == [ANSWERED] * CALLS  # credentials that are good again
