import inspect
from typing import Any, Dict, Sequence

from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn


def reject_unknown(cls: type, unknown: Dict[str, Any]) -> None:
    """Raise a TypeError that lists what ``cls`` takes if anything is unknown.

    Python's own error names the wrong argument, but not the right ones, and a
    config has no editor that would show them.
    """
    if unknown:
        known = [
            name for name, parameter in inspect.signature(
                cls).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        raise TypeError(f'{cls.__name__} has no argument '
                        f'{", ".join(map(repr, unknown))}; it takes '
                        f'{", ".join(known)}')


def load_pretrained(module: nn.Module,
                    checkpoint: str,
                    prefix: str = '',
                    may_miss: Sequence[str] = (),
                    may_exceed: Sequence[str] = ()) -> None:
    """Load a checkpoint into a module, and nothing if it does not fit.

    mmengine's own ``Pretrained`` initialiser only warns of weights that do
    not fit and trains on with random ones.

    Args:
        module: Where the weights go.
        checkpoint: A file, or an address of mmengine's CheckpointLoader.
        prefix: Prefix of the module's weights in the checkpoint.
        may_miss: Starts of names that the checkpoint may lack.
        may_exceed: Starts of names that are left out of the checkpoint.

    Raises:
        RuntimeError: If weights are missing, left over or of another shape.
    """
    if prefix and not prefix.endswith('.'):
        prefix += '.'
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    state_dict = {
        key[len(prefix):]: value
        for key, value in loaded.get('state_dict', loaded).items()
        if key.startswith(prefix)
    }
    own = module.state_dict()
    state_dict = {
        key: value
        for key, value in state_dict.items()
        if key in own or not key.startswith(tuple(may_exceed))
    }
    missing = sorted(
        key for key in own
        if key not in state_dict and not key.startswith(tuple(may_miss)))
    left_over = sorted(set(state_dict) - set(own))
    name = type(module).__name__
    if missing or left_over:
        raise RuntimeError(
            f'{checkpoint} does not fit {name}. Missing with the prefix '
            f'{prefix!r}: {missing or "nothing"}. Left over: '
            f'{left_over or "nothing"}. Check the prefix (\'backbone.\' for '
            'a whole model) and the architecture.')
    module.load_state_dict({**own, **state_dict})
    print_log(
        f'{name}: {len(state_dict)} of {len(own)} tensors loaded from '
        f'{checkpoint}; initialised anew: '
        f'{sorted(set(own) - set(state_dict)) or "nothing"}',
        logger='current')
