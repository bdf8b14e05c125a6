"""COCO files, read without mmdet, which may fail on faulty files.

The checks follow mmdet's CocoDataset and LoadAnnotations, and pycocotools for
the evaluation.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.fileio import get

from ..config import type_name
from ..engine.folders.coco import can_match
from ..messages import listed
from ..nested import walk
from .masks import RLE_AS_POLYGON, bounds, check_segmentation, fit
from .report import Finding, Kind
from .sources import Content, Objects, Picture, Source

UNREADABLE = Kind(
    'annotation files that cannot be read',
    'Set data_root and ann_file of the dataset to a JSON file in COCO format, '
    'with images, annotations and categories',
)
NO_FIELD = Kind(
    'entries with missing fields',
    'Add the field; the library fails without it',
)
NO_CROWD_FLAG = Kind(
    'annotations without iscrowd, which the COCO metric needs',
    'Add iscrowd=0; otherwise the evaluation after the first epoch fails',
)
DUPLICATED = Kind(
    'duplicate ids or names',
    'Give each image, annotation and category a unique id, and each category '
    'a unique name',
)
UNKNOWN = Kind(
    'annotations of unknown images or categories',
    'Correct their image_id or category_id; they are skipped silently',
)
BACKGROUND = Kind(
    'background categories',
    'Remove the category, and its name from the classes: mmdet counts the '
    'classes without the background',
)
CLASSES = Kind(
    'classes that do not match the categories of the file',
    'Set metainfo=dict(classes=(...)) of the dataset to the exact names of the '
    'categories. With wrong names, every AP is 0 or -1',
)
LEFT_OUT = Kind(
    'categories that are not in metainfo.classes',
    'Add them to metainfo.classes and num_classes. If you left them out on '
    'purpose, go on',
)
ORDER = Kind(
    'classes in a different order than the categories of the file',
    'List metainfo.classes in the order of the categories: mmdet numbers the '
    'classes in the order of the file, not of metainfo.classes',
)
ONLY_CROWDS = Kind(
    'datasets with only crowds',
    'Set iscrowd=0 for single objects: models do not learn from crowds',
)
CROWD_IMAGE = Kind(
    'images with only crowds',
    'Set iscrowd=0 if they are single objects: models do not learn from crowds',
    is_fault=False,
)
MANY_CROWDS = Kind(
    'files with many crowds',
    'Go on if training and evaluation should ignore them. Otherwise set '
    'iscrowd=0, as tools/convert_dataset.py does with --crowds-as-objects: CVAT '
    'marks masks of its brush as crowds',
    is_fault=False,
)
EMPTY = Kind(
    'datasets without images',
    'Check that ann_file is the right file and that filter_cfg keeps some images',
)
NO_ANNOTATION = Kind(
    'datasets without annotations', 'Check that ann_file is the right file'
)
OTHER_FILE = Kind(
    "metrics that do not read the dataset's annotation file",
    'Set ann_file of the evaluator to that of the dataset',
)
NOT_A_BOX = Kind(
    'boxes that are not four numbers', 'A bbox is x, y, width, height in pixels'
)
NO_AREA = Kind(
    'boxes without area',
    'Correct or remove them; boxes thinner than a pixel and annotations with '
    'area 0 are skipped silently',
)
OUTSIDE = Kind(
    'boxes outside the image',
    'Correct or remove them; they are skipped silently. A bbox is x, y, width, '
    'height in pixels, not x1, y1, x2, y2',
)
PARTLY_OUTSIDE = Kind(
    'boxes partly outside the image',
    'They are clipped at the border when the image is resized. If there are '
    'many, check that each bbox is x, y, width, height, not x1, y1, x2, y2',
    is_fault=False,
)
CORNERS = Kind(
    'files whose boxes are x1, y1, x2, y2',
    'A bbox is x, y, width, height in pixels: subtract x1 from x2, and y1 from y2',
)
ENCODING = Kind(
    'annotation files that are not in UTF-8',
    'Save the file in UTF-8 without a byte order mark: mmdet and pycocotools '
    'cannot read it otherwise',
)
ZERO_ID = Kind(
    'annotations whose id is 0 or text, which the COCO metric cannot match',
    'Number the annotations from 1, or set the type of the metric to '
    'lightvit_mm.CocoMetric. Otherwise every AP is too low with the id 0, and '
    'the evaluation fails with text',
)
RENUMBERED = Kind(
    'annotations whose id is 0 or text',
    'lightvit_mm.CocoMetric numbers them from 1, so the results are right; '
    'number them from 1 for other tools, which count the id 0 as not found',
    is_fault=False,
)
REPEATED = Kind(
    'annotations that repeat another one',
    'Remove them: the evaluation counts each copy as an object that is not found',
    is_fault=False,
)
MISFIT = Kind(
    'files whose boxes do not fit their masks',
    'Correct the boxes, or the masks. A bbox is x, y, width, height in pixels, '
    'not x1, y1, x2, y2',
)
SOME_MISFIT = MISFIT._replace(is_fault=False)

OUT_OF_ROOT = Kind(
    'images outside of data_root',
    'Copy them into it, and correct file_name: training reads whatever file it names',
)

TOLERANCE = 1  # pixel beyond the border
MAX_MISFIT = 0.1  # share of boxes; more is a fault
MAX_CROWDS = 0.2  # share of annotations; COCO has 0.012
# Corners are taken for x, y, width, height: this share of the boxes leaves the
# image by this part of its side, but nearly all fit it as corners.
MIN_LEAVING, BY, MIN_FITTING = 0.1, 0.1, 0.95
MAX_EXAMPLES = 3  # of boxes that do not fit

_FIELDS = dict(
    images={'id', 'file_name', 'width', 'height'},
    annotations={'id', 'image_id', 'category_id', 'bbox', 'area'},
    categories={'id', 'name'},
)
# Annotations that agree in them are the same.
_CONTENT = ('image_id', 'category_id', 'bbox', 'segmentation')
# What check_box finds in annotations that mmdet uses.
_USED = (None, PARTLY_OUTSIDE)
_BACKGROUND = {'background', '__background__', '_background_'}


def is_coco(cls: type) -> bool:
    """Whether a dataset class reads its file as mmdet's CocoDataset does."""
    return all(
        getattr(cls, method, cls).__qualname__ == f'CocoDataset.{method}'
        for method in ('load_data_list', 'parse_data_info')
    )


