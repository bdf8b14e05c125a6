"""test.py tests the averaged weights of EMAHook, as validation does."""

import os
import runpy
import sys
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from mmengine.runner import Runner

from lightvit_mm.engine.distributed import leave_process_group
from lightvit_mm.publish.publish import publish

from .. import small
from ..processes import free_port

pytest.importorskip('mmpretrain')
pytestmark = pytest.mark.usefixtures('new_run')

TEST = Path(__file__).parents[2] / 'tools/test.py'


@pytest.fixture(autouse=True, scope='module')
def quick_start():
    """A runner asks compilers for their versions, which takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.runner.runner.collect_env', dict)
        yield


@METRICS.register_module()
class SumOfScores(BaseMetric):
    """Squared scores, summed over images and classes: any weight changes them."""

    default_prefix = 'scores'
    found: ClassVar[list[float]] = []

    def process(self, data_batch, data_samples):
        self.results += [x['pred_score'].square().sum().item() for x in data_samples]

    def compute_metrics(self, results):
        SumOfScores.found.append(sum(results))
        return dict(sum=sum(results))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A config of two images, its checkpoint, and what validation measured."""
    folder = tmp_path_factory.mktemp('averaged')
    for name in 'ab':
        (folder / 'data' / name).mkdir(parents=True)
        image = np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)
        assert cv2.imwrite(f'{folder}/data/{name}/0.png', image)
    cfg = small.classifier(num_classes=2)
    pipeline = [
        small.LOAD,
        dict(type='CenterCrop', crop_size=32),
        dict(type='PackInputs'),
    ]
    dataset = dict(type='CustomDataset', data_root=f'{folder}/data', pipeline=pipeline)
    loader = dict(
        batch_size=2,
        num_workers=0,
        persistent_workers=False,
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    cfg.merge_from_dict(
        dict(
            work_dir=f'{folder}/work',
            **{f'{split}_dataloader': loader for split in ('train', 'val', 'test')},
            train_cfg=dict(by_epoch=True, max_epochs=3, val_interval=3),
            val_cfg=dict(),
            test_cfg=dict(),
            val_evaluator=dict(type='SumOfScores'),
            test_evaluator=dict(type='SumOfScores'),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0)),
            custom_hooks=[dict(type='mmengine.EMAHook', momentum=0.3)],
            randomness=dict(seed=0),
        )
    )
    cfg.dump(folder / 'config.py')
    SumOfScores.found.clear()
    Runner.from_cfg(cfg).train()
    return folder, SumOfScores.found[-1]


def measure(folder, hook=None, content=None, options=()):
    """What test.py measures on a checkpoint."""
    cfg = Config.fromfile(folder / 'config.py')
    cfg.custom_hooks = [] if hook is None else [hook]
    cfg.dump(folder / 'tested.py')
    if content is None:
        content = saved(folder)
    torch.save(content, folder / 'tested.pth')
    return run_test(folder / 'tested.py', folder / 'tested.pth', options)


def run_test(config, checkpoint, options=()):
    SumOfScores.found.clear()
    with pytest.MonkeyPatch.context() as patch:
        arguments = map(str, (TEST, config, checkpoint))
        patch.setattr(sys, 'argv', [*arguments, *options])
        runpy.run_path(str(TEST))['main']()
    return SumOfScores.found[:]


def saved(folder):
    return torch.load(folder / 'work/epoch_3.pth', weights_only=False)


def averaged(folder):
    return dict(state_dict=saved(folder)['state_dict'])


def last_step(folder):
    """The weights that EMAHook averages."""
    weights = saved(folder)['ema_state_dict']
    names = {name.removeprefix('module.'): name for name in weights}
    return dict(
        state_dict={
            short: weights[name] for short, name in names.items() if short != name
        }
    )


MMENGINE = dict(type='mmengine.EMAHook', momentum=0.3)
MMPRETRAIN = dict(type='mmpretrain.EMAHook', momentum=0.3)


@pytest.mark.parametrize('options', [[], ['--tta']])
def test_the_average_is_tested(trained, options):
    folder, validated = trained
    expected = measure(folder, None, averaged(folder), options)
    other = measure(folder, None, last_step(folder), options)
    assert abs(expected[0] - other[0]) > 1e-4
    if not options:
        assert expected == [validated]
    for hook in (MMENGINE, MMPRETRAIN):
        assert measure(folder, hook, None, options) == expected
        # A published checkpoint has only the average.
        assert measure(folder, hook, averaged(folder), options) == expected


def test_mmpretrains_hook_tests_what_it_validates(trained):
    folder, _ = trained
    average = measure(folder, None, averaged(folder))
    original = measure(folder, None, last_step(folder))
    hook = dict(MMPRETRAIN, evaluate_on_origin=True)
    assert measure(folder, hook) == average + original
    hook = dict(hook, evaluate_on_ema=False)
    assert measure(folder, hook) == original


@pytest.mark.parametrize('hook', [None, MMENGINE, MMPRETRAIN])
def test_the_average_is_published(trained, hook, tmp_path):
    """With what validation has logged."""
    for package in ('huggingface_hub', 'safetensors'):
        pytest.importorskip(package)
    folder, validated = trained
    cfg = Config.fromfile(folder / 'config.py')
    cfg.custom_hooks = [] if hook is None else [hook]
    out = tmp_path / 'published'
    metrics = publish(cfg, folder / 'work/epoch_3.pth', out)
    assert metrics == {'scores/sum': validated}
    assert 'averaged by EMAHook' in (out / 'README.md').read_text()
    options = ['--work-dir', str(tmp_path / 'work')]
    assert run_test(out, out, options) == [validated]


def test_weights_that_were_validated_are_published(trained, tmp_path):
    for package in ('huggingface_hub', 'safetensors'):
        pytest.importorskip(package)
    folder, _ = trained
    hook = dict(MMPRETRAIN, evaluate_on_ema=False)
    cfg = Config.fromfile(folder / 'config.py')
    cfg.custom_hooks = [hook]
    out = tmp_path / 'published'
    publish(cfg, folder / 'work/epoch_3.pth', out)
    assert 'averaged by EMAHook' not in (out / 'README.md').read_text()
    options = ['--work-dir', str(tmp_path / 'work')]
    assert run_test(out, out, options) == measure(folder, hook)


def test_the_average_is_tested_in_a_process_group(trained, monkeypatch):
    folder, validated = trained
    for name, value in dict(
        RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1'
    ).items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv('MASTER_PORT', free_port())
    try:
        assert measure(folder, MMENGINE, None, ['--launcher', 'pytorch']) == [validated]
    finally:
        leave_process_group()
        os.environ.pop('LOCAL_RANK', None)


def test_weights_that_do_not_fit_are_not_averaged(trained):
    folder, _ = trained
    content = saved(folder)
    del content['state_dict']['head.fc.bias']
    with pytest.raises((RuntimeError, SystemExit), match='head.fc.bias'):
        measure(folder, MMENGINE, content)


def test_a_run_that_trains_and_tests_keeps_its_average(trained):
    folder, _ = trained
    cfg = Config.fromfile(folder / 'config.py')
    cfg.work_dir = str(folder / 'both')
    cfg.experiment_name = 'both'
    runner = Runner.from_cfg(cfg)
    runner.train()
    validated = SumOfScores.found[-1]
    runner.test()
    assert SumOfScores.found[-1] == validated
