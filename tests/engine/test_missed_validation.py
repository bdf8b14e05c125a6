"""A resumed run makes up the validation that a stop left out."""

import itertools
import multiprocessing
import os

import pytest
import torch
from mmengine.hooks import EarlyStoppingHook

from lightvit_mm.engine.exact_resume import ExactResumeHook
from lightvit_mm.engine.stop_signal import StopSignalHook

from ..processes import free_port
from ..toy import make_runner
from .test_stop_signal import SendSignal, send

pytestmark = pytest.mark.usefixtures('one_thread')

# By iteration; the lower, the better.
SCORES = {2: 1.0, 4: 2.0, 6: 3.0, 8: 0.0}
STOPS = {
    'before it starts': [send('before_train_iter', n) for n in (1, 3, 5, 7)],
    'while it runs': [send('before_val_iter', n) for n in (2, 4, 6, 8)],
    'when it is done': [send('after_val_epoch', n) for n in (2, 4, 6, 8)],
    'after a checkpoint': [send('before_val_epoch', n) for n in (2, 4, 6, 8)],
}


def run(folder, loop, ends_early, signal=None):
    """Train for eight iterations with a validation after each second one."""
    iterations = dict(by_epoch=False, max_iters=8, val_interval=2)
    runner = make_runner(
        folder,
        dict(type='ReduceOnPlateauLR', monitor='score', patience=0, factor=0.1),
        max_epochs=4,
        checkpoint=dict(by_epoch=False, interval=3) if loop == 'iterations' else {},
        train_cfg=iterations if loop == 'iterations' else None,
        resume=True,
    )
    hooks = [ExactResumeHook(), StopSignalHook()]
    if ends_early:
        hooks.append(EarlyStoppingHook('score', rule='less', patience=2))
    if signal:
        hooks.append(SendSignal(**signal))
    for hook in hooks:
        runner.register_hook(hook)
    runner.val_evaluator.evaluate = lambda size: dict(
        score=SCORES[runner.iter * runner.world_size]
    )
    runner.train()


def result(folder):
    """The names of the checkpoints, and the content of the last one."""
    last = torch.load((folder / 'last_checkpoint').read_text(), weights_only=False)
    names = sorted(path.name for path in folder.glob('*.pth'))
    return names, [
        last['meta']['iter'],
        last['state_dict']['layer.weight'].tolist(),
        last['ema_state_dict']['module.layer.weight'].tolist(),
        str(last['optimizer']),
    ]


def stop_and_resume(folder, *settings, signal):
    with pytest.raises(SystemExit):
        run(folder, *settings, signal)
    run(folder, *settings)
    return result(folder)


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    """The results of all runs that are not stopped, by loop and early end."""
    results = {}
    for settings in itertools.product(('epochs', 'iterations'), (False, True)):
        folder = tmp_path_factory.mktemp('uninterrupted')
        run(folder, *settings)
        results[settings] = result(folder)
    return results


@pytest.mark.parametrize('when', STOPS)
@pytest.mark.parametrize('ends_early', [False, True], ids=['whole', 'ends_early'])
@pytest.mark.parametrize('loop', ['epochs', 'iterations'])
def test_the_run_ends_as_if_it_never_stopped(
    loop, ends_early, when, uninterrupted, tmp_path
):
    expected = uninterrupted[loop, ends_early]
    best = 'epoch_1' if loop == 'epochs' else 'iter_2'
    last = 'epoch_4' if loop == 'epochs' else 'iter_8'
    assert f'best_score_{best if ends_early else last}.pth' in expected[0]
    assert expected[1][0] == (6 if ends_early else 8)
    for signal in STOPS[when][: 3 if ends_early else 4]:
        folder = tmp_path / str(signal['iteration'])
        assert stop_and_resume(folder, loop, ends_early, signal=signal) == expected


def run_in_process(rank, port, folder):
    os.environ.update(RANK=str(rank), WORLD_SIZE='2')
    torch.distributed.init_process_group(
        'gloo', f'tcp://127.0.0.1:{port}', world_size=2, rank=rank
    )
    run(folder / 'uninterrupted', 'epochs', True)
    stop = send('before_val_iter', 1, rank=1)
    with pytest.raises(SystemExit):
        # The process group ends with the run.
        run(folder / 'stopped', 'epochs', True, stop)
    torch.distributed.init_process_group(
        'gloo', f'tcp://127.0.0.1:{port}', world_size=2, rank=rank
    )
    run(folder / 'stopped', 'epochs', True)


def test_two_processes_make_it_up(tmp_path):
    context = multiprocessing.get_context('fork')
    port = free_port()
    processes = [
        context.Process(target=run_in_process, args=(rank, port, tmp_path))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert result(tmp_path / 'stopped') == result(tmp_path / 'uninterrupted')
