"""Read untrusted files and folders without endless waits and loops."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

MAX_VISITS = 10  # of one folder, through symbolic links
# Bytes of memory to read one byte of a JSON file, at least. Measured: 2.5 for masks as
# run-length encodings, 6 for boxes and polygons.
JSON_FACTOR = 2.5


def check_is_file(path: str | Path) -> None:
    """Raise an OSError for pipes and devices, where reading could wait forever.

    Missing files and folders pass; opening them has its own error.
    """
    # This runs for each training image, so it should need one system call only.
    if os.path.isfile(path):
        return
    if os.path.exists(path) and not os.path.isdir(path):
        raise OSError(f'{path} is a pipe or a device; expected a file')


def check_fits_memory(path: str | Path, needed: float) -> None:
    """Raise an OSError if reading a file needs more memory than this machine has.

    Otherwise, the system would kill the process.

    Args:
        path: The file.
        needed: Bytes of memory.
    """
    memory = _memory()
    if needed > memory:
        raise OSError(
            f'{path} is too large: reading it takes at least {needed / 2**30:.1f} GiB '
            f'of memory, but this machine has {memory / 2**30:.1f} GiB'
        )


def check_json_fits_memory(path: str | Path) -> None:
    """:func:`check_fits_memory` for a JSON file."""
    check_fits_memory(path, JSON_FACTOR * os.path.getsize(path))


def _memory() -> float:
    """The bytes of memory that this process may use, at most."""
    memory = math.inf
    # Windows has no sysconf.
    with suppress(AttributeError, ValueError):
        memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    # The limit of a container; 'max' means no limit.
    with suppress(OSError, ValueError):
        memory = min(memory, int(Path('/sys/fs/cgroup/memory.max').read_text()))
    return memory


def parse_json(text: str | bytes, path: str | Path) -> Any:
    """The value of a JSON text.

    Args:
        text: The text.
        path: The file that it is from, for the error message.

    Raises:
        ValueError: If it is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not JSON: {error}') from error


def walk(folder: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """``os.walk`` through symbolic links, for files only and without endless loops.

    Args:
        folder: Where to start.

    Yields:
        A folder, the names of the folders in it and of the files in it. Remove
        folders from their list to skip them.

    Raises:
        OSError: If a folder cannot be read, or links lead to it again and again.
    """
    yield from _walk(str(folder), Counter())


def _walk(folder: str, visits: Counter) -> Iterator[tuple[str, list[str], list[str]]]:
    status = os.stat(folder)
    identity = status.st_dev, status.st_ino
    visits[identity] += 1
    if visits[identity] > MAX_VISITS:
        raise OSError(
            f'{folder}: more than {MAX_VISITS} paths lead to this folder. Remove the '
            'symbolic links that lead from a folder back to itself'
        )
    with os.scandir(folder) as entries:
        entries = list(entries)
    # Pipes and devices are neither.
    folders = [entry.name for entry in entries if entry.is_dir()]
    yield folder, folders, [entry.name for entry in entries if entry.is_file()]
    for name in folders:
        yield from _walk(os.path.join(folder, name), visits)
