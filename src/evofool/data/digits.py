"""The 1,797 handwritten digits that come inside scikit-learn: data that needs no network.

Gray levels 0..16 become bytes round(255 v / 16) (half to even), and the 8 x 8 pixels are enlarged by Pillow's bilinear
filter, whose fixed-point arithmetic gives the same bytes on every machine. The split is fixed and depends on no seed:
the image at place i is a test image where floor(1000 (i + 1) / 1797) > floor(1000 i / 1797), so that the 1,000 test
images lie evenly among the 797 training images.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
https://archive.ics.uci.edu/dataset/80 (its test part, as shipped by scikit-learn's load_digits).
"""

from __future__ import annotations

import numpy as np

from .dataset import Reading, Size, Split, fit

SIZE: Size = (28, 28)
TEST_IMAGES = 1000


def read(split: Split, size: Size | None = None) -> Reading:
    """Read one part of the embedded digits.

    Args:
        split: "train" (797 images) or "test" (1,000).
        size: height and width in pixels to enlarge the 8 x 8 pixels to; None is 28 x 28.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    levels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    place = np.arange(len(levels))
    is_test = (place + 1) * TEST_IMAGES // len(levels) > place * TEST_IMAGES // len(levels)
    chosen = is_test if split == "test" else ~is_test
    images = fit("digits", levels[chosen][:, None], size or SIZE, None)
    return Reading(images, digits.target[chosen].astype(np.int64), tuple("0123456789"), f"digits {split}")
