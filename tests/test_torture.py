"""Short forms of the torture: see torture/run.py, whose long forms are run before a release."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).resolve().parent.parent / "torture"


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.syspath_prepend(str(TORTURE))


def held(section, **options):
    outcome = importlib.import_module(section).run(short=True, **options)
    missed = [str(bar) for bar in outcome.bars if not bar.met]
    assert not missed, "\n".join([*missed, *outcome.notes])
    assert outcome.bars
    return outcome


def test_a_killed_run_comes_to_the_same_end():
    assert held("kills", study=False).figures["queries lost"] > 0


def test_a_classifier_that_counts_for_itself_never_sees_more_than_was_charged():
    held("counting")


@pytest.mark.parametrize("section", ["cuts", "flips", "faults", "locks", "same", "long"])
def test_what_befalls_a_run(section):
    held(section)


def test_every_section_is_there_and_can_be_named():
    program = importlib.import_module("run")
    assert set(program.SECTIONS) == {file.stem for file in TORTURE.glob("*.py")} - {"run", "bars", "searcher"}
    sys.modules.pop("run")


def test_a_bar_without_a_single_case_is_missed():
    outcome = importlib.import_module("bars").Outcome()
    assert not outcome.met
    outcome.none("what cannot happen", [], 0)
    assert not outcome.met
