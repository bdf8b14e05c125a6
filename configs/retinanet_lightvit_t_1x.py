"""RetinaNet with LightViT-T on COCO, 1x schedule.

tools/dist_train.sh configs/retinanet_lightvit_t_1x.py 8

LightViT's three stages have the strides of RetinaNet's first three levels, so
it works with mmdet's FPN.

The paper has no result for it.
Training: 12 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    './_base_/lightvit.py',
    'mmdet::_base_/datasets/coco_detection.py',
    './_base_/adamw_1x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.lightvit.tiny.backbone),
    neck=dict(start_level=0, **_base_.lightvit.tiny.neck),
)
default_hooks = _base_.hooks
