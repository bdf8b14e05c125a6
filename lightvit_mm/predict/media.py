"""Reads images and videos, and writes them with the results drawn in.

Pictures are BGR, uint8, (h, w, 3), as in OpenCV and OpenMMLab.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmengine.dataset import Compose
from mmengine.logging import print_log
from PIL import Image, UnidentifiedImageError

from ..files import is_below, written_whole
from ..images import is_cut_short
from ..messages import lines, listed
from ..untrusted import check_fits_memory
from .sources import CODECS, Sources, mask_names

# OpenCV, which reads the images, has a limit of 2**30 pixels. Pillow's is lower.
Image.MAX_IMAGE_PIXELS = 2**30
BYTES_PER_PIXEL = 20  # of memory to predict and draw, at least; 23 were measured
DARK = 64  # An image without a value above it looks nearly black.


class Damaged:
    """Files that cannot be read: the first ends the run, or all are skipped.

    Args:
        skip: Whether to skip them.
    """

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.names: list[str] = []

    def add(self, name: str, error: ValueError) -> None:
        """Add a file.

        Args:
            name: Its name in the results.
            error: Raised unless files are skipped.
        """
        if not self.skip:
            raise error
        self.names.append(name)


class TooLarge(ValueError):
    """An image that needs more memory than is available."""


@contextmanager
def naming_too_large(name: str, image: np.ndarray) -> Iterator[None]:
    """Name the image if a library runs out of memory.

    Args:
        name: Its name in the results.
        image: Its pixels, (h, w, C).

    Raises:
        TooLarge: If a library runs out of memory.
    """
    try:
        yield
    # OpenCV and PyTorch have their own errors for this.
    except (MemoryError, RuntimeError, cv2.error) as error:
        if not isinstance(error, MemoryError) and 'memory' not in str(error):
            raise
        h, w = image.shape[:2]
        raise TooLarge(
            f'The image {name} of {w} x {h} pixels needs more memory than is '
            'available: make it smaller or remove it, or add --skip-bad'
        ) from error


class ImageReader:
    """Reads image files with the loader of a config, one at a time.

    Args:
        paths: The files by name.
        load: The loader.
        damaged: Takes the files that cannot be read.

    Raises:
        ValueError: If OpenCV does not know the format of a file, unless such files
            are skipped.
    """

    def __init__(self, paths: dict[str, Path], load: Compose, damaged: Damaged) -> None:
        self.load = load
        self.damaged = damaged
        # Checked by the first bytes, before anything is computed.
        unreadable = {
            name: path
            for name, path in paths.items()
            if not _is_safe_to_open(path) or not cv2.haveImageReader(str(path))
        }
        self.paths = {n: path for n, path in paths.items() if n not in unreadable}
        shown = lines([listed(unreadable.values(), most=3)])
        for name in unreadable:
            fault = (
                'not an image, or damaged, or its name is not UTF-8; remove, replace '
                'or rename it, or add --skip-bad'
            )
            damaged.add(name, ValueError(f'{shown}: {fault}'))

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[tuple[str, dict]]:
        """Names, and what the loader returns for each image.

        Raises:
            ValueError: If an image cannot be read, unless such files are skipped.
        """
        has_warned = False
        for name, path in self.paths.items():
            try:
                loaded = read_image(path, self.load, lines([str(path)]))
            except ValueError as error:
                hint = (
                    'replace or remove it, or add --skip-bad. The results of the '
                    'images before it are drawn, but not in the JSON file'
                )
                self.damaged.add(name, ValueError(f'{error}: {hint}'))
                continue
            if not has_warned:
                has_warned = _warn_if_dark(path, loaded['img'])
            yield name, loaded


class VideoReader:
    """Reads the frames of a video.

    A frame is named by the video and its number, counted from 0.

    Args:
        path: The file.
        name: Its name in the results.
        load: The loader of a config. Frames are given its type.

    Raises:
        ValueError: If it cannot be opened or has no frame, or the loader does not
            load colours.
    """

    def __init__(self, path: Path, name: str, load: Compose) -> None:
        self.path = path
        self.name = name
        (loader,) = load.transforms
        if not getattr(loader, 'color_type', 'color').startswith('color'):
            raise ValueError(
                f'The video {path} has three channels, but the config loads images '
                f'with color_type={loader.color_type!r}: predict on images instead'
            )
        self.dtype = np.float32 if getattr(loader, 'to_float32', False) else np.uint8
        video = mmcv.VideoReader(str(path)) if _is_safe_to_open(path) else None
        if video is None or not video.opened or video.read() is None:
            raise ValueError(
                f'The video {path} cannot be opened: it is damaged, its name is not '
                'UTF-8, or OpenCV does not know its codec'
            )
        self.fps = video.fps  # frames per second
        self._length = video.frame_cnt

    def __len__(self) -> int:
        """The number of frames that the file announces, 0 if none."""
        return max(self._length, 0)

    def __iter__(self) -> Iterator[tuple[str, dict]]:
        """Names and frames, as a loader would return them."""
        number = 0
        for number, frame in enumerate(mmcv.VideoReader(str(self.path)), 1):
            name = f'{self.name}/{number - 1:06d}'
            hw = frame.shape[:2]
            yield (
                name,
                dict(
                    img=frame.astype(self.dtype, copy=False),
                    img_path=name,
                    img_id=0,
                    img_shape=hw,
                    ori_shape=hw,
                ),
            )
        if number < len(self):
            print_log(
                f'The video {self.path} announces {len(self)} frames, but only '
                f'{number} could be read',
                logger='current',
                level=logging.WARNING,
            )


class ImageWriter:
    """Writes each picture, and each mask, to a file.

    Args:
        out: Folder of the folders pictures and masks.
        masks: The name of the mask for each name of a picture.
    """

    def __init__(self, out: Path, masks: dict[str, str]) -> None:
        self.out = out
        self.masks = masks

    def __enter__(self) -> 'ImageWriter':
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def write(self, name: str, picture: np.ndarray, mask: np.ndarray | None) -> None:
        """Write a picture, and the class of each pixel if the model has it.

        Raises:
            OSError: If a file cannot be written.
        """
        _write_image(_inside(self.out, 'pictures', name), picture)
        if mask is not None:
            _write_image(_inside(self.out, 'masks', self.masks[name]), mask)


class VideoWriter:
    """Writes pictures as the frames of a video, and no masks.

    The file appears only if the context exits without an error.

    Args:
        path: The file; its suffix is one of ``CODECS``.
        fps: Frames per second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self.fps = fps
        self._file = written_whole(path)
        self._video = cv2.VideoWriter()

    def __enter__(self) -> 'VideoWriter':
        self._draft = self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> bool | None:
        self._video.release()
        return self._file.__exit__(*error)

    def write(self, name: str, picture: np.ndarray, mask: np.ndarray | None) -> None:
        """Append a picture.

        Raises:
            OSError: If the video cannot be written.
        """
        if not self._video.isOpened():
            self._open(picture)
        self._video.write(picture)

    def _open(self, first: np.ndarray) -> None:
        # Only a frame shows the size: the header of the source may rotate it.
        h, w = first.shape[:2]
        codec = cv2.VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])
        if not self._video.open(str(self._draft), codec, self.fps, (w, h)):
            raise OSError(
                f'The video {self.path} cannot be written with {self.fps:g} '
                'frames per second'
            )


