import numpy as np
import pytest
import torch
from mmengine.runner import load_state_dict

from lightvit_mm import LightViT, LightViTFPN

from .. import golden

(CASE,) = golden.load('golden_neck')


def random_maps(channels=(4, 6, 8), sizes=((13, 10), (7, 5), (4, 3))):
    return [torch.randn(2, c, *size) for c, size in zip(channels, sizes)]


def test_maps_and_gradients_are_the_released_necks():
    model = (
        LightViTFPN(CASE['in_channels'], CASE['out_channels'], CASE['num_outs'])
        .double()
        .eval()
    )
    shapes = {k: list(v.shape) for k, v in model.state_dict().items()}
    assert shapes == CASE['shapes']
    model.load_state_dict(golden.rule_state_dict(model.state_dict(), CASE['salt']))
    rng = np.random.RandomState(CASE['seed'])
    inputs = [
        torch.from_numpy(
            rng.standard_normal((CASE['batch'], channels, *size)).astype(np.float32)
        ).double()
        for channels, size in zip(CASE['in_channels'], CASE['sizes'])
    ]
    outs = model(inputs)
    assert len(outs) == len(CASE['outputs'])
    for out, expected in zip(outs, CASE['outputs']):
        np.testing.assert_allclose(
            out.detach().numpy(), expected, rtol=0, atol=1e-4 * np.abs(expected).max()
        )
    grad_norms = golden.grad_norms(model, outs)
    assert grad_norms.keys() == CASE['grad_norms'].keys()
    for name, norm in CASE['grad_norms'].items():
        assert grad_norms[name] == pytest.approx(norm, rel=1e-4), name


@pytest.mark.parametrize('num_outs', [3, 4, 5])
def test_without_extra_levels_it_is_mmdets_fpn(num_outs):
    fpn_module = pytest.importorskip('mmdet.models.necks.fpn')
    options = dict(in_channels=[4, 6, 8], out_channels=5, num_outs=num_outs)
    ours = LightViTFPN(**options, num_extra_trans_convs=0)
    theirs = fpn_module.FPN(**options)
    theirs.load_state_dict(ours.state_dict())
    inputs = random_maps()
    outs = ours(inputs)
    assert len(outs) == num_outs
    torch.testing.assert_close(outs, theirs(inputs), rtol=0, atol=0)


def test_two_extra_levels_each_double_the_largest_map():
    model = LightViTFPN([4, 6, 8], 5, num_outs=6, num_extra_trans_convs=2)
    sizes = [tuple(out.shape[2:]) for out in model(random_maps())]
    assert sizes == [(52, 40), (26, 20), (13, 10), (7, 5), (4, 3), (2, 2)]


def test_every_parameter_has_a_gradient_with_the_backbone():
    backbone = LightViT('tiny', drop_path_rate=0)
    neck = LightViTFPN(backbone.embed_dims, 16)
    outs = neck(backbone(torch.randn(1, 3, 64, 96)))
    assert [out.shape[2:] for out in outs[:4]] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    sum((out * torch.randn_like(out)).sum() for out in outs).backward()
    for name, parameter in (*backbone.named_parameters(), *neck.named_parameters()):
        assert parameter.grad.any(), name


def test_initial_convolutions_are_xavier_as_in_mmdet():
    model = LightViTFPN([64, 128, 256], 256)
    model.init_weights()
    weight = model.fpn_convs[0].conv.weight
    bound = (6 / (2 * 9 * 256)) ** 0.5
    assert bound * 0.99 < weight.abs().max() <= bound
    assert not model.fpn_convs[0].conv.bias.any()


@pytest.mark.parametrize(
    'options, error, message',
    [
        (dict(num_outs=3), ValueError, 'num_outs=3 should be at least 4'),
        (dict(start_level=1), TypeError, "'start_level'; it takes in_channels"),
    ],
)
def test_bad_options_say_what_would_be_right(options, error, message):
    with pytest.raises(error, match=message):
        LightViTFPN([4, 6, 8], 5, **options)


def test_inputs_of_another_backbone_are_named():
    with pytest.raises(ValueError, match=r'\(4, 6\).*expects \(4, 6, 8\)'):
        LightViTFPN([4, 6, 8], 5)(random_maps((4, 6)))


def test_load_from_of_another_neck_is_refused():
    """As mmengine's runner loads: not strict, warnings only."""
    model = torch.nn.ModuleDict(dict(neck=LightViTFPN([4, 6, 8], 5)))
    plain = LightViTFPN([4, 6, 8], 5, num_extra_trans_convs=0)
    weights = torch.nn.ModuleDict(dict(neck=plain)).state_dict()
    before = model.state_dict()['neck.fpn_convs.0.conv.weight'].clone()
    with pytest.raises(RuntimeError, match='Missing.*extra_trans_convs'):
        load_state_dict(model, weights, strict=False)
    assert torch.equal(model.state_dict()['neck.fpn_convs.0.conv.weight'], before)
