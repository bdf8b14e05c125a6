"""LightViT: towards light-weight convolution-free vision transformers.

The network of https://arxiv.org/abs/2207.05557, read from top to bottom: the
stem, the attention, the FFN, the patch merging, the block and the backbone.
Where the paper leaves a detail open, the authors' released code decides, so
that their published weights give their published results.

Shapes in the comments: B images, T global tokens, N = H * W image tokens,
C channels. Tokens travel as one tensor (B, T + N, C), global tokens first.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..registry import MODELS
from .strict import fit_state_dict, reject_unknown, take_backbone

try:
    from torch.compiler import is_compiling
except ImportError:  # before PyTorch 2.3
    from torch._utils import is_compiling

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
    x = x.view(B, H // s, W // s, s, s, C)
    return x.transpose(2, 3).reshape(B, H, W, C)


def split_heads(x: Tensor, num_heads: int, num_parts: int) -> Sequence[Tensor]:
    """(B, L, num_parts * C) -> num_parts times (B, heads, L, C / heads)."""
    B, L, C = x.shape
    x = x.view(B, L, num_parts, num_heads, C // (num_parts * num_heads))
    return x.permute(2, 0, 3, 1, 4).unbind(0)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, L, C / heads) -> (B, L, C)."""
    return x.transpose(1, 2).flatten(2)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention (Eq. 1).

    Args:
        q: Queries (B, heads, L, d).
        k: Keys (B, heads, M, d).
        v: Values (B, heads, M, d).
        bias: Added to the scores; broadcast to (B, heads, L, M).

    Returns:
        Shape (B, heads, L, d).
    """
    bias_learns = bias is not None and bias.requires_grad and torch.is_grad_enabled()
    if not (bias_learns or torch.onnx.is_in_onnx_export()):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    # The fused kernels have no gradient for a bias. Plain products train
    # 1.03 times as fast (LightViT-T on CPU) as what PyTorch falls back on.
    # ONNX gets them because its exporter would scale queries and keys, each:
    # 1.03 to 1.08 times the time in OpenVINO.
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(dim=-1) @ v


def after_gelu(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``layer(gelu(x))``, which keeps ``x`` alone for the backward pass.

    To compute the GELU again is cheap beside what keeping its output takes:
    a fifth of the memory of a training step. A compiler decides by itself.
    """

    def run(x: Tensor) -> Tensor:
        return layer(F.gelu(x))

    if torch.is_grad_enabled() and not is_compiling():
        return checkpoint(run, x, use_reentrant=False, preserve_rng_state=False)
    return run(x)


def trunc_normal_(weight: Tensor) -> None:
    """Truncated normal with a standard deviation of 0.02, as the authors'.

    It is cut at 5 deviations. PyTorch's default, which they use, is 100, where
    rounding sets about one weight in 16 million to exactly -2.
    """
    nn.init.trunc_normal_(weight, std=0.02, a=-0.1, b=0.1)


def init_linear(module: nn.Module) -> None:
    """Initialise a Linear layer as the authors do; leave others alone."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Callable[[Tensor], Tensor]:
    """A convolution and the norm behind it, on fixed statistics, as one."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    bias = norm.bias - norm.running_mean * scale

    def folded(x: Tensor) -> Tensor:
        return F.conv2d(x, weight, bias, conv.stride, conv.padding, groups=conv.groups)

    return folded


