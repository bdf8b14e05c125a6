"""Everything that this package changes in other libraries.

:data:`PATCHES` lists it all. ``import lightvit_mm`` calls :func:`install`, which
imports none of those libraries: each patch waits until its module is imported.

The compiled operators of mmcv come from outside this table, because mmdet needs
them before it imports this package. Where mmcv lacks them, ``lightvit_mm_finder``
provides :mod:`lightvit_mm.compat.mmcv_ext` under the name ``mmcv._ext``.
Remove it when mmcv has wheels with operators for current PyTorch.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NamedTuple


class Patch(NamedTuple):
    """A change to a module of another library.

    Args:
        module: The patch is applied as soon as this module is imported.
        function: FILE.FUNCTION in this folder, which takes that module.
        what: What it does.
        why: Why it is needed.
        versions: The versions that need it.
        until: When it can be removed.
    """

    module: str
    function: str
    what: str
    why: str
    versions: str
    until: str


PATCHES = (
    Patch(
        'mmengine.config',
        'configs.find_own_configs',
        "Lets configs inherit by _base_ = 'lightvit_mm::CONFIG.py'.",
        'mmengine knows a fixed list of packages, and only configs in subfolders.',
        'all of mmengine',
        'mmengine asks the package itself',
    ),
    Patch(
        'mmengine.config',
        'configs.find_fork_configs',
        "Lets configs inherit by _base_ = 'mmdet::CONFIG.py' from the onedl fork.",
        'mmengine asks for the distribution mmdet; that of the fork is onedl-mmdet.',
        'the onedl fork',
        'the fork corrects mmengine.config.utils.MODULE2PACKAGE',
    ),
    Patch(
        'mmengine.runner',
        'checkpoints.load_mmengine_checkpoints',
        'Lets the safe torch.load read the classes that mmengine writes, no others.',
        'torch.load refuses them, and newer mmengine falls back to the unsafe loader.',
        'PyTorch 2.6 and later',
        'mmengine registers its own classes with torch.serialization',
    ),
    Patch(
        'mmengine.runner',
        'checkpoints.register_addresses',
        'Makes mmengine load the addresses lightvit://tiny-in1k and so on.',
        'mmengine looks up a scheme before it imports any other package.',
        'all of mmengine',
        'the published weights have a scheme that mmengine knows',
    ),
    Patch(
        'mmpretrain.apis',
        'configs.register_models',
        'Adds the models of model-index.yml to get_model and list_models.',
        'mmpretrain lists its own models only.',
        'all of mmpretrain',
        'mmpretrain finds the model-index.yml of other packages',
    ),
)


class PatchFinder(MetaPathFinder):
    """Applies the patches of a module right after it has been executed."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """The spec that the other finders find, with the patches added."""
        patches = [patch for patch in PATCHES if patch.module == name]
        if not patches:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, found), None)
        if spec is not None:
            exec_module = spec.loader.exec_module

            def exec_and_patch(module: ModuleType) -> None:
                exec_module(module)
                for patch in patches:
                    apply(patch, module)

            spec.loader.exec_module = exec_and_patch
        return spec


def apply(patch: Patch, module: ModuleType) -> None:
    """Apply a patch to its module."""
    file, function = patch.function.split('.')
    getattr(import_module(f'{__name__}.{file}'), function)(module)


def install() -> None:
    """Apply each patch, now or when its module is imported.

    A second call changes nothing.
    """
    if any(isinstance(finder, PatchFinder) for finder in sys.meta_path):
        return
    import lightvit_mm_finder  # noqa: F401

    sys.meta_path.insert(0, PatchFinder())
    for patch in PATCHES:
        if patch.module in sys.modules:
            apply(patch, sys.modules[patch.module])
