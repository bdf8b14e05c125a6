"""Faults in COCO files."""

import json
import os

import numpy as np
import pytest

from lightvit_mm.check_dataset import check, coco, duplicates, masks, pictures

from .datasets import (
    HEIGHT,
    WIDTH,
    add_category,
    change,
    move,
    only,
    train_image,
    without,
)

RLE = dict(counts=[0, WIDTH * HEIGHT], size=[HEIGHT, WIDTH])


@pytest.mark.parametrize('fault, kind, entries', [
    (change(1, bbox=[5, 5, 0, 8]), coco.NO_AREA,
     ['annotation 1 of 0.jpg: bbox [5, 5, 0, 8]']),
    (change(1, area=0), coco.NO_AREA, ['area 0']),
    (change(2, bbox=[40, 5, 9, 8]), coco.OUTSIDE,
     ['annotation 2 of 1.jpg: bbox [40, 5, 9, 8]']),
    (move(2, [35, 5, 9, 8]), coco.PARTLY_OUTSIDE,
     ['annotation 2 of 1.jpg']),
    (change(2, bbox=[5, 9, 8]), coco.NOT_A_BOX, ['annotation 2 of 1.jpg']),
    (change(2, bbox=[5, 9, 8, float('nan')]), coco.NOT_A_BOX, ['nan']),
    (without(3, 'segmentation'), masks.NO_MASK, ['annotation 3 of 1.jpg']),
    (change(3, segmentation=[]), masks.NO_MASK, ['annotation 3 of 1.jpg']),
    (change(3, segmentation=[[1, 2, 3, 4]]), masks.BAD_POLYGON,
     ['annotation 3 of 1.jpg: segmentation [[1, 2, 3, 4]]']),
    (change(3, segmentation=[1, 2, 3, 4, 5, 6]), masks.BAD_POLYGON,
     ['annotation 3']),
    (change(3, segmentation=dict(RLE, size=[WIDTH, HEIGHT])),
     masks.BAD_RLE, ['annotation 3']),
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
    (lambda data: data['images'][0].update(file_name=5), coco.UNREADABLE,
     ['images[0] has file_name=5']),
    (lambda data: data['annotations'].append(7), coco.UNREADABLE,
     ['annotations[6] is a int']),
    (lambda data: data.update(images=7), coco.UNREADABLE, ['images is a int']),
])  # fmt: skip
def test_a_fault_in_annotations_is_found(pets, fault, kind, entries):
    fault(pets.data['train'])
    found = only(pets.check(), kind, pets.root / 'train.json')
    assert len(found) >= len(entries)
    assert all(entry in text for entry, text in zip(entries, found))


def test_unusual_but_valid_annotations_are_fine(pets):
    _, second, third, *_ = pets.data['train']['annotations']
    move(0, [-1, 5, 12, 25.9])(pets.data['train'])
    second.update(bbox=[0, 0, WIDTH, HEIGHT], segmentation=RLE)
    third.update(iscrowd=1, segmentation=None)
    assert pets.check().findings == []


def test_a_missing_iscrowd_is_found_only_where_it_is_evaluated(pets):
    without(0, 'iscrowd')(pets.data['val'])
    without(1, 'iscrowd')(pets.data['train'])
    found = only(pets.check(), coco.NO_CROWD_FLAG, pets.root / 'val.json')
    assert found == ['annotation 1 of 0.jpg']


def test_masks_are_needed_only_where_they_are_read(pets):
    for data in pets.data.values():
        for annotation in data['annotations']:
            del annotation['segmentation']
    kinds = {x.kind for x in pets.check().findings}
    assert kinds == {masks.NO_MASK}
    for split in ('train', 'val', 'test'):
        dataset = pets.cfg[f'{split}_dataloader']['dataset']
        dataset['pipeline'] = [dict(type='LoadImageFromFile')]
    # The metric still reads them.
    found = only(pets.check(), masks.NO_MASK, pets.root / 'val.json')
    assert len(found) == 4
    pets.cfg['val_evaluator']['metric'] = 'bbox'
    assert pets.check().findings == []


def test_a_val_set_without_annotations_is_found(pets):
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


def test_a_missing_annotation_file_is_found(pets):
    pets.cfg['train_dataloader']['dataset']['ann_file'] = 'no.json'
    assert (
        'No such file' in only(pets.check(), coco.UNREADABLE, pets.root / 'no.json')[0]
    )


def test_a_file_that_is_not_json_is_found(pets):
    config = pets.config()
    for text in ('{"images": [', '[' * 10**6):
        (pets.root / 'train.json').write_text(text)
        only(check.check(config), coco.UNREADABLE, pets.root / 'train.json')


