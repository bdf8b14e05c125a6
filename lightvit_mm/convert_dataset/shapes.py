"""Shapes as COCO's boxes and segmentations."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from .records import Box


def polygon(points: Iterable[Sequence[float]]) -> list[float]:
    """Points (x, y) as x1, y1, x2, y2, ..."""
    return [float(value) for point in points for value in point]


def rectangle(box: Box) -> list[float]:
    """The corners of x, y, width, height as a polygon."""
    x, y, w, h = box
    return polygon([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])


def corners_box(points: Iterable[Sequence[float]]) -> Box:
    """The smallest box around points (x, y)."""
    xs, ys = zip(*points)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def ellipse(
    cx: float, cy: float, rx: float, ry: float, theta: float = 0.0
) -> list[float]:
    """An ellipse as a polygon that is at most a quarter of a pixel inside.

    Args:
        cx: x of the centre.
        cy: y of the centre.
        rx: Radius along x before the rotation.
        ry: Radius along y before the rotation.
        theta: Rotation in radians from x towards y.
    """
    number = max(12, math.ceil(math.pi / math.acos(1 - 0.25 / max(rx, ry, 1))))
    cos, sin = math.cos(theta), math.sin(theta)
    points = []
    for i in range(number):
        x = rx * math.cos(2 * math.pi * i / number)
        y = ry * math.sin(2 * math.pi * i / number)
        points.append((cx + x * cos - y * sin, cy + x * sin + y * cos))
    return polygon(points)


def run_lengths(mask: np.ndarray) -> dict:
    """COCO's uncompressed run-length code of a mask (height, width)."""
    flat = np.concatenate([[False], mask.astype(bool).ravel(order='F')])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return dict(size=list(mask.shape), counts=counts.tolist())
