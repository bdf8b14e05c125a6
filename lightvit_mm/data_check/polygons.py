"""Masks of instances in COCO's format, as mmdet's LoadAnnotations reads them."""

from numbers import Real
from typing import Any

from .findings import Kind

NO_MASK = Kind(
    'annotations without a mask',
    'The pipeline or the metric reads masks and stops at these: add a '
    'segmentation, or train a detector of boxes only',
)
BAD_POLYGON = Kind(
    'polygons that are none',
    'A segmentation is a list of polygons [x1, y1, x2, y2, x3, y3, ...], each '
    'of an even number of at least 6 numbers; others are left out',
)
BAD_RLE = Kind(
    'run-length codes that cannot be read',
    'A run-length code has counts, and the height and width of its image as size',
)
RLE_AS_POLYGON = Kind(
    'run-length codes where polygons are read',
    'They are ignored with poly2mask=False: set poly2mask=True in '
    'LoadAnnotations, or store polygons',
)


def check_segmentation(
    segmentation: Any, size: tuple[int, int], poly2mask: bool
) -> Kind | None:
    """What is wrong with a segmentation, None if nothing is.

    Args:
        segmentation: Of an annotation that is no crowd.
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
        or not isinstance(segmentation.get('counts'), (list, str))
        or tuple(segmentation.get('size', ())) != size[::-1]
    ):
        return BAD_RLE
    return None if poly2mask else RLE_AS_POLYGON


def _is_polygon(polygon: Any) -> bool:
    return (
        isinstance(polygon, list)
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and all(isinstance(x, Real) for x in polygon)
    )
