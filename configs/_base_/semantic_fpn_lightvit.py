"""Semantic FPN with LightViT-T and its neck, for 150 classes."""

_base_ = [
    'mmseg::_base_/models/fpn_r50.py',
    './lightvit_t.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(_delete_=True, **_base_.lightvit_t),
    neck=dict(type='lightvit_mm.LightViTFPN', in_channels=[64, 128, 256]),
    decode_head=dict(num_classes=150),
)
