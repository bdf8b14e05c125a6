"""The masks of COCO annotations: polygons and run-length encodings."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from .report import Kind

NO_MASK = Kind(
    'annotations without a mask',
    'Add a segmentation, or train a detector without masks. The pipeline or '
    'the metric reads masks and fails without them',
)
BAD_POLYGON = Kind(
    'invalid polygons',
    'A segmentation is a list of polygons [x1, y1, x2, y2, x3, y3, ...], each '
    'with an even number of at least 6 values; others are skipped',
)
BAD_RLE = Kind(
    'invalid run-length encodings',
    'A run-length encoding has counts, and the height and width of its image as size',
)
RLE_AS_POLYGON = Kind(
    'run-length encodings in place of polygons',
    'They are ignored with poly2mask=False: set poly2mask=True in '
    'LoadAnnotations, or store polygons',
)

# Tools round boxes and count the last pixel or not; people draw them loosely.
# Of the correct boxes of COCO and of DSB 2018, none overlaps less, even if
# each is 10 % larger on all sides. Of boxes with x2, y2 in place of width and
# height, 88 % and 96 % do.
MIN_OVERLAP = 0.5  # intersection over union
TOLERANCE = 2  # pixels, for small objects


def check_segmentation(
    segmentation: Any, size: tuple[int, int], poly2mask: bool
) -> Kind | None:
    """The kind of fault of a segmentation, None if there is none.

    Args:
        segmentation: That of an annotation that is not a crowd, from JSON.
        size: Width and height of the image.
        poly2mask: Whether the pipeline turns polygons into bitmaps.
    """
    if not segmentation:
        return NO_MASK
    if isinstance(segmentation, list):
        is_fine = all(_is_polygon(polygon) for polygon in segmentation)
        return None if is_fine else BAD_POLYGON
    if (
        not isinstance(segmentation, dict)
        or not _are_counts(segmentation.get('counts'), size)
        or tuple(segmentation.get('size', ())) != size[::-1]
    ):
        return BAD_RLE
    return None if poly2mask else RLE_AS_POLYGON


def bounds(segmentations: Sequence[list | dict]) -> np.ndarray:
    """The bounds (N, 4) of masks: left, top, right and bottom.

    Args:
        segmentations: Valid ones: polygons, or a run-length encoding.
    """
    from pycocotools import mask

    found = np.zeros((len(segmentations), 4))
    are_lists = np.array([isinstance(x, list) for x in segmentations], bool)
    polygons = [x for x in segmentations if isinstance(x, list)]
    if polygons:
        numbers = chain.from_iterable(chain.from_iterable(polygons))
        points = np.fromiter(numbers, float).reshape(-1, 2)
        ends = np.cumsum([sum(map(len, x)) // 2 for x in polygons])
        starts = np.r_[0, ends[:-1]]
        found[are_lists] = np.hstack(
            [limit.reduceat(points, starts) for limit in (np.minimum, np.maximum)]
        )
    encodings = [
        mask.frPyObjects(x, *x['size']) if isinstance(x['counts'], list) else x
        for x in segmentations
        if isinstance(x, dict)
    ]
    if encodings:
        left_top, sides = np.hsplit(mask.toBbox(encodings), 2)
        found[~are_lists] = np.hstack([left_top, left_top + sides])
    return found


def fit(boxes: np.ndarray, masks: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which boxes (N, ) fit the bounds of their masks, within the image.

    Args:
        boxes: Left, top, right and bottom of the boxes (N, 4).
        masks: The same of their masks.
        sizes: Width and height of their images (N, 2).
    """
    # A tile may cut only the mask at its border, or only the box.
    limits = np.tile(sizes, 2)
    masks = masks.clip(0, limits)
    are_cut = np.abs(masks - limits * [0, 0, 1, 1]) <= TOLERANCE
    boxes = np.where(are_cut, boxes.clip(0, limits), boxes)
    overlap = _areas(
        np.hstack(
            [
                np.maximum(boxes[:, :2], masks[:, :2]),
                np.minimum(boxes[:, 2:], masks[:, 2:]),
            ]
        )
    )
    union = _areas(boxes) + _areas(masks) - overlap
    is_close = np.abs(boxes - masks).max(axis=1) <= TOLERANCE
    return is_close | (overlap > MIN_OVERLAP * union)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)


def _is_polygon(polygon: Any) -> bool:
    return (
        isinstance(polygon, list)
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and set(map(type, polygon)) <= {int, float}
    )


def _are_counts(counts: Any, size: tuple[int, int]) -> bool:
    """Whether the counts of a run-length encoding are compressed or plausible."""
    if not isinstance(counts, list):
        return isinstance(counts, str)
    return (
        set(map(type, counts)) <= {int}
        and min(counts, default=0) >= 0
        and sum(counts) <= size[0] * size[1]
    )
