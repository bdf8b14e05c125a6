"""Training that is killed at random moments loses nothing: make torture."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from lightvit_mm.safe_load import check_sums

from .short_runs import differences, run_config, train, write_data

pytestmark = pytest.mark.torture

# A process that has imported everything; each run is a fork of it.
CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(
    [
        'tests.engine.test_kills',
        *(
            f'mmpretrain.{part}'
            for part in ('datasets', 'engine', 'models', 'structures', 'visualization')
        ),
    ]
)

MOMENTS = ('random', 'writing', 'random')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    write_data(root)
    return root


def config(data, max_keep_ckpts):
    cfg = run_config(data, 'classifier', interval=1)
    cfg.train_cfg.max_epochs = 3
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1)]
    cfg.default_hooks.checkpoint.max_keep_ckpts = max_keep_ckpts
    cfg.resume = True
    return cfg


def run(cfg, folder):
    torch.set_num_threads(1)
    log = os.open(folder.with_suffix('.log'), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # The text of the config in each checkpoint takes longer than the training.
    Config.pretty_text = ''
    train(Config(cfg), folder)


def start(cfg, folder):
    process = CONTEXT.Process(target=run, args=(cfg.to_dict(), folder))
    process.start()
    return process


def finish(cfg, folder):
    """The content of the last checkpoint, and the seconds that it took."""
    begin = time.perf_counter()
    process = start(cfg, folder)
    process.join()
    assert process.exitcode == 0, folder.with_suffix('.log').read_text()[-3000:]
    (path,) = folder.glob('iter_15.pth')
    return torch.load(path, weights_only=False), time.perf_counter() - begin


@pytest.fixture(scope='module')
def uninterrupted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('uninterrupted')
    # The first run starts the server of the processes.
    finish(config(data, -1), folder / 'first')
    return finish(config(data, -1), folder / 'second')


def drafts(folder):
    return list(folder.glob('.writing_*'))


def kill(process, moment, folder, seconds, numbers):
    """Kill a run; whether it was killed at this moment."""
    if moment == 'random':
        process.join(numbers.uniform(0, seconds))
    else:
        # Of the next checkpoints, wait for one.
        old = drafts(folder)
        for _ in range(numbers.randint(1, 3)):
            while process.is_alive() and drafts(folder) in ([], old):
                pass
            old = drafts(folder)
    process.kill()
    process.join()
    killed = process.exitcode == -signal.SIGKILL
    return killed and (moment == 'random' or bool(drafts(folder)))


def check_folder(folder):
    """Whether there are checkpoints; all of them are complete."""
    paths = list(folder.glob('iter_*.pth'))
    for path in paths:
        check_sums(path)
        torch.load(path, weights_only=False)
    pointer = folder / 'last_checkpoint'
    assert not pointer.exists() or Path(pointer.read_text()) in paths
    return bool(paths)


@pytest.mark.parametrize('trial', range(6))
@pytest.mark.parametrize('max_keep_ckpts', [1, 2, 3])
def test_a_run_that_is_killed_three_times_ends_as_if_it_was_not(
    max_keep_ckpts, trial, data, uninterrupted, tmp_path
):
    expected, seconds = uninterrupted
    numbers = random.Random(f'{max_keep_ckpts} {trial}')
    cfg = config(data, max_keep_ckpts)
    folder = tmp_path / 'run'
    had_checkpoints, hits, kills = False, [], 0
    for moment in MOMENTS:
        hit = False
        while not hit:
            process = start(cfg, folder)
            hit = kill(process, moment, folder, seconds / 3, numbers)
            if process.exitcode == 0:  # It was faster: once more.
                shutil.rmtree(folder)
                had_checkpoints = False
                continue
            kills += 1
            has_checkpoints = folder.exists() and check_folder(folder)
            assert has_checkpoints or not had_checkpoints
            had_checkpoints = has_checkpoints
        hits.append(moment)
    content, _ = finish(cfg, folder)
    print(f'{kills} kills, among them {hits}')
    assert differences(content, expected) == []
    kept = range(16 - max_keep_ckpts, 16)
    assert {path.name for path in folder.glob('*.pth')} == {
        f'iter_{step}.pth' for step in kept
    }
    assert not drafts(folder)
