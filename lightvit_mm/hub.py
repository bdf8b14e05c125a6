"""Makes this package's configs and models known by name.

:func:`install` lets

- other configs inherit from this package's by
  ``_base_ = 'lightvit_mm::mask_rcnn_lightvit_s_1x.py'``. mmengine itself
  knows only its own list of packages, and only configs in subfolders.
- mmpretrain find the models of ``model-index.yml``, as in
  ``mmpretrain.get_model('lightvit-tiny_8xb128_in1k')``. mmpretrain is not
  imported for that: they are registered as soon as it is.
"""
import functools
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Optional, Tuple

from mmengine.config import Config
from mmengine.hub import get_config

_PACKAGE = Path(__file__).parent
_MIM = _PACKAGE / '.mim'
# The folder of configs/ and model-index.yml, once installed or not.
ROOT = _MIM if _MIM.is_dir() else _PACKAGE.parent


class _ModelHubFinder(MetaPathFinder):
    """Registers the models when mmpretrain's ModelHub is imported."""

    name = 'mmpretrain.apis.model'

    def find_spec(self,
                  name: str,
                  path=None,
                  target=None) -> Optional[ModuleSpec]:
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        exec_module = spec.loader.exec_module

        def exec_and_register(module: ModuleType) -> None:
            exec_module(module)
            _register_models(module)

        spec.loader.exec_module = exec_and_register
        return spec


def _register_models(module: ModuleType) -> None:
    module.ModelHub.register_model_index(
        ROOT / 'model-index.yml', config_prefix=ROOT)


def resolve(name: str) -> str:
    """The file of ``lightvit_mm::CONFIG``; any other name as it is."""
    package, separator, config = name.partition('::')
    if separator and package == _PACKAGE.name:
        return str(ROOT / 'configs' / config)
    return name


def read_config(name: str) -> Config:
    """Read a config.

    Args:
        name: A file, or PACKAGE::CONFIG for one of an installed package.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    path = resolve(name)
    if '::' in path:
        return get_config(path)
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'There is no config {path}. Name a file, such as those in '
            'configs/, or PACKAGE::CONFIG for one of an installed package.')
    return Config.fromfile(path)


def _resolve_own_configs() -> None:
    get_cfg_path = Config._get_cfg_path

    def get_own_cfg_path(cfg_path: str,
                         filename: str) -> Tuple[str, Optional[str]]:
        path = resolve(cfg_path)
        # No scope: each config names its library in default_scope.
        return get_cfg_path(path, filename) if path == cfg_path else (path,
                                                                      None)

    Config._get_cfg_path = staticmethod(get_own_cfg_path)


@functools.lru_cache(maxsize=None)
def install() -> None:
    """Makes them known; a second call changes nothing."""
    _resolve_own_configs()
    if _ModelHubFinder.name in sys.modules:
        _register_models(sys.modules[_ModelHubFinder.name])
    else:
        sys.meta_path.insert(0, _ModelHubFinder())
