import inspect
from typing import Any, Dict, Sequence

from mmengine.logging import print_log
from torch import Tensor, nn


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


def fit_state_dict(backbone: nn.Module, state_dict: Dict[str, Tensor],
                   prefix: str, may_miss: Sequence[str],
                   may_exceed: Sequence[str]) -> None:
    """Make the backbone's part of a state dict fit it, or raise.

    mmengine loads ``load_from`` and ``init_cfg`` without being strict: it
    warns of weights that do not fit and trains on with random ones.

    Args:
        backbone: Where the weights will go.
        state_dict: Weights; names that are left out are removed from it. If
            it is a whole model's and ``prefix`` is empty, its part behind
            'backbone.' replaces it.
        prefix: Prefix of the backbone's names in it.
        may_miss: Starts of names that it may lack.
        may_exceed: Starts of names that are left out of it.

    Raises:
        RuntimeError: If weights are missing, left over or of another shape.
    """
    name = type(backbone).__name__
    if not prefix and any(key.startswith('backbone.') for key in state_dict):
        weights = {
            key[len('backbone.'):]: value
            for key, value in state_dict.items()
            if key.startswith('backbone.')
        }
        print_log(
            f"{name}: taken from a whole model's checkpoint, without its "
            f'{len(state_dict) - len(weights)} tensors outside the backbone',
            logger='current')
        state_dict.clear()
        state_dict.update(weights)

    own = backbone.state_dict()
    given = {
        key[len(prefix):]: value
        for key, value in state_dict.items() if key.startswith(prefix)
    }
    for key in set(given) - set(own):
        if key.startswith(tuple(may_exceed)):
            del given[key], state_dict[prefix + key]

    missing = [
        key for key in own
        if key not in given and not key.startswith(tuple(may_miss))
    ]
    left_over = [key for key in given if key not in own]
    reshaped = [
        f'{key} is {tuple(given[key].shape)}, not {tuple(own[key].shape)}'
        for key in own.keys() & given.keys()
        # Position biases are resized to the window.
        if given[key].shape != own[key].shape and 'relative_pos' not in key
    ]
    if missing or left_over or reshaped:
        raise RuntimeError(
            f'The weights do not fit this {name} (prefix {prefix!r}). '
            f'Missing: {missing or "nothing"}. Left over: '
            f'{left_over or "nothing"}. Of another shape: '
            f'{sorted(reshaped) or "nothing"}. Check arch, num_tokens and the '
            "prefix of init_cfg ('backbone.' for a whole model); weights in "
            "the authors' layout are converted by tools/convert_checkpoint.py."
        )
    new = [key for key in own if key not in given]
    print_log(
        f'{name}: {len(given)} of {len(own)} tensors loaded' +
        (f'; initialised anew: {", ".join(new)}' if new else ''),
        logger='current')