class PatchEmbed(nn.Module):
    """Overlapping patch embedding (paper, Section 4.1).

    Args:
        in_channels: Channels of the image.
        embed_dims: Channels of a token.
        stride: Pixels between tokens, 8 or 4.
    """

    def __init__(self, in_channels: int, embed_dims: int, stride: int) -> None:
        super().__init__()
        mid = embed_dims // 2
        layers: list[nn.Module] = []
        for channels, groups, step in (
            (in_channels, 1, 2),
            (mid, mid, 1),
            (mid, mid, 1),
            (mid, mid, stride // 4),
        ):
            layers += [
                nn.Conv2d(channels, mid, 3, step, 1, groups=groups, bias=False),
                nn.BatchNorm2d(mid),
                nn.GELU(),
            ]
        self.stem = nn.Sequential(*layers)
        self.proj = nn.Conv2d(mid, embed_dims, 3, 2, 1)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, x: Tensor) -> tuple[Tensor, HW]:
        """(B, in_channels, h, w) -> tokens (B, N, C) and their (H, W)."""
        if x.device.type == 'cpu':
            # Measured: the stem takes half the time then, with the folding.
            x = x.contiguous(memory_format=torch.channels_last)
        for i in range(0, len(self.stem), 3):
            conv, norm = self.stem[i], self.stem[i + 1]
            layer = conv if norm.training else fold(conv, norm)
            x = layer(x) if i == 0 else after_gelu(layer, x)
            if norm.training:
                x = norm(x)
        x = after_gelu(self.proj, x)
        hw = (x.shape[2], x.shape[3])
        return self.norm(x.flatten(2).transpose(1, 2)), hw


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
        return self.norm(x.flatten(2).transpose(1, 2)), hw


