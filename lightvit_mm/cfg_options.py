"""``--cfg-options``: each option must change something that a tool reads.

Misspelled settings in the config file itself are found, too.
"""

import difflib
import inspect
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.runner import FlexibleRunner, Runner
from mmengine.utils import import_modules_from_strings

from .engine.own_data import OPTIONS, own_data_runner
from .messages import close_to, short

# What is read when a tool runs. Any other variable of a config file only serves
# to compute these settings while the file is read.
_READ = {
    # Each argument of a runner is a setting.
    *inspect.signature(Runner).parameters,
    *inspect.signature(FlexibleRunner).parameters,
    # The runners read these when they need them.
    'activation_checkpointing',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'init_weights_for_test_or_val',
    'model_wrapper_cfg',
    'sync_bn',
    # The tools read these.
    'custom_imports',
    'runner_type',
    'tta_model',
    'tta_pipeline',
} - {'cfg'}


def merge(cfg: Config, options: Mapping[str, Any]) -> None:
    """Merge options into a config.

    Args:
        cfg: The config, changed in place.
        options: Values by their paths, such as 'train_cfg.max_epochs'. The last
            keys of a path may be new.

    Raises:
        ValueError: If an option or a setting of the file is misspelled, or an option
            has no effect because it names a variable that only the file itself uses.
    """
    read = set(_READ)
    runner_type = options.get('runner_type', cfg.get('runner_type', 'Runner'))
    if own_data_runner(dict(runner_type=runner_type)) is not None:
        read |= set(OPTIONS)
    if 'data_preprocessor' in (cfg.get('model') or {}):
        read.remove('data_preprocessor')
    _check_names(cfg, read)
    replaced = {
        path.removesuffix('._delete_') for path in options if path.endswith('._delete_')
    }
    for path in options:
        _check(path, cfg, read, replaced)
        _check_parents(path, options)
    cfg.merge_from_dict(dict(options))
    if any(path.startswith('custom_imports') for path in options):
        _import(cfg.custom_imports)


def _check_names(cfg: Config, read: set[str]) -> None:
    """Refuse a misspelled setting: any other variable is used in a setting."""
    plain = _without_scope(cfg.to_dict())
    settings = {key: value for key, value in plain.items() if key in read}
    for name in plain.keys() - settings.keys():
        for known in sorted(read):
            if _one_slip(name, known) and not _made_from(name, plain, settings):
                raise ValueError(
                    f'{cfg.filename}: there is no setting {name}; did you mean {known}?'
                )


def _one_slip(name: str, other: str) -> bool:
    """Whether names differ by one letter, or by two that are swapped."""
    start = _shared(name, other)
    name, other = name[start:], other[start:]
    end = _shared(name[::-1], other[::-1])
    name, other = name[: len(name) - end], other[: len(other) - end]
    return max(len(name), len(other)) == 1 or (len(name) == 2 and name == other[::-1])


def _shared(name: str, other: str) -> int:
    """The number of letters that names share at the start."""
    pairs = zip(name, other)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _check_parents(path: str, options: Mapping[str, Any]) -> None:
    for parent in itertools.accumulate(path.split('.')[:-1], '{}.{}'.format):
        if parent in options and not isinstance(options[parent], dict):
            raise ValueError(
                f'--cfg-options {path} contradicts {parent}={short(options[parent])}: '
                'remove one of them'
            )


def _import(custom_imports: Any) -> None:
    """Import modules as mmengine does while it reads a config file."""
    try:
        import_modules_from_strings(**(custom_imports or {'imports': None}))
    except (TypeError, ImportError) as error:
        raise ValueError(
            f'--cfg-options custom_imports={short(custom_imports)}: {error}. It should '
            "be a dict with the key 'imports', a list of modules"
        ) from error


