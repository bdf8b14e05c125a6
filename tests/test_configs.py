"""Mask R-CNN follows the recipe of the paper or of the released code."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from lightvit_mm.paper.published import TABLE4

mmdet = pytest.importorskip('mmdet')
from mmdet.registry import MODELS  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402

CONFIGS = Path(__file__).parents[1] / 'configs'
MASK_RCNN = [
    *sorted(CONFIGS.glob('mask_rcnn_lightvit_*.py')),
    *sorted(CONFIGS.glob('released/*.py')),
]
PARAMETERS = dict(t=28.05, s=37.76, b=53.65)


def name_parts(path):
    """(size, schedule, is_released) of mask_rcnn_lightvit_s_1x_released."""
    parts = path.stem.split('_')[3:]
    return parts[0], parts[1], parts[2:] == ['released']


def test_there_is_a_config_for_each_size_schedule_and_recipe():
    assert {name_parts(path) for path in MASK_RCNN} == {
        (size, schedule, released)
        for size in 'tsb'
        for schedule in ('1x', '3x')
        for released in (False, True)
    }


@pytest.fixture(scope='module', autouse=True)
def mmdet_scope():
    register_all_modules()


@pytest.mark.parametrize('path', MASK_RCNN, ids=lambda path: path.stem)
def test_mask_rcnn_follows_its_recipe(path):
    size, schedule, released = name_parts(path)
    cfg = Config.fromfile(path)

    # Paper, Section 5.2, and the authors' released code.
    epochs = dict(zip(('1x', '3x'), (12, 36)))[schedule]
    milestones = [epochs * 3 // 4, epochs * 11 // 12]
    if released and schedule == '1x':
        milestones = [8, 11]
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.param_scheduler[1].milestones == milestones
    assert cfg.param_scheduler[1].end == epochs
    assert cfg.param_scheduler[1].gamma == 0.1
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW'
    assert (optimizer.lr, optimizer.weight_decay) == (
        (2e-4, 0.04) if released else (1e-4, 0.05)
    )
    assert 'clip_grad' not in cfg.optim_wrapper
    # mmdet's base has two images per GPU; the paper's batch size is 16 on 8 GPUs.
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=16)
    backbone = cfg.model.backbone
    assert backbone.drop_path_rate == (0.3 if size == 'b' and not released else 0.1)
    assert backbone.get('norm_eval', False) == released
    multi_scale = any(
        step.type == 'RandomChoice' for step in cfg.train_dataloader.dataset.pipeline
    )
    assert multi_scale == (schedule == '3x')


@pytest.mark.parametrize('size', 'tsb')
def test_mask_rcnn_has_the_published_size_and_decays_as_the_authors(size):
    cfg = Config.fromfile(CONFIGS / f'mask_rcnn_lightvit_{size}_1x.py')
    model = MODELS.build(cfg.model)
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    assert parameters == pytest.approx(PARAMETERS[size], abs=0.005)

    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decays = {
        id(p): group['weight_decay']
        for group in optimizer.param_groups
        for p in group['params']
    }
    assert len(decays) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        is_norm = 'norm' in name.split('.')[-2] or (
            '.stem.' in name and parameter.dim() == 1
        )
        decayed = not (
            is_norm or name.endswith('bias_table') or name == 'backbone.global_token'
        )
        assert decays[id(parameter)] == (0.05 if decayed else 0.0), name


@pytest.mark.parametrize('size', 'tsb')
def test_three_times_trains_the_same_network(size):
    once, thrice = (
        Config.fromfile(CONFIGS / f'mask_rcnn_lightvit_{size}_{schedule}.py')
        for schedule in ('1x', '3x')
    )
    assert thrice.model == once.model


def test_three_times_augmentation_is_that_of_swin():
    ours = Config.fromfile(CONFIGS / 'mask_rcnn_lightvit_t_3x.py')
    swin = Config.fromfile(
        Path(mmdet.__file__).parent / '.mim/configs/swin/'
        'mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py'
    )
    assert (
        ours.train_dataloader.dataset.pipeline == swin.train_dataloader.dataset.pipeline
    )


@pytest.mark.parametrize('path', MASK_RCNN, ids=lambda path: path.stem)
def test_docstring_gives_command_and_published_result(path):
    text = path.read_text()
    size, schedule, _ = name_parts(path)
    row = {row.name: row for row in TABLE4}[f'LightViT-{size.upper()}']
    box, mask = row.ap_1x if schedule == '1x' else row.ap_3x
    assert f'tools/dist_train.sh {path.relative_to(CONFIGS.parent)} 8' in text
    published = f'Published: box AP {box}, mask AP {mask} on val2017 (paper, Table 4).'
    assert published in text
    assert len(text.split('"""')[2].splitlines()) <= 12


@pytest.mark.parametrize('size', 'sb')
@pytest.mark.parametrize(
    'name',
    [
        'mask_rcnn_lightvit_{}_1x',
        'mask_rcnn_lightvit_{}_3x',
        'released/mask_rcnn_lightvit_{}_1x_released',
        'released/mask_rcnn_lightvit_{}_3x_released',
        'semantic_fpn_lightvit_{}_ade20k',
        'upernet_lightvit_{}_ade20k',
        'lightvit_{}_8xb128_in1k',
    ],
)
def test_sizes_differ_in_the_size_only(name, size):
    tiny, other = (
        Config.fromfile(CONFIGS / f'{name.format(size)}.py') for size in ('t', size)
    )
    sizes = other.lightvit
    expected = sizes[dict(s='small', b='base')[size]]
    assert other.model.backbone.arch == expected.backbone.arch
    channels = expected.neck.in_channels
    if name.startswith('lightvit'):
        # Trained from scratch; the token neck reads the last stage.
        channels = channels[-1]
        if size == 'b':
            assert other.pop('optim_wrapper').type == 'AmpOptimWrapper'
            tiny.pop('optim_wrapper')
    else:
        assert other.model.backbone.init_cfg == expected.backbone.init_cfg
        other.model.backbone.init_cfg = tiny.model.backbone.init_cfg
    assert other.model.neck.in_channels == channels
    for key in ('arch', 'drop_path_rate'):
        other.model.backbone[key] = tiny.model.backbone[key]
    other.model.neck.in_channels = tiny.model.neck.in_channels
    assert other.to_dict() == tiny.to_dict()
