"""Small models of each task, which are fast to build."""

import torch
from mmengine.config import Config

from lightvit_mm import LightViT
from lightvit_mm.config import read_config
from lightvit_mm.trained import build_model

ARCH = dict(
    embed_dims=(8, 16, 32),
    depths=(1, 1, 1),
    num_heads=(2, 2, 4),
    mlp_ratios=(2, 2, 2),
    num_tokens=3,
)
COLOURS = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
LOAD = dict(type='LoadImageFromFile')


def classifier(arch=ARCH, steps=(), num_classes=5):
    settings = LightViT.arch_zoo[arch] if isinstance(arch, str) else arch
    return Config(
        dict(
            custom_imports=dict(imports=['lightvit_mm']),
            default_scope='mmpretrain',
            data_preprocessor=dict(num_classes=num_classes, to_rgb=True, **COLOURS),
            model=dict(
                type='ImageClassifier',
                backbone=dict(
                    type='lightvit_mm.LightViT',
                    arch=arch,
                    out_indices=(2,),
                    out_type='raw',
                ),
                neck=dict(
                    type='lightvit_mm.LightViTTokenNeck',
                    in_channels=settings['embed_dims'][2],
                    out_channels=64,
                ),
                head=dict(
                    type='LinearClsHead', num_classes=num_classes, in_channels=64
                ),
            ),
            test_dataloader=dict(
                dataset=dict(
                    type='CustomDataset',
                    pipeline=[LOAD, *steps, dict(type='PackInputs')],
                )
            ),
        )
    )


def detector(num_classes=10, **roi_head):
    """The demo's detector with a small backbone; images are at most 96 x 160."""
    cfg = read_config('lightvit_mm::demo/mask_rcnn_lightvit_t_digits.py')
    cfg.model.backbone.update(arch=ARCH, init_cfg=None)
    cfg.merge_from_dict(
        dict(
            model=dict(
                neck=dict(in_channels=[8, 16, 32], out_channels=16),
                rpn_head=dict(in_channels=16, feat_channels=16),
                roi_head=dict(
                    bbox_roi_extractor=dict(out_channels=16, finest_scale=14),
                    mask_roi_extractor=dict(out_channels=16, finest_scale=14),
                    bbox_head=dict(
                        in_channels=16, fc_out_channels=32, num_classes=num_classes
                    ),
                    mask_head=dict(
                        in_channels=16, conv_out_channels=16, num_classes=num_classes
                    ),
                    **roi_head,
                ),
                test_cfg=dict(
                    rpn=dict(nms_pre=300, max_per_img=80),
                    rcnn=dict(max_per_img=60, score_thr=0.1),
                ),
            )
        )
    )
    cfg.test_dataloader.dataset.pipeline[1] = dict(
        type='Resize', scale=(160, 96), keep_ratio=True
    )
    return cfg


def segmentor(num_classes=4, **dataset):
    pipeline = [
        LOAD,
        dict(type='Resize', scale=(120, 80), keep_ratio=True),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]
    return Config(
        dict(
            default_scope='mmseg',
            model=dict(
                type='EncoderDecoder',
                data_preprocessor=dict(
                    type='SegDataPreProcessor', bgr_to_rgb=True, **COLOURS
                ),
                backbone=dict(type='lightvit_mm.LightViT', arch=ARCH),
                neck=dict(
                    type='lightvit_mm.LightViTFPN',
                    in_channels=[8, 16, 32],
                    out_channels=16,
                    num_outs=4,
                ),
                decode_head=dict(
                    type='FPNHead',
                    num_classes=num_classes,
                    in_channels=[16] * 4,
                    in_index=[0, 1, 2, 3],
                    feature_strides=[4, 8, 16, 32],
                    channels=16,
                ),
                test_cfg=dict(mode='whole'),
            ),
            test_pipeline=pipeline,
            test_dataloader=dict(dataset=dict(pipeline=pipeline, **dataset)),
        )
    )


def build(cfg):
    """A model with random weights, whose scores vary like those of a trained one."""
    torch.manual_seed(0)
    with torch.no_grad():
        model = build_model(cfg)
        for name, parameter in model.named_parameters():
            if 'bias' in name:
                parameter.normal_(std=0.1)
            elif name.endswith(
                ('fc_cls.weight', 'conv_logits.weight', 'fc.weight', 'conv_seg.weight')
            ):
                parameter.normal_(std=0.5)
            elif name.endswith(('rpn_cls.weight', 'rpn_reg.weight', 'fc_reg.weight')):
                parameter.normal_(std=0.1)
            elif 'qkv' in name:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
        if hasattr(model, 'decode_head'):
            # Random features hardly vary: one class would win for all pixels.
            images = 60 * torch.randn(2, model.backbone.in_channels, 80, 120)
            logits = model.decode_head(model.extract_feat(images))
            head = model.decode_head.conv_seg
            std, mean = torch.std_mean(logits, dim=(0, 2, 3))
            head.weight.div_(std[:, None, None, None])
            head.bias.sub_(mean).div_(std)
    return model.requires_grad_(False)
