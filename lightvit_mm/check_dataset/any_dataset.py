"""Datasets of any format, as their own class reads them."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import Registry

from ..config import walk
from .coco import check_box
from .report import Finding, Kind
from .sources import Content, Picture, Source

NOT_READ = Kind(
    'datasets of an unsupported type',
    'Look at their samples with --show-dir. Only datasets derived from '
    "mmengine's BaseDataset are checked",
    is_fault=False,
)
NOT_BUILT = Kind(
    'datasets that cannot be built',
    'Check data_root, data_prefix, ann_file, the file suffixes and the classes',
)
EMPTY = Kind(
    'datasets without images',
    'Check data_root, data_prefix, ann_file and file suffixes such as img_suffix',
)
UNKNOWN_LABEL = Kind(
    'labels outside the classes',
    'Number the labels from 0 to the number of classes minus 1',
)


def read(
    source: Source, registry: Registry, num_classes: int | None
) -> tuple[Content | None, list[Finding]]:
    """Build a dataset without its pipeline and check its entries.

    Args:
        source: The dataset.
        registry: Registry of datasets.
        num_classes: Number of classes if the dataset names none.

    Returns:
        The content, None if the dataset cannot be built, and the findings.
    """
    if not issubclass(source.cls, BaseDataset):
        return None, [Finding(NOT_READ, source.file, source.cls.__name__)]
    cfg = copy.deepcopy(source.cfg)
    cfg.update(pipeline=[], serialize_data=False)
    if isinstance(source.named_classes, str):
        cfg.setdefault('metainfo', {})['classes'] = source.classes
        cfg.pop('classes', None)
    try:
        dataset = registry.build(cfg)
        dataset.full_init()
    # Training would stop at any error that the class raises.
    except Exception as error:
        message = f'{type(error).__name__}: {error}'
        return None, [Finding(NOT_BUILT, source.file, message)]
    infos = dataset.data_list
    if not infos:
        return None, [Finding(EMPTY, source.file, 'no images')]

    classes = dataset.metainfo.get('classes')
    if 'thing_classes' in dataset.metainfo:
        num_classes = None  # some heads only count things, others stuff
    elif classes is not None:
        num_classes = len(classes)
    pictures = [
        _picture(info, source.file)
        for info in infos
        if isinstance(info.get('img_path'), str)
    ]
    content = Content(
        pictures,
        num_images=len(infos),
        num_kept=len(infos),
        num_annotations=sum(map(_num_annotations, infos)),
        classes=None if classes is None else tuple(classes),
        num_classes=num_classes,
        label_of_value=_label_of_value(infos[0], source),
    )
    findings = [*_check_labels(infos, num_classes), *_check_boxes(infos)]
    return content, findings


def _picture(info: dict, file: str) -> Picture:
    size = None
    if 'width' in info and 'height' in info:
        size = (info['width'], info['height'])
    return Picture(
        info['img_path'], f'an image of {file}', size, info.get('seg_map_path')
    )


def _labels(info: dict) -> list[Any]:
    label = info.get('gt_label', [])
    return list(np.atleast_1d(label)) if not isinstance(label, dict) else []


def _num_annotations(info: dict) -> int:
    return (
        len(info.get('instances', []))
        + len(_labels(info))
        + bool(info.get('seg_map_path'))
    )


def _label_of_value(info: dict, source: Source) -> np.ndarray:
    """The label (256, ) that LoadAnnotations assigns to each value of a map."""
    labels = np.arange(256)
    reduces = info.get('reduce_zero_label') or any(
        t.get('reduce_zero_label') for t in walk(source.transforms)
    )
    if reduces:
        # Both 0 and 255 become 255, which is ignored.
        labels[1:255] -= 1
        labels[0] = 255
    before = labels.copy()
    for old, new in (info.get('label_map') or {}).items():
        labels[before == old] = new
    return labels


def _check_labels(infos: list[dict], num_classes: int | None) -> Iterator[Finding]:
    for info in infos if num_classes is not None else ():
        for label in _labels(info):
            if not 0 <= label < num_classes:
                yield Finding(
                    UNKNOWN_LABEL,
                    str(info.get('img_path')),
                    f'label {label}, expected 0 to {num_classes - 1}',
                )


def _check_boxes(infos: list[dict]) -> Iterator[Finding]:
    for info in infos:
        if 'width' not in info or 'height' not in info:
            continue
        size = (info['width'], info['height'])
        for i, instance in enumerate(info.get('instances', [])):
            x1, y1, x2, y2 = instance['bbox']
            box = [x1, y1, x2 - x1, y2 - y1]
            kind = check_box(box, size)
            if kind is not None:
                yield Finding(
                    kind,
                    str(info.get('img_path')),
                    f'instance {i}: x, y, width, height {box}, image of '
                    f'{size[0]} x {size[1]}',
                )
