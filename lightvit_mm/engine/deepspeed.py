"""Training with DeepSpeed through mmengine's FlexibleRunner."""

import os
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec

from mmengine._strategy import DeepSpeedStrategy as MMEngineDeepSpeedStrategy
from mmengine.optim import BaseOptimWrapper
from torch import nn
from torch.optim import Optimizer

from ..registry import STRATEGIES


@STRATEGIES.register_module()
class DeepSpeedStrategy(MMEngineDeepSpeedStrategy):
    """mmengine's DeepSpeedStrategy, which takes the ``optim_wrapper`` of any config.

    Differences from mmengine's class:

    - ``clip_grad`` becomes DeepSpeed's ``gradient_clipping``.
    - ``auto_scale_lr`` scales the learning rate.
    - Hooks save their state in checkpoints and load it when a run is resumed.
    - A checkpoint is a folder. Its file ``weights.pth`` can be read by all tools.

    Args:
        **kwargs: Options of mmengine's class, such as ``zero_optimization``.

    Raises:
        ModuleNotFoundError: If DeepSpeed is missing, or too new for mmengine.
        ValueError: If the run was started without a launcher.
    """

    def __init__(self, **kwargs) -> None:
        _check_version()
        if kwargs.get('env_kwargs', {}).get('launcher') == 'none':
            raise ValueError(
                'DeepSpeed needs one process per GPU: use tools/dist_train.sh'
            )
        super().__init__(**kwargs)

    def prepare(self, model: nn.Module | dict, *, dispatch_kwargs: dict, **kwargs):
        """Build the model and its optimizer, then shard both."""
        batch_size = dispatch_kwargs.get('train_micro_batch_size_per_gpu', 1)
        self.config['train_micro_batch_size_per_gpu'] = batch_size
        return super().prepare(model, dispatch_kwargs=dispatch_kwargs, **kwargs)

    def build_optim_wrapper(
        self, optim_wrapper: dict, model: nn.Module
    ) -> BaseOptimWrapper:
        """Build a DeepSpeedOptimWrapper with the settings of any other.

        Raises:
            ValueError: If the settings are for mixed precision, or clip gradients
                other than by ``max_norm``.
        """
        if optim_wrapper.get('type') == 'AmpOptimWrapper':
            raise ValueError(
                'DeepSpeed has its own mixed precision: use '
                'optim_wrapper.type=OptimWrapper and strategy.bf16.enabled=True'
            )
        clip_grad = optim_wrapper.pop('clip_grad', None)
        if clip_grad is not None:
            if set(clip_grad) != {'max_norm'}:
                raise ValueError(
                    f'optim_wrapper.clip_grad={clip_grad}: DeepSpeed supports only '
                    'max_norm'
                )
            self.config['gradient_clipping'] = clip_grad['max_norm']
        optim_wrapper['type'] = 'DeepSpeedOptimWrapper'
        self.optim_wrapper = super().build_optim_wrapper(optim_wrapper, model)
        _merge_groups(self.optim_wrapper.optimizer)
        self._scale_lr()
        return self.optim_wrapper

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        extra_ckpt: dict,
        callback: Callable[[dict], None],
        **kwargs,
    ) -> None:
        """Save a folder with DeepSpeed's state and ``weights.pth``."""
        callback(extra_ckpt)
        if save_optimizer:
            super().save_checkpoint(filename, extra_ckpt=dict(extra_ckpt), **kwargs)
            filename = os.path.join(filename, 'weights.pth')
        super().save_checkpoint(
            filename, save_optimizer=False, extra_ckpt=extra_ckpt, **kwargs
        )

    def load_checkpoint(self, filename: str, **kwargs) -> dict:
        """Refuse ``load_from``: DeepSpeed has already copied the weights."""
        raise ValueError(
            f'load_from={filename} has no effect with DeepSpeed: use '
            f'model.init_cfg.type=Pretrained model.init_cfg.checkpoint={filename}'
        )

    def resume(
        self, filename: str, *, callback: Callable[[dict], None], **kwargs
    ) -> dict:
        """Resume from a folder that :meth:`save_checkpoint` wrote."""
        checkpoint = super().resume(filename, **kwargs)
        callback(checkpoint)
        return checkpoint


def _merge_groups(optimizer: Optimizer) -> None:
    """Merge groups with equal settings.

    mmengine makes one group per parameter. DeepSpeed shards each group, and fails if
    a process gets no part of a group.
    """
    merged: list[dict] = []
    for group in optimizer.param_groups:
        for other in merged:
            if all(group[key] == other[key] for key in group if key != 'params'):
                other['params'] += group['params']
                break
        else:
            merged.append(group)
    optimizer.param_groups[:] = merged


def _check_version() -> None:
    # mmengine imports this module, which DeepSpeed 0.19 removed.
    with suppress(ModuleNotFoundError):
        if find_spec('deepspeed.runtime.fp16.onebit'):
            return
    raise ModuleNotFoundError(
        'DeepSpeed is missing, or too new for mmengine: pip install "deepspeed<0.19"'
    )
