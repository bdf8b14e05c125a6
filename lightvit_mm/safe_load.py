"""Read checkpoints without executing code from them."""

import logging
import os
import re
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer, print_log
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

from .safe_numpy import STAND_INS, NotAllowedError
from .untrusted import check_is_file

MapLocation = str | torch.device | Callable | dict

UNSAFE_VARIABLE = 'LIGHTVIT_MM_UNSAFE_LOAD'

# Earlier versions know no safe classes but their own, and are less strict.
_IS_CURRENT = torch.__version__ >= '2.6'

# The only functions in mmengine's checkpoints: the statistics of a
# HistoryBuffer and the annealing of OneCycleLR.
_PICKLED_METHODS = {
    HistoryBuffer: ('min', 'max', 'current', 'mean'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}


class CheckpointError(RuntimeError):
    """Raised if a checkpoint cannot be used; the message gives the reason."""


class TruncatedError(CheckpointError):
    """Raised if the end of a checkpoint is missing."""


class RefusedError(CheckpointError):
    """Raised if a checkpoint, a pickle or a YAML file may carry code."""


def allows_code() -> bool:
    """Whether the user has set ``LIGHTVIT_MM_UNSAFE_LOAD=1``."""
    return os.environ.get(UNSAFE_VARIABLE) == '1'


def read(
    file: str | Path | BinaryIO,
    map_location: MapLocation | None = None,
    name: str | None = None,
    mmap: bool = False,
) -> Any:
    """Read a checkpoint without executing code from it.

    ``meta['config']`` is dropped, which mmengine writes no more, but executes when
    it resumes.

    Args:
        file: What ``torch.save`` wrote: a path, or a file that is open at its start.
        map_location: As for ``torch.load``.
        name: Name for error messages, by default the path.
        mmap: Whether to leave tensors on the disk until they are used; needs a path.

    Returns:
        What was saved. It holds tensors, plain values and mmengine's training
        state; the latter only with PyTorch 2.6 or later. If the environment
        variable ``LIGHTVIT_MM_UNSAFE_LOAD`` is 1, it holds anything, and code in
        it has been executed.

    Raises:
        OSError: If the file cannot be opened.
        RefusedError: If it may carry code.
        CheckpointError: If it is not a checkpoint, is truncated or damaged.
    """
    if isinstance(file, (str, Path)):
        check_is_file(file)
        with open(file, 'rb') as opened:
            return read(opened, map_location, name or str(file), mmap)
    name = name or 'The checkpoint'
    mmap = _check_format(file, name) and mmap
    has_code = allows_code()
    if has_code:
        print_log(
            f'{name} is loaded with its code, because {UNSAFE_VARIABLE}=1 is set',
            logger='current',
            level=logging.WARNING,
        )
    try:
        if not has_code:
            _prepare_safe_load(file, name)
        content = torch.load(
            # PyTorch maps files by their path.
            file.name if mmap else file,
            map_location=map_location,
            weights_only=not has_code,
            mmap=mmap,
        )
    except RefusedError:
        raise
    # Damaged bytes can fail anywhere in the decoder.
    except Exception as error:
        raise _explain(error, name) from error
    if not has_code:
        _drop_config(content)
    return content


def check_sums(path: Path) -> None:
    """Compare the checksums in a checkpoint with its bytes, unlike torch.load.

    Raises:
        OSError: If the file cannot be opened.
        CheckpointError: If it is not a checkpoint, is truncated or damaged.
    """
    check_is_file(path)
    with open(path, 'rb') as file:
        if not _check_format(file, str(path)):
            return
        try:
            damaged = zipfile.ZipFile(file).testzip()
        # Damaged bytes can fail anywhere in the decoder.
        except Exception as error:
            raise _explain(error, str(path)) from error
    if damaged is not None:
        raise CheckpointError(
            f'{path} is damaged: the checksum of {damaged} does not match'
        )


def _check_format(file: BinaryIO, name: str) -> bool:
    """Check the format; return whether it is a zip archive, which has checksums."""
    start = file.read(16)
    # torch.save writes zip archives, and wrote pickles before PyTorch 1.6.
    is_zip = start.startswith(b'PK\x03\x04')
    if not is_zip and not start.startswith(b'\x80'):
        raise CheckpointError(
            f'{name} is not a PyTorch checkpoint: it starts with {start!r}'
        )
    if is_zip and not zipfile.is_zipfile(file):
        raise TruncatedError(
            f'{name} is truncated: its end is missing. '
            'Delete it and download or copy it again.'
        )
    file.seek(0)
    return is_zip


def _prepare_safe_load(file: BinaryIO, name: str) -> None:
    if not _IS_CURRENT:
        _refuse_what_old_versions_execute(file, name)
        file.seek(0)
    allow_training_state()


def _refuse_what_old_versions_execute(file: BinaryIO, name: str) -> None:
    """Refuse what weights_only does not cover before PyTorch 2.6.

    It covers neither TorchScript, nor the tar archives of PyTorch before 0.2
    (CVE-2025-32434).
    """
    if tarfile.is_tarfile(file):
        raise _refusal(name, 'a tar archive')
    file.seek(0)
    if torch.serialization._is_zipfile(file):
        with torch.serialization._open_zipfile_reader(file) as reader:
            if torch.serialization._is_torchscript_zip(reader):
                raise _refusal(name, 'TorchScript')


def _explain(error: Exception, name: str) -> CheckpointError:
    if isinstance(error, NotAllowedError):
        return _refusal(name, str(error))
    if isinstance(error, UnpicklingError):
        # torch.load puts the reason behind advice to execute code.
        error = error.__context__ or error
        found = re.search(r"(?:GLOBAL|class) '?([\w.]+)", str(error))
        if found:
            return _refusal(name, found[1])
    reason = ' '.join(str(error).split())[:80]
    return CheckpointError(
        f'{name} cannot be read: it is truncated, damaged or not a '
        f'PyTorch checkpoint ({type(error).__name__}: {reason})'
    )


def _refusal(name: str, what: str) -> RefusedError:
    allowed = (
        "tensors, plain values and mmengine's training state are accepted"
        if _IS_CURRENT
        else 'tensors and plain values are accepted; PyTorch 2.6 or later also '
        "accepts mmengine's training state"
    )
    return RefusedError(
        f'{name} was refused because it may carry code: it holds {what}, but only '
        f'{allowed}. If you trust its author, set {UNSAFE_VARIABLE}=1 to load it '
        'with its code.'
    )


def _drop_config(content: Any) -> None:
    # Operators, because a checkpoint can replace the methods of an OrderedDict.
    if isinstance(content, dict) and 'meta' in content:
        meta = content['meta']
        if isinstance(meta, dict) and 'config' in meta:
            del meta['config']


# Training state


@cache
def allow_training_state() -> None:
    """Let ``torch.load`` read the classes that mmengine writes, and no others."""
    if not _IS_CURRENT:
        return
    torch.serialization.add_safe_globals(
        [
            ConfigDict,  # a dataset's metainfo, where it comes from a config
            HistoryBuffer,
            OneCycleParamScheduler,
            (_restricted_getattr, 'builtins.getattr'),
            *((stand_in, '.'.join(names)) for names, stand_in in STAND_INS.items()),
        ]
    )


def _restricted_getattr(owner: type, name: str) -> Callable:
    """Stands for ``getattr`` in checkpoints, where it names a method.

    ``getattr`` itself would give a checkpoint access to any object.
    """
    if name not in _PICKLED_METHODS.get(owner, ()):
        raise NotAllowedError(f'getattr({owner!r}, {name!r})')
    return getattr(owner, name)
