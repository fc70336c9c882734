"""A run directory: one owner at a time, nothing overwritten, everything that changed is found, nothing is executed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from evofool import locks, rundir
from evofool.checkpoint import Checkpoints
from evofool.errors import DamagedRunError, UserError
from evofool.files import read_png, write_png
from evofool.ledger import Ledger
from evofool.rundir import Finding, RunDirectory, damage, findings, image_of
from evofool.search import Progress
from fakes import linear, stream

HEAD = {"kind": "study", "config": {"seeds": [0, 1]}}


def image(seed: int = 0, channels: int = 1) -> torch.Tensor:
    return stream(1, seed)["image"].integers(256, channels, 4, 4)[0].to(torch.uint8)


def finding(number: int = 1, **changes) -> Finding:
    found = Finding(
        number, f"images/{number}.png", rundir.image_hash(image(number)), "linear", 0, "arm", 3, 1, 2, 0.75, [0.0, 1.5]
    )
    return dataclasses.replace(found, **changes)


def fill(run: RunDirectory) -> None:
    """Two findings, a checkpoint and some answers."""
    for number in (1, 2):
        write_png(run.path / "images" / f"{number}.png", image(number))
    rundir.write_findings(run.path, [finding(1), finding(2)])
    ledger = Ledger(linear(), searches=["a"], store=run.store, chain="shard")
    ledger.ask(torch.zeros(1, 1, 4, 4), torch.zeros(1, dtype=torch.int64), (0,))
    none = torch.zeros(1, dtype=torch.bool)
    Checkpoints(run.path / "state", "shard", ledger).save(Progress(0, torch.zeros(1, 2), ~none, none))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    run = RunDirectory.create(tmp_path_factory.mktemp("whole") / "run", HEAD)
    fill(run)
    run.close()
    assert damage(run.path) == []
    return run.path


@pytest.fixture
def closed(whole, tmp_path) -> Path:
    """A copy of a run that was closed in order."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture
def killed(tmp_path) -> Path:
    """A run whose owner has let go of it in the middle."""
    run = RunDirectory.create(tmp_path / "run", HEAD)
    fill(run)
    run.abandon()
    assert damage(run.path) == [] and not rundir.closed(run.path)
    return run.path


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


# Beginning, going on, ending


