"""The formats that can be converted, and how each one is recognized."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from ..files import read_json
from . import coco, folders, labelme, via, voc, yolo
from .records import Dataset
from .source import Source


class Format(NamedTuple):
    """A format of datasets.

    Args:
        files: What a folder of this format contains.
        is_in: Whether a folder is of this format.
        read: Its reader.
    """

    files: str
    is_in: Callable[[Source], bool]
    read: Callable[..., Dataset]


_JSON = dict(labelme=labelme.is_labelme, via=via.is_via, coco=coco.is_coco)


@functools.cache
def _json_formats(source: Source) -> set[str]:
    """The formats of the JSON files, each of which may take long to read."""
    found = set()
    for path in source.having('.json'):
        content = read_json(path)
        found |= {name for name, check in _JSON.items() if check(content)}
    return found


def _in_json(name: str) -> Callable[[Source], bool]:
    return lambda source: name in _json_formats(source)


FORMATS = dict(
    labelme=Format(
        '*.json with shapes and imagePath', _in_json('labelme'), labelme.read
    ),
    via=Format(
        '*.json with filename and regions, or *.csv with region_shape_attributes',
        lambda source: (
            _in_json('via')(source) or any(map(via.is_via_csv, source.having('.csv')))
        ),
        via.read,
    ),
    coco=Format(
        '*.json with images, annotations and categories',
        _in_json('coco'),
        coco.read,
    ),
    voc=Format(
        '*.xml with <annotation>',
        lambda source: any(map(voc.is_voc, source.having('.xml'))),
        voc.read,
    ),
    yolo=Format('images and *.txt of the same names', yolo.is_yolo, yolo.read),
    masks=Format('images/ and masks/', folders.is_masks, folders.read_masks),
    classes=Format('a folder for each class', folders.is_classes, folders.read_classes),
)
# Datasets with annotation files have such folders, too.
FOLDERS = ('masks', 'classes')


def detect(source: Source) -> str:
    """The format of a folder.

    Raises:
        ValueError: If it is none of the formats, or several.
    """
    found = [
        name
        for name, format_ in FORMATS.items()
        if name not in FOLDERS and format_.is_in(source)
    ]
    if not found:
        found = [name for name in FOLDERS if FORMATS[name].is_in(source)][:1]
    if not found:
        looked_for = '; '.join(f'{name}: {x.files}' for name, x in FORMATS.items())
        raise ValueError(
            f'{source.root} is in no known format. Looked for {looked_for}'
        )
    if len(found) > 1:
        raise ValueError(
            f'{source.root} has files of several formats: {", ".join(found)}. Choose '
            f'one: --format {found[0]}'
        )
    return found[0]
