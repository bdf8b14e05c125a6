"""The number of classes and the datasets of the libraries' own configs.

What each config should have is listed by hand, and checked on built models.
"""

import copy
import inspect
import sys

import pytest
from mmengine.config import Config
from torch import nn

from lightvit_mm.config import (
    check_class_weights,
    class_slots,
    datasets,
    read_config,
    set_num_classes,
)
from lightvit_mm.trained import build_model

N = 7
SEESAW = (
    'mmdet::seesaw_loss/cascade-mask-rcnn_r101_fpn_seesaw-loss-normed-mask_'
    'sample1e-3-ms-2x_lvis-v1.py'
)
FCOS_RPN = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_fcos-rpn_1x_coco.py'
BBOX_HEAD = 'model.roi_head.bbox_head'
MASK_HEAD = 'model.roi_head.mask_head'

# Each num_classes of a config after N classes are set.
EXPECTED = {
    'mmdet::htc/htc_r50_fpn_1x_coco.py': {
        **{f'{BBOX_HEAD}[{i}].num_classes': N for i in range(3)},
        **{f'{MASK_HEAD}[{i}].num_classes': N for i in range(3)},
        'model.roi_head.semantic_head.num_classes': 183,
    },
    FCOS_RPN: {
        'model.rpn_head.num_classes': 1,
        f'{BBOX_HEAD}.num_classes': N,
    },
    'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py': {'model.bbox_head.num_classes': N},
    'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py': {'model.bbox_head.num_classes': N},
    SEESAW: {
        **{f'{BBOX_HEAD}[{i}].num_classes': N for i in range(3)},
        **{f'{BBOX_HEAD}[{i}].loss_cls.num_classes': N for i in range(3)},
        f'{MASK_HEAD}.num_classes': N,
    },
    'mmdet::point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py': {
        f'{BBOX_HEAD}.num_classes': N,
        f'{MASK_HEAD}.num_classes': N,
        'model.roi_head.point_head.num_classes': N,
    },
    'mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_'
    'semi-0.01-coco.py': {'model.detector.roi_head.bbox_head.num_classes': N},
    # A model that takes classes as text; people, and their identities.
    'mmdet::grounding_dino/grounding_dino_swin-t_finetune_8xb2_20e_cat.py': {
        'model.bbox_head.num_classes': 1
    },
    'mmdet::deepsort/deepsort_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_'
    'test-mot17halfval.py': {
        'model.detector.roi_head.bbox_head.num_classes': 1,
        'model.reid.head.num_classes': 380,
    },
    'mmdet::reid/reid_r50_8xb32-6e_mot17train80_test-mot17val20.py': {
        'model.head.num_classes': 380
    },
    'mmpretrain::resnet/resnet50_8xb32_in1k.py': {
        'data_preprocessor.num_classes': N,
        'model.head.num_classes': N,
    },
    'mmpretrain::vgg/vgg11_8xb32_in1k.py': {
        'data_preprocessor.num_classes': N,
        'model.backbone.num_classes': N,
    },
    'mmpretrain::repvgg/repvgg-B2g4_8xb32_in1k.py': {
        'data_preprocessor.num_classes': N,
        'model.head.num_classes': N,
        'model.head.loss.num_classes': N,
    },
    'mmpretrain::milan/benchmarks/vit-base-p16_8xb2048-linear-coslr-100e_in1k.py': {
        'data_preprocessor.num_classes': N,
        'model.data_preprocessor.num_classes': N,
        'model.head.num_classes': N,
    },
    'mmseg::pspnet/pspnet_r50-d8_4xb4-40k_voc12aug-512x512.py': {
        'model.decode_head.num_classes': N,
        'model.auxiliary_head.num_classes': N,
    },
    # The third auxiliary head separates borders from the rest.
    'mmseg::stdc/stdc1_4xb12-80k_cityscapes-512x1024.py': {
        'model.decode_head.num_classes': N,
        'model.auxiliary_head[0].num_classes': N,
        'model.auxiliary_head[1].num_classes': N,
        'model.auxiliary_head[2].num_classes': 2,
    },
    'mmseg::ocrnet/ocrnet_hr18_4xb2-160k_cityscapes-512x1024.py': {
        'model.decode_head[0].num_classes': N,
        'model.decode_head[1].num_classes': N,
    },
    'mmseg::knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py': {
        **{
            f'model.decode_head.kernel_update_head[{i}].num_classes': N
            for i in range(3)
        },
        'model.decode_head.kernel_generate_head.num_classes': N,
        'model.auxiliary_head.num_classes': N,
    },
}


