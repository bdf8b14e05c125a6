"""mmcv's compiled operators, implemented with torchvision's.

``mmcv-lite`` has no compiled extension; this module is imported in its place as
``mmcv._ext`` (see :mod:`lightvit_mm.compat`). Signatures and results are those
of mmcv 2.x (``mmcv/ops/csrc``): tensors that mmcv calls ``output``, ``dets``,
``argmax*`` and ``grad*`` are filled in place. Boxes are ``x1, y1, x2, y2``; RoIs
are ``index, x1, y1, x2, y2`` with the index of the image.

The operators run on every device that torchvision supports. Half precision is
computed in float32, because torchvision supports it on GPUs only. Operators
that are missing here raise NotImplementedError when they are called.

torchvision's CPU kernels read and write outside of their tensors if a RoI has an
invalid image index, if a map has no pixels, or if a coordinate or an offset is NaN.
This crashes the process or, worse, changes other data. On the CPU, such input raises a
ValueError. On GPUs it is not checked, because the check would wait for the GPU.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

_vision = torch.ops.torchvision

_MAX_POOL, _AVG_POOL = 0, 1


def _raise_missing(name: str, *args, **kwargs) -> None:
    raise NotImplementedError(
        f'mmcv.ops calls {name!r}, a compiled operator of mmcv that '
        'torchvision cannot replace. Install mmcv with its operators: '
        '`pip install -U openmim && mim install "mmcv>=2.0.1"`, or from '
        'source with MMCV_WITH_OPS=1.'
    )


def __getattr__(name: str) -> Callable:
    # Importing mmcv.ops looks up every operator.
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return partial(_raise_missing, name)


def get_compiler_version() -> str:
    """What mmcv reports as its compiler."""
    return f'none (torchvision {torchvision.__version__})'


def get_compiling_cuda_version() -> str:
    """What mmcv reports as the CUDA version that it was compiled with."""
    return torch.version.cuda or 'not available'


def _widen(*tensors: Tensor) -> Iterator[Tensor]:
    """All tensors in the dtype of the first, but at least in float32."""
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    return (tensor.to(dtype) for tensor in tensors)


# Non-maximum suppression


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes that are kept, by descending score.

    Args:
        boxes: Shape (N, 4).
        scores: Shape (N, ).
        iou_threshold: A box is dropped if its IoU with a better one exceeds this.
        offset: A box is ``x2 - x1 + offset`` wide.
    """
    boxes, scores = _widen(boxes, scores)
    boxes = torch.cat((boxes[:, :2], boxes[:, 2:] + offset), dim=1)
    # mmcv compares in float32, where an IoU of 3 / 5 does not exceed 0.6.
    return _vision.nms(boxes, scores, float(np.float32(iou_threshold)))


def _iou(box: Tensor, boxes: Tensor, offset: int = 0) -> Tensor:
    """IoU of one box (4, ) with each of the boxes (N, 4).

    Boxes without area do not overlap. (In mmcv the IoU of two of them is NaN.)
    """

    def area(corners: Tensor) -> Tensor:
        return (corners[..., 2:] - corners[..., :2] + offset).prod(dim=-1)

    top_left = torch.maximum(box[:2], boxes[:, :2])
    bottom_right = torch.minimum(box[2:], boxes[:, 2:])
    overlap = (bottom_right - top_left + offset).clamp(min=0).prod(dim=-1)
    union = area(box) + area(boxes) - overlap
    return torch.where(union > 0, overlap / union, 0.0)