def _check(path: str, cfg: Config, read: set[str], replaced: set[str]) -> None:
    first, *keys = path.split('.')
    if first not in read:
        raise ValueError(f'--cfg-options {path}{_not_read(path, cfg, read)}')
    if first not in cfg:
        return
    node, place = cfg[first], first
    for i, key in enumerate(keys):
        if place in replaced:  # any value, by a new dict
            return
        if isinstance(node, list) and not (key.isdigit() and int(key) < len(node)):
            raise ValueError(
                f'--cfg-options {path}: {place} is a list with the indices 0 to '
                f'{len(node) - 1}, not {key}'
            )
        # mmengine merges into the elements of a list, but does not replace them.
        is_element = isinstance(node, list) and i == len(keys) - 1
        if is_element or not isinstance(node, (dict, list)):
            raise ValueError(
                f'--cfg-options {path}: set {place}={node!r} as a whole, not its {key}'
            )
        if isinstance(node, list):
            key = int(key)
        elif key not in node:
            # fc_out_channels and conv_out_channels, both right, have 0.875.
            matches = difflib.get_close_matches(key, node, n=1, cutoff=0.88)
            if matches:
                raise ValueError(
                    f'--cfg-options {path}: {place} has no {key}; did you mean '
                    f'{place}.{matches[0]}?'
                )
            return
        node, place = node[key], f'{place}.{key}'


def _not_read(path: str, cfg: Config, read: set[str]) -> str:
    """Why an option has no effect, and what to set instead."""
    plain = _without_scope(cfg.to_dict())
    settings = {key: value for key, value in plain.items() if key in read}
    first = path.partition('.')[0]
    if first not in cfg:
        places = [place for place, key, _ in _walk(settings) if key == first]
        return f': there is no setting {first}{close_to(first, sorted(read))}' + (
            f'; did you mean {_some(places, "or")}?' if places else ''
        )
    places = _made_from(path, plain, settings)
    return (
        f' has no effect: only the config file itself uses {first}, before options '
        'are merged. '
        + (
            f'Set {_some(places, "and")} instead.'
            if places
            else f'Set what the file makes from {first}, or change the file.'
        )
    )


def _made_from(path: str, variables: dict, settings: dict) -> list[str]:
    """The settings that have the value of a variable, or at least its name."""
    node, rest = variables, path.split('.')
    # The whole variable first: parts of it may also be parts of other settings.
    while rest and isinstance(node, (dict, list)):
        key, *rest = rest
        if isinstance(node, list):
            node = dict(enumerate(node))
            key = int(key) if key.isdigit() else key
        if key not in node:
            break
        node = node[key]
        places = [
            place
            for place, name, value in _walk(settings)
            if _is_from(value, node, name == key)
        ]
        if places:
            return ['.'.join([place, *rest]) for place in places]
    first, *rest = path.split('.')
    return [
        '.'.join([place, *rest]) for place, name, _ in _walk(settings) if name == first
    ]


def _is_from(value: Any, variable: Any, same_name: bool) -> bool:
    if isinstance(value, str) and isinstance(variable, str):
        return bool(variable) and value.startswith(variable)
    # Many settings are 1, True, None or [].
    is_distinctive = bool(variable) and not isinstance(variable, (int, float))
    return value == variable and (same_name or is_distinctive)


def _without_scope(node: Any) -> Any:
    """Nested settings without mmengine's notes of where they come from."""
    if isinstance(node, dict):
        return {
            key: _without_scope(child)
            for key, child in node.items()
            if key != '_scope_'
        }
    if isinstance(node, list):
        return [_without_scope(child) for child in node]
    return node


def _walk(node: Any, path: str = '') -> Iterator[tuple[str, Any, Any]]:
    """The path, the last key and the value of each setting below a node."""
    if isinstance(node, list):
        node = dict(enumerate(node))
    if isinstance(node, dict):
        for key, child in node.items():
            place = f'{path}.{key}' if path else key
            yield place, key, child
            yield from _walk(child, place)


def _some(places: list[str], word: str) -> str:
    if len(places) > 5:
        return f'{", ".join(places[:5])} {word} {len(places) - 5} more'
    *first, last = places
    return f'{", ".join(first)} {word} {last}' if first else last
