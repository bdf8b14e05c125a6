"""Folders of classes: train/CLASS/ and val/CLASS/ with images."""

from pathlib import Path

from ...files import IMAGE_SUFFIXES, files_below, image_files, is_hidden
from .splits import SET_DATA_ROOT, split_it


def class_names(folder: Path) -> list[str]:
    """The sorted names of the class folders of a split, without hidden ones.

    Raises:
        FileNotFoundError: If there are none.
    """
    names = sorted(
        path.name
        for path in folder.glob('*')
        if path.is_dir() and not is_hidden(path.name)
    )
    if not names:
        hint = '' if folder.is_dir() else ' Not split yet? ' + split_it(folder.parent)
        raise FileNotFoundError(
            f'There is no class folder in {folder}. {SET_DATA_ROOT}a folder '
            f'with images in train/CLASS/ and val/CLASS/.{hint}'
        )
    return names


def class_images(folder: Path) -> dict[str, list[Path]]:
    """The sorted images of each class of a split, in folders of any depth.

    Hidden files and folders are left out.

    Raises:
        FileNotFoundError: If there is no class folder.
        ValueError: If a class folder has no image.
    """
    return {name: _images(folder / name) for name in class_names(folder)}


def _images(folder: Path) -> list[Path]:
    images = image_files(folder)
    if not images:
        other = next(files_below(folder), None)
        found = f'only files such as {other.name}' if other else 'no files'
        raise ValueError(
            f'The class folder {folder} has no image, {found}. Add images '
            f'({", ".join(IMAGE_SUFFIXES)}), or remove the folder in train and val'
        )
    return images
