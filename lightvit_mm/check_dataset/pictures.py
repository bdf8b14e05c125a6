"""Image files and segmentation maps: each is read once, then checked."""

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
from .report import Finding, Kind, listed
from .sources import Content, Picture, Source

MISSING = Kind(
    'missing images',
    'Check data_root and data_prefix of the dataset and the file names in its '
    'annotations',
)
BROKEN = Kind(
    'images that cannot be decoded',
    'Copy or save them again; a part of each may be lost',
)
ROTATED = Kind(
    'images rotated by EXIF, without their annotations',
    "Set color_type='color_ignore_orientation' in LoadImageFromFile, or save "
    'the images without the EXIF tag, in the orientation of the annotations',
)
MAYBE_ROTATED = Kind(
    'images rotated or mirrored by EXIF',
    'Their size does not show whether the annotations are, too; look at them '
    "with --show-dir. If they do not fit, set color_type='color_ignore_orientation' "
    'in LoadImageFromFile',
    is_fault=False,
)
OTHER_SIZE = Kind(
    'images whose size differs from the annotated one',
    'Annotate the images as they are, or restore their size: boxes and masks '
    'do not fit them',
)
MAP_MISSING = Kind(
    'missing segmentation maps',
    'Check data_prefix.seg_map_path and seg_map_suffix; training stops at an '
    'image without a map',
)
MAP_BROKEN = Kind('segmentation maps that cannot be decoded', 'Save them again')
COLOURED = Kind(
    'segmentation maps with colours',
    'Save them as PNG with one 8-bit channel that holds the class numbers; a '
    'palette is fine',
)
UNKNOWN_VALUE = Kind(
    'segmentation maps with values outside the classes',
    'Check that the classes are complete and reduce_zero_label is right. Use '
    '255 for pixels to ignore',
)

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright


class ImageFile(NamedTuple):
    """What an image file holds.

    Args:
        size: Stored width and height, None if not read.
        orientation: EXIF orientation, 1 to 8; 5 to 8 swap width and height.
        num_channels: Values per pixel; 1 for a palette.
        values: Values of a segmentation map, in ascending order.
        is_missing: Whether the file is missing.
        error: Why it cannot be read, '' if it can.
    """

    size: tuple[int, int] | None = None
    orientation: int = 1
    num_channels: int = 3
    values: tuple[int, ...] = ()
    is_missing: bool = False
    error: str = ''


Reader = Callable[[Image.Image], ImageFile]


def image_reader(source: Source) -> Reader | None:
    """How to read the images of a dataset, None if they are not pictures."""
    is_picture = type_name(source.loader()) == 'LoadImageFromFile'
    return read_image if is_picture else None


def map_reader(source: Source) -> Reader | None:
    """How to read the maps of a dataset, None if they are not pictures."""
    is_map = any(type_name(t) == 'LoadAnnotations' for t in walk(source.transforms))
    return read_map if is_map else None


def read_image(image: Image.Image) -> ImageFile:
    """Read the size and orientation of an image."""
    orientation = image.getexif().get(_ORIENTATION, 1)
    return ImageFile(image.size, orientation, len(image.getbands()))


def read_map(image: Image.Image) -> ImageFile:
    """Read a segmentation map as mmseg does: unchanged, with Pillow."""
    num_channels = len(image.getbands())
    values = np.unique(np.array(image)) if num_channels == 1 else ()
    return ImageFile(
        image.size, num_channels=num_channels, values=tuple(map(int, values))
    )


def read_files(readers: dict[str, Reader | None]) -> dict[str, ImageFile]:
    """Read files in parallel, with a progress bar on stderr.

    Args:
        readers: How to read each file once Pillow has decoded it. None: it
            only has to exist.
    """
    if not readers:
        return {}
    with ThreadPool() as pool:
        files = pool.imap(_read, readers.items(), chunksize=8)
        # A list, because zip would stop before the bar ends its line.
        read = list(track_iter_progress((files, len(readers)), file=sys.stderr))
    return dict(zip(readers, read))


def check_images(
    source: Source, content: Content, files: dict[str, ImageFile]
) -> Iterator[Finding]:
    """Find faults in the images of a dataset.

    Args:
        source: The dataset.
        content: Its content.
        files: What its images and maps hold.
    """
    for picture in content.pictures:
        file = files[picture.path]
        if file.is_missing:
            yield Finding(MISSING, picture.path, picture.entry)
        elif file.error:
            yield Finding(BROKEN, picture.path, f'{picture.entry}, {file.error}')
        elif file.size is not None:
            yield from _check_size(source, picture, file, files)


def ignored_labels(cfg: Config) -> set[int]:
    """The labels that all heads of a segmentor ignore; 255 by default."""
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
    """Find faults in the segmentation maps of a dataset.

    Args:
        content: Its content.
        files: What its maps hold.
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
    # Decoders raise many kinds of exceptions for a broken file.
    except Exception as error:
        return ImageFile(error=f'{type(error).__name__}: {error}')


def _check_size(
    source: Source, picture: Picture, file: ImageFile, files: dict[str, ImageFile]
) -> Iterator[Finding]:
    annotated = picture.size
    if picture.mask is not None:
        annotated = files[picture.mask].size or annotated
    if annotated is None:
        return
    rotates = file.orientation != 1 and _applies_exif(source)
    loaded = file.size[::-1] if rotates and file.orientation >= 5 else file.size
    entry = f'{picture.entry}, orientation {file.orientation}'
    if loaded != annotated:
        sizes = f'annotated {_text(annotated)}, loaded {_text(loaded)}'
        if rotates and file.size == annotated:
            yield Finding(ROTATED, picture.path, f'{entry}, {sizes}')
        else:
            yield Finding(OTHER_SIZE, picture.path, f'{picture.entry}, {sizes}')
    elif rotates and file.size == loaded:
        yield Finding(MAYBE_ROTATED, picture.path, entry)


def _applies_exif(source: Source) -> bool:
    """Whether images are rotated as EXIF says, see mmcv.imread."""
    loader = source.loader()
    return loader.get('color_type', 'color') in ('color', 'grayscale') and loader.get(
        'imdecode_backend', 'cv2'
    ) in ('cv2', 'pillow')


def _text(size: tuple[int, int]) -> str:
    return f'{size[0]} x {size[1]}'


def _is_known(value: int, content: Content, ignored: set[int]) -> bool:
    if not 0 <= value <= 255:
        return False
    label = int(content.label_of_value[value])
    return label < content.num_classes or label in ignored


def _value(value: int, label_of_value: np.ndarray) -> str:
    if not 0 <= value <= 255 or label_of_value[value] == value:
        return str(value)
    return f'{value} (label {label_of_value[value]})'
