"""Patches of DeepSpeed."""

from types import ModuleType


def load_safely(module: ModuleType) -> None:
    """Read checkpoints with :func:`lightvit_mm.safe_load.read`.

    Args:
        module: ``deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine``.
    """

    def load(self, path: str, map_location=None):
        import torch
        from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
        from deepspeed.runtime.zero.config import ZeroStageEnum
        from deepspeed.utils.tensor_fragment import fragment_address

        from ..safe_load import read

        # The states of its optimizers contain these classes.
        classes = [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]
        torch.serialization.add_safe_globals(classes)
        return read(path, map_location)

    module.TorchCheckpointEngine.load = load
