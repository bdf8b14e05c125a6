"""Each fault that the checker looks for, alone in a small data set."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from lightvit_mm.check_dataset import (
    any_dataset,
    check,
    coco,
    pictures,
    samples,
    sources,
)
from lightvit_mm.check_dataset import report as kinds

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/check_dataset.py'
sys.path.append(str(ROOT / 'tools'))
WIDTH, HEIGHT = 40, 30


def write_image(path, width=WIDTH, height=HEIGHT, orientation=1):
    """A red image, so that exchanged colours are seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new('RGB', (width, height), (200, 60, 20)).save(path, exif=exif, quality=95)
    return path


def read_config(cfg):
    # Any text keeps Config from reading the file, which there is not.
    return Config(copy.deepcopy(cfg), filename='own.py', cfg_text='#')


def only(report, kind, where):
    """The entries of a report whose findings are all of one kind and file."""
    assert {(x.kind, x.file) for x in report.findings} == {(kind, str(where))}
    assert report.has_faults == kind.is_fault
    told = str(report)
    assert str(where) in told and kind.remedy in told
    assert ('nothing wrong found' in told) == (not kind.is_fault)
    return [x.entry for x in report.findings]


# Detection


class Coco:
    """Cats and dogs in three images to train on and two to evaluate on."""

    def __init__(self, root):
        self.root = root
        self.data = {s: self._write(s, n) for s, n in (('train', 3), ('val', 2))}
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

    def _write(self, split, num_images):
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
                        id=len(data['annotations']),
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


@pytest.fixture
def pets(tmp_path):
    pytest.importorskip('mmdet')
    return Coco(tmp_path)


def test_nothing_is_found_in_clean_detection_data(pets):
    report = pets.check()
    assert report.findings == []
    assert str(report) == (
        'train: 3 images, 6 annotations, 2 classes\n'
        'val, test: 2 images, 4 annotations, 2 classes\n\n'
        'nothing wrong found'
    )


def change(i, **fields):
    return lambda data: data['annotations'][i].update(fields)


def without(i, field):
    return lambda data: data['annotations'][i].pop(field)


def add_category(name, num_annotations=1):

    def fault(data):
        data['categories'].append(dict(id=9, name=name))
        for i in range(num_annotations):
            data['annotations'].append(
                dict(data['annotations'][0], id=90 + i, category_id=9)
            )

    return fault


RLE = dict(counts=[0, WIDTH * HEIGHT], size=[HEIGHT, WIDTH])


