"""Saving loses no checkpoint: not if it fails, nor if the process is killed."""

import errno
import multiprocessing
import os
import resource
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from lightvit_mm.safe_load import CheckpointError

from ..toy import make_runner

pytestmark = pytest.mark.usefixtures('one_thread')


def names(folder):
    """The checkpoints of a folder, and what is left of unfinished ones."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix == '.pth' or path.name.startswith('.')
    )


def last(folder):
    return Path((folder / 'last_checkpoint').read_text()).name


@contextmanager
def limited_file_size(size):
    """Writing fails after some bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@HOOKS.register_module()
class FillDisk(Hook):
    """Limits the size of files in an epoch."""

    def before_train_epoch(self, runner):
        if runner.epoch == 2:
            self.limit = limited_file_size(4000)
            self.limit.__enter__()

    def after_run(self, runner):
        self.limit.__exit__(None, None, None)


def train_on_full_disk(folder, **checkpoint):
    runner = make_runner(
        folder, max_epochs=3, checkpoint=dict(max_keep_ckpts=1, **checkpoint)
    )
    fill = FillDisk()
    runner.register_hook(fill)
    try:
        with pytest.raises(CheckpointError) as caught:
            runner.train()
    finally:
        fill.after_run(runner)
    return str(caught.value)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    error = train_on_full_disk(tmp_path, save_best=None)
    assert names(tmp_path) == ['epoch_2.pth']
    assert last(tmp_path) == 'epoch_2.pth'
    assert error == (
        f'The checkpoint could not be saved: [Errno {errno.EFBIG}] File too large: '
        f"'{tmp_path}/epoch_3.pth'. Earlier checkpoints are complete. Free disk space "
        'or check the folder, then use --resume'
    )
    runner = make_runner(
        tmp_path, max_epochs=3, checkpoint=dict(max_keep_ckpts=1), resume=True
    )
    runner.train()
    assert runner.iter == 6
    assert 'epoch_3.pth' in names(tmp_path)


def test_a_full_disk_leaves_the_best_checkpoint(tmp_path):
    """Even if no other checkpoint is saved."""
    error = train_on_full_disk(tmp_path, interval=-1, save_last=False)
    assert names(tmp_path) == ['best_score_epoch_2.pth']
    assert 'best_score_epoch_3.pth' in error


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / 'file').touch()
    runner = make_runner(
        tmp_path / 'run', checkpoint=dict(out_dir=str(tmp_path / 'file'))
    )
    with pytest.raises(CheckpointError, match='could not be saved: .*file/run'):
        runner.train()
    assert not (tmp_path / 'run/last_checkpoint').exists()


@pytest.mark.parametrize('number', [1, 2, 3, -1])
def test_the_last_ones_are_kept(number, tmp_path):
    checkpoint = dict(max_keep_ckpts=number)
    make_runner(tmp_path, max_epochs=4, checkpoint=checkpoint).train()
    kept = range(1, 5)[-number:] if number > 0 else range(1, 5)
    best = [name for name in names(tmp_path) if name.startswith('best_')]
    assert len(best) == 1
    assert names(tmp_path) == best + [f'epoch_{epoch}.pth' for epoch in kept]
    assert last(tmp_path) == 'epoch_4.pth'


def test_one_best_checkpoint_is_kept_for_each_metric(tmp_path):
    checkpoint = dict(save_best=['score', 'other'], rule=['less', 'greater'])
    runner = make_runner(tmp_path, max_epochs=3, checkpoint=checkpoint)
    evaluate = runner.val_evaluator.evaluate
    scores = iter([3, 1, 2])

    def two_metrics(size):
        score = float(next(scores))
        return dict(evaluate(size), score=score, other=score)

    runner.val_evaluator.evaluate = two_metrics
    runner.train()
    assert [name for name in names(tmp_path) if 'best' in name] == [
        'best_other_epoch_1.pth',
        'best_score_epoch_2.pth',
    ]


def test_drafts_of_killed_processes_are_removed(tmp_path):
    draft = tmp_path / '.writing_0123456789ab_xyz/epoch_1.pth'
    draft.parent.mkdir()
    draft.touch()
    make_runner(tmp_path, checkpoint=dict(save_best=None)).train()
    assert names(tmp_path) == ['epoch_1.pth', 'epoch_2.pth']


def test_a_new_run_among_earlier_checkpoints_says_so(tmp_path, caplog):
    for resume, warned in ((False, False), (False, True), (True, False)):
        runner = make_runner(tmp_path, resume=resume)
        runner.logger.addHandler(caplog.handler)
        runner.train()
        assert ('starts from the beginning and overwrites' in caplog.text) == warned
        caplog.clear()


# Kills

CHANGES = ('fsync', 'replace', 'remove')


def resume_until(count, folder, checkpoint):
    """Train an epoch in a process that kills itself before a change to the disk.

    Returns the number of changes before.
    """
    context = multiprocessing.get_context('fork')
    changes = context.Value('i', 0)

    def run():
        for name in CHANGES:
            setattr(os, name, counted(getattr(os, name)))
        make_runner(folder, max_epochs=3, checkpoint=checkpoint, resume=True).train()

    def counted(change):
        def change_or_die(*args, **kwargs):
            if changes.value == count:
                os.kill(os.getpid(), signal.SIGKILL)
            changes.value += 1
            return change(*args, **kwargs)

        return change_or_die

    process = context.Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == (0 if count is None else -signal.SIGKILL)
    return changes.value


@pytest.mark.parametrize(
    ('number', 'save_best'),
    [
        (1, None),
        *(pytest.param(n, 'score', marks=pytest.mark.torture) for n in (1, 2, 3)),
    ],
)
def test_a_kill_before_any_change_to_the_disk_loses_nothing(
    number, save_best, tmp_path
):
    checkpoint = dict(max_keep_ckpts=number, save_best=save_best)
    start, whole = tmp_path / 'start', tmp_path / 'whole'
    make_runner(start, max_epochs=2, checkpoint=checkpoint).train()
    shutil.copytree(start, whole)
    total = resume_until(None, whole, checkpoint)
    # Each file is synchronized and replaced: the checkpoint and last_checkpoint, then
    # the best one and both again. The old ones are removed.
    assert total == (5 * 2 + 1 if save_best else 2 * 2) + (number < 3)
    expected = torch.load(whole / 'epoch_3.pth', weights_only=False)
    for count in range(total):
        folder = tmp_path / str(count)
        shutil.copytree(start, folder)
        resume_until(count, folder, checkpoint)
        resume_until(None, folder, checkpoint)
        again = torch.load(folder / 'epoch_3.pth', weights_only=False)
        for name, value in again['state_dict'].items():
            assert value.equal(expected['state_dict'][name])
        # A kill can leave one best checkpoint too many.
        left = [name for name in names(folder) if not name.startswith('best_')]
        assert left == [f'epoch_{epoch}.pth' for epoch in (1, 2, 3)[-number:]]
