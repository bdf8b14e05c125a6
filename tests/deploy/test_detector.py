"""Exported detectors against mmdet."""

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from PIL import Image

from lightvit_mm.deploy.export import take
from lightvit_mm.trained import network_input

from ..small import build, detector

pytest.importorskip('onnxruntime')
pytest.importorskip('openvino')


def predict_batch(cfg, model, paths):
    """The detections of mmdet for a batch of images, in pixels of the images."""
    from mmengine.dataset import Compose, pseudo_collate

    with DefaultScope.overwrite_default_scope('mmdet'):
        pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
        batch = pseudo_collate(
            [pipeline(dict(img_path=str(path), img_id=0)) for path in paths]
        )
        samples = model.test_step(batch)
    return [sample.pred_instances.numpy() for sample in samples]


def detector_inputs(cfg, model, paths):
    """The same images for an exported detector, padded to one size."""
    pairs = [network_input(model, cfg, path) for path in paths]
    h, w = (max(x.shape[i] for _, x in pairs) for i in (2, 3))
    images = np.zeros((len(paths), 3, h, w), np.float32)
    for image, (_, x) in zip(images, pairs):
        image[:, : x.shape[2], : x.shape[3]] = x[0]
    sizes = np.array([seen.shape[:2] for seen, _ in pairs], np.float32)
    return dict(images=images, sizes=sizes)


def assert_same_detections(run, model, outputs, inputs, paths, expected, info):
    for i, (path, wanted) in enumerate(zip(paths, expected)):
        w, h = Image.open(path).size
        found = run.detections(
            {name: array[i : i + 1] for name, array in outputs.items()},
            inputs['sizes'][i],
            (h, w),
            0,
            info,
        )
        assert len(found['scores']) == len(wanted.scores) > 5
        np.testing.assert_allclose(found['boxes'], wanted.bboxes, rtol=0, atol=1e-3)
        np.testing.assert_allclose(found['scores'], wanted.scores, rtol=0, atol=1e-4)
        assert (found['labels'] == wanted.labels).all()
        if 'masks' in outputs:
            assert found['masks'].shape == wanted.masks.shape
            assert 0 < wanted.masks.mean() < 1
            assert (found['masks'] != wanted.masks).mean() < 1e-4


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_a_detector_finds_what_mmdet_finds(run, files, photos, suffix):
    cfg, model, path = files('detector')
    network = run.read_model(path.with_suffix(suffix))
    for paths in (photos[:1], photos[1:2], photos[:2], photos):
        inputs = detector_inputs(cfg, model, paths)
        outputs = network.run(inputs)
        assert_same_detections(
            run,
            model,
            outputs,
            inputs,
            paths,
            predict_batch(cfg, model, paths),
            network.info,
        )


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_images_without_objects_give_empty_rows(run, files, suffix):
    cfg, model, path = files('detector')
    network = run.read_model(path.with_suffix(suffix))
    inputs = dict(
        images=np.zeros((2, 3, 32, 64), np.float32), sizes=np.zeros((2, 2), np.float32)
    )
    for name, output in network.run(inputs).items():
        assert (output == (-1 if name == 'scores' else 0)).all(), name


def test_a_faster_rcnn_with_class_agnostic_boxes(photos):
    """It has no masks, and one box for all classes."""
    cfg = detector()
    cfg.model.type = 'FasterRCNN'
    for name in ('mask_head', 'mask_roi_extractor'):
        cfg.model.roi_head[name] = None
    cfg.model.roi_head.bbox_head.reg_class_agnostic = True
    model = build(cfg)
    module = take(model, cfg)
    assert module.outputs == ('boxes', 'scores', 'labels')
    inputs = detector_inputs(cfg, model, photos)
    boxes, scores, labels = module(
        *(torch.from_numpy(value) for value in inputs.values())
    )
    for i, wanted in enumerate(predict_batch(cfg, model, photos)):
        w, h = Image.open(photos[i]).size
        seen_h, seen_w = inputs['sizes'][i]
        n = len(wanted.scores)
        assert 5 < n == (scores[i] >= 0).sum()
        scale = torch.tensor([w / seen_w, h / seen_h] * 2)
        np.testing.assert_allclose(
            boxes[i, :n] * scale, wanted.bboxes, rtol=0, atol=1e-3
        )
        np.testing.assert_allclose(scores[i, :n], wanted.scores, atol=1e-5)
