"""Generated arguments, inputs, configs and command lines.

The rule: a correct result, or one clear error that names what was wrong. Plain
restatements say which arguments are right, and what the result is.
"""

import atexit
import copy
import functools
import importlib.util
import io
import math
import re
import shutil
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from decimal import Decimal
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, METRICS, MODELS, TRANSFORMS
from PIL import Image
from torch import nn

from lightvit_mm import cfg_options, cli
from lightvit_mm.config import read_config
from lightvit_mm.engine.own_data import complete

# The errors that a tool or a user can handle.
CLEAR = (ValueError, TypeError, OSError, ModuleNotFoundError, SystemExit)


class Refusal(str):
    """The message of a clear error."""


def attempt(call, *args, **kwargs):
    """The result of a call, or the refusal of a clear error."""
    try:
        return call(*args, **kwargs)
    except CLEAR as error:
        message = str(error)
        assert 0 < len(message.strip().splitlines()) <= 2, message
        assert len(message) < 1000, message
        return Refusal(message)


def generated(cases, *preparations):
    """Run a property ``cases`` times, and ten times as often in make torture."""

    def decorate(prop):
        @pytest.mark.parametrize(
            'times', [1, pytest.param(10, marks=pytest.mark.torture)]
        )
        def test(times):
            for library in preparations:
                pytest.importorskip(library)
            settings(
                max_examples=cases * times,
                derandomize=True,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink),
            )(given(st.data())(prop))()

        test.prop = prop
        test.__name__ = prop.__name__
        return test

    return decorate


# ---------------------------------------------------------------- constructors

JUNK = st.one_of(
    st.sampled_from(
        [
            None,
            True,
            False,
            0,
            1,
            2,
            3,
            -1,
            -7,
            10**9,
            2**70,
            0.5,
            7.0,
            -0.0,
            1.0,
            math.nan,
            math.inf,
            -math.inf,
            1 + 2j,
            Decimal(3),
            '',
            'False',
            '3',
            'tiny',
            b'1',
            (),
            [],
            {},
            {1: 2},
            {'type': 1},
            {1, 2},
            range(2),
            object(),
            int,
            np.int64(2),
            np.uint8(8),
            np.float32(0.25),
            np.bool_(True),
            np.array([1, 2]),
            np.array(1),
            np.eye(2),
            torch.Size([1, 2]),
            torch.tensor(1),
            torch.ones(2),
        ]
    ),
    st.lists(
        st.sampled_from([0, 1, 2, 3, 4, 8, -1, True, 2.0, None, '1', math.nan]),
        max_size=4,
    ),
)

# Plain restatements of what each class takes.


def is_int(value, low=-math.inf, high=math.inf):
    return type(value) in (int, np.int64, np.uint8) and low <= value <= high


def is_real(value):
    is_float = type(value) in (float, np.float32) and bool(np.isfinite(value))
    return is_float or is_int(value, -1e300, 1e300)


def is_flag(value):
    return type(value) in (bool, np.bool_)


def is_list(value, fits, least=1):
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.ndim == 1 else None
    is_sequence = type(value) in (list, tuple, range, torch.Size)
    return is_sequence and len(value) >= least and all(fits(x) for x in value)


def is_channels(value):
    return is_int(value, 1, 16384)


def is_init_cfg(value):
    if type(value) in (list, tuple):
        return all(isinstance(x, dict) and 'type' in x for x in value)
    return value is None or (type(value) is dict and (not value or 'type' in value))


def is_arch(arch):
    if isinstance(arch, str):
        return arch == 'tiny'
    lists = ('embed_dims', 'depths', 'num_heads', 'mlp_ratios')
    if not isinstance(arch, dict) or set(arch) != {*lists, 'num_tokens'}:
        return False
    dims, depths, heads, ratios = (arch[name] for name in lists)
    return (
        is_int(arch['num_tokens'], 0, 4096)
        and is_list(dims, is_channels)
        and is_list(depths, lambda x: is_int(x, 1, 200))
        and is_list(heads, lambda x: is_int(x, 1))
        and is_list(ratios, lambda x: is_real(x) and 0 < x <= 100)
        and len(dims) == len(depths) == len(heads) == len(ratios)
        and all(d % 4 == 0 and d % h == 0 for d, h in zip(dims, heads))
        and all(d * r >= 1 for d, r in zip(dims, ratios))
    )


