"""LightViT: towards light-weight convolution-free vision transformers.

The network of https://arxiv.org/abs/2207.05557, read from top to bottom: the
stem, the attention, the FFN, the patch merging, the block and the backbone.
Where the paper leaves a detail open, the authors' released code decides, so
that their published weights give their published results.

Shapes in the comments: B images, T global tokens, N = H * W image tokens,
C channels. Tokens travel as one tensor (B, T + N, C), global tokens first.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..arguments import (
    FLAG,
    INIT_CFG,
    checked,
    each,
    integer,
    one_of,
    optional,
    require,
)
from ..registry import MODELS
from .ablation import PlainPatchEmbed, SelfAttention
from .fast import after_gelu, attention, project_stem
from .layers import (
    HW,
    init_linear,
    merge_heads,
    relative_position_index,
    resize_position_biases,
    split_heads,
    trunc_normal_,
    window_partition,
    window_reverse,
)
from .options import (
    CHANNELS,
    DROP_PATH_RATE,
    NUM_TOKENS,
    WINDOW_SIZE,
    check_arch,
    check_input,
    check_stages,
)
from .strict import fit_state_dict, keep_backbone


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
        x = project_stem(self.stem, self.proj, x)
        hw = (x.shape[2], x.shape[3])
        # (B, C, H, W) -> (B, N, C)
        return self.norm(x.flatten(2).transpose(1, 2)), hw


class LocalGlobalAttention(nn.Module):
    """Local window attention with local-global broadcast.

    Paper, Section 3.1 and Figure 6: image tokens attend within their window
    (Eq. 1), the global tokens gather the whole image (Eq. 2), and every image
    token reads from the gathered tokens (Eq. 3); the two are added (Eq. 4).

    Args:
        embed_dims: Channels of a token.
        num_heads: Attention heads.
        num_tokens: Number of global tokens T; 0 leaves only local attention.
        window_size: Side of a window in tokens.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, num_tokens: int, window_size: int
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_tokens = num_tokens
        self.window_size = window_size
        self.qkv = nn.Linear(embed_dims, embed_dims * 3)
        if num_tokens:
            self.kv_global = nn.Linear(embed_dims, embed_dims * 2)
        self.proj = nn.Linear(embed_dims, embed_dims)
        table = torch.empty((2 * window_size - 1) ** 2, num_heads)
        self.relative_position_bias_table = nn.Parameter(trunc_normal_(table))
        index = relative_position_index(window_size)
        self.register_buffer('relative_position_index', index)

    def forward(self, x: Tensor, hw: HW) -> Tensor:
        """(B, T + N, C) -> (B, T + N, C)."""
        T, heads = self.num_tokens, self.num_heads
        B, _, C = x.shape
        windows, mask = self._partition(x[:, T:].view(B, *hw, C))  # (B, N', C)
        qkv = self.qkv(windows)
        image = self._local_attention(qkv)
        if T == 0:
            return self.proj(self._reverse(image, hw))

        # The other two attentions do not depend on the order of the image tokens.
        q, k, v = split_heads(qkv, heads, 3)
        q_tokens, _, _ = split_heads(self.qkv(x[:, :T]), heads, 3)
        tokens = merge_heads(attention(q_tokens, k, v, mask))
        k_global, v_global = split_heads(self.kv_global(tokens), heads, 2)
        image = image + merge_heads(attention(q, k_global, v_global))
        return self.proj(torch.cat([tokens, self._reverse(image, hw)], dim=1))

    def _partition(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Put a map (B, H, W, C) in the order of windows, (B, N', C).

        The map is padded with zeros at the bottom and at the right, which take
        part in the softmax of their window. The second result is a bias
        (1, 1, 1, N') that masks them: -inf at the padding, 0 elsewhere; None
        without padding.
        """
        _, H, W, _ = image.shape
        s = self.window_size
        mask = None
        # A traced network may see other sizes than this one.
        if H % s or W % s or torch.jit.is_tracing():
            padded_H, padded_W = self._padded((H, W))
            padding = (0, 0, 0, padded_W - W, 0, padded_H - H)
            mask = F.pad(image.new_zeros(1, H, W, 1), padding, value=-math.inf)
            # (1, N', 1) -> (1, 1, 1, N')
            mask = window_partition(mask, s)[None, None, :, :, 0]
            image = F.pad(image, padding)
        return window_partition(image, s), mask

    def _reverse(self, image: Tensor, hw: HW) -> Tensor:
        """Undo :meth:`_partition`, (B, N', C) -> (B, N, C)."""
        H, W = hw
        image = window_reverse(image, self.window_size, self._padded(hw))
        return image[:, :H, :W].flatten(1, 2)

    def _padded(self, hw: HW) -> HW:
        s = self.window_size
        return (hw[0] + s - 1) // s * s, (hw[1] + s - 1) // s * s

    def _local_attention(self, qkv: Tensor) -> Tensor:
        """Attention within windows, (B, N', 3C) -> (B, N', C)."""
        area = self.window_size**2
        B, N, C3 = qkv.shape
        # (B, N', 3C) -> (B * windows, S², 3C) -> three of (B * windows, heads, S², d)
        windows = qkv.reshape(B * (N // area), area, C3)
        q, k, v = split_heads(windows, self.num_heads, 3)
        out = merge_heads(attention(q, k, v, self.position_bias()))
        # (B * windows, S², C) -> (B, N', C)
        return out.reshape(B, N, C3 // 3)

    def position_bias(self) -> Tensor:
        """Bias of each pair of tokens in a window, (1, heads, S², S²)."""
        bias = self.relative_position_bias_table[self.relative_position_index]
        area = self.window_size**2
        # (S² * S², heads) -> (1, S², S², heads) -> (1, heads, S², S²)
        return bias.view(1, area, area, -1).permute(0, 3, 1, 2)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs):
        """Resize the position biases if the window size has changed."""
        resize_position_biases(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


@MODELS.register_module()
class BiDimensionalAttention(nn.Module):
    """Gates over channels and over tokens (paper, Section 3.2, Figure 7).

    Args:
        embed_dims: Channels of a token.
        reduction: Ratio r of the reduction layers.
        spatial_attn: Gate each token.
        channel_attn: Gate each channel.

    Raises:
        ValueError: If an argument is out of its range.
    """

    @checked(
        embed_dims=CHANNELS,
        reduction=integer(1),
        spatial_attn=FLAG,
        channel_attn=FLAG,
    )
    def __init__(
        self,
        embed_dims: int,
        reduction: int = 4,
        spatial_attn: bool = True,
        channel_attn: bool = True,
    ) -> None:
        super().__init__()
        require(
            'BiDimensionalAttention',
            reduction <= embed_dims,
            f'reduction={reduction}',
            f'at most embed_dims={embed_dims}',
        )
        self.embed_dims = embed_dims
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
        check_input(
            'BiDimensionalAttention',
            x,
            ('batch', 'tokens', self.embed_dims),
            'embed_dims sets the last size',
        )
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
        residual: Add the max-pooled map; without it this is Swin's merging.
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
        # (B, H, W, C) -> (B, N / 4, 4, C). The released weights expect the four
        # neighbours column by column.
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
    """Attention and FFN, each with a norm before it and a residual around it.

    Args:
        embed_dims: Channels of a token.
        attn: The attention, (B, T + N, C) and (H, W) -> (B, T + N, C).
        mlp: The feed-forward network.
        drop_path_rate: Probability to drop a residual branch of an image.
    """

    # Global tokens that are dropped between attention and FFN.
    num_dropped = 0

    def __init__(
        self, embed_dims: int, attn: nn.Module, mlp: nn.Module, drop_path_rate: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = attn
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.mlp = mlp
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, hw: HW) -> tuple[Tensor, HW]:
        """(B, T + N, C) -> (B, T + N - num_dropped, C), and the same (H, W)."""
        x = x + self.drop_path(self.attn(self.norm1(x), hw))
        x = x[:, self.num_dropped :]
        return x + self.drop_path(self.mlp(self.norm2(x))), hw


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
        window_size: Side of an attention window in tokens. Weights of another
            window size are loaded with resized position biases. None is ViT's
            self-attention over the whole map (Table 5).
        spatial_attn: Whether the FFN has the spatial attention (Table 5).
        channel_attn: Whether the FFN has the channel attention (Table 5).
        stem_stride: Stride of the stem and of the first stage, 8 or, as
            with four stages in Section 4.1, 4.
        overlapping_patch_embed: Whether the stem is the overlapping patch
            embedding; False is a single convolution, as in ViT (Section 4.1).
        residual_patch_merging: Whether the patch merging has its residual
            branch (Section 4.1).
        drop_path_rate: Stochastic depth rate of the last block; it grows
            linearly from 0 over all blocks.
        out_indices: Stages whose output is returned, in increasing order.
            Stages after the last one are not built.
        out_type: 'featmap' returns maps (B, C, H, W) of the image tokens, as
            the authors' detectors do; 'raw' returns all tokens
            (B, T + N, C), global tokens first, as their classifier does.
        frozen_stages: The last stage to freeze; -1 freezes nothing. The stem,
            the global tokens, the stages up to this one and their output norms
            get no gradient and no drop path, and BatchNorm keeps its
            statistics.
        norm_eval: Whether BatchNorm keeps its statistics in training.
            LightViT has BatchNorm only in its stem.
        with_cp: Recompute each layer in the backward pass, which trades time
            for memory.
        init_cfg: mmengine's initialisation config, such as
            ``dict(type='Pretrained', checkpoint=..., prefix='backbone.')``.
            By default weights are initialised as the authors' are.

    The transforms of ``torch.func`` work if BatchNorm is in evaluation mode and
    ``with_cp`` is False. Second derivatives (``create_graph=True``) need
    ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``, because PyTorch's fused
    attention has none. If you build it on the meta device, load the weights with
    ``assign=True`` or call ``to_empty`` first.

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

    arch_zoo: ClassVar[dict[str, dict]] = {
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

    @checked(
        in_channels=CHANNELS,
        num_tokens=optional(NUM_TOKENS),
        window_size=optional(WINDOW_SIZE),
        spatial_attn=FLAG,
        channel_attn=FLAG,
        stem_stride=one_of(4, 8),
        overlapping_patch_embed=FLAG,
        residual_patch_merging=FLAG,
        drop_path_rate=DROP_PATH_RATE,
        out_indices=each(integer(), least=0),
        out_type=one_of('featmap', 'raw'),
        frozen_stages=integer(),
        norm_eval=FLAG,
        with_cp=FLAG,
        init_cfg=INIT_CFG,
    )
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
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        settings = check_arch(arch, self.arch_zoo)
        self.embed_dims = settings['embed_dims']
        self.depths = settings['depths']
        self.num_tokens = settings['num_tokens'] if num_tokens is None else num_tokens
        self.window_size = window_size
        self.in_channels = in_channels
        self.stem_stride = stem_stride
        self.out_indices = out_indices
        self.out_type = out_type
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        check_stages(self)
        # mmpretrain's tool vis_cam.py skips as many tokens.
        self.num_extra_tokens = self.num_tokens if out_type == 'raw' else 0

        patch_embed = PatchEmbed if overlapping_patch_embed else PlainPatchEmbed
        self.patch_embed = patch_embed(in_channels, self.embed_dims[0], stem_stride)
        if self.num_tokens:
            tokens = torch.empty(1, self.num_tokens, self.embed_dims[0])
            self.global_token = nn.Parameter(trunc_normal_(tokens))

        # On the CPU, even if the network is built on the meta device.
        drop_path_rates = torch.linspace(
            0, drop_path_rate, sum(self.depths), device='cpu'
        ).tolist()
        self.stages = nn.ModuleList()
        for i in range(self.out_indices[-1] + 1):
            dims, heads = self.embed_dims[i], settings['num_heads'][i]
            stage = nn.ModuleList()
            if i > 0:
                sizes = self.embed_dims[i - 1], dims, self.num_tokens
                stage.append(ResidualPatchMerging(*sizes, residual_patch_merging))
            for _ in range(self.depths[i]):
                attn = self._attention(dims, heads)
                mlp_ratio = settings['mlp_ratios'][i]
                mlp = FFN(dims, mlp_ratio, spatial_attn, channel_attn)
                stage.append(LightViTBlock(dims, attn, mlp, drop_path_rates.pop(0)))
            self.stages.append(stage)
        # The authors' detectors drop the global tokens before the last FFN.
        if out_type == 'featmap' and len(self.stages) == len(self.depths):
            self.stages[-1][-1].num_dropped = self.num_tokens
        for i in self.out_indices:
            self.add_module(f'norm{i}', nn.LayerNorm(self.embed_dims[i], eps=1e-6))

        self.apply(init_linear)
        self._freeze_stages()

    def _attention(self, embed_dims: int, num_heads: int) -> nn.Module:
        sizes = embed_dims, num_heads, self.num_tokens
        if self.window_size is None:
            return SelfAttention(*sizes)
        return LocalGlobalAttention(*sizes, self.window_size)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs of the stages in ``out_indices``.

        Args:
            x: Images (B, in_channels, h, w) of any height and width.

        Returns:
            One tensor per stage, (B, C, H, W) or (B, T + N, C) as
            ``out_type`` says; stage i has stride stem_stride * 2 ** i.

        Raises:
            ValueError: If the input has another shape, no pixels, or no floating
                point numbers.
        """
        check_input(
            'LightViT',
            x,
            ('batch', self.in_channels, 'height', 'width'),
            'in_channels sets the channels',
        )
        x, hw = self.patch_embed(x)
        if self.num_tokens:
            tokens = self.global_token.expand(x.shape[0], -1, -1)
            x = torch.cat([tokens, x], dim=1)

        outs = []
        for i, stage in enumerate(self.stages):
            for layer in stage:
                if self.with_cp and torch.is_grad_enabled():
                    layer = partial(checkpoint, layer, use_reentrant=False)
                x, hw = layer(x, hw)
            if i in self.out_indices:
                outs.append(self._output(x, hw, getattr(self, f'norm{i}')))
        return tuple(outs)

    def _output(self, x: Tensor, hw: HW, norm: nn.Module) -> Tensor:
        if self.out_type == 'raw':
            return norm(x)
        H, W = hw
        x = norm(x[:, -H * W :])
        B, _, C = x.shape
        # (B, N, C) -> (B, C, H, W)
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
        last = self.frozen_stages
        norms = [getattr(self, f'norm{i}') for i in self.out_indices if i <= last]
        for module in (self.patch_embed, *self.stages[: last + 1], *norms):
            module.eval()
            module.requires_grad_(False)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs):
        """Refuse weights that do not fit, however they are loaded.

        Stages that are not built are left out. Output norms may be missing,
        as a classifier has none for the earlier stages.
        """
        if not prefix:
            keep_backbone(state_dict)
        self._check_num_tokens(state_dict.get(f'{prefix}global_token'))
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

    def _check_num_tokens(self, token: Tensor | None) -> None:
        """Name the option to set if weights have another number of global tokens."""
        if token is None or not self.num_tokens:
            return
        _, T, C = self.global_token.shape
        if token.ndim == 3 and token.shape[::2] == (1, C) and token.shape[1] != T:
            raise RuntimeError(
                f'The weights have {token.shape[1]} global tokens, but this LightViT '
                f'has {T}: set model.backbone.num_tokens={token.shape[1]}'
            )

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Layer-wise depth of a parameter, for layer-wise learning rates.

        Args:
            param_name: Name of the parameter in the whole model.
            prefix: Prefix of the backbone in that name, such as ``'backbone.'``.

        Returns:
            The depth and the number of layers. The depth is 0 for the stem and
            the global tokens, then one per block (a patch merging has the depth
            of the block after it), and the highest for output norms and
            everything outside the backbone.
        """
        num_layers = sum(self.depths[: len(self.stages)]) + 2
        name = param_name.removeprefix(prefix)
        is_inside = param_name.startswith(prefix)
        if is_inside and name.startswith(('patch_embed.', 'global_token')):
            return 0, num_layers
        if not (is_inside and name.startswith('stages.')):
            return num_layers - 1, num_layers
        stage, layer = map(int, name.split('.')[1:3])
        # After the first stage, layer 0 is the patch merging.
        block = max(layer - (stage > 0), 0)
        return sum(self.depths[:stage]) + block + 1, num_layers
