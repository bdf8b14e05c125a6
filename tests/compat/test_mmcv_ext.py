"""mmcv's operators against plain NumPy implementations.

The NumPy implementations follow mmcv's documentation and sources, so the tests
also pass with mmcv's compiled extension. Gradients are compared with derivatives
of the NumPy forward along random directions, by central differences in float64.
Where mmcv has its compiled extension, the operators of this package are compared
with it at the end.
"""

import sys
from itertools import pairwise, product

import mmcv._ext as ext
import numpy as np
import pytest
import torch
from mmcv import ops
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from mmengine.hooks import Hook
from mmengine.runner import Runner

from lightvit_mm.compat import mmcv_ext
from lightvit_mm.config import read_config

COMPILED = not ext.__file__.endswith('mmcv_ext.py')

substitute_only = pytest.mark.skipif(
    COMPILED, reason='the compiled operators of mmcv do not handle this'
)


@pytest.fixture(params=['cpu', 'cuda'])
def device(request):
    if request.param == 'cuda' and not torch.cuda.is_available():
        pytest.skip('no GPU')
    return request.param


@pytest.fixture
def device_beyond_cpu(device):
    """A device for operators that mmcv has on GPUs only."""
    if COMPILED and device == 'cpu':
        pytest.skip("mmcv's CPU build lacks this operator")
    return device


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def tensor(array, device, dtype=torch.float64, grad=False):
    return torch.tensor(array, device=device, dtype=dtype, requires_grad=grad)


def array(tensor):
    return tensor.detach().double().cpu().numpy()


def check_operator(run, forward, inputs, device, rng):
    """Check values and gradients of ``run`` (torch) against ``forward`` (NumPy)."""
    tensors = [tensor(x, device, grad=True) for x in inputs]
    output = run(*tensors)
    np.testing.assert_allclose(array(output), forward(*inputs), atol=1e-9)

    weights = rng.standard_normal(output.shape)
    output.backward(tensor(weights, device))
    for i, x in enumerate(tensors):
        for _ in range(3):
            step = 1e-6 * rng.standard_normal(inputs[i].shape)
            ahead, behind = (
                forward(*inputs[:i], inputs[i] + s, *inputs[i + 1 :])
                for s in (step, -step)
            )
            np.testing.assert_allclose(
                (array(x.grad) * step).sum() * 2,
                ((ahead - behind) * weights).sum(),
                rtol=1e-5,
                atol=1e-12,
                err_msg=f'gradient of input {i}',
            )


# Non-maximum suppression


def make_boxes(rng, number=40):
    """Overlapping boxes, some with an IoU of exactly 0.6, and tied scores."""
    corner = rng.uniform(0, 20, (number, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(4, 12, (number, 2))), axis=1)
    boxes[::10] = [30, 30, 34, 31]
    boxes[1::10] = [31, 30, 35, 31]
    scores = rng.permutation(number) / number + 0.01
    return boxes.astype(np.float32), scores.astype(np.float32)


def iou(a, b, offset):
    offset = np.float32(offset)  # NumPy 1 would compute in float64
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    overlap = max(width, np.float32(0)) * max(height, np.float32(0))
    area_a, area_b = ((x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b))
    return overlap / (area_a + area_b - overlap)


def nms(boxes, scores, threshold, offset=0):
    kept = []
    for i in np.argsort(-scores, kind='stable'):
        if all(iou(boxes[i], boxes[k], offset) <= np.float32(threshold) for k in kept):
            kept.append(i)
    return kept


def soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    """mmcv's procedure, on a list of the remaining boxes; it decides ties."""
    scores, left, done = scores.copy(), list(range(len(boxes))), 0
    while done < len(left):
        best = max(range(done, len(left)), key=lambda p: scores[left[p]])
        left[done], left[best] = left[best], left[done]
        position = done + 1
        while position < len(left):
            i = left[position]
            overlap = iou(boxes[left[done]], boxes[i], offset)
            if method == 'gaussian':
                scores[i] *= np.exp(-(overlap**2) / sigma)
            elif overlap >= np.float32(threshold):
                scores[i] *= 0 if method == 'naive' else 1 - overlap
            if scores[i] < min_score:
                left[position] = left[-1]
                left.pop()
            else:
                position += 1
        done += 1
    return left, scores[left]


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.3, 0.6])
def test_nms(rng, device, offset, threshold):
    boxes, scores = make_boxes(rng)
    dets, kept = ops.nms(
        tensor(boxes, device, torch.float32),
        tensor(scores, device, torch.float32),
        threshold,
        offset,
    )
    expected = nms(boxes, scores, threshold, offset)
    assert kept.tolist() == expected
    np.testing.assert_array_equal(
        dets.cpu().numpy(), np.column_stack((boxes[expected], scores[expected]))
    )


def test_nms_threshold_is_exclusive():
    boxes = np.array([[0, 0, 4, 1], [1, 0, 5, 1]], np.float32)
    scores = np.array([0.5, 0.4], np.float32)
    for threshold, kept in ((0.6, 2), (0.599, 1)):
        assert len(ops.nms(boxes, scores, threshold)[1]) == kept


def test_nms_score_threshold_and_max_num(rng):
    boxes, scores = make_boxes(rng)
    _, kept = ops.nms(boxes, scores, 0.5, score_threshold=0.4, max_num=5)
    good = np.flatnonzero(scores > 0.4)
    expected = good[nms(boxes[good], scores[good], 0.5)][:5]
    np.testing.assert_array_equal(kept, expected)