@pytest.mark.parametrize('fault, kind, entries', [
    (change(1, bbox=[5, 5, 0, 8]), kinds.NO_AREA,
     ['annotation 1 of 0.jpg: bbox [5, 5, 0, 8]']),
    (change(1, area=0), kinds.NO_AREA, ['area 0']),
    (change(2, bbox=[40, 5, 9, 8]), kinds.OUTSIDE,
     ['annotation 2 of 1.jpg: bbox [40, 5, 9, 8]']),
    (change(2, bbox=[35, 5, 9, 8]), kinds.PARTLY_OUTSIDE,
     ['annotation 2 of 1.jpg']),
    (change(2, bbox=[5, 9, 8]), kinds.NOT_A_BOX, ['annotation 2 of 1.jpg']),
    (change(2, bbox=[5, 9, 8, float('nan')]), kinds.NOT_A_BOX, ['nan']),
    (without(3, 'segmentation'), coco.NO_MASK, ['annotation 3 of 1.jpg']),
    (change(3, segmentation=[]), coco.NO_MASK, ['annotation 3 of 1.jpg']),
    (change(3, segmentation=[[1, 2, 3, 4]]), coco.BAD_POLYGON,
     ['annotation 3 of 1.jpg: segmentation [[1, 2, 3, 4]]']),
    (change(3, segmentation=[1, 2, 3, 4, 5, 6]), coco.BAD_POLYGON,
     ['annotation 3']),
    (change(3, segmentation=dict(RLE, size=[WIDTH, HEIGHT])),
     coco.BAD_RLE, ['annotation 3']),
    (lambda data: data['categories'][1].update(name='Dog'), coco.CLASSES,
     ['only in the config: dog; only in the file: Dog']),
    (add_category('cow', 2), coco.LEFT_OUT,
     ["category 9, 'cow': 2 annotations"]),
    (lambda data: data['categories'].reverse(), coco.ORDER,
     ["class 0 is 'dog' in the file and 'cat' in the config",
      "class 1 is 'cat' in the file and 'dog' in the config"]),
    (add_category('background', 0), coco.BACKGROUND,
     ["category 9, 'background'"]),
    (lambda data: data['images'].append(data['images'][0]), coco.DUPLICATED,
     ['2 images have the id 0']),
    (change(2, id=1), coco.DUPLICATED, ['2 annotations have the id 1']),
    (lambda data: data['categories'].append(dict(id=7, name='cow')),
     coco.DUPLICATED, ['2 categories have the id 7']),
    (lambda data: data['categories'].append(dict(id=8, name='dog')),
     coco.DUPLICATED, ["2 categories have the name 'dog'"]),
    (change(2, image_id=70), coco.UNKNOWN,
     ['annotation 2: there is no image 70']),
    (change(2, category_id=1), coco.UNKNOWN,
     ['annotation 2 of 1.jpg: there is no category 1']),
    (without(2, 'area'), coco.NO_FIELD,
     ['annotations[2] (id 2) has no area']),
    (lambda data: data['images'][2].pop('height'), coco.NO_FIELD,
     ['images[2] (id 2) has no height']),
    (lambda data: [x.update(iscrowd=1) for x in data['annotations'][:2]],
     coco.CROWD_IMAGE, ['image 0 (0.jpg): 2 annotations']),
    (lambda data: [x.update(iscrowd=1) for x in data['annotations']],
     coco.ONLY_CROWDS, ['all 6 annotations']),
    (lambda data: data.update(images=[], annotations=[]), coco.EMPTY,
     ['no images']),
    (lambda data: data.update(annotations=[]), coco.NO_ANNOTATION,
     ['no annotations']),
    (lambda data: data.pop('categories'), coco.UNREADABLE,
     ['it has no categories']),
])  # yapf: disable
def test_a_fault_in_annotations_is_found(pets, fault, kind, entries):
    fault(pets.data['train'])
    found = only(pets.check(), kind, pets.root / 'train.json')
    assert len(found) >= len(entries)
    assert all(entry in text for entry, text in zip(entries, found))


def test_what_the_libraries_read_well_is_no_fault(pets):
    first, second, third, *_ = pets.data['train']['annotations']
    first.update(bbox=[-1, 5, 12, 25.9])
    second.update(segmentation=RLE)
    third.update(iscrowd=1, segmentation=None)
    assert pets.check().findings == []


def test_a_val_set_lacks_what_only_evaluation_reads(pets):
    without(1, 'iscrowd')(pets.data['val'])
    without(1, 'iscrowd')(pets.data['train'])
    found = only(pets.check(), coco.NO_CROWD_FLAG, pets.root / 'val.json')
    assert found == ['annotation 1 of 0.jpg']


def test_masks_are_needed_only_where_they_are_read(pets):
    for data in pets.data.values():
        for annotation in data['annotations']:
            del annotation['segmentation']
    kinds = {x.kind for x in pets.check().findings}
    assert kinds == {coco.NO_MASK}
    for split in ('train', 'val', 'test'):
        dataset = pets.cfg[f'{split}_dataloader']['dataset']
        dataset['pipeline'] = [dict(type='LoadImageFromFile')]
    # The metric reads them still.
    found = only(pets.check(), coco.NO_MASK, pets.root / 'val.json')
    assert len(found) == 4
    pets.cfg['val_evaluator']['metric'] = 'bbox'
    assert pets.check().findings == []


def test_an_empty_val_set_is_found(pets):
    pets.data['val']['annotations'] = []
    only(pets.check(), coco.NO_ANNOTATION, pets.root / 'val.json')


