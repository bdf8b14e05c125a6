"""Finds the images and videos of a run, and names their results."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..files import IMAGE_SUFFIXES, PathLike, image_files, is_below, is_image
from ..model_folder import is_published

# The codec that writes each kind of video.
CODECS = {
    '.avi': 'MJPG',
    '.m4v': 'mp4v',
    '.mkv': 'mp4v',
    '.mov': 'mp4v',
    '.mp4': 'mp4v',
    '.webm': 'VP80',
}


_CHECKPOINT_SUFFIXES = ('.ckpt', '.pt', '.pth', '.safetensors')


class Sources(NamedTuple):
    """The files of a run, by the names of their results.

    A name is the path from the deepest folder that holds all files and folders
    of the run.

    Args:
        images: Image files.
        videos: Video files.
    """

    images: dict[str, Path]
    videos: dict[str, Path]


def is_source(path: str) -> bool:
    """Whether a path is an image or a video by its suffix, a folder, or a glob.

    Addresses, the folder of a published model and globs of checkpoints do not count.
    """
    if '://' in path or is_published(path):
        return False
    suffix = Path(path).suffix.lower()
    is_glob = glob.has_magic(path) and not os.path.exists(path)
    return (
        os.path.isdir(path)
        or is_image(path)
        or suffix in CODECS
        or (is_glob and suffix not in _CHECKPOINT_SUFFIXES)
    )


def find_sources(paths: Sequence[PathLike], out: Path) -> Sources:
    """Find the files to predict on.

    Args:
        paths: Images, videos, folders with images in them or below, and globs
            of all of these, such as photos/*.jpg. A file given twice counts once.
        out: Folder for the results. What globs and folders find in it is skipped.

    Raises:
        FileNotFoundError: If a path does not exist, a glob matches nothing or a
            folder has no image.
        ValueError: If a file is of another type, or a path is in ``out``.
    """
    folders, images, videos = [], [], []
    for path in _expand(paths, out):
        folders.append(path if path.is_dir() else path.parent)
        if path.is_dir():
            images += _images_below(path, out)
        elif is_image(path.name):
            images.append(path)
        elif path.suffix.lower() in CODECS:
            videos.append(path)
        else:
            raise ValueError(
                f'{path} should be a folder, an image ({", ".join(IMAGE_SUFFIXES)}) '
                f'or a video ({", ".join(CODECS)})'
            )
    root = os.path.commonpath(map(os.path.abspath, folders))
    return Sources(_named(images, root), _named(videos, root))


def mask_names(images: Iterable[str]) -> dict[str, str]:
    """The name of the mask for each name of an image.

    24.jpg gets 24.png. If two images differ only in the suffix, each mask has
    the full name of its image: 24.jpg.png.
    """
    names = {name: str(PurePosixPath(name).with_suffix('.png')) for name in images}
    # Some file systems ignore the case.
    if len({name.lower() for name in names.values()}) == len(names):
        return names
    return {name: f'{name}.png' for name in names}


def _expand(paths: Sequence[PathLike], out: Path) -> Iterator[Path]:
    for path in map(Path, paths):
        if path.exists():
            if is_below(path, out):
                raise ValueError(
                    f'{path} lies in {out}, where results could replace it: choose '
                    'another folder for the results'
                )
            yield path
            continue
        # Shells of Windows leave globs to the program.
        matches = map(Path, glob.glob(str(path), recursive=True))
        matches = sorted(match for match in matches if not is_below(match, out))
        if not matches:
            raise FileNotFoundError(
                f'There is no {path}: expected an image, a folder of images, a '
                'video or a glob that matches some'
            )
        yield from matches


def _images_below(folder: Path, out: Path) -> list[Path]:
    images = image_files(folder, skip=out)
    if not images:
        raise FileNotFoundError(
            f'There is no image in {folder} or below: expected files that end '
            f'in {", ".join(IMAGE_SUFFIXES)}'
        )
    return images


def _named(paths: Iterable[Path], root: str) -> dict[str, Path]:
    return {Path(os.path.relpath(path, root)).as_posix(): path for path in paths}
