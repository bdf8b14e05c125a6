"""Checks settings for which mmengine accepts any value.

With a wrong value, a run would train nothing, save nothing or never validate, or end
with an error that does not name the setting.
"""

import logging
import string
from numbers import Real
from typing import Any, NamedTuple

from mmengine.config import Config

from .arguments import FLAG, Kind, check, integer, number, optional
from .config import SPLITS, type_name


class _Group(NamedTuple):
    """Settings in one place of a config.

    Args:
        path: The place.
        kinds: Kinds by name.
        types: Classes that read them in this way; empty for all.
    """

    path: str
    kinds: dict[str, Kind]
    types: tuple[str, ...] = ()


def _has_field(template: Any) -> bool:
    try:
        parts = list(string.Formatter().parse(template))
    except (TypeError, ValueError):  # not a string, or a brace on its own
        return False
    return any(field is not None for _, field, _, _ in parts)


_COUNT = number('a whole number >= 1', lambda value: value >= 1 and value == int(value))
_COUNT_OR_OFF = Kind(
    'a whole number >= 1, or -1 for no limit',
    lambda value: _COUNT.accepts(value) or integer(-1, -1).accepts(value),
)
_INTERVAL = _COUNT_OR_OFF._replace(expected='a whole number >= 1, or -1 to save none')
_TEMPLATE = Kind(
    'a name with {} in place of the number, such as epoch_{}.pth', _has_field
)
# Infinity only measures the norm; it clips nothing.
_NORM = Kind(
    'a number above 0', lambda value: isinstance(value, Real) and bool(value > 0)
)
_LEVEL = Kind(
    'DEBUG, INFO, WARNING, ERROR or CRITICAL',
    lambda value: (
        isinstance(value, int)
        or (isinstance(value, str) and isinstance(logging.getLevelName(value), int))
    ),
)

_GROUPS = (
    _Group(
        'train_cfg',
        dict(by_epoch=FLAG, max_epochs=_COUNT, max_iters=_COUNT, val_interval=_COUNT),
        ('EpochBasedTrainLoop', 'IterBasedTrainLoop'),
    ),
    _Group(
        'default_hooks.checkpoint',
        dict(
            interval=_INTERVAL,
            max_keep_ckpts=_COUNT_OR_OFF,
            filename_tmpl=optional(_TEMPLATE),
        ),
        ('CheckpointHook',),
    ),
    _Group('optim_wrapper.clip_grad', dict(max_norm=_NORM)),
    _Group(
        'optim_wrapper.optimizer',
        dict(lr=optional(number('a finite number', lambda value: True))),
    ),
    *(
        _Group(
            f'{split}_dataloader.sampler',
            dict(shuffle=FLAG),
            ('DefaultSampler', 'InfiniteSampler'),
        )
        for split in SPLITS
    ),
    _Group(
        'randomness',
        dict(seed=optional(integer(0, 2**32 - 1)), deterministic=FLAG),
    ),
    _Group('', dict(log_level=_LEVEL)),
)


def check_settings(cfg: Config) -> None:
    """Check the settings of a complete config before its runner is built.

    Raises:
        ValueError: If one of them has a wrong value.
    """
    settings = cfg.to_dict()
    for path, kinds, types in _GROUPS:
        group = settings
        for key in filter(None, path.split('.')):
            group = group.get(key) if isinstance(group, dict) else None
        if isinstance(group, dict) and (not types or type_name(group) in ('', *types)):
            check(path or 'config', group, kinds)
