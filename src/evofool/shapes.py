"""Axis letters, used in every shape of this package, and the array types behind them.

B   searches side by side (images, or seeds)      P   population
n   members asked for                              *G  genome axes
M   members before survival, or objectives         C H W  image
K   classes                                        N   rows sent to a classifier
"""

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

__all__ = ["Bool", "Float", "Int", "Tensor", "UInt8"]
