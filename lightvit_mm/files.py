"""File types, files in folders, reading, and atomic writing."""

import codecs
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .untrusted import check_is_file, check_json_fits_memory, parse_json, walk

PathLike = str | Path

# Of the folders of drafts, next to what they replace: a move is atomic only within a
# file system.
_PREFIX = '.writing_'

_PACKAGE = Path(__file__).parent
_MIM = _PACKAGE / '.mim'
# The folder of configs/ and model-index.yml: of the wheel, or of the repository.
ROOT = _MIM if _MIM.is_dir() else _PACKAGE.parent

IMAGE_SUFFIXES = (
    '.bmp',
    '.jpeg',
    '.jpg',
    '.pgm',
    '.png',
    '.ppm',
    '.tif',
    '.tiff',
    '.webp',
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name holds no data, such as macOS's ._x.jpg."""
    return name.startswith('.') or name == '__MACOSX'


def is_below(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or lies in it."""
    # Path.resolve fails for circular links.
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def is_image(name: str) -> bool:
    """Whether a file of this name is an image."""
    # Libraries that write images find no suffix in names such as ..jpg.
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def files_below(folder: Path, skip: Path | None = None) -> Iterator[Path]:
    """The files in a folder and its subfolders, without hidden ones.

    They are sorted by name, those of a folder before those of its subfolders.
    Links to folders are followed; pipes and devices are left out. A folder that does
    not exist has no files.

    Args:
        folder: The folder.
        skip: Folder whose files are left out.

    Raises:
        OSError: If a folder cannot be read, or links lead to it again and again.
    """
    if not folder.is_dir():
        return
    for parent, folders, names in walk(folder):
        if skip is not None and is_below(Path(parent), skip):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (Path(parent, n) for n in sorted(names) if not is_hidden(n))


def image_files(folder: Path, skip: Path | None = None) -> list[Path]:
    """The images of :func:`files_below`, sorted by path."""
    return sorted(path for path in files_below(folder, skip) if is_image(path.name))


def read_text(path: Path) -> str:
    """The content of a text file in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        OSError: If it cannot be read, or is a pipe or a device.
        ValueError: If it has another encoding.
    """
    check_is_file(path)
    data = path.read_bytes()
    # Editors on Windows write a byte order mark first.
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode('utf-16' if is_utf16 else 'utf-8-sig')
    except UnicodeDecodeError:
        text = '\0'
    # Another encoding, such as Latin-1, would need a guess.
    if '\0' in text:
        raise ValueError(
            f'{path} is neither UTF-8 nor UTF-16 with a byte order mark: save it '
            'as UTF-8'
        )
    return text


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: If it cannot be read, is a pipe or a device, or does not fit into
            memory.
        ValueError: If it is not JSON, or is nested too deeply.
    """
    check_is_file(path)
    check_json_fits_memory(path)
    # From bytes, json recognizes UTF-8, with a byte order mark too, and UTF-16.
    return parse_json(path.read_bytes(), path)


@contextmanager
def written_whole(path: Path, *suffixes: str) -> Iterator[Path]:
    """Yield a path to write to, which replaces ``path`` if nothing fails.

    Args:
        path: The file. Its folder is created if needed.
        suffixes: Suffixes of files that are written next to it and replaced
            together with it.

    Raises:
        OSError: If the folder cannot be created or written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        drafts = TemporaryDirectory(prefix=_prefix(path), dir=path.parent)
    except OSError as error:
        # It names the folder of the draft.
        raise OSError(error.errno, error.strerror, str(path)) from error
    with drafts as folder:
        draft = Path(folder, path.name)
        yield draft
        for suffix in suffixes:
            os.replace(draft.with_suffix(suffix), path.with_suffix(suffix))
        os.replace(draft, path)


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file, which has either its old or its new content at any time.

    This holds too if writing fails, or if the process or the machine stops.

    Raises:
        OSError: If the disk is full, or the folder cannot be written to.
    """
    try:
        with written_whole(path) as draft, open(draft, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        # The error for a full disk does not name the file.
        name = error.filename or str(path)
        raise OSError(error.errno, error.strerror, name) from error


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to write to, which becomes ``path`` if nothing fails.

    Raises:
        FileExistsError: If there is something at ``path`` but an empty folder.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(
            f'{path} already exists. Remove it, or name another folder for the result'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=_PREFIX, dir=path.parent) as folder:
        draft = Path(folder, 'dataset')
        draft.mkdir()
        yield draft
        if path.exists():
            path.rmdir()  # Windows does not replace folders.
        draft.rename(path)


def remove_drafts(path: Path) -> None:
    """Remove the drafts of a file that killed processes left behind.

    Call it only where no other process can be writing the same file.
    """
    _remove_folders(path.parent, _prefix(path))


def remove_all_drafts(folder: Path) -> None:
    """Remove all drafts in a folder that killed processes left behind.

    Call it only if no other process can be writing to the folder.
    """
    _remove_folders(folder, _PREFIX)


def _remove_folders(parent: Path, prefix: str) -> None:
    for path in parent.glob(f'{prefix}*'):
        # Links and files of this name are no drafts.
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def _prefix(path: Path) -> str:
    # Not the name itself, which may be as long as the file system allows.
    return f'{_PREFIX}{hashlib.sha1(path.name.encode()).hexdigest()[:12]}_'
