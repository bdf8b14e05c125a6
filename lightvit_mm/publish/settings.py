"""The config of a published model, as text that is data."""

import logging
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.utils import get_object_from_string

from ..config import check_installed
from ..inert_config import LIBRARIES, check, is_inert, parse, registered

# They describe a run on one machine, not the model.
_OF_RUN = ('work_dir', 'load_from', 'resume', 'launcher')


def config_text(cfg: Config, path: Path) -> str:
    """The text of a config that :mod:`lightvit_mm.inert_config` reads as data.

    It has no ``custom_imports`` and no settings of the run, such as ``work_dir``.

    Args:
        cfg: A complete config.
        path: The file to write, for error messages.

    Raises:
        ValueError: If a value is not a literal or a class of the libraries.
        RefusedError: If it would be refused when read.
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
    settings = _with_names(settings, settings.get('default_scope'))
    text = Config(settings).pretty_text
    written = parse(text, path)
    check(written, path)
    if written != settings:
        changed = [key for key in settings if written.get(key) != settings[key]]
        raise ValueError(
            f'{", ".join(changed)} of the config cannot be written as values: expected '
            'only numbers, strings, lists, tuples and dicts'
        )
    return text


def _with_names(node: Any, scope: str | None) -> Any:
    """A copy of a config in which names replace classes and their paths."""
    if isinstance(node, dict):
        return {
            key: _name_of(value, scope) if key == 'type' else _with_names(value, scope)
            for key, value in node.items()
        }
    if isinstance(node, (list, tuple)):
        return type(node)(_with_names(child, scope) for child in node)
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
