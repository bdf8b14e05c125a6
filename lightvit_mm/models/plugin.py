"""Bi-dimensional attention for other backbones (paper, Section 3.2)."""

from mmengine.model import BaseModule

from ..arguments import CONFIG, checked, integer
from ..registry import MODELS
from .layers import init_linear
from .lightvit import BiDimensionalAttention


@MODELS.register_module()
@checked(backbone=CONFIG, reduction=integer(1))
def with_bidimensional_attention(backbone: dict, reduction: int = 4) -> BaseModule:
    """Build a backbone with bi-dimensional attention at the end of each FFN.

    LightViT has it in the same place: after the second linear layer, and before
    drop path and residual. The backbone's own parameters keep their names.

    Args:
        backbone: Config of a backbone whose blocks use mmcv's FFN. Most vision
            transformers of mmpretrain, mmdet and mmseg do.
        reduction: Ratio r of the reduction layers.

    Raises:
        ValueError: If the backbone does not use mmcv's FFN, or ``reduction`` is out of
            its range.
        TypeError: If an argument is unknown.

    Examples:
        >>> backbone = dict(
        ...     type='lightvit_mm.with_bidimensional_attention',
        ...     backbone=dict(type='mmpretrain.SwinTransformer', arch='tiny'))
    """
    # Imported here because it loads mmcv's operators, which LightViT does not need.
    from mmcv.cnn.bricks.transformer import FFN

    model = MODELS.build(backbone)
    ffns = [module for module in model.modules() if isinstance(module, FFN)]
    if not ffns:
        raise ValueError(
            f'{type(model).__name__} has no mmcv.cnn.bricks.transformer.FFN '
            'that bi-dimensional attention could be added to; choose a vision '
            'transformer such as mmpretrain.SwinTransformer'
        )
    for ffn in ffns:
        attention = BiDimensionalAttention(ffn.embed_dims, reduction)
        ffn.layers.append(attention.apply(init_linear))
    return model
