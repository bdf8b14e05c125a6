"""What was found, and how it is told."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from numbers import Real
from typing import NamedTuple

import numpy as np

MAX_EXAMPLES = 5  # that are told of a kind


class Kind(NamedTuple):
    """Something that may be wrong.

    Args:
        title: What it is, in the plural.
        remedy: What to do about it.
        is_fault: False for what the libraries cope with, or what cannot be
            told from the data alone: a note.
    """

    title: str
    remedy: str
    is_fault: bool = True


class Finding(NamedTuple):
    """Something found.

    Args:
        kind: What it is.
        file: Where it is.
        entry: Which entry of the file, and its values.
    """

    kind: Kind
    file: str
    entry: str


class Report:
    """Findings by split and kind, each kind told with a few examples."""

    def __init__(self) -> None:
        self.summaries: list[str] = []
        self._groups: dict[tuple[str, Kind], list[Finding]] = {}

    def add(self, split: str, findings: Iterable[Finding]) -> None:
        """Add what was found in a split, as 'train' or 'val, test'."""
        for finding in findings:
            self._groups.setdefault((split, finding.kind), []).append(finding)

    @property
    def findings(self) -> list[Finding]:
        return [x for group in self._groups.values() for x in group]

    @property
    def has_faults(self) -> bool:
        return any(kind.is_fault for _, kind in self._groups)

    def __str__(self) -> str:
        # Notes last, where they are read beside the result.
        groups = sorted(self._groups.items(), key=lambda item: not item[0][1].is_fault)
        parts = ['\n'.join(self.summaries)]
        parts += [_tell(*key, findings) for key, findings in groups]
        if not self.has_faults:
            parts.append(
                'nothing wrong found' + (' beside the notes above' if groups else '')
            )
        return '\n\n'.join(filter(None, parts))


def _tell(split: str, kind: Kind, findings: list[Finding]) -> str:
    label = 'FAULT' if kind.is_fault else 'NOTE'
    lines = [f'{label} in {split}: {kind.title} ({len(findings)})']
    lines += [f'  {x.file}: {x.entry}' for x in findings[:MAX_EXAMPLES]]
    if len(findings) > MAX_EXAMPLES:
        lines.append(f'  ... and {len(findings) - MAX_EXAMPLES} more')
    lines.append(f'  Remedy: {kind.remedy}.')
    return '\n'.join(lines)


def listed(names: Iterable[str], most: int = 10) -> str:
    """Names in one line, 'none' or the first ones and how many follow."""
    names = list(names)
    rest = f' and {len(names) - most} more' if len(names) > most else ''
    return (', '.join(names[:most]) or 'none') + rest


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


NOT_A_BOX = Kind(
    'boxes that are not four numbers', 'A bbox is x, y, width, height in pixels'
)
NO_AREA = Kind(
    'boxes of no area',
    'Correct or remove them; boxes thinner than a pixel and annotations of '
    'area 0 are left out without a word',
)
OUTSIDE = Kind(
    'boxes outside of the image',
    'Correct or remove them; they are left out without a word. A bbox is x, '
    'y, width, height in pixels, not x1, y1, x2, y2',
)
PARTLY_OUTSIDE = Kind(
    'boxes partly outside of the image',
    'They are cut at the border when the image is resized. If there are many, '
    'see whether each bbox is x, y, width, height, not x1, y1, x2, y2',
    is_fault=False,
)

TOLERANCE = 1  # pixel beyond the border


def check_box(
    box: Sequence[float], size: tuple[int, int], area: float = 1
) -> Kind | None:
    """What is wrong with a box, None if nothing is.

    Args:
        box: x, y, width and height in pixels.
        size: Width and height of the image.
        area: What the annotation gives as area of the object.
    """
    if len(box) != 4 or not all(isinstance(x, Real) and isfinite(x) for x in box):
        return NOT_A_BOX
    x, y, w, h = box
    if w < 1 or h < 1 or area <= 0:
        return NO_AREA
    width, height = size
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        return OUTSIDE
    if (
        min(x, y) < -TOLERANCE
        or x + w > width + TOLERANCE
        or y + h > height + TOLERANCE
    ):
        return PARTLY_OUTSIDE
    return None
