"""Models in int8, and how far they agree with float32."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Union

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from mmengine.config import Config
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn
from torchvision.ops import box_iou

from ..config import check_installed
from ..files import IMAGE_SUFFIXES, PathLike, written_whole
from ..models.lightvit import HW
from ..trained import network_input
from .export import check_name, export, onnx_to_openvino, take
from .modules import ExportError
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


class _Reader(CalibrationDataReader):
    """Batches by the names of the inputs, as onnxruntime asks for them."""

    def __init__(self, names: Sequence[str], batches: Iterable[Batch]) -> None:
        self.names = names
        self.batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        if batch is None:
            return None
        inputs = batch if isinstance(batch, tuple) else (batch,)
        return dict(zip(self.names, inputs))


def quantize_onnx(source: Path, target: Path, batches: Iterable[Batch]) -> None:
    """Write an ONNX model with its products by weights in int8.

    Static quantisation of onnxruntime: one scale per output channel of a
    weight, and one per activation, from the greatest absolute value that it
    takes on the batches. The stem stays in float32, and so do the attention
    maps, products of a maximum and what is not a product. Metadata stay.

    Args:
        source: Model to quantise.
        target: The file. One that is there is replaced when all went well.
        batches: Inputs to calibrate with, (B, C, h, w), one after the other;
            for a model of several inputs tuples in the order of these.
    """
    with written_whole(Path(target)) as draft:
        prepared = draft.with_suffix('.prepared.onnx')
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        # Few channels, which differ too much for one scale: on the demo's
        # classifier int8 there changes the logits eight times as much.
        stem = [node.name for node in graph.node if 'patch_embed' in node.name]
        # OpenVINO cannot read attention in int8 on every CPU. The option
        # MatMulConstBOnly is for the other format.
        weights = {tensor.name for tensor in graph.initializer}
        attention = [
            node.name
            for node in graph.node
            if node.op_type == 'MatMul' and weights.isdisjoint(node.input)
        ]
        # OpenVINO 2026.4 draws int8 before a maximum and gets it wrong: the
        # residual of the patch merging is then 20 % off.
        maxima = {node.output[0] for node in graph.node if node.op_type == 'ReduceMax'}
        residuals = [
            node.name for node in graph.node if not maxima.isdisjoint(node.input)
        ]
        quantize_static(
            str(prepared),
            str(draft),
            _Reader([node.name for node in graph.input], batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=['Conv', 'ConvTranspose', 'Gemm', 'MatMul'],
            nodes_to_exclude=stem + attention + residuals,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            # OpenVINO reads no zero points here.
            extra_options=dict(ActivationSymmetric=True),
        )


def export_int8(
    model: nn.Module,
    cfg: Config,
    path: PathLike,
    images: Sequence[Path],
    format: str = 'onnx',
    size: HW | None = None,
    part: str = 'model',
) -> Agreement:
    """Write a model in int8 and compare it with the same in float32.

    The comparison is of the very file, as each runtime computes int8 in its
    own way.

    Args:
        model: As for :func:`lightvit_mm.deploy.export.export`.
        cfg: As there.
        path: As there.
        images: Image files, prepared by the config's test pipeline. Every
            second calibrates; the others are for the comparison.
        format: 'onnx' or 'openvino'.
        size: As there.
        part: As there.

    Raises:
        ValueError: As there, or if there are less than two images, or one
            cannot be read or exceeds the size.
        ModuleNotFoundError: As there.
        OSError: As there.
    """
    path = Path(path)
    if format not in ('onnx', 'openvino'):
        raise ExportError(f'format={format!r} has no int8: expected onnx or openvino')
    check_name(path, format)
    if len(images) < 2:
        raise ExportError(
            f'{len(images)} images for int8: expected two at least, and '
            'better a hundred'
        )
    if format == 'openvino':
        check_installed('openvino')
    task = take(model, cfg, part).task
    with TemporaryDirectory() as folder:
        fp32, int8 = Path(folder, 'fp32.onnx'), Path(folder, 'int8.onnx')
        size = export(model, cfg, fp32, 'onnx', size, part)
        quantize_onnx(fp32, int8, _batches(task, model, cfg, images[::2], size))
        suffixes = ['.bin'] if format == 'openvino' else []
        final = int8.with_suffix(path.suffix)
        if format == 'openvino':
            onnx_to_openvino(int8, final)
        agreement = compare(
            task, fp32, final, _batches(task, model, cfg, images[1::2], size)
        )
        with written_whole(path, *suffixes) as draft:
            for suffix in (*suffixes, path.suffix):
                shutil.copy(final.with_suffix(suffix), draft.with_suffix(suffix))
    return agreement


def image_files(folder: Path) -> list[Path]:
    """The images in a folder and below it, in the order of their names."""
    return sorted(
        path for path in folder.rglob('*') if path.suffix.lower() in IMAGE_SUFFIXES
    )


def _batches(
    task: str, model: nn.Module, cfg: Config, images: Sequence[Path], size: HW | None
) -> Iterator[Batch]:
    """Images one by one, as a module of that task takes them."""
    for path in images:
        image, inputs = network_input(model, cfg, path)
        if size is not None:
            h, w = size[0] - inputs.shape[2], size[1] - inputs.shape[3]
            if min(h, w) < 0:
                raise ExportError(
                    f'The image {path} is prepared to '
                    f'{inputs.shape[2]} x {inputs.shape[3]} pixels: expected '
                    f'{size[0]} x {size[1]} at most, the size of the model'
                )
            inputs = F.pad(inputs, (0, w, 0, h))
        batch = (inputs.numpy(),)
        if task == 'detection':
            batch += (np.array([image.shape[:2]], np.float32),)
        yield batch
