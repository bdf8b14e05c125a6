"""COCO's JSON files, as CVAT, Label Studio, VIA, Roboflow and others export them."""

from pathlib import Path
from typing import Any

from ..files import read_json
from .records import Dataset, Image, Object
from .source import Source, image_size, naming, split_of, split_of_name

_LISTS = ('images', 'annotations', 'categories')


def is_coco(content: Any) -> bool:
    """Whether the content of a JSON file is that of COCO's object annotations."""
    return isinstance(content, dict) and all(
        isinstance(content.get(name), list) for name in _LISTS
    )


def read(source: Source) -> Dataset:
    """Read COCO's JSON files.

    The folders of file names may be those of another computer. The split is in
    the name of a file or of its folders. Files of keypoints are left out if there
    are others.

    Raises:
        FileNotFoundError: If an image is missing.
        ValueError: If an entry is invalid, or files have different categories.
    """
    contents = {path: read_json(path) for path in source.having('.json')}
    contents = {path: x for path, x in contents.items() if is_coco(x)}
    boxes = {
        path: x
        for path, x in contents.items()
        if not any('keypoints' in category for category in x['categories'])
    }
    dataset = Dataset()
    if boxes:
        left_out = [str(path) for path in contents if path not in boxes]
        if left_out:
            dataset.notes['left out: files of keypoints'] = left_out
        contents = boxes
    if not contents:
        return dataset
    with naming(f'categories in {", ".join(map(str, contents))}'):
        dataset.classes = _classes(contents, dataset.notes)
    for path, content in contents.items():
        dataset.images += _images(path, content, source, dataset.notes)
    return dataset


def _classes(contents: dict[Path, dict], notes: dict) -> list[str]:
    first, *others = contents
    categories = contents[first]['categories']
    for path in others:
        names = {x['name'] for x in contents[path]['categories']}
        difference = names ^ {x['name'] for x in categories}
        if difference:
            raise ValueError(
                f'{first} and {path} should have the same categories; in only one of '
                f'them: {", ".join(sorted(difference))}'
            )
    # Roboflow lists the group of the classes as a category, too.
    used = {
        x.get('category_id')
        for content in contents.values()
        for x in content['annotations']
    }
    groups = {x.get('supercategory') for x in categories}
    kept = []
    for category in categories:
        is_group = (
            category['name'] in groups and category.get('supercategory') == 'none'
        )
        if is_group and category['id'] not in used:
            notes['left out: categories that only group others'].append(
                f'{first}: {category["name"]}'
            )
        else:
            kept.append(category['name'])
    return kept


def _images(path: Path, content: dict, source: Source, notes: dict) -> list[Image]:
    split = split_of(path.relative_to(source.root)) or split_of_name(path.name)
    names = {x['id']: x['name'] for x in content['categories']}
    images: dict[Any, Image] = {}
    for i, record in enumerate(content['images']):
        entry = f'{path}: images[{i}]'
        with naming(entry):
            number, name = record['id'], record['file_name']
            if number in images:
                raise ValueError(f'its id {number} is not unique')
            if not isinstance(name, str):
                raise ValueError(f'file_name should be a text, but is {name!r}')
        file = source.find_image(name, path, split)
        declared = (record.get('width'), record.get('height'))
        images[number] = Image(
            file, entry, split, image_size(file, declared, entry), []
        )
    for i, annotation in enumerate(content['annotations']):
        entry = f'{path}: annotations[{i}]'
        with naming(entry):
            for key, known in (('image_id', images), ('category_id', names)):
                if annotation[key] not in known:
                    raise ValueError(f'{key} {annotation[key]} is not in the file')
            item = _object(annotation, names[annotation['category_id']], entry)
        if item is None:
            notes['left out: annotations without box and mask'].append(entry)
        else:
            images[annotation['image_id']].objects.append(item)
    return list(images.values())


def _object(annotation: dict, name: str, entry: str) -> Object | None:
    segmentation = annotation.get('segmentation') or []
    if isinstance(segmentation, dict):
        segmentation = [segmentation]
    segmentation = [part for part in segmentation if part]
    box = annotation.get('bbox')
    if not segmentation and not box:
        return None
    if not segmentation and len(box) != 4:
        raise ValueError(f'bbox should be x, y, width, height, but is {box}')
    return Object(
        name,
        entry,
        None if segmentation else tuple(box),
        segmentation,
        bool(annotation.get('iscrowd')),
    )
