"""What a card says of a trained classifier: its keys and what they may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from .prepare import Prepare

FORMAT = "evofool-classifier/1"
_FROM_SHAPE = {"in_channels", "classes", "size"}

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


Length = Annotated[int, Field(gt=0, le=100_000)]
_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Preparation(BaseModel):
    """What happens to images before a network sees them; see `Prepare`."""

    model_config = _STRICT

    channels: Literal[1, 3] | None = None
    size: tuple[Length, Length] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    mean: Annotated[tuple[float, ...], Field(max_length=3)] = ()
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(max_length=3)] = ()

    def prepare(self) -> Prepare:
        """As it is done."""
        return Prepare(self.channels, self.size, None, self.interpolation, mean=self.mean, std=self.std)


class Adversarial(BaseModel):
    """The attack that a classifier was trained against; see `adversarial.Pgd`.

    Attributes:
        norm: of the ball.
        eps: its radius, in units of full white.
        steps: of the attack.
        step_size: of each.
        accuracy: share of the test images that are right in spite of the same attack; None if there were none.
    """

    model_config = _STRICT

    norm: Literal["linf"]
    eps: Share
    steps: Count
    step_size: Annotated[float, Field(gt=0)]
    accuracy: Share | None = None


class Card(BaseModel):
    """What is known of a trained classifier.

    Attributes:
        format: of this card.
        name: short name for tables.
        architecture: a function of `networks`, or a library's network: "timm:NAME", "torchvision:NAME".
        arguments: what it is given besides channels, classes and size, which follow from the next but one.
        kind: what the scores are: logits; probabilities of a single sigmoid.
        class_names: one for each of the K classes, in the order of the scores.
        image_shape: (C, H, W).
        range: of a pixel.
        background: gray level of an empty canvas in the training data.
        accuracy: on the test images, which had no part in training; None if there were none.
        held_out_accuracy: on the held-out training images that decided when to stop.
        held_out: how many these were.
        data: the training images, by name.
        data_fingerprint: SHA-256 of the training images before the held-out ones were taken, see `Dataset`.
        seed: of initialisation, order, augmentation and of the choice of held-out images.
        target_accuracy: where training was to stop; None for a best effort.
        epochs: passes over the training images that were begun.
        steps: batches learned from up to the weights that were kept.
        batch_size: images in a batch.
        learning_rate: the largest one.
        torch: version that trained it; another one may round differently.
        command: what remakes it.
        weights_sha256: of the weights file.
        memory_format: the faster layout on the machine that trained it.
        micro_batch: the fastest number of rows in one call there. Both stay as recorded: rounding depends on them.
        output: "sigmoid": a single output, whose sigmoid is the probability of the second class; "scores": one for
            each class.
        preparation: what happens to images inside.
        pretrained: training began with the library's weights.
        frozen: only the last layer was trained.
        balanced: each class counted the same in training, however many images it has; then the held-out accuracy is
            the mean of those of the classes.
        balanced_accuracy: the mean over the classes of the share of their test images that are right.
        adversarial: the attack that it was trained against. This and all from `output` on is left out of a card where
            it says nothing.
    """

    model_config = _STRICT

    format: Literal["evofool-classifier/1"]
    name: Annotated[str, Field(min_length=1, max_length=100)]
    architecture: str
    arguments: dict[str, int | str]
    kind: Literal["logits", "probabilities"]
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    image_shape: tuple[Count, Count, Count]
    range: tuple[float, float]
    background: Share
    accuracy: Share | None
    held_out_accuracy: Share
    held_out: Count
    data: str
    data_fingerprint: Digest
    seed: int
    target_accuracy: Share | None
    epochs: Count
    steps: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
    torch: str
    command: str | None
    weights_sha256: Digest
    memory_format: Literal["contiguous", "channels_last"]
    micro_batch: Annotated[int, Field(gt=0, le=100_000)]
    output: Literal["scores", "sigmoid"] = "scores"
    preparation: Preparation | None = None
    pretrained: bool = False
    frozen: bool = False
    balanced: bool = False
    balanced_accuracy: Share | None = None
    adversarial: Adversarial | None = None

    @model_validator(mode="after")
    def _agree(self) -> Card:
        single = self.output == "sigmoid"
        if single != (self.kind == "probabilities"):
            raise ValueError(
                f"kind is {self.kind} and output {self.output}; a sigmoid gives probabilities, and only it"
            )
        if single and len(self.class_names) != 2:
            raise ValueError(f"a single sigmoid tells 2 classes apart, not {len(self.class_names)}")
        return self

    @model_serializer(mode="wrap")
    def _short(self, all_of_it: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what says nothing, so that cards from before look as they did."""
        said: dict[str, Any] = all_of_it(self)
        fields = type(self).model_fields.items()
        return {key: said[key] for key, field in fields if field.is_required() or getattr(self, key) != field.default}

    @field_validator("range")
    @classmethod
    def _unit(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value != (0.0, 1.0):
            raise ValueError("expected [0.0, 1.0]")
        return value

    @field_validator("name", "data", "class_names")
    @classmethod
    def _printable(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not all(text.isprintable() for text in ([value] if isinstance(value, str) else value)):
            raise ValueError("expected printable characters")
        return value

    @field_validator("class_names")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("expected names that differ")
        return value

    @field_validator("arguments")
    @classmethod
    def _own(cls, value: dict[str, int | str]) -> dict[str, int | str]:
        if _FROM_SHAPE & value.keys():
            raise ValueError("channels, classes and size follow from image_shape and class_names; leave them out")
        return value

    def build_arguments(self) -> dict[str, Any]:
        """Everything that `networks.build` needs."""
        outputs = 1 if self.output == "sigmoid" else len(self.class_names)
        return build_arguments(self.image_shape, outputs, self.arguments)


def build_arguments(
    image_shape: tuple[int, int, int], classes: int, arguments: Mapping[str, int | str]
) -> dict[str, Any]:
    """What `networks.build` needs for images [C H W] of so many classes, besides the architecture's own arguments."""
    return {"in_channels": image_shape[0], "classes": classes, "size": tuple(image_shape[1:]), **arguments}
