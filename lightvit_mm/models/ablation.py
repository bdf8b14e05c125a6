"""Layers that only the paper's ablations use."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .fast import attention
from .layers import HW, merge_heads, split_heads


class PlainPatchEmbed(nn.Module):
    """ViT's patch embedding, "w/o OPE" in the paper's Section 4.1.

    An image that does not divide into patches is padded with zeros at the
    bottom and at the right.

    Args:
        in_channels: Channels of the image.
        embed_dims: Channels of a token.
        stride: Side of a patch in pixels.
    """

    def __init__(self, in_channels: int, embed_dims: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.proj = nn.Conv2d(in_channels, embed_dims, stride, stride)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, x: Tensor) -> tuple[Tensor, HW]:
        """(B, in_channels, h, w) -> tokens (B, N, C) and their (H, W)."""
        h, w = x.shape[-2:]
        x = self.proj(F.pad(x, (0, -w % self.stride, 0, -h % self.stride)))
        hw = (x.shape[2], x.shape[3])
        # (B, C, H, W) -> (B, N, C)
        return self.norm(x.flatten(2).transpose(1, 2)), hw


class SelfAttention(nn.Module):
    """ViT's self-attention over all image tokens (Table 5).

    It takes the place of the local attention in
    :class:`~lightvit_mm.models.lightvit.LocalGlobalAttention`. There are no
    windows and no position biases.

    Args:
        embed_dims: Channels of a token.
        num_heads: Attention heads.
        num_tokens: Number of global tokens T.
    """

    def __init__(self, embed_dims: int, num_heads: int, num_tokens: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_tokens = num_tokens
        self.qkv = nn.Linear(embed_dims, embed_dims * 3)
        if num_tokens:
            self.kv_global = nn.Linear(embed_dims, embed_dims * 2)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, hw: HW) -> Tensor:
        """(B, T + N, C) -> (B, T + N, C)."""
        T, heads = self.num_tokens, self.num_heads
        q, k, v = split_heads(self.qkv(x), heads, 3)  # (B, heads, T + N, d) each
        q_tokens, q, k, v = q[:, :, :T], q[:, :, T:], k[:, :, T:], v[:, :, T:]
        image = merge_heads(attention(q, k, v))
        if T == 0:
            return self.proj(image)
        tokens = merge_heads(attention(q_tokens, k, v))
        k_global, v_global = split_heads(self.kv_global(tokens), heads, 2)
        image = image + merge_heads(attention(q, k_global, v_global))
        return self.proj(torch.cat([tokens, image], dim=1))
