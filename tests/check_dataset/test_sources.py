"""The datasets of a config and their class names."""

import copy
import json

from lightvit_mm.check_dataset import coco, sources

from .datasets import change, only


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


def test_wrapped_datasets_are_checked(pets):
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
    only(report, coco.NO_AREA, pets.root / 'other.json')
    assert 'train: 6 images, 12 annotations, 2 classes' in str(report)