def test_a_test_set_may_have_no_annotations(pets):
    (pets.root / 'test.json').write_text(
        json.dumps(dict(pets.data['val'], annotations=[]))
    )
    pets.cfg['test_dataloader']['dataset']['ann_file'] = 'test.json'
    pets.cfg['test_evaluator'] = dict(
        pets.cfg['val_evaluator'], ann_file=str(pets.root / 'test.json')
    )
    report = pets.check()
    assert report.findings == []
    assert 'test: 2 images, 0 annotations, 2 classes' in str(report)


def test_an_annotation_file_that_is_not_there_is_found(pets):
    pets.cfg['train_dataloader']['dataset']['ann_file'] = 'no.json'
    assert (
        'No such file' in only(pets.check(), coco.UNREADABLE, pets.root / 'no.json')[0]
    )


def test_a_file_that_is_not_json_is_found(pets):
    config = pets.config()
    (pets.root / 'train.json').write_text('{"images": [')
    only(check.check(config), coco.UNREADABLE, pets.root / 'train.json')


def test_a_filter_that_leaves_no_image_is_found(pets):
    pets.cfg['train_dataloader']['dataset']['filter_cfg']['min_size'] = 32
    found = only(pets.check(), coco.EMPTY, pets.root / 'train.json')
    assert 'none of 3 images' in found[0] and "'min_size': 32" in found[0]


def test_rle_is_found_where_polygons_are_read(pets):
    pets.cfg['train_dataloader']['dataset']['pipeline'][1] = dict(
        type='LoadAnnotations', with_mask=True, poly2mask=False
    )
    change(2, segmentation=RLE)(pets.data['train'])
    found = only(pets.check(), coco.RLE_AS_POLYGON, pets.root / 'train.json')
    assert 'annotation 2 of 1.jpg' in found[0]


def test_a_metric_on_another_file_is_found(pets):
    pets.cfg['val_evaluator'] = dict(
        pets.cfg['val_evaluator'], ann_file='data/coco/val.json'
    )
    found = only(pets.check(), coco.OTHER_FILE, 'own.py')
    assert 'data/coco/val.json' in found[0]
    assert str(pets.root / 'val.json') in found[0]


def test_a_class_that_is_a_string_is_found(pets):
    for data in pets.data.values():
        del data['categories'][1]
        data['annotations'] = [x for x in data['annotations'] if x['category_id'] == 3]
    for split in ('train', 'val', 'test'):
        dataset = pets.cfg[f'{split}_dataloader']['dataset']
        dataset['metainfo'] = dict(classes=('cat'))
    roi_head = pets.cfg['model']['roi_head']
    for head in [*roi_head['bbox_head'], roi_head['mask_head']]:
        head['num_classes'] = 1
    assert only(pets.check(), sources.CLASS_IS_STRING, 'own.py') == [
        f"{split}_dataloader.dataset has classes='cat'" for split in ('train', 'val')
    ]


def test_a_file_of_classes_is_read(pets):
    names = pets.root / 'names.txt'
    names.write_text('cat\ndog\n')
    for split in ('train', 'val', 'test'):
        dataset = pets.cfg[f'{split}_dataloader']['dataset']
        dataset['metainfo'] = dict(classes=str(names))
    assert pets.check().findings == []


def test_classes_of_coco_are_found_on_own_data(pets):
    for split in ('train', 'val', 'test'):
        del pets.cfg[f'{split}_dataloader']['dataset']['metainfo']
    report = pets.check()
    assert {x.kind for x in report.findings} == {coco.CLASSES}
    assert {x.file for x in report.findings} == {
        str(pets.root / 'train.json'),
        str(pets.root / 'val.json'),
    }
    # The heads are right already, or found wrong at once.
    pets.cfg['model']['roi_head']['mask_head']['num_classes'] = 80
    assert 'mask_head.num_classes=80, the data have 2' in str(pets.check())


@pytest.mark.parametrize(
    'head, path',
    [
        (
            lambda model: model['roi_head']['bbox_head'][1],
            'model.roi_head.bbox_head[1].num_classes=80, the data have 2',
        ),
        (
            lambda model: model['roi_head']['mask_head'],
            'model.roi_head.mask_head.num_classes=80, the data have 2',
        ),
    ],
)
def test_a_head_of_other_classes_is_found(pets, head, path):
    head(pets.cfg['model'])['num_classes'] = 80
    assert only(pets.check(), check.NUM_CLASSES, 'own.py') == [path]


