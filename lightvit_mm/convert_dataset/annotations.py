"""COCO annotations of objects; needs pycocotools, which comes with mmdet."""

from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from .records import Annotations, Box, Dataset, Object, Size
from .shapes import corners_box, rectangle
from .source import naming

TOO_SMALL = 'left out: objects thinner than a pixel in the image'
CLIPPED = 'boxes that were clipped at the border of the image'
CROWDS = 'crowds, which training ignores; --crowds-as-objects makes them objects'
FILLED = 'boxes that got a rectangular mask, because other objects have masks'


def annotate(dataset: Dataset, crowds_as_objects: bool = False) -> Annotations:
    """The annotations of each image, without ids.

    It also sets the classes of the dataset if they are None. Categories are
    numbered from 1 in the order of the classes.

    Boxes are clipped at the border of the image. An object with a mask gets the
    box and the area of the mask. If some objects have masks, the mask of the
    others is their box. Objects without area are removed from their images.

    Args:
        dataset: A dataset with objects.
        crowds_as_objects: Whether crowds become objects.

    Raises:
        ValueError: If a mask is invalid, an object is far outside its image, or
            there are no crowds to become objects.
    """
    objects = [x for image in dataset.images for x in image.objects]
    if crowds_as_objects and not any(x.is_crowd for x in objects):
        raise ValueError('--crowds-as-objects: the dataset has no crowds')
    if dataset.classes is None:
        dataset.classes = sorted({x.name for x in objects})
    category = {name: i for i, name in enumerate(dataset.classes, start=1)}
    has_masks = any(x.segmentation for x in objects)
    annotations: Annotations = {}
    for image in dataset.images:
        kept, annotations[image] = [], []
        for item in image.objects:
            if has_masks and not item.segmentation:
                item = item._replace(segmentation=[rectangle(item.box)])
                dataset.notes[FILLED].append(item.entry)
            with naming(item.entry):
                box, geometry = _geometry(item, image.size)
            clipped = _clip(box, image.size)
            if min(clipped[2:]) < 1 or geometry.get('area') == 0:
                dataset.notes[TOO_SMALL].append(item.entry)
                continue
            if not np.allclose(box, clipped, rtol=0, atol=1):
                dataset.notes[CLIPPED].append(item.entry)
            is_crowd = item.is_crowd and not crowds_as_objects
            if is_crowd:
                dataset.notes[CROWDS].append(item.entry)
            kept.append(item)
            annotations[image].append(
                dict(
                    category_id=category[item.name],
                    bbox=clipped,
                    area=clipped[2] * clipped[3],
                    iscrowd=int(is_crowd),
                )
                | geometry
            )
        image.objects = kept
    return annotations


def _geometry(item: Object, size: Size) -> tuple[Box, dict[str, Any]]:
    """The box before it is clipped, and mask and area of an object with a mask."""
    width, height = size
    if not item.segmentation:
        _check_place(rectangle(item.box), size)
        return item.box, {}
    codes, polygons = [], []
    for part in item.segmentation:
        if isinstance(part, dict):
            codes.append(_code(part, size))
        elif len(part) % 2:
            raise ValueError(f'a polygon should be x, y in turn, but is {part}')
        else:
            _check_place(part, size)
            polygons.append(part)
    # Two points have no area; pycocotools takes four numbers for a box.
    areas = [polygon for polygon in polygons if len(polygon) >= 6]
    if areas:
        codes += mask_utils.frPyObjects(areas, height, width)
    if not codes:
        return (0, 0, 0, 0), {}
    mask = mask_utils.merge(codes)
    area = int(mask_utils.area(mask))
    if len(areas) == len(codes):
        box = corners_box([xy for x in areas for xy in zip(x[::2], x[1::2])])
        return box, dict(segmentation=areas, area=area)
    mask['counts'] = mask['counts'].decode()
    return tuple(mask_utils.toBbox(mask).tolist()), dict(segmentation=mask, area=area)


def _code(part: dict, size: Size) -> dict:
    """A run-length code, compressed if it is not."""
    if tuple(part['size']) != size[::-1]:
        raise ValueError(
            f'the size of its mask should be the height and width {list(size[::-1])}, '
            f'but is {part["size"]}'
        )
    if isinstance(part['counts'], list):
        if sum(part['counts']) != size[0] * size[1]:
            raise ValueError('the counts of its mask do not add up to its size')
        return mask_utils.frPyObjects(part, size[1], size[0])
    return part


def _check_place(polygon: list[float], size: Size) -> None:
    for values, length in ((polygon[::2], size[0]), (polygon[1::2], size[1])):
        for value in values:
            if not -length <= value <= 2 * length:
                raise ValueError(
                    f'the coordinate {value} is far outside the image of '
                    f'{size[0]} x {size[1]} pixels'
                )


def _clip(box: Box, size: Size) -> list[float]:
    x1, x2 = (min(max(x, 0), size[0]) for x in (box[0], box[0] + box[2]))
    y1, y2 = (min(max(y, 0), size[1]) for y in (box[1], box[1] + box[3]))
    return [x1, y1, x2 - x1, y2 - y1]