def read(name):
    pytest.importorskip(name.partition('::')[0])
    return read_config(name)


def at(cfg, path):
    return eval(f'cfg.{path}')


def numbers(node, path):
    """Each num_classes below a node, by its path."""
    found = {}
    if isinstance(node, dict):
        for key, child in node.items():
            if key == 'num_classes':
                found[f'{path}.{key}'] = child
            else:
                found.update(numbers(child, f'{path}.{key}'))
    elif isinstance(node, (list, tuple)):
        for i, child in enumerate(node):
            found.update(numbers(child, f'{path}[{i}]'))
    return found


def numbers_of(cfg):
    return {
        **numbers(cfg.get('data_preprocessor'), 'data_preprocessor'),
        **numbers(cfg.model, 'model'),
    }


@pytest.mark.parametrize('name', EXPECTED)
def test_only_heads_for_the_dataset_take_its_number_of_classes(name):
    cfg = read(name)
    before, numbers_before = copy.deepcopy(cfg.to_dict()), numbers_of(cfg)
    paths = {path for path, number in EXPECTED[name].items() if number == N}
    slots = {slot.path: slot.num_classes for slot in class_slots(cfg)}
    assert slots == {path: numbers_before[path] for path in paths}

    set_num_classes(cfg, N)
    assert numbers_of(cfg) == EXPECTED[name]

    for path in paths:
        owner, _, key = path.rpartition('.')
        at(cfg, owner)[key] = numbers_before[path]
    assert cfg.to_dict() == before


def test_task_heads_and_features_have_other_numbers():
    tasks = dict(first=dict(num_classes=3), second=dict(num_classes=4))
    model = dict(
        backbone=dict(type='ResNet', num_classes=None),
        neck=dict(type='Neck', num_classes=2),
        head=dict(type='MultiTaskHead', task_heads=tasks),
    )
    classifier = dict(model, backbone=dict(type='SwinTransformer', num_classes=-1))
    for cfg in (Config(dict(model=model)), Config(dict(model=classifier))):
        assert list(class_slots(cfg)) == []


@pytest.mark.parametrize(
    'name, outputs',
    [
        # Softmax adds one output for the background, seesaw loss two for objectness.
        (
            'mmdet::htc/htc_r50_fpn_1x_coco.py',
            {
                **{f'roi_head.bbox_head.{i}.fc_cls': N + 1 for i in range(3)},
                **{f'roi_head.mask_head.{i}.conv_logits': N for i in range(3)},
                'roi_head.semantic_head.conv_logits': 183,
            },
        ),
        (
            SEESAW,
            {
                **{f'roi_head.bbox_head.{i}.fc_cls': N + 2 for i in range(3)},
                **{f'roi_head.mask_head.{i}.conv_logits': N for i in range(3)},
            },
        ),
        (FCOS_RPN, {'rpn_head.conv_cls': 1, 'roi_head.bbox_head.fc_cls': N + 1}),
        (
            'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
            {f'bbox_head.rtm_cls.{i}': N for i in range(3)},
        ),
        (
            'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
            {f'bbox_head.cls_branches.{i}': N for i in range(7)},
        ),
        (
            'mmseg::stdc/stdc1_4xb12-80k_cityscapes-512x1024.py',
            {
                'decode_head.conv_seg': N,
                'auxiliary_head.0.conv_seg': N,
                'auxiliary_head.1.conv_seg': N,
                'auxiliary_head.2.conv_seg': 2,
            },
        ),
        ('mmpretrain::resnet/resnet50_8xb32_in1k.py', {'head.fc': N}),
    ],
)
def test_built_heads_have_the_number_of_classes(name, outputs):
    cfg = read(name)
    set_num_classes(cfg, N)
    model = build_model(cfg)
    for path, number in outputs.items():
        layer = model.get_submodule(path)
        assert number == (
            layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        )


