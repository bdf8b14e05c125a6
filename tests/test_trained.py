"""From a config and a checkpoint to a model and its input."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from lightvit_mm import LightViT
from lightvit_mm.trained import (
    InferenceError,
    find_backbone,
    load_trained,
    network_input,
)

from .saved import ARCH, CONFIGS, write_images, write_model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_images(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predict(library, model, cfg):
    """Run a model on the photograph with the library's own API."""
    if library == 'mmpretrain':
        from mmpretrain import ImageClassificationInferencer

        model._config = cfg
        ImageClassificationInferencer(model, pretrained=False)('photo.png')
    elif library == 'mmdet':
        from mmdet.apis import inference_detector

        model.cfg = cfg
        inference_detector(model, 'photo.png')
    else:
        from mmseg.apis import inference_model

        model.cfg = cfg
        inference_model(model, 'photo.png')


@pytest.mark.parametrize(
    'library, image_hw, input_hw',
    [
        ('mmpretrain', (70, 70), (70, 70)),
        ('mmdet', (63, 90), (64, 96)),
        ('mmseg', (56, 80), (56, 80)),
    ],
)
def test_network_input_is_what_the_library_passes_on(
    folder, library, image_hw, input_hw
):
    cfg, model = write_model(library)
    loaded = load_trained(Config.fromfile('config.py'), 'model.pth')
    assert not loaded.training
    image, inputs = network_input(loaded, cfg, 'photo.png')
    assert image.shape == (*image_hw, 3)
    assert inputs.shape == (1, 3, *input_hw)

    seen = []
    model.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with DefaultScope.overwrite_default_scope(library):
        predict(library, model, cfg.copy())
    assert torch.equal(seen[0], inputs)

    # The returned image is the same, in RGB.
    mean, std = (np.array(cfg.colours[key]) for key in ('mean', 'std'))
    normed = (image - mean) / std
    h, w = image_hw
    np.testing.assert_allclose(inputs[0, :, :h, :w].permute(1, 2, 0), normed, atol=1e-5)

    image, inputs = network_input(loaded, cfg, 'photo.png', size=(57, 70))
    assert image.shape == (57, 70, 3)
    assert inputs.shape == (1, 3, *((64, 96) if library == 'mmdet' else (57, 70)))
    photo = Image.open('photo.png').resize((70, 57), Image.BILINEAR)
    assert np.abs(image - np.asarray(photo, float)).mean() < 8


def test_backbone_is_found_in_submodules():
    backbone = LightViT(ARCH, out_indices=(0, 1))
    model = torch.nn.Sequential(
        torch.nn.ReLU(), torch.nn.ModuleDict(dict(net=backbone))
    )
    assert find_backbone(model) is backbone
    with pytest.raises(InferenceError, match='no LightViT in this ReLU'):
        find_backbone(model[0])


@pytest.mark.parametrize(
    'change, checkpoint, message',
    [
        (
            'model["backbone"] = dict(type="ResNet", depth=18)',
            'model.pth',
            'no LightViT in this ImageClassifier',
        ),
        (
            'model["backbone"]["num_tokens"] = 5',
            'model.pth',
            r'checkpoint model.pth .* exactly .* have 3 .*: '
            r'set model\.backbone\.num_tokens=3$',
        ),
        (
            'model["head"]["num_classes"] = 5',
            'model.pth',
            'checkpoint model.pth .* exactly .* size mismatch .* head.fc.weight',
        ),
        ('', 'missing.pth', '^missing.pth can not be found'),
        (
            '',
            'lightvit://x',
            "^The checkpoint lightvit://x cannot be used: 'lightvit://x' should be one",
        ),
        ('', 'text.png', '^text.png is not a PyTorch checkpoint: it starts with'),
        ('', 'empty.png', '^empty.png is not a PyTorch checkpoint: it starts with'),
    ],
)
def test_checkpoint_that_does_not_fit_is_an_error(folder, change, checkpoint, message):
    write_model('mmpretrain')
    Path('config.py').write_text(CONFIGS['mmpretrain'] + change)
    with pytest.raises(InferenceError, match=message) as error:
        load_trained(Config.fromfile('config.py'), checkpoint)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'change',
    [
        'test_dataloader = None',
        'test_dataloader = dict(dataset=dict(datasets=[]))',
    ],
)
def test_config_without_pipeline_is_an_error(folder, change):
    cfg, model = write_model('mmpretrain', change)
    with pytest.raises(InferenceError, match='no test_dataloader.dataset.pipe'):
        network_input(model, cfg, 'photo.png')
