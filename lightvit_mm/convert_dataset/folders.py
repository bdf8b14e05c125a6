"""Folders without annotation files: one per class, or images and masks."""

from pathlib import Path

from PIL import Image as PillowImage

from ..engine.folders.masks import MASK_SUFFIXES
from .records import Dataset, Image
from .source import (
    IN_NO_LIST,
    Source,
    image_sets,
    image_size,
    split_called,
    split_of,
)

IMAGE_FOLDERS = ('images', 'image', 'imgs', 'img', 'img_dir', 'JPEGImages')
MASK_FOLDERS = (
    'masks',
    'mask',
    'ann_dir',
    'annotations',
    'labels',
    'SegmentationClass',
)


# Images and masks


def is_masks(source: Source) -> bool:
    """Whether an image has a mask of the same name."""
    return any(_mask(path, source) for path in source.images)


def read_masks(source: Source) -> Dataset:
    """Read pairs such as images/1.jpg and masks/1.png, or masks/1_mask.png.

    ``classes.txt`` names the values of the masks; it is copied if there is one.

    Raises:
        FileNotFoundError: If an image has no mask.
        ValueError: If a mask is a JPEG or the like, or its size is not that of its
            image.
    """
    names_file = source.root / 'classes.txt'
    dataset = Dataset(names_file=names_file if names_file.is_file() else None)
    lists = image_sets(source, 'Segmentation')
    for path in source.images:
        split = split_of(path.relative_to(source.root))
        if lists:
            split = lists.get(path.stem, IN_NO_LIST)
        if _folder(path, source) is None:
            continue
        if split == IN_NO_LIST:
            dataset.images.append(Image(path, str(path), split))
            continue
        mask = _mask(path, source)
        if mask is None:
            raise FileNotFoundError(
                f'{path} has no mask. It should be a file of the same name in '
                f'{" or ".join(f"{name}/" for name in MASK_FOLDERS)}'
            )
        if mask.suffix.lower() not in MASK_SUFFIXES:
            raise ValueError(
                f'{mask} should end in {", ".join(MASK_SUFFIXES)}: other formats may '
                'change the values of a mask'
            )
        with PillowImage.open(mask) as picture:
            image_size(path, picture.size, str(mask))
        dataset.images.append(Image(path, str(path), split, mask=mask))
    return dataset


def _folder(path: Path, source: Source) -> int | None:
    """Which of the path's parts is a folder of images."""
    parts = path.relative_to(source.root).parts[:-1]
    return next((i for i, x in enumerate(parts) if x in IMAGE_FOLDERS), None)


def _mask(path: Path, source: Source) -> Path | None:
    place = _folder(path, source)
    if place is None:
        return None
    parts = list(path.relative_to(source.root).parts)
    for folder in MASK_FOLDERS:
        parent = source.root.joinpath(*parts[:place], folder, *parts[place + 1 : -1])
        for stem in (path.stem, f'{path.stem}_mask'):
            found = source.images_at(parent, stem)
            if found:
                # A preview in another format may lie next to it.
                masks = {mask.suffix.lower(): mask for mask in found}
                return next((masks[x] for x in MASK_SUFFIXES if x in masks), found[0])
    return None


# Folders of classes


def is_classes(source: Source) -> bool:
    """Whether images are in folders, one per class."""
    return len({image.label for image in read_classes(source).images}) > 1


def read_classes(source: Source) -> Dataset:
    """Read CLASS/*.jpg, or train/CLASS/*.jpg and valid/CLASS/*.jpg."""
    dataset = Dataset()
    paths = {path: path.relative_to(source.root) for path in source.images}
    has_splits = all(
        len(place.parts) > 2 and split_called(place.parts[0])
        for place in paths.values()
    )
    for path, place in paths.items():
        if len(place.parts) < 2:
            dataset.notes['left out: images in no class folder'].append(str(path))
            continue
        split, label = None, place.parts[0]
        if has_splits:
            split, label = split_of(place), place.parts[1]
        dataset.images.append(Image(path, str(path), split, label=label))
    return dataset
