"""FSDP trains as DDP does, in two processes on a CPU."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import STRATEGIES

from ..processes import NO_WORKERS, cfg_options, check, free_port
from .short_runs import write_data

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')

ROOT = Path(__file__).parents[2]

# Of the change of all weights. Rounding leaves 4e-8 or less.
TOLERANCE = 1e-6


@pytest.fixture(
    scope='module',
    params=[
        pytest.param(('classifier', {}), marks=pytest.mark.slow),
        pytest.param(('detector', {}), marks=pytest.mark.torture),
        pytest.param(('segmentor', {}), marks=pytest.mark.torture),
        pytest.param(
            ('classifier', {'model.backbone.frozen_stages': 1}),
            marks=pytest.mark.torture,
        ),
        pytest.param(
            ('detector', {'model.backbone.with_cp': True}), marks=pytest.mark.torture
        ),
        pytest.param(
            ('classifier', {'optim_wrapper.accumulative_counts': 2}),
            marks=pytest.mark.torture,
        ),
    ],
    ids=lambda param: '-'.join([param[0], *param[1]]),
)
def folder(request, tmp_path_factory):
    """The folder of all runs of sharded_runs."""
    task, settings = request.param
    folder = tmp_path_factory.mktemp('sharded')
    write_data(folder)
    check(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2'),
            *('--master_port', free_port(), '-m', 'tests.engine.sharded_runs'),
            *(task, folder, folder, json.dumps(settings)),
        ],
        ROOT,
    )
    return folder


def last_of(folder, name):
    return torch.load(folder / name / 'iter_4.pth', weights_only=False)


def distance(one, other):
    """Euclidean distance of all weights and statistics."""
    assert one.keys() == other.keys()
    squares = [
        (one[name].double() - other[name].double()).square().sum()
        for name in one
        if one[name].is_floating_point()
    ]
    return sum(squares).sqrt().item()


def deviation(folder, name):
    initial = torch.load(folder / 'initial_0.pth')['state_dict']
    ddp = last_of(folder, 'ddp')['state_dict']
    return distance(last_of(folder, name)['state_dict'], ddp) / distance(ddp, initial)


def test_weights_equal_those_of_ddp(folder):
    assert deviation(folder, 'fsdp') < TOLERANCE


@pytest.mark.parametrize('wrong', ['clip_each_part', 'decay_each_part'])
def test_wrong_strategies_are_outside_the_tolerance(folder, wrong):
    assert deviation(folder, wrong) > 1000 * TOLERANCE


def test_the_processes_share_what_each_holds_with_ddp(folder):
    ddp, *fsdp = (
        int((folder / path).read_text())
        for path in ('ddp/count_0.txt', 'fsdp/count_0.txt', 'fsdp/count_1.txt')
    )
    assert sum(fsdp) == pytest.approx(ddp, rel=0.01)
    # Frozen weights, which have no optimizer state, make the parts uneven.
    assert max(fsdp) < 0.55 * ddp


def test_a_resumed_run_gives_the_same_weights_and_optimizer_state(folder):
    one, other = (last_of(folder, name) for name in ('whole', 'resumed'))
    assert distance(one['state_dict'], other['state_dict']) == 0
    one, other = (content['optimizer']['state'] for content in (one, other))
    assert one and one.keys() == other.keys()
    for name, state in one.items():
        for key, value in state.items():
            assert value.equal(other[name][key]), (name, key)


@pytest.mark.slow
def test_the_tools_train_and_test_any_config_with_fsdp(digits, tmp_path, monkeypatch):
    config = tmp_path / 'sharded.py'
    config.write_text(
        f"_base_ = ['{ROOT}/configs/demo/lightvit_t_digits.py', "
        f"'{ROOT}/configs/_base_/fsdp.py']\n"
        f"data = dict(dataset=dict(data_root='{digits}/classification/val', "
        'indices=list(range(0, 360, 45))), batch_size=2)\n'
        'train_dataloader = val_dataloader = test_dataloader = data\n'
        'param_scheduler = None\n'
        'auto_scale_lr = dict(enable=True, base_batch_size=16)\n'
    )
    options = {
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1,
        'default_hooks.checkpoint.interval': 1,
        **NO_WORKERS,
    }
    log = check(
        [
            *(ROOT / 'tools/dist_train.sh', config, 2, '--work-dir', 'out'),
            *cfg_options(options),
        ],
        tmp_path,
        PORT=free_port(),
    )
    assert 'Scaling the original LR by 0.25' in log
    (trained,) = re.findall(r'Epoch\(val\) .* accuracy/top1: ([\d.]+)', log)
    # In this process, because starting another takes longer than the test.
    words = [str(config), str(tmp_path / 'out/epoch_1.pth'), *cfg_options(NO_WORKERS)]
    monkeypatch.setattr(
        'sys.argv', ['test.py', *words, '--work-dir', str(tmp_path / 'tested')]
    )
    runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')
    (results,) = (tmp_path / 'tested').glob('*/*.json')
    tested = json.loads(results.read_text())['accuracy/top1']
    assert tested == pytest.approx(float(trained), abs=1e-3)


def test_a_run_without_a_launcher_is_refused(tmp_path):
    strategy = dict(
        type='lightvit_mm.FSDPStrategy',
        work_dir=str(tmp_path),
        env_kwargs=dict(launcher='none'),
    )
    with pytest.raises(ValueError, match=r'use tools/dist_train\.sh'):
        STRATEGIES.build(strategy)


@pytest.mark.parametrize(
    'hooks, message',
    [
        ("custom_hooks = [dict(type='EMAHook')]", 'remove one of them'),
        ("custom_hooks = [dict(type='mmpretrain.EMAHook')]", 'remove one of them'),
        ("default_hooks = dict(checkpoint=dict(save_best='auto'))", 'save_best'),
    ],
)
def test_hooks_that_would_fail_are_refused(tmp_path, monkeypatch, hooks, message):
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = '{ROOT}/configs/large_scale/mask_rcnn_lightvit_s_1x_fsdp.py'\n"
        + hooks
    )
    monkeypatch.setattr('sys.argv', ['train.py', str(config)])
    with pytest.raises(SystemExit, match=message):
        runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')
