"""tools/deploy/run.py, from the exported file to the picture."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightvit_mm.deploy.export import export, take, to_onnx

from ..small import classifier
from .common import CROP, EXPORT, RUN, assert_same, write_model

pytest.importorskip('onnxruntime')
pytest.importorskip('openvino')

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
    """Run run.py where only the packages that it names can be imported."""
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
        assert '  picture: out/high.png' in done.stdout
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


def test_misuse_is_explained(tool, files, photos, tmp_path):
    path = files('segmentor')[2]
    to_onnx(torch.nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8), tmp_path / 'bare.onnx')
    (tmp_path / 'text.onnx').write_text('This is no model.')
    (tmp_path / 'text.png').write_text('This is no image.')
    cfg, model, _ = files('segmentor')
    export(model, cfg, tmp_path / 'fixed.onnx', size=(48, 48))
    photo = photos[0]
    for args, message in (
        (['model.pth', photo], 'model.pth should end in'),
        (['none.onnx', photo], 'There is no model none.onnx'),
        (['bare.onnx', photo], 'does not describe how to prepare images'),
        (['text.onnx', photo], 'text.onnx cannot be read by onnxruntime'),
        ([path, 'text.png'], 'image text.png cannot be read'),
        ([path, 'none.png'], 'image none.png cannot be read'),
        ([path, photo, photo], '2 images are named wide'),
        (['fixed.onnx', photo], 'at most 48 x 48 pixels, but this one has 66 x 120'),
    ):
        with pytest.raises(SystemExit, match=message) as error:
            tool(RUN, *args)
        assert '\n' not in str(error.value)
    assert not list(Path().glob('work_dirs/**/*.png'))


def test_images_are_padded_to_a_fixed_size(run, files, photos, tmp_path):
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
