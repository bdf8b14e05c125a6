"""Windows, heads and weights, as small functions.

Shapes: B images, H x W image tokens, L tokens, C channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HW = tuple[int, int]


def window_partition(x: Tensor, window_size: int) -> Tensor:
    """Put the tokens of a map in the order of windows.

    Args:
        x: Map of shape (B, H, W, C); H and W divide by ``window_size``.
        window_size: Side of a window in tokens.

    Returns:
        Tokens of shape (B, H * W, C), window after window.
    """
    B, H, W, C = x.shape
    s = window_size
    # (B, H / s, s, W / s, s, C) -> (B, H / s, W / s, s, s, C) -> (B, H * W, C)
    x = x.view(B, H // s, s, W // s, s, C)
    return x.transpose(2, 3).reshape(B, (H // s) * (W // s) * s * s, C)


def window_reverse(x: Tensor, window_size: int, hw: HW) -> Tensor:
    """Put tokens back into a map; the inverse of :func:`window_partition`.

    Args:
        x: Shape (B, H * W, C).
        window_size: Side of a window in tokens.
        hw: Height and width of the map.

    Returns:
        Map of shape (B, H, W, C).
    """
    B, _, C = x.shape
    H, W = hw
    s = window_size
    # (B, H / s, W / s, s, s, C) -> (B, H / s, s, W / s, s, C) -> (B, H, W, C)
    x = x.view(B, H // s, W // s, s, s, C)
    return x.transpose(2, 3).reshape(B, H, W, C)


def split_heads(x: Tensor, num_heads: int, num_parts: int) -> Sequence[Tensor]:
    """(B, L, num_parts * C) -> num_parts times (B, heads, L, C / heads)."""
    B, L, C = x.shape
    # (B, L, parts, heads, d) -> (parts, B, heads, L, d)
    x = x.view(B, L, num_parts, num_heads, C // (num_parts * num_heads))
    return x.permute(2, 0, 3, 1, 4).unbind(0)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, L, C / heads) -> (B, L, C)."""
    return x.transpose(1, 2).flatten(2)


def trunc_normal_(weight: Tensor) -> Tensor:
    """Fill with a truncated normal of standard deviation 0.02, as the authors do.

    It is cut at 5 deviations. PyTorch's default, which they use, is 100, where
    rounding sets about one weight in 16 million to exactly -2.
    """
    return nn.init.trunc_normal_(weight, std=0.02, a=-0.1, b=0.1)


def init_linear(module: nn.Module) -> None:
    """Initialise a Linear layer as the authors do; leave others unchanged."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def relative_position_index(window_size: int) -> Tensor:
    """Row of the position bias table for each pair of tokens in a window, (S^4, )."""
    ys, xs = torch.meshgrid(
        torch.arange(window_size), torch.arange(window_size), indexing='ij'
    )
    # Offsets, (S², S²), shifted to start at 0
    dy = ys.flatten()[:, None] - ys.flatten() + window_size - 1
    dx = xs.flatten()[:, None] - xs.flatten() + window_size - 1
    return (dy * (2 * window_size - 1) + dx).flatten()


def resize_position_biases(attn: nn.Module, state_dict: dict, prefix: str) -> None:
    """Fit the position biases in a state dict to the window size of an attention.

    Args:
        attn: The :class:`~lightvit_mm.models.lightvit.LocalGlobalAttention`.
        state_dict: Weights, changed in place.
        prefix: Prefix of the attention's names in it.
    """
    name = prefix + 'relative_position_bias_table'
    new = 2 * attn.window_size - 1
    if name not in state_dict or len(state_dict[name]) == new**2:
        return
    table = state_dict[name]
    old = int(len(table) ** 0.5)
    # (old², heads) -> (1, heads, old, old) -> (new², heads)
    grid = table.t().reshape(1, -1, old, old)
    grid = F.interpolate(grid, size=(new, new), mode='bicubic')
    state_dict[name] = grid.flatten(2).squeeze(0).t()
    index = relative_position_index(attn.window_size)
    state_dict[prefix + 'relative_position_index'] = index
