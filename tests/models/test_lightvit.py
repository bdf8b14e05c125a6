import itertools
from collections import defaultdict

import numpy as np
import pytest
import torch
from mmengine.runner import load_state_dict, save_checkpoint
from torch import nn

from lightvit_mm import LightViT, LightViTTokenNeck

from .. import golden, reference

# As small as a network with three stages can be, to try many combinations.
NANO = dict(
    embed_dims=(8, 16, 32),
    depths=(1, 1, 2),
    num_heads=(2, 2, 4),
    mlp_ratios=(2, 2, 2),
    num_tokens=2,
)
GOLDEN = {
    (case['kind'], case['arch'].split('_')[1]): case for case in golden.load('golden')
}


def golden_image(case):
    shape = (case['batch'], 3, case['height'], case['width'])
    image = np.random.RandomState(case['seed']).standard_normal(shape)
    return torch.from_numpy(image.astype(np.float32)).double()


def assert_agrees(model, case, expected_grad_norms):
    outs = model(golden_image(case))
    assert len(outs) == len(case['outputs'])
    for out, expected in zip(outs, case['outputs']):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            out.detach().numpy(), expected, rtol=0, atol=1e-4 * scale
        )
    grad_norms = golden.grad_norms(model, outs)
    assert grad_norms.keys() == expected_grad_norms.keys()
    for name, norm in expected_grad_norms.items():
        assert grad_norms[name] == pytest.approx(norm, rel=1e-4), name


@pytest.mark.parametrize('arch', ['tiny', 'small', 'base'])
def test_maps_and_gradients_are_the_released_detectors(arch):
    case = GOLDEN['det', arch]
    model = LightViT(arch).double().eval()
    weights = golden.rule_state_dict(model.state_dict(), case['salt'])
    model.load_state_dict(weights)
    assert_agrees(model, case, case['grad_norms'])


class Classifier(nn.Module):
    """mmpretrain's ImageClassifier in four lines."""

    def __init__(self, arch):
        super().__init__()
        self.backbone = LightViT(arch, out_indices=(2,), out_type='raw')
        self.neck = LightViTTokenNeck(self.backbone.embed_dims[-1])
        self.head = nn.Linear(1280, 1000)

    def forward(self, x):
        return [self.head(self.neck(self.backbone(x))[-1])]


def released_name(name):
    name = name.replace('backbone.norm2.', 'norm.')
    return name.replace('backbone.', '')


@pytest.mark.parametrize('arch', ['tiny', 'small', 'base'])
def test_logits_and_gradients_are_the_released_classifiers(arch):
    case = GOLDEN['cls', arch]
    model = Classifier(arch).double().eval()
    names = {released_name(name): name for name in model.state_dict()}
    weights = golden.rule_state_dict(
        {name: model.state_dict()[ours] for name, ours in names.items()}, case['salt']
    )
    model.load_state_dict({names[name]: value for name, value in weights.items()})
    expected = {names[name]: v for name, v in case['grad_norms'].items()}
    assert_agrees(model, case, expected)


@pytest.mark.parametrize(
    'size, window_size, out_type',
    [
        ((1, 1), 7, 'featmap'),
        ((9, 70), 7, 'featmap'),
        ((57, 33), 2, 'featmap'),
        ((40, 41), 3, 'raw'),
        ((112, 112), 7, 'raw'),
    ],
)
def test_any_size_agrees_with_the_plain_statement(size, window_size, out_type):
    model = LightViT(NANO, window_size=window_size, out_type=out_type)
    model.double().eval()
    weights = golden.rule_state_dict(model.state_dict(), 'plain')
    model.load_state_dict(weights)
    image = torch.randn(1, 3, *size, dtype=torch.double)
    expected = reference.lightvit(
        image,
        weights,
        NANO['depths'],
        NANO['num_heads'],
        window_size,
        out_type == 'featmap',
    )
    for out, plain in zip(model(image), expected):
        torch.testing.assert_close(out, plain)


FOUR_STAGES = dict(
    embed_dims=(8, 8, 16, 32),
    depths=(1, 1, 1, 1),
    num_heads=(1, 2, 2, 4),
    mlp_ratios=(2, 2, 2, 2),
    num_tokens=2,
)
ABLATIONS = dict(
    vanilla_attn=dict(
        window_size=None, num_tokens=0, spatial_attn=False, channel_attn=False
    ),
    vanilla_attn_with_tokens=dict(window_size=None),
    local_attn=dict(num_tokens=0, spatial_attn=False, channel_attn=False),
    global_attn=dict(spatial_attn=False, channel_attn=False),
    spatial_attn=dict(channel_attn=False),
    channel_attn=dict(spatial_attn=False),
    no_tokens=dict(num_tokens=0),
    four_stages=dict(arch=FOUR_STAGES, stem_stride=4, out_indices=(0, 1, 2, 3)),
    no_residual=dict(residual_patch_merging=False),
    plain_patch_embed=dict(overlapping_patch_embed=False),
)