def test_val_classes_in_another_order_are_found(pets):
    pets.data['val']['categories'].reverse()
    for split in ('val', 'test'):
        dataset = pets.cfg[f'{split}_dataloader']['dataset']
        dataset['metainfo'] = dict(classes=('dog', 'cat'))
    found = only(pets.check(), check.OTHER_CLASSES, pets.root / 'val.json')
    assert 'dog, cat' in found[0] and 'cat, dog' in found[0]


def test_wrapped_data_sets_are_checked(pets):
    train = pets.cfg['train_dataloader']['dataset']
    other = dict(train, ann_file='other.json')
    pets.cfg['train_dataloader']['dataset'] = dict(
        type='MultiImageMixDataset',
        pipeline=[dict(type='Mosaic')],
        dataset=dict(
            type='ConcatDataset',
            datasets=[
                dict(type='RepeatDataset', times=2, dataset=train),
                dict(type='ClassBalancedDataset', dataset=other),
            ],
        ),
    )
    data = copy.deepcopy(pets.data['train'])
    change(2, area=0)(data)
    (pets.root / 'other.json').write_text(json.dumps(data))
    report = pets.check()
    only(report, kinds.NO_AREA, pets.root / 'other.json')
    assert 'train: 6 images, 12 annotations, 2 classes' in str(report)


def test_many_findings_are_told_in_short(pets):
    for annotation in pets.data['train']['annotations']:
        annotation['area'] = 0
    pets.data['train']['annotations'] *= 30
    for i, annotation in enumerate(pets.data['train']['annotations']):
        pets.data['train']['annotations'][i] = dict(annotation, id=i)
    report = pets.check()
    only(report, kinds.NO_AREA, pets.root / 'train.json')
    told = str(report)
    assert told.count('annotation ') == 5 and '... and 175 more' in told


def test_faults_are_told_before_notes(pets):
    change(2, bbox=[35, 5, 9, 8])(pets.data['train'])
    change(2, area=0)(pets.data['val'])
    told = str(pets.check())
    assert 0 < told.index('FAULT in val') < told.index('NOTE in train')


def test_what_is_said_to_be_left_out_is_left_out_by_mmdet(pets):
    from mmdet.datasets import CocoDataset

    rng = np.random.default_rng(0)
    annotations = pets.data['train']['annotations']
    for i in range(6, 2000):
        bbox = rng.integers([-15, -15, 0, 0], [45, 35, 12, 12]).tolist()
        annotations.append(
            dict(
                annotations[0],
                id=i,
                image_id=int(rng.integers(3)),
                category_id=int(rng.integers(2, 8)),
                bbox=bbox,
                area=int(rng.integers(9)),
                mark=i,
            )
        )
    report = pets.check()
    found = {
        int(x.entry.split()[1].rstrip(':'))
        for x in report.findings
        if x.kind in (kinds.NO_AREA, kinds.OUTSIDE, coco.UNKNOWN)
    }
    config = pets.config().train_dataloader.dataset
    config.pop('type')
    config.pipeline = []
    dataset = CocoDataset(**config)
    kept = sum(len(dataset.get_data_info(i)['instances']) for i in range(3))
    assert 200 < len(found) < 1800 and kept == 2000 - len(found)


VOC = """
<annotation>
  <size><width>40</width><height>30</height><depth>3</depth></size>
  <object><name>cat</name><bndbox><xmin>{x1}</xmin><ymin>1</ymin>
    <xmax>{x2}</xmax><ymax>30</ymax></bndbox></object>
</annotation>
"""


