"""Save a checkpoint when a run is asked to stop."""

import copy
import os
import signal
import sys
import threading
import time
from collections.abc import Sized
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.runner import Runner

from ..arguments import SECONDS, checked
from ..registry import HOOKS
from .distributed import largest, leave_process_group
from .last_checkpoint import remove

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Processes may get one signal twice: from the scheduler and from the launcher.
_SAME_REQUEST = 1  # seconds


@HOOKS.register_module()
class StopSignalHook(Hook):
    """Saves a checkpoint on SIGTERM or SIGINT (Ctrl-C), and exits.

    All processes stop after the same iteration, even if only one of them got the
    signal. They exit with 128 plus the number of the signal: 143 or 130. A second
    signal ends the run at once.

    Training stops after the current iteration, and validation after the current
    batch. If metrics are being computed, the run stops when they are done. With
    :class:`~lightvit_mm.engine.exact_resume.ExactResumeHook`, the resumed run first
    repeats an interrupted validation, or runs one that had not started.

    The checkpoint is named ``iter_N.pth`` and saved with the options of
    ``CheckpointHook``; ``last_checkpoint`` names it. The next regular checkpoint of
    the resumed run replaces it. Without a ``CheckpointHook``, nothing is saved.

    Ignored signals stay ignored. The hook does nothing if the training runs in a
    thread other than the main one, because Python receives no signals there.

    Args:
        timeout: Seconds after a signal. If the run has not begun to save a checkpoint
            by then, it exits without one. Default: 300.

    Raises:
        ValueError: If ``timeout`` is not a positive number.
    """

    priority = 'LOWEST'

    @checked(timeout=SECONDS)
    def __init__(self, timeout: float = 300) -> None:
        self.timeout = timeout
        self._timer: threading.Timer | None = None
        self._signal = 0
        self._received = 0.0
        self._handlers: dict[int, Any] = {}
        self._position: dict[str, int] = {}  # of the checkpoint of a stop
        self._saved_iter = -1
        self._replaceable: int | None = None  # iteration of the last stop
        self._val_batches = 0  # that every process has

    def before_train(self, runner: Runner) -> None:
        """Install the signal handlers."""
        if not runner.iter:
            self._replaceable = None
        if threading.current_thread() is not threading.main_thread():
            return  # Python allows it in the main thread only.
        process = os.getpid()
        for number in SIGNALS:
            # A shell lets background processes ignore Ctrl-C; handlers that are not
            # of Python cannot be restored.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._handlers[number] = signal.signal(
                    number, lambda number, _: self._receive(runner, process, number)
                )

    def after_train(self, runner: Runner) -> None:
        """Restore the signal handlers."""
        self._restore_handlers()

    def _receive(self, runner: Runner, process: int, number: int) -> None:
        if os.getpid() != process:
            return  # a child without its own handlers
        now = time.monotonic()
        if not self._signal:
            self._signal, self._received = number, now
            self._timer = threading.Timer(self.timeout, self._give_up)
            self._timer.daemon = True
            self._timer.start()
            if is_main_process():
                runner.logger.warning(
                    f'Got {signal.Signals(number).name}: the run saves a checkpoint '
                    'and stops. A second signal stops it at once.'
                )
        elif now - self._received > _SAME_REQUEST:
            self._restore_handlers()
            signal.raise_signal(number)

    def _give_up(self) -> None:
        print(
            f'The run has not stopped within {self.timeout:g} seconds. It exits '
            'without a checkpoint.',
            file=sys.stderr,
            flush=True,
        )
        os._exit(128 + self._signal)

    def _restore_handlers(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs=None
    ) -> None:
        """Stop if there was a signal."""
        self._remove_replaced(runner)
        if number := largest(self._signal):
            self._stop(runner, number, runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Remove the checkpoint of the last stop if a regular one was saved."""
        self._remove_replaced(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Find the number of batches that every process has."""
        self._val_batches = 0
        dataloader = runner.val_dataloader
        if self._handlers and isinstance(dataloader, Sized):
            self._val_batches = -largest(-len(dataloader))

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs=None
    ) -> None:
        """Stop if there was a signal."""
        if batch_idx < self._val_batches and (number := largest(self._signal)):
            for hook in runner.hooks:
                # Only mmpretrain's hook has this option.
                if isinstance(hook, EMAHook) and getattr(hook, 'evaluate_on_ema', True):
                    hook._swap_ema_parameters()
            self._stop(runner, number, runner.iter)
        if batch_idx + 1 == self._val_batches:
            # mmpretrain's EMAHook then validates again, with the weights in training.
            self._val_batches = 0

    def after_val(self, runner: Runner) -> None:
        """Stop if there was a signal; all hooks have seen the metrics."""
        if self._handlers and (number := largest(self._signal)):
            self._stop(runner, number, runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note the iteration that is saved, and mark the checkpoint of a stop."""
        # FlexibleRunner counts one iteration too many after the last one of an epoch.
        checkpoint['meta'].update(self._position)
        if 'optimizer' in checkpoint:
            self._saved_iter = checkpoint['meta']['iter']
        if self._position:
            checkpoint['stopped_after'] = self._position['iter']

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note whether a stop saved the checkpoint."""
        self._replaceable = checkpoint.get('stopped_after')

    def _stop(self, runner: Runner, number: int, iteration: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        saved = self._save(runner, iteration)
        # Without it, the others would exit while the first process saves.
        barrier()
        self._restore_handlers()
        if is_main_process():
            runner.logger.warning(
                f'Stopped by {signal.Signals(number).name} after iteration '
                f'{iteration}. {saved}'
            )
        leave_process_group()
        raise SystemExit(128 + number)

    def _save(self, runner: Runner, iteration: int) -> str:
        regular = _checkpoint_hook(runner)
        if regular is None:
            return 'Nothing was saved, because the run has no CheckpointHook.'
        # mmengine's Runner calls before_save_checkpoint in the first process only.
        if largest(self._saved_iter) != iteration:
            self._position = dict(epoch=runner.epoch, iter=iteration)
            regular = _by_iterations(regular)
            regular._save_checkpoint_with_step(
                runner, iteration, meta=dict(self._position)
            )
            if iteration != self._replaceable:  # Otherwise it has the same name.
                self._remove_replaced(runner)
        return (
            f'Saved {regular.last_ckpt}; to resume, repeat the command with --resume.'
        )

    def _remove_replaced(self, runner: Runner) -> None:
        """Remove the checkpoint of the last stop if another one was saved since."""
        if self._replaceable is None or self._saved_iter < self._replaceable:
            return
        if is_main_process():
            regular = _checkpoint_hook(runner)
            path = regular.file_backend.join_path(
                regular.out_dir, f'iter_{self._replaceable:d}.pth'
            )
            remove(path, regular)
        self._replaceable = None


def _checkpoint_hook(runner: Runner) -> CheckpointHook | None:
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    return hooks[0] if hooks else None


def _by_iterations(regular: CheckpointHook) -> CheckpointHook:
    """A hook with the same options that saves an iteration and deletes nothing."""
    hook = copy.copy(regular)
    hook.by_epoch = False
    hook.filename_tmpl = 'iter_{}.pth'
    hook.max_keep_ckpts = -1
    return hook
