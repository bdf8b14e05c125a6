"""Runs that get SIGTERM or SIGINT save a checkpoint, exit, and resume exactly."""

import copy
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from lightvit_mm.engine.exact_resume import ExactResumeHook
from lightvit_mm.engine.lost_rank import LostRankHook
from lightvit_mm.engine.stop_signal import StopSignalHook

from ..processes import environment, free_port
from ..toy import make_runner
from .short_runs import differences, run_config, train, write_data

pytest.importorskip('mmpretrain')

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures('one_thread', 'listens_to_ctrl_c')


@pytest.fixture
def listens_to_ctrl_c():
    """Even if the tests were started in the background of a shell."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@HOOKS.register_module()
class SendSignal(Hook):
    """Sends a signal at one point of a run.

    Args:
        point: Name of the method of a hook that sends it.
        iteration: Number of iterations done at that point.
        number: The signal.
        rank: The process that gets it.
        group: Send it to all processes of the group, as terminals do.
    """

    priority = 'VERY_HIGH'

    def __init__(self, point, iteration, number, rank=0, group=False):
        def send(runner, **_):
            if (runner.iter, runner.rank) == (iteration, rank):
                if group:
                    # Workers tell a signal of their parent from others.
                    subprocess.run(['kill', f'-{number}', '--', f'-{os.getpgrp()}'])
                else:
                    os.kill(os.getpid(), number)

        setattr(self, point, send)


@HOOKS.register_module()
class CountValidations(Hook):
    """Counts the batches that are validated."""

    batches = 0

    def after_val_iter(self, runner, **_):
        CountValidations.batches += 1


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    write_data(root)
    return root


def config(data, loop='epochs', workers='no_workers', interval=100):
    """A short run with the hook, which validates after five iterations."""
    cfg = run_config(data, 'classifier', loop, workers, interval=interval)
    by_epoch = loop == 'epochs'
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type == 'EMAHook']
    cfg.custom_hooks.append(dict(type='CountValidations'))
    cfg.default_hooks.stop_signal = dict(type='lightvit_mm.StopSignalHook')
    cfg.default_hooks.checkpoint.update(by_epoch=by_epoch, max_keep_ckpts=1)
    cfg.train_cfg.val_interval = 1 if by_epoch else 5
    cfg.val_dataloader = copy.deepcopy(cfg.train_dataloader)
    cfg.val_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=32),
        dict(type='PackInputs'),
    ]
    cfg.val_dataloader.sampler.shuffle = False
    cfg.val_cfg = dict()
    cfg.val_evaluator = dict(type='Accuracy')
    return cfg


def stopped(cfg, work_dir, *signals, code):
    """The names of the checkpoints of a run that got signals."""
    cfg = Config(cfg.to_dict())
    cfg.custom_hooks += [dict(type='SendSignal', **arguments) for arguments in signals]
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(SystemExit) as error:
        train(cfg, work_dir)
    assert error.value.code == code
    assert handlers == [
        signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
    ]
    return checkpoints(work_dir)


def checkpoints(work_dir):
    return sorted(path.name for path in work_dir.glob('*.pth'))


def resumed(cfg, work_dir):
    cfg = Config(cfg.to_dict())
    cfg.resume = True
    return train(cfg, work_dir)


def send(point, iteration, number=signal.SIGTERM, **arguments):
    return dict(point=point, iteration=iteration, number=int(number), **arguments)


@pytest.fixture(scope='module')
def uninterrupted(data, tmp_path_factory):
    return {
        loop: train(config(data, loop), tmp_path_factory.mktemp(loop))
        for loop in ('epochs', 'iterations')
    }


@pytest.mark.parametrize(
    ('loop', 'signals', 'code', 'iteration'),
    [
        # Two signals at once are one request: a launcher sent one of them.
        (
            'epochs',
            [send('before_train_iter', 6), send('before_train_iter', 6)],
            143,
            7,
        ),
        ('epochs', [send('before_val_iter', 5)], 143, 5),
        ('epochs', [send('before_train_epoch', 0, signal.SIGINT)], 130, 1),
        ('iterations', [send('before_train_iter', 6, signal.SIGINT)], 130, 7),
        ('iterations', [send('after_val_epoch', 5)], 143, 5),
    ],
)
def test_a_signal_saves_a_checkpoint_from_which_the_run_resumes(
    loop, signals, code, iteration, data, uninterrupted, tmp_path, capfd
):
    cfg = config(data, loop)
    names = stopped(cfg, tmp_path, *signals, code=code)
    assert names == [f'iter_{iteration}.pth']
    saved = tmp_path / names[0]
    assert (tmp_path / 'last_checkpoint').read_text() == str(saved)
    log = capfd.readouterr()
    message = f'Saved {saved}; to resume, repeat the command with --resume.'
    assert (log.out + log.err).count(message) == 1

    content = resumed(cfg, tmp_path)
    assert differences(uninterrupted[loop], content) == []
    # The regular checkpoint has replaced it.
    assert len(checkpoints(tmp_path)) == 1
    assert not saved.exists()


def test_validation_stops_within_a_batch_and_saves_nothing_twice(data, tmp_path):
    cfg = config(data, interval=1)
    CountValidations.batches = 0
    names = stopped(cfg, tmp_path, send('before_val_iter', 5), code=143)
    assert names == ['epoch_1.pth']
    assert CountValidations.batches == 1


@pytest.mark.parametrize(('loop', 'iteration'), [('epochs', 10), ('iterations', 3)])
def test_the_next_checkpoint_replaces_that_of_a_stop(loop, iteration, tmp_path):
    """Also after the last iteration, and if all others are kept."""
    by_epoch = loop == 'epochs'
    settings = dict(
        checkpoint=dict(by_epoch=by_epoch, interval=1 if by_epoch else 4),
        max_epochs=5,
        resume=True,
    )
    if not by_epoch:
        settings['train_cfg'] = dict(by_epoch=False, max_iters=10, val_interval=100)

    def run(*hooks):
        runner = make_runner(tmp_path, **settings)
        for hook in (ExactResumeHook(), StopSignalHook(), *hooks):
            runner.register_hook(hook)
        runner.train()

    with pytest.raises(SystemExit):
        run(SendSignal(**send('before_train_iter', iteration - 1)))
    assert (tmp_path / f'iter_{iteration}.pth').exists()
    run()
    regular = ['epoch_5.pth'] if by_epoch else ['iter_10.pth', 'iter_4.pth']
    assert set(regular) < set(checkpoints(tmp_path))
    assert not (tmp_path / f'iter_{iteration}.pth').exists()


def test_a_run_that_is_stopped_twice_keeps_one_checkpoint(
    data, uninterrupted, tmp_path
):
    cfg = config(data)
    stopped(cfg, tmp_path, send('before_train_iter', 1), code=143)
    cfg.resume = True
    names = stopped(cfg, tmp_path, send('before_train_iter', 3), code=143)
    assert names == ['iter_4.pth']
    assert differences(uninterrupted['epochs'], resumed(cfg, tmp_path)) == []


class Second(Exception):
    pass


@HOOKS.register_module()
class SendTwice(Hook):
    def before_train_iter(self, runner, **_):
        hook = next(h for h in runner.hooks if type(h).__name__ == 'StopSignalHook')
        os.kill(os.getpid(), signal.SIGTERM)
        hook._received -= 2  # seconds
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_second_signal_has_its_usual_effect_at_once(data, tmp_path):
    def usual(number, frame):
        raise Second

    cfg = config(data)
    cfg.custom_hooks.append(dict(type='SendTwice'))
    handler = signal.signal(signal.SIGTERM, usual)
    try:
        with pytest.raises(Second):
            train(cfg, tmp_path)
        assert signal.getsignal(signal.SIGTERM) is usual
        # One would end this process later.
        timers = [t for t in threading.enumerate() if isinstance(t, threading.Timer)]
        assert all(timer.finished.is_set() for timer in timers)  # cancelled
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert checkpoints(tmp_path) == []


@HOOKS.register_module()
class Hang(Hook):
    def before_train_iter(self, runner, **_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)


def test_a_run_that_does_not_stop_exits(data, tmp_path, monkeypatch, capfd):
    codes = []
    monkeypatch.setattr(os, '_exit', codes.append)
    cfg = config(data)
    cfg.default_hooks.stop_signal.timeout = 0.5
    cfg.custom_hooks.append(dict(type='Hang'))
    with pytest.raises(SystemExit):
        train(cfg, tmp_path)
    assert codes == [143]
    assert 'has not stopped within 0.5 seconds' in capfd.readouterr().err


def test_a_run_without_checkpoints_stops_without_one(data, tmp_path, capfd):
    cfg = config(data)
    cfg.default_hooks.checkpoint = None
    assert stopped(cfg, tmp_path, send('before_train_iter', 1), code=143) == []
    log = capfd.readouterr()
    assert 'Nothing was saved, because the run has no CheckpointHook' in (
        log.out + log.err
    )


def test_a_signal_that_is_ignored_stays_ignored(data, tmp_path):
    cfg = config(data)
    cfg.custom_hooks.append(
        dict(type='SendSignal', **send('before_train_iter', 1, signal.SIGINT))
    )
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        train(cfg, tmp_path)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert checkpoints(tmp_path) == ['epoch_2.pth']


def test_a_run_in_a_thread_works(data, tmp_path):
    with ThreadPoolExecutor() as pool:
        pool.submit(train, config(data), tmp_path).result()
    assert checkpoints(tmp_path) == ['epoch_2.pth']


def test_flexible_runner_saves_the_iteration_of_a_stop(data, tmp_path):
    cfg = config(data)
    cfg.update(runner_type='FlexibleRunner', env_cfg=dict())
    names = stopped(cfg, tmp_path, send('before_val_iter', 5), code=143)
    assert names == ['iter_5.pth']
    assert torch.load(tmp_path / names[0], weights_only=False)['meta']['iter'] == 5


@pytest.mark.parametrize('hook', [StopSignalHook, LostRankHook])
@pytest.mark.parametrize('timeout', [0, -1, 'soon', None, float('nan'), 1e300, True])
def test_timeouts_are_checked(timeout, hook):
    with pytest.raises(ValueError, match=rf'{hook.__name__}: timeout=.* seconds'):
        hook(timeout=timeout)


def launch(cfg, work_dir, num_processes):
    """Train in new processes with the tool; its exit status and output."""
    cfg = Config(cfg.to_dict())
    cfg.custom_imports = dict(imports=['lightvit_mm', __name__])
    cfg.work_dir = str(work_dir)
    work_dir.mkdir(exist_ok=True)
    cfg.dump(work_dir / 'run.py')
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(work_dir / 'run.py')]
    if num_processes > 1:
        command = [str(ROOT / 'tools/dist_train.sh'), command[2], str(num_processes)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(PYTHONPATH=str(ROOT), PORT=free_port()),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        timeout=300,
    )
    return done.returncode, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    'number',
    [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.torture)],
)
def test_workers_survive_a_signal_to_all_processes(number, data, tmp_path):
    cfg = config(data, workers='persistent')
    arguments = send('before_train_iter', 6, number, group=True)
    cfg.custom_hooks.append(dict(type='SendSignal', **arguments))
    code, log = launch(cfg, tmp_path, 1)
    assert code == 128 + number, log
    assert 'Traceback' not in log
    assert checkpoints(tmp_path) == ['iter_7.pth']


@pytest.mark.slow
def test_all_processes_stop_if_one_gets_a_signal(data, tmp_path):
    cfg = config(data)
    cfg.custom_hooks.append(
        dict(type='SendSignal', **send('before_train_iter', 1, rank=1))
    )
    code, log = launch(cfg, tmp_path, 2)
    assert code == 143, log
    assert log.count('Stopped by SIGTERM after iteration 2. Saved ') == 1
    assert 'Traceback' not in log
    assert checkpoints(tmp_path) == ['iter_2.pth']


@pytest.mark.slow
def test_all_processes_stop_after_a_regular_checkpoint(data, tmp_path):
    cfg = config(data, interval=1)
    arguments = send('before_val_iter', 3, rank=1)
    cfg.custom_hooks.append(dict(type='SendSignal', **arguments))
    cfg.custom_imports = dict(imports=['lightvit_mm', __name__])
    cfg.work_dir = str(tmp_path)
    cfg.dump(tmp_path / 'run.py')
    # Without torchrun, which would end a process that waits for the other.
    command = [sys.executable, ROOT / 'tools/train.py', tmp_path / 'run.py']
    address = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port(), WORLD_SIZE='2')
    processes = [
        subprocess.Popen(
            [*map(str, command), '--launcher', 'pytorch'],
            cwd=ROOT,
            env=environment(
                PYTHONPATH=str(ROOT), RANK=rank, LOCAL_RANK=rank, **address
            ),
        )
        for rank in ('0', '1')
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [143, 143]
    finally:
        for process in processes:
            process.kill()
    assert checkpoints(tmp_path) == ['epoch_1.pth']
