"""Converts a dataset and reads the result with pycocotools."""

from pathlib import Path

import numpy as np
import pytest

from lightvit_mm.convert_dataset.convert import convert

from .files import HEIGHT, WIDTH

pytest.importorskip('mmdet')

from pycocotools.coco import COCO


class Found:
    """An object of the result."""

    def __init__(self, coco, annotation):
        self.name = coco.cats[annotation['category_id']]['name']
        self.box = annotation['bbox']
        self.area = annotation['area']
        self.segmentation = annotation.get('segmentation')
        self.is_crowd = bool(annotation['iscrowd'])
        if self.segmentation:
            self.mask = coco.annToMask(annotation).astype(bool)


class Result:
    """What a conversion has written.

    Args:
        out: The folder.
        summary: The text that was returned.
    """

    def __init__(self, out, summary):
        self.out, self.summary = out, summary
        self.images, self.objects, self.classes = {}, {}, {}
        for split in ('train', 'val'):
            coco = COCO(out / f'{split}.json')
            self.classes[split] = [x['name'] for x in coco.dataset['categories']]
            self.images[split] = [x['file_name'] for x in coco.dataset['images']]
            for image in coco.imgs.values():
                found = coco.loadAnns(coco.getAnnIds(image['id']))
                self.objects[image['file_name']] = [Found(coco, x) for x in found]
            assert sorted(self.images[split]) == sorted(
                path.relative_to(out / split).as_posix()
                for path in (out / split).rglob('*.*')
            )


def converted(source, **options):
    out = Path(source).parent / 'converted'
    summary = convert(Path(source), out, **options)
    return Result(out, summary)


def box_mask(x, y, w, h, size=(WIDTH, HEIGHT)):
    mask = np.zeros(size[::-1], bool)
    mask[y : y + h, x : x + w] = True
    return mask


def assert_ellipse(mask, cx, cy, rx, ry, theta=0.0):
    """Pixels well inside belong to the mask, pixels well outside do not."""
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    along = (x - cx) * np.cos(theta) + (y - cy) * np.sin(theta)
    across = (y - cy) * np.cos(theta) - (x - cx) * np.sin(theta)
    assert mask[np.hypot(along / (rx - 1), across / (ry - 1)) < 1].all()
    assert not mask[np.hypot(along / (rx + 1), across / (ry + 1)) > 1].any()
