"""Segmentation maps: each is read as its dataset does, then checked."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.fileio import get
from mmengine.registry import TRANSFORMS

from ..config import type_name
from ..messages import listed
from ..nested import walk
from .reading import Files, Reader, check_missing, read_bytes, reason
from .report import Finding, Kind
from .sources import Content, Objects, Source

MAP_MISSING = Kind(
    'missing segmentation maps',
    'Check data_prefix.seg_map_path and seg_map_suffix; training stops at an '
    'image without a map',
)
MAP_BROKEN = Kind('segmentation maps that cannot be decoded', 'Save them again')
COLOURED = Kind(
    'segmentation maps with colours',
    'Save them as PNG with one 8-bit channel that holds the class numbers; a '
    'palette is fine. With a config for your own data, classes.txt may list the '
    "colours instead, such as '#ff0000: road'",
)
UNKNOWN_VALUE = Kind(
    'segmentation maps with values outside the classes',
    'Check that the classes are complete and reduce_zero_label is right. Use '
    '255 for pixels to ignore',
)
ONLY_255 = Kind(
    'segmentation maps with only one class and 255, which is ignored',
    'Every model reaches an mIoU of 100. If 255 is a class: with a config for your '
    "own data, write '0: background' and '255: road' as lines of classes.txt; with "
    'another config, save the maps with 1 in place of 255',
)
ONE_CLASS = Kind(
    'segmentation maps with only one class',
    'Every model reaches an mIoU of 100. Check the values of the maps, and whether '
    'the dataset should ignore some with reduce_zero_label or its classes',
)
NO_CLASS = Kind(
    'segmentation maps with only ignored pixels',
    'There is nothing to learn. Check the values of the maps, and whether the '
    'dataset should ignore them with reduce_zero_label or its classes',
)
MOSTLY_IGNORED = Kind(
    'segmentation maps that are mostly ignored',
    'Neither training nor evaluation uses these pixels. Check that they should be '
    'ignored',
    is_fault=False,
)


class Value(NamedTuple):
    """A value of a segmentation map.

    Args:
        stored: Its number in the file; the label if the file holds colours.
        label: The label that the dataset assigns to it.
        fits: Whether the dataset can store it.
        count: Number of its pixels.
    """

    stored: int
    label: int
    fits: bool
    count: int

    def __str__(self) -> str:
        if not self.fits or self.stored == self.label:
            return str(self.stored)
        return f'{self.stored} (label {self.label})'


class MapFile(NamedTuple):
    """What the file of a segmentation map holds.

    Args:
        size: Width and height, None if not decoded.
        num_channels: Labels per pixel.
        values: Its values, in ascending order.
        refusal: Why the dataset refuses the map, '' if it does not.
    """

    size: tuple[int, int] | None = None
    num_channels: int = 1
    values: tuple[Value, ...] = ()
    refusal: str = ''


class MapReader:
    """Reads segmentation maps with the transform of a dataset.

    Args:
        transform: A config of a LoadAnnotations.
        info: An entry of the dataset; its map is replaced.
    """

    def __init__(self, transform: dict, info: dict) -> None:
        self.transform = TRANSFORMS.build(transform)
        # mmseg's own class keeps the last 8 bits of a value.
        self.cuts_values = type_name(transform) == 'LoadAnnotations'
        self.info = info

    def __call__(self, path: str) -> MapFile:
        """Read a file.

        Raises:
            Exception: If it is missing or broken.
        """
        backend = self.transform.imdecode_backend
        stored = mmcv.imfrombytes(read_bytes(path), flag='unchanged', backend=backend)
        if stored is None:
            raise ValueError(f'{backend} cannot decode it')
        stored = stored.squeeze()
        size = stored.shape[1::-1]
        try:
            labels = self._labels(path)
        # Training would stop at any error of the transform.
        except Exception as error:
            return MapFile(size, refusal=str(error) or type(error).__name__)
        if labels.ndim != 2:
            return MapFile(size, labels.shape[-1])
        return MapFile(
            size, values=self._values(stored if stored.ndim == 2 else labels, labels)
        )

    def _labels(self, path: str) -> np.ndarray:
        results = dict(self.info, seg_map_path=path, seg_fields=[])
        return self.transform(results)['gt_seg_map']

    def _values(self, stored: np.ndarray, labels: np.ndarray) -> tuple[Value, ...]:
        values, first, counts = np.unique(stored, return_index=True, return_counts=True)
        return tuple(
            Value(
                int(value),
                int(label),
                not self.cuts_values or 0 <= value <= 255,
                int(count),
            )
            for value, label, count in zip(values, labels.ravel()[first], counts)
        )


def find_map_reader(source: Source, info: dict) -> Reader:
    """How to read the segmentation maps of a dataset.

    Args:
        source: The dataset.
        info: One of its entries.
    """
    for transform in walk(source.transforms):
        if type_name(transform) in ('LoadAnnotations', 'LoadSegMap'):
            reader = MapReader(transform, info)
            return reader if reader.transform.with_seg else read_nothing
    return read_nothing


def read_nothing(path: str) -> MapFile:
    """Read a file that is not decoded."""
    get(path)
    return MapFile()


def map_tasks(content: Content) -> Iterator[tuple[str, Reader]]:
    """The segmentation maps of a dataset and how to read them."""
    return (
        (picture.mask, content.map_reader)
        for picture in content.pictures
        if picture.mask is not None
    )


def map_objects(content: Content, files: Files) -> Objects | None:
    """One object per label of each segmentation map, with its number of pixels.

    None if the maps are not decoded.

    Args:
        content: Content of a dataset.
        files: What its maps hold.
    """
    if not isinstance(content.map_reader, MapReader):
        return None
    areas = Counter()
    for i, picture in enumerate(content.pictures):
        file = files.get((picture.mask, content.map_reader))
        if isinstance(file, MapFile):
            for value in file.values:
                areas[i, value.label] += value.count
    rows = [(*key, area) for key, area in areas.items()]
    return Objects(*np.array(rows, dtype=np.int64).reshape(-1, 3).T)


def ignored_labels(cfg: Config) -> set[int]:
    """The labels that all heads of a segmentor ignore; 255 by default."""
    heads = [
        head
        for key in ('decode_head', 'auxiliary_head')
        for head in walk((cfg.get('model') or {}).get(key))
        if 'num_classes' in head
    ]
    ignored = [{head.get('ignore_index', 255)} for head in heads]
    return set.intersection(*ignored) if ignored else {255}


def check_maps(content: Content, files: Files, ignored: set[int]) -> Iterator[Finding]:
    """Find faults in the segmentation maps of a dataset.

    Args:
        content: Its content.
        files: What its maps hold.
        ignored: Labels that the heads ignore.
    """
    missing = []
    values: list[Value] = []
    are_all_known = True
    for picture in content.pictures:
        if picture.mask is None:
            continue
        file = files[picture.mask, content.map_reader]
        entry = f'map of {picture.path}'
        if isinstance(file, FileNotFoundError):
            missing.append((picture.mask, entry))
        elif isinstance(file, Exception):
            yield Finding(MAP_BROKEN, picture.mask, f'{entry}, {reason(file)}')
        elif file.num_channels != 1:
            yield Finding(
                COLOURED, picture.mask, f'{entry}, {file.num_channels} channels'
            )
        else:
            values += file.values
            fault = file.refusal or _unknown(file, content.num_classes, ignored)
            if fault:
                are_all_known = False
                yield Finding(UNKNOWN_VALUE, picture.mask, f'{entry}, {fault}')
    yield from check_missing(MAP_MISSING, missing)
    if values and are_all_known:
        yield from _check_variety(content, values, ignored)


def _unknown(file: MapFile, num_classes: int | None, ignored: set[int]) -> str:
    """The values of a map that are no class, as a clause, '' if there are none."""
    if num_classes is None:
        return ''
    unknown = [
        value
        for value in file.values
        if not value.fits
        or not (0 <= value.label < num_classes or value.label in ignored)
    ]
    if not unknown:
        return ''
    return f'values {listed(unknown)}; the classes are 0 to {num_classes - 1}'


def _check_variety(
    content: Content, values: list[Value], ignored: set[int]
) -> Iterator[Finding]:
    """Find maps that together hold fewer than two classes."""
    counts = Counter()
    for value in values:
        counts[value.label] += value.count
    labels = set(counts) - ignored
    ignored_values = sorted({x.stored for x in values if x.label in ignored})
    num_ignored = sum(counts[label] for label in ignored)
    folder = os.path.commonpath(
        [os.path.dirname(x.mask) for x in content.pictures if x.mask is not None]
    )
    of_ignored = (
        f'{num_ignored / counts.total():.0%} of all pixels are ignored (values '
        f'{listed(ignored_values)})'
        if ignored_values
        else 'no pixels are ignored'
    )
    if not labels:
        yield Finding(NO_CLASS, folder, of_ignored)
    elif len(labels) == 1:
        [label] = labels
        kind = ONLY_255 if 255 in ignored_values else ONE_CLASS
        name = f' ({content.classes[label]})' if content.classes else ''
        yield Finding(kind, folder, f'all maps: only class {label}{name}; {of_ignored}')
    elif num_ignored > counts.total() / 2:
        yield Finding(MOSTLY_IGNORED, folder, of_ignored)
