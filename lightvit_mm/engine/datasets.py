"""Registers the datasets whose libraries are installed."""

from importlib import import_module
from importlib.util import find_spec

_LIBRARIES = dict(class_folder='mmpretrain', mask_folder='mmseg')

for _module, _library in _LIBRARIES.items():
    if find_spec(_library):
        import_module(f'.{_module}', __package__)
