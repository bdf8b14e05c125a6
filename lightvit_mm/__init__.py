"""LightViT as a backbone for OpenMMLab 2.x.

Importing this package imports neither PyTorch nor OpenMMLab. It arranges for
the patches of :mod:`lightvit_mm.compat`, each of which is applied when the
module that it patches is imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import compat
from .version import __version__

if TYPE_CHECKING:
    from .models import BiDimensionalAttention, LightViT, LightViTFPN, LightViTTokenNeck

__all__ = [
    'BiDimensionalAttention',
    'LightViT',
    'LightViTFPN',
    'LightViTTokenNeck',
    '__version__',
]

compat.install()


def __getattr__(name: str) -> Any:
    if name in ('checkpoints', 'models', 'registry'):
        return import_module(f'{__name__}.{name}')
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.models'), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
