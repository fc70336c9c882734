"""evofool evolves images that fool image classifiers, seeing only what the classifier answers.

Start with `evofool --help`, or in Python with the rooms:

    operators    selection, crossover, mutation, survival: one function each
    algorithms   what proposes the next images
    classifiers  what is asked
    data         what it is asked about
    search       the one loop
    studies      whole experiments with their reports

`evofool.load_classifier("onnx:net.onnx")` takes any classifier, see there.
"""

from .classifiers import load_classifier

__all__ = ["load_classifier"]

__version__ = "0.1.0.dev0"
