"""Checks of the options and inputs of the models.

The limits are far above what any network uses. They keep a mistyped number from
filling the memory.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from .. import arguments
from ..arguments import check, each, integer, number
from ..messages import short

CHANNELS = integer(1, 2**14)
NUM_TOKENS = integer(0, 2**12)
WINDOW_SIZE = integer(1, 64)
DROP_PATH_RATE = number('in [0, 1)', lambda rate: 0 <= rate < 1)
_ARCH = dict(
    embed_dims=each(CHANNELS),
    depths=each(integer(1, 200)),
    num_heads=each(integer(1)),
    mlp_ratios=each(number('a number > 0 and <= 100', lambda ratio: 0 < ratio <= 100)),
    num_tokens=NUM_TOKENS,
)
_require = partial(arguments.require, 'LightViT')


def check_arch(arch: str | dict, arch_zoo: dict[str, dict]) -> dict:
    """The settings of an ``arch``, a name or a dict.

    Raises:
        ValueError: If there is no such name, or the dict does not fit.
    """
    given = f'arch={short(arch)}'
    if isinstance(arch, str):
        arch = arch_zoo.get(arch)
    _require(
        isinstance(arch, dict) and arch.keys() == _ARCH.keys(),
        given,
        f'one of {tuple(arch_zoo)} or a dict with the keys {sorted(_ARCH)}',
    )
    arch = check('LightViT: arch', arch, _ARCH)
    per_stage = [key for key in sorted(arch) if key != 'num_tokens']
    _require(
        len({len(arch[key]) for key in per_stage}) == 1,
        given,
        f'lists of the same length in {per_stage}: one entry per stage',
    )
    for dims, heads, ratio in zip(
        arch['embed_dims'], arch['num_heads'], arch['mlp_ratios']
    ):
        _require(
            dims % heads == 0 and dims % 4 == 0,
            f'embed_dims {dims} in {given}',
            f'divisible by its num_heads {heads} and by 4',
        )
        _require(
            dims * ratio >= 1,
            f'mlp_ratios {ratio} in {given}',
            f'at least 1 / {dims}, so that the FFN has at least one channel',
        )
    return arch


def check_stages(model: nn.Module) -> None:
    """Check the options of a LightViT that select stages.

    Raises:
        ValueError: If one is out of its range.
    """
    stages, indices = tuple(range(len(model.depths))), model.out_indices
    _require(
        indices == tuple(i for i in stages if i in indices) and indices != (),
        f'out_indices={short(indices)}',
        f'increasing stage indices out of {stages}',
    )
    _require(
        -1 <= model.frozen_stages <= indices[-1],
        f'frozen_stages={model.frozen_stages}',
        f'-1 (freeze nothing) to {indices[-1]}, the last stage of '
        f'out_indices={indices}',
    )


def check_input(owner: str, x: Any, shape: Sequence[int | str], fix: str) -> None:
    """Check an input of a model.

    Args:
        owner: The model, for the message.
        x: The input; it should be a tensor of floating point numbers.
        shape: The expected sizes: numbers, or names for any size. Only 'batch' may
            be 0.
        fix: What the user can change.

    Raises:
        ValueError: If the input does not fit.
    """
    fits = isinstance(x, Tensor) and x.is_floating_point() and x.dim() == len(shape)
    for i, expected in enumerate(shape):
        if isinstance(expected, str):
            fits = fits and (expected == 'batch' or x.shape[i] > 0)
        else:
            fits = fits and x.shape[i] == expected
    if not fits:
        raise ValueError(
            f'{owner} got an input {_described(x)}, but expects floating point numbers '
            f'of shape ({", ".join(map(str, shape))}); {fix}'
        )


def check_inputs(owner: str, inputs: Any) -> None:
    """Raise a ValueError unless the input of a neck is what a backbone returns."""
    if not (isinstance(inputs, (tuple, list)) and inputs):
        raise ValueError(
            f'{owner} got an input {_described(inputs)}, but expects the outputs of '
            'the backbone, a tuple of tensors'
        )


def _described(x: Any) -> str:
    return (
        f'of shape {tuple(x.shape)}, {x.dtype}' if isinstance(x, Tensor) else short(x)
    )