FLAGS = st.booleans() | st.sampled_from([np.bool_(True), np.bool_(False)])
RIGHT_LIGHTVIT = dict(
    in_channels=st.integers(1, 4),
    num_tokens=st.none() | st.integers(0, 3),
    window_size=st.none() | st.integers(1, 5) | st.just(np.int64(7)),
    spatial_attn=FLAGS,
    channel_attn=FLAGS,
    stem_stride=st.sampled_from([4, 8, np.int64(8)]),
    overlapping_patch_embed=FLAGS,
    residual_patch_merging=FLAGS,
    drop_path_rate=st.floats(0, 0.99) | st.just(0),
    out_indices=st.sampled_from(
        [[0], [1], (1,), [0, 1], (0, 1), (0, 1), np.array([0, 1]), [1, 0], (0, 2)]
    ),
    out_type=st.sampled_from(['featmap', 'raw']),
    frozen_stages=st.integers(-1, 0),
    norm_eval=FLAGS,
    with_cp=FLAGS,
    init_cfg=st.none() | st.just(dict(type='Kaiming', layer='Linear')),
)
FITS_LIGHTVIT = dict(
    arch=is_arch,
    in_channels=is_channels,
    num_tokens=lambda x: x is None or is_int(x, 0, 4096),
    window_size=lambda x: x is None or is_int(x, 1, 64),
    spatial_attn=is_flag,
    channel_attn=is_flag,
    stem_stride=lambda x: is_int(x) and x in (4, 8),
    overlapping_patch_embed=is_flag,
    residual_patch_merging=is_flag,
    drop_path_rate=lambda x: is_real(x) and 0 <= x < 1,
    out_indices=lambda x: is_list(x, is_int),
    out_type=lambda x: type(x) is str and x in ('featmap', 'raw'),
    frozen_stages=is_int,
    norm_eval=is_flag,
    with_cp=is_flag,
    init_cfg=is_init_cfg,
)


@st.composite
def archs(draw):
    """Mostly two stages, some with a fault."""
    lists = st.lists(st.integers(1, 2), min_size=2, max_size=2)
    heads = draw(lists)
    arch = dict(
        embed_dims=[4 * h for h in heads] if draw(st.booleans()) else (8, 16),
        depths=draw(lists | st.just(np.array([1, 2]))),
        num_heads=heads,
        mlp_ratios=draw(lists | st.just((0.5, np.float32(2)))),
        num_tokens=draw(st.integers(0, 3)),
    )
    if draw(st.integers(0, 5)) == 0:
        arch[draw(st.sampled_from(sorted(arch)))] = draw(JUNK)
    if draw(st.integers(0, 15)) == 0:
        del arch[draw(st.sampled_from(sorted(arch)))]
    return arch


def draw_options(data, right, required=()):
    """Right arguments; up to two of them, or an unknown one, are replaced by junk."""
    names = data.draw(st.sets(st.sampled_from(sorted(right)), max_size=4))
    options = {name: data.draw(right[name], label=name) for name in {*names, *required}}
    number = min(data.draw(st.sampled_from([0, 1, 0, 2])), len(right))
    junk = data.draw(
        st.sets(st.sampled_from(sorted(right)), min_size=number, max_size=number)
    )
    options |= {name: data.draw(JUNK, label=name) for name in junk}
    if data.draw(st.integers(0, 9)) == 0:
        name = data.draw(st.sampled_from(sorted(right)))
        options[data.draw(st.sampled_from([name[:-1], f'{name}s', 'x', 'type_']))] = 1
    return options


def unfit(options, fits):
    return [
        name for name, x in options.items() if name not in fits or not fits[name](x)
    ]


def check_options(result, options, fits, owner, required=()):
    """Whether the options were taken; a refusal has to be right and to name one."""
    wrong = unfit(options, fits) + [name for name in required if name not in options]
    if wrong:
        assert isinstance(result, Refusal), wrong
        assert result.startswith(owner), result
        assert any(name in result for name in wrong), (result, wrong)
    return not isinstance(result, Refusal)


