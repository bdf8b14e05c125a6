"""Bi-dimensional attention for other backbones (paper, Section 3.2)."""

from mmengine.model import BaseModule

from ..registry import MODELS
from .lightvit import BiDimensionalAttention, init_linear


@MODELS.register_module()
def with_bidimensional_attention(backbone: dict, reduction: int = 4) -> BaseModule:
    """Build a backbone with bi-dimensional attention at the end of each FFN.

    That is where LightViT has it: behind the second linear layer and before
    drop path and residual. The names of the backbone's own parameters stay.

    Args:
        backbone: Config of any backbone whose blocks have mmcv's FFN, as
            those of mmpretrain, mmdet and mmsegmentation do.
        reduction: Ratio r of the reduction layers.

    Raises:
        ValueError: If the backbone has no such FFN.

    Examples:
        >>> backbone = dict(
        ...     type='lightvit_mm.with_bidimensional_attention',
        ...     backbone=dict(type='mmpretrain.SwinTransformer', arch='tiny'))
    """
    # It brings mmcv's operators with it, which LightViT does without.
    from mmcv.cnn.bricks.transformer import FFN

    model = MODELS.build(backbone)
    ffns = [module for module in model.modules() if isinstance(module, FFN)]
    if not ffns:
        raise ValueError(
            f'{type(model).__name__} has no mmcv.cnn.bricks.transformer.FFN '
            'for the bi-dimensional attention to be added to; name a vision '
            'transformer such as mmpretrain.SwinTransformer'
        )
    for ffn in ffns:
        attention = BiDimensionalAttention(ffn.embed_dims, reduction)
        ffn.layers.append(attention.apply(init_linear))
    return model
