"""L2: which gray levels an image gets within the radius, and the bumps of Square."""

from __future__ import annotations

import pytest
import torch

from evofool.algorithms.square import begin_with_bumps, bumps, move_mass
from evofool.encodings.perturbation import LpBall, distance
from evofool.encodings.pixels import to_lattice
from fakes import stream


def gray(count: int, shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.full((count, *shape), 100 / 255)


def shown(changes: list[float], radius: float) -> list[float]:
    """Gray levels by which four pixels differ in the end, by how much they are to change."""
    x = gray(1, (1, 1, 4))
    images = LpBall("l2", radius / 255).decode(torch.tensor(changes).view(1, 1, 1, 1, 4) / 255, x)
    return [round(level, 3) for level in ((images[:, 0] - x) * 255).flatten().tolist()]


# ---- gray levels


def test_gray_levels_are_the_nearest_where_the_radius_allows() -> None:
    assert shown([2.9, -1.8, 0.6, -0.4], radius=4.0) == [3, -2, 1, 0]


@pytest.mark.parametrize(
    ("square", "expected"),
    [
        (14.0, [3, -2, 1, 0]),
        (13.9, [3, -2, 0, 0]),  # 0.6 went furthest beyond
        (12.9, [3, -1, 0, 0]),
        (12.2, [3, -1, 0, 0]),  # which leaves 10
    ],
)
def test_what_a_radius_does_not_allow_is_taken_back_from_the_widest_on(square: float, expected: list[float]) -> None:
    """2.9^2 + 1.8^2 + 0.6^2 + 0.4^2 = 12.17."""
    assert shown([2.9, -1.8, 0.6, -0.4], radius=square**0.5) == expected


def test_of_equals_all_are_taken_back() -> None:
    assert shown([0.7, 0.7, 0.7, -0.7], radius=1.4) == [0, 0, 0, 0]
    assert shown([1.0, 1.0, 1.0, -1.0], radius=2.0) == [1, 1, 1, -1]


@pytest.mark.parametrize(
    ("shape", "eps"), [((3, 40, 40), 0.2), ((1, 28, 28), 2.0), ((3, 9, 7), 1.0), ((1, 1, 2), 0.01)]
)
def test_images_lie_between_the_nearest_levels_and_those_toward_the_original(
    shape: tuple[int, int, int], eps: float
) -> None:
    ball = LpBall("l2", eps)
    x = stream(30)["x"].integers(256, *shape).float() / 255
    genomes = ball.repair(ball.sample(x, 8, stream(30)) * 2, x)
    images = ball.decode(genomes, x)
    assert bool(ball.holds(images, x).all())
    nearest, inward = to_lattice(x[:, None] + genomes, None), to_lattice(x[:, None] + genomes, x)
    assert bool(((images == nearest) | (images == inward)).all())
    allowed = ball.holds(nearest, x)
    assert torch.equal(images[allowed], nearest[allowed])
    assert 0 < int(allowed.sum()) < allowed.numel(), "of both kinds"
    assert torch.equal((images * 255).round() / 255, images)
    assert bool((distance(images, x[:, None], "l2") >= distance(inward, x[:, None], "l2")).all())


def test_little_of_the_radius_is_lost() -> None:
    """Rounded toward the original, noise of two thirds of a gray level would keep 0.56 of it."""
    x, ball = gray(4, (3, 64, 64)), LpBall("l2", 0.66 * (3 * 64 * 64) ** 0.5 / 255)
    signs = stream(4)["noise"].uniform(2, 3, 64, 64).clamp(min=1e-6)
    noise = (-2 * signs[:, 0].log()).sqrt() * (2 * torch.pi * signs[:, 1]).cos()
    genomes = ball.repair(noise[:, None] / 255, x)
    kept = distance(ball.decode(genomes, x)[:, 0], x, "l2") / ball.eps
    assert bool((kept > 0.99).all()) and bool((kept <= 1).all())
    assert bool((distance(to_lattice(x[:, None] + genomes, x)[:, 0], x, "l2") / ball.eps < 0.6).all())


# ---- bumps


def test_a_bump_by_hand() -> None:
    """Squares around the middle of each half, which add 1, 1/4 and 1/9."""
    whole, middle, outer = 1 + 1 / 4 + 1 / 9, 1 / 4 + 1 / 9, 1 / 9
    side = [outer, middle, middle, middle, outer]
    upper = torch.tensor([side, [outer, middle, whole, middle, outer]])
    lower = torch.tensor([side, [outer, middle, whole, middle, outer], side])
    expected = torch.cat([upper / upper.norm(), -lower / lower.norm()]) / 2**0.5
    assert torch.allclose(bumps(7)[5, :5, :5], expected, atol=1e-6)
    assert not bool(bumps(7)[5, 5:].any()) and not bool(bumps(7)[5, :, 5:].any())


@pytest.mark.parametrize("side", range(1, 12))
def test_both_halves_of_a_bump_weigh_as_much(side: int) -> None:
    shape = bumps(11)[side]
    up, down = shape[: side // 2], shape[side // 2 :]
    assert bool((up >= 0).all()) and bool((down <= 0).all()) and float(shape.norm()) == pytest.approx(1)
    if side > 1:
        assert float(up.norm()) == pytest.approx(float(down.norm()))
        assert bool((shape[:side, :side] != 0).all())


def test_each_of_the_first_bumps_lies_its_own_way() -> None:
    x = gray(40, (2, 11, 16))
    grid = begin_with_bumps(x, 0.7, stream(40))
    assert grid.flatten(1).norm(dim=1).tolist() == pytest.approx([0.7] * 40)
    assert not bool(grid[:, :, -1].any()), "11 rows hold five bumps of two"
    tiles = grid[:, :, :10].unfold(2, 2, 2).unfold(3, 2, 2)  # [40 2 5 8 2 2]
    upright = (bumps(2)[2] * tiles).flatten(4).sum(4).abs()
    turned = (bumps(2)[2].T * tiles).flatten(4).sum(4).abs()
    length = 0.7 / 80**0.5  # of each of 2 x 5 x 8
    stands = upright > turned
    assert torch.allclose(torch.where(stands, upright, turned), torch.full_like(upright, length))
    assert torch.equal(stands[:, 0], stands[:, 1]), "alike in all channels"
    assert bool(((tiles[..., 0, 0] > 0)[:, 0] != (tiles[..., 0, 0] > 0)[:, 1]).any()), "each with its own sign"
    assert 0.4 < float(stands.float().mean()) < 0.6
    assert bool((stands[:, 0].flatten(1).any(1) & ~stands[:, 0].flatten(1).all(1)).all()), "both ways in one image"


def test_a_step_moves_mass_from_one_window_into_another() -> None:
    best = begin_with_bumps(gray(1, (1, 10, 10)), 1.0, stream(1))
    moved = move_mass(
        best,
        tops=torch.tensor([[1, 6]]),
        lefts=torch.tensor([[2, 5]]),
        side=torch.tensor([3]),
        signs=torch.tensor([[-1.0]]),
        turned=torch.tensor([False]),
        eps=1.0,
    )
    assert float(moved.norm()) == pytest.approx(1.0, abs=1e-6)
    assert not bool(moved[0, 0, 6:9, 5:8].any()), "what was there is gone"
    other = torch.ones(10, 10, dtype=torch.bool)
    other[1:4, 2:5] = other[6:9, 5:8] = False
    assert torch.allclose(moved[0, 0][other], best[0, 0][other], atol=1e-6)
    before, after = best[0, 0, 1:4, 2:5], moved[0, 0, 1:4, 2:5]
    mass = float((before.square().sum() + best[0, 0, 6:9, 5:8].square().sum()).sqrt())
    shape = -bumps(10)[3, :3, :3] + before / before.norm()
    assert torch.allclose(after, shape * mass / shape.norm(), atol=1e-6)
