"""Reads images and videos, and writes them with the results drawn in.

Pictures are BGR, uint8, (h, w, 3), as in OpenCV and OpenMMLab.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmengine.logging import print_log
from PIL import Image

from ..files import IMAGE_SUFFIXES, written_whole

# The codec that writes each kind of video.
CODECS = {
    '.avi': 'MJPG',
    '.m4v': 'mp4v',
    '.mkv': 'mp4v',
    '.mov': 'mp4v',
    '.mp4': 'mp4v',
    '.webm': 'VP80',
}


class ImageReader:
    """Reads image files, one at a time.

    Args:
        root: Folder. A picture is named by its path from there.
        paths: The files.

    Raises:
        ValueError: If OpenCV cannot read a file.
    """

    def __init__(self, root: Path, paths: list[Path]) -> None:
        self.root = root
        self.paths = paths
        # Checked by the first bytes, before anything is computed.
        foreign = [str(path) for path in paths if not cv2.haveImageReader(str(path))]
        if foreign:
            more = f' and {len(foreign) - 3} more' if len(foreign) > 3 else ''
            raise ValueError(
                f'{", ".join(foreign[:3])}{more}: not an image, or damaged; '
                'remove or replace it'
            )

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        """Names and pictures.

        Raises:
            ValueError: If an image is damaged.
        """
        for path in self.paths:
            image = cv2.imread(str(path))
            if image is None or _is_cut_short(path):
                raise ValueError(
                    f'The image {path} is damaged: replace or remove it. The '
                    'results of the images before it are drawn, but not in the '
                    'JSON file'
                )
            yield path.relative_to(self.root).as_posix(), image


class VideoReader:
    """Reads the frames of a video.

    A frame is named by the video and its number, counted from 0.

    Args:
        path: The file.

    Raises:
        ValueError: If it cannot be opened or has no frame.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        trial = mmcv.VideoReader(str(path))
        if not trial.opened or trial.read() is None:
            raise ValueError(
                f'The video {path} cannot be opened: it is damaged, or OpenCV '
                'does not know its codec'
            )
        self._video = mmcv.VideoReader(str(path))

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self._video.fps

    def __len__(self) -> int:
        """The number of frames that the file announces, 0 if none."""
        return max(self._video.frame_cnt, 0)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        """Names and frames."""
        number = 0
        for number, frame in enumerate(self._video, 1):
            yield f'{self.path.name}/{number - 1:06d}', frame
        if number < len(self):
            print_log(
                f'The video {self.path} announces {len(self)} frames, but only '
                f'{number} could be read',
                logger='current',
                level=logging.WARNING,
            )


class ImageWriter:
    """Writes each picture, and each mask, to a file with the picture's name.

    Args:
        out: Folder of the folders pictures and masks.
    """

    def __init__(self, out: Path) -> None:
        self.out = out

    def __enter__(self) -> 'ImageWriter':
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def write(self, name: str, picture: np.ndarray, mask: np.ndarray | None) -> None:
        """Write a picture, and the class of each pixel if the model has it.

        Raises:
            OSError: If a file cannot be written.
        """
        _write_image(self.out / 'pictures' / name, picture)
        if mask is not None:
            _write_image(self.out / 'masks' / f'{name}.png', mask)


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


def open_reader(path: Path, out: Path) -> ImageReader | VideoReader:
    """A reader for the image, folder or video at a path.

    Args:
        path: An image, a folder with images in it or below, or a video.
        out: Folder for the results; images in it are skipped.

    Raises:
        FileNotFoundError: If the path does not exist, or the folder has no
            image.
        ValueError: If it is of another type, damaged, or in ``out``.
    """
    if not path.exists():
        raise FileNotFoundError(
            f'There is no {path}: expected an image, a folder of images or a video'
        )
    if _is_in(path, out):
        raise ValueError(
            f'{path} lies in {out}, where results could replace it: choose '
            'another folder for the results'
        )
    if path.is_dir():
        return ImageReader(path, _images_below(path, out))
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return ImageReader(path.parent, [path])
    if suffix in CODECS:
        return VideoReader(path)
    raise ValueError(
        f'{path} should be a folder, an image ({", ".join(IMAGE_SUFFIXES)}) '
        f'or a video ({", ".join(CODECS)})'
    )


def open_writer(
    reader: ImageReader | VideoReader, out: Path
) -> ImageWriter | VideoWriter:
    """A writer into ``out``, of images for images and of a video for a video."""
    if isinstance(reader, VideoReader):
        return VideoWriter(out / 'pictures' / reader.path.name, reader.fps)
    return ImageWriter(out)


def _is_cut_short(path: Path) -> bool:
    """Whether it is a truncated JPEG, the rest of which OpenCV would make up."""
    if path.suffix.lower() not in ('.jpeg', '.jpg'):
        return False
    with Image.open(path) as image:
        image.draft('L', (1, 1))  # an eighth of the size, for speed
        try:
            image.load()
        except OSError:
            return True
    return False


def _write_image(path: Path, image: np.ndarray) -> None:
    with written_whole(path) as draft:
        if not mmcv.imwrite(image, str(draft)):
            h, w = image.shape[:2]
            raise OSError(
                f'{path} cannot be written: a picture of {w} x {h} '
                'pixels is too large for its format'
            )


def _is_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _images_below(folder: Path, out: Path) -> list[Path]:
    """Image files sorted by name, without those in ``out``."""
    paths = []
    for parent, folders, names in os.walk(folder):
        if _is_in(Path(parent), out):
            folders.clear()
            continue
        paths += [
            Path(parent, name)
            for name in names
            if Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    if not paths:
        raise FileNotFoundError(
            f'There is no image in {folder} or below: expected files that end '
            f'in {", ".join(IMAGE_SUFFIXES)}'
        )
    return sorted(paths)
