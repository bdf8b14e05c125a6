"""A plain LightViT, the baseline for measurements of speed.

It calls the modules of a :class:`lightvit_mm.LightViT` in the order of the paper
and of the authors' released code: one step at a time, nothing folded and nothing
shared. If the windows do not fit, image tokens are padded before the projection.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.layers import HW
from ..models.lightvit import LightViT


def to_plain(model: nn.Module) -> nn.Module:
    """Copy a model with each LightViT in it replaced by the plain one.

    Args:
        model: A LightViT, or a model that contains one. It needs all three
            attentions and both gates.

    Returns:
        A model with the same inputs, outputs and weights.
    """
    model = copy.deepcopy(model)
    if isinstance(model, LightViT):
        return PlainLightViT(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, LightViT):
                setattr(module, name, PlainLightViT(child))
    return model


class PlainLightViT(nn.Module):
    """A plain version of a backbone, which computes the same outputs.

    Args:
        backbone: A LightViT with all three attentions and both gates. Its
            weights are shared.
    """

    def __init__(self, backbone: LightViT) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, in_channels, h, w) -> the outputs of the backbone."""
        net = self.backbone
        x = net.patch_embed.proj(net.patch_embed.stem(x))
        hw = x.shape[2:]
        x = net.patch_embed.norm(x.flatten(2).transpose(1, 2))
        x = torch.cat([net.global_token.expand(len(x), -1, -1), x], dim=1)
        outs = []
        for i, stage in enumerate(net.stages):
            layers = list(stage)
            if i > 0:
                x, hw = merge(layers.pop(0), x, hw)
            for block in layers:
                x = x + block.drop_path(attend(block.attn, block.norm1(x), hw))
                x = x[:, block.num_dropped :]
                x = x + block.drop_path(feed_forward(block.mlp, block.norm2(x)))
            if i in net.out_indices:
                norm = getattr(net, f'norm{i}')
                if net.out_type == 'raw':
                    outs.append(norm(x))
                else:
                    image = norm(x[:, -hw[0] * hw[1] :]).transpose(1, 2)
                    outs.append(image.reshape(len(x), -1, *hw))
        return tuple(outs)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, bias=None) -> Tensor:
    """Eq. 1 for all heads, (B, heads, L, d) -> (B, L, C)."""
    q = q * q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    out = scores.softmax(dim=-1) @ v
    return out.transpose(1, 2).reshape(len(q), q.shape[2], -1)


def separate_heads(x: Tensor, parts: int, heads: int) -> Sequence[Tensor]:
    """A joint projection (B, L, parts * C) -> parts of (B, heads, L, d)."""
    B, L, _ = x.shape
    return x.view(B, L, parts, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def to_windows(x: Tensor, hw: HW, s: int) -> Tensor:
    """Tokens (B, heads, H * W, d) -> (B * windows, heads, s * s, d)."""
    B, heads, _, d = x.shape
    H, W = hw
    x = x.reshape(B, heads, H // s, s, W // s, s, d)
    return x.permute(0, 2, 4, 1, 3, 5, 6).reshape(-1, heads, s * s, d)


def attend(attn: nn.Module, x: Tensor, hw: HW) -> Tensor:
    """Local window attention and global attention, (B, T + N, C) -> the same."""
    T, s, (H, W) = attn.num_tokens, attn.window_size, hw
    q, k, v = separate_heads(attn.qkv(x), 3, attn.num_heads)
    tokens = softmax_attention(q[:, :, :T], k[:, :, T:], v[:, :, T:])

    padded, local_q, local_k, local_v = hw, q[:, :, T:], k[:, :, T:], v[:, :, T:]
    if H % s or W % s:
        image = x[:, T:].view(len(x), H, W, -1)
        image = F.pad(image, (0, 0, 0, -W % s, 0, -H % s))
        padded = image.shape[1:3]
        local_q, local_k, local_v = separate_heads(
            attn.qkv(image.flatten(1, 2)), 3, attn.num_heads
        )
    bias = attn.relative_position_bias_table[attn.relative_position_index]
    bias = bias.view(s * s, s * s, -1).permute(2, 0, 1).contiguous()
    local = softmax_attention(
        *(to_windows(part, padded, s) for part in (local_q, local_k, local_v)),
        bias.unsqueeze(0),
    )
    rows, columns = padded[0] // s, padded[1] // s
    local = local.view(len(x), rows, columns, s, s, -1)
    local = local.permute(0, 1, 3, 2, 4, 5).reshape(len(x), *padded, -1)
    local = local[:, :H, :W].reshape(len(x), H * W, -1)

    k_global, v_global = separate_heads(attn.kv_global(tokens), 2, attn.num_heads)
    image = local + softmax_attention(q[:, :, T:], k_global, v_global)
    return attn.proj(torch.cat([tokens, image], dim=1))


def feed_forward(mlp: nn.Module, x: Tensor) -> Tensor:
    """FFN with bi-dimensional attention, (B, L, C) -> (B, L, C)."""
    x = mlp.fc2(F.gelu(mlp.fc1(x)))
    gates = mlp.attn
    normed = gates.norm(x)
    mean = gates.act(gates.global_reduce(normed.mean(dim=1, keepdim=True)))
    local = gates.act(gates.local_reduce(normed))
    channel = gates.channel_select(mean).sigmoid()
    both = torch.cat([local, mean.expand(-1, x.shape[1], -1)], dim=-1)
    spatial = gates.spatial_select(both).sigmoid()
    return x * (channel * spatial)


def merge(merging: nn.Module, x: Tensor, hw: HW) -> tuple[Tensor, HW]:
    """Residual patch merging.

    Returns:
        Tokens (B, T + N', C'), and height and width of the new map, where N' is
        about N / 4.
    """
    T, (H, W) = merging.num_tokens, hw
    tokens, image = x[:, :T].contiguous(), x[:, T:].contiguous()
    image = image.view(len(x), H, W, -1)
    image = F.pad(image, (0, 0, 0, W % 2, 0, H % 2))
    pooled = F.max_pool3d(image, (2, 2, 1), (2, 2, 1))
    neighbours = torch.cat(
        [image[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], dim=-1
    )
    hw = neighbours.shape[1:3]
    image = merging.reduction(merging.norm(neighbours.flatten(1, 2)))
    image = image + merging.res_proj(pooled.flatten(1, 2))
    tokens = merging.proj(merging.norm2(tokens))
    return torch.cat([tokens, image], dim=1), hw
