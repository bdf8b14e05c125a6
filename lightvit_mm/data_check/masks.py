"""Segmentation maps that do not fit their classes."""

from collections.abc import Iterator

import numpy as np
from mmengine.config import Config

from ..settings import walk
from .content import Content
from .files import ImageFile, Reader, read_map
from .findings import Finding, Kind, listed
from .sources import Source, type_name

MISSING = Kind(
    'segmentation maps that are not there',
    'See whether data_prefix.seg_map_path and seg_map_suffix are right; an '
    'image without a map stops the training',
)
BROKEN = Kind('segmentation maps that cannot be decoded', 'Store them again')
COLOURED = Kind(
    'segmentation maps of colours',
    'Store one channel of the numbers of the classes, as a PNG file of 8 bits '
    'or with a palette',
)
UNKNOWN_VALUE = Kind(
    'values of no class in segmentation maps',
    'See whether the classes are complete and reduce_zero_label is right, and '
    'store what is to be ignored as 255',
)


def reader_of(source: Source) -> Reader | None:
    """What reads the maps of a data set; None for what is no picture."""
    is_map = any(type_name(t) == 'LoadAnnotations' for t in walk(source.transforms))
    return read_map if is_map else None


def ignored_labels(cfg: Config) -> set[int]:
    """Labels that all heads of a segmentor ignore; 255 by default."""
    heads = [
        head
        for key in ('decode_head', 'auxiliary_head')
        for head in walk((cfg.get('model') or {}).get(key))
        if 'num_classes' in head
    ]
    ignored = [{head.get('ignore_index', 255)} for head in heads]
    return set.intersection(*ignored) if ignored else {255}


def check_masks(
    content: Content, files: dict[str, ImageFile], ignored: set[int]
) -> Iterator[Finding]:
    """What is wrong with the segmentation maps of a data set.

    Args:
        content: What was read of it.
        files: What is in the files of its maps.
        ignored: Labels that the heads ignore.
    """
    for picture in content.pictures:
        if picture.mask is None:
            continue
        file = files[picture.mask]
        entry = f'map of {picture.path}'
        if file.is_missing:
            yield Finding(MISSING, picture.mask, entry)
        elif file.error:
            yield Finding(BROKEN, picture.mask, f'{entry}, {file.error}')
        elif file.num_channels != 1:
            if file.size is not None:
                yield Finding(
                    COLOURED, picture.mask, f'{entry}, {file.num_channels} channels'
                )
        elif content.num_classes is not None:
            unknown = [
                _value(value, content.label_of_value)
                for value in file.values
                if not _is_known(value, content, ignored)
            ]
            if unknown:
                yield Finding(
                    UNKNOWN_VALUE,
                    picture.mask,
                    f'{entry}, values {listed(unknown)}; the classes are 0 to '
                    f'{content.num_classes - 1}',
                )


def _is_known(value: int, content: Content, ignored: set[int]) -> bool:
    if not 0 <= value <= 255:
        return False
    label = int(content.label_of_value[value])
    return label < content.num_classes or label in ignored


def _value(value: int, label_of_value: np.ndarray) -> str:
    if not 0 <= value <= 255 or label_of_value[value] == value:
        return str(value)
    return f'{value} (label {label_of_value[value]})'
