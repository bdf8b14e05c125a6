"""The same mathematics, faster.

Each function states the plain expression that it equals and what it saves.
The ratios were measured on CPU; docs/speed.md shows how.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

try:
    from torch.compiler import is_compiling
except ImportError:  # before PyTorch 2.3
    from torch._utils import is_compiling


def is_transformed() -> bool:
    """Whether a transform of torch.func is active.

    They do not support checkpointing, the channels-last format or fused attention.
    """
    return torch._C._are_functorch_transforms_active()


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """``softmax(q @ k.T / sqrt(d) + bias) @ v`` (Eq. 1).

    Args:
        q: Queries (B, heads, L, d).
        k: Keys (B, heads, M, d).
        v: Values (B, heads, M, d).
        bias: Added to the scores; broadcast to (B, heads, L, M).

    Returns:
        Shape (B, heads, L, d).
    """
    bias_learns = bias is not None and bias.requires_grad and torch.is_grad_enabled()
    if not (bias_learns or is_transformed() or torch.onnx.is_in_onnx_export()):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    # The fused kernels have no gradient for a bias: plain products train 1.03
    # times as fast (LightViT-T) as PyTorch's fallback. The ONNX exporter would
    # scale both queries and keys, which takes 1.03 to 1.08 times as long in
    # OpenVINO.
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(dim=-1) @ v


def after_gelu(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``layer(gelu(x))``, which keeps only ``x`` for the backward pass.

    Computing the GELU again is cheap; keeping its output takes a fifth of the
    memory of a training step. torch.compile decides this itself.
    """

    def run(x: Tensor) -> Tensor:
        return layer(F.gelu(x))

    if torch.is_grad_enabled() and not is_compiling() and not is_transformed():
        return checkpoint(run, x, use_reentrant=False, preserve_rng_state=False)
    return run(x)


def project_stem(stem: nn.Sequential, proj: nn.Conv2d, x: Tensor) -> Tensor:
    """``proj(stem(x))``.

    In evaluation each BatchNorm is folded into its convolution. With that and
    channels last, the stem takes about half the time on CPU.

    Args:
        stem: Triples of convolution, BatchNorm and GELU.
        proj: The last convolution.
        x: Images (B, in_channels, h, w).

    Returns:
        Shape (B, C, H, W).
    """
    if x.device.type == 'cpu' and not is_transformed():
        x = x.contiguous(memory_format=torch.channels_last)
    triples = range(0, len(stem), 3)
    convs: list[Callable[[Tensor], Tensor]] = [stem[i] for i in triples]
    norms: list[Callable[[Tensor], Tensor]] = [stem[i + 1] for i in triples]
    for i, (conv, norm) in enumerate(zip(convs, norms)):
        if not norm.training:
            convs[i], norms[i] = fold(conv, norm), nn.Identity()
    x = norms[0](convs[0](x))
    for conv, norm in zip(convs[1:], norms[1:]):
        x = norm(after_gelu(conv, x))
    return after_gelu(proj, x)


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Callable[[Tensor], Tensor]:
    """``norm(conv(x))`` with fixed statistics, as one convolution."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # (C, )
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    bias = norm.bias - norm.running_mean * scale

    def folded(x: Tensor) -> Tensor:
        return F.conv2d(x, weight, bias, conv.stride, conv.padding, groups=conv.groups)

    return folded
