"""Layer-wise learning rates."""

from collections import defaultdict
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from ..arguments import DICT, FLAG, TEXT, Kind, check, number, optional, require
from ..messages import short
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS

_FACTOR = number('a number >= 0', lambda factor: factor >= 0)


def _are_factors(keys: Any) -> bool:
    """Whether all ``lr_mult`` and ``decay_mult`` of ``custom_keys`` are factors."""
    return (
        DICT.accepts(keys)
        and all(map(TEXT.accepts, keys))
        and all(map(DICT.accepts, keys.values()))
        and all(
            _FACTOR.accepts(value)
            for settings in keys.values()
            for name, value in settings.items()
            if name in ('lr_mult', 'decay_mult')
        )
    )


_OPTIONS = dict(
    layer_decay_rate=number('in (0, 1]', lambda rate: 0 < rate <= 1),
    custom_keys=Kind(
        'a dict of dicts with factors >= 0, such as dict(head=dict(lr_mult=10))',
        _are_factors,
    ),
    bias_lr_mult=optional(_FACTOR),
    bias_decay_mult=optional(_FACTOR),
    norm_decay_mult=optional(_FACTOR),
    flat_decay_mult=optional(_FACTOR),
    dwconv_decay_mult=optional(_FACTOR),
    dcn_offset_lr_mult=optional(_FACTOR),
    bypass_duplicate=FLAG,
)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor with lower learning rates for early layers.

    The learning rate of a parameter is multiplied by ``layer_decay_rate **
    (num_layers - 1 - depth)``, where ``model.backbone.get_layer_depth`` gives
    the depth. A neck or a head has the depth ``num_layers - 1`` and keeps its
    rate. This works in classifiers, detectors and segmentors, and with each of
    mmpretrain's backbones that has ``get_layer_depth``. The log shows the rates
    as one table.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper.
        paramwise_cfg: ``layer_decay_rate``, in (0, 1], and the options of
            mmengine's constructor, whose factors it multiplies.

    Raises:
        ValueError: If ``layer_decay_rate`` is missing, or an option is out of range.
        TypeError: If an option is unknown, or if the model has no backbone
            with ``get_layer_depth``.
    """

    def _validate_cfg(self) -> None:
        options = self.paramwise_cfg
        name = type(self).__name__
        require(name, DICT.accepts(options), f'paramwise_cfg={options!r}', 'a dict')
        unknown = [str(option) for option in options if option not in _OPTIONS]
        if unknown:
            raise TypeError(
                f'paramwise_cfg has no option {", ".join(unknown)}'
                f'; it takes {", ".join(_OPTIONS)}'
            )
        rate = options.get('layer_decay_rate')
        if not _OPTIONS['layer_decay_rate'].accepts(rate):
            raise ValueError(
                'paramwise_cfg needs a layer_decay_rate in '
                f'(0, 1], such as 0.75, and has {short(rate)}'
            )
        check(f'{name}: paramwise_cfg', options, _OPTIONS)
        super()._validate_cfg()

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer of a model, bare or wrapped for DDP."""
        optim_wrapper = super().__call__(model)
        model = getattr(model, 'module', model)
        backbone = getattr(model, 'backbone', None)
        if not hasattr(backbone, 'get_layer_depth'):
            raise TypeError(
                'Layer-wise learning rates need a model.backbone with '
                f'get_layer_depth; the backbone of {type(model).__name__} is '
                f'of type {type(backbone).__name__}'
            )

        rate = self.paramwise_cfg['layer_decay_rate']
        names = {param: name for name, param in model.named_parameters()}
        rates: dict[int, list[float]] = defaultdict(list)
        for group in optim_wrapper.optimizer.param_groups:
            # mmengine's constructor makes a group of each parameter.
            [param] = group['params']
            depth, num_layers = backbone.get_layer_depth(names[param], 'backbone.')
            group['lr'] *= rate ** (num_layers - 1 - depth)
            if param.requires_grad:
                rates[depth].append(group['lr'])
        print_log(_table(rates), logger='current')
        return optim_wrapper


def _table(rates: dict[int, list[float]]) -> str:
    """One row per layer: its number, its trainable parameters, its rates."""
    lines = ['Layer-wise learning rates:', 'layer  parameters  learning rate']
    for depth, of_layer in sorted(rates.items()):
        # Options of single parameters give a layer several rates.
        shown = ' to '.join(f'{x:.3g}' for x in sorted({min(of_layer), max(of_layer)}))
        lines.append(f'{depth:5}  {len(of_layer):10}  {shown}')
    return '\n'.join(lines)
