"""How often each class occurs, and the classes that do not occur."""

from collections.abc import Iterable, Iterator

import numpy as np

from .report import Finding, Kind
from .sources import Content

NOT_TRAINED = Kind(
    'classes that do not occur in the training set',
    'Add images of them to the training set, or remove the class: the model '
    'cannot learn it, and the evaluation counts it with a result of 0',
)
NOWHERE = Kind(
    'classes that occur nowhere',
    'Remove them if there are no such objects. Roboflow adds such a category, '
    'the supercategory of the others',
    is_fault=False,
)
IGNORED = '(ignored)'  # counts the labels that are no class


def count_classes(contents: Iterable[Content]) -> dict[str, np.ndarray]:
    """Numbers of images, objects and pixels (3, ) of each class, by its name.

    Datasets whose objects cannot be counted are left out. Labels that are no
    class count as IGNORED, if there are any.

    Args:
        contents: Datasets; their counts are added up.
    """
    counts: dict[str, np.ndarray] = {}
    for content in contents:
        if content.objects is not None and content.num_classes is not None:
            names = [*class_names(content), IGNORED]
            for name, count in zip(names, _count(content)):
                if name != IGNORED or count.any():
                    counts[name] = counts.get(name, 0) + count
    return counts


def class_names(content: Content) -> tuple[str, ...]:
    """The names of the classes, or their numbers if they have no names."""
    return tuple(map(str, content.classes or range(content.num_classes)))


def check_trained(
    content: Content, file: str, trained: list[Content]
) -> Iterator[Finding]:
    """Find classes that are evaluated, but not trained.

    Args:
        content: A dataset to evaluate on.
        file: Its file.
        trained: The training sets.
    """
    if not _are_counted([content, *trained]):
        return
    in_train = count_classes(trained)
    num_trained = sum(
        name != IGNORED and images > 0 for name, (images, *_) in in_train.items()
    )
    # Other findings explain a training set with too few classes.
    if num_trained < (2 if content.has_maps else 1):
        return
    for i, (name, (images, *_)) in enumerate(count_classes([content]).items()):
        if name != IGNORED and images and not in_train[name][0]:
            yield Finding(
                NOT_TRAINED, file, f'class {i}, {name!r}: in {images:.0f} images'
            )


def check_nowhere(contents: list[Content], file: str) -> Iterator[Finding]:
    """Find classes without objects in any of the datasets.

    Args:
        contents: All datasets.
        file: The file of the first one.
    """
    if not _are_counted(contents):
        return
    counts = count_classes(contents)
    if not sum(images for images, *_ in counts.values()):
        return
    for i, (name, (images, *_)) in enumerate(counts.items()):
        if name != IGNORED and not images:
            yield Finding(NOWHERE, file, f'class {i}, {name!r}')


def _are_counted(contents: list[Content]) -> bool:
    """Whether the objects of all datasets are known and have the same classes."""
    return bool(contents) and all(
        content.objects is not None
        and content.num_classes is not None
        and class_names(content) == class_names(contents[0])
        for content in contents
    )


def _count(content: Content) -> np.ndarray:
    """Images, objects and pixels (num_classes + 1, 3); the last row is no class."""
    num_classes = content.num_classes
    image, label, area = content.objects
    label = np.where((label >= 0) & (label < num_classes), label, num_classes)
    pairs = np.unique(label.astype(np.int64) * content.num_images + image)
    return np.stack(
        [
            np.bincount(pairs // content.num_images, minlength=num_classes + 1),
            np.bincount(label, minlength=num_classes + 1),
            np.bincount(label, area, num_classes + 1),
        ],
        axis=1,
    )
