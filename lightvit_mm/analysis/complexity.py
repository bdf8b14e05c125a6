"""Parameters and MACs, by a full count and by the authors' formula.

PyTorch's FLOP counter sees every operator that runs. Operators that it does not
know are added here. One MAC is two of its FLOPs. As in the paper, norms,
activations, pooling and interpolation do not count, because they multiply no
matrices.
"""

from collections.abc import Callable, Sequence
from math import prod

import torch
import torchvision  # noqa: F401  registers its operators
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..models.ablation import SelfAttention
from ..models.lightvit import BiDimensionalAttention, LocalGlobalAttention


def forward_tensors(model: nn.Module, images: Tensor):
    """The raw outputs of a network, without post-processing.

    This is mmengine's ``mode='tensor'``, for images without padding.

    Args:
        model: A model of mmpretrain, mmdet or mmseg.
        images: Normalised images (B, C, h, w).
    """
    shape = tuple(images.shape[-2:])
    metainfo = dict(
        ori_shape=shape,
        img_shape=shape,
        pad_shape=shape,
        batch_input_shape=shape,
        scale_factor=(1.0, 1.0),
    )
    samples = [BaseDataElement(metainfo=metainfo) for _ in images]
    return model(images, samples, mode='tensor')


def _fused_attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_, **__
) -> int:
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _deform_conv_flops(_, weight: Sequence[int], *__, out_shape, **___) -> int:
    return 2 * prod(out_shape) * prod(weight[1:])


_MORE_OPERATORS = {torch.ops.torchvision.deform_conv2d: _deform_conv_flops}
# PyTorch 2.1 has one operator for all devices, which its counter knows.
if hasattr(torch.ops.aten, '_scaled_dot_product_flash_attention_for_cpu'):
    _MORE_OPERATORS[torch.ops.aten._scaled_dot_product_flash_attention_for_cpu] = (
        _fused_attention_flops
    )


def count_parameters(model: nn.Module) -> int:
    """Number of parameters of a model, including frozen ones."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def macs_by_operator(forward: Callable, *inputs) -> dict[str, int]:
    """MACs of one call per operator, keyed by PyTorch's name of the operator."""
    with FlopCounterMode(display=False, custom_mapping=_MORE_OPERATORS) as counter:
        forward(*inputs)
    flops = counter.get_flop_counts().get('Global', {})
    return {str(operator): count // 2 for operator, count in flops.items()}


def count_macs(forward: Callable, *inputs) -> int:
    """MACs of all matrix products and convolutions of one call."""
    return sum(macs_by_operator(forward, *inputs).values())


def count_as_authors(model: nn.Module, *inputs) -> int:
    """MACs of a LightViT classifier by the authors' formula.

    The formula gives the published 0.7, 1.7 and 3.9 G. It differs from the full
    count of this package:

    - Each of the two products of local attention costs N * C instead of
      N * S * S * C.
    - Padding costs nothing.
    - The projection of the global tokens to keys and values is left out.
    - The gate of the bi-dimensional attention costs N * C.
    - The spatial gate processes the reduced mean N times instead of once.

    Args:
        model: A module that contains a LightViT.
        *inputs: Inputs of the module.
    """
    corrections = []

    def correct_attention(module: LocalGlobalAttention, args: tuple) -> None:
        x, (H, W) = args
        B, _, C = x.shape
        s = module.window_size
        padded = (H + -H % s) * (W + -W % s)
        of_a_token = 3 * C * C + 4 * module.num_tokens * C
        corrections.append(B * (2 * H * W * C - 2 * padded * s * s * C))
        corrections.append(-B * (padded - H * W) * of_a_token)
        correct_tokens(module, args)

    def correct_tokens(module: SelfAttention, args: tuple) -> None:
        B, _, C = args[0].shape
        corrections.append(-B * module.num_tokens * C * 2 * C)

    def correct_gate(module: BiDimensionalAttention, args: tuple[Tensor]) -> None:
        B, L, C = args[0].shape
        corrections.append(B * L * C)
        if module.spatial_attn:
            reduced = module.spatial_select.in_features // 2
            corrections.append(B * (L - 1) * reduced)

    corrected = {
        LocalGlobalAttention: correct_attention,
        SelfAttention: correct_tokens,
        BiDimensionalAttention: correct_gate,
    }
    handles = [
        module.register_forward_pre_hook(corrected[type(module)])
        for module in model.modules()
        if type(module) in corrected
    ]
    try:
        full = count_macs(model, *inputs)
    finally:
        for handle in handles:
            handle.remove()
    return full + sum(corrections)
