"""Classes that look as if they should be ignored."""

import pytest

from lightvit_mm.check_dataset import class_names

from .datasets import only


@pytest.mark.parametrize(
    'name',
    [
        'Void',
        'VOID',
        'ignore',
        'Ignored',
        'ignored regions',
        'unlabeled',
        'Unlabelled',
        'DontCare',
        "don't care",
        '255: road',
        '#ff0000: road',
        '255 void',
        'void, 255',
        '0 0 0\tVoid',
    ],
)
def test_a_learnt_class_that_looks_ignored_is_a_note(maps, name):
    for split in ('train', 'val'):
        dataset = maps.cfg[f'{split}_dataloader']['dataset']
        dataset['metainfo'] = dict(classes=('sky', name, 'car'))
    [entry] = only(maps.check(), class_names.LEARNED, maps.root / 'img/train')
    assert entry == f'class 1 is {name!r}'


@pytest.mark.parametrize('name', ['background', 'voids', 'avoid', 'road: 2', '7up'])
def test_other_names_are_fine(maps, name):
    for split in ('train', 'val'):
        dataset = maps.cfg[f'{split}_dataloader']['dataset']
        dataset['metainfo'] = dict(classes=('sky', name, 'car'))
    assert maps.check().findings == []
