"""Mask R-CNN with LightViT-T and its neck (paper, Section 5.2, Figure 5b)."""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    './lightvit.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.lightvit.tiny.backbone),
    neck=dict(
        type='lightvit_mm.LightViTFPN',
        num_extra_trans_convs=1,
        **_base_.lightvit.tiny.neck,
    ),
)
