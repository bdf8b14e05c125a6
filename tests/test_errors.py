"""train.py and test.py on wrong input: one line, and the traceback in the log file."""

import argparse
import os
import re
import runpy
import shutil
import sys
from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer

from lightvit_mm import cli, errors
from lightvit_mm.config import read_config
from lightvit_mm.engine.exact_resume import ExactResumeHook

from . import small

pytest.importorskip('mmpretrain')

ROOT = Path(__file__).parents[1]

# A transform of the user with a mistake in it.
USERS_MODULE = """
from mmengine.registry import TRANSFORMS

@TRANSFORMS.register_module(force=True)
class Mistaken:
    def __call__(self, results):
        return results['no_such_key']
"""


@pytest.fixture(scope='module')
def template(tmp_path_factory):
    """A folder with a config of a short run, its images and wrong files."""
    folder = tmp_path_factory.mktemp('errors')
    for name in 'ab':
        (folder / 'data' / name).mkdir(parents=True)
        image = np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)
        assert cv2.imwrite(f'{folder}/data/{name}/0.png', image)
    (folder / 'file').write_text('This is no checkpoint.')
    (folder / 'users_module.py').write_text(USERS_MODULE)
    cfg = small.classifier(num_classes=2)
    pipeline = [
        small.LOAD,
        dict(type='CenterCrop', crop_size=32),
        dict(type='PackInputs'),
    ]
    loader = dict(
        batch_size=2,
        num_workers=0,
        persistent_workers=False,
        dataset=dict(type='CustomDataset', data_root='data', pipeline=pipeline),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    cfg.merge_from_dict(
        dict(
            **{f'{split}_dataloader': loader for split in ('train', 'val', 'test')},
            train_cfg=dict(by_epoch=True, max_epochs=1),
            val_cfg=dict(),
            test_cfg=dict(),
            val_evaluator=dict(type='Accuracy'),
            test_evaluator=dict(type='Accuracy'),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
            default_hooks=dict(
                logger=dict(type='LoggerHook'),
                exact_resume=dict(type='lightvit_mm.ExactResumeHook'),
            ),
        )
    )
    cfg.dump(folder / 'config.py')
    return folder


@pytest.fixture
def folder(template, tmp_path, monkeypatch):
    """A copy of the template, which is the current folder."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    # It asks compilers for their versions, which takes a second.
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    # A process has one run, and so one log file and one visualizer.
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())
    monkeypatch.setattr(Visualizer, '_instance_dict', OrderedDict())
    yield tmp_path
    sys.modules.pop('users_module', None)


def run(monkeypatch, tool, *arguments):
    path = str(ROOT / f'tools/{tool}.py')
    monkeypatch.setattr(sys, 'argv', [path, *map(str, arguments)])
    runpy.run_path(path)['main']()


def error_of(monkeypatch, tool, *arguments):
    """The line with which a tool ends."""
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, tool, *arguments)
    assert isinstance(ended.value.code, str) and '\n' not in ended.value.code
    return ended.value.code


@pytest.mark.parametrize(
    'option, message',
    [
        ('train_dataloader.batch_size=0', 'ValueError: batch_size should be a positiv'),
        ('train_dataloader.sampler.type=No', 'KeyError: No is not in the mmpretrain::'),
        ('optim_wrapper.optimizer.lr=-1', 'ValueError: Invalid learning rate: -1'),
        ('model.head.init_cfg=x', 'AssertionError: assert isinstance(init_cfg'),
        ('data_preprocessor.mean=[1,2]', 'RuntimeError: The size of tensor a'),
        ('model.backbone=None', 'TypeError: cfg should be a dict'),
    ],
)
def test_an_error_of_a_library_is_one_line(folder, monkeypatch, option, message):
    line = error_of(monkeypatch, 'train', 'config.py', '--cfg-options', option)
    assert line.startswith(message)
    place, log = re.search(
        r'\((\S+, line \d+)[^()]*; the traceback is in (\S+\.log)\)$', line
    ).groups()
    assert place.startswith(('torch/', 'mmengine/', 'mmpretrain/'))
    trace = (folder / log).read_text()
    assert trace.count('Traceback (most recent call last):') == 1
    assert re.search(place.replace(', ', '", '), trace)


def test_an_error_while_building_names_what_is_built(folder, monkeypatch):
    option = 'optim_wrapper.optimizer.lr=-1'
    line = error_of(monkeypatch, 'train', 'config.py', '--cfg-options', option)
    assert ', which builds AdamW; ' in line


@pytest.mark.parametrize(
    'tool, arguments, message',
    [
        ('train', ['load_from=none.pth'], 'none.pth can not be found.'),
        ('train', ['train_dataloader.dataset.data_root=none'], "directory: 'none/'"),
        ('train', ['work_dir=file'], '/file'),
        ('train', ['load_from=file'], 'file is not a PyTorch checkpoint'),
        ('test', ['file'], 'file is not a PyTorch checkpoint'),
    ],
)
def test_a_missing_or_wrong_file_is_named(
    folder, monkeypatch, tool, arguments, message
):
    options = ['--cfg-options', *arguments] if tool == 'train' else arguments
    line = error_of(monkeypatch, tool, 'config.py', *options)
    assert message in line and 'traceback' not in line


def test_a_name_that_is_not_utf8_is_escaped_in_the_log_file(tmp_path, monkeypatch):
    log = tmp_path / 'run.log'
    logger = MMLogger('names', log_file=str(log))
    monkeypatch.setattr(MMLogger, 'get_current_instance', lambda: logger)
    name = os.fsdecode(b'\xff.png')
    with pytest.raises(OSError), cli.short_errors():
        raise OSError(f'{name} is damaged')
    assert r'OSError: \udcff.png is damaged' in log.read_text()


def test_without_a_log_file_the_line_says_how_to_see_the_traceback(folder, monkeypatch):
    arguments = ['train', 'config.py', '--cfg-options', 'model=3']
    line = error_of(monkeypatch, *arguments)
    assert line.endswith('the traceback is shown with LIGHTVIT_MM_TRACEBACK=1)')
    monkeypatch.setenv('LIGHTVIT_MM_TRACEBACK', '1')
    with pytest.raises(TypeError):
        run(monkeypatch, *arguments)


def test_compiled_code_of_a_library_is_not_the_users():
    """Its frames name files of NumPy's source, which are not installed."""
    assert not errors._is_users('numpy/random/mtrand.pyx')
    assert errors._is_users(__file__)


def test_an_image_larger_than_the_memory_is_one_line(folder, monkeypatch):
    shape = ['--shape', 99999999, 99999999]
    line = error_of(monkeypatch, 'analysis/get_flops', 'config.py', *shape)
    assert line.startswith('RuntimeError: ') and 'allocate' in line


@pytest.mark.parametrize('num_workers', [0, 1])
@pytest.mark.parametrize('content', [b'', b'This is no image.'])
@pytest.mark.parametrize('tool', ['train', 'test'])
def test_an_unreadable_image_is_named(folder, monkeypatch, num_workers, content, tool):
    if tool == 'test':
        cfg = read_config('config.py')
        torch.save(small.build(cfg).state_dict(), 'weights.pth')
    (folder / 'data/b/0.png').write_bytes(content)
    line = error_of(
        monkeypatch,
        tool,
        'config.py',
        *(['weights.pth'] if tool == 'test' else []),
        '--cfg-options',
        f'{tool}_dataloader.num_workers={num_workers}',
    )
    assert line.startswith(
        'data/b/0.png cannot be read; expected an image file such as a JPEG or PNG: '
    )


@pytest.mark.parametrize('num_workers', [0, 1])
def test_code_of_the_user_keeps_its_traceback(folder, monkeypatch, num_workers):
    with (folder / 'config.py').open('a') as file:
        file.write(
            "custom_imports = dict(imports=['users_module'])\n"
            "train_dataloader['dataset']['pipeline'] = [dict(type='Mistaken')]\n"
            f"train_dataloader['num_workers'] = {num_workers}\n"
        )
    with pytest.raises(KeyError, match='no_such_key') as raised:
        run(monkeypatch, 'train', 'config.py')
    shown = str(raised.value) if num_workers else str(raised.traceback[-1].path)
    assert 'users_module.py' in shown
    # The log file has it, too.
    [log] = folder.glob('work_dirs/config/*/*.log')
    assert f'{folder}/users_module.py", line 7' in log.read_text()


@pytest.mark.parametrize(
    'code, message',
    [
        ('x = y', "line 3: NameError: name 'y' is not defined"),
        ("x = open('none')", 'line 3: FileNotFoundError: [Errno 2] No such file'),
        ('import nothing', "line 3: ModuleNotFoundError: No module named 'nothing'"),
        ('x = _base_.nothing', "line 3: AttributeError: 'ConfigDict' object has no"),
        ('def f():\n    return 1 / 0\nx = f()', 'line 4: ZeroDivisionError: division'),
    ],
)
def test_an_error_in_a_config_names_file_and_line(folder, monkeypatch, code, message):
    (folder / 'parent.py').write_text(f"_base_ = './config.py'\na = 1\n{code}\n")
    (folder / 'child.py').write_text("_base_ = './parent.py'\n")
    line = error_of(monkeypatch, 'train', 'child.py')
    assert line.startswith(f'{folder}/parent.py, {message}')


@pytest.mark.parametrize(
    'tool, option, message',
    [
        ('train', 'strategy.type=lightvit_mm.FSDPStrategy', 'strategy has no effect'),
        ('train', 'train_cfg.max_epochs=0', 'train_cfg: max_epochs=0 should be a whol'),
        ('train', 'optim_wrapper=None', 'config.py has no optim_wrapper: give a comp'),
        ('test', 'model=None', 'config.py has no model: give a complete config'),
        ('test', 'test_evaluator=[]', 'test_evaluator=[] has no metric'),
    ],
)
def test_a_setting_without_an_effect_is_an_error(
    folder, monkeypatch, tool, option, message
):
    weights = ['none.pth'] if tool == 'test' else []
    line = error_of(monkeypatch, tool, 'config.py', *weights, '--cfg-options', option)
    assert line.startswith(message)


def test_none_turns_a_default_hook_off(folder, monkeypatch):
    def hooks(*options):
        arguments = ['train.py', 'config.py', '--work-dir', 'out', *options]
        monkeypatch.setattr(sys, 'argv', arguments)
        parser = argparse.ArgumentParser()
        cli.add_run_arguments(parser)
        runner = cli.build_runner(cli.run_config(parser.parse_args()))
        return {type(hook) for hook in runner.hooks}

    with_it = hooks()
    option = 'default_hooks.exact_resume=None'
    assert with_it - hooks('--cfg-options', option) == {ExactResumeHook}