def read(source: Source, config: str) -> tuple[Content | None, list[Finding]]:
    """Read and check the annotations of a dataset.

    Args:
        source: A dataset whose class :func:`is_coco` accepts.
        config: File name of the config.

    Returns:
        The content, None if the file cannot be read, and the findings.
    """
    path = source.file
    try:
        text = get(path)
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError(f'it holds a {type(data).__name__}')
        missing = [x for x in ('images', 'categories') if x not in data]
        if missing:
            raise ValueError(f'it has no {" and no ".join(missing)}')
        _check_entries(data)
    except UnicodeDecodeError as error:
        return None, [Finding(ENCODING, path, str(error))]
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        return None, [Finding(UNREADABLE, path, reason)]
    coco = CocoFile(path, source, data)
    checks = (
        coco.check_fields,
        coco.check_names,
        coco.check_ids,
        coco.check_zero_id,
        coco.check_references,
        coco.check_classes,
        coco.check_boxes,
        coco.check_corners,
        coco.check_masks,
        coco.check_fit,
        coco.check_repetitions,
        coco.check_crowds,
        coco.check_emptiness,
    )
    findings = [*check_encoding(path, text)]
    findings += [finding for check in checks for finding in check()]
    findings += check_evaluators(source, config)
    return coco.content(), findings


def _check_entries(data: dict) -> None:
    for part in _FIELDS:
        entries = data.get(part, [])
        if not isinstance(entries, list):
            raise ValueError(f'{part} is a {type(entries).__name__}, not a list')
        for i, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise ValueError(f'{part}[{i}] is a {type(entry).__name__}, not a dict')
            if not isinstance(entry.get('file_name', ''), str):
                raise ValueError(
                    f'{part}[{i}] has file_name={entry["file_name"]!r}, not a text'
                )


