"""Checks of the options of a LightViT."""

from torch import nn


def check_arch(arch: str | dict, arch_zoo: dict[str, dict]) -> dict:
    """The settings of an ``arch``, a name or a dict.

    Raises:
        ValueError: If there is no such name, or the dict does not fit.
    """
    if isinstance(arch, str):
        _require(
            arch in arch_zoo, f'arch={arch!r}', f'one of {tuple(arch_zoo)} or a dict'
        )
        return arch_zoo[arch]
    keys = sorted(arch_zoo['tiny'])
    _require(
        isinstance(arch, dict) and sorted(arch) == keys,
        f'arch={arch!r}',
        f'one of {tuple(arch_zoo)} or a dict with the keys {keys}',
    )
    per_stage = [key for key in keys if key != 'num_tokens']
    _require(
        len({len(arch[key]) for key in per_stage}) == 1,
        f'arch={arch!r}',
        f'lists of the same length in {per_stage}: one entry per stage',
    )
    for dims, heads in zip(arch['embed_dims'], arch['num_heads']):
        _require(
            dims % heads == 0 and dims % 4 == 0,
            f'embed_dims {dims} in arch={arch!r}',
            f'divisible by its num_heads {heads} and by 4',
        )
    return arch


def check_options(model: nn.Module, drop_path_rate: float) -> None:
    """Check the attributes of a LightViT that its user has set.

    Raises:
        ValueError: If one is out of its range.
    """
    stages, indices = tuple(range(len(model.depths))), model.out_indices
    _require(
        indices == tuple(i for i in stages if i in indices) and indices != (),
        f'out_indices={indices}',
        f'increasing stage indices out of {stages}',
    )
    _require(
        -1 <= model.frozen_stages <= indices[-1],
        f'frozen_stages={model.frozen_stages}',
        f'-1 (freeze nothing) to {indices[-1]}, the last stage of '
        f'out_indices={indices}',
    )
    _require(
        model.out_type in model.out_types,
        f'out_type={model.out_type!r}',
        f'one of {model.out_types}',
    )
    window_size = 1 if model.window_size is None else model.window_size
    for name, value, least in (
        ('num_tokens', model.num_tokens, 0),
        ('window_size', window_size, 1),
        ('in_channels', model.in_channels, 1),
    ):
        _require(
            isinstance(value, int) and value >= least,
            f'{name}={value!r}',
            f'an integer >= {least}',
        )
    _require(
        model.stem_stride in (4, 8), f'stem_stride={model.stem_stride!r}', '4 or 8'
    )
    _require(0 <= drop_path_rate < 1, f'drop_path_rate={drop_path_rate}', 'in [0, 1)')


def _require(is_valid: bool, given: str, expected: str) -> None:
    if not is_valid:
        raise ValueError(f'{given} should be {expected}')
