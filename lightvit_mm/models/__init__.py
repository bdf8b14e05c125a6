from .lightvit import LightViT
from .lightvit_fpn import LightViTFPN
from .token_neck import LightViTTokenNeck

__all__ = ['LightViT', 'LightViTFPN', 'LightViTTokenNeck']
