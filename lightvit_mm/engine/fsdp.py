"""Training with PyTorch's FSDP through mmengine's FlexibleRunner."""

import torch
from mmengine._strategy import FSDPStrategy as MMEngineFSDPStrategy
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.utils import clip_grad_norm_

from ..models.lightvit import LightViTBlock
from ..registry import STRATEGIES


@STRATEGIES.register_module()
class FSDPStrategy(MMEngineFSDPStrategy):
    """mmengine's FSDPStrategy, which trains like DDP with any config.

    Each process keeps a part of the weights, gradients and optimizer state. The
    weights of a ``LightViTBlock`` are gathered while it runs, those of the rest of
    the model for the whole step. Differences from mmengine's class:

    - ``paramwise_cfg`` and layer-wise learning rates apply to the original
      parameters, not to FSDP's flattened ones. ``flat_decay_mult`` would treat all of
      those as biases, so that nothing would be decayed.
    - Gradients are clipped by their norm over all processes, not over one part.
    - Checkpoints are complete, like those of DDP. All tools read them.
    - Resuming works with PyTorch 2.1 and later, which swapped two arguments.
    - Training also works on CPUs, with gloo.

    Args:
        model_wrapper: Options of ``MMFullyShardedDataParallel``, such as
            ``sharding_strategy`` or ``mixed_precision``.
        **kwargs: Other options of mmengine's class.

    Raises:
        ValueError: If the run was started without a launcher.
    """

    def __init__(self, *, model_wrapper: dict | None = None, **kwargs) -> None:
        if kwargs.get('env_kwargs', {}).get('launcher') == 'none':
            raise ValueError('FSDP needs one process per GPU: use tools/dist_train.sh')
        has_gpu = torch.cuda.is_available()
        wrapper = dict(
            type='MMFullyShardedDataParallel',
            auto_wrap_policy=ModuleWrapPolicy({LightViTBlock}),
        )
        if not has_gpu:
            wrapper['device_id'] = torch.device('cpu')
        wrapper.update(model_wrapper or {})
        super().__init__(model_wrapper=wrapper, state_dict_cfg='full', **kwargs)
        # Modules check the weights that they load, and need all names in each process.
        self.state_dict_config.rank0_only = False
        # On CPUs, offloading to the CPU would free the weights themselves.
        for config in (self.state_dict_config, self.optim_state_dict_config):
            config.offload_to_cpu = has_gpu

    def prepare(
        self, model: nn.Module | dict, *, optim_wrapper: dict | None = None, **kwargs
    ) -> tuple:
        """Build the model and its optimizer, then shard both."""
        model = self.build_model(model)
        if optim_wrapper is not None:
            if optim_wrapper.get('type') == 'AmpOptimWrapper':
                optim_wrapper.setdefault('use_fsdp', True)
            optim_wrapper = build_optim_wrapper(model, optim_wrapper)
        return super().prepare(model, optim_wrapper=optim_wrapper, **kwargs)

    def build_optim_wrapper(
        self, optim_wrapper: OptimWrapper, model: nn.Module
    ) -> OptimWrapper:
        """Replace the parameters of an optimizer with those of the sharded model."""
        parameters = {
            name.replace('_fsdp_wrapped_module.', ''): parameter
            for name, parameter in model.named_parameters()
        }
        for group in optim_wrapper.optimizer.param_groups:
            names = [self.id_to_name[id(parameter)] for parameter in group['params']]
            group['params'] = [parameters[name] for name in names]
        if getattr(optim_wrapper, 'clip_func', None) is clip_grad_norm_:
            optim_wrapper.clip_func = lambda _, **options: model.clip_grad_norm_(
                **options
            )
        return optim_wrapper

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load a complete state dict into the sharded optimizer."""
        optimizer = self.optim_wrapper.optimizer
        self.optim_wrapper.load_state_dict(
            self.model.optim_state_dict_to_load(
                model=self.model, optim=optimizer, optim_state_dict=state_dict
            )
        )
