"""Images and videos, one picture at a time, and where they are drawn.

Pictures are BGR, uint8, (h, w, 3), as OpenCV and OpenMMLab have them.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmengine.logging import print_log
from PIL import Image

from ..files import IMAGE_SUFFIXES, written_whole

# The codec in which each kind of video is written.
CODECS = {
    '.avi': 'MJPG',
    '.m4v': 'mp4v',
    '.mkv': 'mp4v',
    '.mov': 'mp4v',
    '.mp4': 'mp4v',
    '.webm': 'VP80',
}

# Takes the name of a picture, the picture with what was found drawn in it
# and, of a segmentor, the class of each pixel.
Write = Callable[[str, np.ndarray, np.ndarray | None], None]


class ImageFiles:
    """Image files below a folder.

    Args:
        root: The folder. Each picture is named by the path from there.
        paths: The files.

    Raises:
        ValueError: If a file is none that OpenCV can read.
    """

    def __init__(self, root: Path, paths: list[Path]) -> None:
        self.root = root
        self.paths = paths
        # By their first bytes, before anything is computed.
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
                    f'The image {path} is damaged: replace or remove it. What '
                    'was found in those before it is drawn, but not in the '
                    'JSON file'
                )
            yield path.relative_to(self.root).as_posix(), image

    @contextmanager
    def drawn(self, out: Path) -> Iterator[Write]:
        """Draw into ``out``/pictures, and classes into ``out``/masks.

        Raises:
            OSError: If a file cannot be written.
        """

        def write(name: str, picture: np.ndarray, mask: np.ndarray | None) -> None:
            _write_image(out / 'pictures' / name, picture)
            if mask is not None:
                _write_image(out / 'masks' / f'{name}.png', mask)

        yield write


def _is_cut_short(path: Path) -> bool:
    """Whether it is the start of a JPEG, the rest of which OpenCV makes up."""
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


class VideoFile:
    """The frames of a video.

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
                f'The video {path} cannot be opened: it is damaged, or in a '
                'codec that OpenCV does not know'
            )
        self.reader = mmcv.VideoReader(str(path))

    def __len__(self) -> int:
        """The number of frames that the file announces, 0 if none."""
        return max(self.reader.frame_cnt, 0)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        number = 0
        for number, frame in enumerate(self.reader, 1):
            yield f'{self.path.name}/{number - 1:06d}', frame
        if number < len(self):
            print_log(
                f'The video {self.path} announces {len(self)} frames, of '
                f'which {number} could be read',
                logger='current',
                level=logging.WARNING,
            )

    @contextmanager
    def drawn(self, out: Path) -> Iterator[Write]:
        """Draw a video of the same name and frame rate in ``out``/pictures.

        Raises:
            OSError: If it cannot be written.
        """
        path = out / 'pictures' / self.path.name
        codec = cv2.VideoWriter_fourcc(*CODECS[path.suffix.lower()])
        with written_whole(path) as draft:
            video = cv2.VideoWriter()

            def write(name: str, picture: np.ndarray, mask: np.ndarray | None) -> None:
                # What a frame measures may be turned in the file's header.
                h, w = picture.shape[:2]
                if not video.isOpened() and not video.open(
                    str(draft), codec, self.reader.fps, (w, h)
                ):
                    raise OSError(
                        f'The video {path} cannot be written, with '
                        f'{self.reader.fps:g} frames per second'
                    )
                video.write(picture)

            try:
                yield write
            finally:
                video.release()


def open_source(path: Path, out: Path) -> ImageFiles | VideoFile:
    """What is there at a path.

    Args:
        path: An image, a folder with images in it or below, or a video.
        out: Folder for the results; images in it are left out.

    Raises:
        FileNotFoundError: If there is nothing at the path, or no image in the
            folder.
        ValueError: If it is none of these, damaged, or in ``out``.
    """
    if not path.exists():
        raise FileNotFoundError(
            f'There is no {path}: expected an image, a folder of images or a video'
        )
    if _is_in(path, out):
        raise ValueError(
            f'{path} lies in {out}, where results could replace '
            'it: name another folder for them'
        )
    if path.is_dir():
        return ImageFiles(path, _images_below(path, out))
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return ImageFiles(path.parent, [path])
    if suffix in CODECS:
        return VideoFile(path)
    raise ValueError(
        f'{path} should be a folder, an image ({", ".join(IMAGE_SUFFIXES)}) '
        f'or a video ({", ".join(CODECS)})'
    )


def _is_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _images_below(folder: Path, out: Path) -> list[Path]:
    """Image files in the order of their names, without those in ``out``."""
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
