"""labelme: one JSON file per image.

The layout is that of labelme's ``label_file.py``, versions 3 to 5.
"""

import base64
import binascii
import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from ..files import read_json
from .records import Dataset, Image, Object
from .shapes import corners_box, ellipse, polygon, rectangle, run_lengths
from .source import Source, image_size, naming, split_of

OBJECTS = ('polygon', 'rectangle', 'circle', 'mask')


def is_labelme(content: Any) -> bool:
    """Whether the content of a JSON file is labelme's."""
    return isinstance(content, dict) and {'shapes', 'imagePath'} <= content.keys()


def read(source: Source) -> Dataset:
    """Read the JSON files of labelme.

    Shapes of one ``group_id`` and one label are one object. Images without a
    JSON file have not been labelled; they are left out.

    Raises:
        FileNotFoundError: If an image is missing.
        ValueError: If a shape is invalid, or an image has another size.
    """
    dataset = Dataset()
    for path in source.having('.json'):
        content = read_json(path)
        if is_labelme(content):
            dataset.images.append(_image(path, content, source, dataset.notes))
    return dataset


def _image(path: Path, content: dict, source: Source, notes: dict) -> Image:
    name = content['imagePath'].replace('\\', '/')
    file = Path(os.path.normpath(path.parent / name))
    if not file.is_file():
        file = source.find_image(content['imagePath'], path)
    declared = (content.get('imageWidth'), content.get('imageHeight'))
    size = image_size(file, declared, str(path))
    groups: dict[Any, list[Object]] = {}
    for i, shape in enumerate(content['shapes']):
        entry = f'{path}: shape {i}'
        kind = shape.get('shape_type') or 'polygon'  # always, before version 3.16
        if kind not in OBJECTS:
            notes[f'left out: shapes of type {kind}'].append(entry)
            continue
        with naming(f'{entry} ({kind})'):
            item = _object(kind, shape, entry, size)
        group = shape.get('group_id')
        key = i if group is None else (item.name, group)
        groups.setdefault(key, []).append(item)
    return Image(
        file,
        str(path),
        split_of(path.relative_to(source.root)),
        size,
        [_merge(parts) for parts in groups.values()],
    )


def _object(kind: str, shape: dict, entry: str, size: tuple[int, int]) -> Object:
    name, points = str(shape['label']), shape['points']
    if kind == 'polygon':
        return Object(name, entry, segmentation=[polygon(points)])
    if kind == 'rectangle':
        return Object(name, entry, box=corners_box(points))
    if kind == 'circle':
        (cx, cy), edge = points
        radius = math.dist((cx, cy), edge)
        return Object(name, entry, segmentation=[ellipse(cx, cy, radius, radius)])
    return Object(name, entry, segmentation=[_mask(shape, size)])


def _mask(shape: dict, size: tuple[int, int]) -> dict:
    """The mask, a PNG of the box from the first to the second point."""
    try:
        png = io.BytesIO(base64.b64decode(shape['mask'], validate=True))
        crop = np.array(PillowImage.open(png)).astype(bool)
    except (binascii.Error, OSError) as error:
        raise ValueError(f'its mask should be a PNG in base64: {error}') from error
    x, y = (round(value) for value in shape['points'][0])
    height, width = crop.shape
    if x < 0 or y < 0 or x + width > size[0] or y + height > size[1]:
        raise ValueError(f'its mask of {width} x {height} at {x}, {y} leaves the image')
    mask = np.zeros(size[::-1], bool)
    mask[y : y + height, x : x + width] = crop
    return run_lengths(mask)


def _merge(parts: list[Object]) -> Object:
    """One object of several shapes; rectangles count as polygons among others."""
    if len(parts) == 1:
        return parts[0]
    masks = [
        mask for part in parts for mask in part.segmentation or [rectangle(part.box)]
    ]
    return parts[0]._replace(box=None, segmentation=masks)
