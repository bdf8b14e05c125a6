"""Exported files against the models that they were made of."""

import importlib.util
import json
import runpy
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from PIL import Image

from lightvit_mm.config import read_config
from lightvit_mm.deploy.export import KEY, export, onnx_to_openvino, take, to_onnx
from lightvit_mm.deploy.metadata import preprocessing_steps
from lightvit_mm.deploy.modules import ExportError
from lightvit_mm.files import written_whole
from lightvit_mm.trained import load_trained, network_input

from ..small import ARCH, COLOURS, build, classifier, detector, segmentor

onnx = pytest.importorskip('onnx')
ort = pytest.importorskip('onnxruntime')
openvino = pytest.importorskip('openvino')

ROOT = Path(__file__).parents[2]
EXPORT = str(ROOT / 'tools/deploy/export.py')
RUN = str(ROOT / 'tools/deploy/run.py')

CROP = [
    dict(type='ResizeEdge', scale=40, backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=32),
]
SEA = dict(metainfo=dict(classes=('sky', 'sea', 'ship', 'shore')))
CONFIGS = dict(
    classifier=classifier, detector=detector, segmentor=lambda: segmentor(**SEA)
)


@pytest.fixture(scope='module')
def run():
    """tools/deploy/run.py as a module."""
    spec = importlib.util.spec_from_file_location('run', RUN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Three pictures, wide, high and square."""
    folder = tmp_path_factory.mktemp('photos')
    random = np.random.RandomState(0)
    for name, (w, h) in dict(wide=(150, 83), high=(70, 130), square=(90, 90)).items():
        coarse = random.randint(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(coarse).resize((w, h), Image.BICUBIC).save(
            folder / f'{name}.png'
        )
    return [folder / f'{name}.png' for name in ('wide', 'high', 'square')]


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Each kind of model, with its ONNX and OpenVINO files."""
    folder = tmp_path_factory.mktemp('files')
    made = {}

    def make(kind):
        if kind not in made:
            cfg = CONFIGS[kind]()
            model = build(cfg)
            path = folder / f'{kind}.onnx'
            export(model, cfg, path)
            onnx_to_openvino(path, path.with_suffix('.xml'))
            made[kind] = cfg, model, path
        return made[kind]

    return make


def assert_same(outputs, expected, atol=1e-4):
    expected = [expected] if torch.is_tensor(expected) else list(expected)
    assert len(outputs) == len(expected)
    for output, tensor in zip(outputs, expected):
        assert output.shape == tuple(tensor.shape)
        np.testing.assert_allclose(output, tensor, rtol=0, atol=atol)


def runtimes(run, path):
    """The ONNX file and the OpenVINO file beside it, as functions."""
    models = [run.read_model(path.with_suffix(suffix)) for suffix in ('.onnx', '.xml')]
    return [
        lambda inputs, model=model: list(model.run(inputs).values()) for model in models
    ]


# Networks

SIZES = [(1, 64, 64), (2, 57, 90), (3, 96, 33)]


@pytest.mark.parametrize('arch', ['tiny', 'small', 'base'])
def test_classifiers_of_the_paper(run, tmp_path, arch):
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


def test_backbone(run, tmp_path):
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


def test_any_module_to_onnx(tmp_path):
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


# Detectors


def predict_batch(cfg, model, paths):
    """What mmdet finds in images of one batch, in their own pixels."""
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
def test_detector_finds_what_mmdet_finds(run, files, photos, suffix):
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
def test_detector_that_finds_nothing(run, files, suffix):
    cfg, model, path = files('detector')
    network = run.read_model(path.with_suffix(suffix))
    inputs = dict(
        images=np.zeros((2, 3, 32, 64), np.float32), sizes=np.zeros((2, 2), np.float32)
    )
    for name, output in network.run(inputs).items():
        assert (output == (-1 if name == 'scores' else 0)).all(), name


def test_faster_rcnn_and_shared_boxes(photos):
    """No masks, and boxes that are not one per class."""
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


# Segmentors


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_segmentor_says_what_mmseg_says(run, files, photos, suffix):
    from mmseg.apis import inference_model

    cfg, model, path = files('segmentor')
    network = run.read_model(path.with_suffix(suffix))
    model.cfg = cfg
    for photo in photos:
        with DefaultScope.overwrite_default_scope('mmseg'):
            wanted = inference_model(model, str(photo)).pred_sem_seg.data[0]
        seen, images = network_input(model, cfg, photo)
        logits = network.run(dict(images=images.numpy()))['logits']
        assert_same(
            [logits], model.encode_decode(images, [dict(img_shape=images.shape[2:])])
        )
        found = run.class_map(logits[0], seen.shape[:2], wanted.shape)
        assert len(np.unique(wanted)) > 1
        assert (found != wanted.numpy()).mean() < 1e-3


# PyTorch's own formats

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
def test_pytorch_formats(tmp_path, format, suffix, kind):
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


# What the file says of itself


def test_metadata(run, files, tmp_path):
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

    # The checkpoint's names win; without any they are numbers.
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


def test_classes_of_a_data_set_that_knows_them(run, tmp_path):
    """Those of published weights, whose checkpoint has no names."""
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
def test_images_are_prepared_as_by_the_config(run, photos, cfg, tolerance):
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


# int8


@pytest.fixture
def tints(tmp_path):
    """Sixteen pictures of different colours."""
    random = np.random.RandomState(0)
    paths = [tmp_path / f'tints/{i:02}.png' for i in range(16)]
    paths[0].parent.mkdir()
    for path in paths:
        coarse = random.randint(0, 64, (4, 4, 3)) + random.randint(0, 192, 3)
        Image.fromarray(coarse.astype(np.uint8)).resize((64, 48)).save(path)
    return paths


def probabilities(run, path, images):
    model = run.read_model(path)
    return np.concatenate(
        [
            model.run(dict(images=run.normalise(image, model.info)))['probabilities']
            for image in map(run.read_image, images)
        ]
    )


def test_int8_is_near_float32(run, tints, tmp_path):
    from lightvit_mm.deploy.int8 import export_int8, image_files

    assert image_files(tints[0].parent) == tints
    cfg = classifier()
    model = build(cfg)
    fp32, int8 = tmp_path / 'fp32.onnx', tmp_path / 'int8.onnx'
    export(model, cfg, fp32)
    export_int8(model, cfg, int8, tints)
    nodes = onnx.load(int8).graph.node
    assert {'Softmax', 'QuantizeLinear', 'DequantizeLinear'} <= {
        node.op_type for node in nodes
    }
    maps = {node.output[0] for node in nodes if node.op_type == 'Softmax'}
    assert maps.isdisjoint(
        node.input[0] for node in nodes if node.op_type == 'QuantizeLinear'
    )
    assert run.read_model(int8).info == run.read_model(fp32).info
    difference = np.abs(
        probabilities(run, int8, tints) - probabilities(run, fp32, tints)
    )
    assert 0 < difference.mean() < 0.01


def test_int8_agreement_is_of_the_file_itself(run, tints, tmp_path, monkeypatch):
    """Known files take the place of the int8 ones; the share has to be theirs."""
    from lightvit_mm.deploy import int8

    cfg = classifier()
    model = build(cfg)
    # Random weights see little of an image: enlarge that, so that classes differ.
    logits = torch.cat(
        [
            model.head(model.extract_feat(network_input(model, cfg, path)[1]))
            for path in tints
        ]
    )
    fc, mean, std = model.head.fc, logits.mean(0), logits.std(0)
    fc.weight.div_(std[:, None])
    fc.bias.sub_(mean).div_(std)
    fp32, swapped = tmp_path / 'fp32.onnx', tmp_path / 'swapped.onnx'
    export(model, cfg, fp32)
    classes = probabilities(run, fp32, tints[1::2]).argmax(1)
    first, second = classes[0], next(x for x in classes if x != classes[0])
    for parameter in (fc.weight, fc.bias):
        parameter[[first, second]] = parameter[[second, first]].clone()
    export(model, cfg, swapped)
    for parameter in (fc.weight, fc.bias):
        parameter[[first, second]] = parameter[[second, first]].clone()
    monkeypatch.setattr(
        int8,
        'quantize_onnx',
        lambda source, target, batches: shutil.copy(swapped, target),
    )
    monkeypatch.setattr(
        int8,
        'onnx_to_openvino',
        lambda source, target: onnx_to_openvino(fp32, target),
    )
    same = np.mean([x not in (first, second) for x in classes])
    assert 0 < same < 1
    for format, name, share in (('onnx', 'a.onnx', same), ('openvino', 'a.xml', 1)):
        agreement = int8.export_int8(model, cfg, tmp_path / name, tints, format)
        found = probabilities(run, tmp_path / name, tints[1::2]).argmax(1)
        assert agreement.num_images == 8
        assert agreement.share == share == (found == classes).mean()


def test_agreement():
    from lightvit_mm.deploy.int8 import _COUNT

    a = np.array([[0.1, 0.9], [0.9, 0.1]])
    assert _COUNT['classification']([a], [a[::-1]]) == (0, 2)
    assert _COUNT['classification']([a], [a[:1].repeat(2, 0)]) == (1, 2)
    maps = np.zeros((1, 4, 2, 2))
    maps[0, 0] = 1
    assert _COUNT['segmentation']([maps], [maps[:, :, ::-1]]) == (4, 4)
    assert _COUNT['features']([maps], [maps + 1])[0] == pytest.approx(
        8 / (4 * 28) ** 0.5
    )
    boxes = np.array([[[0, 0, 4, 4], [0, 0, 9, 9], [5, 5, 9, 9]]], np.float32)
    scores = np.array([[0.9, 0.4, 0.2]], np.float32)
    labels = np.array([[1, 2, 1]])
    found = boxes, scores, labels
    assert _COUNT['detection'](found, found) == (2, 2)
    assert _COUNT['detection'](found, (boxes + 3, scores, labels)) == (0, 2)
    assert _COUNT['detection'](found, (boxes, scores, labels - 1)) == (0, 2)
    assert _COUNT['detection'](found, (boxes, scores / 4, labels)) == (1, 2)


# Files are whole or not there


@pytest.mark.parametrize(
    'format, suffix', [('onnx', '.onnx'), ('openvino', '.xml'), ('torchscript', '.pt')]
)
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, format, suffix):
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
        r'\(RuntimeError: the disk\); expected one of',
    ):
        export(model, cfg, path, format)
    assert not list(path.parent.glob('*'))
    path.parent.mkdir(exist_ok=True)
    path.write_text('old')
    with pytest.raises(ExportError):
        export(model, cfg, path, format)
    assert [file.read_text() for file in path.parent.iterdir()] == ['old']


