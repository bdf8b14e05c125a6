"""Download checkpoints once, from several sources, and check them at every load."""

import hashlib
import json
import logging
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import torch
from filelock import FileLock
from mmengine.logging import print_log
from torch.hub import download_url_to_file

from .files import read_json, remove_drafts, written_whole
from .safe_load import (
    CheckpointError,
    MapLocation,
    RefusedError,
    TruncatedError,
    read,
)

TIMEOUT = 60  # seconds without data after which a download fails
SUMS_SUFFIX = '.sums.json'

# Files on these hosts have unique names, and users may already have them.
_OWN_NAMES = ('download.openmmlab.com', 'download.pytorch.org')
_IF_CHANGED = 'if the file has changed on purpose'
# Larger than the web pages that servers send in place of a file.
_PAGE_BYTES = 2**18


class Sums(NamedTuple):
    """What identifies the content of a file.

    Args:
        length: In bytes.
        sha256: In hexadecimal digits.
    """

    length: int
    sha256: str


def sums_of(path: Path) -> Sums:
    """The length and the sha256 of a file.

    Raises:
        OSError: If it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(2**20):
            digest.update(block)
        return Sums(file.tell(), digest.hexdigest())


def check_content(path: Path, expected: Sums) -> None:
    """Compare a file with its sums.

    Raises:
        OSError: If it cannot be read.
        CheckpointError: If it is damaged or a different file.
    """
    found = sums_of(path)
    if found != expected:
        raise CheckpointError(
            f'{path.name} is damaged or a different file: expected {expected.length} '
            f'bytes with sha256 {expected.sha256}, found {found.length} bytes with '
            f'sha256 {found.sha256}'
        )


def sums_file(path: Path) -> Path:
    """Where the sums of a download are stored."""
    return path.with_name(path.name + SUMS_SUFFIX)


def read_checked(
    path: Path, map_location: MapLocation | None = None, sums: Sums | None = None
) -> Any:
    """Read a checkpoint after comparing it with its known or stored sums, if any.

    Args:
        path: The file.
        map_location: As for ``torch.load``.
        sums: Its sums, if known; by default those stored next to it.

    Returns:
        What was saved, as of :func:`lightvit_mm.safe_load.read`.

    Raises:
        OSError: If it cannot be read.
        RefusedError: If it may carry code.
        CheckpointError: If it is damaged or a different file.
    """
    if sums is not None:
        check_content(path, sums)
    elif (stored := _stored_sums(path)) is not None:
        try:
            check_content(path, stored)
        except CheckpointError as error:
            raise CheckpointError(
                f'{error}. Delete {sums_file(path)} {_IF_CHANGED}'
            ) from error
    return read(path, map_location)


def fetch(
    sources: Sequence[str],
    path: Path,
    map_location: MapLocation | None = None,
    progress: bool = True,
    sums: Sums | None = None,
) -> Any:
    """Read a checkpoint from the web, downloaded only once.

    The first download stores the length and the sha256 of the file next to it; see
    :func:`sums_file`. Every later load checks both.

    Args:
        sources: Its addresses. The next one is tried if one fails.
        path: Where the download is kept. It is replaced if it is damaged. A
            download that cannot be read is not kept.
        map_location: As for ``torch.load``.
        progress: Whether to show a progress bar.
        sums: Sums of the file, if known before the first download.

    Returns:
        What was saved, as of :func:`lightvit_mm.safe_load.read`.

    Raises:
        RefusedError: If it may carry code.
        CheckpointError: If it cannot be downloaded or is not the expected file.
    """
    content = _read_download(path, map_location, sums)
    if content is not None:
        return content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One process of a machine downloads; the others wait for it.
        with FileLock(f'{path}.lock'):
            content = _read_download(path, map_location, sums)
            if content is None:
                content = _download(sources, path, map_location, progress, sums)
    except OSError as error:
        raise _failure([_reason(sources[0], error)], path, sums) from error
    return content


def _read_download(
    path: Path, map_location: MapLocation | None, sums: Sums | None
) -> Any | None:
    """What an earlier download saved, None if there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        return read_checked(path, map_location, sums)
    except RefusedError:
        raise
    except CheckpointError as error:
        print_log(
            f'Downloading again: {error}', logger='current', level=logging.WARNING
        )
        return None


