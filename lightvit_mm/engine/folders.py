"""Read a folder of your own data: classes, annotations, images, masks."""

import json
import os
import posixpath
from pathlib import Path

from mmengine.fileio import list_dir_or_file

FOLDERS = ('train', 'val')
# Pixels of this class are ignored in training and evaluation.
VOID = 'void'

_SET_DATA_ROOT = 'Set data_root, for example with --cfg-options data_root=FOLDER, to '


# Folders of classes


def class_folders(data_root: str, split: str) -> list[str]:
    """The sorted names of the class folders of a split.

    Raises:
        FileNotFoundError: If there are none.
    """
    folder = Path(data_root, split)
    classes = sorted(path.name for path in folder.glob('*') if path.is_dir())
    if not classes:
        raise FileNotFoundError(
            f'There is no class folder in {folder}. {_SET_DATA_ROOT}a folder '
            'with images in train/CLASS/ and val/CLASS/.'
        )
    return classes


# COCO


def annotation_file(root: Path, split: str) -> Path:
    """The one JSON file for a split, in the folder or in its annotations.

    Raises:
        ValueError: If there are none or several.
    """
    seen = sorted([*root.glob('*.json'), *root.glob('annotations/*.json')])
    found = [path for path in seen if split in path.name.lower()]
    if len(found) != 1:
        raise ValueError(
            f'There should be one *.json with {split!r} in its name in {root} '
            f'or {root / "annotations"}, but there are {len(found)}. All '
            f'*.json files: {", ".join(map(str, seen)) or "none"}. '
            f'{_SET_DATA_ROOT}a folder with COCO annotations such as train.json '
            'and val.json.'
        )
    return found[0]


def read_coco(path: Path) -> dict:
    """The content of an annotation file.

    Raises:
        ValueError: If it is not in COCO format, or lacks images, annotations
            or categories.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    missing = [
        key
        for key in ('images', 'annotations', 'categories')
        if not isinstance(content, dict) or not content.get(key)
    ]
    if missing:
        raise ValueError(
            f'{path} is not in COCO format, or empty: it has no {", ".join(missing)}'
        )
    return content


def common_categories(
    paths: dict[str, Path], annotations: dict[str, dict]
) -> tuple[str, ...]:
    """The names of the categories, in their order.

    Raises:
        ValueError: If train and val have different ones.
    """
    train, val = (
        [
            (category['id'], category['name'])
            for category in annotations[split]['categories']
        ]
        for split in FOLDERS
    )
    if train != val:
        difference = [
            f'{name} (id {number})'
            for number, name in train + val
            if (number, name) not in train or (number, name) not in val
        ]
        # mmdet would number the classes of train and val differently.
        what = (
            'in only one of them: ' + ', '.join(difference)
            if difference
            else 'they are listed in a different order'
        )
        raise ValueError(
            f'The categories in {paths["train"]} and {paths["val"]} should '
            f'have the same names, ids and order; {what}'
        )
    return tuple(name for _, name in train)


def list_files(root: Path) -> tuple[list[str], set[str]]:
    """All folders and files below a folder, relative to it; '.' is itself."""
    folders, files = [], set()
    for path, _, names in os.walk(root, followlinks=True):
        folder = Path(path).relative_to(root).as_posix()
        folders.append(folder)
        files.update(_join(folder, name) for name in names)
    return sorted(folders), files


def _join(folder: str, name: str) -> str:
    return posixpath.normpath(posixpath.join(folder, name))


def image_folder(
    root: Path,
    folders: list[str],
    files: set[str],
    split: str,
    annotation_file: Path,
    names: list[str],
) -> str:
    """The folder, relative to the root, that has all images of a split.

    If several do, such as train and val with 0001.jpg in both, it is the one
    with the split in its name.

    Raises:
        FileNotFoundError: If images are missing.
        ValueError: If several folders have all of them.
    """
    # The first image rules out most folders without looking up the others.
    holding = [folder for folder in folders if _join(folder, names[0]) in files]
    if not holding:
        raise FileNotFoundError(
            f'{names[0]}, an image of {annotation_file}, is in none of the '
            f'folders of {root}: {", ".join(folders)}'
        )
    missing = {
        folder: [name for name in names if _join(folder, name) not in files]
        for folder in holding
    }
    found = [folder for folder in holding if not missing[folder]]
    if not found:
        folder = min(holding, key=lambda folder: len(missing[folder]))
        raise FileNotFoundError(
            f'{root / folder} lacks {len(missing[folder])} of the '
            f'{len(names)} images of {annotation_file}; the first is '
            f'{missing[folder][0]}'
        )
    named = [folder for folder in found if split in folder.lower()]
    if len(found) > 1 and len(named) != 1:
        raise ValueError(
            f'Several folders have all images of {annotation_file}: '
            f'{", ".join(str(root / folder) for folder in found)}. Exactly one '
            f'of them should have {split!r} in its name'
        )
    return found[0] if len(found) == 1 else named[0]


# Masks


def read_class_names(path: Path) -> list[str]:
    """The names of the mask values 0, 1 and so on, one per line.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is empty, a name is repeated, or there are fewer
            than two classes.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f'There is no {path}. Write it with the names of the classes, one '
            'per line: the first line names the mask value 0, the next one 1. '
            f'The name {VOID} ignores a value. Or set data_root, for example '
            'with --cfg-options data_root=FOLDER, to the folder that has the '
            'file.'
        )
    # utf-8-sig: editors on Windows write a byte-order mark first.
    text = path.read_text(encoding='utf-8-sig').rstrip()
    names = [line.strip() for line in text.splitlines()]
    if '' in names:
        raise ValueError(
            f'Line {names.index("") + 1} of {path} is empty, but should name '
            f'the mask value {names.index("")}; write {VOID} to ignore it'
        )
    classes = [name for name in names if name != VOID]
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise ValueError(
            f'{path} has these names more than once: {", ".join(twice)}. Each '
            'class needs a unique name'
        )
    if len(classes) < 2:
        raise ValueError(
            f'{path} should name two classes or more apart from {VOID}, but '
            f'names {", ".join(classes) or "none"}. Name the background as a '
            'class, too, to separate objects from it'
        )
    return names


def image_suffix(root: Path, split: str) -> str:
    """The suffix of the images of a split.

    Raises:
        FileNotFoundError: If images or masks are missing.
        ValueError: If the images have different suffixes.
    """
    folder = root / 'img_dir' / split
    files = (
        list_dir_or_file(folder, list_dir=False, recursive=True)
        if folder.is_dir()
        else []
    )
    images = sorted(
        Path(file) for file in files if file.lower().endswith(('.jpg', '.jpeg', '.png'))
    )
    if not images:
        raise FileNotFoundError(
            f'There is no .jpg or .png in {folder}. {_SET_DATA_ROOT}a folder '
            'with images in img_dir/train and img_dir/val and their masks in '
            'ann_dir/train and ann_dir/val.'
        )
    suffixes = sorted({image.suffix for image in images})
    if len(suffixes) > 1:
        raise ValueError(
            f'The images in {folder} should have one suffix, but have '
            f'{", ".join(suffixes)}: convert or rename them'
        )
    masks = [root / 'ann_dir' / split / image.with_suffix('.png') for image in images]
    missing = [mask for mask in masks if not mask.is_file()]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of the {len(images)} images in {folder} have no '
            f'mask; the first missing mask is {missing[0]}'
        )
    return suffixes[0]
