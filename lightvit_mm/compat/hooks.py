"""A patch of how mmengine's runners register hooks."""

from types import ModuleType


def turn_off_any(module: ModuleType) -> None:
    """Let ``default_hooks=dict(NAME=None)`` turn off any hook.

    Args:
        module: ``mmengine.runner.runner`` or ``mmengine.runner._flexible_runner``.
    """
    from mmengine.hooks import Hook

    runner = getattr(module, 'FlexibleRunner', None) or module.Runner
    register = runner.register_default_hooks

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        # The base class Hook does nothing.
        register(
            self,
            {
                name: Hook() if hook is None else hook
                for name, hook in (hooks or {}).items()
            },
        )

    runner.register_default_hooks = register_default_hooks