def check_encoding(path: str, text: bytes) -> Iterator[Finding]:
    """Find a byte order mark, or an encoding of JSON other than UTF-8."""
    encoding = json.detect_encoding(text)
    if encoding != 'utf-8':
        marked = encoding == 'utf-8-sig'
        name = 'UTF-8 with a byte order mark' if marked else encoding.upper()
        yield Finding(ENCODING, path, f'it is in {name}')


def check_evaluators(source: Source, config: str) -> Iterator[Finding]:
    """Find metrics that read another file than the dataset."""
    for metric in source.metrics:
        ann_file = metric.get('ann_file')
        if ann_file and os.path.realpath(ann_file) != os.path.realpath(source.file):
            yield Finding(
                OTHER_FILE,
                config,
                f'the evaluator of {source.name} reads ann_file={ann_file}, '
                f'the dataset {source.file}',
            )


def check_box(
    box: Sequence[float], size: tuple[int, int], area: float = 1
) -> Kind | None:
    """The kind of fault of a box, None if there is none.

    Args:
        box: x, y, width and height in pixels.
        size: Width and height of the image.
        area: Annotated area of the object.
    """
    # int and float spare most numbers the slow check of an abstract class.
    if len(box) != 4 or not all(
        isinstance(x, (int, float, Real)) and isfinite(x) for x in box
    ):
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


