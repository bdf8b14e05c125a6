"""Writes a dataset into the folders that the own-data runners read."""

import json
import os
import shutil
from pathlib import Path

from ..engine.folders.splits import SPLITS
from .records import Annotations, Dataset, Image


def write(
    dataset: Dataset,
    names: dict[Image, str],
    annotations: Annotations | None,
    out: Path,
) -> None:
    """Write images, and their masks or annotations, to an empty folder.

    Files are hard links where the file system allows it, otherwise copies.

    Args:
        dataset: The dataset; each image has its split.
        names: The path of each image in the folder of its split or class.
        annotations: The annotations of each image, for detection.
        out: The folder.
    """
    for image in dataset.images:
        name = Path(names[image])
        if image.mask is not None:
            _link(image.path, out / 'img_dir' / image.split / name)
            mask = name.with_suffix(image.mask.suffix.lower())
            _link(image.mask, out / 'ann_dir' / image.split / mask)
        elif image.label is not None:
            _link(image.path, out / image.split / image.label / name)
        else:
            _link(image.path, out / image.split / name)
    if dataset.names_file is not None:
        shutil.copyfile(dataset.names_file, out / 'classes.txt')
    if annotations is not None:
        for split in SPLITS:
            content = _coco(split, dataset, names, annotations)
            text = json.dumps(content, ensure_ascii=False)
            (out / f'{split}.json').write_text(text, encoding='utf-8')


def _coco(
    split: str, dataset: Dataset, names: dict[Image, str], annotations: Annotations
) -> dict[str, list[dict]]:
    """The content of a COCO file; ids start at 1."""
    content: dict[str, list[dict]] = dict(images=[], annotations=[])
    images = [image for image in dataset.images if image.split == split]
    for i, image in enumerate(sorted(images, key=names.__getitem__), start=1):
        width, height = image.size
        content['images'].append(
            dict(id=i, file_name=names[image], width=width, height=height)
        )
        for fields in annotations[image]:
            number = len(content['annotations']) + 1
            content['annotations'].append(dict(id=number, image_id=i, **fields))
    content['categories'] = [
        dict(id=i, name=name) for i, name in enumerate(dataset.classes, start=1)
    ]
    return content


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()  # not a link to a link
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, target)
