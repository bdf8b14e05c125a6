"""The tools as a user calls them: one process, two, killed, and misused."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lightvit_mm import cli

from .processes import check, environment, free_port, run

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')

ROOT = Path(__file__).parents[1]
TRAIN = [sys.executable, str(ROOT / 'tools/train.py')]
TEST = [sys.executable, str(ROOT / 'tools/test.py')]

DETECTOR = """
_base_ = '{root}/configs/mask_rcnn_lightvit_t_1x.py'
data = dict(
    data_root='{data}/detection/',
    metainfo=dict(classes=tuple('0123456789')))
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(
        ann_file='train.json', data_prefix=dict(img='train/'), **data))
val_dataloader = dict(
    num_workers=0, persistent_workers=False,
    dataset=dict(ann_file='val.json', data_prefix=dict(img='val/'), **data))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='{data}/detection/val.json')
test_evaluator = val_evaluator
model = dict(
    backbone=dict(init_cfg=None),
    roi_head=dict(
        bbox_head=dict(num_classes=10, fc_out_channels=32),
        mask_head=dict(num_classes=10, num_convs=1)),
    train_cfg=dict(
        rpn_proposal=dict(max_per_img=100),
        rcnn=dict(sampler=dict(num=32))))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(96, 96)),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
for dataloader in (train_dataloader, val_dataloader):
    dataloader['dataset']['pipeline'] = pipeline
default_hooks = dict(logger=dict(interval=1))
randomness = dict(seed=0)
"""


@pytest.fixture
def config(digits, tmp_path):
    """The COCO config on a data set of one's own, in a foreign folder."""
    path = tmp_path / 'detector.py'
    path.write_text(DETECTOR.format(root=ROOT, data=digits))
    return path


def scalars(work_dir):
    log = next(Path(work_dir).glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in log.read_text().splitlines()]


def weights(path):
    return torch.load(path, weights_only=False)['state_dict']


def test_a_detector_trains_is_tested_and_drawn(config, tmp_path):
    options = ['--cfg-options', 'train_cfg.max_epochs=1']
    log = check([*TRAIN, config, *options], tmp_path)
    # Four of the paper's batches of 16 would be 4 iterations of 2 here.
    assert (
        'LR is set based on batch size of 16 and the current batch size '
        'is 2. Scaling the original LR by 0.125.' in log
    )
    work_dir = tmp_path / 'work_dirs/detector'
    lines = scalars(work_dir)
    assert len([line for line in lines if 'loss_mask' in line]) == 4
    assert 'coco/segm_mAP' in lines[-1] or 'empty' in log

    log = check(
        [
            *TEST,
            config,
            work_dir / 'epoch_1.pth',
            '--show-dir',
            'drawn',
            '--out',
            'predictions.pkl',
            '--cfg-options',
            'model.test_cfg.rcnn.score_thr=0.0',
        ],
        tmp_path,
    )
    assert re.search(r'coco/bbox_mAP_50: \d', log)
    assert len(list(tmp_path.glob('work_dirs/**/drawn/*.jpg'))) == 4
    assert (tmp_path / 'predictions.pkl').stat().st_size > 1000


def test_weights_that_do_not_fit_are_not_tested(config, tmp_path):
    torch.save(dict(state_dict=dict(weight=torch.zeros(1))), tmp_path / 'other.pth')
    done = run([*TEST, config, 'other.pth'], tmp_path)
    assert done.returncode and 'do not fit this LightViT' in done.stdout
    assert 'mAP' not in done.stdout


