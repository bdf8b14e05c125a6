"""Tables of what the datasets hold: classes, objects and images."""

from collections.abc import Iterator

import numpy as np

from .occurrence import IGNORED, count_classes
from .reading import Files
from .sources import Content

MAX_CLASSES = 20  # of more, the most frequent and the rarest are shown
# COCO's limits of small and large objects, in pixels.
SMALL, LARGE = 32**2, 96**2

_UNITS = ('images', 'instances', 'pixels')  # what count_classes counts
_Splits = dict[str, list[Content]]
_Rows = list[list[str]]


def image_sizes(content: Content, files: Files) -> list[tuple[int, int]]:
    """Width and height of each image: as it is loaded, or else as annotated.

    Args:
        content: Content of a dataset.
        files: What its images hold, or why they cannot be read.
    """
    sizes = (
        getattr(files[picture.path, content.image_reader], 'loaded', None)
        or picture.size
        for picture in content.pictures
    )
    return [size for size in sizes if size is not None]


def tables(splits: _Splits) -> list[str]:
    """A table of the classes, and one of the sizes of objects and images.

    Args:
        splits: The datasets of each split, such as 'train' or 'val, test'.
    """
    both = class_rows(splits), size_rows(splits)
    return [_aligned(rows) for rows in both if rows]


def class_rows(splits: _Splits) -> _Rows:
    """How many images, and instances or pixels, of each split have each class."""
    counts = {split: count_classes(contents) for split, contents in splits.items()}
    names = list(dict.fromkeys(name for x in counts.values() for name in x))
    names.sort(key=IGNORED.__eq__)  # it comes last
    if not names:
        return []
    unit = _unit(splits)
    arrays = {
        split: np.array([of_split.get(name, np.zeros(3)) for name in names])
        for split, of_split in counts.items()
    }
    columns = [['class', *map(_shortened, names)]]
    for split, array in arrays.items():
        columns += _class_columns(split, array, unit)
    header, *rows = map(list, zip(*columns))

    num_classes = len(names) - (IGNORED in names)
    if num_classes > MAX_CLASSES:
        frequency = next(iter(arrays.values()))[:num_classes, _UNITS.index(unit)]
        order = np.argsort(-frequency, kind='stable')
        half = MAX_CLASSES // 2
        rows = [
            *(rows[i] for i in order[:half]),
            [f'... and {num_classes - MAX_CLASSES} more'],
            *(rows[i] for i in order[-half:]),
            *rows[num_classes:],
        ]
    return [header, *rows]


def _class_columns(split: str, counts: np.ndarray, unit: str) -> Iterator[list[str]]:
    """The columns of a split, from its counts (N, 3)."""
    images, instances, pixels = counts.T
    yield [f'{split}: images', *map(_integer, images)]
    if unit == 'instances':
        yield [unit, *map(_integer, instances)]
    if unit == 'pixels':
        yield [unit, *map(_integer, pixels)]
        yield ['share', *map(_percent, pixels / max(1, pixels.sum()))]


def size_rows(splits: _Splits) -> _Rows:
    """Areas of the instances, and sizes of the images, of each split."""
    has_areas = _unit(splits) == 'instances'
    columns = [
        {
            **(_describe_areas(contents) if has_areas else {}),
            **_describe_images(contents),
        }
        for contents in splits.values()
    ]
    titles = list(dict.fromkeys(title for column in columns for title in column))
    rows = [[title, *(x.get(title, '') for x in columns)] for title in titles]
    return [['', *splits], *rows] if rows else []


def _describe_areas(contents: list[Content]) -> dict[str, str]:
    counted = [x.objects.area for x in contents if x.objects is not None]
    areas = np.concatenate(counted) if counted else np.zeros(0)
    if not len(areas):
        return {}
    small, up_to_medium = (np.mean(areas < limit) for limit in (SMALL, LARGE))
    return {
        'small objects, < 32² pixels': _percent(small),
        'medium objects': _percent(up_to_medium - small),
        'large objects, ≥ 96² pixels': _percent(1 - up_to_medium),
        'median of √area': f'{np.sqrt(np.median(areas)):.0f}',
    }


def _describe_images(contents: list[Content]) -> dict[str, str]:
    sizes = sorted(
        (size for content in contents for size in content.sizes),
        key=lambda size: (size[0] * size[1], size),
    )
    if not sizes:
        return {}
    shown = dict(smallest=0, median=len(sizes) // 2, largest=-1)
    return {
        f'{name} image': f'{sizes[i][0]} x {sizes[i][1]}' for name, i in shown.items()
    }


def _unit(splits: _Splits) -> str:
    """What is counted besides images, if anything."""
    contents = [content for of_split in splits.values() for content in of_split]
    if any(content.has_maps for content in contents):
        return 'pixels'
    counted = [x.objects.area for x in contents if x.objects is not None]
    if any(np.isfinite(area).any() for area in counted):
        return 'instances'
    return 'images'


def _aligned(rows: _Rows) -> str:
    """Rows as text: the first column to the left, numbers to the right."""
    # '... and N more' has one cell.
    full = [row for row in rows if len(row) > 1]
    widths = [max(map(len, column)) for column in zip(*full)]
    return '\n'.join(
        '  '.join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def _integer(number: float) -> str:
    return f'{number:,.0f}'


def _percent(share: float) -> str:
    return '<0.1 %' if 0 < share < 0.0005 else f'{share:.1%}'.replace('%', ' %')


def _shortened(name: str, most: int = 30) -> str:
    return name if len(name) <= most else f'{name[: most - 3]}...'
