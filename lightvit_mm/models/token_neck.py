from collections.abc import Sequence

from mmengine.model import Sequential
from torch import Tensor, nn

from ..registry import MODELS
from .lightvit import init_linear
from .utils import fit_state_dict, reject_unknown


@MODELS.register_module()
class LightViTTokenNeck(Sequential):
    """Pool all tokens for a classifier, as the authors' classifier does.

    Linear, LayerNorm and GELU on every token, global and image ones, then
    their mean. It stands between a :class:`LightViT` of ``out_type='raw'``
    and mmpretrain's ``LinearClsHead``.

    Args:
        in_channels: Channels of the backbone's last stage.
        out_channels: Channels of the pooled feature.
        init_cfg: mmengine's initialisation config.

    Raises:
        TypeError: If an argument is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1280,
        init_cfg: dict | None = None,
        **unknown,
    ) -> None:
        reject_unknown(type(self), unknown)
        super().__init__(
            nn.Linear(in_channels, out_channels),
            nn.LayerNorm(out_channels),
            nn.GELU(),
            init_cfg=init_cfg,
        )
        self.apply(init_linear)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor]:
        """The last of the inputs, (B, T + N, C) -> ((B, out_channels), )."""
        x = inputs[-1]
        if x.dim() != 3:
            raise ValueError(
                'LightViTTokenNeck got an input of shape '
                f'{tuple(x.shape)} and expects tokens (B, L, C); set '
                "out_type='raw' on the backbone"
            )
        return (super().forward(x).mean(dim=1),)

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args, **kwargs
    ) -> None:
        """Refuse weights that do not fit, whoever loads them."""
        fit_state_dict(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
