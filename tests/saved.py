"""Small models of the three libraries as files: config.py and model.pth."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from torch import nn

ARCH = dict(
    embed_dims=(8, 16), depths=(1, 2), num_heads=(2, 4), mlp_ratios=(2, 2), num_tokens=3
)
HEAD = f"""
custom_imports = dict(imports=['lightvit_mm'], allow_failed_imports=False)
backbone = dict(type='lightvit_mm.LightViT', arch={ARCH}, out_indices=(0, 1))
colours = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
"""
CONFIGS = dict(
    mmpretrain=HEAD
    + """
default_scope = 'mmpretrain'
data_preprocessor = dict(num_classes=3, to_rgb=True, **colours)
model = dict(
    type='ImageClassifier',
    backbone=backbone,
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=16))
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=75, edge='short'),
    dict(type='CenterCrop', crop_size=70),
    dict(type='PackInputs')]))
""",
    mmdet=HEAD
    + """
default_scope = 'mmdet'
model = dict(
    type='RetinaNet',
    data_preprocessor=dict(
        type='DetDataPreprocessor', bgr_to_rgb=True, pad_size_divisor=32,
        **colours),
    backbone=backbone,
    neck=dict(type='FPN', in_channels=[8, 16], out_channels=8, num_outs=2),
    bbox_head=dict(
        type='RetinaHead', num_classes=3, in_channels=8, feat_channels=8,
        stacked_convs=1,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[4], ratios=[1.0],
            strides=[8, 16])),
    test_cfg=dict(
        nms_pre=10, min_bbox_size=0, score_thr=0.05, max_per_img=5,
        nms=dict(type='nms', iou_threshold=0.5)))
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(90, 70), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs')]))
""",
    mmseg=HEAD
    + """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', bgr_to_rgb=True, **colours),
    backbone=backbone,
    decode_head=dict(
        type='FCNHead', num_classes=3, in_channels=16, in_index=1,
        channels=8, num_convs=1, norm_cfg=dict(type='BN')),
    test_cfg=dict(mode='whole'))
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(80, 60), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
""",
)


def write_images(folder: Path) -> None:
    """Write a photograph and two files that are not images."""
    coarse = np.random.RandomState(0).randint(0, 256, (7, 9, 3), np.uint8)
    Image.fromarray(coarse).resize((119, 83)).save(folder / 'photo.png')
    (folder / 'text.png').write_text('This is not an image.')
    (folder / 'text.pth').write_text('This is no checkpoint.')
    (folder / 'empty.png').touch()


def write_model(library, change=''):
    """Write config.py and model.pth into the working folder."""
    pytest.importorskip(library)
    Path('config.py').write_text(CONFIGS[library] + change)
    cfg = Config.fromfile('config.py')
    # The model is built in the same way as by the libraries' own tools.
    with DefaultScope.overwrite_default_scope(library):
        from mmengine.registry import MODELS

        cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
        model = MODELS.build(cfg.model).eval()
    sharpen(model)
    torch.save(dict(state_dict=model.state_dict()), 'model.pth')
    return cfg, model


def sharpen(model):
    """Make the attention as far from uniform as that of a trained model."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if 'qkv' in name or 'kv_global' in name or 'global_token' in name:
            nn.init.normal_(parameter)
