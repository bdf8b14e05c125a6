"""Reads files in parallel, and finds the missing ones."""

import os
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.pool import ThreadPool
from typing import Any

from mmengine.fileio import get
from mmengine.utils import track_iter_progress
from PIL import Image

from .report import Finding, Kind

Reader = Callable[[str], Any]
# What a reader returns for each path, or the exception that it raises.
Files = dict[tuple[str, Reader], Any]


def read_files(tasks: Iterable[tuple[str, Reader]]) -> Files:
    """Read files in parallel, with a progress bar on stderr.

    Args:
        tasks: Paths and how to read them. Equal tasks are done once.
    """
    tasks = list(dict.fromkeys(tasks))
    if not tasks:
        return {}
    with warnings.catch_warnings(), ThreadPool() as pool:
        # Large images are no attack here.
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)
        files = pool.imap(_read, tasks, chunksize=8)
        # A list, because zip would stop before the bar ends its line.
        read = list(track_iter_progress((files, len(tasks)), file=sys.stderr))
    return dict(zip(tasks, read))


def check_missing(kind: Kind, entries: list[tuple[str, str]]) -> Iterator[Finding]:
    """Describe missing files: a missing folder is one finding.

    Args:
        kind: The kind of the findings.
        entries: Path of each file, and what refers to it.
    """
    of_folder = defaultdict(list)
    for path, entry in entries:
        of_folder[os.path.dirname(path) or '.'].append((path, entry))
    for folder, missing in of_folder.items():
        if not os.path.isdir(folder):
            yield Finding(
                kind,
                folder,
                f'the folder does not exist; {len(missing)} files should be in it, '
                f'such as {os.path.basename(missing[0][0])} ({missing[0][1]})',
            )
            continue
        names = {name.lower(): name for name in os.listdir(folder)}
        for path, entry in missing:
            other = names.get(os.path.basename(path).lower())
            if other == os.path.basename(path):
                hint = f'; it is a link to {os.path.realpath(path)}, which is missing'
            else:
                hint = '' if other is None else f'; {other} exists'
            yield Finding(kind, path, entry + hint)


def reason(error: Exception) -> str:
    """Why a file cannot be read."""
    # Pillow names the buffer in place of the file.
    message = re.sub(r' <_io\.BytesIO object at 0x[0-9a-f]+>', '', str(error))
    return f'{type(error).__name__}: {message}'


def read_bytes(path: str) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is empty, of which decoders say little.
    """
    data = get(path)
    if not data:
        raise ValueError('the file is empty')
    return data


def _read(task: tuple[str, Reader]) -> Any:
    path, reader = task
    try:
        return reader(path)
    # Decoders raise many kinds of exceptions for a broken file.
    except Exception as error:
        return error
