"""Patches of how mmengine loads checkpoints: safely, by address, undamaged ones."""

import os
from types import ModuleType

import torch

from ..downloads import load_url
from ..engine.last_checkpoint import choose, run_folders
from ..safe_load import (
    UNSAFE_VARIABLE,
    RefusedError,
    allow_training_state,
    allows_code,
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
    # This loader of newer mmengine falls back to unsafe loading.
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


def read_published_models(module: ModuleType) -> None:
    """Load a published model wherever a checkpoint is expected.

    Args:
        module: ``mmengine.runner.checkpoint``.
    """
    register = module.CheckpointLoader.register_scheme
    load_file = module.load_from_local

    def load_from_local(filename: str, map_location=None) -> dict:
        if os.path.isdir(os.path.expanduser(filename)):
            return load_model_folder(filename, map_location)
        return load_file(filename, map_location)

    def load_model_folder(filename: str, map_location=None) -> dict:
        from ..model_folder import ModelFolder

        return ModelFolder(filename).checkpoint(map_location)

    register('', load_from_local, force=True)
    register('hf://', load_model_folder)


def resume_from_good_checkpoints(module: ModuleType) -> None:
    """Let ``resume=True`` find the last checkpoint that is not damaged.

    Args:
        module: ``mmengine.runner.runner`` or ``mmengine.runner._flexible_runner``.
    """
    runner = getattr(module, 'FlexibleRunner', None) or module.Runner
    load_or_resume = runner.load_or_resume

    def choose_and_resume(self) -> None:
        if self._resume and not self._has_loaded:
            # FlexibleRunner also takes the path instead of True.
            given = self._resume if isinstance(self._resume, str) else self._load_from
            self._load_from = choose(run_folders(self), given)
            self._resume = self._load_from is not None
        load_or_resume(self)

    runner.load_or_resume = choose_and_resume


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
