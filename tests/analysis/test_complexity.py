"""Costs compared with a formula by hand, with another library and the paper."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from mmengine.analysis import FlopAnalyzer
from torch import nn

from lightvit_mm.analysis.complexity import (
    count_as_authors,
    count_macs,
    count_parameters,
    forward_tensors,
)
from lightvit_mm.config import read_config
from lightvit_mm.trained import build_model

ROOT = Path(__file__).parents[2]
TINY = dict(dims=(64, 128, 256), depths=(2, 6, 6), heads=(2, 4, 8), tokens=8)
SIZES = {
    'lightvit_t_8xb128_in1k': {},
    'lightvit_s_8xb128_in1k': dict(dims=(96, 192, 384), heads=(3, 6, 12), tokens=16),
    'lightvit_b_8xb128_in1k': dict(
        dims=(128, 256, 512), depths=(3, 8, 6), heads=(4, 8, 16), tokens=24
    ),
}
PLAIN_FFN = dict(spatial=False, channel=False)
ABLATIONS = {
    'lightvit_t_vanilla_attn': dict(tokens=0, window=None, **PLAIN_FFN),
    'lightvit_t_local_attn': dict(tokens=0, **PLAIN_FFN),
    'lightvit_t_local_global_attn': PLAIN_FFN,
    'lightvit_t_local_global_spatial_attn': dict(channel=False),
    'lightvit_t_0_tokens': dict(tokens=0),
    'lightvit_t_2_tokens': dict(tokens=2),
    'lightvit_t_4_tokens': dict(tokens=4),
    'lightvit_t_16_tokens': dict(tokens=16),
    'lightvit_t_32_tokens': dict(tokens=32),
    'lightvit_t_4_stages': dict(
        dims=(32, 64, 128, 256),
        depths=(1, 1, 6, 6),
        heads=(1, 2, 4, 8),
        ratios=(8, 8, 4, 4),
        stride=4,
    ),
    'lightvit_t_no_residual_merging': dict(residual=False),
    'lightvit_t_plain_patch_embed': dict(overlapping=False),
}


def config_path(name):
    folder = ROOT / 'configs' / ('ablation' if name in ABLATIONS else '')
    return str(folder / f'{name}.py')


def costs(
    dims,
    depths,
    heads,
    tokens,
    ratios=(8, 4, 4),
    window=7,
    spatial=True,
    channel=True,
    stride=8,
    overlapping=True,
    residual=True,
    size=224,
):
    """Parameters, MACs by the full count and by the authors' formula, per layer."""
    params = macs = authors = 0
    C, T = dims[0], tokens
    side = size // stride
    if overlapping:
        half = C // 2
        params += 3 * 9 * half + 3 * 9 * half + 4 * 2 * half
        params += half * 9 * C + C
        macs += 3 * 9 * half * 112**2 + 2 * 9 * half * 112**2
        macs += 9 * half * (side * 2) ** 2 + half * 9 * C * side**2
    else:
        params += 3 * stride**2 * C + C
        macs += 3 * stride**2 * C * side**2
    params += 2 * C + T * C
    authors = macs
    for stage, (depth, head, ratio) in enumerate(zip(depths, heads, ratios)):
        if stage > 0:
            before, C = C, dims[stage]
            side //= 2
            step = 4 * before * C * side**2
            params += 2 * 4 * before + 4 * before * C
            if residual:
                step += before * C * side**2
                params += before * C
            if T:
                step += T * before * C
                params += 2 * before + before * C
            macs, authors = macs + step, authors + step
        N, L, r = side**2, side**2 + T, C // 4
        params += depth * (4 * C + 4 * C * C + 4 * C)  # norms, qkv, proj
        if window:
            params += depth * (2 * window - 1) ** 2 * head
        block = 4 * L * C * C
        if T:
            params += depth * (2 * C * C + 2 * C)
            block += 4 * T * N * C
        params += depth * (2 * ratio * C * C + ratio * C + C)
        block += 2 * L * ratio * C * C
        if spatial or channel:
            params += depth * (2 * C + C * r + r)
            block += C * r
        mean_again = 0
        if spatial:
            params += depth * (C * r + r + 2 * r + 1)
            block += L * (C * r + r) + r
            mean_again = (L - 1) * r
        if channel:
            params += depth * (r * C + C)
            block += r * C
        gate = L * C if spatial or channel else 0
        attended = window**2 if window else N
        macs += depth * (block + 2 * N * attended * C + 2 * T * C * C)
        authors += depth * (
            block + gate + mean_again + 2 * N * C * (1 if window else attended)
        )
    params += 2 * C  # norm
    params += C * 1280 + 1280 + 2 * 1280 + 1280 * 1000 + 1000
    head = L * C * 1280 + 1280 * 1000
    return params, macs + head, authors + head


