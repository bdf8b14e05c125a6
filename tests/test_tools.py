"""The tools as users call them: in one process, in two, killed and misused."""

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
from mmengine import load

from lightvit_mm import cli
from lightvit_mm.engine.distributed import leave_process_group

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
    """The COCO config with a small dataset, in a folder outside the repository."""
    path = tmp_path / 'detector.py'
    path.write_text(DETECTOR.format(root=ROOT, data=digits))
    return path


def scalars(work_dir):
    log = next(Path(work_dir).glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in log.read_text().splitlines()]


def weights(path):
    return torch.load(path, weights_only=False)['state_dict']


@pytest.mark.slow
def test_a_detector_is_trained_tested_and_drawn(config, tmp_path):
    options = ['--cfg-options', 'train_cfg.max_epochs=1']
    log = check([*TRAIN, config, *options], tmp_path)
    # The paper's batch size is 16; here it is 2.
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
    assert len(list(tmp_path.glob('drawn/*.jpg'))) == 4
    # Masks are compressed.
    masks = load(tmp_path / 'predictions.pkl')[0]['pred_instances']['masks']
    assert masks and masks[0].keys() == {'size', 'counts'}


def test_weights_that_do_not_fit_are_not_tested(config, tmp_path):
    torch.save(dict(state_dict=dict(weight=torch.zeros(1))), tmp_path / 'other.pth')
    done = run([*TEST, config, 'other.pth'], tmp_path)
    assert done.returncode and 'do not fit this LightViT' in done.stdout
    assert 'mAP' not in done.stdout


@pytest.mark.slow
def test_training_killed_within_an_epoch_resumes_from_its_checkpoint(config, tmp_path):
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
    """Saves the state of every process before and after training."""

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


@pytest.mark.slow
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
        # In DDP each process has separate BatchNorm statistics.
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
    # Per stage: whether two passes of the same image are equal despite drop path.
    # In the first stage it hardly drops anything.
    for rank in range(2):
        repeats = torch.load(tmp_path / f'repeats_{rank}.pth')
        assert repeats[1:] == [frozen_stages >= 1, False]


@pytest.mark.slow
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
            '--out',
            'plain.pkl',
        ],
        tmp_path,
    )
    tested = float(re.search(r'accuracy/top1: ([\d.]+)', log)[1])
    np.testing.assert_allclose(tested, trained, atol=1e-3)
    assert len(list((tmp_path / 'drawn').glob('*.png'))) == 60

    def scores(file):
        return [sample['pred_score'] for sample in load(tmp_path / file)]

    command = [*TEST, config, 'out/epoch_1.pth', '--out']
    check([*command, 'both.pkl', '--tta'], tmp_path)
    mirror = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomFlip', prob=1.0),
        dict(type='PackInputs'),
    ]
    with config.open('a') as file:
        file.write(f'test_dataloader["dataset"].update(pipeline={mirror})\n')
    check([*command, 'mirror.pkl'], tmp_path)
    for image, mirrored, merged in zip(
        scores('plain.pkl'), scores('mirror.pkl'), scores('both.pkl')
    ):
        assert not torch.allclose(image, mirrored)
        torch.testing.assert_close(merged, (image + mirrored) / 2)


def test_threads_of_a_process_group_end_with_a_run(tmp_path):
    import torch.distributed as dist

    def num_threads():
        return len(os.listdir('/proc/self/task'))

    leave_process_group()
    before = num_threads()
    dist.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    assert num_threads() > before
    runner = [dist.group.WORLD]
    runner.append(runner)  # a cycle, like a runner and its loops
    del runner
    leave_process_group()
    assert num_threads() == before and not dist.is_initialized()


def test_configs_of_the_package_are_known_by_name(monkeypatch):
    monkeypatch.setattr(
        sys, 'argv', ['train.py', 'lightvit_mm::lightvit_s_8xb128_in1k.py']
    )
    parser = argparse.ArgumentParser()
    cli.add_run_arguments(parser)
    cfg = cli.run_config(parser.parse_args())
    assert cfg.filename == str(ROOT / 'configs/lightvit_s_8xb128_in1k.py')
    assert cfg.work_dir == 'work_dirs/lightvit_s_8xb128_in1k'


OWN_DATA = ROOT / 'configs/finetune_lightvit_t.py'
DIGITS = ROOT / 'configs/demo/lightvit_t_digits.py'


