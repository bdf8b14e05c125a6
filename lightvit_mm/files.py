"""Names of files, and files that are whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Union

PathLike = Union[str, Path]

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


@contextmanager
def written_whole(path: Path, *suffixes: str) -> Iterator[Path]:
    """Yield a path to write to, which becomes ``path`` if all goes well.

    Args:
        path: The file. Its folder is made.
        suffixes: Suffixes of files that are written beside it, which take
            their place together with it.

    Raises:
        OSError: If the folder cannot be made or written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, for only within a file system is a move atomic.
    with TemporaryDirectory(prefix='.writing_', dir=path.parent) as folder:
        draft = Path(folder, path.name)
        yield draft
        for suffix in suffixes:
            os.replace(draft.with_suffix(suffix), path.with_suffix(suffix))
        os.replace(draft, path)
