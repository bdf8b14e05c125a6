"""Resume a run so that its weights equal those of a run that never stopped."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import BatchSampler, DataLoader

from ..registry import HOOKS

# Separate random numbers for loading the images and for the training step.
_LOAD, _STEP = range(2)


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Makes all random numbers depend on the seed, the iteration and the rank only.

    Python, NumPy and PyTorch (all devices) are seeded before each batch is loaded,
    wherever it is loaded, and before each training step. A resumed run therefore
    needs no random state. It continues at the next batch, also in the middle of an
    epoch, and skips the earlier ones without loading them. On a CPU its weights
    equal those of an uninterrupted run bit for bit.

    The number of workers does not change the result, and no epoch repeats the
    random numbers of another. Without this hook, workers that are not persistent
    repeat theirs in each epoch, because mmengine seeds them with the same number.

    If a checkpoint was saved before the validation that follows it, a resumed run
    validates before it trains. It also restores the counts of ``EarlyStoppingHook``.
    Schedulers that follow a metric, the best checkpoint and the end of the training
    then match an uninterrupted run.

    The resumed run may have a different batch size, number of processes or number of
    images, and the checkpoint may have no optimizer state. Each logs a warning.

    Three things are not restored, so that they make a resumed run differ: images
    that a transform keeps in its worker (mmdet's ``CachedMosaic`` and
    ``CachedMixUp``), gradients that are being accumulated, and BatchNorm's
    statistics on ranks other than 0.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._saved: dict[str, Any] = {}
        self._done = 0  # batches of this epoch
        self._is_validated = False  # after the last iteration

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save the position, the sampler's seed and the state of other hooks."""
        sampler = runner.train_dataloader.batch_sampler.sampler
        checkpoint['exact_resume'] = dict(
            # It may be drawn at random, unlike that of the runner.
            sampler_seed=getattr(sampler, 'seed', None),
            done=self._done,
            # If the validation that ended the training is repeated, it ends it again.
            validated=self._is_validated and not runner.train_loop.stop_training,
            batches=_batches(runner),
            early_stopping={
                hook.monitor: (hook.wait_count, float(hook.best_score))
                for hook in _early_stopping_hooks(runner)
            },
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what was saved until it is known whether the run is resumed."""
        self._saved = checkpoint.get('exact_resume', {})
        # FlexibleRunner takes the optimizer's state first, and fails without it.
        takes_first = hasattr(runner, 'strategy')
        if runner._resume and not takes_first and 'optimizer' not in checkpoint:
            runner.logger.warning(
                'The checkpoint has no optimizer state (best checkpoints have none): '
                'the optimizer starts from scratch.'
            )

    def before_train(self, runner: Runner) -> None:
        """Let the data loader start at the first batch that was not trained."""
        loop = runner.train_loop
        _count_before_saving(runner)
        if runner.iter and self._saved:
            loop.dataloader.batch_sampler.sampler.seed = self._saved['sampler_seed']
            self._done = self._saved['done']
            self._is_validated = self._saved.get('validated', True)
            self._compare_batches(runner)
            self._restore_early_stopping(runner)
            if not self._is_validated and _validates_here(runner, self._done):
                # It comes after all other hooks, which are called later in this loop.
                runner.register_hook(_MissedValidation(), 'LOWEST')
        if isinstance(loop, IterBasedTrainLoop):
            batches = _EndlessBatches(runner)
            loop.dataloader_iterator = _Resumed(loop)
        else:
            batches = _EpochBatches(runner, skip=self._done)
            _number_batches_from(self._done, loop)
        _set_batch_sampler(loop.dataloader, batches)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Seed the training step."""
        self._done = batch_idx + 1
        self._is_validated = False
        _seed(_STEP, runner.seed, runner.rank, runner.iter)

    def after_train_epoch(self, runner: Runner) -> None:
        """Number the batches of the next epoch from 0 again."""
        self._done = 0
        vars(runner.train_loop).pop('run_iter', None)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Note that this iteration has been validated."""
        self._is_validated = True

    def _compare_batches(self, runner: Runner) -> None:
        saved, now = self._saved.get('batches', {}), _batches(runner)
        changed = [
            f'{name}={now[name]} (was {saved[name]})'
            for name in now.keys() & saved.keys()
            if now[name] != saved[name]
        ]
        if changed:
            runner.logger.warning(
                f'The run is resumed with {", ".join(sorted(changed))}. It continues '
                'after the same number of batches, so images of this epoch may be '
                'skipped or repeated.'
            )

    def _restore_early_stopping(self, runner: Runner) -> None:
        saved = self._saved.get('early_stopping', {})
        for hook in _early_stopping_hooks(runner):
            if hook.monitor in saved:
                hook.wait_count, hook.best_score = saved[hook.monitor]


class _MissedValidation(Hook):
    """Validates before a resumed run trains."""

    def before_train(self, runner: Runner) -> None:
        runner.logger.info(
            'The checkpoint was saved before its validation, which runs now.'
        )
        runner._hooks.remove(self)
        runner.val_loop.run()


def _validates_here(runner: Runner, done: int) -> bool:
    """Whether the loop validates between its last iteration and the next one.

    Args:
        runner: The runner of mmengine.
        done: Number of batches of this epoch.
    """
    loop = runner.train_loop
    if isinstance(loop, IterBasedTrainLoop):
        position, end = loop.iter, loop.max_iters
    else:
        position, end = loop.epoch, loop.max_epochs
        if done:  # The loop itself will end this epoch.
            return False
    loop._decide_current_val_interval()
    return (
        runner.val_loop is not None
        and position >= loop.val_begin
        and (position % loop.val_interval == 0 or position == end)
    )


def _early_stopping_hooks(runner: Runner) -> list[EarlyStoppingHook]:
    return [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]


def _count_before_saving(runner: Runner) -> None:
    """Let EarlyStoppingHook see metrics before CheckpointHook, which saves its count.

    CheckpointHook saves again if a validation finds a better model.
    """
    hooks = runner.hooks
    saves = [i for i, hook in enumerate(hooks) if isinstance(hook, CheckpointHook)]
    for hook in _early_stopping_hooks(runner):
        if saves and hooks.index(hook) > saves[0]:
            hooks.remove(hook)
            hooks.insert(saves[0], hook)


def _batches(runner: Runner) -> dict[str, int]:
    """What determines which images each batch contains."""
    dataloader = runner.train_dataloader
    return dict(
        batch_size=dataloader.batch_sampler.batch_size,
        processes=runner.world_size,
        images=len(dataloader.dataset),
    )


def _seed(*entropy: int) -> None:
    """Seed Python, NumPy and PyTorch with a mixture of numbers."""
    words = np.random.SeedSequence(entropy).generate_state(3, np.uint64)
    random.seed(int(words[0]))
    np.random.seed(words[1:2].view(np.uint32))
    torch.manual_seed(int(words[2]))


class _SeededBatch:
    """Indices of a batch; the process that reads them is seeded first."""

    def __init__(self, indices: list[int], *entropy: int) -> None:
        self.indices = indices
        self.entropy = entropy

    def __iter__(self) -> Iterator[int]:
        _seed(*self.entropy)
        yield from self.indices

    def __len__(self) -> int:
        return len(self.indices)


class _Batches(BatchSampler):
    """The batches of a run's batch sampler from the loop's iteration on."""

    def __init__(self, runner: Runner) -> None:
        self.batches = runner.train_dataloader.batch_sampler
        super().__init__(
            self.batches.sampler, self.batches.batch_size, self.batches.drop_last
        )
        self.runner = runner

    def remaining(self) -> Iterator[list[int]]:
        raise NotImplementedError

    def __iter__(self) -> Iterator[_SeededBatch]:
        seed, rank, first = self.runner.seed, self.runner.rank, self.runner.iter
        for iteration, indices in enumerate(self.remaining(), first):
            yield _SeededBatch(indices, _LOAD, seed, rank, iteration)

    def __len__(self) -> int:
        return len(self.batches)


class _EpochBatches(_Batches):
    """The batches of one epoch, without the first ``skip`` in the first one."""

    def __init__(self, runner: Runner, skip: int) -> None:
        super().__init__(runner)
        self.skip = skip

    def remaining(self) -> Iterator[list[int]]:
        skip, self.skip = self.skip, 0
        return itertools.islice(self.batches, skip, None)


class _EndlessBatches(_Batches):
    """The batches of all epochs."""

    def remaining(self) -> Iterator[list[int]]:
        return itertools.islice(self.endless(), self.runner.iter, None)

    def endless(self) -> Iterator[list[int]]:
        if isinstance(self.sampler, InfiniteSampler):
            # It goes on where it was left, and keeps the order of its first seed.
            self.sampler.indices = self.sampler._indices_of_rank()
        for epoch in itertools.count():
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            empty = True
            for indices in self.batches:
                empty = False
                yield indices
            if empty:
                raise ValueError(
                    f'The training set has {len(self.sampler)} images per process, '
                    f'which make no batch of {self.batch_size}. Use a smaller '
                    'batch_size, or drop_last=False.'
                )


class _Resumed:
    """Replaces the iterator of an ``IterBasedTrainLoop``.

    The loop asks a resumed iterator to pass over what was trained, but the batch
    sampler starts there. onedl-mmengine calls :meth:`skip_iter`, and mmengine takes
    one batch after the other.
    """

    def __init__(self, loop: IterBasedTrainLoop) -> None:
        self.dataloader = loop.dataloader
        takes_each = not hasattr(loop.dataloader_iterator, 'skip_iter')
        self.to_pass = loop.iter if takes_each else 0
        self.iterator = None

    def __next__(self) -> Any:
        if self.to_pass:
            self.to_pass -= 1
            return None
        if self.iterator is None:
            self.iterator = iter(self.dataloader)
        return next(self.iterator)

    def skip_iter(self, num_iters: int) -> None:
        pass


def _number_batches_from(first: int, loop: BaseLoop) -> None:
    """Let hooks and the log see the positions in the whole epoch."""
    run_iter = loop.run_iter
    loop.run_iter = lambda idx, data_batch: run_iter(first + idx, data_batch)


def _set_batch_sampler(dataloader: DataLoader, batches: BatchSampler) -> None:
    # PyTorch forbids it by ``__setattr__``. A new data loader would escape hooks
    # that keep the old one.
    vars(dataloader)['batch_sampler'] = batches
    # Workers that mmengine has started already loaded from the old batch sampler.
    dataloader._iterator = None
