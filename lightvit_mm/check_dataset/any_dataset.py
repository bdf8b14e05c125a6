"""Datasets of any format, as their own class reads them."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import Registry

from . import class_folders
from .coco import check_box
from .maps import find_map_reader
from .report import Finding, Kind
from .sources import Content, Objects, Picture, Source

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
    has_class_folders = class_folders.has_class_folders(source)
    if has_class_folders:
        cfg.lazy_init = True
    findings = []
    try:
        dataset = registry.build(cfg)
        if has_class_folders:
            findings += class_folders.check_hidden_folders(source, dataset.img_prefix)
        dataset.full_init()
        map_reader = find_map_reader(source, next(iter(dataset.data_list), {}))
    # Training would stop at any error that the classes raise.
    except Exception as error:
        message = f'{type(error).__name__}: {error}'
        return None, [Finding(NOT_BUILT, source.file, message), *findings]
    infos = dataset.data_list
    if not infos:
        return None, [Finding(EMPTY, source.file, 'no images')]

    classes = dataset.metainfo.get('classes')
    if 'thing_classes' in dataset.metainfo:
        num_classes = None  # some heads only count things, others stuff
    elif classes is not None:
        num_classes = len(classes)
    shown = [info for info in infos if isinstance(info.get('img_path'), str)]
    content = Content(
        [_picture(info, source.file) for info in shown],
        num_images=len(infos),
        num_kept=len(infos),
        num_annotations=sum(map(_num_annotations, infos)),
        classes=None if classes is None else tuple(classes),
        num_classes=num_classes,
        objects=_objects(shown),
        map_reader=map_reader,
    )
    findings += [*_check_labels(infos, num_classes), *_check_boxes(infos)]
    if has_class_folders:
        findings += class_folders.check_suffixes(dataset.img_prefix, dataset.extensions)
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


def _objects(infos: list[dict]) -> Objects:
    """The labels and the boxes of images."""
    rows = [
        (i, label, np.nan) for i, info in enumerate(infos) for label in _labels(info)
    ]
    for i, info in enumerate(infos):
        for instance in info.get('instances', []):
            if not instance.get('ignore_flag'):
                x1, y1, x2, y2 = instance['bbox']
                rows.append((i, instance['bbox_label'], (x2 - x1) * (y2 - y1)))
    image, label, area = np.array(rows, dtype=float).reshape(-1, 3).T
    return Objects(image.astype(int), label.astype(int), area)


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