@pytest.mark.parametrize(
    'x1, x2, kind',
    [
        (1, 40, None),
        (9, 9, kinds.NO_AREA),
        (30, 50, kinds.PARTLY_OUTSIDE),
    ],
)
def test_boxes_of_other_formats_are_checked(tmp_path, x1, x2, kind):
    pytest.importorskip('mmdet')
    image = write_image(tmp_path / 'JPEGImages/0.jpg')
    (tmp_path / 'Annotations').mkdir()
    (tmp_path / 'Annotations/0.xml').write_text(VOC.format(x1=x1, x2=x2))
    (tmp_path / 'train.txt').write_text('0\n')
    dataset = dict(
        type='VOCDataset',
        data_root=str(tmp_path),
        ann_file='train.txt',
        data_prefix=dict(sub_data_root=''),
        pipeline=[dict(type='LoadImageFromFile')],
    )
    report = check.check(
        read_config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset)))
    )
    if kind is None:
        assert report.findings == []
        assert 'train: 1 images, 1 annotations, 20 classes' in str(report)
    else:
        found = only(report, kind, image)
        assert f'instance 0: x, y, width, height [{x1 - 1}, 0,' in found[0]


def test_a_data_set_that_is_not_looked_into_is_a_note():

    class Tensors:
        pass

    report = check.check(
        read_config(dict(train_dataloader=dict(dataset=dict(type=Tensors))))
    )
    assert only(report, any_dataset.NOT_READ, 'train_dataloader.dataset') == [
        Tensors.__name__
    ]


# Images


def train_image(pets):
    return pets.root / 'train/1.jpg'


def test_a_missing_image_is_found(pets):
    train_image(pets).unlink()
    found = only(pets.check(), pictures.MISSING, train_image(pets))
    assert found == [f'image 1 of {pets.root / "train.json"}']


@pytest.mark.parametrize('end', [0, 10, -20])
def test_a_broken_image_is_found(pets, end):
    data = train_image(pets).read_bytes()
    train_image(pets).write_bytes(data[:end])
    found = only(pets.check(), pictures.BROKEN, train_image(pets))
    assert 'image 1 of' in found[0]


def test_an_image_of_another_size_is_found(pets):
    write_image(train_image(pets), 20, 15)
    found = only(pets.check(), pictures.OTHER_SIZE, train_image(pets))
    assert 'annotated 40 x 30, loaded 20 x 15' in found[0]


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_an_image_turned_on_its_side_is_found(pets, orientation):
    import mmcv

    write_image(train_image(pets), orientation=orientation)
    assert mmcv.imread(str(train_image(pets))).shape == (WIDTH, HEIGHT, 3)
    found = only(pets.check(), pictures.TURNED, train_image(pets))
    assert f'orientation {orientation}, annotated 40 x 30, loaded 30 x 40' in found[0]


def test_an_image_turned_as_its_annotations_is_fine(pets):
    write_image(train_image(pets), HEIGHT, WIDTH, orientation=6)
    assert pets.check().findings == []


def test_an_image_on_its_head_is_a_note(pets):
    write_image(train_image(pets), orientation=3)
    found = only(pets.check(), pictures.MAYBE_TURNED, train_image(pets))
    assert 'orientation 3' in found[0]


@pytest.mark.parametrize('orientation', [3, 6])
def test_a_loader_that_does_not_turn_images_is_fine(pets, orientation):
    write_image(train_image(pets), orientation=orientation)
    pets.cfg['train_dataloader']['dataset']['pipeline'][0] = dict(
        type='LoadImageFromFile', color_type='color_ignore_orientation'
    )
    assert pets.check().findings == []


# Segmentation


class Maps:
    """Three images with maps of the classes 0 to 2 and what is ignored."""

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

    def path(self, split, i):
        return self.root / 'ann' / split / f'{i}.png'

    def check(self):
        return check.check(read_config(self.cfg))

    def train(self):
        return self.cfg['train_dataloader']['dataset']


@pytest.fixture
def maps(tmp_path):
    pytest.importorskip('mmseg')
    return Maps(tmp_path)


def test_nothing_is_found_in_clean_segmentation_data(maps):
    report = maps.check()
    assert report.findings == []
    assert str(report).startswith('train: 3 images, 3 annotations, 3 classes')


def test_a_missing_map_is_found(maps):
    maps.path('train', 1).unlink()
    found = only(maps.check(), pictures.MAP_MISSING, maps.path('train', 1))
    assert str(maps.root / 'img/train/1.jpg') in found[0]


