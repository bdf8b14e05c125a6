"""Bi-dimensional attention in other backbones."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import nn

from lightvit_mm import BiDimensionalAttention
from lightvit_mm.analysis.complexity import count_parameters
from lightvit_mm.config import read_config
from lightvit_mm.trained import build_model

from .. import reference

mmpretrain = pytest.importorskip('mmpretrain')

CONFIGS = {
    'deit_ti': ('mmpretrain::deit/deit-tiny_4xb256_in1k.py', [192] * 12),
    'swin_t': (
        'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
        [96] * 2 + [192] * 2 + [384] * 6 + [768] * 2,
    ),
}


def build(name):
    return build_model(
        read_config(f'lightvit_mm::ablation/{name}_bidimensional_attn.py')
    )


@pytest.mark.parametrize('name', CONFIGS)
def test_each_ffn_gets_the_parameters_of_the_attention(name):
    plain_config, channels = CONFIGS[name]
    plain = build_model(read_config(plain_config))
    model = build(name)
    # Norm, two reductions to C / 4, the channel gate and the spatial gate.
    added = sum(
        2 * C + 2 * (C * C // 4 + C // 4) + C // 4 * C + C + 2 * C // 4 + 1
        for C in channels
    )
    assert count_parameters(model) == count_parameters(plain) + added
    assert set(plain.state_dict()) < set(model.state_dict())
    plain_weights = plain.state_dict()
    missing, left_over = model.load_state_dict(plain_weights, strict=False)
    assert not left_over
    assert all('.ffn.layers.3.' in key for key in missing)


def test_the_output_of_the_ffn_is_gated_before_the_residual():
    ffn = build('deit_ti').backbone.layers[0].ffn
    x = torch.randn(1, 9, 192)
    out = ffn(x) - x
    hidden = F.gelu(ffn.layers[0][0](x[0]))
    weights = {
        'fc1.weight': torch.eye(192),
        'fc1.bias': torch.zeros(192),
        'fc2.weight': torch.eye(192),
        'fc2.bias': torch.zeros(192),
    }
    weights.update(
        {f'attn.{key}': value for key, value in ffn.layers[3].state_dict().items()}
    )
    plain = ffn.layers[1](hidden)
    # With a large shift, GELU is the identity, and so is the FFN of the reference.
    shift = 50.0
    weights['fc1.bias'] += shift
    weights['fc2.bias'] -= shift
    expected = reference.ffn(plain, weights)
    torch.testing.assert_close(out[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', CONFIGS)
def test_every_parameter_gets_a_gradient(name):
    cfg = read_config(f'lightvit_mm::ablation/{name}_bidimensional_attn.py')
    cfg.model.backbone.backbone.drop_path_rate = 0.0
    model = build_model(cfg).train()
    sample = mmpretrain.structures.DataSample().set_gt_score(torch.rand(1000))
    model(torch.rand(1, 3, 224, 224), [sample], mode='loss')['loss'].backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name


def test_bidimensional_attention_is_registered():
    module = MODELS.build(
        dict(type='lightvit_mm.BiDimensionalAttention', embed_dims=16, reduction=2)
    )
    assert isinstance(module, BiDimensionalAttention)
    assert module.global_reduce.out_features == 8


def test_backbone_without_ffn_is_an_error():
    with pytest.raises(ValueError, match='ResNet has no mmcv.*FFN'):
        MODELS.build(
            dict(
                type='lightvit_mm.with_bidimensional_attention',
                backbone=dict(type='mmpretrain.ResNet', depth=18),
            )
        )


def test_weights_are_initialised_as_in_lightvit():
    model = MODELS.build(
        dict(
            type='lightvit_mm.with_bidimensional_attention',
            backbone=dict(type='mmpretrain.SwinTransformer', arch='tiny'),
        )
    )
    added = [
        module
        for module in model.modules()
        if isinstance(module, BiDimensionalAttention)
    ]
    assert len(added) == 12
    for module in added:
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                assert layer.weight.abs().max() <= 0.1
                assert not layer.bias.any()