@pytest.mark.parametrize('out_type', ['featmap', 'raw'])
@pytest.mark.parametrize('name', ABLATIONS)
def test_ablation_agrees_with_the_plain_statement(name, out_type):
    options = {'arch': NANO, 'out_type': out_type, **ABLATIONS[name]}
    model = LightViT(drop_path_rate=0, **options).double().eval()
    weights = golden.rule_state_dict(model.state_dict(), 'plain')
    model.load_state_dict(weights)
    image = torch.randn(1, 3, 75, 77, dtype=torch.double)
    arch = options['arch']
    outs = model(image)
    expected = reference.lightvit(
        image,
        weights,
        arch['depths'],
        arch['num_heads'],
        options.get('window_size', 7),
        out_type == 'featmap',
        options.get('stem_stride', 8),
    )
    assert len(outs) == len(expected) == len(arch['depths'])
    for out, plain in zip(outs, expected):
        torch.testing.assert_close(out, plain)

    model.train()
    sum((out * torch.randn_like(out)).sum() for out in model(image)).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad.any(), parameter_name


def test_images_of_a_batch_do_not_mix():
    model = LightViT(NANO).eval()
    images = torch.randn(3, 3, 60, 44)
    together = model(images)
    for i in range(3):
        for out, alone in zip(together, model(images[i : i + 1])):
            torch.testing.assert_close(out[i : i + 1], alone)


OUT_INDICES = [
    combination
    for length in (1, 2, 3)
    for combination in itertools.combinations(range(3), length)
]


@pytest.mark.parametrize('out_type', ['featmap', 'raw'])
@pytest.mark.parametrize('out_indices', OUT_INDICES)
def test_every_trained_parameter_has_a_gradient(out_indices, out_type):
    for frozen_stages in range(-1, out_indices[-1] + 1):
        model = LightViT(
            NANO,
            out_indices=out_indices,
            out_type=out_type,
            frozen_stages=frozen_stages,
            drop_path_rate=0,
        ).train()
        outs = model(torch.randn(2, 3, 50, 70))
        assert len(outs) == len(out_indices)
        if any(out.requires_grad for out in outs):
            # Not the squares: their sum is constant behind a LayerNorm.
            sum((out * torch.randn_like(out)).sum() for out in outs).backward()
        without = {
            name
            for name, parameter in model.named_parameters()
            if parameter.grad is None or not parameter.grad.any()
        }
        frozen = {
            name
            for name, _ in model.named_parameters()
            if frozen_stages >= 0
            and (
                name.startswith(('patch_embed', 'global_token'))
                or any(
                    name.startswith((f'stages.{i}.', f'norm{i}.'))
                    for i in range(frozen_stages + 1)
                )
            )
        }
        assert without == frozen, (out_indices, frozen_stages)


@pytest.mark.parametrize(
    'out_indices, built', [((0,), 1), ((0, 1), 2), ((1,), 2), ((2,), 3)]
)
def test_only_needed_stages_are_built(out_indices, built):
    model = LightViT(NANO, out_indices=out_indices).eval()
    full = LightViT(NANO).eval()
    assert len(model.stages) == built
    model.load_state_dict(
        {
            key: value
            for key, value in full.state_dict().items()
            if key in model.state_dict()
        }
    )
    image = torch.randn(1, 3, 64, 64)
    for i, out in zip(out_indices, model(image)):
        torch.testing.assert_close(out, full(image)[i])


