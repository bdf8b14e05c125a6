"""Figure 4: the weights of the global attention, and their pictures."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from lightvit_mm import LightViT
from lightvit_mm.analysis import attention_maps
from lightvit_mm.analysis.attention_maps import (
    AttentionMapError,
    BlockAttention,
    draw_attention,
    global_attention_maps,
    heat_map,
    visualize,
)
from lightvit_mm.models.lightvit import LocalGlobalAttention
from lightvit_mm.trained import load_trained, network_input
from lightvit_mm.weights import RELEASED

from .. import reference
from ..saved import ARCH, CONFIGS, sharpen, write_images, write_model

ROOT = Path(__file__).parents[2]
TOOL = str(ROOT / 'tools/analysis/visualize_attention.py')


@pytest.fixture
def backbone():
    model = LightViT(ARCH, out_indices=(0, 1)).eval()
    sharpen(model)
    return model


def plain_maps(x, hw, num_heads, num_tokens, weights):
    """Eq. 2 and 3 for one image (T + N, C): two maps (heads, T, H, W)."""
    q, k, v = reference.linear(x, weights, 'qkv').chunk(3, dim=1)
    heads = list(zip(*(part.chunk(num_heads, dim=1) for part in (q, k, v))))
    aggregation, gathered = [], []
    for q, k, v in heads:
        scores = q[:num_tokens] @ k[num_tokens:].T / q.shape[1] ** 0.5
        aggregation.append(scores.softmax(1))
        gathered.append(aggregation[-1] @ v[num_tokens:])
    kv_global = reference.linear(torch.cat(gathered, dim=1), weights, 'kv_global')
    k_global, _ = kv_global.chunk(2, dim=1)
    broadcast = []
    for (q, _, _), k in zip(heads, k_global.chunk(num_heads, dim=1)):
        scores = q[num_tokens:] @ k.T / q.shape[1] ** 0.5
        broadcast.append(scores.softmax(1).T)
    return (
        torch.stack(aggregation).unflatten(2, hw),
        torch.stack(broadcast).unflatten(2, hw),
    )


@pytest.mark.parametrize('hw', [(57, 70), (64, 128), (9, 17)])
def test_maps_equal_the_attention_weights_of_the_network(backbone, hw):
    backbone.double()
    images = torch.randn(2, 3, *hw).double()
    seen = []
    for name, module in backbone.named_modules():
        if name.endswith('.attn') and 'mlp' not in name:
            module.register_forward_pre_hook(
                lambda module, args, name=name: seen.append((name, *args))
            )
    backbone(images)
    inputs = seen.copy()
    blocks = global_attention_maps(backbone, images)
    assert [block.name for block in blocks] == [
        'stage 1, block 1',
        'stage 2, block 1',
        'stage 2, block 2',
    ]
    assert [block.layer for block in blocks] == ['1.1', '2.1', '2.2']
    assert [block.stride for block in blocks] == [8, 16, 16]
    for block, (name, x, hw), num_heads in zip(blocks, inputs, (2, 4, 4)):
        weights = reference.sub(backbone.state_dict(), f'{name}.')
        for i in range(2):
            aggregation, broadcast = plain_maps(x[i], hw, num_heads, 3, weights)
            torch.testing.assert_close(block.aggregation[i], aggregation)
            torch.testing.assert_close(block.broadcast[i], broadcast)
    assert [name for name, *_ in seen] == 2 * [
        'stages.0.0.attn',
        'stages.1.1.attn',
        'stages.1.2.attn',
    ]


def test_maps_sum_to_one(backbone):
    for block in global_attention_maps(backbone, torch.randn(2, 3, 57, 70)):
        stride, heads = block.stride, 2 if block.stage == 1 else 4
        shape = (2, heads, 3, -(-57 // stride), -(-70 // stride))
        assert block.aggregation.shape == block.broadcast.shape == shape
        torch.testing.assert_close(
            block.aggregation.sum(dim=(3, 4)), torch.ones(2, heads, 3)
        )
        torch.testing.assert_close(
            block.broadcast.sum(dim=2), torch.ones(2, heads, *shape[3:])
        )


@pytest.mark.parametrize('hw', [(9, 10), (7, 14)])
def test_window_weights_equal_the_local_attention(hw):
    """The values that they weigh give what the network computes (Eq. 1)."""
    torch.manual_seed(0)
    attn = LocalGlobalAttention(16, 4, 3, 7).double()
    sharpen(attn)
    torch.nn.init.normal_(attn.relative_position_bias_table)
    H, W = hw
    x = torch.randn(2, 3 + H * W, 16).double()
    block = BlockAttention(1, 1, 8, *2 * [torch.zeros(2, 4, 3, H, W)], attn, x)
    padded = torch.zeros(2, 14, 14, 16).double()
    padded[:, :H, :W] = x[:, 3:].view(2, H, W, 16)
    for row, column, first in ((2, 3, (0, 0)), (H - 1, W - 1, (H // 8 * 7, 7))):
        weights, found = block.window(row, column)
        assert found == first and weights.shape == (2, 4, 7, 7)
        top, left = first
        window = padded[:, top : top + 7, left : left + 7].flatten(1, 2)
        weighed = torch.einsum(
            'bhn,bnhd->bhd',
            weights.flatten(2),
            attn.qkv(window)[..., 32:].view(2, 49, 4, 4),
        )
        output = attn._local_attention(attn.qkv(window))
        index = (row - top) * 7 + column - left
        torch.testing.assert_close(weighed.flatten(1), output[:, index])


def test_without_windows_a_pixel_receives_from_the_whole_map():
    model = LightViT(ARCH, window_size=None, out_indices=(0, 1)).eval()
    block = global_attention_maps(model, torch.randn(1, 3, 57, 70))[0]
    weights, first = block.window(5, 6)
    assert weights.shape == (1, 2, 8, 9) and first == (0, 0)
    torch.testing.assert_close(weights.sum(dim=(2, 3)), torch.ones(1, 2))


@pytest.mark.parametrize(
    'options, strides',
    [
        (dict(stem_stride=4), (4, 8, 8)),
        (dict(overlapping_patch_embed=False), (8, 16, 16)),
        (dict(window_size=None, out_type='raw', with_cp=True), (8, 16, 16)),
        (dict(out_indices=(0,)), (8,)),
    ],
)
def test_maps_of_network_variants_cover_the_image(options, strides):
    model = LightViT(ARCH, **dict(dict(out_indices=(0, 1)), **options))
    blocks = global_attention_maps(model, torch.randn(1, 3, 57, 70))
    assert tuple(block.stride for block in blocks) == strides
    for block in blocks:
        assert block.aggregation.shape[3:] == (
            -(-57 // block.stride),
            -(-70 // block.stride),
        )


def test_network_stays_unchanged(backbone):
    backbone.train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    blocks = global_attention_maps(backbone, torch.randn(1, 3, 64, 64))
    assert not blocks[0].aggregation.requires_grad
    with pytest.raises(ValueError, match='expects'):
        global_attention_maps(backbone, torch.randn(1, 4, 64, 64))
    assert all(module.training for module in backbone.modules())
    assert not any(module._forward_hooks for module in backbone.modules())
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, before[key])


def test_backbone_without_global_tokens_is_an_error():
    model = LightViT(ARCH, num_tokens=0, out_indices=(0, 1))
    with pytest.raises(AttentionMapError, match='num_tokens=0'):
        global_attention_maps(model, torch.randn(1, 3, 64, 64))


# The picture


def hot_spots(path):
    """A mask of the red pixels of a picture, the maxima of the colour map."""
    red, green, blue = (imread(path)[..., i] for i in range(3))
    return (red > 0.6) & (green < 0.5) & (blue < 0.5)


def test_maps_are_drawn_in_their_cell_and_place(tmp_path):
    """One hot spot in four maps, which exceed their image by 20 pixels."""
    image = np.full((60, 100, 3), 128, np.uint8)
    centres = []
    for kind in (0, 1):
        for token in (0, 1):
            for y, x in ((1, 1), (1, 3), (2, 1)):
                maps = torch.zeros(2, 2, 4, 6)
                maps[kind, token, y, x] = 1.0
                path = tmp_path / f'{kind}{token}{y}{x}.png'
                draw_attention(image, *maps, stride=20, path=path)
                spot = hot_spots(path)
                assert spot.any()
                centres.append([where.mean() for where in spot.nonzero()])
    # Rows are kinds and columns are tokens, to the right of the image.
    centres = np.reshape(centres, (2, 2, 3, 2))
    height, width = spot.shape
    ys, xs = centres[..., 0] / height, centres[..., 1] / width
    assert ys[0].max() < 0.55 < ys[1].min()
    assert 1 / 3 < xs[:, 0].min() < xs[:, 0].max() < 2 / 3 < xs[:, 1].min()
    # In the cell, the spots lie 40 pixels to the right of the first and 20 below.
    first, right, below = centres.transpose(2, 3, 0, 1)
    np.testing.assert_allclose(right[0], first[0], atol=2)
    np.testing.assert_allclose(below[1], first[1], atol=2)
    pitch = first[1, :, 1] - first[1, :, 0]
    np.testing.assert_allclose((right[1] - first[1]) / pitch, 0.39, atol=0.02)
    np.testing.assert_allclose(
        (right[1] - first[1]) / (below[0] - first[0]), 2, rtol=0.05
    )


def test_many_tokens_fill_several_rows(tmp_path):
    """A row has eight tokens, so token 9 is the second in the third row."""
    image = np.full((20, 20, 3), 128, np.uint8)
    aggregation = torch.zeros(11, 2, 2)
    aggregation[9, 0, 0] = 1
    path = tmp_path / 'deep/down/picture.png'
    draw_attention(image, aggregation, torch.zeros(11, 2, 2), stride=10, path=path)
    spot = hot_spots(path)
    height, width = spot.shape
    ys, xs = spot.nonzero()
    assert 0.5 < ys.min() / height < ys.max() / height < 0.75
    assert 2 / 9 < xs.min() / width < xs.max() / width < 3 / 9


@pytest.mark.parametrize('hw', [(29, 58), (60, 100)])
def test_a_heat_map_has_the_pixels_of_its_image(hw):
    image = np.random.RandomState(0).randint(0, 256, (*hw, 3), np.uint8)
    weights = torch.zeros(2, 2)
    weights[0, 1] = 1
    # A map of 20 x 20 pixels that starts at row 10 and column 20.
    drawn = heat_map(image, weights, 10, first=(1, 2))
    assert drawn.shape == image.shape
    # Outside of the map, the image; matplotlib rounds.
    change = np.abs(drawn.astype(int) - image).max(axis=2)
    inside = np.zeros(hw, bool)
    inside[10:30, 20:40] = True
    assert change[~inside].max() <= 1 and change[inside].mean() > 20
    blue, red = drawn[22:28, 22:28].mean((0, 1)), drawn[12:18, 32:38].mean((0, 1))
    assert blue.argmax() == 2 and red.argmax() == 0
    marked = heat_map(image, weights, 10, (1, 2), mark=(45, 15))
    ys, xs = (marked != drawn).any(axis=2).nonzero()
    assert (ys.min() + ys.max()) / 2 == pytest.approx(15, abs=1)
    assert (xs.min() + xs.max()) / 2 == pytest.approx(45, abs=1)


# The tool, with models of the three libraries


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_images(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tool(monkeypatch):

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, args)])
        runpy.run_path(TOOL, run_name='__main__')

    return run


@pytest.mark.parametrize('library', CONFIGS)
def test_tool_supports_every_library(folder, tool, capsys, library):
    write_model(library)
    Image.open('photo.png').transpose(Image.ROTATE_90).save('turned.png')
    model = ('config.py', 'model.pth')
    tool(*model, 'photo.png', 'turned.png')
    assert capsys.readouterr().out.splitlines()[-2:] == [
        '[1/2] work_dirs/attention/photo.png',
        '[2/2] work_dirs/attention/turned.png',
    ]
    tool(*model, 'photo.png', '--layer', '2.2', '--out', 'same')
    tool(*model, 'photo.png', '--layer', '2.1', '--out', 'out')
    tool(*model, 'photo.png', '--head', 3, '--out', 'out')
    tool(*model, 'photo.png', '--size', 57, 70, '--out', 'out')
    last = imread('work_dirs/attention/photo.png')
    assert np.array_equal(imread('same/photo_layer2.2.png'), last)
    others = [imread(f'out/photo{name}.png') for name in ('_layer2.1', '_head3', '')]
    # Compare the maps, not the text around them.
    for other in others[:2]:
        drawn = np.abs(other - last)[..., :3].max(-1)
        assert (drawn > 0.1).mean() > 0.1
    assert others[2].shape != last.shape


@pytest.mark.parametrize(
    'layer, head, size',
    [
        (None, None, None),
        ('2.2', 2, None),
        ('1.1', 1, (57, 70)),
    ],
)
def test_visualize_selects_layer_head_and_size(folder, monkeypatch, layer, head, size):
    drawn = []
    monkeypatch.setattr(
        attention_maps, 'draw_attention', lambda *args: drawn.extend(args)
    )
    cfg, model = write_model('mmdet')
    visualize(model, cfg, 'photo.png', 'out.png', layer, head, size)
    image, aggregation, broadcast, stride, path, title = drawn

    expected, inputs = network_input(model, cfg, 'photo.png', size)
    block = global_attention_maps(model.backbone, inputs)[0 if layer == '1.1' else 2]
    assert np.array_equal(image, expected)
    for maps, of_block in (
        (aggregation, block.aggregation),
        (broadcast, block.broadcast),
    ):
        of_image = of_block.mean(1) if head is None else of_block[:, head]
        torch.testing.assert_close(maps[None], of_image)
    assert (stride, path) == (block.stride, 'out.png')
    heads = 'mean of 4 heads' if head is None else f'head {head}'
    assert title == f'photo.png: {block.name}, {heads}'


def test_released_weights_load_by_address(folder, monkeypatch):
    """A config of the package with a checkpoint in the authors' layout."""
    pytest.importorskip('mmpretrain')
    from lightvit_mm import checkpoints

    cfg = Config.fromfile(ROOT / 'configs/lightvit_t_8xb128_in1k.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        from mmengine.registry import MODELS

        model = MODELS.build(cfg.model)
    released = RELEASED['lightvit://tiny-in1k'].file
    torch.save(
        dict(state_dict=checkpoints.convert(model.state_dict(), 'authors')), released
    )
    monkeypatch.setenv(checkpoints.FOLDER_VARIABLE, str(folder))
    loaded = load_trained(cfg, 'lightvit://tiny-in1k')
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(loaded.backbone.state_dict()[key], value)
    visualize(loaded, cfg, 'photo.png', 'out/figure4.png', layer='1.1')
    assert Path('out/figure4.png').stat().st_size > 10000


@pytest.mark.parametrize(
    'args, message',
    [
        (['missing.jpg'], 'image missing.jpg cannot be read .FileNotFoundError'),
        (['text.png'], 'image text.png cannot be read'),
        (['empty.png'], 'image empty.png cannot be read'),
        (['photo.png', '--layer', '2.3'], r'no layer 2.3: .* 1.1, 2.1, 2.2$'),
        (['photo.png', '--layer', 'last'], 'no layer last: expected STAGE.BLOCK'),
        (['photo.png', '--head', '4'], 'no head 4 in stage 2, .* 0 to 3$'),
        (['photo.png', '--head', '-1'], 'no head -1 in stage 2, .* 0 to 3$'),
        (['photo.png', '--size', '0', '70'], r'size=\(0, 70\) should be'),
        (['photo.png', 'other/photo.png'], '2 images are named photo'),
    ],
)
def test_tool_reports_misuse_in_one_line(folder, tool, args, message):
    write_model('mmpretrain')
    with pytest.raises(SystemExit, match=message) as error:
        tool('config.py', 'model.pth', *args)
    assert '\n' not in str(error.value)
    assert not Path('work_dirs').exists()


def test_tool_reports_a_model_without_global_tokens(folder, tool):
    write_model('mmpretrain', 'model["backbone"]["num_tokens"] = 0')
    with pytest.raises(SystemExit, match='num_tokens=0: without'):
        tool('config.py', 'model.pth', 'photo.png')


@pytest.mark.parametrize(
    'change, checkpoint, message',
    [
        ('', 'text.pth', '^text.pth is not a PyTorch checkpoint: it starts'),
        ('test_dataloader = None', 'model.pth', 'no test_dataloader.dataset.pipe'),
    ],
)
def test_tool_reports_an_unusable_model_in_one_line(
    folder, tool, change, checkpoint, message
):
    write_model('mmpretrain', change)
    with pytest.raises(SystemExit, match=message) as error:
        tool('config.py', checkpoint, 'photo.png')
    assert '\n' not in str(error.value)


def test_missing_config_or_gpu_is_an_error(folder, tool, monkeypatch, capsys):
    with pytest.raises(SystemExit, match='no config missing.py'):
        tool('missing.py', 'model.pth', 'photo.png')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit, match='2'):
        tool('missing.py', 'model.pth', 'photo.png', '--device', 'cuda')
    assert '--device: PyTorch finds no GPU here; use cpu' in capsys.readouterr().err
