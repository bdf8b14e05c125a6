"""Layer-wise learning rates."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import LinearLR, build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from lightvit_mm import LightViT

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
FINETUNE = CONFIGS / 'finetune_lightvit_t.py'


def layer_decay(**options):
    return dict(
        constructor='lightvit_mm.LayerDecayOptimWrapperConstructor',
        optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.05),
        paramwise_cfg=dict(layer_decay_rate=0.75, **options),
    )


def settings(model, optim_wrapper):
    """The group of each parameter that is trained."""
    groups = {
        parameter: group
        for group in optim_wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    return {name: groups[p] for name, p in model.named_parameters() if p.requires_grad}


def plain_depth(name):
    """Depth in LightViT-T: a stem, 2 + 6 + 6 blocks, and all behind them."""
    parts = name.split('.')
    if parts[0] != 'backbone':
        return 15
    if parts[1] in ('global_token', 'patch_embed'):
        return 0
    if parts[1] != 'stages':
        return 15
    # The later stages start with a merging, of the depth of the first block.
    stage, layer = int(parts[2]), int(parts[3])
    return {0: [1, 2], 1: [3, 3, 4, 5, 6, 7, 8], 2: [9, 9, 10, 11, 12, 13, 14]}[stage][
        layer
    ]


def assert_decays(groups):
    assert {plain_depth(name) for name in groups} == set(range(16))
    for name, group in groups.items():
        expected = 0.1 * 0.75 ** (15 - plain_depth(name))
        assert group['lr'] == pytest.approx(expected), name


SEGMENTOR = dict(
    type='EncoderDecoder',
    backbone=dict(type='lightvit_mm.LightViT', arch='tiny'),
    neck=dict(
        type='lightvit_mm.LightViTFPN',
        in_channels=[64, 128, 256],
        out_channels=16,
        num_outs=4,
    ),
    decode_head=dict(
        type='FPNHead',
        in_channels=[16] * 4,
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=16,
        num_classes=3,
    ),
    test_cfg=dict(mode='whole'),
)


@pytest.mark.parametrize(
    'scope, model',
    [
        ('mmpretrain', CONFIGS / 'lightvit_t_8xb128_in1k.py'),
        ('mmdet', CONFIGS / 'mask_rcnn_lightvit_t_1x.py'),
        ('mmseg', SEGMENTOR),
    ],
    ids=['classifier', 'detector', 'segmentor'],
)
def test_learning_rate_falls_with_depth(scope, model):
    pytest.importorskip(scope)
    if isinstance(model, Path):
        model = Config.fromfile(model).model
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(model)
        optim_wrapper = build_optim_wrapper(model, layer_decay())
    groups = settings(model, optim_wrapper)
    assert any(not name.startswith('backbone.') for name in groups)
    assert_decays(groups)


def test_the_log_shows_one_table(monkeypatch):
    pytest.importorskip('mmseg')
    messages = []
    monkeypatch.setattr(
        'lightvit_mm.engine.layer_decay.print_log',
        lambda message, logger: messages.append(message),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(SEGMENTOR)
        model.backbone.global_token.requires_grad_(False)
        # A bias has twice the rate, so layers with biases have two.
        wrapper = build_optim_wrapper(model, layer_decay(bias_lr_mult=2))
    [message] = messages
    rows = [line.split(maxsplit=2) for line in message.splitlines()[2:]]
    trained = settings(model, wrapper)
    for (layer, count, shown), depth in zip(rows, range(16), strict=True):
        of_layer = [x['lr'] for k, x in trained.items() if plain_depth(k) == depth]
        assert (int(layer), int(count)) == (depth, len(of_layer))
        assert [float(x) for x in shown.split(' to ')] == pytest.approx(
            sorted({min(of_layer), max(of_layer)}), rel=5e-3
        )


def test_nothing_need_be_imported_before():
    """In the scope of a library, as in its own tools/train.py."""
    pytest.importorskip('mmpretrain')
    code = (
        """
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn
init_default_scope('mmpretrain')
model = nn.Module()
model.backbone = MODELS.build(dict(type='lightvit_mm.LightViT', arch='tiny'))
"""
        + f'wrapper = build_optim_wrapper(model, {layer_decay()})\n'
        + "print(min(g['lr'] for g in wrapper.optimizer.param_groups))"
    )
    lowest = subprocess.run(
        [sys.executable, '-c', code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[-1]
    assert float(lowest) == pytest.approx(0.1 * 0.75**15)


@pytest.mark.parametrize(
    'backbone',
    [
        dict(type='lightvit_mm.LightViT', arch='tiny', out_indices=(0, 1)),
        dict(type='SwinTransformer', arch='tiny'),
    ],
    ids=lambda backbone: backbone['type'],
)
def test_agrees_with_mmpretrains_constructor_in_a_classifier(backbone):
    pytest.importorskip('mmpretrain')
    options = dict(
        layer_decay(norm_decay_mult=0.0),
        constructor='LearningRateDecayOptimWrapperConstructor',
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(
            dict(
                type='ImageClassifier',
                backbone=backbone,
                head=dict(type='LinearClsHead', num_classes=2, in_channels=4),
            )
        )
        expected = settings(model, build_optim_wrapper(model, options))
        groups = settings(
            model, build_optim_wrapper(model, layer_decay(norm_decay_mult=0.0))
        )
    for name, group in groups.items():
        assert group['lr'] == pytest.approx(expected[name]['lr']), name
        assert group['weight_decay'] == expected[name]['weight_decay'], name


class Toy(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(1, 1)


@pytest.fixture
def toy():
    return Toy(LightViT('tiny', frozen_stages=0))


def test_mmengines_options_still_work(toy):
    optim_wrapper = build_optim_wrapper(
        toy,
        layer_decay(
            norm_decay_mult=0.0,
            bias_lr_mult=2.0,
            custom_keys={'backbone.stages.1': dict(lr_mult=0.1)},
        ),
    )
    groups = settings(toy, optim_wrapper)
    assert len(groups) == len(optim_wrapper.optimizer.param_groups)
    for name, group in groups.items():
        lr = 0.1 * 0.75 ** (15 - plain_depth(name))
        decay = 0.05
        if name.startswith('backbone.stages.1.'):
            lr *= 0.1
        elif 'norm' in name:
            decay = 0.0
        elif name.endswith('.bias'):
            lr *= 2
        assert group['lr'] == pytest.approx(lr), name
        assert group['weight_decay'] == decay, name


def test_distributed_model(tmp_path):
    torch.distributed.init_process_group(
        'gloo', f'file://{tmp_path}/store', rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(Toy(LightViT('tiny')))
        optim_wrapper = build_optim_wrapper(wrapped, layer_decay())
        assert_decays(settings(wrapped.module, optim_wrapper))
    finally:
        torch.distributed.destroy_process_group()


def test_schedulers_keep_the_ratios(toy):
    optim_wrapper = build_optim_wrapper(toy, layer_decay())
    LinearLR(optim_wrapper, start_factor=0.5, end=10)
    groups = settings(toy, optim_wrapper)
    assert groups['head.weight']['lr'] == pytest.approx(0.05)
    assert groups['backbone.stages.2.1.norm1.bias']['lr'] == pytest.approx(
        0.05 * 0.75**6
    )


@pytest.mark.parametrize(
    'change, error, message',
    [
        (dict(decay_rate=0.75), TypeError, 'decay_rate; it takes layer_decay_r'),
        (dict(layer_decay_rate=None), ValueError, r'layer_decay_rate in \(0, 1\]'),
        (dict(layer_decay_rate=0), ValueError, 'and has 0'),
        (dict(layer_decay_rate=1.5), ValueError, 'and has 1.5'),
    ],
)
def test_bad_options_say_what_would_be_right(toy, change, error, message):
    cfg = layer_decay()
    cfg['paramwise_cfg'].update(change)
    with pytest.raises(error, match=message):
        build_optim_wrapper(toy, cfg)


def test_options_are_needed(toy):
    cfg = layer_decay()
    del cfg['paramwise_cfg']
    with pytest.raises(ValueError, match='needs a layer_decay_rate'):
        build_optim_wrapper(toy, cfg)


@pytest.mark.parametrize(
    'model, message',
    [
        (Toy(nn.Linear(1, 1)), 'backbone of Toy is of type Linear'),
        (nn.Linear(1, 1), 'backbone of Linear is of type NoneType'),
    ],
    ids=['other backbone', 'no backbone'],
)
def test_backbone_without_depths_is_an_error(model, message):
    with pytest.raises(TypeError, match=message):
        build_optim_wrapper(model, layer_decay())


# Folders of classes