def test_training_killed_in_an_epoch_resumes_from_its_checkpoint(config, tmp_path):
    options = ['--cfg-options', 'train_cfg.max_epochs=3', 'train_cfg.val_interval=9']
    process = subprocess.Popen(
        [*TRAIN, str(config), *options],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in process.stdout:
        if 'Epoch(train) [2][2/4]' in line:
            os.kill(process.pid, signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL, 'it ended before it was killed'
    work_dir = tmp_path / 'work_dirs/detector'
    assert [path.name for path in work_dir.glob('*.pth')] == ['epoch_1.pth']
    killed = weights(work_dir / 'epoch_1.pth')
    time.sleep(1)  # folders of logs are named by the second

    log = check([*TRAIN, config, '--resume', *options], tmp_path)
    assert 'resumed epoch: 1, iter: 4' in log
    epochs = re.findall(r'Epoch\(train\) \[(\d)\]\[(\d)/4\]', log)
    assert epochs == [(e, i) for e in '23' for i in '1234']
    final = torch.load(work_dir / 'epoch_3.pth', weights_only=False)
    steps = {s['step'].item() for s in final['optimizer']['state'].values()}
    assert steps == {12}
    assert not torch.equal(
        final['state_dict']['backbone.global_token'], killed['backbone.global_token']
    )


DUMP_HOOK = '''
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS


@HOOKS.register_module()
class DumpEachRank(Hook):
    """Saves what every process has before and after training."""

    def before_train(self, runner):
        self.dump(runner, 'before')

    def after_train(self, runner):
        self.dump(runner, 'after')
        backbone = runner.model.module.backbone.train()
        image = torch.randn(4, 3, 64, 64)
        twice = zip(backbone(image), backbone(image))
        torch.save([torch.equal(*outs) for outs in twice],
                   f'repeats_{runner.rank}.pth')

    def dump(self, runner, when):
        model = runner.model
        assert is_model_wrapper(model) and not model.find_unused_parameters
        torch.save(model.module.state_dict(), f'{when}_{runner.rank}.pth')
'''


@pytest.mark.parametrize('frozen_stages', [-1, 1])
def test_two_processes_train_the_same_parameters(config, tmp_path, frozen_stages):
    (tmp_path / 'dump_hook.py').write_text(DUMP_HOOK)
    config.write_text(
        config.read_text()
        + """
custom_imports = dict(imports=['lightvit_mm', 'dump_hook'])
custom_hooks = [dict(type='DumpEachRank')]
"""
    )
    log = check(
        [
            ROOT / 'tools/dist_train.sh',
            config,
            2,
            '--cfg-options',
            'train_cfg.max_epochs=1',
            'train_cfg.val_interval=9',
            f'model.backbone.frozen_stages={frozen_stages}',
            'model.backbone.drop_path_rate=0.5',
        ],
        tmp_path,
        PORT=free_port(),
        PYTHONPATH=str(tmp_path),
    )
    assert 'Scaling the original LR by 0.25' in log
    before, after, other = (
        torch.load(tmp_path / f'{name}.pth')
        for name in ('before_0', 'after_0', 'after_1')
    )
    for name, value in after.items():
        # BatchNorm's statistics are each process's own, as always in DDP.
        if not re.search('running_|num_batches', name):
            assert torch.equal(value, other[name]), name
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    frozen = (
        'backbone.patch_embed.',
        'backbone.global_token',
        'backbone.stages.0.',
        'backbone.stages.1.',
        'backbone.norm0.',
        'backbone.norm1.',
    )
    is_frozen = {name: name.startswith(frozen) for name in after}
    if frozen_stages < 0:
        assert any(is_frozen[name] for name in changed)
    else:
        assert changed and not any(is_frozen[name] for name in changed)
    # Whether drop path leaves two passes of the same image equal, by stage;
    # in the first stage it hardly drops anything.
    for rank in range(2):
        repeats = torch.load(tmp_path / f'repeats_{rank}.pth')
        assert repeats[1:] == [frozen_stages >= 1, False]


def test_two_processes_train_a_classifier_and_one_tests_it(digits, tmp_path):
    config = tmp_path / 'classifier.py'
    config.write_text(
        f"_base_ = '{ROOT}/configs/demo/lightvit_t_digits.py'\n"
        f"data = dict(dataset=dict(data_root='{digits}/classification/val', "
        'indices=list(range(0, 360, 6))))\n'
        'train_dataloader = val_dataloader = test_dataloader = data\n'
        'param_scheduler = None\n'
    )
    check(
        [
            ROOT / 'tools/dist_train.sh',
            config,
            2,
            '--work-dir',
            'out',
            '--cfg-options',
            'train_cfg.max_epochs=1',
            'train_cfg.val_interval=1',
            'default_hooks.checkpoint.interval=1',
        ],
        tmp_path,
        PORT=free_port(),
    )
    trained = scalars(tmp_path / 'out')[-1]['accuracy/top1']
    log = check(
        [
            *TEST,
            config,
            'out/epoch_1.pth',
            '--work-dir',
            'tested',
            '--show-dir',
            'drawn',
        ],
        tmp_path,
    )
    tested = float(re.search(r'accuracy/top1: ([\d.]+)', log)[1])
    np.testing.assert_allclose(tested, trained, atol=1e-3)
    assert len(list((tmp_path / 'drawn').glob('*.png'))) == 60


def test_threads_of_a_process_group_end_with_a_run(tmp_path):
    import torch.distributed as dist

    def num_threads():
        return len(os.listdir('/proc/self/task'))

    cli.leave_process_group()
    before = num_threads()
    dist.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    assert num_threads() > before
    runner = [dist.group.WORLD]
    runner.append(runner)  # as a runner and its loops
    del runner
    cli.leave_process_group()
    assert num_threads() == before and not dist.is_initialized()


def test_own_configs_are_known_by_name(monkeypatch):
    monkeypatch.setattr(
        sys, 'argv', ['train.py', 'lightvit_mm::lightvit_s_8xb128_in1k.py']
    )
    parser = argparse.ArgumentParser()
    cli.add_run_arguments(parser)
    cfg = cli.run_config(parser.parse_args())
    assert cfg.filename == str(ROOT / 'configs/lightvit_s_8xb128_in1k.py')
    assert cfg.work_dir == 'work_dirs/lightvit_s_8xb128_in1k'


@pytest.mark.parametrize(
    'command, message',
    [
        ([*TRAIN, 'no_such.py'], 'There is no config no_such.py'),
        (
            [
                *TRAIN,
                str(ROOT / 'configs/demo/lightvit_t_digits.py'),
                '--auto-scale-lr',
            ],
            'needs auto_scale_lr.base_batch_size',
        ),
        (
            [*TRAIN, str(ROOT / 'configs/demo/lightvit_t_digits.py'), '--workdir=x'],
            'unrecognized arguments: --workdir',
        ),
        (
            [str(ROOT / 'tools/dist_train.sh'), 'config.py'],
            "number of GPUs should be a positive integer, got ''",
        ),
    ],
)
def test_misuse_is_explained(command, message, tmp_path):
    done = run(command, tmp_path)
    assert done.returncode and message in done.stdout
