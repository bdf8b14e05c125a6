"""Read checkpoints, from files and addresses, without executing code from them."""

import hashlib
import logging
import os
import re
import socket
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO
from urllib.parse import urlparse

import torch
from filelock import FileLock
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer, print_log
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from torch.hub import download_url_to_file

from .files import remove_drafts, written_whole
from .safe_numpy import STAND_INS, NotAllowedError
from .untrusted import check_is_file

MapLocation = str | torch.device | Callable | dict

UNSAFE_VARIABLE = 'LIGHTVIT_MM_UNSAFE_LOAD'

TIMEOUT = 60  # seconds without data after which a download fails

# Files on these hosts have unique names, and users may already have them.
_OWN_NAMES = ('download.openmmlab.com', 'download.pytorch.org')

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
        raise CheckpointError(
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


# Addresses


def fetch(
    url: str,
    path: Path,
    map_location: MapLocation | None = None,
    progress: bool = True,
) -> Any:
    """Read a checkpoint from the web, downloaded only once.

    Args:
        url: Its address.
        path: Where the download is kept. It is replaced if it is damaged. What
            cannot be read is not kept.
        map_location: As for ``torch.load``.
        progress: Whether to show a progress bar.

    Returns:
        What was saved, as of :func:`read`.

    Raises:
        RefusedError: If it may carry code.
        CheckpointError: If it cannot be downloaded or is not a checkpoint.
    """
    content = _read_download(path, map_location)
    if content is not None:
        return content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One process of a machine downloads; the others wait for it.
        with FileLock(f'{path}.lock'):
            content = _read_download(path, map_location)
            if content is None:
                content = _download(url, path, map_location, progress)
    except RefusedError:
        raise
    except (OSError, ValueError, HTTPException, CheckpointError) as error:
        raise CheckpointError(
            f'{url} could not be downloaded ({error}). Download it elsewhere and '
            f'put {path.name} into {path.parent}'
        ) from error
    return content


def _read_download(path: Path, map_location: MapLocation | None) -> Any | None:
    """What an earlier download saved, None if there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        return read(path, map_location)
    except RefusedError:
        raise
    except CheckpointError as error:
        print_log(
            f'Downloading again: {error}', logger='current', level=logging.WARNING
        )
        return None


def _download(
    url: str, path: Path, map_location: MapLocation | None, progress: bool
) -> Any:
    remove_drafts(path)
    print_log(f'Downloading {url} to {path}', logger='current')
    with written_whole(path) as draft:
        with _limited_wait():
            download_url_to_file(url, str(draft), progress=progress)
        # urllib reports no error if the connection breaks off.
        return read(draft, map_location, name=url)


@contextmanager
def _limited_wait() -> Iterator[None]:
    """Raise a TimeoutError if a connection stalls; torch.hub would wait forever."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    except OSError as error:
        # While it connects, urllib wraps the error.
        if isinstance(getattr(error, 'reason', error), TimeoutError):
            raise TimeoutError(
                f'the server sent nothing for {TIMEOUT} seconds'
            ) from error
        raise
    finally:
        socket.setdefaulttimeout(previous)


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: MapLocation | None = None,
    progress: bool = True,
) -> Any:
    """Stands for ``torch.hub.load_state_dict_from_url``.

    Each address has its own folder, because torch.hub confuses files of the same
    name. Files of OpenMMLab and PyTorch have unique names and stay where torch.hub
    keeps them.

    Args:
        url: Address of a checkpoint.
        model_dir: Where downloads are kept, by default torch.hub's folder.
        map_location: As for ``torch.load``.
        progress: Whether to show a progress bar.

    Returns:
        What was saved, as of :func:`read`.

    Raises:
        CheckpointError: As for :func:`fetch`, or if it is not an address.
    """
    try:
        address = urlparse(url)
    except ValueError as error:
        raise CheckpointError(f'{url} is not an address: {error}') from error
    name = os.path.basename(address.path)
    if name in ('', '.', '..'):
        raise CheckpointError(f'{url} should end in the name of a checkpoint')
    folder = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
    if address.hostname not in _OWN_NAMES:
        folder /= hashlib.sha256(url.encode()).hexdigest()[:16]
    return fetch(url, folder / name, map_location, progress)
