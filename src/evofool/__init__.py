"""evofool evolves images that fool image classifiers, seeing only what the classifier answers.

Start with `evofool --help`, or in Python with the rooms:

    operators    selection, crossover, mutation, survival: one function each
    algorithms   what proposes the next images
    classifiers  what is asked
    data         what it is asked about
    search       the one loop
    studies      whole experiments with their reports

`evofool.attack(model, images, labels, eps=0.03)` fools a model with your images; `evofool.load_classifier(
"onnx:net.onnx")` takes any classifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .classifiers import load_classifier
from .errors import UserError

if TYPE_CHECKING:
    from .attacks import attack as attack

__all__ = ["UserError", "attack", "load_classifier"]


def __getattr__(name: str) -> Any:
    """What brings PyTorch with it is imported when it is first used."""
    if name == "attack":
        from .attacks import attack

        return attack
    raise AttributeError(f"module 'evofool' has no attribute '{name}'")


__version__ = "0.1.0.dev0"