def open_readers(
    sources: Sources, load: Compose, damaged: Damaged
) -> list[ImageReader | VideoReader]:
    """A reader for all images, and one for each video.

    Args:
        sources: The files.
        load: The loader of a config.
        damaged: Takes the files that cannot be read.

    Raises:
        ValueError: If a file cannot be read, unless such files are skipped.
    """
    readers: list[ImageReader | VideoReader] = []
    if sources.images:
        readers.append(ImageReader(sources.images, load, damaged))
    for name, path in sources.videos.items():
        try:
            readers.append(VideoReader(path, name, load))
        except ValueError as error:
            damaged.add(name, error)
    return readers


def open_writer(
    reader: ImageReader | VideoReader, out: Path
) -> ImageWriter | VideoWriter:
    """A writer into ``out``, of images for images and of a video for a video."""
    if isinstance(reader, VideoReader):
        return VideoWriter(_inside(out, 'pictures', reader.name), reader.fps)
    return ImageWriter(out, mask_names(reader.paths))


def picture(image: np.ndarray) -> np.ndarray:
    """A picture to draw on, of what a loader returns.

    The first of one or two channels becomes grey, the first three of more become
    the colours. Values that do not fit into 8 bits are scaled to 0 to 255.

    Args:
        image: Shape (h, w) or (h, w, C).
    """
    if image.ndim == 2:
        image = image[..., None]
    image = image[..., :3] if image.shape[2] >= 3 else image[..., [0, 0, 0]]
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 255:
        image = (image - low) * (255 / max(high - low, 1))
    return np.ascontiguousarray(image, dtype=np.uint8)