def test_a_run_begins_with_its_head_and_ends_with_its_manifest(tmp_path):
    run = RunDirectory.create(tmp_path / "runs" / "a", HEAD)
    head = {"format": "evofool-run/1", **HEAD}
    assert run.run.items() >= head.items() and rundir.read_run(run.path) == run.run
    assert json.loads((run.path / "run.json").read_text()).items() >= head.items()
    assert not rundir.closed(run.path) and locks.is_owned(run.path)
    run.store.finish("shard", 1)
    run.close()
    assert rundir.closed(run.path) and not locks.is_owned(run.path)
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert sorted(manifest["files"]) == ["ledger.sqlite", "run.json"] == rundir.files_of(run.path)
    for name, entry in manifest["files"].items():
        content = (run.path / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def test_it_goes_on_with_what_is_there(closed):
    run = RunDirectory.open(closed)
    assert run.run == rundir.read_run(closed) and run.store.counts()["a"]["answered"] == 1
    assert not (closed / "manifest.json").exists() and (closed / "manifest.previous.json").is_file()
    assert run.store.sessions() == [("closed", ""), ("open", "")]
    run.abandon()
    assert damage(closed) == [] and not rundir.closed(closed)
    again = RunDirectory.open(closed)
    assert [state for state, _ in again.store.sessions()] == ["closed", "killed", "open"]
    again.close()
    assert damage(closed) == [] and rundir.closed(closed)
    assert RunDirectory.open(closed).store.sessions()[2] == ("closed", "")


def test_a_run_that_was_killed_before_it_had_a_ledger_begins_anew(killed):
    for name in ("images", "state"):
        shutil.rmtree(killed / name)
    for file in [*killed.glob("ledger.sqlite*"), killed / "findings.jsonl"]:
        file.unlink()
    assert RunDirectory.open(killed).store.counts() == {}


@pytest.mark.parametrize("how", ["missing", "empty"])
@pytest.mark.parametrize("which", ["closed", "killed", "begun again"])
def test_a_ledger_that_is_gone_is_never_begun_anew(request, which, how):
    """It would forget every charge."""
    path = request.getfixturevalue("killed" if which == "killed" else "closed")
    if which == "begun again":
        RunDirectory.open(path).abandon()
        shutil.rmtree(path / "state")
    (path / "ledger.sqlite").unlink()
    if how == "empty":
        (path / "ledger.sqlite").touch()
    with pytest.raises(DamagedRunError, match=r"ledger\.sqlite: is missing"):
        RunDirectory.open(path)
    assert not locks.is_owned(path)


def test_a_ledger_that_changed_since_it_was_closed_is_refused_and_stays(closed):
    content = bytearray((closed / "ledger.sqlite").read_bytes())
    content[-1] ^= 1
    (closed / "ledger.sqlite").write_bytes(content)
    before = contents(closed)
    with pytest.raises(DamagedRunError, match="has changed since the run was closed"):
        RunDirectory.open(closed)
    assert contents(closed) == before | {"workers": b""} or contents(closed).keys() == before.keys()
    assert (closed / "manifest.json").is_file() and not locks.is_owned(closed)


def test_a_run_that_cannot_be_opened_keeps_its_manifest(closed, monkeypatch):
    def fail(*_, **__):
        raise UserError("no room")

    before = (closed / "manifest.json").read_bytes()
    monkeypatch.setattr(rundir, "Store", fail)
    with pytest.raises(UserError, match="no room"):
        RunDirectory.open(closed)
    assert (closed / "manifest.json").read_bytes() == before and not locks.is_owned(closed)


def test_what_was_being_written_when_it_died_is_swept_away(killed):
    for leftover in (killed / ".run.json.tmp-1", killed / "images" / ".1.png.tmp-77"):
        leftover.write_bytes(b"half")
    assert damage(killed) == []
    RunDirectory.open(killed).close()
    assert not list(killed.rglob(".*")) and damage(killed) == []


def test_abandoning_twice_or_after_closing_is_harmless(tmp_path):
    run = RunDirectory.create(tmp_path / "run", HEAD)
    run.close()
    run.abandon()
    run.abandon()
    assert not locks.is_owned(run.path)


# What is not overwritten


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "ledger.sqlite", "manifest.json", "images"])
def test_a_directory_that_holds_something_is_left_alone(tmp_path, name):
    if name == "images":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path), os.listdir(tmp_path)
    with pytest.raises(UserError, match="is not empty; expected a new or an empty directory"):
        RunDirectory.create(tmp_path, HEAD)
    assert (contents(tmp_path), os.listdir(tmp_path)) == before


def test_a_run_is_not_begun_in_another(closed):
    before = contents(closed)
    with pytest.raises(UserError, match=f"holds a run already; `evofool resume {closed}` goes on with it"):
        RunDirectory.create(closed, HEAD)
    assert contents(closed) == before


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UserError, match="is not empty; expected"):
        RunDirectory.create(tmp_path / "run", HEAD)
    with pytest.raises(UserError, match="cannot be made"):
        RunDirectory.create(tmp_path / "run" / "below", HEAD)
    with pytest.raises(UserError, match="no run there"):
        RunDirectory.open(tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_an_empty_directory_will_do(tmp_path):
    RunDirectory.create(tmp_path, HEAD).close()
    assert damage(tmp_path) == []


def test_of_two_that_begin_at_once_one_does(tmp_path):
    """Both see an empty directory; the head is that of the one that goes on."""
    path, ways, gate = tmp_path / "run", [], threading.Barrier(4)

    def begin(number):
        gate.wait()
        try:
            ways.append((number, RunDirectory.create(path, {**HEAD, "config": {"number": number}})))
        except UserError as error:
            ways.append((number, error))

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [(number, run) for number, run in ways if isinstance(run, RunDirectory)]
    assert len(ways) == 4 and len(winners) == 1
    assert rundir.read_run(path)["config"] == {"number": winners[0][0]}
    winners[0][1].abandon()


def test_a_run_that_came_and_went_meanwhile_is_left_alone(tmp_path, monkeypatch):
    path, locked = tmp_path / "run", locks.own

    def late(folder):
        monkeypatch.setattr(locks, "own", locked)
        RunDirectory.create(path, {**HEAD, "config": {"first": 1}}).close()
        return locked(folder)

    monkeypatch.setattr(locks, "own", late)
    with pytest.raises(UserError, match="holds a run already"):
        RunDirectory.create(path, HEAD)
    assert rundir.read_run(path)["config"] == {"first": 1} and damage(path) == [] and not locks.is_owned(path)


def test_a_network_file_system_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("evofool.files.filesystem", lambda path: "nfs4")
    with pytest.raises(UserError, match="network file system"):
        RunDirectory.create(tmp_path / "run", HEAD)
    assert os.listdir(tmp_path) == []


# Who owns it


OWNER = """
import os, sys
from pathlib import Path
from evofool.rundir import RunDirectory, join
path = Path(sys.argv[1])
kept = join(path) if sys.argv[2] == "worker" else RunDirectory.open(path)
print("ready", flush=True)
sys.stdin.read()
"""


def process(path: Path, role: str) -> subprocess.Popen:
    started = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(path), role], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None and started.stdout.readline() == "ready\n"
    return started


