"""Folders of classes, as mmpretrain's CustomDataset reads them."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from ..files import files_below, is_hidden
from .report import Finding, Kind
from .sources import Source

EMPTY_CLASS = Kind(
    'class folders without images that the dataset reads',
    'Add images, or remove the folder in all splits. Convert files of other types, '
    'for example to PNG',
)
IGNORED_IMAGES = Kind(
    'images in class folders whose suffix the dataset ignores',
    'Convert them, for example to PNG',
    is_fault=False,
)
HIDDEN_CLASS = Kind(
    'hidden folders, which become classes',
    "Remove them, or set type='lightvit_mm.ClassFolderDataset', which ignores them",
)
HIDDEN = Kind(
    'hidden folders, which are ignored',
    'Remove them, or go on if they hold no data',
    is_fault=False,
)


def has_class_folders(source: Source) -> bool:
    """Whether the class of a dataset finds its classes in folders."""
    return (
        hasattr(source.cls, '_find_samples')
        and not source.cfg.get('ann_file')
        and source.cfg.get('with_label', True)
    )


def check_hidden_folders(source: Source, root: str) -> Iterator[Finding]:
    """Find hidden folders next to the class folders.

    Args:
        source: A dataset that :func:`has_class_folders` accepts.
        root: The folder of its class folders.
    """
    method = source.cls._find_samples.__qualname__
    kind = HIDDEN_CLASS if method == 'CustomDataset._find_samples' else HIDDEN
    for folder in _folders(root):
        if is_hidden(folder.name):
            num_files = sum(len(names) for _, _, names in os.walk(folder))
            yield Finding(kind, str(folder), f'{num_files} files')


def check_suffixes(root: str, extensions: tuple[str, ...]) -> Iterator[Finding]:
    """Find class folders with files that the dataset ignores.

    Args:
        root: The folder of the class folders.
        extensions: The suffixes that the dataset reads, in lower case.
    """
    images = {*Image.registered_extensions(), '.heic', '.heif'}
    for folder in _folders(root):
        if is_hidden(folder.name):
            continue
        suffixes = Counter(path.suffix.lower() for path in files_below(folder))
        ignored = suffixes - Counter({x: suffixes[x] for x in extensions})
        if ignored == suffixes:
            text = f'only {_text(ignored)}' if ignored else 'no files'
            yield Finding(EMPTY_CLASS, str(folder), text)
            continue
        ignored = Counter({x: n for x, n in ignored.items() if x in images})
        if ignored:
            yield Finding(IGNORED_IMAGES, str(folder), _text(ignored))


def _folders(root: str) -> list[Path]:
    return sorted(path for path in Path(root).glob('*') if path.is_dir())


def _text(suffixes: Counter[str]) -> str:
    return ', '.join(
        f'{n} {suffix or "without suffix"}' for suffix, n in sorted(suffixes.items())
    )
