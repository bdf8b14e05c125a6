"""Weights that do not fit are errors."""

from collections.abc import Sequence

from mmengine.logging import print_log
from torch import Tensor, nn


def take_backbone(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's part of a whole model's state dict, without its prefix.

    The log names the first tensors that are left out.
    """
    start, shown = 'backbone.', 8
    left_out = [key for key in state_dict if not key.startswith(start)]
    more = len(left_out) - shown
    print_log(
        f'The backbone of a whole model; left out: {", ".join(left_out[:shown])}'
        + (f' and {more} more' if more > 0 else ''),
        logger='current',
    )
    return {
        key[len(start) :]: value
        for key, value in state_dict.items()
        if key.startswith(start)
    }


def keep_backbone(state_dict: dict[str, Tensor]) -> None:
    """Reduce the state dict of a whole model, in place, to its backbone's."""
    if any(key.startswith('backbone.') for key in state_dict):
        weights = take_backbone(state_dict)
        state_dict.clear()
        state_dict.update(weights)


def fit_state_dict(
    module: nn.Module,
    state_dict: dict[str, Tensor],
    prefix: str,
    may_miss: Sequence[str] = (),
    may_exceed: Sequence[str] = (),
    may_reshape: Sequence[str] = (),
) -> None:
    """Make a module's part of a state dict fit it, or raise.

    Args:
        module: Where the weights will go.
        state_dict: Weights; names that are left out are removed from it.
        prefix: Prefix of the module's names in it.
        may_miss: Starts of names that it may lack.
        may_exceed: Starts of names that are left out of it.
        may_reshape: Ends of names whose tensors may have another shape.

    Raises:
        RuntimeError: If weights are missing, left over or of another shape.
    """
    name = type(module).__name__
    own = module.state_dict()
    given = {
        key[len(prefix) :]: value
        for key, value in state_dict.items()
        if key.startswith(prefix)
    }
    for key in set(given) - set(own):
        if key.startswith(tuple(may_exceed)):
            del given[key], state_dict[prefix + key]

    missing = [
        key for key in own if key not in given and not key.startswith(tuple(may_miss))
    ]
    left_over = [key for key in given if key not in own]
    reshaped = [
        f'{key} is {tuple(given[key].shape)}, not {tuple(own[key].shape)}'
        for key in own.keys() & given.keys()
        if given[key].shape != own[key].shape and not key.endswith(tuple(may_reshape))
    ]
    if missing or left_over or reshaped:
        raise RuntimeError(
            f'The weights do not fit this {name} (prefix {prefix!r}). '
            f'Missing: {missing or "nothing"}. Left over: '
            f'{left_over or "nothing"}. Of another shape: '
            f'{sorted(reshaped) or "nothing"}. Check the options of the model '
            "(arch, num_tokens, in_channels) and init_cfg's prefix "
            "('backbone.' for a whole model). A classifier goes into a "
            'detector through init_cfg of its backbone, not through load_from. '
            "Convert weights in the authors' layout with tools/convert_checkpoint.py."
        )
    new = [key for key in own if key not in given]
    print_log(
        f'{name}: {len(given)} of {len(own)} tensors loaded'
        + (f'; newly initialised: {", ".join(new)}' if new else ''),
        logger='current',
    )


class StrictLoading:
    """Mixin of a module that refuses weights that do not fit.

    mmengine loads ``load_from`` and ``init_cfg`` without being strict: it warns and
    trains on with random weights.
    """

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args, **kwargs
    ) -> None:
        fit_state_dict(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