def test_pipes_are_found_without_a_wait(pets):
    config = pets.config()
    for path, kind in (
        (train_image(pets), pictures.BROKEN),
        (pets.root / 'train.json', coco.UNREADABLE),
    ):
        path.unlink()
        os.mkfifo(path)
        assert 'is a pipe' in only(check.check(config), kind, path)[0]


@pytest.mark.parametrize('is_absolute', [True, False])
def test_images_outside_of_data_root_are_found(pets, tmp_path_factory, is_absolute):
    outside = tmp_path_factory.mktemp('outside') / 'secret.jpg'
    train_image(pets).rename(outside)
    name = outside if is_absolute else os.path.relpath(outside, pets.root / 'train')
    pets.data['train']['images'][1]['file_name'] = str(name)
    found = only(pets.check(), coco.OUT_OF_ROOT, pets.root / 'train.json')
    assert found[0].startswith('image 1 has the file') and 'secret.jpg' in found[0]


def test_a_filter_that_keeps_no_image_is_found(pets):
    pets.cfg['train_dataloader']['dataset']['filter_cfg']['min_size'] = 32
    found = only(pets.check(), coco.EMPTY, pets.root / 'train.json')
    assert 'none of 3 images' in found[0] and "'min_size': 32" in found[0]


def test_rle_in_place_of_polygons_is_found(pets):
    pets.cfg['train_dataloader']['dataset']['pipeline'][1] = dict(
        type='LoadAnnotations', with_mask=True, poly2mask=False
    )
    change(2, bbox=[0, 0, WIDTH, HEIGHT], segmentation=RLE)(pets.data['train'])
    found = only(pets.check(), masks.RLE_AS_POLYGON, pets.root / 'train.json')
    assert 'annotation 2 of 1.jpg' in found[0]


def test_a_metric_on_another_file_is_found(pets):
    pets.cfg['val_evaluator'] = dict(
        pets.cfg['val_evaluator'], ann_file='data/coco/val.json'
    )
    found = only(pets.check(), coco.OTHER_FILE, 'own.py')
    assert 'data/coco/val.json' in found[0]
    assert str(pets.root / 'val.json') in found[0]


def test_the_default_classes_of_coco_are_found(pets):
    for split in ('train', 'val', 'test'):
        del pets.cfg[f'{split}_dataloader']['dataset']['metainfo']
    report = pets.check()
    assert {x.kind for x in report.findings} == {coco.CLASSES}
    assert {x.file for x in report.findings} == {
        str(pets.root / 'train.json'),
        str(pets.root / 'val.json'),
    }
    # A wrong head is found in the same run.
    pets.cfg['model']['roi_head']['mask_head']['num_classes'] = 80
    assert 'mask_head.num_classes=80, the data have 2' in str(pets.check())


def test_mmdet_skips_the_annotations_reported_as_skipped(pets):
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
        if x.kind in (coco.NO_AREA, coco.OUTSIDE, coco.UNKNOWN)
    }
    config = pets.config().train_dataloader.dataset
    config.pop('type')
    config.pipeline = []
    dataset = CocoDataset(**config)
    kept = sum(len(dataset.get_data_info(i)['instances']) for i in range(3))
    assert 200 < len(found) < 1800 and kept == 2000 - len(found)


def set_boxes(data, width, corners=False):
    """Give each annotation a large box without a mask, as x1, y1, x2, y2 or not."""
    for i, x in enumerate(data['annotations']):
        left, top, height = 10 + i, 6 + i, 18
        end = (left + width, top + height) if corners else (width, height)
        x.update(bbox=[left, top, *end], segmentation=[])


def without_masks(pets):
    for split in ('train', 'val'):
        pets.cfg[f'{split}_dataloader']['dataset']['pipeline'] = []
    pets.cfg['val_evaluator'] = pets.cfg['test_evaluator'] = dict(
        pets.cfg['val_evaluator'], metric='bbox'
    )
    pets.cfg['test_dataloader'] = pets.cfg['val_dataloader']
    return pets


def test_corners_in_place_of_width_and_height_are_found_without_masks(pets):
    without_masks(pets)
    set_boxes(pets.data['train'], 20, corners=True)
    faults = [x for x in pets.check().findings if x.kind.is_fault]
    assert [(x.kind, x.file) for x in faults] == [
        (coco.CORNERS, str(pets.root / 'train.json'))
    ]
    assert faults[0].entry.startswith('6 of 6 boxes fit') and 'leave' in faults[0].entry


def test_large_boxes_that_leave_the_image_a_little_are_no_corners(pets):
    without_masks(pets)
    set_boxes(pets.data['train'], 29)  # up to 10 + 5 + 29 = 44 of 40 pixels
    kinds = {x.kind for x in pets.check().findings}
    assert kinds == {coco.PARTLY_OUTSIDE}


