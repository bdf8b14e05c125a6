"""Mask R-CNN with LightViT-T and its neck (paper, Section 5.2, Figure 5b)."""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    './lightvit_t.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.lightvit_t),
    neck=dict(
        type='lightvit_mm.LightViTFPN',
        in_channels=[64, 128, 256],
        num_extra_trans_convs=1,
    ),
)