@pytest.mark.parametrize(
    'command, message',
    [
        ([*TRAIN, 'no_such.py'], 'There is no config no_such.py'),
        ([*TRAIN, DIGITS, '--auto-scale-lr'], 'needs auto_scale_lr.base_batch_size'),
        ([*TRAIN, DIGITS, '--workdir=x'], 'unrecognized arguments: --workdir'),
        (
            [ROOT / 'tools/dist_train.sh', 'config.py'],
            "number of GPUs should be a positive integer, got ''",
        ),
        ([*TRAIN, 'nolib::config.py'], 'nolib is not installed: pip install nolib'),
        ([*TEST, 'nolib::config.py', 'x'], 'nolib is not installed: pip install nolib'),
        (
            [*TRAIN, OWN_DATA, '--cfg-options', 'data_root=nowhere'],
            'data_root=nowhere is not a folder',
        ),
        (
            [*TRAIN, OWN_DATA, '--cfg-options', 'data_root=data'],
            'only one of them: cat',
        ),
        ([*TEST, 'no_such.py', 'x'], 'There is no config no_such.py'),
        ([*TRAIN, 'broken.py'], 'broken.py, line 2: invalid syntax'),
        ([*TEST, 'child.py', 'x'], 'broken.py, line 2: invalid syntax'),
        (
            [*TRAIN, 'unknown_base.py'],
            "nolib in _base_ = 'nolib::x.py' is not a package",
        ),
        (
            [*TRAIN, DIGITS, '--cfg-options', 'optim_wraper.optimizer.lr=1'],
            'no setting optim_wraper (close to it: optim_wrapper)',
        ),
        (
            [*TEST, DIGITS, 'x', '--cfg-options', 'max_epochs=1'],
            'max_epochs has no effect',
        ),
        (
            [*TRAIN, DIGITS, '--cfg-options', 'train_cfg.max_epochs', '3'],
            'train_cfg.max_epochs 3: expected KEY=VALUE',
        ),
        (
            [*TRAIN, DIGITS, '--cfg-options', 'model.backbone.out_indices=[2,(1,2]'],
            'expected KEY=VALUE',
        ),
        (
            [*TEST, 'lightvit_mm::mask_rcnn_lightvit_t_1x.py', 'x', '--tta'],
            '--tta needs a model without masks',
        ),
        (
            [*TEST, OWN_DATA, 'x', '--cfg-options', 'data_root=nowhere'],
            'data_root=nowhere is not a folder',
        ),
        (
            [sys.executable, ROOT / 'tools/mm.py', 'mmdet', 'confusion_matrx'],
            '(close to it: confusion_matrix',
        ),
        ([*TEST, DIGITS, 'none.pth'], 'none.pth can not be found'),
        (
            [
                *TEST,
                DIGITS,
                'x',
                '--show',
                '--cfg-options',
                'default_hooks.visualization.type=Hook',
            ],
            "default_hooks.visualization={'type': 'Hook'",
        ),
    ],
)
def test_misuse_is_explained_without_a_traceback(command, message, tmp_path):
    for folder in ('train/cat', 'train/dog', 'val/dog'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
    (tmp_path / 'broken.py').write_text('model = 1\n= 2\n')
    (tmp_path / 'child.py').write_text("_base_ = './broken.py'")
    (tmp_path / 'unknown_base.py').write_text("_base_ = 'nolib::x.py'")
    done = run(command, tmp_path)
    assert done.returncode and message in done.stdout.splitlines()[-1]
    assert 'Traceback' not in done.stdout


def test_an_error_in_training_ends_in_one_line(config, tmp_path):
    options = ['--cfg-options', 'train_dataloader.dataset.ann_file=none.json']
    done = run([*TRAIN, config, *options], tmp_path)
    assert done.returncode and 'none.json' in done.stdout.splitlines()[-1]
    assert 'Traceback' not in done.stdout
    [log] = tmp_path.glob('work_dirs/detector/*/*.log')
    assert 'Traceback (most recent call last):' in log.read_text()


@pytest.mark.parametrize('option', ['--amp', 'optim_wrapper.type=AmpOptimWrapper'])
@pytest.mark.skipif(torch.cuda.is_available(), reason='a GPU trains in fp16')
def test_mixed_precision_without_a_gpu_is_explained(option, tmp_path):
    options = [option] if option == '--amp' else ['--cfg-options', option]
    done = run([*TRAIN, DIGITS, *options], tmp_path)
    assert done.returncode and 'needs a GPU' in done.stdout.splitlines()[-1]
    assert 'Traceback' not in done.stdout


@pytest.fixture
def classifier(digits, tmp_path):
    """A config whose backbone starts from the published weights."""
    path = tmp_path / 'classifier.py'
    path.write_text(
        f"_base_ = '{DIGITS}'\n"
        "init_cfg = dict(type='Pretrained', checkpoint='lightvit://tiny-in1k')\n"
        "model = dict(backbone=dict(init_cfg=dict(prefix='backbone.', **init_cfg)),\n"
        "             neck=dict(init_cfg=dict(prefix='neck.', **init_cfg)))\n"
        f"dataset = dict(data_root='{digits}/classification/val', indices=[0, 40])\n"
        'train_dataloader = dict(batch_size=2, num_workers=0,\n'
        '                        persistent_workers=False, dataset=dataset)\n'
        'train_cfg = dict(max_epochs=1)\n'
    )
    return path


def advised(line):
    """The options that an error names."""
    return line.partition('To train from random weights, add ')[2].split()


def test_training_without_the_weights_follows_the_advice(classifier, tmp_path):
    command = [*TRAIN, classifier, '--no-validate']
    done = run(command, tmp_path, LIGHTVIT_CHECKPOINTS='empty')
    last = done.stdout.splitlines()[-1]
    assert done.returncode and 'Traceback' not in done.stdout
    assert 'There is no file empty/lightvit_tiny_78.7.ckpt' in last
    options = ['model.backbone.init_cfg=None', 'model.neck.init_cfg=None']
    assert advised(last) == ['--cfg-options', *options]
    log = check([*command, *advised(last)], tmp_path, LIGHTVIT_CHECKPOINTS='empty')
    assert 'Saving checkpoint' in log


def test_own_data_without_the_weights_name_one_option(digits, tmp_path):
    data_root = f'data_root={digits}/classification'
    done = run(
        [*TRAIN, OWN_DATA, '--cfg-options', data_root],
        tmp_path,
        LIGHTVIT_CHECKPOINTS='empty',
    )
    last = done.stdout.splitlines()[-1]
    assert done.returncode and 'Traceback' not in done.stdout
    assert advised(last) == ['--cfg-options', 'pretrained=None']


def test_a_download_that_fails_ends_a_test_in_one_line(tmp_path):
    no_network = dict(https_proxy='http://127.0.0.1:9', TORCH_HOME=str(tmp_path))
    done = run([*TEST, DIGITS, 'lightvit://tiny-in1k'], tmp_path, **no_network)
    last = done.stdout.splitlines()[-1]
    assert done.returncode and 'Traceback' not in done.stdout
    assert 'could not be downloaded' in last and f'into {tmp_path}' in last


def test_a_test_without_a_checkpoint_needs_published_weights(tmp_path):
    done = run([*TEST, DIGITS], tmp_path)
    assert done.returncode
    assert done.stdout.splitlines()[-1] == (
        f'{DIGITS} has no published weights: give a checkpoint after the config'
    )


# What the tools print before their output


@pytest.mark.parametrize(
    'tool',
    [
        'train.py',
        'test.py',
        'predict.py',
        'mm.py',
        'model_zoo.py',
        'check_dataset.py',
        'convert_checkpoint.py',
        'paper.py',
        'deploy/export.py',
        'deploy/run.py',
        'analysis/benchmark.py',
        'analysis/get_flops.py',
        'analysis/visualize_attention.py',
    ],
)
def test_help_comes_without_warnings(tool, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / 'tools' / tool, '--help'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stdout.startswith('usage: ') and done.stderr == ''


@pytest.mark.parametrize(
    'command',
    [
        [
            ROOT / 'tools/analysis/get_flops.py',
            'lightvit_mm::lightvit_t_8xb128_in1k.py',
        ],
        [
            ROOT / 'tools/analysis/get_flops.py',
            'lightvit_mm::mask_rcnn_lightvit_t_1x.py',
            '--shape',
            64,
            64,
        ],
        ['-m', 'lightvit_mm.check_env'],
    ],
)
def test_commands_print_no_warnings(command, tmp_path):
    log = check([sys.executable, *command], tmp_path)
    assert not [line for line in log.splitlines() if re.search('warn', line, re.I)]


@pytest.mark.slow
@pytest.mark.parametrize('num_processes', [1, 2])
def test_training_prints_no_warnings_about_pkg_resources(
    digits, tmp_path, num_processes
):
    """Neither do its data loaders' workers and the children of torchrun."""
    command = {1: TRAIN, 2: [ROOT / 'tools/dist_train.sh']}[num_processes]
    log = check(
        [
            *command,
            DIGITS,
            *([2] if num_processes == 2 else []),
            '--no-validate',
            '--cfg-options',
            'train_cfg.max_epochs=1',
            f'train_dataloader.dataset.data_root={digits}/classification/val',
            'train_dataloader.dataset.indices=64',
            'train_dataloader.num_workers=1',
        ],
        tmp_path,
        PORT=free_port(),
    )
    assert 'Saving checkpoint' in log and 'pkg_resources' not in log