def end(started: subprocess.Popen) -> None:
    started.send_signal(signal.SIGKILL)
    started.wait()
    started.stdin.close()
    started.stdout.close()


def test_a_live_owner_is_respected_and_a_dead_one_followed_at_once(killed, monkeypatch):
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: pytest.fail("it waited"))
    owner = process(killed, "owner")
    try:
        for _ in range(2):
            with pytest.raises(UserError, match=f"process {owner.pid} works on this run; wait for it, or stop it"):
                RunDirectory.open(killed)
        assert locks.is_owned(killed)
    finally:
        end(owner)
    assert not locks.is_owned(killed)
    run = RunDirectory.open(killed)
    assert (killed / "lock").read_text() == f"{os.getpid()}\n"
    assert [state for state, _ in run.store.sessions()] == ["killed", "killed", "open"]
    with pytest.raises(UserError, match=f"process {os.getpid()} works on this run"):
        RunDirectory.open(killed)
    run.abandon()


def test_a_worker_that_still_lives_is_waited_for(killed, monkeypatch):
    worker, waits = process(killed, "worker"), []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            end(worker)

    monkeypatch.setattr(locks.time, "sleep", sleep)
    run = RunDirectory.open(killed)
    assert len(waits) >= 3 and worker.returncode == -signal.SIGKILL
    run.abandon()


def test_a_worker_that_does_not_end_is_told(killed, monkeypatch):
    worker = process(killed, "worker")
    try:
        monkeypatch.setattr(locks, "PATIENCE", 0.0)
        with pytest.raises(UserError, match="a worker process of an earlier run still lives; stop it"):
            RunDirectory.open(killed)
        assert not locks.is_owned(killed)
    finally:
        end(worker)


@pytest.mark.parametrize("name", ["lock", "workers"])
def test_a_lock_that_is_a_link_is_not_followed(killed, tmp_path, name):
    (tmp_path / "mine").write_text("mine")
    (killed / name).unlink(missing_ok=True)
    (killed / name).symlink_to(tmp_path / "mine")
    with pytest.raises(DamagedRunError, match="is a link"):
        RunDirectory.open(killed)
    assert (tmp_path / "mine").read_text() == "mine"


# Heads


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is not JSON"),
        (b"\x80\x04\x95", "is not JSON"),
        (pickle.dumps(HEAD), "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"format": ' + b"9" * 10_000 + b"}", "is not JSON"),
        (b" " * 10_000_001, "has 10,000,001 bytes; expected at most 10,000,000"),
        (b"[]", "is not the head of a run"),
        (b'{"format": "evofool-run/1", "kind": "study"}', "is not the head of a run"),
        (b'{"format": "evofool-run/1", "kind": 1, "config": {}}', "is not the head of a run"),
        (b'{"format": "results/1", "kind": "study", "config": {}}', "is not the head of a run"),
        (b'{"format": "evofool-run/2", "kind": "s", "config": {}}', "has the format evofool-run/2, expected"),
    ],
)
def test_a_head_that_is_none_is_damage(closed, content, found):
    (closed / "run.json").write_bytes(content)
    for read in (rundir.read_run, damage, RunDirectory.open):
        with pytest.raises(DamagedRunError, match=found):
            read(closed)
    assert (closed / "run.json").read_bytes() == content


