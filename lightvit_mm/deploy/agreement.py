"""How far two exported models agree on images."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Union

import numpy as np
import torch
from torchvision.ops import box_iou

from .sessions import open_onnxruntime, open_openvino

Batch = Union[np.ndarray, tuple[np.ndarray, ...]]
Outputs = Sequence[np.ndarray]

LEAST_SCORE = 0.3  # of the detections that are compared
LEAST_IOU = 0.5  # of two boxes that are taken for the same
WHAT = dict(
    classification='images of the same class',
    segmentation='pixels of the same class',
    detection=f'boxes of score {LEAST_SCORE} and more found again',
    features='mean cosine between maps',
)


class Agreement(NamedTuple):
    """How far a model agrees with another.

    Args:
        share: In 0 to 1, of ``WHAT[task]``; not a number if there was
            nothing to compare.
        task: Task of the models.
        num_images: Images on which they were compared.
    """

    share: float
    task: str
    num_images: int

    def __str__(self) -> str:
        return f'{self.share:.2%} ({WHAT[self.task]}) on {self.num_images} images'


def compare(
    task: str, first: Path, second: Path, batches: Iterable[tuple[np.ndarray, ...]]
) -> Agreement:
    """Compare two files on batches of one image each.

    Each runs in the runtime that it is for, as runtimes differ in int8.

    Args:
        task: Task of both.
        first: File to agree with, .onnx or OpenVINO's .xml.
        second: File that should agree, .onnx or .xml.
        batches: Inputs in the order of the files' inputs.
    """
    runs = [
        (open_openvino if path.suffix == '.xml' else open_onnxruntime)(path)
        for path in (first, second)
    ]
    counts: list[tuple[float, int]] = []
    for batch in batches:
        counts.append(_COUNT[task](*(run(*batch) for run in runs)))
    same, total = np.sum(counts, axis=0)
    return Agreement(same / total if total else float('nan'), task, len(counts))


def _count_classes(first: Outputs, second: Outputs) -> tuple[int, int]:
    """How many classes are the same, out of how many."""
    same = first[0].argmax(axis=1) == second[0].argmax(axis=1)
    return same.sum(), same.size


def _count_boxes(first: Outputs, second: Outputs) -> tuple[int, int]:
    """How many boxes are found again, out of how many."""
    boxes, scores, labels = (
        [torch.from_numpy(x[0]) for x in outputs]
        for outputs in zip(first[:3], second[:3])
    )
    wanted = scores[0] >= LEAST_SCORE
    is_same = box_iou(*boxes) >= LEAST_IOU
    is_same &= labels[0][:, None] == labels[1]
    # One that has fallen just below the least score is found, too.
    is_same &= scores[1] >= LEAST_SCORE / 2
    return int(is_same.any(dim=1)[wanted].sum()), int(wanted.sum())


def _add_cosines(first: Outputs, second: Outputs) -> tuple[float, int]:
    """The sum of the maps' cosines, and their number."""
    return sum(
        float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
        for a, b in zip(first, second)
    ), len(first)


_COUNT = dict(
    classification=_count_classes,
    segmentation=_count_classes,
    detection=_count_boxes,
    features=_add_cosines,
)