def _is_safe_to_open(path: Path) -> bool:
    """Whether OpenCV can open a file without waiting forever or crashing.

    OpenCV waits for pipes and crashes if a name is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return path.is_file()


def read_image(
    path: Path, load: Compose, name: str, most_pixels: int | None = None
) -> dict:
    """What the loader returns for an image.

    Args:
        path: The file.
        load: The loader of a config.
        name: What the error calls the image.
        most_pixels: Refuse larger images, and those whose size Pillow cannot read.

    Raises:
        ValueError: If the image cannot be read.
    """
    try:
        _check_size(path, name, most_pixels)
        loaded = load(dict(img_path=str(path), img_id=0))
        fault = 'is damaged' if loaded is None or is_cut_short(path) else None
    # Each decoder raises its own exceptions.
    except Exception as error:
        # The error of mmcv's loader, without the path that compat adds.
        fault = _fault(path, error.__cause__ or error)
    if fault is not None:
        raise ValueError(f'The image {name} {fault}')
    return loaded


def _check_size(path: Path, name: str, most_pixels: int | None) -> None:
    try:
        with Image.open(path) as header:
            pixels = header.width * header.height
    # OpenCV reads more formats, and explains what it refuses.
    except (UnidentifiedImageError, Image.DecompressionBombError):
        if most_pixels is not None:
            raise ValueError(
                f'expected a JPEG, PNG or similar file of at most {most_pixels} pixels'
            ) from None
        return
    check_fits_memory(name, BYTES_PER_PIXEL * pixels)
    if most_pixels is not None and pixels > most_pixels:
        raise ValueError(f'it has {pixels} pixels, expected at most {most_pixels}')


def _fault(path: Path, error: Exception) -> str:
    """Why an image cannot be loaded."""
    # mmcv's error if OpenCV returns nothing.
    if not isinstance(error, AssertionError):
        return (
            f'cannot be read ({type(error).__name__}: {getattr(error, "err", error)})'
        )
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype in (np.uint8, np.uint16):
        return 'is damaged'
    return f'has pixels of type {pixels.dtype}, expected 8 or 16 bits'


def _warn_if_dark(path: Path, image: np.ndarray) -> bool:
    """Warn of an image of 16 bits that is nearly black in 8 bits.

    Returns:
        Whether it warned.
    """
    if image.dtype != np.uint8 or image.max() >= DARK:
        return False
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        return False
    print_log(
        f'{path} has 16 bits, but only values from {pixels.min()} to {pixels.max()} of '
        '65535: it is nearly black here, and in training. Scale the values of all '
        'images to 0 to 65535, or save them with 8 bits',
        logger='current',
        level=logging.WARNING,
    )
    return True


def _inside(out: Path, *parts: str) -> Path:
    """A path in a folder.

    Raises:
        OSError: If a link leads out of the folder.
    """
    path = out.joinpath(*parts)
    if not is_below(path.parent, out):
        raise OSError(f'{path.parent} leads out of {out} through a link: remove it')
    return path


def _write_image(path: Path, image: np.ndarray) -> None:
    with written_whole(path) as draft:
        if not mmcv.imwrite(image, str(draft)):
            h, w = image.shape[:2]
            raise OSError(
                f'{path} cannot be written: a picture of {w} x {h} '
                'pixels is too large for its format'
            )