class LocalGlobalAttention(nn.Module):
    """Local window attention with local-global broadcast.

    Paper, Section 3.1 and Figure 6: image tokens attend within their window
    (Eq. 1), the global tokens gather the whole image (Eq. 2), and every image
    token reads from the gathered tokens (Eq. 3); the two are added (Eq. 4).

    Args:
        embed_dims: Channels of a token.
        num_heads: Attention heads.
        num_tokens: Number of global tokens T; 0 leaves local attention alone.
        window_size: Side of a window in tokens; None for the self-attention
            of ViT over all image tokens, without position biases.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, num_tokens: int, window_size: int | None
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_tokens = num_tokens
        self.window_size = window_size
        self.qkv = nn.Linear(embed_dims, embed_dims * 3)
        if num_tokens:
            self.kv_global = nn.Linear(embed_dims, embed_dims * 2)
        self.proj = nn.Linear(embed_dims, embed_dims)
        if window_size:
            self._add_position_biases(window_size)

    def _add_position_biases(self, window_size: int) -> None:
        offsets = 2 * window_size - 1
        self.relative_position_bias_table = nn.Parameter(
            torch.empty(offsets**2, self.num_heads)
        )
        trunc_normal_(self.relative_position_bias_table)
        ys, xs = torch.meshgrid(
            torch.arange(window_size), torch.arange(window_size), indexing='ij'
        )
        dy = ys.flatten()[:, None] - ys.flatten() + window_size - 1
        dx = xs.flatten()[:, None] - xs.flatten() + window_size - 1
        self.register_buffer('relative_position_index', (dy * offsets + dx).flatten())

    def forward(self, x: Tensor, hw: HW) -> Tensor:
        """(B, T + N, C) -> (B, T + N, C)."""
        T, heads = self.num_tokens, self.num_heads
        B, _, C = x.shape
        windows, mask = self._partition(x[:, T:].view(B, *hw, C))
        qkv = self.qkv(windows)
        image = self._local_attention(qkv)
        if T == 0:
            return self.proj(self._reverse(image, hw))

        # The order of the image tokens does not matter to the other two.
        q, k, v = split_heads(qkv, heads, 3)
        q_tokens, _, _ = split_heads(self.qkv(x[:, :T]), heads, 3)
        tokens = merge_heads(attention(q_tokens, k, v, mask))
        k_global, v_global = split_heads(self.kv_global(tokens), heads, 2)
        image = image + merge_heads(attention(q, k_global, v_global))
        return self.proj(torch.cat([tokens, self._reverse(image, hw)], dim=1))

    def _partition(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Put a map (B, H, W, C) in the order of windows, (B, N', C).

        It is padded with zeros at the bottom and at the right; these take
        part in the softmax of their window. Returned beside it is a bias
        (1, 1, 1, N') that masks them, -inf there and else 0; None without.
        """
        B, H, W, C = image.shape
        s = self.window_size
        if s is None:
            return image.reshape(B, H * W, C), None
        mask = None
        # A traced network may see other sizes than this one.
        if H % s or W % s or torch.jit.is_tracing():
            padded_H, padded_W = self._padded((H, W))
            padding = (0, 0, 0, padded_W - W, 0, padded_H - H)
            mask = F.pad(image.new_zeros(1, H, W, 1), padding, value=-math.inf)
            mask = window_partition(mask, s)[None, None, :, :, 0]
            image = F.pad(image, padding)
        return window_partition(image, s), mask

    def _reverse(self, image: Tensor, hw: HW) -> Tensor:
        """Undo :meth:`_partition`, (B, N', C) -> (B, N, C)."""
        if self.window_size is None:
            return image
        H, W = hw
        image = window_reverse(image, self.window_size, self._padded(hw))
        return image[:, :H, :W].flatten(1, 2)

    def _padded(self, hw: HW) -> HW:
        H, W = hw
        s = self.window_size
        return (H + s - 1) // s * s, (W + s - 1) // s * s

    def _local_attention(self, qkv: Tensor) -> Tensor:
        """Attention within windows, (B, N', 3C) -> (B, N', C)."""
        s = self.window_size
        if s is None:
            return merge_heads(attention(*split_heads(qkv, self.num_heads, 3)))
        B, N, C = qkv.shape
        windows = qkv.reshape(B * (N // (s * s)), s * s, C)
        q, k, v = split_heads(windows, self.num_heads, 3)
        out = merge_heads(attention(q, k, v, self._position_bias()))
        return out.reshape(B, N, C // 3)

    def _position_bias(self) -> Tensor:
        """Bias of each pair of tokens in a window, (1, heads, S², S²)."""
        bias = self.relative_position_bias_table[self.relative_position_index]
        area = self.window_size**2
        return bias.view(1, area, area, -1).permute(0, 3, 1, 2)

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args, **kwargs
    ) -> None:
        """Resize the position biases if the window size has changed."""
        name = prefix + 'relative_position_bias_table'
        table = state_dict.get(name)
        new = 2 * (self.window_size or 0) - 1
        if table is not None and self.window_size and len(table) != new**2:
            old = int(len(table) ** 0.5)
            grid = table.t().reshape(1, -1, old, old)
            grid = F.interpolate(grid, size=(new, new), mode='bicubic')
            state_dict[name] = grid.flatten(2).squeeze(0).t()
            index = prefix + 'relative_position_index'
            state_dict[index] = self.relative_position_index
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


@MODELS.register_module()
class BiDimensionalAttention(nn.Module):
    """Gates over channels and over tokens (paper, Section 3.2, Figure 7).

    Args:
        embed_dims: Channels of a token.
        reduction: Ratio r of the reduction layers.
        spatial_attn: Gate each token.
        channel_attn: Gate each channel.
    """

    def __init__(
        self,
        embed_dims: int,
        reduction: int = 4,
        spatial_attn: bool = True,
        channel_attn: bool = True,
    ) -> None:
        super().__init__()
        self.spatial_attn = spatial_attn
        self.channel_attn = channel_attn
        mid = embed_dims // reduction
        self.norm = nn.LayerNorm(embed_dims)
        self.global_reduce = nn.Linear(embed_dims, mid)
        self.act = nn.GELU()
        if spatial_attn:
            self.local_reduce = nn.Linear(embed_dims, mid)
            self.spatial_select = nn.Linear(mid * 2, 1)
        if channel_attn:
            self.channel_select = nn.Linear(mid, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C), for any number of tokens L."""
        normed = self.norm(x)
        mean = normed.mean(dim=1, keepdim=True)
        mean = self.act(self.global_reduce(mean))
        if self.channel_attn:
            x = x * self.channel_select(mean).sigmoid()
        if self.spatial_attn:
            # A linear layer on [local; mean], without writing that out.
            local = self.act(self.local_reduce(normed))
            of_local, of_mean = self.spatial_select.weight.chunk(2, dim=1)
            spatial = F.linear(local, of_local) + F.linear(
                mean, of_mean, self.spatial_select.bias
            )
            x = x * spatial.sigmoid()
        return x


class FFN(nn.Module):
    """Feed-forward network with the bi-dimensional attention at its end.

    Args:
        embed_dims: Channels of a token.
        mlp_ratio: Hidden channels over ``embed_dims``.
        spatial_attn: Gate each token.
        channel_attn: Gate each channel.
    """

    def __init__(
        self, embed_dims: int, mlp_ratio: float, spatial_attn: bool, channel_attn: bool
    ) -> None:
        super().__init__()
        hidden = int(embed_dims * mlp_ratio)
        self.fc1 = nn.Linear(embed_dims, hidden)
        self.fc2 = nn.Linear(hidden, embed_dims)
        self.attn: nn.Module = nn.Identity()
        if spatial_attn or channel_attn:
            self.attn = BiDimensionalAttention(
                embed_dims, spatial_attn=spatial_attn, channel_attn=channel_attn
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C)."""
        return self.attn(after_gelu(self.fc2, self.fc1(x)))


class ResidualPatchMerging(nn.Module):
    """Halve the map and change the channels (paper, Figure 5c).

    Args:
        in_channels: Channels C of the incoming tokens.
        out_channels: Channels of the outgoing tokens.
        num_tokens: Number of global tokens T, which keep their number.
        residual: Add the max-pooled map. Without it this is Swin's merging.
    """

    def __init__(
        self, in_channels: int, out_channels: int, num_tokens: int, residual: bool
    ) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.residual = residual
        self.norm = nn.LayerNorm(in_channels * 4)
        self.reduction = nn.Linear(in_channels * 4, out_channels, bias=False)
        if residual:
            self.res_proj = nn.Linear(in_channels, out_channels, bias=False)
        if num_tokens:
            self.norm2 = nn.LayerNorm(in_channels)
            self.proj = nn.Linear(in_channels, out_channels, bias=False)

    def forward(self, x: Tensor, hw: HW) -> tuple[Tensor, HW]:
        """(B, T + N, C) -> (B, T + ceil(H / 2) * ceil(W / 2), out_channels).

        An odd height or width is padded with zeros, which take part in the
        maximum of the residual branch.
        """
        T = self.num_tokens
        H, W = hw
        B, _, C = x.shape
        image = x[:, T:].view(B, H, W, C)
        if H % 2 or W % 2 or torch.jit.is_tracing():
            image = F.pad(image, (0, 0, 0, W % 2, 0, H % 2))
            H, W = H + H % 2, W + W % 2
        hw = (H // 2, W // 2)
        # The released weights expect the four neighbours column by column.
        patches = image.view(B, H // 2, 2, W // 2, 2, C)
        patches = patches.permute(0, 1, 3, 4, 2, 5)
        patches = patches.reshape(B, (H // 2) * (W // 2), 4, C)
        image = self.reduction(self.norm(patches.flatten(2)))
        if self.residual:
            image = image + self.res_proj(patches.amax(dim=2))
        if T == 0:
            return image, hw
        tokens = self.proj(self.norm2(x[:, :T]))
        return torch.cat([tokens, image], dim=1), hw


class LightViTBlock(nn.Module):
    """Attention and FFN, each with a norm before and a residual around it.

    Args:
        embed_dims: Channels of a token.
        num_heads: Attention heads.
        num_tokens: Number of global tokens T.
        window_size: Side of a window in tokens.
        mlp_ratio: Hidden channels of the FFN over ``embed_dims``.
        spatial_attn: Gate each token in the FFN.
        channel_attn: Gate each channel in the FFN.
        drop_path_rate: Probability to drop a residual branch of an image.
        drop_tokens: Drop the global tokens between attention and FFN.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        num_tokens: int,
        window_size: int | None,
        mlp_ratio: float,
        spatial_attn: bool,
        channel_attn: bool,
        drop_path_rate: float,
        drop_tokens: bool,
    ) -> None:
        super().__init__()
        self.num_dropped = num_tokens if drop_tokens else 0
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = LocalGlobalAttention(embed_dims, num_heads, num_tokens, window_size)
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.mlp = FFN(embed_dims, mlp_ratio, spatial_attn, channel_attn)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, hw: HW) -> Tensor:
        """(B, T + N, C) -> (B, T + N, C), or (B, N, C) with drop_tokens."""
        x = x + self.drop_path(self.attn(self.norm1(x), hw))
        x = x[:, self.num_dropped :]
        return x + self.drop_path(self.mlp(self.norm2(x)))


@MODELS.register_module()
class LightViT(BaseModule):
    """LightViT backbone (paper, Sections 3 and 4, Table 1).

    Args:
        arch: 'tiny', 'small' or 'base', or a dict with the keys of
            :attr:`arch_zoo`: ``embed_dims``, ``depths``, ``num_heads`` and
            ``mlp_ratios``, one entry per stage, and ``num_tokens``.
        in_channels: Channels of the image.
        num_tokens: Number of global tokens. Defaults to that of ``arch``; 0
            leaves out the global attention (Tables 5 and 6).
        window_size: Side of an attention window in tokens. On loading
            weights of another window size the position biases are resized.
            None is ViT's self-attention over the whole map (Table 5).
        spatial_attn: Whether the FFN has the spatial attention (Table 5).
        channel_attn: Whether the FFN has the channel attention (Table 5).
        stem_stride: Stride of the stem and of the first stage, 8 or, as
            with four stages in Section 4.1, 4.
        overlapping_patch_embed: Whether the stem is the overlapping patch
            embedding, else one convolution as in ViT (Section 4.1).
        residual_patch_merging: Whether the patch merging has its residual
            branch (Section 4.1).
        drop_path_rate: Stochastic depth rate of the last block; it grows
            linearly from 0 over all blocks.
        out_indices: Stages whose output is returned, in increasing order.
            Stages behind the last one are not built.
        out_type: 'featmap' returns maps (B, C, H, W) of the image tokens, as
            the authors' detectors do; 'raw' returns all tokens
            (B, T + N, C), global tokens first, as their classifier does.
        frozen_stages: The last stage to freeze; -1 freezes nothing. Frozen
            are the stem, the global tokens, the stages up to this one and
            their output norms: no gradient, no drop path, and BatchNorm
            keeps its statistics.
        norm_eval: Whether BatchNorm keeps its statistics in training.
            LightViT has BatchNorm in its stem alone.
        stem_norm_eval: The same by the name of the authors' configs.
        with_cp: Recompute each block in the backward pass, which trades time
            for memory.
        init_cfg: mmengine's initialisation config, such as
            ``dict(type='Pretrained', checkpoint=..., prefix='backbone.')``.
            By default weights are initialised as the authors' are.

    Raises:
        ValueError: If an option is out of its range.
        TypeError: If an argument is unknown.

    Examples:
        >>> import torch
        >>> from lightvit_mm import LightViT
        >>> outs = LightViT(arch='tiny')(torch.rand(1, 3, 224, 224))
        >>> [tuple(out.shape) for out in outs]
        [(1, 64, 28, 28), (1, 128, 14, 14), (1, 256, 7, 7)]
    """

    arch_zoo: dict[str, dict] = {
        'tiny': dict(
            embed_dims=(64, 128, 256),
            depths=(2, 6, 6),
            num_heads=(2, 4, 8),
            mlp_ratios=(8, 4, 4),
            num_tokens=8,
        ),
        'small': dict(
            embed_dims=(96, 192, 384),
            depths=(2, 6, 6),
            num_heads=(3, 6, 12),
            mlp_ratios=(8, 4, 4),
            num_tokens=16,
        ),
        'base': dict(
            embed_dims=(128, 256, 512),
            depths=(3, 8, 6),
            num_heads=(4, 8, 16),
            mlp_ratios=(8, 4, 4),
            num_tokens=24,
        ),
    }
    out_types = ('featmap', 'raw')

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        num_tokens: int | None = None,
        window_size: int | None = 7,
        spatial_attn: bool = True,
        channel_attn: bool = True,
        stem_stride: int = 8,
        overlapping_patch_embed: bool = True,
        residual_patch_merging: bool = True,
        drop_path_rate: float = 0.1,
        out_indices: Sequence[int] = (0, 1, 2),
        out_type: str = 'featmap',
        frozen_stages: int = -1,
        norm_eval: bool = False,
        stem_norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
        **unknown,
    ) -> None:
        reject_unknown(type(self), unknown)
        super().__init__(init_cfg=init_cfg)
        settings = self._check_arch(arch)
        self.embed_dims = tuple(settings['embed_dims'])
        self.depths = tuple(settings['depths'])
        self.num_tokens = settings['num_tokens'] if num_tokens is None else num_tokens
        num_stages = len(self.depths)

        self.out_indices = tuple(out_indices)
        if (
            not self.out_indices
            or list(self.out_indices) != sorted(set(self.out_indices))
            or not set(self.out_indices) <= set(range(num_stages))
        ):
            raise ValueError(
                f'out_indices={out_indices} should be increasing stage '
                f'indices out of {tuple(range(num_stages))}'
            )
        last_stage = self.out_indices[-1]
        if not -1 <= frozen_stages <= last_stage:
            raise ValueError(
                f'frozen_stages={frozen_stages} should be -1 (freeze nothing) '
                f'to {last_stage}, the last stage of out_indices='
                f'{self.out_indices}'
            )
        if out_type not in self.out_types:
            raise ValueError(f'out_type={out_type!r} should be one of {self.out_types}')
        for name, value, least in (
            ('num_tokens', self.num_tokens, 0),
            ('window_size', window_size, 1),
            ('in_channels', in_channels, 1),
        ):
            if name == 'window_size' and value is None:
                continue
            if not isinstance(value, int) or value < least:
                raise ValueError(f'{name}={value!r} should be an integer >= {least}')
        if stem_stride not in (4, 8):
            raise ValueError(f'stem_stride={stem_stride} should be 4 or 8')
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'drop_path_rate={drop_path_rate} should be in [0, 1)')
        self.in_channels = in_channels
        self.stem_stride = stem_stride
        self.num_extra_tokens = self.num_tokens if out_type == 'raw' else 0
        self.out_type = out_type
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval or stem_norm_eval
        self.with_cp = with_cp

        patch_embed = PatchEmbed if overlapping_patch_embed else PlainPatchEmbed
        self.patch_embed = patch_embed(in_channels, self.embed_dims[0], stem_stride)
        if self.num_tokens:
            self.global_token = nn.Parameter(
                torch.empty(1, self.num_tokens, self.embed_dims[0])
            )
            trunc_normal_(self.global_token)

        drop_path_rates = torch.linspace(0, drop_path_rate, sum(self.depths)).tolist()
        self.stages = nn.ModuleList()
        for i in range(last_stage + 1):
            stage = nn.ModuleList()
            if i > 0:
                stage.append(
                    ResidualPatchMerging(
                        self.embed_dims[i - 1],
                        self.embed_dims[i],
                        self.num_tokens,
                        residual_patch_merging,
                    )
                )
            for j in range(self.depths[i]):
                is_last = (i, j) == (num_stages - 1, self.depths[i] - 1)
                stage.append(
                    LightViTBlock(
                        self.embed_dims[i],
                        settings['num_heads'][i],
                        self.num_tokens,
                        window_size,
                        settings['mlp_ratios'][i],
                        spatial_attn,
                        channel_attn,
                        drop_path_rates.pop(0),
                        drop_tokens=is_last and out_type == 'featmap',
                    )
                )
            self.stages.append(stage)
        for i in self.out_indices:
            self.add_module(f'norm{i}', nn.LayerNorm(self.embed_dims[i], eps=1e-6))

        self.apply(init_linear)
        self._freeze_stages()

    @classmethod
    def _check_arch(cls, arch: str | dict) -> dict:
        if isinstance(arch, str):
            if arch not in cls.arch_zoo:
                raise ValueError(
                    f'arch={arch!r} should be one of {tuple(cls.arch_zoo)} or a dict'
                )
            return cls.arch_zoo[arch]
        keys = set(cls.arch_zoo['tiny'])
        if not isinstance(arch, dict) or set(arch) != keys:
            raise ValueError(
                f'arch={arch!r} should be one of '
                f'{tuple(cls.arch_zoo)} or a dict with the keys '
                f'{sorted(keys)}'
            )
        per_stage = {key: arch[key] for key in keys - {'num_tokens'}}
        if len({len(value) for value in per_stage.values()}) != 1:
            raise ValueError(
                f'arch={arch!r} should have as many entries in '
                f'each of {sorted(per_stage)}: one per stage'
            )
        for dims, heads in zip(arch['embed_dims'], arch['num_heads']):
            if dims % heads or dims % 4:
                raise ValueError(
                    f'arch={arch!r}: embed_dims {dims} should divide by its '
                    f'num_heads {heads} and by 4'
                )
        return arch

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs of the stages in ``out_indices``.

        Args:
            x: Images (B, in_channels, h, w); any h and w from 1 on.

        Returns:
            One tensor per stage, (B, C, H, W) or (B, T + N, C) as
            ``out_type`` says; stage i has stride stem_stride * 2 ** i.

        Raises:
            ValueError: If the input has another shape.
        """
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f'LightViT got an input of shape {tuple(x.shape)} and expects '
                f'(batch, {self.in_channels}, height, width); '
                'in_channels sets the number of channels'
            )
        x, hw = self.patch_embed(x)
        if self.num_tokens:
            tokens = self.global_token.expand(x.shape[0], -1, -1)
            x = torch.cat([tokens, x], dim=1)

        outs = []
        for i, stage in enumerate(self.stages):
            for layer in stage:
                if isinstance(layer, ResidualPatchMerging):
                    x, hw = layer(x, hw)
                elif self.with_cp and torch.is_grad_enabled():
                    x = checkpoint(layer, x, hw, use_reentrant=False)
                else:
                    x = layer(x, hw)
            if i in self.out_indices:
                outs.append(self._output(x, hw, getattr(self, f'norm{i}')))
        return tuple(outs)

    def _output(self, x: Tensor, hw: HW, norm: nn.Module) -> Tensor:
        if self.out_type == 'raw':
            return norm(x)
        H, W = hw
        x = norm(x[:, -H * W :])
        B, _, C = x.shape
        return x.transpose(1, 2).reshape(B, C, H, W).contiguous()

    def train(self, mode: bool = True) -> 'LightViT':
        """Set the mode; the frozen part always stays in evaluation mode."""
        super().train(mode)
        self._freeze_stages()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        if self.num_tokens:
            self.global_token.requires_grad_(False)
        frozen = [self.patch_embed, *self.stages[: self.frozen_stages + 1]]
        frozen += [
            getattr(self, f'norm{i}')
            for i in self.out_indices
            if i <= self.frozen_stages
        ]
        for module in frozen:
            module.eval()
            module.requires_grad_(False)

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args, **kwargs
    ) -> None:
        """Refuse weights that do not fit, whoever loads them.

        Stages that are not built are left out. Output norms may be missing,
        as a classifier has none for the earlier stages.
        """
        if not prefix and any(key.startswith('backbone.') for key in state_dict):
            weights = take_backbone(state_dict)
            state_dict.clear()
            state_dict.update(weights)
        stages = range(len(self.depths))
        fit_state_dict(
            self,
            state_dict,
            prefix,
            may_miss=[f'norm{i}.' for i in stages],
            may_exceed=[f'stages.{i}.' for i in stages[len(self.stages) :]]
            + [f'norm{i}.' for i in stages if i not in self.out_indices],
            # Position biases are resized to the window.
            may_reshape=['relative_position_bias_table', 'relative_position_index'],
        )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Layer-wise depth of a parameter, for layer-wise learning rates.

        Args:
            param_name: Name of the parameter in the whole model.
            prefix: Prefix of the backbone in that name, as ``'backbone.'``.

        Returns:
            The depth and the number of layers: 0 for stem and global tokens,
            then one per block (a patch merging counts with the block behind
            it), and the highest for output norms and all outside.
        """
        num_layers = sum(self.depths[: len(self.stages)]) + 2
        if not param_name.startswith(prefix):
            return num_layers - 1, num_layers
        name = param_name[len(prefix) :]
        if name.startswith(('patch_embed.', 'global_token')):
            return 0, num_layers
        if not name.startswith('stages.'):
            return num_layers - 1, num_layers
        stage, layer = map(int, name.split('.')[1:3])
        block = layer if stage == 0 else max(layer - 1, 0)
        return sum(self.depths[:stage]) + block + 1, num_layers
