"""A second, independent LightViT, written from the paper.

It has one function per equation, loops over the windows and shares no code with
the package. It is slow and only serves as a reference for tests. Parts that an
ablation removes are skipped if their weights are missing.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


def sub(weights: Weights, prefix: str) -> Weights:
    return {
        key[len(prefix) :]: value
        for key, value in weights.items()
        if key.startswith(prefix)
    }


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    return F.linear(x, weights[f'{name}.weight'], weights.get(f'{name}.bias'))


def layer_norm(x: Tensor, weights: Weights, name: str, eps: float) -> Tensor:
    weight = weights[f'{name}.weight']
    return F.layer_norm(x, weight.shape, weight, weights[f'{name}.bias'], eps)


def stem(image: Tensor, weights: Weights, stride: int) -> Tensor:
    """Patch embedding in evaluation mode, (B, 3, h, w) -> (B, H, W, C)."""
    x = image
    if 'stem.0.weight' not in weights:
        h, w = image.shape[2:]
        x = image.new_zeros(
            *image.shape[:2], -(-h // stride) * stride, -(-w // stride) * stride
        )
        x[:, :, :h, :w] = image
        x = F.conv2d(x, weights['proj.weight'], weights['proj.bias'], stride)
        return layer_norm(x.permute(0, 2, 3, 1), weights, 'norm', 1e-5)
    last = {8: 2, 4: 1}[stride]
    for conv, stride in ((0, 2), (3, 1), (6, 1), (9, last)):
        kernel = weights[f'stem.{conv}.weight']
        groups = 1 if conv == 0 else len(kernel)
        x = F.conv2d(x, kernel, None, stride, 1, groups=groups)
        norm = sub(weights, f'stem.{conv + 1}.')
        x = F.batch_norm(
            x, norm['running_mean'], norm['running_var'], norm['weight'], norm['bias']
        )
        x = F.gelu(x)
    x = F.conv2d(x, weights['proj.weight'], weights['proj.bias'], 2, 1)
    return layer_norm(x.permute(0, 2, 3, 1), weights, 'norm', 1e-5)


def attend(q: Tensor, k: Tensor, v: Tensor, bias=0.0) -> Tensor:
    """Eq. 1 for one head of one image: (L, d), (M, d), (M, d) -> (L, d)."""
    return (q @ k.T / q.shape[1] ** 0.5 + bias).softmax(1) @ v


def heads(x: Tensor, num_heads: int) -> Sequence[Tensor]:
    return x.chunk(num_heads, dim=1)


def position_bias(table: Tensor, size: int, head: int) -> Tensor:
    bias = table.new_zeros(size**2, size**2)
    for i in range(size**2):
        for j in range(size**2):
            dy = i // size - j // size + size - 1
            dx = i % size - j % size + size - 1
            bias[i, j] = table[dy * (2 * size - 1) + dx, head]
    return bias


def attention(
    x: Tensor, hw, num_tokens: int, num_heads: int, size: int, weights: Weights
) -> Tensor:
    """Figure 6 for one image: (T + N, C) -> (T + N, C)."""
    H, W = hw
    bias = [0.0] * num_heads
    if size is None:
        size = max(hw)
        assert H == W, 'a single window requires a square map'
    else:
        table = weights['relative_position_bias_table']
        bias = [position_bias(table, size, head) for head in range(num_heads)]
    tokens, image = x[:num_tokens], x[num_tokens:].view(H, W, -1)
    C = image.shape[2]
    padded = image.new_zeros(-(-H // size) * size, -(-W // size) * size, C)
    padded[:H, :W] = image
    q, k, v = linear(padded, weights, 'qkv').chunk(3, dim=2)

    local = torch.zeros_like(padded)
    for top in range(0, padded.shape[0], size):
        for left in range(0, padded.shape[1], size):
            window = (slice(top, top + size), slice(left, left + size))
            parts = [
                heads(part[window].reshape(-1, C), num_heads) for part in (q, k, v)
            ]
            out = torch.cat(
                [attend(*head, bias=b) for head, b in zip(zip(*parts), bias)], dim=1
            )
            local[window] = out.view(size, size, C)

    if num_tokens == 0:
        return linear(local[:H, :W].reshape(-1, C), weights, 'proj')
    q, k, v = (part[:H, :W].reshape(-1, C) for part in (q, k, v))
    token_q = linear(tokens, weights, 'qkv')[:, :C]
    gathered = torch.cat(
        [
            attend(*head)
            for head in zip(
                heads(token_q, num_heads), heads(k, num_heads), heads(v, num_heads)
            )
        ],
        dim=1,
    )
    token_k, token_v = linear(gathered, weights, 'kv_global').chunk(2, dim=1)
    broadcast = torch.cat(
        [
            attend(*head)
            for head in zip(
                heads(q, num_heads),
                heads(token_k, num_heads),
                heads(token_v, num_heads),
            )
        ],
        dim=1,
    )
    image = local[:H, :W].reshape(-1, C) + broadcast
    return linear(torch.cat([gathered, image]), weights, 'proj')


def ffn(x: Tensor, weights: Weights) -> Tensor:
    """Figure 7 for one image: (L, C) -> (L, C)."""
    x = linear(F.gelu(linear(x, weights, 'fc1')), weights, 'fc2')
    weights = sub(weights, 'attn.')
    if not weights:
        return x
    normed = layer_norm(x, weights, 'norm', 1e-5)
    mean = F.gelu(linear(normed.mean(0), weights, 'global_reduce'))
    gate = torch.ones_like(x)
    if 'channel_select.weight' in weights:
        gate = gate * torch.sigmoid(linear(mean, weights, 'channel_select'))
    if 'spatial_select.weight' in weights:
        local = F.gelu(linear(normed, weights, 'local_reduce'))
        both = torch.cat([local, mean.expand(len(local), -1)], dim=1)
        gate = gate * torch.sigmoid(linear(both, weights, 'spatial_select'))
    return x * gate


def merge(x: Tensor, hw, num_tokens: int, weights: Weights):
    """Figure 5c for one image -> (T + ceil(H / 2) * ceil(W / 2), C')."""
    H, W = hw
    image = x.new_zeros(H + H % 2, W + W % 2, x.shape[1])
    image[:H, :W] = x[num_tokens:].view(H, W, -1)
    neighbours = [image[i::2, j::2] for j in (0, 1) for i in (0, 1)]
    merged = layer_norm(torch.cat(neighbours, dim=2), weights, 'norm', 1e-5)
    merged = linear(merged, weights, 'reduction')
    if 'res_proj.weight' in weights:
        pooled = F.max_pool2d(image.permute(2, 0, 1), 2).permute(1, 2, 0)
        merged = merged + linear(pooled, weights, 'res_proj')
    hw = merged.shape[:2]
    if num_tokens == 0:
        return merged.flatten(0, 1), hw
    tokens = linear(layer_norm(x[:num_tokens], weights, 'norm2', 1e-5), weights, 'proj')
    return torch.cat([tokens, merged.flatten(0, 1)]), hw


def lightvit(
    image: Tensor,
    weights: Weights,
    depths: Sequence[int],
    num_heads: Sequence[int],
    window_size: int | None,
    drop_tokens: bool,
    stride: int = 8,
) -> list[Tensor]:
    """Normalised outputs of each stage: all tokens, or maps with ``drop_tokens``.

    Args:
        image: One image (1, C, h, w).
        weights: State dict of the whole network.
        depths: Blocks per stage.
        num_heads: Attention heads per stage.
        window_size: Side of a window. None for a single window without position
            biases, which requires a square image.
        drop_tokens: Drop the global tokens before the last FFN, as the
            authors' detectors do.
        stride: Stride of the patch embedding, 8 or 4.
    """
    image_tokens = stem(image, sub(weights, 'patch_embed.'), stride)[0]
    hw = image_tokens.shape[:2]
    x = image_tokens.flatten(0, 1)
    num_tokens = 0
    if 'global_token' in weights:
        num_tokens = weights['global_token'].shape[1]
        x = torch.cat([weights['global_token'][0], x])
    outs = []
    for i, depth in enumerate(depths):
        if i > 0:
            x, hw = merge(x, hw, num_tokens, sub(weights, f'stages.{i}.0.'))
        for j in range(depth):
            block = sub(weights, f'stages.{i}.{j + (i > 0)}.')
            x = x + attention(
                layer_norm(x, block, 'norm1', 1e-6),
                hw,
                num_tokens,
                num_heads[i],
                window_size,
                sub(block, 'attn.'),
            )
            if drop_tokens and (i, j) == (len(depths) - 1, depth - 1):
                x = x[num_tokens:]
            x = x + ffn(layer_norm(x, block, 'norm2', 1e-6), sub(block, 'mlp.'))
        out = layer_norm(x, weights, f'norm{i}', 1e-6)
        if drop_tokens:
            outs.append(out[-hw[0] * hw[1] :].T.reshape(1, -1, *hw))
        else:
            outs.append(out[None])
    return outs