def _fill_holes(order: Tensor, kept: Tensor) -> Tensor:
    """The kept elements; the last of them fill the holes, as in mmcv."""
    size = int(kept.sum())
    filled = order[:size].clone()
    filled[~kept[:size]] = order[size:][kept[size:]].flip(0)
    return filled


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Indices of the boxes that Soft-NMS keeps, by descending final score.

    Equal scores are ranked as in mmcv. There the ranking depends on the order of
    an array, in which the best box is swapped to the front and a dropped box is
    replaced by the last.

    Args:
        boxes: Shape (N, 4).
        scores: Shape (N, ).
        dets: Shape (N, 5). Its first rows are set to the boxes that are kept,
            with their final scores.
        iou_threshold: Methods 0 and 1 lower the scores of boxes that
            overlap a better one by at least this IoU.
        sigma: Width of method 2.
        min_score: A box is dropped when its score falls below this.
        method: 0 sets the score to zero, 1 multiplies it by ``1 - iou``, 2 by
            ``exp(-iou**2 / sigma)``.
        offset: As in :func:`nms`.
    """
    decay = {
        0: lambda iou: torch.where(iou >= iou_threshold, 0.0, 1.0),
        1: lambda iou: torch.where(iou >= iou_threshold, 1 - iou, 1.0),
        2: lambda iou: torch.exp(-(iou**2) / sigma),
    }[method]
    boxes, scores = _widen(boxes, scores.clone())
    order = torch.arange(len(boxes), device=boxes.device)
    done = 0
    while done < len(order):
        best = done + int(scores[order[done:]].argmax())
        order[[done, best]] = order[[best, done]]
        box, rest = order[done], order[done + 1 :]
        scores[rest] *= decay(_iou(boxes[box], boxes[rest], offset))
        rest = _fill_holes(rest, scores[rest] >= min_score)
        done += 1
        order = torch.cat((order[:done], rest))
    dets[:done] = torch.cat((boxes[order], scores[order, None]), dim=1)
    return order


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of boxes: each kept box, followed by those that it suppresses.

    Args:
        dets: Boxes and scores, shape (N, 5).
        iou_threshold: A box is suppressed from this IoU on.
    """
    (dets,) = _widen(dets)
    order = dets[:, 4].argsort(descending=True)
    groups = []
    while len(order):
        best, rest = order[0], order[1:]
        matched = _iou(dets[best, :4], dets[rest, :4]) >= iou_threshold
        groups.append([int(best), *rest[matched].tolist()])
        order = rest[~matched]
    return groups


# RoI pooling


# The most samples of one RoI; torchvision's CPU kernel needs 2 GB for them.
_MAX_SAMPLES = 2**26


def _check_rois(operator: str, rois: Tensor, num_images: int) -> None:
    """Refuse RoIs that are in no image or not finite; see the module's docstring."""
    if rois.dim() != 2 or rois.shape[1] != 5:
        raise ValueError(
            f'{operator} got RoIs of shape {tuple(rois.shape)}, but expects (K, 5)'
        )
    if not rois.is_cpu:
        return
    index = rois[:, 0]
    good = rois.isfinite().all(dim=1) & (index >= 0) & (index < num_images)
    good &= index == index.floor()
    if not good.all():
        raise ValueError(
            f'{operator} got the RoI {rois[~good][0].tolist()}, but expects an '
            f'integer image index >= 0 and below {num_images}, and four finite '
            'coordinates'
        )


def _check_samples(
    shape: torch.Size, rois: Tensor, bins: tuple[int, int], scale: float, ratio: int
) -> None:
    """Refuse maps without pixels, and RoIs with too many samples for the memory."""
    if not rois.is_cpu or not len(rois):
        return
    if 0 in shape[2:]:
        raise ValueError(
            f'roi_align got a map of shape {tuple(shape)}, but expects a height and '
            'width of at least 1'
        )
    sides = (rois[:, [4, 3]] - rois[:, [2, 1]]).double().abs() * scale
    counts = sides.new_tensor(bins)
    per_bin = (sides.clamp(min=1) / counts).ceil() if ratio <= 0 else ratio
    samples = (counts * per_bin).prod(dim=-1).expand(len(rois))
    if (samples > _MAX_SAMPLES).any():
        raise ValueError(
            f'roi_align got the RoI {rois[samples.argmax()].tolist()}, which needs '
            f'more than {_MAX_SAMPLES} samples: clip it, or set a smaller '
            'sampling_ratio above 0'
        )


