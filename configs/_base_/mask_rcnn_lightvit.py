"""Mask R-CNN with LightViT-T and its neck (paper, Section 5.2, Figure 5b).

It starts from the authors' ImageNet weights, which are downloaded once.
"""
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

# Registers the package and what mmcv needs of it, whichever tool reads this.
custom_imports = dict(imports=['lightvit_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='lightvit_mm.LightViT',
        arch='tiny',
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained', checkpoint='lightvit://tiny-in1k')),
    neck=dict(
        type='lightvit_mm.LightViTFPN',
        in_channels=[64, 128, 256],
        num_extra_trans_convs=1))
