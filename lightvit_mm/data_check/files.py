"""Reads image files once, several at a time."""

import io
import sys
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import numpy as np
from mmengine.fileio import get
from mmengine.utils import track_iter_progress
from PIL import Image

_ORIENTATION = 0x0112  # tag of EXIF; 1 is upright


class ImageFile(NamedTuple):
    """What is in a file.

    Args:
        size: Width and height as stored, None if that was not read.
        orientation: EXIF's, in 1 to 8; 5 to 8 swap width and height.
        num_channels: Numbers per pixel; 1 for a palette.
        values: Values of a segmentation map, in ascending order.
        is_missing: Whether there is no such file.
        error: Why it cannot be read, '' if it can.
    """

    size: tuple[int, int] | None = None
    orientation: int = 1
    num_channels: int = 3
    values: tuple[int, ...] = ()
    is_missing: bool = False
    error: str = ''


def read_image(image: Image.Image) -> ImageFile:
    orientation = image.getexif().get(_ORIENTATION, 1)
    return ImageFile(image.size, orientation, len(image.getbands()))


def read_map(image: Image.Image) -> ImageFile:
    """Read a segmentation map as mmseg does, by Pillow and as it is."""
    num_channels = len(image.getbands())
    values = np.unique(np.array(image)) if num_channels == 1 else ()
    return ImageFile(
        image.size, num_channels=num_channels, values=tuple(map(int, values))
    )


Reader = Callable[[Image.Image], ImageFile]


def read_files(readers: dict[str, Reader | None]) -> dict[str, ImageFile]:
    """Read files, with a progress bar on stderr.

    Args:
        readers: By file: what reads the image that Pillow decodes, or None
            for what Pillow need not know.
    """
    if not readers:
        return {}
    with ThreadPool() as pool:
        files = pool.imap(_read, readers.items(), chunksize=8)
        # To its end, where the bar ends its line.
        read = list(track_iter_progress((files, len(readers)), file=sys.stderr))
    return dict(zip(readers, read))


def _read(task: tuple[str, Reader | None]) -> ImageFile:
    path, reader = task
    try:
        data = get(path)
    except FileNotFoundError:
        return ImageFile(is_missing=True)
    except OSError as error:
        return ImageFile(error=str(error))
    if reader is None:
        return ImageFile()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return reader(image)
    # Decoders raise whatever they stumble over in a broken file.
    except Exception as error:
        return ImageFile(error=f'{type(error).__name__}: {error}')