@substitute_only
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_nms_in_other_dtypes(rng, device, dtype):
    boxes, scores = make_boxes(rng, number=16)
    boxes, scores = (tensor(x, device, dtype) for x in (boxes, scores))
    _, kept = ops.nms(boxes, scores, 0.45)
    assert kept.tolist() == nms(array(boxes), array(scores), 0.45)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('min_score', [1e-3, 0.3])
def test_soft_nms(rng, device, method, min_score, offset):
    boxes, scores = make_boxes(rng)
    scores = scores.round(1)  # with ties
    settings = (0.3, 0.5, min_score, method, offset)
    dets, kept = ops.soft_nms(
        tensor(boxes, device, torch.float32),
        tensor(scores, device, torch.float32),
        *settings,
    )
    expected, new_scores = soft_nms(boxes, scores, *settings)
    assert kept.tolist() == expected
    np.testing.assert_allclose(
        dets.cpu().numpy(), np.column_stack((boxes[expected], new_scores)), rtol=1e-5
    )


@substitute_only
def test_soft_nms_of_boxes_without_area():
    boxes, scores = torch.ones(2, 4), torch.tensor([0.9, 0.8])
    dets, _ = ops.soft_nms(boxes, scores, method='gaussian')
    assert dets[:, 4].tolist() == scores.tolist()


def test_nms_match(rng):
    boxes, scores = make_boxes(rng)
    expected, left = [], list(np.argsort(-scores))
    while left:
        best = left.pop(0)
        group = [i for i in left if iou(boxes[best], boxes[i], 0) >= np.float32(0.6)]
        left = [i for i in left if i not in group]
        expected.append([best, *group])
    groups = ops.nms_match(np.column_stack((boxes, scores)), 0.6)
    assert [group.tolist() for group in groups] == expected


@pytest.mark.parametrize('split_thr', [10000, 10])
@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='nms', iou_threshold=0.5),
        dict(type='soft_nms', iou_threshold=0.5, method='linear', min_score=0.05),
    ],
)
def test_batched_nms(rng, device, cfg, split_thr):
    boxes, scores = make_boxes(rng)
    classes = rng.integers(0, 3, len(boxes))
    dets, kept = ops.batched_nms(
        tensor(boxes, device, torch.float32),
        tensor(scores, device, torch.float32),
        tensor(classes, device, torch.int64),
        dict(cfg, split_thr=split_thr),
    )

    expected = {}
    for c in range(3):
        own = np.flatnonzero(classes == c)
        if cfg['type'] == 'nms':
            left = nms(boxes[own], scores[own], 0.5)
            new_scores = scores[own[left]]
        else:
            left, new_scores = soft_nms(
                boxes[own], scores[own], 0.5, 0.5, 0.05, 'linear', 0
            )
        expected.update(zip(own[left], new_scores))
    expected = sorted(expected.items(), key=lambda item: -item[1])
    order = [i for i, _ in expected]
    assert kept.tolist() == order
    np.testing.assert_array_equal(dets[:, :4].cpu().numpy(), boxes[order])
    # Soft-NMS gets boxes that mmcv has shifted, in float32.
    np.testing.assert_allclose(
        dets[:, 4].cpu().numpy(), [score for _, score in expected], rtol=1e-4
    )


def test_class_agnostic_batched_nms(rng):
    boxes, scores = make_boxes(rng)
    _, kept = ops.batched_nms(
        torch.tensor(boxes),
        torch.tensor(scores),
        torch.arange(len(boxes)),
        dict(type='nms', iou_threshold=0.5),
        class_agnostic=True,
    )
    assert kept.tolist() == nms(boxes, scores, 0.5)


# RoI pooling


def clamped_taps(y, x, height, width):
    """Bilinear sampling of RoIAlign: ((row, column), weight) of each pixel."""
    if not (-1 <= y <= height and -1 <= x <= width):
        return []
    y, x = (min(max(v, 0), n - 1) for v, n in ((y, height), (x, width)))
    return padded_taps(y, x, height, width)


def padded_taps(y, x, height, width):
    """Bilinear sampling of a map that is padded with zeros."""
    top, left = int(np.floor(y)), int(np.floor(x))
    return [
        ((row, col), (1 - abs(y - row)) * (1 - abs(x - col)))
        for row, col in product((top, top + 1), (left, left + 1))
        if 0 <= row < height and 0 <= col < width
    ]


def roi_align(feature, rois, size, scale, ratio, mode, aligned):
    channels, height, width = feature.shape[1:]
    output = np.zeros((len(rois), channels, *size))
    for k, roi in enumerate(rois):
        left, top, right, bottom = roi[1:] * scale - 0.5 * aligned
        extent = np.array([bottom - top, right - left])
        if not aligned:
            extent = np.maximum(extent, 1)
        bins = extent / size
        grid = (ratio, ratio) if ratio else np.ceil(bins).astype(int)
        for c, i, j in product(range(channels), *map(range, size)):
            values = [
                sum(
                    weight * feature[int(roi[0]), c][pixel]
                    for pixel, weight in clamped_taps(
                        top + (i + (m + 0.5) / grid[0]) * bins[0],
                        left + (j + (n + 0.5) / grid[1]) * bins[1],
                        height,
                        width,
                    )
                )
                for m, n in product(*map(range, grid))
            ]
            if mode == 'max':
                output[k, c, i, j] = max(values)
            elif values:
                output[k, c, i, j] = np.mean(values)
    return output


