"""Finds substitutes for modules that OpenMMLab needs and that are missing.

Run by ``lightvit_mm.pth`` whenever Python starts, since mmdet's registry
imports all of mmdet, and with it ``mmcv._ext``, before it looks at the name
``lightvit_mm``; hence only the standard library is used here. And by
:mod:`lightvit_mm.compat`, where the package is not installed but on the path.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path


class SubstituteFinder(MetaPathFinder):
    """The last finder, so that whatever is installed is found first."""

    files = {'mmcv._ext': 'mmcv_ext.py', 'pkg_resources': 'pkg_resources_shim.py'}

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        if name not in self.files:
            return None
        return spec_from_file_location(name, Path(__file__).with_name(self.files[name]))


def install() -> None:
    """Append the finder, once however often this file is loaded."""
    name = SubstituteFinder.__name__
    if all(type(finder).__name__ != name for finder in sys.meta_path):
        sys.meta_path.append(SubstituteFinder())
