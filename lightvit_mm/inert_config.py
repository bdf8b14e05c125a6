"""Configs as data: they are parsed, never executed, and name only known classes.

A published ``config.py`` is a config like those that mmengine writes. mmengine would
execute it. Its values can lead to code, too: mmengine imports whatever ``type`` names,
such as ``os.system``. So :func:`check` accepts only classes of :data:`LIBRARIES`.
"""

import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.registry import Registry

from .safe_load import RefusedError

LIBRARIES = ('lightvit_mm', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg')

# They name files or modules to execute, or let transformers download code.
_KEYS = ('_base_', 'custom_imports', 'trust_remote_code')
# Their values name classes.
_NAMES = ('type', 'constructor')
# Classes that evaluate their arguments as Python code.
_EVALUATE = ('CameraMotionCompensation', 'RFSearchHook')


def parse(text: str | bytes, path: Path) -> dict:
    """The values of a config, without executing it.

    Args:
        text: Assignments of literals and ``dict(...)``, as ``Config.dump`` writes them.
        path: The file, for error messages.

    Raises:
        RefusedError: If there is anything else in it.
    """
    settings = {}
    try:
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    settings[name] = ast.literal_eval(_DictCalls().visit(value))
                case _:
                    raise ValueError(f'line {statement.lineno} is not an assignment')
    # Deep nesting raises the last two.
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refusal(path, f'it contains more than values ({error})') from error
    return settings


class _DictCalls(ast.NodeTransformer):
    """Turns ``dict(a=1)`` and ``dict({'a': 1})`` into ``{'a': 1}``, a literal."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.Call(ast.Name('dict'), [ast.Dict() as literal], []):
                return literal
            case ast.Call(ast.Name('dict'), [], keywords) if all(
                keyword.arg for keyword in keywords
            ):
                return ast.Dict(
                    [ast.Constant(keyword.arg) for keyword in keywords],
                    [keyword.value for keyword in keywords],
                )
        return node


def check(settings: dict, path: Path) -> None:
    """Check that nothing in a config leads to code outside of :data:`LIBRARIES`.

    Args:
        settings: The config.
        path: Its file, for error messages.

    Raises:
        RefusedError: If it may carry code.
        ModuleNotFoundError: If it needs a library that is not installed.
    """
    scope = settings.get('default_scope')
    for key, value in _items(settings):
        if key in _KEYS:
            raise _refusal(path, f'it has {key}={value!r}')
        if not isinstance(value, str):
            continue
        if key in ('_scope_', 'default_scope'):
            is_known = value in LIBRARIES
        elif key == 'dtype':  # mmpretrain evaluates 'torch.' + dtype
            is_known = value.isidentifier()
        elif key in _NAMES or str(key).endswith('_type'):
            is_known = is_inert(value, scope)
        else:
            continue
        if not is_known:
            raise _refusal(path, f'{key}={value!r} is not from {", ".join(LIBRARIES)}')


def is_inert(name: str, scope: str | None) -> bool:
    """Whether mmengine executes no code outside of :data:`LIBRARIES` for a name.

    Args:
        name: Value of ``type``.
        scope: Library to which names without a library belong.
    """
    if name.rpartition('.')[2] in _EVALUATE:
        return False
    # mmengine imports a module of this name if there is one.
    is_module = name in sys.modules or (name.isidentifier() and find_spec(name))
    if name.isidentifier() and not is_module:
        return True
    library, _, local = name.rpartition('.')
    return any(
        candidate in LIBRARIES and local in registered(candidate)
        for candidate in ([library] if library else ['mmengine', scope])
    )


def registered(library: str) -> dict[str, Any]:
    """Everything that a library has registered, by name."""
    found = {}
    for registry in vars(import_module(f'{library}.registry')).values():
        if isinstance(registry, Registry) and registry.scope == library:
            registry.import_from_location()
            found.update(registry.module_dict)
    return found


def _items(node: Any) -> Iterator[tuple[Any, Any]]:
    """The keys and values of all dicts in nested dicts, lists and tuples."""
    if isinstance(node, dict):
        yield from node.items()
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from _items(child)


def _refusal(path: Path, reason: str) -> RefusedError:
    return RefusedError(
        f'{path} was refused because it may carry code: {reason}. If you trust its '
        f'author, give {path} itself as the config; it is then executed'
    )
