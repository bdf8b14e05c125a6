"""A full or read-only disk ends the training with a message: make torture."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from ..processes import check, free_port, run
from .short_runs import run_config, write_data

pytestmark = pytest.mark.torture

ROOT = Path(__file__).parents[2]


@contextmanager
def mounted(folder, size):
    """A small disk in memory; mounting it needs root rights."""
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip('needs the rights to mount a disk')
    try:
        yield folder
    finally:
        subprocess.run(['umount', str(folder)], check=True)


@pytest.fixture(scope='module')
def command(tmp_path_factory):
    """Arguments of train.py for a run that saves 10 checkpoints of 1 MB."""
    folder = tmp_path_factory.mktemp('data')
    write_data(folder)
    cfg = run_config(folder, 'segmentor', interval=1)
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1)]
    cfg.dump(folder / 'config.py')
    return [ROOT / 'tools/train.py', folder / 'config.py', '--work-dir']


def launch(processes):
    if processes == 1:
        return [sys.executable]
    module = '-m', 'torch.distributed.run', '--nproc_per_node', processes
    return [sys.executable, *module, '--master_port', free_port()]


@pytest.mark.parametrize('processes', [1, 2])
def test_a_full_disk(processes, command, tmp_path):
    launcher = ['--launcher', 'pytorch'] if processes == 2 else []
    with mounted(tmp_path / 'disk', '3m') as disk:
        arguments = [*command, disk / 'run', *launcher]
        done = run([*launch(processes), *arguments], ROOT)
        assert done.returncode
        error = 'The checkpoint could not be saved: [Errno 28] No space left on device'
        assert error in done.stdout
        if processes == 1:
            assert 'Traceback' not in done.stdout
            assert done.stdout.splitlines()[-1].startswith(error)
        saved = sorted(disk.glob('run/*.pth'))
        assert 1 < len(saved) < 10
        for path in saved:
            torch.load(path, weights_only=False)
        assert (disk / 'run/last_checkpoint').read_text() == str(saved[-1])
        assert not list(disk.glob('run/.writing_*'))
        subprocess.run(['mount', '-o', 'remount,size=30m', str(disk)], check=True)
        out = check([*launch(processes), *arguments, '--resume'], ROOT)
        assert f'Load checkpoint from {saved[-1]}' in out


def test_a_read_only_disk(command, tmp_path):
    keep_one = '--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=1'
    with mounted(tmp_path / 'disk', '3m') as disk:
        check([*launch(1), *command, disk / 'run', *keep_one], ROOT)
        before = {path: path.read_bytes() for path in disk.glob('run/*.pth')}
        subprocess.run(['mount', '-o', 'remount,ro', str(disk)], check=True)
        done = run([*launch(1), *command, disk / 'run', '--resume'], ROOT)
        assert done.returncode
        assert 'Read-only file system' in done.stdout.splitlines()[-1]
        assert {path: path.read_bytes() for path in disk.glob('run/*.pth')} == before
