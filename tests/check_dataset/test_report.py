"""The text of a report."""

from lightvit_mm.check_dataset import coco

from .datasets import change, move, only


def test_many_findings_are_abbreviated(pets):
    for annotation in pets.data['train']['annotations']:
        annotation['area'] = 0
    pets.data['train']['annotations'] *= 30
    for i, annotation in enumerate(pets.data['train']['annotations']):
        pets.data['train']['annotations'][i] = dict(annotation, id=i)
    report = pets.check()
    only(report, coco.NO_AREA, pets.root / 'train.json')
    text = str(report)
    assert text.count('annotation ') == 5 and '... and 175 more' in text


def test_faults_are_listed_before_notes(pets):
    move(2, [35, 5, 9, 8])(pets.data['train'])
    change(2, area=0)(pets.data['val'])
    text = str(pets.check())
    assert 0 < text.index('FAULT in val') < text.index('NOTE in train')