def test_a_broken_map_is_found(maps):
    data = maps.path('val', 1).read_bytes()
    maps.path('val', 1).write_bytes(data[: len(data) // 2])
    only(maps.check(), pictures.MAP_BROKEN, maps.path('val', 1))


def test_a_map_of_another_size_is_found(maps):
    maps.write_map('train', 1, [0], size=(20, 30))
    found = only(maps.check(), pictures.OTHER_SIZE, maps.root / 'img/train/1.jpg')
    assert 'annotated 20 x 30, loaded 40 x 30' in found[0]


def test_a_map_beside_an_image_on_its_side_is_found(maps):
    path = write_image(maps.root / 'img/train/1.jpg', orientation=6)
    only(maps.check(), pictures.TURNED, path)


def test_a_map_of_colours_is_found(maps):
    path = maps.path('train', 1)
    Image.new('RGB', (WIDTH, HEIGHT)).save(path)
    assert '3 channels' in only(maps.check(), pictures.COLOURED, path)[0]


def test_a_map_with_a_palette_is_fine(maps):
    image = Image.open(maps.path('train', 1))
    image = image.convert('L')
    image.putpalette(list(range(256)) * 3)
    image.save(maps.path('train', 1))
    assert Image.open(maps.path('train', 1)).mode == 'P'
    assert maps.check().findings == []


@pytest.mark.parametrize('values', [[0, 3], [0, 254], [0, 256 + 1]])
def test_values_of_no_class_are_found(maps, values):
    path = maps.write_map('val', 1, values)
    found = only(maps.check(), pictures.UNKNOWN_VALUE, path)
    assert f'values {values[1]}; the classes are 0 to 2' in found[0]


def test_reduce_zero_label_is_taken_into_account(maps):
    maps.train()['reduce_zero_label'] = True
    maps.write_map('train', 0, [0, 1, 2, 3, 255])
    path = maps.write_map('train', 1, [0, 3, 4])
    found = only(maps.check(), pictures.UNKNOWN_VALUE, path)
    assert 'values 4 (label 3)' in found[0]


@pytest.mark.parametrize('head', ['decode_head', 'auxiliary_head'])
def test_a_value_that_not_all_heads_ignore_is_found(maps, head):
    path = maps.write_map('train', 1, [0, 9])
    for node in ('decode_head', 'auxiliary_head'):
        maps.cfg['model'][node] = dict(num_classes=3, ignore_index=9)
    maps.write_map('train', 0, [0])
    maps.write_map('train', 2, [0])
    for i in range(3):
        maps.write_map('val', i, [0])
    assert maps.check().findings == []
    maps.cfg['model'][head]['ignore_index'] = 255
    assert 'values 9' in only(maps.check(), pictures.UNKNOWN_VALUE, path)[0]


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize('subset', [False, True])
def test_labels_are_those_that_mmseg_reads(maps, reduce_zero_label, subset):
    from mmseg.datasets import LoveDADataset
    from mmseg.datasets.transforms import LoadAnnotations
    from mmseg.registry import DATASETS

    path = maps.write_map('train', 1, range(256))
    dataset = maps.train()
    dataset.update(
        type='LoveDADataset', img_suffix='.jpg', reduce_zero_label=reduce_zero_label
    )
    dataset['metainfo'] = dict(
        classes=('road', 'background') if subset else LoveDADataset.METAINFO['classes']
    )
    cfg = read_config(maps.cfg)
    [source, _] = sources.find_sources(cfg, DATASETS)
    with DefaultScope.overwrite_default_scope('mmseg'):
        content, _ = any_dataset.read(source, DATASETS, None)
        results = dict(DATASETS.build(dict(dataset, pipeline=[])).get_data_info(1))
    assert results['seg_map_path'] == str(path)
    LoadAnnotations().transform(results)
    read = np.array(Image.open(path))
    np.testing.assert_array_equal(content.label_of_value[read], results['gt_seg_map'])


@pytest.mark.parametrize(
    'change, kind',
    [
        (dict(img_suffix='.bmp'), any_dataset.EMPTY),
        (
            dict(data_prefix=dict(img_path='no', seg_map_path='no')),
            any_dataset.NOT_BUILT,
        ),
    ],
)
def test_a_segmentation_set_without_images_is_found(maps, change, kind):
    maps.train().update(change)
    folder = maps.root / maps.train()['data_prefix']['img_path']
    only(maps.check(), kind, folder)


def test_a_segmentation_head_of_other_classes_is_found(maps):
    maps.cfg['model']['auxiliary_head'] = [
        dict(type='FCNHead', num_classes=19),
        # It tells borders from the rest.
        dict(type='STDCHead', num_classes=2),
    ]
    assert only(maps.check(), check.NUM_CLASSES, 'own.py') == [
        'model.auxiliary_head[0].num_classes=19, the data have 3'
    ]


# Classification


class Folders:
    """Folders of the classes a and b, two images in each."""

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


@pytest.fixture
def folders(tmp_path):
    pytest.importorskip('mmpretrain')
    return Folders(tmp_path)


def test_nothing_is_found_in_clean_classification_data(folders):
    write_image(folders.root / 'train/a/1.jpg', orientation=6)
    report = folders.check()
    assert report.findings == []
    assert 'train: 4 images, 4 annotations, 2 classes' in str(report)


def test_a_broken_image_of_a_class_is_found(folders):
    path = folders.root / 'train/a/1.jpg'
    path.write_text('no image')
    only(folders.check(), pictures.BROKEN, path)


@pytest.mark.parametrize(
    'node, path',
    [
        (lambda cfg: cfg['model']['head'], 'model.head.num_classes'),
        (lambda cfg: cfg['data_preprocessor'], 'data_preprocessor.num_classes'),
    ],
)
def test_a_classifier_of_other_classes_is_found(folders, node, path):
    node(folders.cfg)['num_classes'] = 1000
    assert only(folders.check(), check.NUM_CLASSES, 'own.py') == [
        f'{path}=1000, the data have 2'
    ]


def test_val_folders_of_other_classes_are_found(folders):
    os.rename(folders.root / 'val/b', folders.root / 'val/c')
    found = only(folders.check(), check.OTHER_CLASSES, folders.root / 'val')
    assert 'a, c' in found[0] and 'a, b' in found[0]


def test_empty_folders_are_found(folders):
    for path in (folders.root / 'val').rglob('*.jpg'):
        path.unlink()
    found = only(folders.check(), any_dataset.NOT_BUILT, folders.root / 'val')
    assert 'Found 0 files' in found[0]


def test_a_label_of_no_class_is_found(folders):
    lines = 'a/0.jpg 0\nb/1.jpg 2\n'
    (folders.root / 'val.txt').write_text(lines)
    folders.cfg['val_dataloader']['dataset'].update(
        ann_file='val.txt', metainfo=dict(classes=('a', 'b'))
    )
    found = only(
        folders.check(), any_dataset.UNKNOWN_LABEL, folders.root / 'val/b/1.jpg'
    )
    assert 'label 2' in found[0]


# Samples


def drawn(config, folder, num_samples=4):
    """RGB pictures of a config's samples."""
    paths = samples.draw_samples(config, folder, num_samples)
    assert sorted(folder.iterdir()) == sorted(paths)
    return [np.array(Image.open(path).convert('RGB')) for path in paths]


NORMALIZE = dict(
    type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)


def is_red(pixels):
    # As stored, but for JPEG.
    return np.abs(pixels.astype(int) - (200, 60, 20)).max(axis=-1) < 6


@pytest.mark.parametrize('in_pipeline', [False, True])
def test_boxes_are_drawn_as_the_network_sees_them(pets, tmp_path, in_pipeline):
    pipeline = pets.cfg['train_dataloader']['dataset']['pipeline']
    pipeline += [
        dict(type='Resize', scale=(160, 120)),
        *([NORMALIZE] if in_pipeline else []),
        dict(type='PackDetInputs'),
    ]
    # Not red, as the colours of COCO may be.
    pets.cfg['train_dataloader']['dataset']['metainfo']['palette'] = [
        (0, 0, 255),
        (0, 255, 0),
    ]
    pets.cfg['model']['data_preprocessor'] = dict(
        type='DetDataPreprocessor',
        pad_size_divisor=32,
        pad_mask=True,
        **(
            {}
            if in_pipeline
            else dict(mean=NORMALIZE['mean'], std=NORMALIZE['std'], bgr_to_rgb=True)
        ),
    )
    for picture in drawn(pets.config(), tmp_path / 'drawn'):
        assert picture.shape == (128, 160, 3)  # padded
        assert is_red(picture[60:118, 2:158]).mean() > 0.95
        assert not is_red(picture[20:52, 8:48]).any()  # the first box
        assert not is_red(picture[121:]).any()


def test_maps_are_drawn(maps, tmp_path):
    half = WIDTH * HEIGHT // 2
    for i in range(3):
        maps.write_map('train', i, [255] * half + [1] * half)
    maps.train()['metainfo'] = dict(
        classes=('sky', 'road', 'car'), palette=[(0, 255, 0), (0, 0, 255), (0, 255, 0)]
    )
    maps.train()['pipeline'] += [dict(type='PackSegInputs')]
    maps.cfg['model']['data_preprocessor'] = dict(
        type='SegDataPreProcessor',
        mean=NORMALIZE['mean'],
        std=NORMALIZE['std'],
        bgr_to_rgb=True,
        size=(HEIGHT, WIDTH),
    )
    pictures = drawn(read_config(maps.cfg), tmp_path / 'drawn', num_samples=2)
    assert len(pictures) == 2
    for picture in pictures:
        assert picture.shape == (HEIGHT, WIDTH, 3)
        is_blue = picture[..., 2] > 180
        assert not is_blue[:12].any() and is_blue[16:].mean() > 0.5


def test_labels_are_drawn(folders, tmp_path):
    pictures = drawn(read_config(folders.cfg), tmp_path / 'drawn')
    assert len(pictures) == 2  # of a fold of two
    for picture in pictures:
        assert min(picture.shape[:2]) == samples.MIN_SIDE
        assert is_red(picture[100:]).mean() > 0.95


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(train_dataloader=None), 'has no train_dataloader'),
        (dict(num_samples=0), '0 samples cannot be drawn'),
    ],
)
def test_what_cannot_be_drawn_is_explained(pets, tmp_path, change, message):
    num_samples = change.pop('num_samples', 4)
    pets.cfg.update(change)
    with pytest.raises(ValueError, match=message):
        samples.draw_samples(pets.config(), tmp_path / 'drawn', num_samples)


