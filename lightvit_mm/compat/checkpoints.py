"""Patches that let mmengine load checkpoints, safely and by address."""

import os
from types import ModuleType

import torch

from ..safe_load import (
    UNSAFE_VARIABLE,
    RefusedError,
    allow_training_state,
    allows_code,
    load_url,
    read,
)


class _SafeTorch:
    """``torch``, but its ``load`` is the safe reader."""

    load = staticmethod(read)

    def __getattr__(self, name: str):
        return getattr(torch, name)


def load_safely(module: ModuleType) -> None:
    """Read checkpoints from all sources with :func:`lightvit_mm.safe_load.read`.

    Args:
        module: ``mmengine.runner.checkpoint``.
    """
    # Libraries that call torch.load themselves need it, too.
    allow_training_state()
    module.torch = _SafeTorch()
    module.load_url = load_url
    # This loader of newer mmengine falls back to the unsafe one.
    if hasattr(module, '_safe_torch_load'):
        module._safe_torch_load = read


def register_addresses(module: ModuleType) -> None:
    """Register the scheme ``lightvit://``.

    Args:
        module: ``mmengine.runner.checkpoint``.
    """

    @module.CheckpointLoader.register_scheme(prefixes='lightvit://')
    def load_from_lightvit(filename: str, map_location=None) -> dict:
        from ..checkpoints import load_published

        return load_published(filename, map_location)


def keep_to_work_dir(module: ModuleType) -> None:
    """Let a resumed run replace only its own best checkpoint.

    Args:
        module: ``mmengine.hooks.checkpoint_hook``.
    """
    hook = module.CheckpointHook
    before_train = hook.before_train

    def before_train_in_work_dir(self, runner) -> None:
        # They come from the checkpoint and name files to delete.
        info = runner.message_hub.runtime_info
        steps = info.get('keep_ckpt_ids', [])
        info['keep_ckpt_ids'] = [step for step in steps if isinstance(step, int)]
        before_train(self, runner)
        if getattr(self, 'best_ckpt_path', None) is not None:
            self.best_ckpt_path = _inside(self.out_dir, self.best_ckpt_path)
        for name, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            self.best_ckpt_path_dict[name] = path and _inside(self.out_dir, path)

    hook.before_train = before_train_in_work_dir


def _inside(folder: str, path: str) -> str | None:
    name = os.path.basename(path)
    return os.path.join(folder, name) if name.startswith('best_') else None


def refuse_stored_configs(module: ModuleType) -> None:
    """Let inferencers take configs from the user only, not from checkpoints.

    Args:
        module: ``mmengine.infer.infer``.
    """
    inferencer = module.BaseInferencer
    init_model = inferencer._init_model

    def init_model_of_given_config(self, cfg, weights, device='cpu'):
        if not cfg and not allows_code():
            raise RefusedError(
                f'{weights} needs its config as the argument model. The one in the '
                'checkpoint is Python code; if you trust its author, set '
                f'{UNSAFE_VARIABLE}=1 to execute it.'
            )
        return init_model(self, cfg, weights, device)

    inferencer._init_model = init_model_of_given_config
