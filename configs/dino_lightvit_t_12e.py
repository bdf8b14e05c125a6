"""DINO with LightViT-T on COCO, 12 epochs, four scales.

tools/dist_train.sh configs/dino_lightvit_t_12e.py 8

mmdet's DINO but for its backbone. The paper has no result for it.
"""

_base_ = [
    'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
    './_base_/lightvit_t.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.lightvit_t),
    neck=dict(in_channels=[64, 128, 256]),
)

auto_scale_lr = dict(enable=True)
