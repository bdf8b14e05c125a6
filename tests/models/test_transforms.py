"""The meta device, torch.func and second derivatives, against plain loops."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.func import functional_call, grad, jvp, stack_module_state, vmap

from lightvit_mm import LightViT

from .. import small

NANO = dict(
    embed_dims=(4, 8),
    depths=(1, 1),
    num_heads=(1, 2),
    mlp_ratios=(1, 2),
    num_tokens=2,
)


def network(**options):
    """Maps of 2 x 3 and 1 x 2 tokens from images of 16 x 24 pixels."""
    options = dict(out_indices=(0, 1), drop_path_rate=0.0, window_size=2) | options
    return LightViT(NANO, **options).double().eval()


def images(number=2):
    return torch.randn(number, 3, 16, 24, dtype=torch.double)


def built_on_meta(build, load):
    """A model that is built on the meta device, then loads the weights of another."""
    weights = build().state_dict()
    with torch.device('meta'):
        model = build()
    assert all(parameter.is_meta for parameter in model.parameters())
    if load == 'to_empty':
        model.to_empty(device='cpu')
    model.load_state_dict(weights, assign=load == 'assign')
    return model, weights


@pytest.mark.parametrize('load', ['assign', 'to_empty'])
@pytest.mark.parametrize(
    'options',
    [
        dict(drop_path_rate=0.3, frozen_stages=0),
        dict(out_type='raw', out_indices=(1,)),
        dict(window_size=None, overlapping_patch_embed=False),
    ],
)
def test_meta_device(load, options):
    model, weights = built_on_meta(lambda: network(**options), load)
    expected = network(**options)
    expected.load_state_dict(weights)
    x = images()
    for out, own in zip(model.eval()(x), expected(x), strict=True):
        assert out.equal(own)
    rates = [
        [module.drop_prob for module in net.modules() if hasattr(module, 'drop_prob')]
        for net in (model, expected)
    ]
    assert rates[0] == rates[1]


def test_meta_device_with_resized_position_biases():
    weights = network(window_size=3).state_dict()
    with torch.device('meta'):
        model = network()
    model.load_state_dict(weights, assign=True)
    expected = network()
    expected.load_state_dict(weights)
    assert model(images(1))[0].shape == (1, 4, 2, 3)
    for name, value in model.state_dict().items():
        assert value.equal(expected.state_dict()[name]), name


@pytest.mark.parametrize('load', ['assign', 'to_empty'])
def test_whole_classifier_on_the_meta_device(load):
    pytest.importorskip('mmpretrain')
    cfg = small.classifier()

    def build():
        settings = dict(cfg.model, _scope_='mmpretrain')
        return MODELS.build(settings).eval()

    model, weights = built_on_meta(build, load)
    expected = build()
    expected.load_state_dict(weights)
    x = torch.randn(2, 3, 40, 48)
    assert model.head(model.extract_feat(x)).equal(
        expected.head(expected.extract_feat(x))
    )


def loss_of(model, parameters, x):
    """A number per image; the outputs of the model with other parameters."""
    outs = functional_call(model, parameters, (x[None],))
    return sum(out.pow(2).sum() for out in outs)


def gradients(model, x):
    model.zero_grad()
    loss_of(model, {}, x).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_gradients_of_each_image():
    model, x = network(), images(3)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    per_image = vmap(grad(loss_of, argnums=1), (None, None, 0))(model, parameters, x)
    for i in range(3):
        for name, expected in gradients(model, x[i]).items():
            torch.testing.assert_close(per_image[name][i], expected)


def test_ensemble():
    models, x = [network() for _ in range(3)], images()
    parameters, buffers = stack_module_state(models)
    outs = vmap(lambda *state: functional_call(models[0], state, (x,)))(
        parameters, buffers
    )
    for i, model in enumerate(models):
        for out, expected in zip(outs, model(x)):
            torch.testing.assert_close(out[i], expected)


def test_directional_derivative():
    model, x = network(), images(1)[0]
    direction, step = torch.randn_like(x), 1e-6
    _, derivative = jvp(lambda x: loss_of(model, {}, x), (x,), (direction,))
    ahead, behind = (loss_of(model, {}, x + s * direction) for s in (step, -step))
    torch.testing.assert_close(
        derivative, (ahead - behind) / (2 * step), rtol=1e-5, atol=0
    )


def test_second_derivatives():
    attention = pytest.importorskip('torch.nn.attention', reason='before PyTorch 2.3')
    model = network()
    names = [
        'global_token',
        'stages.0.0.attn.qkv.weight',
        'stages.0.0.attn.relative_position_bias_table',
        'stages.1.1.mlp.attn.spatial_select.weight',
    ]
    # The initial weights are so small that all second derivatives vanish.
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    values = [model.get_parameter(name).detach().clone() for name in names]
    inputs = [images(1), *values]
    for value in inputs:
        value.requires_grad_()

    def outputs(x, *values):
        return functional_call(model, dict(zip(names, values)), (x,))

    with attention.sdpa_kernel(attention.SDPBackend.MATH):
        assert torch.autograd.gradgradcheck(outputs, inputs, fast_mode=True)
