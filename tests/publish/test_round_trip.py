"""Each consumer gets bit for bit what it gets from the original files."""

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader

from lightvit_mm.checkpoints import read_state_dict
from lightvit_mm.config import read_config
from lightvit_mm.models import LightViT
from lightvit_mm.trained import build_model, load_trained

from ..predict.models import FRUITS
from .test_publish import assert_same

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def tool(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(name, *args):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        runpy.run_path(str(TOOLS / name), run_name='__main__')

    return call


@pytest.fixture(scope='session')
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp('photo') / 'photo.png'
    coarse = np.random.RandomState(0).randint(0, 256, (9, 9, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (130, 90)))
    return path


def test_checkpoint_loader(model):
    found = CheckpointLoader.load_checkpoint(str(model.published))
    assert_same(found['state_dict'], read_state_dict(model.checkpoint))
    assert found['meta']['dataset_meta']['classes'] == FRUITS


def test_without_safetensors_the_other_file_is_read(model, monkeypatch):
    monkeypatch.setattr('lightvit_mm.model_folder.find_spec', lambda name: None)
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    found = CheckpointLoader.load_checkpoint(str(model.published))
    assert_same(found['state_dict'], read_state_dict(model.checkpoint))


def test_weights_go_to_the_device(small_model):
    folder = str(small_model.published)
    found = CheckpointLoader.load_checkpoint(folder, map_location='meta')
    assert {value.device.type for value in found['state_dict'].values()} == {'meta'}


def test_predict(model, tool, photo):
    """The pictures and all numbers."""
    runs = dict(new=(model.published,), old=(model.config, model.checkpoint))
    content, picture = {}, {}
    for run, files in runs.items():
        np.random.seed(0)  # mmdet draws in random colours.
        tool('predict.py', *files, photo, '--out', run, '--score-thr', 0)
        content[run] = json.loads(Path(run, 'predictions.json').read_text())
        picture[run] = Path(run, 'pictures/photo.png').read_bytes()
    for key in ('annotations', 'categories', 'images'):
        assert content['new'][key] == content['old'][key]
    assert content['new']['annotations']
    assert picture['new'] == picture['old']
    assert content['new']['info']['checkpoint'] == str(model.published)


def test_config_and_checkpoint_can_be_mixed(model):
    """A folder stands for either."""
    pairs = [
        (model.config, model.published),
        (model.published, model.checkpoint),
        (model.published, next(model.published.glob('*.pth'))),
    ]
    expected = read_state_dict(model.checkpoint)
    for config, checkpoint in pairs:
        loaded = load_trained(read_config(str(config)), checkpoint)
        assert_same(loaded.state_dict(), expected)
        assert loaded.dataset_meta['classes'] == list(FRUITS)


def test_init_cfg_of_the_backbone(small_model):
    """init_cfg=dict(type='Pretrained', checkpoint=FOLDER)."""
    cfg = read_config(str(small_model.published))
    settings = dict(cfg.model.backbone)
    del settings['type']
    folder = str(small_model.published)
    backbone = LightViT(
        **settings,
        init_cfg=dict(type='Pretrained', checkpoint=folder, prefix='backbone.'),
    )
    backbone.init_weights()
    expected = {
        key.removeprefix('backbone.'): value
        for key, value in read_state_dict(small_model.checkpoint).items()
        if key.startswith('backbone.')
    }
    assert_same(backbone.state_dict(), expected)


def test_init_cfg_of_the_model(model):
    cfg = read_config(str(model.config))
    cfg.model.init_cfg = dict(type='Pretrained', checkpoint=str(model.published))
    built = build_model(cfg)
    built.init_weights()
    assert_same(built.state_dict(), read_state_dict(model.checkpoint))


def test_load_from(small_model, tmp_path, new_run):
    from mmengine.runner import Runner

    cfg = read_config(str(small_model.published))
    cfg.update(work_dir=str(tmp_path), load_from=str(small_model.published))
    cfg.update(test_dataloader=None, experiment_name='load_from')
    runner = Runner.from_cfg(cfg)
    runner.load_or_resume()
    assert_same(runner.model.state_dict(), read_state_dict(small_model.checkpoint))
    assert (tmp_path / 'config.py').is_file()


def test_export(small_model, tool):
    folder = small_model.published
    tool('deploy/export.py', folder, folder, '--format', 'torchscript')
    tool(
        'deploy/export.py',
        small_model.config,
        small_model.checkpoint,
        '--format',
        'torchscript',
        '--out',
        'old.pt',
    )
    # Named by the model.
    new = torch.jit.load('work_dirs/deploy/mmpretrain-fruits.pt')
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(new(images), torch.jit.load('old.pt')(images))


# Inferencers


def test_image_classification_inferencer(models, photo):
    model = models('mmpretrain')
    from mmpretrain import ImageClassificationInferencer

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        new = ImageClassificationInferencer(str(model.published))
        old = ImageClassificationInferencer(str(model.config), str(model.checkpoint))
        [found], [expected] = new(str(photo)), old(str(photo))
    assert found['pred_class'] in FRUITS
    assert np.array_equal(found['pred_scores'], expected['pred_scores'])


def test_det_inferencer(models, photo):
    model = models('mmdet')
    from mmdet.apis import DetInferencer

    with DefaultScope.overwrite_default_scope('mmdet'):
        new = DetInferencer(str(model.published), device='cpu')
        old = DetInferencer(str(model.config), str(model.checkpoint), device='cpu')
        [found] = new(str(photo))['predictions']
        [expected] = old(str(photo))['predictions']
    assert found['scores'] and found == expected
    assert new.model.dataset_meta['classes'] == FRUITS


def test_mmseg_inferencer(models, photo):
    model = models('mmseg')
    from mmseg.apis import MMSegInferencer

    with DefaultScope.overwrite_default_scope('mmseg'):
        new = MMSegInferencer(str(model.published), device='cpu')
        old = MMSegInferencer(str(model.config), str(model.checkpoint), device='cpu')
        found, expected = new(str(photo)), old(str(photo))
    assert np.array_equal(found['predictions'], expected['predictions'])
    assert len(np.unique(found['predictions'])) > 1


def test_inferencer_takes_other_weights(models, tmp_path):
    """Those that are given come before those of the folder."""
    model = models('mmdet')
    from mmdet.apis import DetInferencer

    content = torch.load(model.checkpoint)
    for value in content['state_dict'].values():
        value.zero_()
    torch.save(content, tmp_path / 'zero.pth')
    with DefaultScope.overwrite_default_scope('mmdet'):
        folder, other = str(model.published), str(tmp_path / 'zero.pth')
        inferencer = DetInferencer(folder, other, device='cpu')
    assert not any(p.any() for p in inferencer.model.parameters())
