"""DINO with LightViT-T on COCO, 12 epochs, four scales.

tools/dist_train.sh configs/dino_lightvit_t_12e.py 8

Only the backbone differs from mmdet's DINO.

The paper has no result for it.
Training: 12 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = [
    'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
    './_base_/lightvit.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.lightvit.tiny.backbone),
    neck=_base_.lightvit.tiny.neck,
)

auto_scale_lr = dict(enable=True)
default_hooks = _base_.hooks