def test_frozen_part_keeps_weights_statistics_and_drops_no_path():
    model = LightViT(NANO, frozen_stages=1, drop_path_rate=0.9).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=0.1
    )
    for _ in range(2):
        outs = model(torch.randn(4, 3, 64, 64))
        sum(out.square().mean() for out in outs).backward()
        optimizer.step()
    changed = {
        key
        for key, value in model.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert changed and all(key.startswith(('stages.2.', 'norm2.')) for key in changed)
    image = torch.randn(4, 3, 64, 64)
    for first, second in zip(model(image)[:2], model(image)[:2]):
        assert torch.equal(first, second)
    assert not torch.equal(model(image)[2], model(image)[2])


def test_norm_eval_keeps_statistics_but_trains():
    model = LightViT(NANO, norm_eval=True).train()
    before = {k: v.clone() for k, v in model.named_buffers()}
    sum(o.sum() for o in model(torch.randn(2, 3, 64, 64))).backward()
    for name, value in model.named_buffers():
        assert torch.equal(value, before[name]), name
    assert model.patch_embed.stem[1].weight.grad.any()
    assert model.stages[0][0].training


def test_statistics_move_by_default():
    model = LightViT(NANO).train()
    model(torch.randn(2, 3, 64, 64))
    assert model.patch_embed.stem[1].running_mean.any()


def test_checkpointing_changes_memory_only():
    plain = LightViT(NANO, drop_path_rate=0.5).train()
    saving = LightViT(NANO, drop_path_rate=0.5, with_cp=True).train()
    saving.load_state_dict(plain.state_dict())
    image = torch.randn(2, 3, 64, 64)
    grads = []
    for model in (plain, saving):
        torch.manual_seed(1)
        outs = model(image)
        sum(out.square().sum() for out in outs).backward()
        grads.append((outs, [p.grad for p in model.parameters()]))
    torch.testing.assert_close(grads[0], grads[1])

    saved = []
    for model in (plain, saving):
        count = [0]

        def pack(x, count=count):
            count[0] += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            model(image)
        saved.append(count[0])
    assert saved[1] < 0.5 * saved[0]


def test_drop_path_grows_linearly_over_the_blocks():
    model = LightViT('tiny', drop_path_rate=0.26)
    rates = [
        module.drop_path.drop_prob
        for module in model.modules()
        if hasattr(module, 'drop_path')
    ]
    np.testing.assert_allclose(rates, np.arange(14) * 0.02, atol=1e-6)


def test_initial_weights_are_those_of_the_released_code():
    model = LightViT('tiny')
    drawn = defaultdict(list)
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        if (
            'table' in name
            or 'global_token' in name
            or (value.dim() == 2 and name.endswith('weight'))
        ):
            drawn['.'.join(name.split('.')[-2:])].append(value.flatten())
            # Five standard errors: much, where a layer is small.
            error = 5 * 0.02 / (2 * value.numel()) ** 0.5
            assert value.std() == pytest.approx(0.02, abs=error), name
            assert value.abs().max() <= 0.1, name
        elif value.dim() == 1 and not name.startswith('patch_embed.proj'):
            assert (
                value
                == float(
                    ('norm' in name and name.endswith('weight')) or is_stem_norm(name)
                )
            ).all(), name
    for layer, values in drawn.items():
        assert 0.015 < torch.cat(values).std() < 0.025, layer


def is_stem_norm(name):
    parts = name.split('.')
    return parts[:2] == ['patch_embed', 'stem'] and parts[3] == 'weight'


def test_in_channels_and_num_tokens():
    model = LightViT(NANO, in_channels=5, num_tokens=3, out_type='raw')
    outs = model(torch.randn(1, 5, 32, 32))
    assert [out.shape[1] for out in outs] == [3 + 16, 3 + 4, 3 + 1]
    assert model.num_extra_tokens == 3


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(arch='huge'), r"'huge'.*tiny.*small.*base"),
        (dict(arch=dict(NANO, depth=3)), 'keys.*depths.*embed_dims'),
        (dict(arch=dict(NANO, depths=(1, 1))), 'one entry per stage'),
        (
            dict(arch=dict(NANO, num_heads=(3, 2, 4))),
            'divisible by its num_heads 3 and by 4',
        ),
        (dict(out_indices=(0, 3)), r'\(0, 3\).*out of \(0, 1, 2\)'),
        (dict(out_indices=(2, 1)), 'increasing'),
        (dict(out_indices=()), 'increasing stage indices'),
        (dict(out_indices=(0, 1), frozen_stages=2), 'frozen_stages=2.*to 1'),
        (dict(frozen_stages=-2), 'frozen_stages=-2 should be -1'),
        (dict(out_type='cls_token'), "'cls_token'.*featmap.*raw"),
        (dict(num_tokens=-1), 'num_tokens=-1 should be an integer >= 0'),
        (dict(stem_stride=16), 'stem_stride=16 should be 4 or 8'),
        (dict(window_size=7.0), 'window_size=7.0 should be an integer'),
        (dict(drop_path_rate=1.0), r'drop_path_rate=1.0 should be in \[0, 1\)'),
    ],
)
def test_bad_options_say_what_would_be_right(options, message):
    with pytest.raises(ValueError, match=message):
        LightViT(**options)


def test_unknown_argument_lists_the_known_ones():
    with pytest.raises(TypeError, match="'depths'; it takes arch, in_channel"):
        LightViT('tiny', depths=(2, 2, 2))


def test_wrong_channel_count_is_named():
    with pytest.raises(ValueError, match=r'\(1, 4, 32, 32\).*3, height'):
        LightViT(NANO)(torch.randn(1, 4, 32, 32))


@pytest.mark.parametrize(
    'size, dynamic',
    [
        ((75, 121), False),
        ((75, 121), True),
        ((112, 56), False),
    ],
)
def test_compiles_without_a_break_of_the_graph(size, dynamic):
    model = LightViT(NANO, out_indices=(0, 1)).eval()
    # A break is an error with fullgraph.
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend='eager')
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(compiled(image), model(image))


