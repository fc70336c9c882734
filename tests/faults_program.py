"""A program that classifies images of 4 x 4 pixels by lines of JSON, and fails on purpose.

    python tests/faults_program.py FAULT FIRST LAST FILE

Requests FIRST to LAST meet the fault; FILE grows by a line for each request, whatever program of them answers it:
"fault" or "good", and the process.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable

NAMES = ("ant", "bee", "cat")
PIXELS = 16
LONG = 20.0  # seconds that a fault lasts at most


def weight(label: int, pixel: int) -> float:
    """Of the linear classifier that it is."""
    return ((7 * label + 3 * pixel) % 11 - 5) / 5


def scores(pixels: list[float]) -> list[float]:
    """Probabilities for gray levels in [0, 1]."""
    logits = [sum(weight(k, i) * pixels[i] for i in range(PIXELS)) for k in range(len(NAMES))]
    parts = [math.exp(logit) for logit in logits]
    return [part / sum(parts) for part in parts]


def answer(request: dict) -> dict:
    """The right one."""
    rows = [scores([level for row in image[0] for level in row]) for image in request["images"]]
    return {"id": request["id"], "scores": rows}


def say(text: str) -> None:
    os.write(1, text.encode())


def complain(more: str = "") -> None:
    """What a careless program writes when it dies."""
    secret = os.environ.get("EVOFOOL_TEST_KEY", "")
    print("Traceback (most recent call last):\n" + "  long line\n" * 50, file=sys.stderr)
    print(f"\x1b[31mValueError: the key {secret} is wrong\x1b[0m{more}", file=sys.stderr, flush=True)


def dies(request: dict) -> None:
    complain()
    os._exit(3)


def leaves_quietly(request: dict) -> None:
    os._exit(0)


def is_killed(request: dict) -> None:
    complain("." * 178)  # only the end of the secret stands in the last 200 characters
    os.kill(os.getpid(), signal.SIGKILL)


def dies_amid_its_answer(request: dict) -> None:
    say(json.dumps(answer(request))[:-5])
    dies(request)


def closes_stdout(request: dict) -> None:
    os.close(1)
    time.sleep(LONG)


def stops_answering(request: dict) -> None:
    time.sleep(LONG)


def stops_amid_its_answer(request: dict) -> None:
    say(json.dumps(answer(request))[:-5])
    time.sleep(LONG)


def leaves_a_child_that_holds_the_pipes(request: dict) -> None:
    import subprocess  # which takes a while, and is not needed otherwise

    subprocess.Popen(["sleep", str(LONG)])
    os._exit(3)


def writes_noise(request: dict) -> None:
    say(f"Loading {os.environ.get('EVOFOOL_TEST_KEY', '')} ...\n{json.dumps(answer(request))}\n")


def writes_a_line_without_end(request: dict) -> None:
    while True:
        say(" " * 100_000)


def answers_another(request: dict) -> None:
    say(json.dumps({**answer(request), "id": request["id"] + 1}) + "\n")


def answers_without_id(request: dict) -> None:
    say(json.dumps({"scores": answer(request)["scores"]}) + "\n")


def answers_true(request: dict) -> None:
    say(json.dumps({**answer(request), "id": True}) + "\n")


def answers_twice(request: dict) -> None:
    say((json.dumps(answer(request)) + "\n") * 2)


def malformed(request: dict) -> None:
    say(json.dumps(answer(request))[:-2] + "\n")


def nan(request: dict) -> None:
    say(json.dumps({**answer(request), "scores": [[float("nan")] * 3]}) + "\n")


def wrong_class_count(request: dict) -> None:
    say(json.dumps({**answer(request), "scores": [[0.5, 0.5]]}) + "\n")


def talks_on_stderr(request: dict) -> None:
    """No fault: as much as no pipe can hold."""
    os.write(2, b"step\n" * 200_000)
    say(json.dumps(answer(request)) + "\n")


FAULTS: dict[str, Callable[[dict], None]] = {
    each.__name__: each
    for each in (
        *(dies, leaves_quietly, is_killed, dies_amid_its_answer, closes_stdout, stops_answering),
        *(stops_amid_its_answer, leaves_a_child_that_holds_the_pipes, writes_noise, writes_a_line_without_end),
        *(answers_another, answers_without_id, answers_true, answers_twice, malformed, nan, wrong_class_count),
        talks_on_stderr,
    )
}


def main() -> None:
    """Answer until standard input is closed."""
    fault, first, last, file = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    for line in sys.stdin:
        request = json.loads(line)
        with open(file, "a+") as log:
            log.seek(0)
            number = len(log.readlines()) + 1
            fires = first <= number <= last
            log.write(f"{'fault' if fires else 'good'} {os.getpid()} {len(request['images'])}\n")
        if fires:
            FAULTS[fault](request)
        else:
            say(json.dumps(answer(request)) + "\n")


if __name__ == "__main__":
    main()
