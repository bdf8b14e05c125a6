"""LightViT as a backbone for OpenMMLab 2.x."""

import sys

from .version import __version__

# That check has to start where these imports fail, and tell of it.
if 'lightvit_mm.check_env' not in sys.orig_argv:
    from . import compat, hub

    compat.install()
    hub.install()

    # Registers the addresses lightvit://.
    from . import checkpoints  # noqa: F401
    from .models import BiDimensionalAttention, LightViT, LightViTFPN, LightViTTokenNeck

__all__ = [
    'BiDimensionalAttention',
    'LightViT',
    'LightViTFPN',
    'LightViTTokenNeck',
    '__version__',
]
