"""The necks: a pyramid for detectors, pooled tokens for classifiers."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, Sequential
from torch import Tensor, nn

from ..arguments import INIT_CFG, checked, each, integer, require
from ..registry import MODELS
from .layers import init_linear
from .options import CHANNELS, check_input, check_inputs
from .strict import StrictLoading

XAVIER = dict(type='Xavier', layer='Conv2d', distribution='uniform')


@MODELS.register_module()
class LightViTFPN(StrictLoading, BaseModule):
    """Feature pyramid with finer levels than its inputs (paper, Figure 5b).

    A feature pyramid network (https://arxiv.org/abs/1612.03144) whose
    largest map is upsampled by 2x2 transposed convolutions with stride 2, so
    that the three levels of LightViT become the four that a detector expects.

    Args:
        in_channels: Channels of each input, largest map first.
        out_channels: Channels of every output.
        num_outs: Number of outputs. Those above the inputs and the extra
            levels are max-pooled from the smallest one.
        num_extra_trans_convs: Number of finer levels; 0 gives a plain FPN.
        init_cfg: mmengine's initialisation config.

    Raises:
        ValueError: If an argument is out of its range, or the inputs do not fit.
        TypeError: If an argument is unknown.
    """

    @checked(
        in_channels=each(CHANNELS),
        out_channels=CHANNELS,
        num_outs=integer(1, 32),
        num_extra_trans_convs=integer(0, 8),
        init_cfg=INIT_CFG,
    )
    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int = 5,
        num_extra_trans_convs: int = 1,
        init_cfg: dict | list[dict] | None = XAVIER,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        num_levels = len(in_channels) + num_extra_trans_convs
        require(
            'LightViTFPN',
            num_outs >= num_levels,
            f'num_outs={num_outs}',
            f'at least {num_levels}: {len(in_channels)} inputs and '
            f'num_extra_trans_convs={num_extra_trans_convs}',
        )
        self.in_channels = in_channels
        self.num_outs = num_outs

        self.lateral_convs = nn.ModuleList(
            self._conv(channels, out_channels, 1) for channels in in_channels
        )
        self.fpn_convs = nn.ModuleList(
            self._conv(out_channels, out_channels, 3, padding=1) for _ in in_channels
        )
        self.extra_trans_convs = nn.ModuleList(
            self._conv(
                out_channels, out_channels, 2, stride=2, conv_cfg=dict(type='deconv')
            )
            for _ in range(num_extra_trans_convs)
        )
        self.extra_fpn_convs = nn.ModuleList(
            self._conv(out_channels, out_channels, 3, padding=1)
            for _ in range(num_extra_trans_convs)
        )

    @staticmethod
    def _conv(*args, **kwargs) -> ConvModule:
        return ConvModule(*args, act_cfg=None, **kwargs)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Build the pyramid.

        Args:
            inputs: Maps (B, C_i, H_i, W_i), largest first.

        Returns:
            ``num_outs`` maps (B, out_channels, H, W), largest first: the
            extra levels, one level per input, and the max-pooled ones.
        """
        check_inputs('LightViTFPN', inputs)
        for x in inputs:
            check_input(
                'LightViTFPN',
                x,
                ('batch', 'channels', 'height', 'width'),
                "set out_type='featmap' on the backbone",
            )
        channels = tuple(x.shape[1] for x in inputs)
        if channels != self.in_channels:
            raise ValueError(
                f'LightViTFPN got inputs of {channels} channels and expects '
                f'{self.in_channels}; set its in_channels to the embed_dims '
                "of the backbone's out_indices"
            )
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, inputs)]
        for i in range(len(laterals) - 1, 0, -1):
            laterals[i - 1] = laterals[i - 1] + F.interpolate(
                laterals[i], size=laterals[i - 1].shape[2:], mode='nearest'
            )
        outs = [conv(x) for conv, x in zip(self.fpn_convs, laterals)]

        x = laterals[0]
        for trans_conv, fpn_conv in zip(self.extra_trans_convs, self.extra_fpn_convs):
            x = trans_conv(x)
            outs.insert(0, fpn_conv(x))
        while len(outs) < self.num_outs:
            outs.append(F.max_pool2d(outs[-1], 1, stride=2))
        return tuple(outs)


@MODELS.register_module()
class LightViTTokenNeck(StrictLoading, Sequential):
    """Pool all tokens for a classifier, as the authors' classifier does.

    Linear, LayerNorm and GELU on every token, global and image ones, then
    their mean. It stands between a :class:`LightViT` of ``out_type='raw'``
    and mmpretrain's ``LinearClsHead``.

    Args:
        in_channels: Channels of the backbone's last stage.
        out_channels: Channels of the pooled feature.
        init_cfg: mmengine's initialisation config.

    Raises:
        ValueError: If an argument is out of its range, or the inputs do not fit.
        TypeError: If an argument is unknown.
    """

    @checked(in_channels=CHANNELS, out_channels=CHANNELS, init_cfg=INIT_CFG)
    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1280,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            nn.Linear(in_channels, out_channels),
            nn.LayerNorm(out_channels),
            nn.GELU(),
            init_cfg=init_cfg,
        )
        self.in_channels = in_channels
        self.apply(init_linear)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor]:
        """The last of the inputs, (B, T + N, C) -> ((B, out_channels), )."""
        check_inputs('LightViTTokenNeck', inputs)
        x = inputs[-1]
        check_input(
            'LightViTTokenNeck',
            x,
            ('batch', 'tokens', self.in_channels),
            "set out_type='raw' on the backbone, and in_channels to the embed_dims of "
            'its last stage',
        )
        return (super().forward(x).mean(dim=1),)