ROIS = np.array(
    [
        [0, 1.3, 2.2, 9.7, 8.1],
        [1, -5.2, -4.1, 25.3, 20.7],  # reaches past the map on every side
        [1, 3.1, 4.2, 3.4, 4.3],  # below one pixel
        [0, 2.1, 0.2, 4.3, 15.9],  # tall
        [0, 60.0, 60.0, 70.0, 70.0],  # off the map
    ]
)


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 1, 2])
def test_roi_align(rng, device, mode, aligned, ratio):
    size, scale = (3, 2), 0.5
    layer = ops.RoIAlign(size, scale, ratio, mode, aligned)
    rois = tensor(ROIS, device)
    check_operator(
        lambda x: layer(x, rois),
        lambda x: roi_align(x, ROIS, size, scale, ratio, mode, aligned),
        [rng.standard_normal((2, 2, 6, 7))],
        device,
        rng,
    )


def test_max_roi_align_of_ties(device):
    """Of equal samples the first counts as the largest."""
    x = tensor(np.zeros((1, 1, 4, 4)), device, grad=True)
    rois = tensor([[0, 0, 0, 4, 4]], device)
    ops.RoIAlign((1, 1), 1.0, 2, 'max')(x, rois).backward(tensor([[[[1.0]]]], device))
    expected = np.zeros((4, 4))
    for pixel, weight in clamped_taps(0.5, 0.5, 4, 4):
        expected[pixel] = weight
    np.testing.assert_allclose(array(x.grad[0, 0]), expected)


def test_roi_align_of_an_empty_roi(rng, device):
    """Without samples the mean is 0 and the maximum has no gradient."""
    x = tensor(rng.standard_normal((1, 2, 4, 4)), device, grad=True)
    rois = tensor([[0, 2, 2, 2, 2]], device)
    assert not ops.RoIAlign((2, 2))(x, rois).any()
    largest = ops.RoIAlign((2, 2), pool_mode='max')(x, rois)
    assert (largest < -9999).all()
    largest.sum().backward()
    assert not x.grad.any()


def roi_pool(feature, rois, size, scale):
    channels = feature.shape[1]
    output = np.zeros((len(rois), channels, *size))
    for k, roi in enumerate(rois):
        left, top = roi[1:3] * scale
        right, bottom = (roi[3:] + 1) * scale
        if right <= left or bottom <= top:
            continue
        rows, cols = (
            [
                slice(max(int(np.floor(a)), 0), max(int(np.ceil(b)), 0))
                for a, b in pairwise(edges)
            ]
            for edges in (
                np.linspace(top, bottom, size[0] + 1),
                np.linspace(left, right, size[1] + 1),
            )
        )
        for c, i, j in product(range(channels), *map(range, size)):
            pixels = feature[int(roi[0]), c, rows[i], cols[j]]
            output[k, c, i, j] = pixels.max() if pixels.size else 0
    return output


def test_roi_pool(rng, device_beyond_cpu):
    size, scale = (3, 2), 0.5
    layer, rois = ops.RoIPool(size, scale), tensor(ROIS, device_beyond_cpu)
    check_operator(
        lambda x: layer(x, rois),
        lambda x: roi_pool(x, ROIS, size, scale),
        [rng.standard_normal((2, 2, 6, 7))],
        device_beyond_cpu,
        rng,
    )


def test_roi_pool_of_a_malformed_roi(rng, device_beyond_cpu):
    x = tensor(rng.standard_normal((1, 1, 4, 4)), device_beyond_cpu)
    rois = tensor([[0, 3.5, 3.5, 1.2, 1.2]], device_beyond_cpu)
    assert not ops.RoIPool((2, 2))(x, rois).any()


@pytest.mark.parametrize(
    'layer',
    [
        ops.RoIAlign((3, 2), 0.5, 2),
        ops.RoIAlign((3, 2), 0.5, 2, 'max'),
        pytest.param(ops.RoIPool((3, 2), 0.5), marks=substitute_only),
    ],
)
@pytest.mark.parametrize(
    'dtype',
    [
        torch.float16,
        pytest.param(torch.bfloat16, marks=substitute_only),
    ],
)
def test_half_precision_rois(rng, device, layer, dtype):
    """Equals double precision, rounded (by mmcv after every step)."""
    x = tensor(rng.integers(-8, 8, (2, 2, 6, 7)), device, dtype, grad=True)
    rois = tensor(ROIS, device, dtype)
    exact = x.detach().double().requires_grad_()
    expected, output = layer(exact, rois.double()), layer(x, rois)
    assert output.dtype == dtype
    tolerance = 64 * torch.finfo(dtype).eps
    np.testing.assert_allclose(array(output), array(expected), atol=tolerance)
    expected.sum().backward()
    output.sum().backward()
    np.testing.assert_allclose(array(x.grad), array(exact.grad), atol=tolerance)


@substitute_only
@pytest.mark.parametrize(
    'layer',
    [
        ops.RoIAlign((3, 2), 0.5),
        ops.RoIAlign((3, 2), 0.5, pool_mode='max'),
        ops.RoIPool((3, 2), 0.5),
    ],
)
def test_noncontiguous_maps_of_rois(rng, device, layer):
    """Channels-last maps, and a gradient that is not contiguous either."""
    rois = tensor(ROIS, device)
    plain = tensor(rng.standard_normal((2, 3, 6, 7)), device, grad=True)
    strided = plain.detach().permute(0, 2, 3, 1).contiguous()
    strided = strided.permute(0, 3, 1, 2).requires_grad_()
    expected, output = layer(plain, rois), layer(strided, rois)
    np.testing.assert_allclose(array(output), array(expected))
    weights = tensor(rng.standard_normal((5, 3, 2, 3)), device)
    expected.backward(weights.transpose(2, 3).contiguous())
    output.backward(weights.transpose(2, 3))
    np.testing.assert_allclose(array(strided.grad), array(plain.grad))


