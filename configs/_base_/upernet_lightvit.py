"""UPerNet with LightViT-T and its neck, for 150 classes.

It starts from the authors' ImageNet weights, which are downloaded once.
"""
_base_ = 'mmseg::_base_/models/upernet_r50.py'

custom_imports = dict(imports=['lightvit_mm'], allow_failed_imports=False)

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
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
        out_channels=256,
        num_outs=4),
    decode_head=dict(in_channels=[256, 256, 256, 256], num_classes=150),
    auxiliary_head=dict(in_channels=256, num_classes=150))