def _check_pool_mode(pool_mode: int) -> None:
    if pool_mode not in (_MAX_POOL, _AVG_POOL):
        raise ValueError(
            f'pool_mode={pool_mode} should be {_MAX_POOL} (max) or {_AVG_POOL} (avg)'
        )


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign.

    Args:
        input: Shape (B, C, H, W).
        rois: Shape (K, 5).
        output: Shape (K, C, aligned_height, aligned_width).
        argmax_y: The y of the largest sample on the map, in the shape of the
            output; -1 in a bin without samples. Used for max pooling only.
        argmax_x: Its x.
        aligned_height: Rows of bins per RoI.
        aligned_width: Columns of bins per RoI.
        spatial_scale: Pixels of the map per unit of the RoIs.
        sampling_ratio: Samples along each side of a bin; 0 for one per pixel
            of the map.
        pool_mode: 0 for the largest sample of a bin, 1 for the mean.
        aligned: Whether pixel centres lie at halves. If not, RoIs smaller than
            one pixel are enlarged to one.

    Raises:
        ValueError: If pool_mode is neither 0 nor 1. On the CPU also if the map has no
            pixels, or if a RoI is in no image, is not finite, or needs more than
            2**26 samples.
    """
    _check_pool_mode(pool_mode)
    _check_rois('roi_align', rois, len(input))
    size = (aligned_height, aligned_width)
    _check_samples(input.shape, rois, size, spatial_scale, sampling_ratio)
    input, rois = _widen(input, rois)
    if pool_mode == _AVG_POOL:
        output.copy_(
            _vision.roi_align(
                input, rois, spatial_scale, *size, sampling_ratio, aligned
            )
        )
    else:
        _max_roi_align(
            input,
            rois,
            output,
            argmax_y,
            argmax_x,
            size,
            spatial_scale,
            sampling_ratio,
            aligned,
        )


def _max_roi_align(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> None:
    """RoIAlign with max pooling.

    torchvision can only average: let it average single samples, then take the
    largest of them.
    """
    start, end = (rois[:, [2, 1, 4, 3]] * spatial_scale - 0.5 * aligned).split(2, dim=1)
    extent = end - start if aligned else (end - start).clamp(min=1)
    bins = extent / extent.new_tensor(size)
    samples = (
        torch.full_like(bins, sampling_ratio) if sampling_ratio > 0 else bins.ceil()
    ).long()

    output.fill_(torch.finfo(output.dtype).min)
    argmax_y.fill_(-1)
    argmax_x.fill_(-1)
    for pair in samples[(samples > 0).all(dim=1)].unique(dim=0):
        rows, cols = pair.tolist()
        same = (samples == pair).all(dim=1)
        values = _vision.roi_align(
            input, rois[same], spatial_scale, size[0] * rows, size[1] * cols, 1, aligned
        )
        values = values.unflatten(3, (size[1], cols))
        values = values.unflatten(2, (size[0], rows)).transpose(3, 4)
        largest, index = values.flatten(4).max(dim=-1)
        row = torch.arange(size[0], device=rois.device)[:, None]
        col = torch.arange(size[1], device=rois.device)
        top, left = start[same].T[..., None, None, None]
        height, width = bins[same].T[..., None, None, None]
        # The halves are exact in float32; the factor in front of them is rounded.
        y = top + height / rows * (row * rows + index // cols + 0.5)
        x = left + width / cols * (col * cols + index % cols + 0.5)
        output[same] = largest.to(output)
        argmax_y[same] = y.to(argmax_y)
        argmax_x[same] = x.to(argmax_x)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of :func:`roi_align_forward` with respect to its input."""
    _check_pool_mode(pool_mode)
    _check_rois('roi_align', rois, len(grad_input))
    size = (aligned_height, aligned_width)
    _check_samples(grad_input.shape, rois, size, spatial_scale, sampling_ratio)
    grad_output, rois = _widen(grad_output, rois)
    if pool_mode == _AVG_POOL:
        grad_input.copy_(
            _vision._roi_align_backward(
                grad_output,
                rois,
                spatial_scale,
                *size,
                *grad_input.shape,
                sampling_ratio,
                aligned,
            )
        )
    else:
        grad_input.copy_(
            _max_roi_align_backward(
                grad_output, rois, argmax_y, argmax_x, grad_input.shape
            )
        )


