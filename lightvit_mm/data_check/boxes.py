"""Boxes that are left out of training or evaluation, or may be wrong."""

from collections.abc import Sequence
from math import isfinite
from numbers import Real

from .findings import Kind

NOT_A_BOX = Kind(
    'boxes that are not four numbers', 'A bbox is x, y, width, height in pixels'
)
NO_AREA = Kind(
    'boxes of no area',
    'Correct or remove them; boxes thinner than a pixel and annotations of '
    'area 0 are left out without a word',
)
OUTSIDE = Kind(
    'boxes outside of the image',
    'Correct or remove them; they are left out without a word. A bbox is x, '
    'y, width, height in pixels, not x1, y1, x2, y2',
)
PARTLY_OUTSIDE = Kind(
    'boxes partly outside of the image',
    'They are cut at the border when the image is resized. If there are many, '
    'see whether each bbox is x, y, width, height, not x1, y1, x2, y2',
    is_fault=False,
)

TOLERANCE = 1  # pixel beyond the border


def check_box(
    box: Sequence[float], size: tuple[int, int], area: float = 1
) -> Kind | None:
    """What is wrong with a box, None if nothing is.

    Args:
        box: x, y, width and height in pixels.
        size: Width and height of the image.
        area: What the annotation gives as area of the object.
    """
    if len(box) != 4 or not all(isinstance(x, Real) and isfinite(x) for x in box):
        return NOT_A_BOX
    x, y, w, h = box
    if w < 1 or h < 1 or area <= 0:
        return NO_AREA
    width, height = size
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        return OUTSIDE
    if (
        min(x, y) < -TOLERANCE
        or x + w > width + TOLERANCE
        or y + h > height + TOLERANCE
    ):
        return PARTLY_OUTSIDE
    return None
