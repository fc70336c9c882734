"""Commands: a program that dies, writes noise or stops answering costs tries; no score is wrong, and nothing hangs."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from evofool.classifiers import load_classifier
from evofool.contracts import Classifier
from evofool.errors import ClassifierError, TargetError
from faults_program import FAULTS
from remote import ANSWERED, CALLS, CANARY, FAILED, VARIABLE, known, no_canary, pictures, search, settings, spoken

PROGRAM = Path(__file__).with_name("faults_program.py")
FIRST_CALL, MIDDLE, LAST_CALL = 1, CALLS // 2, CALLS
ALWAYS = 1_000_000
TRIES = 5
SHORT, GENEROUS = 0.8, 30.0  # seconds; Python has to start in a short one, too

NO_ANSWER = {"nan"}
STOPS = {"wrong_class_count"}
NONE = {"talks_on_stderr"}
LATER = {"answers_twice"}  # is met by the next request
SLOW = {"stops_answering", "stops_amid_its_answer", "leaves_a_child_that_holds_the_pipes"}


@pytest.fixture(autouse=True)
def secret(monkeypatch, caplog) -> Iterator[None]:
    """The program knows a secret from its environment, and tells it when it dies."""
    monkeypatch.setenv(VARIABLE, CANARY)
    caplog.set_level(logging.DEBUG)
    yield
    no_canary("\n".join(record.getMessage() for record in caplog.get_records("call")))


class Program:
    """A program with one fault, and what it was asked."""

    def __init__(self, file: Path, fault: str = "dies", first: int = ALWAYS, last: int = ALWAYS, **more: Any):
        self.file = file
        line = shlex.join([sys.executable, "-S", str(PROGRAM), fault, str(first), str(last), str(file)])
        said = {"timeout": SHORT if fault in SLOW else GENEROUS, "image": "pixels", **more}
        self.classifier = load_classifier(f"command:{line}", settings(**said))

    @property
    def requests(self) -> list[list[str]]:
        """What, which process and how many images, of each request."""
        return [line.split() for line in self.file.read_text().splitlines()] if self.file.exists() else []

    @property
    def fired(self) -> int:
        return sum(what == "fault" for what, *_ in self.requests)

    @property
    def processes(self) -> set[int]:
        return {int(process) for _, process, _ in self.requests}


@pytest.fixture
def program(tmp_path) -> Iterator[Callable[..., Program]]:
    made = []

    def make(*arguments: Any, **more: Any) -> Program:
        made.append(Program(tmp_path / f"requests{len(made)}", *arguments, **more))
        return made[-1]

    yield make
    for each in made:
        each.classifier.close()
        for process in each.processes:
            assert not alive(process), "a program was left behind"


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(processes: set[int], within: float = 10.0) -> bool:
    """Whether they all end in time."""
    until = time.monotonic() + within
    while any(map(alive, processes)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(alive, processes))


@pytest.mark.parametrize("place", [FIRST_CALL, MIDDLE, LAST_CALL])
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_that_passes(program, fault, place):
    one = program(fault, place, place)
    begun = time.monotonic()
    found = search(one.classifier)
    assert time.monotonic() - begun < GENEROUS / 2, "it hung"
    assert one.fired == 1, "the fault did not happen"
    assert len(one.requests) <= found.issued
    if fault in STOPS:
        assert found.error is not None and found.error.fatal and found.issued == place
        return
    assert found.error is None, str(found.error)
    status = [ANSWERED] * CALLS
    if fault in NO_ANSWER:
        status[place - 1] = FAILED
    assert found.status == status
    if fault in NONE | NO_ANSWER or (fault in LATER and place == LAST_CALL):
        assert found.issued == CALLS and found.waits == []
    elif fault not in SLOW:
        assert found.issued == CALLS + 1 and found.waits == [0.5]
        assert len(one.requests) == found.issued - (fault in LATER)
    if fault not in NONE | LATER:
        assert len(one.processes) >= 2 or (place == LAST_CALL and fault in NO_ANSWER), "it was not started again"


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - NONE - LATER - SLOW | {"stops_answering"}))
def test_a_fault_that_stays(program, fault, tmp_path):
    one = program(fault, MIDDLE, ALWAYS)
    found = search(one.classifier, tmp_path / "ledger.sqlite")
    assert found.error is not None and found.error.fatal and found.error.exit_code == 3
    times = 1 if fault in STOPS else TRIES
    assert one.fired == times
    assert len(one.requests) <= found.issued
    assert len(str(found.error).splitlines()) == 1 and str(found.error).isprintable()
    no_canary(spoken(found.error), (tmp_path / "ledger.sqlite").read_bytes().decode(errors="replace"))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("dies", r"ended with exit code 3 before it answered; the end of its stderr: .*Error: the key \*\*\* is"),
        ("is_killed", "was ended by SIGKILL"),
        ("leaves_quietly", "ended with exit code 0 before it answered; nothing on stderr"),
        ("closes_stdout", "closed its stdout"),
        ("stops_answering", r"no answer within 0.8 s \(timeout\)"),
        ("writes_noise", r"expected one line of JSON .* on stdout .*: Loading \*\*\* \.\.\."),
        ("writes_a_line_without_end", "more than 10,000,000 bytes"),
        ("answers_another", "with the id 1 of the request"),
        ("answers_without_id", "with the id 1 of the request"),
        ("answers_true", "with the id 1 of the request"),
        ("malformed", "with the id 1 of the request|not the JSON"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_fault(program, fault, message):
    with pytest.raises(TargetError, match=message) as caught:
        program(fault, 1, ALWAYS).classifier(pictures()[0, :1])
    assert caught.value.again and not caught.value.fatal
    assert len(str(caught.value)) < 320
    no_canary(spoken(caught.value))


def test_one_process_answers_all_requests_in_turn(program):
    one = program(micro_batch=2)
    assert search(one.classifier).status == [ANSWERED] * CALLS
    assert len(one.processes) == 1
    assert [images for *_, images in one.requests] == ["2"] * (CALLS // 2)
    one.classifier.close()
    assert gone(one.processes)
    assert one.classifier(pictures()[0]).shape == (2, 3)  # and can be asked after all
    assert len(one.processes) == 2


def test_several_processes_answer_several_threads(program):
    one = program(concurrency=3, image="pixels")
    images = pictures().flatten(0, 1)
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(one.classifier, images[:, None].repeat(4, 1, 1, 1, 1)))
    assert torch.allclose(torch.cat(answers), known(images.repeat(4, 1, 1, 1)), rtol=0, atol=1e-6)
    assert 1 <= len(one.processes) <= 3


def test_a_long_request_to_a_program_that_talks_before_it_listens(tmp_path):
    """Neither side may wait for the other with full pipes."""
    script = tmp_path / "talker.py"
    script.write_text(
        "import json, os, sys\nos.write(2, b'x' * 300_000)\n"
        "request = json.loads(sys.stdin.readline())\n"
        "print(json.dumps({'id': request['id'], 'scores': [[1, 0, 0]] * len(request['images'])}))\n"
    )
    line = f"command:{shlex.join([sys.executable, str(script)])}"
    said = settings(image_shape=(3, 64, 64), image="pixels", micro_batch=20, timeout=GENEROUS)
    classifier = load_classifier(line, said)
    assert classifier(torch.zeros(20, 3, 64, 64)).tolist() == [[1, 0, 0]] * 20


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path):
    script = tmp_path / "parent.sh"
    script.write_text(f"sleep 60 & echo $! >> {tmp_path}/children; echo $$ >> {tmp_path}/children; wait\n")
    classifier = load_classifier(f"command:sh {script}", settings(timeout=0.5))
    begun = time.monotonic()
    with pytest.raises(TargetError, match="no answer within"):
        classifier(pictures()[0, :1])
    assert time.monotonic() - begun < 20
    processes = {int(line) for line in (tmp_path / "children").read_text().split()}
    assert len(processes) == 2 and gone(processes)


OWNER = """
import sys, torch
from evofool.classifiers import load_classifier
classifier = load_classifier(sys.argv[1], class_names="ant,bee,cat", image_shape="1x4x4", image="pixels")
classifier(torch.zeros(1, 1, 4, 4))
print("asked", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("way", ["end", "end of a deaf one", "kill"])
def test_programs_end_with_the_process_that_asked(tmp_path, way):
    """A deaf one does not see that its standard input has ended."""
    file = tmp_path / "requests"
    line = shlex.join([sys.executable, "-S", str(PROGRAM), "dies", "9", "9", str(file)])
    if "deaf" in way:
        answer = '{"id": 1, "scores": [[1, 0, 0]]}'
        script = tmp_path / "deaf.sh"
        script.write_text(f"read request\necho good $$ 1 > {file}\necho '{answer}'\nexec sleep 60\n")
        line = f"sh {script}"
    command = [sys.executable, "-c", OWNER, f"command:{line}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdin and owner.stdout
        assert owner.stdout.readline() == "asked\n"
        processes = {int(file.read_text().split()[1])}
        assert all(map(alive, processes))
        if way == "kill":
            owner.send_signal(signal.SIGKILL)
    assert gone(processes)


@pytest.mark.parametrize(
    ("line", "more", "message"),
    [
        ("./no-such-program --flag", {}, "there is no program './no-such-program' that can be run"),
        ("'unclosed", {}, "No closing quotation"),
        (" ", {}, "names no program"),
        ("true", {"headers": {"a": "b"}}, "headers: is for endpoints"),
        ("true", {"files": "image"}, "files: is for endpoints"),
        ("true", {"body": '["{images}"]'}, "expected a table"),
        ("true", {"class_names": None}, "does not say what its classes are"),
    ],
)
def test_a_wrong_command_is_told_at_once(line, more, message):
    with pytest.raises(ClassifierError, match=message):
        load_classifier(f"command:{line}", settings(**more))


def test_a_file_that_is_no_program(tmp_path):
    file = tmp_path / "predict"
    file.write_text("\x7fELF but not quite")
    file.chmod(0o755)
    classifier = load_classifier(f"command:{file}", settings())
    with pytest.raises(TargetError, match="cannot be started: Exec format error") as caught:
        classifier(pictures()[0, :1])
    assert caught.value.fatal


def test_what_is_known_of_it(program):
    one, other = program(micro_batch=4), program("nan")
    info = one.classifier.info
    assert (info.name, info.micro_batch, info.concurrency, info.metered) == (Path(sys.executable).name, 4, 1, True)
    assert info.fingerprint != other.classifier.info.fingerprint
    assert isinstance(one.classifier, Classifier)
    one.file.write_text("")


def test_nothing_of_a_command_is_a_shell(tmp_path):
    classifier = load_classifier(f"command:echo $HOME > {tmp_path}/out; true", settings())
    with pytest.raises(TargetError, match=r"\$HOME >"):
        classifier(pictures()[0, :1])
    assert os.listdir(tmp_path) == []
