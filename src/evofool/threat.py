"""What an attack is allowed to do to an image, and what counts as having fooled the classifier."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .contracts import Criterion, Objective
from .encodings.perturbation import FewPixels, Frame, LpBall, Patch, lattice_eps
from .errors import SpecError, nearest
from .spec import op

Norm = Literal["linf", "l2", "l0", "patch", "frame"]
NORMS: tuple[str, ...] = get_args(Norm)


@dataclass(frozen=True)
class Threat:
    """How much of an image may change.

    Attributes:
        norm: "linf", "l2", "l0", "patch" or "frame".
        size: eps of "linf" (a whole number of gray levels, see `threat`) and "l2"; pixels of "l0"; side of a patch and
            thickness of a frame, in pixels.
    """

    norm: Norm
    size: float

    @property
    def encoding(self) -> Any:
        """The perturbations that are allowed."""
        if self.norm == "linf" or self.norm == "l2":
            return LpBall(self.norm, self.size)
        return {"l0": FewPixels, "patch": Patch, "frame": Frame}[self.norm](int(self.size))

    @property
    def measure(self) -> Literal["linf", "l2", "l0"]:
        """The distance that says how large a perturbation is."""
        return self.norm if self.norm in ("linf", "l2") else "l0"

    def described(self) -> str:
        """In words: "L-inf 76/255"."""
        if self.norm == "linf":
            return f"L-inf {round(self.size * 255)}/255"
        if self.norm == "l2":
            return f"L2 {self.size:g}"
        size = int(self.size)
        return {"l0": f"{size} pixel{'s' * (size != 1)}", "patch": f"patch {size} x {size}", "frame": f"frame {size}"}[
            self.norm
        ]


@dataclass(frozen=True)
class Goal:
    """What counts as success.

    Attributes:
        targeted: get to a class, instead of away from one.
        k: the class must be among the k first (targeted), or not among them.
    """

    targeted: bool = False
    k: int = 1

    @property
    def objective(self) -> Objective:
        """What is lowered: a margin, below 0 where the goal is reached."""
        return op("objectives.targeted_margin" if self.targeted else "objectives.untargeted_margin", k=self.k)

    @property
    def criterion(self) -> Criterion:
        """Success."""
        return op("criteria.among_first" if self.targeted else "criteria.not_among_first", k=self.k)


def threat(norm: str, size: float | None, image_shape: tuple[int, int, int]) -> Threat:
    """Check what an attack is allowed.

    Args:
        norm: one of `NORMS`.
        size: see `Threat`; of "linf" it is read as floor(255 size) / 255.
        image_shape: (C, H, W) of the images.

    Raises:
        SpecError: an unknown norm, or a size that is 0, or more than an image has.
    """
    channels, height, width = image_shape
    if norm not in NORMS:
        raise SpecError(f"norm '{norm}': unknown{nearest(norm, NORMS)}")
    name = {"linf": "eps", "l2": "eps", "l0": "pixels", "patch": "patch", "frame": "frame"}[norm]
    if size is None:
        raise SpecError(f"norm {norm} without a limit: give {name}")
    if not math.isfinite(size) or size <= 0:
        raise SpecError(f"{name} = {size:g}: expected above 0")
    most = {
        "linf": 1.0,
        "l2": math.sqrt(channels * height * width),
        "l0": height * width,
        "patch": min(height, width),
        "frame": (min(height, width) + 1) // 2,
    }[norm]
    if size > most:
        hint = "; gray levels are in [0, 1], so 8 of 255 is 0.0314" if norm == "linf" else ""
        raise SpecError(f"{name} = {size:g}: expected at most {most:g} for images of {height} x {width}{hint}")
    if norm == "linf":
        size = lattice_eps(size)
        if not size:
            raise SpecError("eps is less than one gray level: expected at least 1/255 = 0.0040")
    elif norm == "l2" and size * 255 < 1:
        raise SpecError("eps is less than one gray level in one place: expected at least 1/255 = 0.0040")
    elif norm != "l2" and size != int(size):
        raise SpecError(f"{name} = {size:g}: expected a whole number of pixels")
    return Threat(norm, size)  # type: ignore[arg-type]
