"""What the tests of exported files share."""

from pathlib import Path

import numpy as np
import torch

from ..small import build, classifier, detector, segmentor

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
# Batch, height and width of the images.
SIZES = [(1, 64, 64), (2, 57, 90), (3, 96, 33)]


def assert_same(outputs, expected, atol=1e-4):
    expected = [expected] if torch.is_tensor(expected) else list(expected)
    assert len(outputs) == len(expected)
    for output, tensor in zip(outputs, expected):
        assert output.shape == tuple(tensor.shape)
        np.testing.assert_allclose(output, tensor, rtol=0, atol=atol)


def runtimes(run, path):
    """The ONNX file and the OpenVINO file next to it, as functions."""
    models = [run.read_model(path.with_suffix(suffix)) for suffix in ('.onnx', '.xml')]
    return [
        lambda inputs, model=model: list(model.run(inputs).values()) for model in models
    ]


def changed(make, **changes):
    cfg = make()
    cfg.merge_from_dict(changes)
    return cfg


def write_model(cfg, folder, **meta):
    cfg.dump(str(folder / 'config.py'))
    weights = dict(meta=meta, state_dict=build(cfg).state_dict())
    torch.save(weights, folder / 'model.pth')
    return folder / 'config.py', folder / 'model.pth'
