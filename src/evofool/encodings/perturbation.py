"""Genomes that are perturbations: what is added to an image x, kept within a limit around it.

Decoded images lie on the 1/255 lattice, and never exceed the limit: within L-inf and L2 they are rounded to the nearest
gray level, of which L2 takes back what its radius does not allow; else toward x. Each limit also says of an image
whether it `holds`, exactly, in whole gray levels: for searches that ask outside it on their way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn import functional

from .. import genome
from ..errors import SpecError
from ..rng import Stream
from ..shapes import Bool, Float, Tensor
from .pixels import WHOLE, to_lattice

SLACK = 1e-6  # by which float32 rounding may miss a radius
WIDTHS = 256  # by which an L2 ball tells apart how far gray levels were rounded away from x
TRACE = 2.0**-30  # a change too small to be seen: what a pixel gets that is held, but looks as it did


def lattice_eps(eps: float) -> float:
    """The radius of an L-inf ball in whole gray levels: the largest multiple of 1/255 that is not above eps."""
    return math.floor(eps * 255 + 1e-6) / 255


def changed(images: Float[Tensor, "*B C H W"], x: Float[Tensor, "*B C H W"]) -> Bool[Tensor, "*B H W"]:
    """Which pixels differ, in any channel."""
    return (images != x).any(-3)


def distance(
    images: Float[Tensor, "*B C H W"], x: Float[Tensor, "*B C H W"], norm: Literal["linf", "l2", "l0"]
) -> Float[Tensor, "*B"]:
    """How far images are from x, float64: the largest difference, the Euclidean one, or how many pixels differ."""
    if norm == "l0":
        return changed(images, x).flatten(-2).sum(-1).double()
    difference = (images.double() - x.double()).flatten(-3)
    return difference.abs().amax(-1) if norm == "linf" else difference.norm(dim=-1)


def repainted(
    colours: Float[Tensor, "*N C H W"], inside: Bool[Tensor, "*N 1 H W"], x: Float[Tensor, "*N C H W"]
) -> Float[Tensor, "*N C H W"]:
    """The perturbation that gives the pixels inside these colours, and leaves the others alone.

    A gray level inside that x has already is changed by `TRACE`, which no image shows: so that a search that thinks in
    sets of pixels finds its set in the perturbation, and limits count what is held.
    """
    new = colours - x
    return torch.where(inside, torch.where(new == 0, torch.where(x < 0.5, TRACE, -TRACE), new), 0.0)


def levels(images: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B n C H W"]:
    """By how many gray levels images on the 1/255 lattice differ from x, whole numbers."""
    return ((images - x[:, None]) * 255).round()


@dataclass(frozen=True)
class LpBall:
    """Perturbations of bounded size.

    Attributes:
        norm: "linf": no gray level changes by more than eps; "l2": the Euclidean norm over all of them is at most eps.
        eps: radius; 1.0 = full white. Of "linf" it is a whole number of gray levels (see `lattice_eps`).
    """

    norm: Literal["linf", "l2"]
    eps: float

    def __post_init__(self) -> None:
        if not (self.eps > 0 and math.isfinite(self.eps)):
            raise SpecError(f"eps = {self.eps}: expected above 0")
        if self.norm == "linf" and self.eps != lattice_eps(self.eps):
            raise SpecError(f"eps = {self.eps} is no multiple of 1/255; use lattice_eps")

    def sample(self, x: Float[Tensor, "B C H W"], n: int, rng: Stream) -> Float[Tensor, "B n C H W"]:
        """Uniform in the cube of an L-inf ball; of an L2 ball, uniform in direction and in radius."""
        if self.norm == "linf":
            return self.repair((2 * rng["cube"].uniform(n, *x.shape[1:]) - 1) * self.eps, x)
        normal = rng["direction"].normal(n, *x.shape[1:])
        radius = self.eps * rng["radius"].uniform(n, 1, 1, 1)
        return self.repair((normal / normal.flatten(2).norm(dim=2)[..., None, None, None] * radius).float(), x)

    def repair(self, genomes: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B n C H W"]:
        """Clamp to the radius and to images in [0, 1]; of L2, images first, then shorten: both hold."""
        low, high = -x[:, None], 1 - x[:, None]
        if self.norm == "linf":
            return genomes.clamp(-self.eps, self.eps).clamp_(low, high)
        inside = genomes.clamp(low, high)
        length = inside.flatten(2).norm(dim=2)
        factor = torch.where(length > self.eps, (self.eps - SLACK * self.eps) / length, 1.0)
        return inside * factor[..., None, None, None]

    def decode(self, genomes: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B n C H W"]:
        """The images on the 1/255 lattice, of each gray level the nearest.

        Of an L2 ball that may be too far; then those gray levels that were rounded away from x, from the widest on, are
        rounded toward it, as few as will do.
        """
        images = to_lattice(x[:, None] + genomes, None)
        if self.norm == "linf":
            return images
        rows, members = (~self.holds(images, x)).nonzero(as_tuple=True)
        if len(rows):
            images[rows, members] = self._shortened(genomes[rows, members], x[rows])
        return images

    def _shortened(self, genomes: Float[Tensor, "m C H W"], x: Float[Tensor, "m C H W"]) -> Float[Tensor, "m C H W"]:
        """Of an L2 ball, images whose nearest gray levels are too far."""
        start = (x * 255).round_()
        exact = (x + genomes) * 255 - start
        nearest = exact.round()
        size = nearest.abs()
        excess = size.flatten(1).double().square().sum(1) - (self.eps * 255) ** 2
        beyond = (size - exact.abs()).flatten(1)  # above 0: rounded away from x, by half a level at most
        width = (beyond * (2 * WIDTHS)).long().clamp_(0, WIDTHS - 1)
        spared = torch.where(beyond > 0, 2 * size.flatten(1) - 1, 0.0)  # of the sum of squares, by one level less
        place = (width + WIDTHS * torch.arange(len(x))[:, None]).flatten()
        total = torch.bincount(place, spared.flatten().double(), minlength=WIDTHS * len(x)).view(-1, WIDTHS)
        enough = total.flip(1).cumsum(1).flip(1) >= excess[:, None]
        back = (beyond > 0) & (width >= enough.sum(1, keepdim=True) - 1)
        images = (start + nearest - nearest.sign() * back.view_as(nearest)).div_(255)
        # Levels that are whole but for rounding stay, which a radius of a few whole levels may not allow.
        over = ~self.holds(images[:, None], x)[:, 0]
        if bool(over.any()):
            images[over] = to_lattice((x + (1 - 2 * WHOLE) * genomes)[over][:, None], x[over])[:, 0]
        return images

    def holds(self, images: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"]) -> Bool[Tensor, "B n"]:
        """Which images on the lattice lie within the radius."""
        difference = levels(images, x).flatten(2).double()
        if self.norm == "linf":
            return difference.abs().amax(2) <= round(self.eps * 255)
        return difference.square().sum(2) <= (self.eps * 255) ** 2


@dataclass(frozen=True)
class FewPixels:
    """Perturbations of at most so many pixels, each of them as strong as an image allows.

    A genome may carry other fields behind its perturbation; they are left as they are.

    Attributes:
        pixels: that may change, in any of their channels.
    """

    pixels: int

    def __post_init__(self) -> None:
        if self.pixels < 1:
            raise SpecError(f"pixels = {self.pixels}: expected at least 1")

    def sample(self, x: Float[Tensor, "B C H W"], n: int, rng: Stream) -> Float[Tensor, "B n C H W"]:
        """As many pixels as may change, anywhere, each channel black or white."""
        height, width = x.shape[2:]
        order = rng["places"].uniform(n, height * width).argsort(-1)
        chosen = (order < self.pixels).view(len(x), n, 1, height, width)
        values = rng["values"].bits(n, *x.shape[1:]).float()
        return torch.where(chosen, values - x[:, None], 0.0)

    def repair(self, genomes: genome.G, x: Float[Tensor, "B C H W"]) -> genome.G:
        """Clamp to images in [0, 1], and drop the weakest changes beyond the number allowed (of equals, later ones)."""
        clamped = genome.genes(genomes).clamp(-x[:, None], 1 - x[:, None])
        size = clamped.abs().amax(2).flatten(2)
        many = (size > 0).sum(2) > self.pixels
        if not bool(many.any()):
            return genome.with_genes(genomes, clamped)
        rank = size.argsort(dim=2, descending=True, stable=True).argsort(dim=2)
        kept = (rank < self.pixels).view(*clamped.shape[:2], 1, *clamped.shape[3:])
        return genome.with_genes(genomes, torch.where(kept, clamped, 0.0))

    def decode(self, genomes: genome.G, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B n C H W"]:
        """The images on the 1/255 lattice."""
        return to_lattice(x[:, None] + genome.genes(genomes), x)

    def holds(self, images: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"]) -> Bool[Tensor, "B n"]:
        """Which images have no more pixels changed than may be."""
        return changed(images, x[:, None]).flatten(2).sum(2) <= self.pixels


@dataclass(frozen=True)
class Patch:
    """Perturbations within one square, which may lie anywhere.

    Attributes:
        side: of the square, in pixels.
    """

    side: int

    def __post_init__(self) -> None:
        if self.side < 1:
            raise SpecError(f"side of a patch = {self.side}: expected at least 1")

    def sample(self, x: Float[Tensor, "B C H W"], n: int, rng: Stream) -> Float[Tensor, "B n C H W"]:
        """A square of black and white channels somewhere."""
        height, width = x.shape[2:]
        top = rng["top"].integers(max(1, height - self.side + 1), n)
        left = rng["left"].integers(max(1, width - self.side + 1), n)
        values = rng["values"].bits(n, *x.shape[1:]).float()
        return torch.where(self._square(top, left, height, width)[:, :, None], values - x[:, None], 0.0)

    def repair(self, genomes: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B n C H W"]:
        """Clamp to images in [0, 1], and keep the square that holds most changed pixels (of equals, the first)."""
        clamped = genomes.clamp(-x[:, None], 1 - x[:, None])
        marked = (clamped != 0).any(2)
        if bool(self._within(marked).all()):
            return clamped
        height, width = clamped.shape[-2:]
        side = (min(self.side, height), min(self.side, width))
        count = functional.avg_pool2d(marked.double().flatten(0, 1)[:, None], side, stride=1, divisor_override=1)
        place = count.flatten(1).argmax(1).view(clamped.shape[:2])
        columns = width - side[1] + 1
        kept = self._square(place // columns, place % columns, height, width)
        return torch.where(kept[:, :, None], clamped, 0.0)

    def decode(self, genomes: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B n C H W"]:
        """The images on the 1/255 lattice."""
        return to_lattice(x[:, None] + genomes, x)

    def holds(self, images: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"]) -> Bool[Tensor, "B n"]:
        """Which images have all that is changed within one square."""
        return self._within(changed(images, x[:, None]))

    def _within(self, marked: Bool[Tensor, "B n H W"]) -> Bool[Tensor, "B n"]:
        return (_extent(marked.any(3)) <= self.side) & (_extent(marked.any(2)) <= self.side)

    def _square(self, top: Tensor, left: Tensor, height: int, width: int) -> Bool[Tensor, "B n H W"]:
        rows, columns = torch.arange(height), torch.arange(width)
        inside_rows = (rows >= top[..., None]) & (rows < top[..., None] + self.side)
        inside_columns = (columns >= left[..., None]) & (columns < left[..., None] + self.side)
        return inside_rows[..., :, None] & inside_columns[..., None, :]


@dataclass(frozen=True)
class Frame:
    """Perturbations of the border of an image only.

    Attributes:
        thickness: of the border, in pixels.
    """

    thickness: int

    def __post_init__(self) -> None:
        if self.thickness < 1:
            raise SpecError(f"thickness of a frame = {self.thickness}: expected at least 1")

    def sample(self, x: Float[Tensor, "B C H W"], n: int, rng: Stream) -> Float[Tensor, "B n C H W"]:
        """Black and white channels all along the border."""
        values = rng["values"].bits(n, *x.shape[1:]).float()
        return self.repair(values - x[:, None], x)

    def repair(self, genomes: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B n C H W"]:
        """Clamp to images in [0, 1], and leave everything within the border as it is."""
        clamped = genomes.clamp(-x[:, None], 1 - x[:, None])
        return torch.where(self.mask(*clamped.shape[-2:]), clamped, 0.0)

    def decode(self, genomes: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B n C H W"]:
        """The images on the 1/255 lattice."""
        return to_lattice(x[:, None] + genomes, x)

    def holds(self, images: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"]) -> Bool[Tensor, "B n"]:
        """Which images have nothing changed but their border."""
        return ~(changed(images, x[:, None]) & ~self.mask(*images.shape[-2:])).flatten(2).any(2)

    def mask(self, height: int, width: int) -> Bool[Tensor, "H W"]:
        """Where the border is."""
        mask = torch.ones(height, width, dtype=torch.bool)
        mask[self.thickness : height - self.thickness, self.thickness : width - self.thickness] = False
        return mask


@dataclass(frozen=True)
class Unbounded:
    """Perturbations without a limit, as long as they give images: for searches that approach a limit from outside.

    A genome may carry other fields behind its perturbation; they are left as they are.
    """

    def sample(self, x: Float[Tensor, "B C H W"], n: int, rng: Stream) -> Float[Tensor, "B n C H W"]:
        """To uniform images."""
        return rng["images"].uniform(n, *x.shape[1:]) - x[:, None]

    def repair(self, genomes: genome.G, x: Float[Tensor, "B C H W"]) -> genome.G:
        """Clamp to images in [0, 1]."""
        return genome.with_genes(genomes, genome.genes(genomes).clamp(-x[:, None], 1 - x[:, None]))

    def decode(self, genomes: genome.G, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B n C H W"]:
        """The images on the 1/255 lattice."""
        return to_lattice(x[:, None] + genome.genes(genomes), x)

    def holds(self, images: Float[Tensor, "B n C H W"], x: Float[Tensor, "B C H W"]) -> Bool[Tensor, "B n"]:
        """All."""
        return torch.ones(images.shape[:2], dtype=torch.bool)


def examples() -> list[Any]:
    """One of each, for trying things out."""
    return [LpBall("linf", 51 / 255), FewPixels(4), Patch(3), Frame(1), Unbounded()]


def _extent(marked: Bool[Tensor, "B n L"]) -> Tensor:
    """From the first to the last marked place, both included; 0 where none is marked."""
    first = marked.byte().argmax(2)
    last = marked.shape[2] - 1 - marked.flip(2).byte().argmax(2)
    return torch.where(marked.any(2), last - first + 1, 0)
