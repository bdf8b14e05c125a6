"""Semantic FPN with LightViT-T and its neck, for 150 classes."""

_base_ = [
    'mmseg::_base_/models/fpn_r50.py',
    './lightvit.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(_delete_=True, **_base_.lightvit.tiny.backbone),
    neck=dict(type='lightvit_mm.LightViTFPN', **_base_.lightvit.tiny.neck),
    decode_head=dict(num_classes=150),
)
