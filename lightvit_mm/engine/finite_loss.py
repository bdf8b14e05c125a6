"""Stop a run whose loss is NaN or infinite, and never save such weights."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from ..arguments import checked, integer
from ..messages import listed
from ..registry import HOOKS
from .distributed import largest


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops a run whose loss stays NaN or infinite, and never saves such weights.

    A loss that is not finite usually makes the weights NaN, and the run stops at
    once. With mixed precision, the loss scaler skips such an update, and the run may
    recover; it stops after ``patience`` such iterations in a row. Infinite gradients
    of a finite loss, which make the scaler lower its scale, do not count.

    The log and the error name the losses, the iteration and the images. They also
    name the images of the previous iteration, because its gradients may be the
    cause. The log lists all images, the error only the first ones. With several
    processes, a bad loss in one counts for all, and all raise the same error.

    A checkpoint is saved only if all parameters and the state of the optimizer are
    finite, and no buffer, such as BatchNorm's statistics, contains NaN. Otherwise the
    run stops. With FSDP, each process checks its part: a file with NaN may be written,
    but ``last_checkpoint`` does not name it. With DeepSpeed, mmengine does not call
    this check.

    mmdet's ``CheckInvalidLossHook`` checks only every 50th iteration, in each
    process separately. It names neither losses nor images, and NaN may be saved.

    Args:
        patience: The number of iterations in a row. With a few, a single bad batch
            does not stop the run, and little time is lost if the loss stays bad.

    Raises:
        FloatingPointError: While training, as described above.
        ValueError: If ``patience`` is not a positive integer.
    """

    # After the logger and EMAHook, but before CheckpointHook.
    priority = 'LOW'

    @checked(patience=integer(least=1))
    def __init__(self, patience: int = 5) -> None:
        self.patience = patience
        self._in_a_row = 0
        self._first = ''
        self._images_before: list[str] = []

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Stop if the loss is not finite and will not recover."""
        # mmengine's RuntimeInfoHook has already waited for these values.
        losses = {
            name: torch.as_tensor(value).item()
            for name, value in (outputs or {}).items()
            if 'loss' in name
        }
        bad = {
            name: value for name, value in losses.items() if not math.isfinite(value)
        }
        images = list(_image_paths(data_batch))
        if not largest(len(bad)):
            self._in_a_row = 0
            self._images_before = images
            return
        self._in_a_row += 1
        if self._in_a_row == 1:
            self._describe(runner, bad, images)
        of_ranks = all_gather_object(_not_finite(runner.model))
        weights = list(dict.fromkeys(chain.from_iterable(of_ranks)))
        if weights:
            reason = f'The weights are not finite either: {listed(weights)}.'
        else:
            reason = f'It was not finite in {self.patience} iterations in a row.'
        if weights or self._in_a_row == self.patience:
            raise FloatingPointError(
                f'The loss is not finite: {self._first}. {reason} Check these images, '
                'lower the learning rate or set optim_wrapper.clip_grad.'
            )

    def _describe(self, runner: Runner, bad: dict, images: Sequence[str]) -> None:
        """Log the losses and images of all processes, and keep them for the error."""
        losses, now, before = {}, [], []
        for of_rank in all_gather_object((bad, images, self._images_before)):
            losses |= of_rank[0]
            now += of_rank[1] if of_rank[0] else []
            before += of_rank[2]

        def text(most: int) -> str:
            values = ', '.join(f'{name}={value}' for name, value in losses.items())
            return (
                f'{values} in iteration {runner.iter + 1} with the images '
                f'{listed(now, most)}; images of the previous iteration: '
                f'{listed(before, most)}'
            )

        self._first = text(most=10)
        runner.logger.warning(f'The loss is not finite: {text(len(now + before))}')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse to save weights that are not finite."""
        # Only the first process may be here, so it does not ask the others.
        weights = _not_finite(runner.model)
        # A huge gradient makes Adam's exp_avg_sq infinite, and its weight never learns
        # again.
        weights += [
            f'{name} of the optimizer'
            for name in _not_finite_states(checkpoint.get('optimizer'))
        ]
        if weights:
            raise FloatingPointError(
                f'The weights are not finite and are not saved: {listed(weights)}. '
                'Resume from the last checkpoint with a lower learning rate or '
                'optim_wrapper.clip_grad.'
            )


def _not_finite(model: nn.Module) -> list[str]:
    """Names of parameters that are not finite, and of buffers with NaN.

    Infinite buffers, such as masks, may be intended.
    """
    names = [n for n, p in model.named_parameters() if not p.isfinite().all()]
    return names + [n for n, b in model.named_buffers() if b.isnan().any()]


def _not_finite_states(content: Any, name: str = '') -> list[str]:
    """Names of states, such as exp_avg, with a tensor that is not finite."""
    if isinstance(content, torch.Tensor):
        return [] if content.isfinite().all() else [name]
    entries = content.items() if isinstance(content, dict) else ()
    found = (_not_finite_states(value, str(key)) for key, value in entries)
    return list(dict.fromkeys(chain.from_iterable(found)))


def _image_paths(batch: Any) -> Iterator[str]:
    """The ``img_path`` of all data samples in a batch."""
    if hasattr(batch, 'img_path'):
        yield batch.img_path
    elif isinstance(batch, dict):
        yield from _image_paths(list(batch.values()))
    elif isinstance(batch, list | tuple):
        for item in batch:
            yield from _image_paths(item)
