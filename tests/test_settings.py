"""Settings that mmengine accepts with any value."""

import pytest
from mmengine.config import Config

from lightvit_mm import cli
from lightvit_mm.settings import check_settings

GOOD = dict(
    train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
    default_hooks=dict(
        checkpoint=dict(type='CheckpointHook', interval=1, filename_tmpl='e{:03d}.pth')
    ),
    optim_wrapper=dict(
        optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=1)
    ),
    train_dataloader=dict(sampler=dict(type='DefaultSampler', shuffle=True)),
    randomness=dict(seed=0, deterministic=False),
    log_level='INFO',
)


def config(**options):
    cfg = Config(GOOD)
    cfg.merge_from_dict(options)
    return cfg


@pytest.mark.parametrize(
    'option, value, expected',
    [
        ('train_cfg.val_interval', -1, 'a whole number >= 1'),
        ('train_cfg.val_interval', 1.5, 'a whole number >= 1'),
        ('train_cfg.max_epochs', 0, 'a whole number >= 1'),
        ('train_cfg.max_epochs', -3, 'a whole number >= 1'),
        ('train_cfg.max_iters', 0, 'a whole number >= 1'),
        ('train_cfg.by_epoch', 'maybe', 'True or False'),
        ('default_hooks.checkpoint.interval', 0, 'a whole number >= 1, or -1 to save'),
        ('default_hooks.checkpoint.interval', -2, 'a whole number >= 1, or -1 to save'),
        (
            'default_hooks.checkpoint.interval',
            0.5,
            'a whole number >= 1, or -1 to save',
        ),
        (
            'default_hooks.checkpoint.max_keep_ckpts',
            0,
            'a whole number >= 1, or -1 for',
        ),
        ('default_hooks.checkpoint.filename_tmpl', 'ckpt.pth', 'a name with {} in'),
        ('default_hooks.checkpoint.filename_tmpl', 'a}_{}.pth', 'a name with {} in'),
        ('optim_wrapper.clip_grad.max_norm', 0, 'a number above 0'),
        ('optim_wrapper.clip_grad.max_norm', -1, 'a number above 0'),
        ('optim_wrapper.optimizer.lr', 'fast', 'a finite number, or None'),
        ('optim_wrapper.optimizer.lr', float('inf'), 'a finite number, or None'),
        ('train_dataloader.sampler.shuffle', 'perhaps', 'True or False'),
        ('randomness.seed', -1, 'an integer >= 0 and <= 4294967295, or None'),
        ('randomness.seed', 'abc', 'an integer >= 0 and <= 4294967295, or None'),
        ('randomness.seed', 1.5, 'an integer >= 0 and <= 4294967295, or None'),
        ('randomness.deterministic', 'perhaps', 'True or False'),
        ('log_level', 'LOUD', 'DEBUG, INFO, WARNING, ERROR or CRITICAL'),
    ],
)
def test_a_wrong_value_is_named_before_the_runner_is_built(option, value, expected):
    place, _, name = option.rpartition('.')
    with pytest.raises(ValueError) as error:
        cli.build_runner(config(**{option: value}))
    message = f'{place or "config"}: {name}={value!r} should be {expected}'
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    'option, value',
    [
        ('default_hooks.checkpoint.interval', -1),
        ('default_hooks.checkpoint.filename_tmpl', None),
        ('default_hooks.checkpoint', None),
        ('default_hooks', None),
        # It measures the norm and clips nothing.
        ('optim_wrapper.clip_grad.max_norm', float('inf')),
        ('optim_wrapper.clip_grad', None),
        ('randomness.seed', None),
        ('log_level', 10),
        ('train_cfg.val_interval', 82512.0),
        # Other classes may have other rules.
        ('train_cfg', dict(type='users.Loop', max_epochs=-1)),
        ('train_dataloader.sampler', dict(type='users.Sampler', shuffle='by size')),
    ],
)
def test_other_values_are_left_to_mmengine(option, value):
    check_settings(config(**{option: value}))


def test_the_settings_of_the_test_are_right():
    check_settings(config())