def test_full_bodies_that_leave_the_image_are_no_corners(pets):
    """As in CrowdHuman: far outside, but not as corners."""
    without_masks(pets)
    for x in pets.data['train']['annotations']:
        x.update(bbox=[15, 20, 10, 25], segmentation=[])
    assert not pets.check().has_faults


@pytest.mark.parametrize('number', [0, 'a0'])
@pytest.mark.parametrize(
    'metric, kind',
    [('CocoMetric', coco.ZERO_ID), ('lightvit_mm.CocoMetric', coco.RENUMBERED)],
)
def test_ids_that_cannot_be_matched_are_found_where_they_are_evaluated(
    pets, metric, kind, number
):
    change(0, id=number)(pets.data['val'])
    pets.cfg['val_evaluator']['type'] = metric
    found = only(pets.check(), kind, pets.root / 'val.json')
    assert found == [f'annotation {number} of 0.jpg']


def test_many_crowds_are_a_note(pets):
    for i in (0, 3):  # in two images, of two classes
        change(i, iscrowd=1)(pets.data['train'])
    found = only(pets.check(), coco.MANY_CROWDS, pets.root / 'train.json')
    assert found == ['2 of 6 annotations (33%)']


def test_classes_may_be_numbers(pets):
    for split in ('train', 'val'):
        for i, category in enumerate(pets.data[split]['categories']):
            category['name'] = i
        pets.cfg[f'{split}_dataloader']['dataset']['metainfo'] = dict(classes=(0, 1))
    pets.cfg['test_dataloader'] = pets.cfg['val_dataloader']
    report = pets.check()
    assert report.findings == []
    assert ['0', '3', '3', '2', '2'] in [x.split() for x in str(report).splitlines()]
    pets.data['val']['categories'][1]['name'] = 7
    found = only(pets.check(), coco.CLASSES, pets.root / 'val.json')
    assert found == ['only in the config: 1; only in the file: 7']


def test_a_metric_without_a_file_numbers_the_annotations(pets):
    change(0, id=0)(pets.data['val'])
    del pets.cfg['val_evaluator']['ann_file']
    assert pets.check().findings == []


def test_one_of_two_metrics_that_miss_the_id_0_is_a_fault(pets):
    change(0, id=0)(pets.data['val'])
    pets.cfg['test_evaluator'] = [
        dict(pets.cfg['val_evaluator'], type='lightvit_mm.CocoMetric')
    ]
    only(pets.check(), coco.ZERO_ID, pets.root / 'val.json')


@pytest.mark.parametrize(
    'encoding, name',
    [
        ('utf-8-sig', 'UTF-8 with a byte order mark'),
        ('utf-16', 'UTF-16'),
        ('utf-16-le', 'UTF-16-LE'),
        ('latin-1', "can't decode byte 0xe9"),
    ],
)
def test_another_encoding_is_found(pets, encoding, name):
    from mmdet.datasets import CocoDataset

    pets.data['train']['info'] = 'café'
    config = pets.config()
    path = pets.root / 'train.json'
    path.write_text(
        json.dumps(pets.data['train'], ensure_ascii=False), encoding=encoding
    )
    found = only(check.check(config), coco.ENCODING, path)
    assert name in found[0]
    # The fault is real.
    dataset = config.train_dataloader.dataset
    dataset.pop('type')
    dataset.pipeline = []
    with pytest.raises(ValueError):
        CocoDataset(**dataset)


def test_a_byte_order_mark_does_not_hide_other_faults(pets):
    change(1, area=0)(pets.data['train'])
    config = pets.config()
    path = pets.root / 'train.json'
    path.write_text(path.read_text(), encoding='utf-8-sig')
    kinds = {x.kind for x in check.check(config).findings}
    assert kinds == {coco.ENCODING, coco.NO_AREA}


def test_an_annotation_that_is_there_twice_is_a_note(pets):
    annotations = pets.data['train']['annotations']
    annotations += [
        dict(annotations[2], id=60),
        dict(annotations[2], id=61, category_id=7),
        dict(annotations[2], id=62, image_id=0, bbox=[1, 5, 10, 8]),
    ]
    found = only(pets.check(), coco.REPEATED, pets.root / 'train.json')
    assert found == ['annotation 60 of 1.jpg repeats annotation 2']


def test_a_file_of_two_images_is_a_note(pets):
    images = pets.data['train']['images']
    images.append(dict(images[1], id=60))
    pets.cfg['train_dataloader']['dataset']['filter_cfg'] = None
    found = only(pets.check(), duplicates.REPEATED, pets.root / 'train/1.jpg')
    assert 'image 60 of' in found[0] and 'image 1 of' in found[0]
