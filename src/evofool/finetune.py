"""What training starts from: a network of ours or of a library, its head, and the classes it is to tell apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import nn

from . import networks
from .classifiers.support import card as cards
from .classifiers.support import pretrained
from .classifiers.support.prepare import Prepare
from .classifiers.torch import lay_out
from .contracts import Dataset
from .data import fingerprint
from .errors import ClassifierError, DataError, nearest
from .shapes import Float, Tensor

FEWEST = 5  # images of a class: a fifth is held out


class Learner(nn.Module):
    """A network as it is trained: images [N C H W] in [0, 1] in, logits [N K] out, whatever is between.

    Attributes:
        network: takes prepared images, gives [N K] or, if `single`, one output [N 1].
        prepare: what happens to images before.
        single: its one output z stands for the logits 0 and z. Cross-entropy of these is the binary cross-entropy of
            sigmoid(z).
        head: its last layers.
        frozen: only the head learns; the rest stays in eval mode, so that not even its running means move.
        pretrained: the rest has the weights of a library.
        class_weights: how much an image of each class counts in the loss; None = the same.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        prepare: Prepare | None = None,
        single: bool = False,
        head: tuple[nn.Module, ...] = (),
        frozen: bool = False,
        pretrained: bool = False,
    ):
        super().__init__()
        self.network = network
        self.prepare = prepare or Prepare()
        self.single = single
        self.head = head
        self.frozen = frozen
        self.pretrained = pretrained
        self.class_weights: Tensor | None = None
        if frozen:
            network.requires_grad_(False)
            for part in head:
                part.requires_grad_(True)

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Logits of every class."""
        prepared = self.prepare(images)
        if prepared is not images:
            prepared = lay_out(prepared, "channels_last")
        scores = self.network(prepared)
        return networks.two_logits(scores) if self.single else scores

    def train(self, mode: bool = True) -> Learner:
        """As of any module, but a frozen part always stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.network.eval()
            for part in self.head:
                part.train(mode)
        return self


def start(
    architecture: str,
    dataset: Dataset,
    generator: torch.Generator,
    *,
    arguments: Mapping[str, int | str] | None = None,
    single: bool = False,
    trained: bool = True,
    freeze: bool = False,
    input_size: tuple[int, int] | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Learner:
    """A network before it is trained.

    Args:
        architecture: a function of `networks`, "timm:NAME" or "torchvision:NAME".
        dataset: what it is to learn; it decides the shape of the images and the classes.
        generator: of first weights of a network of ours.
        arguments: of an architecture of ours.
        single: one output for two classes.
        trained: begin with a library's weights where they can be had.
        freeze: train the head alone.
        input_size: (H, W) of what a library's network sees; None = what it was made for. Images are resized to it
            inside, and to what it was made for where it cannot take them.
        warn: told where a library's weights cannot be had.

    Raises:
        ClassifierError: an unknown architecture or argument; nothing to freeze; a network that cannot take the images.
    """
    outputs = 1 if single else len(dataset.class_names)
    if single and len(dataset.class_names) != 2:
        raise ClassifierError(
            f"{dataset.name} has {len(dataset.class_names)} classes; a single output tells 2 apart: name one of them "
            f"with --binary"
        )
    channels, height, width = dataset.images.shape[1:]
    if pretrained.is_library(architecture):
        if arguments:
            raise ClassifierError(f"{architecture} takes no argument '{next(iter(arguments))}'")
        return _from_library(architecture, dataset, outputs, trained, freeze, input_size, warn)
    library, colon, _ = architecture.partition(":")
    if colon:
        raise ClassifierError(f"{architecture}: unknown library '{library}'{nearest(library, pretrained.LIBRARIES)}")
    if architecture not in networks.architectures():
        known = [*networks.architectures(), *(f"{library}:NAME" for library in pretrained.LIBRARIES)]
        raise ClassifierError(f"unknown architecture '{architecture}'{nearest(architecture, known)}")
    if freeze:
        raise ClassifierError(
            f"{architecture} begins with random weights: there is nothing to freeze; leave --freeze out"
        )
    module = networks.build(architecture, cards.build_arguments((channels, height, width), outputs, arguments or {}))
    module = networks.initialise(module, generator)
    dense = [part for part in module.modules() if isinstance(part, nn.Linear)]
    return Learner(module, single=single, head=(dense[-1],))


def _from_library(
    architecture: str,
    dataset: Dataset,
    outputs: int,
    trained: bool,
    freeze: bool,
    input_size: tuple[int, int] | None,
    warn: Callable[[str], None],
) -> Learner:
    found = None
    if trained:
        try:
            found = pretrained.network(architecture, outputs, trained=True)
        except pretrained.MissingWeightsError as error:
            why = str(error).partition(";")[0]
            if freeze:
                raise ClassifierError(f"{why}; without them there is nothing to freeze") from error
            warn(f"{why}; training begins with random weights")
    elif freeze:
        raise ClassifierError(f"{architecture} begins with random weights: there is nothing to freeze")
    is_trained = found is not None
    found = found or pretrained.network(architecture, outputs)
    learner = Learner(
        found.module,
        prepare=replace(found.prepare, crop=None, size=input_size or found.prepare.size),
        single=outputs == 1,
        head=found.head,
        frozen=freeze,
        pretrained=is_trained,
    )
    image_shape = tuple(dataset.images.shape[1:])
    refusal = _refusal(learner, image_shape)
    if refusal and input_size and found.prepare.size:
        learner.prepare = replace(learner.prepare, size=found.prepare.size)
        refusal = _refusal(learner, image_shape)
    if refusal:
        raise ClassifierError(f"{architecture} cannot take images of {' x '.join(map(str, image_shape))}: {refusal}")
    return learner


def _refusal(learner: Learner, image_shape: tuple[int, ...]) -> str | None:
    """What a network says against images of a shape, if anything."""
    learner.eval()
    try:
        with torch.inference_mode():
            learner(torch.full((1, *image_shape), 0.5))
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return None


# Classes -------------------------------------------------------------------------------------------------------------


def one_against_rest(dataset: Dataset, name: str) -> Dataset:
    """The same images in two classes: of a class, and not. Their names are sorted as in a folder: cat, not_cat.

    Raises:
        DataError: there is no such class.
    """
    if name not in dataset.class_names:
        raise DataError(f"{dataset.name} has no class '{name}'{nearest(name, dataset.class_names)}")
    names = tuple(sorted((name, f"not_{name}")))
    is_it = dataset.labels == dataset.class_names.index(name)
    labels = torch.where(is_it, names.index(name), 1 - names.index(name))
    return replace(
        dataset,
        labels=labels,
        class_names=names,
        name=f"{dataset.name}, {name} or not",
        fingerprint=fingerprint(dataset.images, labels, names),
    )


def inverse_frequency(dataset: Dataset) -> Float[Tensor, " K"]:
    """Weight of an image of each class: N / (K N_k), so that all classes weigh the same together.

    Raises:
        DataError: too few images of a class to hold some out and learn from the others.
    """
    classes = len(dataset.class_names)
    counts = torch.bincount(dataset.labels, minlength=classes)
    fewest = int(counts.argmin())
    if counts[fewest] < FEWEST:
        raise DataError(
            f"{dataset.name} has {int(counts[fewest])} images of '{dataset.class_names[fewest]}', expected at least "
            f"{FEWEST} of each class; give more images"
        )
    return len(dataset) / (classes * counts.float())
