"""Patches that make mmengine's EMAHook work in tests."""

from types import ModuleType
from typing import Any


def average_once(module: ModuleType) -> None:
    """Let EMAHook average the innermost model, and only once.

    Args:
        module: ``mmengine.hooks.ema_hook``.
    """
    from mmengine.model.test_time_aug import BaseTTAModel

    def before_run(self, runner: Any) -> None:
        if hasattr(self, 'ema_model'):  # a checkpoint was loaded into it
            return
        model = runner.model
        # Checkpoints have the names of weights of the innermost model.
        while module.is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        self.src_model = model
        self.ema_model = module.MODELS.build(
            self.ema_cfg, default_args=dict(model=model)
        )

    module.EMAHook.before_run = before_run


def load_before_run(module: ModuleType) -> None:
    """Let EMAHook take a checkpoint that is loaded before the run starts.

    Args:
        module: ``mmengine.hooks.ema_hook`` or ``mmpretrain.engine.hooks.ema_hook``.
    """
    hook = module.EMAHook
    load = hook.after_load_checkpoint

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        self.before_run(runner)
        load(self, runner, checkpoint)

    hook.after_load_checkpoint = after_load_checkpoint
