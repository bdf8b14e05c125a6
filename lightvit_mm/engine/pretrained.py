"""The option ``pretrained``: other weights to start from, or none."""

from mmengine.config import Config

from ..config import type_name
from ..nested import walk


def set_pretrained(cfg: Config, pretrained: bool | str | None) -> None:
    """Set the weights that a model starts from, in place.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg.
        pretrained: True: those of the config. A file or an address such as
            lightvit://tiny-in1k: these. None or False: random weights, which
            all learn at the full rate.

    Raises:
        ValueError: If it is none of these, or the model loads no weights that
            could be replaced.
    """
    parts = [part for part in walk(cfg.model) if _loads_weights(part)]
    if pretrained is None or pretrained is False:
        for part in parts:
            part['init_cfg'] = None
        _learn_at_full_rate(cfg)
    elif isinstance(pretrained, str):
        if not parts:
            raise ValueError(
                f'pretrained={pretrained!r} replaces the weights of an init_cfg of '
                "type 'Pretrained', but the model has none. Set "
                'model.backbone.init_cfg'
            )
        for part in parts:
            part['init_cfg']['checkpoint'] = pretrained
    elif pretrained is not True:
        raise ValueError(
            f'pretrained={pretrained!r} should be True, None for random weights, or '
            'a file or address such as lightvit://tiny-in1k'
        )


def _loads_weights(part: dict) -> bool:
    init_cfg = part.get('init_cfg')
    return isinstance(init_cfg, dict) and type_name(init_cfg) == 'Pretrained'


def _learn_at_full_rate(cfg: Config) -> None:
    """Undo what keeps pre-trained weights from changing much."""
    for options in walk(cfg.get('optim_wrapper')):
        if 'layer_decay_rate' in options:
            options['layer_decay_rate'] = 1.0
        for key, multipliers in options.get('custom_keys', {}).items():
            if key == 'backbone':
                multipliers.pop('lr_mult', None)