@pytest.mark.parametrize(
    'name, train',
    [
        ('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', ['']),
        ('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py', ['.dataset']),
        (SEESAW, ['.dataset']),
        (
            'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py',
            ['.dataset.datasets[0]', '.dataset.datasets[1]'],
        ),
        (
            'mmseg::pspnet/pspnet_r50-d8_4xb4-40k_voc12aug-512x512.py',
            ['.datasets[0]', '.datasets[1]'],
        ),
    ],
)
def test_datasets_are_unwrapped(name, train):
    cfg = read(name)
    slots = list(datasets(cfg))
    assert [(slot.split, slot.path) for slot in slots] == [
        *(('train', f'train_dataloader.dataset{path}') for path in train),
        ('val', 'val_dataloader.dataset'),
        ('test', 'test_dataloader.dataset'),
    ]
    for slot in slots:
        assert slot.cfg is at(cfg, slot.path)


def test_wrappers_may_be_nested():
    leaves = [dict(type='CocoDataset', ann_file=f'{i}.json') for i in range(4)]
    repeat = dict(type='RepeatDataset', times=2, dataset=leaves[1])
    inner = dict(type='ConcatDataset', datasets=[repeat, leaves[2]])
    outer = dict(type='ConcatDataset', datasets=[leaves[0], inner, leaves[3]])
    cfg = Config(
        dict(
            train_dataloader=dict(
                dataset=dict(type='RepeatDataset', times=3, dataset=outer)
            ),
            val_dataloader=None,
        )
    )
    slots = list(datasets(cfg))
    assert [slot.cfg.ann_file for slot in slots] == [f'{i}.json' for i in range(4)]
    root = 'train_dataloader.dataset.dataset.datasets'
    assert [slot.path for slot in slots] == [
        f'{root}[0]',
        f'{root}[1].datasets[0].dataset',
        f'{root}[1].datasets[1]',
        f'{root}[2]',
    ]
    # Changes reach the config.
    for slot in slots:
        slot.cfg.data_root = 'pets'
        assert at(cfg, slot.path).data_root == 'pets'


def weighted(head, key, loss, n=3):
    head = dict(type=head, num_classes=n, **{key: loss})
    return Config(dict(model=dict(head=head)))


@pytest.mark.parametrize(
    'head, key, loss, expected',
    [
        ('LinearClsHead', 'loss', {}, 3),
        ('FPNHead', 'loss_decode', {}, 3),
        # Sigmoids need no class for the background.
        ('RetinaHead', 'loss_cls', dict(use_sigmoid=True), 3),
        ('Shared2FCBBoxHead', 'loss_cls', {}, 4),
    ],
)
def test_class_weights_fit_the_classes(head, key, loss, expected):
    for n in range(1, 6):
        loss = dict(loss, type='CrossEntropyLoss', class_weight=[1.0] * n)
        # mmseg takes several losses.
        for value in (loss, [dict(type='DiceLoss'), loss]):
            cfg = weighted(head, key, value)
            if n == expected:
                check_class_weights(cfg)
                continue
            with pytest.raises(
                ValueError,
                match=f'model.head.{key} has {n} values in class_weight; expected '
                f'{expected}: one for each of 3 classes',
            ):
                check_class_weights(cfg)


@pytest.mark.parametrize('weights', [None, 1.0, 'weights.npy'])
def test_other_class_weights_are_left_to_the_library(weights):
    check_class_weights(weighted('FPNHead', 'loss_decode', dict(class_weight=weights)))


@pytest.mark.parametrize(
    'name',
    [
        'san/san-vit-b16_coco-stuff164k-640x640.py',
        'mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py',
    ],
)
def test_class_weights_of_mmseg_pass(name):
    pytest.importorskip('mmseg')
    check_class_weights(read_config(f'mmseg::{name}'))


def test_a_folder_is_no_config(tmp_path):
    (tmp_path / 'folder.py').mkdir()
    with pytest.raises(IsADirectoryError, match='folder.py is a folder. Give a file'):
        read_config(str(tmp_path / 'folder.py'))


@pytest.mark.parametrize('name', ['::', '::x.py'])
def test_a_name_without_package_is_no_config(name):
    with pytest.raises(FileNotFoundError, match=f'There is no config {name}'):
        read_config(name)


def test_a_config_that_inherits_from_itself_is_named(tmp_path):
    limit = sys.getrecursionlimit()
    (tmp_path / 'a.py').write_text("_base_ = 'b.py'\n")
    (tmp_path / 'b.py').write_text("_base_ = 'a.py'\n")
    sys.setrecursionlimit(len(inspect.stack()) + 100)  # the default takes seconds
    try:
        with pytest.raises(ValueError, match=r'[ab]\.py inherits from itself'):
            read_config(str(tmp_path / 'a.py'))
    finally:
        sys.setrecursionlimit(limit)