def _max_roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    shape: torch.Size,
) -> Tensor:
    """Spread each gradient from its sample over the pixels around it.

    Each sample becomes a RoI of size zero, on a batch of single channels.
    """
    batch, channels, height, width = shape
    channel = torch.arange(channels, device=rois.device)
    plane = rois[:, :1].long() * channels + channel
    _, y, x = _widen(rois, argmax_y + 0.5, argmax_x + 0.5)
    points = torch.stack((plane[..., None, None].expand_as(y), x, y, x, y), -1)
    sampled = argmax_y != -1
    grad = _vision._roi_align_backward(
        grad_output[sampled][:, None, None, None],
        points[sampled],
        1.0,
        1,
        1,
        batch * channels,
        1,
        height,
        width,
        1,
        True,
    )
    return grad.view(shape)


def _bin_edges(
    start: Tensor, extent: Tensor, bins: int, limit: int
) -> list[list[tuple[int, int]]]:
    """First pixel and end of each bin of each RoI along one axis."""
    steps = torch.arange(bins + 1, device=start.device)
    edges = steps * (extent / bins)[:, None] + start[:, None]
    first = edges[:, :-1].floor().clamp(0, limit).long()
    end = edges[:, 1:].ceil().clamp(0, limit).long()
    return torch.stack((first, end), dim=-1).tolist()


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """RoIPool: the largest pixel of every bin.

    torchvision's operator would differ: it rounds RoIs to pixels before it
    divides them.

    Args:
        input: Shape (B, C, H, W).
        rois: Shape (K, 5); ``x2`` and ``y2`` lie inside the RoI.
        output: Shape (K, C, pooled_height, pooled_width); 0 in an empty bin.
        argmax: Index of the largest pixel on the map, in the shape of the
            output; -1 in an empty bin.
        pooled_height: Rows of bins per RoI.
        pooled_width: Columns of bins per RoI.
        spatial_scale: Pixels of the map per unit of the RoIs.

    Raises:
        ValueError: On the CPU, if a RoI is in no image or is not finite.
    """
    _check_rois('roi_pool', rois, len(input))
    input, rois = _widen(input, rois)
    height, width = input.shape[2:]
    start = rois[:, 1:3] * spatial_scale
    extent = (rois[:, 3:] + 1) * spatial_scale - start
    cols = _bin_edges(start[:, 0], extent[:, 0], pooled_width, width)
    rows = _bin_edges(start[:, 1], extent[:, 1], pooled_height, height)
    images = rois[:, 0].long().tolist()

    output.zero_()
    argmax.fill_(-1)
    for k in (extent > 0).all(dim=1).nonzero().flatten().tolist():
        for i, (top, bottom) in enumerate(rows[k]):
            for j, (left, right) in enumerate(cols[k]):
                pixels = input[images[k], :, top:bottom, left:right]
                if pixels.numel() == 0:
                    continue
                largest, index = pixels.flatten(1).max(dim=1)
                y = top + index // pixels.size(2)
                x = left + index % pixels.size(2)
                output[k, :, i, j] = largest
                argmax[k, :, i, j] = y * width + x


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Gradient of :func:`roi_pool_forward` with respect to its input."""
    _check_rois('roi_pool', rois, len(grad_input))
    (grad_output,) = _widen(grad_output)
    _, channels, height, width = grad_input.shape
    channel = torch.arange(channels, device=rois.device)
    plane = rois[:, :1].long() * channels + channel
    pixel = plane[..., None, None] * (height * width) + argmax
    pooled = argmax >= 0
    grad = grad_output.new_zeros(grad_input.numel())
    grad.index_add_(0, pixel[pooled], grad_output[pooled])
    grad_input.copy_(grad.view_as(grad_input))


# Deformable convolution


def _check_kernel(weight: Tensor, kernel: tuple[int, int]) -> None:
    if weight.shape[2:] != kernel:
        raise ValueError(
            f'A weight of shape {tuple(weight.shape)} does not fit the '
            f'kernel size {kernel}'
        )


def _check_offset(operator: str, offset: Tensor) -> None:
    """Refuse offsets that are not finite; see the module's docstring."""
    if offset.is_cpu and not offset.isfinite().all():
        bad = offset[~offset.isfinite()]
        raise ValueError(
            f'{operator} got {bad.numel()} offsets that are not finite, such as '
            f'{bad[0].item()}: check whether the training has diverged'
        )


