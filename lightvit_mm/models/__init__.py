"""The network, its necks and its plug-in for other backbones."""

from .lightvit import BiDimensionalAttention, LightViT
from .necks import LightViTFPN, LightViTTokenNeck
from .plugin import with_bidimensional_attention

__all__ = [
    'BiDimensionalAttention',
    'LightViT',
    'LightViTFPN',
    'LightViTTokenNeck',
    'with_bidimensional_attention',
]
