"""Configs as data: they are parsed, never executed, and name only known classes.

A published ``config.py`` is a config like those that mmengine writes. mmengine would
execute it. Its values can lead to code, too: mmengine imports whatever ``type`` names,
such as ``os.system``. So :func:`check` accepts only classes of :data:`LIBRARIES`, and
of these none in :data:`EXECUTE`. It also refuses to let a config say where to write.
"""

import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine.config.config import RESERVED_KEYS
from mmengine.registry import Registry

from .nested import walk
from .safe_load import RefusedError

LIBRARIES = ('lightvit_mm', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg')

# They name files or modules to execute, or let transformers download code. The last
# one is a folder from which mmengine's MemcachedBackend imports a module.
_KEYS = ('_base_', 'custom_imports', 'trust_remote_code', 'sys_path')
# Their values name classes.
_NAMES = ('type', 'constructor')
# Classes that evaluate an argument as Python code, execute the file or load the pickle
# that it names, or pass it on to a library that may.
EXECUTE = (
    'CameraMotionCompensation',
    'ImageToImageRetriever',
    'KnowledgeDistillationSingleStageDetector',
    'LAD',
    'NormEMAVectorQuantizer',
    'RAM',
    'RAMNormal',
    'RAMOpenset',
    'RFSearchHook',
    'SwAVHook',
    'TIMMBackbone',
    'TimmClassifier',
    'VPD',
    'VQKD',
)
# Files, folders and servers to which metrics, hooks and visualizers write.
WRITES = (
    'collect_dir',
    'config_save_file',
    'csv_dir',
    'dir_name',
    'file_path',
    'filename_tmpl',
    'img_save_dir',
    'init_kwargs',
    'json_trace_path',
    'out_dir',
    'out_file_path',
    'outfile_path',
    'outfile_prefix',
    'output_dir',
    'proposals_file',
    'result_path',
    'save_dir',
    'scalar_save_file',
    'test_out_dir',
    'tracking_uri',
    'work_dir',
)


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
                    if name in RESERVED_KEYS:
                        raise ValueError(f'mmengine reserves the name {name}')
                    settings[name] = ast.literal_eval(_Literals().visit(value))
                case _:
                    raise ValueError(f'line {statement.lineno} is not an assignment')
    # Lists as keys raise a TypeError, deep nesting the last two.
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise _refusal(path, f'it contains more than values ({error})') from error
    return settings


class _Literals(ast.NodeTransformer):
    """Makes literals of ``dict(a=1)``, ``dict({'a': 1})``, ``inf`` and ``nan``."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        # How Config.dump writes these two numbers.
        return ast.Constant(float(node.id)) if node.id in ('inf', 'nan') else node

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
    for problem in problems(settings):
        raise _refusal(path, problem)


def problems(settings: dict) -> Iterator[str]:
    """The settings for which :func:`check` refuses a config, and why."""
    scope = settings.get('default_scope')
    for key, value in chain.from_iterable(node.items() for node in walk(settings)):
        if key in _KEYS:
            yield f'it has {key}={value!r}'
        if key in WRITES and value is not None:
            yield f'{key}={value!r} says where to write'
        if not isinstance(value, str):
            continue
        if key in ('_scope_', 'default_scope'):
            is_known = value in LIBRARIES
        elif key == 'dtype':  # mmpretrain evaluates 'torch.' + dtype
            is_known = value.isidentifier()
        elif key in _NAMES or str(key).endswith('_type'):
            if value.rpartition('.')[2] in EXECUTE:
                yield f'{key}={value!r} executes or unpickles what its arguments name'
            is_known = is_inert(value, scope)
        else:
            continue
        if not is_known:
            yield f'{key}={value!r} is not from {", ".join(LIBRARIES)}'


def is_inert(name: str, scope: str | None) -> bool:
    """Whether mmengine executes no code outside of :data:`LIBRARIES` for a name.

    Args:
        name: Value of ``type``.
        scope: Library to which names without a library belong.
    """
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


def _refusal(path: Path, reason: str) -> RefusedError:
    return RefusedError(
        f'{path} was refused because it may carry code or overwrite files: {reason}. '
        f'If you trust its author, give {path} itself as the config; it is then '
        'executed'
    )
