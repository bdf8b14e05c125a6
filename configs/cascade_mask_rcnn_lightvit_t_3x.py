"""Cascade Mask R-CNN with LightViT-T on COCO, 3x schedule, multi-scale.

tools/dist_train.sh configs/cascade_mask_rcnn_lightvit_t_3x.py 8

The paper has no result for it.
Training: 36 epochs on 8 GPUs, 2 images per GPU.
"""

_base_ = [
    'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    './_base_/lightvit.py',
    './_base_/coco_instance_ms.py',
    './_base_/adamw_3x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.lightvit.tiny.backbone),
    neck=dict(type='lightvit_mm.LightViTFPN', **_base_.lightvit.tiny.neck),
)
default_hooks = _base_.hooks
