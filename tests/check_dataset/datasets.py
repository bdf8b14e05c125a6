"""Small valid datasets of each task, to which tests add one fault."""

import copy
import json

import cv2
import numpy as np
from mmengine.config import Config
from PIL import Image

from lightvit_mm.check_dataset import check

WIDTH, HEIGHT = 40, 30


def write_image(path, width=WIDTH, height=HEIGHT, orientation=1):
    """A red image, which shows swapped channels; each path has another file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new('RGB', (width, height), (200, 60, 20)).save(
        path, exif=exif, quality=95, comment=str(path)
    )
    return path


def read_config(cfg):
    # With cfg_text, Config does not read the file, which does not exist.
    return Config(copy.deepcopy(cfg), filename='own.py', cfg_text='#')


def only(report, kind, where):
    """The entries of a report whose findings are all of one kind and file."""
    assert {(x.kind, x.file) for x in report.findings} == {(kind, str(where))}
    assert report.has_faults == kind.is_fault
    text = str(report)
    assert str(where) in text and kind.fix in text
    assert ('no faults found' in text) == (not kind.is_fault)
    return [x.entry for x in report.findings]


class Coco:
    """Cats and dogs in three images to train on and two to evaluate on."""

    def __init__(self, root):
        self.root = root
        # The COCO metric counts an id of 0 as not found.
        self.data = dict(
            train=self._write('train', 3, first_id=0),
            val=self._write('val', 2, first_id=1),
        )
        dataset = dict(
            type='CocoDataset',
            data_root=str(root),
            metainfo=dict(classes=('cat', 'dog')),
            filter_cfg=dict(filter_empty_gt=True),
        )
        load = [
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        ]
        train, val = (
            dict(dataset, ann_file=f'{s}.json', data_prefix=dict(img=s), pipeline=load)
            for s in ('train', 'val')
        )
        evaluator = dict(
            type='CocoMetric', metric=['bbox', 'segm'], ann_file=str(root / 'val.json')
        )
        self.cfg = dict(
            default_scope='mmdet',
            model=dict(
                rpn_head=dict(type='RPNHead', num_classes=1),
                roi_head=dict(
                    bbox_head=[
                        dict(type='Shared2FCBBoxHead', num_classes=2) for _ in range(2)
                    ],
                    mask_head=dict(num_classes=2),
                    semantic_head=dict(num_classes=183),
                ),
            ),
            train_dataloader=dict(dataset=train),
            val_dataloader=dict(dataset=dict(val, test_mode=True)),
            test_dataloader=dict(dataset=dict(val, test_mode=True)),
            val_evaluator=evaluator,
            test_evaluator=evaluator,
        )

    def _write(self, split, num_images, first_id):
        data = dict(
            images=[],
            annotations=[],
            categories=[dict(id=3, name='cat'), dict(id=7, name='dog')],
        )
        for i in range(num_images):
            name = f'{i}.jpg'
            write_image(self.root / split / name)
            data['images'].append(
                dict(id=i, file_name=name, width=WIDTH, height=HEIGHT)
            )
            for category, x in ((3, 2), (7, 20)):
                data['annotations'].append(
                    dict(
                        id=first_id + len(data['annotations']),
                        image_id=i,
                        category_id=category,
                        bbox=[x, 5, 10, 8],
                        area=80,
                        iscrowd=0,
                        segmentation=[[x, 5, x + 10, 5, x + 10, 13, x, 13]],
                    )
                )
        return data

    def config(self):
        for split, data in self.data.items():
            (self.root / f'{split}.json').write_text(json.dumps(data))
        return read_config(self.cfg)

    def check(self):
        return check.check(self.config())


def change(i, **fields):
    return lambda data: data['annotations'][i].update(fields)


def without(i, field):
    return lambda data: data['annotations'][i].pop(field)


def move(i, bbox):
    """Gives an annotation another box, and a mask that fits it."""
    x, y, w, h = bbox
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    return change(i, bbox=bbox, segmentation=[polygon])


def add_category(name, num_annotations=1):

    def fault(data):
        data['categories'].append(dict(id=9, name=name))
        for i in range(num_annotations):
            data['annotations'].append(
                dict(data['annotations'][0], id=90 + i, image_id=i, category_id=9)
            )

    return fault


def train_image(pets):
    return pets.root / 'train/1.jpg'


class Maps:
    """Three images whose maps have the classes 0 to 2 and ignored pixels."""

    def __init__(self, root):
        self.root = root
        for split in ('train', 'val'):
            for i in range(3):
                write_image(root / 'img' / split / f'{i}.jpg')
                self.write_map(split, i, [0, 1, 2, 255])
        dataset = dict(
            type='BaseSegDataset',
            data_root=str(root),
            metainfo=dict(classes=('sky', 'road', 'car')),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')],
        )
        self.cfg = dict(
            default_scope='mmseg',
            model=dict(
                decode_head=[dict(num_classes=3), dict(num_classes=3)],
                auxiliary_head=dict(type='FCNHead', num_classes=3),
            ),
            **{
                f'{split}_dataloader': dict(
                    dataset=dict(
                        dataset,
                        data_prefix=dict(
                            img_path=f'img/{split}', seg_map_path=f'ann/{split}'
                        ),
                    )
                )
                for split in ('train', 'val')
            },
        )

    def write_map(self, split, i, values, size=(WIDTH, HEIGHT)):
        path = self.path(split, i)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.resize(np.array(values), size[::-1])
        cv2.imwrite(
            str(path), pixels.astype(np.uint16 if pixels.max() > 255 else np.uint8)
        )
        return path

    def set_classes(self, *names):
        """Name the classes, and set their number in the heads."""
        for split in ('train', 'val'):
            self.cfg[f'{split}_dataloader']['dataset']['metainfo'] = dict(classes=names)
        model = self.cfg['model']
        for head in [*model['decode_head'], model['auxiliary_head']]:
            head['num_classes'] = len(names)

    def path(self, split, i):
        return self.root / 'ann' / split / f'{i}.png'

    def check(self):
        return check.check(read_config(self.cfg))

    def train(self):
        return self.cfg['train_dataloader']['dataset']


class Folders:
    """Folders of the classes a and b with two images each."""

    def __init__(self, root):
        self.root = root
        for split in ('train', 'val'):
            for name in ('a/0', 'a/1', 'b/0', 'b/1'):
                write_image(root / split / f'{name}.jpg')
        dataset = dict(
            type='CustomDataset',
            data_root=str(root),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
        )
        self.cfg = dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier', head=dict(type='LinearClsHead', num_classes=2)
            ),
            data_preprocessor=dict(
                num_classes=2,
                mean=[123.675, 116.28, 103.53],
                std=[58.395, 57.12, 57.375],
                to_rgb=True,
            ),
            train_dataloader=dict(
                dataset=dict(
                    type='KFoldDataset',
                    num_splits=2,
                    dataset=dict(dataset, data_prefix='train'),
                )
            ),
            val_dataloader=dict(dataset=dict(dataset, data_prefix='val')),
        )

    def check(self):
        return check.check(read_config(self.cfg))