def test_two_files_take_their_place_together(tmp_path):
    path = tmp_path / 'a.xml'
    for text in ('first', 'second'):
        with written_whole(path, '.bin') as draft:
            draft.write_text(text)
            draft.with_suffix('.bin').write_text(text)
        assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
            'a.xml': text,
            'a.bin': text,
        }


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


def changed(make, **changes):
    cfg = make()
    cfg.merge_from_dict(changes)
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
            'RandomFlip in the test pipeline cannot be carried',
        ),
        (
            classifier(steps=[dict(type='Resize', scale=8, interpolation='area')]),
            "'area'.* cannot be carried in a file: expected a scale",
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
def test_models_that_cannot_be_exported(tmp_path, cfg, message):
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
            'pt2 holds a network at one height .* H W',
            marks=has_pt2,
        ),
    ],
)
def test_arguments_that_are_none(tmp_path, name, options, message):
    cfg = segmentor()
    with pytest.raises(ExportError, match=message):
        export(build(cfg), cfg, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(images=[]), '0 images for int8: expected two'),
        (dict(format='pt2'), "format='pt2' has no int8"),
        (dict(size=(32, 32)), 'wide.png is prepared to 83 x 150 pixels: .* 32'),
        (dict(images=[Path('none.png')] * 2), 'none.png cannot be read'),
    ],
)
def test_int8_misuse(tmp_path, photos, options, message):
    from lightvit_mm.deploy.int8 import export_int8

    cfg = classifier()
    options = dict(dict(images=photos), **options)
    with pytest.raises(ValueError, match=message):
        export_int8(build(cfg), cfg, tmp_path / 'a.onnx', **options)
    assert not list(tmp_path.iterdir())


