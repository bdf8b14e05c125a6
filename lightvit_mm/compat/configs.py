"""Patches that make configs and models known by name."""

import functools
from importlib import metadata
from types import ModuleType, SimpleNamespace
from typing import Any

from ..files import ROOT

_PACKAGE = 'lightvit_mm'


def find_own_configs(module: ModuleType) -> None:
    """Make ``lightvit_mm::CONFIG.py`` a name for this package's configs.

    Args:
        module: ``mmengine.config.config``.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    get_cfg_path = module.Config._get_cfg_path

    def get_own_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, separator, name = cfg_path.partition('::')
        if separator and package not in (_PACKAGE, *MODULE2PACKAGE):
            raise ModuleNotFoundError(
                f'{filename}: {package} in _base_ = {cfg_path!r} is not a package '
                'with configs; expected lightvit_mm, mmdet, mmpretrain or mmseg'
            )
        if package != _PACKAGE:
            return get_cfg_path(cfg_path, filename)
        # No scope: each config names its library in default_scope.
        return str(ROOT / 'configs' / name), None

    module.Config._get_cfg_path = staticmethod(get_own_cfg_path)


def find_fork_configs(module: ModuleType) -> None:
    """Give mmengine the names of the fork's distributions, if they are installed.

    Args:
        module: ``mmengine.config.utils``.
    """
    packages = module.MODULE2PACKAGE
    packages.update(
        {
            name: name
            for name, distribution in packages.items()
            if name != distribution and _is_installed(f'onedl-{distribution}')
        }
    )


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def find_inferencer_configs(module: ModuleType) -> None:
    """Let inferencers load ``lightvit_mm::CONFIG.py`` and published models.

    Without other weights, they load the published ones.

    Args:
        module: ``mmengine.infer.infer``.
    """
    load_by_name = module.BaseInferencer._load_model_from_metafile

    def load_own_config(inferencer: Any, model: str) -> tuple[Any, str | None]:
        # They import mmengine, which may still be importing itself above.
        from ..config import read_config
        from ..metafile import published_weights
        from ..model_folder import is_published

        if is_published(model):
            return read_config(model), model
        if model.startswith(f'{_PACKAGE}::'):
            cfg = read_config(model)
            return cfg, published_weights(cfg)
        return load_by_name(inferencer, model)

    module.BaseInferencer._load_model_from_metafile = load_own_config


def register_models(module: ModuleType) -> None:
    """Add the models of ``model-index.yml`` to mmpretrain, by name and by config.

    Args:
        module: ``mmpretrain.apis.model``.
    """
    module.ModelHub.register_model_index(ROOT / 'model-index.yml', config_prefix=ROOT)
    get_model = module.get_model

    @functools.wraps(get_model)
    def get_own_model(model: Any, *args, **kwargs):
        if isinstance(model, str) and model.startswith(f'{_PACKAGE}::'):
            # With a config, mmpretrain would not find its weights.
            model = _model_name(model)
        return get_model(model, *args, **kwargs)

    module.get_model = get_own_model


def _model_name(config: str) -> str:
    from ..config import read_config
    from ..metafile import find

    entry = find(read_config(config).filename)
    if entry is None:
        raise ValueError(
            f'{config} is not the config of a model: give one that docs/model_zoo.md '
            'lists'
        )
    return entry['Name']


def find_published_models(module: ModuleType) -> None:
    """Let ``get_model`` take a published model as a name.

    Args:
        module: ``mmpretrain.apis.model``.
    """
    get_by_name = module.ModelHub.get

    def get(name: str) -> Any:
        from ..config import read_config
        from ..model_folder import is_published

        if is_published(name):
            return SimpleNamespace(config=read_config(name), weights=name)
        return get_by_name(name)

    module.ModelHub.get = staticmethod(get)
