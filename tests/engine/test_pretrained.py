"""Other weights to start from, or none."""

import copy
import functools
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import save_checkpoint

from lightvit_mm.engine.pretrained import set_pretrained
from lightvit_mm.nested import walk
from lightvit_mm.trained import build_model

from ..small import classifier

ROOT = Path(__file__).parents[2]
CONFIGS = [
    'finetune_lightvit_t',
    'finetune_mask_rcnn_lightvit_t',
    'finetune_faster_rcnn_lightvit_t',
    'finetune_semantic_fpn_lightvit_t',
    'retinanet_lightvit_t_1x',
    'dino_lightvit_t_12e',
]

read = functools.lru_cache(maxsize=None)(Config.fromfile)


def config(name):
    return copy.deepcopy(read(ROOT / f'configs/{name}.py'))


@pytest.mark.parametrize('name', CONFIGS)
@pytest.mark.parametrize('nothing', [None, False])
def test_without_weights_nothing_is_loaded_and_all_learn_alike(name, nothing):
    cfg = config(name)
    pytest.importorskip(cfg.default_scope)
    set_pretrained(cfg, nothing)
    assert 'lightvit://' not in str(cfg.model)
    model = build_model(cfg)
    model.init_weights()
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    rates = {group['lr'] for group in wrapper.optimizer.param_groups}
    assert rates == {cfg.optim_wrapper.optimizer.lr}


def test_with_weights_the_stem_learns_more_slowly():
    """What the last test would miss otherwise."""
    cfg = config('finetune_lightvit_t')
    set_pretrained(cfg, True)
    assert cfg.to_dict() == config('finetune_lightvit_t').to_dict()
    model = build_model(cfg)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    rates = [group['lr'] for group in wrapper.optimizer.param_groups]
    assert max(rates) / min(rates) == pytest.approx(0.75**-15)


@pytest.mark.parametrize(
    'name, number', [(CONFIGS[0], 2), *((x, 1) for x in CONFIGS[1:])]
)
def test_an_address_replaces_all_weights(name, number):
    cfg = config(name)
    set_pretrained(cfg, 'lightvit://other')
    found = [node.checkpoint for node in walk(cfg.model) if 'checkpoint' in node]
    assert found == ['lightvit://other'] * number


def test_a_trained_classifier_gives_backbone_and_neck(tmp_path):
    """From its own checkpoint; the head of another number of classes stays new."""
    pytest.importorskip('mmpretrain')
    trained = build_model(classifier(num_classes=5))
    path = tmp_path / 'trained.pth'
    save_checkpoint(dict(state_dict=trained.state_dict(), meta={}), str(path))
    cfg = classifier(num_classes=3)
    for part in ('backbone', 'neck'):
        cfg.model[part].init_cfg = dict(
            type='Pretrained', checkpoint='lightvit://tiny-in1k', prefix=f'{part}.'
        )
    set_pretrained(cfg, str(path))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
    model.init_weights()
    weights = trained.state_dict()
    for name, value in model.state_dict().items():
        if not name.startswith('head.'):
            assert torch.equal(value, weights[name]), name


def test_bad_values_are_named():
    with pytest.raises(ValueError, match='pretrained=3 should be True, None for'):
        set_pretrained(config(CONFIGS[0]), 3)
    cfg = config(CONFIGS[1])
    cfg.model.backbone.init_cfg = None
    with pytest.raises(ValueError, match="'x.pth' replaces .*model has none"):
        set_pretrained(cfg, 'x.pth')