# The tool


def test_the_tool_finds_nothing_in_the_demo_and_draws_it(digits, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            TOOL,
            'lightvit_mm::finetune_mask_rcnn_lightvit_t.py',
            '--cfg-options',
            f'data_root={digits / "detection"}',
            '--show-dir',
            'drawn',
            '--num-samples',
            '2',
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert 'train: 8 images, ' in done.stdout
    assert 'val, test: 4 images, ' in done.stdout
    assert '10 classes' in done.stdout
    assert 'nothing wrong found' in done.stdout
    assert len(list((tmp_path / 'drawn').glob('*.png'))) == 2


def test_the_tool_fails_for_a_fault(pets, tmp_path, monkeypatch, capsys):
    import check_dataset

    change(1, area=0)(pets.data['train'])
    path = tmp_path / 'own.py'
    pets.config().dump(path)
    monkeypatch.setattr(sys, 'argv', ['check_dataset.py', str(path)])
    with pytest.raises(SystemExit) as stopped:
        check_dataset.main()
    assert stopped.value.code == 1
    assert kinds.NO_AREA.title in capsys.readouterr().out


def test_the_tool_draws_nothing_of_data_that_cannot_be_read(
    pets, tmp_path, monkeypatch, capsys
):
    import check_dataset

    without(1, 'area')(pets.data['train'])
    path = tmp_path / 'own.py'
    pets.config().dump(path)
    monkeypatch.setattr(
        sys,
        'argv',
        ['check_dataset.py', str(path), '--show-dir', str(tmp_path / 'drawn')],
    )
    with pytest.raises(SystemExit, match='cannot be drawn before the faults'):
        check_dataset.main()
    assert coco.NO_FIELD.title in capsys.readouterr().out