def _stored_sums(path: Path) -> Sums | None:
    """The sums that the first download stored, None if they are missing or damaged."""
    stored = sums_file(path)
    if not stored.exists():
        return None
    try:
        return Sums(**read_json(stored))
    except (OSError, TypeError, ValueError) as error:
        print_log(
            f'{path.name} is not checked, because {stored} should hold a length and a '
            f'sha256 ({error}). Delete both to download the weights again',
            logger='current',
            level=logging.WARNING,
        )
        return None


def _download(
    sources: Sequence[str],
    path: Path,
    map_location: MapLocation | None,
    progress: bool,
    sums: Sums | None,
) -> Any:
    remove_drafts(path)
    expected = sums or _stored_sums(path)
    failures = []
    for url in sources:
        print_log(f'Downloading {url} to {path}', logger='current')
        try:
            return _download_from(url, path, map_location, progress, expected)
        except RefusedError:
            raise
        except (OSError, ValueError, HTTPException, CheckpointError) as error:
            failures.append(_reason(url, error))
            cause = error
            if url != sources[-1]:
                print_log(failures[-1], logger='current', level=logging.WARNING)
    raise _failure(failures, path, sums) from cause


def _reason(url: str, error: Exception) -> str:
    return f'{url} could not be downloaded ({error})'


def _failure(failures: list[str], path: Path, known: Sums | None) -> CheckpointError:
    message = (
        f'{"; ".join(failures)}. Download it elsewhere and put {path.name} into '
        f'{path.parent}'
    )
    stored = sums_file(path)
    if known is None and stored.exists():
        message += f' (delete {stored.name} there {_IF_CHANGED})'
    return CheckpointError(message)


def _download_from(
    url: str,
    path: Path,
    map_location: MapLocation | None,
    progress: bool,
    sums: Sums | None,
) -> Any:
    with written_whole(path, path.suffix + SUMS_SUFFIX) as draft:
        with _limited_wait():
            download_url_to_file(url, str(draft), progress=progress)
        _check_is_no_page(draft)
        if sums is None:
            sums = sums_of(draft)
        else:
            check_content(draft, sums)
        # urllib reports no error if the connection breaks off.
        try:
            content = read(draft, map_location, name=url)
        except TruncatedError as error:
            raise CheckpointError(
                'the file is truncated: its end is missing'
            ) from error
        sums_file(draft).write_text(json.dumps(sums._asdict()))
    return content


def _check_is_no_page(path: Path) -> None:
    """Raise a CheckpointError if a server has sent a page in place of a file.

    Google Drive does so if a file has been downloaded too often, needs a login or
    could not be scanned for viruses.
    """
    with open(path, 'rb') as file:
        text = file.read(_PAGE_BYTES).decode(errors='replace')
    if not re.match(r'\s*<(!doctype html|html)\b', text, re.IGNORECASE):
        return
    if 'quota' in text.lower():
        raise CheckpointError(
            'quota exceeded: the file has been downloaded too often; try again '
            'after 24 hours'
        )
    title = re.search(r'<title[^>]*>(.*?)</title>', text, re.IGNORECASE | re.DOTALL)
    title = ' '.join(title[1].split())[:80] if title else 'without a title'
    raise CheckpointError(f'the server sent a web page instead of the file: {title}')


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
    """Replaces ``torch.hub.load_state_dict_from_url``.

    Each address has its own folder, because torch.hub confuses files of the same
    name. Files of OpenMMLab and PyTorch have unique names and stay where torch.hub
    keeps them.

    Args:
        url: Address of a checkpoint.
        model_dir: Where downloads are kept, by default torch.hub's folder.
        map_location: As for ``torch.load``.
        progress: Whether to show a progress bar.

    Returns:
        What was saved, as of :func:`lightvit_mm.safe_load.read`.

    Raises:
        CheckpointError: As for :func:`fetch`, or if it is not a valid address.
    """
    try:
        address = urlparse(url)
    except ValueError as error:
        raise CheckpointError(f'{url} is not a valid address: {error}') from error
    name = os.path.basename(address.path)
    if name in ('', '.', '..'):
        raise CheckpointError(f'{url} should end in the name of a checkpoint')
    folder = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
    if address.hostname not in _OWN_NAMES:
        folder /= hashlib.sha256(url.encode()).hexdigest()[:16]
    return fetch([url], folder / name, map_location, progress)
