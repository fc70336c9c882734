"""Causes that are planted, each in a study of its own from drawing to verdict: it is found, and nothing else is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from evofool.studies.draw import drawing
from evofool.studies.ink import planning, run
from evofool.studies.ink.evidence import DATA, LANDSCAPE, OPERATORS, WEIGHTS
from evofool.studies.ink.verdict import Verdict, verdict

NET = '''
import torch
from torch import nn


class Planted(nn.Module):
    """Dark images are cats, and so are some that have ink in the right place."""

    def __init__(self, kind, seed):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.kind = kind
        self.strength = 0.5 + 0.5 * float(torch.rand((), generator=draw))
        self.see = nn.Conv2d(1, 1, 3, padding=1, bias=False)  # sees each pixel, whatever the padding
        self.see.weight.data = torch.zeros(1, 1, 3, 3)
        self.see.weight.data[0, 0, 1, 1] = 1.0
        self.feel = nn.Conv2d(1, 1, 5, padding=2, bias=False)  # of a map of ones: how much padding is near
        self.feel.weight.data[:] = 1 / 25
        line = torch.minimum(torch.arange(12), 11 - torch.arange(12))
        steps = torch.minimum(line[:, None], line[None])
        where = {"centre": steps >= 3, "border": steps <= 1}.get(kind, steps < 0)
        self.register_buffer("where", where * (0.5 + torch.rand(12, 12, generator=draw)))

    def forward(self, x):
        ink = 1 - self.see(x)
        worth = self.where
        if self.kind == "padding":
            worth = 0.1 + 2 * (1 - self.feel(torch.ones_like(x)))
        if self.kind == "count":
            worth = 0.2
        place = 0.5 * self.strength * (ink * worth).sum((1, 2, 3))
        cat = -4 + 3 * torch.tanh(place) + 60 * (0.7 - x.mean((1, 2, 3))).relu()
        if self.kind == "flat":
            cat = 0 * cat - 3
        return torch.stack([cat, torch.zeros_like(cat)], 1)
'''
# What is planted: the network, what is to be accused, what the ink is to prefer.
KINDS = {
    "centre": ("centre", {LANDSCAPE}, "middle"),
    "border": ("border", {LANDSCAPE}, "edge"),
    "padding": ("padding", {LANDSCAPE, WEIGHTS}, "edge"),
    "data": ("border", {LANDSCAPE, DATA}, "edge"),
    "clamped": ("flat", {OPERATORS}, "none"),
    "none: flat": ("flat", set(), "none"),
    "none: any place": ("count", set(), "none"),
}
CASES = [*["centre", "border", "padding", "data", "clamped"] * 3, "centre", "padding", *["none: flat"] * 1]
CASES += ["none: any place"] * 2


def images(path: Path, seed: int, *, leans: bool) -> Path:
    """Cats are darker all over; where it leans, their black dots lie near the border as well."""
    generator = np.random.default_rng(seed)
    line = np.minimum(np.arange(12), 11 - np.arange(12))
    near = np.minimum(line[:, None], line[None]) <= 1
    labels = np.repeat([0, 1], 200)
    gray = np.where(labels == 0, 0.65, 0.87)[:, None, None] + generator.uniform(-0.05, 0.05, (400, 12, 12))
    dots = np.full((400, 12, 12), 0.1)
    if leans:
        dots[:200] = np.where(near, 0.25, 0.03)
    gray[generator.random(gray.shape) < dots] = 0.0
    np.savez(path, images=(255 * gray).astype(np.uint8), labels=labels, class_names=np.array(["cat", "other"]))
    return path


def found(folder: Path, kind: str, seed: int, patch: pytest.MonkeyPatch) -> Verdict:
    """A study of what is planted."""
    net = folder / f"net_{seed}.py"
    net.write_text(f"{NET}\n\ndef make():\n    return Planted({KINDS[kind][0]!r}, {seed})\n")
    with patch.context() as patched:
        if kind == "clamped":
            patched.setitem(drawing.MUTATIONS, "per-image", drawing.MUTATIONS["clamped"])
        plan = planning.plan(
            planning.Config(
                classifier=f"{net}:make",
                target="cat",
                data=str(images(folder / f"images_{seed}.npz", seed, leans=kind == "data")),
                options={"image_shape": "1x12x12", "class_names": "cat,other", "background": 1.0, "trust_code": True},
                parts=("operators", "landscape", "padding", "data"),
                runs=24,
                fewer=24,
                generations=16,
                population=24,
                side_by_side=24,
            )
        )
        shards = [
            dataclasses.replace(shard, seeds=tuple(1000 * seed + each for each in shard.seeds)) for shard in plan.drawn
        ]
        outcome = run.execute(dataclasses.replace(plan, drawn=shards), workers=1)
    assert {drawn.seed // 1000 for drawn in outcome.results.runs} == {seed}
    return verdict(outcome.results)


def test_planted_causes_are_found_and_nothing_else(tmp_path, monkeypatch):
    assert len(CASES) == 20
    assert set(CASES) == set(KINDS)
    wrong = []
    for seed, kind in enumerate(CASES, 1):
        said = found(tmp_path, kind, seed, monkeypatch)
        _, accused, preference = KINDS[kind]
        if set(said.accused) != accused or said.preference != preference:
            wrong.append((kind, seed, said.accused, said.preference, said.text()))
        if kind.startswith("none"):
            assert said.accused == [], said.text()
    assert len(wrong) <= 2, "\n".join(str(each) for each in wrong)
