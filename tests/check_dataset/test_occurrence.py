"""Classes that do not occur."""

import json

import pytest

from lightvit_mm.check_dataset import occurrence

from .datasets import only


def remove(data, category):
    data['annotations'] = [
        x for x in data['annotations'] if x['category_id'] != category
    ]


def test_a_category_that_is_evaluated_but_not_trained_is_found(pets):
    remove(pets.data['train'], 7)
    found = only(pets.check(), occurrence.NOT_TRAINED, pets.root / 'val.json')
    assert found == ["class 1, 'dog': in 2 images"]


def test_crowds_and_skipped_boxes_do_not_train_a_class(pets):
    dogs = [x for x in pets.data['train']['annotations'] if x['category_id'] == 7]
    for dog in dogs[:2]:
        dog['iscrowd'] = 1
    dogs[2]['area'] = 0
    found = [x.entry for x in pets.check().findings if x.kind == occurrence.NOT_TRAINED]
    assert found == ["class 1, 'dog': in 2 images"]


def test_a_trained_class_need_not_be_evaluated(pets):
    remove(pets.data['val'], 7)
    assert pets.check().findings == []


def test_a_test_set_that_no_metric_reads_may_have_new_classes(pets):
    pets.cfg['test_dataloader']['dataset']['ann_file'] = 'test.json'
    (pets.root / 'test.json').write_text(json.dumps(pets.data['val']))
    remove(pets.data['train'], 7)
    remove(pets.data['val'], 7)
    pets.cfg['test_evaluator'] = None
    assert pets.check().findings == []


def test_a_category_of_the_others_is_a_note(pets):
    """Roboflow writes one, with the id 0 and without annotations."""
    names = ('pets', 'cat', 'dog')
    for data in pets.data.values():
        data['categories'].insert(0, dict(id=0, name='pets', supercategory='none'))
    for split in ('train', 'val', 'test'):
        dataset = pets.cfg[f'{split}_dataloader']['dataset']
        dataset['metainfo'] = dict(classes=names)
    roi_head = pets.cfg['model']['roi_head']
    for head in [*roi_head['bbox_head'], roi_head['mask_head']]:
        head['num_classes'] = 3
    found = only(pets.check(), occurrence.NOWHERE, pets.root / 'train.json')
    assert found == ["class 0, 'pets'"]


@pytest.mark.parametrize('reduce_zero_label', [False, True])
def test_a_class_of_maps_that_is_not_trained_is_found(maps, reduce_zero_label):
    shift = int(reduce_zero_label)
    for split in ('train', 'val'):
        dataset = maps.cfg[f'{split}_dataloader']['dataset']
        dataset['reduce_zero_label'] = reduce_zero_label
        for i in range(3):
            maps.write_map(split, i, [shift, 1 + shift, 255])
    maps.write_map('val', 1, [shift, 2 + shift])
    found = only(maps.check(), occurrence.NOT_TRAINED, maps.root / 'img/val')
    assert found == ["class 2, 'car': in 1 images"]
    maps.write_map('val', 1, [shift, 1 + shift])
    found = only(maps.check(), occurrence.NOWHERE, maps.root / 'img/train')
    assert found == ["class 2, 'car'"]


def test_a_class_of_a_list_that_is_not_trained_is_found(folders):
    dataset = folders.cfg['train_dataloader']['dataset']['dataset']
    dataset.update(ann_file='train.txt', metainfo=dict(classes=('a', 'b')))
    (folders.root / 'train.txt').write_text('a/0.jpg 0\na/1.jpg 0\n')
    found = only(folders.check(), occurrence.NOT_TRAINED, folders.root / 'val')
    assert found == ["class 1, 'b': in 2 images"]
