"""Makes this package's configs and models known by name.

:func:`install` lets

- other configs inherit from this package's by
  ``_base_ = 'lightvit_mm::mask_rcnn_lightvit_s_1x.py'``. mmengine itself
  knows only its own list of packages, and only configs in subfolders.
- mmpretrain find the models of ``model-index.yml``, as in
  ``mmpretrain.get_model('lightvit-tiny_8xb128_in1k')``. mmpretrain is not
  imported for that: they are registered as soon as it is.
"""

import difflib
import functools
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from mmengine.config import Config

_PACKAGE = Path(__file__).parent
_MIM = _PACKAGE / '.mim'
# The folder of configs/ and model-index.yml, once installed or not.
ROOT = _MIM if _MIM.is_dir() else _PACKAGE.parent


class _ModelHubFinder(MetaPathFinder):
    """Registers the models when mmpretrain's ModelHub is imported."""

    name = 'mmpretrain.apis.model'

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
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
    module.ModelHub.register_model_index(ROOT / 'model-index.yml', config_prefix=ROOT)


def read_config(name: str) -> Config:
    """Read a config.

    Args:
        name: A file, or PACKAGE::CONFIG for one of an installed package.

    Raises:
        FileNotFoundError: If there is no such config.
        ModuleNotFoundError: If the package is not installed.
    """
    package, separator, file = name.rpartition('::')
    folder = _config_folder(package) if separator else Path()
    path = folder / file
    if not path.is_file():
        if separator:
            known = [
                f'{package}::{other.relative_to(folder)}'
                for other in folder.rglob('*.py')
            ]
        else:
            known = [str(other) for other in path.parent.glob('*.py')]
        raise FileNotFoundError(
            f'There is no config {name}{close_to(name, known)}. Name a file, '
            'or PACKAGE::CONFIG for one of an installed package'
        )
    return Config.fromfile(path)


def _config_folder(package: str) -> Path:
    if package == _PACKAGE.name:
        return ROOT / 'configs'
    check_installed(package)
    return Path(find_spec(package).origin).parent / '.mim/configs'


def check_installed(module: str) -> None:
    """Raise ModuleNotFoundError, with the remedy, if a module is missing."""
    if find_spec(module) is None:
        packages = dict(mmseg='mmsegmentation', sklearn='scikit-learn')
        raise ModuleNotFoundError(
            f'{module} is not installed: pip install {packages.get(module, module)}'
        )


def close_to(name: str, known: Sequence[str]) -> str:
    """A clause that lists what a mistyped name may have meant, or nothing."""
    matches = difflib.get_close_matches(name, known)
    return ' (close to it: ' + ', '.join(matches) + ')' if matches else ''


def _resolve_own_configs() -> None:
    get_cfg_path = Config._get_cfg_path

    def get_own_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, _, name = cfg_path.partition('::')
        if package != _PACKAGE.name:
            return get_cfg_path(cfg_path, filename)
        # No scope: each config names its library in default_scope.
        return str(ROOT / 'configs' / name), None

    Config._get_cfg_path = staticmethod(get_own_cfg_path)


@functools.cache
def install() -> None:
    """Makes them known; a second call changes nothing."""
    _resolve_own_configs()
    if _ModelHubFinder.name in sys.modules:
        _register_models(sys.modules[_ModelHubFinder.name])
    else:
        sys.meta_path.insert(0, _ModelHubFinder())
