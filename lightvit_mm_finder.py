"""Finds lightvit_mm's substitute for mmcv's operators where mmcv has none.

``lightvit_mm.pth`` imports this module whenever Python starts: mmdet imports
``mmcv._ext`` before its registry looks up a name such as ``lightvit_mm.LightViT``.
The environment variable LIGHTVIT_MM_NO_FINDER, set to any value, disables it.
"""

import os
import sys


class MmcvExtFinder:
    """Comes last in sys.meta_path, so that mmcv's own operators are found first."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """The spec of the substitute for ``mmcv._ext``, None for other modules."""
        if name == 'mmcv._ext':
            from importlib.util import find_spec, spec_from_file_location

            package = find_spec('lightvit_mm')
            for folder in package.submodule_search_locations if package else ():
                file = os.path.join(folder, 'compat', 'mmcv_ext.py')
                if os.path.isfile(file):
                    return spec_from_file_location(name, file)


if 'LIGHTVIT_MM_NO_FINDER' not in os.environ:
    sys.meta_path.append(MmcvExtFinder)
