"""Runs with lost processes, restarts and a small /dev/shm."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ..processes import environment, free_port
from .short_runs import run_config, write_data

pytest.importorskip('mmpretrain')

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.torture


@HOOKS.register_module()
class HitRank(Hook):
    """Sends a signal to one rank within the second epoch of each of its attempts.

    Args:
        number: The signal.
        rank: The process that gets it.
        attempts: Number of attempts that are hit.
    """

    def __init__(self, number, rank, attempts=1):
        self.number, self.rank, self.attempts = number, rank, attempts

    def before_train_iter(self, runner, **_):
        attempt = int(os.environ['TORCHELASTIC_RESTART_COUNT'])
        hit = runner.rank == self.rank and attempt < self.attempts
        if hit and runner.iter == 3 + attempt:
            os.kill(os.getpid(), self.number)


def config(folder, workers='no_workers', **hit):
    data = folder / 'data'
    write_data(data)
    cfg = run_config(data, 'classifier', workers=workers)
    cfg.train_cfg.max_epochs = 4
    cfg.custom_hooks = [dict(type='HitRank', **hit)] if hit else []
    cfg.default_hooks.stop_signal = dict(type='lightvit_mm.StopSignalHook')
    cfg.default_hooks.lost_rank = dict(type='lightvit_mm.LostRankHook', timeout=6)
    cfg.custom_imports = dict(imports=['lightvit_mm', __name__])
    cfg.work_dir = str(folder / 'run')
    cfg.dump(folder / 'run.py')
    return folder / 'run.py'


def run(command, limit, **variables):
    """The exit status, the output, and the seconds of a command."""
    start = time.monotonic()
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        env=environment(PYTHONPATH=str(ROOT), PORT=free_port(), **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output, time.monotonic() - start


def launch(path, *options, **variables):
    command = [ROOT / 'tools/dist_train.sh', path, 2, *options]
    return run(command, limit=300, **variables)


@pytest.mark.parametrize('rank', [0, 1])
def test_the_others_end_when_a_process_is_killed(rank, tmp_path):
    code, output, _ = launch(config(tmp_path, number=int(signal.SIGKILL), rank=rank))
    assert code == 128 + signal.SIGKILL
    assert re.search(
        rf'The run ended because rank {rank}, process \d+, got SIGKILL\.', output
    )


@pytest.mark.parametrize('rank', [0, 1])
def test_the_others_end_when_a_process_is_stopped(rank, tmp_path):
    code, output, _ = launch(config(tmp_path, number=int(signal.SIGSTOP), rank=rank))
    assert code
    assert re.search(
        rf'Rank {1 - rank} exits: rank {rank}, process \d+ on \S+, has not responded '
        'for 6 seconds.',
        output,
    )


@pytest.mark.parametrize('rank', [0, 1])
def test_a_run_that_is_killed_five_times_restarts(rank, tmp_path):
    path = config(tmp_path, number=int(signal.SIGKILL), rank=rank, attempts=5)
    code, output, _ = launch(path, '--resume', MAX_RESTARTS='5')
    assert code == 0, output[-4000:]
    assert len(re.findall(r'resumed epoch: \d', output)) == 5
    assert re.search(r'Epoch\(train\) +\[4\]\[3/3\]', output)


def test_a_small_shared_memory_ends_the_run(tmp_path):
    mount = 'mount -t tmpfs -o size=64k tmpfs /dev/shm'
    if os.system(f"unshare -m sh -c '{mount}' 2> /dev/null"):
        pytest.skip('this user may not mount another /dev/shm')
    command = f'{sys.executable} tools/train.py {config(tmp_path, "workers")}'
    code, output, _ = run(
        ['unshare', '-m', 'sh', '-c', f'{mount} && {command}'], limit=120
    )
    assert code == 1
    assert 'A batch cannot be passed to the main process' in output
    assert '--shm-size' in output
