"""Patches that let mmengine load checkpoints, safely and by address."""

from collections.abc import Callable
from pickle import UnpicklingError
from types import ModuleType

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

# The only functions in mmengine's checkpoints: the statistics of a
# HistoryBuffer and the annealing of OneCycleLR.
_PICKLED_METHODS = {
    HistoryBuffer: ('min', 'max', 'current', 'mean'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}


def _restricted_getattr(owner: type, name: str) -> Callable:
    """Stands for ``getattr`` in checkpoints, where it names a method.

    ``getattr`` itself would give a checkpoint access to any object.
    """
    if name not in _PICKLED_METHODS.get(owner, ()):
        raise UnpicklingError(
            f'mmengine does not write getattr({owner!r}, {name!r}): '
            'the checkpoint may carry code'
        )
    return getattr(owner, name)


def load_mmengine_checkpoints(module: ModuleType) -> None:
    """Allow the classes that mmengine writes in checkpoints, and nothing else.

    Args:
        module: ``mmengine.runner.checkpoint``.
    """
    # Earlier versions restrict torch.load only on request.
    if torch.__version__ < '2.6':
        return
    codes = '?' + np.typecodes['AllInteger'] + np.typecodes['AllFloat']
    numbers = {type(np.dtype(code)) for code in codes}
    torch.serialization.add_safe_globals(
        [
            ConfigDict,  # a dataset's metainfo, where it comes from a config
            HistoryBuffer,
            OneCycleParamScheduler,
            (_restricted_getattr, 'builtins.getattr'),
            np.dtype,
            np.ndarray,
            *numbers,
        ]
    )
    # NumPy 2 renamed the module; a checkpoint has the name that its writer knew.
    for name in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        torch.serialization.add_safe_globals(
            [
                (np.empty(0).__reduce__()[0], f'{name}._reconstruct'),
                (np.float64().__reduce__()[0], f'{name}.scalar'),
            ]
        )
    # This loader of newer mmengine falls back to the unsafe one.
    if hasattr(module, '_safe_torch_load'):
        module._safe_torch_load = torch.load


def register_addresses(module: ModuleType) -> None:
    """Register the scheme ``lightvit://``.

    Args:
        module: ``mmengine.runner.checkpoint``.
    """

    @module.CheckpointLoader.register_scheme(prefixes='lightvit://')
    def load_from_lightvit(filename: str, map_location=None) -> dict:
        from ..checkpoints import load_published

        return load_published(filename, map_location)
