"""Makes OpenMMLab 2.x run on current PyTorch, NumPy and setuptools.

:func:`install` fills four gaps, each only where it is found:

- mmcv without its compiled operators: :mod:`lightvit_mm.mmcv_ext` supplies
  ``mmcv._ext`` from torchvision's.
- ``torch.load`` of PyTorch 2.6 and later, which refuses mmengine's own
  checkpoints: the classes that mmengine writes are allowed, nothing else.
- setuptools without ``pkg_resources``: :mod:`lightvit_mm.pkg_resources_shim`
  supplies what mmengine uses of it.
- The onedl fork: its distributions have other names than mmengine looks for
  when a config inherits by ``_base_ = 'mmseg::...'``.
"""

from collections.abc import Callable
from importlib import metadata
from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import checkpoint

from . import finder

# The only functions in mmengine's checkpoints: the statistics of a
# HistoryBuffer and the annealing of OneCycleLR.
_PICKLED_METHODS = {
    HistoryBuffer: ('min', 'max', 'current', 'mean'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}


def _restricted_getattr(owner: type, name: str) -> Callable:
    """Stands for ``getattr`` in checkpoints, where it names a method.

    ``getattr`` itself would hand a checkpoint any object there is.
    """
    if name not in _PICKLED_METHODS.get(owner, ()):
        raise UnpicklingError(
            f'getattr({owner!r}, {name!r}) is not something that mmengine '
            'writes: the checkpoint may carry code'
        )
    return getattr(owner, name)


def _allow_mmengine_checkpoints() -> None:
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
    # NumPy 2 renamed the module; a checkpoint has the name of its writer's.
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        torch.serialization.add_safe_globals(
            [
                (np.empty(0).__reduce__()[0], f'{module}._reconstruct'),
                (np.float64().__reduce__()[0], f'{module}.scalar'),
            ]
        )
    # This loader of newer mmengine falls back on the unsafe one.
    if hasattr(checkpoint, '_safe_torch_load'):
        checkpoint._safe_torch_load = torch.load


def _find_onedl_packages() -> None:
    for module, distribution in MODULE2PACKAGE.items():
        if module == distribution:
            continue
        try:
            metadata.distribution(f'onedl-{distribution}')
        except metadata.PackageNotFoundError:
            continue
        MODULE2PACKAGE[module] = module


def install() -> None:
    """Fills the gaps; a second call changes nothing."""
    finder.install()
    _find_onedl_packages()
    # Before 2.6, torch.load is not restricted unless asked.
    if torch.__version__ >= '2.6':
        _allow_mmengine_checkpoints()
