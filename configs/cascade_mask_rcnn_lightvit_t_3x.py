"""Cascade Mask R-CNN with LightViT-T on COCO, 3x schedule, multi-scale.

tools/dist_train.sh configs/cascade_mask_rcnn_lightvit_t_3x.py 8

The paper has no result for it.
"""

_base_ = [
    'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    './_base_/lightvit_t.py',
    './_base_/coco_instance_ms.py',
    './_base_/adamw_3x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.lightvit_t),
    neck=dict(type='lightvit_mm.LightViTFPN', in_channels=[64, 128, 256]),
)
