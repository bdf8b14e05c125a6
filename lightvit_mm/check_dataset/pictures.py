"""Image files: each is read once, as its dataset does, then checked."""

import io
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import mmcv
import numpy as np
from mmengine.fileio import get
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE

from ..config import type_name
from ..images import is_cut_short
from .reading import Files, Reader, check_missing, read_bytes, reason
from .report import Finding, Kind
from .sources import Content, Picture, Source

MISSING = Kind(
    'missing images',
    'Check data_root and data_prefix of the dataset and the file names in its '
    'annotations',
)
BROKEN = Kind(
    'images that cannot be decoded',
    'Copy or save them again, with 8 bits per channel; a part of each may be lost',
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
REDUCED = Kind(
    'images with more than 8 bits per channel, which are reduced to 8',
    'If the values after loading are few, the images look black or white to the '
    'network. Scale them to 0 to 255 and save them with 8 bits',
    is_fault=False,
)

_PNG_DEPTH = 24  # byte of the file
_SHALLOW = ('BMP', 'GIF', 'JPEG', 'MPO', 'WEBP')  # formats of 8 bits


class ImageFile(NamedTuple):
    """What an image file holds.

    Args:
        digest: Hash of the file.
        size: Stored width and height, None if not decoded.
        loaded: Width and height after loading, None if not decoded.
        orientation: EXIF orientation, 1 to 8; 5 to 8 swap width and height.
        follows_exif: Whether the loader applies the orientation.
        reduction: The values before and after loading if it reduces their
            depth, otherwise ''.
    """

    digest: bytes
    size: tuple[int, int] | None = None
    loaded: tuple[int, int] | None = None
    orientation: int = 1
    follows_exif: bool = False
    reduction: str = ''


class ImageReader(NamedTuple):
    """Decodes images as mmcv's LoadImageFromFile does.

    Args:
        color_type: Flag of mmcv.imfrombytes.
        backend: Backend of mmcv.imfrombytes.
    """

    color_type: str = 'color'
    backend: str = 'cv2'

    @property
    def follows_exif(self) -> bool:
        """Whether it rotates images as EXIF says, see mmcv.imread."""
        return self.color_type in ('color', 'grayscale') and self.backend in (
            'cv2',
            'pillow',
        )

    def __call__(self, path: str) -> ImageFile:
        """Read a file.

        Raises:
            Exception: If it is missing or broken, or training could not load it.
        """
        data = read_bytes(path)
        pixels = mmcv.imfrombytes(data, flag=self.color_type, backend=self.backend)
        if pixels is None:
            raise ValueError(
                f'{self.backend} cannot decode it with color_type='
                f'{self.color_type!r}; {_pillow_view(data)}'
            )
        loaded = pixels.shape[1::-1]
        try:
            header = Image.open(io.BytesIO(data))
        # Other backends may read formats and sizes that Pillow refuses.
        except (UnidentifiedImageError, Image.DecompressionBombError):
            return ImageFile(_digest(data), loaded, loaded)
        if is_cut_short(io.BytesIO(data)):
            raise ValueError('the file is truncated')
        with header:
            return ImageFile(
                _digest(data),
                header.size,
                loaded,
                header.getexif().get(ExifTags.Base.Orientation, 1),
                self.follows_exif,
                _reduction(header, data, pixels),
            )


def read_digest(path: str) -> ImageFile:
    """Read a file that is not decoded."""
    return ImageFile(_digest(get(path)))


def image_reader(source: Source) -> Reader:
    """How to read the images of a dataset."""
    loader = source.loader()
    if type_name(loader) != 'LoadImageFromFile':
        return read_digest
    keys = dict(color_type='color_type', imdecode_backend='backend')
    return ImageReader(**{keys[key]: loader[key] for key in keys if key in loader})


def image_tasks(content: Content) -> Iterator[tuple[str, Reader]]:
    """The images of a dataset and how to read them."""
    return ((picture.path, content.image_reader) for picture in content.pictures)


def check_images(content: Content, files: Files) -> Iterator[Finding]:
    """Find faults in the images of a dataset.

    Args:
        content: Its content.
        files: What its images and maps hold.
    """
    missing = []
    for picture in content.pictures:
        file = files[picture.path, content.image_reader]
        if isinstance(file, FileNotFoundError):
            missing.append((picture.path, picture.entry))
        elif isinstance(file, Exception):
            yield Finding(BROKEN, picture.path, f'{picture.entry}, {reason(file)}')
        elif file.size is not None:
            annotated = _annotated_size(picture, content, files)
            if annotated is not None:
                yield from _check_size(picture, file, annotated)
            if file.reduction:
                yield Finding(
                    REDUCED, picture.path, f'{picture.entry}, {file.reduction}'
                )
    yield from check_missing(MISSING, missing)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _pillow_view(data: bytes) -> str:
    """What Pillow says about an image that another backend cannot decode."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except Exception as error:
        return reason(error)
    return f'Pillow can, its mode is {image.mode!r}'


def _may_be_deep(header: Image.Image, data: bytes) -> bool:
    """Whether an image may have more than 8 bits per channel."""
    if header.format == 'PNG':
        return data[_PNG_DEPTH] > 8
    if header.format == 'TIFF':
        return max(header.tag_v2.get(BITSPERSAMPLE, (1,))) > 8
    return header.format not in _SHALLOW


def _reduction(header: Image.Image, data: bytes, pixels: np.ndarray) -> str:
    """The values before and after loading if their depth is reduced, or ''."""
    if pixels.dtype != np.uint8 or not _may_be_deep(header, data):
        return ''
    stored = mmcv.imfrombytes(data, flag='unchanged', backend='cv2')
    if stored is None or stored.dtype == np.uint8:
        return ''
    of = f' of {np.iinfo(stored.dtype).max}' if stored.dtype.kind in 'iu' else ''
    return (
        f'values {stored.min()} to {stored.max()}{of}, {pixels.min()} to '
        f'{pixels.max()} after loading'
    )


def _annotated_size(
    picture: Picture, content: Content, files: Files
) -> tuple[int, int] | None:
    file = files.get((picture.mask, content.map_reader))
    return getattr(file, 'size', None) or picture.size


def _check_size(
    picture: Picture, file: ImageFile, annotated: tuple[int, int]
) -> Iterator[Finding]:
    rotates = file.orientation != 1 and file.follows_exif
    entry = f'{picture.entry}, orientation {file.orientation}'
    if file.loaded != annotated:
        sizes = f'annotated {_text(annotated)}, loaded {_text(file.loaded)}'
        if rotates and file.size == annotated:
            yield Finding(ROTATED, picture.path, f'{entry}, {sizes}')
        else:
            yield Finding(OTHER_SIZE, picture.path, f'{picture.entry}, {sizes}')
    elif rotates and file.size == file.loaded:
        yield Finding(MAYBE_ROTATED, picture.path, entry)


def _text(size: tuple[int, int]) -> str:
    return f'{size[0]} x {size[1]}'
