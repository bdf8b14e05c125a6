"""Divides images into train and val."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence


def choose_val(
    classes: Mapping[str, Sequence[str]], share: float, seed: int = 0
) -> set[str]:
    """Choose the images of val at random.

    The choice depends on the names and the seed, not on the order of the images.
    An image stays in train if it is the last one there with one of its classes,
    unless val would be too small.

    Args:
        classes: The classes of the objects in each image, by the image's name.
        share: The part for val, between 0 and 1. Train and val get at least one
            image each.
        seed: Another seed gives another choice.

    Returns:
        The names of the images of val.

    Raises:
        ValueError: If there are fewer than two images.
    """
    if len(classes) < 2:
        raise ValueError('A split needs two images or more, but there is one')
    number = min(max(round(share * len(classes)), 1), len(classes) - 1)
    order = sorted(
        classes, key=lambda name: hashlib.sha256(f'{seed}/{name}'.encode()).digest()
    )
    left = Counter(label for name in classes for label in set(classes[name]))
    val: list[str] = []
    for name in order:
        if len(val) < number and all(left[label] > 1 for label in classes[name]):
            left.subtract(set(classes[name]))
            val.append(name)
    others = [name for name in order if name not in set(val)]
    return {*val, *others[: number - len(val)]}
