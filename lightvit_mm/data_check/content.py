"""What was read of a data set, whatever its format."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Picture(NamedTuple):
    """An image of a data set.

    Args:
        path: Its file.
        entry: How the data set names it.
        size: Width and height that the annotations give, if they do.
        mask: File of its segmentation map, if it has one.
    """

    path: str
    entry: str
    size: tuple[int, int] | None = None
    mask: str | None = None


@dataclass
class Content:
    """What was read of a data set.

    Args:
        pictures: The images that have a file of their own.
        num_images: Images, before filter_cfg.
        num_kept: Images that are left after it.
        num_annotations: Boxes, labels or segmentation maps.
        classes: Names of the classes, None if there are none.
        num_classes: How many classes the data have.
        label_of_value: For segmentation, the label that the library makes of
            each value (256, ) of a map.
    """

    pictures: list[Picture]
    num_images: int
    num_kept: int
    num_annotations: int
    classes: tuple[str, ...] | None
    num_classes: int | None
    label_of_value: np.ndarray = field(default_factory=lambda: np.arange(256))