# The tools


@pytest.fixture
def tool(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(name, *args):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        runpy.run_path(name, run_name='__main__')

    return call


def write_model(cfg, folder):
    cfg.dump(str(folder / 'config.py'))
    torch.save(dict(state_dict=build(cfg).state_dict()), folder / 'model.pth')
    return folder / 'config.py', folder / 'model.pth'


BLOCKED = """
import runpy, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {blocked}:
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
before = set(sys.modules)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
assert not (set(sys.modules) - before) & set({blocked})
"""


def run_alone(*args):
    """run.py where there are no packages but those that it names."""
    blocked = (
        'torch',
        'torchvision',
        'mmengine',
        'mmcv',
        'mmdet',
        'mmseg',
        'mmpretrain',
        'lightvit_mm',
        'cv2',
        'onnx',
        'matplotlib',
    )
    return subprocess.run(
        [sys.executable, '-c', BLOCKED.format(blocked=blocked), RUN, *map(str, args)],
        capture_output=True,
        text=True,
    )


def test_from_config_to_picture(tool, tmp_path, photos, capsys):
    config, checkpoint = write_model(classifier(steps=CROP), tmp_path)
    tool(EXPORT, config, checkpoint)
    tool(EXPORT, config, checkpoint, '--part', 'backbone', '--format', 'openvino')
    tool(
        EXPORT,
        config,
        checkpoint,
        '--int8',
        photos[0].parent,
        '--out',
        'deep/small.onnx',
    )
    lines = capsys.readouterr().out.splitlines()
    lines = [line for line in lines if line.startswith(('work_', 'deep'))]
    assert lines[:2] == [
        'work_dirs/deploy/config.onnx: takes any number of images of 32 x 32 pixels',
        'work_dirs/deploy/config_backbone.xml: takes any number of images of any size',
    ]
    assert lines[2].startswith('deep/small.onnx: agrees with float32, ')
    assert lines[2].endswith('% (images of the same class) on 1 images')

    for model in (
        'work_dirs/deploy/config.onnx',
        'deep/small.onnx',
        'work_dirs/deploy/config_backbone.xml',
    ):
        done = run_alone(model, *photos[:2], '--out', 'out')
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == f'{photos[0]}:'
        assert '  drawn in out/high.png' in done.stdout
        picture = np.asarray(Image.open('out/wide.png'))
        assert picture.shape[0] == 83 and picture.shape[1] % 150 == 0
        assert picture.shape[2] == 3


def test_pictures_show_what_was_found(run, tool, files, photos, capsys):
    for kind, suffix in (('detector', '.onnx'), ('segmentor', '.xml')):
        path = files(kind)[2].with_suffix(suffix)
        tool(RUN, path, photos[0], '--out', kind)
        assert len(capsys.readouterr().out.splitlines()) > 3
        picture = np.asarray(Image.open(f'{kind}/wide.png')).astype(int)
        photo = run.read_image(photos[0])
        assert picture.shape == photo.shape
        assert (picture != photo).any(axis=2).mean() > 0.05
    tool(RUN, files('detector')[2], photos[0], '--score-thr', 1, '--out', 'no')
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert np.array_equal(np.asarray(Image.open('no/wide.png')), photo)


@pytest.mark.parametrize(
    'change, args, message',
    [
        pytest.param(
            {},
            ['--format', 'pt2', '--part', 'backbone'],
            'name them with size',
            marks=has_pt2,
        ),
        ({}, ['--int8', 'none'], '--int8 none: expected a folder'),
        ({'model.head.num_classes': 6}, [], 'model.pth cannot be used'),
        ({}, ['--out', 'a.pt'], 'a.pt should end in .onnx'),
        ({}, ['--out', 'file/a.onnx'], 'file'),
    ],
)
def test_export_misuse(tool, tmp_path, change, args, message):
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
def test_missing_package(tool, tmp_path, monkeypatch, package, args):
    config, checkpoint = write_model(classifier(), tmp_path)
    before = set(tmp_path.rglob('*'))
    monkeypatch.setattr(
        'lightvit_mm.config.find_spec',
        lambda name: None if name == package else find_spec(name),
    )
    with pytest.raises(
        SystemExit, match=f'^{package} is not installed: pip install {package}$'
    ):
        tool(EXPORT, config, checkpoint, *args)
    assert set(tmp_path.rglob('*')) == before


def test_run_misuse(tool, files, photos, tmp_path):
    path = files('segmentor')[2]
    to_onnx(torch.nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8), tmp_path / 'bare.onnx')
    (tmp_path / 'text.onnx').write_text('This is no model.')
    (tmp_path / 'text.png').write_text('This is no image.')
    cfg, model, _ = files('segmentor')
    export(model, cfg, tmp_path / 'fixed.onnx', size=(48, 48))
    photo = photos[0]
    for args, message in (
        (['model.pth', photo], 'model.pth: expected a model that ends in'),
        (['none.onnx', photo], 'There is no model none.onnx'),
        (['bare.onnx', photo], 'does not say how to prepare images'),
        (['text.onnx', photo], 'text.onnx cannot be read by onnxruntime'),
        ([path, 'text.png'], 'image text.png cannot be read'),
        ([path, 'none.png'], 'image none.png cannot be read'),
        ([path, photo, photo], '2 images are named wide'),
        (['fixed.onnx', photo], '48 x 48 pixels at most and this is 66 x 120'),
    ):
        with pytest.raises(SystemExit, match=message) as error:
            tool(RUN, *args)
        assert '\n' not in str(error.value)
    assert not list(Path().glob('work_dirs/**/*.png'))


def test_fixed_size_pads(run, files, photos, tmp_path):
    cfg, model, _ = files('segmentor')
    export(model, cfg, tmp_path / 'fixed.onnx', size=(96, 128))
    network = run.read_model(tmp_path / 'fixed.onnx')
    seen = run.prepare(run.read_image(photos[0]), network.info)
    images = run.normalise(seen, network.info)
    assert images.shape == (1, 3, 96, 128)
    assert (images[:, :, seen.shape[0] :] == 0).all()
    assert_same(
        list(network.run(dict(images=images)).values()),
        take(model, cfg)(torch.from_numpy(images)),
    )
