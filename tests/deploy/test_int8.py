"""Models in int8 and their agreement with float32."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightvit_mm.deploy.export import export, onnx_to_openvino
from lightvit_mm.trained import network_input

from ..small import build, classifier

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('openvino')


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
    from lightvit_mm.deploy.int8 import export_int8
    from lightvit_mm.files import image_files

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
    """Known files replace the int8 ones, so the share must be theirs."""
    from lightvit_mm.deploy import int8

    cfg = classifier()
    model = build(cfg)
    # Random weights hardly distinguish images: scale the logits, so that classes
    # differ.
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


def test_agreement_counts_what_is_equal():
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


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(images=[]), '0 images for int8: expected at least two'),
        (dict(format='pt2'), "format='pt2' does not support int8"),
        (dict(size=(32, 32)), 'wide.png has 83 x 150 pixels .* 32'),
        (dict(images=[Path('none.png')] * 2), 'none.png cannot be read'),
    ],
)
def test_invalid_arguments_for_int8_are_refused(tmp_path, photos, options, message):
    from lightvit_mm.deploy.int8 import export_int8

    cfg = classifier()
    options = dict(dict(images=photos), **options)
    with pytest.raises(ValueError, match=message):
        export_int8(build(cfg), cfg, tmp_path / 'a.onnx', **options)
    assert not list(tmp_path.iterdir())
