"""COCO's metric with annotations of any ids."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import METRICS, DefaultScope

pytest.importorskip('mmdet')
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NUM = 23


def write_coco(path, ids):
    """One box in each image; its id is that of ``ids``."""
    content = dict(
        categories=[dict(id=4, name='cat')],
        images=[
            dict(id=i, file_name=f'{i}.jpg', width=60, height=60) for i in range(NUM)
        ],
        annotations=[
            dict(
                id=number,
                image_id=i,
                category_id=4,
                bbox=[i, 5, 20, 30],
                area=600,
                iscrowd=0,
            )
            for i, number in enumerate(ids)
        ],
    )
    path.write_text(json.dumps(content))
    return content


def evaluate(kind, path):
    """The box AP of perfect detections."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        metric = METRICS.build(dict(type=kind, ann_file=str(path)))
    metric.dataset_meta = dict(classes=('cat',))
    for annotation in json.loads(path.read_text())['annotations']:
        x, y, w, h = annotation['bbox']
        prediction = dict(
            bboxes=torch.tensor([[x, y, x + w, y + h]], dtype=torch.float),
            scores=torch.tensor([0.9]),
            labels=torch.tensor([0]),
        )
        sample = dict(
            img_id=annotation['image_id'],
            ori_shape=(60, 60),
            pred_instances=prediction,
        )
        metric.process({}, [sample])
    return metric.evaluate(NUM)['coco/bbox_mAP'], metric


@pytest.mark.parametrize('ids', [range(NUM), range(-3, NUM - 3), [*range(1, NUM), 0]])
def test_perfect_detections_have_ap_1_with_an_id_0(ids, tmp_path):
    write_coco(tmp_path / 'val.json', ids)
    assert evaluate('lightvit_mm.CocoMetric', tmp_path / 'val.json')[0] == 1.0
    # What it is for: pycocotools counts the match with id 0 as an error.
    assert evaluate('CocoMetric', tmp_path / 'val.json')[0] < 0.98


def test_perfect_detections_have_ap_1_with_ids_of_text(tmp_path):
    write_coco(tmp_path / 'val.json', [f'a{i}' for i in range(NUM)])
    assert evaluate('lightvit_mm.CocoMetric', tmp_path / 'val.json')[0] == 1.0
    with pytest.raises(ValueError):
        evaluate('CocoMetric', tmp_path / 'val.json')


def test_pycocotools_needs_it(tmp_path):
    """If this fails, pycocotools has changed and the metric is not needed."""
    content = write_coco(tmp_path / 'val.json', range(NUM))
    truth = COCO(str(tmp_path / 'val.json'))
    found = truth.loadRes([dict(x, score=0.9) for x in content['annotations']])
    evaluation = COCOeval(truth, found, 'bbox')
    evaluation.evaluate()
    matches = np.concatenate([x['dtMatches'][0] for x in evaluation.evalImgs[:NUM]])
    assert (matches == 0).sum() == 1


def test_new_ids_are_unique_and_old_ones_stay_if_none_is_0(tmp_path):
    write_coco(tmp_path / 'val.json', [5, 0, *range(10, NUM + 8)])
    api = evaluate('lightvit_mm.CocoMetric', tmp_path / 'val.json')[1]._coco_api
    assert sorted(api.getAnnIds()) == sorted(api.anns) == list(range(1, NUM + 1))
    assert [x['image_id'] for x in api.loadAnns(range(1, NUM + 1))] == [*range(NUM)]

    write_coco(tmp_path / 'val.json', range(7, NUM + 7))
    api = evaluate('lightvit_mm.CocoMetric', tmp_path / 'val.json')[1]._coco_api
    assert sorted(api.getAnnIds()) == sorted(api.anns) == [*range(7, NUM + 7)]


@pytest.mark.parametrize('first, num_messages', [(0, 1), (1, 0)])
def test_it_says_that_it_numbers(first, num_messages, tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(
        'lightvit_mm.engine.coco_metric.print_log',
        lambda message, logger: messages.append(message),
    )
    write_coco(tmp_path / 'val.json', range(first, NUM + first))
    evaluate('lightvit_mm.CocoMetric', tmp_path / 'val.json')
    assert len(messages) == num_messages
    assert all('val.json has an annotation with id 0' in x for x in messages)


def test_mmdets_options_still_work(tmp_path):
    write_coco(tmp_path / 'val.json', range(NUM))
    cfg = Config(dict(metric=dict(type='lightvit_mm.CocoMetric', metric=['proposal'])))
    with DefaultScope.overwrite_default_scope('mmdet'):
        metric = METRICS.build(cfg.metric)
    assert metric.metrics == ['proposal'] and metric._coco_api is None