def test_a_flipped_bit_in_the_head_is_found(closed):
    whole, head = (closed / "run.json").read_bytes(), rundir.read_run(closed)
    told = 0
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 7
        (closed / "run.json").write_bytes(content)
        try:
            assert rundir.read_run(closed) == head  # a space, perhaps
        except DamagedRunError:
            told += 1
    assert told > len(whole) // 2


def test_where_there_is_no_run_it_says_so(tmp_path):
    for read in (rundir.read_run, damage, RunDirectory.open):
        with pytest.raises(UserError, match=r"no run there; expected a directory with run\.json"):
            read(tmp_path / "nothing")
    assert os.listdir(tmp_path) == []


# Damage


def flip(path: Path, place: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["run.json", "ledger.sqlite", "findings.jsonl", "images/1.png", "images/2.png", "state"]
)  # fmt: skip
def test_a_file_that_changed_or_is_missing_is_found(closed, name):
    files = sorted((closed / name).iterdir()) if name == "state" else [closed / name]
    assert len(files) == (2 if name == "state" else 1)
    for file in files:
        kept, relative = file.read_bytes(), file.relative_to(closed).as_posix()
        if name != "run.json":
            flip(file, len(kept) // 2)
            assert f"{relative}: its bytes have changed" in damage(closed)
            file.unlink()
            assert any(line.startswith(f"{relative}: is missing") for line in damage(closed))
        else:
            file.write_bytes(kept + b" ")
            assert damage(closed) == ["run.json: its bytes have changed"]
        file.write_bytes(kept)
    assert damage(closed) == []


@pytest.mark.parametrize("name", ["notes.txt", "images/3.png", "state/x/y", "ledger.sqlite-wal"])
def test_a_file_that_came_later_is_found(closed, name):
    (closed / name).parent.mkdir(parents=True, exist_ok=True)
    (closed / name).write_bytes(b"hello")
    assert f"{name}: is not in the manifest" in damage(closed)


@pytest.mark.parametrize("name", ["images/1.png", "state", "images", "ledger.sqlite", "extra"])
@pytest.mark.parametrize("which", ["closed", "killed"])
def test_a_link_is_found_and_not_followed(request, tmp_path, name, which):
    path = request.getfixturevalue(which)
    if (path / name).exists():
        (path / name).rename(tmp_path / "elsewhere")
    else:
        (tmp_path / "elsewhere").mkdir()
    (path / name).symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path / "elsewhere") if (tmp_path / "elsewhere").is_dir() else {}
    assert any("is a link" in line for line in damage(path))
    with pytest.raises(DamagedRunError, match="is a link"):
        RunDirectory.open(path)
    assert not locks.is_owned(path) and (not before or contents(tmp_path / "elsewhere") == before)


def test_a_pipe_is_found_and_not_waited_for(killed):
    os.mkfifo(killed / "images" / "3.png")
    assert any("is a link or no file at all" in line for line in damage(killed))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"files": []}', b'{"files": {"a": 1}}', b"[" * 100_000])
def test_a_manifest_that_cannot_be_read_is_found_and_hinders_nobody(closed, content):
    (closed / "manifest.json").write_bytes(content)
    assert damage(closed) == ["manifest.json: cannot be read"]
    run = RunDirectory.open(closed)
    run.close()
    assert damage(closed) == []


def test_names_of_a_manifest_are_only_names(closed, tmp_path):
    (tmp_path / "secret").write_text("x")
    manifest = json.loads((closed / "manifest.json").read_text())
    manifest["files"]["../secret"] = {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}
    (closed / "manifest.json").write_text(json.dumps(manifest))
    assert damage(closed) == ["../secret: is missing"]


