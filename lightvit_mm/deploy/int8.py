"""Export models in int8 and measure their agreement with float32."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

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

from ..files import PathLike, written_whole
from ..installed import check_installed
from ..models.layers import HW
from ..trained import network_input
from .export import check_name, export, onnx_to_openvino, take
from .modules import ExportError
from .sessions import open_onnxruntime, open_openvino

Batch = np.ndarray | tuple[np.ndarray, ...]
Outputs = Sequence[np.ndarray]

MIN_SCORE = 0.3  # of the detections that are compared
MIN_IOU = 0.5  # of two boxes that count as the same
COMPARED = dict(
    classification='images of the same class',
    segmentation='pixels of the same class',
    detection=f'boxes with a score of at least {MIN_SCORE} found again',
    features='mean cosine similarity of the maps',
)


class Agreement(NamedTuple):
    """The agreement of two models.

    Args:
        share: 0 to 1, of ``COMPARED[task]``; NaN if there was nothing to compare.
        task: Task of the models.
        num_images: Number of images on which they were compared.
    """

    share: float
    task: str
    num_images: int

    def __str__(self) -> str:
        return f'{self.share:.2%} ({COMPARED[self.task]}) on {self.num_images} images'


def export_int8(
    model: nn.Module,
    cfg: Config,
    path: PathLike,
    images: Sequence[Path],
    format: str = 'onnx',
    size: HW | None = None,
    part: str = 'model',
) -> Agreement:
    """Write a model in int8 and compare it with the same model in float32.

    The written file itself is compared, in its runtime, because runtimes compute
    int8 differently.

    Args:
        model: See :func:`lightvit_mm.deploy.export.export`.
        cfg: See there.
        path: See there.
        images: Image files, prepared by the test pipeline of the config. Every
            second one is used for calibration, the others for the comparison.
        format: 'onnx' or 'openvino'.
        size: See there.
        part: See there.

    Raises:
        ValueError: As there, and if there are fewer than two images, or one cannot
            be read or is larger than ``size``.
        ModuleNotFoundError: As there.
        OSError: As there.
    """
    path = Path(path)
    if format not in ('onnx', 'openvino'):
        raise ExportError(
            f'format={format!r} does not support int8: expected onnx or openvino'
        )
    check_name(path, format)
    if len(images) < 2:
        raise ExportError(
            f'{len(images)} images for int8: expected at least two, better a hundred'
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


def _batches(
    task: str, model: nn.Module, cfg: Config, images: Sequence[Path], size: HW | None
) -> Iterator[Batch]:
    """The inputs of a model of the given task, one image per batch."""
    for path in images:
        image, inputs = network_input(model, cfg, path)
        if size is not None:
            h, w = size[0] - inputs.shape[2], size[1] - inputs.shape[3]
            if min(h, w) < 0:
                raise ExportError(
                    f'The image {path} has {inputs.shape[2]} x {inputs.shape[3]} '
                    f'pixels after the test pipeline: expected at most {size[0]} x '
                    f'{size[1]}, the size of the model'
                )
            inputs = F.pad(inputs, (0, w, 0, h))
        batch = (inputs.numpy(),)
        if task == 'detection':
            batch += (np.array([image.shape[:2]], np.float32),)
        yield batch


def quantize_onnx(source: Path, target: Path, batches: Iterable[Batch]) -> None:
    """Quantise the products with weights in an ONNX model to int8.

    This is static quantisation by onnxruntime. Weights have one scale per output
    channel and activations have one scale each, from their largest absolute value
    on the batches. The stem, the products of two activations (as in attention),
    products with a maximum and all other operators stay in float32. The metadata
    is kept.

    Args:
        source: Model to quantise.
        target: File to write. An existing one is replaced only if nothing fails.
        batches: Calibration inputs (B, C, h, w); tuples of inputs for a model
            with several of them.
    """
    with written_whole(Path(target)) as draft:
        prepared = draft.with_suffix('.prepared.onnx')
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        # The few channels of the stem differ too much for one scale: with an int8
        # stem, the logits of the demo's classifier change eight times as much.
        stem = [node.name for node in graph.node if 'patch_embed' in node.name]
        # OpenVINO cannot read int8 attention on every CPU. The option
        # MatMulConstBOnly exists only for the other quant_format.
        weights = {tensor.name for tensor in graph.initializer}
        attention = [
            node.name
            for node in graph.node
            if node.op_type == 'MatMul' and weights.isdisjoint(node.input)
        ]
        # OpenVINO 2026.4 moves the quantisation before a maximum and computes it
        # wrongly: the residual of the patch merging is then 20 % off.
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
            # OpenVINO does not read zero points here.
            extra_options=dict(ActivationSymmetric=True),
        )


class _Reader(CalibrationDataReader):
    """Batches for the calibration of onnxruntime, by the names of the inputs."""

    def __init__(self, names: Sequence[str], batches: Iterable[Batch]) -> None:
        self.names = names
        self.batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, None after the last."""
        batch = next(self.batches, None)
        if batch is None:
            return None
        inputs = batch if isinstance(batch, tuple) else (batch,)
        return dict(zip(self.names, inputs))


def compare(
    task: str, first: Path, second: Path, batches: Iterable[tuple[np.ndarray, ...]]
) -> Agreement:
    """Compare two files on batches of one image each.

    Each runs in its own runtime, because runtimes compute int8 differently.

    Args:
        task: Task of both models.
        first: Reference file, .onnx or OpenVINO's .xml.
        second: File to compare with it, .onnx or .xml.
        batches: Arrays in the order of the inputs of the files.
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
    """The number of equal classes and the number of classes."""
    same = first[0].argmax(axis=1) == second[0].argmax(axis=1)
    return same.sum(), same.size


def _count_boxes(first: Outputs, second: Outputs) -> tuple[int, int]:
    """The number of boxes that are found again and the number of boxes."""
    boxes, scores, labels = (
        [torch.from_numpy(x[0]) for x in outputs]
        for outputs in zip(first[:3], second[:3])
    )
    wanted = scores[0] >= MIN_SCORE
    is_same = box_iou(*boxes) >= MIN_IOU
    is_same &= labels[0][:, None] == labels[1]
    # A box whose score fell just below the minimum counts as found, too.
    is_same &= scores[1] >= MIN_SCORE / 2
    return int(is_same.any(dim=1)[wanted].sum()), int(wanted.sum())


def _add_cosines(first: Outputs, second: Outputs) -> tuple[float, int]:
    """The sum of the cosine similarities of the maps and the number of maps."""
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
