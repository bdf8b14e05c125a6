"""DeepSpeed, as far as it can be tested where it is not installed."""

import inspect
from pathlib import Path

import pytest
import torch
from mmengine._strategy import DeepSpeedStrategy as MMEngineDeepSpeedStrategy
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import STRATEGIES
from torch import nn

from lightvit_mm.engine.deepspeed import DeepSpeedStrategy
from lightvit_mm.trained import build_model

from .. import small

CONFIG = Path(__file__).parents[2] / 'configs/_base_/deepspeed.py'
OPTIM_WRAPPER = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)


def test_the_config_has_options_of_mmengine():
    cfg = Config.fromfile(CONFIG)
    strategy = cfg.strategy.to_dict()
    assert cfg.runner_type == 'FlexibleRunner'
    assert STRATEGIES.get(strategy.pop('type')) is DeepSpeedStrategy
    assert set(strategy) < set(inspect.signature(MMEngineDeepSpeedStrategy).parameters)


def test_a_missing_deepspeed_is_named_with_the_command_that_installs_it():
    with pytest.raises(ModuleNotFoundError, match='pip install "deepspeed<0.19"'):
        STRATEGIES.build(dict(Config.fromfile(CONFIG).strategy))


@pytest.fixture
def strategy():
    """A strategy of two processes with two images each."""
    strategy = object.__new__(DeepSpeedStrategy)
    strategy.config = {}
    strategy.dispatch_kwargs = dict(train_micro_batch_size_per_gpu=2)
    strategy._world_size = 2
    strategy._auto_scale_lr = dict(enable=True, base_batch_size=16)
    strategy.logger = MMLogger.get_current_instance()
    return strategy


def test_it_takes_the_optimizer_settings_of_any_config(strategy):
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 4))
    wrapper = strategy.build_optim_wrapper(ConfigDict(OPTIM_WRAPPER), model)
    assert type(wrapper).__name__ == 'DeepSpeedOptimWrapper'
    assert strategy.config == dict(gradient_clipping=5.0)
    groups = wrapper.optimizer.param_groups
    decays = {
        parameter: group['weight_decay']
        for group in groups
        for parameter in group['params']
    }
    assert len(groups) == 2
    assert decays == {
        parameter: 0.0 if name.startswith('1.') else 0.05
        for name, parameter in model.named_parameters()
    }
    assert {group['lr'] for group in groups} == {1e-3 / 4}


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(type='AmpOptimWrapper'), 'strategy.bf16.enabled=True'),
        (dict(clip_grad=dict(type='value', clip_value=1)), 'supports only max_norm'),
    ],
)
def test_what_it_would_ignore_is_refused(strategy, settings, message):
    with pytest.raises(ValueError, match=message):
        strategy.build_optim_wrapper(
            ConfigDict({**OPTIM_WRAPPER, **settings}), nn.Linear(2, 2)
        )


def test_load_from_is_refused_with_what_works(strategy):
    with pytest.raises(ValueError, match='model.init_cfg.checkpoint=w.pth'):
        strategy.load_checkpoint('w.pth')


def test_load_from_can_be_replaced_as_the_error_says(tmp_path):
    cfg = small.classifier()
    saved = small.build(cfg).state_dict()
    torch.save(dict(state_dict=saved), tmp_path / 'w.pth')
    cfg.merge_from_dict(
        {
            'model.init_cfg.type': 'Pretrained',
            'model.init_cfg.checkpoint': str(tmp_path / 'w.pth'),
        }
    )
    model = build_model(cfg)
    model.init_weights()
    assert all(value.equal(saved[name]) for name, value in model.state_dict().items())