def test_a_damaged_ledger_is_found(killed):
    content = (killed / "ledger.sqlite").read_bytes()
    (killed / "ledger.sqlite").write_bytes(content[: len(content) // 2])
    assert any("ledger" in line for line in damage(killed))
    (killed / "ledger.sqlite").write_bytes(b"")
    assert damage(killed)
    (killed / "ledger.sqlite").unlink()
    assert damage(killed) == ["ledger.sqlite: is missing"]


def test_a_damaged_checkpoint_is_found(killed):
    tensors = next((killed / "state").glob("*.safetensors"))
    flip(tensors)
    assert damage(killed) == [f"{tensors}: its bytes are not those that were written"]


def test_looking_for_damage_changes_nothing(closed):
    before = contents(closed)
    assert damage(closed) == damage(closed) == []
    assert contents(closed) == before


# Findings


def test_findings_come_back(killed):
    assert findings(killed) == [finding(1), finding(2)]
    assert torch.equal(image_of(killed, finding(2)), image(2))
    (killed / "findings.jsonl").unlink()
    assert findings(killed) == []


@pytest.mark.parametrize(
    "name",
    [
        "../1.png", "images/../1.png", "images/../../1.png", "/etc/1.png", "1.png", "images/a/1.png", "images/1.txt",
        "images", "images/..", "", "images/a\0.png", "state/1.png",
    ],
)  # fmt: skip
def test_a_finding_names_a_file_of_its_directory(killed, name):
    rundir.write_findings(killed, [finding(1), finding(2, file=name)])
    with pytest.raises(DamagedRunError, match=r"line 2 names the file .* expected images/NAME\.png"):
        findings(killed)
    assert len(damage(killed)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "1",
        "{}",
        "[" * 100_000,
        json.dumps({**dataclasses.asdict(finding()), "more": 1}),
        json.dumps({**dataclasses.asdict(finding()), "number": "1"}),
        json.dumps({**dataclasses.asdict(finding()), "file": ["images", "1.png"]}),
        json.dumps({**dataclasses.asdict(finding()), "scores": 1.0}),
        json.dumps({**dataclasses.asdict(finding()), "label": True}),
        b"\xff".decode("latin-1"),
    ],
)
def test_a_line_that_is_no_finding_is_damage(killed, line):
    with open(killed / "findings.jsonl", "a", encoding="latin-1") as file:
        file.write(f"{line}\n")
    with pytest.raises(DamagedRunError, match="line 3 is not a finding"):
        findings(killed)
    assert len(damage(killed)) == 1


def test_every_image_that_is_not_what_was_found_is_told(killed):
    write_png(killed / "images" / "1.png", image(9))
    (killed / "images" / "2.png").unlink()
    found = damage(killed)
    assert len(found) == 2 and "1.png: is not the image that was found" in found[0] and "2.png" in found[1]


def png(mode: str, size=(4, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def bomb(width: int, height: int) -> bytes:
    """A small file that says it is a huge image."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "cannot be read as a PNG"),
        (b"GIF89a" + bytes(100), "cannot be read as a PNG"),
        (pickle.dumps([1]), "cannot be read as a PNG"),
        (png("L")[:45], "cannot be read as a PNG"),
        (png("RGBA"), "is a PNG of mode RGBA; expected gray or RGB"),
        (png("P"), "is a PNG of mode P"),
        (png("1"), "is a PNG of mode 1"),
        (png("I;16"), "is a PNG of mode I;16"),
        (bomb(60_000, 60_000), "cannot be read as a PNG"),
        (bomb(10_000, 10_000), "has 10000 x 10000 pixels; expected at most 50,000,000"),
    ],
    ids=["empty", "gif", "pickle", "cut", "rgba", "palette", "bits", "16 bits", "bomb", "large"],
)
def test_a_png_that_is_none_of_ours_is_damage(killed, content, found):
    (killed / "images" / "1.png").write_bytes(content)
    with pytest.raises(DamagedRunError, match=found):
        read_png(killed / "images" / "1.png")
    assert len(damage(killed)) == 1


def test_a_jpeg_is_no_png(killed):
    Image.new("L", (4, 4)).save(killed / "images" / "1.png", "JPEG")
    with pytest.raises(DamagedRunError, match="cannot be read as a PNG"):
        read_png(killed / "images" / "1.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_comes_back_byte_by_byte_and_any_flip_is_told_or_changes_nothing(tmp_path, channels):
    path, given = tmp_path / "1.png", image(1, channels)
    write_png(path, given)
    assert torch.equal(read_png(path), given)
    content = path.read_bytes()
    told = 0
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            changed = read_png(path)
        except DamagedRunError:
            told += 1
            continue
        assert torch.equal(changed, given) or rundir.image_hash(changed) != rundir.image_hash(given)
    assert told > len(content) // 2