@pytest.mark.parametrize('name', [*SIZES, *ABLATIONS])
def test_costs_of_classifiers_match_the_formula(name):
    pytest.importorskip('mmpretrain')
    model = build_model(read_config(config_path(name)))
    image = torch.rand(1, 3, 224, 224)
    options = {**TINY, **SIZES.get(name, {}), **ABLATIONS.get(name, {})}
    expected = costs(**options)
    assert (
        count_parameters(model),
        count_macs(model, image),
        count_as_authors(model, image),
    ) == expected

    (tokens,) = model.backbone(image)
    assert tokens.shape == (1, options['tokens'] + 49, options['dims'][-1])


def test_costs_of_self_attention_with_global_tokens():
    pytest.importorskip('mmpretrain')
    cfg = read_config(config_path('lightvit_t_8xb128_in1k'))
    cfg.model.backbone.window_size = None
    model = build_model(cfg)
    image = torch.rand(1, 3, 224, 224)
    assert (
        count_parameters(model),
        count_macs(model, image),
        count_as_authors(model, image),
    ) == costs(**TINY, window=None)


def test_formula_gives_the_published_figures():
    """The figures of the authors' release, to three digits."""
    for name, published in zip(
        SIZES, ((9.378, 0.772, 0.733), (19.200, 1.825, 1.743), (35.196, 4.107, 3.923))
    ):
        parameters, macs, authors = costs(**{**TINY, **SIZES[name]})
        assert (
            round(parameters / 1e6, 3),
            round(macs / 1e9, 3),
            round(authors / 1e9, 3),
        ) == published


def test_fused_attention_counts_as_its_two_products():
    q, k, v = torch.rand(2, 3, 5, 8), torch.rand(2, 3, 7, 8), torch.rand(2, 3, 7, 8)
    expected = 2 * 3 * 5 * 7 * (8 + 8)
    assert count_macs(lambda: q @ k.mT @ v) == expected
    assert count_macs(F.scaled_dot_product_attention, q, k, v) == expected


def test_deformable_convolution_counts_as_a_convolution():
    x, weight = torch.rand(2, 6, 9, 11), torch.rand(8, 3, 3, 3)
    offset = torch.rand(2, 2 * 9, 7, 9)
    assert (
        count_macs(torchvision.ops.deform_conv2d, x, offset, weight)
        == count_macs(lambda: F.conv2d(x, weight, groups=2))
        == 2 * 8 * 7 * 9 * 27
    )


def test_pooling_and_norms_do_not_count():
    layers = nn.Sequential(
        nn.BatchNorm3d(4), nn.MaxPool3d(2), nn.GELU(), nn.Flatten(), nn.LayerNorm(4 * 8)
    )
    assert count_macs(layers, torch.rand(1, 4, 4, 4, 4)) == 0


@pytest.mark.parametrize(
    'name, shape',
    [
        ('mmpretrain::resnet/resnet18_8xb32_in1k.py', (224, 224)),
        ('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', (96, 160)),
        ('mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py', (64, 96)),
    ],
)
def test_agrees_with_mmengine_on_convolutions(name, shape):
    pytest.importorskip(name.split('::')[0])
    model = build_model(read_config(name))
    image = torch.rand(1, 3, *shape)
    ours = count_macs(forward_tensors, model, image)

    model.forward = (
        model._forward
        if hasattr(model, '_forward')
        else lambda x: model.head(model.extract_feat(x))
    )
    arguments = (image, None) if hasattr(model, '_forward') else (image,)
    counts = FlopAnalyzer(model, arguments).by_operator()
    assert ours == counts['conv'] + counts['linear']


def run(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    'library, config, figures',
    [
        (
            'mmpretrain',
            'configs/lightvit_s_8xb128_in1k.py',
            ['19.200 M', '1.825 G', "1.743 G by the authors' formula"],
        ),
        (
            'mmdet',
            'configs/mask_rcnn_lightvit_t_1x.py',
            ['800 x 1280', '28.048 M', '187.470 G'],
        ),
    ],
)
def test_tool_prints_the_costs(library, config, figures):
    pytest.importorskip(library)
    done = run('tools/analysis/get_flops.py', config)
    assert done.returncode == 0, done.stdout
    for figure in figures:
        assert figure in done.stdout


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['no_such.py'], 'There is no config no_such.py'),
        (['configs/_base_/lightvit_classifier.py'], 'has no default_scope'),
        (
            ['configs/lightvit_t_8xb128_in1k.py', '--shape', '0', '7'],
            'should be two numbers of at least 1',
        ),
    ],
)
def test_tool_reports_misuse_in_one_line(arguments, message):
    done = run('tools/analysis/get_flops.py', *arguments)
    assert done.returncode == 1 and 'Traceback' not in done.stdout
    assert message in done.stdout.splitlines()[-1]
