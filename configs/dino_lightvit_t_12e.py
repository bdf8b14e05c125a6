"""DINO with LightViT-T on COCO, 12 epochs, four scales.

tools/dist_train.sh configs/dino_lightvit_t_12e.py 8

mmdet's DINO but for its backbone. The paper has no result for it.
"""
_base_ = 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py'
custom_imports = dict(imports=['lightvit_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='lightvit_mm.LightViT',
        arch='tiny',
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained', checkpoint='lightvit://tiny-in1k')),
    neck=dict(in_channels=[64, 128, 256]))

auto_scale_lr = dict(enable=True)