def out_sizes(size, stride, num_stages):
    """Sizes of the maps of all stages: the image's over the stride, rounded up."""
    return [
        tuple(-(-pixels // (stride * 2**i)) for pixels in size)
        for i in range(num_stages)
    ]


def check_repeats(model, *inputs):
    """Outputs in evaluation, which are finite and the same twice."""
    model.eval()
    with torch.no_grad():
        first, second = model(*inputs), model(*inputs)
    first, second = (x if isinstance(x, tuple) else (x,) for x in (first, second))
    for out, again in zip(first, second, strict=True):
        assert out.isfinite().all() and torch.equal(out, again)
    return first


def build(registry, name, options):
    return attempt(registry.get(f'lightvit_mm.{name}'), **options)


def stages_fit(options):
    arch = options['arch']
    num_stages = 3 if arch == 'tiny' else len(arch['depths'])
    indices = list(options['out_indices'])
    return (
        indices != []
        and indices == sorted(set(indices))
        and indices[0] >= 0
        and indices[-1] < num_stages
        and -1 <= options.get('frozen_stages', -1) <= indices[-1]
    )


@generated(250)
def test_options_of_the_backbone(data):
    options = draw_options(data, RIGHT_LIGHTVIT, required=['out_indices'])
    is_junk = data.draw(st.integers(0, 9)) == 0
    options['arch'] = arch = data.draw(JUNK if is_junk else archs(), label='arch')
    model = build(MODELS, 'LightViT', options)
    if not check_options(model, options, FITS_LIGHTVIT, 'LightViT'):
        if not unfit(options, FITS_LIGHTVIT):
            assert not stages_fit(options), model
            assert 'out_indices=' in model or 'frozen_stages=' in model
        return
    assert stages_fit(options)
    for name in ('with_cp', 'norm_eval'):
        assert getattr(model, name) is bool(options.get(name, False))
    channels = options.get('in_channels', 3)
    if arch == 'tiny' or channels > 4 or options.get('window_size', 7) == 64:
        return
    size = data.draw(st.tuples(*[st.integers(1, 40)] * 2), label='size')
    outs = check_repeats(model, torch.randn(2, channels, *size))
    dims = list(arch['embed_dims'])
    sizes = out_sizes(size, options.get('stem_stride', 8), len(dims))
    num_tokens = options.get('num_tokens')
    if num_tokens is None:
        num_tokens = arch['num_tokens']
    if options.get('out_type') == 'raw':
        expected = [(2, num_tokens + math.prod(s), d) for s, d in zip(sizes, dims)]
    else:
        expected = [(2, d, *s) for s, d in zip(sizes, dims)]
    shapes = [tuple(out.shape) for out in outs]
    assert shapes == [expected[i] for i in options['out_indices']]


RIGHT_FPN = dict(
    in_channels=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    out_channels=st.integers(1, 4) | st.just(np.int64(2)),
    num_outs=st.integers(3, 7),
    num_extra_trans_convs=st.integers(0, 2),
    init_cfg=st.none() | st.just({}),
)
FITS_FPN = dict(
    in_channels=lambda x: is_list(x, is_channels),
    out_channels=is_channels,
    num_outs=lambda x: is_int(x, 1, 32),
    num_extra_trans_convs=lambda x: is_int(x, 0, 8),
    init_cfg=is_init_cfg,
)


@generated(100)
def test_options_of_the_pyramid(data):
    required = ['in_channels', 'out_channels']
    options = draw_options(data, RIGHT_FPN, required)
    neck = build(MODELS, 'LightViTFPN', options)
    accepted = check_options(neck, options, FITS_FPN, 'LightViTFPN', required)
    if unfit(options, FITS_FPN):
        return
    channels = list(options['in_channels'])
    extra = options.get('num_extra_trans_convs', 1)
    num_outs = options.get('num_outs', 5)
    assert accepted == (num_outs >= len(channels) + extra), neck
    if not accepted:
        assert f'num_outs={num_outs}' in neck
        return
    sizes = out_sizes((5, 3), 1, len(channels))
    outs = check_repeats(
        neck, [torch.randn(1, *x) for x in zip(channels, *zip(*sizes))]
    )
    finer = [(5 * 2**i, 3 * 2**i) for i in range(extra, 0, -1)]
    while len(finer) + len(sizes) < num_outs:
        sizes.append(tuple(-(-pixels // 2) for pixels in sizes[-1]))
    expected = [(1, options['out_channels'], *size) for size in finer + sizes]
    assert [tuple(out.shape) for out in outs] == expected


RIGHT_TOKENS = dict(
    in_channels=st.integers(1, 8),
    out_channels=st.integers(1, 8),
    init_cfg=st.none(),
)
FITS_TOKENS = dict(
    in_channels=is_channels, out_channels=is_channels, init_cfg=is_init_cfg
)


@generated(100)
def test_options_of_the_token_neck(data):
    options = draw_options(data, RIGHT_TOKENS, ['in_channels'])
    neck = build(MODELS, 'LightViTTokenNeck', options)
    accepted = check_options(
        neck, options, FITS_TOKENS, 'LightViTTokenNeck', ['in_channels']
    )
    assert accepted == (not unfit(options, FITS_TOKENS)), neck
    if accepted:
        (out,) = check_repeats(neck, [torch.randn(2, 5, options['in_channels'])])
        assert out.shape == (2, options.get('out_channels', 1280))


RIGHT_ATTENTION = dict(
    embed_dims=st.integers(4, 16),
    reduction=st.integers(1, 20),
    spatial_attn=FLAGS,
    channel_attn=FLAGS,
)
FITS_ATTENTION = dict(
    embed_dims=is_channels,
    reduction=lambda x: is_int(x, 1),
    spatial_attn=is_flag,
    channel_attn=is_flag,
)


@generated(100)
def test_options_of_the_bidimensional_attention(data):
    options = draw_options(data, RIGHT_ATTENTION, ['embed_dims'])
    module = build(MODELS, 'BiDimensionalAttention', options)
    accepted = check_options(module, options, FITS_ATTENTION, 'BiDimensionalAttention')
    if unfit(options, FITS_ATTENTION):
        return
    dims = options['embed_dims']
    assert accepted == (options.get('reduction', 4) <= dims), module
    if accepted:
        x = torch.randn(2, 5, int(dims))
        (out,) = check_repeats(module, x)
        # Gates are between 0 and 1.
        assert (out.abs() <= x.abs()).all()


@generated(30, 'mmpretrain')
def test_options_of_the_plug_in(data):
    backbone = dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8),
        img_size=16,
        patch_size=8,
    )
    right = dict(backbone=st.just(backbone), reduction=st.integers(1, 9))
    options = draw_options(data, right, ['backbone'])
    model = build(MODELS, 'with_bidimensional_attention', options)
    fits = dict(
        backbone=lambda x: type(x) is dict and 'type' in x,
        reduction=lambda x: is_int(x, 1),
    )
    name = 'with_bidimensional_attention'
    accepted = check_options(model, options, fits, name, ['backbone'])
    if unfit(options, fits) or options['backbone'] is not backbone:
        return
    assert accepted == (options.get('reduction', 4) <= 8), model
    if accepted:
        check_repeats(model, torch.randn(1, 3, 16, 16))


# ---------------------------------------------------------------- inputs


@functools.cache
def models():
    arch = dict(
        embed_dims=(4, 8),
        depths=(1, 1),
        num_heads=(1, 2),
        mlp_ratios=(1, 1),
        num_tokens=1,
    )
    registry = MODELS.get
    return dict(
        LightViT=registry('lightvit_mm.LightViT')(arch, out_indices=(0, 1)).eval(),
        LightViTFPN=registry('lightvit_mm.LightViTFPN')([4, 8], 4).eval(),
        LightViTTokenNeck=registry('lightvit_mm.LightViTTokenNeck')(4, 4).eval(),
        BiDimensionalAttention=registry('lightvit_mm.BiDimensionalAttention')(4).eval(),
    )


SHAPES = st.lists(st.integers(0, 9) | st.sampled_from([3, 4, 8]), max_size=5)
TENSORS = st.builds(
    lambda shape, dtype: torch.ones(shape, dtype=dtype),
    SHAPES
    | st.tuples(st.integers(0, 2), st.just(3), st.integers(0, 40), st.integers(0, 40))
    | st.tuples(st.integers(0, 2), st.integers(0, 9), st.just(4)),
    # PyTorch itself names floating point numbers of another type than the weights.
    st.sampled_from(
        [torch.float32] * 6 + [torch.uint8, torch.int64, torch.bool, torch.complex64]
    ),
)
MAPS = st.builds(
    lambda batch, channels, size: torch.ones(batch, channels, *size),
    st.just(1),
    st.sampled_from([4, 8]),
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
)


def is_map(x, channels):
    return (
        isinstance(x, torch.Tensor)
        and x.dtype == torch.float32
        and x.dim() == 4
        and x.shape[1] == channels
        and 0 not in x.shape[2:]
    )


def is_tokens(x):
    return (
        isinstance(x, torch.Tensor)
        and x.dtype == torch.float32
        and x.dim() == 3
        and x.shape[2] == 4
        and x.shape[1] > 0
    )


FITS_INPUT = dict(
    LightViT=lambda x: is_map(x, 3),
    LightViTFPN=lambda x: (
        isinstance(x, (list, tuple))
        and len(x) == 2
        and is_map(x[0], 4)
        and is_map(x[1], 8)
        and len({len(level) for level in x}) == 1
    ),
    LightViTTokenNeck=lambda x: (
        isinstance(x, (list, tuple)) and len(x) > 0 and is_tokens(x[-1])
    ),
    BiDimensionalAttention=is_tokens,
)


def random_tensor(*shape):
    return torch.rand(shape)


RIGHT_INPUT = dict(
    LightViT=st.builds(
        random_tensor,
        st.integers(0, 2),
        st.just(3),
        st.integers(1, 40),
        st.integers(1, 40),
    ),
    LightViTFPN=st.lists(MAPS, min_size=2, max_size=2),
    LightViTTokenNeck=st.tuples(
        st.builds(random_tensor, st.integers(0, 2), st.integers(1, 9), st.just(4))
    ),
    BiDimensionalAttention=st.builds(
        random_tensor, st.integers(0, 2), st.integers(1, 9), st.just(4)
    ),
)


@generated(200)
def test_inputs(data):
    name = data.draw(st.sampled_from(sorted(models())))
    wrong = TENSORS | JUNK | st.lists(TENSORS | JUNK, max_size=3)
    is_right = data.draw(st.booleans())
    x = data.draw(RIGHT_INPUT[name] if is_right else wrong, label='input')
    outs = attempt(models()[name], x)
    if FITS_INPUT[name](x):
        assert not isinstance(outs, Refusal), outs
        batch = len(x[-1] if isinstance(x, (list, tuple)) else x)
        assert all(len(out) == batch for out in check_repeats(models()[name], x))
    else:
        assert isinstance(outs, Refusal)
        assert outs.startswith(f'{name} got '), outs


# ---------------------------------------------------------------- datasets and so on

FACTORS = st.sampled_from([0, 0.1, 1, 10])
RIGHT_DECAY = dict(
    layer_decay_rate=st.sampled_from([0.5, 1, np.float32(0.75)]),
    custom_keys=st.sampled_from(
        [{}, dict(norm=dict(lr_mult=0.1, decay_mult=0)), dict(head=dict(eps=1e-6))]
    ),
    **dict.fromkeys(
        [
            'bias_lr_mult',
            'bias_decay_mult',
            'norm_decay_mult',
            'flat_decay_mult',
            'dwconv_decay_mult',
        ],
        FACTORS,
    ),
    bypass_duplicate=FLAGS,
)


def is_factor(value):
    return value is None or (is_real(value) and value >= 0)


def are_custom_keys(value):
    return isinstance(value, dict) and all(
        isinstance(key, str)
        and isinstance(options, dict)
        and all(
            is_real(options.get(name, 1)) and options.get(name, 1) >= 0
            for name in ('lr_mult', 'decay_mult')
        )
        for key, options in value.items()
    )


FITS_DECAY = {
    **dict.fromkeys(RIGHT_DECAY, is_factor),
    'layer_decay_rate': lambda x: is_real(x) and 0 < x <= 1,
    'custom_keys': are_custom_keys,
    'bypass_duplicate': is_flag,
}


@functools.cache
def backbone_and_head():
    model = nn.Module()
    model.backbone = models()['LightViT']
    model.head = nn.Linear(2, 2)
    return model


@generated(100)
def test_options_of_the_layer_decay(data):
    options = draw_options(data, RIGHT_DECAY, ['layer_decay_rate'])
    cfg = dict(
        optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1), paramwise_cfg=options
    )
    cfg['constructor'] = 'lightvit_mm.LayerDecayOptimWrapperConstructor'
    model = backbone_and_head()
    wrapper = attempt(build_optim_wrapper, model, cfg)
    wrong = unfit(options, FITS_DECAY)
    if wrong:
        assert isinstance(wrapper, Refusal), wrong
        assert 'paramwise_cfg' in wrapper and any(name in wrapper for name in wrong)
        return
    assert not isinstance(wrapper, Refusal), wrapper
    groups = wrapper.optimizer.param_groups
    by_parameter = {id(group['params'][0]): group for group in groups}
    # The first block of two stages with a block each: four layers, this is one of
    # them, and the highest is that of the norms and the head.
    name, parameter = next(
        (name, parameter)
        for name, parameter in model.named_parameters()
        if name == 'backbone.stages.0.0.attn.qkv.weight'
    )
    expected = 0.1 * options['layer_decay_rate'] ** 2
    assert by_parameter[id(parameter)]['lr'] == pytest.approx(expected), name


@functools.cache
def folders():
    """Two classes of images; the images with masks of two values."""
    root = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, root)
    for name in ('classes/cat', 'classes/dog', 'images', 'masks'):
        (root / name).mkdir(parents=True)
        value = np.uint8(np.arange(16).reshape(4, 4) % 2)
        Image.fromarray(value).save(root / name / '0.png')
    return root


def is_path(value):
    return isinstance(value, (str, Path))


def is_prefix(value, *keys):
    return (
        isinstance(value, dict)
        and all(key in value for key in keys)
        and all(map(is_path, value.values()))
    )


RIGHT_DATASET = dict(
    test_mode=FLAGS,
    serialize_data=FLAGS,
    max_refetch=st.integers(0, 3),
    pipeline=st.just([]),
    filter_cfg=st.none(),
)
FITS_DATASET = dict(
    test_mode=is_flag,
    serialize_data=is_flag,
    max_refetch=lambda x: is_int(x, 0),
    pipeline=lambda x: is_list(x, lambda step: type(step) is dict, least=0),
    filter_cfg=lambda x: x is None or isinstance(x, dict),
    data_prefix=lambda x: isinstance(x, str) or is_prefix(x, 'img_path'),
    with_label=lambda x: x is True,
    data_root=lambda x: x is None or is_path(x),
    metainfo=lambda x: x is None or isinstance(x, dict),
)


@generated(50, 'mmpretrain')
def test_options_of_the_class_folders(data):
    right = dict(
        RIGHT_DATASET,
        data_prefix=st.sampled_from(['classes', dict(img_path='classes')]),
        with_label=st.just(True),
        data_root=st.sampled_from([str(folders()), folders()]),
    )
    options = draw_options(data, right, ['data_root', 'data_prefix'])
    dataset = build(DATASETS, 'ClassFolderDataset', options)
    accepted = check_options(dataset, options, FITS_DATASET, 'ClassFolderDataset')
    prefix = options['data_prefix']
    is_there = isinstance(prefix, (str, dict)) and 'classes' in str(prefix)
    if str(options['data_root']) == str(folders()) and is_there:
        assert accepted == (not unfit(options, FITS_DATASET)), dataset
    if accepted and is_there:
        assert dataset.CLASSES == ('cat', 'dog')
        assert [dataset.get_data_info(i)['gt_label'] for i in range(2)] == [0, 1]


RIGHT_MASKS = dict(
    RIGHT_DATASET,
    data_prefix=st.builds(
        lambda: dict(img_path=folders() / 'images', seg_map_path=folders() / 'masks')
    ),
    mask_classes=st.just(['sky', 'road']),
    mask_values=st.sampled_from([None, [0, 1], (1, 0), ['#000000', '#ff8000'], [3]]),
    img_suffix=st.sampled_from(['.png', ['.png', '.jpg']]),
    seg_map_suffix=st.sampled_from(['.png', ('.png',)]),
    ignore_index=st.integers(0, 255),
)
FITS_MASKS = dict(
    FITS_DATASET,
    data_prefix=lambda x: is_prefix(x, 'img_path', 'seg_map_path'),
    mask_classes=lambda x: is_list(x, lambda name: isinstance(name, str)),
    mask_values=lambda x: (
        x is None
        or is_list(x, lambda value: is_int(value, 0, 65535))
        or is_list(x, lambda value: re.fullmatch('#[0-9a-f]{6}', str(value)))
    ),
    img_suffix=lambda x: (
        isinstance(x, str) or is_list(x, lambda suffix: isinstance(suffix, str))
    ),
    seg_map_suffix=lambda x: FITS_MASKS['img_suffix'](x),
    ignore_index=lambda x: is_int(x, 0, 255),
)


@generated(50, 'mmseg')
def test_options_of_the_mask_folders(data):
    options = draw_options(data, RIGHT_MASKS, ['mask_classes', 'data_prefix'])
    dataset = attempt(
        DATASETS.get('lightvit_mm.MaskFolderDataset'),
        metainfo=dict(classes=('road',)),
        **options,
    )
    fits = FITS_MASKS
    if not check_options(dataset, options, fits, 'MaskFolderDataset'):
        return
    values = options.get('mask_values')
    values = range(2) if values is None else values
    labels = dataset.get_data_info(0)['label_map']
    ignored = options.get('ignore_index', 255)
    assert [labels[value] for value in values] == [
        0 if name == 'road' else ignored for name in options['mask_classes']
    ]


RIGHT_METRIC = dict(
    metric=st.sampled_from(['bbox', ['bbox', 'segm']]),
    proposal_nums=st.just((1, 10, 100)),
    classwise=FLAGS,
    sort_categories=FLAGS,
    use_mp_eval=FLAGS,
    prefix=st.none() | st.just('mine'),
)
METRIC_NAMES = ('bbox', 'segm', 'proposal', 'proposal_fast')
FITS_METRIC = dict(
    metric=lambda x: (
        all(isinstance(name, str) and name in METRIC_NAMES for name in x)
        if isinstance(x, list)
        else isinstance(x, str) and x in METRIC_NAMES
    ),
    proposal_nums=lambda x: is_list(x, lambda n: is_int(n, 1), least=3),
    classwise=is_flag,
    sort_categories=is_flag,
    use_mp_eval=is_flag,
    prefix=lambda x: x is None or isinstance(x, str),
)


@generated(100, 'mmdet')
def test_options_of_the_coco_metric(data):
    options = draw_options(data, RIGHT_METRIC)
    metric = build(METRICS, 'CocoMetric', options)
    accepted = check_options(metric, options, FITS_METRIC, 'CocoMetric')
    assert accepted == (not unfit(options, FITS_METRIC)), metric


@generated(20, 'mmseg')
def test_options_of_the_mask_loader(data):
    options = draw_options(data, dict(backend_args=st.none() | st.just({})))
    fits = dict(backend_args=lambda x: x is None or isinstance(x, dict))
    transform = build(TRANSFORMS, 'LoadSegMap', options)
    accepted = check_options(transform, options, fits, 'LoadSegMap')
    assert accepted == (not unfit(options, fits)), transform


# ---------------------------------------------------------------- configs

CONFIGS = [
    'lightvit_mm::finetune_lightvit_t.py',
    'lightvit_mm::finetune_mask_rcnn_lightvit_t.py',
    'lightvit_mm::finetune_semantic_fpn_lightvit_t.py',
    'lightvit_mm::lightvit_t_8xb128_in1k.py',
]
read = functools.cache(read_config)
# What the command line can give: text that mmengine reads as values.
OPTION_VALUES = st.sampled_from(
    [None, True, 0, 1, -3, 10**9, 0.5, math.nan, '', 'x', [], [None, 'x'], (3, 4)]
)


def draw_path(data, node):
    """The keys to some place in a config; the last one may have a typo."""
    keys = []
    while isinstance(node, (dict, list)) and node:
        known = list(node) if isinstance(node, dict) else [*range(len(node)), 99]
        keys.append(data.draw(st.sampled_from(sorted(map(str, known))), label='key'))
        if isinstance(node, list):
            if keys[-1] == '99':
                break
            node = node[int(keys[-1])]
        else:
            node = node.get(keys[-1])
        if data.draw(st.integers(0, 4)) == 0:
            break
    if data.draw(st.integers(0, 3)) == 0:
        keys[-1] = data.draw(st.sampled_from([keys[-1] + 's', keys[-1][1:], 'a', '']))
    return keys


def plain_set(node, keys, value):
    """Set a value in nested dicts and lists, and say whether that is possible."""
    *parents, last = keys
    for key in parents:
        if isinstance(node, list):
            if not key.isdigit() or int(key) >= len(node):
                return False
            node = node[int(key)]
        elif isinstance(node, dict):
            node = node.setdefault(key, {})
    if not isinstance(node, dict):
        return False
    node[last] = value
    return True


@generated(150, 'mmpretrain', 'mmdet', 'mmseg')
def test_options_of_a_config(data):
    name = data.draw(st.sampled_from(CONFIGS))
    cfg = copy.deepcopy(read(name))
    expected = cfg.to_dict()
    keys = draw_path(data, expected)
    value = data.draw(OPTION_VALUES, label='value')
    option = '.'.join(keys)
    refusal = attempt(cfg_options.merge, cfg, {option: value})
    if isinstance(refusal, Refusal):
        assert keys[0] in refusal, refusal
        assert '\n' not in refusal
        if keys[0] != 'custom_imports':
            assert repr(cfg.to_dict()) == repr(expected)
    else:
        assert plain_set(expected, keys, value)
        assert repr(cfg.to_dict()) == repr(expected)


@generated(60, 'mmpretrain', 'mmdet', 'mmseg')
def test_options_for_own_data(data):
    cfg = copy.deepcopy(read(data.draw(st.sampled_from(CONFIGS[:3]))))
    options = data.draw(
        st.fixed_dictionaries(
            {},
            optional=dict(
                data_root=JUNK | st.just(str(folders())),
                pretrained=JUNK | st.sampled_from([True, None, 'weights.pth']),
                image_size=JUNK | st.integers(1, 99),
            ),
        )
    )
    # The folder has the data of no task.
    refusal = attempt(lambda: cfg.merge_from_dict(options) or complete(cfg))
    assert isinstance(refusal, Refusal)
    assert any(name in refusal for name in options) or 'data_root' in refusal


# ---------------------------------------------------------------- command lines

TOOLS = [
    'train',
    'test',
    'predict',
    'check_dataset',
    'convert_dataset',
    'convert_checkpoint',
    'deploy.export',
    'deploy.run',
    'analysis.benchmark',
    'analysis.get_flops',
    'analysis.segmentation_errors',
    'analysis.visualize_attention',
]


@functools.cache
def tool(name):
    path = Path(__file__).parents[1] / 'tools' / f'{name.replace(".", "/")}.py'
    spec = importlib.util.spec_from_file_location(f'tool_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WORDS = st.sampled_from(
    [
        'a.py',
        'b.pth',
        '3',
        '-1',
        '0.5',
        'nan',
        '',
        'a=1',
        'a.b=[1,2',
        'a="(1"',
        '=',
        '-',
    ]
)


def draw_arguments(data, parser_help):
    flags = sorted(set(re.findall(r'--[a-z][a-z-]+', parser_help)) - {'--help'})
    parts = st.one_of(
        st.tuples(WORDS),
        st.tuples(st.sampled_from([*flags, '--x'])),
        st.tuples(st.just('--cfg-options'), WORDS),
    )
    return sum(data.draw(st.lists(parts, max_size=5), label='arguments'), ())


@generated(150, 'mmpretrain', 'mmdet', 'mmseg')
def test_command_lines(data):
    name = data.draw(st.sampled_from(TOOLS))
    shown = io.StringIO()
    with (
        mock.patch.object(sys, 'argv', [name, '--help']),
        redirect_stdout(shown),
        pytest.raises(SystemExit),
    ):
        tool(name).parse_args()
    arguments = draw_arguments(data, shown.getvalue())
    errors = io.StringIO()
    with mock.patch.object(sys, 'argv', [name, *arguments]), redirect_stderr(errors):
        try:
            args = tool(name).parse_args()
        except SystemExit as end:
            assert end.code == 2
            last = errors.getvalue().strip().splitlines()[-1]
            assert re.match(rf'{name}: error: .{{5,}}', last)
            return
    # All words of the command line were read.
    given = repr(vars(args))
    for word in arguments:
        if not word.startswith('-') and '=' not in word and word not in ('', 'nan'):
            assert word in given, (word, given)


@generated(60, 'mmpretrain', 'mmdet', 'mmseg')
def test_configs_of_a_run(data):
    name = data.draw(st.sampled_from([CONFIGS[3]] * 4 + ['lightvit_mm::x.py', 'x']))
    words = data.draw(
        st.lists(
            st.sampled_from(
                [
                    'model.backbone.drop_path_rate=0.5',
                    'model.backbone.drop_path_rat=0.5',
                    'train_cfg.max_epochs=abc',
                    'train_cfg=None',
                    'work_dir=3',
                    'launcher=none',
                    'default_scope=mmfoo',
                    'runner_type=Foo',
                    'runner_type=lightvit_mm.ClassFolderRunner',
                    'custom_imports.imports=foo',
                    'model=None',
                    'data_root=nowhere',
                    'train_dataloader.dataset.5=1',
                ]
            ),
            max_size=2,
        ),
        label='options',
    )
    arguments = ['train', name, *(['--cfg-options', *words] if words else [])]
    with mock.patch.object(sys, 'argv', arguments):
        args = tool('train').parse_args()
    with mock.patch('lightvit_mm.config.read_config', lambda x: copy.deepcopy(read(x))):
        cfg = attempt(cli.run_config, args)
    if isinstance(cfg, Refusal):
        assert '\n' not in cfg
    else:
        assert name == CONFIGS[3]
        if words == ['model.backbone.drop_path_rate=0.5']:
            assert cfg.model.backbone.drop_path_rate == 0.5
