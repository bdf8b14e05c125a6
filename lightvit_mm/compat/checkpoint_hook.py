"""Patches that keep mmengine's CheckpointHook from losing checkpoints."""

import logging
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log

from ..engine.last_checkpoint import POINTER, remove, run_folders
from ..files import remove_all_drafts, write_whole
from ..safe_load import CheckpointError


def start_in_work_dir(module: ModuleType) -> None:
    """Let a run delete only its own checkpoints and what killed processes left.

    Args:
        module: ``mmengine.hooks.checkpoint_hook``.
    """
    hook = module.CheckpointHook
    before_train = hook.before_train

    def before_train_in_work_dir(self, runner) -> None:
        folders = run_folders(runner)
        # These steps come from the checkpoint and name files to delete.
        info = runner.message_hub.runtime_info
        steps = info.get('keep_ckpt_ids', [])
        info['keep_ckpt_ids'] = [step for step in steps if isinstance(step, int)]
        if is_main_process():
            for folder in {folders.work_dir, folders.checkpoints}:
                remove_all_drafts(folder)
            others = folders.find_all()
            if others and runner.iter == 0:
                print_log(
                    f'{others[0].parent} has checkpoints of an earlier run, such as '
                    f'{others[-1].name}. This run starts from the beginning and '
                    'overwrites those with the same names; --resume continues the '
                    'earlier run',
                    logger='current',
                    level=logging.WARNING,
                )
        before_train(self, runner)
        _set_best(
            self,
            {name: _inside(self.out_dir, path) for name, path in _best(self).items()},
        )

    hook.before_train = before_train_in_work_dir


def _inside(folder: str, path: str | None) -> str | None:
    name = os.path.basename(path or '')
    return os.path.join(folder, name) if name.startswith('best_') else None


def remove_after_saving(module: ModuleType) -> None:
    """Remove earlier checkpoints only when a new one is complete.

    Args:
        module: ``mmengine.hooks.checkpoint_hook``.
    """
    hook = module.CheckpointHook
    save_best = hook._save_best_checkpoint

    def save_then_remove(self, runner, step: int, meta: dict) -> None:
        path = self.file_backend.join_path(
            self.out_dir, self.filename_tmpl.format(step)
        )
        self.last_ckpt = path
        runner.message_hub.update_info('last_ckpt', path)
        outdated = []
        if self.max_keep_ckpts > 0:
            steps = [*(kept for kept in self.keep_ckpt_ids if kept != step), step]
            outdated = steps[: -self.max_keep_ckpts]
            self.keep_ckpt_ids = deque(steps, self.max_keep_ckpts)
            # This includes the outdated ones. If the run is killed before it removes
            # them, the resumed run does.
            runner.message_hub.update_info('keep_ckpt_ids', steps)
        with _explained():
            runner.save_checkpoint(
                self.out_dir,
                self.filename_tmpl.format(step),
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            barrier()  # With FSDP and DeepSpeed, each process may save a part.
            if is_main_process():
                write_whole(Path(runner.work_dir, POINTER), str(path).encode())
                for old in outdated:
                    name = self.filename_tmpl.format(old)
                    remove(self.file_backend.join_path(self.out_dir, name), self)

    def save_best_then_remove(self, runner, metrics: dict) -> None:
        before = _best(self)
        # With paths set, the original would remove them before it saves.
        _set_best(self, dict.fromkeys(before))
        with _explained():
            save_best(self, runner, metrics)
        after = {name: path or before[name] for name, path in _best(self).items()}
        _set_best(self, after)
        if is_main_process():
            for path in set(before.values()) - {None, *after.values()}:
                remove(path, self)

    hook._save_checkpoint_with_step = save_then_remove
    hook._save_best_checkpoint = save_best_then_remove


def _best(hook: Any) -> dict[str, str | None]:
    """The path of the best checkpoint by metric, or by '' if there is one metric."""
    if hook.save_best is None:
        return {}
    if len(hook.key_indicators) == 1:
        return {'': hook.best_ckpt_path}
    return dict(hook.best_ckpt_path_dict)


def _set_best(hook: Any, paths: dict[str, str | None]) -> None:
    if list(paths) == ['']:
        hook.best_ckpt_path = paths['']
    elif paths:
        hook.best_ckpt_path_dict = paths


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f'The checkpoint could not be saved: {error}. Earlier checkpoints are '
            'complete. Free disk space or check the folder, then use --resume'
        ) from error
