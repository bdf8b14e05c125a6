"""What a reader returns: the images of a dataset, and what is known of each."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

Size = tuple[int, int]
Box = tuple[float, float, float, float]
# The parts of a mask: polygons [x1, y1, x2, y2, ...] and run-length codes of COCO.
Segmentation = Sequence[list[float] | dict]


class Object(NamedTuple):
    """An object in an image.

    Args:
        name: Its class.
        entry: Its place in the annotations, such as 'a.json: shape 1'.
        box: x, y, width, height in pixels. None: the bounds of its mask.
        segmentation: Its mask. Empty if it has only a box.
        is_crowd: Whether training and evaluation ignore it, as COCO's crowds.
    """

    name: str
    entry: str
    box: Box | None = None
    segmentation: Segmentation = ()
    is_crowd: bool = False


@dataclass(eq=False)
class Image:
    """An image, with its objects, its class or its mask.

    Args:
        path: Its file.
        entry: What lists it, such as 'a.json'.
        split: 'train', 'val', 'test', or None if the dataset has no split.
        size: Width and height as the image is loaded, for detection.
        objects: Its objects, for detection.
        label: Its class, for classification.
        mask: The file of its mask, for segmentation.
    """

    path: Path
    entry: str
    split: str | None = None
    size: Size = (0, 0)
    objects: Sequence[Object] = ()
    label: str | None = None
    mask: Path | None = None

    @property
    def classes(self) -> list[str]:
        """The class of each object, or of the image; empty if not known."""
        return [x.name for x in self.objects] if self.label is None else [self.label]


@dataclass
class Dataset:
    """A dataset as its reader found it.

    Args:
        images: All images.
        classes: The classes in their order. None: those of the images, sorted.
        notes: The entries that are left out or changed, for each reason.
        names_file: A file that names the values of the masks, for segmentation.
    """

    images: list[Image] = field(default_factory=list)
    classes: list[str] | None = None
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    names_file: Path | None = None


# The COCO annotations of each image, without id and image_id.
Annotations = dict[Image, list[dict[str, Any]]]