def _sample_positions(
    offset: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """The coordinates that the kernel samples, in the shape of ``offset``."""
    size = offset.shape[2:]
    y, x = (
        torch.arange(k, device=offset.device)[:, None] * d
        + torch.arange(n, device=offset.device) * s
        - p
        for k, n, s, p, d in zip(kernel, size, stride, padding, dilation)
    )
    grid = torch.stack(torch.broadcast_tensors(y[:, None, :, None], x[:, None]), dim=2)
    taps = grid.flatten(0, 2)
    return (offset.unflatten(1, (-1, len(taps))) + taps).view_as(offset)


def _deform_conv_backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    group: int,
    deformable_group: int,
) -> tuple[Tensor, ...]:
    """Gradients of the input, weight, offset, mask and bias."""
    use_mask = mask is not None
    _check_offset('modulated_deform_conv' if use_mask else 'deform_conv', offset)
    grad, input, weight, offset, mask = _widen(
        grad,
        input,
        weight,
        offset,
        mask if use_mask else input.new_zeros(len(input), 1),
    )
    grad_input, grad_weight, grad_offset, grad_mask, grad_bias = (
        _vision._deform_conv2d_backward(
            grad,
            input,
            weight,
            offset,
            mask,
            input.new_zeros(len(weight)),
            *stride,
            *padding,
            *dilation,
            group,
            deformable_group,
            use_mask,
        )
    )
    # One pixel outside the map, samples are 0 on one side and not on the other.
    # mmcv uses the derivative of the side with zeros, torchvision the other's.
    positions = _sample_positions(offset, weight.shape[2:], stride, padding, dilation)
    grad_offset = grad_offset.masked_fill(positions == -1, 0.0)
    return grad_input, grad_weight, grad_offset, grad_mask, grad_bias


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Deformable convolution (v1).

    Args:
        input: Shape (B, C, H, W).
        weight: Shape (C_out, C / group, kH, kW).
        offset: Shape (B, deformable_group * kH * kW * 2, H_out, W_out), in
            pixels, y before x.
        output: Shape (B, C_out, H_out, W_out).
        columns: Buffer of mmcv, not used.
        ones: Buffer of mmcv, not used.
        kW: Width of the kernel.
        kH: Height of the kernel.
        dW: Stride in x.
        dH: Stride in y.
        padW: Padding in x.
        padH: Padding in y.
        dilationW: Dilation in x.
        dilationH: Dilation in y.
        group: Groups of channels.
        deformable_group: Groups of channels with separate offsets.
        im2col_step: Images that mmcv processes at once; it does not change the
            result.

    Raises:
        ValueError: If the kernel of the weight is not (kH, kW). On the CPU also if
            an offset is not finite.
    """
    _check_kernel(weight, (kH, kW))
    _check_offset('deform_conv', offset)
    input, weight, offset = _widen(input, weight, offset)
    mask, bias = input.new_zeros(len(input), 1), input.new_zeros(len(weight))
    output.copy_(
        _vision.deform_conv2d(
            input,
            weight,
            offset,
            mask,
            bias,
            dH,
            dW,
            padH,
            padW,
            dilationH,
            dilationW,
            group,
            deformable_group,
            False,
        )
    )


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Gradients of :func:`deform_conv_forward` with respect to input and offset."""
    _check_kernel(weight, (kH, kW))
    grads = _deform_conv_backward(
        gradOutput,
        input,
        weight,
        offset,
        None,
        (dH, dW),
        (padH, padW),
        (dilationH, dilationW),
        group,
        deformable_group,
    )
    gradInput.copy_(grads[0])
    gradOffset.copy_(grads[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add the gradient of the weight, times a scale, to ``gradWeight``."""
    _check_kernel(gradWeight, (kH, kW))
    # The gradient of the weight does not depend on the weight.
    grads = _deform_conv_backward(
        gradOutput,
        input,
        torch.zeros_like(gradWeight),
        offset,
        None,
        (dH, dW),
        (padH, padW),
        (dilationH, dilationW),
        group,
        deformable_group,
    )
    gradWeight.add_(grads[1].to(gradWeight), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Modulated deformable convolution (v2).

    Like :func:`deform_conv_forward`, with two more inputs: a bias (C_out, ),
    which is read only if ``with_bias``, and a mask
    (B, deformable_group * kernel_h * kernel_w, H_out, W_out), by which the
    samples are multiplied.

    Raises:
        ValueError: If the kernel of the weight is not (kernel_h, kernel_w). On the
            CPU also if an offset is not finite.
    """
    _check_kernel(weight, (kernel_h, kernel_w))
    _check_offset('modulated_deform_conv', offset)
    input, weight, bias, offset, mask = _widen(input, weight, bias, offset, mask)
    if not with_bias:
        bias = input.new_zeros(len(weight))
    output.copy_(
        _vision.deform_conv2d(
            input,
            weight,
            offset,
            mask,
            bias,
            stride_h,
            stride_w,
            pad_h,
            pad_w,
            dilation_h,
            dilation_w,
            group,
            deformable_group,
            True,
        )
    )


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Gradients of :func:`modulated_deform_conv_forward`."""
    _check_kernel(weight, (kernel_h, kernel_w))
    grads = _deform_conv_backward(
        grad_output,
        input,
        weight,
        offset,
        mask,
        (stride_h, stride_w),
        (pad_h, pad_w),
        (dilation_h, dilation_w),
        group,
        deformable_group,
    )
    grad_input.copy_(grads[0])
    grad_weight.copy_(grads[1])
    grad_offset.copy_(grads[2])
    grad_mask.copy_(grads[3])
    if with_bias:
        grad_bias.copy_(grads[4])


# Focal loss


def _check_labels(target: Tensor, highest: int) -> None:
    if target.numel() and target.max() > highest:
        raise ValueError(
            f'target has the label {int(target.max())}: expected {highest} at most'
        )


def _log(p: Tensor) -> Tensor:
    """Logarithm of a probability; finite at 0, as in mmcv."""
    return p.clamp(min=torch.finfo(torch.float32).tiny).log()


def _sigmoid_focal(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    of_class: Callable,
    of_others: Callable,
    alpha: float,
) -> Tensor:
    """Apply one function to p = sigmoid(input) at the labels, another elsewhere."""
    _check_labels(target, input.size(1))
    input, weight = _widen(input, weight)
    p = input.sigmoid()
    classes = torch.arange(input.size(1), device=input.device)
    result = torch.where(
        target[:, None] == classes, alpha * of_class(p), (1 - alpha) * of_others(p)
    )
    if weight.numel():
        # There is no weight for the background, which follows the classes.
        result = result * F.pad(weight, (0, 1), value=1.0)[target, None]
    return result


def sigmoid_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Focal loss of the sigmoid of each class.

    Args:
        input: Logits, shape (N, C).
        target: Labels, shape (N, ); C is the background.
        weight: Weights of the labels, shape (C, ) or empty. The background has
            a weight of 1; mmcv reads past the end of the tensor.
        output: Shape (N, C).
        gamma: Exponent.
        alpha: Factor at the labels; 1 - alpha elsewhere.

    Raises:
        ValueError: If a label exceeds C.
    """
    output.copy_(
        _sigmoid_focal(
            input,
            target,
            weight,
            lambda p: -((1 - p) ** gamma) * _log(p),
            lambda p: -(p**gamma) * _log(1 - p),
            alpha,
        )
    )


def sigmoid_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Gradient of :func:`sigmoid_focal_loss_forward`, elementwise."""
    grad_input.copy_(
        _sigmoid_focal(
            input,
            target,
            weight,
            lambda p: -((1 - p) ** gamma) * (1 - p - gamma * p * _log(p)),
            lambda p: -(p**gamma) * (gamma * (1 - p) * _log(1 - p) - p),
            alpha,
        )
    )


def _softmax_focal(
    softmax: Tensor, target: Tensor, weight: Tensor, of_label: Callable, alpha: float
) -> Tensor:
    """Apply a function to the probability of each label; 0 for labels below 0."""
    _check_labels(target, softmax.size(1) - 1)
    softmax, weight = _widen(softmax, weight)
    label = target.clamp(min=0)
    result = alpha * of_label(softmax.gather(1, label[:, None]).squeeze(1))
    if weight.numel():
        result = result * weight[label]
    return result.masked_fill(target < 0, 0.0)


def softmax_focal_loss_forward(
    softmax: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Focal loss of a softmax.

    Args:
        softmax: Probabilities, shape (N, C).
        target: Labels, shape (N, ); negative ones are ignored.
        weight: Weights of the labels, shape (C, ) or empty.
        output: Shape (N, ).
        gamma: Exponent.
        alpha: Factor.

    Raises:
        ValueError: If a label exceeds C - 1.
    """
    output.copy_(
        _softmax_focal(
            softmax, target, weight, lambda p: -((1 - p) ** gamma) * _log(p), alpha
        )
    )


def softmax_focal_loss_backward(
    softmax: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Gradient of :func:`softmax_focal_loss_forward` with respect to the logits.

    Args:
        softmax: As in the forward pass.
        target: As in the forward pass.
        weight: As in the forward pass.
        buff: Shape (N, ); set to the factor that the classes of a row share.
        grad_input: Shape (N, C).
        gamma: As in the forward pass.
        alpha: As in the forward pass.
    """
    buff.copy_(
        _softmax_focal(
            softmax,
            target,
            weight,
            lambda p: (
                -((1 - p) ** gamma) + gamma * (1 - p) ** (gamma - 1) * p * _log(p)
            ),
            alpha,
        )
    )
    classes = torch.arange(softmax.size(1), device=softmax.device)
    is_label = (target[:, None] == classes).to(softmax)
    grad_input.copy_(buff[:, None] * (is_label - softmax))


# Multi-scale deformable attention


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Multi-scale deformable attention, by mmcv's implementation in PyTorch.

    ``im2col_step`` does not change the result.
    """
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    output = multi_scale_deformable_attn_pytorch(
        value, value_spatial_shapes, sampling_locations, attention_weights
    )
    return output.type_as(value)  # autocast samples in float32


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Gradients of :func:`ms_deform_attn_forward`."""
    inputs = [
        tensor.detach().requires_grad_()
        for tensor in (value, sampling_locations, attention_weights)
    ]
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            inputs[0],
            value_spatial_shapes,
            value_level_start_index,
            *inputs[1:],
            im2col_step,
        )
    grads = torch.autograd.grad(output, inputs, grad_output)
    for buffer, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads):
        buffer.copy_(grad)