@pytest.mark.parametrize(
    'layer',
    [
        ops.RoIAlign((3, 2)),
        ops.RoIAlign((3, 2), pool_mode='max'),
        pytest.param(ops.RoIPool((3, 2)), marks=substitute_only),
    ],
)
def test_no_rois(device, layer):
    x = torch.ones(1, 2, 4, 4, device=device, requires_grad=True)
    output = layer(x, torch.zeros(0, 5, device=device))
    assert output.shape == (0, 2, 3, 2)
    output.sum().backward()
    assert not x.grad.any()


def test_no_boxes():
    boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    for function in (ops.nms, ops.soft_nms):
        dets, kept = function(boxes, scores, 0.5)
        assert dets.shape == (0, 5) and kept.shape == (0,)
    assert ops.nms_match(np.zeros((0, 5), np.float32), 0.5) == []


@substitute_only
def test_unknown_pool_mode_raises():
    x, rois = torch.ones(1, 1, 4, 4), torch.zeros(1, 5)
    out = torch.zeros(1, 1, 2, 2)
    for function, map_ in (
        (ext.roi_align_forward, (x, rois, out)),
        (ext.roi_align_backward, (out, rois, x)),
    ):
        with pytest.raises(ValueError, match='pool_mode=2 should be 0'):
            function(*map_, out, out, 2, 2, 1.0, 0, 2, True)


# Deformable convolution


