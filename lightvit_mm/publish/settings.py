"""The config of a published model, as text that is data."""

import logging
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.utils import get_object_from_string

from ..inert_config import LIBRARIES, WRITES, is_inert, parse, problems, registered
from ..installed import check_installed

# They describe a run on one machine, not the model.
_VALUES = (bool, int, float, str, bytes, type(None))
_OF_RUN = ('load_from', 'resume', 'launcher')


def config_text(cfg: Config, path: Path) -> str:
    """The text of a config that :mod:`lightvit_mm.inert_config` reads as data.

    It has no ``custom_imports`` and no settings of the run, such as ``work_dir``.
    Nor does it say elsewhere where to write, as ``outfile_prefix`` of a metric does.

    Args:
        cfg: A complete config.
        path: The file to write, for error messages.

    Raises:
        ValueError: If a value is not a literal or a class of the libraries, or would
            be refused when read.
    """
    settings = cfg.to_dict()
    for key in _OF_RUN:
        settings.pop(key, None)
    modules = (settings.pop('custom_imports', None) or {}).get('imports', [])
    modules = [modules] if isinstance(modules, str) else modules
    foreign = [name for name in modules if name.partition('.')[0] not in LIBRARIES]
    if foreign:
        print_log(
            f'custom_imports of {", ".join(foreign)} are left out, because a published '
            'model contains no code. Its users must import them first',
            logger='current',
            level=logging.WARNING,
        )
    scope = settings.get('default_scope')
    settings = _as_data('', settings, scope)
    for problem in problems(settings):
        raise ValueError(f'The config cannot be published: {problem}')
    text = Config(settings).pretty_text
    parse(text, path)
    return text


def _as_data(path: str, node: Any, scope: str | None) -> Any:
    """A copy of a setting without classes and places to write to.

    Args:
        path: The setting, for error messages.
        node: Its value.
        scope: Library of names without one.
    """
    if isinstance(node, dict):
        return {
            key: _name_of(value, scope)
            if key == 'type'
            else _as_data(f'{path}.{key}'.removeprefix('.'), value, scope)
            for key, value in node.items()
            if key not in WRITES
        }
    if isinstance(node, (list, tuple)):
        return type(node)(
            _as_data(f'{path}[{i}]', child, scope) for i, child in enumerate(node)
        )
    if type(node) not in _VALUES:
        raise ValueError(
            f'{path}={node!r} of the config cannot be published: expected numbers, '
            'strings, lists, tuples and dicts'
        )
    return node


def _name_of(kind: Any, scope: str | None) -> Any:
    """The name of a class, such as mmdet.FPN for mmdet.models.necks.fpn.FPN."""
    if isinstance(kind, str):
        if is_inert(kind, scope):
            return kind
        kind = get_object_from_string(kind)
    if not callable(kind):
        return kind
    for library in dict.fromkeys((scope, *LIBRARIES)):
        check_installed(library)
        for name, candidate in registered(library).items():
            if candidate is kind:
                return f'{library}.{name}'
    raise ValueError(
        f'type={kind} of the config is not registered in {", ".join(LIBRARIES)}, so a '
        'published model cannot name it'
    )
