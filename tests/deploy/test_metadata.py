"""The metadata of an exported file."""

import json

import numpy as np
import pytest
import torch

from lightvit_mm.config import read_config
from lightvit_mm.deploy.export import export
from lightvit_mm.deploy.metadata import preprocessing_steps
from lightvit_mm.trained import load_trained, network_input

from ..small import ARCH, COLOURS, build, classifier, detector
from .common import CROP

pytest.importorskip('onnxruntime')
pytest.importorskip('openvino')


def test_metadata_describes_the_model_and_its_classes(run, files, tmp_path):
    cfg, model, path = files('detector')
    for suffix in ('.onnx', '.xml'):
        info = run.read_model(path.with_suffix(suffix)).info
        mean, std = info.pop('mean'), info.pop('std')
        np.testing.assert_allclose(mean, COLOURS['mean'], rtol=1e-6)
        np.testing.assert_allclose(std, COLOURS['std'], rtol=1e-6)
        assert info == dict(
            task='detection',
            outputs=['boxes', 'scores', 'labels', 'masks'],
            classes=list('0123456789'),
            steps=[
                dict(
                    step='fit', size=[96, 160], backend='cv2', interpolation='bilinear'
                )
            ],
            channel_order='rgb',
            pad_divisor=32,
            size=None,
            mask_threshold=0.5,
        )
    info = run.read_model(files('segmentor')[2]).info
    assert info['classes'] == ['sky', 'sea', 'ship', 'shore']

    # The names of the checkpoint win; without any they are indices.
    cfg = classifier(steps=CROP)
    cfg.data_preprocessor.to_rgb = False
    model = build(cfg)
    torch.save(
        dict(
            state_dict=model.state_dict(),
            meta=dict(dataset_meta=dict(classes=list('abcde'))),
        ),
        tmp_path / 'model.pth',
    )
    for classes, net in (
        ('01234', model),
        ('abcde', load_trained(cfg, tmp_path / 'model.pth')),
    ):
        assert export(net, cfg, tmp_path / 'model.onnx') == (32, 32)
        info = run.read_model(tmp_path / 'model.onnx').info
        assert info['classes'] == list(classes)
        assert (info['size'], info['channel_order']) == ([32, 32], 'bgr')


def test_class_names_come_from_the_dataset_class(run, tmp_path):
    """The published checkpoints have no class names."""
    from mmpretrain.datasets import ImageNet

    cfg = read_config('lightvit_mm::lightvit_t_8xb128_in1k.py')
    cfg.model.backbone.arch = ARCH
    cfg.model.neck.in_channels = 32
    export(build(cfg), cfg, tmp_path / 'model.onnx')
    info = run.read_model(tmp_path / 'model.onnx').info
    assert info['classes'] == list(ImageNet.METAINFO['classes'])


@pytest.mark.parametrize(
    'cfg, tolerance',
    [
        (classifier(steps=CROP), 0),
        (classifier(steps=[dict(type='ResizeEdge', scale=40)]), 1),
        (classifier(steps=[dict(type='Resize', scale=(50, 40))]), 1),
        (classifier(steps=[dict(type='CenterCrop', crop_size=(101, 64))]), 0),
        (detector(), 1),
    ],
)
def test_images_are_prepared_as_in_the_test_pipeline(run, photos, cfg, tolerance):
    model = build(cfg)
    info = dict(
        steps=json.loads(json.dumps(preprocessing_steps(cfg))),
        channel_order='rgb',
        pad_divisor=32 if cfg.default_scope == 'mmdet' else 1,
        size=None,
        **COLOURS,
    )
    for photo in photos:
        seen, images = network_input(model, cfg, photo)
        prepared = run.prepare(run.read_image(photo), info)
        assert prepared.shape == seen.shape
        # OpenCV rounds its weights.
        assert np.abs(prepared.astype(int) - seen).max() <= tolerance
        np.testing.assert_allclose(run.normalise(seen, info), images, rtol=0, atol=1e-5)


def test_loaders_of_your_own_data_are_no_steps():
    """A mask has to be read in training only."""
    cfg = read_config('lightvit_mm::finetune_semantic_fpn_lightvit_t.py')
    [step] = preprocessing_steps(cfg)
    assert step['step'] == 'fit'
