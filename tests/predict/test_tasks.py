"""The predictions of each task against the libraries' own models."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from lightvit_mm.predict.tasks import label_place

from .models import (
    FRUITS,
    NAMES,
    assert_described,
    assert_pictures,
    classifier,
    detector,
    of_image,
    plain,
    save,
)

mask_api = pytest.importorskip('pycocotools.mask')
COCO = pytest.importorskip('pycocotools.coco').COCO


def test_a_detector_writes_boxes_and_masks(trained, predict, photos):
    samples = [
        plain(trained['detector'], photos / name).pred_instances for name in NAMES
    ]
    scores = torch.cat([sample.scores for sample in samples])
    thr = scores.median().item()
    content = predict('detector', 'photos', '--score-thr', thr)
    assert_pictures(photos)
    assert_described(content, photos)
    for number, sample in enumerate(samples, 1):
        sample = sample[sample.scores > thr].numpy()
        found = of_image(content, number)
        assert len(found) == len(sample) > 0
        for i, annotation in enumerate(found):
            assert annotation['category_id'] == sample.labels[i]
            assert annotation['score'] == pytest.approx(sample.scores[i])
            x, y, w, h = annotation['bbox']
            np.testing.assert_allclose(
                (x, y, x + w, y + h), sample.bboxes[i], atol=1e-3
            )
            rle = annotation['segmentation']
            assert isinstance(rle['counts'], str)
            mask = mask_api.decode(rle)
            assert (mask == sample.masks[i]).all()
            assert annotation['area'] == mask.sum()
    coco = COCO('out/predictions.json')
    results = coco.loadRes(content['annotations'])
    assert len(results.anns) == (scores > thr).sum()
    assert results.annToMask(results.anns[1]).any()


def test_a_detector_that_finds_nothing_leaves_the_image_unchanged(predict):
    image = np.full((50, 70, 3), (20, 90, 200), np.uint8)
    cv2.imwrite('plain.png', image)
    content = predict('detector', 'plain.png', '--score-thr', 1)
    assert content['annotations'] == []
    assert [image['file_name'] for image in content['images']] == ['plain.png']
    assert np.array_equal(cv2.imread('out/pictures/plain.png'), image)


def test_a_detector_without_masks_writes_no_segmentation(
    trained, predict, photos, tmp_path
):
    cfg = detector()
    for key in ('mask_head', 'mask_roi_extractor'):
        cfg.model.roi_head[key] = None
    save(cfg, tmp_path, dataset_meta=dict(classes=FRUITS))
    content = predict(tmp_path, 'photos/wide.JPG', '--score-thr', 0.1)
    sample = plain(tmp_path, photos / 'wide.JPG').pred_instances
    assert len(content['annotations']) == len(sample) > 0
    for annotation in content['annotations']:
        assert 'segmentation' not in annotation
        _, _, w, h = annotation['bbox']
        assert annotation['area'] == pytest.approx(w * h)


def test_a_segmentor_writes_the_class_of_each_pixel(trained, predict, photos):
    content = predict('segmentor', 'photos')
    assert_pictures(photos)
    assert_described(content, photos)
    for number, name in enumerate(NAMES, 1):
        expected = plain(trained['segmentor'], photos / name)
        expected = expected.pred_sem_seg.data[0].numpy()
        mask = cv2.imread(
            str(Path('out/masks', name).with_suffix('.png')), cv2.IMREAD_UNCHANGED
        )
        assert mask.dtype == np.uint8 and np.array_equal(mask, expected)
        found = of_image(content, number)
        classes = [annotation['category_id'] for annotation in found]
        assert classes == np.unique(expected).tolist() and len(classes) > 1
        for annotation in found:
            where = mask_api.decode(annotation['segmentation'])
            assert (where == (expected == annotation['category_id'])).all()
            assert annotation['area'] == where.sum()
            x, y, w, h = map(int, annotation['bbox'])
            assert where[y : y + h, x : x + w].sum() == where.sum()
            assert where[y].any() and where[:, x].any()


def test_annotations_are_not_loaded_whatever_loads_them(trained, predict, photos):
    from mmseg.datasets.transforms import LoadAnnotations
    from mmseg.registry import TRANSFORMS

    @TRANSFORMS.register_module(force=True)
    class LoadFromElsewhere(LoadAnnotations):
        pass

    steps = Config.fromfile(trained['segmentor'] / 'config.py').test_pipeline
    assert steps[2].type == 'LoadAnnotations'
    expected = predict('segmentor', 'photos')
    key = 'test_dataloader.dataset.pipeline.2.type'
    found = predict('segmentor', 'photos', '--cfg-options', f'{key}=LoadFromElsewhere')
    assert found['annotations'] == expected['annotations']


def test_class_names_are_placed_as_by_mmseg():
    pytest.importorskip('mmseg')
    from mmseg.visualization import SegLocalVisualizer

    visualizer = SegLocalVisualizer()
    random = np.random.RandomState(0)
    for share in (0.01, 0.3, 0.9):
        mask = (random.rand(40, 50) < share).astype(np.uint8)
        place = visualizer._get_center_loc(mask)
        assert np.array_equal(label_place(mask), place)


def test_a_classifier_writes_the_five_most_likely_classes(trained, predict, photos):
    content = predict('classifier', 'photos')
    assert_pictures(photos, least_side=224)
    assert_described(content, photos)
    for number, name in enumerate(NAMES, 1):
        scores = plain(trained['classifier'], photos / name).pred_score
        best = sorted(range(7), key=lambda i: -scores[i])[:5]
        found = of_image(content, number)
        assert [annotation['category_id'] for annotation in found] == best
        np.testing.assert_allclose([a['score'] for a in found], scores[best], atol=1e-6)


@pytest.mark.parametrize('names', [('cat', 'dog', 'eel'), None])
def test_classes_may_be_fewer_than_five_or_unnamed(predict, photos, tmp_path, names):
    meta = dict(dataset_meta=dict(classes=names)) if names else {}
    save(classifier(3), tmp_path, **meta)
    content = predict(tmp_path, 'photos/wide.JPG')
    assert len(content['annotations']) == 3
    assert [category['name'] for category in content['categories']] == list(
        names or '012'
    )
