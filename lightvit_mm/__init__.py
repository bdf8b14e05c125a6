"""LightViT as a backbone for OpenMMLab 2.x."""
from . import compat, hub

compat.install()
hub.install()

# Registers the addresses lightvit://.
from . import checkpoints  # noqa: E402, F401
from .models import (BiDimensionalAttention, LightViT,  # noqa: E402
                     LightViTFPN, LightViTTokenNeck)
from .version import __version__  # noqa: E402

__all__ = [
    'BiDimensionalAttention', 'LightViT', 'LightViTFPN', 'LightViTTokenNeck',
    '__version__'
]