def test_position_biases_are_resized_to_another_window():
    old, new = LightViT(NANO, window_size=7), LightViT(NANO, window_size=9)
    key = 'stages.0.0.attn.relative_position_bias_table'
    weights = old.state_dict()
    offsets = torch.arange(-6.0, 7)
    weights[key][:, 0] = (offsets[:, None] + 0 * offsets).flatten()
    weights[key][:, 1] = 5.0
    new.load_state_dict(weights)
    table = new.state_dict()[key].view(17, 17, 2)
    assert torch.allclose(table[..., 1], torch.tensor(5.0))
    # Biases grow with the vertical offset, are odd in it and do not depend on
    # the horizontal one.
    column = table[:, 0, 0]
    assert torch.allclose(table[..., 0], column[:, None].expand(17, 17), atol=1e-5)
    assert (column.diff() > 0).all()
    assert torch.allclose(column, -column.flip(0), atol=1e-5)
    assert torch.equal(
        new.state_dict()['stages.0.0.attn.relative_position_index'],
        LightViT(NANO, window_size=9).state_dict()[
            'stages.0.0.attn.relative_position_index'
        ],
    )


def test_layer_depths_follow_the_blocks():
    model = LightViT('tiny')
    assert [
        model.get_layer_depth('backbone.' + name, 'backbone.')
        for name in (
            'global_token',
            'patch_embed.stem.0.weight',
            'stages.0.0.norm1.weight',
            'stages.0.1.mlp.fc1.bias',
            'stages.1.0.reduction.weight',
            'stages.1.1.attn.qkv.bias',
            'stages.2.6.norm1.bias',
            'norm0.weight',
        )
    ] == [(depth, 16) for depth in (0, 0, 1, 2, 3, 3, 14, 15)]
    assert model.get_layer_depth('neck.conv', 'backbone.') == (15, 16)


def pretrained(path, prefix='backbone.'):
    return dict(type='Pretrained', checkpoint=str(path), prefix=prefix)


@pytest.fixture
def classifier_checkpoint(tmp_path):
    model = LightViT(NANO, out_indices=(2,), out_type='raw')
    weights = {f'backbone.{k}': v for k, v in model.state_dict().items()}
    weights['head.fc.bias'] = torch.zeros(3)
    path = tmp_path / 'classifier.pth'
    save_checkpoint(dict(state_dict=weights, meta=dict()), str(path))
    return path, model


def test_a_detector_starts_from_a_classifier(classifier_checkpoint):
    path, classifier = classifier_checkpoint
    model = LightViT(NANO, init_cfg=pretrained(path))
    model.init_weights()
    for key, value in classifier.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    assert model.norm0.weight.eq(1).all()


def test_no_prefix_is_needed_for_a_whole_model(classifier_checkpoint):
    path, classifier = classifier_checkpoint
    model = LightViT(NANO, init_cfg=pretrained(path, prefix=None))
    model.init_weights()
    assert torch.equal(model.global_token, classifier.global_token)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(arch=dict(NANO, depths=(2, 1, 2))), r'Missing.*stages\.0\.1'),
        (dict(arch=dict(NANO, depths=(1, 1, 1))), r'Left over.*stages\.2\.2'),
        (
            dict(arch=NANO, num_tokens=5),
            r'have 2 global tokens, .* has 5: set model\.backbone\.num_tokens=2$',
        ),
    ],
)
def test_weights_that_do_not_fit_change_nothing(
    classifier_checkpoint, options, message
):
    path, _ = classifier_checkpoint
    model = LightViT(**options, init_cfg=pretrained(path))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(RuntimeError, match=message):
        model.init_weights()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_wrong_prefix_is_an_error(classifier_checkpoint):
    path, _ = classifier_checkpoint
    model = LightViT(NANO, init_cfg=pretrained(path, prefix='encoder.'))
    with pytest.raises(AssertionError, match='encoder. is not in'):
        model.init_weights()


def test_load_from_of_a_whole_model_refuses_another_backbone():
    """As mmengine's runner loads: not strict, warnings only."""
    model = nn.ModuleDict(dict(backbone=LightViT(NANO), head=nn.Linear(1, 1)))
    weights = nn.ModuleDict(dict(backbone=LightViT(NANO, num_tokens=3)))
    with pytest.raises(RuntimeError, match='have 3 global tokens'):
        load_state_dict(model, weights.state_dict(), strict=False)


def test_fewer_stages_load_from_a_whole_network(classifier_checkpoint):
    path, classifier = classifier_checkpoint
    model = LightViT(NANO, out_indices=(0, 1), init_cfg=pretrained(path))
    model.init_weights()
    key = 'stages.1.1.attn.qkv.weight'
    assert torch.equal(model.state_dict()[key], classifier.state_dict()[key])