def deform_conv(
    x,
    offset,
    weight,
    mask=None,
    bias=None,
    stride=(1, 1),
    padding=(0, 0),
    dilation=(1, 1),
    groups=1,
    deform_groups=1,
):
    (batch, channels, height, width), (out, _, *kernel) = x.shape, weight.shape
    per_group, per_offset = channels // groups, channels // deform_groups
    output = np.zeros((batch, out, *offset.shape[2:]))
    offset = offset.reshape(batch, deform_groups, *kernel, 2, *offset.shape[2:])
    if mask is not None:
        mask = mask.reshape(batch, deform_groups, *kernel, *output.shape[2:])
    for b, i, j, m, n, c in product(
        range(batch),
        *map(range, output.shape[2:]),
        *map(range, kernel),
        range(channels),
    ):
        d, g = c // per_offset, c // per_group
        dy, dx = offset[b, d, m, n, :, i, j]
        sy = i * stride[0] - padding[0] + m * dilation[0] + dy
        sx = j * stride[1] - padding[1] + n * dilation[1] + dx
        value = sum(
            w * x[b, c][pixel] for pixel, w in padded_taps(sy, sx, height, width)
        )
        if mask is not None:
            value *= mask[b, d, m, n, i, j]
        own = slice(g * out // groups, (g + 1) * out // groups)
        output[b, own, i, j] += weight[own, c % per_group, m, n] * value
    return output if bias is None else output + bias[:, None, None]


CONVS = [
    dict(padding=(1, 1)),
    dict(groups=2, padding=(1, 0), stride=(2, 1)),
    dict(deform_groups=2, dilation=(1, 2), padding=(0, 1)),
    dict(groups=2, deform_groups=2, stride=(1, 2), padding=(1, 1)),
]


def conv_inputs(rng, groups=1, deform_groups=1, **conv):
    """x, offset, weight, mask and bias of a (2, 3) kernel."""
    probe = torch.nn.Conv2d(1, 1, (2, 3), **conv)
    size = probe(torch.zeros(1, 1, 5, 6)).shape[2:]
    return [
        rng.standard_normal((2, 4, 5, 6)),
        rng.normal(0, 2, (2, deform_groups * 12, *size)),
        rng.standard_normal((4, 4 // groups, 2, 3)),
        rng.uniform(size=(2, deform_groups * 6, *size)),
        rng.standard_normal(4),
    ]


def conv_arguments(groups=1, deform_groups=1, stride=1, padding=0, dilation=1):
    return stride, padding, dilation, groups, deform_groups


@pytest.mark.parametrize('conv', CONVS)
def test_deform_conv(rng, device, conv):
    check_operator(
        lambda *x: ops.deform_conv2d(*x, *conv_arguments(**conv)),
        lambda *x: deform_conv(*x, **conv),
        conv_inputs(rng, **conv)[:3],
        device,
        rng,
    )


@pytest.mark.parametrize('conv', CONVS)
@pytest.mark.parametrize('with_bias', [True, False])
def test_modulated_deform_conv(rng, device, conv, with_bias):

    def run(x, offset, weight, mask, bias=None):
        return ops.modulated_deform_conv2d(
            x, offset, mask, weight, bias, *conv_arguments(**conv)
        )

    check_operator(
        run,
        lambda *x: deform_conv(*x, **conv),
        conv_inputs(rng, **conv)[: 4 + with_bias],
        device,
        rng,
    )


@pytest.mark.parametrize('modulated', [False, True])
def test_offset_gradient_on_the_grid(rng, device, modulated):
    """On a pixel it is the step to the next one, outside the map it is zero.

    Layers that initialise their offsets to zero start there.
    """
    image = rng.standard_normal((4, 5))
    offset = tensor(np.zeros((1, 2, 6, 7)), device, grad=True)
    x, one = tensor(image[None, None], device), tensor([[[[1.0]]]], device)
    if modulated:
        mask = torch.ones_like(offset[:, :1])
        output = ops.modulated_deform_conv2d(x, offset, mask, one, None, 1, 1)
    else:
        output = ops.deform_conv2d(x, offset, one, 1, 1)
    output.sum().backward()
    expected = np.zeros((2, 6, 7))
    expected[0, 1:5, 1:6] = np.diff(image, axis=0, append=0)
    expected[1, 1:5, 1:6] = np.diff(image, axis=1, append=0)
    np.testing.assert_allclose(array(offset.grad[0]), expected)


def test_half_precision_deform_conv(rng, device):
    """Equals double precision, rounded."""
    if COMPILED and device == 'cpu':
        pytest.skip("mmcv's CPU build has no half precision")
    x, offset, weight, mask, bias = (
        tensor(array, device, torch.float16, grad=True)
        for array in conv_inputs(rng, **CONVS[0])
    )
    settings = conv_arguments(**CONVS[0])
    for function, inputs in (
        (ops.deform_conv2d, (x, offset, weight)),
        (ops.modulated_deform_conv2d, (x, offset, mask, weight, bias)),
    ):
        exact = [v.detach().double().requires_grad_() for v in inputs]
        expected, output = (function(*v, *settings) for v in (exact, inputs))
        assert output.dtype == torch.float16
        np.testing.assert_allclose(array(output), array(expected), rtol=1e-2, atol=2e-2)
        grads = torch.autograd.grad(output.sum(), inputs)
        for grad, true in zip(grads, torch.autograd.grad(expected.sum(), exact)):
            np.testing.assert_allclose(array(grad), array(true), rtol=2e-2, atol=5e-2)


@pytest.mark.parametrize('images', [1, 4])
def test_deform_conv_layers(rng, device, images):
    """With offsets of zero they are ordinary convolutions, for any im2col_step."""
    x = tensor(rng.standard_normal((images, 4, 6, 6)), device)
    layers = (
        ops.DeformConv2dPack(4, 6, 3, padding=1, im2col_step=2),
        ops.ModulatedDeformConv2dPack(4, 6, 3, padding=1),
    )
    for layer, factor in zip(layers, (1, 0.5)):  # masks begin at 1 / 2
        layer = layer.to(device).double()
        expected = torch.nn.functional.conv2d(x, layer.weight, padding=1)
        np.testing.assert_allclose(array(layer(x)), factor * array(expected), atol=1e-9)


@substitute_only
def test_inconsistent_kernel_raises():
    x = torch.ones(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r'kernel size \(3, 1\)'):
        ext.deform_conv_forward(
            x, x[..., :2, :2], x, x, x, x, 1, 3, 1, 1, 0, 0, 1, 1, 1, 1, 1
        )


# Input that would end the process

BAD_VALUES = [np.nan, np.inf, -np.inf]


@pytest.fixture
def no_kernel(monkeypatch):
    """The error has to come before torchvision's kernels run."""
    monkeypatch.setattr(ext, '_vision', None)


BAD_ROIS = [
    *[(0, index) for index in (*BAD_VALUES, 5000, 2, -1, 0.5)],
    *[(column, value) for column in (1, 2, 3, 4) for value in BAD_VALUES],
]


@substitute_only
@pytest.mark.parametrize('column, value', BAD_ROIS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_rois_outside_of_the_images_raise(no_kernel, column, value, dtype):
    x, rois = torch.ones(2, 1, 4, 4, dtype=dtype), torch.ones(3, 5, dtype=dtype)
    rois[1, column] = value
    out = torch.zeros(3, 1, 2, 2)
    number = str(float(value)).replace('.', r'\.')
    for mode, (function, *maps) in product(
        (0, 1),
        (
            (ext.roi_align_forward, x, rois, out),
            (ext.roi_align_backward, out, rois, out, out, x),
        ),
    ):
        buffers = [out] * (5 - len(maps))
        with pytest.raises(ValueError, match=f'roi_align .*{number}.*below 2'):
            function(*maps, *buffers, 2, 2, 1.0, 0, mode, True)
    argmax = torch.zeros(3, 1, 2, 2, dtype=torch.int32)
    for function, *maps in (
        (ext.roi_pool_forward, x, rois, out, argmax),
        (ext.roi_pool_backward, out, rois, argmax, x),
    ):
        with pytest.raises(ValueError, match=f'roi_pool .*{number}.*below 2'):
            function(*maps, 2, 2, 1.0)


def align_both_ways(rois, map_size=(4, 4), ratio=0, mode=1):
    """Calls of both passes of RoIAlign on a map of ones."""
    x, out = torch.ones(1, 1, *map_size), torch.zeros(1, 1, 2, 2)
    rois = torch.tensor([rois], dtype=torch.float)
    options = (2, 2, 1.0, ratio, mode, True)
    return [
        lambda: ext.roi_align_forward(x, rois, out, out, out, *options),
        lambda: ext.roi_align_backward(out, rois, out, out, x, *options),
    ]


@substitute_only
@pytest.mark.parametrize(
    'box, ratio',
    [
        ((1e5, 1e5), 0),
        # The area is 1, but torchvision takes a sample per started pixel.
        ((1e9, 1e-9), 0),
        ((4, 4), 2**13),
        ((4, 4), 2**20),
    ],
)
@pytest.mark.parametrize('mode', [0, 1])
def test_rois_that_exceed_the_memory_raise(no_kernel, box, ratio, mode):
    for call in align_both_ways((0, 0, 0, *box), ratio=ratio, mode=mode):
        with pytest.raises(ValueError, match=r'roi_align .*0\.0.*sampling_ratio'):
            call()


@substitute_only
def test_large_rois_and_many_samples_pass():
    for box, ratio in (((8191, 8191), 0), ((4, 4), 2**9)):
        align_both_ways((0, 0, 0, *box), ratio=ratio)[1]()


@substitute_only
@pytest.mark.parametrize('map_size', [(0, 8), (8, 0)])
@pytest.mark.parametrize('mode', [0, 1])
def test_rois_on_a_map_without_pixels_raise(no_kernel, map_size, mode):
    for call in align_both_ways((0, 0, 0, 4, 4), map_size, mode=mode):
        with pytest.raises(ValueError, match='roi_align .*height and width'):
            call()


@substitute_only
@pytest.mark.parametrize('shape', [(3, 4), (5,), (1, 3, 5)])
def test_rois_of_another_shape_raise(no_kernel, shape):
    x, out = torch.ones(1, 1, 4, 4), torch.zeros(3, 1, 2, 2)
    with pytest.raises(ValueError, match='expects .K, 5.'):
        ext.roi_align_forward(x, torch.zeros(shape), out, out, out, 2, 2, 1, 0, 1, True)


@substitute_only
@pytest.mark.parametrize('value', BAD_VALUES)
@pytest.mark.parametrize('function', [ops.deform_conv2d, ops.modulated_deform_conv2d])
def test_offsets_that_are_not_finite_raise(rng, value, function, monkeypatch):
    x, offset, weight, mask, bias = (
        tensor(x, 'cpu', grad=True) for x in conv_inputs(rng)
    )
    if function is ops.deform_conv2d:
        name, inputs = 'deform_conv', (x, offset, weight)
    else:
        name, inputs = 'modulated_deform_conv', (x, offset, mask, weight, bias)
    output = function(*inputs)
    # The backward pass reads the same offsets, and crashes in the same way.
    offset.data[1, 3, 2, 1] = value
    monkeypatch.setattr(ext, '_vision', None)
    message = f'^{name} got 1 offsets that are not finite, such as {value}'
    with pytest.raises(ValueError, match=message):
        output.sum().backward()
    with pytest.raises(ValueError, match=message):
        function(*inputs)


@substitute_only
@pytest.mark.parametrize('value', BAD_VALUES)
def test_nms_of_values_that_are_not_finite_ends(rng, value):
    """Boxes with NaN overlap no other, so that the others are kept as without them."""
    boxes, scores = make_boxes(rng)
    expected = nms(boxes, scores, 0.5)
    boxes = np.concatenate((boxes, np.full((2, 4), value, np.float32)))
    scores = np.concatenate((scores, np.zeros(2, np.float32)))
    for function in (ops.nms, ops.soft_nms):
        function(boxes, np.full_like(scores, value), 0.5)
    kept = ops.nms(boxes, scores, 0.5)[1].tolist()
    assert kept[: len(expected)] == expected
    groups = ops.nms_match(np.column_stack((boxes, scores)), 0.5)
    assert sorted(int(i) for group in groups for i in group) == list(range(len(boxes)))


# Focal loss


def sigmoid_focal_loss(logits, target, gamma, alpha, weight, reduction):
    loss = np.zeros_like(logits)
    for n, c in product(*map(range, logits.shape)):
        p = 1 / (1 + np.exp(-logits[n, c]))
        if target[n] == c:
            loss[n, c] = -alpha * (1 - p) ** gamma * np.log(p)
        else:
            loss[n, c] = -(1 - alpha) * p**gamma * np.log(1 - p)
        loss[n, c] *= 1 if weight is None else weight[target[n]]
    return reduce_loss(loss, reduction)


def softmax_focal_loss(logits, target, gamma, alpha, weight, reduction):
    loss = np.zeros(len(logits))
    for n, label in enumerate(target):
        p = np.exp(logits[n, label]) / np.exp(logits[n]).sum()
        loss[n] = -alpha * (1 - p) ** gamma * np.log(p)
        loss[n] *= 1 if weight is None else weight[label]
    return reduce_loss(loss, reduction)


def reduce_loss(loss, reduction):
    total = {'none': loss, 'sum': loss.sum(), 'mean': loss.sum() / len(loss)}
    return total[reduction]


@pytest.mark.parametrize(
    'layer, forward, background',
    [
        (ops.SigmoidFocalLoss, sigmoid_focal_loss, True),
        (ops.SoftmaxFocalLoss, softmax_focal_loss, False),
    ],
)
@pytest.mark.parametrize('with_weight', [False, True])
@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_focal_loss(
    rng, device_beyond_cpu, layer, forward, background, with_weight, reduction
):
    device = device_beyond_cpu
    target = rng.integers(0, 4, 4)
    weight = rng.uniform(0.5, 2, 4) if with_weight else None
    if background and not with_weight:
        target[0] = 4
    loss = layer(
        1.5, 0.3, weight if weight is None else tensor(weight, device), reduction
    )
    logits = 3 * rng.standard_normal((4, 4))
    labels = tensor(target, device, torch.int64)
    if layer is ops.SoftmaxFocalLoss and reduction == 'none':
        # mmcv multiplies its gradient by that of the losses across classes.
        np.testing.assert_allclose(
            array(loss(tensor(logits, device), labels)),
            forward(logits, target, 1.5, 0.3, weight, reduction),
        )
    else:
        check_operator(
            lambda x: loss(x, labels),
            lambda x: forward(x, target, 1.5, 0.3, weight, reduction),
            [logits],
            device,
            rng,
        )


@substitute_only
def test_focal_loss_at_the_extremes(device):
    """Background has weight 1, ignored labels no loss, certain ones a finite loss."""
    logits = tensor([[0.3, -1.2], [-200.0, 200.0]], device, grad=True)
    weight = tensor([2.0, 3.0], device)
    loss = ops.sigmoid_focal_loss(
        logits, tensor([2, 0], device, torch.int64), 2.0, 0.25, weight, 'none'
    )
    expected = sigmoid_focal_loss(array(logits)[:1], [2], 2.0, 0.25, None, 'none')
    np.testing.assert_allclose(array(loss[:1]), expected)
    smallest = np.log(np.finfo(np.float32).tiny)
    np.testing.assert_allclose(
        array(loss[1]), [-0.25 * 2 * smallest, -0.75 * 2 * smallest]
    )

    labels = tensor([-1, 1], device, torch.int64)
    losses, total = (
        ops.softmax_focal_loss(logits, labels, 2.0, 0.25, weight, reduction)
        for reduction in ('none', 'sum')
    )
    assert losses.tolist() == [0, 0]
    assert not torch.autograd.grad(total, logits)[0].any()


@substitute_only
def test_half_precision_focal_loss(rng, device):
    logits = tensor(3 * rng.standard_normal((5, 4)), device, torch.float16)
    labels = rng.integers(0, 4, 5)
    for function, forward in (
        (ops.sigmoid_focal_loss, sigmoid_focal_loss),
        (ops.softmax_focal_loss, softmax_focal_loss),
    ):
        loss = function(
            logits, tensor(labels, device, torch.int64), 2.0, 0.25, None, 'none'
        )
        assert loss.dtype == torch.float16
        np.testing.assert_allclose(
            array(loss),
            forward(array(logits), labels, 2.0, 0.25, None, 'none'),
            rtol=1e-2,
            atol=1e-3,
        )


@substitute_only
@pytest.mark.parametrize(
    'function, label', [(ops.sigmoid_focal_loss, 4), (ops.softmax_focal_loss, 3)]
)
def test_label_out_of_range_raises(function, label):
    with pytest.raises(ValueError, match=f'label {label}'):
        function(torch.zeros(1, 3), torch.tensor([label]))


@substitute_only
def test_focal_loss_of_no_samples():
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = ops.SigmoidFocalLoss(2.0, 0.25, reduction='sum')
    assert loss(logits, torch.zeros(0).long()) == 0


# Multi-scale deformable attention


def deform_attention(value, locations, weights, sizes):
    output = np.zeros((*weights.shape[:3], value.shape[3]))
    starts = np.cumsum([0] + [h * w for h, w in sizes])
    for b, q, head, level, point in product(*map(range, weights.shape)):
        height, width = sizes[level]
        x, y = locations[b, q, head, level, point]
        for (row, col), w in padded_taps(
            y * height - 0.5, x * width - 0.5, height, width
        ):
            pixel = starts[level] + row * width + col
            output[b, q, head] += (
                weights[b, q, head, level, point] * w * value[b, pixel, head]
            )
    return output.reshape(*weights.shape[:2], -1)


def test_deform_attention(rng, device_beyond_cpu):
    device, sizes = device_beyond_cpu, [(3, 4), (2, 2)]
    shapes = tensor(sizes, device, torch.int64)
    starts = tensor([0, 12], device, torch.int64)
    check_operator(
        lambda value, locations, weights: MultiScaleDeformableAttnFunction.apply(
            value, shapes, starts, locations, weights, 2
        ),
        lambda *x: deform_attention(*x, sizes),
        [
            rng.standard_normal((2, 16, 2, 3)),
            rng.uniform(-0.2, 1.2, (2, 5, 2, 2, 2, 2)),
            rng.uniform(size=(2, 5, 2, 2, 2)),
        ],
        device,
        rng,
    )


# Other operators


@substitute_only
def test_other_operators_raise_an_error_with_their_name():
    box = torch.ones(1, 5)
    with pytest.raises(NotImplementedError, match='box_iou_rotated.*mim'):
        ops.box_iou_rotated(box, box)
    for name in ('__path__', '__wrapped__', '_missing'):
        assert not hasattr(ext, name)


def test_versions_are_strings():
    """mmcv.utils.collect_env, and with it the log of every run, expects that."""
    assert isinstance(ops.get_compiler_version(), str)
    assert isinstance(ops.get_compiling_cuda_version(), str)


# The compiled operators of mmcv, where it has them, against this package's

compared = pytest.mark.skipif(
    not COMPILED,
    reason='mmcv has no compiled operators here to compare with; '
    'make test STACK=classic has',
)


@pytest.fixture
def both(monkeypatch):
    """The results of a function with mmcv's operators and with this package's."""

    def call(function, *args):
        own = function(*args)
        with monkeypatch.context() as patch:
            for name, module in list(sys.modules.items()):
                if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module'):
                    patch.setattr(module, 'ext_module', mmcv_ext)
            return own, function(*args)

    return call


def values_and_gradients(run, inputs, dtype, device):
    inputs = [tensor(x, device, dtype, grad=True) for x in inputs]
    output = run(*inputs)
    weights = np.random.default_rng(1).standard_normal(output.shape)
    return [
        output,
        *torch.autograd.grad(output, inputs, tensor(weights, device, dtype)),
    ]


def assert_same(pair, dtype=torch.float64):
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    for own, other in zip(*pair):
        torch.testing.assert_close(
            other, own, rtol=tolerance, atol=tolerance, equal_nan=True
        )


floats = pytest.mark.parametrize('dtype', [torch.float32, torch.float64])


@compared
@pytest.mark.parametrize(
    'function',
    [
        lambda *x: ops.nms(*x, 0.5),
        lambda *x: ops.nms(*x, 0.5, offset=1, score_threshold=0.2, max_num=9),
        lambda *x: ops.soft_nms(*x, method='naive', min_score=0.05),
        lambda *x: ops.soft_nms(*x, method='linear', min_score=0.05),
        lambda *x: ops.soft_nms(*x, method='gaussian', offset=1),
        lambda *x: ops.nms_match(torch.cat((x[0], x[1][:, None]), dim=1), 0.5),
    ],
    ids=['nms', 'nms_offset', 'naive', 'linear', 'gaussian', 'match'],
)
def test_same_boxes_as_mmcv(rng, device, both, function):
    for number in (1, 40, 400):
        boxes, scores = (
            tensor(x, device, torch.float32) for x in make_boxes(rng, number)
        )
        own, other = both(function, boxes, scores)
        assert len(own) == len(other)
        assert_same((own, other), torch.float32)


@compared
@floats
@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_same_roi_align_as_mmcv(rng, device, both, mode, aligned, ratio, dtype):
    layer = ops.RoIAlign((3, 2), 0.5, ratio, mode, aligned)
    rois = tensor(ROIS, device, dtype)
    assert_same(
        both(
            values_and_gradients,
            lambda x: layer(x, rois),
            [rng.standard_normal((2, 3, 16, 17))],
            dtype,
            device,
        ),
        dtype,
    )


@compared
@floats
@pytest.mark.parametrize('conv', CONVS)
@pytest.mark.parametrize('modulated', [False, True])
def test_same_deform_conv_as_mmcv(rng, device, both, conv, modulated, dtype):
    settings = conv_arguments(**conv)

    def run(x, offset, weight, mask=None, bias=None):
        if mask is None:
            return ops.deform_conv2d(x, offset, weight, *settings)
        return ops.modulated_deform_conv2d(x, offset, mask, weight, bias, *settings)

    inputs = conv_inputs(rng, **conv)[: 5 if modulated else 3]
    assert_same(both(values_and_gradients, run, inputs, dtype, device), dtype)


@compared
@floats
def test_same_roi_pool_as_mmcv(rng, device_beyond_cpu, both, dtype):
    device = device_beyond_cpu
    layer, rois = ops.RoIPool((3, 2), 0.5), tensor(ROIS, device, dtype)
    assert_same(
        both(
            values_and_gradients,
            lambda x: layer(x, rois),
            [rng.standard_normal((2, 3, 16, 17))],
            dtype,
            device,
        ),
        dtype,
    )


@compared
@floats
@pytest.mark.parametrize('layer', [ops.SigmoidFocalLoss, ops.SoftmaxFocalLoss])
def test_same_focal_loss_as_mmcv(rng, device_beyond_cpu, both, layer, dtype):
    device = device_beyond_cpu
    loss = layer(1.5, 0.3, tensor(rng.uniform(0.5, 2, 4), device, dtype))
    labels = tensor(rng.integers(0, 4, 50), device, torch.int64)
    assert_same(
        both(
            values_and_gradients,
            lambda x: loss(x, labels),
            [3 * rng.standard_normal((50, 4))],
            dtype,
            device,
        ),
        dtype,
    )


@compared
@floats
def test_same_deform_attention_as_mmcv(rng, device_beyond_cpu, both, dtype):
    device = device_beyond_cpu
    shapes = tensor([(3, 4), (2, 2)], device, torch.int64)
    starts = tensor([0, 12], device, torch.int64)
    inputs = [
        rng.standard_normal((2, 16, 2, 3)),
        rng.uniform(-0.2, 1.2, (2, 5, 2, 2, 2, 2)),
        rng.uniform(size=(2, 5, 2, 2, 2)),
    ]
    assert_same(
        both(
            values_and_gradients,
            lambda value, locations, weights: MultiScaleDeformableAttnFunction.apply(
                value, shapes, starts, locations, weights, 2
            ),
            inputs,
            dtype,
            device,
        ),
        dtype,
    )


class KeepPredictions(Hook):
    def before_test(self, runner):
        self.predictions = []

    def after_test_iter(self, runner, batch_idx, data_batch, outputs):
        self.predictions += [sample.pred_instances for sample in outputs]


@compared
def test_same_mask_rcnn_as_on_mmcv(digits, both, tmp_path):
    """The same predictions and COCO metrics."""
    cfg = read_config('lightvit_mm::demo/mask_rcnn_lightvit_t_digits.py')
    cfg.model.backbone.update(
        init_cfg=None,
        arch=dict(
            embed_dims=(8, 16, 32),
            depths=(1, 1, 1),
            num_heads=(1, 2, 4),
            mlp_ratios=(2, 2, 2),
            num_tokens=2,
        ),
    )
    cfg.model.neck.in_channels = [8, 16, 32]
    # With ten classes and the usual overlaps, random weights would detect nothing.
    for head in (cfg.model.roi_head.bbox_head, cfg.model.roi_head.mask_head):
        head.num_classes = 1
    cfg.test_dataloader.dataset.metainfo = dict(classes=('1',))
    cfg.model.test_cfg.rcnn.score_thr = 0.0
    data = f'{digits}/detection/'
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.test_dataloader.dataset.data_root = data
    cfg.test_evaluator.update(
        ann_file=data + 'val.json', iou_thrs=[0.1, 0.3], metric_items=['mAP', 'AR@100']
    )
    cfg.work_dir = str(tmp_path)
    cfg.launcher = 'none'
    runner = Runner.from_cfg(cfg)
    keep = KeepPredictions()
    runner.register_hook(keep)

    def test():
        metrics = runner.test()
        return metrics, keep.predictions

    (metrics, own), (same_metrics, other) = both(test)
    assert metrics == pytest.approx(same_metrics)
    assert len(metrics) == 4 and min(metrics.values()) > 0
    for expected, found in zip(own, other):
        assert len(expected) == len(found) > 50
        assert_same(
            [(x.bboxes, x.scores, x.labels) for x in (expected, found)], torch.float32
        )
        assert (expected.masks != found.masks).float().mean() < 1e-5
