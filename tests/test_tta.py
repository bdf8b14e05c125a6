"""Test-time augmentation against mirror images predicted one by one."""

import mmcv
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope

from lightvit_mm.config import read_config
from lightvit_mm.trained import build_model
from lightvit_mm.tta import augment_test

from . import small
from .saved import write_images, write_model


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    write_images(tmp_path)
    monkeypatch.chdir(tmp_path)


def predict(cfg, model, **sample):
    """The prediction of test-time augmentation, as the runner computes it."""
    weights = model.state_dict()
    augment_test(cfg)
    tta = build_model(cfg)
    tta.module.load_state_dict(weights)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.no_grad():
        pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
        data = pseudo_collate([pipeline(dict(img_path='photo.png', **sample))])
        return tta.test_step(data)[0]


def mirrored_inputs(model, width, height, stride=1):
    """The photograph and its mirror image, resized and normalised by hand."""
    image = mmcv.imread('photo.png', channel_order='rgb')
    mean, std = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    for view in (image, image[:, ::-1]):
        view = mmcv.imresize(np.ascontiguousarray(view), (width, height))
        normed = (view.astype(np.float32) - mean) / std
        h, w = (-(-side // stride) * stride for side in (height, width))
        padded = np.zeros((h, w, 3), np.float32)
        padded[:height, :width] = normed
        yield torch.from_numpy(padded.transpose(2, 0, 1))[None].float()


def test_scores_of_a_classifier_are_averaged():
    pytest.importorskip('mmpretrain')
    cfg = small.classifier(steps=[dict(type='Resize', scale=(90, 70))])
    model = small.build(cfg)
    scores = [
        model(view, mode='tensor').softmax(1)[0]
        for view in mirrored_inputs(model, 90, 70)
    ]
    assert (scores[0] - scores[1]).abs().max() > 1e-3
    found = predict(cfg, model)
    torch.testing.assert_close(found.pred_score, (scores[0] + scores[1]) / 2)


def test_class_probabilities_of_each_pixel_are_averaged():
    pytest.importorskip('mmseg')
    cfg = small.segmentor(num_classes=4)
    model = small.build(cfg)
    cfg.test_dataloader.dataset.pipeline = [
        small.LOAD,
        dict(type='Resize', scale=(120, 80)),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]
    truth = np.arange(83 * 119, dtype=np.uint8).reshape(83, 119) % 4
    mmcv.imwrite(truth, 'truth.png')
    found = predict(
        cfg, model, seg_map_path='truth.png', seg_fields=[], reduce_zero_label=False
    )
    # Annotations are those of the image, not of its mirror image.
    assert np.array_equal(found.gt_sem_seg.data[0], truth)

    probabilities = []
    for view in mirrored_inputs(model, 120, 80):
        logits = model.decode_head(model.extract_feat(view))
        for size in ((80, 120), (83, 119)):
            logits = torch.nn.functional.interpolate(logits, size, mode='bilinear')
        probabilities.append(logits[0].softmax(0))
    image, mirrored = probabilities
    labels = (image + mirrored.flip(2)).argmax(0)
    assert (labels != image.argmax(0)).float().mean() > 0.05
    same = found.pred_sem_seg.data == labels
    assert same.float().mean() > 0.999


def nms(boxes, scores, threshold):
    """Indices of boxes, best first, that overlap no better one."""
    kept = []
    for i in scores.argsort(descending=True).tolist():
        for j in kept:
            x1, y1 = torch.maximum(boxes[i, :2], boxes[j, :2])
            x2, y2 = torch.minimum(boxes[i, 2:], boxes[j, 2:])
            shared = max(x2 - x1, 0) * max(y2 - y1, 0)
            areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (boxes[i], boxes[j])]
            if shared / (sum(areas) - shared) > threshold:
                break
        else:
            kept.append(i)
    return kept


def test_boxes_of_both_images_are_merged():
    pytest.importorskip('mmdet')
    cfg, model = write_model('mmdet')
    cfg.model.test_cfg.update(score_thr=0.0)
    model.test_cfg.score_thr = 0.0
    with torch.no_grad():
        model.bbox_head.retina_cls.bias.normal_()
        model.bbox_head.retina_cls.weight.normal_(std=0.1)
        model.bbox_head.retina_reg.weight.normal_(std=0.1)
    cfg.test_dataloader.dataset.pipeline = [
        small.LOAD,
        dict(type='Resize', scale=(96, 64), keep_ratio=False),
        dict(
            type='PackDetInputs',
            meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
        ),
    ]
    meta = dict(img_shape=(64, 96), scale_factor=(96 / 119, 64 / 83))
    views = []
    for view in mirrored_inputs(model, 96, 64):
        with torch.no_grad():
            outs = model.bbox_head(model.extract_feat(view))
            views += model.bbox_head.predict_by_feat(
                *outs, batch_img_metas=[meta], rescale=True
            )
    image, mirrored = views
    x1, y1, x2, y2 = mirrored.bboxes.unbind(1)
    mirrored.bboxes = torch.stack([119 - x2, y1, 119 - x1, y2], dim=1)
    boxes, scores, labels = (
        torch.cat([image[key], mirrored[key]]) for key in ('bboxes', 'scores', 'labels')
    )
    expected = [
        (label, *boxes[labels == label][i].tolist())
        for label in labels.unique().tolist()
        for i in nms(boxes[labels == label], scores[labels == label], 0.5)
    ]
    assert max(len(image), len(mirrored)) < len(expected) < len(boxes)

    found = predict(cfg, model, img_id=0).pred_instances
    rows = [
        (label, *box)
        for label, box in zip(found.labels.tolist(), found.bboxes.tolist())
    ]
    np.testing.assert_allclose(sorted(rows), sorted(expected), atol=1e-3)


@pytest.mark.parametrize(
    'name', ['mask_rcnn_lightvit_t_1x', 'rtmdet_ins_lightvit_t_300e']
)
def test_masks_of_instances_are_an_error(name):
    pytest.importorskip('mmdet')
    cfg = read_config(f'lightvit_mm::{name}.py')
    with pytest.raises(ValueError, match='without masks of instances'):
        augment_test(cfg)


def test_the_config_can_set_the_augmentation():
    pytest.importorskip('mmseg')
    cfg = read_config('lightvit_mm::semantic_fpn_lightvit_t_ade20k.py')
    model, steps = cfg.model, cfg.tta_pipeline
    augment_test(cfg)
    assert cfg.model == dict(cfg.tta_model, module=model)
    assert cfg.test_dataloader.dataset.pipeline == steps
    assert cfg.val_dataloader.dataset.pipeline != steps


def test_the_model_keeps_its_own_normalization():
    pytest.importorskip('mmseg')
    cfg = small.segmentor()
    own = dict(cfg.model.data_preprocessor, mean=[1.0] * 3)
    cfg.data_preprocessor = dict(cfg.model.data_preprocessor)
    cfg.model.data_preprocessor = own
    plain = build_model(cfg).data_preprocessor
    augment_test(cfg)
    assert build_model(cfg).module.data_preprocessor.mean.tolist() == (
        plain.mean.tolist()
    )
    assert plain.mean.flatten().tolist() == [1.0] * 3


def test_a_mask_rcnn_without_its_mask_head_is_augmented():
    pytest.importorskip('mmdet')
    cfg = read_config('lightvit_mm::finetune_faster_rcnn_lightvit_t.py')
    augment_test(cfg)
    assert cfg.model.type == 'DetTTAModel'


def test_masks_of_own_data_are_read_as_without_augmentation():
    pytest.importorskip('mmseg')
    cfg = read_config('lightvit_mm::finetune_semantic_fpn_lightvit_t.py')
    load, *steps = cfg.test_dataloader.dataset.pipeline
    augment_test(cfg)
    first, augmented = cfg.test_dataloader.dataset.pipeline
    assert first == load
    assert [step for [step] in augmented.transforms[1:]] == steps
