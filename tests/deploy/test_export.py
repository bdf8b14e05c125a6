"""Exported files against the models from which they were made."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from lightvit_mm.deploy.export import KEY, export, onnx_to_openvino, take, to_onnx
from lightvit_mm.deploy.modules import ExportError

from ..small import build, classifier, detector, segmentor
from .common import CONFIGS, EXPORT, SIZES, assert_same, changed, runtimes, write_model

onnx = pytest.importorskip('onnx')
ort = pytest.importorskip('onnxruntime')
openvino = pytest.importorskip('openvino')


@pytest.mark.parametrize(
    'arch',
    [
        'tiny',
        pytest.param('small', marks=pytest.mark.slow),
        pytest.param('base', marks=pytest.mark.slow),
    ],
)
def test_classifiers_of_the_paper_give_the_same_probabilities(run, tmp_path, arch):
    cfg = classifier(arch)
    model = build(cfg)
    path = tmp_path / 'model.onnx'
    assert export(model, cfg, path) is None
    onnx_to_openvino(path, path.with_suffix('.xml'))
    calls = runtimes(run, path)
    for batch, h, w in SIZES:
        images = torch.randn(batch, 3, h, w)
        expected = model.head(model.extract_feat(images)).softmax(1)
        for call in calls:
            assert_same(call(dict(images=images.numpy())), expected)


def test_a_backbone_gives_the_same_maps(run, tmp_path):
    cfg = detector()
    model = build(cfg)
    path = tmp_path / 'model.onnx'
    assert export(model, cfg, path, part='backbone') is None
    onnx_to_openvino(path, path.with_suffix('.xml'))
    calls = runtimes(run, path)
    for batch, h, w in SIZES:
        images = torch.randn(batch, 3, h, w)
        for call in calls:
            assert_same(call(dict(images=images.numpy())), model.backbone(images))


def test_any_module_is_written_to_onnx(tmp_path):
    path = tmp_path / 'conv.onnx'
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    to_onnx(module, torch.randn(2, 3, 8, 8), path)
    images = torch.randn(3, 3, 8, 8)
    session = ort.InferenceSession(str(path))
    assert_same(session.run(None, dict(images=images.numpy())), module(images).detach())
    with pytest.raises(Exception, match='[Dd]imension'):
        session.run(None, dict(images=np.zeros((1, 3, 9, 8), np.float32)))
    to_onnx(module, torch.randn(2, 3, 8, 8), path, dynamic_size=True)
    images = torch.randn(1, 3, 9, 12)
    session = ort.InferenceSession(str(path))
    assert_same(session.run(None, dict(images=images.numpy())), module(images).detach())


# PyTorch's formats

has_pt2 = pytest.mark.skipif(torch.__version__ < '2.2', reason='pt2 needs PyTorch 2.2')


@pytest.mark.parametrize(
    'format, suffix, kind',
    [
        ('torchscript', '.pt', 'classifier'),
        ('torchscript', '.pt', 'detector'),
        ('torchscript', '.pt', 'segmentor'),
        pytest.param('pt2', '.pt2', 'classifier', marks=has_pt2),
        pytest.param('pt2', '.pt2', 'detector', marks=has_pt2),
    ],
)
def test_pytorch_formats_give_the_same_outputs(tmp_path, format, suffix, kind):
    cfg = CONFIGS[kind]()
    model = build(cfg)
    path = tmp_path / f'model{suffix}'
    size = (64, 96) if format == 'pt2' else None
    assert export(model, cfg, path, format, size) == size
    extra = {KEY: ''}
    if format == 'pt2':
        call = torch.export.load(path, extra_files=extra).module()
    else:
        call = torch.jit.load(path, _extra_files=extra)
    assert json.loads(extra[KEY])['size'] == (size and list(size))
    module = take(model, cfg)
    for batch, h, w in SIZES:
        inputs = module.example(*(size or (h, w)), batch)
        outputs, expected = call(*inputs), module(*inputs)
        if torch.is_tensor(outputs):
            outputs, expected = [outputs], [expected]
        assert_same([output.numpy() for output in outputs], expected)


# Files are complete or not there


@pytest.mark.parametrize(
    'format, suffix', [('onnx', '.onnx'), ('openvino', '.xml'), ('torchscript', '.pt')]
)
def test_a_failed_export_keeps_the_old_files(tmp_path, monkeypatch, format, suffix):
    def fail(*args, **kwargs):
        for arg in args:
            if isinstance(arg, (str, Path)):
                Path(arg).write_text('half')
        raise RuntimeError('the disk\nis full')

    cfg = classifier()
    model = build(cfg)
    path = tmp_path / f'new/model{suffix}'
    monkeypatch.setattr(onnx, 'save', fail)
    monkeypatch.setattr(openvino, 'save_model', fail)
    monkeypatch.setattr(torch.jit, 'save', fail)
    with pytest.raises(
        ExportError,
        match=rf'ImageClassifier cannot be written as {format} '
        r'\(RuntimeError: the disk\); try one of',
    ):
        export(model, cfg, path, format)
    assert not list(path.parent.glob('*'))
    path.parent.mkdir(exist_ok=True)
    path.write_text('old')
    with pytest.raises(ExportError):
        export(model, cfg, path, format)
    assert [file.read_text() for file in path.parent.iterdir()] == ['old']


# Misuse


def retina():
    cfg = detector()
    cfg.model = dict(
        type='RetinaNet',
        backbone=cfg.model.backbone,
        neck=cfg.model.neck,
        bbox_head=dict(
            type='RetinaHead',
            num_classes=3,
            in_channels=16,
            anchor_generator=dict(
                type='AnchorGenerator',
                scales=[4],
                ratios=[1.0],
                strides=[4, 8, 16, 32, 64],
            ),
        ),
    )
    return cfg


@pytest.mark.parametrize(
    'cfg, message',
    [
        (retina(), 'RetinaNet cannot be exported: expected a MaskRCNN'),
        (
            changed(
                detector, **{'model.roi_head.bbox_head.type': 'Shared4Conv1FCBBoxHead'}
            ),
            'roi_head.bbox_head of type Shared4Conv1FCBBoxHead .* expected Shared2',
        ),
        (
            changed(detector, **{'model.test_cfg.rcnn.nms.type': 'soft_nms'}),
            r"rcnn.nms=\{'type': 'soft_nms'.* expected type='nms'",
        ),
        (
            changed(segmentor, **{'model.test_cfg.mode': 'slide'}),
            "mode='slide' .* expected 'whole'",
        ),
        (changed(classifier, default_scope=None), 'default_scope=None .* should'),
        (
            classifier(steps=[dict(type='RandomFlip', prob=0.5)]),
            'RandomFlip in the test pipeline cannot be exported',
        ),
        (
            classifier(steps=[dict(type='Resize', scale=8, interpolation='area')]),
            "'area'.* cannot be exported: expected a scale",
        ),
        (
            changed(classifier, test_dataloader=dict(_delete_=True)),
            'no test_dataloader.dataset.pipeline',
        ),
        (
            changed(
                segmentor, **{'test_dataloader.dataset.metainfo.classes': ('sky',)}
            ),
            '1 class names for 4 classes',
        ),
    ],
)
def test_unsupported_models_are_refused(tmp_path, cfg, message):
    scope = cfg.default_scope or 'mmpretrain'
    model = build(changed(lambda: cfg.copy(), default_scope=scope))
    with pytest.raises(ExportError, match=message) as error:
        export(model, cfg, tmp_path / 'model.onnx')
    assert '\n' not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'name, options, message',
    [
        ('a.xml', {}, 'a.xml should end in .onnx'),
        ('a.onnx', dict(format='tflite'), "format='tflite' should be one of"),
        ('a.onnx', dict(part='neck'), "part='neck' should be one of"),
        ('a.onnx', dict(size=(0, 9)), r'size=\(0, 9\) should be'),
        pytest.param(
            'a.pt2',
            dict(format='pt2'),
            'pt2 needs a fixed height .* H W',
            marks=has_pt2,
        ),
    ],
)
def test_invalid_arguments_are_refused(tmp_path, name, options, message):
    cfg = segmentor()
    with pytest.raises(ExportError, match=message):
        export(build(cfg), cfg, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_other_numbers_of_channels_are_refused(tmp_path):
    cfg = segmentor()
    cfg.model.backbone.in_channels = 4
    with pytest.raises(ExportError, match='takes images of 4 channels .*only .* three'):
        export(build(cfg), cfg, tmp_path / 'model.onnx')


# tools/deploy/export.py


@pytest.mark.parametrize(
    'change, args, message',
    [
        pytest.param(
            {},
            ['--format', 'pt2', '--part', 'backbone'],
            'fix them: set size',
            marks=has_pt2,
        ),
        ({}, ['--int8', 'none'], '--int8 none should be a folder'),
        ({'model.head.num_classes': 6}, [], 'model.pth cannot be used'),
        ({}, ['--out', 'a.pt'], 'a.pt should end in .onnx'),
        ({}, ['--out', 'file/a.onnx'], 'file'),
    ],
)
def test_misuse_of_the_tool_is_explained(tool, tmp_path, change, args, message):
    cfg = classifier()
    config, checkpoint = write_model(cfg, tmp_path)
    changed(lambda: cfg, **change).dump(str(config))
    (tmp_path / 'file').touch()
    before = set(tmp_path.rglob('*'))
    with pytest.raises(SystemExit, match=message) as error:
        tool(EXPORT, config, checkpoint, *args)
    assert '\n' not in str(error.value)
    assert set(tmp_path.rglob('*')) == before


@pytest.mark.parametrize(
    'package, args',
    [
        ('onnx', []),
        ('openvino', ['--format', 'openvino']),
        ('onnxruntime', ['--int8', '.']),
    ],
)
def test_a_missing_package_is_named(tool, tmp_path, monkeypatch, package, args):
    config, checkpoint = write_model(classifier(), tmp_path)
    before = set(tmp_path.rglob('*'))
    monkeypatch.setattr(
        'lightvit_mm.installed.find_spec',
        lambda name: None if name == package else find_spec(name),
    )
    with pytest.raises(
        SystemExit, match=f'^{package} is not installed: pip install {package}$'
    ):
        tool(EXPORT, config, checkpoint, *args)
    assert set(tmp_path.rglob('*')) == before


def test_mmdet_is_needed_only_for_detectors():
    code = (
        "import sys; sys.modules['mmdet'] = None; "
        'import lightvit_mm.deploy.export, lightvit_mm.deploy.int8'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
