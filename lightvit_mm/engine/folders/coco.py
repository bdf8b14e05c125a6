"""Folders of images and annotations in COCO's format, as tools export them."""

import json
import posixpath
from pathlib import Path
from typing import Any

from ...files import is_hidden, read_json
from ...messages import listed
from ...untrusted import check_is_file, walk
from .splits import SET_DATA_ROOT, SPLITS, split_folder, split_it

BOXES_ONLY = 'configs/finetune_faster_rcnn_lightvit_t.py'


def annotation_file(root: Path, split: str) -> Path:
    """The JSON file for a split.

    It is the one with the split in its name, in the folder or in its annotations,
    as in COCO and CVAT; captions and keypoints next to instances are left out.
    Otherwise it is the only one in the folder of the split, as in Roboflow.

    Raises:
        ValueError: If there are none or several.
    """
    seen = sorted([*_json_files(root), *_json_files(root / 'annotations')])
    found = [path for path in seen if split in path.name.lower()]
    instances = [path for path in found if path.name.lower().startswith('instances')]
    if len(instances) == 1:
        found = instances
    if not found:
        found = sorted(_json_files(split_folder(root, split)))
        seen += found
    if len(found) != 1:
        hint = ''
        if len(seen) == 1:
            hint = f' One file for all images? {split_it(root)}'
        elif not found:
            hint = (
                ' Another format, such as labelme, Pascal VOC or YOLO? Convert it: '
                f'python tools/convert_dataset.py {root} OUT'
            )
        raise ValueError(
            f'There should be one *.json with {split!r} in its name in {root} '
            f'or {root / "annotations"}, or one in {split_folder(root, split)}, but '
            f'there are {len(found)}. All *.json files: {listed(seen, most=9)}. '
            f'{SET_DATA_ROOT}a folder with COCO annotations such as train.json '
            f'and val.json.{hint}'
        )
    return found[0]


def _json_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob('*.json') if not is_hidden(path.name)]


def read(path: Path) -> dict:
    """The content of an annotation file.

    Raises:
        ValueError: If it is not UTF-8, is not in COCO format, or lacks images,
            annotations or categories.
    """
    check_is_file(path)
    with path.open('rb') as file:
        encoding = json.detect_encoding(file.read(4))
    if encoding != 'utf-8':
        # pycocotools reads the file as UTF-8 without a byte order mark.
        raise ValueError(
            f'{path} is encoded as {encoding.upper()}, which pycocotools cannot '
            'read: save it as UTF-8 without a byte order mark (BOM)'
        )
    content = read_json(path)
    missing = [
        key
        for key in ('images', 'annotations', 'categories')
        if not isinstance(content, dict) or not content.get(key)
    ]
    if missing:
        raise ValueError(
            f'{path} is not in COCO format, or empty: it has no {", ".join(missing)}'
        )
    _check_entries(path, content, 'images', dict(file_name=str, id=_ID))
    _check_entries(path, content, 'annotations', dict(image_id=_ID, category_id=_ID))
    _check_entries(path, content, 'categories', dict(id=_ID, name=str))
    return content


_ID = int | float | str


def _check_entries(path: Path, content: dict, name: str, keys: dict[str, Any]) -> None:
    """Check that a part of an annotation file is a list of dicts with some keys."""
    entries = content[name]
    if not isinstance(entries, list):
        raise ValueError(
            f'{path}: {name} should be a list, but is {str(entries)[:40]!r}'
        )
    for i, entry in enumerate(entries):
        for key, kind in keys.items():
            if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
                expected = 'a string' if kind is str else 'a number'
                raise ValueError(
                    f'{path}: {name}[{i}] has no {key}; expected {expected}'
                )


def can_match(annotation_id: Any) -> bool:
    """Whether pycocotools can store the id of a matched annotation.

    It does so in an array of numbers, where 0 stands for no match.
    """
    return isinstance(annotation_id, (int, float)) and annotation_id != 0


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
        for split in SPLITS
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


def check_masks(path: Path, annotations: list[dict]) -> None:
    """Raise a ValueError if no annotation of a file has a mask."""
    if not any(annotation.get('segmentation') for annotation in annotations):
        raise ValueError(
            f'No annotation in {path} has a segmentation, but the config learns or '
            f'evaluates masks. For boxes only, use {BOXES_ONLY}'
        )


def list_files(root: Path) -> tuple[list[str], set[str]]:
    """All folders and files below a folder, relative to it; '.' is itself."""
    folders, files = [], set()
    # Hidden ones too: the annotations say which are images.
    for path, _, names in walk(root):
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
            f'folders of {root}: {", ".join(folders)}{_similar(root, names[0], files)}'
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
            f'{missing[folder][0]}{_similar(root, missing[folder][0], files)}'
        )
    named = [folder for folder in found if split in folder.lower()]
    if len(found) > 1 and len(named) != 1:
        raise ValueError(
            f'Several folders have all images of {annotation_file}: '
            f'{", ".join(str(root / folder) for folder in found)}. Exactly one '
            f'of them should have {split!r} in its name'
        )
    return found[0] if len(found) == 1 else named[0]


def _similar(root: Path, name: str, files: set[str]) -> str:
    """A sentence about a file of another case, or of the same name elsewhere."""
    wanted = posixpath.normpath(name).lower()
    for file in sorted(files):
        if f'/{file.lower()}'.endswith(f'/{wanted}'):
            return f'. There is {file}: upper and lower case have to be the same'
    last = posixpath.basename(name.replace('\\', '/'))
    for file in sorted(files):
        if posixpath.basename(file) == last:
            return (
                f'. There is {file}: each file_name should be the path from one '
                'folder, the same for all images of a split. This corrects them: '
                f'python tools/convert_dataset.py {root} OUT'
            )
    return ''
