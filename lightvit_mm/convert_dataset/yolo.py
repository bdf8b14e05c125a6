"""YOLO: one text file per image, with boxes or polygons.

Layouts of Ultralytics (images/train and labels/train), Roboflow (train/images
and train/labels), CVAT and Label Studio, and images next to their labels, as
LabelImg and Darknet have them.
"""

from pathlib import Path
from typing import Any

import yaml

from ..engine.folders.splits import SPLITS
from ..files import read_text
from .records import Dataset, Image, Object, Size
from .source import Source, image_size, split_called, split_of

# Ultralytics accepts as much outside 0 to 1.
TOLERANCE = 0.01


def is_yolo(source: Source) -> bool:
    """Whether an image has a file of labels."""
    return any(_labels(path, source).is_file() for path in source.images)


def read(source: Source) -> Dataset:
    """Read the text files of YOLO and the names of the classes.

    An image without a text file is an image without objects, as in Ultralytics.
    The split is that of the folders, or of lists train.txt and val.txt.

    Raises:
        FileNotFoundError: If the names of the classes or an image are missing.
        ValueError: If a line is invalid.
    """
    names_file, names = _class_names(source)
    splits = _splits(source)
    dataset = Dataset(classes=names)
    used = set()
    for path in _images(source):
        labels = _labels(path, source)
        image = Image(path, str(path), splits.get(path), image_size(path))
        if labels.is_file():
            used.add(labels)
            image.objects = [
                _object(line.split(), f'{labels}: line {i}', names, names_file, image)
                for i, line in enumerate(read_text(labels).splitlines(), start=1)
                if line.strip()
            ]
        dataset.images.append(image)
    for labels in source.having('.txt'):
        if _is_labels(labels, source) and labels not in used:
            raise FileNotFoundError(f'{labels} has no image of the same name')
    return dataset


def _images(source: Source) -> list[Path]:
    """The images in folders of the name images, or all if there are none."""
    named = [
        path
        for path in source.images
        if 'images' in path.relative_to(source.root).parts[:-1]
    ]
    return named or source.images


def _labels(image: Path, source: Source) -> Path:
    """The file of labels: in labels/ for an image in images/, or next to it."""
    beside = image.with_suffix('.txt')
    parts = list(beside.relative_to(source.root).parts)
    if 'images' in parts[:-1] and not beside.is_file():
        last = max(i for i, part in enumerate(parts[:-1]) if part == 'images')
        parts[last] = 'labels'
    return source.root.joinpath(*parts)


def _is_labels(path: Path, source: Source) -> bool:
    folders = path.relative_to(source.root).parts[:-1]
    return 'labels' in folders and path.name != 'classes.txt'


def _class_names(source: Source) -> tuple[Path, list[str]]:
    for path in source.having('.yaml', '.yml'):
        content = _read_yaml(path)
        if isinstance(content, dict) and 'names' in content:
            if 'kpt_shape' in content:
                raise ValueError(f'{path} has keypoints (kpt_shape), not boxes')
            return path, _listed(content, path)
    for path in source.having('.txt', '.names'):
        if path.name == 'classes.txt' or path.suffix == '.names':
            return path, [x.strip() for x in read_text(path).strip().splitlines()]
    raise FileNotFoundError(
        f'{source.root} has labels of YOLO, but no file that names the classes. Add '
        'data.yaml with names, or classes.txt with a name on each line'
    )


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f'{path} is not YAML: {reason}') from error


def _listed(content: dict, path: Path) -> list[str]:
    """The names of the classes, a list or a dictionary from 0 on."""
    names = content['names']
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise ValueError(
                f'{path}: names should number the classes 0 to {len(names) - 1}, but '
                f'has {", ".join(map(str, names))}'
            )
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise ValueError(f'{path}: names should be a list of classes')
    if content.get('nc', len(names)) != len(names):
        raise ValueError(f'{path}: nc is {content["nc"]}, but names has {len(names)}')
    return [str(name) for name in names]


def _splits(source: Source) -> dict[Path, str | None]:
    """The splits that the folders name, otherwise lists such as train.txt."""
    splits = {path: split_of(path.relative_to(source.root)) for path in source.images}
    if set(SPLITS) <= set(splits.values()):
        return splits
    for path in source.having('.txt'):
        split = split_called(path.stem)
        if split and not _is_labels(path, source):
            for line in read_text(path).splitlines():
                if line.strip():
                    splits[source.find_image(line.strip(), path, split)] = split
    return splits


def _object(
    words: list[str], entry: str, names: list[str], names_file: Path, image: Image
) -> Object:
    try:
        number, *values = [float(word) for word in words]
    except ValueError:
        raise ValueError(
            f'{entry} should be numbers, but is {" ".join(words)!r}'
        ) from None
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise ValueError(
            f'{entry} should be a class with 4 numbers (a box), or with 6 or more, '
            f'x and y in turn (a polygon), but has {len(values)}'
        )
    if number not in range(len(names)):
        raise ValueError(
            f'{entry}: class {words[0]} should be 0 to {len(names) - 1}, the '
            f'{len(names)} classes of {names_file}'
        )
    if not all(-TOLERANCE <= value <= 1 + TOLERANCE for value in values):
        raise ValueError(
            f'{entry}: coordinates should be 0 to 1, as parts of the width and the '
            f'height, but are {" ".join(words[1:])}'
        )
    name = names[int(number)]
    if len(values) == 4:
        return Object(name, entry, _box(values, image.size))
    width, height = image.size
    points = [v * (height if i % 2 else width) for i, v in enumerate(values)]
    return Object(name, entry, segmentation=[points])


def _box(values: list[float], size: Size) -> tuple[float, float, float, float]:
    x, y, w, h = values
    width, height = size
    return (x - w / 2) * width, (y - h / 2) * height, w * width, h * height