class CocoFile:
    """The content of a COCO file; entries that lack a field are set aside.

    Args:
        path: The file.
        source: The dataset that reads it.
        data: Its content.
    """

    def __init__(self, path: str, source: Source, data: dict) -> None:
        self.path = path
        self.source = source
        self.data = data
        images, self.annotations, self.categories = (
            [x for x in data.get(part, []) if x.keys() >= fields]
            for part, fields in _FIELDS.items()
        )
        self.images = {x['id']: x for x in images}
        self.names = [x['name'] for x in self.categories if not _is_background(x)]
        self.classes = source.classes or ()
        self.has_all_classes = set(self.classes) <= {x['name'] for x in self.categories}
        # mmdet skips ignored annotations, and those without an image.
        self.annotations = [x for x in self.annotations if not x.get('ignore')]

    @property
    def _folder(self) -> str:
        prefix = self.source.cfg.get('data_prefix') or {}
        return self.source.join(prefix.get('img', ''))

    @cached_property
    def placed(self) -> list[dict]:
        """The annotations of known images."""
        return [x for x in self.annotations if x['image_id'] in self.images]

    @cached_property
    def box_faults(self) -> list[Kind | None]:
        """The fault of each placed annotation's box."""
        return [check_box(x['bbox'], self._size(x), x['area']) for x in self.placed]

    @cached_property
    def mask_faults(self) -> list[Kind | None]:
        """The fault of each placed annotation's mask; crowds have none."""
        poly2mask = all(t.get('poly2mask', True) for t in walk(self.source.transforms))
        return [
            None
            if x.get('iscrowd')
            else check_segmentation(x.get('segmentation'), self._size(x), poly2mask)
            for x in self.placed
        ]

    @cached_property
    def used(self) -> list[dict]:
        """The annotations that mmdet does not skip for their box."""
        return [x for x, kind in zip(self.placed, self.box_faults) if kind in _USED]

    def objects(self) -> Objects | None:
        """The annotations that mmdet learns, None if their classes are wrong."""
        if not self.has_all_classes:
            return None
        label_of_name = {name: label for label, name in enumerate(self.classes)}
        labels = {
            x['id']: label_of_name[x['name']]
            for x in self.categories
            if x['name'] in label_of_name
        }
        indices = {i: index for index, i in enumerate(self.images)}
        learned = [
            x for x in self.used if x['category_id'] in labels and not x.get('iscrowd')
        ]
        return Objects(
            np.array([indices[x['image_id']] for x in learned], int),
            np.array([labels[x['category_id']] for x in learned], int),
            np.array([x['area'] for x in learned], float),
        )

    def content(self) -> Content:
        """Images, classes and numbers."""
        pictures = [
            Picture(
                os.path.join(self._folder, image['file_name']),
                f'image {image["id"]} of {self.path}',
                size=(image['width'], image['height']),
            )
            for image in self.images.values()
        ]
        num_classes = len(self.classes)
        # COCO's classes are only the default here; the categories of the file
        # should replace them.
        if not self.has_all_classes and self.source.named_classes is None:
            num_classes = len(self.names)
        return Content(
            pictures,
            num_images=len(self.data['images']),
            num_kept=len(self._kept()),
            num_annotations=len(self.data.get('annotations', [])),
            classes=self.classes,
            num_classes=num_classes,
            objects=self.objects(),
        )

    def check_fields(self) -> Iterator[Finding]:
        """Find entries that lack a field."""
        for part, fields in _FIELDS.items():
            for i, entry in enumerate(self.data.get(part, [])):
                missing = sorted(fields - entry.keys())
                if missing:
                    yield self._found(
                        NO_FIELD,
                        f'{part}[{i}] (id {entry.get("id")}) has no '
                        f'{" and no ".join(missing)}',
                    )
        if self.source.is_evaluated:
            for annotation in self.annotations:
                if 'iscrowd' not in annotation:
                    yield self._found(NO_CROWD_FLAG, self._name(annotation))

    def check_names(self) -> Iterator[Finding]:
        """Find images outside of data_root."""
        root = self.source.join('') or self._folder
        for image in self.images.values():
            path = os.path.join(self._folder, image['file_name'])
            if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root)):
                yield self._found(
                    OUT_OF_ROOT, f'image {image["id"]} has the file {path}'
                )

    def check_ids(self) -> Iterator[Finding]:
        """Find duplicate ids, and categories of the same name."""
        for part in _FIELDS:
            entries = self.data.get(part, [])
            for i, count in Counter(x.get('id') for x in entries).items():
                if count > 1 and i is not None:
                    yield self._found(DUPLICATED, f'{count} {part} have the id {i}')
        names = Counter(x['name'] for x in self.categories)
        for name, count in names.items():
            if count > 1:
                yield self._found(
                    DUPLICATED, f'{count} categories have the name {name!r}'
                )

    def check_zero_id(self) -> Iterator[Finding]:
        """Find annotations whose match pycocotools cannot store."""
        kinds = {
            # Without ann_file, the metric numbers the annotations itself.
            RENUMBERED if _is_ours(metric) else ZERO_ID
            for metric in self.source.metrics
            if type_name(metric) == 'CocoMetric' and metric.get('ann_file')
        }
        kind = next((x for x in (ZERO_ID, RENUMBERED) if x in kinds), None)
        if kind is not None:
            for x in self.annotations:
                if not can_match(x['id']):
                    yield self._found(kind, self._name(x))

    def check_references(self) -> Iterator[Finding]:
        """Find annotations of unknown images or categories."""
        images, categories = (
            {x.get('id') for x in self.data[part]} for part in ('images', 'categories')
        )
        for x in self.annotations:
            if x['image_id'] not in images:
                yield self._found(
                    UNKNOWN,
                    f'annotation {x["id"]}: there is no image {x["image_id"]!r}',
                )
            if x['category_id'] not in categories:
                yield self._found(
                    UNKNOWN,
                    f'{self._name(x)}: there is no category {x["category_id"]!r}',
                )

    def check_classes(self) -> Iterator[Finding]:
        """Find classes that are not the categories of the file, in its order."""
        for category in self.categories:
            if _is_background(category):
                yield self._found(
                    BACKGROUND, f'category {category["id"]}, {category["name"]!r}'
                )
        wanted = set(self.classes)
        left_out = [name for name in self.names if name not in wanted]
        if not self.has_all_classes:
            names = {x['name'] for x in self.categories}
            missing = [name for name in self.classes if name not in names]
            yield self._found(
                CLASSES,
                f'only in the config: {listed(missing)}; only in '
                f'the file: {listed(left_out)}',
            )
            return
        wanted_ids = {x['id'] for x in self.categories if x['name'] in wanted}
        counts = Counter(x['category_id'] for x in self.annotations)
        for category in self.categories:
            count = counts[category['id']]
            if (
                category['name'] in left_out
                and count
                and category['id'] not in wanted_ids
            ):
                yield self._found(
                    LEFT_OUT,
                    f'category {category["id"]}, '
                    f'{category["name"]!r}: {count} annotations',
                )
        ordered = [x['name'] for x in self.categories if x['name'] in wanted]
        for i, names in enumerate(zip(self.classes, ordered)):
            if len(set(names)) > 1 and len(ordered) == len(self.classes):
                yield self._found(
                    ORDER,
                    f'class {i} is {names[1]!r} in the file and '
                    f'{names[0]!r} in the config',
                )

    def check_boxes(self) -> Iterator[Finding]:
        """Find boxes with faults, see :func:`check_box`."""
        for x, kind in zip(self.placed, self.box_faults):
            if kind is not None:
                width, height = self._size(x)
                yield self._found(
                    kind,
                    f'{self._name(x)}: bbox {x["bbox"]}, area {x["area"]}, image of '
                    f'{width} x {height}',
                )

    def check_corners(self) -> Iterator[Finding]:
        """Find boxes that do not fit their images, but would as corners."""
        if not self.used:
            return
        boxes = np.array([x['bbox'] for x in self.used], float)
        sizes = np.array([self._size(x) for x in self.used])
        first, second = boxes[:, :2], boxes[:, 2:]
        leave = (first + second > (1 + BY) * sizes).any(axis=1)
        fit_as_corners = (
            (first >= -TOLERANCE) & (first < second) & (second <= sizes + TOLERANCE)
        ).all(axis=1)
        if leave.mean() > MIN_LEAVING and fit_as_corners.mean() >= MIN_FITTING:
            example = self.used[leave.argmax()]
            width, height = self._size(example)
            yield self._found(
                CORNERS,
                f'{fit_as_corners.sum()} of {len(boxes)} boxes fit their image as '
                f'x1, y1, x2, y2, but {leave.sum()} leave it as x, y, width, height: '
                f'{self._name(example)}: bbox {example["bbox"]}, image of {width} x '
                f'{height}',
            )

    def check_masks(self) -> Iterator[Finding]:
        """Find masks with faults, see :func:`masks.check_segmentation`."""
        if not self.source.needs_masks:
            return
        for x, kind in zip(self.placed, self.mask_faults):
            if kind is not None:
                yield self._found(
                    kind,
                    f'{self._name(x)}: segmentation '
                    f'{_shortened(x.get("segmentation"))}',
                )

    def check_fit(self) -> Iterator[Finding]:
        """Find boxes that do not fit their masks, see :func:`masks.fit`."""
        masked = [
            x
            for x, of_box, of_mask in zip(
                self.placed, self.box_faults, self.mask_faults
            )
            if of_box in _USED
            and of_mask in (None, RLE_AS_POLYGON)
            and not x.get('iscrowd')
        ]
        if not masked:
            return
        boxes = np.array([x['bbox'] for x in masked], float)
        boxes[:, 2:] += boxes[:, :2]
        around = bounds([x['segmentation'] for x in masked])
        sizes = np.array([self._size(x) for x in masked])
        misfits = np.flatnonzero(~fit(boxes, around, sizes))
        if not len(misfits):
            return
        share = len(misfits) / len(masked)
        lines = [f'{len(misfits)} of {len(masked)} boxes ({share:.0%})']
        around[:, 2:] -= around[:, :2]
        for i in misfits[:MAX_EXAMPLES]:
            lines.append(
                f'    {self._name(masked[i])}: bbox {masked[i]["bbox"]}, that of '
                f'the mask is {around[i].round(2).tolist()}'
            )
        kind = MISFIT if share > MAX_MISFIT else SOME_MISFIT
        yield self._found(kind, '\n'.join(lines))

    def check_repetitions(self) -> Iterator[Finding]:
        """Find annotations that are there twice."""
        # Hashes, because the garbage collector looks at each of many tuples.
        first: dict[int, dict] = {}
        for x in self.used:
            key = hash((x['image_id'], x['category_id'], *x['bbox']))
            other = first.setdefault(key, x)
            if other is not x and all(x.get(y) == other.get(y) for y in _CONTENT):
                yield self._found(
                    REPEATED, f'{self._name(x)} repeats annotation {other["id"]}'
                )

    def check_crowds(self) -> Iterator[Finding]:
        """Find images whose annotations are all crowds, and many crowds."""
        are_crowds = defaultdict(list)
        for x in self.placed:
            are_crowds[x['image_id']].append(bool(x.get('iscrowd')))
        images = [i for i, crowds in are_crowds.items() if all(crowds)]
        if images and len(images) == len(are_crowds):
            num = sum(map(len, are_crowds.values()))
            yield self._found(ONLY_CROWDS, f'all {num} annotations')
            return
        if images and self.source.is_trained:
            for i in images:
                yield self._found(
                    CROWD_IMAGE,
                    f'image {i} ({self.images[i]["file_name"]}): '
                    f'{len(are_crowds[i])} annotations',
                )
            return
        flags = [is_crowd for crowds in are_crowds.values() for is_crowd in crowds]
        if flags and np.mean(flags) > MAX_CROWDS:
            yield self._found(
                MANY_CROWDS,
                f'{sum(flags)} of {len(flags)} annotations ({np.mean(flags):.0%})',
            )

    def check_emptiness(self) -> Iterator[Finding]:
        """Find a file without annotations, or without images to use."""
        filter_cfg = self.source.cfg.get('filter_cfg') or {}
        if not self.data['images']:
            yield self._found(EMPTY, 'no images')
        elif not self.data.get('annotations'):
            # Test sets may have none, and so may training images that are
            # kept for their background or for a teacher model.
            keeps = filter_cfg.get('filter_empty_gt') is False
            if 'val' in self.source.splits or (self.source.is_trained and not keeps):
                yield self._found(NO_ANNOTATION, 'no annotations')
        elif filter_cfg and not self._kept():
            yield self._found(
                EMPTY,
                f'none of {len(self.data["images"])} images passes '
                f'filter_cfg={dict(filter_cfg)}',
            )

    def _kept(self) -> list[Any]:
        """Ids of the images that CocoDataset.filter_data keeps."""
        cfg = self.source.cfg
        filter_cfg = {} if cfg.get('test_mode') else cfg.get('filter_cfg')
        kept = list(self.images.values())
        if not filter_cfg:
            return [x['id'] for x in kept]
        if filter_cfg.get('filter_empty_gt'):
            # If the classes are wrong, count all categories in their place.
            wanted = {
                x['id']
                for x in self.categories
                if not self.has_all_classes or x['name'] in self.classes
            }
            annotated = {
                x['image_id']
                for x in self.data.get('annotations', [])
                if x.get('category_id') in wanted
            }
            kept = [x for x in kept if x['id'] in annotated]
        min_size = filter_cfg.get('min_size', 0)
        return [x['id'] for x in kept if min(x['width'], x['height']) >= min_size]

    def _size(self, annotation: dict) -> tuple[int, int]:
        image = self.images[annotation['image_id']]
        return image['width'], image['height']

    def _name(self, annotation: dict) -> str:
        image = self.images.get(annotation['image_id'])
        of = f' of {image["file_name"]}' if image else ''
        return f'annotation {annotation["id"]}{of}'

    def _found(self, kind: Kind, entry: str) -> Finding:
        return Finding(kind, self.path, entry)


def _is_background(category: dict) -> bool:
    return str(category['name']).lower() in _BACKGROUND


def _is_ours(metric: dict) -> bool:
    kind = metric['type']
    module = kind if isinstance(kind, str) else kind.__module__
    return module.startswith('lightvit_mm.')


def _shortened(value: Any, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else f'{text[:most]}...'
