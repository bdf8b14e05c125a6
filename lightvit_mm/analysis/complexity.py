"""Parameters and multiply-adds, by a full count and by the authors' formula.

PyTorch's own counter sees each operator that runs, whoever calls it, fused
attention included; one multiply-add is two of its FLOPs. Like the paper, it
leaves out norms, activations, pooling and interpolation, which multiply no
matrices.
"""
from typing import Callable, Tuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..models.lightvit import BiDimensionalAttention, LocalGlobalAttention


def count_parameters(model: nn.Module) -> int:
    """All parameters of a model, trained or frozen."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def count_multiply_adds(forward: Callable, *inputs) -> int:
    """Multiply-adds of every matrix product and convolution of one call."""
    with FlopCounterMode(display=False) as counter:
        forward(*inputs)
    return counter.get_total_flops() // 2


def count_as_authors(model: nn.Module, *inputs) -> int:
    """Multiply-adds of a LightViT classifier by the authors' formula.

    The published 0.7, 1.7 and 3.9 G. It differs from the full count in three
    terms: the two products of local attention are N * C each and not
    N * S * S * C, the projection of the global tokens to keys and values is
    left out, and the gate of the bi-dimensional attention counts N * C.

    Args:
        model: A module with LightViT in it.
        *inputs: Its inputs.
    """
    corrections = []

    def correct_attention(module: LocalGlobalAttention, args: Tuple) -> None:
        x, (H, W) = args
        B, _, C = x.shape
        s = module.window_size
        if s is not None:
            padded = B * (H + -H % s) * (W + -W % s)
            corrections.append(2 * B * H * W * C - 2 * padded * s * s * C)
        corrections.append(-B * module.num_tokens * C * 2 * C)

    def correct_gate(_: BiDimensionalAttention, args: Tuple[Tensor]) -> None:
        corrections.append(args[0].numel())

    corrected = {
        LocalGlobalAttention: correct_attention,
        BiDimensionalAttention: correct_gate,
    }
    handles = [
        module.register_forward_pre_hook(corrected[type(module)])
        for module in model.modules() if type(module) in corrected
    ]
    try:
        full = count_multiply_adds(model, *inputs)
    finally:
        for handle in handles:
            handle.remove()
    return full + sum(corrections)
