"""Layer-wise learning rates."""

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from ..registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor with lower learning rates for early layers.

    The learning rate of a parameter is multiplied by ``layer_decay_rate **
    (num_layers - 1 - depth)``, where ``model.backbone.get_layer_depth`` gives
    the depth. It is ``num_layers - 1`` behind the backbone, so that a neck or
    a head keeps its rate. This works in a classifier, a detector and a
    segmentor alike, and with any of mmpretrain's backbones that have depths.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper.
        paramwise_cfg: ``layer_decay_rate``, in (0, 1], and the options of
            mmengine's constructor, with which it multiplies.

    Raises:
        ValueError: If ``layer_decay_rate`` is missing or out of range.
        TypeError: If an option is unknown, or if the model has no backbone
            with ``get_layer_depth``.
    """

    options = (
        'layer_decay_rate',
        'custom_keys',
        'bias_lr_mult',
        'bias_decay_mult',
        'norm_decay_mult',
        'flat_decay_mult',
        'dwconv_decay_mult',
        'dcn_offset_lr_mult',
        'bypass_duplicate',
    )

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        unknown = sorted(set(self.paramwise_cfg) - set(self.options))
        if unknown:
            raise TypeError(
                f'paramwise_cfg has no option {", ".join(unknown)}'
                f'; it takes {", ".join(self.options)}'
            )
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if rate is None or not 0 < rate <= 1:
            raise ValueError(
                'paramwise_cfg needs a layer_decay_rate in '
                f'(0, 1], as 0.75, and has {rate}'
            )

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
        for group in optim_wrapper.optimizer.param_groups:
            # mmengine's constructor makes a group of each parameter.
            name = names[group['params'][0]]
            depth, num_layers = backbone.get_layer_depth(name, 'backbone.')
            group['lr'] *= rate ** (num_layers - 1 - depth)
            print_log(
                f'{name}: lr={group["lr"]:.3g}, layer {depth} of {num_layers}',
                logger='current',
            )
        return optim_wrapper
