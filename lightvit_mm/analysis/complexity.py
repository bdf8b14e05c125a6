"""Parameters and multiply-adds, by a full count and by the authors' formula.

PyTorch's own counter sees each operator that runs, whoever calls it; what it
lacks is added here. One multiply-add is two of its FLOPs. As in the paper,
norms, activations, pooling and interpolation, which multiply no matrices, are
left out.
"""

from collections.abc import Callable, Sequence
from math import prod

import torch
import torchvision  # noqa: F401  its operators
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..models.lightvit import BiDimensionalAttention, LocalGlobalAttention


def forward_tensors(model: nn.Module, images: Tensor):
    """The network without post-processing, mmengine's ``mode='tensor'``.

    Args:
        model: A model of any of the three libraries.
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
# PyTorch 2.1 has one for all devices, which its counter knows.
if hasattr(torch.ops.aten, '_scaled_dot_product_flash_attention_for_cpu'):
    _MORE_OPERATORS[torch.ops.aten._scaled_dot_product_flash_attention_for_cpu] = (
        _fused_attention_flops
    )


def count_parameters(model: nn.Module) -> int:
    """All parameters of a model, trained or frozen."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def multiply_adds_by_operator(forward: Callable, *inputs) -> dict[str, int]:
    """Multiply-adds of one call, by PyTorch's names of its operators."""
    with FlopCounterMode(display=False, custom_mapping=_MORE_OPERATORS) as counter:
        forward(*inputs)
    flops = counter.get_flop_counts().get('Global', {})
    return {str(operator): count // 2 for operator, count in flops.items()}


def count_multiply_adds(forward: Callable, *inputs) -> int:
    """Multiply-adds of every matrix product and convolution of one call."""
    return sum(multiply_adds_by_operator(forward, *inputs).values())


def count_as_authors(model: nn.Module, *inputs) -> int:
    """Multiply-adds of a LightViT classifier by the authors' formula.

    The published 0.7, 1.7 and 3.9 G. It differs from what this package
    computes in these terms: the two products of local attention are N * C each
    and not N * S * S * C, padding costs nothing, the projection of the global
    tokens to keys and values is left out, the gate of the bi-dimensional
    attention counts N * C, and its spatial gate sees the reduced mean N times
    and not once.

    Args:
        model: A module with LightViT in it.
        *inputs: Its inputs.
    """
    corrections = []

    def correct_attention(module: LocalGlobalAttention, args: tuple) -> None:
        x, (H, W) = args
        B, _, C = x.shape
        s = module.window_size
        T = module.num_tokens
        if s is not None:
            padded = (H + -H % s) * (W + -W % s)
            of_a_token = 3 * C * C + 4 * T * C
            corrections.append(B * (2 * H * W * C - 2 * padded * s * s * C))
            corrections.append(-B * (padded - H * W) * of_a_token)
        corrections.append(-B * T * C * 2 * C)

    def correct_gate(module: BiDimensionalAttention, args: tuple[Tensor]) -> None:
        B, L, C = args[0].shape
        corrections.append(B * L * C)
        if module.spatial_attn:
            reduced = module.spatial_select.in_features // 2
            corrections.append(B * (L - 1) * reduced)

    corrected = {
        LocalGlobalAttention: correct_attention,
        BiDimensionalAttention: correct_gate,
    }
    handles = [
        module.register_forward_pre_hook(corrected[type(module)])
        for module in model.modules()
        if type(module) in corrected
    ]
    try:
        full = count_multiply_adds(model, *inputs)
    finally:
        for handle in handles:
            handle.remove()
    return full + sum(corrections)
