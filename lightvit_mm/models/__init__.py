from .lightvit import BiDimensionalAttention, LightViT
from .lightvit_fpn import LightViTFPN
from .plugin import with_bidimensional_attention
from .token_neck import LightViTTokenNeck

__all__ = [
    'BiDimensionalAttention',
    'LightViT',
    'LightViTFPN',
    'LightViTTokenNeck',
    'with_bidimensional_attention',
]
