"""Reads image files once, several at a time."""

import io
import sys
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.fileio import get
from mmengine.utils import track_iter_progress
from PIL import Image

from ..config import type_name, walk
from .report import Content, Finding, Kind, Picture, listed
from .sources import Source

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


MISSING = Kind(
    'images that are not there',
    'See whether data_root and data_prefix of the data set are right, and '
    'the names in its annotations',
)
BROKEN = Kind(
    'images that cannot be decoded',
    'Copy or store them again; a part of each may be lost',
)
TURNED = Kind(
    'images turned by EXIF, annotations not',
    "Set color_type='color_ignore_orientation' in LoadImageFromFile, or store "
    'the images upright, without the tag, where the annotations fit',
)
MAYBE_TURNED = Kind(
    'images turned by EXIF',
    'Their size does not tell whether the annotations are turned as well; '
    'look at them with --show-dir. If they do not fit, set '
    "color_type='color_ignore_orientation' in LoadImageFromFile",
    is_fault=False,
)
OTHER_SIZE = Kind(
    'images of another size than annotated',
    'Annotate the images as they are, or restore their size: boxes and masks '
    'do not fit them',
)


def image_reader(source: Source) -> Reader | None:
    """What reads the images of a data set; None for what is no picture."""
    is_picture = type_name(source.loader()) == 'LoadImageFromFile'
    return read_image if is_picture else None


def check_images(
    source: Source, content: Content, files: dict[str, ImageFile]
) -> Iterator[Finding]:
    """What is wrong with the images of a data set.

    Args:
        source: The data set.
        content: What was read of it.
        files: What is in the files of its images and maps.
    """
    for picture in content.pictures:
        file = files[picture.path]
        if file.is_missing:
            yield Finding(MISSING, picture.path, picture.entry)
        elif file.error:
            yield Finding(BROKEN, picture.path, f'{picture.entry}, {file.error}')
        elif file.size is not None:
            yield from _check_size(source, picture, file, files)


def _check_size(
    source: Source, picture: Picture, file: ImageFile, files: dict[str, ImageFile]
) -> Iterator[Finding]:
    annotated = picture.size
    if picture.mask is not None:
        annotated = files[picture.mask].size or annotated
    if annotated is None:
        return
    turns = file.orientation != 1 and _turns(source)
    loaded = file.size[::-1] if turns and file.orientation >= 5 else file.size
    entry = f'{picture.entry}, orientation {file.orientation}'
    if loaded != annotated:
        sizes = f'annotated {_text(annotated)}, loaded {_text(loaded)}'
        if turns and file.size == annotated:
            yield Finding(TURNED, picture.path, f'{entry}, {sizes}')
        else:
            yield Finding(OTHER_SIZE, picture.path, f'{picture.entry}, {sizes}')
    elif turns and file.size == loaded:
        yield Finding(MAYBE_TURNED, picture.path, entry)


def _turns(source: Source) -> bool:
    """Whether the images are turned as EXIF says, see mmcv.imread."""
    loader = source.loader()
    return loader.get('color_type', 'color') in ('color', 'grayscale') and loader.get(
        'imdecode_backend', 'cv2'
    ) in ('cv2', 'pillow')


def _text(size: tuple[int, int]) -> str:
    return f'{size[0]} x {size[1]}'


MAP_MISSING = Kind(
    'segmentation maps that are not there',
    'See whether data_prefix.seg_map_path and seg_map_suffix are right; an '
    'image without a map stops the training',
)
MAP_BROKEN = Kind('segmentation maps that cannot be decoded', 'Store them again')
COLOURED = Kind(
    'segmentation maps of colours',
    'Store one channel of the numbers of the classes, as a PNG file of 8 bits '
    'or with a palette',
)
UNKNOWN_VALUE = Kind(
    'values of no class in segmentation maps',
    'See whether the classes are complete and reduce_zero_label is right, and '
    'store what is to be ignored as 255',
)


def map_reader(source: Source) -> Reader | None:
    """What reads the maps of a data set; None for what is no picture."""
    is_map = any(type_name(t) == 'LoadAnnotations' for t in walk(source.transforms))
    return read_map if is_map else None


def ignored_labels(cfg: Config) -> set[int]:
    """Labels that all heads of a segmentor ignore; 255 by default."""
    heads = [
        head
        for key in ('decode_head', 'auxiliary_head')
        for head in walk((cfg.get('model') or {}).get(key))
        if 'num_classes' in head
    ]
    ignored = [{head.get('ignore_index', 255)} for head in heads]
    return set.intersection(*ignored) if ignored else {255}


def check_masks(
    content: Content, files: dict[str, ImageFile], ignored: set[int]
) -> Iterator[Finding]:
    """What is wrong with the segmentation maps of a data set.

    Args:
        content: What was read of it.
        files: What is in the files of its maps.
        ignored: Labels that the heads ignore.
    """
    for picture in content.pictures:
        if picture.mask is None:
            continue
        file = files[picture.mask]
        entry = f'map of {picture.path}'
        if file.is_missing:
            yield Finding(MAP_MISSING, picture.mask, entry)
        elif file.error:
            yield Finding(MAP_BROKEN, picture.mask, f'{entry}, {file.error}')
        elif file.num_channels != 1:
            if file.size is not None:
                yield Finding(
                    COLOURED, picture.mask, f'{entry}, {file.num_channels} channels'
                )
        elif content.num_classes is not None:
            unknown = [
                _value(value, content.label_of_value)
                for value in file.values
                if not _is_known(value, content, ignored)
            ]
            if unknown:
                yield Finding(
                    UNKNOWN_VALUE,
                    picture.mask,
                    f'{entry}, values {listed(unknown)}; the classes are 0 to '
                    f'{content.num_classes - 1}',
                )


def _is_known(value: int, content: Content, ignored: set[int]) -> bool:
    if not 0 <= value <= 255:
        return False
    label = int(content.label_of_value[value])
    return label < content.num_classes or label in ignored


def _value(value: int, label_of_value: np.ndarray) -> str:
    if not 0 <= value <= 255 or label_of_value[value] == value:
        return str(value)
    return f'{value} (label {label_of_value[value]})'
