"""Read pickles and YAML files without executing code from them."""

import pickle
from collections import OrderedDict
from io import BytesIO
from types import FunctionType
from typing import Any, BinaryIO, TextIO

import torch
import yaml
from mmengine.structures import InstanceData

from .safe_load import UNSAFE_VARIABLE, RefusedError, read
from .safe_numpy import STAND_INS, NotAllowedError


def load_pickle(file: BinaryIO, **options: Any) -> Any:
    """Read a pickle of plain values, arrays, tensors and ``InstanceData``.

    OpenMMLab's test results and proposals contain nothing else.

    Args:
        file: An open file.
        options: Options of ``pickle.load``.

    Raises:
        RefusedError: If it may contain code.
        ValueError: If it is damaged or not a pickle.
    """
    try:
        return _Unpickler(file, **options).load()
    except RefusedError:
        raise
    except NotAllowedError as error:
        raise _refusal(_name(file, 'pickle'), str(error)) from error
    # Damaged bytes can fail anywhere in the decoder.
    except Exception as error:
        raise ValueError(
            f'{_name(file, "pickle")} cannot be read: it is damaged or not a pickle '
            f'({type(error).__name__}: {error})'
        ) from error


def load_yaml(file: TextIO) -> Any:
    """Read YAML of plain values and tuples.

    Args:
        file: An open file.

    Raises:
        RefusedError: If it may contain code.
        ValueError: If it is not YAML, or is nested too deeply.
    """
    try:
        return yaml.load(file, _YamlLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(
            f'{_name(file, "YAML")} is not YAML: {" ".join(str(error).split())}'
        ) from error


def _name(file: Any, kind: str) -> str:
    # mmengine reads the file first and decodes a buffer, which has no name.
    return getattr(file, 'name', f'The {kind} file')


def _refusal(name: str, what: str) -> RefusedError:
    return RefusedError(
        f'{name} was refused because it may carry code: it holds {what}. If you trust '
        f'its author, set {UNSAFE_VARIABLE}=1 to load it with its code.'
    )


# Pickles


def _encode(text: str, encoding: str) -> bytes:
    """Replaces ``codecs.encode``, whose encoding can name any module."""
    return text.encode({'latin1': 'latin1'}[encoding])


def _load_storage(data: bytes) -> Any:
    """Replaces ``torch.storage._load_from_bytes``, which executes code."""
    return read(BytesIO(data), name='A tensor in a pickle')


class _InstanceData(InstanceData):
    """Becomes ``InstanceData`` when it gets its state.

    A pickle can set attributes of the classes it names, except of a class with
    ``__setstate__``.
    """

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        object.__setattr__(self, '__class__', InstanceData)


_SAFE = {
    ('__builtin__', 'complex'): complex,
    ('__builtin__', 'frozenset'): frozenset,
    ('__builtin__', 'set'): set,
    ('_codecs', 'encode'): _encode,
    ('builtins', 'complex'): complex,
    ('builtins', 'frozenset'): frozenset,
    ('builtins', 'set'): set,
    ('collections', 'OrderedDict'): OrderedDict,
    ('mmengine.structures.instance_data', 'InstanceData'): _InstanceData,
    ('torch', 'Size'): torch.Size,
    ('torch', 'device'): torch.device,
    ('torch._utils', '_rebuild_tensor_v2'): torch._utils._rebuild_tensor_v2,
    ('torch.storage', '_load_from_bytes'): _load_storage,
    **STAND_INS,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, **options: Any) -> None:
        super().__init__(file, **options)
        self.name = _name(file, 'pickle')

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _SAFE:
            found = _SAFE[module, name]
            # A pickle can set attributes of functions, so it gets a new one.
            is_function = isinstance(found, FunctionType)
            return (lambda *args: found(*args)) if is_function else found
        if module == 'torch' and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise _refusal(self.name, f'{module}.{name}')


# YAML


# libyaml saves seconds: for one config of mmdet, mmengine reads its 100 metafiles.
class _YamlLoader(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):
    """PyYAML's safe loader, plus tuples, which mmengine writes."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.name = _name(stream, 'YAML')

    def construct_tuple(self, node: yaml.Node) -> tuple:
        return tuple(self.construct_sequence(node, deep=True))

    def refuse(self, tag: str, node: yaml.Node) -> None:
        raise _refusal(self.name, f'!!python/{tag}')


_PYTHON = 'tag:yaml.org,2002:python/'
_YamlLoader.add_constructor(f'{_PYTHON}tuple', _YamlLoader.construct_tuple)
_YamlLoader.add_multi_constructor(_PYTHON, _YamlLoader.refuse)
